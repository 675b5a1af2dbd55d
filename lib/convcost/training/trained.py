"""What comes out of a training: weights, and a record of how they came about."""

import datetime
import platform
from dataclasses import asdict, dataclass, field

import torch
from torch import nn

from convcost import nets
from convcost.core import machine
from convcost.datasets import Dataset
from convcost.training.execution import Execution, guest
from convcost.training.recipe import TRAINING_VERSION, Recipe, Scaling


@dataclass
class History:
    """What happened, one entry per epoch that was finished.

    `train_correct` counts hits of the images as they passed, each before the step it was part of;
    `test_correct` after the epoch. `train_loss` is the mean over the epoch's images. `epoch_s` and
    `test_s` are wall-clock seconds. `diverged`: the loss or a weight was no longer finite; then
    the training stopped at the end of that epoch.
    """

    train_images: int
    test_images: int
    train_correct: list[int] = field(default_factory=list)
    test_correct: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    epoch_s: list[float] = field(default_factory=list)
    test_s: list[float] = field(default_factory=list)
    diverged: bool = False


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network: `state` (its state dict, on the CPU) and `record` (plain JSON values).

    The record has key, net, build (the arguments of `nets.build`), recipe, seed, seeds, status
    ("trained" or "diverged"), scaling, data, history, seconds, execution, arithmetic
    (`machine.arithmetic`), versions, machine, date.
    """

    state: dict[str, torch.Tensor]
    record: dict

    @property
    def status(self) -> str:
        return self.record["status"]

    @property
    def seconds(self) -> float:
        """Wall-clock seconds from the first initialisation to the last evaluation."""
        return self.record["seconds"]

    @property
    def seeds(self) -> dict[str, int]:
        """The seed given, and the three drawn from it."""
        return self.record["seeds"]

    @property
    def test_accuracy(self) -> list[float]:
        """Share of hits on the test split after each epoch, 0 to 1."""
        history = self.record["history"]
        return [n / history["test_images"] for n in history["test_correct"]]

    @property
    def scaling(self) -> Scaling:
        """What its inputs went through: `trained.scaling(dataset.images)` gives them again."""
        return Scaling(**{k: tuple(v) for k, v in self.record["scaling"].items()})

    def net(self) -> nn.Module:
        """The network with its trained weights, on the CPU, in evaluation mode."""
        model = nets.build(self.record["net"], **self.record["build"])
        model.load_state_dict(self.state)
        return model.eval()


def shared_record(
    net: str,
    build: dict,
    sets: tuple[Dataset, Dataset],
    recipe: Recipe,
    execution: Execution,
    **more: int,
) -> dict:
    """The part of a record that all seeds of a recipe have alike, date and machine included.

    `more` is said of the execution besides.
    """
    with guest(execution, 0):  # where cuDNN is told to be deterministic
        arithmetic = machine.arithmetic()
    return {
        "net": net,
        "build": build,
        "recipe": asdict(recipe),
        "scaling": asdict(recipe.scaling(sets[0])),
        "data": {part.split: part.row() for part in sets},
        "execution": asdict(execution) | more,
        "arithmetic": arithmetic,
        "versions": {"python": platform.python_version()}
        | {package: machine.version(package) for package in machine.PACKAGES},
        "training_version": TRAINING_VERSION,
        "machine": machine.slug(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def own_record(key: str, seeds: dict[str, int], history: History, seconds: float) -> dict:
    """The part of a record that is about one seed."""
    return {
        "key": key,
        "seed": seeds["seed"],
        "seeds": seeds,
        "status": "diverged" if history.diverged else "trained",
        "history": asdict(history),
        "seconds": seconds,
    }
