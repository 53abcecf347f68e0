"""A tokenizer's description as files: tokenizer.json as `tokenizers` reads it, and the names.

The names are what a model's folder says beside the tokenizer: the spellings of bos_token,
eos_token, unk_token, pad_token and others, and the chat template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...files.json_files import read_json_object
from .added import AddedToken
from .part import Part
from .pieces import BPE, PieceModel, WordPiece
from .templates import Template
from .unigram import Unigram

__all__ = ["read_config", "read_names", "written_description", "written_names"]

NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
LONGEST_TEMPLATE = 1 << 18  # characters of a chat template


def read_config(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json in a folder says; {} without that file.

    Raises: ValueError if it is not an object of JSON.
    """
    path = folder / "tokenizer_config.json"
    return read_json_object(path) if path.is_file() else {}


def read_names(folder: Path) -> dict[str, str]:
    """The names in a folder's tokenizer_config.json, special_tokens_map.json, chat_template.jinja.

    Raises: ValueError if a file is damaged or a name is not a text.
    """
    names: dict[str, str] = {}
    mapped = folder / "special_tokens_map.json"
    for fields in (read_json_object(mapped) if mapped.is_file() else {}, read_config(folder)):
        for name in NAMES:
            value = fields.get(name)
            value = value.get("content") if isinstance(value, dict) else value
            if value is None:
                continue
            if not isinstance(value, str):
                raise ValueError(f"{folder}: {name} should be a text")
            names[name] = value
        if template := _default_template(fields.get("chat_template"), folder):
            names["chat_template"] = template
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        if jinja.stat().st_size > LONGEST_TEMPLATE:
            raise ValueError(f"{jinja} is larger than {LONGEST_TEMPLATE:,} bytes")
        try:
            names["chat_template"] = jinja.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{jinja} is not UTF-8: {error}") from error
    return names


def _default_template(value: Any, folder: Path) -> str | None:
    """A chat template: a text, or a list of named ones, of which "default" counts."""
    if isinstance(value, list):
        named = [Part(one, f"{folder}: chat_template") for one in value]
        value = next((o.get("template", str) for o in named if o.get("name", str) == "default"), "")
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{folder}: chat_template should be a text")
    if value and len(value) > LONGEST_TEMPLATE:
        raise ValueError(f"{folder}: a chat_template of {len(value):,} characters")
    return value or None


def written_names(names: Mapping[str, str]) -> dict[str, Any]:
    """The names as tokenizer_config.json holds them."""
    return {
        **names,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    }


def written_description(
    description: Mapping[str, Any],
    model: PieceModel,
    template: Template,
    added: Sequence[AddedToken],
) -> dict[str, Any]:
    """The description as tokenizer.json holds it."""
    names = model.names()
    names.update((token.id, token.content) for token in added)
    processor = description.get("post_processor") or _written_template(template, names)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [token.fields() for token in added],
        "normalizer": _written_normalizer(description.get("normalizer")),
        "pre_tokenizer": _completed(description.get("pre_tokenizer")),
        "post_processor": _completed(processor),
        "decoder": _completed(description.get("decoder")),
        "model": _written_model(model),
    }


# Fields without which `tokenizers` refuses a stage, and what they mean here if they are missing.
_REQUIRED: dict[str, dict[str, Any]] = {
    "ByteLevel": {"add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "Split": {"behavior": "Isolated", "invert": False},
}


def _completed(fields: Any) -> Any:
    """A stage, or a sequence of stages, with every field that `tokenizers` requires."""
    if not isinstance(fields, Mapping):
        return fields
    stages = {
        name: [_completed(stage) for stage in value] if isinstance(value, list) else value
        for name, value in fields.items()
        if name in ("pretokenizers", "processors", "decoders")
    }
    return {**_REQUIRED.get(str(fields.get("type")), {}), **fields, **stages}


def _written_model(model: PieceModel) -> dict[str, Any]:
    unknown = None if model.unknown is None else model.names()[model.unknown]
    if isinstance(model, Unigram):
        rows = list(zip(model.tokens, model.scores, strict=True))
        return {
            "type": "Unigram",
            "unk_id": model.unknown,
            "vocab": [list(row) for row in rows],
            "byte_fallback": model.bytes is not None,
        }
    if isinstance(model, WordPiece):
        return {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": model.prefix,
            "max_input_chars_per_word": model.longest,
            "vocab": model.vocabulary,
        }
    assert isinstance(model, BPE)
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": model.prefix or None,
        "end_of_word_suffix": model.suffix or None,
        "fuse_unk": model.fuse_unknown,
        "byte_fallback": model.bytes is not None,
        "ignore_merges": model.whole,
        "vocab": model.vocabulary,
        "merges": [list(pair) for pair in merges_of(model)],
    }


def merges_of(model: BPE) -> list[tuple[str, str]]:
    """The merges as pairs, in order. Scores become the pairs that make each token."""
    if model.by_pairs:
        return sorted(model.ranks, key=model.ranks.__getitem__)
    ranks = model.ranks
    rows = []
    for token, rank in ranks.items():
        for i in range(1, len(token)):
            left, right = token[:i], token[i:]
            if left in model.vocabulary and right in model.vocabulary:
                rows.append((rank, ranks.get(left, 0), ranks.get(right, 0), left, right))
    return [(left, right) for *_, left, right in sorted(rows)]


def _written_template(template: Template, names: Mapping[int, str]) -> dict[str, Any] | None:
    if not template.ids():
        return None

    def row(what: Any, type_id: int) -> list[dict[str, Any]]:
        if isinstance(what, str):
            return [{"Sequence": {"id": what, "type_id": type_id}}]
        return [{"SpecialToken": {"id": names[i], "type_id": type_id}} for i in what]

    return {
        "type": "TemplateProcessing",
        "single": [one for what, type_id in template.single for one in row(what, type_id)],
        "pair": [one for what, type_id in template.pair for one in row(what, type_id)],
        "special_tokens": {
            names[i]: {"id": names[i], "ids": [i], "tokens": [names[i]]} for i in template.ids()
        },
    }


def _written_normalizer(fields: Any) -> Any:
    """The normaliser; SentencePiece's own is written as the sequence that comes closest to it."""
    if not isinstance(fields, Mapping) or fields.get("type") != "SentencePiece":
        return fields
    part = Part(fields, "the normaliser")
    stages: list[dict[str, Any]] = []
    if rules := part.get("precompiled_charsmap", str, ""):
        stages.append({"type": "Precompiled", "precompiled_charsmap": rules})
    if part.get("remove_extra_whitespaces", bool, True):
        stages.append({"type": "Replace", "pattern": {"Regex": "^ +| +$"}, "content": ""})
        stages.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    if part.get("add_dummy_prefix", bool, True):
        stages.append({"type": "Prepend", "prepend": "▁"})
    stages.append({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})
    return {"type": "Sequence", "normalizers": stages}
