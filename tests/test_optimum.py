"""`convcost.cheapest_face_net` on results that a known model made."""

import subprocess
import sys

import pandas as pd
import pytest

import convcost
import fit_tables
from convcost import records
from convcost.chapters.complexity_precision import cheapest_net as optimum
from convcost.chapters.complexity_precision.findings import complexity, configurations, precision
from convcost.chapters.complexity_precision.findings.cheapest import UnattainableError
from convcost.chapters.complexity_precision.findings.configurations import BASELINE
from convcost.core import paths
from convcost.core.errors import BadInputError


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path)
    run = records.start_run("04-complexity-precision", "cpu", where=records.LOCAL)
    run.write("configuration_trainings", fit_tables.trainings(held_out=20))
    run.write("forward_times", fit_tables.forward_times(held_out=20))
    return run


# the model that made the results
LOGIT = precision.SaturatingLogit.name


def optimize(target=0.93, **options):
    return convcost.cheapest_face_net(
        target, results="local", **{"bootstraps": 0, "model": LOGIT} | options
    )


def test_the_default_models_are_those_of_the_fits(results):
    found = optimize(0.9, model="default")
    assert found.precision_model == precision.DEFAULT
    assert found.complexity_model == complexity.DEFAULT


def test_the_cheapest_that_is_precise_enough(results):
    found = optimize(0.93, complexity_model=complexity.COSTS)
    grid = configurations.integer_grid(range(2, 65), range(12, 65), (3, 4, 5), (1, 2, 3))
    enough = grid[fit_tables.by_logit(grid) >= 0.93]
    # counts of whole images move the target a little: the best by the true model is the referee
    best = fit_tables.complexity(enough).min()
    assert found.complexity.value == pytest.approx(best, rel=0.05)
    truth = configurations.frame([found.configuration])
    assert fit_tables.by_logit(truth)[0] == pytest.approx(0.93, abs=0.002)
    assert fit_tables.complexity(truth)[0] == pytest.approx(found.complexity.value, rel=1e-6)
    assert found.forward_s.value == pytest.approx(
        found.complexity.value * fit_tables.BASELINE_S, rel=1e-9
    )
    assert found.macs == found.configuration.macs
    assert found.times_fewer_macs == BASELINE.macs / found.macs
    assert found.baseline.configuration == BASELINE and found.baseline.seeds == 3
    assert found.baseline.forward_s == pytest.approx(fit_tables.BASELINE_S)
    assert not found.extrapolated and found.machine == results.machine
    assert found.best_measured.precision >= 0.93
    assert found.best_measured.complexity >= best
    assert found.precision.low is None


def test_a_measured_configuration_is_its_own_neighbour(results):
    first = optimize(0.91, complexity_model=complexity.COSTS)
    assert first.same is None
    trained, times = fit_tables.trainings(held_out=20), fit_tables.forward_times(held_out=20)
    chosen = configurations.frame([first.configuration]).iloc[0].to_dict()
    truth = configurations.frame([first.configuration])
    factor = fit_tables.complexity(truth)[0]
    own_time = times[(times["filters"] == 64) & (times["input_px"] == 64)].query(
        "kernel_px == 5 and layers == 3"
    )
    own_time = own_time.assign(**chosen, seconds=own_time["seconds"] * factor)
    own_training = trained.head(1).assign(**chosen, seed=8, role="optimum")
    right = round(fit_tables.by_logit(truth)[0] * fit_tables.IMAGES)
    own_training["test_class1_correct"] = right - own_training["test_class0_correct"]
    results.write("configuration_trainings", pd.concat([trained, own_training]))
    results.write("forward_times", pd.concat([times, own_time]))
    again = optimize(0.91, complexity_model=complexity.COSTS)
    assert again.configuration == first.configuration
    assert again.same.configuration == first.configuration and again.same.seeds == 1
    assert again.same.precision == right / fit_tables.IMAGES
    assert again.same.complexity == pytest.approx(factor)


