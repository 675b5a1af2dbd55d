"""Convolutions as products of smaller ones: low-rank factors of trained filters.

"svd": a k x k convolution of c to d channels becomes one of c to r and a 1 x 1 one of r to d.
"tucker": a 1 x 1 one of c to r1, a k x k one of r1 to r2, a 1 x 1 one of r2 to d.
"""

import copy
import math
from collections.abc import Iterable

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from convcost.core.errors import BadInputError
from convcost.counting.probe import evaluating

METHODS = ("svd", "tucker")
LEAST = 8  # channels of a layer that is factorised unasked: fewer have no rank to lose


def factorised(
    model: nn.Module, method: str, share: float, layers: Iterable[str] | None = None
) -> nn.Module:
    """A copy whose convolutions are products of smaller ones that come as near as can be.

    What comes out: each chosen Conv2d is a Sequential of two ("svd") or three ("tucker")
    convolutions, without anything in between; stride, padding, dilation, bias, type, device, order
    in memory and requires_grad are kept.

    share: how much of a layer's weights may stay at most, above 0; with it go the multiply-adds,
    but for "tucker" with a stride, whose first factor runs at every position of the input. The rank
    is the largest that does, at least 1; for "tucker" both ranks are the same share of their
    channels, the second as large as is left. layers: paths; None: every Conv2d with a kernel above
    1 x 1, at least 8 channels on either side and no groups that gets fewer weights by it. Factors
    are computed in float64.

    Refused with `BadInputError`: an unknown method, a share that is not above 0, a path that is no
    plain Conv2d without groups, weights that are not finite.

    Source: "svd" Zhang et al. 2016, "Accelerating Very Deep Convolutional Networks", section 3.1,
    without its treatment of ReLU; "tucker" Kim et al. 2016, "Compression of Deep Convolutional
    Neural Networks", section 3.1 (HOSVD).

    >>> net = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
    >>> [tuple(conv.weight.shape) for conv in factorised(net, "svd", 0.5)[0]]  # r (72 + 8) <= 288
    [(3, 8, 3, 3), (8, 3, 1, 1)]
    """
    if method not in METHODS:
        raise BadInputError(f"no method {method!r}; choose one of: {', '.join(METHODS)}")
    if not share > 0:
        raise BadInputError(f"share is {share}: a share of the multiply-adds above 0 is expected")
    smaller = copy.deepcopy(model)
    chosen = list(layers) if layers is not None else None
    for path in chosen if chosen is not None else [p for p, m in _candidates(smaller)]:
        layer = _layer(smaller, path)
        ranks = _ranks(layer, method, share)
        if chosen is None and _cost(layer, ranks) >= layer.weight.numel():
            continue
        factors = (_svd if method == "svd" else _tucker)(layer, *ranks)
        for factor in factors:
            factor.train(layer.training)
        if not path:  # the net is that layer
            return factors
        parent, _, name = path.rpartition(".")
        setattr(smaller.get_submodule(parent), name, factors)
    return smaller


