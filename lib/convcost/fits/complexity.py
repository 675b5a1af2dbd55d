"""Models of forward run time: eq. (1) of Ke, Cao & Lv, and better ones beside it.

C is the run time of one image relative to the baseline's. Every model here is a sum of features
with one coefficient each; `fit` gives a `FittedComplexity`.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from convcost.core.errors import BadInputError
from convcost.fits import configurations
from convcost.fits.configurations import BASELINE
from convcost.fits.rows import checked

_LEVEL = 0.95
BLOCKS = (1, 4, 8, 16, 32)
"""Widths that a kernel may pad the channels to: one vector register's worth, or a few."""
CACHES = (2_500, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000)
"""Elements of a map, per image of the batch, that a processor may keep near."""


def _per_baseline(rows: pd.DataFrame, features: Callable[[pd.DataFrame], dict]) -> np.ndarray:
    """(rows, features), each over the baseline's own, so that coefficients are shares of C(T0)."""
    own = _of_baseline(features)
    return np.column_stack(
        [np.asarray(column, dtype=float) / own[name] for name, column in features(rows).items()]
    )


def _of_baseline(features: Callable[[pd.DataFrame], dict]) -> dict[str, float]:
    own = features(configurations.frame([BASELINE]))
    return {name: float(np.asarray(column)[0]) for name, column in own.items()}


def _line(rows: pd.DataFrame) -> dict:
    return {"alpha_1": configurations.costs(rows)["conv_macs"], "alpha_0": np.ones(len(rows))}


