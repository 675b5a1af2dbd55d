"""What a search for an architecture finds for its budget, tried over on a table of trained nets."""

import numpy as np
import pandas as pd

from convcost.core.errors import BadInputError
from convcost.fits.comparison import spearman


def space(searched_nets: pd.DataFrame, searched_times: pd.DataFrame) -> pd.DataFrame:
    """The nets that a search chooses from, with time and accuracy.

    One row a net: kind, width, blocks, params, macs, image_s (seconds of one image on one core, in
    ONNX Runtime, median), held_out and test (accuracies, means over seeds), seeds, gpu_free_s
    (seconds of training, mean).

    Raises BadInputError where nothing was timed.
    """
    if searched_times.empty:
        raise BadInputError("no net of the search's space was timed")
    net = ["kind", "width", "blocks"]
    nets = searched_nets[searched_nets["status"].eq("trained")]
    nets = nets.assign(
        held_out=nets["held_out_correct"] / nets["held_out_images"],
        test=nets["test_correct"] / nets["test_images"],
    )
    table = nets.groupby(net, sort=False).agg(
        params=("params", "first"), macs=("macs", "first"), held_out=("held_out", "mean"),
        test=("test", "mean"), seeds=("seed", "nunique"), train_s=("train_s", "mean"),
    )  # fmt: skip
    times = searched_times.assign(image_s=searched_times["seconds"] / searched_times["calls"])
    times["image_s"] /= times["batch"]
    return table.join(times.groupby(net)["image_s"].median()).reset_index()


def progress(search_trials: pd.DataFrame) -> pd.DataFrame:
    """The best net found after so many trials, over repeats of each way to search.

    One row a limit, strategy and number of trials: limit_share (of the slowest net's time),
    strategy, trials, repeats, gap (percentage points below the best net within the limit, mean),
    low and high (the middle 80 % of repeats).
    """
    groups = search_trials.groupby(["limit_share", "strategy", "trials"], sort=False)["gap"]
    table = groups.agg(
        repeats="size", gap="mean", low=lambda g: g.quantile(0.1), high=lambda g: g.quantile(0.9)
    )
    return (100 * table[["gap", "low", "high"]]).assign(repeats=table["repeats"]).reset_index()


def trials_to_reach(search_trials: pd.DataFrame, points: float = 0.5) -> pd.DataFrame:
    """How many trials each way needs until the mean gap is at most so many points.

    One row a limit and strategy: limit_share, strategy, trials (missing where it never is).
    """
    table = progress(search_trials)
    rows = []
    for (limit, strategy), group in table.groupby(["limit_share", "strategy"], sort=False):
        enough = group.loc[group["gap"] <= points, "trials"]
        rows.append({"limit_share": limit, "strategy": strategy,
                     "trials": enough.min() if len(enough) else np.nan})  # fmt: skip
    return pd.DataFrame(rows)


def agreement(searched_nets: pd.DataFrame) -> float:
    """Rank correlation of held-out accuracies between two seeds: what brief training can tell."""
    table = searched_nets.assign(
        accuracy=searched_nets["held_out_correct"] / searched_nets["held_out_images"]
    ).pivot_table(index=["kind", "width", "blocks"], columns="seed", values="accuracy")
    if table.shape[1] < 2:
        return float("nan")
    both = table.iloc[:, :2].dropna()
    return float(spearman(both.iloc[:, 0].to_numpy(), both.iloc[:, 1].to_numpy()))


def facts(searched_nets: pd.DataFrame, searched_times: pd.DataFrame) -> str:
    """What the space is, what all of it took to train, and how far one brief training is to be
    trusted, in sentences."""
    if searched_times.empty:
        return "No net of the space was timed: ONNX Runtime is not installed."
    table = space(searched_nets, searched_times)
    hours = searched_nets["train_s"].sum() / 3600
    best = table.loc[table["test"].idxmax()]
    ranks = agreement(searched_nets)
    seeds = f", rank correlation between two seeds {ranks:.2f}" if np.isfinite(ranks) else ""
    return (
        f"{len(table)} nets, {table['macs'].min() / 1e6:.1f} to {table['macs'].max() / 1e6:.1f} "
        f"million multiply-adds, {1e6 * table['image_s'].min():.0f} to "
        f"{1e6 * table['image_s'].max():.0f} µs an image; training all of them "
        f"{int(table['seeds'].max())} times took {60 * hours:.0f} minutes of one core{seeds}. "
        f"Best: {best['kind']}, width {best['width']}, {best['blocks']} blocks a stage, "
        f"{best['test']:.2%}."
    )
