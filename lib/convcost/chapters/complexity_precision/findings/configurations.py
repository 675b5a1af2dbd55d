"""The family T = (f, s, k, l) of Ke, Cao & Lv: what can be built, what it costs, and the grids.

A configuration is `filters`, `input_px`, `kernel_px`, `layers`: so many convolutions "same", each
with ReLU and 2 x 2 max pooling, then one linear layer to two classes (`nets.ke_cnn`). Layer i,
from 1, has maps of side input_px >> (i - 1).
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from convcost import sources
from convcost.core.errors import BadInputError

NAMES = ("filters", "input_px", "kernel_px", "layers")
LETTERS = dict(zip(NAMES, "fskl", strict=True))
IN_CHANNELS, CLASSES = 3, 2
SHARE_STEPS = 20
"""The paper's grid: 0.05, 0.10 … 1 of the baseline. Its 0 has no inverse and no network."""


@dataclass(frozen=True, order=True)
class Configuration:
    """One network of the family: four whole numbers, at least 1, and a last map of one pixel.

    Raises BadInputError for what is no whole number above 0, and where 2 x 2 pooling after each
    layer leaves nothing: input_px >> layers must be at least 1.

    >>> Configuration(64, 64, 5, 3).conv_macs == 25*3*64*64**2 + 25*64*64*32**2 + 25*64*64*16**2
    True
    """

    filters: int
    input_px: int
    kernel_px: int
    layers: int

    def __post_init__(self):
        for name, value in zip(NAMES, astuple(self), strict=True):
            if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
                raise BadInputError(f"{name} is {value!r}: a whole number from 1 is needed")
            if value < 1:
                raise BadInputError(f"{name} is {value}: a whole number from 1 is needed")
            object.__setattr__(self, name, int(value))
        if self.input_px >> self.layers < 1:
            raise BadInputError(
                f"{self.input_px} px shrink to nothing after {self.layers} poolings of 2 x 2: "
                f"at least {2**self.layers} px are needed"
            )

    @cached_property
    def _costs(self) -> pd.Series:
        return costs(frame([self])).iloc[0]

    @property
    def conv_macs(self) -> int:
        """Multiply-adds of the convolutions, per image: the sum of eq. (1)."""
        return int(self._costs["conv_macs"])

    @property
    def macs(self) -> int:
        """`conv_macs` and the linear layer, which eq. (1) leaves out."""
        return int(self._costs["macs"])

    def __str__(self) -> str:
        return (
            f"{self.filters} filters, {self.input_px} px, kernel {self.kernel_px}, "
            f"{self.layers} layer{'s' if self.layers > 1 else ''}"
        )


BASELINE = Configuration(64, 64, 5, 3)
"""T0 of section 2.3; its numbers are held against `data/published/ke.csv` by a test."""


def number(names: Sequence[str]) -> str:
    """The paper's number of its equation of precision over these parameters.

    >>> number(("filters", "layers"))
    'eq. (5)'
    """
    of_two = {"input_px": "eq. (3)", "kernel_px": "eq. (4)", "layers": "eq. (5)"}
    return {1: "eq. (2)", 4: "eq. (6)"}.get(len(names)) or of_two[names[-1]]


def candidates() -> dict[str, tuple[int, ...]]:
    """The candidate sets of section 2.3, by parameter, the baseline's value first.

    >>> candidates()["kernel_px"]
    (5, 4, 3)
    """
    published = sources.published("ke").set_index("name")["value"]
    sets = {}
    for name, letter in LETTERS.items():
        rows = [row for row in published.index if row.startswith(f"omega_{letter}_")]
        sets[name] = tuple(int(published[row]) for row in rows)
    return sets


def columns(rows: pd.DataFrame) -> list[np.ndarray]:
    """The four columns as int64 arrays. Raises BadInputError for a missing or broken one."""
    missing = [name for name in NAMES if name not in rows]
    if missing:
        raise BadInputError(f"rows lack {', '.join(missing)}: all of {', '.join(NAMES)} are needed")
    arrays = []
    for name in NAMES:
        try:
            values = rows[name].to_numpy(dtype=float)
        except (TypeError, ValueError):
            raise BadInputError(f"{name} has a value that is no number") from None
        if not (np.isfinite(values) & (values % 1 == 0) & (values >= 1)).all():
            raise BadInputError(f"{name} has a value that is no whole number from 1")
        arrays.append(values.astype(np.int64))
    return arrays


