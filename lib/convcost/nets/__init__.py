"""The registry of networks: a name to a constructor, an input shape and a source.

Own nets are those the sources describe (`own`), those that courses and books teach under the
same names (`textbook`), plain and separable nets of one depth (`separable`), and residual nets of
one plan (`residual`); every net of torchvision that can be counted from shapes is there by its
torchvision name: classification, segmentation, video, optical flow, and those made for quantisation
(as they are before it). Detection nets are not: how many boxes they work on depends on the picture.
`build` makes one without loading weights; on the meta device it allocates nothing. `load` takes a
net from a file of the user's. torchvision takes seconds to import, so that is left to the functions
that need it: own nets and files do without.
"""

import difflib
import importlib.util
import inspect
import sys
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from convcost.core.errors import BadInputError
from convcost.nets import own, residual, separable, textbook
from convcost.nets.own import (  # noqa: F401 - the registry's own nets and their layers
    LENET5_C3,
    Net,
    RadialBasis,
    ScaledTanh,
    SparseConv,
    Subsampling,
    depthwise_separable,
    ke_cnn,
    lenet5_1998,
    lenet_atsumi,
    regular_conv,
)

CHENG_NETS = ("alexnet", "vgg16", "googlenet", "resnet18", "densenet121")  # cheng2025, Table 1
OWN: dict[str, Net] = own.NETS | textbook.NETS | separable.NETS | residual.NETS


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
    except (Exception, SystemExit) as error:  # exit() in a user's file ends nothing of ours
        raise BadInputError(f"{place}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    if not isinstance(model, nn.Module):
        raise BadInputError(f"{place} gave a {type(model).__name__}, not a torch.nn.Module")
    return model
