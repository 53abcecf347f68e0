"""A tokenizer trained here for other programs: llama.cpp (GGUF) and transformers."""

from __future__ import annotations

from typing import Any

from .bpe import BPETokenizer
from .char import CharTokenizer
from .gpt2 import GPT2Tokenizer, find_gpt2_files
from .letters import spell
from .pipeline import PipelineTokenizer
from .readers.gguf_vocabulary import written_gguf_tokenizer
from .tokenizer import Tokenizer

__all__ = ["gguf_entries", "huggingface_files"]

_NORMAL, _CONTROL = 1, 3  # types of tokens in GGUF


def gguf_entries(tokenizer: Tokenizer) -> dict[str, Any]:
    """The entries tokenizer.ggml... of a tokenizer; {} if llama.cpp cannot cut texts as it does.

    Byte-level BPE becomes GPT-2's kind with its own merges, and so do characters that are ASCII,
    with no merge that makes a token. Words and characters of several bytes have no counterpart.
    A published tokenizer is written if it is byte-level BPE and llama.cpp has its way to cut texts.
    """
    if isinstance(tokenizer, PipelineTokenizer):
        return written_gguf_tokenizer(tokenizer)
    if isinstance(tokenizer, GPT2Tokenizer):
        tokenizer = BPETokenizer.from_gpt2_files(*find_gpt2_files())
    if isinstance(tokenizer, BPETokenizer):
        n = tokenizer.vocab_size - len(tokenizer.special_tokens)
        tokens = [spell(tokenizer.token_bytes(i)) for i in range(n)]
        merges = [f"{tokens[left]} {tokens[right]}" for left, right in tokenizer.merges]
    elif isinstance(tokenizer, CharTokenizer) and tokenizer.characters.isascii():
        tokens = [spell(c.encode()) for c in tokenizer.characters]
        merges = [f"{tokens[0]} {tokens[-1]}"]  # llama.cpp wants one: it makes no token that exists
    else:
        return {}
    special = sorted(tokenizer.special_tokens, key=lambda t: tokenizer.special_tokens[t])
    entries: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*tokens, *special],
        "tokenizer.ggml.token_type": [_NORMAL] * len(tokens) + [_CONTROL] * len(special),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.add_bos_token": False,
    }
    if tokenizer.eot_token is not None:
        entries["tokenizer.ggml.bos_token_id"] = tokenizer.eot_token
        entries["tokenizer.ggml.eos_token_id"] = tokenizer.eot_token
    return entries


def huggingface_files(tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """tokenizer.json and tokenizer_config.json as transformers reads them; {} as gguf_entries."""
    entries = gguf_entries(tokenizer)
    if not entries:
        return {}
    tokens, merges = entries["tokenizer.ggml.tokens"], entries["tokenizer.ggml.merges"]
    special = [
        {"id": i, "content": text, "special": True, "normalized": False, "single_word": False,
         "lstrip": False, "rstrip": False}
        for text, i in tokenizer.special_tokens.items()
    ]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    names = set(tokens)
    model = {
        "type": "BPE",
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": [pair for pair in merges if pair.replace(" ", "") in names],
    }
    written: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": True},
        "post_processor": None,
        "decoder": byte_level,
        "model": model,
    }
    end = next((t for t, i in tokenizer.special_tokens.items() if i == tokenizer.eot_token), None)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "bos_token": end}
    return {"tokenizer.json": written, "tokenizer_config.json": config}
