"""The separable convolution of notebook 05: nets, findings, figures, verdicts, measurements."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import figure_checks
from convcost import claims, count, datasets, nets, records
from convcost.chapters.accuracy_and_run_time import claims as chapter
from convcost.chapters.accuracy_and_run_time import findings as found
from convcost.chapters.accuracy_and_run_time.figures import separable as figures
from convcost.chapters.accuracy_and_run_time.findings import separable as rules
from convcost.chapters.accuracy_and_run_time.study import Study
from convcost.chapters.accuracy_and_run_time.study import separable as measurements
from convcost.chapters.accuracy_and_run_time.study.scales import POST, SCALES, SMOKE
from convcost.claims import checks, verdicts
from convcost.core import paths
from convcost.core.errors import BadInputError
from convcost.figures import style
from convcost.fits.comparison import mean_interval
from convcost.sweep import planned
from figure_checks import closed  # noqa: F401 - pytest finds it by its name

FIGURES = ("05-separable-block", "05-separable-roofline", "05-separable-accuracy")
DATA = [{"asked": "fashionmnist", "is_stand_in": False}]


# --- tables worked by hand -------------------------------------------------------------------

# Milliseconds of the four blocks: 8 plain against 4 separable is twice as fast.
SLOW = {"regular": 8.0, "separable": 4.0, "depthwise": 1.0, "pointwise": 3.0}
MACS = {"regular": 9 * 64 * 128, "depthwise": 9 * 64, "pointwise": 64 * 128}
MACS["separable"] = MACS["depthwise"] + MACS["pointwise"]
BYTES = {"regular": 400, "separable": 500, "depthwise": 300, "pointwise": 200}


def times(
    milliseconds=SLOW, *, shape=POST, batches=(1, 8), layouts=("contiguous",), stable=True,
    fresh=0, spread=1.0,
):  # fmt: skip
    """Three repetitions of two calls each, of which the last plain one takes `spread` times."""
    c_in, c_out, px = shape
    return pd.DataFrame(
        [
            {"block": block, "in_channels": c_in, "out_channels": c_out, "map_px": px}
            | {"batch": batch, "layout": layout, "threads": 2, "macs": batch * MACS[block] * px**2}
            | {"bytes": batch * BYTES[block] * px**2, "repetition": repetition, "calls": 2}
            | {"fresh_bytes": fresh, "stable": stable}
            | {"seconds": 2e-3 * batch * each * (spread if block == "regular" and last else 1)}
            for batch in batches
            for layout in layouts
            for repetition, last in enumerate((False, False, True))
            for block, each in milliseconds.items()
        ]
    )


def peaks(flops_per_s=1e12, bytes_per_s=1e10, threads=2):
    """A product of that rate, a copy of that rate from memory, and one ten times as fast."""
    rows = [("matrix product", 64, flops_per_s, 1.0), ("copy", 100, 0, bytes_per_s)]
    rows.append(("copy", 10, 0, 10 * bytes_per_s))
    return pd.DataFrame(
        [
            {"what": what, "threads": threads, "size": size, "repetition": repetition, "calls": 1}
            | {"flops": int(flops), "bytes": int(moved), "seconds": 1.0}
            for what, size, flops, moved in rows
            for repetition in range(3)
        ]
    )


PARAMS = dict(zip(rules.NETS, (800, 100, 100, 800), strict=True))
# Right answers of 1000 for each seed; the separable net is 5, 5 and 8 behind the plain one.
CORRECT = {
    "plain_cnn": (910, 915, 920),
    "separable_cnn": (905, 910, 912),
    "plain_cnn_narrow": (880, 890, 900),
    "separable_cnn_wide": (912, 918),
}


def trainings(correct=None, status="trained"):
    return pd.DataFrame(
        [
            {"net": net, "seed": seed, "epoch": epoch, "epochs": 2, "status": status}
            | {"params": PARAMS[net], "macs": 10 * PARAMS[net], "train_images": 60_000}
            | {"test_images": 1000, "test_correct": right if epoch == 2 else 500, "seconds": 1.0}
            for net, of_seed in (CORRECT | (correct or {})).items()
            for seed, right in enumerate(of_seed)
            for epoch in (1, 2)
        ]
    )


def net_times(milliseconds=(8.0, 4.0, 2.0, 16.0)):
    return pd.DataFrame(
        [
            {"net": net, "what": what, "batch": batch, "threads": 2, "params": PARAMS[net]}
            | {"macs": 10 * PARAMS[net], "repetition": repetition, "calls": 5, "stable": True}
            | {"seconds": 5e-3 * batch * each}
            for what, batch in (("inference", 1), ("inference", 64), ("training_step", 128))
            for repetition in range(3)
            for net, each in zip(rules.NETS, milliseconds, strict=True)
        ]
    )


def tables(**changes):
    others = [times(shape=(16, 16, px), layouts=("channels_last",)) for px in (56, 28)]
    both = times(layouts=("channels_last", "contiguous"))
    made = {
        "separable_times": pd.concat([both, *others], ignore_index=True),
        "separable_peaks": peaks(),
        "separable_trainings": trainings(),
        "separable_net_times": net_times(),
    }
    return made | changes


# --- nets ------------------------------------------------------------------------------------


def counted(name, **options):
    return count(nets.build(name, device="meta", **options), (1, 28, 28))


def test_the_plain_net_by_formula():
    stages = 3 * 3 * (1 * 24 + 24 * 24 + 24 * 24) * 14 * 14
    stages += 3 * 3 * (24 * 48 + 48 * 48 + 48 * 48) * 7 * 7
    stages += 3 * 3 * (48 * 96 + 96 * 96) * 4 * 4
    assert counted("plain_cnn").macs == stages + 96 * 10
    weights = 9 * (24 + 2 * 24 * 24 + 24 * 48 + 2 * 48 * 48 + 48 * 96 + 96 * 96)
    norms = 2 * (3 * 24 + 3 * 48 + 2 * 96)  # a scale and a shift for each channel
    assert counted("plain_cnn").params == weights + norms + 96 * 10 + 10


def test_the_separable_net_by_formula():
    pairs = [(24, 24, 14), (24, 24, 14), (48, 48, 7), (48, 48, 7), (96, 96, 4)]
    blocks = sum((9 * c + c * d) * side * side for c, d, side in pairs)
    # where the map shrinks the depthwise convolution does it, and the pointwise one adds channels
    blocks += (9 * 24 + 24 * 48) * 7 * 7 + (9 * 48 + 48 * 96) * 4 * 4
    assert counted("separable_cnn").macs == 9 * 24 * 14 * 14 + blocks + 96 * 10


@pytest.mark.parametrize(
    ("net", "as_costly_as"),
    [("plain_cnn_narrow", "separable_cnn"), ("separable_cnn_wide", "plain_cnn")],
)
def test_the_controls_have_the_operations_of_the_other_kind(net, as_costly_as):
    assert counted(net).macs / counted(as_costly_as).macs == pytest.approx(1, abs=0.01)


def test_all_four_have_eight_stages_and_one_output_a_class():
    for name in rules.NETS:
        model = nets.build(name, num_classes=7)
        separable = name.startswith("separable")
        convolutions = [m for m in model if isinstance(m, torch.nn.Conv2d)]
        assert len(convolutions) == (1 + 2 * 7 if separable else 8)
        assert sum(m.kernel_size == (3, 3) for m in convolutions) == 8
        assert model.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 7)


@pytest.mark.parametrize("widths", [(8, 16), (8, 16, 0)])
def test_other_than_three_widths_are_refused(widths):
    with pytest.raises(BadInputError, match="three numbers of channels"):
        nets.build("plain_cnn", widths=widths)


# --- findings --------------------------------------------------------------------------------


def test_an_interval_by_students_table():
    # t of 0.975 with two degrees of freedom is 4.303; the deviation of 1, 2, 3 is 1
    assert mean_interval([1, 2, 3]) == pytest.approx(
        (2, 2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3
    )
    assert np.isnan(mean_interval([5.0])[1:]).all()
    with pytest.raises(BadInputError, match="at least one"):
        mean_interval([])


def test_the_promise_and_what_the_clock_gives():
    (row,) = found.block_ratios(times(batches=(1,))).to_dict("records")
    assert row["macs_ratio"] == pytest.approx(9 * 128 / (9 + 128))
    assert row["bytes_ratio"] == 400 / 500
    assert (row["time_ratio"], row["low"], row["high"]) == pytest.approx((8 / 4,) * 3)
    assert row["kept"] == pytest.approx(2 * (9 + 128) / (9 * 128))
    assert row["depthwise_time_share"] == pytest.approx(1 / (1 + 3))
    assert row["depthwise_macs_share"] == pytest.approx(9 / (9 + 128))
    assert (row["repetitions"], row["stable"]) == (3, True)


def test_an_uneven_clock_gives_an_interval_about_the_geometric_mean():
    row = found.block_ratios(times(batches=(1,), spread=8.0)).iloc[0]
    assert row["time_ratio"] == pytest.approx((2 * 2 * 16) ** (1 / 3))
    assert row["low"] * row["high"] == pytest.approx(row["time_ratio"] ** 2)
    assert row["low"] < 2 < 16 < row["high"]


def test_ratios_stand_in_the_order_of_the_table_and_only_of_pairs():
    later = times(shape=(16, 16, 28), batches=(1,))
    both = pd.concat([times(), later])
    assert list(found.block_ratios(both)["in_channels"]) == [64, 64, 16]
    alone = times({"separable": 4.0})
    assert found.block_ratios(alone).empty
    whole = found.block_ratios(times({"regular": 8.0, "separable": 4.0}, batches=(1,)))
    assert whole["time_ratio"].iloc[0] == pytest.approx(2)
    assert whole["depthwise_time_share"].isna().all()


def test_the_best_of_what_is_timed_are_the_peaks():
    (row,) = found.block_peaks(peaks(6e11, 2e10)).to_dict("records")
    assert row == {
        "threads": 2, "peak_flops_per_s": 6e11, "memory_bytes_per_s": 2e10,
        "cache_bytes_per_s": 2e11, "ridge": 6e11 / 2e10,
    }  # fmt: skip
    with pytest.raises(BadInputError, match="a copy is needed"):
        found.block_peaks(peaks()[lambda rows: rows["what"] != "copy"])


def test_every_block_under_the_roofs():
    table = found.block_roofline(times(batches=(1,)), peaks()).set_index("block")
    # 2 * 9 * 64 operations and 300 bytes a place of the map: 3.84 a byte, below the ridge of 100
    assert table.loc["depthwise", "intensity"] == 2 * 9 * 64 / 300
    assert dict(table["bound"]) == {
        "regular": "compute", "separable": "memory", "depthwise": "memory", "pointwise": "memory",
    }  # fmt: skip
    assert table.loc["depthwise", "memory_share"] == pytest.approx(300 * 112**2 / 1e-3 / 1e10)
    assert table.loc["regular", "peak_share"] == pytest.approx(
        2 * 9 * 64 * 128 * 112**2 / 8e-3 / 1e12
    )
    assert found.block_roofline(times(), peaks(threads=1)).empty


def test_a_batch_whose_memory_the_system_hands_out_anew_says_nothing_of_bandwidth():
    table = found.block_times(times(batches=(1, 8)))
    assert set(found.undisturbed(table)["batch"]) == {8}
    rows = times(batches=(1, 8))
    rows.loc[rows["batch"] == 8, "fresh_bytes"] = rows["bytes"] // 2
    assert set(found.undisturbed(found.block_times(rows))["batch"]) == {1}
    assert found.undisturbed(found.block_times(times(fresh=10**12))).empty
    assert set(found.undisturbed(found.block_times(times(fresh=None)))["batch"]) == {8}


def test_accuracies_are_those_of_the_last_epoch():
    table = found.accuracies(trainings())
    assert list(table["net"].unique()) == list(rules.NETS)
    assert list(table[table["net"] == "plain_cnn"]["accuracy"]) == [0.910, 0.915, 0.920]


def test_nets_are_compared_seed_by_seed():
    table = found.paired_accuracies(trainings()).set_index(["net", "against"])
    row = table.loc["separable_cnn", "plain_cnn"]
    mean, low, high = mean_interval([-0.5, -0.5, -0.8])
    assert row[["mean_points", "low_points", "high_points"]].tolist() == pytest.approx(
        [mean, low, high]
    )
    assert mean == pytest.approx(-0.6)
    assert (row["seeds"], row["wins"], row["losses"]) == (3, 0, 3)
    assert (row["macs_ratio"], row["params_ratio"], row["epochs"]) == (8, 8, 2)
    # the wide net has two seeds only, and is compared with the same two
    row = table.loc["separable_cnn_wide", "plain_cnn"]
    assert (row["seeds"], row["mean_points"]) == (2, pytest.approx((0.2 + 0.3) / 2))
    assert found.paired_accuracies(trainings({"separable_cnn": ()})).shape[0] == 2


def test_longer_trainings_are_compared_with_one_another():
    long = trainings({"plain_cnn": (), "separable_cnn_wide": (), "separable_cnn": (900, 910, 920)})
    long = long.assign(epochs=4, epoch=2 * long["epoch"])
    both = pd.concat([trainings(), long], ignore_index=True)
    table = found.paired_accuracies(both)
    assert list(table["epochs"]) == [2, 2, 2, 2, 4]
    row = table.iloc[-1]
    assert (row["net"], row["against"], row["seeds"]) == ("separable_cnn", "plain_cnn_narrow", 3)
    # 900, 910, 920 against 880, 890, 900
    assert (row["mean_points"], row["wins"]) == (pytest.approx(2.0), 3)
    assert found.shortest(table).equals(found.paired_accuracies(trainings()))
    pd.testing.assert_frame_equal(
        found.net_comparison(both, net_times()), found.net_comparison(trainings(), net_times())
    )
    assert len(figures.accuracy(both, net_times()).axes[0].lines) == len(
        figures.accuracy(trainings(), net_times()).axes[0].lines
    )


def test_speed_ups_are_over_the_plain_net():
    table = found.net_speed_ups(net_times()).set_index(["net", "what", "batch"])
    row = table.loc["separable_cnn", "inference", 64]
    assert row[["time_ratio", "low", "high"]].tolist() == pytest.approx([2, 2, 2])
    assert (row["image_s"], row["macs_ratio"]) == (pytest.approx(4e-3), 8)
    assert table.loc["separable_cnn_wide", "training_step", 128]["time_ratio"] == pytest.approx(0.5)
    assert set(table.loc["plain_cnn"]["time_ratio"]) == {1.0}
    with pytest.raises(BadInputError, match="plain_cnn was not timed"):
        found.net_speed_ups(net_times()[lambda rows: rows["net"] != "plain_cnn"])


def test_the_comparison_has_a_row_a_net():
    table = found.net_comparison(trainings(), net_times()).set_index("net")
    assert list(table.index) == list(rules.NETS)
    assert table.loc["separable_cnn", "points"] == pytest.approx(-0.6)
    assert np.isnan(table.loc["plain_cnn", "points"])
    assert list(table.columns[-3:]) == [
        "inference, batch 1", "inference, batch 64", "training step, batch 128",
    ]  # fmt: skip
    assert table.loc["plain_cnn_narrow", "inference, batch 1"] == pytest.approx(4)


# --- figures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("thin", [False, True])
def test_figures_hold_together(tmp_path, thin):
    made = tables()
    if thin:  # one batch, one seed, two nets
        one = trainings()[lambda rows: (rows["seed"] == 0) & rows["net"].isin(rules.NETS[:2])]
        made = tables(separable_times=times(batches=(1,)), separable_trainings=one)
    with figure_checks.drawn("05-accuracy-and-run-time", FIGURES, made, tmp_path, DATA) as done:
        for name, figure in done.items():
            assert figure_checks.is_inside(figure), name
            assert not figure_checks.colliding_parts(figure), name
            assert not figure_checks.colliding_words(figure, texts=False), name


def test_titles_say_the_finding():
    figure = figures.block(tables()["separable_times"])
    assert figure.axes[0].get_title("left") == "8.4 times fewer operations, 2.0 times as fast"
    left, right = figures.accuracy(trainings(), net_times()).axes
    assert left.get_title("left") == "Separable: 0.6 points less,\n8.0 times fewer operations"
    assert right.get_title("left") == "measured, batch 64:\n2.0 times as fast"
    figure = figures.roofline(times(), peaks())
    words = figure.axes[0].get_title("left").strip()
    assert words == "Under the roof of memory: depthwise and pointwise"


def test_every_seed_is_drawn():
    left = figures.accuracy(trainings(), net_times()).axes[0]
    drawn = sorted(y for line in left.lines for y in line.get_ydata() if line.get_alpha())
    assert drawn == sorted(right / 1000 for of_seed in CORRECT.values() for right in of_seed)


def test_without_rows_there_is_nothing_to_draw():
    with pytest.raises(style.NothingToDrawError):
        figures.block(times({"regular": 8.0}))
    with pytest.raises(style.NothingToDrawError):
        figures.roofline(times(), peaks(threads=7))
    with pytest.raises(style.NothingToDrawError):
        figures.roofline(times({"regular": 8.0}), peaks())
    with pytest.raises(style.NothingToDrawError):
        figures.accuracy(trainings().iloc[:0], net_times())


# --- claims ----------------------------------------------------------------------------------


class Tables:
    """What a check asks of `records.Results`, without files."""

    where = "reference"

    def __init__(self, tables):
        self.tables = tables

    def table(self, name):
        if name not in self.tables:
            raise records.MissingTableError(f"no run has written table {name!r}")
        return self.tables[name]

    def record(self, name):
        return {"data": DATA}

    def sha256(self, name):
        return str(id(self.table(name)))


def verdict(name, **changes):
    (claim,) = (c for c in claims.claims(checks.all_checks()) if c.key == f"geifman/{name}")
    assert claim.key in chapter.CHECKS
    return claims.evaluate(claim, Tables(tables(**changes)))[:3]


@pytest.mark.parametrize(
    ("name", "lost"),
    [("dsc_comparable_accuracy", verdicts.NOT_TESTABLE), ("dsc_example_accuracy", "differs")],
)
def test_comparable_accuracy_needs_the_whole_interval(name, lost):
    # -0.5, -0.7, -0.6: the mean is -0.6, and half its interval 4.303 * 0.1 / 3**0.5 = 0.25
    near = trainings({"separable_cnn": (905, 908, 914)})
    value, said, reason = verdict(name, separable_trainings=near)
    assert said.startswith("reproduced under protocol FashionMNIST")
    assert value.startswith("-0.60 points (95 % interval -0.85 to -0.35), 8.0 times fewer")
    assert "plain_cnn_narrow" in reason
    far = trainings({"separable_cnn": (880, 886, 890)})
    # of ImageNet our nets say nothing; that fewer operations keep the accuracy they can refute
    assert verdict(name, separable_trainings=far)[1] == lost
    # nets that were trained for longer are named beside these, and do not stand for them
    long = near[near["net"].isin(["separable_cnn", "plain_cnn_narrow"])].assign(epochs=9)
    both = pd.concat([near, long], ignore_index=True)
    assert verdict(name, separable_trainings=both)[0] == value
    assert "9 epochs" in verdict(name, separable_trainings=both)[2]
    # -0.5, -0.5, -0.8: the interval ends at -1.03
    _, said, reason = verdict(name)
    assert said == "undecided" and "-1 lies inside the interval" in reason
    two = trainings({"separable_cnn": (905, 910)})
    assert verdict(name, separable_trainings=two)[1] == claims.NOT_YET
    gone = trainings({"separable_cnn": (905, 908, 914)}, status="diverged")
    assert verdict(name, separable_trainings=gone)[1] == claims.NOT_YET


# 0.4 ms for 300 bytes at 112 x 112 places are 9.4 GB/s of 10; 8 ms for the plain block's
# operations 231 GFLOP/s, of 300 here
BOUND = {"regular": 8.0, "separable": 4.0, "depthwise": 0.4, "pointwise": 3.0}


def test_bandwidth_matters_where_one_half_is_bound_by_it_and_the_plain_block_is_not():
    same = {"separable_peaks": peaks(flops_per_s=3e11)}
    value, said, reason = verdict("memory_bandwidth_matters", separable_times=times(BOUND), **same)
    assert said == "reproduced under protocol of its example, batch 8"
    assert value == "depthwise at 94 % of a copy's bandwidth and 12 % of the arithmetic peak"
    assert "in 2 of 2 cases" in reason
    # a depthwise convolution that takes ten times as long is not held up by the bandwidth
    slow = times(BOUND | {"depthwise": 4.0})
    assert verdict("memory_bandwidth_matters", separable_times=slow, **same)[1] == "differs"
    # nor does anything hold up a block that is as fast as its operations promise
    fast = times(BOUND | {"separable": 8.0 * (9 + 128) / (9 * 128)})
    assert verdict("memory_bandwidth_matters", separable_times=fast, **same)[1] == "differs"
    for thin in (times(BOUND, stable=False), times(BOUND, fresh=10**12)):
        said = verdict("memory_bandwidth_matters", separable_times=thin, **same)[1]
        assert said == claims.NOT_YET


def test_without_tables_nothing_is_tested():
    for key in chapter.separable.CHECKS:
        (claim,) = (c for c in claims.claims(checks.all_checks()) if c.key == key)
        assert claims.evaluate(claim, Tables({}))[1] == claims.NOT_YET


# --- the study, at the smallest scale, on the stand-in ---------------------------------------

TINY = replace(SMOKE, device="cpu", threads=1, separable_images=64, separable_tried=20)


def here(function, plan, *_, **__):
    """`sweep.run` in this process, as far as a study sees of it."""
    function = getattr(measurements, function.partition(":")[2])
    rows = [unit | row for unit in plan for row in function(**unit)]
    return SimpleNamespace(rows=pd.DataFrame(rows))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study on scikit-learn's digits that keeps its nets in a folder of its own."""
    raw = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONVCOST_DATA", raising=False)
        patch.setattr(paths, "RAW", raw)
        patch.setattr(
            datasets.library, "load", lambda *a, of=datasets.load: of(*a, download=False, raw=raw)
        )
        patch.setattr(planned, "run", here)
        datasets.splits.cache_clear()
        yield Study("quick", TINY)
        datasets.splits.cache_clear()


