"""Units on the workers of a Dask cluster, for more than one machine.

Dask finds and watches the machines; which unit goes where, and when, is decided here, so that a
unit is claimed only when it can begin, and a lost one is counted. A process beside a Dask worker
does the units (`sweep.processes`): limits and crashes are those of one unit, and what its function
has loaded is there for the next one.
"""

import asyncio
import concurrent.futures
import contextlib
import itertools
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import convcost
from convcost.core import machine
from convcost.core.errors import ConvcostError
from convcost.sweep import code
from convcost.sweep.executors import POLL_S
from convcost.sweep.processes import LocalProcesses
from convcost.sweep.unit import Unit, home, provenance

if TYPE_CHECKING:  # Dask is an extra
    import distributed

CONNECT_S = 10.0  # how long a scheduler may take to be reached
LOOK_S = 1.0  # how late a worker that came or went may be noticed
ANSWER_S = 30.0  # how long the cluster may take over a question
IDLE_S = 30.0  # how long a process at a worker waits for the next unit, where its driver died
OWN_PACKAGES = ("dask", "distributed")
# what Dask raises where nobody is there; a time limit is an OSError, too
NO_ANSWER = (OSError, asyncio.CancelledError, concurrent.futures.CancelledError)


@dataclass(eq=False)
class _Task:
    """A unit at a worker."""

    unit: Unit
    address: str
    where: dict  # `unit.provenance` of the worker
    future: "distributed.Future"
    since: float = field(default_factory=time.monotonic)


