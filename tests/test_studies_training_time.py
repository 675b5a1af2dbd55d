"""The experiments of notebook 02, at the smallest scale, on the stand-in."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import pandas as pd
import pytest

from convcost import datasets, nets, predict, records
from convcost.chapters.training_time import study as training_time
from convcost.chapters.training_time.study import PAPER_NETS, SCALES, Case, Study, takes
from convcost.core import paths
from convcost.core.units import FLOPS_PER_MAC
from convcost.sweep import planned
from convcost.sweep.unit import perform

TINY = replace(
    SCALES["quick"],
    loops=("plain", "resized on the device"),
    input_px=32,
    batch=2,
    steps=1,
    validation_steps=1,
    protocols={"resnet18_textbook": (Case("plain", 32, 1, 4),)},
    full=(("lenet_atsumi", Case("plain", 28, 1, 64)),),
    pipeline_px=(32,),
    pipeline_images=8,
    accuracy_images=64,
    accuracy_px=32,
    accuracy_nets=("squeezenet1_1",),
    accuracy_tested=None,
    layer_nets=("squeezenet1_1",),
    layer_px=32,
    layer_batch=2,
    repetitions=2,
    peak_sizes=(32,),
    copy_sizes=(1024,),
    families={"squeezenet": ("squeezenet1_1",), "alexnet": ("alexnet",)},
    batches={("inference", 32): (1, 2)},
    threads=1,
)


def here(function, plan, *_, **__):
    """`sweep.run` in this process, as far as a study sees of it."""
    function = getattr(training_time, function.partition(":")[2])
    done = [perform(function, unit) for unit in plan]
    assert [outcome["reason"] for outcome in done] == [None] * len(plan)
    rows = [unit | row for unit, outcome in zip(plan, done, strict=True) for row in outcome["rows"]]
    units = pd.DataFrame(plan).assign(status="done", reason=None)
    return SimpleNamespace(rows=pd.DataFrame(rows), units=units)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two small nets on scikit-learn's digits, in a folder of its own."""
    raw = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONVCOST_DATA", raising=False)
        patch.setattr(paths, "RAW", raw)
        patch.setattr(
            datasets, "load", lambda *a, of=datasets.load: of(*a, download=False, raw=raw)
        )
        # workers are other processes: they would not see this folder
        patch.setattr(planned, "run", here)
        patch.setattr(training_time, "PAPER_NETS", ("squeezenet1_1", "alexnet"))
        training_time._sets.cache_clear()
        yield Study("quick", TINY)
        training_time._sets.cache_clear()


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    """Writes rows as a notebook does, into a folder of its own; they come out as written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LOCAL_RESULTS", tmp_path_factory.mktemp("results"))
        yield records.start_run("02-training-time", "quick", data=[], seeds=[0]).write


def test_every_case_of_every_scale_can_be_run():
    loops = training_time.trainings.LOOPS
    for scale in SCALES.values():
        assert set(scale.loops) <= set(loops) and scale.loops[0] == "plain"
        assert set(scale.compiled) <= set(PAPER_NETS)
        for net, cases in [*scale.protocols.items(), *((net, [case]) for net, case in scale.full)]:
            assert net in nets.names() and all(case.loop in loops for case in cases)
        # whole epochs of the five nets tell their accuracy, too
        assert scale.accuracy_nets or {net for net, _ in scale.full} == set(PAPER_NETS)
        assert scale.layer_nets
    cpu = SCALES["cpu"]
    assert cpu.input_px == 224 and cpu.accuracy_nets == cpu.layer_nets == PAPER_NETS
    assert {net for net, _ in SCALES["gpu"].full} == set(PAPER_NETS)


def test_a_net_that_cannot_take_a_size_is_left_out_by_rule():
    assert takes("resnet18", 32, 3) and not takes("alexnet", 32, 3)


def test_loops_have_a_run_and_steps_each(study, write):
    runs, steps = write("loop_runs", study.loop_runs()), write(
        "training_steps", study.training_steps()
    )  # fmt: skip
    plain = runs[runs["net"] == "squeezenet1_1"]
    assert list(plain["loop"]) == ["plain", "resized on the device"]
    assert set(plain["status"]) == {"done"} and set(plain["batch"]) == {2}
    assert (plain["setup_s"] > 0).all() and (plain["setup_s"] < plain["seconds"]).all()
    # AlexNet takes 63 pixels and more: its rows say so
    failed = runs[runs["net"] == "alexnet"]
    assert set(failed["status"]) == {"failed"} and failed["batch"].isna().all()
    assert failed["reason"].str.contains("32").all() and not failed["stable"].any()
    mine = steps[(steps["net"] == "resnet18_textbook") & (steps["part"] == "training")]
    assert list(mine["warmup"]) == [True, False] and set(mine["images"]) == {4}
    assert steps[steps["part"] == "validation"]["backward_s"].isna().all()
    assert "alexnet" not in set(steps["net"])


def test_a_process_that_dies_leaves_a_row_for_each_of_its_cases(study, monkeypatch):
    def dead(function, plan, *_, **__):
        units = pd.DataFrame(plan).assign(status="failed", reason="signal 9")
        return SimpleNamespace(rows=pd.DataFrame(), units=units)

    monkeypatch.setattr(planned, "run", dead)
    monkeypatch.setattr(training_time, "PAPER_NETS", ("squeezenet1_1",))
    runs, steps = Study("quick", TINY)._loops
    # two loops of the one net, a protocol of another, and the steps beside a whole epoch
    assert list(runs["loop"]) == ["plain", "resized on the device", "plain", "plain"]
    assert set(runs["reason"]) == {"signal 9"} and not runs["stable"].any() and steps.empty


def test_a_step_that_became_slower_marks_its_net(monkeypatch):
    seconds = iter([1.0, 1.0, 1.25])

    def timed(net, case, *_):
        step = {"part": "training", "warmup": False, "step_s": next(seconds)}
        return {"status": "done", "instability": None, "loop": case.loop}, [step]

    monkeypatch.setattr(training_time, "_timed", timed)
    cases = [asdict(Case(loop, 32)) | {"steps": 2} for loop in ("plain", "bf16")]
    rows = list(training_time.loops_of("resnet18", cases, 1, 1, 1, "cpu"))
    runs = [row for row in rows if "loop" in row]
    assert [run["stable"] for run in runs] == [False, False]
    assert "+25 %" in runs[0]["instability"]  # 1.25 / 1 - 1


def test_whole_epochs_accuracies_and_pipelines(study, write):
    (epoch,) = write("full_epochs", study.full_epochs()).to_dict("records")
    train_images, test_images = map(len, study.sets)
    assert (epoch["train_images"], epoch["test_images"]) == (train_images, test_images)
    assert epoch["train_s"] > epoch["forward_s"] > 0 and epoch["batch_asked"] == 64
    (trained,) = write("fashion_accuracies", study.fashion_accuracies()).to_dict("records")
    assert (trained["train_images"], trained["test_images"]) == (64, test_images)
    pipelines = write("pipeline_times", study.pipeline_times())
    assert set(pipelines["pipeline"]) == {"loader", "resident", "device"}
    assert set(pipelines["images"]) == {8} and (pipelines["seconds"] > 0).all()


def test_layers_carry_their_counts(study, write):
    layers = write("layer_costs", study.layer_costs())
    first = layers[layers["layer"] == "features.0"].iloc[0]
    # 64 filters of 3 x 3 x 3 with stride 2 over 32 x 32 pixels without padding, two images
    assert first["macs"] == 2 * 64 * 3 * 3 * 3 * 15 * 15 and first["op"] == "conv"
    whole = layers[layers["layer"] == "(net)"]
    inner = layers[(layers["layer"] != "(net)") & (layers["repetition"] == 0)]
    assert set(whole["macs"]) == {inner["macs"].sum()}
    operators = write("operator_times", study.operator_times())
    assert {"conv", "activation", "(step)"} <= set(operators["group"])


def test_peaks_and_batches(study, write):
    peaks = write("machine_peaks", study.machine_peaks())
    products = peaks[peaks["what"] == "matrix product"]
    assert (products["flops"] == products["calls"] * FLOPS_PER_MAC * 32**3).all()
    batches = write("batch_times", study.batch_times())
    # AlexNet cannot take 32 pixels
    assert set(batches["net"]) == {"squeezenet1_1"} and set(batches["batch"]) == {1, 2}


def test_counts_of_the_protocols(study, write):
    costs = write("net_costs", study.net_costs()).set_index(["net", "input_px", "in_channels"])
    three, one = costs.loc[("alexnet", 224, 3)], costs.loc[("alexnet", 224, 1)]
    assert three["macs"] - one["macs"] == 2 * 64 * 11 * 11 * 55 * 55  # two channels less
    steps = write("predicted_steps", study.predicted_steps())
    row = steps[
        (steps["net"] == "alexnet") & (steps["input_px"] == 224) & (steps["in_channels"] == 3)
        & (steps["batch"] == 64) & (steps["part"] == "validation")
    ]  # fmt: skip
    assert int(row["flops"].iloc[0]) == FLOPS_PER_MAC * 64 * three["macs"]
    assert set(steps["device"]) == {predict.device(training_time.PAPER_GPU).name}
