"""Known nets: tables as they are read, findings worked by hand, verdicts, figures, the front."""

import json
import os
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, spearmanr

import figure_checks
import known_nets_tables as made
from convcost import claims, records
from convcost.chapters.accuracy_and_run_time import figures as pictures
from convcost.chapters.accuracy_and_run_time.claims import known as checks
from convcost.chapters.accuracy_and_run_time.figures import frontier, known_nets, training_compute
from convcost.chapters.accuracy_and_run_time.findings import known_nets as found
from convcost.chapters.accuracy_and_run_time.study import known
from convcost.chapters.accuracy_and_run_time.tables.known import TABLES
from convcost.claims import verdicts
from convcost.core import registry
from convcost.figures import style
from figure_checks import closed  # noqa: F401 - pytest finds it by its name


@cache
def whole(spread: float = 1.0):
    return made.many(spread=spread)


def nets(*rows):
    return pd.DataFrame([made.net(*row) if isinstance(row, tuple) else row for row in rows])


def times(*rows):
    return pd.DataFrame([made.time(*row) for row in rows])


@pytest.fixture(autouse=True)
def chapter(monkeypatch):
    """The chapter as a registered one, whether or not the list of chapters has it yet."""
    monkeypatch.setattr(registry, "_chapters", registry.chapters())
    package = "convcost.chapters.accuracy_and_run_time"
    registry.register(registry.Chapter("05-accuracy-and-run-time", "How?", package))


# --- the tables -----------------------------------------------------------------------------------

TAGS = {
    "imagenet-1k": "in1k a1_in1k miil_in1k_448 ra4_e3600_r224_in1k fcmae_ft_in1k mae_in1k_ft_in1k "
    "tf_in1k sam_in1k nv_in1k_ft_in1k_384 b1k_in1k",
    "distilled": "fb_dist_in1k apple_dist_in1k fb_distilled_in1k usi_in1k dist_300e_in1k",
    "more": "augreg_in21k_ft_in1k in12k_ft_in1k_384 dist_in22k_ft_in1k ns_jft_in1k "
    "clip_laion2b_augreg_ft_in1k openai_ft_in1k fb_swsl_ig1b_ft_in1k fb_ssl_yfcc100m_ft_in1k "
    "swag_lc_in1k seer_ft_in1k mim_m38m_ft_in1k webli_ft_in1k ssld_in1k "
    "goog_teacher_in21k_ft_in1k",
    "unknown": "a1 in1000 m in21",
}


@pytest.mark.parametrize(("data", "tag"), [(d, t) for d, ts in TAGS.items() for t in ts.split()])
def test_a_tag_tells_what_weights_were_trained_on(data, tag):
    assert known.training_data(tag) == data


def test_beit_v2_was_taught_by_a_net_that_saw_more():
    assert known.training_data("in1k_ft_in1k", "beitv2_base_patch16_224") == "distilled"


