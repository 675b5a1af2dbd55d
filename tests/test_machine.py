"""What this machine is: real texts of other machines go in, names and numbers come out."""

import json
import subprocess
import sys
import types

import pytest

from convcost.core import machine

XEON = """\
processor	: 0
model name	: Intel(R) Xeon(R) Platinum 8480+
physical id	: 0
core id		: 0
flags		: fpu avx2 avx512f avx512_bf16 avx512_vnni amx_bf16 amx_tile amx_int8

processor	: 1
model name	: Intel(R) Xeon(R) Platinum 8480+
physical id	: 0
core id		: 0
flags		: fpu avx2 avx512f

processor	: 2
model name	: Intel(R) Xeon(R) Platinum 8480+
physical id	: 1
core id		: 0
flags		: fpu avx2 avx512f
"""
GRACE = """\
processor	: 0
BogoMIPS	: 2000.00
Features	: fp asimd asimddp sve i8mm bf16
CPU implementer	: 0x41
"""


def test_an_intel_server():
    assert machine.cpu_name(XEON) == "Intel(R) Xeon(R) Platinum 8480+"
    assert machine.cpu_flags(XEON) == [
        *("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8")
    ]
    assert machine.physical_cores(XEON) == 1 + 1  # one core with two threads, and one more


def test_an_arm_server():
    assert machine.cpu_name(GRACE)  # no name there: the architecture's
    assert machine.cpu_flags(GRACE) == ["asimd", "asimddp", "bf16", "i8mm", "sve"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["avx2", "avx512f", "avx512_vnni"], False),
        (["avx512f", "avx512_bf16"], True),
        (["avx512f", "amx_tile", "amx_bf16"], True),
        (["asimd", "asimddp"], False),
        (["asimd", "bf16"], True),
        ([], False),
    ],
)
def test_which_processors_multiply_bfloat16(monkeypatch, flags, expected):
    assert machine.has_bf16(flags) is expected
    cpuinfo = f"flags : fpu {' '.join(flags)}\n"
    monkeypatch.setattr(machine, "read_text", lambda path: cpuinfo)
    assert machine.has_bf16() is expected


def test_where_no_flags_can_be_read_bfloat16_is_not_counted_on(monkeypatch):
    monkeypatch.setattr(machine, "read_text", lambda path: None)
    assert machine.has_bf16() is False


def test_what_cannot_be_read_is_none_and_what_is_absent_is_empty():
    assert machine.cpu_flags(None) is None
    assert machine.cpu_flags("flags : fpu sse\n") == []
    assert machine.read_text("/there/is/no/such/file") is None
    assert machine.version("a-package-that-is-not-there") is None


@pytest.mark.parametrize(
    ("cpu", "cores", "expected"),
    [
        ("AMD EPYC", 2, "amd-epyc-2c"),
        ("AMD EPYC 9554 64-Core Processor", 64, "amd-epyc-9554-64c"),
        ("Intel(R) Xeon(R) Platinum 8480+", 16, "intel-xeon-platinum-8480-16c"),
        ("Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz", 8, "intel-core-i7-8550u-8c"),
        ("12th Gen Intel(R) Core(TM) i7-1260P", 16, "intel-core-i7-1260p-16c"),
        ("AMD Ryzen 7 PRO 4750U with Radeon Graphics", 16, "amd-ryzen-7-pro-4750u-16c"),
        ("Apple M2 Pro", 10, "apple-m2-pro-10c"),
        ("../../etc", 1, "etc-1c"),
        (None, None, "unknown"),
    ],
)
def test_slug_of_a_processor(cpu, cores, expected):
    assert machine.slug({"gpu": None, "cpu": cpu, "cores_usable": cores}) == expected


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ("NVIDIA H200", "nvidia-h200"),
        ("NVIDIA GeForce RTX 3090", "nvidia-geforce-rtx-3090"),
        ("Tesla V100-SXM2-16GB", "nvidia-tesla-v100-sxm2-16gb"),
    ],
)
def test_slug_of_a_gpu(gpu, expected):
    assert machine.slug({"gpu": gpu, "cpu": "AMD EPYC", "cores_usable": 2}) == expected


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1)],
)
def test_a_container_limits_the_cores(tmp_path, monkeypatch, quota, expected):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert machine.usable_cores(8, tmp_path) == expected


def test_the_older_cgroups_limit_too(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.usable_cores(8, tmp_path) == 3
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")  # no limit
    assert machine.usable_cores(8, tmp_path) == 8


def test_affinity_limits_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert machine.usable_cores(8, tmp_path) == 1


def test_a_container_limits_the_memory(tmp_path):
    whole = machine.ram_bytes(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.ram_bytes(tmp_path) == whole
    (tmp_path / "memory.max").write_text(f"{512 * 2**20}\n")
    assert machine.ram_bytes(tmp_path) == 512 * 2**20


class Nvml:
    """A driver's library with two GPUs; the calls and their answers are NVML's own."""

    NVMLError = type("NVMLError", (Exception,), {})
    names = ("NVIDIA H200", b"NVIDIA A100-SXM4-80GB")  # old drivers answer in bytes

    def __init__(self, fault=None):
        self.fault = fault
        self.open = 0

    def nvmlInit(self):
        if self.fault == "init":
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return 0 if self.fault == "none" else len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index):
        if index >= len(self.names):
            raise self.NVMLError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return {"GPU-b": 1}[uuid]

    def nvmlDeviceGetName(self, handle):
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle):
        return types.SimpleNamespace(total=(141 - 61 * handle) * 2**30)

    def nvmlSystemGetDriverVersion(self):
        return b"580.65.06"


