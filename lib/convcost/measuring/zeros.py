"""Count zeros: outputs that ReLU zeroes, dark pixels, multiplications with a zero factor.

`zero_rates`, `dark_pixels` and `skippable_macs` count in exact integers and divide only in the last
column. A model is watched while it runs, call by call, so that nothing depends on how it is
written: modules, functions and in-place forms are one and the same torch function underneath.
What is kept of an activation is its counts, so memory does not grow with the number of images.
"""

import contextlib
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from convcost.core.errors import BadInputError
from convcost.counting import ops
from convcost.counting.probe import ModuleStack, as_found, evaluating, every_module

KEYS = ("layer", "channel", "class")
NET = "(net)"  # the row of all layers together; no module can have this name


def _split(names: str) -> set[str]:
    return set(names.split())


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

_RECURRENT = {
    f"{kind}{cell}" for kind in _split("rnn_relu rnn_tanh lstm gru") for cell in ("", "_cell")
}

# Activations that are not counted, and named in the result: most are never exactly 0, and a zero
# of the others (hardswish, softshrink, …) is not ReLU's.
NOT_WATCHED = _RECURRENT | _split(
    "celu elu gelu glu hardshrink hardsigmoid hardswish leaky_relu logsigmoid mish prelu rrelu "
    "selu sigmoid silu softplus softshrink softsign special_expit tanh tanhshrink"
)

WEIGHTED = _split("linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")

# Products that `skippable_macs` does not look into, and names in the result.
OTHER_PRODUCTS = _RECURRENT | _split(
    "matmul __matmul__ __rmatmul__ mm bmm mv dot vdot inner addmm addmv addbmm baddbmm einsum "
    "tensordot chain_matmul linalg_matmul linalg_multi_dot bilinear multi_head_attention_forward "
    "scaled_dot_product_attention conv_tbc"
)


def _methods(**names: Iterable[str]) -> dict[str, str]:
    """Name of a torch function, however it is spelled -> the watcher's method that takes it:
    `relu`, `relu_`, `relu.default` (of an exported graph), `_threshold`.
    """
    found = {}
    for method, functions in names.items():
        for name in functions:
            for n in (name,) if name.startswith("__") else (name, f"{name}_", f"_{name}"):
                found |= {
                    n + overload: method for overload in ("", ".default", ".Tensor", ".input")
                }
    return found


def _plain(name: str) -> str:
    name = name.partition(".")[0]
    return name if name.startswith("__") else name.strip("_")


_CHUNK = 1 << 20  # elements looked at in one go on a CPU: the signs of so many stay in its cache
_EXACT = 1 << 24  # float32 counts one by one up to here

_transforming = torch._C._are_functorch_transforms_active  # inside vmap, torch.func.grad, …


# ---------------------------------------------------------------- what is asked


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
    watcher = _Activations(_checked(model), "class" in by)
    images = _run(watcher, data, batch_size)
    rows, attrs = watcher.results()
    table = _summed(rows, by)
    table["zero_fraction"] = table["zeros"] / table["total"]
    table.attrs.update(images=images, **attrs)
    return table


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
    watcher = _Products(_checked(model), False)
    images = _run(watcher, data, batch_size)
    rows, attrs = watcher.results()
    table = pd.DataFrame(
        rows, columns=["layer", "op", "macs", "zero_input_macs", "padding_macs"]
    ).astype({"macs": "int64", "zero_input_macs": "int64", "padding_macs": "int64"})
    numbers = table[["macs", "zero_input_macs", "padding_macs"]].sum()
    table.loc[len(table)] = [NET, "", *map(int, numbers)]
    for kind in ("zero_input", "padding"):
        table[f"{kind}_share"] = table[f"{kind}_macs"] / table["macs"]
    table.attrs.update(images=images, **attrs)
    return table


