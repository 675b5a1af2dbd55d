"""How the rules read the arguments of torch functions: sizes, dimensions, what is present; and
the backward cost that all products share.
"""

from convcost.core.errors import BadInputError
from convcost.counting.shapes.objects import Shape


def as_tuple(value, n: int) -> tuple[int, ...]:
    """An int or a sequence of 1 or n ints as n ints."""
    if type(value) is tuple and len(value) == n:
        return value
    if isinstance(value, (tuple, list)):
        return tuple(value) if len(value) == n else tuple(value) * n
    return (value,) * n


def gradients_of(macs: int, a, b) -> tuple[int, int]:
    """Backward cost of a product: one forward's worth for each operand that needs a gradient;
    and how much a gradient for the network's input adds.
    """
    wants = a.wants + b.wants
    return wants * macs, (a.wants_in + b.wants_in - wants) * macs


def added(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    return first[0] + second[0], first[1] + second[1]


def present(t, *tensors) -> list[Shape]:
    return [t.of(x) for x in tensors if x is not None]


def axis_of(dim: int, rank: int) -> int:
    if not -rank <= dim < rank and not (rank == 0 and dim in (0, -1)):
        raise BadInputError(f"dimension {dim} of a tensor with {rank} dimensions")
    return dim % rank if rank else 0
