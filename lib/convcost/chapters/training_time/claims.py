"""Checks of notebook 02: training time against FLOPs, and the protocol behind Table 2."""

import numpy as np
import pandas as pd

from convcost.chapters.training_time import findings as found
from convcost.chapters.training_time.findings import hypotheses, layers, paper, per_epoch
from convcost.claims.lookup import made
from convcost.claims.verdicts import Check, Compute, Evidence, Finding, Published, Tolerance, holds
from convcost.records import REFERENCE, MissingTableError, Results, machines

PLAIN = "plain"
STEPS = "training_steps"
FEWEST = 3  # nets that a statement about nets needs
_MAY_LACK = ("full_epochs", "fashion_accuracies", "predicted_steps")
"""Tables that a run may have no row for, and then does not write."""


def _refuse_without(table: pd.DataFrame, what: str) -> None:
    """MissingTableError, by name, where one of the five nets has no row."""
    missing = [net for net in paper.NETS if net not in set(table["net"])]
    if missing:
        raise MissingTableError(f"{what} of {', '.join(missing)} was timed yet")


def _of_stable_runs(table: pd.DataFrame, loop_runs: pd.DataFrame, what: str) -> pd.DataFrame:
    """The rows whose runs were stable, of a table with all five nets under one condition.

    MissingTableError where it lacks one of the five, or where fewer than `FEWEST` are left.
    """
    _refuse_without(table, f"no {what}")
    fair = table[per_epoch.is_stable(table, loop_runs)]
    if len(fair) < FEWEST:
        raise MissingTableError(
            f"{what}s of {len(fair)} of the five nets were timed in a stable run, {FEWEST} are "
            "needed"
        )
    return fair


_EPOCHS = (STEPS, "full_epochs", "net_costs", "fashion_accuracies", "loop_runs")


def _largest(*tables: pd.DataFrame) -> pd.DataFrame:
    *timed, loop_runs = tables
    table = found.table_two(*timed, loop=PLAIN, input_px=None).dropna(subset=["epoch_s"])
    return _of_stable_runs(table, loop_runs, "epoch")


def _epochs(results: Results) -> pd.DataFrame:
    """Table 2 beside the plain loop at its largest size: the five nets, unstable runs left out."""
    return made(results, _largest, *_EPOCHS, may_lack=_MAY_LACK)


def _many(number: int) -> str:
    return {3: "three", 4: "four", 5: "five"}.get(number, str(number))


def _setting(results: Results, table: pd.DataFrame) -> str:
    """The conditions of nets that share them, in words, and which of the five are left out."""
    row = table.iloc[0]
    left_out = [net for net in paper.NETS if net not in set(table["net"])]
    unstable = f", {' and '.join(left_out)} left out: not stable" if left_out else ""
    workers = f", {row['workers']} loader workers" if row["workers"] else ""
    whole = "" if table["extrapolated"].astype(bool).any() else ", whole epochs"
    return (
        f"plain loop, {row['input_px']} px, {row['in_channels']} channels, batch "
        f"{row['batch_asked']}{workers}{whole}{_arithmetic(results)}{unstable}"
    )


def _arithmetic(results: Results) -> str:
    """What float32 was on a GPU, by the record of the run; nothing where that does not say."""
    record = results.record(STEPS)
    told = record.get("arithmetic") or {}
    kinds = {"cuda_matmul_tf32": "matrix products", "cudnn_tf32": "convolutions"}
    known = {words: told[key] for key, words in kinds.items() if told.get(key) is not None}
    if record.get("profile") != "gpu" or not known:
        return ""
    in_tf32 = [words for words, is_so in known.items() if is_so]
    return f", float32, {' and '.join(in_tf32)} in TF32" if in_tf32 else ", float32 without TF32"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# --- Table 2 ---------------------------------------------------------------------------------


def _hypotheses(results: Results) -> pd.DataFrame:
    names = (STEPS, "pipeline_times", "predicted_steps")
    table = made(results, found.forensics, *names, may_lack=_MAY_LACK, needed=names[:2])
    if not (table["basis"] != hypotheses.PREDICTED).any():
        _refuse_without(results.table(names[0]), "no step")
        raise MissingTableError("no protocol was timed for all five nets yet")
    return table