@pytest.mark.parametrize("table", tables())
def test_tables_are_written_as_their_schema_wants(study, table, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path)
    run = records.start_run("05-accuracy-and-run-time", "quick", data=[], seeds=[0])
    written = run.write(table, getattr(study, table)())
    assert len(written)


def test_blocks_are_counted_as_the_formulas_say(study):
    table = study.separable_times().drop_duplicates(["block", "layout"]).set_index("block")
    c_in, c_out, px = TINY.separable_blocks[0]
    assert set(table.loc["regular", "macs"]) == {9 * c_in * c_out * px**2}
    assert set(table.loc["depthwise", "macs"]) == {9 * c_in * px**2}
    # float32: input, kernels and output, each once
    places = 4 * px**2
    assert set(table.loc["pointwise", "bytes"]) == {places * (c_in + c_out) + 4 * c_in * c_out}
    halves = table.loc["depthwise", "bytes"].iloc[0] + table.loc["pointwise", "bytes"].iloc[0]
    assert set(table.loc["separable", "bytes"]) == {halves}
    assert set(table["layout"]) == {"contiguous", "channels_last"}


def test_trainings_have_a_row_an_epoch(study):
    table = study.separable_trainings()
    assert list(table["net"]) == ["plain_cnn", "separable_cnn"]
    assert set(table["train_images"]) == {64} and set(table["test_images"]) == {20}
    assert table.set_index("net")["macs"]["plain_cnn"] == counted("plain_cnn").macs
    assert (table["test_correct"] <= 20).all()


