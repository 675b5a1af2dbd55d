"""How a finding becomes a verdict: the words, the evidence, and the rules that hold for all.

docs/verdicts.md says the same for readers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from convcost import sources

if TYPE_CHECKING:
    from convcost.records import Results

REPRODUCED = "reproduced"
UNDER_PROTOCOL = "reproduced under protocol"
DIFFERS = "differs"
UNDECIDED = "undecided"
INCONSISTENT = "inconsistent in the source"
CONTRADICTS = "contradicts its citation"
NOT_TESTABLE = "not testable here"
NO_DATA = "not tested: data set not available"
NOT_YET = "not tested yet"
VERDICTS = (
    REPRODUCED,
    UNDER_PROTOCOL,
    DIFFERS,
    UNDECIDED,
    INCONSISTENT,
    CONTRADICTS,
    NOT_TESTABLE,
    NO_DATA,
    NOT_YET,
)

SEEDS = 3
"""Trained nets, or pairs of them, that a verdict needs at least."""

CONFIDENCE = 0.95
"""Of every interval that decides something."""


def family(verdict: str) -> str:
    """The member of `VERDICTS` that a verdict belongs to: its protocol, if any, left off.

    >>> family("reproduced under protocol 2 per multiply-add")
    'reproduced under protocol'
    """
    return max((v for v in VERDICTS if verdict.startswith(v)), key=len)


@dataclass(frozen=True)
class Evidence:
    """What a finding rests on, for a reader who wants to doubt it.

    `count` says of how many (`of`: "nets", "seeds", "repetitions", …), `low` and `high` bound the
    interval that decided, `how` says how it was computed. `stable`: of what was timed, whether the
    machine was quiet. `tried`: among how many recipes, protocols or readings this one was chosen;
    `by_chance` how many of these would fit if they had nothing to do with the printed values.
    """

    count: int | None = None
    of: str = ""
    low: float | None = None
    high: float | None = None
    how: str = ""
    stable: bool | None = None
    tried: int = 1
    by_chance: float | None = None

    def __str__(self) -> str:
        parts = []
        if self.count is not None:
            parts.append(f"{self.count:,} {self.of}")
        if self.low is not None and self.high is not None:
            how = f", {self.how}" if self.how else ""
            parts.append(f"{self.low:.3g} to {self.high:.3g}{how}")
        elif self.how:
            parts.append(self.how)
        if self.stable is not None:
            parts.append("stable" if self.stable else "not stable")
        if self.tried > 1:
            chance = "" if self.by_chance is None else f", {self.by_chance:.2g} fit by chance"
            parts.append(f"{self.tried:,} tried{chance}")
        return "; ".join(parts)


NO_EVIDENCE = Evidence()


@dataclass(frozen=True)
class Finding:
    """What a check found.

    `value` is ours, in the unit of the published value (a number, or a text for statements).
    `agrees` says whether it matches; None leaves it to the tolerance. `protocol` names what the
    source does not say and we had to assume. Four fields outrank `agrees`, in this order:
    `contradiction` is the arithmetic by which the source contradicts itself; `cited` is what the
    work says that the source cites for it, with its place; `undecidable` says why no measurement of
    this kind can tell; `undecided` what would decide, where the evidence is too small to.
    `remark` is told beside the verdict and has no say in it: a reading that would rescue a printed
    formula, a hypothesis.
    """

    value: object
    agrees: bool | None = None
    protocol: str | None = None
    contradiction: str | None = None
    cited: str | None = None
    undecidable: str | None = None
    undecided: str | None = None
    reason: str = ""
    remark: str = ""
    evidence: Evidence = NO_EVIDENCE


# --- rules for all -----------------------------------------------------------------------------


def above(
    low: float, high: float, threshold: float = 0.0, *, more: str = "more seeds"
) -> dict[str, object]:
    """`agrees` and `undecided` of a statement that holds above a threshold, by a whole interval.

    Where the threshold lies inside the interval, the evidence is too small, and `more` of it would
    decide. For `Finding(**above(…))`.

    >>> above(0.2, 0.9), above(-0.9, -0.2)["agrees"], bool(above(-0.2, 0.9)["undecided"])
    ({'agrees': True, 'undecided': None}, False, True)
    """
    if np.isnan(low) or np.isnan(high):
        return {"agrees": False, "undecided": f"there is no interval yet: {more} would give one"}
    inside = low <= threshold <= high
    told = (
        f"{threshold:g} lies inside the interval from {low:.3g} to {high:.3g}; {more} would narrow "
        "it"
    )
    return {"agrees": bool(low > threshold), "undecided": told if inside else None}


def share_of(holds: Iterable[bool], of: str, more: str = "more seeds") -> dict[str, object]:
    """`agrees`, `undecided` and `evidence` of a statement about a single net, over many of ours.

    What the source saw in its one net is reproduced where it is the rule among ours: where Wilson's
    interval of the share of nets that do it lies above one half. Where it lies below, the source's
    net was an exception; where one half is inside, that is undecided.

    >>> share_of([True] * 9 + [False], "nets")["agrees"]
    True
    """
    holds = [bool(one) for one in holds]
    low, high = wilson(sum(holds), len(holds))
    evidence = Evidence(len(holds), of, 100 * low, 100 * high, "% do it, Wilson 95 %")
    return above(low, high, 0.5, more=more) | {"evidence": evidence}


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Wilson's interval of a share, 95 %: (low, high), 0 to 1; not a number of none.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not count:
        return float("nan"), float("nan")
    from scipy import stats

    low, high = stats.binomtest(hits, count).proportion_ci(CONFIDENCE, method="wilson")
    return float(low), float(high)


def too_few(count: int, of: str) -> str | None:
    """Why so few trained nets decide nothing; None where they are enough."""
    return None if count >= SEEDS else f"{count} {of}; {SEEDS} are needed at least"


@dataclass(frozen=True)
class Tolerance:
    """How far ours may be from the published value, or when a statement holds, and why.

    `absolute` is in the value's own unit, `relative` a share of the published value; the larger
    one holds. Both 0: equality. `words`: how it reads where it is no distance.
    """

    why: str
    absolute: float = 0.0
    relative: float = 0.0
    words: str = ""

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
        """The whole rule: what is allowed, and why."""
        return f"{self.distance}: {self.why}" if self.why else self.distance

    @property
    def distance(self) -> str:
        """What is allowed."""
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


def holds(words: str, why: str = "") -> Tolerance:
    """The rule of a statement: `words` go on from "holds where"."""
    return Tolerance(why, words=f"holds where {words}")


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


Compute = Callable[["Results", Published, str], Finding]
"""A check's function: of the results, the published values and the name of the row."""


