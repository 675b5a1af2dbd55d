"""Models side by side: relative errors on rows that no fit has seen, skill, and rank."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from convcost.core.errors import BadInputError
from convcost.fits.fitted import Fitted

LEVEL = 0.95
ORACLE = "best constant of the held-out rows"
"""No model: it has seen what it predicts. The hardest referee that knows no input."""

Fit = Callable[..., Fitted]
"""Takes rows, and as options `seed` and `warm`: an earlier fit of the same model to start from."""


def relative_errors(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """|predicted / measured - 1|, percent: the "relative estimation error" of ke."""
    measured = np.asarray(measured, dtype=float)
    if (measured <= 0).any():
        raise BadInputError("a measured value is not above 0: it has no relative error")
    return 100 * np.abs(np.asarray(predicted, dtype=float) / measured - 1)


def error_summary(measured: np.ndarray, predicted: np.ndarray) -> pd.Series:
    """Relative errors, percent: how many, mean_percent, median_percent, max_percent."""
    off = relative_errors(measured, predicted)
    return pd.Series(
        {"configurations": len(off), "mean_percent": off.mean(), "median_percent": np.median(off),
         "max_percent": off.max()}
    )  # fmt: skip


def spearman(measured: np.ndarray, predicted: np.ndarray, axis: int = -1) -> np.ndarray:
    """Rank correlation, ties sharing their mean rank; NaN where one side is constant.

    Equal to 12 decimals is a tie. One number, or one for each row of arrays (rows, values).
    """
    if np.shape(measured)[axis] < 2:
        return np.nan
    ranks = (stats.rankdata(np.round(v, 12), axis=axis) for v in (measured, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return stats.pearsonr(*ranks, axis=axis).statistic


def skill(error: np.ndarray, of_referee: np.ndarray, axis: int = -1) -> np.ndarray:
    """1 - mean error / mean error of a referee: 0 is no better than it. NaN if it never errs."""
    theirs = np.mean(of_referee, axis=axis)
    return np.where(theirs > 0, 1 - np.mean(error, axis=axis) / np.where(theirs, theirs, 1), np.nan)


def best_constant(measured: np.ndarray) -> float:
    """The one number of least mean relative error: the median, weighted by 1 / measured.

    >>> best_constant(np.array([0.9, 0.9, 0.5]))
    0.9
    """
    measured = np.asarray(measured, dtype=float)
    return float(np.quantile(measured, 0.5, weights=1 / measured, method="inverted_cdf"))


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of the values by quantiles; (NaN, NaN) where one is missing, or none."""
    values = np.asarray(values, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """(mean, low, high): the mean and its 95 % interval by Student's t; no interval for one value.

    >>> mean_interval([1.0, 1.0, 1.0])
    (1.0, 1.0, 1.0)

    Raises BadInputError where there is no value.
    """
    values = np.asarray(list(values), dtype=float)
    if not len(values):
        raise BadInputError("an interval needs at least one value")
    mean = float(values.mean())
    if len(values) == 1:
        return mean, np.nan, np.nan
    return mean, *of_test(stats.ttest_1samp, values, popmean=0.0)


def bootstrap(
    statistic: Callable[..., np.ndarray], *samples: np.ndarray, draws: int, seed: int = 0
) -> tuple[float, float]:
    """95 % of a statistic over rows drawn with replacement, by percentiles.

    `samples` are arrays of one value a row; a row keeps its values together. `statistic` takes
    them and `axis`. (NaN, NaN) without `draws`, for a single row, and where a draw has none.
    """
    if not draws or len(samples[0]) < 2:
        return math.nan, math.nan
    with warnings.catch_warnings():  # of a constant there is no rank correlation
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            samples, statistic, n_resamples=draws, method="percentile", paired=True,
            vectorized=True, rng=np.random.default_rng(seed),
        )  # fmt: skip
    return interval(found.bootstrap_distribution)


def cross_validated(
    fit: Fit,
    rows: pd.DataFrame,
    splits: Iterable[tuple[np.ndarray, np.ndarray]],
    **options,
) -> np.ndarray:
    """Each row's value, predicted by a fit on the rows of the other parts.

    `splits` as scikit-learn's splitters give them: `KFold(10).split(rows)`, or
    `LeaveOneGroupOut().split(rows, groups=...)`.
    """
    predicted = np.full(len(rows), np.nan)
    for others, part in splits:
        predicted[part] = fit(rows.iloc[others], **options).predict(rows.iloc[part])
    return predicted


