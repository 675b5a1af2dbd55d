"""What holds for every net and every argument: the counter on drawn examples."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convcost import count
from convcost.core.errors import BadInputError
from convcost.counting.shapes import trace
from convcost.counting.shapes.generic import generic
from convcost.counting.shapes.run import run_forward
from convcost.counting.shapes.table import RULES
from convcost.counting.shapes.tracer import Tracer

quick = settings(deadline=None, derandomize=True, max_examples=30, database=None)


@st.composite
def chains(draw):
    """A chain of convolutions, poolings and ReLUs with a linear end, its input, its products."""
    channels, side = draw(st.integers(1, 6)), draw(st.integers(6, 14))
    shape, layers, products = (channels, side, side), [], 0
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["conv", "pool", "relu"]))
        kernel = draw(st.integers(1, 3))
        stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, kernel // 2))
        if kind == "relu":
            layers.append(nn.ReLU(inplace=draw(st.booleans())))
            continue
        if side + 2 * padding < kernel:
            break
        side = (side + 2 * padding - kernel) // stride + 1
        if kind == "pool":
            layers.append(nn.MaxPool2d(kernel, stride, padding))
            continue
        groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
        out = groups * draw(st.integers(1, 4))
        options = {"groups": groups, "bias": draw(st.booleans())}
        layers.append(nn.Conv2d(channels, out, kernel, stride, padding, **options))
        products += out * side * side * (channels // groups) * kernel * kernel
        channels = out
    features, classes = channels * side * side, draw(st.integers(1, 5))
    products += features * classes
    layers += [nn.Flatten(), nn.Linear(features, classes)]
    return nn.Sequential(*layers), shape, products


@quick
@given(chains(), st.integers(1, 5))
def test_a_chain_costs_the_sum_of_its_products(chain, batch):
    model, shape, products = chain
    one, several = count(model, shape), count(model, shape, batch=batch)
    assert one.macs == products
    assert (several.macs, several.acts) == (batch * one.macs, batch * one.acts)
    assert several.flops == 2 * several.macs
    assert several.backward_flops_with_input_gradient == 2 * several.flops
    assert one.params == several.params == sum(p.numel() for p in model.parameters())


def shapes():
    return st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def answer(ask, *inputs, dtype=torch.float32):
    """What `ask(tracer, *shapes)` gives inside a trace, and the calls it noted."""
    model, seen = nn.Module(), []

    def forward(*args):
        seen.append(ask(args[0].tracer, *args))
        return seen[0]

    model.forward = forward
    dtypes = [dtype] * len(inputs)
    tracer = run_forward(Tracer, model, [model], inputs, dtypes, None)
    return (seen[0].dims, seen[0].dtype), tracer.calls


@quick
@given(shapes(), st.data())
def test_fast_and_generic_rule_agree_on_two_tensors(shape, data):
    name = data.draw(st.sampled_from(["add", "mul", "div", "maximum", "lt", "pow", "atan2"]))
    other = tuple(data.draw(st.sampled_from([1, n])) for n in shape)
    other = other[data.draw(st.integers(0, len(other))) :]
    general = generic(getattr(torch, name))
    fast = answer(lambda t, a, b: RULES[name](t, name, a, b), shape, other)
    assert fast == answer(lambda t, a, b: general(t, name, a, b), shape, other)
    assert fast[0][0] == torch.broadcast_shapes(shape, other)


@quick
@given(shapes(), st.data())
def test_fast_and_generic_rule_agree_on_cat(shape, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    inputs = []
    for _ in range(data.draw(st.integers(1, 4))):
        part = list(shape)
        part[dim] = data.draw(st.integers(1, 4))
        inputs.append(tuple(part))
    general = generic(torch.cat)
    fast = answer(lambda t, *parts: RULES["cat"](t, "cat", parts, dim), *inputs)
    assert fast == answer(lambda t, *parts: general(t, "cat", parts, dim), *inputs)
    assert fast[0][0][dim] == sum(part[dim] for part in inputs)


@quick
@given(st.data())
def test_windows_have_torchs_shapes(data):
    """Convolution and pooling with drawn arguments: torch's shape, or both refuse."""
    draw, ints = data.draw, st.integers
    kernel, stride, dilation = draw(ints(1, 4)), draw(ints(1, 3)), draw(ints(1, 3))
    padding, size = draw(ints(0, kernel // 2)), (2, draw(ints(1, 9)), draw(ints(1, 9)))
    layer = draw(
        st.sampled_from(
            [
                nn.Conv2d(2, 3, kernel, stride, padding, dilation),
                nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=draw(st.booleans())),
            ]
        )
    )
    try:
        expected = tuple(layer(torch.zeros(1, *size)).shape)
    except RuntimeError:
        with pytest.raises(BadInputError):
            trace(layer, size)
        return
    assert trace(layer, size).calls[0].outputs == (expected,)


@quick
@given(shapes(), st.data())
def test_moved_data_have_torchs_shapes(shape, data):
    """Slices, then a permutation, then a view."""
    ends = [st.integers(-n, n) for n in shape]
    steps = st.integers(1, 3)  # torch has no slices that run backwards
    key = tuple(slice(*data.draw(st.tuples(end, end, steps))) for end in ends)
    order = data.draw(st.permutations(range(len(shape))))

    def move(x):
        return x[key].permute(*order).reshape(-1)

    x = torch.zeros(shape)
    (dims, dtype), calls = answer(lambda t, x: move(x), shape)
    assert (dims, dtype) == (tuple(move(x).shape), x.dtype)
    assert dims == (math.prod(calls[0].outputs[0]),)
    assert sum(call.macs for call in calls) == 0
