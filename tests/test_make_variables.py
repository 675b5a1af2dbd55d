"""What is given to `make` is text: it arrives as it was typed, and none of it is ever run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from convcost.application import cli
from convcost.core import machine, paths
from test_packaging import ROOT, make, script

RECORDER = """
import json, os, sys
open(os.environ["HEARD"], "w").write(json.dumps(sys.argv[1:]))
"""


@pytest.fixture
def venv(tmp_path):
    """An environment that counts as set up; its Python writes down what it is called with."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "recorder.py").write_text(RECORDER)
    script(
        tmp_path / "venv" / "bin",
        "python",
        f'exec "{sys.executable}" "{tmp_path}/recorder.py" "$@"',
    )
    hashed = subprocess.run(
        "cat requirements.lock pyproject.toml | cksum", shell=True, cwd=ROOT, capture_output=True
    ).stdout.decode()
    (tmp_path / "venv" / ".convcost-stamp").write_text(f"{hashed.strip()} {ROOT}\n")
    return tmp_path / "venv"


def heard(
    venv: Path, *words, **environment
) -> tuple[subprocess.CompletedProcess, list[str] | None]:
    """`make` of these words, and what the program was called with behind -m convcost."""
    file = venv.parent / "heard"
    file.unlink(missing_ok=True)
    done = make(*words, f"VENV={venv}", HEARD=str(file), **environment)
    return done, json.loads(file.read_text())[2:] if file.exists() else None


# what runs in a shell, in make, in a shell behind make, and what closes the quotes around it
INJECTIONS = [
    "$(touch {})",
    "$$(touch {})",
    "$$$$(touch {})",
    "`touch {}`",
    '"; touch {}; "',
    "'; touch {}; '",
    '"$$(touch {})"',
    "$(shell touch {})",
    "${{shell touch {}}}",
    "x; touch {}",
    "x\ntouch {}\n",
    "$(eval x := $(shell touch {}))",
]
# command -> what else is given, and the option that each of its variables becomes
OPTIONS = {
    "reproduce": ([], {"NOTEBOOK": "--notebook", "HOST": "--host"}),
    "sweep": (
        [],
        {"SCHEDULER": "--scheduler", "RESOURCES": "--resources", "WORKERS": "--workers"},
    ),
    "measure": (["NOTEBOOK=02"], {"MINUTES": "--minutes", "ARCHIVE": "--archive"}),
}
REFUSED = {"PROFILE": "reproduce", "FORCE": "reproduce", "ALL": "figures"}


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("command", OPTIONS)
def test_a_value_arrives_as_it_was_typed_and_nothing_of_it_is_run(venv, tmp_path, command, text):
    more, options = OPTIONS[command]
    text = text.format(tmp_path / "ran")
    done, words = heard(venv, command, *more, *(f"{variable}={text}" for variable in options))
    assert done.returncode == 0, done.stderr
    assert {f"{option}={text}" for option in options.values()} <= set(words)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", INJECTIONS)
@pytest.mark.parametrize("variable", REFUSED)
def test_a_value_that_is_one_of_few_is_refused_by_name(venv, tmp_path, variable, text):
    text = text.format(tmp_path / "ran")
    for place in ("typed", "environment"):
        given = [f"{variable}={text}"] if place == "typed" else []
        environment = {} if given else {variable: text}
        done, words = heard(venv, REFUSED[variable], *given, **environment)
        assert done.returncode == 2 and words is None
        first = text.splitlines()[0]
        assert variable in done.stderr and first in done.stderr
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", INJECTIONS)
def test_the_variables_of_set_up_and_lab_run_nothing_either(venv, tmp_path, text):
    text = text.format(tmp_path / "ran")
    given = [f"{variable}={text}" for variable in ("DISK_GB", "LAB_ARGS", "UV_HTTP_TIMEOUT")]
    make("lab", *given, f"PYTHON={text}", f"VENV={venv}", HEARD=str(tmp_path / "heard"))
    (venv / ".convcost-stamp").unlink()
    make("setup", *given, f"VENV={venv}/{text}", "PYTHON=no-such-python")
    make("setup", *given, f"VENV={venv}/{text}", f"PYTHON={text}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("command", "given", "expected"),
    [
        ("reproduce", ["PROFILE=cpu", "NOTEBOOK=01"], ["--profile=cpu", "--notebook=01"]),
        ("reproduce", [], ["--profile=auto", "--notebook="]),
        ("reproduce", ["NOTEBOOK=01, 02"], ["--profile=auto", "--notebook=01, 02"]),
        ("reproduce", ["FORCE=1"], ["--profile=auto", "--notebook=", "--force"]),
        ("reproduce", ["FORCE=0"], ["--profile=auto", "--notebook="]),
        ("reproduce", ["HOST=lab box"], ["--profile=auto", "--notebook=", "--host=lab box"]),
        ("sweep", [], ["--profile=auto"]),
        (
            "sweep",
            ["SCHEDULER=tcp://10.0.0.5:8786", "RESOURCES=GPU=1 disk=2", "WORKERS=4", "PROFILE=gpu"],
            [
                *("--profile=gpu", "--scheduler=tcp://10.0.0.5:8786"),
                *("--resources=GPU=1 disk=2", "--workers=4"),
            ],
        ),
        (
            "measure",
            ["NOTEBOOK=02", "PROFILE=gpu", "MINUTES=12", "ARCHIVE=to bring home/02-gpu.tar.xz"],
            [
                *("--profile=gpu", "--minutes=12", "--archive=to bring home/02-gpu.tar.xz"),
                *("--", "02"),
            ],
        ),
        ("figures", [], []),
        ("figures", ["ALL=1"], ["--all"]),
    ],
)
def test_what_is_given_becomes_words_of_the_program(venv, command, given, expected):
    done, words = heard(venv, command, *given)
    assert done.returncode == 0, done.stderr
    assert words == [command, *expected]


