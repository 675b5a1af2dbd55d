"""What follows from the tables of notebook 06 (`chapters.acceleration.tables`).

Every function takes tables as they are read. Losses are percentage points of accuracy, above 0
where a method is worse; speed-ups are the base's time over the net's; times are seconds of one
image. Multiply-adds are those of one image.
"""

from convcost.chapters.acceleration.findings.accuracy import (
    blocks,
    curve,
    distillation,
    last,
    losses,
    paired,
    quantisation,
    reconstruction,
    sensitivities,
)
from convcost.chapters.acceleration.findings.overview import (
    answer,
    best_of_each,
    for_practice,
    front,
    one_table,
    overview,
    within,
)
from convcost.chapters.acceleration.findings.search import (
    agreement,
    facts,
    progress,
    space,
    trials_to_reach,
)
from convcost.chapters.acceleration.findings.speed import (
    break_even,
    format_speeds,
    formats,
    prediction_errors,
    predictions,
    runtimes,
    sparse_weights,
    speed_ups,
)

__all__ = [
    "agreement",
    "answer",
    "best_of_each",
    "blocks",
    "break_even",
    "curve",
    "distillation",
    "facts",
    "for_practice",
    "format_speeds",
    "formats",
    "front",
    "last",
    "losses",
    "one_table",
    "overview",
    "paired",
    "prediction_errors",
    "predictions",
    "progress",
    "quantisation",
    "reconstruction",
    "runtimes",
    "sensitivities",
    "space",
    "sparse_weights",
    "speed_ups",
    "trials_to_reach",
    "within",
]
