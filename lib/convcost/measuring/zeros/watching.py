"""Watch a model's forward pass by its torch functions, and count what is not zero."""

import contextlib
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from convcost.core.errors import BadInputError
from convcost.counting.probe import ModuleStack, as_found, call_names, evaluating, every_module

CHUNK = 1 << 20  # elements looked at in one go on a CPU: the signs of so many stay in its cache
_EXACT = 1 << 24  # float32 counts one by one up to here

_transforming = torch._C._are_functorch_transforms_active  # inside vmap, torch.func.grad, …

RECURRENT = tuple(
    f"{kind}{cell}" for kind in ("rnn_relu", "rnn_tanh", "lstm", "gru") for cell in ("", "_cell")
)
WEIGHTED = (
    *("linear", "conv1d", "conv2d", "conv3d"),
    *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
)


def spelled(**names: Iterable[str]) -> dict[str, str]:
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


def plain(name: str) -> str:
    """The name of a torch function without what `spelled` adds."""
    name = name.partition(".")[0]
    return name if name.startswith("__") else name.strip("_")


# ---------------------------------------------------------------- what is given


def checked(model) -> nn.Module:
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


def checked_labels(labels, images) -> np.ndarray:
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


def run(watcher: "Watcher", data, batch_size: int) -> int:
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
                labels = checked_labels(labels, images)
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


def _forward(watcher: "Watcher", modules: list[nn.Module], images: torch.Tensor, rng: bool):
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


class Watcher(TorchFunctionMode):
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
        self.name_only(plain(func.__name__))
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
        return dict(zip(self.order, call_names([path for path, _ in self.order]), strict=True))

    def attrs(self) -> dict:
        return {"not_watched": {name: list(at) for name, at in self.not_watched.items()}}


# ---------------------------------------------------------------- counting


def nonzeros(x: torch.Tensor, over: tuple[int, ...]) -> torch.Tensor:
    """How many elements are not zero, summed over these dimensions; exact, though in floats.

    On a CPU the sum of a comparison is dear (bytes are summed one by one); the sum of the signs
    costs a tenth, taken in pieces that stay in the cache. On a GPU one reduction is best.
    """
    exact = math.prod(x.shape[d] for d in over) <= _EXACT
    dtype = torch.float32 if exact else torch.float64
    if not x.is_floating_point():
        x = (x != 0).to(dtype)
    if x.device.type != "cpu" and over:
        return torch.linalg.vector_norm(x, 0, dim=over, dtype=dtype)
    counts = []
    for part in x.split(max(1, CHUNK * len(x) // max(1, x.numel()))):
        signs = torch.sign(part).abs_()
        counts.append(signs.sum(over, dtype=dtype) if over else signs.to(dtype))
    return torch.stack(counts).sum(0, dtype=torch.float64) if 0 in over else torch.cat(counts)
