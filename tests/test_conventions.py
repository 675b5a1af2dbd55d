"""Each convention against the tool that it describes, run here, and against numbers by hand."""

import contextlib
import copy
import io
import logging
import subprocess
import sys
import warnings
from fractions import Fraction
from functools import cache

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from convcost.core.errors import BadInputError
from convcost.core.units import printed
from convcost.counting.conventions import ALIASES, ASPECTS, CONVENTIONS, get
from convcost.counting.shapes import trace
from convcost.sources import equations

IMAGE = (3, 224, 224)


# ---------------------------------------------------------------- the tools themselves


def _thop(net, x):
    from thop import profile

    return profile(net, (x,), verbose=False)[0]


def _fvcore(net, x):
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(net, x).unsupported_ops_warnings(False)
    return analysis.uncalled_modules_warnings(False).tracer_warnings("none").total()


def _ptflops(net, x, backend="pytorch"):
    from ptflops import get_model_complexity_info

    count, _ = get_model_complexity_info(
        net, tuple(x.shape[1:]), print_per_layer_stat=False, as_strings=False, backend=backend
    )
    return count


def _ptflops_aten(net, x):
    return _ptflops(net, x, "aten")


def _torchinfo(net, x):
    from torchinfo import summary

    return summary(net, input_data=x, verbose=0, device=x.device, mode="eval").total_mult_adds


def _torch_flopcounter(net, x):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        net(x)
    return counter.get_total_flops()


TOOLS = {
    "thop": _thop,
    "fvcore": _fvcore,
    "ptflops": _ptflops,
    "ptflops-aten": _ptflops_aten,
    "torchinfo": _torchinfo,
    "torch-flopcounter": _torch_flopcounter,
}
PACKAGE = {"ptflops-aten": "ptflops", "torch-flopcounter": "torch"}

# These three look at operators as the CPU runs them (or, fvcore, refuse the meta device).
ON_CPU = ("fvcore", "ptflops", "ptflops-aten")


def run_tool(key, net, shape, training=False):
    """What the tool counts for one input of `shape`, on a copy, so that its leftovers are lost."""
    pytest.importorskip(PACKAGE.get(key, key), reason="the [counters] extra is not installed")
    device = "cpu" if key in ON_CPU else "meta"
    net = copy.deepcopy(net).train(training)
    if device == "cpu" and any(p.is_meta for p in net.parameters()):
        net = net.to_empty(device="cpu")
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.data.zero_()
    net = net.to(device)
    noise = io.StringIO()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(noise),
        contextlib.redirect_stderr(noise),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            count = TOOLS[key](net, torch.zeros(shape, device=device))
        finally:
            logging.disable(logging.NOTSET)
    assert count is not None, noise.getvalue()
    assert count == int(count)
    return int(count)


def _googlenet(aux_logits):
    return torchvision.models.googlenet(aux_logits=aux_logits, init_weights=False)


NETS = {
    "alexnet": torchvision.models.alexnet,
    "vgg16": torchvision.models.vgg16,
    "googlenet": lambda: _googlenet(False),
    "googlenet-aux": lambda: _googlenet(True),
    "resnet18": torchvision.models.resnet18,
    "densenet121": torchvision.models.densenet121,
    "densenet161": torchvision.models.densenet161,
    "mobilenet_v2": torchvision.models.mobilenet_v2,
    "vit_b_16": torchvision.models.vit_b_16,
}


@cache
def net_of(name):
    with torch.device("meta"):
        return NETS[name]().eval()


@cache
def trace_of(name):
    return trace(net_of(name), IMAGE)


