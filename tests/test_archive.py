"""Archives of measurements: what they carry, what is refused, and what a merge leaves behind."""

import gzip
import hashlib
import io
import json
import lzma
import shutil
import tarfile
from pathlib import Path

import pytest

from convcost import records
from convcost.application import archive, cli, measure_notebook, notebooks, profiles, reproduce
from convcost.core import files, machine, paths
from convcost.core.errors import BadInputError, ConvcostError, DamagedFileError
from convcost.records import hosts
from convcost.sweep import store
from toy_study import Toy

BOX = "lent-box"
NOTEBOOK = "02-training-time"


@pytest.fixture
def at(tmp_path, monkeypatch):
    """Go to a machine: a folder of results of its own, under a name of its own."""

    def go(name: str):
        monkeypatch.setattr(paths, "RAW", tmp_path / name)
        monkeypatch.setattr(paths, "LOCAL_RESULTS", tmp_path / name / "runs")
        monkeypatch.setenv("CONVCOST_MACHINE", name)
        monkeypatch.delenv("CONVCOST_HOST", raising=False)
        return tmp_path / name

    return go


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """What `BOX` has after it has measured a toy's first part, and the archive of it."""
    folder = tmp_path_factory.mktemp("box")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "RAW", folder / BOX)
        patch.setattr(paths, "LOCAL_RESULTS", folder / BOX / "runs")
        patch.setenv("CONVCOST_MACHINE", BOX)
        patch.setattr(measure_notebook, "study", lambda *_, smoke=False: Toy(smoke=smoke))
        into = folder / "box.tar"
        measure_notebook.measure("02", "quick", parts=["first"], into=into, say=lambda _: None)
    return folder


@pytest.fixture
def carried(at, box, tmp_path):
    """That archive, carried to "home", where nothing is."""
    shutil.copytree(box / BOX, tmp_path / BOX)
    at("home")
    return Path(shutil.copy(box / "box.tar", tmp_path))


def everything(folder) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*.json")}


def rewritten(file, change) -> None:
    """The archive with `change(members)` made to its contents by name, and nothing else."""
    with tarfile.open(file) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}
    change(members)
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def changed_index(file, change) -> None:
    def on(members):
        index = json.loads(members["archive.json"])
        change(index)
        members["archive.json"] = json.dumps(index).encode()

    rewritten(file, on)


# --- what it carries -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.xz"])
def test_what_goes_in_comes_out_whatever_the_packing(carried, at, name):
    box = at(BOX)
    file = carried.with_name(name)
    written = archive.write(file, hosts.here(), Toy())
    index, contents = archive.read(file)
    assert sorted(contents) == sorted(written) and len(written) == 3 + 3
    assert index["host"]["name"] == BOX and index["measured"]["profile"] == "quick"
    for member, content in contents.items():
        assert (box / member).read_bytes() == content
    opened = {".gz": gzip.open, ".tgz": gzip.open, ".xz": lzma.open}.get(file.suffix, open)
    with opened(file, "rb") as packed:
        assert b"archive.json" in packed.read(512)


def test_tables_records_and_on_request_nets_go_along(carried, at):
    box = at(BOX)
    run = records.start_run(NOTEBOOK, "quick")
    run.write("datasets", [part.row() for part in Toy().used])
    nets = box / "checkpoints" / "lenet_atsumi-digits-0123456789ab"
    nets.mkdir(parents=True)
    for ending in ("json", "safetensors", "safetensors.sha256"):
        (nets / f"seed-00007.{ending}").write_bytes(b"net")
    (nets / "notes.txt").write_text("of the user's own")
    plain = archive.write(carried, hosts.here(), Toy())
    assert {"runs/manifest.json", f"runs/runs/{run.run_id}.json"} <= set(plain)
    assert not any(name.startswith("checkpoints") for name in plain)
    full = archive.write(carried, hosts.here(), Toy(), checkpoints=True)
    assert len(full) == len(plain) + 3
    home = at("home")
    archive.merge(carried)
    assert (home / "checkpoints" / nets.name / "seed-00007.json").read_bytes() == b"net"
    assert (home / "runs" / BOX / "runs" / f"{run.run_id}.json").is_file()


def test_one_that_would_be_too_large_is_not_written(carried, at, monkeypatch):
    at(BOX)
    before = carried.read_bytes()
    monkeypatch.setattr(archive, "LIMIT_BYTES", 5_000)
    with pytest.raises(ConvcostError, match=r"more than .*: give it a name that ends in .tar.xz"):
        archive.write(carried, hosts.here(), Toy())
    assert carried.read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(carried, at, monkeypatch):
    at(BOX)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_atomically", full)
    with pytest.raises(ConvcostError, match=r"No space left on device.*make room"):
        archive.write(carried, hosts.here(), Toy())


