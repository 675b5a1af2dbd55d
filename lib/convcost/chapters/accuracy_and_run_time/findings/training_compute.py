"""How fast the training of known systems grew: cited numbers, and the doubling time in them."""

import csv
import datetime
import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from convcost.core import paths
from convcost.core.errors import BadInputError, DamagedFileError

COLUMNS = ("system", "date", "petaflop_s_days", "source", "locator", "note")
TRENDS = (
    "what",
    "begin",
    "end",
    "months",
    "low_months",
    "high_months",
    "source",
    "locator",
    "note",
)
LARGEST = ("AlphaGo Zero", "AlphaZero")
SMALLEST = 1e-3  # petaflop/s-days: below are small experiments, a word model and an optimiser
UNTIL = "2018-01-01"  # the post's figure ends before it
EVERY, RECORDS = "all, 2012 to 2017", "only those that set a record"
RESAMPLES, LEVEL = 2000, 0.95


def systems() -> pd.DataFrame:
    """One row a system, by date: the columns of `data/cited/training_compute.csv`, and year.

    petaflop_s_days: operations of the training over 8.64e19, adds and multiplies counted apart;
    year: a decimal number. Raises DamagedFileError where the file is not what it should be.
    """
    return pd.DataFrame([dict(row) for row in _systems()])


@cache
def _systems() -> tuple[dict, ...]:
    rows = _read(paths.CITED / "training_compute.csv", COLUMNS)
    for line, row in enumerate(rows, start=2):
        try:
            row["petaflop_s_days"] = float(row["petaflop_s_days"])
            row["year"] = _year(row["date"])
        except ValueError as error:
            raise _damaged("training_compute.csv", f"line {line}: {error}") from None
        if not 0 < row["petaflop_s_days"] < math.inf:
            raise _damaged("training_compute.csv", f"line {line}: {row['system']} took no work")
    return tuple(sorted(rows, key=lambda row: row["date"]))


def _year(date: str) -> float:
    """2017-07-02 is 2017 + 182/365."""
    day = datetime.date.fromisoformat(date)
    first, following = datetime.date(day.year, 1, 1), datetime.date(day.year + 1, 1, 1)
    return day.year + (day - first).days / (following - first).days


def cited_trends() -> pd.DataFrame:
    """One row a doubling time that others have published: `data/cited/doubling_times.csv`.

    months, low_months and high_months are numbers, NaN where the source gives none. Raises
    DamagedFileError.
    """
    rows = _read(paths.CITED / "doubling_times.csv", TRENDS)
    for line, row in enumerate(rows, start=2):
        try:
            row |= {name: float(row[name] or "nan") for name in TRENDS[3:6]}
        except ValueError as error:
            raise _damaged("doubling_times.csv", f"line {line}: {error}") from None
    return pd.DataFrame(rows)


def _read(path: Path, columns: tuple[str, ...]) -> list[dict]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        if lacking := paths.without_compendium("a cited number"):
            raise lacking from None
        raise _damaged(path.name, f"it cannot be read ({error})") from None
    if not rows or any(tuple(row) != columns or None in row.values() for row in rows):
        raise _damaged(path.name, f"the columns must be {', '.join(columns)}, a cell in each")
    return rows


def _damaged(name: str, what: str) -> DamagedFileError:
    return DamagedFileError(f"{name}, {what}. Restore the file: git checkout -- data/cited/{name}")


def records_of(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that took more than every earlier one, of a table in the order of time."""
    work = table["petaflop_s_days"]
    return table[work > work.cummax().shift(fill_value=0)]


def doubling_time(years, work) -> tuple[float, float, float]:
    """(months, low, high) in which `work` doubled: 12 over the slope of its log2 over the years.

    By least squares; low and high hold 95 % of the slopes of samples drawn from the same points
    with replacement. Infinite where the slope is not above 0. Raises BadInputError for fewer than
    three points, or all of one date.

    >>> [round(month, 6) for month in doubling_time([2010, 2011, 2012, 2013], [1, 4, 16, 64])]
    [6.0, 6.0, 6.0]
    """
    x, y = np.asarray(years, dtype=float), np.log2(np.asarray(work, dtype=float))
    if len(x) < 3 or np.ptp(x) == 0:
        raise BadInputError("a doubling time needs three systems or more, of two dates at least")
    x = x - x.mean()
    draws = np.random.default_rng(0).integers(0, len(x), (RESAMPLES, len(x)))
    slopes = _slopes(x[draws], y[draws])
    tail = 50 * (1 - LEVEL)
    slow, fast = np.nanpercentile(slopes, [tail, 100 - tail])
    return _months(_slopes(x[None], y[None])[0]), _months(fast), _months(slow)


def _slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The slope of each row of y over the same row of x; NaN where x is constant."""
    x = x - x.mean(axis=1, keepdims=True)
    across = (x * x).sum(axis=1)
    return (x * y).sum(axis=1) / np.where(across > 0, across, np.nan)


def _months(slope: float) -> float:
    return 12 / float(slope) if slope > 0 else math.inf


def doubling_times(table: pd.DataFrame | None = None) -> pd.DataFrame:
    """The doubling time by which systems one takes, one row a choice; `table` None: `systems()`.

    Columns: systems (in words), number, begin and end (years), months, low_months, high_months.
    Up to 2017, the years of the post's figure: all; without the two largest; without those below
    `SMALLEST`; without both; those that set a record. Then all of the table, and the records from
    the last of these. A choice of fewer than three has no row. The later systems were
    chosen by no rule but that their numbers could be read, so of them only the records say much.
    """
    table = systems() if table is None else table
    table = table.sort_values("year", kind="stable")
    past, since = (table[(table["date"] < UNTIL) == early] for early in (True, False))
    large, small = past["system"].isin(LARGEST), past["petaflop_s_days"] < SMALLEST
    records = records_of(table)
    late = records[records["year"] >= records_of(past)["year"].max()] if len(past) else records
    choices = {
        EVERY: past,
        "without AlphaGo Zero and AlphaZero": past[~large],
        f"without those below {SMALLEST:g}": past[~small],
        "without either": past[~large & ~small],
        RECORDS: records_of(past),
        "all, 2012 to 2024": table if len(since) else since,
        "records from AlphaGo Zero on": late,
    }
    rows = []
    for words, chosen in choices.items():
        if len(chosen) >= 3:
            months, low, high = doubling_time(chosen["year"], chosen["petaflop_s_days"])
            span = {"begin": chosen["year"].min(), "end": chosen["year"].max()}
            rows.append(
                {"systems": words, "number": len(chosen)} | span
                | {"months": months, "low_months": low, "high_months": high}
            )  # fmt: skip
    columns = ["systems", "number", "begin", "end", "months", "low_months", "high_months"]
    return pd.DataFrame(rows, columns=columns)
