"""Downloading, against a server of our own that does everything a server should not."""

import dataclasses
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import http_server
import small_sets
from convcost import datasets
from convcost.core.errors import BadInputError
from convcost.datasets import transfer
from small_sets import listing, refused

HASTY = datasets.Patience(connect_s=1, read_s=0.3, stall_s=0.3, tries=2, backoff_s=0.01)


pytestmark = pytest.mark.usefixtures("no_settings")


@pytest.fixture
def small(server):
    """A small set in MNIST's form, served whole; (specification, contents)."""
    spec, packed = small_sets.idx_set((server.url(""),))
    server.answers |= {f"/{name}": http_server.whole(body) for name, body in packed.items()}
    return spec, packed


IMAGES = "train-images-idx3-ubyte.gz"


def test_a_set_is_downloaded_once_and_found_afterwards(small, raw, server):
    spec, _ = small
    assert not datasets.available(spec, raw=raw)
    first = datasets.load(spec, "train", raw=raw)
    assert (first.origin, first.is_stand_in, first.images.shape) == (
        "download",
        False,
        (6, 1, 4, 5),
    )
    assert datasets.available(spec, raw=raw)
    second = datasets.load(spec, "train", raw=raw)
    assert second.origin == "data/raw" and second.sha256 == first.sha256
    assert len(server.fetched) == 4
    assert {path.name for path in (raw / "Small/raw").iterdir()} == {
        file.name for pair in spec.files.values() for file in pair
    }
    assert not (raw / ".partial").exists()


