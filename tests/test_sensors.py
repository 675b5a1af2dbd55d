"""Sensors: exact on a made-up system folder and driver, and true of this machine where there is
one."""

import os
import subprocess
import sys
import threading
import time

import pytest

from convcost.core.errors import BadInputError
from convcost.measuring import sensors

LINUX = pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="Linux")
TICK = os.sysconf("SC_CLK_TCK")
BUSY = "import sys,time\nwhile time.process_time() < float(sys.argv[1]): pass"


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """A folder for /proc, and a clock and CPU time of ours that the test sets."""
    now = {"clock": 0.0, "own": 0.0}
    monkeypatch.setattr(sensors.time, "perf_counter", lambda: now["clock"])
    monkeypatch.setattr(sensors, "own_cpu_s", lambda: now["own"])
    monkeypatch.setattr(sensors, "_cores_watched", lambda: {0, 2})

    def write(*busy, mhz=(2000.0, 4000.0, 3000.0)):
        lines = [f"cpu{n} {ticks} 0 0 500 20 0 0 0 0 0" for n, ticks in enumerate(busy)]
        (tmp_path / "stat").write_text("\n".join(["cpu  1 2 3 4", *lines, "intr 5"]))
        cores = [f"processor\t: {n}\ncpu MHz\t\t: {one}\n" for n, one in enumerate(mhz)]
        (tmp_path / "cpuinfo").write_text("\n".join(cores))

    return tmp_path, now, write


def test_load_of_others_is_what_is_busy_less_what_is_ours(made_up):
    proc, now, write = made_up
    write(100, 100, 100)
    with sensors.watching(proc=proc) as watch:
        # 4 s; core 0 busy for 3 s, core 2 for 4 s, of which ours 5 s; core 1 is not ours to use
        write(100 + 3 * TICK, 100 + 4 * TICK, 100 + 4 * TICK)
        now.update(clock=4.0, own=5.0)
    assert watch.seconds == 4.0
    assert watch.others_load == (3 + 4 - 5) / 4
    assert watch.clock_mhz == 3000.0  # the faster of cores 0 and 2
    assert (watch.temperature_c, watch.energy_j, watch.throttled) == (None, None, None)


def test_load_is_never_below_nothing(made_up):
    proc, now, write = made_up
    write(100, 100, 100)
    with sensors.watching(proc=proc) as watch:
        now.update(clock=1.0, own=0.02)  # our own time is finer than the system's ticks
    assert watch.others_load == 0.0


@pytest.mark.parametrize("lacks", ["stat", "cores", "own", "time", "share"])
def test_a_load_that_cannot_be_told_is_none(made_up, monkeypatch, lacks):
    proc, now, write = made_up
    write(100, 100, 100)
    if lacks == "stat":
        (proc / "stat").unlink()
    if lacks == "cores":
        (proc / "stat").write_text("cpu0 0 0 0 0 0 0 0 0 0 0")  # as some containers have it
    if lacks == "own":
        monkeypatch.setattr(sensors, "own_cpu_s", lambda: None)
    if lacks == "share":
        monkeypatch.setattr(sensors, "_cores_watched", lambda: None)
    with sensors.watching(proc=proc) as watch:
        now.update(clock=0.2 if lacks == "time" else 1.0)
    assert watch.others_load is None
    assert watch.clock_mhz == (4000.0 if lacks == "share" else 3000.0)


def test_a_container_with_a_share_of_the_cores_sees_its_neighbours(monkeypatch):
    monkeypatch.setattr(sensors.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(sensors, "usable_cores", lambda logical: 2)
    assert sensors._cores_watched() is None
    monkeypatch.setattr(sensors, "usable_cores", lambda logical: 4)
    assert sensors._cores_watched() == {0, 1, 2, 3}


def test_a_clock_that_is_not_there_is_none(tmp_path):
    assert sensors.cpu_clock_mhz(None, tmp_path) is None
    (tmp_path / "cpuinfo").write_text("processor : 0\nBogoMIPS : 50.00\n")  # Arm
    assert sensors.cpu_clock_mhz(None, tmp_path) is None


def test_the_clock_is_the_median_of_the_looks(made_up):
    proc, _, write = made_up
    write(100, 100, 100, mhz=(1000.0, 9.0, 1.0))
    with sensors.watching(proc=proc, every_s=60) as watch:
        for mhz in (5000.0, 3000.0):
            watch._look()
            write(100, 100, 100, mhz=(mhz, 9.0, 1.0))
    assert watch.clock_mhz == 3000.0  # of 1000, 5000 and, at the end, 3000


@LINUX
def test_time_of_children_is_ours_and_of_others_is_not():
    before = sensors.own_cpu_s()
    child = subprocess.Popen([sys.executable, "-c", BUSY + "\ninput()", "0.3"], stdin=-1)
    while sensors.own_cpu_s() - before < 0.25:  # seen while it lives
        time.sleep(0.02)
    child.communicate(b"\n")
    assert sensors.own_cpu_s() - before >= 0.3  # and when it is gone


@LINUX
def test_a_process_of_someone_else_is_load(tmp_path):
    # its parent leaves at once, so that it is nobody's child of ours
    code = f"import subprocess,sys\nsubprocess.Popen([sys.executable, '-c', {BUSY!r}, '0.5'])"
    subprocess.run([sys.executable, "-c", code], check=True)
    with sensors.watching() as watch:
        time.sleep(0.8)
    if watch.others_load is None:
        pytest.skip("not available here")
    assert watch.others_load > 0.2


def test_watching_costs_next_to_nothing():
    with sensors.watching(every_s=0.02):
        began = time.process_time()
        time.sleep(0.4)
        spent = time.process_time() - began
    assert spent < 0.1 * 0.4  # 20 looks; the default has one in 0.5 s


def test_the_thread_ends_and_the_fault_goes_on():
    before = threading.active_count()
    with pytest.raises(KeyError), sensors.watching(every_s=0.01) as watch:
        raise KeyError("a fault of the block")
    assert threading.active_count() == before
    assert watch.seconds > 0


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"device": "tpu"}, "tpu.*'cpu' or 'cuda'"),
        ({"device": "cuda:x"}, "cuda:x"),
        ({"every_s": 0}, "every_s"),
        ({"every_s": float("nan")}, "every_s"),
    ],
)
def test_what_is_refused(wrong, names):
    with pytest.raises(BadInputError, match=names):
        sensors.watching(**wrong)


