"""Ollama's routes: /api/chat, /api/generate and /api/tags; answers are lines of JSON."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from typing import Any

from ..version import __version__
from .engine import Request
from .fields import ApiError, Fields
from .served import Served
from .service import Answers, Service, body_of, reason_of

__all__ = ["chat", "generate", "tags", "version"]


async def tags(served: Served, http: Any) -> dict[str, Any]:
    """The models of this server."""
    return {"models": [{"name": name, "model": name} for name in served.models.names]}


async def version(served: Served, http: Any) -> dict[str, Any]:
    """This package's version."""
    return {"version": str(__version__)}


async def chat(served: Served, http: Any) -> Any:
    """The next message of a conversation."""
    fields = await body_of(http, served.limits)
    service = await served.service(fields)
    ids = await service.chat_ids(fields.get("messages"))
    return await _answer(
        service, fields, ids, http, lambda text: {"message": {"role": "assistant", "content": text}}
    )


async def generate(served: Served, http: Any) -> Any:
    """The answer to a prompt; with raw, or without a chat template, the text after it."""
    fields = await body_of(http, served.limits)
    service = await served.service(fields)
    prompt, system = fields.text("prompt", ""), fields.text("system")
    fields.refuse("suffix", "images", "template", "context")
    if fields.flag("raw", False) or not service.can_chat:
        ids = await service.text_ids(prompt)
    else:
        before = [{"role": "system", "content": system}] if system else []
        ids = await service.chat_ids([*before, {"role": "user", "content": prompt}])
    return await _answer(service, fields, ids, http, lambda text: {"response": text})


def _requests(service: Service, fields: Fields, ids: list[int]) -> list[Request]:
    options, limits = fields.part("options"), service.limits
    if fields.get("format") not in (None, ""):
        raise ApiError(400, "format is not supported by this server", "format")
    fields.refuse("tools")
    tokens = options.integer("num_predict", -1, -2, 10**9)
    seed = options.integer("seed", None, -(2**63), 2**63 - 1)
    return service.requests(
        [ids], 1, tokens if tokens > 0 else None, seed, None,
        temperature=options.number("temperature", 0.8, 0.0, 100.0),
        top_p=options.number("top_p", 0.9, 1e-6, 1.0),
        top_k=options.integer("top_k", 40, 0, 10**6) or None,
        min_p=options.number("min_p", None, 0.0, 1.0),
        repetition_penalty=options.number("repeat_penalty", 1.0, 0.01, 100.0),
        stop_strings=options.texts("stop", limits.stops, limits.stop_length),
    )  # fmt: skip


async def _answer(
    service: Service, fields: Fields, ids: list[int], http: Any, body: Callable[[str], dict]
) -> Any:
    from starlette.responses import StreamingResponse

    stream = fields.flag("stream", True)
    began = time.perf_counter_ns()
    answers = service.start(_requests(service, fields, ids), http)

    def line(text: str, reason: str | None) -> dict[str, Any]:
        now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        value = {"model": service.name, "created_at": now, **body(text), "done": reason is not None}
        if reason is not None:
            usage = answers.usage
            value |= {
                "done_reason": reason, "prompt_eval_count": usage["prompt_tokens"],
                "eval_count": usage["completion_tokens"],
                "total_duration": time.perf_counter_ns() - began,
            }  # fmt: skip
        return value

    if stream:
        return StreamingResponse(_lines(answers, line), media_type="application/x-ndjson")
    whole = (await answers.whole())[0]
    return line(whole.text, whole.reason)


async def _lines(answers: Answers, line: Callable[..., dict[str, Any]]) -> AsyncIterator[bytes]:
    async for _, event in answers:
        if event.reason == "error":
            yield json.dumps({"error": "the answer could not be completed"}).encode() + b"\n"
            return
        if event.text:
            yield json.dumps(line(event.text, None)).encode() + b"\n"
        if event.reason is not None:
            yield json.dumps(line("", reason_of(event.reason))).encode() + b"\n"
