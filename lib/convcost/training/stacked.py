"""N nets of one build as one module: a layer of it holds the weights of that layer in all of them.

The images of all nets travel as one batch, net after net: (N·B, C, H, W), so that a layer without
weights does what it always does. One with weights sees (N, B, ...) and becomes one batched matrix
product. torch.func.vmap would turn convolutions into grouped ones, which GPUs are slow at.
"""

import copy
from collections.abc import Sequence
from functools import cache

import torch
from torch import nn
from torch.nn import functional

from convcost.core.errors import BadInputError
from convcost.counting import ops


def stacked(models: Sequence[nn.Module], draws: Sequence[torch.Generator]) -> nn.Module:
    """One module for N: (N·B, C, H, W) to (N·B, classes), images and outputs net after net.

    Its parameters have the names that they have in each model, and a leading dimension N; they are
    copies. `draws`: a generator per net, on the device of the images, for its dropout.

    Raises BadInputError for batch and instance normalisation, whose running statistics all nets
    would share, for layers that share a weight, for buffers that differ from net to net, and for
    weights that belong to no layer of their own.
    """
    first = models[0]
    own = [p for layer in first.modules() for p in layer.parameters(recurse=False)]
    if len({id(p) for p in own}) < len(own):
        raise BadInputError("two layers share a weight")
    made = {}
    for named in zip(*(model.named_modules() for model in models), strict=True):
        layers = [layer for _, layer in named]
        if (new := _stacked_layer(named[0][0], layers, draws)) is not None:
            made[id(layers[0])] = new
    # what is in `made` is taken as it is, wherever it stands; the rest is copied
    return copy.deepcopy(first, made)


def _stacked_layer(path: str, layers: list[nn.Module], draws) -> nn.Module | None:
    """What takes the place of a layer; None where it can stay."""
    first = layers[0]
    what = f"{path or 'the net'} ({type(first).__name__})"
    if isinstance(first, nn.modules.batchnorm._NormBase):
        raise BadInputError(f"{what} keeps statistics of the images it sees")
    for name, buffer in first.named_buffers(recurse=False):
        if not all(torch.equal(buffer, layer.get_buffer(name)) for layer in layers):
            raise BadInputError(f"the buffer {name} of {what} is not the same in all")
    if type(first) is nn.Dropout:
        return Dropout(first.p, draws)
    if not list(first.parameters(recurse=False)):
        return None
    if type(first) is nn.Linear:
        return Linear(layers)
    if type(first) is nn.Conv2d and first.groups == 1 and first.padding_mode == "zeros":
        return Conv2d(layers)
    if list(first.children()) or list(first.buffers()):
        raise BadInputError(f"{what} has weights beside other layers or buffers")
    return Mapped(layers)


