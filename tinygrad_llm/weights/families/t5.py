"""T5's published weights and config.json, versions 1.0 and 1.1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...files.untrusted import describe
from . import config_json
from .table import Table, Weight, expanded

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("t5",)  # in a config.json
ARCHITECTURES = ("T5ForConditionalGeneration", "T5WithLMHeadModel")
PREFIX = ""
IGNORED = re.compile(r"^(encoder|decoder)\.embed_tokens\.|EncDecAttention\.relative_attention_bias")
# V vocabulary, C channels, Q = H·D, F hidden_dim, H heads, N buckets of distances
TOP: Table = {
    "shared.weight": ("tok_emb.weight", "VC"),
    "encoder.final_layer_norm.weight": ("encoder.final_norm.0.weight", "C"),
    "decoder.final_layer_norm.weight": ("decoder.final_norm.0.weight", "C"),
}
BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
OUR_BIAS = "trf_blocks.0.att.position_bias.table.weight"
SELF: Table = {
    "layer.0.layer_norm.weight": ("norm1.weight", "C"),
    "layer.0.SelfAttention.q.weight": ("att.qkv.weight", "QC"),
    "layer.0.SelfAttention.k.weight": ("att.qkv.weight", "QC"),
    "layer.0.SelfAttention.v.weight": ("att.qkv.weight", "QC"),
    "layer.0.SelfAttention.o.weight": ("att.out_proj.weight", "CQ"),
}
CROSS: Table = {
    "layer.1.layer_norm.weight": ("norm_cross.weight", "C"),
    "layer.1.EncDecAttention.q.weight": ("cross.q.weight", "QC"),
    "layer.1.EncDecAttention.k.weight": ("cross.kv.weight", "QC"),
    "layer.1.EncDecAttention.v.weight": ("cross.kv.weight", "QC"),
    "layer.1.EncDecAttention.o.weight": ("cross.out_proj.weight", "CQ"),
}
PLAIN: Table = {
    "layer_norm.weight": ("norm2.weight", "C"),
    "DenseReluDense.wi.weight": ("ff.layers.0.weight", "FC"),
    "DenseReluDense.wo.weight": ("ff.layers.2.weight", "CF"),
}
GATED: Table = {
    "layer_norm.weight": ("norm2.weight", "C"),
    "DenseReluDense.wi_0.weight": ("ff.gate_up.weight", "FC"),
    "DenseReluDense.wi_1.weight": ("ff.gate_up.weight", "FC"),
    "DenseReluDense.wo.weight": ("ff.down.weight", "CF"),
}
HEAD: Table = {"lm_head.weight": ("out_head.weight", "VC")}

FIELDS: dict[str, tuple[str, type, Any]] = {  # of config.json: ours, kind, what its absence means
    "vocab_size": ("vocab_size", int, ...),
    "n_positions": ("context_length", int, 512),
    "d_model": ("emb_dim", int, ...),
    "d_ff": ("hidden_dim", int, ...),
    "num_layers": ("n_layers", int, ...),
    "num_decoder_layers": ("n_decoder_layers", int, None),
    "num_heads": ("n_heads", int, ...),
    "d_kv": ("head_dim", int, ...),
    "relative_attention_num_buckets": ("n_buckets", int, 32),
    "relative_attention_max_distance": ("max_distance", int, 128),
    "layer_norm_epsilon": ("norm_eps", float, 1e-6),
    "dropout_rate": ("drop_rate", float, 0.1),
    "decoder_start_token_id": ("start_token_id", int, 0),
    "pad_token_id": ("pad_token_id", int, 0),
}


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields; lm_head.weight too if it is tied."""
    letters = {
        "V": fields["vocab_size"], "C": fields["emb_dim"], "F": fields["hidden_dim"],
        "Q": fields["n_heads"] * fields["head_dim"], "H": fields["n_heads"],
        "N": fields["n_buckets"],
    }  # fmt: skip
    named = expanded(TOP, letters)
    ff = GATED if fields["gated"] else PLAIN
    sides = {"encoder.": fields["n_layers"], "decoder.": fields["n_decoder_layers"]}
    for side, count in sides.items():
        named |= expanded({BIAS: (OUR_BIAS, "NH")}, letters, side, side)
        for i in range(count):
            theirs, ours = f"{side}block.{i}.", f"{side}trf_blocks.{i}."
            named |= expanded(SELF, letters, theirs, ours)
            decodes = side == "decoder."
            if decodes:
                named |= expanded(CROSS, letters, theirs, ours)
            last = f"{theirs}layer.{2 if decodes else 1}."
            named |= expanded(ff, letters, last, ours)
    return named | expanded(HEAD, letters)


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of T5Config in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this T5 cannot be.
    """
    fields = config_json.numbers(where, config, FIELDS)
    if fields["n_decoder_layers"] is None:
        fields["n_decoder_layers"] = fields["n_layers"]
    kind = config.get("feed_forward_proj") or "relu"
    if not isinstance(kind, str) or kind.count("-") > 1:
        raise ValueError(
            f"{where}: feed_forward_proj should be a name such as 'relu' or 'gated-gelu', got "
            f"{describe(kind)}"
        )
    gated, activation = kind.startswith("gated-"), kind.removeprefix("gated-")
    fields["gated"] = gated
    fields["activation"] = "gelu_new" if kind == "gated-gelu" else activation
    # tie_word_embeddings says whether the output is scaled; an output layer that is not the
    # embedding stands in the file, so that the loader sees it
    tied = config_json.flag(where, config, "tie_word_embeddings", True)
    fields["scaled_head"] = config_json.flag(where, config, "scale_decoder_outputs", tied)
    return {**fields, "tie_weights": True}


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a T5Config."""
    activation = fields["activation"]
    name = "gelu" if fields["gated"] and activation == "gelu_new" else activation
    return {
        "architectures": [ARCHITECTURES[0]],
        "model_type": MODEL_TYPES[0],
        **{theirs: fields[ours] for theirs, (ours, _, _) in FIELDS.items()},
        "feed_forward_proj": f"gated-{name}" if fields["gated"] else name,
        "is_encoder_decoder": True,
        "tie_word_embeddings": fields["scaled_head"],
        "scale_decoder_outputs": fields["scaled_head"],
    }
