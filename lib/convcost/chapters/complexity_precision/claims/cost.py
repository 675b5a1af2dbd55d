"""Checks of what it costs: run time against eq. (1)."""

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision import findings as found
from convcost.chapters.complexity_precision.findings import complexity, costs
from convcost.chapters.complexity_precision.findings.configurations import BASELINE, LETTERS, NAMES
from convcost.chapters.complexity_precision.tables import TIMES, TRAININGS
from convcost.chapters.training_time import findings as training_time
from convcost.claims.lookup import lacking, made
from convcost.claims.verdicts import Evidence, Finding, Published
from convcost.records import MissingTableError, Results

_MOST = 0.5


def conv_dominates(results: Results, published: Published, name: str) -> Finding:
    shares = made(results, found.conv_shares, "configuration_costs")
    least = shares.iloc[0]
    agrees = bool(least["share"] > _MOST)
    reason = (f"of the multiply-adds of {len(shares)} configurations; least with ") + ", ".join(
        f"{LETTERS[name]} = {least[name]:.0f}" for name in NAMES
    )
    try:
        layers = made(results, training_time.by_operator, "layer_costs")
    except MissingTableError:
        return Finding(
            _share(least["share"]), agrees=agrees, protocol="counted in multiply-adds",
            reason=reason + "; no time by layer was measured in notebook 02",
        )  # fmt: skip
    convs = layers[layers["op"] == "conv"].sort_values("share")
    nets = ", ".join(f"{row.net} {_share(row.share)}" for row in convs.itertuples())
    slow = bool(len(convs) and convs["share"].min() > _MOST)
    return Finding(
        _share(least["share"]),
        agrees=agrees,
        protocol=None if slow else "counted in multiply-adds",
        evidence=Evidence(len(shares), "configurations"),
        reason=f"{reason}; of the time of the layers in notebook 02: {nets}",
    )


def cheaper_with_less(results: Results, published: Published, name: str) -> Finding:
    table = made(results, found.steps_summary, TIMES)
    if set(table["parameter"]) != set(NAMES):
        missing = ", ".join(sorted(set(NAMES) - set(table["parameter"])))
        raise lacking(f"step of {missing}")
    counts = "; ".join(
        f"{LETTERS[row.parameter]}: {row.cheaper} of {row.steps}, median {row.ratio:.2f}, worst "
        f"{row.worst:.2f} of the time"
        for row in table.itertuples()
    )
    cheaper, steps, dearer = (int(table[column].sum()) for column in ("cheaper", "steps", "dearer"))
    return Finding(
        f"{cheaper} of {steps} steps are cheaper",
        agrees=bool(dearer == 0 and (table["ratio"] < 1).all()),
        reason=f"measured, from each value to the next smaller one; {counts}; {dearer} cost more "
        "beyond the quartiles of both times",
        evidence=Evidence(steps, "steps"),
    )


def depends_on_four(results: Results, published: Published, name: str) -> Finding:
    """Whether the median step to a smaller value saves time, of each of the four."""
    table = made(results, found.steps_summary, TIMES)
    if set(table["parameter"]) != set(NAMES):
        raise lacking("step of every parameter")
    told = ", ".join(
        f"{LETTERS[row.parameter]} {row.ratio:.2f} ({row.cheaper} of {row.steps} cheaper)"
        for row in table.itertuples()
    )
    return Finding(
        f"{int((table['ratio'] < 1).sum())} of {len(table)}",
        agrees=bool((table["ratio"] < 1).all()),
        reason=f"time over that before the step, median: {told}",
        evidence=Evidence(int(table["steps"].sum()), "steps"),
    )


def proportional(results: Results, published: Published, name: str) -> Finding:
    row = made(results, found.proportion, TIMES, TRAININGS)
    limit = published("complexity_error_percent")
    return Finding(
        f"{row['mean_percent']:.3g} % off",
        agrees=bool(row["mean_percent"] <= limit),
        reason=f"mean relative error of run time proportional to eq. (1)'s sum, "
        f"{row['configurations']:.0f} timed nets, at most {row['max_percent']:.3g} %; with the "
        f"offset of eq. (1) {row['line_percent']:.3g} %; "
        f"seconds per multiplication differ {row['spread']:.3g}-fold, rank correlation "
        f"{row['spearman']:.3f}",
        evidence=Evidence(int(row["configurations"]), "timed nets"),
    )


def _alphas(results: Results) -> pd.DataFrame:
    return made(results, found.alphas, TIMES, TRAININGS).set_index("whose")


def _with_interval(row: pd.Series, name: str) -> str:
    return f"{row[name]:.4g} ({row[f'{name}_low']:.4g} to {row[f'{name}_high']:.4g})"


