"""A client for chat servers over HTTP: OpenAI's and Ollama's protocols, with retries and a cache.

    client = ChatClient("http://localhost:11434", "llama3", protocol="ollama", cache="answers")
    print(client.ask("What is the capital of France?").text)
    print(client.usage)                      # requests, tokens, and what they cost

It needs the standard library only. An answer is on the disk before `ask` returns it, so a run that
was killed asks only for what it had not got.
"""

from __future__ import annotations

from .chat import ChatClient, Limits, Reply
from .cost import Price, Usage, estimate_tokens
from .errors import ChatError
from .protocols import PROTOCOLS

__all__ = [
    "PROTOCOLS", "ChatClient", "ChatError", "Limits", "Price", "Reply", "Usage", "estimate_tokens",
]  # fmt: skip
