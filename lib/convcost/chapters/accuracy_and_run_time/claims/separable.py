"""Checks of what the post says of separable convolutions."""

import pandas as pd

from convcost.chapters.accuracy_and_run_time import findings as found
from convcost.chapters.accuracy_and_run_time.findings import separable as rules
from convcost.claims.lookup import lacking, made, one
from convcost.claims.verdicts import SEEDS, Check, Evidence, Finding, Published, Tolerance, above
from convcost.records import Results

POINTS = 1.0  # of accuracy, that "comparable" may cost
FEWER = 2.0  # times, that is "far fewer"
SHARE = 0.5  # of a peak: what reaches it is bound by that peak, what stays below is not


def _times(row: pd.Series) -> str:
    return f"{row['time_ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _points(row: pd.Series) -> str:
    if row["seeds"] < 2:
        return f"{row['mean_points']:+.2f} points"
    return (
        f"{row['mean_points']:+.2f} points (95 % interval {row['low_points']:+.2f} to "
        f"{row['high_points']:+.2f})"
    )


def _seeds(row: pd.Series) -> str:
    return f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


# --- accuracy --------------------------------------------------------------------------------


def _speed(results: Results) -> str:
    """How many times as fast the separable net is, in words, case by case."""
    timed = made(results, found.net_speed_ups, "separable_net_times")
    timed = timed[timed["net"] == rules.SEPARABLE_NET]
    return ", ".join(
        f"{_times(row)} in {row['what'].replace('_', ' ')} at batch {row['batch']}"
        f"{'' if row['stable'] else ' (not stable)'}"
        for _, row in timed.iterrows()
    )


def _separable_less_plain(results: Results) -> tuple[pd.Series, str, str]:
    """(the pair of nets, the setting in words, all that was found in words)."""
    table = made(results, found.paired_accuracies, "separable_trainings")
    row = one(table, net=rules.SEPARABLE_NET, against=rules.PLAIN)
    if row["seeds"] < SEEDS:
        raise lacking(f"{SEEDS} seeds of both nets ({row['seeds']} were trained)")
    if (results.table("separable_trainings")["status"] != "trained").any():
        raise lacking("nets that were all trained without diverging")
    setting = (
        f"FashionMNIST at 28 px, eight stages, {row['epochs']} epochs of "
        f"{row['train_images']:,} images"
    )
    others = "; ".join(
        f"{other['net']} less {other['against']}: {_points(other)}, {_seeds(other)}, "
        f"{other['epochs']} epochs"
        for place, other in table.iterrows()
        if place != row.name
    )
    reason = (
        f"{row['net']} less {row['against']}: {_points(row)}, {row['seeds']} seeds in pairs, "
        f"{row['macs_ratio']:.1f} times fewer multiply-adds, {row['params_ratio']:.1f} times fewer "
        f"parameters, {_speed(results)} times as fast; {others}"
    )
    return row, setting, reason


def _kept(row: pd.Series) -> dict[str, object]:
    """Whether the separable net loses no more than `POINTS`, by its whole interval."""
    return above(row["low_points"], row["high_points"], -POINTS)


def _pairs(row: pd.Series) -> Evidence:
    low, high = row["low_points"], row["high_points"]
    return Evidence(int(row["seeds"]), "seeds in pairs", low, high, "points, 95 % by Student's t")


def _original_paper(results: Results, published: Published, name: str) -> Finding:
    """Whether what the original paper found on ImageNet carries over; we have no ImageNet."""
    row, setting, reason = _separable_less_plain(results)
    told = _kept(row)
    agrees = bool(told["agrees"] and row["params_ratio"] >= FEWER)
    elsewhere = (
        "the original paper trained on ImageNet, which is not at hand; on small images it does not "
        f"carry over: {setting}; {reason}"
    )
    return Finding(
        f"{_points(row)}, {row['params_ratio']:.1f} times fewer parameters",
        **told | {"agrees": agrees},
        protocol=setting if agrees else None,
        undecidable=None if agrees or told["undecided"] else elsewhere,
        reason=reason if agrees or told["undecided"] else "",
        evidence=_pairs(row),
    )


