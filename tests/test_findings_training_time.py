"""Findings of notebook 02, on tables small enough to work out by hand; scipy is the referee."""

import doctest
import importlib
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import training_time_tables
from convcost import records
from convcost.chapters.training_time import findings as found
from convcost.chapters.training_time.findings import hypotheses, layers, paper, per_epoch

MODULES = ("paper", "correlation", "hypotheses")
PAPER_SECONDS = dict(zip(paper.NETS, (230.77, 454.72, 587.38, 522.82, 571.19), strict=True))


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_hold(module):
    result = doctest.testmod(
        importlib.import_module(f"convcost.chapters.training_time.findings.{module}")
    )
    assert result.attempted and not result.failed


def test_the_papers_tables_in_its_order():
    table = found.relations(*(steps({}), full_epochs(), costs({})))
    assert table["data"].tolist() == ["paper"]
    two = paper.table_two()
    assert dict(zip(two["net"], two["seconds"], strict=True)) == PAPER_SECONDS
    assert two["flops"].tolist() == [
        1_420_000_000, 30_940_000_000, 3_020_000_000, 3_640_000_000, 15_700_000_000,
    ]  # fmt: skip


# --- tables by hand --------------------------------------------------------------------------

CASE = {"loop": "plain", "input_px": 224, "in_channels": 3, "batch_asked": 8, "workers": 0}
CASE |= {"threads": 2}


def steps(nets, case=CASE, batch=8):
    """nets: net -> list of (pipeline, forward, backward, optimiser, between) of a step of 8 images.

    The first is warm-up. Validation takes pipeline and forward of the same.
    """
    columns = ["net", *CASE, "batch", "part", "step", "warmup", "images", "pipeline_s"]
    columns += ["forward_s", "backward_s", "optimiser_s", "step_s"]
    rows = []
    for net, phases in nets.items():
        for number, (pipeline, forward, backward, optimiser, between) in enumerate(phases):
            row = {"net": net} | case
            row |= {"batch": batch, "step": number, "warmup": number == 0, "images": 8}
            row |= {"pipeline_s": pipeline, "forward_s": forward}
            training = pipeline + forward + backward + optimiser + between
            rows.append(
                row
                | {"part": "training", "backward_s": backward, "optimiser_s": optimiser}
                | {"step_s": training}
            )
            rows.append(
                row
                | {"part": "validation", "backward_s": None, "optimiser_s": None}
                | {"step_s": pipeline + forward}
            )
    return pd.DataFrame(rows, columns=columns)


def same(image_s, count=2):
    """Steps of which a training image takes `image_s` and a validation image a third of it."""
    third = 8 * image_s / 3
    return [(0.0, third, third, third, 0.0)] * (count + 1)


def full_epochs(rows=()):
    columns = ["net", *CASE, "batch", "epoch", "train_images", "pipeline_s", "forward_s"]
    columns += ["backward_s", "optimiser_s", "train_s", "train_correct", "test_images"]
    return pd.DataFrame(rows, columns=[*columns, "validation_s", "test_correct"])


def full(net, train_s, validation_s, epoch=1, **case):
    return (
        {"net": net}
        | CASE
        | {"batch": 8, "epoch": epoch, "train_images": 60_000, "test_images": 10_000}
        | {"pipeline_s": 0.25 * train_s, "forward_s": 0.25 * train_s}
        | {"backward_s": 0.25 * train_s, "optimiser_s": 0.125 * train_s, "train_s": train_s}
        | {"validation_s": validation_s, "train_correct": 1, "test_correct": 8_000}
        | case
    )


def costs(macs, calls=None, px=224, channels=3):
    columns = ["net", "input_px", "in_channels", "macs", "backward_flops", "bytes", "acts"]
    rows = [
        {"net": net, "input_px": px, "in_channels": channels, "macs": n, "backward_flops": 4 * n}
        | {"bytes": 1, "acts": 1, "params": 1, "calls": (calls or {}).get(net, 1)}
        for net, n in macs.items()
    ]
    return pd.DataFrame(rows, columns=[*columns, "params", "calls"])


def accuracies(rows=()):
    columns = ["net", "seed", "input_px", "train_images", "epochs", "status", "test_images"]
    return pd.DataFrame(rows, columns=[*columns, "test_correct"])


# --- epochs ----------------------------------------------------------------------------------

UNLIKE = [  # of 8 images: pipeline, forward, backward, optimiser, between
    (80.0, 80.0, 80.0, 80.0, 80.0),  # warm-up: in nothing below
    (8.0, 16.0, 32.0, 8.0, 0.0),
    (8.0, 16.0, 40.0, 8.0, 8.0),
    (16.0, 24.0, 48.0, 8.0, 0.0),
]


def test_an_epoch_is_the_median_image_times_its_images():
    row = found.epochs(steps({"alexnet": UNLIKE}), 100, 10).iloc[0]
    assert row["steps"] == 3
    assert row[["pipeline_image_s", "forward_image_s", "backward_image_s"]].tolist() == [1, 2, 5]
    assert row["train_image_s"] == 80 / 8 and row["validation_image_s"] == 24 / 8
    # steps of 64, 80 and 96 s: quartiles halfway
    assert (row["train_image_low_s"], row["train_image_high_s"]) == (72 / 8, 88 / 8)
    assert (row["train_s"], row["validation_s"]) == (100 * 10, 10 * 3)
    assert (row["epoch_s"], row["epoch_low_s"]) == (1030, 100 * 9 + 10 * 3)
    assert row["epoch_high_s"] == 100 * 11 + 10 * 4  # validation of 24, 24 and 40 s
    assert row["extrapolated"]


def test_shares_of_an_epoch_sum_to_one():
    row = found.epochs(steps({"alexnet": UNLIKE}), 100, 10).iloc[0]
    training = 1000 / 1030  # of all steps 240 s: 32, 56, 120, 24 and 8 between
    expected = {"pipeline": 32, "forward": 56, "backward": 120, "optimiser": 24, "rest": 8}
    for part, seconds in expected.items():
        assert row[f"{part}_share"] == pytest.approx(training * seconds / 240)
    assert row["validation_share"] == pytest.approx(30 / 1030)
    names = [*expected, "validation"]
    assert sum(row[f"{part}_share"] for part in names) == pytest.approx(1)


def test_without_the_pipeline_its_seconds_are_gone():
    row = found.epochs(steps({"alexnet": UNLIKE}), 100, 10, pipeline=False).iloc[0]
    assert row["train_image_s"] == 72 / 8  # of 56, 72 and 80
    assert row["validation_image_s"] == 16 / 8 and row["pipeline_share"] == 0


