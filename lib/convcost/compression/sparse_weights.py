"""Multiplications with a zero weight left out, really: layers whose weights are stored sparse.

What magnitude pruning leaves (`pruned.masked`) has zeros at scattered places. Here they are
skipped: the input is laid out as a matrix, once for each call, and sparse rows of weights multiply
it. That skips multiplications; whether it is faster is to be measured beside a dense layer.
"""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.counting import ops
from convcost.measuring import sparse

CSR_TORCH, CSR_SCIPY = "csr (torch)", "csr (scipy)"
METHODS: dict[str, str] = {
    "dense": "skips nothing: the layer as torch runs it",
    "dense, packed": "skips nothing: a convolution whose weights are put into the order of "
    "oneDNN's kernel once for each size of input",
    "dense product": "skips nothing: the matrix that the sparse ways multiply, by dense weights",
    CSR_TORCH: "skips every zero weight: torch's compressed sparse rows, by MKL where it is there",
    CSR_SCIPY: "skips every zero weight: scipy's compressed sparse rows, on one thread",
}
"""Name -> what it skips, and how. A fair comparison is with the fastest of the dense ones."""


def prepare(layer: nn.Conv2d | nn.Linear, method: str) -> Callable[[Tensor], Tensor]:
    """A function that gives a layer's output from an input, by one of `METHODS`.

    What comes out: a function of the layer's input, (N, C, H, W) for a convolution, (N,
    in_features) for a linear layer, whose value is the layer's output, bias included, up to
    rounding. It runs without gradients. Weights are copied and put in order here, once; later
    changes of the layer reach "dense" only.

    Refused with `BadInputError`: an unknown method; anything but a Conv2d without groups or a
    Linear, float32 on the CPU; masks that are not permanent (`pruned.made_permanent`); weights
    that are not finite; a linear layer by "dense, packed"; later an input of another shape.

    >>> layer = nn.Linear(3, 1, bias=False)
    >>> layer.weight.data = torch.tensor([[2.0, 0.0, 4.0]])
    >>> prepare(layer, "csr (scipy)")(torch.tensor([[5.0, 7.0, 6.0]]))  # 5*2 + 6*4
    tensor([[34.]])
    """
    if method not in METHODS:
        raise BadInputError(f"no method {method!r}; choose one of: {', '.join(METHODS)}")
    if type(layer) not in (nn.Conv2d, nn.Linear) or getattr(layer, "groups", 1) != 1:
        raise BadInputError(f"{layer} cannot be prepared: a plain Conv2d or Linear is expected")
    if hasattr(layer, "weight_orig"):
        raise BadInputError(f"{layer} has a mask: make it permanent first")
    weight = layer.weight.detach()
    if weight.dtype != torch.float32 or not weight.is_cpu or not weight.isfinite().all():
        raise BadInputError(
            f"the weights of {layer} are {weight.dtype} on {weight.device}: finite float32 on the "
            "CPU are expected"
        )
    if method in sparse.DENSE:
        return sparse.prepare(layer, method)
    multiply = _MULTIPLY[method](weight.flatten(1).clone())
    return _linear(layer, multiply) if isinstance(layer, nn.Linear) else _conv(layer, multiply)


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor | None:
    return None if layer.bias is None else layer.bias.detach().clone()


def _linear(layer: nn.Linear, multiply: Callable[[Tensor], Tensor]):
    bias, inputs = _bias(layer), layer.in_features

    def compute(x):
        if x.ndim != 2 or x.shape[1] != inputs:
            raise BadInputError(f"the input is {tuple(x.shape)}: (N, {inputs}) is expected")
        with torch.inference_mode():
            out = multiply(x.t().contiguous()).t()
            return out if bias is None else out + bias

    return compute


def _conv(layer: nn.Conv2d, multiply: Callable[[Tensor], Tensor]):
    """By columns: one for each output position, a row for each element under the kernel."""
    bias, kernel, channels = _bias(layer), layer.kernel_size, layer.in_channels
    stride, dilation, sides = layer.stride, layer.dilation, layer._reversed_padding_repeated_twice
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode

    def compute(x):
        if x.ndim != 4 or x.shape[1] != channels:
            raise BadInputError(f"the input is {tuple(x.shape)}: (N, {channels}, H, W) is expected")
        with torch.inference_mode():
            x = (F.pad(x, sides, mode) if any(sides) else x).contiguous()
            images, _, height, width = x.shape
            lines, places = ops.conv_output((height, width), kernel, stride, (0, 0), dilation)
            image, plane, *step = x.stride()
            apart = [[s * n for s, n in zip(step, by, strict=True)] for by in (dilation, stride)]
            windows = x.as_strided(
                (channels, *kernel, images, lines, places), (plane, *apart[0], image, *apart[1])
            )
            matrix = windows.reshape(channels * kernel[0] * kernel[1], -1)
            out = multiply(matrix).view(-1, images, lines, places).transpose(0, 1)
            return out if bias is None else out + bias.view(1, -1, 1, 1)

    return compute


def _dense(weight: Tensor):
    return lambda matrix: weight @ matrix


def _csr_torch(weight: Tensor):
    with warnings.catch_warnings():  # that it is in beta is said in every process
        warnings.simplefilter("ignore", UserWarning)
        rows = weight.to_sparse_csr()
    return lambda matrix: rows @ matrix


def _csr_scipy(weight: Tensor):
    with optional():
        import scipy.sparse
    rows = scipy.sparse.csr_array(weight.numpy())
    return lambda matrix: torch.from_numpy(rows @ matrix.numpy())


_MULTIPLY = {"dense product": _dense, CSR_TORCH: _csr_torch, CSR_SCIPY: _csr_scipy}
