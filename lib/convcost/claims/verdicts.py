"""How a claim becomes a verdict."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from decimal import Decimal

import pandas as pd

from convcost import sources
from convcost.claims import checks
from convcost.core import tables
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.records import (
    LOCAL,
    REFERENCE,
    MissingTableError,
    Results,
    is_reference_run,
    machines,
)

REPRODUCED = "reproduced"
UNDER_PROTOCOL = "reproduced under protocol"
DIFFERS = "differs"
INCONSISTENT = "inconsistent in the source"
NOT_TESTABLE = "not testable here"
NO_DATA = "not tested: data set not available"
NOT_YET = "not tested yet"
VERDICTS = (
    REPRODUCED,
    UNDER_PROTOCOL,
    DIFFERS,
    INCONSISTENT,
    NOT_TESTABLE,
    NO_DATA,
    NOT_YET,
)


def family(verdict: str) -> str:
    """The member of `VERDICTS` that a verdict belongs to: its protocol, if any, left off.

    >>> family("reproduced under protocol 2 per multiply-add")
    'reproduced under protocol'
    """
    return max((v for v in VERDICTS if verdict.startswith(v)), key=len)


@dataclass(frozen=True)
class Finding:
    """What a check found.

    `value` is ours, in the unit of the published value (a number, or a text for statements).
    `agrees` says whether it matches; None leaves it to the tolerance. `protocol` names what the
    source does not say and we had to assume. `contradiction` is the arithmetic by which the
    source contradicts itself; where it is set, the verdict is "inconsistent in the source".
    `undecidable` says why no measurement of this kind can tell; where it is set, and no
    contradiction, the verdict is "not testable here".
    """

    value: object
    agrees: bool | None = None
    protocol: str | None = None
    contradiction: str | None = None
    undecidable: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class Tolerance:
    """How far ours may be from the published value, and why that far.

    `absolute` is in the value's own unit, `relative` a share of the published value; the larger
    one holds. Both 0: equality.
    """

    why: str
    absolute: float = 0.0
    relative: float = 0.0
    words: str = ""  # how it reads where it is no distance

    def agrees(self, published: float, ours: float) -> bool:
        """Whether `ours` lies within the tolerance of `published`.

        >>> Tolerance("two digits are printed", absolute=0.005).agrees(0.35, 0.3521)
        True
        """
        # decimals, so that 1.425 - 1.42 is exactly the half step that was meant
        distance = abs(Decimal(str(published)) - Decimal(str(ours)))
        allowed = max(
            Decimal(str(self.absolute)), Decimal(str(self.relative)) * abs(Decimal(str(published)))
        )
        return distance <= allowed

    def __str__(self) -> str:
        if self.words:
            return self.words
        if not self.absolute and not self.relative:
            return "equal"
        parts = []
        if self.absolute:
            parts.append(f"± {self.absolute:g}")
        if self.relative:
            parts.append(f"± {100 * self.relative:g} %")
        return " or ".join(parts)


EXACT = Tolerance("an exact count, or a formula applied to exact numbers")
LOGICAL = Tolerance("a statement holds or does not")


@dataclass(frozen=True)
class Published:
    """Published values of one source, for the functions that check them."""

    source: str

    def __call__(self, name: str) -> int | float:
        """The value of the row `name`, as a number."""
        return sources.value(self.source, name)

    def text(self, name: str) -> str:
        """The value of the row `name`, as printed."""
        return sources.printed_text(self.source, name)


Compute = Callable[[Results, Published, str], Finding]
"""A check's function: of the results, the published values and the name of the row."""


@dataclass(frozen=True)
class Check:
    """How one published row is checked.

    `compute(results, published, name)` returns a Finding. `section` is the heading of the
    notebook that shows it; `datasets` are the real sets that the finding needs, by table:
    {"datasets": "fashionmnist"} means that the table's run must have used that set itself.
    """

    compute: Compute
    section: str
    tolerance: Tolerance = EXACT
    datasets: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Claim:
    """One statement of a source, in our own words."""

    key: str
    source: str
    locator: str
    kind: str
    statement: str
    published: str
    unit: str
    notebook: str
    testable: str
    note: str
    check: Check | None


