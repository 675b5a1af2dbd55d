"""Findings of notebook 04, on tables made from known equations; scipy is the referee."""

import doctest
import importlib
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import complexity_tables
from complexity_tables import DIVERGED, UNSTABLE, eq1, eq6
from convcost.chapters.complexity_precision import findings as found
from convcost.chapters.complexity_precision.findings import (
    cheapest,
    complexity,
    configurations,
    precision,
    printed,
    rows,
)
from convcost.chapters.complexity_precision.findings.configurations import BASELINE, NAMES
from convcost.core.errors import BadInputError

KEY = list(NAMES)
T0 = {"filters": 64, "input_px": 64, "kernel_px": 5, "layers": 3}


@pytest.mark.parametrize("module", ["paper", "configurations", "printed"])
def test_examples_in_docstrings_hold(module):
    place = f"convcost.chapters.complexity_precision.findings.{module}"
    result = doctest.testmod(importlib.import_module(place))
    assert result.attempted and not result.failed


@cache
def world(**changes):
    return complexity_tables.tables(**changes)


def some(*names, **changes):
    return [world(**changes)[name] for name in names]


FORWARD, TRAINED, CHOSEN = "forward_times", "configuration_trainings", "chosen_optima"


def is_net(table, one):
    return (table[KEY] == [getattr(one, name) for name in NAMES]).all(axis=1)


def training(seed, female, male, role="1-D", status="done", **net):
    """One training, tested on 10 images of class 0 and 30 of class 1."""
    row = T0 | {"seed": seed, "role": role, "status": status} | net
    if status == "done" and female is not None:
        for split in ("validation", "test"):
            row |= {f"{split}_class0_images": 10, f"{split}_class0_correct": female}
            row |= {f"{split}_class1_images": 30, f"{split}_class1_correct": male}
    return row


def trainings(*told):
    return complexity_tables._typed(list(told), TRAINED)


# --- the faces and the baseline --------------------------------------------------------------


def test_the_balance_of_the_classes():
    table = found.balance(*some("face_splits")).set_index(["split", "label"])
    assert table.loc[("train", "male"), "share"] == 7_000 / 9_000
    assert table.loc[("test", "all"), ["images", "people", "share"]].tolist() == [2_000, 870, 1]
    assert table.index.get_level_values("split").unique().tolist() == [
        "train", "validation", "test",
    ]  # fmt: skip


def test_no_names_are_no_people_and_not_none_of_them():
    splits = world()["face_splits"].copy()
    splits.loc[splits["split"] == "test", "people"] = pd.NA
    table = found.balance(splits).set_index(["split", "label"])["people"]
    assert table["test"].isna().all() and table["train"].notna().all()


def test_the_constant_predictor_names_the_commonest_class_of_the_training_images():
    table = found.constants(*some("face_splits")).set_index("split")
    assert table.loc["test", "accuracy"] == table.loc["test", "male_precision"] == 1_500 / 2_000
    assert (table["balanced_accuracy"] == 0.5).all() and (table["named"] == "male").all()
    splits = world()["face_splits"].copy()
    splits.loc[splits["split"] == "train", "images"] = [7_000, 2_000]
    other = found.constants(splits).set_index("split")
    assert other.loc["test", "accuracy"] == 500 / 2_000  # it does not look at the test images
    assert other["male_precision"].isna().all()


def test_recipes_by_accuracy_on_the_validation_split_a_failed_one_last():
    table = found.recipes(*some("recipe_trials"))
    assert table["accuracy"].tolist()[:2] == [(1_200 - 60) / 1_200, (1_200 - 120) / 1_200]
    assert table["chosen"].tolist() == [True, False, False]
    last = table.iloc[-1]
    assert (last["seeds"], last["failed"]) == (0, 1) and np.isnan(last["accuracy"])


def test_the_baseline_by_seed_and_its_referees():
    table = found.baseline(
        trainings(
            training(0, 8, 30), training(1, 9, 27), training(2, None, None, status="diverged"),
            training(4, 0, 0, role="optimum"), training(0, 1, 1, filters=2),
        )
    ).set_index("what")  # fmt: skip
    assert table.index.tolist() == [
        "seed 0", "seed 1", "mean", "standard deviation", "constant predictor", "Ke, Cao & Lv",
    ]  # fmt: skip
    assert table["accuracy"].tolist()[:3] == [38 / 40, 36 / 40, (38 + 36) / 80]
    assert table.loc["seed 1", "balanced_accuracy"] == pytest.approx((9 / 10 + 27 / 30) / 2)
    assert table.loc["seed 0", "male_precision"] == 30 / (30 + 2)
    assert table.loc["constant predictor", "accuracy"] == 30 / 40
    assert table.loc["standard deviation", "accuracy"] == pytest.approx(np.std([0.95, 0.9], ddof=1))
    assert table.loc["Ke, Cao & Lv", "accuracy"] == 0.95


