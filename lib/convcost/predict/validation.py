"""How well times are predicted for designs that no fit has seen, beside simpler models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.predict import pricing
from convcost.predict.operators import FEATURES
from convcost.predict.tables import joined, read

WITHIN = 0.10
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


def leave_one_design_out(rows: pd.DataFrame, of: pd.DataFrame | None = None) -> pd.DataFrame:
    """Seconds per image of each row, predicted by fits to all other designs, one column a model.

    `rows` as of `tables.joined`. "ours" prices every kind of work; the referees price
    multiply-adds, activations, or a line over both, parameters, the batch and the image, with
    prices from 0 up and least relative error, as ours. `of`: rows of another table, predicted by
    fits to `rows` without the design of each.
    """
    of = rows if of is None else of
    found = pd.DataFrame(index=of.index, columns=[*REFEREES, OURS], dtype=float)
    for design, others in of.groupby("design", sort=False):
        known = rows[rows["design"] != design]
        for model in found:
            found.loc[others.index, model] = predictor(known, model)(others)
    return found


def predictor(rows: pd.DataFrame, model: str) -> Callable[[pd.DataFrame], np.ndarray]:
    """A model fitted to rows, as what gives seconds per image of others."""
    if model == OURS:
        fitted = pricing.fit(rows[list(FEATURES)], rows["seconds"], rows["batch"], rows["design"])
        return lambda others: fitted.of(others[list(FEATURES)], others["batch"])
    known = REFEREES[model]
    prices = pricing.least_relative(known(rows).to_numpy(float), rows["seconds"].to_numpy())
    return lambda others: known(others).to_numpy(float) @ prices


def scores(
    rows: pd.DataFrame, predicted: pd.Series, limits: tuple[float, float] | None = None
) -> dict[str, float]:
    """How far off predictions are: of designs that were not fitted to, on one set of rows.

    mape, median and p90 of |predicted / measured - 1|, in percent; within_10, the share that is
    off by at most 10 %; spearman; coverage_90, the share of times that lie in the interval which
    the other designs give (`pricing.covered`), or between `limits` times the prediction.
    """
    with optional():
        from scipy.stats import spearmanr

    ratios = (rows["seconds"] / predicted).to_numpy()
    off = np.abs(1 / ratios - 1)
    if limits is None:
        inside = pricing.covered(ratios, rows["design"])
    else:
        inside = (ratios >= limits[0]) & (ratios <= limits[1])
    return {
        "mape": float(100 * off.mean()),
        "median": float(100 * np.median(off)),
        "p90": float(100 * np.quantile(off, 0.9)),
        "within_10": float((off <= WITHIN).mean()),
        "spearman": float(spearmanr(predicted, rows["seconds"]).statistic),
        "coverage_90": float(inside.mean()),
    }


def report(table: Path | str, test: Path | str | None = None, what: str | None = None) -> dict:
    """What a table of nets and times says of every model, on designs that it has not seen.

    rows, designs, dropped (net, input_px, what and reason of each row that is not used), and
    models: name -> `scores`. They are of convolutional networks: nets that multiply results by
    results (attention) are fitted to, and judged by themselves under `with_attention` (rows,
    designs, models), where the table has nets of two designs of them. With `test`, fits to the
    first table are judged on the second one.

    Raises BadInputError for files that are no tables, and where fewer than five designs are left.
    """
    rows, dropped = joined(read(table, what))
    judged = rows
    if test is not None:
        judged, more = joined(read(test, what))
        dropped = pd.concat([dropped, more], ignore_index=True)
    designs = rows["design"].nunique()
    if designs <= pricing.LEAST_DESIGNS or judged.empty:
        first = f" ({dropped['net'][0]}: {dropped['reason'][0]})" if len(dropped) else ""
        tested = "" if test is None else f", and {len(judged)} of {test}"
        raise BadInputError(
            f"{table}: {len(rows)} rows of {designs} designs can be used{tested}; more than "
            f"{pricing.LEAST_DESIGNS} designs are needed{first}"
        )
    predicted = leave_one_design_out(rows, judged)
    limits = None
    if test is not None:
        own = leave_one_design_out(rows)
        limits = {
            model: pricing.interval((rows["seconds"] / own[model]).to_numpy(), rows["design"])
            for model in own
        }
    plain = pricing.is_plain(judged[list(FEATURES)])
    found = _judged(judged, predicted, plain, limits) if plain.any() else {"rows": 0, "designs": 0}
    found["dropped"] = dropped.to_dict("records")
    if judged["design"][~plain].nunique() > 1:
        found["with_attention"] = _judged(judged, predicted, ~plain, limits)
    return found


def _judged(
    rows: pd.DataFrame, predicted: pd.DataFrame, chosen: np.ndarray, limits: dict | None
) -> dict:
    rows, predicted = rows[chosen], predicted[chosen]
    return {
        "rows": len(rows),
        "designs": int(rows["design"].nunique()),
        "models": {
            model: scores(rows, predicted[model], limits and limits[model]) for model in predicted
        },
    }
