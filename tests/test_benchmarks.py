"""Published tables: found where they may lie, checked each time, fetched whole or not at all."""

import dataclasses
import hashlib

import pytest

import http_server
from convcost import datasets
from convcost.application import cli, doctor
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.datasets import benchmarks
from small_sets import listing, refused

HASTY = datasets.Patience(connect_s=1, read_s=0.3, stall_s=0.3, tries=2, backoff_s=0.01)
FILES = {"a.csv": b"model,top1\nx,70\n", "b.json": b"{}"}

pytestmark = pytest.mark.usefixtures("no_settings")


def collection(url):
    hashes = {name: hashlib.sha256(body).hexdigest() for name, body in FILES.items()}
    return benchmarks.Collection("few", "Few", (url,), hashes, 20, "MIT", "Somebody 2020")


@pytest.fixture
def few(server):
    server.answers |= {f"/{name}": http_server.whole(body) for name, body in FILES.items()}
    return collection(server.url(""))


def path(few, name, raw, **options):
    return benchmarks.path(name, raw=raw, collections={"few": few}, patience=HASTY, **options)


def test_tables_are_fetched_once_together_and_found_afterwards(few, raw, server):
    assert benchmarks.where(few, raw=raw) is None
    found = path(few, "few/a.csv", raw)
    assert found == raw / "benchmarks/few/a.csv" and found.read_bytes() == FILES["a.csv"]
    assert sorted(server.fetched) == ["/a.csv", "/b.json"]
    assert path(few, "few/b.json", raw).read_bytes() == FILES["b.json"]
    assert len(server.fetched) == 2
    assert benchmarks.where(few, raw=raw).label == "data/raw"
    assert benchmarks.check(few, raw=raw).label == "data/raw"


def test_the_folder_of_the_environment_comes_first_and_is_only_read(few, raw, tmp_path, server,
                                                                    monkeypatch):  # fmt: skip
    there = tmp_path / "given/benchmarks/few"
    there.mkdir(parents=True)
    for name, body in FILES.items():
        (there / name).write_bytes(body)
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path / "given"))
    assert path(few, "few/a.csv", raw) == there / "a.csv"
    assert server.fetched == []


FAULTS = {
    "truncated": lambda body: http_server.truncated(body),
    "another file": lambda body: http_server.whole(b"x" * len(body)),
    "a web page": lambda body: http_server.page(),
    "not there": lambda body: http_server.status(404),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_nothing_behind(fault, few, raw, server):
    server.answers["/b.json"] = FAULTS[fault](FILES["b.json"])
    before = listing(raw)
    with pytest.raises(datasets.MissingDataError, match=r"b\.json could not be fetched") as caught:
        path(few, "few/a.csv", raw)
    assert "make data" in str(caught.value)
    assert listing(raw) == before


def test_no_server_and_no_wish_to_download_are_told_apart(raw):
    few = collection(refused())
    with pytest.raises(datasets.MissingDataError, match="no server answers"):
        path(few, "few/a.csv", raw)
    with pytest.raises(datasets.MissingDataError, match="downloading was not asked for"):
        path(few, "few/a.csv", raw, download=False)
    with pytest.raises(datasets.MissingDataError, match="not all of its tables"):
        benchmarks.check(few, raw=raw)


def test_a_damaged_table_is_an_error_and_nothing_else_is_tried(few, raw, tmp_path, monkeypatch):
    benchmarks.fetch(few, raw=raw)
    file = raw / "benchmarks/few/a.csv"
    file.write_bytes(file.read_bytes() + b"y,71\n")
    for look in (lambda: path(few, "few/a.csv", raw), lambda: benchmarks.check(few, raw=raw)):
        with pytest.raises(DamagedFileError, match=r"a\.csv does not have the sha256"):
            look()
    monkeypatch.setenv("CONVCOST_DATA", str(raw))
    with pytest.raises(DamagedFileError, match="unset CONVCOST_DATA"):
        path(few, "few/a.csv", tmp_path / "other")


def test_what_was_put_by_hand_is_taken_and_stays(raw):
    by_hand = raw / "downloads/few"
    by_hand.mkdir(parents=True)
    for name, body in FILES.items():
        (by_hand / name).write_bytes(body)
    few = collection(refused())
    assert path(few, "few/a.csv", raw).read_bytes() == FILES["a.csv"]
    assert (by_hand / "a.csv").is_file()
    wrong = dataclasses.replace(few, key="less", files={"a.csv": "0" * 64})
    (raw / "downloads/less").mkdir()
    (raw / "downloads/less/a.csv").write_bytes(FILES["a.csv"])
    with pytest.raises(BadInputError, match="does not have the sha256"):
        benchmarks.fetch(wrong, raw=raw)


def test_a_record_tells_of_other_tables_by_another_hash(few):
    told = few.describe()
    assert (told["asked"], told["split"], told["is_stand_in"]) == ("few", "all", False)
    lines = [f"{value}  {name}\n" for name, value in few.files.items()]
    expected = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert told["content_sha256"] == expected
    other = dataclasses.replace(few, files=few.files | {"a.csv": "0" * 64})
    assert other.describe()["content_sha256"] != expected


@pytest.mark.parametrize("name", ["timm/nothing.csv", "tim/results-imagenet.csv", "timm", ""])
def test_an_unknown_table_is_named_with_those_there_are(name):
    with pytest.raises(BadInputError, match=r"timm/results-imagenet\.csv"):
        benchmarks.path(name)
    with pytest.raises(BadInputError, match="timm, pycls"):
        benchmarks.find("tim")


def test_the_command_and_the_doctor_tell_of_them(few, raw, monkeypatch, capsys):
    monkeypatch.setattr(benchmarks, "COLLECTIONS", {"few": few})
    monkeypatch.setattr("convcost.core.paths.RAW", raw)
    assert cli.main(["data", "--check", "--set", "few"]) == 1
    assert "few: Few: not all of its tables are here" in capsys.readouterr().err
    finding = doctor.check_benchmarks()[0]
    assert finding.state == doctor.WARN and "few is not here" in finding.found
    assert cli.main(["data", "--set", "few"]) == 0
    out = capsys.readouterr().out
    assert "data/raw  ok" in out and "Few: Somebody 2020" in out
    finding = doctor.check_benchmarks()[0]
    assert (finding.state, finding.found) == (doctor.OK, "few: 2 published tables, in data/raw")
    (raw / "benchmarks/few/b.json").write_bytes(b"[]")
    assert cli.main(["data", "--set", "few"]) == 1
    assert "damaged" in capsys.readouterr().out
