"""Faces: from archive and lists to the prepared folder, and reading it."""

import dataclasses
import hashlib
import io
import os
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import http_server
import small_sets
from convcost import datasets
from convcost.core.errors import DamagedFileError
from convcost.datasets import lfw
from small_sets import FACES, listing

REAL = Path(os.environ.get("CONVCOST_DATA", "")) / "lfw_gender"
needs_real = pytest.mark.skipif(
    not os.environ.get("CONVCOST_DATA") or not REAL.is_dir(),
    reason="CONVCOST_DATA with lfw_gender/ is not set",
)


pytestmark = pytest.mark.usefixtures("no_settings")


def served(server, tgz: bytes, lists: dict[str, bytes] | None = None):
    """The small set of faces with this archive, served."""
    server.answers["/faces.tgz"] = http_server.whole(tgz)
    for label, text in (lists or small_sets.face_lists()).items():
        server.answers[f"/{label}.txt"] = http_server.whole(text, "text/plain")
    return small_sets.face_set(server.address, tgz)


# ---------------------------------------------------------------- from end to end


def test_archive_and_lists_become_a_data_set(server, raw):
    spec = served(server, small_sets.archive(small_sets.face_files()))
    loaded = {split: datasets.load(spec, split, raw=raw) for split in spec.splits}
    names = {name: (label, lfw.split_of(lfw.person_of(name))) for name, (_, label) in FACES.items()}
    for split, part in loaded.items():
        expected = Counter(label for label, own in names.values() if own == split)
        assert Counter(part.class_counts) == expected
        assert set(part.people) == {
            lfw.person_of(n) for n, (_, own) in names.items() if own == split
        }
    assert sorted(str(p.relative_to(raw)) for p in (raw / "small_faces").rglob("*.jpg")) == sorted(
        f"small_faces/{label}/{name}" for name, (_, label) in FACES.items()
    )
    assert not (raw / ".partial").exists()
    folder = raw / "small_faces"
    assert lfw.miscounted(spec, folder) == ""
    (folder / "female/Ada_Lovelace_0001.jpg").write_bytes(b"")
    (folder / "male/Alan_Turing_0001.jpg").unlink()
    assert lfw.miscounted(spec, folder) == (
        "female/Ada_Lovelace_0001.jpg has 0 bytes; male/ has 0 images, not 1"
    )


def _lanczos(pixels: np.ndarray, size: int) -> np.ndarray:
    """A referee for Pillow: rows and columns in turn, Lanczos windows of 3 lobes, in floats."""

    def weights(n: int) -> np.ndarray:
        scale = n / size
        centres = (np.arange(size) + 0.5) * scale
        distance = (np.arange(n) + 0.5 - centres[:, None]) / scale
        window = np.sinc(distance) * np.sinc(distance / 3) * (abs(distance) < 3)
        return window / window.sum(axis=1, keepdims=True)

    across = np.einsum("xw,hwc->hxc", weights(pixels.shape[1]), pixels.astype(float))
    across = np.clip(np.rint(across), 0, 255)  # Pillow keeps bytes between the two passes
    down = np.einsum("yh,hxc->yxc", weights(pixels.shape[0]), across)
    return np.clip(np.rint(down), 0, 255)


def test_the_crop_is_rows_and_columns_61_to_188_and_the_scaling_lanczos():
    original = small_sets.photograph(1)
    source = np.asarray(Image.open(io.BytesIO(original)))
    made = np.asarray(lfw.face(original, "a.jpg", (64, 64))).astype(int)
    exact = _lanczos(source[61 : 188 + 1, 61 : 188 + 1], 64)
    assert abs(made - exact).max() <= 1  # Pillow's fixed-point weights against floats
    for shift in (-1, 1):  # the referee can tell a crop that is one pixel off
        off = _lanczos(source[61 + shift : 189 + shift, 61:189], 64)
        assert abs(made - off).max() > 3