def test_of_one_seed_no_spread_is_known():
    table = found.baseline(trainings(training(0, 8, 30))).set_index("what")
    assert np.isnan(table.loc["standard deviation", "accuracy"])
    assert table.loc["mean", "accuracy"] == 38 / 40


# --- one and two parameters ------------------------------------------------------------------


def test_lines_hold_the_seeds_of_the_plan_and_say_who_diverged():
    table = found.lines(
        trainings(
            training(0, 8, 30), training(1, 9, 27), training(0, 7, 27, filters=2),
            training(1, None, None, filters=2, status="diverged"),
            training(0, 0, 0, role="held out", filters=4),
            training(5, 0, 0, role="optimum", filters=2),
            training(0, 5, 5, role="2-D", filters=2, input_px=12),
        )
    ).set_index(["parameter", "value"])  # fmt: skip
    assert table.index.tolist() == [
        ("filters", 64), ("filters", 2), ("input_px", 64), ("kernel_px", 5), ("layers", 3),
    ]  # fmt: skip
    two = table.loc[("filters", 2)]
    assert (two["mean"], two["n"], two["not_done"], two["share"]) == (34 / 40, 1, 1, 2 / 64)
    assert np.isnan(two["sd"])
    own = table.loc[("layers", 3)]
    assert (own["low"], own["high"], own["n"]) == (36 / 40, 38 / 40, 2)


def test_a_value_at_which_all_diverged_is_there_and_empty():
    told = [training(0, 8, 30), training(0, None, None, filters=2, status="diverged")]
    table = found.lines(trainings(*told)).set_index(["parameter", "value"])
    assert table.loc[("filters", 2), "n"] == 0 and np.isnan(table.loc[("filters", 2), "mean"])


def test_the_curves_follow_the_equation_that_made_the_data():
    table = found.curves(*some(TRAINED, noise=0.0))
    for name in ("filters", "input_px"):
        own = table[table["parameter"] == name]
        nets = pd.DataFrame([T0] * len(own)).astype(float)
        nets[name] = own["value"].to_numpy()
        assert np.abs(own["fitted"].to_numpy() - eq6(nets)).max() < 2e-3
    spans = table.groupby("parameter")["value"].agg(["min", "max"])
    assert spans.loc["filters"].tolist() == [2, 64]


def test_the_printed_curves_are_table_i():
    table = found.printed_curves()
    row = table[(table["parameter"] == "filters") & (table["value"] == 64)]
    by_hand = {
        "gamma is the value (64, 64, 5, 3)": 0.9259 * np.exp(0.02671 / 64) - 0.1088 * 64 + 0.3551,
        "gamma is the share of the baseline (1)": 0.9259 * np.exp(0.02671) - 0.1088 + 0.3551,
    }
    assert dict(zip(row["reading"], row["precision"], strict=True)) == pytest.approx(by_hand)


def test_what_passes_through_all_its_points_is_not_testable():
    table = found.equation_fits(*some(TRAINED)).set_index("model")
    assert table["testable"].to_dict() == {
        "P(f)": True, "P(s)": True, "P(k)": False, "P(l)": False,
        "P(f, s)": True, "P(f, k)": True, "P(f, l)": True, "P(f, s, k, l)": True,
    }  # fmt: skip
    assert table.loc["P(k)", ["configurations", "coefficients"]].tolist() == [3, 4]
    assert (table["mean_percent"] < 0.1).all() and (table["skill"] > 0.9).all()
    assert table["equation"].tolist() == [
        *["eq. (2)"] * 4, "eq. (3)", "eq. (4)", "eq. (5)", "eq. (6)",
    ]  # fmt: skip


def test_data_that_no_exponential_and_line_follow_show_large_errors():
    def zigzag(nets):
        return eq6(nets) - 0.3 * (nets["filters"].isin([48, 16, 4])).to_numpy()

    table = found.equation_fits(*some(TRAINED, p=zigzag)).set_index("model")
    assert table.loc["P(f)", "mean_percent"] > 5 and table.loc["P(s)", "mean_percent"] < 0.1


def test_the_seeds_spread_is_pooled_over_their_degrees_of_freedom():
    own = pd.DataFrame({"seeds": [2, 3, 1], "seed_sd": [0.1, 0.2, np.nan]})
    pooled = np.sqrt((1 * 0.1**2 + 2 * 0.2**2) / (1 + 2))
    assert rows.pooled_sd(own) == pytest.approx(pooled)
    assert np.isnan(rows.pooled_sd(own[2:]))


