"""The idea of each method of notebook 06, drawn: no measurement, only what is done to numbers.

Every picture is small and has the same colours: grey for what was there, blue for what is kept,
white with a cross for what is gone.
"""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle

from convcost.figures import style

GREY, KEPT, NEW = "0.75", style.PALETTE[0], style.PALETTE[1]
_SIZE = (7.0, 2.5)


def _panels(number: int, **look) -> tuple[plt.Figure, np.ndarray]:
    style.apply()
    return plt.subplots(1, number, figsize=_SIZE, squeeze=False, **look)


def _bare(axis: plt.Axes, title: str, width: float, height: float) -> None:
    axis.set_axis_off()
    axis.set(xlim=(-0.3, width + 0.3), ylim=(-0.5, height + 0.5), aspect="equal")
    axis.set_title(title, fontsize=10)


def _matrix(axis: plt.Axes, kept: np.ndarray, left: float = 0.0, colour=KEPT) -> None:
    """Weights as squares, filters in rows; what is gone is white and crossed."""
    rows, columns = kept.shape
    for row in range(rows):
        for column in range(columns):
            here = kept[row, column]
            corner = left + column, rows - 1 - row
            axis.add_patch(Rectangle(corner, 0.9, 0.9, facecolor=colour if here else "white",
                                     edgecolor="0.5", hatch="" if here else "xx"))  # fmt: skip


def _arrow(axis: plt.Axes, begin: tuple[float, float], end: tuple[float, float], **look) -> None:
    axis.add_patch(FancyArrowPatch(begin, end, arrowstyle="-|>", mutation_scale=12,
                                   color="0.3", **look))  # fmt: skip


def quantisation() -> plt.Figure:
    """A curve of weights, and what 3 bits and 1 bit leave of it."""
    figure, axes = _panels(3, sharey=True)
    place = np.linspace(0, 1, 200)
    weights = np.sin(2 * np.pi * place) * (0.6 + 0.4 * place)
    scale = np.abs(weights).max() / 3
    rounded = {
        "32 bits": weights,
        "3 bits: 7 levels": scale * np.round(weights / scale).clip(-3, 3),
        "1 bit: sign × mean": np.where(weights >= 0, 1, -1) * np.abs(weights).mean(),
    }
    for axis, (title, values) in zip(axes[0], rounded.items(), strict=True):
        axis.plot(place, weights, color=GREY, linewidth=3)
        axis.plot(place, values, color=KEPT, linewidth=1.8)
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], xlabel="weights of a filter")
    axes[0][0].set_ylabel("value")
    return figure


def unstructured() -> plt.Figure:
    """Scattered zeros: the matrix is as large as before."""
    figure, axes = _panels(2)
    kept = np.random.default_rng(3).random((6, 9)) > 0.6
    for axis, title, mask in zip(
        axes[0], ("all weights", "the smallest are zero, the shape stays"), (kept | True, kept),
        strict=True,
    ):  # fmt: skip
        _bare(axis, title, 9, 6)
        _matrix(axis, mask)
    return figure


def structured() -> plt.Figure:
    """Filters gone: the matrix is smaller, and so is the input of the next layer."""
    figure, axes = _panels(3)
    rows = np.ones((6, 4), bool)
    rows[[1, 4]] = False
    columns = np.ones((5, 6), bool)
    columns[:, [1, 4]] = False
    for axis, title, mask in zip(
        axes[0],
        ("a layer loses two filters", "the next one loses their inputs", "what is left is smaller"),
        (rows, columns, np.ones((4, 4), bool)), strict=True,
    ):  # fmt: skip
        _bare(axis, title, mask.shape[1], mask.shape[0])
        _matrix(axis, mask)
    return figure


