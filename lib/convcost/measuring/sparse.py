"""Leave multiplications with a zero input out, really: layers whose input is made sparse first.

ReLU leaves zeros in the next layer's input; `zeros.skippable_macs` counts the multiplications that
they make needless. Whether time is saved is another matter: zeros must be found anew in every
input, and what is left is read here and there instead of in order. `prepare` makes a function of a
layer that does all of that, by one of `METHODS`; `product` does it for a bare matrix product.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.counting import ops
from convcost.counting.probe import call_names, evaluating, watch

METHODS: dict[str, str] = {
    "dense": "skips nothing: the layer as torch runs it",
    "dense, packed": "skips nothing: a convolution whose weights are put into the order of "
    "oneDNN's kernel once for each size of input, where torch does it in every call, if at all",
    "gather": "skips inputs that are zero in the whole batch: columns of a linear layer's input, "
    "channels of a convolution's; a dense product of the rest with the rest of the weights",
    "csr (torch)": "skips every zero: torch's compressed sparse rows times the dense weights",
    "csr (scipy)": "skips every zero: scipy's compressed sparse rows times the dense weights, "
    "on one thread whatever torch is set to",
    "row sums": "skips every zero: for one row of the input after the other, the sum of the "
    "weight rows of its nonzeros, each times its nonzero (torch's embedding bag)",
    "row sums, blocked": "the same for 128 outputs at a time, whose weights then stay in the cache "
    "from one row of the input to the next",
}
"""Name -> what it skips, and how. Those that skip every zero turn a convolution into a matrix
product first (one row for each output position), and do the same multiplications: all with a
nonzero input. They differ in speed alone. A fair comparison is with the faster of the dense ones:
for small maps torch's own convolution takes several times as long as the packed one.
"""

DENSE = ("dense", "dense, packed")
PANEL = 128  # outputs: 64 to 256 are equally fast, more no longer fit into the cache
_BLOCK = 1 << 20  # elements of a convolution's input matrix that are in memory at a time


# ---------------------------------------------------------------- what is asked


def prepare(layer: nn.Conv2d | nn.Linear, method: str) -> Callable[[Tensor], Tensor]:
    """A function that gives a layer's output from an input, by one of `METHODS`.

    What comes out: a function of the layer's input, (N, C, H, W) for a convolution, (…,
    in_features) for a linear layer, whose value is the layer's output, bias included, up to
    rounding. A convolution's is in channels-last order in memory, except by "dense" and "gather".
    It needs no gradients and gives none: it runs in `torch.inference_mode()`, which to enter costs
    microseconds. To time it, be in that mode already, and give it one new input after the other: of
    the same one, the few weights that are needed wait in the cache.

    The weights are copied and put in order here, once; everything that depends on the input, so
    above all the search for its zeros, is done in every call. Later changes of the layer reach
    "dense" only, which is the layer itself. Every function but that keeps a copy of the weights,
    "gather" of a linear layer up to two, "dense, packed" another for each size of input: it packs
    in the first call with a size, not to be timed.

    Stride, padding (every mode, "same" too) and dilation are as in the layer. Zeros are those of
    the input and of the padding, -0.0 included.

    A NaN or infinity of the input is no zero, so it is multiplied and arrives as in the dense
    layer. One of the weights could meet a skipped zero and vanish: it is refused.

    Refused with `BadInputError`: an unknown method; anything but a Conv2d or Linear with the
    forward of those, in float32 or float64, on the CPU; by all but "dense", hooks (they would not
    run); by the methods that skip zeros, groups other than 1 and weights that are not finite; by
    "dense, packed", a linear layer, float64, a torch without oneDNN; later an input of another
    shape, dtype or device than the layer's.

    Source: atsumi2020, section III.C, takes for granted that skipped multiplications are saved
    time.

    >>> layer = nn.Linear(3, 1, bias=False)
    >>> layer.weight.data = torch.tensor([[2.0, 3.0, 4.0]])
    >>> prepare(layer, "row sums")(torch.tensor([[5.0, 0.0, 6.0]]))  # 5*2 + 6*4
    tensor([[34.]])
    """
    _check_layer(layer, method)
    linear = isinstance(layer, nn.Linear)
    if method == "dense":
        compute = layer
    elif method == "dense, packed":
        compute = _packed(layer)
    elif method == "gather" and not linear:
        compute = _fewer_channels(layer)
    else:
        multiply = _MULTIPLY[method](_as_matrix(layer.weight.detach()))
        compute = (_linear if linear else _convolution)(layer, multiply)
    shape = ("…", layer.in_features) if linear else ("N", layer.in_channels, "H", "W")
    return _guarded(compute, layer.weight, shape)


def product(weight: Tensor, method: str) -> Callable[[Tensor], Tensor]:
    """A function that multiplies a matrix by a weight, by one of `METHODS`: what `prepare` runs on.

    What comes out: a function of a matrix (rows, inputs) whose value is `matrix @ weight.T`, (rows,
    outputs). weight: (outputs, inputs), as in nn.Linear; copied once. NaN, gradients and what is
    refused are as in `prepare`.

    >>> product(torch.tensor([[1.0, 10.0, 100.0]]), "csr (scipy)")(torch.tensor([[0.0, 2.0, 3.0]]))
    tensor([[320.]])
    """
    _check_method(method)
    _check_weight(weight, method)
    if weight.ndim != 2:
        raise BadInputError(
            f"the weight has the shape {tuple(weight.shape)}: (outputs, inputs) is expected"
        )
    if method not in _MULTIPLY:
        raise BadInputError(
            f"{method!r} is for convolutions; choose one of: {', '.join(_MULTIPLY)}"
        )
    return _guarded(_MULTIPLY[method](weight.detach()), weight, ("rows", weight.shape[1]))


def random_inputs(rows: int, inputs: int, zero_rate: float, seed: int) -> Tensor:
    """A matrix with an exact share of zeros at random places, the rest as behind a ReLU.

    What comes out: float32 (rows, inputs); round(zero_rate * rows * inputs) elements are 0, the
    others positive: absolute values of a standard normal distribution. The same seed gives the same
    matrix, and torch's own random state stays as it is.

    Refused with `BadInputError`: a rate outside 0 to 1, rows or inputs below 1.

    >>> int((random_inputs(2, 10, 0.25, seed=0) == 0).sum())  # 0.25 * 2 * 10
    5
    """
    if not 0 <= zero_rate <= 1:
        raise BadInputError(f"zero_rate is {zero_rate}: 0 to 1 is expected")
    if rows < 1 or inputs < 1:
        raise BadInputError(f"{rows} rows of {inputs} inputs: at least 1 of each is needed")
    size = rows * inputs
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(size, generator=generator).abs_()
    values.clamp_(min=torch.finfo(torch.float32).tiny)  # a draw of exactly 0 is none of the zeros
    values[torch.randperm(size, generator=generator)[: round(zero_rate * size)]] = 0
    return values.view(rows, inputs)


def layer_inputs(model: nn.Module, images: Tensor) -> list[tuple[str, str, nn.Module, Tensor]]:
    """What every convolution and linear layer of a model really gets, from one forward pass.

    What comes out: one (layer, op, module, input) for each call of an nn.Conv2d or nn.Linear, in
    order. layer: dotted path, with the number of the call behind it where a module is called more
    than once, as in `zeros.skippable_macs`: path[0], path[1]. op: "conv" or "linear". input: a copy
    on the model's device, (images, …); all of them are in memory at a time. Functional calls
    (F.linear, also inside nn.MultiheadAttention) are no modules and not among them.

    The model runs on all `images` (N, …) at once, in evaluation mode, without gradients, and is
    left as found, also after an exception: modes, hooks, buffers, random state.

    Refused with `BadInputError`: a model that is no nn.Module, a layer that is given its input by
    name.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> [(layer, op, tuple(x.shape)) for layer, op, _, x in layer_inputs(net, torch.ones(3, 2))]
    [('0', 'linear', (3, 2)), ('2', 'linear', (3, 2))]
    """
    if not isinstance(model, nn.Module):
        raise BadInputError(f"a torch.nn.Module is expected, got {type(model).__name__}")
    calls: list[tuple[str, nn.Module, Tensor]] = []

    def seen(path, module, inputs, output):
        if not inputs:
            raise BadInputError(f"layer {path!r} is given its input by name, which is not seen")
        calls.append((path, module, inputs[0].clone()))  # what comes later may work in place

    with evaluating(model), watch(model, seen, (nn.Conv2d, nn.Linear)):
        model(images)
    names = call_names([path for path, _, _ in calls])
    return [
        (layer, "conv" if isinstance(module, nn.Conv2d) else "linear", module, given)
        for layer, (_, module, given) in zip(names, calls, strict=True)
    ]


# ---------------------------------------------------------------- what is given


def _check_method(method: str) -> None:
    if method not in METHODS:
        raise BadInputError(f"no method {method!r}; choose one of: {', '.join(METHODS)}")


def _check_layer(layer, method: str) -> None:
    _check_method(method)
    kind = next((k for k in (nn.Conv2d, nn.Linear) if isinstance(layer, k)), None)
    if kind is None or type(layer).forward is not kind.forward:
        raise BadInputError(
            f"{type(layer).__name__} cannot be prepared: an nn.Conv2d or nn.Linear is expected, or "
            "a subclass that keeps its forward"
        )
    if method != "dense" and (layer._forward_hooks or layer._forward_pre_hooks):
        raise BadInputError(f"{layer} has hooks, which {method!r} would not run: remove them")
    if method not in DENSE and getattr(layer, "groups", 1) != 1:
        raise BadInputError(f"{layer} has several groups, which only dense methods can do")
    _check_weight(layer.weight, method)


def _check_weight(weight: Tensor, method: str) -> None:
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.float64):
        raise BadInputError(
            f"the weights are {weight.dtype} on {weight.device}: torch.float32 or torch.float64 "
            "on the CPU is expected"
        )
    if method not in DENSE and not weight.isfinite().all():
        raise BadInputError(
            f"weights are NaN or infinite: times zero they give NaN, which {method!r} would skip"
        )


def _guarded(compute, weight: Tensor, shape: tuple[str | int, ...]) -> Callable[[Tensor], Tensor]:
    """The function, after a look at its input: some methods would read past a wrong shape.

    shape: the name of a dimension that may have any size, or its size; "…" are any before it.
    """
    dtype, size = weight.dtype, shape[1]
    dimensions, place = (None, -1) if shape[0] == "…" else (len(shape), 1)

    def run(x: Tensor) -> Tensor:
        fits = x.ndim == dimensions if dimensions else x.ndim
        if not fits or x.shape[place] != size or x.dtype is not dtype or not x.is_cpu:
            raise BadInputError(
                f"the input is {x.dtype} {tuple(x.shape)} on {x.device}: "
                f"{dtype} ({', '.join(map(str, shape))}) on the CPU is expected"
            )
        if torch.is_inference_mode_enabled():  # to enter it costs as much as a small layer
            return compute(x)
        with torch.inference_mode():
            return compute(x)

    return run


# ---------------------------------------------------------------- layers


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor | None:
    return None if layer.bias is None else layer.bias.detach().clone()


def _padding(layer: nn.Conv2d):
    """A function that pads as the layer itself does before it convolves: every mode, "same" too."""
    sides = layer._reversed_padding_repeated_twice
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return (lambda x: F.pad(x, sides, mode)) if any(sides) else (lambda x: x)


def _packed(layer: nn.Conv2d):
    if isinstance(layer, nn.Linear) or layer.weight.dtype is not torch.float32:
        raise BadInputError(f"{layer} in {layer.weight.dtype}: a float32 Conv2d can be packed")
    if not torch.backends.mkldnn.is_available():
        raise BadInputError("this torch has no oneDNN to pack weights for: use 'dense'")
    left, right, top, bottom = layer._reversed_padding_repeated_twice
    inside = layer.padding_mode == "zeros" and left == right and top == bottom
    pad, padding = ((lambda x: x), (top, left)) if inside else (_padding(layer), (0, 0))
    rest = padding, layer.stride, layer.dilation, layer.groups
    weight, bias = layer.weight.detach().to_mkldnn(), _bias(layer)
    packed = {}  # which order is best depends on the size of the input, much so for small maps

    def compute(x):
        x = pad(x)
        if x.shape not in packed:
            reorder = torch._C._nn.mkldnn_reorder_conv2d_weight
            packed[x.shape] = reorder(weight, *rest, list(x.shape))
        # torch.mkldnn_convolution would put such weights into another order again in every call
        return torch.ops.mkldnn._convolution_pointwise(
            x, packed[x.shape], bias, *rest, "none", [], ""
        )

    return compute


def _as_matrix(weight: Tensor) -> Tensor:
    """(outputs, inputs); of a convolution with the channels last, as `_convolution` has them."""
    return weight if weight.ndim == 2 else weight.permute(0, 2, 3, 1).flatten(1)


def _linear(layer: nn.Linear, multiply: Callable[[Tensor], Tensor]):
    bias = _bias(layer)
    inputs, outputs = layer.in_features, layer.out_features

    def compute(x):
        out = multiply(x.reshape(-1, inputs))
        if bias is not None:
            out += bias
        return out.view(*x.shape[:-1], outputs)

    return compute


def _convolution(layer: nn.Conv2d, multiply: Callable[[Tensor], Tensor]):
    """By rows: one for each output position, with the input elements under the kernel.

    Channels come last, so that the elements of a kernel's line are neighbours in memory: F.unfold,
    which has them first, takes several times as long.
    """
    bias, outputs, kernel = _bias(layer), layer.out_channels, layer.kernel_size
    stride, dilation = layer.stride, layer.dilation
    pad = _padding(layer)

    def compute(x):
        x = pad(x).permute(0, 2, 3, 1).contiguous()
        images, height, width, channels = x.shape
        lines, places = ops.conv_output((height, width), kernel, stride, (0, 0), dilation)
        image, *step, one = x.stride()
        apart = [[s * n for s, n in zip(step, by, strict=True)] for by in (stride, dilation)]
        windows = x.as_strided(
            (images, lines, places, *kernel, channels), (image, *apart[0], *apart[1], one)
        )
        inputs = kernel[0] * kernel[1] * channels
        out = x.new_empty(images, lines, places, outputs)
        for part in _blocks(images, lines, places * inputs):
            rows = windows[part].reshape(-1, inputs)
            out[part] = multiply(rows).view(-1, *out[part].shape[1:])
        if bias is not None:
            out += bias
        return out.permute(0, 3, 1, 2)

    return compute


def _blocks(images: int, lines: int, elements: int) -> Iterator[tuple[slice, slice]]:
    """Several images, or several lines of one, with about `_BLOCK` elements together."""
    many = max(1, _BLOCK // (lines * elements))
    few = min(lines, max(1, _BLOCK // elements))
    for image in range(0, images, many):
        for line in range(0, lines, few):
            yield slice(image, image + many), slice(line, line + few)


def _fewer_channels(layer: nn.Conv2d):
    weight, bias = layer.weight.detach().clone(), _bias(layer)

    def compute(x):
        live = x.any((0, 2, 3)).nonzero().view(-1)
        if len(live) == len(weight[0]):
            return layer._conv_forward(x, weight, bias)
        live = live if len(live) else live.new_zeros(1)  # torch has no convolution of no channels
        return layer._conv_forward(x.index_select(1, live), weight.index_select(1, live), bias)

    return compute


# ---------------------------------------------------------------- matrix products


def _columns_first(weight: Tensor) -> Tensor:
    """(inputs, outputs), a copy: what belongs to one input is in one piece of memory."""
    return weight.t().clone(memory_format=torch.contiguous_format)


def _nonzeros(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of the nonzeros, where each row of the matrix starts among them, and their values.

    By numpy, whose search for nonzeros has no branch in it: torch's `to_sparse_csr` takes several
    times as long.
    """
    rows, inputs = matrix.shape
    array = matrix.numpy()
    places = np.flatnonzero(array != 0)
    values = array.take(places)
    first = np.arange(0, rows * inputs + 1, inputs)
    starts = np.searchsorted(places, first)
    if rows > 1:
        places -= np.repeat(first[:-1], np.diff(starts))
    return torch.from_numpy(places), torch.from_numpy(starts), torch.from_numpy(values)


