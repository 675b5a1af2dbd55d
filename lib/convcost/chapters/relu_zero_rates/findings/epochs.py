"""The paper's four zero rates judged together: by one recipe, over many nets, epoch by epoch."""

import json

import numpy as np
import pandas as pd

from convcost.chapters.relu_zero_rates.findings import paper

CLOSE = 0.05
"""A net is close to the paper's where all four of its rates are within so much of the printed."""

RECIPE = ["training", "initialisation", "normalisation"]


def rates(zero_rates_by_epoch: pd.DataFrame) -> pd.DataFrame:
    """The zero rates of each net behind each of its epochs; only nets that were trained.

    Columns: training (which names the epochs), initialisation, normalisation, seed, epoch, a column
    a layer with ReLU (fractions), furthest (the largest distance of the four from the printed
    ones), close (whether that is at most `CLOSE`), over_level (filters of conv1 above the paper's
    50 %), accuracy, without_high_zeros and without_random (accuracy without two filters of conv1;
    missing but behind the last epoch).
    """
    nets = zero_rates_by_epoch[zero_rates_by_epoch["status"] == "trained"]
    table = nets[[*RECIPE, "seed", "epoch"]].reset_index(drop=True)
    for layer in paper.RELU_LAYERS:
        table[layer] = (nets[f"{layer}_zeros"] / nets[f"{layer}_total"]).to_numpy(dtype=float)
    printed = np.array([paper.share(f"zero_rate_{layer}") for layer in paper.RELU_LAYERS])
    apart = (table[list(paper.RELU_LAYERS)] - printed).abs()
    level = paper.share("zero_rate_conv1_high_filters")
    filters = [np.array(json.loads(one)) for one in nets["conv1_filters"]]
    images = nets["test_images"].to_numpy(dtype=float)
    return table.assign(
        furthest=apart.max(axis=1),
        close=apart.max(axis=1) <= CLOSE,
        over_level=[int((one > level).sum()) for one in filters],
        accuracy=nets["test_correct"].to_numpy(dtype=float) / images,
        **{
            name: nets[f"{name}_correct"].to_numpy(dtype=float) / images
            for name in ("without_high_zeros", "without_random")
        },
    )


def jointly(zero_rates_by_epoch: pd.DataFrame) -> pd.DataFrame:
    """Every recipe on all four rates at once, the one that holds most of them first.

    One row a recipe and number of epochs. Columns: training, initialisation, normalisation, epoch,
    nets, for each layer <layer>_median, <layer>_low, <layer>_high (5 to 95 % of the nets) and
    <layer>_inside (whether the printed rate is in there), inside (how many of the four), close
    (nets that are close on all four), conv2_above (nets in which conv2 has the larger share of
    zeros), two_over (nets in which just two filters of conv1 are above 50 %), accuracy (median),
    by_chance (the product of the four ranges: the chance that rates drawn evenly from 0 to 1 would
    all be inside). Equals: more close nets first, then the smaller median of the furthest rate.
    """
    table, rows = rates(zero_rates_by_epoch), []
    for names, nets in table.groupby([*RECIPE, "epoch"], sort=False):
        row = dict(zip([*RECIPE, "epoch"], names, strict=True)) | {"nets": len(nets)}
        widths = []
        for layer in paper.RELU_LAYERS:
            low, median, high = nets[layer].quantile([0.05, 0.5, 0.95])
            printed = paper.share(f"zero_rate_{layer}")
            widths.append(high - low)
            row |= {
                f"{layer}_median": median, f"{layer}_low": low, f"{layer}_high": high,
                f"{layer}_inside": bool(low <= printed <= high),
            }  # fmt: skip
        rows.append(
            row
            | {
                "inside": sum(row[f"{layer}_inside"] for layer in paper.RELU_LAYERS),
                "close": int(nets["close"].sum()),
                "conv2_above": int((nets["conv2"] > nets["conv1"]).sum()),
                "two_over": int((nets["over_level"] == paper.high_filters()).sum()),
                "accuracy": nets["accuracy"].median(),
                "furthest": nets["furthest"].median(),
                "by_chance": float(np.prod(widths)),
            }
        )
    found = pd.DataFrame(rows)
    if found.empty:
        return found
    order = {"by": ["inside", "close", "furthest"], "ascending": [False, False, True]}
    return found.sort_values(**order, kind="stable", ignore_index=True)


def of_recipe(table: pd.DataFrame, recipe: pd.Series) -> pd.DataFrame:
    """The rows of `rates` that belong to a row of `jointly`."""
    keys = [*RECIPE, "epoch"]
    return table[(table[keys] == recipe[keys].to_list()).all(axis=1)]