def possible(rows: pd.DataFrame) -> np.ndarray:
    """For each row whether it can be built: whole numbers from 1, and input_px >> layers >= 1.

    >>> possible(pd.DataFrame([(2, 8, 3, 3), (2, 7, 3, 3), (0, 8, 3, 1)], columns=NAMES)).tolist()
    [True, False, False]
    """
    values = rows[list(NAMES)].to_numpy(dtype=float)
    whole = (np.isfinite(values) & (values % 1 == 0) & (values >= 1)).all(axis=1)
    size, layers = values[:, 1], values[:, 3]
    return whole & (size >= 2.0 ** np.where(whole, layers, 1))


def costs(rows: pd.DataFrame) -> pd.DataFrame:
    """conv_macs, macs, acts, params of each row, int64, with the index of `rows`; per image.

    conv_macs is the sum of eq. (1), the convolutions' multiply-adds; macs has the linear layer's,
    too; acts are output elements of the convolutions and of the linear layer, params weights and
    biases. Raises BadInputError for rows that cannot be built (see `possible`).
    """
    f, s, k, layers = columns(rows)
    if not possible(rows).all():
        bad = rows.loc[~possible(rows), list(NAMES)].iloc[0]
        raise BadInputError(f"{bad.to_dict()} shrinks to nothing: input_px >> layers must be >= 1")
    conv_macs, acts, params = (np.zeros(len(f), dtype=np.int64) for _ in range(3))
    for i in range(int(layers.max(initial=0))):
        there = layers > i
        maps_in = IN_CHANNELS if i == 0 else f
        area = (s >> i) ** 2
        conv_macs += there * (maps_in * k * k * f * area)
        acts += there * (f * area)
        params += there * ((maps_in * k * k + 1) * f)
    flat = f * (s >> layers) ** 2
    return pd.DataFrame(
        {
            "conv_macs": conv_macs,
            "macs": conv_macs + CLASSES * flat,
            "acts": acts + CLASSES,
            "params": params + CLASSES * (flat + 1),
        },
        index=rows.index,
    )


def frame(configurations: Iterable[Configuration]) -> pd.DataFrame:
    """Configurations as rows with the columns `NAMES`."""
    return pd.DataFrame([astuple(c) for c in configurations], columns=list(NAMES))


def shares(rows: pd.DataFrame) -> np.ndarray:
    """Each parameter over the baseline's: (rows, 4), floats; 1 is the baseline."""
    return rows[list(NAMES)].to_numpy(dtype=float) / np.array(astuple(BASELINE), dtype=float)


def product(*values: Iterable) -> np.ndarray:
    """All combinations of the values: (rows, axes), the last axis fastest."""
    return np.stack([axis.ravel() for axis in np.meshgrid(*values, indexing="ij")], axis=1)


def integer_grid(
    filters: Iterable[int] = range(1, 65),
    input_px: Iterable[int] = range(8, 65),
    kernel_px: Iterable[int] = range(1, 6),
    layers: Iterable[int] = range(1, 4),
) -> pd.DataFrame:
    """Every configuration of these values that can be built: 64 * 57 * 5 * 3 = 54,720 unasked."""
    values = [np.asarray(list(axis)) for axis in (filters, input_px, kernel_px, layers)]
    grid = pd.DataFrame(product(*values), columns=list(NAMES))
    return grid[possible(grid)].reset_index(drop=True)


def share_grid() -> pd.DataFrame:
    """The paper's grid as it stands: 20**4 = 160,000 rows of shares, 0.05 to 1. Section 3.

    Columns: `NAMES`, each a share of the baseline's value. 80 of them are networks as they stand.
    """
    axis = np.arange(1, SHARE_STEPS + 1) / SHARE_STEPS
    return pd.DataFrame(product(axis, axis, axis, axis), columns=list(NAMES))


def rounded_share_grid() -> pd.DataFrame:
    """The networks nearest to the paper's grid: shares times T0, rounded, a half upwards.

    Each is listed once; those with a parameter that rounds to 0 are no networks and are left out.
    """
    # in steps of the grid, so that 0.35 * 20 is 7 and a half is a half
    steps = np.rint(share_grid() * SHARE_STEPS)
    values = np.floor(steps * np.array(astuple(BASELINE)) / SHARE_STEPS + 0.5).astype(np.int64)
    return values[possible(values)].drop_duplicates().reset_index(drop=True)
