"""Checks of notebook 00: what the sources say of the data sets."""

from convcost.claims.lookup import one
from convcost.claims.verdicts import Check, Finding, Published
from convcost.records import Results

_SECTION = "The data of this run"


def _split(results: Results, dataset: str, split: str):
    return one(results.table("datasets"), asked=dataset, split=split)


def _all_images(results: Results, published: Published, name: str) -> Finding:
    table = results.table("datasets")
    images = int(table[table["asked"] == "fashionmnist"]["images"].sum())
    return Finding(images, reason="train and test together")


def _of_split(column: str, split: str):
    def compute(results: Results, published: Published, name: str) -> Finding:
        return Finding(int(_split(results, "fashionmnist", split)[column]))

    return compute


_FASHION = (("datasets", "fashionmnist"),)

CHECKS = {
    f"cheng2025/fashionmnist_{name}": Check(compute, _SECTION, datasets=_FASHION)
    for name, compute in {
        "images": _all_images,
        "test_images": _of_split("images", "test"),
        "train_images": _of_split("images", "train"),
        "height_px": _of_split("height_px", "train"),
        "width_px": _of_split("width_px", "train"),
        "channels": _of_split("channels", "train"),
        "classes": _of_split("classes", "train"),
    }.items()
}
