"""Where things lie: every folder of the compendium, found from this file's own place.

Nothing is created here; whoever writes creates its folder.
"""

import os
from pathlib import Path

from convcost.core.errors import ConvcostError

LIBRARY = Path(__file__).resolve().parents[1]  # the folder of `convcost` itself
# The repository: the one that this library lies in, or for a library that was installed by itself
# the folder that CONVCOST_ROOT names, or where it is started.
ROOT = Path(
    os.environ.get("CONVCOST_ROOT")
    or (LIBRARY.parents[1] if LIBRARY.parent.name == "lib" else Path.cwd())
)

NOTEBOOKS = ROOT / "notebooks"  # committed, with the outputs of the reference run
FIGURES = ROOT / "figures"  # generated only, committed
PUBLISHED = ROOT / "data" / "published"  # one CSV per source: what it prints
CITED = ROOT / "data" / "cited"  # facts from elsewhere, with their sources
COUNTED = ROOT / "data" / "counted"  # work of nets that others have timed
REFERENCE_RESULTS = ROOT / "data" / "results"  # <machine>/<table>.csv, committed
RAW = ROOT / "data" / "raw"  # downloads and local runs, git-ignored
LOCAL_RESULTS = Path(
    os.environ.get("CONVCOST_RESULTS") or RAW / "runs"
)  # <machine>/<table>.csv of a user's own runs, git-ignored
BUILD = ROOT / "build"  # whatever can be made again, git-ignored
LAB = ROOT / "lab"  # copies that JupyterLab opens, changed by their user, git-ignored
EXECUTED_NOTEBOOKS = BUILD / "notebooks"  # copies that papermill has run


def shown(path: Path) -> str:
    """A path as a reader is told it: from the repository on where it lies in it."""
    inside = path.absolute().is_relative_to(ROOT)
    return (path.absolute().relative_to(ROOT) if inside else path).as_posix()


def without_compendium(what: str) -> ConvcostError | None:
    """Why `what` cannot be had where the compendium's data are not, and what to do; None here.

    An installed package is the library alone: published numbers, results and notebooks lie in the
    repository.
    """
    if PUBLISHED.is_dir():
        return None
    return ConvcostError(
        f"{what} needs the compendium's data, which an installed convcost does not bring: there is "
        f"no data/published/ in {ROOT}. Clone the repository, then start there, or set "
        "CONVCOST_ROOT to its folder"
    )
