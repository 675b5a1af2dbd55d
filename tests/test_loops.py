"""Training loops: the same training by each, phases that add up, epochs that survive a kill."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from convcost import datasets, nets
from convcost.chapters.training_time.tables import TABLES
from convcost.core.errors import BadInputError, ConvcostError
from convcost.measuring import memory
from convcost.training import (
    LOOPS,
    Loop,
    checkpoints,
    full_epoch,
    loops,
    pipeline_times,
    pipelines,
    timed_steps,
    trainer,
)
from convcost.training.steps import COLUMNS
from fake_gpu import Gpus

SMALL = "lenet_atsumi"  # takes 28 pixels
PLAIN, RESIDENT, DEVICE = "plain", "resident data", "resized on the device"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """scikit-learn's digits at 28 x 28: 21 images to train on, 10 to validate."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONVCOST_DATA", raising=False)
        found = [
            datasets.load("mnist", split, download=False, raw=nowhere)
            for split in ("train", "test")
        ]
    return tuple(
        dataclasses.replace(part, images=part.images[:n], labels=part.labels[:n])
        for part, n in zip(found, (21, 10), strict=True)
    )


def begun(sets, loop, *, net="resnet18", input_px=64, in_channels=1, batch=5, workers=0, seed=0):
    chosen = loops.setting(
        net, sets, loop, input_px=input_px, in_channels=in_channels, batch=batch, workers=workers,
        threads=1, device="cpu", seed=seed,
    )  # fmt: skip
    return loops.Session(chosen, batch)


def all_batches(sets, loop, part="training", **more):
    one = begun(sets, loop, **more)
    chosen = one.batches(part)
    one.pipeline[part].prepare(chosen)
    return list(one.source(part, chosen))


# --- loops and their pipelines ---------------------------------------------------------------


def test_each_loop_adds_one_thing():
    assert list(LOOPS) == [PLAIN, RESIDENT, DEVICE, "channels_last", "bf16", "compiled"]
    assert all(name == loop.name for name, loop in LOOPS.items())
    pairs = zip(list(LOOPS.values()), list(LOOPS.values())[1:], strict=False)
    changed = [
        {
            field
            for field, value in dataclasses.asdict(after).items()
            if value != getattr(before, field)
        }
        - {"name"}
        for before, after in pairs
    ]
    # the last one merges kernels, of the net and of the optimiser
    assert changed == [
        {"pipeline"}, {"pipeline"}, {"channels_last"}, {"bf16"}, {"compiled", "fused"}
    ]  # fmt: skip
    assert LOOPS[PLAIN] == Loop(PLAIN)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_plain_pixels_are_those_of_pil(sets, in_channels):
    levels = sets[0].images / 255
    mean, deviation = levels.mean(), levels.std()
    seen = 0
    for images, labels in all_batches(sets, PLAIN, in_channels=in_channels):
        for image, label in zip(images, labels, strict=True):
            resized = [
                np.asarray(Image.fromarray(grey).resize((64, 64), Image.Resampling.BILINEAR))
                for grey in sets[0].images[sets[0].labels == label.item(), 0]
            ]
            expected = (np.stack(resized) / 255 - mean) / deviation
            for channel in image.numpy():
                assert np.abs(channel - expected).max(axis=(1, 2)).min() < 1e-5
            seen += 1
        assert images.shape[1:] == (in_channels, 64, 64) and images.dtype == torch.float32
    assert seen == 21


def test_every_image_is_in_one_batch_and_each_loop_has_the_same(sets):
    """21 images by 5: the one left over joins the last batch; validation is in order."""
    net = {"net": SMALL, "input_px": 28}
    for name in list(LOOPS)[:-1]:  # the last one compiles, which takes seconds
        for part, sizes in (("training", [5, 5, 5, 6]), ("validation", [5, 5])):
            mine, again = (begun(sets, name, **net).batches(part) for _ in range(2))
            assert [len(batch) for batch in mine] == sizes
            assert all(map(torch.equal, mine, again))
            plain = begun(sets, PLAIN, **net).batches(part)
            assert all(map(torch.equal, mine, plain))
            assert sorted(torch.cat(mine).tolist()) == list(range(sum(sizes)))
    assert torch.cat(begun(sets, PLAIN, **net).batches("validation")).tolist() == list(range(10))
    one = begun(sets, PLAIN, **net)
    first, second = one.batches("training"), one.batches("training")
    other = begun(sets, PLAIN, seed=1, **net).batches("training")
    for different in (second, other):
        assert not torch.equal(torch.cat(first), torch.cat(different))


