"""Tables of notebook 04 made from known models: what a fit must find again."""

import numpy as np
import pandas as pd

from convcost.chapters.complexity_precision.findings import configurations
from convcost.chapters.complexity_precision.findings.configurations import BASELINE, NAMES

FEMALE, MALE = 600, 2000
IMAGES = FEMALE + MALE
BASELINE_S = 0.004  # seconds per image of the baseline


def plan(held_out: int = 50) -> pd.DataFrame:
    """The paper's plan: 1-D sets, three grids with f, and random configurations; with `role`."""
    sets = configurations.candidates()
    roles: dict[tuple, str] = {}
    for i, name in enumerate(NAMES):
        for value in sets[name]:
            roles.setdefault((*_t0()[:i], value, *_t0()[i + 1 :]), "1-D")
    for i in (1, 2, 3):
        for f in sets["filters"]:
            for value in sets[NAMES[i]]:
                one = [f, *_t0()[1:]]
                one[i] = value
                roles.setdefault(tuple(one), "2-D")
    rng = np.random.default_rng(7)
    while sum(role == "held out" for role in roles.values()) < held_out:
        one = (rng.integers(2, 65), rng.integers(12, 65), rng.integers(3, 6), rng.integers(1, 4))
        roles.setdefault(tuple(int(v) for v in one), "held out")
    return pd.DataFrame([(*one, role) for one, role in roles.items()], columns=[*NAMES, "role"])


def _t0() -> tuple[int, ...]:
    return tuple(getattr(BASELINE, name) for name in NAMES)


# coefficients of eq. (6) over shares, and of the power law inside a logit: both rise everywhere
LAMBDA = (0.9, -0.012, -0.03, -0.05, -0.06, 0.02, 0.03, 0.015, 0.02, 0.10)
LOGIT_C, LOGIT_A, LOGIT_B = 2.9, (0.2, 0.25, 0.2, 0.3), (0.6, 1.2, 1.0, 0.8)


def by_equation_six(rows: pd.DataFrame) -> np.ndarray:
    g = configurations.shares(rows)
    c = np.array(LAMBDA)
    return c[0] * np.exp((1 / g) @ c[1:5]) + g @ c[5:9] + c[9]


def by_logit(rows: pd.DataFrame) -> np.ndarray:
    g, b = configurations.shares(rows), np.array(LOGIT_B)
    z = LOGIT_C + ((1 - g**-b) / b) @ np.array(LOGIT_A)
    return 1 / (1 + np.exp(-z))


def precision_rows(truth=by_logit, noise: float = 0.0, held_out: int = 50) -> pd.DataFrame:
    """As of `rows.precision_rows`, with `role`; noise is a standard deviation of precision."""
    rows = plan(held_out)
    rng = np.random.default_rng(3)
    seeds = np.where(rows["role"] == "1-D", 3, 1)
    off = noise * rng.normal(size=len(rows)) / np.sqrt(seeds)
    return rows.assign(precision=truth(rows) + off, images=IMAGES * seeds, seeds=seeds)


def trainings(truth=by_logit, noise: float = 0.0, held_out: int = 50) -> pd.DataFrame:
    """As the table `configuration_trainings`: whole images, three seeds of the 1-D sets."""
    rows = plan(held_out)
    rng = np.random.default_rng(5)
    tables = []
    for seed in range(3):
        some = rows[(rows["role"] == "1-D") | (seed == 0)]
        accuracy = truth(some) + noise * rng.normal(size=len(some))
        female = np.rint(FEMALE * (accuracy - 0.02)).astype(int)
        counts = {
            "class0_images": FEMALE, "class0_correct": female, "class1_images": MALE,
            "class1_correct": np.minimum(np.rint(accuracy * IMAGES).astype(int) - female, MALE),
        }  # fmt: skip
        both = {f"{split}_{k}": v for split in ("validation", "test") for k, v in counts.items()}
        tables.append(
            some.assign(
                seed=seed, status="done", reason=None, train_images=9000, epochs=3, train_s=1.0,
                **both,
            )
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def complexity(rows: pd.DataFrame) -> np.ndarray:
    """C by costs that add up: 90 % multiply-adds, 9 % elements written, 1 % constant."""
    table, own = (configurations.costs(t) for t in (rows, configurations.frame([BASELINE])))
    acts = (table["acts"] - 2) / (own["acts"][0] - 2)
    return (0.9 * table["conv_macs"] / own["conv_macs"][0] + 0.09 * acts + 0.01).to_numpy()


def forward_times(
    repetitions: int = 3, noise: float = 0.0, held_out: int = 50, seed: int = 11
) -> pd.DataFrame:
    """As the table `forward_times`, of one session."""
    rows = plan(held_out)[list(NAMES)]
    rng = np.random.default_rng(seed)
    one_batch = 256 * BASELINE_S * complexity(rows)
    tables = [
        rows.assign(
            session="plan", batch=256, threads=2, repetition=i, stable=True,
            seconds=one_batch * np.exp(noise * rng.normal(size=len(rows))),
        )
        for i in range(repetitions)
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)
