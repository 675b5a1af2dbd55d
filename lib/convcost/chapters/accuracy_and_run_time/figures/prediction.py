"""How well times are predicted, and where the time of a net goes.

Every function takes tables of `convcost.records.TABLES` and returns a matplotlib Figure; statistics
come from `convcost.chapters.accuracy_and_run_time.findings`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from convcost.chapters.accuracy_and_run_time.findings import prediction as found
from convcost.chapters.accuracy_and_run_time.tables.prediction import MADE, MODELS, OTHERS
from convcost.figures import style

NAMES = {
    "flops": "FLOPs alone",
    "activations": "activations alone",
    "linear": "a line over totals",
    "ours": "a price for each kind of work",
}
LOOKS = {
    "flops": {"marker": "o", "color": style.PALETTE[3]},
    "activations": {"marker": "^", "color": style.PALETTE[7]},
    "linear": {"marker": "s", "color": style.PALETTE[1]},
    "ours": {"marker": "D", "color": style.PALETTE[0]},
}
DEVICE_NAMES = {
    "rtx4090": "RTX 4090",
    "rtx3090": "RTX 3090",
    "rtx3090, channels last": "RTX 3090,\nchannels last",
    "i7-12700h": "Core i7",
    "v100": "V100",
}
_WIDE = 7.0  # inches: what is read on a phone has to be drawn small


def _device(name: str) -> str:
    return DEVICE_NAMES.get(name, name)


def on_tables(table_scores: pd.DataFrame) -> plt.Figure:
    """Mean errors of four models on unseen designs: a row a published table, a mark a model."""
    table = found.on_tables(table_scores).iloc[::-1]
    if table.empty:
        raise style.NothingToDrawError("no published table was judged")
    style.apply()
    figure, axis = plt.subplots(figsize=(_WIDE, 1.1 + 0.55 * len(table)))
    places = np.arange(len(table))
    errors = table[list(MODELS)].astype(float)
    axis.hlines(places, errors.min(axis=1), errors.max(axis=1), color="0.8", linewidth=2, zorder=1)
    for model in MODELS:
        axis.plot(errors[model], places, linestyle="none", markersize=9, **LOOKS[model])
    for place, error in zip(places, errors["ours"], strict=True):
        axis.annotate(
            f"{error:.1f} %", (error, place), (0, 8), textcoords="offset points", ha="center",
            fontsize=10, color=LOOKS["ours"]["color"], weight="bold",
        )  # fmt: skip
    names = [f"{_device(row.device)}, {row.what}" for row in table.itertuples()]
    axis.set_yticks(places, names)
    axis.set_ylim(-0.6, len(table) - 0.3)
    axis.grid(axis="y", visible=False)
    axis.set_xscale("log")
    style.decades(axis.xaxis, (1, 2, 5), "{x:g} %")
    axis.set_xlim(errors["ours"].min() / 1.5, max(errors.max().max() * 1.2, 60))
    axis.set_xlabel("mean error on designs that no fit has seen")
    best, worst = errors["ours"].min(), errors["ours"].max()
    axis.set_title(f"A price for each kind of work misses by {best:.1f} to {worst:.1f} %")
    handles = [
        Line2D([], [], linestyle="none", markersize=9, label=NAMES[model], **LOOKS[model])
        for model in MODELS
    ]
    style.legend_above(figure, handles, ncols=2, fontsize=10)
    return figure


def here(own_predictions: pd.DataFrame) -> plt.Figure:
    """Predicted against measured, the nets timed on this machine, inference of one image.

    Left a factor times FLOPs, fitted to the other designs; right prices fitted to made nets alone.
    The band is 10 % to either side; a hollow mark was timed while the machine was not quiet.
    """
    mine = own_predictions[own_predictions["what"] == "inference"]
    mine = mine[mine["batch"] == mine["batch"].min()]
    panels = [("flops", OTHERS), ("ours", MADE)]
    rows = {
        model: mine[(mine["model"] == model) & (mine["fitted_to"] == fitted_to)]
        for model, fitted_to in panels
    }
    if rows["ours"].empty:
        raise style.NothingToDrawError("no net was timed in inference")
    style.apply()
    figure, axes = plt.subplots(1, 2, figsize=(_WIDE, 3.9), sharex=True, sharey=True)
    ends = np.array([mine["image_s"].min() / 1.4, mine["image_s"].max() * 1.4])
    for axis, words, (model, table) in zip(axes, ("FLOPs", "prices"), rows.items(), strict=True):
        axis.fill_between(ends, 0.9 * ends, 1.1 * ends, color="0.85", linewidth=0, zorder=0)
        axis.plot(ends, ends, color="0.5", linewidth=1, zorder=1)
        look = {"linestyle": "none", "markersize": 6, **LOOKS[model]}
        stable = table["stable"].astype(bool)
        for chosen, more in ((stable, {}), (~stable, {"markerfacecolor": "white"})):
            axis.plot(table["image_s"][chosen], table["predicted_s"][chosen], **look | more)
        off = (table["predicted_s"] / table["image_s"] - 1).abs()
        if stable.any():
            off = off[stable]
        axis.set_title(f"{words}: off by {100 * off.mean():.0f} %", fontsize=11)
        axis.set(xscale="log", yscale="log", xlim=ends, xlabel="measured time of one image")
    axes[0].set_ylabel("predicted")
    for axis in axes:
        style.durations(axis.xaxis)
        style.durations(axis.yaxis)
    return figure


def transfer(transfer_scores: pd.DataFrame) -> plt.Figure:
    """Errors against the number of nets given: from another device's prices, and a line alone."""
    table = found.transfer(transfer_scores)
    table = table[table["given"] != "named"]
    cases = list(table.groupby(["device", "begun_from"], sort=False))
    if not cases:
        raise style.NothingToDrawError("no transfer was tried")
    style.apply()
    figure, axes = plt.subplots(
        1, len(cases), figsize=(max(_WIDE, 2.5 * len(cases)), 3.6), sharey=True, squeeze=False
    )
    for axis, ((device, begun_from), mine) in zip(axes[0], cases, strict=True):
        given = mine["given"].astype(int).to_numpy()
        median, low, high = (mine[name].astype(float) for name in ("median", "low", "high"))
        axis.fill_between(given, low, high, color=LOOKS["ours"]["color"], alpha=0.2, linewidth=0)
        axis.plot(given, median, markersize=7, **LOOKS["ours"])
        line = mine["line"].astype(float)
        axis.plot(given, line, markersize=6, linestyle="--", **LOOKS["linear"])
        axis.set_title(f"{_device(device)}\nfrom {_device(begun_from)}", fontsize=11)
        axis.set(xscale="log", yscale="log", xlabel="nets given")
        axis.set_xticks(given, [str(one) for one in given])
        axis.minorticks_off()
    axes[0][0].set_ylabel("mean error, other designs")
    style.decades(axes[0][0].yaxis, (1, 2, 5), "{x:g} %")
    handles = [
        Line2D([], [], markersize=7, label="from another device's prices", **LOOKS["ours"]),
        Line2D([], [], markersize=6, linestyle="--", label="a line over totals of these nets",
               **LOOKS["linear"]),
    ]  # fmt: skip
    style.legend_above(figure, handles, fontsize=10)
    return figure


