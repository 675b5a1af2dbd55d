"""The registry of networks: a name to a constructor, an input shape and a source.

Own nets are those the sources describe; every net of torchvision that can be counted from shapes is
there by its torchvision name: classification, segmentation, video, optical flow, and those made for
quantisation (as they are before it). Detection nets are not: how many boxes they work on depends
on the picture. `build` makes one without loading weights; on the meta device it allocates
nothing. `load` takes a net from a file of the user's. torchvision takes seconds to import, so that
is left to the functions that need it: own nets and files do without.
"""

import difflib
import importlib.util
import inspect
import random
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from convcost import ops
from convcost.errors import BadInputError

CHENG_NETS = ("alexnet", "vgg16", "googlenet", "resnet18", "densenet121")  # cheng2025, Table 1


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


# ---------------------------------------------------------------- nets of the sources


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


OWN = {
    net.name: net
    for net in (
        Net("lenet_atsumi", lenet_atsumi, (1, 28, 28), "atsumi2020, fig. 1"),
        Net("lenet5_1998", lenet5_1998, (1, 32, 32), "LeCun et al. 1998, section II.B"),
        Net("depthwise_separable", depthwise_separable, (64, 112, 112), "geifman, the example"),
        Net("regular_conv", regular_conv, (64, 112, 112), "geifman, the comparison"),
        Net("ke_cnn", ke_cnn, (3, 64, 64), "ke, section 2.3, T0 = (64, 64, 5, 3)"),
    )
}


# ---------------------------------------------------------------- the registry


FAMILIES = ("classification", "segmentation", "video", "optical_flow", "quantization")


@cache
def names(family: str | None = None) -> tuple[str, ...]:
    """Every name `build` takes: the sources' nets, then torchvision's, family by family.

    `family`: torchvision's of one of `FAMILIES` only. Raises `BadInputError` for another.
    """
    import torchvision.models as models

    if family is None:
        return (*OWN, *(name for family in FAMILIES for name in names(family)))
    if family not in FAMILIES:
        raise BadInputError(f"no family is called {family!r}; there are: {', '.join(FAMILIES)}")
    module = models if family == "classification" else getattr(models, family)
    return tuple(models.list_models(module=module))


@cache
def get(name: str) -> Net:
    """The entry of a net; capital letters do not matter.

    The input is that at which torchvision states the net's operations: for classification the crop
    size of its newest weights ((3, 224, 224) for those of cheng2025's Table 1), for video 16 frames
    of it, for segmentation (3, 520, 520), for optical flow two images (3, 512, 512).

    Raises `BadInputError` for an unknown name, with those most like it and all there are, and for
    a detection net, with the reason.

    >>> get("lenet_atsumi").input_shape
    (1, 28, 28)
    """
    name = name.lower()
    if name in OWN:
        return OWN[name]
    import torchvision

    models = torchvision.models
    if name in models.list_models(module=models.detection):
        raise BadInputError(
            f"{name} cannot be counted from shapes: a detection net works on as many boxes as it "
            "finds in a picture. Count a part of it that does not: file.py:function, where the "
            f"function returns torchvision.models.get_model({name!r}, weights=None, "
            "weights_backbone=None).backbone"
        )
    family = next((family for family in FAMILIES if name in names(family)), None)
    if family is None:
        close = difflib.get_close_matches(name, names(), n=3)
        meant = f"; did you mean {' or '.join(close)}?" if close else "."
        known = "".join(f"\n  {family}: {', '.join(names(family))}" for family in FAMILIES)
        raise BadInputError(
            f"no net is called {name!r}{meant} Known:\n  of the sources: {', '.join(OWN)}{known}"
        )
    source = f"torchvision {torchvision.__version__.split('+')[0]}"
    if name in CHENG_NETS:
        source = f"cheng2025, Table 1; {source}"
    weights = models.get_model_weights(name).DEFAULT
    return Net(name, models.get_model_builder(name), _input_shape(name, family, weights), source)


def _input_shape(name: str, family: str, weights) -> tuple:
    if family == "optical_flow":  # its weights take any size
        return ((3, 512, 512),) * 2
    if family == "segmentation":
        side = weights.transforms.keywords["resize_size"]
        return (3, side, side)
    if family == "video":
        return (3, 16, *weights.transforms.keywords["crop_size"])
    # a vision transformer takes one size only, its constructor's image_size (224 by default)
    side = 224 if name.startswith("vit") else crop(weights)
    return (3, side, side)


def crop(weights) -> int:
    """The side of the image a torchvision weights entry was measured with."""
    return weights.transforms.keywords["crop_size"]


