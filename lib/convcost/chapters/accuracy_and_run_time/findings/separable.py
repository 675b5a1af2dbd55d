"""A separable convolution beside a plain one: operations promised, time taken, accuracy kept.

Ratios are plain over separable, so that above 1 the separable one is the cheaper. Every 95 %
interval is Student's t of values that were paired: by repetition for times, by seed for accuracies.
"""

import numpy as np
import pandas as pd

from convcost.core.errors import BadInputError
from convcost.core.units import FLOPS_PER_MAC
from convcost.fits.comparison import mean_interval

REGULAR, SEPARABLE, DEPTHWISE, POINTWISE = "regular", "separable", "depthwise", "pointwise"
BLOCKS = (REGULAR, SEPARABLE, DEPTHWISE, POINTWISE)

PLAIN, SEPARABLE_NET, NARROW, WIDE = (
    "plain_cnn", "separable_cnn", "plain_cnn_narrow", "separable_cnn_wide",
)  # fmt: skip
NETS = (PLAIN, SEPARABLE_NET, NARROW, WIDE)
"""The four nets, in the order of tables and figures."""

PAIRS = ((SEPARABLE_NET, PLAIN), (SEPARABLE_NET, NARROW), (WIDE, PLAIN), (NARROW, PLAIN))
"""Which nets are compared, and with which: the first less the second."""

FRESH = 0.1
_SHAPE = ["in_channels", "out_channels", "map_px", "batch", "layout", "threads"]


def _ratio(logarithms: pd.Series) -> dict[str, float]:
    """The geometric mean of ratios whose logarithms these are, with its interval."""
    found = np.exp(mean_interval(logarithms))
    return dict(zip(("time_ratio", "low", "high"), map(float, found), strict=True))


# --- the block on the clock ------------------------------------------------------------------


def block_times(separable_times: pd.DataFrame) -> pd.DataFrame:
    """Every block with the median of its repetitions.

    One row for each in_channels, out_channels, map_px, batch, layout, threads and block. Columns:
    these; macs and bytes (of a call), repetitions, seconds (of a call, median), intensity (FLOPs
    per byte), flops_per_s, bytes_per_s, fresh_share (of the bytes: what the system handed out anew
    in a call; missing where it does not say), stable.
    """
    rows = separable_times.assign(each_s=separable_times["seconds"] / separable_times["calls"])
    groups = rows.groupby([*_SHAPE, "block"], sort=False)
    table = groups[["macs", "bytes"]].first()
    table = table.assign(
        repetitions=groups.size(),
        seconds=groups["each_s"].median(),
        fresh_share=groups["fresh_bytes"].first().astype(float) / table["bytes"],
        stable=groups["stable"].all(),
    )
    flops = FLOPS_PER_MAC * table["macs"]
    table = table.assign(
        intensity=flops / table["bytes"],
        flops_per_s=flops / table["seconds"],
        bytes_per_s=table["bytes"] / table["seconds"],
    )
    return table.reset_index()


def block_ratios(separable_times: pd.DataFrame) -> pd.DataFrame:
    """What the separable block promises in operations, and what it gives in time.

    One row for each in_channels, out_channels, map_px, batch, layout and threads at which both
    blocks were timed. Columns: these; macs_ratio (9 d / (9 + d) for d output channels and 3 x 3
    kernels) and bytes_ratio, plain over separable, exact; repetitions; time_ratio, the geometric
    mean over the repetitions of plain over separable seconds in the same one, with its interval
    low to high; kept, time_ratio over macs_ratio: the part of the promise that the clock gives;
    depthwise_macs_share and depthwise_time_share: of both halves, timed by themselves, the latter
    by medians (missing where the halves were not timed); stable.
    """
    medians = dict(list(block_times(separable_times).groupby(_SHAPE, sort=False)))
    rows = separable_times.assign(each_s=separable_times["seconds"] / separable_times["calls"])
    wide = rows.pivot(index=[*_SHAPE, "repetition"], columns="block", values="each_s")
    wide = wide.reindex(columns=list(BLOCKS))
    found = []
    turns_of = dict(list(wide.groupby(level=_SHAPE)))
    for shape in medians:  # in the order of the table
        turns = turns_of[shape]
        logarithms = np.log(turns[REGULAR] / turns[SEPARABLE]).dropna()
        if logarithms.empty:
            continue
        mine = medians[shape].set_index("block").reindex(list(BLOCKS))
        halves = mine.loc[[DEPTHWISE, POINTWISE], ["macs", "seconds"]].astype(float)
        shares = halves.loc[DEPTHWISE] / halves.sum(skipna=False)
        promised = mine.loc[REGULAR, ["macs", "bytes"]] / mine.loc[SEPARABLE, ["macs", "bytes"]]
        ratio = _ratio(logarithms)
        found.append(
            dict(zip(_SHAPE, shape, strict=True))
            | {"macs_ratio": promised["macs"], "bytes_ratio": promised["bytes"],
               "repetitions": len(logarithms), **ratio,
               "kept": ratio["time_ratio"] / promised["macs"],
               "depthwise_macs_share": shares["macs"], "depthwise_time_share": shares["seconds"],
               "stable": bool(mine["stable"].dropna().all())}
        )  # fmt: skip
    columns = ["macs_ratio", "bytes_ratio", "repetitions", "time_ratio", "low", "high", "kept"]
    columns += ["depthwise_macs_share", "depthwise_time_share", "stable"]
    return pd.DataFrame(found, columns=[*_SHAPE, *columns]).astype(
        {"macs_ratio": float, "bytes_ratio": float}
    )


