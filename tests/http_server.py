"""A small HTTP server on this machine, for the tests of downloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """Serves `answers`: path -> (kind, bytes). Counts the requests of each path.

    good: the bytes; short: the length of the bytes, but only half of them; chunked: the bytes in
    pieces and no length; slow: the length and some bytes, then nothing; silent: no answer at all;
    404: an error
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.requests: list[str] = []
        self.over = threading.Event()
        self.address = ""

    def add(self, path: str, kind: str, data: bytes = b"") -> str:
        self.answers[path] = (kind, data)
        return self.address + path


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def running(state: Any, handler: type[BaseHTTPRequestHandler]) -> Iterator[None]:
    """A server in threads: state.address is where it listens, state.over is set at the end."""
    server = _Quiet(("127.0.0.1", 0), handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        state.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving() -> Iterator[Server]:
    """A running server; it ends with the block."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.requests.append(self.path)
            kind, data = state.answers.get(self.path, ("404", b""))
            if kind == "404":
                self.send_error(404)
                return
            if kind == "silent":
                state.over.wait(60)
                return
            self.close_connection = True
            self.send_response(200)
            if kind == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for i in range(0, len(data), 1000):
                    piece = data[i : i + 1000]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")
                return
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data if kind == "good" else data[: len(data) // 2])
            self.wfile.flush()
            if kind == "slow":
                state.over.wait(60)

        def log_message(self, *arguments: object) -> None:
            pass

    with running(state, Handler):
        yield state
