"""What a check takes from tables: findings made once, and rows that a thin run may lack."""

from collections.abc import Callable
from functools import lru_cache

import pandas as pd

from convcost import records
from convcost.core.errors import BadInputError
from convcost.records import MissingTableError, Results


def made(
    results: Results,
    make: Callable[..., pd.DataFrame],
    *names: str,
    may_lack: tuple[str, ...] = (),
    needed: tuple[str, ...] = (),
) -> pd.DataFrame:
    """What a finding makes of tables, once for each content of them: many checks share one.

    A table of `may_lack` that no run has written is handed over without rows. Raises
    MissingTableError where another one is missing, where one of `needed` has no rows, and where
    the finding refuses its tables (BadInputError): too thin a run, or its baseline diverged.
    """
    content = tuple((name, _sha256(results, name, name in may_lack)) for name in names)
    return _kept(make, results, content, needed)


def _sha256(results: Results, name: str, may_lack: bool) -> str:
    """That of a table; "" of one that no run has written, where a run may lack it."""
    try:
        return results.sha256(name)
    except MissingTableError:
        if not may_lack:
            raise
        return ""


@lru_cache(maxsize=128)
def _kept(
    make: Callable[..., pd.DataFrame],
    results: Results,
    tables: tuple[tuple[str, str], ...],
    needed: tuple[str, ...],
) -> pd.DataFrame:
    read = {
        name: results.table(name)
        if sha256
        else pd.DataFrame(columns=list(records.TABLES[name].columns))
        for name, sha256 in tables
    }
    for name in needed:
        if read[name].empty:
            raise MissingTableError(
                f"nothing of {name} was measured yet: {records.TABLES[name].row}"
            )
    try:
        return make(*read.values())
    except BadInputError as error:
        raise MissingTableError(f"the stored results are too few: {error}") from None


def lacking(what: str) -> MissingTableError:
    """To be raised where a thin run, or one from before a check was added, has no such rows."""
    return MissingTableError(f"the stored results have no {what}: run `make reproduce` again")


def one(table: pd.DataFrame, **values: object) -> pd.Series:
    """The first row that has these values. MissingTableError, with them, where there is none."""
    for column, value in values.items():
        if not table.empty:  # a finding of no rows may have no columns either
            table = table[table[column] == value]
    if table.empty:
        raise lacking(", ".join(f"{column} {value}" for column, value in values.items()))
    return table.iloc[0]
