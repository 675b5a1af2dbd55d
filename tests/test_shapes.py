"""The tracer against torch's own counter on the meta device, and against real outputs."""

import copy
import gc
import random
import threading
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convcost import nets
from convcost.core.errors import BadInputError
from convcost.core.units import FLOPS_PER_MAC, printed
from convcost.counting.ops import MAC_OPS, ZERO_COST, OperatorCall
from convcost.counting.shapes import dispatch, run, trace
from convcost.counting.shapes import meta as meta_device
from convcost.counting.shapes import tracer as shape_tracer
from convcost.counting.shapes.kinds import KINDS


def macs(model, shape, **options):
    found = trace(model, shape, **options)
    assert found.uncounted == {}
    return sum(call.macs for call in found.calls)


def referee(model, *inputs):
    """FLOPs by torch's counter, which sees ATen operators, on the meta device."""
    model = model.to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs)
    return counter.get_total_flops()


def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


class Net(nn.Module):
    """A module from a forward function and parts."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = forward

    def forward(self, *inputs):
        return self.function(self, *inputs)


# ---------------------------------------------------------------- families others get wrong


def functional(net, x):
    x = F.conv2d(x, net.kernel, stride=2, padding=1)
    return F.linear(x.flatten(1), net.matrix)


def attention(net, x):
    q, k, v = net.qkv(x).chunk(3, -1)
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    return torch.matmul(weights, v)


shared = nn.Conv2d(4, 4, 3, padding=1)

FAMILIES = {
    "functional conv and linear": (
        Net(
            functional,
            kernel=nn.Parameter(torch.zeros(8, 3, 3, 3)),
            matrix=nn.Parameter(torch.zeros(5, 8 * 4 * 4)),
        ),
        (3, 8, 8),
        3 * 3 * 3 * 8 * 4 * 4 + 8 * 4 * 4 * 5,
    ),
    "matmul attention": (
        Net(attention, qkv=nn.Linear(6, 18)),
        (10, 6),
        10 * 6 * 18 + 10 * 10 * 6 + 10 * 10 * 6,
    ),
    "one module shared by two parents": (
        nn.Sequential(nn.Sequential(shared, nn.ReLU()), nn.Sequential(shared)),
        (4, 5, 5),
        2 * (4 * 3 * 3 * 4 * 5 * 5),
    ),
    "transposed convolution": (
        nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
        (6, 5, 7),
        6 * 5 * 7 * 3 * 3 * (4 // 2),
    ),
    "lstm": (
        nn.LSTM(10, 20, num_layers=2, batch_first=True, bidirectional=True),
        (5, 10),
        2 * 4 * 5 * (10 * 20 + 20 * 20) + 2 * 4 * 5 * (40 * 20 + 20 * 20),
    ),
    "gru": (nn.GRU(10, 20, batch_first=True), (5, 10), 3 * 5 * (10 * 20 + 20 * 20)),
    "lstm with a projection": (
        nn.LSTM(10, 20, batch_first=True, proj_size=7),
        (5, 10),
        4 * 5 * (10 * 20 + 7 * 20) + 5 * 20 * 7,
    ),
    "dilation, groups, stride, not square": (
        nn.Conv2d(8, 12, (3, 5), stride=(2, 1), padding=(1, 4), dilation=(1, 2), groups=4),
        (8, 9, 11),
        12 * (8 // 4) * 3 * 5 * 5 * 11,
    ),
    "depthwise": (nn.Conv2d(16, 32, 3, groups=16), (16, 7, 7), 32 * 3 * 3 * 5 * 5),
    "conv1d": (nn.Conv1d(4, 6, 3, padding="same"), (4, 9), 4 * 3 * 6 * 9),
    "conv3d": (nn.Conv3d(2, 3, (1, 2, 3)), (2, 4, 5, 6), 2 * 1 * 2 * 3 * 3 * 4 * 4 * 4),
    "adaptive pooling": (
        nn.Sequential(nn.AdaptiveAvgPool2d((3, None)), nn.Conv2d(2, 4, 3)),
        (2, 7, 5),
        2 * 3 * 3 * 4 * 1 * 3,
    ),
    "a bare conv as root": (nn.Conv2d(3, 8, 3), (3, 5, 5), 3 * 3 * 3 * 8 * 3 * 3),
    "einsum": (
        Net(
            lambda net, x: torch.einsum("bij,kj->bik", x, net.w), w=nn.Parameter(torch.zeros(5, 4))
        ),
        (3, 4),
        3 * 4 * 5,
    ),
    "baddbmm": (
        Net(lambda net, x: torch.baddbmm(x, x, x)),
        (4, 4),
        4 * 4 * 4,
    ),
    "matrix times vector": (
        Net(lambda net, x: x @ net.v, v=nn.Parameter(torch.zeros(4))),
        (3, 4),
        3 * 4,
    ),
    "multihead attention, separate keys": (
        Net(
            lambda net, x: net.mha(x, x, x)[0],
            mha=nn.MultiheadAttention(8, 2, kdim=8, vdim=8, batch_first=True),
        ),
        (6, 8),
        4 * 6 * 8 * 8 + 2 * 6 * 6 * 8,
    ),
    "transformer encoder layer": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        (6, 8),
        4 * 6 * 8 * 8 + 2 * 6 * 6 * 8 + 2 * 6 * 8 * 16,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch", [1, 4])
def test_families(family, batch):
    model, shape, expected = FAMILIES[family]
    found = trace(model, shape, batch=batch)
    assert found.fallback == ""
    assert found.uncounted == {}
    assert sum(c.macs for c in found.calls) == batch * expected
    assert sum(c.params for c in found.calls) == found.params
    assert found.params == sum(p.numel() for p in model.parameters())


# torch's counter has no formula for a matrix times a vector and sums einsums its own way
@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "matrix times vector"])
def test_families_before_the_referee(family):
    model, shape, expected = FAMILIES[family]
    assert referee(copy.deepcopy(model), meta(3, *shape)) == FLOPS_PER_MAC * 3 * expected


def test_shared_module_has_both_paths_and_counts_parameters_once():
    model, shape, _ = FAMILIES["one module shared by two parents"]
    convs = [c for c in trace(model, shape).calls if c.op == "conv"]
    assert [(c.path, c.params) for c in convs] == [("0.0", 4 * 4 * 3 * 3 + 4), ("1.0", 0)]


def test_module_called_twice_and_two_names_in_one_parent():
    conv = nn.Conv2d(2, 2, 1)
    twice = Net(lambda net, x: net.one(net.one(x)), one=conv)
    assert [c.path for c in trace(twice, (2, 3, 3)).calls] == ["one", "one"]
    names = nn.Sequential(conv, nn.ReLU(), conv)
    assert [c.path for c in trace(names, (2, 3, 3)).calls] == ["0", "1", "2"]


def test_tied_weights_count_once():
    embedding, head = nn.Embedding(11, 4), nn.Linear(4, 11, bias=False)
    head.weight = embedding.weight
    found = trace(nn.Sequential(embedding, head), (5,), dtype="int64")
    assert found.params == 11 * 4
    assert [(c.function, c.params, c.macs) for c in found.calls] == [
        ("embedding", 11 * 4, 0),
        ("linear", 0, 5 * 4 * 11),
    ]


def test_paths_and_types_of_functional_calls():
    model = nn.Sequential(FAMILIES["functional conv and linear"][0])
    calls = [c for c in trace(model, (3, 8, 8)).calls if c.macs]
    assert [(c.path, c.module_type, c.function) for c in calls] == [
        ("0", "Net", "conv2d"),
        ("0", "Net", "linear"),
    ]


def test_several_inputs_and_integer_inputs():
    model = Net(
        lambda net, tokens, image: net.e(tokens).mean(1) + net.c(image).flatten(1),
        e=nn.Embedding(9, 4),
        c=nn.Conv2d(3, 4, 5),
    )
    found = trace(model, ((7,), (3, 5, 5)), batch=2, dtype=("int64", torch.float32))
    assert found.input_shapes == ((2, 7), (2, 3, 5, 5))
    assert sum(c.macs for c in found.calls) == 2 * 3 * 5 * 5 * 4


def test_batch_none_takes_shapes_as_they_are():
    assert macs(nn.LSTM(10, 20), (5, 3, 10), batch=None) == 3 * 4 * 5 * (10 * 20 + 20 * 20)


def test_weights_computed_from_weights_belong_to_their_convolution():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            w = self.weight
            w = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
            return self._conv_forward(x, w, self.bias)

    model = Standardised(3, 4, 3)
    call = trace(model, (3, 5, 5)).calls[-1]
    assert (call.op, call.params) == ("conv", 3 * 4 * 3 * 3 + 4)
    assert call.gradient_macs == call.macs == 3 * 3 * 3 * 4 * 3 * 3


def test_attention_of_one_query_to_all_of_a_batch():
    """The batches of query, key and value broadcast like those of a matrix product."""
    model = Net(
        lambda net, x: F.scaled_dot_product_attention(net.q, x, x),
        q=nn.Parameter(torch.zeros(1, 2, 5, 4)),
    )
    found = macs(model, (2, 7, 4), batch=3)
    assert found == 3 * 2 * 5 * 7 * (4 + 4)
    assert referee(model, meta(3, 2, 7, 4)) == FLOPS_PER_MAC * found


def test_products_of_weights_alone_are_counted():
    """Spectral norm in evaluation mode: sigma = u . (W v), a matrix product and a dot product."""
    model = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))
    found = trace(model, (3, 6, 6))
    assert (found.fallback, found.uncounted) == ("", {})
    assert [c.macs for c in found.calls if c.macs] == [4 * 3 * 3 * 3, 4, 4 * 3 * 3 * 3 * 4 * 4]
    assert sum(c.params for c in found.calls) == found.params == 4 * 3 * 3 * 3 + 4


@pytest.mark.parametrize("device", ["shapes", "meta"])
def test_padding_mask_of_an_encoder_shortens_nothing(device, monkeypatch):
    """In evaluation mode the encoder would leave padding out, by the values of the mask."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = Net(
        lambda net, x: net.encoder(x, src_key_padding_mask=x.new_zeros(2, 6, dtype=torch.bool)),
        encoder=nn.TransformerEncoder(layer, 3),
    )
    if device == "meta":
        monkeypatch.setitem(dispatch.ENTRIES, F.linear, dispatch.missing_rule("linear", F.linear))
    found = trace(model, (6, 8), batch=2)
    assert bool(found.fallback) is (device == "meta")
    assert found.uncounted == {}
    assert sum(c.macs for c in found.calls) == (
        3 * 2 * (4 * 6 * 8 * 8 + 2 * 6 * 6 * 8 + 2 * 6 * 8 * 16)
    )


