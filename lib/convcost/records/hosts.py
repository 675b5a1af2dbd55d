"""Machines whose measurements lie here: this one, and others whose results were merged.

A host is a machine as its results know it. What `convcost measure` has done on one is told by a
file of its own, `data/raw/hosts/<name>.json`; an archive carries it, and `convcost merge` puts it
here. A run of a profile that needs a GPU, on a machine that has none, is drawn from such a host.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from convcost.core import files, machine, paths, registry
from convcost.core.errors import BadInputError, DamagedFileError

VARIABLE = "CONVCOST_HOST"


@dataclass(frozen=True)
class Host:
    """A machine: its name in results, its facts, and by notebook what was measured on it.

    `details`: as `machine.describe()` gives them. `measured`: notebook -> what the last
    measurement of it says (profile, commit, date, command, data, arithmetic, parts). `here`:
    whether it is this machine.
    """

    name: str
    details: Mapping
    measured: Mapping[str, Mapping] = field(default_factory=dict)
    here: bool = False

    @property
    def has_gpu(self) -> bool:
        return bool(self.details.get("gpu"))

    @property
    def cores(self) -> int:
        """The cores that a process on it may use, at least 1."""
        return self.details.get("cores_usable") or 1

    @property
    def facts(self) -> dict:
        """What a time measured on it is known by: its name, and the versions that made it."""
        versions = {package: self.details.get(package) for package in machine.PACKAGES}
        return versions | {"machine": self.name}


def folder() -> Path:
    return paths.RAW / "hosts"


def here() -> Host:
    """This machine, with what `convcost measure` has done on it."""
    details, name = machine.describe(), machine.slug()
    told = _read(folder() / f"{name}.json")
    return Host(name, details, told.get("measured", {}), here=True)


def stored() -> list[Host]:
    """Every host of which there is a file, this machine's own too, by name.

    Raises DamagedFileError for a file that is not one of ours.
    """
    own, found = machine.slug(), []
    for path in sorted(folder().glob("*.json")):
        told = _read(path)
        found.append(
            Host(told["name"], told["details"], told["measured"], here=told["name"] == own)
        )
    return found


def measuring(profile: str, notebook: str, *, strict: bool = True) -> Host:
    """The machine whose measurements a run of this notebook and profile is made of.

    It is this machine, unless the environment's CONVCOST_HOST names another one, or the profile is
    "gpu" and this machine has no GPU: then it is the host that measured the notebook last in this
    profile. Where there is none, BadInputError is raised, or, unless `strict`, it is this machine.
    """
    own, wanted = here(), os.environ.get(VARIABLE)
    if notebook not in registry.measurable() or not is_elsewhere(profile, own):
        return own
    fit = measured_elsewhere(profile, notebook)
    fit = [host for host in fit if wanted in (None, "", host.name)]
    if fit:
        return max(fit, key=lambda host: host.measured[notebook]["date"])
    if not strict:
        return own
    known = ", ".join(host.name for host in stored() if not host.here) or "none"
    asked = f"{VARIABLE} names {wanted!r}, which" if wanted else "This machine has no GPU, and none"
    raise BadInputError(
        f"{notebook}, profile {profile}: {asked} has measured it (other machines whose results are "
        f"here: {known}). Measure it where there is one and bring the results in, as docs/gpu.md "
        "says, or choose PROFILE=cpu (hours) or PROFILE=quick"
    )


def is_elsewhere(profile: str, own: Host | None = None) -> bool:
    """Whether a run of this profile is drawn from what another machine has measured."""
    own, wanted = own or here(), os.environ.get(VARIABLE)
    return wanted != own.name if wanted else profile == "gpu" and not own.has_gpu


def measured_elsewhere(profile: str, notebook: str | None = None) -> list[Host]:
    """The hosts, but this one, that have measured a notebook (any, for None) in a profile."""
    return [
        host
        for host in stored()
        if not host.here
        and any(
            told.get("profile") == profile
            for name, told in host.measured.items()
            if notebook in (None, name)
        )
    ]


def note(host: Host) -> None:
    """Write the file of a host, whole or not at all."""
    told = {"name": host.name, "details": host.details, "measured": host.measured}
    files.write_atomically(folder() / f"{host.name}.json", files.to_json(told))


def _read(path: Path) -> dict:
    try:
        told = json.loads(path.read_text())
        parts = [told["details"], told["measured"], *told["measured"].values()]
        whole = "name" in told and all(isinstance(part, dict) for part in parts)
    except FileNotFoundError:
        return {}
    except (ValueError, LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise DamagedFileError(
            f"{path} does not describe a machine: remove it, and measure or merge again"
        )
    return told
