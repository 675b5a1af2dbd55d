"""What skipping zero inputs brings on this machine, by each method of `convcost.measuring.sparse`.

`python benchmarks/bench_sparse.py` prints, per layer and zero rate, the time of the dense product,
the ideal speed-up 1 / (1 - zero rate), and the speed-up of every method: dense time over its time,
the search for the zeros of a new input included. Skipping pays where that is above 1, and above
"dense, packed". A padded convolution meets more zeros than its input has, so the 3 x 3 map can pass
the ideal. Under each product stands how long the search for the zeros alone takes, with torch's own
conversion beside.

Results are compared with the dense ones first; it leaves with status 1 if they differ. All methods
are taken in turns and ratios are taken within a round, so that a busy machine is busy for all of
them. On one thread the clock is the process's own CPU time, which others' work does not stop; on
more it is the wall clock.

Inputs of one row change from call to call: one alone would find its few weight rows in the cache,
where a new one has to fetch them from memory.
"""

import argparse
import contextlib
import itertools
import statistics
import sys
import time
import warnings
from functools import partial

import torch
from torch import nn

from convcost.core.errors import BadInputError
from convcost.measuring import sparse

PRODUCTS = {  # rows, inputs, outputs
    "LeNet fc120, batch 1": (1, 256, 120),
    "LeNet fc120, batch 64": (64, 256, 120),
    "AlexNet fc6, batch 1": (1, 9216, 4096),
    "AlexNet fc6, batch 64": (64, 9216, 4096),
    "AlexNet conv3 as a product": (13 * 13, 192 * 3 * 3, 384),
}
SIDES = {"AlexNet conv3 as a layer, 13 x 13": 13, "AlexNet conv3 as a layer, 3 x 3": 3}
INPUTS = 64  # of one row, in turns: at a zero rate of 0.99 they want all weights of fc6
MIN_S = 0.005  # of one block: shorter ones are the clock's noise


def weight_of(rows, inputs, outputs):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(outputs, inputs, generator=generator) / inputs**0.5


def cases():
    """Name, method -> function, and zero rate -> inputs, one case after the other: fc6 is large."""
    for name, shape in PRODUCTS.items():
        weight = weight_of(*shape)
        calls = possible(sparse.product, weight)
        yield name, calls, partial(matrices, *shape[:2])
    torch.manual_seed(0)
    calls = possible(sparse.prepare, nn.Conv2d(192, 384, 3, padding=1))
    for name, side in SIDES.items():
        yield name, calls, partial(maps, side)


def maps(side, rate):
    return [matrix.view(1, 192, side, side) for matrix in matrices(192, side * side, rate)]


def possible(make, of) -> dict:
    """Method -> function, of those that can do it."""
    calls = {}
    for method in sparse.METHODS:
        with contextlib.suppress(BadInputError):
            calls[method] = make(of, method)
    return calls


def matrices(rows, inputs, rate):
    seeds = range(INPUTS if rows == 1 else 1)
    return [sparse.random_inputs(rows, inputs, rate, seed=seed) for seed in seeds]


def seconds(call, inputs, times: int) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for x in itertools.islice(inputs, times):
        call(x)
    return (clock() - start) / times


def medians(calls: dict, inputs: list, rounds: int) -> dict[str, tuple[float, float]]:
    """Name -> seconds of a call, and how many times faster than the first of them."""
    inputs = itertools.cycle(inputs)
    times = {name: max(1, round(MIN_S / seconds(call, inputs, 2))) for name, call in calls.items()}
    found = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(seconds(call, inputs, times[name]))
    first = next(iter(found.values()))
    return {
        name: (
            statistics.median(taken),
            statistics.median(a / b for a, b in zip(first, taken, strict=True)),
        )
        for name, taken in found.items()
    }


@torch.inference_mode()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rates", type=float, nargs="+", default=[0, 0.5, 0.9, 0.99])
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--without", nargs="*", default=[], choices=sparse.METHODS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.filterwarnings("ignore", message="Sparse CSR")

    wrong = []
    print(f"{given.threads} threads, torch {torch.__version__}, median of {given.rounds} rounds")
    for name, calls, make in cases():
        if given.only not in name:
            continue
        methods = [m for m in calls if m not in given.without or m == "dense"]
        print(f"\n{name}\n  zeros  dense ms   ideal  " + "  ".join(methods[1:]))
        for rate in given.rates:
            inputs = make(rate)
            x = inputs[0]
            expected = calls["dense"](x)
            for method in methods:
                if not torch.allclose(calls[method](x), expected, rtol=1e-4, atol=1e-4):
                    wrong.append(f"{name}, {rate} zeros: {method} differs from dense")
            found = medians({method: calls[method] for method in methods}, inputs, given.rounds)
            ideal = f"{1 / (1 - rate):.1f}x" if rate < 1 else "any"
            ratios = "  ".join(f"{f'{found[m][1]:.2f}x':>{len(m)}}" for m in methods[1:])
            print(f"  {rate:<5} {found['dense'][0] * 1e3:9.3f}  {ideal:>6}  {ratios}")
        if name in SIDES:
            continue
        ways = {"to_sparse_csr": torch.Tensor.to_sparse_csr, "ours": sparse._nonzeros}
        for rate in given.rates:
            found = medians(ways, make(rate), given.rounds)
            times = ", ".join(f"{way} {taken * 1e3:.3f} ms" for way, (taken, _) in found.items())
            print(f"  search for the zeros alone, {rate}: {times}")
    print("\n" + ("\n".join(["wrong:", *wrong]) if wrong else "all results are those of dense"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