def alpha_0(results: Results, published: Published, name: str) -> Finding:
    """By both ways to fit a line; an interval that holds 0 as well shows no offset at all."""
    table = _alphas(results)
    theirs, ways = published(name), (complexity.EQ1, complexity.EQ1_RELATIVE)
    rows = table.loc[list(ways)]
    holds = rows["alpha_0_low"].le(theirs) & rows["alpha_0_high"].ge(theirs)
    blind = holds & rows["alpha_0_low"].le(0) & rows["alpha_0_high"].ge(0)
    told = "; ".join(f"{way}: {_with_interval(row, 'alpha_0')}" for way, row in rows.iterrows())
    decided = [way for way in ways if not blind[way]]
    if not decided:
        return Finding(
            float(f"{rows['alpha_0'].iloc[0]:.3g}"),
            undecided="both it and 0 lie in our 95 % intervals; more timed nets would narrow them",
            reason=told,
        )
    chosen = next((way for way in decided if holds[way]), decided[0])
    agrees = bool(holds[chosen])
    return Finding(
        float(f"{rows.loc[chosen, 'alpha_0']:.3g}"),
        agrees=agrees,
        protocol=f"of {chosen}" if agrees and chosen != complexity.EQ1 else None,
        reason=f"95 % intervals; {told}",
    )


def alpha_1(results: Results, published: Published, name: str) -> Finding:
    """The printed constants against C(T0) = 1; ours decides only if those are consistent."""
    table = _alphas(results)
    ours = table.loc[complexity.EQ1]
    theirs, alpha_0 = published(name), published("alpha_0")
    readings = complexity.paper_constants()
    as_printed = theirs * readings["sum"] + alpha_0
    fits = readings[readings["fits"] != ""]
    value = float(f"{ours['alpha_1']:.4g}")
    told = f"ours {_with_interval(ours, 'alpha_1')}, {complexity.EQ1}"
    if ((as_printed - 1).abs() <= complexity.TOLERANCE).any():
        inside = ours["alpha_1_low"] <= theirs <= ours["alpha_1_high"]
        return Finding(value, agrees=bool(inside), reason=told)
    other = "none makes it 1 with another exponent either"
    if len(fits):
        first = fits.iloc[0]
        other = (
            f"{len(fits)} make it 1 within {complexity.TOLERANCE:.1%} with exponent "
            f"{' or '.join(sorted(set(', '.join(fits['fits']).split(', '))))}, the nearest: "
            f"{first['filters']}, {first['input']}, {first['padding']}, {first['shrinking']}, "
            f"{first['counted']}"
        )
    return Finding(
        value,
        contradiction=f"C(T0) is set to 1, but {published.text(name)} times the sum of eq. (1) is "
        f"at least {as_printed.min():.2g} in {len(readings)} readings of the architecture; "
        f"{other}; {told}, with a sum of {BASELINE.conv_macs:,}",
        evidence=Evidence(tried=len(readings)),
    )


def complexity_error(results: Results, published: Published, name: str) -> Finding:
    table = made(results, found.complexity_models, TIMES, TRAININGS).set_index("model")
    ours = table.loc[[complexity.EQ1, complexity.EQ1_RELATIVE]]
    limit, best = published(name), ours["held_out_mean_percent"].idxmin()
    row, noise = ours.loc[best], made(results, found.cost_noise, TIMES, TRAININGS)
    floor = noise["mean_percent"]
    told = "; ".join(
        f"{model}: mean {one['held_out_mean_percent']:.3g}, median "
        f"{one['held_out_median_percent']:.3g}, at most {one['held_out_max_percent']:.3g} %"
        for model, one in table.loc[[*ours.index, costs.BETTER]].iterrows()
    )
    fresh = made(results, found.complexity_of_chosen, TIMES, TRAININGS)
    fresh = fresh[fresh["model"] == costs.BETTER]
    if len(fresh):
        told += (
            f"; {costs.BETTER} on {int(fresh['configurations'].iloc[0])} nets timed after it "
            f"stood: mean {fresh['mean_percent'].iloc[0]:.3g} %"
        )
    if np.isfinite(floor):
        told += (
            f"; the noise of the times alone gives a mean of {floor:.2g} %, "
            f"{noise['unstable']:.0f} of these nets were timed unsteadily"
        )
    if limit <= row["held_out_mean_percent"] <= floor:
        return Finding(
            float(f"{row['held_out_mean_percent']:.3g}"),
            undecided=f"it is no more than the noise of the times, which is above {limit:g} %; a "
            "quieter machine would tell",
            reason=told,
        )
    return Finding(
        float(f"{row['held_out_mean_percent']:.3g}"),
        agrees=bool(row["held_out_mean_percent"] < limit),
        protocol=None if row["held_out_max_percent"] < limit else "of the mean error",
        reason=told,
        evidence=Evidence(int(row["held_out_configurations"]), "held-out configurations"),
    )


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"
