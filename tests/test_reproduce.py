"""The main job: selection, plan, resumption, failures, progress, publishing."""

import contextlib
import io
import multiprocessing
import os
import shutil
import signal
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell

from convcost import records
from convcost.application import cli, hygiene, notebooks, publish, reproduce, runner
from convcost.core import paths
from convcost.core.errors import BadInputError
from small_notebooks import notebook, write


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Folders of a repository of one's own: notebooks/, build/notebooks/."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "EXECUTED_NOTEBOOKS", tmp_path / "build" / "notebooks")
    monkeypatch.delenv("CONVCOST_PROFILE", raising=False)
    # whoever edits the library while the tests run would stop them, rightly
    monkeypatch.setattr(notebooks, "_library_sha256", lambda: "0" * 64)
    return tmp_path


def three(house, seconds=0):
    """Three notebooks; the second fails while a file is missing, the third takes its time."""
    write(paths.NOTEBOOKS / "00-start-here.ipynb", "print(profile)", reads_runs=True)
    fails = "import pathlib\nassert pathlib.Path('mended').exists(), 'not mended'"
    write(paths.NOTEBOOKS / "01-flop-counting.ipynb", fails)
    write(
        paths.NOTEBOOKS / "02-training-time.ipynb",
        f"import time\ntime.sleep({seconds})\nprint(batch)",
    )


# --- selection ---


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (None, "00 01 02"),
        ("", "00 01 02"),
        ("all", "00 01 02"),
        ("01", "01"),
        ("1", "01"),
        ("2,0", "00 02"),
        ("01-flop-counting", "01"),
        ("01-flop-counting.ipynb, 01", "01"),
    ],
)
def test_select(house, wanted, numbers):
    three(house)
    assert [p.stem[:2] for p in reproduce.select(wanted)] == numbers.split()


@pytest.mark.parametrize("wanted", ["03", "01,07", "flop", "01-flop"])
def test_an_unknown_notebook_is_refused_with_the_known_ones(house, wanted):
    three(house)
    with pytest.raises(BadInputError, match="choose from 00-start-here, 01-flop-counting, 02-tr"):
        reproduce.select(wanted)


def test_no_notebooks_at_all(house):
    with pytest.raises(BadInputError, match="there is no notebook in"):
        reproduce.select("01")


# --- plan ---


def test_plan_says_what_will_be_done_and_touches_nothing(house):
    three(house)
    write(paths.NOTEBOOKS / "03-relu-zero-rates.ipynb", "x = 1", datasets=["digits"])
    write(paths.NOTEBOOKS / "04-complexity-precision.ipynb", "x = 1", ram_gb="much")
    (paths.NOTEBOOKS / "05-accuracy-and-run-time.ipynb").write_text("{")
    before = sorted(house.rglob("*"))
    plan = reproduce.plan("cpu")
    assert sorted(house.rglob("*")) == before
    assert [(p.name[:2], p.state, p.expected_s) for p in plan.notebooks] == [
        ("01", "to run", 60),
        ("02", "to run", 60),
        ("03", "to run", 60),
        ("04", "broken", 0),
        ("05", "broken", 0),
        ("00", "to run", 60),  # last: it shows what the others wrote
    ]
    text = plan.text()
    assert "data     digits: embedded, 1797 images" in text
    assert "\n04-complexity-precision: its card is wrong" in text
    assert "about 0:04:00 (h:mm:ss) to go" in text
    assert "hours, resumable" in text


def test_profile_of_a_plan(house, monkeypatch):
    three(house)
    from convcost.core import machine

    described = machine.describe()
    monkeypatch.setattr(machine, "describe", lambda: described | {"gpu": None})
    plan = reproduce.plan("auto", "02")
    assert (plan.asked, plan.profile) == ("auto", "quick")
    assert "quick (auto)" in plan.text()
    with pytest.raises(BadInputError, match="needs an NVIDIA GPU"):
        reproduce.plan("gpu")
    monkeypatch.setattr(machine, "describe", lambda: described | {"gpu": "NVIDIA H200"})
    assert reproduce.plan("auto").profile == "gpu"
    with pytest.raises(BadInputError, match="unknown profile 'fast'"):
        reproduce.plan("fast")


# --- run ---


