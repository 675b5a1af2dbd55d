"""Reading notebooks: card, parameters, wholeness, key."""

import json

import nbformat
import pytest

from convcost.application import notebooks
from convcost.core import machine, paths
from convcost.core.errors import BadInputError, DamagedFileError
from small_notebooks import CARD, PARAMETERS, executed, notebook, write

DEFAULTS = {"profile": "auto", "batch": 4, "rate": 0.5, "fast": False}


# --- parameters ---


def test_parameters_are_read_with_their_types():
    found = notebooks.parameters(notebook("x = 1"))
    assert found == DEFAULTS
    assert [type(v) for v in found.values()] == [str, int, float, bool]
    assert notebooks.parameters(notebook(parameters="a: int = -3  # how many\nb = 1e-3")) == {
        "a": -3,
        "b": 1e-3,
    }
    assert notebooks.parameters(notebook("x = 1", parameters=None)) == {}


@pytest.mark.parametrize(
    "text", ["a = [1]", "a = b = 1", "a = 2 * 3", "import os", "a = None", "a.b = 1", "print(1)"]
)
def test_only_scalars_in_the_parameters_cell(text):
    with pytest.raises(DamagedFileError, match="may hold only lines like"):
        notebooks.parameters(notebook(parameters=f"ok = 1\n{text}"))


def test_two_parameters_cells_are_refused():
    twice = notebook()
    twice.cells.append(twice.cells[1].copy())
    with pytest.raises(DamagedFileError, match="2 cells tagged"):
        notebooks.parameters(twice)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bach": 8}, "no parameter 'bach', did you mean 'batch'?"),
        ({"zzz": 8}, "no parameter 'zzz':"),
        ({"batch": "8"}, "'batch' takes int, not '8' (str)"),
        ({"batch": True}, "'batch' takes int, not True (bool)"),
        ({"batch": 8.0}, "'batch' takes int, not 8.0 (float)"),
        ({"fast": 1}, "'fast' takes bool, not 1 (int)"),
        ({"rate": True}, "'rate' takes float, not True (bool)"),
        ({"profile": 3}, "'profile' takes str, not 3 (int)"),
        ({"batch": None}, "'batch' takes int, not None (NoneType)"),
    ],
)
def test_wrong_parameters_are_refused_with_the_valid_ones(given, said):
    with pytest.raises(BadInputError) as caught:
        notebooks.checked_parameters(given, DEFAULTS, "01-x")
    assert said in str(caught.value)
    assert "batch = 4 (int), fast = False (bool), profile = 'auto' (str)" in str(caught.value)


def test_a_whole_number_is_a_float():
    found = notebooks.checked_parameters({"rate": 1, "batch": 8}, DEFAULTS)
    assert found == {"rate": 1.0, "batch": 8}
    assert type(found["rate"]) is float


def test_texts_are_read_by_the_type_of_the_default():
    texts = ["batch=8", "rate = 1e-2", "fast=yes", "profile=a=b"]
    assert notebooks.parsed_parameters(texts, DEFAULTS) == {
        "batch": 8,
        "rate": 0.01,
        "fast": True,
        "profile": "a=b",
    }


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["batch=8.5"], "takes int, not '8.5'"),
        (["fast=maybe"], "takes bool, not 'maybe'"),
        (["batch"], "is not name=value"),
        (["bacth=1"], "did you mean 'batch'?"),
        (["batch=1", "batch=2"], "given twice"),
    ],
)
def test_texts_that_are_no_value_are_refused(texts, said):
    with pytest.raises(BadInputError) as caught:
        notebooks.parsed_parameters(texts, DEFAULTS)
    assert said in str(caught.value)


# --- card ---


