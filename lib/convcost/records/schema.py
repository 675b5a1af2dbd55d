"""What a table is made of: its columns, each with type, meaning and bounds."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column: its type, what it holds (with unit and convention), and its bounds."""

    dtype: str  # "int", "float", "text" or "bool"
    meaning: str
    low: float | None = None
    optional: bool = False  # an empty cell is allowed, and means "not available"


@dataclass(frozen=True)
class Table:
    """One table: what a row is, the columns that name a row, and all columns."""

    row: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]


def count(meaning: str, optional: bool = False) -> Column:
    return Column("int", meaning, low=0, optional=optional)


def text(meaning: str, optional: bool = False) -> Column:
    return Column("text", meaning, optional=optional)


NET = text("name of the net in `convcost.nets`")
MACS = count("multiply-adds of convolutions, linear layers and matrix products")
PARAMS = count("trainable parameters, each counted once per net")
