"""Zeros among the outputs of ReLU, by layer, channel and class."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from convcost.core.errors import BadInputError
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

KEYS = ("layer", "channel", "class")

# Functions whose output is never negative and exactly 0 where the input is at or below 0. The
# value says which argument has to be 0 for that: (name, position, value when left out).
WATCHED: dict[str, tuple[str, int, float | None] | None] = {
    "relu": None,
    "relu6": None,
    "hardtanh": ("min_val", 1, -1.0),
    "threshold": ("value", 2, None),
    "clamp": ("min", 1, None),
    "clip": ("min", 1, None),
    "clamp_min": ("min", 1, None),
}

# Activations that are not counted, and named in the result: most are never exactly 0, and a zero
# of the others (hardswish, softshrink, …) is not ReLU's.
NOT_WATCHED = (
    *("celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "leaky_relu"),
    *("logsigmoid", "mish", "prelu", "rrelu", "selu", "sigmoid", "silu", "softplus", "softshrink"),
    *("softsign", "special_expit", "tanh", "tanhshrink"),
    *RECURRENT,
)


def zero_rates(
    model: nn.Module,
    data,
    by: str | Sequence[str] = KEYS,
    *,
    batch_size: int = 256,
) -> pd.DataFrame:
    """How many outputs of each ReLU are exactly zero.

    What comes out: a DataFrame with the columns of `by`, then `zeros` and `total` (int64: elements,
    over all images) and `zero_fraction` (zeros / total). Rows in the order layer, channel, class;
    layers in the order of their first call. `attrs` has `images` (how many), `after` (layer -> path
    of the last convolution or linear layer that ran before it), `functions` (layer -> function) and
    `not_watched` (name of an activation that is not counted -> the paths that call it).

    model: on any device; it runs in evaluation mode, without gradients, and is as before after
    every batch, also after an exception: modes, hooks, buffers, gradients, random state.
    data: an iterable of (images, labels), or one such pair of tensors, cut into `batch_size`.
    Without "class" in `by` the labels are not looked at and may be missing. images (N, …) go to the
    model's device; labels (N,) are integers, best left on the CPU, where they are read.
    by: any of "layer", "channel", "class"; what is left out is summed over.

    layer: dotted path of the module whose forward made the call; a module that makes several calls
    has them as path[0], path[1], …: a functional LeNet has "[0]" to "[3]", its root having no name.
    channel: dimension 1, so the filter of a convolution and the unit of a linear layer; for a
    linear layer on a sequence (N, T, units), the last dimension. class: the label.

    Counted: the zeros, -0.0 included, of relu, relu6, hardtanh with min_val 0, threshold with
    value 0, clamp and clip with min 0, as module, function, tensor method or in place. Other
    activations are named, not counted; ReLU by hand, x * (x > 0), is not recognised.

    The sum does not depend on the split into batches. What a float32 kernel computes may: an
    element within rounding of zero can fall on the other side. `model.double()` is the cure.

    Refused with `BadInputError`: NaN in an output (which layer, how many); no images; labels that
    are no integers, or not one per image; an unknown key; "class" for a ReLU whose first dimension
    is not the images; batch norms without running statistics, whose output is a matter of the
    split; TorchScript, torch.func transforms and DataParallel, which hide their calls.

    Source: atsumi2020, section III.A, figures 2 and 3 (by filter and digit), and the averages 35,
    55, 47 and 33 % in the text (by layer).

    >>> images = torch.tensor([[-1.0, 2.0], [-3.0, -0.0]])  # two images of two units
    >>> table = zero_rates(nn.Sequential(nn.ReLU()), (images, torch.tensor([7, 7])))
    >>> table.values.tolist()  # unit 0: both zeroed; unit 1: one of two
    [['0', 0, 7, 2, 2, 1.0], ['0', 1, 7, 1, 2, 0.5]]
    """
    by = _keys(by)
    watcher = _Activations(checked(model), "class" in by)
    images = run(watcher, data, batch_size)
    table, attrs = watcher.results(by)
    table["zero_fraction"] = table["zeros"] / table["total"]
    table.attrs.update(images=images, **attrs)
    return table


def _keys(by) -> tuple[str, ...]:
    chosen = (by,) if isinstance(by, str) else tuple(by)
    unknown = [key for key in chosen if key not in KEYS]
    if unknown or len(set(chosen)) < len(chosen):
        raise BadInputError(f"by={by!r}: any of {', '.join(KEYS)} is expected, each once")
    return tuple(key for key in KEYS if key in chosen)


class _Activations(Watcher):
    """Counts the positive outputs per image and channel; the rest of the elements are zeros."""

    methods = spelled(activation=WATCHED, other=NOT_WATCHED, weighted=WEIGHTED)

    def __init__(self, model, wants_labels):
        super().__init__(model, wants_labels)
        self.channels: dict[tuple[str, int], int] = {}
        self.positives: dict[tuple, np.ndarray] = {}  # (call, label) -> one number a channel
        self.elements: Counter[tuple] = Counter()  # (call, label) -> of each channel
        self.after: dict[tuple[str, int], str] = {}
        self.functions: dict[tuple[str, int], str] = {}
        self.last = ""  # path of the last convolution or linear layer

    def begin(self, images):
        super().begin(images)
        self.batch: list[tuple] = []  # (call, elements of a channel, counts (N, C))
        self.last = ""

    def activation(self, func, args, kwargs):
        name = plain(func.__name__)
        source = args[0] if args else kwargs.get("input", kwargs.get("self"))
        if isinstance(source, nn.Parameter):
            self.name_only(f"{name} of a parameter")
            return func(*args, **kwargs)
        if not _floor_is_zero(name, args, kwargs):
            self.name_only(name)
            return func(*args, **kwargs)
        units_last = getattr(source, "_units_last", False)
        out = func(*args, **kwargs)
        key = self.key()
        self.after.setdefault(key, self.last)
        self.functions.setdefault(key, name)
        self.check(out, key, "outputs")
        if out.numel():
            self.count(key, out, units_last)
        return out

    def count(self, key, out, units_last):
        if self.wants_labels and (not out.ndim or len(out) != self.images):
            raise BadInputError(
                f"{self.functions[key]} in {self.where()} gives {tuple(out.shape)}: its first "
                f'dimension is not the {self.images} images; leave "class" out of `by`'
            )
        while out.ndim < 2:
            out = out.unsqueeze(-1)
        channel = out.ndim - 1 if units_last else 1
        counts = nonzeros(out, tuple(d for d in range(1, out.ndim) if d != channel))
        if not self.wants_labels:
            counts = counts.sum(0, keepdim=True, dtype=torch.float64)
        self.batch.append((key, out.numel() // counts.numel(), counts))

    def weighted(self, func, args, kwargs):
        self.last = self.stack.path
        out = func(*args, **kwargs)
        if out.ndim > 2 and func.__name__.startswith("linear"):
            out._units_last = True  # dimension 1 is a place in a sequence here
        return out

    def add(self, labels):
        if not self.batch:
            return
        found, which = np.unique(labels if self.wants_labels else [0], return_inverse=True)
        images = np.bincount(which)
        # All calls in one go, in float64: exact, and on a CPU ten times faster than int64.
        counts = torch.cat([counts for *_, counts in self.batch], 1).double().cpu()
        sums = torch.zeros(len(found), counts.shape[1], dtype=torch.float64)
        sums.index_add_(0, torch.from_numpy(which), counts)
        ends = np.cumsum([counts.shape[1] for *_, counts in self.batch])[:-1]
        parts = np.split(sums.to(torch.int64).numpy(), ends, axis=1)
        for (key, places, _), part in zip(self.batch, parts, strict=True):
            channels = self.channels.setdefault(key, part.shape[1])
            if channels != part.shape[1]:
                raise BadInputError(
                    f"layer {key[0]!r} has {channels} channels for some images and "
                    f"{part.shape[1]} for others: count them apart"
                )
            for label, many, positive in zip(found.tolist(), images.tolist(), part, strict=True):
                self.positives[key, label] = self.positives.get((key, label), 0) + positive
                self.elements[key, label] += many * places

    def results(self, by: tuple[str, ...]) -> tuple[pd.DataFrame, dict]:
        """`zeros` and `total` by these keys, summed over the others; and what `attrs` says."""
        names, place = self.layers(), {key: n for n, key in enumerate(self.order)}
        channels = [len(positive) for positive in self.positives.values()]
        total = np.repeat([self.elements[at] for at in self.positives], channels).astype(np.int64)
        positive = np.concatenate([*self.positives.values(), np.array([], np.int64)])
        rows = pd.DataFrame(
            {
                "layer": np.repeat([place[key] for key, _ in self.positives], channels),
                "channel": np.concatenate([*map(np.arange, channels), np.array([], np.int64)]),
                "class": np.repeat([label for _, label in self.positives], channels),
                "zeros": total - positive,
                "total": total,
            }
        ).astype(np.int64)
        counted = rows.groupby(list(by)) if by else rows.groupby(np.zeros(len(rows)))
        table = counted[["zeros", "total"]].sum().reset_index()[[*by, "zeros", "total"]]
        if "layer" in by:
            table["layer"] = table["layer"].map(dict(enumerate(names.values())))
        attrs = self.attrs()
        attrs["after"] = {names[key]: path for key, path in self.after.items()}
        attrs["functions"] = {names[key]: name for key, name in self.functions.items()}
        return table, attrs


def _floor_is_zero(name: str, args: tuple, kwargs: dict) -> bool:
    """Whether the call is a ReLU: its smallest output is 0, and nothing negative gets through."""
    condition = WATCHED[name]
    if condition is None:
        return True

    def given(argument, position, default):
        value = args[position] if len(args) > position else kwargs.get(argument, default)
        return value if isinstance(value, (int, float)) else None

    if name == "threshold":
        level = given("threshold", 1, None)
        if level is None or level < 0:
            return False
    return given(*condition) == 0