def _candidates(model: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [
        (path, m)
        for path, m in model.named_modules()
        if type(m) is nn.Conv2d
        and m.groups == 1
        and m.kernel_size != (1, 1)
        and min(m.in_channels, m.out_channels) >= LEAST
    ]


def _layer(model: nn.Module, path: str) -> nn.Conv2d:
    try:
        layer = model.get_submodule(path)
    except AttributeError:
        layer = None
    if type(layer) is not nn.Conv2d or layer.groups != 1:
        raise BadInputError(
            f"{path!r} is no plain Conv2d without groups; there are: "
            f"{', '.join(p for p, _ in _candidates(model)) or 'none'}"
        )
    if not layer.weight.isfinite().all():
        raise BadInputError(f"weights of {path!r} are NaN or infinite: they have no factors")
    return layer


def _ranks(layer: nn.Conv2d, method: str, share: float) -> tuple[int, ...]:
    d, c, *kernel = layer.weight.shape
    area = kernel[0] * kernel[1]
    most = share * layer.weight.numel()
    if method == "svd":
        return (max(1, int(min(most / (c * area + d), c * area, d))),)
    low, high = 0.0, 1.0
    for _ in range(40):  # the share of channels that costs just that much
        middle = (low + high) / 2
        if c * c * middle + middle * middle * c * d * area + d * d * middle <= most:
            low = middle
        else:
            high = middle
    first = max(1, round(c * low))
    return first, max(1, int(min((most - c * first) / (first * area + d), d)))


def _cost(layer: nn.Conv2d, ranks: tuple[int, ...]) -> int:
    """Weights of the factors."""
    d, c, *kernel = layer.weight.shape
    area = kernel[0] * kernel[1]
    if len(ranks) == 1:
        return ranks[0] * (c * area + d)
    return c * ranks[0] + ranks[0] * ranks[1] * area + ranks[1] * d


def _conv(layer: nn.Conv2d, weight: Tensor, *, spatial: bool, bias: bool) -> nn.Conv2d:
    """A convolution with these weights: the layer's own stride and padding where it is spatial."""
    more = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation,
            "padding_mode": layer.padding_mode} if spatial else {}  # fmt: skip
    like = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    sizes = weight.shape[1], weight.shape[0], weight.shape[2:]
    conv = skip_init(nn.Conv2d, *sizes, bias=bias, **more, **like)  # draws no random numbers
    if not layer.weight.is_contiguous():
        conv.to(memory_format=torch.channels_last)
    with torch.no_grad():
        conv.weight.copy_(weight).requires_grad_(layer.weight.requires_grad)
        if bias:
            conv.bias.copy_(layer.bias).requires_grad_(layer.bias.requires_grad)
    return conv


def _svd(layer: nn.Conv2d, rank: int) -> nn.Sequential:
    weight = layer.weight.detach().double().cpu()
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    root = values[:rank].sqrt()  # shared, so that both factors train at one rate
    first = (root[:, None] * right[:rank]).unflatten(1, weight.shape[1:])
    last = (left[:, :rank] * root)[:, :, None, None]
    return nn.Sequential(
        _conv(layer, first, spatial=True, bias=False),
        _conv(layer, last, spatial=False, bias=layer.bias is not None),
    )


def _tucker(layer: nn.Conv2d, first_rank: int, second_rank: int) -> nn.Sequential:
    weight = layer.weight.detach().double().cpu()
    outputs = torch.linalg.svd(weight.flatten(1), full_matrices=False)[0][:, :second_rank]
    inputs = torch.linalg.svd(weight.transpose(0, 1).flatten(1), full_matrices=False)[0]
    inputs = inputs[:, :first_rank]
    core = torch.einsum("dchw,dr,cs->rshw", weight, outputs, inputs)
    return nn.Sequential(
        _conv(layer, inputs.T[:, :, None, None], spatial=False, bias=False),
        _conv(layer, core, spatial=True, bias=False),
        _conv(layer, outputs[:, :, None, None], spatial=False, bias=layer.bias is not None),
    )


# ---------------------------------------------------------------- how near it comes


