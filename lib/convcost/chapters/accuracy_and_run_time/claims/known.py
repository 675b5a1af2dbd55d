"""Checks of what the sources say of known nets, and of the growth of training."""

from functools import partial
from itertools import pairwise

import pandas as pd

from convcost.chapters.accuracy_and_run_time.findings import known_nets, training_compute
from convcost.claims import citations
from convcost.claims.lookup import lacking, made, one
from convcost.claims.verdicts import (
    Check,
    Evidence,
    Finding,
    Published,
    Tolerance,
    above,
    holds,
    share_of,
)
from convcost.records import Results

_NETS = "Known nets"
_COMPUTE = "Training compute by year"
_TABLES = ("known_nets", "published_times", "known_net_times")
_FEWEST_DEVICES = 2

TENDENCY = 0.75  # of the pairs of one recipe, that a tendency needs
CLEAR, PERFECT = 0.5, 0.99  # a correlation is clear from the one on, and perfect from the other
MUCH = 2.0  # points of top-1
APART = 1.5  # times as long
FEWEST_OTHERS = 5  # nets to compare with
FEWER = 2.0  # times fewer multiply-adds, that is less computing
CLEARLY = 1.0  # points of top-1
PRECISE, FRAMES = 0.8, 30.0  # of top-1; images a second


def _found(results: Results, make) -> pd.DataFrame:
    """What a finding makes of the three tables; this machine's own times may be missing."""
    return made(results, make, *_TABLES, may_lack=_TABLES[2:], needed=_TABLES[:2])


def _devices(table: pd.DataFrame) -> pd.DataFrame:
    """The table, if it tells of so many published devices that "hardware" says something."""
    if len(set(table["device"]) & set(known_nets.DEVICES)) < _FEWEST_DEVICES:
        raise lacking(f"nets timed on {_FEWEST_DEVICES} published devices")
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _bigger(results: Results, published: Published, name: str) -> Finding:
    table = made(results, known_nets.bigger, "known_nets", needed=("known_nets",))
    recipe, every = (
        one(table, among=among, size="params") for among in ("one recipe", "all nets")
    )  # fmt: skip
    flops = one(table, among="one recipe", size="flops")
    return Finding(
        f"{_percent(recipe['in_order'])} of pairs",
        **above(recipe["low"], recipe["high"], TENDENCY, more="more designs"),
        protocol="as a tendency among nets of one design, trained alike on ImageNet-1k alone",
        reason=f"of {recipe['pairs']:,} pairs of nets of one design, one recipe and one size of "
        f"image the one with more parameters is more accurate in {_percent(recipe['in_order'])} "
        f"(95 % interval {_percent(recipe['low'])} to {_percent(recipe['high'])}, "
        f"{recipe['designs']} designs drawn), the one with more FLOPs in "
        f"{_percent(flops['in_order'])}; of all {every['pairs']:,} pairs, whatever the design, "
        f"{_percent(every['in_order'])}; published accuracies; as a law without exceptions it "
        "would be 100 %",
        evidence=Evidence(
            int(recipe["pairs"]),
            "pairs of nets",
            recipe["low"],
            recipe["high"],
            f"of the share, {recipe['designs']} designs drawn again",
        ),
    )


def _correlated(results: Results, published: Published, name: str) -> Finding:
    table = _found(results, known_nets.correlations)
    table = table[table["among"] == known_nets.ALL]
    # this machine has tens of nets: its times are told in the notebook, the verdict is of hundreds
    table = _devices(table[table["device"] != known_nets.HERE])
    both = pd.concat([table[f"{name}_low"] for name in ("pearson", "spearman")])
    above_ = pd.concat([table[f"{name}_high"] for name in ("pearson", "spearman")])
    told = "; ".join(
        f"{of}: {mine['spearman'].min():.2f} to {mine['spearman'].max():.2f}"
        for of, mine in table.groupby("of", sort=False)
    )
    low, high = both.min(), above_.max()
    undecided = None
    if low <= CLEAR < both.max() or above_.min() < PERFECT <= high:
        undecided = "some intervals reach over a threshold; more designs would narrow them"
    return Finding(
        f"Spearman's rank correlation {table['spearman'].min():.2f} to "
        f"{table['spearman'].max():.2f}",
        agrees=bool(low > CLEAR and high < PERFECT),
        undecided=undecided,
        reason=f"{told} (Spearman, {table['device'].nunique() - 1} devices, "
        f"{table['nets'].min():,} to {table['nets'].max():,} nets of timm trained on ImageNet-1k "
        "alone); published times and accuracies, logarithms of FLOPs and time",
        evidence=Evidence(
            int(table["nets"].min()),
            "nets or more",
            low,
            high,
            "all 95 % intervals together, Pearson's and Spearman's, designs drawn again",
        ),
    )


