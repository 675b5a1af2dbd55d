"""Zeros are counted exactly, whatever the model looks like, and the model stays as it was."""

import copy
import itertools
import random
import weakref
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convcost import count, nets
from convcost.core.errors import BadInputError
from convcost.measuring import zeros
from convcost.measuring.zeros import NET, dark_pixels, skippable_macs, zero_rates
from small_nets import Calls


def integers(*shape, low=-3, high=4, seed=0):
    """Small whole numbers: sums and products of them are exact in any order."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, shape, generator=generator).float()


def whole(model, seed=0):
    """The same model with small whole numbers as weights."""
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(integers(*p.shape, low=-2, high=3, seed=seed + i))
    return model


def lenet():
    return whole(nets.build("lenet_atsumi"))


# Two images of two channels with 1 x 2 pixels.
IMAGES = torch.tensor([[[[-1.0, 2.0]], [[3.0, 4.0]]], [[[-0.0, 0.0]], [[-5.0, 6.0]]]])
LABELS = torch.tensor([8, 3])


def test_counts_by_layer_channel_and_class():
    table = zero_rates(nn.Sequential(OrderedDict(act=nn.ReLU())), (IMAGES, LABELS))
    assert list(table.columns) == ["layer", "channel", "class", "zeros", "total", "zero_fraction"]
    assert table.values.tolist() == [
        ["act", 0, 3, 2, 2, 1.0],
        ["act", 0, 8, 1, 2, 0.5],
        ["act", 1, 3, 1, 2, 0.5],
        ["act", 1, 8, 0, 2, 0.0],
    ]
    assert table["zeros"].dtype == table["total"].dtype == table["class"].dtype == np.int64
    assert table.attrs["images"] == 2


RELUS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "method": lambda x: x.relu(),
    "method in place": lambda x: x.relu_(),
    "aten": torch.ops.aten.relu.default,
    "ReLU6": nn.ReLU6(),
    "F.relu6": F.relu6,
    "Hardtanh": nn.Hardtanh(0.0, 20.0),
    "F.hardtanh_": lambda x: F.hardtanh_(x, min_val=0, max_val=1),
    "Threshold": nn.Threshold(0.0, 0.0),
    "F.threshold_": lambda x: F.threshold_(x, 0.5, 0.0),
    "torch.threshold": lambda x: torch.threshold(x, 0, 0),
    "clamp": lambda x: x.clamp(min=0),
    "torch.clamp": lambda x: torch.clamp(x, 0, 3),
    "clamp_": lambda x: x.clamp_(0),
    "clip": lambda x: torch.clip(x, min=0.0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
}


@pytest.mark.parametrize("name", RELUS)
def test_every_way_to_write_relu_is_the_same(name):
    function = RELUS[name]
    children = {"act": function} if isinstance(function, nn.Module) else {}
    model = Calls(lambda self, x: function(x * 1), **children)
    table = zero_rates(model, (IMAGES, LABELS), by=("channel", "class"))
    assert table["zeros"].tolist() == [2, 1, 1, 0]
    assert table["total"].tolist() == [2, 2, 2, 2]


def test_minus_zero_is_zero():
    model = Calls(lambda self, x: F.threshold(x, -0.0, -0.0))
    table = zero_rates(model, torch.tensor([[-0.0, 1e-45, -1.0, 0.0]]), by="layer")
    out = F.threshold(torch.tensor([-1.0]), -0.0, -0.0)
    assert torch.signbit(out)  # the case is real
    assert table["zeros"].tolist() == [3]  # the smallest float there is, is none


NOT_RELUS = {
    "gelu": F.gelu,
    "leaky_relu": nn.LeakyReLU(),
    "hardswish": nn.Hardswish(),
    "hardtanh": nn.Hardtanh(),
    "threshold": nn.Threshold(0.5, 0.25),
    "sigmoid": lambda x: x.sigmoid_(),
    "tanh": torch.tanh,
    "elu": F.elu_,
    "clamp": lambda x: x.clamp(min=0.5),
    "softplus": F.softplus,
    "lstm": lambda x: nn.LSTM(2, 2)(x[:, 0])[0],
}


@pytest.mark.parametrize("name", NOT_RELUS)
def test_other_activations_are_named_and_not_counted(name):
    function = NOT_RELUS[name]
    model = Calls(lambda self, x: function(x * 1))
    table = zero_rates(nn.Sequential(OrderedDict(block=model)), (IMAGES, LABELS))
    assert not len(table)
    assert list(table.columns) == ["layer", "channel", "class", "zeros", "total", "zero_fraction"]
    assert list(table.attrs["not_watched"]) == [name]


def test_threshold_that_lets_negatives_through_is_no_relu():
    table = zero_rates(nn.Sequential(nn.Threshold(-1.0, 0.0)), (IMAGES, LABELS))
    assert table.attrs["not_watched"] == {"threshold": ["0"]}
    assert not len(table)


def test_relu_of_a_parameter_is_no_activation():
    model = nn.Linear(2, 2)
    net = Calls(lambda self, x: F.linear(x, F.relu(self.fc.weight)), fc=model)
    table = zero_rates(net, (IMAGES[:, 0, 0], LABELS))
    assert not len(table)
    assert table.attrs["not_watched"] == {"relu of a parameter": [""]}


# ---------------------------------------------------------------- layers


def test_names_of_functional_calls_and_what_ran_before():
    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = self.conv2(x).relu_()
        return F.relu(self.fc(x.flatten(1)))

    model = Calls(forward, conv1=nn.Conv2d(1, 2, 3), conv2=nn.Conv2d(2, 3, 3), fc=nn.Linear(12, 5))
    table = zero_rates(model, torch.randn(4, 1, 10, 10), by="layer")
    assert table["layer"].tolist() == ["[0]", "[1]", "[2]"]
    assert table["total"].tolist() == [4 * 2 * 8 * 8, 4 * 3 * 2 * 2, 4 * 5]
    assert table.attrs["after"] == {"[0]": "conv1", "[1]": "conv2", "[2]": "fc"}
    assert table.attrs["functions"] == {"[0]": "relu", "[1]": "relu", "[2]": "relu"}


def test_a_module_used_twice_and_one_held_twice():
    relu, shared = nn.ReLU(), nn.ReLU()
    block = Calls(lambda self, x: self.relu(self.relu(x) - 1), relu=relu)
    model = nn.Sequential(OrderedDict(block=block, a=shared, b=shared, last=nn.ReLU()))
    table = zero_rates(model, (IMAGES, LABELS), by="layer", batch_size=1)
    assert table["layer"].tolist() == ["block.relu[0]", "block.relu[1]", "a", "b", "last"]
    assert table["zeros"].tolist() == [4, 4, 4, 4, 4]


def test_names_do_not_drift_from_batch_to_batch():
    """One ReLU under two names, called three times per image: names start anew in every batch."""
    shared = nn.ReLU()
    model = Calls(lambda self, x: self.b(self.a(self.a(x))), a=shared, b=shared)
    one = zero_rates(model, (IMAGES, LABELS), batch_size=2)
    assert one.equals(zero_rates(model, (IMAGES, LABELS), batch_size=1))
    assert one.groupby("layer")["total"].sum().tolist() == [8, 8, 8]


def test_resnet_block_has_its_relu_twice():
    from torchvision.models.resnet import BasicBlock

    model = nn.Sequential(OrderedDict(relu=nn.ReLU(), layer1=nn.Sequential(BasicBlock(4, 4))))
    table = zero_rates(model, torch.randn(2, 4, 8, 8), by="layer")
    assert table["layer"].tolist() == ["relu", "layer1.0.relu[0]", "layer1.0.relu[1]"]
    assert table.attrs["after"]["layer1.0.relu[1]"] == "layer1.0.conv2"


def test_units_of_a_linear_layer_on_a_sequence_are_last():
    layer = nn.TransformerEncoderLayer(4, 1, dim_feedforward=6, batch_first=True)
    table = zero_rates(layer, torch.randn(3, 5, 4), by=("layer", "channel"))
    assert table["channel"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table["total"].tolist() == [3 * 5] * 6
    assert table.attrs["after"] == {"": "linear1"}


def test_dimension_one_is_the_channel_of_a_1d_convolution():
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.ReLU())
    table = zero_rates(model, torch.randn(4, 2, 8), by="channel")
    assert table["total"].tolist() == [4 * 7] * 3


def test_a_first_dimension_that_is_not_the_images():
    model = Calls(lambda self, x: F.relu(x.flatten(0, 1)))
    with pytest.raises(BadInputError, match=r"own forward gives \(4, 1, 2\).*not the 2 images"):
        zero_rates(model, (IMAGES, LABELS))
    table = zero_rates(model, IMAGES, by="layer")
    assert (table["zeros"].item(), table["total"].item()) == (4, 8)


def test_a_model_that_takes_other_paths_on_other_data():
    def forward(self, x):
        x = self.a(x)
        return self.b(x - 1) if x.max() > 5 else x  # only the second image

    model = Calls(forward, a=nn.ReLU(), b=nn.ReLU())
    table = zero_rates(model, (IMAGES, LABELS), by=("layer", "class"), batch_size=1)
    assert table.values.tolist() == [
        ["a", 3, 3, 4, 0.75],
        ["a", 8, 1, 4, 0.25],
        ["b", 3, 3, 4, 0.75],
    ]


def test_images_of_several_sizes():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    data = [(torch.ones(2, 1, 5, 5), [0, 1]), (torch.ones(3, 1, 8, 8), [1, 1, 1])]
    table = zero_rates(model, data, by=("channel", "class"))
    assert table["total"].tolist() == [3 * 3, 3 * 3 + 3 * 6 * 6] * 2


# ---------------------------------------------------------------- exact


def stored(model, images, labels):
    """Another way to the same numbers: keep every output of nn.ReLU, count at the end."""
    kept = []
    model = copy.deepcopy(model).eval()
    names = {m: name for name, m in model.named_modules() if isinstance(m, nn.ReLU)}
    for module, name in names.items():
        module.register_forward_hook(lambda m, i, out, name=name: kept.append((name, out.clone())))
    with torch.no_grad():
        model(images)
    rows = []
    for name, out in kept:
        for channel in range(out.shape[1]):
            for label in sorted(set(labels.tolist())):
                part = out[labels == label, channel].numpy()
                rows.append([name, channel, label, int((part == 0).sum()), part.size])
    return rows


def test_against_stored_activations_whatever_the_split():
    model = lenet()
    images, labels = integers(230, 1, 28, 28), integers(230, low=0, high=7).long()
    expected = stored(model, images, labels)
    assert {row[0] for row in expected} == {"relu1", "relu2", "relu3", "relu4"}
    for size in (1, 7, 100, 230):
        table = zero_rates(model, (images, labels), batch_size=size)
        found = table[["layer", "channel", "class", "zeros", "total"]].values.tolist()
        assert found == expected, size
        assert table.attrs["images"] == 230
    assert 0 < sum(row[3] for row in expected) < sum(row[4] for row in expected)


def test_data_in_every_form():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
    whole(model)
    images, labels = integers(30, 1, 6, 6), torch.arange(30) % 4
    expected = zero_rates(model, (images, labels))
    dataset = torch.utils.data.TensorDataset(images, labels)
    for data in (
        torch.utils.data.DataLoader(dataset, batch_size=7, shuffle=True),
        ((images[i : i + 4], labels[i : i + 4]) for i in range(0, 30, 4)),
        [(images[:1], labels[:1].int()), (images[:0], labels[:0]), [images[1:], labels[1:]]],
        [(images, labels.tolist())],
        [(images, labels.numpy())],
    ):
        assert zero_rates(model, data).equals(expected)
    by_layer = expected.groupby("layer")[["zeros", "total"]].sum().values.tolist()
    for data in (images, [images], [images[:9], images[9:]], (images, None)):
        assert zero_rates(model, data, "layer")[["zeros", "total"]].values.tolist() == by_layer


@pytest.mark.parametrize("by", [s for n in range(4) for s in itertools.combinations(zeros.KEYS, n)])
def test_any_keys_are_sums_of_all_keys(by):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 5, 2), nn.ReLU())
    images, labels = torch.randn(20, 1, 8, 8), torch.arange(20) % 4 + 5
    full = zero_rates(model, (images, labels))
    table = zero_rates(model, (images, labels), by=by[::-1])
    assert list(table.columns) == [*by, "zeros", "total", "zero_fraction"]
    numbers = ["zeros", "total"]
    expected = full.groupby(list(by), sort=True)[numbers].sum() if by else full[numbers].sum()
    assert table[numbers].values.tolist() == expected.values.reshape(-1, 2).tolist()
    assert table["zero_fraction"].tolist() == (table["zeros"] / table["total"]).tolist()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_other_types_and_layouts(dtype):
    images = integers(6, 5, 7, 9)
    expected = zero_rates(nn.ReLU(), (images, torch.arange(6)))
    for x in (images.to(dtype), images.to(memory_format=torch.channels_last).to(dtype)):
        assert zero_rates(nn.ReLU(), (x, torch.arange(6))).equals(expected)


def test_pieces_do_not_change_the_count(monkeypatch):
    images = integers(11, 3, 4, 5)
    expected = zero_rates(nn.ReLU(), images, by=("layer", "channel"))
    skipped = skippable_macs(nn.Conv2d(3, 2, 2), images)
    for chunk in (1, 100, 130):  # below one image, below two, just above two
        monkeypatch.setattr(zeros.watching, "CHUNK", chunk)
        assert zero_rates(nn.ReLU(), images, by=("layer", "channel")).equals(expected)
        assert skippable_macs(nn.Conv2d(3, 2, 2), images).equals(skipped)


def test_counts_beyond_what_float32_can_count():
    """2**24 + 3 elements per channel: a float32 sum of ones stops at 2**24."""
    image = torch.ones(1, 1, 2**24 + 3)
    image[0, 0, :2] = -1
    table = zero_rates(nn.ReLU(), image, by="layer")
    assert (table["zeros"].item(), table["total"].item()) == (2, 2**24 + 3)


# ---------------------------------------------------------------- refused


def test_nan_is_refused_with_layer_and_number():
    model = nn.Sequential(OrderedDict(relu=nn.ReLU(), scale=nn.Identity(), relu2=nn.ReLU()))
    images = torch.zeros(10, 1, 2, 2)
    images[7, 0, 0] = float("nan")
    with pytest.raises(BadInputError, match=r"2 of 12 outputs of layer 'relu' are NaN in images 6"):
        zero_rates(model, (images, torch.arange(10)), batch_size=3)
    divided = Calls(lambda self, x: F.relu(F.relu(x) / 0), relu=nn.ReLU())
    with pytest.raises(BadInputError, match=r"40 of 40 outputs of layer '\[1\]' are NaN"):
        zero_rates(divided, torch.zeros(10, 1, 2, 2), by="layer")


def test_infinity_is_no_nan():
    images = torch.tensor([[float("inf"), -float("inf"), 0.0, 1.0]])
    assert zero_rates(nn.ReLU(), images, by=())["zeros"].item() == 2
    table = skippable_macs(nn.Linear(4, 3), images)  # the sum of the input is NaN here
    assert table["zero_input_macs"].tolist() == [3, 3]


def test_bad_input_is_refused():
    relu, pair = nn.ReLU(), (IMAGES, LABELS)
    for match, model, data, by in (
        ("any of layer, channel, class", relu, pair, "filter"),
        ("each once", relu, pair, ("layer", "layer")),
        ("Module is expected, got function", F.relu, pair, "layer"),
        ("no images", relu, [], "layer"),
        ("no images", relu, iter(()), "layer"),
        ("labels are torch.float32", relu, (IMAGES, LABELS.float()), "class"),
        (r"shape \(2, 1\): integers of shape \(2,\)", relu, (IMAGES, LABELS[:, None]), "class"),
        ("2 images, but 1 labels", relu, (IMAGES, LABELS[:1]), "class"),
        ("shape \\(1,\\): integers", relu, [(IMAGES, LABELS[:1])], "class"),
        ('leave "class" out', relu, IMAGES, "class"),
        ("data is a int", relu, 3, "layer"),
        ("no tensor of images", relu, [([[1]], 0)], "layer"),
        ("'0' .*TorchScript", nn.Sequential(torch.jit.script(nn.ReLU())), pair, "layer"),
        ("give its .module", nn.DataParallel(relu), pair, "layer"),
        ("which images share", nn.BatchNorm2d(2, track_running_stats=False), pair, "layer"),
        ("torch.func", Calls(lambda self, x: torch.func.vmap(F.relu)(x)), pair, "layer"),
    ):
        with pytest.raises(BadInputError, match=match):
            zero_rates(model, data, by=by)
    with pytest.raises(BadInputError, match="batch_size 0"):
        zero_rates(relu, pair, batch_size=0)


def test_compiled_models_are_run_as_written():
    inner = torch.compile(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), backend="eager")
    own = nn.Sequential(nn.ReLU())
    own.compile(backend="eager")
    model = nn.Sequential(OrderedDict(inner=inner, own=own))
    images = torch.randn(3, 1, 5, 5)
    model(images)
    for net in (model, torch.compile(model, backend="eager")):
        table = zero_rates(net, images, by="layer")
        assert table["total"].tolist() == [3 * 2 * 3 * 3] * 2
        assert skippable_macs(net, images)["macs"].tolist() == [3 * 2 * 9 * 9] * 2


# ---------------------------------------------------------------- a good guest


def test_evaluation_mode_whatever_the_mode():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.9), nn.ReLU())
    images = torch.full((4, 1, 2, 2), 3.0)  # in training mode, norm or dropout would give zeros
    assert zero_rates(model, images, by="layer")["zeros"].item() == 0
    assert model.training


def test_the_callers_random_numbers_go_on():
    torch.manual_seed(3)
    expected = [torch.randn(2, 1, 5, 5) for _ in range(3)]
    torch.manual_seed(3)
    drawn = []

    def data():
        for _ in range(3):
            drawn.append(torch.randn(2, 1, 5, 5))
            yield drawn[-1], None

    model = nn.Sequential(nn.ReLU(), nn.Dropout())
    zero_rates(model, data(), by="layer")
    assert all(map(torch.equal, drawn, expected))


@pytest.mark.parametrize("tool", [zero_rates, skippable_macs])
def test_nothing_of_a_batch_is_kept(tool):
    """No image and no activation outlives its batch: memory does not depend on their number."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3), nn.ReLU())
    alive: list[weakref.ref] = []
    for module in model:
        module.register_forward_hook(lambda m, i, out: alive.append(weakref.ref(out)))

    def data():
        for _ in range(5):
            assert not [ref for ref in alive if ref() is not None]
            images = torch.randn(4, 1, 5, 5)
            yield images, torch.arange(4)

    tool(model, data())
    assert len(alive) == 5 * 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu():
    model = lenet().double()
    images, labels = integers(100, 1, 28, 28).double(), torch.arange(100) % 10
    on_cpu = zero_rates(model, (images, labels)), skippable_macs(model, images)
    model.cuda()
    for device in ("cpu", "cuda"):
        data = images.to(device), labels.to(device)
        assert zero_rates(model, data, batch_size=30).equals(on_cpu[0])
        assert skippable_macs(model, data).equals(on_cpu[1])
    with pytest.raises(BadInputError, match="NaN"):
        zero_rates(model, (images / 0, labels))


