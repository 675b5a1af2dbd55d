"""Equation (7): the cheapest configuration that is precise enough, by models and by measurement."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from convcost.core.errors import BadInputError, ConvcostError
from convcost.fits import complexity, configurations, precision
from convcost.fits.comparison import interval
from convcost.fits.complexity import FittedComplexity
from convcost.fits.configurations import NAMES, Configuration
from convcost.fits.precision import FittedPrecision

KEY = list(NAMES)


class UnattainableError(ConvcostError, ValueError):
    """No configuration is precise enough. `best` is the highest precision there is."""

    def __init__(self, text: str, best: float):
        super().__init__(text)
        self.best = best


def checked_target(target: float) -> float:
    """The target as a share. Raises BadInputError for a percentage and for what is no share."""
    if isinstance(target, bool) or not isinstance(target, int | float | np.number):
        raise BadInputError(f"target precision {target!r}: give a share such as 0.93")
    if 1 < target <= 100:
        raise BadInputError(f"target precision {target}: write {target / 100:g}, not {target:g}")
    if not 0 < target <= 1:
        raise BadInputError(f"target precision {target}: give a share above 0 and at most 1")
    return float(target)


def evaluate(
    complexity_model: FittedComplexity, precision_model: FittedPrecision, grid: pd.DataFrame
) -> pd.DataFrame:
    """Each configuration of the grid with what the models say: one row each, sorted by C.

    Columns: the four parameters, conv_macs, macs, complexity (baseline 1), precision (a
    fraction), outside (whether one of the two models extrapolates). Equal C: the higher precision
    first.
    """
    found = grid[KEY].join(configurations.costs(grid)[["conv_macs", "macs"]]).assign(
        complexity=complexity_model.predict(grid),
        precision=precision_model.predict(grid),
        outside=complexity_model.outside(grid) | precision_model.outside(grid),
    )  # fmt: skip
    order = np.lexsort((-found["precision"].to_numpy(), found["complexity"].to_numpy()))
    return found.iloc[order].reset_index(drop=True)


def envelope(evaluated: pd.DataFrame) -> pd.DataFrame:
    """The lower envelope C(P): rows more precise than every cheaper one, by rising C. Fig. 2.

    Takes rows with complexity and precision, measured or of `evaluate`; keeps their columns.
    """
    order = np.lexsort((-evaluated["precision"].to_numpy(), evaluated["complexity"].to_numpy()))
    ordered = evaluated.iloc[order]
    highest = ordered["precision"].cummax()
    return ordered[ordered["precision"] > highest.shift(fill_value=-math.inf)].reset_index(
        drop=True
    )


def cheapest(evaluated: pd.DataFrame, target: float) -> pd.Series | None:
    """The row of least complexity with precision >= target; None where no row is precise enough."""
    enough = evaluated[evaluated["precision"] >= target]
    if enough.empty:
        return None
    order = np.lexsort((-enough["precision"].to_numpy(), enough["complexity"].to_numpy()))
    return enough.iloc[order[0]]


@dataclass(frozen=True)
class Choice:
    """What eq. (7) chooses, with what the models predict of it; intervals are 95 %, or None."""

    target: float
    configuration: Configuration
    precision: float
    complexity: float
    macs: int
    outside: bool
    precision_interval: tuple[float, float] | None = None
    complexity_interval: tuple[float, float] | None = None


def minimise(
    complexity_model: FittedComplexity,
    precision_model: FittedPrecision,
    grid: pd.DataFrame,
    target: float,
) -> Choice:
    """min C(T) subject to P(T) >= target over the grid. Source: eq. (7).

    `grid` has the columns `NAMES`: `configurations.integer_grid()` or `rounded_share_grid()`.
    Raises BadInputError for a target that is no share and UnattainableError, with the best there
    is, where no configuration of the grid reaches it.
    """
    return choose(evaluate(complexity_model, precision_model, grid), target)


def choose(evaluated: pd.DataFrame, target: float) -> Choice:
    """As `minimise`, on rows that are evaluated already: many targets, one evaluation."""
    target = checked_target(target)
    row = cheapest(evaluated, target)
    if row is None:
        best = evaluated.loc[evaluated["precision"].idxmax()]
        raise UnattainableError(
            f"no configuration of the grid has a predicted precision of {target:.4g}: the best is "
            f"{best['precision']:.4g}, of {configuration_of(best)}. Ask for less.",
            float(best["precision"]),
        )
    return Choice(
        target, configuration_of(row), float(row["precision"]), float(row["complexity"]),
        int(row["macs"]), bool(row["outside"]),
    )  # fmt: skip


def configuration_of(row: pd.Series) -> Configuration:
    return Configuration(*(int(row[name]) for name in NAMES))


def prediction_intervals(
    configuration_rows: pd.DataFrame,
    precision_rows: pd.DataFrame,
    complexity_rows: pd.DataFrame,
    *,
    precision_model: str = precision.DEFAULT,
    complexity_model: str = complexity.DEFAULT,
    bootstraps: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Where a new training and timing of these configurations would lie, 95 % of the time.

    Both models are fitted again on configurations drawn with replacement; to each prediction a
    residual of the fit on all rows is added (of complexity a relative one), so that the interval
    holds what the model cannot say, too. Columns: precision_low, precision_high, complexity_low,
    complexity_high; one row for each row given. A draw on which a model cannot be fitted is left
    out.
    """
    rng = np.random.default_rng(seed)
    models = precision.model(precision_model), complexity.model(complexity_model)
    first = models[0].fit(precision_rows, seed=seed)
    timed = models[1].fit(complexity_rows)
    found: dict[str, list] = {"precision": [], "complexity": []}
    for _ in range(bootstraps):
        some, times = (
            rows.iloc[rng.integers(len(rows), size=len(rows))]
            for rows in (precision_rows, complexity_rows)
        )
        n = len(configuration_rows)
        try:
            predicted = models[0].fit(some, seed=seed, warm=first).predict(configuration_rows)
            cost = models[1].fit(times).predict(configuration_rows)
        except (BadInputError, np.linalg.LinAlgError):
            continue
        found["precision"].append(predicted + rng.choice(first.residuals, n))
        # residuals are predicted over measured, minus 1: a new measurement is predicted / (1 + r)
        found["complexity"].append(cost / (1 + rng.choice(timed.residuals, n)))
    table = {}
    for name, samples in found.items():
        limits = [interval(column) for column in np.array(samples).T] if samples else (
            [(math.nan, math.nan)] * len(configuration_rows)
        )  # fmt: skip
        table[f"{name}_low"], table[f"{name}_high"] = zip(*limits, strict=True)
    return pd.DataFrame(table, index=configuration_rows.index)


