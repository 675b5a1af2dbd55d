"""Results on disk: one schema per table, written atomically, checked when read, with a run record.

A table lies at `<root>/<machine>/<table>.csv`, where `<root>` is `data/results/` for the committed
reference and the git-ignored `data/raw/runs/` for a user's own runs. Beside the tables,
`manifest.json` holds the sha256 of each, and `runs/<run_id>.json` says what made them: machine,
versions, data sets, profile, seeds, commit, date, command. A table counts only together with the
record of the run that wrote it (see `manifest`).
"""

import datetime
import io
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from convcost.core import machine, paths, registry
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.core.extras import optional
from convcost.core.files import digest, from_json, set_aside, sha256, to_json, write_atomically
from convcost.records import hosts, manifest
from convcost.records.schema import Column, Table

__all__ = [
    "LOCAL",
    "REFERENCE",
    "TABLES",
    "MissingTableError",
    "Results",
    "Run",
    "commit",
    "faults",
    "is_reference_run",
    "machines",
    "mixed",
    "not_of_run",
    "read",
    "run_ids",
    "set_aside",
    "sha256",
    "start_run",
    "write_atomically",
]

REFERENCE, LOCAL = "reference", "local"
REDRAW = "CONVCOST_REDRAW"
_PROFILE_ORDER = {"gpu": 0, "cpu": 1, "quick": 2}


class MissingTableError(ConvcostError, LookupError):
    """No run has written this table yet, or not the rows of it that are asked for."""


# --- schemas ---------------------------------------------------------------------------------


def schemas() -> dict[str, Table]:
    """Every table of every chapter, by its name; `TABLES` is the same."""
    return registry.together("tables", "TABLES")


def __getattr__(name: str):
    if name == "TABLES":
        return schemas()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_DTYPES = {"int": "int64", "float": "float64", "text": "str", "bool": "bool"}


def _schema(name: str):
    """The pandera schema of a table."""
    with optional():
        import pandera.pandas as pa  # slow to import, and only writing and reading need it

    def column(spec: Column):
        checks = [] if spec.low is None else [pa.Check.ge(spec.low)]
        # pandas 2 holds text as object, pandas 3 as str: the check below looks at the values
        dtype = None if spec.dtype == "text" else _DTYPES[spec.dtype]
        if spec.dtype == "int" and spec.optional:
            dtype = "Int64"
        if spec.dtype == "text":
            checks.append(pa.Check(lambda s: s.map(lambda v: isinstance(v, str)), error="not text"))
        return pa.Column(dtype, checks, nullable=spec.optional)

    table = schemas()[name]
    columns = {key: column(spec) for key, spec in table.columns.items()}
    columns["run_id"] = pa.Column()
    return pa.DataFrameSchema(columns, strict=True, ordered=True, unique=list(table.key))


def _known(table: str) -> Table:
    if table not in schemas():
        raise BadInputError(
            f"unknown table {table!r}: choose one of {', '.join(sorted(schemas()))}"
        )
    return schemas()[table]


def _validate(table: str, frame: pd.DataFrame, where: str) -> pd.DataFrame:
    with optional():
        import pandera.errors

    try:
        return _schema(table).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases[["column", "check", "failure_case", "index"]]
        raise DamagedFileError(
            f"{where} does not fit the schema of table {table!r}:\n{cases.head(8).to_string()}\n"
            "see convcost.records.TABLES for its columns"
        ) from None


def _with_gaps(frame: pd.DataFrame, spec: Table) -> pd.DataFrame:
    """Counts that may be missing as Int64: of a gap among integers pandas makes floats.

    A table without rows gets all its types: a file does not tell them.
    """
    types = {}
    if frame.empty:
        types = {
            name: _DTYPES[column.dtype]
            for name, column in spec.columns.items()
            if column.dtype != "text" and name in frame
        }
    for name, column in spec.columns.items():
        if column.dtype == "int" and column.optional and name in frame:
            values = frame[name].dropna()
            if values.empty or (pd.api.types.is_numeric_dtype(values) and (values % 1 == 0).all()):
                types[name] = "Int64"
    return frame.astype(types)


# --- run records -----------------------------------------------------------------------------


def _root(where: str) -> Path:
    if where == REFERENCE:
        return paths.REFERENCE_RESULTS
    if where == LOCAL:
        return paths.LOCAL_RESULTS
    raise BadInputError(f"where is {where!r}: choose {REFERENCE!r} or {LOCAL!r}")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> str | None:
    """The commit of this checkout; None outside of one."""
    return _git("rev-parse", "HEAD")


