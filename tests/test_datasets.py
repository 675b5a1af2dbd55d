"""What is loaded, from where, and what it says of itself."""

import dataclasses
import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import small_sets
from convcost import datasets
from convcost.application import cli, doctor, guide, notebooks
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.datasets import embedded, idx, transfer

REAL = os.environ.get("CONVCOST_DATA", "")


def needs_real(folder: str):
    return pytest.mark.skipif(
        not REAL or not (Path(REAL) / folder).is_dir(),
        reason=f"CONVCOST_DATA with {folder}/ is not set",
    )


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.delenv("CONVCOST_DATA", raising=False)
    monkeypatch.setenv("CONVCOST_OFFLINE", "1")
    transfer._verdicts.clear()


@pytest.fixture
def small(tmp_path):
    """A small set in MNIST's form, lying in a folder: (specification, root, contents)."""
    spec, packed = small_sets.idx_set((small_sets.refused(),))
    root = tmp_path / "given"
    folder = root / spec.folder
    folder.mkdir(parents=True)
    contents = {name.removesuffix(".gz"): gzip.decompress(body) for name, body in packed.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    # 8×8 at least, so that digits can stand in; the files keep their 4×5
    return spec, root, contents


# ---------------------------------------------------------------- IDX files


def test_idx_header_is_lecuns():
    # from the format's own page: magic 2051 and 2049, then the sizes, big-endian
    assert idx.header((60_000, 28, 28)) == struct.pack(">4i", 2051, 60_000, 28, 28)
    assert idx.header((10_000,)) == struct.pack(">2i", 2049, 10_000)


def test_idx_order_is_row_by_row():
    content = idx.header((2, 2, 3)) + bytes(range(12))
    read = idx.decode(content, (2, 2, 3), "a file")
    assert read[1, 0, 2] == 1 * 6 + 0 * 3 + 2
    assert read.tolist() == np.arange(12).reshape(2, 2, 3).tolist()


GOOD = struct.pack(">2i", 2049, 3) + b"\1\2\3"
BAD_IDX = {
    "empty": (b"", "it is empty"),
    "cut in the header": (GOOD[:6], "does not begin"),
    "another magic": (b"\0\0\x0d\1" + GOOD[4:], "does not begin"),
    "another size": (GOOD[:7] + b"\4" + GOOD[8:], "does not begin"),
    "one byte less": (GOOD[:-1], "ends too early: 10 bytes instead of 11"),
    "one byte more": (GOOD + b"\0", "after its end: 12 bytes instead of 11"),
    "another value": (GOOD[:-1] + b"\4", "not the right content"),
}


@pytest.mark.parametrize("fault", BAD_IDX)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_faults_are_named(fault, packed, tmp_path):
    content, words = BAD_IDX[fault]
    if packed and fault == "one byte more":
        words = "unpacks to more than 11 bytes"
    path = tmp_path / ("labels.gz" if packed else "labels")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DamagedFileError, match="labels") as caught:
        idx.read(path, (3,), hashlib.sha256(GOOD).hexdigest())
    assert words in str(caught.value)


@pytest.mark.parametrize("cut", [0, 5, 20, -1])
def test_a_damaged_gz_is_named(cut, tmp_path):
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(GOOD)[:cut])
    with pytest.raises(DamagedFileError, match=r"labels\.gz"):
        idx.read(path, (3,), hashlib.sha256(GOOD).hexdigest())


# ---------------------------------------------------------------- where from


def test_given_folder_first_then_data_raw(small, tmp_path, monkeypatch):
    spec, root, contents = small
    own = tmp_path / "own"
    with pytest.raises(datasets.MissingDataError):
        datasets.load(spec, "train", raw=own, allow_stand_in=False)
    monkeypatch.setenv("CONVCOST_DATA", str(root))
    loaded = datasets.load(spec, "train", raw=own)
    assert (loaded.origin, loaded.notes, loaded.name) == ("CONVCOST_DATA", (), "small")
    assert loaded.images.tobytes() == contents["train-images-idx3-ubyte"][16:]
    assert loaded.labels.tolist() == list(contents["train-labels-idx1-ubyte"][8:])
    assert (loaded.images.dtype, loaded.labels.dtype) == (np.uint8, np.int64)
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path / "empty"))
    there = datasets.load(spec, "train", raw=root)
    assert there.origin == "data/raw" and there.sha256 == loaded.sha256
    assert "does not exist" in there.notes[0] and "does not exist" in there.banner().text


