"""Which operators a training step spends its time in, by torch's own profiler."""

import os
import re
from collections import defaultdict

import pandas as pd
import torch
from torch import nn
from torch.profiler import ProfilerActivity

from convcost.core.errors import ConvcostError
from convcost.counting.probe import as_found
from convcost.measuring.timing.blocks import (
    at_least,
    interleaved,
    on_cuda,
    on_threads,
    refuse_elsewhere,
)
from convcost.measuring.timing.measure import Case, model_of, training_step

# The profiler's library logs every start to standard error; it reads this when it is first used.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

STEP = "(step)"  # the row of the whole step
OPTIMISER = "optimiser"
OTHER = "other"
UNCLAIMED = "(no operator)"  # the row of what a GPU did and no operator had launched

# What CUDA itself does on the CPU, as cudaLaunchKernel and "Lazy Function Loading": no operators.
# Torch 2.11 counts under them, once more, kernels of operators that happen to have their number.
_RUNTIME = re.compile(r"cu(da)?[A-Z]|[A-Z]\w+( \w+)+$")

# Names as `_plain` gives them; the first that fits.
_PATTERNS = (
    ("conv", r"conv"),
    ("norm", r"norm$|norm(impl|legit)|normstat"),
    ("pool", r"pool"),
    ("linear", r"^(linear|addmm|mm|bmm|baddbmm|matmul)$"),
    (
        "activation",
        r"relu|threshold|hardtanh|hardswish|hardsigmoid|sigmoid|tanh|silu|gelu|^clampmin$",
    ),
    ("concat", r"^cat$"),
    (
        "elementwise",
        r"^(add|sub|mul|div|neg|pow|copy|fill|zero|bernoulli|sum|mean|to|tocopy|clone|contiguous)$"
        r"|dropout",
    ),
)
GROUPS = (*(group for group, _ in _PATTERNS), OPTIMISER, OTHER)


