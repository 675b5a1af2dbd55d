"""Tables of notebook 04 to the rows that models are fitted on: one row a configuration."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from convcost.chapters.complexity_precision.findings.configurations import BASELINE, NAMES, possible
from convcost.core.errors import BadInputError

KEY = list(NAMES)
FIT_ROLES = ("1-D", "2-D")
HELD_OUT_ROLES = ("held out",)
BASELINE_ROLES = (*FIT_ROLES, "baseline")
"""Of every training of the baseline that may judge others: the last one's seeds no fit has seen."""
PLAN, OPTIMA = "plan", "optima"
"""Sessions of `forward_times`."""
FIT, HELD_OUT, OPTIMUM = "fit", "held out", "optimum"
"""What a configuration is for: models see the first alone."""
STEADY = 0.05
"""Relative standard error up to which the median time of a net counts as known."""


def _accuracy(female, female_right, male, male_right):
    return (female_right + male_right) / (female + male)


def _balanced(female, female_right, male, male_right):
    return (female_right / female + male_right / male) / 2


def _male_precision(female, female_right, male, male_right):
    return male_right / (male_right + female - female_right)


MEASURES = {
    "accuracy": _accuracy,  # the paper's "precision"
    "balanced_accuracy": _balanced,
    "male_precision": _male_precision,  # of those called male (class 1), the share that is
}


def together(trainings: pd.DataFrame, repeated: pd.DataFrame) -> pd.DataFrame:
    """The trainings of the plan and those repeated later; fits see those of the plan alone."""
    return pd.concat([trainings, repeated], ignore_index=True) if len(repeated) else trainings


# --- precision -------------------------------------------------------------------------------


def training_rows(
    trainings: pd.DataFrame,
    *,
    measure: str = "accuracy",
    roles: Sequence[str] | None = FIT_ROLES,
    split: str = "test",
) -> pd.DataFrame:
    """One row a finished training: the four parameters, seed, role, images, precision (0 to 1).

    `trainings` is the table `configuration_trainings`; precision is that on its test split, by
    `measure`, a key of `MEASURES`; `roles` None takes all. `split` "validation" takes the people
    on which the recipe was chosen, and whom no fit and no choice of a net has seen. A training with
    another status than "done" has no row. Raises BadInputError for an unknown measure, and
    for a finished training without its counts.
    """
    if measure not in MEASURES:
        raise BadInputError(f"measure {measure!r} is unknown: choose one of {', '.join(MEASURES)}")
    rows = trainings[trainings["status"] == "done"]
    if roles is not None:
        rows = rows[rows["role"].isin(list(roles))]
    names = [f"{split}_class{number}_{w}" for number in (0, 1) for w in ("images", "correct")]
    counts = rows[names].astype(float)
    broken = counts.isna().any(axis=1) | (counts.filter(like="images") <= 0).any(axis=1)
    if broken.any():
        where = rows.loc[broken, KEY].iloc[0].to_dict()
        raise BadInputError(f"the finished training of {where} has no counts of the {split} split")
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = MEASURES[measure](*(counts[name] for name in names))
    return rows[[*KEY, "seed", "role"]].assign(
        images=counts.filter(like="images").sum(axis=1), precision=precision
    ).reset_index(drop=True)  # fmt: skip


def precision_rows(trainings: pd.DataFrame, **options) -> pd.DataFrame:
    """One row a configuration: precision (mean over its seeds), images (tested in all), seeds.

    Seeds are averaged, not repeated: three trainings of one network are one piece of evidence on
    how precision follows from the parameters. `images` is the weight in every fit, so a mean of
    three seeds counts three times. `seed_sd` is their standard deviation, missing for one seed.
    Options and faults are those of `training_rows`.
    """
    groups = training_rows(trainings, **options).groupby(KEY, sort=True)
    table = groups.agg(
        precision=("precision", "mean"),
        images=("images", "sum"),
        seeds=("seed", "nunique"),
        seed_sd=("precision", "std"),
    )
    return table.reset_index()


