"""Tables of nets and their times: timm's published ones as they are, and anyone's CSV.

`read` makes the same columns of each. `joined` puts the work of each net beside its time, from the
stored work of timm's nets or by counting a net of torchvision, and says which rows it left out.
"""

from functools import cache
from pathlib import Path

import pandas as pd

from convcost.core.errors import BadInputError
from convcost.predict import timm_nets
from convcost.predict.operators import FEATURES, TRAINED, USED, WHATS

COLUMNS = ("net", "input_px", "batch", "seconds", "what", "params_millions")
PARAMS_WITHIN = 0.03  # a net that has other parameters is another net under the same name
MOST_MACS_PER_S, LEAST_MACS_PER_S = 1e16, 1e5  # beyond: the times are in another unit
INPUT_PX, BATCH = 224, 1  # where a table of somebody's own does not say

_NET = ("net", "model", "name")
_SIZE = ("input_px", "img_size", "image_size", "infer_img_size", "train_img_size", "resolution")
_BATCH = ("batch", "batch_size", "infer_batch_size", "train_batch_size")
_PARAMS = ("params_millions", "param_count")
_BATCH_S = {"seconds": 1.0, "ms": 1e-3, "infer_step_time": 1e-3, "train_step_time": 1e-3}
_IMAGE_S = {"seconds_per_image": 1.0, "ms_per_image": 1e-3}
_IMAGES_PER_S = (
    "images_per_s", "samples_per_sec", "infer_samples_per_sec", "train_samples_per_sec",
)  # fmt: skip
_TIMES = (*_IMAGES_PER_S, *_IMAGE_S, *_BATCH_S)


def read(path: Path | str, what: str | None = None) -> pd.DataFrame:
    """One row a time: net, input_px, batch, seconds (per image), what, params_millions (or NaN).

    A CSV has a column of names (`net`, `model` or `name`) and one of times: `seconds` or `ms` of a
    batch, `seconds_per_image`, `ms_per_image`, or images per second (`images_per_s`,
    `samples_per_sec`). `input_px` and `batch` say what was timed; without them it is one image of
    224 px. timm's published tables are read as they are. `what` is "inference" or "training";
    without it, a column `what` or the names of timm's columns say it, or it is inference.

    Raises BadInputError for a file that is no such table, and for times, sizes and batches that
    are no positive numbers; each says where.
    """
    path = Path(path)
    if what not in (None, *WHATS):
        raise BadInputError(f"what is {what!r}: choose from {', '.join(WHATS)}")
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read as a CSV: {error}") from None
    net, time = _first(table, _NET), _first(table, _TIMES)
    if net is None or time is None:
        lacks = "names of nets" if net is None else "times"
        valid = ", ".join(_NET if net is None else _TIMES)
        raise BadInputError(
            f"{path} has no column of {lacks} (it has {', '.join(table.columns)}): "
            f"name one of {valid}"
        )
    size, batch, params = (_first(table, names) for names in (_SIZE, _BATCH, _PARAMS))
    numbers = {name: _numbers(path, table, name) for name in (time, size, batch) if name}
    sizes, batches = numbers.get(size, INPUT_PX), numbers.get(batch, BATCH)
    found = pd.DataFrame(
        {
            "net": table[net].astype(str).str.split(".").str[0],
            "input_px": sizes,
            "batch": batches,
            "seconds": _seconds(time, numbers[time], batches),
            "what": what or _said(path, table, time),
            "params_millions": table[params] if params else float("nan"),
        }
    )
    return found.astype({"input_px": int})


def _first(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in table), None)


def _numbers(path: Path, table: pd.DataFrame, column: str) -> pd.Series:
    """A column as positive numbers. BadInputError with the line of the first that is none."""
    numbers = pd.to_numeric(table[column], errors="coerce")
    bad = ~(numbers > 0) | (numbers == float("inf"))
    if bad.any():
        place = int(bad.to_numpy().argmax())
        raise BadInputError(
            f"{path}, line {place + 2}: {column} is {table[column].iloc[place]}, "
            "where a number above 0 is expected"
        )
    return numbers


