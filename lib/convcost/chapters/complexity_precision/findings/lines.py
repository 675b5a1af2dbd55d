"""One parameter at a time: what was measured, eq. (2) through it, and the curve as printed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision.findings import fitted, paper
from convcost.fits import printed, rows
from convcost.fits.configurations import BASELINE, NAMES, candidates, frame

POINTS = 60


def lines(configuration_trainings: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """Precision over each parameter, the others as in T0; the baseline stands in every line.

    One row a parameter and value, the largest value first. Columns: parameter, value, share (of
    the baseline's), mean, low, high (least and greatest over the seeds), sd (missing of one seed),
    n (seeds trained to the end), not_done (diverged, failed or timed out).
    """
    trained = configuration_trainings[configuration_trainings["role"].isin(rows.FIT_ROLES)]
    done = rows.training_rows(trained, measure=measure)
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


def curves(configuration_trainings: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """Eq. (2) fitted to each line, evaluated between its values: parameter, value, fitted.

    Through as many values as coefficients, or fewer, it passes by necessity: `equation_fits` says
    where. A parameter with one value only has no curve.
    """
    precise = fitted.fit_rows(configuration_trainings, measure)
    tables = []
    for name in NAMES:
        own = precise[rows.varies_only(precise, [name])]
        if own[name].nunique() < 2:
            continue
        fit = fitted.equation(precise, [name])
        values = np.linspace(own[name].min(), own[name].max(), POINTS)
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


def printed_curves(readings: Sequence[printed.Reading] = printed.READINGS[:2]) -> pd.DataFrame:
    """Eq. (2) with Table I as printed, over the paper's candidate values: no measurement.

    Columns: parameter, value, share, reading, precision. By default the two readings of gamma that
    the text allows: the value itself, and the share of the baseline's.
    """
    tables = []
    for name, values in candidates().items():
        values = np.linspace(min(values), max(values), POINTS)
        share = values / paper.T0[name]
        for reading in readings:
            p = printed.evaluate([name], share[:, None], reading)
            tables.append(
                pd.DataFrame({"parameter": name, "value": values, "share": share})
                .assign(reading=reading.text, precision=p)
            )  # fmt: skip
    return pd.concat(tables, ignore_index=True)
