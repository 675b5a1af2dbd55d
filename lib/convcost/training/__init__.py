"""Training: networks, each from a seed, and kept on disk.

`train` is one net in this process (`named` what it says of images), `distil` one with a teacher,
`train_together` a family of small ones step for step on one GPU; `kept` and `kept_together` are the
same from a folder, where they are there. A `Recipe` says how, an `Execution` by which arithmetic, a
`Trained` is what comes out.

`LOOPS` are one training run in several ways, from the plain loop to the tuned one: `timed_steps`
measures steps of them, `full_epoch` whole epochs, `pipeline_times` their data pipelines alone.
"""

from convcost.training.alone import fit, named, train
from convcost.training.distilling import distil, logits
from convcost.training.epochs import full_epoch
from convcost.training.execution import Execution
from convcost.training.loops import LOOPS, Loop
from convcost.training.recipe import TRAINING_VERSION, Recipe, Scaling
from convcost.training.shelf import kept, kept_together
from convcost.training.steps import LoopRun, pipeline_times, timed_steps
from convcost.training.together import train_together
from convcost.training.trained import History, Trained

__all__ = [
    "LOOPS",
    "TRAINING_VERSION",
    "Execution",
    "History",
    "Loop",
    "LoopRun",
    "Recipe",
    "Scaling",
    "Trained",
    "distil",
    "fit",
    "full_epoch",
    "kept",
    "kept_together",
    "logits",
    "named",
    "pipeline_times",
    "timed_steps",
    "train",
    "train_together",
]
