"""Nets as ONNX files, with 8 bits, and what they compute."""

import errno
import os

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import quantization
from torch import nn

import small_nets
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


SMALL = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 24 * 24, 10))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The file of `SMALL` in float32."""
    return exported.exported(SMALL, IMAGE, tmp_path_factory.mktemp("small") / "net.onnx")


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


def test_a_net_is_left_as_found_and_nothing_is_said(tmp_path, capfd):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 26**2, 2)
    )
    net.to(torch.bfloat16).train()[1].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    random = torch.get_rng_state()
    path = exported.exported(net, IMAGE, tmp_path / "new" / "net.onnx")
    exported.quantised(path, images(8), path)  # a file may be replaced by its quantised form
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(tensor.dtype == before[name].dtype for name, tensor in net.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")
    assert [file.name for file in path.parent.iterdir()] == ["net.onnx"]


def test_any_number_of_images_in_parts_of_no_more_than_500(small, monkeypatch):
    session, given = exported.Session(small), images(exported.BATCH + 1)
    whole, parts = session(given), []
    run = session._session.run
    monkeypatch.setattr(
        session, "_session", type("Seen", (), {"run": lambda _, names, feeds: (
            parts.append(len(feeds[exported.INPUT])), run(names, feeds))[1]})(),
    )  # fmt: skip
    np.testing.assert_array_equal(session(given), whole)
    assert sum(parts) == 501 and max(parts) <= 500
    assert whole.shape == (501, 10) and session(given[:0]).shape == (0, 10)
    # images do not see each other, and may lie in memory in any order
    np.testing.assert_allclose(session(given[:1]), whole[:1], rtol=1e-4, atol=1e-5)
    turned = given[:3, :, ::-1]
    np.testing.assert_array_equal(session(turned), session(turned.copy()))


# --- multiply-adds ----------------------------------------------------------------------------

CONVOLUTIONS = nn.Sequential(
    *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(8)),
    nn.Conv2d(8, 6, 3, stride=2, bias=False),
    nn.Conv2d(6, 6, 3, groups=6),
    nn.Conv2d(6, 4, (1, 3), groups=2, dilation=2),
    nn.Flatten(),
    nn.Linear(4 * 6 * 2, 5),
)


def products(self, x):
    """On maps, of computed things alone, and of twice as many images."""
    x = self.linear(x)
    x = self.conv(torch.cat([x, -x])).unflatten(0, (2, -1)).sum(0)
    return x @ x.mT


NETS = {
    "convolutions": (
        CONVOLUTIONS,
        (3, 17, 17),
        3 * 3 * 3 * 8 * 17 * 17
        + 3 * 3 * 8 * 6 * 8 * 8
        + 3 * 3 * 1 * 6 * 6 * 6
        + 1 * 3 * 3 * 4 * 6 * 2
        + 4 * 6 * 2 * 5,
    ),
    "transposed": (nn.ConvTranspose2d(6, 4, 3, stride=2), (6, 5, 5), 6 * 5 * 5 * 4 * 3 * 3),
    "products": (
        small_nets.Calls(products, linear=nn.Linear(8, 5), conv=nn.Conv2d(2, 3, (2, 3))),
        (2, 6, 8),
        2 * 6 * 8 * 5 + 2 * 2 * 3 * 2 * 3 * 5 * 3 + 3 * 5 * 3 * 5,
    ),
}


@pytest.mark.parametrize("case", NETS)
def test_multiply_adds_of_a_net(tmp_path, case):
    net, shape, expected = NETS[case]
    path = exported.exported(net, shape, tmp_path / "net.onnx")
    assert exported.macs(path) == expected == count(net, shape).macs
    given = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0)).numpy()
    assert exported.macs(exported.quantised(path, given, tmp_path / "int8.onnx")) == expected


class Given(quantization.CalibrationDataReader):
    def __init__(self):
        self.parts = iter([images(8)])

    def get_next(self):
        part = next(self.parts, None)
        return None if part is None else {exported.INPUT: part}


@pytest.mark.parametrize(
    ("form", "operators"),
    [
        ("operators", {"QLinearConv", "QGemm"}),
        ("dynamic", {"ConvInteger", "MatMulInteger"}),
    ],
)
def test_multiply_adds_of_other_forms_of_eight_bits(small, tmp_path, form, operators):
    """Files that ONNX Runtime's own quantisation writes, and `quantised` does not."""
    made = tmp_path / "int8.onnx"
    if form == "dynamic":
        quantization.quantize_dynamic(str(small), str(made))
    else:
        quantization.quantize_static(
            str(small), str(made), Given(), quant_format=quantization.QuantFormat.QOperator
        )
    assert {node.op_type for node in onnx.load(made).graph.node} >= operators
    assert (
        exported.macs(made)
        == 5 * 5 * 1 * 4 * 24 * 24 + 4 * 24 * 24 * 10
        == count(SMALL, IMAGE).macs
    )