def welch(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Welch's interval of the difference of two means, one less other, 95 %; both need two values.

    Missing without. Source: Welch 1947, "The generalization of Student's problem".
    """
    if min(len(one), len(other)) < 2:
        return math.nan, math.nan
    return of_test(stats.ttest_ind, one, other, equal_var=False)


def of_test(test: Callable, *samples: np.ndarray, **options) -> tuple[float, float]:
    """The 95 % interval that a t-test of scipy gives; of values that are all equal, a point."""
    with warnings.catch_warnings():  # of values that agree to the last digit there is no spread
        warnings.simplefilter("ignore", RuntimeWarning)
        low, high = test(*samples, **options).confidence_interval(LEVEL)
    return float(low), float(high)


def compare(
    fits: Mapping[str, Fit],
    fit_rows: pd.DataFrame,
    held_out_rows: pd.DataFrame,
    value: str,
    *,
    referee: str,
    folds: int = 10,
    bootstraps: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every model fitted on `fit_rows` and tried on `held_out_rows`, one row each.

    `value` is the column that is predicted; `referee` the model of `fits` that knows no input.
    Columns: model, equation, coefficients, aic (both missing for models without),
    in_sample_percent, cross_validated_percent (mean relative error over `folds` parts, each
    predicted by a fit on the others; 0 folds: missing), and of the held-out rows held_out_percent
    (mean relative error), held_out_max_percent, held_out_rmse (in units of `value`), skill
    (1 - error / the referee's error), skill_oracle (the same against `ORACLE`), spearman (missing
    for a constant), outside (rows that extrapolate); held_out_percent, skill and spearman each
    with _low and _high, 95 % by bootstrap over held-out rows (the fit stays; 0 bootstraps:
    missing). The last row is `ORACLE`.

    Raises BadInputError for fewer rows than folds.
    """
    from sklearn.model_selection import KFold  # where nets are only trained it need not be there

    if folds and not 2 <= folds <= len(fit_rows):
        raise BadInputError(
            f"{folds} folds of {len(fit_rows)} configurations: choose from 2 to {len(fit_rows)}"
        )
    measured, of_fit = (t[value].to_numpy(dtype=float) for t in (held_out_rows, fit_rows))
    predictions = {ORACLE: np.full(len(measured), best_constant(measured))}
    table = []
    for name, fit in fits.items():
        fitted = fit(fit_rows, seed=seed)
        predictions[name] = fitted.predict(held_out_rows)
        validated = math.nan
        if folds:
            splits = KFold(folds, shuffle=True, random_state=seed).split(fit_rows)
            predicted = cross_validated(fit, fit_rows, splits, seed=seed, warm=fitted)
            validated = relative_errors(of_fit, predicted).mean()
        table.append(
            {
                "model": name, "equation": fitted.equation,
                "coefficients": len(fitted.parameters) or None, "aic": fitted.aic,
                "in_sample_percent": relative_errors(of_fit, of_fit - fitted.residuals).mean(),
                "cross_validated_percent": validated,
                "outside": int(fitted.outside(held_out_rows).sum()),
            }
        )  # fmt: skip
    table.append({"model": ORACLE, "equation": "P = c, the median of what is predicted"})
    errors = {name: relative_errors(measured, p) for name, p in predictions.items()}
    for row in table:
        name = row["model"]
        row |= {
            "held_out_max_percent": errors[name].max(),
            "held_out_rmse": math.sqrt(float(((measured - predictions[name]) ** 2).mean())),
            "skill_oracle": float(skill(errors[name], errors[ORACLE])),
        }
        for column, statistic, samples in (
            ("held_out_percent", np.mean, (errors[name],)),
            ("skill", skill, (errors[name], errors[referee])),
            ("spearman", spearman, (measured, predictions[name])),
        ):
            row[column] = float(statistic(*samples, axis=-1))
            row[f"{column}_low"], row[f"{column}_high"] = bootstrap(
                statistic, *samples, draws=bootstraps, seed=seed
            )
    columns = ["model", "equation", "coefficients", "aic", "in_sample_percent"]
    columns += ["cross_validated_percent", "outside", "held_out_percent", "held_out_max_percent"]
    columns += ["held_out_rmse", "skill", "skill_oracle", "spearman"]
    columns += [f"{name}_{end}" for name in ("held_out_percent", "skill", "spearman")
                for end in ("low", "high")]  # fmt: skip
    frame = pd.DataFrame(table, columns=columns)
    return frame.astype({"coefficients": "Int64", "outside": "Int64", "aic": float})
