"""Rows of a table that a check needs; a run that has not got them is said to lack them."""

import pandas as pd

from convcost.records import MissingTableError


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