def build(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    aux: bool = False,
    device: str | None = None,
    **options,
) -> nn.Module:
    """A new net, without trained weights.

    num_classes, in_channels: None keeps the net's own; torchvision's nets get a new first
        convolution for other channels.
    aux: build the auxiliary heads of googlenet and inception_v3 (they run in training mode only)
        or of a segmentation net (it runs in both modes; lraspp_… has none).
    device: "meta" builds shapes only, without memory or initialisation, enough for counting.
    options: further arguments of the constructor (`ke_cnn` takes f, s, k, l, padding, pool).

    Raises `BadInputError` for an unknown name or an option the constructor does not take.

    >>> sum(p.numel() for p in build("lenet5_1998", device="meta").parameters())
    60000
    """
    net = get(name)
    name = net.name
    wanted = dict(options)
    if num_classes is not None:
        wanted["num_classes"] = num_classes
    own = inspect.signature(net.constructor).parameters
    heads = _aux_option(name)
    if aux and not heads:
        raise BadInputError(
            f"{name} has no auxiliary heads; googlenet, inception_v3, fcn_… and deeplabv3_… have"
        )
    if name not in OWN:
        wanted["weights"] = None
        if heads:
            wanted[heads] = aux
        if "weights_backbone" in own:
            wanted["weights_backbone"] = None
        if name.endswith(("googlenet", "inception_v3")):
            # torchvision's own truncated-normal loop takes seconds and a meta net has no values
            wanted.setdefault("init_weights", device != "meta")
    elif in_channels is not None:
        wanted["in_channels"] = in_channels
    if name in OWN and wanted.keys() - own.keys():
        unknown = ", ".join(sorted(wanted.keys() - own.keys()))
        raise BadInputError(f"{name} does not take {unknown}; it takes: {', '.join(own)}")
    with _EmptyOnMeta() if device == "meta" else torch.device(device or "cpu"):
        try:
            model = net.constructor(**wanted)
        except TypeError as error:
            raise BadInputError(f"{name} cannot be built with {options}: {error}") from error
        if in_channels is not None and name not in OWN:
            if name in (*names("video"), *names("optical_flow")):
                raise BadInputError(f"{name} cannot be built for other than 3 channels")
            _replace_first_conv(model, in_channels)
    return model.to(device) if device else model


def _aux_option(name: str) -> str:
    """What the constructor calls the wish for auxiliary heads, "" where the net has none."""
    if name.endswith(("googlenet", "inception_v3")):
        return "aux_logits"
    return "aux_loss" if name.startswith(("fcn_", "deeplabv3_")) else ""


class _EmptyOnMeta(TorchFunctionMode):
    """Layers make their parameters with torch.empty: those go to the meta device, unfilled.

    `torch.device("meta")` would also take the small tensors whose values a constructor reads
    (RegNet's block widths).
    """

    def __torch_function__(self, func, kinds, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def _replace_first_conv(model: nn.Module, in_channels: int) -> None:
    for path, conv in model.named_modules():
        if isinstance(conv, nn.Conv2d):
            parent, _, last = path.rpartition(".")
            fresh = nn.Conv2d(
                in_channels,
                conv.out_channels,
                conv.kernel_size,
                conv.stride,
                conv.padding,
                conv.dilation,
                bias=conv.bias is not None,
            )
            setattr(model.get_submodule(parent), last, fresh)
            return


def load(place: str) -> nn.Module:
    """A net from the user's file: "path/to/file.py:function" calls `function()`.

    The function (or module class) is called without arguments and must return a torch.nn.Module;
    a Module object under that name is taken as it is. The file can import its neighbours.
    Raises `BadInputError`, with the original error as its cause, where the file is missing or
    fails, the name is missing (the file's callables are listed), or no Module comes back.
    """
    file, _, name = place.rpartition(":")
    if not file.endswith(".py") or not name:
        raise BadInputError(f"{place!r}: 'file.py:function' is expected")
    path = Path(file).resolve()
    if not path.is_file():
        raise BadInputError(f"{place!r}: there is no file {file}")
    spec = importlib.util.spec_from_file_location(f"convcost_loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
        found = getattr(module, name, None)
        if found is None:
            callables = [
                k for k, v in vars(module).items() if callable(v) and not k.startswith("_")
            ]
            raise BadInputError(f"{file} has no {name!r}; it has: {', '.join(callables)}")
        model = found if isinstance(found, nn.Module) else found()
    except BadInputError:
        raise
    except Exception as error:
        raise BadInputError(f"{place}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    if not isinstance(model, nn.Module):
        raise BadInputError(f"{place} gave a {type(model).__name__}, not a torch.nn.Module")
    return model
