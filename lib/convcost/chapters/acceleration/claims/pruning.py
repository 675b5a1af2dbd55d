"""Checks of what the sources say of pruning: weights, filters, blocks."""

import pandas as pd

from convcost.chapters.acceleration import findings as found
from convcost.chapters.acceleration.claims.evidence import (
    DATA,
    POINTS,
    TIMES,
    decided,
    faster,
    listed,
    losses,
    of_seeds,
    of_times,
    paired,
    points,
    seeds_of,
    setting,
)
from convcost.chapters.acceleration.findings import accuracy as kinds
from convcost.claims.lookup import lacking, made, one
from convcost.claims.verdicts import SEEDS, Check, Evidence, Finding, Published, Tolerance
from convcost.records import Results

HALF = 50.0  # percent of the weights, that is "many"
ABRUPT = 10.0  # points from one setting to the next
LATE = 0.9  # of the weights zero: what is not faster up to there is not "easily" faster


def _overparameterised(results: Results, published: Published, name: str) -> Finding:
    table = losses(results, kinds.MASKED)
    after = table[table["word"].eq("train")]
    kept = table[table["word"].isin(["mask", "train"]) & (table["high"] <= POINTS)]
    most = kept["number"].max() if len(kept) else 0
    agrees = bool(most >= HALF)
    return Finding(
        f"{most:g} % of the weights are not needed",
        agrees=agrees,
        protocol=setting(results) if agrees else None,
        reason=f"zero at no more than {POINTS:g} point lost; trained on for an epoch, "
        f"{listed(after)}, {seeds_of(after)}",
        evidence=of_seeds(after),
    )


def _needs_tuning(results: Results, published: Published, name: str) -> Finding:
    """Whether any pruned net keeps its accuracy without."""
    filters = losses(results, kinds.NARROWED, "narrow")
    weights = losses(results, kinds.MASKED, "mask")
    free = weights[weights["high"] <= POINTS]
    agrees = bool((filters["low"] > POINTS).all())
    open_ = not agrees and not (filters["high"] <= POINTS).any()
    upto = f"; single weights need none up to {free['number'].max():g} %" if len(free) else ""
    return Finding(
        f"without, {filters['lost'].min():.1f} points are lost at the least",
        agrees=agrees,
        undecided=f"some intervals hold {POINTS:g} point; more seeds would narrow them"
        if open_
        else None,
        evidence=of_seeds(filters),
        protocol=f"of filters{upto}" if agrees else None,
        reason=f"not trained on, filters: {listed(filters)}; single weights: {listed(weights)}, "
        f"{seeds_of(filters)}",
    )


def _can_preserve(results: Results, published: Published, name: str) -> Finding:
    tables = [losses(results, method, "train") for method in (kinds.MASKED, kinds.NARROWED)]
    table = pd.concat(tables)
    kept = table[table["high"] <= POINTS]
    agrees = not kept.empty
    return Finding(
        f"{len(kept)} of {len(table)} settings lose at most {POINTS:g} point",
        agrees=agrees,
        protocol=setting(results) if agrees else None,
        evidence=of_seeds(table),
        reason=f"{listed(table)}, {seeds_of(table)}",
    )


def _no_speed(results: Results, published: Published, name: str) -> Finding:
    table = made(results, found.break_even, "sparse_weight_times", needed=("sparse_weight_times",))
    if table["most"].max() < LATE:
        raise lacking(f"sparse layers of {LATE:.0%} zeros")
    early = table[table["from_sparsity"] <= LATE]
    agrees = early.empty
    cases = "; ".join(
        f"{row['channels']:.0f} channels at {row['map_px']:.0f} px, batch {row['batch']:.0f}: "
        + (
            f"from {row['from_sparsity']:.0%} on"
            if pd.notna(row["from_sparsity"])
            else f"never, {faster(row)} at {row['most']:.0%}"
        )
        for _, row in table.iterrows()
    )
    never = int(table["from_sparsity"].isna().sum())
    return Finding(
        f"not faster up to {table['most'].max():.0%} zeros in {never} of {len(table)} cases",
        agrees=agrees,
        protocol="two sparse formats on this CPU, layers of a small net" if agrees else None,
        evidence=Evidence(len(table), "layers and batches timed"),
        reason=f"faster than dense {cases}",
    )


_LATE = Tolerance(
    f"easily is not defined: no layer may be faster, by its whole interval, at {LATE:.0%} zeros or "
    "fewer than in the fastest dense way",
    words=f"not faster at {LATE:.0%} zeros or fewer",
)


def _degrades(results: Results, published: Published, name: str) -> Finding:
    """Usually: in more than half of the settings, after training on, by the whole interval."""
    before = losses(results, kinds.NARROWED, "narrow")
    after = losses(results, kinds.NARROWED, "train")
    worse = after[after["low"] > 0]
    agrees = bool(len(worse) > len(after) / 2)
    return Finding(
        f"{len(worse)} of {len(after)} settings lose accuracy even after training on",
        agrees=agrees,
        undecided=None
        if agrees or (after["high"] <= 0).any()
        else "the intervals of some settings hold 0; more seeds would narrow them",
        protocol=setting(results) if agrees else None,
        evidence=of_seeds(after),
        reason=f"not trained on: {listed(before)}; trained on: {listed(after)}, {seeds_of(after)}",
    )