@torch.inference_mode(False)  # wherever it is called from, a step needs gradients
def operator_times(
    model: nn.Module,
    input_shape: tuple[int, ...],
    batch: int,
    *,
    repetitions: int = 5,
    warmup: int = 2,
    threads: int | None = None,
    bf16: bool = False,
    channels_last: bool = False,
    fused: bool | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> pd.DataFrame:
    """How long each kind of operator takes in one training step.

    What comes out: a DataFrame, per repetition one row per operator and a first one, operator and
    group "(step)". Columns: `repetition`, `operator`, `group`, `calls` in the step, `seconds`:
    inside this operator, what it calls left out; on CUDA seconds of the device in the kernels that
    it launched, on a CPU those of the thread that calls. "(step)" is the wall clock of a step
    without the profiler, which takes turns with the profiled one: the operators together are less
    than it where Python takes time between them, and on a GPU where it waits; they are more by what
    the profiler adds to each call. On CUDA there is a row "(no operator)", group other, where
    kernels are left over, so that all together are what the device was busy for.

    The step is that of `measure`, with the same arguments. group: conv, linear, norm, activation,
    pool, concat, elementwise, optimiser, other. An operator that another one calls belongs with
    that, so memory asked for by a convolution is "aten::empty in conv". Not so a change of type
    ("elementwise" wherever it happens), and gradients of several branches added up ("elementwise").
    All that the optimiser's step and its clearing of gradients do is "… in optimiser". The backward
    pass of an operator is in its group. The rest, the loss among it, is "other".

    Refused: as by `measure`. ConvcostError where the profiler sees nothing of the GPU.

    Source: torch.profiler, self times of its events.

    >>> table = operator_times(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2), batch=3,
    ...                        repetitions=1)
    >>> table[table.operator == "aten::addmm"][["group", "calls"]].values.tolist()
    [['linear', 1]]
    """
    at_least(1, repetitions=repetitions)
    gpu = on_cuda(device)
    case = Case(model, tuple(input_shape), batch, "training_step", bf16, channels_last, fused, seed)
    refuse_elsewhere(model, device, "model")
    profiles = []
    with on_threads(threads), as_found(model):
        step = training_step(model_of(case), case, device)
        step()

        def profiled():
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
            with torch.profiler.profile(activities=activities) as profile:
                step()
                if gpu:
                    torch.cuda.synchronize(device)
            profiles.append(profile)

        table = interleaved(
            {STEP: step, "profiled": profiled},
            repetitions=repetitions, calls=1, warmup=warmup, device=device,
        )  # fmt: skip
    step_s = table[table.case == STEP].set_index("repetition").seconds
    rows = []
    for repetition, profile in enumerate(profiles[-repetitions:]):
        rows.append((repetition, STEP, STEP, 1, step_s[repetition]))
        for (operator, group), (calls, seconds) in _self_times(profile.events(), gpu).items():
            rows.append((repetition, operator, group, calls, seconds))
    return pd.DataFrame(rows, columns=["repetition", "operator", "group", "calls", "seconds"])


def _self_times(events, gpu: bool) -> dict[tuple[str, str], tuple[int, float]]:
    """(operator, group) -> (calls, seconds), the longest first."""
    calls, microseconds = defaultdict(int), defaultdict(float)
    kernels, kernels_us, claimed = 0, 0.0, 0
    for event in events:
        if event.device_type != torch.autograd.DeviceType.CPU:
            # a kernel or a copy, whose time is that of the operator which launched it; or the
            # shadow there of a range of operators
            if not event.is_user_annotation:
                kernels, kernels_us = kernels + 1, kernels_us + event.time_range.elapsed_us()
            continue
        if gpu and _RUNTIME.match(event.name):
            continue
        claimed += len(event.kernels)
        callers, above = [], event.cpu_parent
        while above is not None:
            callers.append(above.name)
            above = above.cpu_parent
        key = labelled(event.name, callers)
        calls[key] += 1
        microseconds[key] += event.self_device_time_total if gpu else event.self_cpu_time_total
    if gpu and not kernels:
        raise ConvcostError(
            "torch's profiler saw nothing that the GPU did, so operators have no times: is another "
            "profiler at work, or CUPTI not to be had?"
        )
    if kernels > claimed:
        key, rest_us = (UNCLAIMED, OTHER), kernels_us - sum(microseconds.values())
        calls[key], microseconds[key] = kernels - claimed, max(rest_us, 0.0)
    order = sorted(microseconds, key=microseconds.get, reverse=True)
    return {key: (calls[key], microseconds[key] / 1e6) for key in order}


def labelled(name: str, callers: list[str]) -> tuple[str, str]:
    """(operator, group) of an operator by its name and those of its callers, the nearest first.

    >>> labelled("aten::empty", ["aten::convolution", "aten::conv2d"])
    ('aten::empty in conv', 'conv')
    """
    if _of_optimiser(name):
        return name, OPTIMISER
    if any(map(_of_optimiser, callers)):
        return f"{name} in {OPTIMISER}", OPTIMISER
    own = _group(name)
    inside = [one for one in (name, *callers) if not _of_engine(one)]
    if any(one in ("aten::to", "aten::_to_copy") for one in inside):
        group = "elementwise"
    else:
        groups = [_group(one) for one in inside]
        group = next((one for one in reversed(groups) if one != OTHER), own)
        if not inside[1:] and own == OTHER:
            group = next((_group(one) for one in callers), OTHER)
    return (name if group == own else f"{name} in {group}"), group


def _of_optimiser(name: str) -> bool:
    return name.startswith("Optimizer.")


def _of_engine(name: str) -> bool:
    """Around a node of the backward pass; it also adds up the gradients of several branches."""
    return name.startswith("autograd::engine::")


def _group(name: str) -> str:
    plain = _plain(name)
    return next((group for group, pattern in _PATTERNS if re.search(pattern, plain)), OTHER)


def _plain(name: str) -> str:
    """One name for what an operator, its form in place and its backward pass are called.

    >>> _plain("aten::_to_copy"), _plain("autograd::engine::evaluate_function: ToCopyBackward0")
    ('tocopy', 'tocopy')
    """
    last = re.split("::|: ", name)[-1].lower().replace("_", "")
    return re.sub(r"backward\d*$", "", last)
