"""What follows from the tables of notebook 05 (`chapters.accuracy_and_run_time.tables`)."""

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
    shortest,
    undisturbed,
)

__all__ = [
    "accuracies",
    "block_peaks",
    "block_ratios",
    "block_roofline",
    "block_times",
    "net_comparison",
    "net_speed_ups",
    "of_example",
    "paired_accuracies",
    "shortest",
    "undisturbed",
]
