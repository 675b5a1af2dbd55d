"""A sweep as a thing to hold: to be run now, later or in part, or only to be looked at."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from convcost.core import machine
from convcost.core.errors import DamagedFileError
from convcost.sweep.budget import Pace
from convcost.sweep.driver import Sweep, run
from convcost.sweep.store import Store
from convcost.sweep.unit import Unit, units


@dataclass(frozen=True)
class Outlook:
    """What is there of a planned sweep, in units, and what the rest will take.

    `outdated`: of those that are not there, how many were done by other code than today's.
    `left_s`: seconds for what is left, by as many workers as it has. `known`: whether units of it
    that were done here tell how fast this machine is; else `left_s` is a guess.
    """

    units: int
    done: int
    failed: int
    outdated: int
    left_s: float
    known: bool


@dataclass(frozen=True, eq=False)
class Planned:
    """The arguments of `sweep.run`; an empty plan is one that has nothing to do.

    `cost` guesses the seconds of a configuration, as a budget wants it.
    """

    function: str
    configurations: tuple[Mapping, ...]
    folder: Path
    data: Mapping | None = None
    cost: Callable[[dict], float] | None = None
    options: Mapping = field(default_factory=dict)

    def run(self, **more) -> Sweep:
        """`sweep.run` of it; `more` are further arguments, such as `budget`."""
        if not self.configurations:
            import pandas as pd

            return Sweep(self.folder, pd.DataFrame(), pd.DataFrame())
        return run(
            self.function, self.configurations, self.folder,
            data=self.data, cost=self.cost, **{**self.options, **more},
        )  # fmt: skip

    def found(self) -> dict[Unit, dict | None]:
        """Every unit with its record; None where there is none, or a damaged one."""
        if not self.configurations:
            return {}
        store, found = Store(self.folder), {}
        for unit in units(self.function, self.configurations, self.data):
            try:
                found[unit] = store.read(unit)
            except DamagedFileError:
                found[unit] = None
        return found

    def outlook(self) -> Outlook:
        """What is there, and how long the rest will take. Nothing is run or changed."""
        found = self.found()
        costs = {u: self.cost(dict(u.configuration)) if self.cost else 1.0 for u in found}
        there = {unit: record for unit, record in found.items() if record}
        done = [u for u, record in there.items() if record["status"] in ("done", "diverged")]
        pace = Pace(costs, there, None)
        left = [unit for unit in found if unit not in done]
        workers = max(1, min(self._workers(), len(left)))
        longest = max((pace.seconds([unit]) for unit in left), default=0.0)
        left_s = max(pace.seconds(left) / workers, longest)
        known = pace.factor is not None
        outdated = Store(self.folder).by_other_code(found)
        return Outlook(len(found), len(done), len(there) - len(done), outdated, left_s, known)

    def _workers(self) -> int:
        cores = machine.usable_cores(os.cpu_count()) or 1
        if self.options.get("here"):
            return 1
        return self.options.get("workers") or cores // self.options.get("threads", 1)
