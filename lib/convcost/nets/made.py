"""Small nets made up of blocks that real nets are made of, of sizes drawn at random.

They are there to be timed: what a machine charges for each kind of work is fitted to them
(`measuring.calibration`). None of them is a published net, so that every published net is unseen.
Each style of block is a design of its own. Nothing is trained, so accuracy does not matter.
"""

import copy
import math
from collections.abc import Callable, Iterator
from random import Random

import torch
from torch import nn

from convcost.core.errors import BadInputError

CLASSES = 100
MOST_CHANNELS = 1024
ACTIVATIONS = (nn.ReLU, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU)


def _conv(
    ins: int, outs: int, kernel: int | tuple[int, int] = 1, *, stride: int = 1, groups: int = 1,
    act: type[nn.Module] | None = nn.ReLU, norm: bool = True, dilation: int = 1,
) -> nn.Sequential:  # fmt: skip
    """A convolution that keeps the map's size (but for its stride), its norm, its activation."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = tuple(dilation * (side - 1) // 2 for side in sides)
    layers: list[nn.Module] = [
        nn.Conv2d(ins, outs, sides, stride, padding, dilation, groups, bias=not norm)
    ]
    if norm:
        layers.append(nn.BatchNorm2d(outs))
    if act is not None:
        layers.append(act(inplace=True) if act is not nn.GELU else act())
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """x + branch(x), and what comes after the sum."""

    def __init__(self, branch: nn.Module, after: nn.Module | None = None):
        super().__init__()
        self.branch, self.after = branch, after or nn.Identity()

    def forward(self, x):
        return self.after(self.branch(x) + x)


class Gate(nn.Module):
    """Squeeze and excite: each channel times a number that follows from all channels' means."""

    def __init__(self, channels: int, inner: int, sigmoid: type[nn.Module]):
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, inner, 1), nn.ReLU(inplace=True),
            nn.Conv2d(inner, channels, 1), sigmoid(),
        )  # fmt: skip

    def forward(self, x):
        return x * self.weigh(x)


class Together(nn.Module):
    """All branches' maps, one behind the other; with `keep`, x itself before them."""

    def __init__(self, *branches: nn.Module, keep: bool = False):
        super().__init__()
        self.branches, self.keep = nn.ModuleList(branches), keep

    def forward(self, x):
        maps = [branch(x) for branch in self.branches]
        return torch.cat([x, *maps] if self.keep else maps, 1)


