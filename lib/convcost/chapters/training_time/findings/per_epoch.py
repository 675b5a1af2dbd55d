"""Seconds of an epoch: extrapolated from steps, measured in full, and beside the paper's."""

import numpy as np
import pandas as pd

from convcost.chapters.training_time.findings import paper
from convcost.core.units import FLOPS_PER_MAC

CONDITION = ["loop", "input_px", "in_channels", "batch_asked", "workers", "threads"]
KEY = ["net", *CONDITION]
PHASES = ("pipeline", "forward", "backward", "optimiser")
_PARTS = ("training", "validation")


def epochs(
    training_steps: pd.DataFrame,
    train_images: int | None = None,
    test_images: int | None = None,
    *,
    pipeline: bool = True,
) -> pd.DataFrame:
    """Seconds of one epoch, extrapolated from the steps that are no warm-up.

    One row for each net, loop, input_px, in_channels, batch_asked, workers and threads. Columns:
    these; batch (as used), steps (of training);

    * seconds per training image: pipeline_image_s, forward_image_s, backward_image_s,
      optimiser_image_s and train_image_s (of the whole step), medians over the steps;
      train_image_low_s and train_image_high_s, quartiles; the same three of validation;
    * train_s, validation_s: medians times `train_images` and `test_images`, which are the paper's
      where None; epoch_s: their sum; epoch_low_s, epoch_high_s: the same from the quartiles;
    * pipeline_share, forward_share, backward_share, optimiser_share, rest_share (of a training
      step, what lies between its phases) and validation_share: they sum to 1 (those of training
      from all seconds of the steps, not from medians);
    * extrapolated: true.

    Without steps of validation everything that needs them is missing. `pipeline` False takes the
    pipeline's seconds out of every step first.
    """
    steps = training_steps[~training_steps["warmup"].astype(bool)]
    if not pipeline:
        steps = steps.assign(step_s=steps["step_s"] - steps["pipeline_s"], pipeline_s=0.0)
    train = paper.images("train") if train_images is None else train_images
    test = paper.images("test") if test_images is None else test_images
    training, validation = (steps[steps["part"] == part] for part in _PARTS)
    groups = training.groupby(KEY, sort=False)
    table = groups.agg(batch=("batch", "min"), steps=("step", "size"))
    for phase in PHASES:
        per_image = training[f"{phase}_s"].astype(float) / training["images"]
        table[f"{phase}_image_s"] = per_image.groupby([training[k] for k in KEY]).median()
    for name, rows in (("train", training), ("validation", validation)):
        per_image = (rows["step_s"] / rows["images"]).astype(float)
        per_image = per_image.groupby([rows[k] for k in KEY])
        for end, q in (("", 0.5), ("_low", 0.25), ("_high", 0.75)):
            table[f"{name}_image{end}_s"] = per_image.quantile(q)
    for end in ("", "_low", "_high"):
        train_s, test_s = (
            train * table[f"train_image{end}_s"],
            test * table[f"validation_image{end}_s"],
        )
        if not end:
            table["train_s"], table["validation_s"] = train_s, test_s
        table[f"epoch{end}_s"] = train_s + test_s
    sums = groups[[*(f"{phase}_s" for phase in PHASES), "step_s"]].sum()
    _add_shares(table, sums, "step_s")
    return table.assign(extrapolated=True).reset_index()


def _add_shares(table: pd.DataFrame, sums: pd.DataFrame, whole: str) -> None:
    """Shares of the epoch: the training part as its phases divide `whole`, and the validation."""
    of_training = table["train_s"] / table["epoch_s"] / sums[whole]
    for phase in PHASES:
        table[f"{phase}_share"] = sums[f"{phase}_s"] * of_training
    phases = sums[[f"{phase}_s" for phase in PHASES]].sum(axis=1)
    table["rest_share"] = (sums[whole] - phases) * of_training
    table["validation_share"] = table["validation_s"] / table["epoch_s"]


def _measured(full_epochs: pd.DataFrame) -> pd.DataFrame:
    """Full epochs with the columns of `epochs` that they can have, medians over the epochs."""
    table = full_epochs.assign(epoch_s=full_epochs["train_s"] + full_epochs["validation_s"])
    groups = table.groupby(KEY, sort=False)
    names = [*(f"{phase}_s" for phase in PHASES), "train_s", "validation_s", "epoch_s"]
    medians = groups[names].median()
    result = medians[["train_s", "validation_s", "epoch_s"]].assign(
        batch=groups["batch"].min(), epochs=groups.size()
    )
    several = result["epochs"] > 1  # of one epoch no spread is known
    for end, q in (("low", 0.25), ("high", 0.75)):
        result[f"epoch_{end}_s"] = groups["epoch_s"].quantile(q).where(several)
    _add_shares(result, medians, "train_s")
    return result.assign(extrapolated=False).reset_index()