# ---------------------------------------------------------------- multiplications


def by_hand(conv, x):
    """Every multiplication of a 2-d convolution, one after the other."""
    padded_at = []
    k, s, p, d = conv.kernel_size, conv.stride, conv.padding, conv.dilation
    (height, width), per = x.shape[2:], conv.in_channels // conv.groups
    zero = total = 0
    for n, f in itertools.product(range(len(x)), range(conv.out_channels)):
        first = f // (conv.out_channels // conv.groups) * per
        for top in range(-p[0], height + p[0] - d[0] * (k[0] - 1), s[0]):
            for left in range(-p[1], width + p[1] - d[1] * (k[1] - 1), s[1]):
                for c, i, j in itertools.product(range(per), range(k[0]), range(k[1])):
                    row, column = top + i * d[0], left + j * d[1]
                    total += 1
                    if not (0 <= row < height and 0 <= column < width):
                        padded_at.append((n, f))
                    elif x[n, first + c, row, column] == 0:
                        zero += 1
    return total, zero, len(padded_at)


@pytest.mark.parametrize("seed", range(8))
def test_convolutions_against_every_single_multiplication(seed):
    draw = random.Random(seed)

    def pair(low, high):
        return draw.randint(low, high), draw.randint(low, high)

    groups = draw.choice([1, 1, 2])
    conv = nn.Conv2d(
        *(groups * draw.randint(1, 2), groups * draw.randint(1, 2), pair(1, 3)),
        stride=pair(1, 3),
        padding=pair(0, 2),
        dilation=pair(1, 2),
        groups=groups,
    )
    x = integers(2, conv.in_channels, 5, 6, low=-1, high=2, seed=seed)
    table = skippable_macs(conv, x, batch_size=1)
    numbers = ["macs", "zero_input_macs", "padding_macs"]
    assert tuple(table[numbers].values.tolist()[0]) == by_hand(conv, x)
    assert table["macs"].tolist()[-1] == count(conv, (conv.in_channels, 5, 6), batch=2).macs


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid", 1, 2])
def test_convolutions_against_a_convolution_of_ones(dims, padding):
    """The same kernel full of ones, applied to a map of the zeros, counts what meets a zero."""
    kind = getattr(nn, f"Conv{dims}d")
    run = getattr(F, f"conv{dims}d")
    for kernel, dilation, groups in ((2, 1, 1), (3, 2, 2), (4, 1, 4)):
        conv = kind(4, 8, kernel, padding=padding, dilation=dilation, groups=groups)
        x = integers(3, 4, *range(7, 7 + dims), low=-1, high=2)
        ones, options = torch.ones_like(conv.weight), (1, padding, dilation, groups)
        zero = run((x == 0).float(), ones, None, *options).sum().long().item()
        inside = run(torch.ones_like(x), ones, None, *options).sum().long().item()
        row = skippable_macs(conv, x).iloc[0]
        macs = count(conv, tuple(x.shape[1:]), batch=3).macs
        assert (row["macs"], row["zero_input_macs"]) == (macs, zero)
        assert row["padding_macs"] == macs - inside
        assert row["zero_input_share"] == zero / macs


