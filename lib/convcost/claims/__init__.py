"""The ledger: every checkable statement of the five sources, computed, with a verdict.

An entry exists for every row of `data/published/`. What makes it more than a row is its check: a
function over our results (`data/results/`, or a user's own run) and the published values that
says what we get. The verdict follows from that and from the tolerance; nobody types it.

Needs no torch.
"""

from convcost.claims.verdicts import (
    NOT_YET,
    VERDICTS,
    Check,
    Claim,
    Entry,
    Finding,
    Published,
    claims,
    evaluate,
    family,
    ledger,
    summary,
    table,
    view,
)

__all__ = [
    "NOT_YET",
    "VERDICTS",
    "Check",
    "Claim",
    "Entry",
    "Finding",
    "Published",
    "claims",
    "evaluate",
    "family",
    "ledger",
    "summary",
    "table",
    "view",
]
