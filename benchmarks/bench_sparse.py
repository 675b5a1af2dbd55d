"""What skipping zero inputs brings on this machine, by each method of `convcost.sparse`.

`python benchmarks/bench_sparse.py` prints, per layer and zero rate, the time of the dense product,
the ideal speed-up 1 / (1 - zero rate), and the speed-up of every method: dense time over its time,
the search for the zeros of a new input included. Above 1 it pays. Under it stands how long that
search alone takes, with torch's own conversion beside. Results are compared with the dense ones
first; it leaves with status 1 if they differ. All methods are taken in turns and ratios are taken
within a round, so that a busy machine is busy for all of them; a dense time wants a quiet one.
"""

import argparse
import statistics
import sys
import time
import warnings

import torch
from torch import nn

from convcost import sparse

PRODUCTS = {  # rows, inputs, outputs
    "LeNet fc120, batch 1": (1, 256, 120),
    "LeNet fc120, batch 64": (64, 256, 120),
    "AlexNet fc6, batch 1": (1, 9216, 4096),
    "AlexNet fc6, batch 64": (64, 9216, 4096),
    "AlexNet conv3 as a product": (13 * 13, 192 * 3 * 3, 384),
}
CONV = "AlexNet conv3 as a layer"
MIN_S = 0.005  # of one block: shorter ones are the clock's noise


def weight_of(rows, inputs, outputs):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(outputs, inputs, generator=generator) / inputs**0.5


def cases():
    """Name, method -> function, and zero rate -> input, one case after the other: fc6 is large."""
    for name, shape in PRODUCTS.items():
        weight = weight_of(*shape)
        calls = {method: sparse.product(weight, method) for method in sparse.METHODS}
        yield name, calls, lambda rate, shape=shape: sparse.random_inputs(*shape[:2], rate, seed=0)
    torch.manual_seed(0)
    conv = nn.Conv2d(192, 384, 3, padding=1)
    calls = {method: sparse.prepare(conv, method) for method in sparse.METHODS}
    yield (
        CONV,
        calls,
        lambda rate: sparse.random_inputs(192, 13 * 13, rate, seed=0).view(1, 192, 13, 13),
    )


def seconds(call, x, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call(x)
    return (time.perf_counter() - start) / times


def medians(calls: dict, x, rounds: int) -> dict[str, tuple[float, float]]:
    """Name -> seconds of a call, and how many times faster than the first of them."""
    times = {name: max(1, round(MIN_S / seconds(call, x, 1))) for name, call in calls.items()}
    found = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(seconds(call, x, times[name]))
    first = next(iter(found.values()))
    return {
        name: (
            statistics.median(taken),
            statistics.median(a / b for a, b in zip(first, taken, strict=True)),
        )
        for name, taken in found.items()
    }


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
    methods = [m for m in sparse.METHODS if m not in given.without or m == "dense"]

    wrong = []
    print(f"{given.threads} threads, torch {torch.__version__}, median of {given.rounds} rounds")
    for name, calls, make in cases():
        if given.only not in name:
            continue
        print(f"\n{name}\n  zeros  dense ms   ideal  " + "  ".join(methods[1:]))
        for rate in given.rates:
            x = make(rate)
            expected = calls["dense"](x)
            for method in methods:
                if not torch.allclose(calls[method](x), expected, rtol=1e-4, atol=1e-4):
                    wrong.append(f"{name}, {rate} zeros: {method} differs from dense")
            found = medians({method: calls[method] for method in methods}, x, given.rounds)
            ideal = f"{1 / (1 - rate):.1f}x" if rate < 1 else "any"
            ratios = "  ".join(f"{f'{found[m][1]:.2f}x':>{len(m)}}" for m in methods[1:])
            print(f"  {rate:<5} {found['dense'][0] * 1e3:9.3f}  {ideal:>6}  {ratios}")
        if name == CONV:
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
