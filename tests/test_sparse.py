"""Layers that skip zeros give what the dense ones give, and really skip: counted, and poisoned."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from convcost import nets
from convcost.core.errors import BadInputError
from convcost.measuring import sparse
from convcost.measuring.sparse import METHODS, layer_inputs, prepare, product, random_inputs
from convcost.measuring.zeros import skippable_macs

EVERY_ZERO = ["csr (torch)", "csr (scipy)", "row sums", "row sums, blocked"]
SKIPPING = ["gather", *EVERY_ZERO]
PRODUCTS = ["dense", *SKIPPING]  # what a bare product and a linear layer can do

CONVS = {
    "plain": dict(kernel_size=3),
    "without bias": dict(kernel_size=3, bias=False),
    "1 x 1": dict(kernel_size=1, stride=2),
    "stride and padding": dict(kernel_size=3, stride=2, padding=1),
    "different both ways": dict(
        kernel_size=(2, 4), stride=(1, 3), padding=(0, 3), dilation=(3, 1), bias=False
    ),
    "same, even kernel": dict(kernel_size=(4, 3), padding="same", dilation=(1, 2)),
    "reflected": dict(kernel_size=3, padding=2, padding_mode="reflect"),
    "circular": dict(kernel_size=3, padding=(1, 2), padding_mode="circular"),
}


def seeded(layer, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


def activations(*shape, zeros="some", seed=0):
    """As behind a ReLU: about 60 % zeros, channel 1 dead in the whole batch and channel 0 in its
    first image; none; or all.
    """
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if zeros == "none":
        return values.abs() + 0.1
    if zeros == "all":
        return torch.zeros(shape)
    values = (values - 0.25).relu()
    values[:, 1] = 0
    values[:1, 0] = 0
    return values


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of so small layers wait for each other, on a busy machine for seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def counted(monkeypatch):
    """How many nonzeros each product was given."""
    found, original = [], sparse._nonzeros

    def spy(matrix):
        parts = original(matrix)
        found.append(len(parts[2]))
        return parts

    monkeypatch.setattr(sparse, "_nonzeros", spy)
    return found


def test_dense_methods_are_known_by_their_names():
    """`findings`, which has no torch, tells them so."""
    assert tuple(method for method in METHODS if method.startswith("dense")) == sparse.DENSE


# ---------------------------------------------------------------- the same results


@pytest.mark.parametrize("zeros", ["some", "none", "all"])
@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("method", METHODS)
def test_a_convolution_is_that_of_torch(method, name, zeros):
    layer = seeded(nn.Conv2d(3, 5, **CONVS[name]))
    exact = copy.deepcopy(layer).double()
    for images in (1, 8):
        x = activations(images, 3, 9, 7, zeros=zeros)
        expected = exact(x.double()).detach()
        out = prepare(layer, method)(x)
        torch.testing.assert_close(out, expected.float(), rtol=1e-5, atol=1e-5)
        if method != "dense, packed":
            out = prepare(exact, method)(x.double())
            torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("zeros", ["some", "none", "all"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [1, sparse.PANEL, 2 * sparse.PANEL + 1])
@pytest.mark.parametrize("method", PRODUCTS)
def test_a_linear_layer_is_that_of_torch(method, outputs, bias, zeros):
    layer = seeded(nn.Linear(20, outputs, bias=bias).double())
    call = prepare(layer, method)
    for shape in ((1, 20), (8, 20), (2, 4, 20), (0, 20)):
        x = activations(*shape, zeros=zeros).double()
        torch.testing.assert_close(call(x), layer(x).detach(), rtol=1e-10, atol=1e-10)
    single = prepare(layer.float(), method)
    torch.testing.assert_close(single(x.float()), layer(x.float()).detach(), rtol=1e-5, atol=1e-5)
    one = activations(2, 20)[0]
    torch.testing.assert_close(single(one), layer(one).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("block", [1, 100, 700, 3000])
def test_a_convolution_in_pieces_is_the_same(block, monkeypatch, counted):
    """Pieces of one line, of some lines of one image, of several images: 7*5 rows of 3*3*3."""
    layer, x = seeded(nn.Conv2d(3, 4, 3).double()), activations(4, 3, 9, 7).double()
    monkeypatch.setattr(sparse, "_BLOCK", block)
    out = prepare(layer, "row sums")(x)
    pieces = {1: 4 * 7, 100: 4 * 7, 700: 4 * 2, 3000: 2}  # a line has 5*27 elements, an image 945
    assert len(counted) == pieces[block]
    torch.testing.assert_close(out, layer(x).detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_in_memory_does_not_matter(method):
    conv, x = seeded(nn.Conv2d(3, 4, 3)), activations(2, 3, 6, 6)
    call = prepare(conv, method)
    torch.testing.assert_close(call(x.to(memory_format=torch.channels_last)), call(x))
    torch.testing.assert_close(call(x.transpose(2, 3).contiguous().transpose(2, 3)), call(x))


@pytest.mark.parametrize("method", PRODUCTS)
def test_the_order_in_memory_of_a_matrix_does_not_matter(method):
    weight, matrix = torch.randn(4, 6), activations(5, 6)
    multiply = product(weight.t().contiguous().t(), method)
    torch.testing.assert_close(multiply(matrix.t().contiguous().t()), matrix @ weight.t())


@pytest.mark.parametrize("method", METHODS)
def test_nothing_that_is_given_changes(method):
    torch.manual_seed(0)
    conv, x = seeded(nn.Conv2d(3, 4, 3, padding=1)), activations(2, 3, 6, 6).requires_grad_()
    before = [p.detach().clone() for p in (*conv.parameters(), x)]
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    call = prepare(conv, method)
    first, kept = call(x), call(x).clone()
    call(activations(2, 3, 6, 6, seed=1))
    assert torch.equal(first, kept)  # a result is not written over by the next call
    assert not first.requires_grad
    if method in PRODUCTS:
        assert not product(torch.ones(2, 6), method)(x[0, 0]).requires_grad
    for now, then in zip((*conv.parameters(), x), before, strict=True):
        assert torch.equal(now, then) and now.requires_grad and now.grad is None
    assert conv.training and torch.is_grad_enabled()
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", [*SKIPPING, "dense, packed"])
def test_weights_are_those_of_the_day(method):
    for layer, x in (
        (seeded(nn.Conv2d(3, 4, 1)), activations(2, 3, 2, 2)),
        (seeded(nn.Linear(3, 1)), activations(2, 3)),  # one output: its transpose is no copy
    )[: 2 if method in SKIPPING else 1]:
        call = prepare(layer, method)
        before = call(x)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.fill_(7)
        assert torch.equal(call(x), before)


def test_no_warning_reaches_the_user():
    """In a process of its own: torch says once a process that its sparse rows are young."""
    code = (
        "import torch, warnings\n"
        "from convcost.measuring import sparse\n"
        "warnings.simplefilter('error')\n"
        f"for method in {PRODUCTS}:\n"
        "    print(sparse.product(torch.ones(1, 2), method)(torch.ones(1, 2)).item())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["2.0"] * len(PRODUCTS), "")


# ---------------------------------------------------------------- really skipped


@pytest.mark.parametrize("name", CONVS)
@pytest.mark.parametrize("method", EVERY_ZERO)
def test_multiplications_are_those_that_cannot_be_skipped(method, name, counted):
    """An exact identity: nonzeros in the rows, times outputs, is what `zeros` leaves over."""
    layer, x = seeded(nn.Conv2d(3, 5, **CONVS[name])), activations(4, 3, 9, 7)
    x[0, 0, 0] = -0.0  # a zero as well
    row = skippable_macs(layer, x).iloc[-1]
    prepare(layer, method)(x)
    assert sum(counted) * 5 == row.macs - row.zero_input_macs - row.padding_macs
    assert 0 < sum(counted) * 5 < row.macs / 2


@pytest.mark.parametrize("method", EVERY_ZERO)
def test_multiplications_of_every_layer_of_lenet(method, counted):
    torch.manual_seed(0)
    model, images = nets.build("lenet_atsumi"), torch.randn(3, 1, 28, 28).relu()
    table = skippable_macs(model, images)
    for (layer, _, module, x), row in zip(
        layer_inputs(model, images), table[:-1].itertuples(), strict=True
    ):
        counted.clear()
        prepare(module, method)(x)
        assert layer == row.layer
        assert sum(counted) * len(module.weight) == (
            row.macs - row.zero_input_macs - row.padding_macs
        )


@pytest.mark.parametrize("method", SKIPPING)
def test_the_weight_of_a_zero_is_not_even_looked_at(method, monkeypatch):
    """Poisoned weights would turn the result into NaN, as they do in the dense layer."""
    weight = torch.ones(3, 4)
    weight[:, 1] = float("nan")
    with pytest.raises(BadInputError, match="NaN"):
        product(weight, method)
    monkeypatch.setattr(sparse, "_check_weight", lambda *given: None)
    matrix = torch.tensor([[1.0, 0.0, 0.0, 3.0], [2.0, -0.0, 4.0, 0.0]])
    assert product(weight, "dense")(matrix).isnan().all()
    assert product(weight, method)(matrix).tolist() == [[1 + 3] * 3, [2 + 4] * 3]
    conv = nn.Conv2d(2, 1, 1, bias=False)
    conv.weight.data = torch.tensor([2.0, float("nan")]).view(1, 2, 1, 1)
    image = torch.tensor([[3.0, 0.0], [0.0, 0.0]]).view(1, 2, 1, 2)
    assert prepare(conv, "dense")(image).isnan().all()
    assert prepare(conv, method)(image).tolist() == [[[[2 * 3, 0]]]]


def test_gather_skips_what_is_zero_in_the_whole_batch(monkeypatch):
    """Column 1 is zero for one image only: it stays, and a poisoned weight is met."""
    monkeypatch.setattr(sparse, "_check_weight", lambda *given: None)
    weight = torch.tensor([[1.0, float("nan")]])
    matrix = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
    assert product(weight, "gather")(matrix).isnan().all()
    assert product(weight, "gather")(matrix[:1]).tolist() == [[1.0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_number_does_not_vanish(method, bad):
    if method in PRODUCTS:
        linear, x = seeded(nn.Linear(4, 3)), activations(3, 4)
        linear.weight.data[0] = 0  # times infinity is NaN
        x[1, 2] = bad
        torch.testing.assert_close(prepare(linear, method)(x), linear(x).detach(), equal_nan=True)
    conv, x = seeded(nn.Conv2d(2, 3, 3, padding=1)), activations(1, 2, 5, 5)
    x[0, 1, 2, 2] = bad
    out, expected = prepare(conv, method)(x), conv(x).detach()
    torch.testing.assert_close(out, expected, equal_nan=True)
    assert int((~out.isfinite()).sum()) == 3 * 3 * 3  # the positions that see it, each filter


# ---------------------------------------------------------------- refused


def hooked():
    layer = nn.Linear(3, 2)
    layer.register_forward_hook(lambda module, given, out: out * 2)
    return layer


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


REFUSED = {
    "no layer": (lambda: nn.ReLU(), "ReLU cannot be prepared"),
    "other convolution": (lambda: nn.Conv1d(2, 2, 1), "Conv1d cannot be prepared"),
    "transposed": (lambda: nn.ConvTranspose2d(2, 2, 1), "ConvTranspose2d cannot"),
    "own forward": (lambda: Doubled(3, 2), "Doubled cannot be prepared"),
    "not even a module": (lambda: torch.ones(2, 2), "Tensor cannot be prepared"),
    "half precision": (lambda: nn.Linear(3, 2).half(), "torch.float16 on cpu"),
    "no values": (lambda: nn.Linear(3, 2, device="meta"), "on meta"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_no_method_takes(name, method):
    make, text = REFUSED[name]
    with pytest.raises(BadInputError, match=text):
        prepare(make(), method)


@pytest.mark.parametrize("method", SKIPPING)
def test_layers_that_only_dense_takes(method):
    broken = seeded(nn.Linear(3, 2))
    broken.weight.data[0, 0] = float("inf")
    for layer, x, text in (
        (nn.Conv2d(4, 4, 3, groups=2), torch.ones(1, 4, 3, 3), "groups"),
        (hooked(), torch.ones(1, 3), "hooks"),
        (broken, torch.ones(1, 3), "NaN or infinite"),
    ):
        assert torch.equal(prepare(layer, "dense")(x), layer(x))
        with pytest.raises(BadInputError, match=text):
            prepare(layer, method)


@pytest.mark.parametrize("method", METHODS)
def test_inputs_that_do_not_fit(method):
    conv = prepare(nn.Conv2d(3, 4, 3), method)
    for x in (
        torch.ones(3, 6, 6),
        torch.ones(1, 2, 6, 6),
        torch.ones(1, 3, 6, 6).double(),
        torch.ones(1, 3, 6, 6, device="meta"),
    ):
        with pytest.raises(BadInputError, match=r"is expected"):
            conv(x)
    if method in EVERY_ZERO:
        with pytest.raises(BadInputError, match="kernel of 3"):
            conv(torch.ones(1, 3, 2, 6))


@pytest.mark.parametrize("method", PRODUCTS)
def test_matrices_that_do_not_fit(method):
    """embedding_bag would take one of fewer columns without a word."""
    linear, multiply = prepare(nn.Linear(5, 4), method), product(torch.ones(4, 5), method)
    for call, x in (
        (linear, torch.ones(2, 4)),
        (linear, torch.tensor(1.0)),
        (linear, torch.ones(2, 5, dtype=torch.int64)),
        (linear, torch.ones(2, 5, device="meta")),
        (multiply, torch.ones(5)),
        (multiply, torch.ones(1, 2, 5)),
        (multiply, torch.ones(5, 4)),
    ):
        with pytest.raises(BadInputError, match=r"is expected"):
            call(x)


def test_what_cannot_be_packed(monkeypatch):
    with pytest.raises(BadInputError, match="a float32 Conv2d can be packed"):
        prepare(nn.Linear(2, 2), "dense, packed")
    with pytest.raises(BadInputError, match=r"in torch\.float64"):
        prepare(nn.Conv2d(2, 2, 1).double(), "dense, packed")
    with pytest.raises(BadInputError, match="is for convolutions; choose one of: dense, gather"):
        product(torch.ones(2, 2), "dense, packed")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(BadInputError, match="no oneDNN"):
        prepare(nn.Conv2d(2, 2, 1), "dense, packed")


def test_groups_can_be_packed():
    layer, x = seeded(nn.Conv2d(4, 6, 3, groups=2, padding=1)), activations(2, 4, 5, 5)
    torch.testing.assert_close(prepare(layer, "dense, packed")(x), layer(x).detach())


def test_unknown_names_and_numbers():
    with pytest.raises(BadInputError, match=r"no method 'csr'; choose one of: dense, "):
        prepare(nn.Linear(2, 2), "csr")
    with pytest.raises(BadInputError, match=r"no method 'fast'"):
        product(torch.ones(2, 2), "fast")
    with pytest.raises(BadInputError, match=r"shape \(2,\)"):
        product(torch.ones(2), "dense")
    for given in ((1, 1, -0.1), (1, 1, 1.1), (1, 1, float("nan")), (0, 1, 0), (1, 0, 0)):
        with pytest.raises(BadInputError, match=r"expected|needed"):
            random_inputs(*given, seed=0)


# ---------------------------------------------------------------- made inputs


@pytest.mark.parametrize("rate", [0, 0.3, 0.5, 0.999, 1])
def test_random_inputs_have_exactly_that_many_zeros(rate):
    state = torch.get_rng_state()
    matrix = random_inputs(7, 1000, rate, seed=3)
    assert matrix.shape == (7, 1000) and matrix.dtype == torch.float32
    assert int((matrix == 0).sum()) == {0: 0, 0.3: 2100, 0.5: 3500, 0.999: 6993, 1: 7000}[rate]
    assert bool((matrix >= 0).all())
    assert torch.equal(matrix, random_inputs(7, 1000, rate, seed=3))
    if rate < 0.999:
        assert not torch.equal(matrix, random_inputs(7, 1000, rate, seed=4))
        assert abs(float(matrix[matrix > 0].mean()) - (2 / np.pi) ** 0.5) < 0.05  # half-normal
    assert torch.equal(torch.get_rng_state(), state)


def test_a_draw_of_zero_is_not_one_too_many(monkeypatch):
    monkeypatch.setattr(torch, "randn", lambda size, generator: torch.zeros(size))
    assert int((random_inputs(10, 10, 0.25, seed=0) == 0).sum()) == 25


def test_zeros_lie_everywhere():
    """Among 100 rows of 100, half of them zero, no row or column is far from 50 zeros."""
    zero = random_inputs(100, 100, 0.5, seed=0) == 0
    for side in (0, 1):
        assert 25 < int(zero.sum(side).min()) <= int(zero.sum(side).max()) < 75


# ---------------------------------------------------------------- what layers really get


class Twice(nn.Module):
    """One layer called twice, an input that is overwritten later, one layer that is never run."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.fc = nn.Linear(2, 2)
        self.unused = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x):
        x = self.norm(x)
        y = self.conv(x)
        x.zero_()
        y = self.drop(y.mean((2, 3)))
        y = self.fc(self.fc(y))
        return y


