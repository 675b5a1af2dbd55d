"""LeNet of Atsumi et al. in pictures: its structure, and what its filters make of a digit."""

import base64
import io
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, to_hex, to_rgb
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from PIL import Image

from convcost.chapters.relu_zero_rates.findings import paper
from convcost.core.units import scaled
from convcost.counting import ops
from convcost.figures import style

# Zeros dark, all else from orange to white: told apart by the colour-blind, and in grey print.
ZERO_COLOUR = "#01457a"
_POSITIVE = LinearSegmentedColormap.from_list("positive", ["#d97b00", "#f6c15c", "#fffbe8"])
LEVEL_COLOURS = ListedColormap([to_rgb(ZERO_COLOUR), *_POSITIVE(np.linspace(0, 1, 255))[:, :3]])
"""Colours of the 256 levels of the table `activation_maps`: 0 is exactly zero."""


@dataclass(frozen=True)
class _Block:
    """What one layer puts out, of one image."""

    name: str
    shape: tuple[int, ...]  # maps, side, side; or the number of outputs
    made_by: str = ""
    macs: int = 0
    product: str = ""  # the multiplications as a product


def _blocks() -> list[_Block]:
    """The paper's layers in forward order, their shapes from our formulas."""
    kernel, window = paper.value("kernel_px"), paper.value("pool_kernel_px")
    maps, side = 1, paper.value("input_px")
    blocks = [_Block("image", (maps, side, side))]
    for number in (1, 2):
        filters = paper.value(f"conv{number}_filters")
        (out, _) = ops.conv_output((side,) * 2, (kernel,) * 2, (1, 1), (0, 0), (1, 1))
        macs = ops.conv_macs(1, maps, filters, (kernel,) * 2, (out, out))
        product = f"{out}·{out} · {kernel}·{kernel}" + (f" · {maps}" if maps > 1 else "")
        blocks.append(
            _Block(
                f"conv{number}",
                (filters, out, out),
                f"{kernel} × {kernel}",
                macs,
                f"{product} · {filters}",
            )
        )
        (side, _) = ops.pool_output((out,) * 2, (window,) * 2, (window,) * 2, (0, 0), (1, 1))
        maps = filters
        blocks.append(_Block(f"pool{number}", (maps, side, side), f"max\n{window} × {window}"))
    inputs = maps * side * side
    for width in (paper.value(f"fc{n}_connections") for n in (120, 84, 10)):
        macs = ops.linear_macs(1, inputs, width)
        blocks.append(_Block(f"fc{width}", (width,), "linear", macs, f"{inputs} · {width}"))
        inputs = width
    return blocks


_ON_WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
_GAP_PX, _COLUMN_PX, _TALLEST_PX = 15, 3.5, 36  # between blocks; width and height of a column


def structure() -> plt.Figure:
    """The paper's figure 1, drawn from its numbers and our formulas, with what each layer costs.

    Maps are to scale with each other, columns of outputs too; under them the multiplications of
    one image.
    """
    style.apply()
    blocks = _blocks()
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(11, 4.9), sharex=True, height_ratios=[8, 5]
    )
    most = max(block.shape[0] for block in blocks if len(block.shape) == 1)
    left, centres = 0.0, []
    for block in blocks:
        colour = style.OP_COLOURS[_kind(block)]
        if len(block.shape) == 3:
            width, top = _stack(upper, left, block, colour)
            shape = " × ".join(map(str, block.shape))
        else:
            width, top = _COLUMN_PX, _TALLEST_PX * block.shape[0] / most
            upper.add_patch(_box(left, -top / 2, width, top, colour))
            top, shape = top / 2, str(block.shape[0])
        centre = left + width / 2
        upper.text(
            centre, max(top + 1.5, 7), block.name, ha="center", va="bottom", fontweight="bold"
        )
        upper.text(centre, -26, shape, ha="center", va="center", fontsize=9.5)
        centres.append(centre)
        if block.made_by:
            upper.add_patch(_arrow(left - _GAP_PX + 2, left - 2))
            upper.text(left - _GAP_PX / 2, 1.5, block.made_by, ha="center", va="bottom", fontsize=8)
        left += width + _GAP_PX
    upper.set_ylim(-29, 25)
    upper.set_aspect("equal")
    upper.set_axis_off()
    weighted = [
        (centre, block) for centre, block in zip(centres, blocks, strict=True) if block.macs
    ]
    bars = lower.bar(
        [centre for centre, _ in weighted],
        [scaled(block.macs, "K") for _, block in weighted],
        width=9,
        color=[style.OP_COLOURS[_kind(block)] for _, block in weighted],
        hatch=["//" if _kind(block) == "linear" else "" for _, block in weighted],
        edgecolor="white",
    )
    products = [f"{block.product}\n= {block.macs:,}" for _, block in weighted]
    lower.bar_label(bars, products, padding=2, fontsize=8.5, bbox=_ON_WHITE)
    lower.set_ylim(0, 1.35 * scaled(max(block.macs for block in blocks), "K"))
    lower.set_xlim(-4, left - _GAP_PX + 8)
    lower.set_xticks([])
    lower.set_ylabel("multiplications,\none image, thousands")
    lower.grid(axis="x", visible=False)
    return figure


