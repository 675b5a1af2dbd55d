"""How many LeNets a minute `convcost.training` trains, beside the loop a student would write.

`python benchmarks/bench_training.py` trains on a part of MNIST for one epoch (about a minute in
all), `--full` on all of it for the epochs of the default recipe (many minutes). The student's loop
reads pictures through a DataLoader with torchvision's ToTensor and Normalize, in float32, one net
after the other, with torch's own choice of threads; net, optimiser, rates, batch size, epochs and
evaluation are the same. It is run before and after ours, so that both see the same machine. Then
an ablation says where the difference comes from, one change at a time.

It leaves with status 1 if a target is missed: 2.5 times the student's nets per minute, and test
accuracies that differ by chance only. The quick form judges nets per minute once the workers run,
`--full` all of it with their start.
"""

import argparse
import dataclasses
import os
import statistics
import sys
import tempfile
import time

import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import transforms

from convcost import datasets, machine, nets
from convcost.errors import ConvcostError
from convcost.training import Execution, Recipe, train, train_many

TARGET = 2.5
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


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


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

    def students(threads):
        def run():
            torch.set_num_threads(threads)
            student(sets, recipe, 0)

        return run

    cases = [
        ("student's loop", cores, 1, students(cores)),
        ("student's loop, one thread", 1, 1, students(1)),
        ("resident data, one indexed read a batch", cores, 1, ours(plain)),
        ("... one thread", 1, 1, ours(single)),
        ("... channels last", 1, 1, ours(ordered)),
        ("... fused optimiser (the default)", 1, 1, ours(Execution())),
        ("default, two threads", 2, 1, ours(Execution(threads=2))),
        ("default, batch four times larger", 1, 1, ours(Execution(), large)),
        ("default, bfloat16 autocast", 1, 1, ours(Execution(bf16=True))),
        ("four nets stacked with vmap, not evaluated", 1, 4, lambda: stacked(sets, recipe, 4)),
    ]
    print(f"\nablation: one process, best of 2; s per net, and what {cores} cores would give")
    print(f"{'':<44} {'threads':>7} {'s/net':>7} {'nets/min':>9}")
    for name, threads, count, run in cases:
        torch.set_num_threads(threads)
        best = min(seconds(run) for _ in range(2)) / count
        processes = max(1, cores // threads)
        print(f"{name:<44} {threads:7d} {best:7.2f} {processes * 60 / best:9.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="all of MNIST, all epochs")
    parser.add_argument("--nets", type=int, help="nets that ours trains (default 6, full 10)")
    parser.add_argument("--no-ablation", action="store_true")
    options = parser.parse_args()
    try:
        sets = [datasets.load("mnist", split, allow_stand_in=False) for split in ("train", "test")]
    except ConvcostError as error:
        print(error)
        return 2
    recipe = Recipe()
    if not options.full:
        recipe = dataclasses.replace(recipe, epochs=1)
        sets = [
            dataclasses.replace(part, images=part.images[:n], labels=part.labels[:n])
            for part, n in zip(sets, (12_000, 2_000), strict=True)
        ]
    sets = tuple(sets)
    cores = machine.usable_cores(os.cpu_count()) or 1
    count = options.nets or (10 if options.full else 6)
    threads = torch.get_num_threads()
    print(
        f"{NET} on {len(sets[0]):,} images of MNIST, {recipe.epochs} epoch(s), batch "
        f"{recipe.batch_size}, {cores} cores, torch {torch.__version__}"
    )

    slow, accuracies = [], []

    def one_by_student(seed):
        slow.append(seconds(lambda: accuracies.append(student(sets, recipe, seed))))

    seeds = range(1000, 1002 if options.full else 1004)  # other seeds than ours
    for seed in seeds[: len(seeds) // 2]:
        one_by_student(seed)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        rows = train_many(NET, sets, recipe, range(count), folder, progress=None).rows
        whole = time.perf_counter() - start
    for seed in seeds[len(seeds) // 2 :]:
        one_by_student(seed)

    theirs = 60 / statistics.median(slow)
    running = 60 * min(cores, count) / rows.seconds.median()
    started = 60 * count / whole
    print(f"{'':<44} {'nets/min':>9} {'ratio':>7}   test accuracy, mean and range")
    for name, rate, found in (
        (f"student's loop, {threads} threads ({len(slow)} nets)", theirs, accuracies),
        (f"train_many, once it runs ({count} nets)", running, rows.test_accuracy.tolist()),
        ("train_many, with the start of its workers", started, []),
    ):
        shown = (
            f"{statistics.mean(found):.4f}  {min(found):.4f} to {max(found):.4f}" if found else ""
        )
        print(f"{name:<44} {rate:9.2f} {rate / theirs:6.2f}x   {shown}")

    missed = []
    ratio = (started if options.full else running) / theirs
    if ratio < TARGET:
        missed.append(f"{ratio:.2f} times the student's nets per minute, wanted {TARGET}")
    ours = rows.test_accuracy.tolist()
    difference = statistics.mean(ours) - statistics.mean(accuracies)
    spread = statistics.stdev(ours) * (1 / len(ours) + 1 / len(accuracies)) ** 0.5
    print(f"accuracy: ours less student's {difference:+.4f}, standard error {spread:.4f}")
    if abs(difference) > 4 * spread:
        missed.append("accuracies differ by more than four standard errors")
    if not options.no_ablation:
        ablation(sets, recipe, cores)
    print("\n".join(["missed:", *missed]) if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
