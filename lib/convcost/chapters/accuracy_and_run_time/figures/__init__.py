"""Figures of notebook 05: which tables each takes, and what it shows, in words."""

from convcost.chapters.accuracy_and_run_time.figures import separable
from convcost.figures.spec import FigureSpec

_NOTEBOOK = "05-accuracy-and-run-time"

SPECS: dict[str, FigureSpec] = {
    "05-separable-block": FigureSpec(
        separable.block,
        ("separable_times",),
        _NOTEBOOK,
        "How many times as fast a separable convolution is as a plain one, with 95 % intervals, "
        "beside how many times fewer operations it has: above for the post's example at several "
        "batches, below for other channels and maps at one batch, each in two orders of memory.",
    ),
    "05-separable-roofline": FigureSpec(
        separable.roofline,
        ("separable_times", "separable_peaks"),
        _NOTEBOOK,
        "Achieved FLOPs per second against FLOPs per byte on logarithmic axes, under the roofs of "
        "this machine's fastest product and largest copy: the plain, the depthwise and the "
        "pointwise convolution of the post's example at the smallest and the largest batch.",
    ),
    "05-separable-accuracy": FigureSpec(
        separable.accuracy,
        ("separable_trainings", "separable_net_times"),
        _NOTEBOOK,
        "Accuracy on FashionMNIST of a plain and a separable net of one depth, of a plain net "
        "with the multiply-adds of the separable one and of a separable net with those of the "
        "plain one: every seed, mean and 95 % interval, left against multiply-adds, right against "
        "measured time.",
    ),
}
