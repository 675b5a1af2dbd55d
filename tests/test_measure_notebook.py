"""`convcost measure`: parts, minutes, kills, and what is kept of a notebook measured without it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convcost import datasets, sweep
from convcost.application import archive, cli, measure_notebook, notebooks
from convcost.core import machine, paths, registry
from convcost.core.errors import BadInputError
from convcost.records import hosts
from convcost.records.hosts import Host
from convcost.sweep import Budget, Planned
from convcost.sweep.budget import START_S, Pace
from convcost.sweep.unit import Unit
from toy_study import Toy

ROOT = Path(__file__).resolve().parents[1]
TESTS = str(ROOT / "tests")


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RAW", tmp_path / "raw")
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path / "raw" / "runs")
    monkeypatch.syspath_prepend(TESTS)
    monkeypatch.setenv("PYTHONPATH", TESTS)
    return tmp_path / "raw"


@pytest.fixture
def toy(raw, monkeypatch):
    """`measure_notebook` measures a `Toy`."""
    monkeypatch.setattr(measure_notebook, "study", lambda *_, smoke=False: Toy(smoke=smoke))
    return Toy()


# --- budget ----------------------------------------------------------------------------------


def test_a_budget_is_a_number_above_zero():
    for wrong in (0, -1, float("nan"), float("inf"), "5", None):
        with pytest.raises(BadInputError, match="budget"):
            Budget(wrong)


def test_what_units_took_corrects_the_guess_of_the_others():
    done, left = (Unit("f", 1, {"n": n}, None) for n in (1, 2))
    pace = Pace({done: 2.0, left: 10.0}, {}, Budget(100))
    assert pace.factor is None and pace.seconds([left]) == 10.0 and pace.fits(left)
    pace.results[done] = {"status": "done", "seconds": 18.0}
    # nine times as slow as guessed: 9 * 10 s and a start are more than 100 s
    assert pace.factor == 18 / 2 and pace.seconds([left]) == 9 * 10.0
    assert not pace.fits(left) and 90 + START_S >= 100
    # what failed tells nothing
    pace.results[done] = {"status": "failed", "seconds": 18.0}
    assert pace.factor is None


def test_a_unit_that_would_not_be_done_in_time_is_left_and_done_later(raw):
    plan = [{"base": 2, "exponent": e} for e in (1, 2)]
    told = {"folder": raw, "workers": 1, "cost": lambda unit: 3600.0, "progress": None}
    done = sweep.run("toy_study:power", plan, budget=Budget(60), **told)
    assert list(done.units["status"]) == ["left", "left"] and not len(done.rows)
    assert not list(raw.glob("*.json"))
    done = sweep.run("toy_study:power", plan, **told)
    assert list(done.units["status"]) == ["done", "done"]


def test_a_smaller_unit_goes_before_a_larger_one_that_does_not_fit(raw):
    plan = [{"base": 2, "exponent": e} for e in (9, 1)]
    done = sweep.run(
        "toy_study:power", plan, raw, workers=1, progress=None, budget=Budget(60),
        cost=lambda unit: 3600.0 if unit["exponent"] == 9 else 0.1,
    )  # fmt: skip
    assert list(done.units["status"]) == ["left", "done"]


def test_what_is_in_hand_when_the_time_is_up_is_stopped(raw, monkeypatch):
    monkeypatch.setattr("convcost.sweep.budget.START_S", 0.1)
    began = time.monotonic()
    done = sweep.run(
        "toy_study:nap", [{"length_s": 600}], raw, workers=1, progress=None,
        budget=Budget(3), cost=lambda unit: 1.0,
    )  # fmt: skip
    assert list(done.units["status"]) == ["left"] and not list(raw.glob("*.json"))
    assert 3 <= time.monotonic() - began < 15


def test_only_what_is_stored_is_looked_at_and_nothing_done(raw):
    plan = [{"base": 2, "exponent": e} for e in (1, 2)]
    sweep.run("toy_study:power", plan[:1], raw, workers=1, progress=None)
    done = sweep.run("toy_study:power", plan, raw, only_stored=True, progress=None)
    assert list(done.units["status"]) == ["done", "left"] and list(done.rows["value"]) == [2]


def test_an_outlook_counts_and_divides_by_the_workers(raw):
    plan = [{"base": 2, "exponent": e} for e in range(5)]
    planned = Planned(
        "toy_study:power", tuple(plan), raw, cost=lambda unit: 10.0, options={"workers": 2}
    )
    look = planned.outlook()
    assert (look.units, look.done, look.failed, look.known) == (5, 0, 0, False)
    assert look.left_s == 5 * 10.0 / 2
    planned.run(progress=None)
    assert planned.outlook().left_s == 0 and planned.outlook().known


# --- measuring -------------------------------------------------------------------------------


def test_parts_are_done_in_their_order_and_what_does_not_fit_is_left(toy):
    said = []
    lines = measure_notebook.measure("02", "quick", minutes=1, say=said.append)
    by_part = {line.part: line for line in lines}
    assert (by_part["first"].done, by_part["first"].units) == (3 + 3, 3 + 3)
    assert (by_part["second"].done, by_part["second"].units) == (0, 3)
    assert by_part["second"].left_s >= 3 * 3600
    text = "\n".join(said)
    assert text.index("first: power") < text.index("second: power")
    assert "3 left" in text and "180.0 (guess)" in text.replace("180.2", "180.0")


def test_the_next_call_goes_on_and_what_is_done_stays(toy):
    measure_notebook.measure("02", "quick", parts=["first"], say=lambda _: None)
    files = {file: file.stat().st_mtime_ns for file in paths.RAW.rglob("units/**/*.json")}
    assert len(files) == 3 + 3
    lines = measure_notebook.measure("02", "quick", say=lambda _: None)
    assert [line.left for line in lines] == [0, 0, 0]
    assert all(file.stat().st_mtime_ns == then for file, then in files.items())


def test_the_hosts_file_says_what_was_measured_and_how(toy):
    measure_notebook.measure("02", "quick", parts=["first"], say=lambda _: None)
    (host,) = hosts.stored()
    told = host.measured["02-training-time"]
    assert host.here and host.name == machine.slug() and told["profile"] == "quick"
    assert told["parts"]["first"]["done"] == 6 and told["parts"]["second"]["done"] == 0
    assert "sweep/driver.py" in told["code"] and "measure_notebook.py" not in told["code"]


def test_a_unit_that_fails_is_named_and_the_rest_goes_on(raw, monkeypatch, capsys):
    monkeypatch.setattr(
        measure_notebook, "study", lambda *_, smoke=False: Toy(function="odd_power")
    )
    assert cli.main(["measure", "02", "--part", "first"]) == 1
    said = capsys.readouterr().out
    assert "first: failed: ValueError: 0 is even" in said and "1 of 3" not in said
    assert "2 of 6, 4 failed" in said


def test_a_smoke_run_is_kept_apart_and_noted_nowhere(toy):
    measure_notebook.measure("02", "quick", smoke=True, parts=["first"], say=lambda _: None)
    assert len(list(paths.RAW.glob("smoke/**/*.json"))) == 6
    assert not paths.RAW.joinpath("units").exists() and not hosts.stored()
    with pytest.raises(BadInputError, match="no archive"):
        measure_notebook.measure("02", "quick", smoke=True, into=Path("x.tar"))


@pytest.mark.parametrize(
    "words, said",
    [
        (["07"], "no notebook '07' measures: choose one of 02-training-time"),
        (["02", "--profile", "fast"], "unknown profile 'fast': choose one of auto, quick"),
        (["02", "--profile", "quick", "--part", "x"], "no part 'x': choose from table-2, step"),
        (["02", "--profile", "quick", "--minutes", "-1"], "a budget of -60.0 seconds"),
        (["02", "--profile", "quick", "--archive", "x.zip"], "ends in .tar, .tar.gz or .tar.xz"),
        (["02", "--profile", "quick", "--archive", "no/x.tar"], "a folder that is there"),
    ],
)
def test_bad_input_is_refused_with_the_choices(words, said, raw, capsys, no_settings, monkeypatch):
    monkeypatch.setenv("CONVCOST_OFFLINE", "1")
    assert cli.main(["measure", *words]) == 2
    assert said in capsys.readouterr().err
    assert not raw.joinpath("units").exists()


def test_gpu_without_a_gpu_is_refused_also_where_results_of_one_are_here(raw, monkeypatch, capsys):
    facts = machine.describe() | {"gpu": None}
    monkeypatch.setattr(machine, "describe", lambda: facts)
    assert cli.main(["measure", "02", "--profile", "gpu"]) == 2
    assert "profile gpu needs an NVIDIA GPU" in capsys.readouterr().err
    told = {"02-training-time": {"profile": "gpu", "date": "2026-01-01"}}
    hosts.note(Host("nvidia-h100", {"gpu": "NVIDIA H100"}, told))
    assert cli.main(["measure", "02", "--profile", "gpu"]) == 2
    assert "measures on an NVIDIA GPU, and none answers here" in capsys.readouterr().err


def test_every_study_is_named_once():
    for name, chapter in registry.measurable().items():
        assert chapter.part("study").Study.notebook == name
    assert measure_notebook.named("2") == measure_notebook.named("02") == "02-training-time"


def test_the_cards_tell_the_minutes_of_a_gpu(no_network, monkeypatch):
    monkeypatch.delenv("CONVCOST_HOST", raising=False)
    if not all(map(datasets.available, ("mnist", "fashionmnist", "lfw_gender"))):
        pytest.skip("the plans are those of the real data, which are not here")
    host = Host("h100", {"gpu": "NVIDIA H100 80GB HBM3", "cores_usable": 16, "cpu_flags": []})
    for name, chapter in registry.measurable().items():
        study = chapter.part("study").Study("gpu", host=host)
        lines = [line for line in measure_notebook.outlook(study.parts()) if line.units]
        card = notebooks.card(notebooks.read(paths.NOTEBOOKS / f"{name}.ipynb"), name)
        assert list(card.gpu_parts) == [line.part for line in lines]
        for line in lines:
            assert card.gpu_parts[line.part] == pytest.approx(line.left_s / 60, rel=0.1, abs=0.1)
        assert card.minutes["gpu"] == pytest.approx(sum(card.gpu_parts.values()), abs=1)


# --- killed ----------------------------------------------------------------------------------


def test_killed_in_the_middle_it_goes_on_and_gives_the_same(raw, tmp_path):
    """A real command, killed with -9 while it measures; the same command finishes the rest."""
    code = """
