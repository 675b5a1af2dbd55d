"""The experiments of notebook 04: a family of small nets on LFW, trained, timed, and optimised.

`Study(profile)` has one method a table of `convcost.chapters.complexity_precision.tables`; each
returns its rows. `Study.train` is the long part: a sweep whose results are kept under `data/raw/`
as they come, so that it can be stopped, resumed, and done by several machines.
"""

import importlib.util
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd

from convcost import datasets, nets, records, sweep
from convcost.chapters.complexity_precision.findings import cheapest, complexity, precision, rows
from convcost.chapters.complexity_precision.findings.configurations import (
    BASELINE,
    NAMES,
    Configuration,
    integer_grid,
    possible,
    rounded_share_grid,
)
from convcost.chapters.complexity_precision.study.scales import (
    CHOSEN,
    RECIPES,
    SCALES,
    SMOKE,
)
from convcost.chapters.complexity_precision.study.units import (
    SET,
    TIMES,
    letters,
    seconds,
    timed,  # noqa: F401 - a sweep calls it by name, and `trained`
    timed_seconds,
    trained,  # noqa: F401
)
from convcost.core import machine
from convcost.counting.count import count
from convcost.datasets import Dataset
from convcost.sweep import Planned, study
from convcost.sweep.study import Part
from convcost.training import Recipe

SPLITS = ("train", "validation", "test")
ROLES = ("1-D", "2-D", "held out")
DRAWN_FROM = 2025  # the seed of the random configurations


