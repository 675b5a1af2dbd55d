"""The rule of every convention: from an `OperatorCall` to what the tool, or the equation, counts.

Each says what the tool does, section by section; `described` says it in words, with the source.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction

from convcost.core.errors import BadInputError
from convcost.core.units import FLOPS_PER_MAC
from convcost.counting.ops import GATES, OperatorCall, elements

Number = int | Fraction
Rule = Callable[[OperatorCall], Number]

# Op types that do no arithmetic in a forward pass: a zero for them hides nothing.
FREE_OPS = frozenset({"concat", "copy", "creation", "dropout", "embedding", "reshape"})


# ---------------------------------------------------------------- what a call's shapes say


def _input(call: OperatorCall) -> tuple[int, ...]:
    """The shape of x. A layer fed by constants alone (a table of positions) has no input that
    depends on the image; then x stands behind the layer's own weights.
    """
    return call.inputs[0] if call.inputs else call.weights[-1]


def _read(call: OperatorCall) -> int:
    """Elements of x, the first input."""
    return elements(_input(call))


def _written(call: OperatorCall) -> int:
    return elements(call.outputs[0])


def _bias(call: OperatorCall) -> int:
    """One per output element if the layer has a bias."""
    return _written(call) if call.attrs.get("bias") else 0


def _affine(call: OperatorCall) -> bool:
    return bool(call.attrs.get("affine"))


def _names(stem: str) -> tuple[str, ...]:
    return tuple(f"{stem}{d}d" for d in (1, 2, 3))


_CONV_MODULES = _names("Conv")
_TRANSPOSED_MODULES = _names("ConvTranspose")
_BATCH_NORM_MODULES = (*_names("BatchNorm"), "SyncBatchNorm")
_INSTANCE_NORM_MODULES = _names("InstanceNorm")
_MAX_POOL_MODULES = _names("MaxPool") + _names("AdaptiveMaxPool")
_AVG_POOL_MODULES = _names("AvgPool")
_ADAPTIVE_AVG_MODULES = _names("AdaptiveAvgPool")
_RNN_MODULES = ("RNN", "LSTM", "GRU")
_RNN_CELL_MODULES = ("RNNCell", "LSTMCell", "GRUCell")


def _rnn_groups(call: OperatorCall) -> list[list[tuple[int, ...]]]:
    """The weights of a recurrent call, one list per layer and direction: w_ih, w_hh, biases.

    A group starts with two matrices; nn.LSTM's projection (a third one) stays in its group.
    """
    groups: list[list[tuple[int, ...]]] = []
    matrices = 0
    for shape in call.weights:
        if len(shape) == 2 and (not groups or matrices >= 2):
            groups.append([])
            matrices = 0
        groups[-1].append(shape)
        matrices += len(shape) == 2
    return groups


def _hooked(table: Mapping[str, tuple[str, Rule]], call: OperatorCall) -> Number:
    """The rule of a tool that hooks modules: by class name, and only for the layer's own operator
    (a BatchNorm in training also adds 1 to its batch counter; that call has another op type).
    """
    op, rule = table.get(call.module_type, ("", None))
    return rule(call) if rule and call.op == op else 0


# ---------------------------------------------------------------- multiply-adds only


def macs(call: OperatorCall) -> int:
    return call.macs


def torch_flops(call: OperatorCall) -> int:
    return FLOPS_PER_MAC * call.macs


# ---------------------------------------------------------------- thop


def _thop_conv(call: OperatorCall) -> int:
    # Output elements times kernel times input channels per group, for transposed convolutions
    # too, where it should be the input's elements.
    channels = _input(call)[1] // call.attrs.get("groups", 1)
    return _written(call) * channels * elements(call.weights[0][2:])


def _thop_linear(call: OperatorCall) -> int:
    return _written(call) * call.weights[0][1]


def _thop_norm(call: OperatorCall) -> int:
    return _read(call) * (4 if _affine(call) else 2)


def _thop_softmax(call: OperatorCall) -> int:
    # n exponentials, n - 1 additions, n divisions per row.
    features = _input(call)[call.attrs["dim"]]
    return _read(call) // features * (3 * features - 1)


def _thop_adaptive(call: OperatorCall) -> int:
    # The tool divides in float64 and cuts the result; the same operations in the same order.
    window = 1.0
    for size, out in zip(_input(call)[2:], call.outputs[0][2:], strict=True):
        window *= size / out
    return int((window + 1) * _written(call))


_THOP_UPSAMPLE = {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 224 + 35}


def _thop_upsample(call: OperatorCall) -> int:
    return _written(call) * _THOP_UPSAMPLE.get(call.attrs.get("mode"), 0)


def _thop_cell(kind: str, inputs: int, hidden: int, bias: bool) -> int:
    per_gate = hidden * (inputs + hidden) + hidden + (2 * hidden if bias else 0)
    elementwise = {"rnn": 0, "gru": 4 * hidden, "lstm": 4 * hidden}[kind]
    return GATES["rnn_tanh" if kind == "rnn" else kind] * per_gate + elementwise


def _thop_rnn(call: OperatorCall) -> int:
    kind = call.module_type.removesuffix("Cell").lower()
    positions = elements(_input(call)[:-1])
    total = 0
    for w_ih, w_hh, *rest in _rnn_groups(call):
        total += _thop_cell(kind, w_ih[1], w_hh[1], any(len(shape) == 1 for shape in rest))
    return positions * total


_THOP: dict[str, tuple[str, Rule]] = {
    **dict.fromkeys(_CONV_MODULES, ("conv", _thop_conv)),
    **dict.fromkeys(_TRANSPOSED_MODULES, ("conv_transpose", _thop_conv)),
    **dict.fromkeys(
        _BATCH_NORM_MODULES + _INSTANCE_NORM_MODULES + ("LayerNorm",), ("norm", _thop_norm)
    ),
    "PReLU": ("activation", _read),
    "Softmax": ("softmax", _thop_softmax),
    **dict.fromkeys(_AVG_POOL_MODULES, ("pool", _written)),
    **dict.fromkeys(_ADAPTIVE_AVG_MODULES, ("adaptive_pool", _thop_adaptive)),
    "Linear": ("linear", _thop_linear),
    **dict.fromkeys(
        ("Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"), ("upsample", _thop_upsample)
    ),
    **dict.fromkeys(_RNN_MODULES + _RNN_CELL_MODULES, ("rnn", _thop_rnn)),
}


def thop(call: OperatorCall) -> Number:
    return _hooked(_THOP, call)


# ---------------------------------------------------------------- fvcore


def fvcore(call: OperatorCall) -> Number:
    if call.op in ("conv", "conv_transpose", "linear", "matmul"):
        return call.macs
    if call.function == "batch_norm":
        if call.attrs.get("training"):
            return _read(call) * (5 if _affine(call) else 4)
        return _read(call) * (2 if _affine(call) else 1)
    if call.function in ("layer_norm", "group_norm", "instance_norm"):
        return _read(call) * (5 if _affine(call) else 4)
    if call.function == "adaptive_avg_pool2d":
        return _read(call)
    if call.op == "upsample" and len(call.outputs[0]) == 4:
        return _written(call) * {"nearest": 1, "bilinear": 4}.get(call.attrs.get("mode"), 0)
    if call.function == "grid_sample":
        return 4 * _written(call)
    return 0


# ---------------------------------------------------------------- ptflops


def with_bias(call: OperatorCall) -> int:
    return call.macs + _bias(call)


def _ptflops_norm(call: OperatorCall) -> int:
    # LayerNorm calls its switch `elementwise_affine`, the hook asks for `affine`: one, not two.
    double = _affine(call) and call.module_type != "LayerNorm"
    return _read(call) * (2 if double else 1)


def _ptflops_upsample(call: OperatorCall) -> int:
    return elements(call.outputs[0][1:])  # the hook looks at the first image of the output


def _ptflops_rnn(call: OperatorCall) -> int:
    # Elementwise work per step: RNN 1, GRU 7, LSTM 10 times the hidden size. The first direction
    # is doubled for a bidirectional net.
    kind = call.module_type.removesuffix("Cell")
    work = {"RNN": 1, "GRU": 7, "LSTM": 10}[kind]
    groups = _rnn_groups(call)
    directions = call.attrs.get("directions", 1)
    total = 0
    for w_ih, w_hh, *rest in groups[::directions]:
        total += elements(w_ih) + elements(w_hh) + work * w_hh[1]
        total += sum(elements(shape) for shape in rest if len(shape) == 1)
    return elements(_input(call)[:-1]) * total * directions


_PTFLOPS_HOOKS: dict[str, tuple[str, Rule]] = {
    **dict.fromkeys(_CONV_MODULES, ("conv", with_bias)),
    **dict.fromkeys(_TRANSPOSED_MODULES, ("conv_transpose", with_bias)),
    **dict.fromkeys(("ReLU", "PReLU", "ELU", "LeakyReLU", "ReLU6", "GELU"), ("activation", _read)),
    **dict.fromkeys(_names("MaxPool") + _AVG_POOL_MODULES, ("pool", _read)),
    **dict.fromkeys(_names("AdaptiveMaxPool") + _ADAPTIVE_AVG_MODULES, ("adaptive_pool", _read)),
    **dict.fromkeys(
        _names("BatchNorm") + _INSTANCE_NORM_MODULES + ("GroupNorm", "LayerNorm"),
        ("norm", _ptflops_norm),
    ),
    "Linear": ("linear", with_bias),
    "Upsample": ("upsample", _ptflops_upsample),
    **dict.fromkeys(_RNN_MODULES + _RNN_CELL_MODULES, ("rnn", _ptflops_rnn)),
}

# Names in torch.nn.functional that the tool replaces while the network runs. A layer calls its
# function under that name, so what has a hook above is counted a second time here.
_PTFLOPS_FUNCTIONS = frozenset(
    {"relu", "prelu", "elu", "relu6", "gelu", "silu", "softmax"}
    | {f"{kind}_pool{d}d" for kind in ("avg", "max") for d in (1, 2, 3)}
    | {f"adaptive_{kind}_pool{d}d" for kind in ("avg", "max") for d in (1, 2, 3)}
)

# It replaces functions of torch and methods of tensors as well. A call does not say whether it was
# written torch.add(a, b) or a + b; nets write the operators @, * and +, which stay unseen there,
# so only products without an operator of their own count here.
_PTFLOPS_PRODUCTS = frozenset(("mm", "bmm", "baddbmm", "addmm"))


def _ptflops_attention(call: OperatorCall) -> int:
    """The hook of nn.MultiheadAttention, shared out among the calls inside: projections with their
    biases, one multiplication per query element for the scaling, one per weight for the softmax.
    """
    if call.op == "linear":
        return with_bias(call)
    if call.op == "attention":
        weights = elements(_input(call)[:-1]) * call.inputs[1][-2]
        return call.macs + weights + _read(call)
    if call.op == "matmul":
        return call.macs
    return _written(call) if call.op == "softmax" or call.function == "mul" else 0


def ptflops(call: OperatorCall) -> Number:
    if call.module_type == "MultiheadAttention":
        count = _ptflops_attention(call)
    else:
        count = _hooked(_PTFLOPS_HOOKS, call)
    if call.function in _PTFLOPS_FUNCTIONS:
        count += _read(call)
    elif call.function == "interpolate":
        count += _written(call)
    elif call.function in _PTFLOPS_PRODUCTS:
        count += call.macs + (_written(call) if call.function == "addmm" else 0)
    return count


def ptflops_aten(call: OperatorCall) -> int:
    if call.op in ("conv", "conv_transpose", "linear"):
        return with_bias(call)
    if call.op == "rnn" and call.function != "lstm":  # oneDNN runs an LSTM as one kernel
        biases = sum(elements(shape) for shape in call.weights if len(shape) == 1)
        return call.macs + elements(_input(call)[:-1]) * biases
    return call.macs if call.op == "matmul" else 0


# ---------------------------------------------------------------- torchinfo


_TORCHINFO_LAYERS: dict[str, str] = {
    **dict.fromkeys(_CONV_MODULES, "conv"),
    **dict.fromkeys(_TRANSPOSED_MODULES, "conv_transpose"),
    **dict.fromkeys(
        _BATCH_NORM_MODULES + _INSTANCE_NORM_MODULES + ("GroupNorm", "LayerNorm", "LayerNorm2d"),
        "norm",
    ),
    "Linear": "linear",
    "PReLU": "activation",
    "Embedding": "embedding",
    **dict.fromkeys(_RNN_MODULES + _RNN_CELL_MODULES, "rnn"),
}


def torchinfo(call: OperatorCall) -> int:
    # Parameters times output positions where the class name contains "Conv", parameters times
    # batch elsewhere: a Linear on 197 tokens counts like a Linear on one.
    if call.op != _TORCHINFO_LAYERS.get(call.module_type):
        return 0
    out = call.outputs[0]
    if call.op == "rnn":
        return elements(out[:2]) * sum(elements(shape) for shape in call.weights)
    # Running statistics are buffers, not parameters: of a batch norm, weight and bias alone.
    running = call.function in ("batch_norm", "instance_norm")
    weights = call.weights if call.inputs else call.weights[:-1]
    if running:
        weights = weights[-2:] if _affine(call) else ()
    parameters = sum(elements(shape) for shape in weights)
    if "Conv" in call.module_type:
        return parameters * out[0] * elements(out[2:])
    return parameters * out[0]


# ---------------------------------------------------------------- other people's conventions


def bianco(call: OperatorCall) -> Number:
    # Two per multiply-add and one per bias, the whole divided by the groups, then halved: a
    # grouped convolution keeps its multiply-adds but loses part of its bias.
    if call.module_type != "Conv2d" or call.op != "conv":
        return 0
    return call.macs + Fraction(_bias(call), FLOPS_PER_MAC * call.attrs.get("groups", 1))


def burden(call: OperatorCall) -> int:
    out = _written(call)
    if call.op in ("conv", "conv_transpose", "linear"):
        return with_bias(call)
    if call.function in ("relu", "leaky_relu"):
        return 2 * out  # a comparison and a multiplication
    if call.op == "pool":
        return 2 * out * elements(call.attrs["stride"])
    if call.op == "adaptive_pool":
        # MatConvNet has no adaptive pooling: a window over the whole map is one with stride 1.
        sizes = zip(_input(call)[2:], call.outputs[0][2:], strict=True)
        return 2 * out * elements([size // n if n > 1 else 1 for size, n in sizes])
    if call.function == "batch_norm" or call.op == "softmax" or call.op in FREE_OPS:
        return 0
    if call.op == "elementwise" and call.function in ("add", "add_"):
        return out
    raise BadInputError(
        f"convnet-burden has no rule for {call.function!r} (in {call.path or 'the root'}) and "
        "stops at a layer that it does not know; choose another convention for this net"
    )


def atsumi(call: OperatorCall) -> int:
    if call.op == "conv":
        return _written(call) * elements(call.weights[0][2:])
    return cheng(call) if call.op == "linear" else 0


def ke(call: OperatorCall) -> int:
    return call.macs if call.op == "conv" else 0


def cheng(call: OperatorCall) -> int:
    if call.op == "conv":
        return call.macs
    if call.op == "linear":
        # Eq. (1) knows input and output channels only: once per image, however many positions.
        images = _input(call)[0] if len(_input(call)) > 1 else 1
        return images * elements(call.weights[0])
    return 0
