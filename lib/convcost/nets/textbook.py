"""The small variants that teaching material trains on FashionMNIST under five famous names.

Written anew from two descriptions: *Dive into Deep Learning* (the book; chapter "Modern
convolutional neural networks", its PyTorch edition) and a script that many course repositories
share (the course). `data/cited/protocols.csv` names files and settings. Where the two differ, the
book is followed and a comment says what the course does. All take one channel and ten classes
unless told otherwise; no net has auxiliary heads, and GoogLeNet no batch normalisation.

AlexNet and VGG end in linear layers that fit one map size only. An adaptive pooling stands before
them: at the 224 px of the sources it changes nothing, at other sizes it keeps the weights.
"""

from collections import OrderedDict

import torch
from torch import nn

from convcost.nets.own import Net


def _head(maps: int, side: int, num_classes: int) -> OrderedDict[str, nn.Module]:
    """Two hidden layers of 4096 with dropout; `side` is that of the map at 224 px."""
    return OrderedDict(
        fit=nn.AdaptiveAvgPool2d(side),
        flatten=nn.Flatten(),
        fc1=nn.Linear(maps * side * side, 4096),
        relu_fc1=nn.ReLU(),
        drop1=nn.Dropout(0.5),
        fc2=nn.Linear(4096, 4096),
        relu_fc2=nn.ReLU(),
        drop2=nn.Dropout(0.5),
        fc3=nn.Linear(4096, num_classes),
    )


