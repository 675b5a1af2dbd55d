"""Worker processes: each has one task in hand at a time, and is replaced when it dies.

`Crew` is the side that asks, `serve` the side that works: a program started with `python -m`. They
speak over pipes, so it works from a notebook's kernel, from a script without a main guard, and
after torch has threads. To the worker: whatever `greet` writes, then a line of JSON per task. From
it: a line of JSON per event. When its standard input ends, whoever asked is gone, and the worker
leaves at once: the task in hand is lost, nothing else.
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
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import BinaryIO

from convcost.core.errors import ConvcostError
from convcost.core.paths import LIBRARY

POLL_S = 0.1  # how late a timeout, a line of progress or a task of another's may be noticed

Task = tuple[Hashable, object]  # its name here, and what the worker is told (JSON)


class Crew:
    """Up to `count` processes `python -m module`, for the length of a `with` block.

    `greet(pipe)` tells a new worker what all tasks share. `threads` is set for its numerical
    libraries. `attempts`: deaths of a worker over one task before the task is given up.
    `timeout_s`: seconds for one task (None: no limit), after which its worker is killed. `fresh`:
    a worker does one task and is replaced, so that no task sees what another left in its process.
    """

    def __init__(
        self,
        module: str,
        count: int,
        greet: Callable[[BinaryIO], None],
        *,
        threads: int = 1,
        attempts: int = 3,
        timeout_s: float | None = None,
        fresh: bool = False,
    ):
        self.count, self.attempts, self.timeout_s = count, attempts, timeout_s
        self.fresh = fresh
        self.began: float | None = None  # monotonic time at which the first worker was ready
        self._start = lambda: _Worker(module, greet, threads, self._events)
        self._events: queue.Queue[tuple[_Worker, dict]] = queue.Queue()
        self._workers: set[_Worker] = set()
        self._again: list[Task] = []  # those whose worker died

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_) -> None:
        for one in self._workers:
            one.end()

    def in_hand(self) -> list[tuple[Hashable, float]]:
        """The names of the tasks being worked on, each with its seconds so far."""
        return [(one.task[0], one.seconds) for one in self._workers if one.task]

    def work(
        self, tasks: Iterable[Task | None], tick: Callable[[], None]
    ) -> Iterator[tuple[Hashable, dict]]:
        """Have the tasks done; yields (name, event) for all that is heard of them.

        `tasks` is asked for the next one when a worker is free; None means that there is none just
        now. `tick` is called at least every `POLL_S` seconds. An event is a dict, with its kind
        under "event": "done"; "failed", by the worker or, where `attempts` workers died, by us;
        "timed out"; these with `seconds`. "again", where a worker died and the task is repeated.
        All but "done" have a `reason`. And whatever else the worker tells.

        Raises ConvcostError where workers die before they are ready, one after the other.
        """
        source, deaths, false_starts = iter(tasks), Counter(), 0
        while self._hand_out(source):
            tick()
            self._stop_the_overdue()
            try:
                one, event = self._events.get(timeout=POLL_S)
            except queue.Empty:
                continue
            match event["event"]:
                case "ready":
                    self.began = self.began or time.monotonic()
                    false_starts = 0
                    one.greeted()
                case "gone":
                    self._workers.discard(one)
                    one.end()
                    if one.task and not one.ready:
                        false_starts += 1
                        if false_starts > self.count:
                            raise ConvcostError(f"no worker can be started: {one.ending}")
                        self._again.append(one.task)
                    elif one.task:
                        deaths[one.task[0]] += 1
                        yield one.task[0], self._judged(one, deaths[one.task[0]])
                case "done" | "failed":
                    event = {"seconds": one.seconds, **event}
                    (name, _), one.task = one.task, None
                    if self.fresh:
                        self._workers.discard(one)
                        one.end()
                    yield name, event
                case _:
                    yield one.task[0], event

    def _hand_out(self, source: Iterator[Task | None]) -> bool:
        """Give what there is to those who are free; False when all is done."""
        while True:
            idle = (one for one in self._workers if one.task is None and not one.overdue)
            free = next(idle, None)
            if free is None and len(self._workers) >= self.count:
                return True
            try:
                task = self._again.pop(0) if self._again else next(source)
            except StopIteration:
                return any(one.task for one in self._workers)
            if task is None:
                return True
            if free is None:
                self._workers.add(free := self._start())
            free.give(task)

    def _stop_the_overdue(self) -> None:
        for one in self._workers:
            if self.timeout_s is not None and one.seconds > self.timeout_s:
                one.overdue = True
                one.process.kill()

    def _judged(self, one: "_Worker", deaths: int) -> dict:
        """What the death of a worker means for the task that it had in hand."""
        if one.overdue:
            reason = f"stopped after {self.timeout_s:g} s"
            return {"event": "timed out", "reason": reason, "seconds": one.seconds}
        if deaths < self.attempts:
            self._again.append(one.task)
            return {"event": "again", "reason": one.ending}
        reason = one.ending + (f"; tried {deaths} times" if deaths > 1 else "")
        return {"event": "failed", "reason": reason, "seconds": one.seconds}


class _Worker:
    """One worker process, and the thread that greets and hears it."""

    def __init__(self, module: str, greet: Callable, threads: int, events: queue.Queue):
        self.greet, self.events = greet, events
        self.ready = self.overdue = False
        self.task: Task | None = None
        self.since: float | None = None  # when it was told its task
        self.ending = ""  # how it ended, in words
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - the process outlives this call
        library = str(LIBRARY.parent)
        paths = [library, *filter(None, [os.environ.get("PYTHONPATH")])]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **limits, "PYTHONPATH": os.pathsep.join(paths)},
            # an interrupt in a notebook reaches the kernel alone, which then ends its workers
            start_new_session=True,
        )
        self.thread = threading.Thread(target=self._hear, daemon=True)
        self.thread.start()

    def _hear(self) -> None:
        try:
            self.greet(self.process.stdin)
            for line in self.process.stdout:
                self.events.put((self, json.loads(line)))
        except OSError:  # it died while it was spoken to
            pass
        except ValueError:  # it died in mid-line, or says what nobody understands
            self.process.kill()
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        code = self.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self.ending = f"its process ended with {how}" + (f" ({lines[-1]})" if lines else "")
        self.events.put((self, {"event": "gone"}))

    @property
    def seconds(self) -> float:
        """How long it has had its task; 0 while it starts."""
        return time.monotonic() - self.since if self.task and self.since else 0.0

    def give(self, task: Task) -> None:
        """The next task; it is told when the worker is ready to hear it."""
        self.task, self.since = task, None
        if self.ready:
            self._tell()

    def greeted(self) -> None:
        self.ready = True
        if self.task:
            self._tell()

    def _tell(self) -> None:
        self.since = time.monotonic()
        with contextlib.suppress(OSError):  # it has died; its thread says so
            self.process.stdin.write(json.dumps(self.task[1]).encode() + b"\n")
            self.process.stdin.flush()

    def end(self) -> None:
        """Stop it, whatever it does, and wait until it is gone."""
        self.process.kill()
        self.thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(OSError):
                pipe.close()


class Progress:
    """A line now and then: `text()`, which a subclass gives, at most every `every_s` seconds."""

    def __init__(self, say: Callable[[str], None] | None, every_s: float):
        self.line = say or (lambda text: None)
        self.every_s, self.last = every_s, time.monotonic()

    def text(self) -> str:
        raise NotImplementedError

    def tick(self) -> None:
        if time.monotonic() - self.last >= self.every_s:
            self.last = time.monotonic()
            self.line(self.text())


def serve(prepare: Callable[[BinaryIO], Callable[[object, Callable], dict | None]]) -> None:
    """Be a worker, until standard input ends.

    `prepare(pipe)` reads what `greet` wrote, and returns `do(task, tell)`: what it returns goes
    with the event "done", what it raises becomes "failed", and `tell(event, **more)` is for
    everything in between.
    """
    # whatever a library prints must not get between the events
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(event: str, **more) -> None:
        try:
            events.write(json.dumps({"event": event, **more}).encode() + b"\n")
            events.flush()
        except BrokenPipeError:
            os._exit(0)

    # A process that forks closes its copy of sys.stdin, and for that waits for whoever reads from
    # it: `listen` always does. So it has a pipe of its own, and sys.stdin is empty.
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    sys.stdin = open(os.devnull)  # noqa: SIM115 - for the length of the process
    do = prepare(requests)
    tasks: queue.SimpleQueue = queue.SimpleQueue()

    def listen() -> None:
        for line in requests:
            tasks.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    tell("ready")
    while True:
        task = tasks.get()
        try:
            tell("done", **(do(task, tell) or {}))
        except (Exception, SystemExit) as error:
            tell("failed", reason=f"{type(error).__name__}: {error}")
