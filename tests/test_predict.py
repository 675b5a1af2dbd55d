"""Cited peaks and protocols, the roofline of a step."""

from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from convcost import count, nets, predict
from convcost.core import paths
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.predict import Device

HERE = Device("here", fp32_flops_per_s=100.0, tf32_flops_per_s=400.0, memory_bytes_per_s=10.0)
RTX_4080 = "NVIDIA GeForce RTX 4080"
LAYERS = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5))
SHAPE = (2, 5, 5)
# of one image: multiply-adds, and elements of weights, inputs, outputs
CONV = (2 * 3 * 3 * 4 * 3 * 3, 2 * 3 * 3 * 4, 2 * 5 * 5, 4 * 3 * 3)
LINEAR = (36 * 5, 36 * 5 + 5, 36, 5)
PARAMS = 2 * 3 * 3 * 4 + 36 * 5 + 5


def moved(layer, batch):
    _, weights, inputs, outputs = layer
    return 4 * (weights + batch * (inputs + outputs))


def forward_bytes(batch):
    return moved(CONV, batch) + moved((0, 0, 36, 36), batch) + moved(LINEAR, batch)


@pytest.mark.parametrize("batch", [1, 7])
def test_a_forward_pass_by_hand(batch):
    found = predict.step(count(LAYERS, SHAPE), batch, HERE, "validation")
    conv_s = max(2 * batch * CONV[0] / 400, moved(CONV, batch) / 10)
    relu_s = moved((0, 0, 36, 36), batch) / 10
    linear_s = max(2 * batch * LINEAR[0] / 100, moved(LINEAR, batch) / 10)
    assert found.flops == 2 * batch * (CONV[0] + LINEAR[0])
    assert found.bytes == forward_bytes(batch)
    assert found.calls == 3  # the flattening moves nothing
    assert found.busy_s == pytest.approx(conv_s + relu_s + linear_s, rel=1e-12)
    assert found.busy_s == found.compute_s + found.memory_s


def test_a_training_step_by_hand():
    batch = 7
    found = predict.step(count(LAYERS, SHAPE), batch, HERE)
    # the convolution wants no gradient for the image: once its forward; the linear layer twice
    assert found.flops == 2 * batch * (CONV[0] * (1 + 1) + LINEAR[0] * (1 + 2))
    assert found.bytes == 3 * forward_bytes(batch) + 5 * 4 * PARAMS
    assert found.calls == 3 * 3 + 3
    assert found.busy_s == found.compute_s + found.memory_s


def test_the_optimiser_alone():
    """What training adds to a net without FLOPs: a scale per channel, read, derived, changed."""
    norm = count(nn.BatchNorm2d(6), (6, 4, 4))
    forward = predict.step(norm, 2, HERE, "validation")
    both = predict.step(norm, 2, HERE)
    assert forward.flops == both.flops == forward.compute_s == 0
    assert both.bytes == 3 * forward.bytes + 5 * 4 * (6 + 6)
    assert both.memory_s == pytest.approx(both.bytes / 10, rel=1e-12)


@pytest.mark.parametrize("part", predict.PARTS)
def test_a_net_whose_every_layer_is_bound_by_arithmetic(part):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False))
    fast = replace(HERE, memory_bytes_per_s=1e30)
    found = predict.step(count(model, (8, 9, 9)), 2, fast, part)
    assert found.compute_s == pytest.approx(found.flops / 400, rel=1e-12)
    assert found.memory_s < 1e-20 * found.compute_s  # the optimiser's


def test_of_two_equal_roofs_the_arithmetic_one_is_named():
    counted = count(nn.Linear(3, 2, bias=False), (3,))
    level = Device("level", fp32_flops_per_s=float(counted.flops), memory_bytes_per_s=44.0)
    assert counted.bytes == 4 * (3 * 2 + 3 + 2) == 44
    found = predict.step(counted, 1, level, "validation")
    assert (found.compute_s, found.memory_s) == (1.0, 0.0)


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet18", "densenet_textbook"])
@pytest.mark.parametrize("part", predict.PARTS)
def test_scaling_a_count_is_counting_the_batch(name, part):
    model = nets.build(name, num_classes=10, in_channels=1, device="meta")
    one, many = (count(model, (1, 96, 96), batch=batch) for batch in (1, 6))
    scaled = predict.step(one, 6, RTX_4080, part)
    assert scaled == predict.step(many, 6, RTX_4080, part)
    assert predict.step(many, 1, RTX_4080, part) == predict.step(one, 1, RTX_4080, part)
    if part == "validation":
        assert (scaled.flops, scaled.bytes) == (many.flops, many.bytes)
    else:
        assert scaled.flops == many.training_flops


