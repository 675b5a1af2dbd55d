"""Residual nets of one plan, small enough for FashionMNIST on a processor.

A stem that halves the map, three stages of blocks at 14 x 14, 7 x 7 and 4 x 4, an average over the
map and one linear layer. A block is `relu(body(x) + shortcut(x))` (He et al. 2016, section 3); what
its body is made of is the kind of the block. Each is a module with `body` and `shortcut`, so that
it can be found, narrowed and taken out.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import count, repeat

from torch import Tensor, nn

from convcost.core.errors import BadInputError
from convcost.nets.own import Net

KINDS = ("plain", "separable", "shuffle")
GROUPS = 4
"""Of the 1 x 1 convolutions of a shuffle block."""


class Block(nn.Module):
    """`relu(body(x) + shortcut(x))`: (N, channels, s, s) to (N, filters, s / stride, s / stride).

    The shortcut is the input itself where shapes agree, else a 1 x 1 convolution and its
    normalisation.
    """

    def __init__(self, body: nn.Module, channels: int, filters: int, stride: int):
        super().__init__()
        self.body = body
        self.shortcut = (
            nn.Identity()
            if stride == 1 and channels == filters
            else nn.Sequential(
                OrderedDict(_normed("conv", channels, filters, kernel=1, stride=stride))
            )
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.shortcut(x))


class ChannelShuffle(nn.Module):
    """Channels of all groups dealt out in turns (Zhang et al. 2018, ShuffleNet, section 3.1)."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        apart = x.unflatten(1, (self.groups, x.shape[1] // self.groups))
        return apart.transpose(1, 2).flatten(1, 2)


def _normed(
    name: str,
    channels: int,
    filters: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    relu: bool = False,
) -> Iterator[tuple[str, nn.Module]]:
    """A convolution without bias and its batch normalisation, with ReLU if wanted, under names."""
    yield (
        name,
        nn.Conv2d(
            channels, filters, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        ),
    )
    yield f"norm_{name}", nn.BatchNorm2d(filters)
    if relu:
        yield f"relu_{name}", nn.ReLU()


def _plain(channels: int, filters: int, stride: int) -> Iterator[tuple[str, nn.Module]]:
    yield from _normed("conv1", channels, filters, stride=stride, relu=True)
    yield from _normed("conv2", filters, filters)


def _separable(channels: int, filters: int, stride: int) -> Iterator[tuple[str, nn.Module]]:
    for number, (given, step) in enumerate(((channels, stride), (filters, 1)), start=1):
        yield from _normed(f"depthwise{number}", given, given, stride=step, groups=given, relu=True)
        yield from _normed(f"pointwise{number}", given, filters, kernel=1, relu=number == 1)


def _shuffle(channels: int, filters: int, stride: int) -> Iterator[tuple[str, nn.Module]]:
    yield from _normed("grouped1", channels, filters, kernel=1, groups=GROUPS, relu=True)
    yield "shuffle", ChannelShuffle(GROUPS)
    yield from _normed("depthwise", filters, filters, stride=stride, groups=filters)
    yield from _normed("grouped2", filters, filters, kernel=1, groups=GROUPS)


_BODIES = {"plain": _plain, "separable": _separable, "shuffle": _shuffle}


def residual_cnn(
    widths: tuple[int, int, int] = (32, 64, 128),
    blocks: int | tuple[int, int, int] = 3,
    kind: str = "plain",
    num_classes: int = 10,
    in_channels: int = 1,
) -> nn.Module:
    """A residual net of three stages of `widths` filters and `blocks` blocks each.

    (N, in_channels, 28, 28) to (N, num_classes); any larger side works, too. The kinds of blocks:
    "plain" has two 3 x 3 convolutions, "separable" a depthwise and a 1 x 1 one for each of them,
    "shuffle" a 1 x 1 convolution in 4 groups, a shuffle of the channels, a depthwise 3 x 3 and
    another 1 x 1 one in groups. The first block of the second and third stage halves the map.

    With the defaults 3*3*1*32*14*14 + 6*3*3*32*32*14*14 + (3*3*32*64 + 5*3*3*64*64 + 32*64)*7*7
    + (3*3*64*128 + 5*3*3*128*128 + 64*128)*4*4 + 128*10 multiply-adds an image.

    Raises BadInputError for other than three widths, or numbers of blocks, from 1 on, for a kind
    that is not there, and for widths of a shuffle net that 4 groups do not divide.

    Source: He et al. 2016 (the block); Howard et al. 2017 and Zhang et al. 2018 (the other kinds).
    """
    numbers = (blocks,) * 3 if isinstance(blocks, int) else tuple(blocks)
    for name, three in (("widths", tuple(widths)), ("blocks", numbers)):
        if len(three) != 3 or min(three) < 1:
            raise BadInputError(f"{name} is {three!r}: three numbers from 1 on, one a stage")
    if kind not in _BODIES:
        raise BadInputError(f"no block is called {kind!r}; choose one of: {', '.join(KINDS)}")
    if kind == "shuffle" and any(width % GROUPS for width in widths):
        raise BadInputError(f"widths is {tuple(widths)!r}: multiples of {GROUPS}, the groups")
    layers = OrderedDict(
        stem=nn.Sequential(
            OrderedDict(_normed("conv", in_channels, widths[0], stride=2, relu=True))
        )
    )
    channels = widths[0]
    for stage, filters, many, first in zip(count(1), widths, numbers, (1, 2, 2), strict=False):
        inside = OrderedDict()
        for number, stride in enumerate((first, *repeat(1, many - 1)), start=1):
            body = nn.Sequential(OrderedDict(_BODIES[kind](channels, filters, stride)))
            inside[f"block{number}"] = Block(body, channels, filters, stride)
            channels = filters
        layers[f"stage{stage}"] = nn.Sequential(inside)
    layers |= {"average": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["fc"] = nn.Linear(channels, num_classes)
    return nn.Sequential(layers)


NETS = {
    "residual_cnn": Net(
        "residual_cnn", residual_cnn, (1, 28, 28), "ours; the block of He et al. 2016"
    )
}
