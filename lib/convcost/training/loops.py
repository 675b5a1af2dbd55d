"""The same training by a plain loop and by tuned ones, step by step and phase by phase.

`LOOPS` are the loops, each adding one thing to the one before; `timed_steps` measures some steps of
one; `epochs.full_epoch` runs whole epochs. All of them train alike: SGD with momentum 0.9 at a rate
of 0.01, cross-entropy, inputs normalised by mean and deviation of the training images.
"""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import TypeVar

import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from convcost import nets
from convcost.datasets import Dataset
from convcost.errors import BadInputError, ConvcostError
from convcost.training import pipelines
from convcost.training.loop import (
    Execution,
    arguments,
    batch_bounds,
    drawn_seeds,
    execution_autocast,
    pair,
)
from convcost.units import scaled

LR, MOMENTUM = 0.01, 0.9
PARTS = ("training", "validation")
PHASES = ("pipeline_s", "forward_s", "backward_s", "optimiser_s")
COLUMNS = ("batch", "part", "step", "warmup", "images", *PHASES, "step_s")

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Loop:
    """A way of running the same training.

    `pipeline`: "loader" (a DataLoader in which PIL resizes every image each time), "resident" (PIL
    resizes once, the bytes stay on the device), "device" (28 × 28 bytes stay on the device, which
    resizes each batch). `channels_last` is the memory order of images and filters, `bf16` autocast
    to bfloat16, `compiled` torch.compile of the net, `fused` the optimiser's one-pass step.

    Raises BadInputError for another pipeline.
    """

    name: str
    pipeline: str = "loader"
    channels_last: bool = False
    bf16: bool = False
    compiled: bool = False
    fused: bool = False

    def __post_init__(self):
        pipelines.known(self.pipeline)


def _ablation() -> Iterator[Loop]:
    yield (loop := Loop("plain"))
    yield (loop := replace(loop, name="resident data", pipeline="resident"))
    yield (loop := replace(loop, name="resized on the device", pipeline="device"))
    yield (loop := replace(loop, name="channels_last", channels_last=True))
    yield (loop := replace(loop, name="bf16", bf16=True))
    # both merge many small kernels into few
    yield replace(loop, name="compiled", compiled=True, fused=True)


LOOPS: dict[str, Loop] = {loop.name: loop for loop in _ablation()}


@dataclass(frozen=True, eq=False)
class LoopRun:
    """What `timed_steps` gives: `rows`, a dict per step, `steps`, the same as a DataFrame, `record`.

    The columns are `COLUMNS`, as the table `training_steps` describes them, warm-up included; what
    a step has not is None in `rows` and missing in `steps`. The record has `batch` (as used; None where no step was done), `status` ("done" or
    "out of memory"), `reason` of the latter, `setup_s` (seconds to the first step done: building,
    resizing beforehand, compiling) and `seconds` (of all); what is not available is None.
    """

    rows: list[dict]
    record: dict

    @property
    def steps(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=COLUMNS)


@dataclass(frozen=True)
class Setting:
    """All that a training by a loop depends on, but for the batch; checked by `setting`."""

    net: str
    sets: tuple[Dataset, Dataset]
    loop: Loop
    input_px: int
    in_channels: int
    workers: int
    seed: int
    execution: Execution
    build: dict


def setting(
    net: str, sets, loop: Loop | str, *, input_px: int, in_channels: int, batch: int,
    workers: int, threads: int, device: str, seed: int,
) -> Setting:  # fmt: skip
    """A `Setting`, or BadInputError."""
    if isinstance(loop, str):
        if loop not in LOOPS:
            raise BadInputError(f"no loop is called {loop!r}; there are: {', '.join(LOOPS)}")
        loop = LOOPS[loop]
    at_least(1, input_px=input_px, in_channels=in_channels, batch=batch, threads=threads)
    at_least(0, workers=workers)
    drawn_seeds(seed)
    sets = pair(sets)
    execution = Execution(device, threads, loop.channels_last, loop.fused, loop.bf16)
    build = arguments(net, sets, (in_channels, input_px, input_px))
    return Setting(net, sets, loop, input_px, in_channels, workers, seed, execution, build)


