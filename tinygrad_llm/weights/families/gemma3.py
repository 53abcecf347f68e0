"""Gemma 3's published weights and config.json: Llama's names, and four norms in a block."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import config_json, llama, mixed
from .table import Table, Weight

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("gemma3_text",)  # in a config.json
ARCHITECTURES = ("Gemma3ForCausalLM", "Gemma3TextModel")
PREFIX = llama.PREFIX
IGNORED: re.Pattern[str] = llama.IGNORED
BLOCK: Table = {
    **llama.BLOCK,
    "post_attention_layernorm.weight": ("norm1_after.weight", "C"),
    "pre_feedforward_layernorm.weight": ("norm2.weight", "C"),
    "post_feedforward_layernorm.weight": ("norm2_after.weight", "C"),
    "self_attn.q_norm.weight": ("att.q_norm.weight", "D"),
    "self_attn.k_norm.weight": ("att.k_norm.weight", "D"),
}
FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_activation": ("gelu_pytorch_tanh", None),
    "attention_bias": (False,),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "use_bidirectional_attention": (False, None),
}
BEFORE = {  # what transformers means where the file is silent
    "vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields; lm_head.weight too if it is tied."""
    return llama.weights(fields, BLOCK)


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of Gemma3Config in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this Gemma 3 cannot be.
    """
    ropes = mixed.read_ropes(where, config, 1e6, 1e4)
    plain = {**BEFORE, **config, "rope_parameters": None, "rope_scaling": None}
    fields = llama.read_common(plain, where, "this Gemma 3", FIXED)
    window = config_json.numbers(where, config, {"sliding_window": ("window", int, 4096)})
    scalar = {"query_pre_attn_scalar": ("query_pre_attn_scalar", int, 256)}
    return {
        **fields,
        **ropes,
        **window,
        **config_json.numbers(where, config, scalar),
        "layer_types": mixed.kinds(where, config, fields["n_layers"], 6),
    }


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a Gemma3Config."""
    written = llama.write_common({**fields, "rope_scaling": None}, MODEL_TYPES[0], ARCHITECTURES[0])
    for name in ("hidden_act", "rope_theta", "rope_scaling"):
        del written[name]
    return {
        **written,
        **mixed.write_ropes(fields, 6),
        "hidden_activation": FIXED["hidden_activation"][0],
        "query_pre_attn_scalar": fields["query_pre_attn_scalar"],
        "attention_bias": False,
    }
