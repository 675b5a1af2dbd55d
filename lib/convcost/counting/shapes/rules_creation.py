"""Rules of functions that make a tensor from nothing: zeros, arange, full, new_zeros, …"""

import math

import torch

from convcost.counting.shapes.arguments import as_ints, nested_shape
from convcost.counting.shapes.objects import TENSORS, NeedsValues, Shape
from convcost.counting.shapes.table import rule


def _new(t, name, shape, dtype, device=None):
    if not isinstance(device, torch.device):
        device = torch.device("cpu" if device is None else device)
    out = Shape(shape, dtype or torch.get_default_dtype(), device, t, False, False, False)
    t.note("creation", name, [], [out])
    return out


@rule("zeros ones empty rand randn")
def created(t, name, *size, dtype=None, device=None, **kwargs):
    size = as_ints(size) if size else as_ints((kwargs["size"],))
    return _new(t, name, size, dtype, device)


@rule("full")
def full(t, name, size, fill_value, *, dtype=None, device=None, **kwargs):
    if dtype is None and isinstance(fill_value, (bool, int)):
        dtype = torch.bool if isinstance(fill_value, bool) else torch.int64
    return _new(t, name, as_ints((size,)), dtype, device)


@rule("randint")
def randint(t, name, *args, dtype=torch.int64, device=None, **kwargs):
    size = kwargs.get("size") or next(a for a in args if isinstance(a, (tuple, list)))
    return _new(t, name, size, dtype, device)


@rule("randperm")
def randperm(t, name, n, *, dtype=torch.int64, device=None, **kwargs):
    return _new(t, name, (n,), dtype, device)


@rule("arange")
def arange(t, name, *args, dtype=None, device=None, **kwargs):
    start, end, step = 0, kwargs.get("end"), kwargs.get("step", 1)
    if len(args) == 1:
        end = args[0]
    elif args:
        start, end, step = (*args, step)[:3]
    start = kwargs.get("start", start)
    if dtype is None and all(isinstance(v, int) for v in (start, end, step)):
        dtype = torch.int64
    return _new(t, name, (max(math.ceil((end - start) / step), 0),), dtype, device)


@rule("linspace logspace")
def linspace(t, name, start, end, steps, *args, dtype=None, device=None, **kwargs):
    return _new(t, name, (steps,), dtype, device)


@rule("eye")
def eye(t, name, n, m=None, *, dtype=None, device=None, **kwargs):
    return _new(t, name, (n, n if m is None else m), dtype, device)


@rule("tensor as_tensor")
def tensor(t, name, data, dtype=None, device=None, **kwargs):
    if isinstance(data, TENSORS):
        x = t.of(data)
        return x if dtype in (None, x.dtype) else t.make(x.dims, [x], dtype)
    leaf = data
    while isinstance(leaf, (list, tuple)) and leaf:
        leaf = leaf[0]
    if dtype is None:
        kinds = {bool: torch.bool, int: torch.int64}
        dtype = kinds.get(type(leaf), torch.get_default_dtype())
    return _new(t, name, nested_shape(data), dtype, device)


@rule("zeros_like ones_like empty_like full_like rand_like randn_like")
def like(t, name, input, *args, dtype=None, **kwargs):
    x = t.of(input)
    return _new(t, name, x.dims, dtype or x.dtype, x.device)


@rule("new_zeros new_ones new_empty new_full new_tensor")
def new(t, name, input, size, *args, dtype=None, device=None, **kwargs):
    x = t.of(input)
    if name == "new_tensor":
        shape = nested_shape(size)
    elif name == "new_full":
        shape = as_ints((size,))
    else:
        shape = as_ints((size, *args))
    return _new(t, name, shape, dtype or x.dtype, device or x.device)


@rule("_assert")
def asserted(t, name, condition, message=""):
    if type(condition) is Shape:
        raise NeedsValues("the forward pass asserts the value of a tensor")
    if not bool(condition):
        raise AssertionError(message)