def test_the_prepared_file_is_the_face_at_quality_95_without_subsampling(server, raw):
    spec = served(server, small_sets.archive(small_sets.face_files()))
    datasets.fetch(spec, raw=raw)
    for name, (seed, label) in FACES.items():
        path = raw / "small_faces" / label / name
        file = io.BytesIO()
        face = lfw.face(small_sets.photograph(seed), name, (64, 64))
        face.save(file, format="JPEG", quality=95, subsampling="4:4:4")
        assert path.read_bytes() == file.getvalue()
        with Image.open(path) as image:
            assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_a_second_run_downloads_nothing_and_the_cache_is_used(server, raw, monkeypatch):
    spec = served(server, small_sets.archive(small_sets.face_files()))
    split = lfw.split_of("Ada_Lovelace")
    first = datasets.load(spec, split, raw=raw)
    requests = len(server.fetched)
    assert requests == 3
    monkeypatch.setattr(lfw, "_decoded", None)  # a JPEG that is decoded again fails
    second = datasets.load(spec, split, raw=raw)
    assert len(server.fetched) == requests
    assert second.sha256 == first.sha256 and second.origin == "data/raw"


def test_a_damaged_cache_and_changed_files_are_decoded_again(server, raw):
    spec = served(server, small_sets.archive(small_sets.face_files()))
    split = lfw.split_of("Ada_Lovelace")
    first = datasets.load(spec, split, raw=raw)
    (kept,) = (raw / "cache").iterdir()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    assert datasets.load(spec, split, raw=raw).sha256 == first.sha256
    kept.write_bytes(b"")
    assert datasets.load(spec, split, raw=raw).sha256 == first.sha256
    changed = raw / "small_faces/female/Ada_Lovelace_0001.jpg"
    other = raw / "small_faces/female/Emmy_Noether_0001.jpg"
    changed.write_bytes(other.read_bytes())
    assert datasets.load(spec, split, raw=raw).sha256 != first.sha256
    assert len(list((raw / "cache").iterdir())) == 1  # the old one is gone


def test_two_at_once_download_once(server, raw):
    spec = served(server, small_sets.archive(small_sets.face_files()))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: datasets.fetch(spec, raw=raw), range(3)))
    assert len(server.fetched) == 3


def test_a_failure_is_not_tried_again_for_every_split(server, raw):
    spec = served(server, b"not an archive")
    texts = [datasets.load(spec, split, raw=raw).notes for split in spec.splits]
    assert server.requests.count(("GET", "/faces.tgz")) == 1
    assert texts[0] == texts[1] == texts[2] and "faces.tgz" in texts[0][0]
    with pytest.raises(datasets.DownloadError):  # asked for in so many words, it is
        datasets.fetch(spec, raw=raw)
    assert server.requests.count(("GET", "/faces.tgz")) == 2


# ---------------------------------------------------------------- archives that are refused


