"""What the workers of notebook 03 do: one function a kind of unit, each returns rows.

`Study` plans them. Trained nets come from the shelf, so that a net is trained once.
"""

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache, wraps
from itertools import cycle

import numpy as np
import pandas as pd
import torch
from torch import nn

from convcost import datasets, nets, training
from convcost.chapters.relu_zero_rates.study.scales import (
    FINE_TUNING,
    FROM_SCRATCH,
    IMAGES_PER_DIGIT,
    NET,
    ORIGINAL,
    TIMED_IMAGES,
    WHOLE,
)
from convcost.compression.filters import CRITERIA, ranking, without_filters, zero_fractions
from convcost.core import machine, paths
from convcost.core.errors import BadInputError
from convcost.counting.count import count
from convcost.datasets import Dataset
from convcost.measuring import sparse, timing, zeros
from convcost.measuring.timing.blocks import on_threads
from convcost.training import Execution, Recipe
from convcost.training.inputs import arguments, drawn_seeds, new_net

NEW_INPUTS = 8
"""Inputs that take turns in a timing: of one that comes again and again, the few weights that are
needed would wait in the cache."""


def _one_thread(measure: Callable[..., Iterable[dict]]) -> Callable[..., list[dict]]:
    """The same with one thread, as a worker has it, in whichever process: on busy cores two wait
    for each other, and take several times the processor time of one.
    """

    @wraps(measure)
    def run(**told) -> list[dict]:
        with on_threads(1):
            return list(measure(**told))

    return run


def _methods(
    layer: nn.Module | torch.Tensor, inputs: Sequence[torch.Tensor]
) -> Iterator[tuple[str, Callable]]:
    """(method, call) of each method that can do this; a call takes the next input."""
    make = sparse.prepare if isinstance(layer, nn.Module) else sparse.product
    for method in sparse.METHODS:
        try:
            function = make(layer, method)
            function(inputs[0])
        except BadInputError:
            continue  # what a method cannot do has no row
        yield method, _call(function, inputs)


def _call(function: Callable, inputs: Sequence[torch.Tensor]) -> Callable[[], object]:
    """The function of one input after the other, as a call without arguments."""
    turns = cycle(inputs)
    return lambda: function(next(turns))


# --- in a worker: nets -----------------------------------------------------------------------


@cache
def both_splits(
    dataset: str,
    train_images: int | None = None,
    test_images: int | None = None,
    input_px: int | None = None,
) -> tuple[Dataset, Dataset]:
    """Both splits, cut and resized; loaded once a process."""
    both = []
    for split, images in (("train", train_images), ("test", test_images)):
        part = _at_most(datasets.load(dataset, split), images)
        both.append(part if input_px is None else part.resized(input_px))
    return tuple(both)


@cache
def counted_images() -> Dataset:
    """The paper's images: the first of each digit in the test split."""
    test = datasets.load("mnist", "test")
    fewest = min(test.class_counts.values())
    return test.first(min(IMAGES_PER_DIGIT, fewest), of_each_class=True)


def kept_lenets(
    recipe: dict, seeds: list[int], train_images: int | None, together: bool, device: str
) -> list[training.Trained]:
    """LeNets of one recipe, from the shelf where they are there; else trained, all at once or not.

    Which of the two is a part of what they are: their numbers differ in the last digits.
    """
    # LeNet is too small for bfloat16 to pay
    options = {"execution": Execution(device=device)}
    told = (paths.RAW / "checkpoints", NET, both_splits("mnist", train_images), Recipe(**recipe))
    if together:
        return training.kept_together(*told, seeds, **options)
    return [training.kept(*told, seed, **options) for seed in seeds]


def _fashion(
    net: str,
    recipe: dict,
    seed: int,
    train_images: int | None,
    test_images: int | None,
    input_px: int | None,
    device: str,
) -> tuple[training.Trained, tuple[Dataset, Dataset]]:
    """A net on FashionMNIST, from the shelf where it is there, and what it was trained on."""
    sets = both_splits("fashionmnist", train_images, test_images, input_px)
    # the other nets are too large to do without bfloat16 where it is fast
    execution = Execution(device=device, bf16=device != "cpu" or machine.has_bf16())
    kept = training.kept(
        paths.RAW / "checkpoints", net, sets, Recipe(**recipe), seed, execution=execution
    )
    return kept, sets


