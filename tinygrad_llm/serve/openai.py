"""OpenAI's routes: /v1/models, /v1/chat/completions, /v1/completions, /v1/embeddings."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from .engine import Request, TokenLogprobs
from .fields import ApiError, Fields
from .served import Served
from .service import Answers, Service, body_of, reason_of

__all__ = ["chat", "completions", "embeddings", "model", "models"]

_UNSUPPORTED = (
    "tools", "functions", "logit_bias", "presence_penalty", "frequency_penalty", "suffix", "echo",
    "audio",
)  # fmt: skip


async def models(served: Served, http: Any) -> dict[str, Any]:
    """The models of this server; `kind` says what each can be asked."""
    data = [_described(served, name) for name in served.kinds]
    return {"object": "list", "data": data}


async def model(served: Served, http: Any) -> dict[str, Any]:
    """One model of this server.

    Raises: ApiError with 404 if it has none of this name.
    """
    name = http.path_params["name"]
    if name not in served.kinds:
        raise ApiError(404, "there is no such model here", "model", "model_not_found")
    return _described(served, name)


def _described(served: Served, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": served.created, "owned_by": "local",
            "kind": served.kinds[name]}  # fmt: skip


async def chat(served: Served, http: Any) -> Any:
    """The next message of a conversation, in whole or as server-sent events."""
    fields = await body_of(http, served.limits)
    service = await served.service(fields)
    ids = await service.chat_ids(fields.get("messages"))
    top = fields.integer("top_logprobs", 0, 0, service.limits.logprobs)
    logprobs = top if fields.flag("logprobs", False) else None
    limit = fields.integer("max_completion_tokens", None, 1, 10**9)
    requests = _requests(service, fields, [ids], logprobs, limit)
    writer = _Chat(service, fields, service.start(requests, http))
    return await _answer(writer)


async def completions(served: Served, http: Any) -> Any:
    """The text after one prompt or several, in whole or as server-sent events."""
    fields = await body_of(http, served.limits)
    service = await served.service(fields)
    prompts = await _prompts(service, fields)
    logprobs = fields.integer("logprobs", None, 0, service.limits.logprobs)
    if fields.integer("best_of", 1, 1, 128) > fields.integer("n", 1, 1, 128):
        raise ApiError(400, "best_of is not supported by this server", "best_of")
    requests = _requests(service, fields, prompts, logprobs, 16)
    return await _answer(_Completion(service, fields, service.start(requests, http)))


async def _prompts(service: Service, fields: Fields) -> list[list[int]]:
    """The ids of `prompt`: a text, a list of texts, a list of ids, or a list of lists of ids."""
    prompt, most = fields.get("prompt"), service.limits.prompts
    listed = prompt if isinstance(prompt, list) else [prompt]
    if listed and all(isinstance(x, int) for x in listed):
        listed = [listed]
    if not 0 < len(listed) <= most:
        raise fields.wrong("prompt", f"a text, or up to {most} texts or lists of token ids")
    rows = []
    for one in listed:
        if isinstance(one, str):
            text = Fields({"prompt": one}).text("prompt")
            rows.append(await service.text_ids(text))
        elif isinstance(one, list) and all(type(x) is int for x in one):
            size = service.tokenizer.vocab_size
            if not all(0 <= x < size for x in one):
                raise fields.wrong("prompt", f"token ids below {size}")
            rows.append(service.check_length(list(one)))
        else:
            raise fields.wrong("prompt", f"a text, or up to {most} texts or lists of token ids")
    return rows


def _requests(
    service: Service, fields: Fields, prompts: list[list[int]], logprobs: int | None,
    default_tokens: int | None,
) -> list[Request]:  # fmt: skip
    limits = service.limits
    fields.refuse(*_UNSUPPORTED)
    if fields.part("response_format").get("type") not in (None, "text"):
        raise ApiError(400, "response_format must be of the type text", "response_format")
    n = fields.integer("n", 1, 1, limits.choices)
    return service.requests(
        prompts, n, fields.integer("max_tokens", default_tokens, 1, 10**9),
        fields.integer("seed", None, -(2**63), 2**63 - 1), logprobs,
        temperature=fields.number("temperature", 1.0, 0.0, 2.0),
        top_p=fields.number("top_p", 1.0, 1e-6, 1.0),
        stop_strings=fields.texts("stop", limits.stops, limits.stop_length),
    )  # fmt: skip


# ----------------------------------------------------------------------------------- the answers
async def _answer(writer: _Writer) -> Any:
    from starlette.responses import StreamingResponse

    if not writer.fields_stream:
        return await writer.whole()
    return StreamingResponse(writer.stream(), media_type="text/event-stream")


class _Writer:
    """An answer in OpenAI's form; subclasses write the choices."""

    kind, chunk_kind, prefix = "", "", ""

    def __init__(self, service: Service, fields: Fields, answers: Answers) -> None:
        self.service, self.answers = service, answers
        self.fields_stream = fields.flag("stream", False)
        self.with_usage = fields.part("stream_options").flag("include_usage", False)
        self.asked_logprobs = answers.requests[0].logprobs is not None
        self.asked_ids = fields.flag("return_token_ids", False)  # vLLM's name
        if self.asked_ids and not self.asked_logprobs:
            raise ApiError(400, "return_token_ids needs logprobs", "return_token_ids")
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}", "created": int(time.time()),
            "model": service.name,
        }  # fmt: skip

    def choice(self, i: int, text: str, logprobs: Any, reason: str | None, whole: bool) -> Any:
        """One choice of an answer or of a chunk."""
        raise NotImplementedError(f"{type(self).__name__} must define choice")

    async def whole(self) -> dict[str, Any]:
        """The answer in one object."""
        texts = await self.answers.whole()
        choices = [self.choice(i, t.text, t.logprobs, t.reason, True) for i, t in enumerate(texts)]
        body = {**self._head, "object": self.kind, "choices": choices}
        return {**body, "usage": self.answers.usage, **self._prompt_ids()}

    def _prompt_ids(self) -> dict[str, Any]:
        """The ids of the first prompt, if ids were asked for."""
        return {"prompt_token_ids": self.answers.requests[0].ids} if self.asked_ids else {}

    def _ids(self, logprobs: Sequence[TokenLogprobs]) -> dict[str, Any]:
        return {"token_ids": [x.id for x in logprobs]} if self.asked_ids else {}

    def _chunk(self, choices: list[Any], usage: Any = None, **more: Any) -> bytes:
        value = {**self._head, "object": self.chunk_kind, "choices": choices, **more}
        if self.with_usage:
            value["usage"] = usage
        return b"data: " + json.dumps(value).encode() + b"\n\n"

    def opening(self) -> list[Any]:
        """Choices that stand before all texts."""
        return []

    async def stream(self) -> AsyncIterator[bytes]:
        """The answer as server-sent events."""
        for choice in self.opening():
            yield self._chunk([choice])
        if self.asked_ids:
            yield self._chunk([], **self._prompt_ids())
        async for i, event in self.answers:
            if event.reason == "error":
                error = {"message": "the answer could not be completed", "type": "server_error"}
                yield b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
                return
            if event.text or event.logprobs:
                yield self._chunk([self.choice(i, event.text, event.logprobs, None, False)])
            if event.reason is not None:
                yield self._chunk([self.choice(i, "", [], reason_of(event.reason), False)])
        if self.with_usage:
            yield self._chunk([], self.answers.usage)
        yield b"data: [DONE]\n\n"

    def spelled(self, token_id: int) -> tuple[str, list[int]]:
        """A token's text, and its bytes."""
        known = token_id < self.service.tokenizer.vocab_size
        data = self.service.tokenizer.token_bytes(token_id) if known else b""
        return data.decode("utf-8", errors="replace"), list(data)


