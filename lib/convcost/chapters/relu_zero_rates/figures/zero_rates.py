"""Zeros after ReLU in LeNet: per filter and digit, over seeds, over recipes, and dark pixels.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure. What the
paper prints stands beside ours; it comes from `convcost.sources`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from convcost.chapters.relu_zero_rates import findings
from convcost.chapters.relu_zero_rates.figures.parts import around, rates
from convcost.chapters.relu_zero_rates.findings import paper
from convcost.chapters.relu_zero_rates.findings.seeds import SECOND_FILTER, filter_rates
from convcost.figures import style


def by_filter(filter_zero_rates: pd.DataFrame, layer: str) -> plt.Figure:
    """The paper's figures 2 and 3: each filter's rate of zeros against the digit, in seed 0.

    Beside it what other seeds give: filters ranked by their rate within each net, median and 5 to
    95 % of the nets.
    """
    style.apply()
    rows = rates(filter_zero_rates[filter_zero_rates["layer"] == layer])
    shown = rows["seed"].min()
    one = rows[rows["seed"] == shown].pivot(index="digit", columns="filter", values="rate")
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 4.4), sharey=True, width_ratios=[1.35, 1]
    )
    level = paper.share("zero_rate_conv1_high_filters")
    for axis in (left, right):
        axis.axhline(level, color="0.25", linestyle="--", linewidth=1.2, zorder=1)
    for number in one:
        left.plot(
            one[number],
            color=style.PALETTE[number % len(style.PALETTE)],
            marker=style.MARKERS[number % len(style.MARKERS)],
            linestyle="-" if number < len(style.PALETTE) else ":",
            markersize=4.5,
            linewidth=1.2,
            label=f"filter {number}",
        )
    left.plot(one.mean(axis=1), color="black", linewidth=3.5, label="mean")
    left.set_title(f"{layer}, seed {shown}, {_images(rows)} images a digit")
    left.set_xlabel("digit in the image")
    left.set_ylabel("share of outputs that are zero")
    left.set_xticks(one.index)
    left.grid(axis="x", visible=False)
    left.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    filters = filter_rates(rows)
    rank = filters.groupby("seed")["zero_fraction"].rank(method="first", ascending=False)
    by_rank = filters["zero_fraction"].groupby(rank.astype(int)).quantile([0.05, 0.5, 0.95])
    by_rank = by_rank.unstack()
    nets = filters["seed"].nunique()
    right.fill_between(
        by_rank.index, by_rank[0.05], by_rank[0.95], alpha=0.3, label=f"5 to 95 % of {nets} nets"
    )
    right.plot(by_rank[0.5], color=style.PALETTE[0], linewidth=2.5, label="median")
    mine = filters[filters["seed"] == shown]["zero_fraction"].sort_values(ascending=False)
    right.plot(by_rank.index, mine, "k.", markersize=9, label=f"seed {shown}")
    right.set_title("the same layer over seeds")
    right.set_xlabel("filters, ranked by their rate within each net")
    right.set_xticks(by_rank.index[:: 1 if len(by_rank) < 10 else 3])
    right.set_ylim(-0.03, 1.03)
    right.set_yticks([0, 0.25, 0.5, 0.75, 1])
    style.percents(right.yaxis)
    right.grid(axis="x", visible=False)
    right.legend(loc="upper right", fontsize=9)
    return figure


def _images(rows: pd.DataFrame) -> int:
    """Images of a digit: outputs of one filter over those of one map, 24² or 8² of them."""
    side = paper.value(f"{rows['layer'].iloc[0]}_output_px")
    return int(rows["total"].max()) // side**2


def heat_map(filter_zero_rates: pd.DataFrame) -> plt.Figure:
    """Zero rate of each filter of conv1 and conv2 for each digit, in seed 0, filters sorted."""
    style.apply()
    shown = filter_zero_rates["seed"].min()
    rows = rates(filter_zero_rates[filter_zero_rates["seed"] == shown])
    tables = {
        layer: rows[rows["layer"] == layer].pivot(index="filter", columns="digit", values="rate")
        for layer in ("conv1", "conv2")
    }
    heights = [len(table) for table in tables.values()]
    figure, axes = plt.subplots(
        2, 1, figsize=(8.6, 0.33 * sum(heights) + 1.3), height_ratios=heights, sharex=True
    )
    for axis, (layer, table) in zip(axes, tables.items(), strict=True):
        table = table.assign(mean=table.mean(axis=1)).sort_values("mean", ascending=False)
        picture = axis.imshow(table, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for (y, x), rate in np.ndenumerate(table.to_numpy()):
            colour = "white" if rate < 0.6 else "black"
            axis.text(x, y, f"{100 * rate:.0f}", ha="center", va="center", color=colour, fontsize=9)
        axis.axvline(len(table.columns) - 1.5, color="white", linewidth=4)
        axis.set_yticks(range(len(table)), table.index, fontsize=9)
        axis.set_ylabel(f"filter of {layer}", labelpad=8)
        axis.set_xticks(range(len(table.columns)), table.columns)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
    axes[-1].set_xlabel("digit in the image")
    axes[0].set_title(f"seed {shown}, filters sorted by their mean; numbers in percent")
    figure.align_ylabels(axes)
    bar = figure.colorbar(picture, ax=axes, aspect=40, label="share of outputs that are zero")
    style.percents(bar.ax.yaxis)
    return figure


def over_seeds(layer_zero_rates: pd.DataFrame, filter_zero_rates: pd.DataFrame) -> plt.Figure:
    """The paper's rates beside those of many nets that differ in the seed alone."""
    style.apply()
    nets = findings.quantities(layer_zero_rates, filter_zero_rates)
    table = findings.against_seeds(layer_zero_rates, filter_zero_rates).set_index("quantity")
    shown = ["conv1", "conv2", "fc120", "fc84", SECOND_FILTER]
    names = [*shown[:4], "conv1's second-\nhighest filter"]
    figure, axis = plt.subplots(figsize=(10.5, 4.8))
    rng = np.random.default_rng(0)  # jitter only, so that points do not hide each other
    for place, quantity in enumerate(shown):
        row, values = table.loc[quantity], nets[quantity].dropna()
        colour = style.PALETTE[place]
        if len(values) >= 10:  # of fewer, the points say it better than a smooth curve
            (cloud,) = axis.violinplot(
                [values], [place - 0.1], orientation="horizontal", side="low", widths=0.75,
                showextrema=False,
            )["bodies"]  # fmt: skip
            cloud.set(facecolor=colour, edgecolor=colour, alpha=0.45)
        jitter = rng.uniform(0.1, 0.26, len(values))
        axis.scatter(values, place + jitter, s=9, color=colour, alpha=0.7, linewidth=0)
        axis.plot([row["p05"], row["p95"]], [place] * 2, color="0.15", linewidth=3.5)
        axis.plot(row["median"], place, "o", color="white", markeredgecolor="0.15", markersize=8)
        axis.plot(
            [row["published"]] * 2,
            [place - 0.36, place + 0.36],
            color=style.PAPER_COLOUR,
            linewidth=2.5,
        )
        axis.plot(row["published"], place - 0.36, "v", color=style.PAPER_COLOUR, markersize=8)
        over = "over " if row["published_as"] == "lower bound" else ""
        axis.text(
            1.02,
            place,
            f"paper: {over}{row['published']:.0%}".replace("%", " %") + f"\n{_place(row)}",
            transform=axis.get_yaxis_transform(),
            va="center",
            fontsize=9.5,
        )
    axis.set_yticks(range(len(shown)), names)
    axis.set_ylim(len(shown) - 0.5, -0.6)
    axis.grid(axis="y", visible=False)
    style.percents(axis.xaxis)
    axis.set_xlabel("share of outputs that are zero, one point a net")
    seeds = int(table["seeds"].max())
    handles = [
        plt.Line2D(
            [], [], color=style.PAPER_COLOUR, marker="v", linewidth=2.5,
            label="the paper's one net",
        ),
        plt.Line2D(
            [], [], color="0.15", marker="o", markerfacecolor="white", linewidth=3.5,
            label=f"median, 5 to 95 % of {seeds} nets",
        ),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _place(row: pd.Series) -> str:
    """Where the paper's value lies among the nets, in words."""
    if row["published"] < row["lowest"]:
        return "below every net"
    if row["published"] > row["highest"]:
        return "above every net"
    return f"percentile {row['percentile']:.0f}"


def by_recipe(layer_zero_rates: pd.DataFrame) -> plt.Figure:
    """The layers' zero rates for each recipe, median and 5 to 95 %.

    Upper rows: initialisations, trained as the first recipe. Lower rows: other ways of training.
    The colour and the marker are the normalisation.
    """
    style.apply()
    table = findings.by_recipe(layer_zero_rates)
    first = table["training"].iloc[0]
    varied = table["training"] == first
    table["row"] = table["initialisation"].where(varied, table["training"])
    layers, rows, scales = (
        list(dict.fromkeys(table[name])) for name in ("layer", "row", "normalisation")
    )
    starts = table.loc[varied, "row"].nunique()
    of_row = table.groupby("row")["normalisation"].nunique()
    figure, axes = plt.subplots(
        1, len(layers), figsize=(11.5, 0.5 * len(rows) + 1.9), sharex=True, sharey=True
    )
    for axis, layer in zip(axes, layers, strict=True):
        mine = table[table["layer"] == layer]
        line = axis.axvline(mine["published"].iloc[0], color=style.PAPER_COLOUR, linewidth=2)
        for number, scale in enumerate(scales):
            points = mine[mine["normalisation"] == scale]
            beside = 0.26 * (number - (len(scales) - 1) / 2)
            axis.errorbar(
                points["median"],
                [rows.index(row) + beside * (of_row[row] > 1) for row in points["row"]],
                xerr=around(points),
                fmt=style.MARKERS[number],
                color=style.PALETTE[number],
                markersize=6.5,
                elinewidth=2,
                label=f"images in {scale}",
            )
        axis.axhline(starts - 0.5, color="0.5", linewidth=1)
        axis.set_title(layer)
        axis.set_xlabel("zero after ReLU")
        style.percents(axis.xaxis)
        axis.locator_params(axis="x", nbins=5)
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(rows)), rows, fontsize=9.5)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        [*handles, line], [*labels, "the paper's one net"], loc="outside upper center",
        ncols=len(labels) + 1, frameon=False, title_fontsize=10,
        title=f"median and 5 to 95 % of {_span(table['seeds'])} nets; upper rows: {first}",
    )  # fmt: skip
    return figure


