"""Send shapes instead of tensors through a model's forward pass and note every operator call.

`trace` runs the model's own forward with `Shape` objects: they answer torch's functions through
`__torch_function__`, carry a shape, a dtype and a device, and hold no data, so the time does not
depend on the input's resolution and no tensor is allocated. Each torch function has a rule (table
`RULES`): output shape, op type, multiply-accumulates. Functions that torch itself writes in
Python (multi_head_attention_forward, normalize, …) are followed inside.

Where a function has no rule, or the forward cannot run on shapes, the whole net is run again on
torch's meta device, where tensors have no storage either; the same rules note the calls, ATen
operators fill the gaps, and `Trace.fallback` says why. What neither path can count is in
`Trace.uncounted` by name.
"""

import gc
import itertools
import math
import types
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from convcost import ops
from convcost.errors import BadInputError
from convcost.ops import OperatorCall
from convcost.probe import ModuleStack, as_found, every_module


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class NoRule(Exception):
    """A torch function that has no rule here."""


class NeedsValues(Exception):
    """The forward pass asks for the value of a tensor, which a shape does not have."""


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


# ---------------------------------------------------------------- the shape object


class Shape(torch.Tensor):
    """Stands in for a tensor: shape, dtype, device, and where it comes from. No data.

    `wants`: a parameter stands before it, so training needs its gradient; `wants_in`: so does it
    if the network's input gets a gradient too; `fed`: computed from the network's input;
    `origins`: the parameters and buffers it is computed from, if it is not fed.

    Torch sees one and the same empty tensor behind every Shape, without memory of its own. An
    object that only claims to be a tensor would do and cost a microsecond less, but C++ code that
    believes the claim (autograd.Function, TorchScript) would read memory that is not there.
    """

    __slots__ = (
        "device",
        "dims",
        "dtype",
        "fed",
        "nbytes",
        "origins",
        "tracer",
        "wants",
        "wants_in",
    )

    def __new__(cls, shape, dtype, device, tracer, wants, wants_in, fed, origins=()):
        self = _as_shape(cls, _NOTHING)
        self.dims = dims = tuple(shape)
        self.nbytes = _prod(dims) * dtype.itemsize
        self.dtype = dtype
        self.device = device
        self.tracer = tracer
        self.wants = wants
        self.wants_in = wants_in
        self.fed = fed
        self.origins = origins
        return self

    def __init__(self, *args):
        pass

    __hash__ = object.__hash__

    @classmethod
    def __torch_function__(cls, func, kinds, args=(), kwargs=None):
        for leaf in tree_leaves((args, kwargs)):
            if type(leaf) is Shape:
                return leaf.tracer.__torch_function__(func, kinds, args, kwargs)
        raise NoRule(getattr(func, "__name__", str(func)))

    def __repr__(self):
        return f"Shape({self.dims}, {self.dtype})"

    shape = property(lambda self: torch.Size(self.dims))
    requires_grad = property(lambda self: False, lambda self, value: None)
    grad = property(lambda self: None, lambda self, value: None)
    grad_fn = property(lambda self: None)
    is_leaf = property(lambda self: True)
    is_cuda = property(lambda self: self.device.type == "cuda")
    is_cpu = property(lambda self: self.device.type == "cpu")
    layout = property(lambda self: torch.strided)
    names = property(lambda self: (None,) * len(self.dims))
    itemsize = property(lambda self: self.dtype.itemsize)
    ndim = property(lambda self: len(self.dims))
    data = property(lambda self: self, lambda self, value: None)
    T = property(lambda self: self.permute(*range(self.ndim - 1, -1, -1)))
    mT = property(lambda self: self.transpose(-2, -1))

    def resize(self, shape, dtype):
        self.dims, self.dtype = tuple(shape), dtype
        self.nbytes = math.prod(self.dims) * dtype.itemsize

    def size(self, dim=None):
        return torch.Size(self.dims) if dim is None else self.dims[dim]

    def dim(self):
        return len(self.dims)

    ndimension = dim

    def numel(self):
        return math.prod(self.dims)

    nelement = numel

    def element_size(self):
        return self.dtype.itemsize

    def stride(self, dim=None):
        steps = tuple(math.prod(self.dims[i + 1 :]) for i in range(len(self.dims)))
        return steps if dim is None else steps[dim]

    def is_floating_point(self):
        return self.dtype.is_floating_point

    def is_complex(self):
        return self.dtype.is_complex

    def is_contiguous(self, *args, **kwargs):
        return True

    def get_device(self):
        return -1 if self.device.type == "cpu" else self.device.index

    def requires_grad_(self, requires_grad=True):
        return self

    def __len__(self):
        if not self.dims:
            raise TypeError("len() of a 0-d tensor")
        return self.dims[0]

    def __iter__(self):
        return iter(self.unbind(0))

    def __eq__(self, other):
        return False if other is None else self.eq(other)

    def __ne__(self, other):
        return True if other is None else self.ne(other)

    def _value(self, *args, **kwargs):
        raise NeedsValues("the forward pass asks for the value of a tensor")

    __bool__ = __int__ = __float__ = __index__ = __contains__ = _value
    item = tolist = numpy = __array__ = data_ptr = is_nonzero = _value


class Weight:
    """Stands for a parameter, a buffer or another tensor that was there before, inside this module.

    Like a Shape that is not fed, but no tensor: the model never sees it (`Tracer.shown`). It holds
    the tensor, so that its id stays its own. `used` by some call, `owned` by the first to use it.
    """

    __slots__ = ("dims", "dtype", "nbytes", "origins", "owned", "trained", "used", "wants")
    fed = False
    wants_in = property(lambda self: self.wants)
    shape = property(lambda self: torch.Size(self.dims))
    ndim = property(lambda self: len(self.dims))

    def __init__(self, tensor):
        self.dims = dims = tuple(tensor.shape)
        self.dtype = dtype = tensor.dtype
        self.nbytes = math.prod(dims) * dtype.itemsize
        self.origins = (tensor,)
        self.trained = type(tensor) is nn.Parameter or isinstance(tensor, nn.Parameter)
        self.wants = self.trained and dtype.is_floating_point
        self.owned = self.used = False

    @property
    def device(self):
        with torch._C.DisableTorchFunction():
            return self.origins[0].device

    def numel(self):
        return math.prod(self.dims)

    def resize(self, shape, dtype):
        """An in-place function keeps the shape of a tensor that is not the net's own."""


TENSORS = (torch.Tensor, Weight)
_NOTHING = torch.empty(0, device="cpu")
_as_shape = torch.Tensor._make_subclass
_prod = math.prod
METHODS: dict[str, Callable] = {}  # name -> entry of the tensor method, filled on demand


def _method(name: str) -> Callable:
    """A tensor method that goes to its rule without the way through torch."""

    def method(self, *args, **kwargs):
        entry = METHODS.get(name)
        if entry is None:
            entry = METHODS[name] = _entry(getattr(torch.Tensor, name))
        return entry(self.tracer, (self, *args), kwargs)

    method.__name__ = name
    return method


def _attribute(name: str) -> property:
    def get(self):
        if name.startswith("is_"):
            return False
        raise NoRule(f"Tensor.{name}")

    return property(get)


_OPERATORS = _words(
    "add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv floordiv rfloordiv mod "
    "rmod pow rpow ipow matmul rmatmul imatmul neg pos abs invert lt le gt ge and or xor rand ror "
    "rxor iand ior ixor getitem setitem"
)
for _name in dir(torch.Tensor):
    if _name in Shape.__dict__ or (_name.startswith("_") and _name[2:-2] not in _OPERATORS):
        continue
    _made = _method if callable(getattr(torch.Tensor, _name)) else _attribute
    setattr(Shape, _name, _made(_name))


# ---------------------------------------------------------------- the tracer


# A frozen dataclass fills its fields one by one through object.__setattr__; thousands of calls per
# net are made a third faster this way. A test compares the result with the constructor's.
_new_call, _fill = object.__new__, object.__setattr__

