"""How many small nets a minute the sweep of notebook 04 trains, beside the loop of a student.

`python benchmarks/bench_sweep.py` trains 32 nets of `ke_cnn`'s plan on a part of LFW (gender).
The student's loop reads pictures through a DataLoader with torchvision's Resize, ToTensor and
Normalize, in float32 with all cores' threads, one net after the other; net, optimiser, rates, batch
size, epochs and the final test are the same. It runs before and after ours, and the faster of the
two counts for each net: other work on the machine only slows. Between the two stands a ladder, one
change at a time, whose last rung is the sweep with one process per core; its start is told apart.

Then the forecast: what the sweep said after a quarter of its time about how long it would take in
all, beside how long it took.

It leaves with status 1 if a target is missed: 2.5 times the student's units per minute, the start
of the workers included (`--device cuda`: ten times, once they run), and a forecast within 25 %.
"""

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from itertools import cycle, islice

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from convcost import datasets, nets, sweep
from convcost.chapters.complexity_precision.findings.configurations import Configuration
from convcost.chapters.complexity_precision.study import units
from convcost.core import machine
from convcost.core.errors import ConvcostError
from convcost.sweep import driver
from convcost.training import Execution, Recipe, named, train

TARGETS = {"cpu": 2.5, "cuda": 10.0}
UNITS = 32
ETA_WITHIN = 0.25
NAMES = ("filters", "input_px", "kernel_px", "layers")
# dear and cheap ones, and each parameter at several values
CONFIGURATIONS = [
    *[(f, 64, 5, 3) for f in (64, 32, 16, 8, 4, 2)],
    *[(64, s, 5, 3) for s in (48, 32, 20, 12)],
    *[(32, 64, k, 3) for k in (4, 3)],
    *[(32, 48, 5, layers) for layers in (2, 1)],
    *[
        (16, 48, 3, 3),
        (24, 40, 4, 2),
        (48, 24, 3, 2),
        (12, 32, 3, 1),
        (8, 56, 4, 3),
        (40, 20, 5, 2),
    ],
]


class Pictures(torch.utils.data.Dataset):
    """A split as torchvision's data sets give it: a picture, through transforms, each time."""

    def __init__(self, part, transform):
        self.images = part.images.transpose(0, 2, 3, 1).copy()
        self.labels = part.labels.tolist()
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def student(sets, options: dict, recipe: Recipe, seed: int, device: str) -> float:
    """Test accuracy of one net, trained the way tutorials do it."""
    torch.manual_seed(seed)
    means, deviations = sets[0].channel_statistics()
    transform = transforms.Compose(
        [
            transforms.Resize((options["s"], options["s"])),
            transforms.ToTensor(),
            transforms.Normalize(means, deviations),
        ]
    )
    train_set, test_set = (Pictures(part, transform) for part in sets)
    loader = DataLoader(train_set, batch_size=recipe.batch_size, shuffle=True)
    model = nets.build("ke_cnn", **options).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    steps = recipe.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: recipe.rate(min(step, steps - 1), steps) / recipe.lr
    )
    criterion = nn.CrossEntropyLoss()
    for _ in range(recipe.epochs):
        model.train()
        for images, labels in loader:
            optimiser.zero_grad()
            criterion(model(images.to(device)), labels.to(device)).backward()
            optimiser.step()
            schedule.step()
    model.eval()
    correct = 0
    with torch.no_grad():
        for images, labels in DataLoader(test_set, batch_size=500):
            correct += (model(images.to(device)).argmax(1).cpu() == labels).sum().item()
    return correct / len(test_set)


def ours(sets, options: dict, recipe: Recipe, seed: int, execution: Execution) -> float:
    """Test accuracy of one net, trained in this process."""
    px = options["s"]
    sized = tuple(p if p.images.shape[-1] == px else p.resized(px) for p in sets)
    net = train("ke_cnn", sized, recipe, seed, options=options, execution=execution, tests=False)
    return float((named(net, sized[1], execution=execution) == sized[1].labels).mean())


def timed(plan: list[dict], run) -> tuple[list[float], list[float]]:
    """Seconds and test accuracy of each net, one after the other."""
    seconds, accuracies = [], []
    for unit in plan:
        start = time.perf_counter()
        options = units.letters(Configuration(*(unit[name] for name in NAMES)))
        accuracies.append(run(options, unit["seed"]))
        seconds.append(time.perf_counter() - start)
    return seconds, accuracies


class Watched(driver.Progress):
    """Keeps when it was asked, what it foretold, and when the first worker was ready."""

    asked: list[tuple[float, float]]
    began: float | None = None

    def text(self) -> str:
        Watched.began = self.executor.began
        if self.began is not None and (left := self.left_s()) is not None:
            Watched.asked.append((time.monotonic(), left))
        return super().text()


