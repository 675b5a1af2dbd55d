"""What every method costs in accuracy: nets of equal seeds, side by side.

A loss is in percentage points of the test images, above 0 where the method is worse. It is against
the net of the same seed that nothing was done to: where the method's net was trained on, against
the control, which was trained on for as long; where not, against the base as it was. Intervals are
Student's t over seeds, 95 %, of differences in pairs.
"""

import re

import numpy as np
import pandas as pd

from convcost.core.errors import BadInputError
from convcost.fits.comparison import mean_interval

NONE, BASE, CONTROL = "none", "trained", "trained on"
QUANTISED, MIXED = "quantisation", "mixed bits"
MASKED, NARROWED = "unstructured pruning", "structured pruning"
RANDOM, SCRATCH = "structured pruning, random", "small net from scratch"
DISTILLED, FACTORISED, DROPPED = "distillation", "low rank", "blocks removed"
COMPACT, COMBINED = "compact design", "combined"
ALONE, LONGER, WEAK = "student alone", "student alone, twice as long", "weak teacher"
FLOAT, INT8 = "onnx", "int8"


def losses(accelerated_nets: pd.DataFrame) -> pd.DataFrame:
    """Every method and setting after each of its steps, over seeds.

    One row a method, setting and step. Columns: these; word, seeds, epochs (of training so far),
    params, macs, zero_share (of the weights), file_bytes, sparse_bytes, deflated_bytes,
    packed_bytes (missing without bits), accuracy (mean), lost, low and high (percentage points, see
    above), against (the step that it is compared with), same_share (of images, with the step
    before), difference, train_s.

    Raises BadInputError without a trained base.
    """
    nets = accelerated_nets[accelerated_nets["status"].eq("trained")].copy()
    nets["accuracy"] = nets["test_correct"] / nets["test_images"]
    before = _of(nets, BASE, "base")
    if before.empty:
        raise BadInputError("there is no trained base net to compare the methods with")
    control = _of(nets, CONTROL, "train")
    base_epochs = int(nets.loc[nets["word"].eq("base"), "epochs"].iloc[0])
    rows = []
    for (method, setting, step), group in nets.groupby(["method", "setting", "step"], sort=False):
        mine = group.set_index("seed")["accuracy"]
        first = group.iloc[0]
        as_it_was = first["epochs"] <= base_epochs or control.empty
        points = 100 * ((before if as_it_was else control) - mine).dropna()
        if points.empty:
            continue
        lost, low, high = mean_interval(points)
        rows.append(
            {"method": method, "setting": setting, "step": step, "word": first["word"],
             "seeds": len(points), "epochs": first["epochs"], "params": first["params"],
             "macs": first["macs"],
             "zero_share": group["zero_weights"].mean() / group["params"].mean(),
             "file_bytes": first["file_bytes"], "sparse_bytes": group["sparse_bytes"].mean(),
             "deflated_bytes": group["deflated_bytes"].mean(),
             "packed_bytes": group["packed_bytes"].mean(), "accuracy": mine.mean(), "lost": lost,
             "low": low, "high": high, "against": BASE if as_it_was else CONTROL,
             "same_share": (group["same"].astype(float) / group["test_images"]).mean(),
             "difference": group["difference"].astype(float).max(),
             "train_s": group["train_s"].astype(float).mean()}
        )  # fmt: skip
    return pd.DataFrame(rows)


def _of(nets: pd.DataFrame, setting: str, word: str) -> pd.Series:
    """Accuracies of what the others are compared with, by seed."""
    chosen = nets[nets["method"].eq(NONE) & nets["setting"].eq(setting) & nets["word"].eq(word)]
    return chosen.set_index("seed")["accuracy"]


def number(setting: str) -> float:
    """The first number of a setting: how far the method was taken.

    >>> number("svd, 25% kept"), number("2 bits on average")
    (25.0, 2.0)
    """
    found = re.search(r"\d+(\.\d+)?", setting)
    return float(found.group()) if found else float("nan")


def last(table: pd.DataFrame, word: str | None = None) -> pd.DataFrame:
    """Of each method and setting the last step, or the last one of that word."""
    chosen = table if word is None else table[table["word"].eq(word)]
    return chosen.sort_values("step").groupby(["method", "setting"], sort=False).tail(1)


def curve(table: pd.DataFrame, method: str, untuned: str, tuned: str = "train") -> pd.DataFrame:
    """A method over its settings, before and after training on, by the number in the setting.

    One row a setting and stage: setting, number, stage ("before training on" or "after"), seeds,
    accuracy, lost, low, high, params, macs, and the bytes. `untuned` is the word of the step that
    changes the net.
    """
    mine = table[table["method"].eq(method)]
    parts = []
    for word, stage in ((untuned, "before training on"), (tuned, "after")):
        part = mine[mine["word"].eq(word)]
        parts.append(part.assign(stage=stage, number=part["setting"].map(number)))
    found = pd.concat(parts)
    return found.sort_values(["stage", "number"], ascending=[False, True]).reset_index(drop=True)


