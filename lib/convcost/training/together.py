"""Many small networks of one recipe at once, step for step, in this process.

For a GPU, which a small net alone leaves nearly idle, waiting for the next small kernel; on a CPU
`train` is faster (benchmarks/bench_training.py --together compares). Every net starts from the
weights that `train` gives its seed and sees the same images in the same order at the same rates, so
that it ends as `train` would have left it, up to rounding (and to dropout on a GPU).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from convcost.core.errors import BadInputError, ConvcostError
from convcost.datasets import Dataset
from convcost.measuring import memory
from convcost.training.execution import Execution, guest, halved
from convcost.training.inputs import Sets, arguments, distinct_seeds, new_net, pair
from convcost.training.pipelines import Stored
from convcost.training.recipe import Recipe, key
from convcost.training.stacked import Dropout, stacked
from convcost.training.trained import History, Trained, own_record, shared_record
from convcost.training.trainer import EVALUATION_BATCH, Trainer, run_epochs

# What a group of nets may take, by kind of device, where as much is free. More of them make a CPU
# slower; on a GPU it is room for hundreds of LeNets, and no tensor gets near 2^31 elements, as far
# as some kernels count.
MOST_BYTES = {"cpu": 1 << 28, "cuda": 1 << 34}
TRIED_IMAGES = 8


def train_together(
    net: str,
    dataset: Sets,
    recipe: Recipe | None,
    seeds: Iterable[int],
    *,
    options: Mapping | None = None,
    execution: Execution | None = None,
    at_a_time: int | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> list[Trained]:
    """One net trained from each seed, all of them at once: a `Trained` each, in that order.

    As `train` does it for each seed alone (see there for `dataset`, `options`, `execution`); a net
    that diverges stops alone. Where not all nets fit into the memory they are trained in groups,
    of `at_a_time`, or of as many as the free memory seems to hold, halved where that was too many;
    no number depends on the groups but the times. `seconds` of a net, and its `epoch_s` and
    `test_s`, are the wall-clock seconds of its group over the nets of the group.
    `execution` of the record has the number of the latter, `together`. `on_epoch(number)` is
    called after each epoch of each group, from 1.

    Raises BadInputError for what `train` refuses, for no seeds or the same one twice, and for nets
    that cannot share a step: with batch or instance normalisation, with layers that mix the images
    of a batch or draw random numbers (but for nn.Dropout), with a weight in two places.
    ConvcostError where the memory does not hold a single net.
    """
    groups = trained_groups(
        net, pair(dataset), recipe or Recipe(), seeds, options=options, execution=execution,
        at_a_time=at_a_time, on_epoch=on_epoch,
    )  # fmt: skip
    return [trained for group in groups for trained in group]


def trained_groups(
    net: str,
    sets: tuple[Dataset, Dataset],
    recipe: Recipe,
    seeds: Iterable[int],
    *,
    options: Mapping | None = None,
    execution: Execution | None = None,
    at_a_time: int | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> Iterator[list[Trained]]:
    """What `train_together` gives, group by group as they are done."""
    execution = execution or Execution()
    left = distinct_seeds(seeds)
    if at_a_time is not None and at_a_time < 1:
        raise BadInputError(f"at_a_time is {at_a_time}; at least 1")
    build = arguments(net, sets, options=options)
    trials = [new_net(net, build, recipe, seeds, execution) for seeds in left[:2]]
    needed = _rehearsed(net, trials, sets[0], recipe, execution)
    size = at_a_time or max(1, _usable_bytes(execution) // needed)
    while left:
        size = -(-len(left) // -(-len(left) // size))  # groups of about the same size
        attempt = partial(_fitted, net, build, sets, recipe, left, execution, on_epoch)
        done, fitting, reason = halved(size, attempt)
        if done is None:
            raise ConvcostError(
                f"{net} at {recipe.batch_size} images a step does not fit into the memory of "
                f"{execution.device} ({reason}): choose a recipe with smaller batches"
            )
        (ended, seconds), size = done, fitting
        numerics = execution.numerics(together=True)
        shared = shared_record(net, build, sets, recipe, execution, together=size)
        group, left = left[:size], left[size:]
        keys = [key(net, *sets, recipe, s["seed"], options, numerics=numerics) for s in group]
        yield [
            Trained(state, shared | own_record(own, seeds, history, seconds))
            for own, seeds, (history, state) in zip(keys, group, ended, strict=True)
        ]


def _rehearsed(
    net: str,
    models: list[nn.Module],
    train_set: Dataset,
    recipe: Recipe,
    execution: Execution,
) -> int:
    """Bytes that a net takes, from a step forward of two, on the CPU.

    BadInputError where that cannot be done, or does not give what each of them gives alone.
    """
    models = (models * 2)[:2]
    chosen = np.arange(2 * TRIED_IMAGES) % len(train_set)
    images = recipe.scaling(train_set)(train_set.images[chosen])
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    try:
        with guest(execution, 0), torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
            both = stacked(models, [torch.Generator(), torch.Generator()])
            for layer in chain.from_iterable(part.train().modules() for part in (both, *models)):
                if isinstance(layer, nn.Dropout | Dropout):
                    layer.eval()
            before = torch.get_rng_state()
            outputs = both(images)
            if not torch.equal(torch.get_rng_state(), before):
                raise BadInputError("it draws random numbers outside of nn.Dropout")
            with torch.no_grad():
                alone = torch.cat([m(x) for m, x in zip(models, images.chunk(2), strict=True)])
        if not torch.allclose(outputs, alone, 1e-3, 1e-3 * alone.abs().max().item()):
            raise BadInputError("it mixes the images of a batch")
    except Exception as error:
        raise BadInputError(
            f"{net} cannot share its steps with others ({error}): `train` trains it net by net"
        ) from error
    weights = list(both.parameters())
    own = {parameter.data_ptr() for parameter in weights}
    per_image = sum(size for place, size in kept.items() if place not in own) / len(images)
    # in training the gradients of what is kept; in a trial of the test split nothing is kept long
    at_once = max(2 * min(recipe.batch_size, len(train_set)), EVALUATION_BATCH)
    # weights, gradients, two of the optimiser, and room
    return int(per_image * at_once) + 5 * sum(parameter.nbytes for parameter in weights) // 2


def _usable_bytes(execution: Execution) -> int:
    most = MOST_BYTES[execution.device_kind]
    if execution.device_kind == "cpu":
        return most
    return min(most, int(0.8 * memory.free_bytes(execution.device)))


class _Together(Trainer):
    """The trainer of a `stacked` model, with a loss for each net."""

    def losses(self, outputs, labels):
        each = functional.cross_entropy(outputs, labels, reduction="none")
        return each.view(self.nets, -1).mean(1)


def _fitted(
    net: str,
    build: dict,
    sets: tuple[Dataset, Dataset],
    recipe: Recipe,
    seeds: list[dict[str, int]],
    execution: Execution,
    on_epoch: Callable[[int], None] | None,
    count: int,
) -> tuple[list[tuple[History, dict[str, torch.Tensor]]], float]:
    """The first `count` seeds trained: ((history, state) of each net, seconds per net)."""
    begin, seeds, states = time.perf_counter(), seeds[:count], {}
    models = [new_net(net, build, recipe, own, execution) for own in seeds]
    orders = [torch.Generator().manual_seed(own["order"]) for own in seeds]
    draws = [torch.Generator(execution.device).manual_seed(own["dropout"]) for own in seeds]
    scaling = recipe.scaling(sets[0])
    with guest(execution, 0):
        data = tuple(Stored(part, scaling, execution) for part in sets)
        model = stacked(models, draws).to(execution.device)

        def keep_state(place: int) -> None:
            states[place] = _state(model, place)

        histories = run_epochs(
            _Together(model, recipe, execution, count), data, recipe, orders,
            on_epoch=on_epoch, on_divergence=keep_state,
        )  # fmt: skip
        model.cpu()
        for place in set(range(count)) - states.keys():
            keep_state(place)
    ended = [(history, states[place]) for place, history in enumerate(histories)]
    return ended, (time.perf_counter() - begin) / count


def _state(model: nn.Module, index: int) -> dict[str, torch.Tensor]:
    """The state dict of one net, on the CPU."""
    own = dict(model.named_parameters(remove_duplicate=False))
    return {
        name: (tensor[index] if name in own else tensor).detach().cpu().clone()
        for name, tensor in model.state_dict().items()
    }