# --- taking it in ----------------------------------------------------------------------------


def test_a_merged_archive_is_what_another_machine_measured(carried, at, monkeypatch):
    home = at("home")
    done = archive.merge(carried)
    assert (done.host, done.notebook, done.new, done.there) == (BOX, NOTEBOOK, 3 + 3, 0)
    assert archive.merge(carried).there == 3 + 3, "merged twice is merged once"
    monkeypatch.setenv("CONVCOST_HOST", BOX)
    host = hosts.measuring("quick", NOTEBOOK)
    assert host.name == BOX and not host.here
    toy = Toy(host=host)
    first, second = (toy.parts()[name].sweeps for name in ("first", "second"))
    values = [value for sweep in first for value in toy.done(sweep).rows["value"]]
    assert values == [2**0, 2**1, 2**2, 3**0, 3**1, 3**2]
    # what was not measured there is not measured here either
    assert set(toy.done(second[0]).units["status"]) == {"left"}
    assert len(everything(home / "units")) == 3 + 3


def test_the_run_record_names_who_measured_and_who_drew(carried, monkeypatch):
    archive.merge(carried)
    monkeypatch.setenv("CONVCOST_HOST", BOX)
    run = records.start_run(NOTEBOOK, "quick")
    assert run.machine == BOX and run.folder.name == BOX
    assert run.record["machine"] == BOX and run.record["drawn_on"]["machine"] == "home"
    assert run.record["measured"]["parts"]["first"]["done"] == 6
    assert "drawn on home: nothing is measured by this run" in run.banner()
    # a notebook that measures nothing of its own is this machine's
    assert records.start_run("01-flop-counting", "quick").machine == "home"


def test_a_profile_that_needs_a_gpu_is_drawn_where_there_is_none(carried, monkeypatch):
    facts = machine.describe() | {"gpu": None}
    monkeypatch.setattr(machine, "describe", lambda: facts)
    with pytest.raises(BadInputError, match=r"no results of another machine are here \(docs/gpu"):
        profiles.resolve("gpu")
    changed_index(carried, lambda index: index["measured"].update(profile="gpu"))
    archive.merge(carried)
    assert profiles.resolve("gpu") == "gpu"
    assert hosts.measuring("gpu", NOTEBOOK).name == BOX
    with pytest.raises(BadInputError, match="profile gpu: This machine has no GPU"):
        hosts.measuring("gpu", "04-complexity-precision")


def test_what_is_merged_later_is_drawn_anew(carried, monkeypatch):
    content = notebooks.read(paths.NOTEBOOKS / f"{NOTEBOOK}.ipynb")
    archive.merge(carried)
    monkeypatch.setenv("CONVCOST_HOST", BOX)
    before = notebooks.inputs(content, {}, "quick")["key"]
    assert notebooks.inputs(content, {}, "quick")["key"] == before
    changed_index(carried, lambda index: index["measured"].update(date="2999-01-01T00:00:00"))
    archive.merge(carried)
    assert notebooks.inputs(content, {}, "quick")["key"] != before


def test_the_plan_says_what_was_measured_and_refuses_what_cannot_be_drawn(carried, monkeypatch):
    archive.merge(carried)
    monkeypatch.setenv("CONVCOST_HOST", BOX)
    (planned,) = reproduce.plan("quick", "02").notebooks
    assert planned.state == "to run"
    assert f"measured on {BOX}" in planned.measured and "not whole: second" in planned.measured

    def lose_one(index):
        index["measured"]["parts"]["first"]["done"] = 5
        index["measured"]["date"] = "2999-01-01T00:00:00"

    changed_index(carried, lose_one)
    archive.merge(carried)
    (planned,) = reproduce.plan("quick", "02").notebooks
    assert planned.state == "broken" and "cannot be drawn without" in planned.reason


def test_a_host_that_is_not_here_is_named_with_those_that_are(carried, monkeypatch):
    archive.merge(carried)
    monkeypatch.setenv("CONVCOST_HOST", "nowhere")
    with pytest.raises(BadInputError, match=f"names 'nowhere', which has measured it.*{BOX}"):
        hosts.measuring("quick", NOTEBOOK)


# --- what is refused -------------------------------------------------------------------------


