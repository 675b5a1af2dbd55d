"""Faces with a label each: reading the prepared folder, and preparing it from the originals.

Preparation: of each funneled 250×250 image rows and columns 61..188 (128×128 round the centre),
Lanczos to 64×64, JPEG of quality 95 without chroma subsampling; an image belongs to a label when
exactly one list names it and it is not one of the nine in `spec.left_out`.

Verified here: the content of the labels, name by name (`spec.labels_sha256`, 2,961 + 10,263), and
the archive's sha256 as scikit-learn has it. Not tried here, for want of a network: the addresses of
the archive and of the lists. The pixels of a set prepared elsewhere may differ in single grey
levels where the JPEG library decodes differently; `Dataset.is_reference` says whether they do.

The labels are two words put on people by others, from name and looks. They serve as a task for
networks, and say nothing about the people.
"""

import hashlib
import io
import os
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np

from convcost.core.errors import DamagedFileError
from convcost.datasets import transfer
from convcost.datasets.sets import FaceSet

SOURCE_PX = 250
FIRST, LAST = 61, 188  # rows and columns kept, both included
JPEG_QUALITY = 95
NO_SUBSAMPLING = 0  # Pillow's word for 4:4:4

# The archive has 13,233 images of at most 60 KB in 5,749 folders; an archive far beyond that is
# not the one, whatever it is.
MAX_MEMBERS = 40_000
MAX_MEMBER_BYTES = 4_000_000
MAX_TOTAL_BYTES = 1_000_000_000
MAX_EXTENDED_BYTES = 8_192  # of a header beside the plain one, such as a long name: a few hundred

_EXTENDED = {
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
}

_NAME = re.compile(r"(?P<person>[^/\\]+)_\d{4}\.jpg")

TRAIN_PERCENT, VALIDATION_PERCENT = 70, 15


def split_of(person: str) -> str:
    """ "train", "validation" or "test" for a person: by the name alone, so for ever the same.

    The first 8 bytes of the sha256 of the name, as a big-endian fraction of 2^64: below 0.70 is
    train, below 0.85 validation, the rest test. By person, because with the same face on both
    sides a network is tested on what it has learned by heart.
    """
    position = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], "big")
    percent = position * 100 >> 64
    if percent < TRAIN_PERCENT:
        return "train"
    return "validation" if percent < TRAIN_PERCENT + VALIDATION_PERCENT else "test"


def person_of(filename: str) -> str:
    """The person's name in a file name: "Zhang_Ziyi_0003.jpg" gives "Zhang_Ziyi"."""
    found = _NAME.fullmatch(filename)
    if not found:
        raise DamagedFileError(f"{filename} is not named <Person_Name>_<nnnn>.jpg")
    return found["person"]


# ---------------------------------------------------------------- the prepared folder


def present(spec: FaceSet, folder: Path) -> bool:
    """Whether something of the set lies in `folder` (no checking, no reading)."""
    return any(
        next((folder / label).glob("*.jpg"), None) is not None
        for label in spec.classes
        if (folder / label).is_dir()
    )


def miscounted(spec: FaceSet, folder: Path) -> str:
    """What is wrong by number and size of the images, in words; "" for nothing. None is read."""
    faults = []
    for label, expected in spec.per_label.items():
        entries = os.scandir(folder / label) if (folder / label).is_dir() else ()
        sizes = {entry.name: entry.stat().st_size for entry in entries}
        sizes = {name: size for name, size in sizes.items() if name.endswith(".jpg")}
        if len(sizes) != expected:
            faults.append(f"{label}/ has {len(sizes):,} images, not {expected:,}")
        if empty := sorted(name for name, size in sizes.items() if not size):
            more = f" and {len(empty) - 1:,} more" if len(empty) > 1 else ""
            faults.append(f"{label}/{empty[0]}{more} has 0 bytes")
    return "; ".join(faults)


def listing(spec: FaceSet, folder: Path) -> list[tuple[str, str]]:
    """(label, file name) of every image, in torchvision's ImageFolder order.

    Raises DamagedFileError where the folder does not hold exactly the images of the set.
    """
    found = [
        (label, path.name)
        for label in spec.classes
        for path in sorted((folder / label).glob("*.jpg"), key=lambda path: path.name)
    ]
    if labels_sha256(found) != spec.labels_sha256:
        counts = Counter(label for label, _ in found)
        said = ", ".join(
            f"{counts[label]:,} {label} instead of {n:,}"
            if counts[label] != n
            else f"{n:,} {label}, as many as expected"
            for label, n in spec.per_label.items()
        )
        raise DamagedFileError(
            f"{folder} does not hold the images of {spec.title}: {said}; names and labels differ "
            "from the reference list. Remove the folder and run `make data`"
        )
    return found


