"""One net, or several in turns, on the clock: samples, and whether the machine let them be fair."""

import contextlib
import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from convcost.core.errors import BadInputError
from convcost.counting.probe import as_found
from convcost.measuring import memory, sensors
from convcost.measuring.timing.blocks import (
    CaseError,
    at_least,
    interleaved,
    on_cuda,
    on_threads,
    refuse_elsewhere,
)
from convcost.measuring.timing.layers import evaluating

WHATS = ("inference", "training_step")
DRIFT_LIMIT = {"cpu": 0.05, "cuda": 0.02}
LOAD_LIMIT = 0.25

# A training step is to be the same work each time. At this rate the weights hardly move, so that
# the hundredth step on one batch neither diverges nor ends in denormal numbers, which are slow.
LEARNING_RATE = 1e-6
MOMENTUM = 0.9
AUXILIARY_WEIGHT = 0.3  # of GoogLeNet's auxiliary heads: Szegedy et al. 2015, section 5


@dataclass(frozen=True, eq=False)
class Case:
    """One thing to be timed: a model, what it is given and what is done with it.

    input_shape: of one image, (C, H, W) without the batch. what: "inference" or "training_step".
    bf16: under autocast to bfloat16. channels_last: images and a copy of the model in that order.
    fused: SGD's step in one kernel; None leaves the choice to torch. seed: of images and labels.
    """

    model: nn.Module
    input_shape: tuple[int, ...]
    batch: int
    what: str = "inference"
    bf16: bool = False
    channels_last: bool = False
    fused: bool | None = None
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.model, nn.Module):
            raise BadInputError(f"a torch.nn.Module is expected, got {type(self.model).__name__}")
        if self.what not in WHATS:
            raise BadInputError(f"what is {self.what!r}: choose {' or '.join(map(repr, WHATS))}")
        at_least(1, batch=self.batch)
        for side in self.input_shape:
            at_least(1, **{"a side of input_shape": side})
        if self.channels_last and len(self.input_shape) != 3:
            raise BadInputError(
                f"input_shape is {self.input_shape}: channels_last is for images (C, H, W)"
            )


@dataclass(frozen=True, eq=False)
class Measurement:
    """What one case took, and how the machine was meanwhile; what is not available is None.

    `samples`: a DataFrame, one row per repetition: `repetition` (from 0), `calls` (passes or steps
    of it), `seconds` (of all these calls; on CUDA between two events on the stream). `wall_s`:
    median wall-clock seconds per call; on a CPU the same as `seconds`. `drift`: the first case
    again at the very end, its median divided by its earlier one. `others_load`, `clock_mhz`,
    `temperature_c`, `throttled`: as in `measuring.sensors.Watch`; `energy_j` as there: of the whole
    measurement, warm-up and the other cases included. `instability`: what passed a limit, "" for
    nothing. `threads`: of torch's arithmetic.
    """

    samples: pd.DataFrame
    wall_s: float
    what: str
    batch: int
    device: str
    threads: int
    drift: float
    others_load: float | None
    clock_mhz: float | None
    temperature_c: float | None
    energy_j: float | None
    throttled: str | None
    instability: str

    @property
    def per_call_s(self) -> pd.Series:
        """Seconds per pass or step, one per repetition."""
        return self.samples.seconds / self.samples.calls

    @property
    def seconds(self) -> float:
        """Median seconds per pass or step."""
        return float(self.per_call_s.median())

    @property
    def stable(self) -> bool:
        """Whether load and drift stayed below their limits: what is not has no place in a fit."""
        return not self.instability


def measure(
    model: nn.Module,
    input_shape: tuple[int, ...],
    batch: int,
    what: str = "inference",
    *,
    bf16: bool = False,
    channels_last: bool = False,
    fused: bool | None = None,
    seed: int = 0,
    **options,
) -> Measurement:
    """How long one pass or one training step of a net takes: `measure_many` with one case.

    model, input_shape, …, seed: as in `Case`. options: those of `measure_many`.

    >>> done = measure(nn.Linear(4, 2), (4,), batch=8, repetitions=3, min_s=0.001)
    >>> len(done.samples), done.batch, min(done.per_call_s) <= done.seconds
    (3, 8, True)
    """
    case = Case(model, tuple(input_shape), batch, what, bf16, channels_last, fused, seed)
    return measure_many({"model": case}, **options)["model"]


