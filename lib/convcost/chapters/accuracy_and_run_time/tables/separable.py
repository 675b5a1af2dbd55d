"""A separable convolution beside a plain one: blocks on the clock, nets trained."""

from convcost.records.schema import Table

TABLES: dict[str, Table] = {}
