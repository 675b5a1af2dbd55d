"""Nets that lost filters: what it costs in accuracy, what it saves."""

import numpy as np
import pandas as pd
from scipy import stats

from convcost.chapters.relu_zero_rates.findings.times import multiplications
from convcost.fits.comparison import mean_interval

HIGHEST, SMALLEST, RANDOM = "highest zero rate", "smallest L1 norm", "random"
FROM_SCRATCH = "from scratch"  # the small net, never trained with all its filters
WHOLE = "none"


def _accuracies(pruned_nets: pd.DataFrame) -> pd.DataFrame:
    """The nets that were trained at all, with their accuracy as a fraction."""
    untrained = (pruned_nets["criterion"] == FROM_SCRATCH) & ~pruned_nets["fine_tuned"]
    nets = pruned_nets[~untrained]
    return nets.assign(accuracy=nets["test_correct"] / nets["test_images"])


def paired_differences(pruned_nets: pd.DataFrame) -> pd.DataFrame:
    """The accuracy without the filters of the highest zero rate, less that without other filters.

    One row for each layer, number removed, fine-tuned or not, and other way: random, smallest L1
    norm, and, fine-tuned, from scratch (a net of the small size trained from new weights). The two
    nets of a pair have the same seed. Columns: layer, removed,
    fine_tuned, against, seeds (pairs), mean_points (mean difference in percentage points of
    accuracy; below 0: removing the filters of the highest zero rate is worse), low_points,
    high_points (95 % interval of the mean by Student's t, missing for one pair), wins, ties,
    losses (pairs), sign_p (two-sided sign test over the pairs that differ, 1 where none does).
    """
    accuracy = _accuracies(pruned_nets).pivot(
        index=["layer", "removed", "fine_tuned", "seed"], columns="criterion", values="accuracy"
    )
    rows = []
    for against in (RANDOM, SMALLEST, FROM_SCRATCH):
        if not {HIGHEST, against} <= set(accuracy.columns):
            continue
        pairs = 100 * (accuracy[HIGHEST] - accuracy[against]).dropna()
        for names, points in pairs.groupby(level=["layer", "removed", "fine_tuned"]):
            count, mean = len(points), points.mean()
            half = stats.t.ppf(0.975, count - 1) * points.sem() if count > 1 else np.nan
            wins, losses = int((points > 0).sum()), int((points < 0).sum())
            rows.append(
                dict(zip(("layer", "removed", "fine_tuned"), names, strict=True))
                | {
                    "against": against,
                    "seeds": count,
                    "mean_points": mean,
                    "low_points": mean - half,
                    "high_points": mean + half,
                    "wins": wins,
                    "ties": count - wins - losses,
                    "losses": losses,
                    "sign_p": stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0,
                }
            )
    columns = ["layer", "removed", "fine_tuned", "against", "seeds", "mean_points", "low_points"]
    columns += ["high_points", "wins", "ties", "losses", "sign_p"]
    return pd.DataFrame(rows, columns=columns)


def accuracy_curves(pruned_nets: pd.DataFrame) -> pd.DataFrame:
    """Accuracy against the share of filters removed, for each way of choosing them.

    Columns: layer, criterion, fine_tuned, removed, removed_share, seeds, median, p05, p95
    (accuracy as a fraction, over the seeds). Every curve but those from scratch begins with the
    whole net (removed 0); the fine-tuned ones with the whole net fine-tuned as they were.
    """
    nets = _accuracies(pruned_nets)
    whole = nets["layer"] == WHOLE
    curves = ["layer", "criterion", "fine_tuned"]
    rows = []
    for names, curve in nets[~whole].groupby(curves, sort=False):
        _, criterion, tuned = names
        start = nets[whole & (nets["fine_tuned"] == tuned) & (criterion != FROM_SCRATCH)]
        points = [(0, 0.0, start["accuracy"])]
        points += [
            (removed, removed / point["filters"].iloc[0], point["accuracy"])
            for removed, point in curve.groupby("removed")
        ]
        rows += [
            dict(zip(curves, names, strict=True))
            | {
                "removed": removed,
                "removed_share": share,
                "seeds": len(values),
                "median": values.median(),
                "p05": values.quantile(0.05),
                "p95": values.quantile(0.95),
            }
            for removed, share, values in points
            if len(values)
        ]
    return pd.DataFrame(rows)


def savings(pruned_nets: pd.DataFrame, pruned_times: pd.DataFrame) -> pd.DataFrame:
    """What removing filters saves: multiplications, and time as measured.

    One row for each layer, number removed, batch and threads. Columns: layer, removed, batch,
    threads, layer_macs_saved (of the layer's own multiply-adds), net_macs_saved (of the net's: the
    layer after it loses input maps too), repetitions, time_saved, p05, p95 (of 1 - time over the
    whole net's in the same repetition: median and quantiles), all fractions; faster (repetitions
    with time saved), sign_p (one-sided sign test: the probability of so many, were the two nets
    equally fast).
    """
    exact = multiplications().set_index(["reading", "layer"])["multiplications"]["exact"]
    left = (
        pruned_nets[pruned_nets["layer"] != WHOLE]
        .groupby(["layer", "removed"])["layer_macs"]
        .first()
        .astype(float)
    )
    conditions = ["batch", "threads", "repetition"]
    times = pruned_times.assign(image_s=pruned_times["seconds"] / pruned_times["images"])
    is_whole = times["layer"] == WHOLE
    pairs = times[~is_whole].merge(
        times.loc[is_whole, [*conditions, "image_s", "macs"]],
        on=conditions,
        suffixes=("", "_whole"),
    )
    rows = []
    keys = ["layer", "removed", "batch", "threads"]
    for names, pair in pairs.groupby(keys):
        layer, removed = names[:2]
        saved = 1 - pair["image_s"] / pair["image_s_whole"]
        faster = int((saved > 0).sum())
        rows.append(
            dict(zip(keys, names, strict=True))
            | {
                "layer_macs_saved": 1 - left.get((layer, removed), np.nan) / exact[layer],
                "net_macs_saved": 1 - pair["macs"].iloc[0] / pair["macs_whole"].iloc[0],
                "repetitions": len(saved),
                "time_saved": saved.median(),
                "p05": saved.quantile(0.05),
                "p95": saved.quantile(0.95),
                "faster": faster,
                "sign_p": stats.binomtest(faster, len(saved), alternative="greater").pvalue,
            }
        )
    return pd.DataFrame(rows)


def savings_by_session(saving_times: pd.DataFrame) -> pd.DataFrame:
    """What two filters of conv1 less save of the whole net's time, with the sessions as the units.

    One row a batch: batch, threads, sessions, repetitions (of a session), saved (the mean over the
    sessions of the median of 1 - time over the whole net's in the same repetition), low, high (95 %
    by Student's t over the sessions; missing of one), faster (share of all repetitions).
    """
    table = saving_times.assign(saved=1 - saving_times["smaller_s"] / saving_times["whole_s"])
    rows = []
    for (batch, threads), own in table.groupby(["batch", "threads"]):
        sessions = own.groupby("session")["saved"]
        mean, low, high = mean_interval(sessions.median())
        rows.append(
            {
                "batch": batch, "threads": threads, "sessions": sessions.ngroups,
                "repetitions": int(sessions.size().min()), "saved": mean, "low": low, "high": high,
                "faster": float((own["saved"] > 0).mean()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
