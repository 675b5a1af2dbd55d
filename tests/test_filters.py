"""A smaller net computes what the old one does without its filters; what is no chain is refused."""

import copy
import dataclasses
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from convcost import datasets, nets
from convcost.compression import filters as removal
from convcost.compression.filters import CRITERIA, ranking, without_filters, zero_fractions
from convcost.core.errors import BadInputError
from convcost.counting.count import count
from convcost.training import Execution, Recipe, fit
from small_nets import Calls


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filled(model, seed=0):
    """The model in float64 and evaluation mode, all its numbers drawn: variances positive, weights
    more often than not, so that few filters are silent.
    """
    model = model.double().eval()
    for i, (name, tensor) in enumerate(model.state_dict().items()):
        if tensor.is_floating_point():
            drawn = normal(*tensor.shape, seed=seed + i) / tensor[0].numel() ** 0.5
            tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") else drawn + 0.1)
    return model


def thin(name, filters):
    """A net of torchvision with this many filters in every layer but the last."""
    model = nets.build(name, num_classes=5, in_channels=1, device="meta")
    layers = [p for p, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers[:-1]:
        weight = model.get_submodule(layer).weight
        model = without_filters(model, layer, range(filters, len(weight)))
    return filled(model.to_empty(device="cpu"))


def normed():
    """BatchNorm before and behind ReLU, on maps, behind the Flatten and behind a Linear."""
    return filled(
        nn.Sequential(
            nn.Conv2d(2, 5, 3, bias=False),
            nn.BatchNorm2d(5),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
            nn.Sequential(nn.Conv2d(5, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh()),
            nn.Flatten(),
            nn.BatchNorm1d(4 * 3 * 3),
            nn.Dropout(),
            nn.Linear(4 * 3 * 3, 6),
            nn.BatchNorm1d(6, affine=False),
            nn.LeakyReLU(),
            nn.Linear(6, 3),
        )
    )


def functional():
    """Nothing but the weighted layers are modules."""

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.one(x), inplace=True), 2)
        x = torch.relu_(self.two(x)).flatten(1)
        return self.four(F.dropout(self.three(x).relu(), training=self.training))

    return filled(
        Calls(
            forward,
            one=nn.Conv2d(1, 4, 3),
            two=nn.Conv2d(4, 3, 2),
            three=nn.Linear(3 * 2 * 2, 5),
            four=nn.Linear(5, 2),
        )
    )


def zeroed(model, path, filters, x):
    """The model's output with these channels of what module `path` puts out set to zero."""

    def hook(module, inputs, output):
        output = output.clone()
        output[:, filters] = 0
        return output

    handle = model.get_submodule(path).register_forward_hook(hook)
    try:
        return model(x)
    finally:
        handle.remove()


def lenet():
    return filled(nets.build("lenet_atsumi"))


# name -> model, input shape, and per layer: the activation behind it, the filters to remove
CHAINS = {
    "lenet": (
        lenet,
        (3, 1, 28, 28),
        {
            "conv1": ("relu1", [0, 3]),
            "conv2": ("relu2", [15, 2, 7]),
            "fc120": ("relu3", [0, 1, 119, 60]),
            "fc84": ("relu4", list(range(83))),
        },
    ),
    "alexnet": (
        lambda: thin("alexnet", 4),
        (2, 1, 64, 64),
        {
            "features.0": ("features.1", [1]),
            "features.8": ("features.9", [3, 0]),
            "features.10": ("features.11", [2, 1]),
            "classifier.1": ("classifier.2", [0]),
            "classifier.4": ("classifier.5", [0, 1, 2]),
        },
    ),
    "vgg16": (
        lambda: thin("vgg16", 3),
        (2, 1, 32, 32),
        {
            "features.0": ("features.1", [2]),
            "features.2": ("features.3", [0, 1]),
            "features.28": ("features.29", [1]),
            "classifier.0": ("classifier.1", [0, 2]),
            "classifier.3": ("classifier.4", [1]),
        },
    ),
    "norms": (
        normed,
        (3, 2, 8, 8),
        {"0": ("2", [4, 0]), "4.0": ("6", [2]), "8": ("10", [5, 1])},
    ),
}
CASES = [(name, layer) for name, (_, _, layers) in CHAINS.items() for layer in layers]
_made = {}


