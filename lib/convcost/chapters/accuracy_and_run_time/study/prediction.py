"""What the workers of notebook 05 do for the predictor: one function a kind of unit, rows come out.

`Study` plans them. What is judged on published tables is computed from the tables alone.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from convcost import nets
from convcost.chapters.accuracy_and_run_time.tables.prediction import (
    BOTH,
    DESIGN,
    FOLD,
    LINEAGE,
    MADE,
    OTHERS,
)
from convcost.core.errors import BadInputError
from convcost.datasets import benchmarks
from convcost.measuring import timing
from convcost.predict import calibration, prices, pricing, tables, validation
from convcost.predict.operators import FEATURES, SPENT_ON, TRAINED, USED

DEVICES = {
    "timm/benchmark-infer-amp-nchw-pt291-cu128-4090.csv": "rtx4090",
    "timm/benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv": "rtx3090",
    "timm/benchmark-infer-amp-nhwc-pt240-cu124-rtx3090.csv": "rtx3090, channels last",
    "timm/benchmark-infer-fp32-nchw-pt240-cpu-i7_12700h-dynamo.csv": "i7-12700h",
    "timm/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv": "rtx3090",
    "pycls/model_timing.json": "v100",
}
"""Published table -> the device that was timed there."""

NAMED = ("resnet50", "vgg16", "densenet121", "regnety_032", "mobilenetv3_large_100")
"""Five nets that anyone can time, each of another design, by timm's names."""

STEP = {USED: "inference", TRAINED: "training_step"}
_SPLITS = (DESIGN, LINEAGE, FOLD)


# --- on the clock ----------------------------------------------------------------------------


def calibrated(
    number: int, what: str, batch: int, repetitions: int, threads: int, device: str
) -> list[dict]:
    """One round of made nets, with their work (`predict.calibration.round_of`)."""
    return calibration.round_of(
        number, what, batch, device=device, threads=threads, repetitions=repetitions
    )


def timed(
    names: list[str], what: str, batch: int, session: int, repetitions: int, threads: int,
    device: str,
) -> Iterator[dict]:  # fmt: skip
    """Several nets of torchvision in turns, each at its own size of image."""
    shapes = {name: nets.get(name).input_shape for name in names}
    cases = {
        name: timing.Case(nets.build(name, device=device), shapes[name], batch, STEP[what])
        for name in names
    }
    measured = timing.measure_many(
        cases, repetitions=repetitions, warmup=1, min_s=0.1, threads=threads, device=device,
        skip_out_of_memory=True,
    )  # fmt: skip
    for name, found in measured.items():
        for sample in found.samples.to_dict("records"):
            sample["repetition"] += session * repetitions
            yield {"net": name, "input_px": shapes[name][-1], "stable": found.stable} | sample


def names_up_to(gmacs: float, millions: float, most: int | None = None) -> list[str]:
    """torchvision's classification nets of at most so many 10^9 multiply-adds and 10^6 parameters.

    By their published numbers, the cheapest first; `most`: so many of them, evenly spread.
    """
    from torchvision import models

    found = []
    for name in nets.names("classification"):
        told = models.get_model_weights(name).DEFAULT.meta
        if told["_ops"] <= gmacs and told["num_params"] <= millions * 1e6:
            found.append((told["_ops"], name))
    names = [name for _, name in sorted(found)]
    if most is None or most >= len(names):
        return names
    return [names[round(at)] for at in np.linspace(0, len(names) - 1, most)]


# --- predicted for what was timed here -------------------------------------------------------


def known_rows(known_net_times: pd.DataFrame) -> pd.DataFrame:
    """The nets timed here as `tables.joined` has them: a row a net, use and batch.

    seconds are of one image, the median over the repetitions in which the machine was quiet; of a
    net without any over all, and it is not stable.
    """
    keys = ["net", "input_px", "what", "batch"]
    samples = known_net_times.assign(
        seconds=known_net_times["seconds"] / known_net_times["calls"] / known_net_times["batch"]
    )
    stable = samples["stable"].astype(bool)
    quiet = stable.groupby([samples[key] for key in keys]).transform("any")
    medians = (
        samples[stable | ~quiet]
        .groupby(keys, sort=False)
        .agg(seconds=("seconds", "median"), stable=("stable", "all"))
    )
    times = medians.reset_index().assign(params_millions=np.nan)
    rows, dropped = tables.joined(times[list(tables.COLUMNS)])
    if len(dropped):
        raise BadInputError(f"{dropped['net'][0]}: {dropped['reason'][0]}")
    return rows.merge(times[[*keys, "stable"]], on=keys)


