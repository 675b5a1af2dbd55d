"""What the field's counters would print for the same calls: conventions as named objects. No torch.

Every counter decides for itself what one operation is, whether a bias, a batch norm or a ReLU
costs anything, and what to do with an operator it does not know. So one ResNet-18 has many totals.
A `Convention` is one such set of decisions: a rule that maps an `OperatorCall` to a number, with
the place the rule was read from, and in words what it does with each kind of operator.

A rule describes what the tool does, including what looks like an oversight (ptflops counts a ReLU
twice, torchinfo forgets the positions of a token). `limits` says where a rule stops being the
tool. Rules of tools that hook modules (thop, torchinfo, ptflops) look at the class name of the
module that made the call; a class of your own with the name of a torch layer would be taken for
that layer, which the tool itself would not do.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from convcost.core.errors import BadInputError
from convcost.core.units import FLOPS_PER_MAC
from convcost.counting.ops import GATES, OperatorCall, elements

Number = int | Fraction
Rule = Callable[[OperatorCall], Number]

# The rows of `Convention.describe`, in the order a comparison table shows them.
ASPECTS = (
    "multiply-add",
    "bias",
    "batch norm",
    "activation",
    "pooling",
    "softmax",
    "elementwise add",
    "dropout",
    "attention",
    "unknown operator",
)

# Op types that do no arithmetic in a forward pass: a zero for them hides nothing.
FREE_OPS = frozenset({"concat", "copy", "creation", "dropout", "embedding", "reshape"})


@dataclass(frozen=True)
class Convention:
    """One way to count, as one tool or one equation does it.

    `of(call)` is the cost of one call, `total(calls)` the sum, both exact, in `unit`:
    "macs" (one per multiply-add), "flops" (two per multiply-add) or "multiplications". Each is an
    int; only `bianco` makes halves (a bias is half an operation), then it is a `Fraction`.
    Example: `nn.Linear(3, 2)` on one row gives 3*2 with "macs-only", 2*3*2 with
    "torch-flopcounter" and 3*2 + 2 with "pycls" (the bias counts one per output).
    """

    key: str
    title: str
    tool: str
    tool_version: str
    unit: str
    citation: str
    describe: Mapping[str, str]
    rule: Rule = field(repr=False)
    limits: str = ""
    refuses: bool = False  # True if the tool stops at an operator that it does not know

    def of(self, call: OperatorCall) -> Number:
        """What the convention counts for one call.

        Raises `BadInputError` only where the tool itself stops (`refuses`).
        """
        return _whole(self.rule(call))

    def total(self, calls) -> Number:
        """The sum over an iterable of calls, or over the `calls` of a trace."""
        return _whole(sum((self.rule(call) for call in _calls(calls)), 0))

    def uncounted(self, calls) -> Counter:
        """The operators that do arithmetic and get zero here: torch function -> how many calls.

        Copies, reshapes, concatenations, lookups and dropout in evaluation mode do none and are
        left out. Where the convention refuses an operator, it is listed as well.
        Example: "macs-only" on one Linear and one ReLU gives Counter({"relu": 1}).
        """
        names: Counter = Counter()
        for call in _calls(calls):
            if call.op in FREE_OPS:
                continue
            try:
                count = self.rule(call)
            except BadInputError:
                count = 0
            if not count:
                names[call.function] += 1
        return names


def get(name: str) -> Convention:
    """The convention called `name` (a key of `CONVENTIONS`, or an entry of `ALIASES`).

    Raises `BadInputError` that lists the valid names. `get("flops").key == "torch-flopcounter"`.
    """
    key = ALIASES.get(name, name)
    if key not in CONVENTIONS:
        valid = ", ".join([*CONVENTIONS, *ALIASES])
        raise BadInputError(f"no convention is called {name!r}; use one of: {valid}")
    return CONVENTIONS[key]


def _calls(calls) -> Iterable[OperatorCall]:
    return getattr(calls, "calls", calls)


def _whole(value: Number) -> Number:
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    return value


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


def _macs(call: OperatorCall) -> int:
    return call.macs


def _torch_flops(call: OperatorCall) -> int:
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


def _thop(call: OperatorCall) -> Number:
    return _hooked(_THOP, call)


# ---------------------------------------------------------------- fvcore


def _fvcore(call: OperatorCall) -> Number:
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


def _with_bias(call: OperatorCall) -> int:
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
    **dict.fromkeys(_CONV_MODULES, ("conv", _with_bias)),
    **dict.fromkeys(_TRANSPOSED_MODULES, ("conv_transpose", _with_bias)),
    **dict.fromkeys(("ReLU", "PReLU", "ELU", "LeakyReLU", "ReLU6", "GELU"), ("activation", _read)),
    **dict.fromkeys(_names("MaxPool") + _AVG_POOL_MODULES, ("pool", _read)),
    **dict.fromkeys(_names("AdaptiveMaxPool") + _ADAPTIVE_AVG_MODULES, ("adaptive_pool", _read)),
    **dict.fromkeys(
        _names("BatchNorm") + _INSTANCE_NORM_MODULES + ("GroupNorm", "LayerNorm"),
        ("norm", _ptflops_norm),
    ),
    "Linear": ("linear", _with_bias),
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
        return _with_bias(call)
    if call.op == "attention":
        weights = elements(_input(call)[:-1]) * call.inputs[1][-2]
        return call.macs + weights + _read(call)
    if call.op == "matmul":
        return call.macs
    return _written(call) if call.op == "softmax" or call.function == "mul" else 0


def _ptflops(call: OperatorCall) -> Number:
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


def _ptflops_aten(call: OperatorCall) -> int:
    if call.op in ("conv", "conv_transpose", "linear"):
        return _with_bias(call)
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


def _torchinfo(call: OperatorCall) -> int:
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


def _bianco(call: OperatorCall) -> Number:
    # Two per multiply-add and one per bias, the whole divided by the groups, then halved: a
    # grouped convolution keeps its multiply-adds but loses part of its bias.
    if call.module_type != "Conv2d" or call.op != "conv":
        return 0
    return call.macs + Fraction(_bias(call), FLOPS_PER_MAC * call.attrs.get("groups", 1))


def _burden(call: OperatorCall) -> int:
    out = _written(call)
    if call.op in ("conv", "conv_transpose", "linear"):
        return _with_bias(call)
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


def _atsumi(call: OperatorCall) -> int:
    if call.op == "conv":
        return _written(call) * elements(call.weights[0][2:])
    return _cheng(call) if call.op == "linear" else 0


def _ke(call: OperatorCall) -> int:
    return call.macs if call.op == "conv" else 0


def _cheng(call: OperatorCall) -> int:
    if call.op == "conv":
        return call.macs
    if call.op == "linear":
        # Eq. (1) knows input and output channels only: once per image, however many positions.
        images = _input(call)[0] if len(_input(call)) > 1 else 1
        return images * elements(call.weights[0])
    return 0


# ---------------------------------------------------------------- the table


def _describe(texts: Mapping[str, str]) -> Mapping[str, str]:
    """Every aspect in order; what is not named costs nothing."""
    return MappingProxyType({aspect: texts.get(aspect, "0") for aspect in ASPECTS})


_ALL = (
    Convention(
        key="macs-only",
        title="Multiply-adds only",
        tool="torchvision, field `_ops` of the weights",
        tool_version="torchvision 0.29.2",
        unit="macs",
        citation=(
            "pytorch/vision, torchvision/models: WeightsEnum.meta['_ops'] (G, three decimals), "
            "made with torch.utils.flop_counter and halved; cheng2025 section 3"
        ),
        describe=_describe(
            {
                "multiply-add": "1",
                "attention": "both products",
                "unknown operator": "listed by convcost.count, never a silent zero",
            }
        ),
        rule=_macs,
    ),
    Convention(
        key="torch-flopcounter",
        title="PyTorch's own counter",
        tool="torch.utils.flop_counter.FlopCounterMode",
        tool_version="torch 2.15.0",
        unit="flops",
        citation=(
            "pytorch/pytorch, torch/utils/flop_counter.py: conv_flop_count, mm_flop, addmm_flop, "
            "bmm_flop, sdpa_flop_count (torch 2.15.0)"
        ),
        describe=_describe(
            {
                "multiply-add": "2",
                "attention": "both products, 2 each",
                "unknown operator": "silent zero",
            }
        ),
        rule=_torch_flops,
        limits=(
            "Sees operators of the backend: on the CPU a recurrent layer, and attention under "
            "no_grad, run as fused kernels that it counts as zero. The totals here are those of "
            "the meta device. An einsum is counted as torch contracts it, which can differ from "
            "left to right."
        ),
    ),
    Convention(
        key="thop",
        title="thop (pytorch-OpCounter)",
        tool="thop.profile",
        tool_version="thop 0.1.1.post2209072238",
        unit="macs",
        citation=(
            "Lyken17/pytorch-OpCounter, thop/profile.py: register_hooks; thop/vision/"
            "basic_hooks.py and calc_func.py; thop/rnn_hooks.py (0.1.1.post2209072238)"
        ),
        describe=_describe(
            {
                "multiply-add": "1",
                "batch norm": "4 per element with affine, else 2",
                "activation": "0; PReLU 1 per element",
                "pooling": "max 0; average 1 per output; adaptive average window + 1 per output",
                "softmax": "3n - 1 per row of n, nn.Softmax only",
                "attention": "0: nn.MultiheadAttention has no rule, its parameters are lost too",
                "unknown operator": "silent zero (a note with report_missing)",
            }
        ),
        rule=_thop,
        limits=(
            "Hooks modules, so a functional call (F.conv2d, F.adaptive_avg_pool2d in DenseNet) is "
            "not seen. A module used by two parents is hooked twice and added twice; here each "
            "call counts once. The tool always evaluates: give it a trace in evaluation mode."
        ),
    ),
    Convention(
        key="fvcore",
        title="fvcore",
        tool="fvcore.nn.FlopCountAnalysis",
        tool_version="fvcore 0.1.5.post20221221",
        unit="macs",
        citation=(
            "facebookresearch/fvcore, fvcore/nn/flop_count.py: _DEFAULT_SUPPORTED_OPS; "
            "fvcore/nn/jit_handles.py (0.1.5.post20221221). It says flop and means multiply-add"
        ),
        describe=_describe(
            {
                "multiply-add": "1",
                "batch norm": "2 per element with affine, else 1; in training 5 or 4",
                "pooling": "max and average 0 with a warning; adaptive average (2d) 1 per input",
                "softmax": "0 with a warning",
                "elementwise add": "0 with a warning",
                "attention": "projections and matmul; a fused attention 0 with a warning",
                "unknown operator": "a warning and a Counter, unsupported_ops()",
            }
        ),
        rule=_fvcore,
        limits=(
            "Traces with gradients enabled, the tool's default; under no_grad a fused attention "
            "module hides its projections too. An einsum is read back there from numpy's report, "
            "which prints four digits; here it is exact. Real tensors only, not meta."
        ),
    ),
    Convention(
        key="ptflops",
        title="ptflops, PyTorch backend (default)",
        tool="ptflops.get_model_complexity_info",
        tool_version="ptflops 0.7.5",
        unit="macs",
        citation=(
            "sovrasov/flops-counter.pytorch, ptflops/pytorch_ops.py: MODULES_MAPPING, "
            "FUNCTIONAL_MAPPING, TENSOR_OPS_MAPPING; ptflops/pytorch_engine.py: "
            "get_flops_pytorch, patch_functional (0.7.5)"
        ),
        describe=_describe(
            {
                "multiply-add": "1",
                "bias": "1 per output",
                "batch norm": "2 per element with affine, else 1",
                "activation": "nn.ReLU 2 per element: its hook, and F.relu inside; F.relu alone 1",
                "pooling": "a pooling layer 2 per input: hook and function; functional 1",
                "softmax": "1 per element through F.softmax",
                "elementwise add": "0 for +",
                "attention": "nn.MultiheadAttention: products, biases, softmax, scaling",
                "unknown operator": "silent zero (a line with verbose)",
            }
        ),
        rule=_ptflops,
        limits=(
            "For one image: with more (input_constructor) the tool divides what hooks count by "
            "the batch and adds what functions count undivided. torch.add, mul and matmul, written "
            "as functions or methods, count there and not here, where they cannot be told from +, "
            "* and @; torch.relu and torch.softmax count here like F.relu and F.softmax. A module "
            "used by two parents is added twice there, each call once here."
        ),
    ),
    Convention(
        key="ptflops-aten",
        title="ptflops, ATen backend",
        tool="ptflops.get_model_complexity_info(backend='aten')",
        tool_version="ptflops 0.7.5",
        unit="macs",
        citation=(
            "sovrasov/flops-counter.pytorch, ptflops/aten_ops.py: ATEN_OPS_MAPPING; "
            "ptflops/aten_engine.py (0.7.5)"
        ),
        describe=_describe(
            {
                "multiply-add": "1",
                "bias": "1 per output",
                "attention": "projections and matmul; a fused attention 0",
                "unknown operator": "silent zero (a line with verbose)",
            }
        ),
        rule=_ptflops_aten,
        limits=(
            "On the CPU with gradients enabled, the tool's default; an LSTM runs there as one "
            "kernel and is zero."
        ),
    ),
    Convention(
        key="torchinfo",
        title="torchinfo",
        tool="torchinfo.summary(...).total_mult_adds",
        tool_version="torchinfo 1.8.0",
        unit="macs",
        citation=(
            "TylerYep/torchinfo, torchinfo/layer_info.py: LayerInfo.calculate_macs; "
            "torchinfo/model_statistics.py (1.8.0)"
        ),
        describe=_describe(
            {
                "multiply-add": "1; a Linear counts one position only",
                "bias": "with the weights: 1 per output",
                "batch norm": "2 per channel and image",
                "activation": "0; PReLU its parameters per image",
                "attention": "0: nn.MultiheadAttention has a child, so it is no leaf",
                "unknown operator": "silent zero; an embedding counts its whole table",
            }
        ),
        rule=_torchinfo,
        limits=(
            "Counts parameters named weight or bias of modules without children. Here: of the "
            "layers of torch.nn; a leaf class of your own with such parameters is zero here."
        ),
    ),
    Convention(
        key="pycls",
        title="pycls (RegNet)",
        tool="pycls, complexity functions *_cx",
        tool_version="5719de6 (2023-08-26), formulas read, not run",
        unit="macs",
        citation=(
            "facebookresearch/pycls, pycls/models/blocks.py: conv2d_cx, linear_cx, norm2d_cx, "
            "pool2d_cx, gap2d_cx, MultiheadAttention.complexity (5719de6)"
        ),
        describe=_describe(
            {
                "multiply-add": "1",
                "bias": "1 per output",
                "pooling": "0 (its activations are counted)",
                "attention": "projections with bias, both products",
                "unknown operator": "cannot happen: each block has its formula",
            }
        ),
        rule=_with_bias,
        limits="The tool knows its own blocks only; this is their rule on other people's nets.",
    ),
    Convention(
        key="convnet-burden",
        title="convnet-burden (MatConvNet)",
        tool="convnet-burden, computeFlops",
        tool_version="9c7f31b (2019-01-17), formulas read, checked against its printed table",
        unit="macs",
        citation="albanie/convnet-burden, core/burden.m: computeFlops (9c7f31b)",
        describe=_describe(
            {
                "multiply-add": "1",
                "bias": "1 per output",
                "batch norm": "0, assumed merged at test time",
                "activation": "ReLU 2 per element: a comparison and a multiplication",
                "pooling": "2 per output and per element of the stride",
                "softmax": "0: the exponential is 'tricky'",
                "elementwise add": "1 per element",
                "attention": "refused",
                "unknown operator": "error: layer not recognised",
            }
        ),
        rule=_burden,
        limits=(
            "A MATLAB tool for MatConvNet nets. An adaptive pooling, which MatConvNet lacks, is "
            "taken for a window over the whole map with stride 1."
        ),
        refuses=True,
    ),
    Convention(
        key="bianco",
        title="Bianco et al. (models-comparison)",
        tool="models-comparison.pytorch, compute_computational_complexity",
        tool_version="51388f0 (2021-01-07), formulas read, not run",
        unit="macs",
        citation=(
            "CeLuigi/models-comparison.pytorch, pretrainedmodels/utils.py: "
            "conv_flops_counter_hook, compute_average_flops_cost; "
            "scripts/compute_computational_complexity.py (51388f0); Bianco, Cadene, Celona & "
            "Napoletano 2018, Benchmark analysis of representative deep neural network "
            "architectures"
        ),
        describe=_describe(
            {
                "multiply-add": "1 in nn.Conv2d, 0 elsewhere (2, halved by the script)",
                "bias": "half an operation per output, divided by the groups",
                "unknown operator": "silent zero, fully connected layers too",
            }
        ),
        rule=_bianco,
        limits="Per image there; here the count grows with the batch.",
    ),
    Convention(
        key="atsumi-eq1",
        title="Atsumi et al., equations (1) and (2)",
        tool="",
        tool_version="",
        unit="multiplications",
        citation="atsumi2020, eq. (1): W x H x K^2 x F; eq. (2): PCN x CN",
        describe=_describe(
            {
                "multiply-add": "1, but a convolution reads one input map only",
                "unknown operator": "zero",
            }
        ),
        rule=_atsumi,
        limits="Exact only where a convolution has one input map, as LeNet's first layer.",
    ),
    Convention(
        key="ke-eq1",
        title="Ke, Cao & Lv, the sum in equation (1)",
        tool="",
        tool_version="",
        unit="multiplications",
        citation="ke, eq. (1): sum of f[i-1] k[i]^2 f[i] s[i]^2 over the convolutional layers",
        describe=_describe(
            {
                "multiply-add": "1 in a convolution, 0 elsewhere",
                "unknown operator": "zero, fully connected layers too",
            }
        ),
        rule=_ke,
        limits=(
            "The coefficients alpha_0 and alpha_1 of eq. (1) are measured there and left out. The "
            "sum has no groups; a grouped convolution is counted with its groups."
        ),
    ),
    Convention(
        key="cheng-eqs",
        title="Cheng & Liu, equations (1) to (4)",
        tool="",
        tool_version="",
        unit="macs",
        citation=(
            "cheng2025, eq. (1) fully connected, (2) convolution, (3) groups, (4) depthwise "
            "separable: a depthwise and a pointwise layer"
        ),
        describe=_describe(
            {
                "multiply-add": "1",
                "attention": "0: no equation",
                "unknown operator": "zero",
            }
        ),
        rule=_cheng,
        limits=(
            "Eq. (1) has channels and no positions: a layer that is applied to every token counts "
            "once per image."
        ),
    ),
)

CONVENTIONS: Mapping[str, Convention] = MappingProxyType({c.key: c for c in _ALL})
"""Every convention by its key, the tools first, then the papers' equations."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {"macs": "macs-only", "flops": "torch-flopcounter", "ptflops-pytorch": "ptflops"}
)
"""Other names that `get` understands."""
