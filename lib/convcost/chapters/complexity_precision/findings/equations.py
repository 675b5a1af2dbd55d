"""Equations (2) to (6): what was measured, how well they fit it, and their coefficients."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision.findings import paper, printed, rows
from convcost.chapters.complexity_precision.findings.configurations import (
    BASELINE,
    NAMES,
    frame,
    number,
)
from convcost.chapters.complexity_precision.findings.precision import CONSTANT, kept_fit
from convcost.chapters.complexity_precision.findings.rows import pooled_sd, precision_rows
from convcost.core.errors import BadInputError
from convcost.fits import comparison


def equation_fits(configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """Equations (2) to (6) fitted, each on the rows in which its parameters alone leave T0.

    One row a model: equation, model (as P(f, s)), configurations, coefficients, testable (more
    configurations than coefficients: else the equation passes through all, whatever they are),
    mean_percent, max_percent (relative errors on what was fitted),
    constant_percent (mean error of a constant fitted to the same rows), skill (1 - the ratio of
    the two), rmse (in precision), seed_sd (between seeds, pooled over the rows with several;
    missing without). The noise of one row is about seed_sd over the root of its seeds.
    """
    precise = precision_rows(configuration_trainings)
    table = []
    for names in printed.ALL:
        own = precise[rows.varies_only(precise, names)]
        if own.empty:
            continue
        fit, constant = kept_fit(names, precise), kept_fit(CONSTANT, own)
        errors, flat = (_errors(own, one.residuals) for one in (fit, constant))
        table.append(
            {
                "equation": number(names), "model": printed.label(names),
                "configurations": len(own), "coefficients": len(fit.parameters),
                "testable": len(own) > len(fit.parameters),
                "mean_percent": errors.mean(), "max_percent": errors.max(),
                "constant_percent": flat.mean(),
                "skill": 1 - errors.mean() / flat.mean() if flat.mean() > 0 else np.nan,
                "rmse": float(np.sqrt((fit.residuals**2).mean())), "seed_sd": pooled_sd(own),
            }
        )  # fmt: skip
    if not table:
        raise BadInputError("no configuration of the plan was trained to the end")
    return pd.DataFrame(table)


def simpler_lines(configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """Over one parameter, a quadratic in its inverse: three coefficients, where eq. (2) has four.

    One row a parameter with more values than that: model (as P(f)), configurations,
    quadratic_percent (mean relative error on the same rows that eq. (2) is fitted to).
    """
    precise, table = precision_rows(configuration_trainings), []
    for names in printed.TABLE_I:
        own = precise[rows.varies_only(precise, names)]
        inverse = 1 / own[names[0]].to_numpy(dtype=float)
        if len(np.unique(inverse)) <= 3:
            continue
        measured = own["precision"].to_numpy(dtype=float)
        fitted = np.polyval(np.polyfit(inverse, measured, 2), inverse)
        errors = comparison.relative_errors(measured, fitted)
        table.append(
            {"model": printed.label(names), "configurations": len(own),
             "quadratic_percent": errors.mean()}
        )  # fmt: skip
    return pd.DataFrame(table, columns=["model", "configurations", "quadratic_percent"])


def effects(trainings: pd.DataFrame) -> pd.DataFrame:
    """What each parameter alone does to precision, from its largest to its smallest value.

    One row a parameter: parameter, largest, smallest (values; the others as in T0), seeds (of the
    end with fewer), lost (points of precision, of the means over the seeds), low, high (95 % by
    Welch; missing of one seed).
    """
    each, table = rows.training_rows(trainings, roles=rows.BASELINE_ROLES), []
    for name in NAMES:
        own = each[rows.varies_only(each, (name,))]
        ends = [
            own.loc[own[name] == end, "precision"] for end in (own[name].max(), own[name].min())
        ]
        low, high = comparison.welch(*ends)
        table.append(
            {"parameter": name, "largest": int(own[name].max()), "smallest": int(own[name].min()),
             "seeds": min(map(len, ends)), "lost": 100 * (ends[0].mean() - ends[1].mean()),
             "low": 100 * low, "high": 100 * high}
        )  # fmt: skip
    return pd.DataFrame(table)


def _errors(own: pd.DataFrame, residuals: np.ndarray) -> np.ndarray:
    measured = own["precision"].to_numpy(dtype=float)
    return comparison.relative_errors(measured, measured - residuals)


def surfaces(configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """The three grids of two parameters: measured, eqs. (3) to (5) fitted, and what is left.

    One row a grid and configuration: model (as P(f, s)), filters, parameter (the other one: its
    name), value, precision (measured, mean over the seeds), seeds, fitted, residual (measured
    minus fitted), error_percent (relative, with the sign of fitted minus measured). The lines of
    the two parameters are part of the grid.
    """
    precise = precision_rows(configuration_trainings)
    tables = []
    for names in printed.TABLE_II:
        own = precise[rows.varies_only(precise, names)]
        if own.empty:
            continue
        p = kept_fit(names, precise).predict(own)
        tables.append(
            own[["filters", "precision", "seeds"]].assign(
                model=printed.label(names), parameter=names[1], value=own[names[1]], fitted=p,
                residual=own["precision"] - p, error_percent=100 * (p / own["precision"] - 1),
            )
        )  # fmt: skip
    columns = ["model", "filters", "parameter", "value", "precision", "seeds", "fitted"]
    columns += ["residual", "error_percent"]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


# --- one parameter at a time ------------------------------------------------------------------


def lines(configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """Precision over each parameter, the others as in T0; the baseline stands in every line.

    One row a parameter and value, the largest value first. Columns: parameter, value, share (of
    the baseline's), mean, low, high (least and greatest over the seeds), sd (missing of one seed),
    n (seeds trained to the end), not_done (diverged, failed or timed out).
    """
    trained = configuration_trainings[configuration_trainings["role"].isin(rows.FIT_ROLES)]
    done = rows.training_rows(trained)
    table = []
    for name in NAMES:
        mine, own = (t[rows.varies_only(t, [name])] for t in (trained, done))
        for value in sorted(mine[name].unique(), reverse=True):
            p = own.loc[own[name] == value, "precision"]
            table.append(
                {
                    "parameter": name, "value": int(value), "share": value / paper.T0[name],
                    "mean": p.mean(), "low": p.min(), "high": p.max(), "sd": p.std(), "n": len(p),
                    "not_done": int((mine[name] == value).sum()) - len(p),
                }
            )  # fmt: skip
    columns = ["parameter", "value", "share", "mean", "low", "high", "sd", "n", "not_done"]
    return pd.DataFrame(table, columns=columns)


def curves(configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """Eq. (2) fitted to each line, evaluated between its values: parameter, value, fitted.

    Through as many values as coefficients, or fewer, it passes by necessity: `equation_fits` says
    where. A parameter with one value only has no curve.
    """
    precise = precision_rows(configuration_trainings)
    tables = []
    for name in NAMES:
        own = precise[rows.varies_only(precise, [name])]
        if own[name].nunique() < 2:
            continue
        fit = kept_fit([name], precise)
        values = np.linspace(own[name].min(), own[name].max(), printed.POINTS)
        tables.append(
            pd.DataFrame({"parameter": name, "value": values, "fitted": _curve(fit, name, values)})
        )
    columns = ["parameter", "value", "fitted"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _curve(fit, name: str, values: np.ndarray) -> np.ndarray:
    # a model over filters, say, is smooth between the whole numbers that can be built
    shares = frame([BASELINE] * len(values)).astype(float)
    shares[name] = values
    return fit.predict(shares)


# --- the coefficients ------------------------------------------------------------------------


def coefficients(
    configuration_trainings: pd.DataFrame,
    models: Sequence[Sequence[str]] = printed.ALL,
    *,
    intervals: bool = True,
) -> pd.DataFrame:
    """Tables I and II and the lambdas beside ours: one row a coefficient, in the paper's order.

    Columns: equation, model, coefficient; printed; at_baseline (what the printed row of
    coefficients gives at T0, gamma as the share); reading (the usable one of
    `printed.readings` that is nearest to 0.95; missing where none is usable), as_shares (the
    printed coefficient in it, in the normalisation of ours); estimate, low, high (profile
    likelihood), identified, why_not; inside (whether as_shares lies in the interval; missing where
    there is no reading or the coefficient is not identified); configurations. Intervals take
    seconds: without them a coefficient has no low and high and counts as identified where
    derivatives say so.
    """
    precise = precision_rows(configuration_trainings)
    texts = {reading.text: reading for reading in printed.READINGS}
    tables = []
    for names in models:
        fit = kept_fit(names, precise, intervals=intervals)
        table = fit.parameters.rename(columns={"parameter": "coefficient"})
        own = printed.readings()
        own = own[own["model"] == printed.label(names)]
        share = own.loc[own["reading"] == printed.READINGS[1].text, "at_baseline"].iloc[0]
        nearest = own.loc[own["usable"], "reading"].head(1).tolist()
        table = table.assign(
            equation=number(names), model=printed.label(names), at_baseline=share,
            printed=printed.coefficients(names), reading=nearest[0] if nearest else None,
            as_shares=printed.as_shares(names, texts[nearest[0]]) if nearest else np.nan,
            configurations=len(fit.residuals),
        )  # fmt: skip
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    inside = table["as_shares"].between(table["low"], table["high"]).astype("boolean")
    known = table["identified"].astype(bool) & table["as_shares"].notna() & table["low"].notna()
    columns = ["equation", "model", "coefficient", "printed", "at_baseline", "reading"]
    columns += ["as_shares", "estimate", "low", "high", "identified", "why_not", "inside"]
    return table.assign(inside=inside.where(known))[[*columns, "configurations"]]
