"""What stands for a tensor while a network is traced: `Shape` and `Weight`, and the reasons why a
trace on shapes may not go on.

`Shape` is what the model gets to see. The tensor methods that have a rule are put on it in
`dispatch`, which knows the rules.
"""

import math

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from convcost.core.errors import BadInputError


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class NoRule(Exception):
    """A torch function that has no rule here."""


class NeedsValues(Exception):
    """The forward pass asks for the value of a tensor, which a shape does not have."""


class Refused(BadInputError):
    """A forward pass that fails on real data, though torch's meta device may let it through."""


_NOTHING = torch.empty(0, device="cpu")
_as_shape = torch.Tensor._make_subclass
_prod = math.prod


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
        return cls.made(tuple(shape), dtype, device, tracer, wants, wants_in, fed, origins)

    @classmethod
    def made(cls, dims: tuple, dtype, device, tracer, wants, wants_in, fed, origins):
        """As the constructor, which Python would follow by `__init__`: a fifth faster."""
        self = _as_shape(cls, _NOTHING)
        self.dims = dims
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
    real = property(lambda self: torch.real(self))
    imag = property(lambda self: torch.imag(self))
    H = property(lambda self: self.adjoint())
    mH = property(lambda self: self.adjoint())

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

    __slots__ = (
        "dims",
        "dtype",
        "elements",
        "nbytes",
        "origins",
        "owned",
        "trained",
        "used",
        "wants",
    )
    fed = False
    wants_in = property(lambda self: self.wants)
    shape = property(lambda self: torch.Size(self.dims))
    ndim = property(lambda self: len(self.dims))

    def __init__(self, tensor):
        self.dims = dims = tuple(tensor.shape)
        self.dtype = dtype = tensor.dtype
        self.elements = n = _prod(dims)
        self.nbytes = n * dtype.itemsize
        self.origins = (tensor,)
        kind = type(tensor)  # asked first, because isinstance is slow for a Parameter
        self.trained = kind is nn.Parameter or (
            kind is not torch.Tensor and isinstance(tensor, nn.Parameter)
        )
        self.wants = self.trained and dtype.is_floating_point
        self.owned = self.used = False

    @property
    def device(self):
        with torch._C.DisableTorchFunction():
            return self.origins[0].device

    def numel(self):
        return self.elements

    def resize(self, shape, dtype):
        """An in-place function keeps the shape of a tensor that is not the net's own."""


TENSORS = (torch.Tensor, Weight)
