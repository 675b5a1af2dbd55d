"""How many LeNets a minute `convcost.training` trains, beside the loop a student would write.

`python benchmarks/bench_training.py` trains on a part of MNIST for one epoch (a minute or two in
all), `--full` on all of it for the epochs of the default recipe. The student's loop reads pictures
through a DataLoader with torchvision's ToTensor and Normalize, in float32, one net after the
other; net, optimiser, rates, batch size, epochs and evaluation are the same. It runs before and
after ours, so that both see the same machine, with torch's own choice of threads and with one
thread: the faster of the two counts, because on a busy machine threads that wait for each other
make the first one look bad. Then an ablation says where the difference comes from, one change at
a time; CPU seconds tell more than wall-clock seconds where others use the machine.

It leaves with status 1 if a target is missed: 2.5 times the student's nets per minute, and test
accuracies that differ by chance only. The quick form judges nets per minute once the workers run
(by the best net of either side: other work on the machine only slows), `--full` the whole time of
all nets with the start of the workers.

`--loops` is another benchmark: the tuned loop (the faster of the last two of `training.LOOPS`)
against the plain one, for the five nets of cheng2025 on FashionMNIST. The plain loop is measured
before and after, and the faster of the two counts. It leaves with status 1 where the total of the
five is less than twice (`--device cuda`: five times) as fast. `--loop-nets`, `--input-px`,
`--batch` and `--steps` make it smaller; at 224 pixels it takes two cores a while, compilation
much of it.

`--together` is a third: nets per minute of `train_together`, `--nets` of them at once, beside
`train` one after the other in this process: the same recipe, seeds and `--images` (of MNIST, or
patterns made here where it is not at hand). `train` is measured before and after, and the faster
counts. It leaves with status 1 where all at once are less than 10 times as fast on a GPU, or less
than half as fast on a CPU: a core has nothing to gain (0.65 to 0.85 were measured), for matrix
products that serve all nets take the place of convolutions that fit one. On a CPU `train_many` is
the fast way. Nor may the test accuracies of the same seeds differ by more than chance.
"""

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms

from convcost import datasets, nets
from convcost.core import machine
from convcost.core.errors import ConvcostError
from convcost.training import (
    LOOPS,
    Execution,
    Recipe,
    timed_steps,
    train,
    train_many,
    train_together,
)

TARGET = 2.5
TOGETHER_TARGETS = {"cpu": 0.5, "cuda": 10.0}
LOOP_TARGETS = {"cpu": 2.0, "cuda": 5.0}
CHENG_NETS = ("alexnet", "vgg16", "googlenet", "resnet18", "densenet161")
NET = "lenet_atsumi"


class Pictures(torch.utils.data.Dataset):
    """A split as torchvision.datasets.MNIST gives it: a picture, through transforms, each time."""

    def __init__(self, dataset, transform):
        self.images = torch.from_numpy(dataset.images.copy())
        self.labels = dataset.labels.tolist()
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index, 0].numpy())), self.labels[index]


def student(sets, recipe: Recipe, seed: int) -> float:
    """Test accuracy of one net, trained the way tutorials do it."""
    torch.manual_seed(seed)
    (mean,), (deviation,) = sets[0].channel_statistics()
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((mean,), (deviation,))]
    )
    train_set, test_set = (Pictures(part, transform) for part in sets)
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


def seconds(function) -> tuple[float, float]:
    """Wall-clock seconds, and CPU seconds of this process."""
    start, used = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start, time.process_time() - used


def stacked(sets, recipe: Recipe, count: int) -> None:
    """`count` nets as one, with torch.func.vmap: a batch of its own for each, Adam over the stack.

    Without evaluation, which favours it.
    """
    models = [nets.build(NET) for _ in range(count)]
    parameters, buffers = torch.func.stack_module_state(models)
    template = nets.build(NET, device="meta")

    def loss(own, images, labels):
        outputs = torch.func.functional_call(template, (own, buffers), (images,))
        return functional.cross_entropy(outputs, labels)

    gradients = torch.func.vmap(torch.func.grad(loss))
    leaves = {name: nn.Parameter(p.detach()) for name, p in parameters.items()}
    optimiser = torch.optim.Adam(leaves.values(), lr=recipe.lr, fused=True)
    images, labels = sets[0].tensors()
    for _ in range(recipe.epochs):
        orders = torch.stack([torch.randperm(len(labels)) for _ in range(count)])
        for chosen in orders.split(recipe.batch_size, dim=1):
            found = gradients({k: p.detach() for k, p in leaves.items()}, images[chosen],
                              labels[chosen])  # fmt: skip
            for name, parameter in leaves.items():
                parameter.grad = found[name]
            optimiser.step()


