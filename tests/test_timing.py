"""Timing: exact on a clock that the test turns, close to another clock on the real one."""

import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter, OrderedDict

import pytest
import torch
from torch import nn

from convcost import nets
from convcost.chapters.relu_zero_rates.tables import TABLES
from convcost.core.errors import BadInputError, ConvcostError
from convcost.measuring.timing import (
    NET,
    blocks,
    cold_layer_times,
    fresh,
    interleaved,
    layer_times,
    layers,
)
from fake_gpu import Gpus

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="GPU"))


class Clock:
    """A clock in the place of the real one, in nanoseconds; `spend` makes a function that takes
    so many."""

    def __init__(self, monkeypatch):
        self.now = 0
        for module in (blocks, layers):
            monkeypatch.setattr(module, "perf_counter_ns", lambda: self.now)

    def spend(self, ns):
        def function(x=None):
            self.now += ns
            return x

        return function


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs whose times are the test's, and the host's clock beside them."""
    gpus = Gpus(monkeypatch)
    monkeypatch.setattr(blocks, "perf_counter_ns", lambda: gpus.now)
    return gpus


class Calls(nn.Module):
    """A module whose forward is a function."""

    def __init__(self, forward):
        super().__init__()
        self.run = forward

    def forward(self, x):
        return self.run(x)


# --- interleaved -----------------------------------------------------------------------------


def test_seconds_are_the_sum_over_the_calls_of_a_block(clock):
    cases = {"short": clock.spend(2_000), "long": clock.spend(3_000_000)}
    table = interleaved(cases, repetitions=4, calls=5)
    assert list(table.columns) == ["case", "repetition", "calls", "seconds"]
    assert table.calls.tolist() == [5] * (2 * 4)
    assert table.repetition.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    short, long = (table[table.case == case].seconds.tolist() for case in ("short", "long"))
    assert short == [5 * 2_000 / 1_000_000_000] * 4
    assert long == [5 * 3_000_000 / 1_000_000_000] * 4


def test_a_block_takes_as_long_as_asked(clock):
    cases = {"7 us": clock.spend(7_000), "10 ms": clock.spend(10_000_000)}
    table = interleaved(cases, repetitions=2, min_s=0.005)
    calls = table.groupby("case").calls.unique().to_dict()
    assert calls["10 ms"] == [1]
    (number,) = calls["7 us"]
    assert 0.005 / 7e-6 <= number <= 1.3 * 0.005 / 7e-6
    assert (table.seconds >= 0.005).all()
    assert table[table.case == "7 us"].seconds.tolist() == [number * 7000 / 1_000_000_000] * 2


def test_a_case_that_is_slow_at_first_still_gets_long_blocks(clock):
    def warming(state=Counter()):  # noqa: B006 - it counts its calls
        state["calls"] += 1
        clock.now += 10_000_000 if state["calls"] % 50 == 4 else 1_000

    table = interleaved({"a": warming}, repetitions=3, min_s=0.001, warmup=3)
    assert (table.seconds >= 0.001).all()
    assert table.calls[0] > 1  # the one slow call of a block of one was not taken for the rule


def test_every_case_has_every_place_and_no_fixed_neighbour():
    ran = []
    cases = {name: lambda name=name: ran.append(name) for name in "abc"}
    table = interleaved(cases, repetitions=3 * 20, calls=1, warmup=0)
    assert table.case.tolist() == ran  # the rows are in the order of the blocks
    rounds = ["".join(ran[i : i + 3]) for i in range(0, len(ran), 3)]
    assert all(sorted(one) == list("abc") for one in rounds)
    for place in range(3):
        assert Counter(one[place] for one in rounds) == dict.fromkeys("abc", 20)
    assert len(set(rounds)) == 6  # 3! orders
    again = interleaved(cases, repetitions=3 * 20, calls=1, warmup=0)
    assert again.case.tolist() == table.case.tolist()


def test_warm_up_and_search_are_not_in_the_table():
    ran = []
    interleaved({"a": lambda: ran.append(1)}, repetitions=2, calls=3, warmup=5)
    assert len(ran) == 5 + 2 * 3


@pytest.mark.parametrize("collecting", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_threads_and_garbage_collection_are_put_back(collecting, fails):
    seen = set()

    def case():
        seen.add((torch.get_num_threads(), gc.isenabled()))
        if fails:
            raise ValueError("no")

    before, threads = gc.isenabled(), torch.get_num_threads()
    (gc.enable if collecting else gc.disable)()
    try:
        torch.set_num_threads(2)
        with pytest.raises(ConvcostError) if fails else contextlib.nullcontext():
            interleaved({"a": case}, repetitions=2, calls=1, threads=3)
        assert seen == {(3, False)}
        assert (torch.get_num_threads(), gc.isenabled()) == (2, collecting)
    finally:
        torch.set_num_threads(threads)
        (gc.enable if before else gc.disable)()


def test_a_case_that_raises_is_named():
    def bad():
        raise KeyError("weight")

    with pytest.raises(ConvcostError, match=r"case 'sparse'.*KeyError: 'weight'") as caught:
        interleaved({"dense": list, "sparse": bad}, calls=1)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(KeyboardInterrupt):
        interleaved({"a": lambda: (_ for _ in ()).throw(KeyboardInterrupt)}, calls=1)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"cases": {}}, "cases"),
        ({"cases": {"a": 1}}, "cases"),
        ({"repetitions": 0}, "repetitions"),
        ({"repetitions": 1.5}, "repetitions"),
        ({"calls": 0}, "calls"),
        ({"warmup": -1}, "warmup"),
        ({"min_s": -1}, "min_s"),
        ({"min_s": float("nan")}, "min_s"),
        ({"min_s": float("inf")}, "min_s"),
        ({"threads": 0}, "threads"),
        ({"device": "tpu"}, "tpu.*'cpu' or 'cuda'"),
        ({"device": "cuda:99"}, "cuda:99.*not here"),
        ({"device": "cpu:x"}, "cpu:x"),
    ],
)
def test_what_interleaved_refuses(wrong, names):
    with pytest.raises(BadInputError, match=names):
        interleaved(**{"cases": {"a": list}} | wrong)


def test_a_real_block_takes_what_another_clock_says():
    table = interleaved({"sleep": lambda: time.sleep(0.002)}, repetitions=5, min_s=0.01)
    assert (table.seconds >= table.calls * 0.002).all()
    assert (table.calls >= 2).all()
    assert min(table.seconds / table.calls) < 0.002 * 1.5  # the quietest: a busy machine wakes late


MS = 1_000_000


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_a_block_on_a_gpu_is_over_when_the_gpu_is_done(gpus, device):
    """The host launches within microseconds, or is slower than the GPU, which then waits for it."""
    cases = {
        "long kernels": lambda: gpus.launch(3 * MS, 10_000, device),
        "slow host": lambda: gpus.launch(1 * MS, 2 * MS, device),
    }
    table = interleaved(cases, repetitions=2, calls=5, device=device)
    assert list(table.columns) == ["case", "repetition", "calls", "seconds", "device_s"]
    # the GPU never stops once the first launch is done; or it has only the last kernel left to do
    expected = {"long kernels": 10e-6 + 5 * 3e-3, "slow host": 5 * 2e-3 + 1e-3}
    for times in (table.seconds, table.device_s):
        assert times.tolist() == pytest.approx([expected[case] for case in table.case], rel=1e-12)


def test_what_was_given_to_a_gpu_before_is_not_in_a_block(gpus):
    def case():
        gpus.launch(1 * MS)

    gpus.launch(500 * MS)
    table = interleaved({"a": case}, repetitions=1, calls=1, warmup=0, device="cuda")
    assert table[["seconds", "device_s"]].values.tolist() == [[1e-3, 1e-3]]


def test_marks_are_read_only_once_the_gpu_is_there(gpus, monkeypatch):
    """The emulation is worth something only if reading too early fails, as it does on CUDA."""
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    with pytest.raises(RuntimeError, match="not ready"):
        interleaved({"a": lambda: gpus.launch(MS)}, repetitions=1, calls=1, device="cuda")


# --- layer_times -----------------------------------------------------------------------------


def wide(table):
    """A row per repetition, a column per layer."""
    return table.pivot(index="repetition", columns="layer", values="seconds")


def test_layers_and_the_whole_exactly(clock):
    model = nn.Sequential(
        OrderedDict(slow=Calls(clock.spend(6_000_000)), fast=Calls(clock.spend(2_000)))
    )
    table = layer_times(model, torch.ones(6, 1, 2, 2), batch=2, repetitions=2, threads=1)
    assert ["net", *table.columns] == list(TABLES["layer_times"].columns)
    passes = 6 // 2
    slow, fast = passes * 6e-3, passes * 2e-6
    expected = [
        [2, 1, 0, "slow", 0, 6],
        [2, 1, 1, "fast", 0, 6],
        [2, 1, 2, NET, 0, 6],
        [2, 1, 0, "slow", 1, 6],
        [2, 1, 1, "fast", 1, 6],
        [2, 1, 2, NET, 1, 6],
    ]
    assert table.drop(columns="seconds").values.tolist() == expected
    assert table.seconds.tolist() == pytest.approx([slow, fast, slow + fast] * 2, rel=1e-12)


def test_sleeping_layers_on_the_real_clock():
    own = {0.006: [], 0.002: []}  # what the layers took by a clock of their own

    def sleeping(seconds):
        def forward(x):
            begin = time.perf_counter()
            time.sleep(seconds)
            own[seconds].append(time.perf_counter() - begin)
            return x

        return Calls(forward)

    model = nn.Sequential(OrderedDict(a=sleeping(0.006), b=sleeping(0.002)))
    table = layer_times(model, torch.ones(2, 1, 1, 1), batch=1, repetitions=8, warmup=0)
    times = wide(table)
    assert (times.a >= 2 * 0.006).all() and (times.b >= 2 * 0.002).all()
    # one call for the names, then per repetition 2 with stamps and 2 without, either first
    a, b = ([sum(calls[i : i + 2]) for i in range(1, 4 * 8, 2)] for calls in own.values())
    whole = [x + y for x, y in zip(a, b, strict=True)]
    for layer, walls in (("a", a), ("b", b), (NET, whole)):
        # the quietest repetition: what a busy machine puts between two clocks is no fault of ours
        off = [
            abs(t / wall - 1) for r, t in times[layer].items() for wall in walls[2 * r : 2 * r + 2]
        ]
        assert min(off) < 0.02


def test_the_layers_of_a_lenet_make_up_the_net():
    model = nets.build("lenet_atsumi")
    table = layer_times(model, torch.rand(8, 1, 28, 28), batch=8, repetitions=60)
    times = wide(table)
    assert list(table.layer[:13]) == [*model._modules, NET]
    # the quietest of the short passes of each kind, on a machine that may do other work
    together = times.drop(columns=NET).sum(axis=1).min()
    assert 0.8 < together / times[NET].min() < 1.25
    assert times.conv2.min() > 5 * times.flatten.min()


class Shared(nn.Module):
    """One ReLU called twice, one linear layer under two names, one module never called."""

    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()
        self.one = nn.Sequential(nn.Linear(2, 2))
        self.two = nn.Sequential(self.one[0])
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.act(self.two(self.act(self.one(x))))


def test_a_module_called_twice_has_two_rows():
    table = layer_times(Shared(), torch.ones(2, 2), batch=1, repetitions=1)
    assert table.layer.tolist() == ["one.0", "act[0]", "two.0", "act[1]", NET]
    assert table.position.tolist() == [0, 1, 2, 3, 4]


def test_calls_of_one_module_are_told_apart(clock):
    spans = [1_000_000, 5_000_000]

    def forward(x):
        clock.now += spans[0]
        spans.reverse()
        return x

    leaf = Calls(forward)
    model = nn.Sequential(leaf, leaf)
    table = wide(layer_times(model, torch.ones(3, 1), batch=1, repetitions=2))
    assert table["0"].tolist() == pytest.approx([3 * 1e-3] * 2, rel=1e-12)
    assert table["1"].tolist() == pytest.approx([3 * 5e-3] * 2, rel=1e-12)


def test_a_model_that_is_one_layer():
    table = layer_times(nn.Linear(2, 2), torch.ones(2, 2), batch=2, repetitions=1)
    assert table.layer.tolist() == ["<Linear>", NET]
    functional = Calls(torch.relu)
    functional.unused = nn.ReLU()
    with pytest.raises(BadInputError, match="Calls calls no module"):
        layer_times(functional, torch.ones(2, 2), batch=2, repetitions=1)


class Counting(nn.Module):
    """Writes into a buffer and onto itself; fails in the fourth pass where it is told to."""

    def __init__(self, fails, modes):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.fails, self.last, self.seen, self.modes = fails, None, [], modes

    def forward(self, x):
        self.calls += 1
        self.last = x
        self.seen.append(x)
        self.modes((self.training, torch.is_inference_mode_enabled(), torch.get_num_threads()))
        if self.fails and self.calls > 3:
            raise MemoryError("full")
        return x.relu_()


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_found(fails):
    modes = []
    model = nn.Sequential(nn.Dropout(), Counting(fails, modes.append), nn.BatchNorm1d(2))
    model[1].register_forward_hook(lambda *args: None)
    kinds = [type(module) for module in model]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    hooks, random_state = len(model[1]._forward_hooks), torch.get_rng_state()
    threads, images = torch.get_num_threads(), -torch.ones(4, 2)
    refused = pytest.raises(ConvcostError, match="MemoryError: full")
    with refused if fails else contextlib.nullcontext():
        layer_times(model, images, batch=2, repetitions=2, threads=threads + 1, warmup=0)
    assert set(modes) == {(False, True, threads + 1)}
    assert len(modes) == (4 if fails else 1 + 2 * 2 * 2)
    assert [type(module) for module in model] == kinds
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert model.training and all(module.training for module in model)
    assert model[1].last is None and model[1].seen == []
    assert len(model[1]._forward_hooks) == hooks
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.get_num_threads() == threads
    assert torch.equal(images, -torch.ones(4, 2))
    assert not torch.is_inference_mode_enabled()


def test_stamps_change_no_number_and_no_class_that_a_model_sees():
    model, seen = nets.build("lenet_atsumi").eval(), []
    images = torch.rand(2, 1, 28, 28)
    model.fc84.register_forward_hook(lambda module, *rest: seen.append(module))
    expected = model(images)
    stamps = layers.Stamps(model, "cpu")
    with stamps:
        assert torch.equal(model(images), expected)
        assert isinstance(model.conv1, nn.Conv2d) and model.conv1.weight.shape == (6, 1, 5, 5)
    assert seen == [model.fc84] * 2  # hooks of the user's own run, and are timed
    taken = stamps.take()
    assert [len(taken[id(module)]) for module in model] == [1] * 12
    assert not any(stamps.take().values())
    model(images)
    assert not any(stamps.take().values())


def test_a_model_that_calls_other_layers_for_other_images():
    class Deciding(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.ReLU(), nn.ReLU()

        def forward(self, x):
            return self.a(x) if x.sum() > 0 else self.b(x)

    images = torch.tensor([[1.0], [1.0], [-1.0]])
    with pytest.raises(BadInputError, match="a was called 2 times in 3 passes"):
        layer_times(Deciding(), images, batch=1, repetitions=1)
    table = layer_times(Deciding(), images[:2], batch=1, repetitions=1)
    assert table.layer.tolist() == ["a", NET]


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_layers_on_a_gpu_have_its_times_and_nobody_waits_between_them(gpus, monkeypatch, device):
    monkeypatch.setattr(layers, "refuse_unseen", lambda model, device: None)
    monkeypatch.setattr(layers, "_batches", lambda images, batch, device: list(images.split(batch)))
    began = []

    def layer(kernel_ns):
        def forward(x):
            began.append(gpus.now)
            gpus.launch(kernel_ns, 10_000)  # on the current device
            return x

        return Calls(forward)

    model = nn.Sequential(OrderedDict(slow=layer(6 * MS), fast=layer(2 * MS)))
    table = layer_times(model, torch.ones(6, 1), batch=2, repetitions=2, device=device, warmup=0)
    passes = 6 // 2
    times = wide(table)
    # the first launch of a repetition finds the GPU idle: that is in the layer, and in the net
    assert times.slow.tolist() == pytest.approx([passes * 6e-3 + 1e-5] * 2, rel=1e-12)
    assert times.fast.tolist() == pytest.approx([passes * 2e-3] * 2, rel=1e-12)
    assert times[NET].tolist() == pytest.approx([passes * 8e-3 + 1e-5] * 2, rel=1e-12)
    # all launches of a repetition follow each other, long before the first kernel is done
    calls = 2 * passes
    for first in range(2, len(began), calls):  # after the pass that gives the names
        assert began[first + calls - 1] - began[first] == (calls - 1) * 10_000
    assert gpus.done[1 - gpus.index(device)] == 0  # the other one had nothing to do


GOOD = torch.ones(6, 2)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"images": GOOD.long()}, "torch.int64"),
        ({"images": [[1.0]]}, "list"),
        ({"images": torch.ones(0, 2)}, r"\(0, 2\)"),
        ({"images": torch.ones(3)}, r"\(3,\)"),
        ({"images": torch.tensor([[1.0, float("nan")]] * 6)}, "6 elements.*NaN"),
        ({"images": GOOD / 0}, "12 elements"),
        ({"batch": 4}, "batch 4 does not divide the 6"),
        ({"batch": 12}, "batch 12 does not divide the 6"),
        ({"batch": 0}, "batch"),
        ({"repetitions": 0}, "repetitions"),
        ({"threads": 0}, "threads"),
        ({"warmup": -1}, "warmup"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"model": lambda x: x}, "torch.nn.Module.*function"),
        ({"model": nn.Linear(2, 2, device="meta")}, "weight is on meta, asked for is cpu"),
        ({"model": nn.Sequential(nn.LazyLinear(2))}, "0.weight has no shape"),
        ({"model": nn.DataParallel(nn.Linear(2, 2))}, "DataParallel.*threads"),
        ({"model": torch.compile(nn.Linear(2, 2))}, "compiled"),
    ],
)
def test_what_layer_times_refuses(wrong, names):
    given = {"model": nn.ReLU(), "images": GOOD, "batch": 2, "repetitions": 1} | wrong
    with pytest.raises(BadInputError, match=names):
        layer_times(given.pop("model"), given.pop("images"), **given)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_compiled_layers_and_torchscript_are_refused():
    model = nn.Sequential(nn.ReLU())
    model[0].compile()
    with pytest.raises(BadInputError, match=r"module '0' \(ReLU\) is compiled"):
        layer_times(model, GOOD, batch=2, repetitions=1)
    traced = torch.jit.trace(nn.Linear(2, 2), GOOD)
    with pytest.raises(BadInputError, match="TorchScript"):
        layer_times(nn.Sequential(traced), GOOD, batch=2, repetitions=1)


@pytest.mark.parametrize("device", [CUDA])
def test_layer_times_on_a_gpu(device):
    model = nn.Sequential(OrderedDict(big=nn.Linear(4096, 4096), act=nn.ReLU())).to(device)
    table = layer_times(model, torch.rand(8192, 4096), batch=4096, repetitions=5, device=device)
    times = wide(table)
    assert statistics.median(times.big) > statistics.median(times.act) > 0
    assert 0.7 < statistics.median((times.big + times.act) / times[NET]) < 1.1


# --- cold_layer_times ------------------------------------------------------------------------


def test_first_and_later_calls_in_a_fresh_process():
    said = []
    table = cold_layer_times("lenet_atsumi", processes=1, later_calls=20, progress=said.append)
    assert ["net", *table.columns] == list(TABLES["cold_layer_times"].columns)
    assert table.layer.tolist() == list(nets.build("lenet_atsumi")._modules)
    assert table.position.tolist() == list(range(12))
    assert set(table.process) == {0} and set(table.later_calls) == {20}
    assert (table.later_s > 0).all()
    conv1 = table.iloc[0]
    assert conv1.first_s > conv1.later_s  # the first layer of all has something to set up
    assert said == ["lenet_atsumi: 1 of 1 fresh processes"]


# Prints in the midst of it, as Python and as a process of its own, and is slow the first time.
LOUD = """
import os, sys, time, torch
from convcost import nets
from convcost.measuring.timing import cold

