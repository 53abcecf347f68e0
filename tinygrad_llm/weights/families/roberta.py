"""RoBERTa's published weights and config.json: BERT's, with another prefix and head."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import bert, config_json
from .table import Table, Weight, expanded

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "TEXTS", "read_config", "weights", "write_config"]

MODEL_TYPES = ("roberta", "xlm-roberta")  # in a config.json
ARCHITECTURES = ("RobertaForMaskedLM", "XLMRobertaForMaskedLM")
PREFIX = "roberta."
IGNORED = re.compile(r"position_ids$|pooler\.")
MASKED: Table = {
    "lm_head.dense.weight": ("transform.dense.weight", "CC"),
    "lm_head.dense.bias": ("transform.dense.bias", "C"),
    "lm_head.layer_norm.weight": ("transform.norm.weight", "C"),
    "lm_head.layer_norm.bias": ("transform.norm.bias", "C"),
    "lm_head.bias": ("out_head.bias", "V"),
    "lm_head.decoder.weight": ("out_head.weight", "VC"),
}
TEXTS: Table = {  # K classes
    "classifier.dense.weight": ("pooler.weight", "CC"),
    "classifier.dense.bias": ("pooler.bias", "C"),
    "classifier.out_proj.weight": ("classifier.weight", "KC"),
    "classifier.out_proj.bias": ("classifier.bias", "K"),
}
FIELDS = {**bert.FIELDS, "type_vocab_size": ("n_token_types", int, 2)}


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields."""
    body = bert.body(fields)
    named = {PREFIX + name.removeprefix(bert.PREFIX): weight for name, weight in body.items()}
    letters = bert.sizes(fields)
    return bert.with_copy(named | expanded(MASKED, letters), "lm_head.decoder.bias", letters)


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of RobertaConfig in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this RoBERTa cannot be.
    """
    fields = bert.read_sizes(config, where, "this RoBERTa", FIELDS)
    pad = config_json.number(where, "pad_token_id", config.get("pad_token_id", 1), int)
    context = fields["context_length"] - pad - 1  # positions begin after the id of padding
    if pad < 0 or context < 1:
        raise ValueError(
            f"{where}: max_position_embeddings {fields['context_length']} leaves no positions "
            f"after those of pad_token_id {pad}"
        )
    return {**fields, "pad_token_id": pad, "context_length": context}


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a RobertaConfig."""
    positions = fields["context_length"] + fields["pad_token_id"] + 1
    return {
        **bert.write_config(fields, ARCHITECTURES[0]),
        "model_type": MODEL_TYPES[0],
        "max_position_embeddings": positions,
        "pad_token_id": fields["pad_token_id"],
    }