@torch.inference_mode(False)  # wherever it is called from, a step needs gradients
def measure_many(
    cases: Mapping[str, Case],
    *,
    repetitions: int = 20,
    warmup: int = 3,
    min_s: float = 0.02,
    calls: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
    drift_limit: float | None = None,
    load_limit: float = LOAD_LIMIT,
    every_s: float = 0.5,
    skip_out_of_memory: bool = False,
) -> dict[str, Measurement]:
    """Passes and training steps of several nets, timed in turns on a machine that is watched.

    What comes out: name -> `Measurement`, in the order of the cases. repetitions, warmup, min_s,
    calls, threads, device: as in `interleaved`, to which one more call of each case is added before
    the warm-up. After all of them the first case is timed again, half as often (at least three
    times, where `repetitions` are as many); drift and load are those of the run, so that all cases
    share them, and are unstable together. drift_limit: share by which the repeated median may
    differ, None: 0.05, on CUDA 0.02. load_limit: processor cores kept busy by others. every_s:
    between two looks at the machine.

    Images (batch, *input_shape) are drawn from a normal distribution, labels evenly, both from the
    case's seed. Inference: evaluation and inference mode, the model is left as found. Training
    step: clearing the gradients, forward, cross-entropy, backward, SGD with momentum 0.9, on a
    copy of the model in training mode; outputs of auxiliary heads count 0.3 each, as GoogLeNet's.
    All copies, and the gradients of all training cases, are in memory together. Random generators,
    threads and the model are left as found, also after an exception. The way on CUDA, by events,
    has not been tried on a GPU yet.

    skip_out_of_memory: a case to which memory is refused, whenever that is, is not in what comes
    out. The others are begun again, without it; so a case has to fit beside those before it.

    Refused with `BadInputError`: no cases, a model that is not on `device`, in training outputs
    that are not one number per class, and what `Case` and `interleaved` refuse. What a model
    raises in its first call comes out as it is, memory refused among it; later than that it is the
    cause of a `ConvcostError`. Memory refused is neither with `skip_out_of_memory`.

    Source: ours; the order and the repeated first case, so that a change of the machine shows.
    """
    if not cases:
        raise BadInputError("cases: at least one name with a Case")
    at_least(1, repetitions=repetitions)
    gpu = on_cuda(device)
    limit = DRIFT_LIMIT["cuda" if gpu else "cpu"] if drift_limit is None else drift_limit
    for name, case in cases.items():
        refuse_elsewhere(case.model, device, name)
    options = {"repetitions": repetitions, "warmup": warmup, "min_s": min_s, "calls": calls}
    options |= {"device": device, "threads": threads, "every_s": every_s}
    cases = dict(cases)
    try:
        while cases:
            try:
                table, again, watch, used = _in_turns(cases, skip_out_of_memory, **options)
                break
            except CaseError as error:
                lost = error.case
                if not (skip_out_of_memory and memory.refused(error.__cause__, cases[lost].batch)):
                    raise
            # here, where the exception and all that its frames held are gone
            memory.give_back()
            del cases[lost]
        else:
            return {}
    finally:
        if gpu:
            memory.give_back()
    drift = drift_between(table[table.case == next(iter(cases))], again)
    shared = {
        "device": device,
        "threads": used,
        "drift": drift,
        "others_load": watch.others_load,
        "clock_mhz": watch.clock_mhz,
        "temperature_c": watch.temperature_c,
        "energy_j": watch.energy_j,
        "throttled": watch.throttled,
        "instability": instability(drift, watch.others_load, limit, load_limit),
    }
    return {
        name: _measurement(table[table.case == name], case, shared) for name, case in cases.items()
    }


def _in_turns(
    cases: dict[str, Case], name_lost: bool, *, device: str, threads: int | None, every_s: float,
    repetitions: int, warmup: int, min_s: float, calls: int | None,
) -> tuple[pd.DataFrame, pd.DataFrame, sensors.Watch, int]:  # fmt: skip
    """All cases in turns, the first one again, how the machine was, and torch's threads.

    `name_lost`: memory refused to a case before it is timed is a `CaseError`, as it is later.
    """
    options = {"min_s": min_s, "device": device}
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_threads(threads))
        for case in cases.values():
            stack.enter_context(as_found(case.model))
        models, functions = {}, {}
        for name, case in cases.items():
            function = _inference if case.what == "inference" else training_step
            with _named(name, case, name_lost):
                models[name] = model_of(case)
                functions[name] = function(models[name], case, device)
        for name, case in cases.items():
            if case.what == "inference":
                stack.enter_context(evaluating(models[name], device))
        for name, function in functions.items():
            with _named(name, cases[name], name_lost):
                function()
        table, again, watch = _watched(
            functions, repetitions, every_s=every_s, warmup=warmup, calls=calls, **options
        )
        return table, again, watch, torch.get_num_threads()


def watched(
    functions: Mapping[str, Callable[[], object]],
    *,
    repetitions: int = 20,
    device: str = "cpu",
    drift_limit: float | None = None,
    load_limit: float = LOAD_LIMIT,
    every_s: float = 0.5,
    **options,
) -> tuple[pd.DataFrame, str]:
    """Any functions in turns on a machine that is watched: (rows of `interleaved`, instability).

    As `measure_many`, for what is no module: the first one is timed again at the end, and what
    passed its limit is told in words, "" where nothing did. `options` are those of `interleaved`,
    which also says what is refused.
    """
    limit = (
        DRIFT_LIMIT["cuda" if on_cuda(device) else "cpu"] if drift_limit is None else drift_limit
    )
    table, again, watch = _watched(
        functions, repetitions, every_s=every_s, device=device, **{"warmup": 3} | options
    )
    drift = drift_between(table[table.case == next(iter(functions))], again)
    return table, instability(drift, watch.others_load, limit, load_limit)


