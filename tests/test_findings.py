"""Findings of notebook 03, on tables small enough to work out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from convcost import nets, sources
from convcost.chapters.flop_counting import study as confront
from convcost.chapters.relu_zero_rates import findings as found
from convcost.chapters.relu_zero_rates.findings import paper, times
from convcost.core.errors import BadInputError

FIRST = {"training": "adam", "initialisation": "torch default", "normalisation": "-1..1"}


# --- seeds -----------------------------------------------------------------------------------


def layers(rates, recipe=FIRST, first_seed=0, total=1000):
    """One net a rate: the rate is conv1's, the other layers have 0.60."""
    return pd.DataFrame(
        [
            recipe
            | {"seed": seed, "layer": layer, "digit": digit, "total": total}
            | {"zeros": round((rate if layer == "conv1" else 0.60) * total)}
            for seed, rate in enumerate(rates, first_seed)
            for layer in ("conv1", "conv2", "fc120", "fc84")
            for digit in (0, 1)
        ]
    )


def filters(nets_, layer="conv1", total=1000):
    """nets_: a list of rates per net, one a filter: a number, or one for each digit."""
    return pd.DataFrame(
        [
            {"seed": seed, "layer": layer, "filter": number, "digit": digit, "total": total}
            | {"zeros": round(value * total)}
            for seed, rates in enumerate(nets_)
            for number, rate in enumerate(rates)
            for digit, value in enumerate(rate if isinstance(rate, tuple) else (rate, rate))
        ]
    )


FIVE = [0.25, 0.30, 0.35, 0.40, 0.45]
SIX = [0.7, 0.68, 0.1, 0.1, 0.1, 0.1]


def test_shares_weigh_digits_by_their_outputs():
    table = layers([0.5]).iloc[:2].assign(zeros=[10, 300], total=[100, 400])
    share = found.layer_shares(table)
    assert share["zero_fraction"].tolist() == [(10 + 300) / (100 + 400)]
    assert list(share) == [*FIRST, "seed", "layer", "zero_fraction"]


def test_the_papers_numbers_against_five_seeds():
    other = layers([0.9] * 3, FIRST | {"normalisation": "0..1"})
    table = pd.concat([layers(FIVE), other])  # the second recipe has no part in it
    rows = found.against_seeds(table, filters([SIX] * 5)).set_index("quantity")
    conv1 = rows.loc["conv1"]
    assert (conv1["seeds"], conv1["published"], conv1["median"]) == (5, 0.35, 0.35)
    assert conv1["p05"] == pytest.approx(0.25 + 0.2 * 0.05)  # a fifth of the way to the second
    assert (conv1["lowest"], conv1["highest"], conv1["inside"]) == (0.25, 0.45, True)
    assert conv1["percentile"] == 100 * 2.5 / 5  # two below, one equal
    assert not rows.loc["conv2", "inside"] and rows.loc["conv2", "percentile"] == 0  # 0.60 > 0.55
    assert rows.loc["fc120", "published"] == 0.47
    difference = rows.loc["conv2 minus conv1"]
    assert difference["published"] == pytest.approx(0.20)
    assert difference["median"] == pytest.approx(0.60 - 0.35)
    second = rows.loc["second-highest filter of conv1"]
    assert (second["median"], second["published_as"], second["inside"]) == (
        0.68, "lower bound", True,
    )  # fmt: skip
    over = rows.loc["filters of conv1 over 50 %"]
    assert (over["published"], over["median"], over["inside"]) == (2, 2, True)
    zeros = rows.loc["zeros of conv1's highest filters, of its outputs"]
    assert zeros["published"] == 0.23 and zeros["median"] == pytest.approx((0.7 + 0.68) / 6)


def test_a_lower_bound_is_reached_or_not():
    low = [0.7, 0.49, 0.1, 0.1, 0.1, 0.1]
    rows = found.against_seeds(layers(FIVE), filters([low] * 5)).set_index("quantity")
    assert not rows.loc["second-highest filter of conv1", "inside"]
    assert rows.loc["filters of conv1 over 50 %", "median"] == 1


