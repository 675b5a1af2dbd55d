"""One look for every figure: readable in print and for the colour-blind."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from convcost.core.errors import ConvcostError


class NothingToDrawError(ConvcostError):
    """The tables have no rows that a figure could show: raised before anything is drawn."""


NETS = {
    "alexnet": "AlexNet",
    "vgg16": "VGG16",
    "googlenet": "GoogLeNet",
    "resnet18": "ResNet18",
    "densenet121": "DenseNet121",
    "densenet161": "DenseNet161",
    "lenet_atsumi": "LeNet (Atsumi et al.)",
}
"""Display names, in the order of Cheng & Liu's tables."""

TEXTBOOK_NETS = {
    "alexnet_textbook": "AlexNet (textbook)",
    "vgg16_textbook": "VGG16 (textbook)",
    "googlenet_textbook": "GoogLeNet (textbook)",
    "resnet18_textbook": "ResNet18 (textbook)",
    "densenet_textbook": "DenseNet (textbook)",
}
"""Display names of the variants that books and courses teach under the paper's names."""

PALETTE = sns.color_palette("colorblind")
MARKERS = "osD^vPX*<>"
PAPER_COLOUR = "#a50026"  # of what a paper prints, wherever it stands beside ours
NET_COLOURS = dict(zip(NETS, PALETTE, strict=False))
NET_MARKERS = dict(zip(NETS, MARKERS, strict=False))

FAMILIES = {
    "alexnet": "AlexNet",
    "vgg": "VGG",
    "googlenet": "GoogLeNet",
    "resnet": "ResNet",
    "densenet": "DenseNet",
    "regnet_y": "RegNetY",
    "mobilenet": "MobileNet",
    "squeezenet": "SqueezeNet",
}
"""Nets of one design: display names; a family has the colour of its member in `NETS`."""

_MEMBERS = ("alexnet", "vgg16", "googlenet", "resnet18", "densenet161")
_OTHERS = (PALETTE[7], "#6a3d9a", PALETTE[9])  # the palette's yellow is too light for points
FAMILY_COLOURS = dict(zip(FAMILIES, [*map(NET_COLOURS.get, _MEMBERS), *_OTHERS], strict=True))
FAMILY_MARKERS = dict(zip(FAMILIES, [*map(NET_MARKERS.get, _MEMBERS), *"*<>"], strict=True))

OPS = {
    "conv": "convolution",
    "linear": "linear",
    "norm": "normalisation",
    "activation": "activation",
    "pool": "pooling",
    "concat": "concatenation",
    "elementwise": "addition and other elementwise",
    "other": "everything else",
}
"""Operator types as figures group them: op of a call -> label."""

OP_COLOURS = dict(zip(OPS, PALETTE, strict=False))
OP_HATCHES = dict(zip(OPS, ["", "//", "..", "\\\\", "xx", "oo", "--", "++"], strict=False))


def apply() -> None:
    """Set the house's look: called by every figure function, so that each stands alone."""
    sns.set_theme(
        context="notebook",
        style="whitegrid",
        palette="colorblind",
        rc={
            "figure.dpi": 110,
            "savefig.dpi": 160,
            "figure.constrained_layout.use": True,
            "axes.titlesize": "medium",
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "font.family": ["DejaVu Sans"],
            "hatch.linewidth": 0.4,
            "svg.hashsalt": "convcost",  # the same figure gives the same file
        },
    )


def net_name(key: str) -> str:
    """Display name of a net; the key itself where there is none."""
    return (NETS | TEXTBOOK_NETS).get(key, key)


def of_net(key: str) -> dict:
    """Colour, marker and label of a net, for `plot` and for a legend."""
    return {"color": NET_COLOURS[key], "marker": NET_MARKERS[key], "label": net_name(key)}


def caption(figure: plt.Figure, text: str) -> None:
    """Put what made the data (machine, profile, data set) under a figure, small."""
    height = 0.16 / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, height, 1, 1 - height))
    figure.text(0.005, 0.006, text, fontsize=7, color="0.35", ha="left", va="bottom")


def steady(figure: plt.Figure) -> None:
    """Let the layout of a figure come out the same to the last bit, every time.

    Its solver adds up in the order in which its variables happen to lie in memory. matplotlib names
    the clip paths of an SVG by their boxes to the last bit, so the same picture gave other files.
    """
    engine = figure.get_layout_engine()
    lay_out = engine.execute

    def execute(figure: plt.Figure):
        margins = lay_out(figure)
        for axis in figure.axes:
            corners = axis.get_position(original=True).get_points()
            # not set_position, which takes an axis out of the layout
            axis._set_position(Bbox(np.round(corners, 10)), which="original")
        return margins

    engine.execute = execute


def in_words(axis: plt.Axes, words: str, width: int = 60) -> None:
    """A panel that says why it shows nothing, in lines of `width` characters at most."""
    axis.set_axis_off()
    text = "\n".join(textwrap.fill(line, width) for line in words.splitlines())
    axis.text(
        0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", fontsize=11,
        style="italic", color="0.3",
    )  # fmt: skip


def places(axis: plt.Axes, names: list[str], **look) -> None:
    """A y axis of names, a row each, the first on top."""
    axis.set_yticks(range(len(names)), names, **look)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)


def decades(axis, marks: tuple[int, ...], words) -> None:
    """A logarithmic x or y axis with `marks` times powers of ten, in `words`, and none between.

    `words` is a format of x, such as "{x:g} ×", or a function of the value.
    """
    axis.set_major_locator(LogLocator(10, subs=marks, numticks=15))
    form = words if isinstance(words, str) else FuncFormatter(lambda value, _: words(value))
    axis.set_major_formatter(form)
    axis.set_minor_formatter(NullFormatter())


def legend_above(figure: plt.Figure, handles: list, **look) -> None:
    """One line of a legend over all panels."""
    look = {
        "columnspacing": 1.1, "handletextpad": 0.4, "ncols": len(handles), "fontsize": 9.5
    } | look  # fmt: skip
    figure.legend(handles=handles, loc="outside upper left", frameon=False, **look)


def percents(axis, symbol: str = "%") -> None:
    """Label fractions on an x or y axis in percent, or in percentage points ("pp")."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.6g} {symbol}"))


def durations(axis) -> None:
    """A logarithmic x or y axis of seconds, labelled in s, ms, µs or ns; call it after drawing."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    decades(axis, (1, 3) if high < 2000 * low else (1,), EngFormatter(unit="s"))