def _seconds(column: str, cells: pd.Series, batches) -> pd.Series:
    """Seconds per image of a column of times."""
    if column in _IMAGES_PER_S:
        return 1 / cells
    if column in _IMAGE_S:
        return cells * _IMAGE_S[column]
    return cells * _BATCH_S[column] / batches


def _said(path: Path, table: pd.DataFrame, time: str) -> pd.Series | str:
    """What the table itself says it timed: inference or training."""
    if "what" in table:
        others = sorted(set(table["what"].astype(str)) - set(WHATS))
        if others:
            raise BadInputError(f"{path}: what is {others[0]!r}: choose from {', '.join(WHATS)}")
        return table["what"]
    return TRAINED if time.startswith("train_") else USED


def joined(times: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `read` with the work of their nets, and those that were left out.

    The first has besides the columns of `read` design, params, macs, acts and the amounts of
    `operators.FEATURES`, one row a time. The second: net, input_px, what, reason.

    Raises BadInputError where the times are in another unit than they say.
    """
    rows, dropped = [], []
    for one in times.itertuples(index=False):
        work, reason = _work(one.net, one.input_px, one.what)
        if work is not None and abs(work["params"] / 1e6 / one.params_millions - 1) > PARAMS_WITHIN:
            reason = (
                f"has {work['params'] / 1e6:.2f} million parameters today, in the table "
                f"{one.params_millions:.2f}: another net under the same name"
            )
        if reason:
            dropped.append({"net": one.net, "input_px": one.input_px, "what": one.what,
                            "reason": reason})  # fmt: skip
        else:
            rows.append(one._asdict() | work)
    found = pd.DataFrame(rows, columns=[*COLUMNS, *timm_nets.FACTS, *FEATURES])
    found[list(FEATURES)] = found[list(FEATURES)].fillna(0.0)
    _check_unit(found)
    return found, pd.DataFrame(dropped, columns=["net", "input_px", "what", "reason"])


def _check_unit(rows: pd.DataFrame) -> None:
    speed = rows["macs"] / rows["seconds"]
    for wrong, than in ((speed > MOST_MACS_PER_S, "more"), (speed < LEAST_MACS_PER_S, "less")):
        if wrong.any():
            one = rows[wrong].iloc[0]
            raise BadInputError(
                f"{one['net']} would do {one['macs'] / one['seconds']:.1e} multiply-adds a "
                f"second, {than} than any device does: is the column of times in another unit?"
            )


def _work(net: str, input_px: int, what: str) -> tuple[dict | None, str]:
    """What a net does to one image, as in `timm_nets.stored`, or why that is not known."""
    known = _stored().get((net, input_px, what))
    if known is not None:
        return known, ""
    import torchvision

    if net not in torchvision.models.list_models(module=torchvision.models):
        return None, f"no stored net of timm for {what} at this size, nor one of torchvision"
    import torch

    from convcost.core.errors import ConvcostError
    from convcost.counting.count import count

    try:
        with torch.device("meta"):
            model = torchvision.models.get_model(net, weights=None)
        counted = count(model, (3, input_px, input_px), training=what == TRAINED)
    except ConvcostError as error:
        return None, f"cannot be counted: {error}"
    # torchvision's resnet and timm's are one design: whoever knows the one has seen the other
    return timm_nets.row(
        net, input_px, what, type(model).__module__, counted, len([*model.parameters()])
    ), ""


@cache
def _stored() -> dict[tuple[str, int, str], dict]:
    table = timm_nets.stored()
    keys = zip(*(table[name] for name in timm_nets.KEY), strict=True)
    kept = table.drop(columns=list(timm_nets.KEY)).to_dict("records")
    return dict(zip(keys, kept, strict=True))
