"""Getting files over the network: is there one, and one file, checked, or nothing at all.

What is not tried here without a network: the addresses themselves. Everything else runs in the
tests against a server of our own: truncated body, wrong hash, a web page instead of the file,
stalled server, no network.
"""

import logging
import os
import queue
import shutil
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convcost.core import files, units
from convcost.core.errors import BadInputError, ConvcostError
from convcost.core.extras import optional
from convcost.datasets.sets import SETS, RemoteFile

_CHUNK_BYTES = 8192
_SILENT_S = 10.0  # before progress is shown where there is no terminal, and between two looks


class DownloadError(ConvcostError):
    """A file could not be fetched; the text says from where, why, and what to do."""


class NoNetworkError(DownloadError):
    """None of the servers can be reached."""


@dataclass(frozen=True)
class Patience:
    """How long to wait before giving up, in seconds.

    `read_s`: silence on an open connection. `stall_s`: the time in which at least 1 KB per second
    must have come, so that a server which drips is given up too. `tries` per address, with
    `backoff_s`, twice as much, … between them.
    """

    connect_s: float = 5.0
    read_s: float = 20.0
    stall_s: float = 30.0
    tries: int = 3
    backoff_s: float = 1.0


# ---------------------------------------------------------------- is there a network


@dataclass(frozen=True)
class Verdict:
    """Whether the network is there: true or false as a condition, `reason` in words."""

    reachable: bool
    reason: str
    seconds: float

    def __bool__(self) -> bool:
        return self.reachable


_verdicts: dict[tuple, Verdict] = {}


def network(
    urls: Iterable[str] | None = None, *, deadline_s: float = 4.0, fresh: bool = False
) -> Verdict:
    """Whether at least one of the servers of `urls` answers; known after `deadline_s` seconds.

    Without `urls`: the servers of all sets. All are asked at the same time, through the proxy where
    the environment names one. The verdict is kept for the life of the process; `fresh` asks again.
    CONVCOST_OFFLINE=1 says no at once.
    """
    if os.environ.get("CONVCOST_OFFLINE", "0") not in ("", "0"):
        return Verdict(False, "CONVCOST_OFFLINE is set", 0.0)
    if urls is None:
        urls = [url for spec in SETS.values() for url in spec.urls]
    servers = tuple(sorted({urllib.parse.urljoin(url, "/") for url in urls}))
    if fresh or servers not in _verdicts:
        _verdicts[servers] = _ask(servers, deadline_s)
    return _verdicts[servers]


def _ask(servers: tuple[str, ...], deadline_s: float) -> Verdict:
    begin = time.monotonic()
    if not servers:
        return Verdict(False, "there is no address to ask", 0.0)
    answers: queue.Queue = queue.Queue()

    def ask(server):
        try:
            answers.put((server, _refusal(server, deadline_s)))
        except Exception as error:  # a thread's error must arrive, whatever it is
            answers.put((server, _plain(error)))

    for server in servers:
        # daemon: a name server that never answers must not keep the process alive
        threading.Thread(target=ask, args=(server,), daemon=True).start()
    silent = {server: f"no answer within {units.seconds(deadline_s)}" for server in servers}
    for _ in servers:
        left = begin + deadline_s - time.monotonic()
        try:
            server, reason = answers.get(timeout=max(left, 0.001))
        except queue.Empty:
            break
        if not reason:
            return Verdict(True, f"{server} answers", time.monotonic() - begin)
        silent[server] = reason
    reasons = "; ".join(f"{server}: {reason}" for server, reason in silent.items())
    return Verdict(False, f"no server answers ({reasons})", time.monotonic() - begin)


def _refusal(server: str, timeout: float) -> str:
    """Why a proxy does not let us through to a server; "" where the server, or it, answers.

    What the server itself answers does not matter: that there is one is all we ask. Raises
    RequestException where nothing answers.
    """
    with optional():
        import requests

    try:
        status = requests.head(server, timeout=timeout, allow_redirects=False).status_code
    except requests.exceptions.SSLError:
        return ""
    proxied = requests.utils.select_proxy(server, requests.utils.get_environ_proxies(server))
    refused = proxied and (status in (403, 407) or status >= 500)
    return f"the proxy {proxied} answers {status}" if refused else ""


# ---------------------------------------------------------------- one file


class _Hiccup(Exception):
    """May go well at the next try."""


class _Refusal(Exception):
    """This address will not give the file; another may."""


def download(remote: RemoteFile, folder: Path, patience: Patience | None = None) -> Path:
    """One file into `folder`, whole and with the right hash; its path.

    Each address in turn, each with `patience.tries` tries. The file appears under its own name only
    when it is complete; on failure nothing of it is left. Raises DownloadError with the reason for
    every address.
    """
    with optional():
        import pooch
        import requests

    patience = patience or Patience()
    pooch.get_logger().setLevel(logging.WARNING)
    reasons = []
    for url in remote.urls:
        for attempt in range(patience.tries):
            if attempt:
                time.sleep(patience.backoff_s * 2 ** (attempt - 1))
            try:
                _retrieve(url, remote, folder, patience)
                return folder / remote.name
            except _Refusal as error:
                reasons.append(f"{url}: {error}")
                break
            except ValueError as error:
                if "hash" not in str(error).lower():
                    raise
                reasons.append(f"{url}: its content has the wrong checksum")
                break
            except requests.exceptions.ConnectTimeout:
                reasons.append(f"{url}: no connection within {patience.connect_s:g} s")
                break
            except (_Hiccup, requests.exceptions.RequestException) as error:
                status = getattr(getattr(error, "response", None), "status_code", None)
                if status and status != 429 and status < 500:
                    reasons.append(f"{url}: the server answers {status}")
                    break
                if attempt == patience.tries - 1:
                    times = "once" if patience.tries == 1 else f"{patience.tries} times"
                    said = f"the server answers {status}" if status else _plain(error)
                    reasons.append(f"{url}: {said} (tried {times})")
            except OSError as error:
                raise DownloadError(
                    f"{remote.name} cannot be written to {folder}: {error.strerror or error}; "
                    "make room or make the folder writable"
                ) from error
    raise DownloadError(f"{remote.name} could not be fetched: " + "; ".join(reasons))


