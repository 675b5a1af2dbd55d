"""Figures 2 and 3 again: accuracy against FLOPs, and against time on three devices."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from convcost.chapters.accuracy_and_run_time.findings import known_nets as found
from convcost.chapters.accuracy_and_run_time.tables.known import MORE
from convcost.core.units import readable
from convcost.figures import style

GREY, FRONT, FLOPS_FRONT = "0.62", "black", "#d55e00"
FAMILIES = {
    "ResNet": (("resnet",), style.FAMILY_COLOURS["resnet"], "o"),
    "MobileNet, EfficientNet": (
        ("mobilenetv2", "mobilenetv3", "mnasnet", "efficientnet"),
        style.FAMILY_COLOURS["mobilenet"], "D",
    ),
    "vision transformer": (("vision_transformer", "deit"), style.PALETTE[9], "^"),
}  # fmt: skip
"""Display name -> (module files of timm and torchvision, colour, marker); the others are grey."""

PANELS = (found.HERE, "rtx4090", "i7-12700h")
_TITLES = {found.HERE: "this machine, batch 1"} | found.DEVICES


def name_of(row) -> str:
    """A net as a figure names it: with its size where that is not the usual one."""
    told = row.input_px == 224 or row.net.endswith(f"_{row.input_px}")
    return row.net if told else f"{row.net} @{row.input_px}"


def accuracy_flops(known_nets: pd.DataFrame) -> plt.Figure:
    """Top-1 against FLOPs of one image; coloured families, the front drawn and some of it named.

    Of each net at one size the most accurate weights of ImageNet-1k alone; small and light behind
    them those that saw more images. Raises NothingToDrawError where no net was counted.
    """
    mine = found.best(found.counted(known_nets))
    if mine.empty:
        raise style.NothingToDrawError("no known net was counted")
    more = found.best(found.counted(known_nets, (MORE,)))
    style.apply()
    figure, axis = plt.subplots(figsize=(7, 5.8))
    axis.plot(more["flops"], 100 * more["top1"], "x", color="0.78", markersize=4, zorder=1)
    _families(axis, mine, "flops")
    front = mine[found.on_front(mine["flops"], mine["top1"])].sort_values("flops")
    axis.plot(front["flops"], 100 * front["top1"], color=FRONT, linewidth=1.6, zorder=4)
    axis.set(xscale="log", xlabel="FLOPs of one image", ylabel="top-1 on ImageNet, %")
    axis.set_ylim(max(50, 100 * mine["top1"].min() - 1), 91)
    style.decades(axis.xaxis, (1,), lambda value: readable(value, 0))
    wide = found.windows(known_nets, _no_times())
    if len(wide):
        axis.set_title(
            f"At equal FLOPs top-1 differs by {wide['spread'].median():.0f} points:\n"
            "a clear slope, and a thick cloud"
        )
    _legend(axis, _family_keys(), _MORE_KEY, _front_key("front"))
    _name_front(figure, axis, front, "flops")
    return figure


def _no_times() -> pd.DataFrame:
    columns = ["net", "input_px", "device", "what", "batch", "image_s"]
    return pd.DataFrame(columns=columns)


def accuracy_time(
    known_nets: pd.DataFrame, published_times: pd.DataFrame, known_net_times: pd.DataFrame
) -> plt.Figure:
    """Top-1 against the time of one image, a panel a device; rings are the front of FLOPs.

    This machine's own times of torchvision's nets at batch 1, timm's of a GPU at its largest batch
    and of a processor at batch 1. The black line is the front of time; a ring marks a net of the
    front of FLOPs: where it lies below the line, few FLOPs did not mean little time. Raises
    NothingToDrawError where no net was timed.
    """
    table = found.timed(known_nets, published_times, known_net_times)
    table = table[table["device"].isin(PANELS)]
    if table.empty:
        raise style.NothingToDrawError("no known net was timed")
    shared = found.shared_fronts(known_nets, published_times, known_net_times)
    shared = shared.set_index("device")
    there = [name for name in PANELS if name in set(table["device"])]
    style.apply()
    figure, axes = plt.subplots(
        len(there), 1, figsize=(7, 0.9 + 3.1 * len(there)), squeeze=False, sharey=True
    )
    for axis, device in zip(axes[:, 0], there, strict=True):
        mine = found.best(table[table["device"] == device])
        axis.plot(
            mine["image_s"], 100 * mine["top1"], ".", color=GREY, markersize=6, zorder=2,
            markeredgewidth=0,
        )  # fmt: skip
        by_flops = mine[found.on_front(mine["flops"], mine["top1"])]
        axis.plot(
            by_flops["image_s"], 100 * by_flops["top1"], "o", markersize=9, linestyle="none",
            markerfacecolor="none", markeredgecolor=FLOPS_FRONT, markeredgewidth=1.6, zorder=5,
        )  # fmt: skip
        front = mine[found.on_front(mine["image_s"], mine["top1"])].sort_values("image_s")
        axis.plot(front["image_s"], 100 * front["top1"], color=FRONT, linewidth=1.6, zorder=4)
        axis.set_ylabel("top-1, %")
        style.durations(axis.xaxis)
        one = shared.loc[device]
        axis.set_title(
            f"{_TITLES[device]}: {int(one['on_both'])} of {int(one['on_flops'])} rings on the line",
            fontsize=11,
        )
        axis.set_ylim(max(50, 100 * table["top1"].min() - 1), 91)
    axes[-1, 0].set_xlabel("time of one image")
    if (shared.loc[there, "shared"] < 1).all():
        figure.suptitle(
            "Fewest FLOPs for its accuracy is not fastest for it", fontsize=13, fontweight="bold",
            x=0.01, ha="left",
        )  # fmt: skip
    _legend(axes[0, 0], [_RING_KEY], _front_key("fastest for its accuracy"))
    for axis, device in zip(axes[:, 0], there, strict=True):
        mine = found.best(table[table["device"] == device])
        front = mine[found.on_front(mine["image_s"], mine["top1"])].sort_values("image_s")
        _name_front(figure, axis, front, "image_s", most=5)
    return figure


def thickness(
    known_nets: pd.DataFrame, published_times: pd.DataFrame, known_net_times: pd.DataFrame
) -> plt.Figure:
    """Time of one image against FLOPs on a GPU and on a processor, with the band of nine in ten.

    The band holds the middle 90 % of the nets of about the same FLOPs; its height, a factor, stands
    in the title. Raises NothingToDrawError where no net was timed.
    """
    table = found.timed(known_nets, published_times, known_net_times)
    bands = found.windows(known_nets, published_times, known_net_times)
    bands = bands[bands["quantity"] == found.TIME_AT_FLOPS]
    there = [name for name in ("rtx4090", "i7-12700h") if name in set(bands["device"])]
    if not there:
        raise style.NothingToDrawError("too few known nets were timed")
    style.apply()
    figure, axes = plt.subplots(
        len(there), 1, figsize=(7, 0.5 + 3.2 * len(there)), squeeze=False, sharex=True
    )
    for axis, device in zip(axes[:, 0], there, strict=True):
        mine = found.best(table[table["device"] == device])
        band = bands[bands["device"] == device]
        _families(axis, mine, "flops", "image_s", 1)
        middle = np.sqrt(band["begin"] * band["end"])
        axis.fill_between(
            middle, band["low"], band["high"], color="black", alpha=0.13, linewidth=0, zorder=2
        )
        for edge in ("low", "high"):
            axis.plot(middle, band[edge], color=FRONT, linewidth=1.4, zorder=4)
        axis.set(xscale="log", yscale="log", ylabel="time of one image")
        style.durations(axis.yaxis)
        axis.set_title(
            f"{_TITLES[device]}: equal FLOPs, {band['spread'].median():.1f}-fold time", fontsize=11
        )
    axes[-1, 0].set_xlabel("FLOPs of one image")
    style.decades(axes[-1, 0].xaxis, (1,), lambda value: readable(value, 0))
    _legend(axes[0, 0], _family_keys(), _front_key("nine in ten"), where="upper left")
    return figure


def _families(
    axis: plt.Axes, table: pd.DataFrame, x: str, y: str = "top1", factor: float = 100
) -> None:
    coloured = [design for designs, _, _ in FAMILIES.values() for design in designs]
    rest = table[~table["design"].isin(coloured)]
    look = {"linestyle": "none", "markeredgewidth": 0}
    axis.plot(rest[x], factor * rest[y], ".", color=GREY, markersize=6, zorder=2, **look)
    for designs, colour, marker in FAMILIES.values():
        mine = table[table["design"].isin(designs)]
        axis.plot(
            mine[x], factor * mine[y], marker, color=colour, markersize=5, zorder=3, alpha=0.85,
            **look,
        )  # fmt: skip


def _key(label: str, **look) -> Line2D:
    return Line2D([], [], linestyle="none", label=label, **look)


_MORE_KEY = _key("trained on more images", color="0.7", marker="x", markersize=5)
_RING_KEY = _key(
    "fewest FLOPs for its accuracy", color=FLOPS_FRONT, marker="o", markersize=8,
    markerfacecolor="none", markeredgewidth=1.6,
)  # fmt: skip


def _family_keys() -> list[Line2D]:
    keys = [
        _key(name, color=colour, marker=marker, markersize=6)
        for name, (_, colour, marker) in FAMILIES.items()
    ]
    return [*keys, _key("other designs", color=GREY, marker=".", markersize=8)]


def _front_key(label: str) -> Line2D:
    return Line2D([], [], color=FRONT, linewidth=1.6, label=label)


def _legend(axis: plt.Axes, keys: list[Line2D], *more: Line2D, where: str = "lower right") -> None:
    axis.legend(handles=[*keys, *more], loc=where, fontsize=9.5, handletextpad=0.4)


def _name_front(
    figure: plt.Figure, axis: plt.Axes, front: pd.DataFrame, x: str, most: int = 8
) -> None:
    """Names of some nets of a front, spread along it, up and left of it, none on another."""
    figure.draw_without_rendering()  # only then is it known where points lie
    renderer = figure.canvas.get_renderer()
    box, taken = axis.get_window_extent(renderer), []
    places = axis.transData.transform(np.column_stack([front[x], 100 * front["top1"]]))
    wanted = np.linspace(box.x0, box.x1, most + 2)[1:-1]
    nearest = [int(np.abs(places[:, 0] - at).argmin()) for at in wanted]
    chosen = dict.fromkeys([*nearest, *range(len(front))[::3]])
    named = 0
    for number in chosen:
        row = front.iloc[number]
        label = axis.annotate(
            name_of(row), (row[x], 100 * row["top1"]), (-5, 5), textcoords="offset points",
            ha="right", va="bottom", fontsize=8.5, color="0.1", zorder=6,
        )  # fmt: skip
        extent = label.get_window_extent(renderer).padded(2)
        outside = extent.x0 < box.x0 or extent.y1 > box.y1
        above = _front_under(places, extent)
        if outside or above or any(extent.overlaps(other) for other in taken) or named >= most:
            label.remove()
            continue
        taken.append(extent)
        named += 1


def _front_under(places: np.ndarray, extent) -> bool:
    """Whether the front runs through a label's box."""
    inside = (places[:, 0] > extent.x0) & (places[:, 0] < extent.x1)
    return bool((places[inside, 1] > extent.y0).any())
