"""Checks of notebook 03: zeros after ReLU, time per layer, what removing filters saves."""

import pandas as pd

from convcost.chapters.relu_zero_rates import findings as found
from convcost.chapters.relu_zero_rates.findings import paper, pruning, seeds, sparsity
from convcost.claims.lookup import lacking, made, one
from convcost.claims.verdicts import LOGICAL, Check, Compute, Finding, Published, Tolerance
from convcost.records import Results

_MASK = 1 / 32  # a bit for each float32: what it costs to leave the zeros out of memory


def _percent(share: float) -> float:
    return round(100 * float(share), 2)


def _span(row: pd.Series, low: str = "p05", high: str = "p95") -> str:
    return f"{_percent(row[low]):g} to {_percent(row[high]):g} %"


def _of_most(holds: pd.Series) -> bool:
    """Whether a statement holds in so many nets that it is one of the net, not of the seed."""
    return bool(len(holds) and holds.mean() >= seeds.MOST)


# --- zeros per layer -------------------------------------------------------------------------


def _in_words(recipe: pd.Series) -> str:
    return ", ".join(recipe[part] for part in seeds.RECIPE)


def _zero_rate(layer: str) -> Compute:
    """By the first recipe; where that fails, by the recipe that holds most of the four rates."""

    def compute(results: Results, published: Published, name: str) -> Finding:
        table = made(results, found.by_recipe, "layer_zero_rates")
        of_four = table.groupby(seeds.RECIPE)["inside"].transform("sum")
        table = table.assign(of_four=of_four)
        rows = table[table["layer"] == layer]
        first, others = rows.iloc[0], rows[rows["inside"] & (rows["seeds"] >= seeds.ENOUGH)]
        reason = (
            f"median of {first['seeds']} nets trained by {_in_words(first)}; 5 to 95 % of them: "
            f"{_span(first)}; the paper's value is at percentile {first['percentile']:g}"
        )
        if first["inside"] or others.empty:
            return Finding(_percent(first["median"]), agrees=bool(first["inside"]), reason=reason)
        best = others.loc[others["of_four"].idxmax()]
        return Finding(
            _percent(best["median"]),
            agrees=True,
            protocol=_in_words(best),
            reason=f"5 to 95 % of {best['seeds']} nets: {_span(best)}; {best['of_four']} of the "
            f"four layers' rates fall into the ranges of this recipe; else {reason}",
        )

    return compute


def _against_seeds(results: Results, quantity: str) -> pd.Series:
    table = made(results, found.against_seeds, "layer_zero_rates", "filter_zero_rates")
    return one(table, quantity=quantity)


def _conv2_above_conv1(results: Results, published: Published, name: str) -> Finding:
    nets = found.of_first_recipe(found.layer_shares(results.table("layer_zero_rates")))
    rates = nets.pivot(index="seed", columns="layer", values="zero_fraction")
    above = rates["conv2"] - rates["conv1"]
    return Finding(
        f"in {int((above > 0).sum())} of {len(above)} nets",
        agrees=_of_most(above > 0),
        reason=f"holds where {seeds.MOST:.0%} of the nets agree; conv2 less conv1: median "
        f"{_percent(above.median()):g}, lowest {_percent(above.min()):g}, highest "
        f"{_percent(above.max()):g} points",
    )


def _negatives_become_zeros(results: Results, published: Published, name: str) -> Finding:
    table = results.table("layer_zero_rates")
    layers = table.groupby([*seeds.RECIPE, "seed", "layer"])["zeros"].sum()
    share = table["zeros"].sum() / table["total"].sum()
    return Finding(
        f"{_percent(share):g} % zeros",
        agrees=bool(len(layers) and (layers > 0).all()),
        reason=f"{int((layers > 0).sum())} of {len(layers)} layers of the trained LeNets give "
        "zeros, each computed in full before ReLU discards it",
    )


