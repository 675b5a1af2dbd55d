"""One trained network on disk: a checkpoint, its sha256, and a JSON record.

In a folder of a family (one net, data set, recipe and kind of execution): `seed-00007.safetensors`,
the same with `.sha256`, and `seed-00007.json`, which is written last: a net is done when all three
are there and agree. The record also stands inside the checkpoint, so a changed digit in the JSON
is found.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from convcost import records
from convcost.core.errors import DamagedFileError, writing
from convcost.datasets import Dataset
from convcost.training import checkpoints
from convcost.training.alone import train
from convcost.training.execution import Execution
from convcost.training.inputs import distinct_seeds
from convcost.training.recipe import Recipe, key
from convcost.training.together import trained_groups
from convcost.training.trained import Trained


def family_folder(
    folder: Path | str,
    net: str,
    sets: tuple[Dataset, Dataset],
    recipe: Recipe,
    execution: Execution | None = None,
    *,
    together: bool = False,
) -> Path:
    """Where the seeds of one net, data set and recipe lie: other recipes have other folders.

    So have nets of another kind of device or in bfloat16, and nets that were trained `together`
    (see `Execution.numerics`).
    """
    numerics = (execution or Execution()).numerics(together=together)
    shared = key(net, *sets, recipe, numerics=numerics)
    return Path(folder).expanduser().resolve() / f"{net}-{sets[0].name}-{shared[:12]}"


def checkpoint_path(family: Path, seed: int) -> Path:
    return family / f"seed-{seed:05d}{checkpoints.SUFFIX}"


def record_path(family: Path, seed: int) -> Path:
    return family / f"seed-{seed:05d}.json"


def save(trained: Trained, family: Path) -> Path:
    """Write a trained net; the path of its checkpoint comes out."""
    record = trained.record
    path = checkpoint_path(family, record["seed"])
    words = {"net": record["net"], "record": json.dumps(record, sort_keys=True)}
    with writing(path):
        digest = checkpoints.save(path, trained.state, words)
        told = {**record, "checkpoint_sha256": digest}
        content = json.dumps(told, indent=1, sort_keys=True) + "\n"
        records.write_atomically(record_path(family, record["seed"]), content.encode())
    return path


def load(family: Path, seed: int, wanted: str) -> Trained | None:
    """The trained net of a seed, all of it verified; None where there is nothing of it.

    `wanted` is its key. Raises DamagedFileError where the files are incomplete, damaged, do not
    agree, or belong to another key.
    """
    path, beside = checkpoint_path(family, seed), record_path(family, seed)
    if not any(file.exists() for file in (path, checkpoints.hash_file(path), beside)):
        return None
    checkpoint = checkpoints.load(path)
    if not beside.is_file():
        raise DamagedFileError(f"{path} has no {beside.name} beside it: its training was cut short")
    try:
        shown = json.loads(beside.read_bytes())
        digest = shown.pop("checkpoint_sha256", None)
    except (ValueError, AttributeError):
        raise DamagedFileError(f"{beside} is no JSON record: remove it and train again") from None
    if digest != checkpoint.sha256 or shown != json.loads(checkpoint.words.get("record", "null")):
        raise DamagedFileError(f"{beside} does not say what {path.name} says: train again")
    if shown.get("key") != wanted:
        raise DamagedFileError(
            f"{path} was trained with another recipe, data set, execution or version (key "
            f"{str(shown.get('key'))[:12]}…, wanted {wanted[:12]}…)"
        )
    return Trained(checkpoint.state, shown)


def kept(
    folder: Path | str,
    net: str,
    sets: tuple[Dataset, Dataset],
    recipe: Recipe,
    seed: int,
    *,
    execution: Execution | None = None,
) -> Trained:
    """The net of one seed from `folder`, trained first (as `train`) where it is not there.

    A damaged file is renamed to `<name>.damaged-<n>` and the net trained again. Raises
    BadInputError for what `train` refuses.
    """
    execution = execution or Execution()
    family = family_folder(folder, net, sets, recipe, execution)
    wanted = key(net, *sets, recipe, seed, numerics=execution.numerics())
    found = _whole(family, seed, wanted)
    if found is None:
        save(train(net, sets, recipe, seed, execution=execution), family)
        found = load(family, seed, wanted)
    return found


def kept_together(
    folder: Path | str,
    net: str,
    sets: tuple[Dataset, Dataset],
    recipe: Recipe,
    seeds: Iterable[int],
    *,
    execution: Execution | None = None,
    at_a_time: int | None = None,
    on_epoch: Callable[[int], None] | None = None,
) -> list[Trained]:
    """The nets of all seeds from `folder`, in that order; those not there are trained together.

    As `train_together`, which see for `at_a_time` and `on_epoch`; a group is kept as soon as it is
    done, so that a run that was stopped goes on where it was. A damaged file is renamed to
    `<name>.damaged-<n>` and its net trained again. Nets of `kept` are others: they lie in another
    folder. Raises BadInputError for what `train_together` refuses, ConvcostError
    where another process trains into the same folder.
    """
    execution = execution or Execution()
    wanted = [drawn["seed"] for drawn in distinct_seeds(seeds)]
    family = family_folder(folder, net, sets, recipe, execution, together=True)
    numerics = execution.numerics(together=True)
    keys = {seed: key(net, *sets, recipe, seed, numerics=numerics) for seed in wanted}
    with checkpoints.alone(family):
        found = {seed: _whole(family, seed, keys[seed]) for seed in wanted}
        if missing := [seed for seed in wanted if found[seed] is None]:
            for group in trained_groups(
                net, sets, recipe, missing, execution=execution, at_a_time=at_a_time,
                on_epoch=on_epoch,
            ):  # fmt: skip
                for trained in group:
                    save(trained, family)
                    seed = trained.seeds["seed"]
                    found[seed] = load(family, seed, keys[seed])
    return [found[seed] for seed in wanted]


def _whole(family: Path, seed: int, wanted: str) -> Trained | None:
    """The net of a seed; None where it is not there, or was damaged and is now set aside."""
    try:
        return load(family, seed, wanted)
    except DamagedFileError as error:
        checkpoints.set_aside(error, checkpoint_path(family, seed), record_path(family, seed))
        return None
