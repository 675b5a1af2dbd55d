"""One trace from beginning to end: `trace` and its result `Trace`.

Checks the arguments, runs the forward on shapes, runs it again on the meta device where shapes do
not get through, and puts everything back as found.
"""

import gc
import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.utils._pytree import tree_leaves

from convcost.core.errors import BadInputError
from convcost.counting.ops import OperatorCall
from convcost.counting.probe import ModuleStack, as_found, every_module
from convcost.counting.shapes.meta import AtenNotes, MetaTracer, NothingComputed
from convcost.counting.shapes.objects import NeedsValues, NoRule, Refused, Shape
from convcost.counting.shapes.tracer import Tracer

_MOST_ELEMENTS = 2**63 - 1  # torch counts in 64 bits


@dataclass(frozen=True)
class Trace:
    """What one forward pass did: the calls in order, and what could not be counted."""

    calls: list[OperatorCall]
    uncounted: dict[str, int]  # operator name -> how often it was called
    fallback: str  # "" or why the meta device was needed
    params: int  # elements of all parameters of the model, each once
    unused_params: dict[str, int]  # parameters no call used: name -> elements
    input_shapes: tuple[tuple[int, ...], ...]  # batch included
    batch: int | None
    training: bool | None
    model: str = ""  # class name of the model


def trace(
    model: nn.Module,
    input_shape: Sequence,
    *,
    batch: int | None = 1,
    training: bool | None = False,
    dtype=None,
) -> Trace:
    """Every operator call of one forward pass, without running it on data.

    `input_shape`: one input without the batch dimension, (3, 224, 224), or a tuple of such shapes
    for several inputs. `batch` is put in front of each; None if the shapes have it already.
    `training`: False counts evaluation mode, True training mode, None each module as it is.
    `dtype`: of the inputs, a torch dtype or its name, or one per input; None takes that of the
    first floating-point parameter ("int64" for token indices). All parameters count as trained.

    MACs are for the whole batch; one of complex numbers counts as one. A padding mask shortens no
    input: what it masks is counted. The model, torch's hooks and the random generators are left as
    found, also when the forward raises. Refused with `BadInputError`: shapes that are no positive
    ints, a model with uninitialised (lazy) parameters, and a forward pass that raises (the error
    names the module and what it received; the original exception is its cause).
    `trace(nn.Linear(3, 2), (3,)).calls[0].macs == 3 * 2`.
    """
    if training is not None and type(training) is not bool:
        raise BadInputError(f"training {training!r}: True, False or None is expected")
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper: same parameters
    if not isinstance(model, nn.Module):
        raise BadInputError(f"a torch.nn.Module is expected, got {type(model).__name__}")
    modules = every_module(model)
    _refuse_lazy(modules)
    shapes = _input_shapes(input_shape, batch)
    dtypes = _dtypes(model, dtype, len(shapes))
    fallback = ""
    try:
        tracer = run_forward(Tracer, model, modules, shapes, dtypes, training)
    except Failed as failed:
        first = failed.__cause__
        if isinstance(first, Refused):
            raise BadInputError(
                f"the forward pass of {type(model).__name__} failed in {failed}: {first}"
            ) from first
        fallback = _reason(first)
        try:
            tracer = run_forward(MetaTracer, model, modules, shapes, dtypes, training)
        except Failed as again:
            cause = again.__cause__
            text = f"{type(cause).__name__}: {cause}"
            if isinstance(first, BadInputError):  # our words, torch's error as the cause
                text = str(first)
            elif isinstance(first, NoRule):  # what fails there may be no fault of the model's
                text += f" (on the meta device, because there is {fallback})"
            elif isinstance(first, NeedsValues):
                text = f"{first}, which only real data could give ({text})"
            raise BadInputError(
                f"the forward pass of {type(model).__name__} failed in {again}: {text}"
            ) from cause
    unused = {}
    if not tracer.trained <= tracer.used:
        unused = {k: p.numel() for k, p in model.named_parameters() if id(p) not in tracer.used}
    return Trace(
        tracer.calls,
        dict(tracer.uncounted),
        fallback,
        tracer.params,
        unused,
        shapes,
        batch,
        training,
        type(model).__name__,
    )


