"""The experiments of notebook 04: a family of small nets on LFW, trained, timed, and optimised.

`Study(profile)` has one method a table of `convcost.records.complexity`; each returns its rows.
`Study.train` is the long part: a sweep whose results are kept under `data/raw/` as they come, so
that it can be stopped, resumed, and done by several machines.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cache, cached_property
from itertools import product

import numpy as np
import pandas as pd

from convcost import datasets, machine, nets, paths, sweep, training
from convcost.count import count
from convcost.datasets import Dataset
from convcost.fits.configurations import BASELINE, NAMES, Configuration, costs, possible
from convcost.studies.complexity_scales import CHOSEN, RECIPES, SCALES, Scale
from convcost.training import TRAINING_VERSION, Execution, Recipe

SET = "lfw_gender"
SPLITS = ("train", "validation", "test")
VERSION = 1  # of `trained`: raise it when what it does changes
DRAWN_FROM = 2025  # the seed of the random configurations


class Study:
    """The experiments at the scale of a profile, on the data that this machine has."""

    def __init__(self, profile: str, scale: Scale | None = None):
        self.profile = profile
        self.scale = scale or SCALES[profile]
        self.sets = {split: datasets.load(SET, split) for split in SPLITS}

    @property
    def used(self) -> tuple[Dataset, ...]:
        """The splits of the data set, as they were found."""
        return tuple(self.sets.values())

    def face_splits(self) -> Iterator[dict]:
        """One row a class and split: how many images, of how many people."""
        for split, part in self.sets.items():
            for number, label in enumerate(part.classes):
                mine = part.labels == number
                people = None if part.people is None else len(set(part.people[mine]))
                row = {"split": split, "label": label, "images": int(mine.sum())}
                yield row | {"people": people}

    # --- what is trained -----------------------------------------------------------------------

    @cached_property
    def roles(self) -> dict[Configuration, str]:
        """Every configuration that does not depend on a result, and what it is for."""
        scale = self.scale
        values = {name: getattr(scale, name) for name in NAMES}
        base = asdict(BASELINE)

        def built(names: Iterable[str]) -> list[Configuration]:
            names = list(names)
            many = pd.DataFrame(
                [base | dict(zip(names, point, strict=True))
                 for point in product(*(values[name] for name in names))]
            )  # fmt: skip
            return [Configuration(**row) for row in many[possible(many)].to_dict("records")]

        roles: dict[Configuration, str] = {}
        for name in NAMES:
            roles |= dict.fromkeys(built([name]), "1-D")
        for name in NAMES[1:]:
            roles |= dict.fromkeys((c for c in built(["filters", name]) if c not in roles), "2-D")
        left = sorted(c for c in built(NAMES) if c not in roles)
        drawn = np.random.default_rng(DRAWN_FROM).choice(len(left), scale.held_out, replace=False)
        return roles | {left[number]: "held out" for number in sorted(drawn)}

    def plan(self) -> list[dict]:
        """The units of the sweep: each configuration with each of its seeds."""
        scale = self.scale
        seeds = {
            "1-D": scale.line_seeds,
            "2-D": scale.grid_seeds,
            "held out": scale.held_out_seeds,
        }
        return [
            self._unit(configuration, seed, scale.recipe)
            for configuration, role in self.roles.items()
            for seed in range(seeds[role])
        ]

    def _unit(
        self, configuration: Configuration, seed: int, recipe: Recipe, splits=SPLITS[1:]
    ) -> dict:
        device = self.scale.device
        return {
            **asdict(configuration),
            "seed": seed,
            "recipe": asdict(recipe),
            "images": self.scale.images,
            "tried_on": list(splits),
            "device": device,
            "bf16": device != "cpu" or "avx512_bf16" in (machine.describe()["cpu_flags"] or ()),
        }

    def _sweep(self, plan: list[dict], **cluster) -> sweep.Sweep:
        # the same nets wherever they are trained: neither machine nor versions are in the key
        data = {split: part.sha256 for split, part in self.sets.items()}
        return sweep.run(
            f"{__name__}:trained",
            plan,
            paths.RAW / "units" / "trained",
            version=f"{VERSION}.{TRAINING_VERSION}",
            data=data,
            cost=cost,
            every_s=60,
            **{"workers": self.scale.workers, "threads": 1} | cluster,
        )

    def train(self, **cluster) -> sweep.Sweep:
        """The plan, trained: what is not there yet.

        `cluster`: arguments of `sweep.run` that say who does it: `workers`, `scheduler`,
        `resources`.
        """
        return self._sweep(self.plan(), **{k: v for k, v in cluster.items() if v is not None})

    def recipe_trials(self) -> pd.DataFrame:
        """One row a recipe and seed: the baseline, tried on the validation split only."""
        plan = {
            (name, seed): self._unit(BASELINE, seed, RECIPES[name], splits=["validation"])
            for name in self.scale.recipes
            for seed in range(self.scale.trial_seeds)
        }
        if not plan:
            return pd.DataFrame()
        done = _with_failures(self._sweep(list(plan.values())))
        told = [
            {
                "recipe": name,
                **{
                    field: getattr(RECIPES[name], field)
                    for field in ("optimiser", "lr", "batch_size")
                },
                "chosen": name == CHOSEN,
            }
            for name, _ in plan
        ]
        return pd.concat([pd.DataFrame(told), done.drop(columns=list(NAMES))], axis=1)

    def configuration_trainings(self) -> pd.DataFrame:
        """One row a training: the plan's, and those of the optima that were chosen from them."""
        planned = _with_failures(self.train())
        planned["role"] = [self.roles[_configuration(row)] for row in planned.to_dict("records")]
        chosen = self._chosen_configurations()
        roles = {c: self.roles.get(c, "optimum") for c in chosen}
        plan = [
            self._unit(configuration, seed, self.scale.recipe)
            for configuration in chosen
            for seed in range(self.scale.optimum_seeds)
        ]
        if not plan:
            return planned
        optima = _with_failures(self._sweep(plan))
        optima["role"] = [roles[_configuration(row)] for row in optima.to_dict("records")]
        both = pd.concat([planned, optima], ignore_index=True)
        return both.drop_duplicates([*NAMES, "seed"], ignore_index=True)

    def configuration_costs(self) -> Iterator[dict]:
        """One row a configuration: counted from its shapes by `convcost.count`."""
        for configuration in dict.fromkeys([*self.roles, *self._chosen_configurations()]):
            net = nets.build("ke_cnn", **letters(configuration), device="meta")
            size = configuration.input_px
            whole = count(net, (3, size, size))
            convolutions = [call for call in whole.calls if call.op == "conv"]
            yield asdict(configuration) | {
                "conv_macs": sum(call.macs for call in convolutions),
                "macs": whole.macs,
                "acts": whole.acts,
                "params": sum(parameter.numel() for parameter in net.parameters()),
            }


