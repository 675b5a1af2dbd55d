"""The code behind a unit: where it changes the unit is done again, and where only words do, not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convcost import sweep
from convcost.core.paths import LIBRARY
from convcost.sweep import code, store
from convcost.sweep.unit import Unit, units

MODULES = {
    "shop": '''"""Prices."""
from stock import goods
from stock.goods import price as asked
import unused

RATE = 2
NAMES = {}


def register(function):
    NAMES[function.__name__] = function
    return function


def total(n):
    """What n of them cost."""
    # in whole coins
    return [{"total": asked(n) * RATE + goods.FEE}]


@register
def other(n):
    return [{"total": n}]


def plan():
    return [{"n": 3}]
''',
    "stock/__init__": "",
    "stock/goods": '"""Goods."""\nFEE = 1\nSPARE = 7\n\n\ndef price(n):\n    return 10 * n\n',
    "unused": "LEVEL = 1\n",
}


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with a function's modules, to be changed; it is in sys.path."""
    folder = tmp_path / "shop"
    for name, text in MODULES.items():
        file = folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in ("shop", "stock", "stock.goods", "unused"):
        sys.modules.pop(name, None)


def edited(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


WORDS = [
    ("shop", "# in whole coins", "# in coins, and whole ones"),
    ("shop", '"""What n of them cost."""', '"""Their price."""'),
    ("shop", "total(n):\n", "total(\n    n,\n):\n\n"),
    ("stock/goods", '"""Goods."""', ""),
]
ELSEWHERE = [
    ("shop", '[{"n": 3}]', '[{"n": 4}]'),  # a plan is no part of what is planned
    ("shop", "import unused\n", ""),
    ("unused", "1", "2"),
    ("stock/goods", "SPARE = 7", "SPARE = 8"),
]
CHANGES = [
    ("shop", "RATE = 2", "RATE = 3"),
    ("shop", "asked(n) * RATE", "asked(n) + RATE"),
    ("shop", "price as asked", "FEE as asked"),
    ("stock/goods", "10 * n", "11 * n"),
    ("stock/goods", "FEE = 1", "FEE = 1.0"),
    ("stock/goods", "FEE = 1", "FEE = 1\nprint()"),  # what is done when it is loaded
]


@pytest.mark.parametrize(
    ("module", "old", "new", "changes"),
    [(*one, False) for one in WORDS + ELSEWHERE] + [(*one, True) for one in CHANGES],
)
def test_what_a_function_does_counts_and_nothing_else(shop, module, old, new, changes):
    before = code.of("shop:total", str(shop))
    assert len(before) == 64
    edited(shop / f"{module}.py", old, new)
    assert (code.of("shop:total", str(shop)) != before) == changes


def test_a_changed_function_is_done_again_and_a_line_says_so(shop, tmp_path):
    def swept():
        lines = []
        done = sweep.run(
            "shop:total", [{"n": 3}, {"n": 4}], tmp_path / "out", workers=1, progress=lines.append
        )
        return done.rows.total.tolist(), done.units.reused.tolist(), lines

    assert swept()[:2] == ([3 * 10 * 2 + 1, 4 * 10 * 2 + 1], [False, False])
    edited(shop / "stock" / "goods.py", '"""Goods."""', '"""What is sold."""')
    assert swept() == ([61, 81], [True, True], [])
    edited(shop / "stock" / "goods.py", "10 * n", "11 * n")
    totals, reused, lines = swept()
    assert (totals, reused) == ([3 * 11 * 2 + 1, 4 * 11 * 2 + 1], [False, False])
    assert lines[0] == "shop:total: 2 stored units set aside, their code has changed"
    assert len(list((tmp_path / "out").glob("*.json"))) == 4  # older results stay
    edited(shop / "stock" / "goods.py", "11 * n", "10 * n")
    assert swept() == ([61, 81], [True, True], [])  # and count again with their code


def test_a_result_of_other_code_may_be_accepted(shop, tmp_path):
    done = sweep.run("shop:total", [{"n": 3}], tmp_path, here=True, progress=None)
    (file,) = tmp_path.glob("*.json")
    assert store.accepted(file.read_bytes(), file.name) == (file.stem, file.read_bytes())
    edited(shop / "shop.py", "RATE = 2", "RATE = 3")
    key, content = store.accepted(file.read_bytes(), file.name)
    (now,) = units("shop:total", [{"n": 3}], None)
    assert key == now.key != file.stem == done.units.key[0]
    record = store.checked(content, key)
    before = store.checked(file.read_bytes(), file.name)
    assert record == before | {"code": now.code, "done_by": before["code"]}
    assert Unit.of(record).key == key


def test_what_has_no_source_has_no_code():
    assert code.of("builtins:dict", None) is None
    assert code.of("nowhere:f", None) is None


# --- the library -----------------------------------------------------------------------------

STUDIES = {
    "trained": "convcost.chapters.complexity_precision.study",
    "timed": "convcost.chapters.complexity_precision.study",
    "loops_of": "convcost.chapters.training_time.study",
    "peaks_of": "convcost.chapters.training_time.study",
    "zeros_of_net": "convcost.chapters.relu_zero_rates.study.measurements",
}

CLOCKED = {"timed", "peaks_of"}
STUDY = "chapters/complexity_precision/study/__init__.py"
UNITS = "chapters/complexity_precision/study/units.py"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copied library: codes of its functions, asked from outside, before and after an edit."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(LIBRARY, folder / "convcost", ignore=shutil.ignore_patterns("__pycache__"))

    def codes() -> dict[str, str]:
        functions = [f"{module}:{name}" for name, module in STUDIES.items()]
        script = (
            "import sys, time\nfrom convcost.sweep import code\n"
            "began = time.process_time()\n"
            "print(*(code.of(name, None) for name in sys.argv[1:]))\n"
            "print(time.process_time() - began, 'torch' in sys.modules)"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script, *functions],
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        hashes, told = ran.stdout.splitlines()
        codes.seconds, codes.torch = told.split()
        return dict(zip(STUDIES, hashes.split(), strict=True))

    codes.folder = folder / "convcost"
    codes.before = codes()
    return codes


def test_the_code_of_five_functions_is_had_without_torch_in_a_moment(copy):
    assert copy.torch == "False"
    assert float(copy.seconds) < 1.0  # about 0.3 s where nothing else runs


@pytest.mark.parametrize(
    ("file", "old", "new", "redone"),
    [
        ("measuring/timing/measure.py", None, "\nWARM_UP_S = 3.0\n", CLOCKED),
        ("nets/own.py", None, "\nWIDTH = 3\n", set(STUDIES)),
        ("core/units.py", "FLOPS_PER_MAC = 2", "FLOPS_PER_MAC = 1", CLOCKED),
        ("measuring/timing/measure.py", None, "\n# a remark\n", set()),
        ("records/__init__.py", None, "\nOTHER = 1\n", set()),
        ("sweep/driver.py", None, "\nOTHER = 1\n", set()),
        (STUDY, "DRAWN_FROM = 2025", "DRAWN_FROM = 1", set()),
        (UNITS, "tests=False", "tests=True", {"trained"}),
    ],
)  # fmt: skip
def test_what_counts_of_the_library(copy, file, old, new, redone):
    path = copy.folder / file
    text = path.read_text()
    assert old is None or text.count(old) == 1
    try:
        path.write_text(text + new if old is None else text.replace(old, new))
        now = copy()
    finally:
        path.write_text(text)
    changed = {name for name in STUDIES if now[name] != copy.before[name]}
    assert changed == redone
