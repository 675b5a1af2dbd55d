"""Count what a network costs: operations, parameters, activations and bytes, call by call.

The counts come from `counting.shapes`, which sends shapes through the model's own forward; this
module adds them up. It loads torch only when `count` is called.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape

from convcost.core.errors import BadInputError
from convcost.core.units import FLOPS_PER_MAC, readable
from convcost.counting.ops import ZERO_COST, OperatorCall


@dataclass(frozen=True, repr=False)
class Count:
    """The cost of one forward pass (and, by derivation, of its backward pass) of a whole batch.

    All numbers are exact ints. `macs` are multiply-accumulates of convolutions, linear layers,
    matrix products, attention and recurrent cells; biases, norms, activations and pooling are 0
    in this convention and stand in `table` with `macs == 0` (`zero_reason` says why, by op type).
    """

    calls: list[OperatorCall] = field()  # in the order of execution
    uncounted: dict[str, int]  # operators without a rule: name -> how often; {} is the good case
    fallback: str  # "" or why the net was run on the meta device instead of on shapes
    params: int  # elements of all parameters of the model, a shared one once
    unused_params: dict[str, int]  # parameters no call used (auxiliary heads in evaluation mode)
    model: str  # class name
    input_shapes: tuple[tuple[int, ...], ...]  # batch included
    batch: int | None
    training: bool | None
    convention: str | None = None  # key of the named convention, if one was asked for
    total: int | None = None  # that convention's total …
    unit: str | None = None  # … in that convention's own word

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass."""
        return sum(call.macs for call in self.calls)

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass: 2 per multiply-accumulate."""
        return FLOPS_PER_MAC * self.macs

    @cached_property
    def acts(self) -> int:
        """Output elements of the operators with multiply-accumulates (pycls's "activations")."""
        return sum(call.acts for call in self.calls)

    @cached_property
    def bytes(self) -> int:
        """Bytes read and written if each call reads its inputs and weights once and writes once."""
        return sum(call.bytes for call in self.calls)

    @cached_property
    def backward_flops(self) -> int:
        """FLOPs of the backward pass of usual training: a gradient for every parameter and for
        every activation that a parameter stands before; none for the network's input.
        """
        return FLOPS_PER_MAC * sum(call.gradient_macs for call in self.calls)

    @cached_property
    def backward_flops_with_input_gradient(self) -> int:
        """`backward_flops` plus the gradient for the network's input: the first layer's share."""
        extra = sum(call.input_gradient_macs for call in self.calls)
        return self.backward_flops + FLOPS_PER_MAC * extra

    @property
    def training_flops(self) -> int:
        """Forward and backward of one training step: `flops + backward_flops`."""
        return self.flops + self.backward_flops

    @property
    def zero_reason(self) -> dict[str, str]:
        """Why the op types of this net that have no multiply-accumulates have none."""
        return {op: ZERO_COST[op] for op in sorted({c.op for c in self.calls} & ZERO_COST.keys())}

    @cached_property
    def table(self):
        """DataFrame, one row per operator call in order of execution.

        Columns: path, module_type, op, function, input_shape, output_shape (one shape, or a tuple
        of shapes if there are several; batch included), macs, flops, params (of the parameters the
        call is the first to use), acts, bytes (inputs and weights read once, outputs written once,
        at their dtypes; 0 for a reshape, which moves nothing), backward_flops (without a gradient
        for the network's input), arithmetic_intensity (flops per byte; 0 where no bytes move).
        """
        import pandas as pd

        rows = [
            {
                "path": c.path,
                "module_type": c.module_type,
                "op": c.op,
                "function": c.function,
                "input_shape": c.inputs[0] if len(c.inputs) == 1 else c.inputs,
                "output_shape": c.outputs[0] if len(c.outputs) == 1 else c.outputs,
                "macs": c.macs,
                "flops": FLOPS_PER_MAC * c.macs,
                "params": c.params,
                "acts": c.acts,
                "bytes": c.bytes,
                "backward_flops": FLOPS_PER_MAC * c.gradient_macs,
                "arithmetic_intensity": FLOPS_PER_MAC * c.macs / c.bytes if c.bytes else 0.0,
            }
            for c in self.calls
        ]
        columns = (
            "path module_type op function input_shape output_shape macs flops params acts bytes "
            "backward_flops arithmetic_intensity"
        )
        return pd.DataFrame(rows, columns=columns.split())

    def by_type(self):
        """DataFrame, one row per op type: calls, macs, flops, params, acts, bytes,
        backward_flops, share (of the macs); the most expensive first.
        """
        return self._grouped(self.table.assign(calls=1), "op")

    def by_module(self, depth: int = 1):
        """DataFrame, one row per module down to `depth` dots of its path, in order of execution.

        `depth=1` gives the direct children ("layer1"), 2 their children ("layer1.0"); what the
        root's own forward calls is under "". Columns as in `by_type`. Raises `BadInputError` for a
        depth below 1.
        """
        if depth < 1:
            raise BadInputError(f"depth {depth}: 1 (the children of the root) or more is expected")
        cut = self.table["path"].map(lambda path: ".".join(path.split(".")[:depth]))
        return self._grouped(self.table.assign(calls=1, module=cut), "module", ordered=True)

    def _grouped(self, table, key, ordered=False):
        columns = ["calls", "macs", "flops", "params", "acts", "bytes", "backward_flops"]
        grouped = table.groupby(key, sort=False)[columns].sum()
        if not ordered:
            grouped = grouped.sort_values("macs", ascending=False, kind="stable")
        grouped["share"] = grouped["macs"] / self.macs if self.macs else 0.0
        return grouped.reset_index()

    def _lines(self) -> list[tuple[str, str]]:
        lines = [
            ("model", self.model),
            ("input", " and ".join(_times(s) for s in self.input_shapes)),
            ("macs", f"{self.macs:,}  ({readable(self.macs)})"),
            ("flops", f"{self.flops:,}  (2 per multiply-accumulate)"),
            ("params", f"{self.params:,}  ({readable(self.params)})"),
            ("acts", f"{self.acts:,}  ({readable(self.acts)})"),
            ("backward flops", f"{self.backward_flops:,}  (no gradient for the input)"),
        ]
        if self.convention is not None:
            lines.append((f"by {self.convention}", f"{self.total:,} {self.unit}"))
        if self.unused_params:
            n = sum(self.unused_params.values())
            lines.append(("not used", f"{n:,} of the parameters, in this mode"))
        if self.uncounted:
            names = ", ".join(f"{name} ({n})" for name, n in self.uncounted.items())
            lines.append(("NOT COUNTED", names))
        if self.fallback:
            lines.append(("meta device", self.fallback))
        return lines

    def __repr__(self) -> str:
        lines = self._lines()
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in lines)

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th>"
            f"<td style='text-align:left'>{escape(text)}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table>{cells}</table>"


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "scalar"


