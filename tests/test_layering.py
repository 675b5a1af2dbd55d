"""Arrows point down only: who imports whom inside the library, and what comes without torch."""

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from convcost.chapters import CHAPTERS

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "lib" / "convcost"

# The same table as in CONTRIBUTING.md, where it is explained. A room is a module or package right
# under convcost, and one unit: it may import rooms of lower floors, none of its own.
FLOORS = {
    0: "core",
    1: "sources records counting",
    2: "nets datasets fits sweep claims figures",
    3: "measuring",
    4: "training compression predict",
    5: "chapters",
    6: "application",
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names.split()}
DOORS = {"findings", "protocols", "studies", "tables"}  # for notebooks: they lead anywhere

# Inside a chapter: a part may import those of lower steps, none of its own. `cheapest_net` is of
# chapter 04 alone: `convcost.cheapest_face_net`.
STEPS = {0: "tables", 1: "findings", 2: "study claims figures cheapest_net"}
STEP_OF = {name: step for step, names in STEPS.items() for name in names.split()}

# What works on a laptop without torch: the ledger and the figures are redrawn from files.
WITHOUT_TORCH = (
    *("core", "sources", "records", "predict", "fits", "sweep", "claims", "figures", *DOORS),
    *("counting.ops", "counting.conventions", "counting.count", "measuring.sensors"),
    *("application.cli", "application.notebooks", "application.hygiene", "application.doctor"),
    *("application.profiles", "application.kernel", "application.engine"),
    *("application.runner", "application.reproduce"),
)
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "stuff"}


@cache
def units() -> dict[str, list[Path]]:
    """Room (module or package right under convcost) -> its files. The root's own file is left
    out: `convcost/__init__.py` is the shop window, and may show anything."""
    found: dict[str, list[Path]] = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        first = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        if first not in ("__init__", "__main__"):
            found.setdefault(first, []).append(path)
    return found


def name_of(path: Path) -> str:
    """The full name of a file's module."""
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported_names(source: str, module: str, is_package: bool) -> set[str]:
    """What a module's source imports: anywhere in it, absolute, relative or by name. Of
    `from a import b` both a and a.b, for b may be a module."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, *([base] if base else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                names |= {str(getattr(node.args[0], "value", ""))}
    return names


def imported_units(source: str, module: str, is_package: bool, known: set[str]) -> set[str]:
    """The rooms that a module's source imports."""
    parts = [name.split(".") for name in imported_names(source, module, is_package)]
    return {p[1] for p in parts if p[0] == "convcost" and len(p) > 1 and p[1] in known}


def arrows() -> list[tuple[str, str, str]]:
    """(file, room, imported room), for every import between rooms."""
    found, known = [], set(units())
    for unit, files in units().items():
        for path in files:
            source, package = path.read_text(encoding="utf-8"), path.name == "__init__.py"
            for other in imported_units(source, name_of(path), package, known) - {unit}:
                found.append((str(path.relative_to(ROOT)), unit, other))
    return found


def test_every_room_has_a_floor():
    assert set(units()) == set(FLOOR_OF) | DOORS, "give it a floor, here and in CONTRIBUTING.md"


def test_arrows_point_down_only():
    wrong = [
        f"{file}: {unit} (floor {FLOOR_OF[unit]}) imports {other}"
        for file, unit, other in arrows()
        if unit not in DOORS and FLOOR_OF.get(other, 9) >= FLOOR_OF[unit]
    ]
    assert wrong == []


def test_the_arrows_are_seen():
    """The test above is worth something only if imports are found at all."""
    seen = {(unit, other) for _, unit, other in arrows()}
    assert ("records", "core") in seen
    assert ("predict", "counting") in seen
    assert ("application", "chapters") in seen


# --- inside the chapters ----------------------------------------------------------------------


def arrows_of_chapters() -> list[tuple[str, str, str, str, str]]:
    """(file, chapter, part, imported chapter, imported part), for imports between parts."""
    found = []
    for path in units()["chapters"]:
        own = name_of(path).split(".")
        if len(own) < 4:  # the list of chapters, and what a chapter's own file says
            assert not any(".chapters." in name for name in _names(path)), path
            continue
        for parts in {tuple(name.split(".")[:4]) for name in _names(path)}:
            if parts[:2] == ("convcost", "chapters") and parts[2:] != tuple(own[2:4]):
                if len(parts) == 4:
                    found.append((str(path.relative_to(ROOT)), *own[2:4], *parts[2:]))
    return found


def _names(path: Path) -> set[str]:
    return imported_names(
        path.read_text(encoding="utf-8"), name_of(path), path.name == "__init__.py"
    )


def test_chapters_have_the_same_parts():
    for path in units()["chapters"]:
        own = name_of(path).split(".")
        assert len(own) < 4 or own[3] in STEP_OF, path


def test_parts_of_a_chapter_go_from_tables_to_findings_to_verdicts_and_pictures():
    """So claims and figures know nothing of the study: they read what it wrote."""
    wrong = [
        f"{file}: {part} imports {other}"
        for file, chapter, part, there, other in arrows_of_chapters()
        if there == chapter and STEP_OF[other] >= STEP_OF[part]
    ]
    assert wrong == []


