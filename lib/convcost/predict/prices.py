"""The prices that are stored: of devices that others have timed, and of machines of one's own.

Those of published tables are committed in `data/counted/prices/`; what `convcost calibrate` finds
lies in `data/raw/prices/`, and counts before a committed one of the same name.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from convcost.core import files, paths
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.predict import pricing
from convcost.predict.operators import COMPUTE, SPENT_ON, TRAINED, USED, WHATS

FOLDER = paths.COUNTED / "prices"
OWN = paths.RAW / "prices"
GPU, CPU = "gpu", "cpu"
# Training moves what the forward pass moves, and about twice as much on its way back; its
# multiply-adds have their gradients in them already.
MOVED_IN_TRAINING = 3


@dataclass(frozen=True)
class Known:
    """A device of which prices are stored, and what they were fitted to."""

    device: str  # its name here: "rtx4090"
    what: str  # "inference" or "training"
    kind: str  # "gpu" or "cpu"
    title: str
    source: str  # the table, or "calibrated"
    source_sha256: str
    batch: tuple[float, float]  # the smallest and the largest that was timed
    scores: dict  # of convolutional networks of unseen designs: `validation.scores`
    model: pricing.Model = field(repr=False)


_FACTS = ("device", "what", "kind", "title", "source", "source_sha256")
_LISTS = ("everything", "plain")


def devices() -> pd.DataFrame:
    """One row a device and use of which prices are stored, those of published tables first.

    device, what, kind, title, rows and designs that they were fitted to, mape and within_10 on
    designs that they were not fitted to, source.
    """
    rows = [
        {"device": one.device, "what": one.what, "kind": one.kind, "title": one.title,
         "rows": one.model.everything.rows, "designs": one.model.everything.designs,
         "mape": one.scores.get("mape", np.nan), "within_10": one.scores.get("within_10", np.nan),
         "source": one.source}
        for one in stored()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def of(device: str, what: str) -> Known:
    """The prices of a device; BadInputError, with those that there are, for one without."""
    if what not in WHATS:
        raise BadInputError(f"what is {what!r}: choose from {', '.join(WHATS)}")
    found = [one for one in stored() if one.device == device and one.what == what]
    if not found:
        there = ", ".join(f"{one.device} ({one.what})" for one in stored())
        raise BadInputError(f"no prices of {device!r} for {what} are stored; there are: {there}")
    return found[0]


def published() -> tuple[Known, ...]:
    """Those that come from published tables: whoever has few nets of a device begins from them."""
    return tuple(one for one in _all(FOLDER) if one.source_sha256)


def begin_from(what: str, kinds: Sequence[str] = (GPU, CPU)) -> dict[str, pricing.Model]:
    """Device -> prices to begin from (`pricing.transferred`), of published devices of these kinds.

    They are those of inference. For training, what they charge for moving data and for beginning
    a call is multiplied by three: backward moves about twice what forward does.
    """
    times = MOVED_IN_TRAINING if what == TRAINED else 1
    return {
        one.device: _scaled(one.model, times)
        for one in published()
        if one.what == USED and one.kind in kinds
    }


def _scaled(model: pricing.Model, times: float) -> pricing.Model:
    def scaled(prices: pricing.Prices | None) -> pricing.Prices | None:
        if prices is None:
            return None
        factors = [1 if SPENT_ON[name] == COMPUTE else times for name in prices.seconds.index]
        return replace(prices, seconds=prices.seconds * factors)

    return replace(model, everything=scaled(model.everything), plain=scaled(model.plain))


# --- files -----------------------------------------------------------------------------------


def stored() -> tuple[Known, ...]:
    """All of them; of two with one name and use, the machine's own."""
    if lacking := paths.without_compendium("Prices of devices"):
        raise lacking
    both = {(one.device, one.what): one for one in (*_all(FOLDER), *_all(OWN))}
    return tuple(both.values())


def _all(folder: Path) -> tuple[Known, ...]:
    found = sorted(folder.glob("*.json"))
    return tuple(_read(path, path.stat().st_mtime_ns) for path in found)


@cache
def _read(path: Path, changed: int) -> Known:
    told = files.from_json(path.read_bytes(), path)
    try:
        lists = {
            name: told[name]
            and pricing.Prices(
                pd.Series(told[name]["seconds"], dtype=float),
                told[name]["designs"],
                told[name]["rows"],
            )
            for name in _LISTS
        }
        model = pricing.Model(lists["everything"], lists["plain"], told["low"], told["high"])
        facts = [told[name] for name in _FACTS]
        return Known(*facts, tuple(told["batch"]), told["scores"], model)
    except (LookupError, TypeError, ValueError) as error:
        mend = f"git checkout -- {paths.shown(path)}"
        if path.parent == OWN:
            mend = "remove it, and run `python -m convcost calibrate` again"
        raise DamagedFileError(f"{path} holds no prices ({error}): {mend}") from None


def write(known: Known, folder: Path) -> Path:
    """Keep prices in a folder; the file comes out."""
    told = {name: getattr(known, name) for name in _FACTS} | {
        "batch": list(known.batch), "low": known.model.low, "high": known.model.high,
        "scores": known.scores,
        **{name: _as_json(getattr(known.model, name)) for name in _LISTS},
    }  # fmt: skip
    path = folder / f"{known.device}-{known.what}.json"
    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, json.dumps(told, indent=1).encode() + b"\n")
    return path


def _as_json(prices: pricing.Prices | None) -> dict | None:
    if prices is None:
        return None
    seconds = {name: float(f"{price:.6g}") for name, price in prices.seconds.items()}
    return {"designs": prices.designs, "rows": prices.rows, "seconds": seconds}
