"""The tokenizer in the metadata of a GGUF file: names that begin with tokenizer.

Source: the GGUF specification, "Tokenizer", and what llama.cpp does for each `pre`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...files.untrusted import describe, translated
from ..pipeline import PipelineTokenizer
from ..stages import patterns
from ..stages.part import Part, TokenizerError
from ..stages.pieces import BPE
from ..stages.templates import Template, template_of
from ..stages.unigram import Unigram
from ..stages.written import merges_of
from .scored import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, scored_tokenizer

__all__ = ["read_gguf_tokenizer", "written_gguf_tokenizer"]

_SPECIAL = {  # in tokenizer_config.json: in GGUF, after "tokenizer.ggml."
    "bos_token": "bos_token_id", "eos_token": "eos_token_id", "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}  # fmt: skip
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def _split(pattern: str) -> list[dict[str, Any]]:
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return [cut, {**_BYTE_LEVEL, "use_regex": False}]


_GPT2 = [{**_BYTE_LEVEL, "use_regex": True}]
_DIGITS = [{"type": "Digits", "individual_digits": True}, *_GPT2]
_PRE: dict[str, list[dict[str, Any]]] = {
    **dict.fromkeys(("default", "gpt-2", "gpt2", "mpt", "olmo", "jais", "phi-2"), _GPT2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), _DIGITS),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "dbrx", "smaug-bpe"),
                    _split(patterns.LLAMA3)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2"), _split(patterns.QWEN2)),
    "qwen35": _split(patterns.QWEN35),
    **dict.fromkeys(("gpt-4o", "llama4"), _split(patterns.O200K)),
}  # fmt: skip
_LLAMA3 = ("llama3", "llama-v3", "llama-bpe")
_WRITTEN = ("gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "gpt-4o")  # one name for each way


def read_gguf_tokenizer(
    metadata: Mapping[str, Any], where: str = "the GGUF file"
) -> PipelineTokenizer:
    """The tokenizer that the metadata of a GGUF file describes.

    metadata: name -> value as Python values; arrays as lists or NumPy arrays
    Raises: ValueError if a field is missing or wrong, or the model or its `pre` is not known here.
    """
    with translated(where, TokenizerError, "has no tokenizer that can be read"):
        plain = {k: _plain(v) for k, v in metadata.items() if k.startswith("tokenizer.")}
        return _read(Part(plain, where), where)


def written_gguf_tokenizer(tokenizer: PipelineTokenizer) -> dict[str, Any]:
    """The metadata of a GGUF file that describe a tokenizer; {} if llama.cpp has none like it.

    llama.cpp knows byte-level BPE with some ways to cut texts, by name, and SentencePiece's two
    models: `llama`, BPE by scores without rules of normalisation, and `t5`, Unigram with them and
    without bytes in place of unknown characters.
    """
    description, model = tokenizer.description, tokenizer.model
    normalizer = description.get("normalizer") or {}
    if isinstance(normalizer, dict) and normalizer.get("type") == "SentencePiece":
        kind = _sentencepiece_entries(tokenizer, normalizer)
    elif isinstance(model, BPE) and model.by_pairs and normalizer in ({}, {"type": "NFC"}):
        pre = _name_of(description.get("pre_tokenizer"))
        merges = [" ".join(pair) for pair in merges_of(model)]
        kind = {} if pre is None else {"model": "gpt2", "pre": pre, "merges": merges}
    else:
        kind = {}
    if not kind:
        return {}
    tokens, types = _tokens_and_types(tokenizer)
    around = tokenizer.template.around([])[0]
    ids = {name: tokenizer.id_of(tokenizer.names.get(name, "")) for name in _SPECIAL}
    begins = around[:1] == [ids["bos_token"]]
    entries: dict[str, Any] = {
        **kind,
        "tokens": tokens,
        "token_type": types,
        "add_bos_token": begins,
        "add_eos_token": around[begins:][-1:] == [ids["eos_token"]],
        **{_SPECIAL[name]: i for name, i in ids.items() if i is not None},
    }
    written = {f"tokenizer.ggml.{name}": value for name, value in entries.items()}
    if "chat_template" in tokenizer.names:
        written["tokenizer.chat_template"] = tokenizer.names["chat_template"]
    return written


def _tokens_and_types(tokenizer: PipelineTokenizer) -> tuple[list[str], list[int]]:
    """The spelling and the type of each id."""
    model = tokenizer.model
    tokens = [f"[UNUSED{i}]" for i in range(tokenizer.vocab_size)]
    types = [UNUSED] * len(tokens)
    joined = model.ranks if isinstance(model, BPE) and not model.by_pairs else model.vocabulary
    for token, i in model.vocabulary.items():
        tokens[i] = token
        types[i] = NORMAL if token in joined else UNUSED
    if isinstance(model, Unigram):
        for i in model.unused:
            types[i] = UNUSED
        for i in model.user_defined:
            types[i] = USER_DEFINED
    for byte in model.bytes or ():
        if byte is not None:
            types[byte] = BYTE
    for added in tokenizer.added:
        tokens[added.id] = added.content
        types[added.id] = CONTROL if added.special else USER_DEFINED
    if isinstance(tokenizer.description.get("normalizer"), dict) and model.unknown is not None:
        types[model.unknown] = UNKNOWN
    return tokens, types


def _sentencepiece_entries(
    tokenizer: PipelineTokenizer, normalizer: Mapping[str, Any]
) -> dict[str, Any]:
    """What a GGUF file says of SentencePiece's models beside tokens and types; {} for none."""
    model, n = tokenizer.model, tokenizer.vocab_size
    tidy = normalizer.get("remove_extra_whitespaces", True)
    rules = base64.b64decode(normalizer.get("precompiled_charsmap") or "")
    as_llama_cpp = normalizer.get("escape_whitespaces", True) and not normalizer.get(
        "treat_whitespace_as_suffix", False
    )
    common = {"add_space_prefix": bool(normalizer.get("add_dummy_prefix", True))}
    if isinstance(model, BPE) and not model.by_pairs:
        raw = all(not added.normalized or added.special for added in tokenizer.added)
        if rules or tidy or not (as_llama_cpp and raw):
            return {}
        scores = [0.0] * n
        for token, rank in model.ranks.items():
            scores[model.vocabulary[token]] = -float(rank)
        return {"model": "llama", "scores": np.asarray(scores, np.float32), **common}
    if isinstance(model, Unigram) and as_llama_cpp and model.bytes is None:
        scores = [*model.scores, *[0.0] * (n - len(model.scores))]
        entries = {"model": "t5", "scores": np.asarray(scores, np.float32), **common}
        entries["remove_extra_whitespaces"] = bool(tidy)
        if rules:
            entries["precompiled_charsmap"] = np.frombuffer(rules, np.uint8)
        return entries
    return {}


