"""What all tests share: no window, no network, no results of the user's own."""

import os
import signal
import socket

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

import http_server

# A job that a shell starts in the background ignores SIGINT, and so would every process that a test
# starts and interrupts; with a handler here, they begin with the default again.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that reaches for another machine fails at once, and says for which one."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise OSError(f"a test tried to connect to {address[0]}: tests have no network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def no_settings(monkeypatch):
    """No settings of the user's own, and no verdict on the network from an earlier test."""
    from convcost.datasets import transfer

    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("CONVCOST_DATA", "CONVCOST_OFFLINE"):
            monkeypatch.delenv(name)
    transfer._verdicts.clear()


@pytest.fixture
def server():
    """A web server on this machine that misbehaves as it is told."""
    with http_server.serving() as running:
        yield running


@pytest.fixture
def raw(tmp_path):
    """A folder for downloads, with something in it that must stay."""
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "mine.txt").write_text("a file of the user's own")
    return folder


def pytest_addoption(parser):
    parser.addoption("--renew", action="store_true", help="write tests/golden/ anew, on purpose")
