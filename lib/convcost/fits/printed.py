"""Tables I and II and the lambdas as Ke, Cao & Lv print them: what they give, in every reading."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from convcost import sources
from convcost.fits import configurations
from convcost.fits.configurations import BASELINE, LETTERS, NAMES
from convcost.fits.precision import ExponentialLine, FittedPrecision, in_raw_values
from convcost.fits.rows import varies_only

TABLE_I = tuple((name,) for name in NAMES)
TABLE_II = tuple(("filters", name) for name in NAMES[1:])
EQ_6 = (NAMES,)
ALL = TABLE_I + TABLE_II + EQ_6


def label(names: Sequence[str]) -> str:
    """What the paper calls the model: P(f), P(f, s), P(f, s, k, l)."""
    return f"P({', '.join(LETTERS[name] for name in names)})"


def coefficients(names: Sequence[str]) -> np.ndarray:
    """The printed coefficients of the model over these parameters, in the paper's order.

    `names` is an entry of `ALL`: amplitude, exponents, slopes, constant.

    >>> coefficients(("layers",)).tolist()
    [2.384, -0.4167, 0.9022, 0.05827]
    """
    letters = [LETTERS[name] for name in names]
    prefix = {1: f"table_i_{letters[0]}_beta", 2: f"table_ii_{'_'.join(letters)}_n"}.get(
        len(names), "lambda"
    )
    return np.array(
        [float(sources.value("ke", f"{prefix}_{i}")) for i in range(1, 2 * len(names) + 3)]
    )


@dataclass(frozen=True)
class Reading:
    """How the printed formula may be meant: what stands for gamma in its two places, and signs."""

    text: str
    exponential: str  # "value" or "share"
    line: str  # "value", "share", "given up" (1 - share) or "none"
    sign: int = 1  # of the exponents
    line_sign: int = 1


READINGS = (
    Reading("gamma is the value (64, 64, 5, 3)", "value", "value"),
    Reading("gamma is the share of the baseline (1)", "share", "share"),
    Reading("value; exponents negated", "value", "value", -1),
    Reading("share; exponents negated", "share", "share", -1),
    Reading("value; line subtracted", "value", "value", 1, -1),
    Reading("share; line subtracted", "share", "share", 1, -1),
    Reading("value in the exponential, share in the line", "value", "share"),
    Reading("share in the exponential, value in the line", "share", "value"),
    Reading("share in the exponential, 1 - share in the line", "share", "given up"),
    Reading("value in the exponential, 1 - share in the line", "value", "given up"),
    Reading("value; exponential and constant alone", "value", "none"),
    Reading("share; exponential and constant alone", "share", "none"),
)  # fmt: skip


def evaluate(
    names: Sequence[str], shares: np.ndarray, reading: Reading = READINGS[1]
) -> np.ndarray:
    """The printed model at these shares of the baseline: (rows, len(names)) in, (rows,) out.

    >>> float(evaluate(NAMES, np.ones((1, 4))).round(3)[0])
    0.773
    """
    m = len(names)
    c = coefficients(names)
    base = np.array([getattr(BASELINE, name) for name in names], dtype=float)
    gamma = {"value": shares * base, "share": shares, "given up": 1 - shares, "none": 0 * shares}
    with np.errstate(over="ignore"):
        power = np.exp(reading.sign * (1 / gamma[reading.exponential]) @ c[1 : m + 1])
    line = gamma[reading.line] @ c[m + 1 : 2 * m + 1]
    return c[0] * power + reading.line_sign * line + c[-1]


def _candidate_shares(names: Sequence[str]) -> np.ndarray:
    sets = configurations.candidates()
    axes = [np.array(sets[name]) / getattr(BASELINE, name) for name in names]
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def at_baseline() -> pd.DataFrame:
    """Every printed model in every reading: what it gives at T0, where the paper says 0.95.

    One row a model and reading: model, reading, at_baseline, printed (0.95), off_percent
    (relative, with sign), lowest, highest (over the candidate sets of section 2.3), grid_highest
    (over the paper's grid of shares, 0.05 to 1), rises (share of the steps to the next larger
    candidate of one parameter, the others as in T0, at which precision rises: 1 for a model in
    which more is better), possible (all candidates between 0 and 1). For Tables I and II the
    parameters that the model has not are those of T0, so that every model should give 0.95.
    """
    printed = float(sources.value("ke", "baseline_precision"))
    steps = np.arange(1, configurations.SHARE_STEPS + 1) / configurations.SHARE_STEPS
    table = []
    for names in ALL:
        over = _candidate_shares(names)
        grid = np.stack(
            [axis.ravel() for axis in np.meshgrid(*[steps] * len(names), indexing="ij")], axis=1
        )
        for reading in READINGS:
            own = float(evaluate(names, np.ones((1, len(names))), reading)[0])
            values = evaluate(names, over, reading)
            table.append(
                {
                    "model": label(names), "reading": reading.text, "at_baseline": own,
                    "printed": printed, "off_percent": 100 * (own / printed - 1),
                    "lowest": values.min(), "highest": values.max(),
                    "grid_highest": evaluate(names, grid, reading).max(),
                    "rises": _rising(names, reading),
                    "possible": bool(((values >= 0) & (values <= 1)).all()),
                }
            )  # fmt: skip
    return pd.DataFrame(table)


def _rising(names: Sequence[str], reading: Reading) -> float:
    """Of the steps to the next larger candidate of one parameter: where precision rises."""
    sets, steps = configurations.candidates(), []
    for i, name in enumerate(names):
        shares = np.ones((len(sets[name]), len(names)))
        shares[:, i] = np.sort(sets[name]) / getattr(BASELINE, name)
        steps.append(np.diff(evaluate(names, shares, reading)) > 0)
    return float(np.concatenate(steps).mean())


def beside_ours(
    rows: pd.DataFrame,
    models: Sequence[Sequence[str]] = ALL,
    *,
    intervals: bool = True,
    raw: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Tables I and II and the lambdas, printed beside ours: one row a coefficient.

    `rows` of `rows.precision_rows`. A model is fitted on the rows in which its parameters alone
    leave T0. Columns: model, coefficient, printed, estimate, low, high, identified, why_not,
    configurations. `raw`: ours for gamma as the value itself; else as the share of the baseline.
    A model whose rows are too few to fit at all has missing estimates and says why.
    """
    tables = []
    for names in models:
        fitted = fit_equation(rows, names, intervals=intervals, seed=seed)
        table = in_raw_values(fitted, names) if raw else fitted.parameters
        tables.append(
            table.rename(columns={"parameter": "coefficient"}).assign(
                model=label(names), printed=coefficients(names), configurations=fitted.rows_fitted
            )
        )
    columns = ["model", "coefficient", "printed", "estimate", "low", "high", "identified"]
    return pd.concat(tables, ignore_index=True)[[*columns, "why_not", "configurations"]]