def test_surfaces_leave_what_is_measured_minus_fitted():
    table = found.surfaces(*some(TRAINED))
    assert table.groupby("model").size().to_dict() == {
        "P(f, s)": 7 * 5 - 1, "P(f, k)": 7 * 3, "P(f, l)": 7 * 3,
    }  # fmt: skip
    assert (table["precision"] - table["fitted"] - table["residual"]).abs().max() < 1e-12
    assert table["error_percent"].abs().max() < 1
    missing = table[(table["filters"] == 48) & (table["value"] == 48)]
    assert missing.empty and DIVERGED.input_px == 48


# --- coefficients ----------------------------------------------------------------------------


@pytest.mark.parametrize("reading", printed.READINGS, ids=lambda r: r.text)
@pytest.mark.parametrize("names", [("layers",), ("filters", "kernel_px"), NAMES])
def test_a_reading_in_our_units_is_the_same_curve(names, reading):
    shares = np.random.default_rng(1).uniform(0.2, 1, (20, len(names)))
    c = printed.as_shares(names, reading)
    m = len(names)
    by_hand = printed.coefficients(names)
    base = np.array([T0[name] for name in names])
    gamma = {"value": shares * base, "share": shares, "given up": 1 - shares, "none": 0 * shares}
    power = reading.sign * (1 / gamma[reading.exponential]) @ by_hand[1 : m + 1]
    line = reading.line_sign * gamma[reading.line] @ by_hand[m + 1 : -1]
    ours = c[0] * np.exp((1 / shares) @ c[1 : m + 1]) + shares @ c[m + 1 : -1] + c[-1]
    assert ours == pytest.approx(by_hand[0] * np.exp(power) + line + by_hand[-1])
    assert printed.evaluate(names, shares, reading) == pytest.approx(ours)


def test_table_i_fits_its_own_baseline_in_no_reading():
    usable = found.readings().groupby("model")["usable"].sum()
    assert set(usable[usable == 0].index) == {"P(f)", "P(s)", "P(k)", "P(l)", "P(f, l)"}
    first = found.readings().groupby("model", sort=False).first()
    assert first.loc["P(f, s, k, l)", "reading"] == printed.READINGS[8].text
    assert first.loc["P(f, s, k, l)", "at_baseline"] == pytest.approx(
        1.0221 * np.exp(-0.0015 - 0.0218 - 0.0293 - 0.0103) + 0.0042
    )


def test_coefficients_that_made_the_data_lie_in_our_intervals():
    """Data of the printed P(f, s), in the reading that the finding names."""
    names, reading = ("filters", "input_px"), printed.READINGS[8]

    def p(nets):
        return printed.evaluate(names, configurations.shares(nets)[:, :2], reading)

    table = found.coefficients(*some(TRAINED, p=p), models=[names])
    assert (table["reading"] == reading.text).all() and table["inside"].all()
    assert table["printed"].tolist() == [0.972, -0.01964, -0.02158, 0.007259, -0.09404, 0.0001]
    by_hand = [0.972, -0.01964, -0.02158, -0.007259, 0.09404, 0.0001 + 0.007259 - 0.09404]
    assert table["as_shares"].tolist() == pytest.approx(by_hand)
    shifted = found.coefficients(
        *some(TRAINED, p=lambda nets: p(nets) + 0.02 * nets["filters"] / 64), models=[names]
    ).set_index("coefficient")["inside"]
    assert not shifted["n_4"]


def test_without_intervals_nothing_is_inside_or_outside():
    table = found.coefficients(*some(TRAINED), models=printed.TABLE_I, intervals=False)
    assert table["inside"].isna().all() and len(table) == 4 * 4
    of_k = table[table["model"] == "P(k)"]
    assert not of_k["identified"].any() and of_k["why_not"].str.contains("3 values").all()
    assert of_k["at_baseline"].tolist() == pytest.approx(
        [0.9164 * np.exp(0.03487) - 0.2085 - 0.7635] * 4
    )


# --- what it costs ---------------------------------------------------------------------------


def test_eq_1_that_made_the_times_is_found_again():
    tables = some(FORWARD, TRAINED, jitter=0.0)
    table = found.alphas(*tables).set_index("whose")
    ours = table.loc[complexity.EQ1]
    assert ours["alpha_0"] == pytest.approx(0.014, rel=1e-9)
    assert ours["alpha_1"] == pytest.approx((1 - 0.014) / 150_732_800, rel=1e-9)
    assert ours["at_baseline"] == pytest.approx(1)
    theirs = table.iloc[0]
    assert theirs["at_baseline"] == 0.626e7 * 150_732_800 + 0.014
    own = found.complexities(*tables, [complexity.EQ1])
    assert own["error_percent"].abs().max() < 1e-6


