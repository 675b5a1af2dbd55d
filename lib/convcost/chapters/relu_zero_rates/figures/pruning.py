"""LeNets without some filters: what they lose in accuracy, what they save.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.relu_zero_rates.findings`.
"""

import matplotlib.pyplot as plt
import pandas as pd

from convcost.chapters.relu_zero_rates import findings
from convcost.chapters.relu_zero_rates.figures.parts import around, one_legend
from convcost.chapters.relu_zero_rates.findings import paper
from convcost.figures import style

_LAYERS = ("conv1", "conv2")
_CRITERIA = {
    "highest zero rate": (style.PALETTE[3], "o", "-"),
    "smallest L1 norm": (style.PALETTE[0], "s", "--"),
    "random": (style.PALETTE[7], "^", ":"),
}
_REMOVED = "filters removed · share of the net's multiplications"
_TUNED = {False: "as cut", True: "fine-tuned afterwards"}


def accuracy(pruned_nets: pd.DataFrame) -> plt.Figure:
    """Accuracy against the filters removed, for each way of choosing them; median, 5 to 95 %.

    Rows: the layer that loses filters. Columns: as cut, and after fine-tuning.
    """
    style.apply()
    curves = findings.accuracy_curves(pruned_nets)
    figure, axes = _grid(pruned_nets)
    for (layer, tuned), axis in axes.items():
        mine = curves[(curves["layer"] == layer) & (curves["fine_tuned"] == tuned)]
        for criterion, (colour, marker, line) in _CRITERIA.items():
            curve = mine[mine["criterion"] == criterion]
            axis.fill_between(
                curve["removed"], curve["p05"], curve["p95"], color=colour, alpha=0.18, linewidth=0
            )
            axis.plot(
                curve["removed"],
                curve["median"],
                line,
                color=colour,
                marker=marker,
                label=criterion,
            )
        small = mine[(mine["criterion"] == "from scratch") & (mine["removed"] > 0)]
        if tuned and len(small):
            axis.errorbar(
                small["removed"] + 0.12, small["median"], yerr=around(small), fmt="*",
                color="black", markersize=11, label="trained small from scratch",
            )  # fmt: skip
        style.percents(axis.yaxis)
    for layer in _LAYERS:
        axes[layer, False].set_ylabel("images named rightly")
    _say_if_empty(axes, curves)
    seeds = pruned_nets["seed"].nunique()
    _legend(figure, f"median and 5 to 95 % of {seeds} nets")
    return figure


def differences(pruned_nets: pd.DataFrame) -> plt.Figure:
    """Accuracy without the filters of highest zero rate less that without others, in pairs.

    Both nets of a pair come from one seed. Mean over the pairs with its 95 % interval; below zero
    the paper's choice is the worse one.
    """
    style.apply()
    table = findings.paired_differences(pruned_nets)
    figure, axes = _grid(pruned_nets)
    for (layer, tuned), axis in axes.items():
        axis.axhline(0, color="0.25", linewidth=1.2)
        for number, against in enumerate(("random", "smallest L1 norm")):
            mine = table[
                (table["layer"] == layer)
                & (table["fine_tuned"] == tuned)
                & (table["against"] == against)
            ]
            colour, marker, _ = _CRITERIA[against]
            axis.errorbar(
                mine["removed"] + (number - 0.5) * 0.03 * axis.get_xlim()[1],
                mine["mean_points"],
                yerr=around(mine, "mean_points", "low_points", "high_points"),
                fmt=marker,
                color=colour,
                capsize=3,
                label=f"highest zero rate minus {against}",
            )
    for layer in _LAYERS:
        axes[layer, False].set_ylabel("accuracy,\npercentage points")
    _say_if_empty(axes, table)
    pairs = table["seeds"].max() if len(table) else 0
    _legend(figure, f"mean and its 95 % interval, {pairs} pairs")
    return figure