# ---------------------------------------------------------------- all of torchvision


@pytest.mark.parametrize("name", nets.names("classification"))
def test_torchvision_ops_entries(name):
    """Each weights entry states its multiply-adds in units of 10^9, three decimals."""
    for weights in torchvision.models.get_model_weights(name):
        side = nets.crop(weights)
        size = {"image_size": side} if name.startswith("vit") else {}
        model = nets.build(name, device="meta", aux=name == "inception_v3", **size)
        found = trace(model, (3, side, side))
        assert found.fallback == ""
        assert found.uncounted == {}
        total = sum(c.macs for c in found.calls)
        assert printed(total, "G", 3) == f"{weights.meta['_ops']:.3f}"
        assert found.params == weights.meta["num_params"]
        counted = sum(c.params for c in found.calls)
        assert counted + sum(found.unused_params.values()) == found.params


@pytest.mark.parametrize(
    "name", ["alexnet", "googlenet", "resnet18", "densenet121", "vit_b_16", "swin_v2_t", "maxvit_t"]
)
def test_nets_before_the_referee(name):
    model, (_, side, _) = nets.build(name, device="meta"), nets.get(name).input_shape
    assert referee(model, meta(2, 3, side, side)) == FLOPS_PER_MAC * macs(
        model, (3, side, side), batch=2
    )


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "mobilenet_v3_small", "swin_t"])
def test_shortcuts_and_meta_device_note_the_same_calls(name, monkeypatch):
    model, shape = nets.build(name, device="meta"), nets.get(name).input_shape
    quick = trace(model, shape).calls
    monkeypatch.setattr(shape_tracer, "QUICK", {})
    assert trace(model, shape).calls == quick
    tracer = run.run_forward(
        meta_device.MetaTracer, model, [*model.modules()], ((1, *shape),), [torch.float32], False
    )
    assert tracer.uncounted == {}
    assert tracer.calls == quick


