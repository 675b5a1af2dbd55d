"""From the bytes of a set to the batches a net is trained on.

`Stored` takes images as they are. The `PIPELINES` are three ways that resize grey ones; they differ
in where and when, and in nothing that is drawn: all are told which images make up which batch.
"""

import weakref
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from convcost.core.errors import BadInputError, ConvcostError
from convcost.core.units import byte_size
from convcost.datasets import Dataset
from convcost.measuring import memory
from convcost.training.execution import Execution
from convcost.training.recipe import Scaling

Batch = tuple[torch.Tensor, torch.Tensor]


class Pictures(TorchDataset):
    """A split as tutorials read it: a PIL image through torchvision's transforms, each time.

    Item i is (tensor (in_channels, input_px, input_px), label).
    """

    def __init__(self, part: Dataset, input_px: int, in_channels: int, mean, deviation):
        from torchvision import transforms

        self.images, self.labels = part.images[:, 0], part.labels.tolist()
        steps = [
            transforms.Resize((input_px, input_px)),
            transforms.ToTensor(),
            transforms.Normalize((mean,), (deviation,)),
        ]
        self.transform, self.in_channels = transforms.Compose(steps), in_channels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self.transform(Image.fromarray(self.images[index]))
        if self.in_channels > 1:
            image = image.repeat(self.in_channels, 1, 1)
        return image, self.labels[index]


