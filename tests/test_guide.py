"""The map of notebook 00, and the README's numbers."""

import re
from collections import Counter

import pytest

from convcost import claims, records, sources
from convcost.application import guide
from convcost.chapters.flop_counting import findings as protocols
from convcost.core import machine, paths, registry


@pytest.fixture(scope="module")
def ledger():
    return claims.ledger()


def test_readme_shows_the_reference_results():
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- front table[^>]*-->\n(.*?)\n<!-- /front table -->", text, re.S)
    assert block.group(1) == guide.front_table()
    tried, by_chance = protocols.joint_protocols(records.read("protocol_totals"))
    assert f"Of {tried:,} protocols" in text and f"{by_chance:.6f} such hits" in text


def test_readme_names_every_notebook_and_whether_it_is_built():
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    for chapter in registry.chapters():
        name, question = chapter.notebook, chapter.question
        line = next(line for line in text.splitlines() if question in line)
        built = (paths.NOTEBOOKS / f"{name}.ipynb").exists()
        assert (f"[{name}](notebooks/{name}.ipynb)" in line) == built
        assert line.endswith("| built |" if built else "| planned |")


def test_the_map_has_every_notebook_and_every_claim(ledger):
    table = guide.notebook_map().set_index("notebook")
    assert table.index.tolist() == list(registry.names()) and len(table) == 9
    claimed = Counter(entry.notebook for entry in ledger)
    told = Counter(e.notebook for e in ledger if e.verdict != "not tested yet")
    assert table["statements"].to_dict() == {name: claimed[name] for name in table.index}
    counted = Counter(entry.notebook for entry in claims.counted(ledger))
    assert table["claims"].to_dict() == {name: counted[name] for name in table.index}
    assert table["with a verdict"].to_dict() == {name: told[name] for name in table.index}
    built = {path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")}
    assert set(table.index[table["state"] == "built"]) == built


def test_verdict_counts_are_those_of_the_ledger(ledger):
    counts = guide.verdict_counts().set_index("source")
    scored = claims.counted(ledger)
    counted = Counter((entry.source, claims.family(entry.verdict)) for entry in scored)
    assert {
        (source, verdict): counts.loc[source, verdict]
        for source in counts.index.drop("all sources")
        for verdict in counts.columns.drop("all")
        if counts.loc[source, verdict]
    } == counted
    assert counts.loc["all sources", "all"] == len(scored) < len(ledger)
    (reproduced,) = (counts.loc["all sources", v] for v in counts if v == "reproduced")
    assert reproduced == sum(n for (_, verdict), n in counted.items() if verdict == "reproduced")


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


def test_kinds_are_those_of_the_published_rows(ledger):
    counts = guide.kind_counts().set_index("source")
    for source in sources.SOURCES:
        own = sources.published(source)
        told = counts.loc[source].drop("say the same as another").to_dict()
        assert told == {kind: (own["kind"] == kind).sum() for kind in sources.KINDS}
    assert counts.loc["all sources"].drop("say the same as another").sum() == len(ledger)