def held_out_rows(trainings: pd.DataFrame) -> pd.DataFrame:
    """`precision_rows` of what no fit has seen."""
    return precision_rows(trainings, roles=HELD_OUT_ROLES)


def pooled_sd(rows: pd.DataFrame) -> float:
    """Standard deviation between seeds over rows of `precision_rows`; NaN where none has several.

    Pooled: each row's variance counts as often as it has seeds to spare.
    """
    several = rows[rows["seeds"] > 1]
    if several.empty:
        return np.nan
    free = several["seeds"] - 1
    return float(np.sqrt((free * several["seed_sd"] ** 2).sum() / free.sum()))


def sets(trainings: pd.DataFrame) -> pd.Series:
    """What each configuration is for, indexed by `NAMES`: of several roles, the plan's."""
    of_role = {role: FIT for role in FIT_ROLES} | {HELD_OUT: HELD_OUT, OPTIMUM: OPTIMUM}
    known = trainings[[*KEY, "role"]].assign(set=trainings["role"].map(of_role))
    order = known["set"].map({FIT: 0, HELD_OUT: 1, OPTIMUM: 2})
    known = known.loc[order.sort_values(kind="stable").index].drop_duplicates(KEY)
    return known.set_index(KEY)["set"]


# --- run time --------------------------------------------------------------------------------


def rounds(forward_times: pd.DataFrame) -> pd.DataFrame:
    """Every timing that counts, freed of what all nets of its round had in common.

    The nets of a session are timed in turns, and all are faster or slower together from one round
    (a `repetition`) to the next. A round's factor is the median over its nets of the time over the
    net's own median; each time is divided by it. Repetitions that were not stable are left out
    where the configuration has stable ones.

    Columns: session, the four parameters, repetition, seconds (per image, over the factor), stable.
    Raises BadInputError where the baseline was not timed in a session, and where batches or
    threads differ: such times cannot be compared.
    """
    for name in ("batch", "threads"):
        if forward_times[name].nunique() > 1:
            raise BadInputError(
                f"forward passes with different {name} ({sorted(forward_times[name].unique())}) "
                "cannot be compared: choose one"
            )
    own = ["session", *KEY]
    table = forward_times[[*own, "repetition", "stable"]].reset_index(drop=True)
    table["seconds"] = (forward_times["seconds"] / forward_times["batch"]).to_numpy()
    has_baseline = table.loc[is_baseline(table), "session"]
    without = [name for name in table["session"].unique() if name not in set(has_baseline)]
    if without or table.empty:
        raise BadInputError(
            f"the baseline ({BASELINE}) was not timed in session {', '.join(without) or 'any'}: "
            "C is relative to it"
        )
    stable = table["stable"].astype(bool)
    has_stable = stable.groupby([table[name] for name in own]).transform("any")
    table = table[stable | ~has_stable]
    share = table["seconds"] / table.groupby(own)["seconds"].transform("median")
    table["seconds"] /= share.groupby([table["session"], table["repetition"]]).transform("median")
    return table


def timed(forward_times: pd.DataFrame) -> pd.DataFrame:
    """One row a session and configuration: seconds per image, and the paper's C.

    Columns: session, the four parameters, seconds, seconds_low, seconds_high (median and quartiles
    over the `rounds`, per image of a batch), repetitions, error (relative standard error of that
    median, by Maritz and Jarrett; missing of fewer than three repetitions; of a session of few
    nets too small, since their rounds' factors stand on them), stable (the repetitions are, and
    the error is at most `STEADY`), complexity (the median over the baseline's of the same session,
    whose own is 1). Faults as `rounds`.
    """
    if forward_times.empty:
        raise BadInputError("there is no forward time: nothing was timed")
    groups = rounds(forward_times).groupby(["session", *KEY])
    found = groups["seconds"].quantile([0.25, 0.5, 0.75]).unstack()
    found.columns = ["seconds_low", "seconds", "seconds_high"]
    found["repetitions"] = groups.size()
    found["error"] = groups["seconds"].agg(_error_of_median) / found["seconds"]
    found["stable"] = groups["stable"].any() & ~(found["error"] > STEADY)
    order = {session: place for place, session in enumerate(forward_times["session"].unique())}
    found = found.reset_index().sort_values(
        "session", key=lambda s: s.map(order), kind="stable", ignore_index=True
    )
    of_baseline = found[is_baseline(found)].set_index("session")["seconds"]
    found["complexity"] = found["seconds"] / found["session"].map(of_baseline)
    return found


