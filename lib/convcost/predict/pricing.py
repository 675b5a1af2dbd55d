"""What each kind of work costs on a device: prices that are fitted to measured times of nets.

The time of an image is the sum of its amounts (`predict.operators`) times their prices, none of
which is below 0. A fit is judged on designs that it has not seen: nets that share code stand on one
side only, never on both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.predict.operators import BATCH, COMPUTE, LAUNCH, MEMORY, SPENT_ON

ROUNDS = 12  # of the fit, each with new weights: the sum of absolute errors, not of squares
LEAST_ERROR = 0.03  # a net that is met so well pulls no harder than one that is met exactly
SHRINK = 0.05  # towards 0, where the data say nothing
LEAST_DESIGNS = 4  # that do a kind of work, or it gets no price: else it is one design's habit
NOMINAL = 0.90
_Z = 1.6449  # of a normal distribution, 90 % lie within so many standard deviations
OTHERS_COUNT = 5  # designs that the intervals of other devices count as
# Prices that begin from those of other devices. A scale that leaves the common one by all of it
# costs as much as a net that is missed by half; a price that doubles, as one missed by 0.3, or by
# less where it makes up less than LEAST_SHARE of the time.
KEEP_SCALE = 0.5
KEEP_PRICE = 0.3
# Of the many nets that are made to tell one kind of work from another. Left-out styles of these
# nets cannot tell 0.03 to 0.3 apart, in inference nor in training; this lies between.
KEEP_CALIBRATED = 0.15
LEAST_SHARE = 0.003
_OF_RESULTS = ("attention", "matmul", "recurrent")


@dataclass(frozen=True)
class Prices:
    """Seconds per unit of work, by feature; work that is not among them has no price."""

    seconds: pd.Series
    designs: int  # it was fitted to
    rows: int

    def of(self, amounts: pd.DataFrame, batch: Sequence[float]) -> np.ndarray:
        """Seconds per image of each row: amounts as of `operators.of_net`, in batches of `batch`.

        Raises BadInputError for a batch below 1. Work without a price counts as free.
        """
        return per_image(amounts.reindex(columns=self.seconds.index), batch) @ self.seconds.values


@dataclass(frozen=True)
class Model:
    """Two lists of prices: fitted to all nets, and to those without products of two results.

    A net without such products (attention and the like) takes the geometric mean of both; all
    others the first. The second is missing where fewer than three designs are such nets.
    `low`, `high`: between these times the prediction lies the time of a net of a new design in 90 %
    of cases (`interval`); NaN where that was not asked for.
    """

    everything: Prices
    plain: Prices | None
    low: float = np.nan
    high: float = np.nan

    def of(self, amounts: pd.DataFrame, batch: Sequence[float]) -> np.ndarray:
        """Seconds per image of each row, as of `Prices`."""
        found = self.everything.of(amounts, batch)
        if self.plain is not None:
            plain = is_plain(amounts)
            sizes = np.asarray(batch, float)
            found[plain] = np.sqrt(found[plain] * self.plain.of(amounts[plain], sizes[plain]))
        return found


def is_plain(amounts: pd.DataFrame) -> np.ndarray:
    """Which nets multiply by weights only."""
    return (amounts.reindex(columns=list(_OF_RESULTS)).fillna(0.0) == 0).all(axis=1).to_numpy()


def per_image(amounts: pd.DataFrame, batch: Sequence[float]) -> np.ndarray:
    """Amounts of each row per image, as an array: what is done once a batch is shared by it."""
    sizes = np.asarray(batch, float)
    if not (sizes >= 1).all():
        raise BadInputError(f"a batch of {sizes[~(sizes >= 1)][0]:g}: 1 or more is expected")
    once = np.array([name.endswith(BATCH) for name in amounts.columns])
    return np.nan_to_num(amounts.to_numpy(float)) / np.where(once, sizes[:, None], 1.0)


def fit(
    amounts: pd.DataFrame,
    seconds: Sequence[float],
    batch: Sequence[float],
    designs: Sequence[str],
) -> Model:
    """A model of least relative error: one row a net that was timed.

    `amounts`: columns are features; `seconds` are per image. Work gets a price where at least
    four designs have it. Raises BadInputError for times that are no positive numbers, and for
    fewer than four designs.
    """
    times, families = np.asarray(seconds, float), np.asarray(designs, object)
    if not (np.isfinite(times) & (times > 0)).all():
        raise BadInputError("a time is not above 0: it cannot be fitted to")
    if len(set(families)) < LEAST_DESIGNS:
        raise BadInputError(
            f"nets of {len(set(families))} design(s) are too few to fit prices to: give nets of "
            f"at least {LEAST_DESIGNS}"
        )
    work, plain = per_image(amounts, batch), is_plain(amounts)
    few = len(set(families[plain])) < LEAST_DESIGNS or plain.all()
    return Model(
        _prices(amounts.columns, work, times, families),
        None if few else _prices(amounts.columns, work[plain], times[plain], families[plain]),
    )


def _prices(names: pd.Index, work: np.ndarray, times: np.ndarray, families: np.ndarray) -> Prices:
    shared = _designs_with(work, families) >= LEAST_DESIGNS
    found = pd.Series(least_relative(work[:, shared], times), index=names[shared])
    return Prices(found, designs=len(set(families)), rows=len(times))


def _designs_with(work: np.ndarray, families: np.ndarray) -> np.ndarray:
    """In how many designs each feature occurs."""
    present = pd.DataFrame(work > 0).groupby(families).any()
    return present.sum().to_numpy()


def least_relative(work: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Prices from 0 up with the least sum of |predicted / measured - 1|, shrunk a little.

    Columns are scaled to the same size, so that shrinking treats all kinds of work alike.
    """
    with optional():
        from scipy.optimize import nnls

    relative = work / times[:, None]
    scale = np.sqrt((relative**2).mean(axis=0))
    scale[scale == 0] = 1.0
    relative = relative / scale
    nets, features = relative.shape
    pull = SHRINK * np.sqrt(nets) * np.eye(features)
    weights = np.ones(nets)
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        rows = np.vstack([relative * root[:, None], pull])
        prices, _ = nnls(rows, np.concatenate([root, np.zeros(features)]), maxiter=50 * features)
        weights = 1 / np.maximum(np.abs(relative @ prices - 1), LEAST_ERROR)
        weights /= weights.mean()
    return prices / scale