def _watched(
    functions: Mapping[str, Callable[[], object]], repetitions: int, *, device: str, every_s: float,
    warmup: int, calls: int | None = None, **options,
) -> tuple[pd.DataFrame, pd.DataFrame, sensors.Watch]:  # fmt: skip
    """All functions in turns, the first one again, and how the machine was."""
    options = {"device": device} | options
    first = next(iter(functions), None)
    with sensors.watching(device, every_s=every_s) as watch:
        table = interleaved(
            functions, repetitions=repetitions, warmup=warmup, calls=calls, **options
        )
        again = interleaved(
            {first: functions[first]},
            repetitions=min(repetitions, max(3, math.ceil(repetitions / 2))),
            warmup=0,
            calls=int(table[table.case == first].calls.iloc[0]),
            **options,
        )
    return table, again, watch


@contextlib.contextmanager
def _named(name: str, case: Case, name_lost: bool):
    try:
        yield
    except Exception as error:
        if name_lost and memory.refused(error, case.batch):
            raise CaseError(name, error) from error
        raise


def _measurement(rows: pd.DataFrame, case: Case, shared: dict) -> Measurement:
    wall_s = float((rows.seconds / rows.calls).median())
    if "device_s" in rows:
        rows = rows.assign(seconds=rows.device_s)
    samples = rows[["repetition", "calls", "seconds"]].reset_index(drop=True)
    return Measurement(samples, wall_s, case.what, case.batch, **shared)


def drift_between(first: pd.DataFrame, again: pd.DataFrame) -> float:
    """Median seconds per call of `again` divided by that of `first`."""
    return float((again.seconds / again.calls).median() / (first.seconds / first.calls).median())


def instability(
    drift: float, others_load: float | None, drift_limit: float, load_limit: float
) -> str:
    """What passed its limit, in words; "" where nothing did. A load not available passes none.

    >>> instability(1.09, 0.8, 0.05, 0.25)
    'load 0.80 cores by others, limit 0.25; first case 9 % slower when repeated, limit 5 %'
    """
    found = []
    if others_load is not None and others_load > load_limit:
        found.append(f"load {others_load:.2f} cores by others, limit {load_limit:g}")
    if abs(drift - 1) > drift_limit:
        word = "slower" if drift > 1 else "faster"
        by, limit = (f"{100 * share:.2g} %" for share in (abs(drift - 1), drift_limit))
        found.append(f"first case {by} {word} when repeated, limit {limit}")
    return "; ".join(found)


# ---------------------------------------------------------------- what operator times share


def model_of(case: Case) -> nn.Module:
    """The model itself where it stays as it is, and a copy of it where it does not."""
    if case.what == "inference" and not case.channels_last:
        return case.model
    model = copy.deepcopy(case.model)
    return model.to(memory_format=torch.channels_last) if case.channels_last else model


def _inference(model: nn.Module, case: Case, device: str) -> Callable[[], object]:
    images = images_of(case, device)

    def inference():
        with torch.inference_mode(), autocast(case, device):
            return model(images)

    return inference


def training_step(model: nn.Module, case: Case, device: str) -> Callable[[], torch.Tensor]:
    """A function that does one step with the model, from clearing the gradients on.

    What it gives is the loss. It may be called in inference mode. The model changes, and is put
    into training mode here.
    """
    model.train()
    optimiser = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=case.fused
    )
    images = images_of(case, device)
    with torch.no_grad(), autocast(case, device):
        classes = logits_of(model(images))[0].shape[1]
    generator = torch.Generator().manual_seed(case.seed)
    labels = torch.randint(classes, (case.batch,), generator=generator).to(device)

    def step():
        with torch.inference_mode(False):
            optimiser.zero_grad(set_to_none=True)
            with autocast(case, device):
                main, *auxiliary = logits_of(model(images))
                loss = functional.cross_entropy(main, labels)
                for one in auxiliary:
                    loss = loss + AUXILIARY_WEIGHT * functional.cross_entropy(one, labels)
            loss.backward()
            optimiser.step()
            return loss.detach()

    return step


def images_of(case: Case, device: str) -> torch.Tensor:
    """(batch, *input_shape) from the case's seed, in its memory order."""
    generator = torch.Generator().manual_seed(case.seed)
    images = torch.randn(case.batch, *case.input_shape, generator=generator).to(device)
    if case.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return images


def logits_of(outputs) -> list[torch.Tensor]:
    """The main output and those of auxiliary heads, each (N, classes).

    BadInputError for anything else: a segmentation net's dict, boxes, a sequence.
    """
    several = list(outputs) if isinstance(outputs, tuple) else [outputs]
    found = [one for one in several if one is not None]
    if not found or not all(isinstance(one, torch.Tensor) and one.ndim == 2 for one in found):
        shapes = [tuple(one.shape) if isinstance(one, torch.Tensor) else type(one) for one in found]
        raise BadInputError(
            f"the model gives {shapes}: for a training step (N, classes) is expected, or a tuple "
            "of such, the main one first"
        )
    return found


def autocast(case: Case, device: str):
    """The context in which a forward pass of the case runs."""
    if not case.bf16:
        return contextlib.nullcontext()
    return torch.autocast(device.split(":")[0], torch.bfloat16)
