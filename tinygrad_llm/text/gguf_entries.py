"""A tokenizer trained here as the metadata of a GGUF file, so that llama.cpp reads texts too."""

from __future__ import annotations

from typing import Any

from .bpe import BPETokenizer
from .char import CharTokenizer
from .gpt2 import GPT2Tokenizer
from .tokenizer import Tokenizer

__all__ = ["gguf_entries"]

_NORMAL, _CONTROL = 1, 3  # types of tokens in GGUF


def gguf_entries(tokenizer: Tokenizer) -> dict[str, Any]:
    """The entries tokenizer.ggml... of a tokenizer; {} if llama.cpp cannot cut texts as it does.

    Byte-level BPE becomes GPT-2's kind with its own merges, and so do characters that are ASCII,
    with none. Words, and characters of several bytes, have no counterpart there.
    """
    if isinstance(tokenizer, GPT2Tokenizer):
        tokenizer = BPETokenizer.from_gpt2_files(tokenizer.folder)
    if isinstance(tokenizer, BPETokenizer):
        n = tokenizer.vocab_size - len(tokenizer.special_tokens)
        tokens = [_letters(tokenizer.token_bytes(i)) for i in range(n)]
        merges = [f"{tokens[left]} {tokens[right]}" for left, right in tokenizer.merges]
    elif isinstance(tokenizer, CharTokenizer) and tokenizer.characters.isascii():
        tokens, merges = [_letters(c.encode()) for c in tokenizer.characters], []
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
    if not merges:
        del entries["tokenizer.ggml.merges"]
    if tokenizer.eot_token is not None:
        entries["tokenizer.ggml.bos_token_id"] = tokenizer.eot_token
        entries["tokenizer.ggml.eos_token_id"] = tokenizer.eot_token
    return entries


def _letters(data: bytes) -> str:
    """Bytes as GPT-2's files spell them: printable ones as they are, the others from 256 on."""
    return "".join(_SPELLING[byte] for byte in data)


def _spelling() -> list[str]:
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


_SPELLING = _spelling()
