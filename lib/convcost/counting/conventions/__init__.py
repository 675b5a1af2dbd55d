"""What the field's counters would print for the same calls: conventions as named objects. No torch.

Every counter decides for itself what one operation is, whether a bias, a batch norm or a ReLU
costs anything, and what to do with an operator it does not know. So one ResNet-18 has many totals.
A `Convention` is one such set of decisions: a rule that maps an `OperatorCall` to a number, with
the place the rule was read from, and in words what it does with each kind of operator.

A rule describes what the tool does, including what looks like an oversight (ptflops counts a ReLU
twice, torchinfo forgets the positions of a token). `limits` says where a rule stops being the
tool. Rules of tools that hook modules (thop, torchinfo, ptflops) look at the class name of the
module that made the call; a class of your own with the name of a torch layer would be taken for
that layer, which the tool itself would not do.
"""

from collections.abc import Mapping
from types import MappingProxyType

from convcost.core.errors import BadInputError
from convcost.counting.conventions.convention import ASPECTS, Convention  # noqa: F401 - for callers
from convcost.counting.conventions.described import ALL

CONVENTIONS: Mapping[str, Convention] = MappingProxyType({c.key: c for c in ALL})
"""Every convention by its key, the tools first, then the papers' equations."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {"macs": "macs-only", "flops": "torch-flopcounter", "ptflops-pytorch": "ptflops"}
)
"""Other names that `get` understands."""


def get(name: str) -> Convention:
    """The convention called `name` (a key of `CONVENTIONS`, or an entry of `ALIASES`).

    Raises `BadInputError` that lists the valid names. `get("flops").key == "torch-flopcounter"`.
    """
    key = ALIASES.get(name, name)
    if key not in CONVENTIONS:
        valid = ", ".join([*CONVENTIONS, *ALIASES])
        raise BadInputError(f"no convention is called {name!r}; use one of: {valid}")
    return CONVENTIONS[key]
