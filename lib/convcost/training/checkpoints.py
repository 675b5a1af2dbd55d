"""Trained networks on disk: safetensors, with a sha256 beside each, verified on every load.

`<name>.safetensors` holds the tensors and a few words about them; `<name>.safetensors.sha256` is
the line that `sha256sum` writes, so `sha256sum -c` checks a folder without us. Both are written
atomically, the hash last: whatever a killed process leaves is either whole or refused.
"""

import contextlib
import hashlib
import json
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from convcost.core import files
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: `state` (name to tensor, on the CPU), `words` (text to text), `sha256`."""

    state: dict[str, torch.Tensor]
    words: dict[str, str]
    sha256: str


@contextlib.contextmanager
def alone(folder: Path, wait_s: float = 0) -> Iterator[None]:
    """A folder of checkpoints, made where it is not there, for one process at a time.

    Files that a killed process left half written are removed. Raises ConvcostError where another
    process is at it, still after `wait_s` seconds.
    """
    busy = ConvcostError(
        f"another process is training into {folder}: wait for it, or give another folder"
    )
    with files.locked(folder / ".lock", busy, wait_s):
        for left in folder.glob(".*.part"):  # by a killed process; the lock says it is gone
            left.unlink()
        yield


def set_aside(error: DamagedFileError, path: Path, *beside: Path) -> None:
    """Rename a damaged checkpoint, its hash and what lies beside it; a warning names them, and why.

    So that what was made again is never taken for what was there.
    """
    names = files.set_aside(path, hash_file(path), *beside)
    warnings.warn(f"{error} (kept as {', '.join(names)})", stacklevel=4)


def hash_file(path: Path) -> Path:
    """Where the sha256 of a checkpoint lies: beside it."""
    return path.with_name(path.name + ".sha256")


def save(path: Path, state: Mapping[str, torch.Tensor], words: Mapping[str, str]) -> str:
    """Write a state dict and what is to be known of it; the sha256 of the file comes out.

    Tensors of any shape and type, from any device; they are stored contiguous. `words` maps text
    to text; `net` names the network, and `load` compares it. Raises BadInputError for a path that
    does not end in .safetensors, and for words that are no text.
    """
    if path.suffix != SUFFIX:
        raise BadInputError(f"{path.name}: the name of a checkpoint ends in {SUFFIX}")
    wrong = [key for key, text in words.items() if not isinstance(text, str)]
    if wrong:
        raise BadInputError(f"the words beside a checkpoint are text; not so: {', '.join(wrong)}")
    # safetensors refuses tensors that share memory; a tied weight is stored under each name
    whole = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    content = safetensors.torch.save(whole, metadata=dict(words))
    digest = hashlib.sha256(content).hexdigest()
    files.write_atomically(path, content)
    files.write_atomically(hash_file(path), f"{digest}  {path.name}\n".encode())
    return digest


def load(path: Path, *, net: str | None = None) -> Checkpoint:
    """Read a checkpoint back, after its sha256 has been found right.

    `net`: the word `net` that it must carry.

    Raises DamagedFileError where the file or its hash is missing, where they do not agree (a
    flipped bit, a truncated file), where it is no safetensors file, and where it belongs to another
    network.
    """
    advice = "remove it, and it is made again"
    if not path.is_file():
        raise DamagedFileError(f"there is no checkpoint {path}: train it first")
    beside = hash_file(path)
    if not beside.is_file():
        raise DamagedFileError(f"{path} has no {beside.name} beside it, so nobody can tell whether "
                               f"it is whole: {advice}")  # fmt: skip
    expected = beside.read_text(errors="replace").split()[:1]
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if expected != [digest]:
        raise DamagedFileError(
            f"{path} is not the file that was written (sha256 {digest[:12]}…, {beside.name} says "
            f"{(expected or ['nothing'])[0][:12]}…): {advice}"
        )
    try:
        state, words = safetensors.torch.load(content), _words(content)
    except (safetensors.SafetensorError, ValueError, struct.error) as error:
        raise DamagedFileError(f"{path} is no safetensors file ({error}): {advice}") from None
    if net is not None and words.get("net") != net:
        raise DamagedFileError(
            f"{path} holds {words.get('net') or 'an unnamed network'}, not {net}: give the folder "
            f"of {net}, or {advice}"
        )
    return Checkpoint(state, words, digest)


def _words(content: bytes) -> dict[str, str]:
    """The metadata of a safetensors file: 8 bytes of length, then JSON."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]).get("__metadata__", {})
