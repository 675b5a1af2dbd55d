"""Sweeps: one function over many configurations, each result a small file, resumable unit by unit.

`run` does what is not there yet, on all cores. A function says with `Diverged` that its numbers ran
away, and asks `expected_data` for which data the sweep was started.
"""

from convcost.sweep.driver import Sweep, run
from convcost.sweep.unit import Diverged, expected_data

__all__ = ["Diverged", "Sweep", "expected_data", "run"]
