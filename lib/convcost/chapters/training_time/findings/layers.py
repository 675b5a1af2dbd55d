"""Where the time of a training step goes, and how near each layer comes to the machine's peaks."""

import numpy as np
import pandas as pd

from convcost.chapters.training_time.findings import paper, per_epoch
from convcost.core.units import FLOPS_PER_MAC

NET = "(net)"
STEP = "(step)"
PARTS = ("pipeline", "at_peak", "below_peak", "no_flops", "optimiser", "rest")
"""The parts of a step in `why`, from the bottom of a stack to its top."""

WITH_FLOPS = ("conv", "linear")
WITHOUT_FLOPS = ("norm", "activation", "pool", "concat", "elementwise")
HALF_LOOPS = ("bf16", "compiled")
"""Loops whose arithmetic is done in bfloat16."""

_CASE = ["net", "input_px", "batch", "threads"]


def peaks(machine_peaks: pd.DataFrame) -> pd.DataFrame:
    """What this machine reached: matrix products, convolutions, and copies from memory.

    One row for each what, dtype and threads. Columns: what ("matrix product", "convolution" or
    "copy"), dtype, threads, size, repetitions, flops_per_s (of the fastest size; missing for a
    copy), bytes_per_s (of a copy's largest size, which no cache holds; missing for the others). A
    rate is that of the median repetition.
    """
    rows = []
    for (what, dtype, threads), group in machine_peaks.groupby(["what", "dtype", "threads"]):
        copy = what == "copy"
        unit = "bytes" if copy else "flops"
        by_size = (group[unit] / group["seconds"]).groupby(group["size"]).median()
        size = by_size.index.max() if copy else by_size.idxmax()
        rows.append(
            {
                "what": what,
                "dtype": dtype,
                "threads": threads,
                "size": size,
                "repetitions": int((group["size"] == size).sum()),
                "flops_per_s": np.nan if copy else by_size[size],
                "bytes_per_s": by_size[size] if copy else np.nan,
            }
        )
    columns = ["what", "dtype", "threads", "size", "repetitions", "flops_per_s", "bytes_per_s"]
    return pd.DataFrame(rows, columns=columns)


def _rates(machine_peaks: pd.DataFrame) -> pd.DataFrame:
    """dtype, threads, peak_flops_per_s: the fastest of products and convolutions."""
    table = peaks(machine_peaks).query("what != 'copy'")
    best = table.groupby(["dtype", "threads"])["flops_per_s"].max()
    return best.rename("peak_flops_per_s").reset_index()


def _bandwidths(machine_peaks: pd.DataFrame) -> pd.DataFrame:
    """threads, peak_bytes_per_s: a copy's bandwidth, the best of its types."""
    copies = peaks(machine_peaks).query("what == 'copy'").groupby("threads")["bytes_per_s"].max()
    return copies.rename("peak_bytes_per_s").reset_index()


