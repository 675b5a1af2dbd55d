"""What prices say of what the papers timed: epochs of five nets, layers of LeNet, Ke's family.

First what is predicted (rows of `paper_predictions`), then what that says of the papers.
"""

from collections.abc import Iterator
from dataclasses import astuple

import numpy as np
import pandas as pd
from scipy import stats

from convcost import nets
from convcost.chapters.complexity_precision import findings as complexity
from convcost.chapters.complexity_precision.findings.configurations import BASELINE, NAMES
from convcost.chapters.relu_zero_rates.findings import paper as atsumi_paper
from convcost.chapters.relu_zero_rates.findings import times as atsumi_times
from convcost.chapters.training_time.findings import hypotheses, paper
from convcost.counting.count import count
from convcost.predict import estimate, prices
from convcost.predict.operators import FEATURES, TRAINED, USED, of_net
from convcost.records import MissingTableError

SIZES, BATCHES = (224, 96, 64), (32, 64, 128)
CHENG_DEVICES = (("rtx3090", "rtx3090"), ("rtx3090", "rtx4090"))
"""(prices of training, prices of inference): a table of training is there of one card only."""


def epochs() -> Iterator[dict]:
    """An epoch of FashionMNIST with each of Cheng & Liu's nets, by the prices of two cards.

    Training and validation, of the arithmetic alone: no loading of images. By size and batch.
    """
    train, test = paper.images("train"), paper.images("test")
    for role, net in zip(paper.ROLES, paper.NETS, strict=True):
        for px in SIZES:
            model = nets.build(net, num_classes=10, device="meta")
            work = {what: _work(model, (3, px, px), what == TRAINED) for what in (TRAINED, USED)}
            for batch in BATCHES:
                for trains, infers in CHENG_DEVICES:
                    seconds = train * _image_s(prices.of(trains, TRAINED), work[TRAINED], batch)
                    seconds += test * _image_s(prices.of(infers, USED), work[USED], batch)
                    yield {
                        "paper": "cheng2025", "device": infers, "case": f"{px} px, batch {batch}",
                        "item": role, "predicted_s": seconds,
                    }  # fmt: skip


def _work(model, shape: tuple[int, ...], training: bool) -> pd.DataFrame:
    counted = count(model, shape, training=training)
    tensors = len([*model.parameters()])
    amounts = of_net(counted, training=training, tensors=tensors)
    return pd.DataFrame([amounts]).reindex(columns=list(FEATURES)).fillna(0.0)


def _image_s(known: prices.Known, work: pd.DataFrame, batch: int) -> float:
    return float(known.model.of(work, [batch])[0])


def layers(here: prices.Known) -> Iterator[dict]:
    """Each layer of Atsumi's LeNet, one image, by this machine's prices."""
    net = nets.build("lenet_atsumi")
    told = estimate.by_prices(net, (1, 28, 28), batch=1, known=here)
    by_layer = told.table[told.table["path"] != ""].groupby("path", sort=False)["seconds"].sum()
    for layer, seconds in by_layer.items():
        yield {
            "paper": "atsumi2020", "device": here.device, "case": "batch 1", "item": layer,
            "predicted_s": float(seconds),
        }  # fmt: skip


def configurations(here: prices.Known, times: pd.DataFrame | None) -> Iterator[dict]:
    """Each net of Ke's family that notebook 04 timed on this machine, by its prices.

    `times`: its table `forward_times`; None where there is none.
    """
    if times is None:
        return
    names = ["filters", "input_px", "kernel_px", "layers"]
    for told in times[[*names, "batch"]].drop_duplicates().itertuples():
        net = nets.build(
            "ke_cnn", f=told.filters, s=told.input_px, k=told.kernel_px, l=told.layers,
            device="meta",
        )  # fmt: skip
        work = _work(net, (3, told.input_px, told.input_px), False)
        yield {
            "paper": "ke", "device": here.device, "case": f"batch {told.batch}",
            "item": f"{told.filters} {told.input_px} {told.kernel_px} {told.layers}",
            "predicted_s": told.batch * _image_s(here, work, told.batch),
        }  # fmt: skip


# --- what that says of the papers ------------------------------------------------------------


def cheng(paper_predictions: pd.DataFrame) -> pd.DataFrame:
    """Cheng & Liu's Table 2 against predicted epochs: a row a device, size and batch.

    distance: root mean square of the logarithms of paper / predicted, after the best common factor,
    as in notebook 02; kendall: rank correlation with the paper's order; factor: that common
    factor, the epochs that the paper's seconds would be. The nearest first.
    """
    published = paper.table_two().set_index("role")["seconds"]
    mine = paper_predictions[paper_predictions["paper"] == "cheng2025"]
    rows = []
    for (device, case), five in mine.groupby(["device", "case"], sort=False):
        predicted = five.set_index("item")["predicted_s"].reindex(published.index)
        logs = np.log(published / predicted)
        rows.append(
            {"device": device, "case": case, "distance": float(logs.std(ddof=0)),
             "kendall": float(stats.kendalltau(published, predicted).statistic),
             "factor": float(np.exp(logs.mean()))}
        )  # fmt: skip
    return pd.DataFrame(rows).sort_values("distance", ignore_index=True)


