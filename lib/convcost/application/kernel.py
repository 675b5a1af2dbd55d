"""The kernel of a run: this very interpreter, on a socket of its own, which dies with its runner.

It is started from a spec made on the fly (see `engine`); here is where it talks, in what
environment it runs, who watches its memory, who ends it however the runner dies, and what it died
of.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from convcost.core import machine, paths
from convcost.core.units import byte_size

_SOCKET_PATH_BYTES = 100  # the kernel's limit is 104 (macOS) to 108 (Linux), with the port's "-5"
_SCARCE_BYTES = 2**30  # so little left, and the system may have killed for want of memory

# A process of its own, because the runner may be killed with -9: it is told of processes (first
# the kernel), waits until the runner's end of the pipe closes, then kills them with all their
# children and removes the folder.
_GUARD = """
import os, shutil, signal, sys
import psutil
told = [line.split() for line in sys.stdin]
left = []
for pid, created in told:
    try:
        process = psutil.Process(int(pid))
        if process.create_time() == float(created):
            left += [*process.children(recursive=True), process]
    except psutil.Error:
        pass
if told and hasattr(os, "killpg"):
    try:
        os.killpg(int(told[0][0]), signal.SIGKILL)
    except OSError:
        pass
for process in left:
    try:
        process.kill()
    except psutil.Error:
        pass
psutil.wait_procs(left, timeout=2)
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


def _socket_folder() -> tuple[Path, str, list[str]]:
    """(folder, transport, notes): a new private folder, with room for socket names if possible."""
    places = [tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR"), "/tmp", "/dev/shm"]
    first = None
    if hasattr(socket, "AF_UNIX"):
        for place in filter(None, places):
            try:
                folder = Path(tempfile.mkdtemp(prefix="cc-", dir=place))
            except OSError:
                continue
            if _socket_fits(folder):
                if first:
                    shutil.rmtree(first, ignore_errors=True)
                return folder, "ipc", []
            if first is None:
                first = folder
            else:
                shutil.rmtree(folder, ignore_errors=True)
    note = "the kernel talks over local TCP ports: this system offers no sockets in a folder"
    return first or Path(tempfile.mkdtemp(prefix="cc-")), "tcp", [note]


def _socket_fits(folder: Path) -> bool:
    name = folder / "k-5"
    if len(os.fsencode(name.resolve())) > _SOCKET_PATH_BYTES:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(os.fspath(name))
        except OSError:
            return False
    name.unlink()
    return True


@dataclass
class Kernel:
    """What one run knows of its kernel: folder, guard, environment, memory over time."""

    folder: Path
    transport: str
    environment: dict[str, str]
    cwd: Path
    guard: subprocess.Popen
    log: Path
    process: object = None  # psutil.Process, once it runs
    exit_status: int | None = None
    rss: int = 0  # bytes, at the last look
    peak_rss: int = 0
    least_available: int | None = None
    _told: set = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    _kills_before: int = field(default_factory=lambda: _oom_kills())

    def started(self, pid: int) -> None:
        """Tell the guard whom to kill, and begin to watch the memory."""
        with contextlib.suppress(psutil.Error):
            self.process = psutil.Process(pid)
            self._tell_guard(self.process)
            threading.Thread(target=self._watch, daemon=True).start()

    def note_children(self) -> None:
        """Tell the guard of the kernel's children: those in sessions of their own outlive it."""
        with contextlib.suppress(psutil.Error, AttributeError):
            for child in self.process.children(recursive=True):
                if child not in self._told:
                    self._tell_guard(child)

    def _tell_guard(self, process) -> None:
        self._told.add(process)
        with contextlib.suppress(OSError):
            self.guard.stdin.write(f"{process.pid} {process.create_time()!r}\n".encode())
            self.guard.stdin.flush()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):  # rare enough not to disturb what a notebook times
            try:
                rss = self.process.memory_info().rss
            except psutil.Error:
                return
            available = psutil.virtual_memory().available
            if rss:  # a dying process has none left to show
                self.rss, self.peak_rss = rss, max(self.peak_rss, rss)
                least = self.least_available
                self.least_available = available if least is None else min(least, available)

    def close(self) -> None:
        """End whatever is left of the kernel and remove its folder."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self.guard.stdin.close()
        try:
            self.guard.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.guard.kill()
            self.guard.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def obituary(self) -> str:
        """Why the kernel is dead, as far as can be told, the memory it held, and what to do.

        Want of memory is said where the system counts such a kill, or memory was scarce.
        """
        status, scarce = self.exit_status, self._memory_was_scarce()
        if _oom_kills() > self._kills_before:
            why = "out of memory: the system's out-of-memory killer struck while it ran"
            scarce = True
        elif status is not None and status >= 0:
            why = f"it ended with exit status {status}, which a cell or its code asked for"
        else:
            killed = "SIGKILL" if status is None else signal.Signals(-status).name
            outside = killed in ("SIGKILL", "SIGTERM", "SIGHUP")
            why = f"it was killed by a signal, {killed}, "
            why += "from outside" if outside else "as a crash in compiled code does"
            why += "; probably out of memory" if scarce else "; memory was not short"
        if self.rss and self.least_available is not None:
            why += (
                f"; it held {byte_size(self.rss)} at the last look, {byte_size(self.peak_rss)} at "
                f"most, while the machine had at least {byte_size(self.least_available)} free"
            )
        tail = self.log_tail()
        why += f"; its last words: {tail}" if tail else ""
        if scarce:
            why += ". Close other programs, take a smaller profile or a machine with more memory"
        return f"{why}. Then start again" if scarce else f"{why}. Start again"

    def _memory_was_scarce(self) -> bool:
        """Whether the machine, or the container that it is, had hardly any left at some look."""
        if self.least_available is None:
            return False
        limit = machine.ram_bytes()
        return self.least_available < _SCARCE_BYTES or bool(limit and self.peak_rss > 0.8 * limit)

    def log_tail(self) -> str:
        """The last lines that the kernel's process wrote past the notebook."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").strip().splitlines()
            return " / ".join(line.strip() for line in lines[-3:])[:300]
        return ""


def _oom_kills() -> int:
    """How often Linux has killed a process for want of memory since it started; 0 elsewhere."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(re.findall(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(), re.M)[0])
    return 0


def _kernel_environment(profile: str, extra: Mapping[str, str]) -> dict[str, str]:
    """The kernel's environment: this one, without what would change results or hide figures."""
    environment = dict(os.environ)
    for name in ("MPLBACKEND", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "JUPYTER_PATH"):
        environment.pop(name, None)
    library = os.fspath(paths.LIBRARY.parent)
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([library, before] if before else [library])
    environment.setdefault("PYTHONHASHSEED", "0")
    environment["CONVCOST_PROFILE"] = profile
    environment.setdefault("CONVCOST_COMMAND", "python -m convcost run")
    environment.update(extra)
    return environment


@contextlib.contextmanager
def running(
    profile: str, cwd: Path, extra: Mapping[str, str]
) -> Iterator[tuple[Kernel, list[str]]]:
    folder, transport, notes = _socket_folder()
    try:
        environment = _kernel_environment(profile, extra)
        # a user's IPython start-up files and history stay out of it
        environment["IPYTHONDIR"] = os.fspath(folder / "ipython")
        guard = subprocess.Popen(
            [sys.executable, "-I", "-c", _GUARD, os.fspath(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder.parent,
            start_new_session=True,  # Ctrl-C is for the runner; the guard must live to clean up
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    kernel = Kernel(folder, transport, environment, cwd, guard, folder / "kernel.log")
    try:
        yield kernel, notes
    finally:
        kernel.close()
