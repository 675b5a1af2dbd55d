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

from collections.abc import Sequence

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision.findings import configurations
from convcost.chapters.complexity_precision.findings.configurations import BASELINE, LETTERS, NAMES
from convcost.chapters.complexity_precision.findings.parametric import (
    COLUMNS,
    InsideLogit,
    Model,
    Parametric,
    weights_of,
)
from convcost.chapters.complexity_precision.findings.rows import checked, varies_only
from convcost.core.errors import BadInputError
from convcost.fits.fitted import Fitted, ranges_of

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


class SaturatingLogit(InsideLogit, SaturatingPowers):
    """The same inside a logit, so that precision stays between 0 and 1 and effects combine."""

    name = "saturating power law, logit"
    equation = "ln(P / (1 - P)) = c + sum a_i (1 - gamma_i**-b_i) / b_i, a_i >= 0"

    def __init__(self):
        super().__init__()
        self.linear = {"c": (-20.0, 20.0)} | {f"a_{name}": (0.0, 20.0) for name in NAMES}


# --- models without ----------------------------------------------------------------------------


class Learner(Model):
    """A model without coefficients, of scikit-learn: a subclass says what is learnt, and of what.

    No AIC: what is shrunk or grown has no number of coefficients.
    """

    weight = "sample_weight"

    def estimator(self, seed: int):
        """What scikit-learn fits."""
        raise NotImplementedError

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
            learnt.fit(self.inputs(rows), target, **{self.weight: weights_of(rows)})

        def predict(other: pd.DataFrame) -> np.ndarray:
            return self.link(learnt.predict(self.inputs(other)))

        return Fitted(
            self.name, self.equation, pd.DataFrame(columns=COLUMNS), measured - predict(rows),
            ranges_of(rows, NAMES), predict,
        )  # fmt: skip


class LogQuadratic(InsideLogit, Learner):
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