@pytest.fixture(scope="session")
def tool_total():
    """(tool, net) -> the tool's total at 224 x 224, each run once, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield cache(lambda key, name: run_tool(key, net_of(name), (1, *IMAGE)))
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("key", TOOLS)
def test_a_convention_gives_its_tools_total(key, name, tool_total):
    assert CONVENTIONS[key].total(trace_of(name)) == tool_total(key, name)


# ---------------------------------------------------------------- known numbers


RESNET18 = {
    "macs-only": 1_814_073_344,
    "torch-flopcounter": 3_628_146_688,
    "thop": 1_824_033_792,
    "fvcore": 1_819_065_856,
    "ptflops": 1_825_313_768,
    "ptflops-aten": 1_814_074_344,
    "torchinfo": 1_814_083_944,
    "pycls": 1_814_074_344,
    "bianco": 1_813_561_344,
    "ke-eq1": 1_813_561_344,
    "cheng-eqs": 1_814_073_344,
}


@pytest.mark.parametrize("key", RESNET18)
def test_resnet18_has_many_totals(key):
    assert CONVENTIONS[key].total(trace_of("resnet18")) == RESNET18[key]


THOP = {
    "alexnet": 714_206_912,
    "vgg16": 15_470_314_496,
    "googlenet": 1_511_332_032,
    "resnet18": 1_824_033_792,
    "densenet121": 2_897_007_104,
    "densenet161": 7_845_841_056,
}


@pytest.mark.parametrize("name", THOP)
def test_thop_0_1_1_on_the_five_nets(name):
    assert CONVENTIONS["thop"].total(trace_of(name)) == THOP[name]


@pytest.mark.parametrize(
    "name",
    ["alexnet", "vgg16", "resnet18", "densenet121", "densenet161", "mobilenet_v2", "vit_b_16"],
)
def test_macs_only_agrees_with_torchvisions_own_entry(name):
    weights = torchvision.models.get_model_weights(name).DEFAULT
    entry = f"{weights.meta['_ops']:.3f}"
    size = weights.transforms().crop_size[0]
    calls = trace(net_of(name), (3, size, size)) if size != 224 else trace_of(name)
    assert printed(CONVENTIONS["macs-only"].total(calls), "G", 3) == entry


@pytest.mark.parametrize(("name", "table"), [("squeezenet1_0", "837"), ("squeezenet1_1", "360")])
def test_convnet_burden_prints_its_own_table(name, table):
    # README of convnet-burden: squeezenet1-0 and 1-1, imported from PyTorch, in MFLOPS. Their
    # head was AvgPool2d(13) then, which has a stride of 13.
    with torch.device("meta"):
        net = getattr(torchvision.models, name)()
    net.classifier[3] = nn.AvgPool2d(13)
    assert printed(CONVENTIONS["convnet-burden"].total(trace(net, IMAGE)), "M", 0) == table


# ---------------------------------------------------------------- odd layers, each with its tool


class Products(nn.Module):
    """Products, sums and an activation as functions, not as layers."""

    def __init__(self, spelled):
        super().__init__()
        self.a = nn.Linear(8, 8)
        self.spelled = spelled

    def forward(self, x):
        y = F.relu(self.a(x))
        if self.spelled:
            return torch.mul(torch.add(torch.matmul(torch.relu(y), x.transpose(1, 2)), 1), 2)
        return ((y @ x.transpose(1, 2)) + 1) * 2


class FirstOutput(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class FunctionalConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 3, 3, 3))
        self.inner = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return F.adaptive_avg_pool2d(self.inner(F.conv2d(x, self.weight)), 2)


class SelfAttention(nn.Module):
    def __init__(self, need_weights):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x):
        return self.inner(x, x, x, need_weights=self.need_weights)[0]


ODD = {
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2)), (4, 8, 8)),
    "grouped-transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False)),
        (4, 8, 8),
    ),
    "grouped": (lambda: nn.Sequential(nn.Conv2d(6, 9, (3, 1), groups=3, dilation=2)), (6, 9, 7)),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5), nn.AvgPool1d(2)), (3, 9)
    ),
    "conv3d": (
        lambda: nn.Sequential(nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3, affine=False)), (2, 4, 5, 6)
    ),
    "bare-conv": (lambda: nn.Conv2d(3, 4, 3), (3, 8, 8)),
    "tokens": (lambda: nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1)), (5, 8)),
    "pools": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d((3, 4)), nn.AvgPool2d(2, 1), nn.MaxPool2d(2)
        ),
        (3, 13, 17),
    ),
    "adaptive-max": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveMaxPool2d(3)), (3, 9, 8)),
    "activations": (
        lambda: nn.Sequential(
            nn.Linear(4, 4), nn.ReLU(), nn.ReLU6(), nn.PReLU(), nn.ELU(), nn.GELU(), nn.SiLU(),
            nn.LeakyReLU(), nn.Hardswish(), nn.Sigmoid(), nn.Tanh(),
        ),
        (3, 4),
    ),
    "norms": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.GroupNorm(2, 6), nn.InstanceNorm2d(6),
            nn.InstanceNorm2d(6, affine=True), nn.LayerNorm(5), nn.LayerNorm(5, bias=False),
            nn.LayerNorm(5, elementwise_affine=False), nn.BatchNorm2d(6, affine=False),
        ),
        (3, 4, 5),
    ),
    "nearest": (lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.Upsample(scale_factor=2)), (3, 4, 5)),
    "bilinear": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.Upsample((7, 9), mode="bilinear")), (3, 4, 5)
    ),
    "operators": (lambda: Products(False), (5, 8)),
    "functions": (lambda: Products(True), (5, 8)),
    "functional-conv": (FunctionalConv, (3, 9, 9)),
    "attention": (lambda: SelfAttention(False), (5, 8)),
    "attention-with-weights": (lambda: SelfAttention(True), (5, 8)),
    "lstm": (lambda: FirstOutput(nn.LSTM(8, 16, 2, batch_first=True)), (5, 8)),
    "gru": (lambda: FirstOutput(nn.GRU(8, 16, bias=False, batch_first=True)), (5, 8)),
    "rnn-both-ways": (
        lambda: FirstOutput(nn.RNN(8, 16, 2, bidirectional=True, batch_first=True)), (5, 8)
    ),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 2), nn.Dropout(), nn.Flatten()), (3, 4)),
}  # fmt: skip


# ptflops on functions is a limit of that convention, with a test of its own below
PAIRS = [(key, name) for key in TOOLS for name in ODD if (key, name) != ("ptflops", "functions")]


@pytest.mark.parametrize(("key", "name"), PAIRS)
def test_a_convention_follows_its_tool_on_odd_layers(key, name):
    build, shape = ODD[name]
    net = build().eval()
    assert CONVENTIONS[key].total(trace(net, shape)) == run_tool(key, net, (1, *shape))


def test_what_ptflops_sees_of_functions_and_we_do_not():
    # The limit named in the convention: torch.matmul, torch.add and torch.mul are patched there,
    # torch.relu is not.
    build, shape = ODD["functions"]
    net = build().eval()
    ours = CONVENTIONS["ptflops"].total(trace(net, shape))
    theirs = run_tool("ptflops", net, (1, *shape))
    assert theirs - ours == 5 * 8 * 5 + 5 * 5 + 5 * 5 - 5 * 8


@pytest.mark.parametrize("key", ["fvcore", "torch-flopcounter"])
@pytest.mark.parametrize("training", [False, True])
def test_googlenet_in_training_runs_its_two_heads(key, training):
    # The other tools switch to evaluation themselves, where the heads do not run.
    net = net_of("googlenet-aux")
    theirs = run_tool(key, net, (2, *IMAGE), training)
    ours = trace(net, IMAGE, batch=2, training=training)
    assert CONVENTIONS[key].total(ours) == theirs


@pytest.mark.parametrize("key", ["thop", "fvcore", "torchinfo", "torch-flopcounter"])
def test_a_batch_of_three(key):
    net = net_of("resnet18")
    ours = trace(net, (3, 64, 96), batch=3)
    assert CONVENTIONS[key].total(ours) == run_tool(key, net, (3, 3, 64, 96))


# ---------------------------------------------------------------- conventions without a tool to run


def _hooked_sum(net, shape, of_conv, of_linear):
    """An independent referee: forward hooks on real modules, on the meta device."""
    counts = []

    def hook(module, inputs, output):
        if isinstance(module, nn.Conv2d):
            size = output[0].numel()
            macs = size * module.in_channels // module.groups * module.weight[0, 0].numel()
            counts.append(of_conv(macs, size * (module.bias is not None), module.groups))
        elif isinstance(module, nn.Linear):
            macs = output.numel() * module.in_features
            counts.append(of_linear(macs, output.numel() * (module.bias is not None)))

    with torch.device("meta"):
        net = copy.deepcopy(net)
        for module in net.modules():
            module.register_forward_hook(hook)
        net(torch.zeros(1, *shape))
    return sum(counts)


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "googlenet", "densenet161", "mobilenet_v2"])
def test_pycls_adds_one_per_output_for_a_bias(name):
    referee = _hooked_sum(net_of(name), IMAGE, lambda m, b, g: m + b, lambda m, b: m + b)
    assert CONVENTIONS["pycls"].total(trace_of(name)) == referee


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "googlenet", "densenet161", "mobilenet_v2"])
def test_bianco_counts_convolutions_alone_and_half_a_bias(name):
    referee = _hooked_sum(net_of(name), IMAGE, lambda m, b, g: m + Fraction(b, 2 * g), lambda *_: 0)
    assert CONVENTIONS["bianco"].total(trace_of(name)) == referee


def test_bianco_makes_halves():
    net = nn.Sequential(nn.Conv2d(2, 2, 1, groups=2))  # 3 x 1 outputs: 2*3 products, 6/2/2 biases
    assert CONVENTIONS["bianco"].total(trace(net, (2, 3, 1))) == 2 * 3 + Fraction(6, 4)


class LeNet(nn.Module):
    """The net of Atsumi et al. 2020."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc120 = nn.Linear(16 * 4 * 4, 120)
        self.fc84 = nn.Linear(120, 84)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc84(F.relu(self.fc120(x.flatten(1))))


