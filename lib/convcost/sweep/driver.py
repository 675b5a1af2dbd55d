"""The driver of a sweep: what is left of a plan, handed out, stored as it comes, and told."""

import contextlib
import heapq
import math
import os
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convcost.core import machine
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.sweep.budget import Budget, Pace
from convcost.sweep.cluster import DaskCluster
from convcost.sweep.executors import Executor, ThisProcess, outcomes
from convcost.sweep.processes import LocalProcesses
from convcost.sweep.store import Store
from convcost.sweep.unit import Unit, home, units

if TYPE_CHECKING:  # workers come past here, and need not wait for pandas
    import pandas as pd

COLUMNS = ("key", "status", "seconds", "reused", "reason", "set_aside", "machine")


@dataclass(frozen=True, eq=False)
class Sweep:
    """What came out: `rows` and `units`, in the order of the plan.

    `rows`: the columns of the configuration, joined with every row the function returned.

    `units`, one row each: the columns of the configuration; `key`; `status` ("done", "diverged",
    "failed", "timed out", "left"); `seconds`, wall clock, of the last attempt; `reused`, true where
    this call did not do it; `reason` of any other status than done; `set_aside`, the new name of a
    damaged file that was in its place; `machine` that did it. What is not available is missing.
    """

    folder: Path
    rows: "pd.DataFrame"
    units: "pd.DataFrame"


