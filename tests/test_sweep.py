"""Sweeps: nothing done twice, nothing lost, whatever is killed, damaged, slow or full."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest

import sweep_functions
from convcost import sweep
from convcost.core import machine
from convcost.core.errors import BadInputError, ConvcostError
from convcost.sweep.driver import Progress
from convcost.sweep.store import Store
from convcost.sweep.unit import Unit, provenance, units

POWERS = "sweep_functions:powers"
TESTS = str(Path(__file__).parent)
HELD = "sweep_functions:held"
WAYWARD = "sweep_functions:wayward"


@pytest.fixture(autouse=True)
def traces(tmp_path, monkeypatch):
    """Where the functions leave their traces."""
    folder = tmp_path / "traces"
    folder.mkdir()
    monkeypatch.setenv("TRACES", str(folder))
    return folder


def calls(traces: Path) -> Counter:
    """How often each word was traced; their files are removed."""
    found = Counter(path.name.split(",")[0] for path in traces.glob("*,*"))
    for path in traces.glob("*,*"):
        path.unlink()
    return found


def numbers(*values) -> list[dict]:
    return [{"n": n} for n in values]


def swept(plan, folder, function=POWERS, **more) -> sweep.Sweep:
    return sweep.run(function, plan, folder, **{"workers": 2, "progress": None, **more})


def statuses(done: sweep.Sweep, column: str) -> dict:
    return done.units.set_index(column).status.to_dict()


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    children = process.children(recursive=True)
    return [child for child in children if "convcost.sweep.worker" in child.cmdline()]


def driver(folder: Path, function: str, count: int) -> subprocess.Popen:
    """Another driver with one worker: a script without a main guard; its last line is JSON."""
    code = (
        f"import json, sys\nsys.path.append({TESTS!r})\nfrom convcost import sweep\n"
        f"plan = [{{'n': n}} for n in range({count})]\n"
        "done = sweep.run(sys.argv[1], plan, sys.argv[2], workers=1)\n"
        "print(json.dumps([done.rows.values.tolist(), done.units.reused.tolist()]))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, function, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- what comes out --------------------------------------------------------------------------


def test_rows_and_units_in_the_order_of_the_plan(tmp_path, traces):
    plan = [{"n": 3, "up_to": 3}, {"n": 2}, {"n": 5, "up_to": 0}]
    done = swept(plan, tmp_path / "one", workers=1)
    expected = [(3, 3.0, 1, 3), (3, 3.0, 2, 9), (3, 3.0, 3, 27), (2, None, 1, 2), (2, None, 2, 4)]
    frame = pd.DataFrame(expected, columns=["n", "up_to", "power", "value"])
    pd.testing.assert_frame_equal(done.rows, frame)
    assert done.units.n.tolist() == [3, 2, 5]
    assert done.units.key.tolist() == [unit.key for unit in units(POWERS, plan, None)]
    assert set(done.units.status) == {"done"} and not done.units.reused.any()
    assert done.units[["reason", "set_aside"]].isna().all(axis=None)
    assert (done.units.seconds > 0).all() and set(done.units.machine) == {machine.slug()}
    assert calls(traces) == {"powers 3": 1, "powers 2": 1, "powers 5": 1}

    other = swept(plan, tmp_path / "three", workers=3, cost=lambda c: c["n"])
    pd.testing.assert_frame_equal(other.rows, done.rows)
    assert workers_of(psutil.Process()) == []
    names = sorted(path.name for path in (tmp_path / "three").iterdir())
    assert names == sorted(f"{key}.json" for key in done.units.key)  # and no locks
    record = json.loads((tmp_path / "three" / names[0]).read_bytes())
    assert record["threads"] == 1 and record["versions"]["pandas"] == pd.__version__
    assert record["arithmetic"] is None  # nobody loaded torch
    assert record["function"] == POWERS and record["date"].endswith("+00:00")


def test_how_torch_is_set_is_asked_for_every_unit(monkeypatch):
    """The first unit may load torch, and each may set it."""
    for said in (None, {"cudnn_tf32": True}, {"cudnn_tf32": False}):
        monkeypatch.setattr(machine, "arithmetic", lambda said=said: said)
        assert provenance()["arithmetic"] == said


def test_only_what_is_not_there_is_done(tmp_path, traces):
    swept(numbers(1, 2), tmp_path)
    assert calls(traces) == {"powers 1": 1, "powers 2": 1}
    again = swept(numbers(3, 2, 1), tmp_path)
    assert calls(traces) == {"powers 3": 1}
    assert again.units.reused.tolist() == [False, True, True]
    assert again.rows.value.tolist() == [3, 9, 2, 4, 1, 1]
    swept(numbers(1), tmp_path, data={"images": "ab12"})
    assert calls(traces) == {"powers 1": 1}
    swept(numbers(1.0), tmp_path)  # an integer and a float are two configurations
    assert calls(traces) == {"powers 1.0": 1}
    lines = []
    assert swept(numbers(3, 1), tmp_path, progress=lines.append).units.reused.all()
    assert calls(traces) == {} and lines == []


def test_the_key_knows_everything_that_a_result_depends_on():
    base = {"function": POWERS, "code": "a1", "configuration": {"n": 1, "m": "a"}, "data": None}
    changes = [
        {}, {"function": WAYWARD}, {"data": {}},
        {"configuration": {"n": 1}}, {"configuration": {"n": True, "m": "a"}},
        {"configuration": {"n": [1], "m": "a"}},
    ]  # fmt: skip
    asked = {Unit(**(base | change)).key[:48] for change in changes}
    assert len(asked) == len(changes)
    keys = [Unit(**(base | {"code": code})).key for code in ("a1", "a2", None)]
    assert len({key[:48] for key in keys}) == 1 and len({key[48:] for key in keys}) == 3
    assert {len(key) for key in keys} == {64}
    assert Unit(**(base | {"configuration": {"m": "a", "n": 1}})).key == Unit(**base).key


@pytest.mark.parametrize(
    ("function", "plan", "more", "words"),
    [
        ("nowhere:powers", numbers(1), {}, "'nowhere' cannot be imported"),
        ("sweep_functions:power", numbers(1), {}, "'sweep_functions' has no function 'power'"),
        ("sweep_functions", numbers(1), {}, 'as "package.module:function"'),
        ("__main__:f", numbers(1), {}, "module of its own"),
        (POWERS, [], {}, "plan is empty"),
        (POWERS, numbers(1, 2, 1), {}, r"unit 3 of the plan, n=1 \(.{8}\), is in it twice"),
        (POWERS, [{"n": 1}, {"m": 1}], {}, r"unit 2 of .*\(n, up_to=2\): missing .* 'n'"),
        (POWERS, [{"n": float("nan")}], {}, "unit 1 of the plan: .* plain numbers"),
        (POWERS, [{"n": Path()}], {}, "unit 1 of the plan: .* plain numbers"),
        (POWERS, [3], {}, "give a dict"),
        (POWERS, numbers(1), {"data": {"images": b"1"}}, "data: .* plain"),
        ("builtins:dict", [{"n": 1, "key": 2}], {}, "has key, a name of ours"),
        (POWERS, numbers(1), {"workers": 0}, "workers is 0"),
        (POWERS, numbers(1), {"threads": 1.5}, "threads is 1.5"),
        (POWERS, numbers(1), {"attempts": True}, "attempts is True"),
        (POWERS, numbers(1), {"timeout_s": 0}, "timeout_s is 0"),
        (POWERS, numbers(1), {"cost": lambda c: 0}, "cost says 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    tmp_path, traces, function, plan, more, words
):
    with pytest.raises(BadInputError, match=words):
        swept(plan, tmp_path / "results", function, **more)
    assert not (tmp_path / "results").exists() and calls(traces) == {}


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="file/results cannot be made"):
        swept(numbers(1), tmp_path / "file" / "results")


def test_a_function_of_the_running_script_is_refused(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from convcost import sweep\ndef f(n): return []\nsweep.run('script:f', [{'n': 1}], 'out')"
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 1 and "is in the running script" in ran.stderr


def test_a_module_is_found_from_where_the_driver_has_it(tmp_path, monkeypatch):
    """In a package in a folder that only this process's sys.path knows."""
    inner = tmp_path / "place" / "deep_package" / "inner"
    inner.mkdir(parents=True)
    (inner / "__init__.py").write_text("from .there import f")
    (inner / "there.py").write_text("def f(n): return [{'twice': 2 * n}]")
    monkeypatch.syspath_prepend(tmp_path / "place")
    for name in ("deep_package.inner:f", "deep_package.inner.there:f"):
        assert swept(numbers(4), tmp_path / "out", name).rows.twice.tolist() == [8]