def dark_pixels(images, labels, level: float) -> pd.DataFrame:
    """How many pixels are at or below a level, per class.

    What comes out: a DataFrame, one row per class that occurs, in order: `class`, `dark` and
    `total` (int64: pixels, each channel one), `dark_fraction`. All classes together:
    `table.dark.sum() / table.total.sum()`.

    images (N, …), labels (N,) integers: tensors or arrays. level: in the images' own units and
    compared in their own precision: -0.9 for images normalised to -1 … 1.

    Refused with `BadInputError`: NaN in the images or as level, no images, labels that are no
    integers or not one per image.

    Source: atsumi2020, section III.A: 88 % of the pixels of digit 1 at or below -0.9, 80 % of all.

    >>> dark_pixels(torch.tensor([[-1.0, -0.9], [0.0, -1.0]]), [1, 0], -0.9).values.tolist()
    [[0.0, 1.0, 2.0, 0.5], [1.0, 2.0, 2.0, 1.0]]
    """
    if math.isnan(level):
        raise BadInputError("level is NaN: a number in the units of the images is expected")
    images = torch.as_tensor(images)
    labels = _labels(labels, images)
    if not len(images):
        raise BadInputError("no images: at least one is needed")
    found, rows = np.unique(labels, return_inverse=True)
    dark = np.zeros(len(found), np.int64)
    step = max(1, _CHUNK // max(1, images[0].numel()))
    for start in range(0, len(images), step):  # so that the comparison needs no second data set
        part = images[start : start + step]
        bad = int(part.isnan().sum())
        if bad:
            raise BadInputError(
                f"{bad} pixels of images {start} to {start + len(part) - 1} are NaN"
            )
        below = (part <= level).flatten(1).sum(1).cpu().numpy()
        np.add.at(dark, rows[start : start + step], below)
    total = np.bincount(rows) * images[0].numel()
    return pd.DataFrame(
        {"class": found, "dark": dark, "total": total, "dark_fraction": dark / total}
    )


# ---------------------------------------------------------------- what is given


def _keys(by) -> tuple[str, ...]:
    chosen = (by,) if isinstance(by, str) else tuple(by)
    unknown = [key for key in chosen if key not in KEYS]
    if unknown or len(set(chosen)) < len(chosen):
        raise BadInputError(f"by={by!r}: any of {', '.join(KEYS)} is expected, each once")
    return tuple(key for key in KEYS if key in chosen)


def _checked(model) -> nn.Module:
    """The model, if its forward shows what it calls."""
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper: same parameters
    if not isinstance(model, nn.Module):
        raise BadInputError(f"a torch.nn.Module is expected, got {type(model).__name__}")
    for path, module in model.named_modules():
        name = f"module {path!r} ({type(module).__name__})" if path else type(module).__name__
        if isinstance(module, torch.jit.ScriptModule):
            raise BadInputError(f"{name} is TorchScript, which hides its calls: give the original")
        if isinstance(module, nn.DataParallel):
            raise BadInputError(f"{name} runs in other threads: give its .module")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise BadInputError(
                f"{name} has no running statistics: its output depends on which images share a "
                "batch, so the counts would too; train it with track_running_stats=True"
            )
    return model


def _labels(labels, images) -> np.ndarray:
    labels = torch.as_tensor(labels)
    if labels.is_floating_point() or labels.is_complex() or labels.shape != images.shape[:1]:
        raise BadInputError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)}: integers of shape "
            f"({len(images) if images.ndim else 1},), one per image, are expected"
        )
    return labels.cpu().numpy()


def _is_pair(data) -> bool:
    """Whether all images are one tensor: none of the caller's code runs between the batches."""
    if isinstance(data, torch.Tensor):
        return True
    return isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], torch.Tensor)


