"""A server under load: 32 clients against one, a full queue, clients that go, kill -9.

    python -m benchmarks serve --seconds 120
    python -m benchmarks serve --quantize none      weights as float32

The server runs in a separate process (`tinygrad-llm serve`), the clients are threads here, and
each streams one answer after another over HTTP. Clients ask the same questions, greedily, so that
answers of the batch can be compared with those of one client alone. Rates are tokens of answers per
second; a request is lost if it gets anything else than a whole answer. The one client is measured
before and after the many, in every round.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from . import common, machine

TOPICS = (
    "the sea", "bread", "a bicycle", "the moon", "tea", "glass", "a violin", "snow", "the heart",
    "paper", "a river", "gold", "chess", "a bridge", "honey", "the wind", "rice", "a clock",
    "salt", "a forest",
)  # fmt: skip
ASKED = ("What is {}?", "Write two sentences about {}.", "Why is {} important to people?")
QUESTIONS = [text.format(topic) for topic in TOPICS for text in ASKED]


@dataclass
class Answer:
    """What came back for one question: seconds from the question on, and the whole text."""

    question: str
    status: int = 0
    first: float = 0.0
    whole: float = 0.0
    tokens: int = 0
    text: str = ""
    retry_after: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the answer came to its end."""
        return self.status == 200 and self.tokens > 0 and self.whole > 0.0


@dataclass
class Server:
    """A running server: its process, its port, and the seconds until it listened."""

    process: subprocess.Popen[str]
    port: int
    seconds: float
    model: str = field(default="")


@contextmanager
def server(options: Any, *more: str, port: int = 0) -> Iterator[Server]:
    """A server in a separate process, which ends with the block."""
    command = [sys.executable, "-m", "tinygrad_llm.cli", "serve", options.model, "--port",
               str(port), *more]  # fmt: skip
    if options.threads:
        command += ["--threads", str(options.threads)]
    if options.quantize != "none":
        command += ["--quantize", options.quantize]
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        printed = ""
        while not (match := re.search(r"(\S+) at http://\S+:(\d+)/v1", printed)):
            printed = process.stderr.readline()  # type: ignore[union-attr]
            if not printed:
                raise SystemExit("the server did not start")
        yield Server(process, int(match[2]), time.perf_counter() - began, match[1])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(here: Server, question: str, tokens: int, leave: bool = False) -> Answer:
    """One streamed answer; leave: go away after its first token."""
    answer, began = Answer(question), time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", here.port, timeout=300)
    body = {"model": here.model, "messages": [{"role": "user", "content": question}],
            "max_tokens": tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}}  # fmt: skip
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body),
                           {"content-type": "application/json"})  # fmt: skip
        response = connection.getresponse()
        answer.status = response.status
        answer.retry_after = response.getheader("retry-after") is not None
        if answer.status != 200:
            response.read()
            return answer
        for line in response:
            if line.startswith(b"data: {"):
                _read(json.loads(line[6:]), answer, began)
            if leave and answer.first:
                return answer
            if line.startswith(b"data: [DONE]"):
                answer.whole = time.perf_counter() - began
    except (OSError, http.client.HTTPException):
        answer.status = -1
    finally:
        connection.close()
    return answer


def _read(chunk: dict[str, Any], answer: Answer, began: float) -> None:
    """Adds a piece of a stream to an answer."""
    piece = "".join(c["delta"].get("content") or "" for c in chunk.get("choices", ()))
    if piece and not answer.first:
        answer.first = time.perf_counter() - began
    answer.text += piece
    if chunk.get("usage"):
        answer.tokens = chunk["usage"]["completion_tokens"]


def load(here: Server, clients: int, seconds: float, tokens: int) -> dict[str, Any]:
    """Clients that ask one question after another for so long; answers that began are awaited."""
    answers: list[Answer] = []
    began = time.perf_counter()

    def client(i: int) -> None:
        k = i
        while time.perf_counter() - began < seconds:
            answers.append(ask(here, QUESTIONS[k % len(QUESTIONS)], tokens))
            k += clients if clients < len(QUESTIONS) else 1

    _in_threads([lambda i=i: client(i) for i in range(clients)])
    spent = time.perf_counter() - began
    return {"clients": clients, "seconds": spent, "answers": answers,
            "rate": sum(a.tokens for a in answers if a.is_whole) / spent}  # fmt: skip


def _in_threads(calls: Any) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def percentiles(numbers: list[float]) -> dict[str, float]:
    """The 50th, 95th and 99th, each one of the numbers."""
    ordered = sorted(numbers)
    return {f"p{p}": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in (50, 95, 99)}


def report(name: str, done: dict[str, Any]) -> dict[str, Any]:
    """Prints and returns what a load came to."""
    answers = done["answers"]
    whole = [a for a in answers if a.is_whole]
    row = {"clients": done["clients"], "wall": done["seconds"], "requests": len(answers),
           "lost": len(answers) - len(whole), "tokens": sum(a.tokens for a in whole),
           "rate": done["rate"], "first": percentiles([a.first for a in whole] or [0.0]),
           "whole": percentiles([a.whole for a in whole] or [0.0])}  # fmt: skip
    times = "   ".join(
        f"{what} " + " ".join(f"{p} {row[what][p]:.2f} s" for p in ("p50", "p95", "p99"))
        for what in ("first", "whole")
    )
    print(f"{name:18} {row['requests']:6} requests, {row['lost']} lost, {row['tokens']:7} tokens, "
          f"{row['rate']:6.1f} tokens/s   {times}", flush=True)  # fmt: skip
    return row


