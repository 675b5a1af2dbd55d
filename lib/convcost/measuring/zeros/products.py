"""Multiplications of convolutions and linear layers with a zero for their input factor."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import nn

from convcost.counting import ops
from convcost.measuring.zeros.watching import (
    RECURRENT,
    WEIGHTED,
    Watcher,
    checked,
    nonzeros,
    plain,
    run,
    spelled,
)

NET = "(net)"  # the row of all layers together; no module can have this name

# Products that are not looked into, and named in the result.
OTHER_PRODUCTS = (
    *("matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "mv", "dot", "vdot", "inner", "addmm"),
    *("addmv", "addbmm", "baddbmm", "einsum", "tensordot", "chain_matmul", "linalg_matmul"),
    *("linalg_multi_dot", "bilinear", "multi_head_attention_forward"),
    *("scaled_dot_product_attention", "conv_tbc"),
    *RECURRENT,
)


def skippable_macs(model: nn.Module, data, *, batch_size: int = 256) -> pd.DataFrame:
    """How many multiplications have a zero for their input factor, so that they could be skipped.

    What comes out: a DataFrame, one row per convolution or linear layer in the order of the calls,
    and a last one with layer "(net)" for all of them. Columns: `layer` (as in `zero_rates`), `op`
    (conv, conv_transpose, linear), then exact integers, all images together: `macs` (those of
    `convcost.count`, padded positions included), `zero_input_macs` (the factor is an element of the
    input that is zero), `padding_macs` (the factor is a zero of the padding); the two do not
    overlap. `zero_input_share` and `padding_share` are fractions of `macs`. `attrs` has `images`
    and `not_watched` (products that are not looked into -> the paths that call them).

    model, data: as in `zero_rates`; labels are not looked at and may be missing. Inputs of a
    convolution (N, C, …) or (C, …) in 1 to 3 dimensions, of a linear layer (…, in_features).

    Convention: one multiplication per multiply-accumulate; biases are none. A padding mode other
    than zeros is input, since torch copies the values before it convolves. In a transposed
    convolution every input element meets every tap, as `macs` has it, so `padding_macs` is 0.
    Zero weights are not looked for.

    Refused with `BadInputError`: as in `zero_rates`, NaN in an input included.

    Derivation: along one axis an input position p meets a tap k at output o if o*stride - padding +
    k*dilation == p. The number of such pairs, multiplied over the axes and by out_channels/groups,
    is how often an element at that position is multiplied, whatever its channel: so zeros are
    counted per position. Positions outside the input are padding.

    >>> conv = nn.Conv1d(1, 1, 2, padding=1)  # 5 padded positions, 4 outputs, 4*2 multiplications
    >>> table = skippable_macs(conv, torch.tensor([[[0.0, 5.0, 0.0]]]))
    >>> table[["macs", "zero_input_macs", "padding_macs"]].values.tolist()  # each element meets 2
    [[8, 4, 2], [8, 4, 2]]
    """
    watcher = _Products(checked(model), False)
    images = run(watcher, data, batch_size)
    numbers = ["macs", "zero_input_macs", "padding_macs"]
    table = pd.DataFrame(watcher.results(), columns=["layer", "op", *numbers])
    table = table.astype(dict.fromkeys(numbers, "int64"))
    table.loc[len(table)] = [NET, "", *map(int, table[numbers].sum())]
    for kind in ("zero_input", "padding"):
        table[f"{kind}_share"] = table[f"{kind}_macs"] / table["macs"]
    table.attrs.update(images=images, **watcher.attrs())
    return table


@dataclass(frozen=True)
class _Work:
    """What a layer does with one image, or a linear layer with one row."""

    op: str
    macs: int
    padding_macs: int
    # How often an input element is multiplied, by its position; or at every position.
    meetings: np.ndarray | int


class _Products(Watcher):
    """Counts the zeros among the inputs of convolutions and linear layers, per position."""

    methods = spelled(product=WEIGHTED, other=OTHER_PRODUCTS)

    def __init__(self, model, wants_labels):
        super().__init__(model, wants_labels)
        self.ops: dict[tuple[str, int], str] = {}
        self.macs: Counter[tuple[str, int]] = Counter()
        self.zero_input_macs: Counter[tuple[str, int]] = Counter()
        self.padding_macs: Counter[tuple[str, int]] = Counter()

    def begin(self, images):
        super().begin(images)
        self.batch: list[tuple] = []  # (call, work, rows, zeros per position)

    def add(self, labels):
        for key, work, rows, zeros in self.batch:
            self.ops[key] = work.op
            self.macs[key] += rows * work.macs
            self.padding_macs[key] += rows * work.padding_macs
            self.zero_input_macs[key] += int((zeros.cpu().numpy() * work.meetings).sum())

    def product(self, func, args, kwargs):
        name = plain(func.__name__)
        if name == "linear":
            x, weight = _linear(*args, **kwargs)
            outputs, inputs = weight.shape[-2:]
            work = _Work("linear", ops.linear_macs(1, inputs, outputs), 0, outputs)
            rows, over = x.numel() // max(1, inputs), x.ndim
        else:
            arguments = _transposed if "transpose" in name else _direct
            x, weight, *rest = arguments(*args, **kwargs)
            dims = weight.ndim - 2
            x = x[None] if x.ndim == dims + 1 else x
            describe = _transposed_work if "transpose" in name else _direct_work
            rest = (r if isinstance(r, str) else _each(r, dims) for r in rest)
            work = describe(tuple(weight.shape), tuple(x.shape[1:]), *rest)
            rows, over = len(x), 2
        key = self.key()
        self.check(x, key, "inputs")
        zeros = math.prod(x.shape[:over]) - nonzeros(x, tuple(range(over))).to(torch.int64)
        self.batch.append((key, work, rows, zeros))
        return func(*args, **kwargs)

    def results(self):
        counts = self.macs, self.zero_input_macs, self.padding_macs
        for key, name in self.layers().items():
            yield name, self.ops[key], *(count[key] for count in counts)


def _linear(input, weight, bias=None):
    return input, weight


def _direct(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return input, weight, groups, stride, padding, dilation


def _transposed(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    return input, weight, groups


def _each(value, dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    return tuple(value) * dims if len(value) == 1 else tuple(value)


@lru_cache(maxsize=512)
def _transposed_work(weight, x, groups) -> _Work:
    """Of the shapes of its weight and of one image."""
    (channels, share, *kernel), size = weight, x[1:]
    macs = ops.conv_transpose_macs(1, channels, share * groups[0], kernel, size, groups[0])
    return _Work("conv_transpose", macs, 0, share * math.prod(kernel))


@lru_cache(maxsize=512)
def _direct_work(weight, x, groups, stride, padding, dilation) -> _Work:
    """Of the shapes of its weight and of one image; groups and the rest are one for each axis."""
    (filters, _, *kernel), (channels, *size) = weight, x
    share = filters // groups[0]
    before, after = _padding(padding, kernel, dilation)
    padded = [s + b + a for s, b, a in zip(size, before, after, strict=True)]
    output = ops.conv_output(padded, kernel, stride, (0,) * len(size), dilation)
    meetings = np.array(share, np.int64)
    for axis in zip(size, kernel, stride, before, dilation, output, strict=True):
        meetings = np.multiply.outer(meetings, _meetings(*axis))
    macs = ops.conv_macs(1, channels, filters, kernel, output, groups[0])
    return _Work("conv", macs, macs - channels * int(meetings.sum()), meetings)


def _padding(padding, kernel, dilation) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros before and after the input on each axis; "same" puts the odd one after."""
    if padding == "valid":
        padding = (0,) * len(kernel)
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return padding, padding


def _meetings(size, kernel, stride, before, dilation, outputs) -> np.ndarray:
    """For each input position of one axis, the pairs of output and tap that read it."""
    reads = np.arange(outputs)[:, None] * stride - before + np.arange(kernel) * dilation
    return np.bincount(reads[(reads >= 0) & (reads < size)], minlength=size)
