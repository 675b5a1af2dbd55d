"""Input and surroundings at their edges: a message that says what to do, never a traceback."""

import errno
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from convcost import cheapest_face_net, count, figures, nets, records, sweep
from convcost.application import cli
from convcost.application.cli import lab
from convcost.core import errors
from convcost.core.errors import BadInputError, ConvcostError
from convcost.training import shelf

EXITS = """
import sys
from torch import nn

class Leaves(nn.Module):
    def __init__(self, status):
        super().__init__()
        self.status = status

    def forward(self, x):
        sys.exit(self.status)

class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = Leaves(0)

    def forward(self, x):
        return self.layer(x)

def build():
    sys.exit(0)

def quits():
    quit()

def leaves():
    return Leaves("bye")

inside = Inside
"""


# --- code of the user's that ends the program ------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("build", "SystemExit: 0"),
        ("quits", "SystemExit: None"),
        ("leaves", "SystemExit: bye"),
        ("inside", "module 'layer' (Leaves), which received (1, 1, 2, 2): SystemExit: 0"),
    ],
)
def test_a_net_that_exits_is_status_2_and_a_message(tmp_path, name, says):
    (tmp_path / "net.py").write_text(EXITS)
    done = subprocess.run(
        [sys.executable, "-m", "convcost", "count", f"net.py:{name}", "--input", "1,2,2"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("convcost count: ") and says in done.stderr


def test_a_file_that_exits_when_it_is_read(tmp_path):
    (tmp_path / "net.py").write_text("raise SystemExit(0)")
    with pytest.raises(BadInputError, match="SystemExit: 0"):
        nets.load(f"{tmp_path}/net.py:build")


def test_a_sweep_over_a_module_that_exits(tmp_path, monkeypatch):
    (tmp_path / "leaves_at_once.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInputError, match=r"cannot be imported .SystemExit: 0"):
        sweep.run("leaves_at_once:f", [{}], tmp_path / "results")


def test_whatever_else_exits_is_no_success(monkeypatch, capsys):
    from convcost.application.cli import doctor

    monkeypatch.setattr(doctor, "run", lambda args: sys.exit(0))
    assert cli.main(["doctor"]) == 2
    assert "convcost doctor: ended by sys.exit(0)" in capsys.readouterr().err


def test_the_model_is_left_as_found_after_an_exit():
    class Leaves(nn.Linear):
        def forward(self, x):
            raise SystemExit(0)

    net = Leaves(2, 2).train()
    hooks = dict(net._forward_hooks)
    with pytest.raises(BadInputError, match="SystemExit"):
        count(net, (2,))
    assert net.training and net._forward_hooks == hooks and type(net).__call__ is nn.Module.__call__


# --- numbers and words -----------------------------------------------------------------------


@pytest.mark.parametrize("digits", [20, 400])
@pytest.mark.parametrize("words", [["--input", "3,{},3"], ["--batch", "{}"]])
def test_a_number_beyond_any_tensor(capsys, digits, words):
    number = "9" * digits
    assert cli.main(["count", "resnet18", *(word.format(number) for word in words)]) == 2
    said = capsys.readouterr().err
    assert (
        f"more than 2**63 - 1 numbers is no tensor (its longest side has {digits} digits)" in said
    )


def test_a_number_that_python_does_not_read_is_not_repeated(capsys):
    assert cli.main(["count", "resnet18", "--input", "9" * 5000]) == 2
    said = capsys.readouterr().err
    assert "positive ints" in said and "(5000 characters)" in said and len(said) < 400


def test_just_inside_is_counted_exactly():
    assert count(nn.Linear(2, 3), (2**61, 2), batch=1).macs == 2**61 * 2 * 3


@pytest.mark.parametrize("net", [nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(3, 8, 3)])
@pytest.mark.parametrize("dtype", ["int64", torch.uint8, "bool"])
def test_whole_numbers_into_a_convolution(net, dtype):
    shape = (1, 3, 8, 8)
    with pytest.raises(RuntimeError):  # the referee: torch itself
        net(torch.zeros(shape, dtype=getattr(torch, dtype) if isinstance(dtype, str) else dtype))
    with pytest.raises(BadInputError, match=r"its weights are torch\.float32"):
        count(net, shape[1:], dtype=dtype)
    assert count(net, shape[1:], dtype="float32").macs > 0


def test_whole_numbers_that_become_real_are_counted():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return super().forward(x.float() / 255)

    assert count(Scaled(3, 8, 3), (3, 8, 8), dtype="uint8").macs == 3 * 3 * 3 * 8 * 6 * 6


@pytest.mark.parametrize("training", ["yes", 1, 0, "False"])
def test_training_is_true_or_false(training):
    with pytest.raises(BadInputError, match=r"training .*: True, False or None"):
        count(nn.Linear(2, 2), (2,), training=training)


@pytest.mark.parametrize("name", ["bootstraps", "seed"])
@pytest.mark.parametrize("number", [1.5, -1, "3", True, None])
def test_the_cheapest_net_takes_whole_numbers(name, number):
    with pytest.raises(BadInputError, match=rf"{name} is .*: a whole number from 0 on"):
        cheapest_face_net(0.9, **{name: number})


@pytest.mark.parametrize("plan", [None, 7, {"n": 1}, "n=1"])
def test_a_plan_that_is_none(plan, tmp_path):
    with pytest.raises(BadInputError, match=r"the plan is .*: give a list of dicts"):
        sweep.run("builtins:dict", plan, tmp_path)


@pytest.mark.parametrize("limit", ["5", True, 0, -1, float("nan"), [5]])
def test_a_time_limit_that_is_none(limit, tmp_path):
    with pytest.raises(BadInputError, match=r"timeout_s is .*; a number above 0, or None"):
        sweep.run("builtins:dict", [{}], tmp_path, timeout_s=limit)


@pytest.mark.parametrize(
    "words",
    [
        ["--workers", "0"],
        ["--workers", "-3"],
        ["--scheduler", "10.0.0.5"],
        ["--scheduler", "tcp://10.0.0.5"],
        ["--scheduler", "tcp://:8786"],
        ["--scheduler", "tcp://a b:8786"],
        ["--scheduler", "tcp://h:878678"],
        ["--resources", "GPU=1"],
        ["--scheduler", "tcp://h:1", "--resources", "GPU=nan"],
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_before_data_are_loaded(words, monkeypatch):
    from convcost.chapters.complexity_precision import study as complexity_precision

    monkeypatch.setattr(
        complexity_precision.datasets, "load", lambda *_, **__: pytest.fail("loads")
    )
    assert cli.main(["sweep", "--profile", "quick", *words]) == 2


# --- a full disk, and places that cannot be written ------------------------------------------


@pytest.fixture
def full(monkeypatch):
    """A disk on which every write fails as it does when it is full."""

    def refuse(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(records, "write_atomically", refuse)


FULL = r"cannot be written \(No space left on device\): make room there \(df -h\)"


def test_a_full_disk_is_named_with_the_file_and_what_to_do(full, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00.ipynb").write_text("{}")
    with pytest.raises(ConvcostError, match=rf"00\.ipynb {FULL}"):
        lab.prepare(tmp_path / "notebooks", tmp_path / "lab")
    with pytest.raises(ConvcostError, match=rf"01-layer-profile\.svg {FULL}"):
        figures.redraw_all(tmp_path / "out", processes=1)


def test_a_trained_net_on_a_full_disk(tmp_path, monkeypatch):
    import types

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shelf.checkpoints, "save", refuse)
    trained = types.SimpleNamespace(record={"seed": 7, "net": "x"}, state={})
    with pytest.raises(ConvcostError, match=rf"seed-00007\.safetensors {FULL}"):
        shelf.save(trained, tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_what_no_command_expects_is_told_as_well(number, monkeypatch, capsys):
    from convcost.application.cli import doctor

    def run(args):
        raise OSError(number, os.strerror(number), "build/x.json")

    monkeypatch.setattr(doctor, "run", run)
    assert cli.main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert f"convcost doctor: build/x.json cannot be written ({os.strerror(number)}): " in said


def test_other_errors_of_the_system_keep_their_traceback(monkeypatch):
    from convcost.application.cli import doctor

    def run(args):
        raise OSError(errno.EBADF, "a bug of ours")

    monkeypatch.setattr(doctor, "run", run)
    with pytest.raises(OSError, match="a bug of ours"):
        cli.main(["doctor"])


def test_a_place_where_no_file_can_be_made_is_not_called_locked(capsys):
    assert cli.main(["run", "00", "-o", "/proc/x.ipynb"]) == 2
    said = capsys.readouterr().err
    assert "/proc cannot be written" in said and "another process" not in said


def test_the_words_prefer_the_file_that_was_asked_for():
    error = OSError(errno.EACCES, "Permission denied", "/tmp/x.part")
    assert str(errors.cannot_write(error, "a.csv")).startswith("a.csv cannot be written")
    assert str(errors.cannot_write(error)).startswith("/tmp/x.part cannot be written")
