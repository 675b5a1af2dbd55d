"""Precision over one parameter, over two, and what the paper's printed coefficients give.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; fits and
statistics come from `convcost.chapters.complexity_precision.findings`.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm

from convcost.chapters.complexity_precision import findings
from convcost.chapters.complexity_precision.findings import faces, paper, printed, rows
from convcost.chapters.complexity_precision.findings.configurations import NAMES, number
from convcost.figures import style

_WORDS = {
    "filters": "filters of each layer, f",
    "input_px": "side of the input, s (px)",
    "kernel_px": "side of the kernels, k (px)",
    "layers": "convolution layers, l",
}
_SHORT = {"input_px": "input, s (px)", "kernel_px": "kernel, k (px)", "layers": "layers, l"}
_READINGS = {
    printed.READINGS[1].text: "—, γ the share",
    printed.READINGS[0].text: "- ·, γ the value",
}


def one_parameter(configuration_trainings: pd.DataFrame) -> plt.Figure:
    """Accuracy over one parameter, the others as in T0: seeds, mean and span, eq. (2) fitted.

    The paper's curve (Table I, gamma as share and as value) is drawn where it comes into view;
    what it gives at the baseline stands in the panel.
    """
    style.apply()
    lines, curves = (
        findings.lines(configuration_trainings),
        findings.curves(configuration_trainings),
    )
    trained = rows.training_rows(configuration_trainings)
    base = findings.baseline(configuration_trainings).set_index("what")["accuracy"]
    floor = float(base[faces.CONSTANT])
    names = [name for name in NAMES if (curves["parameter"] == name).any()]
    figure, axes = plt.subplots(
        1, len(names), figsize=(0.7 + 2.8 * len(names), 4.6), sharey=True, squeeze=False
    )
    low, high = min(lines["low"].min(), floor), lines["high"].max()
    room = 0.06 * (high - low)
    limits = low - 4.2 * room, high + 1.5 * room
    printed_at = findings.printed_curves()
    for axis, name in zip(axes[0], names, strict=True):
        axis.axhline(floor, color="0.4", linestyle=":", linewidth=1.6)
        line, curve, theirs = (
            table[table["parameter"] == name] for table in (lines, curves, printed_at)
        )
        seeds = trained[rows.varies_only(trained, [name])]
        axis.plot(seeds[name], seeds["precision"], ".", color="0.35", markersize=5, zorder=3)
        _curve(axis, name, line.dropna(subset=["mean"]), curve)
        _printed_curve(axis, theirs, limits)
    axes[0, 0].set_ylim(limits)
    axes[0, 0].set_ylabel("test images named rightly")
    style.percents(axes[0, 0].yaxis)
    handles = [
        plt.Line2D([], [], linestyle="none", marker=".", markersize=8, color="0.35",
                   label="one training"),
        plt.Line2D([], [], color=style.PALETTE[0], marker="o", markersize=5,
                   label="mean, band: lowest to highest seed"),
        plt.Line2D([], [], color="black", linestyle="--", label="eq. (2), fitted"),
        plt.Line2D([], [], color="0.4", linestyle=":", label="always the larger class"),
        plt.Line2D([], [], color=style.PAPER_COLOUR, label="the paper's Table I, if in view"),
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="outside upper left", ncols=5, frameon=False, fontsize=9.5,
        columnspacing=1.3, handletextpad=0.5,
    )  # fmt: skip
    return figure


def _curve(axis: plt.Axes, name: str, line: pd.DataFrame, curve: pd.DataFrame) -> None:
    blue = style.PALETTE[0]
    axis.fill_between(line["value"], line["low"], line["high"], color=blue, alpha=0.25, linewidth=0)
    axis.plot(line["value"], line["mean"], color=blue, marker="o", markersize=5, linewidth=1.4)
    axis.plot(curve["value"], curve["fitted"], "--", color="black", linewidth=1.6, zorder=4)
    count = line["value"].nunique()
    few = f"{count} values for 4 coefficients" if count <= 4 else f"{count} values"
    axis.set_title(f"{printed.label([name])}: {few}", fontsize=10.5)
    axis.set_xlabel(_WORDS[name])
    axis.set_xticks(_thinned(line["value"]))
    axis.margins(x=0.06)


def _printed_curve(axis: plt.Axes, theirs: pd.DataFrame, limits: tuple[float, float]) -> None:
    """The paper's curve where it is in view, in words what it gives at the baseline."""
    at = {}
    for (reading, words), line in zip(_READINGS.items(), ("-", "-."), strict=True):
        curve = theirs[theirs["reading"] == reading]
        at[words] = curve.loc[curve["share"].idxmax(), "precision"]
        if curve["precision"].between(*limits).any():
            axis.plot(curve["value"], curve["precision"], line, color=style.PAPER_COLOUR,
                      linewidth=1.8)  # fmt: skip
    words = ",\n".join(f"{_percent(share)} ({words})" for words, share in at.items())
    axis.text(
        0.97, 0.02, f"Table I at T0: {words}", transform=axis.transAxes, ha="right", va="bottom",
        fontsize=8.5, color=style.PAPER_COLOUR,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %".replace("-", "−")


def _thinned(values: pd.Series) -> list[int]:
    """Values with room between them for their names, the largest among them."""
    kept, room = [], 0.09 * (values.max() - values.min())
    for value in sorted(values, reverse=True):
        if not kept or kept[-1] - value > room:
            kept.append(int(value))
    return kept


# --- two parameters ------------------------------------------------------------------------------


def two_parameters(configuration_trainings: pd.DataFrame) -> plt.Figure:
    """Accuracy over f and one more parameter: measured, by eqs. (3) to (5), and what is left.

    Numbers are percent and percentage points; measured and fitted share one colour scale over all
    three grids, residuals another. A net without a result leaves its cell empty.
    """
    style.apply()
    table = findings.surfaces(configuration_trainings)
    grids = []
    for names in printed.TABLE_II:
        mine = table[table["model"] == printed.label(names)]
        tables = [
            mine.pivot(index="value", columns="filters", values=column)
            for column in ("precision", "fitted", "residual")
        ]
        grids.append((names, tables))
    heights = [max(len(tables[0]), 2) for _, tables in grids]
    figure, axes = plt.subplots(
        len(grids), 3, figsize=(12.5, 0.36 * sum(heights) + 2.6), height_ratios=heights,
        squeeze=False, sharey="row",
    )  # fmt: skip
    level = pd.concat([t.stack() for _, tables in grids for t in tables[:2]])
    least = 0.005  # what is smaller looks like nothing
    most = max(least, *(float(tables[2].abs().max().max()) for _, tables in grids))
    scales = [
        {"cmap": "viridis", "vmin": level.min(), "vmax": min(level.max(), 1.2)},
        {"cmap": "vlag", "vmin": -most, "vmax": most},
    ]
    pictures = [None, None]
    for line, (names, tables) in zip(axes, grids, strict=True):
        equation = number(names)
        titles = (f"{printed.label(names)}, measured", f"{equation}, fitted", "measured − fitted")
        for column, (axis, table, title) in enumerate(zip(line, tables, titles, strict=True)):
            which = int(column == 2)
            pictures[which] = _cells(axis, table, scales[which], signed=bool(which))
            axis.set_title(title, fontsize=11)
        line[0].set_ylabel(_SHORT[names[1]], fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel(_WORDS["filters"])
    figure.align_ylabels(axes[:, 0])
    bars = (
        (pictures[0], axes[:, :2], "test images named rightly", "%"),
        (pictures[1], axes[:, 2], "measured − fitted", "pp"),
    )
    for picture, where, words, unit in bars:
        bar = figure.colorbar(picture, ax=where, location="bottom", aspect=50, label=words,
                              fraction=0.04, pad=0.02)  # fmt: skip
        style.percents(bar.ax.xaxis, unit)
        bar.ax.locator_params(axis="x", nbins=5)
        bar.ax.tick_params(labelsize=9)
    return figure


def _cells(axis: plt.Axes, table: pd.DataFrame, scale: dict, signed: bool):
    values = table.to_numpy(dtype=float)
    picture = axis.imshow(values, aspect="auto", origin="lower", **scale)
    small = 7 if values.shape[1] > 6 else 9
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            words = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
            words = "0.0" if words in ("+0.0", "-0.0") else words.replace("-", "−")
            axis.text(x, y, words, ha="center", va="center", fontsize=small,
                      color=_readable_on(picture.to_rgba(value)))  # fmt: skip
    axis.set_xticks(range(values.shape[1]), table.columns, fontsize=9)
    axis.set_yticks(range(values.shape[0]), table.index, fontsize=9)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    return picture


def _readable_on(colour: Sequence[float]) -> str:
    red, green, blue = (part**2.2 for part in colour[:3])
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18 else "black"


# --- the printed coefficients --------------------------------------------------------------------


def printed_coefficients() -> plt.Figure:
    """What every printed model gives at the baseline, in each reading of what gamma is.

    Columns: Table I, Table II, the lambdas of eq. (6); rows: readings. All should give 0.95. The
    darker, the further off; framed is what lies within the error that the paper states.
    """
    style.apply()
    stated = paper.value("precision_error_percent")
    table = findings.readings()
    models = [printed.label(names) for names in printed.ALL]
    texts = [reading.text for reading in printed.READINGS]

    def grid(column: str) -> np.ndarray:
        wide = table.pivot(index="reading", columns="model", values=column)
        return wide.loc[texts, models].to_numpy()

    values, usable = grid("at_baseline").astype(float), grid("usable").astype(bool)
    off = np.abs(grid("off_percent").astype(float))
    near = off <= stated
    figure, axis = plt.subplots(figsize=(11.5, 5.8))
    picture = axis.imshow(np.clip(off, 0.5, 1000), aspect="auto", cmap="cividis_r",
                          norm=LogNorm(0.5, 1000))  # fmt: skip
    for (y, x), value in np.ndenumerate(values):
        axis.text(x, y, f"{value:.3f}".replace("-", "−"), ha="center", va="center", fontsize=10,
                  color=_readable_on(picture.to_rgba(np.clip(off[y, x], 0.5, 1000))),
                  fontweight="bold" if near[y, x] else "normal")  # fmt: skip
        if near[y, x]:
            axis.add_patch(
                plt.Rectangle((x - 0.46, y - 0.43), 0.92, 0.86, fill=False, linewidth=2.2,
                              linestyle="-" if usable[y, x] else (0, (2, 1.5)),
                              edgecolor=style.PAPER_COLOUR)
            )  # fmt: skip
    axis.set_xticks(range(len(models)), models)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.set_yticks(range(len(texts)), texts, fontsize=9.5)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    first = len(printed.TABLE_I)
    second = first + len(printed.TABLE_II)
    for edge in (first, second):
        axis.axvline(edge - 0.5, color="white", linewidth=5)
    for low, high, words in (
        (0, first, "Table I"), (first, second, "Table II"), (second, len(models), "eq. (6)"),
    ):  # fmt: skip
        axis.text((low + high - 1) / 2, 1.085, words, transform=axis.get_xaxis_transform(),
                  ha="center", va="bottom", fontweight="bold", fontsize=11)  # fmt: skip
    edge = style.PAPER_COLOUR
    figure.legend(
        handles=[
            plt.Rectangle((0, 0), 1, 1, fill=False, linewidth=2.2, linestyle=line, edgecolor=edge,
                          label=words)
            for line, words in (
                ("-", f"within {stated:g} % of it, and between 0 and 1 at all candidate values"),
                ((0, (2, 1.5)), f"within {stated:g} %, not so elsewhere"),
            )
        ],
        loc="outside upper right", ncols=2, frameon=False, fontsize=9.5,
    )  # fmt: skip
    bar = figure.colorbar(picture, ax=axis, location="bottom", aspect=60, pad=0.02)
    bar.set_label(
        f"distance from {paper.value('baseline_precision'):g}, the paper's accuracy at T0"
    )
    bar.set_ticks([1, 10, 100], labels=["1 %", "10 %", "100 %"])
    return figure