def _thick(results: Results, quantities: tuple[str, ...]) -> pd.DataFrame:
    table = _found(results, known_nets.thickness)
    table = table[table["quantity"].isin(quantities) & (table["device"] != known_nets.HERE)]
    _devices(table)
    return table


def _same_cost(results: Results, published: Published, name: str) -> Finding:
    table = _thick(results, (known_nets.TOP1_AT_FLOPS, known_nets.TOP1_AT_TIME))
    flops = one(table, quantity=known_nets.TOP1_AT_FLOPS)
    times = table[table["quantity"] == known_nets.TOP1_AT_TIME]
    alike = made(results, known_nets.same_net, "known_nets")
    widest = f"; {alike['net'].iloc[0]} alone, with {alike['weights'].iloc[0]} recipes, spans "
    return Finding(
        f"{flops['spread']:.1f} points at equal FLOPs, {times['spread'].min():.1f} to "
        f"{times['spread'].max():.1f} at equal time",
        agrees=bool(table["low"].min() > MUCH),
        reason=f"between the 5th and the 95th percentile of the nets within a factor of "
        f"{known_nets.WINDOW:g}, the median of {flops['windows']} windows of FLOPs and of "
        f"{times['windows'].min()} or more of time on {len(times)} devices; ImageNet-1k alone, the "
        "best weights of each net"
        + (f"{widest}{alike['spread_points'].iloc[0]:.1f} points" if len(alike) else ""),
        evidence=Evidence(
            int(flops["windows"]),
            "windows of FLOPs",
            table["low"].min(),
            table["high"].max(),
            "all 95 % intervals together, designs drawn again",
        ),
    )


def _not_fixed(results: Results, published: Published, name: str) -> Finding:
    table = _thick(results, (known_nets.TIME_AT_FLOPS,))
    between = _found(results, known_nets.between_devices)
    between = between[between["device"] != known_nets.HERE]
    if between.empty:
        raise lacking("nets timed on two published devices")
    widest = between.sort_values("factor").iloc[-1]
    # each device by itself is about design, two together about hardware
    agrees = table["low"].min() > known_nets.WINDOW and widest["low"] > APART
    spans = "; ".join(f"{row.spread:.1f}-fold on {row.device}" for row in table.itertuples())
    return Finding(
        f"{table['spread'].min():.1f}- to {table['spread'].max():.1f}-fold time at equal FLOPs",
        agrees=bool(agrees),
        protocol="of architecture and hardware; the framework was not varied",
        reason=f"architecture: at FLOPs within a factor of {known_nets.WINDOW:g} the 95th "
        f"percentile of time is over the 5th {spans}, and all 95 % intervals, designs drawn, begin "
        f"at {table['low'].min():.1f} or above; hardware: from {widest['device']} to "
        f"{widest['other']} the same {widest['nets']:,} nets, with the same FLOPs, are slowed by "
        f"factors that differ {widest['factor']:.1f}-fold ({widest['low']:.1f} to "
        f"{widest['high']:.1f}); the two run in other precisions and batches as well; holds where "
        f"the first intervals begin above {known_nets.WINDOW:g}, which FLOPs alone could explain, "
        f"and the second above {APART:g}",
        evidence=Evidence(
            int(widest["nets"]),
            "nets on both devices",
            widest["low"],
            widest["high"],
            "95 %, nets drawn again",
        ),
    )


def _doubling(results: Results, published: Published, name: str) -> Finding:
    table = made(results, training_compute.doubling_times, "training_compute")
    every = one(table, systems=training_compute.EVERY)
    records = one(table, systems=training_compute.RECORDS)
    ends = [published(f"compute_doubling_months_{end}") for end in ("min", "max")]
    told = "; ".join(
        f"{row.systems} ({row.number}): {row.months:.1f} ({row.low_months:.1f} to "
        f"{row.high_months:.1f})"
        for row in table.itertuples()
    )
    return Finding(
        round(float(every["months"]), 1),
        agrees=all(ends[0] <= row["months"] <= ends[1] for row in (every, records)),
        protocol="of the systems that OpenAI chose, up to 2017, by least squares",
        reason=f"months of doubling, with the 95 % interval of systems drawn: {told}; the line is "
        "drawn again through the numbers of the analysis of 2018 that found 3.4 months, so it "
        "confirms the arithmetic, not the choice of systems; holds where "
        "the line through all up to 2017 and the one through the records both lie in the printed "
        "range",
        evidence=Evidence(
            int(every["number"]),
            "systems",
            every["low_months"],
            every["high_months"],
            "95 %, systems drawn again",
        ),
    )