def measured(precision_rows: pd.DataFrame, complexity_rows: pd.DataFrame) -> pd.DataFrame:
    """Configurations both trained and timed: the four parameters, precision, complexity, macs."""
    both = precision_rows.merge(complexity_rows[[*KEY, "seconds", "complexity"]], on=KEY)
    return both.join(configurations.costs(both)[["conv_macs", "macs"]])


def best_measured(measured_rows: pd.DataFrame, target: float) -> pd.Series | None:
    """The cheapest that was measured to be precise enough, None if none was: a bound, no model.

    It was chosen by what it measured on the test images, so its own precision flatters it.
    """
    return cheapest(measured_rows, checked_target(target))


def random_search(
    measured_rows: pd.DataFrame,
    target: float,
    budgets: Sequence[int] = (5, 10, 20, 40),
    *,
    draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """What so many random trainings find: the cheapest of them that is precise enough.

    `measured_rows` are the pool (random configurations, trained and timed); each search draws a
    budget of them without repetition. Columns: budget, found (share of the searches that met the
    target), complexity, complexity_low, complexity_high (median and 95 % of the cheapest, over
    those that did). A budget above the pool is refused with BadInputError.
    """
    target = checked_target(target)
    pool = measured_rows["complexity"].to_numpy(dtype=float)
    cost = np.where(measured_rows["precision"].to_numpy() >= target, pool, np.inf)
    rng = np.random.default_rng(seed)
    table = []
    for budget in budgets:
        if not 1 <= budget <= len(cost):
            raise BadInputError(f"a budget of {budget} from {len(cost)} measured configurations")
        order = rng.random((draws, len(cost))).argpartition(budget - 1, axis=1)[:, :budget]
        lowest = cost[order].min(axis=1)
        met = lowest[np.isfinite(lowest)]
        low, high = interval(met)
        median = float(np.median(met)) if len(met) else math.nan
        table.append(
            {
                "budget": budget, "found": len(met) / draws, "complexity": median,
                "complexity_low": low, "complexity_high": high,
            }
        )  # fmt: skip
    return pd.DataFrame(table)
