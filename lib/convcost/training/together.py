"""Many small networks of one recipe at once, step for step, in this process.

For a GPU, which a small net alone leaves nearly idle, waiting for the next small kernel; on a CPU
`train_many` is the fast way (benchmarks/bench_training.py --together compares). Every net starts
from the weights that `train` gives its seed and sees the same images in the same order at the same
rates, so that it ends as `train` would have left it, up to rounding (and to dropout on a GPU).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from convcost.core.errors import BadInputError, ConvcostError
from convcost.datasets import Dataset
from convcost.measuring import memory
from convcost.training.execution import Execution, autocast, guest
from convcost.training.loop import (
    EVALUATION_BATCH,
    Resident,
    Sets,
    arguments,
    batch_bounds,
    distinct_seeds,
    new_net,
    pair,
)
from convcost.training.recipe import Recipe, key
from convcost.training.stacked import Dropout, stacked
from convcost.training.trained import History, Trained, own_record, shared_record

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
    `execution` of the record has the number of the latter, `together`; a CUDA graph is not
    recorded. `on_epoch(number)` is called after each epoch of each group, from 1.

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
    execution = replace(execution or Execution(), cuda_graph=False)
    left = distinct_seeds(seeds)
    if at_a_time is not None and at_a_time < 1:
        raise BadInputError(f"at_a_time is {at_a_time}; at least 1")
    build = arguments(net, sets, options=options)
    trials = [new_net(net, build, recipe, seeds, execution) for seeds in left[:2]]
    needed = _rehearsed(net, trials, sets[0], recipe, execution)
    size = at_a_time or max(1, _usable_bytes(execution) // needed)
    while left:
        size = -(-len(left) // -(-len(left) // size))  # groups of about the same size
        group = left[:size]
        begin = time.perf_counter()
        try:
            ended = _fitted(net, build, sets, recipe, group, execution, on_epoch)
        except Exception as error:
            if not memory.refused(error, size):
                raise
            ended, reason = None, f"{type(error).__name__}: {error}".splitlines()[0]
        if ended is None:
            memory.give_back()  # here, where the exception and all that its frames held are gone
            if size == 1:
                raise ConvcostError(
                    f"{net} at {recipe.batch_size} images a step does not fit into the memory of "
                    f"{execution.device} ({reason}): choose a recipe with smaller batches"
                )
            size //= 2
            continue
        seconds = (time.perf_counter() - begin) / size
        numerics = execution.numerics(together=True)
        shared = shared_record(net, build, sets, recipe, execution, together=size)
        keys = [key(net, *sets, recipe, s["seed"], options, numerics=numerics) for s in group]
        yield [
            Trained(state, shared | own_record(own, seeds, history, seconds))
            for own, seeds, (history, state) in zip(keys, group, ended, strict=True)
        ]
        left = left[size:]


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
            f"{net} cannot share its steps with others ({error}): `train` and `train_many` train "
            "it net by net"
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
    device = torch.device(execution.device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(most, int(0.8 * (torch.cuda.mem_get_info(device)[0] + unused)))


def _fitted(
    net: str,
    build: dict,
    sets: tuple[Dataset, Dataset],
    recipe: Recipe,
    seeds: list[dict[str, int]],
    execution: Execution,
    on_epoch: Callable[[int], None] | None,
) -> list[tuple[History, dict[str, torch.Tensor]]]:
    """One group from its seeds to (history, state) of each net; compare `fit`."""
    (train_set, test_set), count = sets, len(seeds)
    models = [new_net(net, build, recipe, own, execution) for own in seeds]
    orders = [torch.Generator().manual_seed(own["order"]) for own in seeds]
    draws = [torch.Generator(execution.device).manual_seed(own["dropout"]) for own in seeds]
    scaling = recipe.scaling(train_set)
    histories = [History(len(train_set), len(test_set)) for _ in seeds]
    states = [None] * count
    with guest(execution, 0):
        data, held_out = (Resident(part, scaling, execution) for part in sets)
        model = stacked(models, draws).to(execution.device)
        optimiser = recipe.optimiser_of(model, fused=execution.fused)
        bounds = batch_bounds(len(train_set), recipe.batch_size)
        steps, done = recipe.epochs * len(bounds), 0
        for epoch in range(recipe.epochs):
            begin = time.perf_counter()
            model.train()
            loss = torch.zeros(count, dtype=torch.float64, device=execution.device)
            correct = torch.zeros(count, dtype=torch.int64, device=execution.device)
            chosen = torch.stack([torch.randperm(len(train_set), generator=o) for o in orders])
            chosen = chosen.to(execution.device)
            for first, last in bounds:
                images, labels = data.batch(chosen[:, first:last].flatten())
                for weights in optimiser.param_groups:
                    weights["lr"] = recipe.rate(done, steps)
                optimiser.zero_grad(set_to_none=True)
                with autocast(execution):
                    outputs = model(images)
                    losses = functional.cross_entropy(outputs, labels, reduction="none")
                losses = losses.view(count, -1).mean(1)
                losses.sum().backward()  # no net's loss depends on the weights of another
                optimiser.step()
                # kept on the device: asking for a number makes a GPU wait
                loss += losses.detach().to(torch.float64) * (last - first)
                correct += _hits(outputs, labels, count)
                done += 1
            finite = _finite(model, loss).tolist()
            loss, correct = (loss / len(train_set)).tolist(), correct.tolist()
            epoch_s, begin = (time.perf_counter() - begin) / count, time.perf_counter()
            test_correct = _tried(model, held_out, count, execution).tolist()
            test_s = (time.perf_counter() - begin) / count
            if on_epoch:
                on_epoch(epoch + 1)
            for i, history in enumerate(histories):
                if history.diverged:
                    continue
                history.train_loss.append(loss[i] if finite[i] else None)  # JSON has no NaN
                history.train_correct.append(correct[i])
                history.test_correct.append(test_correct[i])
                history.epoch_s.append(epoch_s)
                history.test_s.append(test_s)
                if not finite[i]:
                    history.diverged, states[i] = True, _state(model, i)
            if all(history.diverged for history in histories):
                break
        model.cpu()
    states = [_state(model, i) if state is None else state for i, state in enumerate(states)]
    return list(zip(histories, states, strict=True))


def _hits(outputs: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """How many images each net names rightly: (count,)."""
    return (outputs.argmax(1) == labels).view(count, -1).sum(1)


def _tried(model: nn.Module, data: Resident, count: int, execution: Execution) -> torch.Tensor:
    """`_hits` over a whole split, in evaluation mode."""
    model.eval()
    correct = torch.zeros(count, dtype=torch.int64, device=execution.device)
    with torch.inference_mode(), autocast(execution):
        for first in range(0, len(data), EVALUATION_BATCH):
            images, labels = data.batch(slice(first, first + EVALUATION_BATCH))
            outputs = model(images.repeat(count, 1, 1, 1))
            correct += _hits(outputs, labels.repeat(count), count)
    return correct


def _finite(model: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """Whether the loss and all weights of each net are finite: (count,)."""
    finite = loss.isfinite()
    for parameter in model.parameters():
        finite &= parameter.flatten(1).isfinite().all(1)
    return finite


def _state(model: nn.Module, index: int) -> dict[str, torch.Tensor]:
    """The state dict of one net, on the CPU."""
    own = dict(model.named_parameters(remove_duplicate=False))
    return {
        name: (tensor[index] if name in own else tensor).detach().cpu().clone()
        for name, tensor in model.state_dict().items()
    }