def why(
    operator_times: pd.DataFrame,
    training_steps: pd.DataFrame,
    machine_peaks: pd.DataFrame,
    net_costs: pd.DataFrame,
) -> pd.DataFrame:
    """What the seconds of a training step are spent on, per image, net by net.

    One row for each net, loop, input_px, batch and threads that was profiled and also timed step
    by step (under one condition for all nets, see `of_one_condition`; its batch may be another).
    Columns: net, loop, input_px, batch (profiled), threads, in_channels, timed_batch; whole_s, the
    seconds per image of a step as timed, and what they sum to:

    * pipeline_s: until the batch was there, as timed;
    * at_peak_s: FLOPs of convolutions and linear layers, forward and backward, at the rate of
      this machine's fastest product or convolution of that type and threads (never more than these
      layers took: an algorithm may need fewer multiplications than the count says);
    * below_peak_s: what convolutions and linear layers took beyond that;
    * no_flops_s: normalisation, activation, pooling, concatenation, elementwise operators;
    * optimiser_s; rest_s: all other operators, and the time in no operator at all (launching,
      Python).

    The last five are the timed step without its pipeline, divided as the profiled step was (medians
    of its repetitions; what its operators leave of the step is in none of them). On a GPU the
    operators are timed on the device and the step by the wall clock, so the time in no operator is
    that in which the device stood idle, waiting for Python to launch the next one. Also idle_share,
    the share of the profiled step in no operator at all (a part of rest_s), flops (training, one
    image), dtype, peak_flops_per_s, flops_per_s (flops over whole_s) and utilisation (over the
    peak).
    """
    keys = ["net", "loop", "input_px", "batch", "threads"]
    by_group = operator_times.groupby([*keys, "repetition", "group"])["seconds"].sum()
    seconds = by_group.unstack("group", fill_value=0.0).groupby(level=keys).median()
    groups = seconds.drop(columns=STEP, errors="ignore")
    # a profiler adds to each operator: together they may exceed the step that ran without it
    whole = np.maximum(seconds.get(STEP, np.nan), groups.sum(axis=1))
    shares = groups.div(whole, axis=0)
    shares["idle_share"] = (1 - shares.sum(axis=1)).clip(lower=0)
    timed = per_epoch.epochs(training_steps)
    chosen = [
        per_epoch.of_one_condition(timed, loop, px)
        for loop, px in shares.index.droplevel(["net", "batch", "threads"]).unique()
    ]
    columns = ["net", "loop", "input_px", "threads", "in_channels", "batch"]
    steps = pd.concat(chosen or [timed])[[*columns, "train_image_s", "pipeline_image_s"]]
    table = shares.reset_index().merge(
        steps.rename(columns={"batch": "timed_batch"}), on=["net", "loop", "input_px", "threads"]
    )
    counted = per_epoch.costs(net_costs, 1, 0).rename(columns={"flops": "forward_flops"})
    counted = counted.rename(columns={"epoch_flops": "flops"})
    table = table.merge(
        counted[["net", "input_px", "in_channels", "flops"]],
        on=["net", "input_px", "in_channels"],
    )
    half = table["loop"].isin(HALF_LOOPS)
    table["dtype"] = np.where(half, "bfloat16", "float32")
    table = table.merge(_rates(machine_peaks), on=["dtype", "threads"])

    def share(groups: tuple[str, ...]) -> pd.Series:
        return table.reindex(columns=list(groups)).fillna(0.0).sum(axis=1)

    arithmetic = table["train_image_s"] - table["pipeline_image_s"]
    products = arithmetic * share(WITH_FLOPS)
    at_peak = np.minimum(table["flops"] / table["peak_flops_per_s"], products)
    table = table.assign(
        whole_s=table["train_image_s"],
        pipeline_s=table["pipeline_image_s"],
        at_peak_s=at_peak,
        below_peak_s=products - at_peak,
        no_flops_s=arithmetic * share(WITHOUT_FLOPS),
        optimiser_s=arithmetic * share(("optimiser",)),
        rest_s=arithmetic * (1 - share((*WITH_FLOPS, *WITHOUT_FLOPS, "optimiser"))),
        flops_per_s=table["flops"] / table["train_image_s"],
    )
    table["utilisation"] = table["flops_per_s"] / table["peak_flops_per_s"]
    order = table["net"].map({net: place for place, net in enumerate(paper.NETS)})
    table = table.assign(order=order).sort_values(["loop", "input_px", "order"], kind="stable")
    columns = [*keys, "in_channels", "timed_batch", "whole_s", *(f"{part}_s" for part in PARTS)]
    columns += ["idle_share", "flops", "dtype", "peak_flops_per_s", "flops_per_s", "utilisation"]
    return table[columns].reset_index(drop=True)


def layer_medians(layer_costs: pd.DataFrame) -> pd.DataFrame:
    """Layers with the median of their repetitions: `layer_costs` with seconds the median.

    Columns: net, input_px, batch, threads, layer, position, op, macs, bytes, images, repetitions,
    seconds. (net) is left out.
    """
    layers = layer_costs[layer_costs["layer"] != NET]
    groups = layers.groupby([*_CASE, "layer"], sort=False)
    table = groups[["position", "op", "macs", "bytes", "images"]].first()
    table = table.assign(repetitions=groups.size(), seconds=groups["seconds"].median())
    return table.reset_index()


