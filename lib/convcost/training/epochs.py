"""Whole epochs under a training loop, which may be stopped at any moment and continued."""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch

from convcost.core import machine
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.measuring import memory
from convcost.training import checkpoints
from convcost.training.execution import guest
from convcost.training.inputs import Sets, at_least
from convcost.training.loops import (
    PARTS,
    PHASES,
    Loop,
    Session,
    Setting,
    setting,
    with_memory,
)
from convcost.training.recipe import TRAINING_VERSION
from convcost.training.trainer import Clock

# the loader's workers notice after some seconds that their process was killed, and until then hold
# its lock
WAIT_S = 15


def full_epoch(
    net: str,
    sets: Sets,
    loop: Loop | str,
    *,
    input_px: int,
    in_channels: int = 1,
    batch: int,
    workers: int = 0,
    threads: int = 1,
    epochs: int = 1,
    device: str = "cpu",
    seed: int = 0,
    folder: Path | str | None = None,
    every_s: float = 600.0,
    on_step: Callable[[int, str, int], None] | None = None,
) -> list[dict]:
    """Epochs from the first image to the last, each with its validation.

    What comes out: a dict per epoch, with the columns of the table `full_epochs` from `batch` (as
    used) on; `epoch` counts from 1. `train_s` and `validation_s` are wall clock from asking for the
    first batch (workers are started then) until the device has done its last; the phases are those
    of training. On CUDA they are the times between events in its stream: nothing waits for them, so
    the device works while Python prepares, as without us. Outside of the clock lie, once before the
    first epoch: building the net, resizing beforehand ("resident"), and one rehearsed step, which
    compiles and leaves no trace. `memory_peak_bytes` is, on CUDA, the most that the process held
    there during the epoch, and None on a CPU.

    net, sets, seed and images as in `timed_steps`; the images come in a new order in each epoch, in
    batches of which the last may be smaller (or larger by one: a single image left over joins it).

    `folder` receives a folder for exactly this training on this machine, with a checkpoint of
    weights, optimiser, generators, position and times so far, written every `every_s` seconds (not
    counted as training) and after each epoch, with its sha256. The same call goes on from there,
    also after a kill; on a CPU it gives the weights it would have given in one go. Epochs that are
    there are not done again. A damaged checkpoint is renamed to `<name>.damaged-<n>`.
    `on_step(epoch, part, step)` is called after each step, on the clock.

    Where memory does not suffice, the batch is halved, and the epoch begun anew.

    Refused with `BadInputError`: what `timed_steps` refuses. ConvcostError where memory does not
    suffice for one image, where another process trains into the same folder, and where net or
    pipeline raise.

    >>> rows = full_epoch("lenet_atsumi", "digits", "resized on the device", input_px=28, batch=64)
    >>> [(row["epoch"], row["train_images"], row["test_images"]) for row in rows]
    [(1, 1447, 350)]
    """
    chosen = setting(
        net, sets, loop, input_px=input_px, in_channels=in_channels, batch=batch, workers=workers,
        threads=threads, device=device, seed=seed,
    )  # fmt: skip
    at_least(1, epochs=epochs)
    if not every_s >= 0:
        raise BadInputError(f"every_s is {every_s!r}: seconds, from 0 on")
    attempt = partial(_trained, chosen, epochs, folder and Path(folder), every_s, on_step)
    rows, _, reason = with_memory(batch, chosen, attempt)
    if rows is None:
        raise ConvcostError(
            f"{net} under the loop {chosen.loop.name!r} has no memory for one image of {input_px} "
            f"pixels a step: {reason}"
        )
    return rows


@dataclass
class _Progress:
    """How far a training has come.

    `step` counts the steps of the epoch, training and validation together; `sums` are the seconds
    and the hits of its steps so far, `memory_peak_bytes` is their peak of memory.
    """

    epoch: int = 1
    step: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0))
    memory_peak_bytes: int | None = None
    rows: list[dict] = field(default_factory=list)


_SUMS = (*PHASES, *(f"{part}_{what}" for part in PARTS for what in ("s", "correct")))


def _trained(
    chosen: Setting, epochs: int, folder: Path | None, every_s: float, on_step, batch: int
) -> list[dict]:
    """The rows of all epochs with this batch; what is on the shelf is not done again."""
    with _shelf(folder, chosen, batch, every_s) as shelf, guest(chosen.execution):
        session = Session(chosen, batch)
        progress = shelf.load(session)
        if progress.epoch <= epochs:
            session.rehearse()
        for epoch in range(1, epochs + 1):
            batches = {part: session.batches(part) for part in PARTS}  # drawn for all, in order
            if epoch < progress.epoch:
                continue
            peak_bytes = memory.peak_from_now(chosen.execution.device)
            for part in PARTS:
                done = progress.step - (len(batches["training"]) if part == "validation" else 0)
                _run(session, part, batches[part], done, progress, shelf, on_step, peak_bytes)
            rows = [*progress.rows, _row(progress, chosen, batch)]
            progress = _Progress(epoch + 1, rows=rows)
            shelf.save(session, progress)
        return progress.rows[:epochs]


