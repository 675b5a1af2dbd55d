"""Where a set is: CONVCOST_DATA, data/raw, the network, or else a stand-in; never silently.

CONVCOST_DATA is only read. What is downloaded, and the cache of decoded faces, lies in data/raw.
A set that is found but damaged is an error with the file's name: nothing else is tried in its
place, because a machine with half a set should be repaired, not worked around.
"""

import os
import shutil
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from convcost.core import paths
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.datasets import embedded, idx, lfw, transfer
from convcost.datasets.dataset import Dataset
from convcost.datasets.sets import SETS, EmbeddedSet, FaceSet, IdxFile, find


class MissingDataError(ConvcostError):
    """No real set and no stand-in allowed; the text says where it was sought."""


@dataclass(frozen=True)
class Place:
    """A folder in which sets may lie, and its name in results: "CONVCOST_DATA" or "data/raw"."""

    label: str
    root: Path


def names() -> tuple[str, ...]:
    """The names that `load` takes."""
    return tuple(SETS)


def places(raw: Path | None = None) -> list[Place]:
    """The folders in which sets are looked for, in this order."""
    given = os.environ.get("CONVCOST_DATA")
    own = Place("data/raw", raw or paths.RAW)
    # a relative path counts from the project, as the notebooks run in a folder of their own
    return [Place("CONVCOST_DATA", paths.ROOT / Path(given).expanduser()), own] if given else [own]


# ---------------------------------------------------------------- looking


def _idx_path(folder: Path, file: IdxFile) -> Path | None:
    for name in (file.name, f"{file.name}.gz"):
        if (folder / name).is_file():
            return folder / name
    return None


def _lacks(spec, place: Place) -> str:
    """What a place lacks of a set: "" when all of it is there (unread, unchecked)."""
    folder = place.root / spec.folder
    if isinstance(spec, FaceSet):
        return "" if lfw.present(spec, folder) else f"no {spec.folder}/"
    files = [file for pair in spec.files.values() for file in pair]
    missing = [file.name for file in files if not _idx_path(folder, file)]
    if len(missing) == len(files):
        return f"no {spec.folder}/"
    return f"{spec.folder}/ without {', '.join(missing)}" if missing else ""


def missing_folder() -> str:
    """What is wrong where CONVCOST_DATA names no folder, in words; "" where nothing is."""
    for place in places():
        if place.label == "CONVCOST_DATA" and not place.root.is_dir():
            return f"CONVCOST_DATA names a folder that does not exist: {place.root}"
    return ""


def _damage(spec, place: Place) -> str:
    """What is wrong with the files of a set that is there, by their sizes alone: "" for nothing.

    A packed file tells the size of its content in its last four bytes (RFC 1952, section 2.3.1).
    Faces have no sizes on record: they are counted, and empty ones found.
    """
    folder = place.root / spec.folder
    if isinstance(spec, FaceSet):
        return lfw.miscounted(spec, folder)
    faults = []
    for file in (file for pair in spec.files.values() for file in pair):
        path, whole = _idx_path(folder, file), whole_size(file)
        size = path.stat().st_size
        if path.name == file.name:
            if size != whole:
                faults.append(f"{path.name} has {size:,} bytes, not {whole:,}")
        elif idx.unpacked_size(path) != whole:
            faults.append(f"{path.name} has {size:,} bytes, which do not unpack to {whole:,}")
    return "; ".join(faults)


def _search(spec, raw: Path | None) -> tuple[Place | None, list[str]]:
    """(where all of the set is, or None; what was noticed on the way)."""
    notes = []
    for place in places(raw):
        lacking = _lacks(spec, place)
        if not lacking:
            return place, notes
        if place.label == "CONVCOST_DATA":
            notes.append(missing_folder() or f"CONVCOST_DATA has {lacking}")
        elif not lacking.startswith("no "):
            notes.append(f"{place.label} has {lacking}")
    return None, notes


def available(name, *, raw: Path | None = None) -> bool:
    """Whether the real set lies on this machine. Quick: no file is read, nothing is fetched."""
    spec = find(name)
    return isinstance(spec, EmbeddedSet) or _search(spec, raw)[0] is not None