def _dense(weight: Tensor):
    weight = weight.clone()
    return lambda matrix: F.linear(matrix, weight)


def _gather(weight: Tensor):
    weight = _columns_first(weight)
    space = torch.empty_like(weight)  # new memory in every call would cost more than the product

    def multiply(matrix):
        live = matrix.any(0).nonzero().view(-1)
        if len(live) == len(weight):
            return matrix @ weight
        chosen = torch.index_select(weight, 0, live, out=space[: len(live)])
        return matrix.index_select(1, live) @ chosen

    return multiply


def _by_nonzeros(weight: Tensor, multiply: Callable, panel: int | None = None):
    """One of the methods that skip every zero: `multiply` gets the nonzeros and the weights, those
    of `panel` outputs at a time.
    """
    panels = [_columns_first(part) for part in weight.split(panel or len(weight))]

    def compute(matrix):
        nonzeros = _nonzeros(matrix)
        parts = [multiply(matrix.shape, *nonzeros, part) for part in panels]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    return compute


def _csr_torch(shape, columns: Tensor, starts: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False) @ weight


def _csr_scipy(shape, columns: Tensor, starts: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    with optional():
        import scipy.sparse

    parts = (values.numpy(), columns.numpy(), starts.numpy())
    return torch.from_numpy(scipy.sparse.csr_array(parts, shape=tuple(shape)) @ weight.numpy())


def _bag(shape, columns: Tensor, starts: Tensor, values: Tensor, weight: Tensor) -> Tensor:
    return F.embedding_bag(
        columns, weight, starts, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def _quiet_csr(weight: Tensor):
    with warnings.catch_warnings():  # torch warns once a process that its sparse rows are young
        warnings.simplefilter("ignore")
        torch.zeros(1, 1).to_sparse_csr()
    return _by_nonzeros(weight, _csr_torch)


_MULTIPLY: dict[str, Callable[[Tensor], Callable[[Tensor], Tensor]]] = {
    "dense": _dense,
    "gather": _gather,
    "csr (torch)": _quiet_csr,
    "csr (scipy)": partial(_by_nonzeros, multiply=_csr_scipy),
    "row sums": partial(_by_nonzeros, multiply=_bag),
    "row sums, blocked": partial(_by_nonzeros, multiply=_bag, panel=PANEL),
}
