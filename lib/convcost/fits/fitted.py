"""What a fit gives, whatever it is a model of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Fitted:
    """A fitted model.

    `parameters` has one row a coefficient: parameter, estimate, and what the model adds, such as
    low and high; it is empty for a model without. `residuals` are measured minus predicted, of the
    rows fitted. `ranges` are the least and greatest value of each input among them. `aic` is
    comparable between models on the same rows; None where the number of parameters has no
    meaning. `options` are choices that are no coefficients.
    """

    model: str
    equation: str
    parameters: pd.DataFrame
    residuals: np.ndarray
    ranges: Ranges
    predict: Callable[[pd.DataFrame], np.ndarray] = field(repr=False)
    aic: float | None = None
    options: Mapping[str, int | None] = field(default_factory=dict)

    def outside(self, rows: pd.DataFrame) -> np.ndarray:
        """For each row whether an input lies outside of what was fitted: extrapolation."""
        return outside(rows, self.ranges)


def ranges_of(rows: pd.DataFrame, names: Sequence[str]) -> Ranges:
    """Least and greatest value of each of the columns `names`."""
    return {name: (rows[name].min(), rows[name].max()) for name in names}


def outside(rows: pd.DataFrame, ranges: Ranges) -> np.ndarray:
    """For each row whether one of its inputs lies outside of `ranges` (both ends inside)."""
    inside = [rows[name].between(*ends).to_numpy() for name, ends in ranges.items()]
    return ~np.logical_and.reduce(inside)
