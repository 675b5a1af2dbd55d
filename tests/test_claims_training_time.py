"""Checks of notebook 02: each on tables where the source is right, and on ones where it is not."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

import training_time_tables
from convcost import claims, records
from convcost.chapters.training_time import claims as training_time
from convcost.chapters.training_time.findings import paper
from convcost.claims import checks
from convcost.core import paths

SECONDS = dict(zip(paper.NETS, paper.table_two()["seconds"], strict=True))


@cache
def _whole():
    """As after a reference run, but for fewer predictions: they take most of the time."""
    made = training_time_tables.tables(full=())
    few = made["predicted_steps"]
    return made | {"predicted_steps": few[(few["batch"] == 32) & (few["input_px"] >= 96)]}


def proportional(seconds_per_flop=1e-9):
    """Seconds of each net exactly proportional to our FLOPs of it."""
    costs = _whole()["net_costs"]
    rows = costs[(costs["input_px"] == 224) & (costs["in_channels"] == 3)].set_index("net")
    return {net: 2 * int(rows.loc[net, "macs"]) * seconds_per_flop for net in paper.NETS}


def steps(epoch_s, px=224, workers=0, pipeline=0.0):
    """Steps whose epoch of 60,000 + 10,000 images takes `epoch_s` seconds, by net.

    `pipeline` is the share of each step that its pipeline takes.
    """
    rows = []
    for net, seconds in epoch_s.items():
        image_s = seconds / 70_000
        for part in ("training", "validation"):
            for number in range(3):
                row = {"net": net, "loop": "plain", "input_px": px, "in_channels": 3}
                row |= {"batch_asked": 32, "workers": workers, "threads": 2, "batch": 32}
                row |= {"part": part, "step": number, "warmup": number == 0, "images": 32}
                row |= {"pipeline_s": 32 * image_s * pipeline, "forward_s": 0.0}
                row |= {"backward_s": 0.0, "optimiser_s": 0.0, "step_s": 32 * image_s}
                rows.append(row)
    return pd.DataFrame(rows)


DEPTH = ("alexnet", "vgg16", "densenet161", "resnet18", "googlenet")  # fewest operators first


def world(**changes):
    """Tables as after a reference run whose epochs take the paper's seconds.

    The operators are such that the deeper nets compute fewer FLOPs in a second.
    """
    made = dict(_whole())
    calls = made["net_costs"]["net"].map({net: 10 * (i + 1) for i, net in enumerate(DEPTH)})
    costs = made["net_costs"].assign(calls=calls.fillna(99).astype(int))
    return made | {"training_steps": steps(SECONDS), "net_costs": costs} | changes


class Tables:
    """What a check asks of `records.Results`, without files."""

    where = "reference"

    def __init__(self, tables, profile="cpu", arithmetic=None):
        self.tables, self.profile, self.arithmetic = tables, profile, arithmetic

    def table(self, name):
        self.record(name)
        return self.tables[name]

    def record(self, name):
        if name not in self.tables:
            raise records.MissingTableError(f"no run has written table {name!r}")
        details = {"cpu": "a CPU", "gpu": "a GPU"}
        return {
            "profile": self.profile, "machine_details": details, "arithmetic": self.arithmetic
        }  # fmt: skip

    def sha256(self, name):
        return str(self.record(name) and id(self.tables[name]))


CLAIMS = {c.key: c for c in claims.claims(checks.all_checks()) if c.key in training_time.CHECKS}
GPU = "cheng2025/gpu_parallel_convolution"


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """No results of this repository: only those that a test writes."""
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path / "runs")
    monkeypatch.setattr(paths, "REFERENCE_RESULTS", tmp_path / "results")


def evaluated(tables):
    """Key of each claim of the notebook -> (ours, verdict, reason)."""
    results = Tables(tables)
    return {key: claims.evaluate(claim, results)[:3] for key, claim in CLAIMS.items()}


def of(name, tables):
    """(ours, verdict, reason) of one claim."""
    return claims.evaluate(CLAIMS[f"cheng2025/{name}"], Tables(tables))[:3]


# --- the ledger of the notebook --------------------------------------------------------------


def test_every_testable_row_of_the_notebook_has_a_check_and_no_other():
    testable = {
        claim.key
        for claim in claims.claims(checks.all_checks())
        if claim.notebook == "02-training-time" and claim.testable == "yes"
    }
    assert testable == set(CLAIMS) == set(training_time.CHECKS)


def expected(key):
    name = key.partition("/")[2]
    if key == GPU:
        return claims.NOT_YET
    if name == "conclusion_more_computation_longer":
        return "inconsistent in the source"
    if name in ("abstract_deeper_costs_more", "depth_reduces_efficiency"):  # five nets are few
        return "undecided"
    return "reproduced under protocol" if name.startswith("table2_") else "reproduced"


def test_tables_on_which_the_source_is_right_reproduce_all_but_what_contradicts_itself():
    found = {key: claims.family(verdict) for key, (_, verdict, _) in evaluated(world()).items()}
    assert found == {key: expected(key) for key in CLAIMS}


def test_through_files_it_is_the_same():
    made = world()
    run = records.start_run("02-training-time", "cpu", where="reference")
    for name, rows in made.items():
        if len(rows):
            run.write(name, rows)
    entries = {e.key: e for e in claims.ledger(notebook="02") if e.key in CLAIMS}
    assert {k: claims.family(e.verdict) for k, e in entries.items()} == {
        key: expected(key) for key in CLAIMS
    }
    in_memory = evaluated(made)
    assert {key: entry.reference for key, entry in entries.items()} == {
        key: ours for key, (ours, _, _) in in_memory.items()
    }


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        # AlexNet is judged by the common factor of the four others
        ("table2_alexnet_seconds", {"alexnet": 1.2}),
        ("table2_vgg16_seconds", {"vgg16": 1.2}),
        ("table2_googlenet_seconds", {"googlenet": 0.8}),
        ("table2_resnet18_seconds", {"resnet18": 1.2}),
        ("table2_densenet_seconds", {"densenet161": 0.8}),
    ],
)
def test_another_ratio_differs_and_only_for_its_net(name, factors):
    seconds = {net: s * factors.get(net, 1) for net, s in SECONDS.items()}
    found = evaluated(world(training_steps=steps(seconds)))
    differ = {
        key for key, (_, verdict, _) in found.items() if verdict == "undecided" and "table2" in key
    }
    if name == "table2_alexnet_seconds":  # all ratios are to it
        assert f"cheng2025/{name}" in differ and len(differ) == 5
    else:
        assert differ == {f"cheng2025/{name}"}
    assert "distance" in of(name, world(training_steps=steps(seconds)))[2]
    claim = CLAIMS[f"cheng2025/{name}"]  # ratios of a processor refute none of a graphics card
    on_gpu = Tables(world(training_steps=steps(seconds)), "gpu")
    assert claims.evaluate(claim, on_gpu).verdict == "differs"


def test_a_protocol_worse_than_five_equal_times_reproduces_no_row():
    """DenseNet's own ratio is right; VGG16's is eight times too high, and the table is missed."""
    seconds = SECONDS | {"vgg16": 8 * SECONDS["vgg16"]}
    ours, verdict, reason = of("table2_densenet_seconds", world(training_steps=steps(seconds)))
    assert ours == pytest.approx(571.19, rel=0.01) and verdict == "undecided"
    assert "five equal times: 0.35" in reason and "a graphics card would decide" in reason


@pytest.mark.parametrize("name", ["abstract_time_not_linear", "time_not_linear_in_flops"])
def test_times_proportional_to_flops_overturn_that_they_are_not(name):
    ours, verdict, reason = of(name, world(training_steps=steps(proportional())))
    assert (ours, verdict) == ("1.0-fold spread of seconds per FLOP", "differs")
    assert "misses a net by 0 %" in reason and "ours: Pearson 1.00" in reason


def test_a_straight_line_that_does_not_pass_through_zero_is_linear_too():
    line = {net: 100 + seconds for net, seconds in proportional(1e-9).items()}
    ours, verdict, _ = of("time_not_linear_in_flops", world(training_steps=steps(line)))
    assert verdict == "differs" and not ours.startswith("1.0-fold")


def test_the_conclusion_contradicts_its_own_tables_whatever_we_measure():
    ours, verdict, reason = of(
        "conclusion_more_computation_longer", world(training_steps=steps(proportional()))
    )
    assert (ours, verdict) == ("10 of 10 pairs in order", "inconsistent in the source")
    assert "5 have more FLOPs and more seconds together" in reason
    assert "vgg16 30.94 GFLOPs and 454.72 s" in reason and "Kendall's tau 1.0" in reason


def ranked(order, downwards=False):
    """Seconds of the five nets, by depth (operator calls): one more for each place in `order`."""
    calls = world()["net_costs"].groupby("net")["calls"].max().sort_values().index
    nets = [net for net in calls if net in paper.NETS]
    return {net: 100.0 + 10 * place for net, place in zip(nets, order, strict=True)}


def test_depth_has_to_rank_with_flops_and_with_time_beyond_chance():
    """Of five nets only a perfect order has a chance below 5 %: 1 of 5! = 120 orders."""
    made = world(training_steps=steps(ranked(range(5))))
    ours, verdict, reason = of("abstract_deeper_costs_more", made)
    assert "time +1.0 (p 0.01)" in ours and verdict == "undecided"  # the FLOPs are what they are
    assert "nets of one design at many depths would decide" in reason
    assert "alexnet, which has the fewest operators" in reason


def test_efficiency_that_falls_with_depth_in_every_net_is_reproduced():
    flops = proportional()
    slower = {net: flops[net] * factor for net, factor in
              zip(ranked(range(5)), (1, 2, 3, 4, 5), strict=True)}  # fmt: skip
    falls = of("depth_reduces_efficiency", world(training_steps=steps(slower)))
    assert falls[1].startswith("reproduced under protocol") and "-1.0 (p 0.01)" in falls[0]
    alike = of("depth_reduces_efficiency", world(training_steps=steps(proportional())))
    assert alike[1] == "undecided"
    # four fifths of every step spent on loading change the rates of all nets alike
    loading = of("depth_reduces_efficiency", world(training_steps=steps(SECONDS, pipeline=0.8)))
    assert loading[:2] == of("depth_reduces_efficiency", world())[:2]


# --- runs that were not stable ---------------------------------------------------------------


def unstable(tables, *nets):
    """`tables` with a run of the plain loop for each net, as unstable as said."""
    keys = ["net", "loop", "input_px", "in_channels", "batch_asked", "workers", "threads"]
    runs = tables["training_steps"][keys].drop_duplicates()
    return tables | {"loop_runs": runs.assign(stable=~runs["net"].isin(nets))}


def test_what_was_timed_in_an_unstable_run_has_no_say():
    """VGG16 takes its share of FLOPs only because something else was running: it is left out."""
    fair = proportional() | {"vgg16": 3 * proportional()["vgg16"]}
    made = unstable(world(training_steps=steps(fair)), "vgg16")
    ours, verdict, reason = of("time_not_linear_in_flops", made)
    assert (ours, verdict) == ("1.0-fold spread of seconds per FLOP", "differs")
    assert "batch 32, vgg16 left out: not stable" in reason
    assert of("time_not_linear_in_flops", unstable(made))[1] == "reproduced"
    assert of("conclusion_more_computation_longer", made)[0] == "6 of 6 pairs in order"
    assert "the three other nets need" in of("abstract_deeper_costs_more", made)[2]
    assert of("depth_reduces_efficiency", made)[2].startswith("four nets of different designs")


def test_two_stable_runs_are_too_few():
    for name in ("time_not_linear_in_flops", "depth_reduces_efficiency"):
        _, verdict, reason = of(name, unstable(world(), "alexnet", "vgg16", "resnet18"))
        assert verdict == claims.NOT_YET and "2 of the five nets" in reason


def test_a_row_of_table_2_names_the_unstable_runs_behind_it():
    made = world()
    assert "not stable" not in of("table2_vgg16_seconds", unstable(made))[2]
    reason = of("table2_vgg16_seconds", unstable(made, "vgg16", "densenet161"))[2]
    assert "paper's order 1.0; not stable: vgg16, densenet161" in reason


# --- protocols -------------------------------------------------------------------------------


def test_the_nearest_protocol_is_named():
    both = pd.concat([steps(proportional()), steps(SECONDS, px=96)])
    ours, verdict, _ = of("table2_vgg16_seconds", world(training_steps=both))
    assert ours == pytest.approx(SECONDS["vgg16"], abs=0.005)
    assert "densenet161, 96 px, 3 channels, batch 32," in verdict


def test_a_protocol_that_only_predictions_fit_reproduces_nothing():
    """The paper's own seconds as a prediction: mentioned, not believed."""
    made = world(training_steps=steps(proportional()))
    rows = [
        {"device": "a GPU", "net": net, "input_px": 224, "in_channels": 3, "batch": 32}
        | {"part": part, "flops": 1, "bytes": 1, "calls": 0, "busy_s": 32 * s / 70_000}
        | {"compute_s": 0.0, "memory_s": 0.0}
        for net, s in SECONDS.items()
        for part in ("training", "validation")
    ]
    _, verdict, reason = of("table2_vgg16_seconds", made | {"predicted_steps": pd.DataFrame(rows)})
    assert verdict == "undecided"
    assert "predicted for a GPU" in reason and "is at 0.00 and fits 5 of five" in reason


