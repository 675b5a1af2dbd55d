"""The files that make an environment agree with each other, and name no machine of ours."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from convcost.core.extras import EXTRA_OF

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = (
    *(
        "help",
        "setup",
        "data",
        "reproduce",
        "measure",
        "sweep",
        "test",
        "test-gpu",
        "figures",
        "lab",
    ),
    *("lint", "doctor", "bench", "lock", "clean", "distclean"),
)


def locked() -> list[tuple[Requirement, list[str]]]:
    """(requirement, its hashes), one for every entry of the lock."""
    entries = []
    for entry in re.split(r"\n(?=[A-Za-z0-9])", LOCK[LOCK.index("\n", LOCK.rindex("#    make")) :]):
        text = re.sub(r"\s*\\\n\s*", " ", re.sub(r"^\s*#.*$", "", entry, flags=re.MULTILINE))
        hashes = re.findall(r"--hash=(\S+)", text)
        if name := text.split(" --hash")[0].strip():
            entries.append((Requirement(name), hashes))
    return entries


def test_every_entry_is_one_version_with_hashes():
    entries = locked()
    assert len(entries) > 100
    for requirement, hashes in entries:
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement
        assert requirement.url is None


def test_the_pair_is_pinned():
    versions = {r.name: str(r.specifier) for r, _ in locked() if r.name.startswith("torch")}
    assert versions["torch"] == "==2.15.0"
    assert versions["torchvision"] == "==0.29.2"
    pins = (ROOT / "requirements.in").read_text(encoding="utf-8")
    assert {"torch==2.15.0", "torchvision==0.29.2"} <= set(pins.splitlines())


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_lock_has_what_reproduce_and_test_need(python, platform):
    place = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": platform,
        "platform_system": platform.title(),
        "platform_machine": "x86_64" if platform == "linux" else "arm64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    versions: dict[str, list[Version]] = {}
    for requirement, _ in locked():
        if requirement.marker is None or requirement.marker.evaluate(place):
            (specifier,) = requirement.specifier
            versions.setdefault(canonicalize_name(requirement.name), []).append(
                Version(specifier.version)
            )
    assert [name for name, found in versions.items() if len(found) != 1] == []
    for wanted in required("", "all"):
        (found,) = versions[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(found), f"{wanted} but {found} is locked"
    # the editable install builds with what is locked
    (backend,) = map(Requirement, PYPROJECT["build-system"]["requires"])
    assert backend.specifier.contains(versions[backend.name][0])


def required(*extras: str) -> list[Requirement]:
    """What pyproject asks for: of "" without an extra; the extras that one names are followed."""
    found = []
    for extra in extras:
        lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
        for wanted in map(Requirement, lines):
            own = wanted.name == PROJECT["name"]
            found += required(*sorted(wanted.extras)) if own else [wanted]
    return found


def test_whatever_is_locked_on_purpose_is_in_the_extra_all():
    """`make lock` compiles that extra."""
    assert "--extra all pyproject.toml requirements.in" in MAKEFILE
    others = set(PROJECT["optional-dependencies"]) - {"all", "timm"}
    assert {w.name for w in required(*others)} <= {w.name for w in required("all")}


DISTRIBUTIONS = {"PIL": "pillow", "pynvml": "nvidia-ml-py", "sklearn": "scikit-learn"}


def test_every_package_that_the_library_imports_is_declared_and_told_by_the_right_extra():
    imported = set()
    for path in (ROOT / "lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"convcost"}
    assert {"torch", "scipy", "papermill"} <= foreign
    plain = {canonicalize_name(wanted.name) for wanted in required("")}
    # with what others bring for sure: pooch its requests, jupyterlab its clients
    brought = {
        *("requests", "urllib3", "packaging", "threadpoolctl", "IPython"),
        *("jupyter_client", "jupyter_core"),
    }
    for name in foreign - brought:
        distribution = canonicalize_name(DISTRIBUTIONS.get(name, name))
        if distribution not in plain:
            of_extra = required(EXTRA_OF[name])
            assert distribution in {canonicalize_name(w.name) for w in of_extra}, name
    assert not {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in EXTRA_OF} & plain


def test_the_ranges():
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["license"] == "MIT"
    torch = next(Requirement(d) for d in PROJECT["dependencies"] if d.startswith("torch>"))
    assert torch.specifier.contains("2.11.0") and not torch.specifier.contains("2.10.0")


def test_conda_installs_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert pip == {"pip": ["-r requirements.lock"]}


def test_the_markers_of_the_lock_are_read():
    """The test above would be worth nothing if markers were dropped."""
    assert any(requirement.marker for requirement, _ in locked())
    assert not Marker("python_full_version < '3.12'").evaluate({"python_full_version": "3.12.1"})


def committed() -> list[Path]:
    """The files that git follows, or would follow."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip("this copy is no git repository")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_index_host_is_written_anywhere():
    """A lock that names the index of the machine that made it works on no other."""
    option = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host|UV_INDEX|PIP_INDEX")
    host = re.compile(r"https?://[^\s/]*(?:pypi|pythonhosted|/simple)", re.IGNORECASE)
    found = []
    for path in committed():
        if path != Path(__file__).resolve() and path.suffix in (
            *("", ".py", ".toml", ".lock", ".in", ".yml", ".cff", ".md", ".ipynb", ".json", ".cfg"),
        ):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{path.name}: {m[0]}" for p in (option, host) for m in p.finditer(text)]
    assert found == []