@pytest.mark.parametrize("px", [20, 32, 64])
def test_resident_data_has_the_bits_of_the_plain_loop(sets, px):
    for part in loops.PARTS:
        pairs = zip(
            all_batches(sets, PLAIN, part, input_px=px, in_channels=3),
            all_batches(sets, RESIDENT, part, input_px=px, in_channels=3),
            strict=True,
        )
        for (images, labels), (same, same_labels) in pairs:
            assert torch.equal(images, same) and torch.equal(labels, same_labels)
            assert images.stride() == same.stride()


def test_resident_data_resizes_what_is_asked_for_and_once(sets):
    one = begun(sets, RESIDENT)
    chosen, resident = one.batches("training"), one.pipeline["training"]
    resident.prepare(chosen[:1])
    assert len(resident.images) == 5
    resident.prepare(chosen[:2])
    assert len(resident.images) == 10 and resident.images.dtype == torch.uint8
    whole = all_batches(sets, RESIDENT)
    for (images, _), (expected, _) in zip(resident.over(chosen[:2]), whole, strict=False):
        assert torch.equal(images, expected)


def test_resident_data_says_what_memory_it_lacks(sets, monkeypatch):
    free = SimpleNamespace(available=20 * 64 * 64)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)
    with pytest.raises(ConvcostError, match=r"21 images of 64 pixels take 84\.0 KiB, 80\.0 KiB"):
        full_epoch("resnet18", sets, RESIDENT, input_px=64, batch=5)


@pytest.mark.parametrize("loop", [RESIDENT, DEVICE])
def test_which_images_is_said_to_the_device_once(sets, loop, monkeypatch):
    """Each copy to a GPU waits for it: an epoch's batches go there together."""
    one = begun(sets, loop)
    chosen = one.batches("training")
    one.pipeline["training"].prepare(chosen)
    asked, copy = [], torch.Tensor.to

    def to(tensor, *args, **more):
        if args == ("cpu",):
            asked.append(len(tensor))
        return copy(tensor, *args, **more)

    monkeypatch.setattr(torch.Tensor, "to", to)
    sizes = [len(images) for images, _ in one.source("training", chosen)]
    assert sizes == [5, 5, 5, 6] and asked == [21]
    assert list(one.source("training", [])) == []


@pytest.mark.parametrize("px", [28, 40, 64])
def test_resizing_on_the_device_is_within_a_grey_level_of_pil(sets, px):
    """PIL rounds to whole levels after the rows and after the columns: half a level each."""
    level = 1 / (255 * pipelines.statistics(sets[0])[1])
    worst = max(
        (images - others).abs().max().item()
        for (images, _), (others, _) in zip(
            all_batches(sets, PLAIN, input_px=px), all_batches(sets, DEVICE, input_px=px),
            strict=True,
        )
    )  # fmt: skip
    assert worst <= level * 1.0001
    # no resizing, no rounding
    assert worst < 1e-5 if px == 28 else worst > level / 4


def test_channels_last_concerns_images_and_filters(sets):
    ordered = {"memory_format": torch.channels_last}
    for name, expected in ((DEVICE, False), ("channels_last", True)):
        one = begun(sets, name, in_channels=3)
        images, _ = next(one.source("training", one.batches("training")))
        assert images.is_contiguous(**ordered) == expected
        assert one.model.conv1.weight.is_contiguous(**ordered) == expected


def test_worker_processes_give_the_same_batches(sets):
    here, there = (
        [images for images, _ in all_batches(sets, PLAIN, input_px=32, workers=workers)]
        for workers in (0, 2)
    )
    assert len(here) == 4 and all(map(torch.equal, here, there))


def test_pipelines_alone(sets):
    table = pipeline_times(
        sets[0], "resident", input_px=40, in_channels=3, batch=4, images=10, repetitions=2
    )
    assert set(table.columns) == set(TABLES["pipeline_times"].columns)
    assert table.images.tolist() == [10, 10] and table.repetition.tolist() == [0, 1]
    assert (table.seconds > 0).all() and set(table.input_px) == {40}
    for wrong, words in (({"images": 22}, "the split has 21"), ({"batch": 0}, "batch is 0")):
        with pytest.raises(BadInputError, match=words):
            pipeline_times(sets[0], "loader", **{"input_px": 28, "batch": 4, "images": 10, **wrong})


