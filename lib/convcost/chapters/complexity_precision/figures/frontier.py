"""Equation (7): which nets are cheapest at a given precision, and what training them gave.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; fits and
statistics come from `convcost.chapters.complexity_precision.findings`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from convcost.chapters.complexity_precision import findings
from convcost.chapters.complexity_precision.figures.held_out import LOOKS, OTHER, relative_times
from convcost.chapters.complexity_precision.findings import cheapest, faces, paper
from convcost.chapters.complexity_precision.findings.held_out import SHOWN
from convcost.figures import style

_BLACK = {"color": "0.1", "linewidth": 1.6}
_BOUNDS = {
    cheapest.RANDOM: (style.PALETTE[2], "^"),
    cheapest.BEST: ("0.25", "D"),
}

_WAYS = {
    cheapest.RANDOM: "random search: cheapest held-out net",
    cheapest.BEST: "cheapest measured net",
}


def frontier(
    chosen_optima: pd.DataFrame,
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    repeated_trainings: pd.DataFrame,
) -> plt.Figure:
    """Fig. 2: precision against run time of the paper's grid, and the least time at a precision.

    Left: a dot a net of the grid by eq. (6), paler where it extrapolates; the envelopes of both
    models over all whole numbers, and every measured net. Right: the same envelopes seen from the
    precision; hollow what a model chose, an arrow to what training and timing gave, bars one
    standard deviation of the seeds. Dotted: the targets. Cross: what the paper states.
    """
    style.apply()
    configuration_trainings = findings.together(configuration_trainings, repeated_trainings)
    cloud = findings.cloud(configuration_trainings, forward_times)
    lower = findings.frontiers(configuration_trainings, forward_times, SHOWN, [cheapest.INTEGERS])
    measured = findings.measured(configuration_trainings, forward_times)
    trained = findings.optima(chosen_optima, configuration_trainings, forward_times)
    trained = trained[(trained["status"] == "found") & (trained["grid"] == cheapest.INTEGERS)]
    base = findings.baseline(configuration_trainings).set_index("what")["accuracy"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.6))
    pale = cloud["outside"].to_numpy()
    for outside, colour in ((True, "0.88"), (False, "0.68")):
        dots = cloud[pale == outside]
        left.plot(dots["complexity"], dots["precision"], ".", color=colour, markersize=2.2,
                  markeredgewidth=0, rasterized=True, zorder=1)  # fmt: skip
    for axis, across, up in ((left, "complexity", "precision"), (right, "precision", "complexity")):
        for name in SHOWN:
            line = lower[lower["model"] == name]
            colour, _, dashes = LOOKS[name]
            axis.plot(line[across], line[up], dashes, color=colour, linewidth=2.2, zorder=3)
        line = lower[lower["model"] == cheapest.MEASURED]
        axis.plot(line[across], line[up], **_BLACK, drawstyle="default", zorder=2)
        axis.plot(measured[across], measured[up], ".", color="0.1", markersize=4, zorder=2)
    left.set(xscale="log", xlabel="run time, baseline 1", ylabel="accuracy")
    low = min(measured["precision"].min(), base[faces.CONSTANT])
    left.set_ylim(low - 0.02, measured["precision"].max() + 0.02)
    times = pd.concat([measured["complexity"], cloud["complexity"]])
    left.set_xlim(times.min() / 1.2, 1.3)
    left.axhline(base[faces.CONSTANT], color="0.4", linestyle=":", linewidth=1.4, zorder=1)
    left.set_title(f"all {len(cloud):,} nets of the paper's grid", pad=22)
    style.percents(left.yaxis)
    relative_times(left.xaxis)
    _targets(right, chosen_optima, measured, trained["accuracy"].min(), base[faces.MEAN])
    for row in trained.itertuples():
        _optimum(right, row)
    right.set(yscale="log", xlabel="accuracy", ylabel="least run time, baseline 1")
    style.percents(right.xaxis)
    relative_times(right.yaxis)
    right.set_title("seen from the precision, with the targets", pad=22)
    figure.legend(
        handles=_frontier_key(bool(len(trained))), loc="outside upper left", ncols=4,
        frameon=False, fontsize=9.5, columnspacing=1.3, handletextpad=0.5,
    )  # fmt: skip
    return figure


def _targets(
    axis: plt.Axes, chosen_optima: pd.DataFrame, measured: pd.DataFrame, lowest: float, base: float
) -> None:
    """Lines of the targets, the paper's tenfold saving, and the limits that show them."""
    targets = chosen_optima.drop_duplicates("drop_points").sort_values("drop_points")
    for place, row in enumerate(targets.itertuples()):
        axis.axvline(row.target_accuracy, color="0.35", linestyle=":", linewidth=1.3, zorder=1)
        height = (1.005, 1.045)[place % 2]  # neighbours one above the other
        axis.text(row.target_accuracy, height, f"−{row.drop_points:g}", ha="center", fontsize=8.5,
                  transform=axis.get_xaxis_transform(), color="0.25")  # fmt: skip
    lost, factor = paper.value("precision_drop_percent"), paper.value("complexity_reduction")
    ends = [base - lost / 100, base, measured["precision"].max(), *targets["target_accuracy"]]
    low = np.nanmin([*(end for end in ends if end <= base), lowest])
    room = 0.1 * (base - low)
    low, high = low - room, max(ends) + room
    axis.set_xlim(low, high)
    seen = measured[measured["precision"] >= low]["complexity"]
    axis.set_ylim(min(seen.min(), 1 / factor) / 1.5, 1.5)
    axis.plot([low, base - lost / 100], [1 / factor] * 2, color=style.PAPER_COLOUR, linewidth=1.4,
              zorder=2)  # fmt: skip
    axis.plot(base - lost / 100, 1 / factor, "P", color=style.PAPER_COLOUR, markersize=11, zorder=4)
    axis.plot(base, 1, "*", color="0.1", markersize=14, zorder=4)


