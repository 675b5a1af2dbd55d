"""The names that notebooks and readers use lead where they should, and nobody else uses them."""

import ast
import json
import subprocess
import sys

import pytest

import convcost
from convcost.application import notebooks
from convcost.core import paths, registry

DOORS = {  # of convcost itself
    "compress", "conventions", "equations", "guide", "optimum", "profiles", "sparse", "timing",
    "units", "zeros",
}  # fmt: skip
DOOR_FILES = {"findings", "protocols", "studies", "tables"}


def imports(code: str) -> list[str]:
    """The statements of a text that import the library."""
    found = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Import | ast.ImportFrom)]
    return [text for text in map(ast.unparse, found) if "convcost" in text]


def of_notebooks() -> list[str]:
    found = {"from convcost import count, sweep", "import convcost.sources"}  # the README, docs
    for path in paths.NOTEBOOKS.glob("*.ipynb"):
        for cell in notebooks.read(path)["cells"]:
            if cell["cell_type"] == "code":
                found |= set(imports(cell["source"]))
    return sorted(found)


def test_every_import_of_the_notebooks_works():
    statements = of_notebooks()
    assert len(statements) > 15
    code = "import json, sys\nfor text in json.loads(sys.argv[1]): exec(text, {})"
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(statements)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_door_leads_to_the_room_itself():
    from convcost import findings, protocols, studies, tables
    from convcost.chapters import flop_counting, training_time
    from convcost.chapters.flop_counting import findings as counted
    from convcost.chapters.training_time import findings as found

    assert findings.training_time is found is training_time.findings
    assert studies.training_time.Study.notebook == "02-training-time"
    assert protocols.confront is flop_counting.study
    assert all(getattr(protocols, name) is getattr(counted, name) for name in counted.__all__)
    assert tables.show.__module__ == "convcost.core.tables"
    assert {getattr(convcost, name).__name__.rpartition(".")[2] for name in DOORS} == {
        "cheapest_net", "filters", *(DOORS - {"optimum", "compress"})
    }  # fmt: skip


@pytest.mark.parametrize("name", ["findings", "studies", "protocols", ""])
def test_a_door_that_is_not_there_says_so(name):
    module = getattr(__import__("convcost", fromlist=[name]), name) if name else convcost
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        module.nobody  # noqa: B018


def test_the_library_comes_in_by_no_door():
    wrong = []
    for path in paths.LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
                if names & {f"convcost.{door}" for door in DOORS | DOOR_FILES}:
                    wrong.append(f"{path.name}: {ast.unparse(node)}")
    assert wrong == []


def test_chapters_are_registered_with_the_library_and_found_part_by_part():
    built = [chapter for chapter in registry.chapters() if chapter.package]
    assert [c.notebook for c in built] == sorted(p.stem for p in paths.NOTEBOOKS.glob("*.ipynb"))
    assert [name[:2] for name in registry.names()] == [f"{n:02d}" for n in range(9)]
    assert set(registry.measurable()) < {c.notebook for c in built if c.part("study")}
    for chapter in built:
        assert chapter.part("claims").CHECKS
        assert chapter.part("nobody") is None
    assert registry.chapters()[-1].part("claims") is None


def test_a_key_of_two_chapters_is_refused(monkeypatch):
    first = registry.chapters()[1]
    twin = registry.Chapter("99-twin", "Twice?", first.package)
    monkeypatch.setattr(registry, "_chapters", (first, twin))
    with pytest.raises(ValueError, match="TABLES of two chapters"):
        registry.together("tables", "TABLES")
