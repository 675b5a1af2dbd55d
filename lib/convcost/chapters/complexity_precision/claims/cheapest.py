"""Checks of eq. (7): whether the cheapest net is ten times cheaper, once it is trained."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision import findings as found
from convcost.chapters.complexity_precision.findings import cheapest, precision, printed
from convcost.chapters.complexity_precision.findings.configurations import LETTERS, NAMES
from convcost.chapters.complexity_precision.tables import CHOSEN, TIMES, TRAININGS
from convcost.claims.lookup import lacking, made
from convcost.claims.verdicts import Compute, Finding, Published
from convcost.records import Results

_WHOLE_PERCENT = 0.5
_ABOUT = 0.95  # from here a factor rounds to the printed ten


def _savings(results: Results) -> pd.DataFrame:
    return made(results, found.savings, CHOSEN, TRAININGS, TIMES)


def _by_models(results: Results) -> pd.DataFrame:
    table = _savings(results)
    table = table[~table["way"].isin([cheapest.RANDOM, cheapest.BEST])]
    table = table.dropna(subset=["accuracy", "saving_s"])
    if table.empty:
        raise lacking("optimum that was trained and timed")
    return table


def _net(row: pd.Series) -> str:
    return ", ".join(f"{LETTERS[name]} = {row[name]}" for name in NAMES)


def _saved(row: pd.Series) -> str:
    lost = f"{row['lost_points']:.2f}"
    if np.isfinite(row["lost_low"]):
        lost += f" ({row['lost_low']:.2f} to {row['lost_high']:.2f})"
    return (
        f"{_net(row)} ({row['way']}): {row['saving_s']:.3g} times cheaper in seconds "
        f"({row['saving_s_low']:.3g} to {row['saving_s_high']:.3g}), {row['saving_macs']:.3g} in "
        f"multiply-adds, {lost} points lost, {row['seeds']} seeds"
    )


def tenfold(results: Results, published: Published, name: str) -> Finding:
    """At the paper's drop: the cheapest trained optimum that reaches its target."""
    drop = published("precision_drop_percent")
    table = _by_models(results)
    table = table[table["drop_points"] == drop]
    if table.empty:
        raise lacking(f"trained optimum at {drop} points given up")
    reached = table[table["reaches"].fillna(False).astype(bool)]
    best = (reached if len(reached) else table).sort_values("saving_s").iloc[-1]
    needed = _ABOUT * published(name)
    seconds, macs = best["saving_s"] >= needed, best["saving_macs"] >= needed
    bounds = _savings(results)
    bounds = bounds[
        (bounds["drop_points"] == drop) & bounds["way"].isin([cheapest.RANDOM, cheapest.BEST])
    ]
    reason = _saved(best) if len(reached) else f"no optimum reaches its target; {_saved(best)}"
    reason += "".join(
        f"; {row['way']} that reaches it: {row['saving_s']:.3g} times in seconds, "
        f"{row['saving_macs']:.3g} in multiply-adds"
        for _, row in bounds.iterrows()
    )
    only = {(True, False): "in seconds alone", (False, True): "in multiply-adds alone"}
    return Finding(
        round(float(best["saving_s"]), 1),
        agrees=bool(len(reached) and (seconds or macs)),
        protocol=only.get((bool(seconds), bool(macs))),
        reason=reason,
    )


def _at_tenfold(results: Results, published: Published) -> tuple[pd.Series | None, str]:
    """The most precise trained optimum that is about ten times cheaper in seconds, in words."""
    needed = _ABOUT * published("complexity_reduction")
    table = _by_models(results)
    cheap = table[table["saving_s"] >= needed]
    if cheap.empty:
        most = table.sort_values("saving_s").iloc[-1]
        return None, f"no trained optimum is {needed:g} times cheaper; the cheapest: {_saved(most)}"
    best = cheap.sort_values("accuracy").iloc[-1]
    return best, _saved(best)


def _at_the_factor(column: str, factor: int, agrees: Callable[[float, float], bool]) -> Compute:
    """`column` of that optimum times `factor`, and whether it agrees with what is printed."""

    def compute(results: Results, published: Published, name: str) -> Finding:
        best, told = _at_tenfold(results, published)
        if best is None:
            return Finding("none", agrees=False, reason=told)
        ours = round(factor * float(best[column]), 2)
        return Finding(ours, agrees=bool(agrees(ours, published(name))), reason=told)

    return compute


after = _at_the_factor("accuracy", 100, lambda ours, theirs: ours >= theirs - _WHOLE_PERCENT)
drop = _at_the_factor("lost_points", 1, lambda ours, theirs: ours <= theirs + _WHOLE_PERCENT)


def minimisation(results: Results, published: Published, name: str) -> Finding:
    """Whether what eq. (7) chooses by eq. (6) meets its own constraint once it is trained."""
    table = made(results, found.optima, CHOSEN, TRAININGS, TIMES)
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