class Pipeline:
    """Images of one split as batches of floats, (N, in_channels, input_px, input_px), on a device.

    `statistics` is (mean, standard deviation) of the training images over 255; a value v becomes
    (v / 255 - mean) / deviation. The grey channel is repeated, the batch in memory order `order`.
    """

    def __init__(
        self, part: Dataset, statistics: tuple[float, float], *, input_px: int, in_channels: int,
        workers: int, device: str, order: torch.memory_format,
    ):  # fmt: skip
        self.part, self.statistics = part, statistics
        self.input_px, self.in_channels = input_px, in_channels
        self.workers, self.device, self.order = workers, device, order

    def prepare(self, chosen: Sequence[torch.Tensor]) -> None:
        """Do beforehand what this way does once, for the images of these batches."""

    def over(self, chosen: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """The batches in this order; workers, where there are some, are started at once."""
        raise NotImplementedError


class Loader(Pipeline):
    """PIL resizes every image each time it is read, in a DataLoader of `workers` processes."""

    def __init__(self, part: Dataset, statistics: tuple[float, float], **settings):
        super().__init__(part, statistics, **settings)
        self.pictures = Pictures(part, self.input_px, self.in_channels, *statistics)

    def over(self, chosen):
        # which images make a batch is drawn by the caller, for all pipelines alike; the loader's
        # own generator keeps it from drawing a seed for its workers from the one dropout uses
        source = iter(
            DataLoader(
                self.pictures,
                batch_sampler=[batch.tolist() for batch in chosen],
                num_workers=self.workers,
                generator=torch.Generator().manual_seed(0),
            )
        )
        return (self._there(*batch) for batch in source)

    def _there(self, images: torch.Tensor, labels: torch.Tensor) -> Batch:
        return images.to(self.device, memory_format=self.order), labels.to(self.device)


class _OnDevice:
    """Bytes that stay on the device; a batch is one indexed read, made floats there."""

    labels: torch.Tensor  # on the device
    device: str
    order: torch.memory_format

    def over(self, chosen: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """The batches in this order."""
        if not chosen:
            return iter(())
        # in one copy: each would make Python wait for a GPU to finish the step before
        there = torch.cat(list(chosen)).to(self.device).split([len(batch) for batch in chosen])
        return map(self._batch, there)

    def _batch(self, chosen: torch.Tensor) -> Batch:
        return self._floats(chosen).contiguous(memory_format=self.order), self.labels[chosen]

    def _floats(self, chosen: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Stored(_OnDevice):
    """A split in its own size and channels, scaled as a recipe says."""

    # a process trains many nets on one set: a set's tensors are made once and go with it
    _made: Mapping = weakref.WeakKeyDictionary()

    def __init__(self, part: Dataset, scaling: Scaling, execution: Execution):
        self.device, self.order = execution.device, execution.memory_order
        made = self._made.setdefault(part, {})
        if self.device not in made:
            # np.array copies: torch wants a writable array, and a Dataset's is read-only
            made[self.device] = tuple(
                torch.from_numpy(np.array(array)).to(self.device)
                for array in (part.images, part.labels)
            )
        self.images, self.labels = made[self.device]
        self.scaling = scaling.tensors(self.device)

    def __len__(self) -> int:
        return len(self.labels)

    def _floats(self, chosen):
        return Scaling.apply(self.images[chosen], *self.scaling)


class _Resized(_OnDevice, Pipeline):
    """One grey channel, resized, and repeated where the net has more."""

    def __init__(self, part: Dataset, statistics: tuple[float, float], **settings):
        super().__init__(part, statistics, **settings)
        self.mean, self.deviation = torch.tensor(statistics, device=self.device).unbind()
        self.labels = torch.from_numpy(part.labels.copy()).to(self.device)

    def _floats(self, chosen):
        return self._grey(chosen).expand(-1, self.in_channels, -1, -1)

    def _grey(self, chosen: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _scaled(self, images: torch.Tensor) -> torch.Tensor:
        # the operations of ToTensor and Normalize in their order: on a CPU the same bits
        return images.to(torch.float32).div_(255).sub_(self.mean).div_(self.deviation)


class Resident(_Resized):
    """PIL resizes every image once, in `prepare`; the results are kept as bytes of one channel.

    `prepare` raises ConvcostError where they do not fit into memory.
    """

    def __init__(self, part: Dataset, statistics: tuple[float, float], **settings):
        super().__init__(part, statistics, **settings)
        self.images = torch.empty(0, 1, self.input_px, self.input_px, dtype=torch.uint8)
        self.images = self.images.to(self.device)
        self.place = torch.full((len(part),), -1, device=self.device)  # of an image in `images`

    def prepare(self, chosen):
        if not chosen:
            return
        wanted = torch.cat(list(chosen)).to(self.device)
        new = torch.unique(wanted[self.place[wanted] < 0])
        kept, shape = len(self.images), (self.input_px, self.input_px)
        needed, free = len(new) * self.input_px**2, memory.free_bytes(self.device)
        # those that are there are copied once
        if needed + self.images.numel() > free:
            raise ConvcostError(
                f"{len(new):,} images of {self.input_px} pixels take {byte_size(needed)}, "
                f"{byte_size(free)} are free: choose a loop that resizes on the device, or a "
                "smaller input"
            )
        resized = np.empty((len(new), 1, *shape), np.uint8)
        for row, image in zip(resized, new.tolist(), strict=True):
            picture = Image.fromarray(self.part.images[image, 0])
            row[0] = picture.resize(shape, Image.Resampling.BILINEAR)
        self.images = torch.cat([self.images, torch.from_numpy(resized).to(self.device)])
        self.place[new] = torch.arange(kept, kept + len(new), device=self.device)

    def _grey(self, chosen):
        return self._scaled(self.images[self.place[chosen]])


class OnTheFly(_Resized):
    """The device resizes each batch by torch's bilinear interpolation, after the scaling.

    For enlarging PIL's bilinear filter has the same weights, but it rounds to whole grey levels
    twice, after the rows and after the columns: so the two differ by at most one level of 255,
    that is 1 / (255 deviation). For making smaller PIL averages over more pixels; torch, without
    antialias as here, does not.
    """

    def __init__(self, part: Dataset, statistics: tuple[float, float], **settings):
        super().__init__(part, statistics, **settings)
        self.images = torch.from_numpy(part.images.copy()).to(self.device)

    def _grey(self, chosen):
        return torch.nn.functional.interpolate(
            self._scaled(self.images[chosen]), size=(self.input_px,) * 2, mode="bilinear",
            align_corners=False, antialias=False,
        )  # fmt: skip


PIPELINES = {"loader": Loader, "resident": Resident, "device": OnTheFly}


def named(kind: str) -> type[Pipeline]:
    """The pipeline of that name; BadInputError, with the valid ones, for another."""
    if kind not in PIPELINES:
        raise BadInputError(f"pipeline {kind!r}: choose one of {', '.join(map(repr, PIPELINES))}")
    return PIPELINES[kind]


def statistics(train: Dataset) -> tuple[float, float]:
    """Mean and standard deviation of the training images over 255.

    Raises BadInputError for images that are not grey, or are all the same.
    """
    means, deviations = train.channel_statistics()
    if len(means) != 1:
        raise BadInputError(f"{train.name} has {len(means)} channels: these loops take grey images")
    if not deviations[0]:
        raise BadInputError(f"{train.name}: all images have one value, nothing to normalise by")
    return means[0], deviations[0]
