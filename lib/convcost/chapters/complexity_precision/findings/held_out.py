"""All four parameters: models tried on configurations that no fit has seen."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision.findings import costs, fitted, paper
from convcost.chapters.complexity_precision.findings.equations import readings
from convcost.fits import comparison, precision, printed, rows
from convcost.fits.configurations import NAMES, shares

FOLDS = 10
SHOWN = (precision.EQ6, precision.DEFAULT)


def predictions(
    configuration_trainings: pd.DataFrame,
    models: Sequence[str] = SHOWN,
    measure: str = "accuracy",
) -> pd.DataFrame:
    """Models fitted on the plan and what they say of the held-out configurations. Fig. 1 (right).

    One row a model and held-out configuration: the four parameters, model, measured, seeds,
    predicted, residual (measured minus predicted), error_percent (relative, sign of predicted
    minus measured), outside (whether the model extrapolates).
    """
    precise = fitted.fit_rows(configuration_trainings, measure)
    held_out = fitted.held_out_rows(configuration_trainings, measure)
    tables = []
    for name in models:
        fit = fitted.model(name, precise)
        p = fit.predict(held_out)
        tables.append(
            held_out[[*NAMES, "seeds"]].assign(
                model=name, measured=held_out["precision"], predicted=p,
                residual=held_out["precision"] - p,
                error_percent=100 * (p / held_out["precision"] - 1), outside=fit.outside(held_out),
            )
        )  # fmt: skip
    columns = [*NAMES, "model", "measured", "seeds", "predicted", "residual", "error_percent"]
    return pd.concat(tables, ignore_index=True)[[*columns, "outside"]]


def models(
    configuration_trainings: pd.DataFrame,
    *,
    measure: str = "accuracy",
    folds: int = FOLDS,
    bootstraps: int = 1000,
) -> pd.DataFrame:
    """Every model of precision on the held-out configurations: `fits.comparison.compare`.

    With fewer configurations than `folds` there are as many folds as configurations; 0 folds and 0
    bootstraps leave cross-validation and intervals out, which take most of the time.
    """
    precise = fitted.fit_rows(configuration_trainings, measure)
    held_out = fitted.held_out_rows(configuration_trainings, measure)
    return comparison.compare(
        precise, held_out, folds=min(folds, len(precise)), bootstraps=bootstraps
    )


def noise(configuration_trainings: pd.DataFrame, measure: str = "accuracy") -> pd.Series:
    """What error the truth itself would have on the held-out rows: `comparison.noise_floor`."""
    return comparison.noise_floor(
        fitted.held_out_rows(configuration_trainings, measure),
        rows.training_rows(configuration_trainings, measure=measure, roles=None),
    )


def printed_on_held_out(
    configuration_trainings: pd.DataFrame, measure: str = "accuracy"
) -> pd.DataFrame:
    """Eq. (6) with the printed lambdas, in every reading, on our held-out configurations.

    One row a reading: reading, at_baseline, usable (as in `readings`), error_percent (mean relative
    error), spearman (missing where it says the same of all). Another data split and other nets
    than the paper's: a large error alone proves little, a rank correlation below 0 much.
    """
    held_out = fitted.held_out_rows(configuration_trainings, measure)
    known = readings()
    known = known[known["model"] == printed.label(NAMES)].set_index("reading")
    measured = held_out["precision"].to_numpy(dtype=float)
    table = []
    for reading in printed.READINGS:
        p = printed.evaluate(NAMES, shares(held_out), reading)
        table.append(
            {
                "reading": reading.text,
                "at_baseline": known.loc[reading.text, "at_baseline"],
                "usable": known.loc[reading.text, "usable"],
                "error_percent": comparison.relative_errors(measured, p).mean(),
                "spearman": comparison.spearman(measured, p),
            }
        )
    return pd.DataFrame(table).sort_values("error_percent", kind="stable", ignore_index=True)


def targets(
    configuration_trainings: pd.DataFrame, forward_times: pd.DataFrame, measure: str = "accuracy"
) -> pd.DataFrame:
    """The targets on the held-out configurations, met or not: the paper's, then ours.

    One row a target and model: target, model, value, needed, met. Errors of complexity (eq. (1)
    by both ways to fit it, and the better model) and of precision (eq. (6) and the better model)
    are means in percent and must be at most what the paper prints; a model of precision must
    also have at most half the error of a constant and rank the nets as they are ranked.
    """
    cost = costs.complexity_models(forward_times, configuration_trainings)
    told = [
        ("mean error of complexity, percent", row.model, row.held_out_mean_percent,
         paper.value("complexity_error_percent"), -1)
        for row in cost.itertuples()
    ]  # fmt: skip
    table = models(configuration_trainings, measure=measure, folds=0, bootstraps=0)
    table = table.set_index("model")
    of_constant = table.loc[precision.CONSTANT, "held_out_percent"]
    for name in SHOWN:
        error = table.loc[name, "held_out_percent"]
        told += [
            ("mean error of precision, percent", name, error,
             paper.value("precision_error_percent"), -1),
            ("error over the constant's", name, error / of_constant, paper.HALF, -1),
            ("rank correlation", name, table.loc[name, "spearman"], paper.RANKED, 1),
        ]  # fmt: skip
    table = pd.DataFrame(told, columns=["target", "model", "value", "needed", "sign"])
    met = (table["value"] - table["needed"]) * table["sign"] >= 0
    return table.drop(columns="sign").assign(met=met & np.isfinite(table["value"]))