def test_intervals_hold_the_prediction_and_repeat(results):
    one, two = (optimize(bootstraps=12) for _ in range(2))
    assert one == two
    assert one.precision.low <= one.precision.value <= one.precision.high
    assert one.complexity.low <= one.complexity.value * 1.001
    assert one.forward_s.high == pytest.approx(one.complexity.high * one.baseline.forward_s)


def test_grids_and_extrapolation(results):
    anywhere = optimize(0.6, grid="integers")
    inside = optimize(0.6)
    assert anywhere.complexity.value <= inside.complexity.value
    assert not inside.extrapolated
    net = anywhere.configuration
    assert net.kernel_px < 3 or net.input_px < 12 or net.filters < 2
    assert anywhere.extrapolated and "extrapolation" in repr(anywhere)
    assert "extrapolation" not in repr(inside)
    shares = optimize(0.9, grid="shares").configuration
    grid = configurations.rounded_share_grid()
    assert (grid == [getattr(shares, n) for n in grid]).all(axis=1).any()


def test_measures_and_the_papers_model(results):
    balanced = optimize(0.9, measure="balanced_accuracy")
    assert balanced.measure == "balanced_accuracy"
    assert balanced.baseline.precision < optimize(0.9).baseline.precision
    assert optimize(0.9, model=precision.EQ6).precision_model == precision.EQ6


def test_what_it_shows(results):
    found = optimize(0.92, bootstraps=8)
    for text in (repr(found), found._repr_html_()):
        assert str(found.configuration) in text
        assert results.machine in text
    assert found._repr_html_().count("<tr>") == len(found._rows())
    assert found.to_dict()["configuration"]["filters"] == found.configuration.filters


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"target": 93}, "write 0.93, not 93"),
        ({"target": 0}, "above 0"),
        ({"measure": "recall"}, "balanced_accuracy"),
        ({"model": "magic"}, "eq. (6)"),
        ({"complexity_model": "magic"}, "costs"),
        ({"grid": "all"}, "trained, integers, shares"),
    ],
)
def test_what_is_refused(results, options, text):
    with pytest.raises(BadInputError) as caught:
        optimize(**options)
    assert text in str(caught.value)


def test_out_of_reach_says_what_is_in_reach(results):
    with pytest.raises(UnattainableError) as caught:
        optimize(0.999)
    assert 0.9 < caught.value.best < 0.999
    assert f"{caught.value.best:.4g}" in str(caught.value)
    assert optimize(caught.value.best).precision.value == caught.value.best


def test_no_results_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path)
    with pytest.raises(records.MissingTableError, match="forward_times"):
        optimize()


def test_trainings_may_be_of_another_machine(results, tmp_path):
    (tmp_path / results.machine).rename(tmp_path / "trainer")
    run = records.start_run("04-complexity-precision", "cpu", where=records.LOCAL)
    run.write("forward_times", fit_tables.forward_times(held_out=20))
    found = optimize(machine=run.machine)
    assert found.machine == run.machine


def test_importing_it_is_light():
    heavy = "{'pandas', 'lmfit', 'torch', 'sklearn', 'scipy', 'numpy'}"
    code = (
        "import sys, convcost; convcost.cheapest_face_net; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_several_targets_are_rows(results):
    targets = [0.93, 0.9999]
    models = {"model": LOGIT, "complexity_model": complexity.COSTS}
    table = optimum.answers(targets, results="local", **models)
    one = optimize(0.93, complexity_model=complexity.COSTS)
    first, last = table.to_dict("records")
    assert table["target_precision"].tolist() == targets
    assert tuple(first[name] for name in configurations.NAMES) == (
        one.configuration.filters,
        one.configuration.input_px,
        one.configuration.kernel_px,
        one.configuration.layers,
    )
    assert first["times_cheaper"] == one.times_cheaper
    assert first["predicted_precision"] == one.precision.value
    assert pd.isna(first["best_attainable"]) and pd.isna(last["filters"])
    with pytest.raises(UnattainableError) as refused:
        optimize(0.9999, complexity_model=complexity.COSTS)
    assert last["best_attainable"] == refused.value.best < 0.9999
