"""`make lab` opens copies: the committed notebooks stay, and so does what a user has changed."""

import json
import shutil
import subprocess
import sys

import nbformat
import pytest

from convcost.application import cli
from convcost.application.cli import lab
from convcost.core import paths
from test_make_variables import heard, venv  # noqa: F401 - a fixture


@pytest.fixture
def places(tmp_path):
    """(a folder of two notebooks, the folder of their copies)"""
    (tmp_path / "notebooks").mkdir()
    for name in ("00-start-here.ipynb", "01-flop-counting.ipynb"):
        shutil.copy(paths.NOTEBOOKS / name, tmp_path / "notebooks" / name)
    return tmp_path / "notebooks", tmp_path / "lab"


def edit(path, text="changed = 1"):
    """What JupyterLab does when a notebook was run and is saved."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(text))
    nbformat.write(notebook, path)


def test_a_copy_can_be_edited_and_the_committed_notebooks_stay(tmp_path, monkeypatch, capsys):
    """With a repository of its own, as git sees it."""
    shutil.copytree(paths.NOTEBOOKS, tmp_path / "notebooks")
    shutil.copy(paths.ROOT / ".gitignore", tmp_path)

    def git(*words):
        name = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(
            ["git", *name, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    git("init", "-q"), git("add", "."), git("commit", "-qm", "all")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "LAB", tmp_path / "lab")
    assert cli.main(["lab", "--prepare-only"]) == 0
    copies = sorted((tmp_path / "lab").glob("*.ipynb"))
    assert [c.name for c in copies] == sorted(p.name for p in paths.NOTEBOOKS.glob("*.ipynb"))
    for copy in copies:
        edit(copy)
    assert git("status", "--porcelain") == ""
    assert "copies of the notebooks are in lab/" in capsys.readouterr().out


def test_an_edited_copy_is_never_overwritten(places):
    originals, folder = places
    assert len(lab.prepare(originals, folder)) == 1
    copy, other = folder / "00-start-here.ipynb", folder / "01-flop-counting.ipynb"
    edit(copy)
    mine = copy.read_bytes()
    said = lab.prepare(originals, folder)
    assert copy.read_bytes() == mine
    assert len(said) == 2 and "00-start-here.ipynb: yours, kept as it is" in said[1]
    assert len(list(folder.glob("*.ipynb"))) == 2

    for name in (copy.name, other.name):  # a new version of both comes with a pull
        edit(originals / name, "new = 1")
    said = lab.prepare(originals, folder)
    assert copy.read_bytes() == mine
    assert other.read_bytes() == (originals / other.name).read_bytes()  # nobody had changed it
    (beside,) = folder.glob("00-start-here.new-*.ipynb")
    assert beside.read_bytes() == (originals / copy.name).read_bytes()
    assert any(beside.name in line for line in said)

    edit(beside)  # that one, too, may be worked on
    mine_too = beside.read_bytes()
    lab.prepare(originals, folder)
    assert beside.read_bytes() == mine_too and copy.read_bytes() == mine
    assert len(list(folder.glob("*.ipynb"))) == 3

    copy.unlink()  # as the message says
    lab.prepare(originals, folder)
    assert copy.read_bytes() == (originals / copy.name).read_bytes()


@pytest.mark.parametrize("damage", ["remove", "truncate", "list"])
def test_without_its_notes_nothing_is_overwritten_either(places, damage):
    originals, folder = places
    lab.prepare(originals, folder)
    notes = folder / lab._MADE
    edit(folder / "00-start-here.ipynb")
    mine = (folder / "00-start-here.ipynb").read_bytes()
    assert set(json.loads(notes.read_text())) == {path.name for path in originals.iterdir()}
    notes.unlink() if damage == "remove" else notes.write_text("[]" if damage == "list" else "{")
    edit(originals / "01-flop-counting.ipynb")
    lab.prepare(originals, folder)
    assert (folder / "00-start-here.ipynb").read_bytes() == mine
    assert list(folder.glob("01-flop-counting.new-*.ipynb"))  # who knows whose the copy is


def test_jupyterlab_is_rooted_where_links_hold(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(paths, "LAB", paths.ROOT / "build" / "lab-of-a-test")
    monkeypatch.setattr(lab, "prepare", lambda *_: [])
    monkeypatch.setattr(
        lab.subprocess,
        "run",
        lambda words: calls.append(words) or subprocess.CompletedProcess(words, 0),
    )
    assert cli.main(["lab", "--", "--no-browser", "--port=9"]) == 0
    assert calls[0][:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={paths.ROOT}" in calls[0]
    assert calls[0][-2:] == ["--no-browser", "--port=9"]


def test_make_lab_goes_through_it(venv):  # noqa: F811
    done, words = heard(venv, "lab", "LAB_ARGS=--no-browser --port=9")
    assert done.returncode == 0, done.stderr
    assert words == ["lab", "--", "--no-browser", "--port=9"]
