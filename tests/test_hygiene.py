"""Hygiene: a clean notebook passes, and every single fault is named with its cell."""

import copy
import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from convcost.application import cli, hygiene, notebooks
from convcost.core import paths
from small_notebooks import CARD, notebook

FILE = "notebooks/01-flop-counting.ipynb"
BOX = "# Counting\n\n**Goal** count. **Time** 1 minute. **RAM** 1 GB."


def clean():
    """A notebook as `reproduce --reference` publishes it."""
    made = notebook("x = 1\nx + 1", "print('two')", parameters='profile = "auto"')
    made.cells[0].source = BOX
    made.cells[1:1] = [new_markdown_cell("## Question\n\nHow much?")]
    made.cells += [new_markdown_cell("## Verdict"), new_markdown_cell("## Exercises")]
    for count, (_, cell) in enumerate(notebooks.code_cells(made), 1):
        cell.execution_count = count
    made.cells[3].outputs = [
        new_output("execute_result", data={"text/plain": "2"}, execution_count=2)
    ]
    made.cells[4].outputs = [new_output("stream", name="stdout", text="two\n")]
    return signed(made)


def signed(made):
    """With the mark that the reference run leaves."""
    sha = notebooks.source_sha256(made, code_only=True)
    made.metadata["convcost"]["reference"] = {"profile": "cpu", "code_sha256": sha}
    return made


def complaints(made, file=FILE):
    # not nbformat.writes, which mends faults on its way
    return [str(c) for c in hygiene.check_text(json.dumps(made), file)]


def test_a_clean_notebook_has_no_complaint():
    assert complaints(clean()) == []


def with_code(text):
    made = clean()
    made.cells[4].source = text
    return signed(made)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f():\n    return 1", "defines function f"),
        ("async def f():\n    return 1", "defines function f"),
        ("class A:\n    pass", "defines class A"),
        ("import matplotlib.pyplot as plt", "imports matplotlib"),
        ("from matplotlib import pyplot", "imports matplotlib"),
        ("import seaborn", "imports seaborn"),
        ("import time", "imports time"),
        ("from time import perf_counter", "imports time"),
        ("import timeit", "imports timeit"),
        ("import os", "imports os: import convcost, pandas, IPython.display only"),
        ("import pandas as pd, numpy as np", "imports numpy"),
        ("from torch import nn", "imports torch"),
        ("import IPython", "imports IPython"),
        ("from . import x", "imports ."),
        ("import convcosts", "imports convcosts"),
        (
            "x = [1.42]",
            "types 1.42, which cheng2025 prints (table1_alexnet_gflops): "
            'use convcost.sources.value("cheng2025", "table1_alexnet_gflops")',
        ),
        ("x = -0.1088", "types 0.1088, which ke prints (table_i_f_beta_3)"),
        ("x = 30_720", "types 30_720, which atsumi2020 prints (conv2_multiplications)"),
        ("x = 1.14701e-4", "types 1.14701e-4, which atsumi2020 prints (table_i_conv2_seconds)"),
        ("time.perf_counter()", "reads a timer (perf_counter)"),
        ("time.time()", "reads a timer (time)"),
        ("net.register_forward_hook(f)", "sets a hook (register_forward_hook)"),
        ("net.register_full_backward_hook(f)", "sets a hook"),
        ("read('/home/ada/data.csv')", "absolute path '/home/ada/data.csv'"),
        ("read('/tmp')", "absolute path '/tmp'"),
        ("read('~/data')", "absolute path '~/data'"),
        ("read(r'C:\\data')", "absolute path"),
        ("%timeit f()", "magic or shell line `%timeit f()`"),
        ("!ls", "magic or shell line `!ls`"),
        ("x?", "magic or shell line `x?`"),
        ("x = = 1", "not Python"),
        ("\n".join(["x = 1"] * 16), "16 lines of code"),
    ],
)
def test_what_belongs_into_the_library(code, said):
    found = complaints(with_code(code))
    assert any(line.startswith(f"{FILE}, cell 5: {said}") for line in found), found