class _Chat(_Writer):
    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self) -> list[Any]:
        start = {"role": "assistant", "content": ""}
        return [
            {"index": i, "delta": start, "logprobs": None, "finish_reason": None}
            for i in range(len(self.answers.requests))
        ]

    def choice(self, i: int, text: str, logprobs: Any, reason: str | None, whole: bool) -> Any:
        shown = {"content": [self._token(x) for x in logprobs]} if self.asked_logprobs else None
        body = {"message": {"role": "assistant", "content": text, "refusal": None}}
        if not whole:
            body = {"delta": {"content": text} if text else {}}
        more = self._ids(logprobs)
        return {"index": i, **body, "logprobs": shown, "finish_reason": reason, **more}

    def _token(self, x: TokenLogprobs) -> dict[str, Any]:
        def one(token_id: int, logprob: float) -> dict[str, Any]:
            text, data = self.spelled(token_id)
            return {"token": text, "logprob": logprob, "bytes": data}

        return {**one(x.id, x.logprob), "top_logprobs": [one(*pair) for pair in x.top]}


class _Completion(_Writer):
    kind, chunk_kind, prefix = "text_completion", "text_completion", "cmpl"

    def choice(self, i: int, text: str, logprobs: Any, reason: str | None, whole: bool) -> Any:
        shown = None
        if self.asked_logprobs:
            tokens, offsets, at = [self.spelled(x.id)[0] for x in logprobs], [], 0
            for token in tokens:
                offsets.append(at)
                at += len(token)
            shown = {
                "tokens": tokens, "token_logprobs": [x.logprob for x in logprobs],
                "top_logprobs": [{self.spelled(k)[0]: p for k, p in x.top} for x in logprobs],
                "text_offset": offsets,
            }  # fmt: skip
        more = self._ids(logprobs)
        return {"index": i, "text": text, "logprobs": shown, "finish_reason": reason, **more}


# -------------------------------------------------------------------------------- the embeddings
async def embeddings(served: Served, http: Any) -> dict[str, Any]:
    """The vectors of texts, as lists of numbers or base64 of float32."""
    fields = await body_of(http, served.limits)
    embedder = served.embedder
    if embedder is None:
        raise ApiError(404, "this server was started without --embeddings")
    name = fields.text("model", most=256)
    if name not in ("embeddings", *served.models.names):
        raise ApiError(404, 'the model of embeddings is "embeddings"', "model", "model_not_found")
    texts = fields.texts("input", served.limits.prompts, 20_000)
    if not texts:
        raise fields.wrong("input", "a text or a list of texts")
    kind = fields.text("encoding_format", "float", 16)
    if kind not in ("float", "base64"):
        raise fields.wrong("encoding_format", "float or base64")
    fields.refuse("dimensions")

    def embed() -> tuple[Any, int]:
        encode = embedder.tokenizer.encode  # a text may spell a special token: that is text too
        tokens = sum(len(encode(text, disallowed_special=())) for text in texts)
        return embedder.embed(texts), tokens  # (N, C)

    try:
        async with served.computing:
            vectors, tokens = await asyncio.to_thread(embed)
    except ValueError:
        raise ApiError(400, "a text has no tokens for this model", "input") from None
    rows = [
        row.tolist() if kind == "float" else base64.b64encode(row.astype("<f4").tobytes()).decode()
        for row in vectors
    ]
    return {
        "object": "list", "model": name,
        "data": [{"object": "embedding", "index": i, "embedding": r} for i, r in enumerate(rows)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }  # fmt: skip
