"""The experiments of notebook 03: zeros after ReLU, time per layer, nets with fewer filters.

`Study(profile)` has one method a table of `convcost.records.zero_rates`; each returns its rows.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from itertools import cycle

import numpy as np
import pandas as pd
import torch
from torch import nn

from convcost import (
    compress,
    datasets,
    nets,
    paths,
    sources,
    sparse,
    sweep,
    timing,
    training,
    zeros,
)
from convcost.count import count
from convcost.datasets import Dataset
from convcost.errors import BadInputError
from convcost.training import Execution, Recipe
from convcost.training.recipe import INITIALISATIONS, NORMALISATIONS

NET = "lenet_atsumi"
IMAGES_PER_DIGIT = int(sources.value("atsumi2020", "images_per_digit"))
TIMED_IMAGES = int(sources.value("atsumi2020", "timing_images"))
LEVEL = float(sources.value("atsumi2020", "background_level"))
WHOLE = "none"  # the layer and criterion of a net that lost nothing
FROM_SCRATCH = "from scratch"

# The level of -0.9 has a meaning for images of -1 to 1 only, so these are; the rest is what courses
# teach. `Recipe()` reaches a better accuracy, and is one of the others.
TEXTBOOK = Recipe(lr=1e-3, schedule="constant", epochs=5, normalisation="-1..1")

# One recipe for the four nets: without batch normalisation AlexNet and VGG16 want small steps.
FASHION_RECIPE = Recipe(lr=3e-4, batch_size=64, epochs=3)
FINE_TUNING = Recipe(lr=1e-3, epochs=1)


@dataclass(frozen=True)
class Scale:
    """How much of everything; nothing else differs between the profiles.

    `seeds` LeNets of the first recipe, `varied_seeds` of each other initialisation and
    normalisation, and of the `other` recipes as many as beside them; `train_images` of MNIST
    (None: all). `pruned_seeds` nets lose filters: `removed` says how many of which layer without
    fine-tuning, `tuned` with it, on `tuning_images`, and `from_scratch` which of the small nets are
    also trained from new weights. `repetitions` of each timing; `processes` for first calls.
    `fashion_nets` are trained on `fashion_images` of FashionMNIST at `fashion_px`, those in
    `fashion_epochs` for so many epochs, and tried on `tried_images` of its test split.
    `zero_rates` of the made inputs of the products in `sparse_cases`; these and the layers of the
    trained nets are timed `sparse_repetitions` times.
    """

    seeds: int
    varied_seeds: int
    recipe: Recipe
    other: tuple[tuple[Recipe, int], ...]
    train_images: int | None
    pruned_seeds: int
    removed: dict[str, tuple[int, ...]]
    tuned: dict[str, tuple[int, ...]]
    from_scratch: dict[str, tuple[int, ...]]
    tuning_images: int
    repetitions: int
    processes: int
    fashion_nets: tuple[str, ...]
    fashion_images: int | None
    fashion_px: int
    fashion_recipe: Recipe
    fashion_epochs: dict[str, int]
    tried_images: int
    sparse_cases: tuple[str, ...]
    zero_rates: tuple[float, ...]
    sparse_repetitions: int
    device: str = "cpu"


SPARSE_CASES = {
    "LeNet fc120, batch 1": (1, 256, 120),
    "LeNet fc120, batch 64": (64, 256, 120),
    "LeNet conv2, batch 1": (8 * 8, 6 * 5 * 5, 16),
    "AlexNet fc6, batch 1": (1, 9216, 4096),
    "AlexNet fc6, batch 8": (8, 9216, 4096),
    "AlexNet conv3, batch 1": (13 * 13, 192 * 3 * 3, 384),
}
"""Name -> (rows, inputs, outputs) of the matrix product that the layer is; AlexNet's at 224 px."""