def _kind(block: _Block) -> str:
    if block.name == "image":
        return "other"
    return {"conv": "conv", "pool": "pool"}.get(block.name.rstrip("0123456789"), "linear")


def _box(x: float, y: float, width: float, height: float, colour, zorder: float = 1) -> Rectangle:
    return Rectangle(
        (x, y), width, height, facecolor=colour, edgecolor="white", linewidth=0.7, zorder=zorder
    )


def _stack(axis: plt.Axes, left: float, block: _Block, colour) -> tuple[float, float]:
    """Draw maps one behind the other around the middle line; (width, upper edge)."""
    maps, side, _ = block.shape
    step = 9 / max(maps - 1, 1) if maps > 1 else 0
    whole = side + step * (maps - 1)
    for number in range(maps):
        back = step * (maps - 1 - number)  # the first map stands behind
        axis.add_patch(_box(left + back, -whole / 2 + back, side, side, colour, 1 + number / maps))
    return whole, whole / 2


def _arrow(start: float, end: float) -> FancyArrowPatch:
    return FancyArrowPatch(
        (start, 0),
        (end, 0),
        arrowstyle="-|>",
        mutation_scale=11,
        color="0.35",
        shrinkA=0,
        shrinkB=0,
    )


# --- maps of digits ----------------------------------------------------------------------------


def _levels(row) -> np.ndarray:
    """The map of one row of `activation_maps` as bytes (side, side)."""
    flat = np.frombuffer(base64.b64decode(row.levels, validate=True), dtype=np.uint8)
    return flat.reshape(row.side_px, row.side_px)


def _zero_share(row) -> str:
    return f"{100 * row.zeros / row.side_px**2:.0f} %"


def digit_maps(activation_maps: pd.DataFrame) -> plt.Figure:
    """One image of each digit (first row) and its conv1 maps after ReLU, zeros in their own colour.

    Under each map: the share of its elements that are exactly zero.
    """
    style.apply()
    images = activation_maps[activation_maps["layer"] == "image"]
    maps = activation_maps[activation_maps["layer"] == "conv1"]
    digits, filters = sorted(images["digit"]), sorted(maps["filter"].unique())
    tile, pitch_x, pitch_y = int(images["side_px"].max()), 32, 37
    figure, axis = plt.subplots(figsize=(0.85 * len(digits) + 1.0, (len(filters) + 1) * 0.98 + 0.9))
    for row in [*images.itertuples(), *maps.itertuples()]:
        column = digits.index(row.digit)
        line = 0 if row.layer == "image" else 1 + filters.index(row.filter)
        x, y = column * pitch_x, line * pitch_y
        inset = (tile - row.side_px) / 2
        axis.imshow(
            _levels(row),
            cmap="gray" if row.layer == "image" else LEVEL_COLOURS,
            vmin=0,
            vmax=255,
            extent=(x + inset, x + tile - inset, y + tile - 2 * inset, y),
            interpolation="nearest",
        )
        if row.layer != "image":
            text = _zero_share(row)
            axis.text(x + tile / 2, y + row.side_px + 1, text, ha="center", va="top", fontsize=9)
    axis.set_xlim(-2, len(digits) * pitch_x - 2)
    axis.set_ylim((len(filters) + 1) * pitch_y - 2, -2)
    axis.set_xticks([n * pitch_x + tile / 2 for n in range(len(digits))], digits)
    axis.xaxis.tick_top()
    axis.set_yticks(
        [n * pitch_y + 13 for n in range(len(filters) + 1)],
        ["image", *(f"filter {number}" for number in filters)],
    )
    axis.set_aspect("equal")
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    handles = [
        Patch(facecolor=ZERO_COLOUR),
        Patch(facecolor=LEVEL_COLOURS(1), edgecolor="0.6"),
        Patch(facecolor=LEVEL_COLOURS(255), edgecolor="0.6"),
    ]
    names = ["exactly zero (share under each map)", "just above zero", "largest value of the layer"]
    figure.legend(handles, names, loc="outside upper center", ncols=3, frameon=False, fontsize=9.5)
    return figure