def test_auxiliary_heads_run_in_training_mode_only():
    model = nets.build("googlenet", aux=True, device="meta")
    evaluation, training = trace(model, (3, 224, 224)), trace(model, (3, 224, 224), training=True)
    heads = [c for c in training.calls if c.path.startswith("aux") and c.macs]
    assert sum(c.macs for c in evaluation.calls) == 1498376192
    assert sum(c.macs for c in training.calls) == 1498376192 + sum(c.macs for c in heads)
    assert len(heads) == 2 * 3  # a convolution and two linear layers each
    assert sum(evaluation.unused_params.values()) == 13004888 - 6624904
    assert training.unused_params == {}


# ---------------------------------------------------------------- gradients


def backward_referee(model, *shape):
    """Backward FLOPs (without, with a gradient for the input) by torch's counter."""
    out = []
    model = model.to("meta").train()
    for needs in (False, True):
        x = meta(*shape).requires_grad_(needs)
        if not needs and not [*model.parameters()]:
            out.append(0)
            continue
        with FlopCounterMode(display=False) as counter:
            y = model(x)
            y = y[0] if isinstance(y, tuple) else y
            forward = counter.get_total_flops()
            y.sum().backward()
        out.append(counter.get_total_flops() - forward)
    return out


@pytest.mark.parametrize(
    "family",
    [f for f in FAMILIES if f not in ("matrix times vector", "transformer encoder layer")],
)
def test_backward_before_the_referee(family):
    model, shape, _ = FAMILIES[family]
    calls = trace(model, shape, batch=3, training=True).calls
    without = FLOPS_PER_MAC * sum(c.gradient_macs for c in calls)
    extra = FLOPS_PER_MAC * sum(c.input_gradient_macs for c in calls)
    # torch's counter takes groups for 1 in the gradient to the weight: as many times too much
    groups = getattr(model, "groups", 1)
    theirs = backward_referee(copy.deepcopy(model), 3, *shape)
    assert theirs == [groups * without, groups * without + extra]


