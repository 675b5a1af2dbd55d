"""Many small networks at a time: a family of seeds over the cores, resumable net by net.

On a CPU one single-thread process per core, on a GPU one process. A net counts as done when its
files are there and verified (`shelf`); everything else is trained. So a run that was stopped, in
whatever way, is continued by the same call.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import pandas as pd
from torch import nn

import convcost
from convcost import machine
from convcost.datasets import Dataset
from convcost.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.training import job, shelf
from convcost.training.loop import Execution, Sets, Trained, arguments, drawn_seeds, pair
from convcost.training.recipe import Recipe, key

ATTEMPTS = 3  # deaths of a worker over one net before the net is given up


@dataclass(frozen=True, eq=False)
class Family:
    """Nets that differ in the seed alone: `rows`, and each net by its seed.

    `rows`, one per seed in the order asked for: `seed`; `status` ("trained", "diverged", or
    "failed" where no net came out); `epochs` finished; `train_accuracy` (hits while training,
    last epoch), `test_accuracy` (after the last epoch), shares 0 to 1; `train_loss`, mean
    cross-entropy of the last epoch in nats; `seconds`, wall clock; `reused`, true where the net was
    there before; `set_aside`, the new name of a damaged file that was in its place; `reason` of a
    failure; `checkpoint`, the file's name in `folder`. What is not
    available is missing in pandas' sense (`isna`), never 0.
    """

    folder: Path
    rows: pd.DataFrame
    _keys: dict[int, str]

    def trained(self, seed: int) -> Trained:
        """State and record of one seed, verified. BadInputError where there is no such net."""
        found = shelf.load(self.folder, seed, self._keys[seed]) if seed in self._keys else None
        if found is None:
            known = ", ".join(str(s) for s in self.rows.seed[self.rows.status != "failed"])
            raise BadInputError(f"no net of seed {seed} in {self.folder.name}; there are: {known}")
        return found

    def net(self, seed: int) -> nn.Module:
        """The network of one seed, on the CPU, in evaluation mode."""
        return self.trained(seed).net()


def train_many(
    net: str,
    dataset: Sets,
    recipe: Recipe | None,
    seeds: Iterable[int],
    folder: Path | str,
    *,
    workers: int | None = None,
    progress: Callable[[str], None] | None = print,
    device: str = "cpu",
    every_s: float = 10.0,
) -> Family:
    """One net trained from each seed, as `train` does it; those that are there are not repeated.

    `recipe` None is `Recipe()`. `folder` receives a folder for this net, data set and recipe.
    `workers`: processes of one thread each; None is one per usable core (one on a GPU, where a
    second would wait for the first). `progress` gets a line every `every_s` seconds.

    A net whose worker is killed is trained again, at most twice; the others go on. A damaged file
    is renamed to `<name>.damaged-<n>` and its net trained again. A net that diverges, or that
    cannot be trained, is a row with that status. Raises BadInputError for what `train` refuses and
    for no seeds or the same seed twice; ConvcostError where another process trains into the same
    folder, and where no worker can be started.
    """
    recipe, execution = recipe or Recipe(), Execution(device=device)
    wanted = [drawn_seeds(seed)["seed"] for seed in seeds]
    if not wanted or len(set(wanted)) < len(wanted):
        raise BadInputError("seeds: give at least one, and none of them twice")
    if workers is not None and workers < 1:
        raise BadInputError(f"workers is {workers}; at least 1")
    sets = pair(dataset)
    arguments(net, sets)
    family = shelf.family_folder(Path(folder).expanduser().resolve(), net, sets, recipe)
    family.mkdir(parents=True, exist_ok=True)
    keys = {seed: key(net, *sets, recipe, seed) for seed in wanted}
    try:
        with filelock.FileLock(family / ".lock", timeout=0):
            for left in family.glob(".*.part"):  # by a killed worker; the lock says it is gone
                left.unlink()
            rows, aside, say_first = {}, dict.fromkeys(wanted), []
            for seed in wanted:
                try:
                    if found := shelf.load(family, seed, keys[seed]):
                        rows[seed] = _row(seed, found, family, reused=True)
                except DamagedFileError as error:
                    aside[seed] = shelf.set_aside(family, seed)
                    say_first.append(f"seed {seed}: {error}; kept as {aside[seed]}")
            if todo := [seed for seed in wanted if seed not in rows]:
                count = workers or (1 if device != "cpu" else machine.usable_cores(os.cpu_count()))
                crew = _Crew(net, sets, recipe, execution, family, min(count or 1, len(todo)))
                say = _Progress(progress, f"{net} on {sets[0].name}", len(wanted), rows, every_s)
                for line in say_first:
                    say.line(line)
                for seed, reason in crew.work(todo, recipe.epochs, say):
                    trained = None if reason else shelf.load(family, seed, keys[seed])
                    rows[seed] = _row(seed, trained, family, reused=False, reason=reason)
                say.line(say.text())
    except filelock.Timeout:
        raise ConvcostError(
            f"another process is training into {family}: wait for it, or give another folder"
        ) from None
    frame = pd.DataFrame([rows[s] | {"set_aside": aside[s]} for s in wanted])
    return Family(family, frame, keys)


def _row(
    seed: int, trained: Trained | None, family: Path, *, reused: bool, reason: str | None = None
) -> dict:
    if trained is None:
        nothing = ("train_accuracy", "test_accuracy", "train_loss", "seconds")
        return {"seed": seed, "status": "failed", "epochs": 0, **dict.fromkeys(nothing),
                "reused": False, "reason": reason, "checkpoint": None}  # fmt: skip
    return {
        "seed": seed,
        "status": trained.status,
        "epochs": len(trained.test_accuracy),
        "train_accuracy": trained.train_accuracy[-1],
        "test_accuracy": trained.test_accuracy[-1],
        "train_loss": trained.record["history"]["train_loss"][-1],
        "seconds": trained.seconds,
        "reused": reused,
        "reason": None,
        "checkpoint": shelf.checkpoint_path(family, seed).name,
    }


@dataclass
class _Progress:
    """A line now and then: how many nets, how fast, how long still."""

    progress: Callable[[str], None] | None
    what: str
    total: int
    rows: dict  # of what is done; grows
    every_s: float
    epochs_per_net: int = 1
    epochs_done: int = 0  # by this run
    begin: float | None = None
    last: float = field(default_factory=time.monotonic)

    def __post_init__(self):
        self.already = len(self.rows)

    def line(self, text: str) -> None:
        if self.progress:
            self.progress(text)

    def due_in(self) -> float:
        return max(0.0, self.last + self.every_s - time.monotonic())

    def tick(self) -> None:
        if self.due_in() == 0:
            self.last = time.monotonic()
            self.line(self.text())

    def text(self) -> str:
        head = f"{self.what}: {len(self.rows)} of {self.total} nets"
        if self.begin is None or not self.epochs_done:
            return f"{head}, too early to say how long it takes"
        minutes = (time.monotonic() - self.begin) / 60
        nets = self.epochs_done / self.epochs_per_net
        left = max(0.0, (self.total - self.already - nets) * minutes / nets)
        rate = f"{nets / minutes:.3g} nets a minute"
        if len(self.rows) >= self.total:
            return f"{head}, {rate}, {minutes:.1f} min"
        return f"{head}, {rate}, about {left:.1f} min left"


class _Crew:
    """Worker processes, and who has which net in hand."""

    def __init__(
        self,
        net: str,
        sets: tuple[Dataset, Dataset],
        recipe: Recipe,
        execution: Execution,
        family: Path,
        count: int,
    ):
        self.told = (net, sets, recipe, execution, family)
        self.count = count
        self.events: queue.Queue[tuple[_Worker, dict]] = queue.Queue()

    def work(self, todo: list[int], epochs: int, say: _Progress):
        """Train the seeds; yields (seed, None), or (seed, reason) where none came out."""
        waiting, deaths, false_starts = list(todo), dict.fromkeys(todo, 0), 0
        say.epochs_per_net = epochs
        left = set(todo)
        crew = {_Worker(self.told, self.events) for _ in range(self.count)}
        try:
            while left:
                try:
                    one, event = self.events.get(timeout=say.due_in() + 0.01)
                except queue.Empty:
                    say.tick()
                    continue
                seed = event.get("seed", one.seed)
                match event["event"]:
                    case "epoch":
                        say.epochs_done += 1
                        one.epochs += 1
                    case "done" | "failed":
                        # a net that diverged early is as done as the others
                        say.epochs_done += epochs - one.epochs
                        one.seed = None
                        left.discard(seed)
                        yield seed, event.get("reason")
                    case "gone":
                        crew.discard(one)
                        one.end()
                        say.epochs_done -= one.epochs
                        if seed is not None:
                            deaths[seed] += 1
                            if deaths[seed] < ATTEMPTS:
                                say.line(f"seed {seed}: {one.ending}; trained again")
                                waiting.insert(0, seed)
                            else:
                                left.discard(seed)
                                yield seed, f"{one.ending}; tried {deaths[seed]} times"
                        elif not one.dismissed:
                            false_starts += 1
                            if false_starts > self.count:
                                raise ConvcostError(f"no worker can be started: {one.ending}")
                        if waiting:
                            crew.add(_Worker(self.told, self.events))
                if event["event"] == "ready" and say.begin is None:
                    say.begin = time.monotonic()
                if event["event"] in ("ready", "done", "failed"):
                    one.give(waiting.pop(0) if waiting else None)
                say.tick()
        finally:
            for one in crew:
                one.end()


class _Worker:
    """One worker process, and the thread that feeds and hears it."""

    def __init__(self, told: tuple, events: queue.Queue):
        self.told, self.events = told, events
        self.seed: int | None = None
        self.epochs = 0
        self.dismissed = False
        self.ending = ""  # how it ended, in words
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - the process outlives this call
        library = str(Path(convcost.__file__).parents[1])
        paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
        single = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "convcost.training.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(paths)},
            # an interrupt in a notebook reaches the kernel alone, which then ends its workers
            start_new_session=True,
        )
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            job.write(self.process.stdin, *self.told)
            for line in self.process.stdout:
                self.events.put((self, json.loads(line)))
        except (OSError, ValueError):  # it died while it was spoken to, or in mid-line
            pass
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        code = self.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self.ending = f"its process ended with {how}" + (f" ({lines[-1]})" if lines else "")
        self.events.put((self, {"event": "gone"}))

    def give(self, seed: int | None) -> None:
        """The next seed; None when there are no more, and the process leaves."""
        self.seed, self.epochs = seed, 0
        try:
            if seed is None:
                self.dismissed = True
                self.process.stdin.close()
            else:
                self.process.stdin.write(f"{seed}\n".encode())
                self.process.stdin.flush()
        except OSError:
            pass  # it has died; its thread says so

    def end(self) -> None:
        """Stop it, whatever it does, and wait until it is gone."""
        self.process.kill()
        self.thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(OSError):
                pipe.close()