def _accuracy_above(results: Results, published: Published, name: str) -> Finding:
    """By the first recipe; where that fails, by the best of the others."""
    nets = results.table("lenet_trainings")
    nets = nets[nets["status"] == "trained"]
    if nets.empty:
        raise lacking("LeNet that was trained to the end")
    percents = 100 * nets["test_correct"] / nets["test_images"]
    recipes = percents.groupby([nets[part] for part in seeds.RECIPE], sort=False)
    medians = recipes.median()
    first = medians.index[0]
    others = medians[(recipes.size() >= seeds.ENOUGH) & (medians > published(name))]
    best = first if medians[first] > published(name) or others.empty else others.idxmax()
    mine = percents[(nets[seeds.RECIPE] == list(best)).all(axis=1)]
    above = int((mine > published(name)).sum())
    return Finding(
        round(float(mine.median()), 2),
        agrees=bool(mine.median() > published(name)),
        protocol=None if best == first else ", ".join(best),
        reason=f"median of {len(mine)} LeNets of atsumi2020 on MNIST trained by {', '.join(best)}; "
        f"{above} of them above {published.text(name)} %, lowest {mine.min():.2f}, highest "
        f"{mine.max():.2f} %"
        + ("" if best == first else f"; by {', '.join(first)}: median {medians[first]:.2f} %"),
    )


def _weighted_layers(results: Results, published: Published, name: str) -> Finding:
    table = results.table("layer_counts")
    rows = table[(table["net"] == "lenet_atsumi") & (table["params"] > 0)]
    if rows.empty:
        raise lacking("lenet_atsumi")
    return Finding(
        len(rows),
        reason=f"those with weights: {', '.join(rows['path'])}; pooling and ReLU have none",
    )


# --- filters and digits ----------------------------------------------------------------------


def _two_high_filters(results: Results, published: Published, name: str) -> Finding:
    rate = _against_seeds(results, seeds.SECOND_FILTER)
    count = _against_seeds(results, seeds.over_level())
    return Finding(
        _percent(rate["median"]),
        agrees=bool(count["inside"]),
        reason=f"median of conv1's second-highest filter; {seeds.over_level()}: median "
        f"{count['median']:g}, 5 to 95 % of {count['seeds']} nets {count['p05']:g} to "
        f"{count['p95']:g}, the paper has {count['published']:g}",
    )


def _filters_differ(results: Results, published: Published, name: str) -> Finding:
    table = found.filters_differ(results.table("filter_zero_rates"))
    table = table[table["layer"] == "conv1"]
    spread = (table["highest"] - table["lowest"]).median()
    wider = table["between_filters"] > table["between_digits"]
    return Finding(
        f"{_percent(spread):g} points apart",
        agrees=_of_most(table["apart"]),
        reason="lowest and highest filter of conv1, median net; one filter has more zeros for "
        f"every digit than another for any in {int(table['apart'].sum())} of {len(table)} nets; "
        f"the filters scatter more than each one's digits do in {int(wider.sum())}",
    )


def _filters_alike(results: Results, published: Published, name: str) -> Finding:
    table = found.alike(results.table("filter_zero_rates")).set_index("layer")["mean_correlation"]
    conv2, conv1 = table[["conv2"]].dropna(), table[["conv1"]].dropna()
    positive = conv2 > 0
    return Finding(
        f"correlation {conv2.median():.2f}",
        agrees=_of_most(positive),
        reason="mean over pairs of conv2's filters, over the digits, median net; above 0 in "
        f"{int(positive.sum())} of {len(conv2)} nets; conv1: {conv1.median():.2f}",
    )


def _deviating_digit(results: Results, published: Published, name: str) -> Finding:
    table = found.digits_that_stand_out(results.table("filter_zero_rates"))
    digit = int(table.groupby("digit")["first"].sum().idxmax())
    shares = table[table["digit"] == digit].itertuples()
    return Finding(
        digit,
        reason="the digit that most often deviates most; "
        + ", ".join(f"{row.layer}: in {row.first} of {row.seeds} nets" for row in shares),
    )


