"""Nets as ONNX files, with 8 bits, and what they compute."""

import numpy as np
import pytest
import torch
from torch import nn

from convcost import count, nets
from convcost.compression import exported
from convcost.core.errors import BadInputError

IMAGE = (1, 28, 28)


def images(number=64):
    return torch.randn(number, *IMAGE, generator=torch.Generator().manual_seed(0)).numpy()


@pytest.fixture(scope="module", params=["plain", "separable", "shuffle"])
def made(request, tmp_path_factory):
    """(net, its file in float32, its file with 8 bits)."""
    torch.manual_seed(0)
    net = nets.build("residual_cnn", kind=request.param, widths=(8, 16, 32), blocks=1)
    for module in net.modules():  # statistics that are not those of a new net
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    net.train().to(memory_format=torch.channels_last)
    folder = tmp_path_factory.mktemp("onnx")
    path = exported.exported(net, IMAGE, folder / "net.onnx")
    assert net.training  # exported as in evaluation, and left in its mode
    return net, path, exported.quantised(path, images(), folder / "int8.onnx")


def test_the_file_computes_what_the_net_does(made):
    net, path, _ = made
    with torch.no_grad():
        expected = net.eval()(torch.tensor(images(7))).numpy()
    net.train()
    given = exported.Session(path)(images(7))
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    prepared = exported.Session(path, 2).prepared(images(7))
    np.testing.assert_allclose(prepared()[0], given, rtol=1e-4, atol=1e-5)


def test_eight_bits_are_near_and_smaller(made):
    net, path, int8 = made
    one, other = (exported.Session(file)(images()) for file in (path, int8))
    assert 0 < np.abs(one - other).max() < 0.15 * np.abs(one).max()
    weights = sum(p.numel() for p in net.parameters())
    assert path.stat().st_size > 4 * weights
    if weights > 10_000:  # the rest of a smaller file is its graph
        assert int8.stat().st_size < 0.7 * path.stat().st_size


def test_multiply_adds_of_both_files_are_those_of_the_net(made):
    net, path, int8 = made
    assert exported.macs(path) == exported.macs(int8) == count(net, IMAGE).macs


def test_no_weights_lie_beside_the_file(made):
    _, path, _ = made
    assert sorted(file.name for file in path.parent.iterdir()) == ["int8.onnx", "net.onnx"]


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, x):
        x = x.flatten(1)
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


def test_a_net_that_cannot_be_exported_is_named_and_leaves_nothing(tmp_path, capfd):
    with pytest.raises(BadInputError, match="Branching cannot be exported to ONNX"):
        exported.exported(Branching(), IMAGE, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (np.zeros((4, 3, 28, 28), np.float32), r"\(N, 1, 28, 28\)"),
        (np.zeros((4, 1, 28), np.float32), r"\(4, 1, 28\)"),
        (np.zeros((4, 1, 28, 28)), "float64"),
        (np.zeros((0, 1, 28, 28), np.float32), "at least one"),
        (np.full((4, 1, 28, 28), np.nan, np.float32), "NaN"),
    ],
)
def test_a_calibration_set_that_does_not_fit_is_refused(made, tmp_path, given, word):
    with pytest.raises(BadInputError, match=word):
        exported.quantised(made[1], given, tmp_path / "int8.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_onnx_file_is_named(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"nothing")
    with pytest.raises(BadInputError, match=r"net\.onnx cannot be run"):
        exported.Session(tmp_path / "net.onnx")


def test_products_that_are_not_counted_here_are_named(tmp_path):
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.LSTM(28, 10, batch_first=True)

        def forward(self, x):
            return self.layer(x[:, 0])[0][:, -1]

    path = exported.exported(Recurrent(), IMAGE, tmp_path / "net.onnx")
    with pytest.raises(BadInputError, match="LSTM"):
        exported.macs(path)
