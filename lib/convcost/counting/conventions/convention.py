"""What a convention is: a rule, its unit, its source, and what it does in words."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from convcost.core.errors import BadInputError
from convcost.counting.conventions.rules import FREE_OPS, Number, Rule
from convcost.counting.ops import OperatorCall

# The rows of `Convention.describe`, in the order a comparison table shows them.
ASPECTS = (
    "multiply-add",
    "bias",
    "batch norm",
    "activation",
    "pooling",
    "softmax",
    "elementwise add",
    "dropout",
    "attention",
    "unknown operator",
)


@dataclass(frozen=True)
class Convention:
    """One way to count, as one tool or one equation does it.

    `of(call)` is the cost of one call, `total(calls)` the sum, both exact, in `unit`:
    "macs" (one per multiply-add), "flops" (two per multiply-add) or "multiplications". Each is an
    int; only `bianco` makes halves (a bias is half an operation), then it is a `Fraction`.
    Example: `nn.Linear(3, 2)` on one row gives 3*2 with "macs-only", 2*3*2 with
    "torch-flopcounter" and 3*2 + 2 with "pycls" (the bias counts one per output).
    """

    key: str
    title: str
    tool: str
    tool_version: str
    unit: str
    citation: str
    describe: Mapping[str, str]
    rule: Rule = field(repr=False)
    limits: str = ""
    refuses: bool = False  # True if the tool stops at an operator that it does not know

    def of(self, call: OperatorCall) -> Number:
        """What the convention counts for one call.

        Raises `BadInputError` only where the tool itself stops (`refuses`).
        """
        return _whole(self.rule(call))

    def total(self, calls) -> Number:
        """The sum over an iterable of calls, or over the `calls` of a trace."""
        return _whole(sum((self.rule(call) for call in _calls(calls)), 0))

    def uncounted(self, calls) -> Counter:
        """The operators that do arithmetic and get zero here: torch function -> how many calls.

        Copies, reshapes, concatenations, lookups and dropout in evaluation mode do none and are
        left out. Where the convention refuses an operator, it is listed as well.
        Example: "macs-only" on one Linear and one ReLU gives Counter({"relu": 1}).
        """
        names: Counter = Counter()
        for call in _calls(calls):
            if call.op in FREE_OPS:
                continue
            try:
                count = self.rule(call)
            except BadInputError:
                count = 0
            if not count:
                names[call.function] += 1
        return names


def _calls(calls) -> Iterable[OperatorCall]:
    return getattr(calls, "calls", calls)


def _whole(value: Number) -> Number:
    if isinstance(value, Fraction) and value.denominator == 1:
        return value.numerator
    return value


def describe(texts: Mapping[str, str]) -> Mapping[str, str]:
    """Every aspect in order; what is not named costs nothing."""
    return MappingProxyType({aspect: texts.get(aspect, "0") for aspect in ASPECTS})
