"""What follows from the tables of notebook 02 (`convcost.chapters.training_time.tables`).

Every function takes tables as they are read and returns a DataFrame. Times are seconds, FLOPs
count 2 per multiply-add, shares are fractions; low and high are the quartiles unless a docstring
says otherwise. An epoch is 60,000 training and 10,000 test images. Published numbers come from
`convcost.sources`.
"""

from convcost.chapters.training_time.findings.correlation import relation, relations
from convcost.chapters.training_time.findings.hypotheses import (
    baselines,
    best_of,
    by_choice,
    forensics,
    most_epochs,
)
from convcost.chapters.training_time.findings.layers import (
    by_operator,
    no_flop_share,
    peaks,
    roofline,
    why,
)
from convcost.chapters.training_time.findings.loops import ablation, tuned
from convcost.chapters.training_time.findings.many_nets import batches, net_medians, predictors
from convcost.chapters.training_time.findings.per_epoch import (
    all_epochs,
    epochs,
    epochs_by_workers,
    extrapolation_error,
    of_one_condition,
    table_two,
)

__all__ = [
    "ablation",
    "all_epochs",
    "baselines",
    "batches",
    "best_of",
    "by_choice",
    "by_operator",
    "epochs",
    "epochs_by_workers",
    "extrapolation_error",
    "forensics",
    "most_epochs",
    "net_medians",
    "no_flop_share",
    "of_one_condition",
    "peaks",
    "predictors",
    "relation",
    "relations",
    "roofline",
    "table_two",
    "tuned",
    "why",
]
