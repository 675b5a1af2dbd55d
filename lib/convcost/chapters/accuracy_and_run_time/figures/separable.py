"""The separable convolution: what operations promise, what the clock gives, what accuracy keeps.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.accuracy_and_run_time.findings`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, NullLocator

from convcost.chapters.accuracy_and_run_time import findings
from convcost.chapters.accuracy_and_run_time.findings import separable as rules
from convcost.core.units import readable, scaled
from convcost.figures import style
from convcost.fits.comparison import mean_interval

_WIDTH = 7.2  # inches: a page's column, and still read on a phone
_LAYOUTS = {
    "channels_last": ("channels last", style.PALETTE[0], "o"),
    "contiguous": ("contiguous", style.PALETTE[1], "s"),
}
_PROMISE = {"color": "0.1", "marker": "|", "markersize": 17, "markeredgewidth": 3}
_NETS = {
    rules.PLAIN: ("plain", style.PALETTE[3], "s"),
    rules.SEPARABLE_NET: ("separable", style.PALETTE[0], "o"),
    rules.NARROW: ("plain, narrow", style.PALETTE[1], "D"),
    rules.WIDE: ("separable, wide", style.PALETTE[2], "^"),
}
_BLOCKS = {
    rules.REGULAR: ("plain 3 × 3", style.PALETTE[3], "s"),
    rules.DEPTHWISE: ("depthwise 3 × 3", style.PALETTE[0], "o"),
    rules.POINTWISE: ("pointwise 1 × 1", style.PALETTE[2], "h"),
}


def _example(table: pd.DataFrame) -> tuple[int, int, int]:
    """The shape of the first row: the post's example is measured first."""
    first = table.iloc[0]
    return tuple(int(first[name]) for name in ("in_channels", "out_channels", "map_px"))


def _span(values: pd.Series, form: str = "{:.1f}") -> str:
    """ "1.8 to 7.1", or one number where both read the same."""
    low, high = form.format(values.min()), form.format(values.max())
    return low if low == high else f"{low} to {high}"


# --- promise and clock -----------------------------------------------------------------------


def block(separable_times: pd.DataFrame) -> plt.Figure:
    """How many times as fast the separable convolution is as the plain one.

    Above: the post's example by batch. Below: other channels and maps at one batch, where there
    are any. Black strokes: how many times fewer operations. Bars: 95 % interval.
    """
    ratios = findings.block_ratios(separable_times)
    if ratios.empty:
        raise style.NothingToDrawError("no block was timed both plain and separable")
    style.apply()
    shape = _example(ratios)
    mine = findings.of_example(ratios, shape)
    batch = sorted(mine["batch"].unique())[mine["batch"].nunique() // 2]
    others = ratios[ratios["batch"] == batch].drop(mine.index, errors="ignore")
    panels = [(mine, "the post's example, by batch")]
    if len(others):
        panels.append((others, f"other channels and maps, batch {batch}"))
    names = [
        [f"batch {n}" for n in mine["batch"].unique()],
        list(dict.fromkeys(map(_shape_name, others.itertuples()))),
    ][: len(panels)]
    heights = [len(rows) for rows in names]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(_WIDTH, 2.0 + 0.55 * sum(heights)), sharex=True, squeeze=False,
        height_ratios=heights,
    )  # fmt: skip
    for axis, (table, words), rows in zip(axes[:, 0], panels, names, strict=True):
        _ratios(axis, table, rows, by_batch=table is mine)
        if axis is axes[0, 0]:  # whose title stands over all
            axis.text(0, 1.03, words, transform=axis.transAxes, fontsize=11)
        else:
            axis.set_title(words, fontsize=11, fontweight="normal")
    axes[0, 0].set_title(
        f"{_span(mine['macs_ratio'])} times fewer operations, {_span(mine['time_ratio'])} times "
        "as fast",
        fontsize=13, pad=24,
    )  # fmt: skip
    promised = ratios["macs_ratio"].max()
    shown = max(promised, ratios["time_ratio"].max(), min(ratios["high"].max(), 1.4 * promised))
    axes[-1, 0].set_xlim(0, 1.08 * shown)
    axes[-1, 0].xaxis.set_major_formatter("{x:g} ×")
    axes[-1, 0].set_xlabel("plain over separable")
    handles = [
        Line2D([], [], linestyle="none", label="operations", **_PROMISE | {"markersize": 12})
    ]
    handles += [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=8,
               label=f"time, {words}")
        for words, colour, marker in _LAYOUTS.values()
    ]  # fmt: skip
    style.legend_above(figure, handles)
    return figure


def _shape_name(row) -> str:
    return f"{row.in_channels} → {row.out_channels}, {row.map_px} px"


