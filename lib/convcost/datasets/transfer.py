"""Getting files over the network: is there one, and one file, checked, or nothing at all.

What is not tried here without a network: the addresses themselves. Everything else runs in the
tests against a server of our own: truncated body, wrong hash, a web page instead of the file,
stalled server, no network.
"""

import http.client
import logging
import os
import queue
import shutil
import socket
import sys
import threading
import time
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convcost.core import units
from convcost.core.errors import BadInputError, ConvcostError
from convcost.datasets.sets import MEGABYTE, SETS, RemoteFile

_CHUNK = 256 * 1024


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

    Without `urls`: the servers of all sets. All are asked at the same time (name, then a TCP
    connection; through the proxy where the environment names one). The verdict is kept for the
    life of the process; `fresh` asks again. CONVCOST_OFFLINE=1 says no at once.
    """
    if os.environ.get("CONVCOST_OFFLINE", "0") not in ("", "0"):
        return Verdict(False, "CONVCOST_OFFLINE is set", 0.0)
    if urls is None:
        urls = [url for spec in SETS.values() for url in spec.urls]
    targets = tuple(sorted({_server(url) for url in urls}))
    proxies = urllib.request.getproxies()
    key = (targets, tuple(sorted(proxies.items())))
    if fresh or key not in _verdicts:
        _verdicts[key] = _ask(targets, proxies, deadline_s)
    return _verdicts[key]


def _server(url: str) -> tuple[str, str, int]:
    parts = urllib.parse.urlsplit(url)
    return (
        parts.scheme,
        parts.hostname or "",
        parts.port or (443 if parts.scheme == "https" else 80),
    )


def _ask(targets, proxies: dict[str, str], deadline_s: float) -> Verdict:
    begin = time.monotonic()
    if not targets:
        return Verdict(False, "there is no address to ask", 0.0)
    answers: queue.Queue = queue.Queue()

    def ask(target):
        try:
            _reach(target, proxies, deadline_s)
            answers.put((target, ""))
        except Exception as error:  # a thread's error must arrive, whatever it is
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            answers.put((target, reason))

    for target in targets:
        # daemon: a name server that never answers must not keep the process alive
        threading.Thread(target=ask, args=(target,), daemon=True).start()
    silent = {target: f"no answer within {units.seconds(deadline_s)}" for target in targets}
    for _ in targets:
        left = begin + deadline_s - time.monotonic()
        try:
            target, reason = answers.get(timeout=max(left, 0.001))
        except queue.Empty:
            break
        if not reason:
            return Verdict(True, f"{target[1]} answers", time.monotonic() - begin)
        silent[target] = reason
    reasons = "; ".join(f"{host}: {silent[scheme, host, port]}" for scheme, host, port in targets)
    return Verdict(False, f"no server answers ({reasons})", time.monotonic() - begin)


def _reach(target: tuple[str, str, int], proxies: dict[str, str], timeout: float) -> None:
    """Return when the server (or the proxy, on its behalf) answers; raise otherwise."""
    scheme, host, port = target
    address = proxies.get(scheme) or proxies.get("all")
    if not address or urllib.request.proxy_bypass(f"{host}:{port}"):
        socket.create_connection((host, port), timeout).close()
        return
    proxy = urllib.parse.urlsplit(address if "://" in address else f"http://{address}")
    where = (proxy.hostname or "", proxy.port or 8080)
    if proxy.scheme != "http":  # SOCKS or TLS to the proxy: that it is there is all we ask
        socket.create_connection(where, timeout).close()
        return
    headers = {"Host": f"{host}:{port}"}
    if proxy.username:
        user = (
            f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
        )
        headers["Proxy-Authorization"] = "Basic " + b64encode(user.encode()).decode()
    connection = http.client.HTTPConnection(*where, timeout=timeout)
    try:
        if scheme == "https":
            connection.set_tunnel(host, port, headers)
            connection.connect()  # raises when the proxy refuses the tunnel
        else:
            connection.request("HEAD", f"http://{host}:{port}/", headers=headers)
            status = connection.getresponse().status
            if status in (403, 407) or status >= 500:
                raise OSError(f"the proxy {where[0]} answers {status}")
    finally:
        connection.close()


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
    import pooch
    import requests

    patience = patience or Patience()
    pooch.get_logger().setLevel(logging.WARNING)
    target = folder / remote.name
    reasons = []
    for url in remote.urls:
        for attempt in range(patience.tries):
            if attempt:
                time.sleep(patience.backoff_s * 2 ** (attempt - 1))
            try:
                # pooch writes to a temporary file, compares the hash, renames, or cleans up
                pooch.retrieve(
                    url,
                    known_hash=remote.known_hash,
                    fname=remote.name,
                    path=folder,
                    downloader=_Downloader(remote, patience),
                )
                return target
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
                if attempt == patience.tries - 1:
                    times = "once" if patience.tries == 1 else f"{patience.tries} times"
                    reasons.append(f"{url}: {_plain(error)} (tried {times})")
            except OSError as error:
                raise DownloadError(
                    f"{remote.name} cannot be written to {folder}: {error.strerror or error}; "
                    "make room or make the folder writable"
                ) from error
    raise DownloadError(f"{remote.name} could not be fetched: " + "; ".join(reasons))


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


class _Downloader:
    """pooch's downloader protocol, with limits on time and size and a look at what comes."""

    def __init__(self, remote: RemoteFile, patience: Patience):
        self.remote = remote
        self.patience = patience

    def __call__(self, url, output_file, pooch, check_only=False):
        import requests
        import urllib3

        timeout = (self.patience.connect_s, min(self.patience.read_s, self.patience.stall_s))
        # identity: what comes must be the file itself, so that its length can be compared
        headers = {"Accept-Encoding": "identity", "User-Agent": "convcost"}
        with requests.get(url, stream=True, timeout=timeout, headers=headers) as response:
            if response.status_code == 429 or response.status_code >= 500:
                raise _Hiccup(f"the server answers {response.status_code}")
            if response.status_code != 200:
                raise _Refusal(f"the server answers {response.status_code}")
            if "html" in response.headers.get("Content-Type", "").lower():
                raise _Refusal("the server sent a web page instead of the file")
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            if total is not None and total > self.remote.max_bytes:
                raise _Refusal(f"the file is too large ({total:,} bytes)")
            with open(output_file, "wb") as file, progress(self.remote.name, total) as advance:
                try:
                    self._copy(response.raw, file, advance)
                except urllib3.exceptions.HTTPError as error:  # a body that ends early, too
                    raise _Hiccup(_plain(error)) from error

    def _copy(self, stream, file, advance) -> None:
        received = mark = 0
        since = time.monotonic()
        # read1: whatever has arrived, so that a server that drips is noticed
        while chunk := stream.read1(_CHUNK, decode_content=False):
            if not received and chunk.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
                raise _Refusal("the server sent a web page instead of the file")
            file.write(chunk)
            received += len(chunk)
            if received > self.remote.max_bytes:
                raise _Refusal(f"the file is larger than {self.remote.max_bytes:,} bytes")
            advance(len(chunk))
            waited = time.monotonic() - since
            if waited > self.patience.stall_s:
                if received - mark < 1024 * waited:
                    raise _Hiccup(f"the server stalled ({received:,} bytes came)")
                mark, since = received, time.monotonic()


