"""The registry: parameters and operations the sources name, and files of the user's."""

import itertools
import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convcost import count, nets
from convcost.core.errors import BadInputError
from convcost.core.units import printed


def params(model):
    return sum(p.numel() for p in model.parameters())


def test_lenet_of_atsumi():
    counted = count(nets.build("lenet_atsumi"), (1, 28, 28))
    macs = {c.path: c.macs for c in counted.calls if c.macs}
    assert macs == {
        "conv1": 24 * 24 * 5 * 5 * 6,  # 86,400, as printed
        "conv2": 8 * 8 * 5 * 5 * 6 * 16,
        "fc120": 16 * 4 * 4 * 120,
        "fc84": 120 * 84,
        "fc10": 84 * 10,
    }
    assert macs["conv1"] == 86_400


def test_lenet5_of_1998():
    model = nets.build("lenet5_1998")
    assert params(model) == 156 + 12 + 1516 + 32 + 48120 + 10164 == 60_000
    assert sum(map(len, nets.LENET5_C3)) == 60
    counted = count(model, (1, 32, 32))
    assert counted.uncounted == {}
    c3 = [c for c in counted.calls if c.path.startswith("c3.maps")]
    assert sum(c.macs for c in c3) == 60 * 5 * 5 * 10 * 10
    x = torch.rand(2, 1, 32, 32)
    assert model(x).shape == (2, 10)
    assert torch.equal(model[0:1](x), model.c1(x))
    assert set(model.output.codes.flatten().tolist()) == {-1.0, 1.0}


def test_subsampling_is_a_sum_times_a_coefficient():
    layer = nets.Subsampling(1)
    layer.bias.data.fill_(2.0)
    assert layer(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).item() == 0.25 * 10 + 2


def test_deci_example():
    shape = nets.get("depthwise_separable").input_shape
    assert shape == (64, 112, 112)
    both = count(nets.build("depthwise_separable"), shape).macs
    assert both == 3 * 3 * 64 * 112 * 112 + 64 * 112 * 112 * 128 == 109_985_792
    assert count(nets.build("regular_conv"), shape).macs == 924_844_032


def maps_of(filters, *, kernels=(3,), bias=1, channels=1):
    """Parameters of a chain of square convolutions."""
    inputs = (channels, *filters)
    kernels = kernels * len(filters) if len(kernels) == 1 else kernels
    return sum((i * k * k + bias) * f for i, f, k in zip(inputs, filters, kernels, strict=False))


def linear(*sizes):
    return sum((inputs + 1) * outputs for inputs, outputs in itertools.pairwise(sizes))


def inception(channels, one, three, five, pooled):
    return (
        maps_of((one,), kernels=(1,), channels=channels)
        + maps_of(three, kernels=(1, 3), channels=channels)
        + maps_of(five, kernels=(1, 5), channels=channels)
        + maps_of((pooled,), kernels=(1,), channels=channels)
    )


def residual(channels, filters):
    """Two convolutions, two norms of two per channel, and the 1 x 1 where channels change."""
    shortcut = (channels + 1) * filters if channels != filters else 0
    return maps_of((filters, filters), channels=channels) + 4 * filters + shortcut


def dense_block(channels):
    inputs = [channels + 32 * i for i in range(4)]
    return sum(2 * c + (c * 9 + 1) * 32 for c in inputs)


