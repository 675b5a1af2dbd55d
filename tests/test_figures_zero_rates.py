"""Figures of notebook 03: what stands where, from whole tables and from thin ones."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import zero_rate_tables
from convcost import figures, records, sources
from convcost.chapters.relu_zero_rates import tables as schemas
from convcost.chapters.relu_zero_rates.figures import (
    SPECS,
    layer_times,
    lenet,
    pruning,
    sparsity,
    zero_rates,
)
from figure_checks import closed  # noqa: F401 - pytest finds it by its name


@pytest.fixture(scope="module")
def whole():
    return zero_rate_tables.tables()


# --- LeNet ---------------------------------------------------------------------------------------


def test_structure_shows_shapes_and_products():
    words = {text.get_text() for axis in lenet.structure().axes for text in axis.texts}
    assert {"1 × 28 × 28", "6 × 24 × 24", "6 × 12 × 12", "16 × 8 × 8", "16 × 4 × 4"} <= words
    assert {"120", "84", "10"} <= words
    assert f"24·24 · 5·5 · 6\n= {24 * 24 * 5 * 5 * 6:,}" in words
    assert f"8·8 · 5·5 · 6 · 16\n= {8 * 8 * 5 * 5 * 6 * 16:,}" in words
    assert f"256 · 120\n= {256 * 120:,}" in words


def test_structure_is_to_scale():
    upper = lenet.structure().axes[0]
    widths = [p.get_width() for p in upper.patches if hasattr(p, "get_width")]
    assert widths[: 1 + 6 + 6 + 16 + 16] == [28] + [24] * 6 + [12] * 6 + [8] * 16 + [4] * 16
    columns = [p.get_height() for p in upper.patches if hasattr(p, "get_height")][-3:]
    assert columns[1] / columns[0] == pytest.approx(84 / 120)
    assert columns[2] / columns[0] == pytest.approx(10 / 120)


def _luminance(colour) -> float:
    """Relative luminance of sRGB, as in WCAG 2: what is left in grey print."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_zeros_stand_out_in_grey_print_and_positive_levels_grow_lighter():
    light = np.array([_luminance(colour) for colour in lenet.LEVEL_COLOURS.colors])
    assert len(light) == 256
    assert (light[1:].min() + 0.05) / (light[0] + 0.05) > 3  # contrast that WCAG asks of graphics
    assert (np.diff(light[1:]) > 0).all()


def test_digit_maps_show_every_byte_of_the_table(whole):
    maps = whole["activation_maps"]
    axis = lenet.digit_maps(maps).axes[0]
    shown = maps[maps["layer"].isin(["image", "conv1"])]
    wanted = sorted(_levels(row).tobytes() for row in shown.itertuples())
    assert sorted(np.asarray(p.get_array()).tobytes() for p in axis.images) == wanted
    conv1 = shown[shown["layer"] == "conv1"].sort_values(["filter", "digit"])
    words = [text.get_text() for text in axis.texts]
    assert sorted(words) == sorted(f"{100 * zeros / 24**2:.0f} %" for zeros in conv1["zeros"])


def _levels(row) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(row.levels), dtype=np.uint8)
    return flat.reshape(row.side_px, row.side_px)


# --- pick a digit --------------------------------------------------------------------------------


class Elements(HTMLParser):
    """All elements of a text, with their attributes; refuses what is not closed."""

    VOID = ("img", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def fragment(whole):
    return lenet.pick_a_digit(whole["activation_maps"])


def test_a_reader_picks_one_of_ten_digits(fragment):
    inputs = Elements(fragment).all("input")
    assert [i["value"] for i in inputs] == [str(digit) for digit in range(10)]
    assert {i["type"] for i in inputs} == {"radio"}
    assert ["checked" in i for i in inputs] == [True] + [False] * 9
    for digit in range(10):
        assert f":has(input[value='{digit}']:checked) .d{digit}" in fragment


def test_two_on_a_page_do_not_clash(fragment):
    """Names of radio buttons are the form's own, and there is no id that could stand twice."""
    elements = Elements(fragment + fragment)
    assert len(elements.all("form")) == 2
    assert not [a for _, a in elements.found if "id" in a or "for" in a or "form" in a]
    tags = [tag for tag, _ in elements.found]
    assert tags.index("form") < tags.index("input")  # every button is inside of its form


def test_the_fragment_is_self_contained(fragment):
    elements = Elements(fragment)
    assert elements.all("script") == elements.all("link") == []
    assert not re.search(r"\bon\w+=|javascript:|https?:|url\(", fragment)
    assert {i["src"].split(",")[0] for i in elements.all("img")} == {"data:image/png;base64"}


def test_every_picture_has_words(whole, fragment):
    pictures = Elements(fragment).all("img")
    assert len(pictures) == 10 * (1 + 6)
    maps = whole["activation_maps"]
    (row,) = maps[
        (maps["layer"] == "conv1") & (maps["digit"] == 3) & (maps["filter"] == 2)
    ].itertuples()
    share = f"{100 * row.zeros / 24**2:.0f} % zeros"
    (picture,) = [p for p in pictures if p["alt"] == f"conv1, filter 2, digit 3: {share}"]
    shown = np.asarray(_png(picture).convert("RGB"))
    zero = np.round(255 * np.array(lenet.LEVEL_COLOURS.colors[0])).astype(np.uint8)
    assert ((shown == zero).all(axis=2) == (_levels(row) == 0)).all()


def _png(picture) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture["src"].split(",")[1])))


