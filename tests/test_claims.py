"""The ledger's mechanism, on tables written for the purpose; no torch."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from convcost import claims, records, sources
from convcost.application import cli, notebooks
from convcost.claims import checks, citations
from convcost.claims import verdicts as rules
from convcost.claims.verdicts import (
    NOT_TESTABLE,
    Check,
    Evidence,
    Finding,
    Published,
    Tolerance,
)
from convcost.core import paths
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path / "runs")
    monkeypatch.setattr(paths, "REFERENCE_RESULTS", tmp_path / "results")
    return tmp_path


LENET = {
    "conv1": (24 * 24 * 25 * 6, 24 * 24 * 25 * 6),
    "conv2": (8 * 8 * 25 * 16, 8 * 8 * 25 * 6 * 16),
    "fc120": (16 * 4 * 4 * 120, 16 * 4 * 4 * 120),
    "fc84": (120 * 84, 120 * 84),
    "fc10": (84 * 10, 84 * 10),
}


def write_lenet(where="reference", **changes):
    rows = [
        {"layer": layer, "reading": reading, "multiplications": value}
        for layer, pair in {**LENET, **changes}.items()
        for reading, value in zip(("equation", "exact"), pair, strict=True)
    ]
    run = records.start_run("01-flop-counting", "quick", where=where)
    run.write("lenet_multiplications", rows)


def entry(key):
    return next(e for e in claims.ledger() if e.key == key)


def test_every_published_row_has_an_entry_and_no_entry_is_twice():
    keys = [e.key for e in claims.ledger()]
    rows = [f"{s}/{n}" for s in sources.SOURCES for n in sources.published(s)["name"]]
    assert keys == rows
    assert len(set(keys)) == len(keys)


def test_every_testable_row_of_a_built_notebook_has_a_check():
    built = {path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")}
    assert {"00-start-here", "01-flop-counting"} <= built
    bare = [
        c.key
        for c in claims.claims(checks.all_checks())
        if c.notebook in built and c.testable == "yes" and c.check is None
    ]
    assert bare == []


def test_every_check_points_to_a_heading_of_its_notebook():
    built = {path.stem for path in paths.NOTEBOOKS.glob("*.ipynb")}
    for claim in claims.claims(checks.all_checks()):
        if claim.check is None or claim.notebook not in built:
            continue
        notebook = notebooks.read(paths.NOTEBOOKS / f"{claim.notebook}.ipynb")
        text = "\n".join(c["source"] for c in notebook["cells"] if c["cell_type"] == "markdown")
        assert claim.check.section in text, claim.key


def test_a_check_without_a_row_is_refused():
    check = Check(lambda *_: Finding(1), "nowhere")
    with pytest.raises(BadInputError, match="cheng2025/table9_gflops"):
        claims.claims({"cheng2025/table9_gflops": check})


def test_nothing_is_reproduced_without_results(places):
    by_reading = {c.key for c in claims.ledger() if c.section == "What the references say"}
    by_reading.add("cheng2025/pooling_keeps_maximum")  # what a cited work says needs no run
    by_reading.add("ke/grid_first")  # nor that 1/0 does not exist
    verdicts = {e.verdict for e in claims.ledger() if e.key not in by_reading}
    assert verdicts == {claims.NOT_YET, NOT_TESTABLE}


def test_verdicts_follow_the_numbers(places):
    write_lenet()
    assert entry("atsumi2020/conv1_multiplications").verdict == "reproduced"
    swapped = entry("atsumi2020/conv2_multiplications")
    assert swapped.verdict == "inconsistent in the source"
    assert "25,600" in swapped.reason and "fc120" in swapped.reason
    assert entry("atsumi2020/eq2_fully_connected_multiplications").verdict == "reproduced"
    assert entry("atsumi2020/eq1_convolution_multiplications").verdict == "differs"


def test_other_results_give_other_verdicts(places):
    write_lenet(conv1=(7, 7), fc84=(1, 2))
    conv1 = entry("atsumi2020/conv1_multiplications")
    assert conv1.verdict == "inconsistent in the source"
    assert conv1.reference == 7
    assert entry("atsumi2020/eq2_fully_connected_multiplications").verdict == "differs"


def test_reference_and_own_run_stand_side_by_side(places):
    write_lenet(where="local")
    only_local = entry("atsumi2020/conv1_multiplications")
    assert only_local.reference is None and only_local.verdict == claims.NOT_YET
    assert only_local.this_run == 86_400 and only_local.verdict_this_run == "reproduced"
    assert only_local.says == ""  # there is nothing yet to agree with
    write_lenet()
    both = entry("atsumi2020/conv1_multiplications")
    assert (both.reference, both.this_run, both.says) == (86_400, 86_400, "agrees")


def test_results_of_before_a_check_was_added_do_not_stop_the_ledger(places):
    run = records.start_run("01-flop-counting", "quick", where="reference")
    run.write("net_facts", [{"fact": "vgg_kernel_px", "value": 3, "detail": "one fact only"}])
    assert entry("cheng2025/vgg_kernel_px").verdict == "reproduced"
    later = entry("cheng2025/vgg_layers_min")
    assert later.verdict == claims.NOT_YET and "vgg16_weighted_layers" in later.reason


def test_the_reference_run_shows_no_results_of_its_own(places, monkeypatch):
    write_lenet(where="local")
    write_lenet()
    monkeypatch.setenv("CONVCOST_REFERENCE", "1")
    found = entry("atsumi2020/conv1_multiplications")
    assert found.reference == 86_400 and found.this_run is None


def _on(machine, monkeypatch, **changes):
    monkeypatch.setattr(records.machine, "slug", lambda: machine)
    write_lenet(**changes)


def test_the_first_machine_that_has_what_a_check_needs_is_judged_and_named(places, monkeypatch):
    conv1 = "atsumi2020/conv1_multiplications"
    _on("b-machine", monkeypatch)
    alone = entry(conv1)
    assert alone.verdict == "reproduced" and "b-machine" not in alone.reason
    monkeypatch.setattr(records.machine, "slug", lambda: "a-machine")
    run = records.start_run("01-flop-counting", "quick", where="reference")
    run.write("net_facts", [{"fact": "vgg_kernel_px", "value": 3, "detail": "no multiplication"}])
    both = entry(conv1)
    assert (both.reference, both.verdict) == (alone.reference, alone.verdict)
    assert both.reason == (f"on b-machine: {alone.reason}" if alone.reason else "on b-machine")
    assert entry("cheng2025/vgg_kernel_px").reason.startswith("on a-machine")
    later = entry("cheng2025/vgg_layers_min")  # neither has it, and each says why
    assert later.verdict == claims.NOT_YET
    assert "on a-machine: the stored results have no" in later.reason
    assert "on b-machine" in later.reason


def test_of_two_machines_that_can_tell_the_first_one_does(places, monkeypatch):
    _on("b-machine", monkeypatch)
    _on("a-machine", monkeypatch, conv1=(7, 7))
    assert entry("atsumi2020/conv1_multiplications").reference == 7
    named = claims.ledger(machine="b-machine")
    (conv1,) = (e for e in named if e.key == "atsumi2020/conv1_multiplications")
    assert conv1.reference == 86_400 and "b-machine" in conv1.reason


def test_a_machine_with_the_real_set_comes_before_one_with_a_stand_in(places, monkeypatch):
    monkeypatch.setattr(records.machine, "slug", lambda: "a-machine")
    _datasets(1_447, stand_in=True)
    monkeypatch.setattr(records.machine, "slug", lambda: "c-machine")
    records.start_run("01-flop-counting", "quick", where="reference").write(
        "net_facts", [{"fact": "vgg_kernel_px", "value": 3, "detail": "another table"}]
    )
    found = entry("cheng2025/fashionmnist_train_images")
    assert found.verdict == "not tested: data set not available"
    assert "a-machine" in found.reason
    monkeypatch.setattr(records.machine, "slug", lambda: "b-machine")
    _datasets(60_000)
    found = entry("cheng2025/fashionmnist_train_images")
    assert (found.reference, found.verdict) == (60_000, "reproduced")
    assert found.reason == "on b-machine"


def test_a_damaged_run_of_ones_own_does_not_stop_the_ledger_a_damaged_reference_does(places):
    write_lenet()
    write_lenet(where="local")
    (own,) = (places / "runs").rglob("lenet_multiplications.csv")
    own.write_bytes(own.read_bytes()[:-9])
    found = entry("atsumi2020/conv1_multiplications")
    assert found.verdict == "reproduced"
    assert found.verdict_this_run == claims.NOT_YET and found.says == ""
    (reference,) = (places / "results").rglob("lenet_multiplications.csv")
    reference.write_bytes(reference.read_bytes()[:-9])
    with pytest.raises(DamagedFileError, match="restore it from git"):
        claims.ledger()


def _misspelt(results, published, name):
    return Finding(int(results.table("lenet_multiplications")["multiplicatoins"].iloc[0]))


def _beyond_the_end(results, published, name):
    return Finding(int(results.table("lenet_multiplications")["multiplications"].iloc[99]))


@pytest.mark.parametrize("wrong", [_misspelt, _beyond_the_end])
def test_a_wrong_check_is_an_error_of_the_reference_and_named(places, monkeypatch, wrong):
    """It was "not tested yet", and a misspelling lost a verdict without a word."""
    key = "atsumi2020/conv1_multiplications"
    every = checks.all_checks()
    monkeypatch.setattr(checks, "all_checks", lambda: every | {key: Check(wrong, "somewhere")})
    write_lenet()
    with pytest.raises(ConvcostError, match=f"check of {key} fails on table lenet_mult") as caught:
        claims.ledger()
    assert isinstance(caught.value.__cause__, KeyError | IndexError)
    (reference,) = (places / "results").iterdir()
    reference.rename(places / "elsewhere")
    write_lenet(where="local")  # a run of one's own may be older than the check
    found = entry(key)
    assert found.verdict == claims.NOT_YET and "make reproduce" in evaluate_local(key)


def evaluate_local(key):
    claim = next(c for c in claims.claims(checks.all_checks()) if c.key == key)
    return claims.evaluate(claim, records.Results("local")).reason


def test_rows_that_a_reference_lacks_are_not_tested_yet_in_words(places):
    write_lenet()
    records.start_run("01-flop-counting", "quick", where="reference").write(
        "net_facts", [{"fact": "vgg_kernel_px", "value": 3, "detail": "another fact"}]
    )
    found = entry("cheng2025/vgg_layers_min")
    assert found.verdict == claims.NOT_YET
    assert found.reason == (
        "the stored results have no fact vgg16_weighted_layers: run `make reproduce` again"
    )


# --- damage of one's own run -----------------------------------------------------------------


def _said(capsys, *arguments):
    status = cli.main(["claims", "--source", "atsumi2020", *arguments])
    return status, capsys.readouterr()


@pytest.mark.parametrize("damage", ["table", "record", "manifest", "removed"])
def test_the_command_names_what_is_damaged_and_fails(places, capsys, damage):
    write_lenet()
    write_lenet(where="local", fc84=(1, 2))
    assert _said(capsys)[0] == 0
    (table,) = (places / "runs").rglob("lenet_multiplications.csv")
    (record,) = table.parent.glob("runs/*.json")
    broken = {"table": table, "removed": table, "record": record}.get(
        damage, table.parent / "manifest.json"
    )
    if damage == "table":
        table.write_bytes(table.read_bytes()[:-9])
    else:
        broken.unlink()
    for arguments in ((), ("--json",)):
        status, said = _said(capsys, *arguments)
        assert status == 1
        assert str(broken) in said.err and "make reproduce" in said.err
        assert "the reference's verdicts stand in" in said.err
        assert "data set not available" not in said.out + said.err
    assert len(json.loads(said.out)) == len(sources.published("atsumi2020"))


def test_a_reference_without_its_record_or_manifest_is_named(places, capsys):
    write_lenet()
    (record,) = (places / "results").rglob("runs/*.json")
    content = record.read_bytes()
    record.unlink()
    status, said = _said(capsys)
    assert status == 2 and f"its run record is missing ({record})" in said.err
    assert cli.main(["figures", "--out", str(places / "out")]) == 2
    assert f"its run record is missing ({record})" in capsys.readouterr().err
    record.write_bytes(content)
    (record.parents[1] / "manifest.json").unlink()
    status, said = _said(capsys)
    assert status == 2 and "manifest.json is missing, so nothing says" in said.err


def test_the_command_says_that_runs_are_mixed(places, capsys):
    write_lenet()
    write_lenet(where="local")
    assert "mixed" not in _said(capsys)[1].err
    records.start_run("01-flop-counting", "cpu", where="local").write(
        "net_facts", [{"fact": "vgg_kernel_px", "value": 3, "detail": "another run"}]
    )
    status, said = _said(capsys)
    assert status == 0
    (line,) = said.err.splitlines()
    assert line.startswith("mixed runs: 01-flop-counting on ") and "01-cpu-" in line


def test_a_run_of_ones_own_never_overrules_the_reference(places):
    write_lenet()
    write_lenet(where="local", fc84=(1, 2))
    found = entry("atsumi2020/eq2_fully_connected_multiplications")
    assert (found.verdict, found.verdict_this_run) == ("reproduced", "differs")
    assert found.says == "disagrees"  # the reference of this test is no larger than the run
    html = claims.view([found])._repr_html_()
    assert "disagrees" in html and "this run" in html


def _of_profile(profile, where, **changes):
    rows = [
        {"layer": layer, "reading": reading, "multiplications": value}
        for layer, pair in {**LENET, **changes}.items()
        for reading, value in zip(("equation", "exact"), pair, strict=True)
    ]
    records.start_run("01-flop-counting", profile, where=where).write("lenet_multiplications", rows)


@pytest.mark.parametrize(
    ("reference", "own", "counts", "says"),
    [
        ("cpu", "quick", {}, "agrees"),
        ("cpu", "quick", {"fc84": (1, 2)}, "too small to say"),
        ("cpu", "cpu", {"fc84": (1, 2)}, "disagrees"),
        ("cpu", "gpu", {"fc84": (1, 2)}, "disagrees"),
        ("quick", "quick", {"fc84": (1, 2)}, "disagrees"),
    ],
)
def test_what_a_run_says_of_the_verdict_depends_on_its_size(places, reference, own, counts, says):
    _of_profile(reference, "reference")
    _of_profile(own, "local", **counts)
    found = entry("atsumi2020/eq2_fully_connected_multiplications")
    assert (found.verdict, found.says) == ("reproduced", says)


def test_a_count_is_the_same_at_every_scale(places):
    _of_profile("cpu", "reference")
    _of_profile("quick", "local", conv1=(7, 7))
    assert entry("atsumi2020/conv1_multiplications").says == "disagrees"


def _datasets(images, stand_in=False, asked="fashionmnist", where="reference"):
    row = {
        "asked": asked, "name": "digits" if stand_in else asked, "images": images, "channels": 1,
        "height_px": 28, "width_px": 28, "classes": 10, "largest_class_fraction": 0.1,
        "origin": "data/raw", "is_stand_in": stand_in, "content_sha256": "0",
    }  # fmt: skip
    rows = [row | {"split": "train"}, row | {"split": "test", "images": 10_000}]
    run = records.start_run("00-start-here", "quick", data=rows, where=where)
    run.write("datasets", rows)


def test_a_stand_in_never_tests_a_claim_about_the_real_set(places):
    _datasets(60_000, stand_in=True)
    found = entry("cheng2025/fashionmnist_train_images")
    assert found.verdict == "not tested: data set not available"
    assert found.reference is None


def test_a_users_stand_in_is_said_beside_a_reference_with_the_real_set(places):
    _datasets(60_000)
    _datasets(1_447, stand_in=True, where="local")
    found = entry("cheng2025/fashionmnist_train_images")
    assert found.verdict == "reproduced"
    assert found.verdict_this_run == "not tested: data set not available"
    assert found.this_run is None
    assert (found.reference, found.says) == (60_000, "")


def test_the_real_set_does(places):
    _datasets(60_000)
    assert entry("cheng2025/fashionmnist_train_images").verdict == "reproduced"
    assert entry("cheng2025/fashionmnist_images").reference == 60_000 + 10_000
    _datasets(59_999)
    assert entry("cheng2025/fashionmnist_train_images").verdict == "differs"


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (Finding(86_400), "reproduced"),
        (Finding(86_401), "differs"),
        (Finding(86_400, protocol="X"), "reproduced under protocol X"),
        (Finding(1, agrees=True), "reproduced"),
        (Finding(86_400, agrees=False), "differs"),
        (Finding(86_400, contradiction="1 is not 2"), "inconsistent in the source"),
        (Finding(86_400, cited="another thing"), "contradicts its citation"),
        (Finding(86_400, undecided="more seeds"), "undecided"),
        (Finding(86_400, undecidable="no seeds", undecided="more seeds"), "not testable here"),
        (Finding(86_400, contradiction="1 is not 2", undecided="x"), "inconsistent in the source"),
    ],
)
def test_verdict_of_a_finding(finding, verdict):
    claim = next(
        c for c in claims.claims(checks.all_checks())
        if c.key == "atsumi2020/conv1_multiplications"
    )  # fmt: skip
    claim = replace(claim, check=Check(lambda *_: finding, "somewhere"))
    assert claims.evaluate(claim, records.Results()).verdict == verdict
    assert claims.family(verdict) in claims.VERDICTS


def test_tolerances():
    assert Tolerance("", absolute=0.005).agrees(1.42, 1.425)
    assert not Tolerance("", absolute=0.005).agrees(1.42, 1.4250001)
    assert Tolerance("", relative=0.05).agrees(60_000, 63_000)
    assert not Tolerance("", relative=0.05).agrees(60_000, 63_001)
    assert str(Tolerance("", 0.5)) == "± 0.5" and str(Tolerance("")) == "equal"
    assert str(Tolerance("one digit", 0.5)) == "± 0.5: one digit"  # the whole rule in one cell
    assert str(rules.holds("it does", "by eye")) == "holds where it does: by eye"


# --- one rule for all --------------------------------------------------------------------------


def test_a_threshold_inside_the_interval_decides_nothing():
    assert rules.above(0.1, 0.2) == {"agrees": True, "undecided": None}
    assert rules.above(-0.2, -0.1) == {"agrees": False, "undecided": None}
    open_ = rules.above(-0.1, 0.2, more="more nets")
    assert (
        not open_["agrees"] and "0 lies inside the interval from -0.1 to 0.2" in open_["undecided"]
    )
    assert "more nets" in open_["undecided"]
    assert rules.above(1, 3, 3)["undecided"]  # on the edge is inside
    assert "no interval yet" in rules.above(float("nan"), float("nan"))["undecided"]


def test_wilsons_interval_against_the_formula():
    for hits, count in ((72, 100), (0, 5), (5, 5)):
        z, p = 1.959963984540054, hits / count
        middle = (p + z * z / (2 * count)) / (1 + z * z / count)
        half = z / (1 + z * z / count) * (p * (1 - p) / count + z * z / (4 * count**2)) ** 0.5
        assert rules.wilson(hits, count) == pytest.approx((middle - half, middle + half))
    assert all(end != end for end in rules.wilson(0, 0))


@pytest.mark.parametrize(
    ("hits", "count", "agrees", "open_"),
    [(72, 100, True, False), (28, 100, False, False), (55, 100, False, True), (3, 3, False, True)],
)
def test_what_one_net_did_is_reproduced_where_most_of_ours_do_it(hits, count, agrees, open_):
    told = rules.share_of([True] * hits + [False] * (count - hits), "nets")
    assert (told["agrees"], bool(told["undecided"])) == (agrees, open_)
    assert told["evidence"].count == count and "Wilson" in str(told["evidence"])


def test_evidence_reads_as_one_line():
    told = Evidence(100, "nets", 1.0, 2.5, "95 %", stable=False, tried=14, by_chance=0.2)
    assert str(told) == "100 nets; 1 to 2.5, 95 %; not stable; 14 tried, 0.2 fit by chance"
    assert str(Evidence()) == ""
    assert rules.too_few(2, "seeds") == "2 seeds; 3 are needed at least"
    assert rules.too_few(3, "seeds") is None


def test_every_checked_row_tells_its_whole_rule():
    bare = [
        c.key for c in claims.claims(checks.all_checks()) if c.check and not str(c.check.tolerance)
    ]
    assert bare == []


def test_scores_count_claims_and_twins_once():
    every = claims.ledger()
    counted = claims.counted(every)
    assert {e.kind for e in counted} == {"claim"}
    assert not {e.key for e in counted} & {e.key for e in every if e.same_as}
    twins = {e.key: e.same_as for e in every if e.same_as}
    assert twins["cheng2025-abstract/abstract_deeper_costs_more"] == (
        "cheng2025/abstract_deeper_costs_more"
    )
    assert not set(twins.values()) & set(twins)  # a twin's twin would count for nobody


def test_definitions_and_settings_are_no_claims():
    kinds = {e.key: e.kind for e in claims.ledger()}
    assert kinds["cheng2025/eq1_fully_connected_macs"] == "definition"
    assert kinds["ke/omega_f_1"] == "setting"
    assert kinds["cheng2025/alexnet_year"] == "history"
    assert kinds["cheng2025/int8_speedup"] == "cited"
    restored = entry("cheng2025/eq2_convolution_macs")
    assert restored.verdict.startswith("reproduced under protocol as restored")


def test_a_citation_that_says_another_thing_is_named_with_its_place():
    found = entry("cheng2025/tinybert_performance_percent")
    assert found.verdict == "contradicts its citation"
    assert "more than 96.8 percent" in found.reason and "abstract" in found.reason
    assert entry("cheng2025/tinybert_speedup").verdict.endswith("not measured")


def test_every_citation_belongs_to_a_row_and_is_checked():
    rows = {f"{s}/{n}" for s in sources.SOURCES for n in sources.published(s)["name"]}
    assert set(citations.table().index) <= rows
    by_reading = {k for k, c in checks.all_checks().items() if c.compute is citations.compare}
    assert by_reading == set(citations.table().index)


def test_a_twin_of_no_row_is_refused(monkeypatch):
    frame = sources.published("ke")
    frame.loc[0, "same_as"] = "ke/nobody"
    monkeypatch.setattr(sources, "published", lambda key: frame if key == "ke" else _rows(key))
    with pytest.raises(BadInputError, match="twins of rows that are not there"):
        claims.claims({})


_rows = sources.published


def test_published_values_come_from_the_files():
    assert Published("geifman")("dsc_total_macs") == 7_225_344 + 102_760_448
    assert Published("cheng2025").text("table1_densenet_gflops") == "15.7"


def test_unknown_filters_list_the_valid_ones():
    for wrong in (
        {"source": "chang"}, {"verdict": "true"}, {"notebook": "99"}, {"kind": "rumour"},
    ):  # fmt: skip
        with pytest.raises(BadInputError, match=r"choose one of|belongs to notebook"):
            claims.ledger(**wrong)


def test_filters_choose(places):
    write_lenet()
    found = claims.ledger(source="atsumi2020", verdict="inconsistent in the source", notebook="01")
    assert [e.key for e in found] == [
        "atsumi2020/conv2_multiplications",
        "atsumi2020/fc120_multiplications",
    ]


def test_command_line_gives_json_with_the_agreed_keys():
    done = subprocess.run(
        [sys.executable, "-m", "convcost", "claims", "--source", "geifman", "--json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)
    assert len(entries) == len(sources.published("geifman"))
    for key in (
        "key", "source", "locator", "kind", "form", "same_as", "note", "statement", "published",
        "unit", "reference", "this_run", "says", "tolerance", "verdict", "reason", "remark",
        "evidence", "machine", "notebook",
    ):  # fmt: skip
        assert key in entries[0], key


def test_command_line_refuses_an_unknown_source():
    done = subprocess.run(
        [sys.executable, "-m", "convcost", "claims", "--source", "nobody"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert "cheng2025" in done.stderr and "Traceback" not in done.stderr


def test_view_is_a_table_for_people(places):
    write_lenet()
    html = claims.view(claims.ledger(notebook="01"))._repr_html_()
    assert "86,400" in html and "inconsistent in the source" in html


def test_a_card_tells_what_is_printed_ours_and_the_rule_and_escapes_it(places):
    write_lenet()
    found = replace(entry("atsumi2020/conv1_multiplications"), statement="More than <b> & less.")
    card = claims.view([found])._repr_html_()
    line, _, behind = card.partition("</summary>")
    assert "✓ reproduced" in line and "More than &lt;b&gt; &amp; less." in line
    assert "[published 86400 multiplications; ours 86,400]" in line
    assert "equal: an exact count" in behind and "atsumi2020, Section III.B" in behind
    assert "<style" not in card and "<script" not in card and "style=" not in card
    text = repr(claims.view([found]))
    assert text.startswith("✓ reproduced: More than <b> & less.") and "    rule: equal" in text
    assert repr(claims.view([])) == "No rows: nothing of this has been measured yet."


def test_what_nothing_can_test_is_folded_at_the_end():
    html = claims.view(claims.ledger(notebook="02"))._repr_html_()
    shown, _, folded = html.partition("settings, definitions and facts of history")
    assert "The memory was DDR5." in folded and "The memory was DDR5." not in shown
    assert "[published DDR5]" in folded  # a name has no unit
    assert "AlexNet took 230.77 s" in shown
    assert html.count("<details>") == html.count("</details>")
