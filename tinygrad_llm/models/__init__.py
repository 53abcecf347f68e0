"""Models: one file each, its config dataclass first."""

from __future__ import annotations

from ..layers.cache import Cache
from ..weights.families import gpt2
from . import registry
from .base import LanguageModel, Model, ModelConfig
from .classifier import GPTClassifier, GPTClassifierConfig
from .gpt import GPT, GPTConfig
from .pretrained import PRETRAINED, build_gpt2, from_pretrained, load_gpt2, save_pretrained
from .vocabulary import resize_vocabulary

registry.register(GPT, GPTConfig, names=gpt2, load=load_gpt2, files=PRETRAINED)
registry.register(GPTClassifier, GPTClassifierConfig)

__all__ = [
    "GPT",
    "GPTClassifier",
    "GPTClassifierConfig",
    "GPTConfig",
    "Cache",
    "LanguageModel",
    "Model",
    "ModelConfig",
    "build_gpt2",
    "from_pretrained",
    "load_gpt2",
    "registry",
    "resize_vocabulary",
    "save_pretrained",
]