def test_one_failure_stops_nothing_and_a_second_start_runs_only_the_rest(house, capsys):
    three(house)
    assert cli.main(["reproduce", "--profile", "quick"]) == 1
    said = capsys.readouterr().out
    assert said.index("machine ") < said.index("begins")  # the plan comes first
    assert "\n01-flop-counting failed in cell 3 of 3: AssertionError: not mended" in said
    assert "01-flop-counting: 01-flop-counting" not in said
    assert "not done: 01-flop-counting; start again" in said
    built = paths.EXECUTED_NOTEBOOKS
    assert sorted(p.name for p in built.glob("*.ipynb")) == [
        "00-start-here.ipynb",
        "01-flop-counting.failed.ipynb",
        "02-training-time.ipynb",
    ]
    plan = reproduce.plan("quick")
    assert [p.state for p in plan.notebooks] == ["to run", "done", "done"]
    assert "it failed before" in plan.text()
    assert reproduce.plan("cpu", "02").notebooks[0].reason == (
        "the output there was made from other inputs"
    )

    (paths.NOTEBOOKS / "mended").touch()
    before = (built / "02-training-time.ipynb").read_bytes()
    assert cli.main(["reproduce", "--profile", "quick"]) == 0
    said = capsys.readouterr().out
    assert "all done" in said and said.count("already done") == 2
    assert "look at them in build/notebooks/: make lab" in said
    assert said.count("begins") == 1
    assert (built / "02-training-time.ipynb").read_bytes() == before
    assert cli.main(["reproduce", "--profile", "quick", "--plan"]) == 0
    assert "nothing to run" in capsys.readouterr().out

    assert cli.main(["reproduce", "--profile", "quick", "--force", "--notebook", "02"]) == 0
    assert (built / "02-training-time.ipynb").read_bytes() != before


def test_progress_lines_without_a_terminal(house):
    three(house, seconds=0.6)
    out = io.StringIO()
    outcomes = reproduce.run(reproduce.plan("quick", "02"), out=out, every_s=0.1)
    assert [o.state for o in outcomes] == ["done"]
    lines = [line for line in out.getvalue().splitlines() if "elapsed" in line]
    assert sum("its kernel is starting" in line for line in lines) >= 1
    running = [line for line in lines if "cell 3 of 3" in line]
    assert len(running) >= 3  # 0.6 s of sleep, a line every 0.1 s
    assert "about 0:00:0" in running[0] and "left (all notebooks: about 0:00:0" in running[0]


def test_a_broken_notebook_is_a_failure_among_others(house):
    three(house)
    (paths.NOTEBOOKS / "01-flop-counting.ipynb").write_text("{")
    out = io.StringIO()
    outcomes = reproduce.run(reproduce.plan("quick", "1,2"), out=out)
    assert [(o.name[:2], o.state) for o in outcomes] == [("01", "failed"), ("02", "done")]
    assert out.getvalue().count("is not a notebook") == 2  # at once, and in the table's end
    assert "is not a notebook" in outcomes[0].error


def test_two_at_once_in_one_folder_are_refused(house, capsys):
    three(house)
    plan = reproduce.plan("quick", "02")
    output = plan.notebooks[0].output
    with runner.locked(plan.folder / ".reproduce.lock", "reproduces"):
        with pytest.raises(BadInputError, match="another process reproduces into"):
            reproduce.run(plan, out=io.StringIO())
        assert cli.main(["reproduce", "--profile", "quick", "--notebook", "02"]) == 2
        said = capsys.readouterr()
        assert said.out == "" and "another process reproduces into" in said.err
    runner.beside(output, "part").touch()
    with runner.locked(runner.lock_of(output), "writes"):
        assert reproduce.plan("quick", "02").notebooks[0].reason == (
            "another process is running it now"
        )
    assert reproduce.plan("quick", "02").notebooks[0].reason == "a run of it was cut off"


def test_a_data_folder_that_does_not_exist_is_named_once_and_first(house, monkeypatch, capsys):
    three(house)
    monkeypatch.setenv("CONVCOST_DATA", str(house / "tpyo"))
    assert cli.main(["reproduce", "--plan", "--profile", "quick"]) == 0
    said = capsys.readouterr().err
    assert f"CONVCOST_DATA names a folder that does not exist: {house / 'tpyo'}" in said
    assert said.count("tpyo") == 1 and "downloaded" in said
    monkeypatch.setenv("CONVCOST_DATA", str(house))
    assert cli.main(["reproduce", "--plan", "--profile", "quick"]) == 0
    assert capsys.readouterr().err == ""