def _row(trained: training.Trained, sets: tuple[Dataset, Dataset]) -> dict:
    """How a training went."""
    return {
        "status": trained.status,
        "epochs": len(trained.test_accuracy),
        "trained_on": len(sets[0]),
        "tried_on": len(sets[1]),
        "side_px": sets[0].images.shape[-1],
        "test_correct": trained.record["history"]["test_correct"][-1],
        "seconds": trained.seconds,
    }


def trained_lenets(seeds: list[int], train_images: int | None, **told) -> list[dict]:
    """LeNets of one recipe, trained and kept: how each went."""
    sets = both_splits("mnist", train_images)
    nets = kept_lenets(seeds=seeds, train_images=train_images, **told)
    return [{"seed": seed} | _row(trained, sets) for seed, trained in zip(seeds, nets, strict=True)]


def trained_net(**told) -> list[dict]:
    """One net on FashionMNIST, trained and kept: how it went."""
    return [_row(*_fashion(**told))]


@_one_thread
def zeros_of_lenets(seeds: list[int], filters: bool, **told) -> Iterator[dict]:
    """Zeros per seed, layer and digit, and with `filters` per filter of the convolutions."""
    chosen = counted_images()
    labels = torch.tensor(chosen.labels)
    for seed, trained in zip(seeds, kept_lenets(seeds=seeds, **told), strict=True):
        if trained.status != "trained":
            continue
        table = zeros.zero_rates(trained.net(), (trained.scaling(chosen.images), labels))
        table["layer"] = table["layer"].map(table.attrs["after"])
        table = table.rename(columns={"class": "digit", "channel": "filter"}).assign(seed=seed)
        keys = ["seed", "layer", "digit"]
        layers = table.groupby(keys, sort=False)[["zeros", "total"]].sum().reset_index()
        yield from layers.assign(filter=None).to_dict("records")
        if filters:
            convolutions = table[table["layer"].isin(["conv1", "conv2"])]
            yield from convolutions[[*keys, "filter", "zeros", "total"]].to_dict("records")


@_one_thread
def zeros_by_epoch(
    seed: int, recipe: dict, epochs: list[int], removed: int, train_images: int | None, device: str
) -> list[dict]:
    """Rows of `zero_rates_by_epoch`: one LeNet, looked at behind several of its epochs.

    At a constant rate the net behind epoch n is what a training of n epochs would have given.
    Behind the last one it is also tried without `removed` filters of conv1, of the most zeros and
    at random.
    """
    sets, chosen = both_splits("mnist", train_images), counted_images()
    recipe, execution = Recipe(**recipe), Execution(device=device)
    scaling = recipe.scaling(sets[0])
    images, test = scaling(chosen.images), scaling(sets[1].images)
    labels = torch.tensor(sets[1].labels)
    model = new_net(NET, arguments(NET, sets), recipe, drawn_seeds(seed), execution)
    rows = []

    def look(epoch: int) -> None:
        if epoch not in epochs:
            return
        net = deepcopy(model).cpu().eval()
        table = zeros.zero_rates(net, (images, torch.tensor(chosen.labels)))
        layer = table["layer"].map(table.attrs["after"])
        rates = table.groupby([layer, "channel"])[["zeros", "total"]].sum()
        of_layer = rates.groupby(level=0).sum()
        of_filter = (rates["zeros"] / rates["total"])["conv1"]
        row = {
            "epoch": epoch,
            "conv1_filters": json.dumps(of_filter.round(6).tolist()),
            **{
                f"{name}_{what}": int(of_layer.loc[name, what])
                for name in ("conv1", "conv2", "fc120", "fc84") for what in ("zeros", "total")
            },
            "test_images": len(test),
            "test_correct": _correct(net, test, labels, device),
        }  # fmt: skip
        if epoch == max(epochs):
            for column, criterion in (("high_zeros", CRITERIA[0]), ("random", CRITERIA[2])):
                order = ranking(net, "conv1", criterion, images=images, seed=seed)
                small = without_filters(net.cpu(), "conv1", order[:removed])
                row[f"without_{column}_correct"] = _correct(small, test, labels, device)
        rows.append(row)

    told = {"execution": execution, "tests": False, "on_epoch": look}
    history = training.fit(model, sets, replace(recipe, epochs=max(epochs)), seed, **told)
    status = "diverged" if history.diverged else "trained"
    return [row | {"status": status, "trained_on": len(sets[0])} for row in rows]


