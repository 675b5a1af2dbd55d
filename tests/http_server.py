"""A server on 127.0.0.1 that misbehaves on request, for the tests of downloading."""

import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENDING = threading.Event()  # set when a server closes, so that a stalled answer ends at once


def whole(body: bytes, kind: str = "application/octet-stream"):
    """A proper answer."""

    def answer(handler):
        handler.begin(200, len(body), kind)
        handler.wfile.write(body)

    return answer


def truncated(body: bytes):
    """Announces all of `body`, sends half of it, and hangs up."""

    def answer(handler):
        handler.begin(200, len(body))
        handler.wfile.write(body[: len(body) // 2])

    return answer


def page(kind: str = "text/html"):
    """A web page where a file was asked for, as captive portals and moved files give."""
    return whole(b"<!DOCTYPE html><html><body>Please log in</body></html>", kind)


def status(code: int):
    """Nothing but a status."""

    def answer(handler):
        handler.begin(code, 0)

    return answer


def stalled(body: bytes, after: int = 10):
    """Sends `after` bytes of `body` and then nothing more, with the connection open."""

    def answer(handler):
        handler.begin(200, len(body))
        handler.wfile.write(body[:after])
        handler.wfile.flush()
        ENDING.wait(30)

    return answer


def in_turn(*answers):
    """The first answer to the first request, and so on; the last one for ever."""
    left = list(answers)

    def answer(handler):
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return answer


class Server:
    def __init__(self, address: str):
        self.address = address  # "http://127.0.0.1:<port>"
        self.answers = {}  # path -> answer
        self.requests = []  # (method, path), as they came

    @property
    def fetched(self) -> list[str]:
        """The paths of the files that were asked for."""
        return [path for method, path in self.requests if method == "GET"]

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"


@contextmanager
def serving():
    """Yields a running `Server` with no answers yet (404 for everything)."""

    class Handler(BaseHTTPRequestHandler):
        def begin(self, code: int, length: int, kind: str = "application/octet-stream"):
            self.send_response(code)
            self.send_header("Content-Length", str(length))
            self.send_header("Content-Type", kind)
            self.end_headers()

        def reply(self):
            server.requests.append((self.command, self.path))
            with suppress(BrokenPipeError, ConnectionResetError):  # a client that has given up
                server.answers.get(self.path, status(404))(self)

        do_GET = do_HEAD = do_CONNECT = reply

        def log_message(self, *args):
            pass

    ENDING.clear()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_address[1]}")
    # poll: how long shutdown waits
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        ENDING.set()
        http.shutdown()
        http.server_close()
        thread.join()
