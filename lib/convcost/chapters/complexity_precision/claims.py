"""Checks of notebook 04: models of cost and precision, and the cheapest net that is good enough."""

from functools import partial

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision import findings as found
from convcost.chapters.complexity_precision.findings import costs, faces, optimum, paper
from convcost.chapters.complexity_precision.findings.held_out import SHOWN
from convcost.chapters.training_time import findings as training_time
from convcost.claims.lookup import lacking, made
from convcost.claims.verdicts import LOGICAL, Check, Compute, Finding, Published, Tolerance
from convcost.fits import complexity, precision, printed
from convcost.fits.configurations import BASELINE, LETTERS, NAMES
from convcost.records import MissingTableError, Results

TRAININGS, TIMES, CHOSEN = "configuration_trainings", "forward_times", "chosen_optima"


_models = partial(found.models, folds=0, bootstraps=0)


def _error_limit(published: Published) -> float:
    return published("precision_error_percent") + _LAST_DIGIT


# --- what it costs ---------------------------------------------------------------------------


def _conv_dominates(results: Results, published: Published, name: str) -> Finding:
    shares = made(results, found.conv_shares, "configuration_costs")
    least = shares.iloc[0]
    agrees = bool(least["share"] > _MOST)
    reason = (
        f"of the multiply-adds of {len(shares)} configurations; holds above {_MOST:.0%} in each; "
        "least with "
    ) + ", ".join(f"{LETTERS[name]} = {least[name]:.0f}" for name in NAMES)
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
        reason=f"{reason}; of the time of the layers in notebook 02: {nets}",
    )


def _cheaper_with_less(results: Results, published: Published, name: str) -> Finding:
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
        "beyond the quartiles of both times; holds where none does",
    )


def _proportional(results: Results, published: Published, name: str) -> Finding:
    row = made(results, found.proportion, TIMES, TRAININGS)
    limit = published("complexity_error_percent")
    return Finding(
        f"{row['mean_percent']:.3g} % off",
        agrees=bool(row["mean_percent"] <= limit),
        reason=f"mean relative error of run time proportional to eq. (1)'s sum, "
        f"{row['configurations']:.0f} timed nets, at most {row['max_percent']:.3g} %; holds up to "
        f"the paper's own {limit:g} %; with the offset of eq. (1) {row['line_percent']:.3g} %; "
        f"seconds per multiplication differ {row['spread']:.3g}-fold, rank correlation "
        f"{row['spearman']:.3f}",
    )


def _alphas(results: Results) -> pd.DataFrame:
    return made(results, found.alphas, TIMES, TRAININGS).set_index("whose")


def _with_interval(row: pd.Series, name: str) -> str:
    return f"{row[name]:.4g} ({row[f'{name}_low']:.4g} to {row[f'{name}_high']:.4g})"


def _alpha_0(results: Results, published: Published, name: str) -> Finding:
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
            undecidable=f"both it and 0 lie in our 95 % intervals; {told}",
        )
    chosen = next((way for way in decided if holds[way]), decided[0])
    agrees = bool(holds[chosen])
    return Finding(
        float(f"{rows.loc[chosen, 'alpha_0']:.3g}"),
        agrees=agrees,
        protocol=f"of {chosen}" if agrees and chosen != complexity.EQ1 else None,
        reason=f"95 % intervals; {told}",
    )


def _alpha_1(results: Results, published: Published, name: str) -> Finding:
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
    )


def _complexity_error(results: Results, published: Published, name: str) -> Finding:
    table = made(results, found.complexity_models, TIMES, TRAININGS).set_index("model")
    ours = table.loc[[complexity.EQ1, complexity.EQ1_RELATIVE]]
    limit, best = published(name), ours["held_out_mean_percent"].idxmin()
    row = ours.loc[best]
    told = "; ".join(
        f"{model}: mean {one['held_out_mean_percent']:.3g}, median "
        f"{one['held_out_median_percent']:.3g}, at most {one['held_out_max_percent']:.3g} %"
        for model, one in table.loc[[*ours.index, costs.BETTER]].iterrows()
    )
    return Finding(
        float(f"{row['held_out_mean_percent']:.3g}"),
        agrees=bool(row["held_out_mean_percent"] < limit),
        protocol=None if row["held_out_max_percent"] < limit else "of the mean error",
        reason=f"{row['held_out_configurations']} held-out configurations; {told}",
    )


# --- the equations of precision --------------------------------------------------------------


def _equation(number: str) -> Compute:
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


def _coefficient(names: tuple[str, ...], place: int) -> Compute:
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


def _eq6(results: Results, published: Published, name: str) -> Finding:
    table = _held_out(results)
    row = table.loc[precision.EQ6]
    limit = _error_limit(published)
    return Finding(
        f"{row['held_out_percent']:.2g} % off",
        agrees=bool(row["held_out_percent"] <= limit and row["skill"] >= paper.HALF),
        reason=f"mean relative error on configurations in no fit; holds up to {limit:g} % and half "
        f"the constant's error; {_told(table)}; {_printed_says(results)}",
    )


def _precision_error(results: Results, published: Published, name: str) -> Finding:
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


def _describes(results: Results, published: Published, name: str) -> Finding:
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


# --- the baseline, and the cheapest net that is precise enough -------------------------------


def _baseline(factor: int) -> Compute:
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


def _savings(results: Results) -> pd.DataFrame:
    return made(results, found.savings, CHOSEN, TRAININGS, TIMES)


def _by_models(results: Results) -> pd.DataFrame:
    table = _savings(results)
    table = table[~table["way"].isin([optimum.RANDOM, optimum.BEST])]
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