def test_a_given_folder_without_the_set_is_said(small, tmp_path, monkeypatch):
    spec, root, _ = small
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path / "empty"))
    assert datasets.load(spec, "test", raw=root).notes == ("CONVCOST_DATA has no Small/raw/",)
    (root / "Small/raw/t10k-labels-idx1-ubyte").unlink()
    monkeypatch.setenv("CONVCOST_DATA", str(root))
    with pytest.raises(datasets.MissingDataError, match="without t10k-labels-idx1-ubyte"):
        datasets.load(spec, "test", raw=tmp_path / "own", allow_stand_in=False)


def test_packed_and_plain_files_are_the_same_data(small, monkeypatch):
    spec, root, contents = small
    plain = datasets.load(spec, "train", raw=root)
    for name, content in contents.items():
        (root / spec.folder / name).unlink()
        (root / spec.folder / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    packed = datasets.load(spec, "train", raw=root)
    assert packed.sha256 == plain.sha256
    np.testing.assert_array_equal(packed.images, plain.images)


@pytest.mark.parametrize("place", ["CONVCOST_DATA", "data/raw"])
def test_a_damaged_file_is_an_error_and_no_stand_in(place, small, tmp_path, monkeypatch):
    spec, root, contents = small
    path = root / spec.folder / "train-images-idx3-ubyte"
    path.write_bytes(contents[path.name][:-1] + b"\0")
    if place == "CONVCOST_DATA":
        monkeypatch.setenv("CONVCOST_DATA", str(root))
    raw = root if place == "data/raw" else tmp_path / "own"
    with pytest.raises(DamagedFileError, match="train-images-idx3-ubyte") as caught:
        datasets.load(spec, "train", raw=raw)
    assert ("unset CONVCOST_DATA" in str(caught.value)) == (place == "CONVCOST_DATA")
    assert "make data" in str(caught.value)


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(BadInputError, match="mnist, fashionmnist, lfw_gender, digits"):
        datasets.load("imagenet", "train")
    with pytest.raises(BadInputError, match="train, test"):
        datasets.load("mnist", "validation")


def test_status_is_quick_and_complete(tmp_path):
    rows = datasets.status(raw=tmp_path)
    assert [row["name"] for row in rows] == list(datasets.names())
    assert {row["name"]: (row["found"], row["where"]) for row in rows} == {
        "mnist": (False, None),
        "fashionmnist": (False, None),
        "lfw_gender": (False, None),
        "digits": (True, "embedded"),
    }
    assert all((row["download_bytes"] > 0) != row["found"] for row in rows)
    assert sum(row["seconds"] for row in rows) < 1
    assert {row["damaged"] for row in rows} == {""}


def mnist_of_zeros(root):
    """All of MNIST's files, of the right sizes and with nothing but zeros in them (sparse)."""
    folder = root / "MNIST/raw"
    folder.mkdir(parents=True)
    for pair in datasets.SETS["mnist"].files.values():
        for file in pair:
            with (folder / file.name).open("wb") as written:
                written.truncate(4 + 4 * len(file.shape) + int(np.prod(file.shape)))
    return folder


def test_status_doctor_plan_and_guide_tell_a_file_of_another_size(tmp_path, monkeypatch, capsys):
    folder = mnist_of_zeros(tmp_path)
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path))

    def mnist():
        return datasets.status(raw=tmp_path / "own")[0]

    assert (mnist()["found"], mnist()["damaged"]) == (True, "")  # the bytes are `load`'s business
    assert notebooks.data_origins(["mnist"])["mnist"].startswith("CONVCOST_DATA, 70000 images, ")
    with (folder / "train-images-idx3-ubyte").open("r+b") as cut:
        cut.truncate(100_000)
    said = f"train-images-idx3-ubyte has 100,000 bytes, not {16 + 60_000 * 28 * 28:,}"
    assert (mnist()["found"], mnist()["damaged"]) == (True, said)
    finding = doctor.check_datasets()[0]
    assert finding.state == doctor.BAD and said in finding.found
    assert notebooks.data_origins(["mnist"]) == {"mnist": f"CONVCOST_DATA, damaged: {said}"}
    assert guide.data_sets()["where"][0] == f"CONVCOST_DATA, damaged: {said}"
    assert cli.main(["data", "--check", "--set", "mnist"]) == 1
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("mnist"))
    assert row.split()[1:4] == ["70,000", "CONVCOST_DATA", "damaged"]
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"")
    assert mnist()["damaged"] == f"{said}; t10k-labels-idx1-ubyte has 0 bytes, not 10,008"


