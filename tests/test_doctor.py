"""The doctor: every verdict from the facts that call for it, and the real thing once."""

import json
import sys
import time
import types

import pytest

from convcost.application import cli, doctor
from convcost.application.doctor import BAD, OK, WARN, Finding
from convcost.core import machine

PAIR = {"torch": "2.15.0", "torchvision": "0.29.2"}
NO_GPU = {"gpu": None, "gpu_memory_bytes": None, "gpu_driver": None, "gpu_count": None}
H200 = {"gpu": "NVIDIA H200", "gpu_memory_bytes": 141 * 2**30, "gpu_driver": "580", "gpu_count": 1}


# What a real CPU build of torch 2.13 with torchvision 0.28 of the package index answers.
MISMATCH = {
    "torch": "2.13.0+cpu",
    "cuda": None,
    "gpu": False,
    "operators": "libcudart.so.13: cannot open shared object file: No such file or directory",
    "error": "AttributeError: '_OpNamespace' 'torchvision' object has no attribute 'nms'",
}


@pytest.mark.parametrize(
    ("installed", "wanted", "answer", "state", "says"),
    [
        (PAIR, "torch>=2.14.0", {"torch": "2.15.0", "gpu": False}, OK, "a working pair"),
        (PAIR, "torch>=2.14.0", None, WARN, "longer than"),
        (
            {"torch": "2.13.0+cpu", "torchvision": "0.28.0"},
            "torch==2.13.0",  # the release is right, so only loading them tells
            MISMATCH,
            BAD,
            "torchvision::nms does not exist",
        ),
        (
            {"torch": "2.11.0", "torchvision": "0.29.2"},
            "torch>=2.14.0",
            {"torch": "2.11.0", "error": "AttributeError: no attribute 'nms'"},
            BAD,
            "wants torch>=2.14.0",
        ),
        ({**PAIR, "torch": "2.13.0"}, "torch>=2.14.0", {"torch": "2.13.0"}, WARN, "wants torch>="),
        ({"torch": "2.9.1", "torchvision": "0.24.1"}, None, {"torch": "2.9.1"}, WARN, "2.11"),
        (PAIR, "torch>=2.14.0", {"error": "OSError: libc10.so"}, BAD, "damaged"),
    ],
)
def test_the_pair(installed, wanted, answer, state, says):
    finding = doctor.judge_pair(installed, wanted, answer)
    assert finding.state == state
    assert says in f"{finding.found} {finding.meaning}"
    assert (finding.remedy == "") == (state == OK)


def test_fits_takes_local_versions_for_their_release():
    assert doctor.fits("2.13.0+cpu", "torch==2.13.0")
    assert doctor.fits("2.15.0", "torch>=2.14.0")
    assert not doctor.fits("2.13.1", "torch==2.13.0")


def test_what_torchvision_asks_for_is_read_from_its_own_metadata():
    assert doctor.fits(machine.version("torch"), doctor.wanted_torch())


