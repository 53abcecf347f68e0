"""ChatClient: one question, one answer, and all that can happen in between."""

from __future__ import annotations

import dataclasses
import math
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cache import AnswerCache
from .cost import Price, Usage, estimate_tokens
from .errors import ChatError, TemporaryError
from .protocols import PROTOCOLS, count_of
from .transport import checked_address, post

__all__ = ["ChatClient", "Limits", "Reply"]

_FIRST_WAIT = 1.0  # seconds before the second attempt; then twice as long each time


@dataclass(frozen=True)
class Limits:
    """How patient a client is.

    attempts: for each request, the first one included
    timeout: seconds without a byte; time_limit: seconds for a whole answer
    longest_wait: seconds between two attempts; a server that asks for more ends the run, which can
        be resumed later
    per_minute: requests that begin within a minute at most, None for no limit
    """

    attempts: int = 5
    timeout: float = 60.0
    time_limit: float = 600.0
    longest_wait: float = 60.0
    per_minute: float | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be 1 or more, got {self.attempts}")
        for name in ("timeout", "time_limit", "longest_wait", "per_minute"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number above 0, got {value}")


@dataclass(frozen=True)
class Reply:
    """An answer: its text, why it ended ("length": it was cut), and where it came from."""

    text: str
    finish: str = ""
    cached: bool = False


class ChatClient:
    """Asks one model of one server.

    address: of the server, such as https://api.openai.com/v1 or http://localhost:11434
    model: its name there; protocol: openai or ollama
    key_variable: the environment variable that holds the key, None for a server without one. The
        key is neither stored nor shown
    cache: a folder that keeps answers, None for none; price: of a million tokens
    options: of every request, such as temperature, seed and max_tokens, under OpenAI's names
    sleep, clock: for tests
    Raises: ValueError for an address, protocol or key that cannot be used.
    """

    def __init__(
        self, address: str, model: str, *, protocol: str = "openai",
        key_variable: str | None = None, cache: str | os.PathLike[str] | None = None,
        limits: Limits | None = None, price: Price | None = None,
        options: Mapping[str, Any] | None = None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        if protocol not in PROTOCOLS:
            raise ValueError(f"there is no protocol {protocol!r}: {' or '.join(PROTOCOLS)}")
        self._key = None if key_variable is None else _key_in(key_variable)
        self.address = checked_address(address, self._key is not None)
        self.model, self.protocol = model, protocol
        self.options = dict(options or {})
        self.limits = Limits() if limits is None else limits
        self.usage = Usage(Price() if price is None else price)
        self._cache = None if cache is None else AnswerCache(cache)
        self._sleep, self._clock = sleep, clock
        self._next_start = -math.inf
        self._random = random.Random(0)  # the jitter of waits

    def __repr__(self) -> str:
        return f"ChatClient({self.address!r}, {self.model!r}, protocol={self.protocol!r})"

    def ask(
        self, question: str | Sequence[Mapping[str, str]], *, sample: int = 0, **options: Any
    ) -> Reply:
        """The model's answer to a text, or to messages: a list of {"role": ..., "content": ...}.

        sample: another number asks for another answer where the cache has one already
        options: of this request, over those of the client
        Raises: ChatError if no attempt succeeded; OSError if the answer cannot be stored.
        """
        request = self._request(question, sample, options)
        stored = self._stored(request)
        if stored is not None:
            self.usage.add_cached(count_of(stored.get("read")), count_of(stored.get("written")))
            return Reply(stored["text"], str(stored.get("finish") or ""), cached=True)
        protocol = PROTOCOLS[self.protocol]
        body = protocol.body(self.model, request["messages"], request["options"])
        parts = self._repeated(self.address + protocol.path, body, protocol.parts)
        estimated = parts.read is None or parts.written is None
        read = sum(estimate_tokens(m["content"]) for m in request["messages"])
        self.usage.add(
            read if parts.read is None else parts.read,
            estimate_tokens(parts.text) if parts.written is None else parts.written, estimated,
        )  # fmt: skip
        if self._cache is not None:
            self._cache.put(request, dataclasses.asdict(parts))
        return Reply(parts.text, parts.finish)

    def ask_all(
        self, questions: Sequence[str | Sequence[Mapping[str, str]]],
        note: Callable[[int, int], object] | None = None, **options: Any,
    ) -> Iterator[Reply]:  # fmt: skip
        """The answers one after another; note: is called with (answers so far, all questions).

        Raises: as `ask`, a ChatError with the question's number.
        """
        for i, question in enumerate(questions):
            try:
                yield self.ask(question, **options)
            except ChatError as error:
                raise ChatError(f"request {i + 1} of {len(questions)}: {error}") from None
            if note is not None:
                note(i + 1, len(questions))

    def stored(
        self, question: str | Sequence[Mapping[str, str]], *, sample: int = 0, **options: Any
    ) -> Reply | None:
        """The answer that the cache has, without asking; None if there is none."""
        stored = self._stored(self._request(question, sample, options))
        if stored is None:
            return None
        return Reply(stored["text"], str(stored.get("finish") or ""), cached=True)

    def _stored(self, request: dict[str, Any]) -> dict[str, Any] | None:
        stored = None if self._cache is None else self._cache.get(request)
        return stored if stored is not None and isinstance(stored.get("text"), str) else None

    def estimate(
        self, questions: Sequence[str | Sequence[Mapping[str, str]]], written: int, **options: Any
    ) -> Usage:
        """What asking all these would cost, without asking: tokens are estimates.

        written: tokens of an answer. Questions that the cache answers cost nothing, and with a
        cache a question that is repeated costs once.
        """
        usage = Usage(self.usage.price)
        seen = set()
        for question in questions:
            request = self._request(question, 0, options)
            if self._cache is not None:
                path = self._cache.path(request)
                if path in seen or self._cache.get(request) is not None:
                    usage.cached += 1
                    continue
                seen.add(path)
            usage.add(sum(estimate_tokens(m["content"]) for m in request["messages"]), written,
                      estimated=True)  # fmt: skip
        return usage

    def _request(
        self, question: str | Sequence[Mapping[str, str]], sample: int, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What decides an answer; the cache is asked with it. It does not hold the key.

        Raises: ValueError for messages of another form.
        """
        messages: Any = question
        if isinstance(question, str):
            messages = [{"role": "user", "content": question}]
        messages = [dict(message) for message in messages]
        for message in messages:
            if not all(isinstance(message.get(name), str) for name in ("role", "content")):
                raise ValueError("a message must be {'role': a text, 'content': a text}")
        return {
            "address": self.address, "protocol": self.protocol, "model": self.model,
            "messages": messages, "options": {**self.options, **options}, "sample": sample,
        }  # fmt: skip

    def _repeated(self, address: str, body: Any, read: Callable[[Any], Any]) -> Any:
        """The parts of the answer after as many attempts as are needed and allowed."""
        limits = self.limits
        for attempt in range(1, limits.attempts + 1):
            self._wait_for_the_rate()
            try:
                return read(
                    post(address, body, key=self._key, timeout=limits.timeout,
                         time_limit=limits.time_limit)
                )  # fmt: skip
            except TemporaryError as error:
                if attempt == limits.attempts:
                    raise ChatError(
                        f"{self.address}: {error} (attempt {attempt} of {limits.attempts})"
                    ) from None
                self._sleep(self._pause(attempt, error))
                self.usage.retries += 1
            except ChatError as error:
                raise ChatError(f"{self.address}: {error}") from None
        raise AssertionError("attempts is 1 or more")

    def _pause(self, attempt: int, error: TemporaryError) -> float:
        """Seconds before the next attempt: as the server asks, else twice as long each time.

        Raises: ChatError if the server asks for more than the longest wait.
        """
        longest = self.limits.longest_wait
        if error.wait is None:
            wait = min(longest, _FIRST_WAIT * 2.0 ** min(attempt - 1, 30))
            return wait * (0.5 + 0.5 * self._random.random())
        if error.wait > longest:
            raise ChatError(
                f"{self.address}: {error}; it asks to wait {error.wait:.0f} seconds, more than "
                f"{longest:g}: start again later, what was answered is kept in the cache"
            )
        return error.wait

    def _wait_for_the_rate(self) -> None:
        if self.limits.per_minute is None:
            return
        now = self._clock()
        if now < self._next_start:
            self._sleep(self._next_start - now)
        self._next_start = max(now, self._next_start) + 60.0 / self.limits.per_minute


def _key_in(variable: str) -> str:
    """The key in an environment variable.

    Raises: ValueError, without the key, if it is missing or cannot be a header.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(f"the environment variable {variable} is empty: it should hold the key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"the key in {variable} has characters that a key cannot have")
    return key