def _abrupt(results: Results, published: Published, name: str) -> Finding:
    """The largest step from one setting to the next, filters and single weights, not trained on."""
    steps = {}
    for method, word in ((kinds.MASKED, "mask"), (kinds.NARROWED, "narrow")):
        table = losses(results, method, word).sort_values("number")
        jumps = table["lost"].diff()
        if len(table) < 2:
            raise lacking(f"settings of {method}")
        place = jumps.idxmax()
        steps[method] = jumps[place], table["setting"][place], table
    agrees = all(jump >= ABRUPT for jump, _, _ in steps.values())
    tuned = losses(results, kinds.MASKED, "train")
    return Finding(
        "; ".join(f"{method}: {jump:.0f} points lost in the step to {where}"
                  for method, (jump, where, _) in steps.items()),
        agrees=agrees,
        protocol="not trained on" if agrees else None,
        evidence=of_seeds(pd.concat([table for *_, table in steps.values()])),
        reason="; ".join(f"{method}, {listed(table)}" for method, (*_, table) in steps.items())
        + f"; trained on for an epoch single weights are lost gradually: {listed(tuned)}",
    )  # fmt: skip


def _layerwise(results: Results, published: Published, name: str) -> Finding:
    tuned = losses(results, kinds.NARROWED, "train")
    return Finding(
        "not run layer by layer",
        undecidable="all layers were pruned at once and trained on once; one after the other would "
        f"need as many trainings as layers. What one training takes: {tuned['train_s'].mean():.0f} "
        "seconds on one core, on average over the shares",
    )


def _filters_or_layers(results: Results, published: Published, name: str) -> Finding:
    """Filters against blocks that save no more: whoever saves more and loses less is better."""
    filters = losses(results, kinds.NARROWED, "train").sort_values("macs", ascending=False)
    blocks = losses(results, kinds.DROPPED, "train").sort_values("macs")
    most = blocks.iloc[0]
    cheaper = filters[filters["macs"] <= most["macs"]]
    if cheaper.empty:
        raise lacking("net without filters that saves as much as one without blocks")
    nearest = cheaper.iloc[0]
    pair = paired(results, (kinds.NARROWED, nearest["setting"]), (kinds.DROPPED, most["setting"]))
    told = decided(pair)
    return Finding(
        points(pair),
        **told,
        protocol=f"residual blocks of two layers, {setting(results)}" if told["agrees"] else None,
        reason=f"{nearest['setting']} gone ({nearest['macs'] / 1e6:.1f} million multiply-adds) "
        f"less {most['setting']} blocks gone ({most['macs'] / 1e6:.1f}), both trained on for an "
        "epoch",
    )


def _branches(results: Results, published: Published, name: str) -> Finding:
    """Latency of one image on one core without one residual block, and its accuracy."""
    speeds = made(results, found.speed_ups, TIMES)
    mine = speeds[
        speeds["method"].eq(kinds.DROPPED) & speeds["runtime"].eq("onnx")
        & speeds["format"].eq("float32") & speeds["batch"].eq(1)
    ]  # fmt: skip
    if mine.empty:
        raise lacking("timed net without a block")
    mine = mine[mine["threads"].eq(mine["threads"].min())]
    saved = {row["setting"]: 100 * (1 - 1 / row["times_faster"]) for _, row in mine.iterrows()}
    after = losses(results, kinds.DROPPED, "train")
    row = one(after, setting=next(iter(saved)))
    return Finding(
        round(saved[row["setting"]], 1),
        protocol=f"{row['setting']} blocks of our residual net, one image on one core",
        evidence=of_times(mine),
        reason="saved: "
        + ", ".join(f"{share:.0f} % without {setting_}" for setting_, share in saved.items())
        + f"; trained on for an epoch, {listed(after)}, {seeds_of(after)}; which branches of "
        "ResNet-50 are meant is not said, and at what accuracy",
    )


_BRANCHES = Tolerance(
    "a block of ResNet-50's sixteen is no block of our nine: a third of the value either way",
    relative=1 / 3,
)
_KEPT = Tolerance(
    f"kept: at most {POINTS:g} point lost by the whole 95 % interval of at least {SEEDS} paired "
    "seeds; lost: more than that by the whole interval",
    words=f"{POINTS:g} point, by the whole interval",
)
_MANY = Tolerance(
    f"many is not defined: half of the weights, at {POINTS:g} point at most",
    words=f"at least {HALF:g} % at {POINTS:g} point",
)
_ZERO = Tolerance(
    f"the whole 95 % interval of at least {SEEDS} paired seeds on one side of 0",
    words="above 0 by the whole interval",
)
_WEIGHTS, _FILTERS, _BLOCKS = (
    "Unstructured pruning", "Structured pruning", "Removing residual blocks",
)  # fmt: skip
CHECKS: dict[str, Check] = {
    "geifman/networks_overparameterised": Check(_overparameterised, _WEIGHTS, _MANY, DATA),
    "geifman/pruning_needs_finetuning": Check(_needs_tuning, _FILTERS, _KEPT, DATA),
    "geifman/pruning_can_preserve_accuracy": Check(_can_preserve, _FILTERS, _KEPT, DATA),
    "geifman/unstructured_pruning_no_speedup": Check(_no_speed, _WEIGHTS, _LATE),
    "geifman/channel_pruning_degrades": Check(_degrades, _FILTERS, _ZERO, DATA),
    "atsumi2020/filters_rather_than_layers": Check(_filters_or_layers, _BLOCKS, _ZERO, DATA),
    "cheng2025/unstructured_pruning_little_speedup": Check(_no_speed, _WEIGHTS, _LATE),
    "cheng2025/excessive_pruning_hurts": Check(
        _abrupt, _FILTERS,
        Tolerance(f"abruptly: {ABRUPT:g} points from one setting to the next",
                  words=f"a step of {ABRUPT:g} points"), DATA,
    ),
    "cheng2025/layerwise_pruning_needs_finetuning": Check(_layerwise, _FILTERS, _ZERO, DATA),
    "cheng2025/resnet50_branch_removal_latency_percent": Check(
        _branches, _BLOCKS, _BRANCHES, DATA
    ),
}  # fmt: skip
