"""What one operator call costs: integer formulas from shapes, forward and gradients. No torch.

The unit everywhere is the multiply-accumulate (MAC). A bias adds nothing (the field's plainest
convention); padded positions count as multiplied, as in every other counter. Shapes are tuples of
ints, batch included. A wrong shape raises `BadInputError`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from convcost.core.errors import BadInputError

Shape = tuple[int, ...]

# Op types without multiply-accumulates, each with the reason. A call of one of these types has
# `macs == 0` on purpose; an operator that is not known at all goes to `uncounted` instead.
ZERO_COST: dict[str, str] = {
    "activation": "one function per element: no multiply-accumulate",
    "adaptive_pool": "adds or compares inside a window: nothing is multiplied by a weight",
    "comparison": "one comparison per element",
    "concat": "copies data",
    "copy": "copies or casts data",
    "creation": "makes a constant tensor",
    "dropout": "identity in evaluation, one mask per element in training",
    "elementwise": "single additions or multiplications per element: no accumulation",
    "embedding": "looks rows up in a table",
    "norm": "one scale and shift per element; folded into the convolution before it at test time",
    "pool": "adds or compares inside a window: nothing is multiplied by a weight",
    "reduction": "adds or compares along a dimension: nothing is multiplied by a weight",
    "reshape": "changes the shape only, or moves data",
    "softmax": "exponentials and one division per element: no multiply-accumulate",
    "sort": "compares elements",
    "upsample": "copies or blends neighbours with fixed weights",
}

# Op types with multiply-accumulates; their outputs are the "activations" of pycls and fvcore.
MAC_OPS = frozenset({"conv", "conv_transpose", "linear", "matmul", "attention", "rnn"})


@dataclass(frozen=True)
class OperatorCall:
    """One operator executed in a forward pass.

    Example: `nn.Conv2d(3, 64, 3, padding=1)` on a 1 x 3 x 8 x 8 input gives op "conv", inputs
    ((1, 3, 8, 8),), weights ((64, 3, 3, 3), (64,)), outputs ((1, 64, 8, 8),),
    macs 3*3*3*64*8*8, params 3*3*3*64 + 64, acts 64*8*8.
    """

    path: str  # dotted path of the module whose forward made the call, "" for the root
    module_type: str  # class name of that module
    op: str  # a key of ZERO_COST or a member of MAC_OPS
    function: str  # the torch function as called: "conv2d", "batch_norm", "relu", …
    inputs: tuple[Shape, ...]  # tensors computed from the network's input, or constants
    weights: tuple[Shape, ...]  # parameters and buffers, and what is computed from them alone
    outputs: tuple[Shape, ...]
    attrs: dict = field(default_factory=dict)  # stride, padding, groups, bias (bool), …
    macs: int = 0  # forward multiply-accumulates; bias not counted
    params: int = 0  # elements of the parameters this call is the first to use
    acts: int = 0  # elements of the outputs for MAC_OPS, else 0 (pycls's "activations")
    input_needs_grad: bool = True  # False if no parameter stands before the inputs
    gradient_macs: int = 0  # backward pass, every parameter trained, network input fixed
    input_gradient_macs: int = 0  # what the backward adds if the network's input gets a gradient
    bytes: int = 0  # inputs and weights read once, outputs written once, at their dtypes


def elements(shape: Sequence[int]) -> int:
    """Number of elements of a shape; 1 for a scalar. `elements((2, 3, 4)) == 24`."""
    return math.prod(shape)


# ---------------------------------------------------------------- convolution


def conv_output(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Shape:
    """Spatial output of a convolution: floor((s + 2p - d(k-1) - 1) / stride) + 1 per dimension.

    Raises `BadInputError` if the kernel does not fit.

    >>> conv_output((224, 224), (7, 7), (2, 2), (3, 3), (1, 1)) == ((224 + 2*3 - 7) // 2 + 1,) * 2
    True
    >>> conv_output((5, 5), (3, 3), (1, 1), (0, 0), (2, 2))
    (1, 1)
    """
    out = []
    for s, k, st, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        n = (s + 2 * p - d * (k - 1) - 1) // st + 1
        if n < 1:
            raise BadInputError(
                f"a kernel of {k} (dilation {d}) does not fit into {s} elements with padding {p}; "
                "use a larger input or more padding"
            )
        out.append(n)
    return tuple(out)


def conv_transpose_output(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
) -> Shape:
    """Spatial output of a transposed convolution: (s-1)*stride - 2p + d(k-1) + op + 1.

    `conv_transpose_output((7,), (4,), (2,), (1,), (0,), (1,)) == (14,)`.
    """
    parts = zip(size, kernel, stride, padding, output_padding, dilation, strict=True)
    out = tuple((s - 1) * st - 2 * p + d * (k - 1) + op + 1 for s, k, st, p, op, d in parts)
    if min(out, default=1) < 1:
        raise BadInputError(f"a transposed convolution of {tuple(size)} would have size {out}")
    return out


def conv_macs(
    batch: int,
    in_channels: int,
    out_channels: int,
    kernel: Sequence[int],
    output: Sequence[int],
    groups: int = 1,
) -> int:
    """Multiply-accumulates of a convolution in any number of dimensions.

    Each output element is a dot product over the kernel and the channels of its group:
    batch * out_channels * prod(output) * (in_channels / groups) * prod(kernel).
    cheng2025 eq. (2) is the case groups = 1, eq. (3) any groups, eq. (4) the two convolutions of a
    depthwise separable layer; atsumi2020 eq. (1) leaves in_channels out.
    Raises `BadInputError` if groups divides the channels with a rest.

    >>> conv_macs(1, 3, 64, (7, 7), (112, 112)) == 3*7*7 * 64 * 112*112  # ResNet-18's first
    True
    >>> conv_macs(2, 4, 4, (3,), (5,), groups=4)  # 2 * 4*5 outputs, 1*3 each
    120
    """
    if in_channels % groups or out_channels % groups:
        raise BadInputError(
            f"{in_channels} input and {out_channels} output channels cannot be cut into "
            f"{groups} groups"
        )
    return batch * out_channels * elements(output) * (in_channels // groups) * elements(kernel)


def conv_transpose_macs(
    batch: int,
    in_channels: int,
    out_channels: int,
    kernel: Sequence[int],
    size: Sequence[int],
    groups: int = 1,
) -> int:
    """Multiply-accumulates of a transposed convolution; `size` is the spatial INPUT size.

    It is the input gradient of a convolution that maps its output back to its input: every input
    element is multiplied by every kernel tap of its group once, so the input's size counts, not
    the output's.

    >>> conv_transpose_macs(1, 8, 4, (2, 2), (5, 5)) == 8*5*5 * 4*2*2
    True
    """
    return conv_macs(batch, out_channels, in_channels, kernel, size, groups)


# The gradients of a convolution, on three numbers. Input x = (a, b, c), kernel w = (u, v), no
# padding: y = (au + bv, bu + cv), 4 multiplications. With g = dL/dy = (g1, g2):
#   dL/dx = (g1 u, g1 v + g2 u, g2 v): every pair (output, tap) once, 4 multiplications;
#   dL/dw = (g1 a + g2 b, g1 b + g2 c): every pair (output, tap) once, 4 multiplications.
# Each multiplication y_i += x_j w_k of the forward pass gives exactly one x_j-update g_i w_k and
# one w_k-update g_i x_j. So each gradient costs what the forward costs; padded positions, which
# the forward counts, are counted here too. The same holds for every bilinear operator: transposed
# convolution, linear, matmul, the products inside a recurrent cell.


# ---------------------------------------------------------------- products of matrices


def linear_macs(positions: int, in_features: int, out_features: int) -> int:
    """A fully connected layer applied at `positions` places (batch times sequence length).

    cheng2025 eq. (1), atsumi2020 eq. (2). `linear_macs(1, 4096, 1000) == 4096 * 1000`.
    """
    return positions * in_features * out_features


def broadcast(*shapes: Shape) -> Shape:
    """The shape of an elementwise operation: equal sizes, or 1 against anything.

    `broadcast((4, 1, 3), (5, 1)) == (4, 5, 3)`. Raises `BadInputError` if they do not fit.
    """
    first = shapes[0]
    if all(shape == first for shape in shapes[1:]):
        return tuple(first)
    rank = max(map(len, shapes))
    out = [1] * rank
    for shape in shapes:
        for i, n in enumerate(shape, rank - len(shape)):
            if n != 1:
                if out[i] not in (1, n):
                    raise BadInputError(f"shapes {', '.join(map(str, shapes))} do not fit")
                out[i] = n
    return tuple(out)


def matmul_output(a: Shape, b: Shape) -> Shape:
    """Output shape of `a @ b` with the rules of matmul (vectors, broadcast batches)."""
    if not a or not b:
        raise BadInputError("a matrix product needs at least vectors, not scalars")
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        raise BadInputError(f"a matrix product of {tuple(a)} and {tuple(b)}: {a[-1]} != {inner}")
    batch = broadcast(tuple(a[:-2]), tuple(b[:-2]))
    return batch + tuple(a[-2:-1]) + (tuple(b[-1:]) if len(b) > 1 else ())


def matmul_macs(a: Shape, b: Shape) -> int:
    """`a @ b`: one product per output element and inner index.

    `matmul_macs((8, 197, 64), (8, 64, 197))` is 8*197*197*64. Each of the two gradients costs the
    same: dL/da = g b^T and dL/db = a^T g use each triple of indices once.
    """
    return elements(matmul_output(a, b)) * a[-1]


def _einsum_parts(equation: str, shapes: Sequence[Shape]) -> tuple[list[str], str, dict[str, int]]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise BadInputError(f"einsum {equation!r} has {len(terms)} terms for {len(shapes)} tensors")
    spare = [chr(c) for c in range(0x3B1, 0x3B1 + 24)]  # letters for the dimensions of "..."
    dots = 0
    sizes: dict[str, int] = {}
    named = []
    for term, shape in zip(terms, shapes, strict=True):
        if "..." in term:
            rest = len(shape) - (len(term) - 3)
            dots = max(dots, rest)
            term = term.replace("...", "".join(spare[24 - rest : 24]))
        if len(term) != len(shape):
            raise BadInputError(f"einsum term {term!r} does not fit the shape {tuple(shape)}")
        for letter, n in zip(term, shape, strict=True):
            if sizes.get(letter, 1) not in (1, n) and n != 1:
                raise BadInputError(f"einsum {equation!r}: {letter} is {sizes[letter]} and {n}")
            sizes[letter] = max(n, sizes.get(letter, 1))
        named.append(term)
    every = "".join(named)
    ellipsis = "".join(spare[24 - dots : 24]) if dots else ""
    if arrow:
        right = right.replace("...", ellipsis)
    else:
        right = ellipsis + "".join(
            sorted(c for c in set(every) if every.count(c) == 1 and c not in ellipsis)
        )
    return named, right, sizes


def einsum_output(equation: str, shapes: Sequence[Shape]) -> Shape:
    """Output shape of an einsum. `einsum_output("bij,bjk->bik", [(2,3,4), (2,4,5)]) == (2,3,5)`."""
    _, right, sizes = _einsum_parts(equation, shapes)
    return tuple(sizes[c] for c in right)


def einsum_steps(equation: str, shapes: Sequence[Shape]) -> list[int]:
    """MACs of each pairwise product of an einsum, contracted from left to right.

    An index that only one of the two has and nobody needs later is summed before the product
    (additions only). `einsum_steps("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)])` is
    [2*3*4, 2*4*5]; with one tensor there is nothing to multiply: [].
    """
    terms, right, sizes = _einsum_parts(equation, shapes)
    steps = []
    current = set(terms[0])
    for i, term in enumerate(terms[1:], 1):
        later = set(right).union(*map(set, terms[i + 1 :]))
        one, two = current & (set(term) | later), set(term) & (current | later)
        steps.append(math.prod(sizes[c] for c in one | two))
        current = (one | two) & later
    return steps


def einsum_macs(equation: str, shapes: Sequence[Shape]) -> int:
    """Multiply-accumulates of an einsum: `einsum_macs("bij,bjk->bik", [(2,3,4), (2,4,5)])` is
    2*3*4*5.
    """
    return sum(einsum_steps(equation, shapes))


def attention_output(query: Shape, key: Shape, value: Shape, grouped: bool = False) -> Shape:
    """Output shape of scaled dot-product attention: the batches broadcast, then (L, V).

    `grouped`: each head of key and value serves several heads (dimension -3) of the query.
    `attention_output((1, 5, 2), (3, 7, 2), (3, 7, 4)) == (3, 5, 4)`.
    """
    if min(map(len, (query, key, value))) < 2 or key[-1] != query[-1] or key[-2] != value[-2]:
        raise BadInputError(f"attention of query {query}, key {key} and value {value} do not fit")
    batches = [tuple(shape[:-2]) for shape in (query, key, value)]
    if grouped:
        if not all(batches):
            raise BadInputError(f"grouped attention needs heads; the query is {query}")
        heads = batches[0][-1]
        for batch in batches[1:]:
            if heads % batch[-1]:
                raise BadInputError(f"{heads} heads of the query for {batch[-1]} of key or value")
        batches[1:] = [(*batch[:-1], heads) for batch in batches[1:]]
    return (*broadcast(*batches), query[-2], value[-1])


def attention_macs(query: Shape, key: Shape, value: Shape, grouped: bool = False) -> int:
    """Scaled dot-product attention: query times key, then weights times value.

    Shapes (…, L, E), (…, S, E), (…, S, V): batch*L*S*E + batch*L*S*V. Masks and softmax are not
    products of two matrices; a causal mask is not deducted (as in every counter we know).
    `attention_macs((12, 197, 64), (12, 197, 64), (12, 197, 64))` is 2 * 12*197*197*64.
    `grouped`: grouped-query attention repeats keys and values for each head of the query.
    """
    *batch, length, out = attention_output(query, key, value, grouped)
    return math.prod(batch) * length * key[-2] * (query[-1] + out)


# ---------------------------------------------------------------- recurrent nets

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def rnn_layer_macs(
    kind: str, steps: int, batch: int, inputs: int, hidden: int, projection: int = 0
) -> dict[str, int]:
    """One layer, one direction: MACs of the input, hidden and projection products.

    Each gate needs W x (hidden x inputs) and U h (hidden x hidden, or hidden x projection).
    `rnn_layer_macs("lstm", 5, 1, 10, 20)` is {"input": 4*5*10*20, "hidden": 4*5*20*20,
    "projection": 0}. Gate products (elementwise) are not counted. Unknown kind: `BadInputError`.
    """
    if kind not in GATES:
        raise BadInputError(f"unknown recurrent cell {kind!r}; known: {', '.join(GATES)}")
    positions = steps * batch
    state = projection or hidden
    return {
        "input": GATES[kind] * linear_macs(positions, inputs, hidden),
        "hidden": GATES[kind] * linear_macs(positions, state, hidden),
        "projection": linear_macs(positions, hidden, projection),
    }


def rnn_macs(
    kind: str,
    steps: int,
    batch: int,
    inputs: int,
    hidden: int,
    layers: int = 1,
    directions: int = 1,
    projection: int = 0,
) -> int:
    """All layers and directions of nn.LSTM, nn.GRU or nn.RNN.

    `rnn_macs("lstm", 5, 1, 10, 20)` is 4*5*(10*20 + 20*20).
    """
    total = 0
    for layer in range(layers):
        width = inputs if layer == 0 else directions * (projection or hidden)
        one = rnn_layer_macs(kind, steps, batch, width, hidden, projection)
        total += directions * sum(one.values())
    return total


def rnn_gradient_macs(
    kind: str,
    steps: int,
    batch: int,
    inputs: int,
    hidden: int,
    layers: int = 1,
    directions: int = 1,
    projection: int = 0,
    input_gradient: bool = True,
    state_gradient: bool = False,
) -> int:
    """Backward pass of `rnn_macs`: weight gradients, and gradients to what the products read.

    Weights: each product once more. Inputs: layer 0 only with `input_gradient`, later layers
    always. Hidden state: at every step but the first, whose state is given and needs a gradient
    only with `state_gradient`. Projection: its input always needs one.
    One step, one layer, LSTM of 10 inputs and 20 units without input gradient: 4*(10*20 + 20*20).
    """
    total = 0
    for layer in range(layers):
        width = inputs if layer == 0 else directions * (projection or hidden)
        one = rnn_layer_macs(kind, steps, batch, width, hidden, projection)
        total += sum(one.values()) + one["projection"]
        if layer or input_gradient:
            total += one["input"]
        total += one["hidden"] if state_gradient else one["hidden"] // max(steps, 1) * (steps - 1)
    return directions * total


# ---------------------------------------------------------------- pooling


def pool_output(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool = False,
) -> Shape:
    """Spatial output of a pooling. With ceil_mode a last window that would start behind the input
    and its left padding is dropped. `pool_output((7,), (2,), (2,), (0,), (1,), True) == (4,)`.
    """
    if not ceil_mode:
        return conv_output(size, kernel, stride, padding, dilation)
    out = []
    for s, k, st, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        n = -((s + 2 * p - d * (k - 1) - 1) // -st) + 1
        if (n - 1) * st >= s + p:
            n -= 1
        if n < 1:
            raise BadInputError(f"a window of {k} does not fit into {s} elements, padding {p}")
        out.append(n)
    return tuple(out)


def adaptive_windows(size: int, out: int) -> list[tuple[int, int]]:
    """The windows of an adaptive pooling in one dimension: start floor(i*size/out), end
    ceil((i+1)*size/out). They overlap where `out` does not divide `size`:
    `adaptive_windows(7, 3) == [(0, 3), (2, 5), (4, 7)]`.
    """
    return [(i * size // out, -((i + 1) * size // -out)) for i in range(out)]


def adaptive_pool_reads(batch_channels: int, size: Sequence[int], output: Sequence[int]) -> int:
    """Elements read by an adaptive pooling: the windows' lengths summed per dimension, multiplied.

    7 -> 3 reads 3 + 3 + 3 = 9 elements: `adaptive_pool_reads(1, (7, 7), (3, 3)) == 9 * 9`.
    """
    reads = batch_channels
    for s, o in zip(size, output, strict=True):
        reads *= sum(end - start for start, end in adaptive_windows(s, o))
    return reads