_SPENT = {
    "compute": ("multiplying", style.PALETTE[0], ""),
    "memory": ("moving data", style.PALETTE[1], "//"),
    "launch": ("beginning calls", style.PALETTE[7], ".."),
}
LAYERS_SHOWN = 12


def where_the_time_goes(estimate) -> plt.Figure:
    """The parts of a net that a prediction charges most for: bars of what the time is spent on.

    `estimate`: what `predict.time` gives. Layers are summed by the first two parts of their path.
    """
    table = estimate.table.copy()
    first_two = table["path"].str.split(".").str[:2].str.join(".")
    table["part"] = first_two.replace("", "(net)")
    parts = table.groupby("part", sort=False)[list(_SPENT)].sum()
    shown = parts[parts.index.isin(parts.sum(axis=1).nlargest(LAYERS_SHOWN).index)]
    style.apply()
    figure, axis = plt.subplots(figsize=(_WIDE, 1.3 + 0.34 * len(shown)))
    begin = np.zeros(len(shown))
    for kind, (words, colour, hatch) in _SPENT.items():
        width = 1e3 * shown[kind].to_numpy()
        axis.barh(
            range(len(shown)), width, left=begin, color=colour, hatch=hatch, label=words,
            edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        begin += width
    style.places(axis, list(shown.index))
    axis.set_xlabel("predicted milliseconds of a batch")
    share = shown.to_numpy().sum() / estimate.table["seconds"].sum()
    axis.set_title(
        f"{estimate.what} of a batch of {estimate.batch} on {estimate.device}: "
        f"{1e3 * estimate.seconds:.3g} ms, {share:.0%} of it shown",
        fontsize=11,
    )
    axis.legend(fontsize=10)
    return figure