def _name_of(pre_tokenizer: Any) -> str | None:
    """llama.cpp's name of a way to cut texts, described as in tokenizer.json; None without one."""
    if not isinstance(pre_tokenizer, dict):
        return None
    stages = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    same = [{**stage, "trim_offsets": True} if "trim_offsets" in stage else stage
            for stage in stages]  # fmt: skip
    return next((name for name in _WRITTEN if _PRE[name] == same), None)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _read(part: Part, where: str) -> PipelineTokenizer:
    kind = part.get("tokenizer.ggml.model", str)
    tokens = part.strings("tokenizer.ggml.tokens")
    types = part.get("tokenizer.ggml.token_type", list, [NORMAL] * len(tokens))
    if len(types) != len(tokens):
        raise ValueError(f"{where}: {len(tokens):,} tokens, but {len(types):,} types")
    if kind == "gpt2":
        return _byte_level(part, tokens, types, where)
    if kind in ("llama", "t5"):
        return _scored(part, tokens, types, kind == "t5", where)
    raise ValueError(
        f"{where}: a tokenizer of the kind {describe(kind)}; known here are gpt2, llama and t5"
    )


def _id(part: Part, name: str, n: int) -> int | None:
    i = part.integer(f"tokenizer.ggml.{name}", 0, n - 1, -1)
    return None if i < 0 else i


def _names(part: Part, tokens: list[str]) -> dict[str, str]:
    """The spellings of the special tokens, and the chat template."""
    ids = {name: _id(part, field, len(tokens)) for name, field in _SPECIAL.items()}
    names = {name: tokens[i] for name, i in ids.items() if i is not None}
    template = part.get("tokenizer.chat_template", str, "")
    return {**names, "chat_template": template} if template else names


def _template(part: Part, n: int, begins: bool, ends: bool) -> Template:
    bos = _id(part, "bos_token_id", n) if _adds(part, "bos", begins) else None
    eos = _id(part, "eos_token_id", n) if _adds(part, "eos", ends) else None
    return template_of([] if bos is None else [bos], [] if eos is None else [eos])


def _adds(part: Part, name: str, default: bool) -> bool:
    return part.get(f"tokenizer.ggml.add_{name}_token", bool, default)


def _byte_level(part: Part, tokens: list[str], types: list[int], where: str) -> PipelineTokenizer:
    pre = part.get("tokenizer.ggml.pre", str, "default")
    if pre not in _PRE:
        raise ValueError(
            f"{where}: texts are cut in the way {describe(pre)}; known here are {', '.join(_PRE)}"
        )
    n = len(tokens)
    unknown = _id(part, "unknown_token_id", n)
    prefix = part.get("tokenizer.ggml.add_space_prefix", bool, False)
    stages = [dict(stage) for stage in _PRE[pre]]
    stages[-1]["add_prefix_space"] = prefix
    vocabulary = {token: i for i, token in reversed(list(enumerate(tokens)))}
    special, ordinary = (CONTROL, UNKNOWN), (USER_DEFINED,)
    description = {
        "added_tokens": [
            {"id": vocabulary[t], "content": t, "special": kind in special, "normalized": False}
            for t, kind in dict(zip(tokens, types, strict=True)).items()
            if kind in special + ordinary and t
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": stages},
        "decoder": {**_BYTE_LEVEL, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": vocabulary,
            "merges": part.strings("tokenizer.ggml.merges"),
            "unk_token": None if unknown is None else tokens[unknown],
            "ignore_merges": pre in _LLAMA3,
        },
    }
    return PipelineTokenizer(
        description,
        template=_template(part, n, pre in _LLAMA3, False),
        names=_names(part, tokens),
        name=part.get("general.name", str, pre),
        where=where,
    )


def _scored(
    part: Part, tokens: list[str], types: list[int], unigram: bool, where: str
) -> PipelineTokenizer:
    settings = {
        "add_dummy_prefix": part.get("tokenizer.ggml.add_space_prefix", bool, True),
        "remove_extra_whitespaces": part.get(
            "tokenizer.ggml.remove_extra_whitespaces", bool, unigram
        ),
    }
    charsmap = part.get("tokenizer.ggml.precompiled_charsmap", list, [])
    return scored_tokenizer(
        tokens,
        part.get("tokenizer.ggml.scores", list),
        types,
        unigram=unigram,
        normalizer=settings,
        charsmap=bytes(charsmap),
        template=_template(part, len(tokens), not unigram, unigram),
        names=_names(part, tokens),
        raw_symbols=not unigram,
        name="t5" if unigram else "llama",
        where=where,
    )