# --- thin and missing tables -----------------------------------------------------------------

NEEDED = ("training_steps", "net_costs", "pipeline_times", "layer_costs")


@pytest.mark.parametrize("table", NEEDED)
def test_a_table_that_is_missing_leaves_its_claims_untested(table):
    found = evaluated({name: rows for name, rows in world().items() if name != table})
    reasons = [
        reason
        for key, (_, verdict, reason) in found.items()
        if verdict == claims.NOT_YET and (key != GPU or table == "layer_costs")
    ]
    assert reasons and all(table in reason for reason in reasons)


@pytest.mark.parametrize("table", ["full_epochs", "fashion_accuracies", "predicted_steps"])
def test_what_a_run_may_lack_costs_no_verdict(table):
    lacking = {name: rows for name, rows in world().items() if name != table}
    found = {key: claims.family(verdict) for key, (_, verdict, _) in evaluated(lacking).items()}
    assert found == {key: expected(key) for key in CLAIMS}


def test_full_epochs_of_another_machine_are_left_out(monkeypatch):
    """They would take the place of the steps: as long as the paper's, all nets alike."""
    epochs = training_time_tables.tables(full=paper.NETS)["full_epochs"]
    epochs = epochs.assign(train_s=100.0, validation_s=10.0)
    for machine, names in {"with-steps": world(), "other": {"full_epochs": epochs}}.items():
        monkeypatch.setattr(records.machine, "slug", lambda machine=machine: machine)
        run = records.start_run("02-training-time", "cpu", where="reference")
        for name, rows in names.items():
            if len(rows):
                run.write(name, rows)
    claim = CLAIMS["cheng2025/time_not_linear_in_flops"]
    mixed = claims.evaluate(claim, records.Results())
    assert mixed == claims.evaluate(claim, records.Results(machine="with-steps"))
    assert "5 of 10 pairs" in mixed[2].partition("the paper's")[0]


