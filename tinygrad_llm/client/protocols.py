"""How OpenAI's and Ollama's servers are asked, and how their answers read.

A protocol is a path, a function from a request to the body, and one from the answer to its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..files.untrusted import describe
from .errors import TemporaryError

__all__ = ["PROTOCOLS", "Parts", "Protocol", "count_of"]

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Parts:
    """The text of an answer, why it ended, and the tokens read and written (None: not counted)."""

    text: str
    finish: str
    read: int | None
    written: int | None


@dataclass(frozen=True)
class Protocol:
    """path: added to the server's address; body: of a request; parts: of a decoded answer."""

    path: str
    body: Callable[[str, Messages, Mapping[str, Any]], dict[str, Any]]
    parts: Callable[[Any], Parts]


def _openai_body(model: str, messages: Messages, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model, "messages": list(messages), **options}


def _ollama_body(model: str, messages: Messages, options: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {("num_predict" if k == "max_tokens" else k): v for k, v in options.items()}
    return {"model": model, "messages": list(messages), "stream": False, "options": renamed}


def _get(value: Any, *path: str | int) -> Any:
    """The value at a path of names and places.

    Raises: TemporaryError if it is not there: a server that breaks sends half of its answer, too.
    """
    whole = value
    for key in path:
        try:
            value = value[key]
        except (TypeError, LookupError):
            raise TemporaryError(
                f"the answer has no {'.'.join(map(str, path))}: it is {describe(whole)}"
            ) from None
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TemporaryError(f"the answer's text is {describe(value)}, not a text")
    return value


def count_of(value: Any) -> int | None:
    """The value if it is a number of tokens, else None."""
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
    return value if good else None


def _openai_parts(answer: Any) -> Parts:
    choice = _get(answer, "choices", 0)
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Parts(
        _text(_get(choice, "message", "content")), str(choice.get("finish_reason") or ""),
        count_of(usage.get("prompt_tokens")), count_of(usage.get("completion_tokens")),
    )  # fmt: skip


def _ollama_parts(answer: Any) -> Parts:
    text = _text(_get(answer, "message", "content"))
    if answer.get("done") is False:
        raise TemporaryError("the answer is a piece of a longer one: the server ignores `stream`")
    return Parts(
        text, str(answer.get("done_reason") or ""),
        count_of(answer.get("prompt_eval_count")), count_of(answer.get("eval_count")),
    )  # fmt: skip


PROTOCOLS = {
    "openai": Protocol("/chat/completions", _openai_body, _openai_parts),
    "ollama": Protocol("/api/chat", _ollama_body, _ollama_parts),
}
