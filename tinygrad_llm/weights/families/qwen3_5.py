"""Qwen3.5's published weights and config.json: two kinds of blocks.

Published files hold a model that sees pictures too: of these the text's part is read. What predicts
further tokens (mtp) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...files.untrusted import describe
from . import config_json, llama, mixed
from .table import Table, Weight, expanded

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("qwen3_5_text", "qwen3_5")  # in a config.json
ARCHITECTURES = (
    "Qwen3_5ForCausalLM",
    "Qwen3_5ForConditionalGeneration",
    "Qwen3_5TextModel",
)
PREFIX = llama.PREFIX
IGNORED = re.compile(r"rotary_emb\.inv_freq$|^(model\.)?visual\.|^mtp\.")
LINEAR = "linear_attention"
SHARED: Table = {name: row for name, row in llama.BLOCK.items() if "self_attn" not in name}
BLOCKS: dict[str, Table] = {  # the kind of a block: its table
    mixed.FULL: {  # P = 2·Q: each query head is followed by its gate
        **SHARED,
        "self_attn.q_proj.weight": ("att.qkv.weight", "PC"),
        "self_attn.k_proj.weight": ("att.qkv.weight", "KC"),
        "self_attn.v_proj.weight": ("att.qkv.weight", "KC"),
        "self_attn.o_proj.weight": ("att.out_proj.weight", "CQ"),
        "self_attn.q_norm.weight": ("att.q_norm.weight", "D"),
        "self_attn.k_norm.weight": ("att.k_norm.weight", "D"),
    },
    LINEAR: {  # X channels of the convolution, Z of all values, S heads, L channels of a value
        **SHARED,
        "linear_attn.in_proj_qkv.weight": ("att.in_proj.weight", "XC"),
        "linear_attn.in_proj_z.weight": ("att.in_proj.weight", "ZC"),
        "linear_attn.in_proj_b.weight": ("att.in_proj.weight", "SC"),
        "linear_attn.in_proj_a.weight": ("att.in_proj.weight", "SC"),
        "linear_attn.conv1d.weight": ("att.conv1d.weight", "X1W"),
        "linear_attn.dt_bias": ("att.dt_bias", "S"),
        "linear_attn.A_log": ("att.A_log", "S"),
        "linear_attn.norm.weight": ("att.norm.weight", "L"),
        "linear_attn.out_proj.weight": ("att.out_proj.weight", "CZ"),
    },
}
OWN: dict[str, tuple[str, type, Any]] = {
    "linear_num_value_heads": ("linear_n_heads", int, 32),
    "linear_num_key_heads": ("linear_n_key_heads", int, 16),
    "linear_value_head_dim": ("linear_head_dim", int, 128),
    "linear_key_head_dim": ("linear_key_head_dim", int, 128),
    "linear_conv_kernel_dim": ("conv_size", int, 4),
}
PARTIAL = "partial_rotary_factor"


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields; lm_head.weight too if it is tied."""
    values = fields["linear_n_heads"] * fields["linear_head_dim"]
    letters = {
        **llama.sizes(fields),
        "1": 1,
        "P": 2 * fields["n_heads"] * fields["head_dim"],
        "X": 2 * fields["linear_n_key_heads"] * fields["linear_key_head_dim"] + values,
        "Z": values,
        "S": fields["linear_n_heads"],
        "L": fields["linear_head_dim"],
        "W": fields["conv_size"],
    }
    named = expanded(llama.TOP, letters, PREFIX)
    for i, kind in enumerate(mixed.kinds_of(fields, 4, LINEAR)):
        named |= expanded(BLOCKS[kind], letters, f"{PREFIX}layers.{i}.", f"trf_blocks.{i}.")
    return named | expanded(llama.HEAD, letters)


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of Qwen35Config in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this Qwen3.5 cannot be.
    """
    text = config.get("text_config", config)
    if not isinstance(text, dict):
        raise ValueError(f"{where}: text_config should be an object, got {describe(text)}")
    tied = "tie_word_embeddings"
    config = {**text, tied: config.get(tied, text.get(tied, False))}
    given = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise ValueError(f"{where}: rope_parameters should be an object, got {describe(given)}")
    share = given.get(PARTIAL, config.get(PARTIAL, 0.25))
    for_pictures = ("mrope_section", "mrope_interleaved", PARTIAL)
    rope = {name: value for name, value in given.items() if name not in for_pictures}
    fixed = {"hidden_act": ("silu", "swish"), "attention_bias": (False,)}
    plain = {"head_dim": 256, **config, "rope_parameters": rope, "rope_scaling": None}
    fields = llama.read_common(plain, where, "this Qwen3.5", fixed)
    types = mixed.kinds(where, config, fields["n_layers"], 4, "full_attention_interval", LINEAR)
    for kind in set(types) - set(BLOCKS):
        raise ValueError(
            f"{where}: layer_types has {describe(kind)}, but this Qwen3.5 has {', '.join(BLOCKS)}"
        )
    return {
        **fields,
        **config_json.numbers(where, config, OWN),
        "partial_rotary": config_json.number(where, PARTIAL, share, float),
        "layer_types": types,
    }


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a Qwen35Config: a model of text alone."""
    written = llama.write_common(fields, MODEL_TYPES[0], ARCHITECTURES[0])
    share = {PARTIAL: fields["partial_rotary"]}
    return {
        **written,
        **{theirs: fields[ours] for theirs, (ours, _, _) in OWN.items()},
        **share,
        "rope_parameters": {**written["rope_parameters"], **share},
        "rope_scaling": None,
        "layer_types": list(mixed.kinds_of(fields, 4, LINEAR)),
        "attention_bias": False,
    }
