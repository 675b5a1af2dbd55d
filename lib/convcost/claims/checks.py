"""All checks, from the modules of this package that hold those of one notebook each."""

from convcost.claims import complexity_precision, counting, data, relu_zeros, training_time
from convcost.claims.verdicts import Check


def all_checks() -> dict[str, Check]:
    """Key of the claim ("<source>/<name>") -> its check. A key may stand in one module only."""
    together: dict[str, Check] = {}
    for module in (data, counting, training_time, relu_zeros, complexity_precision):
        twice = together.keys() & module.CHECKS.keys()
        if twice:
            raise ValueError(f"checks defined twice: {', '.join(sorted(twice))}")
        together |= module.CHECKS
    return together
