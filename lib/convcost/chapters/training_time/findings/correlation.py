"""How time relates to FLOPs: correlations with intervals, slope, utilisation, pairs in order."""

import itertools
import math

import numpy as np
import pandas as pd
from scipy import special
from scipy.spatial import distance
from scipy.stats import rankdata

from convcost.chapters.training_time.findings import paper, per_epoch

MOST_PERMUTED = 7
"""Up to so many nets every order is tried: 7! = 5040. Beyond it the p-values are missing."""

_LEVEL = 0.95


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """r of x with each row of y; NaN where one of them is constant."""
    return 1 - distance.cdist(x[None], y, "correlation")[0]


def _kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """tau-b of x with each row of y: the cosine of the signs of all pairs. NaN as above."""
    i, j = np.triu_indices(len(x), 1)
    return 1 - distance.cdist(np.sign(x[i] - x[j])[None], np.sign(y[:, i] - y[:, j]), "cosine")[0]


def _by_chance(statistic, x: np.ndarray, y: np.ndarray) -> float:
    """The share of all orders of y that are at least as far from 0 as y's own."""
    if len(y) > MOST_PERMUTED:
        return math.nan
    orders = np.array(list(itertools.permutations(range(len(y)))))
    own = abs(statistic(x, y[None])[0])
    if math.isnan(own):
        return math.nan
    return float((np.abs(statistic(x, y[orders])) >= own - 1e-12).mean())


def _fisher(r: float, squared_error: float) -> tuple[float, float]:
    """The 95 % interval of r, symmetric in atanh(r); (NaN, NaN) where |r| is 1 or unknown."""
    if not abs(r) < 1 - 1e-12 or not 0 < squared_error < math.inf:
        return math.nan, math.nan
    half = special.ndtri((1 + _LEVEL) / 2) * math.sqrt(squared_error)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def _loglog(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """(slope, low, high) of log y over log x by least squares, with Student's 95 % interval."""
    if len(set(x)) < 2:
        return math.nan, math.nan, math.nan
    if len(x) < 3:
        return float(np.polyfit(np.log(x), np.log(y), 1)[0]), math.nan, math.nan
    (slope, _), covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    half = special.stdtrit(len(x) - 2, (1 + _LEVEL) / 2) * math.sqrt(covariance[0, 0])
    return float(slope), slope - half, slope + half


def relation(seconds, flops) -> pd.Series:
    """Time against FLOPs over some nets: `seconds` and `flops` are sequences of equal length.

    Entries: nets; pearson, spearman, kendall (tau-b), each with `_p` (two-sided, exact: the share
    of all orders of the seconds that give a value as far from 0; with five nets 120 orders, so
    never below 2/120; missing beyond `MOST_PERMUTED` nets) and `_low`, `_high`: the 95 % interval
    by Fisher's z, with variances 1/(n-3) for Pearson (Fisher), (1 + r**2/2)/(n-3) for Spearman
    (Bonett and Wright 2000) and 0.437/(n-4) for Kendall (Fieller, Hartley and Pearson 1957).
    With five nets they stand on two degrees of freedom and one, which is why they are so wide;
    missing with fewer nets than they need, and where the correlation is 1 or -1, where z does not
    exist. slope, slope_low, slope_high: of log seconds over log FLOPs by least squares, with
    Student's 95 % interval (1 is proportional). cv: standard deviation over mean of the seconds
    per FLOP; spread: the highest over the lowest. in_order, pairs: pairs of nets of which the one
    with more FLOPs takes longer, and all pairs. A constant input has missing correlations.

    >>> row = relation([1, 2, 3], [10, 20, 30])
    >>> round(float(row["pearson"]), 9), float(row["spread"]), int(row["in_order"])
    (1.0, 1.0, 3)
    """
    y, x = np.asarray(seconds, dtype=float), np.asarray(flops, dtype=float)
    n = len(x)
    row: dict[str, object] = {"nets": n}
    for name, statistic, a, b, error in (
        ("pearson", _pearson, x, y, lambda r: 1 / (n - 3) if n > 3 else math.inf),
        ("spearman", _pearson, rankdata(x), rankdata(y),
         lambda r: (1 + r * r / 2) / (n - 3) if n > 3 else math.inf),
        ("kendall", _kendall, x, y, lambda r: 0.437 / (n - 4) if n > 4 else math.inf),
    ):  # fmt: skip
        r = float(np.clip(statistic(a, b[None])[0], -1, 1)) if n > 1 else math.nan
        low, high = _fisher(r, error(r))
        chance = _by_chance(statistic, a, b) if n > 1 else math.nan
        row |= {name: r, f"{name}_low": low, f"{name}_high": high, f"{name}_p": chance}
    row["slope"], row["slope_low"], row["slope_high"] = _loglog(x, y)
    per_flop = y / x
    row["cv"] = float(per_flop.std(ddof=1) / per_flop.mean()) if n > 1 else math.nan
    row["spread"] = float(per_flop.max() / per_flop.min())
    i, j = np.triu_indices(n, 1)
    row["in_order"] = int(((x[i] - x[j]) * (y[i] - y[j]) > 0).sum())
    row["pairs"] = len(i)
    return pd.Series(row, dtype=object)


PAPER = "paper"
PAPER_EXACT = "paper's seconds, exact FLOPs"
OURS = "this machine"


def relations(
    training_steps: pd.DataFrame,
    full_epochs: pd.DataFrame,
    net_costs: pd.DataFrame,
    loop_runs: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """`relation` of the paper's own tables, and of ours by loop and size, one row each.

    Columns: data ("paper"; "paper's seconds, exact FLOPs": at 224 px and three channels; "this
    machine"), loop, input_px (missing for the paper), and the entries of `relation`. Ours are the
    epoch seconds of the paper's five nets, as many as were timed under one condition (see
    `of_one_condition`); a loop and size with fewer than three has no row. With `loop_runs`, nets
    whose run was not stable are left out; `unstable` says how many. An epoch that was run in full,
    and of which no steps were timed, has no such run, and stays.
    """
    published = paper.table_two()
    rows = [{"data": PAPER} | relation(published["seconds"], published["flops"]).to_dict()]
    counted = per_epoch.costs(net_costs)
    exact = published.merge(
        counted[(counted["input_px"] == 224) & (counted["in_channels"] == 3)], on="net",
        suffixes=("_printed", ""),
    )  # fmt: skip
    if len(exact) == len(published):
        rows.append({"data": PAPER_EXACT} | relation(exact["seconds"], exact["flops"]).to_dict())
    ours = per_epoch.all_epochs(training_steps, full_epochs)
    for loop, px in ours[["loop", "input_px"]].drop_duplicates().itertuples(index=False):
        nets = per_epoch.of_one_condition(ours, loop, px).merge(
            counted[["net", "input_px", "in_channels", "flops"]],
            on=["net", "input_px", "in_channels"],
        )
        nets = nets.dropna(subset=["epoch_s"])
        timed = len(nets)
        if loop_runs is not None:
            nets = nets[per_epoch.is_stable(nets, loop_runs)]
        if len(nets) >= 3:
            found = relation(nets["epoch_s"], nets["flops"]).to_dict()
            case = {"data": OURS, "loop": loop, "input_px": px, "unstable": timed - len(nets)}
            rows.append(case | found)
    table = pd.DataFrame(rows)
    first = ["data", "loop", "input_px", "unstable"]
    table = table.reindex(columns=[*first, *(c for c in table if c not in first)])
    whole = ["input_px", "unstable", "nets", "in_order", "pairs"]
    numbers = [c for c in table if c not in (*first, *whole)]
    return table.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(numbers, float))
