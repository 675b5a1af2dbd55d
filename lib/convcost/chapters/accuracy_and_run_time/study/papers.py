"""What prices say of what the papers timed: epochs of five nets, layers of LeNet, Ke's family."""

from collections.abc import Iterator

import pandas as pd

from convcost import nets
from convcost.chapters.training_time.findings import paper
from convcost.counting.count import count
from convcost.predict import estimate, prices
from convcost.predict.operators import FEATURES, TRAINED, USED, of_net

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