@_one_thread
def maps_of_lenet(**told) -> Iterator[dict]:
    """The first image of each digit, and its maps in the net of seed 0."""
    (trained,) = kept_lenets(seeds=[0], **told)
    net, chosen = trained.net(), counted_images()
    digits, places = np.unique(chosen.labels, return_index=True)
    inputs = trained.scaling(chosen.images[places])
    after = dict(net.named_children())
    with torch.inference_mode():
        conv1 = after["relu1"](after["conv1"](inputs))
        conv2 = after["relu2"](after["conv2"](after["pool1"](conv1)))
    grey = torch.tensor(chosen.images[places])
    for layer, maps in (("image", grey), ("conv1", conv1), ("conv2", conv2)):
        for digit, of_digit in zip(digits, _levels(maps), strict=True):
            for index, levels in enumerate(of_digit):
                yield {
                    "digit": int(digit),
                    "layer": layer,
                    "filter": index,
                    "side_px": levels.shape[-1],
                    "zeros": int((levels == 0).sum()),
                    "levels": base64.b64encode(levels.tobytes()).decode(),
                }


# --- in a worker: times ----------------------------------------------------------------------


def _inputs(trained: training.Trained, images: int) -> torch.Tensor:
    """As many normalised test images as asked for; a small set comes round again."""
    test = datasets.load("mnist", "test")
    return trained.scaling(test.images[np.resize(np.arange(len(test)), images)])


