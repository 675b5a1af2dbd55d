"""The five sources and every number printed in them: key, locator, unit, convention.

The numbers lie in `data/published/<key>.csv`, one row per number, equation or statement; the
README beside them explains the columns. This module reads them, refuses a file that is not what
it should be, and hands out values. It runs without torch.

>>> value("cheng2025", "table1_alexnet_gflops")
1.42
>>> printed_text("atsumi2020", "table_i_conv1_seconds")
'1.08167E-03'
"""

import csv
import difflib
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from convcost.core import paths, registry
from convcost.core.errors import BadInputError, DamagedFileError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "name",
    "kind",
    "form",
    "value",
    "unit",
    "convention",
    "locator",
    "obtained",
    "note",
    "same_as",
    "statement",
    "notebook",
    "testable",
)

# Units whose value is a number, written as printed but without separators of thousands.
NUMBER_UNITS = frozenset(
    {
        "1",  # ratios, coefficients, fractions, plain counts of something named in `convention`
        "percent",
        "MACs",
        "FLOPs",
        "GFLOPs",
        "multiplications",
        "additions",
        "parameters",
        "million parameters",
        "s",
        "months",
        "years",
        "year",
        "decade",
        "century",
        "GPU-hours",
        "GHz",
        "GB",
        "px",
        "bits",
        "images",
        "classes",
        "channels",
        "filters",
        "connections",
        "layers",
        "networks",
        "configurations",
        "filter index",
        "digit",
    }
)
TEXT_UNITS = frozenset({"formula", "name", "version"})  # the value is a text
EMPTY_UNITS = frozenset({"statement", "figure"})  # there is no value
UNITS = NUMBER_UNITS | TEXT_UNITS | EMPTY_UNITS

# What a row is to the source, and so whether it can be right or wrong at all.
KINDS = (
    "claim",  # the source says it of its own: can be right or wrong
    "setting",  # of the authors' experiment
    "definition",  # words, formulas and what follows from them: cannot fail
    "history",  # who did what and when
    "cited",  # taken from elsewhere
)

# Which units a row of each form may have.
FORMS = {
    "number": NUMBER_UNITS,
    "equation": frozenset({"formula"}),
    "ordering": frozenset({"statement"}),
    "statement": frozenset({"statement", "name", "version"}),
    "figure": frozenset({"figure"}),
}
OBTAINED = ("printed", "derived", "restored")

_NUMBER = r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:E[+-][0-9]{2})?$"
_NAME = r"^[a-z][a-z0-9]*(?:_[a-z0-9]+)*$"
_TEXT = r"\S"
_TWIN = r"^(?:[a-z0-9-]+/[a-z0-9_]+)?$"


def notebooks() -> tuple[str, ...]:
    """The notebooks that test claims of their own, built or planned."""
    return tuple(chapter.notebook for chapter in registry.chapters() if chapter.claims)


@dataclass(frozen=True)
class Source:
    """One source: who wrote it, where it is, which file holds its numbers.

    `year` is None where neither the text nor its page says it. `rows` is the number of rows of
    `file`: it tells a file cut at the end of a line from a whole one.
    """

    key: str
    title: str
    authors: tuple[str, ...]
    year: int | None
    citation: str
    url: str
    file: str
    rows: int


