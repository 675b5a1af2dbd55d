"""Notebook 02, cell by cell, over results that came home in parts: nothing in it may stop."""

import ast
import re

import pytest

import training_time_tables
from convcost import records
from convcost.application import notebooks, profiles
from convcost.chapters.training_time import study as training_time
from convcost.chapters.training_time.findings import paper
from convcost.chapters.training_time.study.scales import SCALES
from convcost.core import paths
from convcost.core.tables import NO_ROWS

NOTEBOOK = "02-training-time"
PARTS = ("table-2", "step", "protocols")


class Data:
    """A data set, as a notebook asks for it."""

    def describe(self):
        return {"asked": "fashionmnist", "name": "fashionmnist", "is_stand_in": False}

    def banner(self):
        return "FashionMNIST"


class Study:
    """A study whose measurements are those of the parts that are there, as after a GPU's run."""

    tables: dict
    profile, scale, used = "gpu", SCALES["gpu"], (Data(), Data())

    def __init__(self, profile):
        assert profile == self.profile

    def __getattr__(self, table):
        return lambda: self.tables[table]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """No results of this repository, and no machine of the reader's own."""
    for name in ("LOCAL_RESULTS", "REFERENCE_RESULTS", "BUILD"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr(records.machine, "slug", lambda: "a-gpu")
    monkeypatch.setattr(profiles, "resolve", lambda profile: "gpu")
    monkeypatch.setattr(training_time, "Study", Study)
    return tmp_path


def cells():
    read = notebooks.read(paths.NOTEBOOKS / f"{NOTEBOOK}.ipynb")
    return [cell["source"] for cell in read["cells"] if cell["cell_type"] == "code"]


def executed(source, names):
    """What the last line of a cell shows; '' where it shows nothing."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, NOTEBOOK, "exec"), names)
    if last is None:
        return ""
    shown = eval(compile(ast.Expression(last.value), NOTEBOOK, "eval"), names)
    return shown._repr_html_() if hasattr(shown, "_repr_html_") else repr(shown)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("parts", "tested"),
    [((), 0), (PARTS[:1], 6), (PARTS[:2], 12), (PARTS, 12)],
    ids=["nothing", *PARTS],
)
def test_the_notebook_runs_over_the_parts_that_are_there(places, monkeypatch, parts, tested):
    """`tested`: claims; that a GPU is faster is not among them, there is no other machine."""
    made = training_time_tables.tables(full=paper.NETS, full_workers=(0, 8), repetitions=2)
    few = made["predicted_steps"].query("batch == 32")
    tables = training_time_tables.only(made | {"predicted_steps": few}, *parts)
    monkeypatch.setattr(Study, "tables", tables, raising=False)
    names = {}
    shown = {source: executed(source, names) for source in cells()}
    html = "\n".join(shown.values())
    assert not re.search(r"\bnan\b|\binf\b", html, re.IGNORECASE)
    assert (NO_ROWS in html) == (parts != PARTS)
    assert len(list(places.rglob("02-*.svg"))) == 7
    entries = names["claims"].ledger(notebook="02")
    assert sum(entry.this_run is not None for entry in entries) == tested