def health(here: Server) -> dict[str, Any]:
    """What /health says."""
    connection = http.client.HTTPConnection("127.0.0.1", here.port, timeout=30)
    connection.request("GET", "/health")
    return json.loads(connection.getresponse().read())


def until_idle(here: Server, limit: float = 60.0) -> float:
    """Seconds until nothing is written and nothing waits."""
    began = time.perf_counter()
    while time.perf_counter() - began < limit:
        state = health(here)
        if state["running"] == state["waiting"] == 0:
            return time.perf_counter() - began
        time.sleep(0.02)
    raise SystemExit(f"the server is not idle after {limit:g} s: {health(here)}")


def full_queue(options: Any) -> dict[str, Any]:
    """More clients than a small queue takes: 429 says when to come again."""
    with server(options, "--batch", "4", "--queue", "4") as here:
        answers: list[Answer] = []
        calls = [lambda q=q: answers.append(ask(here, q, 32)) for q in QUESTIONS[: options.clients]]
        _in_threads(calls)
        refused = [a for a in answers if a.status == 429]
        row = {"asked": len(answers), "whole": sum(a.is_whole for a in answers),
               "refused": len(refused), "retry_after": all(a.retry_after for a in refused),
               "idle": until_idle(here)}  # fmt: skip
    print(f"a full queue: {row['whole']} whole answers, {row['refused']} times 429 (all with "
          f"Retry-After: {row['retry_after']}), {row['asked']} asked")  # fmt: skip
    return row


def going_clients(here: Server, options: Any) -> dict[str, Any]:
    """Clients that go after the first token: their answers of 1,000 tokens are not written on."""
    _in_threads([lambda q=q: ask(here, q, 1000, leave=True) for q in QUESTIONS[: options.clients]])
    row = {"clients": options.clients, "idle": until_idle(here)}
    print(f"{options.clients} clients went after the first token: idle after {row['idle']:.2f} s")
    return row


def killed(options: Any) -> dict[str, Any]:
    """kill -9 while it writes, and a new server at the same port."""
    with server(options) as here:
        expected = ask(here, QUESTIONS[0], 32).text
        answers: list[Answer] = []
        calls = [lambda q=q: answers.append(ask(here, q, 500)) for q in QUESTIONS[:8]]
        threads = [threading.Thread(target=call) for call in calls]
        for thread in threads:
            thread.start()
        while health(here)["running"] < 8:
            time.sleep(0.02)
        here.process.send_signal(signal.SIGKILL)
        here.process.wait()
        for thread in threads:
            thread.join()
        with server(options, port=here.port) as again:
            same = ask(again, QUESTIONS[0], 32).text == expected
            row = {"cut": sum(not a.is_whole for a in answers), "of": 8, "restart": again.seconds,
                   "same": same}  # fmt: skip
    print(f"kill -9: {row['cut']} of 8 clients saw their answer end early; serving again at the "
          f"same port after {row['restart']:.1f} s, with the same answer: {same}")  # fmt: skip
    return row


def compared(here: Server, options: Any) -> dict[str, Any]:
    """One client and many alternately: rates of every round, and whether answers are equal."""
    rows: dict[str, Any] = {}
    alone, many = [], []
    for i in range(options.rounds):
        alone.append(load(here, 1, options.alone, options.tokens))
        report("one client", alone[-1])
        many.append(load(here, options.clients, options.seconds, options.tokens))
        rows[f"many clients {i + 1}"] = report(f"{options.clients} clients", many[-1])
    alone.append(load(here, 1, options.alone, options.tokens))
    rows["one client"] = report("one client", alone[-1])
    known = {a.question: a.text for done in alone for a in done["answers"] if a.is_whole}
    both = [a for done in many for a in done["answers"] if a.is_whole and a.question in known]
    equal = sum(a.text == known[a.question] for a in both)
    ratios = [
        2 * many[i]["rate"] / (alone[i]["rate"] + alone[i + 1]["rate"])
        for i in range(options.rounds)
    ]
    best = max(done["rate"] for done in many) / max(done["rate"] for done in alone)
    print(f"{options.clients} clients / one: median {statistics.median(ratios):.2f} of "
          f"{options.rounds}, best rates {best:.2f}; answers equal to those alone: {equal} of "
          f"{len(both)}")  # fmt: skip
    return {**rows, "ratios": ratios, "best": best, "equal": equal, "compared": len(both)}


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("serve", __doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--quantize", default="gguf", help="as serve takes it, or none")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0, help="of the many clients")
    parser.add_argument("--alone", type=float, default=15.0, help="seconds of one client")
    parser.add_argument("--rounds", type=int, default=1, help="one client and many alternately")
    parser.add_argument("--tokens", type=int, default=64, help="the most of an answer")
    parser.add_argument("--threads", type=int, default=None, help="of the model, as serve's")
    parser.add_argument("--only-load", action="store_true", help="leave out all except the load")
    options = parser.parse_args(argv)
    if not 1 <= options.clients <= len(QUESTIONS) or min(options.seconds, options.alone) <= 0:
        parser.error(f"--clients must be 1 to {len(QUESTIONS)}, times above 0")
    here = machine.run_child("benchmarks.machine")
    print(here["text"], flush=True)
    rows: dict[str, Any] = {}
    with server(options, "--batch", str(options.clients)) as running:
        print(f"listening after {running.seconds:.1f} s (process {os.getpid()} asks)")
        for question in QUESTIONS[:2]:  # warm up
            ask(running, question, 8)
        rows |= compared(running, options)
        if not options.only_load:
            rows["going clients"] = going_clients(running, options)
    if not options.only_load:
        rows["full queue"] = full_queue(options)
        rows["killed"] = killed(options)
    return {"machine": here, **rows}
