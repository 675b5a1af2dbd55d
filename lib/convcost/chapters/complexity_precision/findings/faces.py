"""The faces, the choice of the recipe, and the baseline beside a predictor that never looks."""

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision.findings import paper, rows

MEASURES = tuple(rows.MEASURES)
CONSTANT = "constant predictor"
PAPER = "Ke, Cao & Lv"
MEAN, SD = "mean", "standard deviation"


def balance(face_splits: pd.DataFrame) -> pd.DataFrame:
    """Class balance of each split: one row a split and class, and one of both, "all".

    Columns: split, label, images, people (missing where the set has no names), share (of the
    split's images). A person may have images of one class only, so people add up.
    """
    whole = face_splits.groupby("split", sort=False)[["images", "people"]].agg(
        lambda column: column.sum(skipna=False)
    )
    table = pd.concat([face_splits, whole.reset_index().assign(label="all")], ignore_index=True)
    table["share"] = table["images"] / table["split"].map(whole["images"])
    order = {split: place for place, split in enumerate(whole.index)}
    table = table.sort_values("split", key=lambda s: s.map(order), kind="stable")
    return table[["split", "label", "images", "people", "share"]].reset_index(drop=True)


def constants(face_splits: pd.DataFrame) -> pd.DataFrame:
    """What the constant predictor scores: it names the commonest class of the training images.

    One row a split: split, named (the class), accuracy, balanced_accuracy, male_precision (of the
    images called class 1, male, the share that is; missing where it calls none so).
    """
    labels = list(dict.fromkeys(face_splits["label"]))
    images = face_splits.pivot(index="split", columns="label", values="images")[labels]
    named = images.loc["train"].idxmax()
    share = images[named] / images.sum(axis=1)
    table = pd.DataFrame({"named": named, "accuracy": share, "balanced_accuracy": 1 / len(labels)})
    table["male_precision"] = share if named == labels[-1] else np.nan
    return table.loc[list(dict.fromkeys(face_splits["split"]))].reset_index()


def recipes(recipe_trials: pd.DataFrame) -> pd.DataFrame:
    """The recipes tried on the baseline, by their accuracy on the validation split, the best first.

    Columns: recipe, optimiser, lr, batch_size, epochs, seeds (that were trained to the end),
    failed, accuracy, balanced_accuracy, male_precision (means over the seeds, validation split),
    train_s (mean), chosen.
    """
    keys = ["recipe", "optimiser", "lr", "batch_size", "chosen"]
    done = recipe_trials["status"] == "done"
    trials = recipe_trials.assign(done=done, failed=~done)
    counts = [
        trials[f"validation_class{number}_{what}"].astype(float)
        for number in (0, 1)
        for what in ("images", "correct")
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, measure in rows.MEASURES.items():
            trials[name] = measure(*counts).where(done)
    table = trials.groupby(keys, sort=False).agg(
        epochs=("epochs", "max"),
        seeds=("done", "sum"),
        failed=("failed", "sum"),
        **{name: (name, "mean") for name in (*MEASURES, "train_s")},
    )
    table = table.reset_index().sort_values("accuracy", ascending=False, kind="stable")
    return table[[*(k for k in keys if k != "chosen"), "epochs", "seeds", "failed", *MEASURES,
                  "train_s", "chosen"]].reset_index(drop=True)  # fmt: skip


def baseline(configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """The baseline T0 on the test split: each seed, their mean, and what to hold them against.

    One row a seed, then "mean", "standard deviation" (missing of one seed), "constant
    predictor" (that names the commonest class of the same images) and the paper. Columns: what,
    accuracy (the paper's "precision"), balanced_accuracy, male_precision, images (tested). The
    paper prints one number, and what it calls precision is read as accuracy.
    """
    by_measure = {
        name: rows.training_rows(configuration_trainings, measure=name, roles=rows.BASELINE_ROLES)
        for name in MEASURES
    }
    table = by_measure[MEASURES[0]].assign(**{n: t["precision"] for n, t in by_measure.items()})
    table = table[rows.is_baseline(table)].sort_values("seed")
    measures = list(MEASURES)
    seeds = table.assign(what=[f"seed {seed}" for seed in table["seed"]])
    told = [{"what": MEAN, **table[measures].mean()}, {"what": SD, **table[measures].std()}]
    if len(table):
        told.append({"what": CONSTANT, **_constant(configuration_trainings)})
    told.append({"what": PAPER, "accuracy": paper.value("baseline_precision")})
    found = pd.concat([seeds, pd.DataFrame(told)], ignore_index=True)
    return found[["what", *measures, "images"]].astype({"images": "Int64"})


def _constant(trainings: pd.DataFrame) -> dict[str, float]:
    done = trainings[trainings["status"] == "done"].iloc[0]
    counts = [int(done[f"test_class{number}_images"]) for number in (0, 1)]
    share = max(counts) / sum(counts)
    male = share if counts[1] >= counts[0] else np.nan
    return {"accuracy": share, "balanced_accuracy": 0.5, "male_precision": male}
