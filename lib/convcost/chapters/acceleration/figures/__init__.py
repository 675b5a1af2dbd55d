"""Figures of notebook 06: which tables each takes, and what it shows, in words."""

from convcost.chapters.acceleration.figures import ideas, methods, together
from convcost.figures.spec import FigureSpec

_NOTEBOOK = "06-acceleration"
_BOTH = ("accelerated_nets", "accelerated_times")

MEASURED: dict[str, FigureSpec] = {
    "06-front": FigureSpec(
        together.front,
        _BOTH,
        _NOTEBOOK,
        "Accuracy lost in points against how many times as fast a net is, on a logarithmic axis: "
        "every method of acceleration in float32, hollow, and with 8 bits, filled, with 95 % "
        "intervals over seeds. With 8 bits every net lies further right at about the same height; "
        "a line joins the nets that no other one beats in both.",
    ),
    "06-promises": FigureSpec(
        together.promises,
        _BOTH,
        _NOTEBOOK,
        "How many times as fast a net is against how many times fewer multiply-adds it has, on "
        "logarithmic axes, left for one image, right for a batch: most lie below the diagonal, "
        "nets with depthwise or grouped convolutions furthest.",
    ),
    "06-quantisation": FigureSpec(
        methods.quantisation,
        _BOTH,
        _NOTEBOOK,
        "Left the accuracy lost with weights of 8, 4, 2 and 1 bits, rounded after training and "
        "trained on while rounded: at 8 bits nothing is lost either way, at 2 and 1 bits only "
        "training keeps the net usable. Right bars of how many times as fast ONNX Runtime is than "
        "PyTorch, in float32 and with 8 bits.",
    ),
    "06-unstructured": FigureSpec(
        methods.unstructured,
        ("accelerated_nets", "sparse_weight_times"),
        _NOTEBOOK,
        "Left the accuracy lost by the share of single weights set to zero: little up to 80 or 90 "
        "percent where the net is trained on. Right how many times as fast a layer runs that skips "
        "them: slower than dense until nearly all weights are zero.",
    ),
    "06-structured": FigureSpec(
        methods.structured,
        ("accelerated_nets",),
        _NOTEBOOK,
        "Accuracy lost by the share of filters removed: not trained on, the net is lost early; "
        "after an epoch of training most comes back, nearly as much with random filters as with "
        "the smallest, and a net of that size from scratch is beside them.",
    ),
    "06-distillation": FigureSpec(
        methods.distillation,
        ("accelerated_nets",),
        _NOTEBOOK,
        "Points that a small student gains over itself alone, with 95 % intervals: for several "
        "temperatures and weights of its teacher, with a weak teacher, and alone for twice as "
        "long.",
    ),
    "06-low-rank": FigureSpec(
        methods.low_rank,
        ("accelerated_nets", "reconstruction_errors"),
        _NOTEBOOK,
        "Left the accuracy lost by the share of multiply-adds that SVD and Tucker factors keep, "
        "before and after an epoch of training. Right the relative errors of SVD factors: of the "
        "filters, of outputs before and behind ReLU, and in the whole net, where they pile up.",
    ),
    "06-blocks": FigureSpec(
        methods.blocks,
        ("removed_blocks",),
        _NOTEBOOK,
        "Bars of the accuracy lost without each of the nine residual blocks, not trained on: the "
        "first block of a stage costs most, some of the others hardly anything.",
    ),
    "06-search": FigureSpec(
        methods.search,
        ("search_trials",),
        _NOTEBOOK,
        "Points that the best net found so far lies below the best one there is, against the "
        "number of nets trained, for random search, Optuna, a fitted model and the largest net "
        "within the limit; a panel for each limit, in shares of the slowest net's time.",
    ),
}

DRAWN: dict[str, FigureSpec] = {
    f"06-idea-{name}": FigureSpec(draw, (), _NOTEBOOK, alt)
    for name, (draw, alt) in ideas.IDEAS.items()
}

SPECS: dict[str, FigureSpec] = MEASURED | DRAWN
