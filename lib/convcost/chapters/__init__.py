"""The chapters: a package for each notebook that is built, with the same parts in each.

`tables` says what its tables hold, `study` measures, `findings` says what follows from the tables,
`claims` holds its checks of published values as `CHECKS`, `figures` its figures as `SPECS`. Each
is a module or a package, and may be left out. A new notebook is a package here, a line in
`CHAPTERS`, and an .ipynb.
"""

from convcost.core.registry import Chapter

_HERE = __name__

CHAPTERS = (
    Chapter(
        "00-start-here",
        "How is this compendium read, and what has this machine got?",
        f"{_HERE}.start_here",
    ),
    Chapter(
        "01-flop-counting",
        "How many operations does a net cost, and who counts what?",
        f"{_HERE}.flop_counting",
    ),
    Chapter(
        "02-training-time",
        "Why is training time not linear in FLOPs?",
        f"{_HERE}.training_time",
        measures=True,
    ),
    Chapter(
        "03-relu-zero-rates",
        "How many outputs does ReLU zero, and what does removing filters save?",
        f"{_HERE}.relu_zero_rates",
        measures=True,
    ),
    Chapter(
        "04-complexity-precision",
        "Which is the cheapest net that is precise enough?",
        f"{_HERE}.complexity_precision",
        measures=True,
    ),
    Chapter(
        "05-accuracy-and-run-time",
        "How do accuracy, FLOPs and run time of known nets relate, and what predicts the time?",
        f"{_HERE}.accuracy_and_run_time",
        measures=True,
    ),
    Chapter(
        "06-acceleration",
        "What do quantisation, pruning and distillation really save?",
        f"{_HERE}.acceleration",
        measures=True,
    ),
    Chapter("07-verdicts", "What is left of every claim?", claims=False),
    Chapter("08-your-network", "What does your own net cost?", claims=False),
)
