"""Figures of notebook 01: what is counted, where it sits, and who counts what.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; published
values come from `findings`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from convcost import sources
from convcost.chapters.flop_counting import findings
from convcost.core.units import FLOPS_PER_MAC, scaled
from convcost.figures import style

PAPER_EQUATIONS = ("atsumi-eq1", "ke-eq1", "cheng-eqs")


def _grouped(op: str) -> str:
    op = {"adaptive_pool": "pool", "conv_transpose": "conv", "cat": "concat"}.get(op, op)
    return op if op in style.OPS else "other"


def _nets(table: pd.DataFrame) -> list[str]:
    """Those of the five nets that the table has."""
    return [net for net in findings.FIVE if net in set(table["net"])]


def layer_profile(layer_counts: pd.DataFrame) -> plt.Figure:
    """GFLOPs (upper row) and parameters (lower row) of each weighted layer, in forward order."""
    style.apply()
    nets = _nets(layer_counts)
    figure, axes = plt.subplots(2, len(nets), figsize=(3.0 * len(nets), 5.4), squeeze=False)
    for column, net in enumerate(nets):
        rows = layer_counts[(layer_counts["net"] == net) & (layer_counts["macs"] > 0)]
        colours = [style.OP_COLOURS[_grouped(op)] for op in rows["op"]]
        place = np.arange(1, len(rows) + 1)
        flops = scaled(FLOPS_PER_MAC * rows["macs"].to_numpy(), "G")
        params = scaled(rows["params"].to_numpy(), "M")
        for axis, heights in zip(axes[:, column], (flops, params), strict=True):
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
    nets = _nets(layer_counts)
    rows = layer_counts.assign(group=layer_counts["op"].map(_grouped))
    panels = {"macs": "FLOPs", "params": "parameters", "bytes": "bytes read and written"}
    figure, axes = plt.subplots(1, len(panels), figsize=(11.5, 3.8), sharey=True)
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        sums = rows.pivot_table(index="net", columns="group", values=column, aggfunc="sum")
        shares = sums.div(sums.sum(axis=1), axis=0).reindex(nets).fillna(0.0)
        left = np.zeros(len(nets))
        for op in (op for op in style.OPS if op in shares):
            axis.barh(
                [style.net_name(n) for n in nets], shares[op], left=left, edgecolor="white",
                color=style.OP_COLOURS[op], hatch=style.OP_HATCHES[op], label=style.OPS[op],
            )  # fmt: skip
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

    The papers' own equations are left out, for they are no tools. Totals of tools that count two
    per multiply-add are halved first, so that what is left is what the tools count differently,
    not the factor 2.
    """
    style.apply()
    table = convention_totals[~convention_totals["convention"].isin(PAPER_EQUATIONS)].copy()
    halved = table["unit"].eq("flops")
    table["macs"] = table["total"] / np.where(halved, FLOPS_PER_MAC, 1)
    plain = table[table["convention"] == "macs-only"].set_index("net")["macs"]
    table["off_percent"] = 100 * (table["macs"] / table["net"].map(plain) - 1)
    nets = _nets(table)
    ours = table[table["net"].isin(nets)]
    order = ours.groupby("convention")["off_percent"].median().sort_values().index
    figure, axis = plt.subplots(figsize=(9, 0.42 * len(order) + 1.8))
    axis.axvline(0, color="0.3", linewidth=1)
    for offset, net in zip(np.linspace(-0.26, 0.26, len(nets)), nets, strict=True):
        rows = table[table["net"] == net].set_index("convention").reindex(order)
        axis.plot(
            rows["off_percent"], np.arange(len(order)) + offset, linestyle="none", markersize=6.5,
            **style.of_net(net),
        )  # fmt: skip
    units = table.drop_duplicates("convention").set_index("convention")["unit"]
    labels = [f"{c} (÷ 2)" if units[c] == "flops" else c for c in order]
    axis.set_yticks(range(len(order)), labels)
    axis.set_xscale("symlog", linthresh=0.1, linscale=0.6)
    largest = 1.8 * ours["off_percent"].abs().max()
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
    for net in _nets(input_sweep):
        rows = input_sweep[input_sweep["net"] == net].sort_values("input_px")
        look = style.of_net(net) | {"markersize": 5}
        left.plot(rows["input_px"], scaled(FLOPS_PER_MAC * rows["macs"], "G"), **look)
        right.plot(rows["input_px"], scaled(rows["params"], "M"), **look)
    sizes = np.array(sorted(input_sweep["input_px"].unique()), dtype=float)
    guide = 0.25 * (sizes / sizes[-1]) ** 2
    left.plot(sizes, guide, color="0.5", linestyle=":", label="slope 2: area of the image")
    for axis, words in ((left, "forward pass, GFLOPs"), (right, "parameters, millions")):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks([s for s in (28, 64, 128, 224, 448) if s in sizes])
        axis.minorticks_off()
        axis.xaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set(xlabel="side of the input, px", ylabel=words)
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False
    )
    return figure


