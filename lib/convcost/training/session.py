"""A net under one training loop: the loops there are, and what a step of each consists of.

All of them train alike: SGD with momentum 0.9 at a rate of 0.01, cross-entropy, inputs normalised
by mean and deviation of the training images.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TypeVar

import torch
from torch.nn import functional

from convcost import nets
from convcost.core.errors import BadInputError, ConvcostError
from convcost.core.units import scaled
from convcost.datasets import Dataset
from convcost.measuring import memory
from convcost.training import pipelines
from convcost.training.execution import Execution, autocast
from convcost.training.loop import arguments, batch_bounds, drawn_seeds, pair

LR, MOMENTUM = 0.01, 0.9
PARTS = ("training", "validation")

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


class Clock:
    """Moments, and the seconds between them.

    On a CPU they are read from the clock. On CUDA, too, after the device has done all it was
    given, or, with `overlapping`, they are events in its stream, which nobody waits for before
    `take`; Python then runs ahead of the device as it does without us.
    """

    def __init__(self, device: str, overlapping: bool = False):
        self.device, self.on_cuda = device, torch.device(device).type == "cuda"
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
            moment.record(torch.cuda.current_stream(self.device))
        else:
            self.wait()
            moment = time.perf_counter_ns()
        self.steps[-1].append(moment)

    def take(self) -> list[list[float]]:
        """For each step since the last call, the seconds between its moments."""
        if self.by_events:
            self.wait()
        taken = [[self._between(a, b) for a, b in pairwise(moments)] for moments in self.steps]
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
        self.order = torch.channels_last if loop.channels_last else torch.contiguous_format
        if loop.channels_last:
            self.model.to(memory_format=torch.channels_last)
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
        statistics = pipelines.statistics(chosen.sets[0])
        settings = {
            "input_px": chosen.input_px,
            "in_channels": chosen.in_channels,
            "workers": chosen.workers,
            "device": execution.device,
            "order": self.order,
        }
        self.pipeline = {
            part: pipelines.pipeline(loop.pipeline, images, statistics, **settings)
            for part, images in zip(PARTS, chosen.sets, strict=True)
        }
        self.orders = torch.Generator().manual_seed(seeds["order"])
        self.correct = torch.zeros((), dtype=torch.int64, device=execution.device)
        torch.manual_seed(seeds["dropout"])

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

    def rehearse(self) -> None:
        """What is done once: compiling, choosing kernels, asking for memory. Changes nothing."""
        images = min(self.batch, *map(len, self.chosen.sets))
        shape = (images, self.chosen.in_channels, self.chosen.input_px, self.chosen.input_px)
        device = self.correct.device
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        with guest(self.chosen.execution):
            blank = torch.zeros(shape, device=device).contiguous(memory_format=self.order)
            labels = torch.zeros(images, dtype=torch.int64, device=device)
            self.model.train()
            self._forward(blank, labels)[1].backward()
            self.optimiser.zero_grad()
            self.model.eval()
            with torch.no_grad():
                self._forward(blank, labels)
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(before[name])

    def _forward(self, images, labels):
        # compiled for one size of batch: the last, smaller one of an epoch is not worth another
        whole = self.compiled is not None and len(images) == self.batch
        with autocast(self.chosen.execution):
            outputs = (self.compiled if whole else self.model)(images)
            return outputs, functional.cross_entropy(outputs, labels)


def with_memory(
    batch: int, chosen: Setting, attempt: Callable[[int], _Made]
) -> tuple[_Made | None, int | None, str | None]:
    """(what `attempt(batch)` gives, batch, None), the batch halved as long as memory is refused.

    (None, None, reason) where 1 is still too much. What else is raised becomes a ConvcostError.
    On a GPU memory that is not used any more is given back in the end.
    """
    try:
        while True:
            try:
                return attempt(batch), batch, None
            except ConvcostError:
                raise
            except Exception as error:
                if not memory.refused(error, batch):
                    # after an empty line torch tells how to find out more
                    words, _, _ = str(error).strip().partition("\n\n")
                    raise ConvcostError(
                        f"{chosen.net} under the loop {chosen.loop.name!r}, {batch} images of "
                        f"{chosen.in_channels}×{chosen.input_px}×{chosen.input_px} a step: "
                        f"{type(error).__name__}: {words}"
                    ) from error
                reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            # here, where the exception and all that its frames held are gone
            memory.give_back()
            if batch == 1:
                return None, None, reason[0]
            batch //= 2
    finally:
        if chosen.execution.device != "cpu":
            memory.give_back()


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
