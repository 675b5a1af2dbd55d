"""Training: exact where it can be, the same twice, kept, and trained again where damaged."""

import dataclasses
import json
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from convcost import datasets, nets
from convcost.core import machine
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.training import Execution, Recipe, Scaling, fit, kept, named, shelf, train
from convcost.training.inputs import batch_bounds, drawn_seeds
from convcost.training.recipe import key

NET = "lenet_atsumi"
SHORT = Recipe(epochs=2)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """scikit-learn's digits at 28 x 28: what stands in for MNIST, 1,447 and 350 images."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONVCOST_DATA", raising=False)
        return tuple(
            datasets.load("mnist", split, download=False, raw=nowhere)
            for split in ("train", "test")
        )


@pytest.fixture(scope="module")
def few(sets):
    """300 and 100 of them."""
    return tuple(
        dataclasses.replace(part, images=part.images[:n], labels=part.labels[:n])
        for part, n in zip(sets, (300, 100), strict=True)
    )


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# --- recipes ---------------------------------------------------------------------------------


def test_rates_of_each_schedule():
    constant = Recipe(lr=0.5, schedule="constant")
    assert [constant.rate(step, 4) for step in range(4)] == [0.5] * 4
    cosine = Recipe(lr=1.0, schedule="cosine")
    assert [round(cosine.rate(step, 4), 12) for step in range(4)] == [
        1.0,
        round((2 + 2**0.5) / 4, 12),
        0.5,
        round((2 - 2**0.5) / 4, 12),
    ]
    cycle = Recipe(lr=1.0)
    rates = [cycle.rate(step, 10) for step in range(10)]
    assert rates[:4] == [1 / 4, 2 / 4, 3 / 4, 1.0]  # 30 % of 10 steps rise
    assert rates[4:] == sorted(rates[4:], reverse=True) and 0 < rates[-1] < 0.06
    assert cycle.rate(0, 1) == 1.0


def test_normalisations_exactly(few):
    images = np.array([[[[0, 51, 255]]]], np.uint8)
    unit = Recipe(normalisation="0..1").scaling(few[0])(images)
    assert torch.allclose(unit, torch.tensor([[[[0, 0.2, 1]]]]))
    both = Recipe(normalisation="-1..1").scaling(few[0])(images)
    assert torch.allclose(both, torch.tensor([[[[-1, -0.6, 1]]]]))
    scaled = Recipe(normalisation="mean/std").scaling(few[0])(few[0].images).double()
    assert abs(scaled.mean().item()) < 1e-5 and abs(scaled.std().item() - 1) < 1e-5
    # a channel has its own numbers
    two = Scaling((1.0, 2.0), (0.0, 10.0))(np.ones((1, 2, 1, 1), np.uint8))
    assert two.flatten().tolist() == [1.0, 12.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimiser": "adamw"}, {"schedule": "step"}, {"initialisation": "zeros"},
        {"normalisation": "none"}, {"lr": 0}, {"lr": float("nan")}, {"batch_size": 0},
        {"epochs": 1.5}, {"epochs": True}, {"momentum": 1.0}, {"weight_decay": -1},
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_by_name(wrong):
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        Recipe(**wrong)


def test_initialisations():
    def weights(name):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 64, 5), nn.Linear(400, 200))
        Recipe(initialisation=name).initialise(model)
        return model

    xavier, he, default = map(weights, ("xavier", "he", "torch default"))
    limit = (6 / ((3 + 64) * 5 * 5)) ** 0.5
    assert 0.98 * limit < xavier[0].weight.abs().max() <= limit
    assert abs(he[1].weight.std().item() / (2 / 400) ** 0.5 - 1) < 0.01
    assert not xavier[0].bias.any() and not he[1].bias.any() and default[1].bias.any()


def test_the_key_knows_everything_that_numbers_depend_on(few, monkeypatch):
    cpu = Execution().numerics()

    def known(net, train, test, recipe, seed=None, numerics=cpu):
        return key(net, train, test, recipe, seed, numerics=numerics)

    def keys():
        swapped = (few[1], few[0])
        one_pixel = few[0].images.copy()
        one_pixel[0, 0, 0, 0] ^= 1
        changed = dataclasses.replace(few[0], images=one_pixel)
        yield known(NET, *few, Recipe(), 0)
        yield known(NET, *few, Recipe(), 1)
        yield known(NET, *few, Recipe())
        yield known("lenet5_1998", *few, Recipe(), 0)
        yield known(NET, *swapped, Recipe(), 0)
        yield known(NET, changed, few[1], Recipe(), 0)
        for field, value in (("lr", 0.1), ("epochs", 4), ("batch_size", 1), ("optimiser", "sgd"),
                             ("schedule", "cosine"), ("initialisation", "he"),
                             ("normalisation", "0..1"), ("momentum", 0.5),
                             ("weight_decay", 0.1)):  # fmt: skip
            yield known(NET, *few, Recipe(**{field: value}), 0)
        yield known(NET, *few, Recipe(), 0, Execution(bf16=True).numerics())
        yield known(NET, *few, Recipe(), 0, Execution().numerics(together=True))
        yield known(NET, *few, Recipe(), 0, cpu | {"device": "cuda"})
        monkeypatch.setattr("convcost.training.recipe.TRAINING_VERSION", 1_000)
        yield known(NET, *few, Recipe(), 0)

    found = list(keys())
    assert len(set(found)) == len(found) == 19
    assert known(NET, *few, Recipe(), 0) == known(NET, *few, Recipe(), 0)


def test_of_an_execution_the_kind_of_device_and_the_precision_count(monkeypatch):
    """The number of the GPU, threads and memory order give the same net in the last digits."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    gpu = Execution("cuda").numerics()
    assert gpu == Execution("cuda:1").numerics()
    assert gpu == {"device": "cuda", "bf16": False, "together": False}
    assert Execution(threads=2, channels_last=False, fused=False).numerics() == (
        Execution().numerics()
    )


