"""Nets made smaller or cheaper: channels, masks, blocks, low rank, few bits, sparse execution."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from convcost import count, nets
from convcost.compression import bits, filters, lowrank, pruned, sparse_weights
from convcost.core.errors import BadInputError

IMAGE = (1, 28, 28)


def residual(**options):
    torch.manual_seed(0)
    return nets.build("residual_cnn", **{"widths": (8, 16, 32), "blocks": 2} | options).eval()


def chain():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 26 * 26, 10),
    ).eval()  # fmt: skip


def images(number=4):
    return torch.randn(number, *IMAGE, generator=torch.Generator().manual_seed(1))


def outputs(model, given=None):
    with torch.no_grad():
        return model.eval()(images() if given is None else given)


@pytest.fixture(params=["residual", "chain"])
def model(request):
    """A net, which must be as it was afterwards."""
    net = {"residual": residual, "chain": chain}[request.param]()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    yield net
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not net.training
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]


# --- channels ----------------------------------------------------------------------------------


def test_half_of_the_channels_make_the_net_of_half_the_widths(model):
    small = pruned.narrowed(model, IMAGE, 0.5)
    if isinstance(model[0], nn.Conv2d):
        assert [small[0].out_channels, small[3].out_channels] == [3, 4]
        assert count(small, IMAGE).macs == (
            9 * 1 * 3 * 28 * 28 + 9 * 3 * 4 * 26 * 26 + 4 * 26 * 26 * 10
        )
    else:
        half = residual(widths=(4, 8, 16))
        small.load_state_dict(small.state_dict())
        half.load_state_dict(small.state_dict())  # every shape agrees
        assert count(small, IMAGE).macs == count(half, IMAGE).macs
        torch.testing.assert_close(outputs(small), outputs(half))


def test_on_a_chain_it_is_what_filters_taken_by_hand_give():
    net = chain()
    # the group's norm counts the normalisation and the next layer's inputs, too: ask which stayed
    small = pruned.narrowed(nn.Sequential(*net), IMAGE, 1 / 6)
    kept = [i for i in range(6) if any(torch.equal(net[0].weight[i], w) for w in small[0].weight)]
    gone = [i for i in range(6) if i not in kept]
    kept2 = [
        i for i in range(8) if any(torch.equal(net[3].weight[i][kept], w) for w in small[3].weight)
    ]
    by_hand = filters.without_filters(net, "0", gone)
    by_hand = filters.without_filters(by_hand, "3", [i for i in range(8) if i not in kept2])
    assert len(gone) == 6 - int(6 * 5 / 6) and len(kept2) == int(8 * 5 / 6)
    torch.testing.assert_close(outputs(small), outputs(by_hand))


def test_random_channels_come_from_their_seed_and_leave_the_generator():
    net = residual()
    state = torch.get_rng_state()
    same, again, other = (
        pruned.narrowed(net, IMAGE, 0.5, "random", seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(state, torch.get_rng_state())
    weights = [small.stem.conv.weight for small in (same, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


class Odd(nn.Module):
    """Layers of a kind that nobody knows."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10, 784))

    def forward(self, x):
        return x.flatten(1) @ self.weight.t()


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, x):
        if x.sum() > 1e9:
            raise ValueError("too bright")
        raise ValueError("never the same")


@pytest.mark.parametrize(
    ("net", "told", "word"),
    [
        (chain, {"share": 1.0}, "share"),
        (chain, {"share": 0.5, "criterion": "largest"}, "smallest L1 norm, random"),
        (chain, {"share": 0.5, "criterion": "random"}, "seed"),
        (Odd, {"share": 0.5}, "Odd"),
        (Branching, {"share": 0.5}, "never the same"),
    ],
)
def test_what_cannot_be_narrowed_is_named(net, told, word):
    with pytest.raises(BadInputError, match=word):
        pruned.narrowed(net(), IMAGE, **told)


# --- single weights ----------------------------------------------------------------------------