# --- steps -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", [name for name in LOOPS if name != "compiled"])
def test_phases_are_the_step(sets, loop):
    threads, generator = torch.get_num_threads(), torch.get_rng_state()
    run = timed_steps(
        "resnet18", sets, loop, input_px=64, batch=4, steps=3, validation_steps=1, warmup=1
    )
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), generator)
    steps = run.steps
    assert list(steps.columns) == list(COLUMNS)
    assert set(steps.columns) < set(TABLES["training_steps"].columns)
    assert steps[["part", "step", "warmup"]].values.tolist() == [
        *(["training", number, number == 0] for number in range(4)),
        ["validation", 0, True],
        ["validation", 1, False],
    ]
    assert set(steps.batch) == set(steps.images) == {4}
    phases = steps[list(loops.PHASES)]
    assert (phases.stack().dropna() > 0).all()
    assert (phases[steps.part == "validation"].notna() == [True, True, False, False]).all(axis=None)
    assert run.rows[-1]["backward_s"] is None
    # after the last phase comes only the count of hits and the release of the batch
    timed = steps[~steps.warmup]
    total = timed[list(loops.PHASES)].sum(axis=1)
    assert (total <= timed.step_s * (1 + 1e-12)).all()
    assert (total / timed.step_s).median() > 0.95
    assert run.record["status"] == "done" and run.record["batch"] == 4
    assert run.record["reason"] is None
    assert steps.step_s[0] < run.record["setup_s"] < run.record["seconds"]


def test_the_clock_sees_which_phase_is_slow(sets, monkeypatch):
    """Sleep is put into one phase at a time; that phase has it, and no other."""

    def slower(function):
        def slow(*args, **kwargs):
            time.sleep(0.3)
            return function(*args, **kwargs)

        return slow

    places = {
        "pipeline_s": (pipelines.Pictures, "__getitem__"),
        "forward_s": (trainer.functional, "cross_entropy"),
        "backward_s": (torch.Tensor, "backward"),
        "optimiser_s": (torch.optim.SGD, "zero_grad"),
    }
    for phase, (owner, name) in places.items():
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, slower(getattr(owner, name)))
            run = timed_steps(SMALL, sets, PLAIN, input_px=28, batch=1, steps=1, warmup=1)
        step = run.steps.iloc[-1]
        assert step[phase] > 0.3 and step.step_s - step[phase] < 0.2


MS = 1_000_000


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs whose times are the test's, and the host's clock beside them."""
    gpus = Gpus(monkeypatch)
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter_ns=lambda: gpus.now))
    return gpus


def two_steps(gpus, clock, device):
    """Two phases of 3 and 5 ms, each launched in 1 ms; the host's time at each mark."""
    marks = []
    for _ in range(2):
        clock.begin()
        marks.append(gpus.now)
        for kernel_ms in (3, 5):
            gpus.launch(kernel_ms * MS, 1 * MS, device)
            clock.mark()
            marks.append(gpus.now)
    return marks


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_where_phases_overlap_nobody_waits_for_a_gpu(gpus, device):
    clock = trainer.Clock(device, overlapping=True)
    gpus.launch(2 * MS, 0, device)  # what it has still to do
    assert two_steps(gpus, clock, device) == [0, MS, 2 * MS, 2 * MS, 3 * MS, 4 * MS]
    assert clock.take() == [[3e-3, 5e-3], [3e-3, 5e-3]]
    assert gpus.now == (2 + 3 + 5 + 3 + 5) * MS and clock.take() == []


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_phases_one_by_one_end_when_the_gpu_is_done(gpus, device):
    clock = trainer.Clock(device)
    gpus.launch(2 * MS, 0, device)
    assert two_steps(gpus, clock, device) == [n * MS for n in (2, 6, 12, 12, 16, 22)]
    assert clock.take() == [[4e-3, 6e-3], [4e-3, 6e-3]]  # each with its launch


def test_a_step_is_what_a_student_writes(sets):
    """The weights after three steps, from a loop in six lines."""
    one = begun(sets, PLAIN, net=SMALL, input_px=28)
    model = nets.build(SMALL)
    model.load_state_dict(one.model.state_dict())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    batches = one.batches("training")[:3]
    for images, labels in one.source("training", batches):
        optimiser.zero_grad()
        nn.CrossEntropyLoss()(model(images), labels).backward()
        optimiser.step()
    source, clock = one.source("training", batches), trainer.Clock("cpu")
    for _ in batches:
        one.training(source, clock)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, one.model.state_dict()[name]), name