def test_gradient_of_a_grouped_convolution_is_that_of_its_groups_apart():
    """The referee fails here, so: two groups are two convolutions side by side."""
    calls = trace(nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5)).calls
    apart = trace(nn.Conv2d(2, 3, 3), (2, 5, 5)).calls
    assert calls[0].gradient_macs == 2 * apart[0].gradient_macs == 2 * (2 * 3 * 3 * 3 * 3 * 3)
    assert calls[0].input_gradient_macs == 2 * apart[0].input_gradient_macs


def test_first_layer_needs_no_input_gradient():
    calls = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1)), (3, 2, 2)).calls
    first, second = 3 * 4 * 2 * 2, 4 * 5 * 2 * 2
    assert [c.input_needs_grad for c in calls] == [False, True]
    assert [c.gradient_macs for c in calls] == [first, 2 * second]
    assert [c.input_gradient_macs for c in calls] == [first, 0]


def test_detach_stops_the_gradient():
    model = Net(lambda net, x: net.b(net.a(x).detach()), a=nn.Linear(2, 3), b=nn.Linear(3, 4))
    assert [c.gradient_macs for c in trace(model, (2,)).calls if c.macs] == [2 * 3, 3 * 4]


# ---------------------------------------------------------------- shapes against real tensors

EXPRESSIONS = {
    "view": lambda x: x.view(2, -1).reshape(4, 3, -1),
    "indexing": lambda x: x[:, 1:, None, ..., -1],
    "lists": lambda x: x[:, [0, 2, 1], 1],
    "lists apart": lambda x: x[[0, 1], :, [1, 2]],
    "ints beside lists": lambda x: x[0, :, [1, 2]],
    "index tensor": lambda x: x[torch.tensor([[0, 1], [1, 0]])],
    "permute": lambda x: x.permute(3, 0, 2, 1).transpose(-1, 0).movedim(0, 2),
    "squeeze": lambda x: x.unsqueeze(0).squeeze().unsqueeze(-1).squeeze(-1),
    "expand": lambda x: x[:, :1].expand(-1, 5, -1, -1) + x.sum(1, keepdim=True),
    "chunks": lambda x: torch.cat(x.chunk(2, 3)[::-1] + x.split([1, 3], 3), -1),
    "tensor_split": lambda x: torch.stack([t.sum() for t in x.tensor_split(2, 3)]),
    "unbind": lambda x: torch.stack(x.unbind(1)[::-1], dim=-1),
    "stats": lambda x: x.std(dim=(2, 3)) + x.amax((2, 3)) + x.mean([2, 3]) + x.norm(dim=(2, 3)),
    "max": lambda x: x.max(1).values + x.max(dim=1)[0],
    "broadcast": lambda x: (x * torch.ones(4, 1) - 1) / 2 // 3 % 5,
    "reflected": lambda x: 1 - x + 2 / (1 + x) - 2**x,
    "in place": lambda x: x.clone().add_(1).mul_(2).relu_(),
    "pad": lambda x: F.pad(x, (1, 2, 0, 3)),
    "interpolate": lambda x: F.interpolate(x, scale_factor=1.5, mode="bilinear"),
    "upsample to": lambda x: F.interpolate(x, size=(7, 9)),
    "unfold": lambda x: F.unfold(x, 3, padding=1),
    "tensor unfold": lambda x: x.unfold(3, 2, 2),
    "shuffle": lambda x: F.pixel_unshuffle(F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2), 2),
    "ceil pool": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "pool with indices": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "adaptive": lambda x: F.adaptive_max_pool2d(x, (3, None)),
    "norms": lambda x: F.layer_norm(F.group_norm(F.instance_norm(x), 3), x.shape[1:]),
    "normalize": lambda x: F.normalize(x, dim=1) + F.local_response_norm(x, 2),
    "glu": lambda x: F.glu(x, 2) + F.softmax(x, 1).narrow(2, 0, 2),
    "where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)).masked_fill(x < 0, 0.0),
    "topk": lambda x: x.topk(2, 1).values + x.sort(1)[0][:, :2],
    "casts": lambda x: x.half().float().to(torch.float64).type_as(x),
    "new": lambda x: x.new_zeros(2, 1, 1, 1) + torch.arange(4) + torch.full((1,), 2.0),
    "set": lambda x: x.clone().index_select(1, torch.tensor([0, 2])).flatten(1).T,
    "gather": lambda x: x.gather(1, torch.zeros(2, 1, 4, 4, dtype=torch.long)),
    "flip and roll": lambda x: torch.roll(x.flip(1), (1, 1), (2, 3)).contiguous(),
    "comparison": lambda x: (x > 0) & (x < 1) | ~(x == 2),
    "einsum": lambda x: torch.einsum("b...ij,b...kj->b...ik", x, x),
    "tensordot": lambda x: torch.tensordot(x, x, dims=([0, 2], [0, 2])),
    "unflatten": lambda x: x.flatten(2).unflatten(2, (2, -1)).repeat_interleave(2, 1),
    "indices of an adaptive pool": lambda x: F.adaptive_max_pool2d(x, 2, return_indices=True)[1],
    "torch's adaptive pool": lambda x: torch.adaptive_max_pool1d(x[0], 2)[0],
    "index without dimensions": lambda x: x[torch.tensor(0), :, torch.tensor([1, 2])],
    "numbers": lambda x: (x > 0) * 3 + x.long() * 1.5,
    "whole division": lambda x: x.long().div(2, rounding_mode="floor"),
    "bits": lambda x: (x.int() & 3) ^ x.int(),
    "bools": lambda x: ((x > 0) & (x < 1)) ^ (x == 2),
    "where of numbers": lambda x: torch.where(x > 0, 1.0, 0.0),
    "where of a whole number": lambda x: torch.where(x > 0, x, 0),
    "nonzero counted": lambda x: x.count_nonzero(1),
    "cat of two dtypes": lambda x: torch.cat([x, x.double()], 1),
    "permute by name": lambda x: x.permute(dims=(0, 2, 3, 1)),
    "one hot": lambda x: F.one_hot(x.long(), 3),
    "slopes per channel": lambda x: F.prelu(x, torch.ones(3)),
    "tensor_split by name": lambda x: torch.cat(x.tensor_split(indices=(1,), dim=3)[::-1], 3),
    "mask in a list": lambda x: x[:, [True, False, True]],
    "mask in an array": lambda x: x[..., np.array([False, True, True, True]), :],
    "mask of two dimensions": lambda x: x[0, 0][np.eye(4, dtype=bool)],
    "complex": lambda x: (torch.complex(x, x) / 2).abs() + x.to(torch.complex64).mH.imag,
    "rotation": lambda x: torch.view_as_real(
        torch.view_as_complex(x.unflatten(-1, (2, 2)))
        * torch.polar(torch.ones(4, 2), torch.outer(torch.arange(4.0), torch.arange(2.0)))
    ).flatten(-2),
    "parts": lambda x: torch.view_as_real(x.to(torch.complex64)).sum(-1) + x.real + x[0, 0].H,
    "half by a scalar": lambda x: x.half() * torch.tensor(2.0) + torch.arange(4),
    "ints by a scalar": lambda x: torch.arange(4) * torch.tensor(2.0),
    "vecdot": lambda x: torch.linalg.vecdot(x, x[:1], dim=1),
    "sdpa of one query": lambda x: F.scaled_dot_product_attention(x[:1], x, x[..., :3]),
    "sdpa of groups": lambda x: F.scaled_dot_product_attention(
        x.repeat(1, 2, 1, 1), x, x, enable_gqa=True
    ),
    "sdpa": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_shapes_equal_those_of_real_tensors(name):
    seen = []

    def forward(net, x):
        seen.append(EXPRESSIONS[name](x))
        return seen[-1]

    model = Net(forward)
    found = trace(model, (3, 4, 4), batch=2)
    assert found.fallback == "", found.fallback
    model(torch.rand(2, 3, 4, 4))
    shape, real = seen
    assert tuple(shape.shape) == tuple(real.shape)
    assert shape.dtype == real.dtype
    for call in found.calls:
        assert call.op in MAC_OPS or call.op in ZERO_COST


