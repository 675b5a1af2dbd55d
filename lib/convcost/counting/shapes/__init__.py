"""Send shapes instead of tensors through a model's forward pass and note every operator call.

`trace` runs the model's own forward with `Shape` objects: they answer torch's functions through
`__torch_function__`, carry a shape, a dtype and a device, and hold no data: all of them share one
empty tensor, so no memory is taken and the time does not depend on the input's resolution. What
multiplies, norms and pools has a rule: output shape, op type, multiply-accumulates. What only moves
or maps data has a name in a table, and torch says its result's shape. Functions that torch itself
writes in Python (multi_head_attention_forward, normalize, …) are followed inside.

Where a function has no rule, or the forward cannot run on shapes, the whole net is run again on
torch's meta device, where tensors have no storage either; the same rules note the calls, ATen
operators fill the gaps, and `Trace.fallback` says why. What neither path can count is in
`Trace.uncounted` by name.

Where to look: `run` one trace from beginning to end; `objects` what stands for a tensor;
`tracer` notes the calls; `dispatch` finds the code for a torch function; `kinds` the op types by
name, `generic` their rule; `table` the rules by name and how to add one; `rules_*` the rules by
family, `arguments` what they share; `shortcuts` common layers without their forward; `meta` the
fallback. Each imports only those named after it in run > meta > tracer > shortcuts > rules_* >
arguments, and dispatch > generic, table > kinds, objects.
"""

from convcost.counting.shapes import (  # noqa: F401 - importing them registers their rules
    rules_data,
    rules_layers,
    rules_products,
)
from convcost.counting.shapes.run import Trace, trace

__all__ = ["Trace", "trace"]
