"""Models: one file each, its config dataclass first."""

from __future__ import annotations

from ..layers.cache import Cache
from ..weights.families import gpt2
from ..weights.families import llama as llama_names
from ..weights.families import qwen2 as qwen2_names
from ..weights.families import qwen3 as qwen3_names
from . import registry
from .base import LanguageModel, Model, ModelConfig
from .classifier import GPTClassifier, GPTClassifierConfig
from .decoder import Decoder
from .gpt import GPT, GPTConfig
from .gpt import PRESETS as GPT_PRESETS
from .llama import PRESETS as LLAMA_PRESETS
from .llama import Llama, LlamaConfig
from .pretrained import PRETRAINED, build_gpt2, from_pretrained, load_gpt2, save_pretrained
from .qwen2 import PRESETS as QWEN2_PRESETS
from .qwen2 import Qwen2, Qwen2Config
from .qwen3 import PRESETS as QWEN3_PRESETS
from .qwen3 import Qwen3, Qwen3Config
from .vocabulary import resize_vocabulary

registry.register(GPT, GPTConfig, names=gpt2, load=load_gpt2, files=PRETRAINED, presets=GPT_PRESETS)
registry.register(Llama, LlamaConfig, names=llama_names, presets=LLAMA_PRESETS)
registry.register(Qwen2, Qwen2Config, names=qwen2_names, presets=QWEN2_PRESETS)
registry.register(Qwen3, Qwen3Config, names=qwen3_names, presets=QWEN3_PRESETS)
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
    "Qwen2",
    "Qwen2Config",
    "Qwen3",
    "Qwen3Config",
    "build_gpt2",
    "from_pretrained",
    "load_gpt2",
    "registry",
    "resize_vocabulary",
    "save_pretrained",
]
