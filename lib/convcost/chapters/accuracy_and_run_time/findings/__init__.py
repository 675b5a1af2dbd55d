"""What follows from the tables of notebook 05 (`chapters.accuracy_and_run_time.tables`).

Every function takes tables as they are read. Times are seconds of one image, FLOPs count 2 per
multiply-add, accuracies and other shares are fractions, points are percentage points.
"""

from convcost.chapters.accuracy_and_run_time.findings.known_nets import (
    between_devices,
    bigger,
    correlations,
    fronts,
    left_out,
    more_data,
    same_net,
    shared_fronts,
    table_one,
    thickness,
    timed,
    windows,
)
from convcost.chapters.accuracy_and_run_time.findings.separable import (
    accuracies,
    block_peaks,
    block_ratios,
    block_roofline,
    block_times,
    net_comparison,
    net_speed_ups,
    of_example,
    paired_accuracies,
    undisturbed,
)
from convcost.chapters.accuracy_and_run_time.findings.training_compute import (
    cited_trends,
    doubling_times,
    records_of,
    systems,
)

__all__ = [
    "accuracies",
    "between_devices",
    "bigger",
    "block_peaks",
    "block_ratios",
    "block_roofline",
    "block_times",
    "cited_trends",
    "correlations",
    "doubling_times",
    "fronts",
    "left_out",
    "more_data",
    "net_comparison",
    "net_speed_ups",
    "of_example",
    "paired_accuracies",
    "records_of",
    "same_net",
    "shared_fronts",
    "systems",
    "table_one",
    "thickness",
    "timed",
    "undisturbed",
    "windows",
]
