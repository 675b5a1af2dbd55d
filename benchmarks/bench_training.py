"""How many LeNets a minute `convcost.training` trains, beside the loop a student would write.

All sides of a comparison run in turns on the same cores, `--turns` times; the speed of a turn is
what it did over its wall-clock seconds, and what is told is the median of the turns with their
range. A target holds for the median of the ratios within a turn.

`python benchmarks/bench_training.py` trains on a part of MNIST for one epoch (a minute or two in
all), `--full` on all of it for the epochs of the default recipe. Ours is `kept`, which notebooks
call, its checkpoints written. The student's loop reads pictures through a DataLoader with
torchvision's ToTensor and Normalize, in float32; net, optimiser, rates, batch size, epochs and
evaluation are the same. Either has a process of one thread per core, as a sweep does it: for nets
so small that is faster than threads. Then an ablation says where the difference comes from, one
change at a time.

It leaves with status 1 if a target is missed: 2.5 times the student's nets per minute, and test
accuracies that differ by chance only.

`--loops` is another benchmark: the tuned loop (the faster of the last two of `training.LOOPS`)
against the plain one, for the five nets of cheng2025 on FashionMNIST. It leaves with status 1 where
the total of the five is less than twice (`--device cuda`: five times) as fast. `--loop-nets`,
`--input-px`, `--batch` and `--steps` make it smaller; at 224 pixels it takes two cores a while,
compilation much of it.

`--together` is a third: nets per minute of `train_together`, `--nets` of them at once, beside
`train` one after the other in this process: the same recipe, seeds and `--images` (of MNIST, or
patterns made here where it is not at hand). It leaves with status 1 where all at once are less than
10 times as fast on a GPU, or less than half as fast on a CPU: a core has nothing to gain, for
matrix products that serve all nets take the place of convolutions that fit one. Nor may the test
accuracies of the same seeds differ by more than chance.
"""

import argparse
import dataclasses
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from convcost import datasets, nets
from convcost.core import machine
from convcost.core.errors import ConvcostError
from convcost.training import (
    LOOPS,
    Execution,
    Recipe,
    kept,
    pipelines,
    timed_steps,
    train,
    train_together,
)

TARGET = 2.5
TOGETHER_TARGETS = {"cpu": 0.5, "cuda": 10.0}
LOOP_TARGETS = {"cpu": 2.0, "cuda": 5.0}
CHENG_NETS = ("alexnet", "vgg16", "googlenet", "resnet18", "densenet161")
NET = "lenet_atsumi"
CORES = machine.usable_cores(os.cpu_count()) or 1


# --- sides in turns --------------------------------------------------------------------------


def in_turns(sides: Mapping[str, Callable[[], int]], turns: int) -> dict[str, list[float]]:
    """Nets per minute of each side in each turn; a side returns how many nets it has trained."""
    rates = {name: [] for name in sides}
    for turn in range(turns):
        for name, run in sides.items():
            begin = time.perf_counter()
            count = run()
            rates[name].append(60 * count / (time.perf_counter() - begin))
            print(f"turn {turn + 1}, {name}: {rates[name][-1]:.1f} nets/min", flush=True)
    return rates


def table(rates: dict[str, list[float]]) -> list[float]:
    """Print the speed of two sides; the second over the first, turn by turn, comes out."""
    theirs, ours = rates.values()
    print(f"median (range) of {len(ours)} turns; load average {os.getloadavg()[0]:.1f}")
    for name, found in rates.items():
        print(f"{name:<40} {told(found)} nets/min")
    print(f"{'ratio':<40} {told(ratios(ours, theirs))}")
    return ratios(ours, theirs)


def told(values: list[float]) -> str:
    return f"{statistics.median(values):9.2f} ({min(values):.2f} to {max(values):.2f})"


