"""The formulas against products written out, literal loops and torch's own results."""

import itertools

import pytest
import torch
from torch import nn

from convcost.core.errors import BadInputError
from convcost.counting import ops


def test_conv_is_a_product():
    assert ops.conv_macs(1, 3, 64, (7, 7), (112, 112)) == 3 * 7 * 7 * 64 * 112 * 112
    assert ops.conv_macs(4, 8, 12, (3, 5), (6, 7), groups=4) == 4 * 12 * 6 * 7 * 2 * 3 * 5
    depthwise = ops.conv_macs(1, 64, 64, (3, 3), (112, 112), groups=64)
    assert depthwise == 3 * 3 * 64 * 112 * 112 == 7_225_344  # the Deci post prints it
    assert ops.conv_macs(1, 64, 128, (1, 1), (112, 112)) == 102_760_448
    assert ops.conv_macs(1, 64, 128, (3, 3), (112, 112)) == 924_844_032
    assert ops.conv_macs(2, 6, 12, (3,), (5,), groups=6) == 2 * 12 * 3 * 5


def test_conv_against_a_literal_loop():
    """The multiplications of a small grouped convolution, padded positions too, counted."""
    size, kernel, stride, padding, dilation, groups, cin, cout = (6, 5), (3, 2), 2, 1, 1, 2, 4, 6
    n = 0
    out = ops.conv_output(size, kernel, (stride,) * 2, (padding,) * 2, (dilation,) * 2)
    for _ in itertools.product(range(cout), range(out[0]), range(out[1])):
        for _ in itertools.product(range(cin // groups), range(kernel[0]), range(kernel[1])):
            n += 1
    assert ops.conv_macs(1, cin, cout, kernel, out, groups) == n


@pytest.mark.parametrize("seed", range(30))
def test_output_sizes_equal_torch(seed):
    draw = torch.Generator().manual_seed(seed)

    def one(low, high):
        return int(torch.randint(low, high, (), generator=draw))

    s, k, st, p, d = one(6, 20), one(1, 4), one(1, 4), one(0, 3), one(1, 3)
    p = min(p, k // 2)
    x = torch.zeros(1, 2, s)
    conv = nn.Conv1d(2, 2, k, st, p, d)
    assert ops.conv_output((s,), (k,), (st,), (p,), (d,)) == conv(x).shape[2:]
    extra = one(0, st) if st > 1 else 0
    transposed = nn.ConvTranspose1d(2, 2, k, st, p, extra, dilation=d)
    out = ops.conv_transpose_output((s,), (k,), (st,), (p,), (extra,), (d,))
    assert out == transposed(x).shape[2:]
    for ceil in (False, True):
        pool = nn.MaxPool1d(k, st, p, d, ceil_mode=ceil)
        assert ops.pool_output((s,), (k,), (st,), (p,), (d,), ceil) == pool(x).shape[2:]


def test_transposed_convolution_counts_the_input():
    assert ops.conv_transpose_macs(1, 8, 4, (2, 2), (5, 5)) == 8 * 4 * 2 * 2 * 5 * 5
    assert ops.conv_transpose_macs(2, 8, 4, (3,), (5,), groups=2) == 2 * 8 * 2 * 3 * 5


@pytest.mark.parametrize(
    "a,b",
    [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 1, 2, 3), (7, 3, 4))],
)
def test_matmul_shapes_equal_torch(a, b):
    out = torch.zeros(a) @ torch.zeros(b)
    assert ops.matmul_output(a, b) == tuple(out.shape)
    assert ops.matmul_macs(a, b) == out.numel() * 3


@pytest.mark.parametrize(
    "equation,shapes,macs",
    [
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)], 2 * 3 * 4 * 5),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
        ("ij,kl->", [(2, 3), (4, 5)], 1),
        ("...i,ji", [(2, 7, 3), (4, 3)], 2 * 7 * 3 * 4),
        ("ii->i", [(3, 3)], 0),
    ],
)
def test_einsum(equation, shapes, macs):
    assert ops.einsum_macs(equation, shapes) == macs
    out = torch.einsum(equation, *map(torch.zeros, shapes))
    assert ops.einsum_output(equation, shapes) == tuple(out.shape)


def test_attention_and_recurrent():
    q, kv = (2, 12, 50, 64), (2, 12, 197, 64)
    assert ops.attention_macs(q, kv, (2, 12, 197, 32)) == 2 * 12 * 50 * 197 * (64 + 32)
    one = (1, *q[1:])
    assert ops.attention_output(one, kv, (2, 12, 197, 32)) == (2, 12, 50, 32)
    assert ops.attention_macs(one, kv, (2, 12, 197, 32)) == 2 * 12 * 50 * 197 * (64 + 32)
    few = (2, 3, 197, 64)
    assert ops.attention_macs(q, few, few, grouped=True) == 2 * 12 * 50 * 197 * (64 + 64)
    assert ops.rnn_macs("lstm", 5, 1, 10, 20) == 4 * 5 * (10 * 20 + 20 * 20)
    assert ops.rnn_macs("gru", 5, 2, 10, 20, layers=2, directions=2) == 2 * 3 * 10 * (
        10 * 20 + 20 * 20 + 40 * 20 + 20 * 20
    )
    assert ops.rnn_macs("rnn_tanh", 1, 1, 1, 1) == 2
    assert ops.rnn_gradient_macs("lstm", 1, 1, 10, 20, input_gradient=False) == 4 * (
        10 * 20 + 20 * 20
    )


@pytest.mark.parametrize("size,out", [(7, 3), (13, 5), (4, 4), (3, 7), (1, 1), (224, 7)])
def test_adaptive_windows_are_those_of_torch(size, out):
    """Averages of 0, 1, 2, … give away each window's ends; the counts come from the gradient."""
    windows = ops.adaptive_windows(size, out)
    x = torch.arange(size, dtype=torch.float64, requires_grad=True)
    y = nn.functional.adaptive_avg_pool1d(x[None], out)[0]
    assert y.tolist() == pytest.approx([(a + b - 1) / 2 for a, b in windows])
    reads = sum(int((torch.autograd.grad(v, x, retain_graph=True)[0] != 0).sum()) for v in y)
    assert ops.adaptive_pool_reads(1, (size,), (out,)) == reads


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.conv_macs(1, 3, 4, (1,), (1,), groups=2),
        lambda: ops.conv_output((3,), (5,), (1,), (0,), (1,)),
        lambda: ops.conv_transpose_output((1,), (1,), (1,), (2,), (0,), (1,)),
        lambda: ops.pool_output((1,), (5,), (1,), (0,), (1,), True),
        lambda: ops.matmul_output((2, 3), (4, 5)),
        lambda: ops.matmul_output((), (2,)),
        lambda: ops.broadcast((2, 3), (4,)),
        lambda: ops.einsum_macs("ij,jk->ik", [(2, 3), (4, 5)]),
        lambda: ops.einsum_macs("ij->i", [(2, 3), (4, 5)]),
        lambda: ops.attention_macs((1, 2, 3), (1, 2, 4), (1, 2, 4)),
        lambda: ops.rnn_macs("elman", 1, 1, 1, 1),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(BadInputError):
        call()


def test_results_are_python_ints_without_a_limit():
    big = ops.conv_macs(2**20, 2**20, 2**20, (7, 7), (2**10, 2**10))
    assert big == 49 * 2**80
