import doctest

import numpy as np
import pandas as pd

from convcost.core import tables


def test_examples_in_docstrings_hold():
    assert doctest.testmod(tables).failed == 0


def test_long_text_is_shown_whole_and_escaped():
    sentence = "a sentence that is longer than fifty characters & has <angle> brackets in it " * 3
    shown = tables.show(pd.DataFrame({"text": [sentence]}))
    html = shown._repr_html_()
    assert "&lt;angle&gt;" in html
    assert "..." not in html
    assert html.count("longer than fifty characters") == 3


def test_numbers_align_right_and_text_left():
    html = tables.show(pd.DataFrame({"net": ["AlexNet"], "macs": [714188480]}))._repr_html_()
    assert '<td align="left" style="text-align: left">AlexNet</td>' in html
    assert '<td align="right" style="text-align: right">714,188,480</td>' in html


def test_missing_values_and_numpy_types():
    assert tables.cell(np.int64(1234)) == "1,234"
    assert tables.cell(np.bool_(False)) == "no"
    assert tables.cell(float("nan")) == "–"
    assert tables.cell(0.5, "{:.3f}") == "0.500"


def test_a_long_table_unfolds_and_loses_no_row():
    for rows, outside in ((tables.LONG, tables.LONG), (tables.LONG + 1, tables.OPEN)):
        shown = tables.show(pd.DataFrame({"net": [f"net {row};" for row in range(rows)]}))
        html = shown._repr_html_()
        seen, _, folded = html.partition("<details>")
        assert [seen.count(f"net {row};") for row in range(rows)] == [1] * outside + [0] * (
            rows - outside
        )
        assert all(html.count(f"net {row};") == 1 for row in range(rows))
        assert (f"{rows - outside} more rows" in folded) == (rows > outside)
        assert folded.count("<th ") == (rows > outside)  # the rest has its own heading
        assert all(f"net {row};" in repr(shown) for row in range(rows))


def test_a_frame_without_rows_says_so_in_words():
    nothing = tables.show(pd.DataFrame({"net": [], "epoch_s": []}), {"epoch_s": "{:.1f}"})
    assert "nothing of this has been measured yet" in repr(nothing)
    html = nothing._repr_html_()
    assert "nothing of this has been measured yet" in html and "<table" not in html
    assert list(nothing.frame.columns) == ["net", "epoch_s"]


def test_the_frame_stays_as_it_was():
    frame = pd.DataFrame({"x": [1.23456789]})
    assert tables.show(frame).frame["x"][0] == 1.23456789
