"""Figures of notebook 04: what stands where, from whole tables and from thin ones."""

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import complexity_tables
from convcost.chapters.complexity_precision import figures as complexity_precision
from convcost.chapters.complexity_precision import findings
from convcost.chapters.complexity_precision.figures import held_out, precision_curves
from convcost.chapters.complexity_precision.findings import (
    cheapest,
    costs,
    paper,
    precision,
    printed,
    rows,
)
from convcost.chapters.complexity_precision.findings.held_out import SHOWN
from convcost.figures import style
from figure_checks import closed  # noqa: F401 - pytest finds it by its name


@pytest.fixture(scope="module")
def whole():
    return complexity_tables.tables()


def together(tables):
    """All trainings, those of further seeds, too."""
    return findings.together(tables["configuration_trainings"], tables["repeated_trainings"])


def figure_of(name, tables):
    spec = complexity_precision.SPECS[name]
    return spec.draw(*(tables[table] for table in spec.tables))


def points(axis, colour, marker, white=False) -> np.ndarray:
    """Where the marks of a look stand."""
    return np.concatenate(
        [
            line.get_xydata()
            for line in axis.lines
            if to_hex(line.get_color()) == to_hex(colour)
            and line.get_marker() == marker
            and (line.get_markerfacecolor() == "white") == white
        ]
        or [np.empty((0, 2))]
    )


# --- looks ---------------------------------------------------------------------------------------


def test_models_differ_in_grey_print():
    for names in (costs.SHOWN, SHOWN):
        looks = [held_out.LOOKS[name] for name in names]
        assert len({marker for _, marker, _ in looks}) == len({line for *_, line in looks})
        assert len({marker for _, marker, _ in looks}) == len(names)


# --- run time and precision of held-out nets -----------------------------------------------------