@dataclass
class Run:
    """One execution that writes tables: made by `start_run`."""

    run_id: str
    machine: str
    where: str
    record: dict
    written: list[str] = field(default_factory=list)
    _record: bytes | None = field(default=None, repr=False)  # as at the first table: its hash stays

    @property
    def folder(self) -> Path:
        """Where its tables go."""
        return _root(self.where) / self.machine

    def write(self, table: str, rows: pd.DataFrame | Iterable[Mapping]) -> pd.DataFrame:
        """Check the rows against the table's schema and write them, replacing the whole table.

        Returns the frame as written, with its `run_id` column. Raises BadInputError for an
        unknown table and DamagedFileError for rows that do not fit; then nothing is written.
        """
        spec = _known(table)
        frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
        frame = frame.assign(run_id=self.run_id)
        missing = [c for c in spec.columns if c not in frame]
        if missing:
            raise DamagedFileError(f"rows for table {table!r} lack {', '.join(missing)}")
        whole = [
            c
            for c, column in spec.columns.items()
            if column.dtype == "float" and pd.api.types.is_integer_dtype(frame[c])
        ]
        frame = frame.astype(dict.fromkeys(whole, float))  # 3 is a float, "3" is not
        frame = _with_gaps(frame[[*spec.columns, "run_id"]], spec)
        frame = _validate(table, frame, "what is to be written")
        content = frame.to_csv(index=False, lineterminator="\n").encode()
        self._record = self._record or to_json(self.record)
        entry = {
            "sha256": digest(content),
            "run_id": self.run_id,
            "record_sha256": digest(self._record),
            "rows": len(frame),
        }
        manifest.put(self.folder, table, content, entry, self._record)
        self.written.append(table)
        return frame

    def banner(self) -> str:
        """One line for the top of a notebook: machine, profile, where results go."""
        kept = "committed reference" if self.where == REFERENCE else "your own run"
        line = f"{self.machine} · profile {self.record['profile']} · {kept} · {self.run_id}"
        if "drawn_on" in self.record:
            line += (
                f"\nmeasured there on {self.record['measured']['date'][:10]}, drawn on "
                f"{self.record['drawn_on']['machine']}: nothing is measured by this run"
            )
        return line


class Redrawn(Run):
    """A run that is over: its notebook is drawn again from the tables that it wrote."""

    def write(self, table: str, rows: object = None) -> pd.DataFrame:
        """The table as it is stored; `rows` do not matter, and nothing is written."""
        self.written.append(table)
        return read(table, machine=self.machine, where=self.where)

    def banner(self) -> str:
        """One line for the top of a notebook: as of the run, and that it is over."""
        made = f"measured on {self.record['date'][:10]}, drawn again from the stored tables"
        return f"{super().banner()}\n{made}: nothing is measured by this run"


def redrawn() -> str | None:
    """The machine from whose committed tables this process draws notebooks again, if it does."""
    return os.environ.get(REDRAW) or None


def record_of(notebook: str, machine: str) -> dict:
    """The record of the newest reference run of a notebook on a machine.

    Raises BadInputError where there is none.
    """
    told = _by_run(_root(REFERENCE) / machine).values()
    found = [record for record in told if record["notebook"] == notebook]
    if not found:
        there = ", ".join(machines()) or "none"
        raise BadInputError(
            f"no reference run of {notebook} on {machine!r} is stored (machines with results: "
            f"{there})"
        )
    return max(found, key=lambda record: record["date"])


def _again(notebook: str, data: Iterable[Mapping]) -> Redrawn:
    """The run that is drawn again, by a process that has the same data."""
    record = record_of(notebook, redrawn())
    then, now = (
        {f"{d['asked']}, {d['split']}": d["content_sha256"] for d in used}
        for used in (record["data"], data)
    )
    if then != now:
        other = sorted(part for part in {**then, **now} if then.get(part) != now.get(part))
        raise BadInputError(
            f"{notebook} cannot be drawn again: its run had other data than are here "
            f"({'; '.join(other)}); `python -m convcost doctor` says where data are looked for"
        )
    return Redrawn(record["run_id"], record["machine"], REFERENCE, record)


def is_reference_run() -> bool:
    """Whether this process writes the committed reference, and not a user's own results."""
    return os.environ.get("CONVCOST_REFERENCE") == "1"


_given: dict[str, int] = {}  # how often this process has given an id


def _new_id(notebook: str, profile: str, now: datetime.datetime) -> str:
    """An id that no other run has: notebook, profile, second, process, and a number from 2 on."""
    run_id = f"{notebook.split('-')[0]}-{profile}-{now:%Y%m%dT%H%M%S}-{os.getpid() % 10000:04d}"
    _given[run_id] = _given.get(run_id, 0) + 1
    return run_id if _given[run_id] == 1 else f"{run_id}-{_given[run_id]}"