def _tenfold(results: Results, published: Published, name: str) -> Finding:
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
        (bounds["drop_points"] == drop) & bounds["way"].isin([optimum.RANDOM, optimum.BEST])
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


def _after(results: Results, published: Published, name: str) -> Finding:
    best, told = _at_tenfold(results, published)
    if best is None:
        return Finding("none", agrees=False, reason=told)
    ours = round(100 * float(best["accuracy"]), 2)
    return Finding(ours, agrees=ours >= published(name) - _WHOLE_PERCENT, reason=told)


def _drop(results: Results, published: Published, name: str) -> Finding:
    best, told = _at_tenfold(results, published)
    if best is None:
        return Finding("none", agrees=False, reason=told)
    ours = round(float(best["lost_points"]), 2)
    return Finding(ours, agrees=ours <= published(name) + _WHOLE_PERCENT, reason=told)


def _minimisation(results: Results, published: Published, name: str) -> Finding:
    """Whether what eq. (7) chooses by eq. (6) meets its own constraint once it is trained."""
    table = made(results, found.optima, CHOSEN, TRAININGS, TIMES)
    trained = table[(table["seeds"] > 0) & (table["grid"] == optimum.INTEGERS)]
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


def _share(share: float) -> str:
    return f"{100 * share:.1f} %"


_MOST = 0.5
_LAST_DIGIT = 0.05  # half a step of the one decimal that is printed
_LAST_SHARE = 0.005  # half a step of two decimals
_WHOLE_PERCENT = 0.5
_ABOUT = 0.95  # from here a factor rounds to the printed ten
_TWO_SIDED = 1.96

_INTERVAL = Tolerance(
    "a coefficient is known as well as the data tell it from the others",
    words="in our 95 % interval",
)
_LESS = Tolerance("printed as an upper bound", words="below the printed error")
_AT_MOST = Tolerance(
    "a model that errs less is no worse; half a step of the printed decimal", words="at most"
)
_DRAW = Tolerance(
    "half a step of the printed digits, and 95 % of what the draw of the test images does",
    words="within the draw of the images",
)
_CHEAPER = Tolerance("printed as about, and more is no less", words="from 0.95 of it upwards")
_PRECISE = Tolerance(
    "printed in whole percents; more is no less", words="at least, to half a percent"
)
_LOST = Tolerance("printed in whole percents; less is no more", words="at most, to half a percent")

_COST, _ONE, _TWO = "What it costs", "One parameter at a time", "Two parameters at a time"
_ALL, _BASELINE = "All four parameters", "The baseline"
_CHEAPEST = "The cheapest net that is precise enough"


def _needs(*names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, "lfw_gender") for name in names)


_TRAINED, _OPTIMA = _needs(TRAININGS), _needs(TRAININGS, CHOSEN)
_ROWS = {
    **{names: (f"table_i_{LETTERS[names[0]]}_beta", _ONE) for names in printed.TABLE_I},
    **{
        names: (f"table_ii_{'_'.join(LETTERS[name] for name in names)}_n", _TWO)
        for names in printed.TABLE_II
    },
    NAMES: ("lambda", _ALL),
}

CHECKS = {
    "ke/convolution_dominates_cost": Check(_conv_dominates, _COST, LOGICAL),
    "ke/run_time_proportional_to_eq1": Check(_proportional, _COST, LOGICAL),
    "ke/alpha_0": Check(_alpha_0, _COST, _INTERVAL),
    "ke/alpha_1": Check(_alpha_1, _COST, _INTERVAL),
    "ke/complexity_error_percent": Check(_complexity_error, _COST, _LESS),
    "ke/smaller_parameters_cost_less": Check(_cheaper_with_less, _COST, LOGICAL),
    "ke/one_d_models_fit": Check(_equation("eq. (2)"), _ONE, LOGICAL, _TRAINED),
    "ke/eq2_precision_1d": Check(_equation("eq. (2)"), _ONE, LOGICAL, _TRAINED),
    "ke/eq3_precision_f_s": Check(_equation("eq. (3)"), _TWO, LOGICAL, _TRAINED),
    "ke/eq4_precision_f_k": Check(_equation("eq. (4)"), _TWO, LOGICAL, _TRAINED),
    "ke/eq5_precision_f_l": Check(_equation("eq. (5)"), _TWO, LOGICAL, _TRAINED),
    "ke/two_d_models_fit": Check(
        _equation("eq. (3); eq. (4); eq. (5)"), _TWO, LOGICAL, _TRAINED
    ),
    **{
        f"ke/{prefix}_{place + 1}": Check(_coefficient(names, place), section, _INTERVAL, _TRAINED)
        for names, (prefix, section) in _ROWS.items()
        for place in range(2 * len(names) + 2)
    },
    "ke/eq6_precision": Check(_eq6, _ALL, LOGICAL, _TRAINED),
    "ke/precision_error_percent": Check(_precision_error, _ALL, _AT_MOST, _TRAINED),
    "ke/exponential_linear_model_fits": Check(_describes, _ALL, LOGICAL, _TRAINED),
    "ke/baseline_precision": Check(_baseline(1), _BASELINE, _DRAW, _TRAINED),
    "ke/precision_before_percent": Check(_baseline(100), _BASELINE, _DRAW, _TRAINED),
    "ke/eq7_minimisation": Check(_minimisation, _CHEAPEST, LOGICAL, _OPTIMA),
    "ke/complexity_reduction": Check(_tenfold, _CHEAPEST, _CHEAPER, _OPTIMA),
    "ke/precision_after_percent": Check(_after, _CHEAPEST, _PRECISE, _OPTIMA),
    "ke/precision_drop_percent": Check(_drop, _CHEAPEST, _LOST, _OPTIMA),
}  # fmt: skip