@dataclass(frozen=True)
class Check:
    """How one published row is checked.

    `compute(results, published, name)` returns a Finding. `section` is the heading of the
    notebook that shows it; `tolerance` the whole rule; `datasets` are the real sets that the
    finding needs, by table: {"datasets": "fashionmnist"} means that the table's run must have used
    that set itself.
    """

    compute: Compute
    section: str
    tolerance: Tolerance = EXACT
    datasets: tuple[tuple[str, str], ...] = field(default=())


def verdict(finding: Finding, tolerance: Tolerance, published: str) -> tuple[str, str]:
    """(verdict, reason) of a finding.

    What the source says of itself comes first, then what cannot be told, then what was found.
    """
    for word, told in (
        (INCONSISTENT, finding.contradiction),
        (CONTRADICTS, finding.cited),
        (NOT_TESTABLE, finding.undecidable),
        (UNDECIDED, finding.undecided),
    ):
        if told:
            return word, "; ".join(part for part in (told, finding.reason) if part)
    agrees = finding.agrees
    if agrees is None:
        agrees = tolerance.agrees(float(published), float(finding.value))
    if not agrees:
        return DIFFERS, finding.reason
    if finding.protocol:
        return f"{UNDER_PROTOCOL} {finding.protocol}", finding.reason
    return REPRODUCED, finding.reason
