"""What is measured on a real CUDA GPU; skipped where there is none. `make test-gpu` runs it.

Images are made up, so that no data set is needed. The numbers are compared with bounds that any
GPU since 2017 keeps; how fast it is, is not tested here.
"""

import contextlib
import dataclasses
import json
from collections import OrderedDict
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from convcost.core import machine
from convcost.core.errors import ConvcostError
from convcost.datasets import SETS, Dataset
from convcost.measuring import memory, sensors
from convcost.measuring.timing import (
    NET,
    STEP,
    Case,
    cold_layer_times,
    interleaved,
    layer_times,
    measure,
    measure_many,
    operator_times,
    peaks,
)
from convcost.measuring.timing.operators import UNCLAIMED
from convcost.sweep.unit import provenance
from convcost.training import (
    LOOPS,
    Execution,
    Recipe,
    checkpoints,
    full_epoch,
    loops,
    pipeline_times,
    timed_steps,
    train,
    train_together,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU here"),
]

SMALL = "lenet_atsumi"  # takes 28 pixels
MIB = 2**20


def part(split: str, images: int, seed: int) -> Dataset:
    """Grey squares of 28 x 28, whose brightness is their class, with some noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, images)
    grey = 25 * labels[:, None, None, None] + rng.integers(0, 25, (images, 1, 28, 28))
    spec = SETS["mnist"]
    return Dataset("mnist", "made up", split, grey.astype(np.uint8), labels.astype(np.int64),
                   spec.classes, "made up", spec)  # fmt: skip


@pytest.fixture(scope="module")
def sets():
    return part("train", 600, 0), part("test", 200, 1)


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Every test leaves the GPU's generator and, but for some workspace, its memory as found."""
    memory.give_back()
    generator, held = torch.cuda.get_rng_state(), torch.cuda.memory_allocated()
    yield
    assert torch.equal(torch.cuda.get_rng_state(), generator)
    memory.give_back()
    assert torch.cuda.memory_allocated() < held + 128 * MIB