def _refuse_data(input_shape) -> None:
    """A tensor (or an array) is not its shape, and is not to be printed number by number."""
    given = input_shape if isinstance(input_shape, list | tuple) else (input_shape,)
    for item in given:
        if getattr(item, "shape", None) is not None:
            shape = tuple(item.shape)
            raise BadInputError(
                f"input_shape holds a {type(item).__name__} of shape {shape}: a shape is wanted, "
                "a tuple of ints without the batch such as (3, 224, 224), or with it and batch=None"
            )


def count(
    model,
    input_shape: Sequence,
    *,
    batch: int | None = 1,
    convention: str | None = None,
    training: bool | None = False,
    dtype=None,
) -> Count:
    """Count one forward pass of `model`.

    model: a torch.nn.Module on any device, meta included; it is left exactly as found.
    input_shape: without the batch, (3, 224, 224); a tuple of shapes for several inputs.
    batch: put in front of every input; all counts are totals for the whole batch, so batch=4
        gives four times the macs of batch=1. None: the shapes have their batch already.
    convention: also apply a named convention ("thop", "fvcore", …) and give its `.total` in its
        own `.unit`; `.macs` and `.flops` stay ours.
    training: False evaluation mode (auxiliary heads off), True training mode, None as it is.
    dtype: of the inputs, one or one per input; "int64" for token indices.

    Raises `BadInputError` for an unknown convention (listing the known ones), a shape that is no
    positive ints, data in place of its shape, and a forward pass that raises, naming the module
    and the shapes it received.

    >>> from torch import nn
    >>> count(nn.Conv2d(3, 8, 3), (3, 5, 5)).macs == 3*3*3 * 8 * 3*3
    True
    >>> count(nn.Linear(3, 2), (3,), batch=4).flops == 2 * 4 * 3*2
    True
    """
    _refuse_data(input_shape)
    chosen = None
    if convention is not None:
        from convcost.counting import conventions

        chosen = conventions.get(convention)
    from convcost.counting.shapes import trace

    found = trace(model, input_shape, batch=batch, training=training, dtype=dtype)
    return Count(
        calls=found.calls,
        uncounted=found.uncounted,
        fallback=found.fallback,
        params=found.params,
        unused_params=found.unused_params,
        model=found.model,
        input_shapes=found.input_shapes,
        batch=batch,
        training=training,
        convention=chosen.key if chosen else None,
        total=chosen.total(found) if chosen else None,
        unit=chosen.unit if chosen else None,
    )
