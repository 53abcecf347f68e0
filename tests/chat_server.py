"""A chat server on this machine that answers by script, for the tests of the client and judges."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from http_server import running


class ChatServer:
    """Answers each request with the next step of `script`; after the last one with `reply`.

    A step is a text (the answer), a number (a status), a pair (status, Retry-After), bytes (a body
    as it is), None (what `reply` says), or one of SILENT, CUT, DRIP and CLOSE. reply: a function
    from the messages to a text.
    """

    SILENT, CUT, DRIP, CLOSE = (object() for _ in range(4))

    def __init__(self) -> None:
        self.script: list = []
        self.reply = lambda messages: f"answer to {messages[-1]['content']}"
        self.requests: list[tuple[str, dict, dict]] = []  # path, headers, body
        self.over = threading.Event()
        self.address = ""
        self.counts = True  # whether answers have a number of tokens

    @property
    def questions(self) -> list[str]:
        return [body["messages"][-1]["content"] for _, _, body in self.requests]

    def body(self, path: str, text: str) -> bytes:
        """An answer in the protocol of the path."""
        if path.endswith("/api/chat"):
            answer = {"message": {"role": "assistant", "content": text}, "done": True,
                      "done_reason": "stop"}  # fmt: skip
            counts = {"prompt_eval_count": 11, "eval_count": 5}
            return json.dumps(answer | (counts if self.counts else {})).encode()
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"usage": {"prompt_tokens": 11, "completion_tokens": 5}}
        return json.dumps({"choices": [choice]} | (usage if self.counts else {})).encode()


@contextmanager
def chatting() -> Iterator[ChatServer]:
    """A running server; it ends with the block."""
    state = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append((self.path, dict(self.headers), body))
            step = state.script.pop(0) if state.script else None
            if step is None:
                step = state.reply(body["messages"])
            self.close_connection = True
            if step is state.SILENT:
                state.over.wait(60)
            elif isinstance(step, int):
                self.send(step, b'{"error": {"message": "by script, key: %s"}}'
                          % self.headers.get("Authorization", "none")[7:].encode())  # fmt: skip
            elif isinstance(step, tuple):
                self.send(step[0], b"busy", {"Retry-After": step[1], "Location": step[1]})
            elif isinstance(step, bytes):
                self.send(200, step)
            elif isinstance(step, str):
                self.send(200, state.body(self.path, step))
            elif step is not state.CLOSE:
                data = state.body(self.path, "x" * 1000)
                self.send(200, data[:300], {"Content-Length": str(len(data))})
                for i in range(300, len(data) if step is state.DRIP else 0):
                    if state.over.wait(0.02):
                        return
                    self.wfile.write(data[i : i + 1])
                    self.wfile.flush()

        def send(self, status: int, data: bytes, headers: dict | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()

        def log_message(self, *arguments: object) -> None:
            pass

    with running(state, Handler):
        yield state
