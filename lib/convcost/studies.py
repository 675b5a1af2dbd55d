"""A door for notebooks: `from convcost.studies import training_time`.

The studies lie in the package of their chapter; nothing in the library comes in here.
"""

from convcost.core.doors import door

__getattr__ = door(
    __name__,
    {
        "acceleration": "convcost.chapters.acceleration.study",
        "accuracy_and_run_time": "convcost.chapters.accuracy_and_run_time.study",
        "complexity_precision": "convcost.chapters.complexity_precision.study",
        "relu_zeros": "convcost.chapters.relu_zero_rates.study",
        "training_time": "convcost.chapters.training_time.study",
    },
)