def fit_equation(
    rows: pd.DataFrame, names: Sequence[str], *, intervals: bool = False, seed: int = 0
) -> FittedPrecision:
    """Eq. (2), (3) to (5) or (6) fitted on the rows where only `names` leave the baseline."""
    own = rows[varies_only(rows, names)]
    return ExponentialLine(names).fit(own, intervals=intervals, seed=seed)


def cloud(reading: Reading = READINGS[1]) -> pd.DataFrame:
    """The dots of Fig. 2 (left) with the printed constants: 160,000 shares, P and C.

    Columns: the four parameters as shares, precision (eq. (6), printed lambdas), complexity. C is
    eq. (1) scaled so that the baseline has 1, since the printed alpha_1 does not: the printed
    alpha_0, and (1 - alpha_0) times the sum over the baseline's. Between whole numbers of layers
    the last one counts by its fraction; sizes are not rounded.
    """
    grid = configurations.share_grid()
    alpha_0 = float(sources.value("ke", "alpha_0"))
    total = _sum_between(grid.to_numpy() * np.array([64, 64, 5, 3], dtype=float))
    own = _sum_between(np.array([[64, 64, 5, 3]], dtype=float))
    return grid.assign(
        precision=evaluate(NAMES, grid.to_numpy(), reading),
        complexity=alpha_0 + (1 - alpha_0) * total / own,
    )


def _sum_between(values: np.ndarray) -> np.ndarray:
    f, s, k, layers = values.T
    total = np.zeros(len(values))
    for i in range(BASELINE.layers):
        part = np.clip(layers - i, 0, 1)
        maps = configurations.IN_CHANNELS if i == 0 else f
        total += part * maps * k * k * f * (s / 2**i) ** 2
    return total