def _dark_share(part: str) -> Compute:
    """`part` "digit" (the 1) or "all"."""

    def compute(results: Results, published: Published, name: str) -> Finding:
        table = made(results, found.dark_shares, "dark_pixels")
        distance = table["off_digit"].abs() + table["off_all"].abs()
        ordered = table.assign(distance=distance, fails=~table["agrees"])
        row = ordered.sort_values(["fails", "distance"]).iloc[0]
        where = f"pixels {row['preparation']}, images: {row['chosen']}"
        return Finding(
            _percent(row[f"{part}_share"]),
            agrees=bool(row[f"agrees_{part}"]),
            protocol=f"{where}, grey levels to -1..1",
            reason=f"the nearest of {len(table)} readings for both shares ({where}): digit 1 "
            f"{_percent(row['digit_share']):g}, all {_percent(row['all_share']):g} %",
        )

    return compute


# --- time ------------------------------------------------------------------------------------


def _times(results: Results) -> pd.DataFrame:
    """Our times of Table I's layers as the paper took them, one image at a time, by layer."""
    table = made(results, found.table_one, "layer_times")
    rows = table[(table["batch"] == 1) & (table["threads"] == 1)]
    if rows.empty:
        raise lacking("layer times at batch 1 and one thread")
    return rows.set_index("layer")


def _layer_time(layer: str) -> Compute:
    def compute(results: Results, published: Published, name: str) -> Finding:
        row = _times(results).loc[layer]
        return Finding(
            float(f"{row['median_s']:.4g}"),
            agrees=1 / _FACTOR <= row["ratio"] <= _FACTOR,
            reason=f"batch 1, one thread: {row['ratio']:.3g} times the paper's; "
            f"{_percent(row['share']):g} % of the seven layers, in Table I "
            f"{_percent(row['published_share']):g} %",
        )

    return compute


def _time_order(results: Results, published: Published, name: str) -> Finding:
    times = _times(results)
    ours = times["median_s"][list(paper.NAMED)].sort_values(ascending=False)
    theirs = paper.table_i()[list(paper.NAMED)].sort_values(ascending=False)
    return Finding(
        " > ".join(ours.index),
        agrees=list(ours.index) == list(theirs.index),
        reason="batch 1: " + ", ".join(f"{layer} {s:.3g} s" for layer, s in ours.items()),
    )


def _time_against_multiplications(results: Results, published: Published, name: str) -> Finding:
    table = found.explained_by(results.table("layer_times"))
    ours = one(table, batch=1, threads=1, reading="exact", layers=len(paper.WEIGHTED))
    theirs = table[(table["times"] == "Table I") & (table["layers"] == len(paper.NAMED))]
    holds = theirs.set_index("reading")["same_order"]
    value = f"rank correlation {ours['spearman']:.2f}"
    measured = "ours is that of time at batch 1 with the exact count, over the five layers"
    if holds["printed"]:
        return Finding(value, agrees=bool(ours["same_order"]), reason=measured)
    numbers = "; ".join(
        f"{layer}: {published(f'{layer}_multiplications'):,} multiplications, "
        f"{published.text(f'table_i_{layer}_seconds')} s"
        for layer in paper.NAMED
    )
    by = {True: "holds", False: "fails"}
    return Finding(
        value,
        contradiction=f"as printed the two rank the layers differently ({numbers}); the order "
        f"{by[holds['equation']]} with the counts that equations (1) and (2) give, and "
        f"{by[holds['exact']]} with conv2's input maps counted; {measured}",
    )


def _conv1_slowest(results: Results, published: Published, name: str) -> Finding:
    times = _times(results)
    slowest = times["median_s"].idxmax()
    return Finding(
        f"{slowest}: {_percent(times['share'][slowest]):g} %",
        agrees=slowest == "conv1",
        reason="the slowest of Table I's seven layers at batch 1, and its share of their sum; "
        f"conv1: {_percent(times['share']['conv1']):g} %",
    )


def _conv1_over_second(results: Results, published: Published, name: str) -> Finding:
    seconds = _times(results)["median_s"]
    others = seconds.drop("conv1")
    return Finding(
        round(float(seconds["conv1"] / others.max()), 2),
        reason=f"at batch 1, over {others.idxmax()}, the slowest of the other six",
    )