def test_memory_from_the_system_is_counted():
    big = measurements.timing.Case(torch.nn.Conv2d(8, 64, 1), (8, 512, 512), 4)
    small = measurements.timing.Case(torch.nn.Conv2d(1, 1, 1), (1, 4, 4), 1)
    told = [measurements._fresh_bytes(case, 1, "cpu") for case in (big, small)]
    if told[0] is not None:
        assert told[1] < 4096 * 100 and 0 <= told[0] <= 2 * 4 * 64 * 512 * 512 * 4
    assert measurements._fresh_bytes(small, 1, "cuda") is None


def test_scales_begin_with_the_posts_example_and_have_pairs_of_nets():
    for scale in SCALES.values():
        assert scale.separable_blocks[0] == POST
        names = [net for net, _ in scale.separable_seeds]
        assert names == [net for net in rules.NETS if net in names]
        assert {rules.PLAIN, rules.SEPARABLE_NET, rules.NARROW} <= set(names)
        assert any(what == "inference" for what, _ in scale.separable_net_cases)
    assert min(n for _, n in SCALES["cpu"].separable_seeds[:3]) >= chapter.separable.SEEDS


def test_only_long_trainings_have_workers(study):
    for profile, is_short in (("quick", True), ("cpu", False)):
        plan = Study(profile, SCALES[profile])._separable_trainings
        assert plan.options["here"] == is_short
