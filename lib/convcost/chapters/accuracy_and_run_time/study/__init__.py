"""The experiments of notebook 05: known nets, here and elsewhere; the separable block.

`Study(profile)` has one method a table of `chapters.accuracy_and_run_time.tables`; each returns its
rows. All that is measured is a unit of a sweep, and kept under `data/raw/`.
"""

from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import cached_property

import pandas as pd

from convcost.chapters.accuracy_and_run_time.study import separable as separable_measurements
from convcost.chapters.accuracy_and_run_time.study.scales import SCALES, SMOKE
from convcost.datasets import Dataset
from convcost.sweep import Planned, study
from convcost.sweep.study import Part

SHORT_S = 15.0  # of training in all: done before workers would be ready


class Study(study.Study):
    """The experiments at the scale of a profile, on the data that this machine has."""

    notebook = "05-accuracy-and-run-time"
    scales, smoke_scale = SCALES, SMOKE

    @cached_property
    def fashion(self) -> tuple[Dataset, Dataset]:
        """Both splits."""
        return separable_measurements.fashion(None, None)

    @property
    def used(self) -> tuple[Dataset, ...]:
        """The data set, as it was found."""
        return self.fashion

    def parts(self) -> dict[str, Part]:
        """What a machine measures, the most valuable first."""
        return {
            "separable-block": Part(
                "a plain and a separable convolution on the clock, and the machine's peaks",
                (self._separable_blocks, self._separable_peaks),
                essential=True,
            ),
            "separable-nets": Part(
                "plain and separable nets trained on FashionMNIST, and on the clock",
                (self._separable_trainings, self._separable_net_times),
                essential=True,
            ),
        }

    # --- the separable convolution --------------------------------------------------------------

    def _separable(self, function: str, plan: Iterable[dict], **options) -> Planned:
        """What a function of `study.separable` says of each configuration."""
        planned = self.planned(
            function,
            [unit | {"device": self.scale.device} for unit in plan],
            data={part.split: part.sha256 for part in self.fashion},
            cost=separable_measurements.COSTS[function],
            **options,
        )
        return replace(planned, function=f"{separable_measurements.__name__}:{function}")

    def _separable_clocked(self, function: str, plan: Iterable[dict]) -> Planned:
        """The same of what is timed: one after the other, tried once."""
        return self._separable(
            function, [unit | {"threads": self.threads} for unit in plan],
            workers=1, threads=self.threads, attempts=1, here=self.scale.device == "cpu",
        )  # fmt: skip

    @property
    def _separable_blocks(self) -> Planned:
        scale = self.scale
        plan = [
            {"in_channels": c_in, "out_channels": c_out, "map_px": px, "batch": batch,
             "repetitions": scale.separable_repetitions}
            for c_in, c_out, px in scale.separable_blocks
            for batch in scale.separable_batches
        ]  # fmt: skip
        return self._separable_clocked("blocks_of", plan)

    def separable_times(self) -> pd.DataFrame:
        """One row a repetition of a block: plain, separable, and the halves of the latter."""
        return study.typed(self.done(self._separable_blocks).rows, "separable_times")

    @property
    def _separable_peaks(self) -> Planned:
        products, convolutions, copies = map(list, self.scale.separable_peaks)
        plan = [
            {"products": products, "convolutions": convolutions, "copies": copies,
             "repetitions": min(10, self.scale.separable_repetitions)}
        ]  # fmt: skip
        return self._separable_clocked("block_peaks_of", plan)

    def separable_peaks(self) -> pd.DataFrame:
        """One row a repetition of a product, a convolution or a copy."""
        return study.typed(self.done(self._separable_peaks).rows, "separable_peaks")

    @property
    def _separable_trainings(self) -> Planned:
        scale = self.scale
        longer = replace(scale.separable_recipe, epochs=scale.separable_longer_epochs)
        plan = [
            {"net": net, "seed": seed, "recipe": asdict(recipe),
             "train_images": scale.separable_images, "test_images": scale.separable_tried}
            for recipe, nets in (
                (scale.separable_recipe, scale.separable_seeds), (longer, scale.separable_longer)
            )
            for net, seeds in nets
            for seed in range(seeds)
        ]  # fmt: skip
        on_cpu = scale.device == "cpu"
        planned = self._separable(
            "trained_net_of", plan, timed=False, workers=None if on_cpu else 1
        )
        short = on_cpu and sum(map(planned.cost, planned.configurations)) < SHORT_S
        return replace(planned, options=planned.options | {"here": short})

    def separable_trainings(self) -> pd.DataFrame:
        """One row an epoch of a net trained on FashionMNIST."""
        rows = self.done(self._separable_trainings).rows
        had = {"trained_on": "train_images", "tried_on": "test_images"}
        rows = rows.drop(columns=list(had.values()), errors="ignore").rename(columns=had)
        return study.typed(rows, "separable_trainings")

    @property
    def _separable_net_times(self) -> Planned:
        scale = self.scale
        compared = [net for net, _ in scale.separable_seeds]
        plan = [
            {"compared": compared, "what": what, "batch": batch,
             "repetitions": 2 * scale.separable_repetitions}
            for what, batch in scale.separable_net_cases
        ]  # fmt: skip
        return self._separable_clocked("net_times_of", plan)

    def separable_net_times(self) -> pd.DataFrame:
        """One row a repetition of one of the trained nets, new ones of their kind, in turns."""
        return study.typed(self.done(self._separable_net_times).rows, "separable_net_times")