def test_atsumi_2020_leaves_the_input_maps_out():
    calls = trace(LeNet(), (1, 28, 28)).calls
    convention = CONVENTIONS["atsumi-eq1"]
    layers = {call.path: convention.of(call) for call in calls if convention.of(call)}
    assert layers == {
        "conv1": 24 * 24 * 5 * 5 * 6,
        "conv2": 8 * 8 * 5 * 5 * 16,
        "fc120": 16 * 4 * 4 * 120,
        "fc84": 120 * 84,
    }
    assert layers["conv1"] == equations.atsumi_convolution(24, 24, 5, 6) == 86_400
    assert layers["conv2"] == equations.atsumi_convolution(8, 8, 5, 16) == 25_600
    assert layers["fc120"] == equations.atsumi_fully_connected(16 * 4 * 4, 120) == 30_720


def test_ke_leaves_fully_connected_layers_out():
    net = nn.Sequential(
        nn.Conv2d(3, 64, 5, padding=2), nn.MaxPool2d(2), nn.Conv2d(64, 64, 5, padding=2),
        nn.Flatten(), nn.Linear(64 * 32 * 32, 2),
    )  # fmt: skip
    layers = [(3, 5, 64, 64), (64, 5, 64, 32)]
    assert CONVENTIONS["ke-eq1"].total(trace(net, (3, 64, 64))) == equations.ke_sum(layers)