def labels_sha256(listed: list[tuple[str, str]]) -> str:
    """sha256 of the sorted lines "<file name> <label>\\n" of (label, file name) pairs."""
    lines = sorted(f"{name} {label}\n" for label, name in listed)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read(spec: FaceSet, folder: Path, split: str, cache: Path | None = None):
    """Images (N, 3, 64, 64) uint8, labels (N,) int64 and the N names of the people of a split.

    In ImageFolder order. Decoding takes seconds, so the pixels of all splits are kept as an array
    in `cache` (a folder; None keeps nothing), under a name made of every file's name, size and
    time. It is mapped into memory: many processes share one copy. Raises DamagedFileError.
    """
    splits = {}
    for one in listing(spec, folder):
        splits.setdefault(split_of(person_of(one[1])), []).append(one)
    listed = [one for name in sorted(splits) for one in splits[name]]  # a split in one piece
    before = sum(len(splits[name]) for name in splits if name < split)
    chosen = slice(before, before + len(splits.get(split, ())))
    labels = np.array([spec.classes.index(label) for label, _ in listed], np.int64)
    people = np.array([person_of(name) for _, name in listed])
    paths = [folder / label / name for label, name in listed]
    kept = cache / f"{spec.key}-{_state(paths)}.npy" if cache else None
    images = _cached(kept) if kept else None
    if images is None:
        images = np.empty((len(paths), *spec.shape), np.uint8)
        with transfer.progress(f"reading {spec.title}", len(paths), " images") as bar:
            for target, path in zip(images, paths, strict=True):
                target[:] = _decoded(path, spec.shape)
                bar.update(1)
        if kept:
            _keep(images, kept, spec.key)
    return images[chosen], labels[chosen], people[chosen]


