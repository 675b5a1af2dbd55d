import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import pandas as pd
import pytest

from convcost import records
from convcost.core import paths
from convcost.core.errors import BadInputError, DamagedFileError

ROWS = [
    {"net": "alexnet", "params": 61_100_840, "how": "traced"},
    {"net": "vgg16", "params": 138_357_544, "how": "traced"},
]


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path / "runs")
    monkeypatch.setattr(paths, "REFERENCE_RESULTS", tmp_path / "results")
    monkeypatch.delenv("CONVCOST_REFERENCE", raising=False)
    return tmp_path


def start(**options):
    return records.start_run("01-flop-counting", "quick", seeds=[0, 1], **options)


def test_what_is_written_is_read_back(places):
    run = start()
    run.write("parameter_counts", ROWS)
    table = records.read("parameter_counts", where="local")
    assert table["params"].tolist() == [61_100_840, 138_357_544]
    assert set(table["run_id"]) == {run.run_id}
    record = records.Results("local").record("parameter_counts")
    assert record["seeds"] == [0, 1]
    assert record["profile"] == "quick"
    assert record["machine"] == run.machine


def test_a_users_run_leaves_the_reference_alone(places):
    start().write("parameter_counts", ROWS)
    assert not (places / "results").exists()
    with pytest.raises(records.MissingTableError, match="make reproduce"):
        records.read("parameter_counts")


def test_reference_runs_are_chosen_by_the_environment(places, monkeypatch):
    monkeypatch.setenv("CONVCOST_REFERENCE", "1")
    start().write("parameter_counts", ROWS)
    assert records.read("parameter_counts")["net"].tolist() == ["alexnet", "vgg16"]
    assert not (places / "runs").exists()


def test_a_second_run_replaces_the_table_and_its_record(places):
    first = start()
    first.write("parameter_counts", ROWS)
    second = start()
    second.run_id = second.record["run_id"] = "later"
    second.write("parameter_counts", ROWS[:1])
    assert len(records.read("parameter_counts", where="local")) == 1
    kept = [p.stem for p in (second.folder / "runs").glob("*.json")]
    assert kept == ["later"]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"net": "a", "how": "traced"}], "lack params"),
        ([{"net": "a", "params": -1, "how": "traced"}], "params"),
        ([{"net": "a", "params": 1.5, "how": "traced"}], "params"),
        ([{"net": "a", "params": "many", "how": "traced"}], "params"),
        ([ROWS[0], ROWS[0]], "unique"),
        ([{"net": None, "params": 1, "how": "traced"}], "net"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_written(places, rows, complaint):
    with pytest.raises(DamagedFileError, match=complaint):
        start().write("parameter_counts", rows)
    assert not list(places.rglob("*.csv"))


def test_unknown_names_list_the_valid_ones(places):
    with pytest.raises(BadInputError, match="parameter_counts"):
        records.read("no_such_table")
    with pytest.raises(BadInputError, match="reference"):
        records.read("parameter_counts", where="elsewhere")


@pytest.mark.parametrize("damage", ["flip", "truncate", "hand edit"])
def test_a_damaged_table_is_named(places, damage):
    path = start().folder
    start().write("parameter_counts", ROWS)
    path = next(path.glob("*.csv"))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
    elif damage == "truncate":
        content = content[:-10]
    else:
        content = content.replace(b"61100840", b"61100841")
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"parameter_counts\.csv is not the file"):
        records.read("parameter_counts", where="local")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{half", "is not JSON"),
        ("[]", "is not JSON of an object"),
        ('{"parameter_counts": []}', "has no sha256, run_id and rows of 'parameter_counts'"),
        (
            '{"parameter_counts": {"sha256": "0", "run_id": "a", "rows": 1, "before": [3]}}',
            "has no sha256, run_id and rows of 'parameter_counts'",
        ),
    ],
)
def test_a_manifest_that_is_none_is_named(places, content, said):
    run = start()
    run.write("parameter_counts", ROWS)
    (run.folder / "manifest.json").write_text(content)
    with pytest.raises(DamagedFileError, match=rf"manifest\.json {said}"):
        records.read("parameter_counts", where="local")