def test_threads_and_numbers_of_numpy(tmp_path):
    rows = swept(numbers(7), tmp_path, "sweep_functions:threads", threads=3).rows
    assert rows.to_dict("records") == [{"n": 7, "omp": "3", "number": 7, "half": 0.5}]


def test_workers_are_light():
    """They load torch and pandas where their function does, and not before."""
    code = "import sys, convcost.sweep.worker; print({'torch', 'pandas'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


# --- units that go wrong ---------------------------------------------------------------------


def test_every_way_to_go_wrong_is_a_status(tmp_path, traces):
    ways = {
        "raises": ("failed", "ValueError: no such net"),
        "returns a dict": ("failed", "BadInputError: it returned dict"),
        "returns a number": ("failed", "BadInputError: it returned int"),
        "returns a list in a row": ("failed", "BadInputError: a row has list under 'loss'"),
        "returns another how": ("failed", "BadInputError: a row has how = 'other'"),
        "returns a huge number": ("failed", "ValueError: Exceeds the limit"),
        "leaves": ("failed", "SystemExit: wrong option"),
        "kills": ("failed", "its process ended with signal 9; tried 2 times"),
        "exits": ("failed", "its process ended with exit code 7; tried 2 times"),
        "diverges": ("diverged", "loss above 1e9"),
        "not a number": ("diverged", "loss is nan"),
        "well": ("done", None),
    }
    plan, lines = [{"how": how} for how in ways], []
    done = swept(plan, tmp_path, WAYWARD, attempts=2, progress=lines.append)
    assert statuses(done, "how") == {how: status for how, (status, _) in ways.items()}
    reasons = done.units.set_index("how").reason.dropna()
    assert list(reasons.index) == [how for how, (_, reason) in ways.items() if reason]
    for how, reason in reasons.items():
        assert reason.startswith(ways[how][1])
    assert list(done.rows.itertuples(index=False, name=None))[:2] == [
        ("diverges", 3.0),
        ("not a number", 3.0),
    ]
    assert done.rows.loss.isna().tolist() == [False, False, True, False]
    assert "12 of 12 units (2 diverged, 9 failed)" in lines[-1]
    assert sum("signal 9; done again" in line for line in lines) == 1
    assert calls(traces) == {how: 2 if how in ("kills", "exits") else 1 for how in ways}

    again = swept(plan, tmp_path, WAYWARD, attempts=1)  # failures are tried again, results stand
    assert calls(traces) == {how: 1 for how, (status, _) in ways.items() if status == "failed"}
    assert statuses(again, "how") == statuses(done, "how")


