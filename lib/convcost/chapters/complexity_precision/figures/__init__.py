"""Figures of notebook 04: which tables each takes, and what it shows, in words."""

from convcost.chapters.complexity_precision.figures import frontier, held_out, precision_curves
from convcost.figures.spec import FigureSpec

_NOTEBOOK = "04-complexity-precision"
_TRAININGS = ("configuration_trainings",)
_REPEATED = ("configuration_trainings", "repeated_trainings")
_ALL = ("chosen_optima", "configuration_trainings", "forward_times", "repeated_trainings")

SPECS: dict[str, FigureSpec] = {
    "04-complexity": FigureSpec(
        held_out.predicted_complexity,
        ("forward_times", "configuration_trainings"),
        _NOTEBOOK,
        "The paper's Figure 1, left, redrawn: predicted against measured run time of the held-out "
        "nets on logarithmic axes, with the line of equality and a band of 2.5 %, for eq. (1) "
        "fitted in two ways and for a model with more kinds of cost; fitted nets faint; below "
        "each the relative error in percent, dotted what the noise of the times alone would give.",
    ),
    "04-one-parameter": FigureSpec(
        precision_curves.one_parameter,
        _TRAININGS,
        _NOTEBOOK,
        "Accuracy over the number of filters, the input size, the kernel size and the number of "
        "layers, one panel each: a dot a training, mean and span over the seeds, eq. (2) fitted, "
        "the level of always naming the larger class, and the paper's printed curve where it "
        "comes into view, with the value that it gives at the baseline.",
    ),
    "04-two-parameters": FigureSpec(
        precision_curves.two_parameters,
        _TRAININGS,
        _NOTEBOOK,
        "Three grids of filters against input size, kernel size and layers, as heat maps with "
        "numbers: measured accuracy, eqs. (3) to (5) fitted on the same colour scale, and what is "
        "left in percentage points.",
    ),
    "04-printed-coefficients": FigureSpec(
        precision_curves.printed_coefficients,
        (),
        _NOTEBOOK,
        "A grid of numbers: what the printed coefficients of Table I, Table II and eq. (6) give at "
        "the baseline, a column a model, a row a reading of what gamma is; the darker the further "
        "from 0.95, framed where within the paper's own error of 3.1 %.",
    ),
    "04-precision": FigureSpec(
        held_out.predicted_precision,
        _REPEATED,
        _NOTEBOOK,
        "The paper's Figure 1, right, redrawn: predicted against measured accuracy of the held-out "
        "nets with binomial error bars, the line of equality and a band of 3.1 %, for eq. (6) and "
        "for the better model, with the line of one number for all nets; below each the relative "
        "error in percent.",
    ),
    "04-models": FigureSpec(
        held_out.models,
        _REPEATED,
        _NOTEBOOK,
        "A row a model of precision: mean relative error on the held-out nets with its bootstrap "
        "interval, beside that on the fitted nets, with lines for the constant's error, half of "
        "it and the paper's 3.1 %, and bands of what noise alone would give; beside it the rank "
        "correlation.",
    ),
    "04-frontier": FigureSpec(
        frontier.frontier,
        _ALL,
        _NOTEBOOK,
        "The paper's Figure 2 redrawn: accuracy against run time of all nets of the paper's grid "
        "as a cloud, measured nets and lower envelopes of two models; beside it the least run "
        "time over accuracy, with the targets, the chosen nets as predicted, arrows to what "
        "training and timing gave, and the paper's tenfold saving at two points.",
    ),
    "04-savings": FigureSpec(
        frontier.savings,
        _ALL,
        _NOTEBOOK,
        "How many times less than the baseline the chosen nets cost at each number of points "
        "given up, in seconds (predicted and measured) and in multiply-adds, beside the paper's "
        "ten times and two bounds, the cheapest of the held-out and of all measured nets; and the "
        "accuracy that was really given up.",
    ),
}
