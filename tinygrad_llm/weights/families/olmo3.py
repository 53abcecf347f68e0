"""Olmo 3's published weights and config.json: Llama's names, and norms behind the two parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import config_json, llama, mixed
from .table import Table, Weight

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("olmo3",)  # in a config.json
ARCHITECTURES = ("Olmo3ForCausalLM", "Olmo3Model")
PREFIX = llama.PREFIX
IGNORED: re.Pattern[str] = llama.IGNORED
BLOCK: Table = {
    **{theirs: row for theirs, row in llama.BLOCK.items() if "layernorm" not in theirs},
    "post_attention_layernorm.weight": ("norm1.weight", "C"),
    "post_feedforward_layernorm.weight": ("norm2.weight", "C"),
    "self_attn.q_norm.weight": ("att.q_norm.weight", "Q"),
    "self_attn.k_norm.weight": ("att.k_norm.weight", "K"),
}
BASE = 500000.0  # what an absent rope_theta stands for


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields; lm_head.weight too if it is tied."""
    return llama.weights(fields, BLOCK)


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of Olmo3Config in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this Olmo 3 cannot be.
    """
    fixed = {"hidden_act": ("silu", "swish"), "attention_bias": (False,)}
    ropes = mixed.read_ropes(where, config, BASE, None)
    plain = {"rms_norm_eps": 1e-5, **config, "rope_parameters": None, "rope_scaling": None}
    fields = llama.read_common(plain, where, "this Olmo 3", fixed)
    window = config_json.numbers(where, config, {"sliding_window": ("window", int, 4096)})
    types = mixed.kinds(where, config, fields["n_layers"], 4)
    return {**fields, **ropes, **window, "layer_types": types}


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for an Olmo3Config."""
    written = llama.write_common({**fields, "rope_scaling": None}, MODEL_TYPES[0], ARCHITECTURES[0])
    for name in ("rope_theta", "rope_scaling"):
        del written[name]
    return {**written, **mixed.write_ropes(fields, 4), "attention_bias": False}
