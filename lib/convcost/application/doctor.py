"""What this machine has, what is wrong with it, and what to do about that.

Every check is one line: its state, what was found, and where that is not "ok" what it means and
what to do. "bad" is kept for what makes `make reproduce` impossible. A broken environment is what
a doctor is called for, so this module needs the standard library alone: what else a check needs
it imports itself, and a check that cannot be made says why.
"""

import importlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from convcost.core import machine, paths

SECONDS = 9.0  # for all checks together
OK, WARN, BAD = "ok", "warn", "bad"
GIB = 2**30
_SET_UP = "run `make setup`"
_REBUILD = "run `make distclean setup`"


@dataclass(frozen=True)
class Finding:
    """What one check found. `meaning` and `remedy` are empty where all is well."""

    name: str
    state: str  # OK · WARN: works, with a limit · BAD: `make reproduce` cannot work
    found: str
    meaning: str = ""
    remedy: str = ""


def examine(
    checks: Mapping[str, Callable[[], Iterable[Finding]]] | None = None, seconds: float = SECONDS
) -> list[Finding]:
    """All findings, in the order of the checks, after `seconds` at most.

    `checks` name -> function (default: `CHECKS`). They run side by side, for the slow ones wait:
    for torch's import, for the network. A check that raises, or that takes longer, gives a WARN
    that says so; nothing is raised.
    """
    checks = CHECKS if checks is None else checks
    deadline = time.monotonic() + seconds
    answers: dict[str, list[Finding]] = {}

    def ask(name: str, check: Callable[[], Iterable[Finding]]) -> None:
        try:
            answers[name] = list(check())
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            answers[name] = [Finding(name, WARN, f"not checked ({text})")]

    # Daemon threads: one that hangs must not keep the command from ending.
    threads = [
        threading.Thread(target=ask, args=item, daemon=True, name=item[0])
        for item in checks.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        late = (
            f"no answer within {seconds:g} s",
            "the machine is busy, or its disk or network slow",
        )
        answers.setdefault(thread.name, [Finding(thread.name, WARN, *late, "ask again")])
    return [finding for name in checks for finding in answers[name]]


# --- the environment -------------------------------------------------------------------------


def check_python() -> list[Finding]:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.prefix == sys.base_prefix and not os.environ.get("CONDA_PREFIX"):
        meaning = "not the project's own environment, so the findings below are not about it"
        return [Finding("python", WARN, found, meaning, _SET_UP)]
    return [Finding("python", OK, found)]


def locked_versions(lock: str) -> dict[str, set[str]]:
    """Distribution -> its versions, from a lock's text; several where they depend on the Python."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE):
        versions.setdefault(name.lower(), set()).add(version)
    return versions


def required_names(pyproject: str, extra: str = "") -> set[str]:
    """The distributions that pyproject's dependencies name, or those of an extra of it.

    Without versions; the extras that an extra names are followed.
    """
    project = tomllib.loads(pyproject)["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    found: set[str] = set()
    for line in lines:
        name, _, others = re.match(r"([A-Za-z0-9._-]+)(\[(.*)\])?", line).groups()
        if name == project["name"]:
            found |= {
                name for other in others.split(",") for name in required_names(pyproject, other)
            }
        else:
            found.add(name.lower())
    return found


def check_packages() -> list[Finding]:
    pyproject = (paths.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = sorted(required_names(pyproject) | required_names(pyproject, "notebooks"))
    locked = locked_versions((paths.ROOT / "requirements.lock").read_text(encoding="utf-8"))
    missing = [name for name in needed if machine.version(name) is None]
    if missing:
        found = f"{len(missing)} of {len(needed)} missing: {', '.join(missing)}"
        return [Finding("packages", BAD, found, "the notebooks cannot run", _SET_UP)]
    from packaging.version import Version  # "0.1.1-2022" and "0.1.1.post2022" are one version

    other = [
        f"{name} {machine.version(name)} (lock: {', '.join(sorted(locked[name]))})"
        for name in needed
        if Version(machine.version(name)) not in map(Version, locked[name])
    ]
    if other:
        found = "not the locked versions: " + ", ".join(other)
        return [
            Finding("packages", WARN, found, "results may differ from the reference's", _SET_UP)
        ]
    return [Finding("packages", OK, f"{len(needed)} direct dependencies, at the locked versions")]


# torchvision's import loads compiled operators into torch. Made for another torch, or for the CUDA
# build of it, they do not load, and the import ends in "operator torchvision::nms does not exist".
# Only torch and those operators are loaded here: all of torchvision takes seconds more.
_LOAD_PAIR = """
import glob, importlib.util, json, warnings
warnings.simplefilter("ignore")
out = {}
try:
    import torch
    out.update(torch=torch.__version__, cuda=torch.version.cuda, gpu=torch.cuda.is_available())
    folder = importlib.util.find_spec("torchvision").submodule_search_locations[0]
    for library in glob.glob(glob.escape(folder) + "/_C*.so") + glob.glob(folder + "/_C*.pyd"):
        try:
            torch.ops.load_library(library)
        except OSError as error:
            out["operators"] = str(error.__cause__ or error).splitlines()[0]
    torch.ops.torchvision.nms
except Exception as error:
    out["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
print(json.dumps(out))
"""


def load_pair(python: str = sys.executable, seconds: float = SECONDS - 0.5) -> dict | None:
    """What a fresh interpreter says of torch and torchvision; None where it takes too long.

    Keys: `torch` (version), `cuda` (the version torch is built for, or None), `gpu` (torch can use
    one), `error` (what failed), `operators` (why torchvision's do not load). Only what was reached
    is there.
    """
    try:
        done = subprocess.run(
            [python, "-c", _LOAD_PAIR], capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return None
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):  # it died: a broken shared library does that
        last = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
        return {"error": last}


def wanted_torch() -> str | None:
    """The torch that the installed torchvision asks for ("torch>=2.14.0"), None if it has none."""
    for line in importlib.metadata.requires("torchvision") or []:
        match = re.match(r"torch\s*\(?([<>=!~][^);]*)", line)
        if match:
            return f"torch{match[1].strip()}"
    return None


def fits(version: str, requirement: str) -> bool:
    """Whether a version is one that a requirement such as "torch>=2.14.0" allows."""
    from packaging.requirements import Requirement

    return Requirement(requirement).specifier.contains(version, prereleases=True)


def check_torch() -> list[Finding]:
    """Two findings, of one import: the pair torch and torchvision, and the GPU."""
    facts = machine.gpu_facts()
    pair = {name: machine.version(name) for name in ("torch", "torchvision")}
    missing = [name for name, version in pair.items() if version is None]
    if missing:
        lost = Finding("torch", BAD, f"{' and '.join(missing)} missing", "nothing runs", _SET_UP)
        return [lost, judge_gpu(facts, None)]
    answer = load_pair()
    return [judge_pair(pair, wanted_torch(), answer), judge_gpu(facts, answer)]


def judge_pair(installed: Mapping, wanted: str | None, answer: Mapping | None) -> Finding:
    """The verdict on torch and torchvision.

    `installed` their versions, `wanted` the torch that torchvision asks for, `answer` what
    `load_pair` gave.
    """
    found = f"torch {installed['torch']}, torchvision {installed['torchvision']}"
    if answer is None:
        late = f"{found}: loading them takes longer than {SECONDS - 0.5:g} s"
        meaning = "the first import after a start reads gigabytes from the disk"
        return Finding("torch", WARN, late, meaning, "ask again")
    if "error" in answer:
        meaning = "torch or torchvision is damaged"
        if "operators" in answer:
            meaning = (
                "these two builds are no pair: torchvision from the package index is made for the "
                "CUDA build of torch, and its operators do not load into a CPU build of torch, "
                "nor into a release that it was not made for (the import then ends in "
                '"operator torchvision::nms does not exist")'
            )
        elif answer.get("torch") and wanted and not fits(installed["torch"], wanted):
            meaning = f"these two are no pair: this torchvision wants {wanted}"
        reason = answer.get("operators", answer["error"])
        return Finding("torch", BAD, f"{found}: {reason}", meaning, _REBUILD)
    if wanted and not fits(installed["torch"], wanted):
        meaning = f"this torchvision wants {wanted}; both load all the same"
        return Finding("torch", WARN, found, meaning, _REBUILD)
    if not fits(installed["torch"], "torch>=2.11"):
        return Finding("torch", WARN, found, "convcost is made for torch 2.11 and newer", _SET_UP)
    return Finding("torch", OK, f"{found}, a working pair")


def judge_gpu(facts: Mapping, answer: Mapping | None) -> Finding:
    """The verdict on the GPU: `facts` from the driver, `answer` what `load_pair` gave."""
    usable = (answer or {}).get("gpu")
    if facts["gpu"] is None:
        if usable:
            return Finding("gpu", OK, "torch has a GPU that is not NVIDIA's driver's")
        return Finding("gpu", OK, "no NVIDIA GPU: PROFILE=auto means quick, gpu is not possible")
    memory = f"{facts['gpu_memory_bytes'] / GIB:.0f} GiB"
    found = f"{facts['gpu']}, {memory}, driver {facts['gpu_driver']}"
    if usable is not False:
        return Finding("gpu", OK, found)
    meaning, remedy = "this torch is a CPU build and cannot use it", _SET_UP
    if built := answer.get("cuda"):
        meaning = f"torch is built for CUDA {built} and cannot use it: is the driver older?"
        remedy = "update the NVIDIA driver"
    return Finding("gpu", WARN, found, meaning, f"{remedy}, or run with PROFILE=quick")


_IMPORT_KERNEL = "import ipykernel, convcost; print(convcost.__file__)"


def kernel_interpreter() -> str | None:
    """The interpreter that Jupyter's kernel "python3" starts, None where there is none."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return None
    major, minor = sys.version_info[:2]
    if command in ("python", f"python{major}", f"python{major}.{minor}"):
        return sys.executable  # Jupyter takes a bare name for its own interpreter, not for PATH's
    return command


def check_kernel() -> list[Finding]:
    lost = judge_interpreter(sys.executable)
    return [lost or judge_kernel(kernel_interpreter())]


def judge_interpreter(python: str, seconds: float = SECONDS - 0.5) -> Finding | None:
    """A finding where notebooks cannot run in this interpreter, None where they can.

    It is asked as a kernel would be: without PYTHONPATH, which could hide that convcost is not
    installed there.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", _IMPORT_KERNEL],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment,
        cwd=tempfile.gettempdir(),
    )
    if done.returncode:
        reason = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
        return Finding("kernel", BAD, f"{python}: {reason}", "no notebook can run", _SET_UP)
    library = Path(done.stdout.strip()).resolve()
    if not library.is_relative_to(paths.ROOT.resolve()):
        found = f"{python} imports convcost from {library.parent}"
        meaning = "notebooks use another copy of the library than this one"
        return Finding("kernel", WARN, found, meaning, _SET_UP)
    return None


def judge_kernel(interpreter: str | None) -> Finding:
    """The verdict on what Jupyter starts for a notebook; `make reproduce` does not ask Jupyter."""
    where = interpreter and shutil.which(interpreter)
    # An environment's python is a link to the system's: only the folder tells them apart.
    if where and Path(where).parent.resolve() == Path(sys.executable).parent.resolve():
        return Finding("kernel", OK, f"notebooks run in {where}")
    if interpreter is None:
        found = 'Jupyter has no kernel named "python3"'
    elif where is None:
        found = f"Jupyter's kernel python3 starts {interpreter}, which is not there"
    else:
        found = f"Jupyter's kernel python3 starts {where}, not {sys.executable}"
    meaning = "`make reproduce` is untouched, but in JupyterLab notebooks fail or run elsewhere"
    remedy = f"see `{sys.executable} -m jupyter kernelspec list`, remove the wrong one"
    return Finding("kernel", WARN, found, meaning, f"{remedy}, or {_REBUILD}")


# --- the machine -----------------------------------------------------------------------------


def check_processor() -> list[Finding]:
    facts = machine.describe()
    flags = facts["cpu_flags"]
    listed = "flags not available" if flags is None else " ".join(flags) or "no vector extensions"
    return [
        Finding("cpu", OK, f"{facts['cpu']}, {facts['cores_usable']} cores usable ({listed})"),
        Finding("machine", OK, f"results of this machine go to a folder named {machine.slug()}"),
    ]


def check_memory() -> list[Finding]:
    total = machine.ram_bytes()
    if total is None:
        return [Finding("memory", WARN, "not available on this system")]
    from convcost.application.notebooks import cards as notebook_cards

    cards = notebook_cards()
    most = max((card.ram_gb for card in cards.values()), default=0)
    hungry = sorted(name for name, card in cards.items() if card.ram_gb * GIB > total)
    found = f"{total / GIB:.1f} GiB; the notebooks need {most:g} GiB at most"
    if hungry:
        meaning = f"the system may stop {', '.join(hungry)}"
        remedy = "close other programs, or run that notebook elsewhere"
        return [Finding("memory", WARN, found, meaning, remedy)]
    return [Finding("memory", OK, found)]


def check_disk() -> list[Finding]:
    return [judge_disk(shutil.disk_usage(paths.ROOT).free, os.access(paths.ROOT, os.W_OK))]


def judge_disk(free_bytes: int, writable: bool) -> Finding:
    """The verdict on the disk that the repository lies on."""
    found = f"{free_bytes / GIB:.1f} GiB free"
    if not writable:
        found = f"{found}, but no right to write"
        return Finding("disk", BAD, found, "no result can be stored", "copy it")
    if free_bytes < GIB / 4:
        return Finding("disk", BAD, found, "no result can be stored", "make room")
    if free_bytes < 3 * GIB:
        return Finding("disk", WARN, found, "data sets and checkpoints may not fit", "make room")
    return Finding("disk", OK, found)


# --- what a run needs ------------------------------------------------------------------------


def check_minutes() -> list[Finding]:
    from convcost.application.notebooks import cards as notebook_cards

    cards = notebook_cards()
    if not cards:
        found = f"no notebook in {paths.NOTEBOOKS}"
        restore = "restore them: git checkout -- notebooks"
        return [Finding("minutes", BAD, found, "there is nothing to run", restore)]
    totals: dict[str, float] = {}
    for card in cards.values():
        for profile, minutes in card.minutes.items():
            totals[profile] = totals.get(profile, 0) + minutes
    listed = ", ".join(f"{profile} about {_duration(m)}" for profile, m in totals.items())
    found = [Finding("minutes", OK, f"{len(cards)} notebooks: {listed}")]
    for name, card in cards.items():
        if card.gpu_parts:
            parts = ", ".join(f"{part} {minutes:g}" for part, minutes in card.gpu_parts.items())
            found.append(Finding("gpu parts", OK, f"{name}, minutes: {parts}"))
    return found


def _duration(minutes: float) -> str:
    return f"{minutes / 60:.1f} h" if minutes > 100 else f"{minutes:.0f} min"


def check_datasets() -> list[Finding]:
    from convcost import datasets

    return [judge_dataset(row) for row in datasets.status()] + check_benchmarks()


def check_benchmarks() -> list[Finding]:
    """The verdict on the tables that others have published, which notebook 05 reads."""
    from convcost.datasets import benchmarks

    found = []
    for collection in benchmarks.COLLECTIONS.values():
        what = f"{collection.key}: {len(collection.files)} published tables"
        if place := benchmarks.where(collection):
            found.append(Finding("data", OK, f"{what}, in {place.label}"))
            continue
        meaning = (
            f"a run of notebook 05 fetches them ({collection.download_bytes / 1e6:.1f} MB), and "
            "stops where there is no network"
        )
        remedy = "run `make data`, or set CONVCOST_DATA to a folder that has them"
        found.append(Finding("data", WARN, f"{collection.key} is not here", meaning, remedy))
    return found


def judge_dataset(row: Mapping) -> Finding:
    """The verdict on one data set, from its row of `datasets.status()`."""
    found = f"{row['name']}: {row['images']:,} images"
    if row["damaged"]:
        found = f"{row['name']} in {row['where']} is damaged: {row['damaged']}"
        meaning = "a notebook that loads it fails: a damaged set is never replaced by another one"
        remedy = "replace the files, or remove them and run `make data`"
        return Finding("data", BAD, found, meaning, remedy)
    if row["found"]:
        where = "part of a package" if row["where"] == "embedded" else f"in {row['where']}"
        return Finding("data", OK, f"{found}, {where}")
    notes = f" ({row['note']})" if row["note"] else ""
    meaning = (
        f"the run fetches it ({row['download_bytes'] / 1e6:.0f} MB); without network a stand-in "
        'takes its place, and claims that need it say "not tested"'
    )
    remedy = "run `make data`, or set CONVCOST_DATA to a folder that has it"
    return Finding("data", WARN, f"{row['name']} is not here{notes}", meaning, remedy)


def check_network() -> list[Finding]:
    from convcost import datasets

    missing = [row["name"] for row in datasets.status() if not row["found"]]
    return [judge_network(datasets.network(), missing)]


def judge_network(verdict, missing: list[str]) -> Finding:
    """The verdict on the network, from `datasets.network()`: it matters where a set is missing."""
    reason = textwrap.shorten(verdict.reason, 90, placeholder=" …")
    if verdict.reachable:
        return Finding("network", OK, f"the data sets' servers answer ({verdict.seconds:.1f} s)")
    if not missing:
        return Finding("network", OK, f"none ({reason}), and none is needed")
    meaning = f"{', '.join(missing)} cannot be fetched"
    remedy = "connect, or set CONVCOST_DATA to a folder that has them"
    return Finding("network", WARN, f"none ({reason})", meaning, remedy)


CHECKS: dict[str, Callable[[], list[Finding]]] = {
    "python": check_python,
    "packages": check_packages,
    "torch": check_torch,
    "cpu": check_processor,
    "memory": check_memory,
    "disk": check_disk,
    "kernel": check_kernel,
    "data": check_datasets,
    "network": check_network,
    "minutes": check_minutes,
}


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether `make reproduce` can work: nothing found is BAD."""
    return all(finding.state != BAD for finding in findings)


def report(findings: Iterable[Finding]) -> str:
    """The findings as text: one line each, and where needed what it means and what to do."""
    findings = list(findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<5} {finding.name:<9} {finding.found}")
        lines += [
            f"{'':15} {word}: {text}"
            for word, text in (("means", finding.meaning), ("do", finding.remedy))
            if text
        ]
    warnings = sum(finding.state == WARN for finding in findings)
    if healthy(findings):
        end = "`make reproduce` can run here"
        end += f", with {warnings} limit{'s' * (warnings > 1)} (see warn)" if warnings else ""
    else:
        end = "`make reproduce` cannot run here (see bad)"
    return "\n".join([*lines, "", end])