SOURCES = {
    source.key: source
    for source in (
        Source(
            key="cheng2025",
            title="A Study of the Computation Amount and Computation Time of Classical Deep "
            "Neural Networks",
            authors=("Yihui Cheng", "Baiyi Liu"),
            year=2025,
            citation="Cheng, Y. and Liu, B., Journal of Big Data and Computing 3(1), 2025",
            url="https://doi.org/10.62517/jbdc.202501119",
            file="cheng2025.csv",
            rows=124,
        ),
        Source(
            key="cheng2025-abstract",
            title="A Study of the Computation Amount and Computation Time of Classical Deep "
            "Neural Networks (the journal's abstract page)",
            authors=("Yihui Cheng", "Baiyi Liu"),
            year=2025,
            citation="Cheng, Y. and Liu, B., abstract page of the article of 2025",
            url="https://doi.org/10.62517/jbdc.202501119",
            file="cheng2025-abstract.csv",
            rows=3,
        ),
        Source(
            key="atsumi2020",
            title="A Comprehensive Analysis of Low-impact Computations in Deep Learning "
            "Applications",
            authors=("Masahiko Atsumi", "Masato Inuma", "Lin Meng", "WenWen Wang"),
            year=2020,
            citation="Atsumi, M., Inuma, M., Meng, L. and Wang, W., 2020",
            url="",
            file="atsumi2020.csv",
            rows=64,
        ),
        Source(
            key="geifman",
            title="Efficient Inference in Deep Learning - Where is the Problem?",
            authors=("Amnon Geifman",),
            year=None,
            citation="Geifman, A., blog of Deci AI",
            url="https://deci.ai/blog/problem-efficient-inference-deep-learning/",
            file="geifman.csv",
            rows=59,
        ),
        Source(
            key="ke",
            title="Relationship between Complexity and Precision of Convolutional Neural Networks",
            authors=("Xiaolong Ke", "Wenming Cao", "Fangfang Lv"),
            year=None,
            citation="Ke, X., Cao, W. and Lv, F., Shenzhen University (refers to a page of 2015)",
            url="",
            file="ke.csv",
            rows=115,
        ),
    )
}


def published(key: str) -> "pd.DataFrame":
    """Every row of one source, as a DataFrame of text with the columns `COLUMNS`.

    `value` is the text as printed, without separators of thousands; empty where the row is a
    statement or a figure. The frame is the caller's own and may be changed.

    Raises BadInputError for an unknown key and DamagedFileError, with file, line and column,
    for a file that is not what it should be.

    >>> published("cheng2025").set_index("name").loc["table1_vgg16_gflops", "value"]
    '30.94'
    """
    return _load(_path(key), _source(key).rows).copy()


def value(key: str, name: str) -> int | float | str:
    """One published value: int if printed without point and exponent, else float.

    A formula, a model name or a version number comes out as the text it is. The unit and the
    convention stand in the same row of `published(key)`.

    Raises BadInputError for an unknown key or name, and for a row without a value (a statement,
    a figure).

    >>> value("geifman", "dsc_depthwise_macs") == 3 * 3 * 64 * 112 * 112
    True
    >>> value("cheng2025", "eq1_fully_connected_macs")
    'C_in*C_out'
    """
    text = printed_text(key, name)
    if entry(key, name)["unit"] in TEXT_UNITS:
        return text
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else float(text)


def printed_text(key: str, name: str) -> str:
    """The value of a row as the source prints it, so that digits can be compared.

    Raises as `value` does.

    >>> printed_text("ke", "baseline_complexity")
    '1.0'
    """
    row = entry(key, name)
    if row["unit"] in EMPTY_UNITS:
        raise BadInputError(
            f"{_source(key).file}: '{name}' is a {row['unit']} and has no value. "
            "Its text is in the column 'statement'."
        )
    return row["value"]