def _optimum(axis: plt.Axes, row) -> None:
    """What the model said of its choice (hollow), and what it gave (filled)."""
    colour, marker, _ = LOOKS.get(row.model, OTHER)
    axis.plot(row.predicted_accuracy, row.predicted_complexity, marker, color=colour, zorder=5,
              markersize=7.5, markerfacecolor="white", markeredgewidth=1.6)  # fmt: skip
    if not np.isfinite(row.accuracy) or not np.isfinite(row.complexity):
        return
    axis.annotate(
        "", (row.accuracy, row.complexity), (row.predicted_accuracy, row.predicted_complexity),
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.2, "shrinkA": 4,
                    "shrinkB": 3}, zorder=5, annotation_clip=True,
    )  # fmt: skip
    sd = row.accuracy_sd if np.isfinite(row.accuracy_sd) else 0
    time = [[row.complexity - 1 / row.saving_s_high], [1 / row.saving_s_low - row.complexity]]
    axis.errorbar(row.accuracy, row.complexity, xerr=sd, yerr=np.maximum(time, 0), marker=marker,
                  color=colour, markersize=7.5, elinewidth=1.6, capsize=2.5, zorder=6)  # fmt: skip


def _frontier_key(trained: bool) -> list:
    handles = [
        plt.Line2D([], [], linestyle="none", marker=".", color="0.68", markersize=9,
                   label="by eq. (6); paler: extrapolated"),
        plt.Line2D([], [], marker=".", label="measured nets, their envelope", **_BLACK),
    ]  # fmt: skip
    handles += [
        plt.Line2D([], [], color=LOOKS[name][0], linestyle=LOOKS[name][2], linewidth=2.2,
                   label=f"envelope by {name}")
        for name in SHOWN
    ]  # fmt: skip
    if trained:
        look = {"linestyle": "none", "markersize": 7.5, "color": "0.3", "marker": "o"}
        handles += [
            plt.Line2D([], [], markerfacecolor="white", label="chosen, as predicted", **look),
            plt.Line2D([], [], label="trained, timed; bar: sd of seeds", **look),
        ]
    factor, lost = paper.value("complexity_reduction"), paper.value("precision_drop_percent")
    handles += [
        plt.Line2D([], [], color=style.PAPER_COLOUR, marker="P", markersize=9, linewidth=1.4,
                   label=f"the paper: {factor:g} × less at −{lost:g}"),
        plt.Line2D([], [], linestyle="none", marker="*", color="0.1", markersize=12,
                   label="baseline T0"),
    ]  # fmt: skip
    return handles


# --- what it saves -------------------------------------------------------------------------------