def swept(plan: list[dict], workers: int | None) -> tuple[float, float, float | None, list[float]]:
    """Seconds with and without the start of the workers, error of the forecast, accuracies."""
    Watched.asked, driver.Progress = [], Watched
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = sweep.run(
            "convcost.chapters.complexity_precision.study:trained",
            plan,
            folder,
            workers=workers,
            cost=units.cost,
            progress=lambda line: None,
            every_s=0.2,
        )
    end = time.monotonic()
    if set(done.units.status) != {"done"}:
        raise ConvcostError(f"not all units are done: {done.units.reason.dropna().tolist()}")
    running = end - Watched.began
    late = [(t, left) for t, left in Watched.asked if t - Watched.began >= running / 4]
    foretold = late[0][0] + late[0][1] - Watched.began if late else None
    rows = done.rows
    correct = rows.test_class0_correct + rows.test_class1_correct
    accuracies = (correct / (rows.test_class0_images + rows.test_class1_images)).tolist()
    return end - start, running, foretold and foretold / running - 1, accuracies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=1500, help="of each split (default 1500)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--units", type=int, default=UNITS, help=f"nets (default {UNITS})")
    parser.add_argument("--workers", type=int, help="processes of the sweep (default: cores)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-ablation", action="store_true")
    options = parser.parse_args()
    try:
        sets = tuple(
            part.spread(min(options.images, len(part)))
            for part in (
                datasets.load(units.SET, split, allow_stand_in=False) for split in ("train", "test")
            )
        )
    except ConvcostError as error:
        print(error)
        return 2
    cores = machine.usable_cores(os.cpu_count()) or 1
    device, cuda = options.device, options.device != "cpu"
    bf16 = cuda or machine.has_bf16()
    recipe = Recipe(lr=1e-3, batch_size=32, epochs=options.epochs)
    plan = [
        {
            **dict(zip(NAMES, values, strict=True)),
            "seed": seed,
            "recipe": dataclasses.asdict(recipe),
            "images": options.images,
            "tried_on": ["test"],
            "device": device,
            "bf16": bf16,
        }
        for seed, values in enumerate(islice(cycle(CONFIGURATIONS), options.units))
    ]
    print(
        f"{len(plan)} nets of ke_cnn, {len(sets[0]):,} faces, {recipe.epochs} epoch(s), "
        f"batch {recipe.batch_size}, {cores} cores, {device}, torch {torch.__version__}"
    )

    def by_student(config, seed):
        return student(sets, config, recipe, seed, device)

    def by_us(execution):
        return lambda config, seed: ours(sets, config, recipe, seed, execution)

    torch.set_num_threads(cores)
    first, theirs = timed(plan, by_student)
    plain = Execution(device, threads=cores, channels_last=False, fused=False)
    ordered = dataclasses.replace(plain, channels_last=True, fused=True)
    ladder = [
        ("resident data, one indexed read a batch", plain),
        ("... channels last, fused optimiser", ordered),
        *([("... bfloat16", dataclasses.replace(ordered, bf16=True))] if bf16 else []),
    ]
    rungs = []
    for name, execution in [] if options.no_ablation else ladder:
        rungs.append((name, sum(timed(plan, by_us(execution))[0])))
    whole, running, error, accuracies = swept(plan, options.workers)
    torch.set_num_threads(cores)
    second, _ = timed(plan, by_student)

    base = sum(map(min, first, second))
    print(f"{'':<48} {'units/min':>9} {'ratio':>7}   load average {os.getloadavg()[0]:.1f}")
    for name, seconds in [
        (f"student's loop, {cores} threads", base),
        *rungs,
        ("... one process per core: the sweep, once it runs", running),
        ("the sweep, with the start of its workers", whole),
    ]:
        print(f"{name:<48} {60 * len(plan) / seconds:9.2f} {base / seconds:6.2f}x")
    for name, found in (("student", theirs), ("sweep", accuracies)):
        print(f"test accuracy, {name}: mean {sum(found) / len(found):.4f}")

    missed = []
    ratio = base / (running if cuda else whole)
    if ratio < TARGETS[device.split(":")[0]]:
        missed.append(f"{ratio:.2f} times the student's units per minute")
    if error is None:
        missed.append("no forecast: too few units for the workers")
    else:
        print(f"forecast of the whole time, after a quarter of it: {error:+.0%}")
        if abs(error) > ETA_WITHIN:
            missed.append(f"a forecast that was wrong by {error:+.0%}")
    print("\n".join(["missed:", *missed]) if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
