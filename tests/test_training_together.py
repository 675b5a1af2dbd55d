"""Nets trained at once: what `train` makes of each seed is the referee."""

import copy
import json
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from convcost import nets
from convcost.core.errors import BadInputError, ConvcostError
from convcost.datasets import Dataset
from convcost.datasets.sets import EmbeddedSet
from convcost.training import (
    Execution,
    Recipe,
    checkpoints,
    kept,
    kept_together,
    shelf,
    stacked,
    together,
    train,
    train_together,
)
from convcost.training.pipelines import Stored
from small_nets import Calls

NET = "lenet_atsumi"
SHORT = Recipe(epochs=2, batch_size=50)
PLAIN = Recipe("sgd", lr=0.05, batch_size=50, epochs=2, normalisation="-1..1", weight_decay=0.01)


def images_of(split: str, count: int, side: int = 28, channels: int = 1) -> Dataset:
    """Ten patterns of coarse grey squares under noise, the same ones in every split."""
    rng = np.random.default_rng(len(split))
    coarse = np.random.default_rng(0).integers(64, 192, (10, channels, side // 4, side // 4))
    labels = rng.integers(0, 10, count)
    pixels = np.kron(coarse[labels], np.ones((4, 4)))
    pixels = np.clip(pixels + rng.normal(0, 40, pixels.shape), 0, 255).astype(np.uint8)
    classes = tuple("0123456789")
    spec = EmbeddedSet("made", "made", "", pixels.shape[1:], classes, {}, 0, "", "")
    return Dataset("made", "made", split, pixels, labels, classes, "embedded", spec)


@pytest.fixture(scope="module")
def sets():
    """210 and 120 images: batches of 50, and one of 10."""
    return images_of("train", 210), images_of("test", 120)


@pytest.fixture
def small(monkeypatch):
    """`small(layers)` puts a net of these layers under a name, for images of 1×8×8."""

    def put(name: str, make) -> str:
        def constructor(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
            return make()

        monkeypatch.setitem(nets.OWN, name, nets.Net(name, constructor, (1, 8, 8), "this test"))
        nets.get.cache_clear()
        return name

    yield put
    nets.get.cache_clear()


@pytest.fixture(scope="module")
def eights():
    return images_of("train", 60, 8), images_of("test", 40, 8)


def distance(one: dict, other: dict) -> float:
    """Of two states, as a share of the length of all weights in a row."""
    assert one.keys() == other.keys()
    one, other = (torch.cat([state[k].double().flatten() for k in one]) for state in (one, other))
    return ((one - other).norm() / other.norm()).item()


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


# --- one module of many ------------------------------------------------------------------------


def twice():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(conv, nn.ReLU(), conv)


def residual():
    return Calls(lambda self, x: x + self.conv(torch.relu(x)), conv=nn.Conv2d(3, 3, 3, 1, 1))


LAYERS = {
    "5 x 5": lambda: nn.Conv2d(3, 4, 5),
    "1 x 1": lambda: nn.Conv2d(3, 4, 1),
    "no bias, stride 2": lambda: nn.Conv2d(3, 4, 3, 2, bias=False),
    "7 x 3, strides 1 and 2, padding 2 and 1": lambda: nn.Conv2d(3, 4, (7, 3), (1, 2), (2, 1)),
    "dilation 2 and 3": lambda: nn.Conv2d(3, 4, 3, 2, dilation=(2, 3)),
    "even, same": lambda: nn.Conv2d(3, 4, (3, 4), padding="same"),
    "wide, stride 3": lambda: nn.Conv2d(3, 4, (1, 8), 3),
    "groups": lambda: nn.Conv2d(3, 6, 3, groups=3),
    "reflected": lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "along rows": lambda: nn.Linear(12, 5, bias=False),
    "group norm": lambda: nn.Sequential(nn.GroupNorm(1, 3), nn.PReLU(3)),
    "the same layer twice": twice,
    "residual": residual,
    "pooled": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.AvgPool2d(2)),
    "flat": lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(200, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_and_gradients_are_those_of_each_alone(name):
    """In double precision, on 12 x 12: nothing but the order of sums differs. vmap, where it is
    used, says so where it has no fast way."""
    torch.manual_seed(0)
    models = [LAYERS[name]().double() for _ in range(3)]
    images = torch.randn(3 * 4, 3, 12, 12, dtype=torch.double)
    whole = stacked.stacked(models, generators(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inputs = images.clone().requires_grad_()
        outputs = whole(inputs)
        (outputs**2).sum().backward()
    alone = images.clone().requires_grad_()
    with warnings.catch_warnings(action="ignore"):
        expected = torch.cat([m(part) for m, part in zip(models, alone.chunk(3), strict=True)])
    (expected**2).sum().backward()
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(inputs.grad, alone.grad)
    parameters = dict(whole.named_parameters())
    assert parameters.keys() == dict(models[0].named_parameters()).keys()
    for place, model in enumerate(models):
        for path, parameter in model.named_parameters():
            torch.testing.assert_close(parameters[path][place], parameter)
            torch.testing.assert_close(parameters[path].grad[place], parameter.grad)


def test_the_models_stay_as_they_were():
    torch.manual_seed(0)
    models = [nets.build(NET) for _ in range(2)]
    before = [copy.deepcopy(model.state_dict()) for model in models]
    whole = stacked.stacked(models, generators(2))
    for parameter in whole.parameters():
        nn.init.zeros_(parameter)
    assert all(same(model.state_dict(), old) for model, old in zip(models, before, strict=True))
    assert whole.state_dict().keys() == before[0].keys()
    assert whole.conv2.weight.shape == (2, 16, 6, 5, 5)


def test_dropout_differs_from_net_to_net_and_is_that_of_each_alone():
    drop = stacked.stacked([nn.Dropout(0.25)] * 3, generators(3))
    ones = torch.ones(3 * 100, 40)
    first, second = drop(ones), drop(ones)
    one, other, _ = first.chunk(3)
    assert not torch.equal(one, other) and not torch.equal(first, second)
    assert first.unique().tolist() == [0.0, torch.tensor(1 / 0.75).item()]
    assert abs((first == 0).double().mean().item() - 0.25) < 0.02
    for seed, part in enumerate(zip(first.chunk(3), second.chunk(3), strict=True)):
        torch.manual_seed(seed)
        alone = nn.Dropout(0.25)
        assert all(torch.equal(found, alone(torch.ones(100, 40))) for found in part)
    assert torch.equal(drop.eval()(ones), ones)
    assert not stacked.stacked([nn.Dropout(1.0)], generators(1))(ones).any()


# --- many trainings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "rounding"),
    [
        (PLAIN, 1e-6),
        (SHORT, 1e-3),  # Adam's steps are as long where a gradient is rounding error
    ],
)
def test_every_net_is_what_train_makes_of_its_seed(sets, recipe, rounding):
    torch.manual_seed(5), torch.set_num_threads(2)
    before = torch.get_rng_state()
    epochs = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = train_together(NET, sets, recipe, [7, 0, 3], on_epoch=epochs.append)
    assert epochs == [1, 2]
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == 2
    for seed, net in zip([7, 0, 3], found, strict=True):
        alone = train(NET, sets, recipe, seed)
        assert distance(net.state, alone.state) < rounding
        assert all(t.is_contiguous() and t.dtype == torch.float32 for t in net.state.values())
        mine, its = net.record, alone.record
        assert mine.keys() == its.keys() and mine["key"] != its["key"]
        differ = {"key", "history", "seconds", "execution", "date"}
        assert {k: v for k, v in mine.items() if k not in differ} == {
            k: v for k, v in its.items() if k not in differ
        }
        assert mine["execution"] == its["execution"] | {"together": 3}
        assert mine["history"].keys() == its["history"].keys()
        for correct in ("train_correct", "test_correct"):
            difference = np.subtract(mine["history"][correct], its["history"][correct])
            assert len(difference) == 2 and abs(difference).max() <= 2
        assert mine["history"]["train_loss"] == pytest.approx(its["history"]["train_loss"], 1e-3)
        assert 0 < sum(mine["history"]["epoch_s"]) < net.seconds
        json.dumps(mine, allow_nan=False)
    assert found[0].seconds == found[1].seconds
    assert recipe is PLAIN or found[0].test_accuracy[-1] > 0.2  # it learns
    with torch.no_grad():
        outputs = found[0].net()(found[0].scaling(sets[1].images))
    right = int((outputs.argmax(1).numpy() == sets[1].labels).sum())
    assert abs(right - found[0].record["history"]["test_correct"][-1]) <= 1


def test_every_net_sees_the_images_in_its_own_order(sets, monkeypatch):
    seen, real = [], Stored._batch

    def batch(self, chosen):
        if len(self) == 210:  # the training split
            seen.append(chosen.tolist())
        return real(self, chosen)

    monkeypatch.setattr(Stored, "_batch", batch)
    train_together(NET, sets, SHORT, [4, 5])
    at_once, seen = seen, []
    for place, seed in enumerate([4, 5]):
        train(NET, sets, SHORT, seed)
        parts = [step[place * len(step) // 2 : (place + 1) * len(step) // 2] for step in at_once]
        assert parts == seen and len(seen) == 2 * 5
        assert sorted(number for step in seen[:5] for number in step) == list(range(210))
        seen.clear()


def test_a_net_with_dropout_or_one_layer_twice_or_in_colour_or_of_1998(small, eights):
    def dropping():
        return nn.Sequential(
            OrderedDict(flat=nn.Flatten(), fc=nn.Linear(64, 30), relu=nn.ReLU(),
                        drop=nn.Dropout(0.5), out=nn.Linear(30, 10))
        )  # fmt: skip

    def repeating():
        again = nn.Linear(64, 64)
        return nn.Sequential(nn.Flatten(), again, nn.ReLU(), again, nn.Linear(64, 10))

    colour = images_of("train", 60, 16, 3), images_of("test", 40, 16, 3)
    old = images_of("train", 60, 32), images_of("test", 40, 32)
    options = {"f": 4, "s": 16, "k": 3, "l": 2}
    for net, sets, more in (
        (small("dropping", dropping), eights, {}),
        (small("repeating", repeating), eights, {}),
        ("ke_cnn", colour, {"options": options}),
        ("lenet5_1998", old, {}),
    ):
        recipe = Recipe("sgd", lr=0.01, batch_size=25, epochs=2)
        for seed, found in enumerate(train_together(net, sets, recipe, range(2), **more)):
            alone = train(net, sets, recipe, seed, **more)
            assert distance(found.state, alone.state) < 1e-5


def test_groups_change_no_number(sets):
    whole = train_together(NET, sets, SHORT, range(5))
    for size, groups in ((2, [2, 2, 1]), (1, [1] * 5), (4, [3, 2])):
        found = train_together(NET, sets, SHORT, range(5), at_a_time=size)
        at_once = [net.record["execution"]["together"] for net in found]
        assert at_once == [size for size in groups for _ in range(size)]
        for one, other in zip(found, whole, strict=True):
            assert distance(one.state, other.state) < 1e-5
            assert one.record["key"] == other.record["key"]
            for counts in ("train_correct", "test_correct"):
                assert one.record["history"][counts] == other.record["history"][counts]


def test_a_net_that_diverges_stops_alone(sets, monkeypatch):
    undisturbed = train_together(NET, sets, SHORT, [0, 1, 2])
    real = together.new_net

    def broken(net, build, recipe, seeds, execution):
        model = real(net, build, recipe, seeds, execution)
        if seeds["seed"] == 1:
            model.conv2.weight.data[3, 2, 1, 0] = float("nan")
        return model

    monkeypatch.setattr(together, "new_net", broken)
    monkeypatch.setattr("convcost.training.alone.new_net", broken)
    # the rehearsal looks at the first two seeds
    found = {net.seeds["seed"]: net for net in train_together(NET, sets, SHORT, [0, 2, 1])}
    assert [found[seed].status for seed in range(3)] == ["trained", "diverged", "trained"]
    for seed in (0, 2):
        assert distance(found[seed].state, undisturbed[seed].state) < 1e-5
    alone = train(NET, sets, SHORT, 1)
    mine, its = found[1].record["history"], alone.record["history"]
    assert mine["diverged"] and mine["train_loss"] == its["train_loss"] == [None]
    assert mine["test_correct"] == its["test_correct"] and len(mine["epoch_s"]) == 1
    for name, tensor in found[1].state.items():
        assert torch.equal(tensor.isfinite(), alone.state[name].isfinite())
    json.dumps(found[1].record, allow_nan=False)


def test_all_diverge_at_a_rate_that_is_too_high(sets):
    recipe = Recipe("sgd", lr=1e9, epochs=3, batch_size=50)
    epochs = []
    for net in train_together(NET, sets, recipe, range(2), on_epoch=epochs.append):
        assert net.status == train(NET, sets, recipe, net.seeds["seed"]).status == "diverged"
        assert len(net.test_accuracy) == 1
    assert epochs == [1]


def test_in_bfloat16(sets):
    execution = Execution(bf16=True)
    (found,) = train_together(NET, sets, SHORT, [0], execution=execution)
    alone = train(NET, sets, SHORT, 0, execution=execution)
    assert found.record["execution"]["bf16"] and found.state["fc10.weight"].dtype == torch.float32
    assert found.record["history"]["train_loss"] == pytest.approx(
        alone.record["history"]["train_loss"], rel=0.05
    )


# --- memory --------------------------------------------------------------------------------------


def test_a_net_needs_what_is_kept_of_its_images_and_its_weights(small, eights, monkeypatch):
    """Of 500 images, as many as are tried at once, 64 floats; 650 weights, five times."""
    net = small("one_layer", lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    sizes, real = [], together._fitted

    def fitted(*args):
        sizes.append(args[-1])
        return real(*args)

    monkeypatch.setattr(together, "_fitted", fitted)
    needed = 500 * 64 * 4 + 5 * 650 * 4
    for room, groups in ((3 * needed, [3, 2, 2]), (3 * needed - 1, [2, 2, 2, 1]), (1, [1] * 7)):
        monkeypatch.setitem(together.MOST_BYTES, "cpu", room)
        train_together(net, eights, Recipe(epochs=1, batch_size=60), range(7))
        assert sizes == groups
        sizes.clear()


def test_a_group_too_large_for_the_memory_is_halved(sets):
    calls = []

    def refuse_large_ones(number):
        calls.append(number)
        if len(calls) in (2, 3):  # in the second epoch of the first try, the first of the second
            raise torch.OutOfMemoryError("out of memory")

    found = train_together(NET, sets, PLAIN, range(4), on_epoch=refuse_large_ones)
    assert [net.record["execution"]["together"] for net in found] == [1] * 4
    assert calls == [1, 2, 1] + [1, 2] * 4
    for seed, net in enumerate(found):
        assert distance(net.state, train(NET, sets, PLAIN, seed).state) < 1e-5

    def always(number):
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")

    with pytest.raises(ConvcostError, match=r"50 images a step .* memory of cpu \(DefaultCPUAll"):
        train_together(NET, sets, SHORT, range(2), on_epoch=always)

    def other(number):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        train_together(NET, sets, SHORT, range(2), on_epoch=other)


# --- what cannot share a step --------------------------------------------------------------------


class Own(nn.Module):
    """A layer with a weight beside another layer."""

    def __init__(self):
        super().__init__()
        self.scale, self.fc = nn.Parameter(torch.ones(1)), nn.Linear(64, 10)

    def forward(self, x):
        return self.scale * self.fc(x.flatten(1))


def tied():
    one, other = nn.Linear(64, 64), nn.Linear(64, 64)
    other.weight = one.weight
    return nn.Sequential(nn.Flatten(), one, other, nn.Linear(64, 10))


def drawn_buffer():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    net.register_buffer("code", torch.rand(3))
    return net


def calling(forward):
    return lambda: Calls(forward, fc=nn.Linear(64, 10))


REFUSED = {
    "batch normalisation": (
        lambda: nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 10)),
        r"0 \(BatchNorm2d\) keeps statistics",
    ),
    "without weights": (
        lambda: nn.Sequential(nn.InstanceNorm2d(1), nn.Flatten(), nn.Linear(64, 10)),
        r"0 \(InstanceNorm2d\) keeps statistics",
    ),
    "mixing": (calling(lambda self, x: self.fc((x - x.mean(0)).flatten(1))), "mixes the images"),
    "drawing": (
        calling(lambda self, x: self.fc(functional.dropout(x.flatten(1), 0.5, self.training))),
        "draws random numbers",
    ),
    "other dropout": (
        lambda: nn.Sequential(nn.Dropout2d(), nn.Flatten(), nn.Linear(64, 10)),
        "draws random numbers",
    ),
    "a weight beside layers": (Own, r"the net \(Own\) has weights beside"),
    "tied": (tied, "two layers share a weight"),
    "a buffer that is drawn": (drawn_buffer, r"the buffer code of the net \(Sequential\)"),
    "weights taken from a layer": (
        calling(lambda self, x: functional.linear(x.flatten(1), self.fc.weight, self.fc.bias)),
        "cannot share its steps with others",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_net_that_cannot_share_a_step_is_refused(small, eights, name):
    make, reason = REFUSED[name]
    net = small(name.replace(" ", "_"), make)
    with pytest.raises(BadInputError, match=f"{reason}.*`train`"):
        train_together(net, eights, SHORT, range(2))
    assert train(net, eights, Recipe(epochs=1), 0).status == "trained"  # the advice is good


def test_what_cannot_be_trained_is_refused(sets, eights, tmp_path):
    with pytest.raises(BadInputError, match=r"1 \(BatchNorm2d\)"):
        train_together("resnet18_textbook", sets, SHORT, range(2))
    with pytest.raises(BadInputError, match=r"images of 1×8×8 \(it is made for 1×28×28\)"):
        train_together(NET, eights, SHORT, [0])
    for seeds in ([], [1, 1]):
        with pytest.raises(BadInputError, match="seeds: give at least one"):
            train_together(NET, sets, SHORT, seeds)
        with pytest.raises(BadInputError, match="seeds: give at least one"):
            kept_together(tmp_path, NET, sets, SHORT, seeds)
    with pytest.raises(BadInputError, match="integer from 0 on"):
        train_together(NET, sets, SHORT, [-1])
    with pytest.raises(BadInputError, match="at_a_time is 0"):
        train_together(NET, sets, SHORT, [0], at_a_time=0)
    assert list(tmp_path.iterdir()) == []


# --- kept ----------------------------------------------------------------------------------------


def test_nets_are_kept_and_only_what_is_missing_or_damaged_is_trained(sets, tmp_path):
    recipe, epochs = Recipe(epochs=1, batch_size=50), []

    def get(seeds, **more):
        return kept_together(tmp_path, NET, sets, recipe, seeds, on_epoch=epochs.append, **more)

    first = get([2, 0, 1])
    assert [net.seeds["seed"] for net in first] == [2, 0, 1] and epochs == [1]
    again = get([0, 1, 2])
    assert [net.record for net in again] == [first[1].record, first[2].record, first[0].record]
    assert epochs == [1]  # its date included: nothing was trained

    family = shelf.family_folder(tmp_path, NET, sets, recipe, together=True)
    hurt = shelf.checkpoint_path(family, 1)
    content = bytearray(hurt.read_bytes())
    content[-1] ^= 1
    hurt.write_bytes(content)
    untouched = {p: p.stat().st_mtime_ns for s in (0, 2) for p in family.glob(f"seed-0000{s}*")}
    with pytest.warns(UserWarning, match=rf"kept as {hurt.name}\.damaged-1, "):
        third = get([0, 1, 2, 3])
    assert epochs == [1, 1] and len(untouched) == 6
    assert [net.record["execution"]["together"] for net in third] == [3, 2, 3, 2]
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    assert distance(third[1].state, first[2].state) < 1e-5
    assert hurt.with_name(hurt.name + ".damaged-1").read_bytes() == content

    # nets of `kept` are others, and either finds its own
    alone = kept(tmp_path, NET, sets, recipe, 0)
    assert "together" not in alone.record["execution"]
    assert get([0])[0].record == first[1].record and epochs == [1, 1]
    with (
        checkpoints.alone(family),
        pytest.raises(ConvcostError, match="another process is training"),
    ):
        get([0])


def test_groups_are_kept_as_they_are_done(sets, tmp_path):
    epochs = []

    def stop_in_the_second(number):
        epochs.append(number)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    recipe = Recipe(epochs=1, batch_size=50)
    with pytest.raises(KeyboardInterrupt):
        kept_together(
            tmp_path, NET, sets, recipe, range(4), at_a_time=2, on_epoch=stop_in_the_second
        )
    found = kept_together(tmp_path, NET, sets, recipe, range(4), on_epoch=epochs.append)
    assert len(epochs) == 3 and len(found) == 4
    assert [net.record["execution"]["together"] for net in found] == [2] * 4
    assert found[0].record["date"] <= found[2].record["date"]