@pytest.mark.parametrize("without", ["alexnet", "densenet161"])
def test_a_net_that_was_not_timed_is_named(without):
    four = {net: seconds for net, seconds in SECONDS.items() if net != without}
    found = evaluated(world(training_steps=steps(four)))
    assert {verdict for _, verdict, _ in found.values()} == {claims.NOT_YET}
    assert without in found["cheng2025/time_not_linear_in_flops"][2]


def test_thin_tables_give_a_verdict_or_say_what_is_missing():
    found = evaluated(training_time_tables.tables(**training_time_tables.QUICK))
    assert {key for key, (_, v, _) in found.items() if v == claims.NOT_YET} == {GPU}
    assert not [key for key, (ours, _, _) in found.items() if "nan" in str(ours).lower()]


# --- a GPU that has not measured everything yet ----------------------------------------------

MEASURED = [name for name in training_time_tables.tables(repetitions=2)
            if name not in training_time_tables.COUNTED]  # fmt: skip


def on_a_gpu(monkeypatch, tables, machine="a-gpu", profile="gpu"):
    monkeypatch.setattr(records.machine, "slug", lambda: machine)
    run = records.start_run("02-training-time", profile, where="reference")
    for name, table in tables.items():
        run.write(name, table)
    return records.Results("reference", machine)


