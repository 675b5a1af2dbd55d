"""Which protocol would give the paper's five times: hypotheses, ranked by their distance."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from convcost.chapters.training_time.findings import paper, per_epoch

LAUNCH_S = (5e-6, 10e-6, 20e-6, 40e-6, 80e-6)
EFFICIENCIES = (1.0, 0.5, 0.25)
PIPELINE_FACTORS = (2.0, 1.0, 0.5, 0.25)
WORKERS = (0, 1, 2, 4)
SPLITS = ((60_000, 10_000), (48_000, 12_000))
"""(training, validation) images: the set's own split, and a fifth of its training images."""

THIS_MACHINE = "this machine"
MEASURED, COMPOSED, PREDICTED = "measured", "composed", "predicted"

CHOICES = [
    "machine", "basis", "family", "densenet", "loop", "input_px", "in_channels", "batch",
    "workers", "pipeline", "train_images", "test_images", "pipeline_factor", "launch_s",
    "efficiency",
]  # fmt: skip
"""The columns of `forensics` that say what a hypothesis assumes."""

_SECONDS = [f"{role}_s" for role in paper.ROLES]
_RATIOS = [f"{role}_ratio" for role in paper.ROLES]
_PARTS = ["training", "validation"]


def distances(seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """How far five times are from the paper's, whatever the machine's speed.

    `seconds` (hypotheses, 5) in the order of `paper.ROLES`. Out come, one each: distance, the root
    mean square of ln(seconds / paper's) about its mean, which is the best common factor; distance
    to AlexNet, the root mean square of ln(ratio / paper's ratio) of the other four, ratios to
    AlexNet; Kendall's tau with the paper's order (ties count 0); and the common factor, paper's
    over ours, geometric mean.

    >>> times = paper.table_two()["seconds"].to_numpy()
    >>> [float(round(value[0], 9)) for value in distances(times[None] / 4)]
    [0.0, 0.0, 1.0, 4.0]
    """
    published = paper.table_two()["seconds"].to_numpy(dtype=float)
    off = np.log(np.asarray(seconds, dtype=float)) - np.log(published)
    distance = off.std(axis=1)
    to_first = np.sqrt(((off[:, 1:] - off[:, :1]) ** 2).mean(axis=1))
    i, j = np.triu_indices(len(published), 1)
    order = np.sign(seconds[:, i] - seconds[:, j]) * np.sign(published[i] - published[j])
    return distance, to_first, order.mean(axis=1), np.exp(-off.mean(axis=1))


def _per_image(training_steps: pd.DataFrame, pipeline: bool, loops: Sequence[str]) -> pd.DataFrame:
    steps = training_steps[training_steps["loop"].isin(loops)]
    table = per_epoch.epochs(steps, pipeline=pipeline).rename(
        columns={"train_image_s": "training", "validation_image_s": "validation"}
    )
    asked = table.drop(columns="batch").rename(columns={"batch_asked": "batch"})
    conditions = ["loop", "input_px", "in_channels", "batch", "workers", "threads"]
    return asked[["net", *conditions, *_PARTS]].assign(
        machine=THIS_MACHINE, basis=MEASURED, pipeline=pipeline
    )


def _loader(pipeline_times: pd.DataFrame) -> pd.DataFrame:
    """Seconds per image of the PIL loader alone, median: input_px, workers, loader_s."""
    rows = pipeline_times[pipeline_times["pipeline"] == "loader"]
    per_image = rows["seconds"] / rows["images"]
    keys = [rows["input_px"], rows["workers"]]
    return per_image.groupby(keys).median().rename("loader_s").reset_index()


def _on_this_machine(
    training_steps: pd.DataFrame, pipeline_times: pd.DataFrame, loops: Sequence[str]
) -> pd.DataFrame:
    """Seconds per image by net: with the pipeline, without, and with workers added on paper."""
    counted, bare = (_per_image(training_steps, flag, loops) for flag in (True, False))
    frames = [counted, bare[bare["workers"] == 0]]
    loader = _loader(pipeline_times)
    alone = bare[(bare["workers"] == 0) & (bare["loop"] == "plain")].drop(columns="workers")
    beside = alone.merge(loader[loader["workers"] > 0], on="input_px")
    keys = ["net", "input_px", "in_channels", "batch", "workers", "threads", "loop"]
    known = pd.MultiIndex.from_frame(counted[keys])
    beside = beside[~pd.MultiIndex.from_frame(beside[keys]).isin(known)]
    slower = {part: beside[[part, "loader_s"]].max(axis=1, skipna=False) for part in _PARTS}
    frames.append(beside.assign(**slower, basis=COMPOSED, pipeline=True).drop(columns="loader_s"))
    return pd.concat([frame for frame in frames if len(frame)] or [counted], ignore_index=True)


def _predicted(
    predicted_steps: pd.DataFrame,
    pipeline_times: pd.DataFrame,
    launches: Sequence[float],
    efficiencies: Sequence[float],
    factors: Sequence[float],
    workers: Sequence[int],
) -> pd.DataFrame:
    """Seconds per image by net on the machines of `predicted_steps`, for every assumption."""
    assumed = pd.merge(
        pd.DataFrame({"launch_s": launches}), pd.DataFrame({"efficiency": efficiencies}), "cross"
    )
    steps = predicted_steps.merge(assumed, "cross")
    busy, launching = steps["busy_s"] / steps["efficiency"], steps["calls"] * steps["launch_s"]
    steps = steps.assign(image_s=np.maximum(busy, launching) / steps["batch"])
    keys = ["device", "net", "input_px", "in_channels", "batch", "launch_s", "efficiency"]
    arithmetic = steps.pivot(index=keys, columns="part", values="image_s").reset_index()
    loader = _loader(pipeline_times).query("workers == 0").drop(columns="workers")
    ways = pd.merge(
        pd.DataFrame({"pipeline_factor": factors}), pd.DataFrame({"workers": workers}), "cross"
    )
    fed = arithmetic.merge(loader, on="input_px").merge(ways, "cross")
    loading = fed["loader_s"] * fed["pipeline_factor"]
    for part in _PARTS:
        beside = np.maximum(fed[part], loading / fed["workers"].clip(lower=1))
        fed[part] = beside.where(fed["workers"] > 0, fed[part] + loading)
    frames = [
        fed.drop(columns="loader_s").assign(pipeline=True),
        arithmetic.assign(pipeline=False, workers=0, pipeline_factor=np.nan),
    ]
    table = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    return table.rename(columns={"device": "machine"}).assign(basis=PREDICTED, loop="plain")


def _lined_up(by_net: pd.DataFrame) -> pd.DataFrame:
    """One row a hypothesis and line-up of five nets: training_<role>, validation_<role>."""
    if by_net.empty:
        return by_net
    conditions = [c for c in by_net if c not in ("net", *_PARTS)]
    wide = by_net.pivot(index=conditions, columns="net", values=_PARTS)
    frames = []
    for (family, densenet), nets in paper.LINEUPS.items():
        if not set(nets) <= set(by_net["net"]):
            continue
        five = wide[[(part, net) for part in _PARTS for net in nets]].dropna()
        five.columns = [f"{part}_{role}" for part in _PARTS for role in paper.ROLES]
        frames.append(five.reset_index().assign(family=family, densenet=densenet))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def forensics(
    training_steps: pd.DataFrame,
    pipeline_times: pd.DataFrame,
    predicted_steps: pd.DataFrame | None = None,
    net_costs: pd.DataFrame | None = None,
    *,
    peak_flops_per_s: float | None = None,
    loops: Sequence[str] = ("plain",),
    launches: Sequence[float] = LAUNCH_S,
    efficiencies: Sequence[float] = EFFICIENCIES,
    factors: Sequence[float] = PIPELINE_FACTORS,
    workers: Sequence[int] = WORKERS,
    splits: Sequence[tuple[int, int]] = SPLITS,
) -> pd.DataFrame:
    """Every protocol that the five times could come from, the nearest to the paper's first.

    One row a hypothesis for which all five nets have a time. Columns that say what it assumes
    (`CHOICES`):

    * machine ("this machine", or a device of `predicted_steps`); basis: "measured" (steps as
      timed), "composed" (this machine's steps without their pipeline, beside loader workers timed
      alone: the slower of the two sets the pace), "predicted";
    * family, densenet (a key of `paper.LINEUPS`), loop, input_px, in_channels, batch (as asked),
      workers, pipeline (counted or not), train_images, test_images;
    * predicted ones only: pipeline_factor (our loader's seconds per image times this; missing
      where the pipeline is not counted), launch_s (seconds to launch one operator), efficiency (of
      the device's peaks). A step takes the longer of busy_s / efficiency and calls * launch_s, and
      then its loader, or beside it where there are workers, which share the loading evenly. The
      loader is the one timed with three channels.

    Columns that follow: alexnet_s to densenet_s (one epoch, training and validation), alexnet_ratio
    to densenet_ratio (to AlexNet), distance, distance_to_alexnet, kendall (see `distances`), place
    (1 the nearest), epochs_implied (paper's seconds over these, geometric mean: how many epochs,
    if the machine is as fast as the paper's). With `net_costs` and `peak_flops_per_s` (of the
    paper's device): utilisation, FLOPs of so many epochs over all five printed times and the peak,
    and utilisation_highest, of the net that comes nearest to the peak: above 1 the hypothesis
    cannot be; else both are missing.
    """
    tables = [_lined_up(_on_this_machine(training_steps, pipeline_times, loops))]
    if predicted_steps is not None and len(predicted_steps):
        grid = (launches, efficiencies, factors, workers)
        tables.append(_lined_up(_predicted(predicted_steps, pipeline_times, *grid)))
    tables = [table for table in tables if len(table)]
    if not tables:
        return pd.DataFrame(columns=_COLUMNS)
    table = pd.concat(tables, ignore_index=True)
    divided = pd.DataFrame(splits, columns=["train_images", "test_images"])
    table = table.merge(divided, "cross").reindex(columns=[*CHOICES, *_BY_ROLE])
    seconds = np.column_stack(
        [
            table[f"training_{role}"] * table["train_images"]
            + table[f"validation_{role}"] * table["test_images"]
            for role in paper.ROLES
        ]
    )
    table[_SECONDS] = seconds
    table[_RATIOS] = seconds / seconds[:, :1]
    found = distances(seconds)
    for name, values in zip(
        ("distance", "distance_to_alexnet", "kendall", "epochs_implied"), found, strict=True
    ):
        table[name] = values
    used = _utilisation(table, net_costs, peak_flops_per_s)
    table = table.assign(utilisation=used[0], utilisation_highest=used[1])
    table = table.sort_values("distance", kind="stable")
    table["place"] = table["distance"].rank(method="min").astype(int)
    return table[_COLUMNS].reset_index(drop=True)


_BY_ROLE = [f"{part}_{role}" for part in _PARTS for role in paper.ROLES]
_COLUMNS = [
    *CHOICES, *_SECONDS, *_RATIOS, "distance", "distance_to_alexnet", "kendall", "place",
    "epochs_implied", "utilisation", "utilisation_highest",
]  # fmt: skip


def _utilisation(
    table: pd.DataFrame, net_costs: pd.DataFrame | None, peak: float | None
) -> tuple[object, object]:
    if net_costs is None or peak is None:
        return np.nan, np.nan
    keys = ["input_px", "in_channels"]
    published = paper.table_two()["seconds"].to_numpy(dtype=float)
    flops = np.full((len(table), len(paper.ROLES)), np.nan)
    train_image, test_image = per_epoch.costs(net_costs, 1, 0), per_epoch.costs(net_costs, 0, 1)
    for lineup, nets in paper.LINEUPS.items():
        mine = ((table["family"] == lineup[0]) & (table["densenet"] == lineup[1])).to_numpy()
        for place, net in enumerate(nets):
            rows = table.loc[mine, [*keys, "train_images", "test_images"]]
            for images, costed in (("train_images", train_image), ("test_images", test_image)):
                one = costed.loc[costed["net"] == net, [*keys, "epoch_flops"]]
                rows = rows.merge(one.rename(columns={"epoch_flops": images[:-7]}), "left", keys)
            flops[mine, place] = rows["train"] * rows["train_images"] + (
                rows["test"] * rows["test_images"]
            )
    rate = flops * table["epochs_implied"].to_numpy()[:, None] / peak
    return rate.sum(axis=1) / published.sum(), (rate / published).max(axis=1)


def most_epochs(net_costs: pd.DataFrame, peak_flops_per_s: float) -> pd.DataFrame:
    """How many epochs fit into the paper's seconds if its GPU always ran at its peak.

    One row for each split of the images, line-up, net, input_px and in_channels of `net_costs`.
    Columns: train_images, test_images, family, densenet, role, net, input_px, in_channels,
    epoch_flops (of so many training and test images), seconds (printed), utilisation_per_epoch (of
    the peak, were it one epoch), epochs (1 over it: no whole number above it can be),
    epochs_of_five (the lowest of the five nets, which were all trained for the same number; missing
    where one is not counted).
    """
    published = paper.table_two().set_index("role")["seconds"]
    counts = {split: per_epoch.costs(net_costs, *split) for split in SPLITS}
    frames = [
        counted[counted["net"] == net].assign(
            family=family,
            densenet=densenet,
            role=role,
            seconds=published[role],
            train_images=train,
            test_images=test,
        )
        for (train, test), counted in counts.items()
        for (family, densenet), nets in paper.LINEUPS.items()
        for role, net in zip(paper.ROLES, nets, strict=True)
    ]
    table = pd.concat(frames, ignore_index=True)
    table["utilisation_per_epoch"] = (
        table["epoch_flops"].astype(float) / table["seconds"] / peak_flops_per_s
    )
    table["epochs"] = 1 / table["utilisation_per_epoch"]
    alike = ["train_images", "family", "densenet", "input_px", "in_channels"]
    groups = table.groupby(alike)["epochs"]
    whole = groups.transform("size") == len(paper.ROLES)
    table["epochs_of_five"] = groups.transform("min").where(whole)
    columns = ["train_images", "test_images", "family", "densenet", "role", "net", "input_px"]
    columns += [
        "in_channels",
        "epoch_flops",
        "seconds",
        "utilisation_per_epoch",
        "epochs",
        "epochs_of_five",
    ]
    return table[columns]


def baselines(net_costs: pd.DataFrame | None = None) -> pd.DataFrame:
    """How near the paper's times simple rules come, to read the distances of `forensics` by.

    Columns: rule, net_set (the DenseNet meant, where it matters), parameters (how many numbers are
    fitted to the five times, the common factor left out), base_s, per_unit_s (of base_s +
    per_unit_s * units, both at least 0, at the least distance), distance,
    distance_to_alexnet, kendall. Rules: "all take the same time", "proportional to FLOPs" and
    "a + b * FLOPs" with the printed FLOPs; with `net_costs` "a + b * operator calls" at the
    largest size with all five nets. A common factor is free in all of them, as in `forensics`.
    """
    published = paper.table_two()
    seconds = published["seconds"].to_numpy(dtype=float)
    flops = published["flops"].to_numpy(dtype=float)
    rows = [
        _rule("all take the same time", "", 0, np.ones(len(seconds))),
        _rule("proportional to FLOPs", "", 0, flops),
        _fitted("a + b * FLOPs", "", flops),
    ]
    for (family, densenet), nets in paper.LINEUPS.items():
        if net_costs is None or family == "textbook":
            continue
        mine = net_costs[net_costs["net"].isin(nets)]
        keys = ["input_px", "in_channels"]
        mine = mine[mine.groupby(keys)["net"].transform("nunique") == len(nets)]
        if len(mine):
            largest = mine.sort_values(keys).groupby("net").tail(1).set_index("net")
            calls = largest.loc[list(nets), "calls"].to_numpy(dtype=float)
            rows.append(_fitted("a + b * operator calls", densenet, calls))
    return pd.DataFrame(rows)


def _rule(name: str, nets: str, parameters: int, values: np.ndarray, **more: float) -> dict:
    distance, to_first, kendall, _ = (float(value[0]) for value in distances(values[None]))
    base = {"base_s": np.nan, "per_unit_s": np.nan} | more
    return (
        {"rule": name, "net_set": nets, "parameters": parameters}
        | base
        | {"distance": distance, "distance_to_alexnet": to_first, "kendall": kendall}
    )


def _fitted(name: str, nets: str, units: np.ndarray) -> dict:
    """base + slope * units at its least distance: of every mixture of equal and proportional."""
    mixtures = np.linspace(0, 1, 10_001)[:, None]
    values = (1 - mixtures) + mixtures * units / units.max()
    best = int(distances(values)[0].argmin())
    factor = float(distances(values[best][None])[3][0])
    share = float(mixtures[best, 0])
    base, slope = factor * (1 - share), factor * share / units.max()
    return _rule(name, nets, 1, values[best], base_s=base, per_unit_s=float(slope))


def best_of(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The nearest hypothesis for each combination of the choices `by`, nearest first.

    Columns: those of `forensics`, and hypotheses: how many share the combination.
    """
    by = list(by)
    groups = table.groupby(by, sort=False, dropna=False)
    counted = table.assign(hypotheses=groups["distance"].transform("size"))
    return counted.drop_duplicates(by).reset_index(drop=True)


def by_choice(table: pd.DataFrame) -> pd.DataFrame:
    """What each choice does to the distance: what speaks for it and against it.

    One row for each basis, choice (a column of `CHOICES`) and value that occurs, where a choice
    has more than one. Columns: basis, choice, value (text), hypotheses, best (lowest distance),
    median (distance), nearest (the place of its best one), kendall (of its best one).
    """
    rows = []
    for basis, mine in table.groupby("basis", sort=False):
        for choice in CHOICES[2:]:
            if mine[choice].nunique() < 2:
                continue
            for value, group in mine.groupby(choice):
                best = group.iloc[0]
                rows.append(
                    {
                        "basis": basis,
                        "choice": choice,
                        "value": f"{value:g}" if isinstance(value, float) else str(value),
                        "hypotheses": len(group),
                        "best": best["distance"],
                        "median": group["distance"].median(),
                        "nearest": best["place"],
                        "kendall": best["kendall"],
                    }
                )
    columns = ["basis", "choice", "value", "hypotheses", "best", "median", "nearest", "kendall"]
    return pd.DataFrame(rows, columns=columns)