def test_a_chapter_knows_of_others_what_earlier_ones_found():
    order = [chapter.notebook for chapter in CHAPTERS if chapter.package]
    number = {name[3:].replace("-", "_"): name[:2] for name in order}
    wrong = [
        f"{file}: {chapter} imports {other} of {there}"
        for file, chapter, part, there, other in arrows_of_chapters()
        if there != chapter
        and not (
            other == "findings"
            and number[there] < number[chapter]
            and STEP_OF[part] > STEP_OF["findings"]
        )
    ]
    assert wrong == []


def test_the_arrows_of_chapters_are_seen():
    seen = {arrow[1:] for arrow in arrows_of_chapters()}
    assert ("training_time", "figures", "training_time", "findings") in seen
    assert ("complexity_precision", "claims", "training_time", "findings") in seen


@pytest.mark.parametrize(
    ("source", "module", "is_package", "expected"),
    [
        ("import convcost.ops", "convcost.count", False, {"ops"}),
        ("from convcost import ops, sources", "convcost.count", False, {"ops", "sources"}),
        ("from convcost.ops import conv", "convcost.count", False, {"ops"}),
        ("from . import ops", "convcost.count", False, {"ops"}),
        ("from .ops import conv", "convcost.count", False, {"ops"}),
        ("from ..ops import conv", "convcost.claims.ledger", False, {"ops"}),
        ("from .. import ops", "convcost.claims", True, {"ops"}),
        ("from . import ledger", "convcost.claims", True, {"claims"}),
        ("def f():\n    if 1:\n        import convcost.ops", "convcost.count", False, {"ops"}),
        ("import importlib\nimportlib.import_module('convcost.ops')", "m", False, {"ops"}),
        ("import numpy\nfrom convcost import __version__", "convcost.count", False, set()),
    ],
)
def test_every_form_of_import_is_seen(source, module, is_package, expected):
    known = {"ops", "sources", "claims"}
    assert imported_units(source, module, is_package, known) == expected


def test_contributing_explains_the_same_floors():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", text, re.MULTILINE)
    assert {int(n): re.findall(r"`(\w+)`", names) for n, names in rows} == {
        floor: names.split() for floor, names in FLOORS.items()
    }


def test_no_module_is_a_drawer_for_everything():
    files = [p for top in ("lib", "tests", "benchmarks") for p in (ROOT / top).rglob("*.py")]
    assert [str(p) for p in files if VAGUE & set(p.with_suffix("").parts)] == []


# --- torch -----------------------------------------------------------------------------------

BLOCKER = """
import importlib, json, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "thop"):
            raise ImportError(f"{name} is blocked in this test")
sys.meta_path.insert(0, Blocker())
failed = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = repr(error)
print(json.dumps(failed))
"""


def imported_without_torch(names) -> dict[str, str]:
    """Those of the modules that fail to import where torch is not there, with their error."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCKER, json.dumps(list(names))],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(LIBRARY.parent), "PATH": "", "MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_these_modules_need_no_torch():
    """And of a chapter everything but its study."""
    modules = []
    for path in (path for files in units().values() for path in files):
        own = name_of(path).removeprefix("convcost.")
        part = own.split(".")[2:3] if own.startswith("chapters") else []
        listed = any(own == name or own.startswith(f"{name}.") for name in WITHOUT_TORCH)
        if listed or (own.startswith("chapters") and part != ["study"]):
            modules.append(name_of(path))
    assert len(modules) > 100
    assert imported_without_torch(["convcost", *modules]) == {}


def test_the_blocker_blocks():
    assert set(imported_without_torch(["torch", "torchvision.ops", "json"])) == {
        "torch",
        "torchvision.ops",
    }


def test_import_convcost_is_light():
    heavy = {"torch", "pandas", "matplotlib"}
    code = (
        f"import sys, convcost, convcost.application.cli; print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    # processor time of the import alone, the best of three: a busy machine does not count
    code = "import time; a = time.process_time(); import convcost; print(time.process_time() - a)"
    took = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(took) <= 0.3


# --- units and notebooks ---------------------------------------------------------------------


def billions(source: str) -> list[int]:
    """Lines that write 1e9 or 10**9, as one who scales does (1_000_000_000 may be a limit)."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=float() as value) if value == 1e9:
                lines.append(node.lineno)
            case ast.BinOp(ast.Constant(10), ast.Pow(), ast.Constant(9)):
                lines.append(node.lineno)
    return sorted(lines)


def test_a_billion_has_one_home():
    assert billions("a = 1e9\nb = 10**9\nc = 1_000_000_000\nd = 1e6") == [1, 2]
    found = {
        str(path.relative_to(ROOT)): lines
        for files in units().values()
        for path in files
        if name_of(path) != "convcost.core.units"
        if (lines := billions(path.read_text(encoding="utf-8")))
    }
    assert found == {}, "convcost.core.units turns counts into text and into plotted numbers"