@pytest.mark.parametrize("cut", [0, 10, -1, None])
def test_status_tells_a_packed_file_that_is_cut_off(cut, tmp_path, monkeypatch):
    folder = mnist_of_zeros(tmp_path)
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path))
    labels = folder / "t10k-labels-idx1-ubyte"
    packed = gzip.compress(labels.read_bytes())[:cut]
    labels.with_name(f"{labels.name}.gz").write_bytes(packed)
    labels.unlink()
    size = f"{len(packed):,} bytes, which do not unpack to 10,008"
    expected = "" if cut is None else f"{labels.name}.gz has {size}"
    assert datasets.status(raw=tmp_path / "own")[0]["damaged"] == expected


# ---------------------------------------------------------------- stand-in


@pytest.mark.parametrize("name", ["mnist", "fashionmnist", "lfw_gender"])
def test_the_stand_in_has_the_shape_of_the_real_set_and_says_so(name, tmp_path):
    spec = datasets.find(name)
    total = 0
    for split in spec.splits:
        part = datasets.load(name, split, raw=tmp_path)
        total += len(part)
        assert part.is_stand_in and (part.asked, part.name) == (name, "digits")
        assert part.origin == "embedded stand-in"
        assert part.images.shape == (len(part), *spec.shape)
        assert len(part.classes) == len(spec.classes)
        assert set(part.labels.tolist()) == set(range(len(spec.classes)))
        assert part.describe()["is_stand_in"] is True and part.describe()["name"] == "digits"
        for text in (part.banner().text, part.banner().html, part.banner()._repr_html_()):
            assert "STAND-IN DATA" in text and spec.title in text
        assert min(part.class_counts.values()) > 0.7 * len(part) / len(part.classes)
    assert total == 1_797
    assert list(tmp_path.iterdir()) == []


def test_the_stand_in_keeps_its_splits_apart():
    labels = embedded.digits()[1]
    for splits in (("train", "test"), ("train", "validation", "test")):
        parts = [embedded.members(labels, split, splits) for split in splits]
        assert sorted(np.concatenate(parts).tolist()) == list(range(1_797))


