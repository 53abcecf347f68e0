"""A language model of a server: the prompt, the options, the events of an answer."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from ..generation import Sampling
from .engine import Engine, Event, Limits, QueueFull, Request
from .fields import ApiError, Fields, read_body

__all__ = ["Answers", "Service", "body_of"]

_LOOK = 0.5  # seconds between two looks whether the client is still there


class Service:
    """A language model under its name, with what is needed to answer.

    engine      runs the model
    name        by which clients ask for it
    ends        ids that end a text
    """

    def __init__(self, engine: Engine, name: str, ends: Sequence[int] = ()) -> None:
        self.engine, self.name = engine, name
        self.tokenizer, self.limits = engine.tokenizer, engine.limits
        self.context_length: int = engine.model.context_length
        self._newest_mail: _Mail | None = None
        self.ends = tuple(ends)
        self.can_chat = bool(getattr(self.tokenizer, "names", {}).get("chat_template"))

    async def chat_ids(self, messages: Any) -> list[int]:
        """The ids of a conversation, as the chat template writes it.

        Raises: ApiError with 400 if it is not a list of messages, or the template refuses them.
        """
        if not self.can_chat:
            message = "this model has no chat template: ask for completions"
            raise ApiError(400, message, code="no_chat_template")
        if not isinstance(messages, list) or not 0 < len(messages) <= 4096:
            raise ApiError(400, "messages must be a list of 1 to 4096 messages", "messages")
        read = [_message(message, i) for i, message in enumerate(messages)]
        try:
            ids: list[int] = await asyncio.to_thread(self.tokenizer.chat, read)
        except (ValueError, TypeError):
            refused = "the model's chat template refuses these messages"
            raise ApiError(400, refused, "messages") from None
        return self.check_length(ids)

    async def text_ids(self, text: str) -> list[int]:
        """The ids of a text to continue. A long one takes a while: others are served meanwhile.

        Raises: ApiError with 400 if the tokenizer can't write it, or it is too long.
        """
        try:
            encode = partial(self.tokenizer.encode, text, disallowed_special=())
            ids = list(await asyncio.to_thread(encode))
        except ValueError:
            raise ApiError(400, "the tokenizer has no tokens for this text", "prompt") from None
        return self.check_length(ids)

    def check_length(self, ids: list[int]) -> list[int]:
        """The ids, if at least one token more fits in the context.

        Raises: ApiError with 400 for none or too many.
        """
        if not ids:
            raise ApiError(400, "the prompt is empty", "prompt")
        if len(ids) >= self.context_length:
            raise ApiError(
                400, f"the prompt has {len(ids)} tokens: between 1 and {self.context_length - 1} "
                "fit in the model's context", code="context_length_exceeded",
            )  # fmt: skip
        return ids

    def requests(
        self, prompts: Sequence[list[int]], n: int, max_tokens: int | None, seed: int | None,
        logprobs: int | None, **sampling: Any,
    ) -> list[Request]:  # fmt: skip
        """n requests for each prompt; their events are set by `start`. The k-th has seed + k."""
        chosen = Sampling(stop_tokens=self.ends, **sampling)
        first = secrets.randbelow(2**31) if seed is None else seed
        most = min(max_tokens or self.limits.tokens, self.limits.tokens)
        return [
            Request(
                ids, chosen, (first + k) % 2**63, min(most, self.context_length - len(ids)),
                lambda event: None, logprobs,
            )
            for ids in prompts
            for k in range(n)
        ]  # fmt: skip

    def start(self, requests: list[Request], http: Any) -> Answers:
        """Puts requests into the queue.

        Raises: ApiError with 429 if it is full.
        """
        key = http.headers.get("authorization", "").encode("latin-1", "replace")
        for request in requests:
            request.owner = hashlib.sha256(key).hexdigest()
        return Answers(self.engine, requests, self._mail(), http)

    def _mail(self) -> _Mail:
        """What brings events to the loop that runs now."""
        loop = asyncio.get_running_loop()
        if self._newest_mail is None or self._newest_mail.loop is not loop:
            self._newest_mail = _Mail(loop)
        return self._newest_mail


def _message(message: Any, i: int) -> dict[str, str]:
    fields = Fields(message if isinstance(message, dict) else {}, f"messages[{i}].")
    role, content = fields.text("role", most=32), fields.get("content")
    if role == "developer":
        role = "system"
    if role not in ("system", "user", "assistant"):
        raise fields.wrong("role", "system, user or assistant")
    if isinstance(content, list):  # parts, as OpenAI's clients may send a text
        parts = [x if isinstance(x, dict) else {} for x in content]
        if not all(x.get("type") == "text" and isinstance(x.get("text"), str) for x in parts):
            raise fields.wrong("content", "a text, or a list of parts of the type text")
        fields = Fields({"content": "".join(x["text"] for x in parts)}, fields.where)
    text = fields.text("content")
    if text is None:
        raise fields.wrong("content", "a text, or a list of parts of the type text")
    return {"role": role, "content": text}


class _Mail:
    """Brings events from the engine's thread to the server's loop, those of a step together.

    To wake the loop costs more than an event, and the threads would take the interpreter's lock
    from each other at every token.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._items: deque[tuple[asyncio.Queue[Any], Any]] = deque()

    def post(self, queue: asyncio.Queue[Any], item: Any) -> None:
        """From any thread: put an item into a queue of the loop.

        Raises: RuntimeError if the loop has ended.
        """
        self._items.append((queue, item))
        if len(self._items) == 1:
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._items:
            queue, item = self._items.popleft()
            queue.put_nowait(item)