def ablation(sets, recipe: Recipe, cores: int) -> None:
    plain = Execution(threads=cores, channels_last=False, fused=False)
    change = dataclasses.replace
    single = change(plain, threads=1)
    ordered = change(single, channels_last=True)
    large = change(recipe, batch_size=4 * recipe.batch_size)

    def ours(execution, using=recipe):
        return lambda: train(NET, sets, using, 0, execution=execution)

    cases = [
        ("resident data, one indexed read a batch", cores, 1, ours(plain)),
        ("... one thread", 1, 1, ours(single)),
        ("... channels last", 1, 1, ours(ordered)),
        ("... fused optimiser (the default)", 1, 1, ours(Execution())),
        ("default, two threads", 2, 1, ours(Execution(threads=2))),
        ("default, batch four times larger", 1, 1, ours(Execution(), large)),
        ("default, bfloat16 autocast", 1, 1, ours(Execution(bf16=True))),
        ("four nets stacked with vmap, not evaluated", 1, 4, lambda: stacked(sets, recipe, 4)),
    ]
    print(
        f"\nablation: {len(sets[0]):,} images, {recipe.epochs} epoch, one process; seconds "
        f"per net, the better of two; nets per minute of {cores} cores, from the CPU seconds"
    )
    print(f"{'':<44} {'threads':>7} {'wall s':>7} {'CPU s':>7} {'nets/min':>9}")
    for name, threads, count, run in cases:
        torch.set_num_threads(threads)
        walls, useds = zip(*(seconds(run) for _ in range(2)), strict=True)
        wall, used = min(walls) / count, min(useds) / count
        print(f"{name:<44} {threads:7d} {wall:7.2f} {used:7.2f} {cores * 60 / used:9.1f}")


