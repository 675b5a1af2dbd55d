"""How well times are predicted for designs that no fit has seen, beside simpler models."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.predict import prices, pricing
from convcost.predict.operators import FEATURES, USED
from convcost.predict.tables import joined, read

WITHIN = 0.10
# Fits to nets of fewer designs begin from prices of other devices: on published tables of four
# devices these were nearer to unseen designs up to about as many.
FEW_DESIGNS = 20
FOLDS = 5
MADE = "made "  # designs of nets that were made for a calibration begin with it
# Modules of timm and torchvision that build on one another, or on one idea; any other stands alone.
LINEAGES = {
    "residual": "resnet resnetv2 senet dpn dla selecsls tresnet byobnet nfnet regnet cspnet hrnet "
    "xception xception_aligned",
    "mobile": "efficientnet mobilenetv2 mobilenetv3 mobilenetv5 mnasnet ghostnet rexnet repghost "
    "repvit fasternet starnet shufflenetv2",
    "dense": "densenet rdnet vovnet hgnet",
    "inception": "googlenet inception inception_v3 inception_v4 inception_resnet_v2 nasnet pnasnet",
    "next": "convnext inception_next mambaout focalnet metaformer convmixer mlp_mixer",
    "tokens": "vision_transformer vision_transformer_relpos vision_transformer_sam deit beit eva "
    "cait xcit volo pit tnt convit crossvit naflexvit hiera hieradet_sam2 sequencer",
    "windows": "swin_transformer swin_transformer_v2 swin_transformer_v2_cr maxxvit maxvit nest "
    "twins pvt_v2 gcvit coat davit mvitv2 edgenext efficientformer efficientformer_v2 "
    "efficientvit_mit levit nextvit shvit swiftformer visformer csatv2",
}
LINEAGE_OF = {design: name for name, designs in LINEAGES.items() for design in designs.split()}
# what simpler models know of a net; "linear" is a line over a few totals, as in ConvMeter
# ("Dissecting Convolutional Neural Networks for Runtime and Scalability Prediction", ICPP 2024)
REFEREES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "flops": lambda rows: rows[["macs"]],
    "activations": lambda rows: rows[["acts"]],
    "linear": lambda rows: rows[["macs", "acts"]].assign(
        params=rows["params"] / rows["batch"], per_batch=1 / rows["batch"], per_image=1.0
    ),
}
OURS = "ours"


def leave_one_design_out(
    rows: pd.DataFrame, of: pd.DataFrame | None = None, by: str = "design"
) -> pd.DataFrame:
    """Seconds per image of each row, predicted by fits to all other designs, one column a model.

    `rows` as of `tables.joined`. "ours" prices every kind of work, from the prices of other
    devices on where the designs are few (`predictor`); the referees price multiply-adds,
    activations, or a line over both, parameters, the batch and the image, with prices from 0 up
    and least relative error, as ours. `of`: rows of another table, predicted by fits to `rows`
    without the design of each. `by`: another column whose values stand on one side only.
    """
    of = rows if of is None else of
    found = pd.DataFrame(index=of.index, columns=[*REFEREES, OURS], dtype=float)
    few = is_few(rows)
    for value, others in of.groupby(by, sort=False):
        known = rows[rows[by] != value]
        for model in found:
            found.loc[others.index, model] = predictor(known, model, few)(others)
    return found


def lineages(rows: pd.DataFrame) -> pd.Series:
    """Of each row, the lineage of its design: designs that build on one another are one."""
    return rows["design"].map(LINEAGE_OF).fillna(rows["design"])


def folds(rows: pd.DataFrame, number: int = FOLDS) -> pd.Series:
    """Of each row one of `number` folds, drawn at random: as most published predictors are judged.

    A net's siblings are then on both sides, so that errors are smaller than on unseen designs.
    """
    return pd.Series(np.random.default_rng(0).permutation(len(rows)) % number, index=rows.index)


def is_few(rows: pd.DataFrame) -> bool:
    """Whether a fit begins from the prices of other devices: designs are few, or made nets."""
    made = rows["design"].astype(str).str.startswith(MADE).any()
    return bool(made or rows["design"].nunique() < FEW_DESIGNS)


def predictor(
    rows: pd.DataFrame, model: str, few: bool | None = None
) -> Callable[[pd.DataFrame], np.ndarray]:
    """A model fitted to rows, as what gives seconds per image of others.

    few: whether "ours" begins from the prices of other devices; None: where designs are fewer than
    `FEW_DESIGNS`.
    """
    if model == OURS:
        if few is None:
            fitted = fit(rows)
        elif few:
            fitted, _ = from_others(rows)
        else:
            fitted = pricing.fit(
                rows[list(FEATURES)], rows["seconds"], rows["batch"], rows["design"]
            )
        return lambda others: fitted.of(others[list(FEATURES)], others["batch"])
    known = REFEREES[model]
    least = pricing.least_relative(known(rows).to_numpy(float), rows["seconds"].to_numpy())
    return lambda others: known(others).to_numpy(float) @ least


def from_others(rows: pd.DataFrame) -> tuple[pricing.Model, tuple[str, ...]]:
    """A model that begins from the prices of other devices, and the names of these.

    They are the graphics cards or the processors whose prices are stored, whichever meet the rows
    better when scaled.
    """
    what = rows["what"].iloc[0]
    calibrated = rows["design"].astype(str).str.startswith(MADE).mean() > 0.5
    keep = pricing.KEEP_CALIBRATED if calibrated else pricing.KEEP_PRICE
    given = rows[list(FEATURES)], rows["seconds"], rows["batch"]

    def missed(kind: str) -> float:
        like = prices.begin_from(what, [kind])
        if not like:
            return np.inf
        fitted = pricing.transferred(*given, [*like.values()], keep)
        return float(np.abs(fitted.of(given[0], given[2]) / given[1] - 1).mean())

    kind = min((prices.GPU, prices.CPU), key=missed)
    like = prices.begin_from(what, [kind])
    if not like:
        raise BadInputError("no prices of other devices are stored, from which to begin")
    return pricing.transferred(*given, [*like.values()], keep), tuple(like)


def scores(
    rows: pd.DataFrame,
    predicted: pd.Series,
    limits: tuple[float, float] | None = None,
    *,
    by: str = "design",
    begun_from: Sequence[pricing.Model] = (),
) -> dict[str, float | None]:
    """How far off predictions are: of designs that were not fitted to, on one set of rows.

    mape, median and p90 of |predicted / measured - 1|, in percent; within_10, the share that is
    off by at most 10 %; spearman; coverage_90, the share of times that lie in the interval which
    the other designs give (`pricing.covered`), or between `limits` times the prediction. `by`:
    the column of what was left out together. None: cannot be said of so few rows.
    """
    with optional():
        from scipy.stats import spearmanr

    ratios = (rows["seconds"] / predicted).to_numpy()
    off = np.abs(1 / ratios - 1)
    if limits is None:
        inside = pricing.covered(ratios, rows[by], begun_from)
    else:
        inside = (ratios >= limits[0]) & (ratios <= limits[1])
    found = {
        "mape": 100 * off.mean(),
        "median": 100 * np.median(off),
        "p90": 100 * np.quantile(off, 0.9),
        "within_10": (off <= WITHIN).mean(),
        "spearman": spearmanr(predicted, rows["seconds"]).statistic if len(off) > 2 else np.nan,
        "coverage_90": inside.mean() if len(off) > 1 else np.nan,
    }
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def fit(table: Path | str | pd.DataFrame, what: str | None = None) -> pricing.Model:
    """Prices fitted to a table of nets and times: a file as of `tables.read`, or rows of `joined`.

    Where its designs are few they begin from those of other devices (`from_others`). Its `of` gives
    seconds per image for amounts of work and batch sizes. Raises BadInputError for files that are
    no tables, and where no net is left.
    """
    rows = table
    if not isinstance(table, pd.DataFrame):
        rows, dropped = joined(read(table, what))
        if rows.empty:
            first = f" ({dropped['net'][0]}: {dropped['reason'][0]})" if len(dropped) else ""
            raise BadInputError(f"{table}: no row can be used{first}")
    if is_few(rows):
        return from_others(rows)[0]
    return pricing.fit(rows[list(FEATURES)], rows["seconds"], rows["batch"], rows["design"])


def report(table: Path | str, test: Path | str | None = None, what: str | None = None) -> dict:
    """What a table of nets and times says of every model, on designs that it has not seen.

    rows, designs, dropped (net, input_px, what and reason of each row that is not used), and
    models: name -> `scores`. They are of convolutional networks: nets that multiply results by
    results (attention) are fitted to, and judged by themselves under `with_attention` (rows,
    designs, models), where the table has nets of two designs of them. `left_out` says what no fit
    has seen: the design of each net, or the net alone where all are of one design. `begun_from`
    names the devices from whose prices ours begins, where the designs are fewer than
    `FEW_DESIGNS`. `lineages` and `random_folds` hold the same scores where related designs are
    left out together, and where nets are left out at random.

    With `test`, fits to the first table are judged on the second one, and the last two are not
    there. Raises BadInputError for files that are no tables, and where fewer than two nets are
    left.
    """
    rows, dropped = joined(read(table, what))
    judged = rows
    if test is not None:
        judged, more = joined(read(test, what))
        dropped = pd.concat([dropped, more], ignore_index=True)
    if len(rows) < 2 or judged.empty:
        first = f" ({dropped['net'][0]}: {dropped['reason'][0]})" if len(dropped) else ""
        tested = "" if test is None else f", and {len(judged)} of {test}"
        raise BadInputError(
            f"{table}: {len(rows)} rows can be used{tested}; two or more are needed{first}"
        )
    uses = {*rows["what"], *judged["what"]}
    if len(uses) > 1:
        raise BadInputError(f"{table} has times of {' and '.join(sorted(uses))}: choose one")
    by = "design"
    if judged["design"].nunique() == 1 == rows["design"].nunique():
        by, rows, judged = "net", rows.copy(), judged.copy()
    predicted = leave_one_design_out(rows, judged, by)
    few, limits, like = is_few(rows), None, ()
    if few:
        begun_from = from_others(rows)[1]
        like = [prices.of(name, USED).model for name in begun_from]
    if test is not None:
        own = leave_one_design_out(rows, by=by)
        limits = {
            model: pricing.interval(
                (rows["seconds"] / own[model]).to_numpy(), rows[by], like if model == OURS else ()
            )
            for model in own
        }
    plain = pricing.is_plain(judged[list(FEATURES)])
    found = {"rows": 0, "designs": 0}
    if plain.any():
        found = _judged(judged, predicted, plain, limits, by, like)
    found["dropped"], found["left_out"] = dropped.to_dict("records"), by
    if few:
        found["begun_from"] = list(begun_from)
    if judged["design"][~plain].nunique() > 1:
        found["with_attention"] = _judged(judged, predicted, ~plain, limits, by, like)
    if test is None and plain.any():
        for name, groups in (("lineages", lineages(rows)), ("random_folds", folds(rows))):
            if groups.nunique() > 1:
                grouped = rows.assign(group=groups)
                again = leave_one_design_out(grouped, by="group")
                found[name] = {"groups": int(groups.nunique())}
                found[name] |= _judged(grouped, again, plain, None, "group", like)
    return found


def _judged(
    rows: pd.DataFrame,
    predicted: pd.DataFrame,
    chosen: np.ndarray,
    limits: dict | None,
    by: str,
    like: Sequence[pricing.Model],
) -> dict:
    rows, predicted = rows[chosen], predicted[chosen]
    return {
        "rows": len(rows),
        "designs": int(rows["design"].nunique()),
        "models": {
            model: scores(
                rows, predicted[model], limits and limits[model], by=by,
                begun_from=like if model == OURS else (),
            )
            for model in predicted
        },
    }  # fmt: skip
