"""One network from a seed to trained weights, in this process.

The images stay in memory (on the device) as unsigned bytes for the whole process, a batch is one
indexed read, scaled on the spot; there is no DataLoader. On a CPU one thread is the default: small
nets gain more from a second process than from a second thread (benchmarks/bench_training.py has
the numbers).
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from convcost.core.errors import BadInputError
from convcost.datasets import Dataset
from convcost.training.execution import Execution, guest, placed
from convcost.training.inputs import Sets, arguments, drawn_seeds, new_net, pair
from convcost.training.pipelines import Stored
from convcost.training.recipe import Recipe, key
from convcost.training.trained import History, Trained, own_record, shared_record
from convcost.training.trainer import Trainer, run_epochs, tried


def train(
    net: str,
    dataset: Sets,
    recipe: Recipe | None = None,
    seed: int = 0,
    *,
    options: Mapping | None = None,
    execution: Execution | None = None,
    tests: bool = True,
) -> Trained:
    """One net of `convcost.nets`, trained from scratch.

    `dataset`: a name ("mnist": its train and test splits are loaded), or the two `Dataset`s. The
    net gets as many outputs as there are classes and as many input channels as the images have,
    and `options`, further arguments of its constructor. `tests`: whether the test split is tried
    after each epoch; where not, `test_accuracy` is empty (`named` tries a net afterwards).
    Everything drawn comes from `seed` (an integer from 0 on): twice the same call on one machine
    gives the same weights, bit for bit. The number of threads and the state of torch's generators
    are as before afterwards.

    Raises BadInputError for an unknown net or set, a seed that is no integer from 0 on, and images
    the net cannot take. A training that diverges is no error: see `status`.
    """
    recipe, execution = recipe or Recipe(), execution or Execution()
    sets = pair(dataset)
    build = arguments(net, sets, options=options)
    seeds = drawn_seeds(seed)
    begin = time.perf_counter()
    model = new_net(net, build, recipe, seeds, execution)
    history = fit(model, sets, recipe, seed, execution=execution, tests=tests)
    seconds = time.perf_counter() - begin
    own = key(net, *sets, recipe, seed, options, numerics=execution.numerics())
    record = shared_record(net, build, sets, recipe, execution)
    record |= own_record(own, seeds, history, seconds)
    # plain contiguous tensors, whatever memory order they were trained in
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    return Trained(state, record)


def fit(
    model: nn.Module,
    dataset: Sets,
    recipe: Recipe,
    seed: int,
    *,
    execution: Execution | None = None,
    tests: bool = True,
    on_epoch: Callable[[int], None] | None = None,
) -> History:
    """Train any module that is there, in place: (N, C, H, W) to (N, classes).

    As `train`, which builds the module first; for a net with a past, such as a smaller one to be
    trained on. The module ends on the execution's device and in its memory order, in the mode
    (training or evaluation) it came in.
    """
    execution = execution or Execution()
    sets, seeds = pair(dataset), drawn_seeds(seed)
    scaling = recipe.scaling(sets[0])
    order = torch.Generator().manual_seed(seeds["order"])
    was_training = model.training
    with guest(execution, seeds["dropout"]):
        data = tuple(Stored(part, scaling, execution) for part in sets)
        trainer = Trainer(placed(model, execution), recipe, execution)
        (history,) = run_epochs(trainer, data, recipe, [order], tests=tests, on_epoch=on_epoch)
    model.train(was_training)
    return history


def named(trained: Trained, dataset: Dataset, *, execution: Execution | None = None) -> np.ndarray:
    """The class that a trained net gives each image of a set: (N,) int64, numbers of its classes.

    Raises BadInputError for images the net cannot take.
    """
    execution = execution or Execution()
    if dataset.images.shape[1] != len(trained.scaling.scale):
        raise BadInputError(
            f"{trained.record['net']} was trained on {len(trained.scaling.scale)} channels, these "
            f"images have {dataset.images.shape[1]}"
        )
    with guest(execution, 0):
        model = placed(trained.net(), execution)
        data = Stored(dataset, trained.scaling, execution)
        given = [outputs.argmax(1) for outputs, _ in tried(model, data, execution)]
        return torch.cat(given).cpu().numpy()
