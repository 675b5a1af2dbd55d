"""Run one notebook so that a half-run one can never be taken for a done one.

papermill does the running, under rules of its own here: the file being written is
`X.part.ipynb`, renamed to `X.ipynb` only when every cell is whole; a failure is kept as
`X.failed.ipynb`, what the user stopped as `X.part.ipynb`; an output of other inputs is set aside
as `X.old.ipynb` before the run begins.
The kernel is this very interpreter, started from a spec made on the fly, talks over a socket of
its own, and dies with the runner, however the runner dies.
"""

import ast
import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from convcost import records
from convcost.application import notebooks
from convcost.application.notebooks import Scalar
from convcost.application.profiles import PROFILES
from convcost.core import paths
from convcost.core.errors import BadInputError, ConvcostError, writing
from convcost.core.extras import optional

with optional():
    import nbformat

START_TIMEOUT_S = 120  # a cold disk and a busy machine included
_OUTPUT_TIMEOUT_S = 60  # for the last output of a cell, once the cell has ended
_SOCKET_PATH_BYTES = 100  # the kernel's limit is 104 (macOS) to 108 (Linux), with the port's "-5"


@dataclass(frozen=True)
class Progress:
    """Where a run is: told at the start and at the end of every cell of the notebook's own."""

    notebook: str
    cell: int  # from 1 and text cells included, as a reader counts: the injected one is left out
    cells: int
    state: str  # "running", "completed" or "failed"
    seconds: float  # since the run began


@dataclass(frozen=True)
class RunResult:
    """How a run ended, and which file to look at."""

    notebook: str
    state: str  # "done" or "failed"
    path: Path | None  # the executed notebook, or the failed one; None where none could be written
    seconds: float
    cells: int  # code cells that were completed
    key: str  # what `notebooks.is_done` asks for
    transport: str  # "ipc", or "tcp" where sockets in a folder are not possible
    error: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True where the notebook is done."""
        return self.state == "done"


class _NotebookError(ConvcostError):
    """The notebook could not be run to its end; the text is for the user."""


# --- the kernel: where it talks, who watches it ------------------------------------------------

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
class _Kernel:
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
        import psutil

        with contextlib.suppress(psutil.Error):
            self.process = psutil.Process(pid)
            self._tell_guard(self.process)
            threading.Thread(target=self._watch, daemon=True).start()

    def note_children(self) -> None:
        """Tell the guard of the kernel's children: those in sessions of their own outlive it."""
        import psutil

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
        import psutil

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
        """Why the kernel is dead, as far as can be told, with the memory it held."""
        status = self.exit_status
        oom = "probable out-of-memory"
        if _oom_kills() > self._kills_before:
            why = f"{oom}: the system's out-of-memory killer struck while it ran"
        elif status is None or status == -getattr(signal, "SIGKILL", 9):
            why = f"{oom}: it was killed from outside (SIGKILL), as systems do when memory is short"
        elif status < 0:
            name = signal.Signals(-status).name
            why = f"a crash in compiled code ({name}), or {oom}"
        else:
            why = f"it ended with exit status {status}; unless the cell asks for that, {oom}"
        if self.rss and self.least_available is not None:
            last, peak, free = (
                b / (1 << 30) for b in (self.rss, self.peak_rss, self.least_available)
            )
            why += f"; it held {last:.1f} GiB at the last look, {peak:.1f} GiB at most, while the "
            why += f"machine had at least {free:.1f} GiB free"
        tail = self.log_tail()
        return why + (f"; its last words: {tail}" if tail else "")

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
def _kernel(profile: str, cwd: Path, extra: Mapping[str, str]) -> Iterator[tuple[_Kernel, list]]:
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
    kernel = _Kernel(folder, transport, environment, cwd, guard, folder / "kernel.log")
    try:
        yield kernel, notes
    finally:
        kernel.close()


# --- papermill under our rules -----------------------------------------------------------------


def joined_streams(outputs: list) -> list:
    """Outputs of a cell with all text of one stream in one piece, stdout before stderr.

    The kernel cuts streams at random moments, so without this no two runs give the same file. Of
    a line that is written over and over (a progress bar) the last state stays. Linear in the
    text, unlike nbclient's own joining, which takes minutes for a long line.
    """
    texts: dict[str, list[str]] = {"stdout": [], "stderr": []}
    rest, first = [], None
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] in texts:
            texts[output["name"]].append(output["text"])
            first = len(rest) if first is None else first
        else:
            rest.append(output)
    streams = []
    for name, pieces in texts.items():
        lines = "".join(pieces).replace("\r\n", "\n").split("\n")
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
        if text:
            streams.append(nbformat.v4.new_output("stream", name=name, text=text))
    return rest[:first] + streams + rest[first:] if streams else rest


