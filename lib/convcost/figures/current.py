"""What a figure is made from, and whether its files are still that: then it need not be drawn.

Beside its tables a figure depends on the code that draws it, on the published and cited numbers
that this code reads, and on the libraries. The provenance file beside it holds hashes of all.
"""

import ast
import hashlib
import json
from functools import cache
from importlib import metadata
from pathlib import Path

import convcost
from convcost import records
from convcost.core import paths
from convcost.figures.spec import FigureSpec

LIBRARIES = ("matplotlib", "seaborn", "pillow", "numpy", "pandas", "scipy", "lmfit", "scikit-learn")
# These hand tables over and draw nothing: what they hand over is compared itself.
_HANDS_OVER = {"records", *(f"core.{n}" for n in ("errors", "machine", "paths", "registry"))}
_ROOT = Path(convcost.__file__).parent


def ingredients(spec: FigureSpec) -> dict:
    """`drawn_with`: versions of libraries; `drawn_by`: sha256 of code and numbers in files."""
    return {
        "drawn_with": {name: _version(name) for name in LIBRARIES},
        "drawn_by": _drawn_by(getattr(spec.draw, "func", spec.draw).__module__),
    }


def is_current(name: str, spec: FigureSpec, folder: Path, results: records.Results) -> bool:
    """Whether the files of a figure are those that drawing it again would give.

    Raises MissingTableError where a table has not been written yet.
    """
    machines = {table: results.record(table).get("machine") for table in spec.tables}
    digests = {table: results.sha256(table) for table in spec.tables}
    try:
        told = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        drawn = {
            table: (entry["machine"], entry["sha256"]) for table, entry in told["tables"].items()
        }
        same = {key: told[key] for key in ("drawn_with", "drawn_by")} == ingredients(spec)
        whole = all(
            records.sha256(folder / f"{name}.{k}") == told["files"][k] for k in ("svg", "png")
        )
        unread = all(  # a table that was altered is read, and refused, by drawing
            records.sha256(paths.REFERENCE_RESULTS / machine / f"{table}.csv") == digests[table]
            for table, machine in machines.items()
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    return (
        same and whole and unread and drawn == {t: (machines[t], digests[t]) for t in spec.tables}
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def _drawn_by(module: str) -> str:
    """sha256 over the modules that a drawing module imports, itself first, and the CSVs we cite."""
    files = sorted(sources(module) | {_ROOT / "figures" / "__init__.py"})
    files += [
        file for folder in (paths.PUBLISHED, paths.CITED) for file in sorted(folder.glob("*.csv"))
    ]
    content = hashlib.sha256()
    for file in files:
        content.update(f"{file.name} {records.sha256(file)}\n".encode())
    return content.hexdigest()


@cache
def sources(module: str) -> frozenset[Path]:
    """The files of ours that a module imports, in its functions too, and what those import."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        # packages of figures only say what there is, and would draw in all of it
        above = name == "convcost" or (name != module and parts[-1] == "figures")
        if name in found or parts[0] != "convcost" or above:
            continue
        if {parts[1], ".".join(parts[1:3])} & _HANDS_OVER or (file := _file(parts)) is None:
            continue
        found[name] = file
        waiting.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return frozenset(found.values())


def _file(parts: list[str]) -> Path | None:
    """The file of a module of ours; None where the name is that of something in one."""
    place = _ROOT.joinpath(*parts[1:])
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    return None
