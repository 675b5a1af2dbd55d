"""Factors keep what their layer was: type, order in memory, what is trained; and errors are told
of every layer that has them. The rest of low rank is in test_compression.py.
"""

import doctest
import math

import pytest
import torch
from torch import nn

from convcost import count, nets
from convcost.compression import lowrank
from convcost.compression.lowrank import METHODS, factorised, reconstruction
from convcost.core.errors import BadInputError


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def conv(inputs, outputs, **options):
    """A convolution with 3 x 3 kernels whose weights are drawn, of full rank."""
    layer = nn.Conv2d(inputs, outputs, 3, **options)
    layer.weight.data = normal(*layer.weight.shape, dtype=layer.weight.dtype)
    return layer


def chain():
    """The three forms that stand behind a convolution: nothing, normalisation and ReLU, ReLU."""
    return nn.Sequential(
        conv(1, 4), nn.ReLU(), conv(4, 16), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 16), nn.ReLU(),
        conv(16, 8),
    ).eval()  # fmt: skip


def test_examples():
    assert doctest.testmod(lowrank).failed == 0


@pytest.mark.parametrize("method", METHODS)
def test_of_full_rank_a_double_net_computes_the_same_in_double(method):
    layer = conv(8, 12, stride=2, padding=1, dtype=torch.float64)
    smaller = factorised(nn.Sequential(layer), method, math.inf, ["0"])
    x = normal(2, 8, 9, 10, dtype=torch.float64)
    # in float32 the difference would be about 1e-6
    torch.testing.assert_close(smaller(x), layer(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_factors_are_of_the_layers_kind(method):
    layer = conv(16, 16, dtype=torch.bfloat16).to(memory_format=torch.channels_last).eval()
    layer.weight.requires_grad_(False)
    (factors,) = factorised(nn.Sequential(layer), method, 0.5)
    spatial = next(part for part in factors if part.kernel_size == (3, 3))
    assert spatial.weight.is_contiguous(memory_format=torch.channels_last)
    for part in factors:
        assert part.weight.dtype is torch.bfloat16
        assert not part.weight.requires_grad and not part.training
    assert factors[-1].bias.requires_grad
    assert [part.bias is None for part in factors] == [True] * (len(factors) - 1) + [False]


@pytest.mark.parametrize("method", METHODS)
def test_random_numbers_are_left_alone(method):
    net = nets.build("residual_cnn", widths=(8, 16, 32), blocks=1)
    state = torch.get_rng_state()
    factorised(net, method, 0.5)
    assert torch.equal(state, torch.get_rng_state())


def test_a_net_that_is_one_layer():
    layer = conv(16, 16, padding=1)
    smaller = factorised(layer, "svd", 0.5)
    rank = 16 * 16 * 9 // 2 // (16 * 9 + 16)
    assert [part.weight.numel() for part in smaller] == [rank * 16 * 9, rank * 16]
    (row,) = reconstruction(layer, smaller, normal(2, 16, 6, 6)).to_dict("records")
    assert row["layer"] == "" and 0 < row["output_error_before"] < 1


@pytest.mark.parametrize("method", METHODS)
def test_the_share_is_one_of_weights_and_with_stride_tucker_multiplies_more(method):
    """Its first factor runs on the input, of four times the positions of the output."""
    layer = conv(32, 64, stride=2, padding=1, bias=False)
    smaller = factorised(nn.Sequential(layer), method, 0.25)
    weights = [part.weight.numel() for part in smaller[0]]
    assert sum(weights) <= 32 * 64 * 9 // 4
    places = [14 * 14, 7 * 7, 7 * 7] if method == "tucker" else [7 * 7, 7 * 7]
    macs = sum(n * number for n, number in zip(weights, places, strict=True))
    assert count(smaller, (32, 14, 14)).macs == macs
    assert (macs > 32 * 64 * 9 * 7 * 7 // 4) == (method == "tucker")


def test_errors_are_told_of_every_layer_that_has_factors():
    net = chain()
    smaller = factorised(net, "svd", 0.5, ["0", "2", "5", "7"])  # of one channel, of four, of many
    table = reconstruction(net, smaller, normal(3, 1, 12, 12)).set_index("layer")
    assert table.index.tolist() == ["0", "2", "5", "7"]
    assert (table.drop(columns=["output_error_normalised", "output_error_after_relu"]) > 0).all(
        axis=None
    )
    assert table["output_error_after_relu"].isna().tolist() == [False, False, False, True]


def test_a_relu_without_normalisation_counts_too():
    """Two channels, of which the first factor keeps the one that ReLU lets through."""
    layer = nn.Conv2d(1, 2, 3, bias=False)
    layer.weight.data = torch.zeros(2, 1, 3, 3)
    layer.weight.data[0, 0, 0, 0], layer.weight.data[1, 0, 1, 1] = 4.0, -3.0
    net = nn.Sequential(layer, nn.ReLU())
    smaller = factorised(net, "svd", 0.01, ["0"])  # rank 1: the filter of 4 is left
    (row,) = reconstruction(net, smaller, torch.ones(1, 1, 3, 3)).to_dict("records")
    assert row["weight_error"] == pytest.approx(3 / 5)  # 3 of the root of 4*4 + 3*3
    assert row["output_error_before"] == pytest.approx(3 / 5)
    assert row["output_error_after_relu"] == pytest.approx(0, abs=1e-6)


def test_a_net_without_factors_of_this_one_is_refused():
    net, x = chain(), normal(1, 1, 12, 12)
    wide = nn.Sequential(*[nn.Identity()] * 2, conv(8, 16), *[nn.Identity()] * 5)
    for other in (net, nn.Sequential(nn.Flatten()), factorised(wide, "svd", 0.5, ["2"])):
        with pytest.raises(BadInputError, match="factorised"):
            reconstruction(net, other, x)
