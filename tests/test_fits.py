"""Fitted models of anything: errors on the unseen, referees, folds. scipy is the judge."""

import doctest
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.model_selection import KFold, LeaveOneGroupOut

from convcost.core.errors import BadInputError
from convcost.fits import comparison
from convcost.fits.fitted import Fitted, outside, ranges_of


def fit(rows, *, degree, seed=0, warm=None):
    """A polynomial over x."""
    c = np.polyfit(rows["x"], rows["y"], degree)
    return Fitted(
        f"degree {degree}", "", pd.DataFrame({"parameter": range(degree + 1), "estimate": c}),
        (rows["y"] - np.polyval(c, rows["x"])).to_numpy(), ranges_of(rows, ["x"]),
        lambda other: np.polyval(c, other["x"]), 1.5,
    )  # fmt: skip


FITS = {"line": partial(fit, degree=1), "constant": partial(fit, degree=0)}


def table(n=30, noise=0.05):
    x = np.linspace(1, 4, n)
    return pd.DataFrame({"x": x, "y": 2 + x + noise * np.random.default_rng(1).normal(size=n)})


def compared(**options):
    seen, held_out = table(), table(12).assign(x=lambda t: t["x"] + 0.5, y=lambda t: t["y"] + 0.5)
    made = comparison.compare(FITS, seen, held_out, "y", referee="constant", **options)
    return made.set_index("model"), seen, held_out


def test_models_beside_their_referees():
    found, seen, held_out = compared(folds=5, bootstraps=200)
    line, constant, oracle = (found.loc[m] for m in (*FITS, comparison.ORACLE))
    flat = 100 * (seen["y"].mean() / held_out["y"] - 1).abs()
    assert constant["held_out_percent"] == pytest.approx(flat.mean())
    assert constant["skill"] == 0 and np.isnan(constant["spearman"])
    said = fit(seen, degree=1).predict(held_out)
    off = 100 * (said / held_out["y"] - 1).abs()
    assert line["held_out_max_percent"] == pytest.approx(off.max())
    assert line["held_out_rmse"] == pytest.approx(np.sqrt(((said - held_out["y"]) ** 2).mean()))
    assert line["skill"] == pytest.approx(1 - off.mean() / flat.mean())
    assert line["skill_oracle"] < line["skill"]
    assert line["spearman"] == pytest.approx(stats.spearmanr(said, held_out["y"]).statistic)
    for name in ("held_out_percent", "skill", "spearman"):
        assert line[f"{name}_low"] < line[name] <= line[f"{name}_high"]
    assert line["outside"] == (held_out["x"] > 4).sum() > 0
    assert line["cross_validated_percent"] > line["in_sample_percent"]
    assert (line["coefficients"], line["aic"]) == (2, 1.5) and pd.isna(oracle["coefficients"])
    pd.testing.assert_frame_equal(found, compared(folds=5, bootstraps=200)[0])
    without = compared(folds=0, bootstraps=0)[0]
    assert without[["cross_validated_percent", "skill_low"]].isna().all(axis=None)


def test_more_folds_than_rows_are_refused():
    with pytest.raises(BadInputError, match="31 folds of 30"):
        compared(folds=31)


@pytest.mark.parametrize("splitter", [KFold(5, shuffle=True, random_state=0), LeaveOneGroupOut()])
def test_cross_validation_never_sees_the_part(splitter):
    rows = table(20).assign(group=lambda t: np.arange(len(t)) % 5)
    splits = list(splitter.split(rows, groups=rows["group"]))
    predicted = comparison.cross_validated(FITS["constant"], rows, splits)
    for others, part in splits:
        assert predicted[part] == pytest.approx(rows["y"].iloc[others].mean(), rel=1e-12)


def test_the_bootstrap_draws_rows_and_keeps_them_together():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 25))
    found = comparison.bootstrap(comparison.spearman, a, b, draws=300, seed=5)
    draws = np.random.default_rng(5).integers(25, size=(300, 25))
    by_hand = [stats.spearmanr(a[d], b[d]).statistic for d in draws]
    assert found == pytest.approx(np.quantile(by_hand, [0.025, 0.975]), rel=1e-12)
    for few, draws in ((a, 0), (a[:1], 9)):
        assert np.isnan(comparison.bootstrap(np.mean, few, draws=draws)).all()


def test_an_interval_covers_the_truth_as_often_as_it_says():
    """Of 300 samples of 40: 95 % by percentiles is 93 to 95 % for so many."""
    rng = np.random.default_rng(0)
    ends = [comparison.bootstrap(np.mean, rng.normal(size=40), draws=400) for _ in range(300)]
    assert 0.90 <= np.mean([low <= 0 <= high for low, high in ends]) <= 0.98


def test_rank_correlation_with_ties_and_without_any_order():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.integers(0, 6, 40).astype(float)
    assert comparison.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert comparison.spearman(a, a + 1e-14 * b) == pytest.approx(1)  # rounding is no rank
    assert np.isnan(comparison.spearman(a, np.ones(40)))
    assert np.isnan(comparison.spearman(a[:1], b[:1]))


def test_the_best_constant_by_brute_force():
    values = np.array([0.5, 0.8, 0.91, 0.92, 0.93])
    tried = np.arange(0.4, 1, 0.001)
    errors = [comparison.relative_errors(values, np.full(5, c)).mean() for c in tried]
    assert comparison.best_constant(values) == pytest.approx(tried[np.argmin(errors)], abs=1e-9)


def test_examples_in_docstrings_hold():
    assert doctest.testmod(comparison).attempted >= 1


def test_relative_errors_need_something_to_be_relative_to():
    assert comparison.relative_errors([2.0, 4.0], [3.0, 3.0]).tolist() == [50, 25]
    with pytest.raises(BadInputError, match="not above 0"):
        comparison.relative_errors([1.0, 0.0], [1.0, 1.0])


def test_both_ends_of_a_range_are_inside():
    ranges = ranges_of(pd.DataFrame({"a": [1, 3], "b": [5, 5]}), ["a", "b"])
    probe = pd.DataFrame({"a": [1, 3, 4, 2], "b": [5, 5, 5, 6]})
    assert outside(probe, ranges).tolist() == [False, False, True, True]