def chain(name):
    make, shape, layers = CHAINS[name]
    if name not in _made:
        _made[name] = make()
    return _made[name], normal(*shape, seed=7), layers


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def close(one, other) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-12, atol=1e-12)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# --- what the smaller net computes -----------------------------------------------------------


@pytest.mark.parametrize(("name", "layer"), CASES)
@torch.no_grad()
def test_it_computes_what_the_old_net_does_with_zeros_in_place_of_the_filters(name, layer):
    model, x, layers = chain(name)
    activation, filters = layers[layer]
    if (name, layer) == ("norms", "4.0"):  # what the Linear reads is flat: 3*3 pixels a filter
        positions = [9 * i + j for i in filters for j in range(9)]
    else:
        positions = filters
    before = state(model)
    smaller = without_filters(model, layer, filters)
    expected = zeroed(model, activation, positions, x)
    assert close(smaller(x), expected)
    assert (expected - model(x)).abs().max() > 1e-6  # these filters did matter
    assert same(state(model), before)
    was, now = model.get_submodule(layer), smaller.get_submodule(layer)
    kept = [i for i in range(len(was.weight)) if i not in filters]
    assert torch.equal(now.weight, was.weight[kept])


@torch.no_grad()
def test_functions_and_methods_are_followed_too():
    model, x = functional(), normal(3, 1, 8, 8)
    for layer, filters in (("one", [0, 2]), ("two", [1]), ("three", [4, 0])):
        expected = copy.deepcopy(model)
        module = expected.get_submodule(layer)
        module.weight[filters] = 0  # relu(0) is 0
        module.bias[filters] = 0
        assert close(without_filters(model, layer, filters)(x), expected(x))


@torch.no_grad()
def test_one_after_the_other_and_in_any_order():
    model = lenet()
    whole = without_filters(model, "conv2", [2, 9, 5])
    for order in ([9, 5, 2], np.array([5, 2, 9]), (i for i in (9, 2, 5)), {2, 5, 9}):
        assert same(state(without_filters(model, "conv2", order)), state(whole))
    # 9, 5, 2 from the back: the indices of those before do not move
    steps = model
    for i in (9, 5, 2):
        steps = without_filters(steps, "conv2", [i])
    assert same(state(steps), state(whole))
    one_way = without_filters(without_filters(model, "conv1", [0]), "conv2", [1])
    other_way = without_filters(without_filters(model, "conv2", [1]), "conv1", [0])
    assert same(state(one_way), state(other_way))
    assert same(state(without_filters(model, "conv1", [])), state(model))


