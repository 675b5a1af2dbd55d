"""Ways to search for an architecture, tried over and over on a table of nets that are trained."""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from convcost.core.extras import optional

RANDOM, TPE, MODEL, LARGEST = "random", "Optuna (TPE)", "fitted model", "largest within the limit"
STRATEGIES = (RANDOM, TPE, MODEL, LARGEST)


def simulated(
    nets: pd.DataFrame,
    times: pd.DataFrame,
    limits: Iterable[float],
    most: int,
    repeats: int,
    strategies: Iterable[str] = STRATEGIES,
) -> Iterator[dict]:
    """Rows of `search_trials`: searches that look a net up instead of training it.

    A search wants the net of the highest accuracy on held-out images among those that take at most
    a share of the slowest one's time. It sees what one seed gave; what it found is judged by the
    test images and the other seeds, so that a lucky seed is no merit. A net over the limit costs no
    trial: its time is known without training. A limit within which there is no net has no rows.

    `gap` is the test accuracy of the best net within the limit, by the judging seeds, less that of
    the net that was found.
    """
    space = _space(nets, times)
    seeds = sorted(nets["seed"].unique())
    for limit in limits:
        inside = space[space["image_s"] <= limit * space["image_s"].max()]
        if inside.empty:  # no net is so fast: there is nothing to search for
            continue
        for repeat in range(repeats):
            seen = seeds[repeat % len(seeds)]
            judging = [seed for seed in seeds if seed != seen] or [seen]
            score = inside[[("held_out", seen)]].iloc[:, 0].to_numpy()
            truth = inside[[("test", seed) for seed in judging]].mean(axis=1).to_numpy()
            for strategy in strategies:
                order = _ORDERS[strategy](inside, score, min(most, len(inside)), repeat)
                found = np.maximum.accumulate(score[order])
                best = [order[: n + 1][np.argmax(score[order[: n + 1]])] for n in range(len(found))]
                for trials, place in enumerate(best, start=1):
                    yield {"limit_share": limit, "strategy": strategy, "repeat": repeat,
                           "trials": trials, "gap": float(truth.max() - truth[place])}  # fmt: skip


def _space(nets: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    net = ["kind", "width", "blocks"]
    nets = nets[nets["status"].eq("trained")].assign(
        held_out=lambda t: t["held_out_correct"] / t["held_out_images"],
        test=lambda t: t["test_correct"] / t["test_images"],
    )
    wide = nets.pivot_table(index=net, columns="seed", values=["held_out", "test"]).dropna()
    wide["macs", ""] = nets.groupby(net)["macs"].first()
    each = times.assign(image_s=times["seconds"] / times["calls"])
    wide["image_s", ""] = each.groupby(net)["image_s"].median()
    return wide.sort_index()


def _random(inside: pd.DataFrame, score: np.ndarray, most: int, repeat: int) -> np.ndarray:
    return np.random.default_rng(repeat).permutation(len(inside))[:most]


def _largest(inside: pd.DataFrame, score: np.ndarray, most: int, repeat: int) -> np.ndarray:
    """No search at all: the nets by their multiply-adds, the largest first."""
    return np.argsort(-inside["macs"].to_numpy(), kind="stable")[:most]


def _features(inside: pd.DataFrame) -> np.ndarray:
    """Kind, logarithms of width, blocks and multiply-adds."""
    index = inside.index.to_frame(index=False)
    kinds = pd.get_dummies(index["kind"]).to_numpy(float)
    numbers = np.log(np.c_[index[["width", "blocks"]].to_numpy(float), inside["macs"].to_numpy()])
    return np.c_[kinds, numbers]


def _model(inside: pd.DataFrame, score: np.ndarray, most: int, repeat: int) -> np.ndarray:
    """A third of the trials at random, a ridge regression on them, then the best by it, refitted
    after each: what notebook 04 does with its models of cost and precision."""
    with optional():
        from sklearn.linear_model import Ridge
    features = _features(inside)
    order = list(_random(inside, score, max(3, most // 3), repeat))
    while len(order) < most:
        fitted = Ridge(alpha=1e-3).fit(features[order], score[order])
        guess = fitted.predict(features)
        guess[order] = -np.inf
        order.append(int(np.argmax(guess)))
    return np.array(order[:most])


def _tpe(inside: pd.DataFrame, score: np.ndarray, most: int, repeat: int) -> np.ndarray:
    """Optuna's default sampler over kind, width and blocks; what was tried or is too slow costs no
    trial."""
    with optional():
        import optuna
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    places = {net: place for place, net in enumerate(inside.index)}
    choices = {
        name: sorted(inside.index.get_level_values(name).unique().tolist())
        for name in ("kind", "width", "blocks")
    }
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=repeat)
    )
    order: list[int] = []
    for _ in range(20 * most):
        trial = study.ask()
        net = (
            trial.suggest_categorical("kind", choices["kind"]),
            trial.suggest_categorical("width", choices["width"]),
            trial.suggest_categorical("blocks", choices["blocks"]),
        )
        place = places.get(net)
        if place is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        study.tell(trial, float(score[place]))
        if place not in order:
            order.append(place)
        if len(order) == most:
            break
    # where it only repeats itself, the rest is left to chance
    rest = [place for place in _random(inside, score, len(inside), repeat) if place not in order]
    return np.array((order + rest)[:most])


_ORDERS = {RANDOM: _random, TPE: _tpe, MODEL: _model, LARGEST: _largest}
