"""What goes wrong for real: killed runners, dead kernels, hanging cells, full disks."""

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from convcost.application import cli, notebooks, runner
from convcost.core import paths
from convcost.core.errors import BadInputError
from small_notebooks import write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

CELLS = 5
FIRST = """
import os, subprocess, sys, time
from pathlib import Path
child = subprocess.Popen(["sleep", "600"])
far = subprocess.Popen(["sleep", "600"], start_new_session=True)
seen = Path(os.environ["SEEN"])
folder = os.environ["IPYTHONDIR"]
(seen / "pids").write_text(f"{os.getpid()} {child.pid} {far.pid} {folder}")
"""


def slow_notebook(path):
    """Five cells of 0.3 s that leave a mark each, a kernel with two children."""
    marks = [f"(seen / 'cell-{i}').touch()\ntime.sleep(0.3)" for i in range(1, CELLS + 1)]
    return write(path, FIRST, *marks, "child.kill(); far.kill()")


# A kernel that is slow to end, so that what watches over it (once a second) sees it dead.
SLOW_END = """
import asyncio, sys
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from convcost.application import cli
end = NotebookClient._async_cleanup_kernel
async def slowly(client):
    await end(client)
    await asyncio.sleep(1.1)
NotebookClient._cleanup_kernel = run_sync(slowly)
sys.exit(cli.main())
"""


def start(source, folder, program):
    """The command `run` in an interpreter of its own, which ends as one does."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", program, "run", str(source), "--profile", "quick"]
    return subprocess.Popen(
        [*command, "-o", str(folder / source.name)],
        env=os.environ | {"SEEN": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path, process=None, seconds=60):
    """Until a file is there; fails where its writer ends before, or takes too long."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} did not appear"
        assert process is None or process.poll() is None, process.stdout.read()
        time.sleep(0.01)


def alive(pid):
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def assert_nothing_survives(folder):
    """The kernel, its children and its socket folder are gone, within seconds."""
    if not (folder / "pids").exists():
        return
    *pids, place = (folder / "pids").read_text().split()
    until = time.monotonic() + 8
    while time.monotonic() < until:
        left = [pid for pid in pids if alive(int(pid))]
        if not left and not Path(place).parent.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"processes {left} or {place} are left")


def assert_not_done(output, key):
    for path in output.parent.glob("*.ipynb"):
        assert not notebooks.is_done(path, key), path
    assert not output.exists()


def key_of(source):
    return notebooks.inputs(notebooks.read(source), {"profile": "quick"}, "quick")["key"]


def _same_library():
    """Whoever edits the library while the tests run would stop them, rightly."""
    return "0" * 64


def run_in_child(source, folder):
    """What a child process does that is to be killed."""
    os.environ["SEEN"] = str(folder)
    notebooks._library_sha256 = _same_library
    result = runner.run_notebook(source, folder / source.name, profile="quick")
    sys.exit(0 if result.ok else 1)