def test_the_papers_images_are_the_epoch():
    row = found.epochs(steps({"alexnet": same(3.0)})).iloc[0]
    assert row["epoch_s"] == pytest.approx(60_000 * 3 + 10_000 * 1)


def test_without_validation_there_is_no_epoch():
    table = steps({"alexnet": same(3.0)})
    row = found.epochs(table[table["part"] == "training"]).iloc[0]
    assert row["train_s"] == pytest.approx(180_000) and math.isnan(row["epoch_s"])


def test_conditions_and_nets_stay_apart():
    two = pd.concat(
        [steps({"alexnet": same(3.0)}), steps({"alexnet": same(6.0)}, CASE | {"workers": 2})]
    )
    assert found.epochs(two)["train_image_s"].tolist() == pytest.approx([3, 6])


def test_error_of_the_extrapolation():
    measured = full_epochs([
        full("alexnet", 60_000 * 2.0, 10_000 * 1.0),
        full("alexnet", 60_000 * 3.0, 10_000 * 2.0, epoch=2),
        full("vgg16", 1.0, 1.0),  # without steps
    ])  # fmt: skip
    table = found.extrapolation_error(steps({"alexnet": same(3.0)}), measured)
    assert table["net"].tolist() == ["alexnet"] * 2 and table["images"].tolist() == [70_000] * 2
    assert table["measured_s"].tolist() == [130_000, 200_000]
    assert table["ratio"].tolist() == pytest.approx([190 / 130, 190 / 200])
    assert table["train_ratio"].tolist() == pytest.approx([3 / 2, 1])
    assert table["validation_ratio"].tolist() == pytest.approx([1, 1 / 2])


def test_a_full_epoch_takes_the_place_of_an_extrapolation():
    timed = steps({"alexnet": same(3.0), "vgg16": same(9.0)})
    table = found.all_epochs(timed, full_epochs([full("alexnet", 100.0, 20.0)])).set_index("net")
    assert table.loc["alexnet", "epoch_s"] == 120 and not table.loc["alexnet", "extrapolated"]
    assert table.loc["alexnet", "forward_share"] == pytest.approx(25 / 120)
    assert table.loc["alexnet", "rest_share"] == pytest.approx(12.5 / 120)
    assert math.isnan(table.loc["alexnet", "epoch_low_s"])  # of one epoch no spread is known
    assert table.loc["vgg16", "extrapolated"] and len(table) == 2
    several = [full("alexnet", 100.0 * n, 20.0, epoch=n) for n in (1, 2, 3)]
    row = found.all_epochs(timed, full_epochs(several)).set_index("net").loc["alexnet"]
    assert row[["epoch_s", "epoch_low_s", "epoch_high_s"]].tolist() == [220, 170, 270]


def test_one_condition_is_that_of_most_nets_then_of_full_epochs():
    many = steps({net: same(1.0) for net in paper.NETS})
    two = steps({net: same(1.0, count=9) for net in paper.NETS[:2]}, CASE | {"batch_asked": 4})
    chosen = found.of_one_condition(found.epochs(pd.concat([two, many])), "plain")
    assert chosen["net"].tolist() == list(paper.NETS) and set(chosen["batch_asked"]) == {8}
    more = steps({net: same(1.0, count=4) for net in paper.NETS}, CASE | {"batch_asked": 4})
    chosen = found.of_one_condition(found.epochs(pd.concat([many, more])), "plain")
    assert set(chosen["batch_asked"]) == {4}
    whole = full_epochs([full(net, 1.0, 1.0, workers=4) for net in paper.NETS])
    chosen = found.of_one_condition(found.all_epochs(pd.concat([many, more]), whole), "plain", 224)
    assert set(chosen["workers"]) == {4} and not chosen["extrapolated"].any()
    assert found.of_one_condition(found.epochs(many), "bf16").empty


def test_table_two_beside_the_papers():
    timed = steps({"vgg16": same(9.0), "alexnet": same(3.0)})
    trained = {"seed": 0, "input_px": 64, "train_images": 100, "epochs": 3, "test_images": 10}
    known = accuracies([
        trained | {"net": "vgg16", "status": "trained", "test_correct": 9},
        trained | {"net": "alexnet", "status": "trained", "test_correct": 1},
        trained | {"net": "resnet18", "status": "diverged", "test_correct": 1},
    ])  # fmt: skip
    table = found.table_two(
        timed,
        full_epochs([full("alexnet", 200_000.0, 10_000.0)]),
        costs({"alexnet": 10, "vgg16": 40}),
        known,
    )
    assert table["net"].tolist() == ["alexnet", "vgg16"]
    assert table["flops"].tolist() == [2 * 10, 2 * 40]
    assert table["flops_ratio"].tolist() == [1, 4]
    assert table["paper_flops_ratio"].tolist() == [1, pytest.approx(30.94 / 1.42)]
    assert table["epoch_s"].tolist() == [210_000, pytest.approx(570_000)]
    assert table["epoch_ratio"].tolist() == [1, pytest.approx(570 / 210)]
    assert table["paper_seconds_ratio"].tolist() == [1, pytest.approx(454.72 / 230.77)]
    assert table["extrapolated"].tolist() == [False, True]
    assert table["accuracy"].tolist() == [8_000 / 10_000, 9 / 10]  # the full epoch comes first
    assert table["accuracy_images"].tolist() == [60_000, 100]
    assert table["accuracy_px"].tolist() == [224, 64]


def test_table_two_without_accuracies_or_alexnet_has_gaps():
    table = found.table_two(
        steps({"vgg16": same(9.0)}), full_epochs(), costs({"vgg16": 40}), accuracies()
    )
    assert table["net"].tolist() == ["vgg16"]
    assert table[["epoch_ratio", "accuracy", "paper_flops_ratio"]].isna().all(axis=None)


# --- relation --------------------------------------------------------------------------------


def test_proportional_times():
    row = found.relation([2.0, 4.0, 6.0, 8.0, 10.0], [1, 2, 3, 4, 5])
    assert [row[name] for name in ("pearson", "spearman", "kendall")] == pytest.approx([1, 1, 1])
    assert row["slope"] == pytest.approx(1) and row["cv"] == pytest.approx(0, abs=1e-12)
    assert (row["spread"], row["in_order"], row["pairs"]) == (1, 10, 10)
    assert row["kendall_p"] == row["spearman_p"] == 2 / 120  # two orders of 120 are so extreme
    assert row["pearson_p"] == 1 / 120 * sum(
        abs(np.corrcoef(order, [1, 2, 3, 4, 5])[0, 1]) > 1 - 1e-9
        for order in ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])
    )
    assert math.isnan(row["pearson_low"])  # Fisher's z does not exist at 1