def test_enlarged_digits():
    one = np.zeros((1, 8, 8), np.uint8)
    one[0, 3:5, 3:5] = 255
    mnist = embedded.enlarged(one, (1, 28, 28))[0, 0]
    assert mnist[:4].max() == mnist[24:].max() == mnist[:, :4].max() == mnist[:, 24:].max() == 0
    assert mnist[13:15, 13:15].min() == 255  # the middle stays the middle
    np.testing.assert_array_equal(mnist, mnist[::-1])
    np.testing.assert_array_equal(mnist, mnist.T)
    np.testing.assert_array_equal(embedded.enlarged(one, (1, 8, 8))[0], one)
    faces = embedded.enlarged(one, (3, 64, 64))[0]
    np.testing.assert_array_equal(faces[0], faces[2])
    with pytest.raises(BadInputError):
        embedded.enlarged(one, (1, 7, 28))


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    source = load_digits()
    images, labels = embedded.digits()
    assert images.max() == 255 and images.min() == 0
    np.testing.assert_array_equal(images, np.floor(source.images * 255 / 16))
    np.testing.assert_array_equal(labels, source.target)
    train, test = (datasets.load("digits", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (1_447, 350)
    assert not train.is_stand_in and train.origin == "embedded"
    together = Counter(train.class_counts) + Counter(test.class_counts)
    assert together == Counter(str(n) for n in source.target)


# ---------------------------------------------------------------- what it says of itself


def test_fingerprint_is_of_content_and_shape():
    images = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4)
    labels = np.array([7])
    expected = hashlib.sha256(b"1 1 3 4\n" + bytes(range(12)) + b"\7" + bytes(7)).hexdigest()
    assert datasets.fingerprint(images, labels) == expected
    others = [
        (images.reshape(1, 1, 4, 3), labels),
        (images, labels + 1),
        (images + np.uint8(1), labels),
    ]
    assert expected not in {datasets.fingerprint(*other) for other in others}
    strided = np.asfortranarray(images)  # the same values in another order of memory
    assert datasets.fingerprint(strided, labels.astype(np.int32)) == expected


def test_describe_can_be_stored_and_names_no_folder(small, monkeypatch):
    spec, root, _ = small
    monkeypatch.setenv("CONVCOST_DATA", str(root / "nowhere"))
    text = json.dumps(datasets.load(spec, "train", raw=root).describe())
    assert str(root) not in text
    assert json.loads(text)["content_sha256"] == datasets.load(spec, "train", raw=root).sha256


def test_banner_of_a_real_set_is_calm_and_escaped(small):
    spec, root, _ = small
    spec = dataclasses.replace(spec, title="<Small>")
    banner = datasets.load(spec, "train", raw=root).banner()
    assert banner.text.startswith("Data: <Small>, train, 6 images 1×4×5, 2 classes, from data/raw")
    assert "STAND-IN" not in banner.text
    assert "&lt;Small&gt;" in banner.html and "<Small>" not in banner.html


def test_other_pixels_than_the_references_are_said(small):
    spec, root, _ = small
    own = datasets.load(spec, "test", raw=root)
    assert own.is_reference is None
    known = dataclasses.replace(spec, fingerprints={"test": own.sha256})
    assert datasets.load(known, "test", raw=root).is_reference is True
    other = datasets.load(
        dataclasses.replace(spec, fingerprints={"test": "0" * 64}), "test", raw=root
    )
    assert other.is_reference is False and "the pixels differ" in other.banner().text


def test_a_part_of_a_set(small):
    spec, root, _ = small
    whole = datasets.load(spec, "train", raw=root)
    whole = dataclasses.replace(whole, labels=np.array([1, 0, 0, 1, 1, 0]))
    part = whole.first(4)
    assert len(part) == 4 and np.array_equal(part.images, whole.images[:4])
    each = whole.first(2, of_each_class=True)
    assert each.labels.tolist() == [1, 0, 0, 1]
    assert np.array_equal(each.images, whole.images[[0, 1, 2, 3]])
    assert part.sha256 != whole.sha256
    known = dataclasses.replace(spec, fingerprints={"train": "0" * 64})
    # the whole set is known to be another, of a part nothing is known
    assert dataclasses.replace(whole, spec=known).is_reference is False
    assert dataclasses.replace(part, spec=known).is_reference is None
    with pytest.raises(BadInputError, match=r"4 images of each class .* there are 3"):
        whole.first(4, of_each_class=True)
    with pytest.raises(BadInputError, match="there are 6"):
        whole.first(7)


def test_resized_images(small):
    spec, root, _ = small
    whole = datasets.load(spec, "test", raw=root)
    flat = dataclasses.replace(whole, images=np.full((2, 3, 4, 5), 77, np.uint8))
    assert np.array_equal(flat.resized(8).images, np.full((2, 3, 8, 8), 77))
    # one row of pixels 0 and 200, twice as wide: a quarter and three quarters in between
    edge = dataclasses.replace(whole, images=np.array([[[[0, 200], [0, 200]]]], np.uint8))
    assert edge.resized(4).images[0, 0].tolist() == [[0, 50, 150, 200]] * 4
    assert np.array_equal(edge.images, [[[[0, 200], [0, 200]]]])
    with pytest.raises(BadInputError):
        whole.resized(0)


def test_tensors_and_statistics(small):
    torch = pytest.importorskip("torch")
    spec, root, contents = small
    part = datasets.load(spec, "train", raw=root)
    x, y = part.tensors()
    assert (x.dtype, y.dtype, tuple(x.shape)) == (torch.float32, torch.int64, (6, 1, 4, 5))
    values = list(contents["train-images-idx3-ubyte"][16:])
    assert x.flatten().tolist() == [float(torch.tensor(v / 255)) for v in values]
    (mean,), (deviation,) = part.channel_statistics()
    assert mean == pytest.approx(np.mean(values) / 255, rel=1e-12)
    assert deviation == pytest.approx(np.std(values) / 255, rel=1e-12)
    z, _ = part.tensors(mean=(mean,), std=(deviation,))
    assert abs(float(z.mean())) < 1e-6 and abs(float(z.std(correction=0)) - 1) < 1e-6
    assert part.tensors(dtype=torch.float64)[0].dtype == torch.float64
    x.zero_()
    assert part.images.any()  # the tensors are a copy
    with pytest.raises(ValueError, match="read-only"):
        part.images[0] = 0


def test_importing_and_loading_need_no_torch():
    program = (
        "import sys; from convcost import datasets; datasets.load('digits', 'test').describe();"
        "datasets.status(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# ---------------------------------------------------------------- the command


def test_the_command_names_what_is_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path))
    monkeypatch.setattr("convcost.core.paths.RAW", tmp_path / "raw")
    assert cli.main(["data", "--set", "mnist", "--set", "digits"]) == 1
    out, err = capsys.readouterr()
    lines = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert lines["mnist"][1:4] == ["70,000", "-", "missing"]
    assert lines["digits"][1:4] == ["1,797", "embedded", "ok"]
    assert "mnist: MNIST cannot be downloaded: CONVCOST_OFFLINE is set" in err
    assert cli.main(["data", "--set", "digits"]) == 0
    assert cli.main(["data", "--set", "nonsense"]) == 2