def test_even_noise_stays_below_200_kb(whole):
    rng = np.random.default_rng(0)
    noise = whole["activation_maps"].copy()
    noise["levels"] = [
        base64.b64encode(rng.integers(0, 256, side * side, dtype=np.uint8).tobytes()).decode()
        for side in noise["side_px"]
    ]
    assert len(lenet.pick_a_digit(noise)) < 200_000


# --- zero rates ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "filters"), [("conv1", 6), ("conv2", 16)])
def test_each_filter_is_a_line_of_seed_0(whole, layer, filters):
    table = whole["filter_zero_rates"]
    left, right = zero_rates.by_filter(table, layer).axes
    mine = table[(table["layer"] == layer) & (table["seed"] == 0)]
    lines = {line.get_label(): line.get_ydata() for line in left.lines}
    for number in range(filters):
        rows = mine[mine["filter"] == number].sort_values("digit")
        assert (lines[f"filter {number}"] == rows["zeros"] / rows["total"]).all()
    mean = [lines[f"filter {number}"] for number in range(filters)]
    assert lines["mean"] == pytest.approx(np.mean(mean, axis=0))
    assert "100 images a digit" in left.get_title(loc="left")
    ranked = {line.get_label(): line.get_ydata() for line in right.lines}["seed 0"]
    assert ranked == pytest.approx(sorted(np.mean(mean, axis=1), reverse=True))


def test_heat_map_is_sorted_and_says_its_numbers(whole):
    for axis, count in zip(
        zero_rates.heat_map(whole["filter_zero_rates"]).axes[:2], (6, 16), strict=True
    ):
        rates = np.asarray(axis.images[0].get_array())
        assert rates.shape == (count, 10 + 1)
        assert (np.diff(rates[:, -1]) <= 0).all()
        words = [text.get_text() for text in axis.texts]
        assert words == [f"{100 * rate:.0f}" for rate in rates.ravel()]


def test_the_papers_rates_and_their_percentiles_stand_beside_ours(whole):
    axis = zero_rates.over_seeds(whole["layer_zero_rates"], whole["filter_zero_rates"]).axes[0]
    lines = [
        line for line in axis.lines if line.get_color() == "#a50026" and len(line.get_xdata()) == 2
    ]
    assert [line.get_xdata()[0] for line in lines] == [0.35, 0.55, 0.47, 0.33, 0.50]
    shares = zero_rates.findings.layer_shares(whole["layer_zero_rates"])
    conv1 = shares[
        (shares["layer"] == "conv1")
        & (shares["training"] == shares["training"].iloc[0])
        & (shares["initialisation"] == "torch default")
        & (shares["normalisation"] == "-1..1")
    ]["zero_fraction"]
    percentile = 100 * (conv1 < 0.35).mean()
    assert 0 < percentile < 100
    assert axis.texts[0].get_text() == f"paper: 35 %\npercentile {percentile:.0f}"
    assert axis.texts[4].get_text().startswith("paper: over 50 %")


def test_a_value_beyond_every_net_is_said_to_be(whole):
    rates = whole["layer_zero_rates"].copy()
    rates.loc[rates["layer"] == "fc84", "zeros"] = rates["total"]
    axis = zero_rates.over_seeds(rates, whole["filter_zero_rates"]).axes[0]
    assert axis.texts[3].get_text() == "paper: 33 %\nbelow every net"