def intensity(layer_counts: pd.DataFrame) -> plt.Figure:
    """FLOPs of each call against the bytes it moves, with lines of equal arithmetic intensity."""
    style.apply()
    nets = _nets(layer_counts)
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 7), sharex=True, sharey=True)
    rows = layer_counts[(layer_counts["macs"] > 0) & layer_counts["net"].isin(nets)]
    megabytes, megaflops = scaled(rows["bytes"], "M"), scaled(FLOPS_PER_MAC * rows["macs"], "M")
    axes[0, 0].set_xlim(megabytes.min() / 2, megabytes.max() * 2)
    axes[0, 0].set_ylim(megaflops.min() / 3, megaflops.max() * 3)
    for axis, net in zip(axes.flat, nets, strict=False):
        for op, marker in {"conv": "o", "linear": "s"}.items():
            chosen = (rows["net"] == net) & (rows["op"] == op)
            axis.scatter(
                megabytes[chosen], megaflops[chosen], marker=marker, s=30, label=style.OPS[op],
                color=style.OP_COLOURS[op], edgecolor="white", linewidth=0.4,
            )  # fmt: skip
        span = np.array([1e-3, 1e4])
        for flops_per_byte in (0.5, 10, 100):
            axis.plot(span, flops_per_byte * span, color="0.6", linewidth=0.8, linestyle="--")
        axis.set(title=style.net_name(net), xscale="log", yscale="log")
    for flops_per_byte, at in ((0.5, 6), (10, 0.5), (100, 0.6)):
        axes[0, 0].annotate(
            f"{flops_per_byte:g} FLOP/B", (at, flops_per_byte * at), (-6, 3), ha="right",
            va="bottom", textcoords="offset points", fontsize=9, color="0.3",
        )  # fmt: skip
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
    rows = findings.plain_counts(net_counts)
    rows = rows.set_index("net").loc[_nets(rows)]
    names = [style.net_name(n) for n in rows.index]
    figure, axis = plt.subplots(figsize=(8.5, 3.3))
    forward = scaled(rows["flops"], "G")
    backward = scaled(rows["backward_flops"], "G")
    axis.barh(names, forward, color=style.OP_COLOURS["conv"], label="forward")
    axis.barh(
        names, backward, left=forward, color=style.OP_COLOURS["linear"], hatch="//",
        edgecolor="white", label="backward, no gradient for the image",
    )  # fmt: skip
    both = forward + backward
    for name, whole, ratio in zip(names, both, both / forward, strict=True):
        axis.text(whole, name, f"  {whole:.2f} = {ratio:.3f} × forward", va="center", fontsize=9)
    axis.set_xlim(0, 1.32 * both.max())
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("GFLOPs of one training image (2 per multiply-add)")
    axis.legend(loc="lower right")
    return figure


