"""Sweeps: one function over many configurations, each result a small file, resumable unit by unit.

`run` does what is not there yet, on all cores; a `Planned` is such a run that may wait, and a
`Budget` the time that several may take. A function says with `Diverged` that its numbers ran away,
and asks `expected_data` for which data the sweep was started.
"""

from convcost.sweep.budget import START_S, Budget
from convcost.sweep.cluster import ask_workers
from convcost.sweep.driver import Sweep, check_where, run
from convcost.sweep.planned import Outlook, Planned
from convcost.sweep.unit import Diverged, expected_data

__all__ = [
    "START_S",
    "Budget",
    "Diverged",
    "Outlook",
    "Planned",
    "Sweep",
    "ask_workers",
    "check_where",
    "expected_data",
    "run",
]