def test_recipes_come_in_the_order_of_the_table():
    other = FIRST | {"initialisation": "he"}
    table = found.by_recipe(pd.concat([layers(FIVE), layers([0.6, 0.7], other)]))
    conv1 = table[table["layer"] == "conv1"]
    assert conv1["initialisation"].tolist() == ["torch default", "he"]
    assert conv1["seeds"].tolist() == [5, 2]
    assert conv1["inside"].tolist() == [True, False]
    assert conv1["percentile"].tolist() == [50, 0]


def crossed(rate, seeds=2):
    """Nets of two initialisations by two normalisations; `rate` of (0 or 1, 0 or 1, seed)."""
    return pd.concat(
        layers(
            [rate(i, n, seed) for seed in range(seeds)],
            FIRST | {"initialisation": ("xavier", "he")[i], "normalisation": ("0..1", "-1..1")[n]},
        )
        for i in (0, 1)
        for n in (0, 1)
    )


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (lambda i, n, seed: 0.3 + 0.1 * i, {"initialisation": 1}),
        (lambda i, n, seed: 0.3 + 0.1 * n, {"normalisation": 1}),
        (lambda i, n, seed: 0.3 + 0.1 * seed, {"seed": 1}),
        (lambda i, n, seed: 0.3 + 0.1 * (i == n), {"both": 1}),
        # squares of half the step: 1 : 4 : 16
        (
            lambda i, n, seed: 0.3 + 0.05 * i + 0.1 * n + 0.2 * seed,
            {"initialisation": 1 / 21, "normalisation": 4 / 21, "seed": 16 / 21},
        ),
    ],
)
def test_spread_is_given_to_what_makes_it(rate, expected):
    row = found.spread_shares(crossed(rate)).set_index("layer").loc["conv1"]
    parts = ["initialisation", "normalisation", "both", "seed"]
    assert row[parts].tolist() == pytest.approx([expected.get(p, 0) for p in parts], abs=1e-9)
    assert row["seeds"] == 2


def test_spread_takes_the_seeds_that_all_recipes_have_and_the_first_training():
    table = crossed(lambda i, n, seed: 0.3 + 0.1 * seed, seeds=3)
    of_one = (table["initialisation"] == "he") & (table["seed"] == 2)
    longer = layers([0.9], FIRST | {"training": "sgd"})
    row = found.spread_shares(pd.concat([table[~of_one], longer])).iloc[0]
    assert (row["seeds"], row["seed"]) == (2, pytest.approx(1))
    assert row["spread"] == pytest.approx(0.05)


def test_no_spread_has_no_shares():
    row = found.spread_shares(crossed(lambda *_: 0.5)).iloc[0]
    assert row["spread"] == 0 and math.isnan(row["seed"])


def test_a_recipe_that_is_missing_is_named():
    table = crossed(lambda *_: 0.5)
    gap = (table["initialisation"] == "he") & (table["normalisation"] == "0..1")
    with pytest.raises(BadInputError, match=r"he with 0\.\.1"):
        found.spread_shares(table[~gap])
    apart = table["seed"] == np.where(table["initialisation"] == "he", 0, 1)
    with pytest.raises(BadInputError, match="no seed in common"):
        found.spread_shares(table[apart])


def test_stable_is_what_nine_nets_of_ten_share():
    rows = found.stable_or_seed(layers(FIVE), filters([SIX] * 4 + [[0.1] * 6]))
    rows = rows.set_index("finding")
    assert rows.loc["conv1", "relative_width"] == pytest.approx(0.18 / 0.35)
    assert rows.loc["conv1", "verdict"] == "matter of the seed"
    assert rows.loc["conv2", "verdict"] == "property of the net"  # 0.60 in all
    assert rows.loc["conv2 above conv1", "holds_in"] == 1
    assert rows.loc["conv2 above conv1", "verdict"] == "property of the net"
    assert rows.loc["2 filters of conv1 over 50 %", "holds_in"] == 4 / 5
    assert rows.loc["2 filters of conv1 over 50 %", "verdict"] == "matter of the seed"