def transferred(
    amounts: pd.DataFrame, seconds: Sequence[float], batch: Sequence[float],
    like: Sequence[Model], keep: float = KEEP_PRICE,
) -> Model:  # fmt: skip
    """A model of a device on which few nets were timed, by the prices of others.

    What others charge for multiplying, for moving data and for beginning is scaled until it meets
    the given times best; then single prices move away from that, the more nets say so the
    further. Of several others the mean of what follows from each is taken. One net is enough to be
    scaled by. `keep`: how hard it is for a price to leave its scaled one. Rows as of `fit`. Raises
    BadInputError for times that are no positive numbers and for no net.
    """
    times = np.asarray(seconds, float)
    if not (len(times) and (np.isfinite(times) & (times > 0)).all()):
        raise BadInputError("one net or more, and times above 0, are expected")
    work, plain = per_image(amounts, batch), is_plain(amounts)

    def of(name: str, chosen: np.ndarray) -> Prices | None:
        lists = [prices for model in like if (prices := getattr(model, name)) is not None]
        if not lists or not chosen.any():
            return None
        found = [
            _begun_from(one.seconds.reindex(amounts.columns), work[chosen], times[chosen], keep)
            for one in lists
        ]
        mean = pd.concat(found, axis=1).mean(axis=1)
        return Prices(mean, designs=max(one.designs for one in lists), rows=int(chosen.sum()))

    return Model(of("everything", np.ones(len(times), bool)), of("plain", plain))


