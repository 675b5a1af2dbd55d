"""What one unit of the sweeps of notebook 04 does, in a worker: it trains a net, or times all."""

import itertools
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

import pandas as pd

from convcost import datasets, nets, sweep, training
from convcost.chapters.complexity_precision.findings.configurations import (
    NAMES,
    Configuration,
    costs,
)
from convcost.core.errors import DamagedFileError
from convcost.datasets import Dataset
from convcost.measuring import timing
from convcost.training import Execution, Recipe

SET = "lfw_gender"


def trained(
    filters: int,
    input_px: int,
    kernel_px: int,
    layers: int,
    seed: int,
    recipe: Mapping,
    images: int | None,
    tried_on: list[str],
    device: str,
    bf16: bool,
) -> list[dict]:
    """One configuration trained once: the row of `configuration_trainings`, without its role.

    Not a method: the workers of a sweep call it by name.
    """
    configuration = Configuration(filters, input_px, kernel_px, layers)
    recipe = Recipe(**recipe)
    execution = Execution(device=device, threads=1, bf16=bf16)
    sets = {split: _faces(split, input_px, images) for split in ("train", *tried_on)}
    net = training.train(
        "ke_cnn",
        (sets["train"], sets[tried_on[0]]),
        recipe,
        seed,
        options=letters(configuration),
        execution=execution,
        tests=False,
    )
    row = {"train_images": len(sets["train"]), "epochs": recipe.epochs}
    row["train_s"] = sum(net.record["history"]["epoch_s"])
    if net.status == "diverged":
        raise sweep.Diverged("the loss or a weight was no longer finite", [row])
    for split in tried_on:
        labels, said = sets[split].labels, training.named(net, sets[split], execution=execution)
        for number in (0, 1):
            mine = labels == number
            row[f"{split}_class{number}_images"] = int(mine.sum())
            row[f"{split}_class{number}_correct"] = int((said[mine] == number).sum())
    return [row]


TIMES = ("session", *NAMES, "batch", "threads", "repetition", "seconds", "stable")


def timed(
    session: str,
    configurations: list[list[int]],
    batch: int,
    threads: int,
    repetitions: int,
    min_s: float,
    device: str,
) -> list[dict]:
    """The forward pass of nets of the family, in turns: rows of `forward_times`.

    32-bit floats, weights as they are drawn; not a method, as `trained`.
    """
    cases = {}
    for one in itertools.starmap(Configuration, configurations):
        net = nets.build("ke_cnn", **letters(one)).to(device)
        cases[one] = timing.Case(net, (3, one.input_px, one.input_px), batch)
    done = timing.measure_many(
        {str(one): case for one, case in cases.items()},
        repetitions=repetitions, min_s=min_s, threads=threads, device=device,
        skip_out_of_memory=True,
    )  # fmt: skip
    return [
        {
            **asdict(one),
            "threads": measured.threads,
            "repetition": number,
            "seconds": float(seconds),
            "stable": measured.stable,
        }
        for one in cases
        if str(one) in done
        for measured in [done[str(one)]]
        for number, seconds in enumerate(measured.per_call_s)
    ]


def letters(configuration: Configuration) -> dict[str, int]:
    """The arguments of `ke_cnn`: the paper's letters.

    >>> from convcost.chapters.complexity_precision.findings.configurations import BASELINE
    >>> letters(BASELINE)
    {'f': 64, 's': 64, 'k': 5, 'l': 3}
    """
    return dict(zip("fskl", asdict(configuration).values(), strict=True))


def cost(unit: Mapping) -> float:
    """About how long a unit takes, in any unit.

    Beside its multiply-adds, by a fit to the 252 trainings of the reference run: an element of an
    activation costs as much as 110 of them, a pixel of the input (chosen, scaled, put in order) as
    1,800, and an image as such 1.4 million.
    """
    one = costs(pd.DataFrame([{name: unit[name] for name in NAMES}])).iloc[0]
    image = one["macs"] + 110 * one["acts"] + 1_800 * unit["input_px"] ** 2 + 1_400_000
    return float(image) * unit["recipe"]["epochs"]


def seconds(unit: Mapping) -> float:
    """About how long a training takes: on one core, as the reference run tells, or on a GPU.

    On a GPU of the H100's class, six at a time, launching a step takes longer than doing it.
    """
    images = unit["images"] or 9_445
    whole = cost(unit) * images
    if unit["device"] == "cpu":
        return 1.0 + whole / 29e9
    steps = unit["recipe"]["epochs"] * images / unit["recipe"]["batch_size"]
    return 2.0 + 4e-3 * steps + whole / 5e12


def timed_seconds(unit: Mapping) -> float:
    """About how long a session of timing takes."""
    one = unit["min_s"] * (1.5 if unit["device"] == "cpu" else 1)
    return len(unit["configurations"]) * (0.1 + (unit["repetitions"] + 4) * one)


@cache
def _faces(split: str, px: int, images: int | None) -> Dataset:
    """A split at a size: all of it, or `images` of it, spread evenly over the set's order.

    Raises DamagedFileError where this machine has other images than the driver of the sweep.
    """
    part = datasets.load(SET, split)
    expected = (sweep.expected_data() or {}).get(split, part.sha256)
    if part.sha256 != expected:
        raise DamagedFileError(
            f"{SET}, {split}: this machine has {part.sha256[:12]} ({part.origin}), the sweep was "
            f"started for {expected[:12]}: run `make data` here, or set CONVCOST_DATA"
        )
    if images is not None:
        part = part.spread(min(images, len(part)))
    return part if part.images.shape[-1] == px else part.resized(px)