# --- what the papers say of single designs ---------------------------------------------------

_SHUFFLENETS = partial(known_nets.beside_others, prefix="shufflenet_v2")
_EFFICIENTNETS = partial(known_nets.beside_others, prefix="efficientnet_b")
_PRECISE_NETS = partial(known_nets.accurate_and_slow, top1=PRECISE, limit_s=1 / FRAMES)


def _vgg(results: Results, published: Published, name: str) -> Finding:
    table = made(results, known_nets.vgg_by_depth, "known_nets")
    steps = [
        100 * (deeper - shallower)
        for _, mine in table.groupby("norm")
        for shallower, deeper in pairwise(mine.sort_values("depth")["top1"])
    ]
    if len(steps) < 2 * (len(known_nets.VGG_DEPTHS) - 1):
        raise lacking("all eight VGGs of torchvision")
    return Finding(
        f"top-1 rises in {sum(step > 0 for step in steps)} of {len(steps)} steps",
        agrees=all(step > 0 for step in steps),
        protocol="of accuracy, from 11 to 19 layers",
        reason=f"published top-1 of torchvision's VGG11, 13, 16 and 19, without and with batch "
        f"normalisation: steps of {min(steps):.1f} to {max(steps):.1f} points; what features "
        "express is judged by accuracy alone",
        evidence=Evidence(len(steps), "steps, one published training each"),
    )


def _shufflenet(results: Results, published: Published, name: str) -> Finding:
    table = made(results, _SHUFFLENETS, "known_nets")
    table = table[table["as_accurate"] >= FEWEST_OTHERS]
    if table.empty:
        raise lacking(f"ShuffleNets with {FEWEST_OTHERS} other nets of about their accuracy")
    told = ", ".join(f"{row.net} {row.fewer:.1f}" for row in table.itertuples())
    return Finding(
        f"{table['fewer'].min():.1f} to {table['fewer'].max():.1f} times fewer multiply-adds",
        agrees=bool(table["fewer"].min() >= FEWER),
        protocol="of ShuffleNet v2, beside nets of about its accuracy",
        reason=f"the median multiply-adds of nets of other designs within "
        f"{known_nets.NEAR_POINTS:g} point of top-1 ({table['as_accurate'].min()} or more), over "
        f"its own: {told}; {(table['fewer'] >= FEWER).sum()} of {len(table)} sizes do it; "
        f"beside nets of about its cost its top-1 is {table['points'].min():+.1f} to "
        f"{table['points'].max():+.1f} points; trained on "
        "ImageNet-1k alone; whether it is the shuffle that does it was not varied",
        evidence=Evidence(len(table), "sizes", table["fewer"].min(), table["fewer"].max(), "range"),
    )


def _efficientnet(results: Results, published: Published, name: str) -> Finding:
    table = made(results, _EFFICIENTNETS, "known_nets")
    table = table[table["as_costly"] >= FEWEST_OTHERS]
    if table.empty:
        raise lacking(f"EfficientNets with {FEWEST_OTHERS} other nets of about their cost")
    told = ", ".join(f"{row.net} {row.points:+.1f}" for row in table.itertuples())
    return Finding(
        f"{table['points'].min():+.1f} to {table['points'].max():+.1f} points",
        agrees=bool(table["points"].min() >= CLEARLY),
        protocol="against nets of today's recipes",
        reason=f"top-1 less the median of nets of other designs whose multiply-adds are within a "
        f"factor of {known_nets.WINDOW:g} ({table['as_costly'].min()} or more): {told}; "
        f"{(table['points'] >= CLEARLY).sum()} of {len(table)} sizes do it; "
        "trained on ImageNet-1k alone, the best weights of each net; the "
        "others are of all years, many of them younger than EfficientNet",
        evidence=Evidence(
            len(table), "sizes", table["points"].min(), table["points"].max(), "range"
        ),
    )