def rowless(tables, *names):
    return {name: t.iloc[:0] if name in names else t for name, t in tables.items()}


@pytest.mark.parametrize(
    ("parts", "tested"),
    [
        ((), set()),
        (("table-2",), {"abstract_time_not_linear", "time_not_linear_in_flops",
                        "conclusion_more_computation_longer", "abstract_deeper_costs_more"}),
        (("table-2", "step"), {key.partition("/")[2] for key in CLAIMS if key != GPU}),
    ],
    ids=["nothing", "table-2", "step"],
)  # fmt: skip
def test_each_part_tests_its_claims_and_the_others_say_what_is_missing(parts, tested):
    epochs = training_time_tables.tables(full=paper.NETS, full_workers=(0, 8))["full_epochs"]
    made = training_time_tables.only(_whole() | {"full_epochs": epochs}, *parts)
    results = Tables(made, "gpu")
    for key, claim in CLAIMS.items():
        ours, verdict, reason = claims.evaluate(claim, results)[:3]
        if key.partition("/")[2] in tested:
            assert verdict != claims.NOT_YET and "nan" not in str(ours).lower(), key
            continue
        assert (ours, verdict) == (None, claims.NOT_YET), key
        assert "measured yet" in reason or "timed" in reason, (key, reason)
        assert "make reproduce" not in reason, (key, reason)