@dataclass(frozen=True)
class Entry:
    """A claim with what we found: one line of the ledger."""

    key: str
    source: str
    locator: str
    kind: str
    statement: str
    published: object  # a number where the source prints one, else its text
    published_text: str  # as printed
    unit: str
    reference: object
    this_run: object
    tolerance: str
    tolerance_reason: str
    verdict: str  # of this run where it says something, else of the reference
    reason: str
    verdict_reference: str
    verdict_this_run: str
    notebook: str
    section: str


def claims(checks: dict[str, Check]) -> list[Claim]:
    """All claims: one for each published row, with its check where there is one.

    Raises BadInputError for a check whose key belongs to no row.
    """
    found = []
    for source in sources.SOURCES:
        for row in sources.published(source).to_dict("records"):
            key = f"{source}/{row['name']}"
            found.append(
                Claim(
                    key=key,
                    source=source,
                    locator=row["locator"],
                    kind=_kind(row),
                    statement=row["statement"],
                    published=row["value"],
                    unit=row["unit"],
                    notebook=row["notebook"],
                    testable=row["testable"],
                    note=row["note"],
                    check=checks.get(key),
                )
            )
    orphans = sorted(set(checks) - {claim.key for claim in found})
    if orphans:
        raise BadInputError(f"checks without a published row: {', '.join(orphans)}")
    return found


NUMBERS = ("number", "table cell", "cited from elsewhere")  # kinds whose value is a number


def _kind(row: dict) -> str:
    """The kind of a published row, in the ledger's words."""
    if row["kind"] == "number" and row["locator"].startswith("Table"):
        return "table cell"
    return "cited from elsewhere" if row["kind"] == "cited" else row["kind"]


def _missing_data(check: Check, results: Results) -> str | None:
    """The first data set that a finding needs and its run did not have, or None."""
    for table, dataset in check.datasets:
        used = {entry.get("asked"): entry for entry in results.record(table).get("data", [])}
        if dataset not in used or used[dataset].get("is_stand_in"):
            return dataset
    return None


def evaluate(claim: Claim, results: Results) -> tuple[object, str, str]:
    """(ours, verdict, reason) of one claim over one set of results.

    The order is fixed: what cannot be tested here, what is not built, what no run has written,
    what was run on a stand-in, and only then what was found.

    Of two machines nothing is mixed. Where several have results and `results` names none, they are
    tried in the order of `records.machines`: the first whose own tables have what the check needs
    gives value and verdict. The reason then names the machine.
    """
    if claim.check is None:
        if claim.testable != "yes":
            return None, NOT_TESTABLE, claim.testable
        return None, NOT_YET, f"notebook {claim.notebook} does not test it yet"
    names = machines(results.where) if isinstance(results, Results) else []
    if len(names) < 2:
        return _of_one_machine(claim, results)
    tried = {}
    for name in [results.machine] if results.machine else names:
        ours, verdict, reason = _of_one_machine(claim, Results(results.where, name))
        if name not in reason:
            reason = f"on {name}: {reason}" if reason else f"on {name}"
        if verdict not in (NO_DATA, NOT_YET):
            return ours, verdict, reason
        tried.setdefault(verdict, []).append(reason)
    verdict = NO_DATA if NO_DATA in tried else NOT_YET
    return None, verdict, "; ".join(tried[verdict])


@dataclass(frozen=True)
class _Watched(Results):
    """Results that know which tables were asked for, so that a fault can name them."""

    asked: list[str] = field(default_factory=list, compare=False)

    def table(self, name: str) -> pd.DataFrame:
        self.asked.append(name)
        return super().table(name)

    def sha256(self, name: str) -> str:
        self.asked.append(name)
        return super().sha256(name)


