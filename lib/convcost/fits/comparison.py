"""Models of precision side by side: errors on configurations that no fit has seen, and skill."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from convcost.core.errors import BadInputError
from convcost.fits import precision
from convcost.fits.complexity import refuse_overlap
from convcost.fits.precision import CONSTANT, LEVEL
from convcost.fits.rows import checked

ORACLE = "best constant of the held-out rows"
"""No model: it has seen what it predicts. The hardest referee that knows nothing of T."""


def relative_errors(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """|predicted / measured - 1|, percent: the paper's "relative estimation error"."""
    measured = np.asarray(measured, dtype=float)
    if (measured <= 0).any():
        raise BadInputError("a measured precision is not above 0: it has no relative error")
    return 100 * np.abs(np.asarray(predicted, dtype=float) / measured - 1)


def spearman(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Rank correlation, ties sharing their mean rank; NaN where one side is constant."""
    return float(_spearmans(np.asarray(measured)[None], np.asarray(predicted)[None])[0])


def _spearmans(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """`spearman` of each row of two arrays (rows, values): many samples at once."""
    a, b = (stats.rankdata(np.round(v, 12), axis=1) for v in (measured, predicted))
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (a, b))
    norm = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norm, out=np.full(len(a), np.nan), where=norm > 0)


def compare(
    fit_rows: pd.DataFrame,
    held_out_rows: pd.DataFrame,
    models: Sequence[str] = tuple(precision.MODELS),
    *,
    folds: int = 10,
    bootstraps: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every model fitted on `fit_rows` and tried on `held_out_rows`, one row each.

    Rows as of `rows.precision_rows`: one a configuration. Columns: model, equation, coefficients
    (missing for models without), aic (missing likewise), in_sample_percent, cross_validated_percent
    (mean relative error over `folds` parts of the configurations, each predicted by a fit on the
    others; 0 folds: missing), and of the held-out rows held_out_percent (mean relative error),
    held_out_max_percent, held_out_rmse (in precision), skill (1 - error / error of the constant
    that was fitted), skill_oracle (the same against `ORACLE`, the median of the held-out rows),
    spearman (missing for a constant), outside (held-out rows that extrapolate); each of
    held_out_percent, skill and spearman with _low and _high, 95 % by bootstrap over held-out
    configurations (the fit stays; 0 bootstraps: missing). The last row is `ORACLE`.

    Raises BadInputError for an unknown model, no rows, a configuration in both sets, and fewer
    configurations than folds.
    """
    fit_rows, held_out_rows = checked(fit_rows, "precision"), checked(held_out_rows, "precision")
    refuse_overlap(fit_rows, held_out_rows)
    names = list(dict.fromkeys([CONSTANT, *models]))
    measured = held_out_rows["precision"].to_numpy(dtype=float)
    of_fit = fit_rows["precision"].to_numpy(dtype=float)
    parts = fold_numbers(len(fit_rows), folds, seed) if folds else None
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(measured), size=(bootstraps, len(measured)))
    oracle = np.full(len(measured), best_constant(measured))
    predictions, table = {}, []
    for name in names:
        fitted = precision.fit(name, fit_rows, seed=seed)
        predictions[name] = fitted.predict(held_out_rows)
        validated = math.nan
        if parts is not None:
            predicted = cross_validated(name, fit_rows, parts, seed=seed, warm=fitted)
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
    predictions[ORACLE] = oracle
    for row in table:
        row |= _held_out(measured, predictions[row["model"]], predictions[CONSTANT], oracle, draws)
    asked = set(models) | {CONSTANT, ORACLE}
    frame = pd.DataFrame([row for row in table if row["model"] in asked])
    return frame.astype({"coefficients": "Int64", "outside": "Int64", "aic": float})


def _held_out(measured, predicted, constant, oracle, draws) -> dict:
    error, of_constant, of_oracle = (
        relative_errors(measured, p) for p in (predicted, constant, oracle)
    )
    row = {
        "held_out_percent": error.mean(),
        "held_out_max_percent": error.max(),
        "held_out_rmse": math.sqrt(float(((measured - predicted) ** 2).mean())),
        "skill": _skill(error.mean(), of_constant.mean()),
        "skill_oracle": _skill(error.mean(), of_oracle.mean()),
        "spearman": spearman(measured, predicted),
    }
    samples = {
        "held_out_percent": error[draws].mean(axis=1),
        "skill": [
            _skill(a, b)
            for a, b in zip(error[draws].mean(axis=1), of_constant[draws].mean(axis=1), strict=True)
        ],
        "spearman": _spearmans(measured[draws], predicted[draws]),
    }
    for name, values in samples.items():
        row[f"{name}_low"], row[f"{name}_high"] = interval(values)
    return row