def block_peaks(separable_peaks: pd.DataFrame) -> pd.DataFrame:
    """What this machine reached beside the blocks, by threads, in float32.

    One row for each number of threads. Columns: threads; peak_flops_per_s, of the fastest product
    or convolution; memory_bytes_per_s, of the largest copy, which no cache holds;
    cache_bytes_per_s, of the fastest copy; ridge, the FLOPs per byte at which the peak and the
    largest copy take as long as each other. Rates are those of the median repetition. Raises
    BadInputError where there is no copy, or nothing with operations.
    """
    rows = separable_peaks.assign(
        flops_per_s=separable_peaks["flops"] / separable_peaks["seconds"],
        bytes_per_s=separable_peaks["bytes"] / separable_peaks["seconds"],
    )
    rates = rows.groupby(["threads", "what", "size"])[["flops_per_s", "bytes_per_s"]].median()
    found = []
    for threads, mine in rates.groupby(level="threads"):
        copied = mine.index.get_level_values("what") == "copy"
        if copied.all() or not copied.any():
            raise BadInputError("peaks: a copy is needed, and a matrix product or a convolution")
        copies = mine[copied]["bytes_per_s"].droplevel(["threads", "what"])
        peak, memory = mine[~copied]["flops_per_s"].max(), copies[copies.index.max()]
        found.append(
            {"threads": threads, "peak_flops_per_s": peak, "memory_bytes_per_s": memory,
             "cache_bytes_per_s": copies.max(), "ridge": peak / memory}
        )  # fmt: skip
    columns = ["threads", "peak_flops_per_s", "memory_bytes_per_s", "cache_bytes_per_s", "ridge"]
    return pd.DataFrame(found, columns=columns)


def block_roofline(separable_times: pd.DataFrame, separable_peaks: pd.DataFrame) -> pd.DataFrame:
    """Every block under the roofs of what this machine reached.

    The rows and columns of `block_times`, where peaks of so many threads were measured, with those
    of `block_peaks` and: bound, "memory" where the intensity is below the ridge, else "compute";
    peak_share, flops_per_s over the peak; memory_share, bytes_per_s over the largest copy's. Above
    1 an algorithm needs fewer multiplications than are counted, or a cache holds what was counted
    as read from memory.
    """
    table = block_times(separable_times).merge(block_peaks(separable_peaks), on="threads")
    return table.assign(
        bound=np.where(table["intensity"] < table["ridge"], "memory", "compute"),
        peak_share=table["flops_per_s"] / table["peak_flops_per_s"],
        memory_share=table["bytes_per_s"] / table["memory_bytes_per_s"],
    )


def undisturbed(table: pd.DataFrame) -> pd.DataFrame:
    """Of `block_times` or `block_roofline` the largest batch that says what the memory can do.

    That is the largest at which, in no block, the system hands out more than `FRESH` of the bytes
    anew: it empties that memory first, which no bandwidth tells of. Where it does not say, nothing
    is known against a batch. No rows where none is left.
    """
    fresh = table.assign(fresh=table["fresh_share"].fillna(0.0) > FRESH)
    good = fresh.groupby("batch")["fresh"].any()
    good = good.index[~good]
    return table[table["batch"] == good.max()] if len(good) else table.iloc[:0]


def of_example(table: pd.DataFrame, example: tuple[int, int, int]) -> pd.DataFrame:
    """The rows of one shape: (input channels, output channels, side of the map)."""
    for column, value in zip(("in_channels", "out_channels", "map_px"), example, strict=True):
        table = table[table[column] == value]
    return table


# --- nets ------------------------------------------------------------------------------------


