"""What was measured on one machine, in one file, to be taken in on another.

A tar with `archive.json` first: the machine, what was measured and how, and the sha256 of every
other member: units of sweeps, and the tables and run records of that machine where a notebook has
run there. An archive is read with suspicion: nothing in it is run, a member that is not exactly
what the list says is refused, and nothing is taken in unless all of it can be.
"""

import gzip
import hashlib
import io
import json
import lzma
import re
import sys
import tarfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from convcost import datasets
from convcost.core import files, paths, registry
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError, writing
from convcost.core.units import byte_size
from convcost.datasets import benchmarks
from convcost.records import hosts
from convcost.sweep import store
from convcost.sweep.unit import Unit

FORMAT = "convcost measurements 1"
LIMIT_BYTES = 16 * 2**20  # of the file
_UNPACKED_BYTES = 256 * 2**20  # of the tar in it
_INDEX = "archive.json"
_NAMES = re.compile(
    r"units/[a-z0-9_]+/[0-9a-f]{64}\.json"
    r"|runs/(manifest\.json|[a-z0-9_]+\.csv|runs/[A-Za-z0-9-]+\.json)"
    r"|checkpoints/[A-Za-z0-9_-]+/seed-\d{5}\.(json|safetensors|safetensors\.sha256)"
)
_MODES = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}


# --- writing ---------------------------------------------------------------------------------


def check_target(path: Path) -> None:
    """BadInputError for a path at which no archive can be written."""
    if path.suffix not in _MODES:
        raise BadInputError(f"{path}: the name of an archive ends in .tar, .tar.gz or .tar.xz")
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise BadInputError(f"{path}: give a file in a folder that is there")


def code() -> dict[str, str]:
    """sha256 of every file of the library that this process has loaded, by its path in it.

    Without the application, which carries results about and changes no number.
    """
    found = {}
    for name, module in sorted(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "")
        aside = name.startswith(("convcost.application", "convcost.__main__"))
        if name.startswith("convcost") and not aside and file.is_relative_to(paths.LIBRARY):
            found[file.relative_to(paths.LIBRARY).as_posix()] = files.sha256(file)
    return found


def write(path: Path, host: hosts.Host, experiments, *, checkpoints: bool = False) -> list[str]:
    """Write all that was measured of one notebook; the names of the members come out.

    `experiments` is its `sweep.study.Study`: the files of its units, whichever are there. The
    tables and run records of that machine's own runs go along, and with `checkpoints` the trained
    nets. The file appears whole or not at all, in the place of an older one.

    Raises BadInputError for a name that is no archive's, ConvcostError where it would be larger
    than 16 MiB or cannot be written.
    """
    check_target(path)
    members: dict[str, bytes] = {}
    for part in experiments.parts().values():
        for planned in part.sweeps:
            for unit, record in planned.found().items():
                if record is not None:
                    file = planned.folder / f"{unit.key}.json"
                    members[f"units/{planned.folder.name}/{file.name}"] = file.read_bytes()
    folder = paths.LOCAL_RESULTS / host.name
    for file in sorted(
        [*folder.glob("*.csv"), *folder.glob("*.json"), *folder.glob("runs/*.json")]
    ):
        members[f"runs/{file.relative_to(folder).as_posix()}"] = file.read_bytes()
    if checkpoints:
        for file in sorted((paths.RAW / "checkpoints").glob("*/seed-*")):
            members[f"checkpoints/{file.parent.name}/{file.name}"] = file.read_bytes()
    members = {name: content for name, content in members.items() if _NAMES.fullmatch(name)}
    index = {
        "format": FORMAT,
        "host": {"name": host.name, "details": host.details},
        "notebook": experiments.notebook,
        "measured": host.measured.get(experiments.notebook, {}),
        "members": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in members.items()
        },
    }
    packed = io.BytesIO()
    mode = _MODES[path.suffix]
    with tarfile.open(fileobj=packed, mode=mode, format=tarfile.USTAR_FORMAT) as tar:
        first = (json.dumps(index, indent=1, sort_keys=True, default=str) + "\n").encode()
        for name, content in {_INDEX: first, **members}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    if packed.tell() > LIMIT_BYTES:
        largest = max(members, key=lambda name: len(members[name]), default=_INDEX)
        raise ConvcostError(
            f"{path} would have {byte_size(packed.tell())}, more than {byte_size(LIMIT_BYTES)}: "
            f"give it a name that ends in .tar.xz, or leave out the trained nets (largest: "
            f"{largest})"
        )
    with writing(path):
        files.write_atomically(path, packed.getvalue())
    return list(members)