# --- the GPU ---------------------------------------------------------------------------------


class Nvml:
    """The driver's library with two GPUs; `lacks` names functions that this GPU does not have."""

    class NVMLError(Exception):
        pass

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0
    nvmlClocksEventReasonGpuIdle = 0x1
    nvmlClocksEventReasonSwPowerCap = 0x4
    nvmlClocksThrottleReasonSwPowerCap = 0x4
    nvmlClocksThrottleReasonHwThermalSlowdown = 0x40  # known by its old name only

    def __init__(self, lacks=()):
        self.lacks, self.open, self.asked = lacks, 0, set()
        self.energy, self.reasons, self.clocks = 7_000, 0x1, 1980

    def __getattribute__(self, name):
        if name.startswith("nvml") and name in object.__getattribute__(self, "lacks"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    def nvmlInit(self):
        if "driver" in self.lacks:
            raise self.NVMLError("driver not loaded")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index):
        if index > 1:
            raise self.NVMLError("not found")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return {"GPU-b": 1}[uuid]

    def _answer(self, handle, value):
        self.asked.add(handle)
        if "answers" in self.lacks:
            raise self.NVMLError("not supported")
        return value

    def nvmlDeviceGetClockInfo(self, handle, kind):
        assert kind == self.NVML_CLOCK_SM
        return self._answer(handle, self.clocks)

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self._answer(handle, 54)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self._answer(handle, self.energy)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self._answer(handle, self.reasons)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self._answer(handle, self.reasons)


def watched(nvml, device="cuda", visible=None, reasons=0x1):
    with sensors.watching(device, nvml=nvml, visible=visible, every_s=60) as watch:
        nvml.energy += 12_500  # thousandths of a joule
        watch._look()
        nvml.reasons, nvml.clocks = reasons, 1500
        watch._look()
        nvml.reasons = 0x1
    return watch


def test_a_gpu_is_asked():
    nvml = Nvml()
    watch = watched(nvml, reasons=0x4 | 0x40)
    assert watch.clock_mhz == 1500  # median of 1980, 1500 and, at the end, 1500
    assert watch.temperature_c == 54
    assert watch.energy_j == 12_500 / 1000
    assert watch.throttled == "power cap, hardware thermal slowdown"
    assert nvml.open == 0


def test_being_idle_is_no_throttling():
    assert watched(Nvml()).throttled == ""


def test_an_older_driver_calls_it_otherwise():
    nvml = Nvml(lacks=["nvmlDeviceGetCurrentClocksEventReasons"])
    assert watched(nvml, reasons=0x4).throttled == "power cap"


@pytest.mark.parametrize(
    ("device", "visible", "handle"),
    [("cuda", None, 0), ("cuda:1", None, 1), ("cuda", "1", 1), ("cuda", "GPU-b", 1),
     ("cuda:1", "GPU-b, 0", 0)],
)  # fmt: skip
def test_the_gpu_asked_is_the_one_that_cuda_uses(monkeypatch, device, visible, handle):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = Nvml()
    watched(nvml, device, visible)
    assert nvml.asked == {handle}


@pytest.mark.parametrize(
    ("lacks", "device", "visible"),
    [(["driver"], "cuda", None), (["answers"], "cuda", None), ([], "cuda:7", None),
     ([], "cuda", ""), ([], "cuda:1", "0")],
)  # fmt: skip
def test_what_a_gpu_cannot_say_is_none(monkeypatch, lacks, device, visible):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = Nvml(lacks)
    watch = watched(nvml, device, visible)
    seen = (watch.clock_mhz, watch.temperature_c, watch.energy_j, watch.throttled)
    assert seen == (None, None, None, None)
    assert nvml.open == 0


def test_without_the_driver_library_nothing_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with sensors.watching("cuda") as watch:
        pass
    assert (watch.clock_mhz, watch.energy_j, watch.throttled) == (None, None, None)
    assert watch.seconds > 0