def _skill(error: float, of_referee: float) -> float:
    return 1 - error / of_referee if of_referee > 0 else math.nan


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of the values by quantiles; (NaN, NaN) where one is missing, or none."""
    values = np.asarray(values, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def best_constant(measured: np.ndarray) -> float:
    """The one number of least mean relative error: the median, weighted by 1 / measured.

    >>> float(best_constant(np.array([0.9, 0.9, 0.5])))
    0.9
    """
    ordered = np.sort(np.asarray(measured, dtype=float))
    weights = np.cumsum(1 / ordered)
    return ordered[np.searchsorted(weights, weights[-1] / 2)]


def fold_numbers(rows: int, folds: int, seed: int = 0) -> np.ndarray:
    """Which part each row is in: parts of equal size, or one more, drawn from `seed`."""
    if not 2 <= folds <= rows:
        raise BadInputError(f"{folds} folds of {rows} configurations: choose from 2 to {rows}")
    return np.random.default_rng(seed).permutation(np.arange(rows) % folds)


def cross_validated(
    name: str,
    rows: pd.DataFrame,
    parts: np.ndarray,
    *,
    seed: int = 0,
    warm: precision.FittedPrecision | None = None,
) -> np.ndarray:
    """Each row's precision, predicted by a fit on the rows of the other parts."""
    predicted = np.empty(len(rows))
    for part in np.unique(parts):
        left_out = parts == part
        fitted = precision.fit(name, rows[~left_out], seed=seed, warm=warm)
        predicted[left_out] = fitted.predict(rows[left_out])
    return predicted


def noise_floor(
    held_out_rows: pd.DataFrame,
    repeated_rows: pd.DataFrame,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> pd.Series:
    """The mean relative error, in percent, that the truth itself would have on these rows.

    `held_out_rows` of `rows.precision_rows`; `repeated_rows` of `rows.training_rows`, from which
    the spread between seeds is pooled over the configurations that have several. Entries:

    * test_images: by the draw of the test images alone, binomial with each row's images. All nets
      see the same images, so part of it is common to them, and a model can learn that part;
    * seed_sd: standard deviation of precision between seeds, pooled; missing without repetitions;
    * seeds: by that spread alone (normal; divided by the root of the row's seeds), on the same
      test images: below it no model of T can come, but by luck;
    * both: of the two together;
    * configurations_repeated: how many the spread stands on.
    """
    rows = checked(held_out_rows, "precision")
    p = rows["precision"].to_numpy(dtype=float)
    seeds = rows["seeds"].to_numpy(dtype=float) if "seeds" in rows else np.ones(len(rows))
    images = np.rint(rows["images"].to_numpy(dtype=float) / seeds).astype(int)
    repeated_rows = repeated_rows.reset_index(drop=True)
    groups = repeated_rows.groupby(list(precision.NAMES))["precision"]
    several = groups.filter(lambda values: len(values) > 1)
    count = int((groups.size() > 1).sum())
    sd = math.nan
    if count:
        centred = several - groups.transform("mean")[several.index]
        sd = math.sqrt(float((centred**2).sum()) / (len(several) - count))
    rng = np.random.default_rng(seed)
    drawn = rng.binomial(images, np.clip(p, 0, 1), (draws, len(p))) / images - p
    spread = rng.normal(0, 1, (draws, len(p))) * sd / np.sqrt(seeds)

    def mean_error(off: np.ndarray) -> float:
        observed = p + off
        with np.errstate(divide="ignore", invalid="ignore"):
            return float((100 * np.abs(off) / observed).mean())

    return pd.Series(
        {
            "test_images": mean_error(drawn),
            "seed_sd": sd,
            "seeds": mean_error(spread),
            "both": mean_error(drawn + spread),
            "configurations_repeated": count,
        }
    )
