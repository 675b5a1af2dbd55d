"""The experiments of notebook 05: known nets, here and elsewhere; the separable block.

`Study(profile)` has one method a table of `chapters.accuracy_and_run_time.tables`; each returns its
rows. All that is measured is a unit of a sweep, and kept under `data/raw/`.
"""

from convcost.chapters.accuracy_and_run_time.study.scales import SCALES, SMOKE
from convcost.sweep import study


class Study(study.Study):
    """The experiments at the scale of a profile, on the data that this machine has."""

    notebook = "05-accuracy-and-run-time"
    scales, smoke_scale = SCALES, SMOKE
