"""Run one notebook so that a half-run one can never be taken for a done one.

papermill does the running, under the rules of `engine`: the file being written is `X.part.ipynb`,
renamed to `X.ipynb` only when every cell is whole; a failure is kept as `X.failed.ipynb`, what the
user stopped as `X.part.ipynb`; an output of other inputs is set aside as `X.old.ipynb` before the
run begins.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from convcost import records
from convcost.application import notebooks
from convcost.application.engine import Progress, Session, execute, explained
from convcost.application.kernel import running
from convcost.application.notebooks import Scalar
from convcost.application.profiles import PROFILES
from convcost.core import files
from convcost.core.errors import BadInputError, cannot_write, writing
from convcost.core.extras import optional

with optional():
    import nbformat


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


def beside(output: Path, word: str) -> Path:
    """The file of a run that is under way ("part"), went wrong ("failed") or is stale ("old").

    >>> beside(Path("a/b.ipynb"), "part").as_posix()
    'a/b.part.ipynb'
    """
    return output.with_name(f"{output.stem}.{word}{output.suffix}")


@contextlib.contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file, which a killed holder releases. BadInputError where another holds it."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()  # a lock says only that it cannot be had
    busy = BadInputError(f"another process {what}: wait for its end, or stop it and start again")
    with files.locked(path, busy):
        yield


def is_locked(path: Path) -> bool:
    """Whether another holds a lock file now. A lock file that is not there is not made."""
    if not path.exists():
        return False
    try:
        lock = files.claim(path)
    except OSError:
        return True
    if lock is None:
        return True
    lock.release()
    return False


def lock_of(output: Path) -> Path:
    """The lock file of whoever writes an output."""
    return output.with_name(f".{output.stem}.lock")


def run_notebook(
    source: Path | str,
    output: Path | str,
    parameters: Mapping[str, Scalar] | None = None,
    *,
    profile: str,
    timeout_s: float | None = None,
    cell_timeout_s: float | None = None,
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
        with running(profile, source.parent, env) as (process, notes):
            session = Session(name, part, process, timeout_s, cell_timeout_s, progress, began)
            error: BaseException | None = None
            try:
                execute(notebook, given, session)
            except (Exception, KeyboardInterrupt) as caught:
                error = caught
            said = "" if error is None else explained(error, session)
        ran = session.notebook
        if error is None:
            # a set that the run itself fetched may have appeared: what counts is what was there
            now = made_from()
            said = _judged(ran, inputs, now)
            inputs = inputs if said else now
        target = failed if said else output
        if isinstance(error, KeyboardInterrupt):
            target = part  # cut off, not failed
        told = {"failure": said}
        if not said:
            told = {"run": inputs | {"wrote": notebooks.written_since(tables_before, name, where)}}
        lost = _kept(ran, part, target, told)
    if isinstance(error, KeyboardInterrupt):
        raise error
    return RunResult(
        name,
        "failed" if said or lost else "done",
        None if lost or ran is None else target,
        time.monotonic() - began,
        _completed(ran),
        inputs["key"],
        process.transport,
        _named(name, said or lost),
        tuple(notes),
    )


def _judged(ran: nbformat.NotebookNode, before: dict, after: dict) -> str:
    """Why a run without an error does not count, from its inputs before and after; "" if it does.

    Nothing but the data may have changed: a set that the run itself has fetched.
    """
    if faults := notebooks.incomplete(ran):
        return f"not whole after the run: {'; '.join(faults[:3])}"
    changed = [k for k in sorted(after) if after[k] != before[k]]
    changed = [k for k in changed if k not in ("key", "data_sha256")]
    return f"{', '.join(changed)} changed while it ran: start again" if changed else ""


def _kept(ran: nbformat.NotebookNode | None, part: Path, target: Path, told: dict) -> str:
    """Write what has run, with what is told of it, and give it its name; why not, or "".

    To the disk itself first, then the name in one step. Of what never began, nothing is left.
    """
    try:
        if ran is None:
            part.unlink(missing_ok=True)
            return ""
        ran.metadata.setdefault("convcost", {}).update(told)
        with open(part, "w", encoding="utf-8") as file:
            file.write(nbformat.writes(ran))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        return str(cannot_write(error, target))
    return ""


def _completed(ran: nbformat.NotebookNode | None) -> int:
    """How many code cells have run to their end."""
    cells = [cell for _, cell in notebooks.code_cells(ran)] if ran else []
    return sum(cell.metadata.get("papermill", {}).get("status") == "completed" for cell in cells)


def _named(name: str, said: str) -> str | None:
    if not said:
        return None
    return f"{name} failed{'' if said.startswith(('in ', 'before ')) else ':'} {said}"