@pytest.mark.parametrize("gone", MEASURED)
def test_a_table_without_rows_leaves_no_verdict_of_its_own(gone):
    """What a check finds without rows it needs not is what it finds with them."""
    made = world()
    with_rows = evaluated(made)
    for key, (ours, verdict, reason) in evaluated(rowless(made, gone)).items():
        if verdict == claims.NOT_YET:
            assert ours is None and ("yet" in reason or key == GPU), (key, reason)
        else:
            assert (ours, verdict) == with_rows[key][:2], key


@pytest.mark.parametrize(
    "gone", [("full_epochs", "layer_costs"), ("training_steps",), ("pipeline_times",)],
)  # fmt: skip
@pytest.mark.parametrize("lost", [(), ("alexnet",)], ids=["all nets", "no AlexNet"])
def test_no_verdict_mixes_two_machines(monkeypatch, gone, lost):
    """Every finding is that of one machine alone: of the GPU where it can, else of the CPU."""
    monkeypatch.setattr(training_time, "_other_machine", _no_other)
    epochs = training_time_tables.tables(full=paper.NETS, repetitions=2)["full_epochs"]
    partial = _whole() | {"full_epochs": epochs.assign(train_s=epochs["train_s"] ** 1.5)}
    partial = rowless(training_time_tables.without(partial, *lost), *gone)
    gpu = on_a_gpu(monkeypatch, partial)
    cpu = on_a_gpu(monkeypatch, world(), machine="b-cpu", profile="cpu")
    for key, claim in CLAIMS.items():
        alone = {one.machine: claims.evaluate(claim, one) for one in (gpu, cpu)}
        together = claims.evaluate(claim, records.Results())
        able = [name for name, one in alone.items() if one.verdict != claims.NOT_YET]
        if able:
            assert together == alone[able[0]], key
            assert f"on {able[0]}: " in together[2], key
            # of AlexNet there is nothing, but of the textbook's
            assert not lost or able == ["b-cpu"] or "table2" in key, key
        else:
            assert together[:2] == (None, claims.NOT_YET)
            assert all(name in together[2] for name in alone), key


def _no_other(kind):
    raise records.MissingTableError(f"no reference run of profile {kind}")


