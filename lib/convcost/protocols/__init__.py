"""How the sources counted: their protocols, searched for and confronted with an exact count.

`printing` asks which way of printing gives the printed digits (no torch); `confront` counts.
"""

from convcost.protocols.printing import (
    ATSUMI_PRINTED,
    PRINTINGS,
    TABLE1_ROWS,
    agreement_of_one_protocol,
    best_candidates,
    in_words,
    matching_protocols,
    plain_against_printed,
    plainest,
    printings,
    with_printed,
)

__all__ = [
    "ATSUMI_PRINTED",
    "PRINTINGS",
    "TABLE1_ROWS",
    "agreement_of_one_protocol",
    "best_candidates",
    "in_words",
    "matching_protocols",
    "plain_against_printed",
    "plainest",
    "printings",
    "with_printed",
]
