"""Rules of functions of one element at a time: activations, comparisons, arithmetic, softmax,
dropout, casts.
"""

import math

import torch

from convcost.core.errors import BadInputError
from convcost.counting import ops
from convcost.counting.shapes.objects import TENSORS, NeedsValues, NoRule, Shape, words
from convcost.counting.shapes.table import KINDS, rule

ACTIVATIONS = (
    "relu relu6 hardtanh sigmoid tanh gelu silu hardswish hardsigmoid leaky_relu elu selu celu "
    "rrelu softplus mish logsigmoid log_sigmoid softsign tanhshrink hardshrink softshrink "
    "threshold"
)
COMPARISONS = (
    "eq ne lt le gt ge logical_and logical_or logical_not logical_xor isnan isinf isfinite"
)
ARITHMETIC = (
    "add sub subtract mul multiply div divide true_divide floor_divide remainder fmod neg "
    "negative exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square pow sin cos tan "
    "asin acos atan atan2 sinh cosh erf erfc ceil floor round trunc frac sign reciprocal clamp "
    "clip clamp_min clamp_max maximum minimum fmax fmin lerp addcmul addcdiv masked_fill "
    "rsub pos nan_to_num tril triu cumsum cumprod logit xlogy logaddexp _weight_norm fill zero "
    "copy bernoulli uniform normal exponential random bitwise_and bitwise_or bitwise_not "
    "bitwise_xor"
)
KEEPING = words("masked_fill fill copy")  # whole numbers stay whole, whatever is written
FLOATING = words(
    "div true_divide divide exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan"
)


def _is_whole(dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex)


def _promoted(tensors) -> torch.dtype:
    """The dtype of a result, by torch's rule: a scalar (no dimensions) widens a tensor's dtype only
    to another category (integer, floating point, complex).
    """
    full, scalar = None, None
    for x in tensors:
        if x.dims:
            full = x.dtype if full is None else torch.promote_types(full, x.dtype)
        else:
            scalar = x.dtype if scalar is None else torch.promote_types(scalar, x.dtype)
    if full is None or scalar is None:
        return full or scalar
    if full.is_complex:
        return full
    if full.is_floating_point:
        return full.to_complex() if scalar.is_complex else full
    if full is torch.bool or not _is_whole(scalar):
        return torch.promote_types(full, scalar)
    return full


def _with_numbers(kind, arguments) -> torch.dtype:
    """The dtype of whole numbers or bools after arithmetic with Python's numbers."""
    if any(type(a) is float for a in arguments):
        return torch.get_default_dtype()
    if kind is torch.bool and any(type(a) is int for a in arguments):
        return torch.int64
    return kind


def _same_op(op: str, names: str, dtype=None):
    KINDS.update(dict.fromkeys(names.split(), op))

    @rule(names)
    def elementwise(t, name, *args, **kwargs):
        if len(args) == 1 and not kwargs:
            x = t.of(args[0])
            tensors, shape, kind = [x], x.dims, x.dtype
        else:
            given = (*args, *kwargs.values()) if kwargs else args
            tensors = [t.of(x) for x in given if type(x) is Shape or isinstance(x, TENSORS)]
            shape, kind = tensors[0].dims, tensors[0].dtype
            for s in tensors[1:]:
                if s.dims != shape:
                    shape = ops.broadcast(shape, s.dims)
                if s.dtype is not kind:
                    kind = _promoted(tensors)
            if _is_whole(kind) and name not in KEEPING:
                kind = _with_numbers(kind, given)
        if name in FLOATING and _is_whole(kind) and not kwargs.get("rounding_mode"):
            kind = torch.get_default_dtype()
        if kwargs.get("dtype") is not None:
            kind = kwargs["dtype"]
        out = t.make(shape, tensors, dtype or kind)
        t.note(op, name, tensors, [out])
        return out

    return elementwise


activation = _same_op("activation", ACTIVATIONS)
comparison = _same_op("comparison", COMPARISONS, torch.bool)
arithmetic = _same_op("elementwise", ARITHMETIC)


@rule("where")
def where(t, name, condition, *args, **kwargs):
    if not args and not kwargs:
        raise NeedsValues("torch.where of a condition alone: the places of its true elements")
    branches = [*args, *kwargs.values()]
    tensors = [t.of(x) for x in branches if isinstance(x, TENSORS)]
    kind = _with_numbers(_promoted(tensors) if tensors else torch.bool, branches)
    parts = [t.of(condition), *tensors]
    out = t.make(ops.broadcast(*(p.dims for p in parts)), parts, kind)
    t.note("elementwise", name, parts, [out])
    return out