def start_run(
    notebook: str,
    profile: str,
    *,
    data: Iterable[Mapping] = (),
    seeds: Iterable[int] = (),
    where: str | None = None,
) -> Run:
    """A run that tables can be written under.

    `notebook` names what asks ("01-flop-counting"), `profile` is a resolved one, `data` holds
    `Dataset.describe()` of each set that is used, `seeds` every seed. `where` is "local" unless
    CONVCOST_REFERENCE=1 is set, which `python -m convcost reproduce --reference` does. The machine
    is the one that measured: where that is another one (`hosts.measuring`), the record says so
    under `measured`, and under `drawn_on` which machine made the tables. Where `redrawn` names a
    machine, it is the reference run of that machine, and writes nothing.
    """
    if redrawn():
        return _again(notebook, data)
    where = where or (REFERENCE if is_reference_run() else LOCAL)
    now = datetime.datetime.now(datetime.UTC)
    host = hosts.measuring(profile, notebook, strict=False)
    run_id = _new_id(notebook, profile, now)
    record = {
        "run_id": run_id,
        "notebook": notebook,
        "profile": profile,
        "machine": host.name,
        "machine_details": dict(host.details),
        "arithmetic": machine.arithmetic(),
        "python": sys.version.split()[0],
        "data": [dict(entry) for entry in data],
        "seeds": list(seeds),
        "commit": commit(),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "lib", "data/published")),
        "date": now.isoformat(timespec="seconds"),
        "command": os.environ.get("CONVCOST_COMMAND") or "interactive",
    }
    if not host.here:
        told = host.measured[notebook]
        record |= {"measured": dict(told), "arithmetic": told.get("arithmetic")}
        record["drawn_on"] = {"machine": machine.slug(), "machine_details": machine.describe()}
    _root(where)  # refuses an unknown place before any work is done
    return Run(run_id, host.name, where, record)


# --- reading ---------------------------------------------------------------------------------


def machines(where: str = REFERENCE) -> list[str]:
    """Machines with results there, the largest profile first (gpu, cpu, quick), then by name.

    One counts that has tables or a manifest; what is wrong with either, `read` says.
    """
    found = []
    files = (path for name in (manifest.NAME, "*.csv") for path in _root(where).glob(f"*/{name}"))
    for folder in {path.parent for path in files}:
        profiles = [record.get("profile") for record in _by_run(folder).values()]
        order = min((_PROFILE_ORDER.get(p, 9) for p in profiles), default=9)
        found.append((order, folder.name))
    return [name for _, name in sorted(found)]


def _by_run(folder: Path) -> dict[str, dict]:
    """run_id -> run record, of those in a folder that can be read."""
    found = {}
    for path in sorted((folder / "runs").glob("*.json")):
        with suppress(DamagedFileError, OSError):
            found[path.stem] = from_json(path.read_bytes(), path)
    return found


def read(table: str, *, machine: str | None = None, where: str = REFERENCE) -> pd.DataFrame:
    """A table as written, checked against its sha256, its run, its run's record and its schema.

    `machine` None takes the first of `machines(where)` that has the table. An optional column that
    the file lacks is younger than it, and comes out without values. Raises MissingTableError where
    no run has written it, DamagedFileError where a file is not what was written, BadInputError
    for a name that is no table.
    """
    spec = _known(table)
    folder, content, entry, _ = _found(table, machine, where)
    return _parsed(folder / f"{table}.csv", content, entry["run_id"], table, spec)


def _found(table: str, machine: str | None, where: str) -> tuple[Path, bytes, dict, dict]:
    """(folder, csv, manifest's entry, run record) of a table: as `manifest.table`."""
    for name in [machine] if machine else machines(where):
        folder = _root(where) / name
        whole = manifest.table(folder, table)
        if whole is not None:
            return folder, *whole
    raise MissingTableError(
        f"no {where} run has written table {table!r}"
        + (f" on {machine}" if machine else "")
        + ": run `make reproduce`"
    )


def _parsed(path: Path, content: bytes, run_id: str, table: str, spec: Table) -> pd.DataFrame:
    types = {c: _DTYPES[s.dtype] for c, s in spec.columns.items() if s.dtype in ("text", "float")}
    try:
        frame = pd.read_csv(
            io.BytesIO(content), dtype={**types, "run_id": str}, keep_default_na=False,
            na_values=[""],
        )  # fmt: skip
    except (ValueError, pd.errors.ParserError) as error:
        raise DamagedFileError(f"{path} cannot be read as a table: {error}") from None
    if "run_id" in frame and not (frame["run_id"] == run_id).all():
        others = sorted(set(frame["run_id"].astype(str)) - {run_id})
        raise DamagedFileError(
            f"{path} has rows of run {', '.join(others)}, but {manifest.NAME} says that run "
            f"{run_id} wrote it: {manifest.AGAIN}"
        )
    for place, (column, column_spec) in enumerate(spec.columns.items()):
        if column_spec.optional and column not in frame:
            # the column is younger than the file; `_with_gaps` makes counts of these
            kind = "str" if column_spec.dtype == "text" else "float64"
            missing = pd.Series(index=frame.index, dtype=kind)
            frame.insert(min(place, frame.shape[1]), column, missing)
        if column_spec.dtype == "text" and column in frame:
            if not column_spec.optional:
                frame[column] = frame[column].fillna("")
    return _validate(table, _with_gaps(frame, spec), str(path))