def set_up(house):
    """The library looks for everything in a folder, and takes itself for unchanged."""
    paths.ROOT = house
    paths.NOTEBOOKS = house / "notebooks"
    paths.EXECUTED_NOTEBOOKS = house / "build" / "notebooks"
    notebooks._library_sha256 = lambda: "0" * 64


def reproduce_in_child(house, log):
    """What a child process does that is to be stopped: the command, all it says into a file."""
    set_up(house)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(cli.main(["reproduce", "--profile", "quick"]))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_and_interrupted_reproduce_resumes(house):
    """Ctrl-C in the second notebook, -9 in it, then through: the first runs once."""
    mark = "import os, pathlib, time\npathlib.Path(f'ran-{os.getpid()}').touch()"
    slow = "for i in range(40):\n    time.sleep(0.1)\n    if os.path.exists('fast'): break"
    write(paths.NOTEBOOKS / "00-start-here.ipynb", mark)
    write(paths.NOTEBOOKS / "01-flop-counting.ipynb", mark + "\npathlib.Path('in').touch()", slow)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["convcost.application.reproduce", "papermill"])
    log = house / "log"
    marker = paths.NOTEBOOKS / "in"
    output = paths.EXECUTED_NOTEBOOKS / "01-flop-counting.ipynb"

    for sent, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9), (None, 0)):
        process = context.Process(target=reproduce_in_child, args=(house, log))
        process.start()
        until = time.monotonic() + 60
        while not marker.exists() and process.is_alive() and time.monotonic() < until:
            time.sleep(0.02)
        assert marker.exists(), log.read_text()
        if sent:
            os.kill(process.pid, sent)
        else:
            (paths.NOTEBOOKS / "fast").touch()
        process.join(timeout=60)
        said = log.read_text()
        assert process.exitcode == status, said
        assert "Traceback" not in said and "never retrieved" not in said
        assert output.exists() == (sent is None)
        assert runner.beside(output, "part").exists() == (sent is not None)
        assert not runner.beside(output, "failed").exists()
        assert ("a run of it was cut off" in said) == (sent != signal.SIGINT)  # the one before
        if sent == signal.SIGINT:
            assert "01-flop-counting  not run" in said and "stopped" in said
        if sent is None:
            assert "00-start-here     already done" in said and "all done" in said
        marker.unlink()
    assert len(list(paths.NOTEBOOKS.glob("ran-*"))) == 1 + 3


# --- done means that the tables are there, too ---

WRITES = (
    "from convcost import records\n"
    "run = records.start_run('01-flop-counting', profile)\n"
    "run.write('net_facts', [{'fact': 'x', 'value': 1.0, 'detail': ''}])\n"
    "run.write('parameter_counts', [{'net': 'a', 'params': 1, 'how': 'traced'}])"
)


@pytest.fixture
def own_runs(house, monkeypatch):
    """A folder for one's own results, for this process and for kernels."""
    folder = house / "runs"
    monkeypatch.setenv("CONVCOST_RESULTS", str(folder))
    monkeypatch.setattr(paths, "LOCAL_RESULTS", folder)
    write(paths.NOTEBOOKS / "01-flop-counting.ipynb", WRITES)
    return folder


def _planned():
    (planned,) = reproduce.plan("quick", "01").notebooks
    return planned.state, planned.reason


def test_done_means_that_the_tables_of_the_run_are_there_and_whole(own_runs, capsys):
    assert reproduce.main_job("quick", "01")[0].state == "done", capsys.readouterr().out
    assert _planned() == ("done", "")
    output = paths.EXECUTED_NOTEBOOKS / "01-flop-counting.ipynb"
    (wrote,) = notebooks.read(output).metadata.convcost.run.wrote
    assert wrote["tables"] == ["net_facts", "parameter_counts"] and wrote["where"] == "local"
    (table,) = own_runs.rglob("net_facts.csv")
    folder, (record,) = table.parent, table.parent.glob("runs/*.json")
    assert (folder.name, record.stem) == (wrote["machine"], wrote["run_id"])

    kept = folder.parent / "kept"
    shutil.copytree(folder, kept)
    for damage, said in (
        (lambda: table.write_bytes(table.read_bytes()[:-3]), "net_facts.csv is not the file"),
        (table.unlink, "net_facts.csv is missing, which run"),
        (record.unlink, "its run record is missing"),
        ((folder / "manifest.json").unlink, "manifest.json is missing"),
        (lambda: shutil.rmtree(folder), "no local run has written table 'net_facts'"),
        (_another_run, f"table net_facts of its run {record.stem} was replaced by run 01-quick"),
    ):
        damage()
        state, reason = _planned()
        assert state == "to run", said
        assert reason.startswith("it was run, but its tables are not as it wrote them: ")
        assert said in reason
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)
        assert _planned() == ("done", "")

    # what `claims` advises, helps: the damaged table is made again, once
    table.write_bytes(table.read_bytes()[:-3])
    shutil.rmtree(kept)
    assert cli.main(["claims", "--notebook", "00"]) == 1  # of one notebook: quicker
    assert str(table) in capsys.readouterr().err
    assert reproduce.main_job("quick", "01")[0].state == "done"
    assert reproduce.main_job("quick", "01")[0].state == "already done"
    assert records.faults("local") == [] and cli.main(["claims"]) == 0
    assert reproduce.plan("quick", "01", force=True).notebooks[0].state == "to run"