def table1(protocol_totals: pd.DataFrame) -> plt.Figure:
    """Every candidate protocol beside the value that Cheng & Liu's Table 1 prints.

    Marked are those that print the same digits, and of these the ones of the protocol that fits
    most rows.
    """
    style.apply()
    table = findings.with_printed(protocol_totals)
    best = findings.agreement_of_one_protocol(protocol_totals).iloc[0][findings.PROTOCOL]
    table["common"] = (table[findings.PROTOCOL] == best).all(axis=1)
    figure, axis = plt.subplots(figsize=(9.5, 4.2))
    rng = np.random.default_rng(0)  # jitter only, so that points do not hide each other
    window = 6.0
    labels = []
    for place, (name, label) in enumerate(findings.TABLE1_ROWS.items()):
        labels.append(f"{label}\n{sources.printed_text('cheng2025', name)} G")
        mine = table[table["row"] == name]
        off = 100 * (mine["gflops"] / float(sources.value("cheng2025", name)) - 1)
        near = off.abs() <= window
        jitter = rng.uniform(-0.28, 0.28, size=len(mine))
        jitter[mine["common"]] = 0.0
        fits, common = mine["matches"], mine["common"]
        another = {"color": "0.6", "s": 12, "alpha": 0.55}
        same = {"color": style.OP_COLOURS["linear"], "s": 40, "marker": "D"}
        one = {"color": style.OP_COLOURS["conv"], "s": 260, "marker": "*"}
        for words, kind, look in (
            ("another value", ~fits, another),
            ("prints the same digits", fits & ~common, same),
            ("the one protocol that fits all five", fits & common, one),
        ):
            chosen = near & kind
            axis.scatter(
                off[chosen], place + jitter[chosen], edgecolor="white", linewidth=0.4,
                zorder=2 + (look["s"] > 20) + (look["s"] > 100),
                label=words if place == 0 else None,
                rasterized=look["s"] < 20,  # thousands of points would make a huge SVG
                **look,
            )  # fmt: skip
        axis.text(
            window * 1.02, place, f"{int(fits.sum())} of {len(mine)}\nwithin ± {window:g} %: "
            f"{int(near.sum())}", va="center", fontsize=8,
        )  # fmt: skip
    axis.axvline(0, color="0.2", linewidth=1)
    style.places(axis, labels)
    axis.set_xlim(-window, window)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:+g} %" if v else "printed"))
    axis.set_xlabel("candidate protocol against the printed value")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3, frameon=False)
    return figure


def lenet_multiplications(counts: pd.DataFrame) -> plt.Figure:
    """Multiplications per layer of LeNet by each way of counting, with the printed ones marked."""
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
            np.arange(len(layers)) + (place - 1) * width, scaled(rows["multiplications"], "K"),
            width=width, hatch=["", "//", ".."][place], edgecolor="white", label=label,
        )  # fmt: skip
        for text in axis.bar_label(bars, fmt="{:,.4g}", fontsize=7.5, padding=1):
            text.set(zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4})
    for layer, value in findings.atsumi_printed().items():
        x, height = layers.index(layer), scaled(value, "K")
        axis.plot(
            [x - 0.46, x + 0.46], [height, height], color="0.1", linewidth=2,
            label="printed in the paper" if x == 0 else None,
        )  # fmt: skip
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
            rows["out_channels"], rows["regular_macs"] / rows["separable_macs"], marker=marker,
            markersize=4.5, label=f"{kernel} × {kernel} kernel (limit {kernel**2})",
        )  # fmt: skip
        axis.axhline(kernel**2, color="0.6", linestyle=":", linewidth=1)
    example = sweep[(sweep["kernel"] == 3) & (sweep["out_channels"] == 128)].iloc[0]
    ratio = example["regular_macs"] / example["separable_macs"]
    arrow = {"arrowstyle": "->", "color": "0.2"}
    axis.annotate(f"the post's example: {ratio:.2f}", (128, ratio), (150, 3.4), arrowprops=arrow)
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sorted(sweep["out_channels"].unique()))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_formatter("{x:g}")
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
        right.annotate(
            f"{value:+.3f}" if value else "0", (value, convention), (-7 if value < 0 else 7, 0),
            textcoords="offset points", ha="right" if value < 0 else "left", va="center",
            fontsize=8.5,
        )  # fmt: skip
    for convention in rows["convention"][~near]:
        right.text(0.4, convention, "off this scale", va="center", fontsize=8.5, color="0.4")
    right.set_xlim(off.min() - 0.22 * (off.max() - off.min()), 1.22 * off.max())
    right.set_xlabel("minus plain multiply-adds, millions")
    left.invert_yaxis()
    for axis in (left, right):
        axis.grid(axis="y", visible=False)
    return figure