def test_card():
    card = notebooks.card(notebook(datasets=["mnist"], parts="guide"))
    assert card.minutes == {"quick": 0.1, "cpu": 1, "gpu": 1}
    assert (card.title, card.ram_gb, card.datasets) == ("A small notebook", 1, ("mnist",))
    assert (card.parts, card.reads_runs) == ("guide", False)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"title": " "}, "title is not a text"),
        ({"minutes": {"quick": 1}}, "minutes is not one positive number for each of quick, cpu"),
        ({"minutes": CARD["minutes"] | {"gpu": 0}}, "minutes is not one positive number"),
        ({"ram_gb": True}, "ram_gb is not a positive number"),
        ({"datasets": "mnist"}, "datasets is not a list"),
        ({"parts": "poem"}, "parts is neither"),
        ({"reads_runs": 1}, "reads_runs is neither"),
    ],
)
def test_a_wrong_card_is_refused_with_an_example(fault, said):
    with pytest.raises(BadInputError) as caught:
        notebooks.card(notebook(**fault), "01-x")
    assert said in str(caught.value)
    assert '"minutes": {"quick": 1, "cpu": 1, "gpu": 1}' in str(caught.value)


def test_no_card_is_refused():
    bare = notebook()
    del bare.metadata["convcost"]
    with pytest.raises(BadInputError, match="no card"):
        notebooks.card(bare)


# --- whole or not ---


def test_a_whole_notebook_is_whole():
    assert notebooks.incomplete(executed(notebook("x = 1", " \n", "y = 2"))) == []


def _without_count(cells):
    cells[2].execution_count = None


def _out_of_order(cells):
    cells[1].execution_count, cells[2].execution_count = 2, 1


def _twice_the_same(cells):
    cells[2].execution_count = cells[1].execution_count


def _with_error(cells):
    error = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
    cells[2].outputs.append(error)


def _pending(cells):
    cells[2].metadata["papermill"]["status"] = "pending"


def _from_jupyter(cells):
    del cells[2].metadata["papermill"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (_without_count, "cell 3 has not been run"),  # what papermill calls completed on Ctrl-C
        (_out_of_order, "cell 3 was run out of order"),
        (_twice_the_same, "cell 3 was run out of order"),
        (_with_error, "cell 3 ended with an error"),
        (_pending, "cell 3 is pending, not completed"),
        (_from_jupyter, "cell 3 is without papermill status"),
    ],
)
def test_every_fault_of_a_half_run_notebook_is_seen(fault, said):
    done = executed(notebook("x = 1", "y = 2"))
    fault(done.cells)
    assert any(said in line for line in notebooks.incomplete(done))


# --- done, and by which key ---


def _key(made, **options):
    options = {"parameters": {}, "profile": "quick"} | options
    return notebooks.inputs(made, **options)["key"]


@pytest.fixture
def done(tmp_path):
    """(path, key) of an output that counts as done."""
    made = notebook("x = 1")
    key = _key(made)
    whole = executed(made)
    whole.metadata["convcost"]["run"] = {"key": key}
    path = tmp_path / "01-x.ipynb"
    nbformat.write(whole, path)
    assert notebooks.is_done(path, key)
    return path, key


def test_not_done_with_another_key_or_name(done, tmp_path):
    path, key = done
    assert not notebooks.is_done(path, "0" * 64)
    assert not notebooks.is_done(path, "")
    for word in ("part", "failed", "old"):
        other = path.with_name(f"01-x.{word}.ipynb")
        other.write_bytes(path.read_bytes())
        assert not notebooks.is_done(other, key)
    assert not notebooks.is_done(tmp_path / "missing.ipynb", key)
    assert not notebooks.is_done(tmp_path, key)


