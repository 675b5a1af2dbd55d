"""The table of rules: the name of a torch function or tensor method -> its rule.

A rule is a function (tracer, name, *args, **kwargs): it notes the call and returns the `Shape` of
the result. The modules `rules_*` register theirs here; `dispatch` looks them up.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from convcost.counting.shapes.kinds import KINDS

RULES: dict[str, Callable] = {}  # name -> rule(tracer, name, *args, **kwargs)

# one name, two signatures
RENAMED = {
    torch.batch_norm: "torch.batch_norm",
    torch.instance_norm: "torch.instance_norm",
    torch.embedding: "torch.embedding",
    torch.concat: "cat",
    torch.concatenate: "cat",
    F.unfold: "im2col",
    F.fold: "col2im",
    torch.adaptive_max_pool1d: "adaptive_max_pool1d_with_indices",
    torch._C._nn.adaptive_max_pool2d: "adaptive_max_pool2d_with_indices",
    torch._C._nn.adaptive_max_pool3d: "adaptive_max_pool3d_with_indices",
}


def rule(*names: str):
    """Register the decorated rule for torch functions and tensor methods of these names."""

    def register(function):
        for name in " ".join(names).split():
            if name in RULES:
                raise ValueError(f"two rules for {name}")
            RULES[name] = function
        return function

    return register


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
            if short in RULES or short in KINDS:
                return short
        return name
    if raw.endswith("_") and raw not in RULES and raw not in KINDS:
        return raw[:-1]
    return raw
