"""Every figure of every chapter, from whole tables and from thin ones: nothing is hidden."""

import pytest

import acceleration_tables
import accuracy_tables
import complexity_tables
import figure_checks
import training_time_tables
import zero_rate_tables
from convcost import figures, records

STAND_IN = [{"asked": "faces", "name": "small_faces", "is_stand_in": True}]
THIN_FITS = {
    "candidates": complexity_tables.THIN, "held_out": 6, "line_seeds": 1, "optimum_seeds": 0,
    "drops": (2, 60),
}  # fmt: skip


def of_notebook(number):
    return [name for name in figures.FIGURES if name.startswith(number)]


def counted():
    """Counts are the same on every machine: those of the reference."""
    names = {table for name in of_notebook("01") for table in figures.FIGURES[name].tables}
    return {name: records.read(name).drop(columns="run_id") for name in names}


def thin_times():
    tables = training_time_tables.tables(**training_time_tables.QUICK)
    return tables | {"fashion_accuracies": tables["fashion_accuracies"].head(1)}


CASES = {
    "01-flop-counting": {"whole": counted},
    "02-training-time": {"whole": training_time_tables.tables, "thin": thin_times},
    "03-relu-zero-rates": {
        "whole": zero_rate_tables.tables,
        "thin": lambda: zero_rate_tables.tables(**zero_rate_tables.QUICK),
    },
    "04-complexity-precision": {
        "whole": lambda: complexity_tables.tables(p=complexity_tables.eq6, noise=0.004),
        "thin": lambda: complexity_tables.tables(**THIN_FITS),
    },
    "05-accuracy-and-run-time": {
        "whole": lambda: accuracy_tables.tables(),
        "thin": lambda: accuracy_tables.tables(thin=True),
    },
    "06-acceleration": {
        "whole": lambda: acceleration_tables.tables(),
        "thin": lambda: acceleration_tables.tables(thin=True),
    },
}


@pytest.fixture(
    scope="module",
    params=[(notebook, scale) for notebook, scales in CASES.items() for scale in scales],
    ids="-".join,
)
def drawn(request, tmp_path_factory):
    """Figures by name, drawn from tables that went through the schemas; a warning is an error."""
    notebook, scale = request.param
    folder, names = tmp_path_factory.mktemp("runs"), of_notebook(notebook[:2])
    tables = CASES[notebook][scale]()
    with figure_checks.drawn(notebook, names, tables, folder, STAND_IN) as done:
        yield done


def test_the_cases_are_all_figures():
    names = [name for notebook in CASES for name in of_notebook(notebook[:2])]
    assert sorted(names) == sorted(figures.FIGURES)


def test_nothing_lies_outside_of_the_picture(drawn):
    assert [name for name, figure in drawn.items() if not figure_checks.is_inside(figure)] == []


def test_legends_caption_and_panels_do_not_overlap(drawn):
    found = {name: figure_checks.colliding_parts(figure) for name, figure in drawn.items()}
    assert {name: pairs for name, pairs in found.items() if pairs} == {}


def test_words_do_not_overlap(drawn):
    in_markers = {
        "03-dark-pixels",
        "05-separable-roofline",
    }  # there digits stand in markers, which may touch
    found = {
        name: figure_checks.colliding_words(figure, texts=name not in in_markers)
        for name, figure in drawn.items()
    }
    assert {name: pairs for name, pairs in found.items() if pairs} == {}


def test_axes_say_what_they_show(drawn):
    pictures = {"03-lenet-structure", "03-digit-maps"}  # no axes in the sense of a graph
    silent = [
        (name, number)
        for name, figure in drawn.items()
        if name not in pictures
        for number, axis in enumerate(figure.axes)
        if axis.axison and axis.get_label() != "<colorbar>" and not says_enough(figure, axis)
    ]
    assert silent == []


def says_enough(figure, axis) -> bool:
    """Whether both directions are named: at the panel, at one in line with it, or for all."""
    x0, y0 = axis.get_position().min
    column = [a for a in figure.axes if abs(a.get_position().x0 - x0) < 0.02]
    row = [a for a in figure.axes if abs(a.get_position().y0 - y0) < 0.02]
    across = figure.get_supxlabel() or any(a.get_xlabel() or _words(a.xaxis) for a in column)
    up = any(a.get_ylabel() or _words(a.yaxis) or a.get_title(loc="left") for a in row)
    return bool(across and up)


def _words(axis) -> list[str]:
    """Tick labels that name something."""
    labels = [label.get_text() for label in figure_checks.tick_labels(axis)]
    return [label for label in labels if label[0].isalpha()]


def test_profile_and_stand_in_are_named(drawn):
    for name, figure in drawn.items():
        words = "\n".join(text.get_text() for text in figure.texts)
        if figures.FIGURES[name].tables:
            assert "profile quick" in words and "STAND-IN: small_faces" in words, name
        else:
            assert "from formulas" in words, name
