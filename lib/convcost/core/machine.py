"""What this machine is: processor, memory, GPU, and the versions that a result depends on.

Facts that cannot be had are None, never 0 and never a guess: a run record must not say "no GPU
memory" where nobody could look. Nothing here imports torch; versions come from the installed
packages' own metadata.
"""

import importlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "pandas")

# Flags that change how fast, or with which numbers, a network runs: vector width, bfloat16 and
# int8 dot products, matrix tiles. x86 names first, then Arm's.
FLAGS_OF_INTEREST = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
    "sve",
)
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


def describe() -> dict:
    """This machine as a flat dict of plain values, ready for a run record.

    Keys:
        cpu                 the processor's name as it gives it
        cpu_flags           list, those of `FLAGS_OF_INTEREST` that it has
        cores_physical, cores_logical
        cores_usable        after affinity and container limits: what this process may really use
        ram_bytes           of the machine, or of its container where that has less
        gpu, gpu_memory_bytes, gpu_driver, gpu_count
                            first NVIDIA GPU that CUDA may use, and how many there are
        os, python          and one key for each of `PACKAGES`: its version
    Any of them is None where it is not available. Refuses nothing.
    """
    cpuinfo = read_text("/proc/cpuinfo")
    logical = os.cpu_count()
    return {
        "cpu": cpu_name(cpuinfo),
        "cpu_flags": cpu_flags(cpuinfo),
        "cores_physical": physical_cores(cpuinfo),
        "cores_logical": logical,
        "cores_usable": usable_cores(logical),
        "ram_bytes": ram_bytes(),
        **gpu_facts(),
        "os": f"{platform.system()} {_release_number()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def slug(description: dict | None = None) -> str:
    """A short stable name of this machine, fit for a folder: "nvidia-h200", "amd-epyc-2c".

    The GPU names the machine where there is one, for it sets the times; otherwise the processor
    and the cores that may be used. Give `description` (from `describe()`, all that is read are
    `gpu`, `cpu` and `cores_usable`) to name another machine, or this one with its GPU set aside.
    For this machine the environment's CONVCOST_MACHINE goes before: two boxes with one kind of GPU
    would else share a folder.

    >>> slug({"gpu": None, "cpu": "AMD EPYC 9554 64-Core Processor", "cores_usable": 2})
    'amd-epyc-9554-2c'
    """
    if description is None:
        if given := _hyphenated(os.environ.get("CONVCOST_MACHINE", "")):
            return given
        cpuinfo = read_text("/proc/cpuinfo")
        description = {
            "gpu": gpu_facts()["gpu"],
            "cpu": cpu_name(cpuinfo),
            "cores_usable": usable_cores(os.cpu_count()),
        }
    if description["gpu"]:
        name = _hyphenated(description["gpu"])
        return name if name.startswith("nvidia") else f"nvidia-{name}"
    name = description["cpu"] or "unknown"
    name = re.sub(r"\((r|tm|c)\)", " ", name, flags=re.IGNORECASE)
    name = re.sub(r"@.*$|\b\d+th gen\b|\bwith .* graphics\b", " ", name, flags=re.IGNORECASE)
    name = re.sub(r"\b(\d+-core|processor|cpu)\b", " ", name, flags=re.IGNORECASE)
    cores = description["cores_usable"]
    return _hyphenated(name) + (f"-{cores}c" if cores else "")


def _hyphenated(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def version(package: str) -> str | None:
    """The installed version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def read_text(path: str | Path) -> str | None:
    """A system file's text, None where this system has no such file or keeps it closed."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _cpuinfo_fields(cpuinfo: str | None, *names: str) -> list[str]:
    """All values of the first of `names` that /proc/cpuinfo's text has."""
    for name in names:
        values = re.findall(rf"^{name}\s*:\s*(.+?)\s*$", cpuinfo or "", re.MULTILINE)
        if values:
            return values
    return []


def cpu_name(cpuinfo: str | None) -> str | None:
    """The processor's name, from the text of /proc/cpuinfo (None where there is no such file).

    Arm's cpuinfo has no name; then it is what the platform calls the architecture ("aarch64").
    """
    names = _cpuinfo_fields(cpuinfo, "model name", "Model", "Hardware")
    if names:
        return re.sub(r"\s+", " ", names[0])
    if platform.system() == "Darwin":
        name = _command_output("sysctl", "-n", "machdep.cpu.brand_string")
        if name:
            return name
    return platform.processor() or platform.machine() or None


def cpu_flags(cpuinfo: str | None) -> list[str] | None:
    """Those of `FLAGS_OF_INTEREST` that /proc/cpuinfo's text names; None where it names none.

    [] is a real answer: flags are listed, and none of these is among them.
    """
    lines = _cpuinfo_fields(cpuinfo, "flags", "Features")
    if not lines:
        return None
    present = set(lines[0].split())
    return [flag for flag in FLAGS_OF_INTEREST if flag in present]


def has_bf16(flags: Iterable[str] | None = None) -> bool:
    """Whether the processor multiplies bfloat16 by itself: without, it is slower than float32.

    `flags`: as `cpu_flags` gives them; None: those of this machine. False where there are none to
    be read.

    >>> has_bf16(["avx2", "avx512f"]), has_bf16(["avx512f", "avx512_bf16"]), has_bf16(["bf16"])
    (False, True, True)
    """
    if flags is None:
        flags = cpu_flags(read_text("/proc/cpuinfo"))
    return any(flag in BF16_FLAGS for flag in flags or ())


def physical_cores(cpuinfo: str | None) -> int | None:
    """How many cores, hyperthreads of one core counted once; None where it cannot be told."""
    packages = _cpuinfo_fields(cpuinfo, "physical id")
    cores = _cpuinfo_fields(cpuinfo, "core id")
    if cores and len(packages) == len(cores):
        return len(set(zip(packages, cores, strict=True)))
    try:
        import psutil
    except ImportError:
        return None
    return psutil.cpu_count(logical=False)


def usable_cores(logical: int | None, cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The cores this process may use: all, less what affinity or a container's quota takes away.

    A quota of 1.5 cores gives 1: a second thread would be stopped half of the time.
    """
    limits = [logical] if logical else []
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    for folder in _own_cgroups(cgroup):
        quota, _, period = (read_text(folder / "cpu.max") or "").partition(" ")
        if not quota:  # the first version of cgroups has two files instead of one
            quota = (read_text(folder / "cpu.cfs_quota_us") or "").strip()
            period = read_text(folder / "cpu.cfs_period_us") or ""
        if quota.isdigit() and period.strip().isdigit():
            limits.append(max(1, int(quota) // int(period)))
    return min(limits, default=None)


def ram_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Main memory in bytes, or its container's limit where that is smaller."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        try:
            import psutil
        except ImportError:
            return None
        total = psutil.virtual_memory().total
    limits = [total]
    for folder in _own_cgroups(cgroup):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = (read_text(folder / name) or "").strip()
            if limit.isdigit():  # "max" is no limit
                limits.append(int(limit))
    return min(limits)


def _own_cgroups(root: Path) -> list[Path]:
    """The folders under `root` whose limits bind this process: its own and all above it."""
    folders = [root, root / "cpu", root / "memory"]
    own = read_text("/proc/self/cgroup") or ""
    for match in re.finditer(r"^0::/(.+)$", own, re.MULTILINE):
        inner = root / match[1].strip()
        folders += [inner, *(parent for parent in inner.parents if root in parent.parents)]
    return folders


def gpu_facts(nvml=None, visible: str | None = None) -> dict:
    """The first NVIDIA GPU that CUDA may use: `gpu`, `gpu_memory_bytes`, `gpu_driver`, `gpu_count`.

    All None where there is no driver to ask, and where CUDA_VISIBLE_DEVICES hides every GPU: the
    run then is one without. `nvml` and `visible` stand for the driver's library and for that
    variable; without them the real ones are asked.
    """
    nothing = dict.fromkeys(("gpu", "gpu_memory_bytes", "gpu_driver", "gpu_count"))
    if visible is None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = None if visible is None else [part.strip() for part in visible.split(",")]
    if chosen is not None and chosen[0] in ("", "-1", "NoDevFiles"):
        return nothing
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return nothing
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver, no library: an ordinary laptop
        return nothing
    try:
        count = nvml.nvmlDeviceGetCount()
        if chosen is None:
            handle = nvml.nvmlDeviceGetHandleByIndex(0) if count else None
        elif chosen[0].isdigit():
            handle = nvml.nvmlDeviceGetHandleByIndex(int(chosen[0]))
        else:
            handle = nvml.nvmlDeviceGetHandleByUUID(chosen[0])
        if handle is None:
            return nothing
        return {
            "gpu": _text(nvml.nvmlDeviceGetName(handle)),
            "gpu_memory_bytes": int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
            "gpu_driver": _text(nvml.nvmlSystemGetDriverVersion()),
            "gpu_count": count if chosen is None else len(chosen),
        }
    except nvml.NVMLError:  # CUDA_VISIBLE_DEVICES names a GPU that is not there
        return nothing
    finally:
        nvml.nvmlShutdown()


def arithmetic() -> dict | None:
    """How torch is set to calculate with float32 in this process now: a flat dict of plain values.

    None where torch is not loaded; nothing is loaded for it. Keys:
        cuda_matmul_tf32, cudnn_tf32
                            whether a GPU's matrix products, and its convolutions, may round their
                            factors to TF32 (10 bits instead of 23)
        cudnn_benchmark     whether cuDNN tries its algorithms and takes the fastest
        cudnn_deterministic whether it keeps to those that give the same bits each time
        float32_matmul_precision
                            "highest", "high" or "medium"; None where GPU and CPU are set apart, so
                            that torch has no word for both
        onednn_matmul_precision, onednn_conv_precision
                            the same of a CPU's oneDNN: "ieee", "tf32" or "bf16"; "none": not set,
                            which is float32
        tf32_override       the environment's NVIDIA_TF32_OVERRIDE: "0" switches TF32 off whatever
                            torch says; None where it is not set
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    cudnn, onednn = torch.backends.cudnn, torch.backends.mkldnn
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:
        precision = None
    return {
        # not `allow_tf32`: that raises where somebody has set `fp32_precision`, which is newer
        "cuda_matmul_tf32": torch.backends.cuda.matmul.fp32_precision == "tf32",
        "cudnn_tf32": cudnn.conv.fp32_precision == "tf32",
        "cudnn_benchmark": cudnn.benchmark,
        "cudnn_deterministic": cudnn.deterministic,
        "float32_matmul_precision": precision,
        "onednn_matmul_precision": onednn.matmul.fp32_precision,
        "onednn_conv_precision": onednn.conv.fp32_precision,
        "tf32_override": os.environ.get("NVIDIA_TF32_OVERRIDE"),
    }


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _release_number() -> str:
    """The system's release without the suffix that whoever built it added."""
    release = re.match(r"[\d.]*\d", platform.release())
    return release[0] if release else platform.release()


def _command_output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
