"""One small network from a seed to trained weights, in this process.

The images stay in memory (on the device) as unsigned bytes for the whole process, a batch is one
indexed read, scaled on the spot; there is no DataLoader. On a CPU one thread is the default: nets
of this size gain more from a second process than from a second thread (benchmarks/
bench_training.py has the numbers).
"""

import time
import weakref
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from convcost import datasets, nets
from convcost.core.errors import BadInputError
from convcost.datasets import Dataset
from convcost.training.execution import Execution, autocast, guest
from convcost.training.recipe import Recipe, Scaling, key
from convcost.training.trained import History, Trained, own_record, shared_record

Sets = str | tuple[Dataset, Dataset]
EVALUATION_BATCH = 500


def train(
    net: str,
    dataset: Sets,
    recipe: Recipe | None = None,
    seed: int = 0,
    *,
    options: Mapping | None = None,
    execution: Execution | None = None,
    tests: bool = True,
    on_epoch: Callable[[int], None] | None = None,
) -> Trained:
    """One net of `convcost.nets`, trained from scratch.

    `dataset`: a name ("mnist": its train and test splits are loaded), or the two `Dataset`s. The
    net gets as many outputs as there are classes and as many input channels as the images have,
    and `options`, further arguments of its constructor. `tests`: whether the test split is tried
    after each epoch; where not, `test_accuracy` is empty (`named` tries a net afterwards).
    Everything drawn comes from `seed` (an integer from 0 on): twice the same call on one machine
    gives the same weights, bit for bit. `on_epoch(number)` is called after each epoch, from 1.
    The number of threads and the state of torch's generators are as before afterwards.

    Raises BadInputError for an unknown net or set, a seed that is no integer from 0 on, and images
    the net cannot take. A training that diverges is no error: see `status`.
    """
    recipe, execution = recipe or Recipe(), execution or Execution()
    sets = pair(dataset)
    build = arguments(net, sets, options=options)
    seeds = drawn_seeds(seed)
    begin = time.perf_counter()
    model = new_net(net, build, recipe, seeds, execution)
    history = fit(model, sets, recipe, seed, execution=execution, tests=tests, on_epoch=on_epoch)
    seconds = time.perf_counter() - begin
    own = key(net, *sets, recipe, seed, options, numerics=execution.numerics())
    record = shared_record(net, build, sets, recipe, execution)
    record |= own_record(own, seeds, history, seconds)
    # plain contiguous tensors, whatever memory order they were trained in
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    return Trained(state, record)


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
    train_set, test_set = pair(dataset)
    seeds = drawn_seeds(seed)
    order = torch.Generator().manual_seed(seeds["order"])
    scaling = recipe.scaling(train_set)
    was_training = model.training
    with guest(execution, seeds["dropout"]):
        data = Resident(train_set, scaling, execution)
        held_out = Resident(test_set, scaling, execution) if tests else None
        model.to(execution.device)
        if execution.channels_last:
            model.to(memory_format=torch.channels_last)
        history = History(len(train_set), len(test_set))
        step = _Step(model, recipe.optimiser_of(model, fused=execution.fused), execution)
        if execution.cuda_graph:
            history.cuda_graph = step.record_graph(data, recipe.batch_size)
        bounds = batch_bounds(len(train_set), recipe.batch_size)
        steps, done = recipe.epochs * len(bounds), 0
        for epoch in range(recipe.epochs):
            begin = time.perf_counter()
            model.train()
            loss = torch.zeros((), dtype=torch.float64, device=execution.device)
            correct = torch.zeros((), dtype=torch.int64, device=execution.device)
            chosen = torch.randperm(len(train_set), generator=order).to(execution.device)
            for first, last in bounds:
                images, labels = data.batch(chosen[first:last])
                batch_loss, outputs = step(images, labels, recipe.rate(done, steps))
                # kept on the device: asking for a number makes a GPU wait
                loss += batch_loss.to(torch.float64) * (last - first)
                correct += (outputs.argmax(1) == labels).sum()
                done += 1
            history.train_loss.append(loss.item() / len(train_set))
            history.train_correct.append(int(correct))
            history.epoch_s.append(time.perf_counter() - begin)
            if tests:
                begin = time.perf_counter()
                history.test_correct.append(_hits(model, held_out, execution))
                history.test_s.append(time.perf_counter() - begin)
            if on_epoch:
                on_epoch(epoch + 1)
            if not _finite(history.train_loss[-1], model):
                history.diverged = True
                history.train_loss[-1] = None  # JSON has no NaN
                break
        model.train(was_training)
    return history


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


