"""What `measuring.zeros.zero_rates` costs beside plain inference, and beside storing activations.

`python benchmarks/bench_zeros.py` prints, per net, the median time of a pass over images in batches
of 256: plain inference, zero_rates by layer, channel and class, and a forward hook that keeps the
outputs of ReLU and counts at the end; then the peak memory of each, every one in a process of its
own, for a few batches and for many. It leaves with status 1 if a target is missed: zero_rates takes
at most 1.25 times as long as inference, and its memory does not grow with the number of images.
The counts of both ways are compared first. The three are taken in turns, on one thread, and ratios
are taken within a round, so that a busy machine is busy for all of them.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch
from torch import nn

from convcost import nets
from convcost.measuring.zeros import zero_rates

TARGET = 1.25
GROWTH = 1.1  # more images, the same memory: what differs is the allocator
BATCH = 256
# net: image, batches per pass (LeNet: the test images of MNIST), share of the rounds, batches for
# the two measurements of memory
CASES = {
    "lenet_atsumi": ((1, 28, 28), 40, 1.0, (10, 100)),
    "alexnet": ((3, 224, 224), 1, 0.2, (1, 3)),
}


def batches(shape, number):
    """The same few images over and over: what is measured is the net, not the making of data."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, *shape, generator=generator)
    labels = torch.randint(10, (BATCH,), generator=generator)
    for _ in range(number):
        yield images, labels


def plain(model, data):
    with torch.no_grad():
        for images, _ in data:
            model(images)


def ours(model, data):
    return zero_rates(model, data)


def rows(table):
    columns = ["layer", "channel", "class", "zeros", "total"]
    return set(table[columns].itertuples(index=False, name=None))


def stored(model, data):
    """What one writes first: keep every output of ReLU, put them together, count."""
    kept, labels = defaultdict(list), []
    handles = [
        module.register_forward_hook(lambda m, i, out, name=name: kept[name].append(out.clone()))
        for name, module in model.named_modules()
        if isinstance(module, nn.ReLU)
    ]
    with torch.no_grad():
        for images, given in data:
            model(images)
            labels.append(given)
    for handle in handles:
        handle.remove()
    labels, found = torch.cat(labels), set()
    for name, parts in kept.items():
        zero = torch.cat(parts) == 0
        zero = zero.flatten(2).sum(2) if zero.ndim > 2 else zero.long()
        size = parts[0][0, 0].numel()
        for label in labels.unique().tolist():
            chosen = labels == label
            total = int(chosen.sum()) * size
            for channel, number in enumerate(zero[chosen].sum(0).tolist()):
                found.add((name, channel, label, number, total))
    return found


WAYS = {"plain": plain, "ours": ours, "stored": stored}


def build(name):
    torch.manual_seed(0)
    return nets.build(name).eval()


def seconds(way, model, data) -> float:
    start = time.perf_counter()
    way(model, data)
    return time.perf_counter() - start


def peak_of_this_process() -> float:
    """In MiB. On Linux not ru_maxrss: a child starts with the peak of its parent there."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def peak_mib(name: str, way: str, number: int, threads: int) -> float:
    """Peak memory of one pass in a process of its own, what it had before the pass included."""
    command = [sys.executable, __file__, "--alone", name, way, str(number)]
    done = subprocess.run(
        [*command, "--threads", str(threads)], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.alone:
        name, way, number = given.alone
        WAYS[way](build(name), batches(CASES[name][0], int(number)))
        print(peak_of_this_process())
        return 0

    missed = []
    print(f"batches of {BATCH}, {given.threads} threads, torch {torch.__version__}")
    for name, (shape, number, share, sizes) in CASES.items():
        rounds = max(3, round(given.rounds * share))
        model = build(name)
        data = list(batches(shape, number))
        if rows(ours(model, data)) != stored(model, data):
            missed.append(f"{name}: the counts differ from those of the stored activations")
        times = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, function in WAYS.items():
                times[way].append(seconds(function, model, data))
        memory = {way: [peak_mib(name, way, n, given.threads) for n in sizes] for way in WAYS}
        print(f"\n{name}: {number} x {BATCH} images, median of {rounds} rounds")
        print(f"  {'':<8} {'ms':>9} {'ratio':>7}   peak MiB, {sizes[0]} and {sizes[1]} batches")
        for way, (few, many) in memory.items():
            ratios = [t / p for t, p in zip(times[way], times["plain"], strict=True)]
            print(
                f"  {way:<8} {statistics.median(times[way]) * 1e3:9.1f} "
                f"{statistics.median(ratios):6.2f}x   {few:.0f} {many:.0f}"
            )
            if way == "ours" and statistics.median(ratios) > TARGET:
                ratio = statistics.median(ratios)
                missed.append(f"{name}: {ratio:.2f} times plain inference, wanted <= {TARGET}")
            if way == "ours" and many / few > GROWTH:
                more = f"{many / few:.2f} times the memory for {sizes[1] / sizes[0]:.0f} times"
                missed.append(f"{name}: {more} the images, wanted <= {GROWTH}")
    print("\n" + ("\n".join(["missed:", *missed]) if missed else "all targets met"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