class Study(study.Study):
    """The experiments at the scale of a profile, on the data that this machine has."""

    notebook = "04-complexity-precision"
    scales, smoke_scale = SCALES, SMOKE

    @cached_property
    def sets(self) -> dict[str, Dataset]:
        """The splits, by name."""
        return {split: datasets.load(SET, split) for split in SPLITS}

    def parts(self) -> dict[str, Part]:
        """What a machine measures, the most valuable first.

        The optima follow from the fits to the rest, where lmfit is installed and the rest is there.
        """
        by_role = {
            role: self._planned_sweep(self.plan(roles=[role], seeds=range(least)))
            for role, least in (("1-D", 3), ("held out", 1), ("2-D", 1))
        }
        parts = {
            "times": Part("the forward pass of every net, in turns", (self._times("plan"),), True),
            "lines": Part("one parameter leaves the baseline", (by_role["1-D"],), True),
            "held-out": Part("random nets that no fit sees", (by_role["held out"],), True),
            "grids": Part("filters and one more leave the baseline", (by_role["2-D"],), True),
            "seeds": Part(
                "all of these from more seeds, and the recipes tried",
                tuple(
                    self._planned_sweep(plan)
                    for plan in (
                        self.plan(),
                        self._trial_units,
                        self._again("baseline"),
                        self._again("held out"),
                    )
                    if plan
                ),
            ),
        }
        looks = [look.outlook() for part in parts.values() for look in part.sweeps]
        whole = all(look.done + look.failed == look.units for look in looks)
        if whole and importlib.util.find_spec("lmfit"):
            optima = self._optimum_units + self._again("optimum")
            parts["optima"] = Part(
                "the nets that eq. (7) chooses, trained and timed",
                (self._planned_sweep(optima), *([self._times("optima")] if optima else [])),
            )
        return parts

    @property
    def used(self) -> tuple[Dataset, ...]:
        """The splits of the data set, as they were found."""
        return tuple(self.sets.values())

    @property
    def seeds(self) -> list[int]:
        """All seeds of the trainings."""
        scale = self.scale
        return list(range(max(scale.line_seeds, scale.grid_seeds, scale.held_out_seeds,
                              scale.optimum_seeds, scale.trial_seeds)))  # fmt: skip

    def face_splits(self) -> Iterator[dict]:
        """One row a class and split: how many images, of how many people."""
        for split, part in self.sets.items():
            for number, label in enumerate(part.classes):
                mine = part.labels == number
                people = None if part.people is None else len(set(part.people[mine]))
                row = {"split": split, "label": label, "images": int(mine.sum())}
                yield row | {"people": people}

    @property
    def _values(self) -> dict[str, tuple[int, ...]]:
        """The candidate values of each parameter."""
        return {name: getattr(self.scale, name) for name in NAMES}

    # --- what is trained -----------------------------------------------------------------------

    @cached_property
    def roles(self) -> dict[Configuration, str]:
        """Every configuration that does not depend on a result, and what it is for."""
        scale = self.scale
        values = self._values
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

    def plan(
        self,
        roles: Iterable[str] = ROLES,
        seeds: range | None = None,
        bf16: bool | None = None,
    ) -> list[dict]:
        """The units of the sweep: each configuration with each of its seeds.

        `roles`: of these only; `seeds`: of these seeds only; `bf16`: as if it were so.
        """
        bf16 = self.bf16 if bf16 is None else bf16
        scale = self.scale
        least = {
            "1-D": scale.line_seeds,
            "2-D": scale.grid_seeds,
            "held out": scale.held_out_seeds,
        }
        return [
            self._unit(configuration, seed, scale.recipe) | {"bf16": bf16}
            for configuration, role in self.roles.items()
            if role in roles
            for seed in range(least[role])
            if seeds is None or seed in seeds
        ]

    def _unit(
        self, configuration: Configuration, seed: int, recipe: Recipe, splits=SPLITS[1:]
    ) -> dict:
        return {
            **asdict(configuration),
            "seed": seed,
            "recipe": asdict(recipe),
            "images": self.scale.images,
            "tried_on": list(splits),
            "device": self.scale.device,
        }

    @cached_property
    def bf16(self) -> bool:
        """Whether nets are trained in bfloat16: on a GPU, and on a processor that multiplies it.

        The precision is a part of what a training is, and it is that of whoever trains, not of
        whoever drives: what has been begun in one precision is finished in it.
        """
        if self.scale.device != "cpu":
            return True
        own = machine.has_bf16(self.host.details["cpu_flags"])

        def begun(bf16: bool) -> int:
            planned = self._planned_sweep(self.plan(bf16=bf16))
            return sum(record is not None for record in planned.found().values())

        return max((own, not own), key=begun)

    def _planned_sweep(self, plan: list[dict], **options) -> Planned:
        # the same nets wherever they are trained: neither machine nor versions are in the key
        return self.planned(
            "trained",
            plan,
            data={split: part.sha256 for split, part in self.sets.items()},
            cost=seconds,
            timed=False,
            **{"workers": self.scale.workers, "threads": 1} | options,
        )

    def train(self, **cluster) -> sweep.Sweep:
        """The plan, trained: what is not there yet.

        `cluster`: arguments of `sweep.run` that say who does it: `workers`, `scheduler`,
        `resources`.
        """
        given = {name: value for name, value in cluster.items() if value is not None}
        if "scheduler" in given:
            given = {"workers": None} | given
            if self.scale.device == "cpu":
                answers = sweep.ask_workers(given["scheduler"], machine.has_bf16)
                self.bf16 = bool(answers) and all(answers)
        return self.done(self._planned_sweep(self.plan()), **given)

    @property
    def _trial_units(self) -> list[dict]:
        """The baseline by each recipe and seed."""
        return [
            self._unit(BASELINE, seed, RECIPES[name], ["validation"]) | {"bf16": self.bf16}
            for name in self.scale.recipes
            for seed in range(self.scale.trial_seeds)
        ]

    def recipe_trials(self) -> pd.DataFrame:
        """One row a recipe and seed: the baseline, tried on the validation split only."""
        plan = self._trial_units
        if not plan:
            return pd.DataFrame()
        names = [name for name in self.scale.recipes for _ in range(self.scale.trial_seeds)]
        done = _with_failures(self.done(self._planned_sweep(plan)))
        told = [
            {
                "recipe": name,
                **{
                    field: getattr(RECIPES[name], field)
                    for field in ("optimiser", "lr", "batch_size")
                },
                "chosen": name == CHOSEN,
            }
            for name in names
        ]
        return pd.concat([pd.DataFrame(told), done.drop(columns=list(NAMES))], axis=1)

    @cached_property
    def _planned(self) -> pd.DataFrame:
        """The trainings of the plan, with their roles."""
        rows = _with_failures(self.train())
        return rows.assign(
            role=[self.roles[cheapest.configuration_of(row)] for row in rows.to_dict("records")]
        )

    def configuration_trainings(self) -> pd.DataFrame:
        """One row a training: the plan's, and those of the optima that were chosen from them."""
        plan = self._optimum_units
        if not plan:
            return self._planned
        # further seeds of a net of the plan are no part of the plan: no fit has seen them
        optima = _with_failures(self.done(self._planned_sweep(plan))).assign(role="optimum")
        both = pd.concat([self._planned, optima])
        return both.drop_duplicates([*NAMES, "seed"], ignore_index=True)

    def _again(self, role: str) -> list[dict]:
        """Units of nets that are judged, of further seeds, which no fit may see."""
        scale = self.scale
        if role == "baseline":
            nets, first, last = [BASELINE], scale.line_seeds, scale.baseline_repeats
        elif role == "held out":
            nets = [one for one, of in self.roles.items() if of == role]
            first, last = scale.held_out_seeds, scale.held_out_repeats
        else:
            nets = [one for one in self._repeated_optima if one not in self.roles]
            first, last = scale.optimum_seeds, scale.optimum_repeats
        return [
            self._unit(one, seed, scale.recipe) | {"bf16": self.bf16}
            for one in nets
            for seed in range(first, last)
        ]

    @property
    def _repeated_optima(self) -> list[Configuration]:
        """Of the optima that were built, those for enough points given up."""
        drops = [
            cheapest.configuration_of(choice)
            for choice in self.chosen_optima().to_dict("records")
            if choice["status"] == "found"
            and choice["grid"] == "integers"
            and choice["drop_points"] >= self.scale.repeated_drop
        ]
        return list(dict.fromkeys(drops))

    def repeated_trainings(self) -> pd.DataFrame:
        """One row a training: more seeds of the baseline, of held-out nets and of optima."""
        tables = [
            _with_failures(self.done(self._planned_sweep(plan))).assign(role=role)
            for role in ("baseline", "held out", "optimum")
            if (plan := self._again(role))
        ]
        return study.typed(pd.concat(tables) if tables else pd.DataFrame(), "repeated_trainings")

    @property
    def _optimum_units(self) -> list[dict]:
        """The chosen optima with each of their seeds."""
        return [
            self._unit(one, seed, self.scale.recipe) | {"bf16": self.bf16}
            for one in self._chosen_configurations
            for seed in range(self.scale.optimum_seeds)
        ]

    # --- what it costs -------------------------------------------------------------------------

    def configuration_costs(self) -> Iterator[dict]:
        """One row a configuration: counted from its shapes by `convcost.count`."""
        for configuration in dict.fromkeys([*self.roles, *self._chosen_configurations]):
            net = nets.build("ke_cnn", **letters(configuration), device="meta")
            size = configuration.input_px
            whole = count(net, (3, size, size))
            yield asdict(configuration) | {
                "conv_macs": sum(call.macs for call in whole.calls if call.op == "conv"),
                "macs": whole.macs,
                "acts": whole.acts,
                "params": sum(parameter.numel() for parameter in net.parameters()),
            }

    def _times(self, session: str) -> Planned:
        """The nets of a session, timed in turns: those of the plan, or the baseline and optima."""
        scale = self.scale
        chosen = self.roles if session == "plan" else [BASELINE, *self._further_optima]
        unit = {
            "session": session,
            "configurations": [list(astuple(one)) for one in chosen],
            "batch": scale.timed_batch,
            "threads": self.threads,
            "repetitions": scale.repetitions,
            "min_s": scale.min_s,
            "device": scale.device,
        }
        return self.planned(
            "timed", [unit], data={}, cost=timed_seconds,
            workers=1, threads=unit["threads"], attempts=1,
        )  # fmt: skip

    @cached_property
    def _planned_times(self) -> pd.DataFrame:
        return self.done(self._times("plan")).rows.reindex(columns=list(TIMES))

    @property
    def _further_optima(self) -> list[Configuration]:
        return [one for one in self._chosen_configurations if one != BASELINE]

    def forward_times(self) -> pd.DataFrame:
        """One row a configuration and repetition: those of the plan, then the chosen ones."""
        if not self._further_optima:
            return self._planned_times
        optima = self.done(self._times("optima")).rows.reindex(columns=list(TIMES))
        return pd.concat([self._planned_times, optima]) if len(optima) else self._planned_times

    # --- the cheapest that is precise enough ---------------------------------------------------

    @cached_property
    def _choices(self) -> list[dict]:
        """Eq. (7) by two models of precision on two grids, for each number of points given up."""
        precise = rows.precision_rows(self._planned)
        times = rows.complexity_rows(self._planned_times)
        cost_of = complexity.model(complexity.DEFAULT).fit(times.merge(precise[list(NAMES)]))
        accuracy = float(precise.loc[rows.is_baseline(precise), "precision"].iloc[0])
        values = {name: range(min(v), max(v) + 1) for name, v in self._values.items()}
        grids = {"integers": integer_grid(**values), "shares": rounded_share_grid()}
        found = []
        for model in (precision.EQ6, precision.DEFAULT):
            fitted = precision.model(model).fit(precise)
            for grid, points in grids.items():
                ahead = cheapest.evaluate(cost_of, fitted, points)
                for drop in self.scale.drops:
                    target = accuracy - drop / 100
                    row = {"drop_points": float(drop), "target_accuracy": target}
                    row |= {"model": model, "grid": grid}
                    try:
                        choice = cheapest.choose(ahead, target)
                    except cheapest.UnattainableError:
                        found.append(row | {"status": "none"})
                        continue
                    row |= {"status": "found", **asdict(cheapest.configuration_of(choice))}
                    row |= {"predicted_accuracy": float(choice["precision"])}
                    found.append(row | {"predicted_complexity": float(choice["complexity"])})
        return found

    def chosen_optima(self) -> pd.DataFrame:
        """One row a number of points given up, model and grid."""
        frame = pd.DataFrame(self._choices, columns=list(records.TABLES["chosen_optima"].columns))
        return frame.astype(dict.fromkeys(NAMES, "Int64"))

    @cached_property
    def _chosen_configurations(self) -> list[Configuration]:
        """The optima that are trained: of the integer grid, each once."""
        built = [
            cheapest.configuration_of(choice)
            for choice in self._choices
            if choice["status"] == "found" and choice["grid"] == "integers"
        ]
        return list(dict.fromkeys(built))


def _with_failures(done: sweep.Sweep) -> pd.DataFrame:
    """One row a unit, in the order of the plan: what it returned, and what became of it."""

    def named(frame: pd.DataFrame) -> pd.DataFrame:
        own = [json.dumps(recipe, sort_keys=True) for recipe in frame["recipe"]]
        return frame.assign(own=own).set_index([*NAMES, "seed", "own"])

    units = done.units[done.units["status"].ne("left")]
    status = named(units)[["status", "reason"]]
    if not len(done.rows):
        return status.reset_index().drop(columns="own")
    rows = named(done.rows).drop(columns=["recipe", "images", "tried_on", "device", "bf16"])
    return status.join(rows).reset_index().drop(columns="own")