def _span(numbers: pd.Series) -> str:
    low, high = numbers.min(), numbers.max()
    return f"{low}" if low == high else f"{low} to {high}"


def dark_pixels(filter_zero_rates: pd.DataFrame, dark_pixels: pd.DataFrame) -> plt.Figure:
    """Dark pixels of each digit beside the paper's shares, and whether they explain digit 1.

    Left: per preparation of the images. Right: how far a digit's zero rates lie from the mean over
    the digits against its dark share in the images as they are.
    """
    style.apply()
    rows = dark_pixels.assign(share=dark_pixels["dark"] / dark_pixels["total"])
    digits = sorted(rows["digit"].unique())
    whole = findings.dark_shares(dark_pixels)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 4.4), width_ratios=[1.3, 1])
    preparations = list(dict.fromkeys(rows["preparation"]))
    choices = list(dict.fromkeys(rows["chosen"]))
    offsets = np.linspace(-0.26, 0.26, len(preparations)) if len(preparations) > 1 else [0.0]
    for number, preparation in enumerate(preparations):
        for chosen in choices:
            mine = rows[(rows["preparation"] == preparation) & (rows["chosen"] == chosen)]
            of_all = whole[(whole["preparation"] == preparation) & (whole["chosen"] == chosen)]
            left.plot(
                [*mine["digit"] + offsets[number], max(digits) + 1.5 + offsets[number]],
                [*mine["share"], of_all["all_share"].iloc[0]],
                linestyle="none",
                marker=style.MARKERS[number],
                color=style.PALETTE[number],
                markerfacecolor="none" if chosen != choices[0] else style.PALETTE[number],
                markersize=6.5,
                label=f"{preparation}, {_chosen(chosen)}",
            )
    one = paper.value("deviating_digit")
    for x, name in ((one, "digit1"), (max(digits) + 1.5, "all")):
        value = paper.share(f"background_share_{name}_percent")
        left.plot(
            [x - 0.45, x + 0.45], [value] * 2, color=style.PAPER_COLOUR, linewidth=2.5,
            label="the paper" if name == "all" else None,
        )  # fmt: skip
    left.axvline(max(digits) + 0.75, color="0.6", linewidth=1)
    left.set_xticks([*digits, max(digits) + 1.5], [*digits, "all"])
    left.grid(axis="x", visible=False)
    left.set_xlabel("digit in the image")
    left.set_ylabel(f"share of pixels at or below {rows['level'].iloc[0]:g}")
    style.percents(left.yaxis)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8.5, frameon=False)
    _deviations(right, filter_zero_rates, rows, preparations[0], choices[-1])
    return figure


