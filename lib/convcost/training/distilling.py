"""Distillation: a net that learns from labels and from what a teacher says of the same images."""

import torch
from torch import nn
from torch.nn import functional

from convcost.core.errors import BadInputError
from convcost.datasets import Dataset
from convcost.training.execution import Execution, guest, placed
from convcost.training.inputs import Sets, drawn_seeds, pair
from convcost.training.pipelines import Stored
from convcost.training.recipe import Recipe
from convcost.training.trained import History
from convcost.training.trainer import Trainer, run_epochs, tried


def logits(
    model: nn.Module, part: Dataset, train: Dataset, recipe: Recipe, execution: Execution
) -> torch.Tensor:
    """What a net says of each image of a set, in evaluation mode: (N, classes), float32, CPU.

    The images are scaled as `recipe` does for the training images `train`. The module ends on the
    execution's device and in its memory order, in the mode it came in.
    """
    was_training = model.training
    with guest(execution, 0):
        data = Stored(part, recipe.scaling(train), execution)
        placed(model, execution)
        given = [outputs.float().cpu() for outputs, _ in tried(model, data, execution)]
    model.train(was_training)
    return torch.cat(given)


class _Lessons(Stored):
    """Images with, for labels, a row each: the label, then the teacher's logits."""

    def __init__(self, part: Dataset, scaling, execution: Execution, taught: torch.Tensor):
        super().__init__(part, scaling, execution)
        told = taught.to(self.device, torch.float32)
        self.labels = torch.cat([self.labels.float()[:, None], told], 1)


class _Student(Trainer):
    """A trainer whose loss has two parts; see `distil`."""

    def __init__(self, model, recipe, execution, temperature: float, weight: float):
        super().__init__(model, recipe, execution)
        self.temperature, self.weight = temperature, weight

    def losses(self, outputs, labels):
        outputs = outputs.float()
        hard, told = labels[:, 0].long(), labels[:, 1:]
        loss = (1 - self.weight) * functional.cross_entropy(outputs, hard)
        soft = functional.kl_div(
            functional.log_softmax(outputs / self.temperature, 1),
            functional.log_softmax(told / self.temperature, 1),
            reduction="batchmean", log_target=True,
        )  # fmt: skip
        return loss + self.weight * self.temperature**2 * soft

    def hits(self, outputs, labels):
        return super().hits(outputs, labels[:, 0].long() if labels.ndim > 1 else labels)


def distil(
    model: nn.Module,
    dataset: Sets,
    recipe: Recipe,
    seed: int,
    taught: torch.Tensor,
    *,
    temperature: float,
    weight: float,
    execution: Execution | None = None,
    tests: bool = True,
) -> History:
    """Train a module in place on labels and on a teacher's logits; otherwise as `fit`.

    The loss is (1 - weight) * cross-entropy with the labels + weight * temperature**2 * the
    Kullback-Leibler divergence of the softmaxes of teacher's and student's logits, both divided by
    `temperature`. `taught` (N, classes) are the teacher's logits of the training images, in their
    order (`logits`); the teacher is run once, not in every epoch, since images are not changed on
    the way. The losses in the history are of this kind.

    Raises BadInputError for logits of another shape than (training images, classes) or that are not
    finite, a temperature that is not above 0, a weight outside 0 to 1.

    Source: Hinton, Vinyals & Dean 2015, section 2.
    """
    execution = execution or Execution()
    sets, seeds = pair(dataset), drawn_seeds(seed)
    shape = (len(sets[0]), len(sets[0].classes))
    if taught.shape != shape or not taught.isfinite().all():
        raise BadInputError(
            f"the teacher's logits have the shape {tuple(taught.shape)}: finite numbers of the "
            f"shape {shape} (training images, classes) are expected"
        )
    if not temperature > 0 or not 0 <= weight <= 1:
        raise BadInputError(
            f"temperature is {temperature} and weight {weight}: above 0, and 0 to 1, are expected"
        )
    scaling = recipe.scaling(sets[0])
    order = torch.Generator().manual_seed(seeds["order"])
    was_training = model.training
    with guest(execution, seeds["dropout"]):
        lessons = _Lessons(sets[0], scaling, execution, taught)
        held_out = Stored(sets[1], scaling, execution)
        student = _Student(placed(model, execution), recipe, execution, temperature, weight)
        (history,) = run_epochs(student, (lessons, held_out), recipe, [order], tests=tests)
    model.train(was_training)
    return history