@pytest.mark.parametrize("operator", ["Gemm", "MatMul"])
@pytest.mark.parametrize("weights", [(6, 5), (5, 6)])
def test_multiply_adds_of_weights_in_any_order(tmp_path, operator, weights):
    given, made = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 6)), ("y", (1, 5)))
    )
    weight = onnx.numpy_helper.from_array(np.ones(weights, np.float32), "weight")
    turned = weights == (5, 6)
    if operator == "Gemm":
        nodes = [onnx.helper.make_node("Gemm", ["x", "weight"], ["y"], transB=int(turned))]
    else:
        nodes = [
            onnx.helper.make_node("Transpose", ["weight"], ["turned"]),
            onnx.helper.make_node("MatMul", ["x", "turned" if turned else "weight"], ["y"]),
        ]
    proto = onnx.helper.make_model(onnx.helper.make_graph(nodes, "one", [given], [made], [weight]))
    onnx.save(proto, tmp_path / "net.onnx")
    assert exported.macs(tmp_path / "net.onnx") == 1 * 6 * 5


def choosing(self, x):
    return torch.cond(x.sum() > 0, self.layer, lambda y: self.layer(-y), (x,))


def test_products_in_a_branch_are_no_zero(tmp_path):
    """A graph inside a node of the file's graph."""
    net = small_nets.Calls(choosing, layer=nn.Conv2d(1, 4, 3))
    path = exported.exported(net, IMAGE, tmp_path / "net.onnx")
    with pytest.raises(BadInputError, match=r"net\.onnx has operators .* counted here: If$"):
        exported.macs(path)


