"""Rules of indexing: x[…], gather, scatter and embeddings."""

import torch

from convcost.core.errors import BadInputError
from convcost.counting import ops
from convcost.counting.shapes.arguments import axis_of, nested_shape
from convcost.counting.shapes.objects import TENSORS, NeedsValues, Refused
from convcost.counting.shapes.table import rule


@rule("getitem")
def getitem(t, name, input, key):
    x = t.of(input)
    shape, gathers = _indexed(t, tuple(x.dims), key)
    out = t.make(shape, [x])
    t.note("embedding" if gathers else "reshape", name, [x], [out])
    return out


@rule("setitem")
def setitem(t, name, input, key, value):
    x = t.of(input)
    _indexed(t, tuple(x.dims), key)
    parts = [x, t.of(value)] if isinstance(value, TENSORS) else [x]
    t.note("copy", name, parts, [x])
    if len(parts) == 2:
        y = parts[1]
        x.wants, x.wants_in, x.fed = x.wants or y.wants, x.wants_in or y.wants_in, x.fed or y.fed


def _indexed(t, shape, key) -> tuple[tuple[int, ...], bool]:
    """The shape of x[key], and whether rows are gathered by an index tensor or list."""
    keys = key if isinstance(key, tuple) else (key,)
    used = 0
    for k in keys:
        if isinstance(k, TENSORS) and t.of(k).dtype in (torch.bool, torch.uint8):
            raise NeedsValues("indexing with a mask")
        used += k is not None and k is not Ellipsis and not isinstance(k, bool)
    if not any(k is Ellipsis for k in keys):
        keys = (*keys, Ellipsis)
    if used > len(shape):
        raise BadInputError(f"{used} indices for the shape {shape}")
    out: list[int] = []
    lists: list[tuple[int, ...]] = []  # shapes of the advanced indices
    ints = 0
    at: list[int] = []  # where in `out` they stand
    gaps = False
    last_list = None
    d = 0
    for place, k in enumerate(keys):
        if k is Ellipsis:
            n = len(shape) - used
            out.extend(shape[d : d + n])
            d += n
        elif k is None:
            out.append(1)
        elif isinstance(k, slice):
            out.append(len(range(*k.indices(shape[d]))))
            d += 1
        elif isinstance(k, bool):
            raise NeedsValues("indexing with a bool")
        elif isinstance(k, (torch.Tensor, list, range)) or hasattr(k, "__array__"):
            one = tuple(t.of(k).dims) if isinstance(k, TENSORS) else _listed(k)
            if not one:  # a single number: taken like an int
                d += 1
                continue
            gaps |= last_list is not None and place != last_list + 1
            last_list = place
            lists.append(one)
            at.append(len(out))
            d += 1
        else:
            if not -shape[d] <= int(k) < shape[d]:
                raise IndexError(f"index {int(k)} is out of range for dimension {d} of {shape}")
            ints += 1
            d += 1
    if lists:
        found = ops.broadcast(*lists)
        position = 0 if gaps else at[0]
        out[position:position] = found
    return tuple(out), bool(lists)


def _listed(key) -> tuple[int, ...]:
    """The shape of a list or an array of indices; a mask stands for the places of its Trues."""
    shape, leaf = nested_shape(key), key
    while isinstance(leaf, (list, tuple)) and leaf:
        leaf = leaf[0]
    if isinstance(leaf, bool) or str(getattr(leaf, "dtype", "")) == "bool":
        if len(shape) != 1:
            raise NeedsValues("indexing with a mask")
        return (sum(map(bool, key)),)
    return shape


@rule("index_select")
def index_select(t, name, input, dim, index):
    x, i = t.of(input), t.of(index)
    d = axis_of(dim, len(x.dims))
    out = t.make((*x.dims[:d], i.numel(), *x.dims[d + 1 :]), [x])
    t.note("embedding", name, [x, i], [out])
    return out


@rule("gather take_along_dim")
def gather(t, name, input, dim, index=None, **kwargs):
    if isinstance(dim, TENSORS):
        dim, index = index, dim
    x, i = t.of(input), t.of(index)
    out = t.make(i.dims, [x])
    t.note("embedding", name, [x, i], [out])
    return out


@rule("scatter scatter_add index_add index_copy masked_scatter")
def scatter(t, name, input, *args, **kwargs):
    parts = [t.of(x) for x in (input, *args, *kwargs.values()) if isinstance(x, TENSORS)]
    out = t.make(parts[0].dims, parts, parts[0].dtype)
    t.note("copy", name, parts, [out])
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
