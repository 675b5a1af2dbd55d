"""The ledger: every statement of the sources with its verdict, and what the verdict rests on."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import pandas as pd

from convcost import sources
from convcost.claims import checks
from convcost.claims.verdicts import (
    EXACT,
    NO_DATA,
    NOT_TESTABLE,
    NOT_YET,
    VERDICTS,
    Check,
    Finding,
    Published,
    family,
    verdict,
)
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.records import (
    LOCAL,
    REFERENCE,
    MissingTableError,
    Results,
    is_reference_run,
    machines,
)

AGREES, DISAGREES, TOO_SMALL = "agrees", "disagrees", "too small to say"
"""What a run of one's own says of the reference's verdict."""

_LARGE = ("cpu", "gpu")  # profiles that a verdict may rest on


@dataclass(frozen=True)
class Claim:
    """One statement of a source, in our own words; the columns of `data/published/`."""

    key: str
    source: str
    locator: str
    kind: str
    form: str
    statement: str
    published: str
    unit: str
    note: str
    same_as: str
    notebook: str
    testable: str
    check: Check | None

    @property
    def is_number(self) -> bool:
        """Whether the source prints a number."""
        return bool(self.published) and self.form == "number"


@dataclass(frozen=True)
class Entry:
    """A claim with what we found: one line of the ledger.

    `verdict`, `reason`, `remark`, `evidence` and `machine` are the committed reference's, which is
    the verdict of record. A run of one's own gives `this_run` and what it `says` of that verdict:
    "agrees", "disagrees" or "too small to say"; "" without one.
    """

    key: str
    source: str
    locator: str
    kind: str
    form: str
    statement: str
    published: object  # a number where the source prints one, else its text
    published_text: str  # as printed
    unit: str
    note: str
    same_as: str  # key of the row that says the same, which counts for both
    tolerance: str  # the whole rule
    reference: object
    verdict: str
    reason: str
    remark: str
    evidence: str
    machine: str
    this_run: object
    verdict_this_run: str
    says: str
    notebook: str
    section: str


class Outcome(NamedTuple):
    """What a check gives over one set of results."""

    value: object
    verdict: str
    reason: str
    remark: str = ""
    evidence: str = ""
    machine: str = ""
    profile: str = ""


def claims(checks: dict[str, Check]) -> list[Claim]:
    """All claims: one for each published row, with its check where there is one.

    Raises BadInputError for a check whose key belongs to no row, and for a twin of no row.
    """
    found = []
    for source in sources.SOURCES:
        for row in sources.published(source).to_dict("records"):
            key = f"{source}/{row['name']}"
            same = ("locator", "kind", "form", "statement", "unit", "note", "same_as", "notebook")
            found.append(
                Claim(
                    key=key, source=source, published=row["value"], testable=row["testable"],
                    check=checks.get(key), **{name: row[name] for name in same},
                )
            )  # fmt: skip
    keys = {claim.key for claim in found}
    if orphans := sorted(set(checks) - keys):
        raise BadInputError(f"checks without a published row: {', '.join(orphans)}")
    if astray := sorted(c.key for c in found if c.same_as and c.same_as not in keys):
        raise BadInputError(f"twins of rows that are not there: {', '.join(astray)}")
    return found


def _missing_data(check: Check, results: Results) -> str | None:
    """The first data set that a finding needs and its run did not have, or None."""
    for table, dataset in check.datasets:
        used = {entry.get("asked"): entry for entry in results.record(table).get("data", [])}
        if dataset not in used or used[dataset].get("is_stand_in"):
            return dataset
    return None


def evaluate(claim: Claim, results: Results) -> Outcome:
    """What one claim comes to over one set of results.

    The order is fixed: what cannot be tested here, what is not built, what no run has written,
    what was run on a stand-in, and only then what was found.

    Of two machines nothing is mixed. Where several have results and `results` names none, they are
    tried in the order of `records.machines`: the first whose own tables have what the check needs
    gives value and verdict. The reason then names the machine.
    """
    if claim.check is None:
        if claim.testable != "yes":
            return Outcome(None, NOT_TESTABLE, claim.testable)
        return Outcome(None, NOT_YET, f"notebook {claim.notebook} does not test it yet")
    names = machines(results.where) if isinstance(results, Results) else []
    if len(names) < 2:
        return _of_one_machine(claim, results)
    tried = {}
    for name in [results.machine] if results.machine else names:
        made = _of_one_machine(claim, Results(results.where, name))
        if name not in made.reason:
            made = made._replace(
                reason=f"on {name}: {made.reason}" if made.reason else f"on {name}"
            )
        if made.verdict not in (NO_DATA, NOT_YET):
            return made
        tried.setdefault(made.verdict, []).append(made.reason)
    missing = NO_DATA if NO_DATA in tried else NOT_YET
    return Outcome(None, missing, "; ".join(tried[missing]))


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


def _of_one_machine(claim: Claim, results: Results) -> Outcome:
    """What a claim that has a check comes to."""
    if isinstance(results, Results):
        results = _Watched(results.where, results.machine)
    try:
        missing = _missing_data(claim.check, results)
        if missing:
            reason = f"needs the real {missing}; this run had a stand-in or none"
            return Outcome(None, NO_DATA, reason)
        finding = claim.check.compute(results, Published(claim.source), claim.key.partition("/")[2])
    except MissingTableError as error:
        return Outcome(None, NOT_YET, str(error))
    except DamagedFileError as error:
        if results.where == REFERENCE:
            raise
        return Outcome(None, NOT_YET, str(error))  # a run of one's own can be run again
    except (KeyError, IndexError) as error:
        if results.where == REFERENCE:
            raise ConvcostError(
                f"the check of {claim.key} fails on {_asked(results)} of the reference: "
                f"{type(error).__name__} {error}. Mend the check; where the rows may rightly be "
                "missing, it has to say which (claims.lookup)"
            ) from error
        # a table of a run before this check was added may have no such row
        reason = f"the stored results have no {error}: run `make reproduce` again"
        return Outcome(None, NOT_YET, reason)
    return _outcome(claim, finding, results)


def _outcome(claim: Claim, finding: Finding, results: Results) -> Outcome:
    word, reason = verdict(finding, claim.check.tolerance, claim.published)
    record = {}
    for table in getattr(results, "asked", ())[:1]:
        record = results.record(table)
    where = [record.get(name) for name in ("machine", "profile")]
    return Outcome(
        finding.value,
        word,
        reason,
        finding.remark,
        str(finding.evidence),
        *(w or "" for w in where),
    )


def ledger(
    *,
    source: str | None = None,
    verdict: str | None = None,
    kind: str | None = None,
    notebook: str | None = None,
    section: str | None = None,
    machine: str | None = None,
) -> list[Entry]:
    """Every claim with the reference's finding and this machine's own, in source order.

    `source` a key of `sources.SOURCES`, `verdict` one of `VERDICTS` ("reproduced under protocol"
    takes any protocol), `kind` one of `sources.KINDS`, `notebook` a name such as
    "01-flop-counting" or its number, `section` the heading of that notebook under
    which a claim is tested; `machine` a folder of `data/results/`, None the first that can tell
    (see `evaluate`). Raises BadInputError for a source, verdict, kind, notebook or section that
    there is not.
    """
    every = claims(checks.all_checks())
    if source is not None and source not in sources.SOURCES:
        raise BadInputError(
            f"unknown source {source!r}: choose one of {', '.join(sources.SOURCES)}"
        )
    if verdict is not None and verdict not in VERDICTS:
        raise BadInputError(f"unknown verdict {verdict!r}: choose one of {', '.join(VERDICTS)}")
    if kind is not None and kind not in sources.KINDS:
        raise BadInputError(f"unknown kind {kind!r}: choose one of {', '.join(sources.KINDS)}")
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
        if source not in (None, claim.source) or kind not in (None, claim.kind):
            continue
        if notebook is not None and notebook not in (claim.notebook, claim.notebook[:2]):
            continue
        entry = _entry(claim, machine)
        if verdict in (None, family(entry.verdict)):
            entries.append(entry)
    return entries


def _entry(claim: Claim, machine: str | None) -> Entry:
    reference = evaluate(claim, Results(REFERENCE, machine))
    if is_reference_run():  # whatever runs of its own that machine has are not the reader's
        own = Outcome(None, NOT_YET, "this is the reference run itself")
    else:
        own = evaluate(claim, Results(LOCAL))
    check = claim.check
    same = ("key", "source", "locator", "kind", "form", "statement", "unit", "note", "same_as")
    return Entry(
        **{name: getattr(claim, name) for name in (*same, "notebook")},
        published=_published(claim),
        published_text=claim.published,
        tolerance=str(check.tolerance) if check else "",
        reference=reference.value,
        verdict=reference.verdict,
        reason=reference.reason,
        remark=reference.remark,
        evidence=reference.evidence,
        machine=reference.machine,
        this_run=own.value,
        verdict_this_run=own.verdict,
        says=_says(claim, reference, own),
        section=check.section if check else "",
    )


def _says(claim: Claim, reference: Outcome, own: Outcome) -> str:
    """What a run of one's own says of the reference's verdict, which it never overrules."""
    if claim.check is None or own.verdict in (NOT_YET, NO_DATA) or reference.verdict == NOT_YET:
        return ""
    if family(own.verdict) == family(reference.verdict):
        return AGREES
    counted = claim.check.tolerance is EXACT and claim.is_number  # the same at every scale
    if own.profile in _LARGE or reference.profile not in _LARGE or counted:
        return DISAGREES
    return TOO_SMALL


def _published(claim: Claim) -> object:
    if claim.is_number:
        return sources.value(claim.source, claim.key.partition("/")[2])
    return claim.published or None


def counted(entries: Iterable[Entry]) -> list[Entry]:
    """Those that a score counts: claims, and of twins the one that stands for both."""
    return [entry for entry in entries if entry.kind == "claim" and not entry.same_as]


def table(entries: Iterable[Entry]) -> pd.DataFrame:
    """The entries as a DataFrame, one row each, in the order given."""
    return pd.DataFrame([asdict(entry) for entry in entries])


def summary(entries: Iterable[Entry]) -> pd.DataFrame:
    """How many rows of which kind each place of a source has, one row a place."""
    frame = table(entries)
    grouped = frame.groupby(["source", "locator"], sort=False)["kind"]
    return grouped.agg(rows="size", kinds=lambda k: ", ".join(dict.fromkeys(k))).reset_index()


def why(entry: Entry) -> str:
    """Protocol, reason, evidence, remark and note of an entry, in one text."""
    protocol = entry.verdict.removeprefix(family(entry.verdict)).strip()
    parts = [protocol, entry.reason]
    parts += [f"evidence: {entry.evidence}"] if entry.evidence else []
    parts += [f"remark: {entry.remark}"] if entry.remark else []
    parts += [f"noted: {entry.note}"] if entry.note and entry.section else []
    parts += [f"says the same as {entry.same_as}, which counts"] if entry.same_as else []
    return "; ".join(part.rstrip(".") for part in parts if part)
