"""A separable convolution beside a plain one: blocks on the clock, nets trained."""

from convcost.records.schema import MACS, NET, PARAMS, Column, Table, count, text

_SECONDS = Column("float", "wall-clock seconds of all calls of the repetition together", 0)
_REPETITION = count("number of the repetition, from 0")
_CALLS = count("calls in the repetition")
_THREADS = count("threads of the arithmetic")
_STABLE = Column("bool", "whether load and drift stayed below their limits")

TABLES: dict[str, Table] = {
    "separable_times": Table(
        "one repetition of a block in inference, without bias and normalisation",
        ("block", "in_channels", "out_channels", "map_px", "batch", "layout", "repetition"),
        {
            "block": text("regular, separable, depthwise or pointwise"),
            "in_channels": count("channels of the input"),
            "out_channels": count("channels of the output; of depthwise those of the whole block"),
            "map_px": count("side of the square map, input and output"),
            "batch": count("images in a batch"),
            "layout": text("order in memory: contiguous or channels_last"),
            "threads": _THREADS,
            "macs": count("multiply-adds of one call, of the whole batch"),
            "bytes": count("input and weights read once, output written once, float32, one call"),
            "fresh_bytes": count("memory that the system hands out anew in a call", optional=True),
            "repetition": _REPETITION,
            "calls": _CALLS,
            "seconds": _SECONDS,
            "stable": _STABLE,
        },
    ),
    "separable_peaks": Table(
        "one repetition of a product, a convolution or a copy, timed beside the blocks",
        ("what", "threads", "size", "repetition"),
        {
            "what": text("matrix product, convolution or copy, float32"),
            "threads": _THREADS,
            "size": count("rows of the product, channels, or elements that are copied"),
            "repetition": _REPETITION,
            "calls": _CALLS,
            "flops": count("operations of all calls, 2 per multiply-add"),
            "bytes": count("bytes read and written by all calls"),
            "seconds": _SECONDS,
        },
    ),
    "separable_trainings": Table(
        "one epoch of one plain or separable net, trained on FashionMNIST",
        ("net", "seed", "epochs", "epoch"),
        {
            "net": NET,
            "seed": count("seed of initialisation and order"),
            "epoch": count("number of the epoch, from 1"),
            "epochs": count("epochs of the recipe"),
            "status": text("trained or diverged"),
            "params": PARAMS,
            "macs": MACS,
            "train_images": count("training images"),
            "test_images": count("test images"),
            "test_correct": count("test images named rightly after the epoch"),
            "seconds": Column("float", "wall-clock seconds of training in this epoch, no test", 0),
        },
    ),
    "separable_net_times": Table(
        "one repetition of one of these nets on the clock, all nets in turns",
        ("net", "what", "batch", "repetition"),
        {
            "net": NET,
            "what": text("inference, or training_step: forward, backward, optimiser"),
            "batch": count("images in a batch"),
            "threads": _THREADS,
            "params": PARAMS,
            "macs": count("multiply-adds of one image, forward"),
            "repetition": _REPETITION,
            "calls": _CALLS,
            "seconds": _SECONDS,
            "stable": _STABLE,
        },
    ),
}
