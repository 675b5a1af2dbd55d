"""The map of notebook 00, and the README's numbers."""

import re

from convcost import claims, records
from convcost.application import guide
from convcost.chapters.flop_counting import findings as protocols
from convcost.core import machine, paths, registry


def test_readme_shows_the_reference_results():
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- front table[^>]*-->\n(.*?)\n<!-- /front table -->", text, re.S)
    assert block.group(1) == guide.front_table()
    printed = protocols.with_printed(records.read("protocol_totals"))
    assert f"{len(printed):,} printed values" in text


def test_readme_names_every_notebook_and_whether_it_is_built():
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    for chapter in registry.chapters():
        name, question = chapter.notebook, chapter.question
        line = next(line for line in text.splitlines() if question in line)
        built = (paths.NOTEBOOKS / f"{name}.ipynb").exists()
        assert (f"[{name}](notebooks/{name}.ipynb)" in line) == built
        assert line.endswith("| built |" if built else "| planned |")


def test_the_map_has_all_nine_and_every_claim():
    table = guide.notebook_map()
    assert table["notebook"].tolist() == list(registry.names())
    assert table["claims"].sum() == len(claims.ledger())


def test_verdict_counts_add_up():
    counts = guide.verdict_counts().set_index("source")
    sums = counts.drop("all sources").drop(columns="all").to_numpy().sum()
    assert sums == counts.loc["all sources", "all"] == len(claims.ledger())


def test_machine_facts_never_show_a_zero_for_what_is_not_there():
    facts = guide.this_machine().set_index("fact")["value"]
    described = machine.describe()
    assert len(facts) == len(described) > 10
    for key, value in described.items():
        shown = facts[key.removesuffix("_bytes").replace("_", " ")]
        assert (shown == "not available") == (value is None), key
        assert shown not in ("0", "0 B", "nan", "None"), key


def test_what_a_machine_has_not_is_said_in_words(monkeypatch):
    facts = dict.fromkeys(machine.describe()) | {"cores_usable": 2, "ram_bytes": 3 * 2**30}
    monkeypatch.setattr(machine, "describe", lambda: facts)
    shown = guide.this_machine().set_index("fact")["value"]
    assert (shown["cores usable"], shown["ram"]) == ("2", "3.0 GiB")
    assert set(shown.drop(["cores usable", "ram"])) == {"not available"}


def test_effort_lists_the_built_notebooks():
    assert set(guide.effort()["notebook"]) == {p.stem for p in paths.NOTEBOOKS.glob("*.ipynb")}
