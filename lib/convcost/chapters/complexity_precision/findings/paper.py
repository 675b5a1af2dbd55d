"""What Ke, Cao & Lv print, and the targets of the notebook: read from `convcost.sources`."""

from convcost import sources
from convcost.chapters.complexity_precision.findings.configurations import BASELINE, NAMES

SOURCE = "ke"
WORDS = {"filters": "filters", "input_px": "input size", "kernel_px": "kernel size"}
WORDS |= {"layers": "layers"}
T0 = {name: getattr(BASELINE, name) for name in NAMES}
HALF = 0.5
"""A model of precision must have at most half the error of a constant: ours, not the paper's."""
RANKED = 0.9
"""Rank correlation that a model of precision must reach: ours, not the paper's."""


def value(name: str) -> float:
    """The published value of a row.

    >>> value("complexity_reduction")
    10
    """
    return sources.value(SOURCE, name)