def alexnet(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """The book's AlexNet: 96, 256, 384, 384, 256 filters in one stream, 5 x 5 maps at 224 px.

    The course takes 227 px without padding, which ends in 6 x 6 maps.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    convs = (
        (96, 11, 4, 1, True),
        (256, 5, 1, 2, True),
        (384, 3, 1, 1, False),
        (384, 3, 1, 1, False),
        (256, 3, 1, 1, True),
    )
    for i, (filters, kernel, stride, padding, pooled) in enumerate(convs, start=1):
        layers[f"conv{i}"] = nn.Conv2d(channels, filters, kernel, stride, padding)
        layers[f"relu{i}"] = nn.ReLU()
        if pooled:
            layers[f"pool{i}"] = nn.MaxPool2d(3, 2)
        channels = filters
    return nn.Sequential(layers | _head(256, 5, num_classes))


def _vgg(convs: tuple[int, ...], num_classes: int, in_channels: int, ratio: int) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    for block, (depth, width) in enumerate(zip(convs, (64, 128, 256, 512, 512), strict=True), 1):
        for i in range(1, depth + 1):
            layers[f"conv{block}_{i}"] = nn.Conv2d(channels, width // ratio, 3, padding=1)
            layers[f"relu{block}_{i}"] = nn.ReLU()
            channels = width // ratio
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return nn.Sequential(layers | _head(channels, 7, num_classes))


def vgg11(num_classes: int = 10, in_channels: int = 1, ratio: int = 1) -> nn.Module:
    """The book's VGG-11: 1, 1, 2, 2, 2 convolutions; every width is divided by `ratio`."""
    return _vgg((1, 1, 2, 2, 2), num_classes, in_channels, ratio)


def vgg11_quarter(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """`vgg11` with a quarter of the filters: the one that the book trains."""
    return vgg11(num_classes, in_channels, ratio=4)


def vgg16(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """The course's VGG16: 2, 2, 3, 3, 3 convolutions.

    Some copies of the course have hidden layers of 256 and 128 in place of twice 4096.
    """
    return _vgg((2, 2, 3, 3, 3), num_classes, in_channels, 1)


class Inception(nn.Module):
    """Four branches side by side, ReLU after every convolution, joined along the channels.

    (N, channels, H, W) to (N, one + three[1] + five[1] + pooled, H, W). `three` and `five` are the
    filters of the 1 x 1 convolution and of the 3 x 3 or 5 x 5 one after it.
    """

    def __init__(self, channels, one, three, five, pooled):
        super().__init__()

        def conv(inputs, outputs, kernel):
            return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.ReLU()

        self.branches = nn.ModuleList(
            (
                nn.Sequential(*conv(channels, one, 1)),
                nn.Sequential(*conv(channels, three[0], 1), *conv(*three, 3)),
                nn.Sequential(*conv(channels, five[0], 1), *conv(*five, 5)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), *conv(channels, pooled, 1)),
            )
        )

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


# Filters of each block's branches (Szegedy et al. 2015, Table 1); None is a pooling that halves.
INCEPTIONS = (
    (64, (96, 128), (16, 32), 32),
    (128, (128, 192), (32, 96), 64),
    None,
    (192, (96, 208), (16, 48), 64),
    (160, (112, 224), (24, 64), 64),
    (128, (128, 256), (24, 64), 64),
    (112, (144, 288), (32, 64), 64),
    (256, (160, 320), (32, 128), 128),
    None,
    (256, (160, 320), (32, 128), 128),
    (384, (192, 384), (48, 128), 128),
)


def googlenet(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """GoogLeNet with biases and without batch normalisation: nine blocks of four branches.

    Some copies of the course normalise responses locally after the first two stages.
    """
    layers = [
        nn.Conv2d(in_channels, 64, 7, 2, 3),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(64, 64, 1),
        nn.ReLU(),
        nn.Conv2d(64, 192, 3, padding=1),
        nn.ReLU(),  # some editions of the book forget this one
        nn.MaxPool2d(3, 2, 1),
    ]
    channels = 192
    for block in INCEPTIONS:
        if block is None:
            layers.append(nn.MaxPool2d(3, 2, 1))
            continue
        one, three, five, pooled = block
        layers.append(Inception(channels, *block))
        channels = one + three[1] + five[1] + pooled
    # some editions of the book pool the maximum here
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
    return nn.Sequential(*layers)


class Residual(nn.Module):
    """Two 3 x 3 convolutions with bias and batch normalisation, added to their input.

    (N, channels, H, W) to (N, filters, H/stride, W/stride). Where the shapes differ, the input
    goes through a 1 x 1 convolution, which has no batch normalisation behind it.
    """

    def __init__(self, channels: int, filters: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(filters)
        self.relu = nn.ReLU()
        same = stride == 1 and channels == filters
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, filters, 1, stride)

    def forward(self, x):
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


def _stem(in_channels: int) -> list[nn.Module]:
    # the course swaps batch normalisation and ReLU here, which changes no count
    conv = nn.Conv2d(in_channels, 64, 7, 2, 3)
    return [conv, nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]


def resnet18(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """ResNet-18 as book and course write it: biases, shortcuts without batch normalisation."""
    layers, channels = _stem(in_channels), 64
    for filters, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Residual(channels, filters, stride), Residual(filters, filters, 1)]
        channels = filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
    return nn.Sequential(*layers)


def _normed_conv(channels: int, filters: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, filters, kernel, padding=kernel // 2)
    return [nn.BatchNorm2d(channels), nn.ReLU(), conv]


class Growth(nn.Module):
    """One layer of a dense block: its output is joined to its input along the channels."""

    def __init__(self, channels: int, growth: int):
        super().__init__()
        self.layer = nn.Sequential(*_normed_conv(channels, growth, 3))

    def forward(self, x):
        return torch.cat((x, self.layer(x)), 1)


def densenet(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """The book's DenseNet: four blocks of four layers, growth 32, no bottlenecks.

    Between blocks a 1 x 1 convolution halves the channels and an average pooling the sides.
    """
    layers, channels, growth = _stem(in_channels), 64, 32
    for block in range(4):
        if block:
            layers += [*_normed_conv(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(4):
            layers.append(Growth(channels, growth))
            channels += growth
    layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    # some editions of the book pool the maximum here
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
    return nn.Sequential(*layers)


_BOOK = "Dive into Deep Learning, Modern convolutional neural networks"
_COURSE = "a course script on FashionMNIST (data/cited/protocols.csv)"
NETS = {
    net.name: net
    for net in (
        Net("alexnet_textbook", alexnet, (1, 224, 224), f"{_BOOK}: AlexNet"),
        Net("vgg11_textbook", vgg11, (1, 224, 224), f"{_BOOK}: VGG"),
        Net("vgg11_quarter_textbook", vgg11_quarter, (1, 224, 224), f"{_BOOK}: VGG, as trained"),
        Net("vgg16_textbook", vgg16, (1, 224, 224), _COURSE),
        Net("googlenet_textbook", googlenet, (1, 96, 96), f"{_BOOK}: GoogLeNet; {_COURSE}"),
        Net("resnet18_textbook", resnet18, (1, 96, 96), f"{_BOOK}: ResNet; {_COURSE}"),
        Net("densenet_textbook", densenet, (1, 96, 96), f"{_BOOK}: DenseNet"),
    )
}