def layers_of_lenet(batch: int, repetitions: int, device: str, **told) -> list[dict]:
    """Each layer of the net of seed 0 on the clock."""
    (trained,) = kept_lenets(seeds=[0], device=device, **told)
    images = _inputs(trained, -(-TIMED_IMAGES // batch) * batch)
    table = timing.layer_times(
        trained.net().to(device), images, batch=batch, repetitions=repetitions, device=device
    )
    return table.to_dict("records")


def cold_layers(processes: int, device: str) -> list[dict]:
    """The first call of each layer of a new LeNet in fresh processes."""
    return timing.cold_layer_times(NET, processes=processes, device=device).to_dict("records")


def smaller_lenets(
    batch: int, removals: dict[str, list[int]], repetitions: int, device: str, **told
) -> list[dict]:
    """The whole net of seed 0 and each smaller one, in turns."""
    (trained,) = kept_lenets(seeds=[0], device=device, **told)
    net = trained.net()
    shapes = {(WHOLE, 0): net}
    for layer, counts in removals.items():
        for removed in counts:
            shapes[layer, removed] = without_filters(net, layer, range(removed))
    macs = {shape: _macs(small) for shape, small in shapes.items()}
    images = _inputs(trained, batch).to(device)
    with torch.inference_mode():
        table = timing.interleaved(
            {shape: _call(small.to(device), [images]) for shape, small in shapes.items()},
            repetitions=repetitions,
            threads=1,
            device=device,
        )
    table["layer"], table["removed"] = zip(*table["case"], strict=True)
    table["macs"] = table["case"].map(macs)
    table = table.assign(threads=1, images=batch * table["calls"])
    return table.drop(columns="case").to_dict("records")


def filter_savings(
    session: int, batch: int, removed: int, repetitions: int, device: str
) -> list[dict]:
    """Rows of `saving_times`: LeNet whole and without filters of conv1, in turns.

    New weights are as good: which filters went, and what is in the others, does not matter for the
    time of a dense net.
    """
    net = nets.build(NET, in_channels=1).eval()
    cases = {"whole": net, "smaller": without_filters(net, "conv1", range(removed))}
    images = torch.randn(
        batch, *nets.get(NET).input_shape, generator=torch.Generator().manual_seed(session)
    ).to(device)
    with torch.inference_mode():
        table = timing.interleaved(
            {case: _call(one.to(device), [images]) for case, one in cases.items()},
            repetitions=repetitions, threads=1, device=device,
        )  # fmt: skip
    table = table.assign(image_s=table["seconds"] / table["calls"] / batch)
    wide = table.pivot(index="repetition", columns="case", values="image_s")
    return [
        {"threads": 1, "repetition": int(repetition), "whole_s": row["whole"],
         "smaller_s": row["smaller"]}
        for repetition, row in wide.iterrows()
    ]  # fmt: skip


@_one_thread
def original_lenet(seed: int, recipe: dict, train_images: int | None, device: str) -> list[dict]:
    """One row of `original_trainings`: the LeNet-5 of 1998, on MNIST brought to its 32 pixels."""
    side = nets.get(ORIGINAL).input_shape[-1]
    sets = both_splits("mnist", train_images, None, side)
    trained = training.train(
        ORIGINAL, sets, Recipe(**recipe), seed, execution=Execution(device=device)
    )
    return [_row(trained, sets)]


# --- in a worker: zeros of all nets, and skipping them ---------------------------------------


def _any_net(net: str, **told) -> tuple[training.Trained, Dataset]:
    """LeNet on MNIST, or another net on FashionMNIST, of seed 0, and the images to try it on."""
    if net == NET:
        told = {name: of for name, of in told.items() if name not in ("test_images", "input_px")}
        return kept_lenets(seeds=[0], **told)[0], counted_images()
    trained, sets = _fashion(net, seed=0, **told)
    return trained, sets[1]


@_one_thread
def zeros_of_net(net: str, **told) -> Iterator[dict]:
    """A row of kind "zeros" a ReLU, and one of kind "skippable" a layer with multiply-adds."""
    trained, images = _any_net(net, **told)
    if trained.status != "trained":
        return
    inputs = trained.scaling(images.images)
    table = zeros.zero_rates(trained.net(), inputs, by="layer", batch_size=50)
    after, images = table["layer"].map(table.attrs["after"]), table.attrs["images"]
    table = table.assign(kind="zeros", seed=0, after=after, images=images)
    yield from table.rename_axis("position").reset_index().to_dict("records")
    table = zeros.skippable_macs(trained.net(), inputs, batch_size=50)
    table = table[table["layer"] != zeros.NET].assign(kind="skippable", seed=0, images=images)
    yield from table.rename_axis("position").reset_index().to_dict("records")


@_one_thread
def zeros_of_alexnet(seed: int, **told) -> Iterator[dict]:
    """Rows of `alexnet_zero_rates`: an AlexNet of one seed, trained, and the zeros of its ReLUs."""
    trained, sets = _fashion("alexnet", seed=seed, **told)
    if trained.status != "trained":
        return
    inputs = trained.scaling(sets[1].images)
    table = zeros.zero_rates(trained.net(), inputs, by="layer", batch_size=50)
    after, images = table["layer"].map(table.attrs["after"]), table.attrs["images"]
    table = table.assign(net="alexnet", after=after, images=images)
    yield from table.rename_axis("position").reset_index().to_dict("records")


@_one_thread
def sparse_layers_of(net: str, batch: int, repetitions: int, **told) -> Iterator[dict]:
    """Each layer of a trained net on the inputs it really gets: dense, and skipping zeros."""
    trained, images = _any_net(net, **told)
    if trained.status != "trained":
        return
    chosen = np.arange(batch * NEW_INPUTS) * 7 % len(images)  # of all classes
    layers = sparse.layer_inputs(trained.net(), trained.scaling(images.images[chosen]))
    for position, (path, _, module, given) in enumerate(layers):
        table = _sparse_times(module, given.split(batch), repetitions)
        yield from table.assign(position=position, layer=path).to_dict("records")


@_one_thread
def sparse_products_of(
    case: str, shape: list[int], zero_rates: list[float], repetitions: int, device: str
) -> Iterator[dict]:
    """Products of one shape, over inputs of many zero rates; always on the processor."""
    rows, inputs, outputs = shape
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
    for rate in zero_rates:
        matrices = [
            sparse.random_inputs(rows, inputs, rate, seed=seed) for seed in range(NEW_INPUTS)
        ]
        table = _sparse_times(weight, matrices, repetitions)
        table = table.assign(rows=rows, inputs=inputs, outputs=outputs, zero_rate=rate)
        yield from table.to_dict("records")


def _sparse_times(
    layer: nn.Module | torch.Tensor, inputs: Sequence[torch.Tensor], repetitions: int
) -> pd.DataFrame:
    """Every method that can do this layer, or this weight's product, in turns."""
    with torch.inference_mode():
        table = timing.interleaved(
            dict(_methods(layer, inputs)), repetitions=repetitions, threads=1
        )
    return table.rename(columns={"case": "method"}).assign(threads=1)


# --- how long it takes -----------------------------------------------------------------------


@cache
def _macs_of(net: str, input_px: int | None) -> int:
    side = input_px or nets.get(net).input_shape[-1]
    return count(nets.build(net, in_channels=1, device="meta"), (1, side, side)).macs


def _lenets_s(unit: dict) -> float:
    """Seconds of LeNets: 3.1 an epoch each on one core, as the reference run had them."""
    epoch_s = 3.1 if unit["device"] == "cpu" else 0.05
    images = unit["train_images"] or 60_000
    return 1.0 + epoch_s * unit["recipe"]["epochs"] * len(unit.get("seeds", [0])) * images / 60_000


def _net_s(unit: dict) -> float:
    """Seconds of a training: multiply-adds a second, and what each image costs besides."""
    per_s = 1e10 if unit["device"] == "cpu" else 2e13
    images = (unit["train_images"] or 60_000) * unit["recipe"]["epochs"]
    return 1.0 + images * (_macs_of(unit["net"], unit["input_px"]) + 1e6) / per_s


def _pruned_s(unit: dict) -> float:
    tunings = len(CRITERIA) * sum(map(len, unit["tunings"].values()))
    epochs = unit["tuning_images"] / 60_000 * (1 + tunings)
    again = sum(map(len, unit["from_scratch"].values())) * unit["recipe"]["epochs"]
    tried = 0.15 * len(CRITERIA) * sum(map(len, unit["removals"].values()))
    return tried + (epochs + again) * (3.1 if unit["device"] == "cpu" else 0.8)


def _tried_s(unit: dict) -> float:
    """Some images through a trained net; the notebook's card has the minutes that it gives."""
    per_s = 5e10 if unit["device"] == "cpu" else 2e11
    images = unit["test_images"] or 10 * IMAGES_PER_DIGIT
    return 1.0 + 3 * images * _macs_of(unit["net"], unit["input_px"]) / per_s


def _products_s(unit: dict) -> float:
    each_s = 0.1 + 1.2e-8 * math.prod(unit["shape"])
    return each_s * unit["repetitions"] * len(unit["zero_rates"])


COSTS: dict[str, Callable[[dict], float]] = {
    "trained_lenets": _lenets_s,
    "zeros_of_lenets": lambda unit: 1.0 + 0.15 * len(unit["seeds"]),
    "zeros_by_epoch": lambda unit: _lenets_s(
        unit | {"recipe": unit["recipe"] | {"epochs": max(unit["epochs"])}}
    ),
    "maps_of_lenet": lambda unit: 1.0,
    "layers_of_lenet": lambda unit: unit["repetitions"] * TIMED_IMAGES / unit["batch"] * 1.5e-3,
    "cold_layers": lambda unit: 6.0 * unit["processes"],
    "smaller_lenets": lambda unit: 2.0 + 0.5 * unit["repetitions"],
    "filter_savings": lambda unit: 2.0 + 0.03 * unit["repetitions"],
    "original_lenet": lambda unit: 4 * _lenets_s(unit),
    "pruned_nets_of_seed": _pruned_s,
    "trained_net": _net_s,
    "zeros_of_net": _tried_s,
    "zeros_of_alexnet": lambda unit: _net_s(unit | {"net": "alexnet"}),
    "sparse_layers_of": lambda unit: _tried_s(unit) + 3.0 * unit["repetitions"],
    "sparse_products_of": _products_s,
}


# --- in a worker: one seed's smaller nets ----------------------------------------------------


@_one_thread
def pruned_nets_of_seed(
    seed: int,
    tuning_images: int,
    removals: dict[str, list[int]],
    tunings: dict[str, list[int]],
    from_scratch: dict[str, list[int]],
    **told,
) -> list[dict]:
    """The rows of `pruned_nets` of one seed, as `Study.pruned_nets` plans them.

    Each criterion ranks the filters once, in the whole net, over the images that the zero rates
    are counted on; accuracy is that of the whole test split. Fine-tuning is `FINE_TUNING`, with
    the order of the images drawn from the same seed for every net, the whole one included.
    """
    sets = both_splits("mnist", told["train_images"])
    (trained,) = kept_lenets(seeds=[seed], **told)
    recipe, device = Recipe(**told["recipe"]), told["device"]
    net, chosen = trained.net(), counted_images()
    images = trained.scaling(chosen.images)
    test = trained.scaling(sets[1].images)
    labels = torch.tensor(sets[1].labels)
    tuning = replace(FINE_TUNING, normalisation=recipe.normalisation)
    tuning_sets = _at_most(sets[0], tuning_images), sets[1]

    def row(small: nn.Module, layer: str, criterion: str, chosen_filters=(), rates=None) -> dict:
        names = dict(net.named_modules())
        return {
            "layer": layer,
            "criterion": criterion,
            "removed": len(chosen_filters),
            "filters": names[layer].out_channels if layer != WHOLE else 0,
            "fine_tuned": False,
            "removed_zero_fraction": None if rates is None else float(rates[chosen_filters].mean()),
            "layer_macs": None if layer == WHOLE else _macs(small, layer),
            "macs": _macs(small),
            "test_images": len(test),
            "test_correct": _correct(small, test, labels, device),
        }

    def tuned(small: nn.Module, before: dict, by: Recipe, on) -> dict:
        small = deepcopy(small)
        training.fit(small, on, by, seed, execution=Execution(device=device))
        return before | {
            "fine_tuned": True, "test_correct": _correct(small, test, labels, device),
        }  # fmt: skip

    rows = [row(net, WHOLE, WHOLE)]
    rows.append(tuned(net, rows[0], tuning, tuning_sets))
    for layer, counts in removals.items():
        rates = zero_fractions(net, layer, images)
        for criterion in CRITERIA:
            order = ranking(net, layer, criterion, images=images, seed=seed)
            for removed in counts:
                small = without_filters(net, layer, order[:removed])
                rows.append(row(small, layer, criterion, order[:removed], rates))
                if removed in tunings.get(layer, ()):
                    rows.append(tuned(small, rows[-1], tuning, tuning_sets))
        # the control that needs no trained net: the small one from new weights, by the full recipe
        for removed in from_scratch.get(layer, ()):
            small = _with_new_weights(without_filters(net, layer, range(removed)), seed)
            before = row(small, layer, FROM_SCRATCH, list(range(removed)))
            rows.append(tuned(small, before, recipe, sets))
    return rows


def _with_new_weights(model: nn.Module, seed: int) -> nn.Module:
    """The same layers with weights as torch draws them, from a seed of their own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(10_000 + seed)
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    return model


def _correct(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, device: str) -> int:
    """How many images the model names rightly."""
    model = model.to(device).eval()
    with torch.inference_mode():
        hits = [
            (model(part.to(device)).argmax(1).cpu() == of_part).sum()
            for part, of_part in zip(images.split(500), labels.split(500), strict=True)
        ]
    return int(sum(hits))


def _macs(model: nn.Module, layer: str | None = None) -> int:
    """Multiply-adds of one image in a LeNet, or in one layer of it."""
    table = count(model, nets.get(NET).input_shape).table
    return int(
        table["macs"].sum() if layer is None else table["macs"][table["path"] == layer].sum()
    )


def _at_most(dataset: Dataset, images: int | None) -> Dataset:
    """The first `images` of a set; the set itself where it has no more, or for None."""
    return dataset if images is None or images >= len(dataset) else dataset.first(images)


def _levels(maps: torch.Tensor) -> np.ndarray:
    """Maps as bytes: 0 is exactly zero, 1 to 255 from above zero to the largest of them all."""
    largest = maps.max().clamp(min=torch.finfo(torch.float32).tiny)
    return torch.ceil(maps / largest * 255).to(torch.uint8).numpy()