def _in_order(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    order = table["net"].map({net: place for place, net in enumerate(NETS)})
    table = table.assign(order=order).sort_values(["order", *by], kind="stable")
    return table.drop(columns="order").reset_index(drop=True)


def accuracies(separable_trainings: pd.DataFrame) -> pd.DataFrame:
    """Every net of every seed after its last epoch.

    Columns: net, seed, epochs, status, params, macs (of an image), train_images, test_images,
    accuracy (share of the test images named rightly). A net that diverged has its last accuracy.
    Those of fewer epochs come first.
    """
    last = separable_trainings.groupby(_TRAINING)["epoch"].transform("max")
    rows = separable_trainings[separable_trainings["epoch"] == last]
    rows = rows.assign(accuracy=rows["test_correct"] / rows["test_images"])
    columns = ["net", "seed", "epochs", "status", "params", "macs", "train_images", "test_images"]
    rows = _in_order(rows[[*columns, "accuracy"]], ["seed"])
    return rows.sort_values("epochs", kind="stable").reset_index(drop=True)


def shortest(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the fewest epochs: all nets were trained for so many, and few for more."""
    return table[table["epochs"] == table["epochs"].min()]


def paired_accuracies(separable_trainings: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of one net less that of another, seed by seed, both trained alike.

    One row for each number of epochs, the fewest first, and each of `PAIRS` that share a seed.
    Columns: epochs, net, against; seeds (pairs); mean_points, low_points, high_points: the mean
    difference in percentage points, below 0 where `net` is worse, and its interval; wins, losses
    (pairs); macs_ratio, params_ratio: of `against` over those of `net`; train_images, test_images.
    """
    rows = []
    for epochs, table in accuracies(separable_trainings).groupby("epochs"):
        wide = table.pivot(index="seed", columns="net", values="accuracy")
        facts = table.groupby("net")[["params", "macs"]].first()
        for net, against in PAIRS:
            if not {net, against} <= set(wide.columns):
                continue
            points = 100 * (wide[net] - wide[against]).dropna()
            if points.empty:
                continue
            mean, low, high = mean_interval(points)
            fewer = facts.loc[against] / facts.loc[net]
            rows.append(
                {"epochs": epochs, "net": net, "against": against, "seeds": len(points),
                 "mean_points": mean, "low_points": low, "high_points": high,
                 "wins": int((points > 0).sum()), "losses": int((points < 0).sum()),
                 "macs_ratio": fewer["macs"], "params_ratio": fewer["params"]}
                | {name: int(table[name].iloc[0]) for name in _IMAGES}
            )  # fmt: skip
    columns = ["epochs", "net", "against", "seeds", "mean_points", "low_points", "high_points"]
    columns += ["wins", "losses", "macs_ratio", "params_ratio"]
    return pd.DataFrame(rows, columns=[*columns, *_IMAGES])


_TRAINING = ["net", "seed", "epochs"]
_IMAGES = ["train_images", "test_images"]


def net_speed_ups(separable_net_times: pd.DataFrame) -> pd.DataFrame:
    """How much faster each net is than the plain one, in turns with it.

    One row for each what, batch, threads and net. Columns: these; macs_ratio and params_ratio,
    the plain net's over this one's; repetitions; image_s, median seconds of an image; time_ratio,
    the geometric mean over the repetitions of plain over this net's seconds in the same one, with
    its interval low to high; stable. Of the plain net itself the ratios are 1. Raises
    BadInputError where the plain net was not timed.
    """
    if PLAIN not in set(separable_net_times["net"]):
        raise BadInputError(f"{PLAIN} was not timed, and the others are compared with it")
    each = separable_net_times["seconds"] / separable_net_times["calls"]
    timed = separable_net_times.assign(each_s=each / separable_net_times["batch"])
    keys = ["what", "batch", "threads"]
    rows = []
    for case, mine in timed.groupby(keys, sort=False):
        wide = mine.pivot(index="repetition", columns="net", values="each_s")
        facts = mine.groupby("net")[["params", "macs"]].first()
        for net in wide:
            fewer = facts.loc[PLAIN] / facts.loc[net]
            rows.append(
                dict(zip(keys, case, strict=True))
                | {"net": net, "macs_ratio": fewer["macs"], "params_ratio": fewer["params"],
                   "repetitions": int(wide[net].count()), "image_s": float(wide[net].median()),
                   **_ratio(np.log(wide[PLAIN] / wide[net]).dropna()),
                   "stable": bool(mine["stable"].all())}
            )  # fmt: skip
    return _in_order(pd.DataFrame(rows), keys)


def net_comparison(
    separable_trainings: pd.DataFrame, separable_net_times: pd.DataFrame
) -> pd.DataFrame:
    """A row a net: what it costs, how accurate it is, how much faster it is than the plain one.

    Of the trainings of the fewest epochs. Columns: net; params and macs (of an image); seeds;
    accuracy (mean of the seeds), lowest and highest; points and their interval low_points to
    high_points: accuracy less that of the plain net with the same seed (missing for the plain net);
    and for each what and batch that was timed a column such as "inference, batch 1": how many times
    as fast as the plain net.
    """
    groups = shortest(accuracies(separable_trainings)).groupby("net")
    rows = groups[["params", "macs"]].first().assign(
        seeds=groups.size(),
        accuracy=groups["accuracy"].mean(),
        lowest=groups["accuracy"].min(),
        highest=groups["accuracy"].max(),
    )  # fmt: skip
    pairs = shortest(paired_accuracies(separable_trainings)).query("against == @PLAIN")
    pairs = pairs.set_index("net")
    pairs = pairs.rename(columns={"mean_points": "points"})
    rows = rows.join(pairs[["points", "low_points", "high_points"]])
    timed = net_speed_ups(separable_net_times)
    words = timed["what"].str.replace("_", " ") + ", batch " + timed["batch"].astype(str)
    wide = timed.assign(case=words).pivot(index="net", columns="case", values="time_ratio")
    return _in_order(rows.join(wide[list(dict.fromkeys(words))]).reset_index(), [])
