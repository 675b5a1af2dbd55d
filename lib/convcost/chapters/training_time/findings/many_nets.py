"""Time against FLOPs over many nets, batch size by batch size; what predicts time better."""

import numpy as np
import pandas as pd

from convcost.chapters.training_time.findings import layers
from convcost.chapters.training_time.findings.correlation import relation
from convcost.core.units import FLOPS_PER_MAC

ALL = "all"
_CASE = ["what", "input_px", "batch", "threads"]


def usable(batch_times: pd.DataFrame) -> pd.DataFrame:
    """The stable rows; and all rows of a case in which none was stable, with `steady` False there.

    A case is what, input_px, batch and threads: its nets were timed in turns, so that what
    disturbed one of them disturbed all alike, and they can be compared with each other, if not with
    another case.
    """
    stable = batch_times["stable"].astype(bool)
    steady = stable.groupby([batch_times[name] for name in _CASE]).transform("any")
    return batch_times.assign(steady=steady)[stable | ~steady]


def net_medians(batch_times: pd.DataFrame) -> pd.DataFrame:
    """Seconds per image of each net and batch, median of the repetitions that are `usable`.

    Columns: what, input_px, batch, threads, net, family, macs, acts (per image), flops (of a
    forward pass), repetitions, steady (as `usable` has it), image_s. A net without a usable
    repetition has no row.
    """
    stable = usable(batch_times)
    images = stable["batch"] * stable["calls"]
    stable = stable.assign(image_s=stable["seconds"] / images)
    groups = stable.groupby([*_CASE, "net"], sort=False)
    table = groups[["family", "macs", "acts", "steady"]].first()
    table = table.assign(flops=FLOPS_PER_MAC * table["macs"], repetitions=groups.size())
    return table.assign(image_s=groups["image_s"].median()).reset_index()


def batches(batch_times: pd.DataFrame) -> pd.DataFrame:
    """Time against FLOPs at each batch size: over all nets, and within each family of three.

    One row for each what, input_px, batch, threads and family ("all" first; a family with fewer
    than three usable nets has none). Columns: these; unstable (rows of `batch_times` of that
    family left out), steady (false: not one row of the case was stable, and all are used) and the
    entries of `relation`, of which nets, pearson, spearman, slope, cv and spread are the ones that
    tell: proportional is slope 1 and cv 0.
    """
    medians = net_medians(batch_times)
    rows = []
    for case, every in medians.groupby(_CASE, sort=False):
        here = batch_times[(batch_times[_CASE] == list(case)).all(axis=1)]
        steady = bool(every["steady"].all())
        left_out = here[~here["stable"].astype(bool)] if steady else here.iloc[:0]
        for family in (ALL, *dict.fromkeys(every["family"])):
            nets = every if family == ALL else every[every["family"] == family]
            if len(nets) < 3:
                continue
            unstable = left_out if family == ALL else left_out[left_out["family"] == family]
            found = relation(nets["image_s"], nets["flops"]).to_dict()
            rows.append(
                dict(zip(_CASE, case, strict=True))
                | {"family": family, "unstable": len(unstable), "steady": steady}
                | found
            )
    entries = relation([1.0, 2.0], [1, 2]).index
    table = pd.DataFrame(rows, columns=[*_CASE, "family", "unstable", "steady", *entries])
    return table.infer_objects()


def predictors(times: pd.DataFrame) -> pd.DataFrame:
    """What predicts time: FLOPs, activations or bytes.

    `times` are `batch_times` (the points are nets, their seconds per image, stable ones) or
    `layer_costs` (the points are the layers with multiply-adds, all nets together, and each net
    alone). One row for each what ("inference", "training_step" or "layers"), input_px, batch,
    threads, among ("all" or a net) and predictor ("flops", "acts" or "bytes"), for three points or
    more. Columns: these; points, r (Pearson's, of the logarithms), error (of a model proportional
    to the predictor: the root mean square of ln(time / model) at its best factor; 0.1 is about 10
    %), worst (the largest factor by which it is wrong).
    """
    by_layer = "layer" in times
    if by_layer:
        points = layers.layer_medians(times).query("macs > 0 and bytes > 0")
        points = points.assign(what="layers", flops=FLOPS_PER_MAC * points["macs"])
        names, time = ("flops", "bytes"), "seconds"
    else:
        points, names, time = net_medians(times), ("flops", "acts"), "image_s"
    rows = []
    for case, every in points.groupby(_CASE, sort=False):
        groups = [("all", every)]
        groups += list(every.groupby("net", sort=False)) if by_layer else []
        for among, group in groups:
            if len(group) < 3:
                continue
            for name in names:
                logs = np.log(group[name].to_numpy(dtype=float))
                off = np.log(group[time].to_numpy(dtype=float)) - logs
                off -= off.mean()
                varied = logs.std() > 0
                r = np.corrcoef(off + logs, logs)[0, 1] if varied else np.nan
                rows.append(
                    dict(zip(_CASE, case, strict=True))
                    | {"among": among, "predictor": name, "points": len(group), "r": r}
                    | {"error": np.sqrt((off**2).mean()), "worst": np.exp(np.abs(off).max())}
                )
    columns = [*_CASE, "among", "predictor", "points", "r", "error", "worst"]
    return pd.DataFrame(rows, columns=columns)