def _finite(loss: float, model: nn.Module) -> bool:
    return np.isfinite(loss) and all(bool(p.isfinite().all()) for p in model.parameters())


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
        model = trained.net().to(execution.device)
        if execution.channels_last:
            model.to(memory_format=torch.channels_last)
        data = Resident(dataset, trained.scaling, execution)
        return (
            torch.cat([outputs.argmax(1) for outputs, _ in _tried(model, data, execution)])
            .cpu()
            .numpy()
        )


def _hits(model: nn.Module, data: "Resident", execution: Execution) -> int:
    """How many images of a split the model names rightly, in evaluation mode."""
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=execution.device)
    for outputs, labels in _tried(model, data, execution):
        correct += (outputs.argmax(1) == labels).sum()
    return int(correct)


def _tried(model: nn.Module, data: "Resident", execution: Execution):
    """(outputs, labels) of a split, batch by batch."""
    with torch.inference_mode(), autocast(execution):
        for first in range(0, len(data), EVALUATION_BATCH):
            images, labels = data.batch(slice(first, first + EVALUATION_BATCH))
            yield model(images), labels


class Resident:
    """The images of a split as unsigned bytes on the device, and their batches as floats."""

    # a process trains many nets on one set: a set's tensors are made once and go with it
    _made: Mapping = weakref.WeakKeyDictionary()

    def __init__(self, dataset: Dataset, scaling: Scaling, execution: Execution):
        made = self._made.setdefault(dataset, {})
        if execution.device not in made:
            # np.array copies: torch wants a writable array, and a Dataset's is read-only
            made[execution.device] = tuple(
                torch.from_numpy(np.array(array)).to(execution.device)
                for array in (dataset.images, dataset.labels)
            )
        self.images, self.labels = made[execution.device]
        self.scale, self.shift = scaling.tensors(execution.device)
        self.channels_last = execution.channels_last

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, chosen: torch.Tensor | slice) -> tuple[torch.Tensor, torch.Tensor]:
        images = Scaling.apply(self.images[chosen], self.scale, self.shift)
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, self.labels[chosen]


class _Step:
    """One step of training: forward, loss, backward, optimiser."""

    def __init__(self, model: nn.Module, optimiser: torch.optim.Optimizer, execution: Execution):
        self.model, self.optimiser, self.execution = model, optimiser, execution
        self.graph = None

    def __call__(self, images, labels, rate: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(mean loss of the batch, outputs), before the weights were changed."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if self.graph is not None and images.shape == self.images.shape:
            self.images.copy_(images)
            self.labels.copy_(labels)
            for parameter, gradient in self.gradients:
                parameter.grad = gradient
            self.graph.replay()
            loss, outputs = self.loss, self.outputs
        else:
            loss, outputs = self._gradients(images, labels)
        self.optimiser.step()
        return loss, outputs

    def _gradients(self, images, labels):
        self.optimiser.zero_grad(set_to_none=True)
        with autocast(self.execution):
            outputs = self.model(images)
            loss = functional.cross_entropy(outputs, labels)
        loss.backward()
        return loss.detach(), outputs.detach()

    def record_graph(self, data: Resident, batch: int) -> str:
        """Record forward and backward of a whole batch on a GPU; says what came of it.

        The optimiser stays outside, so the rehearsal changes no weight; buffers (running means)
        are put back.
        """
        if batch > len(data):
            return "not recorded: no whole batch in the set"
        self.images, self.labels = data.batch(slice(0, batch))
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        try:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(3):
                    self._gradients(self.images, self.labels)
            torch.cuda.current_stream().wait_stream(aside)
            self.optimiser.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.loss, self.outputs = self._gradients(self.images, self.labels)
            self.gradients = [(p, p.grad) for p in self.model.parameters() if p.grad is not None]
            self.graph = graph
            return "recorded"
        except RuntimeError as error:
            return f"not recorded: {str(error).splitlines()[0]}"
        finally:
            for name, buffer in self.model.named_buffers():
                buffer.copy_(before[name])
