"""How a table is shown in a notebook: whole sentences, separated thousands, aligned numbers.

And on a terminal: `text`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

NO_ROWS = "No rows: nothing of this has been measured yet."
LONG, OPEN = 12, 8
"""A table of more rows than `LONG` shows the first `OPEN`; the others unfold."""


class Shown:
    """A DataFrame as a reader sees it; the frame itself stays in `.frame`, unrounded.

    Text wraps instead of being cut at 50 characters, integers get a comma every three digits,
    floats four significant digits (or the format that `formats` gives for a column, as in
    `{"ratio": "{:.3f}"}`), booleans read yes or no, and what is missing is a dash. A frame without
    rows reads `NO_ROWS`. As HTML, a table of more than `LONG` rows shows its first `OPEN`, and the
    others behind a line to unfold; as text it is whole.
    """

    def __init__(self, frame: pd.DataFrame, formats: Mapping[str, str] | None = None):
        self.frame = frame
        self._formats = dict(formats or {})

    def _text(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                column: [cell(value, self._formats.get(column)) for value in values]
                for column, values in self.frame.items()
            },
            index=self.frame.index,
        )

    def _repr_html_(self) -> str:
        if self.frame.empty:
            return f"<p><em>{NO_ROWS}</em></p>"
        numeric = [
            pd.api.types.is_numeric_dtype(self.frame[c]) and self.frame[c].dtype != bool
            for c in self.frame
        ]
        text = self._text()
        if len(text) <= LONG:
            return _html(text, numeric)
        rest = text.iloc[OPEN:]
        return (
            f"{_html(text.iloc[:OPEN], numeric)}\n<details><summary>{len(rest)} more rows</summary>"
            f"\n{_html(rest, numeric)}\n</details>"
        )

    def __repr__(self) -> str:
        return NO_ROWS if self.frame.empty else self._text().to_string(index=False)


def _html(text: pd.DataFrame, numeric: Sequence[bool]) -> str:
    """A frame of texts as a table; `numeric` columns stand to the right."""
    with pd.option_context("display.max_colwidth", None):
        html = text.to_html(index=False, border=0, justify="left", na_rep="–")
    # GitHub keeps the align attribute and drops styles, Jupyter's own sheet overrules align
    rows = []
    column = 0
    for line in html.splitlines():
        if "<tr" in line:
            column = 0
        for tag in ("td", "th"):
            if f"<{tag}>" in line:
                side = "right" if numeric[column] else "left"
                styled = f'<{tag} align="{side}" style="text-align: {side}">'
                line = line.replace(f"<{tag}>", styled, 1)
                column += 1
        rows.append(line)
    return "\n".join(rows)


def show(frame: pd.DataFrame, formats: Mapping[str, str] | None = None) -> Shown:
    """The frame for the last line of a notebook cell. See `Shown`."""
    return Shown(frame, formats)


def cell(value: object, form: str | None = None) -> str:
    """One value as text.

    >>> cell(714188480), cell(0.123456), cell(True), cell(None)
    ('714,188,480', '0.1235', 'yes', '–')
    """
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return "–"
    if form:
        return form.format(value)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1e4 else f"{value:.4g}"
    return str(value)


def text(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Collection[str] = (),
    rule: bool = True,
) -> str:
    """Rows of texts under their header, in columns, for a terminal.

    `right`: the columns that end flush, as numbers should. `rule`: a line below the header.

    >>> print(text(("net", "MACs"), [("alexnet", "714,188,480")]))
    net      MACs
    -------  -----------
    alexnet  714,188,480
    """
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    forms = [f"{'>' if n in right else '<'}{w}" for n, w in zip(header, widths, strict=True)]
    lines = ["  ".join(map(format, row, forms)).rstrip() for row in rows]
    if rule:
        lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)