def test_an_environment_with_a_name_for_this_machine_is_no_host(venv):
    """Some shells export HOST; what was typed counts, also behind such a one."""
    assert heard(venv, "reproduce", HOST="my-laptop")[1] == [
        *("reproduce", "--profile=auto", "--notebook="),
    ]
    assert "--host=box" in heard(venv, "reproduce", "HOST=box", HOST="my-laptop")[1]
    assert "--profile=cpu" in heard(venv, "reproduce", PROFILE="cpu")[1]


def test_measure_asks_for_a_notebook(venv):
    done, words = heard(venv, "measure")
    assert done.returncode == 2 and words is None and "such as NOTEBOOK=02" in done.stderr


# --- what the program says to such a value ---------------------------------------------------


WRONG = ["$(touch ran)", "`touch ran`", '"; touch ran; "', "--reference", "0 or 1", "-1"]
SAYS = {
    "--profile": (["reproduce"], "choose one of auto, quick, cpu, gpu"),
    "--notebook": (["reproduce"], "choose from 00-start-here"),
    "--host": (["reproduce"], "no results of a machine"),
    "--scheduler": (["sweep"], "an address such as tcp://10.0.0.5:8786"),
    "--resources": (["sweep"], "NAME=AMOUNT is expected"),
    "--workers": (["sweep"], "invalid int value|a whole number from 1 on"),
    "--minutes": (["measure", "02"], "invalid float value|above 0"),
    "--archive": (["measure", "02"], "ends in .tar"),
}


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("option", SAYS)
def test_the_program_refuses_it_with_the_valid_choices(option, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "RAW", tmp_path / "raw")
    command, says = SAYS[option]
    try:
        status = cli.main([*command, f"{option}={text}"])
    except SystemExit as stop:  # argparse
        status = stop.code
    assert status == 2
    assert re.search(says, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [",", " , ,", " "])
def test_a_list_of_no_notebook_is_refused(text, capsys):
    assert cli.main(["reproduce", "--notebook", text]) == 2
    assert "names no notebook: choose from 00-start-here" in capsys.readouterr().err


def test_this_machine_is_a_host(monkeypatch, capsys):
    monkeypatch.setenv("CONVCOST_HOST", "")
    words = ["reproduce", "--plan", "--notebook", "01", "--profile", "quick"]
    assert cli.main([*words, "--host", machine.slug()]) == 0
    assert os.environ["CONVCOST_HOST"] == machine.slug()


# --- where it lies ---------------------------------------------------------------------------


def test_a_locale_without_letters_does_not_hinder_python(tmp_path):
    """Python reads the path of an editable install in the locale's encoding, first of all."""
    home = tmp_path / "é à"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    (site,) = (home / "venv").glob("lib/*/site-packages")
    (site / "ours.pth").write_text(f"{home}\n", encoding="utf-8")
    python = home / "venv" / "bin" / "python"
    plain = {**os.environ, "LC_ALL": "C"}
    started = subprocess.run([python, "-c", "print(1)"], env=plain, capture_output=True)
    if started.returncode == 0:
        pytest.skip("this Python reads such a path in any locale")
    done = make("doctor", f"VENV={home}/venv", LC_ALL="C")
    assert "convcost doctor" not in done.stderr and "Traceback" not in done.stderr
    assert "3.11 or newer" not in done.stderr and "python" in done.stdout


def test_doctor_tells_a_python_that_does_not_start_from_an_old_one(tmp_path):
    broken = script(tmp_path, "broken", "echo it is broken >&2; exit 1")
    old = script(tmp_path, "old", "exit 3")
    none = f"VENV={tmp_path}/none"
    assert "3.11 or newer is needed" in make("doctor", none, f"PYTHON={old}").stderr
    said = make("doctor", none, f"PYTHON={broken}").stderr
    assert "does not start" in said and "3.11" not in said
