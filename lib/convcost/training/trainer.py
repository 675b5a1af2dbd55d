"""The trainer: a step of training or validation, phase by phase, and all epochs of a recipe.

Everything that trains here does so by it: one net (`alone`), many at once (`together`), and the
loops that are timed (`loops`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from convcost.core.units import scaled
from convcost.training.execution import Execution, autocast
from convcost.training.inputs import batch_bounds
from convcost.training.pipelines import Batch, Stored
from convcost.training.recipe import Recipe
from convcost.training.trained import History

EVALUATION_BATCH = 500


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


class NoClock:
    """Where nobody asks how long a phase takes: nothing is waited for."""

    def begin(self) -> None:
        pass

    def mark(self) -> None:
        pass


class Trainer:
    """A net under training, or a module of `nets` nets (see `together`).

    To be made and used inside `guest`, with a model that is on the device. `training` and
    `validation` do one step each, and add the hits of each net to `correct`, (nets,), on the
    device: asking for a number would make a GPU wait.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, execution: Execution, nets: int = 1):
        self.model, self.execution, self.nets = model, execution, nets
        self.optimiser = recipe.optimiser_of(model, fused=execution.fused)
        self.optimiser.zero_grad()  # a net with a past may have gradients
        self.correct = torch.zeros(nets, dtype=torch.int64, device=execution.device)

    def training(self, source: Iterator[Batch], clock: Clock | NoClock) -> torch.Tensor:
        """One step; marks the borders of its four phases.

        What comes out is the mean loss of the batch before the step, of each net.
        """
        clock.begin()
        images, labels = next(source)
        clock.mark()
        outputs, losses = self.forward(images, labels)
        clock.mark()
        # no net's loss depends on the weights of another
        (losses.sum() if losses.ndim else losses).backward()
        clock.mark()
        self.optimiser.step()
        self.optimiser.zero_grad()
        clock.mark()
        self.correct += self.hits(outputs.detach(), labels)
        return losses.detach()

    def validation(self, source: Iterator[Batch], clock: Clock | NoClock) -> None:
        """One step; marks the borders of its two phases."""
        clock.begin()
        images, labels = next(source)
        clock.mark()
        with torch.no_grad():
            outputs, _ = self.forward(images, labels)
            self.correct += self.hits(outputs, labels)
        clock.mark()

    def forward(self, images, labels) -> tuple[torch.Tensor, torch.Tensor]:
        """(outputs, mean loss of the batch), the latter of each net."""
        with autocast(self.execution):
            outputs = self.outputs(images)
            return outputs, self.losses(outputs, labels)

    def outputs(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images)

    def losses(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, labels)

    def hits(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """How many images each net names rightly: (nets,)."""
        return (outputs.argmax(1) == labels).view(self.nets, -1).sum(1)

    def finite(self) -> torch.Tensor:
        """Whether all weights of a net are finite: (nets,)."""
        every = torch.ones_like(self.correct, dtype=torch.bool)
        for parameter in self.model.parameters():
            every &= parameter.detach().reshape(self.nets, -1).isfinite().all(1)
        return every


def tried(
    model: nn.Module, data: Stored, execution: Execution, nets: int = 1
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(outputs, labels) of a split in evaluation mode, batch by batch; all images to every net."""
    model.eval()
    with torch.inference_mode(), autocast(execution):
        for images, labels in data.over(torch.arange(len(data)).split(EVALUATION_BATCH)):
            if nets > 1:
                images, labels = images.repeat(nets, 1, 1, 1), labels.repeat(nets)
            yield model(images), labels


def run_epochs(
    trainer: Trainer,
    sets: tuple[Stored, Stored],
    recipe: Recipe,
    orders: Sequence[torch.Generator],
    *,
    tests: bool = True,
    on_epoch: Callable[[int], None] | None = None,
    on_divergence: Callable[[int], None] = lambda net: None,
) -> list[History]:
    """The epochs of a recipe, until the end or until every net has diverged: a History per net.

    `orders` draw the order of each net's images; `tests`: whether the second split is tried after
    each epoch. Seconds are those of all nets over their number. `on_epoch(number)` is called after
    each epoch, from 1, `on_divergence(net)` with the place of a net at the end of the epoch in
    which it diverged; the others go on.
    """
    data, held_out = sets
    count, device = trainer.nets, trainer.execution.device
    histories = [History(len(data), len(held_out)) for _ in orders]
    bounds = batch_bounds(len(data), recipe.batch_size)
    steps, done = recipe.epochs * len(bounds), 0
    for epoch in range(1, recipe.epochs + 1):
        begin = time.perf_counter()
        trainer.model.train()
        trainer.correct.zero_()
        loss = torch.zeros(count, dtype=torch.float64, device=device)
        order = torch.stack([torch.randperm(len(data), generator=own) for own in orders])
        source = data.over([order[:, first:last].flatten() for first, last in bounds])
        for first, last in bounds:
            for group in trainer.optimiser.param_groups:
                group["lr"] = recipe.rate(done, steps)
            losses = trainer.training(source, NoClock())
            loss += losses.to(torch.float64) * (last - first)
            done += 1
        finite = (trainer.finite() & loss.isfinite()).tolist()
        loss, correct = (loss / len(data)).tolist(), trainer.correct.tolist()
        epoch_s, begin = (time.perf_counter() - begin) / count, time.perf_counter()
        if tests:
            test_correct = torch.zeros_like(trainer.correct)
            for outputs, labels in tried(trainer.model, held_out, trainer.execution, count):
                test_correct += trainer.hits(outputs, labels)
            test_correct = test_correct.tolist()
            test_s = (time.perf_counter() - begin) / count
        if on_epoch:
            on_epoch(epoch)
        for net, history in enumerate(histories):
            if history.diverged:
                continue
            history.train_loss.append(loss[net] if finite[net] else None)  # JSON has no NaN
            history.train_correct.append(correct[net])
            history.epoch_s.append(epoch_s)
            if tests:
                history.test_correct.append(test_correct[net])
                history.test_s.append(test_s)
            if not finite[net]:
                history.diverged = True
                on_divergence(net)
        if all(history.diverged for history in histories):
            break
    return histories
