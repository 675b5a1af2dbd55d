"""The tables of notebook 04, made up from known equations: whole as after a run, or thin."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd

from convcost import records
from convcost.chapters.complexity_precision.findings import cheapest, configurations, precision
from convcost.chapters.complexity_precision.findings.configurations import (
    BASELINE,
    NAMES,
    Configuration,
    frame,
)

KEY = list(NAMES)
CANDIDATES = {
    "filters": (64, 48, 32, 16, 8, 4, 2),
    "input_px": (64, 48, 32, 24, 12),
    "kernel_px": (5, 4, 3),
    "layers": (3, 2, 1),
}
THIN = {"filters": (64, 16, 4, 2), "input_px": (64, 32, 12), "kernel_px": (5, 3), "layers": (3, 1)}
ALPHA_0 = 0.014
BASELINE_S = 2e-3  # of one image
REPETITIONS = (0.98, 0.99, 1.0, 1.01, 1.02)
IMAGES = (22_000, 78_000)  # so many that a share is kept to five digits
LAMBDAS = (1.0, -0.002, -0.03, -0.02, -0.01, 0.01, 0.01, 0.01, 0.005)
DIVERGED = Configuration(48, 48, 5, 3)
UNSTABLE = Configuration(32, 64, 5, 3)
MODELS = (precision.EQ6, precision.DEFAULT)


def eq6(rows: pd.DataFrame, lambdas=LAMBDAS, at_baseline: float = 0.95) -> np.ndarray:
    """Eq. (6) over shares of the baseline; the tenth lambda gives T0 its precision."""
    powers, slopes = np.array(lambdas[1:5]), np.array(lambdas[5:9])

    def without_constant(shares: np.ndarray) -> np.ndarray:
        return lambdas[0] * np.exp((1 / shares) @ powers) + shares @ slopes

    own = without_constant(np.ones((1, 4)))
    return without_constant(configurations.shares(rows)) + at_baseline - own


def eq1(rows: pd.DataFrame, alpha_0: float = ALPHA_0) -> np.ndarray:
    """Eq. (1) with C(T0) = 1."""
    share = configurations.costs(rows)["conv_macs"].to_numpy() / BASELINE.conv_macs
    return alpha_0 + (1 - alpha_0) * share


def roles(candidates=None, held_out: int = 12) -> dict[Configuration, str]:
    """Configuration -> role, as the study plans them."""
    values = candidates or CANDIDATES
    base = {name: getattr(BASELINE, name) for name in NAMES}
    found: dict[Configuration, str] = {}
    for name in NAMES:
        found |= {Configuration(**base | {name: v}): "1-D" for v in values[name]}
    for name in NAMES[1:]:
        for f, v in product(values["filters"], values[name]):
            found.setdefault(Configuration(**base | {"filters": f, name: v}), "2-D")
    left = sorted({Configuration(*point) for point in product(*values.values())} - found.keys())
    drawn = np.random.default_rng(4).choice(len(left), held_out, replace=False)
    return found | {left[i]: "held out" for i in sorted(drawn)}


def tables(
    *,
    candidates: dict | None = None,
    held_out: int = 12,
    line_seeds: int = 3,
    optimum_seeds: int = 5,
    drops: tuple[float, ...] = (0.5, 2, 60),
    p: Callable[[pd.DataFrame], np.ndarray] = eq6,
    c: Callable[[pd.DataFrame], np.ndarray] = eq1,
    noise: float = 0.0005,
    jitter: float = 0.005,
    lost: float = 0.0,
    faults: bool = True,
) -> dict[str, pd.DataFrame]:
    """Every table of the notebook by name, without `run_id`, the same for the same arguments.

    `p` and `c` are the true precision and complexity; `noise` the standard deviation of a
    training, `jitter` the greatest relative error of a net's time, both drawn once. `lost` is what
    a trained optimum has less than the model says. The last of `drops` asks for more than there
    is. With `faults` one net diverged and one was timed under load, once.
    """
    rng = np.random.default_rng(4)
    plan = roles(candidates, held_out)
    chosen = _chosen(plan, drops, p, c)
    built = [
        Configuration(*(int(row[name]) for name in KEY))
        for row in chosen
        if row["status"] == "found" and row["grid"] == "integers"
    ]
    built = list(dict.fromkeys(built))
    trainings = [
        _training(one, seed, role, float(p(frame([one]))[0]) + rng.normal(0, noise), faults)
        for one, role in plan.items()
        for seed in range(line_seeds if role == "1-D" else 1)
    ]
    done = {tuple(row[name] for name in [*KEY, "seed"]) for row in trainings}
    trainings += [
        _training(one, seed, "optimum", float(p(frame([one]))[0]) - lost + rng.normal(0, noise))
        for one in built
        for seed in range(optimum_seeds)
        if (one.filters, one.input_px, one.kernel_px, one.layers, seed) not in done
    ]
    times = []
    for turn, one in enumerate(plan):
        times += _times("plan", one, turn, c, rng, jitter, 1.0, faults)
    for turn, one in enumerate(dict.fromkeys([BASELINE, *built])):
        times += _times("optima", one, turn, c, rng, jitter, 1.3, False)
    every = frame(dict.fromkeys([*plan, *built]))
    again = [(BASELINE, "baseline", range(line_seeds, line_seeds + 3))]
    again += [(one, "held out", range(1, 3)) for one, role in plan.items() if role == "held out"]
    again += [(one, "optimum", range(optimum_seeds, optimum_seeds + 5)) for one in built]
    repeated = [
        _training(one, seed, role, float(p(frame([one]))[0]) - less + rng.normal(0, noise))
        for one, role, seeds in again
        for seed in seeds
        for less in [lost if role == "optimum" else 0.0]
        if (one.filters, one.input_px, one.kernel_px, one.layers, seed) not in done
    ]
    found = {
        "face_splits": _faces(),
        "recipe_trials": _recipes(),
        "configuration_costs": every.join(configurations.costs(every)),
        "configuration_trainings": trainings,
        "repeated_trainings": repeated,
        "forward_times": times,
        "chosen_optima": chosen,
    }
    return {name: _typed(rows, name) for name, rows in found.items()}


def _training(one, seed, role, share, faults=False):
    row = {**dict(zip(KEY, _values(one), strict=True)), "seed": seed, "role": role}
    if faults and one == DIVERGED:
        return row | {"status": "diverged", "reason": "the loss was no longer finite"}
    row |= {"status": "done", "reason": None, "train_images": 9_000, "epochs": 3, "train_s": 60.0}
    for split in ("validation", "test"):
        for number, images in enumerate(IMAGES):
            row[f"{split}_class{number}_images"] = images
            row[f"{split}_class{number}_correct"] = round(images * min(max(share, 0), 1))
    return row


def _values(one):
    return (one.filters, one.input_px, one.kernel_px, one.layers)


def _times(session, one, turn, c, rng, jitter, slower, faults):
    """The third net of every three is fast where the second is slow: rounds have no factor."""
    own = 1.0 if one == BASELINE else 1 + rng.uniform(-jitter, jitter)
    seconds = 100 * BASELINE_S * float(c(frame([one]))[0]) * own * slower
    rows = []
    for number, factor in enumerate(([1.0] * 5, REPETITIONS, REPETITIONS[::-1])[turn % 3]):
        loaded = faults and one == UNSTABLE and number == 2  # the median stays without it
        rows.append(
            {"session": session, **dict(zip(KEY, _values(one), strict=True)), "batch": 100}
            | {"threads": 2, "repetition": number, "stable": not loaded}
            | {"seconds": seconds * (50 if loaded else factor)}
        )
    return rows


def _chosen(plan, drops, p, c):
    """The true optimum, as a model that is right would have it."""
    planned = frame(plan)
    values = {n: range(planned[n].min(), planned[n].max() + 1) for n in NAMES}
    values["filters"] = range(2, 65, 2)
    values["input_px"] = range(12, 65, 4)
    grids = {
        "integers": configurations.integer_grid(**values),
        "shares": configurations.rounded_share_grid(),
    }
    rows = []
    for grid, points in grids.items():
        evaluated = points.assign(precision=p(points), complexity=c(points))
        for model, drop in product(MODELS, drops):
            target = float(p(frame([BASELINE]))[0]) + (0.05 if drop == 60 else -drop / 100)
            best = cheapest.cheapest(evaluated, target)
            row = {"drop_points": float(drop), "target_accuracy": target}
            row |= {"model": model, "grid": grid, "status": "none"}
            if best is not None:
                row |= {"status": "found", **{name: int(best[name]) for name in KEY}}
                row |= {"predicted_accuracy": best["precision"]}
                row |= {"predicted_complexity": best["complexity"]}
            rows.append(row)
    return rows


def _faces():
    return [
        {"split": split, "label": label, "images": images, "people": people}
        for split, counts in {
            "train": ((2_000, 1_000), (7_000, 2_900)),
            "validation": ((300, 150), (900, 420)),
            "test": ((500, 250), (1_500, 620)),
        }.items()
        for label, (images, people) in zip(("female", "male"), counts, strict=True)
    ]


def _recipes():
    rows = []
    for place, lr in enumerate((0.001, 0.002)):
        row = {"recipe": f"Adam, rate {lr}", "seed": 0, "optimiser": "adam", "lr": lr}
        row |= {"batch_size": 32, "chosen": place == 0, "status": "done", "reason": None}
        row |= {"train_images": 9_000, "epochs": 3, "train_s": 60.0}
        for number, images in enumerate((300, 900)):
            row[f"validation_class{number}_images"] = images
            row[f"validation_class{number}_correct"] = images - 30 - 30 * place
        rows.append(row)
    failed = {"recipe": "Adam, rate 1", "seed": 0, "optimiser": "adam", "lr": 1.0}
    rows.append(
        failed | {"batch_size": 32, "chosen": False, "status": "diverged", "reason": "no number"}
    )
    return rows


_DTYPES = {"int": "int64", "float": "float64", "bool": "bool"}


def _typed(rows, name):
    columns = records.TABLES[name].columns
    types = {
        column: "Int64" if spec.optional and spec.dtype == "int" else _DTYPES[spec.dtype]
        for column, spec in columns.items()
        if spec.dtype != "text"
    }
    return pd.DataFrame(rows, columns=list(columns)).astype(types)