def _costs(rows: pd.DataFrame, block: int = 1) -> dict:
    f, s, k, layers = configurations.columns(rows)
    padded = -(-f // block) * block
    later = np.zeros(len(f))
    acts = np.zeros(len(f))
    for i in range(int(layers.max(initial=0))):
        area = (layers > i) * (s >> i) ** 2
        acts += padded * area
        later += (i > 0) * padded * k * k * padded * area
    return {
        "macs of the first layer": configurations.IN_CHANNELS * k * k * padded * s * s,
        "macs of later layers": later,
        "elements written": acts,
        "elements of the input": s * s,
        "layers": layers,
        "constant": np.ones(len(f)),
    }


def _cached(rows: pd.DataFrame, block: int, cache: int) -> dict:
    f, s, k, layers = configurations.columns(rows)
    padded = -(-f // block) * block
    later, written, beyond = (np.zeros(len(f)) for _ in range(3))
    for i in range(int(layers.max(initial=0))):
        area = (layers > i) * (s >> i) ** 2
        later += (i > 0) * f * k * k * padded * area
        written += f * area
        beyond += np.maximum(0, f * area - cache)
    return {
        "macs of the first layer": configurations.IN_CHANNELS * k * k * padded * s * s,
        "macs of later layers": later,
        "elements written": written,
        "elements beyond the cache": beyond,
        "layers": layers,
        "constant": np.ones(len(f)),
    }


@dataclass(frozen=True)
class FittedComplexity:
    """A fitted model of C. `parameters` has one row a coefficient, in units of C(T0) = 1.

    Columns of `parameters`: parameter, estimate (what the feature adds to the baseline's C),
    error (standard), low, high (95 %), how (what the interval stands on; the three are missing
    where there is none), baseline_has (the feature itself at the baseline, so that estimate /
    baseline_has is per unit of it: per multiplication for alpha_1).
    """

    model: str
    equation: str
    parameters: pd.DataFrame
    block: int | None
    cache: int | None
    ranges: dict[str, tuple[int, int]]
    residuals: np.ndarray  # relative: predicted over measured, minus 1
    _features: Callable[[pd.DataFrame], dict]
    _coefficients: np.ndarray

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """C of each row, relative to the baseline as measured. Rows must be networks."""
        return _per_baseline(rows, self._features) @ self._coefficients

    def outside(self, rows: pd.DataFrame) -> np.ndarray:
        """For each row whether a parameter lies outside of what was fitted: extrapolation."""
        return outside(rows, self.ranges)

    def errors(self, rows: pd.DataFrame) -> pd.Series:
        """Relative errors on measured rows, percent: mean, median, max; within_2_5 the share."""
        rows = checked(rows, "complexity")
        off = 100 * np.abs(self.predict(rows) / rows["complexity"].to_numpy() - 1)
        return pd.Series(
            {
                "configurations": len(off),
                "mean_percent": off.mean(),
                "median_percent": np.median(off),
                "max_percent": off.max(),
                "within_2_5_percent": (off < 2.5).mean(),
            }
        )


def outside(rows: pd.DataFrame, ranges: dict[str, tuple[int, int]]) -> np.ndarray:
    """For each row whether one of its parameters lies outside of `ranges` (both ends inside)."""
    out = np.zeros(len(rows), dtype=bool)
    for name, (low, high) in ranges.items():
        out |= ~rows[name].between(low, high).to_numpy()
    return out


def ranges_of(rows: pd.DataFrame) -> dict[str, tuple[int, int]]:
    return {n: (int(rows[n].min()), int(rows[n].max())) for n in configurations.NAMES}


@dataclass(frozen=True)
class ComplexityModel:
    """What is fitted: a name, features, and whether the error made small is relative."""

    name: str
    equation: str
    features: Callable[..., dict]
    relative: bool = True
    bounded: bool = False  # no coefficient below 0: a cost is never negative
    tried: tuple[tuple[int, ...], ...] = ((),)  # what the features also take: the best of these

    def fit(self, rows: pd.DataFrame, *, intervals: int = 0, seed: int = 0) -> FittedComplexity:
        """Fitted on rows with the columns `NAMES` and complexity (of `rows.complexity_rows`).

        `intervals`: of a bounded model, so many bootstrap samples of configurations; 0 none. The
        others have Student's interval from the least-squares covariance always. Raises
        BadInputError for fewer configurations than coefficients.
        """
        rows = checked(rows, "complexity")
        measured = rows["complexity"].to_numpy(dtype=float)
        if (measured <= 0).any():
            raise BadInputError("complexity has a value that is not above 0")
        tried = []
        for choice in self.tried:
            features = self._features(choice)
            design = _per_baseline(rows, features)
            if len(design) < design.shape[1]:
                raise BadInputError(
                    f"{len(design)} configurations for {design.shape[1]} coefficients of "
                    f"'{self.name}': time more of them"
                )
            coefficients = self._solve(design, measured)
            residuals = design @ coefficients / measured - 1
            tried.append((float((residuals**2).sum()), choice, design, coefficients, residuals))
        _, choice, design, coefficients, residuals = min(tried, key=lambda t: t[0])
        features = self._features(choice)
        block, cache, *_ = *choice, None, None
        if self.bounded:
            spread = self._bootstrap(design, measured, intervals, seed)
        else:
            spread = self._student(design, measured, coefficients)
        own = _of_baseline(features)
        table = pd.DataFrame({"parameter": list(own), "estimate": coefficients}).join(spread)
        table["baseline_has"] = list(own.values())
        return FittedComplexity(
            self.name, self.equation, table, block, cache, ranges_of(rows),
            residuals, features, coefficients,
        )  # fmt: skip

    def _features(self, choice: tuple[int, ...]) -> Callable[[pd.DataFrame], dict]:
        return lambda rows: self.features(rows, *choice)

    def _solve(self, design: np.ndarray, measured: np.ndarray) -> np.ndarray:
        weights = 1 / measured if self.relative else np.ones(len(measured))
        if self.bounded:
            return optimize.nnls(design * weights[:, None], measured * weights)[0]
        return np.linalg.lstsq(design * weights[:, None], measured * weights, rcond=None)[0]

    def _student(self, design, measured, coefficients) -> pd.DataFrame:
        weights = 1 / measured if self.relative else np.ones(len(measured))
        weighted = design * weights[:, None]
        free = len(design) - np.linalg.matrix_rank(weighted)
        error = np.full(len(coefficients), np.nan)
        if free > 0 and np.linalg.matrix_rank(weighted) == design.shape[1]:
            left = (design @ coefficients - measured) * weights
            covariance = np.linalg.inv(weighted.T @ weighted) * (left @ left) / free
            error = np.sqrt(np.diag(covariance))
        half = stats.t.ppf((1 + _LEVEL) / 2, max(free, 1)) * error
        return pd.DataFrame(
            {
                "error": error,
                "low": coefficients - half,
                "high": coefficients + half,
                "how": "least squares, Student",
            }
        )

    def _bootstrap(self, design, measured, samples: int, seed: int) -> pd.DataFrame:
        gap = np.full(design.shape[1], np.nan)
        table = {"error": gap, "low": gap, "high": gap, "how": "none asked for"}
        if samples:
            rng = np.random.default_rng(seed)
            draws = rng.integers(len(measured), size=(samples, len(measured)))
            found = np.array([self._solve(design[d], measured[d]) for d in draws])
            low, high = np.quantile(found, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
            how = f"bootstrap of configurations, {samples}"
            table = {"error": found.std(axis=0, ddof=1), "low": low, "high": high, "how": how}
        return pd.DataFrame(table)


EQ1 = "eq. (1), least squares"
EQ1_RELATIVE = "eq. (1), least relative error"
COSTS = "costs"
PADDED_COSTS = "costs, channels in blocks"
CACHED_COSTS = "costs, blocks and cache"
# The least error on what it was fitted on in the reference run; nothing held out had a say.
DEFAULT = CACHED_COSTS

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
            _cached, bounded=True, tried=tuple(itertools.product(BLOCKS, CACHES)),
        ),
    )
}  # fmt: skip


