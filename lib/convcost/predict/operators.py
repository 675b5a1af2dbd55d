"""What of a net's work takes time: every operator call in a few numbers that can be priced.

Each number is work of one kind, in units in which a price is a time: 10^9 multiply-adds, or 10^6
elements that are read or written. A call that multiplies counts under its kind of product, and
again where something may make it slower (few channels, a stride, an odd kernel), so that a price
of 0 says that it does not. `FEATURES` lists them all.
"""

from collections import Counter
from dataclasses import dataclass

from convcost.core.units import scaled
from convcost.counting.count import Count
from convcost.counting.ops import OperatorCall, elements

TRAINED, USED = "training", "inference"
WHATS = (USED, TRAINED)

_GMACS, _MELEMENTS = "1e9 multiply-adds", "1e6 elements"

# A name that ends in "/batch" is work that is done once a batch, whatever the number of images.
FEATURES: dict[str, tuple[str, str]] = {
    "calls/batch": ("calls", "operators that move data: each has to be launched"),
    "weights/batch": (_MELEMENTS, "weights that are read"),
    "of weights alone/batch": (_MELEMENTS, "what is computed from weights alone, and its operands"),
    "moved": (_MELEMENTS, "read and written by any call"),
    "moved by large calls": (
        _MELEMENTS,
        "by calls of more than two million: beyond caches",
    ),
    "moved by small calls": (_MELEMENTS, "by calls of less than 200,000: they fill no GPU"),
    "large weights": (_MELEMENTS, "weights of calls that have more than a million of them"),
    "vector products": (_GMACS, "products with one vector an image: heads, squeeze and excite"),
    "vector weights/batch": (_MELEMENTS, "the weights of these"),
    "stem": (_GMACS, "convolutions of at most four channels: the pictures themselves"),
    "stem moved": (_MELEMENTS, "read and written by these"),
    "stem written": (_MELEMENTS, "written by these"),
    "dense": (
        _GMACS,
        "convolutions of one group, and linear layers",
    ),
    "dense, under 32 channels": (_GMACS, "of them with fewer channels in or out than 32"),
    "dense, 32 to 63 channels": (_GMACS, "with 32 to 63"),
    "dense, 64 to 127 channels": (_GMACS, "with 64 to 127"),
    "dense, 128 to 255 channels": (_GMACS, "with 128 to 255"),
    "dense, from 256 channels": (_GMACS, "with 256 or more"),
    "dense over channels in": (_GMACS, "times 64 over the channels in"),
    "dense over channels out": (_GMACS, "times 64 over the channels out"),
    "linear": (_GMACS, "linear layers over many positions"),
    "linear moved": (_MELEMENTS, "read and written by these"),
    "linear written": (_MELEMENTS, "written by these"),
    "pointwise": (_GMACS, "1 x 1 convolutions"),
    "pointwise moved": (_MELEMENTS, "read and written by these"),
    "pointwise written": (_MELEMENTS, "written by these"),
    "spatial": (_GMACS, "convolutions of larger kernels"),
    "spatial moved": (_MELEMENTS, "read and written by these"),
    "spatial written": (_MELEMENTS, "written by these"),
    "unaligned": (_GMACS, "dense, of channels that are no multiple of 8"),
    "unaligned moved": (_MELEMENTS, "read and written by these"),
    "spatial, strided": (_GMACS, "larger kernels that skip positions"),
    "spatial, patches": (_GMACS, "whose stride is their side: nothing is read twice"),
    "spatial, over 9 taps": (_GMACS, "kernels larger than 3 x 3"),
    "spatial, odd shape": (_GMACS, "kernels that are not square, or of an even side"),
    "spatial, dilated": (_GMACS, "kernels with holes"),
    "grouped": (_GMACS, "convolutions of several groups with several channels each"),
    "grouped over channels": (_GMACS, "times 16 over the channels of a group"),
    "grouped over channels squared": (_GMACS, "times 256 over their square"),
    "grouped moved": (_MELEMENTS, "read and written by these"),
    "grouped, strided": (_GMACS, "of them those that skip positions"),
    "grouped, unaligned": (_GMACS, "whose channels are no multiple of 8"),
    "grouped, no power of 2": (_GMACS, "whose channels are no power of two"),
    "depthwise": (_GMACS, "convolutions of one channel a group"),
    "depthwise read": (_MELEMENTS, "read by these"),
    "depthwise written": (_MELEMENTS, "written by these"),
    "depthwise, over 9 taps": (_GMACS, "kernels larger than 3 x 3"),
    "depthwise, over 25 taps": (_GMACS, "kernels larger than 5 x 5"),
    "depthwise, odd shape": (_GMACS, "kernels that are not square, or of an even side"),
    "depthwise, strided moved": (_MELEMENTS, "read and written by those that skip positions"),
    "depthwise, small map moved": (_MELEMENTS, "read and written by those of at most 64 positions"),
    "attention": (_GMACS, "scaled dot products, as one call"),
    "attention over width": (_GMACS, "times 64 over the width of a head"),
    "attention moved": (_MELEMENTS, "read and written by these"),
    "attention scores": (_MELEMENTS, "weights of positions by positions, which need not be stored"),
    "attention, short": (_GMACS, "over at most 64 positions"),
    "attention, short moved": (_MELEMENTS, "read and written by these"),
    "matmul": (_GMACS, "products of two results"),
    "matmul over depth": (_GMACS, "times 64 over the length of the sums"),
    "matmul moved": (_MELEMENTS, "read and written by these"),
    "matmul, narrow": (_GMACS, "of fewer than 32 rows or columns"),
    "recurrent": (_GMACS, "recurrent cells"),
    "recurrent moved": (_MELEMENTS, "read and written by these"),
    "batch norm": (_MELEMENTS, "read and written"),
    "layer norm": (_MELEMENTS, "read and written, RMS norm too"),
    "layer norm of maps": (_MELEMENTS, "of them over maps, whose memory order it has to change"),
    "other norm": (_MELEMENTS, "read and written: group and instance norm, and others"),
    "relu": (_MELEMENTS, "read and written by activations that compare only"),
    "activation": (_MELEMENTS, "read and written by all others"),
    "gelu": (_MELEMENTS, "of them by GELU"),
    "add": (_MELEMENTS, "sums of results of one shape"),
    "multiply": (_MELEMENTS, "products of results of one shape, element by element"),
    "add, broadcast": (_MELEMENTS, "sums of other shapes"),
    "multiply, broadcast": (_MELEMENTS, "products of other shapes"),
    "other elementwise": (_MELEMENTS, "read and written"),
    "reduction": (_MELEMENTS, "sums, means, adaptive pooling"),
    "pool": (_MELEMENTS, "read and written by pooling"),
    "pool windows": (_MELEMENTS, "elements of all its windows"),
    "concat": (_MELEMENTS, "read and written"),
    "upsample": (_MELEMENTS, "read and written"),
    "softmax": (_MELEMENTS, "read and written, outside of attention"),
    "pad": (_MELEMENTS, "read and written"),
    "copy": (_MELEMENTS, "moved without a change: casts, other orders in memory"),
    "roll": (_MELEMENTS, "of them by rolling a map"),
    "other": (_MELEMENTS, "read and written by what has no other name here"),
    "image": ("1", "each image once"),
    "batch/batch": ("1", "each batch once"),
    "parameters/batch": (_MELEMENTS, "parameters, for the optimiser; training only"),
    "tensors/batch": ("100 tensors", "tensors of parameters, for the optimiser; training only"),
}