def test_numbers_survive_the_file_exactly(places):
    rows = [
        {"fact": "third", "value": 1 / 3, "detail": "NA"},
        {"fact": "x", "value": 1e-300, "detail": "-"},
    ]
    start().write("net_facts", rows)
    table = records.read("net_facts", where="local")
    assert table["value"].tolist() == [1 / 3, 1e-300]
    assert table["detail"].tolist() == ["NA", "-"]  # a text that looks missing is a text


def test_a_full_disk_leaves_the_old_table(places):
    """The limit on file size makes the kernel refuse the write, as a full disk does."""
    start().write("parameter_counts", ROWS)
    before = {p: p.read_bytes() for p in places.rglob("*.csv")}
    many = [{"net": f"net{i}", "params": i, "how": "traced"} for i in range(5000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * 4, hard))
        with pytest.raises(OSError, match="File too large"):
            start().write("parameter_counts", many)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert {p: p.read_bytes() for p in places.rglob("*.csv")} == before
    assert records.read("parameter_counts", where="local")["net"].tolist() == ["alexnet", "vgg16"]
    assert not list(places.rglob("*.part"))


def test_kill_9_while_writing_never_leaves_a_table_that_cannot_be_read(places):
    program = textwrap.dedent("""
        from convcost import records
        run = records.start_run("01-flop-counting", "quick")
        size = 0
        while True:
            size = size % 400 + 100
            rows = [{"net": f"n{i}", "params": size, "how": "traced"} for i in range(size)]
            run.write("parameter_counts", rows)
            print("written", flush=True)
    """)
    environment = {**os.environ, "CONVCOST_RESULTS": str(paths.LOCAL_RESULTS)}
    for moment in (0.003, 0.017, 0.041, 0.11):
        writer = subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE
        )
        writer.stdout.readline()
        time.sleep(moment)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        table = records.read("parameter_counts", where="local")
        assert len(table) == table["params"].iloc[0]  # whole, old or new


def test_machines_are_sorted_by_the_size_of_their_runs(places, monkeypatch):
    monkeypatch.setenv("CONVCOST_REFERENCE", "1")
    for name, profile in (("a-quick", "quick"), ("b-gpu", "gpu"), ("c-cpu", "cpu")):
        run = records.start_run("01-flop-counting", profile)
        run.machine = name
        run.write("parameter_counts", ROWS)
    assert records.machines() == ["b-gpu", "c-cpu", "a-quick"]


def test_every_column_says_what_it_holds():
    for name, table in records.TABLES.items():
        assert table.row, name
        assert set(table.key) <= set(table.columns), name
        for column, spec in table.columns.items():
            assert spec.meaning, f"{name}.{column}"
            assert spec.dtype in ("int", "float", "text", "bool"), f"{name}.{column}"


def test_run_record_is_json_with_what_a_reader_needs(places):
    run = start(data=[{"asked": "mnist", "is_stand_in": True}])
    run.write("parameter_counts", ROWS)
    record = json.loads((run.folder / "runs" / f"{run.run_id}.json").read_text())
    for key in ("machine_details", "python", "data", "seeds", "commit", "date", "command"):
        assert key in record
    assert record["machine_details"]["cores_usable"] >= 1


def test_write_returns_the_frame_with_its_run(places):
    frame = start().write("parameter_counts", pd.DataFrame(ROWS))
    assert list(frame.columns) == ["net", "params", "how", "run_id"]


def _pruned(**changes):
    row = {
        "seed": 0, "layer": "conv1", "criterion": "random", "removed": 2, "filters": 6,
        "fine_tuned": False, "removed_zero_fraction": 0.5, "layer_macs": 4 * 14_400, "macs": 9**6,
        "test_images": 10_000, "test_correct": 9_000,
    }  # fmt: skip
    return row | changes


@pytest.mark.parametrize("counts", [(14_400, None), (14_400, 28_800), (None, None)])
def test_counts_may_be_missing_and_stay_exact(places, counts):
    rows = [_pruned(seed=seed, layer_macs=count) for seed, count in enumerate(counts)]
    start().write("pruned_nets", rows)
    read = records.read("pruned_nets", where="local")["layer_macs"]
    assert str(read.dtype) == "Int64"
    assert [None if pd.isna(v) else v for v in read] == list(counts)