@pytest.mark.parametrize(
    "peak", ["fp32_flops_per_s", "tf32_flops_per_s", "memory_bytes_per_s", None]
)
def test_a_higher_roof_never_takes_longer(peak):
    counted = count(nets.build("resnet18_textbook", device="meta"), (1, 96, 96))
    machine = predict.device(RTX_4080)
    names = [peak] if peak else ["fp32_flops_per_s", "tf32_flops_per_s", "memory_bytes_per_s"]
    busy = [
        predict.step(
            counted, 32, replace(machine, **{n: getattr(machine, n) * factor for n in names})
        ).busy_s
        for factor in (0.01, 0.5, 1, 2, 100)
    ]
    assert busy == sorted(busy, reverse=True) and busy[0] > busy[-1]
    if peak is None:
        assert busy[0] == pytest.approx(100 * busy[2]) == pytest.approx(10_000 * busy[4])


def test_arithmetic():
    slow = replace(HERE, memory_bytes_per_s=1e30, bf16_flops_per_s=800.0)
    counted = count(LAYERS, SHAPE)
    conv, linear = 2 * CONV[0], 2 * LINEAR[0]
    expected = {
        "torch default": conv / 400 + linear / 100,
        "fp32": (conv + linear) / 100,
        "tf32": (conv + linear) / 400,
        "bf16": (conv + linear) / 800,
    }
    for arithmetic in predict.ARITHMETIC:
        found = predict.step(counted, 1, slow, "validation", arithmetic=arithmetic)
        assert found.compute_s == pytest.approx(expected[arithmetic], rel=1e-12)
    without = replace(slow, tf32_flops_per_s=None)  # torch falls back by itself
    found = predict.step(counted, 1, without, "validation")
    assert found.compute_s == pytest.approx(expected["fp32"], rel=1e-12)


@pytest.mark.parametrize(
    "call,text",
    [
        (lambda c: predict.step(c, 1, HERE, "testing"), "training, validation"),
        (lambda c: predict.step(c, 1, HERE, arithmetic="fp8"), "torch default, fp32"),
        (lambda c: predict.step(c, 1, HERE, arithmetic="bf16"), "here has no bf16"),
        (lambda c: predict.step(c, 1, RTX_4080, arithmetic="bf16"), "secondary tables"),
        (lambda c: predict.step(c, 0, HERE), "batch 0"),
        (lambda c: predict.step(replace(c, batch=None), 1, HERE), "batch=None"),
        (lambda c: predict.step(c, 1, "RTX 4080"), "there are: NVIDIA GeForce RTX 4080"),
        (lambda c: predict.step(c, 1, Device("x", fp32_flops_per_s=1.0)), "memory_bytes_per_s"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(BadInputError, match=text):
        call(count(LAYERS, SHAPE))


def test_call_seconds():
    assert predict.call_seconds(200, 10, 100, 10) == 2.0
    assert predict.call_seconds(50, 30, 100, 10) == 3.0
    found = predict.call_seconds(np.array([200, 50]), np.array([10, 30]), 100, 10)
    assert found.tolist() == [2.0, 3.0]


def test_devices():
    table = predict.cited_devices().set_index("device")
    assert table.index.is_unique and {RTX_4080, "NVIDIA H200", "Tesla T4"} <= {*table.index}
    assert table["source"].ne("").all() and table["url"].str.startswith("https://").all()
    for name in table.index:
        found = predict.device(name.upper())
        assert found.name == name
        for peak in ("fp32_flops_per_s", "tf32_flops_per_s", "bf16_flops_per_s"):
            value = getattr(found, peak)
            assert np.isnan(table.loc[name, peak]) if value is None else value >= 1e12
    paper = predict.device(RTX_4080)
    assert (paper.fp32_flops_per_s, paper.memory_bytes) == (48.7e12, 16 * 2**30)
    assert paper.memory_bytes_per_s == pytest.approx(22.4e9 * 256 / 8, rel=1e-12)
    assert predict.device("Tesla T4").tf32_flops_per_s is None


def test_teaching_protocols():
    table = predict.teaching_protocols()
    assert set(table["our_net"]) <= set(nets.OWN)
    assert not table.duplicated(["protocol", "net"]).any()
    book = table[table["protocol"] == "book"].set_index("net")
    assert book["input_px"].to_dict() == {
        **{"AlexNet": 224, "VGG-11": 224, "GoogLeNet": 96, "ResNet-18": 96, "DenseNet": 96}
    }
    course = table[table["protocol"] != "book"]
    assert set(course["train_images"]) == {60_000 * 4 // 5}
    assert set(course["validation_images"]) == {60_000 // 5}


@pytest.mark.parametrize(
    "change,text",
    [
        (lambda text: text.replace("48.7e12", "many", 1), "line 2.*many"),
        (lambda text: text.replace("year", "age", 1), "line 1"),
        (lambda text: text + "one,cell\n", "has 2 cells"),
        (lambda text: text[:-3], "cannot be read"),
        (lambda text: "", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(change, text, tmp_path, monkeypatch):
    whole = (paths.CITED / "devices.csv").read_text(encoding="utf-8")
    (tmp_path / "devices.csv").write_text(change(whole), encoding="utf-8")
    monkeypatch.setattr(paths, "CITED", tmp_path)
    with pytest.raises(DamagedFileError, match=text):
        predict.cited_devices()