def test_an_interpreter_that_dies_is_told(tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'torch: undefined symbol' >&2\nexit 139\n")
    broken.chmod(0o755)
    assert doctor.load_pair(str(broken)) == {"error": "torch: undefined symbol"}
    broken.write_text("#!/bin/sh\nexec sleep 60\n")
    assert doctor.load_pair(str(broken), seconds=0.2) is None


@pytest.mark.parametrize(
    ("facts", "answer", "state", "says"),
    [
        (NO_GPU, {"gpu": False}, OK, "auto means quick"),
        (H200, {"gpu": True, "cuda": "13.2"}, OK, "NVIDIA H200, 141 GiB, driver 580"),
        (H200, {"gpu": False, "cuda": "13.2"}, WARN, "driver"),
        (H200, {"gpu": False, "cuda": None}, WARN, "CPU build"),
        (H200, None, OK, "NVIDIA H200"),  # torch could not be asked: that has its own line
    ],
)
def test_the_gpu(facts, answer, state, says):
    finding = doctor.judge_gpu(facts, answer)
    assert finding.state == state
    assert says in f"{finding.found} {finding.meaning}"


@pytest.mark.parametrize(
    ("free", "writable", "state"),
    [
        (50 * 2**30, True, OK),
        (2 * 2**30, True, WARN),
        (2**20, True, BAD),
        (50 * 2**30, False, BAD),
    ],
)
def test_the_disk(free, writable, state):
    assert doctor.judge_disk(free, writable).state == state


def test_the_kernel(tmp_path):
    assert doctor.judge_kernel(sys.executable).state == OK
    other = tmp_path / "python"
    other.symlink_to(sys.executable)  # the same file, yet another environment
    assert doctor.judge_kernel(str(other)).state == WARN
    assert "not there" in doctor.judge_kernel(str(tmp_path / "gone")).found
    assert "no kernel" in doctor.judge_kernel(None).found


def test_an_interpreter_without_the_library_runs_no_notebook(tmp_path):
    assert doctor.judge_interpreter(sys.executable) is None
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')  # no site-packages
    bare.chmod(0o755)
    finding = doctor.judge_interpreter(str(bare))
    assert (finding.state, finding.remedy) == (BAD, "run `make setup`")
    assert "No module named 'ipykernel'" in finding.found


ROW = {"name": "mnist", "images": 70_000, "where": None, "download_bytes": 12_000_000, "note": ""}
ROW["damaged"] = ""


def test_the_data_sets():
    here = doctor.judge_dataset({**ROW, "found": True, "where": "CONVCOST_DATA"})
    assert (here.state, here.found) == (OK, "mnist: 70,000 images, in CONVCOST_DATA")
    away = doctor.judge_dataset({**ROW, "found": False, "note": "one file is damaged"})
    assert away.state == WARN
    assert "one file is damaged" in away.found
    assert "12 MB" in away.meaning
    cut = "train-images-idx3-ubyte has 100,000 bytes, not 47,040,016"
    broken = {**ROW, "found": True, "where": "CONVCOST_DATA", "damaged": cut}
    damaged = doctor.judge_dataset(broken)
    assert (damaged.state, damaged.found) == (BAD, f"mnist in CONVCOST_DATA is damaged: {cut}")


@pytest.mark.parametrize(
    ("reachable", "missing", "state"),
    [(True, ["mnist"], OK), (False, [], OK), (False, ["mnist"], WARN)],
)
def test_the_network_matters_where_data_are_missing(reachable, missing, state):
    verdict = types.SimpleNamespace(reachable=reachable, reason="no server answers", seconds=0.1)
    assert doctor.judge_network(verdict, missing).state == state


def test_names_and_versions_are_read_from_the_files():
    lock = "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:aa\n"
    lock += (
        "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:bb\ntorch==2.15.0 \\\n"
    )
    assert doctor.locked_versions(lock) == {"numpy": {"2.4.6", "2.5.5"}, "torch": {"2.15.0"}}
    project = """
        [project]
        name = "own"
        dependencies = ["torch>=2.11"]
        [project.optional-dependencies]
        data = ["Pooch"]
        notebooks = ["own[data]", "pandera[pandas]>=0.24"]
    """
    assert doctor.required_names(project) == {"torch"}
    assert doctor.required_names(project, "notebooks") == {"pandera", "pooch"}


def test_a_missing_package_is_bad(monkeypatch):
    version = machine.version
    monkeypatch.setattr(machine, "version", lambda name: None if name == "lmfit" else version(name))
    (finding,) = doctor.check_packages()
    assert finding.state == BAD
    assert finding.found.endswith("missing: lmfit")


def test_another_version_is_a_warning(monkeypatch):
    version = machine.version
    monkeypatch.setattr(
        machine, "version", lambda name: "0.9" if name == "lmfit" else version(name)
    )
    (finding,) = doctor.check_packages()
    assert finding.state == WARN
    assert "lmfit 0.9 (lock: " in finding.found


def test_without_notebooks_there_is_nothing_to_run(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.paths, "NOTEBOOKS", tmp_path)
    (finding,) = doctor.check_minutes()
    assert finding.state == BAD


def card_file(folder, name, minutes, ram_gb):
    metadata = {"title": "A", "minutes": minutes, "ram_gb": ram_gb, "datasets": []}
    notebook = {"cells": [], "metadata": {"convcost": metadata}, "nbformat": 4, "nbformat_minor": 5}
    (folder / name).write_text(json.dumps(notebook))


def test_minutes_and_memory_come_from_the_cards(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.paths, "NOTEBOOKS", tmp_path)
    card_file(tmp_path, "00-a.ipynb", {"quick": 1, "cpu": 30, "gpu": 2}, 2)
    card_file(tmp_path, "01-b.ipynb", {"quick": 2, "cpu": 240, "gpu": 9}, 4)
    (minutes,) = doctor.check_minutes()
    assert minutes.found == "2 notebooks: quick about 3 min, cpu about 4.5 h, gpu about 11 min"
    monkeypatch.setattr(machine, "ram_bytes", lambda: 3 * 2**30)
    (memory,) = doctor.check_memory()
    assert (memory.state, memory.found) == (WARN, "3.0 GiB; the notebooks need 4 GiB at most")
    assert "01-b" in memory.meaning and "00-a" not in memory.meaning


def test_a_check_that_fails_or_hangs_is_one_line(monkeypatch):
    def fails():
        raise RuntimeError("the disk is on fire")

    checks = {
        "first": lambda: [Finding("first", OK, "well")],
        "fails": fails,
        "hangs": lambda: time.sleep(30),
    }
    begin = time.monotonic()
    found = doctor.examine(checks, seconds=0.3)
    assert time.monotonic() - begin < 5
    assert [(f.name, f.state) for f in found] == [("first", OK), ("fails", WARN), ("hangs", WARN)]
    assert "the disk is on fire" in found[1].found
    assert "0.3 s" in found[2].found


def test_report_and_exit_status(monkeypatch, capsys):
    bad = Finding("torch", BAD, "missing", "nothing runs", "run `make setup`")
    good = Finding("disk", OK, "50 GiB free")
    for findings, status, end in (
        ([good], 0, "can run here"),
        ([good, Finding("gpu", WARN, "old driver")], 0, "can run here, with 1 limit (see warn)"),
        ([good, bad], 1, "cannot run here (see bad)"),
    ):
        monkeypatch.setattr(doctor, "examine", lambda findings=findings: findings)
        assert cli.main(["doctor"]) == status
        assert capsys.readouterr().out.rstrip().endswith(end)
    assert cli.main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"] is False
    assert found["findings"][1]["remedy"] == "run `make setup`"
    assert found["machine"]["python"] == machine.platform.python_version()


def test_the_real_examination_covers_everything(monkeypatch):
    monkeypatch.setenv("CONVCOST_OFFLINE", "1")
    begin = time.monotonic()
    found = doctor.examine()
    assert time.monotonic() - begin <= 10
    assert list(dict.fromkeys(finding.name for finding in found)) == [
        *("python", "packages", "torch", "gpu", "cpu", "machine", "memory", "disk", "kernel"),
        *("data", "network", "minutes", "gpu parts"),
    ]
    assert [f for f in found if f.found.startswith("not checked")] == []
