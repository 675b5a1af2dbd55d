"""Rules of functions along dimensions: sums, means, extremes, norms, sorting."""

import torch

from convcost.counting.shapes.arguments import axis_of
from convcost.counting.shapes.objects import TENSORS
from convcost.counting.shapes.rules_elementwise import arithmetic
from convcost.counting.shapes.table import rule


def _reduced(shape, dim, keepdim) -> tuple[int, ...]:
    if dim is None or dim in ((), []):
        dims = set(range(len(shape)))
    else:
        dims = {axis_of(d, len(shape)) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))}
    if keepdim:
        return tuple(1 if i in dims else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dims)


@rule("sum mean prod amax amin nansum nanmean logsumexp all any argmax argmin count_nonzero")
def reduction(t, name, input, dim=None, keepdim=False, *, axis=None, dtype=None, out=None, **kw):
    x = t.of(input)
    if isinstance(dim, torch.dtype):
        dim, dtype = None, dim
    dim = dim if axis is None else axis
    kind = {"all": torch.bool, "any": torch.bool, "argmax": torch.int64, "argmin": torch.int64}
    kind["count_nonzero"] = torch.int64
    if name in ("sum", "prod") and dtype is None and not x.dtype.is_floating_point:
        dtype = torch.int64
    out = t.make(
        _reduced(x.dims, dim, keepdim or kw.get("keepdims", False)), [x], kind.get(name, dtype)
    )
    t.note("reduction", name, [x], [out], (), {"dim": dim})
    return out


@rule("norm")
def vector_norm(t, name, input, p=2, dim=None, keepdim=False, out=None, dtype=None):
    return reduction(t, name, input, dim, keepdim, dtype=dtype)


@rule("linalg_vector_norm linalg_norm")
def linalg_norm(t, name, input, ord=2, dim=None, keepdim=False, *, dtype=None, out=None):
    return reduction(t, name, input, dim, keepdim, dtype=dtype)


@rule("std var var_mean std_mean")
def variance(t, name, input, dim=None, *args, keepdim=False, **kwargs):
    x = t.of(input)
    if isinstance(dim, bool):
        dim, args = None, (dim, *args)
    keepdim = args[1] if len(args) > 1 else keepdim
    out = t.make(_reduced(x.dims, dim, keepdim), [x])
    t.note("reduction", name, [x], [out], (), {"dim": dim})
    return (out, t.make(out.dims, [out])) if name.endswith("_mean") else out


@rule("max min median mode")
def extreme(t, name, input, dim=None, keepdim=False, **kwargs):
    if isinstance(dim, TENSORS):
        return arithmetic(t, "maximum" if name == "max" else "minimum", input, dim)
    if dim is None and "other" in kwargs:
        return arithmetic(t, "maximum" if name == "max" else "minimum", input, kwargs["other"])
    x = t.of(input)
    out = t.make(_reduced(x.dims, dim, keepdim), [x])
    t.note("reduction", name, [x], [out], (), {"dim": dim})
    if dim is None:
        return out
    return getattr(torch.return_types, name)((out, t.make(out.dims, [out], torch.int64)))


@rule("sort topk")
def sort(t, name, input, *args, **kwargs):
    x = t.of(input)
    shape = list(x.dims)
    if name == "topk":
        k = kwargs.get("k", args[0] if args else None)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
        shape[axis_of(dim, len(shape))] = k
    out = t.make(shape, [x])
    t.note("sort", name, [x], [out])
    return getattr(torch.return_types, name)((out, t.make(shape, [out], torch.int64)))


@rule("argsort")
def argsort(t, name, input, *args, **kwargs):
    x = t.of(input)
    out = t.make(x.dims, [x], torch.int64)
    t.note("sort", name, [x], [out])
    return out
