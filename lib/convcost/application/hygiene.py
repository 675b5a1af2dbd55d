"""Whether the committed notebooks are fit to be read where nothing runs, and argue, not work.

A number that a source prints is fetched from `convcost.sources`, where its unit and its place
stand; typed into a cell it has neither. Only telling numbers are looked for: of four significant
digits or more, or of three and a decimal point, and not those that say what was measured (a year,
pixels, channels), for anybody's 224 may be one's own.

Each complaint says file, cell, what is wrong and what to do. Nothing is run and nothing changed.
"""

import ast
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from convcost import sources
from convcost.application import notebooks
from convcost.application.notebooks import INJECTED_TAG, PARAMETERS_TAG
from convcost.core import paths, registry
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.core.extras import optional

with optional():
    import nbformat

MAX_LINES = 15
MAX_OUTPUT_BYTES = 1_000_000
MAX_FILE_BYTES = 3_000_000
HEADINGS = ("Question", "Verdict", "Exercises")  # in this order, unless the card says "guide"

_DRAWING = {"matplotlib", "pylab", "seaborn", "plotly"}
_TIMING = {"time", "timeit"}
_TIMERS = re.compile(r"(perf_counter|process_time|monotonic|thread_time|time)(_ns)?|timeit")
_HOOKS = re.compile(r"register_\w*hook\w*")
_ROOTS = "home|Users|root|tmp|var|mnt|opt|usr|etc|srv|media|private|Volumes"
_ABSOLUTE = re.compile(  # not inside a URL, a relative path or a closing HTML tag
    rf"(?<![\w./:<-])(?:/(?:{_ROOTS})/[\w.@+-]|~/[\w.]|[A-Za-z]:\\\\?[\w.])[^\s\"'<>)]*"
)
_LITERAL_PATH = re.compile(rf"^(/[\w.-]+/[\w.-]|/(?:{_ROOTS})\b|~(/|$)|[A-Za-z]:[\\/])")
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
_ALLOWED_IMPORTS = ("convcost", "pandas", "IPython.display")
_SETTINGS_UNITS = {  # of what was measured, not of what came out
    *("months", "years", "year", "decade", "century", "GB", "px", "bits", "images", "classes"),
    *("channels", "filters", "connections", "layers", "networks", "configurations"),
    *("filter index", "digit"),
}
_LIBRARY = "move it into lib/convcost, with a test, and call it"


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong with a notebook."""

    file: str
    cell: int | None  # from 1, None where the whole file is meant
    what: str
    do: str

    def __str__(self) -> str:
        where = f"{self.file}, cell {self.cell}" if self.cell else self.file
        return f"{where}: {self.what}: {self.do}"


def machine_paths(text: str) -> list[str]:
    """Paths of one machine that stand in a text: absolute ones, and this machine's own folders.

    >>> machine_paths("saved to /home/ada/net.pt; see https://x.org/home/ada and figures/a.svg")
    ['/home/ada/net.pt']
    """
    found = {match[0].rstrip(".,:;") for match in _ABSOLUTE.finditer(text)}
    own = [paths.ROOT, Path.home(), tempfile.gettempdir(), sys.prefix]
    own.append(os.environ.get("CONVCOST_DATA") or paths.ROOT)
    for folder in {os.fspath(p) for p in own}:
        if len(folder) > 4:  # "/" and "/tmp" alone would be found everywhere
            found.update(re.findall(rf"(?<![\w./:-]){re.escape(folder)}[^\s\"'<>)]*", text))
    longest = sorted(found, key=len, reverse=True)
    return sorted(p for i, p in enumerate(longest) if not any(p in q for q in longest[:i]))


def _texts(output: Mapping) -> Iterator[str]:
    """Every part of an output that is text; base64 pictures hold no paths."""
    if output.get("output_type") == "stream":
        yield output.get("text", "")
    yield from output.get("traceback", [])
    for kind, content in output.get("data", {}).items():
        if isinstance(content, str):
            if kind.startswith("text/") or "xml" in kind or "javascript" in kind:
                yield content
        else:
            yield json.dumps(content, ensure_ascii=False)


def _code_faults(source: str) -> Iterator[tuple[str, str]]:
    """(what, do) for everything in a cell that belongs into the library."""
    lines = source.splitlines()
    if len(lines) > MAX_LINES:
        yield f"{len(lines)} lines of code", f"one thought a cell, at most {MAX_LINES} lines"
    for i, line in enumerate(lines):
        if re.match(r"\s*[%!]", line) or re.search(r"[^#]\?\s*$", line.partition("#")[0]):
            yield f"magic or shell line `{line.strip()}`", "say it in Python, or " + _LIBRARY
            lines[i] = re.match(r"\s*", line)[0] + "pass"
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError as error:
        yield f"not Python ({error.msg})", "correct it"
        return
    for node in ast.walk(tree):
        yield from _node_faults(node)
        yield from _typed_results(node, source)


def telling(text: str) -> bool:
    """Whether a number, as written, has digits enough to be known again.

    >>> [telling(text) for text in ("4096", "112", "4_000", "1.42", "0.5", "1.08167E-03")]
    [True, False, False, True, False, True]
    """
    digits = re.split("[eE]", text.replace("_", ""))[0].lstrip("+-")
    significant = digits.replace(".", "").lstrip("0")
    if "." in digits:
        return len(significant) >= 3
    return len(significant.rstrip("0")) >= 4


@cache
def _published_results() -> dict[float, list[tuple[str, str]]]:
    """Value without its sign -> (source, name) of the telling rows that print it."""
    found: dict[float, list[tuple[str, str]]] = {}
    for key in sources.SOURCES:
        for row in sources.published(key).itertuples():
            result = row.unit in sources.NUMBER_UNITS - _SETTINGS_UNITS
            if result and telling(row.value):
                found.setdefault(abs(float(row.value)), []).append((key, row.name))
    return found


def _typed_results(node: ast.AST, source: str) -> Iterator[tuple[str, str]]:
    if not isinstance(node, ast.Constant) or type(node.value) not in (int, float):
        return
    text = ast.get_source_segment(source, node) or str(node.value)
    if telling(text):
        rows = _published_results().get(float(node.value), ())
        for key, name in rows[:1]:
            more = f", and {len(rows) - 1} more" if len(rows) > 1 else ""
            yield (
                f"types {text}, which {key} prints ({name}{more})",
                f'use convcost.sources.value("{key}", "{name}")',
            )


def _import_faults(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    named = [node.module or "."] if isinstance(node, ast.ImportFrom) else []
    for name in named or [alias.name for alias in node.names]:
        top = name.split(".")[0]
        if top in _DRAWING:
            yield f"imports {top}", "draw with a function of convcost.figures"
        elif top in _TIMING:
            yield f"imports {top}", "time with the instruments of convcost"
        elif name not in _ALLOWED_IMPORTS and top != "convcost":
            yield f"imports {name}", f"import {', '.join(_ALLOWED_IMPORTS)} only; " + _LIBRARY


def _node_faults(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield f"defines function {node.name}", _LIBRARY
    elif isinstance(node, ast.ClassDef):
        yield f"defines class {node.name}", _LIBRARY
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from _import_faults(node)
    elif isinstance(node, ast.Attribute) and _HOOKS.fullmatch(node.attr):
        yield f"sets a hook ({node.attr})", "watch the net with the library's probe"
    elif isinstance(node, ast.Attribute) and _TIMERS.fullmatch(node.attr):
        if isinstance(node.value, ast.Name) and node.value.id in _TIMING:
            yield f"reads a timer ({node.attr})", "time with the instruments of convcost"
    elif isinstance(node, ast.Constant) and _LITERAL_PATH.match(str(node.value)):
        yield f"absolute path {node.value!r}", "use convcost.core.paths"


def _output_faults(cell: Mapping) -> Iterator[tuple[str, str]]:
    rerun = "correct it and run the notebook again with --reference"
    for output in cell.get("outputs", []):
        kind = output.get("output_type")
        if kind == "error":
            yield f"its output is an error ({output.get('ename')})", rerun
        if kind == "stream" and output.get("name") == "stderr":
            first = output.get("text", "").strip().splitlines() or [""]
            yield f"its output holds a warning (`{first[-1][:60]}`)", rerun
        size = len(json.dumps(output))
        if size > MAX_OUTPUT_BYTES:
            yield f"an output of {size} bytes", f"show less, at most {MAX_OUTPUT_BYTES} bytes"
        for text in _texts(output):
            for path in machine_paths(text):
                yield f"its output shows a path of one machine ({path})", rerun
            if found := _ADDRESS.search(text):
                yield f"its output shows an object's address ({found[0]})", rerun


def _leftovers(metadata: Mapping) -> list[str]:
    return [key for key in ("papermill", "execution") if key in metadata]


def _file_faults(notebook: Mapping, name: str) -> Iterator[tuple[str, str]]:
    """What concerns the notebook as a whole."""
    if name not in registry.names():
        yield "not a name of `convcost.chapters`", f"choose one of {', '.join(registry.names())}"
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        yield f"its kernel is {kernel!r}", "name it python3"
    own = notebook.metadata.get("convcost", {})
    left = [*_leftovers(notebook.metadata), *(k for k in ("run", "failure") if k in own)]
    if left:
        yield f"metadata of a run is left ({', '.join(left)})", "publish it with --reference"
    code = [cell for _, cell in notebooks.code_cells(notebook)]
    if code and not any(cell.get("execution_count") for cell in code):
        yield "it has not been run", "run it with --reference: it must be readable as it is"
    elif code and not any(cell.get("outputs") for cell in code):
        yield "it has no outputs", "run it with --reference: it must be readable as it is"
    made = own.get("reference", {}).get("code_sha256")
    if made is None:
        yield "no reference run made its outputs", "run it with --reference"
    elif made != notebooks.source_sha256(notebook, code_only=True):
        yield "its code was edited after the reference run", "run it again with --reference"
    try:
        card = notebooks.card(notebook, name)
    except BadInputError as error:
        card = None
        yield "its card is wrong", str(error)
    yield from _part_faults(notebook, card)
    try:
        defaults = notebooks.parameters(notebook, name)
    except DamagedFileError as error:
        yield "its parameters are wrong", str(error)
    else:
        if defaults.get("profile") != "auto":
            yield 'no parameter `profile = "auto"`', 'add it to one cell tagged "parameters"'


def _part_faults(notebook: Mapping, card: notebooks.Card | None) -> Iterator[tuple[str, str]]:
    cells = notebook["cells"]
    box = cells[0]["source"] if cells and cells[0]["cell_type"] == "markdown" else ""
    if not box.startswith("# ") or not all(
        re.search(word, box, re.I) for word in (r"\bgoal\b", r"\bmin(ute)?s?\b", r"\bRAM\b")
    ):
        yield (
            "its first cell is no top box",
            "begin with `# Title`, then goal, minutes per profile, RAM",
        )
    if card is None or card.parts == "guide":
        return
    text = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    place = -1
    for heading in HEADINGS:
        found = re.search(rf"^##+\s+(?:[\d.]+\s+)?{heading}\b", text, re.M)
        if not found:
            yield f"no heading `## {heading}`", "add that part"
        elif found.start() < place:
            yield f"`## {heading}` comes too early", f"order: {', '.join(HEADINGS)}"
        place = found.start() if found else place


def check_text(text: str, file: str) -> list[Complaint]:
    """Every complaint about the content of a notebook file; `file` is how it is named in them."""
    name = Path(file).name.removesuffix(".ipynb")
    found: list[Complaint] = []

    def complain(what: str, do: str, cell: int | None = None) -> None:
        found.append(Complaint(file, cell, what, do))

    if len(text.encode()) > MAX_FILE_BYTES:
        complain(f"{len(text.encode())} bytes", f"show less, at most {MAX_FILE_BYTES} bytes")
    try:
        raw = json.loads(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of cell ids, which are checked below
            nbformat.validate(nbformat.from_dict(raw))
            notebook = nbformat.reads(text, as_version=4)
        ids = [cell.get("id") for cell in raw["cells"]]
    except Exception as error:  # nbformat raises many types, down to AttributeError
        first = str(error).strip().splitlines() or [type(error).__name__]
        complain(f"not a valid notebook ({first[0]})", "restore it from git")
        return found
    for what, do in _file_faults(notebook, name):
        complain(what, do)
    expected = 1
    was_run = any(cell.get("execution_count") for _, cell in notebooks.code_cells(notebook))
    for number, cell in enumerate(notebook.cells, 1):
        own_id = ids[number - 1]
        if own_id is None or ids.index(own_id) != number - 1:
            what = "no id" if own_id is None else f"the id {own_id} of another cell"
            complain(f"it has {what}", "save the notebook with a current Jupyter", number)
        left = _leftovers(cell.metadata)
        if left or INJECTED_TAG in notebooks.tags(cell):
            left = left or [INJECTED_TAG]
            complain(f"a run's {', '.join(left)} is left", "publish it with --reference", number)
        if cell.cell_type != "code":
            continue
        if not cell.source.strip():
            complain("an empty code cell", "remove it", number)
            continue
        if was_run and cell.execution_count != expected:
            counted = f"execution count {cell.execution_count}, not {expected}"
            complain(counted, "run the whole notebook in order, with --reference", number)
        expected += 1
        for what, do in [*_code_faults(cell.source), *_output_faults(cell)]:
            complain(what, do, number)
    if not any(PARAMETERS_TAG in notebooks.tags(cell) for cell in notebook.cells):
        complain("no cell is tagged parameters", 'tag the cell that holds `profile = "auto"`')
    return found


def check(path: Path | str) -> list[Complaint]:
    """Every complaint about one notebook file. Raises BadInputError where there is none."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    return check_text(text, paths.shown(path))


def check_all(files: Iterable[Path | str] | None = None) -> list[Complaint]:
    """Every complaint about the given notebooks, by default all in notebooks/.

    A folder without any notebook is a complaint too: nothing was checked.
    """
    chosen = sorted(paths.NOTEBOOKS.glob("*.ipynb")) if files is None else [*map(Path, files)]
    if not chosen:
        folder = paths.shown(paths.NOTEBOOKS)
        return [Complaint(folder, None, "it holds no notebook", "restore it from git")]
    return [complaint for path in chosen for complaint in check(path)]
