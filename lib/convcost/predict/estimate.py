"""What a net takes on a device that others have timed: seconds, an interval, where they go.

The prices of a device are fitted to a published table of nets and times (`store`) and kept in
`data/counted/prices/`; `known` lists them.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from convcost.core import files, paths
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.predict import pricing, validation
from convcost.predict.operators import FEATURES, TRAINED, USED, WHATS, of_call, of_net
from convcost.predict.tables import joined, read

FOLDER = paths.COUNTED / "prices"
COMPUTE, MEMORY, LAUNCH = "compute", "memory", "launch"
_OF_UNIT = {"1e9 multiply-adds": COMPUTE, "1e6 elements": MEMORY}
KINDS = {name: _OF_UNIT.get(unit, LAUNCH) for name, (unit, _) in FEATURES.items()}


@dataclass(frozen=True)
class Known:
    """A device of which prices are stored, and what they were fitted to."""

    device: str  # its name here: "rtx4090"
    what: str  # "inference" or "training"
    title: str
    source: str  # the table
    source_sha256: str
    batch: tuple[float, float]  # the smallest and the largest that was timed
    scores: dict  # of convolutional networks of unseen designs: `validation.scores`
    model: pricing.Model = field(repr=False)


@dataclass(frozen=True)
class Estimate:
    """What a batch of a net takes, and what it is charged for; times are in seconds.

    `table` has one row a call, and one for what belongs to none: path, op, function, seconds, of
    these compute, memory and launch, and spent_on, the largest of the three. That is how the prices
    divide a call, which were fitted to whole nets; no call was timed by itself.
    """

    seconds: float
    low: float  # the time lies between these in 90 % of cases, for a net of a new design
    high: float
    table: pd.DataFrame = field(repr=False)
    device: str
    what: str
    batch: int
    unpriced: tuple[str, ...]  # kinds of work that no four designs of the table had: taken as free
    extrapolated: str  # "" or why this is outside of what was timed

    def why(self) -> str:
        """Where the time goes, in a few sentences, and what would help."""
        parts = self.table[[COMPUTE, MEMORY, LAUNCH]].sum() / self.table["seconds"].sum()
        by_op = self.table.groupby("op")["seconds"].sum().sort_values(ascending=False)
        shares = (by_op / by_op.sum()).head(3)
        most = ", ".join(f"{op} {share:.0%}" for op, share in shares.items())
        says = {
            COMPUTE: "it multiplies for most of it: fewer or better shaped products would help",
            MEMORY: "it moves data for most of it: fused or fewer elementwise layers would help",
            LAUNCH: "it waits for calls to begin for most of it: larger batches would help",
        }
        text = (
            f"Of the time {parts[COMPUTE]:.0%} multiplies, {parts[MEMORY]:.0%} moves data and "
            f"{parts[LAUNCH]:.0%} launches calls; {says[parts.idxmax()]}. By operator: {most}."
        )
        if self.unpriced:
            text += f" Without a price, and taken as free: {', '.join(self.unpriced)}."
        return text + (f" {self.extrapolated}" if self.extrapolated else "")

    def __repr__(self) -> str:
        return (
            f"{self.seconds * 1e3:.3g} ms ({self.low * 1e3:.3g} to {self.high * 1e3:.3g}) for "
            f"{self.what} of a batch of {self.batch} on {self.device}, predicted"
        )


def time(model, input_shape, *, batch: int = 1, what: str = USED, device: str) -> Estimate:
    """What a batch of a net takes on a device whose prices are stored.

    model: a torch.nn.Module; input_shape without the batch, (3, 224, 224). what: "inference" or
    "training" (a step: forward, backward, optimiser). The arithmetic, the versions and the order
    in memory are those of the table that the prices come from: `known` tells them. A net whose
    form changes for inference has to be given in the form that it runs in.

    Raises BadInputError for a device without prices for that, a batch below 1, and what `count`
    refuses.

    >>> from convcost import nets
    >>> one = time(nets.build("resnet18"), (3, 224, 224), batch=64, device="rtx4090")
    >>> one.low < one.seconds < one.high
    True
    """
    from convcost.counting.count import count

    told = _known(device, what)
    if not isinstance(batch, int) or batch < 1:
        raise BadInputError(f"a batch of {batch!r}: a whole number from 1 on is expected")
    training = what == TRAINED
    counted = count(model, input_shape, training=training)
    tensors = len([*model.parameters()])
    amounts = of_net(counted, training=training, tensors=tensors)
    net = pd.DataFrame([amounts]).reindex(columns=list(FEATURES)).fillna(0.0)
    seconds = float(told.model.of(net, [batch])[0]) * batch
    least, most = told.batch
    note = ""
    if not least <= batch <= most:
        note = f"No batch of {batch} was timed there: {least:g} to {most:g}."
    priced = set(told.model.everything.seconds.index)
    return Estimate(
        seconds=seconds, low=told.model.low * seconds, high=told.model.high * seconds,
        table=_by_call(counted, amounts, told.model, net, batch, seconds, training),
        device=device, what=what, batch=batch,
        unpriced=tuple(name for name in amounts if name not in priced), extrapolated=note,
    )  # fmt: skip


def _by_call(counted, amounts, model, net, batch, seconds, training) -> pd.DataFrame:
    """The time of each call, by what it is spent on; what belongs to none stands last.

    Of a net that two lists price, a call has the mean of both; all are scaled to the whole.
    """
    lists = [model.everything]
    if model.plain is not None and pricing.is_plain(net)[0]:
        lists.append(model.plain)
    works = [of_call(call, training=training) for call in counted.calls]
    rest = {name: amount for name, amount in amounts.items() if not any(name in w for w in works)}
    works.append(rest)
    work = pd.DataFrame(works).reindex(columns=list(FEATURES)).fillna(0.0)
    each = pricing.per_image(work, np.full(len(work), batch))
    priced = sum(each * one.seconds.reindex(work.columns).fillna(0.0).to_numpy() for one in lists)
    kinds = pd.DataFrame(priced, columns=work.columns).T.groupby(pd.Series(KINDS)).sum().T
    kinds = kinds.reindex(columns=[COMPUTE, MEMORY, LAUNCH]).fillna(0.0)
    kinds *= seconds / kinds.to_numpy().sum()
    names = [(call.path, call.op, call.function) for call in counted.calls]
    table = pd.DataFrame([*names, ("", "whole net", "")], columns=["path", "op", "function"])
    table["seconds"] = kinds.sum(axis=1)
    table = pd.concat([table, kinds], axis=1)
    table["spent_on"] = kinds.idxmax(axis=1).where(table["seconds"] > 0, "")
    return table


# --- the stored prices -----------------------------------------------------------------------


def known() -> pd.DataFrame:
    """One row a device and use: device, what, title, rows, designs, mape, within_10, source."""
    rows = [
        {"device": one.device, "what": one.what, "title": one.title,
         "rows": one.model.everything.rows, "designs": one.model.everything.designs,
         "mape": one.scores["mape"], "within_10": one.scores["within_10"], "source": one.source}
        for one in _all()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _known(device: str, what: str) -> Known:
    if what not in WHATS:
        raise BadInputError(f"what is {what!r}: choose from {', '.join(WHATS)}")
    found = [one for one in _all() if one.device == device and one.what == what]
    if not found:
        there = ", ".join(f"{one.device} ({one.what})" for one in _all())
        raise BadInputError(f"no prices of {device!r} for {what} are stored; there are: {there}")
    return found[0]


@cache
def _all() -> tuple[Known, ...]:
    if lacking := paths.without_compendium("Prices of devices"):
        raise lacking
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.json")))


def _read(path: Path) -> Known:
    told = files.from_json(path.read_bytes(), path)
    try:
        lists = {
            name: told[name]
            and pricing.Prices(
                pd.Series(told[name]["seconds"], dtype=float),
                told[name]["designs"],
                told[name]["rows"],
            )
            for name in ("everything", "plain")
        }
        model = pricing.Model(lists["everything"], lists["plain"], told["low"], told["high"])
        facts = ("device", "what", "title", "source", "source_sha256")
        return Known(*(told[name] for name in facts), tuple(told["batch"]), told["scores"], model)
    except (LookupError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"{path} holds no prices ({error}): git checkout -- {paths.shown(path)}"
        ) from None


def store(table: Path | str, device: str, title: str, what: str | None = None) -> Path:
    """Fit the prices of a device to a table of nets and times, and keep them; the file comes out.

    `title` says what `device` stands for: the card, the arithmetic, the versions.
    """
    rows, _ = joined(read(table, what))
    uses = rows["what"].unique()
    if len(uses) != 1:
        raise BadInputError(f"{table} has {' and '.join(uses)}: choose one with what=")
    predicted = validation.leave_one_design_out(rows)[validation.OURS]
    plain = pricing.is_plain(rows[list(FEATURES)])
    low, high = pricing.interval((rows["seconds"] / predicted).to_numpy(), rows["design"])
    model = pricing.fit(rows[list(FEATURES)], rows["seconds"], rows["batch"], rows["design"])
    told = {
        "device": device, "what": str(uses[0]), "title": title, "source": Path(table).name,
        "source_sha256": files.sha256(Path(table)),
        "batch": [float(rows["batch"].min()), float(rows["batch"].max())],
        "low": low, "high": high,
        "scores": validation.scores(rows[plain], predicted[plain]),
        **{name: _as_json(getattr(model, name)) for name in ("everything", "plain")},
    }  # fmt: skip
    path = FOLDER / f"{device}-{told['what']}.json"
    files.write_atomically(path, json.dumps(told, indent=1).encode() + b"\n")
    return path


def _as_json(prices: pricing.Prices | None) -> dict | None:
    if prices is None:
        return None
    seconds = {name: float(f"{price:.6g}") for name, price in prices.seconds.items()}
    return {"designs": prices.designs, "rows": prices.rows, "seconds": seconds}
