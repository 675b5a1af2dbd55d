"""Notebooks drawn again from the committed tables of a run that is over: nothing is measured."""

from types import MappingProxyType, SimpleNamespace

import pytest

from convcost import records
from convcost.application import reproduce
from convcost.application.cli import main
from convcost.core import paths
from convcost.core.errors import BadInputError
from convcost.sweep.study import Study

NOTEBOOK = "01-flop-counting"
ROWS = [{"net": "alexnet", "params": 61_100_840, "how": "traced"}]
DIGITS = {"asked": "digits", "split": "test", "content_sha256": "11" * 32}


class Measures(Study):
    notebook = NOTEBOOK
    scales = MappingProxyType({"quick": SimpleNamespace(device="cpu")})

    seeds = (0,)
    used = (SimpleNamespace(describe=lambda: DIGITS),)

    def parameter_counts(self):
        raise AssertionError("this measures")

    def net_facts(self):
        params = int(self.parameter_counts()["params"].iloc[0])  # of another table of the study
        return [{"fact": "params", "value": params, "detail": "as stored"}]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A reference run with one table, and this process draws it again."""
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path / "runs")
    monkeypatch.setattr(paths, "REFERENCE_RESULTS", tmp_path / "results")
    run = records.start_run(NOTEBOOK, "quick", data=[DIGITS], where=records.REFERENCE)
    run.write("parameter_counts", ROWS)
    monkeypatch.setenv(records.REDRAW, run.machine)
    return run


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_stored_rows_come_instead_of_measured_ones_and_nothing_is_written(stored, tmp_path):
    before = files(tmp_path)
    run = records.start_run(NOTEBOOK, "quick", data=[DIGITS])
    table = run.write("parameter_counts", Measures("quick").parameter_counts())
    assert table["params"].tolist() == [61_100_840]
    assert set(table["run_id"]) == {stored.run_id} == {run.run_id}
    assert "nothing is measured by this run" in run.banner()
    assert records.Results(run.where, run.machine).record("parameter_counts") == stored.record
    assert files(tmp_path) == before


def test_other_data_than_those_of_the_run_are_refused(stored):
    with pytest.raises(BadInputError, match=r"other data than are here \(digits, test\)"):
        records.start_run(NOTEBOOK, "quick", data=[DIGITS | {"content_sha256": "22" * 32}])
    with pytest.raises(BadInputError, match=r"\(digits, test\)"):
        records.start_run(NOTEBOOK, "quick")


def test_a_study_measures_where_nothing_is_drawn_again(stored, monkeypatch):
    monkeypatch.delenv(records.REDRAW)
    with pytest.raises(AssertionError, match="this measures"):
        Measures("quick").parameter_counts()


def test_the_plan_takes_the_profile_of_the_run_and_refuses_what_never_ran(stored):
    plan = reproduce.plan("auto", "01", redraw=stored.machine)
    assert (plan.profile, plan.reference, plan.folder) == ("quick", True, paths.BUILD / "redrawn")
    assert "nothing is measured" in plan.text()
    with pytest.raises(BadInputError, match="had the profile quick, not cpu"):
        reproduce.plan("cpu", "01", redraw=stored.machine)
    with pytest.raises(BadInputError, match="no reference run of 02-training-time"):
        reproduce.plan("auto", "02", redraw=stored.machine)
    with pytest.raises(BadInputError, match=f"machines with results: {stored.machine}"):
        reproduce.plan("auto", "01", redraw="elsewhere")


def test_redraw_goes_with_no_option_that_takes_results_in(stored, capsys):
    assert main(["reproduce", "--redraw", stored.machine, "--reference", "--plan"]) == 2
    assert "neither --host nor --reference" in capsys.readouterr().err


@pytest.fixture
def added(stored, monkeypatch):
    """A reference that stands; nothing is drawn again, and the study is known by its notebook."""
    monkeypatch.delenv(records.REDRAW)
    monkeypatch.setenv("CONVCOST_COMMAND", "before")  # put back afterwards
    chapter = SimpleNamespace(part=lambda name: SimpleNamespace(Study=Measures))
    monkeypatch.setattr(reproduce.registry, "measurable", lambda: {NOTEBOOK: chapter})
    return stored


def test_a_table_alone_is_added_to_the_reference_and_what_it_needs_is_taken_from_there(added):
    assert "net_facts: 1 rows" in reproduce.add_tables("quick", "01", ("net_facts",))
    new = records.read("net_facts")
    assert new["value"].tolist() == [61_100_840]
    assert set(records.read("parameter_counts")["run_id"]) == {added.run_id}  # as it was
    record = records.Results().record("net_facts")
    assert record["run_id"] == new["run_id"].iloc[0] != added.run_id
    assert record["command"].endswith("--notebook 01-flop-counting --reference --table net_facts")
    assert record["data"] == [DIGITS]


def test_what_is_no_table_of_the_notebook_is_refused_before_anything_is_measured(added, capsys):
    with pytest.raises(BadInputError, match="layer_times: no table of 01-flop-counting; its own"):
        reproduce.add_tables("quick", "01", ("layer_times",))
    with pytest.raises(BadInputError, match="one notebook that measures, not '99'"):
        reproduce.add_tables("quick", "99", ("net_facts",))
    assert main(["reproduce", "--table", "net_facts", "--notebook", "01"]) == 2
    assert "--table goes with --reference" in capsys.readouterr().err