# --- reading ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Merged:
    """What an archive brought: files new here, those that were here already, those set aside."""

    host: str
    notebook: str
    new: int
    there: int
    set_aside: tuple[str, ...]


class _Regular(tarfile.TarInfo):
    """Members that are plain files with plain names, as ours are; the first other one is an error.

    So no link or device is followed, and no extended header, which may unpack to gigabytes, read.
    """

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        info = super().frombuf(buf, encoding, errors)
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise DamagedFileError(
                f"the archive has a member that is no plain file, {info.name[:80]!r}: no archive "
                "of ours has one, and nothing was taken in"
            )
        return info


def _unpacked(path: Path) -> io.BytesIO:
    """The tar itself, unpacked in memory as far as an archive of ours may go."""
    if path.stat().st_size > LIMIT_BYTES:
        raise DamagedFileError(f"{path} has more than {byte_size(LIMIT_BYTES)}: no archive of ours")
    opened = {".gz": gzip.open, ".tgz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opened(path, "rb") as file:
        content = file.read(_UNPACKED_BYTES + 1)
    if len(content) > _UNPACKED_BYTES:
        raise DamagedFileError(
            f"{path} unpacks to more than {byte_size(_UNPACKED_BYTES)}: nothing was taken in"
        )
    return io.BytesIO(content)


def read(path: Path) -> tuple[dict, dict[str, bytes]]:
    """(what `archive.json` says, content by name) of an archive, all of it checked.

    Raises BadInputError where there is no such file, DamagedFileError for one that is truncated,
    altered, too large when unpacked, or has a member that its list does not have: a link, a device,
    a name that leaves the folder. Nothing is written.
    """
    if not path.is_file():
        raise BadInputError(f"there is no archive {path}")
    again = "bring it over again from the machine that measured"
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=_unpacked(path), mode="r:", tarinfo=_Regular) as tar:
            for member in tar:
                odd = not (member.name == _INDEX or _NAMES.fullmatch(member.name))
                if odd or member.name in contents:
                    raise DamagedFileError(
                        f"{path} has a member that no archive of ours has, {member.name[:80]!r}: "
                        "nothing was taken in"
                    )
                contents[member.name] = tar.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DamagedFileError(f"{path} cannot be read as an archive ({error}): {again}") from None
    index = _index(path, contents.pop(_INDEX, None))
    listed = index["members"]
    wrong = [
        name
        for name in sorted(listed.keys() | contents.keys())
        if name not in contents
        or name not in listed
        or hashlib.sha256(contents[name]).hexdigest() != listed[name].get("sha256")
    ]
    if wrong:
        raise DamagedFileError(
            f"{path} is not what was written: {len(wrong)} members are missing, added or altered "
            f"({', '.join(wrong[:3])}): {again}"
        )
    return index, contents


