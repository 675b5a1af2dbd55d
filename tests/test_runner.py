"""Running one notebook in a real kernel: what it is given, what it leaves, what is refused."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest

from convcost.application import cli, engine, kernel, notebooks, runner
from convcost.core import paths
from convcost.core.errors import BadInputError
from small_notebooks import notebook, write


@pytest.fixture(autouse=True)
def same_library(monkeypatch):
    """Whoever edits the library while the tests run would stop them, rightly."""
    monkeypatch.setattr(notebooks, "_library_sha256", lambda: "0" * 64)


def stream(path, name="stdout"):
    """All that the cells of an executed notebook wrote to one stream."""
    made = notebooks.read(path)
    outputs = [o for _, cell in notebooks.code_cells(made) for o in cell.outputs]
    return "".join(o.text for o in outputs if o.output_type == "stream" and o.name == name)


def files(folder):
    """Names of the files that a user sees."""
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_a_run_from_end_to_end(tmp_path, monkeypatch):
    """Parameters, profile, own interpreter despite a hijacker, output, events, nothing left."""
    hijacker = tmp_path / "share" / "kernels" / "python3"
    hijacker.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "stale", "language": "python"}
    (hijacker / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("print('a start-up file of the user ran')")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    source = write(
        tmp_path / "in" / "01-x.ipynb",
        "import json, os, sys, warnings\nimport convcost",
        "warnings.warn('mind the gap')",
        "seen = [sys.executable, convcost.__file__, os.getcwd(), profile, batch, rate]",
        "seen += [os.environ.get(k) for k in ('CONVCOST_PROFILE', 'EXTRA')]",
        "print(json.dumps([*seen, os.environ['IPYTHONDIR'], os.environ['MPLBACKEND']]))",
    )
    before = source.read_bytes()
    output = tmp_path / "out" / "01-x.ipynb"
    output.parent.mkdir()
    output.write_text("made from other inputs")
    events = []
    result = runner.run_notebook(
        source,
        output,
        {"batch": 8, "rate": 2},
        profile="quick",
        progress=events.append,
        env={"EXTRA": "yes"},
    )
    assert result.error is None
    assert (result.state, result.path, result.cells) == ("done", output, 7)
    assert result.transport == ("ipc" if sys.platform != "win32" else "tcp")

    seen = json.loads(stream(output))
    library = paths.LIBRARY / "__init__.py"
    assert seen[:3] == [sys.executable, str(library), str(source.parent)]
    assert seen[3:8] == ["quick", 8, 2.0, "quick", "yes"]
    assert not Path(seen[8]).exists()  # the kernel's own folder, gone with it
    assert "inline" in seen[9]
    assert "mind the gap" in stream(output, "stderr")

    assert files(output.parent) == ["01-x.ipynb", "01-x.old.ipynb"]
    assert output.with_name("01-x.old.ipynb").read_text() == "made from other inputs"
    assert source.read_bytes() == before
    done = notebooks.read(output)
    run = done.metadata.convcost.run
    assert run.key == result.key and notebooks.is_done(output, result.key)
    assert run.parameters == {"batch": 8, "profile": "quick", "rate": 2.0}
    assert run.notebook_sha256 == notebooks.source_sha256(notebooks.read(source))
    assert (done.metadata.kernelspec.name, done.metadata.convcost.title) == (
        "python3",
        "A small notebook",
    )
    assert [(e.cell, e.cells, e.state) for e in events] == [
        (i, 7, state) for i in range(1, 8) for state in ("running", "completed")
    ]
    counts = [cell.execution_count for _, cell in notebooks.code_cells(done)]
    assert counts == [1, 2, 3, 4, 5, 6, 7]


def test_a_failing_cell_keeps_the_older_output_of_the_same_inputs(tmp_path):
    source = write(
        tmp_path / "01-x.ipynb",
        "import os",
        "print('about to')\nif os.environ.get('FAIL'):\n    1 / 0",
        "never = 'reached'",
    )
    output = tmp_path / "out" / "01-x.ipynb"
    good = runner.run_notebook(source, output, profile="quick")
    assert good.ok, good.error
    whole = output.read_bytes()
    bad = runner.run_notebook(source, output, profile="quick", env={"FAIL": "1"})
    assert not bad.ok
    assert bad.error == (
        "01-x failed in cell 4 of 5: ZeroDivisionError: division by zero (at `1 / 0`)"
    )
    assert files(output.parent) == ["01-x.failed.ipynb", "01-x.ipynb"]
    assert output.read_bytes() == whole and notebooks.is_done(output, bad.key)

    kept = notebooks.read(bad.path)
    assert bad.path.name == "01-x.failed.ipynb"
    assert "about to" in stream(bad.path)
    assert "in cell 4 of 5: ZeroDivisionError" in kept.metadata.convcost.failure
    assert not notebooks.is_done(bad.path, bad.key)
    states = [c.metadata.papermill.status for c in kept.cells]
    assert states == ["completed"] * 4 + ["failed", "pending"]  # with the injected cell
    bad.path.rename(output)  # even under the right name
    assert not notebooks.is_done(output, bad.key)


def test_streams_are_joined_in_linear_time():
    def stream_output(name, text):
        return nbformat.v4.new_output("stream", name=name, text=text)

    picture = nbformat.v4.new_output("display_data", data={"text/plain": "a figure"})
    pieces = [
        picture,
        stream_output("stderr", "10%\r"),
        stream_output("stdout", "one\r\nt"),
        stream_output("stderr", "20%\r100%\n"),
        picture,
        stream_output("stdout", "wo\n"),
    ]
    joined = engine.joined_streams(pieces)
    assert joined == [
        picture,
        stream_output("stdout", "one\ntwo\n"),
        stream_output("stderr", "100%\n"),
        picture,
    ]
    assert engine.joined_streams([picture]) == [picture]
    long = stream_output("stdout", "x" * 5_000_000)
    began = time.monotonic()
    assert engine.joined_streams([long, long])[0].text == "x" * 10_000_000
    assert time.monotonic() - began < 5  # nbclient's joining takes hours


def test_tags_let_no_error_through_and_exit_is_a_failure(tmp_path):
    made = notebook("1 / 0", "import sys; sys.exit()")
    made.cells[2].metadata["tags"] = ["raises-exception"]
    source = tmp_path / "01-x.ipynb"
    nbformat.write(made, source)
    result = runner.run_notebook(source, tmp_path / "out" / "x.ipynb", profile="quick")
    assert "in cell 3 of 4: ZeroDivisionError" in result.error
    del made.cells[2]
    nbformat.write(made, source)
    result = runner.run_notebook(source, tmp_path / "out" / "x.ipynb", profile="quick")
    assert "in cell 3 of 3: SystemExit" in result.error


def test_a_library_of_another_place_is_refused(tmp_path):
    other = tmp_path / "other" / "convcost"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    source = write(tmp_path / "01-x.ipynb", "x = 1")
    result = runner.run_notebook(
        source,
        tmp_path / "out" / "01-x.ipynb",
        profile="quick",
        env={"PYTHONPATH": str(other.parent)},
    )
    assert not result.ok and result.cells == 0
    assert str(other) in result.error and "must be the same" in result.error


def test_inputs_that_change_under_way_make_it_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "PUBLISHED", tmp_path / "published")
    paths.PUBLISHED.mkdir()
    source = write(
        tmp_path / "01-x.ipynb", "import pathlib", "pathlib.Path('published/a.csv').touch()"
    )
    result = runner.run_notebook(source, tmp_path / "out" / "01-x.ipynb", profile="quick")
    assert result.error == ("01-x failed: published_sha256 changed while it ran: start again")
    assert files(tmp_path / "out") == ["01-x.failed.ipynb"]


def test_tcp_where_sockets_in_a_folder_are_not_possible(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "_socket_fits", lambda folder: False)
    source = write(tmp_path / "{01}-x.ipynb", "x = 1")  # braces are nothing special
    result = runner.run_notebook(source, tmp_path / "{out}" / "{01}-x.ipynb", profile="quick")
    assert result.ok, result.error
    assert result.transport == "tcp" and "TCP" in result.notes[0]
    assert result.path == tmp_path / "{out}" / "{01}-x.ipynb"


@pytest.mark.skipif(sys.platform == "win32", reason="no sockets in folders")
def test_a_long_temporary_folder_still_gives_a_short_socket(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder, transport, notes = kernel._socket_folder()
    try:
        assert (transport, notes) == ("ipc", [])
        assert len(os.fsencode(folder)) < 90
        assert list(long.iterdir()) == []
        assert folder.stat().st_mode & 0o077 == 0  # nobody else's business
    finally:
        folder.rmdir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"parameters": {"bacth": 8}}, "did you mean 'batch'"),
        ({"parameters": {"batch": "8"}}, "takes int"),
        ({"parameters": {"profile": "gpu"}}, "the run's profile 'quick'"),
        ({"profile": "auto"}, "unknown profile 'auto'"),
        ({"output": "in"}, "must be another file"),
        ({"output": "a.txt"}, "must be another file"),
    ],
)
def test_refusals_leave_nothing(tmp_path, arguments, said):
    source = write(tmp_path / "in.ipynb", "x = 1")
    options = {"output": tmp_path / "out" / "in.ipynb", "parameters": {}, "profile": "quick"}
    options |= arguments
    if arguments.get("output"):
        options["output"] = source.with_name(arguments["output"])
        options["output"] = source if arguments["output"] == "in" else options["output"]
    with pytest.raises(BadInputError) as caught:
        runner.run_notebook(source, **options)
    assert said in str(caught.value)
    assert files(tmp_path) == ["in.ipynb"]


def test_an_output_that_another_run_writes_is_refused(tmp_path):
    source = write(tmp_path / "01-x.ipynb", "x = 1")
    output = tmp_path / "out" / "01-x.ipynb"
    with (
        runner.locked(output.with_name(".01-x.lock"), "is writing it"),
        pytest.raises(BadInputError, match="another process is writing"),
    ):
        runner.run_notebook(source, output, profile="quick")
    assert files(output.parent) == []


HELD = "; it held 1.5 GiB at the last look, 2.5 GiB at most, while the machine had at least "
ADVICE = ". Close other programs, take a smaller profile or a machine with more memory. Then start"


@pytest.fixture
def dead(tmp_path, monkeypatch):
    """A kernel that held 2.5 GiB at most of a machine's 16."""
    monkeypatch.setattr(kernel.machine, "ram_bytes", lambda: 2**34)
    made = kernel.Kernel(tmp_path, "ipc", {}, tmp_path, None, tmp_path / "kernel.log")
    made.rss, made.peak_rss, made.least_available = 3 << 29, 5 << 29, 2**28
    return made


