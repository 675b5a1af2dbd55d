"""Rules of functions that only move data: views, permutations, splits, padding, resampling,
concatenation. None multiplies; most need no more than a function from shape to shape (`view`).
"""

import itertools
import math

import torch

from convcost.core.errors import BadInputError
from convcost.counting import ops
from convcost.counting.shapes.arguments import as_ints, as_tuple, axis_of
from convcost.counting.shapes.objects import NeedsValues, NoRule, Shape
from convcost.counting.shapes.table import KINDS, rule


def view(names: str, op: str = "reshape"):
    """Register a function of shapes alone as the rule of data movements."""

    def register(function):
        def moved(t, name, input, *args, **kwargs):
            x = t.of(input)
            shape = function(tuple(x.dims), *args, **kwargs)
            if type(shape) is list:
                outs = [t.make(s, [x]) for s in shape]
                t.note(op, name, [x], outs)
                return tuple(outs)
            out = t.make(shape, [x])
            t.note(op, name, [x], [out])
            return out

        KINDS.update(dict.fromkeys(names.split(), op))
        rule(names)(moved)
        return function

    return register


def _resized(shape, sizes) -> tuple[int, ...]:
    total = math.prod(shape)
    if -1 in sizes:
        known = -math.prod(sizes)
        if known == 0 or total % known:
            raise BadInputError(f"a view of {tuple(shape)} as {tuple(sizes)}")
        sizes = [total // known if n == -1 else n for n in sizes]
    if math.prod(sizes) != total:
        raise BadInputError(f"a view of {tuple(shape)} as {tuple(sizes)}: other number of elements")
    return tuple(sizes)


@rule("view reshape _unsafe_view _reshape_alias")
def reshaping(t, name, input, *sizes, **kwargs):
    x = t.of(input)
    if sizes and isinstance(sizes[0], torch.dtype):
        raise NoRule("view with a dtype")
    sizes = as_ints(sizes or tuple(kwargs.values()))
    out = t.make(_resized(x.dims, sizes), [x])
    t.note("reshape", name, [x], [out])
    return out


@rule("view_as reshape_as expand_as")
def shaped_as(t, name, input, other):
    x, like = t.of(input), t.of(other)
    shape = ops.broadcast(x.dims, like.dims) if name == "expand_as" else like.dims
    if name != "expand_as":
        _resized(x.dims, list(shape))
    out = t.make(shape, [x])
    t.note("reshape", name, [x], [out])
    return out


@view("flatten")
def _flatten(shape, start_dim=0, end_dim=-1):
    if not shape:
        return (1,)
    a, b = axis_of(start_dim, len(shape)), axis_of(end_dim, len(shape))
    return (*shape[:a], math.prod(shape[a : b + 1]), *shape[b + 1 :])


@view("unflatten")
def _unflatten(shape, dim, sizes):
    d = axis_of(dim, len(shape))
    return (*shape[:d], *_resized((shape[d],), list(sizes)), *shape[d + 1 :])


@view("ravel")
def _ravel(shape):
    return (math.prod(shape),)


@view("permute")
def _permute(shape, *sizes, dims=()):
    dims = sizes or (dims,)
    order = [axis_of(d, len(shape)) for d in as_ints(dims)] if dims else []
    if sorted(order) != list(range(len(shape))):
        raise BadInputError(f"permute of {shape} by {dims}")
    return tuple(shape[d] for d in order)


@view("transpose swapaxes swapdims")
def _transpose(shape, dim0, dim1):
    out = list(shape)
    a, b = axis_of(dim0, len(out)), axis_of(dim1, len(out))
    if out:
        out[a], out[b] = out[b], out[a]
    return tuple(out)


@view("t adjoint")
def _t(shape):
    return (*shape[:-2], *shape[:-3:-1])


@view("movedim moveaxis")
def _movedim(shape, source, destination):
    source = source if isinstance(source, (tuple, list)) else (source,)
    destination = destination if isinstance(destination, (tuple, list)) else (destination,)
    rank = len(shape)
    out = {
        axis_of(d, rank): shape[axis_of(s, rank)] for s, d in zip(source, destination, strict=True)
    }
    taken = {axis_of(s, rank) for s in source}
    rest = iter([n for i, n in enumerate(shape) if i not in taken])
    return tuple(out[i] if i in out else next(rest) for i in range(rank))


@view("squeeze")
def _squeeze(shape, dim=None):
    dims = range(len(shape)) if dim is None else dim if isinstance(dim, (tuple, list)) else (dim,)
    dims = {axis_of(d, len(shape)) for d in dims}
    return tuple(n for i, n in enumerate(shape) if not (i in dims and n == 1))


@view("unsqueeze")
def _unsqueeze(shape, dim):
    d = axis_of(dim, len(shape) + 1)
    return (*shape[:d], 1, *shape[d:])


@view("expand broadcast_to")
def _expand(shape, *sizes, implicit=False):
    sizes = as_ints(sizes)
    rank = len(sizes)
    padded = (1,) * (rank - len(shape)) + tuple(shape)
    out = tuple(old if new == -1 else new for old, new in zip(padded, sizes, strict=True))
    if any(old not in (1, new) for old, new in zip(padded, out, strict=True)):
        raise BadInputError(f"expand of {shape} to {tuple(sizes)}")
    return out


@view("chunk")
def _chunk(shape, chunks, dim=0):
    n = shape[axis_of(dim, len(shape))]
    return _split(shape, max(-(n // -chunks), 1), dim)


@view("split split_with_sizes unsafe_split unsafe_chunk")
def _split(shape, split_size_or_sections=None, dim=0, split_size=None):
    d = axis_of(dim, len(shape))
    n = shape[d]
    size = split_size_or_sections if split_size is None else split_size
    if isinstance(size, int):
        sizes = [min(size, n - i) for i in range(0, n, size)] or [0]
    else:
        sizes = list(size)
        if sum(sizes) != n:
            raise BadInputError(f"split of {n} elements into {sizes}")
    return [(*shape[:d], s, *shape[d + 1 :]) for s in sizes]


@view("tensor_split")
def _tensor_split(shape, indices_or_sections=None, dim=0, *, indices=None, sections=None):
    d = axis_of(dim, len(shape))
    n = shape[d]
    cut = next(c for c in (indices_or_sections, indices, sections) if c is not None)
    if isinstance(cut, int):
        small, more = divmod(n, cut)
        sizes = [small + 1] * more + [small] * (cut - more)
    else:
        edges = [0, *(min(c, n) for c in cut), n]
        sizes = [max(b - a, 0) for a, b in itertools.pairwise(edges)]
    return [(*shape[:d], s, *shape[d + 1 :]) for s in sizes]


@view("unbind")
def _unbind(shape, dim=0):
    d = axis_of(dim, len(shape))
    return [(*shape[:d], *shape[d + 1 :])] * shape[d]


@view("narrow")
def _narrow(shape, dim, start, length):
    d = axis_of(dim, len(shape))
    return (*shape[:d], length, *shape[d + 1 :])


@view("select")
def _select(shape, dim, index):
    d = axis_of(dim, len(shape))
    return (*shape[:d], *shape[d + 1 :])


@view("unfold")
def _unfold(shape, dimension, size, step):
    d = axis_of(dimension, len(shape))
    return (*shape[:d], (shape[d] - size) // step + 1, *shape[d + 1 :], size)


@view("contiguous alias conj _conj resolve_conj resolve_neg lift_fresh positive pin_memory")
def _as_is(shape, *args, **kwargs):
    return shape


@view("clone roll flip fliplr flipud rot180 cpu cuda", "copy")
def _copied(shape, *args, **kwargs):
    return shape


@view("repeat tile", "copy")
def _repeat(shape, *sizes, **kwargs):
    sizes = as_ints(sizes or tuple(kwargs.values()))
    rank = max(len(sizes), len(shape))
    a = (1,) * (rank - len(shape)) + tuple(shape)
    b = (1,) * (rank - len(sizes)) + tuple(sizes)
    return tuple(m * n for m, n in zip(a, b, strict=True))


@view("repeat_interleave", "copy")
def _repeat_interleave(shape, repeats, dim=None, output_size=None):
    if not isinstance(repeats, int):
        raise NeedsValues("repeat_interleave with a tensor of repeats")
    if dim is None:
        return (math.prod(shape) * repeats,)
    d = axis_of(dim, len(shape))
    return (*shape[:d], shape[d] * repeats, *shape[d + 1 :])


@view("pad constant_pad_nd", "copy")
def _pad(shape, pad, mode="constant", value=None):
    out = list(shape)
    for i in range(len(pad) // 2):
        out[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    if min(out, default=0) < 0:
        raise BadInputError(f"pad of {shape} by {pad}")
    return tuple(out)


@view("pixel_shuffle")
def _pixel_shuffle(shape, upscale_factor):
    *rest, c, h, w = shape
    r = upscale_factor
    if c % (r * r):
        raise BadInputError(f"pixel_shuffle of {c} channels by {r}")
    return (*rest, c // (r * r), h * r, w * r)


@view("pixel_unshuffle")
def _pixel_unshuffle(shape, downscale_factor):
    *rest, c, h, w = shape
    r = downscale_factor
    return (*rest, c * r * r, h // r, w // r)


@view("channel_shuffle native_channel_shuffle")
def _channel_shuffle(shape, groups):
    return shape


@view("im2col", "copy")
def _im2col(shape, kernel_size, dilation=1, padding=0, stride=1):
    kernel = as_tuple(kernel_size, 2)
    spatial = ops.conv_output(
        shape[-2:], kernel, as_tuple(stride, 2), as_tuple(padding, 2), as_tuple(dilation, 2)
    )
    return (*shape[:-3], shape[-3] * math.prod(kernel), math.prod(spatial))


@view("col2im", "copy")
def _col2im(shape, output_size, kernel_size, *args, **kwargs):
    return (
        *shape[:-2],
        shape[-2] // math.prod(as_tuple(kernel_size, 2)),
        *as_tuple(output_size, 2),
    )


@rule("interpolate upsample")
def interpolate(t, name, input, size=None, scale_factor=None, mode="nearest", *args, **kwargs):
    x = t.of(input)
    n = len(x.dims) - 2
    if size is None:
        factors = as_tuple(scale_factor, n)
        size = [math.floor(s * f) for s, f in zip(x.dims[2:], factors, strict=True)]
    out = t.make((*x.dims[:2], *as_tuple(size, n)), [x])
    t.note("upsample", name, [x], [out], (), {"mode": mode})
    return out


@rule("grid_sample")
def grid_sample(t, name, input, grid, *args, **kwargs):
    x, g = t.of(input), t.of(grid)
    out = t.make((*x.dims[:2], *g.dims[1:-1]), [x, g], x.dtype)
    t.note("upsample", name, [x, g], [out])
    return out


@rule("cat concat concatenate")
def cat(t, name, tensors, dim=0, *, axis=None, out=None):
    parts = [x if type(x) is Shape else t.of(x) for x in tensors]
    full = [p for p in parts if p.dims != (0,)] or parts
    first = full[0].dims
    d = axis_of(dim if axis is None else axis, len(first))
    before, after, total, dtype = first[:d], first[d + 1 :], 0, full[0].dtype
    for part in full:
        n = part.dims
        if len(n) != len(first) or n != (*before, n[d], *after):
            raise BadInputError(f"cat along {d} of {', '.join(str(p.dims) for p in full)}")
        total += n[d]
        if part.dtype is not dtype:
            dtype = torch.promote_types(dtype, part.dtype)
    out = t.make((*before, total, *after), parts, dtype)
    t.note("concat", "cat", parts, [out], (), {"dim": d})
    return out


@rule("stack")
def stack(t, name, tensors, dim=0, *, out=None):
    parts = [t.of(x) for x in tensors]
    shape = parts[0].dims
    if any(p.dims != shape for p in parts):
        raise BadInputError(f"stack of {', '.join(str(tuple(p.dims)) for p in parts)}")
    d = axis_of(dim, len(shape) + 1)
    out = t.make((*shape[:d], len(parts), *shape[d:]), parts)
    t.note("concat", name, parts, [out], (), {"dim": d})
    return out


@rule("meshgrid")
def meshgrid(t, name, *tensors, indexing="ij"):
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tensors[0]
    parts = [t.of(x) for x in tensors]
    shape = [math.prod(p.dims) for p in parts]
    if indexing == "xy" and len(shape) > 1:
        shape[0], shape[1] = shape[1], shape[0]
    outs = tuple(t.make(shape, [p]) for p in parts)
    t.note("reshape", name, parts, outs)
    return outs
