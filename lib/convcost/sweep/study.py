"""What the studies of all notebooks share: whose measurements they are, and in which parts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import pandas as pd

from convcost import records
from convcost.core import paths
from convcost.records import hosts
from convcost.records.hosts import Host
from convcost.sweep import Planned, Sweep


@dataclass(frozen=True)
class Part:
    """Experiments of a notebook that are worth having by themselves; `what` says why.

    `essential`: the notebook cannot be drawn without them.
    """

    what: str
    sweeps: tuple[Planned, ...]
    essential: bool = False


class Study:
    """The experiments of one notebook, at the scale of a profile.

    `host` is the machine that measures; None: `hosts.measuring` says which. Where it is another
    one, nothing is measured here: what it has measured is taken from what was merged, and what it
    has not is missing. `smoke`: what is measured is kept apart, and no run takes it for a result.

    Where notebooks are drawn again (`records.redrawn`), a method that is called like a table
    gives the stored one, and measures nothing; so do all but those named in `only`, where some are.

    A subclass gives `notebook`, `parts`, the `scales` of the profiles and of a smoke run, and,
    where the functions that measure are not in its own module, the name of the one they are in as
    `measurements`.
    """

    notebook: str
    scales: Mapping[str, Any]
    smoke_scale: Any
    measurements: str | None = None

    def __init__(
        self,
        profile: str,
        scale=None,
        *,
        host: Host | None = None,
        smoke: bool = False,
        only: tuple[str, ...] = (),
    ):
        self.profile, self.only = profile, only
        self.scale = scale or (on_device(self.smoke_scale) if smoke else self.scales[profile])
        self.host = host or self._whose()
        self._units = paths.RAW / ("smoke" if smoke else "units")

    def _whose(self) -> Host:
        if not (again := records.redrawn()):
            return hosts.measuring(self.profile, self.notebook)
        return Host(again, records.record_of(self.notebook, again)["machine_details"])

    def __init_subclass__(cls) -> None:
        for name, method in list(vars(cls).items()):
            if name in records.TABLES and callable(method):
                setattr(cls, name, _stored_where_wanted(method))

    @property
    def threads(self) -> int:
        """Threads of the arithmetic, in everything that is timed."""
        return getattr(self.scale, "threads", None) or self.host.cores

    def earlier(self, table: str) -> pd.DataFrame | None:
        """A table that an earlier notebook wrote on the machine that measures; None without."""
        for where in (records.REFERENCE, records.LOCAL):
            try:
                return records.read(table, machine=self.host.name, where=where)
            except records.MissingTableError:
                continue
        return None

    def parts(self) -> dict[str, Part]:
        """Its parts by name, the most valuable first; the cheap rest, counted, is in none."""
        raise NotImplementedError

    def planned(
        self,
        function: str,
        configurations: Iterable[Mapping],
        *,
        data: Mapping,
        cost: Callable[[dict], float],
        timed: bool = True,
        folder: str | None = None,
        **options,
    ) -> Planned:
        """A measuring function over configurations.

        `timed`: the results are of one machine and its versions; else they are the same wherever
        they come from. `cost` guesses seconds. `options` are those of `sweep.run`.
        """
        return Planned(
            f"{self.measurements or type(self).__module__}:{function}",
            tuple(configurations),
            Path(self._units) / (folder or function),
            dict(data) | (self.host.facts if timed else {}),
            cost,
            {"every_s": 60} | options,
        )

    def done(self, planned: Planned, **more) -> Sweep:
        """What there is of a sweep, after what is left of it was done, if this is the machine."""
        return planned.run(**{"only_stored": not self.host.here, **more})


def _stored_where_wanted(method: Callable) -> Callable:
    @wraps(method)
    def table(self, *args, **options):
        again = records.redrawn()
        if again or (self.only and method.__name__ not in self.only):
            stored = records.read(method.__name__, machine=again or self.host.name)
            return stored.drop(columns="run_id")
        return method(self, *args, **options)

    return table


def on_device(scale):
    """The scale, on the processor where torch finds no GPU: a smoke run tries the code anywhere."""
    import torch

    return scale if torch.cuda.is_available() else replace(scale, device="cpu")


def typed(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """The table's columns out of rows of several kinds, whose gaps made floats of integers."""
    columns = records.TABLES[table].columns
    frame = frame.reindex(columns=list(columns))
    whole = [n for n, column in columns.items() if column.dtype == "int" and not column.optional]
    marks = [name for name, column in columns.items() if column.dtype == "bool"]
    real = [name for name, column in columns.items() if column.dtype == "float"]
    words = [name for name, column in columns.items() if column.dtype == "text"]
    counts = [n for n, column in columns.items() if column.dtype == "int" and column.optional]
    types = {"int64": whole, bool: marks, float: real}
    if frame.empty:  # of no rows at all pandas makes floats
        types |= {"Int64": counts, object: words}
    return frame.astype({name: kind for kind, names in types.items() for name in names})
