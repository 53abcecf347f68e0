"""Older folders: vocab.txt of BERT, and vocab.json with merges.txt of GPT-2 and RoBERTa."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...files.json_files import read_json_object
from ...files.paths import local_path
from ..pipeline import PipelineTokenizer
from ..stages.written import read_config, read_names

__all__ = ["read_merges_folder", "read_vocab_txt"]

LARGEST = 1 << 28  # bytes of a file
_BERT_NAMES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
               "sep_token": "[SEP]", "mask_token": "[MASK]"}  # fmt: skip


def read_vocab_txt(path: str | Path) -> PipelineTokenizer:
    """BERT's tokenizer from vocab.txt, one token per line; its place is its id.

    A tokenizer_config.json beside it says do_lower_case, strip_accents, tokenize_chinese_chars and
    the special tokens.
    Raises: OSError; ValueError if the file is damaged.
    """
    path = local_path(path)
    lines = _lines(path)
    vocabulary: dict[str, int] = {}
    for i, line in enumerate(lines):
        if line in vocabulary:
            raise ValueError(
                f"{path}: line {i + 1} repeats the token of line {vocabulary[line] + 1}"
            )
        vocabulary[line] = i
    config = read_config(path.parent)
    names = {**_BERT_NAMES, **read_names(path.parent)}
    missing = [names[n] for n in ("unk_token", "cls_token", "sep_token") if
               names[n] not in vocabulary]  # fmt: skip
    if missing:
        raise ValueError(f"{path}: the special token {missing[0]!r} is not among the tokens")
    cls, sep = ((names[n], vocabulary[names[n]]) for n in ("cls_token", "sep_token"))
    special = [names[n] for n in _BERT_NAMES if names[n] in vocabulary]
    description = {
        "added_tokens": [{"id": vocabulary[t], "content": t, "special": True} for t in special],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
            "strip_accents": config.get("strip_accents"),
            "lowercase": config.get("do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": list(cls), "sep": list(sep)},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": names["unk_token"], "vocab": vocabulary,
                  "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
    }  # fmt: skip
    return PipelineTokenizer(description, names=names, name=path.parent.name, where=str(path))


def read_merges_folder(folder: Path) -> PipelineTokenizer:
    """Byte-level BPE from vocab.json and merges.txt, as GPT-2's and RoBERTa's folders hold them.

    Raises: OSError; ValueError if a file is damaged.
    """
    vocabulary: dict[str, Any] = read_json_object(folder / "vocab.json")
    merges = _lines(folder / "merges.txt")
    merges = merges[1:] if merges and merges[0].startswith("#version") else merges
    config, names = read_config(folder), read_names(folder)
    special = sorted({t for t in (*names.values(), "<|endoftext|>") if t in vocabulary})
    prefix = config.get("add_prefix_space", False)
    level = {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True}
    description: dict[str, Any] = {
        "added_tokens": [
            {"id": vocabulary[t], "content": t, "special": True, "lstrip": t == "<mask>"}
            for t in special
        ],
        "pre_tokenizer": {**level, "use_regex": True},
        "decoder": {**level, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }
    if "<s>" in vocabulary and "</s>" in vocabulary:  # RoBERTa and BART
        start, end = (["<s>", vocabulary["<s>"]], ["</s>", vocabulary["</s>"]])
        description["post_processor"] = {"type": "RobertaProcessing", "cls": start, "sep": end}
    return PipelineTokenizer(description, names=names, name=folder.name, where=str(folder))


def _lines(path: Path) -> list[str]:
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes: too large for a vocabulary")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