def test_validation_changes_nothing_and_counts_hits(sets):
    one = begun(sets, "bf16")  # resnet18 has running means, which evaluation leaves alone
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    batches = one.batches("validation")
    source = one.source("validation", batches)
    for _ in batches:
        one.validation(source, trainer.Clock("cpu"))
    assert not one.model.training
    assert all(torch.equal(tensor, before[k]) for k, tensor in one.model.state_dict().items())
    assert all(parameter.grad is None for parameter in one.model.parameters())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        hits = sum(
            (one.model(images).argmax(1) == labels).sum()
            for images, labels in one.source("validation", batches)
        )
    assert one.correct == hits


def test_a_rehearsal_leaves_no_trace(sets):
    one = begun(sets, "bf16", net="mobilenet_v2", input_px=32)
    before = {name: tensor.clone() for name, tensor in one.model.state_dict().items()}
    generator = torch.get_rng_state()
    one.rehearse()
    assert torch.equal(torch.get_rng_state(), generator) and one.correct == 0
    assert all(torch.equal(tensor, before[k]) for k, tensor in one.model.state_dict().items())
    assert all(p.grad is None for p in one.model.parameters()) and not one.optimiser.state


def test_a_compiled_net_computes_the_same(sets, monkeypatch):
    """torch.compile is given the net; whole batches go to what it returns, others do not."""
    seen = []

    def compiled(model, dynamic):
        assert dynamic is False
        return lambda images: seen.append(len(images)) or model(images)

    monkeypatch.setattr(torch, "compile", compiled)
    loop = dataclasses.replace(LOOPS[DEVICE], name="compiled in fp32", compiled=True, fused=True)
    rows = full_epoch(SMALL, sets, loop, input_px=28, batch=5)
    # rehearsed in both modes, then 5 + 5 + 5 (6 are another size), then 5 + 5 of validation
    assert seen == [5, 5, 5, 5, 5, 5, 5]
    plain = full_epoch(SMALL, sets, DEVICE, input_px=28, batch=5)
    assert [rows[0][k] for k in rows[0] if k.endswith("correct")] == [
        plain[0][k] for k in plain[0] if k.endswith("correct")
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"loop": "fast"}, "no loop is called 'fast'; there are: plain, resident data, resized"),
        ({"net": "lenet"}, "no net is called 'lenet'"),
        ({"input_px": 32}, "lenet_atsumi cannot be trained on images of 1×32×32"),
        ({"batch": 0}, "batch is 0"),
        ({"steps": True}, "steps is True"),
        ({"warmup": -1}, "warmup is -1"),
        ({"workers": 1.5}, "workers is 1.5"),
        ({"threads": 0}, "threads is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"device": "tpu"}, "choose 'cpu' or 'cuda'"),
        ({"batch": 11}, "2 steps of training with 11 images each need 22; there are 21"),
        ({"validation_steps": 3}, "4 steps of validation with 4 images each need 16; .* 10"),
    ],
)
def test_what_makes_no_sense_is_refused(sets, more, words):
    asked = {"net": SMALL, "loop": PLAIN, "input_px": 28, "batch": 4, "steps": 1, **more}
    with pytest.raises(BadInputError, match=words):
        timed_steps(asked.pop("net"), sets, asked.pop("loop"), **asked)


def test_colours_sameness_and_unknown_pipelines_are_refused(sets):
    with pytest.raises(BadInputError, match="'disk': choose one of 'loader', 'resident', 'device'"):
        Loop("mine", pipeline="disk")
    for images, words in (
        (np.repeat(sets[0].images, 3, axis=1), "has 3 channels: these loops take grey images"),
        (np.zeros_like(sets[0].images), "all images have one value"),
    ):
        changed = tuple(
            dataclasses.replace(part, images=images[: len(part)].copy()) for part in sets
        )
        with pytest.raises(BadInputError, match=words):
            timed_steps(SMALL, changed, PLAIN, input_px=28, batch=4, steps=1)


