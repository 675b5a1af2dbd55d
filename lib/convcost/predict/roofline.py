"""The roofline of a training step: each operator call at the lower of two roofs."""

from dataclasses import dataclass

import numpy as np

from convcost.core.errors import BadInputError
from convcost.core.units import FLOPS_PER_MAC
from convcost.counting.ops import OperatorCall, elements
from convcost.predict.devices import Device, device

PARTS = ("training", "validation")
ARITHMETIC = ("torch default", "fp32", "tf32", "bf16")

FLOAT_BYTES = 4
# SGD with momentum reads weight, gradient and momentum and writes weight and momentum
OPTIMISER_BYTES = 5 * FLOAT_BYTES
# multiply the momentum, add the gradient, change the weight: one list operation each
OPTIMISER_CALLS = 3
CONVOLUTIONS = ("conv", "conv_transpose")


@dataclass(frozen=True)
class Prediction:
    """One step: what it does, and how long the units that do it are busy at their peaks."""

    flops: int
    bytes: int
    calls: int  # that move data: a view starts nothing
    busy_s: float  # compute_s + memory_s
    compute_s: float  # of the calls that the peak of arithmetic limits
    memory_s: float  # of those that the memory's bandwidth limits


def call_seconds(flops, bytes, peak_flops_per_s, bytes_per_s):
    """The roofline: the longer of computing and moving, as if both went on at the same time.

    Numbers, or arrays and Series of one length. Source: Williams, Waterman, Patterson 2009,
    "Roofline", equation of attainable performance, divided into the work.

    >>> call_seconds(200, 10, 100, 10), call_seconds(50, 30, 100, 10)
    (2.0, 3.0)
    """
    both = np.maximum(np.divide(flops, peak_flops_per_s), np.divide(bytes, bytes_per_s))
    return float(both) if np.ndim(both) == 0 else both


def step(
    counted,
    batch: int,
    device: Device | str,
    part: str = "training",
    *,
    arithmetic: str = "torch default",
) -> Prediction:
    """One step of a counted net on a device, at the device's peaks and with nothing in the way.

    counted: what `convcost.count` gives, of any batch with the batch in front; it is scaled to
        `batch`: activations grow with it, weights are read once a call.
    device: a `Device`, or the name of one in `predict.devices`.
    part: "validation" is the forward pass. "training" adds, after each call, its backward:
        FLOPs as `Count.backward_flops` has them (for a convolution twice the forward's, once where
        no gradient is wanted for the input), bytes twice the forward's (the incoming gradient and
        what was saved are read, two gradients written, so 2 x (inputs + weights + outputs) within
        a few per cent), two launches; and SGD with momentum, which reads weight, gradient and
        momentum and writes two of them: 5*4 bytes a parameter, no FLOPs in our convention.
    arithmetic: one peak for all calls ("fp32", "tf32", "bf16"; bytes stay as counted), or "torch
        default": since PyTorch 1.12 convolutions may use TF32 where the device has it
        (torch.backends.cudnn.allow_tf32), linear layers and matrix products do not.

    The time of a call is `call_seconds`; of two equal roofs the arithmetic one is named. Real steps
    take longer: no kernel reaches its peak, and caches, fused kernels and smaller types, which
    could make one shorter, are left out.

    Raises `BadInputError` for an unknown part, arithmetic or device, a peak that the device has
    not, and a batch below 1 or a count without its batch.

    >>> from convcost import count
    >>> from torch import nn
    >>> here = Device("here", fp32_flops_per_s=1.0, memory_bytes_per_s=1e6)
    >>> step(count(nn.Linear(3, 2, bias=False), (3,)), 4, here, "validation").busy_s == 2 * 3*2 * 4
    True
    """
    _check(part, PARTS, "part")
    _check(arithmetic, ARITHMETIC, "arithmetic")
    if batch < 1 or not counted.batch:
        raise BadInputError(
            f"batch {batch} of a count of batch {counted.batch}: both must be 1 or more; "
            "count with batch=1, not with batch=None"
        )
    machine = _device(device)
    compute_s = memory_s = 0.0
    total_flops = total_bytes = calls = 0
    for flops, moved, peak, launches in _work(counted, batch, machine, part, arithmetic):
        busy = call_seconds(flops, moved, peak, _peak(machine, "memory_bytes_per_s"))
        if flops and flops / peak == busy:
            compute_s += busy
        else:
            memory_s += busy
        total_flops += flops
        total_bytes += moved
        calls += launches
    return Prediction(total_flops, total_bytes, calls, compute_s + memory_s, compute_s, memory_s)


def _work(counted, batch: int, machine: Device, part: str, arithmetic: str):
    """(FLOPs, bytes, peak, launches) of everything one step does, call by call."""
    for call in counted.calls:
        if not call.bytes:
            continue
        peak = _peak(machine, _arithmetic_of(call, machine, arithmetic))
        moved = _bytes_at(call, counted.batch, batch)
        yield _at(FLOPS_PER_MAC * call.macs, counted.batch, batch), moved, peak, 1
        if part == "training":
            gradient = FLOPS_PER_MAC * call.gradient_macs
            yield _at(gradient, counted.batch, batch), 2 * moved, peak, 2
    if part == "training":
        fp32 = _peak(machine, "fp32_flops_per_s")
        yield 0, OPTIMISER_BYTES * counted.params, fp32, OPTIMISER_CALLS


def _at(total: int, counted_batch: int, batch: int) -> int:
    return total * batch // counted_batch  # exact: every total is a multiple of its batch


def _bytes_at(call: OperatorCall, counted_batch: int, batch: int) -> int:
    """Bytes of a call at another batch: weights (float32) stay, the rest grows."""
    weights = FLOAT_BYTES * sum(elements(shape) for shape in call.weights)
    return weights + _at(call.bytes - weights, counted_batch, batch)


def _arithmetic_of(call: OperatorCall, machine: Device, arithmetic: str) -> str:
    if arithmetic != "torch default":
        return f"{arithmetic}_flops_per_s"
    tf32 = call.op in CONVOLUTIONS and machine.tf32_flops_per_s is not None
    return "tf32_flops_per_s" if tf32 else "fp32_flops_per_s"


def _peak(machine: Device, name: str) -> float:
    value = getattr(machine, name)
    if value is None:
        raise BadInputError(f"{machine.name} has no {name}: no source confirms one. {machine.note}")
    return value


def _device(wanted: Device | str) -> Device:
    return device(wanted) if isinstance(wanted, str) else wanted


def _check(value: str, valid: tuple[str, ...], what: str) -> None:
    if value not in valid:
        raise BadInputError(f"no {what} is called {value!r}; there are: {', '.join(valid)}")
