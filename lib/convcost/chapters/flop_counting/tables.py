"""Tables of notebooks 00 and 01: the data sets, and everything that is counted from shapes."""

from convcost.records.schema import MACS, NET, PARAMS, Column, Table, count, text

_FLOPS = count("floating-point operations, two per multiply-add")
_ACTS = count("elements of the outputs of convolutions, linear layers and matrix products")
_BYTES = count("bytes read and written once each: inputs, weights and outputs, at 4 B a number")

TABLES: dict[str, Table] = {
    "datasets": Table(
        "one split of one data set",
        ("asked", "split"),
        {
            "asked": text("data set that was asked for"),
            "name": text("data set that was really read"),
            "split": text("train, validation or test"),
            "images": count("images"),
            "channels": count("channels"),
            "height_px": count("height"),
            "width_px": count("width"),
            "classes": count("classes"),
            "largest_class_fraction": Column("float", "share of the most frequent class", 0),
            "origin": text("where it was found"),
            "is_stand_in": Column("bool", "true where another set stands in for the one asked"),
            "content_sha256": text("sha256 of images and labels"),
        },
    ),
    "layer_counts": Table(
        "one operator call of one forward pass of one image",
        ("net", "position"),
        {
            "net": NET,
            "position": count("place in the forward pass, from 0"),
            "path": text("dotted path of the module that made the call", optional=True),
            "module_type": text("class of that module"),
            "op": text("operator type"),
            "input_shape": text("shapes of the inputs, batch first"),
            "output_shape": text("shape of the output, batch first"),
            "macs": MACS,
            "params": PARAMS,
            "acts": _ACTS,
            "bytes": _BYTES,
        },
    ),
    "net_counts": Table(
        "one net, one image",
        ("net", "in_channels", "num_classes", "input_px", "training"),
        {
            "net": NET,
            "in_channels": count("channels of the input"),
            "num_classes": count("outputs of the classifier"),
            "input_px": count("side of the square input"),
            "training": Column("bool", "true where the net runs in training mode (with aux heads)"),
            "macs": MACS,
            "flops": _FLOPS,
            "params": PARAMS,
            "acts": _ACTS,
            "bytes": _BYTES,
            "backward_flops": count("backward pass, no gradient for the image"),
            "backward_flops_with_input_gradient": count("backward pass, gradient for the image"),
        },
    ),
    "convention_totals": Table(
        "one net counted in one convention, one image",
        ("net", "convention"),
        {
            "net": NET,
            "convention": text("key in `convcost.counting.conventions`"),
            "unit": text("the word the convention's tool uses"),
            "total": count("total in that convention"),
            "silent_zero_calls": count("operator calls with arithmetic that it counts as zero"),
        },
    ),
    "tool_totals": Table(
        "one net counted by another tool itself",
        ("net", "tool"),
        {
            "net": NET,
            "tool": text("convention key whose tool was run"),
            "tool_version": text("version that was run"),
            "total": count("total that the tool returned"),
        },
    ),
    "protocol_totals": Table(
        "one candidate protocol for one row of Cheng & Liu's Table 1",
        ("row", "net", "num_classes", "in_channels", "input_px", "aux_heads", "convention"),
        {
            "row": text("name of the published value"),
            "net": NET,
            "num_classes": count("outputs of the classifier"),
            "in_channels": count("channels of the input"),
            "input_px": count("side of the square input"),
            "aux_heads": Column("bool", "true where GoogLeNet's auxiliary heads are counted"),
            "convention": text("key in `convcost.counting.conventions`"),
            "total": count("total in that convention, not yet doubled or rounded"),
        },
    ),
    "input_sweep": Table(
        "one net at one input size, one image",
        ("net", "input_px"),
        {
            "net": NET,
            "input_px": count("side of the square input"),
            "macs": MACS,
            "params": PARAMS,
            "acts": _ACTS,
        },
    ),
    "equation_checks": Table(
        "one published equation applied to one layer",
        ("source", "equation", "layer"),
        {
            "source": text("key in `convcost.sources`"),
            "equation": text("number of the equation"),
            "layer": text("the layer it is applied to"),
            "by_equation": count("what the equation gives"),
            "traced": count("multiply-adds that the tracer finds in the real layer"),
        },
    ),
    "lenet_multiplications": Table(
        "one layer of LeNet in one way of counting",
        ("layer", "reading"),
        {
            "layer": text("name in the paper"),
            "reading": text("equation, exact or sparse-1998"),
            "multiplications": count("multiplications for one image"),
        },
    ),
    "separable_example": Table(
        "one step of the depthwise-separable example",
        ("step",),
        {
            "step": text("depthwise, pointwise, separable or regular"),
            "by_formula": count("multiply-adds by formula"),
            "traced": count("multiply-adds that the tracer finds in a real layer"),
        },
    ),
    "separable_sweep": Table(
        "one kernel and number of output channels, 64 input channels on a 112 x 112 map",
        ("kernel", "out_channels"),
        {
            "kernel": count("side of the kernel"),
            "out_channels": count("channels of the output"),
            "regular_macs": count("multiply-adds of the regular convolution"),
            "separable_macs": count("multiply-adds of the depthwise and the pointwise one"),
        },
    ),
    "ke_baseline_sums": Table(
        "one architecture reading of the baseline T0 of Ke, Cao & Lv",
        ("in_channels", "padding", "pool"),
        {
            "in_channels": count("channels of the input image"),
            "padding": text("same or valid"),
            "pool": text("what shrinks the maps between layers"),
            "sum": count("sum of equation (1), multiplications"),
            "traced": count("multiply-adds of the convolutions of the real net"),
        },
    ),
    "net_facts": Table(
        "one small statement about nets, tried out",
        ("fact",),
        {
            "fact": text("name of the statement"),
            "value": Column("float", "the number found; 1 or 0 where it holds or does not", 0),
            "detail": text("how it was tried, with the numbers"),
        },
    ),
    "parameter_counts": Table(
        "one net whose parameter count a source names",
        ("net",),
        {"net": text("the net"), "params": PARAMS, "how": text("traced or by formula")},
    ),
}
