"""Peaks and operators: exact numbers of operations, bytes and calls; groups by name."""

import importlib
from collections import Counter

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import EventList, FunctionEvent

from convcost import nets
from convcost.chapters.training_time.tables import TABLES
from convcost.core.errors import BadInputError, ConvcostError
from convcost.measuring.timing import GROUPS, STEP, operator_times, operators, peaks

module = importlib.import_module(
    "convcost.measuring.timing.peaks"
)  # its name is also the function's
FEW = {"repetitions": 2, "min_s": 0.0005}


# --- peaks -----------------------------------------------------------------------------------


def test_operations_and_bytes_of_all_calls():
    threads = torch.get_num_threads()
    table = peaks(
        threads=1, product_sizes=[16, 32], convolution_sizes=[5], copy_sizes=[1000], **FEW
    )
    assert list(table.columns) == list(TABLES["machine_peaks"].columns)
    assert not table.duplicated(list(TABLES["machine_peaks"].key)).any()
    per_call = {
        (row.what, row.dtype, row.size): (row.flops / row.calls, row.bytes / row.calls)
        for row in table.itertuples()
    }
    moved = (5 + 5) * 8 * 28 * 28 + 5 * 5 * 3 * 3  # elements: images, outputs, weights
    assert per_call == {
        ("matrix product", "float32", 16): (2 * 16 * 16 * 16, 3 * 16 * 16 * 4),
        ("matrix product", "float32", 32): (2 * 32 * 32 * 32, 3 * 32 * 32 * 4),
        ("matrix product", "bfloat16", 16): (2 * 16 * 16 * 16, 3 * 16 * 16 * 2),
        ("matrix product", "bfloat16", 32): (2 * 32 * 32 * 32, 3 * 32 * 32 * 2),
        ("convolution", "float32", 5): (2 * 8 * 28 * 28 * 3 * 3 * 5 * 5, moved * 4),
        ("convolution", "bfloat16", 5): (2 * 8 * 28 * 28 * 3 * 3 * 5 * 5, moved * 2),
        ("copy", "float32", 1000): (0, (1000 + 1000) * 4),
    }
    assert Counter(table.repetition) == {0: 7, 1: 7}
    assert set(table.threads) == {1} and torch.get_num_threads() == threads
    assert (table.calls > 1).all() and (table.seconds > 0).all()
    assert {str(table[name].dtype) for name in ("calls", "flops", "bytes")} == {"int64"}


def test_what_is_timed_is_a_product_a_convolution_and_a_copy():
    def result(*one):
        return module._function(*one, "cpu")()

    generator = torch.Generator().manual_seed(4)
    left, right = (torch.rand(4, 4, generator=generator) for _ in range(2))
    assert torch.equal(result("matrix product", "float32", 4), left @ right)
    first = torch.rand(6, generator=torch.Generator().manual_seed(6))
    assert torch.equal(result("copy", "float32", 6), first)
    assert result("matrix product", "bfloat16", 4).dtype == torch.bfloat16
    assert result("convolution", "bfloat16", 4).shape == (8, 4, 28, 28)