_transforming = torch._C._are_functorch_transforms_active  # inside vmap, torch.func.grad, …


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
        self.uncounted: Counter[str] = Counter()

    def __torch_function__(self, func, kinds, args=(), kwargs=None):
        entry = ENTRIES.get(func) or _entry(func)
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

    def prepare(self, modules):
        """Know the parameters and buffers before the mode is on: cheaper than one by one."""
        real = self.real
        for module in modules:
            for tensors in (module._parameters, module._buffers):
                for x in tensors.values():
                    if x is not None and id(x) not in real:
                        real[id(x)] = Weight(x)

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
        return Shape(shape, dtype, first.device, self, wants, wants_in, fed, origins)

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
        if not inputs and not named and not any(o.dims for o in outputs):
            return
        for s in weights:
            moved += s.nbytes
            held = (s,) if type(s) is Weight else [self.of(x) for x in s.origins]
            for w in held:
                w.used = True
                # weights that only change their shape on the way belong to the call that uses them
                if not w.owned and (named or inputs):
                    w.owned = True
                    if w.trained:
                        params += math.prod(w.dims)
        acts = 0
        for s in outputs:
            moved += s.nbytes
            if op in ops.MAC_OPS:
                acts += math.prod(s.dims)
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


# ---------------------------------------------------------------- function -> rule

KINDS: dict[str, str] = {}  # name -> op type, for functions without multiply-accumulates
RULES: dict[str, Callable] = {}  # name -> rule(tracer, name, *args, **kwargs)
ENTRIES: dict[Callable, Callable] = {}  # torch function -> entry(tracer, args, kwargs)

# one name, two signatures
RENAMED = {
    torch.batch_norm: "torch.batch_norm",
    torch.instance_norm: "torch.instance_norm",
    torch.embedding: "torch.embedding",
    F.unfold: "im2col",
    F.fold: "col2im",
}

# answered by the tensor itself; on a parameter they cost nothing and change nothing
QUERIES = _words(
    "size dim ndimension numel nelement element_size stride is_floating_point is_complex "
    "is_contiguous get_device __len__ is_same_size is_tensor is_storage is_inference is_signed "
    "has_names __repr__ __format__ __hash__ data_ptr storage_offset _is_view is_shared "
    "is_pinned untyped_storage"
)
VALUES = _words(
    "item tolist numpy __bool__ __int__ __float__ __index__ __contains__ is_nonzero equal "
    "allclose __array__ nonzero unique"
)
RESHAPING = _words("squeeze unsqueeze transpose t swapaxes swapdims")  # in place: other shape
GETTERS_OF_TENSORS = frozenset(("T", "mT", "H", "mH", "data", "real"))


def rule(*names: str):
    """Register the decorated rule for torch functions and tensor methods of these names."""

    def register(function):
        for name in " ".join(names).split():
            if name in RULES:
                raise ValueError(f"two rules for {name}")
            RULES[name] = function
        return function

    return register


def _entry(func) -> Callable:
    """The entry for a torch function, found once and kept."""
    entry = ENTRIES[func] = _find(func)
    return entry


def _no(*args, **kwargs):
    return False


def _find(func) -> Callable:
    raw = getattr(func, "__name__", str(func))
    if raw in ("__get__", "__set__", "__delete__"):
        return _property(func, raw)
    if raw in QUERIES:
        return lambda t, args, kwargs: _query(func, raw, args, kwargs)
    if raw in VALUES:
        return lambda t, args, kwargs: _value(func, args, kwargs)
    if getattr(func, "__module__", "") == "torch.nn.init":  # fills a tensor with values
        return lambda t, args, kwargs: [*args, *kwargs.values()][0]
    name = RENAMED.get(func) or plain_name(raw)
    found = RULES.get(name)
    if found is not None:
        if _writes(raw):
            return lambda t, args, kwargs: _write(t, found, name, args, kwargs)
        if raw.startswith("__r") and "r" + name in raw:  # reflected operator
            return lambda t, args, kwargs: found(t, name, *args[::-1], **kwargs)
        return lambda t, args, kwargs: found(t, name, *args, **kwargs)
    if isinstance(func, types.FunctionType):
        guards = [n for n in func.__code__.co_names if n.startswith("has_torch_function")]
        if guards and all(n in func.__globals__ for n in guards):
            return _followed(func)
    return _missing(raw, func)


def _missing(raw, func):
    def missing(t, args, kwargs):
        # torch also hands over functions that are about no tensor (device, set_grad_enabled)
        if not any(isinstance(x, torch.Tensor) for x in tree_leaves((args, kwargs))):
            out = func(*args, **kwargs)
            if not any(isinstance(x, torch.Tensor) for x in tree_leaves(out)):
                return out
        raise NoRule(raw)

    return missing


OPERATORS = {
    "truediv": "div",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "invert": "logical_not",
}


def plain_name(raw: str) -> str:
    """The name of a rule: "__iadd__" and "add_" give "add", "__rsub__" gives "sub"."""
    if raw.startswith("__") and raw.endswith("__"):
        name = raw[2:-2]
        for prefix in ("", "r", "i"):
            short = name.removeprefix(prefix) if prefix and name.startswith(prefix) else name
            short = OPERATORS.get(short, short)
            if short in RULES:
                return short
        return name
    if raw.endswith("_") and raw not in RULES:
        return raw[:-1]
    return raw


def _writes(raw: str) -> bool:
    if raw.startswith("__"):
        return raw.startswith("__i") and raw not in ("__invert__",)
    return raw.endswith("_")


def _write(t, found, name, args, kwargs):
    """An in-place function: the result's origin goes to the target, which keeps its shape."""
    result = found(t, name, *args, **kwargs)
    target = t.of(args[0])
    if type(result) is not Shape or type(target) is Weight:
        return result
    if target.dims != result.dims and name not in RESHAPING:
        raise BadInputError(f"{name}: {result.dims} cannot be written into {target}")
    target.wants |= result.wants
    target.wants_in |= result.wants_in
    target.fed |= result.fed
    target.origins = () if target.fed else result.origins
    target.resize(result.dims, target.dtype)
    return target


def _property(func, kind):
    name = getattr(func.__self__, "__name__", "")

    def get(t, args, kwargs):
        x = args[0]
        if type(x) is Shape:
            return getattr(x, name)
        if name in GETTERS_OF_TENSORS:
            return getattr(t.shown(t.of(x)), name)
        return func(*args, **kwargs)

    def leave_alone(t, args, kwargs):
        return None

    return get if kind == "__get__" else leave_alone


def _query(func, raw, args, kwargs):
    x = args[0]
    if type(x) is not Shape:
        return func(*args, **kwargs)
    if raw == "is_tensor":
        return True
    return getattr(x, raw)(*args[1:], **kwargs)


def _value(func, args, kwargs):
    """Values of existing tensors (a flag in a buffer) are read; a Shape has none."""
    if any(type(leaf) is Shape for leaf in tree_leaves((args, kwargs))):
        raise NeedsValues(f"the forward pass asks for the value of a tensor ({func.__name__})")
    return func(*args, **kwargs)


def _followed(func):
    """A torch function written in Python: a copy of it that does not hand over to overrides."""
    world = dict(func.__globals__)
    for guard in ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"):
        world[guard] = _no
    copy = types.FunctionType(
        func.__code__, world, func.__name__, func.__defaults__, func.__closure__
    )
    copy.__kwdefaults__ = func.__kwdefaults__
    return lambda t, args, kwargs: t.inside(copy, args, kwargs)


# ---------------------------------------------------------------- rules: products


def _tuple(value, n: int) -> tuple[int, ...]:
    """An int or a sequence of 1 or n ints as n ints."""
    if type(value) is tuple and len(value) == n:
        return value
    if isinstance(value, (tuple, list)):
        return tuple(value) if len(value) == n else tuple(value) * n
    return (value,) * n


def _gradients(macs: int, a, b) -> dict[str, int]:
    """Backward cost of a product: one forward's worth for each operand that needs a gradient."""
    wants = a.wants + b.wants
    return {
        "gradient": wants * macs,
        "input_gradient": (a.wants_in + b.wants_in - wants) * macs,
    }