class Halves(nn.Module):
    """Half of the channels through a branch, then both halves shuffled into each other."""

    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        one, other = x.chunk(2, dim=1)
        both = torch.cat((one, self.branch(other)), 1)
        images, channels, height, width = both.shape
        both = both.view(images, 2, channels // 2, height, width).transpose(1, 2).contiguous()
        return both.view(images, channels, height, width)


class Permuted(nn.Module):
    """A branch that takes maps with the channels last."""

    def __init__(self, branch: nn.Module):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        return self.branch(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """Every position looks at every other one: (N, positions, width) to the same."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.three, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        images, positions, width = x.shape
        split = self.three(x).view(images, positions, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).reshape(images, positions, width))


class Windows(nn.Module):
    """Attention within windows of the map, which are shifted: (N, H, W, width) to the same.

    With a table of biases that is added to the scores, as products of two results written out.
    """

    def __init__(self, width: int, heads: int, side: int, shift: int):
        super().__init__()
        self.heads, self.side, self.shift = heads, side, shift
        self.three, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(heads, side * side, side * side))

    def forward(self, x):
        images, height, width, channels = x.shape
        side = self.side
        x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.view(images, height // side, side, width // side, side, channels)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, side * side, channels)
        split = self.three(x).view(len(x), side * side, 3, self.heads, channels // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = (query * (channels // self.heads) ** -0.5) @ key.transpose(-2, -1) + self.bias
        x = (scores.softmax(-1) @ value).transpose(1, 2).reshape(len(x), side * side, channels)
        x = self.out(x).view(images, height // side, width // side, side, side, channels)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(images, height, width, channels)
        return torch.roll(x, (self.shift, self.shift), (1, 2))


class Tokens(nn.Module):
    """A map as a sequence of positions: (N, C, H, W) to (N, H*W + 1, C), one token of its own."""

    def __init__(self, width: int, positions: int):
        super().__init__()
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.zeros(1, positions + 1, width))

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        return torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.places


class First(nn.Module):
    """The first of all positions: (N, positions, C) to (N, C)."""

    def forward(self, x):
        return x[:, 0]


# --- the styles: each yields the stages of a net between its stem and its head ------------------


class _Sizes:
    """Widths, maps and choices of one net, drawn one after the other."""

    def __init__(self, draw: Random, input_px: int):
        self.draw, self.px = draw, input_px
        # the first width, its growth and the multiple are drawn apart from the size of the images,
        # so that wide layers meet large maps as well as small ones
        first, growth = 16 * 2 ** draw.uniform(0, 3), draw.uniform(1.3, 2.2)
        multiple = draw.choice((8, 16, 16, 32))
        self.widths = [
            max(round(min(first * growth**at, MOST_CHANNELS) / multiple), 1) * multiple
            for at in range(draw.choice((3, 3, 4, 4, 5)))
        ]
        self.act = draw.choice(ACTIVATIONS)
        self.repeats = [draw.randint(1, 4) for _ in self.widths]

    def groups(self, channels: int) -> int:
        """Into how many groups a convolution is divided: most often into none."""
        return self.draw.choice(
            [1, 1, 1] + [channels // per for per in (8, 16, 32) if channels % per == 0]
        )


def _chained(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Plain convolutions one after the other, with pooling or strides between them."""
    draw, norm = sizes.draw, sizes.draw.random() < 0.6
    kernel = draw.choice((3, 3, 3, 5, 7))
    for width, repeats in zip(sizes.widths, sizes.repeats, strict=True):
        for _ in range(repeats):
            groups = sizes.groups(width) if ins == width else 1
            yield _conv(ins, width, kernel if width < 256 else 3, norm=norm, groups=groups)
            ins = width
        yield nn.MaxPool2d(*draw.choice(((2, 2), (3, 2))))
        if draw.random() < 0.3:
            yield nn.Dropout(0.1)


def _wide(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Residual pairs of 3 x 3 convolutions."""
    for width, repeats in zip(sizes.widths, sizes.repeats, strict=True):
        yield _conv(ins, width, 3, stride=2)
        groups = sizes.groups(width)
        for _ in range(repeats):
            pair = nn.Sequential(
                _conv(width, width, 3, groups=groups), _conv(width, width, 3, act=None)
            )
            yield Residual(pair, nn.ReLU(inplace=True))
        ins = width


def _narrowed(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Residual 1 x 1, 3 x 3, 1 x 1: the middle one narrower and often in groups."""
    draw = sizes.draw
    per_group, gated = draw.choice((0, 0, 4, 8, 16, 24, 32)), draw.random() < 0.4
    shrink = draw.choice((1, 2, 4))
    for width, repeats in zip(sizes.widths, sizes.repeats, strict=True):
        inner = max(width // shrink, 16)
        groups = max(inner // per_group, 1) if per_group else 1
        inner -= inner % groups
        yield _conv(ins, 2 * width, 1, stride=2, act=None)
        for _ in range(repeats):
            gate = [Gate(inner, max(inner // 4, 4), nn.Sigmoid)] if gated else []
            yield Residual(
                nn.Sequential(
                    _conv(2 * width, inner), _conv(inner, inner, 3, groups=groups), *gate,
                    _conv(inner, 2 * width, act=None),
                ),
                nn.ReLU(inplace=True),
            )  # fmt: skip
        ins = 2 * width


def _widened(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Residual 1 x 1, depthwise, 1 x 1: the middle one wider; the sum without an activation."""
    draw, act = sizes.draw, sizes.act
    gated, factor, kernel = draw.random() < 0.5, draw.choice((2, 3, 4, 6)), draw.choice((3, 3, 5))
    sigmoid = draw.choice((nn.Sigmoid, nn.Hardsigmoid))
    for width, repeats in zip(sizes.widths, sizes.repeats, strict=True):
        width = max(width // 2 // 8 * 8, 16)
        for at in range(repeats + 1):
            inner = ins * factor
            gate = [Gate(inner, max(ins // 4, 4), sigmoid)] if gated else []
            block = nn.Sequential(
                _conv(ins, inner, act=act),
                _conv(inner, inner, kernel, stride=1 if at else 2, groups=inner, act=act),
                *gate,
                _conv(inner, width, act=None),
            )
            yield Residual(block) if at else block
            ins = width


def _separated(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Depthwise and 1 x 1 in turns, without shortcuts."""
    kernel = sizes.draw.choice((3, 3, 5))
    for width, repeats in zip(sizes.widths, sizes.repeats, strict=True):
        for at in range(repeats + 1):
            yield _conv(ins, ins, kernel, stride=1 if at else 2, groups=ins, act=sizes.act)
            yield _conv(ins, width, act=sizes.act)
            ins = width


def _grown(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Every block adds a few channels to all that came before; norm and activation go first."""
    draw = sizes.draw
    grow = draw.choice((12, 16, 24, 32, 48))
    for repeats in sizes.repeats:
        for _ in range(2 * repeats):
            inner = 4 * grow
            groups = draw.choice((1, 1, 1, 4))
            branch = nn.Sequential(
                nn.BatchNorm2d(ins),
                nn.ReLU(inplace=True),
                nn.Conv2d(ins, inner, 1, bias=False),
                nn.BatchNorm2d(inner),
                nn.ReLU(inplace=True),
                nn.Conv2d(inner, grow, 3, padding=1, groups=groups, bias=False),
            )
            yield Together(branch, keep=True)
            ins += grow
        half = ins // 2 // 8 * 8
        yield nn.Sequential(
            nn.BatchNorm2d(ins), nn.ReLU(inplace=True), nn.Conv2d(ins, half, 1, bias=False),
            nn.AvgPool2d(2, 2),
        )  # fmt: skip
        ins = half


def _branched(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Branches of several kernels side by side, among them 1 x 7 and 7 x 1, and a pooling."""
    draw = sizes.draw
    for width, repeats in zip(sizes.widths, sizes.repeats, strict=True):
        for _ in range(repeats):
            part = max(width // 4 // 8 * 8, 16)
            long = nn.Sequential(
                _conv(ins, part), _conv(part, part, (1, 7)), _conv(part, part, (7, 1))
            )
            branches = [
                _conv(ins, part),
                nn.Sequential(_conv(ins, part), _conv(part, 2 * part, draw.choice((3, 5)))),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv(ins, part)),
                long if draw.random() < 0.5 else _conv(ins, part, 3, groups=draw.choice((1, 1, 4))),
            ]
            yield Together(*branches)
            ins = 5 * part
        yield nn.MaxPool2d(3, 2, ceil_mode=True)


def _squeezed(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """A narrow 1 x 1, then 1 x 1 and 3 x 3 side by side; no norm."""
    for width, repeats in zip(sizes.widths, sizes.repeats, strict=True):
        for _ in range(repeats):
            yield _conv(ins, width // 4, norm=False)
            wide = [_conv(width // 4, width, kernel, norm=False) for kernel in (1, 3)]
            yield Together(*wide)
            ins = 2 * width
        yield nn.MaxPool2d(3, 2, ceil_mode=True)


def _shuffled(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Half of the channels through 1 x 1, depthwise, 1 x 1, then shuffled."""
    for width, repeats in zip(sizes.widths, sizes.repeats, strict=True):
        half = max(width // 2 // 4 * 4, 8)
        yield nn.Sequential(
            _conv(ins, ins, 3, stride=2, groups=ins, act=None), _conv(ins, 2 * half)
        )
        for _ in range(repeats + 1):
            yield Halves(
                nn.Sequential(
                    _conv(half, half),
                    _conv(half, half, 3, groups=half, act=None),
                    _conv(half, half),
                )
            )
        ins = 2 * half


def _norm_last(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Wide depthwise kernels, then two linear layers over the channels, with layer norms."""
    draw = sizes.draw
    for width, repeats in zip(sizes.widths, sizes.repeats, strict=True):
        yield Permuted(nn.LayerNorm(ins))
        yield nn.Conv2d(ins, width, 2, 2)
        for _ in range(repeats):
            yield Residual(
                nn.Sequential(
                    nn.Conv2d(width, width, draw.choice((5, 7)), padding="same", groups=width),
                    Permuted(
                        nn.Sequential(
                            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
                            nn.Linear(4 * width, width),
                        )
                    ),
                )
            )  # fmt: skip
        ins = width


def _looking(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Patches as a sequence, attention and linear layers in turns."""
    draw = sizes.draw
    head = draw.choice((32, 64))
    width = head * draw.randint(3, 8)
    patch = draw.choice((4, 8))
    yield nn.Conv2d(ins, width, patch, patch)
    yield Tokens(width, (sizes.px // 2 // patch) ** 2)
    for _ in range(draw.randint(2, 8)):
        yield Residual(nn.Sequential(nn.LayerNorm(width), Attention(width, width // head)))
        yield Residual(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
                nn.Linear(4 * width, width),
            )
        )  # fmt: skip
    yield First()


def _windowed(sizes: _Sizes, ins: int) -> Iterator[nn.Module]:
    """Attention within shifted windows of the map, in several stages."""
    draw = sizes.draw
    width = 32 * draw.randint(2, 4)
    positions = sizes.px // 2 // 4
    side = draw.choice([side for side in (4, 6, 7, 8) if positions % (2 * side) == 0])
    yield nn.Conv2d(ins, width, 4, 4)
    for _ in range(2):
        for at in range(2 * draw.randint(1, 3)):
            parts = (
                Windows(width, width // 32, side, (at % 2) * side // 2),
                nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
            )
            for part in parts:
                yield Permuted(Residual(nn.Sequential(nn.LayerNorm(width), part)))
        yield nn.Conv2d(width, 2 * width, 2, 2)
        width *= 2


STYLES: dict[str, Callable[[_Sizes, int], Iterator[nn.Module]]] = {
    "chained": _chained,
    "wide": _wide,
    "narrowed": _narrowed,
    "widened": _widened,
    "separated": _separated,
    "grown": _grown,
    "branched": _branched,
    "squeezed": _squeezed,
    "shuffled": _shuffled,
    "norm last": _norm_last,
    "looking": _looking,
    "windowed": _windowed,
}
SIDES = (128, 160, 192, 224, 224, 256)
WINDOWED_SIDES = (128, 192, 224, 256)  # which windows fit into, twice


def made(style: str, seed: int) -> tuple[nn.Module, tuple[int, int, int]]:
    """A net of one of `STYLES` and the shape of its images; the same seed makes the same net.

    Raises BadInputError for another style.

    >>> model, shape = made("wide", 0)
    >>> model(torch.zeros(1, *shape)).shape
    torch.Size([1, 100])
    """
    if style not in STYLES:
        raise BadInputError(f"no style is called {style!r}; there are: {', '.join(STYLES)}")
    draw = Random(f"{style} {seed}")
    input_px = draw.choice(WINDOWED_SIDES if style == "windowed" else SIDES)
    sizes = _Sizes(draw, input_px)
    stem = draw.choice((16, 24, 32, 48, 64))
    layers = [_conv(3, stem, draw.choice((3, 5, 7)), stride=2)]
    layers += STYLES[style](sizes, stem)
    body = nn.Sequential(*layers)
    with torch.no_grad():  # on no device: only the shape of what comes out is asked for
        out = _shape_after(body, (1, 3, input_px, input_px))
    head: list[nn.Module] = []
    heavy = 0.5 if style in ("chained", "squeezed") else 0.15
    if len(out) == 4 and draw.random() < heavy:
        side = max(min(out[2], draw.choice((2, 4, 6))), 1)
        inner = draw.choice((256, 512, 1024, 2048, 4096))
        head = [nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(out[1] * side * side, inner),
                nn.ReLU(inplace=True), nn.Linear(inner, CLASSES)]  # fmt: skip
    elif len(out) == 4:
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(out[1], CLASSES)]
    else:
        head = [nn.Linear(math.prod(out[1:]), CLASSES)]
    return nn.Sequential(*layers, *head), (3, input_px, input_px)


def _shape_after(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    empty = copy.deepcopy(model).to("meta").eval()
    return tuple(empty(torch.empty(shape, device="meta")).shape)
