"""Measure: exact on a clock that the test turns; a model, its generators and threads as found."""

import contextlib
import copy
import importlib
import random
import time
import weakref
from collections import namedtuple
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

from convcost import nets
from convcost.core.errors import BadInputError, ConvcostError
from convcost.measuring.timing import Case, Measurement, blocks, measure, measure_many
from small_nets import Calls

module = importlib.import_module(
    "convcost.measuring.timing.measure"
)  # its name is also the function's
NS = 1_000_000_000


class Clock:
    """A clock in the place of the real one; `taking` makes a model whose pass takes so many
    nanoseconds, one number per call, the last for all the calls after."""

    def __init__(self, monkeypatch):
        self.now = 0
        monkeypatch.setattr(blocks, "perf_counter_ns", lambda: self.now)

    def taking(self, *each):
        left = list(each)

        def forward(self_, x):
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return x

        return Calls(forward)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def quiet(monkeypatch):
    """The machine as the test says it is."""
    seen = SimpleNamespace(
        others_load=0.1, clock_mhz=2000.0, temperature_c=None, energy_j=None, throttled=None
    )
    monkeypatch.setattr(
        module.sensors, "watching", lambda device, every_s: contextlib.nullcontext(seen)
    )
    return seen


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(4 * 6 * 6, 3),
    )  # fmt: skip


# --- numbers ---------------------------------------------------------------------------------


def test_samples_are_the_blocks_and_the_median_is_per_call(clock, quiet):
    ms = 1_000_000
    # the first call of all, none to warm up, then three blocks of two, then the first case again
    model = clock.taking(9 * ms, 1 * ms, 1 * ms, 9 * ms, 9 * ms, 2 * ms, 2 * ms, 2 * ms)
    done = measure(model, (1, 2, 2), 5, repetitions=3, warmup=0, calls=2, threads=1)
    assert list(done.samples.columns) == ["repetition", "calls", "seconds"]
    assert done.samples.values.tolist() == [[0, 2, 2e-3], [1, 2, 18e-3], [2, 2, 4e-3]]
    assert done.seconds == 2e-3  # the median of 1, 9 and 2 ms; their mean is 4
    assert done.wall_s == done.seconds
    assert (done.what, done.batch, done.device, done.threads) == ("inference", 5, "cpu", 1)
    assert (done.drift, done.stable, done.instability) == (1.0, True, "")
    assert (done.others_load, done.clock_mhz, done.energy_j) == (0.1, 2000.0, None)


@pytest.mark.parametrize(
    ("later", "drift", "words"),
    [
        (104, 1.04, ""),
        (96, 0.96, ""),
        (109, 1.09, "first case 9 % slower when repeated, limit 5 %"),
        (88, 0.88, "first case 12 % faster when repeated, limit 5 %"),
    ],
)
def test_drift_is_the_first_case_again_at_the_end(clock, quiet, later, drift, words):
    calls = 1 + 2 + 4 * 5  # the first of all, to warm up, timed
    model = clock.taking(*[100_000] * calls, later * 1000)
    other = clock.taking(7_000)
    options = {"repetitions": 4, "warmup": 2, "calls": 5}
    cases = {"a": Case(model, (1,), 1), "b": Case(other, (1,), 1)}
    done = measure_many(cases, **options)
    assert list(done) == ["a", "b"]
    assert done["a"].seconds == 100_000 / NS and done["b"].seconds == 5 * 7_000 / NS / 5
    for one in done.values():
        assert one.drift == pytest.approx(drift, rel=1e-12)
        assert (one.instability, one.stable) == (words, not words)


def test_the_first_case_is_repeated_half_as_often(quiet):
    ran = []
    cases = {
        name: Case(Calls(lambda self, x, name=name: ran.append(name)), (1,), 1) for name in "ab"
    }
    measure_many(cases, repetitions=10, warmup=0, calls=3)
    assert (ran.count("a"), ran.count("b")) == (1 + 10 * 3 + 5 * 3, 1 + 10 * 3)
    assert ran[-5 * 3 :] == ["a"] * (5 * 3)
    assert "b" in ran[-5 * 3 - 3 * 2 : -5 * 3]


def test_load_above_the_limit_is_said(clock, quiet):
    quiet.others_load = 0.8
    done = measure(clock.taking(1000), (1,), 1, repetitions=3, calls=1)
    assert done.instability == "load 0.80 cores by others, limit 0.25"
    assert not done.stable
    assert measure(clock.taking(1000), (1,), 1, repetitions=3, calls=1, load_limit=0.9).stable
    quiet.others_load = None  # not to be had: that is no fault
    assert measure(clock.taking(1000), (1,), 1, repetitions=3, calls=1).stable