def _drop_tasks(loop) -> None:
    """End what nbclient still awaits after a run was cut off, and take note of how it ended.

    Left alone, its tasks go on while the kernel is ended, and fail with that ("the kernel died");
    the loop then prints their error, with a traceback, when they are thrown away. We say what
    happened ourselves, once. A task that Ctrl-C struck itself has ended already: of that, too,
    the loop is not to speak. Anything else it still prints.
    """

    def unless_interrupted(loop, context):
        if not isinstance(context.get("exception"), KeyboardInterrupt):
            loop.default_exception_handler(context)

    if loop.is_running():  # not ours: a notebook is run from within a notebook
        return
    loop.set_exception_handler(unless_interrupted)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        ended, _ = loop.run_until_complete(asyncio.wait(left, timeout=5))
        for task in ended:
            if not task.cancelled():
                task.exception()


def _engine() -> str:
    """Register our engine with papermill (its own marks cells as completed that never ran)."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_core.utils import ensure_event_loop
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, NotebookExecutionManager, papermill_engines

    class OwnSpec(KernelSpecManager):
        """Only one kernel exists: this interpreter, whatever is installed under "python3"."""

        def get_kernel_spec(self, kernel_name):
            return KernelSpec(
                name=kernel_name,
                argv=[
                    sys.executable,
                    "-Xfrozen_modules=off",
                    "-m",
                    "ipykernel_launcher",
                    "-f",
                    "{connection_file}",
                ],
                display_name="Python 3 (ipykernel)",
                language="python",
            )

    class Manager(NotebookExecutionManager):
        """Writes the .part file and tells the progress."""

        def __init__(self, nb, session):
            super().__init__(nb, None, progress_bar=False, autosave_cell_every=30)
            self.session = session

        def save(self, **kwargs):
            self.session.write_part(self.nb)
            self.last_save_time = self.now()

        def cell_start(self, cell, cell_index=None, **kwargs):
            super().cell_start(cell, cell_index)
            self.session.tell(cell_index, "running")

        def cell_exception(self, cell, cell_index=None, **kwargs):
            super().cell_exception(cell, cell_index)
            self.session.tell(cell_index, "failed")

        def cell_complete(self, cell, cell_index=None, **kwargs):
            super().cell_complete(cell, cell_index)
            self.session.tell(cell_index, "completed")

    class Client(PapermillNotebookClient):
        session = None

        def create_kernel_manager(self):
            kernel = self.session.kernel
            self.km = AsyncKernelManager(
                kernel_name=self.kernel_name,
                kernel_spec_manager=OwnSpec(),
                transport=kernel.transport,
                connection_file=os.fspath(kernel.folder / "kernel.json"),
                log=self.log,
            )
            if kernel.transport == "ipc":
                self.km.ip = os.fspath(kernel.folder / "k")
            return self.km

        def start_new_kernel(self, **kwargs):
            kernel = self.session.kernel
            with open(kernel.log, "wb") as log:
                super().start_new_kernel(
                    cwd=os.fspath(kernel.cwd),
                    env=kernel.environment,
                    stdout=log,
                    stderr=log,
                    **kwargs,
                )
            kernel.started(self.km.provisioner.pid)

        def execute(self, **kwargs):
            self.reset_execution_trackers()
            with self.setup_kernel():
                self.assert_interpreter()
                self.execute_cells()
                info = self.wait_for_reply(self.kc.kernel_info())
                self.nb.metadata["language_info"] = info["content"]["language_info"]
                self.set_widgets_metadata()
            return self.nb

        def assert_interpreter(self):
            """The kernel must be this interpreter with this library; asked outside any cell."""
            question = (
                '__import__("json").dumps([__import__("sys").executable, '
                '__import__("importlib.util").util.find_spec("convcost").origin])'
            )
            reply = self.wait_for_reply(
                self.kc.execute(
                    "", silent=True, store_history=False, user_expressions={"who": question}
                )
            )
            answer = reply["content"]["user_expressions"]["who"]
            if answer["status"] != "ok":
                raise _NotebookError(
                    f"the kernel cannot import convcost ({answer.get('evalue')}): run `make setup`"
                )
            found = json.loads(ast.literal_eval(answer["data"]["text/plain"]))
            here = [sys.executable, os.fspath(paths.LIBRARY / "__init__.py")]
            if [os.path.realpath(p) for p in found] != [os.path.realpath(p) for p in here]:
                raise _NotebookError(
                    f"the kernel runs {found[0]} with {found[1]}, the runner {here[0]} with "
                    f"{here[1]}: they must be the same; run `make setup`"
                )

        def execute_cells(self):
            for index, cell in enumerate(self.nb.cells):
                self.session.index = index
                self.nb_man.cell_start(cell, index)
                try:
                    self.execute_cell(cell, index)
                except BaseException as error:
                    self.session.kernel.note_children()
                    if not hasattr(error, "ename"):  # not the cell's own error: nothing to wait for
                        self.shutdown_kernel = "immediate"
                        _drop_tasks(ensure_event_loop())
                    process = getattr(self.km.provisioner, "process", None)
                    self.session.kernel.exit_status = getattr(process, "returncode", None)
                    self.nb_man.cell_exception(self.nb.cells[index], index)
                    raise
                if cell.cell_type == "code":
                    self.session.kernel.note_children()
                    cell.outputs = joined_streams(cell.outputs)
                self.nb_man.cell_complete(self.nb.cells[index], index)

    class OwnEngine(Engine):
        @classmethod
        def execute_notebook(cls, nb, kernel_name, output_path=None, session=None, **ignored):
            nb.metadata["papermill"]["input_path"] = session.name  # else the whole source
            manager = Manager(nb, session)
            session.notebook = nb
            manager.notebook_start()
            log = logging.getLogger("convcost.kernel")
            log.addHandler(logging.NullHandler())
            log.propagate = False  # every failure is said once, by us
            client = Client(
                manager,
                kernel_name=kernel_name,
                timeout_func=session.seconds_left,
                startup_timeout=START_TIMEOUT_S,
                iopub_timeout=_OUTPUT_TIMEOUT_S,
                force_raise_errors=True,  # a tag on a cell must not let an error through
                record_timing=False,
                log=log,
            )
            client.session = session
            client.execute()
            return nb

    papermill_engines.register("convcost", OwnEngine)
    return "convcost"


@dataclass
class _Session:
    """One run under way."""

    name: str
    part: Path
    kernel: _Kernel
    timeout_s: float | None
    cell_timeout_s: float | None
    progress: Callable[[Progress], None] | None
    began: float
    notebook: nbformat.NotebookNode | None = None
    index: int | None = None

    def write_part(self, notebook: nbformat.NotebookNode) -> None:
        self.part.write_text(nbformat.writes(notebook), encoding="utf-8")

    def tell(self, index: int, state: str) -> None:
        number, cells = self.number(index)
        if self.progress and number:
            seconds = time.monotonic() - self.began
            self.progress(Progress(self.name, number, cells, state, seconds))

    def number(self, index: int) -> tuple[int, int]:
        """(number of a cell as a reader counts, 0 for the injected one; how many there are)."""
        own = [notebooks.INJECTED_TAG not in notebooks.tags(c) for c in self.notebook.cells]
        return sum(own[: index + 1]) if own[index] else 0, sum(own)

    def seconds_left(self, cell: object = None) -> float | None:
        """Seconds until the cell that starts now must have ended; None without any limit."""
        limits = [self.cell_timeout_s] if self.cell_timeout_s else []
        if self.timeout_s:
            # never 0, which nbclient takes for "no limit"
            limits.append(max(0.001, self.timeout_s - (time.monotonic() - self.began)))
        return min(limits, default=None)

    def place(self) -> str:
        """The cell that is being run, as a reader counts cells."""
        if self.notebook is None or self.index is None:
            return "before the first cell"
        number, cells = self.number(self.index)
        return f"in cell {number} of {cells}" if number else "in the cell of injected parameters"


_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def _cell_error(error: Exception) -> str:
    """An exception of a cell in one or two lines: the line that raised, type and text."""
    traceback = _ANSI.sub("", str(getattr(error, "traceback", "")))
    line = re.search(r"^-+> *\d+ (.*)$", traceback, re.M)
    text = (_ANSI.sub("", str(error.evalue)).strip().splitlines() or [""])[0][:500]
    said = f"{error.ename}: {text}" if text else error.ename
    return said + (f" (at `{line[1].strip()}`)" if line else "")


def _explained(error: BaseException, session: _Session) -> str:
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    place = session.place()
    if isinstance(error, _NotebookError):
        return f"{place}: {error}"
    if isinstance(error, CellTimeoutError):
        limits = (
            f"the notebook's limit is {session.timeout_s:g} s" if session.timeout_s else "",
            f"a cell's limit is {session.cell_timeout_s:g} s" if session.cell_timeout_s else "",
        )
        return f"{place}: stopped, it ran too long; {', '.join(filter(None, limits))}"
    if hasattr(error, "ename"):
        return f"{place}: {_cell_error(error)}"
    if isinstance(error, DeadKernelError) or session.kernel.exit_status is not None:
        return (
            f"{place}: the kernel died: {session.kernel.obituary()}. Close other programs, take a "
            "smaller profile or a machine with more memory, and start again"
        )
    if isinstance(error, KeyboardInterrupt):
        return f"{place}: stopped by the user"
    if isinstance(error, OSError):
        return f"{place}: cannot write {error.filename or session.part}: {error.strerror or error}"
    if session.index is None:
        tail = session.kernel.log_tail()
        return f"the kernel did not start: {error}" + (f" ({tail})" if tail else "")
    return f"{place}: {type(error).__name__}: {error}"


# --- the run -----------------------------------------------------------------------------------


def beside(output: Path, word: str) -> Path:
    """The file of a run that is under way ("part"), went wrong ("failed") or is stale ("old").

    >>> beside(Path("a/b.ipynb"), "part").as_posix()
    'a/b.part.ipynb'
    """
    return output.with_name(f"{output.stem}.{word}{output.suffix}")


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file, which a killed holder releases. BadInputError where another holds it."""
    from filelock import FileLock, Timeout

    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()  # a lock says only that it cannot be had
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BadInputError(
            f"another process {what}: wait for its end, or stop it and start again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Whether another holds a lock file now. A lock file that is not there is not made."""
    from filelock import FileLock, Timeout

    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def lock_of(output: Path) -> Path:
    """The lock file of whoever writes an output."""
    return output.with_name(f".{output.stem}.lock")


def _replace(part: Path, target: Path, notebook: nbformat.NotebookNode) -> None:
    """Write the .part file to the disk itself, then give it its name in one step."""
    with open(part, "w", encoding="utf-8") as file:
        file.write(nbformat.writes(notebook))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, target)