def ratios(ours: list[float], theirs: list[float]) -> list[float]:
    """Ours over theirs, turn by turn."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def verdict(missed: list[str]) -> int:
    print("\n".join(["missed:", *missed]) if missed else "all targets met")
    return int(bool(missed))


# --- ours and a student's --------------------------------------------------------------------


def student(sets, recipe: Recipe, seed: int) -> float:
    """Test accuracy of one net, trained the way tutorials do it."""
    torch.manual_seed(seed)
    (mean,), (deviation,) = sets[0].channel_statistics()
    train_set, test_set = (pipelines.Pictures(part, 28, 1, mean, deviation) for part in sets)
    for part in (train_set, test_set):
        del part.transform.transforms[0]  # the resizing: who trains a LeNet writes none
    train_loader = DataLoader(train_set, batch_size=recipe.batch_size, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=1000)
    model = nets.build(NET)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    steps = recipe.epochs * len(train_loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: recipe.rate(min(step, steps - 1), steps) / recipe.lr
    )
    criterion = nn.CrossEntropyLoss()
    for _ in range(recipe.epochs):
        model.train()
        for images, labels in train_loader:
            optimiser.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimiser.step()
            schedule.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in test_loader:
                correct += (model(images).argmax(1) == labels).sum().item()
    return correct / len(test_set)


def mnist(images: int | None):
    """Both splits of MNIST: all of it, or so many images, and a sixth of them to test."""
    sets = tuple(datasets.load("mnist", split, allow_stand_in=False) for split in ("train", "test"))
    return sets if images is None else (sets[0].first(images), sets[1].first(images // 6))


def begin_worker(images: int | None, recipe: Recipe) -> None:
    """In each process of its own: the data, one thread, and everything loaded."""
    global SETS, RECIPE
    torch.set_num_threads(1)
    SETS, RECIPE = mnist(images), recipe
    few = tuple(part.first(200) for part in SETS)
    student(few, Recipe(epochs=1), 0), train(NET, few, Recipe(epochs=1), 0)


def student_there(seed: int) -> float:
    return student(SETS, RECIPE, seed)


def kept_there(folder: str, seed: int) -> float:
    return kept(folder, NET, SETS, RECIPE, seed).test_accuracy[-1]


def against_a_student(options) -> int:
    """Nets per minute of this machine's cores."""
    short = options.images or 12_000
    images, recipe = (None, Recipe()) if options.full else (short, Recipe(epochs=1))
    try:
        sets = mnist(images)
    except ConvcostError as error:
        print(error)
        return 2
    count = options.nets or CORES
    print(
        f"{NET} on {len(sets[0]):,} images of MNIST, {recipe.epochs} epoch(s), batch "
        f"{recipe.batch_size}, {CORES} cores, torch {torch.__version__}; {count} nets a turn"
    )
    seeds, accuracies = itertools.count(), {"student": [], "kept": []}

    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(
            CORES, multiprocessing.get_context("spawn"), begin_worker, (images, recipe)
        ) as pool,
    ):
        # as many as there are cores, so that all processes are there before the first turn
        list(pool.map(time.sleep, [1.0] * CORES))

        def everywhere(whose: str, function, *args) -> int:
            tasks = [pool.submit(function, *args, next(seeds)) for _ in range(count)]
            accuracies[whose] += [task.result() for task in tasks]
            return count

        found = table(
            in_turns(
                {
                    "student's loop": lambda: everywhere("student", student_there),
                    "kept": lambda: everywhere("kept", kept_there, folder),
                },
                options.turns,
            )
        )
    for name, shares in accuracies.items():
        print(
            f"test accuracy, {name}: {statistics.mean(shares):.4f} "
            f"({min(shares):.4f} to {max(shares):.4f}, {len(shares)} nets)"
        )
    missed = []
    if (ratio := statistics.median(found)) < TARGET:
        missed.append(f"{ratio:.2f} times the student's nets per minute, wanted {TARGET}")
    mine, his = accuracies["kept"], accuracies["student"]
    difference = statistics.mean(mine) - statistics.mean(his)
    spread = (statistics.variance(mine) / len(mine) + statistics.variance(his) / len(his)) ** 0.5
    print(f"accuracy: ours less student's {difference:+.4f}, standard error {spread:.4f}")
    if abs(difference) > 4 * spread:
        missed.append("accuracies differ by more than four standard errors")
    if not options.no_ablation:
        ablation(mnist(short), options.turns)
    return verdict(missed)


