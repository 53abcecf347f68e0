"""Llama's published weights and config.json; those of SmolLM2 and Mistral are the same.

Hugging Face's files hold queries, keys and values apart, and so the two factors of the feed
forward; here each group is one matrix. Rotary pairs are half-split in both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import config_json
from .table import Table, Weight, expanded

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("llama", "mistral")  # in a config.json
ARCHITECTURES = ("LlamaForCausalLM", "LlamaModel", "MistralForCausalLM", "MistralModel")
PREFIX = "model."
IGNORED = re.compile(r"rotary_emb\.inv_freq$")  # the angles' frequencies, once stored with them
TOP: Table = {
    "embed_tokens.weight": ("tok_emb.weight", "VC"),
    "norm.weight": ("final_norm.weight", "C"),
}
BLOCK: Table = {  # V vocabulary, C channels, Q = H·D of queries, K = KV·D of keys, F hidden_dim
    "input_layernorm.weight": ("norm1.weight", "C"),
    "self_attn.q_proj.weight": ("att.qkv.weight", "QC"),
    "self_attn.k_proj.weight": ("att.qkv.weight", "KC"),
    "self_attn.v_proj.weight": ("att.qkv.weight", "KC"),
    "self_attn.o_proj.weight": ("att.out_proj.weight", "CQ"),
    "post_attention_layernorm.weight": ("norm2.weight", "C"),
    "mlp.gate_proj.weight": ("ff.gate_up.weight", "FC"),
    "mlp.up_proj.weight": ("ff.gate_up.weight", "FC"),
    "mlp.down_proj.weight": ("ff.down.weight", "CF"),
}
HEAD: Table = {"lm_head.weight": ("out_head.weight", "VC")}

FIELDS: dict[str, tuple[str, type, Any]] = {  # of config.json: ours, kind, what its absence means
    "vocab_size": ("vocab_size", int, ...),
    "max_position_embeddings": ("context_length", int, 2048),
    "hidden_size": ("emb_dim", int, ...),
    "intermediate_size": ("hidden_dim", int, ...),
    "num_hidden_layers": ("n_layers", int, ...),
    "num_attention_heads": ("n_heads", int, ...),
    "num_key_value_heads": ("n_kv_heads", int, None),
    "head_dim": ("head_dim", int, None),
    "rms_norm_eps": ("norm_eps", float, 1e-6),
}
FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False,),
    "mlp_bias": (False,),
}


def sizes(fields: Mapping[str, Any]) -> dict[str, int]:
    """Letter of the tables -> size, for the fields of a config."""
    return {
        "V": fields["vocab_size"],
        "C": fields["emb_dim"],
        "D": fields["head_dim"],
        "Q": fields["n_heads"] * fields["head_dim"],
        "K": fields["n_kv_heads"] * fields["head_dim"],
        "F": fields["hidden_dim"],
    }


def weights(
    fields: Mapping[str, Any], block: Table = BLOCK, more: Mapping[str, int] | None = None,
    others: Mapping[int, Table] | None = None,
) -> dict[str, Weight]:  # fmt: skip
    """Published name -> Weight of a model with these fields; lm_head.weight too if it is tied.

    block: the table of a block; more: letters that it has besides those of `sizes`
    others: the tables of the blocks that have another one
    """
    letters = {**sizes(fields), **(more or {})}
    named = expanded(TOP, letters, PREFIX)
    for i in range(fields["n_layers"]):
        table = (others or {}).get(i, block)
        named |= expanded(table, letters, f"{PREFIX}layers.{i}.", f"trf_blocks.{i}.")
    return named | expanded(HEAD, letters)


def read_common(
    config: Mapping[str, Any], where: str, what: str, fixed: Mapping[str, tuple[Any, ...]] = FIXED,
    base: float = 10000.0,
) -> dict[str, Any]:  # fmt: skip
    """The fields that Llama's relatives share, from config.json; see read_config.

    what: the model here, for messages: "this Llama"; fixed: the values that it can have; base: what
    an absent rope_theta stands for. attention_dropout, which acts in training only, is not read.
    Raises: ValueError if a field is missing, broken, or out of range.
    """
    config_json.check_fixed(where, config, fixed, what)
    fields = config_json.numbers(where, config, FIELDS)
    if fields["n_kv_heads"] is None:
        fields["n_kv_heads"] = fields["n_heads"]
    if fields["head_dim"] is None:
        fields["head_dim"] = fields["emb_dim"] // max(1, fields["n_heads"])
    fields["rope_base"], fields["rope_scaling"] = config_json.rope(where, config, base)
    scaling = fields["rope_scaling"]
    if scaling and scaling["rope_type"] == "dynamic":  # longer texts are what it is for
        fields["context_length"] = int(fields["context_length"] * scaling.get("factor", 1.0))
    fields["tie_weights"] = config_json.flag(where, config, "tie_word_embeddings", False)
    return fields


def write_common(fields: Mapping[str, Any], model_type: str, architecture: str) -> dict[str, Any]:
    """The fields of config.json that Llama's relatives share, as transformers 4 and 5 read them."""
    return {
        "architectures": [architecture],
        "model_type": model_type,
        **{theirs: fields[ours] for theirs, (ours, _, _) in FIELDS.items()},
        **config_json.rope_json(fields["rope_base"], fields["rope_scaling"]),
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "tie_word_embeddings": fields["tie_weights"],
    }


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of LlamaConfig in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this Llama cannot be.
    """
    fields = read_common(config, where, "this Llama")
    if config.get("model_type") == "mistral":
        window = config.get("sliding_window", 4096)
        fields["window"] = window and config_json.number(where, "sliding_window", window, int)
    return fields


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a LlamaConfig: a Llama, or with a window a Mistral."""
    if fields["window"] is None:
        written = write_common(fields, "llama", "LlamaForCausalLM")
        return {**written, "attention_bias": False, "mlp_bias": False}
    written = write_common(fields, "mistral", "MistralForCausalLM")
    return {**written, "sliding_window": fields["window"]}
