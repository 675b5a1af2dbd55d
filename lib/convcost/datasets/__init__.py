"""The data sets: found, checked, fetched, or replaced by a stand-in that says so.

>>> from convcost import datasets
>>> datasets.load("digits", "train").images.shape
(1447, 1, 8, 8)
"""

from convcost.datasets.dataset import Banner, Dataset, fingerprint
from convcost.datasets.library import (
    MissingDataError,
    Place,
    available,
    fetch,
    load,
    missing_folder,
    names,
    places,
    splits,
    status,
)
from convcost.datasets.sets import SETS, find
from convcost.datasets.transfer import DownloadError, NoNetworkError, Patience, Verdict, network

__all__ = [
    "SETS",
    "Banner",
    "Dataset",
    "DownloadError",
    "MissingDataError",
    "NoNetworkError",
    "Patience",
    "Place",
    "Verdict",
    "available",
    "fetch",
    "find",
    "fingerprint",
    "load",
    "missing_folder",
    "names",
    "network",
    "places",
    "splits",
    "status",
]
