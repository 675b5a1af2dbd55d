"""What Ke, Cao & Lv print of their models: Tables I and II and the lambdas, in every reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd

from convcost import sources
from convcost.chapters.complexity_precision.findings import configurations, paper
from convcost.chapters.complexity_precision.findings.configurations import BASELINE, LETTERS, NAMES
from convcost.chapters.complexity_precision.findings.rows import KEY, held_out_rows
from convcost.fits import comparison

POINTS = 60
"""Of a curve."""
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


def as_shares(names: Sequence[str], reading: Reading) -> np.ndarray:
    """The printed coefficients of a reading, for gamma as the share of the baseline throughout.

    That is the normalisation of our fits. The curve stays the same: of gamma as the value exponents
    are over, and slopes times, the baseline's value; of 1 - share the slopes have the opposite
    sign, and their sum is in the constant.
    """
    m = len(names)
    base = np.array([getattr(BASELINE, name) for name in names], dtype=float)
    c = coefficients(names)
    powers, slopes = c[1 : m + 1] * reading.sign, c[m + 1 : 2 * m + 1] * reading.line_sign
    constant = c[-1] + (slopes.sum() if reading.line == "given up" else 0)
    powers = powers / base if reading.exponential == "value" else powers
    slopes = slopes * {"value": base, "share": 1, "given up": -1, "none": 0}[reading.line]
    return np.concatenate([c[:1], powers, slopes, [constant]])


def evaluate(
    names: Sequence[str], shares: np.ndarray, reading: Reading = READINGS[1]
) -> np.ndarray:
    """The printed model at these shares of the baseline: (rows, len(names)) in, (rows,) out.

    >>> float(evaluate(NAMES, np.ones((1, 4))).round(3)[0])
    0.773
    """
    return _value(as_shares(names, reading), shares)


def _value(c: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The model with these coefficients, over shares of the baseline throughout."""
    m = shares.shape[1]
    with np.errstate(over="ignore"):
        return c[0] * np.exp((1 / shares) @ c[1 : m + 1]) + shares @ c[m + 1 : -1] + c[-1]


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
        sets = configurations.candidates()
        over = configurations.product(
            *(np.array(sets[name]) / getattr(BASELINE, name) for name in names)
        )
        grid = configurations.product(*[steps] * len(names))
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


def cloud(reading: Reading = READINGS[1]) -> pd.DataFrame:
    """The dots of Fig. 2 (left) with the printed constants: 160,000 shares, P and C.

    Columns: the four parameters as shares, precision (eq. (6), printed lambdas), complexity. C is
    eq. (1) scaled so that the baseline has 1, since the printed alpha_1 does not: the printed
    alpha_0, and (1 - alpha_0) times the sum over the baseline's. Between whole numbers of layers
    the last one counts by its fraction; sizes are not rounded.
    """
    grid = configurations.share_grid()
    alpha_0 = float(sources.value("ke", "alpha_0"))
    own = np.array([[paper.T0[name] for name in NAMES]], dtype=float)
    total, of_baseline = _sum_between(grid.to_numpy() * own), _sum_between(own)
    return grid.assign(
        precision=evaluate(NAMES, grid.to_numpy(), reading),
        complexity=alpha_0 + (1 - alpha_0) * total / of_baseline,
    )


def _sum_between(values: np.ndarray) -> np.ndarray:
    f, s, k, layers = values.T
    total = np.zeros(len(values))
    for i in range(BASELINE.layers):
        part = np.clip(layers - i, 0, 1)
        maps = configurations.IN_CHANNELS if i == 0 else f
        total += part * maps * k * k * f * (s / 2**i) ** 2
    return total


@cache
def lost_zeros() -> pd.DataFrame:
    """A hypothesis: a zero behind the point was lost in one or two coefficients of a printed model.

    One row a model of Table II and eq. (6), and one or two of its coefficients, each a tenth of
    what is printed: model, changed (their numbers, as "6" or "2 and 5"), at_baseline (gamma as
    the share of the baseline's), off_percent, usable (as in `readings`). The nearest to the paper's
    own precision at T0 first, by model. Nothing says that this happened; of so many tries some come
    near by chance.
    """
    printed = float(sources.value("ke", "baseline_precision"))
    near, table = paper.value("precision_error_percent"), []
    for names in (*TABLE_II, *EQ_6):
        shares = np.array([getattr(BASELINE, name) for name in names], dtype=float)
        sets = configurations.candidates()
        over = configurations.product(
            *(np.array(sets[n]) / b for n, b in zip(names, shares, strict=True))
        )
        own = coefficients(names)
        places = range(len(own))
        for changed in [(i,) for i in places] + list(combinations(places, 2)):
            tenth = own.copy()
            tenth[list(changed)] /= 10
            at_baseline = float(_value(tenth, np.ones((1, len(names))))[0])
            values = _value(tenth, over)
            off = 100 * (at_baseline / printed - 1)
            table.append(
                {
                    "model": label(names),
                    "changed": " and ".join(str(i + 1) for i in changed),
                    "at_baseline": at_baseline,
                    "off_percent": off,
                    "usable": bool(
                        abs(off) <= near and (values >= 0).all() and (values <= 1).all()
                    ),
                }
            )
    frame = pd.DataFrame(table)
    frame = frame.assign(off=frame["off_percent"].abs()).sort_values("off", kind="stable")
    return frame.drop(columns="off").reset_index(drop=True)


