"""Models of forward run time: eq. (1) of Ke, Cao & Lv, and better ones beside it.

C is the run time of one image relative to the baseline's. Every model here is a sum of features
with one coefficient each; `fit` gives a `Fitted`.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from convcost import sources
from convcost.chapters.complexity_precision.findings import configurations
from convcost.chapters.complexity_precision.findings.configurations import BASELINE, NAMES
from convcost.chapters.complexity_precision.findings.rows import checked
from convcost.core.errors import BadInputError
from convcost.core.units import FLOPS_PER_MAC
from convcost.fits.comparison import LEVEL
from convcost.fits.fitted import Fitted, ranges_of
from convcost.sources import equations

BLOCKS = (1, 4, 8, 16, 32)
"""Widths that a kernel may pad the channels to: one vector register's worth, or a few."""
CACHES = (2_500, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000)
"""Elements of a map, per image of the batch, that a processor may keep near."""


def _line(rows: pd.DataFrame) -> dict:
    return {"alpha_1": configurations.costs(rows)["conv_macs"], "alpha_0": np.ones(len(rows))}


def _costs(rows: pd.DataFrame, block: int = 1, cache: int | None = None) -> dict:
    """What each layer multiplies, writes and reads, with channels in blocks.

    Without `cache` all maps are padded to the block, and the input has its price; with it only
    what a kernel makes is padded, and what of a map goes beyond the cache has its price.
    """
    f, s, k, layers = configurations.columns(rows)
    padded = -(-f // block) * block
    stored = padded if cache is None else f
    later, written, beyond = (np.zeros(len(f)) for _ in range(3))
    for i in range(int(layers.max(initial=0))):
        area = (layers > i) * (s >> i) ** 2
        later += (i > 0) * stored * k * k * padded * area
        written += stored * area
        beyond += np.maximum(0, f * area - (cache or 0))
    moved = {"elements of the input": s * s} if cache is None else {
        "elements beyond the cache": beyond
    }  # fmt: skip
    return {
        "macs of the first layer": configurations.IN_CHANNELS * k * k * padded * s * s,
        "macs of later layers": later,
        "elements written": written,
        **moved,
        "layers": layers,
        "constant": np.ones(len(f)),
    }


@dataclass(frozen=True)
class ComplexityModel:
    """What is fitted: a name, features, and whether the error made small is relative."""

    name: str
    equation: str
    features: Callable[..., dict]
    relative: bool = True
    bounded: bool = False  # no coefficient below 0: a cost is never negative
    tried: tuple[tuple[int, ...], ...] = ((),)  # what the features also take: the best of these

    def fit(self, rows: pd.DataFrame) -> Fitted:
        """Fitted on rows with the columns `NAMES` and complexity (of `rows.timed`).

        `parameters` has one row a coefficient, in units of C(T0) = 1: parameter, estimate (what
        the feature adds to the baseline's C), low, high (95 %, Student's interval from the
        least-squares covariance; missing of a bounded model), baseline_has (the feature itself at
        the baseline, so that estimate / baseline_has is per unit of it: per multiplication for
        alpha_1). `options` are block and cache, None where the model has none.

        Raises BadInputError for fewer configurations than coefficients, and for a complexity that
        is not above 0.
        """
        rows = checked(rows, "complexity")
        measured = rows["complexity"].to_numpy(dtype=float)
        if (measured <= 0).any():
            raise BadInputError("complexity has a value that is not above 0")
        weights = 1 / measured if self.relative else np.ones(len(measured))
        tried = []
        for choice in self.tried:
            design = self._shares(rows, choice)
            if len(design) < design.shape[1]:
                raise BadInputError(
                    f"{len(design)} configurations for {design.shape[1]} coefficients of "
                    f"'{self.name}': time more of them"
                )
            weighted = design * weights[:, None]
            coefficients = (
                optimize.nnls(weighted, measured * weights)[0] if self.bounded else
                np.linalg.lstsq(weighted, measured * weights, rcond=None)[0]
            )  # fmt: skip
            off = design @ coefficients / measured - 1
            tried.append((float((off**2).sum()), choice, design, coefficients))
        _, choice, design, coefficients = min(tried, key=lambda one: one[0])
        own = self._of_baseline(choice)
        half = np.full(len(coefficients), np.nan)
        if not self.bounded:
            half = _student(design * weights[:, None], measured * weights, coefficients)
        table = pd.DataFrame(
            {
                "parameter": list(own), "estimate": coefficients, "low": coefficients - half,
                "high": coefficients + half, "baseline_has": list(own.values()),
            }
        )  # fmt: skip
        return Fitted(
            self.name, self.equation, table, measured - design @ coefficients,
            ranges_of(rows, NAMES), lambda other: self._shares(other, choice) @ coefficients,
            options=dict(zip(("block", "cache"), (*choice, None, None), strict=False)),
        )  # fmt: skip

    def _shares(self, rows: pd.DataFrame, choice: tuple[int, ...]) -> np.ndarray:
        """(rows, features), each over the baseline's own: coefficients are shares of C(T0)."""
        own = self._of_baseline(choice)
        return np.column_stack(
            [
                np.asarray(column, dtype=float) / own[name]
                for name, column in self.features(rows, *choice).items()
            ]
        )

    def _of_baseline(self, choice: tuple[int, ...]) -> dict[str, float]:
        found = self.features(configurations.frame([BASELINE]), *choice)
        return {name: float(np.asarray(column)[0]) for name, column in found.items()}


def _student(design: np.ndarray, measured: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Half of the 95 % intervals of least squares; NaN where the data leave nothing free."""
    free = len(design) - design.shape[1]
    if free < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return np.full(len(coefficients), np.nan)
    left = design @ coefficients - measured
    covariance = np.linalg.inv(design.T @ design) * (left @ left) / free
    return stats.t.ppf((1 + LEVEL) / 2, free) * np.sqrt(np.diag(covariance))


EQ1 = "eq. (1), least squares"
EQ1_RELATIVE = "eq. (1), least relative error"
COSTS = "costs"
PADDED_COSTS = "costs, channels in blocks"
CACHED_COSTS = "costs, blocks and cache"
DEFAULT = CACHED_COSTS
"""The least error on what it was fitted on in the reference run.

Its coefficients, block and cache saw no held-out net, but its form did: its kinds of cost were
thought of after eq. (1) had failed on the held-out nets, which are the less held out for it.
"""

_COSTS_TEXT = (
    "C = a1 macs(first layer) + a2 macs(later layers) + a3 elements written + a4 elements of the "
    "input + a5 layers + a6, all a >= 0"
)
MODELS: dict[str, ComplexityModel] = {
    model.name: model
    for model in (
        ComplexityModel(EQ1, "C = alpha_1 conv_macs + alpha_0", _line, relative=False),
        ComplexityModel(EQ1_RELATIVE, "C = alpha_1 conv_macs + alpha_0", _line),
        ComplexityModel(COSTS, _COSTS_TEXT, _costs, bounded=True),
        ComplexityModel(
            PADDED_COSTS, _COSTS_TEXT + "; filters rounded up to a block", _costs, bounded=True,
            tried=tuple((block,) for block in BLOCKS),
        ),
        ComplexityModel(
            CACHED_COSTS,
            "C = a1 macs(first layer) + a2 macs(later layers) + a3 elements written + a4 elements "
            "of maps beyond the cache + a5 layers + a6, all a >= 0; filters written rounded up to "
            "a block",
            _costs, bounded=True, tried=tuple(itertools.product(BLOCKS, CACHES)),
        ),
    )
}  # fmt: skip


def model(name: str) -> ComplexityModel:
    """A model of C by name. Raises BadInputError for an unknown one."""
    if name not in MODELS:
        raise BadInputError(f"unknown complexity model {name!r}: choose one of {', '.join(MODELS)}")
    return MODELS[name]


def alpha(fitted: Fitted) -> pd.Series:
    """alpha_1 and alpha_0 of a fitted eq. (1), as the paper writes them: C = 1 at the baseline.

    Entries: alpha_1 (relative run time per multiplication), alpha_1_low, alpha_1_high, alpha_0,
    alpha_0_low, alpha_0_high. Raises BadInputError for another model.
    """
    table = fitted.parameters.set_index("parameter")
    if list(table.index) != ["alpha_1", "alpha_0"]:
        raise BadInputError(f"'{fitted.model}' has no alpha_1: choose {EQ1!r} or {EQ1_RELATIVE!r}")
    entries = {}
    for name, row in table.iterrows():
        for suffix, column in (("", "estimate"), ("_low", "low"), ("_high", "high")):
            entries[f"{name}{suffix}"] = float(row[column] / row["baseline_has"])
    return pd.Series(entries)


# --- the paper's constants -------------------------------------------------------------------

POOLINGS = {
    "none": None,
    "2 x 2, stride 2": (2, 2, False),
    "3 x 3, stride 2": (3, 2, False),
    "3 x 3, stride 2, rounded up": (3, 2, True),
}
"""How the maps may shrink: (side, stride, rounded up); cuda-convnet rounds up."""

FILTERS = {
    "64-64-64, as in section 2.3": (64, 64, 64),
    "32-32-64, as in cuda-convnet's own file": (32, 32, 64),
}
INPUTS = {"1 channel": 1, "3 channels": 3, "3 channels padded to 4": 4}
COUNTED = {"multiplications": 1, "multiplications and additions": FLOPS_PER_MAC}
EXPONENTS = (7, -7, -8)
TOLERANCE = 0.025


def _pooled(side: int, pooling: tuple[int, int, bool] | None) -> int:
    if pooling is None:
        return side
    size, stride, up = pooling
    steps = -(-(side - size) // stride) if up else (side - size) // stride
    return steps + 1


def _reading_sum(filters, channels: int, padding: str, strided: bool, pooling) -> int:
    side, maps, layers = BASELINE.input_px, channels, []
    for f in filters:
        out = side if padding == "same" else side - BASELINE.kernel_px + 1
        if strided:
            out = -(-out // 2)
        layers.append((maps, BASELINE.kernel_px, f, out))
        side, maps = _pooled(out, pooling), f
    return equations.ke_sum(layers)


def paper_constants(tolerance: float = TOLERANCE) -> pd.DataFrame:
    """What the printed alpha_0 and alpha_1 give for the baseline, in every reading. Section 2.2.

    The paper prints alpha_1 = 0.626 x 10^7 and sets C(T0) = 1. One row a reading of the
    architecture: filters, input, padding (same or valid), shrinking (pooling, or convolutions of
    stride 2), counted (multiplications, or multiplications and additions), sum (of eq. (1)),
    needed_alpha_1 (that makes C(T0) = 1 with the printed alpha_0), "C, 1e+7", "C, 1e-7",
    "C, 1e-8" (with the printed digits and that exponent), and fits: the exponents for which
    |C - 1| <= tolerance, "" for none. The more readings, the likelier one of them fits by chance:
    their number is that of the rows. Sorted by the least |C - 1|.
    """
    alpha_0 = sources.value("ke", "alpha_0")
    digits = sources.value("ke", "alpha_1") / 1e7
    shrinking = {f"pooling {name}": (False, pooling) for name, pooling in POOLINGS.items()}
    shrinking["convolutions of stride 2"] = (True, None)
    table = []
    for of, image, padding, how, counted in itertools.product(
        FILTERS, INPUTS, ("same", "valid"), shrinking, COUNTED
    ):
        macs = _reading_sum(FILTERS[of], INPUTS[image], padding, *shrinking[how])
        total = COUNTED[counted] * macs
        c = {f"C, 1e{e:+d}": digits * 10.0**e * total + alpha_0 for e in EXPONENTS}
        fits = [name[3:] for name, value in c.items() if abs(value - 1) <= tolerance]
        reading = {
            "filters": of, "input": image, "padding": padding, "shrinking": how,
            "counted": counted, "sum": total, "needed_alpha_1": (1 - alpha_0) / total,
        }  # fmt: skip
        nearest = min(abs(value - 1) for value in c.values())
        table.append(reading | c | {"off": nearest, "fits": ", ".join(fits)})
    return pd.DataFrame(table).sort_values("off", kind="stable", ignore_index=True)