def test_against_scipy():
    rng = np.random.default_rng(0)
    for n in (5, 6):
        x, y = rng.lognormal(size=(2, n))
        row = found.relation(y, x)
        pearson = stats.pearsonr(x, y)
        assert row["pearson"] == pytest.approx(pearson.statistic)
        interval = pearson.confidence_interval(0.95)
        assert (row["pearson_low"], row["pearson_high"]) == pytest.approx(tuple(interval))
        assert row["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
        kendall = stats.kendalltau(x, y, method="exact")
        assert (row["kendall"], row["kendall_p"]) == pytest.approx(tuple(kendall))
        exact = stats.permutation_test(
            (x,), lambda a, y=y: stats.pearsonr(a, y).statistic, permutation_type="pairings",
            n_resamples=np.inf,
        )  # fmt: skip
        own = abs(row["pearson"])
        assert row["pearson_p"] == (np.abs(exact.null_distribution) >= own - 1e-12).mean()
        line = stats.linregress(np.log(x), np.log(y))
        half = stats.t.ppf(0.975, n - 2) * line.stderr
        assert row["slope"] == pytest.approx(line.slope)
        assert (row["slope_low"], row["slope_high"]) == pytest.approx(
            (line.slope - half, line.slope + half)
        )


def test_ties_share_ranks():
    row = found.relation([1.0, 1.0, 2.0, 3.0], [1, 2, 2, 4])
    assert row["spearman"] == pytest.approx(stats.spearmanr([1, 1, 2, 3], [1, 2, 2, 4]).statistic)
    assert row["kendall"] == pytest.approx(stats.kendalltau([1, 1, 2, 3], [1, 2, 2, 4]).statistic)
    assert (row["in_order"], row["pairs"]) == (4, 6)  # the two ties are not in order


def test_the_papers_own_data():
    two = paper.table_two()
    row = found.relation(two["seconds"], two["flops"])
    assert (row["in_order"], row["pairs"], row["kendall"]) == (5, 10, 0)
    assert row["spread"] == pytest.approx((587.38 / 3.02) / (454.72 / 30.94))
    assert (
        row["pearson_low"] < -0.8 and row["pearson_high"] > 0.9
    )  # five points say next to nothing
    per_flop = two["seconds"] / two["flops"]
    assert row["cv"] == pytest.approx(per_flop.std() / per_flop.mean())


def test_few_constant_and_many_points():
    two = found.relation([1.0, 2.0], [1, 2])
    assert two["slope"] == pytest.approx(1) and math.isnan(two["slope_low"])
    assert math.isnan(two["pearson_low"]) and two["pairs"] == 1
    flat = found.relation([1.0, 2.0, 3.0], [5, 5, 5])
    assert all(math.isnan(flat[f"pearson{end}"]) for end in ("", "_low", "_p"))
    assert math.isnan(flat["slope"])
    many = found.relation(range(1, 11), [1, 2, 3, 4, 5, 6, 7, 8, 10, 9])
    assert math.isnan(many["pearson_p"]) and many["spearman_low"] > 0.9


def test_relations_side_by_side():
    macs = {net: i + 1 for i, net in enumerate(paper.NETS)}
    timed = steps({net: same(float(n)) for net, n in macs.items()})
    few = steps({net: same(1.0) for net in paper.NETS[:2]}, CASE | {"loop": "bf16"})
    table = found.relations(pd.concat([timed, few]), full_epochs(), costs(macs))
    assert table["data"].tolist() == ["paper", "paper's seconds, exact FLOPs", "this machine"]
    ours = table.iloc[2]
    assert (ours["loop"], ours["input_px"], ours["nets"]) == ("plain", 224, 5)
    assert ours["pearson"] == pytest.approx(1) and ours["slope"] == pytest.approx(1)
    exact = found.relation(list(PAPER_SECONDS.values()), [1, 2, 3, 4, 5])
    assert table.iloc[1]["pearson"] == pytest.approx(exact["pearson"])


def test_what_was_timed_on_an_unstable_machine_is_not_fitted():
    macs = {net: i + 1 for i, net in enumerate(paper.NETS)}
    # the first net took ten times as long, because something else was running
    seconds = {net: float(n) for net, n in macs.items()} | {paper.NETS[0]: 10.0}
    timed = steps({net: same(seconds[net]) for net in paper.NETS})
    runs = timed[per_epoch.KEY].drop_duplicates()
    runs = runs.assign(stable=runs["net"] != paper.NETS[0])
    every = found.relations(timed, full_epochs(), costs(macs)).iloc[2]
    fair = found.relations(timed, full_epochs(), costs(macs), runs).iloc[2]
    assert (every["nets"], fair["nets"], fair["unstable"]) == (5, 4, 1)
    assert every["spread"] == pytest.approx(10 / 1) and fair["spread"] == pytest.approx(1)


# --- forensics -------------------------------------------------------------------------------


def pipelines(seconds=None):
    """(input_px, workers) -> seconds of an image in the loader, one repetition of 10 images."""
    columns = ["pipeline", "input_px", "in_channels", "batch", "workers", "repetition", "images"]
    rows = [
        {"pipeline": "loader", "input_px": px, "in_channels": 3, "batch": 32, "workers": workers}
        | {"repetition": 0, "images": 10, "seconds": 10 * image_s}
        for (px, workers), image_s in (seconds or {}).items()
    ]
    return pd.DataFrame(rows, columns=[*columns, "seconds"])


def predicted(busy, calls, batch=10, px=224):
    """net -> busy seconds of a training step; validation takes half of it and of the calls."""
    return pd.DataFrame(
        [
            {"device": "GPU", "net": net, "input_px": px, "in_channels": 3, "batch": batch}
            | {"part": part, "flops": 1, "bytes": 1, "calls": calls[net] // share}
            | {"busy_s": busy[net] / share, "compute_s": 0.0, "memory_s": 0.0}
            for net in busy
            for part, share in (("training", 1), ("validation", 2))
        ]
    )


def papers_steps(factor=1.0, nets=paper.NETS, case=CASE):
    """Steps whose training images alone take the paper's seconds, times a factor."""
    seconds = dict(zip(nets, PAPER_SECONDS.values(), strict=True))
    return steps({net: same(factor * s / 60_000) for net, s in seconds.items()}, case)


def test_a_protocol_that_is_the_papers_has_no_distance():
    table = found.forensics(papers_steps(1 / 7), pipelines(), splits=[(60_000, 0)])
    first = table.iloc[0]
    assert first["distance"] == pytest.approx(0) and first["distance_to_alexnet"] == pytest.approx(
        0
    )
    assert (first["kendall"], first["place"]) == (1, 1)
    assert first["epochs_implied"] == pytest.approx(7)
    assert first["vgg16_s"] == pytest.approx(454.72 / 7)
    assert first["vgg16_ratio"] == pytest.approx(454.72 / 230.77)
    assert (first["family"], first["densenet"]) == ("torchvision", "densenet161")
    assert math.isnan(first["utilisation"])


def test_distances_by_hand():
    seconds = np.array([list(PAPER_SECONDS.values())])
    seconds[0, 1] *= math.e  # one logarithm is 1 off: mean 1/5, four are 1/5 from it, one 4/5
    distance, to_alexnet, kendall, factor = (v[0] for v in hypotheses.distances(seconds))
    assert distance == pytest.approx(math.sqrt((4 * 0.2**2 + 0.8**2) / 5))
    assert to_alexnet == pytest.approx(math.sqrt(1 / 4))
    assert factor == pytest.approx(math.exp(-1 / 5))
    # VGG16 now takes longest of all: its three pairs with GoogLeNet, ResNet18 and DenseNet turn
    assert kendall == pytest.approx((7 - 3) / 10)


def test_the_nearest_comes_first_and_best_of_keeps_it():
    far = papers_steps(case=CASE | {"input_px": 96})
    far.loc[far["net"] == "vgg16", "step_s"] *= 3
    table = found.forensics(pd.concat([far, papers_steps()]), pipelines(), splits=[(60_000, 0)])
    assert table["distance"].is_monotonic_increasing
    assert table["input_px"].iloc[0] == 224 and table["input_px"].iloc[-1] == 96
    best = found.best_of(table, ["input_px"])
    assert best["input_px"].tolist() == [224, 96]
    assert best["hypotheses"].tolist() == [2, 2]  # with the pipeline and without it
    choices = found.by_choice(table).set_index(["choice", "value"])
    assert choices.loc[("input_px", "224"), "best"] == pytest.approx(0)
    assert choices.loc[("input_px", "96"), "nearest"] == 3
    assert set(choices.index.get_level_values("choice")) == {"input_px", "pipeline"}


def test_families_and_densenets_are_hypotheses_of_their_own():
    textbook = papers_steps(nets=paper.LINEUPS["textbook", "densenet_textbook"],
                            case=CASE | {"in_channels": 1})  # fmt: skip
    other = papers_steps(nets=(*paper.NETS[:4], "densenet121"))
    other = other[other["net"] == "densenet121"]
    table = found.forensics(pd.concat([papers_steps(), other, textbook]), pipelines())
    assert set(zip(table["family"], table["densenet"], table["in_channels"], strict=True)) == {
        ("torchvision", "densenet161", 3), ("torchvision", "densenet121", 3),
        ("textbook", "densenet_textbook", 1),
    }  # fmt: skip


def test_a_line_up_that_lacks_a_net_is_no_hypothesis():
    assert found.forensics(papers_steps().query("net != 'vgg16'"), pipelines()).empty


def test_the_pipeline_is_counted_or_not():
    phases = {net: [(8.0, 8.0 * (i + 1), 0.0, 0.0, 0.0)] * 3 for i, net in enumerate(paper.NETS)}
    table = found.forensics(steps(phases), pipelines(), splits=[(10, 0)]).set_index("pipeline")
    assert table.loc[True, "vgg16_s"] == 10 * (1 + 2)
    assert table.loc[False, "vgg16_s"] == 10 * 2


def test_workers_beside_this_machines_arithmetic():
    phases = {net: [(8.0, 8.0 * (i + 1), 0.0, 0.0, 0.0)] * 3 for i, net in enumerate(paper.NETS)}
    loader = pipelines({(224, 0): 1.0, (224, 2): 2.5})
    table = found.forensics(steps(phases), loader, splits=[(10, 0)])
    row = table[table["basis"] == "composed"].iloc[0]
    assert row["workers"] == 2
    # the slower of 2.5 and 1, 2, 3, 4, 5 seconds an image
    assert row[[f"{role}_s" for role in paper.ROLES]].tolist() == [25, 25, 30, 40, 50]


def test_predictions_by_hand():
    busy = dict.fromkeys(paper.NETS, 1.0) | {"vgg16": 4.0}
    calls = dict.fromkeys(paper.NETS, 100) | {"densenet161": 400}
    table = found.forensics(
        steps({}), pipelines({(224, 0): 0.3}), predicted(busy, calls),
        launches=[0.01], efficiencies=[0.5], factors=[0.5], workers=[0, 2], splits=[(10, 20)],
    )  # fmt: skip
    assert len(table) == 3 and set(table["basis"]) == {"predicted"}
    bare = table[~table["pipeline"]].iloc[0]
    # steps of 10 images: busy 1 / 0.5 = 2 s, launches 100 * 0.01 = 1 s; DenseNet 400 * 0.01 = 4 s
    assert bare["alexnet_s"] == pytest.approx(10 * 2 / 10 + 20 * 1 / 10)
    assert bare["vgg16_s"] == pytest.approx(10 * 8 / 10 + 20 * 4 / 10)
    assert bare["densenet_s"] == pytest.approx(10 * 4 / 10 + 20 * 2 / 10)
    in_turn = table[table["pipeline"] & (table["workers"] == 0)].iloc[0]
    assert in_turn["alexnet_s"] == pytest.approx(10 * (0.2 + 0.15) + 20 * (0.1 + 0.15))
    beside = table[table["pipeline"] & (table["workers"] == 2)].iloc[0]
    # two workers: 0.075 s an image, less than any arithmetic here
    assert beside["alexnet_s"] == pytest.approx(10 * 0.2 + 20 * 0.1)
    assert math.isnan(bare["pipeline_factor"]) and beside["launch_s"] == 0.01


def test_utilisation_of_the_papers_gpu():
    macs = dict.fromkeys(paper.NETS, 10) | {"vgg16": 1_000}
    table = found.forensics(
        papers_steps(1 / 2), pipelines(), net_costs=costs(macs), peak_flops_per_s=1e6,
        splits=[(60_000, 0)],
    )  # fmt: skip
    row = table.iloc[0]  # two epochs; an image costs 2 * macs forward and 4 * macs backward
    total = 2 * 60_000 * 6 * (4 * 10 + 1_000)
    assert row["utilisation"] == pytest.approx(total / sum(PAPER_SECONDS.values()) / 1e6)
    assert row["utilisation_highest"] == pytest.approx(2 * 60_000 * 6 * 1_000 / 454.72 / 1e6)


def test_most_epochs_that_fit_under_the_peak():
    macs = dict.fromkeys(paper.NETS, 10) | {"vgg16": 1_000}
    both = found.most_epochs(costs(macs), 1e6)
    table = both[both["train_images"] == 60_000].set_index("role")
    flops = 60_000 * 6 * 1_000 + 10_000 * 2 * 1_000
    assert table.loc["vgg16", "epoch_flops"].tolist() == [flops] * 2  # in both of its line-ups
    of_161 = table[table["densenet"] == "densenet161"]
    assert of_161.loc["vgg16", "epochs"] == pytest.approx(1e6 * 454.72 / flops)
    assert of_161["epochs_of_five"].tolist() == pytest.approx([1e6 * 454.72 / flops] * 5)
    of_121 = table[table["densenet"] == "densenet121"]
    assert of_121["epochs_of_five"].isna().all()  # densenet121 is not counted here
    fewer = both[both["train_images"] == 48_000].set_index("role")
    flops = 48_000 * 6 * 1_000 + 12_000 * 2 * 1_000
    assert fewer.loc["vgg16", "epoch_flops"].tolist() == [flops] * 2


def test_simple_rules_beside():
    logs = np.log(list(PAPER_SECONDS.values()))
    calls = dict(zip(paper.NETS, (100 * s for s in PAPER_SECONDS.values()), strict=True))
    rules = found.baselines(costs(dict.fromkeys(paper.NETS, 1), calls)).set_index("rule")
    assert rules.loc["all take the same time", "distance"] == pytest.approx(logs.std())
    two = paper.table_two()
    off = np.log(two["flops"].to_numpy()) - logs
    assert rules.loc["proportional to FLOPs", "distance"] == pytest.approx(off.std())
    fitted = rules.loc["a + b * FLOPs"]
    assert fitted["distance"] < rules.loc["all take the same time", "distance"]
    predicted_s = fitted["base_s"] + fitted["per_unit_s"] * two["flops"].to_numpy()
    assert (np.log(predicted_s) - logs).std() == pytest.approx(fitted["distance"])
    assert (np.log(predicted_s) - logs).mean() == pytest.approx(0, abs=1e-9)
    by_calls = rules.loc["a + b * operator calls"]  # calls that are proportional to the times
    assert by_calls["distance"] == pytest.approx(0, abs=1e-9)
    assert by_calls["per_unit_s"] == pytest.approx(1 / 100)


# --- why -------------------------------------------------------------------------------------


def peak_rows(flops_per_s=10.0, bytes_per_s=4.0, dtype="float32", threads=2):
    """A product and a copy of two sizes: the larger product is slower, the smaller copy faster."""
    rows = []
    for what, size, factor in (
        ("matrix product", 64, 1.0), ("matrix product", 128, 0.5), ("copy", 10, 5.0),
        ("copy", 1_000, 1.0),
    ):  # fmt: skip
        for repetition, slower in enumerate((1, 1, 10)):  # the median is not disturbed by one
            work = {"flops": 0, "bytes": 1_000} if what == "copy" else {"flops": 1_000, "bytes": 7}
            rate = bytes_per_s if what == "copy" else flops_per_s
            rows.append(
                {"what": what, "dtype": dtype, "threads": threads, "size": size}
                | {"repetition": repetition, "calls": 1, **work}
                | {"seconds": slower * 1_000 / (rate * factor)}
            )
    return pd.DataFrame(rows)


def test_peaks_are_the_best_product_and_the_largest_copy():
    copy, product = found.peaks(peak_rows()).to_dict("records")
    assert (product["size"], product["flops_per_s"]) == (64, 10)
    assert (copy["size"], copy["bytes_per_s"], copy["repetitions"]) == (1_000, 4, 3)
    assert math.isnan(product["bytes_per_s"]) and math.isnan(copy["flops_per_s"])


def operators(net, seconds, step, loop="plain", batch=4):
    case = {"net": net, "loop": loop, "input_px": 224, "batch": batch, "threads": 2}
    return pd.DataFrame(
        [
            case | {"repetition": 0, "operator": group, "group": group, "calls": 1, "seconds": s}
            for group, s in {"(step)": step, **seconds}.items()
        ]
    )


def test_the_parts_of_a_step_sum_to_it():
    # an image: 1 s of pipeline and 10 s of arithmetic, of which the profile gives the shares
    timed = steps({"alexnet": [(8.0, 40.0, 20.0, 20.0, 0.0)] * 3})
    shares = {"conv": 40.0, "linear": 10.0, "norm": 8.0, "pool": 12.0, "optimiser": 5.0}
    profile = operators("alexnet", shares | {"other": 5.0}, step=100.0)
    row = found.why(profile, timed, peak_rows(), costs({"alexnet": 5})).iloc[0]
    parts = ["pipeline_s", "at_peak_s", "below_peak_s", "no_flops_s", "optimiser_s", "rest_s"]
    # 2 * 5 + 4 * 5 = 30 FLOPs at 10 FLOP/s, of 0.5 * 10 s in convolutions and linear layers
    assert row[parts].tolist() == pytest.approx([1, 3, 2, 2, 0.5, 2.5])
    assert row["whole_s"] == pytest.approx(11) and row[parts].sum() == pytest.approx(11)
    assert (row["flops"], row["flops_per_s"]) == (30, pytest.approx(30 / 11))
    assert row["utilisation"] == pytest.approx(30 / 11 / 10)
    assert (row["batch"], row["timed_batch"]) == (4, 8)


def test_convolutions_faster_than_the_peak_are_all_at_the_peak():
    timed = steps({"alexnet": [(0.0, 8.0, 0.0, 0.0, 0.0)] * 3})
    profile = operators("alexnet", {"conv": 50.0}, step=100.0)
    row = found.why(profile, timed, peak_rows(), costs({"alexnet": 5})).iloc[0]
    assert (row["at_peak_s"], row["below_peak_s"], row["rest_s"]) == pytest.approx((0.5, 0, 0.5))


def test_operators_that_exceed_the_step_are_its_whole():
    timed = steps({"alexnet": [(0.0, 8.0, 0.0, 0.0, 0.0)] * 3})
    profile = operators("alexnet", {"conv": 150.0, "activation": 50.0}, step=100.0)
    row = found.why(profile, timed, peak_rows(1e6), costs({"alexnet": 5})).iloc[0]
    assert row["no_flops_s"] == pytest.approx(0.25) and row["rest_s"] == pytest.approx(0)


def test_half_precision_has_its_own_peak():
    timed = steps({"alexnet": same(1.0)}, CASE | {"loop": "bf16"})
    profile = operators("alexnet", {"conv": 90.0}, step=100.0, loop="bf16")
    both = pd.concat([peak_rows(), peak_rows(1_000.0, dtype="bfloat16")])
    row = found.why(profile, timed, both, costs({"alexnet": 5})).iloc[0]
    assert (row["dtype"], row["peak_flops_per_s"]) == ("bfloat16", 1_000)


def layer(name, op, macs, moved, seconds, net="alexnet"):
    return [
        {"net": net, "input_px": 224, "batch": 4, "threads": 2, "position": 0, "layer": name}
        | {"op": op, "macs": macs, "bytes": moved, "repetition": r, "images": 4, "seconds": s}
        for r, s in enumerate(seconds)
    ]


LAYERS = pd.DataFrame(
    layer("a", "conv", 100, 10, (39, 40, 80))  # 200 FLOPs: 20 s at 10 FLOP/s, 2.5 s at 4 bytes/s
    + layer("b", "linear", 5, 80, (50, 50, 50))  # 1 s of FLOPs, 20 s of bytes
    + layer("c", "activation", 0, 8, (10, 10, 10))
    + layer("(net)", "(net)", 105, 98, (100, 100, 100))
)


def test_layers_under_the_roof():
    table = found.roofline(LAYERS, peak_rows()).set_index("layer")
    assert list(table.index) == ["a", "b", "c"]
    assert table["bound"].tolist() == ["compute", "memory", "memory"]
    assert table["intensity"].tolist() == [20, 10 / 80, 0]
    assert table["flops_per_s"].tolist() == [200 / 40, 10 / 50, 0]
    assert table["roof_flops_per_s"].tolist() == [10, 4 * 10 / 80, 0]
    assert table["roof_share"].tolist() == [20 / 40, 20 / 50, 2 / 10]
    other = peak_rows(threads=1)
    assert found.roofline(LAYERS, other).empty  # another number of threads is another roof


def test_operators_by_share_of_the_time():
    table = found.by_operator(LAYERS)
    assert table["op"].tolist() == ["linear", "conv", "activation"]
    assert table["share"].tolist() == [0.5, 0.4, 0.1]
    assert table["flops_share"].tolist() == pytest.approx([5 / 105, 100 / 105, 0])
    assert table["flops_per_s"].tolist() == [10 / 50, 200 / 40, 0]


def test_the_share_of_layers_without_flops():
    row = found.no_flop_share(LAYERS).iloc[0]
    assert (row["layers"], row["layers_without"], row["seconds"]) == (3, 1, 100)
    assert row["share"] == 0.1


# --- many nets -------------------------------------------------------------------------------


def batch_rows(nets, batch=2, stable=True, family="a"):
    """nets: net -> (macs, acts, seconds per image)."""
    return pd.DataFrame(
        [
            {"net": net, "family": family, "what": "inference", "input_px": 224, "batch": batch}
            | {"threads": 2, "repetition": r, "macs": macs, "acts": acts, "calls": 3}
            | {"seconds": 3 * batch * s * slower, "stable": stable}
            for net, (macs, acts, s) in nets.items()
            for r, slower in enumerate((1, 1, 9))
        ]
    )


def test_batches_within_families_and_across():
    one = batch_rows({"a1": (1, 1, 1.0), "a2": (2, 1, 2.0), "a3": (4, 1, 4.0)})
    two = batch_rows({"b1": (1, 1, 10.0), "b2": (2, 1, 20.0)}, family="b")
    shaky = batch_rows({"b3": (4, 1, 7.0)}, family="b", stable=False)
    table = found.batches(pd.concat([one, two, shaky]))
    assert table["family"].tolist() == ["all", "a"]  # of b only two are left
    every, within = table.to_dict("records")
    assert (every["nets"], every["unstable"], within["unstable"]) == (5, 3, 0)
    assert within["pearson"] == pytest.approx(1) and within["slope"] == pytest.approx(1)
    assert within["cv"] == pytest.approx(0, abs=1e-12)
    assert every["spread"] == pytest.approx(10)
    assert every["pearson"] < 0.9


def test_each_batch_size_has_its_row():
    nets = {"a1": (1, 1, 1.0), "a2": (2, 1, 2.0), "a3": (4, 1, 4.0)}
    table = found.batches(pd.concat([batch_rows(nets), batch_rows(nets, batch=16)]))
    assert table[["batch", "family"]].values.tolist() == [
        [2, "all"], [2, "a"], [16, "all"], [16, "a"],
    ]  # fmt: skip
    shaken = found.batches(batch_rows(nets, stable=False))
    assert not shaken["steady"].any() and set(shaken["unstable"]) == {0} and len(shaken) == 2


def test_activations_that_predict_better_than_flops():
    nets = {"a1": (1, 3, 6.0), "a2": (8, 4, 8.0), "a3": (2, 5, 10.0)}
    table = found.predictors(batch_rows(nets)).set_index("predictor")
    assert table.loc["acts", "error"] == pytest.approx(0, abs=1e-12)
    assert table.loc["acts", "r"] == pytest.approx(1)
    assert table.loc["acts", "worst"] == pytest.approx(1)
    off = np.log([6 / 1, 8 / 8, 10 / 2])
    assert table.loc["flops", "error"] == pytest.approx(off.std())
    assert table.loc["flops", "worst"] == pytest.approx(math.exp(np.abs(off - off.mean()).max()))
    assert table.loc["flops", "r"] == pytest.approx(
        np.corrcoef(np.log([1, 8, 2]), np.log([6, 8, 10]))[0, 1]
    )


def test_bytes_that_predict_layers():
    rows = layer("relu", "activation", 0, 7, (100,))
    for number, (macs, s) in enumerate(((5, 1), (5, 2), (7, 4))):
        rows += layer(f"conv{number}", "conv", macs, 10 * s, (s,))
    table = found.predictors(pd.DataFrame(rows))
    assert table["among"].unique().tolist() == ["all", "alexnet"]
    best = table[table["predictor"] == "bytes"]
    assert best["points"].tolist() == [3, 3]
    assert best["error"].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert (table[table["predictor"] == "flops"]["error"] > 0.3).all()


# --- tuned against plain ---------------------------------------------------------------------


def runs(nets, loop, status="done", px=224, stable=True):
    row = CASE | {"loop": loop, "input_px": px, "batch": 8, "status": status, "stable": stable}
    row["reason"] = None if status == "done" else "no memory"
    return pd.DataFrame([{"net": net} | row for net in nets])


TWO = ("alexnet", "vgg16")


def loops(seconds):
    """loop -> {net: seconds of a training image}."""
    return pd.concat(
        steps({net: same(s) for net, s in nets.items()}, CASE | {"loop": loop})
        for loop, nets in seconds.items()
    )


def test_each_loop_against_plain_and_the_one_before():
    timed = loops({
        "plain": {"alexnet": 12.0, "vgg16": 36.0}, "channels_last": {"alexnet": 6.0, "vgg16": 18.0},
        "bf16": {"alexnet": 3.0, "vgg16": 6.0}, "compiled": {"alexnet": 2.0, "vgg16": 9.0},
    })  # fmt: skip
    done = pd.concat([runs(TWO, loop) for loop in ("plain", "channels_last", "bf16", "compiled")])
    table = found.ablation(timed, done, nets=TWO)
    assert table["net"].tolist() == ["alexnet"] * 4 + ["vgg16"] * 4 + ["(all)"] * 4
    assert table["speed_up"].tolist() == pytest.approx(
        [1, 2, 4, 6, 1, 2, 6, 4, 1, 2, 48 / 9, 48 / 11]
    )
    before = table["speed_up_before"].tolist()
    assert before[1:4] == pytest.approx([2, 2, 1.5]) and before[9:] == pytest.approx(
        [2, 24 / 9, 9 / 11]
    )
    assert [bool(i) for i in np.isnan(before)] == [i % 4 == 0 for i in range(12)]
    assert table[table["tuned"]][["net", "loop"]].values.tolist() == [
        ["alexnet", "compiled"], ["vgg16", "bf16"], ["(all)", "bf16"],
    ]  # fmt: skip
    best = found.tuned(table)
    assert best["net"].tolist() == ["alexnet", "vgg16", "(all)"]
    assert best["speed_up"].tolist() == pytest.approx([6, 6, 48 / 8])
    assert best["tuned_s"].tolist()[2] == pytest.approx((2 + 6) * (60_000 + 10_000 / 3))


def test_a_loop_that_failed_is_a_row_and_leaves_no_total():
    timed = loops({
        "plain": {"alexnet": 12.0, "vgg16": 36.0}, "resident data": {"alexnet": 6.0},
        "bf16": {"alexnet": 3.0, "vgg16": 9.0},
    })  # fmt: skip
    done = pd.concat([
        runs(TWO, "plain"), runs(["alexnet"], "resident data"),
        runs(["vgg16"], "resident data", status="out of memory"),
        runs(TWO, "bf16", stable=False),
    ])  # fmt: skip
    table = found.ablation(timed, done, nets=TWO).set_index(["net", "loop"])
    failed = table.loc[("vgg16", "resident data")]
    assert (failed["status"], failed["reason"]) == ("out of memory", "no memory")
    assert math.isnan(failed["epoch_s"]) and math.isnan(failed["speed_up"])
    total = table.loc[("(all)", "resident data")]
    assert total["status"] == "incomplete" and "vgg16" in total["reason"]
    assert math.isnan(total["epoch_s"])
    # against the last one before it that has a time
    assert table.loc[("vgg16", "bf16"), "speed_up_before"] == pytest.approx(4)
    assert table.loc[("(all)", "bf16"), "speed_up"] == pytest.approx(48 / 12)
    assert not table.loc[("(all)", "bf16"), "stable"] and table.loc[("(all)", "plain"), "stable"]


def test_the_largest_size_is_taken_unless_told():
    small = CASE | {"input_px": 64}
    timed = pd.concat([loops({"plain": {"alexnet": 8.0}}), steps({"alexnet": same(1.0)}, small)])
    done = pd.concat([runs(["alexnet"], "plain"), runs(["alexnet"], "plain", px=64)])
    assert set(found.ablation(timed, done, nets=("alexnet",))["input_px"]) == {224}
    table = found.ablation(timed, done, 64, nets=("alexnet",))
    assert set(table["input_px"]) == {64}
    assert table["epoch_s"].iloc[0] == pytest.approx(60_000 + 10_000 / 3)


# --- the made-up tables of a whole run -------------------------------------------------------


@pytest.mark.parametrize("thin", [{}, training_time_tables.QUICK], ids=["whole", "quick"])
def test_every_finding_of_a_run(thin):
    made = training_time_tables.tables(**thin)
    timed, counted = made["training_steps"], made["net_costs"]
    two = found.table_two(timed, made["full_epochs"], counted, made["fashion_accuracies"],
                          input_px=None)  # fmt: skip
    assert two["net"].tolist() == list(paper.NETS) and two["epoch_ratio"].notna().all()
    parts = found.why(made["operator_times"], timed, made["machine_peaks"], counted)
    stacked = parts[[f"{part}_s" for part in layers.PARTS]]
    assert len(parts) == 5 and (stacked >= 0).all(axis=None)
    assert stacked.sum(axis=1).tolist() == pytest.approx(parts["whole_s"].tolist())
    assert len(found.roofline(made["layer_costs"], made["machine_peaks"])) == 5 * 20
    table = found.ablation(timed, made["loop_runs"])
    assert found.tuned(table)["net"].tolist() == [*paper.NETS, "(all)"]
    guesses = found.forensics(timed, made["pipeline_times"], made["predicted_steps"], counted,
                              peak_flops_per_s=1e13, launches=[1e-5], workers=[0])  # fmt: skip
    assert {"measured", "predicted"} <= set(guesses["basis"])
    assert (
        guesses.drop(columns=["pipeline_factor", "launch_s", "efficiency"]).notna().all(axis=None)
    )


# --- a run that has not measured everything yet ----------------------------------------------


def guesses(*tables):
    return found.forensics(
        *tables, peak_flops_per_s=1e13, launches=[1e-5], efficiencies=[1.0], workers=[0, 2]
    )


_EPOCHS = ("training_steps", "full_epochs", "net_costs")
_PROTOCOLS = ("training_steps", "pipeline_times", "predicted_steps", "net_costs")
_CALLS = {  # as notebook 02 calls them: finding, tables
    "epochs": (found.epochs, ("training_steps",)),
    "epochs_by_workers": (found.epochs_by_workers, ("full_epochs",)),
    "table_two": (found.table_two, (*_EPOCHS, "fashion_accuracies")),
    "extrapolation_error": (found.extrapolation_error, ("training_steps", "full_epochs")),
    "relations": (found.relations, (*_EPOCHS, "loop_runs")),
    "forensics": (guesses, _PROTOCOLS),
    "best_of": (lambda *tables: found.best_of(guesses(*tables), ["basis", "family"]), _PROTOCOLS),
    "by_choice": (lambda *tables: found.by_choice(guesses(*tables)), _PROTOCOLS),
    "peaks": (found.peaks, ("machine_peaks",)),
    "why": (found.why, ("operator_times", "training_steps", "machine_peaks", "net_costs")),
    "by_operator": (found.by_operator, ("layer_costs",)),
    "no_flop_share": (found.no_flop_share, ("layer_costs",)),
    "roofline": (found.roofline, ("layer_costs", "machine_peaks")),
    "batches": (found.batches, ("batch_times",)),
    "predictors": (found.predictors, ("batch_times",)),
    "predictors of layers": (found.predictors, ("layer_costs",)),
    "ablation": (found.ablation, ("training_steps", "loop_runs")),
    "tuned": (lambda *t: found.tuned(found.ablation(*t)), ("training_steps", "loop_runs")),
}  # fmt: skip
_LACKING = [
    (name, gone)
    for name, (_, tables) in _CALLS.items()
    for measured in [[t for t in tables if t not in training_time_tables.COUNTED]]
    for number in range(1, len(measured) + 1)
    for gone in itertools.combinations(measured, number)
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Tables with all five nets' whole epochs, as they are read: with every type of a file."""
    made = training_time_tables.tables(full=paper.NETS)
    made["predicted_steps"] = made["predicted_steps"].query("batch == 32")
    return read_again(made, tmp_path_factory.mktemp("runs"))


def read_again(tables, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records.paths, "LOCAL_RESULTS", folder)
        run = records.start_run("02-training-time", "gpu", where="local")
        for name, table in tables.items():
            run.write(name, table)
        return {name: records.read(name, where="local") for name in tables}


@pytest.fixture(scope="module")
def rowless(whole, tmp_path_factory):
    """The same without a row, as they are read."""
    tables = {name: table.iloc[:0].drop(columns="run_id") for name, table in whole.items()}
    return read_again(tables, tmp_path_factory.mktemp("empty"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "gone"), _LACKING)
def test_a_finding_without_some_tables_has_its_columns(whole, rowless, name, gone):
    finding, tables = _CALLS[name]
    complete = finding(*(whole[table] for table in tables))
    table = finding(*((rowless if table in gone else whole)[table] for table in tables))
    assert set(table.columns) == set(complete.columns)
    assert len(table) <= len(complete)
    assert not np.isinf(table.select_dtypes("number").to_numpy(dtype=float, na_value=np.nan)).any()
    if set(gone) == set(tables):
        assert table.empty


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lost", [("alexnet",), ("vgg16", "densenet161"), paper.NETS[1:]])
@pytest.mark.parametrize("name", _CALLS)
def test_a_finding_without_some_nets_has_the_others(whole, name, lost):
    finding, tables = _CALLS[name]
    complete = finding(*(whole[table] for table in tables))
    rows = training_time_tables.without(whole, *lost)
    table = finding(*(rows[table] for table in tables))
    assert set(table.columns) == set(complete.columns)
    if "net" in table:
        assert set(complete["net"]) - set(table["net"]) <= {*lost, "(all)"}
        assert not set(lost) & set(table["net"])


def test_whole_epochs_alone_are_table_two_and_a_relation(whole, rowless):
    tables = [rowless["training_steps"], whole["full_epochs"], whole["net_costs"]]
    table = found.table_two(*tables, rowless["fashion_accuracies"])
    assert table["net"].tolist() == list(paper.NETS) and not table["extrapolated"].any()
    assert table[["epoch_ratio", "flops_ratio", "accuracy"]].notna().all(axis=None)
    assert table["epoch_low_s"].isna().all()  # of one epoch no spread is known
    ours = found.relations(*tables, rowless["loop_runs"]).set_index("data").loc["this machine"]
    assert (ours["nets"], ours["unstable"]) == (5, 0)  # no loop was run that could say unstable


def test_a_total_is_that_of_all_five_nets_or_missing(whole):
    four = training_time_tables.without(whole, "vgg16")
    table = found.ablation(four["training_steps"], four["loop_runs"])
    assert set(table.loc[table["net"] == "(all)", "status"]) == {"incomplete"}
    assert found.tuned(table)["net"].tolist() == [net for net in paper.NETS if net != "vgg16"]


# --- a GPU -----------------------------------------------------------------------------------


def test_epochs_by_workers_of_the_loader():
    rows = [full(net, 80.0 * n, 20.0) for n, net in ((1, "alexnet"), (3, "vgg16"))]
    rows += [full(net, 40.0 * n, 10.0, workers=8) for n, net in ((4, "vgg16"), (1, "alexnet"))]
    rows += [full("resnet18", 30.0, 10.0, loop="bf16")]  # without AlexNet under this loop
    table = found.epochs_by_workers(full_epochs(rows)).set_index(["loop", "workers", "net"])
    assert table.index.tolist() == [
        ("bf16", 0, "resnet18"), ("plain", 0, "alexnet"), ("plain", 0, "vgg16"),
        ("plain", 8, "alexnet"), ("plain", 8, "vgg16"),
    ]  # fmt: skip
    assert table["epoch_s"].tolist() == [40, 100, 260, 50, 170]
    assert table["epoch_ratio"].tolist()[1:] == [1, 260 / 100, 1, 170 / 50]
    assert math.isnan(table["epoch_ratio"].iloc[0])
    # a quarter of the training part waits for batches
    assert table["pipeline_share"].tolist() == pytest.approx(
        [0.25 * 30 / 40, 20 / 100, 60 / 260, 10 / 50, 40 / 170]
    )
    several = full_epochs([full("alexnet", s, 0.0, epoch=n) for n, s in enumerate((1.0, 2.0, 9.0))])
    assert found.epochs_by_workers(several)["epoch_s"].tolist() == [2]


@pytest.mark.parametrize(
    ("alone", "with_workers", "workers"), [(5, 5, 0), (5, 3, 0), (3, 5, 8), (0, 5, 8)]
)
def test_epochs_of_other_workers_stay_out_of_the_ratios(alone, with_workers, workers):
    """The most nets, and fewest workers of as many; each condition's AlexNet is its own unit."""
    rows = [full(net, 100.0 * (n + 1), 0.0) for n, net in enumerate(paper.NETS[:alone])]
    rows += [full(net, 7.0 * (n + 1), 0.0, workers=8)
             for n, net in enumerate(paper.NETS[:with_workers])]  # fmt: skip
    counted = costs(dict.fromkeys(paper.NETS, 10))
    table = found.table_two(steps({}), full_epochs(rows), counted, accuracies())
    assert table["workers"].tolist() == [workers] * 5
    assert table["epoch_ratio"].tolist() == pytest.approx([1, 2, 3, 4, 5])


def test_the_share_of_a_step_in_which_the_device_was_idle():
    """Operators timed on the device take 0.3 s of a step that lasts 1 s: it waited for 0.7 s."""
    timed = steps({"alexnet": [(8.0, 40.0, 20.0, 20.0, 0.0)] * 3})  # 10 s of arithmetic an image
    profile = operators("alexnet", {"conv": 0.2, "norm": 0.05, "other": 0.05}, step=1.0)
    row = found.why(profile, timed, peak_rows(1e6), costs({"alexnet": 5})).iloc[0]
    assert row["idle_share"] == pytest.approx(0.7)
    assert row["rest_s"] == pytest.approx(10 * (0.7 + 0.05))  # and the operators of no other part
    busy = operators("alexnet", {"conv": 1.5}, step=1.0)
    row = found.why(busy, timed, peak_rows(1e6), costs({"alexnet": 5})).iloc[0]
    assert row["idle_share"] == pytest.approx(0)