def roofline(layer_costs: pd.DataFrame, machine_peaks: pd.DataFrame) -> pd.DataFrame:
    """Every layer under the roof of what this machine reached, float32, at its own threads.

    One row for each net, input_px, batch, threads and layer, where the peaks of so many threads
    were measured. Columns: these; position, op, macs, bytes, images, repetitions, seconds (of the
    median repetition), flops, intensity (FLOPs per byte), flops_per_s, bytes_per_s (achieved),
    peak_flops_per_s, peak_bytes_per_s, roof_flops_per_s (the lower of the peak and intensity times
    bandwidth), bound ("compute" or "memory"), roof_s (the least seconds under both peaks) and
    roof_share (roof_s over seconds: 1 is on the roof; above 1 where a cache holds what was counted
    as read from memory, or an algorithm needs fewer multiplications than are counted).
    """
    table = layer_medians(layer_costs)
    rates = _rates(machine_peaks).query("dtype == 'float32'").drop(columns="dtype")
    table = table.merge(rates, on="threads").merge(_bandwidths(machine_peaks), on="threads")
    flops = FLOPS_PER_MAC * table["macs"]
    computing = flops / table["peak_flops_per_s"]
    moving = table["bytes"] / table["peak_bytes_per_s"]
    intensity = flops / table["bytes"].where(table["bytes"] > 0)
    return table.assign(
        flops=flops,
        intensity=intensity,
        flops_per_s=flops / table["seconds"],
        bytes_per_s=table["bytes"] / table["seconds"],
        roof_flops_per_s=np.minimum(
            table["peak_flops_per_s"], intensity * table["peak_bytes_per_s"]
        ),
        bound=np.where(computing >= moving, "compute", "memory"),
        roof_s=np.maximum(computing, moving),
        roof_share=np.maximum(computing, moving) / table["seconds"],
    )


def by_operator(layer_costs: pd.DataFrame) -> pd.DataFrame:
    """What each type of operator achieves, and its share of the time, net by net, in inference.

    One row for each net, input_px, batch, threads and op, the slowest op first. Columns: these;
    layers, macs, bytes, seconds (sums of the layers; seconds of medians), share (of the net's
    layers), flops_share (of the net's FLOPs), flops_per_s, bytes_per_s (achieved).
    """
    table = layer_medians(layer_costs)
    groups = table.groupby([*_CASE, "op"], sort=False)
    sums = groups[["macs", "bytes", "seconds"]].sum().assign(layers=groups.size())
    whole = sums.groupby(level=_CASE)
    sums["share"] = sums["seconds"] / whole["seconds"].transform("sum")
    sums["flops_share"] = sums["macs"] / whole["macs"].transform("sum")
    sums["flops_per_s"] = FLOPS_PER_MAC * sums["macs"] / sums["seconds"]
    sums["bytes_per_s"] = sums["bytes"] / sums["seconds"]
    sums = sums.reset_index()
    order = sums.groupby(_CASE, sort=False).ngroup()
    sums = sums.assign(order=order).sort_values(["order", "seconds"], ascending=[True, False])
    columns = ["layers", "macs", "bytes", "seconds", "share", "flops_share", "flops_per_s"]
    return sums[[*_CASE, "op", *columns, "bytes_per_s"]].reset_index(drop=True)


def no_flop_share(layer_costs: pd.DataFrame) -> pd.DataFrame:
    """The share of an inference spent in layers without a multiply-add, net by net.

    One row for each net, input_px, batch and threads. Columns: these; layers, layers_without,
    seconds (sum of the layers' medians), seconds_without, share (of the seconds).
    """
    table = layer_medians(layer_costs)
    without = table["macs"] == 0
    table = table.assign(without=without, seconds_without=table["seconds"].where(without, 0.0))
    groups = table.groupby(_CASE, sort=False)
    result = groups.agg(
        layers=("layer", "size"),
        layers_without=("without", "sum"),
        seconds=("seconds", "sum"),
        seconds_without=("seconds_without", "sum"),
    )
    return result.assign(share=result["seconds_without"] / result["seconds"]).reset_index()
