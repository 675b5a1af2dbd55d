"""Arrows point down only: who imports whom inside the library, and what comes without torch."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "lib" / "convcost"

# The same table as in CONTRIBUTING.md, where it is explained. A module may import those of lower
# layers, none of its own. A package is one unit.
LAYERS = {
    0: "errors paths units machine tables",
    1: "sources ops equations records probe memory crew sensors",
    2: "nets datasets shapes conventions checkpoints profiles",
    3: "count zeros sparse timing training sweep predict fits",
    4: "compress protocols findings archive",
    5: "claims figures studies optimum",
    6: "notebooks measure_notebook",
    7: "runner hygiene doctor guide",
    8: "reproduce",
    9: "cli",
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names.split()}

# What works on a laptop without torch: the ledger and the figures are redrawn from files.
# Of `protocols` only what these import is held to it, through them.
WITHOUT_TORCH = {
    *("errors", "paths", "units", "machine", "tables"),
    *("sources", "ops", "equations", "records", "profiles", "crew", "sensors", "conventions"),
    *("sweep", "fits", "optimum"),
    *("predict", "findings", "claims", "figures", "notebooks", "hygiene", "doctor", "cli"),
}
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "stuff"}


def units() -> dict[str, list[Path]]:
    """Unit (module or package right under convcost) -> its files. The root's own file is left
    out: `convcost/__init__.py` is the shop window, and may show anything."""
    found: dict[str, list[Path]] = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        first = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        if first not in ("__init__", "__main__"):
            found.setdefault(first, []).append(path)
    return found


def imported_units(source: str, module: str, is_package: bool, known: set[str]) -> set[str]:
    """The units that a module's source imports: anywhere in it, absolute, relative or by name."""
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
                names |= {getattr(node.args[0], "value", "")}
    parts = [str(name).split(".") for name in names]
    return {p[1] for p in parts if p[0] == "convcost" and len(p) > 1 and p[1] in known}


def arrows() -> list[tuple[str, str, str]]:
    """(file, unit, imported unit), for every import between units."""
    found, known = [], set(units())
    for unit, files in units().items():
        for path in files:
            place = path.relative_to(LIBRARY.parent).with_suffix("")
            is_package = place.name == "__init__"
            module = ".".join(place.parts[:-1] if is_package else place.parts)
            source = path.read_text(encoding="utf-8")
            for other in imported_units(source, module, is_package, known) - {unit}:
                found.append((str(path.relative_to(ROOT)), unit, other))
    return found


def test_every_module_has_a_layer():
    assert sorted(set(units()) - set(LAYER_OF)) == [], (
        "give it a layer, here and in CONTRIBUTING.md"
    )


def test_arrows_point_down_only():
    wrong = [
        f"{file}: {unit} (layer {LAYER_OF[unit]}) imports {other} (layer {LAYER_OF[other]})"
        for file, unit, other in arrows()
        if LAYER_OF[other] >= LAYER_OF[unit]
    ]
    assert wrong == []


def test_the_arrows_are_seen():
    """The test above is worth something only if imports are found at all."""
    assert ("records", "paths") in {(unit, other) for _, unit, other in arrows()}
    assert ("doctor", "notebooks") in {
        (unit, other) for _, unit, other in arrows()
    }  # in a function


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


def test_contributing_explains_the_same_layers():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", text, re.MULTILINE)
    assert {int(n): re.findall(r"`(\w+)`", names) for n, names in rows} == {
        layer: names.split() for layer, names in LAYERS.items()
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
    modules = {
        ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts).removesuffix(".__init__")
        for unit, files in units().items()
        if unit in WITHOUT_TORCH
        for path in files
    }
    assert imported_without_torch(["convcost", *sorted(modules)]) == {}


def test_the_blocker_blocks():
    assert set(imported_without_torch(["torch", "torchvision.ops", "json"])) == {
        "torch",
        "torchvision.ops",
    }


def test_import_convcost_is_light():
    heavy = {"torch", "pandas", "matplotlib"}
    code = f"import sys, convcost, convcost.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
        for unit, files in units().items()
        if unit != "units"
        for path in files
        if (lines := billions(path.read_text(encoding="utf-8")))
    }
    assert found == {}, "convcost.units turns counts into text and into plotted numbers"