import sys
from toy_study import Toy
from convcost.application import cli, measure_notebook
measure_notebook.study = lambda *_, smoke=False: Toy(function="slow_power")
sys.exit(cli.main(sys.argv[1:]))
"""
    target = tmp_path / "a.tar.xz"
    words = ["measure", "02", "--part", "first", "--archive", str(target)]
    command = [sys.executable, "-c", code, *words]
    env = os.environ | {"CONVCOST_ROOT": str(tmp_path), "CONVCOST_RESULTS": str(raw / "runs")}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "lib"), TESTS])
    (tmp_path / "data").mkdir()
    killed = subprocess.Popen(command, env=env, start_new_session=True)
    folder = tmp_path / "data" / "raw" / "units" / "slow_power"
    until = time.monotonic() + 60
    while not list(folder.glob("*.json")):  # one unit is there, the next one under way
        assert killed.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    before = {file.name: file.read_bytes() for file in folder.glob("*.json")}
    assert 0 < len(before) < 3 + 3
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    after = {file.name: file.read_bytes() for file in folder.glob("*.json")}
    assert len(after) == 3 + 3 and not list(folder.glob("*.part"))
    assert all(after[name] == content for name, content in before.items()), "done once"
    values = sorted(row["value"] for c in after.values() for row in json.loads(c)["rows"])
    assert values == sorted(base**exponent for base in (2, 3) for exponent in range(3))
    contents = archive.read(target)[1]
    assert len([name for name in contents if name.startswith("units/")]) == 6
