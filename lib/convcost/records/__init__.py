"""Results on disk: one schema per table, written atomically, checked when read, with a run record.

A table lies at `<root>/<machine>/<table>.csv`, where `<root>` is `data/results/` for the committed
reference and the git-ignored `data/raw/runs/` for a user's own runs. Beside the tables,
`manifest.json` holds the sha256 of each, and `runs/<run_id>.json` says what made them: machine,
versions, data sets, profile, seeds, commit, date, command.
"""

import datetime
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from convcost import machine, paths
from convcost.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.records import complexity, counting, hosts, training_time, zero_rates
from convcost.records.schema import Column, Table

REFERENCE, LOCAL = "reference", "local"
_PROFILE_ORDER = {"gpu": 0, "cpu": 1, "quick": 2}


class MissingTableError(ConvcostError, LookupError):
    """No run has written this table yet."""


# --- schemas ---------------------------------------------------------------------------------


TABLES: dict[str, Table] = (
    counting.TABLES | training_time.TABLES | zero_rates.TABLES | complexity.TABLES
)

_DTYPES = {"int": "int64", "float": "float64", "text": "str", "bool": "bool"}


def _schema(name: str):
    """The pandera schema of a table."""
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

    table = TABLES[name]
    columns = {key: column(spec) for key, spec in table.columns.items()}
    columns["run_id"] = pa.Column()
    return pa.DataFrameSchema(columns, strict=True, ordered=True, unique=list(table.key))


def _known(table: str) -> Table:
    if table not in TABLES:
        raise BadInputError(f"unknown table {table!r}: choose one of {', '.join(sorted(TABLES))}")
    return TABLES[table]


def _validate(table: str, frame: pd.DataFrame, where: str) -> pd.DataFrame:
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


# --- files -----------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    """sha256 of a file, as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that another process, or a crash, sees the old content or the new, whole.

    On failure (a full disk, say) the old file stays, nothing is left behind, and the OSError
    goes on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def set_aside(*files: Path) -> list[str]:
    """Rename those of the files that are there to `<name>.damaged-<n>`, one n for all.

    Their new names come out.
    """
    number = 1
    while any(file.with_name(f"{file.name}.damaged-{number}").exists() for file in files):
        number += 1
    return [
        file.rename(file.with_name(f"{file.name}.damaged-{number}")).name
        for file in files
        if file.exists()
    ]


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, default=str) + "\n").encode()


def _root(where: str) -> Path:
    if where == REFERENCE:
        return paths.REFERENCE_RESULTS
    if where == LOCAL:
        return paths.LOCAL_RESULTS
    raise BadInputError(f"where is {where!r}: choose {REFERENCE!r} or {LOCAL!r}")


def _load_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DamagedFileError(f"{path} is not JSON ({error}): restore or remove it") from None


# --- run records -----------------------------------------------------------------------------


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

    @property
    def folder(self) -> Path:
        """Where its tables go."""
        return _root(self.where) / self.machine

    def write(self, table: str, rows: pd.DataFrame | Iterable[Mapping]) -> pd.DataFrame:
        """Check the rows against the table's schema and write them, replacing the whole table.

        Returns the frame as written, with its `run_id` column. Raises BadInputError for an
        unknown table and DamagedFileError for rows that do not fit; then nothing is written.
        """
        from filelock import FileLock

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
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock"):
            manifest = _load_json(self.folder / "manifest.json")
            before = manifest.get(table, {}).get("sha256")
            manifest[table] = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "previous_sha256": before,  # right until the next line of this block has run
                "rows": len(frame),
                "run_id": self.run_id,
            }
            write_atomically(self.folder / "runs" / f"{self.run_id}.json", _json(self.record))
            write_atomically(self.folder / "manifest.json", _json(manifest))
            write_atomically(self.folder / f"{table}.csv", content)
            self._forget_unused_records(manifest)
        self.written.append(table)
        return frame

    def _forget_unused_records(self, manifest: Mapping) -> None:
        """Drop run records that no table refers to any more."""
        used = {entry["run_id"] for entry in manifest.values()} | {self.run_id}
        for path in (self.folder / "runs").glob("*.json"):
            if path.stem not in used:
                path.unlink()

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


def is_reference_run() -> bool:
    """Whether this process writes the committed reference, and not a user's own results."""
    return os.environ.get("CONVCOST_REFERENCE") == "1"


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
    under `measured`, and under `drawn_on` which machine made the tables.
    """
    where = where or (REFERENCE if is_reference_run() else LOCAL)
    now = datetime.datetime.now(datetime.UTC)
    host = hosts.measuring(profile, notebook, strict=False)
    run_id = f"{notebook.split('-')[0]}-{profile}-{now:%Y%m%dT%H%M%S}-{os.getpid() % 10000:04d}"
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
    """Machines with results there, the largest profile first (gpu, cpu, quick), then by name."""
    found = []
    for manifest in _root(where).glob("*/manifest.json"):
        folder = manifest.parent
        profiles = [r.get("profile") for r in map(_load_json, (folder / "runs").glob("*.json"))]
        order = min((_PROFILE_ORDER.get(p, 9) for p in profiles), default=9)
        found.append((order, folder.name))
    return [name for _, name in sorted(found)]


def read(table: str, *, machine: str | None = None, where: str = REFERENCE) -> pd.DataFrame:
    """A table as written, checked against its sha256 and its schema.

    `machine` None takes the first of `machines(where)` that has the table. An optional column that
    the file lacks is younger than it, and comes out without values. Raises MissingTableError where
    no run has written it, DamagedFileError where the file is not what was written, BadInputError
    for a name that is no table.
    """
    spec = _known(table)
    for name in [machine] if machine else machines(where):
        path = _root(where) / name / f"{table}.csv"
        if path.exists():
            return _read_file(path, table, spec)
    raise MissingTableError(
        f"no {where} run has written table {table!r}"
        + (f" on {machine}" if machine else "")
        + ": run `make reproduce`"
    )


def _read_file(path: Path, table: str, spec: Table) -> pd.DataFrame:
    entry = _load_json(path.parent / "manifest.json").get(table, {})
    digest = sha256(path)
    if digest not in (entry.get("sha256"), entry.get("previous_sha256")):
        raise DamagedFileError(
            f"{path} is not the file that was written (sha256 {digest[:12]}…, manifest.json says "
            f"{str(entry.get('sha256'))[:12]}…): restore it from git, or run `make reproduce`"
        )
    types = {c: _DTYPES[s.dtype] for c, s in spec.columns.items() if s.dtype in ("text", "float")}
    try:
        frame = pd.read_csv(
            path, dtype={**types, "run_id": str}, keep_default_na=False, na_values=[""]
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise DamagedFileError(f"{path} cannot be read as a table: {error}") from None
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
        folder, entry = self._entry(name)
        return _load_json(folder / "runs" / f"{entry.get('run_id')}.json")

    def rows(self, name: str) -> int:
        """How many rows a table has, as its manifest has it."""
        return self._entry(name)[1]["rows"]

    def sha256(self, name: str) -> str:
        """sha256 of a table's file, as its manifest has it."""
        return self._entry(name)[1]["sha256"]

    def _entry(self, name: str) -> tuple[Path, dict]:
        for machine_name in [self.machine] if self.machine else machines(self.where):
            folder = _root(self.where) / machine_name
            if (folder / f"{name}.csv").exists():
                return folder, _load_json(folder / "manifest.json").get(name, {})
        raise MissingTableError(f"no {self.where} run has written table {name!r}")