def test_a_table_without_rows_is_read_back(places):
    columns = list(records.TABLES["full_epochs"].columns)
    start().write("full_epochs", pd.DataFrame(columns=columns))
    table = records.read("full_epochs", where="local")
    assert table.empty and [*table] == [*columns, "run_id"]
    assert table["epoch"].dtype == "int64" and table["train_s"].dtype == "float64"


def _as_before(columns):
    """The table `loop_runs` as a run wrote it that did not know these columns; the whole one."""
    row = {
        "net": "alexnet", "loop": "plain", "input_px": 224, "in_channels": 3, "batch_asked": 32,
        "workers": 0, "threads": 2, "batch": 32, "status": "done", "reason": None, "setup_s": 2.5,
        "seconds": 8.0, "memory_peak_bytes": 2**33 + 1, "others_load": 0.1, "clock_mhz": 2600.0,
        "temperature_c": 50.0, "energy_j": 9.5, "throttled": "power cap", "stable": True,
        "instability": None,
    }  # fmt: skip
    run = start()
    written = run.write("loop_runs", [row, row | {"net": "vgg16", "memory_peak_bytes": None}])
    whole = records.read("loop_runs", where="local")
    path = run.folder / "loop_runs.csv"
    content = written.drop(columns=columns).to_csv(index=False, lineterminator="\n").encode()
    path.write_bytes(content)
    manifest = run.folder / "manifest.json"
    entries = json.loads(manifest.read_text())
    entries["loop_runs"]["sha256"] = records.sha256(path)
    manifest.write_text(json.dumps(entries))
    return whole


@pytest.mark.parametrize(
    "columns",
    [["memory_peak_bytes"], ["throttled"], ["energy_j"], ["instability"],
     ["memory_peak_bytes", "energy_j", "throttled", "instability", "batch"]],
)  # fmt: skip
def test_an_optional_column_may_be_younger_than_the_file(places, columns):
    whole = _as_before(columns)
    read = records.read("loop_runs", where="local")
    assert list(read.columns) == [*records.TABLES["loop_runs"].columns, "run_id"]
    assert read[columns].isna().all(axis=None)
    pd.testing.assert_frame_equal(read.drop(columns=columns), whole.drop(columns=columns))
    assert read.dtypes.to_dict() == whole.dtypes.to_dict()
    assert str(read["memory_peak_bytes"].dtype) == "Int64"
    # and what was read can be written again
    start().write("loop_runs", read.drop(columns="run_id"))
    pd.testing.assert_frame_equal(
        records.read("loop_runs", where="local").drop(columns="run_id"),
        read.drop(columns="run_id"),
    )


@pytest.mark.parametrize("columns", [["seconds", "stable"], ["memory_peak_bytes", "status"]])
def test_a_column_that_must_be_there_cannot_be_younger(places, columns):
    _as_before(columns)
    with pytest.raises(DamagedFileError, match=columns[1]):
        records.read("loop_runs", where="local")


def test_the_committed_tables_are_read():
    """Whatever columns have come since they were written."""
    for machine in records.machines():
        for path in sorted((paths.REFERENCE_RESULTS / machine).glob("*.csv")):
            table = records.read(path.stem, machine=machine)
            assert list(table.columns) == [*records.TABLES[path.stem].columns, "run_id"]


@pytest.mark.parametrize("wrong", [0.5, "14400", -1])
def test_a_count_that_is_none_is_refused_where_counts_may_be_missing(places, wrong):
    rows = [_pruned(), _pruned(seed=1, layer_macs=wrong)]
    with pytest.raises(DamagedFileError, match="layer_macs"):
        start().write("pruned_nets", rows)


# --- a table counts only with the record of the run that wrote it ---


class Killed(BaseException):
    """What a kill looks like from within: nothing after it is done."""


def _two_runs(**second):
    """A stand-in run has written; a second one, on the real set, is about to."""
    first = start(data=[{"asked": "mnist", "is_stand_in": True}])
    first.write("parameter_counts", ROWS)
    later = start(data=[{"asked": "mnist", "is_stand_in": False}], **second)
    assert later.run_id != first.run_id  # though both began in one second
    return first, later


def _credited(run):
    """The table that is read is this run's, in its rows, its hash and its record."""
    results = records.Results("local")
    assert set(results.table("parameter_counts")["run_id"]) == {run.run_id}
    assert results.record("parameter_counts") == json.loads(json.dumps(run.record, default=str))
    path = run.folder / "parameter_counts.csv"
    assert results.sha256("parameter_counts") == records.sha256(path)
    assert results.rows("parameter_counts") == len(results.table("parameter_counts"))


