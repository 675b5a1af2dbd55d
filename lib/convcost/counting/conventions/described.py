"""Every convention in words, with its source and its limits: the tools first, then the papers."""

from convcost.counting.conventions import rules
from convcost.counting.conventions.convention import Convention, describe

ALL = (
    Convention(
        key="macs-only",
        title="Multiply-adds only",
        tool="torchvision, field `_ops` of the weights",
        tool_version="torchvision 0.29.2",
        unit="macs",
        citation=(
            "pytorch/vision, torchvision/models: WeightsEnum.meta['_ops'] (G, three decimals), "
            "made with torch.utils.flop_counter and halved; cheng2025 section 3"
        ),
        describe=describe(
            {
                "multiply-add": "1",
                "attention": "both products",
                "unknown operator": "listed by convcost.count, never a silent zero",
            }
        ),
        rule=rules.macs,
    ),
    Convention(
        key="torch-flopcounter",
        title="PyTorch's own counter",
        tool="torch.utils.flop_counter.FlopCounterMode",
        tool_version="torch 2.15.0",
        unit="flops",
        citation=(
            "pytorch/pytorch, torch/utils/flop_counter.py: conv_flop_count, mm_flop, addmm_flop, "
            "bmm_flop, sdpa_flop_count (torch 2.15.0)"
        ),
        describe=describe(
            {
                "multiply-add": "2",
                "attention": "both products, 2 each",
                "unknown operator": "silent zero",
            }
        ),
        rule=rules.torch_flops,
        limits=(
            "Sees operators of the backend: on the CPU a recurrent layer, and attention under "
            "no_grad, run as fused kernels that it counts as zero. The totals here are those of "
            "the meta device. An einsum is counted as torch contracts it, which can differ from "
            "left to right."
        ),
    ),
    Convention(
        key="thop",
        title="thop (pytorch-OpCounter)",
        tool="thop.profile",
        tool_version="thop 0.1.1.post2209072238",
        unit="macs",
        citation=(
            "Lyken17/pytorch-OpCounter, thop/profile.py: register_hooks; thop/vision/"
            "basic_hooks.py and calc_func.py; thop/rnn_hooks.py (0.1.1.post2209072238)"
        ),
        describe=describe(
            {
                "multiply-add": "1",
                "batch norm": "4 per element with affine, else 2",
                "activation": "0; PReLU 1 per element",
                "pooling": "max 0; average 1 per output; adaptive average window + 1 per output",
                "softmax": "3n - 1 per row of n, nn.Softmax only",
                "attention": "0: nn.MultiheadAttention has no rule, its parameters are lost too",
                "unknown operator": "silent zero (a note with report_missing)",
            }
        ),
        rule=rules.thop,
        limits=(
            "Hooks modules, so a functional call (F.conv2d, F.adaptive_avg_pool2d in DenseNet) is "
            "not seen. A module used by two parents is hooked twice and added twice; here each "
            "call counts once. The tool always evaluates: give it a trace in evaluation mode."
        ),
    ),
    Convention(
        key="fvcore",
        title="fvcore",
        tool="fvcore.nn.FlopCountAnalysis",
        tool_version="fvcore 0.1.5.post20221221",
        unit="macs",
        citation=(
            "facebookresearch/fvcore, fvcore/nn/flop_count.py: _DEFAULT_SUPPORTED_OPS; "
            "fvcore/nn/jit_handles.py (0.1.5.post20221221). It says flop and means multiply-add"
        ),
        describe=describe(
            {
                "multiply-add": "1",
                "batch norm": "2 per element with affine, else 1; in training 5 or 4",
                "pooling": "max and average 0 with a warning; adaptive average (2d) 1 per input",
                "softmax": "0 with a warning",
                "elementwise add": "0 with a warning",
                "attention": "projections and matmul; a fused attention 0 with a warning",
                "unknown operator": "a warning and a Counter, unsupported_ops()",
            }
        ),
        rule=rules.fvcore,
        limits=(
            "Traces with gradients enabled, the tool's default; under no_grad a fused attention "
            "module hides its projections too. An einsum is read back there from numpy's report, "
            "which prints four digits; here it is exact. Real tensors only, not meta."
        ),
    ),
    Convention(
        key="ptflops",
        title="ptflops, PyTorch backend (default)",
        tool="ptflops.get_model_complexity_info",
        tool_version="ptflops 0.7.5",
        unit="macs",
        citation=(
            "sovrasov/flops-counter.pytorch, ptflops/pytorch_ops.py: MODULES_MAPPING, "
            "FUNCTIONAL_MAPPING, TENSOR_OPS_MAPPING; ptflops/pytorch_engine.py: "
            "get_flops_pytorch, patch_functional (0.7.5)"
        ),
        describe=describe(
            {
                "multiply-add": "1",
                "bias": "1 per output",
                "batch norm": "2 per element with affine, else 1",
                "activation": "nn.ReLU 2 per element: its hook, and F.relu inside; F.relu alone 1",
                "pooling": "a pooling layer 2 per input: hook and function; functional 1",
                "softmax": "1 per element through F.softmax",
                "elementwise add": "0 for +",
                "attention": "nn.MultiheadAttention: products, biases, softmax, scaling",
                "unknown operator": "silent zero (a line with verbose)",
            }
        ),
        rule=rules.ptflops,
        limits=(
            "For one image: with more (input_constructor) the tool divides what hooks count by "
            "the batch and adds what functions count undivided. torch.add, mul and matmul, written "
            "as functions or methods, count there and not here, where they cannot be told from +, "
            "* and @; torch.relu and torch.softmax count here like F.relu and F.softmax. A module "
            "used by two parents is added twice there, each call once here."
        ),
    ),
    Convention(
        key="ptflops-aten",
        title="ptflops, ATen backend",
        tool="ptflops.get_model_complexity_info(backend='aten')",
        tool_version="ptflops 0.7.5",
        unit="macs",
        citation=(
            "sovrasov/flops-counter.pytorch, ptflops/aten_ops.py: ATEN_OPS_MAPPING; "
            "ptflops/aten_engine.py (0.7.5)"
        ),
        describe=describe(
            {
                "multiply-add": "1",
                "bias": "1 per output",
                "attention": "projections and matmul; a fused attention 0",
                "unknown operator": "silent zero (a line with verbose)",
            }
        ),
        rule=rules.ptflops_aten,
        limits=(
            "On the CPU with gradients enabled, the tool's default; an LSTM runs there as one "
            "kernel and is zero."
        ),
    ),
    Convention(
        key="torchinfo",
        title="torchinfo",
        tool="torchinfo.summary(...).total_mult_adds",
        tool_version="torchinfo 1.8.0",
        unit="macs",
        citation=(
            "TylerYep/torchinfo, torchinfo/layer_info.py: LayerInfo.calculate_macs; "
            "torchinfo/model_statistics.py (1.8.0)"
        ),
        describe=describe(
            {
                "multiply-add": "1; a Linear counts one position only",
                "bias": "with the weights: 1 per output",
                "batch norm": "2 per channel and image",
                "activation": "0; PReLU its parameters per image",
                "attention": "0: nn.MultiheadAttention has a child, so it is no leaf",
                "unknown operator": "silent zero; an embedding counts its whole table",
            }
        ),
        rule=rules.torchinfo,
        limits=(
            "Counts parameters named weight or bias of modules without children. Here: of the "
            "layers of torch.nn; a leaf class of your own with such parameters is zero here."
        ),
    ),
    Convention(
        key="pycls",
        title="pycls (RegNet)",
        tool="pycls, complexity functions *_cx",
        tool_version="5719de6 (2023-08-26), formulas read, not run",
        unit="macs",
        citation=(
            "facebookresearch/pycls, pycls/models/blocks.py: conv2d_cx, linear_cx, norm2d_cx, "
            "pool2d_cx, gap2d_cx, MultiheadAttention.complexity (5719de6)"
        ),
        describe=describe(
            {
                "multiply-add": "1",
                "bias": "1 per output",
                "pooling": "0 (its activations are counted)",
                "attention": "projections with bias, both products",
                "unknown operator": "cannot happen: each block has its formula",
            }
        ),
        rule=rules.with_bias,
        limits="The tool knows its own blocks only; this is their rule on other people's nets.",
    ),
    Convention(
        key="convnet-burden",
        title="convnet-burden (MatConvNet)",
        tool="convnet-burden, computeFlops",
        tool_version="9c7f31b (2019-01-17), formulas read, checked against its printed table",
        unit="macs",
        citation="albanie/convnet-burden, core/burden.m: computeFlops (9c7f31b)",
        describe=describe(
            {
                "multiply-add": "1",
                "bias": "1 per output",
                "batch norm": "0, assumed merged at test time",
                "activation": "ReLU 2 per element: a comparison and a multiplication",
                "pooling": "2 per output and per element of the stride",
                "softmax": "0: the exponential is 'tricky'",
                "elementwise add": "1 per element",
                "attention": "refused",
                "unknown operator": "error: layer not recognised",
            }
        ),
        rule=rules.burden,
        limits=(
            "A MATLAB tool for MatConvNet nets. An adaptive pooling, which MatConvNet lacks, is "
            "taken for a window over the whole map with stride 1."
        ),
        refuses=True,
    ),
    Convention(
        key="bianco",
        title="Bianco et al. (models-comparison)",
        tool="models-comparison.pytorch, compute_computational_complexity",
        tool_version="51388f0 (2021-01-07), formulas read, not run",
        unit="macs",
        citation=(
            "CeLuigi/models-comparison.pytorch, pretrainedmodels/utils.py: "
            "conv_flops_counter_hook, compute_average_flops_cost; "
            "scripts/compute_computational_complexity.py (51388f0); Bianco, Cadene, Celona & "
            "Napoletano 2018, Benchmark analysis of representative deep neural network "
            "architectures"
        ),
        describe=describe(
            {
                "multiply-add": "1 in nn.Conv2d, 0 elsewhere (2, halved by the script)",
                "bias": "half an operation per output, divided by the groups",
                "unknown operator": "silent zero, fully connected layers too",
            }
        ),
        rule=rules.bianco,
        limits="Per image there; here the count grows with the batch.",
    ),
    Convention(
        key="atsumi-eq1",
        title="Atsumi et al., equations (1) and (2)",
        tool="",
        tool_version="",
        unit="multiplications",
        citation="atsumi2020, eq. (1): W x H x K^2 x F; eq. (2): PCN x CN",
        describe=describe(
            {
                "multiply-add": "1, but a convolution reads one input map only",
                "unknown operator": "zero",
            }
        ),
        rule=rules.atsumi,
        limits="Exact only where a convolution has one input map, as LeNet's first layer.",
    ),
    Convention(
        key="ke-eq1",
        title="Ke, Cao & Lv, the sum in equation (1)",
        tool="",
        tool_version="",
        unit="multiplications",
        citation="ke, eq. (1): sum of f[i-1] k[i]^2 f[i] s[i]^2 over the convolutional layers",
        describe=describe(
            {
                "multiply-add": "1 in a convolution, 0 elsewhere",
                "unknown operator": "zero, fully connected layers too",
            }
        ),
        rule=rules.ke,
        limits=(
            "The coefficients alpha_0 and alpha_1 of eq. (1) are measured there and left out. The "
            "sum has no groups; a grouped convolution is counted with its groups."
        ),
    ),
    Convention(
        key="cheng-eqs",
        title="Cheng & Liu, equations (1) to (4)",
        tool="",
        tool_version="",
        unit="macs",
        citation=(
            "cheng2025, eq. (1) fully connected, (2) convolution, (3) groups, (4) depthwise "
            "separable: a depthwise and a pointwise layer"
        ),
        describe=describe(
            {
                "multiply-add": "1",
                "attention": "0: no equation",
                "unknown operator": "zero",
            }
        ),
        rule=rules.cheng,
        limits=(
            "Eq. (1) has channels and no positions: a layer that is applied to every token counts "
            "once per image."
        ),
    ),
)
