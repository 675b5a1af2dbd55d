"""From an executed notebook to the committed one: outputs, and nothing else of the run."""

import copy
from pathlib import Path

from convcost import records
from convcost.application import hygiene, notebooks
from convcost.core import paths
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.core.extras import optional

with optional():
    import nbformat

_KEPT_LANGUAGE_INFO = {  # without the interpreter's version, which is the run record's business
    "name": "python",
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "pygments_lexer": "ipython3",
}


def published(
    executed: nbformat.NotebookNode, source: nbformat.NotebookNode, profile: str
) -> nbformat.NotebookNode:
    """The source with the outputs of its execution, and nothing else of the run.

    Execution counts become 1, 2, …; injected parameters, timings, statuses and the interpreter's
    version are left out. Raises DamagedFileError where the two are not the same notebook.
    """
    if notebooks.source_sha256(executed) != notebooks.source_sha256(source):
        raise DamagedFileError("the executed notebook is not the source's: run it again")
    result = copy.deepcopy(source)
    ran = [c for c in executed.cells if notebooks.INJECTED_TAG not in notebooks.tags(c)]
    result.cells = [c for c in result.cells if notebooks.INJECTED_TAG not in notebooks.tags(c)]
    count = 0
    for cell, done in zip(result.cells, ran, strict=True):
        kept = ("papermill", "execution", "ExecuteTime")
        cell.metadata = nbformat.from_dict(
            {k: v for k, v in cell.metadata.items() if k not in kept}
        )
        if cell.cell_type != "code":
            continue
        cell.outputs, cell.execution_count = copy.deepcopy(done.outputs), None
        if cell.source.strip():
            count += 1
            cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    for key in ("papermill", "widgets"):
        result.metadata.pop(key, None)
    own = {
        k: v for k, v in result.metadata.get("convcost", {}).items() if k not in ("run", "failure")
    }
    own["reference"] = {
        "profile": profile,
        "code_sha256": notebooks.source_sha256(result, code_only=True),
    }
    result.metadata["convcost"] = own
    result.metadata["kernelspec"] = dict(executed.metadata["kernelspec"])
    result.metadata["language_info"] = dict(_KEPT_LANGUAGE_INFO)
    return result


def publish(executed: Path, target: Path, profile: str) -> None:
    """Write an executed notebook into the committed one, if it is whole and hygiene passes it.

    Otherwise the committed one stays as it is and BadInputError lists every complaint.
    """
    done = notebooks.read(executed)
    faults = notebooks.incomplete(done)
    if faults:
        raise DamagedFileError(f"{executed} is not whole: {'; '.join(faults[:3])}")
    text = nbformat.writes(published(done, notebooks.read(target), profile)).rstrip() + "\n"
    complaints = hygiene.check_text(text, target.name)
    if complaints:
        listed = "\n".join(f"  {complaint}" for complaint in complaints)
        raise BadInputError(f"not published, {paths.shown(target)} stays as it was:\n{listed}")
    records.write_atomically(target, text.encode())