def test_the_smallest_weights_of_all_layers_together_are_zero(model):
    sparse = pruned.masked(model, 0.75)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    every = torch.cat([layer.weight.detach().abs().flatten() for layer in layers])
    zeros = round(0.75 * every.numel())
    assert pruned.zero_weights(sparse) == zeros
    limit = every.sort().values[zeros - 1]
    mine = [m for m in sparse.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer, left in zip(layers, mine, strict=True):
        kept = layer.weight.abs() > limit
        assert torch.equal(left.weight != 0, kept)
        assert torch.equal(left.weight[kept], layer.weight[kept])


def test_zeros_stay_while_the_net_is_trained_on_and_more_can_go():
    sparse = pruned.masked(residual(), 0.5)
    optimiser = torch.optim.SGD(sparse.parameters(), lr=0.1)
    sparse.train()(images()).square().mean().backward()
    optimiser.step()
    assert pruned.sparsity_of(sparse) == pytest.approx(0.5, abs=1e-4)
    further = pruned.masked(sparse, 0.9)  # of a net that has just computed gradients
    assert pruned.sparsity_of(further) == pytest.approx(0.9, abs=1e-4)
    plain = pruned.made_permanent(further)
    assert not any("mask" in name for name, _ in plain.named_buffers())
    torch.testing.assert_close(outputs(plain), outputs(further))


def test_bytes_are_those_of_each_form():
    net = nn.Linear(100, 10)
    net.weight.data = torch.ones(10, 100)
    net.weight.data[:, 50:] = 0
    stored = pruned.stored_bytes(net)
    assert stored["csr"] == 10 * 50 * (4 + 2) + 4 * 11 + 4 * 10
    assert stored["bitmap"] == 10 * 100 // 8 + 4 * 10 * 50 + 4 * 10
    assert 4 * (10 * 100 + 10) < stored["dense"] < 4 * (10 * 100 + 10) + 300
    assert stored["deflated"] < 500  # ones and zeros


@pytest.mark.parametrize("sparsity", [-0.1, 1.5])
def test_masks_refuse(sparsity):
    with pytest.raises(BadInputError, match="sparsity"):
        pruned.masked(chain(), sparsity)
    with pytest.raises(BadInputError, match="no Conv2d"):
        pruned.masked(nn.Sequential(nn.ReLU()), 0.5)


# --- blocks ------------------------------------------------------------------------------------


def test_without_a_block_its_shortcut_is_left():
    net = residual()
    names = [f"stage{stage}.block{block}" for stage in (1, 2, 3) for block in (1, 2)]
    assert pruned.blocks(net) == names
    short = pruned.without_blocks(net, ["stage1.block2", "stage2.block1"])
    stage1, stage2, stage3 = net.stage1, net.stage2, net.stage3
    with torch.no_grad():
        x = stage1.block1(net.stem(images()))
        x = torch.relu(stage2.block1.shortcut(x))
        x = stage3(stage2.block2(x))
        expected = net.fc(x.mean((2, 3)))
    torch.testing.assert_close(outputs(short), expected)
    fewer = 2 * 9 * 8 * 8 * 14 * 14 + (9 * 8 * 16 + 9 * 16 * 16) * 7 * 7
    assert count(net, IMAGE).macs - count(short, IMAGE).macs == fewer
    with pytest.raises(BadInputError, match="stage9"):
        pruned.without_blocks(net, ["stage9"])


# --- low rank ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", lowrank.METHODS)
def test_of_full_rank_it_computes_the_same(method):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 12, 3, stride=2, padding=(1, 2), dilation=1, padding_mode="circular")
    smaller = lowrank.factorised(nn.Sequential(layer), method, 100, ["0"])
    x = torch.randn(2, 8, 9, 10)
    torch.testing.assert_close(smaller(x), layer(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", lowrank.METHODS)
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75])
def test_it_keeps_no_more_than_its_share(method, share):
    net = residual(widths=(16, 32, 64))
    smaller = lowrank.factorised(net, method, share)
    factorised = 0
    for path, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d) and isinstance(
            left := smaller.get_submodule(path), nn.Sequential
        ):
            factorised += 1
            weights = sum(part.weight.numel() for part in left)
            assert weights <= share * layer.weight.numel()
            # one rank more would be too much
            outputs_, inputs = layer.weight.shape[:2]
            more = 9 * inputs + outputs_ if method == "svd" else 0.3 * share * layer.weight.numel()
            assert weights + more > share * layer.weight.numel()
    assert factorised == 2 * 6  # neither the stem nor the shortcuts


def test_svd_is_the_nearest_product_of_its_rank():
    layer = nn.Conv2d(8, 8, 3)
    (factors,) = lowrank.factorised(nn.Sequential(layer), "svd", 0.5, ["0"])
    rank = factors[0].out_channels
    assert rank == 288 // (72 + 8)
    left, values, right = np.linalg.svd(layer.weight.detach().numpy().reshape(8, 72))
    nearest = (left[:, :rank] * values[:rank]) @ right[:rank]
    product = lowrank._product(factors).detach().numpy().reshape(8, 72)
    np.testing.assert_allclose(product, nearest, atol=1e-5)