@pytest.mark.parametrize(
    ("arithmetic", "words"),
    [
        ({"cuda_matmul_tf32": False, "cudnn_tf32": True}, ", float32, convolutions in TF32"),
        ({"cuda_matmul_tf32": True, "cudnn_tf32": True},
         ", float32, matrix products and convolutions in TF32"),
        ({"cuda_matmul_tf32": False, "cudnn_tf32": False}, ", float32 without TF32"),
        ({"cudnn_tf32": None}, ""),
        ({}, ""),
        (None, ""),
    ],
)  # fmt: skip
def test_the_conditions_of_a_gpu_name_its_arithmetic(arithmetic, words):
    epochs = training_time_tables.tables(full=paper.NETS, full_workers=(8,))["full_epochs"]
    made = training_time_tables.only(_whole() | {"full_epochs": epochs}, "table-2")
    claim = CLAIMS["cheng2025/time_not_linear_in_flops"]
    setting = "plain loop, 224 px, 3 channels, batch 32, 8 loader workers, whole epochs"
    reason = claims.evaluate(claim, Tables(made, "gpu", arithmetic))[2]
    assert reason.startswith(f"{setting}{words}; the best straight line")
    # a processor has no TF32, whatever its torch would do on a GPU
    reason = claims.evaluate(claim, Tables(made, "cpu", arithmetic))[2]
    assert reason.startswith(f"{setting}; the best straight line")


# --- a GPU -----------------------------------------------------------------------------------


def written(profile, faster, machine, monkeypatch):
    made = training_time_tables.tables(repetitions=2)["layer_costs"]
    monkeypatch.setattr(records.machine, "slug", lambda: machine)
    run = records.start_run("02-training-time", profile, where="reference")
    run.write("layer_costs", made.assign(seconds=made["seconds"] / faster))
    return records.Results("reference", machine)


def test_a_gpu_is_compared_with_a_machine_without_one(monkeypatch):
    cpu = written("cpu", 1, "some-cpu", monkeypatch)
    assert claims.evaluate(CLAIMS[GPU], cpu)[1] == claims.NOT_YET
    gpu = written("gpu", 40, "some-gpu", monkeypatch)
    for results in (cpu, gpu):
        assert claims.evaluate(CLAIMS[GPU], results)[:2] == ("40.0 times", "reproduced")


def test_a_gpu_that_is_slower_differs_and_a_quick_run_compares_nothing(monkeypatch):
    written("gpu", 0.5, "some-gpu", monkeypatch)
    cpu = written("cpu", 1, "some-cpu", monkeypatch)
    assert claims.evaluate(CLAIMS[GPU], cpu)[:2] == ("0.5 times", "differs")
    quick = written("quick", 1, "another", monkeypatch)
    _, verdict, reason = claims.evaluate(CLAIMS[GPU], quick)[:3]
    assert verdict == claims.NOT_YET and "quick" in reason


def test_only_nets_that_both_machines_have_timed_are_compared(monkeypatch):
    written("cpu", 1, "some-cpu", monkeypatch)
    gpu = written("gpu", 40, "some-gpu", monkeypatch)
    rows = gpu.table("layer_costs").drop(columns="run_id")
    # VGG16 did not fit: it has most of the FLOPs, and the best rate
    on_a_gpu(monkeypatch, {"layer_costs": rows[rows["net"] != "vgg16"]}, machine="some-gpu")
    ours, verdict, reason = claims.evaluate(CLAIMS[GPU], records.Results())[:3]
    assert (ours, verdict) == ("40.0 times", "reproduced")
    assert "alexnet, googlenet, resnet18, densenet161: convolutions" in reason
    assert "(some-gpu) over" in reason and "(some-cpu)" in reason
    on_a_gpu(monkeypatch, {"layer_costs": rows.iloc[:0]}, machine="some-gpu")
    _, verdict, reason = claims.evaluate(CLAIMS[GPU], records.Results())[:3]
    assert verdict == claims.NOT_YET and "layer_costs" in reason


def test_alexnet_is_judged_by_the_common_factor_of_the_others():
    row = pd.Series({f"{role}_ratio": 2.0 for role in paper.ROLES} | {"alexnet_ratio": 1.0})
    others = [SECONDS[net] for net in paper.NETS[1:]]
    mean = float(np.prod(others) ** (1 / 4))
    assert training_time._seconds(row, "alexnet") == pytest.approx(mean / 2)
    assert training_time._seconds(row, "vgg16") == 2 * SECONDS["alexnet"]