def test_multiplications_as_products():
    def macs(model):
        found = count(model, (1, 28, 28))
        table = found.table.set_index("path")["macs"]
        return {path: n for path, n in table.items() if n}, found.params

    first = without_filters(lenet(), "conv1", [0, 3])
    assert macs(first)[0] == {
        "conv1": 24 * 24 * 5 * 5 * 4,
        "conv2": 8 * 8 * 5 * 5 * 4 * 16,
        "fc120": 256 * 120,
        "fc84": 120 * 84,
        "fc10": 84 * 10,
    }
    assert macs(first)[1] == (
        (5 * 5 + 1) * 4 + (5 * 5 * 4 + 1) * 16 + (256 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10
    )
    both = without_filters(without_filters(first, "conv2", [0]), "fc120", range(100))
    assert macs(both)[0] == {
        "conv1": 24 * 24 * 5 * 5 * 4,
        "conv2": 8 * 8 * 5 * 5 * 4 * 15,
        "fc120": 15 * 4 * 4 * 20,
        "fc84": 20 * 84,
        "fc10": 84 * 10,
    }
    sizes = [(both.conv1.in_channels, both.conv1.out_channels)]
    sizes += [(both.conv2.in_channels, both.conv2.out_channels)]
    sizes += [(both.fc120.in_features, both.fc120.out_features)]
    assert sizes == [(1, 4), (4, 15), (15 * 4 * 4, 20)]


def test_a_chain_inside_a_block_with_a_shortcut():
    """Of resnet18, the first convolution of a block has one reader."""
    model = nets.build("resnet18", device="meta")
    smaller = without_filters(model, "layer1.0.conv1", range(10))
    found = count(smaller, (3, 224, 224)).table.set_index("path")["macs"]
    assert found["layer1.0.conv1"] == 56 * 56 * 3 * 3 * 64 * 54
    assert found["layer1.0.conv2"] == 56 * 56 * 3 * 3 * 54 * 64
    assert smaller.layer1[0].bn1.num_features == 54
    assert count(smaller, (3, 224, 224)).macs < count(model, (3, 224, 224)).macs


@torch.no_grad()
def test_a_block_with_a_shortcut_is_the_block_with_masked_inputs():
    """torch's own masks as the referee: the reader's weights of those inputs are zero."""
    model, x = filled(nets.build("resnet18")), normal(1, 3, 32, 32)
    filters = [0, 77, 5]
    masked = copy.deepcopy(model)
    reader = masked.layer2[0].conv2
    mask = torch.ones_like(reader.weight)
    mask[:, filters] = 0
    prune.custom_from_mask(reader, "weight", mask)
    smaller = without_filters(model, "layer2.0.conv1", filters)
    assert close(smaller(x), masked(x))
    assert not close(smaller(x), model(x))


# --- a new net, and the old one left alone -----------------------------------------------------


def test_modes_dtype_memory_order_and_requires_grad_are_the_old_ones():
    model = nets.build("vgg16_bn", num_classes=3, device="meta")
    model = without_filters(model, "classifier.0", range(9, 4096))
    model = without_filters(model, "classifier.3", range(9, 4096))
    model = model.to_empty(device="cpu").bfloat16().to(memory_format=torch.channels_last).train()
    model.features[3].eval()
    model.features[0].weight.requires_grad_(False)
    model.features[1].bias.requires_grad_(False)
    model.features[3].bias.grad = torch.ones_like(model.features[3].bias)
    smaller = without_filters(model, "features.0", [0, 5, 63])
    assert [m.training for m in smaller.modules()] == [m.training for m in model.modules()]
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: p.requires_grad for name, p in smaller.named_parameters()} == flags
    assert all(type(p) is nn.Parameter and p.is_leaf for p in smaller.parameters())
    assert {t.dtype for t in smaller.parameters()} == {torch.bfloat16}
    assert smaller.features[1].running_mean.shape == smaller.features[1].running_var.shape == (61,)
    for path in ("features.0", "features.3"):
        weight = smaller.get_submodule(path).weight
        order = torch.empty(weight.shape).to(memory_format=torch.channels_last)
        assert weight.stride() == order.stride()
    owned = {t.data_ptr() for t in model.state_dict().values()}
    assert not owned & {t.data_ptr() for t in smaller.state_dict().values()}


def test_a_net_without_data_stays_one():
    smaller = without_filters(nets.build("lenet_atsumi", device="meta"), "conv2", [3])
    assert {p.device.type for p in smaller.parameters()} == {"meta"}
    assert smaller.fc120.weight.shape == (120, 15 * 4 * 4)