def test_inputs_in_the_order_of_the_calls():
    model = seeded(Twice())
    images = torch.randn(3, 2, 4, 4)
    found = layer_inputs(model, images)
    assert [(layer, op) for layer, op, _, _ in found] == [
        ("conv", "conv"),
        ("fc[0]", "linear"),
        ("fc[1]", "linear"),
    ]
    assert [module for _, _, module, _ in found] == [model.conv, model.fc, model.fc]
    model.eval()
    normed = model.norm(images).detach()
    assert torch.equal(found[0][3], normed)  # not the zeros that were written into it
    assert torch.equal(found[1][3], model.conv(normed).mean((2, 3)).detach())
    assert torch.equal(found[2][3], model.fc(found[1][3]).detach())
    layers = [layer for layer in skippable_macs(model, images)["layer"] if layer != "(net)"]
    assert layers == [layer for layer, *_ in found]


def test_layers_one_by_one_are_the_net():
    torch.manual_seed(0)
    model, images = nets.build("lenet_atsumi").eval(), torch.randn(2, 1, 28, 28)
    found = layer_inputs(model, images)
    assert [layer for layer, *_ in found] == ["conv1", "conv2", "fc120", "fc84", "fc10"]
    assert torch.equal(found[0][3], images)
    logits = model(images).detach()
    for method in PRODUCTS:
        _, _, last, x = found[-1]
        torch.testing.assert_close(prepare(last, method)(x), logits, rtol=1e-5, atol=1e-5)


def test_what_layer_inputs_refuses():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(input=x)

    model = Named()
    with pytest.raises(BadInputError, match="'fc' is given its input by name"):
        layer_inputs(model, torch.ones(1, 2))
    assert not model.fc._forward_hooks
    with pytest.raises(BadInputError, match="got function"):
        layer_inputs(lambda x: x, torch.ones(1, 2))