def _in_words(row: pd.Series) -> str:
    workers = f"{row['workers']} loader workers" if row["pipeline"] else "pipeline not counted"
    return (
        f"{row['family']} nets, {row['densenet']}, {row['input_px']} px, {row['in_channels']} "
        f"channels, batch {row['batch']}, {workers}, {row['train_images']:,} + "
        f"{row['test_images']:,} images"
    )


def _unstable(results: Results, row: pd.Series) -> str:
    """Which of a hypothesis' five nets were timed in an unstable run, in words; "" for none."""
    runs = results.table("loop_runs")
    nets = paper.LINEUPS[row["family"], row["densenet"]]
    runs = runs[runs["net"].isin(nets) & ~runs["stable"].astype(bool)]
    # workers that were added on paper were in no run
    workers = 0 if row["basis"] == hypotheses.COMPOSED else row["workers"]
    same = {name: row[name] for name in ("loop", "input_px", "in_channels")}
    for name, value in (same | {"batch_asked": row["batch"], "workers": workers}).items():
        runs = runs[runs[name] == value]
    shaky = [net for net in nets if net in set(runs["net"])]
    return f"; not stable: {', '.join(shaky)}" if shaky else ""


def _seconds(row: pd.Series, role: str) -> float:
    """The paper's seconds of `role`, if the others' are the paper's and the ratios are ours.

    For AlexNet, whose ratio is 1 by definition, from the four others' common factor.
    """
    published = paper.table_two().set_index("role")["seconds"]
    if role != paper.ROLES[0]:
        return float(published[paper.ROLES[0]] * row[f"{role}_ratio"])
    factors = [published[other] / row[f"{other}_ratio"] for other in paper.ROLES[1:]]
    return float(np.exp(np.mean(np.log(factors))))


def _ratio(role: str) -> Compute:
    """By the protocol nearest to the paper's five times, of those that were timed here."""

    def compute(results: Results, published: Published, name: str) -> Finding:
        table = _hypotheses(results)
        timed = table[table["basis"] != hypotheses.PREDICTED]
        best, value = timed.iloc[0], round(_seconds(timed.iloc[0], role), 2)
        # a protocol that explains the table no better than five equal times reproduces no row of it
        explains = bool(best["distance"] < _equal_times())
        agrees = explains and _RATIOS.agrees(published(name), value)
        reason = (
            f"the nearest of {len(timed)} protocols timed here ({best['basis']}): "
            f"{_near(best)}{_unstable(results, best)}"
        )
        guessed = table[table["basis"] == hypotheses.PREDICTED]
        if len(guessed):
            first = guessed.iloc[0]
            near = [
                other
                for other in paper.ROLES
                if _RATIOS.agrees(published(f"table2_{other}_seconds"), _seconds(first, other))
            ]
            reason += (
                f"; of {len(guessed):,} predicted for {first['machine']} the nearest "
                f"({_in_words(first)}) is at {first['distance']:.2f} and fits {len(near)} of five: "
                "so many tries that fitting five numbers shows a protocol possible, no more"
            )
        return Finding(
            value,
            agrees=agrees,
            protocol=_in_words(best) if agrees else None,
            undecided=None if agrees else _needs_a_gpu(results),
            reason=reason if agrees else f"{_in_words(best)}; {reason}",
            evidence=Evidence(
                how="seconds that our ratios to AlexNet give, on "
                f"{results.record(STEPS).get('machine', 'this machine')}",
                stable=not _unstable(results, best),
                tried=len(timed),
            ),
        )

    return compute


def _needs_a_gpu(results: Results) -> str | None:
    """Why our ratios refute none of the paper's, which a graphics card gave; None on one."""
    if results.record(STEPS).get("profile") == "gpu":
        return None
    return (
        "ratios between nets are those of a processor here and of a graphics card in the paper; "
        "the same protocols timed on a graphics card would decide"
    )


def _equal_times() -> float:
    """The distance of the rule that all five nets take the same time."""
    return float(found.baselines().set_index("rule")["distance"]["all take the same time"])


def _near(row: pd.Series) -> str:
    return (
        f"distance {row['distance']:.2f} (root mean square of the logarithms; five equal times: "
        f"{_equal_times():.2f}), Kendall's tau with the paper's order {row['kendall']:.1f}"
    )


