"""The tracer: sees every torch function of a forward pass, sends it to its entry, notes calls."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch.overrides import TorchFunctionMode

from convcost.counting.ops import MAC_OPS, OperatorCall
from convcost.counting.probe import ModuleStack
from convcost.counting.shapes.dispatch import ENTRIES, entry_of
from convcost.counting.shapes.objects import Shape, Weight
from convcost.counting.shapes.shortcuts import QUICK

# A frozen dataclass fills its fields one by one through object.__setattr__; thousands of calls per
# net are made a third faster this way. A test compares the result with the constructor's.
_new_call, _fill = object.__new__, object.__setattr__
_made = Shape.made


class Tracer(TorchFunctionMode):
    """Notes operator calls. As a torch function mode it sees every torch function of the forward,
    also those on parameters alone, so nothing is computed and no buffer is written.
    """

    def __init__(self, stack: ModuleStack):
        super().__init__()
        self.stack = stack
        self.calls: list[OperatorCall] = []
        self.real: dict[int, Weight] = {}  # id of a tensor -> what stands for it
        self.used: set[int] = set()  # ids of the tensors that calls used; known at the end
        self.trained: set[int] = set()  # ids of the model's parameters
        self.params = 0  # their elements, each once
        self.uncounted: Counter[str] = Counter()
        self.metas: dict[tuple, torch.Tensor] = {}  # (shape, dtype) -> a tensor on the meta device
        self.answers: dict[tuple, object] = {}  # (function, arguments) -> what torch gave for them

    def __torch_function__(self, func, kinds, args=(), kwargs=None):
        entry = ENTRIES.get(func) or entry_of(func)
        return entry(self, args, kwargs or {})

    def forget(self):
        """Drop the shapes: they point here and would only go with the next garbage collection."""
        self.used = {key for key, weight in self.real.items() if weight.used}
        self.real.clear()
        self.stack.shortcut = None

    def inside(self, func, args, kwargs):
        """Run a torch function written in Python, so that its own calls arrive here."""
        with self:
            return func(*args, **kwargs)

    def of(self, x):
        """`x` as a Shape: itself, or the Weight that stands for a parameter or another tensor."""
        kind = type(x)
        if kind is Shape or kind is Weight:
            return x
        known = self.real.get(id(x))
        if known is None:
            with torch._C.DisableTorchFunction():  # this mode would see the attributes being read
                known = self.real[id(x)] = Weight(x)
        return known

    def on_meta(self, shape, dtype):
        """A tensor of the meta device, the same one for the same shape and dtype."""
        known = self.metas.get((shape, dtype))
        if known is None:
            known = self.metas[shape, dtype] = torch.empty(shape, dtype=dtype, device="meta")
        return known

    def prepare(self, modules):
        """Know the parameters and buffers before the mode is on: cheaper than one by one."""
        real, params = self.real, 0
        for module in modules:
            for x in module._parameters.values():
                if x is not None and id(x) not in real:
                    real[id(x)] = weight = Weight(x)
                    params += weight.elements
            for name, x in module._buffers.items():
                # batch norms write it in training only, and there are as many as norms
                if x is not None and name != "num_batches_tracked" and id(x) not in real:
                    real[id(x)] = Weight(x)
        self.params = params
        self.trained = {key for key, weight in real.items() if weight.trained}

    def shown(self, x):
        """What the model gets to see of a Weight: a Shape."""
        return Shape(x.dims, x.dtype, x.device, self, x.wants, x.wants_in, False, x.origins)

    def make(self, shape, parents: Sequence[Shape], dtype=None) -> Shape:
        """A result computed from `parents`."""
        first = parents[0]
        dtype = dtype or first.dtype
        if len(parents) == 1 or (first.wants and first.fed):
            wants, wants_in, fed, origins = first.wants, first.wants_in, first.fed, first.origins
        else:
            wants = wants_in = fed = False
            for p in parents:
                wants = wants or p.wants
                wants_in = wants_in or p.wants_in
                fed = fed or p.fed
            origins = ()
            if not fed:
                origins = tuple({id(o): o for p in parents for o in p.origins}.values())
        if dtype is not first.dtype and not (dtype.is_floating_point or dtype.is_complex):
            wants = wants_in = False
        return _made(tuple(shape), dtype, first.device, self, wants, wants_in, fed, origins)

    def note(
        self,
        op: str,
        function: str,
        data: Sequence[Shape],
        outputs: Sequence[Shape],
        weights: Sequence[Shape] = (),
        attrs: dict | None = None,
        macs: int = 0,
        gradient: int = 0,
        input_gradient: int = 0,
    ) -> None:
        """Add a call. `data` is sorted into inputs and weights by where it comes from."""
        inputs, moved, wants, params = [], 0, False, 0
        named = bool(weights)
        for s in data:
            if s.fed or not s.origins:
                inputs.append(s.dims)
                moved += s.nbytes
                wants = wants or s.wants
            else:
                weights = [*weights, s]
        # what a bookkeeping counter does (num_batches_tracked += 1) is no operator of the net
        if not inputs and not named and not macs and not any(o.dims for o in outputs):
            return
        for s in weights:
            moved += s.nbytes
            for w in (s,) if type(s) is Weight else [self.of(x) for x in s.origins]:
                w.used = True
                # weights that only change their shape on the way belong to the call that uses them
                if not w.owned and (named or inputs):
                    w.owned = True
                    if w.trained:
                        params += w.elements
        for s in outputs:
            moved += s.nbytes
        acts = sum([math.prod(s.dims) for s in outputs]) if op in MAC_OPS else 0
        call = _new_call(OperatorCall)
        _fill(
            call,
            "__dict__",
            {
                "path": self.stack.path,
                "module_type": type(self.stack.module).__name__,
                "op": op,
                "function": function,
                "inputs": tuple(inputs),
                "weights": tuple([s.dims for s in weights]),
                "outputs": tuple([s.dims for s in outputs]),
                "attrs": {} if attrs is None else attrs,
                "macs": macs,
                "params": params,
                "acts": acts,
                "input_needs_grad": wants,
                "gradient_macs": gradient,
                "input_gradient_macs": input_gradient,
                "bytes": 0 if op == "reshape" else moved,
            },
        )
        self.calls.append(call)

    def shortcut(self, module, args):
        """The rule of a common torch layer instead of its forward, which would come to the same."""
        quick = QUICK.get(type(module))
        if quick is None or len(args) != 1 or type(args[0]) is not Shape:
            return NotImplemented
        own = module.__dict__
        if (
            own["_forward_hooks"]
            or own["_forward_pre_hooks"]
            or own["_backward_hooks"]
            or own["_backward_pre_hooks"]
            or "forward" in own
        ):
            return NotImplemented
        return quick(self, own, args[0])