# --- what leaving filters out saves ----------------------------------------------------------


def _without_two_filters(results: Results) -> pd.Series:
    """What the rebuilt net without two filters of conv1 saves, one image at a time."""
    table = made(results, found.savings, "pruned_nets", "pruned_times")
    return one(table, layer="conv1", removed=paper.high_filters(), batch=1, threads=1)


def _multiplications_saved(results: Results, published: Published, name: str) -> Finding:
    zeros = _against_seeds(results, seeds.HIGH_ZEROS)
    left_out = _percent(_without_two_filters(results)["layer_macs_saved"])
    needed = published(name) * paper.value("conv1_filters") / paper.high_filters()
    reason = (
        f"a net rebuilt without two filters saves {left_out:g} %; {published.text(name)} % is "
        f"what skipping their zeros alone would save at a zero rate of {needed:g} % in both: "
        f"5 to 95 % of {zeros['seeds']} nets would save {_span(zeros)} so"
    )
    if not zeros["inside"]:
        return Finding(left_out, agrees=False, reason=reason)
    return Finding(
        _percent(zeros["median"]),
        agrees=True,
        protocol="only those outputs of the two filters that ReLU zeroes are left out",
        reason=reason,
    )


def _run_time_saved(results: Results, published: Published, name: str) -> Finding:
    row = _without_two_filters(results)
    measured = f"measured here, batch 1: 5 to 95 % of the repetitions saved {_span(row)}"
    times, saved = paper.table_i(), published("removed_multiplications_percent")
    follows = saved * times["conv1"] / times.sum()
    value = _percent(row["time_saved"])
    if abs(follows - published(name)) <= _LAST_DIGIT:
        return Finding(value, agrees=row["p05"] <= published(name) / 100 <= row["p95"])
    conv1 = _percent(times["conv1"] / times.sum())
    return Finding(
        value,
        contradiction=f"conv1 has {conv1:g} % of the time in Table I; {saved} % of that are "
        f"{follows:.1f} % of the run, not {published.text(name)}; {measured}",
    )


def _faster_with_less(results: Results, published: Published, name: str) -> Finding:
    row = _without_two_filters(results)
    return Finding(
        f"{_percent(row['time_saved']):g} % less time",
        agrees=bool(row["sign_p"] < _CHANCE),
        reason=f"LeNet without two filters of conv1, batch 1, {_percent(row['net_macs_saved']):g} "
        f"% fewer multiply-adds: faster in {row['faster']} of {row['repetitions']} repetitions, 5 "
        f"to 95 % of them saved {_span(row)}; holds where equally fast nets would do so with a "
        f"probability below {_CHANCE}",
    )


def _zeroed_outputs_matter_little(results: Results, published: Published, name: str) -> Finding:
    nets = results.table("pruned_nets")
    chosen = {"layer": "conv1", "removed": paper.high_filters(), "fine_tuned": False}
    pairs = one(found.paired_differences(nets), against=pruning.RANDOM, **chosen)
    curves = found.accuracy_curves(nets)
    left, before = (
        one(curves, criterion=pruning.HIGHEST, **chosen | {"removed": removed})["median"]
        for removed in (chosen["removed"], 0)
    )
    return Finding(
        f"{pairs['mean_points']:+.2f} points",
        agrees=bool(pairs["low_points"] > 0),
        reason="accuracy without conv1's two filters of the most zeros, less that without two at "
        f"random, {pairs['seeds']} nets, 95 % interval {pairs['low_points']:.2f} to "
        f"{pairs['high_points']:.2f}; holds where it is above 0; median {_percent(before):g} % "
        f"before and {_percent(left):g} % without them",
    )


# --- other nets ------------------------------------------------------------------------------


def _zero_ranges(results: Results) -> pd.DataFrame:
    return made(results, found.zero_ranges, "net_zero_rates", "skippable_macs")


