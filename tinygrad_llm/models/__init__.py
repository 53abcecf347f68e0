"""Models: one file each, its config dataclass first."""

from __future__ import annotations

from ..layers.cache import Cache
from .classifier import GPTClassifier, GPTClassifierConfig
from .gpt import GPT, GPTConfig
from .pretrained import build_gpt2, from_pretrained, load_gpt2, save_gpt2

__all__ = [
    "GPT",
    "GPTClassifier",
    "GPTClassifierConfig",
    "GPTConfig",
    "Cache",
    "build_gpt2",
    "from_pretrained",
    "load_gpt2",
    "save_gpt2",
]
