"""Training: small networks, many at a time, each from a seed and kept on disk.

`train` is one net in this process, `kept` the same from a folder where it is there, `train_many` a
family of small ones over the cores, resumable. A `Recipe` says how, a `Trained` is what comes out.
"""

from convcost.training.loop import Execution, History, Trained, fit, train
from convcost.training.many import Family, train_many
from convcost.training.recipe import TRAINING_VERSION, Recipe, Scaling
from convcost.training.shelf import kept

__all__ = [
    "TRAINING_VERSION",
    "Execution",
    "Family",
    "History",
    "Recipe",
    "Scaling",
    "Trained",
    "fit",
    "kept",
    "train",
    "train_many",
]
