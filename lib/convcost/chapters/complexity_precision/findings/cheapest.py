"""Equation (7): the cheapest net that is precise enough, by models, and what training it gave."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from convcost.chapters.complexity_precision.findings import (
    complexity,
    configurations,
    paper,
    precision,
)
from convcost.chapters.complexity_precision.findings.configurations import (
    BASELINE,
    NAMES,
    Configuration,
)
from convcost.chapters.complexity_precision.findings.costs import BETTER
from convcost.chapters.complexity_precision.findings.held_out import SHOWN
from convcost.chapters.complexity_precision.findings.rows import (
    BASELINE_ROLES,
    FIT,
    FIT_ROLES,
    HELD_OUT,
    KEY,
    is_baseline,
    is_net,
    precision_rows,
    rounds,
    sets,
    timed,
    times_of,
    training_rows,
)
from convcost.core.errors import BadInputError, ConvcostError
from convcost.fits import comparison
from convcost.fits.comparison import bootstrap, interval
from convcost.fits.fitted import Fitted

INTEGERS, SHARES = "integers", "shares"
GRIDS = (INTEGERS, SHARES)
MEASURED = "measured"
RANDOM, BEST = "cheapest of the held-out nets", "cheapest of all measured nets"
BOOTSTRAPS = 2000
BUDGETS = (5, 10, 20, 40)
_BY_COST = {"by": ["complexity", "precision"], "ascending": [True, False], "ignore_index": True}


# --- by models -------------------------------------------------------------------------------


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


def evaluate(cost: Fitted, precise: Fitted, grid: pd.DataFrame) -> pd.DataFrame:
    """Each configuration of the grid with what the models say: one row each, sorted by C.

    Columns: the four parameters, conv_macs, macs, complexity (baseline 1), precision (a
    fraction), outside (whether one of the two models extrapolates). Equal C: the higher precision
    first.
    """
    found = grid[KEY].join(configurations.costs(grid)[["conv_macs", "macs"]]).assign(
        complexity=cost.predict(grid),
        precision=precise.predict(grid),
        outside=cost.outside(grid) | precise.outside(grid),
    )  # fmt: skip
    return found.sort_values(**_BY_COST)


def envelope(evaluated: pd.DataFrame) -> pd.DataFrame:
    """The lower envelope C(P): rows more precise than every cheaper one, by rising C. Fig. 2.

    Takes rows with complexity and precision, measured or of `evaluate`; keeps their columns.
    """
    ordered = evaluated.sort_values(**_BY_COST)
    highest = ordered["precision"].cummax().shift(fill_value=-math.inf)
    return ordered[ordered["precision"] > highest].reset_index(drop=True)


def cheapest(evaluated: pd.DataFrame, target: float) -> pd.Series | None:
    """The row of least complexity with precision >= target; None where no row is precise enough.

    Of measured nets it is a bound that needs no model. It was chosen by what it measured on the
    test images, so its own precision flatters it.
    """
    enough = evaluated[evaluated["precision"] >= target]
    return None if enough.empty else enough.sort_values(**_BY_COST).iloc[0]


def choose(evaluated: pd.DataFrame, target: float) -> pd.Series:
    """min C(T) subject to P(T) >= target: the row of `evaluate` that eq. (7) chooses.

    Raises BadInputError for a target that is no share, and UnattainableError, which knows how much
    there is, where no configuration reaches it.
    """
    row = cheapest(evaluated, checked_target(target))
    if row is None:
        best = evaluated.loc[evaluated["precision"].idxmax()]
        raise UnattainableError(
            f"no configuration of the grid has a predicted precision of {target:.4g}: the best is "
            f"{best['precision']:.4g}, of {configuration_of(best)}. Ask for less.",
            float(best["precision"]),
        )
    return row


def configuration_of(row: Mapping) -> Configuration:
    """The configuration whose four parameters a row has."""
    return Configuration(*(int(row[name]) for name in NAMES))


def prediction_intervals(
    configuration_rows: pd.DataFrame,
    trained: pd.DataFrame,
    times: pd.DataFrame,
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
    first = models[0].fit(trained, seed=seed)
    cost = models[1].fit(times)
    off = cost.predict(times) / times["complexity"].to_numpy() - 1
    found: dict[str, list] = {"precision": [], "complexity": []}
    for _ in range(bootstraps):
        some, fewer = (
            rows.iloc[rng.integers(len(rows), size=len(rows))] for rows in (trained, times)
        )
        n = len(configuration_rows)
        try:
            predicted = models[0].fit(some, seed=seed, warm=first).predict(configuration_rows)
            predicted_cost = models[1].fit(fewer).predict(configuration_rows)
        except (BadInputError, np.linalg.LinAlgError):
            continue
        found["precision"].append(predicted + rng.choice(first.residuals, n))
        # `off` is predicted over measured, minus 1: a new measurement is predicted / (1 + off)
        found["complexity"].append(predicted_cost / (1 + rng.choice(off, n)))
    table = {}
    for name, samples in found.items():
        limits = [interval(column) for column in np.array(samples).T] if samples else (
            [(math.nan, math.nan)] * len(configuration_rows)
        )  # fmt: skip
        table[f"{name}_low"], table[f"{name}_high"] = zip(*limits, strict=True)
    return pd.DataFrame(table, index=configuration_rows.index)


def grid_of(name: str, configuration_trainings: pd.DataFrame) -> pd.DataFrame:
    """The grid of a name: "shares", the paper's; "integers", whole numbers within the plan's."""
    if name == SHARES:
        return configurations.rounded_share_grid()
    if name != INTEGERS:
        raise BadInputError(f"grid {name!r} is unknown: choose one of {', '.join(GRIDS)}")
    planned = configuration_trainings[configuration_trainings["role"].isin(FIT_ROLES)]
    return configurations.integer_grid(
        **{key: range(planned[key].min(), planned[key].max() + 1) for key in KEY}
    )


def cloud(
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    model: str = precision.EQ6,
    grid: str = SHARES,
) -> pd.DataFrame:
    """Every configuration of a grid with its predicted C and P: the dots of Fig. 2 (left).

    Columns as `evaluate`: the four parameters, conv_macs, macs, complexity,
    precision, outside; sorted by C. Complexity by the better model of C.
    """
    cost = complexity.model(BETTER).fit(times_of(FIT, forward_times, configuration_trainings))
    precise = precision.kept_fit(model, precision_rows(configuration_trainings))
    return evaluate(cost, precise, grid_of(grid, configuration_trainings))


def measured(configuration_trainings: pd.DataFrame, forward_times: pd.DataFrame) -> pd.DataFrame:
    """Every configuration that was trained and timed: one row each, the cheapest first.

    Columns: the four parameters, set (fit, held out, optimum), precision (mean over all its
    seeds), seeds, seed_sd (missing of one), seconds (per image), complexity (baseline 1),
    conv_macs, macs. Of two sessions the later one's time is taken.
    """
    trained = precision_rows(configuration_trainings, roles=None)
    times = timed(forward_times).drop_duplicates(KEY, keep="last")
    table = trained_and_timed(trained, times).join(sets(configuration_trainings), on=KEY)
    columns = [*KEY, "set", "precision", "seeds", "seed_sd", "seconds", "complexity"]
    table = table.sort_values("complexity", kind="stable")
    return table[[*columns, "conv_macs", "macs"]].reset_index(drop=True)


def trained_and_timed(trained: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """Rows of `precision_rows` that were timed, with seconds, complexity, conv_macs and macs."""
    both = trained.merge(times[[*KEY, "seconds", "complexity"]], on=KEY)
    return both.join(configurations.costs(both)[["conv_macs", "macs"]])


def frontiers(
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    models: Sequence[str] = SHOWN,
    grids: Sequence[str] = GRIDS,
) -> pd.DataFrame:
    """The lower envelope C(P) by each model on each grid, and the measured one. Fig. 2 (right).

    Columns: model ("measured" for the last), grid (missing there), the four parameters, complexity,
    precision, macs; by rising C. The measured one flatters itself: of noisy measurements it keeps
    the lucky ones.
    """
    tables = [
        envelope(cloud(configuration_trainings, forward_times, model, grid))
        .assign(model=model, grid=grid)
        for model in models
        for grid in grids
    ]  # fmt: skip
    own = envelope(measured(configuration_trainings, forward_times))
    tables.append(own.assign(model=MEASURED, grid=None))
    columns = ["model", "grid", *KEY, "complexity", "precision", "macs"]
    return pd.concat([table[columns] for table in tables], ignore_index=True)


# --- what training the chosen ones gave ------------------------------------------------------


def optima(
    chosen_optima: pd.DataFrame,
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
) -> pd.DataFrame:
    """The chosen optima, each with its trained and timed result.

    One row a number of points given up, model and grid, as chosen. Columns: those of
    `chosen_optima`, and of the net itself seeds (trained to the end; 0 where none was), accuracy,
    accuracy_sd, accuracy_low, accuracy_high (mean over its seeds, Student's interval of the mean;
    of one seed the interval is missing), lost_points, lost_low, lost_high (the baseline's mean
    minus its own, in points, Welch's interval), reaches (mean at least the target; missing where
    it was not trained), fresh_lost, fresh_low, fresh_high (the same as lost_points, on the
    validation people, whom no fit and no choice saw), fresh_risk (the chance, by Welch's t over the
    seeds, that more than the points given up are lost there), seconds (per image), complexity,
    saving_s, saving_s_low, saving_s_high (the baseline's time over its own; bootstrap of the
    rounds), saving_macs (exact). `configuration_trainings` may hold repeated ones (`together`).
    """
    seeds, base = _by_seed(configuration_trainings, "test")
    fresh, fresh_base = _by_seed(configuration_trainings, "validation")
    times, each = timed(forward_times), rounds(forward_times)
    found = []
    for row in chosen_optima.to_dict("records"):
        key = tuple(row[name] for name in KEY)
        built = row["status"] == "found"
        key = tuple(int(part) for part in key) if built else None
        none = np.array([])
        row |= _trained(seeds.get(key, none), base, row["target_accuracy"])
        row |= _fresh(fresh.get(key, none), fresh_base, row.get("drop_points", np.nan))
        row |= (_saved(key, times, each) if built else {}) | {"saving_macs": np.nan}
        if built:
            row["saving_macs"] = BASELINE.macs / Configuration(*key).macs
        found.append(row)
    columns = [name for name in chosen_optima if name != "run_id"]
    columns += ["seeds", "accuracy", "accuracy_sd", "accuracy_low", "accuracy_high"]
    columns += ["lost_points", "lost_low", "lost_high", "reaches", *FRESH, "seconds", "complexity"]
    columns += ["saving_s", "saving_s_low", "saving_s_high", "saving_macs"]
    table = pd.DataFrame(found, columns=columns)
    whole = dict.fromkeys([*KEY, "seeds"], "Int64") | {"reaches": "boolean"}
    return table.astype(whole)


def _trained(p: np.ndarray, base: np.ndarray, target: float) -> dict:
    mean, low, high = comparison.mean_interval(p) if len(p) else (np.nan,) * 3
    lost_low, lost_high = comparison.welch(base, p)
    return {
        "seeds": len(p), "accuracy": mean, "accuracy_low": low, "accuracy_high": high,
        "accuracy_sd": p.std(ddof=1) if len(p) > 1 else np.nan,
        "lost_points": 100 * (base.mean() - mean) if len(base) else np.nan,
        "lost_low": 100 * lost_low, "lost_high": 100 * lost_high,
        "reaches": bool(mean >= target) if len(p) else None,
    }  # fmt: skip


FRESH = ["fresh_lost", "fresh_low", "fresh_high", "fresh_risk"]


def _by_seed(trainings: pd.DataFrame, split: str) -> tuple[dict, np.ndarray]:
    """(configuration -> precision of each of its seeds, that of the baseline's) on a split."""
    own = training_rows(trainings, roles=None, split=split)
    seeds = {key: group["precision"].to_numpy() for key, group in own.groupby(KEY)}
    planned = training_rows(trainings, roles=BASELINE_ROLES, split=split)
    return seeds, planned.loc[is_baseline(planned), "precision"].to_numpy()


def _fresh(p: np.ndarray, base: np.ndarray, drop: float) -> dict:
    if not len(p) or not len(base):
        return dict.fromkeys(FRESH, np.nan)
    low, high = comparison.welch(base, p)
    risk = np.nan
    if min(len(base), len(p)) > 1:
        # the chance that the loss is above `drop` is that of a t below the test's statistic
        test = stats.ttest_ind(base - drop / 100, p, equal_var=False, alternative="less")
        risk = float(test.pvalue)
    lost = 100 * (base.mean() - p.mean())
    return dict(zip(FRESH, (lost, 100 * low, 100 * high, risk), strict=True))


def _saved(key: tuple[int, ...], times: pd.DataFrame, each: pd.DataFrame) -> dict:
    """seconds, complexity, saving_s and its interval of a net, of `timed` and `rounds`.

    Of two sessions the later one, whose times were taken in turns with those of the optima.
    """
    own = times[is_net(times, key)]
    if own.empty:
        return {}
    row = own.iloc[-1]
    each = each[each["session"] == row["session"]]
    pair = pd.concat(
        [each[is_net(each, net)].set_index("repetition")["seconds"]
         for net in (paper.T0.values(), key)], axis=1, join="inner",
    )  # fmt: skip
    low, high = bootstrap(_ratio_of_medians, *pair.to_numpy().T, draws=BOOTSTRAPS)
    return {
        "seconds": row["seconds"], "complexity": row["complexity"],
        "saving_s": 1 / row["complexity"], "saving_s_low": low, "saving_s_high": high,
    }  # fmt: skip


def _ratio_of_medians(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.median(one, axis=axis) / np.median(other, axis=axis)


def savings(
    chosen_optima: pd.DataFrame,
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
) -> pd.DataFrame:
    """How many times cheaper at each number of points given up, by the models and by two bounds.

    One row a way and number of points: drop_points, target_accuracy, way ("eq. (6), integers", ...;
    then the cheapest of the held-out nets, which is what a random search of that many finds, and
    the cheapest of all measured nets), the four parameters, seeds, accuracy, lost_points, lost_low,
    lost_high, reaches, those of fresh people (as in `optima`), saving_s, saving_s_low,
    saving_s_high, saving_macs, tenfold (the paper's factor is reached in seconds and in
    multiply-adds). Only optima that were trained have a row.
    The bounds are chosen by what they measured on the test images, so their own accuracy flatters
    them; a bound that no net reaches has no row.
    """
    trained = optima(chosen_optima, configuration_trainings, forward_times)
    trained = trained[trained["seeds"].fillna(0) > 0]
    tables = [trained.assign(way=trained["model"] + ", " + trained["grid"])]
    pool = measured(configuration_trainings, forward_times)
    of_drop = chosen_optima.drop_duplicates("drop_points")[["drop_points", "target_accuracy"]]
    for way, some in ((RANDOM, pool[pool["set"] == HELD_OUT]), (BEST, pool)):
        chosen = []
        for drop in of_drop.to_dict("records"):
            best = cheapest(some, drop["target_accuracy"])
            if best is not None:
                chosen.append(drop | {"status": "found", **best[KEY]})
        if chosen:
            own = optima(pd.DataFrame(chosen), configuration_trainings, forward_times)
            tables.append(own.assign(way=way))
    columns = ["drop_points", "target_accuracy", "way", *KEY, "seeds", "accuracy", "lost_points"]
    columns += ["lost_low", "lost_high", "reaches", *FRESH, "saving_s", "saving_s_low"]
    columns += ["saving_s_high"]
    table = pd.concat([t[[*columns, "saving_macs"]] for t in tables], ignore_index=True)
    factor = paper.value("complexity_reduction")
    tenfold = (table["saving_s"] >= factor) & (table["saving_macs"] >= factor)
    table = table.assign(tenfold=tenfold)
    return table.sort_values("drop_points", kind="stable").reset_index(drop=True)


def search(
    chosen_optima: pd.DataFrame,
    configuration_trainings: pd.DataFrame,
    forward_times: pd.DataFrame,
    budgets: Sequence[int] = BUDGETS,
) -> pd.DataFrame:
    """Random searches of several budgets over the held-out nets, by number of points given up.

    Columns: drop_points, target_accuracy, then those of `random_search`: budget,
    found, complexity, complexity_low, complexity_high. A budget beyond the pool is left out.
    """
    pool = measured(configuration_trainings, forward_times)
    pool = pool[pool["set"] == HELD_OUT]
    budgets = [budget for budget in budgets if budget <= len(pool)]
    tables = [
        random_search(pool, drop["target_accuracy"], budgets).assign(**drop)
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


def random_search(
    measured_rows: pd.DataFrame,
    target: float,
    budgets: Sequence[int] = BUDGETS,
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
