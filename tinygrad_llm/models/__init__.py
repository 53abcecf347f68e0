"""Models: one file each, its config dataclass first."""

from __future__ import annotations

from .cache import KVCache
from .gpt import GPT, GPTConfig

__all__ = ["GPT", "GPTConfig", "KVCache"]