def test_timm_s_accuracies_are_joined_with_the_stored_work(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text(
        "model,img_size,top1,top1_err,top5,top5_err,param_count,crop_pct,interpolation\n"
        "resnet50.a1_in1k,224,80.2,19.8,94.6,5.4,25.56,0.95,bicubic\n"
        "resnet50.a1_in1k,97,70.2,29.8,89.6,10.4,25.56,0.95,bicubic\n"
        'resnet18.a1_in1k,224,71.5,28.5,90.1,9.9,"1,125.56",0.95,bicubic\n'
    )
    rows = list(known.timm_accuracies(file))
    first = rows[0]
    assert (first["net"], first["weights"], first["design"]) == ("resnet50", "a1_in1k", "resnet")
    assert first["macs"] == 4_089_184_256 and first["params"] == 25_557_032
    assert (first["top1"], first["top5"], first["data"]) == (0.802, 0.946, "imagenet-1k")
    # not stored at this size; and another net under the same name
    assert [row["macs"] for row in rows[1:]] == [None, None]
    assert [row["params"] for row in rows[1:]] == [25_560_000, 1_125_560_000]
    assert len(list(known.timm_accuracies(file, most=1))) == 1
    fits(pd.DataFrame(rows), "known_nets")


def fits(frame, name):
    """Whether rows have the columns of a table, no key twice, and gaps only where allowed."""
    table = TABLES[name]
    assert set(frame) == set(table.columns)
    assert not frame.duplicated(list(table.key)).any()
    for column, told in table.columns.items():
        assert told.optional or frame[column].notna().all(), column


def test_torchvision_s_weights_tell_their_accuracy_and_are_counted_at_their_own_size():
    pytest.importorskip("torchvision")
    rows = pd.DataFrame(known._torchvision_nets(14))
    fits(rows, "known_nets")
    by = rows.set_index(["net", "weights"])
    alexnet = by.loc["alexnet", "IMAGENET1K_V1"]
    assert (alexnet["top1"], alexnet["macs"], alexnet["params"]) == (
        0.56522,
        714_188_480,
        61_100_840,
    )
    # two recipes for one net at one size cost the same
    b1 = by.loc["efficientnet_b1"]
    assert set(b1["input_px"]) == {240} and b1["macs"].nunique() == 1 and len(b1) == 2


def test_nets_that_are_built_for_one_size_are_counted_at_the_size_of_their_weights():
    pytest.importorskip("torchvision")
    small, large = known._count("vit_b_16", 224), known._count("vit_b_16", 384)
    assert small["params"] == 86_567_656 and small["macs"] < large["macs"]
    assert large["params"] - small["params"] == (24 * 24 - 14 * 14) * 768  # a place a patch


@pytest.mark.skipif(
    not os.path.isfile(f"{os.environ.get('CONVCOST_DATA')}/benchmarks/timm/results-imagenet.csv"),
    reason="CONVCOST_DATA names no folder with timm's tables",
)
def test_the_real_tables():
    rows = pd.DataFrame(known.published_times())
    fits(rows, "published_times")
    assert set(zip(rows["device"], rows["what"], strict=True)) == set(known.TIMES)
    row = rows[(rows["device"] == "rtx4090") & (rows["net"] == "resnet50")].set_index("input_px")
    assert 1e-5 < row.loc[224, "image_s"] < 1e-3 and row.loc[224, "batch"] > 100
    judged = pd.DataFrame(known.timm_accuracies(known.benchmarks.path("timm/results-imagenet.csv")))
    fits(judged, "known_nets")
    assert (judged["data"] != "unknown").all()
    assert judged["macs"].isna().mean() < 0.05
    inference = rows[rows["what"] == "inference"]
    assert set(inference["net"]) <= set(judged["net"])


def test_a_study_has_a_method_a_table_and_says_which_tables_it_read():
    from convcost.chapters.accuracy_and_run_time.study import Study

    assert all(hasattr(Study, name) for name in TABLES)
    from convcost.datasets import benchmarks

    told = json.loads(json.dumps([one.describe() for one in benchmarks.COLLECTIONS.values()]))
    assert told[0]["asked"] == "timm" and not told[0]["is_stand_in"]
    here = [one for one in benchmarks.COLLECTIONS.values() if benchmarks.where(one)]
    assert [part for part in Study("quick").used if part in here] == here


def test_made_up_tables_fit_the_schemas():
    for name in TABLES:
        if name in whole():  # the other tables of the chapter are other files' business
            fits(whole()[name], name)


# --- findings -------------------------------------------------------------------------------------


def test_only_imagenet_1k_is_compared_unless_asked():
    rows = nets(("a", 0.7, 1.0), made.net("b", 0.8, 1.0, data="more"), ("c", 0.7, None))
    assert list(found.counted(rows)["net"]) == ["a"]
    assert list(found.counted(rows, None)["net"]) == ["a", "b"]
    assert found.counted(rows)["flops"].tolist() == [2 * 1e9]
    why = found.left_out(rows).set_index("why")["weights"]
    assert dict(why) == {"trained on ImageNet-1k": 1, "more": 1, "not counted": 1}


def test_table_one_sets_the_first_weights_beside_the_best_of_the_same_net_and_size():
    rows = nets(
        made.net("resnet50", 0.76, 4.0, weights="IMAGENET1K_V1", source="torchvision"),
        made.net("resnet50", 0.79, 4.0, weights="IMAGENET1K_V2", source="torchvision"),
        made.net("resnet50", 0.80, 4.0, weights="a1_in1k"),
        made.net("resnet50", 0.85, 4.0, weights="in21k_ft_in1k", data="more"),
        made.net("resnet50", 0.82, 8.0, weights="a1_in1k", px=320),
        made.net("resnet50", 0.83, 5.0, weights="other_in1k"),
    )
    table = found.table_one(rows)
    assert len(table) == 1
    one = table.iloc[0]
    assert (one["net"], one["gflops"], one["params_millions"]) == ("resnet50", 2 * 4, 1)
    assert (one["first"], one["best"], one["weights"]) == (0.76, 0.80, "timm: a1_in1k")
    assert one["gain_points"] == pytest.approx(100 * (0.80 - 0.76))


def test_of_pairs_of_nets_those_in_order_are_counted():
    rows = nets(
        made.net("a", 0.70, 1.0, "d", params=1), made.net("b", 0.71, 2.0, "d", params=2),
        made.net("c", 0.69, 3.0, "d", params=3), made.net("x", 0.80, 1.0, "e", params=1),
        made.net("y", 0.81, 2.0, "e", params=2), made.net("z", 0.99, 9.0, "e", params=0,
                                                         weights="b_in1k"),
    )  # fmt: skip
    table = found.bigger(rows).set_index(["among", "size"])
    # d: ab right, ac and bc wrong; e: xy right; z has another recipe
    one = table.loc["one recipe", "params"]
    assert (one["pairs"], one["in_order"], one["designs"], one["nets"]) == (4, 2 / 4, 2, 5)
    # by FLOPs, z is right with all five, and of the ten others a-x and b-y cost the same:
    # ab, ay, bc wrong; ac wrong, xy, cx wrong, cy wrong, ay right, bx wrong
    every = table.loc["all nets", "flops"]
    right = {"ab", "xy", "ay", "az", "bz", "cz", "xz", "yz"}
    wrong = {"ac", "bc", "bx", "cx", "cy"}
    assert every["pairs"] == len(right) + len(wrong)
    assert every["in_order"] == len(right) / 13
    assert every["low"] <= every["in_order"] <= every["high"]


def test_correlations_are_those_of_scipy():
    tables = whole()
    table = found.correlations(tables["known_nets"], tables["published_times"])
    rows = found.timed(tables["known_nets"], tables["published_times"])
    rows = rows[rows["device"] == "rtx4090"]
    one = table[(table["device"] == "rtx4090") & (table["among"] == found.ALL)].set_index("of")
    x, y = np.log(rows["image_s"]), rows["top1"]
    assert one.loc[found.TIME_TOP1, "pearson"] == pytest.approx(pearsonr(x, y).statistic)
    assert one.loc[found.TIME_TOP1, "spearman"] == pytest.approx(spearmanr(x, y).statistic)
    for name in ("pearson", "spearman"):
        noisy = table[table[name] < 0.999]
        assert (noisy[f"{name}_low"] < noisy[f"{name}_high"]).all()
    family = table[(table["device"] == "rtx4090") & (table["among"] == found.FAMILY)]
    family = family.set_index("of").loc[found.FLOPS_TIME]
    assert family["pearson"] == pytest.approx(1)  # within one design time is proportional here
    assert one.loc[found.FLOPS_TIME, "pearson"] < 0.99


def test_within_groups_means_are_taken_out():
    x = np.array([1.0, 2, 3, 11, 12, 13])
    y = np.array([9.0, 8, 7, 29, 28, 27])
    groups = np.array([0, 0, 0, 1, 1, 1])
    for ranked in (False, True):
        assert found._within(x, y, groups, ranked) == pytest.approx(-1)
        assert found._within(x, y, np.zeros(6, dtype=int), ranked) > 0
    assert found._ranks(np.array([5.0, 1, 5]), np.zeros(3, dtype=int)) == pytest.approx(
        [2.5 / 3, 1 / 3, 2.5 / 3]
    )


def test_windows_of_equal_cost():
    rows = nets(*((f"n{k}", 0.70 + k / 1000, 1.0 + k / 1e4, f"d{k % 4}") for k in range(21)))
    timed = times(*((f"n{k}", 1e-3 * (1 + k)) for k in range(21)))
    table = found.windows(rows, timed).set_index("quantity")
    one = table.loc[found.TIME_AT_FLOPS]
    assert (one["nets"], one["designs"]) == (21, 4)
    assert one["begin"] <= 2e9 < one["end"] and one["end"] / one["begin"] == pytest.approx(1.2)
    # of 1 to 21 ms the 5th percentile is 2, the 95th is 20
    assert one["spread"] == pytest.approx(20 / 2)
    assert table.loc[found.TOP1_AT_FLOPS, "spread"] == pytest.approx(100 * (0.719 - 0.701))
    assert found.TOP1_AT_TIME not in table.index  # the times lie in windows of a few nets each


def test_thickness_is_the_median_window():
    tables = whole()
    bands = found.windows(tables["known_nets"], tables["published_times"])
    table = found.thickness(tables["known_nets"], tables["published_times"])
    assert len(table) == 1 + 2 * len(made.DEVICES)
    for row in table.itertuples():
        mine = bands[(bands["quantity"] == row.quantity) & (bands["device"] == row.device)]
        assert row.spread == pytest.approx(mine["spread"].median())
        assert row.least <= row.spread <= row.most and row.windows == len(mine) >= 5
        assert row.low < row.high
    thin = whole(0.0)
    none = found.thickness(thin["known_nets"], thin["published_times"])
    at_flops = none[none["quantity"] == found.TIME_AT_FLOPS]
    assert (at_flops["spread"] < found.WINDOW).all()


def test_devices_disagree_where_one_slows_nets_down_by_different_factors():
    rows = nets(*((f"n{k}", 0.7, 1.0, f"d{k % 4}") for k in range(21)))
    timed = times(
        *((f"n{k}", 1.0, "rtx4090") for k in range(21)),
        *((f"n{k}", 1.0 + k, "i7-12700h") for k in range(21)),
    )
    one = found.between_devices(rows, timed).iloc[0]
    assert (one["device"], one["other"], one["nets"]) == ("rtx4090", "i7-12700h", 21)
    assert one["factor"] == pytest.approx((1 / 2) / (1 / 20))
    assert found.between_devices(rows, timed.iloc[:20]).empty


def test_one_net_with_several_weights():
    rows = nets(
        made.net("a", 0.70, 1.0, weights="x_in1k"), made.net("a", 0.75, 1.0, weights="y_in1k"),
        made.net("a", 0.85, 1.0, weights="in21k_ft_in1k", data="more"), made.net("b", 0.9, 1.0),
    )  # fmt: skip
    one = found.same_net(rows)
    assert len(one) == 1
    assert one.loc[0, "spread_points"] == pytest.approx(100 * (0.75 - 0.70))
    assert (one.loc[0, "worst"], one.loc[0, "best"], one.loc[0, "weights"]) == (
        "x_in1k", "y_in1k", 2,
    )  # fmt: skip
    every = found.same_net(rows, None)
    assert every.loc[0, "spread_points"] == pytest.approx(100 * (0.85 - 0.70))
    gain = found.more_data(rows)
    assert len(gain) == 1 and gain.loc[0, "gain_points"] == pytest.approx(100 * (0.85 - 0.75))


def test_fronts_and_what_they_share():
    rows = nets(
        ("cheap", 0.60, 1.0), ("middle", 0.70, 2.0), ("beaten", 0.65, 3.0), ("dear", 0.80, 4.0)
    )
    timed = times(("cheap", 1.0), ("middle", 9.0), ("beaten", 2.0), ("dear", 8.0))
    table = found.fronts(rows, timed)
    assert list(table.loc[table["cost"] == "FLOPs", "net"]) == ["cheap", "middle", "dear"]
    assert list(table.loc[table["cost"] == "rtx4090", "net"]) == ["cheap", "beaten", "dear"]
    one = found.shared_fronts(rows, timed).iloc[0]
    assert (one["on_flops"], one["on_time"], one["on_both"], one["shared"]) == (3, 3, 2, 2 / 3)
    # cheap 1/1, middle 9/8, dear 8/8: the median is 1
    assert one["slower"] == 1


def test_our_own_times_are_medians_of_stable_repetitions_and_go_with_torchvision():
    rows = nets(
        made.net("a", 0.7, 1.0, source="torchvision", weights="IMAGENET1K_V1"), ("a", 0.8, 9.0)
    )
    own = pd.DataFrame(
        [
            made.here("a", 4.0, calls=2), made.here("a", 6.0, calls=2, repetition=1),
            made.here("a", 8.0, calls=2, repetition=2), made.here("a", 99.0, repetition=3,
                                                                   stable=False),
            made.here("a", 64.0, batch=32), made.here("a", 1.0, what="training"),
        ]
    )  # fmt: skip
    table = found.timed(rows, None, own)
    assert len(table) == 1
    assert (table.loc[0, "device"], table.loc[0, "image_s"], table.loc[0, "top1"]) == (
        found.HERE, 6.0 / 2, 0.7,
    )  # fmt: skip
    assert found.times_here(own, 32)["image_s"].tolist() == [64 / 32]


def test_findings_of_too_little_are_empty_and_no_fault():
    rows, timed = nets(("a", 0.7, 1.0), ("b", 0.8, 2.0)), times(("a", 1.0), ("b", 2.0))
    for make in (found.correlations, found.thickness, found.windows, found.between_devices):
        assert make(rows, timed).empty, make
    assert found.table_one(rows).empty and found.same_net(rows).empty
    assert len(found.shared_fronts(rows, timed)) == 1
    assert found.shared_fronts(rows, timed.head(0)).empty


# --- verdicts -------------------------------------------------------------------------------------


class Tables:
    """What a check asks of `records.Results`, without files."""

    where = "reference"

    def __init__(self, tables):
        self.tables = tables

    def table(self, name):
        self.record(name)
        return self.tables[name]

    def record(self, name):
        if name not in self.tables:
            raise records.MissingTableError(f"no run has written table {name!r}")
        return {"profile": "cpu", "data": []}

    def sha256(self, name):
        return str(self.record(name) and id(self.tables[name]))


def verdict(name, tables):
    """(ours, verdict, reason) of one claim of the post."""
    key = f"geifman/{name}"
    claim = next(c for c in claims.claims({key: checks.CHECKS[key]}) if c.key == key)
    return claims.evaluate(claim, Tables(tables))[:3]


OF_NETS = (
    "bigger_more_accurate", "positive_not_perfect_correlation", "same_cost_different_accuracy",
    "flops_do_not_fix_run_time",
)  # fmt: skip


def test_a_thick_cloud_agrees_with_the_post():
    got = {name: verdict(name, whole()) for name in OF_NETS}
    assert got["positive_not_perfect_correlation"][1] == verdicts.REPRODUCED
    assert got["same_cost_different_accuracy"][1] == verdicts.REPRODUCED
    for name in ("bigger_more_accurate", "flops_do_not_fix_run_time"):
        assert got[name][1].startswith(verdicts.UNDER_PROTOCOL), got[name]
    assert "480" not in got["bigger_more_accurate"][2]  # nets of several designs are no recipe
    assert "framework was not varied" in got["flops_do_not_fix_run_time"][1]


def test_a_thin_line_contradicts_it_but_for_the_order():
    got = {name: verdict(name, whole(0.0))[1] for name in OF_NETS}
    assert got["bigger_more_accurate"].startswith(verdicts.UNDER_PROTOCOL)
    for name in OF_NETS[1:]:
        assert got[name] == verdicts.DIFFERS, name


def test_accuracy_that_falls_with_size_contradicts_the_first():
    tables = whole()
    turned = tables["known_nets"].assign(top1=1.4 - tables["known_nets"]["top1"])
    assert verdict("bigger_more_accurate", {"known_nets": turned})[1] == verdicts.DIFFERS


def test_without_tables_or_with_one_device_nothing_is_said():
    few = whole()["published_times"]
    one = whole() | {"published_times": few[few["device"] == "rtx4090"]}
    assert verdict("compute_doubling_months_min", {})[1] == verdicts.NOT_YET
    for name in OF_NETS:
        assert verdict(name, {})[1] == verdicts.NOT_YET
        assert (verdict(name, one)[1] == verdicts.NOT_YET) == (name != "bigger_more_accurate"), name


def test_times_of_this_machine_are_not_needed():
    without = {name: table for name, table in whole().items() if name != "known_net_times"}
    for name in OF_NETS[2:]:
        assert verdict(name, without) == verdict(name, whole())


@pytest.mark.parametrize("end", ["min", "max"])
def test_the_doubling_lies_in_the_printed_range_for_openai_s_own_systems(end):
    ours, said, reason = verdict(f"compute_doubling_months_{end}", whole())
    assert 3 <= ours <= 4
    assert said.startswith(verdicts.UNDER_PROTOCOL) and "OpenAI" in said
    assert "not the choice" in reason and "only those that set a record (6): 3.5" in reason


def test_a_doubling_outside_of_the_range_differs():
    slower = made.systems()
    slower["petaflop_s_days"] **= 0.5
    tables = {"training_compute": slower}
    assert verdict("compute_doubling_months_max", tables)[1] == verdicts.DIFFERS


def test_the_cited_systems_become_a_table():
    rows = pd.DataFrame(known.training_compute())
    fits(rows, "training_compute")
    tables = {"training_compute": rows}
    ours, said, reason = verdict("compute_doubling_months_min", tables)
    assert 3 <= ours <= 4 and said.startswith(verdicts.UNDER_PROTOCOL)
    assert "records from AlphaGo Zero on (5)" in reason


# --- figures --------------------------------------------------------------------------------------


OF_FIGURES = ("known_nets", "published_times", "known_net_times")


@pytest.fixture(scope="module")
def drawn():
    tables = whole()
    figures = {
        name: spec.draw(*(tables[table] for table in spec.tables))
        for name, spec in pictures.KNOWN.items()
    }
    for figure in figures.values():
        style.caption(figure, "made up")
        figure.draw_without_rendering()
    return figures


@pytest.mark.parametrize("name", list(pictures.KNOWN))
def test_nothing_lies_outside_or_on_top_of_something_else(name, drawn):
    figure = drawn[name]
    assert figure_checks.is_inside(figure)
    assert figure_checks.colliding_parts(figure) == []
    assert figure_checks.colliding_words(figure) == []


def test_the_figure_of_training_draws_every_system(drawn):
    axis = drawn["05-training-compute"].axes[0]
    points = sum(len(line.get_xdata()) for line in axis.lines if line.get_marker() == "o")
    assert points == 27
    texts = {text.get_text() for text in axis.texts}
    assert set(training_compute._NAMED) <= texts


def test_panels_say_how_many_of_the_front_of_flops_are_fastest(drawn):
    tables = whole()
    shared = found.shared_fronts(*(tables[name] for name in OF_FIGURES)).set_index("device")
    axes = drawn["05-accuracy-time"].axes
    assert len(axes) == 3
    for axis, device in zip(axes, known_nets.PANELS, strict=True):
        one = shared.loc[device]
        words = f"{one['on_both']:.0f} of {one['on_flops']:.0f} rings on the line"
        assert axis.get_title(loc="left").endswith(words)


def test_figures_of_nothing_say_so():
    tables = {name: table.head(0) for name, table in whole().items()}
    for spec in pictures.KNOWN.values():
        if spec.tables:
            with pytest.raises(style.NothingToDrawError):
                spec.draw(*(tables[table] for table in spec.tables))


def test_this_machine_s_panel_may_be_missing():
    tables = whole() | {"known_net_times": whole()["known_net_times"].head(0)}
    spec = pictures.KNOWN["05-accuracy-time"]
    assert len(spec.draw(*(tables[table] for table in spec.tables)).axes) == 2


# --- the front to play with -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def page():
    return frontier.frontier(*(whole()[name] for name in OF_FIGURES))


def told(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])


