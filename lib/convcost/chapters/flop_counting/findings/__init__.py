"""How the sources counted: their protocols, searched for and confronted with an exact count.

`printing` asks which way of printing gives the printed digits; the study counts.
"""

from convcost.chapters.flop_counting.findings.printing import (
    FIVE,
    PRINTINGS,
    PROTOCOL,
    TABLE1_ROWS,
    agreement_of_one_protocol,
    atsumi_printed,
    best_candidates,
    conventions_compared,
    halves,
    in_words,
    joint_protocols,
    ke_baseline,
    plain_against_printed,
    plain_counts,
    plainest,
    printings,
    separable_sums,
    with_printed,
)

__all__ = [
    "FIVE",
    "PRINTINGS",
    "PROTOCOL",
    "TABLE1_ROWS",
    "agreement_of_one_protocol",
    "atsumi_printed",
    "best_candidates",
    "conventions_compared",
    "halves",
    "in_words",
    "joint_protocols",
    "ke_baseline",
    "plain_against_printed",
    "plain_counts",
    "plainest",
    "printings",
    "separable_sums",
    "with_printed",
]