class _Weights(nn.Module):
    """The parameters of one layer of N nets, (N, ...) each, under the layer's names."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__()
        self.nets = len(layers)
        for name, parameter in layers[0].named_parameters():
            tensors = [layer.get_parameter(name).detach() for layer in layers]
            whole = nn.Parameter(torch.stack(tensors), parameter.requires_grad)
            self.register_parameter(name, whole)


class Linear(_Weights):
    """nn.Linear of N nets: (N·B, ..., K) to (N·B, ..., O)."""

    def forward(self, x):
        rows = x.reshape(self.nets, -1, x.shape[-1])
        outputs = _product(rows, self.weight.mT, self._parameters.get("bias"))
        return outputs.view(*x.shape[:-1], -1)


class Conv2d(_Weights):
    """nn.Conv2d of N nets, one group, padded with zeros: (N·B, C, H, W) to (N·B, O, H', W').

    A matrix product per net, of windows with weights. A window holds what a tile of `tile` outputs
    in a row reads together, so that a pixel is copied less often than once per output that needs
    it; the weights that do not concern an output are zeros. In memory channels come last.
    """

    def __init__(self, layers: list[nn.Conv2d]):
        super().__init__(layers)
        first = layers[0]
        self.kernel, self.stride, self.dilation = first.kernel_size, first.stride, first.dilation
        # four numbers for functional.pad, "same" resolved
        self.border = first._reversed_padding_repeated_twice

    def forward(self, x):
        if any(self.border):
            x = functional.pad(x, self.border)
        size, zero = tuple(x.shape[2:]), (0, 0)
        height, width = ops.conv_output(size, self.kernel, self.stride, zero, self.dilation)
        tile = _tile(width, self.kernel[1], self.stride[1])
        rows, columns = (self.dilation[i] * (self.kernel[i] - 1) + 1 for i in (0, 1))
        columns += (tile - 1) * self.stride[1]
        windows = (
            x.permute(0, 2, 3, 1)
            .unfold(1, rows, self.stride[0])
            .unfold(2, columns, tile * self.stride[1])
            .permute(0, 1, 2, 4, 5, 3)  # image, row and tile of the output; row, column, channel
            .reshape(self.nets, -1, rows * columns * x.shape[1])
        )
        spread = _spread(
            self.kernel, self.dilation, self.stride[1], tile, self.weight.dtype, x.device
        )
        weights = (
            (self.weight.flatten(3) @ spread)
            .unflatten(3, (rows, columns, tile))
            .permute(0, 3, 4, 2, 5, 1)
            .reshape(self.nets, windows.shape[2], -1)
        )
        bias = self._parameters.get("bias")
        outputs = _product(windows, weights, None if bias is None else bias.repeat(1, tile))
        return outputs.view(len(x), height, width, -1).permute(0, 3, 1, 2)


class Dropout(nn.Module):
    """nn.Dropout of N nets, each with a generator of its own: it draws what it would draw alone."""

    def __init__(self, p: float, draws: Sequence[torch.Generator]):
        super().__init__()
        self.p, self.draws = p, draws

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        parts = x.chunk(len(self.draws))
        kept = torch.cat(
            [
                torch.empty_like(part).bernoulli_(1 - self.p, generator=draw)
                for part, draw in zip(parts, self.draws, strict=True)
            ]
        )
        return x * kept.div_(1 - self.p or 1)


class Mapped(_Weights):
    """Any other layer with weights, of N nets, by torch.func.vmap: right, and not always fast."""

    def __init__(self, layers: list[nn.Module]):
        super().__init__(layers)
        self.layer = [copy.deepcopy(layers[0])]  # in a list: its own weights are not in use

    def forward(self, x):
        layer = self.layer[0].train(self.training)

        def one(parameters, images):
            return torch.func.functional_call(layer, parameters, (images,))

        every = torch.func.vmap(one, randomness="different")
        parameters = dict(self.named_parameters())
        return every(parameters, x.unflatten(0, (self.nets, -1))).flatten(0, 1)


def _product(rows, weights, bias):
    """(N, M, K) by (N, K, O), plus (N, O) where there is a bias."""
    if bias is None:
        return torch.bmm(rows, weights)
    return torch.baddbmm(bias.unsqueeze(1), rows, weights)


def _tile(width: int, kernel: int, stride: int) -> int:
    """How many outputs in a row are computed together: as many as fill the row with whole tiles,
    and read together less than twice what one of them reads, for the rest is zeros.

    >>> _tile(24, 5, 1), _tile(8, 3, 1), _tile(7, 5, 1), _tile(24, 5, 2), _tile(9, 1, 1)
    (4, 2, 1, 2, 1)
    """
    most = max(1, (kernel - 2) // stride + 1)
    return next(tile for tile in range(most, 0, -1) if width % tile == 0)


@cache
def _spread(kernel, dilation, stride: int, tile: int, dtype, device) -> torch.Tensor:
    """Where the weights of a filter stand in a window, for each output of a tile.

    (kernel rows · kernel columns, window rows · window columns · tile) of ones and zeros: a filter
    times this is its weights for all of them.
    """
    rows, columns = (dilation[i] * (kernel[i] - 1) + 1 for i in (0, 1))
    columns += (tile - 1) * stride
    with torch.inference_mode(False):  # it is kept, and serves trainings too
        places = torch.zeros(*kernel, rows, columns, tile, dtype=dtype)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                for t in range(tile):
                    places[i, j, i * dilation[0], t * stride + j * dilation[1], t] = 1
        return places.flatten(2).flatten(0, 1).to(device)
