"""Checks of eq. (7): whether the cheapest net is ten times cheaper, once it is trained."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision import findings as found
from convcost.chapters.complexity_precision.findings import cheapest, precision, printed
from convcost.chapters.complexity_precision.findings.configurations import LETTERS, NAMES
from convcost.chapters.complexity_precision.tables import CHOSEN, REPEATED, TIMES, TRAININGS
from convcost.claims.lookup import lacking, made
from convcost.claims.verdicts import Evidence, Finding, Published, above
from convcost.records import Results

_ABOUT = 0.95  # from here a factor rounds to the printed ten


def _judged(make: Callable) -> Callable:
    """A finding over the trainings of the plan and the repeated ones together."""

    def of(chosen, trainings, times, repeated):
        return make(chosen, found.together(trainings, repeated), times)

    return of


_of_savings, _of_optima = _judged(found.savings), _judged(found.optima)
_ALL = (CHOSEN, TRAININGS, TIMES, REPEATED)


def _by_models(results: Results) -> pd.DataFrame:
    """Optima that were trained and timed; the paper's own equation first."""
    table = made(results, _of_savings, *_ALL, may_lack=(REPEATED,))
    table = table[~table["way"].isin([cheapest.RANDOM, cheapest.BEST])]
    table = table.dropna(subset=["accuracy", "saving_s"])
    if table.empty:
        raise lacking("optimum that was trained and timed")
    own = table["way"].str.startswith(precision.EQ6)
    return table.assign(own=own).sort_values("own", ascending=False, kind="stable")


def _net(row: pd.Series) -> str:
    return ", ".join(f"{LETTERS[name]} = {row[name]}" for name in NAMES)


def _saved(row: pd.Series) -> str:
    lost = ", ".join(
        f"{row[what]:.2f}"
        + (f" ({row[low]:.2f} to {row[high]:.2f})" if np.isfinite(row[low]) else "")
        + f" points lost on {faces}"
        for faces, what, low, high in (
            ("fresh faces", *cheapest.FRESH[:3]),
            ("the faces that the fits saw", "lost_points", "lost_low", "lost_high"),
        )
    )
    risk = "" if np.isnan(row["fresh_risk"]) else (
        f" (more than {row['drop_points']:g} with a chance of {row['fresh_risk']:.2f})"
    )  # fmt: skip
    return (
        f"{row['way']} for {row['drop_points']:g}: {_net(row)}, {row['saving_s']:.3g} times "
        f"cheaper in seconds ({row['saving_s_low']:.3g} to {row['saving_s_high']:.3g}), "
        f"{row['saving_macs']:.3g} in multiply-adds, {lost}{risk}, {row['seeds']} seeds"
    )


def _at_the_drop(results: Results, published: Published) -> pd.DataFrame:
    """Every trained optimum that was chosen for the paper's drop."""
    drop = published("precision_drop_percent")
    table = _by_models(results)
    table = table[table["drop_points"] == drop].drop_duplicates([*NAMES, "own"])
    if table.empty:
        raise lacking(f"trained optimum at {drop} points given up")
    return table


def _of_fresh(row: pd.Series) -> Evidence:
    low, high = row["fresh_low"], row["fresh_high"]
    return Evidence(int(row["seeds"]), "seeds", low, high, "points lost on fresh faces, Welch 95 %")


def _kept(row: pd.Series, drop: float) -> dict[str, object]:
    """Whether no more than `drop` points are lost on fresh faces, by the whole interval."""
    return above(-row["fresh_high"], -row["fresh_low"], -drop)


def tenfold(results: Results, published: Published, name: str) -> Finding:
    """At the paper's drop, on faces that no fit and no choice saw: eq. (6) first, then ours."""
    drop, table = published("precision_drop_percent"), _at_the_drop(results, published)
    needed = _ABOUT * published(name)
    told = "; ".join(_saved(row) for _, row in table.iterrows())
    ways = [(row, _kept(row, drop)) for _, row in table.iterrows() if row["saving_s"] >= needed]
    if not ways:
        row = table.sort_values("saving_s").iloc[-1]
        return Finding(round(float(row["saving_s"]), 1), agrees=False, reason=told,
                       evidence=_of_fresh(row))  # fmt: skip
    row, kept = next(((r, k) for r, k in ways if k["agrees"]), ways[0])
    if not kept["agrees"]:
        row, kept = next(((r, k) for r, k in ways if k["undecided"]), (row, kept))
    of_paper = "by eq. (6)" if row["own"] else "by another model of precision than the paper's"
    more = f", {row['saving_s']:.0f} times" if row["saving_s"] > 2 * published(name) else ""
    return Finding(
        round(float(row["saving_s"]), 1),
        **kept,
        protocol=f"{of_paper}, as at least ten times{more}",
        reason=told,
        evidence=_of_fresh(row),
    )


