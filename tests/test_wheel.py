"""The package as somebody installs it who wants to count a net: a wheel in a new environment.

The environment has the distributions that the wheel declares, and what these declare, as links to
those of this environment: what else lies here, such as Jupyter, it cannot import.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib import metadata, util
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(sysconfig.get_path("purelib"))


def declared(lines: list[str], found: dict | None = None) -> dict[str, metadata.Distribution]:
    """The distributions that lines of METADATA ask for, and what these ask for, by their names."""
    found = {} if found is None else found
    for wanted in map(Requirement, lines):
        name = " ".join((canonicalize_name(wanted.name), *sorted(wanted.extras)))
        if name not in found:
            found[name] = metadata.distribution(wanted.name)
            theirs = found[name].requires or []
            declared([line for line in theirs if is_asked(line, wanted.extras or {""})], found)
    return found


def is_asked(line: str, extras: set[str]) -> bool:
    """Whether a requirement holds on this machine for who has asked for these extras."""
    marker = Requirement(line).marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """(interpreter, folder to work in) of an environment in which the wheel alone is installed."""
    base = tmp_path_factory.mktemp("wheel")
    # a copy: setuptools builds in the folder of the source
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, base)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "lib", base / "lib", ignore=ignored)
    build = "import setuptools.build_meta as made; print(made.build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=base, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (base / "dist").glob("*.whl")

    venv.create(base / "env", symlinks=True)
    python = base / "env" / "bin" / "python"
    installer = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-index",
    ]
    if util.find_spec("pip") is None:  # uv has made this environment
        installer = ["uv", "pip", "install", "-q", "--offline", "--python", python]
    done = subprocess.run([*installer, "--no-deps", wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    (site,) = (base / "env").glob("lib/python*/site-packages")
    (told,) = site.glob("convcost-*.dist-info/METADATA")
    lines = metadata.Distribution.at(told.parent).requires
    mine = [line for line in lines if is_asked(line, {""})]
    for distribution in declared(mine).values():
        for entry in {file.parts[0] for file in distribution.files}:
            if entry != ".." and not (site / entry).exists():
                (site / entry).symlink_to(SITE / entry)
    elsewhere = base / "elsewhere"
    elsewhere.mkdir()
    return python, elsewhere


def run(environment, *words, **settings):
    folder = environment[1]
    kept = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=120, env=kept | settings
    )


# count, predict, a zero rate and a timing, with what is not there asked for, too
LIBRARY = """
import importlib, importlib.util, json, sys
import convcost, torch
from convcost import count, predict
from convcost.application.cli import main
from convcost.core.errors import ConvcostError
from convcost.measuring import timing, zeros
from torch import nn

net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.ReLU())
with torch.no_grad():  # of the two channels one is negative everywhere
    net[0].weight[0], net[0].weight[1] = 1.0, -1.0
batch = (torch.ones(4, 1, 6, 6), torch.zeros(4, dtype=int))
linear = count(nn.Linear(3, 2, bias=False), (3,))
slow = predict.Device("slow", fp32_flops_per_s=1.0, memory_bytes_per_s=1e6)

def refusal(ask):
    try:
        return f"not refused: {ask()}"
    except ConvcostError as error:
        return str(error)

print(json.dumps({
    "statuses": [main([name]) for name in ("figures", "reproduce", "doctor", "cluster")],
    "version": convcost.__version__,
    "file": convcost.__file__,
    "present": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
    "macs": count(net, (1, 6, 6)).macs,
    "predicted_s": predict.step(linear, 4, slow, "validation").busy_s,
    "zeros": zeros.zero_rates(net, batch, by="layer")["zero_fraction"].tolist(),
    "timed_s": timing.measure(net, (1, 6, 6), 2, repetitions=3, min_s=0.001).seconds,
    "published": refusal(lambda: importlib.import_module("convcost.sources").value("ke", "x")),
    "cited": refusal(lambda: predict.device("NVIDIA GeForce RTX 4080")),
    "cheapest": refusal(lambda: convcost.cheapest_face_net(target_precision=0.9)),
    "digits": refusal(lambda: importlib.import_module("convcost.datasets").load("digits", "test")),
    "figures": refusal(lambda: importlib.import_module("convcost.figures")),
    "notebooks": refusal(lambda: importlib.import_module("convcost.application.notebooks")),
}))
"""
ABSENT = ("jupyterlab", "IPython", "papermill", "thop", "pandera", "pooch", "lmfit", "seaborn")


def test_the_library_counts_predicts_times_and_finds_zeros(environment):
    done = run(environment, environment[0], "-c", LIBRARY, *ABSENT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert found["version"] == project["version"]
    assert Path(found["file"]).is_relative_to(environment[0].parents[1])
    assert found["present"] == []
    assert found["macs"] == 3 * 3 * 1 * 2 * 6 * 6
    assert found["predicted_s"] == 2 * 3 * 2 * 4
    assert set(found["zeros"]) == {1 / 2}  # of the one ReLU, and of the net
    assert 0 < found["timed_s"] < 1
    assert found["statuses"] == [2] * 4
    assert "convcost figures: `convcost figures` needs the compendium's data" in done.stderr
    assert 'convcost cluster: distributed is not installed: pip install "convcost[c' in done.stderr
    for name in ("published", "cited"):
        assert "needs the compendium's data" in found[name], name
    for name, extra in {"digits": "data", "cheapest": "fits", "figures": "figures"}.items():
        assert f'pip install "convcost[{extra}]"' in found[name], name
    assert found["notebooks"] == 'nbformat is not installed: pip install "convcost[notebooks]"'


def test_the_command_counts_and_says_what_it_lacks(environment):
    command = environment[0].with_name("convcost")
    done = run(environment, command, "count", "resnet18", "--input", "3,224,224", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["macs"] == 1_814_073_344  # Table 1 of tests/test_count.py

    refused = run(environment, command, "claims")
    assert refused.returncode == 2
    assert refused.stderr.startswith("convcost claims: `convcost claims` needs the compendium's")
    assert "Clone the repository" in refused.stderr and "Traceback" not in refused.stderr
    assert list(environment[1].iterdir()) == []  # none has left anything where it was called