def refused(file, words, **options):
    """The merge raises and says these words; nothing at all has been taken in."""
    before = everything(paths.RAW)
    with pytest.raises((DamagedFileError, BadInputError), match=words):
        archive.merge(file, **options)
    assert everything(paths.RAW) == before
    assert not (paths.RAW / "hosts").exists() or before


def test_no_file(tmp_path, at):
    at("home")
    refused(tmp_path / "none.tar", "there is no archive")


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.xz"])
def test_truncated(carried, at, name, share):
    at(BOX)
    file = carried.with_name(name)
    archive.write(file, hosts.here(), Toy())
    at("home")
    content = file.read_bytes().rstrip(b"\0")  # a tar ends in blocks of zeros, which carry nothing
    file.write_bytes(content[: int(share * len(content))])
    refused(file, "cannot be read|is not what was written|no archive of")


def test_every_flipped_byte_is_found_or_harmless(carried):
    """Bits flipped all over the file: refused, or (in tar's own padding) the same content."""
    content = carried.read_bytes()
    whole = archive.read(carried)
    found = 0
    for place in range(0, len(content), 97):
        carried.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            assert archive.read(carried)[1] == whole[1]
        except (DamagedFileError, BadInputError):
            found += 1
    assert found > 10


def member(name, kind=tarfile.REGTYPE, content=b"x", link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


UNIT = f"units/power/{'a' * 64}.json"
MALICIOUS = {
    "parent": member("../evil.json"),
    "absolute": member("/tmp/evil.json"),
    "inner parent": member("units/power/../../../evil.json"),
    "hidden": member(".bashrc"),
    "other place": member("lib/convcost/__init__.py"),
    "symbolic link": member(
        "units/power/" + "a" * 64 + ".json", tarfile.SYMTYPE, b"", "/etc/passwd"
    ),
    "hard link": member(UNIT, tarfile.LNKTYPE, b"", "archive.json"),
    "device": member(UNIT, tarfile.CHRTYPE, b""),
    "pipe": member(UNIT, tarfile.FIFOTYPE, b""),
    "folder": member("units", tarfile.DIRTYPE, b""),
    "extended header": member("x", tarfile.XHDTYPE, b"30 path=" + b"a" * 300_000 + b"\n"),
    "long name": member("x", tarfile.GNUTYPE_LONGNAME, b"a" * 300_000),
    "not in the list": member(UNIT),
}


@pytest.mark.parametrize("what", MALICIOUS)
def test_members_that_no_archive_of_ours_has(carried, tmp_path, what):
    info, content = MALICIOUS[what]
    with tarfile.open(carried, "a", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(content))
    refused(carried, "no archive of ours has|no plain file|is not what was written")
    assert not list(tmp_path.rglob("evil*"))


def test_a_member_twice(carried):
    with tarfile.open(carried) as tar:
        name = tar.getnames()[1]
    with tarfile.open(carried, "a", format=tarfile.USTAR_FORMAT) as tar:
        info, content = member(name)
        tar.addfile(info, io.BytesIO(content))
    refused(carried, "no archive of ours has")


def test_a_file_that_unpacks_to_gigabytes(carried, monkeypatch):
    monkeypatch.setattr(archive, "_UNPACKED_BYTES", 10 * 2**20)
    bomb = carried.with_name("bomb.tar.xz")
    bomb.write_bytes(lzma.compress(bytes(40 * 2**20)))
    refused(bomb, "unpacks to more than 10")
    large = carried.with_name("large.tar")
    large.write_bytes(bytes(archive.LIMIT_BYTES + 1))
    refused(large, "has more than 16")


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.pop("format"),
        lambda index: index.pop("members"),
        lambda index: index["host"].update(name="../up"),
        lambda index: index["host"].pop("details"),
        lambda index: index.update(notebook="07-verdicts"),
        lambda index: index["measured"].pop("code"),
        lambda index: index["members"].update(x=1),
        lambda index: index.update(measured=[]),
    ],
)
def test_a_list_that_is_not_ours(carried, change):
    changed_index(carried, change)
    refused(carried, "is no archive of")


def test_another_format_is_said(carried):
    changed_index(carried, lambda index: index.update(format="convcost measurements 99"))
    refused(carried, "bring both machines to the same commit")