def test_a_kind_can_be_left_out():
    table = peaks(product_sizes=[], convolution_sizes=[], copy_sizes=[64], **FEW)
    assert set(table.what) == {"copy"}
    table = peaks(
        dtypes=["bfloat16"], product_sizes=[8], convolution_sizes=[], copy_sizes=[], **FEW
    )
    assert set(table.dtype) == {"bfloat16"}


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"dtypes": ["float16"]}, "float16.*float32, bfloat16"),
        ({"product_sizes": [0]}, "size is 0"),
        ({"copy_sizes": [1.5]}, "size is 1.5"),
        ({"product_sizes": [], "convolution_sizes": [], "copy_sizes": []}, "nothing to time"),
        ({"dtypes": [], "copy_sizes": []}, "nothing to time"),
        ({"repetitions": 0}, "repetitions"),
        ({"threads": 0}, "threads"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_what_peaks_refuses(wrong, names):
    with pytest.raises(BadInputError, match=names):
        peaks(**{"product_sizes": [8], "copy_sizes": [8]} | wrong)


# --- operators -------------------------------------------------------------------------------

ENGINE = "autograd::engine::evaluate_function: "


@pytest.mark.parametrize(
    ("name", "callers", "expected"),
    [
        ("aten::mkldnn_convolution", ["aten::conv2d"], ("aten::mkldnn_convolution", "conv")),
        ("aten::convolution_backward", ["ConvolutionBackward0"], (..., "conv")),
        (ENGINE + "ConvolutionBackward0", [], (..., "conv")),
        ("aten::_slow_conv2d_backward", ["aten::convolution_backward"], (..., "conv")),
        ("aten::native_batch_norm", ["aten::batch_norm"], (..., "norm")),
        ("aten::_batch_norm_impl_index", ["aten::batch_norm"], (..., "norm")),
        ("aten::cudnn_batch_norm", ["aten::batch_norm"], (..., "norm")),
        ("aten::native_layer_norm", ["aten::layer_norm"], (..., "norm")),
        ("aten::native_batch_norm_backward", ["NativeBatchNormBackward0"], (..., "norm")),
        ("aten::threshold_backward", ["ReluBackward0"], (..., "activation")),
        ("aten::clamp_min_", ["aten::relu_"], (..., "activation")),
        ("aten::max_pool2d_with_indices_backward", [], (..., "pool")),
        ("aten::mean", ["aten::adaptive_avg_pool2d"], ("aten::mean in pool", "pool")),
        ("aten::addmm", ["aten::linear"], (..., "linear")),
        ("aten::mm", ["AddmmBackward0", ENGINE + "AddmmBackward0"], (..., "linear")),
        ("aten::cat", [], (..., "concat")),
        ("aten::slice", ["aten::narrow", "CatBackward0"], ("aten::slice in concat", "concat")),
        ("aten::add_", [], (..., "elementwise")),
        ("aten::add_", [ENGINE + "CatBackward0"], ("aten::add_", "elementwise")),
        ("aten::sum", [ENGINE + "AddmmBackward0"], ("aten::sum", "elementwise")),
        ("aten::bernoulli_", ["aten::dropout"], (..., "elementwise")),
        ("aten::copy_", ["aten::_to_copy", "aten::to", "aten::linear"], (..., "elementwise")),
        ("aten::empty", ["aten::convolution"], ("aten::empty in conv", "conv")),
        ("aten::add_", ["Optimizer.step#SGD.step"], ("aten::add_ in optimiser", "optimiser")),
        ("aten::to", ["aten::mul_", "Optimizer.step#SGD.step"], (..., "optimiser")),
        ("Optimizer.step#SGD.step", [], ("Optimizer.step#SGD.step", "optimiser")),
        ("Optimizer.zero_grad#SGD.zero_grad", [], (..., "optimiser")),
        ("aten::nll_loss_forward", ["aten::cross_entropy_loss"], (..., "other")),
        ("aten::_log_softmax", ["aten::cross_entropy_loss"], (..., "other")),
        ("aten::normal_", [], (..., "other")),
        ("aten::view", [], ("aten::view", "other")),
    ],
)
def test_groups(name, callers, expected):
    operator, group = operators.labelled(name, callers)
    assert group == expected[1]
    assert operator == expected[0] or (expected[0] is ... and operator.startswith(name))


def net():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
            self.norm = nn.BatchNorm2d(4)
            self.head = nn.Linear(4 * 4 * 4, 3)

        def forward(self, x):
            x = self.convs[0](x)
            x = torch.cat([self.convs[1](x), self.convs[2](x)], 1)
            x = nn.functional.max_pool2d(self.norm(x).relu(), 2)
            return self.head(nn.functional.dropout(x, 0.5, self.training).flatten(1))

    return Net()


def test_calls_of_one_step():
    model = net()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    table = operator_times(model, (2, 8, 8), 3, repetitions=2, warmup=1, threads=1)
    assert list(table.columns) == ["repetition", "operator", "group", "calls", "seconds"]
    assert set(table.columns) < set(TABLES["operator_times"].columns)
    assert not table.duplicated(["repetition", "operator"]).any()
    assert set(table.group) == {STEP, *GROUPS}
    assert table.operator.tolist()[0] == STEP and (table.seconds >= 0).all()
    for _, one in table.groupby("repetition"):
        calls = one.set_index("operator").calls
        assert calls[STEP] == 1
        assert calls["aten::conv2d"] == 3
        assert calls["aten::convolution_backward"] == 3
        assert calls["aten::native_batch_norm"] == 1
        assert calls["aten::native_batch_norm_backward"] == 1
        assert calls["aten::cat"] == 1
        assert calls["aten::max_pool2d_with_indices_backward"] == 1
        assert calls["aten::addmm"] == 1
        assert calls["Optimizer.step#SGD.step"] == 1
        # 3 convolutions, 1 norm, 1 linear: two parameters each, their momentum and their step
        assert calls["aten::add_ in optimiser"] == 2 * 2 * 5
    assert all(torch.equal(now, state[name]) for name, now in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.training and all(p.grad is None for p in model.parameters())


def test_operators_of_a_resnet_make_up_its_step():
    table = operator_times(
        nets.build("resnet18", num_classes=10), (3, 64, 64), 2, repetitions=3, warmup=1, threads=1
    )
    seconds = table.pivot_table(
        index="repetition", columns="group", values="seconds", aggfunc="sum", fill_value=0
    )
    together = seconds.drop(columns=STEP).sum(axis=1)
    assert (seconds["other"] / together).median() < 0.05
    # the quietest of each kind, on a machine that may do other work
    assert 0.6 < together.min() / seconds[STEP].min() < 1.4
    assert (seconds["conv"] > seconds.drop(columns=[STEP, "conv"]).max(axis=1)).all()


# --- operators on a GPU ----------------------------------------------------------------------


def on_host(number, name, begin, end, kernels=(), thread=1):
    """An event of the CPU, with the microseconds of the kernels that torch has put under it."""
    event = FunctionEvent(number, name, thread, begin, end, use_device="cuda")
    for duration in kernels:
        event.append_kernel("a kernel", 0, duration)
    return event


def on_gpu(name, begin, end, shadow=False):
    return FunctionEvent(
        0, name, 7, begin, end, use_device="cuda", device_type=DeviceType.CUDA,
        is_user_annotation=shadow,
    )  # fmt: skip


def a_profile(*more):
    """A convolution of 100 us on the GPU, its backward pass of 150 and 50, an addition of 10.

    As torch 2.11 has it: the runtime's calls are events beside the operators, and one of them, with
    the number of the convolution, has the convolution's kernel once more. The backward pass is in a
    thread of its own; the range "Optimizer.step" has a shadow on the GPU.
    """
    events = EventList([
        on_host(1, "aten::conv2d", 0, 20),
        on_host(2, "aten::cudnn_convolution", 2, 18, [100]),
        on_host(3, "cudaLaunchKernel", 5, 9),
        on_host(4, "aten::view", 19, 20),
        on_host(5, "autograd::engine::evaluate_function: ConvolutionBackward0", 30, 60, thread=2),
        on_host(6, "aten::convolution_backward", 31, 59, [150, 50], thread=2),
        on_host(2, "cudaStreamIsCapturing", 32, 33, [100], thread=2),
        on_host(0, "Lazy Function Loading", 34, 36, thread=2),
        on_host(8, "Optimizer.step#SGD.step", 70, 90),
        on_host(9, "aten::add_", 72, 80, [10]),
        on_host(0, "cudaDeviceSynchronize", 95, 400),
        on_gpu("sm90_xmma_fprop", 10, 110), on_gpu("sm90_xmma_dgrad", 110, 260),
        on_gpu("sm90_xmma_wgrad", 260, 310), on_gpu("vectorized_elementwise_kernel", 310, 320),
        on_gpu("Optimizer.step#SGD.step", 310, 320, shadow=True),
        *more,
    ])  # fmt: skip
    events._build_tree()
    return events


def test_on_a_gpu_operators_have_the_time_of_their_kernels_once():
    found = operators._self_times(a_profile(), gpu=True)
    assert {key: value for key, value in found.items() if value[1]} == {
        ("aten::convolution_backward", "conv"): (1, (150 + 50) / 1e6),
        ("aten::cudnn_convolution", "conv"): (1, 100 / 1e6),
        ("aten::add_ in optimiser", "optimiser"): (1, 10 / 1e6),
    }
    busy = sum(seconds for _, seconds in found.values())
    assert busy == pytest.approx((100 + 150 + 50 + 10) / 1e6, rel=1e-12)
    names = [name for name, _ in found]
    assert "aten::view" in [name.split(" in ")[0] for name in names]  # called, without a kernel
    assert not [name for name in names if "cuda" in name or "Loading" in name]


def test_what_no_operator_launched_is_a_row_of_its_own():
    more = on_gpu("Memcpy HtoD (Pageable -> Device)", 330, 350), on_gpu("a graph", 350, 400)
    found = operators._self_times(a_profile(*more), gpu=True)
    calls, seconds = found[operators.UNCLAIMED, "other"]
    assert calls == 2 and seconds == pytest.approx((20 + 50) / 1e6, rel=1e-9)


def test_a_profile_that_saw_no_kernel_is_no_profile():
    """Times of zero would say that the operators are free."""
    blind = [on_host(1, "aten::conv2d", 0, 20), on_host(2, "cudaLaunchKernel", 5, 9)]
    with pytest.raises(ConvcostError, match="saw nothing that the GPU did"):
        operators._self_times(blind, gpu=True)
    found = operators._self_times(blind[:1], gpu=False)
    assert found == {("aten::conv2d", "conv"): (1, 20 / 1e6)}


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"repetitions": 0}, "repetitions"),
        ({"warmup": -1}, "warmup"),
        ({"batch": 0}, "batch"),
        ({"model": nn.Linear(2, 2, device="meta")}, "weight is on meta"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_what_operator_times_refuses(wrong, names):
    given = {"model": nn.Linear(2, 2), "input_shape": (2,), "batch": 2} | wrong
    with pytest.raises(BadInputError, match=names):
        operator_times(**given)
