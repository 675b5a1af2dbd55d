"""All methods of notebook 06 in one table: accuracy lost, and what is saved in size and time."""

import numpy as np
import pandas as pd

from convcost.chapters.acceleration.findings import accuracy as kinds
from convcost.chapters.acceleration.findings import speed
from convcost.chapters.acceleration.findings.accuracy import last, losses

FORMATS = {"float32": kinds.FLOAT, "int8": kinds.INT8}
_ORDER = ["method", "setting", "format", "seeds", "accuracy", "lost", "low", "high", "params",
          "macs", "file_bytes", "smaller", "macs_ratio", "agreement", "difference"]  # fmt: skip
_MEASURED = ["times_faster", "low", "high", "image_s", "stable", "threads", "batch"]
_TIMED = [f"{name}{suffix}" for suffix in ("_single", "_many") for name in _MEASURED]


def overview(accelerated_nets: pd.DataFrame, accelerated_times: pd.DataFrame) -> pd.DataFrame:
    """Every net that was exported, in float32 and with 8 bits, by ONNX Runtime.

    One row a method, setting and format. Columns: these; seeds, accuracy, lost, low, high
    (percentage points against the control in float32, same budget of training), params, macs,
    file_bytes, smaller (times, than the control's file in float32), macs_ratio, agreement (share
    of images that get the class of the step before: for float32 of PyTorch's net, for int8 of
    float32's), then for one image on one core and for a batch on all of them times_faster, low,
    high, image_s and stable, with `_single` and `_many` behind, against the control in float32 by
    the same runtime.

    No rows where nothing was exported, or nothing timed by ONNX Runtime: its package was missing.
    """
    table = losses(accelerated_nets)
    parts = [last(table, word).assign(format=name) for name, word in FORMATS.items()]
    nets = pd.concat(parts)
    times = speed.speed_ups(accelerated_times)
    times = times[times["runtime"].eq(speed.ONNX)]
    if nets.empty or times.empty:
        return pd.DataFrame(columns=_ORDER + _TIMED)
    control = nets[nets["method"].eq(kinds.NONE) & nets["format"].eq("float32")].iloc[0]
    nets["smaller"] = control["file_bytes"] / nets["file_bytes"]
    nets["macs_ratio"] = control["macs"] / nets["macs"]
    nets = nets.rename(columns={"same_share": "agreement"})
    # nets of equal shapes are equally fast, whichever method made them: one of them was timed
    shapes = last(table)[["method", "setting", "params", "macs"]]
    times = times.merge(shapes, on=["method", "setting"]).drop(columns=["method", "setting"])
    for suffix, chosen in (("_single", _single(times)), ("_many", _many(times))):
        chosen = chosen.drop_duplicates(["params", "macs", "format"])
        chosen = chosen[["params", "macs", "format", *_MEASURED]]
        chosen = chosen.rename(columns={name: name + suffix for name in _MEASURED})
        nets = nets.merge(chosen, on=["params", "macs", "format"], how="left")
    return nets[_ORDER + _TIMED].reset_index(drop=True)


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


# --- what to try first -------------------------------------------------------------------------

NEEDS = {
    kinds.QUANTISED: "some hundred images, no training",
    kinds.NARROWED: "the training data, an epoch",
    kinds.COMBINED: "the training data, an epoch, and the net itself as teacher",
    kinds.DISTILLED: "the training data, a whole training, a teacher",
    kinds.FACTORISED: "the training data, an epoch",
    kinds.DROPPED: "the training data, an epoch, a net with shortcuts",
    kinds.COMPACT: "the training data, a whole training",
}
"""Method -> what it takes to do it, as it was done here."""


SAID = {
    kinds.NONE: "",
    kinds.QUANTISED: "a quarter of the size, three times as fast",
    kinds.NARROWED: "usually degrades accuracy",
    kinds.COMBINED: "",
    kinds.DISTILLED: "a student better than it gets alone",
    kinds.FACTORISED: "fewer parameters, large errors with ReLU",
    kinds.DROPPED: "15 % less latency",
    kinds.COMPACT: "fewer operations, comparable accuracy",
}
"""Method -> what the sources promise or warn of, in our words."""


