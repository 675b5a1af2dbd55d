"""All methods of notebook 06 in one picture: what is promised, what is kept, and the front."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from convcost.chapters.acceleration import findings as found
from convcost.chapters.acceleration.figures.methods import WIDE, nothing
from convcost.chapters.acceleration.findings import accuracy as kinds
from convcost.figures import style

SHOWN = {
    kinds.NONE: ("nothing", "*"),
    kinds.QUANTISED: ("quantisation", "o"),
    kinds.NARROWED: ("structured pruning", "D"),
    kinds.DISTILLED: ("distillation", "s"),
    kinds.FACTORISED: ("low rank", "^"),
    kinds.COMPACT: ("compact design", "v"),
    kinds.DROPPED: ("blocks removed", "P"),
    kinds.COMBINED: ("combined", "X"),
}
COLOURS = dict(zip(SHOWN, ["0.2", *style.PALETTE[:4], style.PALETTE[7], "#6a3d9a",
                           style.PALETTE[9]], strict=True))  # fmt: skip
MOST_LOST = 6.0  # points: what loses more is beside the point, and is counted in words


def front(accelerated_nets: pd.DataFrame, accelerated_times: pd.DataFrame) -> plt.Figure:
    """Points lost against times faster, every method in float32 (hollow) and int8 (filled)."""
    table = found.overview(accelerated_nets, accelerated_times)
    table = table.dropna(subset=["times_faster_single"])
    nothing(table, "a speed-up")
    style.apply()
    figure, axis = plt.subplots(figsize=(WIDE, 5.2))
    inside = table[table["lost"] <= MOST_LOST]
    for row in inside.itertuples():
        _, marker = SHOWN[row.method]
        half = None if not np.isfinite(row.low) else [[row.lost - row.low], [row.high - row.lost]]
        filled = COLOURS[row.method] if row.format == "int8" else "white"
        axis.errorbar(
            row.times_faster_single, row.lost, yerr=half, color=COLOURS[row.method], marker=marker,
            markersize=8, markerfacecolor=filled, capsize=2, elinewidth=1, zorder=3,
        )  # fmt: skip
    best = found.front(inside)
    axis.step(best["times_faster_single"], best["lost"], where="pre", color="0.55", linewidth=1.2,
              zorder=2)  # fmt: skip
    axis.axhline(0, color="0.4", linewidth=1, zorder=1)
    axis.set_xscale("log")
    style.decades(axis.xaxis, (1, 2, 3, 5), "{x:g} ×")
    top = min(-0.6, (inside["lost"] - 0.3).min())
    axis.set_ylim(MOST_LOST, top)
    axis.set_xlabel("times as fast as the net itself in float32 (one image, one core)")
    axis.set_ylabel("accuracy lost, points")
    lost = len(table) - len(inside)
    beyond = f"; {lost} net{'s' if lost > 1 else ''} lose more" if lost else ""
    axis.set_title(f"Up and to the right is better{beyond}")
    handles = [
        *(
            Line2D([], [], linestyle="none", marker=marker, color=COLOURS[key], label=name,
                   markersize=8)
            for key, (name, marker) in SHOWN.items()
            if key in set(inside["method"])
        ),
        Line2D([], [], linestyle="none", marker="o", color="0.4", markerfacecolor="white",
               label="hollow: float32"),
        Line2D([], [], linestyle="none", marker="o", color="0.4", label="filled: int8"),
        Line2D([], [], color="0.55", label="none is better in both"),
    ]  # fmt: skip
    style.legend_above(figure, handles, ncols=4, fontsize=8.5)
    return figure


def promises(accelerated_nets: pd.DataFrame, accelerated_times: pd.DataFrame) -> plt.Figure:
    """How many times fewer multiply-adds a net has, against how many times as fast it is."""
    table = found.overview(accelerated_nets, accelerated_times)
    table = table[table["format"].eq("float32") & table["method"].ne(kinds.NONE)]
    table = table.drop_duplicates(["params", "macs"]).dropna(subset=["times_faster_single"])
    nothing(table, "another number of multiply-adds")
    style.apply()
    figure, axes = plt.subplots(1, 2, figsize=(WIDE, 4.2), sharex=True, sharey=True)
    panels = (("_single", "one image, one core"), ("_many", "a batch, all cores"))
    ends = np.array([0.8, 1.4 * table["macs_ratio"].max()])
    for axis, (suffix, words) in zip(axes, panels, strict=True):
        axis.plot(ends, ends, color="0.5", linewidth=1, zorder=1)
        for row in table.to_dict("records"):
            _, marker = SHOWN[row["method"]]
            axis.plot(row["macs_ratio"], row[f"times_faster{suffix}"], marker,
                      color=COLOURS[row["method"]], markersize=8)  # fmt: skip
        axis.axhline(1, color="0.4", linewidth=1, linestyle=":")
        axis.set(xscale="log", yscale="log", xlim=ends, xlabel="times fewer multiply-adds")
        axis.set_title(words)
        style.decades(axis.xaxis, (1, 2, 5), "{x:g}")
        style.decades(axis.yaxis, (1, 2, 5), "{x:g}")
    axes[0].set_ylabel("times as fast, ONNX Runtime, float32")
    there = set(table["method"])
    handles = [
        *(
            Line2D([], [], linestyle="none", marker=marker, color=COLOURS[key], label=name,
                   markersize=8)
            for key, (name, marker) in SHOWN.items()
            if key in there
        ),
        Line2D([], [], color="0.5", label="as many times as promised"),
    ]  # fmt: skip
    style.legend_above(figure, handles, ncols=3, fontsize=9)
    return figure