# --- time against FLOPs ----------------------------------------------------------------------


def _theirs() -> pd.Series:
    published = paper.table_two()
    return found.relation(published["seconds"], published["flops"])


def _ours(results: Results) -> tuple[pd.DataFrame, pd.Series]:
    table = _epochs(results)
    return table, found.relation(table["epoch_s"], table["flops"])


def _compared(ours: pd.Series, theirs: pd.Series) -> str:
    return "; ".join(
        f"{whose}: Pearson {row['pearson']:.2f} (95 % interval {_span(row)}), Spearman "
        f"{row['spearman']:.1f}, seconds per FLOP spread {row['spread']:.1f}-fold, "
        f"{row['in_order']} of {row['pairs']} pairs in order"
        for whose, row in (("ours", ours), ("the paper's", theirs))
    )


def _span(row: pd.Series) -> str:
    low, high = row["pearson_low"], row["pearson_high"]
    return "not available" if np.isnan(low) else f"{low:.2f} to {high:.2f}"


def _line_misses(seconds: pd.Series, flops: pd.Series) -> float:
    """The largest relative error of the best a + b * FLOPs, by least squares of that error."""
    y, x = seconds.to_numpy(dtype=float), flops.to_numpy(dtype=float)
    matrix = np.column_stack([np.ones_like(x), x / x.max()]) / y[:, None]
    return float(np.abs(matrix @ np.linalg.lstsq(matrix, np.ones_like(y), rcond=None)[0] - 1).max())


def _not_linear(results: Results, published: Published, name: str) -> Finding:
    table, ours = _ours(results)
    misses = _line_misses(table["epoch_s"], table["flops"])
    both = paper.table_two()
    theirs = _line_misses(both["seconds"], both["flops"])
    return Finding(
        f"{ours['spread']:.1f}-fold spread of seconds per FLOP",
        agrees=bool(misses > _LINEAR and ours["spread"] > 1 + _LINEAR),
        reason=f"{_setting(results, table)}; the best straight line misses a net by "
        f"{_percent(misses)}, in the paper by {_percent(theirs)}; holds above {_percent(_LINEAR)}, "
        f"for a line and for proportion; {_compared(ours, _theirs())}",
        evidence=Evidence(len(table), "nets", stable=True),
    )


def _more_takes_longer(results: Results, published: Published, name: str) -> Finding:
    table, ours = _ours(results)
    theirs = _theirs()
    value = f"{ours['in_order']} of {ours['pairs']} pairs in order"
    setting = _setting(results, table)
    measured = f"measured here ({setting}): {value}, Kendall's tau {ours['kendall']:.1f}"
    if theirs["in_order"] == theirs["pairs"]:
        return Finding(
            value,
            agrees=bool(ours["in_order"] == ours["pairs"]),
            reason=measured,
            evidence=Evidence(len(table), "nets", stable=True),
        )
    both = paper.table_two().sort_values("flops", ascending=False)
    numbers = ", ".join(
        f"{row.role} {published.text(f'table1_{row.role}_gflops')} GFLOPs and "
        f"{published.text(f'table2_{row.role}_seconds')} s"
        for row in both.itertuples()
    )
    return Finding(
        value,
        contradiction=f"of its own {theirs['pairs']} pairs of nets {theirs['in_order']} have more "
        f"FLOPs and more seconds together (Kendall's tau {theirs['kendall']:.1f}): {numbers}; "
        f"{measured}",
        evidence=Evidence(len(table), "nets", stable=True),
    )


# --- depth -----------------------------------------------------------------------------------


def _with_calls(results: Results, table: pd.DataFrame) -> pd.DataFrame:
    """Our five nets with their operator calls, a measure of depth, the fewest first."""
    keys = ["net", "input_px", "in_channels"]
    counts = per_epoch.costs(results.table("net_costs"))
    counts = counts[[*keys, "flops", "calls", "backward_flops"]]
    table = table.drop(columns="flops", errors="ignore").merge(counts, on=keys)
    return table.sort_values("calls", kind="stable").reset_index(drop=True)


