"""The command line's frame: which commands there are, how they end, what they load."""

import argparse
import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest

from convcost.application import cli
from convcost.core.errors import BadInputError, DamagedFileError


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_a_module(name):
    module = importlib.import_module(f"convcost.application.cli.{name}")
    module.add_arguments(argparse.ArgumentParser())
    assert callable(module.run)


def test_every_module_is_a_command():
    modules = {path.stem for path in Path(cli.__file__).parent.glob("*.py")}
    assert modules - {"__init__"} == set(cli.COMMANDS)


@pytest.fixture
def command(monkeypatch):
    """Makes a command "probe" of a function, and returns what runs it."""

    def make(run):
        def add_arguments(parser):
            parser.add_argument("--times", type=int, default=1)

        module = types.SimpleNamespace(add_arguments=add_arguments, run=run)
        monkeypatch.setitem(sys.modules, "convcost.application.cli.probe", module)
        monkeypatch.setitem(cli.COMMANDS, "probe", "a probe")
        return lambda *words: cli.main(["probe", *words])

    return make


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1), (3, 3)])
def test_the_exit_status_is_the_commands(command, returned, status):
    assert command(lambda args: returned)() == status


def test_arguments_arrive(command):
    assert command(lambda args: args.times)("--times", "7") == 7


@pytest.mark.parametrize("kind", [BadInputError, DamagedFileError])
def test_a_fault_of_the_input_is_one_line_and_2(command, capsys, kind):
    def run(args):
        raise kind("no net resnet19: did you mean resnet18?")

    assert command(run)() == 2
    output = capsys.readouterr()
    assert output.err == "convcost probe: no net resnet19: did you mean resnet18?\n"
    assert output.out == ""


def test_a_fault_of_ours_keeps_its_traceback(command):
    with pytest.raises(ZeroDivisionError):
        command(lambda args: 1 // 0)()


def test_stopping_is_130(command, capsys):
    def run(args):
        raise KeyboardInterrupt

    assert command(run)() == 130
    assert capsys.readouterr().err == "convcost probe: stopped\n"


@pytest.mark.parametrize("words", [[], ["nonsense"], ["doctor", "--nonsense"]])
def test_unknown_words_are_2_and_named(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert "usage: python -m convcost" in capsys.readouterr().err


def test_help_lists_every_command_and_loads_none(monkeypatch, capsys):
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: pytest.fail(f"loads {name}"))
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert [name for name in cli.COMMANDS if name not in text] == []


FLOOD = """
import sys, types
from convcost.application import cli
def run(args):
    for number in range(200_000):
        print(number)
sys.modules["convcost.application.cli.probe"] = types.SimpleNamespace(
    add_arguments=lambda parser: None, run=run
)
cli.COMMANDS["probe"] = "a probe"
sys.exit(cli.main(["probe"]))
"""


def test_a_reader_that_leaves_early_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-c", FLOOD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "0\n"
        process.stdout.close()  # as `| head -1` does
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0


def test_python_m_convcost():
    done = subprocess.run(
        [sys.executable, "-m", "convcost", "doctor", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--json" in done.stdout