def quantisation(table: pd.DataFrame) -> pd.DataFrame:
    """Weights of few bits: after training (PTQ) and trained on with them (QAT); mixed widths too.

    One row a number of bits and way: bits (mean over the weights of the inner layers), way
    ("uniform" or "mixed"), stage ("PTQ" or "QAT"), seeds, lost, low, high, accuracy, packed_bytes,
    smaller (times, than float32).
    """
    rows = table[table["method"].isin([QUANTISED, MIXED])]
    rows = rows[rows["word"].isin(["quantise", "mix", "train"])]
    return pd.DataFrame(
        {"bits": rows["setting"].map(number),
         "way": np.where(rows["method"].eq(MIXED), "mixed", "uniform"),
         "stage": np.where(rows["word"].eq("train"), "QAT", "PTQ"),
         "seeds": rows["seeds"], "accuracy": rows["accuracy"], "lost": rows["lost"],
         "low": rows["low"], "high": rows["high"],
         "packed_bytes": rows.groupby(["method", "setting"])["packed_bytes"].transform("max")}
    ).assign(smaller=lambda t: rows["file_bytes"] / t["packed_bytes"]).sort_values(
        ["way", "stage", "bits"], ascending=[False, True, False]
    ).reset_index(drop=True)  # fmt: skip


def paired(
    accelerated_nets: pd.DataFrame, one: tuple[str, str], other: tuple[str, str],
    words: tuple[str, str] = ("train", "train"),
) -> pd.Series:  # fmt: skip
    """One method less another, seed by seed: seeds, points (mean difference of accuracies), low,
    high. `words` name the step of each.

    Raises BadInputError where no seed has both.
    """
    nets = accelerated_nets[accelerated_nets["status"].eq("trained")]
    found = []
    for (method, setting), word in zip((one, other), words, strict=True):
        mine = nets[
            nets["method"].eq(method) & nets["setting"].eq(setting) & nets["word"].eq(word)
        ].sort_values("step").groupby("seed").tail(1).set_index("seed")  # fmt: skip
        found.append(mine["test_correct"] / mine["test_images"])
    points = 100 * (found[0] - found[1]).dropna()
    if points.empty:
        raise BadInputError(f"no seed has both {' and '.join(map(' '.join, (one, other)))}")
    mean, low, high = mean_interval(points)
    return pd.Series({"seeds": len(points), "points": mean, "low": low, "high": high})


def distillation(accelerated_nets: pd.DataFrame) -> pd.DataFrame:
    """The student with each teacher, temperature and weight, less the same student alone.

    One row a setting: setting, seeds, accuracy, points (better than alone, percentage points, in
    pairs), low, high.
    """
    nets = accelerated_nets[accelerated_nets["method"].eq(DISTILLED)]
    rows = []
    for setting in nets["setting"].drop_duplicates():
        pair = paired(nets, (DISTILLED, setting), (DISTILLED, ALONE))
        mine = nets[nets["setting"].eq(setting) & nets["word"].eq("train")]
        rows.append(
            {"setting": setting, "accuracy": (mine["test_correct"] / mine["test_images"]).mean()}
            | pair.to_dict()
        )
    return pd.DataFrame(rows).astype({"seeds": int})


def blocks(removed_blocks: pd.DataFrame) -> pd.DataFrame:
    """The base without one block or two, over seeds, none trained on.

    One row a choice: removed, blocks, seeds, macs, saved_share (of the multiply-adds), lost, low,
    high (percentage points); the fewest lost first, by number of blocks.
    """
    table = removed_blocks.assign(
        accuracy=removed_blocks["test_correct"] / removed_blocks["test_images"]
    )
    whole = table[table["removed"].eq("none")].set_index("seed")
    rows = []
    for removed, group in table[table["blocks"].gt(0)].groupby("removed", sort=False):
        points = 100 * (whole["accuracy"] - group.set_index("seed")["accuracy"]).dropna()
        lost, low, high = mean_interval(points)
        macs = int(group["macs"].iloc[0])
        rows.append(
            {"removed": removed, "blocks": int(group["blocks"].iloc[0]), "seeds": len(points),
             "macs": macs, "saved_share": 1 - macs / whole["macs"].iloc[0], "lost": lost,
             "low": low, "high": high}
        )  # fmt: skip
    return pd.DataFrame(rows).sort_values(["blocks", "lost"]).reset_index(drop=True)


def reconstruction(reconstruction_errors: pd.DataFrame) -> pd.DataFrame:
    """Errors of factors over layers and seeds, by method and share that is kept.

    One row a method and share: factors, share, seeds, layers, and of each error the mean over all
    layers that have all of them: weight_error, output_error_before, output_error_after_relu,
    network_error; relu_ratio (mean of after over before), with low and high over seeds.
    """
    rows = []
    for (factors, share), group in reconstruction_errors.groupby(["factors", "share"]):
        both = group.dropna(subset=["output_error_after_relu"])
        # normalisation takes a channel's mean away: against what is before it, any error grows
        ratios = both["output_error_after_relu"] / both["output_error_normalised"]
        ratio, low, high = mean_interval(ratios.groupby(both["seed"]).mean())
        errors = [
            *("weight_error", "output_error_before", "output_error_normalised"),
            *("output_error_after_relu", "network_error"),
        ]
        rows.append(
            {"factors": factors, "share": share, "seeds": group["seed"].nunique(),
             "layers": group["layer"].nunique()}
            | both[errors].mean().to_dict()
            | {"relu_ratio": ratio, "low": low, "high": high}
        )  # fmt: skip
    return pd.DataFrame(rows)


def sensitivities(layer_sensitivities: pd.DataFrame) -> pd.DataFrame:
    """What each layer loses alone, over seeds: layer, bits, weights, lost (points), low, high."""
    rows = []
    for (layer, bits), group in layer_sensitivities.groupby(["layer", "bits"], sort=False):
        lost, low, high = mean_interval(100 * group["lost"])
        rows.append({"layer": layer, "bits": bits, "weights": int(group["weights"].iloc[0]),
                     "seeds": len(group), "lost": lost, "low": low, "high": high})  # fmt: skip
    return pd.DataFrame(rows)