def entry(key: str, name: str) -> dict[str, str]:
    """All columns of one row, as text. Raises BadInputError for an unknown key or name.

    >>> entry("ke", "alpha_0")["locator"]
    'Section 2.2'
    """
    rows = _rows(_path(key), _source(key).rows)
    if name not in rows:
        near = difflib.get_close_matches(name, rows, n=5, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "nothing there is like it."
        raise BadInputError(
            f"'{name}' is not a row of {_source(key).file}; {hint} "
            f"All {len(rows)} names: convcost.sources.published('{key}')['name']."
        )
    return dict(rows[name])


def _source(key: str) -> Source:
    if key not in SOURCES:
        raise BadInputError(f"unknown source '{key}'; the sources are {', '.join(SOURCES)}.")
    return SOURCES[key]


def _path(key: str) -> Path:
    return paths.PUBLISHED / _source(key).file


def _damaged(path: Path, where: str, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"{path.name}, {where}: {what} Restore the file: git checkout -- {paths.shown(path)}"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if lacking := paths.without_compendium("a published number"):
            raise lacking from None
        raise _damaged(path, "whole file", f"cannot be read ({error.strerror}).") from error


@cache
def _rows(path: Path, expected: int) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in _load(path, expected).to_dict("records")}


@cache
def _load(path: Path, expected: int) -> "pd.DataFrame":
    """Read and check one file. Line numbers are those of an editor: the header is line 1."""
    import pandas as pd

    records = _records(path)
    frame = pd.DataFrame(records, columns=list(COLUMNS), dtype="str")
    frame.index += 2  # the first row of data stands in line 2; put back below
    _validate(path, frame)
    if len(frame) != expected:
        # Last, so that a damaged row is named before the count it may have spoilt.
        raise _damaged(path, "whole file", f"has {len(frame)} rows where {expected} belong.")
    return frame.reset_index(drop=True)


def _records(path: Path) -> list[list[str]]:
    try:
        text = _read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(path, f"byte {error.start}", "is not UTF-8 text.") from error
    reader = csv.reader(text.removesuffix("\n").split("\n"), strict=True)
    records = []
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise _damaged(
                path, f"line {number}", f"is not a row of a CSV file ({error})."
            ) from error
        if number == 1:
            if tuple(fields) != COLUMNS:
                wanted, found = ", ".join(COLUMNS), ", ".join(fields) or "nothing"
                raise _damaged(path, "line 1", f"the columns must be {wanted}; found {found}.")
            continue
        if len(fields) != len(COLUMNS) or reader.line_num != number:
            last = COLUMNS[min(max(len(fields), 1), len(COLUMNS)) - 1]
            what = (
                f"has {len(fields)} fields where {len(COLUMNS)} belong."
                if reader.line_num == number
                else f"runs on to line {reader.line_num} (a quotation mark too many or too few)."
            )
            raise _damaged(path, f"line {number}, column '{last}'", what)
        records.append(fields)
    if not text.endswith("\n"):
        # A file cut inside its last field has all its fields; only the missing line end tells.
        raise _damaged(
            path, f"line {reader.line_num}, column '{COLUMNS[-1]}'", "is cut off (no line end)."
        )
    return records


def _validate(path: Path, frame: "pd.DataFrame") -> None:
    """Raise DamagedFileError for the first cell that breaks a rule; `frame` has line numbers."""
    if importlib.util.find_spec("pandera") is None:
        return  # a bare node only measures; wherever a file may be changed, pandera is installed
    import pandera.pandas as pa  # slow to import, so only when a file is really read

    def one_of(allowed):
        allowed = sorted(allowed)
        return pa.Column(str, pa.Check.isin(allowed, error="must be one of " + ", ".join(allowed)))

    def like(pattern, error, **options):
        return pa.Column(str, pa.Check.str_contains(pattern, error=error), **options)

    def check(rows, columns):
        try:
            pa.DataFrameSchema(columns).validate(rows, lazy=True)
        except pa.errors.SchemaErrors as error:
            first = error.failure_cases.sort_values("index", kind="stable").iloc[0]
            rule = (
                "stands twice"
                if first["check"] == "field_uniqueness"
                else first["check"].rstrip(".")
            )
            raise _damaged(
                path,
                f"line {first['index']}, column '{first['column']}'",
                f"'{first['failure_case']}' {rule}.",
            ) from None

    filled = "must not be empty"
    check(
        frame,
        {
            "name": like(
                _NAME,
                "must be lower-case words joined by _",
                unique=True,
                report_duplicates="exclude_first",
            ),
            "kind": one_of(KINDS),
            "form": one_of(FORMS),
            "same_as": like(_TWIN, "must be empty or <source>/<name of a row>"),
            "unit": one_of(UNITS),
            "obtained": one_of(OBTAINED),
            "notebook": one_of(notebooks()),
            **{column: like(_TEXT, filled) for column in ("locator", "statement", "testable")},
        },
    )
    for form, rows in frame.groupby("form"):
        check(rows, {"unit": one_of(FORMS[form])})
    for units, pattern, error in (
        (NUMBER_UNITS, _NUMBER, "must be a number such as 15.7 or 1.08167E-03"),
        (TEXT_UNITS, _TEXT, filled),
        (EMPTY_UNITS, "^$", "must be empty"),
    ):
        check(frame[frame["unit"].isin(units)], {"value": like(pattern, error)})