def _ranked(x: pd.Series, y: pd.Series) -> tuple[float, float]:
    """Spearman's rank correlation, and the share of all orders of `y` that rank as high or higher:
    the exact chance of so many nets that have nothing to do with each other."""
    from scipy import stats

    rank = stats.spearmanr(x, y).statistic
    test = stats.permutation_test(
        (x.to_numpy(),), lambda order: stats.spearmanr(order, y).statistic,
        permutation_type="pairings", alternative="greater", n_resamples=np.inf,
    )  # fmt: skip
    return float(rank), float(test.pvalue)


def _deeper_costs_more(results: Results, published: Published, name: str) -> Finding:
    """Depth against FLOPs and against time, over all nets: both have to rise with it."""
    table = _with_calls(results, _epochs(results))
    ranks = {
        what: _ranked(table["calls"], table[column])
        for what, column in (("FLOPs", "flops"), ("time", "epoch_s"))
    }
    first, deeper = table.iloc[0], table.iloc[1:]
    more = {
        what: deeper[column] / first[column]
        for what, column in (("FLOPs", "flops"), ("time", "epoch_s"))
    }
    told = ", ".join(f"{what} {rank:+.1f} (p {p:.2f})" for what, (rank, p) in ranks.items())
    sure = {what: p < _CHANCE for what, (_, p) in ranks.items()}
    return Finding(
        f"rank correlation with depth: {told}",
        agrees=all(sure.values()),
        undecided=None if all(sure.values()) else _few(table),
        reason=f"the {_many(len(deeper))} other nets need "
        f"{more['FLOPs'].min():.1f} to {more['FLOPs'].max():.1f} times the FLOPs and "
        f"{more['time'].min():.1f} to {more['time'].max():.1f} times the time of {first['net']}, "
        f"which has the fewest operators and the fewest FLOPs; {_setting(results, table)}",
        evidence=_of_ranks(table),
    )


def _of_ranks(table: pd.DataFrame) -> Evidence:
    return Evidence(len(table), "nets", how="exact test over all orders, one-sided", stable=True)


def _few(table: pd.DataFrame) -> str:
    return (
        f"{_many(len(table))} nets of different designs show no order that chance would not; nets "
        "of one design at many depths would decide"
    )


def _depth_inefficient(results: Results, published: Published, name: str) -> Finding:
    """FLOP/s of the arithmetic of a training step, the data pipeline left out."""
    steps = found.epochs(results.table(STEPS), pipeline=False)
    table = found.of_one_condition(steps, PLAIN)
    table = _of_stable_runs(table, results.table("loop_runs"), "training step")
    table = _with_calls(results, table)
    rate = (table["flops"] + table["backward_flops"]) / table["train_image_s"]
    rank, p = _ranked(table["calls"], -rate)
    factor = float(rate.max() / rate.iloc[-1])
    sure = bool(p < _CHANCE)
    return Finding(
        f"rank correlation {-rank:.1f} (p {p:.2f})",
        agrees=bool(sure and factor >= _MARKED),
        undecided=None if sure else _few(table),
        protocol="of efficiency alone, depth counted in operator calls",
        reason="training FLOP/s, the data pipeline left out, against operator calls (Spearman); "
        f"{table['net'].iloc[-1]} has the most and reaches 1/{factor:.1f} of the best rate; how "
        f"hard a net is to train is not tested; {_setting(results, table)}",
        evidence=_of_ranks(table),
    )


# --- a GPU -----------------------------------------------------------------------------------


def _convolutions(results: Results) -> pd.DataFrame:
    """All convolutions of each net's layers together."""
    table = made(results, found.by_operator, "layer_costs", needed=("layer_costs",))
    return table[table["op"] == layers.WITH_FLOPS[0]]


def _rate(convs: pd.DataFrame, nets: list[str]) -> float:
    """FLOP/s of the convolutions of `nets` together."""
    convs = convs[convs["net"].isin(nets)]
    return float((convs["flops_per_s"] * convs["seconds"]).sum() / convs["seconds"].sum())


def _kind(results: Results) -> str:
    """The profile that timed the layers: "gpu", "cpu" or "quick"."""
    return str(results.record("layer_costs").get("profile"))


