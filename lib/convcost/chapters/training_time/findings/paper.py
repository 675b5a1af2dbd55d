"""What Cheng & Liu print of time and FLOPs, by net: read from `convcost.sources`, nothing typed."""

from decimal import Decimal

import pandas as pd

from convcost import sources
from convcost.core.units import SCALES

SOURCE = "cheng2025"
ROLES = ("alexnet", "vgg16", "googlenet", "resnet18", "densenet")  # in the order of its tables
NETS = (*ROLES[:-1], "densenet161")
"""Our nets of the five names: the DenseNet is the one whose FLOPs the paper prints."""

LINEUPS = {
    ("torchvision", "densenet161"): NETS,
    ("torchvision", "densenet121"): (*ROLES[:-1], "densenet121"),
    ("textbook", "densenet_textbook"): tuple(f"{role}_textbook" for role in ROLES),
}
"""(family, DenseNet) -> five nets that the paper's five names may stand for, in its order."""


def value(name: str) -> int | float:
    """The published value of a row."""
    return sources.value(SOURCE, name)


def images(split: str) -> int:
    """Images of FashionMNIST's split, "train" or "test", as the paper gives them."""
    return value(f"fashionmnist_{split}_images")


def table_two() -> pd.DataFrame:
    """Tables 1 and 2 side by side, in the paper's order.

    Columns: role (the paper's net: `ROLES`), net (ours: `NETS`), flops (as printed, in
    floating-point operations of one image, exact), seconds (as printed, training and validation).

    >>> table_two().set_index("net")["flops"]["alexnet"].item()
    1420000000
    """
    return pd.DataFrame(
        [
            {
                "role": role,
                "net": net,
                "flops": int(
                    Decimal(sources.printed_text(SOURCE, f"table1_{role}_gflops")) * SCALES["G"]
                ),
                "seconds": value(f"table2_{role}_seconds"),
            }
            for role, net in zip(ROLES, NETS, strict=True)
        ]
    )