class Answers:
    """The events of some requests, as they come; leaving the iteration cancels what is not done."""

    def __init__(self, engine: Engine, requests: list[Request], mail: _Mail, http: Any) -> None:
        self.engine, self.requests, self._http = engine, requests, http
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._loop = mail.loop

        def emitter(i: int) -> Any:
            return lambda event: mail.post(self._events, (i, event))

        for i, request in enumerate(requests):
            request.emit = emitter(i)
        try:
            engine.submit(requests)
        except QueueFull:
            raise ApiError(429, "the queue is full: try again later", code="queue_full") from None

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        left = len(self.requests)
        clock = self._loop.call_later(_LOOK, self._events.put_nowait, (-1, Event()))
        try:
            while left:
                i, event = await self._events.get()
                if i >= 0:
                    left -= event.reason is not None
                    yield i, event
                elif await self._http.is_disconnected():
                    return
                else:
                    clock = self._loop.call_later(_LOOK, self._events.put_nowait, (-1, event))
        finally:
            clock.cancel()
            self.engine.cancel(self.requests)

    async def whole(self) -> list[Event]:
        """The answers when all are complete.

        Raises: ApiError with 503 or 500 if time ran out before a text, or the model failed.
        """
        texts = [Event() for _ in self.requests]
        async for i, event in self:
            joined = Event(
                texts[i].text + event.text, [*texts[i].logprobs, *event.logprobs], event.reason
            )
            texts[i] = joined
        for text in texts:
            if text.reason in (None, "error"):
                raise ApiError(500, "the answer could not be completed")
            if text.reason == "time" and not text.text:
                raise ApiError(503, "there was no time for an answer: try again later")
        return [dataclasses.replace(t, reason=reason_of(t.reason)) for t in texts]

    @property
    def usage(self) -> dict[str, int]:
        """Tokens of the prompts, each counted once, and of the answers so far."""
        prompts = {id(request.ids): len(request.ids) for request in self.requests}
        prompt, new = sum(prompts.values()), sum(r.new_tokens for r in self.requests)
        return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


def reason_of(reason: str | None) -> str | None:
    """As clients know it: an answer that ran out of time has the reason "length"."""
    return "length" if reason == "time" else reason


async def body_of(http: Any, limits: Limits) -> Fields:
    """The fields of a request's body, which must be JSON, small, and not too slow.

    Raises: ApiError with 400, 408, 413 or 415.
    """
    kind = http.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "the Content-Type must be application/json")
    try:
        return read_body(await asyncio.wait_for(_read(http, limits.body), limits.body_seconds))
    except asyncio.TimeoutError:
        raise ApiError(408, "the body took too long") from None


async def _read(http: Any, most: int) -> bytes:
    data = bytearray()
    async for chunk in http.stream():
        data += chunk
        if len(data) > most:
            raise ApiError(413, f"the body must have at most {most} bytes")
    return bytes(data)