def test_what_moves_with_the_recipe_is_a_matter_of_the_training():
    first, other = layers([0.5] * 5), layers([0.7] * 5).assign(training="longer")
    alone = filters([SIX] * 5)
    rows = found.stable_or_seed(pd.concat([first, other]), alone).set_index("finding")
    row = rows.loc["conv1"]
    assert (row["typical"], row["lowest_recipe"], row["highest_recipe"]) == (0.5, 0.5, 0.7)
    assert row["verdict"] == "matter of the training"
    assert rows.loc["conv2", "verdict"] == "property of the net"  # 0.60 by both
    few = other[other["seed"] < 4]  # nets that say nothing of their recipe
    rows = found.stable_or_seed(pd.concat([first, few]), alone).set_index("finding")
    assert rows.loc["conv1", "verdict"] == "property of the net"


def test_a_statement_that_never_holds_is_a_property_too():
    rows = found.stable_or_seed(layers([0.8] * 3), filters([SIX] * 3)).set_index("finding")
    assert rows.loc["conv2 above conv1", "holds_in"] == 0
    assert rows.loc["conv2 above conv1", "verdict"] == "property of the net"


# --- digits ----------------------------------------------------------------------------------


def test_deviation_is_the_root_mean_square_over_filters():
    # means 0.4 and 0.5; digit 1 is off by 0.3 and 0.4, the others by half of that
    table = found.digit_deviation(filters([[(0.25, 0.7, 0.25), (0.7, 0.1, 0.7)]]))
    expected = math.sqrt((0.3**2 + 0.4**2) / 2)
    assert table["deviation"].tolist() == pytest.approx([expected / 2, expected, expected / 2])
    assert table["place"].tolist() == [2, 1, 3]


def test_how_often_a_digit_comes_first():
    table = found.digits_that_stand_out(
        filters([[(0.2, 0.8, 0.3)], [(0.2, 0.9, 0.3)], [(0.9, 0.3, 0.2)]])
    )
    assert table["first"].tolist() == [1, 2, 0]
    assert table["share_first"].tolist() == [1 / 3, 2 / 3, 0]


def test_filters_differ_beside_their_digits():
    row = found.filters_differ(filters([[(0.1, 0.3), (0.7, 0.9)]])).iloc[0]
    assert (row["lowest"], row["highest"]) == pytest.approx((0.2, 0.8))
    assert row["between_filters"] == pytest.approx(0.3)  # 0.2 and 0.8 about 0.5
    assert row["between_digits"] == pytest.approx(0.1)
    assert row["apart"]  # 0.3 at most, 0.7 at least
    assert not found.filters_differ(filters([[(0.1, 0.5), (0.4, 0.9)]])).iloc[0]["apart"]


def test_filters_that_rise_together_and_against_each_other():
    rates = [
        [(0.1, 0.2, 0.4), (0.3, 0.4, 0.6), (0.5, 0.5, 0.5)],  # the last does not vary
        [(0.1, 0.2, 0.3), (0.3, 0.2, 0.1)],
        [(0.1, 0.2, 0.3), (0.4, 0.4, 0.4)],
    ]
    table = found.alike(filters(rates))
    assert table["filters"].tolist() == [2, 2, 1]
    assert table["mean_correlation"].tolist()[:2] == pytest.approx([1, -1])
    assert math.isnan(table["mean_correlation"][2])


def dark(shares, preparation="as it is", chosen="all", total=100):
    return pd.DataFrame(
        [
            {"preparation": preparation, "chosen": chosen, "digit": digit, "level": -0.9}
            | {"images": 1, "dark": round(share * total), "total": total}
            for digit, share in enumerate(shares)
        ]
    )


def test_dark_shares_beside_the_papers():
    table = found.dark_shares(pd.concat([dark([0.72, 0.88]), dark([0.6, 0.884], "padded")]))
    first, second = table.to_dict("records")
    assert (first["digit_share"], first["all_share"]) == (0.88, (72 + 88) / 200)
    assert first["agrees"] and first["off_all"] == pytest.approx(0)
    assert second["agrees_digit"] and not second["agrees_all"] and not second["agrees"]
    assert second["off_all"] == pytest.approx(100 * (60 + 88) / 200 - 80)


# --- times -----------------------------------------------------------------------------------


