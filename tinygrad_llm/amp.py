"""Mixed precision under PyTorch's second name: amp.autocast is tinygrad_llm.autocast."""

from __future__ import annotations

from .functions.autocast import autocast, is_autocast_enabled
from .names import missing

__all__ = ["autocast", "is_autocast_enabled"]


def __getattr__(name: str) -> object:
    raise missing(__name__, name, __all__)