def test_a_net_that_fails_is_named_with_its_reason(sets, monkeypatch):
    def fails(*_):
        raise ValueError("no such weather")

    threads, generator = torch.get_num_threads(), torch.get_rng_state()
    monkeypatch.setattr(trainer.functional, "cross_entropy", fails)
    words = "lenet_atsumi under the loop 'plain', 4 images of 1×28×28 .* ValueError: no such w"
    with pytest.raises(ConvcostError, match=words) as caught:
        timed_steps(SMALL, sets, PLAIN, input_px=28, batch=4, steps=1, threads=2)
    assert isinstance(caught.value.__cause__, ValueError)
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), generator)


# --- memory that does not suffice ------------------------------------------------------------

LIMITED = """
import json, resource
from pathlib import Path
from convcost import datasets
from convcost.training import timed_steps
sets = tuple(datasets.load("digits", split) for split in ("train", "test"))
def run(batch, input_px=96):
    found = timed_steps("squeezenet1_1", sets, "resized on the device", input_px=input_px,
                        batch=batch, steps=1, warmup=0)
    print(json.dumps([found.record, found.rows]), flush=True)
run(1)  # everything is loaded, every thread is there
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 150 * 2**20, resource.RLIM_INFINITY))
run(128)
run(2, 8000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_where_memory_is_refused_the_batch_is_halved():
    """By the operating system; down to nothing where one image is too much."""
    ran = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    _, (halved, rows), (refused, none) = map(json.loads, ran.stdout.splitlines())
    assert halved["status"] == "done" and halved["reason"] is None
    assert halved["batch"] in (1, 2, 4, 8, 16, 32, 64)
    assert [row["images"] for row in rows] == [halved["batch"]]
    assert (refused["status"], refused["batch"], none) == ("out of memory", None, [])
    assert "memory" in refused["reason"].lower() and refused["setup_s"] is None


GIB = 2**30


@pytest.fixture
def peaks(monkeypatch):
    """Memory as a GPU would have it: a peak that each look finds one GiB higher; resets counted."""
    seen = SimpleNamespace(resets=0, looks=0)

    def from_now(device):
        seen.resets, seen.looks = seen.resets + 1, 0

        def look():
            seen.looks += 1
            return (10 * seen.resets + seen.looks) * GIB

        return look

    monkeypatch.setattr(memory, "peak_from_now", from_now)
    return seen


def test_the_peak_of_memory_is_that_of_the_net(sets, peaks, monkeypatch):
    asked = {"input_px": 28, "steps": 1, "warmup": 0}
    assert timed_steps(SMALL, sets, PLAIN, batch=4, **asked).record["memory_peak_bytes"] == 11 * GIB
    forward, tried = loops.Session.forward, []

    def refuse(self, images, labels):
        tried.append(len(images))
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return forward(self, images, labels)

    monkeypatch.setattr(loops.Session, "forward", refuse)
    record = timed_steps(SMALL, sets, PLAIN, batch=16, **asked).record
    # 16, 8 and 4: each net has a peak of its own
    assert tried == [16, 8, 4] and peaks.resets == 1 + 3
    assert (record["batch"], record["memory_peak_bytes"]) == (4, 41 * GIB)


def test_a_cpu_has_no_peak_of_memory(sets):
    record = timed_steps(SMALL, sets, PLAIN, input_px=28, batch=4, steps=1).record
    assert record["memory_peak_bytes"] is None
    (row,) = full_epoch(SMALL, sets, DEVICE, input_px=28, batch=5)
    assert row["memory_peak_bytes"] is None


def test_where_one_net_gets_no_memory_the_next_one_runs(sets, monkeypatch):
    """In the backward pass, where torch raises it from a thread of its own on a GPU."""

    def refuse(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nMore words")

    given = []
    monkeypatch.setattr(memory, "give_back", lambda: given.append(True))
    asked = {"input_px": 28, "batch": 5, "steps": 1, "validation_steps": 1, "warmup": 0}
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", refuse)
        lost = timed_steps(SMALL, sets, PLAIN, **asked)
    assert lost.rows == [] and given == [True] * 3  # after 5, 2 and 1
    assert lost.record["reason"] == "CUDA out of memory. Tried to allocate 2 GiB"
    assert (lost.record["status"], lost.record["memory_peak_bytes"]) == ("out of memory", None)
    done = timed_steps(SMALL, sets, PLAIN, **asked)
    assert done.record["status"] == "done" and len(done.rows) == 2


NO_COMPILER = """
import json
from convcost import datasets
from convcost.core.errors import ConvcostError
from convcost.training import timed_steps
sets = tuple(datasets.load("digits", split) for split in ("train", "test"))
for loop in ("compiled", "channels_last"):
    try:
        run = timed_steps("lenet_atsumi", sets, loop, input_px=28, batch=4, steps=1)
        print(json.dumps(run.record))
    except ConvcostError as error:
        print(json.dumps(str(error)))