def test_multiplications_in_four_readings():
    table = found.multiplications().pivot(
        index="reading", columns="layer", values="multiplications"
    )
    assert table.loc["equation"].to_dict() == {
        "conv1": 24 * 24 * 5 * 5 * 6,
        "conv2": 8 * 8 * 5 * 5 * 16,
        "fc120": 16 * 4 * 4 * 120,
        "fc84": 120 * 84,
        "fc10": 84 * 10,
    }
    assert table.loc["exact", "conv2"] == 8 * 8 * 5 * 5 * 6 * 16
    assert table.loc["printed", ["conv1", "conv2", "fc120"]].tolist() == [86_400, 30_720, 25_600]


def test_multiplications_are_those_of_the_traced_net():
    assert sum(map(len, nets.LENET5_C3)) == times.C3_CONNECTIONS
    traced = pd.DataFrame(confront.lenet_multiplications())
    mine = found.multiplications()
    mine = mine[mine["reading"] != "printed"]
    keys = ["layer", "reading"]
    assert mine.set_index(keys)["multiplications"].to_dict() == (
        traced.set_index(keys)["multiplications"].to_dict()
    )


def timed(seconds, batch=1, net="lenet_atsumi", images=10):
    """seconds: layer -> seconds of one image, one a repetition."""
    return pd.DataFrame(
        [
            {"net": net, "batch": batch, "threads": 1, "position": position, "layer": layer}
            | {"repetition": repetition, "images": images, "seconds": value * images}
            for position, (layer, values) in enumerate(seconds.items())
            for repetition, value in enumerate(values)
        ]
    )


def test_table_one_beside_times_twice_as_long():
    ours = {layer: [2 * s] for layer, s in paper.table_i().items()} | {"relu1": [9.0]}
    rows = found.table_one(timed(ours)).set_index("layer")
    assert list(rows.index) == list(paper.TABLE_I)  # ReLU is not in Table I
    assert rows["ratio"].tolist() == pytest.approx([2] * 7)
    assert rows["rank"].tolist() == rows["published_rank"].tolist()
    assert rows["share"].tolist() == pytest.approx(rows["published_share"].tolist())
    assert rows.loc["conv1", "published_share"] == pytest.approx(0.564, abs=5e-4)


def test_table_one_has_the_middle_half_of_the_repetitions():
    ours = {layer: [8.0] for layer in paper.TABLE_I} | {"pool1": [1, 3, 2]}
    rows = found.table_one(timed(ours, batch=64)).set_index("layer")
    assert rows.loc["pool1", ["median_s", "p25_s", "p75_s"]].tolist() == [2, 1.5, 2.5]
    assert rows.loc["pool1", "share"] == 2 / (6 * 8 + 2) and rows.loc["pool1", "rank"] == 7
    assert (rows["batch"] == 64).all()


def test_times_made_from_one_count_are_explained_by_it():
    table = found.multiplications()
    exact = table[table["reading"] == "exact"].set_index("layer")["multiplications"]
    seconds = {layer: [1e-5 + 2e-9 * n] for layer, n in exact.items()}
    seconds |= {"pool1": [1e-6], "pool2": [1e-6]}
    rows = found.explained_by(timed(seconds))
    ours = rows[(rows["batch"] == 1) & (rows["layers"] == 5)].set_index("reading")
    assert ours.loc["exact", ["spearman", "kendall", "r2"]].tolist() == pytest.approx([1, 1, 1])
    assert ours.loc["exact", "second_per_multiplication"] == pytest.approx(2e-9)
    assert ours.loc["exact", "base_s"] == pytest.approx(1e-5)
    assert ours["same_order"].to_dict() == {
        "equation": False, "printed": False, "exact": True, "sparse-1998": True,
    }  # fmt: skip
    assert ours.loc["equation", "r2"] < 1


def test_table_one_follows_the_corrected_counts_and_not_the_printed_ones():
    rows = found.explained_by(timed({layer: [n] for n, layer in enumerate(paper.TABLE_I)}))
    theirs = rows[(rows["times"] == "Table I") & (rows["layers"] == 3)].set_index("reading")
    assert theirs["same_order"].to_dict() == {
        "equation": True, "printed": False, "exact": False, "sparse-1998": False,
    }  # fmt: skip
    # conv1 86,400 slowest; conv2 and fc120 change places: one pair of three
    assert theirs.loc["printed", "kendall"] == pytest.approx(1 / 3)
    # by the exact count conv2 would be the slowest: a falling line, which is not allowed
    assert theirs.loc["exact", "second_per_multiplication"] == 0