WRITES = ("runs/*.json", "manifest.json", "parameter_counts.csv", "manifest.json")


@pytest.mark.parametrize("after", range(len(WRITES) + 1))
def test_killed_between_any_two_writes_a_table_is_its_own_runs(places, monkeypatch, after):
    first, second = _two_runs()
    done, write = [], records.manifest.write_atomically

    def until_killed(path, content):
        if len(done) == after:
            raise Killed
        done.append(path.relative_to(second.folder))
        write(path, content)

    killed = pytest.raises(Killed) if after < len(WRITES) else contextlib.nullcontext()
    with monkeypatch.context() as patch, killed:
        patch.setattr(records.manifest, "write_atomically", until_killed)
        second.write("parameter_counts", ROWS[:1])
    assert all(path.match(kind) for path, kind in zip(done, WRITES, strict=False))
    assert len(done) == after
    _credited(second if after >= 3 else first)
    assert records.faults("local") == []

    third = start()  # and whoever writes next leaves nothing open
    third.write("net_facts", [{"fact": "x", "value": 1.0, "detail": ""}])
    _credited(second if after >= 3 else first)
    entries = json.loads((third.folder / "manifest.json").read_text())
    assert not any("before" in entry for entry in entries.values())
    kept = {path.stem for path in (third.folder / "runs").glob("*.json")}
    assert kept == {third.run_id, (second if after >= 3 else first).run_id}


@pytest.mark.parametrize("after", range(4))
def test_killed_in_the_first_write_there_is_no_table_or_a_whole_one(places, monkeypatch, after):
    run, count, write = start(), 0, records.manifest.write_atomically

    def until_killed(path, content):
        nonlocal count
        if count == after:
            raise Killed
        count += 1
        write(path, content)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(records.manifest, "write_atomically", until_killed)
        run.write("parameter_counts", ROWS)
    if after == 3:
        _credited(run)
    else:
        with pytest.raises(records.MissingTableError, match="make reproduce"):
            records.read("parameter_counts", where="local")
    assert records.faults("local") == []
    again = start()
    again.write("parameter_counts", ROWS)
    _credited(again)


def test_a_full_disk_while_a_later_run_writes_credits_nothing_to_it(places):
    first, second = _two_runs()
    many = [{"net": f"net{i}", "params": i, "how": "traced"} for i in range(5000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * 4, hard))
        with pytest.raises(OSError, match="File too large"):
            second.write("parameter_counts", many)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    _credited(first)


@pytest.mark.parametrize("old_manifest", [False, True])
def test_an_older_table_put_back_is_refused_by_name(places, old_manifest):
    first, second = _two_runs()
    path = first.folder / "parameter_counts.csv"
    older, its_hash = path.read_bytes(), records.sha256(path)
    second.write("parameter_counts", ROWS[:1])
    if old_manifest:  # of a version that let this pass
        manifest = first.folder / "manifest.json"
        entries = json.loads(manifest.read_text())
        entries["parameter_counts"]["previous_sha256"] = its_hash
        del entries["parameter_counts"]["record_sha256"]
        manifest.write_text(json.dumps(entries))
        _credited(second)
    path.write_bytes(older)
    said = (
        rf"parameter_counts\.csv is not the file .* its rows are of run {first.run_id}, not of "
        rf"{second.run_id}\): restore it from git"
    )
    with pytest.raises(DamagedFileError, match=said):
        records.read("parameter_counts", where="local")
    with pytest.raises(DamagedFileError, match=said):
        records.Results("local").record("parameter_counts")