def run(
    function: str,
    plan: Iterable[Mapping],
    folder: Path | str,
    *,
    data: Mapping | None = None,
    workers: int | None = None,
    threads: int = 1,
    timeout_s: float | None = None,
    attempts: int = 3,
    fresh: bool = False,
    here: bool = False,
    scheduler: str | None = None,
    resources: Mapping[str, float] | None = None,
    cost: Callable[[dict], float] | None = None,
    budget: Budget | None = None,
    only_stored: bool = False,
    progress: Callable[[str], None] | None = print,
    every_s: float = 10.0,
) -> Sweep:
    """A function called with every configuration of a plan; what is there already is not repeated.

    `function` is "package.module:function". It is called with a configuration as keyword arguments,
    in a process that does many units, and returns a list of dicts of plain values; whatever it
    draws must come from a seed in its configuration. It may raise `Diverged`. `plan` is dicts of
    plain values and lists, of which 1 and 1.0 are two. `data` is a fingerprint: plain values that
    tell one data set from another; the function can ask for it with `expected_data`. `folder`
    receives one file per unit, named by a hash of function, configuration, `data`, and the code
    that the result depends on (`sweep.code`): where that changes, the unit is done again, and a
    line says so. Other files in it do no harm, and other drivers may be at work in it.

    `workers`: processes of `threads` threads each; None is as many as the usable cores hold.
    `here`: this process does the units, without limits or protection: for what is short.
    `fresh`: each unit has a process of its own, so that memory, limits and settings of one never
    reach the next.
    `scheduler`: the address of a Dask scheduler, such as "tcp://10.0.0.5:8786"; its workers do the
    units then, `workers` of them at most at a time. `resources`: what a unit takes of a Dask worker
    that was started with `--resources`, such as {"GPU": 1}. Results are written here. See
    docs/sweeps.md.
    `cost(configuration)`, in any unit, puts the dear ones first and tells how long it will take.
    `budget`: seconds that may be spent, here and by whatever else shares it. Then `cost` is a guess
    in seconds, corrected by what the units done so far really took, units are begun in the order of
    the plan, and one that would not be done in time is not begun. What the end finds in hand is
    stopped. `only_stored`: nothing is done at all. Either way a unit that is not done has the
    status "left" and no rows; it has no file, and the next call does it.
    `progress` gets a line every `every_s` seconds.

    A unit whose worker is killed is done again, in `attempts` attempts; the others go on. A unit
    that fails is tried again by the next call, one that took longer than `timeout_s` by a call that
    gives it more. Both have a file and a row in `units`, and none in `rows`; one that diverged has
    those that were there. A damaged file is renamed to `<name>.damaged-<n>`, and its unit done
    again.

    Raises BadInputError, before anything starts, for a function that is not there or does not take
    a configuration, for the same unit twice, and for numbers that make no sense; ConvcostError
    where a result cannot be written, where no worker can be started, where Dask is not installed,
    where no scheduler answers or it is lost, and where a Dask worker has other versions.

    With a module `shop` that says `def power(base, exponent): return [{"value": base**exponent}]`,

        sweep.run("shop:power", [{"base": 2, "exponent": 5}], "results").rows

    has one row: base 2, exponent 5, value 32.
    """
    _check(threads=threads, attempts=attempts)
    if timeout_s is not None and not (_is_number(timeout_s) and timeout_s > 0):
        raise BadInputError(f"timeout_s is {timeout_s!r}; a number above 0, or None")
    check_where(workers=workers, scheduler=scheduler, resources=resources)
    todo = units(function, plan, data)
    if taken := set().union(*(unit.configuration for unit in todo)) & set(COLUMNS):
        raise BadInputError(f"the plan has {', '.join(sorted(taken))}, a name of ours: rename it")
    costs = {unit: _cost(cost, unit) for unit in todo}
    with Store(folder) as store:
        ledger = _Ledger(store, todo, timeout_s)
        if progress and (outdated := store.by_other_code(ledger.left())):
            progress(f"{function}: {outdated} stored units set aside, their code has changed")
        if only_stored:
            return ledger.sweep()
        pace = Pace(costs, ledger.results, budget)
        left = ledger.left() if budget else sorted(ledger.left(), key=lambda unit: -costs[unit])
        if any(map(pace.fits, left)):
            say = progress or (lambda line: None)
            shared = {"threads": threads, "data": left[0].data}
            shared |= {"timeout_s": timeout_s, "fresh": fresh}
            if here:
                chosen = ThisProcess(function, data=left[0].data)
            elif scheduler is None:
                cores = machine.usable_cores(os.cpu_count()) or 1
                count = min(workers or max(1, cores // threads), len(left))
                chosen = LocalProcesses(function, count, home=home(function), **shared)
            else:
                most = min(workers or len(left), len(left))
                chosen = DaskCluster(
                    function, scheduler, most, say=say, resources=resources, **shared
                )
            with chosen as executor:
                told = Progress(function.partition(":")[2], ledger, costs, executor, budget)
                tick = told.ticker(say, every_s)
                offered = ledger.offered(left, say, executor, pace)
                with contextlib.suppress(_TimeIsUp):  # what is in hand is ended by the executor
                    for unit, outcome in outcomes(executor, offered, attempts, tick, say):
                        ledger.enter(unit, outcome | {"threads": threads, "timeout_s": timeout_s})
                say(told.text())
        return ledger.sweep()


def _check(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and (type(number) is not int or number < 1):
            raise BadInputError(f"{name} is {number!r}; a whole number from 1 on")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_where(
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    resources: Mapping[str, float] | None = None,
) -> None:
    """BadInputError for what `run` would refuse of these, for who has data to load before it."""
    _check(workers=workers)
    address = r"\w+://([^\s/:]+|\[[^\s/]+\]):\d{1,5}"
    if scheduler is not None and not re.fullmatch(address, str(scheduler)):
        raise BadInputError(f"scheduler is {scheduler!r}; an address such as tcp://10.0.0.5:8786")
    if resources and scheduler is None:
        raise BadInputError("resources are those of a cluster's workers: give a scheduler, too")
    for name, amount in (resources or {}).items():
        if not (_is_number(amount) and 0 < amount < math.inf):
            raise BadInputError(f"resources has {name} = {amount!r}; a number above 0 is wanted")


def _cost(cost: Callable[[dict], float] | None, unit: Unit) -> float:
    value = 1.0 if cost is None else float(cost(dict(unit.configuration)))
    if not (math.isfinite(value) and value > 0):
        raise BadInputError(f"cost says {value} for {unit}; a number above 0 is wanted")
    return value


class _TimeIsUp(Exception):
    """The budget is spent."""


class _Ledger:
    """What is known of every unit, in memory and in the store."""

    def __init__(self, store: Store, plan: list[Unit], timeout_s: float | None):
        self.store, self.plan = store, plan
        self.before = {unit: self._found(unit) for unit in plan}
        self.results = {
            unit: record for unit, record in self.before.items() if _stands(record, timeout_s)
        }
        self.reused = set(self.results)
        self.set_aside: dict[Unit, str] = {}

    def _found(self, unit: Unit) -> dict | None:
        try:
            return self.store.read(unit)
        except DamagedFileError:  # whoever holds its lock may rename it
            return None

    def left(self) -> list[Unit]:
        return [unit for unit in self.plan if unit not in self.results]

    def offered(
        self, left: list[Unit], say: Callable[[str], None], executor: Executor, pace: Pace
    ) -> Iterator[Unit | None]:
        """The units to be done, each when it is asked for; None while other drivers have the rest,
        and while the executor has no room for any.

        What another driver has stored since we looked is taken as it is, and what no longer fits
        into the budget is left.
        """
        waiting = deque(left)
        while waiting:
            if not executor.count:
                yield None
                continue
            waiting = deque(unit for unit in waiting if pace.fits(unit))
            for _ in range(len(waiting)):
                unit = waiting.popleft()
                if not self.store.claim(unit):
                    waiting.append(unit)
                elif not self._taken(unit, say):
                    yield unit
                    break
            else:
                if waiting:
                    yield None

    def _taken(self, unit: Unit, say: Callable[[str], None]) -> bool:
        """Whether a unit that we now hold was done by another; a damaged file makes way."""
        try:
            record = self.store.read(unit)
        except DamagedFileError as error:
            self.set_aside[unit] = self.store.set_aside(unit)
            say(f"{unit}: {error}; kept as {self.set_aside[unit]}, and done again")
            return False
        if record is None or record == self.before[unit]:
            return False
        self.results[unit] = record
        self.reused.add(unit)
        self.store.release(unit)
        return True

    def enter(self, unit: Unit, record: dict) -> None:
        self.store.write(unit, record)
        self.results[unit] = record
        self.store.release(unit)

    def sweep(self) -> Sweep:
        import pandas as pd

        rows, lines = [], []
        for unit in self.plan:
            record = self.results.get(unit, _LEFT)
            own = record | {
                "key": unit.key,
                "reused": unit in self.reused,
                "set_aside": self.set_aside.get(unit),
            }
            lines.append(unit.configuration | {name: own[name] for name in COLUMNS})
            rows += [unit.configuration | row for row in record["rows"]]
        return Sweep(self.store.folder, pd.DataFrame(rows), pd.DataFrame(lines))


_LEFT = {"status": "left", "rows": [], "seconds": None, "reason": None, "machine": None}


def _stands(record: dict | None, timeout_s: float | None) -> bool:
    """Whether a stored result need not be done again."""
    if record is None or record["status"] == "failed":
        return False
    if record["status"] == "timed out":
        return timeout_s is not None and timeout_s <= record["timeout_s"]
    return True


class Progress:
    """How many units, how fast, and how long still."""

    def __init__(
        self, name: str, ledger: _Ledger, costs: dict, executor: Executor,
        budget: Budget | None = None,
    ):  # fmt: skip
        self.name, self.ledger, self.costs, self.executor = name, ledger, costs, executor
        self.budget = budget

    def ticker(self, say: Callable[[str], None], every_s: float) -> Callable[[], None]:
        """To be called often: says `text` every so many seconds, and raises at the budget's end."""
        last = time.monotonic()

        def tick() -> None:
            nonlocal last
            if time.monotonic() - last >= every_s:
                last = time.monotonic()
                say(self.text())
            if self.budget and self.budget.left_s <= 0:
                raise _TimeIsUp

        return tick

    def text(self) -> str:
        results = self.ledger.results
        head = f"{self.name}: {len(results)} of {len(self.costs)} units"
        kinds = Counter(record["status"] for record in results.values())
        if not_done := [f"{n} {kind}" for kind, n in sorted(kinds.items()) if kind != "done"]:
            head += f" ({', '.join(not_done)})"
        own, left_s = len(results) - len(self.ledger.reused), self.left_s()
        complete = len(results) == len(self.costs)
        if complete and not own:
            return f"{head}, none by this run"
        if self.budget:
            return f"{head}, {max(0.0, self.budget.left_s):.0f} s of the budget left"
        if left_s is None and not complete:
            return f"{head}, too early to say how long it takes"
        minutes = (time.monotonic() - self.executor.began) / 60
        head += f", {own / minutes:.3g} units a minute"
        return (
            f"{head}, {minutes:.1f} min"
            if complete
            else f"{head}, about {left_s / 60:.1f} min left"
        )

    def left_s(self) -> float | None:
        """Seconds until the last unit is done; None before there is one finished for each worker.

        The seconds per cost of what this run finished, for what is in hand and then for what
        waits, each given to the first worker that will be free.
        """
        results, costs = self.ledger.results, self.costs
        known = [u for u in results if u not in self.ledger.reused]
        known = [u for u in known if results[u]["status"] != "failed"]
        count = max(1, self.executor.count)  # a cluster may have lost all of its workers
        if len(known) < count:  # the first to end are the short ones
            return None
        pace = sum(results[u]["seconds"] for u in known) / sum(costs[u] for u in known)
        in_hand = dict(self.executor.in_hand())
        free = [max(0.0, pace * costs[u] - seconds) for u, seconds in in_hand.items()]
        free += [0.0] * (count - len(free))
        heapq.heapify(free)
        waiting = [costs[u] for u in costs if u not in results and u not in in_hand]
        for cost in sorted(waiting, reverse=True):
            heapq.heapreplace(free, free[0] + pace * cost)
        return max(free)
