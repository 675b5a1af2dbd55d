"""Training: small networks, many at a time, each from a seed and kept on disk.

`train` is one net in this process (`named` what it says of images), `kept` the same from a folder
where it is there; `train_together`
and `kept_together` are a family step for step on one GPU. A `Recipe` says how, a `Trained` is what
comes out.

`LOOPS` are one training run in several ways, from the plain loop to the tuned one: `timed_steps`
measures steps of them, `full_epoch` whole epochs, `pipeline_times` their data pipelines alone.
"""

from convcost.training.epochs import full_epoch
from convcost.training.execution import Execution
from convcost.training.loop import fit, named, train
from convcost.training.loops import LoopRun, pipeline_times, timed_steps
from convcost.training.recipe import TRAINING_VERSION, Recipe, Scaling
from convcost.training.session import LOOPS, Loop
from convcost.training.shelf import kept, kept_together
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
    "fit",
    "full_epoch",
    "kept",
    "kept_together",
    "named",
    "pipeline_times",
    "timed_steps",
    "train",
    "train_together",
]