def test_the_old_net_and_the_generators_are_as_before():
    calls = []
    model = Calls(lambda self, x: self.tail(self.body(x)), body=lenet(), tail=nn.Identity())
    for module in model.modules():
        module.register_forward_hook(lambda *seen: calls.append(seen))
        module.register_forward_pre_hook(lambda *seen: calls.append(seen))
    model.body.relu1.train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)

    def everything():
        return [
            {k: (id(v), list(v) if isinstance(v, dict) else v) for k, v in vars(m).items()}
            for m in model.modules()
        ], [(id(p), id(p.grad), p._version) for p in model.parameters()]

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    draws = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    before, values = everything(), state(model)
    smaller = without_filters(model, "body.conv1", [1])
    assert calls == []  # no hook met what stands for a tensor
    for criterion in CRITERIA:
        ranking(model, "body.conv1", criterion, images=normal(2, 1, 28, 28), seed=0)
    with pytest.raises(BadInputError):
        without_filters(model, "body.fc10", [1])
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert everything() == before and same(state(model), values) and after == draws
    assert calls and all(type(inputs[0]) is torch.Tensor for _, inputs, *_ in calls)
    assert all(p.grad is None for p in smaller.parameters())


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Scikit-learn's digits at 28 x 28, 300 and 100 of them."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CONVCOST_DATA", raising=False)
        sets = [
            datasets.load("mnist", split, download=False, raw=nowhere)
            for split in ("train", "test")
        ]
    return tuple(
        dataclasses.replace(part, images=part.images[:n].copy(), labels=part.labels[:n].copy())
        for part, n in zip(sets, (300, 100), strict=True)
    )


def test_it_can_be_trained_on(few):
    model = nets.build("lenet_atsumi")
    before = state(model)
    smaller = without_filters(without_filters(model, "conv1", [0, 3]), "fc120", [7])
    shapes = {name: tensor.shape for name, tensor in smaller.state_dict().items()}
    start = state(smaller)
    history = fit(smaller, few, Recipe(epochs=1, batch_size=50), seed=0, execution=Execution())
    assert len(history.test_correct) == 1 and not history.diverged
    assert {name: tensor.shape for name, tensor in smaller.state_dict().items()} == shapes
    assert not any(torch.equal(start[k], v) for k, v in smaller.state_dict().items())
    assert same(state(model), before)


# --- what is no chain --------------------------------------------------------------------------