def _error_of_median(seconds: pd.Series) -> float:
    if len(seconds) < 3:
        return np.nan
    # around the median: the formula squares, and a mean far above the spread would lose its digits
    return float(stats.mstats.mjci((seconds - seconds.median()).to_numpy(), prob=[0.5])[0])


def times_of(which: str, forward_times: pd.DataFrame, trainings: pd.DataFrame) -> pd.DataFrame:
    """Nets of the session of the plan that are for `which`: `FIT` or `HELD_OUT`; as `timed`."""
    table = timed(forward_times)
    table = table[table["session"] == PLAN].join(sets(trainings), on=KEY)
    return table[table["set"] == which].drop(columns=["session", "set"]).reset_index(drop=True)


def complexity_rows(forward_times: pd.DataFrame) -> pd.DataFrame:
    """`timed`, one row a configuration: of several sessions the last one's time is taken.

    `seconds` are those of the first session's machine state: C times its baseline's median.
    """
    table = timed(forward_times)
    first = table.loc[is_baseline(table), "seconds"].iloc[0]
    scale = first * table["complexity"] / table["seconds"]
    for name in ("seconds", "seconds_low", "seconds_high"):
        table[name] *= scale
    table = table.drop_duplicates(KEY, keep="last")
    return table.drop(columns="session").sort_values(KEY, ignore_index=True)


# --- any rows --------------------------------------------------------------------------------


def is_baseline(rows: pd.DataFrame) -> np.ndarray:
    """For each row whether it is T0."""
    return varies_only(rows, ())


def is_net(rows: pd.DataFrame, one: Sequence[int]) -> np.ndarray:
    """For each row whether it has these four parameters."""
    return (rows[KEY] == list(one)).all(axis=1).to_numpy()


def varies_only(rows: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """For each row whether all parameters but `names` have the baseline's value."""
    unknown = set(names) - set(NAMES)
    if unknown:
        raise BadInputError(f"unknown {', '.join(sorted(unknown))}: choose of {', '.join(NAMES)}")
    fixed = [name for name in NAMES if name not in names]
    same = [rows[name].to_numpy() == getattr(BASELINE, name) for name in fixed]
    return np.logical_and.reduce(same) if same else np.ones(len(rows), dtype=bool)


def checked(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """The rows, refused with BadInputError where a fit on them would mean nothing."""
    missing = [name for name in (*NAMES, value) if name not in rows]
    if missing:
        raise BadInputError(f"rows lack {', '.join(missing)}")
    if rows.empty:
        raise BadInputError(f"there are no rows to fit {value} on")
    if not np.isfinite(rows[value].to_numpy(dtype=float)).all():
        raise BadInputError(f"{value} has a value that is missing or infinite")
    if not possible(rows).all():
        raise BadInputError(f"{rows.loc[~possible(rows), KEY].iloc[0].to_dict()} cannot be built")
    return rows.reset_index(drop=True)


def refuse_overlap(fit_rows: pd.DataFrame, held_out: pd.DataFrame) -> None:
    """Raise BadInputError where a configuration stands in both."""
    both = fit_rows[KEY].merge(held_out[KEY])
    if len(both):
        raise BadInputError(
            f"{len(both)} configurations are in both sets, the first {both.iloc[0].to_dict()}: "
            "what was fitted is not held out"
        )
