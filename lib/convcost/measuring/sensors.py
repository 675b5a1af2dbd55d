"""How the machine is doing while something is timed: load of others, clocks, heat, energy.

What cannot be had is None, never 0 and never a guess. Nothing here imports torch; the driver of an
NVIDIA GPU is asked through its own library.
"""

import contextlib
import importlib
import os
import statistics
import threading
import time
from pathlib import Path

from convcost.core.errors import BadInputError
from convcost.core.machine import read_text, usable_cores

SHORTEST_LOAD_S = 0.25  # the system counts time in ticks of 10 ms: a load needs some dozens of them

# What slows a GPU's clock down, by the ending of its name in the driver's library; being idle and
# clocks that a user has set are no faults.
THROTTLES = {
    "SwPowerCap": "power cap",
    "HwSlowdown": "hardware slowdown",
    "SyncBoost": "slowest of several GPUs",
    "SwThermalSlowdown": "software thermal slowdown",
    "HwThermalSlowdown": "hardware thermal slowdown",
    "HwPowerBrakeSlowdown": "power brake",
}


def watching(
    device: str = "cpu",
    *,
    every_s: float = 0.5,
    nvml=None,
    visible: str | None = None,
    proc: Path = Path("/proc"),
) -> "Watch":
    """A context manager that watches the machine while its block runs: see `Watch`.

    device: "cpu", or "cuda", "cuda:1": the GPU asked. every_s: seconds between two looks, in a
    thread of its own; one more look is at the end. `nvml`, `visible` and `proc` stand for the
    driver's library, for CUDA_VISIBLE_DEVICES and for the system's folder; without them the real
    ones are asked.

    Refused with `BadInputError`: another device, `every_s` that is not above 0.

    >>> with watching() as watch:
    ...     total = sum(range(1000))
    >>> watch.seconds > 0, watch.energy_j  # a CPU has no counter that we read
    (True, None)
    """
    kind, _, index = str(device).partition(":")
    if kind not in ("cpu", "cuda") or not (index or "0").isdigit():
        raise BadInputError(f"device {device!r}: choose 'cpu' or 'cuda'")
    if not every_s > 0:
        raise BadInputError(f"every_s is {every_s!r}: seconds above 0 are expected")
    gpu = _Gpu(int(index or 0), nvml, visible) if kind == "cuda" else None
    return Watch(gpu, every_s, Path(proc))


class Watch:
    """What was seen, known once the block is left; until then, and where not to be had, None.

    `seconds`: wall clock of the block. `others_load`: processor cores that processes other than
    this one and its children kept busy, on average; what a hypervisor gave to other machines
    counts as busy. Only cores that this process may use are looked at. None below
    `SHORTEST_LOAD_S`, and in a container with a share of the cores, which sees its neighbours' load
    on all of them. `clock_mhz`: median over the looks; of the GPU's multiprocessors, or on "cpu" of
    the fastest core at each look, for idle ones slow down. `temperature_c`: of the GPU at the end,
    degrees Celsius. `energy_j`: of the GPU, by its own counter, joules. `throttled`: what slowed
    the GPU down at one look or more, in words, "" for nothing.
    """

    def __init__(self, gpu: "_Gpu | None", every_s: float, proc: Path):
        self.seconds = self.others_load = self.clock_mhz = None
        self.temperature_c = self.energy_j = self.throttled = None
        self._gpu, self._every_s, self._proc = gpu, every_s, proc
        self._clocks, self._reasons = [], []
        self._done = threading.Event()

    def __enter__(self) -> "Watch":
        if self._gpu:
            self._gpu.open()
            self._energy = self._gpu.energy_mj()
        self._cores = _cores_watched()
        self._thread = threading.Thread(target=self._look_often, daemon=True)
        self._began = self._busy()
        self._thread.start()
        return self

    def __exit__(self, *exc) -> bool:
        ended = self._busy()
        self._done.set()
        self._thread.join()
        self._look()
        self.seconds = ended[0] - self._began[0]
        self.others_load = others_load(self._began, ended)
        self.clock_mhz = _median(self._clocks)
        if self._gpu:
            self._finish_gpu()
        return False

    def _finish_gpu(self) -> None:
        energy = self._gpu.energy_mj()
        if energy is not None and self._energy is not None:
            self.energy_j = (energy - self._energy) / 1000
        self.temperature_c = self._gpu.temperature_c()
        seen = [bits for bits in self._reasons if bits is not None]
        if seen:
            self.throttled = self._gpu.words(seen)
        self._gpu.close()

    def _look_often(self) -> None:
        while not self._done.wait(self._every_s):
            self._look()

    def _look(self) -> None:
        if self._gpu:
            self._clocks.append(self._gpu.clock_mhz())
            self._reasons.append(self._gpu.reasons())
        else:
            self._clocks.append(cpu_clock_mhz(self._cores, self._proc))

    def _busy(self) -> tuple[float, float | None, float | None]:
        """(now, seconds the watched cores were busy so far, seconds of which ours)."""
        stat = read_text(self._proc / "stat") if self._cores else None
        own = own_cpu_s() if stat else None  # next to each other: they are compared
        return time.perf_counter(), busy_s(stat, self._cores), own


