"""Where things lie: every folder of the compendium, found from this file's own place.

Nothing is created here; whoever writes creates its folder.
"""

import os
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]  # the folder of `convcost` itself
ROOT = Path(
    os.environ.get("CONVCOST_ROOT") or LIBRARY.parents[1]
)  # the repository; an installed copy without one sets CONVCOST_ROOT

NOTEBOOKS = ROOT / "notebooks"  # committed, with the outputs of the reference run
FIGURES = ROOT / "figures"  # generated only, committed
PUBLISHED = ROOT / "data" / "published"  # one CSV per source: what it prints
CITED = ROOT / "data" / "cited"  # facts from elsewhere, with their sources
REFERENCE_RESULTS = ROOT / "data" / "results"  # <machine>/<table>.csv, committed
RAW = ROOT / "data" / "raw"  # downloads and local runs, git-ignored
LOCAL_RESULTS = Path(
    os.environ.get("CONVCOST_RESULTS") or RAW / "runs"
)  # <machine>/<table>.csv of a user's own runs, git-ignored
BUILD = ROOT / "build"  # whatever can be made again, git-ignored
LAB = ROOT / "lab"  # copies that JupyterLab opens, changed by their user, git-ignored
EXECUTED_NOTEBOOKS = BUILD / "notebooks"  # copies that papermill has run