"""


def test_a_machine_without_a_compiler_loses_the_compiled_loop_alone(tmp_path):
    hidden = {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    environment = {k: v for k, v in os.environ.items() if k not in ("CC", "CXX")} | hidden
    ran = subprocess.run(
        [sys.executable, "-c", NO_COMPILER], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    reason, done = map(json.loads, ran.stdout.splitlines())
    assert reason.startswith("lenet_atsumi under the loop 'compiled', 4 images of 1×28×28 a step")
    assert "compiler" in reason and "\n\n" not in reason
    assert done["status"] == "done"


# --- whole epochs ----------------------------------------------------------------------------


def test_a_row_per_epoch(sets):
    rows = full_epoch(SMALL, sets, PLAIN, input_px=28, batch=5, epochs=2)
    table = TABLES["full_epochs"].columns
    known = {"net", "loop", "input_px", "in_channels", "batch_asked", "workers", "threads"}
    assert all(set(row) == set(table) - known for row in rows)
    for number, row in enumerate(rows, 1):
        assert (row["epoch"], row["batch"]) == (number, 5)
        assert (row["train_images"], row["test_images"]) == (21, 10)
        phases = sum(row[phase] for phase in loops.PHASES)
        assert 0.5 * row["train_s"] < phases <= row["train_s"] and row["validation_s"] > 0


def test_hits_of_an_epoch(sets):
    """By hand: those of training before each step, those of validation after the last."""
    one = begun(sets, DEVICE, net=SMALL, input_px=28)
    source, clock, before = one.batches("training"), trainer.Clock("cpu"), 0
    for images, labels in list(one.source("training", source)):
        before += (one.model(images).argmax(1) == labels).sum().item()
        one.training(iter([(images, labels)]), clock)
    after = sum(
        (one.model(images).argmax(1) == labels).sum().item()
        for images, labels in one.source("validation", one.batches("validation"))
    )
    (row,) = full_epoch(SMALL, sets, DEVICE, input_px=28, batch=5)
    assert (row["train_correct"], row["test_correct"]) == (before, after)


def two_epochs(folder, on_step) -> checkpoints.Checkpoint:
    """mobilenet_v2 has dropout and running means; a checkpoint after every step."""
    sets = tuple(
        dataclasses.replace(part, images=part.images[:n], labels=part.labels[:n])
        for part, n in (
            (datasets.load("digits", "train"), 21),
            (datasets.load("digits", "test"), 10),
        )
    )
    full_epoch(
        "mobilenet_v2", sets, "channels_last", input_px=32, batch=5, epochs=2, folder=folder,
        every_s=0, on_step=on_step,
    )  # fmt: skip
    (path,) = folder.glob(f"*/*{checkpoints.SUFFIX}")  # one is kept
    return checkpoints.load(path, net="mobilenet_v2")


KILLED = """
import os, sys
from pathlib import Path
from test_loops import two_epochs
def step(*done):
    print(*done, flush=True)
    if " ".join(map(str, done)) == sys.argv[2]:
        os.kill(os.getpid(), 9)
