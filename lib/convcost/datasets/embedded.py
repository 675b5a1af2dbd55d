"""scikit-learn's digits: a set of its own, and what stands in where a real set is missing.

1,797 images of 8×8 pixels with values 0..16, handwritten digits of 13 people. They come with
scikit-learn, so they are there without a network. They are no MNIST: 41 times fewer training
images, a twelfth of the pixels. Accuracies on a stand-in say nothing about the set it stands for.
"""

import numpy as np

from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.datasets.sets import DIGIT_NAMES, Common

PARITY_NAMES = ("even", "odd")

# Of every 20 images of one digit, in scikit-learn's order: 16 to train and 4 to test, or 14, 3 and
# 3. By digit, because the order is nearly periodic, and a plain every-fifth leaves a part without
# sixes. The same writers are on both sides: scikit-learn does not say who wrote what.
_TWENTY = {
    ("train", "test"): ("train",) * 16 + ("test",) * 4,
    ("train", "validation", "test"): ("train",) * 14 + ("validation",) * 3 + ("test",) * 3,
}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All images (1797, 8, 8) as uint8 and their labels (1797,) as int64.

    Values 0..16 become 0..255: v * 255 // 16, so 0 stays 0 and 16 becomes 255.
    """
    with optional():
        from sklearn.datasets import load_digits

    source = load_digits()
    return (source.images.astype(np.int64) * 255 // 16).astype(np.uint8), source.target.astype(
        np.int64
    )


def members(labels: np.ndarray, split: str, splits: tuple[str, ...]) -> np.ndarray:
    """The positions of the images of one split, ascending, as int64.

    Twenty sevens give their last four to the test:

    >>> members(np.full(20, 7), "test", ("train", "test"))
    array([16, 17, 18, 19])
    """
    pattern = np.array(_TWENTY[splits])
    chosen = []
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        chosen.append(of_label[pattern[np.arange(len(of_label)) % len(pattern)] == split])
    return np.sort(np.concatenate(chosen))


def enlarged(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Digits (N, 8, 8) as images (N, C, H, W) of `shape` (C, H, W), uint8.

    28×28 as MNIST has its digits: bilinear to a box of 20×20 in the middle of a black frame. 8×8
    as they are. Any other size: bilinear to the whole of it. Each channel holds the same values.
    Raises BadInputError for a size below 8×8.
    """
    from PIL import Image

    channels, height, width = shape
    if min(height, width) < 8:
        raise BadInputError(f"digits cannot be enlarged to {height}×{width}: give at least 8×8")
    box = (20, 20) if (height, width) == (28, 28) else (height, width)
    top, left = (height - box[0]) // 2, (width - box[1]) // 2
    result = np.zeros((len(images), channels, height, width), np.uint8)
    for target, image in zip(result, images, strict=True):
        resized = Image.fromarray(image).resize(box[::-1], Image.Resampling.BILINEAR)
        target[:, top : top + box[0], left : left + box[1]] = np.asarray(resized)
    return result


def stand_in(spec: Common, split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images, labels and class names that stand in for one split of `spec`.

    Ten classes: the digits. Two classes: even digits (0) and odd digits (1), as hard a two-class
    task as there is in this set. The images get the shape that `spec` has.
    """
    images, labels = digits()
    chosen = members(labels, split, spec.splits)
    names = DIGIT_NAMES if len(spec.classes) == len(DIGIT_NAMES) else PARITY_NAMES
    classes = labels[chosen] % len(names)
    return enlarged(images[chosen], spec.shape), classes, names
