"""Figures: drawn from the committed reference, without torch, the same each time."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from convcost import figures, records
from convcost.application import notebooks
from convcost.core import paths, registry
from convcost.core.errors import BadInputError

# a sitecustomize: every Python that is started has it, the processes that draw too
NO_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{name} must not be imported")

sys.meta_path.insert(0, NoTorch())
"""


# A notebook that is not there yet has no committed figures, and its tables may not be there.
SHOWN = [
    name
    for name, spec in figures.FIGURES.items()
    if (paths.NOTEBOOKS / f"{spec.notebook}.ipynb").exists()
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    blocker = tmp_path_factory.mktemp("no-torch")
    (blocker / "sitecustomize.py").write_text(NO_TORCH)
    search = os.pathsep.join([str(blocker), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": search}
    blocked = subprocess.run([sys.executable, "-c", "import torch"], env=environment)
    assert blocked.returncode != 0
    done = subprocess.run(
        [sys.executable, "-m", "convcost", "figures", "--out", str(folder)],
        capture_output=True, text=True, timeout=240, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    left_out = [name for name in SHOWN if f"not drawn: {name} " in done.stdout]
    assert not left_out, done.stdout
    return folder


def test_every_figure_is_drawn_without_torch(drawn):
    for name in SHOWN:
        for kind in ("svg", "png", "json"):
            assert (drawn / f"{name}.{kind}").stat().st_size > 300, f"{name}.{kind}"


def test_committed_figures_show_the_committed_results(drawn):
    """The provenance beside each committed figure is that of the results as they are now."""
    for name in SHOWN:
        committed = json.loads((paths.FIGURES / f"{name}.json").read_text())
        fresh = json.loads((drawn / f"{name}.json").read_text())
        assert committed["tables"] == fresh["tables"], f"{name}: run `make figures`"


def test_no_committed_figure_is_without_its_function():
    stems = {path.name.split(".")[0] for path in paths.FIGURES.glob("*.*")}
    assert set(SHOWN) <= stems <= set(figures.FIGURES)


def test_the_same_data_give_the_same_bytes(drawn, tmp_path):
    results = records.Results()
    name = "01-training-cost"
    figures.save(name, figures.draw(name, results), tmp_path, results)
    for kind in ("svg", "png"):
        first, second = ((f / f"{name}.{kind}").read_bytes() for f in (drawn, tmp_path))
        assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest(), kind


def test_provenance_names_machine_commit_and_hashes(drawn):
    provenance = json.loads((drawn / "01-table1-protocols.json").read_text())
    table = provenance["tables"]["protocol_totals"]
    stored = paths.REFERENCE_RESULTS / table["machine"] / "protocol_totals.csv"
    assert table["sha256"] == records.sha256(stored)
    assert table["commit"] and table["run_id"] and table["date"]


def test_every_figure_has_a_text_for_those_who_cannot_see_it():
    for name, spec in figures.FIGURES.items():
        assert len(spec.alt) > 40, name
        assert spec.notebook in registry.names()
        assert name.startswith(spec.notebook[:2])


def test_every_figure_is_shown_in_its_notebook():
    for name in SHOWN:
        spec = figures.FIGURES[name]
        notebook = notebooks.read(paths.NOTEBOOKS / f"{spec.notebook}.ipynb")
        code = "\n".join(c["source"] for c in notebook["cells"] if c["cell_type"] == "code")
        assert f'figures.show("{name}"' in code, name


def test_unknown_figure_lists_the_known():
    with pytest.raises(BadInputError, match="01-training-cost"):
        figures.draw("01-no-such-figure")


def test_a_figure_without_its_table_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "REFERENCE_RESULTS", tmp_path)
    with pytest.raises(records.MissingTableError, match="make reproduce"):
        figures.draw("01-training-cost")
    of_formulas = [name for name, spec in figures.FIGURES.items() if not spec.tables]
    of_tables = [name for name, spec in figures.FIGURES.items() if spec.tables]
    assert figures.redraw_all(tmp_path / "out") == (of_formulas, of_tables)


def test_a_stand_in_is_named_on_the_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path)
    data = [{"asked": "mnist", "name": "digits", "is_stand_in": True}]
    run = records.start_run("01-flop-counting", "quick", data=data, where="local")
    reference = records.read("net_counts").drop(columns="run_id")
    run.write("net_counts", reference)
    figure = figures.draw("01-training-cost", records.Results("local"))
    assert any("STAND-IN: digits" in text.get_text() for text in figure.texts)


def test_a_figure_of_mixed_runs_says_so(tmp_path, monkeypatch):
    """A `cpu` run that was cut off behind its first table, on top of a `quick` one."""
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path)
    name = next(name for name, spec in figures.FIGURES.items() if len(spec.tables) > 1)
    spec, results = figures.FIGURES[name], records.Results("local")
    stand_in = [{"asked": "mnist", "name": "digits", "is_stand_in": True}]

    def written(profile, tables, data=()):
        run = records.start_run(spec.notebook, profile, data=data, where="local")
        for table in tables:
            run.write(table, records.read(table).drop(columns="run_id"))
        return "\n".join(text.get_text() for text in figures.draw(name, results).texts)

    assert "profile quick" in written("quick", spec.tables, stand_in)
    told = written("cpu", spec.tables[:1])
    assert "mixed runs: cpu and quick" in told and "profile" not in told
    assert "STAND-IN: digits" in told  # of the run that is not the first table's
    told = written("cpu", spec.tables)
    assert "profile cpu" in told and "mixed" not in told
