"""Figures of notebook 01: which tables each takes, and what it shows, in words."""

from convcost.chapters.flop_counting.figures import counting
from convcost.figures.spec import FigureSpec

_NOTEBOOK = "01-flop-counting"

SPECS: dict[str, FigureSpec] = {
    "01-layer-profile": FigureSpec(
        counting.layer_profile,
        ("layer_counts",),
        _NOTEBOOK,
        "FLOPs and parameters of each weighted layer of the five nets: convolutions hold the "
        "FLOPs, the fully connected layers of AlexNet and VGG16 the parameters.",
    ),
    "01-table1-protocols": FigureSpec(
        counting.table1,
        ("protocol_totals",),
        _NOTEBOOK,
        "Candidate counting protocols that come within 6 % of the five values that Cheng & Liu "
        "print: many print one value's digits, one protocol prints all five.",
    ),
    "01-lenet-multiplications": FigureSpec(
        counting.lenet_multiplications,
        ("lenet_multiplications",),
        _NOTEBOOK,
        "Multiplications per layer of LeNet by the paper's equations, by the connection table of "
        "1998 and exactly, with the three printed values marked.",
    ),
    "01-separable-ratio": FigureSpec(
        counting.separable_ratio,
        ("separable_sweep",),
        _NOTEBOOK,
        "Regular over depthwise-separable multiply-adds against the output channels: the ratio "
        "nears the kernel's area and never reaches it.",
    ),
    "01-resnet18-totals": FigureSpec(
        counting.resnet_totals,
        ("convention_totals",),
        _NOTEBOOK,
        "One forward pass of ResNet18 in every counting convention.",
    ),
    "01-conventions": FigureSpec(
        counting.conventions,
        ("convention_totals",),
        _NOTEBOOK,
        "How far the totals of each counting tool lie from plain multiply-adds, for five nets.",
    ),
    "01-op-shares": FigureSpec(
        counting.op_shares,
        ("layer_counts",),
        _NOTEBOOK,
        "Share of each operator type in FLOPs, parameters and bytes moved of the five nets.",
    ),
    "01-input-size": FigureSpec(
        counting.input_sweep,
        ("input_sweep",),
        _NOTEBOOK,
        "FLOPs grow with the area of the input; parameters do not grow at all.",
    ),
    "01-arithmetic-intensity": FigureSpec(
        counting.intensity,
        ("layer_counts",),
        _NOTEBOOK,
        "FLOPs against bytes moved for each layer: linear layers at one image do half a FLOP a "
        "byte, convolutions ten to several hundred.",
    ),
    "01-training-cost": FigureSpec(
        counting.training_cost,
        ("net_counts",),
        _NOTEBOOK,
        "Forward and backward FLOPs of one training image: just under three forward passes.",
    ),
}