_RATES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98, 0.99, 0.995)
_CPU = Scale(
    seeds=100,
    varied_seeds=5,
    recipe=TEXTBOOK,
    other=(
        (replace(TEXTBOOK, epochs=1), 12),
        (replace(TEXTBOOK, epochs=2), 12),
        (replace(TEXTBOOK, epochs=3), 12),
        (replace(TEXTBOOK, epochs=10), 5),
        (replace(TEXTBOOK, optimiser="sgd", lr=0.01), 5),
        (Recipe(), 100),
    ),
    train_images=None,
    pruned_seeds=20,
    removed={"conv1": (1, 2, 3, 4, 5), "conv2": (3, 6, 9, 12)},
    tuned={"conv1": (1, 2, 3, 4), "conv2": (6,)},
    from_scratch={"conv1": (2,)},
    tuning_images=20_000,
    repetitions=30,
    processes=10,
    fashion_nets=("alexnet", "vgg16", "googlenet", "resnet18"),
    fashion_images=10_000,
    fashion_px=64,
    fashion_recipe=FASHION_RECIPE,
    fashion_epochs={"vgg16": 1},  # a third of an hour an epoch on one core
    tried_images=1000,
    sparse_cases=tuple(SPARSE_CASES),
    zero_rates=_RATES,
    sparse_repetitions=10,
)
SCALES = {
    "quick": replace(
        _CPU,
        seeds=8,
        varied_seeds=1,
        # small batches make the most of few images: as many steps, at less cost
        recipe=replace(TEXTBOOK, epochs=2, batch_size=32),
        other=((replace(TEXTBOOK, epochs=1, batch_size=32), 1),),
        train_images=6_000,
        pruned_seeds=2,
        removed={"conv1": (1, 2), "conv2": (6,)},
        tuned={"conv1": (2,)},
        from_scratch={},
        tuning_images=1_000,
        repetitions=5,
        processes=1,
        fashion_nets=("alexnet",),
        fashion_images=400,
        fashion_recipe=replace(FASHION_RECIPE, epochs=1),
        fashion_epochs={},
        tried_images=100,
        sparse_cases=("LeNet fc120, batch 1", "LeNet fc120, batch 64", "AlexNet conv3, batch 1"),
        zero_rates=(0.0, 0.6, 0.95),
        sparse_repetitions=2,
    ),
    "cpu": _CPU,
    "gpu": replace(
        _CPU,
        pruned_seeds=50,
        varied_seeds=20,
        tuning_images=60_000,
        fashion_images=None,
        fashion_px=224,
        fashion_epochs={},
        device="cuda",
    ),
}