def status(*, raw: Path | None = None) -> list[dict]:
    """One dict per set; quick (no checksums, no network).

    `name`, `title`, `found` (bool: all its files are there), `where` ("CONVCOST_DATA", "data/raw",
    "embedded" or None), `damaged` ("" or which file has not its size), `images` (of the whole
    set), `bytes` on disk, `download_bytes` when it must be fetched, `seconds` this look took,
    `note`. A file of the right size may still have wrong bytes: `load` compares checksums.
    """
    rows = []
    for spec in SETS.values():
        begin = time.perf_counter()
        place, notes = (None, [])
        if not isinstance(spec, EmbeddedSet):
            place, notes = _search(spec, raw)
        where = "embedded" if isinstance(spec, EmbeddedSet) else place and place.label
        rows.append(
            {
                "name": spec.key,
                "title": spec.title,
                "found": where is not None,
                "where": where,
                "damaged": _damage(spec, place) if place else "",
                "images": spec.total,
                "bytes": _size(spec, place) if place else 0,
                "download_bytes": 0 if where else spec.download_bytes,
                "seconds": time.perf_counter() - begin,
                "note": "; ".join(notes),
            }
        )
    return rows


def _size(spec, place: Place) -> int:
    folder = place.root / spec.folder
    if isinstance(spec, FaceSet):
        return sum(
            entry.stat().st_size
            for label in spec.classes
            if (folder / label).is_dir()
            for entry in os.scandir(folder / label)
        )
    files = [_idx_path(folder, file) for pair in spec.files.values() for file in pair]
    return sum(path.stat().st_size for path in files if path)


# ---------------------------------------------------------------- loading

_failures: dict[tuple, str] = {}  # what could not be fetched in this process, and why


def load(
    name,
    split: str,
    *,
    allow_stand_in: bool = True,
    download: bool = True,
    raw: Path | None = None,
    patience: transfer.Patience | None = None,
) -> Dataset:
    """One split of a set: "mnist", "fashionmnist", "lfw_gender" or "digits".

    Splits: "train" and "test", for lfw_gender also "validation". Looked for in CONVCOST_DATA, then
    in data/raw, then fetched into data/raw (unless `download` is false; tried once in a process),
    and last replaced by the stand-in (unless `allow_stand_in` is false). Every file is checked
    against its checksum each time. The result says what it is: `name`, `is_stand_in`, `origin`,
    `notes`, `banner()`.

    Raises BadInputError for an unknown set or split, DamagedFileError for a file that is there and
    is not what it should be, MissingDataError where there is no real set and no stand-in allowed.

    >>> load("digits", "test").images.shape
    (350, 1, 8, 8)
    """
    spec = find(name)
    if split not in spec.splits:
        raise BadInputError(
            f"{spec.key} has no split {split!r}; there are: {', '.join(spec.splits)}"
        )
    if isinstance(spec, EmbeddedSet):
        images, labels = embedded.digits()
        chosen = embedded.members(labels, split, spec.splits)
        images = embedded.enlarged(images[chosen], spec.shape)
        return Dataset(
            spec.key, spec.key, split, images, labels[chosen], spec.classes, "embedded", spec
        )
    place, notes = _search(spec, raw)
    origin = place.label if place else "download"
    if place is None and download:
        # a second split must not wait again for servers that have just failed
        attempt = (spec.key, spec.urls, raw)
        if attempt not in _failures:
            try:
                place = fetch(spec, raw=raw, patience=patience)
            except transfer.DownloadError as error:
                _failures[attempt] = str(error)
        if place is None:
            notes.append(_failures[attempt])
    if place is not None:
        images, labels, people = _read(spec, split, place, raw)
        return Dataset(
            spec.key,
            spec.key,
            split,
            images,
            labels,
            spec.classes,
            origin,
            spec,
            tuple(notes),
            people,
        )
    if not allow_stand_in:
        reasons = "; ".join(notes) or "it is not in data/raw, and downloading was not asked for"
        raise MissingDataError(
            f"{spec.title} is not available: {reasons}. Run `make data`, or set CONVCOST_DATA to a "
            f"folder with {spec.folder}/"
        )
    images, labels, classes = embedded.stand_in(spec, split)
    return Dataset(
        spec.key, "digits", split, images, labels, classes, "embedded stand-in", spec, tuple(notes)
    )


@cache
def splits(
    name: str, train_images: int | None = None, test_images: int | None = None
) -> tuple[Dataset, Dataset]:
    """The training and the test split, cut to their first images; None: all of them.

    As `load`; a process has each pair once, so what is kept beside a set stays with it.

    >>> [len(part) for part in splits("digits", 100)]
    [100, 350]
    """
    parts = zip((load(name, "train"), load(name, "test")), (train_images, test_images), strict=True)
    return tuple(
        part if images is None or images >= len(part) else part.first(images)
        for part, images in parts
    )


