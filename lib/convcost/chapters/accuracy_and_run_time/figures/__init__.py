"""Figures of notebook 05: which tables each takes, and what it shows, in words."""

import io

from convcost import records
from convcost.chapters.accuracy_and_run_time.figures import (
    frontier,
    known_nets,
    prediction,
    separable,
    training_compute,
)
from convcost.figures.spec import FigureSpec

_NOTEBOOK = "05-accuracy-and-run-time"
_TIMES = ("known_nets", "published_times", "known_net_times")

KNOWN: dict[str, FigureSpec] = {
    "05-training-compute": FigureSpec(
        training_compute.by_year,
        (),
        _NOTEBOOK,
        "Petaflop/s-days of the training of 27 known systems by year, on a logarithmic axis: "
        "twenty that OpenAI listed up to 2017 and seven cited since. The records rise steeply up "
        "to AlphaGo Zero, then more slowly; Moore's law, dashed, is far flatter than both.",
    ),
    "05-accuracy-flops": FigureSpec(
        known_nets.accuracy_flops,
        ("known_nets",),
        _NOTEBOOK,
        "Top-1 accuracy on ImageNet against FLOPs of one image on a logarithmic axis: a rising "
        "cloud about six points thick, ResNets in its lower part, the most accurate nets for "
        "their FLOPs joined by a line and some of them named; nets trained on more images lie "
        "higher.",
    ),
    "05-accuracy-time": FigureSpec(
        known_nets.accuracy_time,
        _TIMES,
        _NOTEBOOK,
        "Top-1 accuracy against the time of one image in three panels: this machine, an RTX 4090 "
        "and a laptop's processor. A line joins the fastest nets of each accuracy, rings mark the "
        "nets that need the fewest FLOPs for theirs: on the GPU most rings lie off the line, on "
        "the processors fewer.",
    ),
    "05-thickness": FigureSpec(
        known_nets.thickness,
        _TIMES,
        _NOTEBOOK,
        "Time of one image against FLOPs on logarithmic axes, above on an RTX 4090, below on a "
        "laptop's processor, with the band that holds nine nets in ten of equal FLOPs: wide on "
        "the GPU, half as wide on the processor.",
    ),
}

SEPARABLE: dict[str, FigureSpec] = {
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

PREDICTION: dict[str, FigureSpec] = {
    "05-prediction": FigureSpec(
        prediction.on_tables,
        ("table_scores",),
        _NOTEBOOK,
        "Mean error on unseen designs, a row for each published table: FLOPs alone are off by "
        "about half, activations and a line over totals by 15 to 25 %, a price for each kind of "
        "work by 7 to 13 %.",
    ),
    "05-prediction-here": FigureSpec(
        prediction.here,
        ("own_predictions",),
        _NOTEBOOK,
        "Predicted against measured time of one image for torchvision's nets on this machine, on "
        "logarithmic axes: by FLOPs the marks scatter widely around the diagonal, by prices that "
        "were fitted to other, made nets most lie within its band of 10 %.",
    ),
    "05-transfer": FigureSpec(
        prediction.transfer,
        ("transfer_scores",),
        _NOTEBOOK,
        "Mean error on unseen designs against the number of nets that were timed on a device: "
        "begun from another device's prices it is low from the first net on between two graphics "
        "cards, and higher from a card to a processor; a line over totals needs many nets.",
    ),
}

SPECS: dict[str, FigureSpec] = KNOWN | SEPARABLE | PREDICTION


def accuracy_frontier(run: records.Run) -> str:
    """`frontier.frontier` of this run's own tables: HTML for a notebook to display."""
    results = records.Results(run.where, run.machine)
    return frontier.frontier(*(results.table(name) for name in _TIMES))


def where_the_time_goes(estimate):
    """`prediction.where_the_time_goes` of what `predict.time` gives: an Image for a notebook.

    One picture with an alternative text; a figure that is left open would be shown once more.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image

    figure, png = prediction.where_the_time_goes(estimate), io.BytesIO()
    figure.savefig(png, format="png")
    plt.close(figure)
    alt = f"Predicted milliseconds of the dearest parts of a net, by what they go into: {estimate}."
    return Image(png.getvalue(), format="png", width=700, alt=alt)


# as `convcost.figures.accuracy_frontier` and so on, too
OFFERED = {
    "accuracy_frontier": accuracy_frontier,
    "where_the_time_goes": where_the_time_goes,
}
