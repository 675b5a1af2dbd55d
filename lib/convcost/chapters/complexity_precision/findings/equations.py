"""Equations (2) to (6): how well they fit what was measured, and their coefficients."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision.findings import fitted, paper
from convcost.core.errors import BadInputError
from convcost.fits import comparison, printed, rows
from convcost.fits.configurations import BASELINE
from convcost.fits.precision import CONSTANT

EQUATIONS = {1: "eq. (2)", 4: "eq. (6)"}
_OF_TWO = {"input_px": "eq. (3)", "kernel_px": "eq. (4)", "layers": "eq. (5)"}


def number(names: Sequence[str]) -> str:
    """The paper's number of the equation over these parameters.

    >>> number(("filters", "layers"))
    'eq. (5)'
    """
    return EQUATIONS.get(len(names)) or _OF_TWO[names[-1]]


def equation_fits(configuration_trainings: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """Equations (2) to (6) fitted, each on the rows in which its parameters alone leave T0.

    One row a model: equation, model (as P(f, s)), configurations, coefficients, testable (more
    configurations than coefficients: else the equation passes through all, whatever they are),
    mean_percent, max_percent (relative errors on what was fitted),
    constant_percent (mean error of a constant fitted to the same rows), skill (1 - the ratio of
    the two), rmse (in precision), seed_sd (between seeds, pooled over the rows with several;
    missing without). The noise of one row is about seed_sd over the root of its seeds.
    """
    precise = fitted.fit_rows(configuration_trainings, measure)
    table = []
    for names in printed.ALL:
        own = precise[rows.varies_only(precise, names)]
        if own.empty:
            continue
        fit, constant = fitted.equation(precise, names), fitted.model(CONSTANT, own)
        errors, flat = (_errors(own, one.residuals) for one in (fit, constant))
        table.append(
            {
                "equation": number(names), "model": printed.label(names),
                "configurations": len(own), "coefficients": len(fit.parameters),
                "testable": len(own) > len(fit.parameters),
                "mean_percent": errors.mean(), "max_percent": errors.max(),
                "constant_percent": flat.mean(),
                "skill": 1 - errors.mean() / flat.mean() if flat.mean() > 0 else np.nan,
                "rmse": float(np.sqrt((fit.residuals**2).mean())), "seed_sd": _seed_sd(own),
            }
        )  # fmt: skip
    if not table:
        raise BadInputError("no configuration of the plan was trained to the end")
    return pd.DataFrame(table)


def _errors(own: pd.DataFrame, residuals: np.ndarray) -> np.ndarray:
    measured = own["precision"].to_numpy(dtype=float)
    return comparison.relative_errors(measured, measured - residuals)


def _seed_sd(own: pd.DataFrame) -> float:
    several = own[own["seeds"] > 1]
    if several.empty:
        return np.nan
    free = several["seeds"] - 1
    return float(np.sqrt((free * several["seed_sd"] ** 2).sum() / free.sum()))


def surfaces(configuration_trainings: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """The three grids of two parameters: measured, eqs. (3) to (5) fitted, and what is left.

    One row a grid and configuration: model (as P(f, s)), filters, parameter (the other one: its
    name), value, precision (measured, mean over the seeds), seeds, fitted, residual (measured
    minus fitted), error_percent (relative, with the sign of fitted minus measured). The lines of
    the two parameters are part of the grid.
    """
    precise = fitted.fit_rows(configuration_trainings, measure)
    tables = []
    for names in printed.TABLE_II:
        own = precise[rows.varies_only(precise, names)]
        if own.empty:
            continue
        p = fitted.equation(precise, names).predict(own)
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


# --- the printed coefficients ----------------------------------------------------------------


@cache
def readings() -> pd.DataFrame:
    """`printed.at_baseline`, with usable: what a model may give that describes the paper's net.

    usable: within the paper's own error of precision of the 0.95 at T0, and between 0 and 1 over
    all candidate values. Sorted by model, the nearest reading first.
    """
    table = printed.at_baseline()
    near = table["off_percent"].abs() <= paper.value("precision_error_percent")
    table = table.assign(usable=near & table["possible"], off=table["off_percent"].abs())
    order = {printed.label(names): place for place, names in enumerate(printed.ALL)}
    table = table.sort_values("off", kind="stable").sort_values(
        ["model", "usable"], key=lambda c: c.map(order) if c.name == "model" else ~c, kind="stable"
    )
    return table.drop(columns="off").reset_index(drop=True)


def as_shares(names: Sequence[str], reading: printed.Reading) -> np.ndarray:
    """The printed coefficients of a reading, for gamma as the share of the baseline throughout.

    The same curve as `printed.evaluate(names, ..., reading)`, in the normalisation of our fits:
    that of 1 - share has the slopes of the opposite sign, and their sum in the constant.
    """
    m = len(names)
    base = np.array([getattr(BASELINE, name) for name in names], dtype=float)
    c = printed.coefficients(names)
    powers, slopes = c[1 : m + 1] * reading.sign, c[m + 1 : 2 * m + 1] * reading.line_sign
    constant = c[-1] + (slopes.sum() if reading.line == "given up" else 0)
    powers = powers / base if reading.exponential == "value" else powers
    slopes = slopes * {"value": base, "share": 1, "given up": -1, "none": 0}[reading.line]
    return np.concatenate([c[:1], powers, slopes, [constant]])


def coefficients(
    configuration_trainings: pd.DataFrame,
    models: Sequence[Sequence[str]] = printed.ALL,
    *,
    measure: str = "accuracy",
    intervals: bool = True,
) -> pd.DataFrame:
    """Tables I and II and the lambdas beside ours: one row a coefficient, in the paper's order.

    Columns: equation, model, coefficient; printed; at_baseline (what the printed row of
    coefficients gives at T0, gamma as the share); reading (the usable one of `readings` that is
    nearest to 0.95; missing where none is usable), as_shares (the printed coefficient in it, in
    the normalisation of ours); estimate, low, high (profile likelihood), identified, why_not;
    inside (whether as_shares lies in the interval; missing where there is no reading or the
    coefficient is not identified); configurations. Intervals take seconds: without them a
    coefficient has no low and high and counts as identified where derivatives say so.
    """
    precise = fitted.fit_rows(configuration_trainings, measure)
    texts = {reading.text: reading for reading in printed.READINGS}
    tables = []
    for names in models:
        fit = fitted.equation(precise, names, intervals=intervals)
        table = fit.parameters.rename(columns={"parameter": "coefficient"})
        own = readings()
        own = own[own["model"] == printed.label(names)]
        share = own.loc[own["reading"] == printed.READINGS[1].text, "at_baseline"].iloc[0]
        nearest = own.loc[own["usable"], "reading"].head(1).tolist()
        table = table.assign(
            equation=number(names), model=printed.label(names), at_baseline=share,
            printed=printed.coefficients(names), reading=nearest[0] if nearest else None,
            as_shares=as_shares(names, texts[nearest[0]]) if nearest else np.nan,
            configurations=fit.rows_fitted,
        )  # fmt: skip
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    inside = table["as_shares"].between(table["low"], table["high"]).astype("boolean")
    known = table["identified"].astype(bool) & table["as_shares"].notna() & table["low"].notna()
    columns = ["equation", "model", "coefficient", "printed", "at_baseline", "reading"]
    columns += ["as_shares", "estimate", "low", "high", "identified", "why_not", "inside"]
    return table.assign(inside=inside.where(known))[[*columns, "configurations"]]