def test_the_page_asks_for_nothing_from_elsewhere(page):
    assert not re.search(r"https?:|src=|@import|url\(", page)
    assert len(page) < 300_000


def test_every_point_is_in_the_picture_and_in_the_data(page):
    points = told(page)["points"]
    counted = found.counted(whole()["known_nets"], tuple(frontier.DATA))
    best = counted.drop_duplicates(["source", "net", "input_px", "data"])
    assert len(points) == page.count("<circle") == (best["top1"] >= frontier.LOWEST).sum()
    assert list(told(page)["axes"]) == ["FLOPs", found.HERE, *made.DEVICES]
    # those that the first picture does not show: more images, and torchvision's, which have no
    # place on timm's axis of FLOPs
    hidden = sum(1 for point in points if point[3] != "imagenet-1k" or point[4][0] is None)
    assert page.count('style="display:none"') == hidden > 0


def test_the_picture_without_a_script_has_the_front_of_flops(page):
    line = re.search(r'<polyline points="([^"]*)"', page)[1].split()
    fronts = found.fronts(whole()["known_nets"], whole()["published_times"])
    flops = fronts[(fronts["cost"] == found.FLOPS) & (fronts["top1"] >= frontier.LOWEST)]
    assert len(line) == len(flops)
    heights = [float(corner.split(",")[1]) for corner in line]
    assert heights == sorted(heights, reverse=True)  # ever more accurate


def test_a_name_cannot_end_the_script():
    rows = nets(("</script><b>", 0.7, 1.0), ("b", 0.8, 2.0))
    text = frontier.frontier(rows, times(("b", 1.0)))
    assert "</script><b>" not in text
    assert told(text)["points"][0][0] == "</script><b>"