def test_one_slow_call_in_a_thousand():
    rows = [
        {"net": "lenet_atsumi", "process": process, "position": 0, "layer": layer}
        | {"first_s": 1.0 + process if layer == "conv1" else 0.002}
        | {"later_s": 0.001, "later_calls": 9}
        for process in (0, 1, 2)
        for layer in (*paper.TABLE_I, "relu1")
    ]
    table = found.cold_start(pd.DataFrame(rows)).set_index("layer")
    assert list(table.index) == list(paper.TABLE_I)
    assert table.loc["conv1", "average_s"] == pytest.approx((2.0 + 999 * 0.001) / 1000)
    assert table.loc["conv1", "rank"] == 1
    assert table.loc["conv2", "average_s"] == pytest.approx((0.002 + 999 * 0.001) / 1000)
    # the other five of Table I, in order: pool2, fc10 | pool1 | fc84, conv2
    median = sources.value("atsumi2020", "table_i_pool1_seconds")
    assert table["one_time_s"].dropna().to_dict() == pytest.approx(
        {
            "conv1": 1000 * (1.08167e-03 - median),
            "fc120": 1000 * (3.46992e-04 - median),
        }
    )
    assert found.cold_start(pd.DataFrame(rows), images=1).loc[0, "average_s"] == 2.0


# --- arithmetic ------------------------------------------------------------------------------


def test_what_follows_from_what_is_printed():
    table = found.arithmetic()
    value = table.set_index("what")["value"]
    agrees = table.set_index("what")["agrees"]
    expected = {
        "conv2's multiplications by (1)": (25_600, False),
        "fc120's multiplications by (2)": (30_720, False),
        "conv2's by (1), against fc120's printed": (25_600, True),
        "fc120's by (2), against conv2's printed": (30_720, True),
        "conv1's time over fc120's, the second slowest": (3.12, True),
        "conv1's multiplications in the two filters, percent": (33.3, False),
        "zero rate at which the two filters' zeros are 23 percent of conv1's outputs": (69, True),
        "run time saved if 23 percent of conv1's time goes, percent": (13.0, False),
        "run time saved if both filters' part of conv1's time goes, percent": (18.8, False),
        "share of conv1's time that 9.7 percent of the sum is, percent": (17.2, False),
        "zero rate of the two filters that 9.7 percent would need": (51.6, True),
        "mean 35 with two filters over 50: left for each of the others, percent": (27.5, True),
    }
    for what, (number, holds) in expected.items():
        assert value[what] == pytest.approx(number, abs=0.05), what
        assert agrees[what] == holds, what
    assert value["sum of Table I, s"] == pytest.approx(1.9177555e-03, abs=1e-12)
    assert value["conv1's share of the sum, percent"] == pytest.approx(56.4, abs=0.05)
    assert pd.isna(agrees["sum of Table I, s"])  # the paper does not print it


def test_every_formula_gives_its_value():
    for row in found.arithmetic().itertuples():
        text = row.formula.replace("×", "*").replace("−", "-").replace(",", "")
        assert eval(text) == pytest.approx(row.value, rel=1e-5), row.what


def test_other_printed_numbers_would_agree(monkeypatch):
    printed = paper.value
    changed = {"removed_multiplications_percent": 33, "run_time_saving_percent": 18.6}
    monkeypatch.setattr(paper, "value", lambda name: changed.get(name, printed(name)))
    agrees = found.arithmetic().set_index("what")["agrees"]
    assert agrees["conv1's multiplications in the two filters, percent"]
    assert agrees["run time saved if 33 percent of conv1's time goes, percent"]


# --- fewer filters ---------------------------------------------------------------------------


def pruned(correct, **changes):
    """correct: criterion -> rightly named of 1,000, one a seed."""
    row = {"layer": "conv1", "removed": 2, "filters": 6, "fine_tuned": False, "macs": 180_000}
    row |= {"layer_macs": 4 * 14_400, "test_images": 1000} | changes
    return pd.DataFrame(
        [
            row | {"criterion": criterion, "seed": seed, "test_correct": count}
            for criterion, counts in correct.items()
            for seed, count in enumerate(counts)
        ]
    )


