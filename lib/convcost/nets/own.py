"""The nets that the sources describe: LeNets, the Deci example, ke's family."""

import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from convcost.counting import ops


@dataclass(frozen=True)
class Net:
    """One entry: how to build it, the input it expects, its source.

    `input_shape` is (channels, height, width), for video (channels, frames, height, width); a tuple
    of two such shapes for a net that takes two images.
    """

    name: str
    constructor: Callable[..., nn.Module]
    input_shape: tuple
    source: str


class ScaledTanh(nn.Module):
    """LeNet-5's squashing function, 1.7159 tanh(2x/3)."""

    def forward(self, x):
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """LeNet-5's pooling: the sum of 2 x 2 neighbours times a coefficient plus a bias per map.

    (N, C, H, W) to (N, C, H/2, W/2); 2C trainable parameters.
    """

    def __init__(self, maps: int):
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((maps, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(maps, 1, 1))

    def forward(self, x):
        summed = nn.functional.avg_pool2d(x, 2, divisor_override=1)
        return summed * self.coefficient + self.bias


# Which of the six maps of S2 each of the sixteen maps of C3 reads: 60 connections of 5 x 5.
LENET5_C3 = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class SparseConv(nn.Module):
    """A convolution whose output maps read only some input maps, by a connection table.

    (N, C, H, W) to (N, len(table), H-4, W-4) for 5 x 5 kernels.
    """

    def __init__(self, table, kernel: int):
        super().__init__()
        self.table = [list(row) for row in table]
        self.maps = nn.ModuleList(nn.Conv2d(len(row), 1, kernel) for row in table)

    def forward(self, x):
        pairs = zip(self.table, self.maps, strict=True)
        return torch.cat([conv(x[:, row]) for row, conv in pairs], 1)


class RadialBasis(nn.Module):
    """LeNet-5's output: squared distance to a fixed code of +1 and -1 per class; not trained.

    The codes are drawn at random with equal probabilities, which the paper names as a valid
    choice; the seed is fixed. (N, 84) to (N, 10).
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        draw = random.Random(1998)
        codes = [[draw.choice((-1.0, 1.0)) for _ in range(features)] for _ in range(classes)]
        self.register_buffer("codes", torch.tensor(codes))

    def forward(self, x):
        return ((x.unsqueeze(1) - self.codes) ** 2).sum(2)


def lenet5_1998(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """LeNet-5 as of 1998 on 32 x 32: sparse C3, trainable subsampling, radial-basis output.

    60,000 trainable parameters: 156 + 12 + 1,516 + 32 + 48,120 + 10,164.
    Source: LeCun, Bottou, Bengio, Haffner 1998 (atsumi2020's reference 3), section II.B, Table I.
    """
    return nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(in_channels, 6, 5),
            s2=Subsampling(6),
            t2=ScaledTanh(),
            c3=SparseConv(LENET5_C3, 5),
            s4=Subsampling(16),
            t4=ScaledTanh(),
            c5=nn.Conv2d(16, 120, 5),
            t5=ScaledTanh(),
            flatten=nn.Flatten(),
            f6=nn.Linear(120, 84),
            t6=ScaledTanh(),
            output=RadialBasis(84, num_classes),
        )
    )


def lenet_atsumi(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """The LeNet of atsumi2020, fig. 1 and section II.A, on 28 x 28: convolutions of 6 and 16
    filters of 5 x 5 without padding, 2 x 2 max pooling, fully connected 120, 84, 10, ReLU after
    every layer but pooling and the last. Maps of 24, 12, 8, 4 pixels; 256 inputs to fc120.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, 6, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc120=nn.Linear(16 * 4 * 4, 120),
            relu3=nn.ReLU(),
            fc84=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc10=nn.Linear(84, num_classes),
        )
    )


def depthwise_separable(in_channels: int = 64, out_channels: int = 128) -> nn.Module:
    """The Deci post's example: a 3 x 3 depthwise convolution, then a 1 x 1 convolution.

    On 64 x 112 x 112: 3*3*64*112*112 and 64*112*112*128 multiply-accumulates (no bias).
    """
    depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
    pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise))


def regular_conv(in_channels: int = 64, out_channels: int = 128) -> nn.Module:
    """What the Deci post compares `depthwise_separable` with: one regular 3 x 3 convolution."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv))


def ke_cnn(
    f: int = 64,
    s: int = 64,
    k: int = 5,
    l: int = 3,  # noqa: E741 - the paper's letter
    *,
    in_channels: int = 3,
    num_classes: int = 2,
    padding: str | int = "same",
    pool: int | None = 2,
    pool_stride: int = 2,
) -> nn.Module:
    """The family T = (f, s, k, l) of ke: `l` convolutions of `f` filters k x k on s x s inputs.

    Each convolution is followed by ReLU and a `pool` x `pool` max pooling of stride `pool_stride`
    (None: no pooling); then everything is flattened into one linear layer. The baseline is
    T0 = (64, 64, 5, 3). The paper does not print padding and pooling: "same" and 2 are our
    reading, the arguments allow others ("valid", or pixels per side). (N, in_channels, s, s) to
    (N, num_classes). Raises `BadInputError` where a kernel no longer fits.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    side, channels = s, in_channels
    for i in range(1, l + 1):
        layers[f"conv{i}"] = nn.Conv2d(channels, f, k, padding=padding)
        if padding != "same":
            border = 0 if padding == "valid" else padding
            (side,) = ops.conv_output((side,), (k,), (1,), (border,), (1,))
        layers[f"relu{i}"] = nn.ReLU()
        if pool is not None:
            layers[f"pool{i}"] = nn.MaxPool2d(pool, pool_stride)
            (side,) = ops.pool_output((side,), (pool,), (pool_stride,), (0,), (1,))
        channels = f
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels * side * side, num_classes)
    return nn.Sequential(layers)


NETS = {
    net.name: net
    for net in (
        Net("lenet_atsumi", lenet_atsumi, (1, 28, 28), "atsumi2020, fig. 1"),
        Net("lenet5_1998", lenet5_1998, (1, 32, 32), "LeCun et al. 1998, section II.B"),
        Net("depthwise_separable", depthwise_separable, (64, 112, 112), "geifman, the example"),
        Net("regular_conv", regular_conv, (64, 112, 112), "geifman, the comparison"),
        Net("ke_cnn", ke_cnn, (3, 64, 64), "ke, section 2.3, T0 = (64, 64, 5, 3)"),
    )
}
