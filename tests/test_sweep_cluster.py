"""Sweeps on a Dask cluster: real schedulers and workers on loopback, and what kills them."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import distributed
import pandas as pd
import psutil
import pytest

import sweep_functions
from convcost import sweep
from convcost.core import machine
from convcost.core.errors import BadInputError, ConvcostError
from convcost.sweep import cluster
from test_sweep import HELD, POWERS, TESTS, WAYWARD, calls, numbers, statuses

TOLD = "sweep_functions:told"
FEW = numbers(2, 3, 4)  # of `held`: the first is done at once, the others wait
LIBRARY = Path(cluster.__file__).parents[2]


class Cluster:
    """A scheduler and its workers, each a process of `dask`, all files in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.traces = folder / "traces"
        self.traces.mkdir()
        self.processes: list[subprocess.Popen] = []

    def __enter__(self) -> "Cluster":
        told = self.folder / "scheduler.json"
        self.scheduler = self.started("scheduler", "--port", "0", "--scheduler-file", told)
        sweep_functions.wait_for(lambda: told.exists() and told.read_text().endswith("}"))
        self.address = json.loads(told.read_text())["address"]
        return self

    def started(self, *words, path: Path | None = None) -> subprocess.Popen:
        shared = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
        folders = os.pathsep.join(map(str, filter(None, (path, LIBRARY))))
        environment = {**os.environ, "TRACES": str(self.traces), "PYTHONPATH": folders}
        number = len(self.processes)
        with (self.folder / f"log-{number}").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words, *shared],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.folder,
            )
        self.processes.append(process)
        return process

    def worker(self, *words, path: Path | None = None) -> subprocess.Popen:
        """One more, for one unit at a time; `path` comes first in its search for modules."""
        words = ("--nthreads", "1", "--no-nanny", "--local-directory", self.folder, *words)
        return self.started("worker", self.address, *words, path=path)

    def __exit__(self, *_) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A scheduler and two workers, which the tests leave as they are."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        for _ in range(2):
            running.worker()
        yield running


@pytest.fixture
def own(tmp_path):
    """A scheduler to be killed."""
    (tmp_path / "cluster").mkdir()
    with Cluster(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
def traces(shared):
    calls(shared.traces)
    (shared.traces / "go").unlink(missing_ok=True)
    return shared.traces


def swept(plan, folder, on: Cluster, function=POWERS, **more) -> sweep.Sweep:
    more = {"scheduler": on.address, "progress": None, "every_s": 0, **more}
    return sweep.run(function, plan, folder, **more)


def unit_process(traces: Path, n: int) -> psutil.Process:
    """The last process that began unit `n` of `held`."""
    (*_, last) = sorted(traces.glob(f"began {n},*"), key=lambda path: path.name.split(",")[2])
    return psutil.Process(int(last.name.split(",")[1]))


# --- what comes out --------------------------------------------------------------------------


def test_a_cluster_gives_what_this_machine_gives(tmp_path, shared, traces):
    plan, data = [{"n": n} for n in (3, 2, 5)], {"images": "ab12"}
    local = sweep.run(TOLD, plan, tmp_path / "local", data=data, threads=3, progress=None)
    remote = swept(plan, tmp_path / "remote", shared, TOLD, data=data, threads=3, fresh=True)
    stable = ["n", "omp", "images"]
    pd.testing.assert_frame_equal(remote.rows[stable], local.rows[stable])
    assert set(remote.rows.images) == {"ab12"} and set(remote.rows.omp) == {"3"}
    # a process for each unit, at the two workers
    workers = {process.pid for process in shared.processes[1:3]}
    assert remote.rows.pid.nunique() == 3 and set(remote.rows.parent) <= workers
    kept = swept(plan, tmp_path / "kept", shared, TOLD, data=data)  # one waits for the next unit
    assert kept.rows.pid.nunique() == 2 and not any(map(psutil.pid_exists, kept.rows.pid))
    again = swept(plan, tmp_path / "local", shared, TOLD, data=data)  # the executor is in no key
    assert again.units.reused.all()
    names = sorted(path.name for path in (tmp_path / "remote").iterdir())
    assert names == sorted(f"{key}.json" for key in local.units.key)
    record = json.loads((tmp_path / "remote" / names[0]).read_bytes())
    assert record["machine"] == machine.slug() and record["threads"] == 3


def test_every_way_to_go_wrong_is_a_status(tmp_path, shared, traces):
    ways = {
        "raises": ("failed", "ValueError: no such net"),
        "kills": ("failed", "its process ended with signal 9; tried 2 times"),
        "diverges": ("diverged", "loss above 1e9"),
        "not a number": ("diverged", "loss is nan"),
        "sleeps": ("timed out", "stopped after 0.5 s"),
        "well": ("done", None),
    }
    plan, lines = [{"how": how} for how in ways], []
    more = {"attempts": 2, "timeout_s": 0.5, "progress": lines.append}
    done = swept(plan, tmp_path, shared, WAYWARD, **more)
    assert statuses(done, "how") == {how: status for how, (status, _) in ways.items()}
    reasons = done.units.set_index("how").reason.dropna().to_dict()
    assert reasons == {how: reason for how, (_, reason) in ways.items() if reason}
    assert done.rows.how.tolist() == ["diverges", *["not a number"] * 2, "well"]
    assert set(done.units.machine) == {machine.slug()} and (done.units.seconds > 0).all()
    assert sum("signal 9; done again" in line for line in lines) == 1
    assert calls(traces) == {how: 1 + (how == "kills") for how in ways}
    again = swept(plan, tmp_path, shared, WAYWARD, attempts=1, timeout_s=0.5)
    assert calls(traces) == {"raises": 1, "kills": 1}  # failures are tried again, results stand
    assert statuses(again, "how") == statuses(done, "how")


def test_a_resource_is_a_limit_and_a_unit_is_claimed_when_it_can_begin(tmp_path, monkeypatch):
    """LocalCluster, as in a notebook: two threads, but one GPU."""
    (tmp_path / "traces").mkdir()
    monkeypatch.setenv("TRACES", str(tmp_path / "traces"))
    claimed = []

    def watch(line):
        claimed.append(len(list((tmp_path / "out").glob(".*.lock"))))

    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        resources={"GPU": 1},
        dashboard_address="127.0.0.1:0",
        local_directory=tmp_path,
    ) as local:
        more = {"scheduler": local.scheduler_address, "progress": watch, "every_s": 0}
        more |= {"data": {"images": "ab12"}, "resources": {"GPU": 1}}
        rows = sweep.run(TOLD, numbers(1, 2, 3), tmp_path / "out", **more).rows
    assert (rows.began.sort_values().values[1:] > rows.end.sort_values().values[:-1]).all()
    assert max(claimed) == 1


