"""A process that trains one seed after the other: `python -m convcost.training.worker`.

`train_many` starts it and speaks with it over pipes, so it works from a notebook's kernel, from a
script without a main guard, and after torch has threads. Standard input: a line of JSON (the job),
the images and labels of both splits as raw bytes, then a seed per line. Standard output: a line of
JSON per event. When standard input ends, whoever asked is gone, and the process leaves at once:
the net in flight is lost, nothing else.
"""

import json
import os
import queue
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np

from convcost.datasets import Dataset, find
from convcost.datasets.sets import EmbeddedSet
from convcost.training import shelf
from convcost.training.loop import Execution, train
from convcost.training.recipe import Recipe

_DESCRIBED = ("asked", "name", "split", "origin")


def write_job(
    pipe: BinaryIO,
    net: str,
    sets: tuple[Dataset, Dataset],
    recipe: Recipe,
    execution: Execution,
    family: Path,
) -> None:
    """Send a worker its job: everything but the seeds."""
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


def read_job(pipe: BinaryIO) -> tuple[str, tuple[Dataset, ...], Recipe, Execution, Path]:
    """What `write_job` sent."""
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
    except ValueError:
        return EmbeddedSet(name, name, "", tuple(shape[1:]), tuple(classes), {}, 0, "", "")


def main() -> None:
    # whatever a library prints must not get between the events
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(event: str, **more) -> None:
        try:
            events.write(json.dumps({"event": event, **more}).encode() + b"\n")
            events.flush()
        except BrokenPipeError:
            os._exit(0)

    net, sets, recipe, execution, family = read_job(sys.stdin.buffer)
    seeds: queue.SimpleQueue[int] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            seeds.put(int(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    tell("ready")
    while True:
        seed = seeds.get()
        try:
            trained = train(
                net, sets, recipe, seed, execution=execution,
                on_epoch=lambda number, seed=seed: tell("epoch", seed=seed, number=number),
            )  # fmt: skip
            shelf.save(trained, family)
        except Exception as error:
            tell("failed", seed=seed, reason=f"{type(error).__name__}: {error}")
        else:
            tell("done", seed=seed)


if __name__ == "__main__":
    main()