def _refuse_lazy(modules) -> None:
    for module in modules:
        for name, tensor in module._parameters.items():
            if type(tensor) is not nn.Parameter and nn.parameter.is_lazy(tensor):
                raise BadInputError(
                    f"{name} of {type(module).__name__} has no shape yet (lazy module); run the "
                    "model once on real data first"
                )


class Failed(Exception):
    """The forward pass raised; the text says in which module."""


def _reason(error: BaseException) -> str:
    if isinstance(error, NoRule):
        return f"no rule for {error}"
    if isinstance(error, NeedsValues):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"


def run_forward(kind, model, modules, shapes, dtypes, training) -> Tracer:
    stack = ModuleStack(model, modules)
    tracer = kind(stack)
    if kind is Tracer and not any(global_hooks()):
        stack.shortcut = tracer.shortcut
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inputs = [
        Shape(s, d, device, tracer, False, d.is_floating_point, True)
        for s, d in zip(shapes, dtypes, strict=True)
    ]
    with _no_collection(), as_found(model, modules):
        switched = [m.__dict__ for m in modules if training not in (None, m.training)]
        for own in switched:
            own["training"] = training
        tracer.prepare(modules)
        try:
            if kind is MetaTracer:
                inputs = [tracer.stand_in(twin) for twin in inputs]
                with torch.no_grad(), stack, AtenNotes(tracer), tracer:
                    model(*inputs)
            else:
                with torch.no_grad(), NothingComputed(), stack, tracer:
                    model(*inputs)
        except (Exception, SystemExit) as error:  # a forward that calls exit() ends nothing of ours
            path, module, args = stack.failed or (stack.path, stack.module, tuple(inputs))
            raise Failed(_where(path, module, args)) from error
        finally:
            for own in switched:  # here, because as_found takes longer for what has changed
                own["training"] = not training
            tracer.forget()
    return tracer


def global_hooks():
    return (
        module_hooks._global_forward_hooks,
        module_hooks._global_forward_pre_hooks,
        module_hooks._global_backward_hooks,
        module_hooks._global_backward_pre_hooks,
    )


@contextmanager
def _no_collection():
    """A trace makes thousands of small objects that all die at its end. Left alone, Python's
    collector would take them for the start of a leak and search the whole process, which takes
    longer than the trace.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _where(path, module, args) -> str:
    given = [str(tuple(x.shape)) for x in tree_leaves(args) if isinstance(x, torch.Tensor)]
    place = f"module {path!r}" if path else "the root module"
    return f"{place} ({type(module).__name__}), which received {', '.join(given) or 'no tensor'}"


def _input_shapes(input_shape, batch) -> tuple[tuple[int, ...], ...]:
    try:
        given = tuple(input_shape)
        several = bool(given) and all(isinstance(s, (tuple, list)) for s in given)
        shapes = tuple(tuple(s) for s in given) if several else (given,)
        whole = all(type(n) is int and n > 0 for s in shapes for n in s)
    except TypeError:
        whole = False
    if not whole:
        raise BadInputError(
            f"input_shape {input_shape!r}: a tuple of positive ints such as (3, 224, 224), or a "
            "tuple of such tuples, is expected"
        )
    if batch is not None:
        if type(batch) is not int or batch < 1:
            raise BadInputError(f"batch {batch!r}: a positive int, or None, is expected")
        shapes = tuple((batch, *s) for s in shapes)
    for shape in shapes:
        if math.prod(shape) > _MOST_ELEMENTS:
            longest = len(str(max(shape)))
            raise BadInputError(
                f"an input of more than 2**63 - 1 numbers is no tensor (its longest side has "
                f"{longest} digit{'s' * (longest > 1)})"
            )
    return shapes


def _dtypes(model, dtype, n) -> list[torch.dtype]:
    if dtype is None:
        found = next((p.dtype for p in model.parameters() if p.is_floating_point()), None)
        return [found or torch.get_default_dtype()] * n
    given = list(dtype) if isinstance(dtype, (tuple, list)) else [dtype] * n
    out = []
    for d in given:
        found = getattr(torch, d, None) if isinstance(d, str) else d
        if not isinstance(found, torch.dtype):
            raise BadInputError(f"dtype {d!r}: a torch dtype or a name such as 'int64' is expected")
        out.append(found)
    if len(out) != n:
        raise BadInputError(f"{len(out)} dtypes for {n} inputs")
    return out
