"""Seconds of an epoch: Table 2 and Figure 1 of Cheng & Liu beside ours, and loop after loop.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.training_time.findings`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from convcost.chapters.training_time import findings
from convcost.chapters.training_time.findings import loops, paper, per_epoch
from convcost.core.units import scaled
from convcost.figures import style

_UNITS = ((1.0, 0.001, "ms"), (200.0, 1.0, "s"), (3 * 3600.0, 60.0, "min"))
_BAR = {"height": 0.66, "edgecolor": "0.25", "linewidth": 0.6}
_OURS = {"facecolor": style.PALETTE[0], **_BAR}
_PAPERS = {"facecolor": style.PAPER_COLOUR, **_BAR}
UNSTABLE = "!"  # beside what was timed in a run that was not stable
_ERROR = {"ecolor": "0.1", "elinewidth": 1.5, "capsize": 3}


def unit(longest_s: float) -> tuple[float, str]:
    """(seconds, name) of the unit that suits an axis up to `longest_s` seconds."""
    for limit, size, name in _UNITS:
        if longest_s < limit:
            return size, name
    return 3600.0, "h"


def duration(time_s: float) -> str:
    """Three digits in the unit that suits them: '184 s', '6.83 min', '10.4 h'."""
    size, name = unit(time_s)
    return f"{time_s / size:.3g} {name}"


def _size(*timed: pd.DataFrame) -> int:
    """The input size at which the paper's nets went through most loops; the larger of two.

    Raises NothingToDrawError where none of them went through any.
    """
    rows = pd.concat([table[["net", "input_px", "loop"]] for table in timed])
    rows = rows[rows["net"].isin(paper.NETS)]
    if rows.empty:
        raise style.NothingToDrawError("none of the five nets was timed")
    loops_by_px = rows.groupby("input_px")["loop"].nunique()
    return int(loops_by_px[loops_by_px == loops_by_px.max()].index.max())


# --- Table 2 and Figure 1 ------------------------------------------------------------------------


def table2_figure1(
    training_steps: pd.DataFrame,
    full_epochs: pd.DataFrame,
    net_costs: pd.DataFrame,
    fashion_accuracies: pd.DataFrame,
    loop_runs: pd.DataFrame,
) -> plt.Figure:
    """The paper's FLOPs and seconds (upper row), ours of an epoch (lower row), and the ratios.

    Our seconds are those of the plain loop at the size that went through most loops, with
    quartiles; hatched where they are extrapolated from steps. A net without a time says so; a
    run that was not stable has a mark.
    """
    px = _size(training_steps, full_epochs)
    table = findings.table_two(
        training_steps, full_epochs, net_costs, fashion_accuracies, input_px=px
    )
    if table["epoch_s"].isna().all():
        raise style.NothingToDrawError("no epoch of the plain loop was timed")
    style.apply()
    nets = list(paper.NETS)
    published = paper.table_two().set_index("net").loc[nets]
    table = table.assign(stable=per_epoch.is_stable(table, loop_runs))
    ours = table.set_index("net").reindex(nets)
    ours["stable"] = ours["stable"].astype("boolean").fillna(True).astype(bool)
    figure, axes = plt.subplot_mosaic(
        [["flops", "seconds", "ratios"], ["our flops", "our seconds", "ratios"]],
        figsize=(11.5, 6), width_ratios=[1, 1.2, 1.25],
    )  # fmt: skip
    flops = scaled(published["flops"].astype(float), "G").rename({nets[-1]: "DenseNet"})
    _bars(axes["flops"], flops, [f"{value:g}" for value in flops], **_PAPERS)
    printed = published["seconds"]
    _bars(axes["seconds"], printed, [f"{value:g} s" for value in printed], **_PAPERS)
    keys = ["input_px", "in_channels"]
    counted = per_epoch.costs(net_costs).merge(table[keys].head(1), on=keys).set_index("net")
    flops = scaled(counted["flops"].reindex(nets).astype(float), "G")
    _bars(axes["our flops"], flops, [f"{value:.3f}" for value in flops], **_OURS)
    _our_seconds(axes["our seconds"], ours)
    axes["flops"].set(title="the paper: FLOPs", xlabel="GFLOPs")
    axes["seconds"].set(title="the paper: running time", xlabel="s, training and validation")
    axes["our flops"].set(title="ours: FLOPs", xlabel=f"GFLOPs, {px} px")
    for name in ("seconds", "our seconds"):
        axes[name].tick_params(labelleft=False)
    _ratios(axes["ratios"], ours, published)
    return figure


def _bars(axis: plt.Axes, lengths: pd.Series, words: list[str], **look) -> None:
    """A bar a net, the first on top, each with its value; a missing one says so."""
    place = np.arange(len(lengths))
    known = lengths.notna().to_numpy()
    bars = axis.barh(place, lengths.fillna(0), **look)
    ends = lengths.fillna(0) + (look["xerr"][1].fillna(0) if "xerr" in look else 0)
    for bar, end, word, is_known in zip(bars, ends, words, known, strict=True):
        axis.annotate(
            word if is_known else "no time", (end, bar.get_y() + bar.get_height() / 2), (5, 0),
            textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    style.places(axis, [style.net_name(net) for net in lengths.index])
    axis.set_xlim(0, 1.33 * (ends.max() or 1))
    axis.xaxis.set_major_locator(MaxNLocator(5))


def _our_seconds(axis: plt.Axes, ours: pd.DataFrame) -> None:
    size, name = unit(ours["epoch_s"].max())
    spread = [
        (ours["epoch_s"] - ours["epoch_low_s"]) / size,
        (ours["epoch_high_s"] - ours["epoch_s"]) / size,
    ]
    marks = np.where(ours["stable"], "", f" {UNSTABLE}")
    words = [duration(value) + mark for value, mark in zip(ours["epoch_s"], marks, strict=True)]
    look = _OURS | {"xerr": spread, "error_kw": _ERROR}
    _bars(axis, ours["epoch_s"] / size, words, **look)
    from_steps = ours["extrapolated"].astype("boolean").fillna(False).to_numpy(dtype=bool)
    for bar, is_extrapolated in zip(axis.patches, from_steps, strict=True):
        if is_extrapolated:
            bar.set(hatch="//", facecolor=(*style.PALETTE[0], 0.55))
    row = ours.dropna(subset=["epoch_s"]).iloc[0]
    note = ",\nhatched: extrapolated" if from_steps.any() else ""
    if from_steps.all():
        note = ",\nextrapolated from steps"
    elif not from_steps.any():
        note = ",\nrun in full"
    axis.set_title("ours: one epoch, with validation" + note)
    workers = f",\n{row['workers']:.0f} loader workers" if row["workers"] else ""
    shaky = "" if ours["stable"].all() else f"\n{UNSTABLE} not stable: in no fit"
    axis.set_xlabel(f"{name}; plain loop, batch {row['batch']:.0f}{workers}{shaky}")


def _ratios(axis: plt.Axes, ours: pd.DataFrame, published: pd.DataFrame) -> None:
    """FLOPs and time of each net over AlexNet's, the paper's and ours, each pair tied."""
    place = np.arange(len(ours))
    first = published.iloc[0]
    for shift, colour, who, flops, time in (
        (-0.16, style.PAPER_COLOUR, "the paper", published["flops"] / first["flops"],
         published["seconds"] / first["seconds"]),
        (0.16, style.PALETTE[0], "ours", ours["flops_ratio"], ours["epoch_ratio"]),
    ):  # fmt: skip
        here = place + shift
        axis.hlines(here, flops, time, color=colour, linewidth=1.5, alpha=0.6)
        look = {"color": colour, "linestyle": "none", "markersize": 7}
        axis.plot(flops, here, marker="D", **look | {"markerfacecolor": "white"},
                  label=f"FLOPs, {who}")  # fmt: skip
        axis.plot(time, here, marker="o", **look, label=f"time, {who}")
    for here, row in zip(place + 0.16, ours.itertuples(), strict=True):
        if not row.stable:
            axis.annotate(UNSTABLE, (row.epoch_ratio, here), (0, -6), textcoords="offset points",
                          ha="center", va="top", fontweight="bold")  # fmt: skip
    axis.set_xscale("log")
    style.places(axis, [style.net_name(net) for net in ours.index])
    style.decades(axis.xaxis, (1, 2, 5), "{x:g} ×")
    axis.set(title="ratio to AlexNet", xlabel="times AlexNet's")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=9, frameon=False)


# --- tuned against plain -------------------------------------------------------------------------


def tuned_against_plain(training_steps: pd.DataFrame, loop_runs: pd.DataFrame) -> plt.Figure:
    """Seconds of an epoch under each loop, a panel a net and one for all five together.

    Each loop adds one thing to the one above it. Bars are medians with quartiles, extrapolated from
    steps; the number behind is the speed-up over the plain loop. A hatched bar was unstable; where
    there is no bar, a word says why.
    """
    px = _size(training_steps)
    table = findings.ablation(training_steps, loop_runs, px)
    style.apply()
    order = [loop for loop in loops.LOOPS if loop in set(table["loop"])]
    nets = list(dict.fromkeys(table["net"]))
    columns = min(3, len(nets))
    lines = -(-len(nets) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(11.5, 1.1 + lines * (0.9 + 0.3 * len(order))), sharey=True,
        squeeze=False,
    )  # fmt: skip
    for axis in axes.flat[len(nets) :]:
        axis.set_axis_off()
    best = findings.tuned(table).set_index("net")
    for axis, net in zip(axes.flat, nets, strict=False):
        _loops(axis, table[table["net"] == net].set_index("loop").reindex(order))
        name = f"all {len(paper.NETS)} nets" if net == loops.TOTAL else style.net_name(net)
        words = f": {best['speed_up'][net]:.2f} × tuned" if net in best.index else ""
        axis.set_title(name + words)
    axes[0, 0].set_yticks(range(len(order)), [order[0], *(f"+ {loop}" for loop in order[1:])])
    axes[0, 0].set_ylim(len(order) - 0.5, -0.5)
    batches = " to ".join(map(str, sorted({*table["batch"].dropna().agg(["min", "max"])})))
    figure.suptitle(
        f"one epoch with validation, {px} px, batch {batches}, extrapolated from steps: median, "
        "quartiles; hatched, !: unstable; dark: the tuned loop",
        fontsize=10, x=0.005, ha="left",
    )  # fmt: skip
    return figure


def _loops(axis: plt.Axes, rows: pd.DataFrame) -> None:
    size, name = unit(rows["epoch_s"].max())
    longest = rows["epoch_high_s"].fillna(rows["epoch_s"]).max() / size
    longest = longest if longest > 0 else 1.0
    for place, (_, row) in enumerate(rows.iterrows()):
        if not row["epoch_s"] > 0:
            words = row["status"] if isinstance(row["status"], str) else "not tried"
            if words == "incomplete":
                words = "a net has no time"
            axis.text(0.02 * longest, place, words, va="center", fontsize=9, style="italic")
            continue
        stable = bool(row["stable"])
        axis.barh(
            place, row["epoch_s"] / size, hatch="" if stable else "////",
            **_BAR | {"facecolor": style.PALETTE[0] if row["tuned"] else "#a9c4dc"},
        )  # fmt: skip
        ends = row[["epoch_low_s", "epoch_high_s"]].astype(float) / size
        axis.plot(ends, [place] * 2, color="0.1", linewidth=2)
        words = duration(row["epoch_s"])
        if place > 0 and row["speed_up"] > 0:
            words += f" · {row['speed_up']:.2f} ×"
        end = np.nanmax([row["epoch_s"] / size, ends.iloc[1]])
        axis.annotate(
            words + ("" if stable else f" {UNSTABLE}"), (end, place), (4, 0),
            textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axis.set_xlim(0, 1.65 * longest)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.set_xlabel(name, fontsize=10, labelpad=1)
    axis.grid(axis="y", visible=False)