@pytest.mark.parametrize(
    ("visible", "name", "gib", "count"),
    [
        (None, "NVIDIA H200", 141, 2),
        ("0,1", "NVIDIA H200", 141, 2),
        ("1", "NVIDIA A100-SXM4-80GB", 80, 1),
        ("GPU-b", "NVIDIA A100-SXM4-80GB", 80, 1),
    ],
)
def test_the_gpu_that_cuda_may_use(monkeypatch, visible, name, gib, count):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = Nvml()
    assert machine.gpu_facts(nvml, visible) == {
        "gpu": name,
        "gpu_memory_bytes": gib * 2**30,
        "gpu_driver": "580.65.06",
        "gpu_count": count,
    }
    assert nvml.open == 0  # the library is closed again


@pytest.mark.parametrize(
    ("fault", "visible"), [("init", None), ("none", None), (None, ""), (None, "-1"), (None, "7")]
)
def test_no_gpu_is_none_and_never_zero(monkeypatch, fault, visible):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = Nvml(fault)
    assert set(machine.gpu_facts(nvml, visible).values()) == {None}
    assert nvml.open == 0


# --- how torch is set ------------------------------------------------------------------------

PLAIN = {
    "cuda_matmul_tf32": False,
    "cudnn_tf32": True,
    "cudnn_benchmark": False,
    "cudnn_deterministic": False,
    "float32_matmul_precision": "highest",
    "onednn_matmul_precision": "none",
    "onednn_conv_precision": "none",
    "tf32_override": None,
}
# Torch has two sets of words for the same, and is offended where they are mixed.
SETTINGS = {
    "pass": {},
    "b.cuda.matmul.allow_tf32 = True": {
        "cuda_matmul_tf32": True, "float32_matmul_precision": "high",
    },
    "b.cuda.matmul.fp32_precision = 'tf32'": {
        "cuda_matmul_tf32": True, "float32_matmul_precision": None,
    },
    "b.cudnn.allow_tf32 = False": {"cudnn_tf32": False},
    "b.cudnn.conv.fp32_precision = 'ieee'": {"cudnn_tf32": False},
    "b.cudnn.allow_tf32 = False; b.cuda.matmul.fp32_precision = 'tf32'": {
        "cudnn_tf32": False, "cuda_matmul_tf32": True, "float32_matmul_precision": None,
    },
    "torch.set_float32_matmul_precision('high')": {
        "cuda_matmul_tf32": True, "float32_matmul_precision": "high",
        "onednn_matmul_precision": "tf32",
    },
    "b.cudnn.benchmark = b.cudnn.deterministic = True": {
        "cudnn_benchmark": True, "cudnn_deterministic": True,
    },
    "b.mkldnn.matmul.fp32_precision = 'bf16'": {
        "onednn_matmul_precision": "bf16", "float32_matmul_precision": None,
    },
    "b.mkldnn.conv.fp32_precision = 'tf32'": {"onednn_conv_precision": "tf32"},
}  # fmt: skip
EACH = """
import json, os, sys
from convcost.core import machine
assert machine.arithmetic() is None and "torch" not in sys.modules
import torch
b = torch.backends
for setting in sys.argv[1:]:
    if os.fork() == 0:  # none sees what another one has set
        exec(setting)
        print(json.dumps(machine.arithmetic()), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def arithmetic_after(*settings, **environment):
    """What `arithmetic` says after each of the settings; a warning is an error."""
    inherited = {k: v for k, v in machine.os.environ.items() if "TF32" not in k}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EACH, *settings], capture_output=True, text=True,
        env=inherited | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(map(json.loads, done.stdout.splitlines()))


def test_settings_are_seen_in_whichever_words_they_were_made():
    found = dict(zip(SETTINGS, arithmetic_after(*SETTINGS), strict=True))
    assert found == {setting: PLAIN | changed for setting, changed in SETTINGS.items()}


def test_the_environment_overrides_torch():
    assert arithmetic_after("pass", NVIDIA_TF32_OVERRIDE="0") == [PLAIN | {"tf32_override": "0"}]
    # this one torch reads itself
    (found,) = arithmetic_after("pass", TORCH_ALLOW_TF32_CUBLAS_OVERRIDE="1")
    assert found == PLAIN | {"cuda_matmul_tf32": True, "float32_matmul_precision": "high"}


def test_this_machine():
    found = machine.describe()
    assert found["cores_usable"] >= 1
    assert found["ram_bytes"] > 2**28
    assert found["numpy"].split(".")[0].isdigit()
    assert machine.slug() == machine.slug(found)
    text = repr(found)
    assert machine.platform.node() not in text.split()  # a committed record names no host