# --- the same for a reader to pick from --------------------------------------------------------

_STYLE = """
.convcost-pick {border: 1px solid #8886; border-radius: 8px; padding: 0 14px 12px; margin: 0;
  font-family: system-ui, sans-serif; min-width: 0}
.convcost-pick .choice label {display: inline-block; margin: 2px 8px 2px 0; padding: 3px 10px;
  border: 1px solid #8886; border-radius: 6px; cursor: pointer}
.convcost-pick .choice label:has(:checked) {background: %(dark)s; color: #fff}
.convcost-pick .choice label:has(:focus-visible) {outline: 3px solid #d97b00}
.convcost-pick .digit {display: none; flex-wrap: wrap; gap: 14px; margin-top: 10px}
.convcost-pick figure {margin: 0; text-align: center; font-size: 14px}
.convcost-pick img {width: 112px; height: 112px; image-rendering: pixelated; display: block}
.convcost-pick .key {font-size: 13px; margin: 10px 0 0}
.convcost-pick .key i {display: inline-block; width: 1em; height: 1em; vertical-align: -2px;
  border: 1px solid #8886; margin: 0 4px 0 12px}
%(shown)s {display: flex}
"""


def pick_a_digit(activation_maps: pd.DataFrame) -> str:
    """HTML in which a reader picks a digit and sees its image and its conv1 maps after ReLU.

    `activation_maps` is the table of that name. Zeros have a colour of their own, and under each
    map stands the share of its elements that are zero. Radio buttons and a style sheet, no script,
    every picture inside the text: it works in Jupyter and on a static page, from the keyboard too.
    A form holds each set of buttons, so that two on one page do not disturb each other.
    """
    maps = activation_maps[activation_maps["layer"].isin(["image", "conv1"])]
    digits = sorted(maps["digit"].unique())
    choices = "".join(
        f'<label><input type="radio" name="digit" value="{digit}"'
        f"{' checked' if digit == digits[0] else ''}> {digit}</label>"
        for digit in digits
    )
    panels = "".join(
        f'<div class="digit d{digit}">'
        + "".join(_html_map(row) for row in maps[maps["digit"] == digit].itertuples())
        + "</div>"
        for digit in digits
    )
    shown = ",\n".join(
        f".convcost-pick:has(input[value='{digit}']:checked) .d{digit}" for digit in digits
    )
    colours = {"exactly zero": 0, "just above zero": 1, "largest value of the layer": 255}
    key = "".join(
        f'<i style="background: {to_hex(LEVEL_COLOURS(level))}"></i>{name}'
        for name, level in colours.items()
    )
    # method="dialog": the Enter key sends the form nowhere
    return (
        f"<style>{_STYLE % {'dark': ZERO_COLOUR, 'shown': shown}}</style>"
        '<form method="dialog"><fieldset class="convcost-pick"><legend>Pick a digit</legend>'
        f'<div class="choice">{choices}</div><div aria-live="polite">{panels}</div>'
        f'<p class="key">The share of exact zeros stands under each map.{key}</p>'
        "</fieldset></form>"
    )


def _html_map(row) -> str:
    """One picture with its caption, from a row of `activation_maps`."""
    if row.layer == "image":
        colours, caption, alt = None, "image", f"image of the digit {row.digit}"
    else:
        share = f"{_zero_share(row)} zeros"
        colours, caption = LEVEL_COLOURS, f"filter {row.filter}<br>{share}"
        alt = f"conv1, filter {row.filter}, digit {row.digit}: {share}"
    data = base64.b64encode(_png(_levels(row), colours)).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{alt}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _png(levels: np.ndarray, colours: ListedColormap | None) -> bytes:
    """Bytes (height, width) as a PNG, in greys or in the colours of a map of 256."""
    picture = Image.fromarray(levels)
    if colours is not None:
        rgb = (255 * colours(np.arange(256))[:, :3]).round().astype(np.uint8)
        picture = picture.convert("P")
        picture.putpalette(rgb.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
