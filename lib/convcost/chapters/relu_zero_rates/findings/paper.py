"""What Atsumi et al. print, by layer: read from `convcost.sources`, nothing typed."""

import pandas as pd

from convcost import sources

SOURCE = "atsumi2020"
RELU_LAYERS = ("conv1", "conv2", "fc120", "fc84")
WEIGHTED = (*RELU_LAYERS, "fc10")
NAMED = ("conv1", "conv2", "fc120")  # the three whose order of times the text gives
TABLE_I = ("conv1", "pool1", "conv2", "pool2", "fc120", "fc84", "fc10")  # in forward order


def value(name: str) -> int | float:
    """The published value of a row."""
    return sources.value(SOURCE, name)


def share(name: str) -> float:
    """The published value of a row in percent, as a fraction."""
    return value(name) / 100


def high_filters() -> int:
    """How many filters of conv1 the paper names for a high rate of zeros: one row each."""
    names = sources.published(SOURCE)["name"]
    return int(names.str.startswith("conv1_high_zero_filter_").sum())


def table_i() -> pd.Series:
    """Table I: layer -> seconds for one image, in forward order."""
    return pd.Series({layer: value(f"table_i_{layer}_seconds") for layer in TABLE_I})