@contextmanager
def progress(what: str, total: int | None, unit: str = "B", every_s: float = 10.0):
    """Yields `advance(n)`: a bar on a terminal, else a line every 10 seconds, on stderr."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        scaled = unit == "B"
        with tqdm(desc=what, total=total, unit=unit, unit_scale=scaled, leave=False) as bar:
            yield bar.update
        return
    begin = last = time.monotonic()
    done = 0

    def amount(n: int) -> str:
        return f"{n / MEGABYTE:.1f}" if unit == "B" else f"{n:,}"

    def advance(n: int) -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if now - last < every_s:
            return
        last = now
        line = f"  {what}: {amount(done)}"
        words = "MB" if unit == "B" else unit
        if total and done:
            left = (now - begin) * (total - done) / done
            line += f" of {amount(total)} {words}, about {units.seconds(left)} left"
        else:
            line += f" {words}"
        print(line, file=sys.stderr, flush=True)

    yield advance


# ---------------------------------------------------------------- a folder to work in


@contextmanager
def workplace(raw: Path):
    """Yields an empty folder in `raw`, which no other process works in and which is gone after.

    One process at a time: the others wait. The lock (`raw/.lock`, held by the operating system)
    ends with its holder, however that ends; what a killed one left is removed by the next.
    """
    import filelock

    partial = raw / ".partial"
    try:
        raw.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(raw / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            print(f"  waiting for another process that works in {raw}", file=sys.stderr, flush=True)
            lock.acquire()
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