def test_an_altered_result_with_its_list_put_right(carried):
    """Someone who changes a number and the list's hash forgets the unit's own."""

    def alter(members):
        name = next(n for n in members if n.startswith("units/"))
        members[name] = members[name].replace(b'"value": 1', b'"value": 7')
        index = json.loads(members["archive.json"])
        index["members"][name]["sha256"] = hashlib.sha256(members[name]).hexdigest()
        members["archive.json"] = json.dumps(index).encode()

    rewritten(carried, alter)
    refused(carried, "is not the file that was written")


def test_a_result_under_the_name_of_another(carried):
    def swap(members):
        one, other = [n for n in members if n.startswith("units/")][:2]
        members[one], members[other] = members[other], members[one]
        index = json.loads(members["archive.json"])
        listed = index["members"]
        listed[one], listed[other] = listed[other], listed[one]
        members["archive.json"] = json.dumps(index).encode()

    rewritten(carried, swap)
    refused(carried, "is the result of another unit")


def test_other_code_is_named_and_accepted_on_request(carried):
    def older(index):
        index["measured"]["code"]["sweep/unit.py"] = "0" * 64
        index["measured"]["code"]["gone.py"] = "0" * 64

    changed_index(carried, older)
    refused(carried, r"measured by other code than this \(gone.py, sweep/unit.py; commit")
    archive.merge(carried, other_code=True)
    (host,) = hosts.stored()
    assert host.measured[NOTEBOOK]["other_code"] == ["gone.py", "sweep/unit.py"]


def test_other_data_are_named(carried):
    def other(index):
        index["measured"]["data"][0]["content_sha256"] = "0" * 64

    changed_index(carried, other)
    refused(carried, "measured on digits, test.*here digits is another version of it: run")


def test_nothing_here_is_replaced_without_being_asked(carried, at):
    archive.merge(carried)
    file = sorted((paths.RAW / "units" / "power").glob("*.json"))[0]
    record = store.checked(file.read_bytes(), "")
    record["seconds"] = 1234.5
    record["sha256"] = hashlib.sha256(store.canonical(record)).hexdigest()
    mine = json.dumps(record).encode()
    file.write_bytes(mine)
    refused(carried, r"would replace 1 files that are here and differ.*--replace")
    assert file.read_bytes() == mine
    done = archive.merge(carried, replace_existing=True)
    assert done.set_aside == (f"{file.name}.replaced-1",)
    assert file.with_name(done.set_aside[0]).read_bytes() == mine != file.read_bytes()


@pytest.mark.parametrize("state", ["failed", "damaged"])
def test_what_says_nothing_here_makes_way(carried, state):
    archive.merge(carried)
    file = sorted((paths.RAW / "units" / "power").glob("*.json"))[0]
    whole = file.read_bytes()
    record = store.checked(whole, "")
    record["status"] = "failed"
    record["sha256"] = hashlib.sha256(store.canonical(record)).hexdigest()
    file.write_bytes(json.dumps(record).encode() if state == "failed" else whole[:50])
    assert archive.merge(carried).new == 1
    assert file.read_bytes() == whole


@pytest.mark.parametrize("after", range(0, 7, 2))
def test_killed_in_the_middle_the_host_does_not_count_and_the_next_merge_ends_it(
    carried, monkeypatch, after
):
    """The machine stops at the n-th file: whole files are there, and no word of the host."""
    write, calls = files.write_atomically, []

    def stopped(path, content):
        calls.append(path)
        if len(calls) > after:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(files, "write_atomically", stopped)
        archive.merge(carried)
    assert len(everything(paths.RAW)) == after and not hosts.stored()
    assert archive.merge(carried).new == 6 - after
    assert [host.name for host in hosts.stored()] == [BOX]


def test_the_command_says_what_to_type_next(carried, capsys):
    assert cli.main(["merge", str(carried)]) == 0
    said = capsys.readouterr().out
    assert f"{NOTEBOOK}, measured on {BOX}: 6 files new, 0 were here" in said
    assert f"CONVCOST_HOST={BOX} make reproduce NOTEBOOK=02" in said
    carried.write_bytes(b"no tar")
    assert cli.main(["merge", str(carried)]) == 2
    assert "bring it over again" in capsys.readouterr().err


def test_a_file_of_a_host_that_is_not_one_is_named(at):
    at("home")
    file = hosts.folder() / "x.json"
    file.parent.mkdir(parents=True)
    lists = '{"name": "x", "details": {}, "measured": {"02-training-time": []}}'
    for content in ("[]", "{", '{"name": "x"}', lists):
        file.write_text(content)
        with pytest.raises(DamagedFileError, match=r"x\.json does not describe a machine"):
            hosts.stored()
