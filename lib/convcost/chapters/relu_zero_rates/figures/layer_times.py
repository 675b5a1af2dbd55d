"""Time per layer of LeNet beside Table I of Atsumi et al.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.relu_zero_rates.findings`.
"""

import matplotlib.pyplot as plt
import pandas as pd

from convcost.chapters.relu_zero_rates import findings
from convcost.chapters.relu_zero_rates.figures.parts import around
from convcost.chapters.relu_zero_rates.findings import paper
from convcost.figures import style

_PAPER = {"color": style.PAPER_COLOUR, "marker": "D", "markersize": 6, "linestyle": "none"}


def layer_times(layer_times: pd.DataFrame) -> plt.Figure:
    """Table I beside our times of the same layers (left), and time against multiplications (right).

    Median and middle half of the repetitions. A filled point lies at the exact multiplications,
    the hollow one of conv2 at those by the paper's equation (1).
    """
    style.apply()
    times = findings.table_one(layer_times)
    layers = list(dict.fromkeys(times["layer"]))
    published = times.drop_duplicates("layer").set_index("layer")["published_s"]
    counts = findings.multiplications().pivot(
        index="layer", columns="reading", values="multiplications"
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4))
    conditions = list(times.groupby(["batch", "threads"]))
    for number, ((batch, _), mine) in enumerate(conditions):
        mine = mine.set_index("layer")
        look = {"color": style.PALETTE[number], "marker": style.MARKERS[number], "markersize": 7}
        place = [layers.index(x) + 0.11 * (2 * number - len(conditions)) for x in mine.index]
        spread = around(mine, "median_s", "p25_s", "p75_s")
        left.errorbar(
            mine["median_s"], place, xerr=spread, linestyle="none", elinewidth=2.5,
            label=f"ours, batch {batch}", **look,
        )  # fmt: skip
        _against_counts(right, mine["median_s"], counts, **look)
    place = [layers.index(layer) + 0.11 * len(conditions) for layer in published.index]
    left.plot(published, place, label="the paper's Table I", **_PAPER)
    _against_counts(right, published, counts, **_PAPER)
    left.set_yticks(range(len(layers)), layers)
    left.set_ylim(len(layers) - 0.4, -0.6)
    left.grid(axis="y", visible=False)
    repetitions = layer_times["repetition"].nunique()
    left.set_xlabel(f"time of one image: median, middle half of {repetitions} repetitions")
    style.durations(left.xaxis)
    right.set_xlabel("multiplications of one image")
    right.set_ylabel("time of one image")
    right.set_xscale("log")
    right.set_xlim(400, 3.5e5)
    right.grid(axis="x", visible=False)
    style.durations(right.yaxis)
    low, high = right.get_ylim()
    low /= (high / low) ** 0.3  # room for the names
    right.set_ylim(low, high)
    names = {layer: (counts.loc[layer, "exact"], "center") for layer in counts.index} | {
        "fc120": (1.06 * counts.loc["fc120", "exact"], "left"),
        "conv2 by eq. (1)": (counts.loc["conv2", "equation"] / 1.06, "right"),
    }  # side by side: their counts are near each other
    for name, (count, side) in names.items():
        right.text(
            count, 1.15 * low, name, rotation=90, ha=side, va="bottom", fontsize=9, color="0.25"
        )
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _against_counts(axis: plt.Axes, times: pd.Series, counts: pd.DataFrame, **look) -> None:
    """Times at the exact counts, filled; where the equation differs, hollow and tied to it."""
    look = look | {"linestyle": "none"}
    weighted = [layer for layer in counts.index if layer in times.index]
    axis.plot(counts.loc[weighted, "exact"], times[weighted], **look)
    for layer in weighted:
        exact, by_equation = counts.loc[layer, ["exact", "equation"]]
        if exact != by_equation:
            axis.plot([by_equation, exact], [times[layer]] * 2, ":", color=look["color"])
            axis.plot(by_equation, times[layer], **look | {"markerfacecolor": "white"})


def cold_start(cold_layer_times: pd.DataFrame) -> plt.Figure:
    """First call and later calls of each layer in fresh processes (left); averages (right).

    Left: a point a process, with the median; and what a layer would have to need once for its
    average to come out as Table I has it. Right: Table I beside the average of its images with the
    first call in it, and without.
    """
    style.apply()
    table = findings.cold_start(cold_layer_times)
    layers, place = list(table["layer"]), table.index
    rows = cold_layer_times[cold_layer_times["layer"].isin(layers)]
    low = rows["layer"].map(layers.index) + 0.26
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.6), sharey=True)
    first = {"color": style.PALETTE[1], "marker": "s", "markersize": 8, "linestyle": "none"}
    later = {"color": style.PALETTE[0], "marker": "o", "markersize": 6, "linestyle": "none"}
    left.hlines(place, table["later_s"], table["first_s"], color="0.75", linewidth=2, zorder=1)
    left.plot(table["later_s"], place, label="a later call", **later)
    left.plot(table["first_s"], place, label="the first call", **first)
    for name, look in (("later_s", later), ("first_s", first)):
        left.plot(rows[name], low, "|", color=look["color"], markersize=6, alpha=0.7)
    hollow = {"markerfacecolor": "white"}
    left.plot(table["one_time_s"], place, label="needed once for Table I", **_PAPER | hollow)
    right.plot(table["later_s"], place, label="without the first call", **later)
    right.plot(
        table["average_s"],
        place,
        label="with the first call",
        **first | {"markerfacecolor": "none"},
    )
    right.plot(table["published_s"], place, label="the paper's Table I", **_PAPER)
    left.set_yticks(place, layers)
    left.set_ylim(len(layers) - 0.5, -0.6)
    processes = table["processes"].max()
    left.set_xlabel(f"time of a call; fresh processes: {processes}, and their median")
    images = paper.value("timing_images")
    right.set_xlabel(f"time of one image, mean of {images:,} images")
    style.durations(left.xaxis)
    style.durations(right.xaxis)
    for axis in (left, right):
        axis.grid(axis="y", visible=False)
        axis.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=9, frameon=False,
            columnspacing=1.2, handletextpad=0.2,
        )  # fmt: skip
    return figure