def predicted(made: pd.DataFrame, known: pd.DataFrame) -> Iterator[dict]:
    """What each model says of each net timed here; made and known as of one use.

    Fitted to the made nets alone; to the nets of other designs; and ours to both.
    """
    models = [*validation.REFEREES, validation.OURS]
    for batch, mine in known.groupby("batch"):
        fits = {MADE: _of_made(made, mine, models)}
        if mine["design"].nunique() > 1:
            fits[OTHERS] = _of_others(mine, models)
            both = pd.concat([made, mine.assign(known=True)]).fillna({"known": False})
            fits[BOTH] = _of_both(both, [validation.OURS])
        for fitted_to, (found, limits) in fits.items():
            for model in found:
                low, high = limits[model]
                for row, seconds in zip(mine.itertuples(), found[model], strict=True):
                    yield {
                        "net": row.net, "design": row.design, "input_px": row.input_px,
                        "what": row.what, "batch": batch, "macs": row.macs, "model": model,
                        "fitted_to": fitted_to, "image_s": row.seconds, "stable": row.stable,
                        "predicted_s": seconds, "low_s": low * seconds, "high_s": high * seconds,
                    }  # fmt: skip


def _limits(rows: pd.DataFrame, found: pd.DataFrame, model: str) -> tuple[float, float]:
    """The interval of a model from how it did on designs that it was not fitted to."""
    like: Sequence[pricing.Model] = ()
    if model == validation.OURS and validation.is_few(rows):
        like = [prices.of(name, USED).model for name in validation.from_others(rows)[1]]
    return pricing.interval((rows["seconds"] / found[model]).to_numpy(), rows["design"], like)


def _of_made(made: pd.DataFrame, known: pd.DataFrame, models: list[str]):
    own = validation.leave_one_design_out(made)
    found = pd.DataFrame(
        {model: validation.predictor(made, model)(known) for model in models}, index=known.index
    )
    return found, {model: _limits(made, own, model) for model in models}


def _of_others(known: pd.DataFrame, models: list[str]):
    found = validation.leave_one_design_out(known)
    return found[models], {model: _limits(known, found, model) for model in models}


def _of_both(both: pd.DataFrame, models: list[str]):
    known = both[both["known"].astype(bool)]
    found = validation.leave_one_design_out(both, known)
    return found[models], {model: _limits(known, found, model) for model in models}


# --- published tables ------------------------------------------------------------------------


def scored(table: str, what: str | None) -> list[dict]:
    """Every model on a published table: rows of `table_scores`."""
    told = validation.report(benchmarks.path(table), what=what)
    shared = {
        "table": table, "device": DEVICES[table], "what": what,
        "begun_from": " and ".join(told.get("begun_from", ())),
    }  # fmt: skip
    places = {
        (DESIGN, "convolutional"): told,
        (DESIGN, "attention"): told.get("with_attention"),
        (LINEAGE, "convolutional"): told.get("lineages"),
        (FOLD, "convolutional"): told.get("random_folds"),
    }
    return [
        shared | {"split": split, "nets": kind, "model": model, "rows": found["rows"],
                  "designs": found["designs"], **scores}
        for (split, kind), found in places.items()
        if found
        for model, scores in found["models"].items()
    ]  # fmt: skip


def grouped(table: str, what: str) -> Iterator[dict]:
    """Errors of ours by design, and by the work that takes most of a net's time."""
    rows, _ = tables.joined(tables.read(benchmarks.path(table), what))
    rows = rows[pricing.is_plain(rows[list(FEATURES)])].reset_index(drop=True)
    found = validation.leave_one_design_out(rows)[validation.OURS]
    off = 100 * (found / rows["seconds"] - 1)
    groups = {"design": rows["design"], "work": dearest(rows)}
    for by, names in groups.items():
        for group, errors in off.groupby(names):
            yield {
                "table": table, "device": DEVICES[table], "what": what, "by": by,
                "group": group, "nets": len(errors), "mape": float(errors.abs().mean()),
                "bias": float(errors.mean()),
            }  # fmt: skip