def _alexnet(end: str) -> Compute:
    def compute(results: Results, published: Published, name: str) -> Finding:
        row = one(_zero_ranges(results), net="alexnet")
        side = one(results.table("net_trainings"), net="alexnet")["input_px"]
        return Finding(
            _percent(row[end]),
            reason=f"{row['relus']} ReLUs of AlexNet trained on FashionMNIST at {side} px: "
            f"{_span(row, 'lowest', 'highest')}",
        )

    return compute


def _gain_depends(results: Results, published: Published, name: str) -> Finding:
    table = _zero_ranges(results).dropna().sort_values("skippable_share")
    if table["net"].nunique() < 2:
        raise lacking("second net to compare")
    lowest, highest = table.iloc[0], table.iloc[-1]
    return Finding(
        f"{_percent(lowest['skippable_share']):g} to {_percent(highest['skippable_share']):g} %",
        agrees=bool(highest["ideal_speed_up"] >= _APART * lowest["ideal_speed_up"]),
        protocol="of architectures alone, on FashionMNIST",
        reason=f"multiply-adds with a zero input, {lowest['net']} to {highest['net']}; holds where "
        f"the ideal speed-ups differ by {_APART - 1:.0%}: {lowest['ideal_speed_up']:.2f} and "
        f"{highest['ideal_speed_up']:.2f}",
    )


def _zeros_can_save(results: Results, published: Published, name: str) -> Finding:
    nets = _zero_ranges(results).dropna()
    if nets.empty:
        raise lacking("net with skippable multiply-adds")
    real = found.sparse_speed_ups(results.table("sparse_layers"))
    real = real[real["batch"] == 1]
    layers = real[~real["layer"].isin([sparsity.NET, sparsity.CHOSEN])]
    faster = int((layers["speed_up"] > 1).sum())
    return Finding(
        f"{_percent(nets['skippable_share'].min()):g} to "
        f"{_percent(nets['skippable_share'].max()):g} % skippable",
        agrees=bool((nets["skippable_share"] > 0).all() and (nets["mean"] > _MASK).all()),
        reason="operations: multiply-adds with a zero input; memory: "
        f"{_percent(nets['mean'].min()):g} % zeros or more, against {_percent(_MASK):g} % for a "
        f"mask of one bit a float32; in time, {faster} of {len(layers)} layers are faster by a "
        "sparse method here, batch 1",
    )


_FACTOR = 2
_LAST_DIGIT = 0.05  # half a step of the one decimal that is printed
_APART = 1.1
_CHANCE = 0.05

_SEEDS = Tolerance(
    "the paper trained one net: a number that other seeds give as well is reproduced",
    words="within 5 to 95 % of the seeds",
)
_BOUND = Tolerance("said of the net, as a lower bound", words="median of the seeds above")
_MACHINE = Tolerance(
    "another machine, which the paper does not name", words=f"a factor of {_FACTOR} either way"
)
_WHOLE = Tolerance("printed in whole percents", words="rounds to the same percent")
_ABOUT = Tolerance("printed as about, with one digit", absolute=0.5)
_ELSEWHERE = Tolerance(
    "the post names neither weights nor images, and another seed alone moves a rate by points",
    absolute=5,
)
_SKIPPED = Tolerance(
    "about; exact for a net without the filters, and within 5 to 95 % of the seeds for one that "
    "skips their zeros",
    words="within 5 to 95 % of the seeds",
)
_REPETITIONS = Tolerance(
    "an estimate of the authors, beside repeated measurements",
    words="within 5 to 95 % of the repetitions",
)
_COUNT = Tolerance("the digit that most often comes first", words="the same digit")

_LAYERS = "Zeros per layer, over many seeds"
_FILTERS = "Zeros per filter and digit"
_DARK = "Digit 1 and the dark pixels"
_TABLE_I = "Table I: time per layer"
_SAYS = "What the section's numbers say of each other"
_REMOVING = "Removing filters"
_NETS = "Other nets: AlexNet, VGG16, ResNet18, GoogLeNet"
_SKIPPING = "What skipping zeros really brings"


