import doctest

import pytest

from convcost.sources import equations


def test_examples_in_docstrings_hold():
    assert doctest.testmod(equations).attempted >= 9
    assert doctest.testmod(equations).failed == 0


def test_group_convolution_is_a_convolution_over_g():
    plain = equations.cheng_convolution(3, 64, 128, 7, 5)
    assert equations.cheng_group_convolution(3, 64, 128, 7, 5, 1) == plain
    assert equations.cheng_group_convolution(3, 64, 128, 7, 5, 32) * 32 == plain


def test_group_convolution_refuses_uneven_groups():
    with pytest.raises(ValueError, match="3 groups divide neither 64"):
        equations.cheng_group_convolution(3, 64, 128, 7, 5, 3)


def test_atsumi_leaves_out_the_input_maps():
    assert equations.atsumi_convolution(8, 8, 5, 16) == 25_600
    assert equations.cheng_convolution(5, 6, 16, 8, 8) == 6 * 25_600


def test_ke_sum_adds_the_layers():
    layers = [(3, 5, 64, 64), (64, 5, 64, 32), (64, 5, 64, 16)]
    expected = 3 * 25 * 64 * 64**2 + 64 * 25 * 64 * 32**2 + 64 * 25 * 64 * 16**2
    assert equations.ke_sum(layers) == expected


def test_bert_parameters_against_torch_layers():
    import torch

    layers, width, inner, words, positions = 2, 24, 40, 50, 16
    with torch.device("meta"):
        layer = torch.nn.TransformerEncoderLayer(width, 4, inner)
        parts = [
            torch.nn.Embedding(words + positions + 2, width),
            torch.nn.LayerNorm(width),
            *[layer] * layers,
            torch.nn.Linear(width, width),
        ]
    expected = sum(p.numel() for part in parts for p in part.parameters())
    assert equations.bert_parameters(layers, width, inner, words, positions) == expected
