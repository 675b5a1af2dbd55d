"""The public count: totals, table, groups, conventions."""

import subprocess
import sys

import pytest
from torch import nn

from convcost import count, nets
from convcost.core.errors import BadInputError

EXACT = {
    "alexnet": 714_188_480,
    "vgg16": 15_470_264_320,
    "googlenet": 1_498_376_192,
    "resnet18": 1_814_073_344,
    "densenet121": 2_834_161_664,
}


def meta(name):
    return nets.build(name, device="meta")


@pytest.mark.parametrize("name", EXACT)
def test_five_nets(name):
    counted = count(meta(name), (3, 224, 224))
    assert counted.macs == EXACT[name]
    assert counted.flops == 2 * EXACT[name]
    assert type(counted.macs) is type(counted.params) is type(counted.acts) is int
    assert {c.op for c in counted.calls if c.macs} == {"conv", "linear"}


def test_batch_is_the_total_of_the_batch():
    assert count(meta("resnet18"), (3, 224, 224), batch=4).macs == 4 * EXACT["resnet18"]


def test_resnet18_training():
    counted = count(meta("resnet18"), (3, 224, 224))
    first = 3 * 7 * 7 * 64 * 112 * 112
    assert counted.training_flops == counted.flops + counted.backward_flops == 10_648_412_160
    whole = counted.flops + counted.backward_flops_with_input_gradient
    assert whole == 10_884_440_064 == 3 * counted.flops
    assert whole - counted.training_flops == 2 * first


def test_table_adds_up():
    counted = count(meta("densenet121"), (3, 224, 224), batch=2)
    table = counted.table
    assert list(table.columns) == [
        "path",
        "module_type",
        "op",
        "function",
        "input_shape",
        "output_shape",
        "macs",
        "flops",
        "params",
        "acts",
        "bytes",
        "backward_flops",
        "arithmetic_intensity",
    ]
    assert len(table) == len(counted.calls)
    for column in ("macs", "flops", "params", "acts", "bytes", "backward_flops"):
        assert table[column].sum() == getattr(counted, column)
        assert counted.by_type()[column].sum() == getattr(counted, column)
        for depth in (1, 2, 4):
            assert counted.by_module(depth)[column].sum() == getattr(counted, column)
    assert list(counted.by_type()["op"][:2]) == ["conv", "linear"]
    assert list(counted.by_module()["module"]) == ["features", "", "classifier"]
    with pytest.raises(BadInputError):
        counted.by_module(0)


def test_bytes_and_intensity_of_one_convolution():
    row = count(nn.Conv2d(3, 8, 3), (3, 5, 5), batch=2).table.iloc[0]
    macs = 2 * 3 * 3 * 3 * 8 * 3 * 3
    moved = 4 * (2 * 3 * 5 * 5 + 8 * 3 * 3 * 3 + 8 + 2 * 8 * 3 * 3)
    assert (row.macs, row.bytes, row.acts, row.params) == (macs, moved, 2 * 8 * 9, 8 * 27 + 8)
    assert row.arithmetic_intensity == 2 * macs / moved
    half = count(nn.Conv2d(3, 8, 3).half(), (3, 5, 5), batch=2)
    assert half.bytes == moved // 2


def test_zeros_have_reasons_and_the_unknown_has_a_name():
    import torch

    class Strange(nn.Module):
        def forward(self, x):
            return torch.linalg.inv(torch.relu(x))

    counted = count(Strange(), (3, 3))
    assert "linalg_inv_ex" in counted.uncounted
    assert "NOT COUNTED" in repr(counted)
    assert "linalg_inv_ex" in counted._repr_html_()
    assert "meta device" in repr(counted)
    known = count(meta("resnet18"), (3, 224, 224))
    assert known.uncounted == {}
    assert known.fallback == ""
    assert set(known.zero_reason) == {
        "norm", "activation", "pool", "adaptive_pool", "elementwise", "reshape",
    }  # fmt: skip


def test_conventions_are_named():
    counted = count(meta("resnet18"), (3, 224, 224), convention="thop")
    assert (counted.convention, counted.total, counted.unit) == ("thop", 1_824_033_792, "macs")
    assert counted.macs == EXACT["resnet18"]
    with pytest.raises(BadInputError, match=r"nonsense.*thop"):
        count(meta("alexnet"), (3, 224, 224), convention="nonsense")


@pytest.mark.parametrize("given", [lambda x: x, lambda x: (x, x), lambda x: x.numpy()])
def test_a_tensor_is_not_a_shape_and_is_not_printed(given):
    import torch

    with pytest.raises(
        BadInputError, match=r"of shape \(1, 3, 8, 8\): a shape is wanted"
    ) as caught:
        count(nn.Conv2d(3, 8, 3), given(torch.zeros(1, 3, 8, 8)))
    assert len(str(caught.value)) < 200
    shape = torch.zeros(1, 3, 8, 8).shape  # a torch.Size is one
    assert count(nn.Conv2d(3, 8, 3), shape, batch=None).macs == 3 * 3 * 3 * 8 * 6 * 6


def test_import_is_light():
    code = (
        "import sys, convcost; from convcost import count; assert callable(count); "
        "import convcost.counting.count; assert convcost.count is count; "
        "assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