def test_errors_of_factors_are_those_of_their_definition():
    net = residual()
    smaller = lowrank.factorised(net, "svd", 0.3, ["stage1.block1.body.conv1"])
    (row,) = lowrank.reconstruction(net, smaller, images()).to_dict("records")
    conv, norm = net.stage1.block1.body.conv1, net.stage1.block1.body.norm_conv1
    factors = smaller.stage1.block1.body.conv1
    with torch.no_grad():
        given = net.stem(images())
        wanted, got = conv(given), factors(given)

        def relative(a, b):
            return float((b - a).norm() / a.norm())

        assert row["output_error_before"] == pytest.approx(relative(wanted, got), rel=1e-4)
        assert row["network_error"] == pytest.approx(relative(wanted, got), rel=1e-4)
        behind = relative(torch.relu(norm(wanted)), torch.relu(norm(got)))
        assert row["output_error_after_relu"] == pytest.approx(behind, rel=1e-4)
        weights = relative(conv.weight, lowrank._product(factors))
        assert row["weight_error"] == pytest.approx(weights, rel=1e-4)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        (("qr", 0.5), "svd, tucker"),
        (("svd", 0), "share"),
        (("svd", 0.5, ["fc"]), "'fc' is no plain"),
        (("svd", 0.5, ["nowhere"]), "stem.conv|stage1"),
    ],
)
def test_what_low_rank_refuses(told, word):
    with pytest.raises(BadInputError, match=word):
        lowrank.factorised(residual(), *told)


# --- bits --------------------------------------------------------------------------------------


def test_weights_lie_on_their_levels(model):
    rounded = bits.fake_quantised(model, 3, None, ends=None)
    for path, layer in bits.layers(rounded).items():
        weight = layer.weight.detach().flatten(1)
        before = model.get_submodule(path).weight.detach().flatten(1)
        scale = before.abs().amax(1, keepdim=True) / 3  # 2**(3 - 1) - 1 levels on either side
        levels = weight / scale
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)
        assert ((weight - before).abs() <= 0.5001 * scale).all()


def of_one_bit(layer):
    """Whether every output channel has one absolute value."""
    sizes = layer.weight.detach().abs().flatten(1)
    return bool((sizes.amax(1) - sizes.amin(1) < 1e-6).all())


def test_both_ends_keep_eight_bits():
    rounded = bits.fake_quantised(residual(), 1, None)
    found = [of_one_bit(layer) for layer in bits.layers(rounded).values()]
    assert found == [False, *[True] * (len(found) - 2), False]


def test_inputs_lie_on_levels_that_hold_zero_and_the_range():
    net = nn.Sequential(nn.Linear(4, 4, bias=False))
    net[0].weight.data = torch.eye(4)
    given = torch.tensor([[-1.0, 0.0, 0.5, 2.0]])
    rounded = bits.fake_quantised(net, 8, 2, given).eval()
    scale = 3.0 / 3  # from -1 to 2 in 2**2 levels
    assert rounded(given).tolist()[0] == pytest.approx([-scale, 0.0, 0.0, 2 * scale], abs=0.02)


@pytest.mark.parametrize("bf16", [False, True])
def test_it_can_be_trained_on_and_made_plain(bf16):
    net = residual()
    rounded = bits.fake_quantised(net, 1, 8, images(16)).train()
    optimiser = torch.optim.SGD(rounded.parameters(), lr=0.05)
    labels = torch.arange(16) % 10
    losses = []
    for _ in range(6):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(rounded(images(16)).float(), labels)
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in rounded.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    plain = bits.made_plain(rounded)
    assert {name for name, _ in plain.named_parameters()} == {n for n, _ in net.named_parameters()}
    assert not any("rounded_input" in name for name, _ in plain.named_buffers())
    for path, layer in bits.layers(rounded).items():  # which is as it was, too
        assert torch.equal(layer.weight, plain.get_submodule(path).weight)
    outputs(rounded)


def test_ranges_follow_in_training_and_stay_in_evaluation():
    rounded = bits.fake_quantised(residual(), 8, 8, images())
    entry = rounded.stem.conv.rounded_input
    before = entry.high.item()
    outputs(rounded, 100 * images())
    assert entry.high.item() == before
    rounded.train()(100 * images())
    assert entry.high.item() == pytest.approx(before + 0.01 * (100 * before - before), rel=1e-4)