TEXTBOOK_PARAMS = {
    "alexnet_textbook": maps_of((96, 256, 384, 384, 256), kernels=(11, 5, 3, 3, 3))
    + linear(5 * 5 * 256, 4096, 4096, 10),
    "vgg11_textbook": maps_of((64, 128, 256, 256, 512, 512, 512, 512))
    + linear(7 * 7 * 512, 4096, 4096, 10),
    "vgg11_quarter_textbook": maps_of((16, 32, 64, 64, 128, 128, 128, 128))
    + linear(7 * 7 * 128, 4096, 4096, 10),
    "vgg16_textbook": maps_of((64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 6)
    + linear(7 * 7 * 512, 4096, 4096, 10),
    "googlenet_textbook": maps_of((64, 64, 192), kernels=(7, 1, 3))
    + inception(192, 64, (96, 128), (16, 32), 32)
    + inception(256, 128, (128, 192), (32, 96), 64)
    + inception(480, 192, (96, 208), (16, 48), 64)
    + inception(512, 160, (112, 224), (24, 64), 64)
    + inception(512, 128, (128, 256), (24, 64), 64)
    + inception(512, 112, (144, 288), (32, 64), 64)
    + inception(528, 256, (160, 320), (32, 128), 128)
    + inception(832, 256, (160, 320), (32, 128), 128)
    + inception(832, 384, (192, 384), (48, 128), 128)
    + linear(1024, 10),
    "resnet18_textbook": maps_of((64,), kernels=(7,))
    + 2 * 64
    + 2 * residual(64, 64)
    + residual(64, 128)
    + residual(128, 128)
    + residual(128, 256)
    + residual(256, 256)
    + residual(256, 512)
    + residual(512, 512)
    + linear(512, 10),
    "densenet_textbook": maps_of((64,), kernels=(7,))
    + 2 * 64
    + dense_block(64)
    + (2 * 192 + (192 + 1) * 96)
    + dense_block(96)
    + (2 * 224 + (224 + 1) * 112)
    + dense_block(112)
    + (2 * 240 + (240 + 1) * 120)
    + dense_block(120)
    + 2 * 248
    + linear(248, 10),
}


def test_every_textbook_net_has_its_sum():
    assert {name for name in nets.OWN if name.endswith("_textbook")} == {*TEXTBOOK_PARAMS}


@pytest.mark.parametrize("name", TEXTBOOK_PARAMS)
def test_textbook_nets(name):
    assert params(nets.build(name, device="meta")) == TEXTBOOK_PARAMS[name]
    model = nets.build(name, num_classes=7, in_channels=2, device="meta")
    for px in (224, 96):
        counted = count(model, (2, px, px), batch=3)
        assert counted.calls[-1].outputs == ((3, 7),)
        assert (counted.uncounted, counted.fallback) == ({}, "")


@pytest.mark.parametrize("name", ["googlenet_textbook", "resnet18_textbook", "densenet_textbook"])
def test_textbook_nets_run_as_counted(name):
    """The referee is torch's own counter, on a real forward pass."""
    model = nets.build(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert model(torch.rand(2, 1, 32, 32)).shape == (2, 10)
    assert counter.get_total_flops() == count(model, (1, 32, 32), batch=2).flops


def test_multiply_adds_of_single_textbook_layers():
    by_path = {
        name: {c.path: c.macs for c in count(nets.build(name, device="meta"), (1, px, px)).calls}
        for name, px in (("alexnet_textbook", 224), ("vgg16_textbook", 96))
    }
    alexnet, vgg = by_path["alexnet_textbook"], by_path["vgg16_textbook"]
    side = (224 + 2 * 1 - 11) // 4 + 1
    assert (side, alexnet["conv1"]) == (54, 11 * 11 * 96 * 54 * 54)
    assert alexnet["conv2"] == 96 * 5 * 5 * 256 * 26 * 26
    assert alexnet["fc1"] == 256 * 5 * 5 * 4096
    assert vgg["conv1_2"] == 64 * 3 * 3 * 64 * 96 * 96
    assert vgg["conv5_3"] == 512 * 3 * 3 * 512 * 6 * 6
    # Inception 3a at 224 px works on 28 x 28: 192 channels into 64, 96 > 128, 16 > 32 and 32
    counted = count(nets.build("googlenet_textbook", device="meta"), (1, 224, 224))
    block = sum(c.macs for c in counted.calls if c.path.startswith("8."))
    weights = 192 * (64 + 96 + 16 + 32) + 96 * 9 * 128 + 16 * 25 * 32
    assert block == 28 * 28 * weights


def test_the_fitting_before_the_linear_layers_changes_nothing_at_the_size_of_the_source():
    for name, maps in (("alexnet_textbook", (256, 5, 5)), ("vgg11_textbook", (512, 7, 7))):
        calls = count(nets.build(name, device="meta"), (1, 224, 224)).calls
        (fit,) = (c for c in calls if c.path == "fit")
        assert fit.inputs == fit.outputs == ((1, *maps),)


def test_an_input_too_small_for_a_textbook_net_is_refused():
    model = nets.build("alexnet_textbook", device="meta")
    with pytest.raises(BadInputError, match=r"pool5.*a kernel of 3.*does not fit into 2"):
        count(model, (1, 64, 64))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "options,sides",
    [
        ({}, (64, 32, 16, 8)),
        ({"padding": "valid"}, (60, 26, 9, 4)),
        ({"pool": None, "l": 2}, (64, 64, 64)),
        ({"k": 4, "s": 20, "pool": 3}, (20, 9, 4, 1)),
        ({"padding": 1, "k": 3, "l": 1}, (64, 32)),
    ],
)
def test_ke_family(options, sides):
    f, s, k = options.get("f", 8), options.get("s", 64), options.get("k", 5)
    model = nets.build("ke_cnn", **{"f": f, **options})
    assert model.fc.in_features == f * sides[-1] ** 2
    x = torch.zeros(1, 3, s, s)
    assert model(x).shape == (1, 2)
    convs = [c for c in count(model, (3, s, s)).calls if c.op == "conv"]
    channels = [3] + [f] * len(convs)
    expected = [channels[i] * k * k * f * sides[i] ** 2 for i in range(len(convs))]
    assert [c.macs for c in convs] == expected


def test_ke_baseline():
    model = nets.build("ke_cnn", device="meta")
    assert [m.kernel_size for m in model if isinstance(m, nn.Conv2d)] == [(5, 5)] * 3
    assert nets.get("ke_cnn").input_shape == (3, 64, 64)
    with pytest.raises(BadInputError, match="fit"):
        nets.build("ke_cnn", s=4, padding="valid")


def test_options_of_torchvision_nets():
    model = nets.build("resnet18", num_classes=10, in_channels=1, device="meta")
    assert model.fc.out_features == 10
    assert model.conv1.weight.shape == (64, 1, 7, 7)
    assert model.conv1.bias is None
    assert params(model) == 11_689_512 - 990 * 513 - 2 * 64 * 49
    assert params(nets.build("googlenet", aux=True, device="meta")) == 13_004_888
    assert params(nets.build("googlenet", device="meta")) == 6_624_904


@pytest.mark.parametrize("name", ["regnet_y_400mf", "swin_t", "densenet121", "lenet5_1998"])
def test_meta_nets_have_no_data_and_the_shapes_of_real_ones(name):
    meta, real = nets.build(name, device="meta"), nets.build(name)
    assert all(t.device.type == "meta" for t in (*meta.parameters(), *meta.buffers()))
    assert {k: v.shape for k, v in meta.state_dict().items()} == {
        k: v.shape for k, v in real.state_dict().items()
    }
    assert not any(t.device.type == "meta" for t in (*real.parameters(), *real.buffers()))


def test_registry():
    for name in (*nets.CHENG_NETS, "densenet161", "densenet169", "densenet201", "ke_cnn"):
        assert name in nets.names()
    assert nets.get("vit_h_14").input_shape == (3, 224, 224)
    assert nets.get("inception_v3").input_shape == (3, 299, 299)
    assert "Table 1" in nets.get("alexnet").source


@pytest.mark.parametrize(
    "name",
    [
        *("deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large"),
        *("r3d_18", "mvit_v2_s", "s3d", "swin3d_t", "raft_small", "raft_large"),
        *("quantized_googlenet", "quantized_shufflenet_v2_x0_5"),
    ],
)
def test_other_families_against_what_torchvision_states(name):
    """Each weights entry states its multiply-adds in units of 10^9, with its auxiliary heads."""
    model = nets.build(name, aux=name.startswith(("fcn_", "deeplabv3_")), device="meta")
    counted = count(model, nets.get(name).input_shape)
    stated = torchvision.models.get_model_weights(name).DEFAULT.meta
    assert printed(counted.macs, "G", 3) == f"{stated['_ops']:.3f}"
    assert counted.params == stated["num_params"]
    assert (counted.uncounted, counted.fallback) == ({}, "")


def test_every_net_of_every_family_has_a_builder_and_an_input():
    families = [name for family in nets.FAMILIES for name in nets.names(family)]
    assert nets.names() == (*nets.OWN, *families) and len(set(families)) == len(families)
    for name in families:
        net = nets.get(name)
        assert callable(net.constructor) and (net.name, name.lower()) == (name, name)
        assert nets.get(name.upper()) == net
    detection = torchvision.models.list_models(module=torchvision.models.detection)
    everything = {*torchvision.models.list_models()} - {*detection}
    assert everything == {*families}  # nothing of torchvision's is left out


def test_a_part_of_a_detection_net_can_be_counted_as_the_refusal_says(tmp_path):
    with pytest.raises(BadInputError, match="weights_backbone=None") as caught:
        nets.get("ssd300_vgg16")
    call = str(caught.value).partition("returns ")[2]
    (tmp_path / "mine.py").write_text(f"import torchvision\ndef make():\n    return {call}\n")
    first = count(nets.load(f"{tmp_path / 'mine.py'}:make"), (3, 300, 300)).calls[0]
    assert first.macs == 3 * 3 * 3 * 64 * 300 * 300


@pytest.mark.parametrize(
    "call,text",
    [
        (lambda: nets.get("resnet19"), "did you mean resnet18"),
        (lambda: nets.names("animals"), "classification, segmentation"),
        (lambda: nets.build("r3d_18", in_channels=1, device="meta"), "3 channels"),
        (lambda: nets.build("resnet18", aux=True), "auxiliary"),
        (lambda: nets.build("ke_cnn", aux=True), "auxiliary"),
        (lambda: nets.build("ke_cnn", colour=1), "it takes: f, s, k, l"),
        (lambda: nets.build("resnet18", colour=1), "colour"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(BadInputError, match=text):
        call()


def test_own_nets_and_files_come_without_torchvision(tmp_path):
    (tmp_path / "mine.py").write_text("from torch import nn\ndef make():\n    return nn.ReLU()\n")
    code = f"""
import sys
from convcost import count, nets
for name in nets.OWN:
    count(nets.build(name, device="meta"), nets.get(name).input_shape)
nets.build("lenet_atsumi")
nets.load({str(tmp_path / "mine.py:make")!r})
print("torchvision" in sys.modules)
nets.get("resnet18")
print("torchvision" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr


FILE = """
from torch import nn
from beside import WIDTH
net = nn.Linear(WIDTH, 1)
def make():
    return nn.Linear(WIDTH, 2)
def wrong():
    return 3
def broken():
    raise OSError("no such luck")
"""


def test_load_from_a_file(tmp_path):
    (tmp_path / "beside.py").write_text("WIDTH = 5\n")
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    assert nets.load(f"{file}:make").weight.shape == (2, 5)
    assert nets.load(f"{file}:net").weight.shape == (1, 5)
    for name, text in (
        ("missing", "it has: net, make, wrong, broken"),
        ("wrong", "gave a int"),
        ("broken", "OSError: no such luck"),
    ):
        with pytest.raises(BadInputError, match=text):
            nets.load(f"{file}:{name}")
    for place in (f"{tmp_path}/none.py:make", f"{file}", "resnet18:x"):
        with pytest.raises(BadInputError):
            nets.load(place)
    (tmp_path / "bad.py").write_text("def (:\n")
    with pytest.raises(BadInputError, match="SyntaxError"):
        nets.load(f"{tmp_path / 'bad.py'}:f")