def _another_run():
    records.start_run("01-flop-counting", "quick").write(
        "net_facts", [{"fact": "x", "value": 2.0, "detail": ""}]
    )


# --- publish ---


def argument(*code):
    made = notebook(*code, parameters='profile = "auto"')
    made.cells[1:1] = [new_markdown_cell("## Question")]
    made.cells += [new_markdown_cell("## Verdict"), new_markdown_cell("## Exercises")]
    return made


def test_reference_publishes_outputs_and_nothing_of_the_run(house, capsys):
    paths.NOTEBOOKS.mkdir()
    path = paths.NOTEBOOKS / "01-flop-counting.ipynb"
    made = argument(
        "from convcost.core.paths import os\n"  # hygiene lets nothing but the library in
        "print(*(os.environ[f'CONVCOST_{k}'] for k in ('REFERENCE', 'COMMAND')), profile)",
        "6 * 7",
    )
    made.metadata["papermill"] = {"left": "over"}
    made.cells[3].metadata["execution"] = {"left": "over"}
    nbformat.write(made, path)
    asked = ["reproduce", "--reference", "--profile", "cpu", "--notebook", "01"]
    assert cli.main(asked) == 0, capsys.readouterr().out
    assert hygiene.check(path) == []
    there = notebooks.read(path)
    assert [c.id for c in there.cells] == [c.id for c in made.cells]
    assert [c.source for c in there.cells] == [c.source for c in made.cells]
    code = [cell for _, cell in notebooks.code_cells(there)]
    assert [c.execution_count for c in code] == [1, 2, 3]
    assert code[1].outputs[0].text == (
        "1 python -m convcost reproduce --profile cpu --notebook 01-flop-counting --reference cpu\n"
    )
    assert code[2].outputs[0].execution_count == 3
    assert code[2].outputs[0].data["text/plain"] == "42"
    assert "papermill" not in path.read_text() and "left" not in path.read_text()
    assert there.metadata.convcost.reference.profile == "cpu"
    assert "version" not in there.metadata.language_info

    published = path.read_bytes()
    assert cli.main(asked) == 0
    assert path.read_bytes() == published  # done already, and published the same again
    assert reproduce.plan("cpu", "01").notebooks[0].state == "to run"  # not a user's own run


def test_a_path_of_this_machine_is_not_published(house, capsys):
    paths.NOTEBOOKS.mkdir()
    path = paths.NOTEBOOKS / "01-flop-counting.ipynb"
    nbformat.write(
        argument("from convcost.application import cli\nprint(cli.sys.executable)"), path
    )
    before = path.read_bytes()
    asked = ["reproduce", "--reference", "--profile", "quick", "--notebook", "01"]
    assert cli.main(asked) == 1
    said = capsys.readouterr().out
    assert "not published" in said and "a path of one machine" in said
    assert path.read_bytes() == before


def test_published_refuses_another_notebook(house):
    source = argument("x = 1")
    with pytest.raises(Exception, match="is not the source's"):
        publish.published(argument("x = 2"), source, "quick")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar(house):
    three(house)
    out = Terminal()
    with contextlib.redirect_stdout(out):
        reproduce.run(reproduce.plan("quick", "02"))
    assert "\r" in out.getvalue() and "cell 3 of 3" in out.getvalue()
    assert "02-training-time: done in" in out.getvalue()
