"""Rules of functions that move or map data, where the generic rule is too slow or says too little.

The fast ones answer `NotImplemented` for a call out of the ordinary; then the generic rule does it.
"""

import numpy as np
import torch

from convcost.counting import ops
from convcost.counting.shapes.arguments import axis_of
from convcost.counting.shapes.generic import Question, generic, noted
from convcost.counting.shapes.kinds import KINDS
from convcost.counting.shapes.objects import TENSORS, NeedsValues, NoRule, Refused, Shape, words
from convcost.counting.shapes.table import rule

# ---------------------------------------------------------------- the fast ones

_OF_EACH_ELEMENT = " ".join(
    name
    for name, op in KINDS.items()
    if op in ("activation", "comparison", "elementwise")
    and name not in words("prelu _prelu_kernel glu where and or xor angle complex polar outer ger")
)


@rule(_OF_EACH_ELEMENT)
def elementwise(t, name, *args, **kwargs):
    """Floating-point tensors of one dtype; others, by torch's rules of promotion."""
    op = KINDS[name]
    if len(args) == 1 and not kwargs:
        x = t.of(args[0])
        tensors, shape, dtype = [x], x.dims, x.dtype
    else:
        given = (*args, *kwargs.values()) if kwargs else args
        tensors = [t.of(x) for x in given if type(x) is Shape or isinstance(x, TENSORS)]
        if not tensors or kwargs.get("dtype") is not None:
            return NotImplemented
        shape, dtype = tensors[0].dims, tensors[0].dtype
        for s in tensors[1:]:
            if s.dtype is not dtype:
                return NotImplemented
            if s.dims != shape:
                shape = ops.broadcast(shape, s.dims)
    if not dtype.is_floating_point:
        return NotImplemented
    out = t.make(shape, tensors, torch.bool if op == "comparison" else dtype)
    t.note(op, name, tensors, [out])
    return out


@rule("cat")
def cat(t, name, tensors, dim=0, **kwargs):
    parts = [x if type(x) is Shape else t.of(x) for x in tensors]
    first = parts[0].dims
    if not first or kwargs or len({p.dtype for p in parts}) > 1:
        return NotImplemented
    try:
        sizes = list(zip(*[p.dims for p in parts], strict=True))  # of all parts, per dimension
    except ValueError:
        return NotImplemented
    d = axis_of(dim, len(first))
    total = sum(sizes[d])
    del sizes[d]
    if any([len(set(equal)) > 1 for equal in sizes]):
        return NotImplemented
    out = t.make((*first[:d], total, *first[d + 1 :]), parts)
    t.note("concat", name, parts, [out])
    return out


@rule("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout")
def dropout(t, name, input, p=0.5, training=True, inplace=False, **kwargs):
    x = t.of(input)
    out = t.make(x.dims, [x])
    t.note("dropout", name, [x], [out], (), {"p": p, "training": kwargs.get("train", training)})
    return out


# ---------------------------------------------------------------- by their arguments


@rule("max min")
def extreme(t, name, input, *args, **kwargs):
    """Of one tensor a reduction, of two an elementwise function."""
    other = args[0] if args else kwargs.get("other")
    if not isinstance(other, TENSORS):
        return NotImplemented
    name = "maximum" if name == "max" else "minimum"
    found = elementwise(t, name, input, other)
    return found if type(found) is Shape else generic(getattr(torch, name))(t, name, input, other)


@rule("and or xor")
def logical(t, name, input, other):
    """Python's `&`, `|` and `^`: comparisons of bools, arithmetic on the bits of whole numbers."""
    question = Question(t)
    out = question.ask(getattr(torch, f"bitwise_{name}"), name, (input, other), {})
    op = "comparison" if out.dtype is torch.bool else "elementwise"
    return noted(t, op, name, out, question.tensors, question.tensors)