def _run(
    session: Session, part: str, batches: list, done: int, progress: _Progress, shelf, on_step,
    peak_bytes: Callable[[], int | None],
) -> None:  # fmt: skip
    """The steps of one part of an epoch that are not done yet."""
    if done >= len(batches):
        return
    session.pipeline[part].prepare(batches)
    clock = Clock(session.chosen.execution.device, overlapping=True)
    clock.wait()
    begin = time.perf_counter()

    def enter() -> None:
        clock.wait()
        progress.sums[f"{part}_s"] += time.perf_counter() - begin
        progress.sums[f"{part}_correct"] += int(session.correct.sum())
        session.correct.zero_()
        progress.memory_peak_bytes = max(
            filter(None, (progress.memory_peak_bytes, peak_bytes())), default=None
        )
        taken = clock.take()
        if part == "training":
            for phase, seconds in zip(PHASES, zip(*taken, strict=True), strict=True):
                progress.sums[phase] += sum(seconds)

    source = session.source(part, batches[done:])
    for step in range(done, len(batches)):
        getattr(session, part)(source, clock)
        progress.step += 1
        if on_step:
            on_step(progress.epoch, part, step)
        if shelf.due() and step + 1 < len(batches):
            enter()
            shelf.save(session, progress)
            begin = time.perf_counter()
    enter()


def _row(progress: _Progress, chosen: Setting, batch: int) -> dict:
    train, test = map(len, chosen.sets)
    sums = progress.sums
    return {
        "batch": batch,
        "epoch": progress.epoch,
        "train_images": train,
        **{phase: sums[phase] for phase in PHASES},
        "train_s": sums["training_s"],
        "train_correct": sums["training_correct"],
        "test_images": test,
        "validation_s": sums["validation_s"],
        "test_correct": sums["validation_correct"],
        "memory_peak_bytes": progress.memory_peak_bytes,
    }


@contextlib.contextmanager
def _shelf(folder: Path | None, chosen: Setting, batch: int, every_s: float) -> Iterator["_Shelf"]:
    """The shelf of this training in a folder of its own, for no other process meanwhile."""
    if folder is None:
        yield _Shelf(None, chosen.net, every_s)
        return
    own = folder.expanduser().resolve() / f"{chosen.net}-{_key(chosen, batch)[:16]}"
    with checkpoints.alone(own, WAIT_S):
        yield _Shelf(own, chosen.net, every_s)


class _Shelf:
    """The newest checkpoint of one training; without a folder, none."""

    def __init__(self, folder: Path | None, net: str, every_s: float):
        self.folder, self.net, self.every_s = folder, net, every_s
        self.last = time.monotonic()

    def due(self) -> bool:
        return self.folder is not None and time.monotonic() - self.last >= self.every_s

    def save(self, session: Session, progress: _Progress) -> None:
        """Write all that going on needs, then remove the checkpoint before."""
        if self.folder is None:
            return
        # a name of its own: a kill between file and hash must not cost the one before
        path = self.folder / f"{progress.epoch:04d}-{progress.step:07d}{checkpoints.SUFFIX}"
        words = {"net": self.net, "progress": json.dumps(asdict(progress))}
        checkpoints.save(path, _tensors(session), words)
        for old in self._files():
            if old != path:
                old.unlink()
                checkpoints.hash_file(old).unlink(missing_ok=True)
        self.last = time.monotonic()

    def load(self, session: Session) -> _Progress:
        """Bring the session to where the newest whole checkpoint was: how far that is."""
        for path in reversed(self._files()):
            try:
                found = checkpoints.load(path, net=self.net)
            except DamagedFileError as error:
                checkpoints.set_aside(error, path)
                continue
            _restore(session, found.state)
            return _Progress(**json.loads(found.words["progress"]))
        return _Progress()

    def _files(self) -> list[Path]:
        """From the oldest to the newest."""
        return sorted(self.folder.glob(f"*{checkpoints.SUFFIX}")) if self.folder else []


def _key(chosen: Setting, batch: int) -> str:
    """sha256 over all that the weights and the times of a training depend on."""
    parts = {
        "net": chosen.net,
        "sets": [part.sha256 for part in chosen.sets],
        "loop": asdict(chosen.loop),
        "input": [chosen.in_channels, chosen.input_px, batch, chosen.workers],
        # what an execution had once; keys of before count
        "execution": {**asdict(chosen.execution), "cuda_graph": False},
        "seed": chosen.seed,
        "versions": [TRAINING_VERSION, torch.__version__],
        "machine": machine.slug(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _tensors(session: Session) -> dict[str, torch.Tensor]:
    """Weights and buffers, momenta, generators."""
    state = {f"model.{name}": tensor for name, tensor in session.model.state_dict().items()}
    for number, parameter in enumerate(session.model.parameters()):
        momentum = session.optimiser.state[parameter].get("momentum_buffer")
        if momentum is not None:
            state[f"momentum.{number}"] = momentum
    state["generator.cpu"] = torch.get_rng_state()
    if session.correct.is_cuda:
        state["generator.cuda"] = torch.cuda.get_rng_state(session.correct.device)
    return state


def _restore(session: Session, state: dict[str, torch.Tensor]) -> None:
    session.model.load_state_dict(
        {name[6:]: tensor for name, tensor in state.items() if name.startswith("model.")}
    )
    for number, parameter in enumerate(session.model.parameters()):
        if (momentum := state.get(f"momentum.{number}")) is not None:
            # in the parameter's own memory order, which files do not keep
            session.optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(
                parameter, requires_grad=False
            ).copy_(momentum)
    torch.set_rng_state(state["generator.cpu"])
    if session.correct.is_cuda:
        torch.cuda.set_rng_state(state["generator.cuda"], session.correct.device)