def run_notebook(
    source: Path | str,
    output: Path | str,
    parameters: Mapping[str, Scalar] | None = None,
    *,
    profile: str,
    timeout_s: float | None = None,
    cell_timeout_s: float | None = None,
    kernel: str = "python3",
    progress: Callable[[Progress], None] | None = None,
    env: Mapping[str, str] | None = None,
) -> RunResult:
    """Run a notebook to its end, and say how it went; a failing cell is a result, no exception.

    The profile ("quick", "cpu" or "gpu", resolved) goes to the kernel as CONVCOST_PROFILE and,
    where the notebook has one, as parameter `profile`. Both limits are in seconds; None sets
    none. The output is there under its name only if it is whole; its metadata `convcost.run`
    holds the key and all inputs (see `notebooks.inputs`), and which tables were written. An older
    output of the same inputs stays until the new one replaces it; one of other inputs, or without
    its tables, is set aside at the start.

    Raises BadInputError for a wrong parameter (with the valid ones), profile or path, for an
    output on which another run works, and DamagedFileError for a source that is no notebook.
    KeyboardInterrupt goes on after the run is tidied up; then nothing counts as done.
    """
    source, output = Path(source).absolute(), Path(output).absolute()
    name = source.stem
    if profile not in PROFILES:
        raise BadInputError(f"unknown profile {profile!r}: choose one of {', '.join(PROFILES)}")
    if output.suffix != ".ipynb" or output == source:
        raise BadInputError(f"output {output} must be another file, with the ending .ipynb")
    notebook = notebooks.read(source)
    defaults = notebooks.parameters(notebook, name)
    given = dict(parameters or {})
    if "profile" in defaults and given.setdefault("profile", profile) != profile:
        raise BadInputError(
            f"{name}: parameter profile is {given['profile']!r}, the run's profile {profile!r}"
        )
    given = notebooks.checked_parameters(given, defaults, name)
    env = dict(env or {})
    reference = env.get("CONVCOST_REFERENCE", os.environ.get("CONVCOST_REFERENCE")) == "1"

    def made_from() -> dict:
        return notebooks.inputs(notebook, given, profile, reference=reference)

    inputs = made_from()
    where = records.REFERENCE if reference else records.LOCAL
    with locked(lock_of(output), f"is writing {output}"):
        part, failed = beside(output, "part"), beside(output, "failed")
        part.unlink(missing_ok=True)
        failed.unlink(missing_ok=True)
        if output.exists() and not notebooks.is_done(output, inputs["key"]):
            os.replace(output, beside(output, "old"))
        tables_before = records.run_ids(where)
        began = time.monotonic()
        with _kernel(profile, source.parent, env) as (process, notes):
            session = _Session(name, part, process, timeout_s, cell_timeout_s, progress, began)
            error: BaseException | None = None
            try:
                _execute(notebook, given, kernel, session)
            except (Exception, KeyboardInterrupt) as caught:
                error = caught
            transport = process.transport
            said = None if error is None else _explained(error, session)

        def wrote() -> list[dict]:
            return notebooks.written_since(tables_before, name, where)

        return _finish(
            session, output, error, said, inputs, made_from, wrote, transport, tuple(notes)
        )