def _too_slow(results: Results, published: Published, name: str) -> Finding:
    table = made(results, _PRECISE_NETS, "known_nets", "known_net_times")
    if len(table) < FEWEST_OTHERS:
        raise lacking(f"{FEWEST_OTHERS} nets of {_percent(PRECISE)} that were timed while quiet")
    slow = int(table["slow"].sum())
    return Finding(
        f"{slow} of {len(table)} nets",
        **share_of(table["slow"], "nets timed while quiet", "more such nets"),
        protocol=f"{_percent(PRECISE)} of top-1, {FRAMES:g} images a second, this processor",
        reason=f"of torchvision's nets of at least {_percent(PRECISE)} on ImageNet that were timed "
        f"here, one image at a time, so many take longer than {1000 / FRAMES:.0f} ms; the fastest "
        f"takes {1000 * table['image_s'].min():.0f} ms; on a "
        "graphics card it is another matter",
    )


_RANGE = Tolerance(
    "the source prints a range, and one line cannot lie at both of its ends", words="in 3 to 4"
)


def _googlenet_later(results: Results, published: Published, name: str) -> Finding:
    """By the years of the source's own references; the article was first shown in 2014."""
    works = citations.table()["work"]
    googlenet, resnet = (
        int(works[f"cheng2025/{key}"][-4:])
        for key in ("inception_direct_gradients", "residuals_solve_vanishing_gradients")
    )
    if googlenet > resnet:
        return Finding(f"{resnet} before {googlenet}", agrees=True)
    return Finding(
        f"{googlenet} before {resnet}",
        contradiction=f"the source's own list of references dates GoogLeNet {googlenet} and ResNet "
        f"{resnet}: {googlenet} < {resnet}",
    )


_ONE_DESIGN = holds(
    f"the whole 95 % interval of the share of pairs in order lies above {_percent(TENDENCY)}"
)
_BETWEEN = holds(f"all 95 % intervals lie between {CLEAR:g} (clear) and {PERFECT:g} (perfect)")
_MUCH_APART = holds(f"all 95 % intervals begin above {MUCH:g} points")
_NOT_BY_FLOPS = holds(
    f"the spread of time at equal FLOPs begins above {known_nets.WINDOW:g} on every device, which "
    f"the window of FLOPs alone could give, and that between two devices above {APART:g}"
)
_EVERY_STEP = holds("every step to more layers is up")
_EVERY_SIZE = "for every size of the design with at least {} others to compare with"
_CHEAPER = holds(
    f"it has {FEWER:g} times fewer multiply-adds than nets as accurate, "
    + _EVERY_SIZE.format(FEWEST_OTHERS)
)
_BETTER = holds(
    f"it is {CLEARLY:g} point better than nets as costly, " + _EVERY_SIZE.format(FEWEST_OTHERS)
)
_SLOW = holds(
    f"the 95 % interval of the share of such nets that take longer than 1/{FRAMES:g} s lies above "
    "one half"
)
_REFERENCES = "What the references say"

CHECKS: dict[str, Check] = {
    "cheng2025/vgg_depth_helps": Check(_vgg, _NETS, _EVERY_STEP),
    "cheng2025/shufflenet_cheaper_same_accuracy": Check(_shufflenet, _NETS, _CHEAPER),
    "cheng2025/efficientnet_better_at_same_cost": Check(_efficientnet, _NETS, _BETTER),
    "ke/cnn_too_slow_for_real_time": Check(_too_slow, _NETS, _SLOW),
    "geifman/bigger_more_accurate": Check(_bigger, _NETS, _ONE_DESIGN),
    "geifman/positive_not_perfect_correlation": Check(_correlated, _NETS, _BETWEEN),
    "geifman/same_cost_different_accuracy": Check(_same_cost, _NETS, _MUCH_APART),
    "geifman/flops_do_not_fix_run_time": Check(_not_fixed, _NETS, _NOT_BY_FLOPS),
    "geifman/compute_doubling_months_min": Check(_doubling, _COMPUTE, _RANGE),
    "geifman/compute_doubling_months_max": Check(_doubling, _COMPUTE, _RANGE),
    "cheng2025/googlenet_after_resnet": Check(
        _googlenet_later, _REFERENCES, holds("the years of its own references are in this order")
    ),
    **{
        key: Check(citations.compare, _REFERENCES, citations.RULE)
        for key in (
            "cheng2025/residuals_solve_vanishing_gradients",
            "cheng2025/inception_direct_gradients",
            "cheng2025/medical_reference",
            "cheng2025/lasso_reference",
            "cheng2025/tinybert_performance_percent",
            "cheng2025/tinybert_speedup",
            "geifman/dsc_introduced_for_parameters",
        )
    },
}