FAULTS = {
    "truncated": (lambda body: http_server.truncated(body), "before the file did"),
    "another file": (lambda body: http_server.whole(b"x" * len(body)), "wrong checksum"),
    "one bit flipped": (
        lambda body: http_server.whole(body[:-1] + bytes([body[-1] ^ 1])),
        "wrong checksum",
    ),
    "a web page": (lambda body: http_server.page(), "a web page instead of the file"),
    "a web page in disguise": (
        lambda body: http_server.page("application/gzip"),
        "a web page instead of the file",
    ),
    "stalled": (lambda body: http_server.stalled(body), "fell silent"),
    "not there": (lambda body: http_server.status(404), "404"),
    "server error": (lambda body: http_server.status(503), "503 (tried 2 times)"),
    "too large": (lambda body: http_server.whole(bytes(2_000_000)), "too large"),
    "empty": (lambda body: http_server.whole(b""), "wrong checksum"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_nothing_is_left_behind(fault, small, raw, server):
    spec, packed = small
    make, words = FAULTS[fault]
    server.answers[f"/{IMAGES}"] = make(packed[IMAGES])
    before = listing(raw)
    begin = time.monotonic()
    with pytest.raises(datasets.DownloadError, match=IMAGES) as caught:
        datasets.fetch(spec, raw=raw, patience=HASTY)
    assert words in str(caught.value)
    assert server.url(IMAGES) in str(caught.value)
    assert time.monotonic() - begin < 5
    assert listing(raw) == before


def test_files_that_came_before_the_fault_do_not_stay(small, raw, server):
    spec, _ = small
    server.answers["/t10k-labels-idx1-ubyte.gz"] = http_server.status(404)
    before = listing(raw)
    with pytest.raises(datasets.DownloadError):
        datasets.fetch(spec, raw=raw, patience=HASTY)
    assert len(server.fetched) == 4
    assert listing(raw) == before


def test_right_archive_with_wrong_content_is_refused(small, raw):
    """The .gz is what its md5 says, and its content is not what the sha256 says."""
    spec, _ = small
    images, labels = spec.files["train"]
    bad = dataclasses.replace(images, sha256="0" * 64)
    before = listing(raw)
    with pytest.raises(datasets.DownloadError, match="not the right content"):
        datasets.fetch(
            dataclasses.replace(spec, files=spec.files | {"train": (bad, labels)}), raw=raw
        )
    assert listing(raw) == before


def test_only_what_is_missing_is_fetched(small, raw, server):
    spec, _ = small
    datasets.fetch(spec, raw=raw)
    (raw / "Small/raw/t10k-labels-idx1-ubyte").unlink()
    server.requests.clear()
    datasets.fetch(spec, raw=raw)
    assert server.fetched == ["/t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("first", [http_server.status(500), http_server.status(429), "truncated"])
def test_a_passing_fault_is_tried_again(first, small, raw, server):
    spec, packed = small
    body = packed[IMAGES]
    first = http_server.truncated(body) if first == "truncated" else first
    server.answers[f"/{IMAGES}"] = http_server.in_turn(first, http_server.whole(body))
    datasets.fetch(spec, raw=raw, patience=HASTY)
    assert server.fetched.count(f"/{IMAGES}") == 2


@pytest.mark.parametrize("fault", ["a web page", "another file", "not there", "truncated"])
def test_the_next_mirror_is_tried(fault, small, raw, server):
    spec, packed = small
    make, _ = FAULTS[fault]
    server.answers[f"/bad/{IMAGES}"] = make(packed[IMAGES])
    spec = dataclasses.replace(spec, mirrors=(server.url("bad/"), server.url("")))
    datasets.fetch(spec, raw=raw, patience=HASTY)
    asked = [path for path in server.fetched if path.endswith(IMAGES)]
    assert asked[0] == f"/bad/{IMAGES}" and asked[-1] == f"/{IMAGES}"
    assert datasets.load(spec, "test", raw=raw).origin == "data/raw"


def test_a_dead_mirror_does_not_stop_a_living_one(small, raw, server):
    spec, _ = small
    spec = dataclasses.replace(spec, mirrors=(refused(), server.url("")))
    datasets.fetch(spec, raw=raw, patience=HASTY)
    assert datasets.available(spec, raw=raw)


def test_a_server_that_drips_is_given_up(monkeypatch):
    """Below 1 KB per second over `stall_s`, although the connection never falls silent."""
    clock = iter((0.0, 10.0, 31.0, 31.0, 62.5))
    monkeypatch.setattr(transfer.time, "monotonic", lambda: next(clock))
    with transfer.progress("a.gz", None, "B") as bar:
        limits = transfer._Limits(bar, max_bytes=10**6, stall_s=30)
        limits.update(8192)
        limits.update(4 * 8192)  # 40 KB in 31 s are enough
        with pytest.raises(transfer._Hiccup, match=r"stalled \(49,152 bytes came\)"):
            limits.update(8192)  # 8 KB in the next 31.5 s are not


def test_a_file_larger_than_announced_is_given_up():
    with transfer.progress("a.gz", None, "B") as bar:
        limits = transfer._Limits(bar, max_bytes=20_000, stall_s=30)
        limits.total = 0  # the server announces nothing
        for _ in range(3):
            limits.update(8192)
        with pytest.raises(transfer._Refusal, match="larger than 20,000 bytes"):
            limits.update(8192)


def test_what_is_quick_shows_no_progress(capsys):
    with transfer.progress("faces", 10, " images") as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- no network


def _answers_never(*args, **kwargs):
    time.sleep(8)
    raise socket.gaierror("too late")


@pytest.mark.parametrize("how", ["refused", "unknown name", "silent name server"])
def test_no_network_is_recognised_within_five_seconds(how, raw, monkeypatch):
    address = refused() if how == "refused" else "http://no-such-host.invalid/"
    if how == "silent name server":
        monkeypatch.setattr(socket, "getaddrinfo", _answers_never)
    spec, _ = small_sets.idx_set((address, address + "mirror/"))
    before = listing(raw)
    begin = time.monotonic()
    with pytest.raises(datasets.NoNetworkError, match="no server answers"):
        datasets.fetch(spec, raw=raw)
    first = time.monotonic() - begin
    with pytest.raises(datasets.NoNetworkError):  # and the second time it is known
        datasets.fetch(spec, raw=raw)
    assert first < 5 and time.monotonic() - begin - first < 0.1
    assert listing(raw) == before


def test_without_network_the_stand_in_says_why(raw):
    spec, _ = small_sets.idx_set((refused(),))
    # 2 classes and 8×8: digits, even or odd
    spec = dataclasses.replace(spec, shape=(1, 8, 8))
    loaded = datasets.load(spec, "test", raw=raw)
    assert (loaded.asked, loaded.name, loaded.origin) == ("small", "digits", "embedded stand-in")
    assert "no server answers" in loaded.banner().text
    with pytest.raises(datasets.MissingDataError, match="no server answers"):
        datasets.load(spec, "test", raw=raw, allow_stand_in=False)


def test_offline_on_request(small, raw, server, monkeypatch):
    monkeypatch.setenv("CONVCOST_OFFLINE", "1")
    with pytest.raises(datasets.NoNetworkError, match="CONVCOST_OFFLINE is set"):
        datasets.fetch(small[0], raw=raw)
    assert server.requests == []
    monkeypatch.setenv("CONVCOST_OFFLINE", "0")
    datasets.fetch(small[0], raw=raw)


def test_one_living_server_is_a_network(server):
    assert datasets.network([refused(), server.url("")])
    verdict = datasets.network([refused()])
    assert not verdict and "refused" in verdict.reason


@pytest.mark.parametrize("target", ["https://data.invalid/x", "http://data.invalid/x"])
def test_a_proxy_is_asked_in_its_own_language(target, server, monkeypatch):
    """Behind a proxy names are not known here; what counts is whether the proxy lets us through."""
    https = target.startswith("https")
    path = "data.invalid:443" if https else "http://data.invalid/"
    monkeypatch.setenv("https_proxy" if https else "http_proxy", server.address)
    server.answers[path] = http_server.status(403)
    assert not datasets.network([target])
    server.answers[path] = http_server.status(200)
    assert not datasets.network([target])  # still the first verdict
    assert datasets.network([target], fresh=True)
    assert server.requests == [("CONNECT" if https else "HEAD", path)] * 2


# ---------------------------------------------------------------- several processes, kills


PROGRAM = """
import dataclasses, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import small_sets
from convcost import datasets
spec, _ = small_sets.idx_set((sys.argv[2],))
datasets.fetch(spec, raw=Path(sys.argv[3]))
"""


def test_a_killed_download_leaves_nothing_that_counts(small, raw, server):
    spec, packed = small
    before = listing(raw)
    slow = http_server.stalled(packed["t10k-images-idx3-ubyte.gz"])
    server.answers["/t10k-images-idx3-ubyte.gz"] = slow
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), server.url(""), str(raw)]
    )
    deadline = time.monotonic() + 20
    while ("GET", "/t10k-images-idx3-ubyte.gz") not in server.requests:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = listing(raw)
    assert left != before  # the fault was real: it died in the middle
    assert all(name.startswith((".partial", "mine")) for name in left)
    assert not datasets.available(spec, raw=raw)
    server.answers["/t10k-images-idx3-ubyte.gz"] = http_server.whole(
        packed["t10k-images-idx3-ubyte.gz"]
    )
    datasets.fetch(spec, raw=raw)  # its lock died with it, its remains are cleared away
    assert datasets.available(spec, raw=raw) and not (raw / ".partial").exists()