# --- one unit --------------------------------------------------------------------------------


def trained(
    filters: int,
    input_px: int,
    kernel_px: int,
    layers: int,
    seed: int,
    recipe: Mapping,
    images: int | None,
    tried_on: list[str],
    device: str,
    bf16: bool,
) -> list[dict]:
    """One configuration trained once: the row of `configuration_trainings`, without its role.

    Not a method: the workers of a sweep call it by name.
    """
    configuration = Configuration(filters, input_px, kernel_px, layers)
    recipe = Recipe(**recipe)
    execution = Execution(device=device, threads=1, bf16=bf16)
    sets = {split: _faces(split, input_px, images) for split in ("train", *tried_on)}
    net = training.train(
        "ke_cnn",
        (sets["train"], sets[tried_on[0]]),
        recipe,
        seed,
        options=letters(configuration),
        execution=execution,
        tests=False,
    )
    row = {"train_images": len(sets["train"]), "epochs": recipe.epochs}
    row["train_s"] = sum(net.record["history"]["epoch_s"])
    if net.status == "diverged":
        raise sweep.Diverged("the loss or a weight was no longer finite", [row])
    for split in tried_on:
        labels, said = sets[split].labels, training.named(net, sets[split], execution=execution)
        for number in (0, 1):
            mine = labels == number
            row[f"{split}_class{number}_images"] = int(mine.sum())
            row[f"{split}_class{number}_correct"] = int((said[mine] == number).sum())
    return [row]


def letters(configuration: Configuration) -> dict[str, int]:
    """The arguments of `ke_cnn`: the paper's letters.

    >>> letters(BASELINE)
    {'f': 64, 's': 64, 'k': 5, 'l': 3}
    """
    return dict(zip("fskl", asdict(configuration).values(), strict=True))


def cost(unit: Mapping) -> float:
    """About how long a unit takes, in any unit: multiply-adds, and elements that are moved.

    An element of an activation costs as much as some 110 multiply-adds: on a CPU in bfloat16 the
    baseline's 344,000 took a fifth of the time beside its 151 million multiply-adds.
    """
    one = costs(pd.DataFrame([{name: unit[name] for name in NAMES}])).iloc[0]
    return float(one["macs"] + 110 * one["acts"]) * unit["recipe"]["epochs"]


@cache
def _faces(split: str, px: int, images: int | None) -> Dataset:
    """A split at a size: all of it, or `images` of it, spread evenly over the set's order."""
    part = datasets.load(SET, split)
    if images is not None:
        part = part.spread(min(images, len(part)))
    return part if part.images.shape[-1] == px else part.resized(px)


def _with_failures(done: sweep.Sweep) -> pd.DataFrame:
    """One row a unit, in the order of the plan: what it returned, and what became of it."""

    def named(frame: pd.DataFrame) -> pd.DataFrame:
        own = [json.dumps(recipe, sort_keys=True) for recipe in frame["recipe"]]
        return frame.assign(own=own).set_index([*NAMES, "seed", "own"])

    status = named(done.units)[["status", "reason"]]
    if not len(done.rows):
        return status.reset_index().drop(columns="own")
    rows = named(done.rows).drop(columns=["recipe", "images", "tried_on", "device", "bf16"])
    return status.join(rows).reset_index().drop(columns="own")


def _configuration(row: Mapping) -> Configuration:
    return Configuration(*(int(row[name]) for name in NAMES))
