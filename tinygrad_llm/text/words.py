"""Which tokens continue the word before them: for masks that hide whole words."""

from __future__ import annotations

import numpy as np

from .tokenizer import Tokenizer

__all__ = ["word_tables"]


def word_tables(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """For each token of the vocabulary, bool (V,), whether it begins inside a word and ends in one.

    A token continues a word if it begins inside one and the token before it ends in one: "ing"
    after " walk", "##ing" after "walk". Letters, digits and all bytes beyond ASCII are inside; in a
    writing without spaces, such as Japanese, only a tokenizer that marks words (##) knows them.
    """
    special = set(tokenizer.special_tokens.values())
    begins = np.zeros(tokenizer.vocab_size, np.bool_)
    ends = np.zeros(tokenizer.vocab_size, np.bool_)
    for i in range(tokenizer.vocab_size):
        data = b"" if i in special else tokenizer.token_bytes(i)
        if data:
            begins[i], ends[i] = _inside(data[0]), _inside(data[-1])
    return begins, ends


def _inside(byte: int) -> bool:
    return byte >= 0x80 or chr(byte).isalnum()
