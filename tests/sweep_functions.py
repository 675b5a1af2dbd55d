"""What tests/test_sweep.py sweeps. Every call leaves files in $TRACES, where they are counted."""

import math
import multiprocessing
import os
import time
from pathlib import Path

from convcost import sweep


def trace(word: str) -> None:
    (Path(os.environ["TRACES"]) / f"{word},{os.getpid()},{time.time_ns()}").touch()


def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def powers(n, up_to=2):
    print("a line on standard output, which events also use")
    trace(f"powers {n}")
    return [{"power": p, "value": n**p} for p in range(1, up_to + 1)]


def held(n):
    """Units from 3 on wait until the file `go` is there."""
    trace(f"began {n}")
    if n >= 3:
        wait_for((Path(os.environ["TRACES"]) / "go").exists)
    trace(f"ended {n}")
    return [{"value": n}]


def together(n):
    """Waits until two processes are at work."""
    trace(f"together {n}")
    traces = Path(os.environ["TRACES"])
    wait_for(lambda: len({path.name.split(",")[1] for path in traces.glob("together*")}) > 1)
    return [{"value": n}]


def wayward(how):
    trace(how)
    if how == "raises":
        raise ValueError("no such net")
    if how == "kills":
        os.kill(os.getpid(), 9)
    if how == "exits":
        os._exit(7)
    if how == "leaves":
        raise SystemExit("wrong option")
    if how == "sleeps":
        time.sleep(2)
        trace("woke")
    if how == "diverges":
        raise sweep.Diverged("loss above 1e9", [{"loss": 3.0}])
    if how == "not a number":
        return [{"loss": 3.0}, {"loss": math.nan}]
    return {
        "returns a dict": {"loss": 3.0},
        "returns a number": 3,
        "returns a list in a row": [{"loss": [3.0]}],
        "returns another how": [{"how": "other"}],
        "returns a huge number": [{"loss": 10**5_000}],
        "long": [{"text": "x" * 20_000}],
    }.get(how, [{"loss": 3.0}])


def threads(n):
    import numpy as np

    return [{"omp": os.environ["OMP_NUM_THREADS"], "number": np.int64(n), "half": np.float32(0.5)}]


def limited(n):
    """Unit 0 leaves its process 64 MiB more than it has; each then asks for 1 GiB.

    Unit 1 is killed, as by the kernel where memory runs out.
    """
    import resource

    trace(f"limited {n}")
    if n == 1:
        os.kill(os.getpid(), 9)
    if n == 0:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, resource.RLIM_INFINITY))
    return [{"bytes": len(bytes(2**30)), "limit": resource.getrlimit(resource.RLIMIT_AS)[0]}]


def forked(n):
    """What a DataLoader does: a process made by fork, which closes its copy of standard input."""
    child = multiprocessing.get_context("fork").Process(target=trace, args=(f"child {n}",))
    child.start()
    child.join(20)
    child.kill()
    child.join()
    return [{"exitcode": child.exitcode}]


def told(n):
    """What a unit knows of its sweep and of its process."""
    here = {"omp": os.environ["OMP_NUM_THREADS"], "pid": os.getpid(), "parent": os.getppid()}
    began = time.time()
    time.sleep(0.2)
    return [{**here, "images": sweep.expected_data()["images"], "began": began, "end": time.time()}]
