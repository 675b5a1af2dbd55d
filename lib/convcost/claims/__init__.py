"""The ledger: every checkable statement of the five sources, computed, with a verdict.

An entry exists for every row of `data/published/`. What makes it more than a row is its check: a
function over our results (`data/results/`, or a user's own run) and the published values that
says what we get. The verdict follows from that, from the evidence and from one set of rules
(`verdicts`); nobody types it. docs/verdicts.md says what each means.

Needs no torch.
"""

from convcost.claims.cards import Cards, view
from convcost.claims.ledger import (
    Claim,
    Entry,
    Outcome,
    claims,
    counted,
    evaluate,
    ledger,
    summary,
    table,
    why,
)
from convcost.claims.verdicts import (
    NOT_YET,
    VERDICTS,
    Check,
    Evidence,
    Finding,
    Published,
    family,
)

__all__ = [
    "NOT_YET",
    "VERDICTS",
    "Cards",
    "Check",
    "Claim",
    "Entry",
    "Evidence",
    "Finding",
    "Outcome",
    "Published",
    "claims",
    "counted",
    "evaluate",
    "family",
    "ledger",
    "summary",
    "table",
    "view",
    "why",
]
