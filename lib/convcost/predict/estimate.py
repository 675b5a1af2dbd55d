"""What a net takes on a device of which prices are stored: seconds, an interval, where they go."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from convcost.core import machine
from convcost.core.errors import BadInputError
from convcost.predict import prices, pricing
from convcost.predict.operators import (
    COMPUTE,
    FEATURES,
    LAUNCH,
    MEMORY,
    SPENT_ON,
    TRAINED,
    USED,
    of_call,
    of_net,
)


@dataclass(frozen=True)
class Estimate:
    """What a batch of a net takes, and what it is charged for; times are in seconds.

    `table` has one row a call, and one for what belongs to none: path, op, function, seconds, of
    these compute, memory and launch, and spent_on, the largest of the three. That is how the prices
    divide a call, which were fitted to whole nets; no call was timed by itself.
    """

    seconds: float
    low: float  # the time lies between these in 90 % of cases, for a net of a new design
    high: float
    table: pd.DataFrame = field(repr=False)
    device: str
    what: str
    batch: int
    unpriced: tuple[str, ...]  # kinds of work that no four designs of the table had: taken as free
    extrapolated: str  # "" or why this is outside of what was timed

    def why(self) -> str:
        """Where the time goes, in a few sentences, and what would help."""
        parts = self.table[[COMPUTE, MEMORY, LAUNCH]].sum() / self.table["seconds"].sum()
        by_op = self.table.groupby("op")["seconds"].sum().sort_values(ascending=False)
        shares = (by_op / by_op.sum()).head(3)
        most = ", ".join(f"{op} {share:.0%}" for op, share in shares.items())
        says = {
            COMPUTE: "it multiplies for most of it: fewer or better shaped products would help",
            MEMORY: "it moves data for most of it: fused or fewer elementwise layers would help",
            LAUNCH: "it waits for calls to begin for most of it: larger batches would help",
        }
        text = (
            f"Of the time {parts[COMPUTE]:.0%} multiplies, {parts[MEMORY]:.0%} moves data and "
            f"{parts[LAUNCH]:.0%} launches calls; {says[parts.idxmax()]}. By operator: {most}."
        )
        if self.unpriced:
            text += f" Without a price, and taken as free: {', '.join(self.unpriced)}."
        return text + (f" {self.extrapolated}" if self.extrapolated else "")

    def __repr__(self) -> str:
        return (
            f"{self.seconds * 1e3:.3g} ms ({self.low * 1e3:.3g} to {self.high * 1e3:.3g}) for "
            f"{self.what} of a batch of {self.batch} on {self.device}, predicted"
        )


def time(
    model, input_shape, *, batch: int = 1, what: str = USED, device: str | None = None
) -> Estimate:
    """What a batch of a net takes on a device whose prices are stored; None: on this machine.

    model: a torch.nn.Module; input_shape without the batch, (3, 224, 224). what: "inference" or
    "training" (a step: forward, backward, optimiser). The arithmetic, the versions and the order
    in memory are those of the times that the prices were fitted to: `devices` tells them. A net
    whose form changes for inference has to be given in the form that it runs in.

    Raises BadInputError for a device without prices for that (a machine gets some by
    `python -m convcost calibrate`), a batch below 1, and what `count` refuses.

    >>> from convcost import nets
    >>> one = time(nets.build("resnet18"), (3, 224, 224), batch=64, device="rtx4090")
    >>> one.low < one.seconds < one.high
    True
    """
    told = _of_this_machine(what) if device is None else prices.of(device, what)
    return by_prices(model, input_shape, batch=batch, known=told)


def by_prices(model, input_shape, *, batch: int, known: prices.Known) -> Estimate:
    """What a batch of a net takes by prices at hand: as `time`."""
    from convcost.counting.count import count

    told, what = known, known.what
    if not isinstance(batch, int) or batch < 1:
        raise BadInputError(f"a batch of {batch!r}: a whole number from 1 on is expected")
    training = what == TRAINED
    counted = count(model, input_shape, training=training)
    tensors = len([*model.parameters()])
    amounts = of_net(counted, training=training, tensors=tensors)
    net = pd.DataFrame([amounts]).reindex(columns=list(FEATURES)).fillna(0.0)
    seconds = float(told.model.of(net, [batch])[0]) * batch
    least, most = told.batch
    note = ""
    if not least <= batch <= most:
        note = f"No batch of {batch} was timed there: {least:g} to {most:g}."
    priced = set(told.model.everything.seconds.index)
    return Estimate(
        seconds=seconds, low=told.model.low * seconds, high=told.model.high * seconds,
        table=_by_call(counted, amounts, told.model, net, batch, seconds, training),
        device=told.device, what=what, batch=batch,
        unpriced=tuple(name for name in amounts if name not in priced), extrapolated=note,
    )  # fmt: skip


def _by_call(counted, amounts, model, net, batch, seconds, training) -> pd.DataFrame:
    """The time of each call, by what it is spent on; what belongs to none stands last.

    Of a net that two lists price, a call has the mean of both; all are scaled to the whole.
    """
    lists = [model.everything]
    if model.plain is not None and pricing.is_plain(net)[0]:
        lists.append(model.plain)
    works = [of_call(call, training=training) for call in counted.calls]
    rest = {name: amount for name, amount in amounts.items() if not any(name in w for w in works)}
    works.append(rest)
    work = pd.DataFrame(works).reindex(columns=list(FEATURES)).fillna(0.0)
    each = pricing.per_image(work, np.full(len(work), batch))
    priced = sum(each * one.seconds.reindex(work.columns).fillna(0.0).to_numpy() for one in lists)
    kinds = pd.DataFrame(priced, columns=work.columns).T.groupby(pd.Series(SPENT_ON)).sum().T
    kinds = kinds.reindex(columns=[COMPUTE, MEMORY, LAUNCH]).fillna(0.0)
    kinds *= seconds / kinds.to_numpy().sum()
    names = [(call.path, call.op, call.function) for call in counted.calls]
    table = pd.DataFrame([*names, ("", "whole net", "")], columns=["path", "op", "function"])
    table["seconds"] = kinds.sum(axis=1)
    table = pd.concat([table, kinds], axis=1)
    table["spent_on"] = kinds.idxmax(axis=1).where(table["seconds"] > 0, "")
    return table


def _of_this_machine(what: str) -> prices.Known:
    name = machine.slug()
    try:
        return prices.of(name, what)
    except BadInputError as error:
        raise BadInputError(
            f"{error}. This machine ({name}) gets its own by `python -m convcost calibrate`; or "
            "name one of those devices"
        ) from None
