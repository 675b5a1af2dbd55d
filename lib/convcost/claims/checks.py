"""All checks: those of each chapter, from its `claims`."""

from convcost.core import registry


def all_checks() -> dict:
    """Key of the claim ("<source>/<name>") -> its `Check`. A key may stand in one chapter only."""
    return registry.together("claims", "CHECKS")
