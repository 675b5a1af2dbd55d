"""The shortcut of common layers: torch's own Conv2d, BatchNorm2d, Linear, ReLU … go to their
rule at once, without their forward. Half the time of a trace; `Tracer.shortcut` says when.
"""

from torch import nn

from convcost.counting.shapes.rules_data import dropout, elementwise
from convcost.counting.shapes.rules_layers import batch_norm, max_pool
from convcost.counting.shapes.rules_products import convolution, linear


def _quick_conv(name):
    def quick(t, own, x):
        if own["padding_mode"] != "zeros":
            return NotImplemented
        held = own["_parameters"]
        return convolution(
            t,
            name,
            x,
            held["weight"],
            held["bias"],
            own["stride"],
            own["padding"],
            own["dilation"],
            own["groups"],
        )

    return quick


def _quick_norm(*ranks):
    def quick(t, own, x):
        mean = own["_buffers"].get("running_mean")
        if own["training"] or mean is None or len(x.dims) not in ranks:
            return NotImplemented
        held = own["_parameters"]
        return batch_norm(
            t,
            "batch_norm",
            x,
            mean,
            own["_buffers"]["running_var"],
            held["weight"],
            held["bias"],
        )

    return quick


def _quick_relu(t, own, x):
    if own["inplace"] and x.dtype.is_floating_point:  # torch gives back the same tensor, too
        t.note("activation", "relu", [x], [x])
        return x
    return elementwise(t, "relu", x)


def _quick_max_pool(t, own, x):
    return max_pool(
        t,
        "max_pool2d",
        x,
        own["kernel_size"],
        own["stride"],
        own["padding"],
        own["dilation"],
        own["ceil_mode"],
        own["return_indices"],
    )


# Layer -> rule(tracer, the layer's attributes, input). The layer's forward does the same by way of
# torch.nn.functional; a test compares the two.
QUICK = {
    nn.Conv1d: _quick_conv("conv1d"),
    nn.Conv2d: _quick_conv("conv2d"),
    nn.Conv3d: _quick_conv("conv3d"),
    nn.BatchNorm1d: _quick_norm(2, 3),
    nn.BatchNorm2d: _quick_norm(4),
    nn.BatchNorm3d: _quick_norm(5),
    nn.Linear: lambda t, own, x: linear(
        t, "linear", x, own["_parameters"]["weight"], own["_parameters"]["bias"]
    ),
    nn.ReLU: _quick_relu,
    nn.SiLU: lambda t, own, x: elementwise(t, "silu", x),
    nn.Dropout: lambda t, own, x: dropout(t, "dropout", x, own["p"], own["training"]),
    nn.MaxPool2d: _quick_max_pool,
}