def test_rows_of_another_run_are_refused_though_the_hash_is_right(places):
    first, second = _two_runs()
    second.write("parameter_counts", ROWS)
    path = first.folder / "parameter_counts.csv"
    last = path.read_text().rindex(second.run_id)
    path.write_text(path.read_text()[:last] + first.run_id + "\n")  # one row of two
    manifest = first.folder / "manifest.json"
    entries = json.loads(manifest.read_text())
    entries["parameter_counts"]["sha256"] = records.sha256(path)
    manifest.write_text(json.dumps(entries))
    with pytest.raises(DamagedFileError, match=f"rows of run {first.run_id}, but manifest.json"):
        records.read("parameter_counts", where="local")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("missing", r"parameter_counts\.csv: its run record is missing \(.*\.json\): restore it"),
        ("stand-in", r"is not the run record that was written"),
        ("list", r"is not the run record that was written"),
        ("other", r"is the record of another run, other"),
        ("unhashed list", r"is not JSON of an object"),
    ],
)
def test_a_run_record_is_guarded_like_a_table(places, damage, said):
    run, _ = _two_runs()
    (path,) = (run.folder / "runs").glob("*.json")
    manifest = run.folder / "manifest.json"
    entries = json.loads(manifest.read_text())
    text = path.read_text()
    if damage == "missing":
        path.unlink()
    elif damage == "stand-in":
        path.write_text(text.replace('"is_stand_in": true', '"is_stand_in": false'))
        assert path.read_text() != text
    elif "list" in damage:
        path.write_text("[]")
    else:
        path.write_text(text.replace(f'"run_id": "{run.run_id}"', '"run_id": "other"'))
    if damage in ("other", "unhashed list"):  # results from before records were hashed
        del entries["parameter_counts"]["record_sha256"]
        manifest.write_text(json.dumps(entries))
    for ask in (records.Results("local").table, records.Results("local").record):
        with pytest.raises(DamagedFileError, match=said):
            ask("parameter_counts")
    (fault,) = records.faults("local")
    assert "parameter_counts" in fault or path.name in fault


def test_a_removed_manifest_is_named_and_a_new_run_makes_one(places):
    run = start()
    run.write("parameter_counts", ROWS)
    (run.folder / "manifest.json").unlink()
    assert records.machines("local") == [run.machine]
    with pytest.raises(DamagedFileError, match=r"manifest\.json is missing, so nothing says"):
        records.read("parameter_counts", where="local")
    assert len(records.faults("local")) == 1
    again = start()
    again.write("parameter_counts", ROWS)
    _credited(again)


def test_a_removed_table_and_one_that_no_run_wrote_are_named(places):
    run = start()
    run.write("parameter_counts", ROWS)
    path = run.folder / "parameter_counts.csv"
    path.rename(run.folder / "net_facts.csv")
    missing, unknown = sorted(records.faults("local"), key=lambda text: "does not know" in text)
    assert f"parameter_counts.csv is missing, which run {run.run_id} wrote" in missing
    assert "net_facts.csv is not the file that was written: manifest.json does not" in unknown
    (run.folder / "manifest.json").write_text('{"parameter_counts": ["x"]}')
    with pytest.raises(DamagedFileError, match="no sha256, run_id and rows of 'parameter_counts'"):
        records.read("parameter_counts", where="local")


def test_the_committed_results_are_guarded_to_the_last_record():
    for machine in records.machines():
        folder = paths.REFERENCE_RESULTS / machine
        entries = json.loads((folder / "manifest.json").read_text())
        assert set(entries) == {path.stem for path in folder.glob("*.csv")}
        for entry in entries.values():
            assert set(entry) == {"sha256", "run_id", "record_sha256", "rows"}
    assert records.faults("reference") == []


# --- a run is whole, or said to be mixed ---


def test_tables_of_several_runs_of_a_notebook_are_said_to_be_mixed(places):
    first = start()
    first.write("parameter_counts", ROWS)
    first.write("net_facts", [{"fact": "x", "value": 1.0, "detail": ""}])
    both, results = ("parameter_counts", "net_facts"), records.Results("local")
    assert records.mixed("local") == [] and results.mixed(both) == ""
    second = records.start_run("01-flop-counting", "cpu")
    second.write("net_facts", [{"fact": "x", "value": 1.0, "detail": ""}])
    (line,) = records.mixed("local")
    assert line.startswith(f"01-flop-counting on {first.machine}: ")
    assert first.run_id in line and second.run_id in line
    assert results.mixed(both) == "cpu and quick"
    assert results.mixed(both[:1]) == results.mixed(()) == ""
    third = records.start_run("01-flop-counting", "cpu")
    third.write("parameter_counts", ROWS)
    assert results.mixed(both) == "2 of profile cpu"
    third.write("net_facts", [{"fact": "x", "value": 1.0, "detail": ""}])
    assert records.mixed("local") == [] and results.mixed(both) == ""
