"""Figures of notebook 01: what is counted, where it sits, and who counts what.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from convcost.core.units import FLOPS_PER_MAC, scaled
from convcost.figures import style

_FIVE = ["alexnet", "vgg16", "googlenet", "resnet18", "densenet121"]


def _grouped(op: str) -> str:
    op = {"adaptive_pool": "pool", "conv_transpose": "conv", "cat": "concat"}.get(op, op)
    return op if op in style.OPS else "other"


def layer_profile(layer_counts: pd.DataFrame) -> plt.Figure:
    """GFLOPs (upper row) and parameters (lower row) of each weighted layer, in forward order."""
    style.apply()
    nets = [net for net in _FIVE if net in set(layer_counts["net"])]
    figure, axes = plt.subplots(2, len(nets), figsize=(3.0 * len(nets), 5.4), squeeze=False)
    for column, net in enumerate(nets):
        rows = layer_counts[(layer_counts["net"] == net) & (layer_counts["macs"] > 0)]
        colours = [style.OP_COLOURS[_grouped(op)] for op in rows["op"]]
        place = np.arange(1, len(rows) + 1)
        flops = scaled(FLOPS_PER_MAC * rows["macs"].to_numpy(), "G")
        for axis, heights in zip(
            axes[:, column], (flops, scaled(rows["params"].to_numpy(), "M")), strict=True
        ):
            axis.bar(place, heights, width=1.0, color=colours, edgecolor="white", linewidth=0.3)
            axis.grid(axis="x", visible=False)
            axis.set_xlim(0.3 - 0.01 * len(rows), len(rows) * 1.02 + 0.7)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes[0, column].set_title(style.net_name(net))
    figure.supxlabel("weighted layer, in forward order", fontsize="medium")
    axes[0, 0].set_ylabel("forward pass, GFLOPs\n(2 per multiply-add)")
    axes[1, 0].set_ylabel("parameters, millions")
    handles = [plt.Rectangle((0, 0), 1, 1, color=style.OP_COLOURS[op]) for op in ("conv", "linear")]
    figure.legend(
        handles, [style.OPS["conv"], style.OPS["linear"]], loc="outside upper right", ncols=2
    )
    return figure


def op_shares(layer_counts: pd.DataFrame) -> plt.Figure:
    """Share of each operator type in FLOPs, parameters and bytes moved."""
    style.apply()
    nets = [net for net in _FIVE if net in set(layer_counts["net"])]
    rows = layer_counts.assign(group=layer_counts["op"].map(_grouped))
    panels = {
        "macs": "FLOPs",
        "params": "parameters",
        "bytes": "bytes read and written",
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(11.5, 3.8), sharey=True)
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        sums = rows.pivot_table(index="net", columns="group", values=column, aggfunc="sum")
        shares = sums.div(sums.sum(axis=1), axis=0).reindex(nets).fillna(0.0)
        left = np.zeros(len(nets))
        for op in style.OPS:
            if op not in shares:
                continue
            axis.barh(
                [style.net_name(n) for n in nets],
                shares[op],
                left=left,
                color=style.OP_COLOURS[op],
                hatch=style.OP_HATCHES[op],
                edgecolor="white",
                label=style.OPS[op],
            )
            left += shares[op].to_numpy()
        axis.set_title(title)
        axis.set_xlim(0, 1)
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
        axis.grid(axis="y", visible=False)
    axes[0].invert_yaxis()
    figure.supxlabel("share of the net's total", fontsize="medium")
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def conventions(convention_totals: pd.DataFrame) -> plt.Figure:
    """How far each tool's total lies from the plain multiply-adds, per net.

    Totals of tools that count two per multiply-add are halved first, so that what is left is what
    the tools count differently, not the factor 2.
    """
    style.apply()
    table = convention_totals.copy()
    halved = table["unit"].eq("flops")
    table["macs"] = table["total"] / np.where(halved, FLOPS_PER_MAC, 1)
    plain = table[table["convention"] == "macs-only"].set_index("net")["macs"]
    table["off_percent"] = 100 * (table["macs"] / table["net"].map(plain) - 1)
    nets = [net for net in _FIVE if net in set(table["net"])]
    order = (
        table[table["net"].isin(nets)]
        .groupby("convention")["off_percent"]
        .median()
        .sort_values()
        .index
    )
    figure, axis = plt.subplots(figsize=(9, 0.42 * len(order) + 1.8))
    axis.axvline(0, color="0.3", linewidth=1)
    for offset, net in zip(np.linspace(-0.26, 0.26, len(nets)), nets, strict=True):
        rows = table[table["net"] == net].set_index("convention").reindex(order)
        axis.plot(
            rows["off_percent"],
            np.arange(len(order)) + offset,
            linestyle="none",
            marker=style.NET_MARKERS[net],
            color=style.NET_COLOURS[net],
            markersize=6.5,
            label=style.net_name(net),
        )
    units = table.drop_duplicates("convention").set_index("convention")["unit"]
    labels = [f"{c} (÷ 2)" if units[c] == "flops" else c for c in order]
    axis.set_yticks(range(len(order)), labels)
    axis.set_xscale("symlog", linthresh=0.1, linscale=0.6)
    largest = 1.8 * table.loc[table["net"].isin(nets), "off_percent"].abs().max()
    axis.set_xlim(-largest, largest)
    axis.set_xticks([-10, -1, -0.1, 0, 0.1, 1, 10])
    axis.set_ylim(-0.6, len(order) - 0.4)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g} %" if v else "0"))
    axis.set_xlabel("total against plain multiply-adds (symmetric log axis)")
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, 1.1), ncols=len(nets), frameon=False)
    return figure


def input_sweep(input_sweep: pd.DataFrame) -> plt.Figure:
    """FLOPs (left) and parameters (right) against the side of the input image."""
    style.apply()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), sharex=True)
    for net in [n for n in _FIVE if n in set(input_sweep["net"])]:
        rows = input_sweep[input_sweep["net"] == net].sort_values("input_px")
        look = {
            "marker": style.NET_MARKERS[net],
            "color": style.NET_COLOURS[net],
            "label": style.net_name(net),
            "markersize": 5,
        }
        left.plot(rows["input_px"], scaled(FLOPS_PER_MAC * rows["macs"], "G"), **look)
        right.plot(rows["input_px"], scaled(rows["params"], "M"), **look)
    sizes = np.array(sorted(input_sweep["input_px"].unique()), dtype=float)
    guide = 0.25 * (sizes / sizes[-1]) ** 2
    left.plot(sizes, guide, color="0.5", linestyle=":", label="slope 2: area of the image")
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks([s for s in (28, 64, 128, 224, 448) if s in sizes])
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.minorticks_off()
        axis.set_xlabel("side of the input, px")
    left.set_ylabel("forward pass, GFLOPs")
    right.set_ylabel("parameters, millions")
    for axis in (left, right):
        axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False
    )
    return figure


def intensity(layer_counts: pd.DataFrame) -> plt.Figure:
    """FLOPs of each call against the bytes it moves, with lines of equal arithmetic intensity."""
    style.apply()
    nets = [net for net in _FIVE if net in set(layer_counts["net"])]
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 7), sharex=True, sharey=True)
    rows = layer_counts[(layer_counts["macs"] > 0) & layer_counts["net"].isin(nets)]
    megabytes, megaflops = scaled(rows["bytes"], "M"), scaled(FLOPS_PER_MAC * rows["macs"], "M")
    axes[0, 0].set_xlim(megabytes.min() / 2, megabytes.max() * 2)
    axes[0, 0].set_ylim(megaflops.min() / 3, megaflops.max() * 3)
    for axis, net in zip(axes.flat, nets, strict=False):
        for op, marker in {"conv": "o", "linear": "s"}.items():
            chosen = (rows["net"] == net) & (rows["op"] == op)
            axis.scatter(
                megabytes[chosen],
                megaflops[chosen],
                marker=marker,
                s=30,
                color=style.OP_COLOURS[op],
                edgecolor="white",
                linewidth=0.4,
                label=style.OPS[op],
            )
        span = np.array([1e-3, 1e4])
        for flops_per_byte in (0.5, 10, 100):
            axis.plot(span, flops_per_byte * span, color="0.6", linewidth=0.8, linestyle="--")
        axis.set_title(style.net_name(net))
        axis.set_xscale("log")
        axis.set_yscale("log")
    for flops_per_byte, at in ((0.5, 6), (10, 0.5), (100, 0.6)):
        axes[0, 0].annotate(
            f"{flops_per_byte:g} FLOP/B",
            (at, flops_per_byte * at),
            xytext=(-6, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=9,
            color="0.3",
        )
    axes[-1, -1].set_axis_off()
    axes[-1, -1].legend(*axes[0, 0].get_legend_handles_labels(), loc="center left", frameon=False)
    axes[0, -1].xaxis.set_tick_params(labelbottom=True)
    for axis in (axes[1, 0], axes[1, 1], axes[0, 2]):
        axis.set_xlabel("bytes moved, MB")
    for axis in axes[:, 0]:
        axis.set_ylabel("MFLOPs of one layer, one image")
    return figure


def training_cost(net_counts: pd.DataFrame) -> plt.Figure:
    """Forward and backward GFLOPs of one image, with the ratio of the whole to the forward pass."""
    style.apply()
    rows = net_counts[
        (net_counts["num_classes"] == 1000)
        & (net_counts["in_channels"] == 3)
        & (net_counts["input_px"] == 224)
        & ~net_counts["training"]
        & net_counts["net"].isin(_FIVE)
    ].set_index("net")
    rows = rows.reindex([n for n in _FIVE if n in rows.index])
    names = [style.net_name(n) for n in rows.index]
    figure, axis = plt.subplots(figsize=(8.5, 3.3))
    forward = scaled(rows["flops"], "G")
    backward = scaled(rows["backward_flops"], "G")
    axis.barh(names, forward, color=style.OP_COLOURS["conv"], label="forward")
    axis.barh(
        names,
        backward,
        left=forward,
        color=style.OP_COLOURS["linear"],
        hatch="//",
        edgecolor="white",
        label="backward, no gradient for the image",
    )
    for name, whole, ratio in zip(
        names, forward + backward, (forward + backward) / forward, strict=True
    ):
        axis.text(whole, name, f"  {whole:.2f} = {ratio:.3f} × forward", va="center", fontsize=9)
    axis.set_xlim(0, 1.32 * (forward + backward).max())
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("GFLOPs of one training image (2 per multiply-add)")
    axis.legend(loc="lower right")
    return figure


def table1(protocol_totals: pd.DataFrame, printed: pd.DataFrame) -> plt.Figure:
    """Every candidate protocol beside the value that Cheng & Liu's Table 1 prints.

    `protocol_totals` is the results table with a column `gflops` (the candidate's value) and a
    boolean columns `matches` (prints the same digits) and `common` (belongs to the protocol that
    fits most rows); `printed` has columns row, label, gflops, text.
    """
    style.apply()
    figure, axis = plt.subplots(figsize=(9.5, 4.2))
    rng = np.random.default_rng(0)  # jitter only, so that points do not hide each other
    window = 6.0
    for place, row in enumerate(printed.itertuples()):
        mine = protocol_totals[protocol_totals["row"] == row.row]
        off = 100 * (mine["gflops"] / row.gflops - 1)
        near = off.abs() <= window
        jitter = rng.uniform(-0.28, 0.28, size=len(mine))
        jitter[mine["common"]] = 0.0
        for label, kind, look in (
            ("another value", ~mine["matches"], {"color": "0.6", "s": 12, "alpha": 0.55}),
            (
                "prints the same digits",
                mine["matches"] & ~mine["common"],
                {"color": style.OP_COLOURS["linear"], "s": 40, "marker": "D"},
            ),
            (
                "the one protocol that fits all five",
                mine["matches"] & mine["common"],
                {"color": style.OP_COLOURS["conv"], "s": 260, "marker": "*"},
            ),
        ):
            chosen = near & kind
            axis.scatter(
                off[chosen],
                place + jitter[chosen],
                edgecolor="white",
                linewidth=0.4,
                zorder=2 + (look["s"] > 20) + (look["s"] > 100),
                label=label if place == 0 else None,
                rasterized=look["s"] < 20,  # thousands of points would make a huge SVG
                **look,
            )
        axis.text(
            window * 1.02,
            place,
            f"{int(mine['matches'].sum())} of {len(mine)}\n"
            f"within ± {window:g} %: {int(near.sum())}",
            va="center",
            fontsize=8,
        )
    axis.axvline(0, color="0.2", linewidth=1)
    axis.set_yticks(range(len(printed)), [f"{r.label}\n{r.text} G" for r in printed.itertuples()])
    axis.set_xlim(-window, window)
    axis.set_ylim(len(printed) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g} %" if v else "printed"))
    axis.set_xlabel("candidate protocol against the printed value")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3, frameon=False)
    return figure


def lenet_multiplications(counts: pd.DataFrame, printed: pd.DataFrame) -> plt.Figure:
    """Multiplications per layer of LeNet by each way of counting, with the printed ones marked.

    `counts` is `lenet_multiplications`; `printed` has columns layer and multiplications.
    """
    style.apply()
    layers = list(dict.fromkeys(counts["layer"]))
    readings = {
        "equation": "by the paper's equations",
        "sparse-1998": "with the connection table of 1998",
        "exact": "exact",
    }
    figure, axis = plt.subplots(figsize=(8.5, 3.8))
    width = 0.26
    for place, (reading, label) in enumerate(readings.items()):
        rows = counts[counts["reading"] == reading].set_index("layer").reindex(layers)
        bars = axis.bar(
            np.arange(len(layers)) + (place - 1) * width,
            scaled(rows["multiplications"], "K"),
            width=width,
            hatch=["", "//", ".."][place],
            edgecolor="white",
            label=label,
        )
        for text in axis.bar_label(bars, fmt="{:,.4g}", fontsize=7.5, padding=1):
            text.set(zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4})
    seen = printed.set_index("layer").reindex(layers)["multiplications"].dropna()
    place = [layers.index(layer) for layer in seen.index]
    for x, value in zip(place, seen, strict=True):
        height = scaled(value, "K")
        axis.plot(
            [x - 0.46, x + 0.46],
            [height, height],
            color="0.1",
            linewidth=2,
            label="printed in the paper" if x == 0 else None,
        )
    axis.set_xticks(range(len(layers)), layers)
    axis.set_ylabel("multiplications, one image, thousands")
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper right")
    return figure


def separable_ratio(sweep: pd.DataFrame) -> plt.Figure:
    """Regular over separable multiply-adds against the output channels, for three kernels.

    `sweep` is the table `separable_sweep`. The post's example is marked.
    """
    style.apply()
    figure, axis = plt.subplots(figsize=(8, 3.9))
    for kernel, marker in zip(sorted(sweep["kernel"].unique()), "osD", strict=False):
        rows = sweep[sweep["kernel"] == kernel].sort_values("out_channels")
        axis.plot(
            rows["out_channels"],
            rows["regular_macs"] / rows["separable_macs"],
            marker=marker,
            markersize=4.5,
            label=f"{kernel} × {kernel} kernel (limit {kernel**2})",
        )
        axis.axhline(kernel**2, color="0.6", linestyle=":", linewidth=1)
    example = sweep[(sweep["kernel"] == 3) & (sweep["out_channels"] == 128)].iloc[0]
    ratio = example["regular_macs"] / example["separable_macs"]
    axis.annotate(
        f"the post's example: {ratio:.2f}",
        (128, ratio),
        xytext=(150, 3.4),
        arrowprops={"arrowstyle": "->", "color": "0.2"},
    )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sorted(sweep["out_channels"].unique()))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_yticks([1, 2, 4, 9, 25, 49])
    axis.minorticks_off()
    axis.set_xlabel("output channels")
    axis.set_ylabel("regular ÷ separable, multiply-adds")
    axis.legend(loc="upper left")
    return figure


def resnet_totals(convention_totals: pd.DataFrame, net: str = "resnet18") -> plt.Figure:
    """One net, one forward pass, every convention: the totals (left), and a closer look (right).

    The right panel shows those within 1 % of plain multiply-adds, which stand as a line.
    """
    style.apply()
    rows = convention_totals[convention_totals["net"] == net].sort_values("total")
    plain = int(rows[rows["convention"] == "macs-only"]["total"].iloc[0])
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 0.36 * len(rows) + 1.2), sharey=True, width_ratios=[1.15, 1]
    )
    colours = [style.OP_COLOURS["linear" if unit == "flops" else "conv"] for unit in rows["unit"]]
    bars = left.barh(rows["convention"], scaled(rows["total"], "G"), color=colours)
    left.bar_label(bars, [f" {total:,}" for total in rows["total"]], fontsize=8.5)
    left.set_xlim(0, 1.45 * scaled(rows["total"].max(), "G"))
    left.set_xlabel(f"total for {style.net_name(net)}, × 10⁹")
    near = (rows["total"] / plain - 1).abs() < 0.01
    off = scaled(rows["total"] - plain, "M").where(near)
    right.axvline(0, color="0.3", linewidth=1)
    right.hlines(rows["convention"], 0, off, color="0.6", linewidth=1.5)
    right.scatter(off, rows["convention"], color=style.OP_COLOURS["conv"], s=45, zorder=3)
    for convention, value in zip(rows["convention"][near], off[near], strict=True):
        side = -1 if value < 0 else 1
        right.annotate(
            f"{value:+.3f}" if value else "0",
            (value, convention),
            xytext=(7 * side, 0),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8.5,
        )
    for convention in rows["convention"][~near]:
        right.text(0.4, convention, "off this scale", va="center", fontsize=8.5, color="0.4")
    right.set_xlim(off.min() - 0.22 * (off.max() - off.min()), 1.22 * off.max())
    right.set_xlabel("minus plain multiply-adds, millions")
    left.invert_yaxis()
    for axis in (left, right):
        axis.grid(axis="y", visible=False)
    return figure
