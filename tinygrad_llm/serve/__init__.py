"""A server: one model over HTTP, under the routes of OpenAI's and Ollama's clients."""

from __future__ import annotations

from .engine import Engine, Limits, QueueFull

__all__ = ["Engine", "Limits", "QueueFull"]