def all_epochs(training_steps: pd.DataFrame, full_epochs: pd.DataFrame) -> pd.DataFrame:
    """`epochs`, where a full epoch of the same conditions takes the place of the extrapolation.

    Columns: those of `epochs`, and epochs (full ones; missing where extrapolated). Seconds of a
    full epoch are medians over the epochs, epoch_low_s and epoch_high_s their quartiles (missing
    for a single one); what only steps can tell is missing. An epoch that left images out counts
    as what it was: an epoch of its own images.
    """
    extrapolated = epochs(training_steps)
    if full_epochs.empty:
        return extrapolated.assign(epochs=pd.NA)
    measured = _measured(full_epochs)
    known = pd.MultiIndex.from_frame(measured[KEY])
    left = extrapolated[~pd.MultiIndex.from_frame(extrapolated[KEY]).isin(known)]
    return pd.concat([measured, left], ignore_index=True)


def epochs_by_workers(full_epochs: pd.DataFrame) -> pd.DataFrame:
    """Epochs that were run in full, by the worker processes of their data loader.

    One row for each condition and net; conditions in their order, the paper's nets in its own, then
    all others. Columns: net, loop, input_px, in_channels, batch_asked, workers, threads, epoch_s
    (median of the epochs), epoch_ratio (to AlexNet under the same condition; missing without it),
    pipeline_share (of the epoch: waiting for batches to train on).
    """
    table = _measured(full_epochs)
    first = table.loc[table["net"] == paper.NETS[0], [*CONDITION, "epoch_s"]]
    table = table.merge(first.rename(columns={"epoch_s": "first_s"}), on=CONDITION, how="left")
    place = {net: place for place, net in enumerate(paper.NETS)}
    table = table.assign(
        epoch_ratio=table["epoch_s"] / table["first_s"],
        place=table["net"].map(place).fillna(len(place)),
    ).sort_values([*CONDITION, "place", "net"])
    return table[[*KEY, "epoch_s", "epoch_ratio", "pipeline_share"]].reset_index(drop=True)


def extrapolation_error(training_steps: pd.DataFrame, full_epochs: pd.DataFrame) -> pd.DataFrame:
    """How far the extrapolation from steps is from epochs that were run in full.

    One row for each full epoch whose conditions were also timed by steps. Columns: net, loop,
    input_px, in_channels, batch_asked, workers, threads, epoch (from 1), images (trained on and
    validated on), measured_s, extrapolated_s, ratio (extrapolated over measured), train_ratio,
    validation_ratio (the same of the two parts).
    """
    columns = [*KEY, "train_image_s", "validation_image_s"]
    rows = full_epochs.merge(epochs(training_steps)[columns], on=KEY)
    train_s = rows["train_image_s"] * rows["train_images"]
    validation_s = rows["validation_image_s"] * rows["test_images"]
    rows = rows.assign(
        images=rows["train_images"] + rows["test_images"],
        measured_s=rows["train_s"] + rows["validation_s"],
        extrapolated_s=train_s + validation_s,
        train_ratio=train_s / rows["train_s"],
        validation_ratio=validation_s / rows["validation_s"],
    )
    rows["ratio"] = rows["extrapolated_s"] / rows["measured_s"]
    names = ["images", "measured_s", "extrapolated_s", "ratio", "train_ratio", "validation_ratio"]
    return rows[[*KEY, "epoch", *names]]


def of_one_condition(
    table: pd.DataFrame, loop: str, input_px: int | None = None, nets: tuple[str, ...] = paper.NETS
) -> pd.DataFrame:
    """The rows of `nets` under the one condition that was timed for most of them.

    A condition is channels, batch, workers and threads. Of several, the one with most full epochs,
    then most steps, most channels, fewest workers and the smallest batch. `input_px` None takes
    the largest size with most nets. The rows come out in the order of `nets`; none where there is
    none.
    """
    rows = table[(table["loop"] == loop) & table["net"].isin(nets)]
    if input_px is not None:
        rows = rows[rows["input_px"] == input_px]
    if rows.empty:
        return rows

    def merit(group: pd.DataFrame) -> tuple:
        row = group.iloc[0]
        full = int((~group["extrapolated"].astype(bool)).sum())
        steps = group["steps"].sum()
        return (
            group["net"].nunique(), row["input_px"], full, steps, row["in_channels"],
            -row["workers"], -row["batch_asked"],
        )  # fmt: skip

    best = max((group for _, group in rows.groupby(CONDITION, sort=False)), key=merit)
    order = best["net"].map({net: place for place, net in enumerate(nets)})
    return best.iloc[np.argsort(order.to_numpy(), kind="stable")].reset_index(drop=True)


