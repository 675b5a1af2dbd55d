"""Notebook 06: a residual net made smaller or cheaper by every method, and measured."""