def test_a_process_waits_for_the_next_unit_and_not_for_ever(monkeypatch):
    """Each time it waits anew: what is left of an earlier wait does not end it."""
    ended = []

    class Process:
        def __exit__(self, *_):
            ended.append(self)

    monkeypatch.setattr(cluster, "IDLE_S", 0.4)
    first, second = Process(), Process()
    cluster._park("a", first)
    time.sleep(0.3)
    assert cluster._unparked("b") is None and cluster._unparked("a") is first
    cluster._park("a", first)
    cluster._park("b", second)
    time.sleep(0.2)
    assert ended == []
    cluster._dismiss("b")
    assert ended == [second]
    sweep_functions.wait_for(lambda: ended == [second, first])
    assert cluster._unparked("a") is None


def test_slots_are_threads_and_what_resources_hold():
    described = {"threads": 4, "resources": {"GPU": 2.0, "disk": 7.0}}
    asked = [{}, {"GPU": 1}, {"GPU": 0.25}, {"GPU": 0.5, "disk": 3}, {"GPU": 3}, {"TPU": 1}]
    assert [cluster._slots(described, one) for one in asked] == [4, 2, 4, 2, 0, 0]


# --- kills -----------------------------------------------------------------------------------


def test_a_worker_killed_in_mid_unit_costs_that_unit_only(tmp_path, shared, traces):
    """Its unit waits for a worker that comes later: the other one is kept busy."""
    lines, lost = [], []

    def watch(line):
        lines.append(line)
        begun = {n: len(list(traces.glob(f"began {n},*"))) for n in (3, 4)}
        if begun == {3: 1, 4: 1} and not lost:
            lost.append(unit_process(traces, 3))
            worker = next(p for p in shared.processes if p.pid == lost[0].ppid())
            worker.kill()
            shared.processes.remove(worker)
            worker.wait()
        elif any("done again" in line for line in lines) and len(lost) == 1:
            lost.append(shared.worker())
        elif begun[3] == 2:
            (traces / "go").touch()

    done = swept(FEW, tmp_path, shared, HELD, progress=watch)
    assert done.rows.value.tolist() == [2, 3, 4] and set(done.units.status) == {"done"}
    (line,) = [line for line in lines if "done again" in line]
    assert line.startswith("n=3 (") and "its worker tcp://127.0.0.1:" in line
    assert line.endswith("is gone; done again")
    assert not lost[0].is_running()  # the unit's process ended with the worker
    expected = {f"{word} {n}": 1 for word in ("began", "ended") for n in (2, 3, 4)}
    assert calls(traces) == {**expected, "began 3": 2}


