"""One figure a method of notebook 06: accuracy lost, and what is saved.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.acceleration.findings`. Bars and bands are 95 % intervals over seeds.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from convcost.chapters.acceleration import findings as found
from convcost.chapters.acceleration.findings import accuracy as kinds
from convcost.figures import style

WIDE = 7.0  # inches: what is read on a phone has to be drawn small
BEFORE = {"color": style.PALETTE[7], "marker": "o", "linestyle": "--"}
AFTER = {"color": style.PALETTE[0], "marker": "D"}
CONTROL = {"color": style.PALETTE[1], "marker": "s", "linestyle": ":"}
OTHER = {"color": style.PALETTE[2], "marker": "^", "linestyle": "-."}
_LOST = "accuracy lost, points"


def nothing(table: pd.DataFrame, what: str) -> None:
    if table.empty:
        raise style.NothingToDrawError(f"no net shows {what}")


def line(axis: plt.Axes, x, table: pd.DataFrame, **look) -> None:
    """Means with their intervals; none where there is one seed."""
    half = (table["high"] - table["lost"]).fillna(0)
    axis.errorbar(x, table["lost"], yerr=half, capsize=3, markersize=7, linewidth=1.8, **look)


def zero(axis: plt.Axes) -> None:
    """Nothing lost."""
    axis.axhline(0, color="0.4", linewidth=1, zorder=1)


def lost_axis(axis: plt.Axes, most: float) -> None:
    """Points lost, downwards bad; beyond 5 points in even steps of ten-folds."""
    axis.set_yscale("symlog", linthresh=2, linscale=1.2)
    marks = [mark for mark in (-1, 0, 1, 2, 5, 10, 20, 50) if mark <= max(2, 1.3 * most)]
    axis.set_yticks(marks, [f"{mark:g}" for mark in marks])
    axis.minorticks_off()
    axis.set_ylim(max(100.0, 1.3 * most) if most > 50 else 1.6 * max(most, 2), -1.6)
    axis.set_ylabel(_LOST)


def quantisation(accelerated_nets: pd.DataFrame, accelerated_times: pd.DataFrame) -> plt.Figure:
    """Left: points lost by the bits of the weights. Right: how fast the formats that have kernels
    are."""
    table = found.quantisation(found.losses(accelerated_nets))
    nothing(table, "weights of few bits")
    style.apply()
    figure, (axis, clock) = plt.subplots(
        1, 2, figsize=(WIDE, 3.9), gridspec_kw={"width_ratios": [1.25, 1]}
    )
    looks = {
        ("uniform", "PTQ"): BEFORE | {"label": "rounded after training"},
        ("uniform", "QAT"): AFTER | {"label": "trained on while rounded"},
        ("mixed", "PTQ"): OTHER | {"label": "mixed widths, rounded", "linestyle": "none",
                                   "markerfacecolor": "white"},
        ("mixed", "QAT"): OTHER | {"label": "mixed widths, trained on", "linestyle": "none"},
    }  # fmt: skip
    for (way, stage), look in looks.items():
        mine = table[table["way"].eq(way) & table["stage"].eq(stage)].sort_values("bits")
        if len(mine):
            line(axis, mine["bits"], mine, **look)
    zero(axis)
    lost_axis(axis, table["lost"].max())
    axis.set_xscale("log", base=2)
    bits = sorted(table["bits"].unique())
    axis.set_xticks(bits, [f"{one:g}" for one in bits])
    axis.minorticks_off()
    axis.set_xlim(max(bits) * 1.2, min(bits) / 1.2)
    axis.set(xlabel="bits of a weight (simulated)", title="Few bits need training")
    axis.legend(fontsize=8.5, loc="lower left")
    _clocks(clock, accelerated_times)
    return figure


def _clocks(axis: plt.Axes, accelerated_times: pd.DataFrame) -> None:
    """Bars: the base by runtime and format, against PyTorch in float32."""
    table = found.runtimes(accelerated_times)
    table = table[~(table["runtime"].eq("torch") & table["format"].eq("float32"))]
    if table.empty:
        style.in_words(axis, "no other runtime was timed", 22)
        return
    cases = table[["batch", "threads"]].drop_duplicates().itertuples(index=False)
    hatches = {"float32": "", "int8": "//", "bfloat16": "..", "float16": "xx"}
    names = {"onnx": "ONNX Runtime", "torch": "PyTorch"}
    labels, place = [], 0.0
    for batch, threads in cases:
        for row in table[table["batch"].eq(batch) & table["threads"].eq(threads)].itertuples():
            axis.barh(
                place, row.times_faster, color=style.PALETTE[9], hatch=hatches[row.format],
                edgecolor="0.3", xerr=[[row.times_faster - row.low], [row.high - row.times_faster]]
                if np.isfinite(row.low) else None, capsize=3,
            )  # fmt: skip
            images = "1 image" if batch == 1 else f"{batch} images"
            cores = f"{threads} core{'s' if threads > 1 else ''}"
            labels.append((place, f"{row.format}, {images}, {cores}"))
            place += 1
        place += 0.5
    axis.axvline(1, color="0.4", linewidth=1)
    axis.set_yticks(*zip(*labels, strict=True), fontsize=8.5)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    runtimes = " and ".join(names[one] for one in table["runtime"].unique())
    axis.set_xlabel("times as fast as\nPyTorch in float32")
    axis.set_title(runtimes)


def unstructured(accelerated_nets: pd.DataFrame, sparse_weight_times: pd.DataFrame) -> plt.Figure:
    """Left: points lost by the share of weights that are zero. Right: how fast layers run that
    skip them."""
    table = found.curve(found.losses(accelerated_nets), kinds.MASKED, "mask")
    nothing(table, "single weights set to zero")
    style.apply()
    figure, (axis, clock) = plt.subplots(1, 2, figsize=(WIDE, 3.8))
    for stage, look in (("before training on", BEFORE), ("after", AFTER)):
        mine = table[table["stage"].eq(stage)]
        if len(mine):
            label = "not trained on" if stage != "after" else "trained on for an epoch"
            line(axis, mine["number"], mine, label=label, **look)
    zero(axis)
    lost_axis(axis, table["lost"].max())
    axis.set(xlabel="weights that are zero, %", title="Most weights can go …")
    axis.legend(fontsize=9, loc="lower left")
    sparse = found.sparse_weights(sparse_weight_times)
    sparse = sparse[sparse["execution"].eq("best")]
    clock.set_title("… but no time with them")
    if sparse.empty:
        style.in_words(clock, "no layer was timed", 22)
        return figure
    looks = zip(sparse.groupby(["channels", "map_px"], sort=False).groups, "oDs^", strict=False)
    for number, ((channels, px), marker) in enumerate(looks):
        for batch, dashes in zip(sorted(sparse["batch"].unique()), ("-", "--"), strict=False):
            mine = sparse[
                sparse["channels"].eq(channels)
                & sparse["map_px"].eq(px)
                & sparse["batch"].eq(batch)
            ]
            images = "1 image" if batch == 1 else f"{batch} images"
            clock.plot(
                100 * mine["sparsity"], mine["times_faster"], dashes, marker=marker, markersize=6,
                color=style.PALETTE[number], label=f"{channels} channels, {px} px, {images}",
            )  # fmt: skip
    clock.axhline(1, color="0.4", linewidth=1)
    clock.set_yscale("log")
    style.decades(clock.yaxis, (1, 2, 3, 5), "{x:g}")
    clock.set(xlabel="weights that are zero, %", ylabel="times as fast as dense, one core")
    clock.legend(fontsize=7.5, loc="upper left")
    low, high = clock.get_ylim()
    clock.set_ylim(low, max(4 * high, 4))  # room for the legend
    return figure


def structured(accelerated_nets: pd.DataFrame) -> plt.Figure:
    """Points lost by the share of filters that are gone, with and without training on, with random
    filters, and for a net of that size that was trained from scratch."""
    table = found.losses(accelerated_nets)
    curve = found.curve(table, kinds.NARROWED, "narrow")
    nothing(curve, "filters removed")
    style.apply()
    figure, axis = plt.subplots(figsize=(WIDE, 4.2))
    parts = [
        (curve[curve["stage"].eq("before training on")], BEFORE, "smallest filters gone"),
        (curve[curve["stage"].eq("after")], AFTER, "… and trained on for an epoch"),
        (_after(table, kinds.RANDOM), OTHER, "random filters gone, trained on"),
        (_after(table, kinds.SCRATCH), CONTROL, "a net of that size from scratch"),
    ]
    for shift, (mine, look, label) in enumerate(parts):
        if len(mine):
            line(axis, mine["number"] + 0.5 * (shift - 1.5), mine, label=label, **look)
    zero(axis)
    lost_axis(axis, curve["lost"].max())
    axis.set(xlabel="filters that are gone, % of every layer",
             title="Without training on, fewer filters are another net")  # fmt: skip
    axis.legend(fontsize=9.5, loc="lower left")
    return figure


def _after(table: pd.DataFrame, method: str) -> pd.DataFrame:
    mine = table[table["method"].eq(method) & table["word"].eq("train")]
    return mine.assign(number=mine["setting"].map(kinds.number)).sort_values("number")


def distillation(accelerated_nets: pd.DataFrame) -> plt.Figure:
    """Points that the student gains by each teacher, with intervals, against the same one alone."""
    table = found.distillation(accelerated_nets)
    table = table[table["setting"].ne(kinds.ALONE)]
    nothing(table, "a student with a teacher")
    style.apply()
    figure, axis = plt.subplots(figsize=(WIDE, 1.3 + 0.42 * len(table)))
    for place, row in enumerate(table.itertuples()):
        taught = row.setting.startswith("temperature")
        look = AFTER if taught else CONTROL if row.setting == kinds.WEAK else OTHER
        look = {name: value for name, value in look.items() if name != "linestyle"}
        half = [[row.points - row.low], [row.high - row.points]] if row.seeds > 1 else None
        axis.errorbar(row.points, place, xerr=half, capsize=4, markersize=8, **look)
    axis.axvline(0, color="0.4", linewidth=1)
    style.places(axis, list(table["setting"]))
    axis.set_xlabel("points better than the student alone")
    taught = table[table["setting"].str.startswith("temperature")]
    best = (taught if len(taught) else table).sort_values("points").iloc[-1]
    sure = best["low"] > 0
    axis.set_title(
        f"With a teacher at best {best['points']:+.1f} points"
        + ("" if sure else ",\nand 0 is not excluded")
    )
    return figure


def low_rank(accelerated_nets: pd.DataFrame, reconstruction_errors: pd.DataFrame) -> plt.Figure:
    """Left: points lost by the share of multiply-adds that factors keep. Right: their errors."""
    table = found.curve(found.losses(accelerated_nets), kinds.FACTORISED, "factorise")
    nothing(table, "factors of low rank")
    style.apply()
    figure, (axis, errors) = plt.subplots(1, 2, figsize=(WIDE, 3.9))
    colours = {"svd": style.PALETTE[0], "tucker": style.PALETTE[1]}
    for method, colour in colours.items():
        for stage, dashes in (("before training on", "--"), ("after", "-")):
            mine = table[table["setting"].str.startswith(method) & table["stage"].eq(stage)]
            if len(mine):
                mine = mine.sort_values("number")
                line(axis, mine["number"], mine, color=colour, marker="oD"[stage == "after"],
                     linestyle=dashes)  # fmt: skip
    zero(axis)
    lost_axis(axis, table["lost"].max())
    axis.invert_xaxis()
    axis.set(xlabel="weights kept, % of a layer", title="Factors need training")
    handles = [
        *(Line2D([], [], color=c, label=m.upper() if m == "svd" else "Tucker")
          for m, c in colours.items()),
        Line2D([], [], color="0.4", linestyle="--", marker="o", label="not trained on"),
        Line2D([], [], color="0.4", marker="D", label="trained on"),
    ]  # fmt: skip
    axis.legend(handles=handles, fontsize=8.5, loc="lower left")
    _errors(errors, reconstruction_errors)
    return figure


def _errors(axis: plt.Axes, reconstruction_errors: pd.DataFrame) -> None:
    """Relative errors of filters and outputs by the share that is kept, SVD."""
    if reconstruction_errors.empty:
        style.in_words(axis, "no errors of factors were measured", 22)
        return
    table = found.reconstruction(reconstruction_errors)
    table = table[table["factors"].eq("svd")].sort_values("share")
    for column, label, look in (
        ("weight_error", "of the filters", BEFORE),
        ("output_error_before", "of a layer's outputs", CONTROL),
        ("output_error_after_relu", "… behind norm. and ReLU", AFTER),
        ("network_error", "… in the whole net", OTHER),
    ):
        axis.plot(100 * table["share"], 100 * table[column], label=label, markersize=7, **look)
    axis.invert_xaxis()
    axis.set_ylim(0, None)
    axis.set(xlabel="weights kept, % of a layer", ylabel="relative error, %",
             title="Errors of SVD factors")  # fmt: skip
    axis.legend(fontsize=8.5, loc="upper left")
    axis.set_ylim(0, 1.45 * axis.get_ylim()[1])


def blocks(removed_blocks: pd.DataFrame) -> plt.Figure:
    """Points lost without each block of the net, none trained on; bars by stage."""
    table = found.blocks(removed_blocks)
    table = table[table["blocks"].eq(1)].sort_values("removed")
    nothing(table, "a block removed")
    style.apply()
    figure, axis = plt.subplots(figsize=(WIDE, 1.4 + 0.36 * len(table)))
    names = []
    for place, row in enumerate(table.itertuples()):
        stage, block = (int(part[-1]) for part in row.removed.split("."))
        look = {"color": style.PALETTE[stage - 1], "hatch": ("", "//", "..")[stage - 1]}
        half = [[row.lost - row.low], [row.high - row.lost]] if row.seeds > 1 else None
        axis.barh(place, row.lost, xerr=half, capsize=3, edgecolor="0.3", **look)
        names.append(f"stage {stage}, block {block} ({100 * row.saved_share:.0f} % of the work)")
    style.places(axis, names, fontsize=9)
    axis.set_xscale("symlog", linthresh=2)
    ticks = [0, 1, 2, 5, 10, 20, 50]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlim(min(-0.5, 1.2 * table["low"].min()) if table["low"].notna().all() else -0.5, 90)
    axis.set_xlabel("accuracy lost without the block, points; not trained on")
    worth = table.groupby(table["removed"].str.split(".").str[0])["lost"]
    falls = all(stage.is_monotonic_decreasing for _, stage in worth)
    axis.set_title("Later in a stage, less is lost" if falls else "What each block is worth")
    return figure


def search(search_trials: pd.DataFrame) -> plt.Figure:
    """How far from the best net a search still is after so many trials; a panel a limit of time."""
    table = found.progress(search_trials)
    nothing(table, "a search")
    limits = sorted(table["limit_share"].unique())
    style.apply()
    figure, axes = plt.subplots(1, len(limits), figsize=(WIDE, 3.8), sharey=True, squeeze=False)
    looks = (BEFORE, AFTER, OTHER, CONTROL)
    names = list(table["strategy"].drop_duplicates())
    for axis, limit in zip(axes[0], limits, strict=True):
        for name, look in zip(names, looks, strict=False):
            mine = table[table["limit_share"].eq(limit) & table["strategy"].eq(name)]
            colour = look["color"]
            axis.fill_between(mine["trials"], mine["low"], mine["high"], color=colour, alpha=0.12,
                              linewidth=0)  # fmt: skip
            dashes = look.get("linestyle", "-")
            axis.plot(mine["trials"], mine["gap"], color=colour, linestyle=dashes, linewidth=2)
        axis.axhline(0, color="0.4", linewidth=1)
        axis.set(xlabel="nets trained", title=f"limit: {limit:.0%} of the time")
        axis.title.set_fontsize(10.5)
    axes[0][0].set_ylabel("points below the best net")
    handles = [
        Line2D([], [], color=look["color"], linestyle=look.get("linestyle", "-"), linewidth=2,
               label=name)
        for name, look in zip(names, looks, strict=False)
    ]  # fmt: skip
    style.legend_above(figure, handles, ncols=2, fontsize=9.5)
    return figure