def _present(t, *tensors) -> list[Shape]:
    return [t.of(x) for x in tensors if x is not None]


@rule("conv1d conv2d conv3d")
def convolution(t, name, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    x, w = t.of(input), t.of(weight)
    n = int(name[4])
    batched = len(x.dims) == n + 2
    if len(w.dims) != n + 2 or len(x.dims) not in (n + 1, n + 2):
        raise BadInputError(f"{name} of {tuple(x.dims)} with a weight {tuple(w.dims)}")
    batch = x.dims[0] if batched else 1
    channels, size, kernel = x.dims[-n - 1], x.dims[-n:], tuple(w.dims[2:])
    out_channels = w.dims[0]
    stride, dilation = _tuple(stride, n), _tuple(dilation, n)
    if channels != w.dims[1] * groups:
        raise BadInputError(
            f"{name} expects {w.dims[1] * groups} input channels, got {channels} in {tuple(x.dims)}"
        )
    if padding == "same":  # stride 1: as many outputs as inputs
        spatial = tuple(size)
    else:
        padding = (0,) * n if padding == "valid" else _tuple(padding, n)
        spatial = ops.conv_output(size, kernel, stride, padding, dilation)
    macs = ops.conv_macs(batch, channels, out_channels, kernel, spatial, groups)
    weights = _present(t, weight, bias)
    shape = (batch,) * batched + (out_channels, *spatial)
    out = t.make(shape, [x, *weights], x.dtype)
    attrs = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "kernel_size": kernel,
        "bias": bias is not None,
    }
    t.note("conv", name, [x], [out], weights, attrs, macs, **_gradients(macs, x, w))
    return out