def test_a_unit_whose_workers_die_is_given_up_in_the_end(tmp_path, shared, traces):
    doomed = shared.worker("--resources", "doom=1")

    def watch(line):
        if list(traces.glob("began 3,*")):
            doomed.kill()
            doomed.wait()

    more = {"resources": {"doom": 1}, "attempts": 1, "progress": watch}
    done = swept(numbers(3), tmp_path, shared, HELD, **more)
    assert done.units.status.tolist() == ["failed"]
    assert done.units.reason[0].startswith("its worker tcp://127.0.0.1:")
    assert done.units.machine.tolist() == [machine.slug()] and done.units.seconds[0] > 0


def test_a_lost_scheduler_ends_the_sweep_and_keeps_what_is_stored(tmp_path, own, monkeypatch):
    own.worker()
    killed = []

    def watch(line):
        if list(own.traces.glob("began 3,*")) and not killed:
            killed.append((time.monotonic(), unit_process(own.traces, 3)))
            own.scheduler.kill()

    with pytest.raises(ConvcostError, match=r"is lost .* is stored is not done again"):
        swept(FEW, tmp_path / "out", own, HELD, progress=watch)
    when, process = killed[0]
    assert time.monotonic() - when < 10
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json"]
    process.wait(20)

    monkeypatch.setenv("TRACES", str(own.traces))
    (own.traces / "go").touch()
    done = sweep.run(HELD, FEW, tmp_path / "out", progress=None)
    assert done.units.reused.tolist() == [True, False, False]
    expected = {f"{word} {n}": 1 for word in ("began", "ended") for n in (2, 3, 4)}
    assert calls(own.traces) == {**expected, "began 3": 2}


DRIVER = f"""
import sys
sys.path.append({TESTS!r})
from convcost import sweep
plan = [{{"n": n}} for n in (2, 3, 4)]
sweep.run({"sweep_functions:held"!r}, plan, sys.argv[1], scheduler=sys.argv[2], workers=1)
"""


