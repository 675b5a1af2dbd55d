"""Time per layer, against Table I and against the multiplications."""

import pandas as pd
from scipy import stats

from convcost.chapters.relu_zero_rates.findings import paper
from convcost.sources import equations

LENET = "lenet_atsumi"
READINGS = ("equation", "printed", "exact", "sparse-1998")

C3_CONNECTIONS = 6 * 3 + 9 * 4 + 1 * 6
"""Of LeNet-5 as of 1998: six maps of C3 read three maps of S2, nine read four, one reads six."""


def multiplications() -> pd.DataFrame:
    """LeNet's multiplications per image and layer, in every reading.

    Columns: layer, reading, multiplications (exact integers). Readings: "equation", the paper's
    equations (1) and (2); "printed", the same with the three numbers that the paper prints, two of
    them exchanged; "exact", conv2's six input maps counted; "sparse-1998", with the 60 of 96
    connections that conv2 had in 1998. Shapes are those of the paper.

    >>> table = multiplications().pivot(index="layer", columns="reading", values="multiplications")
    >>> bool(table.loc["conv2", "exact"] == 8 * 8 * 5 * 5 * 6 * 16)
    True
    """
    kernel, filters = paper.value("kernel_px"), paper.value("conv2_filters")
    sides = {layer: paper.value(f"{layer}_output_px") for layer in ("conv1", "conv2")}
    widths = [paper.value("fc120_inputs")]
    widths += [paper.value(f"{layer}_connections") for layer in paper.WEIGHTED[2:]]
    equation = {
        layer: equations.atsumi_convolution(side, side, kernel, paper.value(f"{layer}_filters"))
        for layer, side in sides.items()
    } | {
        layer: equations.atsumi_fully_connected(widths[i], widths[i + 1])
        for i, layer in enumerate(paper.WEIGHTED[2:])
    }
    printed = {layer: paper.value(f"{layer}_multiplications") for layer in paper.NAMED}
    side, maps = sides["conv2"], paper.value("conv1_filters")
    conv2 = equations.cheng_convolution(kernel, maps, filters, side, side)
    by_reading = {
        "equation": equation,
        "printed": equation | printed,
        "exact": equation | {"conv2": conv2},
        "sparse-1998": equation | {"conv2": kernel * kernel * side * side * C3_CONNECTIONS},
    }
    return pd.DataFrame(
        [
            {"layer": layer, "reading": reading, "multiplications": counts[layer]}
            for reading, counts in by_reading.items()
            for layer in paper.WEIGHTED
        ]
    )


def _ranks(seconds: pd.Series) -> pd.Series:
    """1 for the largest."""
    return seconds.rank(ascending=False, method="min").astype(int)


def table_one(layer_times: pd.DataFrame) -> pd.DataFrame:
    """Table I beside our times of the same seven layers of LeNet.

    One row for each batch, threads and layer. Columns: batch, threads, layer, published_s,
    median_s, p25_s, p75_s (seconds per image), ratio (ours over the paper's), published_share,
    share (of the seven layers), published_rank, rank (1 the slowest of the seven).
    """
    published = paper.table_i()
    ours = layer_times[layer_times["net"] == LENET]
    ours = ours[ours["layer"].isin(published.index)]
    image_s = (ours["seconds"] / ours["images"]).groupby(
        [ours[name] for name in ("batch", "threads", "position", "layer")]
    )
    rows = image_s.quantile([0.25, 0.5, 0.75]).unstack().reset_index()
    rows = rows.rename(columns={0.25: "p25_s", 0.5: "median_s", 0.75: "p75_s"})
    groups = rows.groupby(["batch", "threads"])["median_s"]
    rows = rows.assign(
        published_s=rows["layer"].map(published),
        published_share=rows["layer"].map(published / published.sum()),
        published_rank=rows["layer"].map(_ranks(published)),
        share=rows["median_s"] / groups.transform("sum"),
        rank=groups.transform(_ranks),
    )
    columns = ["batch", "threads", "layer", "published_s", "median_s", "p25_s", "p75_s", "ratio"]
    columns += ["published_share", "share", "published_rank", "rank"]
    return rows.assign(ratio=rows["median_s"] / rows["published_s"])[columns].reset_index(drop=True)


def explained_by(layer_times: pd.DataFrame) -> pd.DataFrame:
    """Which count of the multiplications explains the layers' times: ours, and Table I's.

    One row for each set of times (Table I, and each batch and threads of our LeNet), reading of
    the multiplications (see `multiplications`) and set of layers (the five with weights, and the
    three whose order the paper gives). Columns: times, batch, threads (missing for Table I),
    reading, layers (5 or 3), spearman, kendall (rank correlations of time and count), same_order
    (both rank the layers alike), r2, base_s, second_per_multiplication: least squares of time =
    base_s + count * second_per_multiplication with no negative slope, and its share of the
    variance explained.
    """
    sets = [("Table I", pd.NA, pd.NA, paper.table_i())]
    for (batch, threads), group in table_one(layer_times).groupby(["batch", "threads"]):
        times = group.set_index("layer")["median_s"]
        sets.append((f"ours, batch {batch}, threads {threads}", batch, threads, times))
    counts = multiplications().pivot(index="layer", columns="reading", values="multiplications")
    rows = []
    for name, batch, threads, times in sets:
        for layers in (paper.WEIGHTED, paper.NAMED):
            time = times[list(layers)]
            for reading in READINGS:
                count = counts.loc[list(layers), reading].astype(float)
                line = stats.linregress(count, time)
                rising = line.slope > 0  # else the best line with no negative slope is level
                rows.append(
                    {
                        "times": name,
                        "batch": batch,
                        "threads": threads,
                        "reading": reading,
                        "layers": len(layers),
                        "spearman": float(stats.spearmanr(time, count).statistic),
                        "kendall": float(stats.kendalltau(time, count).statistic),
                        "same_order": bool((time.rank() == count.rank()).all()),
                        "r2": line.rvalue**2 if rising else 0.0,
                        "base_s": line.intercept if rising else time.mean(),
                        "second_per_multiplication": line.slope if rising else 0.0,
                    }
                )
    return pd.DataFrame(rows).astype({"batch": "Int64", "threads": "Int64"})


def cold_start(cold_layer_times: pd.DataFrame, images: int | None = None) -> pd.DataFrame:
    """What an average over few images looks like when the first call is in it, beside Table I.

    One row for each of LeNet's layers of Table I, in forward order. Columns: layer, processes,
    first_s, later_s (medians over the processes), average_s = (first_s + (images - 1) * later_s) /
    images, rank (of average_s, 1 the slowest), published_s, published_rank, one_time_s: for the
    two slowest layers of Table I, what they would need once, beyond the median of the other five,
    for their average to come out as printed: images * (published - that median); else missing.

    `images` None takes the number that Table I averages. At batch 1 an image is a call.
    """
    images = images or paper.value("timing_images")
    rows = cold_layer_times[cold_layer_times["net"] == LENET]
    groups = rows.groupby("layer")
    table = groups[["first_s", "later_s"]].median().assign(processes=groups.size())
    published = paper.table_i()
    table = table.loc[list(published.index), ["processes", "first_s", "later_s"]]
    table["average_s"] = (table["first_s"] + (images - 1) * table["later_s"]) / images
    table["rank"] = _ranks(table["average_s"])
    table["published_s"] = published
    table["published_rank"] = _ranks(published)
    slow = published.nlargest(2)
    table["one_time_s"] = images * (slow - published.drop(slow.index).median())
    return table.reset_index()
