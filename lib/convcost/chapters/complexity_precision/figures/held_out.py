"""Models against nets that no fit has seen: run time, precision, and models side by side.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; fits and
statistics come from `convcost.chapters.complexity_precision.findings`.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from convcost.chapters.complexity_precision import findings
from convcost.chapters.complexity_precision.findings import (
    complexity,
    costs,
    paper,
    precision,
    rows,
)
from convcost.chapters.complexity_precision.findings.held_out import SHOWN
from convcost.figures import style
from convcost.fits import comparison

LOOKS = {  # model -> colour, marker, line
    complexity.EQ1: (style.PALETTE[0], "o", "--"),
    complexity.EQ1_RELATIVE: (style.PALETTE[4], "^", "-."),
    complexity.DEFAULT: (style.PALETTE[1], "s", "-"),
    precision.EQ6: (style.PALETTE[0], "o", "--"),
    precision.DEFAULT: (style.PALETTE[1], "s", "-"),
}
"""A model looks alike wherever it stands."""
OTHER = (style.PALETTE[4], "v", ":")
"""The look of a model that a run chose and that is no default any more."""

_Z = 1.96  # 95 % of a normal distribution
_FAINT = "0.72"


def predicted_complexity(
    forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame
) -> plt.Figure:
    """Fig. 1 (left): predicted against measured run time of held-out nets, a column a model.

    Above: both relative to the baseline's, bars the quartiles of the rounds, faint the nets that
    were fitted. Below: predicted over measured less 1, on an axis that is linear up to 10 %. The
    grey band is the error that the paper states; dotted, the mean error that the truth would have.
    """
    style.apply()
    table = findings.complexities(forward_times, configuration_trainings)
    table = table[table["session"] == rows.PLAN]
    floor = findings.cost_noise(forward_times, configuration_trainings)["mean_percent"]
    stated = paper.value("complexity_error_percent")
    figure, grid = _columns(3, (11.5, 6.2))
    times = table.loc[table["set"].isin([rows.FIT, rows.HELD_OUT]), "complexity"]
    ends = times.min() / 1.6, times.max() * 1.6
    for (top, bottom), name in zip(grid.T, costs.SHOWN, strict=True):
        mine = table[table["model"] == name]
        fit, held = (mine[mine["set"] == which] for which in (rows.FIT, rows.HELD_OUT))
        base = held["complexity"] / held["seconds"]
        spread = [
            base * (held["seconds"] - held["seconds_low"]),
            base * (held["seconds_high"] - held["seconds"]),
        ]
        _against(top, bottom, name, (fit["complexity"], fit["predicted"]),
                 (held["complexity"], held["predicted"], np.maximum(spread, 0)),
                 stated, ends)  # fmt: skip
        top.set(xscale="log", yscale="log")
        off = held["error_percent"].abs()
        top.set_title(name)
        _note(
            top,
            f"{len(held)} held out: mean {off.mean():.3g} %,\n"
            f"median {off.median():.3g} %, highest {off.max():.3g} %",
        )
        if math.isfinite(floor):
            for level in (-floor, floor):
                bottom.axhline(level, color="0.2", linestyle=":", linewidth=1.2, zorder=1)
        for axis in (top.xaxis, top.yaxis, bottom.xaxis):
            relative_times(axis)
        bottom.set_xlabel("measured run time, baseline 1")
    _widen(grid[1, 0], 1.5)
    grid[0, 0].set_ylabel("predicted run time, baseline 1")
    _percent_residuals(grid[1])
    noise = f"noise of the times: {floor:.2g} %" if math.isfinite(floor) else None
    _key(figure, stated, "quartiles of the rounds", noise)
    return figure


def predicted_precision(
    configuration_trainings: pd.DataFrame, repeated_trainings: pd.DataFrame
) -> plt.Figure:
    """Fig. 1 (right): predicted against measured accuracy of held-out nets, a column a model.

    Bars are what the draw of the test images leaves open (binomial, 95 %); faint the nets that
    were fitted. Dotted: the one number that fits the fitted nets best, for all. Below: predicted
    over measured less 1. The grey band is the error that the paper states.
    """
    style.apply()
    configuration_trainings = findings.together(configuration_trainings, repeated_trainings)
    table = findings.predictions(configuration_trainings, (*SHOWN, precision.CONSTANT))
    stated = paper.value("precision_error_percent")
    held = table[table["set"] == rows.HELD_OUT]
    flat = held[held["model"] == precision.CONSTANT]
    constant = float(flat["predicted"].iloc[0])
    own = flat["measured"].to_numpy()
    images = (flat["images"] / flat["seeds"]).to_numpy(dtype=float)  # seeds see the same images
    half = _Z * np.sqrt(own * (1 - own) / images)
    figure, grid = _columns(2, (9.6, 6.6))
    every = np.concatenate(
        [table["measured"], own - half, own + half, [constant]]
        + [held.loc[held["model"] == name, "predicted"] for name in SHOWN]
    )
    room = 0.04 * np.ptp(every)
    ends = every.min() - room, every.max() + room
    for (top, bottom), name in zip(grid.T, SHOWN, strict=True):
        fit, said = (
            table[(table["model"] == name) & (table["set"] == which)]
            for which in (rows.FIT, rows.HELD_OUT)
        )
        _against(top, bottom, name, (fit["measured"], fit["predicted"]),
                 (own, said["predicted"], half), stated, ends)  # fmt: skip
        across = np.linspace(*ends, 100)
        top.axhline(constant, color="0.3", linestyle=":", linewidth=1.4, zorder=1)
        bottom.plot(
            across, 100 * (constant / across - 1), ":", color="0.3", linewidth=1.4, zorder=1
        )
        off = said["error_percent"].abs()
        top.set_title(name)
        _note(
            top,
            f"{len(own)} held out: mean {off.mean():.2g} %, highest {off.max():.3g} %\n"
            f"one number for all: mean {flat['error_percent'].abs().mean():.2g} %",
        )
        style.percents(top.yaxis)
        style.percents(bottom.xaxis)
        bottom.locator_params(axis="x", nbins=6)
        bottom.set_xlabel("measured accuracy")
    grid[0, 0].set_ylabel("predicted accuracy")
    low = min(axis.get_ylim()[0] for axis in grid[1])
    high = max(axis.get_ylim()[1] for axis in grid[1])
    grid[1, 0].set_ylim(min(low, -1.3 * stated), max(high, 1.3 * stated))
    grid[1, 0].set_ylabel("predicted ÷\nmeasured − 1")
    grid[1, 0].yaxis.set_major_formatter(FuncFormatter(_signed))
    _key(figure, stated, "95 % by the number of test images", "one number for all")
    return figure


def relative_times(axis) -> None:
    """Names on a logarithmic x or y axis of times relative to the baseline's."""
    low, high = axis.get_view_interval()
    marks = (1, 2, 5) if high < 100 * low else (1,)
    axis.set_major_locator(LogLocator(10, subs=marks, numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _columns(count: int, size: tuple[float, float]):
    figure, grid = plt.subplots(
        2, count, figsize=size, sharex=True, sharey="row", height_ratios=[2.6, 1], squeeze=False
    )
    return figure, grid


def _against(top, bottom, name, fit, held, stated: float, ends) -> None:
    """One column: the fitted nets faint, the held-out ones with bars, equality and the band."""
    colour, marker, _ = LOOKS[name]
    across = np.geomspace(*ends, 200)
    share = stated / 100
    top.fill_between(across, across * (1 - share), across * (1 + share), color="0.55", alpha=0.35,
                     linewidth=0, zorder=1)  # fmt: skip
    top.plot(across, across, color="0.2", linewidth=1.0, zorder=1)
    bottom.axhspan(-stated, stated, color="0.55", alpha=0.35, linewidth=0, zorder=1)
    bottom.axhline(0, color="0.2", linewidth=1.0, zorder=1)
    look = {"linestyle": "none", "marker": marker}
    measured, predicted = (np.asarray(values, dtype=float) for values in fit)
    faint = look | {"color": _FAINT, "markersize": 3.5, "zorder": 2}
    top.plot(measured, np.where(predicted > 0, predicted, np.nan), **faint)
    bottom.plot(measured, 100 * (predicted / measured - 1), **faint)
    measured, predicted, spread = held
    strong = look | {"color": colour, "markersize": 6, "elinewidth": 1, "zorder": 3}
    strong |= {"markeredgecolor": "white", "markeredgewidth": 0.5}
    top.errorbar(measured, predicted, xerr=spread, **strong)
    bottom.errorbar(measured, 100 * (predicted / measured - 1), xerr=spread, **strong)
    top.set(xlim=ends, ylim=ends)


def _signed(value: float, _: int) -> str:
    return f"{value:+g} %".replace("-", "−") if value else "0 %"


def _note(axis: plt.Axes, words: str) -> None:
    axis.text(
        0.03, 0.97, words, transform=axis.transAxes, va="top", fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}, zorder=5,
    )  # fmt: skip


def _widen(axis: plt.Axes, factor: float) -> None:
    low, high = axis.get_ylim()
    axis.set_ylim(factor * min(low, -5), factor * max(high, 5))


def _percent_residuals(axes) -> None:
    """Percent, linear up to 10 and logarithmic beyond."""
    axes[0].set_yscale("symlog", linthresh=10, linscale=1)
    low, high = axes[0].get_ylim()
    marks = [s * m for s in (-1, 1) for m in (10, 100, 1000) if low <= s * m <= high]
    axes[0].yaxis.set_major_locator(FixedLocator(sorted([0, *marks])))
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[0].yaxis.set_major_formatter(FuncFormatter(_signed))
    axes[0].set_ylabel("predicted ÷\nmeasured − 1")


def _key(figure: plt.Figure, stated: float, spread: str, dotted: str | None = None) -> None:
    strong = {"linestyle": "none", "marker": "o"}
    handles = [
        plt.errorbar([], [], xerr=[], color="0.25", markersize=5, label=f"held out; bar: {spread}",
                     **strong),
        plt.Line2D([], [], color=_FAINT, markersize=4, label="fitted", **strong),
        plt.Line2D([], [], color="0.2", linewidth=1, label="equal"),
        plt.Rectangle((0, 0), 1, 1, color="0.55", alpha=0.35, linewidth=0,
                      label=f"the paper's ±{stated:g} %"),
    ]  # fmt: skip
    if dotted:
        handles.append(plt.Line2D([], [], color="0.3", linestyle=":", linewidth=1.4, label=dotted))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=9.5,
        columnspacing=1.3, handletextpad=0.5,
    )  # fmt: skip