BATCH = "/batch"
COMPUTE, MEMORY, LAUNCH = "compute", "memory", "launch"
_OF_UNIT = {_GMACS: COMPUTE, _MELEMENTS: MEMORY}
SPENT_ON = {name: _OF_UNIT.get(unit, LAUNCH) for name, (unit, _) in FEATURES.items()}
"""Feature -> what its time is spent on: multiplying, moving data, or beginning."""
_COMPARING = frozenset(("relu", "relu_", "relu6", "leaky_relu", "hardtanh", "threshold"))
_CHANNELS = (
    (32, "dense, under 32 channels"),
    (64, "dense, 32 to 63 channels"),
    (128, "dense, 64 to 127 channels"),
    (256, "dense, 128 to 255 channels"),
)
_BY_TYPE = {
    "reduction": "reduction",
    "adaptive_pool": "reduction",
    "concat": "concat",
    "upsample": "upsample",
    "softmax": "softmax",
}


@dataclass(frozen=True)
class _Sizes:
    """Of a call: 10^9 multiply-adds, and 10^6 elements read, written, both, and of its weights."""

    work: float
    moved: float
    read: float
    written: float
    weights: float


def of_call(call: OperatorCall, *, training: bool = False) -> dict[str, float]:
    """Feature -> amount, of one call; {} for one that moves nothing, such as a view.

    With `training`, products count their gradients, too; what is moved is that of the forward
    pass, to which the backward's is near enough proportional.

    >>> from torch import nn
    >>> from convcost.counting.count import count
    >>> (call,) = count(nn.Conv2d(64, 64, 3, padding=1, bias=False), (64, 8, 8)).calls
    >>> of_call(call)["spatial"] == 64 * 64 * 3*3 * 8*8 / 1e9
    True
    """
    if not call.bytes or (call.op == "dropout" and not call.attrs.get("training")):
        return {}
    read, written = sum(map(elements, call.inputs)), sum(map(elements, call.outputs))
    weights = sum(map(elements, call.weights))
    found = Counter({"calls/batch": 1.0})
    if not call.inputs:
        found["of weights alone/batch"] = scaled(weights + written, "M")
        return dict(found)
    moved = scaled(read + written, "M")
    found["moved"], found["weights/batch"] = moved, scaled(weights, "M")
    if read + written > 2_000_000:
        found["moved by large calls"] = moved
    if read + written < 200_000:
        found["moved by small calls"] = moved
    if weights > 1_000_000:
        found["large weights"] = scaled(weights, "M")
    work = scaled(call.macs + (call.gradient_macs if training else 0), "G")
    sizes = _Sizes(work, moved, scaled(read, "M"), scaled(written, "M"), scaled(weights, "M"))
    if call.op in ("conv", "conv_transpose", "linear"):
        _weighted(call, sizes, found)
    elif call.op == "attention":
        _attention(call, sizes, found)
    elif call.op == "matmul":
        found["matmul"], found["matmul moved"] = work, moved
        found["matmul over depth"] = work * 64 / max(call.inputs[0][-1], 1)
        if min((1, 1, *call.outputs[0])[-2:]) < 32:
            found["matmul, narrow"] = work
    elif call.op == "rnn":
        found["recurrent"], found["recurrent moved"] = work, moved
    else:
        _pointwise(call, sizes, found)
    return {name: amount for name, amount in found.items() if amount}


