"""Accuracy, FLOPs and run time of known nets: how they go together, and how far they do not.

Every function takes tables as they are read. Times are seconds of one image, FLOPs count 2 per
multiply-add, top-1 is a share, and what is called points is percentage points of it. Unless `data`
says otherwise only weights trained on ImageNet-1k alone are compared: others saw more images, which
no cost of the net tells of. Intervals hold 95 % of what samples of designs, drawn with replacement,
give: nets of one design are too alike to be drawn one by one.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from convcost.chapters.accuracy_and_run_time.tables.known import IN1K, MORE
from convcost.core import units

HERE = "this machine"
DEVICES = {
    "rtx4090": "RTX 4090, largest batch",
    "rtx3090": "RTX 3090, largest batch",
    "i7-12700h": "Core i7-12700H, batch 1",
}
"""timm's devices, in words; all in inference. The processor's times are of compiled nets."""

WELL_KNOWN = (
    "alexnet", "vgg16", "resnet18", "resnet50", "resnet152", "densenet121", "mobilenet_v2",
    "efficientnet_b0",
)  # fmt: skip
FEWEST = 5  # nets of a family that a statement about it needs
RESAMPLES, LEVEL = 200, 0.95
WINDOW = 1.2  # within a window of equal cost the largest is so many times the smallest
FEWEST_IN_WINDOW = 20
FEWEST_WINDOWS = 5
POINT = 0.01
_NET = ["source", "net", "input_px"]
_TAIL = 100 * (1 - LEVEL) / 2


def counted(known_nets: pd.DataFrame, data: Iterable[str] | None = (IN1K,)) -> pd.DataFrame:
    """The rows of `known_nets` that were counted, with a column flops; `data` None: of any data."""
    rows = known_nets[known_nets["macs"].notna()]
    if data is not None:
        rows = rows[rows["data"].isin(list(data))]
    return rows.assign(flops=units.FLOPS_PER_MAC * rows["macs"].astype(float))


def left_out(known_nets: pd.DataFrame) -> pd.DataFrame:
    """How many weights are compared, and why the others are not: source, why, weights."""
    why = known_nets["data"].map(lambda data: "trained on ImageNet-1k" if data == IN1K else data)
    why = why.where(known_nets["macs"].notna(), "not counted")
    table = known_nets.assign(why=why).groupby(["source", "why"]).size()
    return table.rename("weights").reset_index()


def times_here(known_net_times: pd.DataFrame, batch: int = 1) -> pd.DataFrame:
    """This machine's own: net, input_px, device, source, image_s (median over repetitions).

    Inference in batches of `batch`, stable repetitions alone. No row of a net that has none.
    """
    rows = known_net_times[
        known_net_times["stable"].astype(bool)
        & (known_net_times["what"] == "inference")
        & (known_net_times["batch"] == batch)
    ]
    image_s = rows["seconds"] / rows["calls"] / rows["batch"]
    table = rows.assign(image_s=image_s).groupby(["net", "input_px"], as_index=False)["image_s"]
    return table.median().assign(device=HERE, source="torchvision")


def timed(
    known_nets: pd.DataFrame,
    published_times: pd.DataFrame | None = None,
    known_net_times: pd.DataFrame | None = None,
    *,
    data: Iterable[str] | None = (IN1K,),
) -> pd.DataFrame:
    """One row for weights and a device on which their net was timed in inference at that size.

    Columns of `counted`, and device and image_s. timm's times go with timm's accuracies, this
    machine's with torchvision's: the same name may be another net.
    """
    parts = [pd.DataFrame(columns=[*_NET, "device", "image_s"])]
    if published_times is not None:
        used = published_times[published_times["what"] == "inference"]
        parts.append(used[["net", "input_px", "device", "image_s"]].assign(source="timm"))
    if known_net_times is not None:
        parts.append(times_here(known_net_times))
    times = pd.concat([part for part in parts if len(part)] or parts)
    return counted(known_nets, data).merge(times, on=_NET)


def devices(table: pd.DataFrame) -> list[str]:
    """The devices of `timed`, this machine first, then as in `DEVICES`."""
    there = set(table["device"])
    return [name for name in (HERE, *DEVICES) if name in there]


# --- Table 1 --------------------------------------------------------------------------------------


def table_one(known_nets: pd.DataFrame, nets: Iterable[str] = WELL_KNOWN) -> pd.DataFrame:
    """Well-known nets with the accuracy they are known by, and with that of today's training.

    Columns: net, gflops (of one image), params_millions, first (top-1 of torchvision's first
    weights), best (the highest top-1 of weights of the same net at the same size, in torchvision
    or under the same name in timm, trained on ImageNet-1k alone), weights (which), gain_points.
    """
    rows = []
    every = counted(known_nets)
    for net in nets:
        same = every[every["net"] == net]
        first = same[(same["source"] == "torchvision") & (same["weights"] == "IMAGENET1K_V1")]
        if first.empty:
            continue
        first = first.iloc[0]
        same = same[(same["input_px"] == first["input_px"]) & (same["macs"] == first["macs"])]
        best = same.sort_values("top1", kind="stable").iloc[-1]
        rows.append(
            {
                "net": net,
                "gflops": units.scaled(first["flops"], "G"),
                "params_millions": units.scaled(first["params"], "M"),
                "first": first["top1"],
                "best": best["top1"],
                "weights": f"{best['source']}: {best['weights']}",
                "gain_points": (best["top1"] - first["top1"]) / POINT,
            }
        )
    columns = ["net", "gflops", "params_millions", "first", "best", "weights", "gain_points"]
    return pd.DataFrame(rows, columns=columns)


def bigger(known_nets: pd.DataFrame) -> pd.DataFrame:
    """Of pairs of nets, how many have the larger one more accurate; larger in parameters, in FLOPs.

    Columns: among (all; one recipe: of one design, with the same name of weights at one size of
    image), size (params or flops), nets, designs, pairs, in_order (share of pairs; a pair of one
    size or of one accuracy is left out), low, high (95 %, designs drawn; for pairs of one recipe
    each design counts by its pairs).
    """
    every = counted(known_nets)
    every = every[every["source"] == "timm"]
    groups = every.groupby(["design", "weights", "input_px"])
    rows = []
    for size in ("params", "flops"):
        codes, matrix = _pairs_by_design(every, size)
        rows.append(_in_order("all nets", size, every, len(codes), matrix))
        recipe = [
            (design, *_order(one[size].to_numpy(float), one["top1"].to_numpy(float)))
            for (design, _, _), one in groups
            if len(one) > 1
        ]
        table = pd.DataFrame(recipe, columns=["design", "right", "pairs"])
        sums = table.groupby("design")[["right", "pairs"]].sum()
        chosen = every[groups["net"].transform("size") > 1]
        rows.append(_in_order("one recipe", size, chosen, len(sums), sums.to_numpy(float)))
    return pd.DataFrame(rows)


def _order(x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    """(pairs in the same order in both, pairs that differ in both)."""
    i, j = np.triu_indices(len(x), 1)
    signs = np.sign(x[i] - x[j]) * np.sign(y[i] - y[j])
    return int((signs > 0).sum()), int((signs != 0).sum())


def _pairs_by_design(table: pd.DataFrame, size: str) -> tuple[np.ndarray, np.ndarray]:
    """(designs, [designs, designs, 2]: pairs in order and pairs, between two designs)."""
    codes, designs = pd.factorize(table["design"])
    x, y = table[size].to_numpy(float), table["top1"].to_numpy(float)
    signs = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    member = np.equal.outer(np.arange(len(designs)), codes).astype(float)
    right, pairs = (member @ each @ member.T for each in (signs > 0, signs != 0))
    return np.asarray(designs), np.stack([right, pairs], axis=-1)


def _in_order(among: str, size: str, table: pd.DataFrame, designs: int, sums: np.ndarray) -> dict:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(RESAMPLES):
        often = np.bincount(rng.integers(0, designs, designs), minlength=designs)
        drawn = np.einsum("ijk,i,j->k", sums, often, often) if sums.ndim == 3 else often @ sums
        shares.append(drawn[0] / drawn[1])
    right, pairs = sums.reshape(-1, 2).sum(axis=0) / (2 if sums.ndim == 3 else 1)
    low, high = np.percentile(shares, [_TAIL, 100 - _TAIL])
    return {
        "among": among, "size": size, "nets": len(table[_NET].drop_duplicates()),
        "designs": designs, "pairs": int(pairs), "in_order": right / pairs, "low": low,
        "high": high,
    }  # fmt: skip


# --- how they go together -------------------------------------------------------------------------

ALL, FAMILY = "all nets", "within a family"
EQUAL_ACCURACY, EQUAL_FLOPS = "at about equal accuracy", "at about equal FLOPs"
FLOPS_TOP1, TIME_TOP1, FLOPS_TIME = "FLOPs and top-1", "time and top-1", "FLOPs and time"


def correlations(
    known_nets: pd.DataFrame,
    published_times: pd.DataFrame,
    known_net_times: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Pearson's and Spearman's correlation of log FLOPs, log time and top-1, two at a time.

    Columns: of (which two), device (empty for FLOPs and top-1, of timm's nets), among, nets
    (weights, where top-1 is one of the two), designs, pearson, pearson_low, pearson_high,
    spearman, spearman_low, spearman_high.

    among: all nets; within a family (designs of five or more: each value less its design's mean,
    or rank); at about equal accuracy (the same within one point of top-1, FLOPs and time alone);
    at about equal FLOPs (within a factor of `WINDOW`, time and top-1 alone). Groups of one say
    nothing and are left out.
    """
    table = timed(known_nets, published_times, known_net_times)
    timm = counted(known_nets)
    timm = timm[timm["source"] == "timm"]
    rows = []
    for among in (ALL, FAMILY):
        rows.append(_correlation(FLOPS_TOP1, "", among, timm))
    for device in devices(table):
        mine = table[table["device"] == device]
        rows += [_correlation(of, device, among, mine)
                 for of in (TIME_TOP1, FLOPS_TIME) for among in (ALL, FAMILY)]  # fmt: skip
        rows.append(_correlation(FLOPS_TIME, device, EQUAL_ACCURACY, mine))
        rows.append(_correlation(TIME_TOP1, device, EQUAL_FLOPS, mine))
    return pd.DataFrame(row for row in rows if row)


