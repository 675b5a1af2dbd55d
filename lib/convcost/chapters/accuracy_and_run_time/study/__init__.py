"""The experiments of notebook 05: known nets, here and elsewhere; the separable block.

`Study(profile)` has one method a table of `chapters.accuracy_and_run_time.tables`; each returns its
rows. All that is measured is a unit of a sweep, and kept under `data/raw/`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import cached_property, wraps

import pandas as pd

from convcost import records
from convcost.chapters.accuracy_and_run_time.study import known, papers, prediction
from convcost.chapters.accuracy_and_run_time.study import separable as separable_measurements
from convcost.chapters.accuracy_and_run_time.study.scales import SCALES, SMOKE
from convcost.core.errors import ConvcostError
from convcost.datasets import Dataset, benchmarks
from convcost.datasets.library import MissingDataError
from convcost.predict import calibration, prices
from convcost.sweep import Planned, study
from convcost.sweep.study import Part

SHORT_S = 15.0  # of training in all: done before workers would be ready


def _of_published(method: Callable) -> Callable:
    """A table that follows from published tables alone: without these, the committed one.

    They are the same whoever reads them. `Study.borrowed` names what was taken from there.
    """

    @wraps(method)
    def table(self):
        try:
            found = pd.DataFrame(method(self))
        except MissingDataError as error:
            found = records.read(method.__name__).drop(columns="run_id")
            self.borrowed[method.__name__] = str(error)
        return study.typed(found, method.__name__)

    return table


class Study(study.Study):
    """The experiments at the scale of a profile, on the data that this machine has."""

    notebook = "05-accuracy-and-run-time"
    scales, smoke_scale = SCALES, SMOKE

    @cached_property
    def borrowed(self) -> dict[str, str]:
        """Table -> why it is the committed one: published tables that could not be read."""
        return {}

    def published(self) -> str:
        """Where the published tables are read from, in a sentence."""
        lacking = [
            one.title for one in benchmarks.COLLECTIONS.values() if not benchmarks.where(one)
        ]
        if not lacking:
            return "Published tables: timm's and pycls's, their checksums compared."
        return (
            f"NOT FOUND: {' and '.join(lacking)}. What follows from them is taken from the "
            "committed reference, unless they can be downloaded now (`make data`)."
        )

    @cached_property
    def fashion(self) -> tuple[Dataset, Dataset]:
        """Both splits."""
        return separable_measurements.fashion(None, None)

    @property
    def used(self) -> tuple[Dataset | benchmarks.Collection, ...]:
        """The data set, as it was found, and the published tables that are here."""
        here = [one for one in benchmarks.COLLECTIONS.values() if benchmarks.where(one)]
        return *self.fashion, *here

    @property
    def seeds(self) -> list[int]:
        """Of the trained nets, and of the made ones."""
        return list(range(max(seeds for _, seeds in self.scale.separable_seeds)))

    def parts(self) -> dict[str, Part]:
        """What a machine measures, the most valuable first."""
        return {
            "known-nets": Part(
                "nets of torchvision on the clock, in inference and in training",
                self._known_times,
                essential=True,
            ),
            "calibration": Part(
                "made nets on the clock, to which this machine's prices are fitted",
                (self._calibration,),
                essential=True,
            ),
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

    # --- known nets -----------------------------------------------------------------------------

    @_of_published
    def known_nets(self) -> Iterator[dict]:
        """Accuracies that torchvision and timm publish, with what each net costs (`known`)."""
        return known.known_nets()

    @_of_published
    def published_times(self) -> Iterator[dict]:
        """Times that timm publishes of these nets on three devices (`known`)."""
        return known.published_times()

    def training_compute(self) -> Iterator[dict]:
        """What the training of known systems took, as `data/cited/training_compute.csv` has it."""
        return known.training_compute()

    def _clocked(self, function: str, plan: Iterable[dict], cost: Callable) -> Planned:
        """What a function of `study.prediction` says of each configuration, one by one."""
        shared = {"threads": self.threads, "device": self.scale.device}
        planned = self.planned(
            function, [unit | shared for unit in plan], data={}, cost=cost, attempts=1,
            workers=1, threads=self.threads, here=self.scale.device == "cpu",
        )  # fmt: skip
        return replace(planned, function=f"{prediction.__name__}:{function}")

    @property
    def _known_times(self) -> tuple[Planned, ...]:
        """One sweep a use and batch: groups of nets in turns, all of them in each session."""
        scale = self.scale
        sweeps = []
        for what, batch, gmacs, most in scale.known_cases:
            names = prediction.names_up_to(gmacs, scale.known_millions, most)
            groups = max(1, round(len(names) / scale.known_in_turns))
            plan = [
                {"names": names[at::groups], "what": what, "batch": batch, "session": session,
                 "repetitions": scale.known_repetitions}
                for session in range(scale.known_sessions)
                for at in range(groups)
            ]  # fmt: skip
            sweeps.append(self._clocked("timed", plan, prediction.timed_s))
        return tuple(sweeps)

    def known_net_times(self) -> pd.DataFrame:
        """One row a repetition of a net of torchvision on this machine."""
        found = [self.done(planned).rows for planned in self._known_times]
        return study.typed(pd.concat(found), "known_net_times")

    # --- the predictor --------------------------------------------------------------------------

    @property
    def _calibration(self) -> Planned:
        scale = self.scale
        kind = prices.CPU if scale.device == "cpu" else prices.GPU
        plan = [
            {"number": number, "what": what, "batch": batches[number % len(batches)],
             "repetitions": scale.calibration_repetitions}
            for what, rounds in scale.calibration_rounds
            for batches in [calibration.BATCHES[kind, what]]
            for number in range(rounds)
        ]  # fmt: skip
        return self._clocked("calibrated", plan, prediction.calibrated_s)

    @cached_property
    def _made(self) -> pd.DataFrame:
        """The made nets that were timed here, with their work, those of unstable rounds too."""
        return self.done(self._calibration).rows

    def made(self, what: str) -> pd.DataFrame:
        """Those of one use that prices are fitted to."""
        return calibration.quiet(self._made[self._made["what"] == what])

    def calibration_times(self) -> pd.DataFrame:
        """One row a made net."""
        return study.typed(self._made.rename(columns={"seconds": "image_s"}), "calibration_times")

    def priced(self, what: str) -> prices.Known:
        """This machine's prices, fitted to the made nets."""
        kind = prices.CPU if self.scale.device == "cpu" else prices.GPU
        return calibration.fitted(self.made(what), self.host.name, "this machine", kind)

    def own_predictions(self) -> pd.DataFrame:
        """One row a net timed here, model and what it was fitted to."""
        known_rows = prediction.known_rows(self.known_net_times())
        rows = [
            row
            for what, mine in known_rows.groupby("what", sort=False)
            for row in prediction.predicted(self.made(what), mine)
        ]
        return study.typed(pd.DataFrame(rows), "own_predictions")

    def _judged(self, function: str, plan: Iterable[dict], cost: float) -> pd.DataFrame:
        """What follows from published tables, each of which is read and kept once."""
        plan = list(plan)
        if not plan:  # a scale without such a table
            return pd.DataFrame()
        for unit in plan:
            benchmarks.path(unit["table"])  # MissingDataError before anything is begun
        planned = self.planned(
            function, plan, timed=False, cost=lambda unit: cost, workers=1, here=True,
            data={one.key: one.describe()["content_sha256"]
                  for one in benchmarks.COLLECTIONS.values()},
        )  # fmt: skip
        planned = replace(planned, function=f"{prediction.__name__}:{function}")
        done = planned.run()
        if (failed := done.units[done.units["status"].ne("done")]).size:
            raise ConvcostError(
                f"{function} of {failed['table'].iloc[0]}: {failed['reason'].iloc[0]}"
            )
        return done.rows

    @_of_published
    def table_scores(self) -> pd.DataFrame:
        """How well each model predicts unseen nets of each published table."""
        plan = [{"table": table, "what": what} for table, what in self.scale.tables]
        return self._judged("scored", plan, 15)

    @_of_published
    def error_groups(self) -> pd.DataFrame:
        """Errors of ours by design and by kind of work, on each published table of many designs."""
        plan = [
            {"table": table, "what": what}
            for table, what in self.scale.tables
            if table.startswith("timm/")
        ]
        return self._judged("grouped", plan, 10)

    @_of_published
    def transfer_scores(self) -> pd.DataFrame:
        """Errors on a device of which few nets are given."""
        scale = self.scale
        plan = [
            {"table": table, "begun_from": begun_from, "numbers": list(scale.transfer_given),
             "draws": scale.transfer_draws}
            for table, begun_from in scale.transfers
        ]  # fmt: skip
        return self._judged("transferred", plan, 10)

    def paper_predictions(self) -> pd.DataFrame:
        """What prices say of what the papers timed: epochs, layers, configurations."""
        here = self.priced("inference")
        times = self.earlier("forward_times")
        found = [*papers.epochs(), *papers.layers(here), *papers.configurations(here, times)]
        return study.typed(pd.DataFrame(found), "paper_predictions")