def _needs(dataset: str, *names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, dataset) for name in names)


_RATES = _needs("mnist", "layer_zero_rates")
_BY_FILTER = _needs("mnist", "filter_zero_rates")
_PIXELS = _needs("mnist", "dark_pixels")
_PRUNED = _needs("mnist", "pruned_nets")
_FASHION = _needs("fashionmnist", "net_zero_rates", "skippable_macs")
_ACCURACY = Check(_accuracy_above, _LAYERS, _BOUND, _needs("mnist", "lenet_trainings"))

CHECKS = {
    "cheng2025/lenet5_accuracy_percent": _ACCURACY,
    "atsumi2020/lenet_accuracy_percent": _ACCURACY,
    "atsumi2020/lenet_layers": Check(_weighted_layers, _TABLE_I),
    "atsumi2020/relu_zeroes_negatives": Check(_negatives_become_zeros, _LAYERS, LOGICAL, _RATES),
    **{
        f"atsumi2020/zero_rate_{layer}": Check(_zero_rate(layer), _LAYERS, _SEEDS, _RATES)
        for layer in paper.RELU_LAYERS
    },
    "atsumi2020/conv2_zero_rate_above_conv1": Check(_conv2_above_conv1, _LAYERS, LOGICAL, _RATES),
    "atsumi2020/zero_rate_conv1_high_filters": Check(
        _two_high_filters, _FILTERS, _SEEDS, _BY_FILTER
    ),
    "atsumi2020/zero_rates_differ_by_filter": Check(_filters_differ, _FILTERS, LOGICAL, _BY_FILTER),
    "atsumi2020/zero_rates_alike_in_conv2": Check(_filters_alike, _FILTERS, LOGICAL, _BY_FILTER),
    "atsumi2020/deviating_digit": Check(_deviating_digit, _DARK, _COUNT, _BY_FILTER),
    "atsumi2020/background_share_digit1_percent": Check(
        _dark_share("digit"), _DARK, _WHOLE, _PIXELS
    ),
    "atsumi2020/background_share_all_percent": Check(_dark_share("all"), _DARK, _WHOLE, _PIXELS),
    **{
        f"atsumi2020/table_i_{layer}_seconds": Check(_layer_time(layer), _TABLE_I, _MACHINE)
        for layer in paper.TABLE_I
    },
    "atsumi2020/time_order_conv1_fc120_conv2": Check(_time_order, _TABLE_I, LOGICAL),
    "atsumi2020/conv1_dominates_run_time": Check(_conv1_slowest, _TABLE_I, LOGICAL),
    "atsumi2020/conv1_largest_time": Check(_conv1_slowest, _TABLE_I, LOGICAL),
    "atsumi2020/conv1_time_over_second": Check(_conv1_over_second, _TABLE_I, _ABOUT),
    "atsumi2020/time_relates_to_multiplications": Check(
        _time_against_multiplications, _SAYS, LOGICAL
    ),
    "atsumi2020/removed_multiplications_percent": Check(
        _multiplications_saved, _SAYS, _SKIPPED, _BY_FILTER
    ),
    "atsumi2020/run_time_saving_percent": Check(_run_time_saved, _SAYS, _REPETITIONS),
    "atsumi2020/less_redundancy_faster": Check(_faster_with_less, _REMOVING, LOGICAL),
    "atsumi2020/negative_outputs_low_impact": Check(
        _zeroed_outputs_matter_little, _REMOVING, LOGICAL, _PRUNED
    ),
    "geifman/alexnet_sparsity_min_percent": Check(_alexnet("lowest"), _NETS, _ELSEWHERE, _FASHION),
    "geifman/alexnet_sparsity_max_percent": Check(_alexnet("highest"), _NETS, _ELSEWHERE, _FASHION),
    "geifman/sparsity_gain_depends": Check(_gain_depends, _NETS, LOGICAL, _FASHION),
    "geifman/relu_sparsity_exploitable": Check(_zeros_can_save, _SKIPPING, LOGICAL, _FASHION),
}