def _correlation(of: str, device: str, among: str, table: pd.DataFrame) -> dict | None:
    """One row of `correlations`; None where too few nets are left."""
    if of == FLOPS_TIME:  # neither depends on the weights: each net once, at its most accurate
        table = table.sort_values("top1", kind="stable").drop_duplicates(_NET, keep="last")
    x = {FLOPS_TOP1: "flops", TIME_TOP1: "image_s", FLOPS_TIME: "flops"}[of]
    y = "image_s" if of == FLOPS_TIME else "top1"
    groups = _groups(among, table)
    sizes = pd.Series(groups).map(pd.Series(groups).value_counts()).to_numpy()
    enough = sizes >= {ALL: 1, FAMILY: FEWEST}.get(among, 2)
    table, groups = table[enough], groups[enough]
    designs, names = pd.factorize(table["design"])
    if len(table) < FEWEST or len(names) < 2:
        return None
    values = [np.log(table[x].to_numpy(float))]
    values.append(table[y].to_numpy(float) if y == "top1" else np.log(table[y].to_numpy(float)))
    groups = pd.factorize(groups)[0]
    row = {"of": of, "device": device, "among": among, "nets": len(table), "designs": len(names)}
    for name, ranked in (("pearson", False), ("spearman", True)):
        row[name] = _within(*values, groups, ranked)
        low, high = _resampled(lambda at, r=ranked: _within(values[0][at], values[1][at],
                                                             groups[at], r), designs)  # fmt: skip
        row |= {f"{name}_low": low, f"{name}_high": high}
    return row