def _read(spec, split: str, place: Place, raw: Path | None):
    folder = place.root / spec.folder
    if isinstance(spec, FaceSet):
        return lfw.read(spec, folder, split, (raw or paths.RAW) / "cache")
    try:
        images, labels = (
            idx.read(_idx_path(folder, file), file.shape, file.sha256) for file in spec.files[split]
        )
    except DamagedFileError as error:
        advice = "remove it and run `make data`"
        if place.label == "CONVCOST_DATA":
            advice = "replace it, or unset CONVCOST_DATA and run `make data`"
        raise DamagedFileError(f"{error}: {advice}") from error
    return images.reshape(len(images), *spec.shape), labels.astype(np.int64), None


# ---------------------------------------------------------------- fetching


def fetch(name, *, raw: Path | None = None, patience: transfer.Patience | None = None) -> Place:
    """Download and prepare a set into data/raw (or `raw`), unless it is there; the place it is in.

    All or nothing: the files appear when all are complete and checked; on failure, and after a
    kill, nothing stays that counts as done. One process at a time, the others wait. Files that lie
    in `data/raw/downloads/<set>/` under their own names are used in place of a download, after the
    same checks.

    Raises NoNetworkError within 5 seconds where no server answers, DownloadError where a file
    cannot be had, BadInputError where one put by hand is the wrong one.
    """
    spec = find(name)
    raw = raw or paths.RAW
    if isinstance(spec, EmbeddedSet):
        return Place("embedded", raw)
    place = Place("data/raw", raw)
    if not _lacks(spec, place):
        return place
    remotes = _remotes(spec, place)
    urls = [url for remote in transfer.needed(remotes, _by_hand(spec, raw)) for url in remote.urls]
    if urls and not (verdict := transfer.network(urls)):
        raise transfer.NoNetworkError(f"{spec.title} cannot be downloaded: {verdict.reason}")
    try:
        with transfer.workplace(raw) as partial:
            if _lacks(spec, place):  # another process may have brought it while this one waited
                _room(spec, raw)
                make = _fetch_faces if isinstance(spec, FaceSet) else _fetch_idx
                make(spec, place, partial, patience)
    except DamagedFileError as error:
        # what came is not the set: for the caller the same as if nothing had come
        raise transfer.DownloadError(f"{spec.title} could not be fetched: {error}") from error
    except OSError as error:
        raise transfer.DownloadError(
            f"{spec.title} could not be stored in {raw}: {error.strerror or error}"
        ) from error
    return place


def _by_hand(spec, raw: Path) -> Path:
    return raw / "downloads" / spec.key  # by set: MNIST's and Fashion-MNIST's files share names


def _remotes(spec, place: Place) -> list:
    if isinstance(spec, FaceSet):
        return [*spec.lists.values(), spec.archive]
    folder = place.root / spec.folder
    files = [file for pair in spec.files.values() for file in pair]
    return [spec.remote(file) for file in files if not _idx_path(folder, file)]


def _room(spec, raw: Path) -> None:
    needed = 3 * spec.download_bytes  # the archive, its content, and air
    free = shutil.disk_usage(raw).free
    if free < needed:
        raise transfer.DownloadError(
            f"{spec.title} needs {needed / 1e6:,.0f} MB in {raw} while it is prepared; "
            f"{free / 1e6:,.0f} MB are free"
        )


def _fetch_idx(spec, place: Place, partial: Path, patience) -> None:
    folder = place.root / spec.folder
    ready = []
    for file in (file for pair in spec.files.values() for file in pair):
        if _idx_path(folder, file):
            continue
        packed = transfer.obtain(spec.remote(file), _by_hand(spec, place.root), partial, patience)
        idx.read(packed, file.shape, file.sha256)
        whole = partial / file.name
        whole.write_bytes(idx.unpacked(packed, whole_size(file)))
        ready.append((whole, folder / file.name))
    folder.mkdir(parents=True, exist_ok=True)
    for whole, final in ready:
        whole.replace(final)


def whole_size(file: IdxFile) -> int:
    """Bytes of an uncompressed IDX file: MNIST's training labels have 8 + 60,000."""
    return len(idx.header(file.shape)) + int(np.prod(file.shape))


def _fetch_faces(spec: FaceSet, place: Place, partial: Path, patience) -> None:
    # the lists first: they are small, and without them the archive is of no use
    lists = {
        label: transfer.obtain(remote, _by_hand(spec, place.root), partial, patience)
        for label, remote in spec.lists.items()
    }
    labels = lfw.labels_from(spec, lists)
    archive = transfer.obtain(spec.archive, _by_hand(spec, place.root), partial, patience)
    made = partial / spec.key
    lfw.prepare(spec, archive, labels, made)
    final = place.root / spec.folder
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.is_dir():
        final.rmdir()  # an empty one; `_lacks` has found no image in it
    made.replace(final)
