"""DistilBERT's published weights and config.json: BERT's layers under separate names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import bert
from .table import Table, Weight, expanded

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "TEXTS", "read_config", "weights", "write_config"]

MODEL_TYPES = ("distilbert",)  # in a config.json
ARCHITECTURES = ("DistilBertForMaskedLM",)
PREFIX = "distilbert."
IGNORED = re.compile(r"position_ids$")
TOP: Table = {
    theirs: row for theirs, row in bert.TOP.items() if "token_type" not in theirs
}  # it has no kinds of tokens
BLOCK: Table = {
    "attention.q_lin.weight": ("att.qkv.weight", "CC"),
    "attention.k_lin.weight": ("att.qkv.weight", "CC"),
    "attention.v_lin.weight": ("att.qkv.weight", "CC"),
    "attention.q_lin.bias": ("att.qkv.bias", "C"),
    "attention.k_lin.bias": ("att.qkv.bias", "C"),
    "attention.v_lin.bias": ("att.qkv.bias", "C"),
    "attention.out_lin.weight": ("att.out_proj.weight", "CC"),
    "attention.out_lin.bias": ("att.out_proj.bias", "C"),
    "sa_layer_norm.weight": ("norm1.weight", "C"),
    "sa_layer_norm.bias": ("norm1.bias", "C"),
    "ffn.lin1.weight": ("ff.layers.0.weight", "FC"),
    "ffn.lin1.bias": ("ff.layers.0.bias", "F"),
    "ffn.lin2.weight": ("ff.layers.2.weight", "CF"),
    "ffn.lin2.bias": ("ff.layers.2.bias", "C"),
    "output_layer_norm.weight": ("norm2.weight", "C"),
    "output_layer_norm.bias": ("norm2.bias", "C"),
}
MASKED: Table = {
    "vocab_transform.weight": ("transform.dense.weight", "CC"),
    "vocab_transform.bias": ("transform.dense.bias", "C"),
    "vocab_layer_norm.weight": ("transform.norm.weight", "C"),
    "vocab_layer_norm.bias": ("transform.norm.bias", "C"),
    "vocab_projector.bias": ("out_head.bias", "V"),
    "vocab_projector.weight": ("out_head.weight", "VC"),
}
TEXTS: Table = {  # K classes
    "pre_classifier.weight": ("pooler.weight", "CC"),
    "pre_classifier.bias": ("pooler.bias", "C"),
    **bert.CLASSES,
}
FIELDS: dict[str, tuple[str, type, Any]] = {  # of config.json: ours, kind, what its absence means
    "vocab_size": ("vocab_size", int, ...),
    "max_position_embeddings": ("context_length", int, 512),
    "dim": ("emb_dim", int, ...),
    "hidden_dim": ("hidden_dim", int, ...),
    "n_layers": ("n_layers", int, ...),
    "n_heads": ("n_heads", int, ...),
    "dropout": ("drop_rate", float, 0.1),
    "attention_dropout": ("attention_drop_rate", float, 0.1),
}
DROP_RATE = "seq_classif_dropout"  # before the scores of a text


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields."""
    letters = bert.sizes(fields)
    named = expanded(TOP, letters, PREFIX)
    for i in range(fields["n_layers"]):
        theirs = f"{PREFIX}transformer.layer.{i}."
        named |= expanded(BLOCK, letters, theirs, f"trf_blocks.{i}.")
    return named | expanded(MASKED, letters)


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of DistilBertConfig in the object of a config.json; where: for messages.

    Raises: ValueError if a field is missing or broken, or describes what it cannot be.
    """
    fields = bert.read_sizes(config, where, "this DistilBERT", FIELDS, "activation")
    classes = bert.read_classes(config, where, DROP_RATE, 0.2)
    return {**fields, **classes, "n_token_types": 0, "norm_eps": 1e-12}


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a DistilBertConfig."""
    return {
        "architectures": [ARCHITECTURES[0]],
        "model_type": MODEL_TYPES[0],
        **bert.write_sizes(fields, FIELDS),
        **bert.write_classes(fields, DROP_RATE, nullable=False),
        "activation": fields["activation"],
        "sinusoidal_pos_embds": False,
    }