def test_not_done_when_cut_off_anywhere(done):
    path, key = done
    whole = path.read_bytes()
    cuts = range(0, len(whole) - 2, max(1, len(whole) // 40))
    for cut in cuts:
        path.write_bytes(whole[:cut])
        assert not notebooks.is_done(path, key), cut


@pytest.mark.parametrize(
    "content", ["{}", "[]", "null", '{"cells": 3}', '{"nbformat": 4, "cells": [1]}', "<html>"]
)
def test_not_done_when_it_is_something_else(done, content):
    path, key = done
    path.write_text(content)
    assert not notebooks.is_done(path, key)


def test_not_done_with_metadata_of_another_kind(done):
    path, key = done
    raw = json.loads(path.read_text())
    odd = [{"run": {"key": key, "wrote": wrote}} for wrote in ("x", [1], [{}], {"a": 1})]
    for convcost in ([], "x", {"run": "x"}, {"run": [key]}, {}, *odd):
        raw["metadata"]["convcost"] = convcost
        path.write_text(json.dumps(raw))
        assert not notebooks.is_done(path, key), convcost


def test_the_key_changes_with_every_input(tmp_path, monkeypatch):
    made = notebook("x = 1")
    monkeypatch.setattr(paths, "PUBLISHED", tmp_path / "published")
    monkeypatch.setattr(paths, "REFERENCE_RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path / "local")
    shows_runs = notebook("x = 1", reads_runs=True)
    keys = [
        _key(made),
        _key(made, profile="cpu"),
        _key(made, parameters={"batch": 8}),
        _key(made, reference=True),
        _key(notebook("x = 2")),
        _key(notebook("x = 1", parameters=PARAMETERS + "\nextra = 1")),
        _key(notebook("x = 1", datasets=["digits"])),
    ]
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path))
    keys.append(_key(notebook("x = 1", datasets=["digits"])))
    write_file(tmp_path / "published" / "a.csv", "name,value\n")
    keys.append(_key(made))
    write_file(tmp_path / "published" / "a.csv", "name,other\n")
    keys.append(_key(made))
    write_file(tmp_path / "results" / "m" / "manifest.json", "{}")
    keys.append(_key(made))
    shown = _key(shows_runs)
    write_file(tmp_path / "local" / "m" / "manifest.json", "{}")
    keys.append(_key(shows_runs))
    monkeypatch.setattr(machine, "version", lambda package: "0.1")
    keys.append(_key(made))
    monkeypatch.setattr(notebooks, "_library_sha256", lambda: "0" * 64)
    keys.append(_key(made))
    assert shown not in keys
    assert len(set(keys)) == len(keys)


def write_file(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_library_counts_with_names_and_contents(tmp_path):
    found = set()
    for name, text in (("a.py", "x = 1"), ("a.py", "x = 2"), ("b/c.py", "x"), ("b.csv", "y")):
        write_file(tmp_path / name, text)
        found.add(notebooks._tree_sha256(tmp_path, "*.py"))
    assert len(found) == 3  # the CSV is no source
    (tmp_path / "a.py").rename(tmp_path / "d.py")
    assert notebooks._tree_sha256(tmp_path, "*.py") not in found


def test_the_key_does_not_change_with_outputs_counts_and_ids(tmp_path):
    made = notebook("x = 1")
    again = executed(made)
    for cell in again.cells:
        cell.id = cell.id[::-1] + "x"
    again.metadata["papermill"] = {"start_time": "now"}
    assert _key(made) == _key(again) == _key(notebook("x = 1"))


def test_the_key_holds_no_path(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path))
    found = notebooks.inputs(notebook("x = 1", datasets=["digits"]), {}, "quick")
    assert str(tmp_path) not in json.dumps(found)
    assert str(paths.ROOT) not in json.dumps(found)


def test_an_unknown_data_set_is_refused():
    with pytest.raises(BadInputError, match="unknown data set 'mnits': choose from mnist"):
        notebooks.data_origins(["mnits"])


def test_source_sha256_of_code_ignores_text_cells():
    made = notebook("x = 1")
    edited = notebook("x = 1")
    edited.cells[0].source = "# Other words"
    assert notebooks.source_sha256(made) != notebooks.source_sha256(edited)
    assert notebooks.source_sha256(made, True) == notebooks.source_sha256(edited, True)


def test_what_is_no_notebook_is_refused(tmp_path):
    path = write(tmp_path / "a.ipynb", "x = 1")
    with pytest.raises(BadInputError, match="no notebook"):
        notebooks.read(tmp_path / "b.ipynb")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DamagedFileError, match="is not a notebook"):
        notebooks.read(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DamagedFileError, match="is not a notebook"):
        notebooks.read(path)