def reconstruction(model: nn.Module, smaller: nn.Module, images: Tensor) -> pd.DataFrame:
    """How far the factors of each layer are from its filters, and their outputs from its outputs.

    One row a factorised layer, in the order of the net: `layer`; `weight_error`, the Frobenius norm
    of the difference of the filters over that of the filters; the same of its outputs on `images`
    (N, C, H, W): `output_error_before`, both given the inputs of the original net;
    `output_error_normalised`, these outputs behind the original net's normalisation that follows
    the layer, where one does, and `output_error_after_relu` behind the ReLU after it, too (both NaN
    where no ReLU follows at once): what ReLU adds is the latter against the former, since
    normalisation takes a channel's mean away and so makes every error a larger share;
    `network_error`, where `smaller` runs as a whole, so that errors of all layers before add up.
    All of them are shares.

    Both models run in evaluation mode and are left as found. Refused with `BadInputError`: nets of
    which the second has no factorised layer of the first.

    >>> conv = nn.Conv2d(1, 2, 1, bias=False)
    >>> conv.weight.data = torch.tensor([4.0, -3.0]).view(2, 1, 1, 1)  # of rank 1: nothing is lost
    >>> net = nn.Sequential(conv, nn.ReLU())
    >>> smaller = factorised(net, "svd", 1, ["0"])
    >>> table = reconstruction(net, smaller, torch.ones(1, 1, 1, 1))
    >>> table.round(6)[["layer", "weight_error", "output_error_after_relu"]].values.tolist()
    [['0', 0.0, 0.0]]
    """
    theirs = dict(smaller.named_modules())
    pairs = {
        path: (layer, theirs[path])
        for path, layer in model.named_modules()
        if type(layer) is nn.Conv2d and _are_factors(theirs.get(path), layer)
    }
    if not pairs:
        raise BadInputError("none of the layers is factorised: give factorised(model, …) second")
    rows = []
    with evaluating(model), evaluating(smaller), torch.no_grad():
        given, expected = _seen(model, {path: layer for path, (layer, _) in pairs.items()}, images)
        _, in_all = _seen(smaller, {path: both[1] for path, both in pairs.items()}, images)
        for path, (layer, factors) in pairs.items():
            wanted, got = expected[path], factors(given[path])
            normalise = _behind(model, path)
            behind = [normalise(wanted), normalise(got)] if normalise else None
            rows.append(
                {
                    "layer": path,
                    "weight_error": _error(layer.weight, _product(factors)),
                    "output_error_before": _error(wanted, got),
                    "output_error_normalised": _error(*behind) if behind else math.nan,
                    "output_error_after_relu": _error(*map(F.relu, behind)) if behind else math.nan,
                    "network_error": _error(wanted, in_all[path]),
                }
            )
    return pd.DataFrame(rows)


def _are_factors(module: nn.Module | None, layer: nn.Conv2d) -> bool:
    return (
        isinstance(module, nn.Sequential)
        and len(module) in (2, 3)
        and all(type(part) is nn.Conv2d for part in module)
        and (module[0].in_channels, module[-1].out_channels)
        == (layer.in_channels, layer.out_channels)
    )


def _error(wanted: Tensor, got: Tensor) -> float:
    return float((got - wanted).double().norm() / wanted.double().norm())


def _product(factors: nn.Sequential) -> Tensor:
    """The filters that a product of convolutions stands for."""
    weights = [conv.weight.detach() for conv in factors]
    if len(weights) == 2:
        return torch.einsum("rchw,dr->dchw", weights[0], weights[1][:, :, 0, 0])
    first, core, last = weights
    return torch.einsum("rshw,sc,dr->dchw", core, first[:, :, 0, 0], last[:, :, 0, 0])


def _seen(
    model: nn.Module, layers: dict[str, nn.Module], images: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(inputs, outputs) of these layers in one pass."""
    inputs, outputs, handles = {}, {}, []
    for path, layer in layers.items():

        def keep(module, args, output, path=path):
            # what comes later may work in place
            inputs[path], outputs[path] = args[0].clone(), output.clone()

        handles.append(layer.register_forward_hook(keep))
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return inputs, outputs


def _behind(model: nn.Module, path: str):
    """What stands between a layer of a Sequential and the ReLU behind it: its normalisation, or
    nothing. None where no ReLU follows."""
    parent, _, name = path.rpartition(".")
    holder = model.get_submodule(parent)
    if not isinstance(holder, nn.Sequential):
        return None
    names = list(holder._modules)
    following = [holder._modules[n] for n in names[names.index(name) + 1 :]][:2]
    kinds = [type(module) for module in following]
    if kinds[:1] == [nn.ReLU]:
        return nn.Identity()
    return following[0] if kinds == [nn.BatchNorm2d, nn.ReLU] else None