@dataclass(frozen=True)
class Results:
    """Tables of one place ("reference" or "local") and, if named, of one machine."""

    where: str = REFERENCE
    machine: str | None = None

    def table(self, name: str) -> pd.DataFrame:
        """As `read`."""
        return read(name, machine=self.machine, where=self.where)

    def record(self, name: str) -> dict:
        """The run record behind a table."""
        return _found(name, self.machine, self.where)[3]

    def rows(self, name: str) -> int:
        """How many rows a table has, as its manifest has it."""
        return _found(name, self.machine, self.where)[2]["rows"]

    def sha256(self, name: str) -> str:
        """sha256 of a table's file."""
        return _found(name, self.machine, self.where)[2]["sha256"]

    def mixed(self, names: Iterable[str]) -> str:
        """Of which profiles the runs are, where not all of these tables tell of the same: "" else.

        Tables of one notebook should come from one run, those of several from runs of one profile.
        """
        runs = _runs(self.record(name) for name in names)
        profiles = [profile for of_one in runs.values() for profile in of_one.values()]
        if len(set(profiles)) > 1:
            return " and ".join(sorted(set(profiles), key=lambda p: (_PROFILE_ORDER.get(p, 9), p)))
        several = max((len(of_one) for of_one in runs.values()), default=1)
        return f"{several} of profile {profiles[0]}" if several > 1 else ""


# --- whole, and of one run? ------------------------------------------------------------------


def _runs(found: Iterable[Mapping]) -> dict[str, dict[str, str]]:
    """Notebook -> {run_id: profile} of run records."""
    runs: dict[str, dict[str, str]] = {}
    for record in found:
        of_one = runs.setdefault(str(record.get("notebook")), {})
        of_one[record["run_id"]] = str(record.get("profile"))
    return runs


def _whole(where: str) -> tuple[dict[tuple[str, str], dict], list[str]]:
    """({(machine, table): run record} of those that can be read, what is wrong with the others)."""
    whole, wrong = {}, {}
    for name in machines(where):
        folder = _root(where) / name
        try:
            tables = {path.stem for path in folder.glob("*.csv")} | manifest.entries(folder).keys()
        except DamagedFileError as error:
            wrong[str(error)] = None
            continue
        for table in sorted(tables & schemas().keys()):
            try:
                found = manifest.table(folder, table)
            except DamagedFileError as error:
                wrong[str(error)] = None
            else:
                if found is not None:
                    whole[name, table] = found[2]
    return whole, list(wrong)


def run_ids(where: str = LOCAL) -> dict[tuple[str, str], tuple[str, str]]:
    """(machine, table) -> (notebook, run_id) of each table that is there and whole."""
    return {
        place: (str(record.get("notebook")), record["run_id"])
        for place, record in _whole(where)[0].items()
    }


def faults(where: str = LOCAL) -> list[str]:
    """What is wrong with the tables there: a text for each, which names the file."""
    whole, wrong = _whole(where)
    for name, table in whole:
        try:
            read(table, machine=name, where=where)
        except DamagedFileError as error:
            wrong.append(str(error))
    return wrong


def mixed(where: str = LOCAL) -> list[str]:
    """A text for each notebook whose tables, on one machine, were written by several runs."""
    of_machine: dict[str, list[Mapping]] = {}
    for (name, _), record in _whole(where)[0].items():
        of_machine.setdefault(name, []).append(record)
    return [
        f"{notebook} on {name}: {', '.join(sorted(runs))}"
        for name, found in of_machine.items()
        for notebook, runs in sorted(_runs(found).items())
        if len(runs) > 1
    ]


def not_of_run(table: str, run_id: str, machine: str, where: str = LOCAL) -> str:
    """Why a table is not there, whole, as this run wrote it; "" where it is."""
    try:
        record = _found(table, machine, where)[3]
    except (DamagedFileError, MissingTableError) as error:
        return str(error)
    if record["run_id"] != run_id:
        return f"table {table} of its run {run_id} was replaced by run {record['run_id']}"
    return ""
