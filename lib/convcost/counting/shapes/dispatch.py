"""From a torch function to the code that answers it on shapes: its entry (tracer, args, kwargs).

An entry is found once per torch function and kept in `ENTRIES`: a rule of the table, a question
that the tensor answers itself, a property, a torch function written in Python that is followed
inside, or the refusal `NoRule`. The tensor methods of `Shape` go to their entries from here too.
"""

import types
from collections.abc import Callable

import torch
from torch.utils._pytree import tree_leaves

from convcost.core.errors import BadInputError
from convcost.counting.shapes.generic import generic
from convcost.counting.shapes.kinds import KINDS
from convcost.counting.shapes.objects import NeedsValues, NoRule, Shape, Weight, words
from convcost.counting.shapes.table import RENAMED, RULES, plain_name

ENTRIES: dict[Callable, Callable] = {}  # torch function -> entry(tracer, args, kwargs)

# answered by the tensor itself; on a parameter they cost nothing and change nothing
QUERIES = words(
    "size dim ndimension numel nelement element_size stride is_floating_point is_complex "
    "is_contiguous get_device __len__ is_same_size is_tensor is_storage is_inference is_signed "
    "has_names __repr__ __format__ __hash__ data_ptr storage_offset _is_view is_shared "
    "is_pinned untyped_storage"
)
VALUES = words(
    "item tolist numpy __bool__ __int__ __float__ __index__ __contains__ is_nonzero equal "
    "allclose __array__ nonzero unique"
)
# TransformerEncoder asks for the values of a padding mask, to leave the padding out. Nobody knows
# them here: what is counted is the whole length, as in training mode and as if nothing were padded.
ANSWERS = {"_nested_tensor_from_mask_left_aligned": False}
RESHAPING = words("squeeze unsqueeze transpose t swapaxes swapdims")  # in place: other shape
GETTERS_OF_TENSORS = frozenset(("T", "mT", "H", "mH", "data", "real"))


def entry_of(func) -> Callable:
    """The entry for a torch function, found once and kept."""
    entry = ENTRIES[func] = _find(func)
    return entry


def _no(*args, **kwargs):
    return False


def _find(func) -> Callable:
    raw = getattr(func, "__name__", str(func))
    if raw in ("__get__", "__set__", "__delete__"):
        return _property(func, raw)
    if raw in QUERIES:
        return lambda t, args, kwargs: _query(func, raw, args, kwargs)
    if raw in ANSWERS:
        return lambda t, args, kwargs: ANSWERS[raw]
    if raw in VALUES:
        return lambda t, args, kwargs: _value(func, args, kwargs)
    if getattr(func, "__module__", "") == "torch.nn.init":  # fills a tensor with values
        return lambda t, args, kwargs: [*args, *kwargs.values()][0]
    name = RENAMED.get(func) or plain_name(raw)
    if name in RULES or name in KINDS:
        found = _by_name(func, raw, name)
        if _writes(raw):
            return lambda t, args, kwargs: _write(name, t, args, kwargs, found)
        return found
    if isinstance(func, types.FunctionType):
        guards = [n for n in func.__code__.co_names if n.startswith("has_torch_function")]
        if guards and all(n in func.__globals__ for n in guards):
            return _followed(func)
    return missing_rule(raw, func)


def _by_name(func, raw, name):
    """The rule of that name; the generic one where there is none, or where it declines."""
    fast, general = RULES.get(name), generic(func) if name in KINDS else None
    if fast is None:
        return lambda t, args, kwargs: general(t, name, *args, **kwargs)
    reflected = raw.startswith("__r") and "r" + name in raw

    def entry(t, args, kwargs):
        out = fast(t, name, *(args[::-1] if reflected else args), **kwargs)
        return general(t, name, *args, **kwargs) if out is NotImplemented else out

    return entry


def missing_rule(raw, func):
    def missing(t, args, kwargs):
        # torch also hands over functions that are about no tensor (device, set_grad_enabled)
        if not any(isinstance(x, torch.Tensor) for x in tree_leaves((args, kwargs))):
            out = func(*args, **kwargs)
            if not any(isinstance(x, torch.Tensor) for x in tree_leaves(out)):
                return out
        raise NoRule(raw)

    return missing


def _writes(raw: str) -> bool:
    if raw.startswith("__"):
        return raw.startswith("__i") and raw not in ("__invert__",)
    return raw.endswith("_")


def _write(name, t, args, kwargs, found):
    """An in-place function: the result's origin goes to the target, which keeps its shape."""
    result = found(t, args, kwargs)
    target = t.of(args[0])
    if type(result) is not Shape or type(target) is Weight:
        return result
    if target.dims != result.dims and name not in RESHAPING:
        raise BadInputError(f"{name}: {result.dims} cannot be written into {target}")
    target.wants |= result.wants
    target.wants_in |= result.wants_in
    target.fed |= result.fed
    target.origins = () if target.fed else result.origins
    target.resize(result.dims, target.dtype)
    return target


def _property(func, kind):
    name = getattr(func.__self__, "__name__", "")

    def get(t, args, kwargs):
        x = args[0]
        if type(x) is Shape:
            return getattr(x, name)
        if name in GETTERS_OF_TENSORS:
            return getattr(t.shown(t.of(x)), name)
        return func(*args, **kwargs)

    def leave_alone(t, args, kwargs):
        return None

    return get if kind == "__get__" else leave_alone


def _query(func, raw, args, kwargs):
    x = args[0]
    if type(x) is not Shape:
        return func(*args, **kwargs)
    if raw == "is_tensor":
        return True
    return getattr(x, raw)(*args[1:], **kwargs)


def _value(func, args, kwargs):
    """Values of existing tensors (a flag in a buffer) are read; a Shape has none."""
    if any(type(leaf) is Shape for leaf in tree_leaves((args, kwargs))):
        raise NeedsValues(f"the forward pass asks for the value of a tensor ({func.__name__})")
    return func(*args, **kwargs)


def _followed(func):
    """A torch function written in Python: a copy of it that does not hand over to overrides."""
    world = dict(func.__globals__)
    for guard in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        world[guard] = _no
    copy = types.FunctionType(
        func.__code__, world, func.__name__, func.__defaults__, func.__closure__
    )
    copy.__kwdefaults__ = func.__kwdefaults__
    return lambda t, args, kwargs: t.inside(copy, args, kwargs)


# ---------------------------------------------------------------- the methods of Shape

METHODS: dict[str, Callable] = {}  # name -> entry of the tensor method, filled on demand


def _method(name: str) -> Callable:
    """A tensor method that goes to its rule without the way through torch."""

    def method(self, *args, **kwargs):
        entry = METHODS.get(name)
        if entry is None:
            entry = METHODS[name] = entry_of(getattr(torch.Tensor, name))
        return entry(self.tracer, (self, *args), kwargs)

    method.__name__ = name
    return method


def _attribute(name: str) -> property:
    def get(self):
        if name.startswith("is_"):
            return False
        raise NoRule(f"Tensor.{name}")

    return property(get)


_OPERATORS = words(
    "add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv floordiv rfloordiv mod "
    "rmod pow rpow ipow matmul rmatmul imatmul neg pos abs invert lt le gt ge and or xor rand ror "
    "rxor iand ior ixor getitem setitem"
)
for _name in dir(torch.Tensor):
    if _name in Shape.__dict__ or (_name.startswith("_") and _name[2:-2] not in _OPERATORS):
        continue
    _made = _method if callable(getattr(torch.Tensor, _name)) else _attribute
    setattr(Shape, _name, _made(_name))