def conv(inputs=1, outputs=3, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


def tied():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return model


def masked():
    model = nn.Sequential(conv(), nn.ReLU(), conv(3, 2))
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    return model


def parametrized():
    model = nn.Sequential(conv(), nn.ReLU(), conv(3, 2))
    nn.utils.parametrizations.weight_norm(model[2])
    return model


def patched():
    model = nn.Sequential(conv(), nn.ReLU(), conv(3, 2))
    model.forward = lambda x: model[2](model[0](x)) + 1
    return model


def by_mode(self, x):
    x = self.one(x)
    return self.two(x) if self.training else self.three(x)


def by_value(self, x):
    return self.two(self.one(x)) if x.sum() > 0 else x


NOT_CHAINS = {
    "last layer": (lenet, "fc10", "leaves the net"),
    "addition": (lambda: nets.build("resnet18", device="meta"), "layer1.0.conv2", "add joins"),
    "two readers": (lambda: nets.build("resnet18", device="meta"), "conv1", "goes to .*and add"),
    "concatenation": (
        lambda: nets.build("googlenet", device="meta"),
        "inception3a.branch1.conv",
        "cat joins",
    ),
    "dense block": (lambda: nets.build("densenet121", device="meta"), "features.conv0", "goes to"),
    "depthwise reader": (
        lambda: nets.build("mobilenet_v2", device="meta"), "features.0.0", "is grouped",
    ),
    "grouped itself": (
        lambda: nn.Sequential(conv(4, 4, groups=2), nn.ReLU(), conv(4)), "0", "'0'.*is grouped",
    ),
    "concatenated with itself": (
        lambda: Calls(lambda m, x: m.b(torch.cat([a := m.a(x), a], 1)), a=conv(), b=conv(6)),
        "a", "cat",
    ),
    "layer twice": (
        lambda: Calls(lambda m, x: m.b(m.a(m.a(x))), a=conv(3), b=conv(3)), "a", "runs 2 times",
    ),
    "reader twice": (
        lambda: Calls(lambda m, x: m.b(m.b(m.a(x))), a=conv(), b=conv(3)), "a", "'b'.*runs 2 times",
    ),
    "norm twice": (
        lambda: Calls(
            lambda m, x: m.b(m.n(m.a(m.n(x)))), a=conv(3), n=nn.BatchNorm2d(3), b=conv(3)
        ),
        "a", "'n'.*runs 2 times",
    ),
    "tied weights": (tied, "0", "weight of '0'.*used elsewhere"),
    "tied reader": (
        lambda: Calls(lambda m, x: F.conv2d(m.b(m.a(x)), m.b.weight), a=conv(), b=conv(3)),
        "a", "weight of 'b'.*used elsewhere",
    ),
    "mask": (masked, "0", "weight_mask, weight_orig"),
    "parametrized reader": (parametrized, "0", "may mix channels"),
    "not called": (
        lambda: Calls(lambda m, x: m.b(F.conv2d(x, m.a.weight)), a=conv(), b=conv(3)),
        "a", "no call",
    ),
    "nobody reads": (
        lambda: Calls(lambda m, x: m.b(x) if m.a(x) is not None else x, a=conv(), b=conv()),
        "a", "nowhere",
    ),
    "norm over channels": (
        lambda: nn.Sequential(conv(), nn.GroupNorm(1, 3), conv(3)), "0", "may mix channels",
    ),
    "softmax": (
        lambda: nn.Sequential(nn.Linear(2, 3), nn.Softmax(1), nn.Linear(3, 2)), "0", "may mix",
    ),
    "pooling over units": (
        lambda: nn.Sequential(nn.Linear(2, 4), nn.MaxPool2d(1), nn.Linear(4, 2)), "0", "may mix",
    ),
    "times a parameter": (
        lambda: Calls(lambda m, x: m.b(m.a(x) * m.b.bias), a=conv(), b=conv(3)), "a", "mul joins",
    ),
    "linear on columns": (
        lambda: nn.Sequential(conv(), nn.ReLU(), nn.Linear(3, 2)), "0", "channel by channel",
    ),
    "convolution on units": (
        lambda: nn.Sequential(nn.Linear(3, 3), nn.ReLU(), conv(3)), "0", "channel by channel",
    ),
    "flattened steps": (
        lambda: nn.Sequential(nn.Linear(2, 3), nn.Flatten(), nn.Linear(12, 2)),
        "0", "channel by channel",
    ),
    "flatten from 2": (
        lambda: nn.Sequential(conv(), nn.Flatten(2), nn.Linear(9, 2)), "0", "from dimension 1",
    ),
    "torch.flatten from 0": (
        lambda: Calls(lambda m, x: m.b(torch.flatten(m.a(x))), a=conv(), b=nn.Linear(27, 2)),
        "a", "from dimension 1",
    ),
    "view": (
        lambda: Calls(lambda m, x: m.b(m.a(x).view(-1, 27)), a=conv(), b=nn.Linear(27, 2)),
        "a", "view comes before",
    ),
    "a forward put on the object": (patched, "0", "of the object's own"),
    "another reader in training": (
        lambda: Calls(by_mode, one=conv(), two=conv(3), three=conv(3)), "one", "in training than",
    ),
    "a forward that asks for values": (
        lambda: Calls(by_value, one=conv(), two=conv(3)), "one", "torch.fx cannot follow",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_CHAINS)
def test_what_is_no_chain_is_refused_by_layer_and_reason(case):
    make, layer, why = NOT_CHAINS[case]
    model = make()
    with pytest.raises(BadInputError, match=why) as refused:
        without_filters(model, layer, [0])
    assert repr(layer) in str(refused.value)


@torch.no_grad()
def test_an_argument_with_a_default_keeps_it():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(2, 3), nn.Linear(3, 2)

        def forward(self, x, mask=None, more=False):
            x = self.one(x)
            if mask is not None:
                x = x * mask
            return (x, self.two(x)) if more else self.two(x)

    assert without_filters(Masked(), "one", [1])(torch.ones(1, 2)).shape == (1, 2)


@torch.no_grad()
def test_a_layer_held_under_two_names_is_narrowed_once():
    model = Calls(
        lambda m, x: m.b(F.relu(m.a(x))), a=nn.Linear(2, 3, bias=False), b=nn.Linear(3, 2)
    )
    model.also = nn.ModuleList([model.a, model.b])
    model.a.weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 1]]))
    images = torch.tensor([[1.0, -1], [2, -1]])
    for path in ("a", "also.0"):
        smaller = without_filters(model, path, [0])
        assert smaller.a is smaller.also[0] and smaller.a.weight.shape == (2, 2)
        assert smaller(images).shape == (2, 2)
        assert zero_fractions(model, path, images).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("layer", "filters", "why"),
    [
        ("conv3", [0], "has no plain Conv2d or Linear 'conv3'; it has: conv1, conv2, fc120"),
        ("relu1", [0], "no plain Conv2d or Linear"),
        ("conv1", [6], r"\[6\] are not there; it has 0 to 5"),
        ("conv1", [-1], "not there"),
        ("conv1", [1, 2, 1], r"\[1\] are doubled"),
        ("conv1", range(6), "one has to stay"),
        ("conv1", [1.0], "integers"),
        ("conv1", "12", "integers"),
        ("conv1", 3, "integers"),
        ("conv1", [True, False, True, False, False, False], "doubled"),
    ],
)
def test_a_wrong_layer_or_index_is_refused(layer, filters, why):
    with pytest.raises(BadInputError, match=why):
        without_filters(nets.build("lenet_atsumi", device="meta"), layer, filters)