def test_a_driver_killed_leaves_nothing_running(tmp_path, shared, traces):
    """The second start recomputes nothing that was finished."""
    running = subprocess.Popen(
        [sys.executable, "-c", DRIVER, tmp_path, shared.address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sweep_functions.wait_for(lambda: list(traces.glob("began 3,*")) or running.poll() is not None)
    process = unit_process(traces, 3)
    running.kill()
    running.wait()
    process.wait(20)
    assert len(list(tmp_path.glob("*.json"))) == 1

    (traces / "go").touch()
    done = swept(FEW, tmp_path, shared, HELD)
    assert done.units.reused.tolist() == [True, False, False]
    expected = {f"{word} {n}": 1 for word in ("began", "ended") for n in (2, 3, 4)}
    assert calls(traces) == {**expected, "began 3": 2}
    assert sorted(tmp_path.iterdir()) == sorted(tmp_path.glob("*.json"))


def test_an_interrupt_stops_the_unit_at_its_worker(tmp_path, shared, traces):
    processes = []

    def interrupt(line):
        if list(traces.glob("began 3,*")):
            processes.append(unit_process(traces, 3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swept(numbers(3), tmp_path, shared, HELD, progress=interrupt)
    processes[0].wait(20)
    assert list(tmp_path.iterdir()) == []


# --- workers that do not fit -----------------------------------------------------------------


def test_another_version_is_named_before_the_start(tmp_path, shared, traces):
    """A worker with another torch: not used where it joins late, refused at the next start."""
    other = tmp_path / "other" / "torch-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.0.1\n")
    wrong, lines = [], []

    def watch(line):
        lines.append(line)
        if list(traces.glob("began 3,*")) and not wrong:
            wrong.append(shared.worker(path=other.parent))
        if "torch 0.0.1, here" in line:
            (traces / "go").touch()

    done = swept(FEW, tmp_path / "out", shared, HELD, progress=watch)
    assert set(done.units.status) == {"done"}
    (line,) = [line for line in lines if "joined" in line]
    expected = f"torch 0.0.1, here {machine.version('torch').partition('+')[0]}"
    assert line.endswith(f"joined, and is not used: {expected}")

    calls(traces)
    with pytest.raises(ConvcostError, match=f"`make setup` there.*\n  tcp://.*: {expected}$"):
        swept(numbers(7), tmp_path / "new", shared)
    assert calls(traces) == {} and list((tmp_path / "new").iterdir()) == []
    wrong[0].kill()
    wrong[0].wait()


def test_a_worker_that_can_start_nothing_is_left_out(tmp_path, shared, traces):
    """Alone it ends the sweep; the unit goes to a sound one where there is one."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'convcost.sweep.worker' in sys.orig_argv: sys.exit('no such library')"
    )
    broken = shared.worker("--resources", "lathe=1", path=tmp_path)
    message = r"no worker of tcp://.* can do a unit: tcp://.*no such library\)"
    with pytest.raises(ConvcostError, match=message):
        swept(numbers(1), tmp_path / "out", shared, resources={"lathe": 1})
    assert list((tmp_path / "out").iterdir()) == []
    lines = []
    done = swept(numbers(1, 2, 3), tmp_path / "out", shared, progress=lines.append)
    assert done.rows.value.tolist() == [1, 1, 2, 4, 3, 9]
    (line,) = [line for line in lines if "this worker is not used any more" in line]
    assert "no such library" in line
    broken.kill()
    broken.wait()


def test_the_code_is_part_of_the_versions(tmp_path):
    here = cluster._versions("sweep_functions", TESTS)
    assert here["torch"] == machine.version("torch").partition("+")[0]
    copy = tmp_path / "convcost"
    shutil.copytree(LIBRARY / "convcost", copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "import json; from convcost.sweep import cluster\n"
        "print(json.dumps(cluster._versions('sweep_functions', None)))"
    )

    def versions_of_copy() -> dict:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, env=environment
        )
        return json.loads(ran.stdout)

    assert versions_of_copy() == here | {"sweep_functions's source": None}
    with (copy / "core" / "units.py").open("a") as file:
        file.write("# another commit\n")
    assert versions_of_copy()["convcost's source"] not in (None, here["convcost's source"])


# --- clusters that are not there -------------------------------------------------------------


def test_a_worker_that_offers_what_is_asked_is_waited_for(tmp_path, shared, traces):
    lines = []

    def watch(line):
        lines.append(line)
        if "has no worker that can be used" in line:
            lines.append(shared.worker("--resources", "lens=2"))

    done = swept(numbers(1), tmp_path, shared, resources={"lens": 2}, progress=watch)
    assert done.rows.value.tolist() == [1, 1]
    assert f'(dask worker {shared.address} --resources "lens=2")' in lines[0]


def test_no_scheduler_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with pytest.raises(ConvcostError, match=r"answers at tcp://127\.0\.0\.1:9 .*`dask scheduler`"):
        sweep.run("builtins:dict", numbers(1), tmp_path, scheduler="tcp://127.0.0.1:9")
    assert list(tmp_path.iterdir()) == []


def test_without_dask_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConvcostError, match=r'install the extra "cluster" .*convcost\[cluster\]'):
        sweep.run("builtins:dict", numbers(1), tmp_path, scheduler="tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"scheduler": "10.0.0.5"}, "scheduler is '10.0.0.5'; an address such as tcp://"),
        ({"scheduler": 8786}, "scheduler is 8786"),
        ({"resources": {"GPU": 1}}, "give a scheduler, too"),
        ({"scheduler": "tcp://h:1", "resources": {"GPU": 0}}, "GPU = 0; a number above 0"),
        ({"scheduler": "tcp://h:1", "resources": {"GPU": "1"}}, "GPU = '1'; a number above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, more, words):
    with pytest.raises(BadInputError, match=words):
        sweep.run("builtins:dict", numbers(1), tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_sweep_needs_no_dask():
    code = (
        "import sys; sys.modules['distributed'] = sys.modules['dask'] = None\n"
        "import convcost.sweep, convcost.sweep.worker; print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_nothing_is_left_in_the_repository(request):
    assert not (request.config.rootpath / "dask-worker-space").exists()
    assert not (request.config.rootpath / "dask-scratch-space").exists()