def _median(values: list[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


# ---------------------------------------------------------------- the processor


def _cores_watched() -> set[int] | None:
    """The cores this process may run on; None where it has a share of them, or cannot be told."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores = os.sched_getaffinity(0)
    return cores if (usable_cores(os.cpu_count()) or 0) >= len(cores) else None


def busy_s(stat: str | None, cores: set[int] | None) -> float | None:
    """Seconds for which these cores were busy since the start, from the text of /proc/stat.

    Busy is all but idle and waiting for a disk. None where the text names none of the cores.

    >>> busy_s("cpu0 300 0 100 9000 50 0 0 10 0 0", {0}) == (300 + 100 + 10) / 100
    True
    """
    ticks = []
    for line in (stat or "").splitlines():
        name, *numbers = line.split() or [""]
        if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in (cores or ()):
            user, nice, system, _idle, _disk, *more = map(int, numbers)
            ticks.append(user + nice + system + sum(more[:3]))  # interrupts, two kinds; stolen
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if any(ticks) else None


def own_cpu_s() -> float | None:
    """Processor seconds of this process and all its children so far, those that ended included."""
    try:
        import psutil
    except ImportError:
        return None
    this = psutil.Process()
    total = 0.0
    for process in [this, *this.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it has just ended: its parent's record has it
            total += sum(process.cpu_times()[:4])  # user, system, and both of ended children
    return total


def others_load(began: tuple, ended: tuple) -> float | None:
    """Cores that others kept busy between two looks (now, busy, ours), all in seconds.

    >>> others_load((0.0, 100.0, 7.0), (10.0, 118.0, 16.0))  # 18 s busy, 9 of them ours, in 10 s
    0.9
    """
    seconds = ended[0] - began[0]
    if None in (*began, *ended) or seconds < SHORTEST_LOAD_S:
        return None
    return max(0.0, (ended[1] - began[1]) - (ended[2] - began[2])) / seconds


def cpu_clock_mhz(cores: set[int] | None, proc: Path = Path("/proc")) -> float | None:
    """The clock of the fastest of these cores now (of all, where `cores` is None), in MHz."""
    clocks, core = [], None
    for line in (read_text(proc / "cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "processor" and value.strip().isdigit():
            core = int(value)
        elif name.strip() == "cpu MHz" and (cores is None or core in cores):
            clocks.append(float(value))
    return max(clocks, default=None)


# ---------------------------------------------------------------- the GPU


class _Gpu:
    """One GPU by the driver's library; what that cannot say is None."""

    def __init__(self, index: int, nvml, visible: str | None):
        self.index, self.nvml, self.handle = index, nvml, None
        if nvml is None:
            with contextlib.suppress(ImportError):
                self.nvml = importlib.import_module("pynvml")
        self.visible = os.environ.get("CUDA_VISIBLE_DEVICES") if visible is None else visible

    def open(self) -> None:
        if self.nvml is None:
            return
        try:
            self.nvml.nvmlInit()
        except self.nvml.NVMLError:  # no driver
            self.nvml = None
            return
        chosen = [str(self.index)]
        if self.visible is not None:  # CUDA counts only those that this variable names
            chosen = [part.strip() for part in self.visible.split(",")][self.index :]
        if chosen and chosen[0]:
            by_index = chosen[0].isdigit()
            self.handle = (
                self._ask("nvmlDeviceGetHandleByIndex", int(chosen[0]))
                if by_index
                else self._ask("nvmlDeviceGetHandleByUUID", chosen[0])
            )

    def close(self) -> None:
        if self.nvml is not None:
            self.nvml.nvmlShutdown()

    def _ask(self, function: str, *arguments):
        if self.nvml is None or not hasattr(self.nvml, function):
            return None
        try:
            return getattr(self.nvml, function)(*arguments)
        except self.nvml.NVMLError:
            return None

    def _of_handle(self, function: str, *arguments):
        return None if self.handle is None else self._ask(function, self.handle, *arguments)

    def clock_mhz(self) -> int | None:
        return self._of_handle("nvmlDeviceGetClockInfo", getattr(self.nvml, "NVML_CLOCK_SM", 1))

    def temperature_c(self) -> int | None:
        sensor = getattr(self.nvml, "NVML_TEMPERATURE_GPU", 0)
        return self._of_handle("nvmlDeviceGetTemperature", sensor)

    def energy_mj(self) -> int | None:
        """Thousandths of a joule since the driver was loaded."""
        return self._of_handle("nvmlDeviceGetTotalEnergyConsumption")

    def reasons(self) -> int | None:
        """Bits that say why the clock is what it is."""
        new = self._of_handle("nvmlDeviceGetCurrentClocksEventReasons")
        return new if new is not None else self._of_handle(  # as older drivers call it
            "nvmlDeviceGetCurrentClocksThrottleReasons"
        )  # fmt: skip

    def words(self, seen: list[int]) -> str:
        found = []
        for ending, word in THROTTLES.items():
            old = getattr(self.nvml, f"nvmlClocksThrottleReason{ending}", 0)
            bit = getattr(self.nvml, f"nvmlClocksEventReason{ending}", old)
            if any(bits & bit for bits in seen):
                found.append(word)
        return ", ".join(found)
