"""The paper's question as a tool: which is the cheapest network that is precise enough?

Fits models of cost and precision to the tables of notebook 04 and solves eq. (7) of Ke, Cao & Lv.
pandas and lmfit are loaded when `cheapest_face_net` is called.
"""

import math
import numbers
from dataclasses import asdict, astuple, dataclass
from html import escape
from typing import TYPE_CHECKING

from convcost.core.errors import BadInputError
from convcost.core.extras import optional
from convcost.core.units import readable, seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from convcost.chapters.complexity_precision.findings.configurations import Configuration

GRIDS = ("trained", "integers", "shares")
MEASURES = ("accuracy", "balanced_accuracy", "male_precision")
_ANY_ROLE = None
_ANSWER = (
    "filters", "input_px", "kernel_px", "layers", "predicted_precision", "predicted_complexity",
    "times_cheaper", "times_fewer_macs", "measured_precision", "best_attainable",
)  # fmt: skip


@dataclass(frozen=True)
class Prediction:
    """A number and where a new measurement of it would lie 95 % of the time; None: not known."""

    value: float
    low: float | None = None
    high: float | None = None

    def times(self, factor: float) -> "Prediction":
        """In another unit."""
        ends = (None if end is None else end * factor for end in (self.low, self.high))
        return Prediction(self.value * factor, *ends)

    def text(self, form: str) -> str:
        if self.low is None or self.high is None:
            return form.format(self.value)
        low, high = form.format(self.low), form.format(self.high)
        return f"{form.format(self.value)} ({low} to {high})"


@dataclass(frozen=True)
class Measured:
    """A configuration that was trained and timed. `seeds` trainings stand behind `precision`."""

    configuration: "Configuration"
    precision: float
    complexity: float
    forward_s: float
    macs: int
    seeds: int