def test_load_and_drift_are_both_said():
    words = module.instability(0.5, 2.0, 0.02, 0.25)
    assert words == (
        "load 2.00 cores by others, limit 0.25; first case 50 % faster when repeated, limit 2 %"
    )


def test_a_real_pass_takes_what_it_sleeps():
    model = Calls(lambda self, x: time.sleep(0.01))
    done = measure(model, (1,), 1, repetitions=5, calls=2, warmup=0)
    assert done.per_call_s.min() >= 0.01
    assert done.per_call_s.min() < 0.012  # the quietest one, on a machine that may do other work
    assert done.samples.calls.tolist() == [2] * 5


def test_blocks_are_long_enough_for_the_load_to_be_known():
    model = nn.Linear(2, 2)
    done = measure(model, (2,), 1)
    assert (done.samples.seconds >= 0.01).all()
    assert done.samples.seconds.sum() > 0.25


def test_on_a_gpu_samples_are_its_own_time_and_the_wall_is_beside_them():
    rows = pd.DataFrame(
        {"case": "a", "repetition": [0, 1], "calls": [2, 2], "seconds": [6.0, 8.0],
         "device_s": [2.0, 4.0]}
    )  # fmt: skip
    shared = dict.fromkeys(
        ("device", "threads", "drift", "others_load", "clock_mhz", "temperature_c", "energy_j",
         "throttled", "instability")
    )  # fmt: skip
    done = module._measurement(rows, Case(nn.Linear(1, 1), (1,), 5), shared)
    assert done.samples.values.tolist() == [[0, 2, 2.0], [1, 2, 4.0]]
    assert (done.seconds, done.wall_s) == ((1 + 2) / 2, (3 + 4) / 2)


# --- what is run -----------------------------------------------------------------------------