def loops(options, cores: int) -> int:
    """Milliseconds per image of a training step, by net and loop."""
    try:
        sets = tuple(
            datasets.load("fashionmnist", split, allow_stand_in=False)
            for split in ("train", "test")
        )
    except ConvcostError as error:
        print(error)
        return 2
    tuned = list(LOOPS)[-2:]
    order = ["plain", *tuned, "plain"]
    print(
        f"ms per image of a training step, median of {options.steps}: 1×{options.input_px}×"
        f"{options.input_px}, batch {options.batch}, {cores} cores, {options.device}"
    )
    print(f"{'':<14}" + "".join(f"{name:>10}" for name in order) + f"{'ratio':>8}")
    totals = [0.0, 0.0]
    for net in options.loop_nets:
        found = []
        for name in order:
            run = timed_steps(
                net, sets, name, input_px=options.input_px, batch=options.batch, threads=cores,
                steps=options.steps, warmup=2, device=options.device,
            )  # fmt: skip
            timed = run.steps[~run.steps.warmup]
            found.append(1000 * (timed.step_s / timed.images).median())
        plain, best = min(found[0], found[-1]), min(found[1:-1])
        totals = [totals[0] + plain, totals[1] + best]
        print(f"{net:<14}" + "".join(f"{ms:10.2f}" for ms in found) + f"{plain / best:7.2f}x")
    ratio, target = totals[0] / totals[1], LOOP_TARGETS[options.device.split(":")[0]]
    print(
        f"{'total':<14}{totals[0]:10.2f}{totals[1]:10.2f}{'':20}{ratio:7.2f}x   "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    print(f"missed: {ratio:.2f} times, wanted {target}" if ratio < target else "target met")
    return int(ratio < target)


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

    def alone(seeds, execution=execution):
        return [train(NET, sets, recipe, seed, execution=execution) for seed in seeds]

    def at_once(seeds):
        return train_together(NET, sets, recipe, seeds, execution=execution)

    rates = []

    def timed(name, run, seeds):
        start = time.perf_counter()
        found = run(seeds)
        rates.append(60 * len(found) / (time.perf_counter() - start))
        print(f"{name:<44} {rates[-1]:9.1f} nets/min ({len(found)} nets)", flush=True)
        return found

    alone([0]), at_once([0, 1])  # libraries are loaded, memory is asked for
    few = min(5, count // 2)
    plain = timed("train, before", alone, range(few))
    ours = timed("train_together", at_once, range(count))
    plain += timed("train, after", alone, range(few, 2 * few))
    if on_gpu:
        recorded = dataclasses.replace(execution, cuda_graph=True)
        timed(
            "train with a CUDA graph (not the baseline)", partial(alone, execution=recorded), [0, 1]
        )
    ratio, target = rates[1] / max(rates[0], rates[2]), TOGETHER_TARGETS[execution.device_kind]
    differences = [
        one.test_accuracy[-1] - other.test_accuracy[-1]
        for one, other in zip(ours, plain, strict=False)
    ]
    mean, spread = statistics.mean(differences), statistics.stdev(differences)
    limit = max(4 * spread / len(differences) ** 0.5, 2 / len(sets[1]))
    print(
        f"{ratio:.2f} times the nets per minute, wanted {target}; groups of "
        f"{ours[0].record['execution']['together']}; load average {os.getloadavg()[0]:.1f}\n"
        f"test accuracy {statistics.mean(net.test_accuracy[-1] for net in ours):.4f}; of the same "
        f"seeds, together less alone {mean:+.5f} (from {min(differences):+.4f} to "
        f"{max(differences):+.4f}), allowed {limit:.5f}"
    )
    missed = [f"less than {target} times as fast"] * (ratio < target)
    missed += ["accuracies differ by more than chance"] * (abs(mean) > limit)
    print("\n".join(["missed:", *missed]) if missed else "all targets met")
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="all of MNIST, all epochs")
    parser.add_argument(
        "--nets", type=int, help="nets that ours trains (default 6, full 10, together on a GPU 100)"
    )
    parser.add_argument("--no-ablation", action="store_true")
    parser.add_argument("--loops", action="store_true", help="tuned against plain, five nets")
    parser.add_argument("--together", action="store_true", help="nets at once against one by one")
    parser.add_argument("--images", type=int, help="of --together (default 2,000, on a GPU 12,000)")
    parser.add_argument("--loop-nets", nargs="+", default=CHENG_NETS)
    parser.add_argument("--input-px", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.together:
        return together(options)
    if options.loops:
        return loops(options, machine.usable_cores(os.cpu_count()) or 1)
    try:
        sets = [datasets.load("mnist", split, allow_stand_in=False) for split in ("train", "test")]
    except ConvcostError as error:
        print(error)
        return 2
    part = tuple(
        dataclasses.replace(split, images=split.images[:n], labels=split.labels[:n])
        for split, n in zip(sets, (12_000, 2_000), strict=True)
    )
    recipe, short = Recipe(), dataclasses.replace(Recipe(), epochs=1)
    if not options.full:
        sets, recipe = part, short
    sets = tuple(sets)
    cores = machine.usable_cores(os.cpu_count()) or 1
    count = options.nets or (10 if options.full else 6)
    threads = torch.get_num_threads()
    print(
        f"{NET} on {len(sets[0]):,} images of MNIST, {recipe.epochs} epoch(s), batch "
        f"{recipe.batch_size}, {cores} cores, torch {torch.__version__}"
    )

    slow, accuracies = {threads: [], 1: []}, []

    def by_student(seeds):
        for seed in seeds:
            for chosen in slow:
                torch.set_num_threads(chosen)
                took, _ = seconds(lambda: accuracies.append(student(sets, recipe, seed + chosen)))  # noqa: B023
                slow[chosen].append(took)

    others = (1000,), (2000,)  # other seeds than ours
    by_student(others[0])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = train_many(NET, sets, recipe, range(count), folder, progress=None).rows
        whole = time.perf_counter() - start
    by_student(others[1])

    rates = {chosen: 60 / min(took) for chosen, took in slow.items()}
    theirs = max(rates.values())
    running = 60 * min(cores, count) / rows.seconds.min()  # the best of each, as for the student
    started = 60 * count / whole
    ours = rows.test_accuracy.tolist()

    def line(name, rate):
        print(f"{name:<44} {rate:9.2f} {rate / theirs:6.2f}x")

    print(f"{'':<44} {'nets/min':>9} {'ratio':>7}   load average {os.getloadavg()[0]:.1f}")
    for chosen, rate in rates.items():
        line(f"student's loop, {chosen} thread(s)", rate)
    line(f"train_many, once it runs ({count} nets)", running)
    line("train_many, with the start of its workers", started)
    for name, found in (("student", accuracies), ("train_many", ours)):
        print(
            f"test accuracy, {name}: {statistics.mean(found):.4f} "
            f"({min(found):.4f} to {max(found):.4f}, {len(found)} nets)"
        )

    missed = []
    ratio = (started if options.full else running) / theirs
    if ratio < TARGET:
        missed.append(f"{ratio:.2f} times the student's nets per minute, wanted {TARGET}")
    difference = statistics.mean(ours) - statistics.mean(accuracies)
    spread = statistics.stdev(ours) * (1 / len(ours) + 1 / len(accuracies)) ** 0.5
    print(f"accuracy: ours less student's {difference:+.4f}, standard error {spread:.4f}")
    if abs(difference) > 4 * spread:
        missed.append("accuracies differ by more than four standard errors")
    if not options.no_ablation:
        ablation(part, short, cores)
    print("\n".join(["missed:", *missed]) if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
