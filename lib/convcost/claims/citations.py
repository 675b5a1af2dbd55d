"""Whether a cited work says what a source cites it for: `data/cited/citations.csv`."""

from functools import cache

import pandas as pd

from convcost.claims.verdicts import Evidence, Finding, Published, holds
from convcost.core import paths
from convcost.core.errors import DamagedFileError
from convcost.records import Results

COLUMNS = ["key", "reference", "work", "url", "says", "place", "agrees", "note"]
RULE = holds("the cited work says the same, by title, abstract or the section named")


@cache
def table() -> pd.DataFrame:
    """Every row, as text, by the key of the published row. DamagedFileError for other columns."""
    path = paths.CITED / "citations.csv"
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(rows.columns) != COLUMNS or not rows["agrees"].isin(["yes", "no"]).all():
        raise DamagedFileError(f"{path.name}: the columns must be {', '.join(COLUMNS)}")
    return rows.set_index("key")


def compare(results: Results, published: Published, name: str) -> Finding:
    """What the cited work says, beside what it is cited for; nothing is measured."""
    row = table().loc[f"{published.source}/{name}"]
    reference = f", reference {row['reference']}" if row["reference"] else ""
    told = f"{row['work']}{reference}, {row['place']}: {row['says']} ({row['url']})"
    agrees = row["agrees"] == "yes"
    return Finding(
        "as cited" if agrees else "another thing",
        agrees=agrees,
        protocol="as its reference says; not measured" if agrees else None,
        cited=None if agrees else told,
        reason=told if agrees else "",
        remark=row["note"],
        evidence=Evidence(1, "work read"),
    )