def test_two_at_once_download_once(small, raw, server):
    spec, _ = small
    errors = []

    def work():
        try:
            datasets.fetch(spec, raw=raw)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(server.fetched) == 4


def test_a_folder_that_cannot_be_written_to_is_named(small, tmp_path):
    raw = tmp_path / "raw"
    raw.write_text("a file where a folder should be")
    with pytest.raises(datasets.DownloadError, match="cannot be written to"):
        datasets.fetch(small[0], raw=raw)


# ---------------------------------------------------------------- files put there by hand


def test_files_put_by_hand_need_no_network(raw):
    spec, packed = small_sets.idx_set((refused(),))
    (raw / "downloads/small").mkdir(parents=True)
    for name, body in packed.items():
        (raw / "downloads/small" / name).write_bytes(body)
    assert datasets.load(spec, "train", raw=raw).origin == "download"
    assert len(list((raw / "downloads/small").iterdir())) == 4


def test_a_wrong_file_put_by_hand_is_named(raw):
    spec, packed = small_sets.idx_set((refused(),))
    (raw / "downloads/small").mkdir(parents=True)
    for name, body in packed.items():
        (raw / "downloads/small" / name).write_bytes(body)
    (raw / "downloads/small" / IMAGES).write_bytes(b"something else")
    with pytest.raises(BadInputError, match=IMAGES):
        datasets.load(spec, "train", raw=raw)