def model(name: str) -> ComplexityModel:
    """A model of C by name. Raises BadInputError for an unknown one."""
    if name not in MODELS:
        raise BadInputError(f"unknown complexity model {name!r}: choose one of {', '.join(MODELS)}")
    return MODELS[name]


def compare(
    fit_rows: pd.DataFrame, held_out_rows: pd.DataFrame, models: Sequence[str] = tuple(MODELS)
) -> pd.DataFrame:
    """Every model fitted on one set and tried on the other, one row each.

    Columns: model, equation, coefficients, block, cache, in_sample_* and held_out_* of
    `FittedComplexity.errors`. Rows as of `rows.complexity_rows`. A configuration in both sets is
    refused with BadInputError: it would not be held out.
    """
    refuse_overlap(fit_rows, held_out_rows)
    table = []
    for name in models:
        fitted = model(name).fit(fit_rows)
        row = {
            "model": name, "equation": fitted.equation, "coefficients": len(fitted.parameters),
            "block": fitted.block, "cache": fitted.cache,
        }  # fmt: skip
        row |= fitted.errors(fit_rows).add_prefix("in_sample_").to_dict()
        row |= fitted.errors(held_out_rows).add_prefix("held_out_").to_dict()
        table.append(row)
    whole = [
        "block",
        "cache",
        "coefficients",
        "in_sample_configurations",
        "held_out_configurations",
    ]
    return pd.DataFrame(table).astype(dict.fromkeys(whole, "Int64"))


def refuse_overlap(fit_rows: pd.DataFrame, held_out_rows: pd.DataFrame) -> None:
    """Raise BadInputError where a configuration stands in both."""
    names = list(configurations.NAMES)
    both = fit_rows[names].merge(held_out_rows[names])
    if len(both):
        raise BadInputError(
            f"{len(both)} configurations are in both sets, the first {both.iloc[0].to_dict()}: "
            "what was fitted is not held out"
        )


def alpha(fitted: FittedComplexity) -> pd.Series:
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
    return configurations.equations.ke_sum(layers)


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
    from convcost import sources
    from convcost.core.units import FLOPS_PER_MAC

    alpha_0 = sources.value("ke", "alpha_0")
    digits = sources.value("ke", "alpha_1") / 1e7
    shrinking = {f"pooling {name}": (False, pooling) for name, pooling in POOLINGS.items()}
    shrinking["convolutions of stride 2"] = (True, None)
    table = []
    for (of, filters), (image, channels) in _pairs(FILTERS, INPUTS):
        for padding, (how, (strided, pooling)) in _pairs(("same", "valid"), shrinking):
            macs = _reading_sum(filters, channels, padding, strided, pooling)
            for counted, factor in (
                ("multiplications", 1),
                ("multiplications and additions", FLOPS_PER_MAC),
            ):
                total = factor * macs
                c = {f"C, 1e{e:+d}": digits * 10.0**e * total + alpha_0 for e in EXPONENTS}
                fits = [name[3:] for name, value in c.items() if abs(value - 1) <= tolerance]
                reading = {
                    "filters": of, "input": image, "padding": padding, "shrinking": how,
                    "counted": counted, "sum": total, "needed_alpha_1": (1 - alpha_0) / total,
                }  # fmt: skip
                nearest = min(abs(value - 1) for value in c.values())
                table.append(reading | c | {"off": nearest, "fits": ", ".join(fits)})
    return pd.DataFrame(table).sort_values("off", kind="stable", ignore_index=True)


def _pairs(a, b) -> list[tuple]:
    left = list(a.items()) if isinstance(a, dict) else list(a)
    return [(x, y) for x in left for y in b.items()]
