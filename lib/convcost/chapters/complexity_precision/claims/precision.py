"""Checks of the equations of precision, of the baseline, and on nets that no fit has seen."""

from functools import partial

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision import findings as found
from convcost.chapters.complexity_precision.findings import faces, paper, precision, printed
from convcost.chapters.complexity_precision.findings.configurations import LETTERS
from convcost.chapters.complexity_precision.findings.held_out import SHOWN
from convcost.chapters.complexity_precision.tables import TRAININGS
from convcost.claims.lookup import lacking, made
from convcost.claims.verdicts import Compute, Finding, Published
from convcost.records import MissingTableError, Results

_LAST_DIGIT = 0.05  # half a step of the one decimal that is printed
_LAST_SHARE = 0.005  # half a step of two decimals
_TWO_SIDED = 1.96


def equation(number: str) -> Compute:
    """Whether an equation follows what was measured: small errors, and far from a constant's."""

    def compute(results: Results, published: Published, name: str) -> Finding:
        limit = published("precision_error_percent")
        rows = made(results, found.equation_fits, TRAININGS)
        rows = rows[rows["equation"].isin(number.split("; "))]
        tested = rows[rows["testable"]]
        if tested.empty:
            raise MissingTableError(
                f"this run has no more configurations than {number} has coefficients: it passes "
                "through all of them"
            )
        untested = rows[~rows["testable"]]
        told = "; ".join(
            f"{row.model}: mean {row.mean_percent:.3g}, at most {row.max_percent:.3g} %, a "
            f"constant {row.constant_percent:.3g} %, {row.configurations} configurations"
            + (f", sd between seeds {row.seed_sd:.2g}" if np.isfinite(row.seed_sd) else "")
            for row in tested.itertuples()
        )
        told += "".join(
            f"; {row.model} passes through {row.configurations} values with {row.coefficients} "
            "coefficients whatever they are"
            for row in untested.itertuples()
        )
        good = (tested["mean_percent"] <= limit) & (tested["skill"] >= paper.HALF)
        protocols = [f"over {_listed(tested['model'])} alone"] * bool(len(untested))
        swapped = [
            LETTERS[names[1]]
            for names in printed.TABLE_II[1:]
            if printed.label(names) in set(tested["model"])
        ]
        if swapped:
            protocols.append(f"with {' and '.join(swapped)} where the right side prints s")
        return Finding(
            f"{tested['mean_percent'].max():.2g} % off",
            agrees=bool(good.all()),
            protocol=", ".join(protocols) or None,
            reason=f"relative errors on what was fitted: {told}; holds up to {limit:g} % and half "
            "the error of a constant",
        )

    return compute


def _listed(models: pd.Series) -> str:
    return " and ".join(models)


def _coefficients(results: Results) -> pd.DataFrame:
    return made(results, found.coefficients, TRAININGS)


def coefficient(names: tuple[str, ...], place: int) -> Compute:
    """The printed coefficient `place` of the model over `names`, beside ours.

    First whether the printed model can give the paper's own 0.95 at all; then, in the nearest
    reading that does, whether the coefficient lies in our interval. An interval that holds 0 as
    well does not even show that there is such a term.
    """

    def compute(results: Results, published: Published, name: str) -> Finding:
        table = _coefficients(results)
        row = table[table["model"] == printed.label(names)].iloc[place]
        ours = f"{row['estimate']:.4g}" if row["identified"] else "not identified"
        if row["identified"] and np.isfinite(row["low"]):
            ours += f" ({row['low']:.4g} to {row['high']:.4g})"
        about = f"ours, over shares of the baseline: {ours}"
        if not row["identified"]:
            about += f": {row['why_not']}"
        value = float(f"{row['estimate']:.4g}") if row["identified"] else "not identified"
        baseline = published("baseline_precision")
        if not isinstance(row["reading"], str):
            own = found.readings()
            own = own[own["model"] == row["model"]].iloc[0]
            return Finding(
                value,
                contradiction=f"with the printed row {row['equation']} gives "
                f"{row['at_baseline']:.3f} at T0 (all shares 1), whose precision is "
                f"{baseline:g}; none of {len(printed.READINGS)} readings comes within "
                f"{published('precision_error_percent'):g} % of it and stays between 0 and 1; the "
                f"nearest ({own['reading']}) gives {own['at_baseline']:.3f}; {about}",
            )
        reading = f"{row['reading']}: the printed one is {row['as_shares']:.4g} in our units"
        if pd.isna(row["inside"]):
            return Finding(value, undecidable=f"{about}; {reading}")
        if row["inside"] and row["low"] <= 0 <= row["high"]:
            return Finding(
                value, undecidable=f"{about}; {reading}; both it and 0 lie in the interval"
            )
        return Finding(
            value,
            agrees=bool(row["inside"]),
            protocol=row["reading"] if row["inside"] else None,
            reason=f"{about}; {reading}",
        )

    return compute


