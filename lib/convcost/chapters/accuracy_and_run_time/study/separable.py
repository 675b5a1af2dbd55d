"""What the workers of notebook 05 do for the separable convolution: a function a kind of unit.

`Study` plans them. Trained nets come from the shelf, so that a net is trained once.
"""

import copy
from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import nn

from convcost import datasets, nets, training
from convcost.core import paths
from convcost.counting.count import count
from convcost.datasets import Dataset
from convcost.measuring import timing
from convcost.measuring.timing.blocks import on_threads
from convcost.training import Execution, Recipe

try:
    import resource
except ImportError:  # not on Windows
    resource = None

BLOCKS = ("regular", "separable", "depthwise", "pointwise")
LAYOUTS = ("contiguous", "channels_last")
IMAGE = (1, 28, 28)


# --- in a worker: blocks on the clock --------------------------------------------------------


def _blocks(in_channels: int, out_channels: int) -> dict[str, nn.Module]:
    """The plain convolution, the separable one and its two halves, which share its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        regular = nets.build("regular_conv", in_channels=in_channels, out_channels=out_channels)
        separable = nets.build(
            "depthwise_separable", in_channels=in_channels, out_channels=out_channels
        )
    halves = {name: nn.Sequential(half) for name, half in separable.named_children()}
    return {"regular": regular, "separable": separable} | halves


def blocks_of(
    in_channels: int,
    out_channels: int,
    map_px: int,
    batch: int,
    repetitions: int,
    threads: int,
    device: str,
) -> Iterator[dict]:
    """Rows of `separable_times`: every block in both orders of memory, all eight in turns."""
    shape = (in_channels, map_px, map_px)
    cases, facts = {}, {}
    for layout in LAYOUTS:
        for block, model in _blocks(in_channels, out_channels).items():
            counted = count(model, shape, batch=batch)
            name = f"{block} {layout}"
            cases[name] = timing.Case(
                model.to(device), shape, batch, channels_last=layout == "channels_last"
            )
            facts[name] = {
                "block": block, "layout": layout, "macs": counted.macs, "bytes": counted.bytes,
            }  # fmt: skip
    measured = timing.measure_many(
        cases, repetitions=repetitions, warmup=1, threads=threads, device=device
    )
    for name, found in measured.items():
        shared = facts[name] | {
            "stable": found.stable, "fresh_bytes": _fresh_bytes(cases[name], threads, device),
        }  # fmt: skip
        for sample in found.samples.to_dict("records"):
            yield shared | sample


def _fresh_bytes(case: timing.Case, threads: int, device: str, calls: int = 3) -> int | None:
    """Bytes that the system had to hand out anew in a call, by page faults; None if it hides them.

    What a large result gave back may go to the system, which empties it before it gives it again:
    that takes longer than to write the result.
    """
    if resource is None or device != "cpu":
        return None
    order = torch.channels_last if case.channels_last else torch.contiguous_format
    images = torch.randn(case.batch, *case.input_shape).to(memory_format=order)
    model = copy.deepcopy(case.model).to(memory_format=order)
    with torch.inference_mode(), on_threads(threads):
        for number in range(1 + calls):
            if number == 1:  # the first one is of no account
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            model(images)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults * resource.getpagesize() // calls


def block_peaks_of(
    products: list[int],
    convolutions: list[int],
    copies: list[int],
    repetitions: int,
    threads: int,
    device: str,
) -> list[dict]:
    """Rows of `separable_peaks`: what the machine does at best, in float32."""
    table = timing.peaks(
        threads=threads, dtypes=["float32"], product_sizes=products,
        convolution_sizes=convolutions, copy_sizes=copies, repetitions=repetitions, device=device,
    )  # fmt: skip
    return table.drop(columns="dtype").to_dict("records")


# --- in a worker: nets -----------------------------------------------------------------------


def fashion(train_images: int | None, test_images: int | None) -> tuple[Dataset, Dataset]:
    """Both splits of FashionMNIST, cut to the first images; None: all of them."""
    return datasets.splits("fashionmnist", train_images, test_images)


@cache
def counts(net: str) -> dict[str, int]:
    """Parameters, and multiply-adds of one image, of a net as it is trained here."""
    counted = count(nets.build(net, device="meta"), IMAGE)
    return {"params": counted.params, "macs": counted.macs}


def trained_net_of(
    net: str,
    seed: int,
    recipe: dict,
    train_images: int | None,
    test_images: int | None,
    device: str,
) -> list[dict]:
    """Rows of `separable_trainings`: a net trained and kept, an epoch a row."""
    sets = fashion(train_images, test_images)
    # float32, so that the nets differ by their convolutions and by no one's cast to bfloat16
    trained = training.kept(
        paths.RAW / "checkpoints", net, sets, Recipe(**recipe), seed,
        execution=Execution(device=device),
    )  # fmt: skip
    history = trained.record["history"]
    shared = counts(net) | {
        "epochs": recipe["epochs"],
        "status": trained.status,
        "trained_on": history["train_images"],
        "tried_on": history["test_images"],
    }
    return [
        shared | {"epoch": epoch, "test_correct": correct, "seconds": seconds}
        for epoch, (correct, seconds) in enumerate(
            zip(history["test_correct"], history["epoch_s"], strict=True), start=1
        )
    ]


def net_times_of(
    compared: list[str], what: str, batch: int, repetitions: int, threads: int, device: str
) -> Iterator[dict]:
    """Rows of `separable_net_times`: untrained nets in turns, channels last as in training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what weights they have does not matter to the time
        models = {net: nets.build(net).to(device) for net in compared}
    cases = {
        net: timing.Case(model, IMAGE, batch, what, channels_last=True)
        for net, model in models.items()
    }
    measured = timing.measure_many(
        cases, repetitions=repetitions, warmup=2, threads=threads, device=device
    )
    for net, found in measured.items():
        for sample in found.samples.to_dict("records"):
            yield {"net": net} | counts(net) | sample | {"stable": found.stable}


# --- how long it takes -----------------------------------------------------------------------


def _blocks_s(unit: dict) -> float:
    """Eight blocks, warmed up and repeated; or as long as the clock wants a block to be."""
    macs = unit["batch"] * unit["in_channels"] * unit["out_channels"] * unit["map_px"] ** 2 * 9
    per_s = 5e10 if unit["device"] == "cpu" else 5e12
    return 1.0 + (unit["repetitions"] + 5) * (0.25 + 4 * macs / per_s)


def _training_s(unit: dict) -> float:
    """Per image and epoch: the multiply-adds of a step, and what each net costs besides."""
    images = (unit["train_images"] or 60_000) * unit["recipe"]["epochs"]
    each_s = 1e-4 + 8e-11 * counts(unit["net"])["macs"]
    return 0.5 + images * (each_s if unit["device"] == "cpu" else 2e-5)


COSTS: dict[str, Callable[[dict], float]] = {
    "blocks_of": _blocks_s,
    "block_peaks_of": lambda unit: 1.0 + 0.7 * unit["repetitions"],
    "trained_net_of": _training_s,
    "net_times_of": lambda unit: 1.0 + 0.25 * unit["repetitions"] * len(unit["compared"]),
}