WHOLE = {"layer": "none", "removed": 0, "filters": 0, "layer_macs": None}


def test_pairs_of_the_same_seed():
    table = pruned(
        {
            "highest zero rate": [900, 910, 920, 930],
            "random": [910, 930, 950, 930],
            "smallest L1 norm": [890, 910],
        }
    )
    rows = found.paired_differences(table).set_index("against")
    random = rows.loc["random"]
    points = [-1.0, -2.0, -3.0, 0.0]
    interval = stats.ttest_1samp(points, 0).confidence_interval(0.95)
    assert random["mean_points"] == pytest.approx(-1.5)
    assert (random["low_points"], random["high_points"]) == pytest.approx(tuple(interval))
    assert random[["seeds", "wins", "ties", "losses"]].tolist() == [4, 0, 1, 3]
    assert random["sign_p"] == pytest.approx(2 / 2**3)  # of three that differ all lose, or all win
    assert rows.loc["smallest L1 norm", ["seeds", "wins", "ties"]].tolist() == [2, 1, 1]


def test_one_pair_has_no_interval_and_a_tie_no_sign():
    row = found.paired_differences(pruned({"highest zero rate": [900], "random": [900]})).iloc[0]
    assert row["mean_points"] == 0 and math.isnan(row["low_points"]) and row["sign_p"] == 1
    assert found.paired_differences(pruned({"random": [900]})).empty


def test_small_nets_from_scratch_count_once_they_are_trained():
    table = pd.concat(
        [
            pruned({"highest zero rate": [900], "from scratch": [100]}),
            pruned({"highest zero rate": [980], "from scratch": [985]}, fine_tuned=True),
        ]
    )
    row = found.paired_differences(table).iloc[0]
    assert (row["against"], row["fine_tuned"]) == ("from scratch", True)
    assert row["mean_points"] == pytest.approx(-0.5)


def test_curves_begin_with_the_whole_net():
    table = pd.concat(
        [
            pruned({"none": [990, 980]}, **WHOLE),
            pruned({"none": [992, 984]}, **WHOLE | {"fine_tuned": True}),
            pruned({"random": [900, 800]}),
            pruned({"random": [970, 960]}, fine_tuned=True),
            pruned({"from scratch": [975, 965]}, fine_tuned=True),
        ]
    )
    rows = found.accuracy_curves(table).set_index(["criterion", "fine_tuned", "removed"])
    assert len(rows) == 5
    assert rows.loc[("random", False, 0), "median"] == pytest.approx(0.985)
    assert rows.loc[("random", True, 0), "median"] == pytest.approx(0.988)
    two = rows.loc[("random", False, 2)]
    assert (two["removed_share"], two["median"]) == pytest.approx((2 / 6, 0.85))
    assert (two["p05"], two["p95"]) == pytest.approx((0.805, 0.895))
    assert ("from scratch", True, 0) not in rows.index


def test_savings_are_those_of_the_same_repetition():
    seconds = {("none", 0, 281_640): [10.0, 20.0, 10.0], ("conv1", 2, 201_640): [9.0, 10.0, 8.0]}
    times_ = pd.DataFrame(
        [
            {"layer": layer, "removed": removed, "batch": 1, "threads": 1, "macs": macs}
            | {"repetition": repetition, "images": 100, "seconds": value}
            for (layer, removed, macs), values in seconds.items()
            for repetition, value in enumerate(values)
        ]
    )
    row = found.savings(pruned({"random": [900]}), times_).iloc[0]
    assert row["layer_macs_saved"] == pytest.approx(2 / 6)
    assert row["net_macs_saved"] == pytest.approx(80_000 / 281_640)
    assert row["time_saved"] == pytest.approx(0.2)  # of 0.1, 0.5, 0.2
    assert (row["repetitions"], row["faster"], row["sign_p"]) == (3, 3, 1 / 8)


# --- sparse execution ------------------------------------------------------------------------


