"""ModernBERT's published weights and config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...files.untrusted import describe
from . import bert, config_json, mixed
from .table import Table, Weight, expanded

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("modernbert",)  # in a config.json
ARCHITECTURES = ("ModernBertForMaskedLM",)
PREFIX = "model."
IGNORED = re.compile(r"rotary_emb\.")
# V vocabulary, C channels, W = 3·C of queries, keys and values, G = 2·F of both factors
TOP: Table = {
    "embeddings.tok_embeddings.weight": ("tok_emb.weight", "VC"),
    "embeddings.norm.weight": ("emb_norm.weight", "C"),
    "embeddings.norm.bias": ("emb_norm.bias", "C"),
    "final_norm.weight": ("final_norm.weight", "C"),
    "final_norm.bias": ("final_norm.bias", "C"),
}
BLOCK: Table = {
    "attn_norm.weight": ("norm1.weight", "C"),
    "attn_norm.bias": ("norm1.bias", "C"),
    "attn.Wqkv.weight": ("att.qkv.weight", "WC"),
    "attn.Wqkv.bias": ("att.qkv.bias", "W"),
    "attn.Wo.weight": ("att.out_proj.weight", "CC"),
    "attn.Wo.bias": ("att.out_proj.bias", "C"),
    "mlp_norm.weight": ("norm2.weight", "C"),
    "mlp_norm.bias": ("norm2.bias", "C"),
    "mlp.Wi.weight": ("ff.gate_up.weight", "GC"),
    "mlp.Wi.bias": ("ff.gate_up.bias", "G"),
    "mlp.Wo.weight": ("ff.down.weight", "CF"),
    "mlp.Wo.bias": ("ff.down.bias", "C"),
}
MASKED: Table = {
    "head.dense.weight": ("transform.dense.weight", "CC"),
    "head.dense.bias": ("transform.dense.bias", "C"),
    "head.norm.weight": ("transform.norm.weight", "C"),
    "head.norm.bias": ("transform.norm.bias", "C"),
    "decoder.bias": ("out_head.bias", "V"),
    "decoder.weight": ("out_head.weight", "VC"),
}
FIELDS: dict[str, tuple[str, type, Any]] = {  # of config.json: ours, kind, what its absence means
    "vocab_size": ("vocab_size", int, ...),
    "max_position_embeddings": ("context_length", int, 8192),
    "hidden_size": ("emb_dim", int, ...),
    "intermediate_size": ("hidden_dim", int, ...),
    "num_hidden_layers": ("n_layers", int, ...),
    "num_attention_heads": ("n_heads", int, ...),
    "local_attention": ("window", int, 128),
    "norm_eps": ("norm_eps", float, 1e-5),
    "embedding_dropout": ("drop_rate", float, 0.0),
}
FLAGS = {  # of config.json: ours, what its absence means
    "norm_bias": ("norm_bias", False),
    "attention_bias": ("attention_bias", False),
    "mlp_bias": ("ff_bias", False),
    "classifier_bias": ("head_bias", False),
    "decoder_bias": ("out_bias", True),
    "tie_word_embeddings": ("tie_weights", True),
}
POOLS = {"cls": "first", "mean": "mean"}  # of config.json: ours
FIXED: dict[str, tuple[Any, ...]] = {"attention_dropout": (0.0, 0), "mlp_dropout": (0.0, 0)}
BIASES = {  # which flag says whether a bias is there, by the part of its name here
    "norm": "norm_bias", "att.": "attention_bias", "ff.": "ff_bias", "dense": "head_bias",
    "out_head": "out_bias",
}  # fmt: skip


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields."""
    C, F = fields["emb_dim"], fields["hidden_dim"]
    letters = {"V": fields["vocab_size"], "C": C, "W": 3 * C, "F": F, "G": 2 * F}
    named = expanded(TOP, letters, PREFIX)
    for i in range(fields["n_layers"]):
        named |= expanded(BLOCK, letters, f"{PREFIX}layers.{i}.", f"trf_blocks.{i}.")
    named |= expanded(MASKED, letters)

    def there(weight: Weight) -> bool:
        """Whether the model has this one: the first block has no norm before its attention."""
        if weight.name.startswith("trf_blocks.0.norm1."):
            return False
        if not weight.name.endswith(".bias"):
            return True
        return any(part in weight.name and fields[flag] for part, flag in BIASES.items())

    return {theirs: weight for theirs, weight in named.items() if there(weight)}


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of ModernBertConfig in the object of a config.json; where: for messages.

    Raises: ValueError if a field is missing or broken, or describes what it cannot be.
    """
    config_json.check_fixed(where, config, FIXED, "this ModernBERT")
    fields = config_json.numbers(where, config, FIELDS)
    for theirs, (ours, default) in FLAGS.items():
        fields[ours] = config_json.flag(where, config, theirs, default)
    pool = config.get("classifier_pooling") or "cls"
    if not isinstance(pool, str) or pool not in POOLS:
        raise ValueError(
            f"{where}: classifier_pooling should be {' or '.join(POOLS)}, got {describe(pool)}"
        )
    every = config_json.number(
        where, "global_attn_every_n_layers", config.get("global_attn_every_n_layers", 3), int
    )
    types = config_json.layer_types(where, config)
    if types is None:
        count = range(fields["n_layers"])
        types = tuple(mixed.SLIDING if i % max(1, every) else mixed.FULL for i in count)
    old = {
        "rope_theta": config.get("global_rope_theta", 160000.0),
        "rope_local_base_freq": config.get("local_rope_theta", 10000.0),
    }
    return {
        **fields,
        **mixed.read_ropes(where, {**config, **old}, 160000.0, 10000.0),
        "layer_types": types,
        "activation": config.get("hidden_activation") or "gelu",
        "head_activation": config.get("classifier_activation") or "gelu",
        **bert.read_classes(config, where, default=0.0),
        "pool": POOLS[pool],
    }


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a ModernBertConfig."""
    ropes = mixed.write_ropes(fields, 3)
    del ropes["sliding_window"]  # local_attention says it
    return {
        "architectures": [ARCHITECTURES[0]],
        "model_type": MODEL_TYPES[0],
        **{theirs: fields[ours] for theirs, (ours, _, _) in FIELDS.items()},
        **{theirs: fields[ours] for theirs, (ours, _) in FLAGS.items()},
        **ropes,
        "global_rope_theta": fields["rope_base"],
        "local_rope_theta": fields["local_rope_base"],
        "hidden_activation": fields["activation"],
        "classifier_activation": fields["head_activation"],
        "classifier_pooling": next(n for n, ours in POOLS.items() if ours == fields["pool"]),
        **bert.write_classes(fields, nullable=False),
        "attention_dropout": 0.0,
        "mlp_dropout": 0.0,
    }
