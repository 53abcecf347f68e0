"""Qwen2's published weights and config.json: Llama's, and biases of queries, keys and values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import llama
from .config_json import flag, layer_types, number
from .table import Table, Weight

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("qwen2",)  # in a config.json
ARCHITECTURES = ("Qwen2ForCausalLM", "Qwen2Model")
PREFIX = llama.PREFIX
IGNORED: re.Pattern[str] = llama.IGNORED
BLOCK: Table = {
    **llama.BLOCK,
    "self_attn.q_proj.bias": ("att.qkv.bias", "Q"),
    "self_attn.k_proj.bias": ("att.qkv.bias", "K"),
    "self_attn.v_proj.bias": ("att.qkv.bias", "K"),
}


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields; lm_head.weight too if it is tied."""
    return llama.weights(fields, BLOCK)


def read_windows(config: Mapping[str, Any], where: str, n_layers: int) -> dict[str, Any]:
    """The fields `window` and `layer_types` of a Qwen2 or Qwen3; transformers 4 had no layer_types.

    Raises: ValueError if a field is broken.
    """
    window = None
    if flag(where, config, "use_sliding_window", False):
        window = config.get("sliding_window", 4096)
        window = None if window is None else number(where, "sliding_window", window, int)
    first = number(where, "max_window_layers", config.get("max_window_layers", 28), int)
    types = layer_types(where, config)
    if types is None and window is not None:
        kinds = ("full_attention", "sliding_attention")
        types = tuple(kinds[i >= first] for i in range(n_layers))
    sliding = types is not None and "sliding_attention" in types
    if not sliding or window is None:  # transformers' masks are full without a sliding_window
        return {"window": None, "layer_types": None}
    return {"window": window, "layer_types": types}


def write_windows(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of config.json for `window` and `layer_types`."""
    types = fields["layer_types"] or ("full_attention",) * fields["n_layers"]
    sliding = "sliding_attention" in types
    return {
        "use_sliding_window": sliding,
        "sliding_window": fields["window"],
        "max_window_layers": types.index("sliding_attention") if sliding else fields["n_layers"],
        "layer_types": list(types),
    }


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of Qwen2Config in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this Qwen2 cannot be.
    """
    fixed = {"hidden_act": ("silu", "swish")}
    fields = llama.read_common(config, where, "this Qwen2", fixed)
    return {**fields, **read_windows(config, where, fields["n_layers"])}


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a Qwen2Config."""
    written = llama.write_common(fields, MODEL_TYPES[0], ARCHITECTURES[0])
    return {**written, **write_windows(fields)}