def test_a_repetition_under_load_and_a_slower_session_change_nothing():
    table = found.complexities(*some(FORWARD, TRAINED), [complexity.EQ1])
    row = table[is_net(table, UNSTABLE)].iloc[0]
    assert row["repetitions"] == 4 and row["stable"]
    assert row["complexity"] == pytest.approx(eq1(row[KEY].to_frame().T.astype(int))[0], rel=0.01)
    for session in ("plan", "optima"):
        own = table[(table["session"] == session) & is_net(table, BASELINE)]
        assert own["complexity"].tolist() == [1.0]
    chosen = table[table["session"] == "optima"]
    assert chosen["complexity"].to_numpy() == pytest.approx(eq1(chosen), rel=0.006)


def test_a_net_without_stable_times_is_kept_and_marked():
    times, trained = some(FORWARD, TRAINED)
    times = times.assign(stable=times["stable"] & ~is_net(times, UNSTABLE))
    table = found.complexities(times, trained, [complexity.EQ1])
    row = table[is_net(table, UNSTABLE)].iloc[0]
    assert row["repetitions"] == 5 and not row["stable"]


def test_what_is_held_out_or_chosen_is_in_no_fit():
    """All that no fit may see is made absurd: every fitted number stays what it was."""
    times, trained, chosen = some(FORWARD, TRAINED, CHOSEN)
    hidden = trained["role"].isin(["held out", "optimum"])
    absurd = trained.copy()
    absurd.loc[hidden, ["test_class0_correct", "test_class1_correct"]] = 7
    slow = times.merge(
        trained.loc[trained["role"] == "held out", KEY].assign(out=True), on=KEY, how="left"
    )
    late = slow["out"].eq(True) | ((slow["session"] == "optima") & ~is_net(slow, BASELINE))
    slow = slow.assign(seconds=slow["seconds"].where(~late, 99.0)).drop(columns="out")
    for make, before, after in (
        (found.alphas, (times, trained), (slow, absurd)),
        (found.curves, (trained,), (absurd,)),
        (found.surfaces, (trained,), (absurd,)),
        (found.lines, (trained,), (absurd,)),
        (found.cloud, (times, trained)[::-1], (slow, absurd)[::-1]),
    ):
        pd.testing.assert_frame_equal(make(*before), make(*after))
    errors = found.complexities(slow, absurd, [complexity.EQ1])
    errors = errors.set_index("set")["error_percent"].abs()
    assert errors["fit"].max() < 2 and errors["held out"].min() > 50
    assert not chosen.empty


def test_a_held_out_net_that_is_chosen_too_stays_held_out():
    trained = trainings(
        training(0, 8, 30), training(1, 8, 30, role="optimum", filters=9),
        training(0, 8, 30, role="held out", filters=9), training(3, 8, 30, role="optimum"),
    )  # fmt: skip
    sets = rows.sets(trained)
    assert sets[(9, 64, 5, 3)] == "held out" and sets[(64, 64, 5, 3)] == "fit"


def test_complexity_models_are_tried_on_the_held_out_nets():
    table = found.complexity_models(*some(FORWARD, TRAINED)).set_index("model")
    assert (table["held_out_configurations"] == 12).all()
    assert (table["held_out_mean_percent"] < 2.5).all()


def test_the_nets_that_were_chosen_are_a_test_of_their_own():
    """A kernel that is slow in the later session alone: the held-out nets do not know of it."""
    times, trained = some(FORWARD, TRAINED, jitter=0.0)
    chosen = (times["session"] == "optima") & ~rows.is_baseline(times)
    slow = times.assign(seconds=times["seconds"].where(~chosen, 1.25 * times["seconds"]))
    table = found.complexity_of_chosen(slow, trained).set_index("model")
    row = table.loc[complexity.EQ1]
    assert row["configurations"] == len(times[chosen].drop_duplicates(KEY)) == 2
    # predicted over measured less 1 is 1 / 1.25 - 1
    ends = row[["mean_percent", "median_percent", "max_percent", "min_percent"]].tolist()
    assert ends == pytest.approx([20] * 4, abs=1e-6)
    assert found.complexity_models(slow, trained)["held_out_max_percent"].iloc[0] < 1e-6


