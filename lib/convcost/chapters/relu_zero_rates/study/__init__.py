"""The experiments of notebook 03: zeros after ReLU, time per layer, nets with fewer filters.

`Study(profile)` has one method a table of `chapters.relu_zero_rates.tables`; each returns its rows.
All that is measured is a unit of a sweep (`measurements`), and kept under `data/raw/`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import cached_property

import numpy as np
import pandas as pd

from convcost import datasets, records
from convcost.chapters.relu_zero_rates.study import measurements as relu_measurements
from convcost.chapters.relu_zero_rates.study.scales import (
    BATCHES,
    IMAGES_PER_DIGIT,
    LEVEL,
    NET,
    REMOVED,
    SCALES,
    SMOKE,
    SPARSE_CASES,
)
from convcost.datasets import Dataset
from convcost.measuring import zeros
from convcost.sweep import Planned, study
from convcost.sweep.study import Part
from convcost.training import Recipe
from convcost.training.recipe import INITIALISATIONS, NORMALISATIONS

SHORT_S = 15.0  # of training in all: done before workers would be ready


class Study(study.Study):
    """The experiments at the scale of a profile, on the data that this machine has."""

    notebook = "03-relu-zero-rates"
    measurements = relu_measurements.__name__
    scales, smoke_scale = SCALES, SMOKE

    @cached_property
    def mnist(self) -> tuple[Dataset, Dataset]:
        """Both splits."""
        return datasets.load("mnist", "train"), datasets.load("mnist", "test")

    @cached_property
    def fashion(self) -> tuple[Dataset, Dataset]:
        """Both splits."""
        return datasets.load("fashionmnist", "train"), datasets.load("fashionmnist", "test")

    @property
    def used(self) -> tuple[Dataset, ...]:
        """The data sets, as they were found."""
        return *self.mnist, *self.fashion

    @property
    def seeds(self) -> list[int]:
        """Seeds of the LeNets of the first recipe."""
        return list(range(self.scale.seeds))

    def parts(self) -> dict[str, Part]:
        """What a machine measures, the most valuable first; each needs the nets of those before."""
        return {
            "lenets": Part(
                "LeNets of all recipes and seeds, trained, and their zeros counted",
                (self._lenets, self._zeros, self._maps, self._watched, self._originals),
                essential=True,
            ),
            "times": Part(
                "every layer of LeNet on the clock, warm and cold; whole nets with fewer filters",
                (self._layers, self._cold, self._smaller, self._savings),
                essential=True,
            ),
            "pruning": Part(
                "nets that lost filters, and what fine-tuning brings back",
                (self._pruned,),
                essential=True,
            ),
            "other-nets": Part(
                "other nets on FashionMNIST, trained, and their zeros",
                (self._fashion_nets, self._net_zeros, self._alexnets),
                essential=True,
            ),
            "sparse": Part(
                "skipping zeros: layers of the trained nets, and products of made inputs",
                (self._sparse_layers, self._sparse_products),
                essential=True,
            ),
        }

    def _sweep(
        self,
        function: str,
        plan: Iterable[dict],
        **options,
    ) -> Planned:
        """What a function of this module says of each configuration."""
        shared = {"device": self.scale.device}
        data = {part.asked: part.sha256 for part in (self.mnist[0], self.fashion[0])}
        return self.planned(
            function, [unit | shared for unit in plan],
            data=data, cost=relu_measurements.COSTS[function], **options,
        )  # fmt: skip

    def _clocked(self, function: str, plan: Iterable[dict]) -> Planned:
        """The same of what is timed: one after the other, tried once."""
        return self._sweep(function, plan, attempts=1, **self._short)

    @property
    def _short(self) -> dict:
        """Who does short units: on a processor this process, on a GPU one of their own."""
        return {"workers": 1, "here": self.scale.device == "cpu"}

    def _training(self, function: str, plan: Iterable[dict]) -> Planned:
        """The same of what trains: a GPU is shared by none, and no worker is started for less time
        than its start takes.
        """
        on_cpu = self.scale.device == "cpu"
        options = {"timed": False, "workers": None if on_cpu else 1}
        planned = self._sweep(function, plan, **options)
        short = on_cpu and sum(map(planned.cost, planned.configurations)) < SHORT_S
        return replace(planned, options=planned.options | {"here": short})

    # --- LeNets ------------------------------------------------------------------------------

    @cached_property
    def sets(self) -> tuple[Dataset, Dataset]:
        """What the LeNets are trained and tried on."""
        return relu_measurements.both_splits("mnist", self.scale.train_images)

    @cached_property
    def chosen(self) -> Dataset:
        """The paper's images: the first of each digit in the test split."""
        return relu_measurements.counted_images()

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

    def _of_lenet(self, recipe: Recipe | None = None) -> dict:
        """What a unit has to know of a LeNet, but for its seed."""
        return {
            "recipe": asdict(recipe or self.scale.recipe),
            "train_images": self.scale.train_images,
            "together": self.scale.together,
        }

    @property
    def _lenets(self) -> Planned:
        """A unit a net; or one for all nets of a recipe, which are trained together."""
        plan = [
            self._of_lenet(recipe) | {"seeds": group}
            for recipe, seeds in self.recipes()
            for group in (
                [list(range(seeds))] if self.scale.together else [[seed] for seed in range(seeds)]
            )
        ]
        return self._training("trained_lenets", plan)

    @cached_property
    def _lenet_rows(self) -> pd.DataFrame:
        """Every LeNet, trained where it is not there yet: a row each."""
        return self.done(self._lenets).rows

    @cached_property
    def _fashion_rows(self) -> pd.DataFrame:
        """Every other net, trained where it is not there yet: a row each."""
        return self.done(self._fashion_nets).rows

    def _after_training(self, planned: Planned) -> pd.DataFrame:
        """The rows of a sweep over trained nets: all cores train these first, a net only once."""
        self._lenet_rows, self._fashion_rows  # noqa: B018
        return self.done(planned).rows

    def lenet_trainings(self) -> pd.DataFrame:
        """One row a trained LeNet."""
        return study.typed(_by_their_names(_with_recipe(self._lenet_rows)), "lenet_trainings")

    @property
    def _zeros(self) -> Planned:
        plan = [
            self._of_lenet(recipe)
            | {"seeds": list(range(seeds))[first : first + 25], "filters": number == 0}
            for number, (recipe, seeds) in enumerate(self.recipes())
            for first in range(0, seeds, 25)
        ]
        return self._sweep("zeros_of_lenets", plan, timed=False, **self._short)

    @cached_property
    def _counted(self) -> pd.DataFrame:
        """Zeros per recipe, seed, layer, digit, and for the first recipe filter, of all LeNets."""
        return _with_recipe(self._after_training(self._zeros).reindex(columns=_ZEROS))

    def layer_zero_rates(self) -> pd.DataFrame:
        """One row a recipe, seed, layer and digit."""
        rows = self._counted
        return study.typed(rows[rows["filter"].isna()], "layer_zero_rates")

    def filter_zero_rates(self) -> pd.DataFrame:
        """One row a seed, filter of a convolution, and digit, for the first recipe."""
        rows = self._counted
        return study.typed(rows[rows["filter"].notna()], "filter_zero_rates")

    @property
    def _originals(self) -> Planned:
        plan = [
            {"recipe": asdict(self.scale.original_recipe), "seed": seed,
             "train_images": self.scale.train_images}
            for seed in range(self.scale.original_seeds)
        ]  # fmt: skip
        return self._training("original_lenet", plan)

    def original_trainings(self) -> pd.DataFrame:
        """One row a LeNet-5 of 1998."""
        rows = self.done(self._originals).rows
        return study.typed(_by_their_names(rows), "original_trainings")

    @property
    def _watched(self) -> Planned:
        plan = [
            {"recipe": asdict(recipe), "epochs": list(self.scale.watched_epochs), "seed": seed,
             "removed": REMOVED, "train_images": self.scale.train_images}
            for recipe in self.scale.watched
            for seed in range(self.scale.watched_seeds)
        ]  # fmt: skip
        return self._training("zeros_by_epoch", plan)

    def zero_rates_by_epoch(self) -> pd.DataFrame:
        """One row a recipe, seed and epoch: its zero rates, all four layers of one net together."""
        rows = self.done(self._watched).rows.reindex(columns=_WATCHED)
        both = zip(rows["recipe"], rows["epoch"], strict=True)
        told = _with_recipe(rows.assign(recipe=[recipe | {"epochs": n} for recipe, n in both]))
        told = told.drop(columns="train_images").rename(columns={"trained_on": "train_images"})
        return study.typed(told, "zero_rates_by_epoch")

    @property
    def _maps(self) -> Planned:
        return self._sweep("maps_of_lenet", [self._of_lenet()], timed=False, **self._short)

    def activation_maps(self) -> pd.DataFrame:
        """The first image of each digit, and its maps in the net of seed 0."""
        return study.typed(self._after_training(self._maps), "activation_maps")

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

    @property
    def _layers(self) -> Planned:
        plan = [
            self._of_lenet() | {"batch": batch, "repetitions": self.scale.repetitions}
            for batch in BATCHES
        ]
        return self._clocked("layers_of_lenet", plan)

    def layer_times(self) -> pd.DataFrame:
        """Each layer of the net of seed 0, at batch 1 as in the paper, and at 64."""
        rows = self._after_training(self._layers)
        return study.typed(rows.assign(net=NET), "layer_times")

    @property
    def _cold(self) -> Planned:
        return self._clocked("cold_layers", [{"processes": self.scale.processes}])

    def cold_layer_times(self) -> pd.DataFrame:
        """The first call of each layer in fresh processes, and later ones."""
        return study.typed(self.done(self._cold).rows.assign(net=NET), "cold_layer_times")

    @property
    def _smaller(self) -> Planned:
        removed = {layer: list(counts) for layer, counts in self.scale.removed.items()}
        plan = [
            self._of_lenet()
            | {"batch": batch, "removals": removed, "repetitions": self.scale.repetitions}
            for batch in BATCHES
        ]
        return self._clocked("smaller_lenets", plan)

    def pruned_times(self) -> pd.DataFrame:
        """The whole net and each smaller one, in turns; which filters went does not matter."""
        return study.typed(self._after_training(self._smaller), "pruned_times")

    @property
    def _savings(self) -> Planned:
        """Batches take turns, so that a slow minute hits both."""
        scale = self.scale
        plan = [
            {"session": session, "batch": batch, "removed": REMOVED,
             "repetitions": scale.saving_repetitions}
            for session in range(scale.saving_sessions)
            for batch in BATCHES
        ]  # fmt: skip
        return self._clocked("filter_savings", plan)

    def saving_times(self) -> pd.DataFrame:
        """One row a repetition: LeNet whole, and without two filters of conv1."""
        return study.typed(self.done(self._savings).rows, "saving_times")

    # --- fewer filters -------------------------------------------------------------------------

    @property
    def _pruned(self) -> Planned:
        scale = self.scale
        plan = [
            self._of_lenet()
            | {
                "seed": seed,
                "tuning_images": min(scale.tuning_images, len(self.sets[0])),
                "removals": {layer: list(counts) for layer, counts in scale.removed.items()},
                "tunings": {layer: list(counts) for layer, counts in scale.tuned.items()},
                "from_scratch": {layer: list(n) for layer, n in scale.from_scratch.items()},
            }
            for seed in range(scale.pruned_seeds)
        ]
        return self._training("pruned_nets_of_seed", plan)

    def pruned_nets(self) -> pd.DataFrame:
        """Nets of the first recipe without some filters: which, how many, what is left."""
        return study.typed(self._after_training(self._pruned), "pruned_nets")

    # --- other nets ----------------------------------------------------------------------------

    def _of_fashion(self, net: str) -> dict:
        """The unit of one net on FashionMNIST."""
        recipe = self.scale.fashion_recipe
        epochs = self.scale.fashion_epochs.get(net, recipe.epochs)
        return {
            "net": net,
            "recipe": asdict(replace(recipe, epochs=epochs)),
            "train_images": self.scale.fashion_images,
            "test_images": self.scale.tried_images,
            "input_px": self.scale.fashion_px,
        }

    @property
    def _lenet_unit(self) -> dict:
        """The unit of LeNet where it is one of all these nets."""
        return self._of_lenet() | {"net": NET, "test_images": None, "input_px": None}

    @property
    def _fashion_nets(self) -> Planned:
        plan = [self._of_fashion(net) | {"seed": 0} for net in self.scale.fashion_nets]
        return self._training("trained_net", plan)

    def net_trainings(self) -> pd.DataFrame:
        """One row a net trained on FashionMNIST."""
        return study.typed(_by_their_names(self._fashion_rows), "net_trainings")

    @property
    def _net_zeros(self) -> Planned:
        plan = [self._lenet_unit, *map(self._of_fashion, self.scale.fashion_nets)]
        return self._sweep("zeros_of_net", plan, timed=False, **self._short)

    def net_zero_rates(self) -> pd.DataFrame:
        """One row a ReLU of each net trained on FashionMNIST."""
        rows = self._of_kind("zeros")
        return study.typed(rows[rows["net"] != NET], "net_zero_rates")

    @property
    def _alexnets(self) -> Planned:
        """Further seeds of AlexNet; that of seed 0 is one of the nets above."""
        unit = self._of_fashion("alexnet")
        del unit["net"]
        plan = [unit | {"seed": seed} for seed in range(1, self.scale.alexnet_seeds)]
        return self._training("zeros_of_alexnet", plan)

    def alexnet_zero_rates(self) -> pd.DataFrame:
        """One row a ReLU of each further AlexNet."""
        return study.typed(self.done(self._alexnets).rows, "alexnet_zero_rates")

    def skippable_macs(self) -> pd.DataFrame:
        """One row a convolution or linear layer of each trained net."""
        return study.typed(self._of_kind("skippable"), "skippable_macs")

    def _of_kind(self, kind: str) -> pd.DataFrame:
        rows = self._after_training(self._net_zeros)
        rows = rows if len(rows) else rows.reindex(columns=["kind", "net"])
        return rows[rows["kind"] == kind]

    # --- sparse execution ----------------------------------------------------------------------

    @property
    def _sparse_layers(self) -> Planned:
        plan = [self._lenet_unit | {"batch": batch} for batch in BATCHES]
        plan += [self._of_fashion(net) | {"batch": 1} for net in self.scale.fashion_nets]
        repetitions = {"repetitions": self.scale.sparse_repetitions}
        return self._clocked("sparse_layers_of", [unit | repetitions for unit in plan])

    def sparse_layers(self) -> pd.DataFrame:
        """Layers of the trained nets on the inputs they really get: dense, and skipping zeros."""
        own = self.skippable_macs().set_index(["net", "layer"])
        share = (own["zero_input_macs"] + own["padding_macs"]) / own["macs"]
        rows = self._after_training(self._sparse_layers).drop(
            columns="zero_input_share", errors="ignore"
        )
        if len(rows):
            rows = rows.join(share.rename("zero_input_share"), on=["net", "layer"])
        return study.typed(rows, "sparse_layers")

    @property
    def _sparse_products(self) -> Planned:
        scale = self.scale
        shared = {"zero_rates": list(scale.zero_rates), "repetitions": scale.sparse_repetitions}
        plan = [{"case": c, "shape": list(SPARSE_CASES[c])} | shared for c in scale.sparse_cases]
        return self._clocked("sparse_products_of", plan)

    def sparse_sweep(self) -> pd.DataFrame:
        """Products of the shapes of three layers, over inputs of many zero rates."""
        return study.typed(self.done(self._sparse_products).rows, "sparse_sweep")


_ZEROS = ["recipe", "seed", "layer", "digit", "filter", "zeros", "total"]


_WATCHED = ["recipe", "trained_on", *records.TABLES["zero_rates_by_epoch"].columns]


def _by_their_names(trainings: pd.DataFrame) -> pd.DataFrame:
    """What a training really had, under the names of the tables, in place of what it asked for."""
    had = {"trained_on": "train_images", "tried_on": "test_images", "side_px": "input_px"}
    return trainings.drop(columns=list(had.values()), errors="ignore").rename(columns=had)


def _with_recipe(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with the columns that name the recipe of each."""
    recipes = [Recipe(**recipe) for recipe in rows.get("recipe", ())]
    epochs = ["1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs" for recipe in recipes]
    return rows.assign(
        training=[
            f"{r.optimiser} {r.lr:g} {r.schedule}, batch {r.batch_size}, {e}"
            for r, e in zip(recipes, epochs, strict=True)
        ],
        initialisation=[recipe.initialisation for recipe in recipes],
        normalisation=[recipe.normalisation for recipe in recipes],
    )
