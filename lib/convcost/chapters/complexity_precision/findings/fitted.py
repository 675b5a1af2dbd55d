"""Fits that several findings share, each done once for the same rows."""

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd

from convcost.core.errors import BadInputError
from convcost.fits import complexity, precision, printed, rows
from convcost.fits.configurations import NAMES

PLAN, OPTIMA = "plan", "optima"
"""Sessions of `forward_times`."""
FIT, HELD_OUT, OPTIMUM = "fit", "held out", "optimum"
"""What a configuration is for: models see the first alone."""


class _Content:
    """A table of numbers that is equal to another of the same numbers."""

    def __init__(self, frame: pd.DataFrame):
        self.frame = frame
        numbers = frame.to_numpy(dtype=float)
        self.key = (tuple(frame.columns), numbers.shape, numbers.tobytes())

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self.key == other.key


@lru_cache(maxsize=64)
def _equation(content: _Content, names: tuple[str, ...], intervals: bool):
    return printed.fit_equation(content.frame, names, intervals=intervals)


def equation(
    precise: pd.DataFrame, names: Sequence[str], *, intervals: bool = False
) -> precision.FittedPrecision:
    """`printed.fit_equation`, once for the same rows."""
    return _equation(_Content(precise), tuple(names), intervals)


@lru_cache(maxsize=64)
def _model(content: _Content, name: str):
    return precision.fit(name, content.frame)


def model(name: str, precise: pd.DataFrame) -> precision.FittedPrecision:
    """`precision.fit`, once for the same rows."""
    if name == precision.EQ6:
        return precision.renamed(equation(precise, NAMES), name)
    return _model(_Content(precise), name)


def cost(name: str, timed: pd.DataFrame) -> complexity.FittedComplexity:
    return complexity.model(name).fit(timed)


def fit_rows(trainings: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """`rows.precision_rows` of what models are fitted on."""
    return rows.precision_rows(trainings, measure=measure)


def held_out_rows(trainings: pd.DataFrame, measure: str = "accuracy") -> pd.DataFrame:
    """`rows.precision_rows` of what no fit has seen."""
    return rows.precision_rows(trainings, measure=measure, roles=rows.HELD_OUT_ROLES)


def sets(trainings: pd.DataFrame) -> pd.Series:
    """What each configuration is for, indexed by `NAMES`: of several roles, the plan's."""
    of_role = {role: FIT for role in rows.FIT_ROLES} | {HELD_OUT: HELD_OUT, OPTIMUM: OPTIMUM}
    known = trainings[[*NAMES, "role"]].assign(set=trainings["role"].map(of_role))
    order = known["set"].map({FIT: 0, HELD_OUT: 1, OPTIMUM: 2})
    known = known.loc[order.sort_values(kind="stable").index].drop_duplicates(list(NAMES))
    return known.set_index(list(NAMES))["set"]


def timed(forward_times: pd.DataFrame) -> pd.DataFrame:
    """`rows.complexity_rows` of each session, since C is relative to the session's own baseline.

    One row a session and configuration; stable: whether its time is of stable repetitions.
    """
    tables = []
    for session, times in forward_times.groupby("session", sort=False):
        table = rows.complexity_rows(times)
        stable = times.groupby(list(NAMES))["stable"].any().rename("stable").reset_index()
        tables.append(table.merge(stable, on=list(NAMES)).assign(session=session))
    if not tables:
        raise BadInputError("there is no forward time: nothing was timed")
    return pd.concat(tables, ignore_index=True)


def fit_times(forward_times: pd.DataFrame, trainings: pd.DataFrame) -> pd.DataFrame:
    """Timed configurations that models of C are fitted on: of the plan's session, none held out."""
    return _times_of(FIT, forward_times, trainings)


def held_out_times(forward_times: pd.DataFrame, trainings: pd.DataFrame) -> pd.DataFrame:
    """Timed configurations that no fit has seen."""
    return _times_of(HELD_OUT, forward_times, trainings)


def _times_of(which: str, forward_times: pd.DataFrame, trainings: pd.DataFrame) -> pd.DataFrame:
    table = timed(forward_times)
    table = table[table["session"] == PLAN].join(sets(trainings), on=list(NAMES))
    return table[table["set"] == which].drop(columns=["session", "set"]).reset_index(drop=True)