def _retrieve(url: str, remote: RemoteFile, folder: Path, patience: Patience) -> None:
    """One try at one address: to a temporary file, which is renamed once its hash is compared."""
    import pooch

    with progress(remote.name, None, "B") as bar:
        fetch = pooch.HTTPDownloader(
            progressbar=_Limits(bar, remote.max_bytes, patience.stall_s),
            chunk_size=_CHUNK_BYTES,
            timeout=(patience.connect_s, min(patience.read_s, patience.stall_s)),
            # identity: what comes must be the file itself, so that its length can be compared
            headers={"Accept-Encoding": "identity", "User-Agent": "convcost"},
        )

        def fetch_no_page(address, output_file, pooch):
            fetch(address, output_file, pooch)
            with open(output_file, "rb") as file:
                begin = file.read(200).lstrip().lower()
            if begin.startswith((b"<!doctype", b"<html")):
                raise _Refusal("the server sent a web page instead of the file")

        pooch.retrieve(url, remote.known_hash, remote.name, folder, downloader=fetch_no_page)


def _plain(error: Exception) -> str:
    """A connection error in a few words, without urllib3's object addresses."""
    text = str(error)
    for sign, words in (
        ("Connection refused", "the connection was refused"),
        ("resolve", "the name is unknown"),
        ("timed out", "the server fell silent"),
        ("IncompleteRead", "the connection ended before the file did"),
        ("Connection reset", "the connection broke"),
        ("Connection aborted", "the connection broke"),
        ("RemoteDisconnected", "the connection broke"),
    ):
        if sign in text:
            return words
    return text


class _Limits:
    """What pooch tells its progress bar: shown by one, and held against limits on size and pace."""

    def __init__(self, bar, max_bytes: int, stall_s: float):
        self.bar, self.max_bytes, self.stall_s = bar, max_bytes, stall_s
        self.received = self.mark = 0
        self.whole = False
        self.since = time.monotonic()

    @property
    def total(self) -> int:
        """Bytes that the server has announced; 0 where it has not."""
        return self.bar.total or 0

    @total.setter
    def total(self, size: int) -> None:
        if size > self.max_bytes:
            raise _Refusal(f"the file is too large ({size:,} bytes)")
        self.bar.total = size or None

    def update(self, count: int) -> None:
        if self.whole:
            return
        self.bar.update(count)
        self.received += count
        if self.received > self.max_bytes + _CHUNK_BYTES:  # pooch counts whole chunks
            raise _Refusal(f"the file is larger than {self.max_bytes:,} bytes")
        waited = time.monotonic() - self.since
        if waited > self.stall_s:
            if self.received - self.mark < 1024 * waited:
                raise _Hiccup(f"the server stalled ({self.received:,} bytes came)")
            self.mark, self.since = self.received, time.monotonic()

    def reset(self) -> None:
        """All has come: what pooch says after this is the whole again, at once."""
        self.whole = True

    def close(self) -> None:
        self.bar.close()


def progress(what: str, total: int | None, unit: str):
    """A tqdm bar on stderr, gone at the end; where there is no terminal, one line in 10 seconds."""
    with optional():
        from tqdm import tqdm

    pace = {} if sys.stderr.isatty() else {"delay": _SILENT_S, "mininterval": _SILENT_S}
    return tqdm(desc=what, total=total, unit=unit, unit_scale=unit == "B", leave=False, **pace)


# ---------------------------------------------------------------- a folder to work in


@contextmanager
def workplace(raw: Path):
    """Yields an empty folder in `raw`, which no other process works in and which is gone after.

    One process at a time: the others wait. The lock (`raw/.lock`, held by the operating system)
    ends with its holder, however that ends; what a killed one left is removed by the next.
    """
    partial = raw / ".partial"
    try:
        raw.mkdir(parents=True, exist_ok=True)
        lock = files.claim(raw / ".lock")
        if lock is None:
            print(f"  waiting for another process that works in {raw}", file=sys.stderr, flush=True)
            lock = files.claim(raw / ".lock", wait_s=-1)
    except OSError as error:
        raise DownloadError(
            f"{raw} cannot be written to: {error.strerror or error}; make it writable, or set "
            "CONVCOST_DATA to a folder that holds the data sets"
        ) from error
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.release()


def obtain(remote: RemoteFile, by_hand: Path, partial: Path, patience: Patience | None) -> Path:
    """The file from the folder `by_hand`, where somebody has put it by hand, or else downloaded.

    Raises BadInputError where the file put by hand has the wrong hash, DownloadError where it
    cannot be fetched.
    """
    with optional():
        import pooch

    given = by_hand / remote.name
    if not given.exists():
        return download(remote, partial, patience)
    if remote.known_hash:
        algorithm, _, expected = remote.known_hash.partition(":")
        if pooch.file_hash(str(given), alg=algorithm) != expected:
            raise BadInputError(
                f"{given} does not have the {algorithm} {expected[:16]}…; remove it to have it "
                "downloaded, or put the right file there"
            )
    return given


def needed(remotes: Iterable[RemoteFile], by_hand: Path) -> list[RemoteFile]:
    """Those that nobody has put into the folder `by_hand`."""
    return [remote for remote in remotes if not (by_hand / remote.name).exists()]
