"""What every figure has to keep: nothing outside, nothing on top of something else."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from convcost import figures, records


@contextmanager
def drawn(
    notebook: str, names: Sequence[str], tables: Mapping, folder: Path,
    data: Sequence[dict] = (), profile: str = "quick",
) -> Iterator[dict]:  # fmt: skip
    """Figures by name, drawn from tables that went through the schemas; a warning is an error."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setitem(plt.rcParams, "figure.max_open_warning", 0)  # they are drawn to be compared
        patch.setattr(records.paths, "LOCAL_RESULTS", folder)
        run = records.start_run(notebook, profile, data=list(data), where="local")
        for name, table in tables.items():
            run.write(name, table)
        results = records.Results("local")
        done = {name: figures.draw(name, results) for name in names}
        for figure in done.values():
            figure.draw_without_rendering()
    yield done
    plt.close("all")


@pytest.fixture(autouse=True)
def closed():
    """Figures that a test draws are closed after it; those that tests share stay."""
    before = set(plt.get_fignums())
    yield
    for number in set(plt.get_fignums()) - before:
        plt.close(number)


def overlap(one, other) -> bool:
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 2 and height > 2  # pixels; boxes have an edge of their own


def tick_labels(axis) -> list:
    """Labels of an x or y axis that are seen."""
    low, high = sorted(axis.get_view_interval())
    return [
        tick.label1
        for tick in axis.get_major_ticks()
        if low <= tick.get_loc() <= high and tick.label1.get_visible() and tick.label1.get_text()
    ]


def is_inside(figure) -> bool:
    """Whether nothing lies outside of the picture."""
    needed, size = figure.get_tightbbox(), figure.get_size_inches()
    low = needed.x0 > -0.05 and needed.y0 > -0.05
    return low and needed.x1 < size[0] + 0.05 and needed.y1 < size[1] + 0.05


def colliding_parts(figure) -> list:
    """Pairs of panels (with their labels), legends and texts of the figure that overlap."""
    renderer = figure.canvas.get_renderer()
    boxes = [axis.get_tightbbox(renderer) for axis in figure.axes]
    boxes += [legend.get_window_extent(renderer) for legend in figure.legends]
    boxes += [text.get_window_extent(renderer) for text in figure.texts]
    return [pair for pair in combinations(boxes, 2) if overlap(*pair)]


def colliding_words(figure, texts: bool = True) -> list[tuple[str, str]]:
    """Pairs of tick labels of one axis that overlap; with `texts` of texts in one panel too."""
    renderer = figure.canvas.get_renderer()
    found = []
    for axis in figure.axes:
        groups = [tick_labels(axis.xaxis), tick_labels(axis.yaxis)]
        if texts:
            groups.append([text for text in axis.texts if text.get_text()])
        for group in groups:
            boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in group]
            found += [
                (word, other)
                for (word, one), (other, two) in combinations(boxes, 2)
                if overlap(one, two)
            ]
    return found
