"""Small notebooks for the tests of what reads, runs and judges notebooks."""

import copy
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = 'profile = "auto"\nbatch = 4\nrate = 0.5\nfast = False'
CARD = {
    "title": "A small notebook",
    "minutes": {"quick": 0.1, "cpu": 1, "gpu": 1},
    "ram_gb": 1,
    "datasets": [],
}


def notebook(*code: str, parameters: str | None = PARAMETERS, **card: object):
    """Heading, parameters cell and one code cell per text, with a card; nothing is run."""
    cells = [new_markdown_cell("# Small\n\nGoal: a test. 1 minute, RAM 1 GB")]
    if parameters is not None:
        cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(text) for text in code]
    made = new_notebook(cells=cells)
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
    }
    made.metadata["convcost"] = copy.deepcopy(CARD) | card
    return made


def write(path: Path, *code: str, **options: object) -> Path:
    """Such a notebook in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook(*code, **options), path)
    return path


def executed(made):
    """The notebook as a run would leave it, without having been run."""
    done = copy.deepcopy(made)
    for count, cell in enumerate((c for c in done.cells if c.cell_type == "code"), 1):
        cell.execution_count = count
        cell.metadata["papermill"] = {"status": "completed", "exception": False}
    return done
