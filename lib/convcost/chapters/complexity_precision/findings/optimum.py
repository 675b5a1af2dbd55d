"""Equation (7): the cheapest net that is precise enough, by models, and what training it gave."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from convcost.chapters.complexity_precision.findings import fitted, paper
from convcost.chapters.complexity_precision.findings.costs import BETTER
from convcost.chapters.complexity_precision.findings.equations import readings
from convcost.chapters.complexity_precision.findings.held_out import SHOWN
from convcost.core.errors import BadInputError
from convcost.fits import configurations, optimum, precision, printed, rows
from convcost.fits.configurations import BASELINE, NAMES

KEY = list(NAMES)
INTEGERS, SHARES = "integers", "shares"
GRIDS = (INTEGERS, SHARES)
MEASURED = "measured"
RANDOM, BEST = "cheapest of the held-out nets", "cheapest of all measured nets"
LEVEL = 0.95
BOOTSTRAPS = 2000


def grid_of(name: str, configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """The grid of a name: "shares", the paper's; "integers", whole numbers within the plan's."""
    if name == SHARES:
        return configurations.rounded_share_grid()
    if name != INTEGERS:
        raise BadInputError(f"grid {name!r} is unknown: choose one of {', '.join(GRIDS)}")
    planned = configuration_trainings[configuration_trainings["role"].isin(rows.FIT_ROLES)]
    return configurations.integer_grid(
        **{key: range(planned[key].min(), planned[key].max() + 1) for key in KEY}
    )


def cloud(
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    model: str = precision.EQ6,
    grid: str = SHARES,
    measure: str = "accuracy",
) -> pd.DataFrame:
    """Every configuration of a grid with its predicted C and P: the dots of Fig. 2 (left).

    Columns as `fits.optimum.evaluate`: the four parameters, conv_macs, macs, complexity,
    precision, outside; sorted by C. Complexity by the better model of C.
    """
    cost = fitted.cost(BETTER, fitted.fit_times(forward_times, configuration_trainings))
    precise = fitted.model(model, fitted.fit_rows(configuration_trainings, measure))
    return optimum.evaluate(cost, precise, grid_of(grid, configuration_trainings))


def measured(
    configuration_trainings: pd.DataFrame, forward_times: pd.DataFrame, measure: str = "accuracy"
) -> pd.DataFrame:
    """Every configuration that was trained and timed: one row each, the cheapest first.

    Columns: the four parameters, set (fit, held out, optimum), precision (mean over all its
    seeds), seeds, seed_sd (missing of one), seconds (per image), complexity (baseline 1),
    conv_macs, macs. Of two sessions the later one's time is taken.
    """
    trained = rows.precision_rows(configuration_trainings, measure=measure, roles=None)
    timed = fitted.timed(forward_times)
    timed = timed.drop_duplicates(KEY, keep="last")
    table = trained.merge(timed[[*KEY, "seconds", "complexity"]], on=KEY)
    table = table.join(configurations.costs(table)[["conv_macs", "macs"]])
    table = table.join(fitted.sets(configuration_trainings), on=KEY)
    columns = [*KEY, "set", "precision", "seeds", "seed_sd", "seconds", "complexity"]
    table = table.sort_values("complexity", kind="stable")
    return table[[*columns, "conv_macs", "macs"]].reset_index(drop=True)


def frontiers(
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    models: Sequence[str] = SHOWN,
    grids: Sequence[str] = GRIDS,
    measure: str = "accuracy",
) -> pd.DataFrame:
    """The lower envelope C(P) by each model on each grid, and the measured one. Fig. 2 (right).

    Columns: model ("measured" for the last), grid (missing there), the four parameters, complexity,
    precision, macs; by rising C. The measured one flatters itself: of noisy measurements it keeps
    the lucky ones.
    """
    tables = [
        optimum.envelope(cloud(configuration_trainings, forward_times, model, grid, measure))
        .assign(model=model, grid=grid)
        for model in models
        for grid in grids
    ]  # fmt: skip
    own = optimum.envelope(measured(configuration_trainings, forward_times, measure))
    tables.append(own.assign(model=MEASURED, grid=None))
    columns = ["model", "grid", *KEY, "complexity", "precision", "macs"]
    return pd.concat([table[columns] for table in tables], ignore_index=True)


# --- what training the chosen ones gave ------------------------------------------------------


def optima(
    chosen_optima: pd.DataFrame,
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    measure: str = "accuracy",
) -> pd.DataFrame:
    """The chosen optima, each with its trained and timed result.

    One row a number of points given up, model and grid, as chosen. Columns: those of
    `chosen_optima`, and of the net itself seeds (trained to the end; 0 where none was), accuracy,
    accuracy_sd, accuracy_low, accuracy_high (mean over its seeds, Student's interval of the mean;
    of one seed the interval is missing), lost_points, lost_low, lost_high (the baseline's mean
    minus its own, in points, Welch's interval), reaches (mean at least the target; missing where
    it was not trained), seconds (per image), complexity, saving_s, saving_s_low, saving_s_high
    (the baseline's time over its own; bootstrap of the medians), saving_macs (exact).
    `accuracy` is the `measure`.
    """
    own = rows.training_rows(configuration_trainings, measure=measure, roles=None)
    seeds = {key: group["precision"].to_numpy() for key, group in own.groupby(KEY)}
    base = _baseline_seeds(configuration_trainings, measure)
    times = _times(forward_times)
    found = []
    for row in chosen_optima.to_dict("records"):
        key = tuple(row[name] for name in KEY)
        built = row["status"] == "found"
        key = tuple(int(part) for part in key) if built else None
        row |= _trained(seeds.get(key, np.array([])), base, row["target_accuracy"])
        row |= _timed(times.get(key)) | {"saving_macs": np.nan}
        if built:
            row["saving_macs"] = BASELINE.macs / configurations.Configuration(*key).macs
        found.append(row)
    columns = [name for name in chosen_optima if name != "run_id"]
    columns += ["seeds", "accuracy", "accuracy_sd", "accuracy_low", "accuracy_high"]
    columns += ["lost_points", "lost_low", "lost_high", "reaches", "seconds", "complexity"]
    columns += ["saving_s", "saving_s_low", "saving_s_high", "saving_macs"]
    table = pd.DataFrame(found, columns=columns)
    whole = dict.fromkeys([*KEY, "seeds"], "Int64") | {"reaches": "boolean"}
    return table.astype(whole)


def _baseline_seeds(trainings: pd.DataFrame, measure: str) -> np.ndarray:
    table = rows.training_rows(trainings, measure=measure)
    return table.loc[rows.is_baseline(table), "precision"].to_numpy()


def _trained(p: np.ndarray, base: np.ndarray, target: float) -> dict:
    low, high = _student(p)
    lost_low, lost_high = _welch(base, p)
    mean = p.mean() if len(p) else np.nan
    return {
        "seeds": len(p), "accuracy": mean, "accuracy_low": low, "accuracy_high": high,
        "accuracy_sd": p.std(ddof=1) if len(p) > 1 else np.nan,
        "lost_points": 100 * (base.mean() - mean) if len(base) else np.nan,
        "lost_low": 100 * lost_low, "lost_high": 100 * lost_high,
        "reaches": bool(mean >= target) if len(p) else None,
    }  # fmt: skip


def _student(p: np.ndarray) -> tuple[float, float]:
    if len(p) < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + LEVEL) / 2, len(p) - 1) * p.std(ddof=1) / np.sqrt(len(p))
    return p.mean() - half, p.mean() + half


def _welch(base: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Interval of the difference of the means; both need two seeds and a spread."""
    if len(base) < 2 or len(p) < 2:
        return np.nan, np.nan
    a, b = base.var(ddof=1) / len(base), p.var(ddof=1) / len(p)
    off = base.mean() - p.mean()
    if a + b == 0:
        return off, off
    free = (a + b) ** 2 / (a**2 / (len(base) - 1) + b**2 / (len(p) - 1))
    half = stats.t.ppf((1 + LEVEL) / 2, free) * np.sqrt(a + b)
    return off - half, off + half


def _times(forward_times: pd.DataFrame) -> dict[tuple, tuple[pd.Series, np.ndarray, np.ndarray]]:
    """Configuration -> its row of `fitted.timed`, its seconds per image, and the baseline's.

    Of two sessions the later one, whose times were taken in turns with those of the optima.
    """
    steady = forward_times["stable"].astype(bool)
    groups = [forward_times[name] for name in ("session", *KEY)]
    kept = forward_times[steady | ~steady.groupby(groups).transform("any")]
    per_image = {
        key: (group["seconds"] / group["batch"]).to_numpy()
        for key, group in kept.groupby(["session", *KEY])
    }
    base = tuple(paper.T0.values())
    table = fitted.timed(forward_times)
    return {
        tuple(int(row[name]) for name in KEY): (
            row,
            per_image[(row["session"], *(row[name] for name in KEY))],
            per_image[(row["session"], *base)],
        )
        for _, row in table.iterrows()
    }


def _timed(found: tuple[pd.Series, np.ndarray, np.ndarray] | None) -> dict:
    names = ("seconds", "complexity", "saving_s", "saving_s_low", "saving_s_high")
    if found is None:
        return dict.fromkeys(names, np.nan)
    row, own, base = found
    rng = np.random.default_rng(0)
    medians = [
        np.median(values[rng.integers(len(values), size=(BOOTSTRAPS, len(values)))], axis=1)
        for values in (base, own)
    ]
    low, high = np.quantile(medians[0] / medians[1], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    told = (row["seconds"], row["complexity"], 1 / row["complexity"], low, high)
    return dict(zip(names, map(float, told), strict=True))


def savings(
    chosen_optima: pd.DataFrame,
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    measure: str = "accuracy",
) -> pd.DataFrame:
    """How many times cheaper at each number of points given up, by the models and by two bounds.

    One row a way and number of points: drop_points, target_accuracy, way ("eq. (6), integers", ...;
    then the cheapest of the held-out nets, which is what a random search of that many finds, and
    the cheapest of all measured nets), the four parameters, seeds, accuracy, lost_points, lost_low,
    lost_high, reaches, saving_s, saving_s_low, saving_s_high, saving_macs, tenfold (the paper's
    factor is reached in seconds and in multiply-adds). Only optima that were trained have a row.
    The bounds are chosen by what they measured on the test images, so their own accuracy flatters
    them; a bound that no net reaches has no row.
    """
    trained = optima(chosen_optima, configuration_trainings, forward_times, measure)
    trained = trained[trained["seeds"].fillna(0) > 0]
    tables = [trained.assign(way=trained["model"] + ", " + trained["grid"])]
    pool = measured(configuration_trainings, forward_times, measure)
    of_drop = chosen_optima.drop_duplicates("drop_points")[["drop_points", "target_accuracy"]]
    for way, some in ((RANDOM, pool[pool["set"] == fitted.HELD_OUT]), (BEST, pool)):
        chosen = []
        for drop in of_drop.to_dict("records"):
            best = optimum.best_measured(some, drop["target_accuracy"])
            if best is not None:
                chosen.append(drop | {"status": "found", **best[KEY]})
        if chosen:
            own = optima(pd.DataFrame(chosen), configuration_trainings, forward_times, measure)
            tables.append(own.assign(way=way))
    columns = ["drop_points", "target_accuracy", "way", *KEY, "seeds", "accuracy", "lost_points"]
    columns += ["lost_low", "lost_high", "reaches", "saving_s", "saving_s_low", "saving_s_high"]
    table = pd.concat([t[[*columns, "saving_macs"]] for t in tables], ignore_index=True)
    factor = paper.value("complexity_reduction")
    tenfold = (table["saving_s"] >= factor) & (table["saving_macs"] >= factor)
    table = table.assign(tenfold=tenfold)
    return table.sort_values("drop_points", kind="stable").reset_index(drop=True)


def search(
    chosen_optima: pd.DataFrame,
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    budgets: Sequence[int] = (5, 10, 20, 40),
    measure: str = "accuracy",
) -> pd.DataFrame:
    """Random searches of several budgets over the held-out nets, by number of points given up.

    Columns: drop_points, target_accuracy, then those of `fits.optimum.random_search`: budget,
    found, complexity, complexity_low, complexity_high. A budget beyond the pool is left out.
    """
    pool = measured(configuration_trainings, forward_times, measure)
    pool = pool[pool["set"] == fitted.HELD_OUT]
    budgets = [budget for budget in budgets if budget <= len(pool)]
    tables = [
        optimum.random_search(pool, drop["target_accuracy"], budgets).assign(**drop)
        for drop in chosen_optima.drop_duplicates("drop_points")[
            ["drop_points", "target_accuracy"]
        ].to_dict("records")
        if budgets
    ]
    columns = ["drop_points", "target_accuracy", "budget", "found", "complexity"]
    columns += ["complexity_low", "complexity_high"]
    if not tables:
        return pd.DataFrame(columns=columns)
    return pd.concat(tables, ignore_index=True)[columns]


def printed_frontier() -> pd.DataFrame:
    """Eq. (7) with the printed lambdas on the paper's own grid of shares: does it save 10 times?

    One row a reading of eq. (6): reading, at_baseline, usable, grid_highest (the highest precision
    on the grid), complexity (the least C, of eq. (1) with C(T0) = 1, at the paper's precision after
    the drop, 0.93; missing where no point of the grid has it), saving (1 over it), own_saving (the
    same at the reading's own precision at T0 minus the drop). No measurement of ours is in it.
    """
    after = paper.value("precision_after_percent") / 100
    drop = paper.value("precision_drop_percent") / 100
    known = readings()
    known = known[known["model"] == printed.label(NAMES)].set_index("reading")
    grid = printed.cloud()
    found = []
    for reading in printed.READINGS:
        row = known.loc[reading.text]
        points = grid.assign(precision=printed.evaluate(NAMES, grid[KEY].to_numpy(), reading))
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