def _groups(among: str, table: pd.DataFrame) -> np.ndarray:
    if among == FAMILY:
        return table["design"].to_numpy()
    if among == EQUAL_ACCURACY:
        return np.floor(table["top1"].to_numpy(float) / POINT)
    if among == EQUAL_FLOPS:
        return np.floor(np.log(table["flops"].to_numpy(float)) / np.log(WINDOW))
    return np.zeros(len(table))


def _within(x: np.ndarray, y: np.ndarray, groups: np.ndarray, ranked: bool) -> float:
    """The correlation of x and y, each less its group's mean; `ranked`: of ranks within groups."""
    if ranked:
        x, y = _ranks(x, groups), _ranks(y, groups)
    x, y = _less_mean(x, groups), _less_mean(y, groups)
    below = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / below) if below > 0 else np.nan


def _less_mean(x: np.ndarray, groups: np.ndarray) -> np.ndarray:
    number = np.bincount(groups)
    return x - (np.bincount(groups, x) / np.maximum(number, 1))[groups]


def _ranks(x: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Ranks within each group, equals sharing their mean, over the size of the group.

    Over its size, so that large groups do not outweigh the others. Whole numbers name the groups.
    """
    order = np.lexsort((x, groups))
    g, v = groups[order], x[order]
    starts = np.flatnonzero(np.r_[True, g[1:] != g[:-1]])
    runs = np.flatnonzero(np.r_[True, (g[1:] != g[:-1]) | (v[1:] != v[:-1])])
    length = np.diff(np.r_[runs, len(v)])
    middle = np.repeat(runs + (length + 1) / 2, length)
    size = np.diff(np.r_[starts, len(v)])
    ranks = np.empty(len(x))
    ranks[order] = (middle - np.repeat(starts, size)) / np.repeat(size, size)
    return ranks


def _resampled(statistic: Callable[[np.ndarray], float], designs: np.ndarray) -> tuple:
    """(low, high) of a statistic of places, over samples of whole designs."""
    members = [np.flatnonzero(designs == one) for one in range(designs.max() + 1)]
    rng = np.random.default_rng(0)
    found = [
        statistic(np.concatenate([members[one] for one in rng.integers(0, len(members),
                                                                       len(members))]))
        for _ in range(RESAMPLES)
    ]  # fmt: skip
    return tuple(np.nanpercentile(found, [_TAIL, 100 - _TAIL]))


# --- how thick the cloud is -----------------------------------------------------------------------

TIME_AT_FLOPS, TOP1_AT_FLOPS, TOP1_AT_TIME = (
    "time at equal FLOPs", "top-1 at equal FLOPs", "top-1 at equal time",
)  # fmt: skip


def windows(known_nets: pd.DataFrame, published_times: pd.DataFrame,
            known_net_times: pd.DataFrame | None = None) -> pd.DataFrame:  # fmt: skip
    """What nets of about one cost have: a row for each window of FLOPs, or of time on a device.

    Windows lie side by side, each `WINDOW` times as wide as its beginning; one with fewer than
    `FEWEST_IN_WINDOW` nets has no row. Columns: quantity (time at equal FLOPs; top-1 at equal
    FLOPs; top-1 at equal time), device, begin, end (FLOPs or seconds), nets, designs, low, middle,
    high (the 5th, 50th and 95th percentile), spread (high over low of a time; points of top-1).
    Of each net at one size the most accurate weights count.
    """
    columns = ["quantity", "device", "begin", "end", "nets", "designs", "low", "middle", "high"]
    rows = [
        row
        for quantity, device, table, cost, value in _cases(
            known_nets, published_times, known_net_times
        )
        for row in _windows(quantity, device, table, cost, value)
    ]
    found = pd.DataFrame(rows, columns=columns)
    is_time = found["quantity"] == TIME_AT_FLOPS
    points = (found["high"] - found["low"]) / POINT
    return found.assign(spread=points.where(~is_time, found["high"] / found["low"]))


def _cases(known_nets, published_times, known_net_times):
    timm = counted(known_nets)
    timm = best(timm[timm["source"] == "timm"])
    yield TOP1_AT_FLOPS, "", timm, "flops", "top1"
    table = timed(known_nets, published_times, known_net_times)
    for device in devices(table):
        mine = best(table[table["device"] == device])
        yield TIME_AT_FLOPS, device, mine, "flops", "image_s"
        yield TOP1_AT_TIME, device, mine, "image_s", "top1"


def best(table: pd.DataFrame) -> pd.DataFrame:
    """Each net at each size once, with its most accurate weights."""
    return table.sort_values("top1", kind="stable").drop_duplicates(_NET, keep="last")


def _windows(quantity, device, table, cost, value):
    window = np.floor(np.log(table[cost].astype(float)) / np.log(WINDOW)).astype(int)
    for number, mine in table.groupby(window):
        if len(mine) >= FEWEST_IN_WINDOW:
            low, middle, high = np.percentile(mine[value].astype(float), [5, 50, 95])
            yield {
                "quantity": quantity, "device": device, "begin": WINDOW**number,
                "end": WINDOW ** (number + 1), "nets": len(mine),
                "designs": mine["design"].nunique(), "low": low, "middle": middle, "high": high,
            }  # fmt: skip


def thickness(known_nets: pd.DataFrame, published_times: pd.DataFrame,
              known_net_times: pd.DataFrame | None = None) -> pd.DataFrame:  # fmt: skip
    """How thick the cloud is: the median over `windows` of the spread within one.

    Columns: quantity, device, windows, nets (in all windows together), spread (between the 5th
    and the 95th percentile: a ratio of times, or points of top-1), low, high (95 %, designs
    drawn: a sample has fewer designs than there are, so that both lean to a thin cloud), least,
    most (over the windows). A quantity with fewer than five windows has no row.
    """
    found = windows(known_nets, published_times, known_net_times)
    rows = []
    for quantity, device, table, cost, value in _cases(
        known_nets, published_times, known_net_times
    ):
        mine = found[(found["quantity"] == quantity) & (found["device"] == device)]
        if len(mine) < FEWEST_WINDOWS:
            continue
        inside = np.floor(np.log(table[cost].astype(float)) / np.log(WINDOW)).astype(int)
        kept = np.rint(np.log(mine["begin"]) / np.log(WINDOW)).astype(int)
        table, inside = table[inside.isin(kept)], inside[inside.isin(kept)]
        values, places = table[value].to_numpy(float), pd.factorize(inside)[0]
        ratio = value == "image_s"
        low, high = _resampled(
            lambda at, v=values, p=places, r=ratio: _median_spread(v[at], p[at], r),
            pd.factorize(table["design"])[0],
        )
        rows.append(
            {
                "quantity": quantity, "device": device, "windows": len(mine),
                "nets": int(mine["nets"].sum()), "spread": mine["spread"].median(), "low": low,
                "high": high, "least": mine["spread"].min(), "most": mine["spread"].max(),
            }
        )  # fmt: skip
    columns = ["quantity", "device", "windows", "nets", "spread", "low", "high", "least", "most"]
    return pd.DataFrame(rows, columns=columns)


def _median_spread(values: np.ndarray, places: np.ndarray, ratio: bool) -> float:
    """The median over places of the 95th percentile over, or less, the 5th."""
    order = np.lexsort((values, places))
    v, p = values[order], places[order]
    starts = np.flatnonzero(np.r_[True, p[1:] != p[:-1]])
    size = np.diff(np.r_[starts, len(p)])
    low, high = (_quantile(v, starts, size, share) for share in (0.05, 0.95))
    return float(np.median(high / low if ratio else (high - low) / POINT))


def _quantile(ordered: np.ndarray, starts: np.ndarray, size: np.ndarray, share: float):
    """Between neighbours by a straight line, as numpy's percentile."""
    place = starts + share * (size - 1)
    below = np.floor(place).astype(int)
    above = np.minimum(below + 1, starts + size - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def between_devices(
    known_nets: pd.DataFrame,
    published_times: pd.DataFrame,
    known_net_times: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """How far two devices disagree on which net takes longer, of the nets timed on both.

    Columns: device, other, nets, designs, spearman (of the two times), factor (the 95th over the
    5th percentile of the ratio of the two times: 1 where one is a multiple of the other), low, high
    (95 % of factor, designs drawn). FLOPs are the same on both: what they cannot tell is here.
    """
    table = _best_on_each(timed(known_nets, published_times, known_net_times))
    names, rows = devices(table), []
    for i, device in enumerate(names):
        for other in names[i + 1 :]:
            first, second = (table[table["device"] == name] for name in (device, other))
            both = first.merge(second, on=_NET, suffixes=("", "_other"))
            if len(both) < FEWEST_IN_WINDOW:
                continue
            x, y = (both[name].to_numpy(float) for name in ("image_s", "image_s_other"))
            one = np.zeros(len(both), dtype=int)
            low, high = _resampled(
                lambda at, r=x / y, o=one: _median_spread(r[at], o[at], True),
                pd.factorize(both["design"])[0],
            )
            rows.append(
                {
                    "device": device, "other": other, "nets": len(both),
                    "designs": both["design"].nunique(), "spearman": _within(x, y, one, True),
                    "factor": _median_spread(x / y, one, True), "low": low, "high": high,
                }
            )  # fmt: skip
    columns = ["device", "other", "nets", "designs", "spearman", "factor", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _best_on_each(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("top1", kind="stable").drop_duplicates([*_NET, "device"], keep="last")


def same_net(known_nets: pd.DataFrame, data: Iterable[str] | None = (IN1K,)) -> pd.DataFrame:
    """Nets with several weights at one size: they cost exactly the same, and differ in accuracy.

    Columns: source, net, input_px, gflops, weights (how many), worst, best (which), low, high
    (their top-1), spread_points; the widest first.
    """
    rows = []
    for (source, net, px), mine in counted(known_nets, data).groupby(_NET):
        if len(mine) > 1:
            mine = mine.sort_values("top1", kind="stable")
            first, last = mine.iloc[0], mine.iloc[-1]
            rows.append(
                {
                    "source": source, "net": net, "input_px": px,
                    "gflops": units.scaled(first["flops"], "G"), "weights": len(mine),
                    "worst": first["weights"], "best": last["weights"], "low": first["top1"],
                    "high": last["top1"], "spread_points": (last["top1"] - first["top1"]) / POINT,
                }
            )  # fmt: skip
    columns = ["source", "net", "input_px", "gflops", "weights", "worst", "best", "low", "high"]
    table = pd.DataFrame(rows, columns=[*columns, "spread_points"])
    return table.sort_values("spread_points", ascending=False, ignore_index=True, kind="stable")


def more_data(known_nets: pd.DataFrame) -> pd.DataFrame:
    """What more images than ImageNet-1k's are worth: one net at one size, with them and without.

    Columns: source, net, input_px, gflops, plain, more (the best top-1 of either), gain_points.
    """
    every = counted(known_nets, (IN1K, MORE))
    best = every.pivot_table(index=[*_NET, "flops"], columns="data", values="top1", aggfunc="max")
    best = best.reindex(columns=[IN1K, MORE]).dropna().reset_index()
    return pd.DataFrame(
        {
            **{name: best[name] for name in _NET},
            "gflops": units.scaled(best["flops"], "G"),
            "plain": best[IN1K],
            "more": best[MORE],
            "gain_points": (best[MORE] - best[IN1K]) / POINT,
        }
    )


# --- the fronts -----------------------------------------------------------------------------------


def on_front(cost, accuracy) -> np.ndarray:
    """Which points no other beats: none costs as little and is more accurate, nor less for as much.

    Of points that are equal in both the first alone. bool, in the order given.

    >>> on_front([1, 2, 2, 3], [0.5, 0.7, 0.6, 0.7]).tolist()
    [True, True, False, False]
    """
    cost, accuracy = np.asarray(cost, dtype=float), np.asarray(accuracy, dtype=float)
    order = np.lexsort((-accuracy, cost))
    before = np.concatenate([[-np.inf], np.maximum.accumulate(accuracy[order])[:-1]])
    chosen = np.zeros(len(cost), dtype=bool)
    chosen[order] = accuracy[order] > before
    return chosen


FLOPS = "FLOPs"


def fronts(
    known_nets: pd.DataFrame,
    published_times: pd.DataFrame,
    known_net_times: pd.DataFrame | None = None,
    *,
    data: Iterable[str] | None = (IN1K,),
) -> pd.DataFrame:
    """The nets that nothing beats in accuracy and cost, a row a net and cost, the cheapest first.

    cost is "FLOPs" (of timm's nets, at any size) or a device of `timed`; of each net at one size
    the most accurate weights take part. Columns: cost, net, weights, input_px, design, top1, flops,
    image_s (NaN for FLOPs).
    """
    every = counted(known_nets, data)
    parts = [(FLOPS, best(every[every["source"] == "timm"]), "flops")]
    table = timed(known_nets, published_times, known_net_times, data=data)
    parts += [(name, best(table[table["device"] == name]), "image_s") for name in devices(table)]
    columns = ["cost", "net", "weights", "input_px", "design", "top1", "flops", "image_s"]
    found = [
        mine[on_front(mine[by], mine["top1"])].sort_values(by).assign(cost=cost)
        for cost, mine, by in parts
        if len(mine)
    ]
    return pd.concat(found or [every.head(0)], ignore_index=True).reindex(columns=columns)


def shared_fronts(
    known_nets: pd.DataFrame,
    published_times: pd.DataFrame,
    known_net_times: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """How many nets of the front of FLOPs are on the front of time, device by device.

    Both fronts are of the nets that were timed on that device. Columns: device, nets (timed),
    on_flops, on_time, on_both, shared (on_both over on_flops), slower (the median over the front of
    FLOPs of its time over that of the fastest net at least as accurate).
    """
    table = timed(known_nets, published_times, known_net_times)
    rows = []
    for device in devices(table):
        mine = best(table[table["device"] == device])
        by_flops, by_time = (on_front(mine[by], mine["top1"]) for by in ("flops", "image_s"))
        both = int((by_flops & by_time).sum())
        front = mine[by_flops]
        fastest = [mine.loc[mine["top1"] >= top1, "image_s"].min() for top1 in front["top1"]]
        rows.append(
            {
                "device": device, "nets": len(mine), "on_flops": int(by_flops.sum()),
                "on_time": int(by_time.sum()), "on_both": both, "shared": both / by_flops.sum(),
                "slower": float((front["image_s"] / fastest).median()),
            }
        )  # fmt: skip
    columns = ["device", "nets", "on_flops", "on_time", "on_both", "shared", "slower"]
    return pd.DataFrame(rows, columns=columns)


# --- single designs -------------------------------------------------------------------------------

VGG_DEPTHS = (11, 13, 16, 19)
NEAR_POINTS = 1.0  # of top-1, within which nets are about equally accurate


def vgg_by_depth(known_nets: pd.DataFrame) -> pd.DataFrame:
    """torchvision's VGGs by depth: net, norm (whether with batch normalisation), depth, top1."""
    rows = known_nets[known_nets["source"] == "torchvision"].set_index("net")["top1"]
    return pd.DataFrame(
        [
            {"net": name, "norm": bool(suffix), "depth": depth, "top1": rows[name]}
            for suffix in ("", "_bn")
            for depth in VGG_DEPTHS
            if (name := f"vgg{depth}{suffix}") in rows.index
        ]
    )


def beside_others(known_nets: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """torchvision's nets whose name begins so, beside all nets of other designs.

    Columns: net, macs, top1, as_accurate (nets of others within a point of top-1), fewer (their
    median multiply-adds over its own), as_costly (nets of others within a factor of `WINDOW` in
    multiply-adds), points (its top-1 less their median). ImageNet-1k alone, of each net its best
    weights.
    """
    every = counted(known_nets).sort_values("top1", kind="stable")
    best = every.drop_duplicates(_NET, keep="last")
    mine = best[(best["source"] == "torchvision") & best["net"].str.startswith(prefix)]
    others = best[~best["net"].str.startswith(prefix) & ~best["design"].isin(mine["design"])]
    rows = []
    for row in mine.sort_values("macs").itertuples():
        alike = others[(others["top1"] - row.top1).abs() <= NEAR_POINTS / 100]
        costly = others[others["macs"].between(row.macs / WINDOW, row.macs * WINDOW)]
        rows.append(
            {"net": row.net, "macs": int(row.macs), "top1": row.top1, "as_accurate": len(alike),
             "fewer": alike["macs"].median() / row.macs, "as_costly": len(costly),
             "points": 100 * (row.top1 - costly["top1"].median())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def accurate_and_slow(
    known_nets: pd.DataFrame, known_net_times: pd.DataFrame, top1: float, limit_s: float
) -> pd.DataFrame:
    """Nets timed here that reach an accuracy: net, top1, image_s, slow (longer than `limit_s`)."""
    table = timed(known_nets, None, known_net_times)
    table = table.sort_values("top1").drop_duplicates(_NET, keep="last")
    table = table[table["top1"] >= top1]
    return table[["net", "top1", "image_s"]].assign(slow=table["image_s"] > limit_s)