@pytest.mark.parametrize(
    "code",
    [
        "\n".join(["x = 1"] * 15),
        "table.time",  # a column that is called time
        "a / b  # /home is only a word here",
        "'macs/s', 'N/A', '/', 'and/or'",
        "print('really?')",
        "[n for n in names if n]",
        "import pandas as pd\nimport convcost.figures\nfrom convcost import sources",
        "from IPython.display import SVG, display\nimport IPython.display",
        "3 * 3 * 64 * 112 * 112, 4096, 224, 0.5, 1e9, 25.4, 2015, True",
        "sources.value('cheng2025', 'table1_alexnet_gflops')",
    ],
)
def test_what_is_allowed(code):
    assert complaints(with_code(code)) == []


def with_output(output):
    made = clean()
    made.cells[4].outputs.append(output)
    return made


def shown(text, kind="text/plain"):
    return with_output(new_output("display_data", data={kind: text}))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            with_output(new_output("error", ename="KeyError", evalue="", traceback=[])),
            "its output is an error (KeyError)",
        ),
        (
            with_output(new_output("stream", name="stderr", text="UserWarning: old\n")),
            "its output holds a warning (`UserWarning: old`)",
        ),
        (shown("in /home/ada/net.pt"), "a path of one machine (/home/ada/net.pt)"),
        (shown("<td>/Users/ada/x</td>", "text/html"), "a path of one machine (/Users/ada/x)"),
        (shown(r"C:\data\x.csv"), "a path of one machine"),
        (shown(f"in {paths.ROOT}/figures"), "a path of one machine"),
        (shown({"file": "/root/x.csv"}, "application/json"), "a path of one machine"),
        (shown("<object at 0x7fa2adcf7dd0>"), "an object's address (at 0x7fa2adcf7dd0)"),
        (shown("x" * 1_000_001), "an output of 1000"),
    ],
)
def test_outputs(made, said):
    found = complaints(made)
    assert any(line.startswith(f"{FILE}, cell 5: ") and said in line for line in found), found


def test_outputs_that_are_fine():
    made = shown("see https://x.org/home/ada/page, figures/tmp/a.svg, 3 / 4, </var>")
    made.cells[4].outputs.append(
        new_output("display_data", data={"image/png": "iVBOR/home/ada/x/tmp/y"})
    )
    assert complaints(made) == []


def _drop(heading):
    def fault(made):
        made.cells = [c for c in made.cells if not c.source.startswith(f"## {heading}")]

    return fault


def _no_parameters(made):
    made.cells[2].metadata = nbformat.from_dict({})
    signed(made)


def _two_parameters(made):
    made.cells[3].metadata["tags"] = ["parameters"]
    signed(made)


def _other_profile(made):
    made.cells[2].source = 'profile = "quick"'
    signed(made)


def _unrun(made):
    made.cells[4].execution_count = None


def _out_of_order(made):
    made.cells[3].execution_count, made.cells[4].execution_count = 3, 2


def _no_outputs(made):
    for _, cell in notebooks.code_cells(made):
        cell.outputs = []


def _never_executed(made):
    for _, cell in notebooks.code_cells(made):
        cell.outputs, cell.execution_count = [], None


def _edited(made):
    made.cells[4].source = "print('three')"


def _never_run(made):
    del made.metadata["convcost"]["reference"]


def _other_kernel(made):
    made.metadata["kernelspec"]["name"] = "conda-env"


def _papermill(made):
    made.metadata["papermill"] = {}


def _run_left(made):
    made.metadata["convcost"]["run"] = {}


def _cell_papermill(made):
    made.cells[3].metadata["papermill"] = {}


def _timing(made):
    made.cells[3].metadata["execution"] = {}


def _injected(made):
    made.cells[3].metadata["tags"] = ["injected-parameters"]


def _same_id(made):
    made.cells[3].id = made.cells[2].id


def _empty_cell(made):
    made.cells.append(new_code_cell(""))


def _no_card(made):
    del made.metadata["convcost"]["minutes"]


def _no_box(made):
    made.cells[0].source = "# Counting"


