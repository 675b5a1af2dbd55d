"""Every figure of the compendium: from stored tables to SVG, PNG and a provenance file.

`FIGURES` names them all; `python -m convcost figures` draws them again from `data/`. Nothing here
measures, and nothing imports torch.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib

from convcost import paths, records
from convcost.errors import BadInputError
from convcost.figures import counting, inputs, style


@dataclass(frozen=True)
class FigureSpec:
    """One figure: how it is drawn, from which tables, and where it is shown."""

    draw: Callable[[records.Results], "matplotlib.figure.Figure"]
    tables: tuple[str, ...]
    notebook: str
    alt: str  # what a person who cannot see it should know


def _simple(function: Callable, table: str) -> Callable:
    return lambda results: function(results.table(table))


FIGURES: dict[str, FigureSpec] = {
    "01-layer-profile": FigureSpec(
        _simple(counting.layer_profile, "layer_counts"),
        ("layer_counts",),
        "01-flop-counting",
        "FLOPs and parameters of each weighted layer of the five nets: convolutions hold the "
        "FLOPs, the fully connected layers of AlexNet and VGG16 the parameters.",
    ),
    "01-table1-protocols": FigureSpec(
        inputs.table1,
        ("protocol_totals",),
        "01-flop-counting",
        "Candidate counting protocols that come within 6 % of the five values that Cheng & Liu "
        "print: many print one value's digits, one protocol prints all five.",
    ),
    "01-lenet-multiplications": FigureSpec(
        inputs.lenet_multiplications,
        ("lenet_multiplications",),
        "01-flop-counting",
        "Multiplications per layer of LeNet by the paper's equations, by the connection table of "
        "1998 and exactly, with the three printed values marked.",
    ),
    "01-separable-ratio": FigureSpec(
        _simple(counting.separable_ratio, "separable_sweep"),
        ("separable_sweep",),
        "01-flop-counting",
        "Regular over depthwise-separable multiply-adds against the output channels: the ratio "
        "nears the kernel's area and never reaches it.",
    ),
    "01-resnet18-totals": FigureSpec(
        _simple(counting.resnet_totals, "convention_totals"),
        ("convention_totals",),
        "01-flop-counting",
        "One forward pass of ResNet18 in every counting convention.",
    ),
    "01-conventions": FigureSpec(
        inputs.tool_conventions,
        ("convention_totals",),
        "01-flop-counting",
        "How far the totals of each counting tool lie from plain multiply-adds, for five nets.",
    ),
    "01-op-shares": FigureSpec(
        _simple(counting.op_shares, "layer_counts"),
        ("layer_counts",),
        "01-flop-counting",
        "Share of each operator type in FLOPs, parameters and bytes moved of the five nets.",
    ),
    "01-input-size": FigureSpec(
        _simple(counting.input_sweep, "input_sweep"),
        ("input_sweep",),
        "01-flop-counting",
        "FLOPs grow with the area of the input; parameters do not grow at all.",
    ),
    "01-arithmetic-intensity": FigureSpec(
        _simple(counting.intensity, "layer_counts"),
        ("layer_counts",),
        "01-flop-counting",
        "FLOPs against bytes moved for each layer: linear layers at one image do half a FLOP a "
        "byte, convolutions ten to several hundred.",
    ),
    "01-training-cost": FigureSpec(
        _simple(counting.training_cost, "net_counts"),
        ("net_counts",),
        "01-flop-counting",
        "Forward and backward FLOPs of one training image: just under three forward passes.",
    ),
}


def draw(name: str, results: records.Results | None = None):
    """A figure of `FIGURES`, drawn from stored tables, as a matplotlib Figure.

    `results` None takes the committed reference. Raises BadInputError for an unknown name,
    MissingTableError where a table has not been written yet.
    """
    if name not in FIGURES:
        raise BadInputError(f"unknown figure {name!r}: choose one of {', '.join(FIGURES)}")
    results = results or records.Results()
    figure = FIGURES[name].draw(results)
    style.caption(figure, _made_by(FIGURES[name], results))
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
    display(Image(folder / f"{name}.png", width=900, alt=FIGURES[name].alt))


def save(name: str, figure, folder: Path, results: records.Results) -> Path:
    """Write `<name>.svg`, `<name>.png` and `<name>.json` (provenance); returns the SVG's path.

    The files hold no date, so the same data give the same bytes with the same libraries.
    """
    contents = {}
    for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata)
        contents[kind] = buffer.getvalue()
    spec = FIGURES[name]
    provenance = {
        "figure": name,
        "alt": spec.alt,
        "notebook": spec.notebook,
        "drawn_with": {"matplotlib": matplotlib.__version__},
        "tables": {table: _provenance(table, results) for table in spec.tables},
    }
    contents["json"] = (json.dumps(provenance, indent=1, sort_keys=True) + "\n").encode()
    for kind, content in contents.items():
        records.write_atomically(folder / f"{name}.{kind}", content)
    return folder / f"{name}.svg"


def _provenance(table: str, results: records.Results) -> dict:
    record = results.record(table)
    keep = ("run_id", "machine", "profile", "commit", "date", "seeds", "data")
    return {key: record.get(key) for key in keep} | {"sha256": results.sha256(table)}


def _made_by(spec: FigureSpec, results: records.Results) -> str:
    record = results.record(spec.tables[0])
    data = ", ".join(
        f"{d['asked']} (STAND-IN: {d['name']})" if d.get("is_stand_in") else d["asked"]
        for d in record["data"]
    )
    return f"convcost · {record['machine']} · profile {record['profile']} · " + (
        f"data: {data}" if data else "counted from shapes, no data set"
    )


def redraw_all(folder: Path | None = None) -> tuple[list[str], list[str]]:
    """Draw every figure from the committed reference into `folder` (`figures/` by default).

    Returns (names drawn, names whose tables nobody has written yet).
    """
    import matplotlib.pyplot as plt

    drawn, missing = [], []
    results = records.Results()
    for name in FIGURES:
        try:
            figure = draw(name, results)
        except records.MissingTableError:
            missing.append(name)
            continue
        save(name, figure, folder or paths.FIGURES, results)
        plt.close(figure)
        drawn.append(name)
    return drawn, missing
