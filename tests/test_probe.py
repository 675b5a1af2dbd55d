"""The probe: paths, watching, and leaving everything as it was."""

import pytest
import torch
from torch import nn

from convcost.core.errors import BadInputError
from convcost.counting.probe import (
    ModuleStack,
    as_found,
    evaluating,
    every_module,
    module_paths,
    watch,
)


def shared_net():
    one = nn.Linear(2, 2)
    return nn.Sequential(nn.Sequential(one, nn.ReLU()), nn.Sequential(one)), one


def test_paths_of_a_shared_module():
    net, one = shared_net()
    paths = module_paths(net)
    assert paths[id(net)] == [""]
    assert paths[id(one)] == ["0.0", "1.0"]
    assert len(every_module(net)) == 5


def test_empty_containers_have_a_path():
    net = nn.Sequential(nn.Sequential(), nn.Identity())
    assert [p for ps in module_paths(net).values() for p in ps] == ["", "0", "1"]


def test_watch_sees_chosen_modules_by_path():
    net, _ = shared_net()
    seen = []
    x = torch.ones(1, 2)
    with watch(net, lambda path, module, inputs, output: seen.append((path, output)), nn.Linear):
        y = net(x)
    assert [path for path, _ in seen] == ["0.0", "1.0"]
    assert torch.equal(seen[1][1], y)
    for select, expected in (
        (None, ["0.0", "0.1", "1.0"]),
        ("0.1", ["0.1"]),
        (["0.1", nn.Linear], ["0.0", "0.1", "1.0"]),
        (lambda path, module: path == "1", ["1"]),
    ):
        names = []
        with watch(net, lambda path, *rest: names.append(path), select):  # noqa: B023
            net(x)
        assert names == expected


def test_watch_refuses_unknown_names():
    net, _ = shared_net()
    with pytest.raises(BadInputError, match=r"no module 'x'.*0\.1"):
        watch(net, print, "x")


@pytest.mark.parametrize("fail", [False, True])
def test_watch_leaves_no_hook(fail):
    net, one = shared_net()
    before, call = dict(one.__dict__), nn.Module.__call__
    try:
        with watch(net, lambda *a: 1 / 0 if fail else None):
            net(torch.ones(1, 2))
    except ZeroDivisionError:
        assert fail
    assert one.__dict__ == before
    assert not one._forward_hooks
    assert nn.Module.__call__ is call


def test_stack_follows_and_names_the_failure():
    net, _ = shared_net()
    net.append(nn.Linear(9, 9))
    with ModuleStack(net) as stack, pytest.raises(RuntimeError):
        net(torch.ones(1, 2))
    assert stack.failed[0] == "2"
    assert (stack.path, stack.module) == ("", net)


def test_stacks_can_be_nested():
    inner, outer = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))
    call = nn.Module.__call__
    with ModuleStack(outer):
        with ModuleStack(inner):
            inner(torch.ones(1, 2))
        outer(torch.ones(1, 2))
    assert nn.Module.__call__ is call


def test_as_found_puts_back_attributes_containers_and_random_state():
    net, one = shared_net()
    net.note, net.bag = [1], {"a": 1}
    weight, state = one.weight, torch.get_rng_state()
    with pytest.raises(KeyError), as_found(net):
        net.note.append(2)
        net.bag.clear()
        net.new = 3
        one.eval()
        one.weight = nn.Parameter(torch.zeros(1))
        del net[0]
        one.register_forward_hook(print)
        torch.rand(3)
        raise KeyError
    assert (net.note, net.bag, hasattr(net, "new")) == ([1], {"a": 1}, False)
    assert one.training
    assert one.weight is weight
    assert list(net._modules) == ["0", "1"]
    assert not one._forward_hooks
    assert torch.equal(torch.get_rng_state(), state)


def test_a_module_compiled_in_place_is_watched_and_stays_compiled():
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 4)))
    seen = []
    net[1]._compiled_call_impl = compiled = lambda *args: seen.append("compiled")
    with ModuleStack(net) as stack:
        net[1][0].register_forward_hook(lambda *args: seen.append(stack.path))
        assert net(torch.zeros(1, 2)).shape == (1, 4)
    assert seen == ["1.0"]
    assert net[1]._compiled_call_impl is compiled


@pytest.mark.parametrize("training", [False, True])
def test_evaluating_writes_into_copies_of_the_buffers(training):
    class Counts(nn.Module):
        def __init__(self, calls):
            super().__init__()
            self.register_buffer("calls", calls)
            self.register_buffer("none", None)

        def train(self, mode=True):
            raise AssertionError("some models change their weights here")

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    calls = torch.zeros(1)
    net = nn.Sequential(Counts(calls), Counts(calls))
    net[1].training = False
    with pytest.raises(KeyError), evaluating(net, training=training):
        assert {module.training for module in net.modules()} == {training}
        assert not net(torch.ones(1, requires_grad=True)).requires_grad
        assert net[1].calls is net[0].calls  # one tensor still
        assert net[1].calls == 2
        raise KeyError
    assert calls == 0
    assert net[0].calls is calls
    assert [module.training for module in net.modules()] == [True, True, False]
