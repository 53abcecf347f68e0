"""The thread that runs the model: requests wait in a queue, join the batch, and get their tokens.

Everything of the model happens in this one thread. A request's events are passed to a function that
may be called from it at any time.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..files.plain_text import say
from ..functions.softmax import log_softmax
from ..generation import Sampling, TextStream
from ..generation.continuous import ContinuousBatch, NewToken, Row
from ..generation.prefixes import Prefixes
from ..generation.sampling import in_float32

__all__ = ["Engine", "Event", "Limits", "QueueFull", "Request", "TokenLogprobs"]


class QueueFull(Exception):
    """There is no room in the queue: the request should come again later."""


@dataclass(frozen=True)
class Limits:
    """What a server allows.

    batch      texts that are written at a time
    prefixes   megabytes of keys and values that are kept of beginnings of prompts; 0 for none
    queue      texts that may wait besides
    tokens     the most tokens of an answer
    seconds    the most time for an answer, with the time in the queue
    body       bytes of a request
    body_seconds   time for a request's body to arrive
    choices    n, the most answers to one request
    prompts    the most prompts, or texts to embed, of one request
    stops, stop_length   stop strings, and characters of each
    logprobs   the most alternatives for each token
    """

    batch: int = 32
    queue: int = 64
    prefixes: int = 256
    tokens: int = 1024
    seconds: float = 300.0
    body: int = 1 << 20
    body_seconds: float = 30.0
    choices: int = 8
    prompts: int = 64
    stops: int = 16
    stop_length: ClassVar[int] = 256
    logprobs: ClassVar[int] = 20


@dataclass(frozen=True)
class TokenLogprobs:
    """A token's id and log-probability, and the likeliest ones as (id, log-probability)."""

    id: int
    logprob: float
    top: list[tuple[int, float]]


@dataclass(frozen=True)
class Event:
    """Something that happened to a request.

    text      what it wrote since the last event
    logprobs  of the tokens since the last event, if they were asked for
    reason    None while it goes on; then "stop", "length", "time" or "error"
    """

    text: str = ""
    logprobs: Sequence[TokenLogprobs] = ()
    reason: str | None = None


@dataclass(eq=False)
class Request:
    """One text to write.

    ids, sampling, seed, max_tokens   as `generate` takes them
    emit       is called with each Event, from the engine's thread
    logprobs   None, or how many alternatives each token's log-probabilities come with
    owner      whose it is: beginnings of prompts are kept for each owner apart
    """

    ids: list[int]
    sampling: Sampling
    seed: int
    max_tokens: int
    emit: Callable[[Event], None]
    logprobs: int | None = None
    owner: str = ""
    new_tokens: int = 0
    cancelled: bool = False
    deadline: float = field(default=0.0)
    text: Any = field(default=None, init=False)
    row: Any = field(default=None, init=False)


class Engine:
    """A model, its tokenizer, and the thread that serves requests.

    Use it as a context manager, or call start() and close().
    """

    def __init__(self, model: Any, tokenizer: Any, limits: Limits | None = None) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.limits = limits or Limits()
        kept = Prefixes(self.limits.prefixes << 20) if self.limits.prefixes else None
        self.batch = ContinuousBatch(model, self.limits.batch, prefixes=kept)
        self._waiting: deque[Request] = deque()
        self._running: dict[Row, Request] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread after the step that is running; texts that are not whole get an error."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    @property
    def counts(self) -> tuple[int, int]:
        """How many texts are being written, and how many wait."""
        with self._changed:
            return len(self._running), len(self._waiting)

    def submit(self, requests: Sequence[Request]) -> None:
        """Let requests wait for their turn, all or none.

        Raises: QueueFull if there is no room for all of them.
        """
        deadline = time.monotonic() + self.limits.seconds
        with self._changed:
            free = max(0, self.batch.most_rows - len(self._running))
            if self._closing or len(self._waiting) + len(requests) > self.limits.queue + free:
                raise QueueFull
            for request in requests:
                request.deadline = deadline
                self._waiting.append(request)
            self._changed.notify()

    def cancel(self, requests: Sequence[Request]) -> None:
        """These answers are not needed any more; nothing is emitted for them from now on."""
        with self._changed:
            for request in requests:
                request.cancelled = True
            self._changed.notify()

    # ------------------------------------------------------------------------------- the thread
    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._closing or self._waiting or self._running):
                    self._changed.wait()
                if self._closing:
                    break
            try:
                self._admit()
                for token in self.batch.step():
                    self._take(token)
            except Exception as error:  # the others must go on: the server stays
                say(
                    f"tinygrad-llm: a step failed: {type(error).__name__}: {error}", file=sys.stderr
                )
                self._end_all()
        self._end_all()

    def _admit(self) -> None:
        """Takes out what was cancelled or is too late; lets others join while there is room."""
        now = time.monotonic()
        with self._changed:
            waiting, self._waiting = self._waiting, deque()
            for request in waiting:
                if request.cancelled:
                    continue
                if now > request.deadline:
                    self._emit(request, Event(reason="time"))
                elif len(self._running) < self.batch.most_rows:
                    self._join(request)
                else:
                    self._waiting.append(request)
            for row, request in list(self._running.items()):
                if request.cancelled or now > request.deadline:
                    self._leave(row, Event(request.text.finish(), reason="time"))

    def _join(self, request: Request) -> None:
        sampling = request.sampling
        request.text = TextStream(self.tokenizer, sampling.stop_strings, after=request.ids)
        row = Row(request.ids, sampling, request.seed, request.owner)
        self._running[row] = request
        self.batch.add(row)

    def _leave(self, row: Row, event: Event) -> None:
        row.done = True
        self._emit(self._running.pop(row), event)

    def _end_all(self) -> None:
        with self._changed:
            requests = [*self._running.values(), *self._waiting]
            self._running.clear()
            self._waiting.clear()
        self.batch.clear()
        for request in requests:
            self._emit(request, Event(reason="error"))

    def _take(self, token: NewToken) -> None:
        request = self._running.get(token.row)
        if request is None:
            return
        if token.id in request.sampling.stop_tokens:
            with self._changed:
                self._leave(token.row, Event(request.text.finish(), reason="stop"))
            return
        request.new_tokens += 1
        known = token.id < self.tokenizer.vocab_size
        text = request.text.push(token.id) if known else ""
        logprobs = [] if request.logprobs is None else [_logprobs(token, request.logprobs)]
        if request.text.stopped or request.new_tokens >= request.max_tokens:
            reason = "stop" if request.text.stopped else "length"
            with self._changed:
                self._leave(token.row, Event(text + request.text.finish(), logprobs, reason))
        elif text or logprobs:
            self._emit(request, Event(text, logprobs))

    @staticmethod
    def _emit(request: Request, event: Event) -> None:
        if not request.cancelled:
            try:
                request.emit(event)
            except RuntimeError:  # the server's loop has ended
                request.cancelled = True


def _logprobs(token: NewToken, most: int) -> TokenLogprobs:
    values = log_softmax(in_float32(token.logits), dim=-1)[0]  # (1, V) -> (V)
    top = []
    if most:
        best, ids = values.topk(min(most, values.shape[0]))
        top = list(zip(ids.tolist(), best.tolist(), strict=True))
    return TokenLogprobs(token.id, float(values[token.id].item()), top)