# which features are one kind of work, to a reader: the first that a name begins with
_KINDS = (
    "dense", "linear", "pointwise", "spatial", "unaligned", "grouped", "depthwise", "attention",
    "matmul", "recurrent", "stem", "vector",
)  # fmt: skip


def dearest(rows: pd.DataFrame) -> pd.Series:
    """Of each net the kind of work that prices fitted to all of them charge most for.

    What multiplies under the name of its kernel: a product of any width is dense, and that is
    divided among 1 x 1 (pointwise), larger kernels (spatial) and linear layers by their
    multiply-adds. Everything that only moves data is one kind.
    """
    fitted = validation.fit(rows).everything.seconds
    each = pricing.per_image(rows[list(FEATURES)], rows["batch"])
    charged = pd.DataFrame(each, columns=list(FEATURES)) * fitted.reindex(FEATURES).fillna(0.0)
    kinds = {
        name: next((kind for kind in _KINDS if name.startswith(kind)), None) or "other data moved"
        if SPENT_ON[name] != "launch" else "calls"
        for name in FEATURES
    }  # fmt: skip
    sums = charged.T.groupby(pd.Series(kinds)).sum().T
    shared = sums.pop("dense") + sums.pop("unaligned")
    products = rows[["linear", "pointwise", "spatial"]].reset_index(drop=True)
    parts = products.div(products.sum(axis=1).replace(0, 1), axis=0)
    for kind in parts:
        sums[kind] = sums.get(kind, 0.0) + shared * parts[kind]
    return sums.idxmax(axis=1).set_axis(rows.index)


def transferred(table: str, begun_from: str, numbers: list[int], draws: int) -> Iterator[dict]:
    """Errors on nets of a table of which few are given, begun from another device's prices.

    `draws` times at random, each net of another design; and five well-known nets. Judged on nets
    of all other designs.
    """
    rows, _ = tables.joined(tables.read(benchmarks.path(table), USED))
    rows = rows[pricing.is_plain(rows[list(FEATURES)])].reset_index(drop=True)
    like = [prices.begin_from(USED)[begun_from]]
    draw = np.random.default_rng(0)
    chosen: list[tuple[str, np.ndarray]] = []
    for number in numbers:
        for at in range(draws):
            designs = draw.permutation(rows["design"].unique())[:number]
            some = [draw.choice(np.flatnonzero(rows["design"] == one)) for one in designs]
            chosen.append((str(at), np.array(some)))
    named = [rows.index[rows["net"] == net][0] for net in NAMED if (rows["net"] == net).any()]
    chosen.append(("named", np.array(named)))
    work = rows[list(FEATURES)]
    for name, some in chosen:
        few, times = rows.iloc[some], rows["seconds"].iloc[some]
        model = pricing.transferred(work.iloc[some], times, few["batch"], like)
        unseen = rows[~rows["design"].isin(few["design"])]
        ours = model.of(unseen[list(FEATURES)], unseen["batch"])
        line = validation.predictor(few, "linear")(unseen)
        yield {
            "table": table, "device": DEVICES[table], "what": USED,
            "begun_from": begun_from, "given": len(some), "draw": name, "rows": len(unseen),
            "mape": float(100 * np.abs(ours / unseen["seconds"] - 1).mean()),
            "own_mape": float(100 * np.abs(line / unseen["seconds"] - 1).mean()),
        }  # fmt: skip


# --- what units take -------------------------------------------------------------------------


def calibrated_s(unit: dict) -> float:
    """Seconds of a round, guessed."""
    fast = unit["device"] != "cpu"
    passes = 3 if unit["what"] == TRAINED else 1
    return 5 + unit["repetitions"] * 0.5 * passes * unit["batch"] / (50 if fast else 1)


def timed_s(unit: dict) -> float:
    """Seconds of a group of known nets, guessed."""
    fast = unit["device"] != "cpu"
    passes = 3 if unit["what"] == TRAINED else 1
    nets_s = len(unit["names"]) * (0.5 + unit["repetitions"] * 0.1 * passes * unit["batch"])
    return nets_s / (20 if fast else 1)