def test_transposed_convolutions_linear_layers_and_spellings():
    x = integers(2, 4, 3, 3, low=-1, high=2)
    zero = int((x == 0).sum())
    transposed = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2)
    row = skippable_macs(transposed, x).iloc[0]
    assert row["op"] == "conv_transpose"
    assert row["macs"] == 2 * 4 * 3 * 3 * (6 // 2) * 2 * 2
    assert row["zero_input_macs"] == zero * (6 // 2) * 2 * 2
    assert row["padding_macs"] == 0
    row = skippable_macs(nn.Linear(3, 7), x).iloc[0]
    assert (row["macs"], row["zero_input_macs"]) == (2 * 4 * 3 * 3 * 7, zero * 7)
    weight = torch.ones(5, 4, 2, 2)
    for call in (
        lambda self, x: F.conv2d(x, weight, None, 2, 1),
        lambda self, x: torch.conv2d(input=x, weight=weight, stride=(2, 2), padding=[1]),
        lambda self, x: torch.stack([F.conv2d(one, weight, stride=2, padding=1) for one in x]),
    ):
        table = skippable_macs(Calls(call), x)
        assert table["macs"].tolist()[-1] == 2 * 5 * 2 * 2 * 4 * 2 * 2
        corners = x[:, :, [0, 0, 2, 2], [0, 2, 0, 2]]  # stride 2: every pixel is read once
        assert corners.numel() == 2 * 4 * 4
        assert table["zero_input_macs"].tolist()[-1] == zero * 5


def test_copied_padding_is_input():
    conv = nn.Conv1d(1, 1, 3, padding=1, padding_mode="replicate")
    row = skippable_macs(conv, torch.tensor([[[0.0, 1.0, 2.0]]])).iloc[0]
    assert (row["macs"], row["padding_macs"]) == (3 * 3, 0)
    assert row["zero_input_macs"] == 1 + 2  # 0 0 1 2 2: the copy is read once, the first twice


def test_net_of_layers():
    model = nets.build("lenet_atsumi")
    images = torch.randn(20, 1, 28, 28)
    table = skippable_macs(model, images, batch_size=7)
    assert table["layer"].tolist() == ["conv1", "conv2", "fc120", "fc84", "fc10", NET]
    assert table["macs"].tolist()[0] == 20 * 5 * 5 * 6 * 24 * 24
    assert table["macs"].tolist()[-1] == 20 * count(model, (1, 28, 28)).macs
    numbers = table[["macs", "zero_input_macs", "padding_macs"]]
    assert (numbers.iloc[:-1].sum() == numbers.iloc[-1]).all()
    assert (numbers.dtypes == np.int64).all()
    # a unit of fc120 that ReLU zeroes is read by each of the 84 units of the next layer
    zeroed = zero_rates(model, images, by="layer").set_index("layer")["zeros"]
    assert table.set_index("layer")["zero_input_macs"]["fc84"] == zeroed["relu3"] * 84
    assert table.attrs["images"] == 20


def test_other_products_are_named():
    model = Calls(lambda self, x: self.fc(x @ x.mT), fc=nn.Linear(2, 2))
    table = skippable_macs(model, integers(3, 2, 2))
    assert table.attrs["not_watched"] == {"matmul": [""]}
    assert table["layer"].tolist() == ["fc", NET]
    attention = nn.MultiheadAttention(4, 1)
    table = skippable_macs(
        Calls(lambda self, x: self.a(x, x, x)[0], a=attention), integers(3, 2, 4)
    )
    assert table.attrs["not_watched"] == {"multi_head_attention_forward": ["a"]}
    assert table["layer"].tolist() == [NET]
    assert table["macs"].tolist() == [0]


def test_nan_in_an_input_is_refused():
    images = torch.zeros(4, 3)
    images[2, 1] = float("nan")
    with pytest.raises(BadInputError, match=r"1 of 6 inputs of layer '' are NaN in images 2 to 3"):
        skippable_macs(nn.Linear(3, 2), images, batch_size=2)


# ---------------------------------------------------------------- dark pixels


def test_dark_pixels(monkeypatch):
    images = torch.tensor([[[-1.0, -0.9, -0.89]], [[0.0, 1.0, -1.0]], [[-1.0, -1.0, -1.0]]])
    expected = [[1, 2 + 3, 3 + 3, 5 / 6], [4, 1, 3, 1 / 3]]
    table = dark_pixels(images, torch.tensor([1, 4, 1]), -0.9)
    assert list(table.columns) == ["class", "dark", "total", "dark_fraction"]
    assert table.values.tolist() == expected
    assert table["dark"].dtype == table["total"].dtype == np.int64
    monkeypatch.setattr(zeros.watching, "CHUNK", 3)
    assert dark_pixels(images.numpy(), [1, 4, 1], -0.9).equals(table)
    grey = torch.tensor([[0, 12, 13, 255]], dtype=torch.uint8)  # 12.75 is -0.9 on 0 … 255
    assert dark_pixels(grey, [0], 12.75)["dark"].tolist() == [2]
    assert dark_pixels(grey / 255 * 2 - 1, [0], -0.9)["dark"].tolist() == [2]


def test_dark_pixels_refuses():
    images = torch.zeros(2, 3)
    for match, args in (
        ("NaN: a number", (images, [0, 1], float("nan"))),
        ("no images", (images[:0], torch.zeros(0, dtype=torch.int64), 0)),
        ("integers of shape", (images, [0.5, 1.0], 0)),
        ("one per image", (images, [0, 1, 2], 0)),
        ("6 pixels of images 0 to 1 are NaN", (images / 0, [0, 1], 0)),
    ):
        with pytest.raises(BadInputError, match=match):
            dark_pixels(*args)