def swept(speed_ups, method="csr"):
    """speed_ups: zero rate -> dense time over the method's; medians hide one slow repetition."""
    return pd.DataFrame(
        [
            {"case": "fc6", "rows": 1, "inputs": 4, "outputs": 2, "threads": 1, "method": name}
            | {"zero_rate": rate, "repetition": r, "calls": 5, "seconds": 5 * seconds * slow}
            for rate, speed_up in speed_ups.items()
            for name, seconds in (("dense", 1.0), (method, 1 / speed_up))
            for r, slow in enumerate((1, 1, 50))
        ]
    )


@pytest.mark.parametrize(
    ("speed_ups", "expected"),
    [
        ({0.5: 0.5, 0.9: 2.0}, 0.7),  # half-way in the logarithm
        ({0.0: 0.25, 0.5: 0.5, 0.9: 0.9}, math.nan),
        ({0.2: 1.5, 0.9: 2.0}, 0.2),
        ({0.0: 2.0, 0.4: 0.5, 0.8: 2.0}, 0.6),  # the last crossing
        ({0.3: 0.5, 0.6: 1.0}, 0.6),
    ],
)
def test_from_which_zero_rate_on_it_pays(speed_ups, expected):
    row = found.break_even(swept(speed_ups)).iloc[0]
    assert row["break_even"] == pytest.approx(expected, nan_ok=True)


def test_speed_up_at_half_and_nine_tenths():
    row = found.break_even(swept({0.4: 0.5, 0.6: 2.0, 0.8: 3.0})).iloc[0]
    assert row["speed_up_50"] == pytest.approx(1.0)
    assert math.isnan(row["speed_up_90"])


def test_ideal_and_real_speed_up_of_layers_and_net():
    def layer(position, share, **seconds):
        return [
            {"net": "n", "batch": 1, "threads": 1, "position": position, "layer": f"l{position}"}
            | {"method": method, "zero_input_share": share, "repetition": r, "calls": 2}
            | {"seconds": 2 * s * slow}
            for method, s in seconds.items()
            for r, slow in enumerate((1, 1, 9))
        ]

    table = pd.DataFrame(
        [
            *layer(0, 0.0, dense=1.0, csr=3.0, columns=2.0),
            *layer(1, 0.75, **{"dense": 9.0, "dense, packed": 4.0, "csr": 1.0, "columns": 2.0}),
            *layer(2, 0.5, dense=2.0),  # no sparse method can do it
        ]
    )
    rows = found.sparse_speed_ups(table).set_index("layer")
    assert rows.loc["l0", ["ideal", "method", "speed_up"]].tolist() == [1, "columns", 0.5]
    assert rows.loc["l1", ["ideal", "method", "speed_up"]].tolist() == [4, "csr", 4]
    assert pd.isna(rows.loc["l2", "method"]) and math.isnan(rows.loc["l2", "speed_up"])
    net = rows.loc["(net)"]
    assert net["ideal"] == pytest.approx(7 / (1 + 1 + 1))  # 1 * 1 + 4 * 0.25 + 2 * 0.5
    assert net["speed_up"] == pytest.approx(7 / (2 + 1 + 2))
    assert rows.loc["(net, the faster way in each layer)", "speed_up"] == pytest.approx(
        7 / (1 + 1 + 2)
    )


def test_zero_rates_and_skippable_share_of_a_net():
    rates = pd.DataFrame(
        [
            {"net": "alexnet", "seed": 0, "position": p, "zeros": zeros, "total": total}
            for p, (zeros, total) in enumerate([(190, 1000), (63, 100)])
        ]
    )
    macs = pd.DataFrame(
        [
            {"net": net, "seed": 0, "macs": 100, "zero_input_macs": 75, "padding_macs": 5}
            for net in ("alexnet", "alexnet", "lenet_atsumi")
        ]
    )
    (row,) = found.zero_ranges(rates, macs).to_dict("records")
    assert (row["relus"], row["lowest"], row["highest"]) == (2, 0.19, 0.63)
    assert row["mean"] == (190 + 63) / 1100
    assert (row["skippable_share"], row["padding_share"], row["ideal_speed_up"]) == (0.75, 0.05, 4)
    (bare,) = found.zero_ranges(rates, macs[macs["net"] != "alexnet"]).to_dict("records")
    assert math.isnan(bare["skippable_share"])