@pytest.mark.parametrize(
    ("status", "free_bytes", "said"),
    [
        (-9, 2**28, "it was killed by a signal, SIGKILL, from outside; probably out of memory"
         f"{HELD}256.0 MiB free{ADVICE} again"),
        (-9, 21 * 2**30, "it was killed by a signal, SIGKILL, from outside; memory was not short"
         f"{HELD}21.0 GiB free. Start again"),
        (-11, 21 * 2**30, "it was killed by a signal, SIGSEGV, as a crash in compiled code does; "
         f"memory was not short{HELD}21.0 GiB free. Start again"),
        (9, 2**28, "it ended with exit status 9, which a cell or its code asked for"
         f"{HELD}256.0 MiB free{ADVICE} again"),
        (9, 21 * 2**30, f"it ended with exit status 9, which a cell or its code asked for{HELD}"
         "21.0 GiB free. Start again"),
    ],
)  # fmt: skip
def test_an_obituary_names_the_signal_and_memory_only_where_it_was_short(
    dead, status, free_bytes, said
):
    dead.exit_status, dead.least_available = status, free_bytes
    assert dead.obituary() == said


def test_memory_is_short_too_where_a_container_is_full_or_the_system_has_killed(dead, monkeypatch):
    dead.exit_status, dead.least_available = -9, 21 * 2**30
    monkeypatch.setattr(kernel.machine, "ram_bytes", lambda: 3 * 2**30)  # 2.5 of 3 GiB
    assert "probably out of memory" in dead.obituary()
    monkeypatch.setattr(kernel.machine, "ram_bytes", lambda: 2**34)
    dead._kills_before -= 1
    assert dead.obituary().startswith("out of memory: the system's out-of-memory killer struck")
    assert dead.obituary().endswith(f"{ADVICE} again")


