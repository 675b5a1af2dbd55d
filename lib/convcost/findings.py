"""A door for notebooks: `from convcost.findings import training_time as found`.

The findings lie in the package of their chapter; nothing in the library comes in here.
"""

from convcost.core.doors import door

__getattr__ = door(
    __name__,
    {
        "acceleration": "convcost.chapters.acceleration.findings",
        "accuracy_and_run_time": "convcost.chapters.accuracy_and_run_time.findings",
        "complexity_precision": "convcost.chapters.complexity_precision.findings",
        "training_time": "convcost.chapters.training_time.findings",
        "zero_rates": "convcost.chapters.relu_zero_rates.findings",
    },
)