def test_cheng_2025_equations_layer_by_layer():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # eq. (2)
        nn.Conv2d(8, 4, 3, padding=1, groups=2),  # eq. (3)
        nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 5, 1),  # eq. (4)
        nn.Flatten(), nn.Linear(5 * 6 * 7, 10),  # eq. (1)
    )  # fmt: skip
    assert CONVENTIONS["cheng-eqs"].total(trace(net, (3, 6, 7))) == (
        equations.cheng_convolution(3, 3, 8, 6, 7)
        + equations.cheng_group_convolution(3, 8, 4, 6, 7, 2)
        + equations.cheng_separable_convolution(3, 4, 5, 6, 7)
        + equations.cheng_fully_connected(5 * 6 * 7, 10)
    )


def test_cheng_2025_eq_1_knows_no_positions():
    calls = trace(nn.Linear(8, 3), (5, 8))
    assert CONVENTIONS["cheng-eqs"].total(calls) == 8 * 3
    assert CONVENTIONS["macs-only"].total(calls) == 5 * 8 * 3


def test_cheng_2025_equals_macs_only_on_convolutional_nets():
    for name in ("alexnet", "vgg16", "googlenet", "resnet18", "densenet161", "mobilenet_v2"):
        calls = trace_of(name)
        assert CONVENTIONS["cheng-eqs"].total(calls) == CONVENTIONS["macs-only"].total(calls)


