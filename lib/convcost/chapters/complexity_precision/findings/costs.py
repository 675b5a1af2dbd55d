"""What it costs: forward times against eq. (1), and where the cost lies."""

import math
from collections.abc import Sequence

import pandas as pd

from convcost.chapters.complexity_precision.findings import complexity, configurations, paper
from convcost.chapters.complexity_precision.findings.configurations import BASELINE, NAMES
from convcost.chapters.complexity_precision.findings.rows import (
    FIT,
    HELD_OUT,
    KEY,
    OPTIMA,
    PLAN,
    is_baseline,
    refuse_overlap,
    sets,
    timed,
    times_of,
)
from convcost.fits.comparison import error_summary, relative_errors, spearman

EQ1 = complexity.EQ1
BETTER = complexity.DEFAULT
SHOWN = (EQ1, complexity.EQ1_RELATIVE, BETTER)


def complexities(
    forward_times: pd.DataFrame,
    configuration_trainings: pd.DataFrame,
    models: Sequence[str] = SHOWN,
) -> pd.DataFrame:
    """Every timed configuration: measured C beside what models of it predict. Fig. 1 (left).

    One row a model, session and configuration. Columns: model, the four parameters, session, set
    (fit, held out or optimum; missing for one that was not planned), seconds, seconds_low,
    seconds_high (per image, median and quartiles), repetitions, error (relative standard error of
    the median), stable, complexity (baseline 1), conv_macs, macs (exact, per image), predicted
    (C), error_percent (relative, sign of predicted minus measured). Models are fitted on the set
    "fit".
    """
    table = timed(forward_times).join(sets(configuration_trainings), on=KEY)
    table = table.join(configurations.costs(table)[["conv_macs", "macs"]])
    fit_times = times_of(FIT, forward_times, configuration_trainings)
    tables = []
    for name in models:
        p = complexity.model(name).fit(fit_times).predict(table)
        off = 100 * (p / table["complexity"] - 1)
        tables.append(table.assign(model=name, predicted=p, error_percent=off))
    first = ["model", *KEY, "session", "set"]
    whole = pd.concat(tables, ignore_index=True)
    return whole[[*first, *(name for name in whole if name not in first)]]


def complexity_models(
    forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame
) -> pd.DataFrame:
    """Models of C side by side, the paper's first: errors on the fit and on the held-out set.

    Columns: model, equation, coefficients, block, cache, and of each set, in_sample_… and
    held_out_…, configurations, mean_percent, median_percent, max_percent (relative errors),
    within_2_5_percent (the share that errs less than the paper states: 2.5 %).
    """
    fit_times, held_out = (
        times_of(which, forward_times, configuration_trainings) for which in (FIT, HELD_OUT)
    )
    refuse_overlap(fit_times, held_out)
    table = []
    for name, model in complexity.MODELS.items():
        fitted = model.fit(fit_times)
        row = {"model": name, "equation": fitted.equation, "coefficients": len(fitted.parameters)}
        row |= fitted.options
        for which, rows in (("in_sample", fit_times), ("held_out", held_out)):
            measured, p = rows["complexity"], fitted.predict(rows)
            row |= error_summary(measured, p).add_prefix(f"{which}_").to_dict()
            within = relative_errors(measured, p) < paper.value("complexity_error_percent")
            row[f"{which}_within_2_5_percent"] = within.mean()
        table.append(row)
    whole = ["block", "cache", "coefficients"]
    whole += ["in_sample_configurations", "held_out_configurations"]
    return pd.DataFrame(table).astype(dict.fromkeys(whole, "Int64"))


def complexity_of_chosen(
    forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame
) -> pd.DataFrame:
    """Models of C on the nets that eq. (7) chose: timed in a session of their own, later.

    A fresher test than the held-out nets, which the better model's form was thought of after. One
    row a model: model, configurations, mean_percent, median_percent, max_percent, min_percent
    (relative errors). The baseline, which is 1 by definition, is not among them.
    """
    table = complexities(forward_times, configuration_trainings)
    table = table[(table["session"] == OPTIMA) & ~is_baseline(table)]
    found = table.assign(off=table["error_percent"].abs()).groupby("model", sort=False)["off"].agg(
        configurations="size", mean_percent="mean", median_percent="median", max_percent="max",
        min_percent="min",
    )  # fmt: skip
    return found.reset_index()


def cost_noise(forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame) -> pd.Series:
    """The mean relative error, in percent, that the true C would have on the held-out nets.

    By the standard error of each net's own median over its rounds, normally distributed; the
    baseline's is common to all nets, and a model can learn it. Entries: configurations,
    error_percent (median over the nets of that standard error), mean_percent (the floor: below it
    no model of C comes, but by luck; missing where nets have fewer than three repetitions),
    unstable (how many of the nets are not `stable`).
    """
    held_out = times_of(HELD_OUT, forward_times, configuration_trainings)
    error = 100 * held_out["error"]
    return pd.Series(
        {
            "configurations": len(held_out),
            "error_percent": error.median(skipna=False),
            "mean_percent": math.sqrt(2 / math.pi) * error.mean(skipna=False),
            "unstable": int((~held_out["stable"]).sum()),
        }
    )