def _decoded(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DamagedFileError(
            f"{path} cannot be read as an image ({error}). Remove the folder {path.parents[1]} "
            "and run `make data`"
        ) from error
    if pixels.shape != (*shape[1:], shape[0]):
        raise DamagedFileError(
            f"{path} has the shape {pixels.shape}, not {(*shape[1:], shape[0])}. Remove the "
            f"folder {path.parents[1]} and run `make data`"
        )
    return pixels.transpose(2, 0, 1)


def _state(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        stat = path.stat()
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


_DIGEST_BYTES = 32  # behind the array in its file


def _cached(path: Path) -> np.ndarray | None:
    """The images kept in `path`, or None where there are none or the file is damaged."""
    with suppress(Exception):  # a cache that cannot be read is as good as none
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        with path.open("rb") as file:
            file.seek(-_DIGEST_BYTES, os.SEEK_END)
            if hashlib.sha256(images).digest() == file.read():
                return images
    return None


def _keep(images: np.ndarray, path: Path, key: str) -> None:
    part = path.with_suffix(".part")
    with suppress(OSError):  # no room or no right to write: then it is decoded again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        for older in path.parent.glob(f"{key}-*"):
            older.unlink(missing_ok=True)
        with part.open("wb") as file:
            np.save(file, images)
            file.write(hashlib.sha256(images).digest())
        part.replace(path)
        return
    with suppress(OSError):
        part.unlink(missing_ok=True)


# ---------------------------------------------------------------- preparing it


def chosen(spec: FaceSet, lists: dict[str, str]) -> dict[str, str]:
    """{file name: label} from the texts of the lists, one file name a line.

    Lines that are no file name are passed over. A name in two lists has no label.
    """
    labels: dict[str, set[str]] = {}
    for label, text in lists.items():
        for line in text.splitlines():
            if _NAME.fullmatch(line.strip()):
                labels.setdefault(line.strip(), set()).add(label)
    return {
        name: next(iter(found))
        for name, found in labels.items()
        if len(found) == 1 and name not in spec.left_out
    }


class _ShortHeaders(tarfile.TarInfo):
    """Members whose headers are short: a long one, parsed, takes thousands of times its size."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        info = super().frombuf(buf, encoding, errors)
        if info.type in _EXTENDED and info.size > MAX_EXTENDED_BYTES:
            raise DamagedFileError(f"the archive is refused: a header of {info.size:,} bytes")
        return info


def members(path: Path, wanted) -> Iterator[tuple[str, bytes]]:
    """(file name, content) of the files of a .tgz whose name without folders is in `wanted`.

    Nothing is unpacked to the disk. Raises DamagedFileError for a damaged archive and for one with
    anything that a harmless archive does not have: an absolute path, "..", a link, a device, a file
    twice, too many or too large members, a long header.
    """
    seen: set[str] = set()
    total = 0
    try:
        with tarfile.open(path, "r|gz", tarinfo=_ShortHeaders) as archive:
            for count, member in enumerate(archive, 1):
                total += member.size
                _refuse_harmful(path.name, member, count, total)
                name = PurePosixPath(member.name).name
                if member.isdir() or name not in wanted:
                    continue
                if name in seen:
                    raise DamagedFileError(f"{path.name} holds {name} twice")
                seen.add(name)
                yield name, archive.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DamagedFileError(f"{path.name} cannot be unpacked: {error}") from error


def _refuse_harmful(archive: str, member: tarfile.TarInfo, count: int, total: int) -> None:
    name = member.name.replace("\\", "/")
    reason = None
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        reason = "is an absolute path"
    elif ".." in name.split("/"):
        reason = "leads out of the folder"
    elif member.issym() or member.islnk():
        reason = "is a link"
    elif not (member.isreg() or member.isdir()):
        reason = "is neither a file nor a folder"
    elif member.size > MAX_MEMBER_BYTES:
        reason = f"is too large ({member.size:,} bytes)"
    elif count > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
        reason = "comes after more than such an archive can hold"
    if reason:
        raise DamagedFileError(f"{archive} is refused: its member {member.name!r} {reason}")


def face(content: bytes, name: str, size: tuple[int, int]):
    """The prepared image (a PIL image, RGB, `size`) of one original JPEG.

    Rows and columns 61..188, then Lanczos. Raises DamagedFileError for anything but a 250×250 RGB
    image.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if image.size != (SOURCE_PX, SOURCE_PX) or image.mode != "RGB":
                raise DamagedFileError(
                    f"{name} is {image.mode} {image.size[0]}×{image.size[1]}, "
                    f"not RGB {SOURCE_PX}×{SOURCE_PX}"
                )
            cropped = image.crop((FIRST, FIRST, LAST + 1, LAST + 1))  # Pillow leaves the end out
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DamagedFileError(f"{name} cannot be read as a JPEG: {error}") from error
    return cropped.resize(size, Image.Resampling.LANCZOS)


def labels_from(spec: FaceSet, lists: dict[str, Path]) -> dict[str, str]:
    """{file name: label} from the files of the lists.

    More names than images are allowed, since the lists hold misspelt ones. Raises DamagedFileError
    where a label has fewer than the set needs.
    """
    texts = {label: path.read_text("utf-8", errors="replace") for label, path in lists.items()}
    labels = chosen(spec, texts)
    counts = Counter(labels.values())
    for label, needed in spec.per_label.items():
        if counts[label] < needed:
            raise DamagedFileError(
                f"the list {lists[label].name} gives only {counts[label]:,} images its label, "
                f"{needed:,} are needed"
            )
    return labels


def prepare(spec: FaceSet, archive: Path, labels: dict[str, str], target: Path) -> None:
    """Make the folder `target` (which must not exist) from the archive and {file name: label}.

    Raises DamagedFileError where they are not what they should be; `target` is then incomplete, and
    the caller's to remove.
    """
    for label in spec.classes:
        (target / label).mkdir(parents=True)
    made = []
    expected = sum(spec.per_label.values())
    with transfer.progress(f"preparing {spec.title}", expected, " images") as bar:
        for name, content in members(archive, labels):
            label = labels[name]
            face(content, name, spec.shape[:0:-1]).save(
                target / label / name,
                format="JPEG",
                quality=JPEG_QUALITY,
                subsampling=NO_SUBSAMPLING,
            )
            made.append((label, name))
            bar.update(1)
    if labels_sha256(made) != spec.labels_sha256:
        counts = Counter(label for label, _ in made)
        said = ", ".join(f"{counts[label]:,} {label}" for label in spec.classes)
        wanted = ", ".join(f"{n:,} {label}" for label, n in spec.per_label.items())
        raise DamagedFileError(
            f"archive and lists together give {said}; the reference set has {wanted}, and names "
            "and labels must be its own"
        )
