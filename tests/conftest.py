"""What all tests share: no window, no network, no results of the user's own."""

import os
import socket

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

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