def test_a_unit_that_takes_too_long_is_stopped(tmp_path, traces):
    plan = [{"how": "sleeps"}, {"how": "well"}]
    done = swept(plan, tmp_path, WAYWARD, workers=1, timeout_s=0.5)
    assert statuses(done, "how") == {"sleeps": "timed out", "well": "done"}
    assert done.units.reason[0] == "stopped after 0.5 s" and done.units.seconds[0] > 0.5
    assert workers_of(psutil.Process()) == [] and calls(traces) == {"sleeps": 1, "well": 1}
    assert swept(plan, tmp_path, WAYWARD, timeout_s=0.4).units.reused.all()
    longer = swept(plan, tmp_path, WAYWARD, timeout_s=60)
    assert statuses(longer, "how") == {"sleeps": "done", "well": "done"}
    assert calls(traces) == {"sleeps": 1, "woke": 1}


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_a_unit_may_fork(tmp_path, traces):
    """The worker's thread that waits for the next task must not hold what the child closes."""
    done = swept(numbers(1, 2), tmp_path, "sweep_functions:forked", workers=1)
    assert done.rows.exitcode.tolist() == [0, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("fresh", [True, False])
def test_a_process_of_its_own_for_each_unit(tmp_path, traces, fresh):
    """Memory refused to one unit, another killed: with `fresh` the others do not notice."""
    plan = numbers(0, 2, 1, 3)
    done = swept(plan, tmp_path, "sweep_functions:limited", workers=1, attempts=1, fresh=fresh)
    assert workers_of(psutil.Process()) == []
    processes = {path.name.split(",")[1] for path in traces.iterdir()}
    assert calls(traces) == {f"limited {n}": 1 for n in range(4)}
    # without, unit 2 inherits the limit of unit 0; unit 1 takes the process and its limit along
    refused = [0] if fresh else [0, 2]
    reasons = done.units.set_index("n").reason
    assert [n for n in (0, 1, 2, 3) if statuses(done, "n")[n] == "failed"] == sorted([*refused, 1])
    assert all(reasons[n].startswith("MemoryError") for n in refused)
    assert reasons[1] == "its process ended with signal 9"
    assert done.rows.n.tolist() == ([2, 3] if fresh else [3])
    assert set(done.rows.bytes) == {2**30} and len(processes) == (4 if fresh else 2)


FULL = f"""
import resource, sys
from convcost import sweep
sys.path.append({TESTS!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
plan = [{{"how": how}} for how in ("well", "long", "fine")]
sweep.run("{WAYWARD}", plan, "results", workers=1)
"""


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, traces):
    """The operating system refuses to write more than 8 kB; of three units one needs 20."""
    ran = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, cwd=tmp_path)
    plan = [{"how": how} for how in ("well", "long", "fine")]
    _, long, _ = units(WAYWARD, plan, None)
    assert ran.returncode == 1
    assert f"{long.key}.json cannot be written ([Errno 27] File too large)" in ran.stderr
    assert len(list((tmp_path / "results").iterdir())) == 1  # nothing half-written, no lock
    calls(traces)
    done = swept(plan, tmp_path / "results", WAYWARD)
    assert done.units.reused.tolist() == [True, False, False]
    assert calls(traces) == {"long": 1, "fine": 1} and set(done.units.status) == {"done"}