def test_packed_bytes_are_a_sum():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(),
                        nn.Linear(4, 2))  # fmt: skip
    conv, linear = 4 * 9 * 2 // 8 + 4 * 4, 4 * 2 * 4 // 8 + 4 * 2
    rest = 4 * (4 * 4 + 1) + 4 * 2  # normalisation with its counter, bias
    assert bits.weight_bytes(net, {"0": 2, "3": 4}) == conv + linear + rest


def test_sensitivity_tries_each_layer_alone(model):
    seen = []

    def judge(net):
        seen.append([of_one_bit(layer) for layer in bits.layers(net).values()])
        return 1 - 0.1 * sum(seen[-1])

    table = bits.sensitivity(model, 1, judge)
    number = len(bits.layers(model))
    assert seen[0] == [False] * number
    assert all(tried == [i == n for i in range(number)] for n, tried in enumerate(seen[1:]))
    assert table["lost"].tolist() == pytest.approx([0.1] * number)


def test_bits_go_where_they_cost_least():
    weights = {"layer": ["a", "b", "c"], "weights": [100, 100, 10]}
    tables = {8: pd.DataFrame(weights | {"lost": [0.0, 0.0, 0.0]}),
              4: pd.DataFrame(weights | {"lost": [0.01, 0.2, 0.0]}),
              2: pd.DataFrame(weights | {"lost": [0.5, 0.6, 0.3]})}  # fmt: skip
    # a: 0.01 over 4*100 bits, b: 0.2 over 400, c: 0 over 40, then 0.3 over 20
    assert bits.widths_by_sensitivity(tables, (8, 4, 2), 6) == {"a": 4, "b": 8, "c": 4}
    with pytest.raises(BadInputError, match="least choice is 2"):
        bits.widths_by_sensitivity(tables, (8, 4, 2), 1)
    with pytest.raises(BadInputError, match=r"\[3\]"):
        bits.widths_by_sensitivity(tables, (8, 3), 6)


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"weight_bits": 0}, "1 to 16"),
        ({"weight_bits": 8, "activation_bits": 1}, "2 to 16"),
        ({"weight_bits": {"fc": 8}}, "stem.conv"),
        ({"weight_bits": 8, "images": None}, "images"),
        ({"weight_bits": 8, "images": torch.zeros(1, 3, 28, 28)}, r"\(1, 3, 28, 28\)"),
    ],
)
def test_what_bits_refuse(told, word):
    with pytest.raises(BadInputError, match=word):
        bits.fake_quantised(residual(), **{"images": images()} | told)


# --- sparse execution --------------------------------------------------------------------------


@pytest.mark.parametrize("method", sparse_weights.METHODS)
@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2},
     {"padding": (2, 0), "padding_mode": "reflect"}],
    ids=str,
)  # fmt: skip
def test_a_sparse_convolution_is_that_of_torch(method, options):
    torch.manual_seed(0)
    layer = pruned.made_permanent(pruned.masked(nn.Sequential(nn.Conv2d(3, 5, 3, **options)), 0.8))
    x = torch.randn(2, 3, 9, 11)
    torch.testing.assert_close(
        sparse_weights.prepare(layer[0], method)(x), layer(x).detach(), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("method", ["csr (torch)", "csr (scipy)", "dense product"])
def test_zero_weights_are_skipped(method):
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[0.0, 2.0]])
    given = torch.tensor([[torch.inf, 3.0]])  # times zero it would be NaN
    out = sparse_weights.prepare(layer, method)(given).item()
    assert np.isnan(out) if method == "dense product" else out == 6.0


def test_what_sparse_weights_refuse():
    masked = pruned.masked(nn.Sequential(nn.Conv2d(1, 2, 3)), 0.5)[0]
    for layer, method, word in (
        (nn.Conv2d(1, 2, 3), "bsr", "choose one of"),
        (nn.Conv2d(2, 2, 3, groups=2), "csr (scipy)", "plain"),
        (masked, "csr (scipy)", "mask"),
        (nn.Linear(2, 2).double(), "csr (scipy)", "float32"),
    ):
        with pytest.raises(BadInputError, match=word):
            sparse_weights.prepare(layer, method)
    with pytest.raises(BadInputError, match=r"\(N, 1, H, W\)"):
        sparse_weights.prepare(nn.Conv2d(1, 2, 3), "csr (scipy)")(torch.zeros(1, 2, 5, 5))
