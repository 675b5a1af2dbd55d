"""Worker processes on this machine: each does one unit at a time, and is replaced when it dies.

This is the side that asks; `convcost.sweep.worker` is the program that works. They speak over
pipes, so it works from a notebook's kernel, from a script without a main guard, and after torch has
threads. To the worker: a line of JSON with what all units share, then a configuration per line.
From it: a line when it is ready, then one per outcome. When its standard input ends, whoever asked
is gone, and the worker leaves at once: the unit in hand is lost, nothing else.
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

from convcost.core.errors import ConvcostError
from convcost.core.paths import LIBRARY
from convcost.sweep.unit import Unit, provenance

WORKER = "convcost.sweep.worker"


class LocalProcesses:
    """Up to `count` processes of `threads` threads each: an `executors.Executor`.

    `home`: the folder in sys.path in which the function's module is found. `data`: the fingerprint
    that all units share. `timeout_s`: seconds for one unit (None: no limit), after which its
    process is killed. `fresh`: a process does one unit and is replaced, so that no unit sees what
    another left in its process.
    """

    def __init__(
        self,
        function: str,
        count: int,
        *,
        home: str | None,
        threads: int,
        data: dict | None,
        timeout_s: float | None = None,
        fresh: bool = False,
    ):
        self.count, self.timeout_s, self.fresh = count, timeout_s, fresh
        self.began: float | None = None
        told = {"function": function, "home": home, "threads": threads, "data": data}
        self._start = lambda: _Worker(told, self._messages)
        self._messages: queue.Queue[tuple[_Worker, dict | None]] = queue.Queue()
        self._workers: set[_Worker] = set()
        self._false_starts = 0  # one after the other

    def __enter__(self) -> "LocalProcesses":
        return self

    def __exit__(self, *_) -> None:
        while self._workers:
            self._workers.pop().end()

    def in_hand(self) -> list[tuple[Unit, float]]:
        return [(one.unit, one.seconds) for one in self._workers if one.unit]

    def has_room(self) -> bool:
        return len(self._workers) < self.count or self._idle() is not None

    def _idle(self) -> "_Worker | None":
        return next((one for one in self._workers if one.unit is None), None)

    def begin(self, unit: Unit) -> None:
        worker = self._idle() or self._start()
        self._workers.add(worker)
        worker.give(unit)

    def ended(self, wait_s: float) -> list[tuple[Unit, dict]]:
        """Raises ConvcostError where workers die before they are ready, one after the other."""
        for one in self._workers:
            if self.timeout_s is not None and one.seconds > self.timeout_s:
                one.overdue = True
                one.process.kill()
        try:
            one, message = self._messages.get(timeout=wait_s)
        except queue.Empty:
            return []
        if message is None:
            return self._gone(one)
        if not one.ready:
            self.began = self.began or time.monotonic()
            self._false_starts = 0
            one.set_ready()
            return []
        unit, one.unit = one.unit, None
        if self.fresh:
            self._workers.discard(one)
            one.end()
        return [(unit, message)]

    def _gone(self, one: "_Worker") -> list[tuple[Unit, dict]]:
        """What the end of a worker means for the unit that it had in hand."""
        self._workers.discard(one)
        unit, seconds = one.unit, one.seconds
        one.end()
        if unit is None:
            return []
        if not one.ready:
            self._false_starts += 1
            if self._false_starts > self.count:
                raise ConvcostError(f"no worker can be started: {one.ending}")
            self.begin(unit)
            return []
        status, reason = "lost", one.ending
        if one.overdue:
            status, reason = "timed out", f"stopped after {self.timeout_s:g} s"
        outcome = {"status": status, "rows": [], "reason": reason, "seconds": seconds}
        return [(unit, outcome | provenance())]


class _Worker:
    """One worker process, and the thread that hears it."""

    def __init__(self, told: dict, messages: queue.Queue):
        self.messages = messages
        self.ready = self.overdue = False
        self.unit: Unit | None = None
        self.since: float | None = None  # when it was told its unit
        self.ending = ""  # how it ended, in words
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - the process outlives this call
        paths = [str(LIBRARY.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(told["threads"]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env={**os.environ, **limits, "PYTHONPATH": os.pathsep.join(paths)},
            # an interrupt in a notebook reaches the kernel alone, which then ends its workers
            start_new_session=True,
        )
        self._tell(told)
        self.thread = threading.Thread(target=self._hear, daemon=True)
        self.thread.start()

    def _tell(self, content: dict) -> None:
        with contextlib.suppress(OSError):  # it has died; its thread says so
            self.process.stdin.write(json.dumps(content).encode() + b"\n")
            self.process.stdin.flush()

    def _hear(self) -> None:
        """Puts what it says, and None at its end, where the others' words go."""
        try:
            for line in self.process.stdout:
                self.messages.put((self, json.loads(line)))
        except ValueError:  # it died in mid-line, or says what nobody understands
            self.process.kill()
        self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        code = self.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self.ending = f"its process ended with {how}" + (f" ({lines[-1]})" if lines else "")
        self.messages.put((self, None))

    @property
    def seconds(self) -> float:
        """How long it has had its unit; 0 while it starts."""
        return time.monotonic() - self.since if self.unit and self.since else 0.0

    def give(self, unit: Unit) -> None:
        """The next unit; it is told when the worker is ready to hear it."""
        self.unit, self.since = unit, None
        if self.ready:
            self.set_ready()

    def set_ready(self) -> None:
        self.ready = True
        if self.unit:
            self.since = time.monotonic()
            self._tell(self.unit.configuration)

    def end(self) -> None:
        """Stop it, whatever it does, and wait until it is gone."""
        self.process.kill()
        self.thread.join()
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(OSError):
                pipe.close()
