"""Checks of what the post says of separable convolutions."""

from convcost.claims.verdicts import Check

CHECKS: dict[str, Check] = {}