# --- held-out configurations -----------------------------------------------------------------

_models = partial(found.models, folds=0, bootstraps=0)


def _error_limit(published: Published) -> float:
    return published("precision_error_percent") + _LAST_DIGIT


def _held_out(results: Results) -> pd.DataFrame:
    return made(results, _models, TRAININGS).set_index("model")


def _told(table: pd.DataFrame) -> str:
    return (
        "; ".join(
            f"{name}: {row['held_out_percent']:.3g} %, skill {row['skill']:.2f}, rank correlation "
            f"{row['spearman']:.2f}"
            for name, row in table.loc[list(SHOWN)].iterrows()
        )
        + f"; a constant {table.loc[precision.CONSTANT, 'held_out_percent']:.3g} %"
    )


def _printed_says(results: Results) -> str:
    table = made(results, found.printed_on_held_out, TRAININGS)
    best = table.iloc[0]
    return (
        f"with the printed lambdas the nearest of {len(table)} readings ({best['reading']}) errs "
        f"by {best['error_percent']:.3g} %"
    )


def eq6(results: Results, published: Published, name: str) -> Finding:
    table = _held_out(results)
    row = table.loc[precision.EQ6]
    limit = _error_limit(published)
    return Finding(
        f"{row['held_out_percent']:.2g} % off",
        agrees=bool(row["held_out_percent"] <= limit and row["skill"] >= paper.HALF),
        reason=f"mean relative error on configurations in no fit; holds up to {limit:g} % and half "
        f"the constant's error; {_told(table)}; {_printed_says(results)}",
    )


def precision_error(results: Results, published: Published, name: str) -> Finding:
    table = _held_out(results)
    error = table.loc[precision.EQ6, "held_out_percent"]
    constant = table.loc[precision.CONSTANT, "held_out_percent"]
    limit = _error_limit(published)
    return Finding(
        float(f"{error:.3g}"),
        agrees=bool(error <= limit),
        protocol="of the mean error, which a constant meets too" if constant <= limit else
        "of the mean error",
        reason=f"eq. (6) fitted here; {_told(table)}; {_printed_says(results)}",
    )  # fmt: skip


def describes(results: Results, published: Published, name: str) -> Finding:
    table = _held_out(results)
    row = table.loc[precision.EQ6]
    ranked = table["held_out_percent"].drop(index=table.index[-1]).rank(method="min")
    holds = (
        row["held_out_percent"] <= _error_limit(published)
        and row["skill"] >= paper.HALF
        and row["spearman"] >= paper.RANKED
    )
    return Finding(
        f"rank correlation {row['spearman']:.2f}",
        agrees=bool(holds),
        reason="eq. (6) on held-out configurations; holds with an error up to "
        f"{_error_limit(published):g} %, half the constant's or less, and a rank correlation of "
        f"{paper.RANKED:g}; of {len(ranked)} models it is number "
        f"{ranked[precision.EQ6]:.0f}; {_told(table)}",
    )


# --- the baseline ----------------------------------------------------------------------------


def baseline(factor: int) -> Compute:
    """`factor` 1 for a share, 100 for percent."""

    def compute(results: Results, published: Published, name: str) -> Finding:
        table = made(results, found.baseline, TRAININGS).set_index("what")
        seeds = table[table["images"].notna()]
        if seeds.empty:
            raise lacking("baseline that was trained to the end")
        mean, constant = table.loc[faces.MEAN], table.loc[faces.CONSTANT]
        p, images = float(mean["accuracy"]), int(seeds["images"].iloc[0])
        drawn = _TWO_SIDED * np.sqrt(p * (1 - p) / images)
        theirs = published("baseline_precision")
        return Finding(
            round(factor * p, 2 if factor > 1 else 4),
            agrees=bool(abs(p - theirs) <= _LAST_SHARE + drawn),
            protocol="precision read as accuracy",
            reason=f"mean over the seeds ({len(seeds)}), {100 * seeds['accuracy'].min():.2f} to "
            f"{100 * seeds['accuracy'].max():.2f} %, {images} images of people that were not "
            f"trained on; balanced accuracy {100 * mean['balanced_accuracy']:.2f} %, precision of "
            f"the class male {100 * mean['male_precision']:.2f} %; a constant predictor has "
            f"{100 * constant['accuracy']:.2f} % accuracy; holds within "
            f"{100 * (_LAST_SHARE + drawn):.2f} points",
        )

    return compute
