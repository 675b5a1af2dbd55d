"""Checks of the equations of precision, of the baseline, and on nets that no fit has seen."""

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision import findings as found
from convcost.chapters.complexity_precision.findings import faces, paper, precision, printed
from convcost.chapters.complexity_precision.findings import rows as rows_of_nets
from convcost.chapters.complexity_precision.findings.configurations import LETTERS
from convcost.chapters.complexity_precision.findings.held_out import SHOWN
from convcost.chapters.complexity_precision.tables import REPEATED, TRAININGS
from convcost.claims.lookup import lacking, made, one
from convcost.claims.verdicts import Compute, Evidence, Finding, Published, above, too_few
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
            protocol=", ".join(["on the nets that it was fitted to", *protocols]),
            reason=f"relative errors: {told}",
            remark=_simpler(results, tested),
            evidence=Evidence(int(tested["configurations"].sum()), "nets, all fitted to"),
        )

    return compute


def _simpler(results: Results, tested: pd.DataFrame) -> str:
    """What a curve with one coefficient less does, where eq. (2) was tested; else nothing."""
    table = made(results, found.simpler_lines, TRAININGS)
    table = table[table["model"].isin(tested["model"])]
    if table.empty:
        return ""
    told = ", ".join(f"{row.model} {row.quadratic_percent:.2g} %" for row in table.itertuples())
    return (
        f"a quadratic in the inverse, with one coefficient less, is off by {told}, so the errors "
        "do not single this form out"
    )


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
        baseline, limit = published("baseline_precision"), published("precision_error_percent")
        interval = _of_interval(row)
        readings = found.readings()
        readings = readings[readings["model"] == row["model"]]
        printed_at = {
            what: float(one(readings, reading=reading.text)["at_baseline"])
            for what, reading in zip(("values", "shares"), printed.READINGS[:2], strict=True)
        }
        if all(100 * abs(p / baseline - 1) > limit for p in printed_at.values()):
            return Finding(
                value,
                contradiction=f"with the printed row {row['equation']} gives "
                f"{printed_at['shares']:.3f} at T0 with shares of the baseline (all 1) and "
                f"{printed_at['values']:.3g} with the values themselves; the paper's precision "
                f"there is {baseline:g}, and its own error {limit:g} %",
                reason=about,
                remark=_rescued(row["model"], readings),
                evidence=interval,
            )
        told = f"{about}; the printed one is {row['as_shares']:.4g} in our units"
        if pd.isna(row["inside"]):
            return Finding(value, undecidable=told, evidence=interval)
        if row["inside"] and row["low"] <= 0 <= row["high"]:
            return Finding(
                value,
                undecided="both the printed one and 0 lie in our interval, which more nets would "
                "narrow",
                reason=told,
                evidence=interval,
            )
        return Finding(value, agrees=bool(row["inside"]), reason=told, evidence=interval)

    return compute


def _of_interval(row: pd.Series) -> Evidence:
    if not row["identified"] or not np.isfinite(row["low"]):
        return Evidence()
    return Evidence(None, "", row["low"], row["high"], "95 %, our coefficient")


def _rescued(model: str, readings: pd.DataFrame) -> str:
    """Readings, and a hypothesis, by which the printed row would give what it should."""
    usable = readings[readings["usable"]]
    told = f"of {len(printed.READINGS)} readings of the formula {len(usable)} give"
    if len(usable):
        told += ": " + ", ".join(
            f"{row.reading} ({row.at_baseline:.3f})" for row in usable.itertuples()
        )
    else:
        told = told.replace(" 0 give", " none gives") + " it"
    zeros = found.lost_zeros()
    zeros = zeros[zeros["model"] == model]
    near = zeros[zeros["usable"]]
    if near.empty:
        return told
    first = near.iloc[0]
    return (
        f"{told}; a hypothesis: with a zero lost behind the point of coefficient "
        f"{first['changed']} it would be {first['at_baseline']:.3f} ({len(near)} of "
        f"{len(zeros)} such changes come near)"
    )


# --- held-out configurations -----------------------------------------------------------------


def _models(trainings: pd.DataFrame, repeated: pd.DataFrame) -> pd.DataFrame:
    return found.models(found.together(trainings, repeated), folds=0)


def _error_limit(published: Published) -> float:
    return published("precision_error_percent") + _LAST_DIGIT


def _held_out(results: Results) -> pd.DataFrame:
    return made(results, _models, TRAININGS, REPEATED, may_lack=(REPEATED,)).set_index("model")


def _judged_on(results: Results, row: pd.Series, name: str) -> Evidence:
    """The held-out nets, their seeds, and the interval of one column."""
    nets = made(results, _held_out_nets, TRAININGS, REPEATED, may_lack=(REPEATED,))
    seeds = f"held-out nets, {nets['seeds'].min()} to {nets['seeds'].max()} seeds each"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return Evidence(len(nets), seeds, low, high, f"95 % of the {name}, nets drawn again")


