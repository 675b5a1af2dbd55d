"""Rules of everything that multiplies and accumulates: convolutions, linear layers, matrix
products, einsum, attention and recurrent nets.
"""

import math

from convcost.core.errors import BadInputError
from convcost.counting import ops
from convcost.counting.shapes.arguments import added, as_tuple, axis_of, gradients_of, present
from convcost.counting.shapes.objects import NoRule, Refused
from convcost.counting.shapes.table import rule


def _same_kind(name: str, x, w) -> None:
    """Refuses whole numbers where the weights are real: torch multiplies no such pair."""
    if x.dtype is w.dtype:
        return
    if w.dtype.is_floating_point and not (x.dtype.is_floating_point or x.dtype.is_complex):
        raise Refused(f"{name} got numbers of {x.dtype}, and its weights are {w.dtype}")


@rule("conv1d conv2d conv3d")
def convolution(t, name, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    x, w = t.of(input), t.of(weight)
    n = int(name[4])
    batched = len(x.dims) == n + 2
    if len(w.dims) != n + 2 or len(x.dims) not in (n + 1, n + 2):
        raise BadInputError(f"{name} of {tuple(x.dims)} with a weight {tuple(w.dims)}")
    _same_kind(name, x, w)
    batch = x.dims[0] if batched else 1
    channels, size, kernel = x.dims[-n - 1], x.dims[-n:], tuple(w.dims[2:])
    out_channels = w.dims[0]
    stride, dilation = as_tuple(stride, n), as_tuple(dilation, n)
    if channels != w.dims[1] * groups:
        raise BadInputError(
            f"{name} expects {w.dims[1] * groups} input channels, got {channels} in {tuple(x.dims)}"
        )
    if padding == "same":  # stride 1: as many outputs as inputs
        spatial = tuple(size)
    else:
        padding = (0,) * n if padding == "valid" else as_tuple(padding, n)
        spatial = ops.conv_output(size, kernel, stride, padding, dilation)
    macs = ops.conv_macs(batch, channels, out_channels, kernel, spatial, groups)
    weights = [w] if bias is None else [w, t.of(bias)]
    shape = (batch, out_channels, *spatial) if batched else (out_channels, *spatial)
    out = t.make(shape, [x, *weights], x.dtype)
    attrs = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "kernel_size": kernel,
        "bias": bias is not None,
    }
    t.note("conv", name, [x], [out], weights, attrs, macs, *gradients_of(macs, x, w))
    return out


