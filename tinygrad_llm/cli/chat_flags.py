"""The flags of commands that ask a chat server, and the client that they describe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from ..files.plain_text import say
from .errors import BadValue, blame
from .options import must_be

if TYPE_CHECKING:
    from ..client import ChatClient, Usage

__all__ = ["FLAGS", "asked", "client_of", "need_budget", "note"]

# Type, default and help of each flag.
_FLAGS: dict[str, tuple[Any, Any, str]] = {
    "model": (str, ..., "The model's name at its server."),
    "server": (str, "http://localhost:8000/v1", "Its address."),
    "protocol": (str, "openai", "openai or ollama."),
    "key": (str | None, None, "The environment variable with the key."),
    "price_read": (float, 0.0, "Of a million tokens read."),
    "price_written": (float, 0.0, "Of a million tokens written."),
    "budget": (float | None, None, "Do not start if it could cost more."),
    "per_minute": (float | None, None, "Requests per minute at most."),
    "attempts": (int, 5, "For each request."),
    "timeout": (float, 60.0, "Seconds without a byte, then another attempt."),
    "reply_tokens": (int, 200, "Of a reply, at most."),
}
FLAGS = {
    name: (hint, typer.Option(default, f"--{name.replace('_', '-')}", help=help))
    for name, (hint, default, help) in _FLAGS.items()
}


def client_of(values: dict[str, Any], cache: str, temperature: float = 0.0) -> ChatClient:
    """The client that the values of FLAGS describe; cache: the folder of its replies.

    Raises: BadValue for a value that cannot be used.
    """
    from ..client import PROTOCOLS, ChatClient, Limits, Price

    protocol, tokens, budget = (values[k] for k in ("protocol", "reply_tokens", "budget"))
    must_be("protocol", protocol in PROTOCOLS, " or ".join(PROTOCOLS), protocol)
    must_be("reply-tokens", 1 <= tokens <= 10**6, "from 1 to 1,000,000", tokens)
    must_be("budget", budget is None or budget >= 0, "0 or more", budget)
    with blame("the server", ValueError):
        client = ChatClient(
            values["server"], values["model"], protocol=protocol, key_variable=values["key"],
            cache=cache,
            limits=Limits(attempts=values["attempts"], timeout=values["timeout"],
                          per_minute=values["per_minute"]),
            price=Price(values["price_read"], values["price_written"]),
            options={"temperature": temperature, "max_tokens": tokens},
        )  # fmt: skip
    if budget is not None and not client.usage.price:
        raise BadValue("--budget needs --price-read and --price-written")
    return client


def need_budget(values: dict[str, Any], expected: Usage) -> None:
    """Raises: BadValue if it could cost more than --budget."""
    budget = values["budget"]
    if budget is not None and expected.cost > budget:
        raise BadValue(f"it could cost {expected.cost:.4f}, more than --budget {budget:g}")


@contextmanager
def asked(out: str) -> Iterator[None]:
    """Around what asks a server: out is the folder of the replies.

    Raises: BadValue, which says how to continue, if the server does not answer.
    """
    from ..client import ChatError

    try:
        yield
    except ChatError as error:
        raise BadValue(
            f"{error}. What was answered is kept in {out}: run the same command again for the rest"
        ) from None


def note(done: int, total: int) -> None:
    """Show how far a run has come, where somebody looks at a terminal."""
    if sys.stderr.isatty():
        say(f"\r{done:,} of {total:,}", end="\n" if done == total else "", file=sys.stderr)
        sys.stderr.flush()