def _ratios(axis: plt.Axes, table: pd.DataFrame, rows: list[str], by_batch: bool) -> None:
    for row in table.itertuples():
        place = rows.index(f"batch {row.batch}" if by_batch else _shape_name(row))
        _, colour, marker = _LAYOUTS[row.layout]
        place += 0.16 if row.layout == "contiguous" else -0.16
        axis.plot(row.macs_ratio, round(place), zorder=2, **_PROMISE)
        off = np.nan_to_num([[row.time_ratio - row.low], [row.high - row.time_ratio]])
        axis.errorbar(
            row.time_ratio, place, xerr=off, color=colour, marker=marker, markersize=8, capsize=3,
            markerfacecolor=colour if row.stable else "white", markeredgewidth=1.6, zorder=3,
        )  # fmt: skip
    axis.axvline(1, color="0.4", linewidth=1.2, linestyle=":", zorder=1)
    style.places(axis, rows, fontsize=11)


# --- roofline --------------------------------------------------------------------------------


def roofline(separable_times: pd.DataFrame, separable_peaks: pd.DataFrame) -> plt.Figure:
    """The post's example under this machine's roofs: plain, depthwise, pointwise.

    The number in a mark is the batch: the smallest, the largest, and the largest that is not held
    up by the system's handing out memory. The order of memory is that in which the separable
    convolution is the faster. Black: the fastest product or convolution and the largest copy.
    """
    table = findings.block_roofline(separable_times, separable_peaks)
    if table.empty:
        raise style.NothingToDrawError("no block was timed beside the machine's peaks")
    style.apply()
    table = findings.of_example(table, _example(table))
    together = table[table["block"] == rules.SEPARABLE].groupby("layout")["seconds"].sum()
    if together.empty:
        raise style.NothingToDrawError("the separable convolution was not timed")
    layout = together.idxmin()
    table = table[table["layout"] == layout]
    batches = table["batch"]
    few = {batches.min(), findings.undisturbed(table)["batch"].max(), batches.max()}
    table = table[batches.isin(few)]
    figure, axis = plt.subplots(figsize=(_WIDTH, 4.9))
    for kind, (words, colour, marker) in _BLOCKS.items():
        own = table[table["block"] == kind].sort_values("batch", ascending=False)
        if own.empty:
            continue
        for height, row in enumerate(own.itertuples(), start=4):  # a mark covers the numbers below
            axis.plot(row.intensity, row.flops_per_s, marker, color=colour, markersize=18,
                      markeredgecolor="white", zorder=height)  # fmt: skip
            axis.annotate(
                f"{row.batch}", (row.intensity, row.flops_per_s), ha="center", va="center",
                color="white", fontsize=10, fontweight="bold", zorder=height,
            )  # fmt: skip
        low = own.loc[own["flops_per_s"].idxmin()]
        axis.annotate(
            words, (low["intensity"], low["flops_per_s"]), (0, -14), ha="center", va="top",
            textcoords="offset points", fontsize=11, color=colour, fontweight="bold",
        )  # fmt: skip
    _roofs(axis, table)
    axis.set_title(f"{_bound_words(table)}\n", fontsize=13)
    axis.text(
        0, 1.02, f"the post's example, {_LAYOUTS[layout][0]}; in each mark the batch",
        transform=axis.transAxes, fontsize=10.5,
    )  # fmt: skip
    return figure


def _bound_words(table: pd.DataFrame) -> str:
    """Which blocks lie left of the ridge."""
    short = {rules.REGULAR: "plain", rules.DEPTHWISE: "depthwise", rules.POINTWISE: "pointwise"}
    bound = table.groupby("block")["bound"].agg(lambda places: (places == "memory").all())
    limited = [words for kind, words in short.items() if bound.get(kind, False)]
    return f"Under the roof of memory: {' and '.join(limited) or 'none of the three'}"


def _roofs(axis: plt.Axes, table: pd.DataFrame) -> None:
    row = table.iloc[0]
    peak, memory, ridge = row["peak_flops_per_s"], row["memory_bytes_per_s"], row["ridge"]
    low, high = min(table["intensity"].min(), ridge) / 2.2, max(table["intensity"].max(), ridge) * 2
    axis.plot([low, ridge, high], [low * memory, peak, peak], color="0.1", linewidth=2.2, zorder=2)
    bottom = min(table["flops_per_s"].min(), low * memory) / 4
    top = max(peak, table["flops_per_s"].max())
    axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(bottom, 3.4 * top))
    axis.annotate(
        f"peak {readable(peak, 0)}FLOP/s", (high, top), (-6, 18), textcoords="offset points",
        ha="right", fontsize=10.5, fontweight="bold",
    )  # fmt: skip
    axis.annotate(
        f"copy {scaled(memory, 'G'):.0f} GB/s", (ridge, bottom), (-8, 7), ha="right",
        textcoords="offset points", fontsize=10.5, fontweight="bold",
    )  # fmt: skip
    axis.axvline(ridge, color="0.4", linestyle=":", linewidth=1.4, zorder=1)
    axis.annotate(
        f"ridge: {ridge:.0f} FLOP/byte", (ridge, bottom), (8, 7), fontsize=10.5,
        textcoords="offset points",
    )  # fmt: skip
    style.decades(axis.yaxis, (1, 3), EngFormatter(unit="FLOP/s"))
    style.decades(axis.xaxis, (1, 3), "{x:g}")
    axis.set_xlabel("FLOPs per byte read or written")
    axis.set_ylabel("achieved, float32")


