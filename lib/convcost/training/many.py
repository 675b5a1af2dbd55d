"""Many small networks at a time: a family of seeds over the cores, resumable net by net.

On a CPU one single-thread process per core, on a GPU one process, net after net (`together` knows
a faster way there). A net counts as done when its files are there and verified (`shelf`);
everything else is trained. So a run that was stopped, in whatever way, is continued by the same
call.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from torch import nn

from convcost.core import machine
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.sweep.crew import Crew, Progress
from convcost.training import job, shelf
from convcost.training.execution import Execution
from convcost.training.loop import Sets, arguments, distinct_seeds, pair
from convcost.training.recipe import Recipe, key
from convcost.training.trained import Trained

WORKER = "convcost.training.worker"
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
    wanted = [drawn["seed"] for drawn in distinct_seeds(seeds)]
    if workers is not None and workers < 1:
        raise BadInputError(f"workers is {workers}; at least 1")
    sets = pair(dataset)
    arguments(net, sets)
    family = shelf.family_folder(folder, net, sets, recipe, execution)
    numerics = execution.numerics()
    keys = {seed: key(net, *sets, recipe, seed, numerics=numerics) for seed in wanted}
    with shelf.alone(family):
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
            greet = partial(job.write, (net, sets, recipe, execution, family))
            with Crew(WORKER, count or 1, greet, attempts=ATTEMPTS) as crew:
                say = _Progress(
                    progress, every_s, f"{net} on {sets[0].name}", len(wanted), rows,
                    recipe.epochs, crew,
                )  # fmt: skip
                for line in say_first:
                    say.line(line)
                for seed, reason in _finished(crew, todo, recipe.epochs, say):
                    trained = None if reason else shelf.load(family, seed, keys[seed])
                    rows[seed] = _row(seed, trained, family, reused=False, reason=reason)
                say.line(say.text())
    frame = pd.DataFrame([rows[s] | {"set_aside": aside[s]} for s in wanted])
    return Family(family, frame, keys)


def _finished(crew: Crew, todo: list[int], epochs: int, say: "_Progress"):
    """Train the seeds; yields (seed, None), or (seed, reason) where none came out."""
    for seed, event in crew.work(((seed, seed) for seed in todo), say.tick):
        match event["event"]:
            case "epoch":
                say.epochs[seed] += 1
            case "again":
                say.epochs[seed] = 0
                say.line(f"seed {seed}: {event['reason']}; trained again")
            case "done" | "failed":
                say.epochs[seed] = epochs  # a net that diverged early is as done as the others
                yield seed, event.get("reason")


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


class _Progress(Progress):
    """How many nets, how fast, how long still; counted in epochs, so it knows early."""

    def __init__(self, say, every_s: float, what: str, total: int, rows: dict, epochs: int, crew):
        super().__init__(say, every_s)
        self.what, self.total, self.crew = what, total, crew
        self.rows, self.already = rows, len(rows)  # of what is done; grows
        self.epochs_per_net = epochs
        self.epochs = Counter()  # by seed, what this run did

    def text(self) -> str:
        head = f"{self.what}: {len(self.rows)} of {self.total} nets"
        if self.crew.began is None or not self.epochs.total():
            return f"{head}, too early to say how long it takes"
        minutes = (time.monotonic() - self.crew.began) / 60
        nets = self.epochs.total() / self.epochs_per_net
        left = max(0.0, (self.total - self.already - nets) * minutes / nets)
        rate = f"{nets / minutes:.3g} nets a minute"
        if len(self.rows) >= self.total:
            return f"{head}, {rate}, {minutes:.1f} min"
        return f"{head}, {rate}, about {left:.1f} min left"