def test_no_committed_file_is_large():
    large = {p.name: p.stat().st_size for p in committed() if p.stat().st_size > 5 * 2**20}
    assert large == {}


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version", "license", "type"} <= set(citation)
    assert citation["authors"] == [{"name": "The convcost authors"}]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


# --- the Makefile ----------------------------------------------------------------------------


def make(*words, cwd=ROOT, **environment):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env={**inherited, **environment},
    )


def test_plain_make_is_help_and_names_every_command():
    text = make().stdout
    assert re.findall(r"^  ([a-z-]+) +\S", text, re.MULTILINE) == list(TARGETS)
    assert text == make("help").stdout


SELF_MADE = {"help", "setup", "doctor", "lock", "clean", "distclean"}  # need no environment


@pytest.mark.parametrize("target", TARGETS)
def test_every_command_can_be_planned_and_sets_up_first(target):
    done = make("-n", target)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^\.PHONY:.*\b{target}\b", MAKEFILE, re.MULTILINE)
    if target not in SELF_MADE:
        after = done.stdout[done.stdout.index("--require-hashes -r requirements.lock") :]
        assert "--no-deps --no-build-isolation -e ." in after
        assert re.search(r"-m (convcost|pytest|jupyterlab|ruff)|bench_\*", after)


@pytest.mark.parametrize("command", ["reproduce", "measure", "sweep"])
def test_a_wrong_profile_is_told_before_anything_is_installed(tmp_path, command):
    done = make(command, "PROFILE=fast", f"VENV={tmp_path}/venv")
    assert done.returncode != 0
    assert 'unknown PROFILE "fast": choose one of auto, quick, cpu, gpu' in done.stderr
    assert not (tmp_path / "venv").exists()


