"""Files that are written whole or not at all, known by their sha256, locked by one at a time."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from convcost.core.errors import ConvcostError, DamagedFileError

if TYPE_CHECKING:
    from filelock import BaseFileLock


def sha256(path: Path) -> str:
    """sha256 of a file, as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: bytes) -> str:
    """sha256 of bytes, as hexadecimal text."""
    return hashlib.sha256(content).hexdigest()


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


def to_json(content: object) -> bytes:
    """JSON as it is stored: sorted, one line for each value, so that git shows what changed."""
    return (json.dumps(content, indent=1, sort_keys=True, default=str) + "\n").encode()


def from_json(content: bytes, path: Path) -> dict:
    """The object in a JSON file's bytes. DamagedFileError, with the path, where there is none."""
    try:
        found = json.loads(content)
    except ValueError as error:
        raise DamagedFileError(f"{path} is not JSON ({error}): restore or remove it") from None
    if not isinstance(found, dict):
        raise DamagedFileError(f"{path} is not JSON of an object: restore or remove it")
    return found


def read_if_there(path: Path) -> bytes | None:
    """The bytes of a file; None where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def claim(path: Path, wait_s: float = 0.0) -> "BaseFileLock | None":
    """The lock on a lock file, None where another process holds it after `wait_s` seconds.

    A negative `wait_s` waits for ever. The lock ends with its holder, however that ends.
    """
    import filelock  # for those who write; whoever only reads needs it not

    lock = filelock.FileLock(path, timeout=wait_s)
    try:
        return lock.acquire().lock
    except filelock.Timeout:
        return None


@contextlib.contextmanager
def locked(path: Path, busy: ConvcostError | None = None, wait_s: float = 0.0) -> Iterator[None]:
    """A block that holds a lock file; its folder is made.

    Where another process holds it, `busy` is raised after `wait_s` seconds; without `busy` that
    one is waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = claim(path, wait_s if busy else -1)
    if lock is None:
        raise busy
    try:
        yield
    finally:
        lock.release()