def _example_shows(results: Results, published: Published, name: str) -> Finding:
    """Whether far fewer operations keep the accuracy, in nets that differ by just that."""
    row, setting, reason = _separable_less_plain(results)
    told = _kept(row)
    agrees = bool(told["agrees"] and row["macs_ratio"] >= FEWER)
    reason = f"the post's example counts operations and holds no accuracy; {reason}"
    return Finding(
        f"{_points(row)}, {row['macs_ratio']:.1f} times fewer multiply-adds",
        **told | {"agrees": agrees},
        protocol=setting if agrees else None,
        reason=reason if agrees else f"{setting}; {reason}",
        evidence=_pairs(row),
    )


_COMPARABLE = Tolerance(
    f"what is comparable is not said: at most {POINTS:g} point of accuracy, by the whole 95 % "
    f"interval of at least {SEEDS} paired seeds, either way; far fewer: {FEWER:g} times",
    words=f"interval from −{POINTS:g} point up, at least {FEWER:g} times fewer",
)


# --- memory ----------------------------------------------------------------------------------


def _bandwidth(results: Results, published: Published, name: str) -> Finding:
    """The post's example at the largest batch that the system's handing out memory leaves alone,
    each block in the order of memory it is faster in: its maps are larger than the caches there.
    """
    table = made(results, found.block_roofline, "separable_times", "separable_peaks")
    ratios = made(results, found.block_ratios, "separable_times")
    example = tuple(
        int(published(f"dsc_{name}")) for name in ("input_channels", "output_channels", "map_px")
    )
    table, ratios = found.of_example(table, example), found.of_example(ratios, example)
    table, ratios = table[table["stable"].astype(bool)], ratios[ratios["stable"].astype(bool)]
    if table.empty or ratios.empty:
        raise lacking("stable timing of the post's example beside the machine's peaks")
    fastest = found.undisturbed(table).sort_values("seconds").drop_duplicates("block")
    depthwise, regular = (one(fastest, block=b) for b in (rules.DEPTHWISE, rules.REGULAR))
    memory_bound = depthwise["memory_share"] >= SHARE > depthwise["peak_share"]
    compute_bound = regular["peak_share"] >= SHARE > regular["memory_share"]
    short = ratios[ratios["high"] < ratios["macs_ratio"]]
    agrees = bool(memory_bound and compute_bound and len(short) == len(ratios))
    return Finding(
        f"depthwise at {_percent(depthwise['memory_share'])} of a copy's bandwidth and "
        f"{_percent(depthwise['peak_share'])} of the arithmetic peak",
        agrees=agrees,
        protocol=f"of its example, batch {depthwise['batch']}" if agrees else None,
        evidence=Evidence(len(ratios), "timed cases", stable=True),
        reason=f"at batch {depthwise['batch']} the plain convolution is at "
        f"{_percent(regular['memory_share'])} and {_percent(regular['peak_share'])}; "
        f"{ratios['macs_ratio'].iloc[0]:.2f} times fewer operations give less than that in time "
        f"in {len(short)} of {len(ratios)} cases: "
        + ", ".join(
            f"{_times(row)} at batch {row['batch']}, {row['layout'].replace('_', ' ')}"
            for _, row in ratios.iterrows()
        ),
    )


_BOUND = Tolerance(
    f"a block is bound by what it reaches {_percent(SHARE)} of: a copy's bandwidth or the "
    "arithmetic peak, both measured beside it; the depthwise one has to be bound by the first, the "
    "plain one by the second, and the interval of every time ratio has to lie below the ratio of "
    "operations",
    words=f"depthwise: at least {_percent(SHARE)} of the bandwidth, less of the peak; plain the "
    "reverse; all time ratios below that of operations",
)

_BLOCK, _NETS = "The block on the clock", "The separable net"
_DATA = (("separable_trainings", "fashionmnist"),)

CHECKS: dict[str, Check] = {
    "geifman/dsc_comparable_accuracy": Check(_original_paper, _NETS, _COMPARABLE, _DATA),
    "geifman/dsc_example_accuracy": Check(_example_shows, _NETS, _COMPARABLE, _DATA),
    "geifman/memory_bandwidth_matters": Check(_bandwidth, _BLOCK, _BOUND),
}
