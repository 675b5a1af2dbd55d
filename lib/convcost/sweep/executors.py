"""Who does the units, behind an interface others may have: worker processes on this machine, or
this process itself.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Protocol

from convcost.sweep.crew import POLL_S, Crew, Progress
from convcost.sweep.unit import Unit, expect, expected_data, home, perform, provenance, resolve


class Executor(Protocol):
    """What `driver.run` asks of whoever does the units, for the length of a `with` block.

    `count` units are worked on at a time, which may change; `began` is the monotonic time at which
    the first could be (None before). At the end of the block nothing of it is left running.
    """

    count: int
    began: float | None

    def __enter__(self) -> "Executor": ...

    def __exit__(self, *_) -> None: ...

    def in_hand(self) -> list[tuple[Unit, float]]:
        """The units being worked on, each with its seconds so far."""

    def outcomes(self, units: Iterable[Unit | None], say: Progress) -> Iterator[tuple[Unit, dict]]:
        """Have the units done; yields each with its outcome, as `unit.perform` returns it.

        `units` is asked for the next one when it can be begun; None: there is none just now, and
        always where `count` is 0. What happens meanwhile goes to `say.line`, and `say.tick` is
        called several times a second. A unit that is lost with its worker is repeated, and "failed"
        in the end; one that takes too long is "timed out".
        """


WORKER = "convcost.sweep.worker"  # the module of a process that does units


def greeting(
    function: str, home: str | None, threads: int, data: dict | None
) -> Callable[[BinaryIO], None]:
    """What such a process is told first."""
    told = {"function": function, "home": home, "threads": threads, "data": data}

    def greet(pipe: BinaryIO) -> None:
        pipe.write(json.dumps(told).encode() + b"\n")
        pipe.flush()

    return greet


class LocalProcesses(Crew):
    """`count` processes here (`convcost.sweep.crew`), of `threads` threads each.

    `data`: the fingerprint that all units share. `limits`: `attempts`, `timeout_s` and `fresh` of
    `crew.Crew`.
    """

    def __init__(self, function: str, count: int, *, threads: int, data: dict | None, **limits):
        greet = greeting(function, home(function), threads, data)
        super().__init__(WORKER, count, greet, threads=threads, **limits)

    def outcomes(self, units: Iterable[Unit | None], say: Progress) -> Iterator[tuple[Unit, dict]]:
        tasks = (unit and (unit, unit.configuration) for unit in units)
        for unit, event in self.work(tasks, say.tick):
            match event.pop("event"):
                case "again":
                    say.line(f"{unit}: {event['reason']}; done again")
                case "done":
                    yield unit, event
                case status:  # no worker is left to say more
                    yield unit, {"status": status, "rows": [], **event, **provenance()}


class ThisProcess:
    """One unit after the other in this process: no start to wait for, and nothing that protects.

    For short units, of a function that leaves the process as it was. A unit cannot be stopped: the
    budget is looked at between two.
    """

    def __init__(self, function: str, *, data: dict | None):
        self.count, self.began = 1, None
        self._function, self._data = resolve(function), data
        self._unit: Unit | None = None
        self._since = 0.0

    def __enter__(self) -> "ThisProcess":
        self._before = expected_data()
        expect(self._data)
        return self

    def __exit__(self, *_) -> None:
        expect(self._before)

    def in_hand(self) -> list[tuple[Unit, float]]:
        return [(self._unit, time.monotonic() - self._since)] if self._unit else []

    def outcomes(self, units: Iterable[Unit | None], say: Progress) -> Iterator[tuple[Unit, dict]]:
        self.began = time.monotonic()
        for unit in units:
            say.tick()
            if unit is None:
                time.sleep(POLL_S)
                continue
            self._unit, self._since = unit, time.monotonic()
            outcome = perform(self._function, unit.configuration)
            self._unit = None
            yield unit, outcome