def _batches(data, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Pairs of images and labels, None for missing labels."""
    if _is_pair(data):
        if batch_size < 1:
            raise BadInputError(f"batch_size {batch_size}: 1 or more is expected")
        images, labels = (data, None) if isinstance(data, torch.Tensor) else data
        if labels is not None and len(labels) != len(images):
            raise BadInputError(f"{len(images)} images, but {len(labels)} labels")
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            yield images[part], None if labels is None else labels[part]
        return
    if not isinstance(data, Iterable):
        raise BadInputError(
            f"data is a {type(data).__name__}: batches (images, labels), or one such pair of "
            "tensors, is expected"
        )
    for batch in data:
        images, labels = batch if isinstance(batch, (tuple, list)) else (batch, None)
        if not isinstance(images, torch.Tensor) or not images.ndim:
            raise BadInputError("a batch has no tensor of images: (images, labels) is expected")
        yield images, labels


# ---------------------------------------------------------------- running the model


def _eager():
    """What torch.compile made runs as it was written: compiled code hides its calls."""
    if "torch._dynamo" in sys.modules:  # else nothing is compiled, and its import takes seconds
        return torch.compiler.set_stance("force_eager")
    return contextlib.nullcontext()


def _run(watcher: "_Watcher", data, batch_size: int) -> int:
    """Send every batch through the watcher's model; how many images there were.

    The model is put back after each batch, and so are the random numbers where the caller's data
    loader, which may draw some, runs between the batches.
    """
    model = watcher.stack.model
    modules = every_module(model)
    device = next((p.device for p in model.parameters()), None)
    seen, pair = 0, _is_pair(data)
    with (
        watcher.stack,  # once: every time, Python forgets where it found the methods of modules
        as_found(model, modules) if pair else contextlib.nullcontext(),
    ):
        for images, labels in _batches(data, batch_size):
            if not len(images):
                continue
            if watcher.wants_labels:
                if labels is None:
                    raise BadInputError('no labels: leave "class" out of `by`, or give pairs')
                labels = _labels(labels, images)
            if device is not None:
                images = images.to(device, non_blocking=True)
            _forward(watcher, modules, images, rng=not pair)
            # One number per batch comes from the device; layers are told apart only if it is bad.
            if watcher.probes and bool(torch.stack(watcher.probes).isnan().any()):
                watcher.refusing = f"in images {seen} to {seen + len(images) - 1}"
                _forward(watcher, modules, images, rng=not pair)
                watcher.refusing = None  # sums of inf and -inf, but no NaN
            watcher.add(labels)
            seen += len(images)
    if not seen:
        raise BadInputError("no images: data is empty (an iterator can be used up only once)")
    return seen


def _forward(watcher: "_Watcher", modules: list[nn.Module], images: torch.Tensor, rng: bool):
    stack = watcher.stack
    watcher.begin(len(images))
    stack.turns.clear()
    stack.failed = stack.error = None
    try:
        with evaluating(stack.model, modules, rng=rng), _eager(), watcher:
            stack.model(images)
    except BadInputError:
        raise
    except Exception as error:
        if stack.failed:
            error.add_note(
                f"raised in module {stack.failed[0]!r} of {type(stack.model).__name__}, "
                f"run on images of shape {tuple(images.shape)}"
            )
        raise


class _Watcher(TorchFunctionMode):
    """Sees every torch function of a forward pass, and which module calls it.

    A torch function that calls others arrives once, as itself: F.relu of a module nn.ReLU, not
    the torch.relu underneath.
    """

    methods: dict[str, str]  # name of a torch function -> name of the method that calls it

    def __init__(self, model: nn.Module, wants_labels: bool):
        super().__init__()
        self.stack = ModuleStack(model)
        self.wants_labels = wants_labels
        self.refusing: str | None = None  # look for NaN layer by layer, and where that was
        self.not_watched: dict[str, dict[str, None]] = {}  # dicts for sets that keep their order
        self.order: dict[tuple[str, int], None] = {}  # (path, index of the call): first come first

    def begin(self, images: int) -> None:
        self.images = images
        self.calls: Counter[str] = Counter()
        self.probes: list[torch.Tensor] = []

    def __torch_function__(self, func, kinds, args=(), kwargs=None):
        method = self.methods.get(getattr(func, "__name__", None))
        if method is None:
            return func(*args, **(kwargs or {}))
        if _transforming():
            raise BadInputError(
                f"{func.__name__} in {self.where()} runs inside torch.func (vmap, grad …), which "
                "hides the batch: call the model without it"
            )
        return getattr(self, method)(func, args, kwargs or {})

    def where(self) -> str:
        return f"module {self.stack.path!r}" if self.stack.path else "the model's own forward"

    def key(self) -> tuple[str, int]:
        """The call that is running: path, and how many the module made before in this batch."""
        path = self.stack.path
        found = path, self.calls[path]
        self.calls[path] += 1
        self.order.setdefault(found)
        return found

    def name_only(self, name: str) -> None:
        self.not_watched.setdefault(name, {})[self.stack.path] = None

    def other(self, func, args, kwargs):
        self.name_only(_plain(func.__name__))
        return func(*args, **kwargs)

    def check(self, x: torch.Tensor, key: tuple[str, int], what: str) -> None:
        """Keep what tells at the end of the batch whether there is a NaN: a sum has one too."""
        if not (x.is_floating_point() or x.is_complex()):
            return
        if self.refusing is None:
            self.probes.append(x.sum().float())
            return
        bad = int(x.isnan().sum())
        if bad:
            path = key[0] if not key[1] else f"{key[0]}[{key[1]}]"
            raise BadInputError(
                f"{bad} of {x.numel()} {what} of layer {path!r} are NaN {self.refusing}, so its "
                "zeros mean nothing: look at the weights, and at how the images are scaled"
            )

    def layers(self) -> dict[tuple[str, int], str]:
        """The name of every call in the result."""
        several = {path for path, index in self.order if index}
        return {(p, i): f"{p}[{i}]" if p in several else p for p, i in self.order}

    def attrs(self) -> dict:
        return {"not_watched": {name: list(at) for name, at in self.not_watched.items()}}


# ---------------------------------------------------------------- outputs of ReLU


_ACTIVATION_METHODS = _methods(activation=WATCHED, other=NOT_WATCHED, weighted=WEIGHTED)


class _Activations(_Watcher):
    """Counts the positive outputs per image and channel; the rest of the elements are zeros.

    Counts are added up on the model's device, in one table (class, channel of all layers) per
    sequence of calls: a model that takes other paths on other data has several.
    """

    methods = _ACTIVATION_METHODS

    def __init__(self, model, wants_labels):
        super().__init__(model, wants_labels)
        self.positives: dict[tuple, torch.Tensor] = {}
        self.elements: dict[tuple, np.ndarray] = {}  # (class, layer): elements per channel
        self.classes: dict[int, int] = {}  # label -> row of these tables
        self.after: dict[tuple[str, int], str] = {}
        self.functions: dict[tuple[str, int], str] = {}
        self.last = ""  # path of the last convolution or linear layer

    def begin(self, images):
        super().begin(images)
        self.batch: list[tuple] = []  # (key, channels, elements per channel, counts)
        self.last = ""

    def activation(self, func, args, kwargs):
        name = _plain(func.__name__)
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
        counts = _positive(out, channel)
        if not self.wants_labels:
            counts = counts.sum(0, dtype=torch.int64)[None]
        channels = out.shape[channel]
        places = out.numel() // (channels * (self.images if self.wants_labels else 1))
        self.batch.append((key, channels, places, counts))

    def weighted(self, func, args, kwargs):
        self.last = self.stack.path
        out = func(*args, **kwargs)
        if out.ndim > 2 and func.__name__.startswith("linear"):
            out._units_last = True  # dimension 1 is a place in a sequence here
        return out

    def add(self, labels):
        if not self.batch:
            return
        keys, channels, places, counts = zip(*self.batch, strict=True)
        given = labels.tolist() if self.wants_labels else [0]
        rows = [self.classes.setdefault(label, len(self.classes)) for label in given]
        counts = torch.cat(counts, 1)
        together = keys, channels
        table, elements = self.positives.get(together), self.elements.get(together)
        have = 0 if table is None else len(table)
        if have < len(self.classes):
            wanted = len(self.classes) - have
            more = counts.new_zeros(wanted, counts.shape[1], dtype=torch.int64)
            table = more if table is None else torch.cat([table, more])
            none = np.zeros((wanted, len(keys)), np.int64)
            elements = none if elements is None else np.concatenate([elements, none])
            self.positives[together], self.elements[together] = table, elements
        # First within the batch, in float64: exact, and on a CPU ten times faster than int64.
        used, which = np.unique(rows, return_inverse=True)
        used, which = (torch.from_numpy(x).to(counts.device) for x in (used, which))
        part = counts.new_zeros(len(used), counts.shape[1], dtype=torch.float64)
        part.index_add_(0, which, counts.to(torch.float64))
        table.index_add_(0, used, part.to(torch.int64))
        elements += np.bincount(rows, minlength=len(elements))[:, None] * np.array(places)

    def results(self):
        """One (layer, channels' zeros, elements) per call, and what goes into `attrs`."""
        found: dict[tuple[str, int], list[np.ndarray]] = {}
        for (keys, channels), table in self.positives.items():
            ends = np.cumsum(channels)[:-1]
            parts = np.split(table.cpu().numpy(), ends, axis=1)  # the one transfer
            for i, (key, positive) in enumerate(zip(keys, parts, strict=True)):
                total = np.zeros((len(self.classes), 1), np.int64)
                total[: len(positive), 0] = self.elements[keys, channels][:, i]
                total = np.repeat(total, channels[i], axis=1)
                zeros = total.copy()
                zeros[: len(positive)] -= positive
                if key not in found:
                    found[key] = [zeros, total]
                elif found[key][0].shape != zeros.shape:
                    raise BadInputError(
                        f"layer {key[0]!r} has {found[key][0].shape[1]} channels for some images "
                        f"and {channels[i]} for others: count them apart"
                    )
                else:
                    found[key][0] += zeros
                    found[key][1] += total
        names = self.layers()
        layers = [(names[key], *found[key]) for key in self.order if key in found]
        order = sorted(self.classes)
        rows = [self.classes[label] for label in order]
        attrs = self.attrs()
        attrs["after"] = {names[key]: path for key, path in self.after.items()}
        attrs["functions"] = {names[key]: name for key, name in self.functions.items()}
        return (layers, rows, order), attrs


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


def _positive(out: torch.Tensor, channel: int) -> torch.Tensor:
    """Per image and channel, how many elements of a tensor without negatives are above 0: (N, C).

    On a CPU the mean of a comparison is dear (bytes are summed one by one); the sum of the signs
    costs a tenth, taken in pieces that stay in the cache. On a GPU one reduction is best.
    """
    over = tuple(d for d in range(1, out.ndim) if d != channel)
    places = math.prod(out.shape[d] for d in over)
    dtype = torch.float32 if places <= _EXACT else torch.float64
    if not out.is_floating_point():
        return (out > 0).to(torch.float64).sum(over) if over else (out > 0).to(torch.float64)
    if out.device.type != "cpu":
        if over:
            return torch.linalg.vector_norm(out, 0, dim=over, dtype=dtype)
        return torch.sign(out).to(dtype)
    counts = torch.empty(len(out), out.shape[channel], dtype=dtype)
    step = max(1, _CHUNK // out[0].numel())
    for start in range(0, len(out), step):
        signs = torch.sign(out[start : start + step])
        counts[start : start + step] = signs.sum(over, dtype=dtype) if over else signs
    return counts


def _summed(results, by: tuple[str, ...]) -> pd.DataFrame:
    """The chosen keys with `zeros` and `total`, summed over the others."""
    layers, rows, labels = results
    columns: dict[str, list] = {key: [] for key in (*by, "zeros", "total")}
    for name, zeros, total in layers:
        pair = [zeros[rows].T, total[rows].T]  # (channel, class)
        if "class" not in by:
            pair = [x.sum(1, keepdims=True) for x in pair]
        if "channel" not in by:
            pair = [x.sum(0, keepdims=True) for x in pair]
        channels, classes = pair[0].shape
        values = {
            "layer": np.full(channels * classes, name, object),
            "channel": np.repeat(np.arange(channels), classes),
            "class": np.tile(np.array(labels if "class" in by else [0], np.int64), channels),
            "zeros": pair[0].ravel(),
            "total": pair[1].ravel(),
        }
        for key, column in columns.items():
            column.append(values[key])
    kinds = {key: object if key == "layer" else np.int64 for key in columns}
    table = pd.DataFrame(
        {k: np.concatenate(v) if v else np.array([], kinds[k]) for k, v in columns.items()}
    )
    table = table[table["total"] > 0].reset_index(drop=True)  # classes that took another path
    if "layer" in by or not len(table):
        return table
    if not by:
        return table.sum().to_frame().T
    return table.groupby(list(by), as_index=False).sum()


# ---------------------------------------------------------------- multiplications


_PRODUCT_METHODS = _methods(product=WEIGHTED, other=OTHER_PRODUCTS)


class _Products(_Watcher):
    """Counts the zeros among the inputs of convolutions and linear layers, per position."""

    methods = _PRODUCT_METHODS

    def __init__(self, model, wants_labels):
        super().__init__(model, wants_labels)
        self.zeros: dict[tuple, torch.Tensor] = {}  # (key, geometry) -> zeros per position
        self.rows: Counter[tuple] = Counter()  # (key, geometry) -> images, or rows of a linear

    def begin(self, images):
        super().begin(images)
        self.batch: list[tuple] = []

    def add(self, labels):
        for place, rows, zeros in self.batch:
            self.rows[place] += rows
            if place in self.zeros:
                self.zeros[place] += zeros
            else:
                self.zeros[place] = zeros

    def note(self, geometry, x, over, rows):
        key = self.key()
        self.check(x, key, "inputs")
        self.batch.append(((key, geometry), rows, _zeros(x, over)))

    def product(self, func, args, kwargs):
        if _plain(func.__name__) == "linear":
            return self.linear(func, args, kwargs)
        return self.convolution(func, args, kwargs)

    def linear(self, func, args, kwargs):
        x, weight = _two(args, kwargs)
        self.note(("linear", *weight.shape[-2:]), x, x.ndim, x.numel() // max(1, weight.shape[-1]))
        return func(*args, **kwargs)

    def convolution(self, func, args, kwargs):
        transposed = "transpose" in func.__name__
        x, weight, *rest = (_transposed if transposed else _direct)(*args, **kwargs)
        dims = weight.ndim - 2
        if x.ndim == dims + 1:
            x = x[None]
        kernel, size = tuple(weight.shape[2:]), tuple(x.shape[2:])
        stride, padding, dilation, groups = rest
        stride, dilation = _each(stride, dims), _each(dilation, dims)
        if transposed:
            channels, per_group = weight.shape[0], weight.shape[1]
            geometry = "conv_transpose", channels, per_group * groups, kernel, size, groups
        else:
            before, after = _padding(padding, kernel, dilation, dims)
            geometry = (
                *("conv", x.shape[1], weight.shape[0], kernel, size, groups),
                *(stride, before, after, dilation),
            )
        self.note(geometry, x, 2, len(x))
        return func(*args, **kwargs)

    def results(self):
        names, found = self.layers(), {}
        for (key, geometry), zeros in self.zeros.items():
            numbers = _multiplications(geometry, self.rows[key, geometry], zeros.cpu().numpy())
            before = found.get(key, (geometry[0], 0, 0, 0))
            found[key] = (
                geometry[0],
                *(a + b for a, b in zip(before[1:], numbers, strict=True)),
            )
        return [(names[key], *found[key]) for key in self.order if key in found], self.attrs()


def _direct(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    return input, weight, stride, padding, dilation, groups


def _transposed(
    input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    return input, weight, stride, padding, dilation, groups


def _two(args, kwargs):
    return (
        args[0] if args else kwargs["input"],
        args[1] if len(args) > 1 else kwargs["weight"],
    )


def _each(value, dims: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * dims
    return tuple(value) * dims if len(value) == 1 else tuple(value)


def _padding(padding, kernel, dilation, dims) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros before and after the input on each axis; "same" puts the odd one after."""
    if padding == "valid":
        padding = 0
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return _each(padding, dims), _each(padding, dims)


def _zeros(x: torch.Tensor, over: int) -> torch.Tensor:
    """How many elements are zero, summed over the first `over` dimensions: int64."""
    dims = tuple(range(over))
    count = math.prod(x.shape[:over])
    if not x.is_floating_point():
        return (x == 0).sum(dims)
    if x.device.type != "cpu":
        dtype = torch.float32 if count <= _EXACT else torch.float64
        return count - torch.linalg.vector_norm(x, 0, dim=dims, dtype=dtype).to(torch.int64)
    if not x.numel():
        return torch.zeros(x.shape[over:], dtype=torch.int64)
    some = torch.zeros(x.shape[over:], dtype=torch.int64)
    step = max(1, _CHUNK // x[0].numel()) if x.ndim else 1
    for part in x.split(step) if x.ndim else (x,):
        signs = torch.sign(part).abs_()
        exact = torch.float32 if signs.numel() <= _EXACT else torch.float64
        some += (signs.sum(dims, dtype=exact) if dims else signs).to(torch.int64)
    return count - some


def _meetings(size, kernel, stride, before, dilation, outputs) -> np.ndarray:
    """For each input position of one axis, the pairs of output and tap that read it."""
    reads = np.arange(outputs)[:, None] * stride - before + np.arange(kernel) * dilation
    return np.bincount(reads[(reads >= 0) & (reads < size)], minlength=size)


def _multiplications(geometry, rows: int, zeros: np.ndarray) -> tuple[int, int, int]:
    """macs, those with a zero input, those with padding."""
    if geometry[0] == "linear":
        outputs, inputs = geometry[1:]
        return ops.linear_macs(rows, inputs, outputs), int(zeros.sum()) * outputs, 0
    op, channels, filters, kernel, size, groups, *rest = geometry
    share = filters // groups
    if op == "conv_transpose":
        macs = ops.conv_transpose_macs(rows, channels, filters, kernel, size, groups)
        return macs, int(zeros.sum()) * share * math.prod(kernel), 0
    stride, before, after, dilation = rest
    padded = [s + b + a for s, b, a in zip(size, before, after, strict=True)]
    output = ops.conv_output(padded, kernel, stride, (0,) * len(size), dilation)
    meetings = np.ones((), np.int64)
    for axis in zip(size, kernel, stride, before, dilation, output, strict=True):
        meetings = np.multiply.outer(meetings, _meetings(*axis))
    macs = ops.conv_macs(rows, channels, filters, kernel, output, groups)
    inside = rows * channels * share * int(meetings.sum())
    return macs, int((zeros * meetings).sum()) * share, macs - inside