# ---------------------------------------------------------------- a good guest


class Rude(nn.Module):
    """Does in its forward what a guest must survive."""

    def __init__(self, fail=False):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()
        self.register_buffer("seen", torch.zeros(()))
        self.fail, self.kept = fail, []
        self.conv.register_forward_hook(lambda m, i, o: o * 2)
        self.norm.eval()  # a frozen norm in a net that trains

    def forward(self, x):
        self.cache = x
        self.kept.append(x)
        self.seen += 1
        self.extra = nn.Linear(2, 2)
        random.random(), np.random.rand(), torch.rand(3)
        x = self.drop(self.norm(self.conv(x)))
        self.register_forward_pre_hook(lambda m, i: None)
        if self.fail:
            raise RuntimeError("mid-forward")
        return x


def state(model):
    return {
        "state dict": {k: (id(v), v.tolist()) for k, v in model.state_dict(keep_vars=True).items()},
        "attributes": [
            {
                k: list(v.items()) if isinstance(v, dict) else list(v) if isinstance(v, list) else v
                for k, v in m.__dict__.items()
            }
            for m in model.modules()
        ],
        "modes": [(n, m.training) for n, m in model.named_modules()],
        "grads": [p.grad.tolist() for p in model.parameters()],
        "requires grad": [p.requires_grad for p in model.parameters()],
        "random": (random.getstate(), torch.get_rng_state().tolist(), str(np.random.get_state())),
        "global hooks": [list(h.items()) for h in run.global_hooks()],
        "call": (nn.Module.__call__, nn.Module._call_impl),
        "grad mode": torch.is_grad_enabled(),
        "modes of torch": torch.overrides._get_current_function_mode_stack(),
        "collector": gc.isenabled(),
    }


