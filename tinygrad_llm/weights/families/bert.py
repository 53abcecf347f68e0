"""BERT's published weights and config.json; RoBERTa's and DistilBERT's names follow from them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import config_json
from .table import Names, Table, Weight, expanded

__all__ = [
    "ARCHITECTURES", "CLASSES", "MODEL_TYPES", "TEXTS", "read_config", "read_sizes", "weights",
    "with_classes", "without_head", "write_config",
]  # fmt: skip

MODEL_TYPES = ("bert",)  # in a config.json
ARCHITECTURES = ("BertForMaskedLM", "BertForPreTraining")
PREFIX = "bert."
# what predicts the next sentence has no use here
IGNORED = re.compile(r"position_ids$|cls\.seq_relationship\.|pooler\.")
TOP: Table = {  # V vocabulary, C channels, P positions, S kinds of tokens, F hidden_dim
    "embeddings.word_embeddings.weight": ("tok_emb.weight", "VC"),
    "embeddings.position_embeddings.weight": ("pos_emb.weight", "PC"),
    "embeddings.token_type_embeddings.weight": ("type_emb.weight", "SC"),
    "embeddings.LayerNorm.weight": ("emb_norm.weight", "C"),
    "embeddings.LayerNorm.bias": ("emb_norm.bias", "C"),
}
BLOCK: Table = {
    "attention.self.query.weight": ("att.qkv.weight", "CC"),
    "attention.self.key.weight": ("att.qkv.weight", "CC"),
    "attention.self.value.weight": ("att.qkv.weight", "CC"),
    "attention.self.query.bias": ("att.qkv.bias", "C"),
    "attention.self.key.bias": ("att.qkv.bias", "C"),
    "attention.self.value.bias": ("att.qkv.bias", "C"),
    "attention.output.dense.weight": ("att.out_proj.weight", "CC"),
    "attention.output.dense.bias": ("att.out_proj.bias", "C"),
    "attention.output.LayerNorm.weight": ("norm1.weight", "C"),
    "attention.output.LayerNorm.bias": ("norm1.bias", "C"),
    "intermediate.dense.weight": ("ff.layers.0.weight", "FC"),
    "intermediate.dense.bias": ("ff.layers.0.bias", "F"),
    "output.dense.weight": ("ff.layers.2.weight", "CF"),
    "output.dense.bias": ("ff.layers.2.bias", "C"),
    "output.LayerNorm.weight": ("norm2.weight", "C"),
    "output.LayerNorm.bias": ("norm2.bias", "C"),
}
CLASSES: Table = {  # K classes
    "classifier.weight": ("classifier.weight", "KC"),
    "classifier.bias": ("classifier.bias", "K"),
}
MASKED: Table = {
    "cls.predictions.transform.dense.weight": ("transform.dense.weight", "CC"),
    "cls.predictions.transform.dense.bias": ("transform.dense.bias", "C"),
    "cls.predictions.transform.LayerNorm.weight": ("transform.norm.weight", "C"),
    "cls.predictions.transform.LayerNorm.bias": ("transform.norm.bias", "C"),
    "cls.predictions.bias": ("out_head.bias", "V"),
    "cls.predictions.decoder.weight": ("out_head.weight", "VC"),
}
TEXTS: Table = {
    "bert.pooler.dense.weight": ("pooler.weight", "CC"),
    "bert.pooler.dense.bias": ("pooler.bias", "C"),
    **CLASSES,
}
SECOND_BIAS = "cls.predictions.decoder.bias"  # the output layer's, once more

FIELDS: dict[str, tuple[str, type, Any]] = {  # of config.json: ours, kind, what its absence means
    "vocab_size": ("vocab_size", int, ...),
    "max_position_embeddings": ("context_length", int, 512),
    "hidden_size": ("emb_dim", int, ...),
    "intermediate_size": ("hidden_dim", int, ...),
    "num_hidden_layers": ("n_layers", int, ...),
    "num_attention_heads": ("n_heads", int, ...),
    "type_vocab_size": ("n_token_types", int, 2),
    "layer_norm_eps": ("norm_eps", float, 1e-12),
    "hidden_dropout_prob": ("drop_rate", float, 0.1),
    "attention_probs_dropout_prob": ("attention_drop_rate", float, 0.1),
}
FIXED: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
}


def sizes(fields: Mapping[str, Any]) -> dict[str, int]:
    """Letter of the tables -> size, for the fields of a config."""
    pad = fields["pad_token_id"]
    return {
        "V": fields["vocab_size"],
        "C": fields["emb_dim"],
        "P": fields["context_length"] + (0 if pad is None else pad + 1),
        "S": fields["n_token_types"],
        "F": fields["hidden_dim"],
    }


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields."""
    letters = sizes(fields)
    named = body(fields) | expanded(MASKED, letters)
    return with_copy(named, SECOND_BIAS, letters)


