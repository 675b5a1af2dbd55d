"""All four parameters: models tried on configurations that no fit has seen."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision.findings import costs, paper, precision
from convcost.chapters.complexity_precision.findings.precision import CONSTANT, kept_fit
from convcost.chapters.complexity_precision.findings.rows import (
    FIT,
    HELD_OUT,
    KEY,
    checked,
    held_out_rows,
    pooled_sd,
    precision_rows,
    refuse_overlap,
)
from convcost.fits import comparison

FOLDS = 10
SHOWN = (precision.EQ6, precision.DEFAULT)


def predictions(
    configuration_trainings: pd.DataFrame,
    models: Sequence[str] = SHOWN,
) -> pd.DataFrame:
    """Models fitted on the plan, and what they say of all its configurations. Fig. 1 (right).

    One row a model and configuration: the four parameters, set (fit or held out), model, measured,
    seeds, images (tested in all), predicted, residual (measured minus predicted), error_percent
    (relative, sign of predicted minus measured), outside (whether the model extrapolates).
    """
    precise = precision_rows(configuration_trainings)
    held_out = held_out_rows(configuration_trainings)
    both = pd.concat([precise.assign(set=FIT), held_out.assign(set=HELD_OUT)], ignore_index=True)
    both = both.rename(columns={"precision": "measured"})
    tables = []
    for name in models:
        fit = kept_fit(name, precise)
        p = fit.predict(both)
        tables.append(
            both.assign(
                model=name, predicted=p, residual=both["measured"] - p,
                error_percent=100 * (p / both["measured"] - 1), outside=fit.outside(both),
            )
        )  # fmt: skip
    columns = [*KEY, "set", "model", "measured", "seeds", "images", "predicted", "residual"]
    return pd.concat(tables, ignore_index=True)[[*columns, "error_percent", "outside"]]


def models(
    configuration_trainings: pd.DataFrame,
    *,
    models: Sequence[str] = tuple(precision.MODELS),
    folds: int = FOLDS,
    bootstraps: int = 1000,
) -> pd.DataFrame:
    """Every model of precision on the held-out configurations: `fits.comparison.compare`.

    The constant, who cannot beat which has learnt nothing of T, is always among them. With fewer
    configurations than `folds` there are as many folds as configurations; 0 folds and 0
    bootstraps leave cross-validation and intervals out, which take most of the time. Raises
    BadInputError for an unknown model, no rows, and a configuration in both sets.
    """
    precise = checked(precision_rows(configuration_trainings), "precision")
    held_out = checked(held_out_rows(configuration_trainings), "precision")
    refuse_overlap(precise, held_out)
    names = dict.fromkeys([CONSTANT, *models])
    return comparison.compare(
        {name: partial(precision.fit, precision.model(name).name) for name in names},
        precise, held_out, "precision", referee=CONSTANT, folds=min(folds, len(precise)),
        bootstraps=bootstraps,
    )  # fmt: skip


DRAWS = 2000


def noise(configuration_trainings: pd.DataFrame) -> pd.Series:
    """The mean relative error, in percent, that the truth itself would have on the held-out rows.

    The spread between seeds is pooled over all configurations that have several. Entries:

    * test_images: by the draw of the test images alone, binomial with each row's images. All nets
      see the same images, so part of it is common to them, and a model can learn that part;
    * seed_sd: standard deviation of precision between seeds, pooled; missing without repetitions;
    * seeds: by that spread alone (normal; divided by the root of the row's seeds), on the same
      test images: below it no model of T can come, but by luck;
    * both: of the two together;
    * configurations_repeated: how many the spread stands on.
    """
    rows = checked(held_out_rows(configuration_trainings), "precision")
    p, seeds = (rows[name].to_numpy(dtype=float) for name in ("precision", "seeds"))
    images = np.rint(rows["images"].to_numpy(dtype=float) / seeds).astype(int)
    every = precision_rows(configuration_trainings, roles=None)
    sd = pooled_sd(every)
    rng = np.random.default_rng(0)
    drawn = rng.binomial(images, np.clip(p, 0, 1), (DRAWS, len(p))) / images - p
    spread = rng.normal(0, 1, (DRAWS, len(p))) * sd / np.sqrt(seeds)

    def mean_error(off: np.ndarray) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):
            return float((100 * np.abs(off) / (p + off)).mean())

    return pd.Series(
        {
            "test_images": mean_error(drawn),
            "seed_sd": sd,
            "seeds": mean_error(spread),
            "both": mean_error(drawn + spread),
            "configurations_repeated": int((every["seeds"] > 1).sum()),
        }
    )


def targets(configuration_trainings: pd.DataFrame, forward_times: pd.DataFrame) -> pd.DataFrame:
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
    table = models(configuration_trainings, folds=0, bootstraps=0)
    table = table.set_index("model")
    of_constant = table.loc[CONSTANT, "held_out_percent"]
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
