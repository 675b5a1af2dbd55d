"""How models of precision with coefficients are fitted: starts, lmfit, and what is identified."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from convcost.chapters.complexity_precision.findings import configurations
from convcost.chapters.complexity_precision.findings.configurations import NAMES
from convcost.chapters.complexity_precision.findings.rows import checked
from convcost.core.errors import BadInputError
from convcost.fits.comparison import LEVEL
from convcost.fits.fitted import Fitted, ranges_of

if TYPE_CHECKING:  # where nets are only trained it need not be there
    import lmfit

STARTS = 6
"""Fits that are followed to their end: the best of `DRAWS` random exponents."""
DRAWS = 150

_DEGENERATE = 1e7
"""Condition number of the scaled Jacobian from which a coefficient is not to be told apart."""
COLUMNS = ["parameter", "estimate", "low", "high", "identified", "why_not"]


def weights_of(rows: pd.DataFrame) -> np.ndarray:
    """Mean 1, so that chi2 is a sum of squared errors of precision."""
    if "images" not in rows:
        return np.ones(len(rows))
    weights = rows["images"].to_numpy(dtype=float)
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise BadInputError("images has a value that is not above 0: it is the weight of the row")
    return weights / weights.mean()


def _aic(residuals: np.ndarray, weights: np.ndarray, free: int) -> float:
    """n ln(chi2 / n) + 2 p, as lmfit has it; -inf for a perfect fit."""
    chi2 = float((weights * residuals**2).sum())
    return len(residuals) * math.log(chi2 / len(residuals)) + 2 * free if chi2 > 0 else -math.inf


class Model:
    """What models of precision share: a name, what they need of the rows, and a link.

    A subclass may say `inputs` and, if precision is a function of what is added up, `link` and
    `unlink`; `fit(rows)` gives a `Fitted`.
    """

    name: str
    equation: str

    def inputs(self, rows: pd.DataFrame) -> np.ndarray:
        return configurations.shares(rows)

    def link(self, total: np.ndarray) -> np.ndarray:
        return total

    def unlink(self, precision: np.ndarray) -> np.ndarray:
        return precision


class InsideLogit:
    """A link that keeps precision between 0 and 1."""

    def link(self, total: np.ndarray) -> np.ndarray:
        return special.expit(total)

    def unlink(self, precision: np.ndarray) -> np.ndarray:
        return special.logit(np.clip(precision, 1e-3, 1 - 1e-3))


class Parametric(Model):
    """A model linear in some coefficients once the others, its exponents, are given.

    That is how starts are made: exponents are drawn, the rest is solved for, lmfit improves all
    of the best together. A subclass says `exponents` and `linear` (name -> bounds) and
    `design` (one column a linear coefficient, of the `inputs`).
    """

    exponents: dict[str, tuple[float, float]]
    linear: dict[str, tuple[float, float]]
    names: tuple[str, ...] = NAMES
    draws: tuple[float, float] = (0.1, 4.0)

    def design(self, inputs: np.ndarray, exponents: dict[str, float]) -> np.ndarray:
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, bounds: tuple[float, float]) -> float:
        low, high = np.log(self.draws)
        return float(np.clip(np.exp(rng.uniform(low, high)), *bounds))

    def bounds(self, rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
        return self.exponents | self.linear

    def value(self, inputs: np.ndarray, values: dict[str, float]) -> np.ndarray:
        """Precision of each row of `inputs` for these coefficients."""
        columns = self.design(inputs, values)
        return self.link(columns @ np.array([values[name] for name in self.linear]))

    def fit(
        self,
        rows: pd.DataFrame,
        *,
        seed: int = 0,
        intervals: bool = False,
        warm: Fitted | None = None,
    ) -> Fitted:
        """The best of several starts by weighted least squares in precision.

        The starts are the best of `DRAWS` that `seed` gives; with `warm` (an earlier fit of this
        model) that is the only start. `intervals` asks for profile-likelihood intervals, which
        takes seconds. A coefficient is called identified only where the data tell it from the
        others: more configurations than coefficients, a Jacobian of full rank, no bound reached
        and, if asked for, a profile that closes on both sides. Raises BadInputError for rows that
        cannot be fitted (empty, missing values, no network).
        """
        import lmfit

        rows = checked(rows, "precision")
        measured = rows["precision"].to_numpy(dtype=float)
        weights = weights_of(rows)
        bounds = self.bounds(rows)
        inputs = self.inputs(rows)
        root = np.sqrt(weights)

        def off_by(values: dict[str, float]) -> np.ndarray:
            off = measured - self.value(inputs, values)
            return root * np.nan_to_num(off, nan=1e3, posinf=1e3, neginf=-1e3)

        def residual(parameters: "lmfit.Parameters") -> np.ndarray:
            return off_by(parameters.valuesdict())

        if warm is None:
            firsts = self._starts(inputs, measured, root, bounds, seed)
        else:
            firsts = [warm.parameters.set_index("parameter")["estimate"].to_dict()]
        best = None
        for first in firsts:
            minimiser = lmfit.Minimizer(residual, _parameters(first, bounds), calc_covar=False)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = minimiser.leastsq(max_nfev=3000) if len(rows) >= len(bounds) else (
                    minimiser.least_squares(max_nfev=500)
                )  # fmt: skip
            if best is None or found.chisqr < best.chisqr:
                best, kept = found, minimiser
        values = best.params.valuesdict()
        table = self._judged(rows, kept, best, off_by, bounds, intervals)
        left = measured - self.value(inputs, values)
        return Fitted(
            self.name, self.equation, table, left, ranges_of(rows, NAMES),
            lambda other: self.value(self.inputs(other), values),
            _aic(left, weights, len(bounds)),
        )  # fmt: skip

    def _starts(self, inputs, measured, root, bounds, seed) -> list[dict[str, float]]:
        rng = np.random.default_rng(seed)
        target = self.unlink(measured) * root
        low, high = np.array([bounds[name] for name in self.linear]).T
        found = []
        for _ in range(DRAWS if self.exponents else 1):
            exponents = {name: self.draw(rng, bounds[name]) for name in self.exponents}
            columns = self.design(inputs, exponents) * root[:, None]
            solved = np.clip(np.linalg.lstsq(columns, target, rcond=None)[0], low, high)
            first = exponents | dict(zip(self.linear, map(float, solved), strict=True))
            off = root * (measured - self.value(inputs, first))
            found.append((float(off @ off), first))
        return [first for _, first in sorted(found, key=lambda pair: pair[0])[:STARTS]]

    def _judged(self, rows, minimiser, best, off_by, bounds, intervals) -> pd.DataFrame:
        reasons = self._reasons(rows, best.params, off_by, bounds)
        limits = {}
        if intervals and not all(reasons.values()):
            limits = _profiles(minimiser, best, [name for name, why in reasons.items() if why])
        table = []
        for name in bounds:
            low, high = limits.get(name, (np.nan, np.nan))
            why = reasons[name]
            if intervals and not why and not (math.isfinite(low) and math.isfinite(high)):
                why = "its profile likelihood does not close on both sides"
            entry = {"parameter": name, "estimate": best.params[name].value}
            table.append(entry | {"low": low, "high": high, "identified": not why, "why_not": why})
        return pd.DataFrame(table, columns=COLUMNS)

    def _reasons(self, rows, parameters, off_by, bounds) -> dict[str, str]:
        """For each coefficient why it is not identified, "" if it is as far as derivatives tell."""
        for name in self.names:
            tied = [p for p in bounds if p.endswith(f"_{name}")]
            if tied and rows[name].nunique() == 1:
                return dict.fromkeys(bounds, f"{name} has one value only")
        if len(rows) <= len(bounds):
            few = f"{len(rows)} configurations for {len(bounds)} coefficients"
            return dict.fromkeys(bounds, few)
        at = np.array([parameters[name].value for name in bounds])
        jacobian = _jacobian(lambda v: off_by(dict(zip(bounds, v, strict=True))), at)
        norms = np.linalg.norm(jacobian, axis=0)
        flat = norms < 1e-10
        reasons = dict.fromkeys(bounds, "")
        for name, value, is_flat in zip(bounds, at, flat, strict=True):
            low, high = bounds[name]
            room = 1e-4 * (high - low) if math.isfinite(high - low) else 0.0
            if value - low <= room or high - value <= room:
                reasons[name] = "it lies at the bound of its search"
            elif is_flat:
                reasons[name] = "precision does not depend on it"
        if not any(reasons.values()) and np.linalg.cond(jacobian / norms) > _DEGENERATE:
            return dict.fromkeys(bounds, "the data do not tell the coefficients apart")
        return reasons


def _parameters(values: dict[str, float], bounds: dict | None = None) -> "lmfit.Parameters":
    import lmfit

    parameters = lmfit.Parameters()
    for name, value in values.items():
        low, high = (bounds or {}).get(name, (-np.inf, np.inf))
        if math.isfinite(low) and math.isfinite(high):
            margin = 1e-3 * (high - low)  # at a bound the derivative is 0: no start lies there
            value = min(max(value, low + margin), high - margin)
        parameters.add(name, value=value, min=low, max=high)
    return parameters


def _jacobian(function: Callable, at: np.ndarray) -> np.ndarray:
    steps = 1e-6 * np.maximum(np.abs(at), 1e-3)
    return np.column_stack(
        [
            (function(at + step) - function(at - step)) / (2 * step.sum())
            for step in np.diag(steps)
        ]
    )  # fmt: skip


def _profiles(minimiser: "lmfit.Minimizer", best, held: Sequence[str]) -> dict:
    """(low, high) of each coefficient but `held` by lmfit's profile likelihood.

    Those of `held` stay where they are: at the bound of their search. A side that does not close
    is infinite; a coefficient whose profile fails is not there.
    """
    import lmfit

    parameters = best.params.copy()
    for name in held:
        parameters[name].vary = False
    free = [name for name in parameters if parameters[name].vary]
    limits = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        minimiser.calc_covar = True
        result = minimiser.leastsq(params=parameters)
        if len(free) == 1:  # nothing to profile over: Student's interval is the same thing
            value = result.params[free[0]]
            if value.stderr:
                half = special.stdtrit(result.nfree, (1 + LEVEL) / 2) * value.stderr
                limits[free[0]] = (value.value - half, value.value + half)
            return limits
        for name in free:
            if not result.params[name].stderr:
                continue
            try:
                found = lmfit.conf_interval(minimiser, result, p_names=[name], sigmas=[LEVEL])
            except (lmfit.MinimizerException, ValueError, KeyError, np.linalg.LinAlgError):
                continue
            limits[name] = (float(found[name][0][1]), float(found[name][-1][1]))
    return limits