@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("training", [False, True, None])
@pytest.mark.parametrize("device", ["shapes", "meta"])
def test_model_is_left_as_found(fail, training, device, monkeypatch):
    if device == "meta":
        monkeypatch.setitem(
            dispatch.ENTRIES, torch.conv2d, dispatch.missing_rule("conv2d", torch.conv2d)
        )
        monkeypatch.setattr(shape_tracer, "QUICK", {})
    model = Rude(fail).train()
    model.norm.eval()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    before = state(model)
    if fail:
        with pytest.raises(BadInputError, match="mid-forward") as caught:
            trace(model, (3, 6, 6), training=training)
        assert isinstance(caught.value.__cause__, RuntimeError)
    else:
        found = trace(model, (3, 6, 6), training=training)
        assert sum(c.macs for c in found.calls) == 3 * 3 * 3 * 4 * 4 * 4
        assert bool(found.fallback) is (device == "meta")
    after = state(model)
    for key, value in before.items():
        assert after[key] == value, key


def test_no_tensor_of_the_model_is_written():
    model = nn.BatchNorm2d(3)
    versions = [b._version for b in model.buffers()]
    trace(model, (3, 4, 4), training=True)
    assert [b._version for b in model.buffers()] == versions
    assert int(model.num_batches_tracked) == 0


