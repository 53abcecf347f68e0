"""Cohere 2's published weights and config.json: Llama's names, and one norm in a block."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import config_json, llama, mixed
from .table import Table, Weight

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("cohere2",)  # in a config.json
ARCHITECTURES = ("Cohere2ForCausalLM", "Cohere2Model")
PREFIX = llama.PREFIX
IGNORED: re.Pattern[str] = llama.IGNORED
BLOCK: Table = {
    name: row for name, row in llama.BLOCK.items() if name != "post_attention_layernorm.weight"
}


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields; lm_head.weight too if it is tied."""
    return llama.weights(fields, BLOCK)


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of Cohere2Config in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this model cannot be.
    """
    fixed = {"hidden_act": ("silu", "swish"), "attention_bias": (False,), "use_qk_norm": (False,)}
    eps = config.get("layer_norm_eps")
    eps = 1e-5 if eps is None else config_json.number(where, "layer_norm_eps", eps, float)
    plain = {
        "max_position_embeddings": 8192, "tie_word_embeddings": True, **config, "rms_norm_eps": eps
    }  # fmt: skip
    plain["head_dim"] = None  # transformers computes it
    fields = llama.read_common(plain, where, "this Cohere 2", fixed)
    own = {"sliding_window": ("window", int, 4096), "logit_scale": ("logit_scale", float, 0.0625)}
    types = mixed.kinds(where, config, fields["n_layers"], 4)
    return {**fields, **config_json.numbers(where, config, own), "layer_types": types}


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a Cohere2Config.

    Raises: ValueError unless heads have emb_dim / n_heads channels, as transformers computes them.
    """
    if fields["head_dim"] * fields["n_heads"] != fields["emb_dim"]:
        raise ValueError(
            "transformers' Cohere 2 has heads of emb_dim / n_heads channels, but here head_dim="
            f"{fields['head_dim']}, n_heads={fields['n_heads']} and emb_dim={fields['emb_dim']}"
        )
    written = llama.write_common(fields, MODEL_TYPES[0], ARCHITECTURES[0])
    del written["head_dim"]
    return {
        **written,
        "layer_norm_eps": written.pop("rms_norm_eps"),
        "layer_types": list(mixed.kinds_of(fields, 4)),
        "sliding_window": fields["window"],
        "logit_scale": fields["logit_scale"],
        "attention_bias": False,
    }