def alphas(forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """alpha_0 and alpha_1 of eq. (1): the paper's as printed, and ours by both ways to fit a line.

    One row the paper, then one a fit. Columns: whose, alpha_1, alpha_1_low, alpha_1_high (relative
    run time per multiplication), alpha_0, alpha_0_low, alpha_0_high (relative run time),
    at_baseline (alpha_1 times the baseline's multiplications, plus alpha_0: 1 if C(T0) is 1).
    """
    fit_times = times_of(FIT, forward_times, configuration_trainings)
    told = [{"whose": "Ke, Cao & Lv, as printed"}]
    told[0] |= {name: float(paper.value(name)) for name in ("alpha_1", "alpha_0")}
    for name in (EQ1, complexity.EQ1_RELATIVE):
        told.append({"whose": name, **complexity.alpha(complexity.model(name).fit(fit_times))})
    columns = [f"alpha_{i}{end}" for i in (1, 0) for end in ("", "_low", "_high")]
    table = pd.DataFrame(told, columns=["whose", *columns])
    at = table["alpha_1"] * BASELINE.conv_macs + table["alpha_0"]
    return table.assign(at_baseline=at)


def proportion(forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame) -> pd.Series:
    """Whether run time is proportional to the multiplications of eq. (1), over all timed nets.

    Entries: configurations; mean_percent and max_percent, the relative error of C = sum of eq. (1)
    over the baseline's, without offset or fit; line_percent, the mean of eq. (1) with its offset
    (least relative error, fitted on the set "fit"); spread (greatest over least seconds per
    multiplication); spearman (rank correlation of time and multiplications).
    """
    line = complexity.EQ1_RELATIVE
    table = complexities(forward_times, configuration_trainings, [line])
    without = error_summary(table["complexity"], table["conv_macs"] / BASELINE.conv_macs)
    per_macs = table["complexity"] / table["conv_macs"]
    return pd.Series(
        {
            "configurations": len(table),
            "mean_percent": without["mean_percent"],
            "max_percent": without["max_percent"],
            "line_percent": table["error_percent"].abs().mean(),
            "spread": per_macs.max() / per_macs.min(),
            "spearman": spearman(table["complexity"].to_numpy(), table["conv_macs"].to_numpy()),
        }
    )


def steps_down(forward_times: pd.DataFrame) -> pd.DataFrame:
    """Every step from a timed net to the one with the next smaller value of one parameter.

    One row a pair that differs in one parameter alone, neighbours among what was timed in the
    session "plan". Columns: parameter, before, after (its values), the three others;
    seconds_before, seconds_after (per image), ratio (after over before: below 1 is cheaper),
    cheaper, dearer (after costs more, and the quartiles of the two times lie apart), macs_ratio.
    """
    table = timed(forward_times)
    table = table[table["session"] == PLAN]
    table = table.join(configurations.costs(table)["macs"])
    found = []
    for name in NAMES:
        others = [other for other in NAMES if other != name]
        ordered = table.sort_values(name, ascending=False)
        groups = ordered.groupby(others, sort=False)
        after = ordered.assign(
            parameter=name, after=ordered[name],
            **{
                f"{column}_before": groups[column].shift()
                for column in (name, "seconds", "seconds_high", "macs")
            },
        ).dropna(subset=["seconds_before"])  # fmt: skip
        after = after.assign(
            before=after[f"{name}_before"].astype("int64"), seconds_after=after["seconds"],
            ratio=after["seconds"] / after["seconds_before"],
            macs_ratio=after["macs"] / after["macs_before"],
            cheaper=after["seconds"] < after["seconds_before"],
            dearer=after["seconds_low"] > after["seconds_high_before"],
        ).astype({name: "Int64"})  # fmt: skip
        after[name] = pd.NA  # the parameter that changes stands in before and after
        found.append(after)
    columns = ["parameter", "before", "after", *NAMES, "seconds_before", "seconds_after", "ratio"]
    columns += ["cheaper", "dearer", "macs_ratio"]
    return pd.concat(found, ignore_index=True)[columns].astype(dict.fromkeys(NAMES, "Int64"))


def steps_summary(forward_times: pd.DataFrame) -> pd.DataFrame:
    """`steps_down` counted: one row a parameter.

    Columns: parameter, steps, cheaper, dearer (how many), ratio (median), worst (the largest).
    """
    groups = steps_down(forward_times).groupby("parameter", sort=False)
    return groups.agg(
        steps=("ratio", "size"),
        cheaper=("cheaper", "sum"),
        dearer=("dearer", "sum"),
        ratio=("ratio", "median"),
        worst=("ratio", "max"),
    ).reset_index()


def conv_shares(configuration_costs: pd.DataFrame) -> pd.DataFrame:
    """The convolutions' share of the multiply-adds of each configuration, the least first.

    Columns: the four parameters, conv_macs, macs, share. What is not multiplied (pooling, ReLU) is
    no multiply-add; time is another matter.
    """
    table = configuration_costs[[*KEY, "conv_macs", "macs"]]
    table = table.assign(share=table["conv_macs"] / table["macs"])
    return table.sort_values("share", kind="stable").reset_index(drop=True)