def test_other_threads_are_left_alone():
    inside, seen = threading.Event(), []
    done = threading.Event()

    def wait(net, x):
        inside.set()
        done.wait(20)
        return net.a(x)

    model = Net(wait, a=nn.Linear(2, 2))
    thread = threading.Thread(target=lambda: seen.append(trace(model, (2,))))
    thread.start()
    assert inside.wait(20)
    assert nn.Linear(2, 3)(torch.ones(1, 2)).shape == (1, 3)
    assert len(trace(nn.Linear(2, 3), (2,)).calls) == 1
    done.set()
    thread.join(20)
    assert [c.path for c in seen[0].calls] == ["a"]


def test_nothing_is_allocated():
    """A 3 x 20000 x 20000 image would take 4.8 GB; its first feature map 25 GB."""
    model = nets.build("resnet18", device="meta")
    assert macs(model, (3, 224 * 64, 224 * 64)) == 4096 * (1814073344 - 512000) + 512000


# ---------------------------------------------------------------- fallback and refusals


def test_unknown_operator_goes_to_the_meta_device_and_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Net(lambda net, x: torch.fft.fft(x).real))
    found = trace(model, (3, 5, 5))
    assert "fft_fft" in found.fallback
    assert found.uncounted["_fft_r2c"] == 1
    assert sum(c.macs for c in found.calls) == 3 * 3 * 3 * 4 * 3 * 3
    assert [c.path for c in found.calls if c.macs] == ["0"]


def test_lookups_that_aten_shows():
    found = trace(nn.Sequential(nn.EmbeddingBag(9, 4), nn.Linear(4, 3)), (6,), dtype="int64")
    assert found.fallback
    assert (found.uncounted, found.unused_params) == ({}, {})
    assert [(c.op, c.params, c.macs) for c in found.calls if c.params] == [
        ("embedding", 9 * 4, 0),
        ("linear", 4 * 3 + 3, 4 * 3),
    ]


def test_fallback_counts_what_aten_shows():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            return torch.linalg.multi_dot([x, w, w])

    model = Net(lambda net, x: Double.apply(x, net.w), w=nn.Parameter(torch.zeros(4, 4)))
    found = trace(model, (4,), batch=3)
    assert found.fallback
    assert found.uncounted == {}
    assert sum(c.macs for c in found.calls) in (2 * 3 * 4 * 4, 4 * 4 * 4 + 3 * 4 * 4)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("kind", ["script function", "script module", "vmap"])
def test_compiled_code_is_not_a_silent_zero(kind):
    """Code that no torch function sees would compute on the empty tensor behind a shape."""
    if kind == "script module":
        model = torch.jit.script(nn.Linear(4, 4))
    elif kind == "vmap":
        model = Net(
            lambda net, x: torch.vmap(lambda row: net.w @ row)(x),
            w=nn.Parameter(torch.zeros(4, 4)),
        )
    else:
        scripted = torch.jit.script(_times_itself)
        model = Net(lambda net, x: scripted(x))
    found = trace(nn.Sequential(model), (4,), batch=4)
    assert found.fallback
    assert "\n" not in found.fallback
    assert found.uncounted == {}
    assert sum(c.macs for c in found.calls) == 4 * 4 * 4


