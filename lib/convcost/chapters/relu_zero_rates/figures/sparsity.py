"""Beyond LeNet: zeros after each ReLU of larger nets, and what skipping zeros brings in time.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.relu_zero_rates.findings`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
)

from convcost import sources
from convcost.chapters.relu_zero_rates import findings
from convcost.chapters.relu_zero_rates.figures.parts import around, one_legend, rates
from convcost.figures import style

_NETS = ("alexnet", "vgg16", "resnet18", "googlenet")


def net_zero_rates(net_zero_rates: pd.DataFrame, skippable_macs: pd.DataFrame) -> plt.Figure:
    """Share of zeros after each ReLU in forward order, a panel a net; AlexNet with the post's band.

    The dashed line is the share over all elements of all ReLUs of the net.
    """
    style.apply()
    rows = rates(net_zero_rates)
    means = findings.zero_ranges(net_zero_rates, skippable_macs).groupby("net")["mean"].median()
    nets = [net for net in _NETS if net in set(rows["net"])]
    columns = min(2, len(nets))
    lines = -(-len(nets) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4 + 3.5 * columns, 2.8 * lines + 0.5), sharey=True, squeeze=False
    )
    for axis in axes.flat[len(nets) :]:
        axis.set_axis_off()
    for axis, net in zip(axes.flat, nets, strict=False):
        mine = rows[rows["net"] == net]
        by_relu = mine.groupby("position")["rate"].agg(["median", "min", "max"])
        if net == "alexnet":
            low, high = (
                sources.value("geifman", f"alexnet_sparsity_{end}_percent") / 100
                for end in ("min", "max")
            )
            axis.axhspan(
                low, high, facecolor=style.PAPER_COLOUR, alpha=0.12, hatch="//", edgecolor="white",
                label=f"the post: {100 * low:.0f} to {100 * high:.0f} %",
            )  # fmt: skip
        axis.axhline(means[net], color="0.3", linestyle="--", linewidth=1.2, label="all elements")
        axis.errorbar(
            by_relu.index + 1,
            by_relu["median"],
            yerr=around(by_relu, "median", "min", "max"),
            color=style.NET_COLOURS[net],
            marker=style.NET_MARKERS[net],
            markersize=5,
            linewidth=1.2,
            label="ours",
        )
        axis.set_title(style.net_name(net))
        axis.set_ylim(0, 1.04)
        axis.set_xlabel("ReLU, in forward order", fontsize=10)
        axis.xaxis.get_major_locator().set_params(integer=True)
        style.percents(axis.yaxis)
        axis.grid(axis="x", visible=False)
        axis.legend(loc="lower right", fontsize=9, ncols=3)
    for axis in axes[:, 0]:
        axis.set_ylabel("zero after ReLU")
    return figure


def sparse_speed_up(sparse_sweep: pd.DataFrame, sparse_layers: pd.DataFrame) -> plt.Figure:
    """Dense time over the time of methods that skip zeros, against the share of zeros.

    A panel a shape, with the ideal and the zero rate from which a method pays; on the right the
    layers of trained nets, the fastest sparse method of each. Both axes grow by factors; the
    horizontal one is the ideal speed-up, labelled with its share of zeros.
    """
    style.apply()
    cases = list(dict.fromkeys(sparse_sweep["case"]))
    columns = -(-len(cases) // 2)
    figure = plt.figure(figsize=(12, 6.2))
    grid = figure.add_gridspec(2, columns + 1, width_ratios=[1] * columns + [1.6])
    methods = [m for m in dict.fromkeys(sparse_sweep["method"]) if m != "dense"]
    crossings = findings.break_even(sparse_sweep).set_index(["case", "method"])["break_even"]
    first = None
    for number, case in enumerate(cases):
        axis = figure.add_subplot(grid[divmod(number, columns)], sharex=first, sharey=first)
        first = first or axis
        _case(axis, sparse_sweep[sparse_sweep["case"] == case], methods, crossings[case])
        _factors(axis, "inputs that are zero, %", "dense time ÷ sparse time")
        axis.set_title(case, fontsize=10)
        axis.label_outer()
    first.set_ylim(top=max(60, first.get_ylim()[1]))  # room for the words above the ideal
    one_legend(figure, "outside upper left")
    wide = figure.add_subplot(grid[:, -1])
    _layers(wide, findings.sparse_speed_ups(sparse_layers))
    _factors(
        wide, "multiplications with a zero input, %", "dense time ÷ time of the fastest sparse one"
    )
    return figure


def _factors(axis: plt.Axes, across: str, up: str) -> None:
    """Both axes by factors, the horizontal one labelled with shares of zeros; the ideal, and 1."""
    axis.set(xscale="log", yscale="log", xlabel=across, ylabel=up)
    right, (low, high) = max(1.1 * axis.get_xlim()[1], 12), axis.get_ylim()
    axis.axhline(1, color="0.25", linewidth=1)
    axis.plot([1, 1000], [1, 1000], "--", color="0.45", linewidth=1.2, label="ideal")
    axis.set(xlim=(0.88, right), ylim=(low, high))
    axis.xaxis.label.set_size(10)
    axis.yaxis.label.set_size(10)
    shares = [share for share in (0, 0.5, 0.8, 0.9, 0.95, 0.99) if 1 / (1 - share) < right]
    axis.xaxis.set_major_locator(FixedLocator([1 / (1 - share) for share in shares]))
    axis.xaxis.set_major_formatter(FixedFormatter([f"{100 * share:g}" for share in shares]))
    axis.xaxis.set_minor_locator(NullLocator())
    if high < 3000 * low:
        axis.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g} ×"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _case(axis: plt.Axes, rows: pd.DataFrame, methods: list[str], crossings: pd.Series) -> None:
    """One shape: speed-up of each method over the zero rate, 5 to 95 % of its repetitions."""
    times = rows.assign(call_s=rows["seconds"] / rows["calls"])
    spread = times.groupby(["method", "zero_rate"])["call_s"].quantile([0.05, 0.5, 0.95]).unstack()
    dense = spread[0.5]["dense"]
    for number, method in enumerate(methods):
        if method not in crossings.index:
            continue
        mine = spread.loc[method]
        ideal = 1 / (1 - mine.index.to_numpy())
        colour = style.PALETTE[number]
        axis.fill_between(
            ideal, dense[mine.index] / mine[0.95], dense[mine.index] / mine[0.05],
            color=colour, alpha=0.25, linewidth=0,
        )  # fmt: skip
        axis.plot(
            ideal, dense[mine.index] / mine[0.5], color=colour, marker=style.MARKERS[number],
            markersize=4, linewidth=1.3, label=method,
        )  # fmt: skip
        if np.isfinite(crossings[method]):
            at = 1 / (1 - crossings[method])
            axis.plot(at, 1, marker="|", color=colour, markersize=13, markeredgewidth=2.5)
    soonest = crossings.idxmin() if crossings.notna().any() else None
    words = f"pays from {100 * crossings[soonest]:.0f} %\n({soonest})" if soonest else "never pays"
    axis.text(
        0.04, 0.96, words, transform=axis.transAxes, va="top", fontsize=8.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _layers(axis: plt.Axes, table: pd.DataFrame) -> None:
    """Layers of trained nets, the ideal against the fastest sparse method; whole nets larger."""
    for (net, batch), mine in table.groupby(["net", "batch"], sort=False):
        layers = mine[~mine["layer"].str.startswith("(")]
        whole = mine[mine["layer"] == "(net)"]
        look = {"color": style.NET_COLOURS[net], "marker": style.NET_MARKERS[net]}
        look |= {"linestyle": "none", "markerfacecolor": None if batch == 1 else "none"}
        axis.plot(
            layers["ideal"], layers["speed_up"], markersize=5, alpha=0.75,
            label=f"{style.net_name(net)}, batch {batch}", **look,
        )  # fmt: skip
        axis.plot(
            whole["ideal"], whole["speed_up"], markersize=13, **look | {"markeredgecolor": "black"}
        )
    axis.set_title("layers of trained nets; large: the whole net", fontsize=10)
    low, high = axis.get_ylim()
    axis.set_ylim(low, 4 * high)  # room for the legend
    axis.legend(fontsize=8.5, loc="upper left")
