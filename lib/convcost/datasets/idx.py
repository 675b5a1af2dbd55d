"""IDX files, the format of MNIST: read with every field checked.

Layout (LeCun's page): two zero bytes, one byte for the type (8 is unsigned byte), one byte for the
number of dimensions, each dimension as a big-endian 32-bit integer, then the values, last dimension
fastest, and nothing after them.
"""

import gzip
import hashlib
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np

from convcost.core.errors import DamagedFileError

_UNSIGNED_BYTE = 8


def header(shape: tuple[int, ...]) -> bytes:
    """The bytes before the values of an unsigned-byte array.

    >>> header((2, 3)).hex(" ", 4)
    '00000802 00000002 00000003'
    """
    return struct.pack(f">HBB{len(shape)}I", 0, _UNSIGNED_BYTE, len(shape), *shape)


def decode(content: bytes, shape: tuple[int, ...], where: str) -> np.ndarray:
    """The array (uint8, `shape`, read-only) of one whole IDX file.

    Raises DamagedFileError, with `where` in its text, for another magic number, type, shape or
    length.
    """
    expected = header(shape)
    begin = content[: len(expected)]
    if begin != expected:
        raise DamagedFileError(
            f"{where} does not begin as an IDX file of {_times(shape)} bytes does "
            f"({begin.hex(' ', 4) or 'it is empty'} instead of {expected.hex(' ', 4)})"
        )
    size = len(expected) + prod(shape)
    if len(content) != size:
        what = "ends too early" if len(content) < size else "has bytes after its end"
        raise DamagedFileError(f"{where} {what}: {len(content):,} bytes instead of {size:,}")
    return np.frombuffer(content, np.uint8, offset=len(expected)).reshape(shape)


def unpacked(path: Path, limit: int) -> bytes:
    """The content of a file, unpacked where its name ends in .gz; `limit` bytes at most.

    Raises DamagedFileError for a damaged or an oversized .gz.
    """
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as stream:
            content = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedFileError(f"{path} cannot be unpacked: {error}") from error
    if len(content) > limit:
        raise DamagedFileError(f"{path} unpacks to more than {limit:,} bytes")
    return content


def unpacked_size(path: Path) -> int | None:
    """Bytes that a .gz says it unpacks to, from its last four bytes; None where it has none.

    Nothing is unpacked: of a file that is cut off, these bytes are any others.
    """
    with path.open("rb") as file:
        if file.seek(0, 2) < 18:  # the shortest .gz: a header of 10 bytes, a trailer of 8
            return None
        file.seek(-4, 2)
        return struct.unpack("<I", file.read(4))[0]


def read(path: Path, shape: tuple[int, ...], sha256: str) -> np.ndarray:
    """The array of an IDX file, plain or .gz, after its structure and its checksum are checked.

    `sha256` is that of the uncompressed file. Raises DamagedFileError.
    """
    content = unpacked(path, len(header(shape)) + prod(shape))
    array = decode(content, shape, str(path))
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DamagedFileError(
            f"{path} has the right size, but not the right content: its sha256 is {found[:16]}… "
            f"instead of {sha256[:16]}…"
        )
    return array


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(f"{size:,}" for size in shape)
