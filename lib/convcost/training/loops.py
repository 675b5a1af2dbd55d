"""The loops there are: one training run in several ways, and a net under one of them.

All of them train alike, by `RECIPE`; inputs are normalised by mean and deviation of the training
images.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from convcost.core.errors import BadInputError, ConvcostError
from convcost.datasets import Dataset
from convcost.measuring import memory
from convcost.training import pipelines
from convcost.training.execution import Execution, guest, halved, placed
from convcost.training.inputs import (
    arguments,
    at_least,
    batch_bounds,
    drawn_seeds,
    new_net,
    pair,
)
from convcost.training.recipe import Recipe
from convcost.training.trainer import Trainer

# how often and with how many images a step is done is for whoever runs a loop to say
RECIPE = Recipe("sgd", lr=0.01, momentum=0.9, schedule="constant")
PARTS = ("training", "validation")
PHASES = ("pipeline_s", "forward_s", "backward_s", "optimiser_s")  # of `Trainer.training`

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
        pipelines.named(self.pipeline)


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


class Session(Trainer):
    """A net under a loop, from its seed: the trainer of its weights, and its pipelines.

    To be made and used inside `guest`.
    """

    def __init__(self, chosen: Setting, batch: int):
        self.chosen, self.batch = chosen, batch
        loop, execution = chosen.loop, chosen.execution
        seeds = drawn_seeds(chosen.seed)
        model = placed(new_net(chosen.net, chosen.build, RECIPE, seeds, execution), execution)
        self.compiled = None
        if loop.compiled:
            # torch counts compilations of a piece of code, and after eight compiles no more of it
            torch.compiler.reset()
            self.compiled = torch.compile(model, dynamic=False)
        super().__init__(model, RECIPE, execution)
        statistics = pipelines.statistics(chosen.sets[0])
        settings = {
            "input_px": chosen.input_px,
            "in_channels": chosen.in_channels,
            "workers": chosen.workers,
            "device": execution.device,
            "order": execution.memory_order,
        }
        self.pipeline = {
            part: pipelines.named(loop.pipeline)(images, statistics, **settings)
            for part, images in zip(PARTS, chosen.sets, strict=True)
        }
        self.orders = torch.Generator().manual_seed(seeds["order"])
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

    def rehearse(self) -> None:
        """What is done once: compiling, choosing kernels, asking for memory. Changes nothing."""
        images = min(self.batch, *map(len, self.chosen.sets))
        shape = (images, self.chosen.in_channels, self.chosen.input_px, self.chosen.input_px)
        device = self.correct.device
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        with guest(self.chosen.execution):
            blank = torch.zeros(shape, device=device).contiguous(
                memory_format=self.execution.memory_order
            )
            labels = torch.zeros(images, dtype=torch.int64, device=device)
            self.model.train()
            self.forward(blank, labels)[1].backward()
            self.optimiser.zero_grad()
            self.model.eval()
            with torch.no_grad():
                self.forward(blank, labels)
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(before[name])

    def outputs(self, images):
        # compiled for one size of batch: the last, smaller one of an epoch is not worth another
        whole = self.compiled is not None and len(images) == self.batch
        return (self.compiled if whole else self.model)(images)


def with_memory(
    batch: int, chosen: Setting, attempt: Callable[[int], _Made]
) -> tuple[_Made | None, int | None, str | None]:
    """As `halved`: `attempt` with the batch, or with a smaller one for which there is memory.

    Whatever else is raised becomes a ConvcostError. On a GPU memory that is not used any more is
    given back in the end.
    """
    tried = batch

    def noted(size: int) -> _Made:
        nonlocal tried
        tried = size
        return attempt(size)

    try:
        return halved(batch, noted)
    except ConvcostError:
        raise
    except Exception as error:
        # after an empty line torch tells how to find out more
        words, _, _ = str(error).strip().partition("\n\n")
        raise ConvcostError(
            f"{chosen.net} under the loop {chosen.loop.name!r}, {tried} images of "
            f"{chosen.in_channels}×{chosen.input_px}×{chosen.input_px} a step: "
            f"{type(error).__name__}: {words}"
        ) from error
    finally:
        if chosen.execution.device != "cpu":
            memory.give_back()
