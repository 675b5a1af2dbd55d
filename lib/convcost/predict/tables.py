"""Tables of nets and their times: timm's and pycls's published ones, and anyone's CSV.

`read` makes the same columns of each. `joined` puts the work of each net beside its time, from the
stored work of timm's nets or by counting a net of torchvision, and says which rows it left out.
"""

import csv
from functools import cache
from pathlib import Path

import pandas as pd

from convcost.core import files, paths
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
_OF_PYCLS = {USED: ("test_fw_time", "test_images"), TRAINED: ("train_fw_bw_time", "train_images")}


def read(path: Path | str, what: str | None = None) -> pd.DataFrame:
    """One row a time: net, input_px, batch, seconds (per image), what, params_millions (or NaN).

    A CSV has a column of names (`net`, `model` or `name`) and one of times: `seconds` or `ms` of a
    batch, `seconds_per_image`, `ms_per_image`, or images per second (`images_per_s`,
    `samples_per_sec`). `input_px` and `batch` say what was timed; without them it is one image of
    224 px. timm's published tables are read as they are, and so is pycls's `model_timing.json`,
    whose batch sizes come from `data/cited/pycls_settings.csv`. `what` is "inference" or
    "training"; without it, a column `what` or the names of timm's columns say it, or it is
    inference. A table that has a column of that name, or pycls's, gives the rows of that use only.

    Nets that no one has stored come with their own work: columns design, params, macs, acts and
    those of `operators.FEATURES` that are not 0, for one image. What comes out has them, too.

    Raises BadInputError for a file that is no such table, and for times, sizes and batches that
    are no positive numbers; each says where.
    """
    path = Path(path)
    if what not in (None, *WHATS):
        raise BadInputError(f"what is {what!r}: choose from {', '.join(WHATS)}")
    if path.suffix == ".json":
        return _pycls(path, what)
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
            "what": _said(path, table, time, what),
            "params_millions": table[params] if params else float("nan"),
        }
    ).astype({"input_px": int})
    found = found.join(_work_given(path, table))
    return found[found["what"] == (what or found["what"])].reset_index(drop=True)


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


def _said(path: Path, table: pd.DataFrame, time: str, what: str | None) -> pd.Series | str:
    """What was timed, inference or training: what the table itself says, or `what`."""
    if "what" in table:
        others = sorted(set(table["what"].astype(str)) - set(WHATS))
        if others:
            raise BadInputError(f"{path}: what is {others[0]!r}: choose from {', '.join(WHATS)}")
        return table["what"]
    return what or (TRAINED if time.startswith("train_") else USED)


def _work_given(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The work of the nets, where the table brings it: columns as `joined` has them, else none."""
    amounts = [name for name in FEATURES if name in table]
    if not amounts or "design" not in table:
        return pd.DataFrame(index=table.index)
    if lacking := [name for name in timm_nets.FACTS if name not in table]:
        raise BadInputError(
            f"{path} has amounts of work ({amounts[0]}, …), but no column {lacking[0]}: "
            f"{', '.join(timm_nets.FACTS)} are needed beside them"
        )
    numbers = table[["params", "macs", "acts", *amounts]].apply(pd.to_numeric, errors="coerce")
    numbers[amounts] = numbers[amounts].fillna(0.0)
    bad = (numbers.isna() | (numbers < 0)).any(axis=1)
    if bad.any():
        line = int(bad.to_numpy().argmax()) + 2
        raise BadInputError(f"{path}, line {line}: an amount of work is no number from 0 up")
    return numbers.reindex(columns=["params", "macs", "acts", *FEATURES]).fillna(0.0).assign(
        design=table["design"].astype(str)
    )  # fmt: skip


def _pycls(path: Path, what: str | None) -> pd.DataFrame:
    """pycls's table of seconds per batch, as of `read`."""
    told = files.from_json(_bytes(path), path)
    settings = {row["name"]: row for row in _pycls_settings()}
    rows = []
    for name, times in told.items() if isinstance(told, dict) else ():
        if name not in settings or not isinstance(times, dict):
            continue  # the date, and nets whose batch is not known
        one = settings[name]
        for use in (what,) if what else WHATS:
            column, images = _OF_PYCLS[use]
            seconds, batch = times.get(column), int(one[images])
            if not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
                raise BadInputError(f"{path}: {column} of {name} is {seconds}, no time above 0")
            rows.append((one["net"], int(one["input_px"]), batch, seconds / batch, use))
    if not rows:
        raise BadInputError(f"{path} holds no times of pycls's nets; other tables are CSVs")
    return pd.DataFrame(rows, columns=COLUMNS[:-1]).assign(params_millions=float("nan"))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error}") from None


def _pycls_settings() -> list[dict]:
    if lacking := paths.without_compendium("pycls's batch sizes"):
        raise lacking
    with (paths.CITED / "pycls_settings.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def joined(times: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `read` with the work of their nets, and those that were left out.

    The first has besides the columns of `read` design, params, macs, acts and the amounts of
    `operators.FEATURES`, one row a time. The second: net, input_px, what, reason.

    Raises BadInputError where the times are in another unit than they say.
    """
    rows, dropped = [], []
    brought = {"design", *FEATURES} <= set(times)
    given = times.drop(columns=list(COLUMNS)).to_dict("records") if brought else None
    for at, one in enumerate(times[list(COLUMNS)].itertuples(index=False)):
        work, reason = (given[at], "") if given else _work(one.net, one.input_px, one.what)
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
    from convcost import nets
    from convcost.core.errors import ConvcostError
    from convcost.counting.count import count

    if net not in nets.names("classification"):
        return None, f"no stored net of timm for {what} at this size, nor one of torchvision"
    try:
        model = nets.build(net, device="meta")
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
