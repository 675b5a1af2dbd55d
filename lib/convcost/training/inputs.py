"""What a training is given: its images, the arguments of its net, its seeds, its batches."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import nn

from convcost import datasets, nets
from convcost.core.errors import BadInputError
from convcost.datasets import Dataset
from convcost.training.execution import Execution, guest
from convcost.training.recipe import Recipe

Sets = str | tuple[Dataset, Dataset]


def pair(dataset: Sets) -> tuple[Dataset, Dataset]:
    """The training and the test split, loaded where a name is given."""
    if isinstance(dataset, str):
        return datasets.load(dataset, "train"), datasets.load(dataset, "test")
    both = tuple(dataset) if isinstance(dataset, tuple | list) else ()
    if len(both) != 2 or not all(isinstance(part, Dataset) for part in both):
        raise BadInputError(
            "dataset: give a name, as 'mnist', or (train, test), each from datasets.load"
        )
    if both[0].images.shape[1:] != both[1].images.shape[1:] or not all(map(len, both)):
        raise BadInputError("dataset: train and test need images, all of one shape")
    return both


def at_least(low: int, **numbers: int) -> None:
    """Refuse, by name, what is not a whole number of at least `low`."""
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < low:
            raise BadInputError(f"{name} is {number!r}: a whole number from {low} on is expected")


def arguments(
    net: str,
    sets: tuple[Dataset, Dataset],
    image: tuple[int, int, int] | None = None,
    options: Mapping | None = None,
) -> dict:
    """The arguments of `nets.build` for these images and classes; refuses what does not fit.

    `image` is the shape in which they reach the net, where that is not the sets' own.
    """
    train_set = sets[0]
    image = image or train_set.images.shape[1:]
    build = {"num_classes": len(train_set.classes), "in_channels": image[0], **(options or {})}
    # in training mode a batch of one image has no variance to normalise by: two show as much
    shape = (2, *image)
    model = nets.build(net, device="meta", **build)
    try:
        outputs = model(torch.empty(shape, device="meta"))
        fits = isinstance(outputs, torch.Tensor) and outputs.shape == (2, build["num_classes"])
        reason = "its output is not one number per class"
    except (RuntimeError, ValueError) as error:
        fits, reason = False, str(error).splitlines()[0]
    if not fits:
        wanted = "×".join(map(str, nets.get(net).input_shape))
        raise BadInputError(
            f"{net} cannot be trained on images of {'×'.join(map(str, shape[1:]))} (it is made for "
            f"{wanted}): {reason}"
        )
    return build


def new_net(
    net: str, build: dict, recipe: Recipe, seeds: dict[str, int], execution: Execution
) -> nn.Module:
    """An untrained net, on the CPU, with the weights of its seeds (from `drawn_seeds`)."""
    with guest(execution, seeds["initialisation"]):
        model = nets.build(net, **build)
        recipe.initialise(model)
    return model


def drawn_seeds(seed: int) -> dict[str, int]:
    """The seed, and the three independent ones it stands for: initialisation, order, dropout.

    By numpy's SeedSequence. Raises BadInputError for what is no integer from 0 on.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise BadInputError(f"seed is {seed!r}; it is an integer from 0 on")
    words = np.random.SeedSequence(int(seed)).generate_state(3, np.uint64)
    initialisation, order, dropout = (int(word >> np.uint64(1)) for word in words)
    return {
        "seed": int(seed),
        "initialisation": initialisation,
        "order": order,
        "dropout": dropout,
    }


def distinct_seeds(seeds: Iterable[int]) -> list[dict[str, int]]:
    """`drawn_seeds` of each; BadInputError for none at all and for one that comes twice."""
    drawn = [drawn_seeds(seed) for seed in seeds]
    if not drawn or len({own["seed"] for own in drawn}) < len(drawn):
        raise BadInputError("seeds: give at least one, and none of them twice")
    return drawn


def batch_bounds(images: int, batch: int) -> list[tuple[int, int]]:
    """First and last-but-one positions of each batch; every image is in one.

    A single image left over joins the batch before: batch normalisation has no variance of one.

    >>> batch_bounds(9, 4)
    [(0, 4), (4, 9)]
    """
    cuts = list(range(0, images, batch))
    if len(cuts) > 1 and images - cuts[-1] == 1:
        cuts.pop()
    return list(zip(cuts, [*cuts[1:], images], strict=True))
