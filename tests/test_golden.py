"""A safety net: what the compendium says now, beside what it said when somebody last looked.

`tests/golden/` holds the committed ledger, the tables of every figure and the public names. A
difference fails here with each line of it. Where it is wanted, renew the files on purpose:

    python -m pytest tests/test_golden.py --renew

and write one line for each change into docs/changes.md: what changed, from what, to what, and why.
"""

import ast
import csv
import io
import json
from pathlib import Path

import pytest

from convcost import claims, figures
from convcost.application import cli
from convcost.core import paths

GOLDEN = Path(__file__).parent / "golden"
PACKAGE = paths.LIBRARY


def _as_text(value) -> str:
    """A value with the digits that do not hang on the machine that computes it again.

    >>> _as_text(0.1 + 0.2), _as_text(61_100_840), _as_text(None)
    ('0.3', '61100840', '')
    """
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def ledger_now() -> dict[str, str]:
    """Key of a claim -> our value, its kind, verdict and rule, and what the verdict rests on."""
    return {
        entry.key: {
            "reference": _as_text(entry.reference),
            "kind": entry.kind,
            "verdict": entry.verdict,
            "rule": entry.tolerance,
            "reason": entry.reason,
            "remark": entry.remark,
            "evidence": entry.evidence,
        }
        for entry in claims.ledger()
    }


def figures_now() -> dict:
    """Name of a figure -> its notebook and the tables that it is drawn from, in their order."""
    return {
        name: {"notebook": spec.notebook, "tables": list(spec.tables)}
        for name, spec in figures.FIGURES.items()
    }


def _listed(file: Path) -> list[str] | None:
    """The `__all__` of a module, read without importing it; None where it has none."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return sorted(ast.literal_eval(node.value))
    return None


def api_now() -> dict[str, list[str]]:
    """Package -> its public names, for each that lists them; "commands" -> the command line's."""
    found = {"commands": sorted(cli.COMMANDS)}
    for file in sorted(PACKAGE.rglob("__init__.py")):
        names = _listed(file)
        if names is not None:
            found[".".join(file.parent.relative_to(PACKAGE.parent).parts)] = names
    return found


# --- the files -------------------------------------------------------------------------------


def _csv_text(rows: dict[str, dict]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = ["reference", "kind", "verdict", "rule", "reason", "remark", "evidence"]
    writer.writerow(["key", *columns])
    writer.writerows([key, *row.values()] for key, row in rows.items())
    return out.getvalue()


def _csv_rows(text: str) -> dict[str, dict]:
    return {row.pop("key"): row for row in csv.DictReader(io.StringIO(text))}


def _json_text(content: dict) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


KINDS = {
    "ledger.csv": (ledger_now, _csv_text, _csv_rows),
    "figures.json": (figures_now, _json_text, json.loads),
    "api.json": (api_now, _json_text, json.loads),
}


def differences(before: dict, now: dict) -> list[str]:
    """One line for each thing that is not as it was: "key: from -> to"."""
    lines = []
    for key in [*before, *(key for key in now if key not in before)]:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, list) and isinstance(new, list):
            gone, come = ([n for n in a if n not in b] for a, b in ((old, new), (new, old)))
            old, new = f"without {come}", f"without {gone}"
        elif isinstance(old, dict) and isinstance(new, dict):
            lines += [
                f"{key}, {part}: {old.get(part)!r} -> {new.get(part)!r}"
                for part in {**old, **new}
                if old.get(part) != new.get(part)
            ]
            continue
        lines.append(f"{key}: {'nothing' if old is None else old} -> "
                     f"{'nothing' if new is None else new}")  # fmt: skip
    return lines


@pytest.fixture(scope="module", autouse=True)
def no_runs_of_ones_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LOCAL_RESULTS", tmp_path_factory.mktemp("no runs"))
        patch.delenv("CONVCOST_REFERENCE", raising=False)
        yield


@pytest.mark.parametrize("name", KINDS)
def test_nothing_has_changed_unnoticed(name, request):
    make, written, parsed = KINDS[name]
    text, file = written(make()), GOLDEN / name
    before = parsed(file.read_text(encoding="utf-8")) if file.exists() else {}
    lines = differences(before, parsed(text))
    if request.config.getoption("--renew"):
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return
    assert not lines, (
        f"tests/golden/{name} says otherwise:\n"
        + "\n".join(lines)
        + "\nIf this is wanted: python -m pytest tests/test_golden.py --renew, and a line for each "
        "in docs/changes.md"
    )


def test_a_difference_is_named_line_by_line():
    row = {"reference": "1", "verdict": "reproduced"}
    before = {"a/x": row, "a/y": row, "a/z": row, "names": ["p", "q"]}
    now = {"a/x": row, "a/y": row | {"reference": "2"}, "a/new": row, "names": ["q", "r"]}
    assert differences(before, now) == [
        "a/y, reference: '1' -> '2'",
        f"a/z: {row} -> nothing",
        "names: without ['r'] -> without ['p']",
        f"a/new: nothing -> {row}",
    ]
    assert differences(before, before) == []


def test_every_claim_has_one_line():
    kept = _csv_rows((GOLDEN / "ledger.csv").read_text(encoding="utf-8"))
    assert list(kept) == [claim.key for claim in claims.claims({})]
