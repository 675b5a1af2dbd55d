"""How fast nets of notebook 06 are: ratios of times measured in turns.

A ratio is the base's time over the net's, so that above 1 the net is the faster. It is paired by
repetition and session: both were timed within a moment. Means are geometric, intervals Student's t
of logarithms, 95 %.
"""

import numpy as np
import pandas as pd

from convcost.fits.comparison import mean_interval

_CASE = ["method", "setting", "batch", "threads"]
TORCH, ONNX = "torch", "onnx"


def _each(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(each_s=table["seconds"] / table["calls"])


def _ratio(logarithms: pd.Series) -> dict[str, float]:
    found = np.exp(mean_interval(logarithms))
    return dict(zip(("times_faster", "low", "high"), map(float, found), strict=True))


def speed_ups(accelerated_times: pd.DataFrame) -> pd.DataFrame:
    """Every net against the base in float32 of the same runtime.

    One row a method, setting, batch, threads, runtime and format. Columns: these; repetitions,
    image_s (seconds of one image, median), base_s (the same of the base), times_faster, low, high,
    stable (whether the machine was quiet in all sessions).
    """
    times = _each(accelerated_times)
    keys = [*_CASE, "runtime", "repetition"]
    base = times[times["net"].eq("base") & times["format"].eq("float32")]
    base = base.set_index(keys)["each_s"].rename("base_each_s")
    both = times[times["net"].eq("net")].join(base, on=keys, how="inner")
    rows = []
    for case, group in both.groupby([*_CASE, "runtime", "format"], sort=False):
        images = case[2]
        rows.append(
            dict(zip([*_CASE, "runtime", "format"], case, strict=True))
            | {"repetitions": len(group), "image_s": group["each_s"].median() / images,
               "base_s": group["base_each_s"].median() / images}
            | _ratio(np.log(group["base_each_s"] / group["each_s"]))
            | {"stable": bool(group["stable"].all())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def runtimes(accelerated_times: pd.DataFrame) -> pd.DataFrame:
    """The base by every runtime and format, against PyTorch in float32, in the same turns.

    One row a batch, threads, runtime and format: these; repetitions, image_s, times_faster, low,
    high, stable. All sessions in which the base was timed count.
    """
    times = _each(accelerated_times)
    base = times[times["net"].eq("base")]
    keys = [*_CASE, "repetition"]
    plain = base[base["runtime"].eq(TORCH) & base["format"].eq("float32")].set_index(keys)
    both = base.join(plain["each_s"].rename("torch_s"), on=keys, how="inner")
    rows = []
    for case, group in both.groupby(["batch", "threads", "runtime", "format"], sort=False):
        # one value a session of a net: repetitions within it are not independent
        logarithms = np.log(group["torch_s"] / group["each_s"])
        per_net = logarithms.groupby([group["method"], group["setting"]]).mean()
        rows.append(
            dict(zip(("batch", "threads", "runtime", "format"), case, strict=True))
            | {"repetitions": len(group), "image_s": group["each_s"].median() / case[0]}
            | _ratio(per_net)
            | {"stable": bool(group["stable"].mean() > 0.5)}
        )  # fmt: skip
    return pd.DataFrame(rows)


def format_speeds(format_times: pd.DataFrame) -> pd.DataFrame:
    """The base in each format of numbers in PyTorch, against float32.

    One row a format, batch and threads: these; repetitions, image_s, times_faster, low, high,
    stable.
    """
    times = _each(format_times)
    keys = ["batch", "threads", "repetition"]
    plain = times[times["format"].eq("float32")].set_index(keys)["each_s"].rename("float32_s")
    both = times.join(plain, on=keys, how="inner")
    rows = []
    for case, group in both.groupby(["format", "batch", "threads"], sort=False):
        rows.append(
            dict(zip(("format", "batch", "threads"), case, strict=True))
            | {"repetitions": len(group), "image_s": group["each_s"].median() / case[1]}
            | _ratio(np.log(group["float32_s"] / group["each_s"]))
            | {"stable": bool(group["stable"].all())}
        )  # fmt: skip
    return pd.DataFrame(rows).sort_values(["batch", "threads", "image_s"], ignore_index=True)


def formats(format_accuracies: pd.DataFrame, format_times: pd.DataFrame) -> pd.DataFrame:
    """What a format of numbers costs and saves: accuracy, bytes, time.

    One row a format, batch and threads: the columns of `format_speeds`; seeds, lost, lost_low and
    lost_high (percentage points against float32, in pairs), same_share (images of the same class),
    bytes_ratio (of the weights, over float32's).
    """
    table = format_accuracies.assign(
        accuracy=format_accuracies["test_correct"] / format_accuracies["test_images"]
    )
    plain = table[table["format"].eq("float32")].set_index("seed")
    rows = []
    for name, group in table.groupby("format", sort=False):
        points = 100 * (plain["accuracy"] - group.set_index("seed")["accuracy"]).dropna()
        lost, low, high = mean_interval(points)
        rows.append(
            {"format": name, "seeds": len(points), "lost": lost, "lost_low": low, "lost_high": high,
             "same_share": (group["same"] / group["test_images"]).mean(),
             "bytes_ratio": group["file_bytes"].iloc[0] / plain["file_bytes"].iloc[0]}
        )  # fmt: skip
    return format_speeds(format_times).merge(pd.DataFrame(rows), on="format", how="left")


def sparse_weights(sparse_weight_times: pd.DataFrame) -> pd.DataFrame:
    """Sparse ways to run a convolution against the faster dense one, by share of zero weights.

    One row a layer, batch, sparsity and execution that skips zeros, and "best" for the fastest of
    them: channels, map_px, batch, sparsity, execution, times_faster, low, high, stable.
    """
    times = _each(sparse_weight_times)
    case = ["channels", "map_px", "batch", "sparsity"]
    rows = []
    for values, group in times.groupby(case, sort=False):
        wide = group.pivot_table(index="repetition", columns="execution", values="each_s")
        dense = [name for name in wide.columns if name.startswith("dense")]
        plain = wide[wide[dense].median().idxmin()]
        skipping = [name for name in wide.columns if name not in dense]
        best = wide[skipping].median().idxmin()
        for name, column in [*((n, n) for n in skipping), ("best", best)]:
            rows.append(
                dict(zip(case, values, strict=True))
                | {"execution": name}
                | _ratio(np.log(plain / wide[column]))
                | {"stable": bool(group["stable"].all())}
            )
    return pd.DataFrame(rows)


def break_even(sparse_weight_times: pd.DataFrame) -> pd.DataFrame:
    """From which share of zero weights on a layer is faster than dense, as a whole interval.

    One row a layer and batch: channels, map_px, batch, from_sparsity (missing where no measured
    share was enough), most (the largest share measured), times_faster, low, high (there).
    """
    table = sparse_weights(sparse_weight_times)
    table = table[table["execution"].eq("best")]
    rows = []
    for case, group in table.groupby(["channels", "map_px", "batch"], sort=False):
        group = group.sort_values("sparsity")
        slower = group.loc[~(group["low"] > 1), "sparsity"]
        enough = group[group["sparsity"] > (slower.max() if len(slower) else -1)]
        most = group.iloc[-1]
        rows.append(
            dict(zip(("channels", "map_px", "batch"), case, strict=True))
            | {"from_sparsity": enough["sparsity"].min() if len(enough) else np.nan,
               "most": most["sparsity"], "times_faster": most["times_faster"], "low": most["low"],
               "high": most["high"]}
        )  # fmt: skip
    return pd.DataFrame(rows)


def predictions(predicted_speeds: pd.DataFrame, accelerated_times: pd.DataFrame) -> pd.DataFrame:
    """How many times as fast prices say that a net is, beside what PyTorch took.

    One row a method, setting, batch and threads: these; macs, macs_ratio and predicted_ratio (base
    over net), times_faster, low, high, error (of the prediction, relative), macs_error (of
    multiply-adds as a prediction).
    """
    measured = speed_ups(accelerated_times)
    measured = measured[measured["runtime"].eq(TORCH) & measured["format"].eq("float32")]
    table = measured.merge(predicted_speeds, on=["method", "setting", "batch"])
    base_macs = predicted_speeds.loc[predicted_speeds["method"].eq("none"), "macs"].max()
    table["macs_ratio"] = base_macs / table["macs"]
    table["predicted_ratio"] = table["base_s_y"] / table["predicted_s"]
    for name, column in (("error", "predicted_ratio"), ("macs_error", "macs_ratio")):
        table[name] = table[column] / table["times_faster"] - 1
    keep = [*_CASE, "macs", "macs_ratio", "predicted_ratio", "times_faster", "low", "high",
            "error", "macs_error", "stable"]  # fmt: skip
    return table[keep]


def prediction_errors(compared: pd.DataFrame) -> pd.DataFrame:
    """Of `predictions`: mean relative errors over nets, the base left out.

    One row a batch and threads: batch, threads, nets, macs (by the ratio of multiply-adds), prices.
    """
    mine = compared[compared["method"].ne("none")]
    groups = mine.groupby(["batch", "threads"], sort=False)
    return groups.agg(
        nets=("error", "size"),
        macs=("macs_error", lambda errors: errors.abs().mean()),
        prices=("error", lambda errors: errors.abs().mean()),
    ).reset_index()
