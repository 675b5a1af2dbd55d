"""Every layer of a net on the clock, while the net runs as it always does.

A layer is a module without children. For the duration of a pass its class is a subclass whose
`__call__` reads the clock before and after torch's own, so that nothing is copied, no hook is set,
a layer's time is that of `layer(x)` with torch's own few hundred nanoseconds of bookkeeping, and
what the stamp does with the time lies outside of it.
"""

import contextlib
from collections import Counter
from time import perf_counter_ns

import pandas as pd
import torch
from torch import nn

from convcost.core.errors import BadInputError
from convcost.core.units import scaled
from convcost.counting import probe
from convcost.counting.probe import call_names, every_module, watch
from convcost.measuring.timing.blocks import (
    at_least,
    interleaved,
    on_cuda,
    on_threads,
    refuse_elsewhere,
    waiting_for,
)

NET = "(net)"  # the row of a whole pass; no module can have this name


def layer_times(
    model: nn.Module,
    images: torch.Tensor,
    *,
    batch: int,
    repetitions: int,
    threads: int = 1,
    warmup: int = 10,
    device: str = "cpu",
) -> pd.DataFrame:
    """Wall-clock time of every layer, and of the whole net without any stamps.

    What comes out: a DataFrame, per repetition one row per layer in the order of the calls and a
    last one, layer "(net)", whose position is the number of layers. Columns: `batch`, `threads`,
    `position`, `layer`, `repetition`, `images` (int64 but for the layer) and `seconds`: of that
    layer, over all batches of the repetition. Seconds per image are `seconds / images`.

    model: on `device`. It runs in evaluation and inference mode and is left as found, also after
    an exception. images (N, C, H, W), or what else the model takes with N first: floating point; a
    repetition sends all N through, `batch` at a time. warmup: batches sent through before, with
    stamps and without. threads: of torch's arithmetic, put back.

    layer: dotted path of a module without children; one that is called several times in a pass has
    path[0], path[1], …; a model that is one layer has its class, <Linear>. The stamped passes and
    the whole ones take turns, each kind first in half of the repetitions. What runs in no layer
    (F.relu, a residual sum, nn.MultiheadAttention, the parents' own Python) is in "(net)" alone.
    Each stamp adds the reading of the clock and one Python call to its layer:
    `benchmarks/bench_timing.py` measures it.

    On CUDA a layer's time is that between two events on the stream, "(net)" is wall clock from an
    idle device to an idle device. That way has not been tried on a GPU yet.

    Refused with `BadInputError`: images that are no floating-point tensor, none at all, not finite;
    `batch` that does not divide N; numbers below 1; a model that is not on `device`, whose layers
    cannot be seen (TorchScript, torch.compile, DataParallel), that has none, or that calls others
    for some images than for others.

    Source: atsumi2020, Table I, "average execute time": one repetition of 1,000 images, batch 1.

    >>> table = layer_times(nn.Sequential(nn.Flatten(), nn.ReLU()), torch.ones(6, 1, 2, 2),
    ...                     batch=3, repetitions=2)
    >>> table[["position", "layer", "repetition", "images"]].values.tolist()[:4]
    [[0, '0', 0, 6], [1, '1', 0, 6], [2, '(net)', 0, 6], [0, '0', 1, 6]]
    """
    at_least(1, repetitions=repetitions, batch=batch, threads=threads)
    at_least(0, warmup=warmup)
    refuse_unseen(model, device)
    batches = _batches(images, batch, device)
    stamps = Stamps(model, device)
    taken = []

    def stamped(parts=batches):
        with stamps:
            for part in parts:
                model(part)
        taken.append(stamps.take())

    def whole(parts=batches):
        for part in parts:
            model(part)

    with on_threads(threads), evaluating(model, device):
        calls = layer_calls(model, batches[0])
        stamped(batches[:warmup])
        whole(batches[:warmup])
        taken.clear()
        measured = interleaved(
            {"layers": stamped, NET: whole},
            repetitions=repetitions, calls=1, warmup=0, device=device,
        )  # fmt: skip
    net_s = measured[measured.case == NET].set_index("repetition").seconds
    rows = []
    for repetition, samples in enumerate(taken):
        seconds = [sum(passes) for passes in by_call(samples, calls, len(batches))]
        layers = [*calls, (NET, None)]
        for position, ((layer, _), spent) in enumerate(
            zip(layers, [*seconds, net_s[repetition]], strict=True)
        ):
            rows.append((batch, threads, position, layer, repetition, len(images), spent))
    columns = ["batch", "threads", "position", "layer", "repetition", "images", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def _batches(images, batch: int, device: str) -> list[torch.Tensor]:
    """A copy on the device, cut: a first layer that works in place must not reach the original."""
    if not isinstance(images, torch.Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, torch.Tensor) else type(images).__name__
        raise BadInputError(f"images are {kind}: a floating-point tensor (N, …) is expected")
    if images.ndim < 2 or not images.numel():
        raise BadInputError(
            f"images have the shape {tuple(images.shape)}: (N, C, H, W) with N of at least 1 is "
            "expected"
        )
    if len(images) % batch:
        raise BadInputError(
            f"batch {batch} does not divide the {len(images)} images: a smaller last batch would "
            "take another time"
        )
    bad = int((~images.isfinite()).sum())
    if bad:
        raise BadInputError(f"{bad} elements of the images are NaN or infinite")
    return list(images.detach().to(device, copy=True).split(batch))


# ---------------------------------------------------------------- what cold starts share


def refuse_unseen(model, device: str) -> None:
    """BadInputError for a model whose layers cannot be stamped, or that is not on the device."""
    on_cuda(device)
    if not isinstance(model, nn.Module):
        raise BadInputError(f"a torch.nn.Module is expected, got {type(model).__name__}")
    for path, module in model.named_modules():
        name = f"module {path!r} ({type(module).__name__})" if path else type(module).__name__
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            raise BadInputError(f"{name} is compiled, which joins layers: give the original")
        if isinstance(module, torch.jit.ScriptModule):
            raise BadInputError(f"{name} is TorchScript, which hides its calls: give the original")
        if isinstance(module, nn.DataParallel):
            raise BadInputError(f"{name} runs in other threads: give its .module")
    refuse_elsewhere(model, device)


@contextlib.contextmanager
def evaluating(model: nn.Module, device: str):
    """Evaluation and inference mode for a while; then the model is as it was."""
    chosen = torch.cuda.device(device) if on_cuda(device) else contextlib.nullcontext()
    with probe.evaluating(model), chosen, torch.inference_mode():
        yield


class Stamps:
    """Context manager: while inside, every call of a module without children is timed.

    `take` gives, by id of the module, the seconds of its calls so far in their order, and forgets
    them.
    """

    def __init__(self, model: nn.Module, device: str):
        self.wait = waiting_for(device)
        self.leaves = [module for module in every_module(model) if not module._modules]
        self.kinds = [type(module) for module in self.leaves]
        self.samples: list[list] = [[] for _ in self.leaves]
        self.on_cuda = on_cuda(device)
        timed = _timed_by_events if self.on_cuda else _timed_by_clock
        self.stamped = [
            timed(kind, samples.append)
            for kind, samples in zip(self.kinds, self.samples, strict=True)
        ]

    def __enter__(self):
        self._become(self.stamped)
        return self

    def __exit__(self, *exc):
        self._become(self.kinds)
        return False

    def _become(self, kinds):
        for module, kind in zip(self.leaves, kinds, strict=True):
            object.__setattr__(module, "__class__", kind)

    def take(self) -> dict[int, list[float]]:
        if self.on_cuda:
            self.wait()
            seconds = [[begin.elapsed_time(end) / 1e3 for begin, end in s] for s in self.samples]
        else:
            seconds = [[scaled(ns, "G") for ns in s] for s in self.samples]
        for samples in self.samples:
            samples.clear()
        return {id(module): s for module, s in zip(self.leaves, seconds, strict=True)}


def _timed_by_clock(kind, keep):
    call = kind.__call__

    class Timed(kind):
        def __call__(self, *args, **kwargs):
            begin = perf_counter_ns()
            output = call(self, *args, **kwargs)
            keep(perf_counter_ns() - begin)
            return output

    return Timed


def _timed_by_events(kind, keep):
    call = kind.__call__

    class Timed(kind):
        def __call__(self, *args, **kwargs):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            output = call(self, *args, **kwargs)
            end.record()
            keep((begin, end))
            return output

    return Timed


def layer_calls(model: nn.Module, images: torch.Tensor) -> list[tuple[str, int]]:
    """(name of the call, id of the module) of one pass, in order: what gives stamps their names."""
    seen = []
    with watch(model, lambda path, module, inputs, output: seen.append((path, id(module)))):
        model(images)
    if not seen:
        raise BadInputError(f"{type(model).__name__} calls no module, so it has no layers to time")
    names = call_names([path or f"<{type(model).__name__}>" for path, _ in seen])
    return list(zip(names, (module for _, module in seen), strict=True))


def by_call(
    samples: dict[int, list[float]], calls: list[tuple[str, int]], passes: int
) -> list[list[float]]:
    """Per call of `layer_calls`, its seconds in each of the passes that `Stamps` saw."""
    per_pass, turns, found = Counter(module for _, module in calls), Counter(), []
    for module, seconds in samples.items():
        if len(seconds) != per_pass[module] * passes:
            name = next((name for name, known in calls if known == module), "a layer")
            raise BadInputError(
                f"{name} was called {len(seconds)} times in {passes} passes, {per_pass[module]} "
                "times in the first: layers can be compared only where every pass calls the same"
            )
    for _, module in calls:
        found.append(samples[module][turns[module] :: per_pass[module]])
        turns[module] += 1
    return found
