"""Models: one file each, its config dataclass first."""

from __future__ import annotations

from ..layers.cache import Cache
from ..weights.families import gpt2
from ..weights.families import llama as llama_names
from . import registry
from .base import LanguageModel, Model, ModelConfig
from .classifier import GPTClassifier, GPTClassifierConfig
from .decoder import Decoder
from .gpt import GPT, GPTConfig
from .llama import PRESETS as LLAMA_PRESETS
from .llama import Llama, LlamaConfig
from .pretrained import PRETRAINED, build_gpt2, from_pretrained, load_gpt2, save_pretrained

registry.register(GPT, GPTConfig, names=gpt2, load=load_gpt2, files=PRETRAINED)
registry.register(Llama, LlamaConfig, names=llama_names, presets=LLAMA_PRESETS)
registry.register(GPTClassifier, GPTClassifierConfig)

__all__ = [
    "GPT",
    "GPTClassifier",
    "GPTClassifierConfig",
    "GPTConfig",
    "Cache",
    "Decoder",
    "LanguageModel",
    "Llama",
    "LlamaConfig",
    "Model",
    "ModelConfig",
    "build_gpt2",
    "from_pretrained",
    "load_gpt2",
    "registry",
    "save_pretrained",
]