def _weighted(call: OperatorCall, sizes: _Sizes, found: dict[str, float]) -> None:
    """A convolution or a linear layer, under its kind."""
    first, last, groups, taps, kernel = call.inputs[0], call.outputs[0], 1, 1, ()
    is_linear = call.op == "linear"
    if is_linear:
        channels_in, channels_out, positions = first[-1], last[-1], elements(last[:-1])
    else:
        channels_in, channels_out = first[1], last[1]
        positions = first[0] * elements(last[2:])
        groups, kernel = call.attrs["groups"], call.attrs["kernel_size"]
        taps = elements(kernel)
    strided = not is_linear and max(call.attrs["stride"]) > 1
    is_odd = len(set(kernel)) > 1 or (bool(kernel) and kernel[0] % 2 == 0)
    inner, outer = max(channels_in // groups, 1), max(channels_out // groups, 1)
    work, moved = sizes.work, sizes.moved
    if positions == 1:
        found["vector products"], found["vector weights/batch"] = work, sizes.weights
    elif channels_in <= 4 and not is_linear:
        found["stem"], found["stem moved"], found["stem written"] = work, moved, sizes.written
    elif groups == 1:
        found["dense"] = work
        narrow = min(inner, outer)
        name = next((name for most, name in _CHANNELS if narrow < most), "dense, from 256 channels")
        found[name] = work
        found["dense over channels in"] = work * 64 / inner
        found["dense over channels out"] = work * 64 / outer
        kind = "linear" if is_linear else "pointwise" if taps == 1 else "spatial"
        found[kind], found[f"{kind} moved"], found[f"{kind} written"] = work, moved, sizes.written
        if inner % 8 or outer % 8:
            found["unaligned"], found["unaligned moved"] = work, moved
        if kind == "spatial":
            found["spatial, strided"] = work * strided
            found["spatial, patches"] = work * (strided and max(call.attrs["stride"]) ** 2 == taps)
            found["spatial, over 9 taps"] = work * (taps > 9)
            found["spatial, odd shape"] = work * is_odd
            found["spatial, dilated"] = work * (max(call.attrs["dilation"]) > 1)
    elif inner > 1:
        found["grouped"], found["grouped moved"] = work, moved
        found["grouped over channels"] = work * 16 / inner
        found["grouped over channels squared"] = work * 256 / inner**2
        found["grouped, strided"] = work * strided
        found["grouped, unaligned"] = work * bool(inner % 8)
        found["grouped, no power of 2"] = work * bool(inner & (inner - 1))
    else:
        found["depthwise"] = work
        found["depthwise read"], found["depthwise written"] = sizes.read, sizes.written
        found["depthwise, over 9 taps"] = work * (taps > 9)
        found["depthwise, over 25 taps"] = work * (taps > 25)
        found["depthwise, odd shape"] = work * is_odd
        found["depthwise, strided moved"] = moved * strided
        found["depthwise, small map moved"] = moved * (positions <= 64)


def _attention(call: OperatorCall, sizes: _Sizes, found: dict[str, float]) -> None:
    queries, keys = call.inputs[0], call.inputs[1]
    found["attention"], found["attention moved"] = sizes.work, sizes.moved
    found["attention over width"] = sizes.work * 64 / max(queries[-1], 1)
    found["attention scores"] = scaled(elements(queries[:-1]) * keys[-2], "M")
    if keys[-2] <= 64:
        found["attention, short"], found["attention, short moved"] = sizes.work, sizes.moved


def _pointwise(call: OperatorCall, sizes: _Sizes, found: dict[str, float]) -> None:
    """What multiplies nothing by weights, or one number by one."""
    moved, name = sizes.moved, call.function
    if name in ("pad", "constant_pad_nd"):
        found["pad"] = moved
    elif call.op == "norm":
        if name == "batch_norm":
            found["batch norm"] = moved
        elif name in ("layer_norm", "rms_norm"):
            found["layer norm"] = moved
            found["layer norm of maps"] = moved * (len(call.outputs[0]) == 4)
        else:
            found["other norm"] = moved
    elif call.op == "activation":
        found["relu" if name in _COMPARING else "activation"] = moved
        found["gelu"] = moved * (name == "gelu")
    elif call.op == "elementwise":
        alike = len(call.inputs) > 1 and len(set(call.inputs)) == 1
        kind = "add" if name.startswith(("add", "iadd")) else "multiply"
        if kind == "multiply" and not name.startswith("mul"):
            found["other elementwise"] = moved
        else:
            found[kind if alike else f"{kind}, broadcast"] = moved
    elif call.op == "pool":
        side = call.attrs.get("kernel_size", 1)
        taps = elements(side) if isinstance(side, tuple) else side * side
        found["pool"], found["pool windows"] = moved, sizes.written * taps
    elif call.op in _BY_TYPE:
        found[_BY_TYPE[call.op]] = moved
    elif call.op in ("reshape", "copy"):
        found["copy"] = moved
        found["roll"] = moved * (name == "roll")
    else:
        found["other"] = moved


def of_net(counted: Count, *, training: bool = False, tensors: int = 0) -> dict[str, float]:
    """Feature -> amount, of one image; what ends in "/batch" of one batch.

    `counted` has batch 1 (`count(net, shape)`), in the mode that is meant. `tensors`: of its
    parameters, which an optimiser goes through one by one; for training only.
    """
    total: Counter[str] = Counter({"image": 1.0, "batch/batch": 1.0})
    for call in counted.calls:
        total.update(of_call(call, training=training))
    if training:
        total["parameters/batch"] = scaled(counted.params, "M")
        total["tensors/batch"] = tensors / 100
    return dict(total)