def _early_verdict(made):
    made.cells[1].source, made.cells[5].source = made.cells[5].source, made.cells[1].source


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (_drop("Question"), "no heading `## Question`"),
        (_drop("Verdict"), "no heading `## Verdict`"),
        (_drop("Exercises"), "no heading `## Exercises`"),
        (_early_verdict, "`## Verdict` comes too early"),
        (_no_box, "its first cell is no top box"),
        (_no_parameters, "no cell is tagged parameters"),
        (_two_parameters, "its parameters are wrong: "),
        (_other_profile, 'no parameter `profile = "auto"`'),
        (_unrun, "cell 5: execution count None, not 3"),
        (_out_of_order, "cell 4: execution count 3, not 2"),
        (_no_outputs, "it has no outputs"),
        (_never_executed, "it has not been run"),
        (_edited, "its code was edited after the reference run"),
        (_never_run, "no reference run made its outputs"),
        (_other_kernel, "its kernel is 'conda-env'"),
        (_papermill, "metadata of a run is left (papermill)"),
        (_run_left, "metadata of a run is left (run)"),
        (_cell_papermill, "cell 4: a run's papermill is left"),
        (_timing, "cell 4: a run's execution is left"),
        (_injected, "cell 4: a run's injected-parameters is left"),
        (_same_id, "cell 4: it has the id"),
        (_empty_cell, "cell 8: an empty code cell"),
        (_no_card, "its card is wrong"),
    ],
)
def test_every_fault_of_a_notebook_is_named(fault, said):
    made = clean()
    fault(made)
    found = complaints(made)
    assert any(said in line for line in found), found


def test_an_unrun_notebook_is_one_complaint_not_one_per_cell():
    made = clean()
    _never_executed(made)
    assert len(complaints(made)) == 1


def test_a_guide_needs_no_argument():
    made = clean()
    made.metadata["convcost"] |= {"parts": "guide"}
    made.cells = [c for c in made.cells if not c.source.startswith("## ")]
    assert complaints(made, "notebooks/00-start-here.ipynb") == []


def test_names_sizes_and_what_is_no_notebook():
    assert "not a name of `convcost.chapters`" in complaints(clean(), "notebooks/09-more.ipynb")[0]
    assert any("3.ipynb" in c for c in complaints(clean(), "01-flop-counting.part3.ipynb"))
    large = clean()
    for cell in large.cells[3:5]:
        cell.outputs += [new_output("stream", name="stdout", text="x" * 900_000)] * 2
    assert any("bytes: show less, at most 3000000 bytes" in line for line in complaints(large))
    assert complaints(clean() | {"cells": [{"cell_type": "code"}]})[0].startswith(
        f"{FILE}: not a valid notebook"
    )
    assert "not a valid notebook" in str(hygiene.check_text("{", FILE)[0])
    raw = json.loads(nbformat.writes(clean()))
    raw["nbformat_minor"] = 4
    for cell in raw["cells"]:
        del cell["id"]
    found = [str(c) for c in hygiene.check_text(json.dumps(raw), FILE)]
    assert len(found) == 7 and all("it has no id" in line for line in found)


def test_nothing_is_changed_by_looking(tmp_path):
    path = tmp_path / "01-flop-counting.ipynb"
    nbformat.write(clean(), path)
    before = path.read_bytes()
    assert hygiene.check(path) == []
    assert path.read_bytes() == before


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    assert cli.main(["hygiene"]) == 1
    assert "it holds no notebook" in capsys.readouterr().out
    path = tmp_path / "01-flop-counting.ipynb"
    nbformat.write(clean(), path)
    assert cli.main(["hygiene"]) == 0
    assert capsys.readouterr().out == "the notebooks are clean\n"
    dirty = copy.deepcopy(clean())
    dirty.cells[4].source = "import time"
    nbformat.write(dirty, path)
    assert cli.main(["hygiene", str(path)]) == 1
    said = capsys.readouterr().out
    assert "cell 5: imports time: time with the instruments of convcost" in said
    assert cli.main(["hygiene", str(tmp_path / "none.ipynb")]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_the_example_card_is_a_right_one():
    assert notebooks.card(notebook(**CARD)).title == CARD["title"]