@contextlib.contextmanager
def at_most(size_bytes: int):
    """A GPU with so little memory: torch then refuses what is more, as a full one does."""
    memory.give_back()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(size_bytes / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def square(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator("cuda").manual_seed(0)
    left, right = (torch.rand(n, n, generator=generator, device="cuda") for _ in range(2))
    return left, right


def net(*widths: int) -> nn.Module:
    """Convolutions of 3 x 3, one after the other, and a layer of ten outputs."""
    layers = OrderedDict()
    for number, (before, after) in enumerate(pairwise(widths)):
        layers[f"conv{number}"] = nn.Conv2d(before, after, 3, padding=1)
        layers[f"norm{number}"] = nn.BatchNorm2d(after)
        layers[f"relu{number}"] = nn.ReLU()
    layers["pool"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    layers["head"] = nn.Linear(widths[-1], 10)
    return nn.Sequential(layers).cuda()


# --- this machine ----------------------------------------------------------------------------


def test_the_gpu_is_known_and_can_be_watched():
    found = machine.describe()
    assert (
        found["gpu"] and found["gpu_memory_bytes"] > 2**30 and machine.slug().startswith("nvidia")
    )
    left, right = square(4096)
    with sensors.watching("cuda", every_s=0.05) as watch:
        for _ in range(200):
            left @ right
        torch.cuda.synchronize()
    assert watch.clock_mhz > 100 and 10 < watch.temperature_c < 110
    assert watch.energy_j is None or watch.energy_j > 0  # since Volta there is a counter
    assert watch.throttled is not None


def test_how_float32_is_calculated_is_recorded_and_true():
    """A product of ones and 1 + 2^-12 tells: TF32 has no room for the 2^-12."""
    assert provenance()["arithmetic"]["cuda_matmul_tf32"] is False
    fine = torch.full((256, 256), 1 + 2**-12, device="cuda")
    ones = torch.ones(256, 256, device="cuda")
    assert (fine @ ones)[0, 0].item() == 256 * (1 + 2**-12)
    torch.set_float32_matmul_precision("high")
    try:
        found = provenance()["arithmetic"]
        assert found["cuda_matmul_tf32"] and found["float32_matmul_precision"] == "high"
        if torch.cuda.get_device_capability() >= (8, 0):
            assert (fine @ ones)[0, 0].item() == 256
    finally:
        torch.set_float32_matmul_precision("highest")
    assert provenance()["arithmetic"]["cuda_matmul_tf32"] is False


# --- timing ----------------------------------------------------------------------------------


def test_events_and_the_wall_agree_on_long_kernels():
    left, right = square(8192)
    out = torch.empty_like(left)
    table = interleaved(
        {"product": lambda: torch.mm(left, right, out=out)},
        repetitions=5, calls=5, device="cuda",
    )  # fmt: skip
    ratio = (table.device_s / table.seconds).median()
    assert 0.95 < ratio <= 1.001
    # the device's own count: 2 * 8192^3 operations cannot be done faster than by the fastest
    assert (table.device_s / table.calls).min() > 2 * 8192**3 / 1e15


def test_peaks_on_a_gpu():
    table = peaks(product_sizes=[2048, 4096], convolution_sizes=[256], copy_sizes=[2**20, 2**26],
                  repetitions=3, device="cuda")  # fmt: skip
    assert (table.seconds > 0).all() and len(table) == 3 * (2 * 2 + 2 * 1 + 2)
    rate = (table.flops / table.seconds).groupby([table.what, table.dtype]).max()
    assert rate["matrix product", "float32"] > 1e12
    if torch.cuda.get_device_capability() >= (8, 0):
        assert rate["matrix product", "bfloat16"] > 2 * rate["matrix product", "float32"]
    moved = (table.bytes / table.seconds)[(table.what == "copy") & (table["size"] == 2**26)]
    assert 1e11 < moved.median() < 2e13


def test_passes_and_steps_of_nets_in_turns():
    small, large = net(3, 16), net(3, 64, 128, 128)
    cases = {
        f"{name} {what}": Case(model, (3, 64, 64), 64, what, **more)
        for name, model in (("small", small), ("large", large))
        for what, more in (
            ("inference", {}),
            ("training_step", {"bf16": True, "channels_last": True, "fused": True}),
        )
    }
    states = [tensor.clone() for model in (small, large) for tensor in model.state_dict().values()]
    done = measure_many(cases, repetitions=5, device="cuda")
    assert list(done) == list(cases)
    for one in done.values():
        # by events, which end before the host knows of it
        assert 0 < one.seconds <= one.wall_s * 1.02
        assert one.clock_mhz and one.temperature_c is not None and one.device == "cuda"
    assert done["large inference"].seconds > done["small inference"].seconds
    after = [tensor for model in (small, large) for tensor in model.state_dict().values()]
    assert all(map(torch.equal, after, states))


def test_a_net_without_memory_costs_only_itself():
    cases = {
        "fits": Case(net(3, 8), (3, 32, 32), 8, "training_step"),
        "too large": Case(net(3, 256, 256), (3, 224, 224), 256, "training_step"),
        "fits, too": Case(net(3, 16), (3, 32, 32), 8),
    }
    held = torch.cuda.memory_allocated()
    with at_most(1024 * MIB):
        done = measure_many(
            cases, repetitions=3, min_s=0.002, device="cuda", skip_out_of_memory=True
        )
        assert list(done) == ["fits", "fits, too"]
        assert torch.cuda.memory_allocated() < held + 128 * MIB
        with pytest.raises(torch.OutOfMemoryError):
            measure_many(cases, repetitions=3, device="cuda")


def test_layers_of_a_net():
    model = net(3, 64, 128, 256)
    images = torch.rand(512, 3, 64, 64)
    table = layer_times(model, images, batch=256, repetitions=5, device="cuda")
    times = table.pivot(index="repetition", columns="layer", values="seconds")
    assert set(times.columns) == {*model._modules, NET} and (times >= 0).all(axis=None)
    whole = times[NET].median()
    assert 0.7 < times.drop(columns=NET).sum(axis=1).median() / whole < 1.3
    assert times.conv2.median() > 5 * times.flatten.median()


def test_first_calls_in_a_fresh_process():
    table = cold_layer_times(SMALL, processes=1, later_calls=10, progress=None, device="cuda")
    assert (table.later_s > 0).all()
    conv1 = table.iloc[0]
    assert conv1.first_s > 5 * conv1.later_s  # a library is made ready


def test_operators_of_a_step_are_what_the_gpu_is_busy_for():
    model = net(3, 64, 128, 256)
    table = operator_times(model, (3, 64, 64), 256, repetitions=3, device="cuda")
    assert not table.duplicated(["repetition", "operator"]).any()
    assert not table.operator.str.startswith("cuda").any()
    seconds = table.pivot_table(index="repetition", columns="group", values="seconds",
                                aggfunc="sum", fill_value=0)  # fmt: skip
    busy = seconds.drop(columns=STEP).sum(axis=1)
    # a step of large layers: hardly any time between kernels, and no kernel is counted twice
    assert 0.6 < (busy / seconds[STEP]).median() < 1.1
    assert (seconds.conv > 0.3 * busy).all() and (seconds.optimiser > 0).all()
    rest = table[table.operator == UNCLAIMED].groupby("repetition").seconds.sum()
    assert (rest < 0.1 * busy.reindex(rest.index)).all()


def test_a_small_net_leaves_the_gpu_idle():
    model = net(3, *[8] * 20)
    table = operator_times(model, (3, 8, 8), 2, repetitions=3, device="cuda")
    whole = table[table.operator == STEP].seconds.median()
    busy = table[table.operator != STEP].groupby("repetition").seconds.sum().median()
    assert 0 < busy < 0.7 * whole


# --- training loops --------------------------------------------------------------------------


@pytest.mark.parametrize("loop", [name for name in LOOPS if name != "compiled"])
def test_steps_of_every_loop(sets, loop):
    run = timed_steps(
        "resnet18", sets, loop, input_px=64, in_channels=3, batch=32, steps=3, validation_steps=2,
        warmup=2, device="cuda",
    )  # fmt: skip
    assert run.record["status"] == "done" and run.record["batch"] == 32
    steps = run.steps[~run.steps.warmup]
    phases = steps[list(loops.PHASES)]
    assert (phases.stack().dropna() > 0).all()
    assert (phases.sum(axis=1) <= steps.step_s * (1 + 1e-9)).all()
    # its weights, 11 million of 4 bytes, their gradients and momenta at the least
    assert 3 * 11e6 * 4 < run.record["memory_peak_bytes"] < 8 * 2**30


def test_the_compiled_loop_runs_or_says_why_not(sets):
    asked = {"input_px": 28, "batch": 32, "steps": 2, "warmup": 1, "device": "cuda"}
    why_not = None
    try:
        run = timed_steps(SMALL, sets, "compiled", **asked)
        assert run.record["status"] == "done" and run.record["memory_peak_bytes"] > 0
    except ConvcostError as error:
        why_not = str(error)
    assert timed_steps(SMALL, sets, "bf16", **asked).record["status"] == "done"
    if why_not:
        assert why_not.startswith(f"{SMALL} under the loop 'compiled', 32 images of 1×28×28")
        pytest.skip(f"nothing can be compiled here: {why_not}")


def test_a_larger_batch_has_a_higher_peak_of_memory(sets):
    found = [
        timed_steps("resnet18", sets, "resized on the device", input_px=96, batch=batch, steps=1,
                    device="cuda").record["memory_peak_bytes"]
        for batch in (8, 64, 128, 8)
    ]  # fmt: skip
    small, middle, large, again = found
    assert 0 < small < middle < large
    # linear in the images, but for weights and workspaces; nothing of the larger ones is left
    assert large - small > 1.5 * (middle - small)
    assert abs(again - small) < 64 * MIB


def test_where_memory_is_refused_the_batch_is_halved(sets):
    asked = {"input_px": 96, "in_channels": 3, "steps": 1, "warmup": 0, "device": "cuda"}
    with at_most(1024 * MIB):
        halved = timed_steps("resnet18", sets, "plain", batch=512, **asked)
        assert halved.record["status"] == "done" and halved.record["batch"] in (128, 64, 32, 16, 8)
        assert 0 < halved.record["memory_peak_bytes"] <= 1024 * MIB
    with at_most(256 * MIB):  # VGG16 has 134 million weights
        lost = timed_steps("vgg16", sets, "plain", batch=2, **asked)
        assert (lost.record["status"], lost.record["batch"]) == ("out of memory", None)
        assert lost.rows == [] and lost.record["memory_peak_bytes"] is None
        assert "memory" in lost.record["reason"].lower()
    assert timed_steps("resnet18", sets, "plain", batch=64, **asked).record["batch"] == 64


@pytest.mark.parametrize("loop", ["plain", "bf16"])
def test_an_epoch(sets, loop):
    rows = full_epoch(SMALL, sets, loop, input_px=28, batch=50, epochs=2, device="cuda")
    for number, row in enumerate(rows, 1):
        assert (row["epoch"], row["batch"], row["train_images"], row["test_images"]) == (
            number, 50, 600, 200
        )  # fmt: skip
        phases = [row[phase] for phase in loops.PHASES]
        # between two steps lies the count of hits alone
        assert all(phase > 0 for phase in phases) and sum(phases) <= row["train_s"] * 1.02
        assert row["validation_s"] > 0 and row["memory_peak_bytes"] > 0
        assert 0 <= row["test_correct"] <= 200


def epochs(sets, folder, on_step=None) -> checkpoints.Checkpoint:
    """mobilenet_v2 has dropout, whose generator is the GPU's; a checkpoint after every step."""
    asked = {"input_px": 32, "batch": 150, "epochs": 2, "folder": folder, "every_s": 0}
    full_epoch("mobilenet_v2", sets, "channels_last", device="cuda", on_step=on_step, **asked)
    (path,) = folder.glob(f"*/*{checkpoints.SUFFIX}")
    return checkpoints.load(path, net="mobilenet_v2")


def test_an_epoch_goes_on_where_it_was_stopped(sets, tmp_path):
    steps = []

    def stop(*done):
        steps.append(done)
        if done == (1, "training", 2):
            raise ConvcostError("stopped before its checkpoint")

    with pytest.raises(ConvcostError, match="stopped"):
        epochs(sets, tmp_path / "stopped", stop)
    begun = len(steps)
    found = epochs(sets, tmp_path / "stopped", lambda *done: steps.append(done))
    assert steps[begun] == (1, "training", 2) and steps[-1] == (2, "validation", 1)
    whole = epochs(sets, tmp_path / "whole")
    assert torch.equal(found.state["generator.cuda"], whole.state["generator.cuda"])
    for name, tensor in whole.state.items():
        # a GPU adds up in any order
        if tensor.is_floating_point():
            assert torch.allclose(found.state[name], tensor, rtol=0.05, atol=0.02), name
    (first, second), expected = (
        json.loads(one.words["progress"])["rows"] for one in (found, whole)
    )
    assert len(expected) == 2 and first["memory_peak_bytes"] > 0 < second["memory_peak_bytes"]


def test_pipelines_on_a_gpu(sets):
    for pipeline, workers in (("loader", 0), ("loader", 2), ("resident", 0), ("device", 0)):
        table = pipeline_times(
            sets[0], pipeline, input_px=64, in_channels=3, batch=50, images=200, workers=workers,
            repetitions=2, device="cuda",
        )  # fmt: skip
        assert len(table) == 2 and (table.seconds > 0).all()


def test_worker_processes_begin_after_cuda_is_in_use(sets):
    torch.zeros(1, device="cuda")
    asked = {"input_px": 64, "batch": 50, "steps": 2, "device": "cuda"}
    assert timed_steps("resnet18", sets, "plain", workers=2, **asked).record["status"] == "done"
    plain = dataclasses.replace(LOOPS["bf16"], name="bf16 from a loader", pipeline="loader")
    assert timed_steps("resnet18", sets, plain, workers=2, **asked).record["status"] == "done"


@pytest.mark.parametrize("bf16", [False, True])
def test_a_net_is_trained(sets, bf16):
    recipe, execution = Recipe(epochs=5, batch_size=50), Execution(device="cuda", bf16=bf16)
    trained, again = (train(SMALL, sets, recipe, 0, execution=execution) for _ in range(2))
    assert trained.status == "trained" and len(trained.test_accuracy) == 5
    assert trained.test_accuracy[-1] > 0.2  # ten classes, told by their brightness
    if not bf16:  # cuDNN is told to take what gives the same bits
        assert all(torch.equal(tensor, again.state[k]) for k, tensor in trained.state.items())


def test_nets_are_trained_together(sets):
    recipe = Recipe("sgd", lr=0.05, batch_size=50, epochs=2, normalisation="-1..1")
    execution = Execution("cuda")
    found = train_together(SMALL, sets, recipe, range(20), execution=execution)
    for seed in range(3):
        alone = train(SMALL, sets, recipe, seed, execution=execution)
        here, there = (
            torch.cat([tensor.flatten() for tensor in net.state.values()])
            for net in (found[seed], alone)
        )
        assert (here - there).norm() < 0.05 * there.norm()  # its convolutions are in TF32
    assert found[0].record["execution"]["together"] == 20


def test_one_pass_of_one_net():
    done = measure(net(3, 16), (3, 32, 32), 8, repetitions=3, min_s=0.002, device="cuda:0")
    assert done.seconds > 0 and done.device == "cuda:0"