def _asked(results: Results) -> str:
    names = dict.fromkeys(getattr(results, "asked", ()))
    return f"table {' and '.join(names)}" if names else "no table"


def _of_one_machine(claim: Claim, results: Results) -> tuple[object, str, str]:
    """(ours, verdict, reason) of a claim that has a check."""
    if isinstance(results, Results):
        results = _Watched(results.where, results.machine)
    try:
        missing = _missing_data(claim.check, results)
        if missing:
            return None, NO_DATA, f"needs the real {missing}; this run had a stand-in or none"
        finding = claim.check.compute(results, Published(claim.source), claim.key.partition("/")[2])
    except MissingTableError as error:
        return None, NOT_YET, str(error)
    except DamagedFileError as error:
        if results.where == REFERENCE:
            raise
        return None, NOT_YET, str(error)  # a run of one's own that is damaged can be run again
    except (KeyError, IndexError) as error:
        if results.where == REFERENCE:
            raise ConvcostError(
                f"the check of {claim.key} fails on {_asked(results)} of the reference: "
                f"{type(error).__name__} {error}. Mend the check; where the rows may rightly be "
                "missing, it has to say which (claims.lookup)"
            ) from error
        # a table of a run before this check was added may have no such row
        return None, NOT_YET, f"the stored results have no {error}: run `make reproduce` again"
    return finding.value, *_verdict(claim, finding)


def _verdict(claim: Claim, finding: Finding) -> tuple[str, str]:
    if finding.contradiction:
        return INCONSISTENT, finding.contradiction
    if finding.undecidable:
        return NOT_TESTABLE, finding.undecidable
    agrees = finding.agrees
    if agrees is None:
        agrees = claim.check.tolerance.agrees(float(claim.published), float(finding.value))
    if not agrees:
        return DIFFERS, finding.reason
    if finding.protocol:
        return f"{UNDER_PROTOCOL} {finding.protocol}", finding.reason
    return REPRODUCED, finding.reason


def ledger(
    *,
    source: str | None = None,
    verdict: str | None = None,
    notebook: str | None = None,
    section: str | None = None,
    machine: str | None = None,
) -> list[Entry]:
    """Every claim with the reference's finding and this machine's own, in source order.

    `source` a key of `sources.SOURCES`, `verdict` one of `VERDICTS` ("reproduced under protocol"
    takes any protocol), `notebook` a name such as "01-flop-counting" or its number, `section` the
    heading of that notebook under which a claim is tested; `machine` a folder of `data/results/`,
    None the first that can tell (see `evaluate`). `verdict` of an entry is that of the user's own
    results where there are any, else the reference's; both stand beside it, as `verdict_this_run`
    ("not tested yet" where no run has written its numbers) and `verdict_reference`. Raises
    BadInputError for an unknown source, verdict, notebook or section.
    """
    every = claims(checks.all_checks())
    if source is not None and source not in sources.SOURCES:
        raise BadInputError(
            f"unknown source {source!r}: choose one of {', '.join(sources.SOURCES)}"
        )
    if verdict is not None and verdict not in VERDICTS:
        raise BadInputError(f"unknown verdict {verdict!r}: choose one of {', '.join(VERDICTS)}")
    if machine is not None and machine not in machines(REFERENCE):
        known = ", ".join(machines(REFERENCE))
        raise BadInputError(f"no reference results of machine {machine!r}: choose one of {known}")
    names = sorted({claim.notebook for claim in every})
    if notebook is not None and not any(n == notebook or n[:2] == notebook for n in names):
        raise BadInputError(f"no claim belongs to notebook {notebook!r}: {', '.join(names)}")
    sections = sorted({claim.check.section for claim in every if claim.check})
    if section is not None and section not in sections:
        raise BadInputError(f"no claim is tested under {section!r}: {', '.join(sections)}")
    entries = []
    for claim in every:
        if section is not None and (claim.check is None or claim.check.section != section):
            continue
        if source not in (None, claim.source):
            continue
        if notebook is not None and notebook not in (claim.notebook, claim.notebook[:2]):
            continue
        entry = _entry(claim, machine)
        if verdict in (None, family(entry.verdict)):
            entries.append(entry)
    return entries