def test_the_noise_of_the_cost_is_what_a_right_model_errs_by():
    """Rounds that scatter by 6 %, medians of 20: eq. (1), which is true, errs by the floor."""
    times, trained = some(FORWARD, TRAINED, jitter=0.0)
    one = times[times["repetition"] == 0]
    rng = np.random.default_rng(8)
    many = pd.concat([one.assign(repetition=i, stable=True) for i in range(20)])
    factor = np.exp(0.06 * rng.normal(size=len(many)))
    floor = found.cost_noise(many.assign(seconds=many["seconds"] * factor), trained)
    assert (floor["configurations"], floor["unstable"]) == (12, 0)
    error = 100 * 0.06 * 1.2533 / np.sqrt(20)
    assert floor["error_percent"] == pytest.approx(error, rel=0.25)
    assert floor["mean_percent"] == pytest.approx(np.sqrt(2 / np.pi) * error, rel=0.25)
    assert np.isnan(found.cost_noise(many[many["repetition"] < 2], trained)["mean_percent"])


def test_run_time_without_an_offset_is_proportional_and_with_one_is_not():
    no_offset = found.proportion(
        *some(FORWARD, TRAINED, jitter=0.0, c=lambda nets: eq1(nets, alpha_0=0.0))
    )
    assert no_offset["mean_percent"] < 1e-9 and no_offset["spread"] == pytest.approx(1)
    offset = found.proportion(*some(FORWARD, TRAINED, jitter=0.0))
    assert offset["mean_percent"] > 10 > 1e-6 > offset["line_percent"]
    smallest = 2 * 25 * 3 * 12**2 + 2 * 2 * 25 * 6**2 + 2 * 2 * 25 * 3**2
    share = smallest / 150_732_800
    assert offset["max_percent"] == pytest.approx(100 * (1 - share / (0.014 + 0.986 * share)))


def test_every_step_down_is_a_step_of_one_parameter():
    table = found.steps_down(*some(FORWARD))
    assert (table["before"] > table["after"]).all() and (table["ratio"] < 1).all()
    assert (table["macs_ratio"] < 1).all() and not table["dearer"].any()
    line = table[(table["parameter"] == "layers") & table["filters"].eq(64)]
    line = line[line["input_px"].eq(64) & line["kernel_px"].eq(5)]
    assert sorted(zip(line["before"], line["after"], strict=True)) == [(2, 1), (3, 2)]