def ablation(sets, turns: int) -> None:
    """One net, with one change at a time."""
    recipe, change = Recipe(epochs=1), dataclasses.replace
    plain = Execution(threads=CORES, channels_last=False, fused=False)
    single = change(plain, threads=1)
    cases = {
        "resident data, one indexed read a batch": (plain, recipe),
        "... one thread": (single, recipe),
        "... channels last": (change(single, channels_last=True), recipe),
        "... fused optimiser (the default)": (Execution(), recipe),
        "default, two threads": (Execution(threads=2), recipe),
        "default, batch four times larger": (
            Execution(), change(recipe, batch_size=4 * recipe.batch_size)
        ),
        "default, bfloat16 autocast": (Execution(bf16=True), recipe),
    }  # fmt: skip
    print(f"\nablation: {len(sets[0]):,} images, one epoch, one process, seconds of one net")
    took = {name: ([], []) for name in cases}
    for _ in range(turns):
        for name, (execution, using) in cases.items():
            begin, used = time.perf_counter(), time.process_time()
            train(NET, sets, using, 0, execution=execution)
            took[name][0].append(time.perf_counter() - begin)
            took[name][1].append(time.process_time() - used)
    print(f"{'':<40} {'wall clock':>24}   {'of the processor':>24}")
    for name, (wall, used) in took.items():
        print(f"{name:<40} {told(wall):>24}   {told(used):>24}")


# --- loops -----------------------------------------------------------------------------------


def loops(options) -> int:
    """Milliseconds per image of a training step, by net and loop."""
    try:
        sets = tuple(
            datasets.load("fashionmnist", split, allow_stand_in=False)
            for split in ("train", "test")
        )
    except ConvcostError as error:
        print(error)
        return 2
    names = ["plain", *list(LOOPS)[-2:]]
    print(
        f"ms per image of a training step, median (range) of {options.turns} turns of "
        f"{options.steps} steps: 1×{options.input_px}×{options.input_px}, batch {options.batch}, "
        f"{CORES} cores, {options.device}"
    )
    totals = np.zeros((2, options.turns))  # of the plain loop and of the tuned one, by turn
    for net in options.loop_nets:
        found = {name: [] for name in names}
        for _ in range(options.turns):
            for name in names:
                run = timed_steps(
                    net, sets, name, input_px=options.input_px, batch=options.batch,
                    threads=CORES, steps=options.steps, warmup=2, device=options.device,
                )  # fmt: skip
                timed = run.steps[~run.steps.warmup]
                found[name].append(1000 * (timed.step_s / timed.images).median())
        best = min(names[1:], key=lambda name: statistics.median(found[name]))
        totals += [found["plain"], found[best]]
        for name in names:
            print(f"{net:<14}{name:<14}{told(found[name])}")
        print(f"{net:<14}{'plain over ' + best:<14}{told(ratios(found['plain'], found[best]))}")
    faster = ratios(*totals.tolist())
    target = LOOP_TARGETS[options.device.split(":")[0]]
    print(f"{'total':<14}{'ratio':<14}{told(faster)}   load average {os.getloadavg()[0]:.1f}")
    ratio = statistics.median(faster)
    return verdict([f"{ratio:.2f} times, wanted {target}"] * (ratio < target))


# --- many at once ----------------------------------------------------------------------------


