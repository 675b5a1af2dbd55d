"""papermill under our rules: every cell that counts as completed has run, and to its end.

The kernel is one of ours (`kernel`), whatever is installed under "python3"; output is put in one
order, limits of time hold for the whole and for a cell, and what went wrong is said once, in words.
"""

import ast
import asyncio
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from convcost.application import notebooks
from convcost.application.kernel import Kernel
from convcost.core import paths
from convcost.core.errors import ConvcostError, cannot_write
from convcost.core.extras import optional

with optional():
    import nbformat

START_TIMEOUT_S = 120  # a cold disk and a busy machine included
_OUTPUT_TIMEOUT_S = 60  # for the last output of a cell, once the cell has ended


@dataclass(frozen=True)
class Progress:
    """Where a run is: told at the start and at the end of every cell of the notebook's own."""

    notebook: str
    cell: int  # from 1 and text cells included, as a reader counts: the injected one is left out
    cells: int
    state: str  # "running", "completed" or "failed"
    seconds: float  # since the run began


class _NotebookError(ConvcostError):
    """The notebook could not be run to its end; the text is for the user."""


@dataclass
class Session:
    """One run under way."""

    name: str
    part: Path
    kernel: Kernel
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


def explained(error: BaseException, session: Session) -> str:
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
        return f"{place}: the kernel died: {session.kernel.obituary()}"
    if isinstance(error, KeyboardInterrupt):
        return f"{place}: stopped by the user"
    if isinstance(error, OSError):
        return f"{place}: {cannot_write(error, error.filename or session.part)}"
    if session.index is None:
        tail = session.kernel.log_tail()
        return f"the kernel did not start: {error}" + (f" ({tail})" if tail else "")
    return f"{place}: {type(error).__name__}: {error}"


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


def execute(notebook: nbformat.NotebookNode, parameters: dict, session: Session) -> None:
    """Run a copy of a notebook by papermill; `session.notebook` is it, as far as it came."""
    import papermill

    copy = nbformat.from_dict(json.loads(json.dumps(notebook)))
    copy.metadata.pop("papermill", None)
    copy.metadata.get("convcost", {}).pop("run", None)
    copy.metadata["kernelspec"] = {
        "name": "python3",
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
        kernel_name="python3",
        progress_bar=False,
        request_save_on_cell_execute=False,
        session=session,
    )