class Study:
    """The experiments at the scale of a profile, on the data that this machine has."""

    def __init__(self, profile: str, scale: Scale | None = None):
        self.profile = profile
        self.scale = scale or SCALES[profile]
        self.mnist = datasets.load("mnist", "train"), datasets.load("mnist", "test")
        self.fashion = datasets.load("fashionmnist", "train"), datasets.load("fashionmnist", "test")

    @property
    def used(self) -> tuple[Dataset, ...]:
        """The data sets, as they were found."""
        return *self.mnist, *self.fashion

    @property
    def seeds(self) -> list[int]:
        """Seeds of the LeNets of the first recipe."""
        return list(range(self.scale.seeds))

    # --- LeNets ------------------------------------------------------------------------------

    @cached_property
    def sets(self) -> tuple[Dataset, Dataset]:
        """What the LeNets are trained and tried on."""
        return _sets("mnist", self.scale.train_images)

    @cached_property
    def chosen(self) -> Dataset:
        """The paper's images: the first of each digit in the test split."""
        test = self.mnist[1]
        fewest = min(test.class_counts.values())
        return test.first(min(IMAGES_PER_DIGIT, fewest), of_each_class=True)

    def recipes(self) -> Iterator[tuple[Recipe, int]]:
        """Each recipe with its number of seeds, the first one first."""
        first = self.scale.recipe
        yield first, self.scale.seeds
        for initialisation in INITIALISATIONS:
            for normalisation in NORMALISATIONS:
                varied = replace(first, initialisation=initialisation, normalisation=normalisation)
                if varied != first:
                    yield varied, self.scale.varied_seeds
        yield from self.scale.other

    @cached_property
    def trainings(self) -> pd.DataFrame:
        """Every net of the notebook, trained where it is not there yet: a row each."""
        lenets = [
            self._lenet(recipe, seed) for recipe, seeds in self.recipes() for seed in range(seeds)
        ]
        fashion = [self._fashion(net) for net in self.scale.fashion_nets]
        done = sweep.run(
            f"{__name__}:trained_net",
            lenets + fashion,
            paths.RAW / "units" / "trainings",
            version=training.TRAINING_VERSION,
            data={part.asked: part.sha256 for part in (self.mnist[0], self.fashion[0])},
            workers=1 if self.scale.device != "cpu" else None,
            cost=_cost,
            every_s=60,
        )
        return done.rows

    def _lenet(self, recipe: Recipe, seed: int) -> dict:
        """The unit of one LeNet."""
        return {
            "net": NET,
            "dataset": "mnist",
            "recipe": asdict(recipe),
            "seed": seed,
            "train_images": self.scale.train_images,
            "test_images": None,
            "input_px": None,
            "device": self.scale.device,
        }

    def _fashion(self, net: str) -> dict:
        """The unit of one net on FashionMNIST."""
        recipe = self.scale.fashion_recipe
        epochs = self.scale.fashion_epochs.get(net, recipe.epochs)
        return {
            "net": net,
            "dataset": "fashionmnist",
            "recipe": asdict(replace(recipe, epochs=epochs)),
            "seed": 0,
            "train_images": self.scale.fashion_images,
            "test_images": self.scale.tried_images,
            "input_px": self.scale.fashion_px,
            "device": self.scale.device,
        }

    def lenet(self, recipe: Recipe | None = None, seed: int = 0) -> training.Trained:
        """One trained LeNet, of the first recipe where none is given."""
        unit = self._lenet(recipe or self.scale.recipe, seed)
        return _kept(
            self.sets, **{name: unit[name] for name in ("net", "recipe", "seed", "device")}
        )

    def lenet_trainings(self) -> pd.DataFrame:
        """One row a trained LeNet."""
        rows = self.trainings[self.trainings["net"] == NET]
        named = pd.DataFrame([_named(Recipe(**recipe)) for recipe in rows["recipe"]], rows.index)
        return _by_their_names(rows.join(named))

    @cached_property
    def _counted(self) -> pd.DataFrame:
        """Zeros per recipe, seed, layer, channel and digit, of all trained LeNets."""
        tables = []
        nets = self.trainings[self.trainings["net"] == NET]
        for row in nets[nets["status"] == "trained"].itertuples():
            recipe = Recipe(**row.recipe)
            trained = self.lenet(recipe, row.seed)
            images = trained.scaling(self.chosen.images)
            table = zeros.zero_rates(trained.net(), (images, torch.tensor(self.chosen.labels)))
            table["layer"] = table["layer"].map(table.attrs["after"])
            tables.append(table.assign(**_named(recipe), seed=row.seed))
        return pd.concat(tables).rename(columns={"class": "digit"})

    def layer_zero_rates(self) -> pd.DataFrame:
        """One row a recipe, seed, layer and digit."""
        keys = ["training", "initialisation", "normalisation", "seed", "layer", "digit"]
        return self._counted.groupby(keys, sort=False)[["zeros", "total"]].sum().reset_index()

    def filter_zero_rates(self) -> pd.DataFrame:
        """One row a seed, filter of a convolution, and digit, for the first recipe."""
        table = self._counted[self._counted["layer"].isin(["conv1", "conv2"])]
        for name, value in _named(self.scale.recipe).items():
            table = table[table[name] == value]
        return table.rename(columns={"channel": "filter"})

    def activation_maps(self) -> Iterator[dict]:
        """The first image of each digit, and its maps in the net of seed 0."""
        trained = self.lenet()
        net = trained.net()
        digits, places = np.unique(self.chosen.labels, return_index=True)
        inputs = trained.scaling(self.chosen.images[places])
        after = dict(net.named_children())
        with torch.inference_mode():
            conv1 = after["relu1"](after["conv1"](inputs))
            conv2 = after["relu2"](after["conv2"](after["pool1"](conv1)))
        grey = torch.tensor(self.chosen.images[places])
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

    def dark_pixels(self) -> Iterator[dict]:
        """Pixels at or below the paper's level, in the preparations that its text allows."""
        test = self.mnist[1]
        side = test.images.shape[-1] + 4  # LeNet-5 of 1998 takes 32 x 32
        for chosen, images in (("all", test), (f"{IMAGES_PER_DIGIT} of each digit", self.chosen)):
            padded = np.pad(images.images, ((0, 0), (0, 0), (2, 2), (2, 2)))
            for preparation, pixels in (
                ("as it is", images.images),
                (f"padded to {side} x {side}", padded),
                (f"resized to {side} x {side}", images.resized(side).images),
            ):
                # grey levels 0 to 255 to -1 to 1, as (x - 0.5) / 0.5 does with x of 0 to 1
                scaled = pixels.astype(np.float32) / 127.5 - 1
                labels = images.labels.copy()  # torch wants to be able to write
                for row in zeros.dark_pixels(scaled, labels, LEVEL).itertuples():
                    yield {
                        "preparation": preparation,
                        "chosen": chosen,
                        "digit": row[1],
                        "level": LEVEL,
                        "images": int((images.labels == row[1]).sum()),
                        "dark": row.dark,
                        "total": row.total,
                    }

    # --- time ----------------------------------------------------------------------------------

    def _inputs(self, images: int) -> torch.Tensor:
        """As many normalised test images as asked for; a small set comes round again."""
        test = self.mnist[1]
        return self.lenet().scaling(test.images[np.resize(np.arange(len(test)), images)])

    def layer_times(self) -> pd.DataFrame:
        """Each layer of the net of seed 0, at batch 1 as in the paper, and at 64."""
        tables = []
        for batch in (1, 64):
            images = self._inputs(-(-TIMED_IMAGES // batch) * batch)
            tables.append(
                timing.layer_times(
                    self.lenet().net().to(self.scale.device),
                    images,
                    batch=batch,
                    repetitions=self.scale.repetitions,
                    device=self.scale.device,
                )
            )
        return pd.concat(tables).assign(net=NET)

    def cold_layer_times(self) -> pd.DataFrame:
        """The first call of each layer in fresh processes, and later ones."""
        table = timing.cold_layer_times(
            NET, processes=self.scale.processes, device=self.scale.device
        )
        return table.assign(net=NET)

    # --- fewer filters -------------------------------------------------------------------------

    def pruned_nets(self) -> pd.DataFrame:
        """Nets of the first recipe without some filters: which, how many, what is left."""
        self.trainings  # noqa: B018 - trained here, where all cores are at it
        scale = self.scale
        plan = [
            {
                "seed": seed,
                "recipe": asdict(scale.recipe),
                "train_images": scale.train_images,
                "tuning_images": min(scale.tuning_images, len(self.sets[0])),
                "images_per_digit": len(self.chosen) // len(self.chosen.classes),
                "removals": {layer: list(counts) for layer, counts in scale.removed.items()},
                "tunings": {layer: list(counts) for layer, counts in scale.tuned.items()},
                "from_scratch": {layer: list(n) for layer, n in scale.from_scratch.items()},
                "device": scale.device,
            }
            for seed in range(scale.pruned_seeds)
        ]
        done = sweep.run(
            f"{__name__}:pruned_nets_of_seed",
            plan,
            paths.RAW / "units" / "pruned_nets",
            version=PRUNING_VERSION,
            data={part.split: part.sha256 for part in self.sets},
            workers=1 if scale.device != "cpu" else None,
            every_s=60,
        )
        return done.rows

    def pruned_times(self) -> pd.DataFrame:
        """The whole net and each smaller one, in turns; which filters went does not matter."""
        net = self.lenet().net()
        shapes = {(WHOLE, 0): net}
        for layer, counts in self.scale.removed.items():
            for removed in counts:
                shapes[layer, removed] = compress.without_filters(net, layer, range(removed))
        for small in shapes.values():
            small.to(self.scale.device)
        macs = {shape: _macs(small) for shape, small in shapes.items()}
        tables = []
        for batch in (1, 64):
            images = self._inputs(batch).to(self.scale.device)
            with torch.inference_mode():
                table = timing.interleaved(
                    {shape: _call(small, [images]) for shape, small in shapes.items()},
                    repetitions=self.scale.repetitions,
                    threads=1,
                    device=self.scale.device,
                )
            table["layer"], table["removed"] = zip(*table["case"], strict=True)
            table["macs"] = table["case"].map(macs)
            tables.append(table.assign(batch=batch, threads=1, images=batch * table["calls"]))
        return pd.concat(tables)

    # --- other nets ----------------------------------------------------------------------------

    @cached_property
    def fashion_sets(self) -> tuple[Dataset, Dataset]:
        """What AlexNet and the others are trained and tried on."""
        scale = self.scale
        return _sets("fashionmnist", scale.fashion_images, scale.tried_images, scale.fashion_px)

    @cached_property
    def fashion_trained(self) -> dict[str, training.Trained]:
        """The nets trained on FashionMNIST, by name."""
        rows = self.trainings[self.trainings["dataset"] == "fashionmnist"]
        chosen = ("net", "recipe", "seed", "device")
        return {
            row["net"]: _kept(self.fashion_sets, **{name: row[name] for name in chosen})
            for row in rows[rows["status"] == "trained"].to_dict("records")
        }

    def net_trainings(self) -> pd.DataFrame:
        """One row a net trained on FashionMNIST."""
        rows = self.trainings[self.trainings["dataset"] == "fashionmnist"]
        return _by_their_names(rows)

    def net_zero_rates(self) -> Iterator[dict]:
        """One row a ReLU of each net trained on FashionMNIST."""
        for net, trained in self.fashion_trained.items():
            images = trained.scaling(self.fashion_sets[1].images)
            table = zeros.zero_rates(trained.net(), images, by="layer", batch_size=50)
            for position, row in enumerate(table.itertuples()):
                yield {
                    "net": net,
                    "seed": trained.seeds["seed"],
                    "position": position,
                    "layer": row.layer,
                    "after": table.attrs["after"][row.layer],
                    "images": table.attrs["images"],
                    "zeros": row.zeros,
                    "total": row.total,
                }

    def _all_trained(self) -> Iterator[tuple[str, training.Trained, Dataset]]:
        """LeNet of seed 0 and the nets on FashionMNIST, with the images to try them on."""
        yield NET, self.lenet(), self.chosen
        for net, trained in self.fashion_trained.items():
            yield net, trained, self.fashion_sets[1]

    def skippable_macs(self) -> pd.DataFrame:
        """One row a convolution or linear layer of each trained net."""
        return self._skippable

    @cached_property
    def _skippable(self) -> pd.DataFrame:
        rows = []
        for net, trained, images in self._all_trained():
            table = zeros.skippable_macs(
                trained.net(), trained.scaling(images.images), batch_size=50
            )
            table = table[table["layer"] != zeros.NET].rename_axis("position").reset_index()
            seed, images = trained.seeds["seed"], table.attrs["images"]
            rows.append(table.assign(net=net, seed=seed, images=images))
        return pd.concat(rows)

    # --- sparse execution ----------------------------------------------------------------------

    def sparse_layers(self) -> pd.DataFrame:
        """Layers of the trained nets on the inputs they really get: dense, and skipping zeros."""
        tables = []
        for net, trained, images in self._all_trained():
            own = self._skippable[self._skippable["net"] == net].set_index("layer")
            shares = (own["zero_input_macs"] + own["padding_macs"]) / own["macs"]
            for batch in (1, 64) if net == NET else (1,):
                chosen = np.arange(batch * NEW_INPUTS) * 7 % len(images)  # of all classes
                inputs = trained.scaling(images.images[chosen])
                layers = sparse.layer_inputs(trained.net(), inputs)
                for position, (path, _, module, given) in enumerate(layers):
                    tables.append(
                        self._sparse_times(module, given.split(batch)).assign(
                            net=net,
                            batch=batch,
                            position=position,
                            layer=path,
                            zero_input_share=shares[path],
                        )
                    )
        return pd.concat(tables)

    def _sparse_times(
        self, layer: nn.Module | torch.Tensor, inputs: Sequence[torch.Tensor]
    ) -> pd.DataFrame:
        """Every method that can do this layer, or this weight's product, in turns."""
        with torch.inference_mode():
            table = timing.interleaved(
                dict(_methods(layer, inputs)),
                repetitions=self.scale.sparse_repetitions,
                threads=1,
            )
        return table.rename(columns={"case": "method"}).assign(threads=1)

    def sparse_sweep(self) -> pd.DataFrame:
        """Products of the shapes of three layers, over inputs of many zero rates."""
        tables = []
        for case in self.scale.sparse_cases:
            rows, inputs, outputs = SPARSE_CASES[case]
            generator = torch.Generator().manual_seed(0)
            weight = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
            for rate in self.scale.zero_rates:
                matrices = [
                    sparse.random_inputs(rows, inputs, rate, seed=seed)
                    for seed in range(NEW_INPUTS)
                ]
                tables.append(
                    self._sparse_times(weight, matrices).assign(
                        case=case, rows=rows, inputs=inputs, outputs=outputs, zero_rate=rate
                    )
                )
        return pd.concat(tables)


NEW_INPUTS = 8
"""Inputs that take turns in a timing: of one that comes again and again, the few weights that are
needed would wait in the cache."""


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


# --- in a worker: one training ---------------------------------------------------------------


def trained_net(
    net: str,
    dataset: str,
    recipe: dict,
    seed: int,
    train_images: int | None,
    test_images: int | None,
    input_px: int | None,
    device: str,
) -> list[dict]:
    """One net, trained and kept, as `Study.trainings` plans it: how it went."""
    sets = _sets(dataset, train_images, test_images, input_px)
    trained = _kept(sets, net=net, recipe=recipe, seed=seed, device=device)
    return [
        {
            "status": trained.status,
            "epochs": len(trained.test_accuracy),
            "trained_on": len(sets[0]),
            "tried_on": len(sets[1]),
            "side_px": sets[0].images.shape[-1],
            "test_correct": trained.record["history"]["test_correct"][-1],
            "seconds": trained.seconds,
        }
    ]


def _kept(sets, *, net: str, recipe: dict, seed: int, device: str) -> training.Trained:
    # LeNet is too small for bfloat16 to pay, and the other nets too large to do without it
    wide = net != NET and (device != "cpu" or _cpu_has_bf16())
    return training.kept(
        paths.RAW / "checkpoints", net, sets, Recipe(**recipe), seed,
        execution=Execution(device=device, bf16=wide),
    )  # fmt: skip


@cache
def _sets(
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


def _cost(unit: dict) -> float:
    """What a training takes, relative to others: multiply-adds, and what each batch costs."""
    side = unit["input_px"] or nets.get(unit["net"]).input_shape[-1]
    images = (unit["train_images"] or 60_000) * unit["recipe"]["epochs"]
    return images * (_macs_of(unit["net"], side) + 1e6)


@cache
def _macs_of(net: str, side: int) -> int:
    return count(nets.build(net, in_channels=1, device="meta"), (1, side, side)).macs


# --- in a worker: one seed's smaller nets ----------------------------------------------------

PRUNING_VERSION = 1  # raise it when the rows of `pruned_nets_of_seed` change


def pruned_nets_of_seed(
    seed: int,
    recipe: dict,
    train_images: int | None,
    tuning_images: int,
    images_per_digit: int,
    removals: dict[str, list[int]],
    tunings: dict[str, list[int]],
    from_scratch: dict[str, list[int]],
    device: str,
) -> list[dict]:
    """The rows of `pruned_nets` of one seed, as `Study.pruned_nets` plans them.

    Each criterion ranks the filters once, in the whole net, over the images that the zero rates
    are counted on; accuracy is that of the whole test split. Fine-tuning is `FINE_TUNING`, with
    the order of the images drawn from the same seed for every net, the whole one included.
    """
    sets = _sets("mnist", train_images)
    trained = _kept(sets, net=NET, recipe=recipe, seed=seed, device=device)
    recipe = Recipe(**recipe)
    net = trained.net()
    chosen = sets[1].first(images_per_digit, of_each_class=True)
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
        rates = compress.zero_fractions(net, layer, images)
        for criterion in compress.CRITERIA:
            order = compress.ranking(net, layer, criterion, images=images, seed=seed)
            for removed in counts:
                small = compress.without_filters(net, layer, order[:removed])
                rows.append(row(small, layer, criterion, order[:removed], rates))
                if removed in tunings.get(layer, ()):
                    rows.append(tuned(small, rows[-1], tuning, tuning_sets))
        # the control that needs no trained net: the small one from new weights, by the full recipe
        for removed in from_scratch.get(layer, ()):
            small = _with_new_weights(compress.without_filters(net, layer, range(removed)), seed)
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


def _by_their_names(trainings: pd.DataFrame) -> pd.DataFrame:
    """What a training really had, under the names of the tables, in place of what it asked for."""
    had = {"trained_on": "train_images", "tried_on": "test_images", "side_px": "input_px"}
    return trainings.drop(columns=list(had.values())).rename(columns=had)


def _named(recipe: Recipe) -> dict[str, str]:
    """The columns that name a recipe."""
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    return {
        "training": f"{recipe.optimiser} {recipe.lr:g} {recipe.schedule}, batch "
        f"{recipe.batch_size}, {epochs}",
        "initialisation": recipe.initialisation,
        "normalisation": recipe.normalisation,
    }


def _levels(maps: torch.Tensor) -> np.ndarray:
    """Maps as bytes: 0 is exactly zero, 1 to 255 from above zero to the largest of them all."""
    largest = maps.max().clamp(min=torch.finfo(torch.float32).tiny)
    return torch.ceil(maps / largest * 255).to(torch.uint8).numpy()


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 by itself: without, it is slower than float32."""
    asks = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(asks and asks())