def _chosen(words: str) -> str:
    return "all test images" if words == "all" else words


def _deviations(axis, filter_zero_rates, rows, preparation: str, chosen: str) -> None:
    """Each digit's deviation against its dark share, conv1 and conv2."""
    mine = rows[(rows["preparation"] == preparation) & (rows["chosen"] == chosen)]
    dark = mine.set_index("digit")["share"]
    found = findings.digit_deviation(filter_zero_rates)
    beside = 0.007 * (dark.max() - dark.min())  # so that one layer does not hide the other
    for layer, colour, marker, off in (
        ("conv1", style.PALETTE[0], "o", -beside),
        ("conv2", style.PALETTE[1], "s", beside),
    ):
        of_digit = found[found["layer"] == layer].groupby("digit")["deviation"]
        spread = of_digit.quantile([0.05, 0.5, 0.95]).unstack()
        axis.errorbar(
            dark[spread.index] + off,
            spread[0.5],
            yerr=around(spread, 0.5, 0.05, 0.95),
            fmt=marker,
            color=colour,
            markerfacecolor="white",
            markersize=11,
            elinewidth=1.2,
            label=f"{layer}, median and 5 to 95 % of the nets",
        )
        for digit, value in spread[0.5].items():
            axis.text(
                dark[digit] + off, value, digit, ha="center", va="center_baseline", fontsize=8
            )
    axis.axvline(
        dark.mean(),
        color="0.4",
        linestyle=":",
        linewidth=1.5,
        label="mean dark share of the digits",
    )
    axis.set_ylim(bottom=0)
    axis.set_xlabel(f"dark pixels of the digit: {preparation}, {_chosen(chosen)}")
    axis.set_ylabel("deviation of the digit's zero rates")
    style.percents(axis.xaxis)
    style.percents(axis.yaxis, "pp")
    axis.legend(loc="upper left", fontsize=8.5)
