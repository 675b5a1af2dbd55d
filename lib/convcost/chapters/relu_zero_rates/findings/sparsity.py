"""Zeros of larger nets, and what skipping them brings: ideal against real."""

import numpy as np
import pandas as pd

DENSE = "dense"
NET = "(net)"
CHOSEN = "(net, the faster way in each layer)"


def zero_ranges(net_zero_rates: pd.DataFrame, skippable_macs: pd.DataFrame) -> pd.DataFrame:
    """The zero rates of each net's ReLUs, and the multiplications that they make skippable.

    One row for each net and seed. Columns: net, seed, relus, lowest, highest (zero rate of one
    ReLU), mean (over all elements of all ReLUs), skippable_share (multiply-adds with an input
    element that is zero), padding_share (with a zero of the padding), ideal_speed_up = 1 / (1 -
    skippable_share): were a skipped multiplication free, and were there nothing else to do. The
    last three are missing for a net without rows in `skippable_macs`.
    """
    keys = ["net", "seed"]
    rates = net_zero_rates.assign(rate=net_zero_rates["zeros"] / net_zero_rates["total"])
    groups = rates.groupby(keys, sort=False)
    table = groups.agg(
        relus=("rate", "size"),
        lowest=("rate", "min"),
        highest=("rate", "max"),
        zeros=("zeros", "sum"),
        total=("total", "sum"),
    )
    table["mean"] = table.pop("zeros") / table.pop("total")
    sums = skippable_macs.groupby(keys)[["macs", "zero_input_macs", "padding_macs"]].sum()
    for kind, column in (("skippable", "zero_input_macs"), ("padding", "padding_macs")):
        table[f"{kind}_share"] = sums[column] / sums["macs"]
    table["ideal_speed_up"] = 1 / (1 - table["skippable_share"])
    return table.reset_index()


def break_even(sparse_sweep: pd.DataFrame) -> pd.DataFrame:
    """From which zero rate on a sparse method is faster than the dense product.

    One row for each case, threads and method. Columns: case, threads, method, break_even (zero
    rate, missing where the method is slower even at the highest one that was tried; the lowest one
    tried where it is never slower), speed_up_50, speed_up_90 (dense time over the method's at zero
    rates 0.5 and 0.9, missing outside the rates tried).

    Convention: medians over the repetitions; between two rates the logarithm of the speed-up is
    taken as a line; of several crossings the last counts, so that it stays faster from there on.
    """
    times = sparse_sweep.assign(call_s=sparse_sweep["seconds"] / sparse_sweep["calls"])
    medians = times.groupby(["case", "threads", "method", "zero_rate"], sort=False)["call_s"]
    medians = medians.median()
    rows = []
    for (case, threads), group in medians.groupby(level=["case", "threads"], sort=False):
        by_method = group.unstack("method").droplevel(["case", "threads"]).sort_index()
        for method in (m for m in by_method if m != DENSE):
            speed_up = (by_method[DENSE] / by_method[method]).dropna()
            rates, log = speed_up.index.to_numpy(), np.log(speed_up.to_numpy())
            at = np.exp(np.interp((0.5, 0.9), rates, log, left=np.nan, right=np.nan))
            rows.append(
                {
                    "case": case,
                    "threads": threads,
                    "method": method,
                    "break_even": _last_crossing(rates, log),
                    "speed_up_50": at[0],
                    "speed_up_90": at[1],
                }
            )
    return pd.DataFrame(rows)


def _last_crossing(x: np.ndarray, y: np.ndarray) -> float:
    """Where y, a line from point to point, comes up through 0 for the last time."""
    below = np.flatnonzero(y < 0)
    if not len(below):
        return float(x[0])
    i = below[-1]
    if i == len(x) - 1:
        return np.nan
    return float(x[i] - y[i] * (x[i + 1] - x[i]) / (y[i + 1] - y[i]))


def sparse_speed_ups(sparse_layers: pd.DataFrame) -> pd.DataFrame:
    """What skipping zeros brings in real layers: the ideal beside the fastest sparse method.

    One row for each net, batch, threads and layer. Columns: net, batch, threads, position, layer,
    zero_input_share, ideal (1 / (1 - zero_input_share)), method (the fastest sparse one), dense_s
    (of the fastest dense method: those whose name begins with dense), sparse_s (medians of one
    call), speed_up (dense over sparse; below 1 it is slower).

    A layer that no sparse method can do has neither method nor sparse_s.

    Two more rows a net, from sums over its layers: "(net)", each layer by its fastest sparse
    method, dense where there is none, and "(net, the faster way in each layer)", where a layer also
    stays dense if that is faster.
    Their zero_input_share weighs each layer by its dense time, so that `ideal` is the dense sum
    over what would be left of it.
    """
    times = sparse_layers.assign(call_s=sparse_layers["seconds"] / sparse_layers["calls"])
    conditions = ["net", "batch", "threads"]
    keys = [*conditions, "position", "layer"]
    groups = times.groupby([*keys, "method"], sort=False)
    medians = groups["call_s"].median().unstack("method")
    dense = [method for method in medians if method.startswith(DENSE)]
    sparse = medians.drop(columns=dense)
    sparse = sparse[sparse.notna().any(axis=1)]
    table = pd.DataFrame(
        {
            "zero_input_share": times.groupby(keys)["zero_input_share"].first(),
            "method": sparse.idxmin(axis=1),
            "dense_s": medians[dense].min(axis=1),
            "sparse_s": sparse.min(axis=1),
        }
    )
    table = table.reset_index()
    frames = []
    for names, layers in table.groupby(conditions, sort=False):
        dense = layers["dense_s"].sum()
        left = ((1 - layers["zero_input_share"]) * layers["dense_s"]).sum()
        faster = layers[["dense_s", "sparse_s"]].min(axis=1)
        sparse_only = layers["sparse_s"].fillna(layers["dense_s"]).sum()
        whole = dict(zip(conditions, names, strict=True)) | {
            "position": layers["position"].max() + 1,
            "zero_input_share": 1 - left / dense,
            "dense_s": dense,
        }
        nets = [
            whole | {"layer": NET, "method": "fastest sparse", "sparse_s": sparse_only},
            whole | {"layer": CHOSEN, "method": "fastest of all", "sparse_s": faster.sum()},
        ]
        frames += [layers.sort_values("position"), pd.DataFrame(nets)]
    table = pd.concat(frames, ignore_index=True)
    with np.errstate(divide="ignore"):  # a layer of zeros alone could be left out: infinite
        ideal = 1 / (1 - table["zero_input_share"].to_numpy())
    return table.assign(ideal=ideal, speed_up=table["dense_s"] / table["sparse_s"])[
        [*keys, "zero_input_share", "ideal", "method", "dense_s", "sparse_s", "speed_up"]
    ]