def test_a_model_that_cannot_be_copied_is_refused():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.Linear(2, 2))
    model.spare = (torch.ones(2, requires_grad=True) * 2,)  # a result with a history
    with pytest.raises(BadInputError, match="cannot be copied"):
        without_filters(model, "0", [0])
    with pytest.raises(BadInputError, match="Module is expected, got dict"):
        without_filters({}, "0", [0])


# --- in which order ----------------------------------------------------------------------------


def units(weights, *behind):
    """One input, one unit for each weight, no bias."""
    model = nn.Sequential(nn.Linear(1, len(weights), bias=False), *behind)
    model[0].weight.data = torch.tensor(weights)[:, None]
    return model


IMAGES = torch.tensor([[1.0], [2.0], [-3.0], [4.0]])


def test_highest_zero_rate_by_hand():
    model = units([1.0, -1.0, 0.0, 2.0], nn.ReLU(), nn.Linear(4, 2))
    assert zero_fractions(model, "0", IMAGES).tolist() == [1 / 4, 3 / 4, 4 / 4, 1 / 4]
    assert ranking(model, "0", "highest zero rate", images=IMAGES) == [2, 1, 0, 3]
    labels = torch.tensor([0, 1, 0, 1])
    batches = [(IMAGES[:1], labels[:1]), (IMAGES[1:], labels[1:])]
    assert ranking(model, "0", "highest zero rate", images=batches) == [2, 1, 0, 3]


@torch.no_grad()
@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc120", "fc84"])
def test_zero_fractions_are_those_of_the_maps(layer):
    model, x, layers = chain("lenet")
    names = [name for name, _ in model.named_children()]
    maps = model[: names.index(layers[layer][0]) + 1](x)
    expected = (maps == 0).double().transpose(0, 1).flatten(1).mean(1).numpy()
    found = zero_fractions(model, layer, x)
    assert found.dtype == np.float64 and np.allclose(found, expected, rtol=0, atol=1e-15)
    order = ranking(model, layer, "highest zero rate", images=x)
    assert sorted(order) == list(range(len(maps[0])))
    assert [*found[order]] == sorted(found, reverse=True)


@torch.no_grad()
def test_the_relu_of_a_layer_wherever_it_stands():
    x = normal(5, 1, 8, 8)
    model = functional()
    expected = (F.relu(model.two(F.max_pool2d(F.relu(model.one(x)), 2))) == 0).double()
    expected = expected.transpose(0, 1).flatten(1).mean(1)
    assert zero_fractions(model, "two", x).tolist() == pytest.approx(expected.tolist(), abs=1e-15)
    # behind BatchNorm, pooling and Flatten: 16 elements of each filter
    model = filled(
        nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.Flatten(),
            nn.ReLU(), nn.Linear(3 * 4 * 4, 2),
        )
    )  # fmt: skip
    expected = (model[:5](x).reshape(5, 3, 16) == 0).double().mean((0, 2))
    assert zero_fractions(model, "0", x).tolist() == pytest.approx(expected.tolist(), abs=1e-15)


