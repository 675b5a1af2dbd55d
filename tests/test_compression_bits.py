"""Rounded weights are exactly their levels, in nets of every type; what cannot be rounded, or would
not be, is refused. The rest of few bits is in test_compression.py.
"""

import doctest
import re

import pandas as pd
import pytest
import torch
from torch import nn

from convcost import nets
from convcost.compression import bits, pruned
from convcost.compression.bits import (
    fake_quantised,
    made_plain,
    sensitivity,
    weight_bytes,
    widths_by_sensitivity,
)
from convcost.core.errors import BadInputError


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def net(dtype=torch.float32):
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4 * 4, 5))
    for i, parameter in enumerate(model.parameters()):
        parameter.data = normal(*parameter.shape, seed=i)
    return model.to(dtype)


def score(model):
    """Any number that depends on every weight."""
    with torch.no_grad():
        return model(normal(2, 1, 6, 6)).square().mean().item()


def test_examples():
    assert doctest.testmod(bits).failed == 0


# --- values and gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 8, 16])
def test_a_filter_has_no_more_values_than_its_bits_can_tell(width):
    rounded = fake_quantised(net(), width, None, ends=None)
    for path, layer in bits.layers(rounded).items():
        before = net().get_submodule(path).weight.flatten(1)
        for row, old in zip(layer.weight.detach().flatten(1), before, strict=True):
            assert len(row.unique()) <= (2 if width == 1 else 2**width - 1)
            if width == 1:  # exactly: what a sum of rounded differences would miss
                assert torch.equal(row, old.sign() * old.abs().mean())


@pytest.mark.parametrize("width", [1, 2, 8])
def test_gradients_pass_straight_through(width):
    rounded = fake_quantised(nn.Sequential(nn.Linear(3, 2)), width, None, ends=None)
    x = torch.tensor([[1.0, 2.0, 3.0]])
    rounded(x).sum().backward()
    assert rounded[0].parametrizations.weight.original.grad.tolist() == [[1.0, 2.0, 3.0]] * 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("activations", [None, 8])
@pytest.mark.parametrize("width", [1, 4])
def test_a_net_keeps_its_type(dtype, activations, width):
    images = normal(2, 1, 6, 6).to(dtype)
    rounded = fake_quantised(net(dtype), width, activations, images, ends=None)
    assert rounded(images).dtype is dtype
    assert all(p.dtype is dtype for p in made_plain(rounded).parameters())


@pytest.mark.parametrize("width", [1, 4])
def test_autocast_rounds_to_the_same_weights(width):
    """bf16 has 8 bits of precision: levels computed in it would lie elsewhere."""
    rounded = fake_quantised(net(), width, 8, normal(2, 1, 6, 6), ends=None)
    with torch.autocast("cpu", torch.bfloat16):
        within = [layer.weight for layer in bits.layers(rounded).values()]
        rounded(normal(2, 1, 6, 6)).float().square().mean().backward()
    for layer, weight in zip(bits.layers(rounded).values(), within, strict=True):
        assert weight.dtype is torch.float32 and torch.equal(weight, layer.weight)
        gradient = layer.parametrizations.weight.original.grad
        assert gradient.dtype is torch.float32 and gradient.abs().sum() > 0


# --- plain again -------------------------------------------------------------------------------


def test_made_plain_gives_the_net_that_was_there_but_for_its_weights():
    model = net()
    model[0].weight.requires_grad_(False)
    plain = made_plain(fake_quantised(model, 4, 8, normal(2, 1, 6, 6)))
    assert list(plain.state_dict()) == list(model.state_dict())  # in their order
    assert [p.requires_grad for p in plain.parameters()] == [False, True, True, True]
    assert [type(m) for m in plain.modules()] == [type(m) for m in model.modules()]


def test_made_plain_leaves_parametrizations_of_others():
    model = net()
    nn.utils.parametrizations.weight_norm(model[0])
    plain = made_plain(model)
    assert nn.utils.parametrize.is_parametrized(plain[0], "weight")
    assert score(plain) == score(model)


# --- what is refused ---------------------------------------------------------------------------


def masked():
    """A net with masks that has run: torch cannot copy it."""
    model = pruned.masked(net(), 0.5)
    model(normal(1, 1, 6, 6))
    return model


def spoilt():
    model = net()
    model[3].weight.data[0, 0] = torch.nan
    return model


@pytest.mark.parametrize(
    ("model", "word"),
    [
        (nn.ReLU, "no Conv2d"),
        (masked, "made_permanent"),
        (lambda: fake_quantised(net(), 8, None), "made_plain"),
        (spoilt, "'3' are NaN"),
    ],
)
def test_nets_that_cannot_be_rounded(model, word):
    """Above all not: a rounded copy whose weights are computed anew, as before, when it runs."""
    for ask in (
        lambda: fake_quantised(model(), 4, None),
        lambda: sensitivity(model(), 4, score),
        lambda: weight_bytes(model(), 4),
    ):
        with pytest.raises(BadInputError, match=word):
            ask()


@pytest.mark.parametrize("width", [0, 17, 2.5, True, "8"])
def test_bits_out_of_range(width):
    def judge(model):
        raise AssertionError("asked before the bits were looked at")

    for ask in (
        lambda: fake_quantised(net(), width, None),
        lambda: fake_quantised(net(), 4, None, ends=width),
        lambda: fake_quantised(net(), 4, width, normal(2, 1, 6, 6)),
        lambda: sensitivity(net(), width, judge),
        lambda: weight_bytes(net(), width),
    ):
        with pytest.raises(BadInputError, match=re.escape(repr(width))):
            ask()


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 28), (28,), (0, 1, 28, 28)])
def test_images_of_another_shape(shape):
    model = nets.build("residual_cnn", widths=(8, 16, 32), blocks=1)
    with pytest.raises(BadInputError, match="images"):
        fake_quantised(model, 8, 8, torch.zeros(shape))
    with pytest.raises(BadInputError, match="images"):  # Flatten, not a layer, cannot take it
        fake_quantised(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), 8, 8, torch.zeros(4))


def test_tables_of_sensitivity_that_do_not_belong_together():
    table = pd.DataFrame({"layer": ["a", "b"], "weights": [10, 20], "lost": [0.0, 0.1]})
    other = table.assign(layer=["a", "c"])
    with pytest.raises(BadInputError, match="b, c"):
        widths_by_sensitivity({8: table, 4: other}, (8, 4), 4)
    with pytest.raises(BadInputError, match="4 bits"):
        widths_by_sensitivity({8: table, 4: table.assign(lost=[0.0, float("nan")])}, (8, 4), 4)
