"""Rules of the layers between the products: normalisations and poolings."""

import math

import torch

from convcost.core.errors import BadInputError
from convcost.counting import ops
from convcost.counting.shapes.arguments import as_tuple, present
from convcost.counting.shapes.table import rule


def _norm(t, name, x, weights, attrs):
    out = t.make(x.dims, [x, *weights], x.dtype)
    t.note("norm", name, [x], [out], weights, attrs)
    return out


@rule("batch_norm")
def batch_norm(
    t,
    name,
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    training=False,
    momentum=0.1,
    eps=1e-5,
):
    x = t.of(input)
    weights = present(t, running_mean, running_var, weight, bias)
    channels = x.dims[1:2]
    for w in weights:
        if w.dims != channels:
            raise BadInputError(f"batch_norm of {w.dims[0]} channels, got {tuple(x.dims)}")
    return _norm(t, name, x, weights, {"affine": weight is not None, "training": bool(training)})


@rule("torch.batch_norm")
def torch_batch_norm(t, name, x, weight, bias, mean, var, training=False, *rest):
    return batch_norm(t, "batch_norm", x, mean, var, weight, bias, training)


@rule("layer_norm")
def layer_norm(t, name, input, normalized_shape, weight=None, bias=None, *rest, **kwargs):
    x = t.of(input)
    normal = tuple(normalized_shape)
    if tuple(x.dims[len(x.dims) - len(normal) :]) != normal:
        raise BadInputError(f"{name} over {normal}, got {tuple(x.dims)}")
    attrs = {"affine": weight is not None, "normalized_shape": normal}
    return _norm(t, name, x, present(t, weight, bias), attrs)


@rule("rms_norm")
def rms_norm(t, name, input, normalized_shape, weight=None, *rest, **kwargs):
    return layer_norm(t, name, input, normalized_shape, weight)


@rule("group_norm")
def group_norm(t, name, input, num_groups, weight=None, bias=None, *rest, **kwargs):
    attrs = {"affine": weight is not None, "groups": num_groups}
    return _norm(t, name, t.of(input), present(t, weight, bias), attrs)


@rule("instance_norm")
def instance_norm(t, name, input, mean=None, var=None, weight=None, bias=None, *rest, **kwargs):
    running, var = kwargs.pop("running_mean", mean), kwargs.pop("running_var", var)
    weights = present(t, running, var, weight, bias)
    return _norm(t, name, t.of(input), weights, {"affine": weight is not None})


@rule("torch.instance_norm")
def torch_instance_norm(t, name, x, weight, bias, mean, var, *rest, **kwargs):
    return instance_norm(t, "instance_norm", x, mean, var, weight, bias)


@rule("local_response_norm")
def local_response_norm(t, name, input, size, *rest, **kwargs):
    return _norm(t, name, t.of(input), [], {"affine": False, "size": size})


@rule("max_pool1d max_pool2d max_pool3d max_pool1d_with_indices")
@rule("max_pool2d_with_indices max_pool3d_with_indices")
def max_pool(
    t,
    name,
    input,
    kernel_size,
    stride=None,
    padding=0,
    dilation=1,
    ceil_mode=False,
    return_indices=False,
):
    out = _pool(t, name[:10], input, kernel_size, stride, padding, dilation, ceil_mode, {})
    if return_indices or "indices" in name:
        return out, t.make(out.dims, [out], torch.int64)
    return out


@rule("avg_pool1d avg_pool2d avg_pool3d")
def avg_pool(
    t,
    name,
    input,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    attrs = {"count_include_pad": count_include_pad}
    return _pool(t, name, input, kernel_size, stride, padding, 1, ceil_mode, attrs)


@rule("lp_pool1d lp_pool2d lp_pool3d")
def lp_pool(t, name, input, norm_type, kernel_size, stride=None, ceil_mode=False):
    return _pool(t, name, input, kernel_size, stride, 0, 1, ceil_mode, {"norm": norm_type})


def _pool(t, name, input, kernel, stride, padding, dilation, ceil_mode, attrs):
    x = t.of(input)
    n = int(name[-2])
    if len(x.dims) not in (n + 1, n + 2):
        raise BadInputError(f"{name} of {tuple(x.dims)}: {n + 1} or {n + 2} dimensions expected")
    kernel = as_tuple(kernel, n)
    stride = kernel if stride is None or stride in ((), []) else as_tuple(stride, n)
    padding, dilation = as_tuple(padding, n), as_tuple(dilation, n)
    spatial = ops.pool_output(x.dims[-n:], kernel, stride, padding, dilation, ceil_mode)
    out = t.make((*x.dims[:-n], *spatial), [x])
    attrs |= {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": bool(ceil_mode),
    }
    t.note("pool", name, [x], [out], (), attrs)
    return out


@rule("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d")
@rule("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d")
@rule("adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices")
@rule("adaptive_max_pool3d_with_indices")
def adaptive_pool(t, name, input, output_size, return_indices=False):
    x = t.of(input)
    n = int(name[17])
    if len(x.dims) not in (n + 1, n + 2):
        raise BadInputError(f"{name} of {tuple(x.dims)}: {n + 1} or {n + 2} dimensions expected")
    wanted = as_tuple(output_size, n)
    spatial = tuple(s if o is None else o for s, o in zip(x.dims[-n:], wanted, strict=True))
    out = t.make((*x.dims[:-n], *spatial), [x])
    reads = ops.adaptive_pool_reads(math.prod(x.dims[:-n]), x.dims[-n:], spatial)
    t.note("adaptive_pool", name, [x], [out], (), {"output_size": spatial, "reads": reads})
    if return_indices or "indices" in name:
        return out, t.make(out.dims, [out], torch.int64)
    return out