def _begun_from(others: pd.Series, work: np.ndarray, times: np.ndarray, keep: float) -> pd.Series:
    """Prices near those of another device, after these were scaled, each kind by its own factor."""
    names, other = others.index, others.fillna(0.0).to_numpy()
    kinds = [np.array([SPENT_ON[name] == kind for name in names])
             for kind in (COMPUTE, MEMORY, LAUNCH)]  # fmt: skip
    parts = np.stack([work[:, kind] @ other[kind] for kind in kinds], axis=1) / times[:, None]
    # work that no other device charges for says nothing of the scale
    common = np.exp(np.median(-np.log(np.maximum(parts.sum(axis=1), 1e-12))))
    parts *= common
    share = np.sqrt((parts**2).mean(axis=0))
    scales = least_relative_from(parts, np.ones(3), KEEP_SCALE * share)
    begin = other * common * sum(kind * scale for kind, scale in zip(kinds, scales, strict=True))
    relative = work / times[:, None]
    size = np.sqrt((relative**2).mean(axis=0))
    done = size > 0
    relative, shares = relative[:, done] / size[done], begin[done] * size[done]
    begin[done] = least_relative_from(relative, shares, keep / (shares + LEAST_SHARE))
    begin[done] /= size[done]
    return pd.Series(begin, index=names)


def least_relative_from(relative: np.ndarray, begin: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """What least misses 1 in the sum of `relative` times it, from 0 up, and stays near `begin`.

    `keep` says how hard it is to leave each: that much misses a net by as much as leaving it by 1.
    """
    with optional():
        from scipy.optimize import nnls

    weights, found = np.ones(len(relative)), begin
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        rows = np.vstack([relative * root[:, None], np.diag(keep)])
        found, _ = nnls(rows, np.concatenate([root, keep * begin]), maxiter=50 * len(begin))
        weights = 1 / np.maximum(np.abs(relative @ found - 1), LEAST_ERROR)
        weights /= weights.mean()
    return found


def interval(
    ratios: np.ndarray, designs: Sequence[str], begun_from: Sequence[Model] = ()
) -> tuple[float, float]:
    """Between which factors 90 % of measured / predicted lie, every design counting as one.

    By design and not by net, because the next net is of a new design: a family of two hundred
    that is predicted well says little of it. Prices that began from other devices' bring the
    intervals of these along, which count as five designs: of few nets alone nothing can be said.
    """
    families = pd.Series(np.asarray(designs, object))
    logs = np.log(ratios)
    if begun_from:
        theirs = [np.log(model.high / model.low) / (2 * _Z) for model in begun_from]
        own = pd.Series(logs**2).groupby(families.to_numpy()).mean()
        variance = (OTHERS_COUNT * np.mean(np.square(theirs)) + own.sum()) / (
            OTHERS_COUNT + len(own)
        )
        width = _Z * np.sqrt(variance)
        return float(np.exp(-width)), float(np.exp(width))
    weights = 1 / families.map(families.value_counts()).to_numpy()
    order = np.argsort(ratios)
    shares = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    low, high = np.interp([(1 - NOMINAL) / 2, (1 + NOMINAL) / 2], shares, logs[order])
    return float(np.exp(low)), float(np.exp(high))


def covered(
    ratios: np.ndarray, designs: Sequence[str], begun_from: Sequence[Model] = ()
) -> np.ndarray:
    """Whether each measured / predicted lies in the interval of all *other* designs."""
    families = np.asarray(designs, object)
    found = np.zeros(len(families), bool)
    for family in dict.fromkeys(families):
        out = families == family
        if not out.all():
            low, high = interval(ratios[~out], families[~out], begun_from)
            found[out] = (ratios[out] >= low) & (ratios[out] <= high)
    return found