def _indices(t, key) -> tuple[tuple, bool]:
    """The key with 0 for every index without dimensions (its value does not matter), and whether
    rows are gathered by a tensor, a list or an array.
    """
    keys, gathers = [], False
    for k in key if isinstance(key, tuple) else (key,):
        if isinstance(k, TENSORS):
            dtype = t.of(k).dtype
            if dtype in (torch.bool, torch.uint8):
                raise NeedsValues("indexing with a mask")
            if not t.of(k).dims:
                keys.append(0)
                continue
        elif isinstance(k, (list, range, np.ndarray)):
            array = np.asarray(k)
            if array.dtype == bool:  # of the model's own: the places of its Trues are known
                keys += [places.tolist() for places in array.nonzero()]
                gathers = True
                continue
        gathers |= isinstance(k, (*TENSORS, list, range)) or hasattr(k, "__array__")
        keys.append(k)
    return tuple(keys), gathers


@rule("getitem")
def getitem(t, name, input, key):
    question = Question(t)
    key, gathers = _indices(t, key)
    out = question.ask(torch.Tensor.__getitem__, name, (input, key), {})
    data = question.tensors[:1]
    return noted(t, "embedding" if gathers else "reshape", name, out, data, data)


@rule("setitem")
def setitem(t, name, input, key, value):
    key, _ = _indices(t, key)
    Question(t).ask(torch.Tensor.__setitem__, name, (input, key, value), {})
    x = t.of(input)
    parts = [x, t.of(value)] if isinstance(value, TENSORS) else [x]
    t.note("copy", name, parts, [x])
    if len(parts) == 2:
        y = parts[1]
        x.wants, x.wants_in, x.fed = x.wants or y.wants, x.wants_in or y.wants_in, x.fed or y.fed


@rule("tensor as_tensor")
def tensor(t, name, data, dtype=None, device=None, **kwargs):
    if not isinstance(data, TENSORS):
        return NotImplemented
    x = t.of(data)
    return x if dtype in (None, x.dtype) else t.make(x.dims, [x], dtype)


@rule("one_hot")
def one_hot(t, name, input, num_classes=-1):
    x = t.of(input)
    if num_classes < 0:
        raise NeedsValues("one_hot without num_classes: the largest value")
    out = t.make((*x.dims, num_classes), [x], torch.int64)
    t.note("creation", name, [x], [out])
    return out


@rule("embedding")
def embedding(t, name, input, weight, *args, **kwargs):
    i, w = t.of(input), t.of(weight)
    if i.dtype.is_floating_point:
        raise Refused(
            f"embedding looks up integers, got {i.dtype}; give dtype='int64' for such inputs"
        )
    out = t.make((*i.dims, w.dims[-1]), [w, i], w.dtype)
    out.wants, out.wants_in = w.wants, w.wants_in
    t.note("embedding", name, [i], [out], [w])
    return out


@rule("torch.embedding")
def torch_embedding(t, name, weight, indices, *args, **kwargs):
    return embedding(t, "embedding", indices, weight)


# ---------------------------------------------------------------- dtypes, devices, gradients

_DTYPES = {
    "float": torch.float32,
    "half": torch.float16,
    "double": torch.float64,
    "bfloat16": torch.bfloat16,
    "long": torch.int64,
    "int": torch.int32,
    "short": torch.int16,
    "bool": torch.bool,
}


@rule("to type float half double bfloat16 long int short bool type_as")
def cast(t, name, input, *args, **kwargs):
    x = t.of(input)
    dtype = _DTYPES.get(name)
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


@rule("cpu cuda pin_memory")
def moved(t, name, input, *args, **kwargs):
    x = t.of(input)
    out = t.make(x.dims, [x])
    t.note("copy", name, [x], [out])
    return out


@rule("requires_grad_")
def requires_grad(t, name, input, *args, **kwargs):
    return t.of(input)


@rule("detach")
def detached(t, name, input):
    x = t.of(input)
    return Shape(x.dims, x.dtype, x.device, t, False, False, x.fed, x.origins)


@rule("_assert")
def asserted(t, name, condition, message=""):
    if type(condition) is Shape:
        raise NeedsValues("the forward pass asserts the value of a tensor")
    if not bool(condition):
        raise AssertionError(message)
