"""BPE over characters or bytes, with the cuts of the reader's choice: for Japanese, for example."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..letters import letter_of_byte, spell
from ..merges import FIRST_MERGE, Word, learn_merges
from ..pipeline import PipelineTokenizer
from ..tokenizer import END_OF_TEXT
from .words import (
    BYTE_TOKENS,
    MARK,
    UNKNOWN,
    Cuts,
    Texts,
    VocabularyTooLargeError,
    alphabet_of,
    check_room,
    count_words,
    joined_cuts,
    known_parts,
    trained_tokenizer,
)

__all__ = ["train_bpe"]


def train_bpe(
    text: Texts,
    vocab_size: int,
    *,
    level: str = "character",
    words: str = "spaces",
    normalizer: Mapping[str, Any] | None = None,
    special_tokens: Collection[str] = (END_OF_TEXT,),
    coverage: float = 0.9995,
    min_count: int = 2,
    name: str = "bpe",
) -> PipelineTokenizer:
    """A BPE tokenizer learned from a text, several texts, or words with their counts.

    vocab_size: all tokens: 256 bytes, at level "character" also <unk> and the alphabet, merges,
        special tokens
    level: merges start from characters, or from bytes ("byte")
    words: "spaces" (for "byte": GPT-2's cuts), or "mecab" for Japanese (the extra "ja")
    normalizer: the description of a normaliser, such as stages.japanese.japanese_normalizer()
    coverage: the share of the text's characters that are in the alphabet; the rest become bytes
    min_count: a pair must occur that often to become a token

    Decoding gives the normalised text back, every character of it; only a ▁ in it comes back as the
    space that it stands for, at level "character" with words "spaces". Of equally frequent pairs
    the one whose symbols came first takes precedence (characters by their code points).
    Raises: ValueError if an argument is outside its range, if there is no text, or if vocab_size is
    too small or larger than this text can fill; ImportError for "mecab" without MeCab.
    """
    if level not in ("character", "byte"):
        raise ValueError(f'level must be "character" or "byte", got {level!r}')
    cuts = joined_cuts(words, normalizer)
    if level == "byte":
        cuts = _byte_cuts(words, normalizer)
    counts = count_words(text, cuts, special_tokens)
    always = MARK if words == "spaces" else ""
    symbols, learned = _symbols(counts, level, coverage, always)
    n_special = len(special_tokens)
    fixed = len(symbols) + n_special
    check_room(vocab_size, fixed, f"{len(symbols):,} single symbols, {n_special} special tokens")
    first = len(symbols)
    merges = learn_merges(learned, vocab_size - fixed, min_count, first)
    if len(merges) < vocab_size - fixed:
        why = f"no pair occurs {min_count} times any more"
        raise VocabularyTooLargeError(vocab_size, fixed + len(merges), why)
    for left, right in merges:
        symbols.append(symbols[left] + symbols[right])
    model = {
        "type": "BPE",
        "unk_token": UNKNOWN if level == "character" else None,
        "byte_fallback": level == "character",
        "vocab": {symbol: i for i, symbol in enumerate(symbols)},
        "merges": [[symbols[left], symbols[right]] for left, right in merges],
    }
    return trained_tokenizer(cuts, model, len(symbols), special_tokens, name=name)


def _byte_cuts(words: str, normalizer: Mapping[str, Any] | None) -> Cuts:
    mecab = words == "mecab"
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": not mecab}  # fmt: skip
    cut = [{"type": "MeCab", "keep_spaces": True}, level] if mecab else [level]
    return Cuts(
        dict(normalizer) if normalizer else None,
        {"type": "Sequence", "pretokenizers": cut},
        level,
    )


def _symbols(
    counts: Mapping[str, int], level: str, coverage: float, always: str
) -> tuple[list[str], dict[Word, int]]:
    """The symbols that merges start from, by number, and the words written in these numbers."""
    if level == "byte":
        assert len(letter_of_byte()) == FIRST_MERGE
        symbols = [spell(bytes([byte])) for byte in range(FIRST_MERGE)]
        return symbols, {word.encode("utf-8"): n for word, n in counts.items()}
    alphabet = alphabet_of(counts, coverage, always)
    symbols = [UNKNOWN, *BYTE_TOKENS, *alphabet]
    number = {c: i for i, c in enumerate(alphabet, 1 + len(BYTE_TOKENS))}
    parts = known_parts(counts, alphabet)
    return symbols, {tuple(map(number.__getitem__, part)): n for part, n in parts.items()}