two_epochs(Path(sys.argv[1]), step)
"""
STEPS = [
    f"{epoch} {part} {step}"
    for epoch in (1, 2)
    for part, count in (("training", 4), ("validation", 2))
    for step in range(count)
]


def test_a_killed_epoch_goes_on_where_it_was(tmp_path):
    """Killed twice, each time before the checkpoint of its last step was written."""
    at = 0
    for last in ("1 training 2", "2 validation 1"):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "killed"), last],
            capture_output=True, text=True, cwd=Path(__file__).parent,
        )  # fmt: skip
        assert ran.returncode == -9, ran.stderr
        assert ran.stdout.splitlines() == STEPS[at : STEPS.index(last) + 1]
        at = STEPS.index(last)
    steps = []
    found = two_epochs(tmp_path / "killed", lambda *done: steps.append(" ".join(map(str, done))))
    assert steps == STEPS[at:]
    whole = two_epochs(tmp_path / "whole", None)
    assert found.state.keys() == whole.state.keys()  # weights, buffers, momenta, generator
    assert all(torch.equal(found.state[name], whole.state[name]) for name in found.state)
    rows, expected = (json.loads(one.words["progress"])["rows"] for one in (found, whole))
    hits = ("epoch", "train_correct", "test_correct")
    assert [[row[k] for k in hits] for row in rows] == [[row[k] for k in hits] for row in expected]
    assert all(sum(row[phase] for phase in loops.PHASES) <= row["train_s"] for row in rows)


def test_the_peak_of_an_epoch_outlives_a_stop(sets, tmp_path, peaks):
    """Before the stop 12 GiB, afterwards 21; and the second epoch has one of its own."""
    options = {"input_px": 28, "batch": 5, "folder": tmp_path, "every_s": 0, "epochs": 2}

    def stop(epoch, part, step):
        if (part, step) == ("training", 2):
            raise ConvcostError("stopped")

    with pytest.raises(ConvcostError, match="stopped"):
        full_epoch(SMALL, sets, DEVICE, on_step=stop, **options)
    assert (peaks.resets, peaks.looks) == (1, 2)  # at the checkpoints after two steps
    peaks.resets = -1  # what comes is lower
    first, second = full_epoch(SMALL, sets, DEVICE, **options)
    assert first["memory_peak_bytes"] == 12 * GIB
    # looked at four times in training, twice in validation
    assert second["memory_peak_bytes"] == (10 + 4 + 2) * GIB


def test_a_damaged_checkpoint_is_set_aside(sets, tmp_path):
    def run(**more):
        done = []
        rows = full_epoch(
            SMALL, sets, DEVICE, input_px=28, batch=5, folder=tmp_path,
            on_step=lambda *step: done.append(step), **more,
        )  # fmt: skip
        return rows, len(done)

    first, steps = run()
    assert steps == 4 + 2 and run() == (first, 0)
    (path,) = tmp_path.glob("*/*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    (path.parent / ".left.part").touch()
    with pytest.warns(UserWarning, match=rf"kept as {path.name}\.damaged-1, "):
        again, steps = run()
    assert steps == 4 + 2 and again[0]["test_correct"] == first[0]["test_correct"]
    assert sorted(file.name for file in path.parent.iterdir() if file.name != ".lock") == [
        f"{path.name}{end}" for end in ("", ".damaged-1", ".sha256", ".sha256.damaged-1")
    ]
    more, steps = run(epochs=2)
    assert steps == 4 + 2 and more[0] == again[0] and more[1]["epoch"] == 2
    assert run(seed=1)[1] == 4 + 2  # another training has another folder
    assert len(list(tmp_path.iterdir())) == 2


def test_writing_checkpoints_is_not_training(sets, tmp_path, monkeypatch):
    save = checkpoints.save

    def slowly(*args):
        time.sleep(0.2)
        return save(*args)

    monkeypatch.setattr(checkpoints, "save", slowly)
    begin = time.perf_counter()
    (row,) = full_epoch(SMALL, sets, DEVICE, input_px=28, batch=5, folder=tmp_path, every_s=0)
    # after steps 1 to 3 of training and 1 of validation, and at the end
    assert time.perf_counter() - begin > 5 * 0.2 and row["train_s"] + row["validation_s"] < 0.2


def test_one_process_at_a_time_trains_into_a_folder(tmp_path, sets, monkeypatch):
    monkeypatch.setattr("convcost.training.epochs.WAIT_S", 0.1)
    held = []

    def twice(*_):
        if not held:
            held.append(True)
            full_epoch(SMALL, sets, DEVICE, input_px=28, batch=5, folder=tmp_path)

    with pytest.raises(ConvcostError, match="another process is training into"):
        full_epoch(SMALL, sets, DEVICE, input_px=28, batch=5, folder=tmp_path, on_step=twice)


def test_memory_that_never_suffices_is_an_error(sets, monkeypatch):
    tried = []

    def refuse(self, images, labels):
        tried.append(len(images))
        raise MemoryError("no more")

    monkeypatch.setattr(loops.Session, "forward", refuse)
    with pytest.raises(ConvcostError, match="no memory for one image of 28 pixels a step: no more"):
        full_epoch(SMALL, sets, DEVICE, input_px=28, batch=9)
    assert tried == [9, 4, 2, 1]