def _times_itself(x: torch.Tensor) -> torch.Tensor:
    return torch.matmul(x, x.t())


def test_autograd_functions_are_followed():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x @ x.t()

    apply = Square.apply
    found = trace(Net(lambda net, x: apply(x)), (5,), batch=3)
    assert (found.fallback, sum(c.macs for c in found.calls)) == ("", 3 * 3 * 5)


def test_error_names_the_module_and_what_it_received():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.Flatten(), nn.Linear(10, 2)))
    with pytest.raises(BadInputError) as caught:
        trace(model, (3, 5, 5))
    text = str(caught.value)
    assert "'1.1' (Linear)" in text
    assert "(1, 36)" in text
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_caught_errors_do_not_confuse_the_path():
    def forward(net, x):
        try:
            net.bad(x)
        except Exception:
            return net.good(x)

    model = Net(forward, bad=nn.Linear(9, 9), good=nn.Linear(2, 3))
    assert [c.path for c in trace(model, (2,)).calls] == ["good"]


@pytest.mark.parametrize(
    "shape",
    [(3, 0, 5), (3, -1, 5), (3, 5.0, 5), "3,5,5", 7, None, ((3, 5), 4), (True, 2)],
)
def test_bad_shapes_are_refused(shape):
    with pytest.raises(BadInputError, match="input_shape"):
        trace(nn.Conv2d(3, 4, 3), shape)


def test_other_refusals():
    with pytest.raises(BadInputError, match="batch"):
        trace(nn.Linear(2, 2), (2,), batch=0)
    with pytest.raises(BadInputError, match="dtype"):
        trace(nn.Linear(2, 2), (2,), dtype="float99")
    with pytest.raises(BadInputError, match="lazy"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace(nn.LazyLinear(3), (2,))
    with pytest.raises(BadInputError, match="Module"):
        trace(lambda x: x, (2,))
    with pytest.raises(BadInputError, match="value"):
        trace(Net(lambda net, x: x if x.sum() > 0 else -x), (2,))
    with pytest.raises(BadInputError, match="int64"):
        trace(nn.Embedding(3, 4), (2,))
    with pytest.raises(BadInputError, match="there is no rule for masked_select"):
        trace(Net(lambda net, x: x.masked_select(x > 0)), (2,))


def test_float_indices_are_refused_on_the_meta_device_too():
    model = nn.Sequential(Net(lambda net, x: torch.fft.fft(x).real), nn.Embedding(3, 4))
    with pytest.raises(BadInputError, match=r"module '1' .Embedding.*int64"):
        trace(model, (2,))


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.a(torch.where(x > 0)[0].float()),  # as many rows as the data has
        lambda net, x: net.a(x[x > 0]),
        lambda net, x: net.a(x.nonzero()[:, 0].float()),
        lambda net, x: F.one_hot(x.long()),
    ],
)
def test_results_as_long_as_the_data_says_are_refused(forward):
    with pytest.raises(BadInputError, match="only real data could give"):
        trace(Net(forward, a=nn.Linear(2, 2)), (2,), batch=2)


def test_detection_nets_are_refused():
    """They sort boxes out by score: how many are left, and what the heads cost, is in the data."""
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None
    )
    with pytest.raises(BadInputError, match="indexing with a mask, which only real data"):
        trace(model, (3, 64, 64))


def test_calls_equal_those_of_the_constructor():
    call = trace(nn.Linear(3, 2), (3,)).calls[0]
    assert call == OperatorCall(
        path="",
        module_type="Linear",
        op="linear",
        function="linear",
        inputs=((1, 3),),
        weights=((2, 3), (2,)),
        outputs=((1, 2),),
        attrs={"bias": True},
        macs=3 * 2,
        params=3 * 2 + 2,
        acts=2,
        input_needs_grad=False,
        gradient_macs=3 * 2,
        input_gradient_macs=3 * 2,
        bytes=4 * (3 + 3 * 2 + 2 + 2),
    )


def test_every_zero_has_a_reason():
    for op in {*KINDS.values()}:
        assert len(ZERO_COST[op]) > 10
    assert not ZERO_COST.keys() & MAC_OPS
