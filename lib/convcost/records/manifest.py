"""Which content of a table counts: the one whose rows, hash, run and run record belong together.

A folder of results holds `<table>.csv`, `runs/<run_id>.json` (what made them) and `manifest.json`
with an entry for each table: {"sha256": of the csv, "run_id": of the run that wrote it,
"record_sha256": of that run's record, "rows": how many}. A table that does not fit its entry is not
read.

These are three files, and a run may be killed between any two writes. So a table is written in
this order: record, manifest, csv, manifest. In between, its entry has under "before" the entry of
what lay there until then (null: nothing), and each of both contents counts as its own run's.
"""

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from convcost.core.errors import DamagedFileError
from convcost.core.files import (
    digest,
    from_json,
    locked,
    read_if_there,
    to_json,
    write_atomically,
)

NAME = "manifest.json"
AGAIN = "restore it from git, or run `make reproduce`"


def record_path(folder: Path, run_id: str) -> Path:
    return folder / "runs" / f"{run_id}.json"


def entries(folder: Path) -> dict[str, dict]:
    """Table -> its entry. DamagedFileError where there is none though tables lie there."""
    path = folder / NAME
    content = read_if_there(path)
    if content is None:
        if any(folder.glob("*.csv")):
            raise DamagedFileError(
                f"{path} is missing, so nothing says which runs wrote the tables beside it: {AGAIN}"
            )
        return {}
    found = from_json(content, path)
    for name, entry in found.items():
        if not (_is_entry(entry) and (entry.get("before") is None or _is_entry(entry["before"]))):
            raise DamagedFileError(f"{path} has no sha256, run_id and rows of {name!r}: {AGAIN}")
    return found


def _is_entry(found: object) -> bool:
    return isinstance(found, dict) and {"sha256", "run_id", "rows"} <= found.keys()


def _fitting(content: bytes | None, entry: Mapping | None) -> dict | None:
    """The entry, or the one before it, of exactly this content."""
    if content is None or entry is None:
        return None
    found = digest(content)
    for pair in (entry, entry.get("before")):
        if pair and pair.get("sha256") == found:
            return {key: value for key, value in pair.items() if key != "before"}
    return None


def table(folder: Path, name: str) -> tuple[bytes, dict, dict] | None:
    """(csv, entry, run record) of a table, all of one run; None where no run has written it.

    Raises DamagedFileError that names the file which is missing or is not what was written.
    """
    path = folder / f"{name}.csv"
    for last in (False, True):  # another process may have been between two of its writes
        content = read_if_there(path)
        entry = entries(folder).get(name)
        if content is None and (entry is None or entry.get("before", "") is None):
            return None  # never written, or killed just before the first time
        fits = _fitting(content, entry)
        try:
            if fits is None:
                raise DamagedFileError(_unfit(path, content, entry))
            return content, fits, _record(path, fits)
        except DamagedFileError:
            if last:
                raise


def _unfit(path: Path, content: bytes | None, entry: Mapping | None) -> str:
    """Why a content is not the one of its entry, and what to do."""
    if content is None:
        return f"{path} is missing, which run {entry['run_id']} wrote: {AGAIN}"
    if entry is None:
        return f"{path} is not the file that was written: {NAME} does not know it: {AGAIN}"
    text = f"sha256 {digest(content)[:12]}…, {NAME} says {str(entry['sha256'])[:12]}…"
    others = run_ids(content) - {entry["run_id"]}
    if others:
        text += f"; its rows are of run {', '.join(sorted(others))}, not of {entry['run_id']}"
    return f"{path} is not the file that was written ({text}): {AGAIN}"


def run_ids(content: bytes) -> set[str]:
    """The runs that the rows of a csv name; none where it cannot be read."""
    import pandas as pd

    with suppress(ValueError, pd.errors.ParserError):
        rows = pd.read_csv(io.BytesIO(content), usecols=["run_id"], dtype=str)
        return set(rows["run_id"].dropna())
    return set()


def _record(path: Path, entry: Mapping) -> dict:
    """The run record of a table, checked."""
    of_run = record_path(path.parent, entry["run_id"])
    content = read_if_there(of_run)
    if content is None:
        raise DamagedFileError(f"{path}: its run record is missing ({of_run}): {AGAIN}")
    expected = entry.get("record_sha256")  # results from before this was kept have none
    if expected and digest(content) != expected:
        raise DamagedFileError(
            f"{of_run} is not the run record that was written (sha256 {digest(content)[:12]}…, "
            f"{NAME} says {expected[:12]}…): {AGAIN}"
        )
    record = from_json(content, of_run)
    if record.get("run_id") != entry["run_id"]:
        raise DamagedFileError(
            f"{of_run} is the record of another run, {record.get('run_id')}: {AGAIN}"
        )
    return record


def put(folder: Path, name: str, content: bytes, entry: Mapping, record: bytes) -> None:
    """Write a table with its entry and its run's record, replacing the whole table.

    Killed at any point, it leaves the old table or the new one, each with its own run's record.
    """
    with locked(folder / ".lock"):
        known = _settled(folder)
        before = _fitting(read_if_there(folder / f"{name}.csv"), known.get(name))
        write_atomically(record_path(folder, entry["run_id"]), record)
        write_atomically(folder / NAME, to_json(known | {name: {**entry, "before": before}}))
        write_atomically(folder / f"{name}.csv", content)
        known[name] = dict(entry)
        write_atomically(folder / NAME, to_json(known))
        _forget_unused_records(folder, known)


def _settled(folder: Path) -> dict[str, dict]:
    """The entries, with those that a killed run left open decided by what lies there.

    Where the manifest is missing, none: tables beside it count again once they are written again.
    """
    known = entries(folder) if (folder / NAME).exists() else {}
    for name, entry in list(known.items()):
        if "before" in entry:
            content = read_if_there(folder / f"{name}.csv")
            fits = _fitting(content, entry)
            if fits is not None:
                known[name] = fits
            elif content is None and entry["before"] is None:
                del known[name]
    return known


def _forget_unused_records(folder: Path, known: Mapping[str, Mapping]) -> None:
    """Drop run records that no table refers to any more."""
    pairs = [pair for entry in known.values() for pair in (entry, entry.get("before")) if pair]
    used = {pair["run_id"] for pair in pairs}
    for path in (folder / "runs").glob("*.json"):
        if path.stem not in used:
            path.unlink()