def script(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_setup_says_what_is_missing(tmp_path):
    venv = f"VENV={tmp_path}/venv"
    absent = make("setup", venv, "PYTHON=no-such-python")
    assert "there is no no-such-python here" in absent.stderr

    old = script(tmp_path, "old", 'case "$1" in --version) echo Python 3.8.18;; *) exit 1;; esac')
    assert "Python 3.8.18 is too old: 3.11 or newer" in make("setup", venv, f"PYTHON={old}").stderr

    full = make("setup", venv, f"PYTHON={sys.executable}", "DISK_GB=999999999")
    assert re.search(r"make setup: \d+ GB are free here", full.stderr)

    # Debian's python3 without python3-venv: only the import of ensurepip fails
    bare = script(
        tmp_path,
        "bare",
        f'case "$*" in *ensurepip*) exit 1;; *) exec "{sys.executable}" "$@";; esac',
    )
    no_uv = os.pathsep.join(
        folder
        for folder in os.environ["PATH"].split(os.pathsep)
        if not (Path(folder) / "uv").exists()
    )
    lacking = make("setup", venv, f"PYTHON={bare}", PATH=no_uv)
    assert "apt install python3-venv" in lacking.stderr

    for done in (absent, full, lacking):
        assert done.returncode != 0
    assert not (tmp_path / "venv" / ".convcost-stamp").exists()


def test_setup_is_stamped_by_content_and_place(tmp_path):
    """A stamp that fits means nothing to do; any other makes it install (here: fail at once)."""
    binaries = tmp_path / "venv" / "bin"
    binaries.mkdir(parents=True)
    script(binaries, "python", "echo installs >&2; exit 7")
    stamp = tmp_path / "venv" / ".convcost-stamp"
    hashed = subprocess.run(
        "cat requirements.lock pyproject.toml | cksum", shell=True, cwd=ROOT, capture_output=True
    ).stdout.decode()
    venv = f"VENV={tmp_path}/venv"

    stamp.write_text(f"{hashed.strip()} {ROOT}\n")
    done = make("setup", venv)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    for other in (f"1{hashed.strip()} {ROOT}\n", f"{hashed.strip()} /elsewhere\n", ""):
        stamp.write_text(other)
        no_uv = script(tmp_path, "uv", "exec false")  # an installer that fails at once
        path = f"{Path(no_uv).parent}{os.pathsep}{os.environ['PATH']}"
        assert make("setup", venv, PATH=path).returncode != 0
        assert not stamp.exists()  # a set-up that did not end leaves none


def test_without_a_gpu_its_tests_fail_with_a_clear_word(tmp_path):
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    script(tmp_path / "venv" / "bin", "python", f'exec "{sys.executable}" "$@"')
    # a torch that answers at once: what torch itself says is torch's business
    (tmp_path / "torch.py").write_text(
        "class cuda:\n    def is_available():\n        return False\n"
    )
    hashed = subprocess.run(
        "cat requirements.lock pyproject.toml | cksum", shell=True, cwd=ROOT, capture_output=True
    ).stdout.decode()
    (tmp_path / "venv" / ".convcost-stamp").write_text(f"{hashed.strip()} {ROOT}\n")
    done = make("test-gpu", f"VENV={tmp_path}/venv", PYTHONPATH=str(tmp_path))
    assert done.returncode != 0 and "make test-gpu: torch finds no CUDA GPU here" in done.stderr
    assert "pytest" not in done.stdout


def test_setup_that_was_interrupted_starts_again(tmp_path):
    """What lies half unpacked would count as installed, so it is removed; nothing else ever is."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    script(venv / "bin", "python", "exit 7")
    (venv / "half-unpacked").touch()
    (tmp_path / "venv.part").touch()
    script(tmp_path, "uv", "exec false")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    done = make("setup", f"VENV={venv}", PATH=path)
    assert done.returncode != 0
    assert (venv / "half-unpacked").exists()  # no pyvenv.cfg: not an environment of ours

    (venv / "pyvenv.cfg").touch()
    done = make("setup", f"VENV={venv}", PATH=path)
    assert "the last one was interrupted" in done.stdout
    assert not venv.exists()


def test_clean_touches_no_data_and_no_environment(tmp_path):
    kept = ["data/raw/mnist.gz", "data/results/x/__pycache__/a.csv", ".venv/__pycache__/a.pyc"]
    gone = ["build/notebooks/00.ipynb", "lib/convcost/__pycache__/a.pyc", "notebooks/1.part.ipynb"]
    (tmp_path / "Makefile").write_text(MAKEFILE)
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert make("clean", cwd=tmp_path).returncode == 0
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"Makefile", *kept}
    assert make("distclean", cwd=tmp_path).returncode == 0
    assert (tmp_path / kept[2]).exists()  # no pyvenv.cfg there: not an environment
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    assert make("distclean", cwd=tmp_path).returncode == 0
    assert not (tmp_path / ".venv").exists()


def test_ci_runs_make_test():
    path = ROOT / ".ci" / "run"
    text = path.read_text(encoding="utf-8")
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in text
    assert text.rstrip().endswith("make test")
    assert subprocess.run(["bash", "-n", path]).returncode == 0