def distillation() -> plt.Figure:
    """What labels say of a shirt, and what a teacher says at two temperatures."""
    figure, axes = _panels(3, sharey=True)
    names = ("shirt", "T-shirt", "coat", "dress")
    logits = np.array([6.0, 4.0, 2.5, 0.5])
    said = {"the label": np.eye(4)[0]}
    for temperature in (1, 4):
        shares = np.exp(logits / temperature)
        said[f"a teacher, temperature {temperature}"] = shares / shares.sum()
    for axis, (title, shares) in zip(axes[0], said.items(), strict=True):
        axis.bar(range(4), shares, color=GREY if title == "the label" else KEPT, edgecolor="0.3")
        axis.set_xticks(range(4), names, fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", visible=False)
    axes[0][0].set_ylabel("share")
    return figure


def low_rank() -> plt.Figure:
    """A matrix of filters as a product of a wide and a tall one."""
    figure, axes = _panels(1)
    axis = axes[0][0]
    _bare(axis, "64 weights in one matrix, 2 × (8 + 8) = 32 in two", 22, 8)
    _matrix(axis, np.ones((8, 8), bool), colour=GREY)
    axis.text(9.2, 4, "≈", fontsize=20, ha="center", va="center")
    _matrix(axis, np.ones((8, 2), bool), left=10.4)
    axis.text(13.2, 4, "×", fontsize=16, ha="center", va="center")
    for row in range(2):
        for column in range(8):
            axis.add_patch(Rectangle((14.2 + column, 3 + row), 0.9, 0.9, facecolor=NEW,
                                     edgecolor="0.5"))  # fmt: skip
    return figure


def compact() -> plt.Figure:
    """Which inputs each output reads: all, those of its place, those of its channel, a group's."""
    figure, axes = _panels(4)
    channels = np.arange(8)
    reads = {
        "3×3: every channel,\nnine places": lambda a, b: True,
        "depthwise: its own\nchannel, nine places": lambda a, b: a == b,
        "1×1: every channel,\none place": lambda a, b: True,
        "grouped 1×1: its\ngroup, one place": lambda a, b: a // 4 == b // 4,
    }
    for axis, (title, reading) in zip(axes[0], reads.items(), strict=True):
        wide = 3 if "nine" in title else 1
        for a in channels:
            for b in channels:
                if reading(a, b):
                    axis.plot([0, 1], [a, b], color=KEPT, linewidth=0.5 * wide, alpha=0.7)
        axis.plot(np.zeros(8), channels, "o", color="0.4", markersize=4)
        axis.plot(np.ones(8), channels, "o", color="0.4", markersize=4)
        axis.set_axis_off()
        axis.set_title(title, fontsize=8.5)
    return figure


def blocks() -> plt.Figure:
    """A residual net with a block and without: the shortcut is what is left."""
    figure, axes = _panels(1)
    axis = axes[0][0]
    axis.set_axis_off()
    axis.set(xlim=(0, 12), ylim=(0, 3.4))
    for number, left in enumerate((1, 5, 9)):
        gone = number == 1
        look = {"facecolor": "white", "hatch": "xx"} if gone else {"facecolor": KEPT}
        axis.add_patch(Rectangle((left, 1), 1.8, 0.9, edgecolor="0.3", alpha=0.8, **look))
        axis.text(left + 0.9, 0.6, "gone" if gone else f"block {number + 1}", ha="center",
                  fontsize=10)  # fmt: skip
        axis.text(left + 2.4, 1.45, "+", fontsize=14, ha="center", va="center")
        _arrow(axis, (left - 0.6, 1.45), (left, 1.45))
        _arrow(axis, (left - 0.4, 1.5), (left + 2.4, 1.7), connectionstyle="arc3,rad=-0.45")
        if left < 9:
            _arrow(axis, (left + 2.6, 1.45), (left + 3.4, 1.45))
    axis.text(6.4, 3.0, "the shortcut stays", ha="center", fontsize=10, color="0.3")
    return figure


def search() -> plt.Figure:
    """A grid of nets of which a few are trained: at random, or where the earlier ones point to."""
    figure, axes = _panels(2, sharey=True)
    width, depth = np.meshgrid(np.arange(1, 9), np.arange(1, 6))
    rng = np.random.default_rng(1)
    chance = rng.permutation(width.size)[:8]
    score = (width - 6) ** 2 / 4 + (depth - 4) ** 2
    guided = np.r_[rng.permutation(width.size)[:3], np.argsort(score, axis=None)[:5]]
    for axis, chosen, title in zip(
        axes[0], (chance, guided), ("at random", "from what was seen"), strict=True
    ):
        axis.plot(width.ravel(), depth.ravel(), "o", color=GREY, markersize=7)
        axis.plot(width.ravel()[chosen], depth.ravel()[chosen], "o", color=KEPT, markersize=11)
        for number, place in enumerate(chosen, start=1):
            axis.annotate(str(number), (width.ravel()[place], depth.ravel()[place]), ha="center",
                          va="center", fontsize=8, color="white")  # fmt: skip
        axis.set(xticks=[], yticks=[], xlabel="width", title=title)
        axis.grid(visible=False)
    axes[0][0].set_ylabel("depth")
    return figure


IDEAS: dict[str, tuple[Callable[[], plt.Figure], str]] = {
    "quantisation": (
        quantisation, "A smooth curve of weights in three panels: with 32 bits as it is, with 3 "
        "bits in seven steps, with 1 bit as two levels.",
    ),
    "unstructured": (
        unstructured, "Two grids of weights of the same size: all there, and with scattered ones "
        "crossed out.",
    ),
    "structured": (
        structured, "Three grids of weights: a layer with two rows crossed out, the next one with "
        "the two columns that read them crossed out, and the smaller grid that is left.",
    ),
    "distillation": (
        distillation, "Bars of what is said of a picture of a shirt: the label knows shirt alone, "
        "a teacher gives some to T-shirt and coat, more so at temperature 4.",
    ),
    "low-rank": (
        low_rank, "A square grid of 64 weights beside the product of a tall and a wide grid of 16 "
        "each.",
    ),
    "compact": (
        compact, "Lines between eight input and eight output channels: all to all for a full and "
        "for a 1 x 1 convolution, one to one for a depthwise one, within groups for a grouped one.",
    ),
    "blocks": (
        blocks, "Three residual blocks in a row, each with a shortcut above it; the middle one is "
        "crossed out and its shortcut stays.",
    ),
    "search": (
        search, "A grid of nets by width and depth, of which eight are trained: scattered at "
        "random, and gathered where the first ones point to.",
    ),
}  # fmt: skip
"""Method -> (drawing, what it shows in words)."""
