"""Nets that others have trained and timed."""

from convcost.records.schema import Column, Table, count, text

IN1K, DISTILLED, MORE, UNKNOWN = "imagenet-1k", "distilled", "more", "unknown"
"""What weights were trained on: `known_nets.data`."""

_NET = text("name of the net in timm or torchvision")
_INPUT_PX = count("side of the square input")


def _share(meaning: str, optional: bool = False) -> Column:
    return Column("float", meaning, 0, optional)


TABLES: dict[str, Table] = {
    "known_nets": Table(
        "one set of weights at one input size: its published accuracy, and what the net costs",
        ("source", "net", "weights", "input_px"),
        {
            "source": text("torchvision (its own metadata) or timm (results-imagenet.csv)"),
            "net": _NET,
            "weights": text("name of the weights: torchvision's, or timm's tag"),
            "input_px": _INPUT_PX,
            "design": text("module file that defines the net; empty: not counted", optional=True),
            "data": text(
                "images it was trained on: imagenet-1k, distilled (imagenet-1k under a teacher), "
                "more, or unknown, by its tag"
            ),
            "top1": _share("share of ImageNet's validation images that it names rightly"),
            "top5": _share("share whose right name is among its first five"),
            "params": count("parameters: counted, or where the net is not stored as published"),
            "macs": count("multiply-adds of one image; empty: a net we could not count", True),
            "acts": count("outputs of layers that multiply, of one image; empty as above", True),
        },
    ),
    "training_compute": Table(
        "one known system: how much arithmetic its training took, as cited",
        ("system",),
        {
            "system": text("its name"),
            "date": text("of publication, year-month-day"),
            "year": Column("float", "the same as a decimal number", 0),
            "petaflop_s_days": Column("float", "operations of the training over 8.64e19", 0),
            "source": text("the document that says so"),
        },
    ),
    "published_times": Table(
        "one net of timm on one device, as timm's tables have it",
        ("net", "input_px", "device", "what"),
        {
            "net": _NET,
            "input_px": _INPUT_PX,
            "device": text("rtx4090, rtx3090 or i7-12700h"),
            "what": text("inference or training (a step: forward, backward, optimiser)"),
            "batch": count("images in a batch, the largest that fitted"),
            "image_s": Column("float", "seconds of one image: of the batch, over its images", 0),
        },
    ),
}
