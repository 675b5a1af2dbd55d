"""The ledger as a reader sees it: a line a claim, and behind it how the verdict came about.

Details elements and plain tables alone, so that it reads the same where styles are stripped, on a
phone and on paper: the line has verdict, claim, what is published and what is ours.
"""

from collections.abc import Iterable
from html import escape

from convcost.claims.ledger import Entry, why
from convcost.claims.verdicts import (
    CONTRADICTS,
    DIFFERS,
    INCONSISTENT,
    NOT_YET,
    REPRODUCED,
    UNDECIDED,
    UNDER_PROTOCOL,
    family,
)
from convcost.core import tables

GLYPHS = {
    REPRODUCED: "✓",
    UNDER_PROTOCOL: "✓",
    DIFFERS: "✗",
    UNDECIDED: "?",
    INCONSISTENT: "≠",
    CONTRADICTS: "≠",
}
_NO_GLYPH = "–"
_BARE = ("", "1", "statement", "name", "version")
"""Units that are none for a reader."""


class Cards:
    """Entries of the ledger, in the order given, as HTML and as text."""

    def __init__(self, entries: Iterable[Entry]):
        self.entries = list(entries)

    def _repr_html_(self) -> str:
        if not self.entries:
            return f"<p><em>{tables.NO_ROWS}</em></p>"
        idle = [entry for entry in self.entries if _is_idle(entry)]
        cards = [_card(entry) for entry in self.entries if not _is_idle(entry)]
        if idle:
            inside = "\n".join(_card(entry) for entry in idle)
            cards.append(
                f"<details><summary><strong>{_NO_GLYPH} {len(idle)} settings, definitions and "
                f"facts of history</strong>, which nothing can test</summary>\n{inside}\n</details>"
            )
        return "\n".join(cards)

    def __repr__(self) -> str:
        lines = []
        for entry in self.entries:
            lines.append(f"{_verdict(entry)}: {entry.statement} {_numbers(entry)}".rstrip())
            lines += [f"    {name}: {text}" for name, text in _behind(entry).items()]
        return "\n".join(lines) or tables.NO_ROWS


def view(entries: Iterable[Entry]) -> Cards:
    """The entries for the last line of a notebook cell: a line each, and the rest behind it.

    What nothing can test, settings and history, is folded at the end.

    The line: verdict, claim (with its kind, where it is none), published and ours. Behind it: where
    it stands, the whole rule, why (protocol, reason, evidence, remarks, what was noted of the
    source), and, after a run of one's own, what that gave and says.
    """
    return Cards(entries)


def _is_idle(entry: Entry) -> bool:
    """Whether a row is there for completeness: it is no claim, and nothing tests it."""
    return not entry.section and entry.kind in ("setting", "definition", "history")


def _card(entry: Entry) -> str:
    kind = "" if entry.kind == "claim" else f" <em>({entry.kind})</em>"
    numbers = _numbers(entry)
    rows = "".join(
        f'<tr><th align="left" valign="top">{escape(name)}</th>'
        f'<td align="left">{escape(text)}</td></tr>'
        for name, text in _behind(entry).items()
    )
    return (
        f"<details><summary><strong>{escape(_verdict(entry))}</strong>: {escape(entry.statement)}"
        f"{kind} {escape(numbers)}</summary><table>{rows}</table></details>"
    )


def _verdict(entry: Entry) -> str:
    word = family(entry.verdict)
    return f"{GLYPHS.get(word, _NO_GLYPH)} {word}"


def _numbers(entry: Entry) -> str:
    """What is published and what is ours, as far as there is any."""
    published = _with_unit(entry.published_text, entry.unit)
    parts = [f"published {published}"] if published else []
    parts += [f"ours {tables.cell(entry.reference)}"] if entry.reference is not None else []
    return f"[{'; '.join(parts)}]" if parts else ""


def _behind(entry: Entry) -> dict[str, str]:
    told = {
        "where": f"{entry.source}, {entry.locator}",
        "rule": entry.tolerance,
        "why": why(entry),
    }
    if entry.section and entry.verdict_this_run != NOT_YET:
        said = entry.says or family(entry.verdict_this_run)  # without a reference, its own
        told["this run"] = f"{tables.cell(entry.this_run)}: {said}"
    return {name: text for name, text in told.items() if text}


def _with_unit(published: str, unit: str) -> str:
    if unit == "formula":  # with spaces, or the browser cannot break it
        return published.replace("**2", "²").replace("*", " × ").replace("+", " + ")
    return f"{published} {unit}" if published and unit not in _BARE else published
