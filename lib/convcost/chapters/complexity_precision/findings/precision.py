"""Models of precision over T = (f, s, k, l): the paper's equations (2) to (6), and others beside.

Every model has `fit(rows)`, which gives a `Fitted`: its `predict(rows)` is a fraction, not held
between 0 and 1. Rows are those of `rows.precision_rows`: the four parameters, precision (0 to 1)
and images (the weight of the row; without it all rows weigh the same). Inside, gamma is the share
of the baseline's value, so that T0 is (1, 1, 1, 1).

Of a model with coefficients `parameters` has one row each: parameter, estimate, low, high (95 % by
profile likelihood, missing where none was asked for or none exists), identified, why_not ("" if it
is). One at the bound of its search is held there for the intervals of the others. `aic` is
n ln(chi2 / n) + 2 p of the weighted residuals in precision.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from convcost.chapters.complexity_precision.findings import configurations
from convcost.chapters.complexity_precision.findings.configurations import (
    BASELINE,
    LETTERS,
    NAMES,
)
from convcost.chapters.complexity_precision.findings.rows import checked, varies_only
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
_COLUMNS = ["parameter", "estimate", "low", "high", "identified", "why_not"]


def _weights(rows: pd.DataFrame) -> np.ndarray:
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


# --- models with coefficients ------------------------------------------------------------------


class Parametric:
    """A model linear in some coefficients once the others, its exponents, are given.

    That is how starts are made: exponents are drawn, the rest is solved for, lmfit improves all
    of the best together. A subclass says `exponents` and `linear` (name -> bounds), `inputs` (what
    it needs of the rows, once), `design` (one column a linear coefficient) and, if precision is a
    function of the sum, `link` and `unlink`.
    """

    name: str
    equation: str
    exponents: dict[str, tuple[float, float]]
    linear: dict[str, tuple[float, float]]
    names: tuple[str, ...] = NAMES
    draws: tuple[float, float] = (0.1, 4.0)

    def inputs(self, rows: pd.DataFrame) -> np.ndarray:
        return configurations.shares(rows)

    def design(self, inputs: np.ndarray, exponents: dict[str, float]) -> np.ndarray:
        raise NotImplementedError

    def link(self, total: np.ndarray) -> np.ndarray:
        return total

    def unlink(self, precision: np.ndarray) -> np.ndarray:
        return precision

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
        weights = _weights(rows)
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
        return pd.DataFrame(table, columns=_COLUMNS)

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


EQ6 = "eq. (6)"


class ExponentialLine(Parametric):
    """Equations (2) to (6): an exponential of the inverses, and a line.

    P = c_1 exp(sum c_(1+i) / gamma_i) + sum c_(1+m+i) gamma_i + c_(2+2m) over m parameters, in the
    paper's order and with its letters: beta of eq. (2), n of eqs. (3) to (5), lambda of eq. (6).
    Fit it on rows where the other parameters have the baseline's value.
    """

    def __init__(self, names: Sequence[str] = NAMES):
        unknown = set(names) - set(NAMES)
        if unknown or not names:
            raise BadInputError(f"{list(names)} are no parameters: choose of {', '.join(NAMES)}")
        self.names = tuple(names)
        m = len(self.names)
        symbol = {1: "beta", 4: "lambda"}.get(m, "n")
        self.symbols = [f"{symbol}_{i}" for i in range(1, 2 * m + 3)]
        self.exponents = dict.fromkeys(self.symbols[1 : m + 1], (-3.0, 3.0))
        self.linear = {self.symbols[0]: (-5.0, 5.0)} | dict.fromkeys(
            self.symbols[m + 1 :], (-5.0, 5.0)
        )
        letters = [LETTERS[name] for name in self.names]
        inverses = " + ".join(f"{c}/{v}" for c, v in zip(self.exponents, letters, strict=True))
        line = " + ".join(
            f"{c} {v}" for c, v in zip(self.symbols[m + 1 : -1], letters, strict=True)
        )
        self.name = EQ6 if m == 4 else f"{configurations.number(self.names)}, {', '.join(letters)}"
        self.equation = (
            f"P = {self.symbols[0]} exp({inverses}) + {line} + {self.symbols[-1]}; "
            f"{', '.join(letters)} as shares of the baseline"
        )

    def bounds(self, rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
        # exp(c / gamma) at the smallest gamma stays below e^3, or the fit runs into overflow
        gamma = self.inputs(rows)
        limits = {
            name: (-3.0, 3.0 * float(gamma[:, i].min())) for i, name in enumerate(self.exponents)
        }
        return {name: (limits | self.linear)[name] for name in self.symbols}

    def draw(self, rng: np.random.Generator, bounds: tuple[float, float]) -> float:
        size = np.exp(rng.uniform(np.log(1e-3), np.log(1.0)))
        return float(np.clip(-size if rng.random() < 0.8 else size, *bounds))

    def inputs(self, rows: pd.DataFrame) -> np.ndarray:
        return configurations.shares(rows)[:, [NAMES.index(name) for name in self.names]]

    def design(self, gamma: np.ndarray, exponents: dict[str, float]) -> np.ndarray:
        power = (1 / gamma) @ np.array([exponents[name] for name in self.exponents])
        return np.column_stack([np.exp(np.minimum(power, 50)), gamma, np.ones(len(gamma))])

    def _reasons(self, rows, parameters, off_by, bounds) -> dict[str, str]:
        for name in self.names:
            values = rows[name].nunique()
            if len(self.names) == 1 and values < 4:
                return dict.fromkeys(
                    bounds, f"{name} has {values} values, and eq. (2) has 4 coefficients"
                )
            if values < 2:
                return dict.fromkeys(bounds, f"{name} has one value only")
        return super()._reasons(rows, parameters, off_by, bounds)


class Constant(Parametric):
    """The referee: one number for all. Who cannot beat it has learnt nothing of T."""

    name, equation = "constant", "P = c"
    exponents: dict = {}  # noqa: RUF012 - no model has instances that differ in it
    linear = {"c": (-10.0, 10.0)}  # noqa: RUF012
    names = ()

    def design(self, inputs: np.ndarray, exponents: dict[str, float]) -> np.ndarray:
        return np.ones((len(inputs), 1))


class LogMacs(Parametric):
    """Precision over the logarithm of the multiply-adds alone."""

    name, equation = "log-linear in MACs", "P = a + b ln(macs / macs of the baseline)"
    exponents: dict = {}  # noqa: RUF012
    linear = {"a": (-10.0, 10.0), "b": (-10.0, 10.0)}  # noqa: RUF012
    names = ()

    def inputs(self, rows: pd.DataFrame) -> np.ndarray:
        return np.log(configurations.costs(rows)["macs"].to_numpy(dtype=float) / BASELINE.macs)

    def design(self, inputs: np.ndarray, exponents: dict[str, float]) -> np.ndarray:
        return np.column_stack([np.ones(len(inputs)), inputs])


class SaturatingPowers(Parametric):
    """Precision rises as a power of each parameter and saturates: P = limit - sum k g**-b.

    Written as P = c + sum a (1 - gamma**-b) / b, which is the same curve with limit = c + sum a / b
    and k = a / b: c is the value at the baseline, a the slope there over ln gamma. In this form
    the coefficients can be told apart, and b = 0 is the logarithm. At b < 0 nothing saturates.
    """

    name = "saturating power law"
    equation = "P = c + sum a_i (1 - gamma_i**-b_i) / b_i, a_i >= 0"

    def __init__(self):
        self.exponents = {f"b_{name}": (-1.0, 8.0) for name in NAMES}
        self.linear = {"c": (-2.0, 2.0)} | {f"a_{name}": (0.0, 2.0) for name in NAMES}

    def inputs(self, rows: pd.DataFrame) -> np.ndarray:
        return np.log(configurations.shares(rows))

    def design(self, logarithms: np.ndarray, exponents: dict[str, float]) -> np.ndarray:
        powers = np.array([exponents[name] for name in self.exponents])
        powers = np.where(np.abs(powers) < 1e-9, 1e-9, powers)
        rising = -np.expm1(np.minimum(-powers * logarithms, 50)) / powers
        return np.column_stack([np.ones(len(logarithms)), rising])


class SaturatingLogit(SaturatingPowers):
    """The same inside a logit, so that precision stays between 0 and 1 and effects combine."""

    name = "saturating power law, logit"
    equation = "ln(P / (1 - P)) = c + sum a_i (1 - gamma_i**-b_i) / b_i, a_i >= 0"

    def __init__(self):
        super().__init__()
        self.linear = {"c": (-20.0, 20.0)} | {f"a_{name}": (0.0, 20.0) for name in NAMES}

    def link(self, total: np.ndarray) -> np.ndarray:
        return special.expit(total)

    def unlink(self, precision: np.ndarray) -> np.ndarray:
        return _logit(precision)


def _logit(precision: np.ndarray) -> np.ndarray:
    return special.logit(np.clip(precision, 1e-3, 1 - 1e-3))


# --- models without ----------------------------------------------------------------------------


class Learner:
    """A model without coefficients, of scikit-learn: a subclass says what is learnt, and of what.

    No AIC: what is shrunk or grown has no number of coefficients.
    """

    name: str
    equation: str
    weight: str = "sample_weight"

    def estimator(self, seed: int):
        """What scikit-learn fits."""
        raise NotImplementedError

    def inputs(self, rows: pd.DataFrame) -> np.ndarray:
        return configurations.shares(rows)

    def link(self, total: np.ndarray) -> np.ndarray:
        return total

    def unlink(self, precision: np.ndarray) -> np.ndarray:
        return precision

    def fit(
        self, rows: pd.DataFrame, *, seed: int = 0, intervals: bool = False,
        warm: Fitted | None = None,
    ) -> Fitted:  # fmt: skip
        """Fitted on all rows; there are no intervals, and nothing to start from."""
        from threadpoolctl import threadpool_limits

        rows = checked(rows, "precision")
        measured = rows["precision"].to_numpy(dtype=float)
        learnt = self.estimator(seed)
        with threadpool_limits(1):  # on so few rows threads only wait for each other
            target = self.unlink(measured)
            learnt.fit(self.inputs(rows), target, **{self.weight: _weights(rows)})

        def predict(other: pd.DataFrame) -> np.ndarray:
            return self.link(learnt.predict(self.inputs(other)))

        return Fitted(
            self.name, self.equation, pd.DataFrame(columns=_COLUMNS), measured - predict(rows),
            ranges_of(rows, NAMES), predict,
        )  # fmt: skip


class LogQuadratic(Learner):
    """A quadratic of the logarithms inside a logit, by ridge regression (strength by leave-out)."""

    name = "quadratic in logarithms, ridge"
    equation = "ln(P / (1 - P)) = quadratic form of ln f, ln s, ln k, ln l, shrunk"
    weight = "ridgecv__sample_weight"

    def estimator(self, seed: int):
        """Solved, not searched: no seed."""
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import PolynomialFeatures, StandardScaler

        return make_pipeline(
            PolynomialFeatures(2, include_bias=False), StandardScaler(),
            RidgeCV(alphas=np.logspace(-4, 3, 29)),
        )  # fmt: skip

    def inputs(self, rows: pd.DataFrame) -> np.ndarray:
        return np.log(configurations.shares(rows))

    def link(self, total: np.ndarray) -> np.ndarray:
        return special.expit(total)

    def unlink(self, precision: np.ndarray) -> np.ndarray:
        return _logit(precision)


class MonotoneBoosting(Learner):
    """Gradient-boosted trees that never fall as a parameter grows: a ceiling without a formula.

    Flat outside of what was fitted.
    """

    name = "monotone boosting"
    equation = "trees; P does not fall where f, s, k or l grows"

    def estimator(self, seed: int):
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(
            monotonic_cst=[1, 1, 1, 1], min_samples_leaf=3, max_leaf_nodes=8, learning_rate=0.1,
            max_iter=120, early_stopping=False, random_state=seed,
        )  # fmt: skip


CONSTANT = Constant.name
DEFAULT = LogQuadratic.name
"""The least cross-validated error in the reference run; nothing held out was asked for it."""
MODELS = {
    model.name: model
    for model in (
        Constant(), ExponentialLine(), LogMacs(), SaturatingPowers(), SaturatingLogit(),
        LogQuadratic(), MonotoneBoosting(),
    )
}  # fmt: skip


def model(name: str):
    """A model of P by name. Raises BadInputError for an unknown one."""
    if name not in MODELS:
        raise BadInputError(f"unknown precision model {name!r}: choose one of {', '.join(MODELS)}")
    return MODELS[name]


def fit(name: str, rows: pd.DataFrame, **options) -> Fitted:
    """`model(name).fit(rows, ...)`; options: seed, intervals, warm."""
    return model(name).fit(rows, **options)


# --- fits that many findings share ---------------------------------------------------------------

_kept: dict[tuple, Fitted] = {}


def kept_fit(what: str | Sequence[str], rows: pd.DataFrame, *, intervals: bool = False) -> Fitted:
    """A model by name, or eq. (2) to (6) over these parameters: fitted once for the same rows.

    An equation stands on the rows in which its parameters alone leave the baseline.
    """
    of_all = what == EQ6 or (not isinstance(what, str) and tuple(what) == NAMES)
    key = EQ6 if of_all else what if isinstance(what, str) else tuple(what)
    numbers = rows.to_numpy(dtype=float)
    content = (key, intervals, tuple(rows.columns), numbers.shape, numbers.tobytes())
    if content not in _kept:
        if len(_kept) >= 128:
            _kept.clear()
        if isinstance(key, str):
            _kept[content] = fit(key, rows, intervals=intervals)
        else:
            own = rows[varies_only(rows, key)]
            _kept[content] = ExponentialLine(key).fit(own, intervals=intervals)
    return _kept[content]