@cache
def readings() -> pd.DataFrame:
    """`at_baseline`, with usable: what a model may give that describes the paper's net.

    usable: within the paper's own error of precision of the 0.95 at T0, and between 0 and 1 over
    all candidate values. Sorted by model, the nearest reading first.
    """
    table = at_baseline()
    near = table["off_percent"].abs() <= paper.value("precision_error_percent")
    table = table.assign(usable=near & table["possible"], off=table["off_percent"].abs())
    order = {label(names): place for place, names in enumerate(ALL)}
    table = table.sort_values("off", kind="stable").sort_values(
        ["model", "usable"], key=lambda c: c.map(order) if c.name == "model" else ~c, kind="stable"
    )
    return table.drop(columns="off").reset_index(drop=True)


def _of_all_parameters() -> pd.DataFrame:
    """`readings` of eq. (6), by reading."""
    table = readings()
    return table[table["model"] == label(NAMES)].set_index("reading")


def printed_curves(readings: Sequence[Reading] = READINGS[:2]) -> pd.DataFrame:
    """Eq. (2) with Table I as printed, over the paper's candidate values: no measurement.

    Columns: parameter, value, share, reading, precision. By default the two readings of gamma that
    the text allows: the value itself, and the share of the baseline's.
    """
    tables = []
    for name, values in configurations.candidates().items():
        values = np.linspace(min(values), max(values), POINTS)
        share = values / paper.T0[name]
        for reading in readings:
            p = evaluate([name], share[:, None], reading)
            tables.append(
                pd.DataFrame({"parameter": name, "value": values, "share": share})
                .assign(reading=reading.text, precision=p)
            )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def printed_on_held_out(configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """Eq. (6) with the printed lambdas, in every reading, on our held-out configurations.

    One row a reading: reading, at_baseline, usable (as in `readings`), error_percent (mean relative
    error), spearman (missing where it says the same of all). Another data split and other nets
    than the paper's: a large error alone proves little, a rank correlation below 0 much.
    """
    held_out = held_out_rows(configuration_trainings)
    known = _of_all_parameters()
    measured = held_out["precision"].to_numpy(dtype=float)
    table = []
    for reading in READINGS:
        p = evaluate(NAMES, configurations.shares(held_out), reading)
        table.append(
            {
                "reading": reading.text,
                "at_baseline": known.loc[reading.text, "at_baseline"],
                "usable": known.loc[reading.text, "usable"],
                "error_percent": comparison.relative_errors(measured, p).mean(),
                "spearman": comparison.spearman(measured, p),
            }
        )
    return pd.DataFrame(table).sort_values("error_percent", kind="stable", ignore_index=True)


def printed_frontier() -> pd.DataFrame:
    """Eq. (7) with the printed lambdas on the paper's own grid of shares: does it save 10 times?

    One row a reading of eq. (6): reading, at_baseline, usable, grid_highest (the highest precision
    on the grid), complexity (the least C, of eq. (1) with C(T0) = 1, at the paper's precision after
    the drop, 0.93; missing where no point of the grid has it), saving (1 over it), own_saving (the
    same at the reading's own precision at T0 minus the drop). No measurement of ours is in it.
    """
    after = paper.value("precision_after_percent") / 100
    drop = paper.value("precision_drop_percent") / 100
    known = _of_all_parameters()
    grid = cloud()
    found = []
    for reading in READINGS:
        row = known.loc[reading.text]
        points = grid.assign(precision=evaluate(NAMES, grid[KEY].to_numpy(), reading))
        enough, own = (
            points.loc[points["precision"] >= target, "complexity"].min()
            for target in (after, row["at_baseline"] - drop)
        )
        found.append(
            {
                "reading": reading.text, "at_baseline": row["at_baseline"],
                "usable": row["usable"], "grid_highest": row["grid_highest"],
                "complexity": enough, "saving": 1 / enough, "own_saving": 1 / own,
            }
        )  # fmt: skip
    return pd.DataFrame(found)