@rule("conv_transpose1d conv_transpose2d conv_transpose3d")
def transposed_convolution(
    t, name, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    x, w = t.of(input), t.of(weight)
    n = int(name[14])
    batched = len(x.dims) == n + 2
    _same_kind(name, x, w)
    batch = x.dims[0] if batched else 1
    channels, size, kernel = x.dims[-n - 1], tuple(x.dims[-n:]), tuple(w.dims[2:])
    if channels != w.dims[0]:
        raise BadInputError(f"{name} expects {w.dims[0]} input channels, got {tuple(x.dims)}")
    out_channels = w.dims[1] * groups
    stride, padding = as_tuple(stride, n), as_tuple(padding, n)
    dilation, output_padding = as_tuple(dilation, n), as_tuple(output_padding, n)
    spatial = ops.conv_transpose_output(size, kernel, stride, padding, output_padding, dilation)
    macs = ops.conv_transpose_macs(batch, channels, out_channels, kernel, size, groups)
    weights = present(t, weight, bias)
    out = t.make((batch,) * batched + (out_channels, *spatial), [x, *weights], x.dtype)
    attrs = {
        "stride": stride,
        "padding": padding,
        "output_padding": output_padding,
        "dilation": dilation,
        "groups": groups,
        "kernel_size": kernel,
        "bias": bias is not None,
    }
    t.note("conv_transpose", name, [x], [out], weights, attrs, macs, *gradients_of(macs, x, w))
    return out


@rule("linear")
def linear(t, name, input, weight, bias=None):
    x, w = t.of(input), t.of(weight)
    if x.dims[-1:] != w.dims[-1:]:
        raise BadInputError(
            f"linear expects {w.dims[-1]} features, got {tuple(x.dims)} (last dimension)"
        )
    _same_kind(name, x, w)
    macs = ops.linear_macs(math.prod(x.dims[:-1]), x.dims[-1], math.prod(w.dims[:-1]))
    weights = present(t, weight, bias)
    out = t.make((*x.dims[:-1], *w.dims[:-1]), [x, *weights], x.dtype)
    attrs = {"bias": bias is not None}
    t.note("linear", name, [x], [out], weights, attrs, macs, *gradients_of(macs, x, w))
    return out


@rule("bilinear")
def bilinear(t, name, input1, input2, weight, bias=None):
    a, b, w = t.of(input1), t.of(input2), t.of(weight)
    shapes = [(math.prod(a.dims[:-1]), a.dims[-1]), tuple(w.dims)]
    one = ops.einsum_macs("ni,oij->noj", shapes)
    two = shapes[0][0] * math.prod(w.dims[::2])
    weights = present(t, weight, bias)
    out = t.make((*a.dims[:-1], w.dims[0]), [a, b, *weights], a.dtype)
    total = added(gradients_of(one, a, w), gradients_of(two, b, w))
    t.note("matmul", name, [a, b], [out], weights, {"bias": bias is not None}, one + two, *total)
    return out


@rule("matmul mm bmm mv dot vdot inner linalg_matmul")
def matmul(t, name, input, other, **kwargs):
    a, b = t.of(input), t.of(other)
    if name == "inner" and len(b.dims) > 1:
        return tensordot(t, name, a, b, ([-1], [-1]))
    macs = ops.matmul_macs(tuple(a.dims), tuple(b.dims))
    out = t.make(ops.matmul_output(tuple(a.dims), tuple(b.dims)), [a, b])
    t.note("matmul", name, [a, b], [out], (), {}, macs, *gradients_of(macs, a, b))
    return out


@rule("linalg_vecdot")
def vector_products(t, name, x, y, *, dim=-1, out=None):
    a, b = t.of(x), t.of(y)
    shape = ops.broadcast(a.dims, b.dims)
    macs = math.prod(shape)
    axis = axis_of(dim, len(shape))
    out = t.make((*shape[:axis], *shape[axis + 1 :]), [a, b])
    t.note("matmul", name, [a, b], [out], (), {}, macs, *gradients_of(macs, a, b))
    return out


@rule("addmm addmv addbmm baddbmm")
def add_matmul(t, name, input, a, b, **kwargs):
    c, a, b = t.of(input), t.of(a), t.of(b)
    macs = ops.matmul_macs(tuple(a.dims), tuple(b.dims))
    shape = ops.matmul_output(tuple(a.dims), tuple(b.dims))
    if name == "addbmm":
        shape = shape[1:]
    out = t.make(ops.broadcast(tuple(c.dims), shape), [c, a, b], a.dtype)
    t.note("matmul", name, [c, a, b], [out], (), {}, macs, *gradients_of(macs, a, b))
    return out


@rule("einsum")
def einsum(t, name, equation, *operands):
    if not isinstance(equation, str):
        raise NoRule("einsum with index lists")
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    tensors = [t.of(x) for x in operands]
    shapes = [tuple(s.dims) for s in tensors]
    out = t.make(ops.einsum_output(equation, shapes), tensors)
    macs = ops.einsum_macs(equation, shapes)
    # each product of two has a gradient for either side; the left one is all that came before
    gradients = (0, 0)
    for i, step in enumerate(ops.einsum_steps(equation, shapes), 1):
        before = t.make((), tensors[:i], tensors[0].dtype)
        gradients = added(gradients, gradients_of(step, before, tensors[i]))
    kind = "matmul" if macs else "reduction"
    t.note(kind, name, tensors, [out], (), {"equation": equation}, macs, *gradients)
    return out


@rule("tensordot")
def tensordot(t, name, a, b, dims=2, out=None):
    a, b = t.of(a), t.of(b)
    if isinstance(dims, int):
        dims = (range(len(a.dims) - dims, len(a.dims)), range(dims))
    left = [axis_of(d, len(a.dims)) for d in dims[0]]
    right = [axis_of(d, len(b.dims)) for d in dims[1]]
    if [a.dims[d] for d in left] != [b.dims[d] for d in right]:
        raise BadInputError(f"tensordot of {tuple(a.dims)} and {tuple(b.dims)} over {dims}")
    keep_a = [n for d, n in enumerate(a.dims) if d not in left]
    keep_b = [n for d, n in enumerate(b.dims) if d not in right]
    macs = math.prod(a.dims) * math.prod(keep_b)
    out = t.make((*keep_a, *keep_b), [a, b])
    t.note("matmul", name, [a, b], [out], (), {}, macs, *gradients_of(macs, a, b))
    return out


@rule("scaled_dot_product_attention")
def attention(t, name, query, key, value, attn_mask=None, *args, enable_gqa=False, **kwargs):
    q, k, v = t.of(query), t.of(key), t.of(value)
    mask = present(t, attn_mask)
    shapes = [tuple(s.dims) for s in (q, k, v)]
    macs = ops.attention_macs(*shapes, enable_gqa)
    shape = ops.attention_output(*shapes, enable_gqa)
    out = t.make(shape, [q, k, v, *mask], q.dtype)
    # two products: scores = q k^T, then scores v. The scores need a gradient if q or k does.
    scores = math.prod(shape[:-1]) * v.dims[-2] * q.dims[-1]
    mixing = macs - scores
    both = t.make((), [q, k, *mask], q.dtype)
    total = added(gradients_of(scores, q, k), gradients_of(mixing, both, v))
    t.note("attention", name, [q, k, v, *mask], [out], (), {}, macs, *total)
    return out


@rule("lstm gru rnn_tanh rnn_relu")
def recurrent(t, name, input, *args):
    if isinstance(args[0], (list, tuple)):
        state, weights, _, layers, _, _, both, first = args
        state = list(state)
    elif isinstance(args[1], (list, tuple)) and isinstance(args[2], bool):
        state, weights, _, layers, _, _, both, first = args
        state = [state]
    else:
        raise NoRule(f"{name} on a packed sequence")
    x = t.of(input)
    state = [t.of(s) for s in state]
    weights = [t.of(w) for w in weights]
    width, hidden = x.dims[-1], weights[0].dims[0] // ops.GATES[name]
    batch, steps = (x.dims[0], x.dims[1]) if first else (x.dims[1], x.dims[0])
    out_width = state[0].dims[-1]
    projection = out_width if out_width != hidden else 0
    if weights[0].dims[1] != width:
        raise BadInputError(f"{name} expects {weights[0].dims[1]} features, got {tuple(x.dims)}")
    ways = 2 if both else 1
    size = (name, steps, batch, width, hidden, layers, ways, projection)
    macs = ops.rnn_macs(*size)
    held = any(s.wants for s in state)
    gradient = ops.rnn_gradient_macs(*size, x.wants, held)
    more = ops.rnn_gradient_macs(*size, x.wants_in, held or any(s.wants_in for s in state))
    parents = [x, *state, *weights]
    outputs = [t.make((*x.dims[:2], ways * out_width), parents, x.dtype)]
    outputs += [t.make(s.dims, parents, x.dtype) for s in state]
    attrs = {
        "hidden_size": hidden,
        "layers": layers,
        "directions": ways,
        "projection": projection,
        "batch_first": first,
        "bias": len(weights) > 2 * layers * ways * (1.5 if projection else 1),
    }
    t.note(
        "rnn",
        name,
        [x, *state],
        outputs[:1],
        weights,
        attrs,
        macs,
        gradient,
        more - gradient,
    )
    return tuple(outputs)


@rule("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
def recurrent_cell(t, name, input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    state = [t.of(s) for s in (hx if isinstance(hx, (list, tuple)) else [hx])]
    x = t.of(input)
    weights = present(t, w_ih, w_hh, b_ih, b_hh)
    positions = math.prod(x.dims[:-1])
    one = ops.linear_macs(positions, x.dims[-1], weights[0].dims[0])
    two = ops.linear_macs(positions, state[0].dims[-1], weights[1].dims[0])
    total = added(gradients_of(one, x, weights[0]), gradients_of(two, state[0], weights[1]))
    outs = [t.make(s.dims, [x, *state, *weights], x.dtype) for s in state]
    attrs = {"hidden_size": state[0].dims[-1], "bias": b_ih is not None}
    t.note("rnn", name, [x, *state], outs[:1], weights, attrs, one + two, *total)
    return tuple(outs) if len(outs) > 1 else outs[0]