def test_a_step_that_costs_more_is_dearer_only_beyond_the_quartiles():
    def odd(factor):
        kernels = {4: factor}
        return lambda nets: eq1(nets.assign(kernel_px=5)) * nets["kernel_px"].map(
            lambda k: kernels.get(k, 1.0)
        )  # fmt: skip

    def steps(factor):
        (times,) = some(FORWARD, c=odd(factor), jitter=0.0)
        own = np.array(complexity_tables.REPETITIONS)[(times.index // 5 + times["repetition"]) % 5]
        return found.steps_summary(times.assign(seconds=times["seconds"] * own**3))

    much = steps(1.1).set_index("parameter")
    assert much.loc["kernel_px", "dearer"] > 0 and much.loc["filters", "dearer"] == 0
    little = steps(1.005).set_index("parameter")
    assert little.loc["kernel_px", "dearer"] == 0 and little.loc["kernel_px", "worst"] > 1


def test_the_convolutions_share_of_the_multiply_adds():
    table = found.conv_shares(*some("configuration_costs"))
    own = table[is_net(table, BASELINE)].iloc[0]
    convs = 3 * 25 * 64 * 64**2 + 64 * 25 * 64 * 32**2 + 64 * 25 * 64 * 16**2
    assert own["share"] == convs / (convs + 2 * 64 * 8**2)
    assert table["share"].is_monotonic_increasing


# --- held-out configurations -----------------------------------------------------------------


def test_predictions_and_their_errors_on_the_held_out_nets():
    table = found.predictions(*some(TRAINED))
    assert set(table["model"]) == {precision.EQ6, precision.DEFAULT}
    assert set(table.loc[table["set"] == "fit", "filters"]) == {64, 48, 32, 16, 8, 4, 2}
    own = table[(table["model"] == precision.EQ6) & (table["set"] == "held out")]
    assert len(own) == 12 and own["error_percent"].abs().max() < 0.5
    assert (own["measured"] - own["predicted"] - own["residual"]).abs().max() < 1e-12


def test_the_targets_are_met_by_what_made_the_data_and_missed_by_chance():
    trained, times = some(TRAINED, FORWARD)
    table = found.targets(trained, times)
    own = table[table["model"].isin([precision.EQ6, complexity.EQ1])]
    assert own["met"].all() and len(table) == len(complexity.MODELS) + 2 * 3
    assert table["needed"].unique().tolist() == [2.5, 3.1, 0.5, 0.9]
    rng = np.random.default_rng(3)
    thin = complexity_tables.tables(
        candidates=complexity_tables.THIN, p=lambda nets: rng.uniform(0.5, 0.9, len(nets))
    )
    guess = found.targets(thin[TRAINED], thin[FORWARD])
    of_precision = guess[guess["model"].isin([precision.EQ6, precision.DEFAULT])]
    assert not of_precision["met"].any()


def test_a_rank_correlation_that_does_not_exist_is_not_met():
    trained, times = some(TRAINED, FORWARD)
    flat = trained.copy()
    mine = flat["role"] == "held out"
    for number, images in enumerate(complexity_tables.IMAGES):
        flat.loc[mine, f"test_class{number}_correct"] = images // 2
    table = found.targets(flat, times)
    ranks = table[table["target"] == "rank correlation"]
    assert ranks["value"].isna().all() and not ranks["met"].any()


def test_the_noise_floor_by_formula():
    """Held-out nets of 2,500 images at 0.9; a pair of seeds a point apart on each of 12 nets."""
    told = []
    for place, (seed, right) in enumerate([(0, 2250)] * 12 + [(0, 2250), (1, 2275)] * 12):
        held_out = place < 12
        net = {"filters": 2 + place if held_out else 30 + (place - 12) // 2}
        told.append(training(seed, None, None, role="held out" if held_out else "optimum", **net))
        for number, (images, named) in enumerate(((500, 450), (2000, right - 450))):
            told[-1] |= {f"test_class{number}_images": images,
                         f"test_class{number}_correct": named}  # fmt: skip
    result = found.noise(trainings(*told))
    assert result["configurations_repeated"] == 12
    assert result["seed_sd"] == pytest.approx(0.01 / np.sqrt(2))
    mean_normal = np.sqrt(2 / np.pi)
    of_images = 100 * mean_normal * np.sqrt(0.9 * 0.1 / 2500) / 0.9
    of_seeds = 100 * mean_normal * 0.01 / np.sqrt(2) / 0.9
    assert result["test_images"] == pytest.approx(of_images, rel=0.02)
    assert result["seeds"] == pytest.approx(of_seeds, rel=0.02)
    assert result["both"] == pytest.approx(np.hypot(of_images, of_seeds), rel=0.02)
    assert np.isnan(found.noise(trainings(*told[:12]))["seeds"])


def test_what_was_fitted_is_not_held_out():
    told = [training(0, 8, 30), training(0, 8, 30, role="held out")]
    with pytest.raises(BadInputError, match="both sets"):
        found.models(trainings(*told))


def test_models_are_compared_beside_the_constant():
    table = found.models(*some(TRAINED), models=[precision.EQ6], folds=5, bootstraps=20)
    assert table["model"].tolist()[:2] == [precision.CONSTANT, precision.EQ6]
    own = table.set_index("model").loc[precision.EQ6]
    assert own["skill"] > 0.9 and own["cross_validated_percent"] < 0.5
    said = found.predictions(*some(TRAINED), models=[precision.EQ6])
    said = said[said["set"] == "held out"]
    assert own["held_out_percent"] == pytest.approx(said["error_percent"].abs().mean())
    with pytest.raises(BadInputError, match="monotone boosting"):
        found.models(*some(TRAINED), models=["linear"])


def test_the_noise_between_seeds_is_that_of_the_data():
    assert found.noise(*some(TRAINED))["seed_sd"] == pytest.approx(5e-4, rel=0.3)


def test_printed_lambdas_predict_the_data_that_they_made():
    reading = printed.READINGS[8]

    def p(nets):
        return printed.evaluate(NAMES, configurations.shares(nets), reading)

    table = found.printed_on_held_out(*some(TRAINED, p=p, noise=0.0))
    first = table.iloc[0]
    assert (first["reading"], first["usable"]) == (reading.text, True)
    assert first["error_percent"] < 0.01 and first["spearman"] == pytest.approx(1)


# --- the cheapest net ------------------------------------------------------------------------


def test_frontiers_rise_and_end_with_the_measured_one():
    table = found.frontiers(*some(TRAINED, FORWARD))
    for _, own in table.groupby(["model", "grid"], dropna=False):
        assert (
            own["complexity"].is_monotonic_increasing and own["precision"].is_monotonic_increasing
        )
    assert table["model"].iloc[-1] == "measured" and table["grid"].isna().iloc[-1]
    measured = found.measured(*some(TRAINED, FORWARD))
    last = table.iloc[-1]
    assert last["precision"] == measured["precision"].max()


def test_an_unknown_grid_is_refused():
    with pytest.raises(BadInputError, match="integers, shares"):
        found.cloud(*some(TRAINED, FORWARD), grid="halves")


def test_the_integers_are_those_within_the_plan():
    table = found.cloud(*some(TRAINED, FORWARD), grid="integers")
    assert not table["outside"].any()
    assert table[KEY].min().tolist() == [2, 12, 3, 1] and table[KEY].max().tolist() == [
        64,
        64,
        5,
        3,
    ]


def test_optima_with_what_training_them_gave():
    table = found.optima(*some(CHOSEN, TRAINED, FORWARD))
    none = table[table["status"] == "none"]
    assert len(none) == 4 and (none["seeds"] == 0).all()
    assert none[[*KEY, "accuracy", "saving_s", "saving_macs"]].isna().all(axis=None)
    row = table[(table["drop_points"] == 2) & (table["grid"] == "integers")].iloc[0]
    one = configurations.Configuration(*(int(row[name]) for name in NAMES))
    assert row["seeds"] == 5 and row["saving_macs"] == BASELINE.macs / one.macs
    assert row["saving_s"] == pytest.approx(1 / eq1(configurations.frame([one]))[0], rel=0.006)
    assert row["saving_s_low"] < row["saving_s"] < row["saving_s_high"]
    assert row["reaches"] and 1.5 < row["lost_points"] <= 2


def test_intervals_are_those_of_student_and_of_welch():
    trained, times, chosen = some(TRAINED, FORWARD, CHOSEN)
    row = found.optima(chosen, trained, times).iloc[1]
    own = rows.training_rows(trained, roles=None)
    p = own[(own[KEY] == list(row[KEY])).all(axis=1)]["precision"]
    base = own[rows.is_baseline(own) & (own["role"] == "1-D")]["precision"]
    welch = stats.ttest_ind(base, p, equal_var=False).confidence_interval(0.95)
    assert [row["lost_low"], row["lost_high"]] == pytest.approx([100 * x for x in welch])
    student = stats.t.interval(0.95, len(p) - 1, p.mean(), stats.sem(p))
    assert [row["accuracy_low"], row["accuracy_high"]] == pytest.approx(list(student))


def test_of_one_seed_there_is_a_mean_and_no_interval():
    table = found.optima(*some(CHOSEN, TRAINED, FORWARD, optimum_seeds=1, line_seeds=1))
    row = table[table["seeds"] == 1].iloc[0]
    assert np.isfinite(row["accuracy"])
    assert row[["accuracy_low", "accuracy_sd", "lost_low", "lost_high"]].isna().all()


def test_optima_that_were_not_trained_or_not_timed_are_left_empty():
    trained, times, chosen = some(TRAINED, FORWARD, CHOSEN)
    table = found.optima(
        chosen, trained[trained["role"] != "optimum"], times[times["session"] == "plan"]
    )
    assert table["saving_macs"].notna().any()
    new = table[table["seeds"] == 0]
    assert new[["accuracy", "lost_points", "saving_s"]].isna().all(axis=None)
    assert new["reaches"].isna().all()


def test_a_trained_optimum_below_its_target_does_not_reach_it():
    table = found.optima(*some(CHOSEN, TRAINED, FORWARD, lost=0.01)).dropna(subset=["accuracy"])
    fresh = table[(table["grid"] == "integers") & (table["drop_points"] == 2)]
    assert not fresh["reaches"].any() and (fresh["lost_points"] > 2.5).all()


def test_savings_stand_beside_two_bounds():
    table = found.savings(*some(CHOSEN, TRAINED, FORWARD))
    assert set(table["drop_points"]) == {0.5, 2.0}  # more than there is has no row
    two = table[table["drop_points"] == 2].set_index("way")
    by_model = two.loc["eq. (6), integers"]
    assert by_model["tenfold"] and two.loc[cheapest.BEST, "saving_s"] >= by_model["saving_s"]
    pool = found.measured(*some(TRAINED, FORWARD))
    enough = pool[(pool["set"] == "held out") & (pool["precision"] >= by_model["target_accuracy"])]
    assert (cheapest.RANDOM in two.index) == (len(enough) > 0)


def test_a_search_larger_than_its_pool_is_left_out():
    table = found.search(*some(CHOSEN, TRAINED, FORWARD), budgets=(5, 12, 13))
    assert sorted(table["budget"].unique()) == [5, 12]
    assert found.search(*some(CHOSEN, TRAINED, FORWARD), budgets=(99,)).empty


def test_the_printed_frontier_needs_no_measurement():
    table = found.printed_frontier().set_index("reading")
    share = table.loc[printed.READINGS[1].text]
    assert share["grid_highest"] == pytest.approx(0.9038, abs=1e-4) and np.isnan(share["saving"])
    usable = table.loc[printed.READINGS[8].text]
    assert usable["usable"] and usable["saving"] > 1
    assert usable["saving"] == 1 / usable["complexity"]


# --- what is judged on faces and seeds that no fit has seen ------------------------------------


def _one(filters, seed, right, role, fresh):
    """A training of 1,000 test and 1,000 validation images, all of class 1 but one."""
    row = {"filters": filters, "input_px": 64, "kernel_px": 5, "layers": 3, "seed": seed}
    row |= {"role": role, "status": "done", "reason": None}
    for split, correct in (("test", right), ("validation", fresh)):
        row |= {f"{split}_class0_images": 1, f"{split}_class0_correct": 1}
        row |= {f"{split}_class1_images": 999, f"{split}_class1_correct": correct - 1}
    return row


def test_fresh_faces_are_the_validation_people_and_the_risk_is_welchs():
    base = [(0, 950, 960), (1, 952, 958), (2, 948, 962)]
    mine = [(0, 940, 944), (1, 938, 940), (2, 942, 948)]
    plan = pd.DataFrame([_one(64, seed, right, "1-D", fresh) for seed, right, fresh in base])
    more = pd.DataFrame([_one(32, seed, right, "optimum", fresh) for seed, right, fresh in mine])
    chosen = pd.DataFrame(
        [{"drop_points": 2.0, "target_accuracy": 0.93, "model": "eq. (6)", "grid": "integers",
          "status": "found", "filters": 32, "input_px": 64, "kernel_px": 5, "layers": 3}]
    )  # fmt: skip
    times = pd.DataFrame(
        [{"session": "optima", "filters": f, "input_px": 64, "kernel_px": 5, "layers": 3,
          "batch": 1, "threads": 1, "repetition": n, "seconds": s, "stable": True}
         for f, s in ((64, 1.0), (32, 0.1)) for n in range(3)]
    )  # fmt: skip
    (row,) = found.optima(chosen, found.together(plan, more), times).to_dict("records")
    assert row["lost_points"] == pytest.approx(1.0) and row["fresh_lost"] == pytest.approx(1.6)
    # standard deviations 0.2 and 0.4 points of three seeds each
    error = ((0.2**2 + 0.4**2) / 3) ** 0.5
    free = (0.2**2 + 0.4**2) ** 2 / ((0.2**4 + 0.4**4) / 2)
    half = stats.t.ppf(0.975, free) * error
    assert (row["fresh_low"], row["fresh_high"]) == pytest.approx((1.6 - half, 1.6 + half))
    assert row["fresh_risk"] == pytest.approx(stats.t.sf((2 - 1.6) / error, free))


def test_repeated_seeds_judge_and_are_never_fitted():
    made = complexity_tables.tables()
    plan, again = made["configuration_trainings"], made["repeated_trainings"]
    both = found.together(plan, again)
    seeds = rows.precision_rows(both, roles=("held out",))["seeds"]
    assert (rows.held_out_rows(plan)["seeds"] == 1).all() and (seeds == 3).all()
    pd.testing.assert_frame_equal(rows.precision_rows(both), rows.precision_rows(plan))
    told = found.baseline(both)["what"]
    assert told.str.startswith("seed").sum() == 3 + 3
    assert found.together(plan, again.head(0)) is plan


def test_what_each_parameter_does_alone_with_welchs_interval():
    made = complexity_tables.tables(noise=0.0)
    table = found.effects(made["configuration_trainings"]).set_index("parameter")
    assert table.loc["filters", ["largest", "smallest"]].tolist() == [64, 2]
    ends = pd.DataFrame([T0, T0 | {"filters": 2}])
    first, last = complexity_tables.eq6(ends)
    assert table.loc["filters", "lost"] == pytest.approx(100 * (first - last), abs=0.01)
    assert (table["seeds"] == 3).all()


def test_a_quadratic_in_the_inverse_beside_eq_2():
    made = complexity_tables.tables(
        noise=0.0, p=lambda nets: (0.95 - 0.2 / nets["filters"] + 0.2 / 64).to_numpy()
    )
    table = found.simpler_lines(made["configuration_trainings"]).set_index("model")
    assert set(table.index) == {"P(f)", "P(s)"}  # three values say nothing of three coefficients
    assert table.loc["P(f)", "quadratic_percent"] < 1e-3


def test_zeros_that_may_be_lost_are_tried_in_every_coefficient_and_pair():
    table = found.lost_zeros()
    sizes = table.groupby("model").size().to_dict()
    assert sizes == {"P(f, s)": 6 + 15, "P(f, k)": 6 + 15, "P(f, l)": 6 + 15,
                     "P(f, s, k, l)": 10 + 45}  # fmt: skip
    known = table.set_index(["model", "changed"])["at_baseline"]
    by_hand = 0.972 * np.exp(-0.001964 - 0.02158) + 0.007259 - 0.009404 + 0.0001
    assert known["P(f, s)", "2 and 5"] == pytest.approx(by_hand) == pytest.approx(0.947, abs=5e-4)
    assert known["P(f, s, k, l)", "6"] == pytest.approx(0.917, abs=5e-4)
