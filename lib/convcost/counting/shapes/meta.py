"""The fallback: the same notes, taken while the model runs on torch's meta device.

Where shapes do not get through, tensors without storage do. The rules note what they know; ATen
operators fill the gaps, those without multiply-accumulates by the table below.
"""

import torch
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from convcost.counting.shapes.dispatch import (
    ANSWERS,
    ENTRIES,
    GETTERS_OF_TENSORS,
    QUERIES,
    VALUES,
    entry_of,
)
from convcost.counting.shapes.kinds import KINDS
from convcost.counting.shapes.objects import NoRule, Refused, Shape, Weight, words
from convcost.counting.shapes.rules_products import attention, convolution, transposed_convolution
from convcost.counting.shapes.table import RENAMED, RULES, plain_name
from convcost.counting.shapes.tracer import Tracer

_transforming = torch._C._are_functorch_transforms_active  # inside vmap, torch.func.grad, …

PRODUCTS = words("mm bmm mv dot addmm addmv addbmm baddbmm")


class MetaTracer(Tracer):
    """The same notes, taken while the model runs on the meta device.

    Every tensor argument is replaced by a meta tensor of the same shape, so the model's own
    parameters and buffers are neither moved nor written. `twins` maps a meta tensor to the
    Shape that stands for it.
    """

    def __init__(self, stack):
        super().__init__(stack)
        self.twins: dict[int, tuple[torch.Tensor, Shape]] = {}
        self.copies: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.covered = False  # a rule has noted the running function
        self.constructors = _device_constructors()

    def __torch_function__(self, func, kinds, args=(), kwargs=None):
        kwargs = kwargs or {}
        raw = getattr(func, "__name__", str(func))
        if raw == "__get__" and func.__self__.__name__ not in GETTERS_OF_TENSORS:
            return func(*args, **kwargs)
        if raw in ("__set__", "__delete__"):
            return None
        if raw in ANSWERS:
            return ANSWERS[raw]
        if raw in QUERIES or raw in VALUES:
            return func(*args, **kwargs)
        if func in self.constructors or "device" in kwargs:
            kwargs = {**kwargs, "device": "meta"}
        args, kwargs = tree_map(self.meta, (args, kwargs))
        if raw in ("to", "cuda", "cpu", "type"):
            if raw in ("cuda", "cpu"):
                return args[0]
            kwargs = {k: v for k, v in kwargs.items() if k != "device"}
            args = tuple(a for a in args if not isinstance(a, (torch.device, str)))
            if len(args) + len(kwargs) == 1:
                return args[0]
        if _transforming():  # tensors hide their batch here; the ATen operators below show it
            return func(*args, **kwargs)
        found = RENAMED.get(func) or plain_name(raw)
        entry = ENTRIES.get(func) or entry_of(func)
        if found not in RULES and found not in KINDS:
            if entry.__qualname__.startswith("_followed"):
                return entry(self, args, kwargs)
            return func(*args, **kwargs)  # ATen operators are noted one by one below
        twin_args, twin_kwargs = tree_map(self.twin, (args, kwargs))
        before = len(self.calls)
        try:
            predicted = entry(self, twin_args, twin_kwargs)
        except Refused:
            raise
        except Exception:  # the rule does not fit this call: ATen operators instead
            del self.calls[before:]
            return func(*args, **kwargs)
        was, self.covered = self.covered, True
        try:
            out = func(*args, **kwargs)
        finally:
            self.covered = was
        self.adopt(out, predicted)
        return out

    def forget(self):
        super().forget()
        self.twins.clear()
        self.copies.clear()

    def stand_in(self, shape):
        """The meta tensor for an input of the network."""
        tensor = torch.empty(shape.dims, dtype=shape.dtype, device="meta")
        self.twins[id(tensor)] = (tensor, shape)
        return tensor

    def meta(self, x):
        """A meta tensor for a tensor of the model; other values as they are."""
        if not isinstance(x, torch.Tensor) or id(x) in self.twins:
            return x
        if x.device.type == "meta" and type(x) is torch.Tensor:
            return x
        known = self.copies.get(id(x))
        if known is None:
            was, self.covered = self.covered, True
            with torch._C.DisableTorchFunction():
                copy = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
            self.covered = was
            known = self.copies[id(x)] = (x, copy)
            self.twins[id(copy)] = (copy, self.of(x))
        return known[1]

    def twin(self, x):
        if not isinstance(x, torch.Tensor):
            return x
        known = self.twins.get(id(x))
        if known is None:
            # made by code that no mode sees: taken as computed from input and parameters
            floating = x.dtype.is_floating_point
            shape = Shape(x.shape, x.dtype, x.device, self, floating, floating, True)
            known = self.twins[id(x)] = (x, shape)
        return known[1]

    def adopt(self, out, predicted):
        """Remember which Shape stands for each tensor of a result."""
        tensors, shapes = tree_leaves(out), tree_leaves(predicted)
        for tensor, shape in zip(tensors, shapes, strict=False):
            if isinstance(tensor, torch.Tensor) and type(shape) in (Shape, Weight):
                shape.resize(tensor.shape, tensor.dtype)
                self.twins[id(tensor)] = (tensor, shape)

    def aten(self, func, args, kwargs, out):
        """Note one ATen operator that no rule of its torch function covers."""
        name = func._schema.name.split("::")[-1].removesuffix("_")
        twins = tree_map(self.twin, (args, kwargs))
        parents = [s for s in tree_leaves(twins) if type(s) in (Shape, Weight)]
        if name in ("convolution", "_convolution"):
            x, w, bias, stride, padding, dilation, transposed, more, groups = twins[0][:9]
            kind = f"{len(w.dims) - 2}d"
            if transposed:
                predicted = transposed_convolution(
                    self,
                    "conv_transpose" + kind,
                    x,
                    w,
                    bias,
                    stride,
                    padding,
                    more,
                    groups,
                    dilation,
                )
            else:
                predicted = convolution(
                    self, "conv" + kind, x, w, bias, stride, padding, dilation, groups
                )
        elif name in PRODUCTS:
            predicted = RULES[name](self, name, *twins[0])
        elif name.startswith("_scaled_dot_product"):
            predicted = attention(
                self, "scaled_dot_product_attention", *twins[0][:3], enable_gqa=True
            )
            predicted = [predicted, *(predicted for _ in tree_leaves(out)[1:])]
        else:
            leaves = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
            if not parents:
                parents = [Shape((), torch.float32, torch.device("meta"), self, 0, 0, False)]
                data = []
            else:
                data = parents
            predicted = [self.make(x.shape, parents, x.dtype) for x in leaves]
            if name in KINDS:
                self.note(KINDS[name], name, data, predicted)
            elif predicted:
                self.uncounted[name] += 1
            out = leaves
        if tree_leaves(predicted):
            keep = [self.make(s.dims, [s]) for s in tree_leaves(predicted)]
            self.adopt(out, keep)


class NothingComputed(TorchDispatchMode):
    """While shapes are traced no ATen operator may run on one: code that torch functions do not
    see (TorchScript, vmap) would compute on the empty tensor behind it, uncounted.
    """

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        if any(type(x) is Shape for x in tree_leaves((args, kwargs))):
            raise NoRule(f"{func.name()} inside compiled code")
        return func(*args, **(kwargs or {}))


class AtenNotes(TorchDispatchMode):
    def __init__(self, tracer: MetaTracer):
        super().__init__()
        self.tracer = tracer

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        args, kwargs = tree_map(self.tracer.meta, (args, kwargs or {}))
        if "device" in kwargs:
            kwargs["device"] = torch.device("meta")
        out = func(*args, **kwargs)
        if not self.tracer.covered:
            self.tracer.aten(func, args, kwargs, out)
        return out
