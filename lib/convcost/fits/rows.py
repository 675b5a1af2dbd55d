"""Tables of notebook 04 to the rows that models are fitted on: one row a configuration."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from convcost.core.errors import BadInputError
from convcost.fits.configurations import BASELINE, NAMES, possible

FIT_ROLES = ("1-D", "2-D")
HELD_OUT_ROLES = ("held out",)
KEY = list(NAMES)


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


def training_rows(
    trainings: pd.DataFrame,
    *,
    measure: str = "accuracy",
    roles: Sequence[str] | None = FIT_ROLES,
    split: str = "test",
) -> pd.DataFrame:
    """One row a finished training: the four parameters, seed, role, images, precision (0 to 1).

    `trainings` is the table `configuration_trainings`; `measure` a key of `MEASURES`; `roles`
    None takes all; `split` "test" or "validation". A training with another status than "done" has
    no row. Raises BadInputError for an unknown measure or split, and for a finished training
    without its counts.
    """
    if measure not in MEASURES:
        raise BadInputError(f"measure {measure!r} is unknown: choose one of {', '.join(MEASURES)}")
    if split not in ("test", "validation"):
        raise BadInputError(f"split {split!r} is unknown: choose test or validation")
    rows = trainings[trainings["status"] == "done"]
    if roles is not None:
        rows = rows[rows["role"].isin(list(roles))]
    names = [
        f"{split}_{label}_{w}" for label in ("class0", "class1") for w in ("images", "correct")
    ]
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


def precision_rows(
    trainings: pd.DataFrame,
    *,
    measure: str = "accuracy",
    roles: Sequence[str] | None = FIT_ROLES,
    split: str = "test",
) -> pd.DataFrame:
    """One row a configuration: precision (mean over its seeds), images (tested in all), seeds.

    Seeds are averaged, not repeated: three trainings of one network are one piece of evidence on
    how precision follows from the parameters. `images` is the weight in every fit, so a mean of
    three seeds counts three times. `seed_sd` is their standard deviation, missing for one seed.
    Arguments and faults as `training_rows`.
    """
    rows = training_rows(trainings, measure=measure, roles=roles, split=split)
    return averaged(rows)


def averaged(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `training_rows` to one a configuration; see `precision_rows`."""
    groups = rows.groupby(KEY, sort=True)
    table = groups.agg(
        precision=("precision", "mean"),
        images=("images", "sum"),
        seeds=("seed", "nunique"),
        seed_sd=("precision", "std"),
    )
    return table.reset_index()


def complexity_rows(forward_times: pd.DataFrame) -> pd.DataFrame:
    """One row a timed configuration: median seconds per image, and the paper's C.

    Columns: the four parameters, complexity (median over the baseline's of the same session, whose
    own is 1), seconds (complexity times the baseline's median of the first session, per image of a
    batch), seconds_low and seconds_high (quartiles), repetitions. Repetitions that were not stable
    are left out where the configuration has stable ones. Raises BadInputError where the baseline
    was not timed in a session, and where batches or threads differ: such times cannot be compared.
    """
    for name in ("batch", "threads"):
        if forward_times[name].nunique() > 1:
            raise BadInputError(
                f"forward passes with different {name} ({sorted(forward_times[name].unique())}) "
                "cannot be compared: choose one"
            )
    table = forward_times.reset_index(drop=True)
    if "session" not in table:
        table["session"] = "only"
    steady = table["stable"].astype(bool)
    has_steady = steady.groupby([table[name] for name in ("session", *KEY)]).transform("any")
    times = table[steady | ~has_steady]
    per_image = times["seconds"] / times["batch"]
    own = is_baseline(times)
    baselines = per_image[own].groupby(times.loc[own, "session"]).median()
    without = [name for name in table["session"].unique() if name not in baselines]
    if without or table.empty:
        raise BadInputError(
            f"the baseline ({BASELINE}) was not timed in session {', '.join(without) or 'any'}: "
            "C is relative to it"
        )
    relative = per_image / times["session"].map(baselines)
    groups = relative.groupby([times[name] for name in KEY])
    found = groups.quantile([0.25, 0.5, 0.75]).unstack()
    found.columns = ["seconds_low", "seconds", "seconds_high"]
    found["complexity"] = found["seconds"]
    found["repetitions"] = groups.size()
    first = float(baselines[table["session"].iloc[0]])
    found[["seconds_low", "seconds", "seconds_high"]] *= first
    return found.reset_index()


def is_baseline(rows: pd.DataFrame) -> np.ndarray:
    """For each row whether it is T0."""
    return varies_only(rows, ())


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
