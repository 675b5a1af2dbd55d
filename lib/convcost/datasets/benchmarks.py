"""Published tables of accuracies and times, at a fixed commit: found, checked, or fetched.

They are other people's, small, and never committed here. `path` gives a file whose checksum has
just been compared.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from convcost.core.errors import BadInputError, DamagedFileError
from convcost.datasets import library, transfer
from convcost.datasets.library import MissingDataError, Place
from convcost.datasets.sets import MEGABYTE, RemoteFile

FOLDER = "benchmarks"  # under CONVCOST_DATA or data/raw


@dataclass(frozen=True)
class Collection:
    """The tables of one project at one commit.

    `files`: name -> sha256. `urls` are the folders that hold them under these names, each ending in
    "/". `download_bytes`: of all of them.
    """

    key: str
    title: str
    urls: tuple[str, ...]
    files: dict[str, str]
    download_bytes: int
    licence: str
    citation: str

    def describe(self) -> dict:
        """What it is, for run records, as JSON: the keys of `Dataset.describe` that they read.

        content_sha256 is that of the lines "<sha256>  <name>", as sha256sum writes them, sorted.
        """
        lines = sorted(f"{value}  {name}\n" for name, value in self.files.items())
        return {
            "asked": self.key,
            "name": self.key,
            "split": "all",
            "is_stand_in": False,
            "licence": self.licence,
            "content_sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
        }

    def remote(self, name: str) -> RemoteFile:
        """One file as `transfer` fetches it."""
        urls = tuple(f"{url}{name}" for url in self.urls)
        return RemoteFile(name, urls, f"sha256:{self.files[name]}", MEGABYTE)

    def lacking(self, place: Place) -> list[str]:
        """The files that a place lacks; unread, unchecked."""
        return [name for name in self.files if not (_folder(self, place) / name).is_file()]


_GITHUB = "https://raw.githubusercontent.com"
_TIMM_COMMIT = "aa4b5850c1543fa488abf260f18390eda46cf85d"
_PYCLS_COMMIT = "5719de641657c251f807c20a1fcf8ef6f4b60144"

TIMM = Collection(
    "timm",
    "timm's results",
    (f"{_GITHUB}/huggingface/pytorch-image-models/{_TIMM_COMMIT}/results/",),
    {
        "results-imagenet.csv": (
            "30972bf7c7ab451bbd4480ec6116b13d0a84441c57bbc946896fd312264acfcd"
        ),
        "benchmark-infer-amp-nchw-pt291-cu128-4090.csv": (
            "7ef180f30bfcf3271aed993ddff2114c88a83b58e6f7e56acbd76e702e6f3136"
        ),
        "benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv": (
            "229c10d809d5ef0cc28cc5d875f1170e5554c25ad5251bbcd8cfe1890380981d"
        ),
        "benchmark-infer-amp-nhwc-pt240-cu124-rtx3090.csv": (
            "0ee56fb006cad780c5931d314422874777502d408f734273bcac4c74d5e3c67a"
        ),
        "benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv": (
            "d0566bba4da7273d662b89ac8ff8705027c2921b3cb946967fa22ffa8713fd5b"
        ),
        "benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv": (
            "da9ac868a21c2f093981954a5064b080af5d04993610836ccd9609d8b3ff84ba"
        ),
    },
    503_326,
    "Apache-2.0",
    "Wightman, PyTorch Image Models, github.com/huggingface/pytorch-image-models, aa4b5850",
)

PYCLS = Collection(
    "pycls",
    "pycls' model tables",
    (f"{_GITHUB}/facebookresearch/pycls/{_PYCLS_COMMIT}/dev/",),
    {
        "model_complexity.json": (
            "fb78b14580c43fcba71b75491759dfcfc7b50e0b42b39f918f895b42af54049b"
        ),
        "model_error.json": "7adc8bfd9b4c9f901446bb42a8cc29ea89f62908860a98187bb8e1f741cea0d0",
        "model_timing.json": "73ed07a3019174da03a7942ddd4b6d473abcc531bc8de58a5bfb431b17c24fa5",
    },
    18_984,
    "MIT",
    "Radosavovic, Kosaraju, Girshick, He & Dollar 2020, CVPR; github.com/facebookresearch/pycls, "
    "5719de64",
)

COLLECTIONS = {one.key: one for one in (TIMM, PYCLS)}


def find(name: str | Collection) -> Collection:
    """The collection called `name`; one that is handed in comes back as it is.

    Raises BadInputError for an unknown name.
    """
    if isinstance(name, Collection):
        return name
    if name not in COLLECTIONS:
        raise BadInputError(
            f"no published tables are called {name!r}; there are: {', '.join(COLLECTIONS)}"
        )
    return COLLECTIONS[name]


def _folder(collection: Collection, place: Place) -> Path:
    return place.root / FOLDER / collection.key


def where(name: str | Collection, *, raw: Path | None = None) -> Place | None:
    """The first place that has all tables of a collection; None where none has. Nothing is read."""
    collection = find(name)
    places = library.places(raw)
    return next((place for place in places if not collection.lacking(place)), None)


def path(
    name: str,
    *,
    download: bool = True,
    raw: Path | None = None,
    patience: transfer.Patience | None = None,
    collections: dict[str, Collection] | None = None,
) -> Path:
    """A file such as "timm/results-imagenet.csv", its sha256 compared just now.

    Looked for in CONVCOST_DATA, then in data/raw, then fetched into data/raw (unless `download` is
    false). `collections` replaces `COLLECTIONS`.

    Raises BadInputError for an unknown name, MissingDataError where it is nowhere and cannot be
    fetched, and DamagedFileError where it is not what was published.
    """
    known = COLLECTIONS if collections is None else collections
    key, _, file = name.partition("/")
    if key not in known or file not in known[key].files:
        names = (f"{one.key}/{each}" for one in known.values() for each in one.files)
        raise BadInputError(f"no published table is called {name!r}; there are: {', '.join(names)}")
    collection = known[key]
    places = library.places(raw)
    for place in places:
        if (found := _folder(collection, place) / file).is_file():
            return _checked(found, collection.files[file], place)
    reason = "downloading was not asked for"
    if download:
        try:
            place = fetch(collection, raw=raw, patience=patience)
            return _checked(_folder(collection, place) / file, collection.files[file], place)
        except transfer.DownloadError as error:
            reason = str(error)
    sought = " and ".join(f"{place.label}/{FOLDER}/{key}/" for place in places)
    raise MissingDataError(
        f"{file} of {collection.title} is not in {sought}: {reason}. Run `make data`, or set "
        f"CONVCOST_DATA to a folder with {FOLDER}/{key}/"
    )


def _checked(found: Path, expected: str, place: Place) -> Path:
    if hashlib.sha256(found.read_bytes()).hexdigest() != expected:
        advice = "remove it and run `make data`"
        if place.label == "CONVCOST_DATA":
            advice = "replace it, or unset CONVCOST_DATA and run `make data`"
        raise DamagedFileError(
            f"{found} does not have the sha256 {expected[:16]}… of the published table: {advice}"
        )
    return found


def fetch(
    name: str | Collection,
    *,
    raw: Path | None = None,
    patience: transfer.Patience | None = None,
) -> Place:
    """All tables of a collection in data/raw (or `raw`), downloaded unless they are there.

    All or nothing, one process at a time, files put by hand into `data/raw/downloads/<key>/` first,
    as `datasets.fetch` does it. Raises NoNetworkError within 5 seconds where no server answers,
    DownloadError where a file cannot be had, BadInputError where one put by hand is the wrong one.
    """
    collection = find(name)
    place = Place("data/raw", raw or library.paths.RAW)
    lacking = collection.lacking(place)
    if not lacking:
        return place
    by_hand = place.root / "downloads" / collection.key
    remotes = [collection.remote(file) for file in lacking]
    urls = [url for remote in transfer.needed(remotes, by_hand) for url in remote.urls]
    if urls and not (verdict := transfer.network(urls)):
        raise transfer.NoNetworkError(f"{collection.title} cannot be downloaded: {verdict.reason}")
    folder = _folder(collection, place)
    with transfer.workplace(place.root) as partial:
        ready = []
        for remote in remotes:
            got = transfer.obtain(remote, by_hand, partial, patience)
            whole = partial / f"{remote.name}.part"
            whole.write_bytes(got.read_bytes())  # what was put by hand stays where it is
            ready.append((whole, folder / remote.name))
        folder.mkdir(parents=True, exist_ok=True)
        for whole, final in ready:
            whole.replace(final)
    return place


def check(name: str | Collection, *, raw: Path | None = None) -> Place:
    """The place of a collection, after the checksum of every table was compared.

    Raises MissingDataError where no place has all of them, DamagedFileError for a wrong one.
    """
    collection = find(name)
    place = where(collection, raw=raw)
    if place is None:
        raise MissingDataError(
            f"{collection.title}: not all of its tables are here. Run `make data`, or set "
            f"CONVCOST_DATA to a folder with {FOLDER}/{collection.key}/"
        )
    for file, expected in collection.files.items():
        _checked(_folder(collection, place) / file, expected, place)
    return place