def savings(
    chosen_optima: pd.DataFrame,
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    repeated_trainings: pd.DataFrame,
) -> plt.Figure:
    """How many times cheaper at each number of points given up: predicted, measured, and bounds.

    Left: seconds; hollow predicted, filled measured. Middle: multiply-adds, which are counted.
    Right: what was really given up, with 95 % intervals; the steps are what was asked. A cross over
    a mark: the trained net misses its target. Bounds: the cheapest precise enough net of those held
    out (a random search), and of all that were measured.
    """
    style.apply()
    configuration_trainings = findings.together(configuration_trainings, repeated_trainings)
    table = findings.savings(chosen_optima, configuration_trainings, forward_times)
    ahead = findings.optima(chosen_optima, configuration_trainings, forward_times)
    drops = sorted(chosen_optima["drop_points"].unique())
    looks = {
        f"{model}, {cheapest.INTEGERS}": LOOKS.get(model, OTHER)[:2]
        for model in dict.fromkeys(chosen_optima["model"])
    } | _BOUNDS
    offsets = dict(zip(looks, np.linspace(-0.27, 0.27, len(looks)), strict=True))
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.9), sharex=True)
    seconds, macs, lost = axes
    integers = ahead[(ahead["grid"] == cheapest.INTEGERS) & (ahead["status"] == "found")]
    for row in integers.itertuples():
        way = f"{row.model}, {row.grid}"
        x = drops.index(row.drop_points) + offsets[way] - 0.05
        saving = 1 / row.predicted_complexity
        seconds.plot([x, x + 0.05], [saving, row.saving_s], color=looks[way][0], linewidth=1,
                     zorder=2)  # fmt: skip
        seconds.plot(x, saving, looks[way][1], color=looks[way][0], markerfacecolor="white",
                     markersize=7.5, markeredgewidth=1.6, zorder=3)  # fmt: skip
    for way, (colour, marker) in looks.items():
        mine = table[table["way"] == way]
        x = np.array([drops.index(drop) + offsets[way] for drop in mine["drop_points"]])
        look = {"linestyle": "none", "marker": marker, "color": colour, "markersize": 8.5}
        look |= {"zorder": 4, "elinewidth": 1.4}
        for axis, name, low, high in (
            (seconds, "saving_s", "saving_s_low", "saving_s_high"), (macs, "saving_macs", "", ""),
            (lost, "lost_points", "lost_low", "lost_high"),
        ):  # fmt: skip
            y = mine[name].to_numpy(dtype=float)
            spread = None
            if low:
                spread = [y - mine[low].to_numpy(dtype=float), mine[high].to_numpy(dtype=float) - y]
                spread = np.nan_to_num(np.maximum(spread, 0))
            axis.errorbar(x, y, yerr=spread, **look)
            missed = ~mine["reaches"].fillna(True).to_numpy(dtype=bool)
            axis.plot(x[missed], y[missed], "x", color="black", markersize=5.5, markeredgewidth=1.5,
                      zorder=5)  # fmt: skip
    for axis in (seconds, macs):
        _factors(axis, drops)
    for place, drop in enumerate(drops):
        lost.plot([place - 0.42, place + 0.42], [drop, drop], color="0.35", linewidth=1.6, zorder=1)
        none = chosen_optima[
            (chosen_optima["drop_points"] == drop) & (chosen_optima["status"] == "none")
            & (chosen_optima["grid"] == cheapest.INTEGERS)
        ]  # fmt: skip
        for row in none.itertuples():
            way = f"{row.model}, {row.grid}"
            seconds.text(place + offsets[way], 0.03, "none", rotation=90, ha="center", va="bottom",
                         fontsize=9, color=looks[way][0],
                         transform=seconds.get_xaxis_transform())  # fmt: skip
    if not drops:
        seconds.text(0.5, 0.5, "no target in this run", transform=seconds.transAxes, ha="center")
    lost.set_title("accuracy given up", fontsize=11)
    lost.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g} pp".replace("-", "−"))
    )
    seconds.set_title("seconds of a forward pass", fontsize=11)
    macs.set_title("multiply-adds", fontsize=11)
    seconds.set_ylabel("times less than the baseline")
    for axis in axes:
        axis.set_xticks(range(len(drops)), [f"−{drop:g}" for drop in drops])
        axis.set_xlim(-0.5, max(len(drops), 1) - 0.5)
        axis.grid(axis="x", visible=False)
        axis.set_xlabel("points allowed to lose")
    figure.legend(
        handles=_savings_key(looks), loc="outside upper left", ncols=4, frameon=False,
        fontsize=9.5, columnspacing=1.3, handletextpad=0.5,
    )  # fmt: skip
    return figure


def _factors(axis: plt.Axes, drops: list[float]) -> None:
    """A logarithmic axis of factors, and the paper's at its own number of points."""
    factor, lost = paper.value("complexity_reduction"), paper.value("precision_drop_percent")
    axis.set_yscale("log")
    axis.axhline(factor, color=style.PAPER_COLOUR, linewidth=1.2, linestyle="--", zorder=1)
    if lost in drops:
        axis.plot(drops.index(lost) + np.array([-0.42, 0.42]), [factor] * 2,
                  color=style.PAPER_COLOUR, linewidth=4, zorder=1)  # fmt: skip
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, 0.9), max(high, 1.6 * factor))
    axis.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=20))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g} ×"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _savings_key(looks: dict) -> list:
    factor, lost = paper.value("complexity_reduction"), paper.value("precision_drop_percent")
    handles = [
        plt.Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=7.5,
                   label=_WAYS.get(way, way.removesuffix(f", {cheapest.INTEGERS}")))
        for way, (colour, marker) in looks.items()
    ]  # fmt: skip
    grey = {"linestyle": "none", "color": "0.35", "markersize": 7.5}
    return [
        *handles,
        plt.Line2D([], [], marker="o", markerfacecolor="white", label="hollow: predicted", **grey),
        plt.Line2D([], [], linestyle="none", marker="x", color="black", markersize=6,
                   markeredgewidth=1.5, label="on a mark: misses its target"),
        plt.Line2D([], [], color=style.PAPER_COLOUR, linestyle="--",
                   label=f"the paper's {factor:g} ×, thick at −{lost:g}"),
        plt.Line2D([], [], color="0.35", linewidth=1.6, label="asked for"),
    ]  # fmt: skip
