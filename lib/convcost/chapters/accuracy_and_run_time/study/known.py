"""Nets that others have trained and timed: rows of the tables of `tables.known`.

Nothing is measured: published tables are read, and nets without weights are counted.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from convcost import nets
from convcost.chapters.accuracy_and_run_time.findings import training_compute as cited
from convcost.chapters.accuracy_and_run_time.tables.known import (
    DISTILLED,
    IN1K,
    MORE,
    TABLES,
    UNKNOWN,
)
from convcost.counting.count import count
from convcost.datasets import benchmarks
from convcost.predict import tables, timm_nets

# What timm's tags say of images beyond ImageNet-1k: larger ImageNets, photos of the web with or
# without words, and SSLD, whose students saw images mined from ImageNet-22k.
_MORE = re.compile(
    r"in(12|21|22)k|jft|laion|openai|clip|webli|ig1b|yfcc100m|swsl|wsl|ssl|swag|seer|m3[08]m|ssld"
)
_TEACHER = re.compile(r"dist|distilled|usi|teacher")

TIMES = {
    ("rtx4090", "inference"): "benchmark-infer-amp-nchw-pt291-cu128-4090.csv",
    ("rtx3090", "inference"): "benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv",
    ("i7-12700h", "inference"): "benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv",
    ("rtx3090", "training"): "benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv",
}
"""(device, what) -> timm's table."""

DIGITS = 4  # significant ones, of a published time: the tables have about as many


def training_data(tag: str, net: str = "") -> str:
    """What a tag of timm says of the images that weights were trained on.

    "more": a part of the tag names images beyond ImageNet-1k, for pre-training or for unlabelled
    learning, or SSLD; "distilled": of the other tags, those that name a teacher, whose own images
    the tag does not tell; "imagenet-1k": of the rest, those that end in in1k, with or without the
    size of the image; "unknown": all others. Of BEiT v2 no tag tells that what it learned to
    predict came from CLIP, a teacher that saw more: `net` does.

    >>> [training_data(tag) for tag in ("a1_in1k", "augreg_in21k_ft_in1k", "fb_dist_in1k", "x")]
    ['imagenet-1k', 'more', 'distilled', 'unknown']
    """
    parts = tag.split("_")
    if any(_MORE.match(part) for part in parts):
        return MORE
    if not re.search(r"(^|_)in1k(_\d+)?$", tag):
        return UNKNOWN
    taught = net.startswith("beitv2") or any(_TEACHER.fullmatch(part) for part in parts)
    return DISTILLED if taught else IN1K


def known_nets(most: int | None = None) -> Iterator[dict]:
    """Rows of `known_nets`: torchvision's weights, then timm's; of each the first `most`, if given.

    Raises MissingDataError where timm's table is not here and cannot be fetched.
    """
    yield from _torchvision_nets(most)
    yield from timm_accuracies(benchmarks.path("timm/results-imagenet.csv"), most)


def _torchvision_nets(most: int | None) -> Iterator[dict]:
    """All weights for classification that say how accurate they are; the net at their crop size."""
    import torchvision.models as models

    counted: dict[tuple[str, int], dict] = {}
    for name in nets.names("classification")[:most]:
        for weights in models.get_model_weights(name):
            told = weights.meta["_metrics"]["ImageNet-1K"]
            if told["acc@1"] != told["acc@1"]:  # NaN: weights of features alone
                continue
            px = weights.transforms().crop_size[0]
            if (name, px) not in counted:
                counted[name, px] = _count(name, px)
            yield {
                "source": "torchvision",
                "net": name,
                "weights": weights.name,
                "input_px": px,
                "data": MORE if "SWAG" in weights.name else IN1K,
                "top1": round(told["acc@1"] / 100, 5),
                "top5": round(told["acc@5"] / 100, 5),
                **counted[name, px],
            }


def _count(name: str, px: int) -> dict:
    # these alone are built for one size of image
    options = {"image_size": px} if name.startswith("vit_") else {}
    net = nets.build(name, device="meta", **options)
    found = count(net, (3, px, px))
    design = type(net).__module__.rpartition(".")[2]
    return {"design": design, "params": found.params, "macs": found.macs, "acts": found.acts}


def timm_accuracies(path: Path | str, most: int | None = None) -> Iterator[dict]:
    """Rows of `known_nets` of timm's results-imagenet.csv, in its order.

    Joined by name and size with the stored work of timm's nets in inference; a net that is not
    stored, or has other parameters today, has empty counts.
    """
    work = timm_nets.stored()
    work = work[work["what"] == "inference"].set_index(["net", "input_px"])
    facts = work[list(timm_nets.FACTS)].to_dict("index")
    for row in pd.read_csv(path, thousands=",").head(most).itertuples():
        net, _, tag = row.model.partition(".")
        known = facts.get((net, row.img_size))
        if known and abs(known["params"] / 1e6 / row.param_count - 1) > tables.PARAMS_WITHIN:
            known = None
        lacking = {
            "design": None,
            "params": round(row.param_count * 1e6),
            "macs": None,
            "acts": None,
        }
        yield {
            "source": "timm",
            "net": net,
            "weights": tag or "(none)",
            "input_px": row.img_size,
            "data": training_data(tag, net),
            "top1": round(row.top1 / 100, 5),
            "top5": round(row.top5 / 100, 5),
            **(known or lacking),
        }


def training_compute() -> Iterator[dict]:
    """Rows of `training_compute`: the cited systems, by date."""
    columns = list(TABLES["training_compute"].columns)
    yield from cited.systems()[columns].to_dict("records")


def published_times(accuracies: Path | str | None = None) -> Iterator[dict]:
    """Rows of `published_times`: timm's times of the nets and sizes whose accuracy it publishes.

    Training times are of any size: a net is trained at another size than it is judged at. Nets
    whose work is not stored are left out. `accuracies`: results-imagenet.csv, found by itself.
    """
    judged = pd.read_csv(accuracies or benchmarks.path("timm/results-imagenet.csv"))
    names = judged["model"].str.split(".").str[0]
    sizes = set(zip(names, judged["img_size"], strict=True))
    trained = set(names)
    for (device, what), file in TIMES.items():
        times = tables.read(benchmarks.path(f"timm/{file}"), what=what)
        joined, _ = tables.joined(times)
        for row in joined.itertuples():
            size = (row.net, row.input_px)
            if size in sizes or (what == "training" and row.net in trained):
                yield {
                    "net": row.net,
                    "input_px": row.input_px,
                    "device": device,
                    "what": what,
                    "batch": int(row.batch),
                    "image_s": float(f"{row.seconds:.{DIGITS}g}"),
                }
