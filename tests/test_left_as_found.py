"""Whoever watches a model gives it back as it was, also after an exception."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from convcost.core.errors import BadInputError
from convcost.measuring.sparse import layer_inputs
from convcost.measuring.zeros import skippable_macs, zero_rates


class Nosy(nn.Module):
    """Writes into a buffer and an attribute, draws random numbers, and can be made to fail."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = (
            nn.Conv2d(1, 2, 3),
            nn.BatchNorm2d(2),
            nn.ReLU(inplace=True),
        )
        self.drop = nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(2))
        self.note, self.fails = None, False

    def forward(self, x):
        self.seen += 1
        self.note = torch.rand(3), random.random(), np.random.rand()
        x = self.drop(self.act(self.norm(self.conv(x))))
        if self.fails:
            raise RuntimeError("as asked")
        return x


def state(model):
    return {
        "values": {k: v.clone() for k, v in model.state_dict().items()},
        "tensors": {k: id(v) for k, v in [*model.named_parameters(), *model.named_buffers()]},
        "versions": {k: v._version for k, v in model.named_buffers()},
        "grads": {k: v.grad.clone() for k, v in model.named_parameters()},
        "modes": [m.training for m in model.modules()],
        "hooks": [list(m._forward_hooks) for m in model.modules()],
        "note": model.note,
        "random": torch.get_rng_state(),
        "others": (random.getstate(), str(np.random.get_state())),
        "grad mode": torch.is_grad_enabled(),
    }


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def every_input(model, batches):
    for images, _ in batches:
        layer_inputs(model, images)


# tool -> what each fault makes of a call
TOOLS = {
    zero_rates: {"forward": RuntimeError, "NaN": BadInputError, "data": KeyError},
    skippable_macs: {"forward": RuntimeError, "NaN": BadInputError, "data": KeyError},
    every_input: {"forward": RuntimeError, "data": KeyError},
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("fault", ["none", "forward", "NaN", "data"])
def test_the_model_is_left_as_found(tool, fault):
    torch.manual_seed(1)
    model = Nosy()
    model.norm.eval()  # a mode per module
    model(torch.randn(2, 1, 5, 5)).sum().backward()
    calls = []
    model.act.register_forward_hook(lambda *a: calls.append(1))
    images, labels = torch.randn(4, 1, 5, 5), torch.arange(4)
    before, call = state(model), nn.Module.__call__

    def data():
        yield images, labels
        assert same(before, state(model)), "between batches too"
        if fault == "data":
            raise KeyError("no more")
        model.__dict__["fails"] = fault == "forward"
        yield images * float("nan") if fault == "NaN" else images, labels

    if expected := TOOLS[tool].get(fault):
        with pytest.raises(expected) as caught:
            tool(model, data())
        if fault == "forward" and tool is not every_input:
            assert "raised in module '' of Nosy" in caught.value.__notes__[0]
    else:
        tool(model, data())
    after = state(model)
    assert nn.Module.__call__ is call
    for what in before:
        assert same(before[what], after[what]), what
    assert all(m._forward_hooks == {} for m in model.modules() if m is not model.act)
    if fault == "none":
        assert len(calls) == 2  # the user's own hook ran, once per batch
