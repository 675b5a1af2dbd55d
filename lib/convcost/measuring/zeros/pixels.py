"""Dark pixels of images, per class."""

import math

import numpy as np
import pandas as pd
import torch

from convcost.core.errors import BadInputError
from convcost.measuring.zeros import watching
from convcost.measuring.zeros.watching import checked_labels


def dark_pixels(images, labels, level: float) -> pd.DataFrame:
    """How many pixels are at or below a level, per class.

    What comes out: a DataFrame, one row per class that occurs, in order: `class`, `dark` and
    `total` (int64: pixels, each channel one), `dark_fraction`. All classes together:
    `table.dark.sum() / table.total.sum()`.

    images (N, …), labels (N,) integers: tensors or arrays. level: in the images' own units and
    compared in their own precision: -0.9 for images normalised to -1 … 1.

    Refused with `BadInputError`: NaN in the images or as level, no images, labels that are no
    integers or not one per image.

    Source: atsumi2020, section III.A: 88 % of the pixels of digit 1 at or below -0.9, 80 % of all.

    >>> dark_pixels(torch.tensor([[-1.0, -0.9], [0.0, -1.0]]), [1, 0], -0.9).values.tolist()
    [[0.0, 1.0, 2.0, 0.5], [1.0, 2.0, 2.0, 1.0]]
    """
    if math.isnan(level):
        raise BadInputError("level is NaN: a number in the units of the images is expected")
    images = torch.as_tensor(images)
    labels = checked_labels(labels, images)
    if not len(images):
        raise BadInputError("no images: at least one is needed")
    found, rows = np.unique(labels, return_inverse=True)
    dark = np.zeros(len(found), np.int64)
    step = max(1, watching.CHUNK // max(1, images[0].numel()))
    for start in range(0, len(images), step):  # so that the comparison needs no second data set
        part = images[start : start + step]
        bad = int(part.isnan().sum())
        if bad:
            raise BadInputError(
                f"{bad} pixels of images {start} to {start + len(part) - 1} are NaN"
            )
        below = (part <= level).flatten(1).sum(1).cpu().numpy()
        np.add.at(dark, rows[start : start + step], below)
    total = np.bincount(rows) * images[0].numel()
    return pd.DataFrame(
        {"class": found, "dark": dark, "total": total, "dark_fraction": dark / total}
    )
