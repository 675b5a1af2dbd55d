"""The experiments of notebook 06: every method of acceleration on one net.

`Study(profile)` has one method a table of `chapters.acceleration.tables`; each returns its rows.
All that is measured is a unit of a sweep, and kept under `data/raw/`.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import cached_property

import pandas as pd

from convcost import datasets, predict
from convcost.chapters.acceleration.study import measurements, search, steps
from convcost.chapters.acceleration.study.scales import SCALES, SMOKE, Method
from convcost.chapters.relu_zero_rates import findings as relu_zero_rates
from convcost.core import extras
from convcost.core.errors import BadInputError
from convcost.datasets import Dataset
from convcost.sweep import Planned, study
from convcost.sweep.study import Part

EXPORTING = ("onnx", "onnxruntime", "onnxscript")
PACKAGES = dict.fromkeys(EXPORTING, "export and 8 bits") | {
    "torch_pruning": "structured pruning and what is combined with it",
    "optuna": "one way to search",
}
"""Package -> what of this notebook needs it."""
WORDS_OF = dict.fromkeys(EXPORTING, ("export",)) | {"torch_pruning": ("narrow",)}
SHORT_S = 15.0  # of training in all: done before workers would be ready
_HAD = {"trained_on": "train_images", "tried_on": "test_images"}


class Study(study.Study):
    """The experiments at the scale of a profile, on the data that this machine has."""

    notebook = "06-acceleration"
    scales, smoke_scale = SCALES, SMOKE
    measurements = measurements.__name__

    @cached_property
    def fashion(self) -> tuple[Dataset, Dataset]:
        """Both splits."""
        return datasets.splits("fashionmnist")

    @property
    def used(self) -> tuple[Dataset, ...]:
        """The data set, as it was found."""
        return self.fashion

    @property
    def seeds(self) -> list[int]:
        """Of the trained nets."""
        return list(range(self.scale.seeds))

    @cached_property
    def lacking(self) -> dict[str, str]:
        """Package that is not installed -> what is left out without it."""
        return {name: PACKAGES[name] for name in extras.lacking(*PACKAGES)}

    def said(self) -> str:
        """What is left out for want of packages, and how to get them; or that all are there."""
        if not self.lacking:
            return "All packages of this notebook are installed."
        without = "; ".join(f"{name}: {what}" for name, what in self.lacking.items())
        return f'LEFT OUT, not installed: {without}. pip install "convcost[acceleration]"'

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        """Every method at every setting that the installed packages can do, the most valuable
        first."""
        missing = {word for package in self.lacking for word in WORDS_OF.get(package, ())}
        found = []
        for method in self.scale.methods():
            words = {word for word, _ in method.pipeline}
            if words & missing - {"export"}:
                continue
            steps_left = tuple(step for step in method.pipeline if step[0] not in missing)
            found.append(replace(method, pipeline=steps_left))
        return tuple(found)

    @property
    def runtimes(self) -> list[str]:
        """Those of the scale that are installed."""
        exports = not set(EXPORTING) & self.lacking.keys()
        return [name for name in self.scale.runtimes if name != "onnx" or exports]

    def parts(self) -> dict[str, Part]:
        """What a machine measures, the most valuable first."""
        return {
            "nets": Part(
                "nets trained, made smaller, and trained on, by every method",
                (self._bases, self._accelerated),
                essential=True,
            ),
            "speeds": Part(
                "every one of them on the clock beside the net that nothing was done to",
                (self._speeds, self._format_times),
                essential=True,
            ),
            "layers": Part(
                "formats, blocks, factors and bits of the trained net, one at a time",
                (self._formats, self._blocks, self._factors, self._sensitivities, self._zeros),
                essential=True,
            ),
            "sparse-weights": Part(
                "convolutions whose weights are stored sparse, on the clock",
                (self._sparse_times,),
            ),
            "search": Part(
                "small nets of one space, trained briefly and timed, for a search to choose from",
                (self._searched, self._searched_times),
            ),
        }

    # --- trained --------------------------------------------------------------------------------

    def _trained(self, function: str, plan: Iterable[dict], cost: Callable, **options) -> Planned:
        """What comes of trained nets, a process a core; on a GPU one after the other."""
        on_cpu = self.scale.device == "cpu"
        planned = self.planned(
            function, plan, timed=False, cost=cost, workers=None if on_cpu else 1,
            data={part.split: part.sha256 for part in self.fashion}, **options,
        )  # fmt: skip
        short = on_cpu and sum(map(planned.cost, planned.configurations)) < SHORT_S
        return replace(planned, options=planned.options | {"here": short})

    def _of_base(self, function: str, seconds: float, **more) -> Planned:
        """Something that is found of the trained net of every seed."""
        plan = [self.scale.training() | {"seed": seed} | more for seed in self.seeds]
        return self._trained(function, plan, lambda unit: seconds * self._slowness)

    @property
    def _slowness(self) -> float:
        """Of trying a net, against one core."""
        return 1.0 if self.scale.device == "cpu" else 0.1

    def _train_s(self, macs: float, images: int, epochs: float) -> float:
        """Guessed seconds of a training, by one core or on a GPU."""
        each_s = 1e-4 + 3.5e-11 * macs if self.scale.device == "cpu" else 4e-5
        return images * epochs * each_s

    @property
    def _images(self) -> int:
        return self.scale.train_images or 60_000

    @property
    def _bases(self) -> Planned:
        """The nets that all begin from, trained before anything asks for one of them."""
        scale = self.scale
        plan = [
            scale.training() | {"seed": seed, "method": "none", "setting": "trained",
                                "pipeline": [("base", {})]}
            for seed in self.seeds
        ]  # fmt: skip
        return self._trained(
            "accelerated_of", plan,
            lambda unit: 5 * self._slowness
            + self._train_s(3.4e7, self._images, scale.recipe.epochs),
        )  # fmt: skip

    @property
    def _accelerated(self) -> Planned:
        plan = [
            method.unit() | self.scale.training() | {"seed": seed}
            for seed in self.seeds
            for method in self.methods
        ]
        return self._trained("accelerated_of", plan, self._pipeline_s)

    def _pipeline_s(self, unit: dict) -> float:
        """By the words of a pipeline: what is trained of how large a net, and tries of it."""
        macs, seconds = 3.4e7, 5.0 * self._slowness
        for word, options in unit["pipeline"]:
            if word == "new":
                kind = options.get("kind", "plain")
                macs = {"plain": 4e6, "separable": 1.6e7, "shuffle": 2.4e7}[kind]
            elif word == "narrow":
                macs *= (1 - options["share"]) ** 1.5
            elif word == "factorise":
                macs *= 0.3 + 0.7 * options["share"]
            elif word == "train":
                slower = 1.5 if any(w in ("quantise", "mix") for w, _ in unit["pipeline"]) else 1
                epochs = options.get("epochs", 1)
                seconds += slower * self._train_s(macs, self._images, epochs)
            elif word in ("export", "mix", "drop"):
                # the export is the processor's work everywhere
                seconds += 8 if word == "export" else 60 * self._slowness
        return seconds

    def accelerated_nets(self) -> pd.DataFrame:
        """One row a step of a method, for one seed."""
        found = [self.done(self._bases).rows, self.done(self._accelerated).rows]
        rows = pd.concat(found).drop(columns=list(_HAD.values()), errors="ignore")
        return study.typed(rows.rename(columns=_HAD), "accelerated_nets")

    def _of(self, planned: Planned, table: str) -> pd.DataFrame:
        rows = self.done(planned).rows.drop(columns=list(_HAD.values()), errors="ignore")
        return study.typed(rows.rename(columns=_HAD), table)

    @property
    def _formats(self) -> Planned:
        return self._of_base("formats_of", 40, formats=list(self.scale.formats))

    def format_accuracies(self) -> pd.DataFrame:
        """One row a format of numbers and seed."""
        return self._of(self._formats, "format_accuracies")

    @property
    def _blocks(self) -> Planned:
        return self._of_base("removed_blocks_of", 150, pairs=not self.scale.brief)

    def removed_blocks(self) -> pd.DataFrame:
        """One row a block, or pair of blocks, that the base goes without."""
        return self._of(self._blocks, "removed_blocks")

    @property
    def _factors(self) -> Planned:
        shares = sorted(self.scale.kept_shares + self.scale.untuned_kept_shares)
        plan = [[method, share] for method in ("svd", "tucker") for share in shares]
        return self._of_base("reconstruction_of", 20, plan=plan)

    def reconstruction_errors(self) -> pd.DataFrame:
        """One row a layer, for every method and rank."""
        return self._of(self._factors, "reconstruction_errors")

    @property
    def _sensitivities(self) -> Planned:
        return self._of_base("sensitivities_of", 80, widths=list(self.scale.sensitivity_bits))

    def layer_sensitivities(self) -> pd.DataFrame:
        """One row a layer and number of bits."""
        return self._of(self._sensitivities, "layer_sensitivities")

    @property
    def _zeros(self) -> Planned:
        return self._of_base("skippable_of", 10, images=200)

    def skippable_products(self) -> pd.DataFrame:
        """One row a seed: what zeros of ReLU make needless in the base."""
        return self._of(self._zeros, "skippable_products")

    def skipping(self) -> pd.DataFrame | None:
        """What notebook 03 found on this machine: whole nets whose zeros are skipped, as ideal and
        as measured; None where it did not run."""
        layers = self.earlier("sparse_layers")
        if layers is None:
            return None
        table = relu_zero_rates.sparse_speed_ups(layers)
        table = table[table["layer"].eq("(net)")]
        return table[["net", "batch", "threads", "zero_input_share", "ideal", "speed_up"]]

    @property
    def _searched(self) -> Planned:
        scale = self.scale
        plan = [
            {"kind": kind, "width": width, "blocks": blocks, "seed": seed,
             "recipe": asdict(scale.search_recipe), "images": scale.search_images,
             "device": scale.device}
            for seed in range(scale.search_seeds)
            for kind, width, blocks in scale.searched
        ]  # fmt: skip
        images = scale.search_images or self._images // 2

        def seconds(unit: dict) -> float:
            macs = unit["width"] ** 1.5 * unit["blocks"] * 6e4
            return 8 * self._slowness + self._train_s(macs, images, scale.search_recipe.epochs)

        return self._trained("searched_of", plan, seconds)

    def searched_nets(self) -> pd.DataFrame:
        """One row a net of the space and seed."""
        return self._of(self._searched, "searched_nets")

    # --- on the clock ---------------------------------------------------------------------------

    def _clocked(self, function: str, plan: Iterable[dict], cost: Callable) -> Planned:
        """What is timed: one after the other, tried once."""
        plan = list(plan)
        return self.planned(
            function, plan, data={}, cost=cost, attempts=1, workers=1,
            threads=self.threads, here=self.scale.device == "cpu",
        )  # fmt: skip

    @property
    def shapes(self) -> dict[tuple, Method]:
        """The methods that change how fast a net is, each shape once, by its pipeline's words.

        With ONNX Runtime, of what is exported.
        """
        found = {}
        for method in self.methods:
            words = [word for word, _ in method.pipeline]
            if "onnx" in self.runtimes and "export" not in words:
                continue
            shape = [[word, options] for word, options in method.pipeline if word in steps.SHAPES]
            if any(word != "base" for word, _ in shape) or method.method == "none":
                found.setdefault(repr(shape), method)
        return found

    @property
    def _cases(self) -> list[list[int]]:
        return [[batch, threads or self.threads] for batch, threads in self.scale.timed_cases]

    @property
    def _speeds(self) -> Planned:
        """Every net in each session: a machine is not the same in all."""
        scale = self.scale
        plan = [
            method.unit()
            | {"cases": self._cases, "session": session, "repetitions": scale.repetitions,
               "input_px": scale.input_px, "runtimes": self.runtimes,
               "device": scale.device}
            for session in range(scale.timed_sessions)
            for method in self.shapes.values()
        ]  # fmt: skip
        return self._clocked(
            "speeds_of", plan, lambda unit: 8 + 0.15 * unit["repetitions"] * len(unit["cases"])
        )

    def accelerated_times(self) -> pd.DataFrame:
        """One row a repetition of a net or of the base beside it."""
        rows = self.done(self._speeds).rows.drop(columns=["cases", "pipeline"])
        return study.typed(rows, "accelerated_times")

    @property
    def _format_times(self) -> Planned:
        scale = self.scale
        plan = [
            {"formats": list(scale.formats), "batch": batch, "threads": threads,
             "input_px": scale.input_px, "session": session, "repetitions": scale.repetitions,
             "device": scale.device}
            for batch, threads in self._cases
            for session in range(scale.timed_sessions)
        ]  # fmt: skip
        return self._clocked("format_times_of", plan, lambda unit: 5)

    def format_times(self) -> pd.DataFrame:
        """One row a repetition of the base in a format of numbers."""
        return study.typed(self.done(self._format_times).rows, "format_times")

    @property
    def _sparse_times(self) -> Planned:
        scale = self.scale
        plan = [
            {"channels": channels, "map_px": px, "sparsity": sparsity, "batch": batch,
             "repetitions": scale.repetitions}
            for channels, px in scale.sparse_layers
            for batch in scale.sparse_batches
            for sparsity in scale.sparse_levels
        ]  # fmt: skip
        return self._clocked("sparse_times_of", plan, lambda unit: 3)

    def sparse_weight_times(self) -> pd.DataFrame:
        """One row a repetition of a convolution with sparse weights."""
        return self._of(self._sparse_times, "sparse_weight_times")

    @property
    def _searched_times(self) -> Planned:
        scale = self.scale
        every = [list(net) for net in scale.searched] if "onnx" in self.runtimes else []
        plan = [
            {"nets_": every, "batch": 1, "threads": 1, "repetitions": scale.repetitions}
        ] if every else []  # fmt: skip
        return self._clocked("searched_times_of", plan, lambda unit: 3 * len(every))

    def searched_times(self) -> pd.DataFrame:
        """One row a repetition of a net of the space."""
        return self._of(self._searched_times, "searched_times")

    def search_trials(self) -> pd.DataFrame:
        """One row a search and number of trials: how good the best net was by then."""
        scale, times = self.scale, self.searched_times()
        rows = [] if times.empty else search.simulated(
            self.searched_nets(), times, scale.search_limits, scale.search_trials,
            scale.search_repeats,
            [s for s in search.STRATEGIES if s != search.TPE or "optuna" not in self.lacking],
        )  # fmt: skip
        return study.typed(pd.DataFrame(rows), "search_trials")

    def predicted_speeds(self) -> pd.DataFrame:
        """What the stored prices of the measuring machine say of each net, in PyTorch.

        No rows where there are none, or of another machine.
        """
        rows, shape = [], (1, self.scale.input_px, self.scale.input_px)
        batches = sorted({batch for batch, _ in self.scale.timed_cases})
        try:
            if not self.host.here:
                raise BadInputError("prices of another machine")
            base = measurements.known([("base", {})])
            for batch in batches:
                base_s = predict.time(base, shape, batch=batch).seconds
                for method in self.shapes.values():
                    model = measurements.known(method.pipeline)
                    estimate = predict.time(model, shape, batch=batch)
                    rows.append(
                        {"method": method.method, "setting": method.setting, "batch": batch,
                         "macs": steps.counted(model)["macs"], "predicted_s": estimate.seconds,
                         "base_s": base_s}
                    )  # fmt: skip
        except BadInputError:  # no prices for this machine: `python -m convcost calibrate`
            rows = []
        return study.typed(pd.DataFrame(rows), "predicted_speeds")