def test_an_obituary_has_the_last_words(dead):
    dead.log.write_text("one\ntwo\nMemoryError: no more\n")
    assert "; its last words: one / two / MemoryError: no more. Close" in dead.obituary()


# --- python -m convcost run ---


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "EXECUTED_NOTEBOOKS", tmp_path / "build")
    write(paths.NOTEBOOKS / "01-x.ipynb", "print(batch)", "assert rate < 1")
    assert cli.main(["run", "01", "-p", "batch=8", "--profile", "quick"]) == 0
    output = paths.EXECUTED_NOTEBOOKS / "01-x.custom.ipynb"
    assert stream(output) == "8\n"
    said = capsys.readouterr().out
    assert "cell 4 of 4 completed" in said and "done in" in said
    assert cli.main(["run", "1", "-p", "rate=3", "--profile", "quick"]) == 1
    assert "01-x failed in cell 4 of 4: AssertionError" in capsys.readouterr().out
    for arguments, said in (
        (["01", "-p", "batch=x"], "takes int, not 'x'"),
        (["01", "-p", "bach=1"], "did you mean 'batch'"),
        (["02"], "no notebook '02': choose from 01-x"),
        (["none.ipynb"], "choose from 01-x"),
        (["01", "--timeout", "0"], "--timeout takes seconds above 0"),
        (["01", "--profile", "slow"], "unknown profile 'slow'"),
    ):
        assert cli.main(["run", *arguments]) == 2
        assert said in capsys.readouterr().err