def at_least(low: int, **numbers: int) -> None:
    """Refuse, by name, what is not a whole number of at least `low`."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < low:
            raise BadInputError(f"{name} is {number!r}: a whole number from {low} on is expected")


def timed_steps(
    net: str,
    sets: str | tuple[Dataset, Dataset],
    loop: Loop | str,
    *,
    input_px: int,
    in_channels: int = 1,
    batch: int,
    workers: int = 0,
    threads: int = 1,
    steps: int,
    validation_steps: int = 0,
    warmup: int = 1,
    device: str = "cpu",
    seed: int = 0,
) -> LoopRun:
    """Steps of a training loop and of its validation, phase by phase.

    What comes out: `LoopRun`; `warmup + steps` rows of part "training", then, unless
    `validation_steps` is 0, `warmup + validation_steps` of "validation" (in evaluation mode,
    without gradients; no weight changes). All times are wall-clock seconds. `pipeline_s` is what
    the loop waits for its batch: with `workers` that is less than the making of it. `step_s` is
    the whole step; the phases add up to it but for the release of the batch.

    net: a name of `convcost.nets`, built with as many outputs as there are classes; sets: two grey
    splits, or the name of a set; images reach the net as (batch, in_channels, input_px, input_px).
    `seed` gives weights, dropout and order of the images: the same for every loop.

    On CUDA the device is waited for at every border between phases. That is what separates them,
    and it costs the overlap of Python with the device: how long an epoch takes when nobody looks is
    told by `full_epoch`.

    Where memory does not suffice, the batch is halved until it does, or is 1: then the status is
    "out of memory" and there are no rows. Random generators and torch's threads are as before
    afterwards. What was compiled in this process before is forgotten where `loop.compiled`.

    Refused with `BadInputError`: an unknown net, loop or set, images the net cannot take or that
    are not grey, numbers out of range, sets with too few images for the steps. What the net or the
    pipeline raises becomes a `ConvcostError` that names the net and the loop.

    >>> run = timed_steps("lenet_atsumi", "digits", "plain", input_px=28, batch=4, steps=2)
    >>> run.steps[["part", "step", "warmup", "images"]].values.tolist()
    [['training', 0, True, 4], ['training', 1, False, 4], ['training', 2, False, 4]]
    """
    chosen = setting(
        net, sets, loop, input_px=input_px, in_channels=in_channels, batch=batch, workers=workers,
        threads=threads, device=device, seed=seed,
    )  # fmt: skip
    at_least(1, steps=steps)
    at_least(0, validation_steps=validation_steps, warmup=warmup)
    counts = {
        "training": warmup + steps,
        "validation": warmup + validation_steps if validation_steps else 0,
    }
    for part, images in zip(PARTS, map(len, chosen.sets), strict=True):
        if counts[part] * batch > images:
            raise BadInputError(
                f"{counts[part]} steps of {part} with {batch} images each need "
                f"{counts[part] * batch:,}; there are {images:,}"
            )
    begin = time.perf_counter()
    # the numbers of rows are known before the first: a halved batch repeats all of them
    found, used, reason = with_memory(batch, chosen, partial(_measured, chosen, counts, warmup))
    rows, first_done = found or ([], None)
    record = {
        "batch": used,
        "status": "out of memory" if reason else "done",
        "reason": reason,
        "setup_s": first_done and first_done - begin,
        "seconds": time.perf_counter() - begin,
    }
    return LoopRun(rows, record)


def _measured(
    chosen: Setting, counts: dict[str, int], warmup: int, batch: int
) -> tuple[list[dict], float | None]:
    """The rows, and the moment at which the first step was done."""
    rows, first_done = [], None
    with guest(chosen.execution):
        session = Session(chosen, batch)
        clock = Clock(chosen.execution.device)
        for part, count in counts.items():
            batches = session.batches(part)[:count]
            session.pipeline[part].prepare(batches)
            source = session.source(part, batches)
            for step in range(count):
                getattr(session, part)(source, clock)
                clock.mark()  # the batch and what came of it have been released
                (seconds,) = clock.take()
                first_done = first_done or time.perf_counter()
                row = {"batch": batch, "part": part, "step": step, "warmup": step < warmup}
                row |= {"images": len(batches[step]), "step_s": sum(seconds)}
                # all intervals but the last are phases
                rows.append(row | dict(zip_longest(PHASES, seconds[:-1])))
    return rows, first_done


# ---------------------------------------------------------------- what all loops share


class Clock:
    """Moments, and the seconds between them.

    On a CPU they are read from the clock. On CUDA, too, after the device has done all it was
    given, or, with `overlapping`, they are events in its stream, which nobody waits for before
    `take`; Python then runs ahead of the device as it does without us.
    """

    def __init__(self, device: str, overlapping: bool = False):
        self.on_cuda = torch.device(device).type == "cuda"
        self.wait = partial(torch.cuda.synchronize, device) if self.on_cuda else lambda: None
        self.by_events = overlapping and self.on_cuda
        self.steps: list[list] = []

    def begin(self) -> None:
        """The first moment of a step."""
        self.steps.append([])
        self.mark()

    def mark(self) -> None:
        if self.by_events:
            moment = torch.cuda.Event(enable_timing=True)
            moment.record()
        else:
            self.wait()
            moment = time.perf_counter_ns()
        self.steps[-1].append(moment)

    def take(self) -> list[list[float]]:
        """For each step since the last call, the seconds between its moments."""
        if self.by_events:
            self.wait()
        taken = [
            [self._between(a, b) for a, b in zip(moments, moments[1:], strict=False)]
            for moments in self.steps
        ]
        self.steps.clear()
        return taken

    def _between(self, a, b) -> float:
        return a.elapsed_time(b) / 1e3 if self.by_events else scaled(b - a, "G")


class Session:
    """A net under a loop, from its seed: its weights, its optimiser, its pipelines.

    To be made and used inside `guest`. `training` and `validation` do one step each, and add to
    `correct` on the device: asking for a number would make a GPU wait.
    """

    def __init__(self, chosen: Setting, batch: int):
        self.chosen, self.batch = chosen, batch
        loop, execution = chosen.loop, chosen.execution
        seeds = drawn_seeds(chosen.seed)
        torch.manual_seed(seeds["initialisation"])
        self.model = nets.build(chosen.net, **chosen.build).to(execution.device)
        order = torch.channels_last if loop.channels_last else torch.contiguous_format
        if loop.channels_last:
            self.model.to(memory_format=order)
        self.compiled = None
        if loop.compiled:
            # torch counts compilations of a piece of code, and after eight compiles no more of it
            torch.compiler.reset()
            self.compiled = torch.compile(self.model, dynamic=False)
        # None: what torch takes where nobody asks for anything
        fused = True if loop.fused else None
        self.optimiser = torch.optim.SGD(
            self.model.parameters(), lr=LR, momentum=MOMENTUM, fused=fused
        )
        (mean,), (deviation,) = self._statistics()
        settings = {
            "input_px": chosen.input_px,
            "in_channels": chosen.in_channels,
            "workers": chosen.workers,
            "device": execution.device,
            "order": order,
        }
        self.pipeline = {
            part: pipelines.pipeline(loop.pipeline, images, (mean, deviation), **settings)
            for part, images in zip(PARTS, chosen.sets, strict=True)
        }
        self.orders = torch.Generator().manual_seed(seeds["order"])
        self.correct = torch.zeros((), dtype=torch.int64, device=execution.device)
        torch.manual_seed(seeds["dropout"])

    def _statistics(self):
        means, deviations = self.chosen.sets[0].channel_statistics()
        if len(means) != 1:
            raise BadInputError(
                f"{self.chosen.sets[0].name} has {len(means)} channels: these loops are for grey "
                "images"
            )
        if not deviations[0]:
            raise BadInputError("all training images have one value: nothing to normalise by")
        return means, deviations

    def batches(self, part: str) -> list[torch.Tensor]:
        """Which images make up which batch: drawn anew by every call for "training"."""
        images = len(self.chosen.sets[PARTS.index(part)])
        if part == "training":
            order = torch.randperm(images, generator=self.orders)
        else:
            order = torch.arange(images)
        return [order[first:last] for first, last in batch_bounds(images, self.batch)]

    def source(self, part: str, batches: list[torch.Tensor]) -> Iterator[pipelines.Batch]:
        """The batches themselves, and the model in the mode of that part."""
        self.model.train(part == "training")
        return self.pipeline[part].over(batches)

    def training(self, source: Iterator[pipelines.Batch], clock: Clock) -> None:
        """One step; marks the borders of its four phases."""
        clock.begin()
        images, labels = next(source)
        clock.mark()
        outputs, loss = self._forward(images, labels)
        clock.mark()
        loss.backward()
        clock.mark()
        self.optimiser.step()
        self.optimiser.zero_grad()
        clock.mark()
        self.correct += (outputs.detach().argmax(1) == labels).sum()

    def validation(self, source: Iterator[pipelines.Batch], clock: Clock) -> None:
        """One step; marks the borders of its two phases."""
        clock.begin()
        images, labels = next(source)
        clock.mark()
        with torch.no_grad():
            outputs, _ = self._forward(images, labels)
            self.correct += (outputs.argmax(1) == labels).sum()
        clock.mark()

    def _forward(self, images, labels):
        # compiled for one size of batch: the last, smaller one of an epoch is not worth another
        whole = self.compiled is not None and len(images) == self.batch
        with execution_autocast(self.chosen.execution):
            outputs = (self.compiled if whole else self.model)(images)
            return outputs, functional.cross_entropy(outputs, labels)


def with_memory(
    batch: int, chosen: Setting, attempt: Callable[[int], _Made]
) -> tuple[_Made | None, int | None, str | None]:
    """(what `attempt(batch)` gives, batch, None), the batch halved as long as memory is refused.

    (None, None, reason) where 1 is still too much. What else is raised becomes a ConvcostError.
    """
    while True:
        try:
            return attempt(batch), batch, None
        except ConvcostError:
            raise
        except Exception as error:
            if not memory_refused(error):
                raise ConvcostError(
                    f"{chosen.net} under the loop {chosen.loop.name!r}, {batch} images of "
                    f"{chosen.in_channels}×{chosen.input_px}×{chosen.input_px} a step: "
                    f"{type(error).__name__}: {error}"
                ) from error
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        # here, where the exception and all that its frames held are gone
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        if batch == 1:
            return None, None, reason[0]
        batch //= 2


def memory_refused(error: BaseException) -> bool:
    """Whether an exception says that there is not enough memory, on the CPU or on a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    words = ("defaultcpuallocator", "alloc_cpu", "not enough memory", "out of memory", "bad_alloc",
             "cannot allocate memory")  # fmt: skip
    return isinstance(error, RuntimeError | OSError) and any(word in text for word in words)


@contextlib.contextmanager
def guest(execution: Execution):
    """Threads and generators for a while; then as they were."""
    on_gpu = execution.device.startswith("cuda")
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[torch.device(execution.device)] if on_gpu else []):
        torch.set_num_threads(execution.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
