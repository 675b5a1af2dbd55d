"""How fast `convcost.count` is beside thop, in one process on one thread.

`python benchmarks/bench_count.py` prints, per net, the median of both over several rounds, their
ratio (median and range of the rounds), then our time at 224 and at 896 pixels. Times are those that
the one thread spent computing, so that other work on the machine adds little. It leaves with status
1 if a target is missed: 25 times faster than thop on densenet161, 15 times on each net of cheng2025
(Table 1), and at 896 pixels not slower than 1.5 times the time at 224 (the work is the same: what
differs is noise). thop gets a copy of the model in every round, because it leaves buffers behind
(copying is not timed), and runs once per round where ours runs three times at each size.
"""

import argparse
import copy
import gc
import statistics
import sys
import time

import thop
import torch

from convcost import count, nets

TARGETS = {**dict.fromkeys(nets.CHENG_NETS, 15), "densenet161": 25}
FLAT = 1.5


def seconds(function) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nets", nargs="*", default=[*TARGETS], choices=TARGETS)
    args = parser.parse_args()
    rounds = args.rounds
    torch.set_num_threads(1)
    missed = []
    print(f"median of {rounds} rounds, 1 x 3 x 224 x 224, 1 thread, torch {torch.__version__}")
    print(
        f"{'net':<12} {'thop ms':>9} {'ours ms':>9} {'ratio':>7} {'range':>15} {'target':>7}   "
        "at 896 px / 224 px"
    )
    for name in args.nets:
        target = TARGETS[name]
        options = {"init_weights": False} if name == "googlenet" else {}
        model = nets.build(name, **options).eval()
        images = torch.zeros(1, 3, 224, 224)
        theirs, ours, large, ratios = [], [], [], []
        count(model, (3, 224, 224))  # rules and hooks are found once per process
        for _ in range(rounds):  # taken in turns, so that both see the same machine
            guest = copy.deepcopy(model)
            theirs.append(seconds(lambda net=guest: thop.profile(net, (images,), verbose=False)))  # noqa: B023
            del guest
            gc.collect()  # what thop leaves behind is not for us to sweep up
            for _ in range(3):
                ours.append(seconds(lambda: count(model, (3, 224, 224)).macs))  # noqa: B023
                large.append(seconds(lambda: count(model, (3, 896, 896)).macs))  # noqa: B023
            ratios.append(theirs[-1] / statistics.median(ours[-3:]))
        slow, fast, big = map(statistics.median, (theirs, ours, large))
        ratio, growth = statistics.median(ratios), big / fast
        print(
            f"{name:<12} {slow * 1e3:9.1f} {fast * 1e3:9.2f} {ratio:6.1f}x "
            f"{min(ratios):6.1f} to {max(ratios):5.1f} {target:6d}x   "
            f"{big * 1e3:.2f} / {fast * 1e3:.2f} ms = {growth:.2f}"
        )
        if ratio < target:
            missed.append(f"{name}: {ratio:.1f}x, wanted {target}x")
        if growth > FLAT:
            missed.append(f"{name}: {growth:.2f} times slower at 896 pixels, wanted <= {FLAT}")
    print("\n".join(["missed:", *missed]) if missed else "all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