def test_workers_that_cannot_start_are_an_error_with_their_last_words(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'convcost.sweep.worker' in sys.orig_argv: sys.exit('no such library')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConvcostError, match=r"no worker can be started: .*\(.*no such library\)"):
        swept(numbers(1, 2), tmp_path / "results")
    assert list((tmp_path / "results").iterdir()) == []


# --- files -----------------------------------------------------------------------------------


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content.replace(b'"value": 4', b'"value": 5')


@pytest.mark.parametrize("damage", [truncated, flipped, lambda content: b"", lambda content: b"[]"])
def test_a_damaged_result_is_set_aside_and_done_again(tmp_path, traces, damage):
    first = swept(numbers(1, 2, 3), tmp_path)
    path = tmp_path / f"{first.units.key[1]}.json"
    content = damage(path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    calls(traces)
    lines = []
    again = swept(numbers(1, 2, 3), tmp_path, progress=lines.append)
    assert calls(traces) == {"powers 2": 1}
    pd.testing.assert_frame_equal(again.rows, first.rows)
    assert again.units.reused.tolist() == [True, False, True]
    assert again.units.set_aside.dropna().to_dict() == {1: f"{path.name}.damaged-1"}
    assert (tmp_path / f"{path.name}.damaged-1").read_bytes() == content
    assert f"{path.name} is not the file that was written; kept as" in lines[0]
    path.write_bytes(content)
    assert swept(numbers(2), tmp_path).units.set_aside.tolist() == [f"{path.name}.damaged-2"]


def test_the_result_of_another_unit_is_not_taken(tmp_path, traces):
    first, second = swept(numbers(1, 2), tmp_path).units.key
    (tmp_path / f"{second}.json").write_bytes((tmp_path / f"{first}.json").read_bytes())
    lines = []
    assert swept(numbers(2), tmp_path, progress=lines.append).rows.value.tolist() == [2, 4]
    assert "is the result of another unit" in lines[0]


# --- kills, and two at a time ----------------------------------------------------------------


def test_a_worker_killed_in_mid_unit_costs_that_unit_only(tmp_path, traces):
    lines = []

    def watch(line):
        lines.append(line)
        if found := list(traces.glob("began 3,*")):
            if not (traces / "go").exists():
                psutil.Process(int(found[0].name.split(",")[1])).kill()
                (traces / "go").touch()

    done = swept(
        numbers(*range(6)), tmp_path / "out", "sweep_functions:held", progress=watch, every_s=0
    )
    assert done.rows.value.tolist() == list(range(6)) and set(done.units.status) == {"done"}
    assert [line for line in lines if "done again" in line] == [
        f"n=3 ({done.units.key[3][:8]}): its process ended with signal 9; done again"
    ]
    expected = {f"{word} {n}": 1 for word in ("began", "ended") for n in range(6)}
    assert calls(traces) == {**expected, "began 3": 2}


def test_a_driver_killed_loses_nothing_that_was_finished(tmp_path, traces):
    folder = tmp_path / "out"
    running = driver(folder, "sweep_functions:held", 6)
    sweep_functions.wait_for(lambda: list(traces.glob("began 3,*")) or running.poll() is not None)
    assert running.poll() is None
    (one,) = workers_of(psutil.Process(running.pid))
    running.kill()
    running.communicate()
    one.wait(10)  # nobody is left to work for
    stored = list(folder.glob("*.json"))
    assert len(stored) == 3
    (unit,) = units("sweep_functions:held", numbers(3), None)
    assert (folder / f".{unit.key}.lock").exists()  # and the claim has died with its driver
    (folder / f".{unit.key}.json.77.part").write_bytes(b"left by a driver that was writing")

    (traces / "go").touch()
    done = swept(numbers(*range(6)), folder, "sweep_functions:held")
    assert done.units.reused.tolist() == [True] * 3 + [False] * 3
    assert done.rows.value.tolist() == list(range(6))
    expected = {f"{word} {n}": 1 for word in ("began", "ended") for n in range(6)}
    assert calls(traces) == {**expected, "began 3": 2}
    assert sorted(folder.iterdir()) == sorted(folder.glob("*.json"))


def test_an_interrupt_ends_the_workers(tmp_path, traces):
    def interrupt(line):
        if list(traces.glob("began 3,*")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swept(numbers(*range(6)), tmp_path, "sweep_functions:held", progress=interrupt, every_s=0)
    assert workers_of(psutil.Process()) == []
    assert list(tmp_path.glob(".*.lock")) == []


def test_two_drivers_share_a_folder_and_do_nothing_twice(tmp_path, traces):
    drivers = [driver(tmp_path / "out", "sweep_functions:together", 12) for _ in range(2)]
    told = [one.communicate(timeout=120) for one in drivers]
    assert [one.returncode for one in drivers] == [0, 0], told
    (first, mine), (second, theirs) = (json.loads(out.splitlines()[-1]) for out, _ in told)
    assert first == second == [[n, n] for n in range(12)]
    assert [a != b for a, b in zip(mine, theirs, strict=True)] == [True] * 12
    assert 0 < sum(mine) < 12
    assert calls(traces) == {f"together {n}": 1 for n in range(12)}


@pytest.mark.parametrize("finishes", [True, False])
def test_what_another_driver_has_in_hand_is_waited_for(tmp_path, traces, finishes):
    """It stores its result, which is taken; or it dies, and the unit is done here."""
    other = Store(tmp_path)
    (unit,) = units(POWERS, numbers(1), None)
    assert other.claim(unit)
    waited = []

    def watch(line):
        if "2 of 3" in line and not waited:
            waited.append(line)
            if finishes:
                rows = [{"power": 0, "value": 1}]
                outcome = {"status": "done", "rows": rows, "reason": None, "seconds": 1.0}
                other.write(unit, outcome | provenance())
            other.release(unit)

    done = swept(numbers(1, 2, 3), tmp_path, progress=watch, every_s=0)
    assert done.units.reused.tolist() == [finishes, False, False]
    assert done.rows.value.tolist() == ([1] if finishes else [1, 1]) + [2, 4, 3, 9]
    assert calls(traces)["powers 1"] == (0 if finishes else 1)
    assert sorted(tmp_path.glob(".*")) == []


# --- how long it takes -----------------------------------------------------------------------


def test_dear_units_come_first(tmp_path, traces):
    swept(numbers(2, 5, 3), tmp_path, workers=1, cost=lambda configuration: configuration["n"])
    begun = sorted(traces.iterdir(), key=lambda path: int(path.name.split(",")[2]))
    assert [path.name.split(",")[0] for path in begun] == ["powers 5", "powers 3", "powers 2"]


def test_the_time_left_is_that_of_the_longest_worker():
    """2 s per cost: b has 3 * 2 - 5 = 1 s to go, then d's 2 s; the other worker has c's 4 s."""
    results = {}
    ledger = SimpleNamespace(results=results, reused={"old"})
    executor = SimpleNamespace(count=2, began=0.0, in_hand=lambda: [("b", 5.0)])
    costs = {"old": 100.0, "a": 2.0, "z": 4.0, "b": 3.0, "d": 1.0, "c": 2.0}
    progress = Progress("f", ledger, costs, executor)
    results["old"] = {"status": "done", "seconds": 1.0}
    results["a"] = {"status": "done", "seconds": 5.0}
    assert progress.left_s() is None
    assert progress.text() == "f: 2 of 6 units, too early to say how long it takes"
    results["z"] = {"status": "diverged", "seconds": 7.0}
    assert progress.left_s() == max(2 * 2, 1 + 2)
    assert progress.text().endswith("units a minute, about 0.1 min left")
    costs["e"] = 5.0  # the dearest of those that wait goes to whoever is free: 10 s
    assert progress.left_s() == max(5 * 2, 1 + 2 * 2 + 1 * 2)


def test_units_may_be_done_in_this_process(tmp_path, traces):
    """Units done here are stored, resumed and told as those of workers are."""
    plan, told = [{"n": n} for n in (2, 3)], {"data": {"x": 1}, "progress": None}
    done = sweep.run("sweep_functions:powers", plan, tmp_path / "a", here=True, **told)
    assert list(done.rows["value"]) == [2, 4, 3, 9] and not done.units["reused"].any()
    assert {path.name.split(",")[1] for path in traces.iterdir()} == {str(os.getpid())}
    again = sweep.run("sweep_functions:powers", plan, tmp_path / "a", workers=2, **told)
    assert again.units["reused"].all() and len(list(traces.iterdir())) == 2
    odd = [{"how": "raises"}]
    failed = sweep.run("sweep_functions:wayward", odd, tmp_path / "b", here=True, **told)
    assert list(failed.units["reason"]) == ["ValueError: no such net"]
    assert sweep.expected_data() is None, "as it was before"
