"""Numbers in the prose of the notebooks: each is in an output, a cell of code, or a source."""

import html
import json
import re

import pytest

from convcost import sources
from convcost.core import paths

NOTEBOOKS = sorted(path.stem for path in paths.NOTEBOOKS.glob("*.ipynb"))
UNITS = (
    r"%|points?|pp|times|-?fold|ms|µs|s|seconds|minutes|MB|GB|million|billion|MACs|GFLOPs|TFLOP/s|"
    r"FLOPs|px|pixels|epochs?|images|nets|seeds|layers|filters|hypotheses|protocols|trials"
)
NUMBER = r"(?<![\w.,/^(])[-+−]?(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?"
CLAIMED = re.compile(rf"{NUMBER}(?:\s|\u202f|\u00a0)?(?:{UNITS})(?![\w-])")
ANY = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
NOT_RESULTS = ("> **Goal", "## Exercises", "## Predict")
"""Cells that say what a reader shall do, and how long it takes."""


def _numbers(text: str) -> set[float]:
    """All numbers in a text, thousands joined; a percent as written, too."""
    joined = re.sub(r"(?<=\d),(?=\d{3})", "", html.unescape(text))
    return {abs(float(found.replace("−", "-"))) for found in ANY.findall(joined)}


def _said(notebook: dict) -> set[float]:
    """What the notebook's cells of code say, and what they show."""
    found = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        found |= _numbers("".join(cell["source"]))
        for output in cell["outputs"]:
            data = output.get("data", {})
            text = [*output.get("text", [])]
            for kind in ("text/plain", "text/html", "text/markdown"):
                text += data.get(kind, [])
            found |= _numbers(re.sub(r"<[^>]*>", " ", "".join(text)))
    return found


def _published() -> set[float]:
    """Every number that a source prints, and those of our notes on it."""
    found = set()
    for key in sources.SOURCES:
        frame = sources.published(key)
        for column in ("value", "note", "convention", "statement"):
            for text in frame[column]:
                found |= _numbers(text)
    return found


def untraced(notebook: dict, elsewhere: set[float]) -> list[str]:
    """Numbers with a unit in Markdown that neither code, nor outputs, nor sources carry.

    A number counts as carried where some number there rounds to it, or its hundredfold does.
    """
    known = _said(notebook) | elsewhere
    found = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] != "markdown" or any(mark in text for mark in NOT_RESULTS):
            continue
        for match in CLAIMED.finditer(text):
            whole, decimals = match[1].replace(",", ""), match[2] or ""
            value, digits = float(whole + decimals), max(0, len(decimals) - 1)
            step = 0.5 * 10**-digits * (1 + 1e-9)
            if not any(abs(f * v - value) <= step for v in known for f in (1, 100)):
                found.append(match[0])
    return found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_number_of_the_prose_has_a_place(name):
    notebook = json.loads((paths.NOTEBOOKS / f"{name}.ipynb").read_text())
    assert untraced(notebook, _published()) == []


def test_a_number_that_nothing_carries_is_found():
    cells = [
        {"cell_type": "markdown", "source": ["It is 4.72 times as fast, 83 % in all, 12 nets."]},
        {
            "cell_type": "code",
            "source": ["show(12)"],
            "outputs": [{"text": ["speed 4.719, 0.831"]}],
        },
    ]
    assert untraced({"cells": cells}, set()) == []
    cells[1]["outputs"] = [{"text": ["speed 4.73"]}]
    assert untraced({"cells": cells}, set()) == ["4.72 times", "83 %"]
    assert untraced({"cells": cells}, {0.83}) == ["4.72 times"]