def cheng_referee(predicted: pd.DataFrame) -> str:
    """The nearest protocol of `cheng` beside the rule that all five nets take equally long."""
    equal = hypotheses.baselines().set_index("rule")["distance"]["all take the same time"]
    best = predicted.iloc[0]
    nearer = (predicted["distance"] < equal).sum()
    return (
        f"All five equally long: distance {equal:.2f}. The nearest of {len(predicted)} predicted "
        f"protocols ({best['device']}, {best['case']}): {best['distance']:.2f}; {nearer} of them "
        "are nearer than equal times."
    )


def atsumi(
    paper_predictions: pd.DataFrame, layer_times: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Atsumi's Table I, our clock (notebook 03, one image) and our prices: a row a layer.

    layer, published_s, measured_s (median), predicted_s, and the rank of each (1 the slowest).
    Without `layer_times` of this machine nothing is measured.
    """
    mine = paper_predictions[paper_predictions["paper"] == "atsumi2020"]
    predicted = mine.set_index("item")["predicted_s"]
    published = atsumi_paper.table_i()
    measured = pd.Series(np.nan, index=published.index)
    if layer_times is not None:
        table = atsumi_times.table_one(layer_times)
        table = table[(table["batch"] == 1) & (table["threads"] == table["threads"].min())]
        measured = table.set_index("layer")["median_s"].reindex(published.index)
    found = pd.DataFrame(
        {"published_s": published, "measured_s": measured,
         "predicted_s": predicted.reindex(published.index)}
    )  # fmt: skip
    for name in ("published", "measured", "predicted"):
        found[f"{name}_rank"] = found[f"{name}_s"].rank(ascending=False).astype("Int64")
    return found.rename_axis("layer").reset_index()


def ranks_of_layers(
    paper_predictions: pd.DataFrame, layer_times: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Rank correlations (Spearman) of the columns of `atsumi`: between, layers, spearman."""
    table = atsumi(paper_predictions, layer_times).dropna(axis=1, how="all").dropna()
    pairs = (("published", "measured"), ("measured", "predicted"), ("published", "predicted"))
    pairs = [pair for pair in pairs if {f"{name}_s" for name in pair} <= set(table)]
    return pd.DataFrame(
        [
            {"between": f"{one} and {other}", "layers": len(table),
             "spearman": stats.spearmanr(table[f"{one}_s"], table[f"{other}_s"]).statistic}
            for one, other in pairs
        ]
    )  # fmt: skip


def ke(
    paper_predictions: pd.DataFrame,
    forward_times: pd.DataFrame | None,
    configuration_trainings: pd.DataFrame | None,
) -> pd.DataFrame:
    """Errors on Ke's C(T): eq. (1), notebook 04's model, and prices of work.

    C is the time relative to the baseline's. A row a set (held out; optimum: the nets that eq. (7)
    chose, timed later) and model: nets, mean_percent, median_percent, max_percent. The prices have
    seen no net of the family; the other models were fitted to nets of it. Nets without a
    prediction are left out of all. Without tables of this machine nothing comes out.
    """
    if forward_times is None or configuration_trainings is None:
        columns = ["set", "model", "nets", "mean_percent", "median_percent", "max_percent"]
        return pd.DataFrame(columns=columns)
    table = complexity.complexities(forward_times, configuration_trainings)
    mine = paper_predictions[paper_predictions["paper"] == "ke"].copy()
    mine[list(NAMES)] = mine["item"].str.split(expand=True).reindex(columns=range(4)).astype(int)
    base = mine[mine["item"] == " ".join(map(str, astuple(BASELINE)))]["predicted_s"]
    if base.empty:
        raise MissingTableError("no prediction of the baseline of notebook 04 is there yet")
    mine["of_prices"] = mine["predicted_s"] / base.iloc[0]
    table = table.merge(mine[[*NAMES, "of_prices"]], on=list(NAMES))
    one = table[table["model"] == table["model"].iloc[0]]
    prices = one.assign(model="prices of work", predicted=one["of_prices"])
    table = pd.concat([table, prices], ignore_index=True)
    table = table[table["set"].isin(["held out", "optimum"])]
    table["off"] = 100 * (table["predicted"] / table["complexity"] - 1).abs()
    found = table.groupby(["set", "model"], sort=False)["off"].agg(
        nets="size", mean_percent="mean", median_percent="median", max_percent="max"
    )
    return found.reset_index()