def test_a_relu_that_may_be_of_another_layer_is_not_taken():
    def forward(self, x):
        one, two = self.a(x), self.b(x)
        return self.c(F.relu(one)) + self.d(torch.tanh(two))  # this ReLU runs right behind b

    model = Calls(forward, a=conv(), b=conv(), c=conv(3), d=conv(3))
    assert without_filters(model, "b", [0]).d.in_channels == 2
    for layer in "ab":
        with pytest.raises(BadInputError, match="cannot be told apart"):
            zero_fractions(model, layer, torch.zeros(1, 1, 4, 4))


def test_smallest_norm_leaves_the_bias_out():
    model = nn.Sequential(nn.Conv2d(1, 3, (1, 2)), nn.ReLU(), nn.Conv2d(3, 1, 1))
    model[0].weight.data = torch.tensor([[[[1.0, -3.0]]], [[[2.0, 1.5]]], [[[-2.0, 2.0]]]])
    model[0].bias.data = torch.tensor([0.0, 100.0, 0.0])
    assert ranking(model, "0", "smallest L1 norm") == [1, 0, 2]  # 3.5, and 4 twice


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc120", "fc84"])
def test_torch_masks_the_filters_of_the_smallest_norms(layer):
    model, *_ = chain("lenet")
    order = ranking(model, layer, "smallest L1 norm")
    for gone in (1, 2, len(order) // 2):
        masked = copy.deepcopy(model.get_submodule(layer))
        prune.ln_structured(masked, "weight", amount=gone, n=1, dim=0)
        silent = (masked.weight_mask == 0).flatten(1).all(1).nonzero().view(-1)
        assert silent.tolist() == sorted(order[:gone])


def test_a_random_order_is_its_seed():
    model = nets.build("lenet_atsumi")
    orders = [ranking(model, "conv1", "random", seed=seed) for seed in range(60)]
    assert orders[3] == [4, 3, 0, 1, 2, 5]  # on any machine
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert orders == [ranking(model, "conv1", "random", seed=np.int64(s)) for s in range(60)]
    assert len({tuple(order) for order in orders}) > 50  # of 720
    assert {order[0] for order in orders} == set(range(6))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("conv1", "largest"), "no criterion 'largest'; choose one of: highest zero rate, small"),
        (("pool1", "random"), "no plain Conv2d or Linear 'pool1'"),
        (("conv1", "highest zero rate"), "needs images"),
        (("conv1", "random"), "seed is None"),
        (("conv1", "random", -1), "seed is -1"),
        (("conv1", "random", True), "seed is True"),
        (("conv1", "random", 1.0), "seed is 1.0"),
    ],
)
def test_a_wrong_ranking_is_refused(arguments, why):
    layer, criterion, *seed = arguments
    with pytest.raises(BadInputError, match=why):
        ranking(nets.build("lenet_atsumi"), layer, criterion, seed=seed[0] if seed else None)


def test_nets_without_an_order_are_refused():
    with pytest.raises(BadInputError, match="no ReLU between '0'"):
        zero_fractions(units([1.0, 2.0], nn.Tanh(), nn.Linear(2, 1), nn.ReLU()), "0", IMAGES)
    with pytest.raises(BadInputError, match="are NaN"):
        ranking(units([1.0, float("nan")]), "0", "smallest L1 norm")
    with pytest.raises(BadInputError, match="NaN"):
        model = units([1.0, float("nan")], nn.ReLU(), nn.Linear(2, 1))
        ranking(model, "0", "highest zero rate", images=IMAGES)


def test_every_criterion_feeds_the_removal():
    model, x, _ = chain("lenet")
    for criterion in CRITERIA:
        gone = ranking(model, "conv1", criterion, images=x, seed=0)[:2]
        smaller = without_filters(model, "conv1", gone)
        left = [i for i in range(6) if i not in gone]
        assert torch.equal(smaller.conv1.bias, model.conv1.bias[left])
    assert removal.CRITERIA == ("highest zero rate", "smallest L1 norm", "random")
