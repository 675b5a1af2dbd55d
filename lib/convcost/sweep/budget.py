"""Sweeps that may take so long and no longer: how long a unit will take, and whether it still fits.

A unit's cost is a guess in seconds. What the units of the same plan really took corrects it, by one
factor for all, so that a machine twice as slow as supposed is known as such after its first unit.
"""

import time
from collections.abc import Iterable, Mapping

from convcost.core.errors import BadInputError
from convcost.sweep.unit import Unit

START_S = 10.0  # until a new process has loaded torch and found its GPU


class Budget:
    """Seconds for several sweeps together, counted from now on. BadInputError unless above 0."""

    def __init__(self, seconds: float):
        if not (isinstance(seconds, int | float) and 0 < seconds < float("inf")):
            raise BadInputError(f"a budget of {seconds!r} seconds: a number above 0 is wanted")
        self.ends = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        return self.ends - time.monotonic()


class Pace:
    """What the units of a plan will take, in seconds; `budget` None: everything fits.

    `results` are the records of units that are there, and may grow; what failed tells nothing.
    """

    def __init__(
        self, costs: Mapping[Unit, float], results: Mapping[Unit, dict], budget: Budget | None
    ):
        self.costs, self.results, self.budget = costs, results, budget

    @property
    def factor(self) -> float | None:
        """Seconds per unit of cost, over all units that are there; None where none is."""
        known = [
            unit
            for unit, record in self.results.items()
            if record["status"] in ("done", "diverged") and record.get("seconds")
        ]
        if not known:
            return None
        return sum(self.results[u]["seconds"] for u in known) / sum(self.costs[u] for u in known)

    def seconds(self, units: Iterable[Unit]) -> float:
        """What these units will take, one after the other."""
        return (self.factor or 1.0) * sum(self.costs[unit] for unit in units)

    def fits(self, unit: Unit) -> bool:
        return self.budget is None or self.seconds([unit]) + START_S <= self.budget.left_s