def test_dark_pixels_of_digit_1_and_of_all_have_the_papers_lines(whole):
    left = zero_rates.dark_pixels(whole["filter_zero_rates"], whole["dark_pixels"]).axes[0]
    lines = [line for line in left.lines if line.get_color() == "#a50026"]
    assert [(sum(line.get_xdata()) / 2, line.get_ydata()[0]) for line in lines] == [
        (1, 0.88),
        (9 + 1.5, 0.80),
    ]
    series = {line.get_label(): line for line in left.lines}
    rows = whole["dark_pixels"]
    rows = rows[(rows["preparation"] == "as it is") & (rows["chosen"] == "all")]
    drawn = series["as it is, all test images"].get_ydata()
    assert drawn[:10] == pytest.approx(rows["dark"] / rows["total"])
    assert drawn[10] == pytest.approx(rows["dark"].sum() / rows["total"].sum())


# --- time ----------------------------------------------------------------------------------------


def test_table_i_stands_beside_our_times(whole):
    left, right = layer_times.layer_times(whole["layer_times"]).axes
    by_label = {line.get_label(): line for line in left.lines}
    printed = by_label["the paper's Table I"].get_xdata()
    assert printed[0] == 1.08167e-3 and sum(printed) == pytest.approx(1.9177555e-3)
    paper = [line for line in right.lines if line.get_color() == "#a50026"]
    points = set(zip(paper[0].get_xdata(), paper[0].get_ydata(), strict=True))
    assert (24 * 24 * 5 * 5 * 6, 1.08167e-3) in points
    assert (8 * 8 * 5 * 5 * 6 * 16, 1.14701e-4) in points
    hollow = [line for line in paper if line.get_markerfacecolor() == "white"]
    assert [(*line.get_xdata(), *line.get_ydata()) for line in hollow] == [
        (8 * 8 * 5 * 5 * 16, 1.14701e-4)
    ]


def test_cold_start_draws_each_process_and_the_average_of_1000(whole):
    table = whole["cold_layer_times"]
    left, right = layer_times.cold_start(table).axes
    ticks = [line for line in left.lines if line.get_marker() == "|"]
    assert [len(line.get_xdata()) for line in ticks] == [7 * 10, 7 * 10]
    series = {line.get_label(): line.get_xdata() for line in right.lines}
    conv1 = table[table["layer"] == "conv1"][["first_s", "later_s"]].median()
    average = (conv1["first_s"] + 999 * conv1["later_s"]) / 1000
    assert series["with the first call"][0] == pytest.approx(average)
    assert series["without the first call"][0] == pytest.approx(conv1["later_s"])


# --- fewer filters -------------------------------------------------------------------------------


def test_accuracy_has_a_curve_for_each_criterion_and_panel(whole):
    axes = pruning.accuracy(whole["pruned_nets"]).axes
    titles = [axis.get_title(loc="left") for axis in axes]
    assert titles == [
        "conv1, as cut", "conv1, fine-tuned afterwards",
        "conv2, as cut", "conv2, fine-tuned afterwards",
    ]  # fmt: skip
    counts = [(0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4), (0, 3, 6, 9, 12), (0, 6)]
    for axis, removed in zip(axes, counts, strict=True):
        curves = {line.get_label(): line for line in axis.lines}
        for criterion in ("highest zero rate", "smallest L1 norm", "random"):
            assert tuple(curves[criterion].get_xdata()) == removed
    kept = 6 * 5 * 5 * 24 * 24 // 6 * 4 + 8 * 8 * 5 * 5 * 4 * 16 + 256 * 120 + 120 * 84 + 84 * 10
    share = 1 - kept / (86_400 + 153_600 + 30_720 + 10_080 + 840)
    assert axes[0].get_xticklabels()[2].get_text() == f"2\n{100 * share:.0f} %"


def test_the_net_from_new_weights_is_shown_where_it_was_trained(whole):
    axes = pruning.accuracy(whole["pruned_nets"]).axes
    labels = [axis.get_legend_handles_labels()[1] for axis in axes]
    assert ["trained small from scratch" in found for found in labels] == [
        False, True, False, False,
    ]  # fmt: skip


def test_a_panel_without_measurements_says_so():
    thin = zero_rate_tables.tables(**zero_rate_tables.QUICK)["pruned_nets"]
    for draw in (pruning.accuracy, pruning.differences):
        words = [[text.get_text() for text in axis.texts] for axis in draw(thin).axes]
        assert words == [[], [], [], ["not measured in this run"]]


def test_differences_are_those_of_the_pairs(whole):
    nets = whole["pruned_nets"]
    axis = pruning.differences(nets).axes[0]
    drawn = {c.get_label(): c.lines[0].get_ydata() for c in axis.containers}
    chosen = nets[(nets["layer"] == "conv1") & (nets["removed"] == 5) & ~nets["fine_tuned"]]
    table = chosen.pivot(index="seed", columns="criterion", values="test_correct") / 10_000
    wanted = 100 * (table["highest zero rate"] - table["random"]).mean()
    assert drawn["highest zero rate minus random"][-1] == pytest.approx(wanted)


