"""What a worker is told before its seeds, as bytes on a pipe: a line of JSON, then the images."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np

from convcost.core.errors import BadInputError
from convcost.datasets import Dataset, find
from convcost.datasets.sets import EmbeddedSet
from convcost.training.execution import Execution
from convcost.training.recipe import Recipe

_DESCRIBED = ("asked", "name", "split", "origin")


def write(
    told: tuple[str, tuple[Dataset, Dataset], Recipe, Execution, Path], pipe: BinaryIO
) -> None:
    """Send a worker its job, everything but the seeds: what `read` gives back."""
    net, sets, recipe, execution, family = told
    job = {
        "net": net,
        "recipe": asdict(recipe),
        "execution": asdict(execution),
        "family": str(family),
        "sets": [
            {field: getattr(part, field) for field in _DESCRIBED}
            | {"classes": part.classes, "shape": part.images.shape}
            for part in sets
        ],
    }
    pipe.write(json.dumps(job).encode() + b"\n")
    for part in sets:
        pipe.write(np.ascontiguousarray(part.images, np.uint8).data)
        pipe.write(np.ascontiguousarray(part.labels, "<i8").data)
    pipe.flush()


def read(pipe: BinaryIO) -> tuple[str, tuple[Dataset, ...], Recipe, Execution, Path]:
    """What `write` sent."""
    job = json.loads(pipe.readline())
    sets = []
    for told in job["sets"]:
        shape = told["shape"]
        images = np.frombuffer(pipe.read(int(np.prod(shape))), np.uint8).reshape(shape)
        labels = np.frombuffer(pipe.read(8 * shape[0]), "<i8")
        described = {field: told[field] for field in _DESCRIBED}
        spec = _spec(told["asked"], told["classes"], shape)
        sets.append(
            Dataset(images=images.copy(), labels=labels.astype(np.int64), spec=spec,
                    classes=tuple(told["classes"]), **described)
        )  # fmt: skip
    recipe, execution = Recipe(**job["recipe"]), Execution(**job["execution"])
    return job["net"], tuple(sets), recipe, execution, Path(job["family"])


def _spec(name: str, classes, shape):
    """The specification of a set; of one that only the asking process knows, as much as shows."""
    try:
        return find(name)
    except BadInputError:
        return EmbeddedSet(name, name, "", tuple(shape[1:]), tuple(classes), {}, 0, "", "")