def one_table(table: pd.DataFrame, compared: pd.DataFrame, points: float = 1.5) -> pd.DataFrame:
    """What each method really buys: of each its fastest net within so many points, on average.

    Where no net of a method loses so little it is the one that loses least. `table`: `overview`;
    `compared`: `speed.predictions`. One row a method: method, setting, format, lost, params,
    megabytes, million_macs, predicted (times as fast in PyTorch, by prices; missing without),
    single and many (times as fast, measured, ONNX Runtime), images_per_s (of the batch), said (by
    the sources).
    """
    mine = table.copy()
    itself = mine["method"].eq(kinds.NONE) & mine["format"].eq("int8")
    mine.loc[itself, "method"] = kinds.QUANTISED
    rows = []
    for method, said in SAID.items():
        of = mine[mine["method"].eq(method)]
        if of.empty:
            continue
        fit = of[of["lost"] <= points]
        row = (
            fit.loc[fit["times_faster_single"].idxmax()]
            if fit["times_faster_single"].notna().any()
            else of.loc[of["lost"].idxmin()]
        )
        rows.append(
            {"method": method, "setting": row["setting"], "format": row["format"],
             "lost": row["lost"], "params": row["params"], "megabytes": row["file_bytes"] / 1e6,
             "million_macs": row["macs"] / 1e6, "predicted": _predicted(compared, row),
             "single": row["times_faster_single"], "many": row["times_faster_many"],
             "images_per_s": 1 / row["image_s_many"], "said": said}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _predicted(compared: pd.DataFrame, row: pd.Series) -> float:
    """By prices, at batch 1; of a net of the same multiply-adds where it was not timed itself."""
    same = compared[compared["macs"].eq(row["macs"]) & compared["batch"].eq(1)]
    return float(same["predicted_ratio"].iloc[0]) if len(same) else float("nan")


def for_practice(table: pd.DataFrame, points: tuple[float, ...] = (0.5, 1.5)) -> pd.DataFrame:
    """Of `overview`: how fast each method gets within so many points lost, on average.

    One row a method, the fastest at the last of `points` first: method, needs, and for each of
    these points, in float32 and with int8: times_<format>_<points>, the largest times_faster_single
    (missing where no setting of it loses so little). What 8 bits do to the net itself is the row
    "quantisation".
    """
    rows = []
    for method, needs in NEEDS.items():
        mine = table[table["method"].eq(method)]
        if method == kinds.QUANTISED:  # 8 bits after training are a step of the net itself
            itself = table["method"].eq(kinds.NONE) & table["format"].eq("int8")
            mine = table[itself | (table["method"].eq(method) & table["format"].eq("int8"))]
        if mine.empty:
            continue
        row = {"method": method, "needs": needs}
        for number_format in FORMATS:
            for most in points:
                fit = mine[mine["format"].eq(number_format) & (mine["lost"] <= most)]
                row[f"{number_format} at {most:g} points"] = fit["times_faster_single"].max()
        rows.append(row)
    if not rows:
        return pd.DataFrame(columns=["method", "needs"])
    order = f"int8 at {points[-1]:g} points"
    return pd.DataFrame(rows).sort_values(order, ascending=False, ignore_index=True)


def _told(row: pd.Series) -> str:
    """How fast and what is lost, in words."""
    lost = f"{round(row['lost'], 2) + 0:.2f} points"  # no minus before 0.00
    if np.isfinite(row["low"]):
        lost += f" ({row['low']:.2f} to {row['high']:.2f})"
    return (
        f"{row['times_faster_single']:.1f} times as fast for one image, "
        f"{row['times_faster_many']:.1f} times for a batch, {row['smaller']:.1f} times smaller, "
        f"{lost} lost"
    )


def answer(accelerated_nets: pd.DataFrame, accelerated_times: pd.DataFrame) -> str:
    """The notebook's answer in three sentences, as Markdown, with its numbers."""
    table = overview(accelerated_nets, accelerated_times)
    if table.empty:
        return (
            "No net was exported and timed by ONNX Runtime, so the question stays open here: "
            'install `pip install "convcost[acceleration]"` and run this notebook again.'
        )
    int8 = table[table["method"].eq(kinds.NONE) & table["format"].eq("int8")].iloc[0]
    lines = [f"- **8 bits after training**: {_told(int8)}, with no training at all."]
    for method, words, most in (
        (kinds.NARROWED, "Fewer filters, trained on for an epoch", 1.0),
        (kinds.COMBINED, "Both, with the net itself as teacher", 1.5),
    ):
        number_format = "float32" if method == kinds.NARROWED else "int8"
        mine = table[table["method"].eq(method) & table["format"].eq(number_format)]
        fit = mine[mine["lost"] <= most].dropna(subset=["times_faster_single"])
        chosen = fit if len(fit) else mine
        if chosen.empty:
            continue
        best = chosen.sort_values(
            "times_faster_single" if len(fit) else "lost", ascending=not len(fit)
        ).iloc[0]
        lines.append(f"- **{words}** ({best['setting']}): {_told(best)}.")
    seeds = f"{table['seeds'].min()} seeds in pairs"
    return "\n".join([*lines, "", f"Losses are means over {seeds}, with 95 % intervals."])