def patterns(split: str, count: int) -> datasets.Dataset:
    """As many images as asked for, 28 × 28: one of ten patterns of grey squares, under noise."""
    spec, rng = datasets.find("mnist"), np.random.default_rng(len(split))
    coarse = np.random.default_rng(0).integers(0, 256, (10, 1, 7, 7))
    labels = rng.integers(0, 10, count)
    pixels = np.kron(coarse[labels], np.ones((1, 1, 4, 4))) + rng.normal(0, 80, (count, 1, 28, 28))
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return datasets.Dataset("mnist", "patterns", split, pixels, labels, spec.classes, "made", spec)


def together(options) -> int:
    """Nets per minute, all at once and one after the other."""
    try:
        execution, recipe = Execution(options.device), Recipe(epochs=1)
    except ConvcostError as error:
        print(error)
        return 2
    on_gpu = execution.device_kind == "cuda"
    count = max(2, options.nets or (100 if on_gpu else 6))
    few = max(2, min(5, count // 2))
    images = options.images or (12_000 if on_gpu else 2_000)
    splits = {"train": images, "test": images // 4}
    try:
        sets = tuple(
            datasets.load("mnist", split, download=False, allow_stand_in=False).first(many)
            for split, many in splits.items()
        )
    except ConvcostError:
        sets = tuple(patterns(split, many) for split, many in splits.items())
    print(
        f"{NET} on {images:,} images ({sets[0].name}), 1 epoch, batch {recipe.batch_size}, "
        f"{options.device}, {machine.slug()}, torch {torch.__version__}"
    )
    found = {"alone": {}, "at once": {}}

    def alone(seeds) -> int:
        found["alone"] |= {seed: train(NET, sets, recipe, seed, execution=execution)
                           for seed in seeds}  # fmt: skip
        return len(seeds)

    def at_once(seeds) -> int:
        made = train_together(NET, sets, recipe, seeds, execution=execution)
        found["at once"] |= dict(zip(seeds, made, strict=True))
        return len(seeds)

    alone([0]), at_once([0, 1])  # libraries are loaded, memory is asked for
    parts = itertools.cycle([range(few), range(few, min(count, 2 * few))])
    rates = in_turns(
        {f"train, {few} nets": lambda: alone(next(parts)),
         f"train_together, {count} nets": lambda: at_once(range(count))},
        options.turns,
    )  # fmt: skip
    faster, target = table(rates), TOGETHER_TARGETS[execution.device_kind]
    differences = [
        found["at once"][seed].test_accuracy[-1] - net.test_accuracy[-1]
        for seed, net in found["alone"].items()
    ]
    mean, spread = statistics.mean(differences), statistics.stdev(differences)
    limit = max(4 * spread / len(differences) ** 0.5, 2 / len(sets[1]))
    print(
        f"groups of {found['at once'][0].record['execution']['together']}; test accuracy of the "
        f"same seeds, together less alone {mean:+.5f} (from {min(differences):+.4f} to "
        f"{max(differences):+.4f}), allowed {limit:.5f}"
    )
    missed = [f"less than {target} times as fast"] * (statistics.median(faster) < target)
    return verdict(missed + ["accuracies differ by more than chance"] * (abs(mean) > limit))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="all of MNIST, all epochs")
    parser.add_argument("--turns", type=int, default=3, help="how often each side runs")
    parser.add_argument(
        "--nets", type=int,
        help="nets of a turn (default: one per core; of --together 6, on a GPU 100)",
    )  # fmt: skip
    parser.add_argument("--no-ablation", action="store_true")
    parser.add_argument("--loops", action="store_true", help="tuned against plain, five nets")
    parser.add_argument("--together", action="store_true", help="nets at once against one by one")
    parser.add_argument("--images", type=int, help="default 12,000; of --together 2,000 on a CPU")
    parser.add_argument("--loop-nets", nargs="+", default=CHENG_NETS)
    parser.add_argument("--input-px", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.together:
        return together(options)
    return loops(options) if options.loops else against_a_student(options)


if __name__ == "__main__":
    sys.exit(main())
