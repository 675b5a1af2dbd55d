"""The experiments of notebook 05: known nets, here and elsewhere; the separable block.

`Study(profile)` has one method a table of `chapters.accuracy_and_run_time.tables`; each returns its
rows. All that is measured is a unit of a sweep, and kept under `data/raw/`.
"""

from collections.abc import Iterator

from convcost.chapters.accuracy_and_run_time.study import known
from convcost.chapters.accuracy_and_run_time.study.scales import SCALES, SMOKE
from convcost.datasets import benchmarks
from convcost.sweep import study


class Study(study.Study):
    """The experiments at the scale of a profile, on the data that this machine has."""

    notebook = "05-accuracy-and-run-time"
    scales, smoke_scale = SCALES, SMOKE

    @property
    def used(self) -> tuple[benchmarks.Collection, ...]:
        """The published tables that this notebook reads."""
        return (benchmarks.TIMM,)

    def known_nets(self) -> Iterator[dict]:
        """Accuracies that torchvision and timm publish, with what each net costs (`known`)."""
        return known.known_nets()

    def training_compute(self) -> Iterator[dict]:
        """What the training of known systems took, as `data/cited/training_compute.csv` has it."""
        return known.training_compute()

    def published_times(self) -> Iterator[dict]:
        """Times that timm publishes of these nets on three devices (`known`)."""
        return known.published_times()