class DaskCluster:
    """The workers of the scheduler at `address`: an `executors.Executor` of `most` units at a time.

    A worker takes as many units at a time as it has threads, and as `resources`, where given, go
    into what it offers. Workers may come and go. One that has other versions than the driver ends
    the sweep before its start; one that joins later is not used, and `say` is told. What runs at
    the end of the block is stopped by its worker within a second; so it is when the driver dies,
    and processes that wait for a unit then end after `IDLE_S`.

    Raises ConvcostError where Dask is not installed, where no scheduler answers, when it is gone,
    and where no worker can start a unit.
    """

    def __init__(
        self,
        function: str,
        address: str,
        most: int,
        *,
        say: Callable[[str], None],
        threads: int,
        data: dict | None,
        timeout_s: float | None,
        fresh: bool = False,
        resources: Mapping[str, float] | None = None,
    ):
        self.address, self.most, self.say = address, most, say
        self.resources = dict(resources or {})
        self.began: float | None = None
        self._module, self._home = function.partition(":")[0], home(function)
        shared = {"home": self._home, "threads": threads, "data": data, "timeout_s": timeout_s}
        self._told = function, shared, fresh
        self._client: distributed.Client | None = None
        self._known: dict[str, dict] = {}  # worker -> what it said of itself
        self._slots: dict[str, int] = {}  # worker -> units at a time; those that may be used
        self._tasks: list[_Task] = []
        self._numbers = itertools.count()
        self._looked = -math.inf
        self._waiting = False  # whether it was said that there is no worker
        self._broken: str | None = None  # why the last worker that was given up could do nothing

    def __enter__(self) -> "DaskCluster":
        self._client = _connected(self.address)
        try:
            self._check_scheduler()
            self._look(before_the_start=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._tasks.clear()
        with contextlib.suppress(ConvcostError):
            self._ask(self._client.run, _dismiss, self._client.id, on_error="ignore")
        self._client.close(timeout=2)  # the scheduler forgets what only we wanted

    # --- the units -----------------------------------------------------------------------------

    @property
    def count(self) -> int:
        return min(self.most, sum(self._slots.values()))

    def in_hand(self) -> list[tuple[Unit, float]]:
        now = time.monotonic()
        return [(task.unit, now - task.since) for task in self._tasks]

    def has_room(self) -> bool:
        return self._room() is not None

    def _room(self) -> str | None:
        """The worker with the most room, None where none has any."""
        taken = Counter(task.address for task in self._tasks)
        room = {address: slots - taken[address] for address, slots in self._slots.items()}
        best = max(room, key=room.get, default=None)
        return best if best and room[best] > 0 and len(self._tasks) < self.most else None

    def begin(self, unit: Unit) -> None:
        self._must_run()
        address = self._room()
        future = self._client.submit(
            _perform,
            self._client.id,
            *self._told,
            unit,
            key=f"convcost-{unit.key[:8]}-{next(self._numbers)}-{self._client.id}",
            workers=[address],
            resources=self.resources,
            pure=False,
        )
        self._tasks.append(_Task(unit, address, self._known[address]["provenance"], future))

    def ended(self, wait_s: float) -> list[tuple[Unit, dict]]:
        time.sleep(wait_s)
        if time.monotonic() - self._looked >= LOOK_S:
            self._look()
        self._must_run()
        over = [t for t in self._tasks if t.future.done() or t.address not in self._known]
        self._tasks = [task for task in self._tasks if task not in over]
        return [(task.unit, self._judged(task)) for task in over]

    def _judged(self, task: _Task) -> dict:
        """The outcome of a unit, or how it was lost."""
        from distributed import KilledWorker

        now = {**task.where, "date": provenance()["date"]}
        lost = {"status": "lost", "rows": [], "seconds": time.monotonic() - task.since, **now}
        lost["reason"] = f"its worker {task.address} is gone"
        try:
            if task.future.status == "error":
                error = task.future.exception(timeout=ANSWER_S)
                if isinstance(error, KilledWorker | _Stopped):
                    return lost
                return {"status": "misplaced", "reason": self._given_up(task.address, error)}
            if task.future.status == "finished":
                return task.future.result(timeout=ANSWER_S)
        except NO_ANSWER:  # it went between its last word and our question
            pass
        return lost

    def _given_up(self, address: str, error: BaseException) -> str:
        """A unit could not even begin there, which is the worker's fault: why, in words."""
        self._broken = f"{address}: {type(error).__name__}: {error}"
        self._slots.pop(address, None)
        return f"{self._broken}; this worker is not used any more"

    # --- the workers ---------------------------------------------------------------------------

    def _must_run(self) -> None:
        if self._client.status != "running":
            self._lost("the connection is closed")

    def _lost(self, how: object):
        raise ConvcostError(
            f"the scheduler at {self.address} is lost ({how or 'no answer'}): start it and its "
            "workers again, and then this; what is stored is not done again"
        )

    def _ask(self, question, *words, **more):
        """What the cluster answers, within `ANSWER_S`."""
        self._must_run()
        try:
            return question(*words, **more, callback_timeout=ANSWER_S)
        except NO_ANSWER as error:
            self._lost(error)

    def _check_scheduler(self) -> None:
        """Units pass through the scheduler, which must know the code that they speak of."""
        names = ("python", *OWN_PACKAGES, "convcost", "convcost's source")
        try:
            there = self._ask(self._client.run_on_scheduler, _versions, self._module, self._home)
        except ConvcostError:
            raise
        except Exception as error:
            there = {name: f"unknown ({type(error).__name__}: {error})" for name in names}
        self._refuse({"the scheduler": self._differences(there, names)})

    def _differences(self, there: Mapping, names: Iterable[str] | None = None) -> list[str]:
        here = _versions(self._module, self._home)
        return [
            f"{name} {there.get(name)}, here {here[name]}"
            for name in names or here
            if there.get(name) != here[name]
        ]

    def _refuse(self, differences: Mapping[str, list[str]]) -> None:
        if wrong := {who: found for who, found in differences.items() if found}:
            lines = "".join(f"\n  {who}: {'; '.join(found)}" for who, found in wrong.items())
            raise ConvcostError(
                "the cluster must have what this driver has; bring these to the same commit, "
                f"`make setup` there, and start them again, or stop them:{lines}"
            )

    def _look(self, before_the_start: bool = False) -> None:
        """Who is there? New workers are asked what they are, and used if they fit."""
        present = self._ask(self._client.nthreads)
        self._known = {name: found for name, found in self._known.items() if name in present}
        self._slots = {name: slots for name, slots in self._slots.items() if name in present}
        differences = {}
        if new := [address for address in present if address not in self._known]:
            told = (self._module, self._home)
            answers = self._ask(self._client.run, _describe, *told, workers=new, on_error="return")
            for address, answer in answers.items():
                if isinstance(answer, OSError):  # gone, or too busy: asked again at the next look
                    continue
                self._known[address] = answer
                if isinstance(answer, Exception):
                    found = [f"it cannot say what it has ({type(answer).__name__}: {answer})"]
                else:
                    found = self._differences(answer["versions"])
                if found:
                    differences[address] = found
                elif slots := _slots(answer, self.resources):
                    self._slots[address] = slots
        if before_the_start:
            self._refuse(differences)
        for address, found in differences.items():
            self.say(f"{address} joined, and is not used: {'; '.join(found)}")
        if self._slots:
            self.began = self.began or time.monotonic()
        elif self._broken and not self._tasks:
            raise ConvcostError(f"no worker of {self.address} can do a unit: {self._broken}")
        elif not self._waiting:
            offer = " ".join(f"{name}={amount:g}" for name, amount in self.resources.items())
            option = f' --resources "{offer}"' if offer else ""
            self.say(
                f"{self.address} has no worker that can be used: waiting for one (dask worker "
                f"{self.address}{option})"
            )
        self._waiting = not self._slots
        self._looked = time.monotonic()


def _connected(address: str) -> "distributed.Client":
    try:
        from distributed import Client
    except ImportError as error:
        raise ConvcostError(
            f"a scheduler needs Dask, which cannot be imported ({error}): install the extra "
            '"cluster" (pip install "convcost[cluster]"; make setup has it)'
        ) from None
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:  # ValueError: of an address that is none
        raise ConvcostError(
            f"no scheduler answers at {address} ({error}): start one with `dask "
            "scheduler`, and give the address that it prints"
        ) from None


def ask_workers(address: str, question: Callable[[], object]) -> list:
    """What every worker of a scheduler answers to a question, a function of our library.

    Raises ConvcostError where nobody is to be reached, as `DaskCluster` does.
    """
    with _connected(address) as client:
        try:
            return list(client.run(question).values())
        except NO_ANSWER as error:
            raise ConvcostError(f"the workers of {address} do not answer ({error})") from None


# --- at a worker -----------------------------------------------------------------------------


class _Stopped(ConvcostError):
    """Nobody waits for the unit any more, or the worker is leaving."""


_parked: list[tuple[str, LocalProcesses]] = []  # (sweep, its process that waits for a unit)
_parking = threading.Lock()


def _unparked(sweep: str) -> LocalProcesses | None:
    with _parking:
        found = next((pair for pair in _parked if pair[0] == sweep), None)
        return found and _parked.pop(_parked.index(found))[1]


def _park(sweep: str, process: LocalProcesses) -> None:
    this_time = (sweep, process)
    with _parking:
        _parked.append(this_time)
    leave = threading.Timer(IDLE_S, _dismiss, (sweep, this_time))
    leave.daemon = True
    leave.start()


def _dismiss(sweep: str, only: tuple[str, LocalProcesses] | None = None) -> None:
    """End the processes of a sweep that wait for a unit: all, or one that has waited long."""
    with _parking:
        mine = [pair for pair in _parked if pair[0] == sweep]
        ended = [pair for pair in mine if only is None or pair is only]
        _parked[:] = [pair for pair in _parked if all(pair is not one for one in ended)]
    for _, process in ended:
        process.__exit__()


def _perform(sweep: str, function: str, shared: dict, fresh: bool, unit: Unit) -> dict:
    """The outcome of one unit, done in a process beside this one.

    A task of Dask's cannot be interrupted; so it looks now and then whether it is still wanted.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    process, sound = _unparked(sweep), False
    if process is None:
        process = LocalProcesses(function, 1, **shared)
    try:
        process.begin(unit)
        while not (found := process.ended(POLL_S)):
            task = worker.state.tasks.get(key)
            if task is None or task.state == "cancelled" or worker.status.name.startswith("clos"):
                raise _Stopped("the unit is not wanted any more")
        ((_, outcome),) = found
        sound = outcome["status"] not in ("lost", "timed out")
        return outcome
    finally:
        if sound and not fresh:
            _park(sweep, process)
        else:
            process.__exit__()


def _describe(module: str, home: str | None, dask_worker: "distributed.Worker") -> dict:
    """What a worker says of itself; Dask puts itself in the place of `dask_worker`."""
    return {
        "versions": _versions(module, home),
        "provenance": provenance(),
        "threads": dask_worker.state.nthreads,
        "resources": dict(dask_worker.state.total_resources),
    }


def _slots(described: Mapping, asked: Mapping[str, float]) -> int:
    """Units at a time: as many as it has threads, and as go into what it offers."""
    offered = described["resources"]
    fits = [math.floor(offered.get(name, 0) / amount) for name, amount in asked.items()]
    return min([described["threads"], *fits])


def _versions(module: str, home: str | None) -> dict[str, str | None]:
    """What a result may depend on, by name: releases, and the sources of ours and of the function.

    Without the part of a version that says for which kind of processor it was built: a laptop
    without a GPU may drive machines with one.
    """
    python = ".".join(map(str, sys.version_info[:2]))
    packages = {name: machine.version(name) for name in (*machine.PACKAGES, *OWN_PACKAGES)}
    releases = {name: found and found.partition("+")[0] for name, found in packages.items()}
    sources = {
        f"{name}'s source": code.of_package(name, home)
        for name in ("convcost", module.partition(".")[0])
    }
    return {"python": python, **releases, "convcost": convcost.__version__, **sources}
