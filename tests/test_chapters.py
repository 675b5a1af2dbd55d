"""A further chapter: its package, its line in the list and its notebook are all that it takes.

It is built in a copy of the library, and goes from its experiment to a verdict and a figure.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

import small_notebooks
from convcost.core import paths

PARTS = {
    "tables": """
from convcost.records.schema import Column, Table, count

TABLES = {
    "squares": Table(
        "a side", ("side",), {"side": count("side of a square"), "area": count("its area")}
    )
}
""",
    "study": """
from convcost.sweep import study


def area(side):
    return [{"area": side * side}]


class Study(study.Study):
    notebook = "09-squares"
    used = ()
    scales = dict.fromkeys(("gpu", "cpu", "quick"))

    def parts(self):
        plan = [{"side": side} for side in (1, 2, 3)]
        areas = self.planned("area", plan, data={}, cost=lambda unit: 0.1, workers=1)
        return {"all": study.Part("all there is", (areas,), essential=True)}

    def squares(self):
        rows = self.done(self.parts()["all"].sweeps[0]).rows
        return study.typed(rows, "squares").to_dict("records")
""",
    "findings": """
def largest(squares):
    return int(squares["area"].max())
""",
    "claims": """
from convcost.chapters.squares import findings
from convcost.claims import Check, Finding


def _largest(results, published, name):
    return Finding(findings.largest(results.table("squares")), reason="a side of 3")


CHECKS = {"geifman/the_largest_square": Check(_largest, "Squares")}
""",
    "figures": """
import matplotlib.pyplot as plt

from convcost.chapters.squares import findings
from convcost.figures import style
from convcost.figures.spec import FigureSpec


def areas(squares):
    style.apply()
    figure, axis = plt.subplots()
    axis.plot(squares["side"], squares["area"])
    axis.set_title(f"up to {findings.largest(squares)}")
    return figure


ALT = "The area of a square against its side."
SPECS = {"09-squares": FigureSpec(areas, ("squares",), "09-squares", ALT)}
""",
}
LINE = '    Chapter("09-squares", "How large is it?", f"{_HERE}.squares", measures=True),\n'
CELLS = (
    "from convcost import claims, figures, profiles\n"
    "from convcost.records import start_run\n"
    "from convcost.chapters.squares import study",
    "run = start_run('09-squares', profiles.resolve(profile), data=[])\n"
    "run.write('squares', study.Study(profiles.resolve(profile)).squares())",
    "figures.show('09-squares', run)",
    "claims.view(claims.ledger(notebook='09'))",
)


@pytest.fixture(scope="module")
def convcost(tmp_path_factory):
    """Runs a command of the copy that has the chapter; returns its output."""
    root = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(paths.LIBRARY, root / "lib" / "convcost", ignore=ignored)
    for folder in (paths.PUBLISHED, paths.CITED):
        shutil.copytree(folder, root / folder.relative_to(paths.ROOT))
    package = root / "lib" / "convcost" / "chapters" / "squares"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name, text in PARTS.items():
        (package / f"{name}.py").write_text(text)
    listed = package.parent / "__init__.py"
    listed.write_text(listed.read_text().rstrip().removesuffix(")") + LINE + ")\n")
    rows = root / "data" / "published" / "geifman.csv"
    first, *others = rows.read_text().splitlines(keepends=True)
    # as many as before: a row gives way that no check asks for
    others = [line for line in others if not line.startswith("nas_gpu_hours,")]
    mine = 'the_largest_square,claim,number,9,1,,Table 9,printed,,,"It is 9.",09-squares,yes\n'
    rows.write_text("".join([first, *others, mine]))
    small_notebooks.write(
        root / "notebooks" / "09-squares.ipynb", *CELLS, parameters='profile = "auto"'
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CONVCOST_")}
    environment = {**kept, "PYTHONPATH": str(root / "lib"), "CONVCOST_ROOT": str(root)}

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "convcost", *words],
            cwd=root, env=environment, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.root = root
    return run


def test_a_further_chapter_goes_from_its_experiment_to_verdict_and_figure(convcost):
    (entry,) = json.loads(convcost("claims", "--notebook", "09", "--json"))
    assert entry["verdict"] == "not tested yet"
    assert "3 of 3" in convcost("measure", "09", "--profile", "quick")
    assert "done in" in convcost("run", "09", "--profile", "quick")
    (entry,) = json.loads(convcost("claims", "--notebook", "09", "--json"))
    assert (entry["this_run"], entry["verdict_this_run"]) == (9, "reproduced")
    assert entry["verdict"] == "not tested yet"  # until a reference is committed
    provenance = json.loads((convcost.root / "build/figures/09-squares.json").read_text())
    assert provenance["alt"].startswith("The area")
    assert list(provenance["tables"]) == ["squares"]
    assert (convcost.root / "build/figures/09-squares.svg").stat().st_size > 1_000


def test_its_question_is_in_the_map(convcost):
    ask = "from convcost import guide; print(guide.notebook_map().tail(1).to_dict('records'))"
    done = subprocess.run(
        [sys.executable, "-c", ask],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(convcost.root / "lib"),
             "CONVCOST_ROOT": str(convcost.root)},
    )  # fmt: skip
    assert "'question': 'How large is it?', 'state': 'built', 'statements': 1" in done.stdout, (
        done.stderr
    )