def after(results: Results, published: Published, name: str) -> Finding:
    """The accuracy of the same net on fresh faces, beside the printed 93 %."""
    table = _at_tenfold(results, published)
    row = table.iloc[0]
    needed = published("precision_before_percent") - published(name)
    return Finding(
        round(100 * float(row["accuracy"]), 2),
        **_kept(row, needed),
        protocol=_model_of(row),
        reason=_saved(row),
        remark="percent on the faces that the fits saw; judged by the points lost on fresh ones",
        evidence=_of_fresh(row),
    )


def drop(results: Results, published: Published, name: str) -> Finding:
    """Points lost on fresh faces by the most precise trained optimum that is ten times cheaper."""
    row = _at_tenfold(results, published).iloc[0]
    return Finding(
        round(float(row["fresh_lost"]), 2),
        **_kept(row, published(name)),
        protocol=_model_of(row),
        reason=_saved(row),
        evidence=_of_fresh(row),
    )


def below(results: Results, published: Published, name: str) -> Finding:
    """Section 4 against Section 3, before anything is measured."""
    finding = drop(results, published, name)
    printed_drop = published("precision_drop_percent")
    if printed_drop < published(name):
        return finding
    return Finding(
        finding.value,
        contradiction=f"Section 3 prints {published('precision_before_percent')} - "
        f"{published('precision_after_percent')} = {printed_drop} for the same saving, and "
        f"{printed_drop} is not less than {published(name)}",
        reason=finding.reason,
        evidence=finding.evidence,
    )


def _model_of(row: pd.Series) -> str:
    return "by eq. (6)" if row["own"] else "by another model of precision than the paper's"


def _at_tenfold(results: Results, published: Published) -> pd.DataFrame:
    """Trained optima about ten times cheaper in seconds, the least lost on fresh faces first."""
    needed = _ABOUT * published("complexity_reduction")
    table = _by_models(results)
    cheap = table[table["saving_s"] >= needed]
    if cheap.empty:
        raise lacking(f"trained optimum that is {needed:g} times cheaper")
    return cheap.sort_values("fresh_lost", kind="stable")


def minimisation(results: Results, published: Published, name: str) -> Finding:
    """Whether what eq. (7) chooses by eq. (6) meets its own constraint once it is trained."""
    table = made(results, _of_optima, *_ALL, may_lack=(REPEATED,))
    trained = table[(table["seeds"] > 0) & (table["grid"] == cheapest.INTEGERS)]
    own = trained[trained["model"] == precision.EQ6]
    if own.empty:
        raise lacking("optimum of eq. (6) that was trained")
    told = []
    for model, rows in trained.groupby("model", sort=False):
        met = int(rows["reaches"].sum())
        least = 100 * (rows["accuracy"] - rows["target_accuracy"]).min()
        told.append(f"{model}: {met} of {len(rows)}, least {least:+.2f} points from the target")
    return Finding(
        f"{int(own['reaches'].sum())} of {len(own)} optima reach their targets",
        agrees=bool(own["reaches"].all()),
        evidence=Evidence(int(own["seeds"].min()), "seeds or more of each optimum"),
        reason="chosen among whole numbers, trained and tested; " + "; ".join(told) + "; with the "
        f"printed lambdas: {_printed_optimum()}",
    )


def _printed_optimum() -> str:
    table = found.printed_frontier()
    own = table[table["usable"]]
    if own.empty:
        return "no reading gives the baseline its precision"
    row = own.iloc[0]
    return (
        f"gamma as the share reaches at most "
        f"{table.loc[table['reading'] == printed.READINGS[1].text, 'grid_highest'].iloc[0]:.3f} on "
        f"the paper's grid; {row['reading']}: {row['saving']:.3g} times cheaper at the paper's "
        f"precision after the drop"
    )