def _index(path: Path, content: bytes | None) -> dict:
    """What `archive.json` says. DamagedFileError where it is not what `write` writes."""
    try:
        index = json.loads(content or b"null")
        form, name, notebook = index["format"], index["host"]["name"], index["notebook"]
        whole = form != FORMAT or (
            re.fullmatch(r"[a-z0-9-]{1,80}", name)
            and notebook in registry.measurable()
            and {"profile", "date", "code", "data", "parts"} <= set(index["measured"])
            and all("sha256" in listed for listed in index["members"].values())
            and isinstance(index["host"]["details"], dict)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise DamagedFileError(f"{path} is no archive of `convcost measure`: nothing was taken in")
    if form != FORMAT:
        raise BadInputError(
            f"{path} has the format {str(form)[:40]!r}, this version reads {FORMAT!r}: bring both "
            "machines to the same commit"
        )
    return index


def merge(path: Path, *, other_code: bool = False, replace_existing: bool = False) -> Merged:
    """Take in what was measured on another machine; what came of it, comes out.

    Units go where the notebook looks for them, tables and run records to that machine's folder
    under `data/raw/runs/`, trained nets to `data/raw/checkpoints/`. What is here already, byte for
    byte, stays; a unit that failed here makes way for one that did not. `replace_existing`: what is
    here and differs is renamed to `<name>.replaced-<n>`. `other_code`: it is accepted that the
    library there was another one: units count as done by today's, and the host's file says so.

    Raises what `read` raises, and BadInputError where the library or the data sets there were
    others than here, and where something is here that differs. Then nothing has been taken in.
    """
    index, contents = read(path)
    told = index["measured"]
    _compare_data(path, told["data"])
    differing = _differing_code(told["code"])
    if differing and not other_code:
        raise BadInputError(
            f"{path} was measured by other code than this ({_some(differing)}; commit "
            f"{str(told.get('commit'))[:12]}): check that commit out and merge there, or, where "
            "the difference cannot matter, accept it with --other-code"
        )
    _check_units(path, contents)
    if differing:
        contents = dict(_accepted(name, content) for name, content in contents.items())
    host = index["host"]["name"]
    targets = {_target(name, host): content for name, content in contents.items()}
    with files.locked(paths.RAW / ".merge.lock"):
        new = {file: content for file, content in targets.items() if not _same(file, content)}
        older = [file for file in new if file.exists()]
        standing = [file for file in older if not _makes_way(file)]
        if standing and not replace_existing:
            raise BadInputError(
                f"{path} would replace {len(standing)} files that are here and differ "
                f"({_some([file.name for file in standing])}): nothing was taken in. Accept it "
                "with --replace; the older ones are kept beside them"
            )
        aside = [_set_aside(file) for file in standing]
        for file, content in new.items():
            with writing(file):
                files.write_atomically(file, content)
        _note(index, told | ({"other_code": differing} if differing else {}))
    return Merged(host, index["notebook"], len(new), len(targets) - len(new), tuple(aside))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _differing_code(there: dict[str, str]) -> list[str]:
    """The files of the library that measured there, and are not the same here."""
    root = paths.LIBRARY
    return [
        name
        for name, digest in sorted(there.items())
        if not (root / name).is_file() or files.sha256(root / name) != digest
    ]


def _compare_data(path: Path, there: list[dict]) -> None:
    """BadInputError where the data sets there were others than those that are found here."""
    for row in there:
        name, split = row.get("asked"), row.get("split")
        if name in benchmarks.COLLECTIONS:  # their checksums are a part of the library
            if benchmarks.find(name).describe()["content_sha256"] != row.get("content_sha256"):
                raise BadInputError(
                    f"{path} was measured with another version of {name}'s published tables: bring "
                    "both machines to the same commit"
                )
            continue
        here = datasets.load(name, split, download=False)
        if here.sha256 != row.get("content_sha256"):
            what = "a stand-in" if here.is_stand_in else "another version of it"
            raise BadInputError(
                f"{path} was measured on {row.get('name')}, {split} (sha256 "
                f"{str(row.get('sha256'))[:12]}…), and here {name} is {what}: run `make data`, or "
                "set CONVCOST_DATA, so that both are the same"
            )


def _check_units(path: Path, contents: dict[str, bytes]) -> None:
    """DamagedFileError for a unit that is not whole, or does not lie under its own key."""
    for name, content in contents.items():
        kind, *_, file = name.split("/")
        if kind == "units":
            record = store.checked(content, f"{path}: {name}")
            if f"{Unit.of(record).key}.json" != file:
                raise DamagedFileError(f"{path}: {name} is the result of another unit")


def _accepted(name: str, content: bytes) -> tuple[str, bytes]:
    """A member as the studies here will look for it, though other code has measured it."""
    folder, _, file = name.rpartition("/")
    if not folder.startswith("units/"):
        return name, content
    key, content = store.accepted(content, file)
    return f"{folder}/{key}.json", content


def _target(name: str, host: str) -> Path:
    """Where a member goes."""
    kind, _, rest = name.partition("/")
    return (paths.LOCAL_RESULTS / host if kind == "runs" else paths.RAW / kind) / rest


def _same(file: Path, content: bytes) -> bool:
    return file.is_file() and file.read_bytes() == content


def _makes_way(file: Path) -> bool:
    """Whether a file that is here says nothing: a damaged unit, or one that failed."""
    if "units" not in file.parts:
        return False
    try:
        return store.checked(file.read_bytes(), file.name)["status"] in ("failed", "timed out")
    except DamagedFileError:
        return True


def _set_aside(file: Path) -> str:
    number = 1
    while (other := file.with_name(f"{file.name}.replaced-{number}")).exists():
        number += 1
    return file.rename(other).name


def _note(index: dict, told: dict) -> None:
    """Write the host's file: what it measured, the newest word of each notebook."""
    name, notebook = index["host"]["name"], index["notebook"]
    known = {host.name: host for host in hosts.stored()}
    before = known.get(name, hosts.Host(name, index["host"]["details"]))
    if before.measured.get(notebook, {}).get("date", "") <= told["date"]:
        measured = {**before.measured, notebook: told}
        hosts.note(replace(before, details=index["host"]["details"], measured=measured))