# --- accuracy --------------------------------------------------------------------------------


def accuracy(separable_trainings: pd.DataFrame, separable_net_times: pd.DataFrame) -> plt.Figure:
    """Accuracy of the four nets against multiply-adds (left) and measured time (right).

    Small marks: a seed each; large ones: the mean, with its 95 % interval. Time is that of an image
    in inference at the largest batch that was timed; accuracy after the fewest epochs, which all
    nets were trained for.
    """
    trained = findings.shortest(findings.accuracies(separable_trainings))
    if trained.empty:
        raise style.NothingToDrawError("no net was trained")
    style.apply()
    times = findings.net_speed_ups(separable_net_times)
    times = times[times["what"] == "inference"]
    times = times[times["batch"] == times["batch"].max()].set_index("net")
    figure, (left, right) = plt.subplots(1, 2, figsize=(_WIDTH, 4.6), sharey=True)
    for net, (_, colour, marker) in _NETS.items():
        seeds = trained[trained["net"] == net]
        if seeds.empty:
            continue
        places = [(left, scaled(seeds["macs"].iloc[0], "M"))]
        if net in times.index:
            places.append((right, 1e6 * times.loc[net, "image_s"]))
        mean, low, high = mean_interval(seeds["accuracy"])
        # of two seeds an interval is wider than all that is drawn
        off = np.nan_to_num([[mean - low], [high - mean]]) if len(seeds) > 2 else None
        for axis, place in places:
            axis.plot([place] * len(seeds), seeds["accuracy"], marker, color=colour, markersize=5,
                      alpha=0.45, markeredgewidth=0, zorder=2)  # fmt: skip
            axis.errorbar(place, mean, yerr=off, color=colour, marker=marker, markersize=10,
                          capsize=4, elinewidth=1.8, zorder=3)  # fmt: skip
    for axis in (left, right):
        axis.set_xscale("log")
        axis.margins(x=0.22, y=0.12)
        axis.xaxis.set_minor_locator(NullLocator())
    _ticks(left, "{:g}")
    _ticks(right, "{:g}")
    left.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    left.set(xlabel="million multiply-adds an image", ylabel="test images named rightly")
    batch = int(times["batch"].iloc[0]) if len(times) else 0
    right.set_xlabel(f"µs an image, batch {batch}")
    for axis, words in zip((left, right), _prices(separable_trainings, times), strict=True):
        axis.set_title(words, fontsize=11.5)
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=9, label=words)
        for net, (words, colour, marker) in _NETS.items()
        if net in set(trained["net"])
    ]
    style.legend_above(figure, handles)
    return figure


def _ticks(axis: plt.Axes, form: str) -> None:
    """On a logarithmic axis marks at 1, 2, 5 times powers of ten, at 3 too where there is room."""
    low, high = axis.get_xlim()
    steps = [1, 2, 3, 5] if high < 8 * low else [1, 2, 5]
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = [power * step for power in powers for step in steps if low <= power * step <= high]
    axis.set_xticks(ticks, [form.format(tick) for tick in ticks])


def _prices(separable_trainings: pd.DataFrame, times: pd.DataFrame) -> tuple[str, str]:
    """What the separable net loses, and what for: in operations, in time."""
    pairs = findings.shortest(findings.paired_accuracies(separable_trainings))
    first = pairs[(pairs["net"] == rules.SEPARABLE_NET) & (pairs["against"] == rules.PLAIN)]
    if first.empty or rules.SEPARABLE_NET not in times.index:
        return "Accuracy and operations", "Accuracy and time"
    row, ratio = first.iloc[0], times.loc[rules.SEPARABLE_NET, "time_ratio"]
    more = "less" if row["mean_points"] < 0 else "more"
    return (
        f"Separable: {abs(row['mean_points']):.1f} points {more},\n"
        f"{row['macs_ratio']:.1f} times fewer operations",
        f"measured, batch {times['batch'].iloc[0]}:\n{ratio:.1f} times as fast",
    )
