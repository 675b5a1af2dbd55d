"""One split of one data set in memory, and what can be said of it."""

import hashlib
import html
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from convcost.core.errors import BadInputError
from convcost.datasets.sets import Common


def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """sha256 of the content, the same whatever file it came from.

    Over the text "N C H W\\n", the images as unsigned bytes in that order, and the labels as
    little-endian 64-bit integers.
    """
    digest = hashlib.sha256((" ".join(str(size) for size in images.shape) + "\n").encode())
    digest.update(np.ascontiguousarray(images, np.uint8))
    digest.update(np.ascontiguousarray(labels, "<i8"))
    return digest.hexdigest()


@dataclass(frozen=True)
class Banner:
    """What to show before results: `text` on a terminal, `html` in a notebook."""

    text: str
    html: str

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, labels, and where they come from.

    `images` uint8 (N, C, H, W) and `labels` int64 (N,), both read-only; `classes` the names in the
    order of the labels. `asked` is the key that was asked for and `name` the key of what it really
    is: they differ for a stand-in. `origin` is "CONVCOST_DATA", "data/raw", "download", "embedded"
    or "embedded stand-in"; `notes` says why nothing better was found. `people` has a name per image
    where the set has people, else None.
    """

    asked: str
    name: str
    split: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    origin: str
    spec: Common
    notes: tuple[str, ...] = ()
    people: np.ndarray | None = None

    def __post_init__(self):
        for array in (self.images, self.labels):
            array.flags.writeable = False  # one loaded set may serve several experiments

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Dataset {self._what()}>"

    @property
    def is_stand_in(self) -> bool:
        return self.name != self.asked

    @cached_property
    def sha256(self) -> str:
        return fingerprint(self.images, self.labels)

    @property
    def is_reference(self) -> bool | None:
        """Whether the content is that of the reference run; None where none is known, as for a
        part of a set or one of another size."""
        known = self.spec.fingerprints.get(self.split)
        whole = (self.spec.images.get(self.split), *self.spec.shape)
        if self.is_stand_in or not known or self.images.shape != whole:
            return None
        return self.sha256 == known

    @property
    def class_counts(self) -> dict[str, int]:
        """Images per class name."""
        counts = Counter(self.labels.tolist())
        return {name: counts[number] for number, name in enumerate(self.classes)}

    def first(self, count: int, *, of_each_class: bool = False) -> "Dataset":
        """The first `count` images, or the first `count` of each class, in the order of the set.

        Raises BadInputError where there are not so many.
        """
        if of_each_class:
            places = [np.flatnonzero(self.labels == number) for number in range(len(self.classes))]
        else:
            places = [np.arange(len(self))]
        if count < 1 or min(map(len, places)) < count:
            what = "images of each class" if of_each_class else "images"
            raise BadInputError(
                f"{count} {what} of {self.name}, {self.split}, were asked for; there are "
                f"{min(map(len, places)):,}"
            )
        return self._only(np.sort(np.concatenate([place[:count] for place in places])))

    def last(self, count: int) -> "Dataset":
        """The last `count` images, in their order: a part that `first` of the rest has not seen.

        Raises BadInputError unless there are as many, and `count` is at least 1.
        """
        if not 1 <= count <= len(self):
            raise BadInputError(
                f"{self.name} has {len(self)} images: {count} of them cannot be had"
            )
        return self._only(np.arange(len(self) - count, len(self)))

    def spread(self, count: int) -> "Dataset":
        """`count` images, evenly over the order of the set: of a set sorted by class some of each.

        Of 10 images `spread(4)` takes those at 0, 3, 6, 9. Raises BadInputError where there are
        not so many, and for fewer than 1.
        """
        if not 1 <= count <= len(self):
            raise BadInputError(
                f"{count} images of {self.name}, {self.split}, were asked for; there are "
                f"{len(self):,}"
            )
        return self._only(np.linspace(0, len(self) - 1, count).round().astype(int))

    def _only(self, chosen: np.ndarray) -> "Dataset":
        people = None if self.people is None else self.people[chosen]
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], people=people)

    def resized(self, side_px: int) -> "Dataset":
        """The same images, `side_px` x `side_px`: bilinear, as Pillow does it, in whole levels."""
        from PIL import Image

        if side_px < 1:
            raise BadInputError(f"side_px is {side_px}; at least 1")
        size = (side_px, side_px)
        images = np.empty((*self.images.shape[:2], *size), np.uint8)
        for source, target in zip(self.images, images, strict=True):
            for channel, resized in zip(source, target, strict=True):
                resized[:] = Image.fromarray(channel).resize(size, Image.Resampling.BILINEAR)
        return replace(self, images=images)

    def tensors(self, device="cpu", dtype=None, mean=None, std=None):
        """(images, labels) as torch tensors on `device`.

        Images (N, C, H, W) of `dtype` (float32 when None), grey levels 0..255 divided by 255, so
        0 to 1; with `mean` and `std` (a number per channel each, as `channel_statistics` of the
        training split gives) then (x - mean) / std. Labels (N,) int64. A value of 51 gives
        51 / 255 = 0.2.
        """
        import torch

        # uint8 goes to the device, a quarter of the bytes; np.array: torch wants a writable array
        images = torch.from_numpy(np.array(self.images)).to(device)
        images = images.to(torch.float32).div_(255)
        if mean is not None:
            images -= torch.as_tensor(mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        if std is not None:
            images /= torch.as_tensor(std, dtype=torch.float32, device=device).view(1, -1, 1, 1)
        labels = torch.from_numpy(np.array(self.labels)).to(device)
        return images.to(dtype or torch.float32), labels

    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(means, standard deviations) per channel, of the values divided by 255.

        From exact integer sums over all pixels of the split; the deviation is that of the
        population (divided by n).
        """
        return self._channel_statistics

    @cached_property
    def _channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        means, deviations = [], []
        for channel in range(self.images.shape[1]):
            counts = np.bincount(self.images[:, channel].ravel(), minlength=256)
            levels = np.arange(256)
            n, first = int(counts.sum()), int((counts * levels).sum())
            second = int((counts * levels**2).sum())
            means.append(first / n / 255)
            deviations.append(((second * n - first**2) ** 0.5) / n / 255)
        return tuple(means), tuple(deviations)

    def row(self) -> dict:
        """One row of the results table `datasets`."""
        return {
            "asked": self.asked,
            "name": self.name,
            "split": self.split,
            "images": len(self),
            "channels": self.images.shape[1],
            "height_px": self.images.shape[2],
            "width_px": self.images.shape[3],
            "classes": len(self.classes),
            "largest_class_fraction": max(self.class_counts.values()) / len(self),
            "origin": self.origin,
            "is_stand_in": self.is_stand_in,
            "content_sha256": self.sha256,
        }

    def describe(self) -> dict:
        """All of `row`, and `is_reference` and `class_counts`: for run records, as JSON.

        Without `notes`: they may name folders of this machine, and run records are published.
        """
        return self.row() | {"is_reference": self.is_reference, "class_counts": self.class_counts}

    def banner(self) -> Banner:
        """Which data this is, in one line; loud for a stand-in."""
        notes = [note[0].upper() + note[1:] + "." for note in self.notes]
        if not self.is_stand_in:
            lines = [f"Data: {self._what()}.", self._balance(), *notes]
            if self.is_reference is False:
                lines.append(
                    "Names and labels are those of the reference set, but the pixels differ: "
                    "another version of the JPEG library decodes or encodes differently."
                )
            return Banner("\n".join(lines), _html(lines, "#2e7d32", "#f1f8e9"))
        lines = [
            f"STAND-IN DATA: this is NOT {self.spec.title}.",
            f"In its place: {self._what()}.",
            self._balance(),
            f"No result below says anything about {self.spec.title}; claims that need it are "
            "marked “not tested: data set not available”.",
            *notes,
            f"To get the real set: `make data`, or set CONVCOST_DATA to a folder with "
            f"{self.spec.folder}/.",
        ]
        rule = "!" * 78
        return Banner("\n".join([rule, *lines, rule]), _html(lines, "#b71c1c", "#ffebee"))

    def _what(self) -> str:
        channels, height, width = self.images.shape[1:]
        title = "scikit-learn digits, enlarged" if self.is_stand_in else self.spec.title
        origin = "" if self.is_stand_in else f"from {self.origin}, "
        return (
            f"{title}, {self.split}, {len(self):,} images {channels}×{height}×{width}, "
            f"{len(self.classes)} classes, {origin}content {self.sha256[:12]}…"
        )

    def _balance(self) -> str:
        counts = self.class_counts
        if len(counts) <= 3:
            shares = ", ".join(
                f"{k} {n:,} ({100 * n / len(self):.1f} %)" for k, n in counts.items()
            )
            return f"Classes: {shares}."
        return f"Classes: {min(counts.values()):,} to {max(counts.values()):,} images each."


def _html(lines: list[str], colour: str, background: str) -> str:
    first, *rest = (html.escape(line) for line in lines)
    return (
        f'<div style="border-left: 6px solid {colour}; background: {background}; color: #212121; '
        f'padding: 0.6em 1em"><b>{first}</b>' + "".join(f"<br>{line}" for line in rest) + "</div>"
    )
