"""All methods of notebook 06 in one table: accuracy lost, and what is saved in size and time."""

import numpy as np
import pandas as pd

from convcost.chapters.acceleration.findings import accuracy as kinds
from convcost.chapters.acceleration.findings import speed
from convcost.chapters.acceleration.findings.accuracy import last, losses
from convcost.core.errors import BadInputError

SINGLE, MANY = "one image, one core", "batch of 64, all cores"
FORMATS = {"float32": kinds.FLOAT, "int8": kinds.INT8}


def overview(accelerated_nets: pd.DataFrame, accelerated_times: pd.DataFrame) -> pd.DataFrame:
    """Every net that was exported, in float32 and with 8 bits, by ONNX Runtime.

    One row a method, setting and format. Columns: these; seeds, accuracy, lost, low, high
    (percentage points against the control in float32, same budget of training), params, macs,
    file_bytes, smaller (times, than the control's file in float32), macs_ratio, agreement (share
    of images that get the class of the step before: for float32 of PyTorch's net, for int8 of
    float32's), then for one image on one core and for a batch on all of them times_faster, low,
    high, image_s and stable, with `_single` and `_many` behind, against the control in float32 by
    the same runtime.

    Raises BadInputError where nothing was exported or nothing was timed by ONNX Runtime.
    """
    table = losses(accelerated_nets)
    parts = [last(table, word).assign(format=name) for name, word in FORMATS.items()]
    nets = pd.concat(parts)
    if nets.empty:
        raise BadInputError("no net was exported: the stored results have no step onnx")
    control = nets[nets["method"].eq(kinds.NONE) & nets["format"].eq("float32")].iloc[0]
    nets["smaller"] = control["file_bytes"] / nets["file_bytes"]
    nets["macs_ratio"] = control["macs"] / nets["macs"]
    nets = nets.rename(columns={"same_share": "agreement"})
    times = speed.speed_ups(accelerated_times)
    times = times[times["runtime"].eq(speed.ONNX)]
    if times.empty:
        raise BadInputError("no net was timed by ONNX Runtime")
    # nets of equal shapes are equally fast, whichever method made them: one of them was timed
    shapes = last(table)[["method", "setting", "params", "macs"]]
    times = times.merge(shapes, on=["method", "setting"]).drop(columns=["method", "setting"])
    measured = ["times_faster", "low", "high", "image_s", "stable", "threads", "batch"]
    for suffix, chosen in (("_single", _single(times)), ("_many", _many(times))):
        chosen = chosen.drop_duplicates(["params", "macs", "format"])
        chosen = chosen[["params", "macs", "format", *measured]]
        chosen = chosen.rename(columns={name: name + suffix for name in measured})
        nets = nets.merge(chosen, on=["params", "macs", "format"], how="left")
    order = ["method", "setting", "format", "seeds", "accuracy", "lost", "low", "high", "params",
             "macs", "file_bytes", "smaller", "macs_ratio", "agreement", "difference"]  # fmt: skip
    timed = [f"{name}{suffix}" for suffix in ("_single", "_many") for name in measured]
    return nets[order + timed].reset_index(drop=True)


def _single(times: pd.DataFrame) -> pd.DataFrame:
    return times[times["batch"].eq(1) & times["threads"].eq(times["threads"].min())]


def _many(times: pd.DataFrame) -> pd.DataFrame:
    largest = times["batch"].max()
    return times[times["batch"].eq(largest) & times["threads"].eq(times["threads"].max())]


def front(table: pd.DataFrame, times: str = "times_faster_single") -> pd.DataFrame:
    """Nets that no other one beats in both: points lost, and times faster; the slowest first."""
    table = table.dropna(subset=[times]).sort_values(["lost", times], ascending=[True, False])
    fastest = table[times].cummax().shift(fill_value=-np.inf)
    return table[table[times] > fastest].sort_values(times).reset_index(drop=True)


def within(
    table: pd.DataFrame, points: float, times: str = "times_faster_single", **chosen
) -> pd.DataFrame:
    """Nets that lose at most so many points by their whole interval, the fastest first.

    `chosen` are values of columns, such as format="int8".
    """
    for column, value in chosen.items():
        table = table[table[column].eq(value)]
    return table[table["high"] <= points].sort_values(times, ascending=False)


def best_of_each(
    table: pd.DataFrame, points: float, times: str = "times_faster_single"
) -> pd.DataFrame:
    """Of each method the fastest net that loses at most so many points on average.

    One row a method, the fastest first: the columns of `overview`, and sure (whether the whole
    interval of the loss stays within these points).
    """
    mine = table[table["lost"] <= points].dropna(subset=[times])
    mine = mine.sort_values(times, ascending=False).drop_duplicates("method")
    return mine.assign(sure=mine["high"] <= points).reset_index(drop=True)