@rule("and or xor")
def logical(t, name, input, other):
    """Python's `&`, `|` and `^`: comparisons of bools, arithmetic on the bits of whole numbers."""
    whole = any(
        type(x) is int or (isinstance(x, TENSORS) and t.of(x).dtype is not torch.bool)
        for x in (input, other)
    )
    return (arithmetic if whole else comparison)(t, name, input, other)


@rule("prelu _prelu_kernel")
def prelu(t, name, input, weight):
    x, w = t.of(input), t.of(weight)  # one slope for all, or one per channel
    if math.prod(w.dims) not in (1, *x.dims[1:2]):
        raise BadInputError(f"prelu with {math.prod(w.dims)} slopes for {x.dims}")
    out = t.make(x.dims, [x, w], x.dtype)
    t.note("activation", name, [x], [out], [w])
    return out


@rule("one_hot")
def one_hot(t, name, input, num_classes=-1):
    x = t.of(input)
    if num_classes < 0:
        raise NeedsValues("one_hot without num_classes: the largest value")
    out = t.make((*x.dims, num_classes), [x], torch.int64)
    t.note("creation", name, [x], [out])
    return out


@rule("abs absolute angle real imag view_as_real view_as_complex")
def complex_parts(t, name, input):
    x = t.of(input)
    shape, dtype = x.dims, x.dtype.to_real() if x.dtype.is_complex else x.dtype
    if name.startswith("view_as"):
        if x.dtype.is_complex is (name == "view_as_complex") or (
            name == "view_as_complex" and shape[-1:] != (2,)
        ):
            raise BadInputError(f"{name} of {shape}, {x.dtype}")
        shape = (*shape, 2) if x.dtype.is_complex else shape[:-1]
        dtype = dtype if x.dtype.is_complex else dtype.to_complex()
    elif name == "imag" and not x.dtype.is_complex:
        raise BadInputError(f"imag of {x.dtype}")
    out = t.make(shape, [x], dtype)
    t.note(KINDS[name], name, [x], [out])
    return out


@rule("complex polar")
def complex_of_two(t, name, a, b, out=None):
    parts = [t.of(a), t.of(b)]
    out = t.make(ops.broadcast(*(p.dims for p in parts)), parts, parts[0].dtype.to_complex())
    t.note("elementwise", name, parts, [out])
    return out


@rule("outer ger")
def outer(t, name, input, vec2, out=None):
    a, b = t.of(input), t.of(vec2)
    out = t.make((*a.dims, *b.dims), [a, b], _promoted([a, b]))
    t.note("elementwise", name, [a, b], [out])  # one product per element: nothing is summed
    return out


KINDS.update(
    dict.fromkeys(
        words("where and or xor abs absolute angle complex polar outer ger"), "elementwise"
    )
)
KINDS.update(prelu="activation", _prelu_kernel="activation", one_hot="creation")
KINDS.update(dict.fromkeys(("real", "imag", "view_as_real", "view_as_complex"), "reshape"))


@rule("softmax log_softmax softmin")
def softmax(t, name, input, dim=None, *args, **kwargs):
    x = t.of(input)
    dtype = kwargs.get("dtype") or next((a for a in args if isinstance(a, torch.dtype)), None)
    out = t.make(x.dims, [x], dtype)
    t.note("softmax", name, [x], [out], (), {"dim": dim})
    return out


@rule("glu")
def glu(t, name, input, dim=-1):
    x = t.of(input)
    shape = list(x.dims)
    shape[dim] //= 2
    out = t.make(shape, [x])
    t.note("activation", name, [x], [out])
    return out


@rule("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout")
def dropout(t, name, input, p=0.5, training=True, inplace=False, **kwargs):
    x = t.of(input)
    out = t.make(x.dims, [x])
    t.note("dropout", name, [x], [out], (), {"p": p, "training": kwargs.get("train", training)})
    return out


@rule("to type float half double bfloat16 long int short bool type_as")
def cast(t, name, input, *args, **kwargs):
    x = t.of(input)
    named = {
        "float": torch.float32,
        "half": torch.float16,
        "double": torch.float64,
        "bfloat16": torch.bfloat16,
        "long": torch.int64,
        "int": torch.int32,
        "short": torch.int16,
        "bool": torch.bool,
    }
    dtype = named.get(name)
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, TENSORS):
            dtype = t.of(value).dtype
    if name == "type" and dtype is None:
        raise NoRule("Tensor.type with a string")
    if dtype is None or dtype is x.dtype:  # nothing happens
        return x if type(input) is Shape else t.make(x.dims, [x])
    out = t.make(x.dims, [x], dtype)
    t.note("copy", name, [x], [out])
    return out


@rule("requires_grad_")
def requires_grad(t, name, input, *args, **kwargs):
    return t.of(input)


@rule("detach")
def detached(t, name, input):
    x = t.of(input)
    return Shape(x.dims, x.dtype, x.device, t, False, False, x.fed, x.origins)
