"""`make figures` draws what changed, and only that; what it draws is the same every time."""

import json
import shutil

import pytest

from convcost import figures, records
from convcost.application import cli
from convcost.core import paths, registry
from convcost.figures import current, style

NAMES = ("01-training-cost", "01-separable-ratio", "03-lenet-structure", "01-op-shares")


def four():
    """Only these, while the tests of this file run."""
    return {name: registry.together("figures", "SPECS")[name] for name in NAMES}


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The four figures, drawn once from the committed results."""
    folder = tmp_path_factory.mktemp("figures") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "specs", four)
        assert figures.redraw_all(folder, processes=1) == (list(NAMES), [])
    return folder


@pytest.fixture
def drawn(once, tmp_path, monkeypatch):
    """A copy of the committed results, and of the figures that were drawn from them."""
    monkeypatch.setattr(figures, "specs", four)
    shutil.copytree(paths.REFERENCE_RESULTS, tmp_path / "results")
    monkeypatch.setattr(paths, "REFERENCE_RESULTS", tmp_path / "results")
    return shutil.copytree(once, tmp_path / "out")


def again(folder, **more):
    return figures.redraw_all(folder, processes=1, **more)[0]


def test_what_is_current_is_not_drawn(drawn):
    before = {path: path.stat().st_mtime_ns for path in drawn.iterdir()}
    assert again(drawn) == []
    assert {path: path.stat().st_mtime_ns for path in drawn.iterdir()} == before
    assert again(drawn, every=True) == list(NAMES)


@pytest.mark.parametrize("kind", ["svg", "png", "json"])
@pytest.mark.parametrize("damage", ["remove", "alter"])
def test_a_file_that_is_gone_or_altered_is_drawn_again(drawn, kind, damage):
    file = drawn / f"{NAMES[1]}.{kind}"
    whole = file.read_bytes()
    file.unlink() if damage == "remove" else file.write_bytes(whole[:-9])
    assert again(drawn) == [NAMES[1]]
    assert file.read_bytes() == whole


def test_a_table_that_was_written_anew_redraws_its_figures_only(drawn):
    (table,) = figures.FIGURES[NAMES[0]].tables
    machine = records.machines()[0]
    run = records.start_run("01-flop-counting", "cpu", where="reference")
    run.machine = machine
    run.write(table, records.read(table).drop(columns="run_id"))
    with_it = [name for name in NAMES if table in figures.FIGURES[name].tables]
    assert again(drawn) == with_it and len(with_it) < len(NAMES)


def test_a_table_that_was_altered_is_refused_and_not_called_current(drawn):
    (table,) = figures.FIGURES[NAMES[0]].tables
    (file,) = paths.REFERENCE_RESULTS.glob(f"{records.machines()[0]}/{table}.csv")
    file.write_text(file.read_text().replace("1", "2", 1))
    with pytest.raises(records.DamagedFileError, match=table):
        again(drawn)


@pytest.mark.parametrize("key", ["drawn_with", "drawn_by"])
def test_other_libraries_and_other_code_redraw(drawn, monkeypatch, key):
    real = current.ingredients
    changed = figures.FIGURES[NAMES[2]]
    monkeypatch.setattr(
        current,
        "ingredients",
        lambda spec: real(spec) | ({key: "another"} if spec is changed else {}),
    )
    assert again(drawn) == [NAMES[2]]
    assert json.loads((drawn / f"{NAMES[2]}.json").read_text())[key] == "another"


def test_code_is_what_a_drawing_module_imports_and_not_the_others():
    def names(module):
        return {
            path.relative_to(paths.ROOT / "lib" / "convcost").as_posix()
            for path in current.sources(module)
        }

    counting = names("convcost.chapters.flop_counting.figures.counting")
    assert {
        "chapters/flop_counting/figures/counting.py",
        "figures/style.py",
        "core/units.py",
    } <= counting
    assert (
        not {
            "chapters/complexity_precision/figures/frontier.py",
            "figures/__init__.py",
            "records/__init__.py",
        }
        & counting
    )
    assert "chapters/complexity_precision/findings/precision.py" in names(
        "convcost.chapters.complexity_precision.figures.precision_curves"
    )  # by way of findings


def test_a_change_of_one_character_is_another_code(tmp_path, monkeypatch):
    """With a copy of the library, of which one file that is imported in a function changes."""
    monkeypatch.setattr(current, "_ROOT", tmp_path / "convcost")
    shutil.copytree(paths.ROOT / "lib" / "convcost", tmp_path / "convcost")
    before = {}
    for turn in range(2):
        current._drawn_by.cache_clear(), current.sources.cache_clear()
        now = {
            name: current._drawn_by(spec.draw.__module__) for name, spec in figures.FIGURES.items()
        }
        if turn:
            changed = {name for name in now if now[name] != before[name]}
            assert "04-models" in changed and "01-op-shares" not in changed
        before = now
        own = tmp_path / "convcost" / "chapters" / "complexity_precision" / "findings"
        file = own / "precision.py"
        file.write_text(file.read_text() + "#\n")
    current._drawn_by.cache_clear(), current.sources.cache_clear()


def test_two_processes_draw_what_one_does(once, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "specs", four)
    assert figures.redraw_all(tmp_path / "two", processes=2) == (list(NAMES), [])
    for file in once.iterdir():
        assert (tmp_path / "two" / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.parametrize("name", ["03-pruning-differences", "03-zero-rate-recipes"])
def test_a_last_bit_of_the_layout_changes_no_file(tmp_path, monkeypatch, name):
    """What the solver's order in memory does, done on purpose; 10 decimals take it away."""
    from matplotlib import _constrained_layout as layout
    from matplotlib.transforms import Bbox

    results = records.Results()
    figures.save(name, figures.draw(name, results), tmp_path / "plain", results)
    real = layout.reposition_axes

    def shaken(layoutgrids, figure, renderer, **more):
        real(layoutgrids, figure, renderer, **more)
        for axis in figure.axes:
            corners = axis.get_position(original=True).get_points()
            axis._set_position(Bbox(corners * (1 + 4e-16)), which="original")

    monkeypatch.setattr(layout, "reposition_axes", shaken)
    figures.save(name, figures.draw(name, results), tmp_path / "shaken", results)
    monkeypatch.setattr(style, "steady", lambda figure: None)
    figures.save(name, figures.draw(name, results), tmp_path / "unsteady", results)
    plain, kept, moved = (
        (tmp_path / folder / f"{name}.svg").read_bytes()
        for folder in ("plain", "shaken", "unsteady")
    )
    assert plain == kept and plain != moved


def test_the_committed_files_are_those_of_their_provenance():
    for file in paths.FIGURES.glob("*.json"):
        told = json.loads(file.read_text())["files"]
        assert told == {k: records.sha256(file.with_suffix(f".{k}")) for k in ("svg", "png")}, file


# --- where it cannot be written --------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_told_by_name(tmp_path, capsys):
    (tmp_path / "file").touch()
    for place in ("/dev/null", "/proc/figures", str(tmp_path / "file" / "below")):
        assert cli.main(["figures", "--out", place]) == 2
        said = capsys.readouterr().err
        assert f"convcost figures: {place} cannot be written (" in said


def test_no_figure_is_drawn_by_the_code_of_functools():
    """A function with some arguments given is of the module that it is written in."""
    for name, spec in figures.FIGURES.items():
        own = current.ingredients(spec)["drawn_by"]
        assert own != current._drawn_by("functools"), name
