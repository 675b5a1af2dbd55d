"""What it costs: forward times against eq. (1), and where the cost lies."""

import pandas as pd

from convcost.chapters.complexity_precision.findings import fitted, paper
from convcost.fits import complexity, configurations
from convcost.fits.configurations import NAMES

KEY = list(NAMES)
EQ1 = complexity.EQ1
BETTER = complexity.DEFAULT


def complexities(
    forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame
) -> pd.DataFrame:
    """Every timed configuration: measured C beside what eq. (1) and the better model predict.

    One row a session and configuration. Columns: the four parameters, session, set (fit, held out
    or optimum; missing for one that was not planned), seconds, seconds_low, seconds_high (per
    image, median and quartiles), repetitions, stable, complexity (baseline 1), conv_macs, macs
    (exact, per image), eq1, eq1_error_percent, better, better_error_percent (predicted C, and its
    relative error with sign). Both models are fitted on the set "fit": eq. (1) by least squares,
    as the paper has it, the better one is `fits.complexity.DEFAULT`.
    """
    fit_times = fitted.fit_times(forward_times, configuration_trainings)
    table = fitted.timed(forward_times).join(fitted.sets(configuration_trainings), on=KEY)
    table = table.join(configurations.costs(table)[["conv_macs", "macs"]])
    for column, name in (("eq1", EQ1), ("better", BETTER)):
        table[column] = fitted.cost(name, fit_times).predict(table)
        table[f"{column}_error_percent"] = 100 * (table[column] / table["complexity"] - 1)
    first = [*KEY, "session", "set"]
    return table[[*first, *(name for name in table if name not in first)]]


def complexity_models(
    forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame
) -> pd.DataFrame:
    """Models of C side by side, the paper's first: errors on the fit and on the held-out set.

    As `fits.complexity.compare`: model, equation, coefficients, block, in_sample_… and held_out_…
    configurations, mean_percent, median_percent, max_percent, within_2_5_percent.
    """
    return complexity.compare(
        fitted.fit_times(forward_times, configuration_trainings),
        fitted.held_out_times(forward_times, configuration_trainings),
    )


def alphas(forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """alpha_0 and alpha_1 of eq. (1): the paper's as printed, and ours by both ways to fit a line.

    One row the paper, then one a fit. Columns: whose, alpha_1, alpha_1_low, alpha_1_high (relative
    run time per multiplication), alpha_0, alpha_0_low, alpha_0_high (relative run time),
    at_baseline (alpha_1 times the baseline's multiplications, plus alpha_0: 1 if C(T0) is 1).
    """
    fit_times = fitted.fit_times(forward_times, configuration_trainings)
    told = [{"whose": "Ke, Cao & Lv, as printed"}]
    told[0] |= {name: float(paper.value(name)) for name in ("alpha_1", "alpha_0")}
    for name in (complexity.EQ1, complexity.EQ1_RELATIVE):
        told.append({"whose": name, **complexity.alpha(fitted.cost(name, fit_times))})
    columns = [f"alpha_{i}{end}" for i in (1, 0) for end in ("", "_low", "_high")]
    table = pd.DataFrame(told, columns=["whose", *columns])
    at = table["alpha_1"] * configurations.BASELINE.conv_macs + table["alpha_0"]
    return table.assign(at_baseline=at)


def proportion(forward_times: pd.DataFrame, configuration_trainings: pd.DataFrame) -> pd.Series:
    """Whether run time is proportional to the multiplications of eq. (1), over all timed nets.

    Entries: configurations; mean_percent and max_percent, the relative error of C = sum of eq. (1)
    over the baseline's, without offset or fit; line_percent, the mean of eq. (1) with its offset
    (least relative error, fitted on the set "fit"); spread (greatest over least seconds per
    multiplication); spearman (rank correlation of time and multiplications).
    """
    table = complexities(forward_times, configuration_trainings)
    share = table["conv_macs"] / configurations.BASELINE.conv_macs
    errors = 100 * (share / table["complexity"] - 1).abs()
    fit_times = fitted.fit_times(forward_times, configuration_trainings)
    line = fitted.cost(complexity.EQ1_RELATIVE, fit_times).errors(table)
    per_macs = table["complexity"] / table["conv_macs"]
    return pd.Series(
        {
            "configurations": len(table),
            "mean_percent": errors.mean(),
            "max_percent": errors.max(),
            "line_percent": line["mean_percent"],
            "spread": per_macs.max() / per_macs.min(),
            "spearman": table["complexity"].corr(table["conv_macs"], method="spearman"),
        }
    )


def steps_down(forward_times: pd.DataFrame) -> pd.DataFrame:
    """Every step from a timed net to the one with the next smaller value of one parameter.

    One row a pair that differs in one parameter alone, neighbours among what was timed in the
    session "plan". Columns: parameter, before, after (its values), the three others;
    seconds_before, seconds_after (per image), ratio (after over before: below 1 is cheaper),
    cheaper, dearer (after costs more, and the quartiles of the two times lie apart), macs_ratio.
    """
    table = fitted.timed(forward_times)
    table = table[table["session"] == fitted.PLAN]
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