def _entry(claim: Claim, machine: str | None) -> Entry:
    reference, reference_verdict, reference_reason = evaluate(claim, Results(REFERENCE, machine))
    if is_reference_run():  # whatever runs of its own that machine has are not the reader's
        this_run, run_verdict, run_reason = None, NOT_YET, "this is the reference run itself"
    else:
        this_run, run_verdict, run_reason = evaluate(claim, Results(LOCAL))
    own = run_verdict != NOT_YET
    check = claim.check
    return Entry(
        key=claim.key,
        source=claim.source,
        locator=claim.locator,
        kind=claim.kind,
        statement=claim.statement,
        published=_published(claim),
        published_text=claim.published,
        unit=claim.unit,
        reference=reference,
        this_run=this_run,
        tolerance=str(check.tolerance) if check and _is_number(claim) else "",
        tolerance_reason=check.tolerance.why if check else "",
        verdict=run_verdict if own else reference_verdict,
        reason=run_reason if own else reference_reason,
        verdict_reference=reference_verdict,
        verdict_this_run=run_verdict,
        notebook=claim.notebook,
        section=check.section if check else "",
    )


def _is_number(claim: Claim) -> bool:
    return bool(claim.published) and claim.kind in NUMBERS


def _published(claim: Claim) -> object:
    if _is_number(claim):
        return sources.value(claim.source, claim.key.partition("/")[2])
    return claim.published or None


def table(entries: Iterable[Entry]) -> pd.DataFrame:
    """The entries as a DataFrame, one row each, in the order given."""
    return pd.DataFrame([asdict(entry) for entry in entries])


def summary(entries: Iterable[Entry]) -> pd.DataFrame:
    """How many claims of which kind each place of a source makes, one row a place."""
    frame = table(entries)
    grouped = frame.groupby(["source", "locator"], sort=False)["kind"]
    return grouped.agg(claims="size", kinds=lambda k: ", ".join(dict.fromkeys(k))).reset_index()


def view(entries: Iterable[Entry]) -> tables.Shown:
    """The entries as a verdict table for a notebook.

    Columns: claim, source and locator, published, the committed reference's value, this run's,
    the ratio of the reference to the published value where both are numbers, tolerance, verdict
    and reason.
    """
    rows = []
    for entry in entries:
        row = {
            "claim": entry.statement,
            "where": f"{entry.source}, {entry.locator}",
            "published": _with_unit(entry.published_text, entry.unit),
            "reference": tables.cell(entry.reference),
            "this run": tables.cell(entry.this_run),
            "ratio": _ratio(entry),
            "tolerance": entry.tolerance or "–",
            "verdict": family(entry.verdict),
            "reason": _with_protocol(entry.verdict, entry.reason),
        }
        if entry.verdict_reference != entry.verdict:
            row["verdict"] += f" (reference: {family(entry.verdict_reference)})"
        rows.append(row)
    return tables.show(pd.DataFrame(rows))


def _with_protocol(verdict: str, reason: str) -> str:
    protocol = verdict.removeprefix(family(verdict)).strip()
    return "; ".join(part for part in (protocol, reason) if part)


def _with_unit(published: str, unit: str) -> str:
    if not published:
        return "–"
    if unit == "formula":  # with spaces, or the browser cannot break it
        return published.replace("**2", "²").replace("*", " × ").replace("+", " + ")
    return f"{published} {unit}" if unit not in ("", "1", "statement") else published


def _ratio(entry: Entry) -> str:
    numbers = (entry.published, entry.reference)
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        return "–"
    return f"{entry.reference / entry.published:.4g}" if entry.published else "–"