def test_convnet_burden_by_hand_and_its_refusal():
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2, 3))
    burden = CONVENTIONS["convnet-burden"]
    # 5 x 5: products and biases, no batch norm, two per ReLU; 2 x 2 pooled outputs of 2 maps, two
    # per output and per element of the stride
    expected = 2 * 25 + 2 * 25 + 0 + 2 * (2 * 25) + 2 * (2 * 2 * 2) * (3 * 3)
    assert burden.total(trace(net, (1, 5, 5))) == expected
    with pytest.raises(BadInputError, match=r"layer_norm.*another convention"):
        burden.total(trace(nn.LayerNorm(4), (3, 4)))
    assert burden.uncounted(trace(nn.LayerNorm(4), (3, 4))) == {"layer_norm": 1}


# ---------------------------------------------------------------- the objects


def test_a_linear_by_hand():
    calls = trace(nn.Linear(3, 2), (3,))
    assert CONVENTIONS["macs-only"].total(calls) == 3 * 2
    assert CONVENTIONS["torch-flopcounter"].total(calls) == 2 * 3 * 2
    assert CONVENTIONS["pycls"].total(calls) == 3 * 2 + 2
    assert CONVENTIONS["bianco"].total(calls) == 0


@pytest.mark.parametrize("key", CONVENTIONS)
def test_every_convention_says_what_it_is(key):
    convention = CONVENTIONS[key]
    assert convention.key == key
    assert convention.unit in ("macs", "flops", "multiplications")
    assert tuple(convention.describe) == ASPECTS
    assert all(convention.describe.values())
    assert convention.title and convention.citation


def test_the_total_is_the_sum_over_the_calls():
    calls = trace_of("resnet18").calls
    for convention in CONVENTIONS.values():
        assert convention.total(calls) == sum(convention.of(call) for call in calls)


def test_silent_zeros_are_named():
    calls = trace_of("resnet18")
    assert CONVENTIONS["macs-only"].uncounted(calls) == {
        "batch_norm": 20, "relu": 17, "max_pool2d": 1, "add": 8, "adaptive_avg_pool2d": 1,
    }  # fmt: skip
    assert CONVENTIONS["thop"].uncounted(calls) == {"relu": 17, "max_pool2d": 1, "add": 8}
    assert CONVENTIONS["ptflops"].uncounted(calls) == {"add": 8}
    assert CONVENTIONS["bianco"].uncounted(calls)["linear"] == 1


def test_names():
    assert get("thop") is CONVENTIONS["thop"]
    assert get("flops").unit == "flops"
    assert all(target in CONVENTIONS for target in ALIASES.values())
    with pytest.raises(BadInputError, match=r"'thopp'.*thop, fvcore.*flops"):
        get("thopp")


def test_conventions_run_without_torch():
    code = "import sys, convcost.counting.conventions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