def test_the_papers_two_savings_stand_at_two_filters_of_conv1(whole):
    left, right = pruning.savings(whole["pruned_nets"], whole["pruned_times"]).axes
    points = {line.get_label(): line for line in left.lines}
    for label, share in (
        ("the paper: multiplications of conv1", 0.23),
        ("the paper: run time", 0.097),
    ):
        assert (*points[label].get_xdata(), *points[label].get_ydata()) == pytest.approx((2, share))
    assert not [line for line in right.lines if line.get_color() == "#a50026"]
    of_layer = points["multiplications of the layer"]
    assert dict(zip(of_layer.get_xdata(), of_layer.get_ydata(), strict=True))[2] == pytest.approx(
        2 / 6
    )


# --- beyond LeNet --------------------------------------------------------------------------------


def test_only_alexnet_has_the_posts_band(whole):
    figure = sparsity.net_zero_rates(whole["net_zero_rates"], whole["skippable_macs"])
    bands = {a.get_title(loc="left"): [p.get_bbox() for p in a.patches] for a in figure.axes}
    assert list(bands) == ["AlexNet", "VGG16", "ResNet18", "GoogLeNet"]
    (band,) = bands.pop("AlexNet")
    assert (band.y0, band.y1) == pytest.approx((0.19, 0.63))
    assert not any(bands.values())


def test_absent_nets_have_no_panel():
    thin = zero_rate_tables.tables(nets=("vgg16", "googlenet", "alexnet"), seeds=2, varied_seeds=1)
    figure = sparsity.net_zero_rates(thin["net_zero_rates"], thin["skippable_macs"])
    shown = [axis for axis in figure.axes if axis.axison]
    assert [a.get_title(loc="left") for a in shown] == ["AlexNet", "VGG16", "GoogLeNet"]


def test_each_shape_says_from_which_zero_rate_a_method_pays(whole):
    sweep = whole["sparse_sweep"]
    sweep = sweep.assign(seconds=1.0 * sweep["calls"])
    sweep.loc[sweep["method"] != "dense", "seconds"] *= 2
    rate = sweep["zero_rate"]
    sums = sweep["method"] == "row sums"
    # all take twice the dense time, but this one half of it at 75 %, a line in the logarithm
    sweep.loc[sums, "seconds"] *= 4.0 ** -(rate[sums] / 0.75)
    figure = sparsity.sparse_speed_up(sweep, whole["sparse_layers"])
    for axis in figure.axes[:6]:
        assert [text.get_text() for text in axis.texts] == ["pays from 38 %\n(row sums)"]
        marks = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "|"]
        assert marks == pytest.approx([1 / (1 - 0.375)])
        curves = {line.get_label(): line for line in axis.lines}
        at = list(sorted(set(rate))).index(0.5)
        assert curves["row sums"].get_xdata()[at] == 1 / (1 - 0.5)
        assert curves["row sums"].get_ydata()[at] == pytest.approx(2 ** (2 * 0.5 / 0.75 - 1))


def test_whole_nets_are_larger_than_their_layers(whole):
    wide = sparsity.sparse_speed_up(whole["sparse_sweep"], whole["sparse_layers"]).axes[-1]
    large = [line for line in wide.lines if line.get_markersize() == 13]
    assert len(large) == 4 + 2  # LeNet at two batch sizes
    assert {len(line.get_xdata()) for line in large} == {1}


def test_the_table_of_the_paper_is_read_and_not_typed(monkeypatch, whole):
    """A changed published value moves the picture: nothing printed stands in the code."""
    real = sources.value
    monkeypatch.setattr(
        sources, "value", lambda key, name: 40 if name == "zero_rate_conv1" else real(key, name)
    )
    axis = zero_rates.over_seeds(whole["layer_zero_rates"], whole["filter_zero_rates"]).axes[0]
    assert axis.texts[0].get_text().startswith("paper: 40 %")


def test_a_run_gives_its_own_maps_to_pick_from(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(records.paths, "LOCAL_RESULTS", tmp_path)
    run = records.start_run("03-relu-zero-rates", "quick", where="local")
    run.write("activation_maps", whole["activation_maps"])
    assert figures.pick_a_digit(run) == lenet.pick_a_digit(whole["activation_maps"])


def test_thin_tables_are_what_the_study_writes_at_quick_scale():
    tables = zero_rate_tables.tables(**zero_rate_tables.QUICK)
    drawn = {name for spec in SPECS.values() for name in spec.tables}
    assert drawn <= set(tables) <= set(schemas.TABLES)
    assert all(isinstance(table, pd.DataFrame) and len(table) for table in tables.values())