def is_stable(table: pd.DataFrame, loop_runs: pd.DataFrame) -> np.ndarray:
    """Whether each row's run was stable, by the run in `loop_runs` of the same `KEY`.

    An epoch that was run in full, and of which no steps were timed, has no such run: it counts as
    stable.
    """
    shaky = loop_runs.loc[~loop_runs["stable"].astype(bool), KEY]
    known = pd.MultiIndex.from_frame(shaky)
    return ~pd.MultiIndex.from_frame(table[KEY]).isin(known)


def costs(net_costs: pd.DataFrame, train_images: int = 1, test_images: int = 0) -> pd.DataFrame:
    """net_costs with flops (one forward pass) and epoch_flops, exact.

    epoch_flops: forward and backward for each training image, forward for each test image.
    """
    forward = FLOPS_PER_MAC * net_costs["macs"]
    return net_costs.assign(
        flops=forward,
        epoch_flops=train_images * (forward + net_costs["backward_flops"]) + test_images * forward,
    )


def table_two(
    training_steps: pd.DataFrame,
    full_epochs: pd.DataFrame,
    net_costs: pd.DataFrame,
    fashion_accuracies: pd.DataFrame,
    loop: str = "plain",
    input_px: int | None = 224,
) -> pd.DataFrame:
    """Tables 1 and 2 of the paper beside ours: the five nets that were timed, in its order.

    Columns: net; the conditions loop, input_px, in_channels, batch_asked, batch, workers, threads
    (of `of_one_condition`); paper_flops, flops (ours, of one forward pass, exact), paper_seconds,
    epoch_s, epoch_low_s, epoch_high_s (ours, one epoch), extrapolated (true: from steps; false: an
    epoch run in full); the ratios to AlexNet paper_flops_ratio, flops_ratio, paper_seconds_ratio,
    epoch_ratio (ours missing without AlexNet); accuracy (share of the test images named rightly
    after the last full epoch, else of the net trained for its accuracy, median over its seeds),
    accuracy_px, accuracy_images, accuracy_epochs (what it was trained on; all missing where none).
    """
    ours = of_one_condition(all_epochs(training_steps, full_epochs), loop, input_px)
    counted = costs(net_costs)[["net", "input_px", "in_channels", "flops"]]
    published = paper.table_two().rename(
        columns={"flops": "paper_flops", "seconds": "paper_seconds"}
    )
    table = ours.merge(counted, on=["net", "input_px", "in_channels"], how="left")
    table = table.merge(published, on="net", how="left")
    for name in ("paper_flops", "flops", "paper_seconds", "epoch_s"):
        reference = table.loc[table["net"] == paper.NETS[0], name]
        base = float(reference.iloc[0]) if len(reference) else np.nan
        table[f"{name.removesuffix('_s')}_ratio"] = table[name] / base
    table = table.merge(_accuracies(full_epochs, fashion_accuracies, ours), on="net", how="left")
    columns = ["net", "loop", "input_px", "in_channels", "batch_asked", "batch", "workers"]
    columns += ["threads", "paper_flops", "flops", "paper_seconds", "epoch_s", "epoch_low_s"]
    columns += ["epoch_high_s", "extrapolated", "paper_flops_ratio", "flops_ratio"]
    columns += ["paper_seconds_ratio", "epoch_ratio", *_ACCURACY]
    return table[columns]


_ACCURACY = ["accuracy", "accuracy_px", "accuracy_images", "accuracy_epochs"]


def _accuracies(
    full_epochs: pd.DataFrame, fashion_accuracies: pd.DataFrame, ours: pd.DataFrame
) -> pd.DataFrame:
    """net and `_ACCURACY`: of the last full epoch under our conditions, else as trained for it."""
    frames = []
    if len(full_epochs):
        full = full_epochs.merge(ours[KEY], on=KEY).sort_values("epoch")
        last = full.groupby("net").tail(1)
        frames.append(
            last.assign(
                accuracy=last["test_correct"] / last["test_images"],
                accuracy_px=last["input_px"],
                accuracy_images=last["train_images"],
                accuracy_epochs=last["epoch"],
            )
        )
    trained = fashion_accuracies[fashion_accuracies["status"] == "trained"]
    if len(trained):
        trained = trained.assign(accuracy=trained["test_correct"] / trained["test_images"])
        by_net = trained.groupby("net").agg(
            accuracy=("accuracy", "median"),
            accuracy_px=("input_px", "max"),
            accuracy_images=("train_images", "max"),
            accuracy_epochs=("epochs", "max"),
        )
        frames.append(by_net.reset_index())
    if not frames:
        return pd.DataFrame(columns=["net", *_ACCURACY])
    found = pd.concat([frame[["net", *_ACCURACY]] for frame in frames])
    return found.drop_duplicates("net")