def _execute(notebook, parameters, kernel, session) -> None:
    import papermill

    copy = nbformat.from_dict(json.loads(json.dumps(notebook)))
    copy.metadata.pop("papermill", None)
    copy.metadata.get("convcost", {}).pop("run", None)
    copy.metadata["kernelspec"] = {
        "name": kernel,
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
    }
    # papermill adds a second cell of injected parameters where one is left from another run
    copy.cells = [c for c in copy.cells if notebooks.INJECTED_TAG not in notebooks.tags(c)]
    papermill.execute_notebook(
        copy,
        None,  # we write, because papermill's path may hold no braces and its files no half
        parameters=parameters,
        engine_name=_engine(),
        kernel_name=kernel,
        progress_bar=False,
        request_save_on_cell_execute=False,
        session=session,
    )


def _finish(session, output, error, said, inputs, made_from, wrote, transport, notes) -> RunResult:
    """Give the .part file the name it deserves."""
    ran = session.notebook
    part, failed = beside(output, "part"), beside(output, "failed")
    if error is None:
        faults = notebooks.incomplete(ran)
        now = made_from()
        # a set that the run itself fetched may have appeared; nothing else may have changed
        same = {k: v for k, v in now.items() if k not in ("key", "data_sha256")}
        if faults:
            said = f"not whole after the run: {'; '.join(faults[:3])}"
        elif same != {k: inputs[k] for k in same}:
            changed = sorted(k for k in same if same[k] != inputs[k])
            said = f"{', '.join(changed)} changed while it ran: start again"
        else:
            inputs = now
    cells = 0
    if ran is not None:
        cells = sum(
            cell.metadata.get("papermill", {}).get("status") == "completed"
            for _, cell in notebooks.code_cells(ran)
        )
        ran.metadata.setdefault("convcost", {})
    target: Path | None = output if said is None else failed
    if isinstance(error, KeyboardInterrupt):
        target = part  # cut off, not failed
    try:
        if ran is None:
            target = None
            part.unlink(missing_ok=True)
        else:
            if said is None:
                ran.metadata["convcost"]["run"] = {**inputs, "wrote": wrote()}
            else:
                ran.metadata["convcost"]["failure"] = said
            _replace(part, target, ran)
    except OSError as problem:
        if said is None:
            said = f"cannot write {target}: {problem.strerror or problem}"
        target = None
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    if isinstance(error, KeyboardInterrupt):
        raise error
    if said is not None:
        said = (
            f"{session.name} failed {said}"
            if said.startswith(("in ", "before "))
            else (f"{session.name} failed: {said}")
        )
    seconds = time.monotonic() - session.began
    state = "done" if said is None else "failed"
    return RunResult(
        session.name, state, target, seconds, cells, inputs["key"], transport, said, notes
    )