def _held_out_nets(trainings: pd.DataFrame, repeated: pd.DataFrame) -> pd.DataFrame:
    return rows_of_nets.held_out_rows(found.together(trainings, repeated))


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
    """By error and by skill against a constant, both by their whole intervals."""
    table = _held_out(results)
    row = table.loc[precision.EQ6]
    limit = _error_limit(published)
    skill = above(row["skill_low"], row["skill_high"], paper.HALF, more="more held-out nets")
    error = above(-row["held_out_percent_high"], -row["held_out_percent_low"], -limit)
    shares = found.readings()
    shares = one(shares, model=printed.label(printed.NAMES), reading=printed.READINGS[1].text)
    return Finding(
        f"{row['held_out_percent']:.2g} % off, skill {row['skill']:.2f}",
        agrees=bool(skill["agrees"] and error["agrees"]),
        undecided=skill["undecided"] or error["undecided"],
        reason=f"mean relative error on configurations in no fit; {_told(table)}; "
        f"{_printed_says(results)}",
        remark=f"with the printed lambdas it is {shares['at_baseline']:.3f} with all shares 1 and "
        f"{_few_filters():.3f} with a tenth of the filters: fewer would be more precise",
        evidence=_judged_on(results, row, "skill"),
    )


def _few_filters() -> float:
    """The printed eq. (6), as shares, with a tenth of the baseline's filters."""
    return float(printed.evaluate(printed.NAMES, np.array([[0.1, 1.0, 1.0, 1.0]]))[0])


def precision_error(results: Results, published: Published, name: str) -> Finding:
    table = _held_out(results)
    row = table.loc[precision.EQ6]
    error = row["held_out_percent"]
    constant = table.loc[precision.CONSTANT, "held_out_percent"]
    limit = _error_limit(published)
    decided = above(-row["held_out_percent_high"], -row["held_out_percent_low"], -limit)
    return Finding(
        float(f"{error:.3g}"),
        **decided,
        protocol="of the mean error, which a constant meets too" if constant <= limit else
        "of the mean error",
        reason=f"eq. (6) fitted here; {_told(table)}; {_printed_says(results)}",
        evidence=_judged_on(results, row, "held_out_percent"),
    )  # fmt: skip


def describes(results: Results, published: Published, name: str) -> Finding:
    table = _held_out(results)
    row = table.loc[precision.EQ6]
    ranked = table["held_out_percent"].drop(index=table.index[-1]).rank(method="min")
    rank = above(row["spearman_low"], row["spearman_high"], paper.RANKED, more="more held-out nets")
    skill = above(row["skill_low"], row["skill_high"], paper.HALF, more="more held-out nets")
    return Finding(
        f"rank correlation {row['spearman']:.2f}",
        agrees=bool(rank["agrees"] and skill["agrees"]),
        undecided=rank["undecided"] or skill["undecided"],
        reason=f"eq. (6) on held-out configurations; of {len(ranked)} models it is number "
        f"{ranked[precision.EQ6]:.0f}; {_told(table)}",
        evidence=_judged_on(results, row, "spearman"),
    )


def _effects(trainings: pd.DataFrame, repeated: pd.DataFrame) -> pd.DataFrame:
    return found.effects(found.together(trainings, repeated))


def four_matter(results: Results, published: Published, name: str) -> Finding:
    """Each parameter from its largest to its smallest candidate: does precision change?"""
    table = made(results, _effects, TRAININGS, REPEATED, may_lack=(REPEATED,))
    if table["seeds"].min() < 2:
        raise lacking("two seeds of each end of every parameter")
    sure = table["low"] > 0
    open_ = table[~sure & (table["high"] > 0)]
    told = "; ".join(
        f"{LETTERS[row.parameter]} from {row.largest} to {row.smallest}: {row.lost:.2f} points "
        f"({row.low:.2f} to {row.high:.2f}), {row.seeds} seeds"
        for row in table.itertuples()
    )
    return Finding(
        f"{int(sure.sum())} of {len(table)} do",
        agrees=bool(sure.all()),
        undecided=f"the interval of {', '.join(LETTERS[p] for p in open_['parameter'])} holds 0; "
        "more seeds would narrow it" if len(open_) else None,
        reason=f"precision lost, the others as in T0: {told}",
        evidence=Evidence(int(table["seeds"].min()), "seeds or more at each end", how="Welch 95 %"),
    )  # fmt: skip


# --- the baseline ----------------------------------------------------------------------------


def _baseline(trainings: pd.DataFrame, repeated: pd.DataFrame) -> pd.DataFrame:
    return found.baseline(found.together(trainings, repeated))


def baseline(factor: int) -> Compute:
    """`factor` 1 for a share, 100 for percent."""

    def compute(results: Results, published: Published, name: str) -> Finding:
        table = made(results, _baseline, TRAININGS, REPEATED, may_lack=(REPEATED,)).set_index(
            "what"
        )
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
            undecided=too_few(len(seeds), "seeds"),
            evidence=Evidence(
                len(seeds), "seeds", seeds["accuracy"].min(), seeds["accuracy"].max(), "range"
            ),
            protocol="precision read as accuracy",
            reason=f"mean over the seeds ({len(seeds)}), {100 * seeds['accuracy'].min():.2f} to "
            f"{100 * seeds['accuracy'].max():.2f} %, {images} images of people that were not "
            f"trained on; balanced accuracy {100 * mean['balanced_accuracy']:.2f} %, precision of "
            f"the class male {100 * mean['male_precision']:.2f} %; a constant predictor has "
            f"{100 * constant['accuracy']:.2f} % accuracy; holds within "
            f"{100 * (_LAST_SHARE + drawn):.2f} points",
        )

    return compute