def _grid(pruned_nets: pd.DataFrame) -> tuple[plt.Figure, dict[tuple[str, bool], plt.Axes]]:
    """Panels by (layer, fine-tuned), the horizontal axes ready."""
    figure, axes = plt.subplots(2, 2, figsize=(10.5, 6.8), sharex="row", sharey="col")
    panels = {}
    for row, layer in enumerate(_LAYERS):
        _count_filters(axes[row, 0], layer, pruned_nets)
        for column, (tuned, words) in enumerate(_TUNED.items()):
            panels[layer, tuned] = axes[row, column]
            axes[row, column].set_title(f"{layer}, {words}")
            axes[row, column].set_xlabel(_REMOVED, fontsize=10)
    return figure, panels


def _say_if_empty(axes: dict[tuple[str, bool], plt.Axes], table: pd.DataFrame) -> None:
    """A run at small scale does not fine-tune every layer: its panel says so."""
    for (layer, tuned), axis in axes.items():
        if not ((table["layer"] == layer) & (table["fine_tuned"] == tuned)).any():
            axis.text(
                0.5, 0.5, "not measured in this run", transform=axis.transAxes, ha="center",
                va="center", color="0.35", fontsize=10, backgroundcolor="white",
            )  # fmt: skip


def _count_filters(axis: plt.Axes, layer: str, table: pd.DataFrame) -> None:
    """Ticks at the numbers removed, with the share of the net's multiplications they take along."""
    whole = table.loc[table["layer"] == "none", "macs"].iloc[0]
    left = table[table["layer"] == layer].groupby("removed")["macs"].first()
    ticks = {0: "0"} | {gone: f"{gone}\n{1 - macs / whole:.0%}" for gone, macs in left.items()}
    axis.set_xticks(list(ticks), [text.replace("%", " %") for text in ticks.values()])
    axis.set_xlim(-0.06 * max(ticks), 1.08 * max(ticks))


def _legend(figure: plt.Figure, title: str, ncols: int = 4) -> None:
    one_legend(figure, ncols=ncols, title=title, fontsize=10, title_fontsize=10)


def savings(pruned_nets: pd.DataFrame, pruned_times: pd.DataFrame) -> plt.Figure:
    """Multiplications and time saved against the filters removed, the paper's two numbers beside.

    Time: median and 5 to 95 % of the repetitions, each against the whole net in the same one.
    """
    style.apply()
    table = findings.savings(pruned_nets, pruned_times)
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.7), sharey=True)
    for axis, layer in zip(axes, _LAYERS, strict=True):
        rows = table[table["layer"] == layer].sort_values("removed")
        counts = rows.drop_duplicates("removed")
        axis.axhline(0, color="0.25", linewidth=1.2)
        axis.plot(
            counts["removed"], counts["layer_macs_saved"], ":", color="0.45", marker="x",
            label="multiplications of the layer",
        )  # fmt: skip
        axis.plot(
            counts["removed"], counts["net_macs_saved"], "-", color="0.15", marker="P",
            label="multiplications of the net",
        )  # fmt: skip
        for number, ((batch, _), mine) in enumerate(rows.groupby(["batch", "threads"])):
            axis.errorbar(
                mine["removed"] + 0.06 * number,
                mine["time_saved"],
                yerr=around(mine, "time_saved"),
                color=style.PALETTE[number],
                marker=style.MARKERS[number],
                linestyle="--",
                linewidth=1,
                elinewidth=2,
                label=f"time of the net, batch {batch}",
            )
        _count_filters(axis, layer, pruned_times)
        axis.set_title(f"filters of {layer} removed")
        axis.set_xlabel(_REMOVED)
        style.percents(axis.yaxis)
    axes[0].set_ylabel("saved")
    for name, face in (("removed_multiplications", "none"), ("run_time_saving", None)):
        what = "multiplications of conv1" if face else "run time"
        axes[0].plot(
            paper.high_filters(), paper.share(f"{name}_percent"), "D", color=style.PAPER_COLOUR,
            markersize=8, markeredgewidth=2, markerfacecolor=face, label=f"the paper: {what}",
            zorder=5, linestyle="none",
        )  # fmt: skip
    _legend(figure, "time: median and 5 to 95 % of the repetitions")
    return figure