def _other_machine(kind: str) -> Results:
    """The first machine of the reference on which a profile of this kind timed the layers."""
    for name in machines(REFERENCE):
        other = Results(REFERENCE, name)
        try:
            if _kind(other) == kind and len(_convolutions(other)):
                return other
        except MissingTableError:
            continue
    raise MissingTableError(f"no reference run of profile {kind} has timed the layers")


def _gpu_is_faster(results: Results, published: Published, name: str) -> Finding:
    own = _kind(results)
    if own not in ("gpu", "cpu"):
        raise MissingTableError(f"profile {own} times too little of the layers to compare machines")
    other = _other_machine("cpu" if own == "gpu" else "gpu")
    gpu, cpu = (results, other) if own == "gpu" else (other, results)
    on_gpu, on_cpu = _convolutions(gpu), _convolutions(cpu)
    nets = [net for net in paper.NETS if net in set(on_gpu["net"]) & set(on_cpu["net"])]
    if not nets:
        raise MissingTableError("no net's convolutions were timed on both machines yet")
    factor = _rate(on_gpu, nets) / _rate(on_cpu, nets)
    records = [one.record("layer_costs") for one in (gpu, cpu)]
    gpu_name, cpu_name = (
        f"{(record.get('machine_details') or {}).get(key)} ({record.get('machine')})"
        for record, key in zip(records, ("gpu", "cpu"), strict=True)
    )
    whose = "the five nets'" if len(nets) == len(paper.NETS) else f"{', '.join(nets)}:"
    return Finding(
        f"{factor:.1f} times",
        agrees=factor > 1,
        reason=f"FLOP/s of {whose} convolutions in inference, {gpu_name} over {cpu_name}",
        evidence=Evidence(len(nets), "nets"),
    )


_RATIO = 0.10
_LINEAR = 0.10
_MARKED = 1.5
_CHANCE = 0.05

_RATIOS = Tolerance(
    "ratios to AlexNet, because the machine and the number of epochs differ; the paper's own four "
    f"ratios lie within a quarter of another, so more than {_RATIO:.0%} would accept nets that all "
    "take the same time",
    relative=_RATIO,
)

_LINE = "Is time linear in FLOPs?"
_TABLE2, _PROTOCOL, _WHY = "Table 2 and Figure 1", "Which protocol?", "Why"
_OFF_THE_LINE = holds(
    f"the best straight line misses some net by more than {_LINEAR:.0%}, and the seconds per FLOP "
    f"of two nets differ by more than that",
    "runs that were not stable are left out; a line through five points always misses a little",
)
_IN_ORDER = holds(
    "of all pairs of nets the one with more FLOPs takes longer",
    "the source's own table comes first",
)
_DEEPER = holds(
    f"depth (operator calls) ranks with FLOPs and with time, each with a chance below {_CHANCE}",
    "the sentence is about networks in general; one that is deeper than AlexNet, the cheapest, "
    "says little",
)
_LESS_EFFICIENT = holds(
    f"FLOP/s fall with depth, with a chance below {_CHANCE}, and the deepest net reaches 1/"
    f"{_MARKED:g} of the best or less",
)

CHECKS = {
    **{
        f"cheng2025/table2_{role}_seconds": Check(_ratio(role), _PROTOCOL, _RATIOS)
        for role in paper.ROLES
    },
    "cheng2025/abstract_time_not_linear": Check(_not_linear, _LINE, _OFF_THE_LINE),
    "cheng2025-abstract/abstract_time_not_linear": Check(_not_linear, _LINE, _OFF_THE_LINE),
    "cheng2025/time_not_linear_in_flops": Check(_not_linear, _LINE, _OFF_THE_LINE),
    "cheng2025/conclusion_more_computation_longer": Check(_more_takes_longer, _LINE, _IN_ORDER),
    "cheng2025/abstract_deeper_costs_more": Check(_deeper_costs_more, _TABLE2, _DEEPER),
    "cheng2025-abstract/abstract_deeper_costs_more": Check(_deeper_costs_more, _TABLE2, _DEEPER),
    "cheng2025/depth_reduces_efficiency": Check(_depth_inefficient, _WHY, _LESS_EFFICIENT),
    "cheng2025/gpu_parallel_convolution": Check(
        _gpu_is_faster, _WHY, holds("the convolutions of the five nets run at more FLOP/s on a GPU")
    ),
}