class Loud(torch.nn.Conv2d):
    passes = 0

    def forward(self, x):
        print("hello", tuple(x.shape), torch.get_num_threads(), self.training)
        os.system("echo from a library")
        time.sleep(0 if Loud.passes else 0.5)
        Loud.passes += 1
        return super().forward(x)

def build(name, *, device, num_classes, in_channels):
    return torch.nn.Sequential(Loud(in_channels, 4, 3))

nets.build = build
cold.main()
"""


def test_the_process_runs_what_was_asked_and_only_that(monkeypatch):
    told = []

    def run(asked, *rest):
        told.append(json.loads(asked))
        return [["conv", 0.5, 0.25]]

    with monkeypatch.context() as patch:
        patch.setattr(fresh, "_run", run)
        table = cold_layer_times("regular_conv", num_classes=None, in_channels=3,
                                 input_shape=(3, 8, 9), processes=2, later_calls=4, threads=2,
                                 progress=None)  # fmt: skip
        cold_layer_times("depthwise_separable", num_classes=None, in_channels=None, processes=1,
                         progress=None)  # fmt: skip
    assert table.values.tolist() == [[p, 0, "conv", 0.5, 0.25, 4] for p in (0, 1)]
    asked = {"net": "regular_conv", "input_shape": [3, 8, 9], "later_calls": 4, "threads": 2,
             "num_classes": None, "in_channels": 3, "device": "cpu"}  # fmt: skip
    assert told[:2] == [asked, asked]
    assert told[2]["input_shape"] == [64, 112, 112]

    done = subprocess.run(
        [sys.executable, "-c", LOUD, json.dumps(asked)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    ((layer, first_s, later_s),) = json.loads(done.stdout)
    assert layer == "0" and first_s >= 0.5 > later_s > 0  # its very first pass was on the clock
    passes = 1 + 1 + 4  # the first, the one for the names, the later ones
    assert done.stderr.count("hello (1, 3, 8, 9) 2 False") == passes
    assert done.stderr.count("from a library") == passes


def test_a_net_that_fails_on_the_shape_is_told_in_its_words():
    with pytest.raises(ConvcostError, match="lenet_atsumi ended with exit code 1: RuntimeError"):
        cold_layer_times("lenet_atsumi", input_shape=(1, 40, 40), processes=1)


def test_a_process_that_is_killed(monkeypatch):
    popen = subprocess.Popen

    def killed(command, **options):
        process = popen(command, **options)
        os.kill(process.pid, 9)
        return process

    monkeypatch.setattr(subprocess, "Popen", killed)
    with pytest.raises(ConvcostError, match="first calls of lenet_atsumi ended with signal 9"):
        cold_layer_times("lenet_atsumi", processes=1)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"net": "lenet_atsumy"}, "did you mean"),
        ({"net": "raft_small"}, "raft_small"),
        ({"net": "regular_conv"}, "does not take num_classes"),
        ({"processes": 0}, "processes"),
        ({"later_calls": 0}, "later_calls"),
        ({"threads": 0}, "threads"),
        ({"input_shape": (3, 28, 28)}, "first the 1 channels"),
        ({"input_shape": (1, 28, 0)}, "whole numbers"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_what_cold_layer_times_refuses(wrong, names):
    given = {"net": "lenet_atsumi", "processes": 1} | wrong
    with pytest.raises(BadInputError, match=names):
        cold_layer_times(given.pop("net"), **given)