@rule("conv_transpose1d conv_transpose2d conv_transpose3d")
def transposed_convolution(
    t, name, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    x, w = t.of(input), t.of(weight)
    n = int(name[14])
    batched = len(x.dims) == n + 2
    batch = x.dims[0] if batched else 1
    channels, size, kernel = x.dims[-n - 1], tuple(x.dims[-n:]), tuple(w.dims[2:])
    if channels != w.dims[0]:
        raise BadInputError(f"{name} expects {w.dims[0]} input channels, got {tuple(x.dims)}")
    out_channels = w.dims[1] * groups
    stride, padding = _tuple(stride, n), _tuple(padding, n)
    dilation, output_padding = _tuple(dilation, n), _tuple(output_padding, n)
    spatial = ops.conv_transpose_output(size, kernel, stride, padding, output_padding, dilation)
    macs = ops.conv_transpose_macs(batch, channels, out_channels, kernel, size, groups)
    weights = _present(t, weight, bias)
    out = t.make((batch,) * batched + (out_channels, *spatial), [x, *weights], x.dtype)
    attrs = {
        "stride": stride,
        "padding": padding,
        "output_padding": output_padding,
        "dilation": dilation,
        "groups": groups,
        "kernel_size": kernel,
        "bias": bias is not None,
    }
    t.note("conv_transpose", name, [x], [out], weights, attrs, macs, **_gradients(macs, x, w))
    return out


@rule("linear")
def linear(t, name, input, weight, bias=None):
    x, w = t.of(input), t.of(weight)
    if x.dims[-1:] != w.dims[-1:]:
        raise BadInputError(
            f"linear expects {w.dims[-1]} features, got {tuple(x.dims)} (last dimension)"
        )
    macs = ops.linear_macs(math.prod(x.dims[:-1]), x.dims[-1], math.prod(w.dims[:-1]))
    weights = _present(t, weight, bias)
    out = t.make((*x.dims[:-1], *w.dims[:-1]), [x, *weights], x.dtype)
    attrs = {"bias": bias is not None}
    t.note("linear", name, [x], [out], weights, attrs, macs, **_gradients(macs, x, w))
    return out


@rule("bilinear")
def bilinear(t, name, input1, input2, weight, bias=None):
    a, b, w = t.of(input1), t.of(input2), t.of(weight)
    shapes = [(math.prod(a.dims[:-1]), a.dims[-1]), tuple(w.dims)]
    one = ops.einsum_macs("ni,oij->noj", shapes)
    two = shapes[0][0] * math.prod(w.dims[::2])
    weights = _present(t, weight, bias)
    out = t.make((*a.dims[:-1], w.dims[0]), [a, b, *weights], a.dtype)
    gradient = _gradients(one, a, w)
    again = _gradients(two, b, w)
    total = {k: gradient[k] + again[k] for k in gradient}
    t.note("matmul", name, [a, b], [out], weights, {"bias": bias is not None}, one + two, **total)
    return out


@rule("matmul mm bmm mv dot inner")
def matmul(t, name, input, other, **kwargs):
    a, b = t.of(input), t.of(other)
    if name == "inner" and len(b.dims) > 1:
        return tensordot(t, name, a, b, ([-1], [-1]))
    macs = ops.matmul_macs(tuple(a.dims), tuple(b.dims))
    out = t.make(ops.matmul_output(tuple(a.dims), tuple(b.dims)), [a, b])
    t.note("matmul", name, [a, b], [out], (), {}, macs, **_gradients(macs, a, b))
    return out


@rule("addmm addmv addbmm baddbmm")
def add_matmul(t, name, input, a, b, **kwargs):
    c, a, b = t.of(input), t.of(a), t.of(b)
    macs = ops.matmul_macs(tuple(a.dims), tuple(b.dims))
    shape = ops.matmul_output(tuple(a.dims), tuple(b.dims))
    if name == "addbmm":
        shape = shape[1:]
    out = t.make(ops.broadcast(tuple(c.dims), shape), [c, a, b], a.dtype)
    t.note("matmul", name, [c, a, b], [out], (), {}, macs, **_gradients(macs, a, b))
    return out


@rule("einsum")
def einsum(t, name, equation, *operands):
    if not isinstance(equation, str):
        raise NoRule("einsum with index lists")
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    tensors = [t.of(x) for x in operands]
    shapes = [tuple(s.dims) for s in tensors]
    out = t.make(ops.einsum_output(equation, shapes), tensors)
    macs = ops.einsum_macs(equation, shapes)
    # each product of two has a gradient for either side; the left one is all that came before
    gradients = {"gradient": 0, "input_gradient": 0}
    for i, step in enumerate(ops.einsum_steps(equation, shapes), 1):
        for key, n in _gradients(
            step, t.make((), tensors[:i], tensors[0].dtype), tensors[i]
        ).items():
            gradients[key] += n
    kind = "matmul" if macs else "reduction"
    t.note(kind, name, tensors, [out], (), {"equation": equation}, macs, **gradients)
    return out


@rule("tensordot")
def tensordot(t, name, a, b, dims=2, out=None):
    a, b = t.of(a), t.of(b)
    if isinstance(dims, int):
        dims = (range(len(a.dims) - dims, len(a.dims)), range(dims))
    left = [_axis(d, len(a.dims)) for d in dims[0]]
    right = [_axis(d, len(b.dims)) for d in dims[1]]
    if [a.dims[d] for d in left] != [b.dims[d] for d in right]:
        raise BadInputError(f"tensordot of {tuple(a.dims)} and {tuple(b.dims)} over {dims}")
    keep_a = [n for d, n in enumerate(a.dims) if d not in left]
    keep_b = [n for d, n in enumerate(b.dims) if d not in right]
    macs = math.prod(a.dims) * math.prod(keep_b)
    out = t.make((*keep_a, *keep_b), [a, b])
    t.note("matmul", name, [a, b], [out], (), {}, macs, **_gradients(macs, a, b))
    return out


@rule("scaled_dot_product_attention")
def attention(t, name, query, key, value, attn_mask=None, *args, **kwargs):
    q, k, v = t.of(query), t.of(key), t.of(value)
    mask = _present(t, attn_mask)
    shapes = [tuple(s.dims) for s in (q, k, v)]
    macs = ops.attention_macs(*shapes)
    out = t.make((*q.dims[:-1], v.dims[-1]), [q, k, v, *mask], q.dtype)
    # two products: scores = q k^T, then scores v. The scores need a gradient if q or k does.
    scores = math.prod(q.dims[:-1]) * v.dims[-2] * q.dims[-1]
    mixing = macs - scores
    first = _gradients(scores, q, k)
    both = t.make((), [q, k, *mask], q.dtype)
    second = _gradients(mixing, both, v)
    total = {key_: first[key_] + second[key_] for key_ in first}
    t.note("attention", name, [q, k, v, *mask], [out], (), {}, macs, **total)
    return out


@rule("lstm gru rnn_tanh rnn_relu")
def recurrent(t, name, input, *args):
    if isinstance(args[0], (list, tuple)):
        state, weights, _, layers, _, _, both, first = args
        state = list(state)
    elif isinstance(args[1], (list, tuple)) and isinstance(args[2], bool):
        state, weights, _, layers, _, _, both, first = args
        state = [state]
    else:
        raise NoRule(f"{name} on a packed sequence")
    x = t.of(input)
    state = [t.of(s) for s in state]
    weights = [t.of(w) for w in weights]
    width, hidden = x.dims[-1], weights[0].dims[0] // ops.GATES[name]
    batch, steps = (x.dims[0], x.dims[1]) if first else (x.dims[1], x.dims[0])
    out_width = state[0].dims[-1]
    projection = out_width if out_width != hidden else 0
    if weights[0].dims[1] != width:
        raise BadInputError(f"{name} expects {weights[0].dims[1]} features, got {tuple(x.dims)}")
    ways = 2 if both else 1
    size = (name, steps, batch, width, hidden, layers, ways, projection)
    macs = ops.rnn_macs(*size)
    held = any(s.wants for s in state)
    gradient = ops.rnn_gradient_macs(*size, x.wants, held)
    more = ops.rnn_gradient_macs(*size, x.wants_in, held or any(s.wants_in for s in state))
    parents = [x, *state, *weights]
    outputs = [t.make((*x.dims[:2], ways * out_width), parents, x.dtype)]
    outputs += [t.make(s.dims, parents, x.dtype) for s in state]
    attrs = {
        "hidden_size": hidden,
        "layers": layers,
        "directions": ways,
        "projection": projection,
        "batch_first": first,
        "bias": len(weights) > 2 * layers * ways * (1.5 if projection else 1),
    }
    t.note(
        "rnn",
        name,
        [x, *state],
        outputs[:1],
        weights,
        attrs,
        macs,
        gradient,
        more - gradient,
    )
    return tuple(outputs)


@rule("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
def recurrent_cell(t, name, input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    state = [t.of(s) for s in (hx if isinstance(hx, (list, tuple)) else [hx])]
    x = t.of(input)
    weights = _present(t, w_ih, w_hh, b_ih, b_hh)
    positions = math.prod(x.dims[:-1])
    one = ops.linear_macs(positions, x.dims[-1], weights[0].dims[0])
    two = ops.linear_macs(positions, state[0].dims[-1], weights[1].dims[0])
    a, b = _gradients(one, x, weights[0]), _gradients(two, state[0], weights[1])
    outs = [t.make(s.dims, [x, *state, *weights], x.dtype) for s in state]
    attrs = {"hidden_size": state[0].dims[-1], "bias": b_ih is not None}
    both = {k: a[k] + b[k] for k in a}
    t.note("rnn", name, [x, *state], outs[:1], weights, attrs, one + two, **both)
    return tuple(outs) if len(outs) > 1 else outs[0]


# ---------------------------------------------------------------- rules: norms, pools


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
    weights = _present(t, running_mean, running_var, weight, bias)
    for w in weights:
        if len(x.dims) < 2 or w.dims[0] != x.dims[1]:
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
    return _norm(t, name, x, _present(t, weight, bias), attrs)


@rule("rms_norm")
def rms_norm(t, name, input, normalized_shape, weight=None, *rest, **kwargs):
    return layer_norm(t, name, input, normalized_shape, weight)


@rule("group_norm")
def group_norm(t, name, input, num_groups, weight=None, bias=None, *rest, **kwargs):
    attrs = {"affine": weight is not None, "groups": num_groups}
    return _norm(t, name, t.of(input), _present(t, weight, bias), attrs)


@rule("instance_norm")
def instance_norm(t, name, input, mean=None, var=None, weight=None, bias=None, *rest, **kwargs):
    running, var = kwargs.pop("running_mean", mean), kwargs.pop("running_var", var)
    weights = _present(t, running, var, weight, bias)
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
    kernel = _tuple(kernel, n)
    stride = kernel if stride is None or stride in ((), []) else _tuple(stride, n)
    padding, dilation = _tuple(padding, n), _tuple(dilation, n)
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
def adaptive_pool(t, name, input, output_size, return_indices=False):
    x = t.of(input)
    n = int(name[-2])
    if len(x.dims) not in (n + 1, n + 2):
        raise BadInputError(f"{name} of {tuple(x.dims)}: {n + 1} or {n + 2} dimensions expected")
    wanted = _tuple(output_size, n)
    spatial = tuple(s if o is None else o for s, o in zip(x.dims[-n:], wanted, strict=True))
    out = t.make((*x.dims[:-n], *spatial), [x])
    reads = ops.adaptive_pool_reads(math.prod(x.dims[:-n]), x.dims[-n:], spatial)
    t.note("adaptive_pool", name, [x], [out], (), {"output_size": spatial, "reads": reads})
    return (out, t.make(out.dims, [out], torch.int64)) if return_indices else out


# ---------------------------------------------------------------- rules: one element at a time

ACTIVATIONS = (
    "relu relu6 hardtanh sigmoid tanh gelu silu hardswish hardsigmoid leaky_relu elu selu celu "
    "prelu rrelu softplus mish logsigmoid log_sigmoid softsign tanhshrink hardshrink softshrink "
    "threshold"
)
COMPARISONS = (
    "eq ne lt le gt ge logical_and logical_or logical_not logical_xor isnan isinf isfinite and or "
    "xor bitwise_and bitwise_or bitwise_not"
)
ARITHMETIC = (
    "add sub subtract mul multiply div divide true_divide floor_divide remainder fmod neg "
    "negative abs absolute exp exp2 expm1 log log2 log10 log1p sqrt rsqrt square pow sin cos tan "
    "asin acos atan atan2 sinh cosh erf erfc ceil floor round trunc frac sign reciprocal clamp "
    "clip clamp_min clamp_max maximum minimum fmax fmin lerp addcmul addcdiv where masked_fill "
    "rsub pos nan_to_num tril triu cumsum cumprod logit xlogy logaddexp _weight_norm fill zero "
    "copy bernoulli uniform normal exponential random"
)


def _same_op(op: str, names: str, dtype=None):
    KINDS.update(dict.fromkeys(names.split(), op))

    @rule(names)
    def elementwise(t, name, *args, **kwargs):
        if len(args) == 1 and not kwargs:
            x = t.of(args[0])
            tensors, shape, kind = [x], x.dims, x.dtype
        else:
            given = (*args, *kwargs.values()) if kwargs else args
            tensors = [t.of(x) for x in given if type(x) is Shape or isinstance(x, TENSORS)]
            shape, kind = tensors[0].dims, tensors[0].dtype
            for s in tensors[1:]:
                if s.dims != shape:
                    shape = ops.broadcast(shape, s.dims)
                if s.dtype is not kind:
                    kind = torch.promote_types(kind, s.dtype)
        if name in ("div", "true_divide", "divide", "exp", "sqrt") and not kind.is_floating_point:
            kind = torch.get_default_dtype()
        if kwargs.get("dtype") is not None:
            kind = kwargs["dtype"]
        out = t.make(shape, tensors, dtype or kind)
        t.note(op, name, tensors, [out])
        return out

    return elementwise


activation = _same_op("activation", ACTIVATIONS)
comparison = _same_op("comparison", COMPARISONS, torch.bool)
arithmetic = _same_op("elementwise", ARITHMETIC)


@rule("softmax log_softmax softmin")
def softmax(t, name, input, dim=None, *args, **kwargs):
    x = t.of(input)
    dtype = kwargs.get("dtype") or next((a for a in args if isinstance(a, torch.dtype)), None)
    out = t.make(x.dims, [x], dtype)
    t.note("softmax", name, [x], [out], (), {"dim": dim})
    return out


@rule("glu")
def glu(t, name, input, dim=-1):
    x = t.of(input)
    shape = list(x.dims)
    shape[dim] //= 2
    out = t.make(shape, [x])
    t.note("activation", name, [x], [out])
    return out


@rule("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout feature_dropout")
def dropout(t, name, input, p=0.5, training=True, inplace=False, **kwargs):
    x = t.of(input)
    out = t.make(x.dims, [x])
    t.note("dropout", name, [x], [out], (), {"p": p, "training": kwargs.get("train", training)})
    return out


# ---------------------------------------------------------------- rules: along dimensions


def _axis(dim: int, rank: int) -> int:
    if not -rank <= dim < rank and not (rank == 0 and dim in (0, -1)):
        raise BadInputError(f"dimension {dim} of a tensor with {rank} dimensions")
    return dim % rank if rank else 0


def _reduced(shape, dim, keepdim) -> tuple[int, ...]:
    if dim is None or dim in ((), []):
        dims = set(range(len(shape)))
    else:
        dims = {_axis(d, len(shape)) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))}
    if keepdim:
        return tuple(1 if i in dims else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dims)


@rule("sum mean prod amax amin nansum nanmean logsumexp all any argmax argmin count_nonzero")
def reduction(t, name, input, dim=None, keepdim=False, *, axis=None, dtype=None, out=None, **kw):
    x = t.of(input)
    if isinstance(dim, torch.dtype):
        dim, dtype = None, dim
    dim = dim if axis is None else axis
    kind = {"all": torch.bool, "any": torch.bool, "argmax": torch.int64, "argmin": torch.int64}
    if name in ("sum", "prod") and dtype is None and not x.dtype.is_floating_point:
        dtype = torch.int64
    out = t.make(
        _reduced(x.dims, dim, keepdim or kw.get("keepdims", False)), [x], kind.get(name, dtype)
    )
    t.note("reduction", name, [x], [out], (), {"dim": dim})
    return out


@rule("norm")
def vector_norm(t, name, input, p=2, dim=None, keepdim=False, out=None, dtype=None):
    return reduction(t, name, input, dim, keepdim, dtype=dtype)


@rule("linalg_vector_norm linalg_norm")
def linalg_norm(t, name, input, ord=2, dim=None, keepdim=False, *, dtype=None, out=None):
    return reduction(t, name, input, dim, keepdim, dtype=dtype)


@rule("std var var_mean std_mean")
def variance(t, name, input, dim=None, *args, keepdim=False, **kwargs):
    x = t.of(input)
    if isinstance(dim, bool):
        dim, args = None, (dim, *args)
    keepdim = args[1] if len(args) > 1 else keepdim
    out = t.make(_reduced(x.dims, dim, keepdim), [x])
    t.note("reduction", name, [x], [out], (), {"dim": dim})
    return (out, t.make(out.dims, [out])) if name.endswith("_mean") else out


@rule("max min median mode")
def extreme(t, name, input, dim=None, keepdim=False, **kwargs):
    if isinstance(dim, TENSORS):
        return arithmetic(t, "maximum" if name == "max" else "minimum", input, dim)
    if dim is None and "other" in kwargs:
        return arithmetic(t, "maximum" if name == "max" else "minimum", input, kwargs["other"])
    x = t.of(input)
    out = t.make(_reduced(x.dims, dim, keepdim), [x])
    t.note("reduction", name, [x], [out], (), {"dim": dim})
    if dim is None:
        return out
    return getattr(torch.return_types, name)((out, t.make(out.dims, [out], torch.int64)))


@rule("sort topk")
def sort(t, name, input, *args, **kwargs):
    x = t.of(input)
    shape = list(x.dims)
    if name == "topk":
        k = kwargs.get("k", args[0] if args else None)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
        shape[_axis(dim, len(shape))] = k
    out = t.make(shape, [x])
    t.note("sort", name, [x], [out])
    return getattr(torch.return_types, name)((out, t.make(shape, [out], torch.int64)))


@rule("argsort")
def argsort(t, name, input, *args, **kwargs):
    x = t.of(input)
    out = t.make(x.dims, [x], torch.int64)
    t.note("sort", name, [x], [out])
    return out


# ---------------------------------------------------------------- rules: shapes and copies


def view(names: str, op: str = "reshape"):
    """Register a function of shapes alone as the rule of data movements."""

    def register(function):
        def moved(t, name, input, *args, **kwargs):
            x = t.of(input)
            shape = function(tuple(x.dims), *args, **kwargs)
            if type(shape) is list:
                outs = [t.make(s, [x]) for s in shape]
                t.note(op, name, [x], outs)
                return tuple(outs)
            out = t.make(shape, [x])
            t.note(op, name, [x], [out])
            return out

        KINDS.update(dict.fromkeys(names.split(), op))
        rule(names)(moved)
        return function

    return register


def _ints(args) -> list[int]:
    """Sizes given one by one or as one sequence."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = args[0]
    return [int(a) for a in args]


def _resized(shape, sizes) -> tuple[int, ...]:
    total = math.prod(shape)
    if -1 in sizes:
        known = -math.prod(sizes)
        if known == 0 or total % known:
            raise BadInputError(f"a view of {tuple(shape)} as {tuple(sizes)}")
        sizes = [total // known if n == -1 else n for n in sizes]
    if math.prod(sizes) != total:
        raise BadInputError(f"a view of {tuple(shape)} as {tuple(sizes)}: other number of elements")
    return tuple(sizes)


@rule("view reshape _unsafe_view _reshape_alias")
def reshaping(t, name, input, *sizes, **kwargs):
    x = t.of(input)
    if sizes and isinstance(sizes[0], torch.dtype):
        raise NoRule("view with a dtype")
    sizes = _ints(sizes or tuple(kwargs.values()))
    out = t.make(_resized(x.dims, sizes), [x])
    t.note("reshape", name, [x], [out])
    return out


@rule("view_as reshape_as expand_as")
def shaped_as(t, name, input, other):
    x, like = t.of(input), t.of(other)
    shape = ops.broadcast(x.dims, like.dims) if name == "expand_as" else like.dims
    if name != "expand_as":
        _resized(x.dims, list(shape))
    out = t.make(shape, [x])
    t.note("reshape", name, [x], [out])
    return out


@view("flatten")
def _flatten(shape, start_dim=0, end_dim=-1):
    if not shape:
        return (1,)
    a, b = _axis(start_dim, len(shape)), _axis(end_dim, len(shape))
    return (*shape[:a], math.prod(shape[a : b + 1]), *shape[b + 1 :])


@view("unflatten")
def _unflatten(shape, dim, sizes):
    d = _axis(dim, len(shape))
    return (*shape[:d], *_resized((shape[d],), list(sizes)), *shape[d + 1 :])


@view("ravel")
def _ravel(shape):
    return (math.prod(shape),)


@view("permute")
def _permute(shape, *dims):
    order = [_axis(d, len(shape)) for d in _ints(dims)] if dims else []
    if sorted(order) != list(range(len(shape))):
        raise BadInputError(f"permute of {shape} by {dims}")
    return tuple(shape[d] for d in order)


@view("transpose swapaxes swapdims")
def _transpose(shape, dim0, dim1):
    out = list(shape)
    a, b = _axis(dim0, len(out)), _axis(dim1, len(out))
    if out:
        out[a], out[b] = out[b], out[a]
    return tuple(out)


@view("t adjoint")
def _t(shape):
    return (*shape[:-2], *shape[:-3:-1])


@view("movedim moveaxis")
def _movedim(shape, source, destination):
    source = source if isinstance(source, (tuple, list)) else (source,)
    destination = destination if isinstance(destination, (tuple, list)) else (destination,)
    rank = len(shape)
    out = {_axis(d, rank): shape[_axis(s, rank)] for s, d in zip(source, destination, strict=True)}
    taken = {_axis(s, rank) for s in source}
    rest = iter([n for i, n in enumerate(shape) if i not in taken])
    return tuple(out[i] if i in out else next(rest) for i in range(rank))


@view("squeeze")
def _squeeze(shape, dim=None):
    dims = range(len(shape)) if dim is None else dim if isinstance(dim, (tuple, list)) else (dim,)
    dims = {_axis(d, len(shape)) for d in dims}
    return tuple(n for i, n in enumerate(shape) if not (i in dims and n == 1))


@view("unsqueeze")
def _unsqueeze(shape, dim):
    d = _axis(dim, len(shape) + 1)
    return (*shape[:d], 1, *shape[d:])


@view("expand broadcast_to")
def _expand(shape, *sizes, implicit=False):
    sizes = _ints(sizes)
    rank = len(sizes)
    padded = (1,) * (rank - len(shape)) + tuple(shape)
    out = tuple(old if new == -1 else new for old, new in zip(padded, sizes, strict=True))
    if any(old not in (1, new) for old, new in zip(padded, out, strict=True)):
        raise BadInputError(f"expand of {shape} to {tuple(sizes)}")
    return out


@view("chunk")
def _chunk(shape, chunks, dim=0):
    n = shape[_axis(dim, len(shape))]
    return _split(shape, max(-(n // -chunks), 1), dim)


@view("split split_with_sizes unsafe_split unsafe_chunk")
def _split(shape, split_size_or_sections=None, dim=0, split_size=None):
    d = _axis(dim, len(shape))
    n = shape[d]
    size = split_size_or_sections if split_size is None else split_size
    if isinstance(size, int):
        sizes = [min(size, n - i) for i in range(0, n, size)] or [0]
    else:
        sizes = list(size)
        if sum(sizes) != n:
            raise BadInputError(f"split of {n} elements into {sizes}")
    return [(*shape[:d], s, *shape[d + 1 :]) for s in sizes]


@view("tensor_split")
def _tensor_split(shape, indices_or_sections, dim=0):
    d = _axis(dim, len(shape))
    n, cut = shape[d], indices_or_sections
    if isinstance(cut, int):
        small, more = divmod(n, cut)
        sizes = [small + 1] * more + [small] * (cut - more)
    else:
        edges = [0, *(min(c, n) for c in cut), n]
        sizes = [max(b - a, 0) for a, b in itertools.pairwise(edges)]
    return [(*shape[:d], s, *shape[d + 1 :]) for s in sizes]


@view("unbind")
def _unbind(shape, dim=0):
    d = _axis(dim, len(shape))
    return [(*shape[:d], *shape[d + 1 :])] * shape[d]


@view("narrow")
def _narrow(shape, dim, start, length):
    d = _axis(dim, len(shape))
    return (*shape[:d], length, *shape[d + 1 :])


@view("select")
def _select(shape, dim, index):
    d = _axis(dim, len(shape))
    return (*shape[:d], *shape[d + 1 :])


@view("unfold")
def _unfold(shape, dimension, size, step):
    d = _axis(dimension, len(shape))
    return (*shape[:d], (shape[d] - size) // step + 1, *shape[d + 1 :], size)


@view("contiguous alias _conj resolve_conj resolve_neg lift_fresh positive pin_memory")
def _as_is(shape, *args, **kwargs):
    return shape


@view("clone roll flip fliplr flipud rot180 cpu cuda", "copy")
def _copied(shape, *args, **kwargs):
    return shape


@view("repeat tile", "copy")
def _repeat(shape, *sizes, **kwargs):
    sizes = _ints(sizes or tuple(kwargs.values()))
    rank = max(len(sizes), len(shape))
    a = (1,) * (rank - len(shape)) + tuple(shape)
    b = (1,) * (rank - len(sizes)) + tuple(sizes)
    return tuple(m * n for m, n in zip(a, b, strict=True))


@view("repeat_interleave", "copy")
def _repeat_interleave(shape, repeats, dim=None, output_size=None):
    if not isinstance(repeats, int):
        raise NeedsValues("repeat_interleave with a tensor of repeats")
    if dim is None:
        return (math.prod(shape) * repeats,)
    d = _axis(dim, len(shape))
    return (*shape[:d], shape[d] * repeats, *shape[d + 1 :])


@view("pad constant_pad_nd", "copy")
def _pad(shape, pad, mode="constant", value=None):
    out = list(shape)
    for i in range(len(pad) // 2):
        out[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    if min(out, default=0) < 0:
        raise BadInputError(f"pad of {shape} by {pad}")
    return tuple(out)


@view("pixel_shuffle")
def _pixel_shuffle(shape, upscale_factor):
    *rest, c, h, w = shape
    r = upscale_factor
    if c % (r * r):
        raise BadInputError(f"pixel_shuffle of {c} channels by {r}")
    return (*rest, c // (r * r), h * r, w * r)


@view("pixel_unshuffle")
def _pixel_unshuffle(shape, downscale_factor):
    *rest, c, h, w = shape
    r = downscale_factor
    return (*rest, c * r * r, h // r, w // r)


@view("channel_shuffle native_channel_shuffle")
def _channel_shuffle(shape, groups):
    return shape


@view("im2col", "copy")
def _im2col(shape, kernel_size, dilation=1, padding=0, stride=1):
    kernel = _tuple(kernel_size, 2)
    spatial = ops.conv_output(
        shape[-2:], kernel, _tuple(stride, 2), _tuple(padding, 2), _tuple(dilation, 2)
    )
    return (*shape[:-3], shape[-3] * math.prod(kernel), math.prod(spatial))


@view("col2im", "copy")
def _col2im(shape, output_size, kernel_size, *args, **kwargs):
    return (*shape[:-2], shape[-2] // math.prod(_tuple(kernel_size, 2)), *_tuple(output_size, 2))


@rule("interpolate upsample")
def interpolate(t, name, input, size=None, scale_factor=None, mode="nearest", *args, **kwargs):
    x = t.of(input)
    n = len(x.dims) - 2
    if size is None:
        factors = _tuple(scale_factor, n)
        size = [math.floor(s * f) for s, f in zip(x.dims[2:], factors, strict=True)]
    out = t.make((*x.dims[:2], *_tuple(size, n)), [x])
    t.note("upsample", name, [x], [out], (), {"mode": mode})
    return out


@rule("grid_sample")
def grid_sample(t, name, input, grid, *args, **kwargs):
    x, g = t.of(input), t.of(grid)
    out = t.make((*x.dims[:2], *g.dims[1:-1]), [x, g], x.dtype)
    t.note("upsample", name, [x, g], [out])
    return out


@rule("to type float half double bfloat16 long int short bool type_as")
def cast(t, name, input, *args, **kwargs):
    x = t.of(input)
    named = {
        "float": torch.float32,
        "half": torch.float16,
        "double": torch.float64,
        "bfloat16": torch.bfloat16,
        "long": torch.int64,
        "int": torch.int32,
        "short": torch.int16,
        "bool": torch.bool,
    }
    dtype = named.get(name)
    for value in (*args, *kwargs.values()):
        if isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, TENSORS):
            dtype = t.of(value).dtype
    if name == "type" and dtype is None:
        raise NoRule("Tensor.type with a string")
    if dtype is None or dtype is x.dtype:  # nothing happens
        return x if type(input) is Shape else t.make(x.dims, [x])
    out = t.make(x.dims, [x], dtype)
    t.note("copy", name, [x], [out])
    return out


@rule("requires_grad_")
def requires_grad(t, name, input, *args, **kwargs):
    return t.of(input)


@rule("detach")
def detached(t, name, input):
    x = t.of(input)
    return Shape(x.dims, x.dtype, x.device, t, False, False, x.fed, x.origins)


@rule("cat concat concatenate")
def cat(t, name, tensors, dim=0, *, axis=None, out=None):
    parts = [x if type(x) is Shape else t.of(x) for x in tensors]
    full = [p for p in parts if p.dims != (0,)] or parts
    first = full[0].dims
    d = _axis(dim if axis is None else axis, len(first))
    before, after, total = first[:d], first[d + 1 :], 0
    for part in full:
        n = part.dims
        if len(n) != len(first) or n != (*before, n[d], *after):
            raise BadInputError(f"cat along {d} of {', '.join(str(p.dims) for p in full)}")
        total += n[d]
    out = t.make((*before, total, *after), parts)
    t.note("concat", "cat", parts, [out], (), {"dim": d})
    return out


@rule("stack")
def stack(t, name, tensors, dim=0, *, out=None):
    parts = [t.of(x) for x in tensors]
    shape = parts[0].dims
    if any(p.dims != shape for p in parts):
        raise BadInputError(f"stack of {', '.join(str(tuple(p.dims)) for p in parts)}")
    d = _axis(dim, len(shape) + 1)
    out = t.make((*shape[:d], len(parts), *shape[d:]), parts)
    t.note("concat", name, parts, [out], (), {"dim": d})
    return out


@rule("meshgrid")
def meshgrid(t, name, *tensors, indexing="ij"):
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tensors[0]
    parts = [t.of(x) for x in tensors]
    shape = [math.prod(p.dims) for p in parts]
    if indexing == "xy" and len(shape) > 1:
        shape[0], shape[1] = shape[1], shape[0]
    outs = tuple(t.make(shape, [p]) for p in parts)
    t.note("reshape", name, parts, outs)
    return outs


# ---------------------------------------------------------------- rules: indexing


@rule("getitem")
def getitem(t, name, input, key):
    x = t.of(input)
    shape, gathers = _indexed(t, tuple(x.dims), key)
    out = t.make(shape, [x])
    t.note("embedding" if gathers else "reshape", name, [x], [out])
    return out


@rule("setitem")
def setitem(t, name, input, key, value):
    x = t.of(input)
    _indexed(t, tuple(x.dims), key)
    parts = [x, t.of(value)] if isinstance(value, TENSORS) else [x]
    t.note("copy", name, parts, [x])
    if len(parts) == 2:
        y = parts[1]
        x.wants, x.wants_in, x.fed = x.wants or y.wants, x.wants_in or y.wants_in, x.fed or y.fed


def _indexed(t, shape, key) -> tuple[tuple[int, ...], bool]:
    """The shape of x[key], and whether rows are gathered by an index tensor or list."""
    keys = key if isinstance(key, tuple) else (key,)
    used = 0
    for k in keys:
        if isinstance(k, TENSORS) and t.of(k).dtype in (torch.bool, torch.uint8):
            raise NeedsValues("indexing with a mask")
        used += k is not None and k is not Ellipsis and not isinstance(k, bool)
    if not any(k is Ellipsis for k in keys):
        keys = (*keys, Ellipsis)
    if used > len(shape):
        raise BadInputError(f"{used} indices for the shape {shape}")
    out: list[int] = []
    lists: list[tuple[int, ...]] = []  # shapes of the advanced indices
    ints = 0
    at: list[int] = []  # where in `out` they stand
    gaps = False
    last_list = None
    d = 0
    for place, k in enumerate(keys):
        if k is Ellipsis:
            n = len(shape) - used
            out.extend(shape[d : d + n])
            d += n
        elif k is None:
            out.append(1)
        elif isinstance(k, slice):
            out.append(len(range(*k.indices(shape[d]))))
            d += 1
        elif isinstance(k, bool):
            raise NeedsValues("indexing with a bool")
        elif isinstance(k, (torch.Tensor, list, range)) or hasattr(k, "__array__"):
            one = tuple(t.of(k).dims) if isinstance(k, TENSORS) else _nested(k)
            gaps |= last_list is not None and place != last_list + 1
            last_list = place
            lists.append(one)
            at.append(len(out))
            d += 1
        else:
            if not -shape[d] <= int(k) < shape[d]:
                raise IndexError(f"index {int(k)} is out of range for dimension {d} of {shape}")
            ints += 1
            d += 1
    if lists:
        found = ops.broadcast(*lists)
        position = 0 if gaps else at[0]
        out[position:position] = found
    return tuple(out), bool(lists)


def _nested(values) -> tuple[int, ...]:
    """The shape of nested lists or of an array."""
    if hasattr(values, "shape"):
        return tuple(values.shape)
    if isinstance(values, (list, tuple, range)):
        return (len(values), *(_nested(values[0]) if len(values) else ()))
    return ()


@rule("index_select")
def index_select(t, name, input, dim, index):
    x, i = t.of(input), t.of(index)
    d = _axis(dim, len(x.dims))
    out = t.make((*x.dims[:d], i.numel(), *x.dims[d + 1 :]), [x])
    t.note("embedding", name, [x, i], [out])
    return out


@rule("gather take_along_dim")
def gather(t, name, input, dim, index=None, **kwargs):
    if isinstance(dim, TENSORS):
        dim, index = index, dim
    x, i = t.of(input), t.of(index)
    out = t.make(i.dims, [x])
    t.note("embedding", name, [x, i], [out])
    return out


@rule("scatter scatter_add index_add index_copy masked_scatter")
def scatter(t, name, input, *args, **kwargs):
    parts = [t.of(x) for x in (input, *args, *kwargs.values()) if isinstance(x, TENSORS)]
    out = t.make(parts[0].dims, parts, parts[0].dtype)
    t.note("copy", name, parts, [out])
    return out


@rule("embedding")
def embedding(t, name, input, weight, *args, **kwargs):
    i, w = t.of(input), t.of(weight)
    if i.dtype.is_floating_point:
        raise BadInputError(
            f"embedding looks up integers, got {i.dtype}; give dtype='int64' for such inputs"
        )
    out = t.make((*i.dims, w.dims[-1]), [w, i], w.dtype)
    out.wants, out.wants_in = w.wants, w.wants_in
    t.note("embedding", name, [i], [out], [w])
    return out


@rule("torch.embedding")
def torch_embedding(t, name, weight, indices, *args, **kwargs):
    return embedding(t, "embedding", indices, weight)


# ---------------------------------------------------------------- rules: new tensors


def _new(t, name, shape, dtype, device=None):
    if not isinstance(device, torch.device):
        device = torch.device("cpu" if device is None else device)
    out = Shape(shape, dtype or torch.get_default_dtype(), device, t, False, False, False)
    t.note("creation", name, [], [out])
    return out


@rule("zeros ones empty rand randn")
def created(t, name, *size, dtype=None, device=None, **kwargs):
    size = _ints(size) if size else _ints((kwargs["size"],))
    return _new(t, name, size, dtype, device)


@rule("full")
def full(t, name, size, fill_value, *, dtype=None, device=None, **kwargs):
    if dtype is None and isinstance(fill_value, (bool, int)):
        dtype = torch.bool if isinstance(fill_value, bool) else torch.int64
    return _new(t, name, _ints((size,)), dtype, device)


@rule("randint")
def randint(t, name, *args, dtype=torch.int64, device=None, **kwargs):
    size = kwargs.get("size") or next(a for a in args if isinstance(a, (tuple, list)))
    return _new(t, name, size, dtype, device)


@rule("randperm")
def randperm(t, name, n, *, dtype=torch.int64, device=None, **kwargs):
    return _new(t, name, (n,), dtype, device)


@rule("arange")
def arange(t, name, *args, dtype=None, device=None, **kwargs):
    start, end, step = 0, kwargs.get("end"), kwargs.get("step", 1)
    if len(args) == 1:
        end = args[0]
    elif args:
        start, end, step = (*args, step)[:3]
    start = kwargs.get("start", start)
    if dtype is None and all(isinstance(v, int) for v in (start, end, step)):
        dtype = torch.int64
    return _new(t, name, (max(math.ceil((end - start) / step), 0),), dtype, device)


@rule("linspace logspace")
def linspace(t, name, start, end, steps, *args, dtype=None, device=None, **kwargs):
    return _new(t, name, (steps,), dtype, device)


@rule("eye")
def eye(t, name, n, m=None, *, dtype=None, device=None, **kwargs):
    return _new(t, name, (n, n if m is None else m), dtype, device)


@rule("tensor as_tensor")
def tensor(t, name, data, dtype=None, device=None, **kwargs):
    if isinstance(data, TENSORS):
        x = t.of(data)
        return x if dtype in (None, x.dtype) else t.make(x.dims, [x], dtype)
    leaf = data
    while isinstance(leaf, (list, tuple)) and leaf:
        leaf = leaf[0]
    if dtype is None:
        kinds = {bool: torch.bool, int: torch.int64}
        dtype = kinds.get(type(leaf), torch.get_default_dtype())
    return _new(t, name, _nested(data), dtype, device)


@rule("zeros_like ones_like empty_like full_like rand_like randn_like")
def like(t, name, input, *args, dtype=None, **kwargs):
    x = t.of(input)
    return _new(t, name, x.dims, dtype or x.dtype, x.device)


@rule("new_zeros new_ones new_empty new_full new_tensor")
def new(t, name, input, size, *args, dtype=None, device=None, **kwargs):
    x = t.of(input)
    if name == "new_tensor":
        shape = _nested(size)
    elif name == "new_full":
        shape = _ints((size,))
    else:
        shape = _ints((size, *args))
    return _new(t, name, shape, dtype or x.dtype, device or x.device)


@rule("_assert")
def asserted(t, name, condition, message=""):
    if type(condition) is Shape:
        raise NeedsValues("the forward pass asserts the value of a tensor")
    if not bool(condition):
        raise AssertionError(message)


# ---------------------------------------------------------------- common layers, directly


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
    nn.ReLU: lambda t, own, x: activation(t, "relu", x),
    nn.SiLU: lambda t, own, x: activation(t, "silu", x),
    nn.Dropout: lambda t, own, x: dropout(t, "dropout", x, own["p"], own["training"]),
    nn.MaxPool2d: _quick_max_pool,
}


# ---------------------------------------------------------------- the meta device

# ATen operators that have no rule of the same name; those without products, by op type
KINDS.update(
    {
        **dict.fromkeys(
            _words(
                "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
                "_batch_norm_no_update _batch_norm_with_update cudnn_batch_norm native_layer_norm "
                "native_group_norm _fused_rms_norm"
            ),
            "norm",
        ),
        **dict.fromkeys(_words("_softmax _log_softmax _safe_softmax"), "softmax"),
        **dict.fromkeys(
            _words(
                "sum mean prod amax amin max min all any argmax argmin logsumexp var std var_mean "
                "norm linalg_vector_norm nll_loss_forward"
            ),
            "reduction",
        ),
        **dict.fromkeys(
            _words("max_pool2d_with_indices max_pool3d_with_indices avg_pool2d avg_pool3d"), "pool"
        ),
        **dict.fromkeys(
            _words(
                "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d"
            ),
            "adaptive_pool",
        ),
        **dict.fromkeys(_words("embedding index index_select gather"), "embedding"),
        **dict.fromkeys(_words("cat stack"), "concat"),
        **dict.fromkeys(
            _words(
                "_to_copy index_put scatter scatter_add repeat slice_scatter select_scatter "
                "reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d"
            ),
            "copy",
        ),
        **dict.fromkeys(
            _words("view reshape _unsafe_view _reshape_alias slice as_strided detach diagonal"),
            "reshape",
        ),
        **dict.fromkeys(_words("native_dropout"), "dropout"),
        **dict.fromkeys(_words("glu"), "activation"),
        **dict.fromkeys(_words("sort topk argsort"), "sort"),
        **dict.fromkeys(
            _words(
                "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d "
                "upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d "
                "_upsample_bilinear2d_aa grid_sampler_2d grid_sampler_3d"
            ),
            "upsample",
        ),
        **dict.fromkeys(
            _words(
                "zeros ones empty rand randn full randint randperm arange linspace eye zeros_like "
                "ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty "
                "new_full empty_strided scalar_tensor"
            ),
            "creation",
        ),
    }
)
PRODUCTS = _words("mm bmm mv dot addmm addmv addbmm baddbmm")


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
        entry = ENTRIES.get(func) or _entry(func)
        if found not in RULES:
            if entry.__qualname__.startswith("_followed"):
                return entry(self, args, kwargs)
            return func(*args, **kwargs)  # ATen operators are noted one by one below
        twin_args, twin_kwargs = tree_map(self.twin, (args, kwargs))
        before = len(self.calls)
        try:
            predicted = entry(self, twin_args, twin_kwargs)
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
            predicted = attention(self, "scaled_dot_product_attention", *twins[0][:3])
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


class _NothingComputed(TorchDispatchMode):
    """While shapes are traced no ATen operator may run on one: code that torch functions do not
    see (TorchScript, vmap) would compute on the empty tensor behind it, uncounted.
    """

    def __torch_dispatch__(self, func, kinds, args=(), kwargs=None):
        if any(type(x) is Shape for x in tree_leaves((args, kwargs))):
            raise NoRule(f"{func.name()} inside compiled code")
        return func(*args, **(kwargs or {}))


class _AtenNotes(TorchDispatchMode):
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


# ---------------------------------------------------------------- one trace


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

    MACs are for the whole batch. The model, torch's hooks and the random generators are left as
    found, also when the forward raises. Refused with `BadInputError`: shapes that are no positive
    ints, a model with uninitialised (lazy) parameters, and a forward pass that raises (the error
    names the module and what it received; the original exception is its cause).
    `trace(nn.Linear(3, 2), (3,)).calls[0].macs == 3 * 2`.
    """
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper: same parameters
    if not isinstance(model, nn.Module):
        raise BadInputError(f"a torch.nn.Module is expected, got {type(model).__name__}")
    modules = every_module(model)
    parameters: dict[int, nn.Parameter] = {}
    for module in modules:
        for name, tensor in module._parameters.items():
            if tensor is None:
                continue
            if nn.parameter.is_lazy(tensor):
                raise BadInputError(
                    f"{name} of {type(module).__name__} has no shape yet (lazy module); run the "
                    "model once on real data first"
                )
            parameters[id(tensor)] = tensor
    shapes = _input_shapes(input_shape, batch)
    dtypes = _dtypes(model, dtype, len(shapes))
    fallback = ""
    try:
        tracer = _run(Tracer, model, modules, shapes, dtypes, training)
    except _Failed as failed:
        first = failed.__cause__
        fallback = _reason(first)
        try:
            tracer = _run(MetaTracer, model, modules, shapes, dtypes, training)
        except _Failed as again:
            cause = again.__cause__
            text = f"{type(cause).__name__}: {cause}"
            if isinstance(first, BadInputError):  # our words, torch's error as the cause
                text = str(first)
            elif isinstance(first, NeedsValues):
                text = f"{first}, which only real data could give ({text})"
            raise BadInputError(
                f"the forward pass of {type(model).__name__} failed in {again}: {text}"
            ) from cause
    unused = {}
    if not parameters.keys() <= tracer.used:
        unused = {k: p.numel() for k, p in model.named_parameters() if id(p) not in tracer.used}
    return Trace(
        tracer.calls,
        dict(tracer.uncounted),
        fallback,
        sum(p.numel() for p in parameters.values()),
        unused,
        shapes,
        batch,
        training,
        type(model).__name__,
    )


class _Failed(Exception):
    """The forward pass raised; the text says in which module."""


def _reason(error: BaseException) -> str:
    if isinstance(error, NoRule):
        return f"no rule for {error}"
    if isinstance(error, NeedsValues):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"


def _run(kind, model, modules, shapes, dtypes, training) -> Tracer:
    stack = ModuleStack(model)
    tracer = kind(stack)
    if kind is Tracer and not any(_global_hooks()):
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
                with torch.no_grad(), stack, _AtenNotes(tracer), tracer:
                    model(*inputs)
            else:
                with torch.no_grad(), _NothingComputed(), stack, tracer:
                    model(*inputs)
        except Exception as error:
            path, module, args = stack.failed or (stack.path, stack.module, tuple(inputs))
            raise _Failed(_where(path, module, args)) from error
        finally:
            for own in switched:  # here, because as_found takes longer for what has changed
                own["training"] = not training
            tracer.forget()
    return tracer


def _global_hooks():
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
    if batch is None:
        return shapes
    if type(batch) is not int or batch < 1:
        raise BadInputError(f"batch {batch!r}: a positive int, or None, is expected")
    return tuple((batch, *s) for s in shapes)


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
