"""Nets that others have trained and timed."""

from convcost.records.schema import Table

TABLES: dict[str, Table] = {}
