"""What a notebook file says: its card, its parameters, whether it is whole, what it was made from.

Nothing is run here; `runner` runs, `hygiene` judges the committed files, `reproduce` plans.
"""

import ast
import difflib
import hashlib
import json
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from convcost import records
from convcost.application.profiles import PROFILES
from convcost.core import machine, paths
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.core.extras import optional
from convcost.core.units import byte_size
from convcost.records import hosts

with optional():
    import nbformat

PARAMETERS_TAG = "parameters"  # papermill's word for the cell that holds the defaults
INJECTED_TAG = "injected-parameters"  # papermill's word for the cell it adds
_UNFINISHED = (".part", ".failed", ".old")  # what the runner appends to a stem

Scalar = bool | int | float | str


def read(path: Path | str) -> nbformat.NotebookNode:
    """The notebook in a file, as format 4.

    Raises BadInputError where there is no such file, DamagedFileError where it is no notebook.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise BadInputError(f"there is no notebook {path}") from None
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is not a notebook ({error}): restore it") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of missing cell ids, which `hygiene` reports itself
            notebook = nbformat.reads(text, as_version=4)
    except Exception as error:  # nbformat raises many types, down to AttributeError
        raise DamagedFileError(f"{path} is not a notebook ({error}): restore it") from None
    if not isinstance(notebook.get("cells"), list):
        raise DamagedFileError(f"{path} is not a notebook (it has no cells): restore it")
    return notebook


def tags(cell: Mapping) -> list[str]:
    """The tags of a cell, [] where it has none."""
    return list(cell.get("metadata", {}).get("tags", []))


def code_cells(notebook: Mapping) -> list[tuple[int, Mapping]]:
    """(number, cell) of every code cell that has something to run.

    The number is the cell's place in the notebook from 1, as a reader counts: the cell that
    papermill injects is left out of the count, and has number 0.
    """
    found, number = [], 0
    for cell in notebook["cells"]:
        injected = INJECTED_TAG in tags(cell)
        number += not injected
        if cell["cell_type"] == "code" and cell["source"].strip():
            found.append((0 if injected else number, cell))
    return found


# --- the card: minutes, memory, data sets ------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """What a notebook says about itself, in its metadata under "convcost"."""

    title: str
    minutes: Mapping[str, float]  # expected minutes per profile, on the machine its text names
    ram_gb: float  # peak memory, in units of 2**30 bytes
    datasets: tuple[str, ...]
    parts: str = "argument"  # Question, Verdict, Exercises; or "guide": free form
    reads_runs: bool = False  # shows what other notebooks of the same run wrote, writes nothing
    # what `measure` takes for each part on a GPU, in minutes: a guess until one has done it;
    # the most valuable first (pairs in the metadata: the objects there are sorted when written)
    gpu_parts: Mapping[str, float] = field(default_factory=dict)


_CARD_EXAMPLE = (
    '"convcost": {"title": "Counting", "minutes": {"quick": 1, "cpu": 1, "gpu": 1}, '
    '"ram_gb": 2, "datasets": []}'
)


def card(notebook: Mapping, name: str = "the notebook") -> Card:
    """The card of a notebook, from its metadata `convcost`.

    Raises BadInputError that lists every fault of it at once, with an example of a right one.
    """
    given = notebook.get("metadata", {}).get("convcost")
    if not isinstance(given, Mapping):
        raise BadInputError(f"{name} has no card in its metadata; write {_CARD_EXAMPLE}")
    faults = []

    def positive(value: object) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and value > 0

    title, minutes = given.get("title"), given.get("minutes")
    if not isinstance(title, str) or not title.strip():
        faults.append("title is not a text")
    if (
        not isinstance(minutes, Mapping)
        or set(minutes) != set(PROFILES)
        or not all(map(positive, minutes.values()))
    ):
        faults.append(f"minutes is not one positive number for each of {', '.join(PROFILES)}")
    if not positive(given.get("ram_gb")):
        faults.append("ram_gb is not a positive number")
    datasets = given.get("datasets")
    if not isinstance(datasets, list) or not all(isinstance(d, str) and d for d in datasets):
        faults.append("datasets is not a list of names")
    parts = given.get("parts", "argument")
    if parts not in ("argument", "guide"):
        faults.append('parts is neither "argument" nor "guide"')
    gpu_parts = given.get("gpu_parts", [])
    if not isinstance(gpu_parts, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and positive(pair[1])
        for pair in gpu_parts
    ):
        faults.append("gpu_parts is not a list of [name of a part, minutes above 0]")
    reads_runs = given.get("reads_runs", False)
    if not isinstance(reads_runs, bool):
        faults.append("reads_runs is neither true nor false")
    if faults:
        raise BadInputError(
            f"{name}: its card is wrong: {'; '.join(faults)}; write {_CARD_EXAMPLE}"
        )
    shared = (title.strip(), dict(minutes), given["ram_gb"], tuple(datasets))
    return Card(*shared, parts, reads_runs, dict(gpu_parts))


def cards() -> dict[str, Card]:
    """Name -> card of every notebook that is there, in their order."""
    return {
        path.stem: card(read(path), path.stem)
        for path in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]-*.ipynb"))
    }


# --- parameters --------------------------------------------------------------------------------


def parameters(notebook: Mapping, name: str = "the notebook") -> dict[str, Scalar]:
    """Names and defaults of the parameters, from the one cell tagged "parameters".

    {} where no cell is tagged. Raises DamagedFileError where two cells are, or where the cell
    holds anything but assignments of scalars (bool, int, float, text).
    """
    tagged = [cell for _, cell in code_cells(notebook) if PARAMETERS_TAG in tags(cell)]
    if not tagged:
        return {}
    if len(tagged) > 1:
        raise DamagedFileError(f'{name} has {len(tagged)} cells tagged "parameters": keep one')
    found: dict[str, Scalar] = {}
    rule = 'its cell tagged "parameters" may hold only lines like `batch = 4`'
    try:
        body = ast.parse(tagged[0]["source"]).body
    except SyntaxError as error:
        raise DamagedFileError(f"{name}: {rule} ({error})") from None
    for line in body:
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        try:
            value = ast.literal_eval(getattr(line, "value", None))
        except (ValueError, TypeError):
            value = None
        simple = len(targets) == 1 and isinstance(targets[0], ast.Name)
        if not simple or not isinstance(value, bool | int | float | str):
            raise DamagedFileError(f"{name}: {rule}, not `{ast.unparse(line)}`")
        found[targets[0].id] = value
    return found


def _listed(defaults: Mapping[str, Scalar]) -> str:
    if not defaults:
        return "it has no parameters"
    lines = (f"{k} = {v!r} ({type(v).__name__})" for k, v in sorted(defaults.items()))
    return "its parameters are " + ", ".join(lines)


def _unknown(parameter: str, defaults: Mapping[str, Scalar], name: str) -> BadInputError:
    close = difflib.get_close_matches(parameter, defaults, n=1)
    meant = f", did you mean {close[0]!r}?" if close else ":"
    return BadInputError(f"{name} has no parameter {parameter!r}{meant} {_listed(defaults)}")


def checked_parameters(
    given: Mapping[str, Scalar], defaults: Mapping[str, Scalar], name: str = "the notebook"
) -> dict[str, Scalar]:
    """The given parameters, each known and of its default's type.

    A whole number is taken for a float, and is made one; a bool is no int, and nothing else is
    converted. Raises BadInputError that lists the valid names with their defaults.

    >>> checked_parameters({"rate": 1}, {"rate": 0.1})
    {'rate': 1.0}
    """
    checked: dict[str, Scalar] = {}
    for parameter, value in given.items():
        if parameter not in defaults:
            raise _unknown(parameter, defaults, name)
        wanted = type(defaults[parameter])
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted:
            raise BadInputError(
                f"{name}: parameter {parameter!r} takes {wanted.__name__}, not {value!r} "
                f"({type(value).__name__}): {_listed(defaults)}"
            )
        checked[parameter] = value
    return checked


def parsed_parameters(
    assignments: Iterable[str], defaults: Mapping[str, Scalar], name: str = "the notebook"
) -> dict[str, Scalar]:
    """Parameters from texts like "batch=4", each read as the type of its default.

    Raises BadInputError for an unknown name, a text that is no value of that type, a name given
    twice, and a text without "=".

    >>> parsed_parameters(["batch=4"], {"batch": 1})
    {'batch': 4}
    """
    found: dict[str, Scalar] = {}
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    for assignment in assignments:
        parameter, equals, text = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise BadInputError(f"{assignment!r} is not name=value: {_listed(defaults)}")
        if parameter not in defaults:
            raise _unknown(parameter, defaults, name)
        if parameter in found:
            raise BadInputError(f"parameter {parameter!r} is given twice")
        wanted = type(defaults[parameter])
        try:
            found[parameter] = words[text.lower()] if wanted is bool else wanted(text)
        except (ValueError, KeyError):
            raise BadInputError(
                f"{name}: parameter {parameter!r} takes {wanted.__name__}, not {text!r}: "
                f"{_listed(defaults)}"
            ) from None
    return found


# --- whole or not, and made from what ----------------------------------------------------------


def incomplete(notebook: Mapping) -> list[str]:
    """Why an executed notebook is not whole: one line per fault, [] where it is.

    Every code cell with something to run needs an execution count above the one before, no error
    among its outputs, and papermill's status "completed" (Jupyter and papermill each leave
    half-run notebooks in which one of the three looks right).
    """
    faults, last = [], 0
    for number, cell in code_cells(notebook):
        where = f"cell {number}" if number else "the cell of injected parameters"
        count = cell.get("execution_count")
        if not isinstance(count, int):
            faults.append(f"{where} has not been run")
        elif count <= last:
            faults.append(f"{where} was run out of order")
        last = count if isinstance(count, int) else last
        if any(output.get("output_type") == "error" for output in cell.get("outputs", [])):
            faults.append(f"{where} ended with an error")
        status = cell.get("metadata", {}).get("papermill", {}).get("status")
        if status != "completed":
            faults.append(f"{where} is {status or 'without papermill status'}, not completed")
    return faults


def source_sha256(notebook: Mapping, code_only: bool = False) -> str:
    """sha256 of what was written into the cells: outputs, counts and cell ids do not matter.

    `code_only` leaves the text cells out, so that a corrected word changes nothing.
    """
    cells = [
        [cell["cell_type"], cell["source"], tags(cell)]
        for cell in notebook["cells"]
        if INJECTED_TAG not in tags(cell) and (cell["cell_type"] == "code" or not code_only)
    ]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _tree_sha256(folder: Path, *patterns: str) -> str:
    """One sha256 over names and contents of all files below a folder that match."""
    files = sorted({p for pattern in patterns for p in folder.rglob(pattern) if p.is_file()})
    lines = (f"{p.relative_to(folder).as_posix()} {records.sha256(p)}\n" for p in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _library_sha256() -> str:
    return _tree_sha256(paths.LIBRARY, "*.py")


def data_origins(names: Iterable[str]) -> dict[str, str]:
    """Where each data set would come from now, in words; no set is read or fetched.

    Raises BadInputError for a name that is no data set, with the valid ones.
    """
    names = list(names)
    if not names:
        return {}
    from convcost import datasets

    status = {entry["name"]: entry for entry in datasets.status()}
    origins = {}
    for name in names:
        if name not in status:
            raise BadInputError(f"unknown data set {name!r}: choose from {', '.join(status)}")
        entry = status[name]
        if entry["damaged"]:
            origins[name] = f"{entry['where']}, damaged: {entry['damaged']}"
        elif entry["found"]:
            origins[name] = (
                f"{entry['where']}, {entry['images']} images, {byte_size(entry['bytes'])}"
            )
        else:
            origins[name] = (
                f"to be fetched, {byte_size(entry['download_bytes'])} (offline: a stand-in)"
            )
    return origins


def _data_sha256(names: Iterable[str]) -> str:
    """One sha256 over where the sets lie and how large they are; a quick look, no content."""
    asked = data_origins(names)
    folder = os.environ.get("CONVCOST_DATA") if asked else None
    found = [asked, os.path.realpath(folder) if folder else None]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def _results_sha256(reads_runs: bool, reference: bool, profile: str) -> str:
    """One sha256 over the results that a notebook shows without having written them."""
    folders = [] if reference and not reads_runs else [paths.REFERENCE_RESULTS]
    folders += [paths.LOCAL_RESULTS] if reads_runs else []
    lines = "".join(_tree_sha256(folder, "manifest.json") for folder in folders)
    if hosts.is_elsewhere(profile):  # what was merged since the last run is to be drawn
        lines += _tree_sha256(hosts.folder(), "*.json")
    return hashlib.sha256(lines.encode()).hexdigest()


def inputs(
    notebook: Mapping, parameters: Mapping[str, Scalar], profile: str, *, reference: bool = False
) -> dict:
    """Everything an executed notebook depends on, and "key", the sha256 of all of it.

    The reference results count as an input too, except for the run that makes them
    (`reference`); a user's own results do for a notebook whose card says `reads_runs`. Where
    data lies enters only as a hash, so that no path is written down.
    """
    own = notebook.get("metadata", {}).get("convcost", {})
    asked, reads_runs = own.get("datasets", []), own.get("reads_runs", False)
    packages = ("torch", "torchvision", "numpy", "pandas", "matplotlib", "seaborn")
    found = {
        "notebook_sha256": source_sha256(notebook),
        "parameters": dict(sorted(parameters.items())),
        "profile": profile,
        "reference": reference,
        "library_sha256": _library_sha256(),
        "published_sha256": _tree_sha256(paths.PUBLISHED, "*.csv"),
        "results_sha256": _results_sha256(reads_runs is True, reference, profile),
        "environment": {
            "python": sys.version.split()[0],
            **{package: machine.version(package) or "absent" for package in packages},
        },
        "datasets": list(asked),
        "data_sha256": _data_sha256(asked),
    }
    text = json.dumps(found, sort_keys=True)
    return {"key": hashlib.sha256(text.encode()).hexdigest(), **found}


def is_done(output: Path | str, key: str) -> bool:
    """Whether a file is the whole, executed notebook of exactly the inputs with that key, and the
    tables that its run wrote are there.

    False for a missing, damaged, half-run, failed or stale one; never raises for its content.
    """
    return why_not_done(output, key) is None


def why_not_done(output: Path | str, key: str) -> str | None:
    """None where it is done; what is wrong with its run's tables; or "" for anything else."""
    output = Path(output)
    if output.stem.endswith(_UNFINISHED):
        return ""
    try:
        notebook = read(output)
        run = notebook.metadata.get("convcost", {}).get("run", {})
        if run.get("key") != key or incomplete(notebook):
            return ""
        return next(filter(None, map(_lost, run.get("wrote", []))), None)
    except (BadInputError, DamagedFileError, OSError, AttributeError, KeyError, TypeError):
        return ""


def _lost(wrote: Mapping) -> str:
    """What is wrong with the first lost table of those that a run wrote; "" where none is."""
    place = (wrote["run_id"], wrote["machine"], wrote["where"])
    return next(filter(None, (records.not_of_run(table, *place) for table in wrote["tables"])), "")


def written_since(before: Mapping, name: str, where: str) -> list[dict]:
    """The tables that runs of a notebook have written since `before`, as `records.run_ids` gave it.

    One entry for each run: where, machine, run_id, tables.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for (folder, table), (notebook, run_id) in records.run_ids(where).items():
        if notebook == name and before.get((folder, table)) != (notebook, run_id):
            found.setdefault((folder, run_id), []).append(table)
    return [
        {"where": where, "machine": folder, "run_id": run_id, "tables": tables}
        for (folder, run_id), tables in found.items()
    ]
