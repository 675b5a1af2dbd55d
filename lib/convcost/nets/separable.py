"""Plain and separable nets of one depth, small enough for FashionMNIST on a processor.

Eight stages each: three at 14 x 14, three at 7 x 7, two at 4 x 4, and twice as many channels from
one size to the next. In the plain nets a stage is a 3 x 3 convolution; in the separable ones every
stage but the first is MobileNet's block: a 3 x 3 depthwise convolution, then a 1 x 1 convolution
(Howard et al. 2017, section 3.1, figure 3). Batch normalisation and ReLU follow every convolution,
an average over the map and one linear layer end the net.
"""

from collections import OrderedDict
from functools import partial

from torch import nn

from convcost.core.errors import BadInputError
from convcost.nets.own import Net

STRIDES = (2, 1, 1, 2, 1, 1, 2, 1)
"""Of the eight stages: 28 x 28 becomes 14, 7 and 4."""


def _convolved(
    name: str, channels: int, filters: int, kernel: int, stride: int = 1, groups: int = 1
) -> OrderedDict[str, nn.Module]:
    """A convolution without bias, its batch normalisation and ReLU, under names."""
    conv = nn.Conv2d(
        channels, filters, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return OrderedDict(
        {name: conv, f"norm_{name}": nn.BatchNorm2d(filters), f"relu_{name}": nn.ReLU(inplace=True)}
    )


def _net(
    separable: bool, widths: tuple[int, int, int], num_classes: int, in_channels: int
) -> nn.Module:
    if len(widths) != 3 or min(widths) < 1:
        raise BadInputError(
            f"widths is {widths!r}: three numbers of channels from 1 on, one a size"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    of_stage = (widths[0],) * 3 + (widths[1],) * 3 + (widths[2],) * 2
    for stage, (filters, stride) in enumerate(zip(of_stage, STRIDES, strict=True), start=1):
        if stage == 1 or not separable:  # of a single channel there is nothing to separate
            layers |= _convolved(f"conv{stage}", channels, filters, 3, stride)
        else:
            layers |= _convolved(f"depthwise{stage}", channels, channels, 3, stride, channels)
            layers |= _convolved(f"pointwise{stage}", channels, filters, 1)
        channels = filters
    layers |= {"average": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()}
    layers["fc"] = nn.Linear(channels, num_classes)
    return nn.Sequential(layers)


def plain_cnn(
    widths: tuple[int, int, int] = (24, 48, 96), num_classes: int = 10, in_channels: int = 1
) -> nn.Module:
    """Eight 3 x 3 convolutions of `widths` filters at the three sizes of the map.

    (N, in_channels, 28, 28) to (N, num_classes). With one channel and ten classes
    3*3*(1*24 + 2*24*24)*14*14 + 3*3*(24*48 + 2*48*48)*7*7 + 3*3*(48*96 + 96*96)*4*4 + 96*10
    multiply-adds. Raises BadInputError for other than three widths from 1 on.
    """
    return _net(False, widths, num_classes, in_channels)


def separable_cnn(
    widths: tuple[int, int, int] = (24, 48, 96), num_classes: int = 10, in_channels: int = 1
) -> nn.Module:
    """The same with MobileNet's block in every stage but the first.

    (N, in_channels, 28, 28) to (N, num_classes). A block of c to d channels on s x s maps takes
    (3*3*c + c*d)*s*s multiply-adds in place of 3*3*c*d*s*s. Raises BadInputError for other than
    three widths from 1 on. Source: Howard et al. 2017, section 3.1.
    """
    return _net(True, widths, num_classes, in_channels)


_SHAPE = (1, 28, 28)
NETS = {
    net.name: net
    for net in (
        Net("plain_cnn", plain_cnn, _SHAPE, "ours, for geifman's example"),
        Net("separable_cnn", separable_cnn, _SHAPE, "ours; the block of Howard et al. 2017"),
        Net(
            "plain_cnn_narrow",
            partial(plain_cnn, (9, 18, 36)),
            _SHAPE,
            "ours: plain_cnn with the multiply-adds of separable_cnn",
        ),
        Net(
            "separable_cnn_wide",
            partial(separable_cnn, (64, 144, 288)),
            _SHAPE,
            "ours: separable_cnn with the multiply-adds of plain_cnn",
        ),
    )
}
