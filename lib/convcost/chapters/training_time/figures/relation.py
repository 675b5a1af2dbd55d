"""Time against FLOPs: five nets in all sizes, and many nets over the batch size.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.training_time.findings`.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from convcost.chapters.training_time import findings
from convcost.chapters.training_time.findings import loops, many_nets, paper, per_epoch
from convcost.core.units import readable
from convcost.figures import style

_NETS = (*paper.NETS, "densenet121")
_TIMES = ((0.1, ":"), (0.3, ":"), (1.0, "--"), (3.0, ":"), (10.0, ":"))


def time_against_flops(training_steps: pd.DataFrame, net_costs: pd.DataFrame) -> plt.Figure:
    """Seconds of a training image against its FLOPs (left), and the paper's table (right).

    Left: the plain loop at each size, a line a net; the tuned loop hollow; medians with quartiles.
    Dotted lines are equal FLOP/s: a point above one is slower than that. Right: the paper's whole
    runs against its FLOPs; the lines are relative to AlexNet's FLOPs per second.
    """
    timed = findings.epochs(training_steps)
    counted = per_epoch.costs(net_costs, 1, 0)[["net", "input_px", "in_channels", "epoch_flops"]]
    timed = timed.merge(counted, on=["net", "input_px", "in_channels"])
    sizes = sorted(timed["input_px"].unique())
    plain = _each(timed, loops.LOOPS[:1], sizes)
    if plain.empty:
        raise style.NothingToDrawError("no step of the plain loop was timed")
    style.apply()
    tuned = _each(timed, loops.TUNED, sizes)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5.2), width_ratios=[1.45, 1])
    for net in (net for net in _NETS if net in set(plain["net"])):
        look = {"color": style.NET_COLOURS[net], "marker": style.NET_MARKERS[net]}
        for rows, more in ((plain, {}), (tuned, {"markerfacecolor": "white"})):
            mine = rows[rows["net"] == net].sort_values("epoch_flops")
            time = mine["train_image_s"]
            spread = [time - mine["train_image_low_s"], mine["train_image_high_s"] - time]
            left.errorbar(
                mine["epoch_flops"], time, yerr=np.maximum(spread, 0), markersize=7,
                linewidth=1.2 if not more else 0, elinewidth=2, **look, **more,
            )  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel="FLOPs of training on one image")
    left.set_ylabel("time of one training image")
    left.margins(0.09)
    rates = plain["epoch_flops"] / plain["train_image_s"]
    fastest = (tuned["epoch_flops"] / tuned["train_image_s"]).max() if len(tuned) else 0
    wide = plain["epoch_flops"].max() > 1000 * plain["epoch_flops"].min()
    marks = (1,) if wide else (1, 3)
    _equal_rates(left, _round(rates.min(), max(rates.max(), fastest), marks))
    style.durations(left.yaxis)
    _counts(left.xaxis)
    spans = ", ".join(str(size) for size in sorted(set(plain["input_px"])))
    left.set_title(f"ours: the plain loop at {spans} px", pad=18)
    _paper(right)
    nets = [net for net in _NETS if net in set(plain["net"])]
    handles = [Line2D([], [], markersize=7, **style.of_net(net)) for net in nets]
    tuned_look = {"marker": "o", "markerfacecolor": "white", "markersize": 7, "color": "0.3"}
    if len(tuned):
        handles.append(Line2D([], [], linestyle="none", label="hollow: tuned loop", **tuned_look))
    style.legend_above(figure, handles)
    return figure


def _each(timed: pd.DataFrame, names: tuple[str, ...], sizes: list[int]) -> pd.DataFrame:
    """For each size, nets under one condition; of several loops the fastest of each net."""
    chosen = [findings.of_one_condition(timed, loop, px, _NETS) for loop in names for px in sizes]
    rows = pd.concat(chosen or [timed])
    return rows.sort_values("train_image_s").drop_duplicates(["net", "input_px"])


def _round(low: float, high: float, marks: tuple[int, ...]) -> list[float]:
    """`marks` times powers of ten, from just below `low` to just above `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    rates = [m * 10.0**p for p in powers for m in marks]
    return [rate for rate in rates if low / 3.4 < rate < 3.4 * high]


def _equal_rates(axis: plt.Axes, rates: list[float]) -> None:
    """Lines of equal FLOP/s over the whole panel, each named where it leaves it."""
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    for rate in rates:
        axis.plot([left, right], [left / rate, right / rate], ":", color="0.45", linewidth=1,
                  zorder=0)  # fmt: skip
        _name_line(axis, rate, f"{readable(rate, 0)}FLOP/s", (left, right), (bottom, top))
    axis.set(xlim=(left, right), ylim=(bottom, top))


def _name_line(axis: plt.Axes, rate: float, words: str, across, up) -> None:
    """`words` where the line y = x / rate leaves the panel: above it, or right of it."""
    (left, right), (bottom, top) = across, up
    look = {"textcoords": "offset points", "fontsize": 8, "color": "0.3", "annotation_clip": False}
    if left < top * rate < right:
        axis.annotate(words, (top * rate, top), (0, 3), ha="center", **look)
    elif bottom < right / rate <= top:
        axis.annotate(words, (right, right / rate), (3, 0), va="center", **look)


def _counts(axis) -> None:
    style.decades(axis, (1, 3), lambda value: readable(value, 0))


def _paper(axis: plt.Axes) -> None:
    table = paper.table_two()
    flops, time = table["flops"].astype(float), table["seconds"].astype(float)
    for row in table.itertuples():
        axis.plot(row.flops, row.seconds, color=style.PAPER_COLOUR,
                  marker=style.NET_MARKERS[row.net], markersize=8)  # fmt: skip
        above = row.net in ("googlenet", "densenet161")
        axis.annotate(
            "DenseNet" if row.role == "densenet" else style.net_name(row.net),
            (row.flops, row.seconds), (0, 8 if above else -8),
            textcoords="offset points", ha="center", va="bottom" if above else "top", fontsize=9,
            color=style.PAPER_COLOUR,
        )  # fmt: skip
    middle = math.sqrt(time.min() * time.max())
    across = (flops.min() / 2.2, flops.max() * 2.2)
    up = (middle / 12, middle * 12)
    axis.set(xscale="log", yscale="log", xlim=across, ylim=up)
    for factor, line in _TIMES:
        rate = factor * flops[0] / time[0]
        axis.plot(across, [x / rate for x in across], line, color="0.45", linewidth=1, zorder=0)
        words = "AlexNet's FLOP/s" if factor == 1 else f"{factor:g} ×"
        _name_line(axis, rate, words, across, up)
    axis.set(xlim=across, ylim=up)
    axis.set_xlabel("FLOPs of one image, as printed")
    axis.set_ylabel("time of training and validation")
    style.durations(axis.yaxis)
    axis.yaxis.set_major_formatter("{x:g} s")
    _counts(axis.xaxis)
    axis.set_title("the paper: whole runs", pad=18)


# --- many nets -----------------------------------------------------------------------------------


def batch_and_family(batch_times: pd.DataFrame) -> plt.Figure:
    """Many nets, a row a kind of run: time against FLOPs; r and spread over the batch size.

    Left: time of an image against FLOPs at the smallest batch (hollow) and the largest (filled),
    medians of the stable repetitions with quartiles, colours by family. Middle: Pearson's r over
    all nets and within each family of three or more. Right: the highest over the lowest time per
    FLOP, 1 where proportional; hollow there where not one timing of the batch was stable.
    """
    medians, relations = findings.net_medians(batch_times), findings.batches(batch_times)
    if medians.empty:
        raise style.NothingToDrawError("no batch was timed")
    style.apply()
    cases = list(dict.fromkeys(zip(medians["what"], medians["input_px"], strict=True)))
    figure, axes = plt.subplots(
        len(cases), 3, figsize=(11.5, 0.7 + 2.75 * len(cases)), squeeze=False,
        width_ratios=[1.5, 1, 1],
    )  # fmt: skip
    for row, (what, px) in zip(axes, cases, strict=True):
        mine, times, found = (
            table[(table["what"] == what) & (table["input_px"] == px)]
            for table in (medians, batch_times, relations)
        )
        _nets(row[0], mine, times, found)
        row[0].set_title(f"{what.replace('_', ' ')}, {px} px")
        _over_batches(row[1], found, "pearson")
        _over_batches(row[2], found, "spread")
        row[1].set_ylim(min(row[1].get_ylim()[0], 0.89), 1.01)
        row[2].set_yscale("log")
        style.decades(row[2].yaxis, (1, 2, 3, 5), "{x:g} ×")
        row[2].set_ylim(0.95, max(2.1, 1.1 * row[2].get_ylim()[1]))
    axes[0, 1].set_title("Pearson's r of time and FLOPs", fontsize=10)
    axes[0, 2].set_title("time per FLOP: highest ÷ lowest", fontsize=10)
    axes[-1, 0].set_xlabel("FLOPs of one image")
    for axis in axes[-1, 1:]:
        axis.set_xlabel("images in a batch")
    families = [family for family in style.FAMILIES if family in set(medians["family"])]
    handles = [
        Line2D([], [], color=style.FAMILY_COLOURS[family], marker=style.FAMILY_MARKERS[family],
               markersize=7, linewidth=1.3, label=style.FAMILIES[family])
        for family in families
    ]  # fmt: skip
    handles.append(Line2D([], [], color="black", linewidth=2.4, label="all nets"))
    style.legend_above(figure, handles)
    return figure


def _nets(
    axis: plt.Axes, medians: pd.DataFrame, batch_times: pd.DataFrame, found: pd.DataFrame
) -> None:
    stable = many_nets.usable(batch_times)
    per_image = stable["seconds"] / stable["batch"] / stable["calls"]
    quartiles = per_image.groupby([stable["batch"], stable["net"]]).quantile([0.25, 0.75]).unstack()
    ends = sorted({medians["batch"].min(), medians["batch"].max()})
    words = []
    for batch in ends:
        rows = medians[medians["batch"] == batch]
        hollow = {"markerfacecolor": "white"} if batch != ends[-1] else {}
        for family, mine in rows.groupby("family", sort=False):
            low, high = quartiles.loc[batch].loc[mine["net"]].to_numpy().T
            axis.errorbar(
                mine["flops"], mine["image_s"], linestyle="none", markersize=6, elinewidth=1.5,
                yerr=[mine["image_s"] - low, high - mine["image_s"]],
                color=style.FAMILY_COLOURS.get(family, "0.5"),
                marker=style.FAMILY_MARKERS.get(family, "o"), **hollow,
            )  # fmt: skip
        every = found[(found["batch"] == batch) & (found["family"] == many_nets.ALL)]
        r = f", r = {every['pearson'].iloc[0]:.3f}" if len(every) else ""
        left_out = int(every["unstable"].iloc[0]) if len(every) else 0
        unstable = f", {left_out} unstable left out" if left_out else ""
        if not rows["steady"].all():
            unstable = ", unstable"
        words.append(f"{'hollow' if hollow else 'filled'}: batch {batch}{r}{unstable}")
    axis.text(
        0.02, 0.97, "\n".join(words), transform=axis.transAxes, va="top", fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip
    axis.set(xscale="log", yscale="log", ylabel="time of one image")
    low, high = axis.get_ylim()
    axis.set_ylim(low, high * (high / low) ** 0.25)  # room for the words
    style.durations(axis.yaxis)
    _counts(axis.xaxis)


def _over_batches(axis: plt.Axes, found: pd.DataFrame, name: str) -> None:
    for family in dict.fromkeys(found["family"]):
        mine = found[found["family"] == family].sort_values("batch")
        if family == many_nets.ALL:
            look = {"color": "black", "linewidth": 2.4, "marker": "o", "zorder": 3}
        else:
            look = {"color": style.FAMILY_COLOURS.get(family, "0.5"), "linewidth": 1.3}
            look["marker"] = style.FAMILY_MARKERS.get(family, "o")
        axis.plot(mine["batch"], mine[name].astype(float), markersize=5, **look)
        shaky = mine[~mine["steady"].astype(bool)]
        look |= {"linestyle": "none", "markerfacecolor": "white", "zorder": 4}
        if len(shaky):
            axis.plot(shaky["batch"], shaky[name].astype(float), markersize=5, **look)
    axis.set_xscale("log")
    batches = sorted(set(found["batch"])) if len(found) else [1]
    axis.set_xlim(batches[0] / 1.3, batches[-1] * 1.3)
    axis.xaxis.set_major_locator(FixedLocator(batches))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:g}")