def test_inference_and_training_see_what_they_should():
    seen = []

    def forward(self, x):
        seen.append((self.training, torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        return self.head(x.flatten(1))

    model = Calls(forward, head=nn.Linear(4, 2))
    cases = {
        "passes": Case(model, (1, 2, 2), 3),
        "steps": Case(model, (1, 2, 2), 3, "training_step"),
        "copy": Case(model, (1, 2, 2), 3, channels_last=True),
    }
    measure_many(cases, repetitions=2, calls=1, warmup=0)
    inference, training = (False, True, False), (True, False, True)
    assert set(seen[1:]) == {inference, training}  # the first one asks for the number of classes
    assert seen.count(training) == 1 + 2
    assert seen.count(inference) == (1 + 2 + 2) + (1 + 2)  # and the first case again, twice


@pytest.mark.parametrize("what", ["inference", "training_step"])
def test_precision_and_memory_order_are_those_asked_for(what):
    seen = []

    def forward(self, x):
        last = x.is_contiguous(memory_format=torch.channels_last)
        weight = self.conv.weight.is_contiguous(memory_format=torch.channels_last)
        out = self.conv(x)
        seen.append((last, weight, out.dtype))
        return out.flatten(1)

    model = Calls(forward, conv=nn.Conv2d(2, 3, 2))
    options = {"repetitions": 1, "calls": 1, "warmup": 0}
    measure(model, (2, 2, 2), 3, what, **options)
    assert set(seen) == {(False, False, torch.float32)}
    seen.clear()
    measure(model, (2, 2, 2), 3, what, bf16=True, channels_last=True, **options)
    assert set(seen) == {(True, True, torch.bfloat16)}
    assert not model.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_images_come_from_the_seed():
    given = []
    model = Calls(lambda self, x: given.append(x))
    for seed in (0, 0, 1):
        measure(model, (1, 2, 3), 4, seed=seed, repetitions=1, calls=1, warmup=0)
    assert {image.shape for image in given} == {(4, 1, 2, 3)}
    first, second, third = given[0], given[3], given[6]
    assert torch.equal(first, second) and not torch.equal(first, third)


def test_a_step_is_a_step_of_sgd():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    case = Case(model, (1, 2, 2), 5, "training_step", seed=7)
    copied = module.model_of(case)
    step = module.training_step(copied, case, "cpu")
    loss = step()

    generator = torch.Generator().manual_seed(7)
    images = torch.randn(5, 1, 2, 2, generator=generator)
    labels = torch.randint(3, (5,), generator=torch.Generator().manual_seed(7))
    expected = functional.cross_entropy(model(images), labels)
    assert torch.equal(loss, expected.detach())
    expected.backward()
    for before, after in zip(model.parameters(), copied.parameters(), strict=True):
        assert not torch.equal(before, after)
        assert torch.equal(before.detach() - module.LEARNING_RATE * before.grad, after)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_a_step_has_gradients_wherever_it_is_called_from(around):
    with around():
        measure(nn.Linear(2, 2), (2,), 1, "training_step", repetitions=1, calls=1)
        assert not torch.is_grad_enabled()


Heads = namedtuple("Heads", "logits aux2 aux1")


def test_auxiliary_heads_count_three_tenths():
    model = Calls(
        lambda self, x: Heads(self.a(x), self.b(x), None if self.without else self.b(2 * x)),
        a=nn.Linear(4, 3), b=nn.Linear(4, 3),
    )  # fmt: skip
    labels = torch.randint(3, (5,), generator=torch.Generator().manual_seed(0))
    for model.without in (False, True):
        case = Case(model, (4,), 5, "training_step")
        loss = module.training_step(module.model_of(case), case, "cpu")()
        x = module.images_of(case, "cpu")
        losses = [functional.cross_entropy(one, labels) for one in model(x) if one is not None]
        assert torch.equal(loss, sum([0.3 * one for one in losses[1:]], losses[0]).detach())


def test_googlenet_with_its_heads_is_trained():
    model = nets.build("googlenet", num_classes=4, aux=True)
    done = measure(model, (3, 64, 64), 2, "training_step", repetitions=1, calls=1, warmup=0)
    assert done.what == "training_step" and done.seconds > 0


# --- a good guest ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["inference", "training_step"])
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_model_and_all_around_it_are_as_found(what, fails, channels_last):
    model = small()
    model[1].eval()  # one layer in another mode than the rest
    calls = []

    def sometimes(module, inputs):
        calls.append(1)
        if fails and len(calls) == 3:
            raise ValueError("on the third call")

    handle = model[5].register_forward_pre_hook(sometimes)
    state = copy.deepcopy(model.state_dict())
    modes = [one.training for one in model.modules()]
    torch.set_num_threads(2)
    torch.manual_seed(1), random.seed(1)
    generators = torch.get_rng_state(), random.getstate()
    options = {"repetitions": 3, "calls": 1, "channels_last": channels_last, "threads": 1}
    with pytest.raises(ConvcostError) if fails else contextlib.nullcontext():
        measure(model, (1, 8, 8), 4, what, **options)
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert torch.get_num_threads() == 2
    assert [one.training for one in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(now, state[name]) for name, now in model.state_dict().items())
    assert model[0].weight.stride() == state["0.weight"].stride()
    assert list(model[5]._forward_pre_hooks) == [handle.id]
    assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()


def test_memory_refused_comes_out_as_it_is():
    def forward(self, x):
        return torch.empty(2**55, dtype=torch.uint8)

    with pytest.raises(RuntimeError, match=r"allocate|memory"):
        measure(Calls(forward), (1,), 1)


class Refused(torch.autograd.Function):
    """Passes on; memory is refused to its backward pass."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")


def greedy(when, ran):
    """A net that gets no memory in its first pass, in a later one, or backwards."""

    def forward(self, x):
        ran.append("big")
        if when == "backward":
            return Refused.apply(self.head(x))
        if when == "first" or len(ran) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return self.head(x)

    return Calls(forward, head=nn.Linear(4, 2))


def modest(name, ran):
    return Calls(lambda self, x: ran.append(name) or self.head(x), head=nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("when", "what"),
    [("first", "inference"), ("later", "inference"), ("first", "training_step"),
     ("later", "training_step"), ("backward", "training_step")],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_net_that_gets_no_memory_costs_only_itself(when, what, place):
    ran = []
    models = {name: modest(name, ran) for name in "ab"}
    names = ["a", "b"]
    names.insert(place, "big")
    models["big"] = greedy(when, ran)
    states = {name: copy.deepcopy(model.state_dict()) for name, model in models.items()}
    cases = {name: Case(models[name], (4,), 3, what) for name in names}
    options = {"repetitions": 4, "calls": 3, "warmup": 1, "threads": 1}
    done = measure_many(cases, skip_out_of_memory=True, **options)
    assert list(done) == ["a", "b"]
    for one in done.values():
        assert len(one.samples) == 4 and set(one.samples.calls) == {3} and one.seconds > 0
    # the others were begun again, so that they all had the same turns: 4 * 3, and what is before
    tail = ran[len(ran) - ran[::-1].index("big") :]
    assert tail.count("b") >= 1 + 1 + 4 * 3 and tail.count("a") >= tail.count("b") + 3 * 3
    for name, model in models.items():
        assert model.training and all(p.grad is None for p in model.parameters())
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, states[name][key])
    assert not torch.is_inference_mode_enabled()
    with (
        pytest.raises(RuntimeError, match="out of memory")
        if when != "later"
        else pytest.raises(ConvcostError, match=r"case 'big' .* OutOfMemoryError")
    ):
        ran.clear()
        measure_many(cases, **options)


def test_what_a_net_held_is_given_back_before_the_others_begin_again():
    held, seen = [], []

    def forward(self, x):
        mine = torch.ones(1000)
        held.append(weakref.ref(mine))
        raise torch.OutOfMemoryError("no more")

    def watching(self, x):
        seen.append([one() is None for one in held])

    cases = {"watching": Case(Calls(watching), (1,), 1), "big": Case(Calls(forward), (1,), 1)}
    options = {"repetitions": 1, "calls": 1, "warmup": 0}
    assert list(measure_many(cases, skip_out_of_memory=True, **options)) == ["watching"]
    assert seen[0] == [] and seen[1:] == [[True]] * (1 + 1 + 1)


def test_where_no_net_gets_memory_nothing_comes_out():
    cases = {name: Case(greedy("first", []), (4,), 3) for name in "ab"}
    assert measure_many(cases, skip_out_of_memory=True) == {}


def test_only_memory_is_skipped():
    def fails(self, x):
        raise ValueError("no such weather")

    cases = {"a": Case(modest("a", []), (4,), 3), "b": Case(Calls(fails), (4,), 3)}
    with pytest.raises(ValueError, match="weather"):  # as it is: in the first call
        measure_many(cases, skip_out_of_memory=True)
    dicts = Case(Calls(lambda self, x: {}, head=nn.Linear(4, 2)), (4,), 3, "training_step")
    with pytest.raises(BadInputError, match="dict"):
        measure_many({"a": cases["a"], "b": dicts}, skip_out_of_memory=True)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"model": 3}, "torch.nn.Module"),
        ({"batch": 0}, "batch"),
        ({"input_shape": (1, 0)}, "a side of input_shape"),
        ({"what": "training"}, "'inference' or 'training_step'"),
        ({"channels_last": True}, r"\(2,\).*\(C, H, W\)"),
        ({"repetitions": 0}, "repetitions"),
        ({"threads": 0}, "threads"),
        ({"device": "tpu"}, "tpu"),
        ({"model": nn.LazyLinear(3)}, "no shape yet"),
        ({"model": nn.Linear(2, 2, device="meta")}, "weight is on meta"),
    ],
)
def test_what_is_refused(wrong, names):
    given = {"model": nn.Linear(2, 2), "input_shape": (2,), "batch": 1} | wrong
    with pytest.raises(BadInputError, match=names):
        measure(**given)


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (lambda self, x: {"out": self.head(x)}, "dict"),
        (lambda self, x: self.head(x)[:, :, None], r"\(3, 2, 1\)"),
        (lambda self, x: None, "the model gives"),
    ],
)
def test_outputs_that_are_no_classes_are_refused_in_training(outputs, names):
    model = Calls(outputs, head=nn.Linear(2, 2))
    with pytest.raises(BadInputError, match=names):
        measure(model, (2,), 3, "training_step", repetitions=1)
    measure(model, (2,), 3, "inference", repetitions=1, calls=1)


def test_no_cases_are_refused():
    with pytest.raises(BadInputError, match="cases"):
        measure_many({})


def test_a_measurement_needs_no_model_to_be_made():
    samples = pd.DataFrame({"repetition": [0, 1], "calls": [2, 4], "seconds": [1.0, 4.0]})
    gpu = {"temperature_c": 54, "energy_j": 3.0, "throttled": "power cap"}
    done = Measurement(samples, 0.8, "inference", 1, "cuda", 1, 1.0, None, 1980, **gpu,
                       instability="")  # fmt: skip
    assert done.seconds == (0.5 + 1) / 2
