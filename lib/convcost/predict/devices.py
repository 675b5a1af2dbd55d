"""Cited peaks of GPUs and cited training protocols: the two files of `data/cited`."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from convcost.core import paths
from convcost.core.errors import BadInputError, DamagedFileError


@dataclass(frozen=True)
class Device:
    """The roofs of one machine: dense peaks in FLOP/s (2 per multiply-add), bandwidth in bytes/s.

    None: the device has no such arithmetic, or no source confirms a number. A machine with measured
    peaks is built by hand: `Device("here", fp32_flops_per_s=2e11, memory_bytes_per_s=3e10)`.
    """

    name: str
    fp32_flops_per_s: float | None = None
    tf32_flops_per_s: float | None = None
    bf16_flops_per_s: float | None = None
    memory_bytes_per_s: float | None = None
    memory_bytes: int | None = None
    year: int | None = None
    source: str = ""
    url: str = ""
    note: str = ""


_FLOATS = ("fp32_flops_per_s", "tf32_flops_per_s", "bf16_flops_per_s", "memory_bytes_per_s")
_DEVICE_TYPES = (
    {"device": str, "year": int}
    | dict.fromkeys(_FLOATS, float)
    | {"memory_bytes": int, "source": str, "url": str, "note": str}
)
_PROTOCOL_TYPES = (
    {"protocol": str, "net": str, "our_net": str, "input_px": int, "in_channels": int}
    | dict.fromkeys(("batch", "epochs", "train_images", "validation_images"), int)
    | {"loader_workers": int, "optimiser": str, "source": str, "url": str, "note": str}
)


def device(name: str) -> Device:
    """One row of `data/cited/devices.csv`; capital letters do not matter.

    Raises `BadInputError` for another name, with those there are, and `DamagedFileError` for a
    file that is not what it should be.

    >>> device("NVIDIA GeForce RTX 4080").fp32_flops_per_s
    48700000000000.0
    """
    known = {row["device"].lower(): row for row in _rows(paths.CITED / "devices.csv", "device")}
    if name.lower() not in known:
        names = ", ".join(row["device"] for row in known.values())
        raise BadInputError(f"no device is called {name!r}; there are: {names}")
    row = dict(known[name.lower()])
    return Device(row.pop("device"), **row)


def cited_devices():
    """DataFrame, one row per device: the columns of `data/cited/devices.csv`.

    Peaks in FLOP/s and bytes/s; NaN where the file has an empty cell. Raises `DamagedFileError`.
    """
    return _frame("devices.csv", "device")


def teaching_protocols():
    """DataFrame, one row per net of a book or course: the columns of `data/cited/protocols.csv`.

    `our_net` is a name that `nets.build` takes. Raises `DamagedFileError`.
    """
    return _frame("protocols.csv", "protocol")


def _frame(file: str, first: str):
    import pandas as pd

    return pd.DataFrame([dict(row) for row in _rows(paths.CITED / file, first)])


@cache
def _rows(path: Path, first: str) -> tuple[dict, ...]:
    types = _DEVICE_TYPES if first == "device" else _PROTOCOL_TYPES
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header, *records = reader
    except (OSError, ValueError, csv.Error) as error:
        if lacking := paths.without_compendium("a cited number"):
            raise lacking from None
        raise _damaged(path, "whole file", f"cannot be read ({error}).") from error
    if header != list(types):
        raise _damaged(path, "line 1", f"the columns must be {', '.join(types)}.")
    rows = []
    for line, record in enumerate(records, start=2):
        if len(record) != len(types):
            raise _damaged(path, f"line {line}", f"has {len(record)} cells, not {len(types)}.")
        try:
            cells = zip(types.items(), record, strict=True)
            rows.append({name: _cell(kind, text) for (name, kind), text in cells})
        except ValueError as error:
            raise _damaged(
                path, f"line {line}", f"has a cell that is no number ({error})."
            ) from error
    return tuple(rows)


def _cell(kind: type, text: str):
    if kind is str:
        return text
    return kind(text) if text else None


def _damaged(path: Path, where: str, what: str) -> DamagedFileError:
    return DamagedFileError(
        f"{path.name}, {where}: {what} Restore the file: git checkout -- data/cited/{path.name}"
    )
