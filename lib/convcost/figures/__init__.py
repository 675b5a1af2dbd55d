"""Every figure of the compendium: from stored tables to SVG, PNG and a provenance file.

`FIGURES` names them all; `python -m convcost figures` draws them again from `data/`. Nothing here
measures, and nothing imports torch.
"""

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd

from convcost import records
from convcost.core import machine, paths, registry
from convcost.core.errors import BadInputError, writing
from convcost.core.extras import optional

with optional():
    import matplotlib
    from matplotlib.figure import Figure

    from convcost.figures import current, style
    from convcost.figures.spec import FigureSpec


def specs() -> dict[str, FigureSpec]:
    """Every figure of every chapter, by its name; `FIGURES` is the same."""
    return registry.together("figures", "SPECS")


def __getattr__(name: str):
    """`FIGURES`, and what a chapter draws besides for its notebook, by its own name."""
    if name == "FIGURES":
        return specs()
    if not name.startswith("_"):
        offered = registry.together("figures", "OFFERED")
        if name in offered:
            return offered[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def draw(name: str, results: records.Results | None = None):
    """A figure of `FIGURES`, drawn from stored tables, as a matplotlib Figure.

    `results` None takes the committed reference: the first machine with rows in all of its tables,
    for those of two machines are not mixed. Where the tables have no rows to draw, it is a
    plain panel that says which of them are not measured yet; its label says the same. Raises
    BadInputError for an unknown name, MissingTableError where a table has not been written yet.
    """
    if name not in specs():
        raise BadInputError(f"unknown figure {name!r}: choose one of {', '.join(specs())}")
    spec = specs()[name]
    results = results or _reference(spec)
    tables = {table: results.table(table) for table in spec.tables}
    more = {}
    if spec.by_device:
        more["on_gpu"] = results.record(spec.tables[0])["profile"] == "gpu"
    try:
        figure = spec.draw(*tables.values(), **more)
    except style.NothingToDrawError:
        figure = _plain(_why_nothing(tables, results))
    style.caption(figure, _made_by(spec, results))
    style.steady(figure)
    return figure


def _reference(spec: FigureSpec) -> records.Results:
    """What a figure is drawn from: one machine, with rows in all tables where there is one."""
    complete = []
    for name in records.machines():
        results = records.Results(machine=name)
        try:
            rows = [results.rows(table) for table in spec.tables]
        except records.MissingTableError:
            continue
        if all(rows):
            return results
        complete.append(results)
    return complete[0] if complete else records.Results()


def _why_nothing(tables: Mapping[str, pd.DataFrame], results: records.Results) -> str:
    """Which tables a machine has not measured yet."""
    machine = results.record(next(iter(tables)))["machine"]
    lacking = [name for name, table in tables.items() if table.empty]
    if not lacking:
        return f"Nothing to draw yet: on {machine} no net has all of {', '.join(tables)}."
    rows = [f"{name}: {records.TABLES[name].row}" for name in lacking]
    return "\n".join([f"Nothing to draw yet: on {machine} this has not been measured:", *rows])


def _plain(words: str) -> Figure:
    import matplotlib.pyplot as plt

    style.apply()
    figure, axis = plt.subplots(figsize=(11.5, 1.2 + 0.5 * len(words.splitlines())))
    style.in_words(axis, words, 110)
    figure.set_label(words)
    return figure


def show(name: str, run: records.Run) -> None:
    """Draw a figure from this run's own tables, save it, and display it in a notebook.

    A reference run saves into `figures/`; a user's run into `build/figures/`, so that the
    committed files stay as they are.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image, display

    results = records.Results(run.where, run.machine)
    folder = paths.FIGURES if run.where == records.REFERENCE else paths.BUILD / "figures"
    figure = draw(name, results)
    save(name, figure, folder, results)
    plt.close(figure)
    display(Image(folder / f"{name}.png", width=900, alt=_alt(name, figure)))


def _alt(name: str, figure: Figure) -> str:
    return figure.get_label() or specs()[name].alt


def save(name: str, figure, folder: Path, results: records.Results) -> Path:
    """Write `<name>.svg`, `<name>.png` and `<name>.json` (provenance); returns the SVG's path.

    The files hold no date, so the same data give the same bytes with the same libraries. Raises
    ConvcostError where they cannot be written.
    """
    contents = _drawn(figure)
    spec = specs()[name]
    provenance = {
        "figure": name,
        "alt": _alt(name, figure),
        "notebook": spec.notebook,
        "files": {kind: hashlib.sha256(content).hexdigest() for kind, content in contents.items()},
        **current.ingredients(spec),
        "tables": {table: _provenance(table, results) for table in spec.tables},
    }
    contents["json"] = (json.dumps(provenance, indent=1, sort_keys=True) + "\n").encode()
    for kind, content in contents.items():
        with writing(folder / f"{name}.{kind}"):
            records.write_atomically(folder / f"{name}.{kind}", content)
    return folder / f"{name}.svg"


def _drawn(figure: Figure) -> dict[str, bytes]:
    """The figure as "svg", and as "png" in 256 colours: a third of the bytes, in notebooks, too.

    By the canvases themselves: `savefig` draws everything once more, only to lay it out.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from PIL import Image

    vectors, pixels = io.BytesIO(), io.BytesIO()
    dpi = matplotlib.rcParams["savefig.dpi"]
    figure.set_dpi(dpi)  # of what an SVG holds as pixels
    FigureCanvasSVG(figure).print_svg(vectors, metadata={"Date": None})
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(pixels, format="png", optimize=True)
    return {"svg": vectors.getvalue(), "png": pixels.getvalue()}


def _provenance(table: str, results: records.Results) -> dict:
    record = results.record(table)
    keep = ("run_id", "machine", "profile", "commit", "date", "seeds", "data")
    return {key: record.get(key) for key in keep} | {"sha256": results.sha256(table)}


def _made_by(spec: FigureSpec, results: records.Results) -> str:
    if not spec.tables:
        return "convcost · from formulas, nothing measured"
    record, mixed = results.record(spec.tables[0]), results.mixed(spec.tables)
    told = [results.record(table) for table in spec.tables] if mixed else [record]
    used = (
        f"{d['asked']} (STAND-IN: {d['name']})" if d.get("is_stand_in") else d["asked"]
        for one in told
        for d in one["data"]
    )
    data = ", ".join(dict.fromkeys(used))  # both splits of a set say the same
    profile = f"mixed runs: {mixed}" if mixed else f"profile {record['profile']}"
    return f"convcost · {record['machine']} · {profile} · " + (
        f"data: {data}" if data else "counted from shapes, no data set"
    )


def redraw_all(
    folder: Path | None = None, *, every: bool = False, processes: int | None = None
) -> tuple[list[str], list[str]]:
    """Draw the figures that are not current from the committed reference, `every` one if asked.

    Into `folder` (`figures/` by default), in `processes` processes (the usable cores by default).
    Returns (names drawn, names whose tables nobody has written yet). Raises ConvcostError where a
    table is damaged or a file cannot be written.
    """
    folder = folder or paths.FIGURES
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    due, missing = [], []
    for name, spec in specs().items():
        try:
            if not current.is_current(name, spec, folder, _reference(spec)) or every:
                due.append(name)
        except records.MissingTableError:
            missing.append(name)
    count = min(processes or machine.usable_cores(os.cpu_count()) or 1, len(due) // _WORTH)
    if count < 2:
        for name in due:
            _redraw(name, folder)
        return due, missing
    # a server that has imported this forks each process: it starts with nothing drawn
    method = "forkserver" if sys.platform == "linux" else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload([__name__])
    with _one_thread_each(), ProcessPoolExecutor(count, mp_context=context) as pool:
        # from the last: those of notebook 04 fit models, and what takes long should begin early
        list(pool.map(_redraw, reversed(due), [folder] * len(due)))
    return due, missing


_WORTH = 3  # figures that are worth a process


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that are started in this block have one thread each: together they fill the cores,
    and threads of fits that wait for each other would take most of the time.
    """
    before = dict(os.environ)
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _redraw(name: str, folder: Path) -> None:
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    results = _reference(specs()[name])
    figure = draw(name, results)
    save(name, figure, folder, results)
    plt.close(figure)