def test_held_out_nets_stand_at_what_was_measured_and_predicted(whole):
    figure = figure_of("04-complexity", whole)
    every = findings.complexities(whole["forward_times"], whole["configuration_trainings"])
    floor = findings.cost_noise(whole["forward_times"], whole["configuration_trainings"])
    for number, name in enumerate(costs.SHOWN):
        table = every[(every["model"] == name) & (every["set"] == rows.HELD_OUT)]
        top, bottom = figure.axes[number], figure.axes[number + 3]
        colour, marker, _ = held_out.LOOKS[name]
        assert top.get_title(loc="left") == name
        assert points(top, colour, marker) == pytest.approx(
            table[["complexity", "predicted"]].to_numpy()
        )
        assert points(bottom, colour, marker) == pytest.approx(
            table[["complexity", "error_percent"]].to_numpy()
        )
        mean = table["error_percent"].abs().mean()
        assert f"{len(table)} held out: mean {mean:.3g} %" in top.texts[0].get_text()
        dotted = [line.get_ydata()[0] for line in bottom.lines if line.get_linestyle() == ":"]
        assert dotted == pytest.approx([-floor["mean_percent"], floor["mean_percent"]])
    band = figure.axes[3].patches[0].get_extents().transformed(figure.axes[3].transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((-2.5, 2.5))


def test_precision_has_binomial_bars_and_the_constant(whole):
    figure = figure_of("04-precision", whole)
    trainings = together(whole)
    table = findings.predictions(trainings, (*SHOWN, precision.CONSTANT))
    table = table[table["set"] == rows.HELD_OUT]
    constant = table.loc[table["model"] == precision.CONSTANT, "predicted"].iloc[0]
    for axis, name in zip(figure.axes[:2], SHOWN, strict=True):
        colour, marker, _ = held_out.LOOKS[name]
        mine = table[table["model"] == name]
        expected = mine[["measured", "predicted"]].to_numpy()
        assert points(axis, colour, marker) == pytest.approx(expected)
        (bars,) = (c for c in axis.collections if hasattr(c, "get_segments"))
        ends = np.array([segment[:, 0] for segment in bars.get_segments()])
        p = mine["measured"].to_numpy()
        half = 1.96 * np.sqrt(p * (1 - p) / sum(complexity_tables.IMAGES))
        assert ends[:, 1] - ends[:, 0] == pytest.approx(2 * half)
        (level,) = (line for line in axis.lines if line.get_linestyle() == ":")
        assert level.get_ydata()[0] == pytest.approx(constant)


def test_models_have_a_row_each_worst_below(whole):
    left, right = figure_of("04-models", whole).axes
    table = findings.models(together(whole), folds=0)
    table = table.set_index("model")
    worst_first = table["held_out_percent"].sort_values(ascending=False)
    shown = points(left, style.PALETTE[0], "o")
    assert shown[:, 0] == pytest.approx(worst_first.to_numpy())
    labels = [label.get_text().replace("\n", " ") for label in left.get_yticklabels()]
    assert len(labels) == len(table) and labels[-1] == worst_first.index[-1]
    lines = {line.get_xdata()[0] for line in left.lines if len(set(line.get_xdata())) == 1}
    constant = table.loc[precision.CONSTANT, "held_out_percent"]
    for x in (constant, constant / 2, 3.1):
        assert any(x == pytest.approx(line) for line in lines)
    ranked = table.loc[worst_first.index, "spearman"].to_numpy(dtype=float)
    assert points(right, style.PALETTE[0], "o")[:, 0] == pytest.approx(ranked, nan_ok=True)


# --- curves and grids ----------------------------------------------------------------------------


def test_lines_show_seeds_means_the_fit_and_the_constant(whole):
    trainings = whole["configuration_trainings"]
    figure = figure_of("04-one-parameter", whole)
    lines, curves = findings.lines(trainings), findings.curves(trainings)
    seeds = rows.training_rows(trainings)
    for axis, name in zip(figure.axes, printed.NAMES, strict=True):
        mine = lines[lines["parameter"] == name].dropna(subset=["mean"])
        expected = mine[["value", "mean"]].to_numpy()
        assert points(axis, style.PALETTE[0], "o") == pytest.approx(expected)
        dots = seeds[rows.varies_only(seeds, [name])]
        assert len(points(axis, "0.35", ".")) == len(dots)
        (fit,) = (line for line in axis.lines if line.get_linestyle() == "--")
        expected = curves.loc[curves["parameter"] == name, "fitted"]
        assert fit.get_ydata() == pytest.approx(expected)
        (level,) = (line for line in axis.lines if line.get_linestyle() == ":")
        images = complexity_tables.IMAGES
        assert level.get_ydata()[0] == pytest.approx(max(images) / sum(images))


def test_what_table_i_gives_at_the_baseline_stands_in_words(whole):
    words = [axis.texts[0].get_text() for axis in figure_of("04-one-parameter", whole).axes]
    for text, share in zip(words, ("119.7", "34.69", "−2.308", "253.2"), strict=True):
        assert text.startswith(f"Table I at T0: {share} % ")


def test_grids_have_the_numbers_of_the_surfaces(whole):
    figure = figure_of("04-two-parameters", whole)
    table = findings.surfaces(whole["configuration_trainings"])
    for row, names in enumerate(printed.TABLE_II):
        mine = table[table["model"] == printed.label(names)]
        for column, name in enumerate(("precision", "fitted", "residual")):
            axis = figure.axes[3 * row + column]
            wide = mine.pivot(index="value", columns="filters", values=name)
            shown = np.ma.filled(axis.images[0].get_array(), np.nan)
            assert shown == pytest.approx(wide.to_numpy(), nan_ok=True)
            assert len(axis.texts) == wide.notna().sum().sum()
            if column == 0:
                labels = [label.get_text() for label in axis.get_yticklabels()]
                assert labels == [str(value) for value in wide.index]
    scales = {axis.images[0].get_clim() for axis in figure.axes[:9] if axis.images}
    assert len(scales) == 2  # one of accuracy, one of what is left
    lost = complexity_tables.DIVERGED
    gap = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    assert np.isnan(gap).sum() == 1 and lost.kernel_px == 5


def test_printed_coefficients_are_framed_where_they_are_near(whole):
    (axis, _) = figure_of("04-printed-coefficients", whole).axes
    words = [text.get_text() for text in axis.texts]
    assert {"0.955", "−31.112", "0.773", "1.197"} <= set(words)
    near = findings.readings()["off_percent"].abs() <= 3.1
    assert len(axis.patches) == near.sum() > 0


# --- the cheapest --------------------------------------------------------------------------------


def test_chosen_nets_stand_where_predicted_and_where_trained(whole):
    _, right = figure_of("04-frontier", whole).axes
    table = findings.optima(whole["chosen_optima"], together(whole), whole["forward_times"])
    table = table[(table["grid"] == cheapest.INTEGERS) & (table["status"] == "found")]
    for name in SHOWN:
        colour, marker, _ = held_out.LOOKS[name]
        mine = table[table["model"] == name]
        for white, pair in (
            (True, ["predicted_accuracy", "predicted_complexity"]),
            (False, ["accuracy", "complexity"]),
        ):
            expected = mine[pair].to_numpy(dtype=float)
            assert points(right, colour, marker, white) == pytest.approx(expected)
    targets = whole["chosen_optima"]["target_accuracy"].unique()
    dotted = [line.get_xdata()[0] for line in right.lines if line.get_linestyle() == ":"]
    assert sorted(dotted) == pytest.approx(sorted(targets))
    ((x, y),) = points(right, style.PAPER_COLOUR, "P")
    base = findings.baseline(together(whole)).set_index("what")
    assert (x, y) == pytest.approx((base.loc["mean", "accuracy"] - 0.02, 0.1))


def test_savings_are_factors_and_who_misses_the_target_is_crossed():
    tables = complexity_tables.tables(lost=0.03, drops=(0.5, 2))
    seconds, macs, lost = figure_of("04-savings", tables).axes
    table = findings.savings(tables["chosen_optima"], together(tables), tables["forward_times"])
    for axis, column in ((seconds, "saving_s"), (macs, "saving_macs"), (lost, "lost_points")):
        for model in SHOWN:
            colour, marker, _ = held_out.LOOKS[model]
            mine = table[table["way"] == f"{model}, {cheapest.INTEGERS}"]
            assert points(axis, colour, marker)[:, 1] == pytest.approx(mine[column].to_numpy())
        crossed = points(axis, "black", "x")
        missed = table[~table["reaches"].astype(bool)]
        ours = missed["way"].str.endswith(cheapest.INTEGERS)
        assert len(crossed) == ours.sum() > 0
    hollow = points(seconds, *held_out.LOOKS[precision.EQ6][:2], white=True)
    chosen = tables["chosen_optima"]
    mine = chosen[(chosen["model"] == precision.EQ6) & (chosen["grid"] == cheapest.INTEGERS)]
    assert hollow[:, 1] == pytest.approx(1 / mine["predicted_complexity"].to_numpy(dtype=float))
    level = [line for line in seconds.lines if line.get_color() == style.PAPER_COLOUR]
    assert {line.get_ydata()[0] for line in level} == {paper.value("complexity_reduction")}


def test_a_target_that_no_net_reaches_says_none(whole):
    seconds = figure_of("04-savings", whole).axes[0]
    assert [text.get_text() for text in seconds.texts] == ["none"] * len(SHOWN)


def test_without_any_choice_the_frontier_is_still_drawn(whole):
    none = whole | {"chosen_optima": whole["chosen_optima"].head(0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("04-frontier", "04-savings"):
            figure_of(name, none).draw_without_rendering()


def test_what_an_earlier_default_chose_is_drawn(whole):
    chosen = whole["chosen_optima"].replace({"model": {precision.DEFAULT: "monotone boosting"}})
    seconds = figure_of("04-savings", whole | {"chosen_optima": chosen}).axes[0]
    assert len(points(seconds, *held_out.OTHER[:2], white=True)) == 2
    right = figure_of("04-frontier", whole | {"chosen_optima": chosen}).axes[1]
    assert len(points(right, *held_out.OTHER[:2], white=True)) == 2


def test_axis_values_leave_room_for_their_names():
    thinned = precision_curves._thinned(pd.Series([64, 48, 4, 2]))
    assert thinned == [64, 48, 4]