@dataclass(frozen=True, repr=False)
class Optimum:
    """What the search found. Precision is a share of `measure`; complexity 1 is the baseline.

    `forward_s` is seconds per image in a batch on `machine`. `extrapolated` says whether a
    parameter lies outside of what was trained and timed. `same` is the measurement of the very
    configuration, None where it has not been trained and timed; `best_measured` the cheapest that
    was measured to reach the target, None if none did.
    """

    target_precision: float
    measure: str
    configuration: "Configuration"
    precision: Prediction
    complexity: Prediction
    forward_s: Prediction
    macs: int
    extrapolated: bool
    baseline: Measured
    same: Measured | None
    best_measured: Measured | None
    machine: str
    precision_model: str
    complexity_model: str
    grid: str

    @property
    def times_cheaper(self) -> float:
        """Predicted run time of the baseline over that of the configuration."""
        return 1 / self.complexity.value

    @property
    def times_fewer_macs(self) -> float:
        """Multiply-adds of the baseline over those of the configuration."""
        return self.baseline.macs / self.macs

    def _rows(self) -> list[tuple[str, str]]:
        of = f"{self.measure.replace('_', ' ')}, predicted"
        rows = [
            ("configuration", str(self.configuration)),
            (f"{of} (95 %)", self.precision.text("{:.4f}")),
            ("run time, baseline 1, predicted (95 %)", self.complexity.text("{:.3g}")),
            ("per image", f"{seconds(self.forward_s.value)} on {self.machine}"),
            ("multiply-adds", f"{readable(self.macs)} ({self.times_fewer_macs:.1f}x fewer)"),
            ("times cheaper than the baseline, predicted", f"{self.times_cheaper:.1f}"),
            ("baseline, measured", self._measured(self.baseline)),
            ("this configuration, measured", self._measured(self.same)),
            ("cheapest measured that reaches the target", self._measured(self.best_measured)),
            ("models", f"{self.precision_model}; {self.complexity_model}; grid: {self.grid}"),
        ]
        if self.extrapolated:
            rows.append(("caution", "outside of what was trained and timed: an extrapolation"))
        return rows

    @staticmethod
    def _measured(found: Measured | None) -> str:
        if found is None:
            return "none"
        return (
            f"{found.precision:.4f} at {found.complexity:.3g} of the run time: "
            f"{found.configuration}"
        )

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self._rows())
        head = f"cheapest network with {self.measure.replace('_', ' ')} >= "
        lines = [f"{name:<{width}}  {text}" for name, text in self._rows()]
        return "\n".join([f"{head}{self.target_precision:g}", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>"
            for name, text in self._rows()
        )
        head = f"cheapest network with {self.measure.replace('_', ' ')} at least "
        return f"<table><caption>{escape(head)}{self.target_precision:g}</caption>{rows}</table>"

    def to_dict(self) -> dict:
        """All of it as plain numbers and texts, nested."""
        return asdict(self)


def cheapest_face_net(
    target_precision: float = 0.93,
    *,
    machine: str | None = None,
    results: str = "reference",
    measure: str = "accuracy",
    model: str = "default",
    complexity_model: str = "default",
    grid: str = "trained",
    bootstraps: int = 200,
    seed: int = 0,
) -> Optimum:
    """The cheapest configuration with a predicted precision of at least `target_precision`.

    Models of precision and run time are fitted on every trained and timed configuration of the
    results, the held-out ones included: they have done their work in notebook 04. Source: ke,
    eq. (7); with better models than the paper's unless `model` says "eq. (6)".

    `target_precision` is a share (0.93). `machine` is a name of `records.machines`, whose run
    times count; None takes the first that has them. `results` is "reference" or "local".
    `measure`: "accuracy" (what the paper calls precision), "balanced_accuracy" or
    "male_precision". `model` and `complexity_model` are names of `MODELS` of the chapter's
    `findings.precision` and `findings.complexity`. `grid`: "trained" (whole numbers within what was
    trained), "integers" (1 to 64 filters, 8 to 64 px, kernels 1 to 5, 1 to 3 layers; may
    extrapolate) or "shares" (the paper's 0.05 to 1 of the baseline, rounded). `bootstraps` fits
    stand behind the intervals; 0 leaves them out and takes a second at most.

    Raises BadInputError for a percentage, an unknown name, bootstraps or a seed that are no whole
    numbers from 0 on, and too few results,
    `findings.cheapest.UnattainableError` (with `.best`) for a target that no configuration reaches,
    `records.MissingTableError` where nothing was measured.
    """
    from convcost import records

    with optional():
        from convcost.chapters.complexity_precision.findings import (
            cheapest,
            complexity,
            precision,
            rows,
        )

    target = cheapest.checked_target(target_precision)
    _one_of("measure", measure, MEASURES)
    _one_of("grid", grid, GRIDS)
    for name, number in (("bootstraps", bootstraps), ("seed", seed)):
        if not isinstance(number, numbers.Integral) or isinstance(number, bool) or number < 0:
            raise BadInputError(f"{name} is {number!r}: a whole number from 0 on is expected")
    precision_model = precision.DEFAULT if model == "default" else model
    cost_model = complexity.DEFAULT if complexity_model == "default" else complexity_model
    precision.model(precision_model), complexity.model(cost_model)  # refused before any work
    there = records.Results(results, machine)
    times = rows.complexity_rows(there.table("forward_times"))
    trained = rows.precision_rows(
        _trainings(records, results, machine), measure=measure, roles=_ANY_ROLE
    )
    cost = complexity.model(cost_model).fit(times)
    precise = precision.fit(precision_model, trained, seed=seed)
    choice = cheapest.choose(cheapest.evaluate(cost, precise, _grid(grid, trained, times)), target)
    chosen = cheapest.configuration_of(choice)
    p, c = _predicted(choice, trained, times, precision_model, cost_model, bootstraps, seed)
    both = cheapest.trained_and_timed(trained, times)
    baseline, same = (
        _measured(next(iter(found.to_dict("records")), None))
        for found in (both[rows.is_baseline(both)], both[rows.is_net(both, astuple(chosen))])
    )
    if baseline is None:
        raise BadInputError("the baseline was not trained in these results: nothing to compare to")
    return Optimum(
        target, measure, chosen, p, c, c.times(baseline.forward_s), int(choice["macs"]),
        bool(choice["outside"]), baseline, same, _measured(cheapest.cheapest(both, target)),
        there.record("forward_times").get("machine", "an unnamed machine"),
        precision_model, cost_model, grid,
    )  # fmt: skip


def answers(targets: "Iterable[float]", **options) -> "pd.DataFrame":
    """`cheapest_face_net` for several targets, one row each, for a reader who moves the target.

    Columns: target_precision, the four parameters, predicted_precision, predicted_complexity,
    times_cheaper, times_fewer_macs, measured_precision (of the very configuration; missing where
    it was not trained), best_attainable (missing where the target is attained; then the rest is
    missing). `options` are those of it; without intervals unless `bootstraps` asks.
    """
    import pandas as pd

    from convcost.chapters.complexity_precision.findings.cheapest import UnattainableError

    table = []
    for target in targets:
        row = {"target_precision": target, **dict.fromkeys(_ANSWER)}
        try:
            found = cheapest_face_net(target, **{"bootstraps": 0} | options)
        except UnattainableError as error:
            table.append(row | {"best_attainable": error.best})
            continue
        row |= asdict(found.configuration)
        row["predicted_precision"] = found.precision.value
        row["predicted_complexity"] = found.complexity.value
        row["times_cheaper"], row["times_fewer_macs"] = found.times_cheaper, found.times_fewer_macs
        row["measured_precision"] = found.same and found.same.precision
        table.append(row)
    whole = dict.fromkeys(_ANSWER[:4], "Int64")
    return pd.DataFrame(table).astype(whole | dict.fromkeys(_ANSWER[4:], float))


def _one_of(what: str, value: str, names: tuple[str, ...]) -> None:
    if value not in names:
        raise BadInputError(f"{what} {value!r} is unknown: choose one of {', '.join(names)}")


def _trainings(records, where: str, machine: str | None):
    """Trainings of that machine if it has any, else of another: precision knows no machine."""
    try:
        return records.read("configuration_trainings", machine=machine, where=where)
    except records.MissingTableError:
        return records.read("configuration_trainings", where=where)


def _grid(name: str, trained, times):
    from convcost.chapters.complexity_precision.findings import configurations
    from convcost.chapters.complexity_precision.findings.rows import NAMES
    from convcost.fits.fitted import outside, ranges_of

    if name == "shares":
        return configurations.rounded_share_grid()
    grid = configurations.integer_grid()
    if name == "integers":
        return grid
    for fitted_rows in (trained, times):
        grid = grid[~outside(grid, ranges_of(fitted_rows, NAMES))]
    return grid.reset_index(drop=True)


def _predicted(choice, trained, times, precision_model, cost_model, bootstraps, seed):
    """Precision and complexity of the chosen row, with intervals if there are bootstraps."""
    from convcost.chapters.complexity_precision.findings import cheapest

    names = ("precision", "complexity")
    if not bootstraps:
        return [Prediction(float(choice[name])) for name in names]
    spread = cheapest.prediction_intervals(
        choice.to_frame().T, trained, times, precision_model=precision_model,
        complexity_model=cost_model, bootstraps=bootstraps, seed=seed,
    ).iloc[0]  # fmt: skip
    found = []
    for name in names:
        ends = (float(spread[f"{name}_{end}"]) for end in ("low", "high"))
        found.append(
            Prediction(float(choice[name]), *(None if math.isnan(end) else end for end in ends))
        )
    return found


def _measured(row) -> Measured | None:
    from convcost.chapters.complexity_precision.findings import cheapest

    if row is None:
        return None
    return Measured(
        cheapest.configuration_of(row), float(row["precision"]), float(row["complexity"]),
        float(row["seconds"]), int(row["macs"]), int(row["seeds"]),
    )  # fmt: skip