def _header(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


HARMFUL = {
    "leads out of the folder": "lfw_funneled/../../evil.jpg",
    "leads out of the folder (backslash)": "lfw_funneled\\..\\evil.jpg",
    "is an absolute path": "/evil.jpg",
    "is an absolute path (drive)": "C:/evil.jpg",
    "is a link": _header("lfw_funneled/evil.jpg", tarfile.SYMTYPE, "/etc/passwd"),
    "is a link (hard)": _header("lfw_funneled/evil.jpg", tarfile.LNKTYPE, "/etc/passwd"),
    "is neither a file nor a folder": _header("lfw_funneled/evil.jpg", tarfile.CHRTYPE),
    "is neither a file nor a folder (pipe)": _header("lfw_funneled/evil", tarfile.FIFOTYPE),
    "a header of ": _header("lfw_funneled/evil.jpg", tarfile.REGTYPE),
}
HARMFUL["a header of "].pax_headers = {"comment": "x" * 9_000}


@pytest.mark.parametrize("reason", HARMFUL)
@pytest.mark.parametrize("position", ["first", "last"])
def test_a_harmful_archive_is_refused_whole(reason, position, server, raw):
    member = HARMFUL[reason]
    files = small_sets.face_files()
    extra = [(member, b"")]
    tgz = small_sets.archive(extra + files if position == "first" else files + extra)
    spec = served(server, tgz)
    before, above = listing(raw), listing(raw.parent)
    with pytest.raises(datasets.DownloadError, match="is refused") as caught:
        datasets.fetch(spec, raw=raw)
    assert reason.partition(" (")[0] in str(caught.value)
    assert listing(raw) == before and listing(raw.parent) == above


def _changed_files(change: str):
    files = dict(small_sets.face_files())
    ada = "lfw_funneled/Ada_Lovelace/Ada_Lovelace_0001.jpg"
    if change == "an image is missing":
        del files[ada]
    elif change == "an image is cut":
        files[ada] = files[ada][:1000]
    elif change == "an image is a page":
        files[ada] = b"<!DOCTYPE html>"
    elif change == "an image has another size":
        files[ada] = small_sets.photograph(1, 64)
    elif change == "an image stands in it twice":
        return [*files.items(), ("elsewhere/Ada_Lovelace_0001.jpg", files[ada])]
    return list(files.items())


CHANGES = {
    "an image is missing": "2 female, 1 male",
    "an image is cut": "Ada_Lovelace_0001.jpg cannot be read as a JPEG",
    "an image is a page": "Ada_Lovelace_0001.jpg cannot be read as a JPEG",
    "an image has another size": "is RGB 64×64, not RGB 250×250",
    "an image stands in it twice": "Ada_Lovelace_0001.jpg twice",
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_archive_with_other_images_is_refused(change, server, raw):
    spec = served(server, small_sets.archive(_changed_files(change)))
    before = listing(raw)
    with pytest.raises(datasets.DownloadError, match=CHANGES[change]):
        datasets.fetch(spec, raw=raw)
    assert listing(raw) == before


@pytest.mark.parametrize("fault", ["truncated body", "truncated archive", "not an archive"])
def test_a_damaged_archive_is_refused(fault, server, raw):
    tgz = small_sets.archive(small_sets.face_files())
    body = {"truncated archive": tgz[: len(tgz) // 2], "not an archive": b"x" * 5000}.get(
        fault, tgz
    )
    spec = served(server, body)
    if fault == "truncated body":
        server.answers["/faces.tgz"] = http_server.truncated(body)
    before = listing(raw)
    patience = datasets.Patience(tries=1)
    with pytest.raises(datasets.DownloadError, match=r"faces\.tgz"):
        datasets.fetch(spec, raw=raw, patience=patience)
    assert listing(raw) == before


def test_too_much_in_an_archive_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "a.tgz"
    path.write_bytes(small_sets.archive([("a.jpg", b"12345"), ("b.jpg", b"12345")]))
    assert dict(lfw.members(path, {"a.jpg", "b.jpg"})) == {"a.jpg": b"12345", "b.jpg": b"12345"}
    for limit, value in (("MAX_MEMBERS", 1), ("MAX_TOTAL_BYTES", 9), ("MAX_MEMBER_BYTES", 4)):
        with monkeypatch.context() as patch:
            patch.setattr(lfw, limit, value)
            with pytest.raises(DamagedFileError, match="is refused"):
                list(lfw.members(path, {"a.jpg", "b.jpg"}))


# ---------------------------------------------------------------- lists


LISTS = {
    "a page": {"female": b"<!DOCTYPE html><p>gone</p>"},
    "empty": {"female": b"\n"},
    "another label": {
        "female": b"Ada_Lovelace_0001.jpg\nAda_Lovelace_0002.jpg\nAlan_Turing_0001.jpg\n",
        "male": b"Emmy_Noether_0001.jpg\n",
    },
    "one more": {"male": b"Alan_Turing_0001.jpg\nNo_List_0001.jpg\n"},
}


@pytest.mark.parametrize("fault", LISTS)
def test_lists_with_other_labels_are_refused(fault, server, raw):
    lists = small_sets.face_lists() | LISTS[fault]
    spec = served(server, small_sets.archive(small_sets.face_files()), lists)
    before = listing(raw)
    with pytest.raises(datasets.DownloadError):
        datasets.fetch(spec, raw=raw)
    assert listing(raw) == before
    big = ("GET", "/faces.tgz") in server.requests
    assert big == (fault in ("another label", "one more"))  # else refused before 233 MB


def test_exactly_one_label():
    spec = small_sets.face_set("http://x", b"")
    lists = {label: text.decode() for label, text in small_sets.face_lists().items()}
    assert lfw.chosen(spec, lists) == {name: label for name, (_, label) in FACES.items()}
    kept = dataclasses.replace(spec, left_out=())
    assert lfw.chosen(kept, lists)["Left_Out_0001.jpg"] == "male"


# ---------------------------------------------------------------- people


def test_the_split_is_the_hash_of_the_name_and_nothing_else():
    for number in range(500):
        name = f"Person_{number}"
        fraction = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) / 2**64
        expected = "train" if fraction < 0.7 else "validation" if fraction < 0.85 else "test"
        assert lfw.split_of(name) == expected
    # for ever: these must never move
    pinned = {"Zhang_Ziyi": "train", "Anna_Faris": "validation", "Al_Gore": "test"}
    assert {name: lfw.split_of(name) for name in pinned} == pinned


def test_names():
    assert lfw.person_of("Abdullah_al-Attiyah_0001.jpg") == "Abdullah_al-Attiyah"
    assert lfw.person_of("Zico_0003.jpg") == "Zico"
    for wrong in ("Zico.jpg", "Zico_3.jpg", "Zico_0003.png", "a/Zico_0003.jpg"):
        with pytest.raises(DamagedFileError):
            lfw.person_of(wrong)


# ---------------------------------------------------------------- a damaged folder


@pytest.mark.parametrize("fault", ["one less", "one more", "moved", "cut", "not an image", "size"])
def test_a_damaged_folder_is_an_error_and_no_stand_in(fault, server, raw, monkeypatch):
    spec = served(server, small_sets.archive(small_sets.face_files()))
    datasets.fetch(spec, raw=raw)
    ada = raw / "small_faces/female/Ada_Lovelace_0001.jpg"
    if fault == "one less":
        ada.unlink()
    elif fault == "one more":
        ada.with_name("Ada_Lovelace_0003.jpg").write_bytes(ada.read_bytes())
    elif fault == "moved":
        ada.rename(raw / "small_faces/male" / ada.name)
    elif fault == "cut":
        ada.write_bytes(ada.read_bytes()[:700])
    elif fault == "not an image":
        ada.write_bytes(b"not an image")
    else:
        ada.write_bytes(small_sets.photograph(1))
    words = {"one less": "2 female instead of 3", "one more": "4 female instead of 3"}
    with pytest.raises(DamagedFileError, match=words.get(fault, "small_faces")) as caught:
        datasets.load(spec, "train", raw=raw)
    assert "make data" in str(caught.value)


def test_a_given_folder_is_never_written_to(server, raw, tmp_path, monkeypatch):
    spec = served(server, small_sets.archive(small_sets.face_files()))
    datasets.fetch(spec, raw=raw)
    before = {p: p.stat().st_mtime_ns for p in sorted(raw.rglob("*"))}
    monkeypatch.setenv("CONVCOST_DATA", str(raw))
    own = tmp_path / "own"
    loaded = datasets.load(spec, lfw.split_of("Alan_Turing"), raw=own)
    assert loaded.origin == "CONVCOST_DATA"
    assert {p: p.stat().st_mtime_ns for p in sorted(raw.rglob("*"))} == before
    assert [path.parent.name for path in own.rglob("*.npy")] == ["cache"]


# ---------------------------------------------------------------- the real set


@needs_real
def test_the_real_set(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVCOST_DATA", str(REAL.parent))
    parts = {
        split: datasets.load("lfw_gender", split) for split in datasets.SETS["lfw_gender"].splits
    }
    total = Counter()
    for part in parts.values():
        total.update(part.class_counts)
        assert part.images.shape == (len(part), 3, 64, 64) and part.images.dtype == np.uint8
        assert not part.is_stand_in and part.origin == "CONVCOST_DATA"
    assert total == {"female": 2_961, "male": 10_263}
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 9_445,
        "validation": 2_068,
        "test": 1_711,
    }
    people = {split: set(part.people) for split, part in parts.items()}
    assert sum(len(p) for p in people.values()) == len(set.union(*people.values())) == 5_743
    sample = REAL / "female/AJ_Cook_0001.jpg"
    test = parts[lfw.split_of("AJ_Cook")]
    place = list(test.people).index("AJ_Cook")
    with Image.open(sample) as image:
        np.testing.assert_array_equal(test.images[place], np.asarray(image).transpose(2, 0, 1))
    assert test.classes[test.labels[place]] == "female"


@needs_real
def test_our_preparation_writes_files_of_the_real_sets_form(tmp_path):
    ours = tmp_path / "a.jpg"
    lfw.face(small_sets.photograph(1), "a.jpg", (64, 64)).save(
        ours, format="JPEG", quality=lfw.JPEG_QUALITY, subsampling=lfw.NO_SUBSAMPLING
    )
    with Image.open(ours) as a, Image.open(REAL / "female/AJ_Cook_0001.jpg") as b:
        assert (a.size, a.mode, a.quantization, a.layer) == (
            b.size,
            b.mode,
            b.quantization,
            b.layer,
        )


@needs_real
def test_the_nine_left_out_images_are_not_in_the_real_set():
    spec = datasets.SETS["lfw_gender"]
    present = {path.name for label in spec.classes for path in (REAL / label).glob("*.jpg")}
    assert len(spec.left_out) == 9 == 13_233 - len(present)
    assert not present & set(spec.left_out)
