"""The generic rule: what only moves or maps data is asked of torch itself.

The function runs on tensors of the meta device, which have a shape and a dtype and no data; `KINDS`
says of what type the call is. So torch's own words answer for every shape, every dtype and every
argument that does not fit.
"""

from collections.abc import Callable

import torch

from convcost.counting.shapes.kinds import KINDS
from convcost.counting.shapes.objects import NeedsValues, Shape, Weight, words

# The first tensor alone is read; the others say where, or how large.
FIRST_ONLY = words("getitem view_as reshape_as expand_as")
# Rows of the first tensor: whether it needs a gradient decides for the result.
ROWS = words("gather take_along_dim index_select")
# What a convention reads of a call: name, place among the arguments, default.
_NOTED = {
    "softmax": ("dim", 1, None),
    "log_softmax": ("dim", 1, None),
    "softmin": ("dim", 1, None),
    "interpolate": ("mode", 3, "nearest"),
    "upsample": ("mode", 3, "nearest"),
}
_NUMBERS = words("tensor as_tensor new_tensor full full_like new_full")
_LEFT_OUT = words("generator pin_memory")  # of no meaning on the meta device


class Question:
    """The arguments of one call, with a tensor of the meta device for every tensor (`Shape`,
    parameter, buffer); `tensors` are what stands for those here, in order.
    """

    def __init__(self, t):
        self.t, self.tensors = t, []

    def of(self, x):
        kind = type(x)
        if kind is tuple:
            return tuple([self.of(item) for item in x])
        if kind is list:
            return [self.of(item) for item in x]
        if kind is slice and any(type(n) is Shape for n in (x.start, x.stop, x.step)):
            raise NeedsValues("the forward pass asks for the value of a tensor (in a slice)")
        if kind is not Shape and kind is not Weight and not isinstance(x, torch.Tensor):
            return x
        shape = self.t.of(x)
        self.tensors.append(shape)
        return self.t.on_meta(shape.dims, shape.dtype)

    def ask(self, func: Callable, name: str, args, kwargs):
        """What torch gives for these arguments, as tensors of the meta device."""
        with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
            args = tuple([self.of(x) for x in args])
            kwargs = {k: self.of(x) for k, x in kwargs.items() if k not in _LEFT_OUT}
            if "device" in kwargs or (not self.tensors and KINDS.get(name) == "creation"):
                kwargs["device"] = "meta"
            known = self.t.answers
            key = (func, args, *map(type, args), *kwargs.items(), *map(type, kwargs.values()))
            try:
                if key in known:
                    return known[key]
            except TypeError:  # a list or a slice cannot be a key
                key = None
            try:
                out = func(*args, **kwargs)
            except NotImplementedError as error:  # torch's way to say: as long as the data says
                shape = "indexing with a mask" if "item" in name else f"the shape that {name} gives"
                raise NeedsValues(shape) from error
            if key is not None:
                known[key] = out
            return out


def answered(t, out, parents):
    """The Shapes for what torch gave: same structure, made from `parents`."""
    if isinstance(out, torch.Tensor):
        return t.make(out.shape, parents, out.dtype)
    if isinstance(out, (tuple, list)):
        shapes = [answered(t, x, parents) for x in out]
        return tuple(shapes) if type(out) in (tuple, list) else type(out)(shapes)
    return out


def generic(func: Callable) -> Callable:
    """The rule (tracer, name, *args, **kwargs) of a function whose name is in `KINDS`."""

    def rule(t, name, *args, **kwargs):
        op = KINDS[name]
        if op == "creation":
            return _created(t, func, name, args, kwargs)
        question = Question(t)
        out = question.ask(func, name, args, kwargs)
        data = question.tensors
        if name in FIRST_ONLY:
            data = data[:1]
        return noted(t, op, name, out, data, data[:1] if name in ROWS else data, args, kwargs)

    return rule


def noted(t, op, name, out, data, parents, args=(), kwargs=None):
    """Note the call and return the Shapes of its results."""
    made = answered(t, out, parents)
    outputs = [x for x in (made if isinstance(made, tuple) else (made,)) if type(x) is Shape]
    if op in ("reduction", "sort"):
        outputs = outputs[:1]  # the values; the places beside them are a by-product
    attrs = None
    if name in _NOTED:
        key, place, default = _NOTED[name]
        attrs = {key: (kwargs or {}).get(key, args[place] if len(args) > place else default)}
    t.note(op, name, data, outputs, (), attrs)
    return made


def _created(t, func, name, args, kwargs):
    """A tensor made from nothing, or from the shape of another one."""
    if name in _NUMBERS:  # values among the arguments do not matter, only how many they are
        like = args[:1] if name not in ("tensor", "as_tensor", "full") else ()
        args = (*like, *[_number(x) for x in args[len(like) :]])
        kwargs = {k: _number(x) for k, x in kwargs.items()}
    question = Question(t)
    device = kwargs.get("device")
    out = question.ask(func, name, args, kwargs)
    if device is None:
        device = question.tensors[0].device if question.tensors else "cpu"
    out = Shape(out.shape, out.dtype, torch.device(device), t, False, False, False)
    t.note("creation", name, [], [out])
    return out


def _number(x):
    if type(x) is Shape and not x.dims:
        return torch.zeros((), dtype=x.dtype).item()
    return type(x)(map(_number, x)) if type(x) in (list, tuple) else x