def run_with_small_files(source, folder):
    """The command, where the system refuses every file above 64 KB; all it says into a file."""
    import resource

    with (folder / "log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, 64 * 1024))
    output = str(folder / source.name)
    sys.exit(cli.main(["run", str(source), "--profile", "quick", "-o", output]))


def hold(lock, folder):
    """Take a lock and keep it."""
    with runner.locked(lock, "works"):
        (folder / "held").touch()
        time.sleep(60)


@pytest.fixture(scope="module")
def child():
    """Starts a function in a process of its own; the imports are done once, in the server that
    forks the children."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["convcost.application.reproduce", "papermill"])
    started = []

    def begin(function, source, folder):
        folder.mkdir(parents=True, exist_ok=True)
        process = context.Process(target=function, args=(source, folder))
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()


def test_killed_at_any_moment_nothing_counts_as_done_and_nothing_survives(
    tmp_path, child, monkeypatch
):
    """Four runs at the same time, each killed with -9 at another moment; a fifth goes through."""
    monkeypatch.setattr(notebooks, "_library_sha256", _same_library)
    source = slow_notebook(tmp_path / "01-x.ipynb")
    moments = ["01-x.part.ipynb", "cell-1", "cell-3", f"cell-{CELLS}", None]
    runs = [(m, tmp_path / f"run-{i}") for i, m in enumerate(moments)]
    processes = [child(run_in_child, source, folder) for _, folder in runs]
    waiting = [(p, m, f) for p, (m, f) in zip(processes, runs, strict=True) if m]
    until = time.monotonic() + 90
    while waiting and time.monotonic() < until:
        for entry in list(waiting):
            process, moment, folder = entry
            if (folder / moment).exists():
                process.kill()
                waiting.remove(entry)
            assert process.exitcode in (None, -signal.SIGKILL)
        time.sleep(0.005)
    assert waiting == []
    key = key_of(source)
    for process, (moment, folder) in zip(processes, runs, strict=True):
        process.join(timeout=60)
        if moment:
            assert process.exitcode == -signal.SIGKILL
            assert_not_done(folder / source.name, key)
        else:
            assert process.exitcode == 0
            assert notebooks.is_done(folder / source.name, key)
        assert_nothing_survives(folder)


def test_ctrl_c_stops_cleanly_and_nothing_counts_as_done(tmp_path):
    source = slow_notebook(tmp_path / "01-x.ipynb")
    folder = tmp_path / "run"
    process = start(source, folder, SLOW_END)
    wait_for(folder / "cell-2", process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert "convcost run: stopped" in said and "Traceback" not in said
    assert "never retrieved" not in said
    assert_not_done(folder / source.name, key_of(source))
    assert_nothing_survives(folder)
    assert not (folder / "01-x.failed.ipynb").exists()  # it was cut off, and did not fail
    kept = notebooks.read(folder / "01-x.part.ipynb")
    assert kept.metadata.convcost.failure == "in cell 5 of 9: stopped by the user"
    assert [f"cell {n} has not been run" in notebooks.incomplete(kept) for n in (6, 7, 8)] == [
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            "os.kill(os.getpid(), 9)",
            "the kernel died: it was killed by a signal, SIGKILL, from outside; ",
        ),
        ("os._exit(9)", "it ended with exit status 9, which a cell or its code asked for"),
    ],
)
def test_a_dead_kernel_is_reported_and_nothing_hangs(tmp_path, monkeypatch, cell, said):
    monkeypatch.setenv("SEEN", str(tmp_path))
    source = write(tmp_path / "01-x.ipynb", FIRST, "time.sleep(0.6)", cell, "x = 1")
    output = tmp_path / "out" / "01-x.ipynb"
    began = time.monotonic()
    result = runner.run_notebook(source, output, profile="quick", timeout_s=120)
    assert time.monotonic() - began < 30
    assert "01-x failed in cell 5 of 6: the kernel died" in result.error
    if "out-of-memory killer" not in result.error:  # which may strike others at that moment
        assert said in result.error
    assert "while the machine had at least " in result.error
    assert result.error.endswith("tart again")
    assert_not_done(output, result.key)
    *pids, place = (tmp_path / "pids").read_text().split()
    assert not alive(int(pids[0])) and not alive(int(pids[1]))
    assert not Path(place).parent.exists()
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(pids[2]), signal.SIGKILL)  # in a session of its own: out of any reach


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"timeout_s": 3}, "the notebook's limit is 3 s"),
        ({"cell_timeout_s": 0.5, "timeout_s": 600}, "a cell's limit is 0.5 s"),
    ],
)
def test_a_cell_over_the_limit_is_stopped(tmp_path, monkeypatch, limits, said):
    monkeypatch.setenv("SEEN", str(tmp_path))
    # a cell that Ctrl-C does not stop, either
    hang = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(60)"
    source = write(tmp_path / "01-x.ipynb", FIRST, hang, "x = 1")
    output = tmp_path / "out" / "01-x.ipynb"
    began = time.monotonic()
    result = runner.run_notebook(source, output, profile="quick", **limits)
    assert time.monotonic() - began < 20
    assert result.error.startswith("01-x failed in cell 4 of 5: stopped, it ran too long; ")
    assert said in result.error
    assert_not_done(output, result.key)
    assert_nothing_survives(tmp_path)


def test_a_full_disk_is_a_clear_error(tmp_path, child):
    """The third code cell prints 200 KB."""
    source = write(tmp_path / "01-x.ipynb", "x = 1", "print('x' * 200_000)", "y = 1")
    process = child(run_with_small_files, source, tmp_path / "out")
    process.join(timeout=60)
    said = (tmp_path / "out" / "log").read_text()
    assert process.exitcode == 1, said
    assert re.search(r"01-x failed in cell 4 of 5: .*\.ipynb cannot be written \(File too", said)
    assert "name another place, or look what is in the way" in said
    assert "nothing was written" in said and "Traceback" not in said
    assert sorted(p.name for p in (tmp_path / "out").glob("*.ipynb")) == []


def test_a_kernel_that_cannot_start_is_a_clear_error(tmp_path):
    broken = tmp_path / "broken" / "ipykernel_launcher.py"
    broken.parent.mkdir()
    broken.write_text("raise SystemExit('no kernel today')")
    source = write(tmp_path / "01-x.ipynb", "x = 1")
    library = paths.LIBRARY.parent
    result = runner.run_notebook(
        source,
        tmp_path / "out" / "01-x.ipynb",
        profile="quick",
        env={"PYTHONPATH": os.pathsep.join([str(broken.parent), str(library)])},
    )
    assert "the kernel did not start" in result.error
    assert "no kernel today" in result.error
    assert_not_done(tmp_path / "out" / "01-x.ipynb", result.key)


def test_a_killed_holder_releases_the_lock(tmp_path, child):
    lock = tmp_path / ".lock"
    holder = child(hold, lock, tmp_path)
    wait_for(tmp_path / "held")
    with pytest.raises(BadInputError, match="another process works"), runner.locked(lock, "works"):
        pass
    holder.kill()
    holder.join()
    with runner.locked(lock, "works"):
        pass