@pytest.mark.parametrize("words", [["data"], ["data", "--check"]])
def test_a_folder_that_does_not_exist_is_named_once_and_first(words, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("convcost.core.paths.RAW", tmp_path / "raw")
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path / "tpyo"))
    assert cli.main([*words, "--set", "digits"]) == 0
    said = capsys.readouterr().err
    named = f"CONVCOST_DATA names a folder that does not exist: {tmp_path / 'tpyo'}"
    assert said.startswith(named) and said.count("tpyo") == 1
    assert ("downloaded" in said) == (words == ["data"])
    monkeypatch.setenv("CONVCOST_DATA", str(tmp_path))
    assert cli.main([*words, "--set", "digits"]) == 0
    assert capsys.readouterr().err == ""


@needs_real("MNIST")
def test_the_command_checks_what_is_there(capsys, monkeypatch):
    monkeypatch.setenv("CONVCOST_DATA", REAL)
    assert cli.main(["data", "--check", "--set", "mnist"]) == 0
    assert "CONVCOST_DATA  ok" in capsys.readouterr().out


# ---------------------------------------------------------------- the real sets


@needs_real("MNIST")
@pytest.mark.parametrize("name", ["mnist", "fashionmnist"])
def test_the_real_sets(name, monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    monkeypatch.setenv("CONVCOST_DATA", REAL)
    family = {
        "mnist": torchvision.datasets.MNIST,
        "fashionmnist": torchvision.datasets.FashionMNIST,
    }
    for split, count in (("train", 60_000), ("test", 10_000)):
        ours = datasets.load(name, split, allow_stand_in=False)
        assert ours.images.shape == (count, 1, 28, 28)
        assert ours.origin == "CONVCOST_DATA" and ours.is_reference is True
        theirs = family[name](REAL, train=split == "train", download=False)
        np.testing.assert_array_equal(ours.images[:, 0], theirs.data.numpy())
        np.testing.assert_array_equal(ours.labels, theirs.targets.numpy())
        if name == "fashionmnist":
            assert list(ours.classes) == theirs.classes


def test_addresses_and_checksums_are_torchvisions():
    torchvision = pytest.importorskip("torchvision")
    for spec, theirs in (
        (datasets.SETS["mnist"], torchvision.datasets.MNIST),
        (datasets.SETS["fashionmnist"], torchvision.datasets.FashionMNIST),
    ):
        remotes = [spec.remote(file) for pair in spec.files.values() for file in pair]
        assert {(r.name, r.known_hash.removeprefix("md5:")) for r in remotes} == set(
            theirs.resources
        )
        assert set(theirs.mirrors) <= set(spec.mirrors)


def test_the_archive_of_faces_is_scikit_learns():
    lfw_module = pytest.importorskip("sklearn.datasets._lfw")
    archive = datasets.SETS["lfw_gender"].archive
    assert archive.urls[0] == lfw_module.FUNNELED_ARCHIVE.url
    assert archive.known_hash == f"sha256:{lfw_module.FUNNELED_ARCHIVE.checksum}"


def test_spread_takes_images_evenly_over_the_order_of_the_set():
    whole = datasets.load("digits", "test")
    few = whole.spread(4)
    last = len(whole) - 1
    chosen = [0, round(last / 3), round(2 * last / 3), last]
    assert (few.images == whole.images[chosen]).all() and (few.labels == whole.labels[chosen]).all()
    assert len(whole.spread(len(whole))) == len(whole)
    for count in (0, len(whole) + 1):
        with pytest.raises(BadInputError, match=f"{count} images"):
            whole.spread(count)
