"""Few bits, simulated: weights and activations rounded to the levels of fewer bits.

The arithmetic stays in floating point, so that nets can be tried, and trained on, at widths that no
kernel here has; what is fast, `exported.quantised` runs with 8 bits for real. Rounding is torch's
own fake quantisation (`torch.fake_quantize_per_channel_affine`), with gradients passed straight
through (Bengio et al. 2013).
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convcost.core.errors import BadInputError

MOST = 16  # bits
_MOMENTUM = 0.01  # of the ranges of activations while the net is trained on


class _Rounded(nn.Module):
    """Weights at `bits`, symmetric around 0, with a scale for each output channel."""

    def __init__(self, bits: int):
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        # in float32 also where autocast is on: its rounding is not what is studied
        with torch.autocast(weight.device.type, enabled=False):
            rows = weight.float().flatten(1)
            if self.bits == 1:
                scale = rows.detach().abs().mean(1).view(-1, *[1] * (weight.ndim - 1))
                signs = torch.where(weight >= 0, scale, -scale).to(weight.dtype)
                return signs + (weight - weight.detach())  # adds exactly 0, and the gradient
            most = 2 ** (self.bits - 1) - 1
            scale = (rows.detach().abs().amax(1) / most).clamp_min(torch.finfo().tiny)
            zero = torch.zeros_like(scale, dtype=torch.int32)
            return torch.fake_quantize_per_channel_affine(
                weight.float(), scale, zero, 0, -most, most
            ).to(weight.dtype)


class _Input(nn.Module):
    """An input at `bits` over the range that was seen, 0 among its levels."""

    def __init__(self, bits: int, low: float, high: float):
        super().__init__()
        self.bits = bits
        self.register_buffer("low", torch.tensor(min(low, 0.0)))
        self.register_buffer("high", torch.tensor(max(high, 0.0)))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            given, x = x.dtype, x.float()
            if self.training:
                with torch.no_grad():
                    low, high = x.aminmax()
                    self.low.lerp_(low.clamp(max=0), _MOMENTUM)
                    self.high.lerp_(high.clamp(min=0), _MOMENTUM)
            levels = 2**self.bits - 1
            scale = ((self.high - self.low) / levels).clamp_min(torch.finfo().tiny)
            zero = (-self.low / scale).round().clamp(0, levels).to(torch.int32)
            return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, levels).to(given)


def layers(model: nn.Module) -> dict[str, nn.Module]:
    """Path -> layer, of every Conv2d and Linear in order: what has weights to be rounded."""
    kinds = (nn.Conv2d, nn.Linear)
    return {path: m for path, m in model.named_modules() if isinstance(m, kinds)}


def _plain_layers(model: nn.Module) -> dict[str, nn.Module]:
    """`layers`, after a look whether rounding their weights would have an effect."""
    found = layers(model)
    if not found:
        raise BadInputError("the net has no Conv2d and no Linear whose weights could be rounded")
    for path, layer in found.items():
        if "weight" not in layer._parameters:  # it is computed: what is written to it is lost
            raise BadInputError(
                f"weights of {path!r} are masked, rounded or parametrized already: make them plain "
                "first (pruned.made_permanent, bits.made_plain)"
            )
        if not layer.weight.isfinite().all():
            raise BadInputError(f"weights of {path!r} are NaN or infinite: they cannot be rounded")
    return found


def fake_quantised(
    model: nn.Module,
    weight_bits: int | Mapping[str, int],
    activation_bits: int | None = 8,
    images: Tensor | None = None,
    *,
    ends: int | None = 8,
) -> nn.Module:
    """A copy that computes with weights and inputs of few bits, and can be trained on.

    What comes out: the net with every Conv2d and Linear rounding its weights, symmetric for each
    output channel, and its input, over the range from the smallest to the largest value of that
    tensor on `images` (N, C, H, W), float32 as the net gets them. In training mode these ranges
    follow the batches; gradients pass the rounding straight through. One bit is the sign times the
    mean absolute value of the channel's weights.

    weight_bits: 1 to 16, or for each path of `layers` its own. activation_bits: 2 to 16; None
    leaves inputs alone, and needs no images. ends: bits of the first and of the last layer, whose
    rounding costs most and saves least; None: as all others. It holds where `weight_bits` is one
    number.

    Refused with `BadInputError`: numbers of bits out of range, paths that are no layers or layers
    without bits, a net without layers, weights that are not finite, or masked or parametrized
    already, missing images or such as the net cannot take.

    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", section 3; one bit Rastegari et al. 2016, XNOR-Net, section
    3.1 (binary weights).

    >>> net = nn.Linear(3, 1, bias=False)
    >>> net.weight.data = torch.tensor([[0.5, -1.0, 3.0]])
    >>> fake_quantised(net, 1, None, ends=None).weight  # (0.5 + 1 + 3) / 3
    tensor([[ 1.5000, -1.5000,  1.5000]], grad_fn=<AddBackward0>)
    """
    widths = _widths(_plain_layers(model), weight_bits, ends)
    rounded = copy.deepcopy(model)
    found = layers(rounded)
    if activation_bits is not None:
        _check_bits(activation_bits, 2, "activation_bits")
        ranges = _ranges(rounded, found, images)
    for path, layer in found.items():
        parametrize.register_parametrization(layer, "weight", _Rounded(widths[path]))
        if activation_bits is not None:
            entry = _Input(activation_bits, *ranges[path]).to(layer.weight.device)
            entry.train(layer.training)
            layer.add_module("rounded_input", entry)
            layer.register_forward_pre_hook(_round_input)
    return rounded


def _round_input(layer: nn.Module, given: tuple) -> tuple:
    return (layer.rounded_input(given[0]), *given[1:])


def _check_bits(bits, low: int, what: str) -> None:
    if isinstance(bits, bool) or not isinstance(bits, int) or not low <= bits <= MOST:
        raise BadInputError(f"{what} is {bits!r}: a whole number from {low} to {MOST} is expected")


def _widths(found: dict[str, nn.Module], bits, ends: int | None) -> dict[str, int]:
    if isinstance(bits, Mapping):
        if bits.keys() != found.keys():
            strange = sorted(bits.keys() ^ found.keys())
            raise BadInputError(
                f"weight_bits: every layer needs its bits, and nothing else; not so: "
                f"{', '.join(map(str, strange))}"
            )
        widths = dict(bits)
    else:
        _check_bits(bits, 1, "weight_bits")
        widths = dict.fromkeys(found, bits)
        if ends is not None:
            _check_bits(ends, 1, "ends")
            for path in (next(iter(found)), next(reversed(found))):
                widths[path] = max(ends, bits)
    for path, width in widths.items():
        _check_bits(width, 1, f"weight_bits of {path!r}")
    return widths


def _ranges(model: nn.Module, found: dict[str, nn.Module], images) -> dict[str, tuple]:
    """Smallest and largest value of every layer's input."""
    if not isinstance(images, Tensor) or not len(images) or not images.isfinite().all():
        raise BadInputError(
            "images: finite float32 images (N, C, H, W), as the net gets them, are needed to find "
            "the ranges of activations"
        )
    ranges, handles = {}, []
    for path, layer in found.items():

        def look(module, given, path=path):
            low, high = (float(edge) for edge in given[0].aminmax())
            before = ranges.get(path, (low, high))
            ranges[path] = min(low, before[0]), max(high, before[1])

        handles.append(layer.register_forward_pre_hook(look))
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval()(images.to(device))
    except (RuntimeError, ValueError, IndexError) as error:  # whatever its modules say of shapes
        raise BadInputError(
            f"the net cannot take images of the shape {tuple(images.shape)}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    if unused := [path for path in found if path not in ranges]:
        raise BadInputError(f"the net does not run {', '.join(unused)}: their inputs have no range")
    return ranges


def made_plain(model: nn.Module) -> nn.Module:
    """A copy whose float weights are the rounded ones for good, and whose inputs are not rounded.

    Of a net that is not rounded a copy as it is. Parameters stand in their old order and need
    gradients as before.

    >>> net = nn.Linear(3, 1, bias=False)
    >>> net.weight.data = torch.tensor([[0.5, -1.0, 3.0]])
    >>> made_plain(fake_quantised(net, 2, None, ends=None)).weight  # levels of 3 / (2 - 1)
    Parameter containing:
    tensor([[0., 0., 3.]], requires_grad=True)
    """
    plain = copy.deepcopy(model)
    for layer in layers(plain).values():
        if parametrize.is_parametrized(layer, "weight"):
            rounding = layer.parametrizations.weight
            if type(rounding[0]) is not _Rounded:
                continue
            # torch's own removal would take the weight from the class, which copies share
            weight = nn.Parameter(layer.weight.detach().clone(), rounding.original.requires_grad)
            del layer._modules["parametrizations"]
            layer.__class__ = type(layer).__bases__[0]
            layer._parameters = {"weight": weight} | layer._parameters
        if "rounded_input" in layer._modules:
            del layer._modules["rounded_input"]
            for number, hook in list(layer._forward_pre_hooks.items()):
                if hook is _round_input:
                    del layer._forward_pre_hooks[number]
    return plain


def weight_bytes(
    model: nn.Module, weight_bits: int | Mapping[str, int], *, ends: int | None = 8
) -> int:
    """What the file of a plain net would take with its weights packed at these bits.

    Weights at their bits, a float32 scale for each output channel, and every other parameter and
    buffer as float32. Bits and what is refused are as in `fake_quantised`: give it the plain net.

    >>> weight_bytes(nn.Linear(16, 4), 2, ends=None)  # 16*4*2/8 + 4*4 + 4*4
    48
    """
    found = _plain_layers(model)
    widths = _widths(found, weight_bits, ends)
    weights = {id(layer.weight) for layer in found.values()}
    rest = [t for t in (*model.parameters(), *model.buffers()) if id(t) not in weights]
    packed = sum(
        math.ceil(layer.weight.numel() * widths[path] / 8) + 4 * layer.weight.shape[0]
        for path, layer in found.items()
    )
    return packed + sum(4 * tensor.numel() for tensor in rest)


# ---------------------------------------------------------------- which layer needs how many


def sensitivity(model: nn.Module, bits: int, judge: Callable[[nn.Module], float]) -> pd.DataFrame:
    """What each layer loses alone: its weights at `bits`, all others and all inputs as they are.

    One row a layer, in order: `layer`, `weights` (how many), `score` (what `judge` says of the
    net, such as a share of hits), `lost` (the score of the untouched net less that).

    Refused with `BadInputError`: bits out of 1 to 16, a net without layers, weights that are not
    finite, or masked or parametrized already, for these would be computed anew.

    Source: Dong et al. 2019, HAWQ, ask the same by second derivatives; here it is tried.

    >>> net = nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[1.0, 3.0]])
    >>> sensitivity(net, 1, lambda net: net.weight.max().item())["lost"].tolist()  # 3 - (1 + 3) / 2
    [1.0]
    """
    _check_bits(bits, 1, "bits")
    found = _plain_layers(model)
    whole = judge(model)
    rows = []
    for path, layer in found.items():
        alone = copy.deepcopy(model)
        rounding = _Rounded(bits)
        one = alone.get_submodule(path)
        with torch.no_grad():
            one.weight.copy_(rounding(one.weight))
        score = judge(alone)
        rows.append({"layer": path, "weights": layer.weight.numel(), "score": score,
                     "lost": whole - score})  # fmt: skip
    return pd.DataFrame(rows)


def widths_by_sensitivity(
    tables: Mapping[int, pd.DataFrame], choices: Iterable[int], average_bits: float
) -> dict[str, int]:
    """Bits for each layer, so that the average over all weights is at most `average_bits`.

    tables: bits -> what `sensitivity` says of them, for every choice. All layers begin with the
    most bits; again and again that layer goes one choice down which loses least for each bit that
    is saved, until the average is reached.

    Refused with `BadInputError`: choices without a table, tables of different layers or without a
    loss, an average below the least choice.

    >>> losses = pd.DataFrame({"layer": ["a", "b"], "weights": [10, 10], "lost": [0.3, 0.1]})
    >>> none = losses.assign(lost=0.0)
    >>> widths_by_sensitivity({8: none, 4: losses}, (8, 4), 6)
    {'a': 8, 'b': 4}
    """
    choices = sorted(set(choices), reverse=True)
    if missing := [choice for choice in choices if choice not in tables] or not choices:
        raise BadInputError(f"there are no sensitivities for {missing} bits")
    if average_bits < choices[-1]:
        raise BadInputError(f"average_bits is {average_bits:g}: the least choice is {choices[-1]}")
    lost = {bits: table.set_index("layer")["lost"].to_dict() for bits, table in tables.items()}
    weights = tables[choices[0]].set_index("layer")["weights"].to_dict()
    for bits in choices:
        if strange := sorted(lost[bits].keys() ^ weights.keys()):
            raise BadInputError(
                f"tables of {choices[0]} and {bits} bits are of different layers: "
                f"{', '.join(strange)}"
            )
        if tables[bits]["lost"].isna().any():
            raise BadInputError(f"the table of {bits} bits has layers without a loss: judge again")
    widths = dict.fromkeys(weights, choices[0])
    while sum(widths[p] * weights[p] for p in weights) > average_bits * sum(weights.values()):
        prices = {}
        for path, bits in widths.items():
            if bits == choices[-1]:
                continue
            fewer = choices[choices.index(bits) + 1]
            saved = (bits - fewer) * weights[path]
            prices[path] = (lost[fewer][path] - lost[bits][path]) / saved, fewer
        cheapest = min(prices, key=prices.get)
        widths[cheapest] = prices[cheapest][1]
    return widths