# --- one net ---------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_net_and_nothing_else_changes(few):
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    torch.set_num_threads(2)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    one, other = (train(NET, few, SHORT, 3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    assert torch.get_num_threads() == 2
    assert same(one.state, other.state)
    counts = ("train_correct", "test_correct", "train_loss")
    assert [one.record["history"][c] for c in counts] == [
        other.record["history"][c] for c in counts
    ]
    different = train(NET, few, SHORT, 4)
    assert not any(torch.equal(one.state[k], different.state[k]) for k in one.state)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_it_is_the_plain_loop(few, optimiser):
    """Against ten lines of plain torch: the same bits, without the faster orders of arithmetic."""
    recipe = Recipe(optimiser, lr=0.01, batch_size=64, epochs=2, normalisation="0..1")
    plain = Execution(channels_last=False, fused=False)
    ours = train(NET, few, recipe, 11, execution=plain)

    seeds = drawn_seeds(11)
    torch.set_num_threads(1)
    torch.manual_seed(seeds["initialisation"])
    model = nets.build(NET)
    order = torch.Generator().manual_seed(seeds["order"])
    images, labels = few[0].tensors()
    images = torch.from_numpy(few[0].images.copy()).float().mul(torch.tensor(1 / 255))
    make = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimiser]
    extra = {"momentum": 0.9} if optimiser == "sgd" else {}
    opt = make(model.parameters(), lr=0.01, foreach=False, **extra)
    steps, done = 2 * 5, 0
    for _ in range(2):
        for chosen in torch.randperm(300, generator=order).split(64):
            opt.param_groups[0]["lr"] = recipe.rate(done, steps)
            opt.zero_grad()
            functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            opt.step()
            done += 1
    assert done == steps
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(ours.state[name], tensor, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        right = (model(few[1].tensors()[0]).argmax(1) == few[1].tensors()[1]).sum().item()
    assert ours.test_accuracy[-1] == right / 100

    fast = train(NET, few, recipe, 11)  # channels last, fused: other last digits, no more
    for name, tensor in ours.state.items():
        torch.testing.assert_close(fast.state[name], tensor, rtol=1e-2, atol=1e-3)


def test_it_learns_and_tells_what_it_did(sets):
    trained = train(NET, sets, Recipe(epochs=6, lr=5e-3, batch_size=64), 0)
    assert trained.status == "trained"
    assert trained.test_accuracy[-1] > 0.93 and len(trained.test_accuracy) == 6
    hits = trained.record["history"]["train_correct"]
    assert hits[0] < hits[-1] <= trained.record["history"]["train_images"] == len(sets[0])
    json.dumps(trained.record)
    assert trained.record["data"]["train"]["content_sha256"] == sets[0].sha256
    assert trained.record["data"]["train"]["name"] == "digits"  # a stand-in says so
    assert trained.record["versions"]["torch"] == machine.version("torch") and trained.seconds > 0
    # the net that comes back gives the accuracy that was recorded, from the same inputs
    with torch.no_grad():
        outputs = trained.net()(trained.scaling(sets[1].images))
    right = (outputs.argmax(1).numpy() == sets[1].labels).sum()
    assert abs(right - trained.record["history"]["test_correct"][-1]) <= 1  # another batch size


def test_batches_hold_every_image_once():
    assert batch_bounds(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert batch_bounds(9, 4) == [(0, 4), (4, 9)]
    assert batch_bounds(1, 4) == [(0, 1)]
    assert batch_bounds(8, 4) == [(0, 4), (4, 8)]
    assert batch_bounds(3, 1) == [(0, 1), (1, 3)]


def test_a_divergence_is_a_result(few):
    trained = train(NET, few, Recipe("sgd", lr=1e9, epochs=3), 0)
    history = trained.record["history"]
    assert trained.status == "diverged"
    assert history["train_loss"][-1] is None and len(history["test_correct"]) < 3
    json.dumps(trained.record, allow_nan=False)


def test_any_module_can_be_trained_on(few):
    """With dropout and batch normalisation, 300 = 13 * 23 + 1 images: one is left over."""

    def model():
        torch.manual_seed(0)
        return nn.Sequential(
            OrderedDict(conv=nn.Conv2d(1, 4, 5, 3), norm=nn.BatchNorm2d(4), relu=nn.ReLU(),
                        flatten=nn.Flatten(), drop=nn.Dropout(0.5), fc=nn.Linear(4 * 8 * 8, 10))
        ).eval()  # fmt: skip

    recipe = Recipe(epochs=4, batch_size=23)
    one, other = model(), model()
    first, second = fit(one, few, recipe, 0), fit(other, few, recipe, 0)
    assert same(one.state_dict(), other.state_dict())
    assert first.test_correct == second.test_correct and not one.training
    assert first.test_correct[-1] > 50


def test_what_cannot_be_trained_is_refused(few):
    with pytest.raises(BadInputError, match=r"images of 1×8×8 \(it is made for 1×28×28\)"):
        train(NET, "digits", SHORT, 0)
    with pytest.raises(BadInputError, match="no net is called"):
        train("lenet", few, SHORT, 0)
    for seed in (-1, 1.0, True, "0"):
        with pytest.raises(BadInputError, match="integer from 0 on"):
            train(NET, few, SHORT, seed)
    for wrong in (few[0], (few[0],), None, (few[0], 3)):
        with pytest.raises(BadInputError, match="dataset: give a name"):
            train(NET, wrong, SHORT, 0)
    grey = np.full_like(few[0].images, 9)
    with pytest.raises(BadInputError, match="mean/std"):
        train(NET, (dataclasses.replace(few[0], images=grey), few[1]), SHORT, 0)


# --- kept -----------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["", ".sha256", "json"])
def test_a_net_without_one_of_its_files_is_not_done(few, tmp_path, missing):
    trained = train(NET, few, Recipe(epochs=1), 0)
    path = shelf.save(trained, tmp_path)
    assert same(shelf.load(tmp_path, 0, trained.record["key"]).state, trained.state)
    assert shelf.load(tmp_path, 1, "any") is None
    gone = path.with_suffix(".json") if missing == "json" else path.with_name(path.name + missing)
    gone.unlink()
    with pytest.raises(ConvcostError):
        shelf.load(tmp_path, 0, trained.record["key"])
    with pytest.raises(ConvcostError):
        shelf.load(tmp_path, 0, "0" * 64)
    names = sorted(p.name for p in tmp_path.iterdir())
    with pytest.warns(UserWarning, match=r"\(kept as .*\.damaged-1"):
        assert shelf._whole(tmp_path, 0, trained.record["key"]) is None
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{n}.damaged-1" for n in names]
    assert shelf.load(tmp_path, 0, "any") is None


def test_one_net_is_kept_and_trained_again_where_it_was_damaged(few, tmp_path):
    recipe = Recipe(epochs=1)
    first = kept(tmp_path, NET, few, recipe, 3)
    again = kept(tmp_path, NET, few, recipe, 3)
    assert again.record == first.record  # its date included: it was not trained twice
    assert same(first.state, train(NET, few, recipe, 3).state)
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=rf"{path.name}.* \(kept as {path.name}\.damaged-1, "):
        third = kept(tmp_path, NET, few, recipe, 3)
    assert same(third.state, first.state) and third.record["seconds"] != first.seconds
    assert path.with_name(path.name + ".damaged-1").read_bytes() == bytes(content)
    # a digit of the record that was changed
    beside = path.with_suffix(".json")
    record = json.loads(beside.read_text())
    record["history"]["test_correct"][-1] += 1
    beside.write_text(json.dumps(record))
    with pytest.raises(DamagedFileError, match="does not say what seed-00003"):
        shelf.load(path.parent, 3, first.record["key"])
    with pytest.warns(UserWarning, match=r"\.damaged-2"):
        assert kept(tmp_path, NET, few, recipe, 3).test_accuracy == first.test_accuracy
    assert path.with_name(path.name + ".damaged-2").is_file()


def test_a_net_kept_for_one_execution_is_none_for_another(few, tmp_path, monkeypatch):
    """A GPU run after a CPU run in one checkout: the GPU is played, its records are written."""
    recipe = Recipe(epochs=1)
    made = train(NET, few, recipe, 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    asked = []

    def train_as_if(net, sets, recipe, seed, *, execution):
        asked.append(execution)
        own = key(net, *sets, recipe, seed, numerics=execution.numerics())
        record = made.record | {"key": own, "seconds": float(len(asked))}
        return dataclasses.replace(made, record=record)

    monkeypatch.setattr(shelf, "train", train_as_if)
    executions = [Execution(), Execution("cuda"), Execution("cuda", bf16=True)]
    for _ in range(2):
        found = [kept(tmp_path, NET, few, recipe, 3, execution=e) for e in executions]
        assert [net.seconds for net in found] == [1.0, 2.0, 3.0]
    assert asked == executions  # each was trained once
    assert kept(tmp_path, NET, few, recipe, 3, execution=Execution("cuda:1")).seconds == 2.0
    families = [shelf.family_folder(tmp_path, NET, few, recipe, e) for e in executions]
    assert sorted(tmp_path.iterdir()) == sorted(families)
    # even where a file lies in the wrong folder
    for path in families[0].glob("seed-*"):
        path.replace(families[1] / path.name)
    assert kept(tmp_path, NET, few, recipe, 3, execution=executions[1]).seconds == 4.0


def test_options_reach_the_constructor_and_the_key_and_no_trial_is_made_unless_asked_for():
    sets = tuple(datasets.load("lfw_gender", part, download=False) for part in ("train", "test"))
    sets = tuple(part.spread(40).resized(8) for part in sets)
    recipe = Recipe(epochs=1, batch_size=20)
    options = {"f": 2, "s": 8, "k": 3, "l": 1}
    net = train("ke_cnn", sets, recipe, 5, options=options, tests=False)
    assert net.test_accuracy == [] and len(net.record["history"]["train_correct"]) == 1
    assert net.state["conv1.weight"].shape == (2, 3, 3, 3)
    assert (
        net.record["key"]
        != train("ke_cnn", sets, recipe, 5, options=options | {"f": 4}).record["key"]
    )
    tried = train("ke_cnn", sets, recipe, 5, options=options)
    assert all(torch.equal(net.state[name], tried.state[name]) for name in net.state)
    said = named(net, sets[1])
    with torch.inference_mode():
        outputs = net.net()(net.scaling(sets[1].images))
    assert said.tolist() == outputs.argmax(1).tolist()
    assert (said == sets[1].labels).sum() == tried.record["history"]["test_correct"][0]
    with pytest.raises(BadInputError, match="3 channels, these images have 1"):
        named(net, datasets.load("digits", "test"))
