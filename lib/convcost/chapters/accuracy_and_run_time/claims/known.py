"""Checks of what the post says of known nets."""

from convcost.claims.verdicts import Check

CHECKS: dict[str, Check] = {}
