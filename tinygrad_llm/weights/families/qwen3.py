"""Qwen3's published weights and config.json: Llama's, and norms of queries and keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import llama, qwen2
from .table import Table, Weight

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("qwen3",)  # in a config.json
ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen3Model")
PREFIX = llama.PREFIX
IGNORED: re.Pattern[str] = llama.IGNORED
BLOCK: Table = {
    **llama.BLOCK,
    "self_attn.q_norm.weight": ("att.q_norm.weight", "D"),
    "self_attn.k_norm.weight": ("att.k_norm.weight", "D"),
}
HEAD_DIM = 128  # what an absent head_dim stands for


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields; lm_head.weight too if it is tied."""
    return llama.weights(fields, BLOCK)


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of Qwen3Config in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this Qwen3 cannot be.
    """
    fixed = {"hidden_act": ("silu", "swish"), "attention_bias": (False,)}
    config = {"head_dim": HEAD_DIM, **config}
    fields = llama.read_common(config, where, "this Qwen3", fixed)
    return {**fields, **qwen2.read_windows(config, where, fields["n_layers"])}


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a Qwen3Config."""
    written = llama.write_common(fields, MODEL_TYPES[0], ARCHITECTURES[0])
    return {**written, "attention_bias": False, **qwen2.write_windows(fields)}