# --- models side by side -------------------------------------------------------------------------

_WORDS = {
    precision.CONSTANT: "constant",
    comparison.ORACLE: "constant that knew\nthe held-out nets",
}


def models(configuration_trainings: pd.DataFrame, repeated_trainings: pd.DataFrame) -> plt.Figure:
    """Models of precision side by side: error on held-out nets, and rank correlation.

    Left: mean relative error with its 95 % bootstrap interval over held-out nets, hollow the same
    on the fitted nets. Lines: the constant's error and half of it, the paper's error, and what
    seeds alone, and seeds with the draw of the test images, would give a model that is right.
    """
    style.apply()
    configuration_trainings = findings.together(configuration_trainings, repeated_trainings)
    table = findings.models(configuration_trainings, folds=0)
    table = table.sort_values("held_out_percent", ascending=False, ignore_index=True)
    floor = findings.noise(configuration_trainings)
    nets = findings.predictions(configuration_trainings, [precision.CONSTANT])["set"]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 4.9), sharey=True, width_ratios=[2.1, 1]
    )
    place = np.arange(len(table))
    for axis, name, words in (
        (left, "held_out_percent", "mean relative error on held-out nets"),
        (right, "spearman", "rank correlation (Spearman)"),
    ):
        value = table[name].astype(float)
        spread = [value - table[f"{name}_low"], table[f"{name}_high"] - value]
        axis.errorbar(value, place, xerr=np.maximum(spread, 0), linestyle="none", marker="o",
                      markersize=8, elinewidth=2.2, capsize=3, color=style.PALETTE[0],
                      zorder=4)  # fmt: skip
        axis.set_xlabel(words)
        axis.grid(axis="y", color="0.92")
    left.plot(table["in_sample_percent"].astype(float), place, linestyle="none", marker="D",
              markersize=6, markerfacecolor="white", color=style.PALETTE[1], zorder=3)  # fmt: skip
    left.set_yticks(place, [_WORDS.get(name, name) for name in table["model"]])
    left.set_ylim(-0.6, len(table) - 0.4)
    constant = float(table.loc[table["model"] == precision.CONSTANT, "held_out_percent"].iloc[0])
    lines = [
        ("the constant's error", constant, "0.35", "-"),
        ("half of it", constant * paper.HALF, "0.35", "--"),
        ("the paper's", paper.value("precision_error_percent"),
         style.PAPER_COLOUR, "-"),
    ]  # fmt: skip
    for _, x, colour, line in lines:
        left.axvline(x, color=colour, linestyle=line, linewidth=1.6, zorder=1)
    handles = [
        plt.errorbar([], [], xerr=[], marker="o", linestyle="none", color=style.PALETTE[0],
                     markersize=7, label="held out, 95 % by bootstrap"),
        plt.Line2D([], [], marker="D", linestyle="none", markerfacecolor="white", markersize=6,
                   color=style.PALETTE[1], label="the same on the fitted nets"),
        *[
            plt.Line2D([], [], color=colour, linestyle=line, linewidth=1.6,
                       label=f"{words}: {x:.2g} %")
            for words, x, colour, line in lines
        ],
    ]  # fmt: skip
    for name, words, shade in (("both", "seeds and test images", 0.16), ("seeds", "seeds", 0.3)):
        if math.isfinite(floor[name]):
            left.axvspan(0, floor[name], color=style.PALETTE[2], alpha=shade, linewidth=0, zorder=0)
            handles.append(
                plt.Rectangle((0, 0), 1, 1, color=style.PALETTE[2], alpha=shade + 0.1, linewidth=0,
                              label=f"noise of {words}: {floor[name]:.2g} %")
            )  # fmt: skip
    highest = table[["held_out_percent_high", "held_out_percent", "in_sample_percent"]].max().max()
    left.set_xlim(0, 1.06 * max(highest, *(x for _, x, _, _ in lines)))
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    left.set_title(f"{sum(nets == rows.FIT)} nets fitted, {sum(nets == rows.HELD_OUT)} held out")
    right.axvline(paper.RANKED, color="0.35", linestyle="--", linewidth=1.6, zorder=1)
    right.set_title(
        f"dashed: {paper.RANKED:g}, what was aimed at", fontsize=10, fontweight="normal"
    )
    right.set_xlim(right=1.02)
    figure.legend(
        handles=handles, loc="outside upper left", ncols=4, frameon=False, fontsize=9.5,
        columnspacing=1.3, handletextpad=0.5,
    )  # fmt: skip
    return figure
