"""Why time is not proportional to FLOPs: parts of a training step, and layers under two roofs.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.training_time.findings`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from convcost.chapters.training_time import findings
from convcost.chapters.training_time.findings import paper
from convcost.core.units import SCALES, readable, scaled, seconds
from convcost.figures import style

_PARTS = {  # part of `findings.why` -> words, colour, hatch
    "at_peak": ("convolution, linear: up to their time at the measured peak", "#08519c", ""),
    "below_peak": ("convolution, linear: beyond that time", "#9ecae1", "//"),
    "no_flops": ("layers without FLOPs: normalisation, ReLU, pooling, adding", "#de8f05", ".."),
    "optimiser": ("optimiser", "#029e73", "xx"),
    "pipeline": ("data pipeline", "#cc78bc", "\\\\"),
    "rest": ("rest: launching, Python, other operators", "#e0e0e0", ""),
}
_REST_ON_GPU = "rest: the GPU waits for launches, from Python; other operators"
_PEAK = {"color": "0.1", "linestyle": "--", "linewidth": 1.6, "zorder": 2.5}
_SHORTEST = 0.045  # of the bar: shorter parts have no number


def where_the_time_goes(
    operator_times: pd.DataFrame,
    training_steps: pd.DataFrame,
    machine_peaks: pd.DataFrame,
    net_costs: pd.DataFrame,
    on_gpu: bool = False,
) -> plt.Figure:
    """What a training step is spent on, net by net: shares (left), and per FLOP (right).

    Were time proportional to FLOPs, the bars on the right would have one length. The plain loop at
    the largest size that was profiled. `on_gpu`: the rest is what `findings.why` says of a GPU.
    """
    table = findings.why(operator_times, training_steps, machine_peaks, net_costs)
    if table.empty:
        raise style.NothingToDrawError("no net was both profiled and timed")
    style.apply()
    table = table[table["loop"] == table["loop"].iloc[0]]
    table = table[table["input_px"] == table["input_px"].max()].drop_duplicates("net")
    parts = table[[f"{part}_s" for part in _PARTS]].set_axis(list(_PARTS), axis=1)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 1.9 + 0.52 * len(table)), sharey=True, width_ratios=[1.35, 1]
    )
    shares = parts.div(table["whole_s"], axis=0)
    _stack(left, shares)
    for place, (_, row) in enumerate(shares.iterrows()):
        starts = row.cumsum() - row
        for part in row.index[row > _SHORTEST]:
            left.text(
                starts[part] + row[part] / 2, place, f"{100 * row[part]:.0f}", ha="center",
                va="center", fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85},
            )  # fmt: skip
    left.set_xlim(0, 1)
    style.percents(left.xaxis)
    left.set(title="shares of a training step", xlabel="share of the step")
    per_flop = parts.div(scaled(table["flops"].astype(float), "G"), axis=0)
    longest = per_flop.sum(axis=1).max()
    scale, name = (1e3, "ms") if longest > 1e-3 else (1e6, "µs")
    _stack(right, scale * per_flop)
    at_peak = scale * SCALES["G"] / table["peak_flops_per_s"].max()
    right.axvline(at_peak, **_PEAK)
    edge = 1.25 * max(scale * longest, at_peak)
    for place, end in enumerate(scale * per_flop.sum(axis=1)):
        right.text(0.985 * edge, place, f"{end:.1f} {name}", ha="right", va="center", fontsize=9)
    right.set_xlim(0, edge)
    right.set(title="the same parts per GFLOP",
              xlabel=f"{name} per GFLOP; if linear: bars of one length")  # fmt: skip
    names = [
        f"{style.net_name(row.net)}\n{scaled(row.flops, 'G'):.3g} GFLOPs, {seconds(row.whole_s)}"
        for row in table.itertuples()
    ]
    style.places(left, names, fontsize=10)
    handles = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="0.2", linewidth=0.5,
              label=_REST_ON_GPU if on_gpu and part == "rest" else words)
        for part, (words, colour, hatch) in _PARTS.items()
    ]  # fmt: skip
    handles.append(Line2D([], [], **_PEAK, label="all FLOPs at the peak, nothing else"))
    style.legend_above(figure, handles, ncols=2, columnspacing=None, handletextpad=None)
    figure.get_layout_engine().set(wspace=0.06)
    return figure


def _stack(axis: plt.Axes, lengths: pd.DataFrame) -> None:
    place = np.arange(len(lengths))
    start = np.zeros(len(lengths))
    for part, (_, colour, hatch) in _PARTS.items():
        axis.barh(
            place, lengths[part], left=start, height=0.72, facecolor=colour, hatch=hatch,
            edgecolor="0.2", linewidth=0.5,
        )  # fmt: skip
        start += lengths[part].to_numpy()
    axis.grid(axis="y", visible=False)


def roofline(layer_costs: pd.DataFrame, machine_peaks: pd.DataFrame) -> plt.Figure:
    """Layers with FLOPs under this machine's two measured roofs (left), and those without (right).

    Inference, float32. A point is a layer, its area the share of its net's time. On the right the
    share of the time that layers without FLOPs take, which have no place on the left.
    """
    layer_costs = layer_costs[layer_costs["input_px"] == layer_costs["input_px"].max()]
    nets = [net for net in paper.NETS if net in set(layer_costs["net"])]
    if not nets:
        raise style.NothingToDrawError("no layer was timed")
    style.apply()
    table = findings.roofline(layer_costs, machine_peaks)
    share = table["seconds"] / table.groupby("net")["seconds"].transform("sum")
    table = table.assign(share=share)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11.5, 5), width_ratios=[2.5, 1])
    shown = table[table["flops"] > 0].sort_values("share", ascending=False)
    _without_flops(right, layer_costs, nets)
    if shown.empty:
        style.in_words(left, "no roof: machine_peaks of these threads have not been measured yet")
        return figure
    for net in nets:
        mine = shown[shown["net"] == net]
        left.scatter(
            mine["intensity"], mine["flops_per_s"], s=_area(mine["share"]),
            color=style.NET_COLOURS[net], marker=style.NET_MARKERS[net], alpha=0.6,
            edgecolor="0.15", linewidth=0.4,
        )  # fmt: skip
    _roofs(left, shown)
    handles = [Line2D([], [], markersize=8, linestyle="none", **style.of_net(net)) for net in nets]
    handles += [
        left.scatter([], [], s=_area(size), color="0.7", edgecolor="0.15", linewidth=0.4,
                     label=f"{100 * size:g} % of its net's time")
        for size in (0.01, 0.1)
    ]  # fmt: skip
    style.legend_above(figure, handles, columnspacing=1.2, handletextpad=0.3)
    return figure


def _area(share):
    return 14 + 900 * share


def _roofs(axis: plt.Axes, table: pd.DataFrame) -> None:
    row = table.loc[table["threads"].idxmax()]
    flops, moved = row["peak_flops_per_s"], row["peak_bytes_per_s"]
    ridge = flops / moved
    low, high = min(table["intensity"].min(), ridge) / 3, max(table["intensity"].max(), ridge) * 2
    axis.plot([low, ridge], [low * moved, flops], color="0.1", linewidth=2)
    axis.plot([ridge, high], [flops, flops], color="0.1", linewidth=2)
    bottom = min(table["flops_per_s"].quantile(0.002), low * moved) / 1.7
    axis.set(xscale="log", yscale="log", xlim=(low, high))
    highest = max(flops, table["flops_per_s"].max())
    axis.set_ylim(bottom, 2.2 * highest)
    axis.annotate(
        f"best product or convolution: {readable(flops, 0)}FLOP/s", (high, highest), (-6, 7),
        textcoords="offset points", ha="right", fontsize=9.5, fontweight="bold",
    )  # fmt: skip
    middle = (low * ridge) ** 0.5
    axis.annotate(
        f"copy:\n{scaled(moved, 'G'):,.0f} GB/s", (middle, middle * moved), (-6, 4), ha="right",
        textcoords="offset points", fontsize=9.5, fontweight="bold",
    )  # fmt: skip
    style.decades(axis.yaxis, (1,), EngFormatter(unit="FLOP/s"))
    style.decades(axis.xaxis, (1, 3), "{x:g}")
    axis.set_xlabel("arithmetic intensity, FLOPs per byte read or written")
    axis.set_ylabel("achieved, float32")
    axis.set_title(f"layers with FLOPs; inference, {row['input_px']} px, batch {row['batch']}")


def _without_flops(axis: plt.Axes, layer_costs: pd.DataFrame, nets: list[str]) -> None:
    table = findings.no_flop_share(layer_costs).drop_duplicates("net").set_index("net").loc[nets]
    place = np.arange(len(nets))
    axis.barh(
        place, table["share"], height=0.6, color=[style.NET_COLOURS[net] for net in nets],
        hatch="..", edgecolor="0.15", linewidth=0.5,
    )  # fmt: skip
    for y, row in zip(place, table.itertuples(), strict=True):
        axis.annotate(
            f"{100 * row.share:.0f} %\n{row.layers_without} of {row.layers} layers",
            (row.share, y), (5, 0), textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    style.places(axis, [style.net_name(net) for net in nets], fontsize=10)
    axis.set_xlim(0, 1.9 * max(table["share"].max(), 0.01))
    style.percents(axis.xaxis)
    axis.xaxis.get_major_locator().set_params(nbins=4)
    axis.set(title="layers without FLOPs", xlabel="share of the net's time")
