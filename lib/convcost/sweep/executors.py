"""Who does the units, behind an interface: worker processes here, a cluster, or this process.

An executor begins a unit and says how it ended; `outcomes` is the rest, the same for all of them.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from convcost.sweep.unit import Unit, expect, expected_data, perform, resolve

POLL_S = 0.1  # how late a timeout, a line of progress or a unit of another's may be noticed


class Executor(Protocol):
    """What `outcomes` asks of whoever does the units, for the length of a `with` block.

    `count` units are worked on at a time, which may change; `began` is the monotonic time at which
    the first could be (None before). At the end of the block nothing of it is left running.
    """

    count: int
    began: float | None

    def __enter__(self) -> "Executor": ...

    def __exit__(self, *_) -> None: ...

    def in_hand(self) -> list[tuple[Unit, float]]:
        """The units being worked on, each with its seconds so far."""

    def has_room(self) -> bool:
        """Whether one more can be begun."""

    def begin(self, unit: Unit) -> None:
        """Have it done."""

    def ended(self, wait_s: float) -> list[tuple[Unit, dict]]:
        """Those that ended, with their outcomes, as soon as one did or `wait_s` seconds are over.

        An outcome is as `unit.perform` returns it, or has a status of two more: "timed out", and
        "lost" where its worker died under it. "misplaced": it could not be begun where it was,
        which is no fault of its own.
        """


def outcomes(
    executor: Executor,
    units: Iterable[Unit | None],
    attempts: int,
    tick: Callable[[], None],
    say: Callable[[str], None],
) -> Iterator[tuple[Unit, dict]]:
    """Have the units done; yields each with its outcome.

    `units` is asked for the next one when it can be begun; None: there is none just now. What
    happens meanwhile goes to `say`, and `tick` is called several times a second. A unit that is
    lost is repeated, and "failed" after so many `attempts`.
    """
    source, again, losses = iter(units), [], Counter()
    end = object()
    while True:
        # where there is nobody to begin it, the next one tells only whether all is done
        while executor.has_room() or not (executor.count or again or executor.in_hand()):
            unit = again.pop(0) if again else next(source, end)
            if unit is end and not executor.in_hand():
                return
            if unit is end or unit is None:
                break
            executor.begin(unit)
        tick()
        for unit, outcome in executor.ended(POLL_S):
            reason = outcome["reason"]
            match outcome["status"]:
                case "misplaced":
                    again.append(unit)
                    say(f"{unit}: done elsewhere; {reason}")
                    continue
                case "lost":
                    losses[unit] += 1
                    if losses[unit] < attempts:
                        again.append(unit)
                        say(f"{unit}: {reason}; done again")
                        continue
                    tried = f"; tried {losses[unit]} times" if losses[unit] > 1 else ""
                    outcome |= {"status": "failed", "reason": reason + tried}
            yield unit, outcome


class ThisProcess:
    """One unit after the other in this process: no start to wait for, and nothing that protects.

    For short units, of a function that leaves the process as it was. A unit cannot be stopped: the
    budget is looked at between two.
    """

    def __init__(self, function: str, *, data: dict | None):
        self.count, self.began = 1, None
        self._function, self._data = resolve(function), data
        self._unit: Unit | None = None

    def __enter__(self) -> "ThisProcess":
        self.began = time.monotonic()
        self._before = expected_data()
        expect(self._data)
        return self

    def __exit__(self, *_) -> None:
        expect(self._before)

    def in_hand(self) -> list[tuple[Unit, float]]:
        return [(self._unit, 0.0)] if self._unit else []

    def has_room(self) -> bool:
        return self._unit is None

    def begin(self, unit: Unit) -> None:
        self._unit = unit

    def ended(self, wait_s: float) -> list[tuple[Unit, dict]]:
        if self._unit is None:
            time.sleep(wait_s)
            return []
        unit, outcome = self._unit, perform(self._function, self._unit.configuration)
        self._unit = None
        return [(unit, outcome)]