def body(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of the model without its head."""
    letters = sizes(fields)
    named = expanded(TOP, letters, PREFIX)
    for i in range(fields["n_layers"]):
        named |= expanded(BLOCK, letters, f"{PREFIX}encoder.layer.{i}.", f"trf_blocks.{i}.")
    return named


def with_copy(named: dict[str, Weight], name: str, letters: Mapping[str, int]) -> dict[str, Weight]:
    """The table with the output layer's bias under a second name, the one that is used."""
    return {**named, name: Weight("out_head.bias", (letters["V"],), copy=True)}


def read_classes(
    config: Mapping[str, Any], where: str, drop_rate: str = "classifier_dropout",
    default: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The fields about classes in config.json: how many (2 if it does not say), names, dropout.

    drop_rate: the field with the rate of dropout before the scores; default: what its absence means
    Raises: ValueError if a number is broken.
    """
    labels = config.get("id2label")
    if isinstance(labels, Mapping):
        count = max(1, len(labels))
    else:
        count = config_json.number(where, "num_labels", config.get("num_labels") or 2, int)
    rate = {drop_rate: ("classifier_drop_rate", float, default)}
    return {
        "n_classes": count,
        "class_names": _class_names(labels),
        **config_json.numbers(where, config, rate),
    }


def _class_names(labels: Any) -> tuple[str, ...] | None:
    """The names of id2label in their order; None where they say no more than the numbers."""
    if not isinstance(labels, Mapping):
        return None
    named = [labels.get(str(i)) for i in range(len(labels))]
    texts = tuple(name for name in named if isinstance(name, str) and name)
    plain = all(name == f"LABEL_{i}" for i, name in enumerate(texts))
    return None if plain or len(set(texts)) < len(named) else texts


def read_sizes(
    config: Mapping[str, Any], where: str, what: str, fields: Mapping[str, tuple[str, type, Any]],
    activation: str = "hidden_act",
) -> dict[str, Any]:  # fmt: skip
    """The fields that BERT's relatives share, from config.json.

    what: the model here, for messages; fields: their table; activation: the field with its name
    """
    config_json.check_fixed(where, config, FIXED, what)
    return {
        **config_json.numbers(where, config, fields),
        "activation": config.get(activation) or "gelu",
        **read_classes(config, where),
        "pad_token_id": None,
        "tie_weights": config_json.flag(where, config, "tie_word_embeddings", True),
    }


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of BertConfig in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this BERT cannot be.
    """
    return read_sizes(config, where, "this BERT", FIELDS)


def write_classes(
    fields: Mapping[str, Any], drop_rate: str = "classifier_dropout", nullable: bool = True
) -> dict[str, Any]:
    """The fields of config.json about classes; drop_rate: as in read_classes.

    nullable: whether transformers takes null for that rate in this family
    """
    rate = fields["classifier_drop_rate"]
    if rate is None and not nullable:
        rate = fields["drop_rate"]
    names = fields["class_names"] or [f"LABEL_{i}" for i in range(fields["n_classes"])]
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        drop_rate: rate,
    }


def write_sizes(
    fields: Mapping[str, Any], table: Mapping[str, tuple[str, type, Any]]
) -> dict[str, Any]:
    """The fields of config.json that BERT's relatives share."""
    return {
        **{theirs: fields[ours] for theirs, (ours, _, _) in table.items()},
        "tie_word_embeddings": fields["tie_weights"],
    }


def write_config(fields: Mapping[str, Any], architecture: str = ARCHITECTURES[0]) -> dict[str, Any]:
    """The object of config.json for a BertConfig."""
    return {
        "architectures": [architecture],
        "model_type": MODEL_TYPES[0],
        **write_sizes(fields, FIELDS),
        **write_classes(fields),
        "hidden_act": fields["activation"],
        "position_embedding_type": "absolute",
    }


NO_HEAD = re.compile(
    r"position_ids$|pooler\.|^cls\.|^lm_head\.|^vocab_|^head\.|^decoder\.|rotary_emb\."
)


def without_head(names: Any, *architectures: str) -> Names:
    """The names of an encoder without its masked head; names: the module of its family.

    architectures: the classes in a config.json that mean it; the first is written
    """
    return _other(names, architectures, {}, NO_HEAD, ("transform.", "out_head."))


def with_classes(
    names: Any, *architectures: str, table: Table = CLASSES, kept: tuple[str, ...] = ()
) -> Names:
    """The names of an encoder with scores of classes; names, architectures: as in without_head.

    table: of the layers that give the scores; kept: parts of the masked head that come before them
    """
    pooled = any("pooler." in name for name in table)
    ignored = re.compile(r"position_ids$") if pooled else names.IGNORED
    gone = tuple(part for part in ("transform.", "out_head.") if part not in kept)
    return _other(names, architectures, table, ignored, gone)


def _other(
    names: Any, architectures: tuple[str, ...], table: Table, ignored: re.Pattern[str],
    gone: tuple[str, ...],
) -> Names:  # fmt: skip
    """A family's names with `table` in place of the weights that begin as in `gone`."""

    def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
        there = names.weights(fields)
        head = expanded(table, {"C": fields["emb_dim"], "K": fields["n_classes"]}) if table else {}
        return {n: w for n, w in there.items() if not w.name.startswith(gone)} | head

    def config(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {**names.write_config(fields), "architectures": [architectures[0]]}

    return Names(
        names.MODEL_TYPES, architectures, names.PREFIX, ignored, weights, names.read_config, config
    )