@pytest.mark.parametrize("name", ["LSTM", "Einsum", "Attention", "ConvOfSomebody"])
def test_operators_that_are_not_known_are_no_zero(small, tmp_path, name):
    proto = onnx.load(small)
    conv = next(node for node in proto.graph.node if node.op_type == "Conv")
    conv.op_type = name
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(BadInputError, match=rf"net\.onnx has operators .* counted here: {name}$"):
        exported.macs(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("versions", "word"),
    [
        ([], "shapes cannot be inferred, "),
        ([1], "shapes of (Conv|Gemm) .* cannot be inferred$"),
    ],
)
def test_shapes_that_cannot_be_inferred_are_no_zero(small, tmp_path, versions, word):
    """Behind an operator that ONNX has no rule for, the shapes are not known."""
    proto = onnx.load(small)
    relu = next(node for node in proto.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "QLinearLeakyRelu", "com.microsoft"
    proto.opset_import.extend(onnx.helper.make_opsetid(relu.domain, n) for n in versions)
    for value in (*proto.graph.value_info, *proto.graph.output):
        value.type.tensor_type.ClearField("shape")
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(BadInputError, match=word):
        exported.macs(tmp_path / "net.onnx")


def test_a_file_for_batches_of_several_has_no_count_of_one_image(small, tmp_path):
    proto = onnx.load(small)
    side = proto.graph.input[0].type.tensor_type.shape.dim[0]
    side.dim_value = 4
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.raises(BadInputError, match="for batches of 4"):
        exported.macs(tmp_path / "net.onnx")
    side.dim_value = 1
    onnx.save(proto, tmp_path / "net.onnx")
    assert exported.macs(tmp_path / "net.onnx") == exported.macs(small)


# --- what is refused --------------------------------------------------------------------------

REFUSED = {
    "on a value": (
        small_nets.Calls(lambda self, x: x if x.sum() > 0 else -x),
        "Calls cannot be exported to ONNX, GuardOnDataDependentSymNode: Could not guard",
    ),
    "no weights": (nn.Conv2d(1, 8, 3, device="meta"), "Conv2d cannot be .* meta tensor"),
    "no shape yet": (nn.LazyConv2d(8, 3), "LazyConv2d cannot be .* uninitialized parameter"),
    "one batch only": (
        small_nets.Calls(lambda self, x: x.reshape(2, 784).relu()),
        "Calls runs with batches of 2 only",
    ),
    "two outputs": (
        small_nets.Calls(lambda self, x: (x.sum(1), x.mean(1))),
        "Calls has 2 outputs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_net_that_cannot_be_exported_is_named_and_leaves_nothing(tmp_path, capfd, case):
    net, word = REFUSED[case]
    with pytest.raises(BadInputError, match=word) as refused:
        exported.exported(net, IMAGE, tmp_path / "net.onnx")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (
        lambda: exported.exported(nn.Flatten(), IMAGE, path),
        lambda: exported.quantised(small, images(4), path),
    ):
        with pytest.raises(OSError, match="No space left"):
            write()
        assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (np.zeros((4, 3, 28, 28), np.float32), r"\(N, 1, 28, 28\)"),
        (np.zeros((4, 1, 28), np.float32), r"\(4, 1, 28\)"),
        (np.zeros((4, 1, 28, 28)), "float64"),
        (np.zeros((0, 1, 28, 28), np.float32), "no images"),
        (np.full((4, 1, 28, 28), np.nan, np.float32), "NaN"),
    ],
)
def test_a_calibration_set_that_does_not_fit_is_refused(small, tmp_path, given, word):
    with pytest.raises(BadInputError, match=word):
        exported.quantised(small, given, tmp_path / "int8.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_quantised_is_named(tmp_path):
    layer = nn.ConvTranspose2d(2, 4, 3, groups=2)
    path = exported.exported(layer, (2, 5, 5), tmp_path / "net.onnx")
    given = np.ones((4, 2, 5, 5), np.float32)
    with pytest.raises(BadInputError, match=r"net\.onnx cannot be quantised, ValueError: "):
        exported.quantised(path, given, tmp_path / "int8.onnx")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, b"", b"nothing"])
def test_what_is_no_onnx_file_is_named(tmp_path, content):
    path, target = tmp_path / "net.onnx", tmp_path / "int8.onnx"
    if content is not None:
        path.write_bytes(content)
    for refused in (exported.macs, exported.Session, lambda p: exported.quantised(p, None, target)):
        with pytest.raises(BadInputError, match=r"net\.onnx"):
            refused(path)
    assert not target.exists()


@pytest.mark.parametrize("threads", [0, -1, 1.0, "2"])
def test_a_number_of_threads_that_is_none_is_refused(small, threads):
    with pytest.raises(BadInputError, match="threads is"):
        exported.Session(small, threads)


@pytest.mark.parametrize(
    "given",
    [np.zeros((2, 3, 28, 28), np.float32), np.zeros((2, 1, 28, 28)), np.zeros(5, np.float32)],
)
def test_images_that_do_not_fit_a_session_are_refused(small, given):
    session = exported.Session(small)
    for refused in (session, session.prepared):
        with pytest.raises(BadInputError, match=r"float32 \(N, 1, 28, 28\) are expected"):
            refused(given)
