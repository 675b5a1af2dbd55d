"""Results on disk: one small JSON file per unit, with its own sha256, and who is at work on which.

A unit's file is `<key>.json`. Whoever works on a unit holds the lock `.<key>.lock`, which ends with
its process: so several drivers, on machines that share the folder, never do a unit twice. A result
is only written, and a damaged one only renamed, by the holder of its lock.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from convcost.core import files
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.sweep import code
from convcost.sweep.unit import ASKED, Unit, canonical, home


def checked(content: bytes, name: str) -> dict:
    """The record in a unit's file. DamagedFileError where it is not the content that was written.

    All of the record is covered by its own sha256; whose result it is, `Store.read` compares.
    """
    try:
        record = json.loads(content)
        digest = record.pop("sha256")
        whole = digest == files.digest(canonical(record))
    except (ValueError, LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise DamagedFileError(f"{name} is not the file that was written")
    return record


def packed(unit: Unit, record: Mapping) -> bytes:
    """A unit's file: its identity, the record, and their sha256."""
    content = {**record, **unit.identity}
    content["sha256"] = files.digest(canonical(content))
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def accepted(content: bytes, name: str) -> tuple[str, bytes]:
    """(key, content) of a unit's file as if today's code had done it, for who says that it might.

    The record keeps under `done_by` the hash of the code that did. Unchanged where that is today's,
    and where the function's module is nowhere here. Raises as `checked` does.
    """
    record = checked(content, name)
    unit = Unit.of(record)
    today = code.of(unit.function, home(unit.function))
    if today in (None, unit.code):
        return unit.key, content
    unit, record = replace(unit, code=today), {"done_by": unit.code, **record}
    return unit.key, packed(unit, record)


class Store:
    """The results in a folder, which is made. `with`: the locks held at its end are given back.

    Raises BadInputError where there can be no such folder.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).expanduser().resolve()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInputError(f"folder {self.folder} cannot be made: {error}") from None
        self._leavings = list(self.folder.glob(".*.part"))  # by whoever was killed while writing
        self._locks = {}

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_) -> None:
        for unit in list(self._locks):
            self.release(unit)

    def path(self, unit: Unit) -> Path:
        return self.folder / f"{unit.key}.json"

    def read(self, unit: Unit) -> dict | None:
        """A unit's record, None where there is none. DamagedFileError where it is not whole."""
        path = self.path(unit)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        record = checked(content, path.name)
        if any(record.get(name) != value for name, value in unit.identity.items()):
            raise DamagedFileError(f"{path.name} is the result of another unit")
        return record

    def by_other_code(self, units: Iterable[Unit]) -> int:
        """How many of these have no result of today's code, but one of another."""
        stored = {path.stem for path in self.folder.glob("*.json")}
        asked = {key[:ASKED] for key in stored}
        return sum(unit.key not in stored and unit.key[:ASKED] in asked for unit in units)

    def write(self, unit: Unit, record: dict) -> None:
        """Write a unit's record, whole or not at all; ConvcostError names a file that cannot be."""
        try:
            files.write_atomically(self.path(unit), packed(unit, record))
        except OSError as error:
            raise ConvcostError(
                f"{self.path(unit)} cannot be written ({error}): make room there and start again; "
                "what is stored already is not done again"
            ) from error

    def set_aside(self, unit: Unit) -> str:
        """Rename a unit's file to `<name>.damaged-<n>`, which comes out."""
        return files.set_aside(self.path(unit))[0]

    def claim(self, unit: Unit) -> bool:
        """Take a unit in hand; False where another driver has it."""
        lock = files.claim(self.folder / f".{unit.key}.lock")
        if lock is None:
            return False
        self._locks[unit] = lock
        for left in self._leavings:
            if unit.key in left.name:
                left.unlink(missing_ok=True)
        return True

    def release(self, unit: Unit) -> None:
        """Give a unit back, done or not."""
        lock = self._locks.pop(unit)
        # while it is held; whoever waits for it sees that the name is gone, and looks again
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()
