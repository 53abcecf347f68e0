"""WordPiece from scratch: the pair with the best score becomes a token, and so on.

As in BPE a word starts as its characters; all except the first begin with "##". BPE joins the most
frequent pair. WordPiece joins the pair (a, b) with the largest

    score = count(ab) / (count(a)·count(b)),

the pair that stands together more often than its parts would by chance: the logarithm of the score
is, up to a constant, their pointwise mutual information. Joining it raises the likelihood of the
text under a model of independent tokens most for each time that it is done. Rare characters that
always come together go first, so the count of a pair has a lower bound, `min_count`.

Source: Schuster and Nakajima (2012), "Japanese and Korean voice search"; Devlin et al. (2019),
"BERT". Google did not publish its trainer; this is the score that is described in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from ..merges import Pair, Word, Words
from ..pipeline import PipelineTokenizer
from ..tokenizer import ENCODER_TOKENS
from .words import (
    Cuts,
    Texts,
    VocabularyTooLargeError,
    alphabet_of,
    check_room,
    check_words,
    count_words,
    trained_tokenizer,
)

__all__ = ["learn_pieces", "train_wordpiece"]

_NAMES = {"[PAD]": "pad_token", "[UNK]": "unk_token", "[CLS]": "cls_token", "[SEP]": "sep_token",
          "[MASK]": "mask_token"}  # fmt: skip
LONGEST = 100  # characters of a word; a longer one is unknown, as in BERT


def train_wordpiece(
    text: Texts,
    vocab_size: int,
    *,
    words: str = "spaces",
    normalizer: Mapping[str, Any] | None = None,
    lowercase: bool = False,
    special_tokens: Collection[str] = ENCODER_TOKENS,
    around: tuple[str, str] | None = None,
    coverage: float = 0.9995,
    min_count: int = 2,
    name: str = "wordpiece",
) -> PipelineTokenizer:
    """A WordPiece tokenizer learned from a text, several texts, or words with their counts.

    vocab_size: all tokens: special ones, then the alphabet (a character at the beginning of a word
        and with "##" are two), then the pieces in the order in which they were made
    words: "spaces" (BERT's cuts: white space, each punctuation mark, each Chinese character), or
        "mecab" for Japanese (the extra "ja")
    normalizer: the description of a normaliser that comes first
    lowercase: lower case, and accents away, as in BERT's uncased models
    special_tokens: with [UNK] among them; they come first
    around: special tokens that encode() puts before and after a text, such as ("[CLS]", "[SEP]")
    coverage: the share of the text's characters that are in the alphabet
    min_count: a pair must occur that often to become a token

    A word with a character that is not in the alphabet becomes [UNK]. Decoding promises the words,
    with one space between them: white space is not kept, and [UNK] is not the word it stood for.
    Raises: ValueError if an argument is outside its range, if there is no text, or if vocab_size is
    too small or larger than this text can fill; ImportError for "mecab" without MeCab.
    """
    if "[UNK]" not in special_tokens:
        raise ValueError('special_tokens must have "[UNK]", for words that cannot be cut')
    cuts = _cuts(words, normalizer, lowercase)
    counts = count_words(text, cuts, special_tokens)
    alphabet = set(alphabet_of(counts, coverage))
    known = {w: n for w, n in counts.items() if len(w) <= LONGEST and alphabet.issuperset(w)}
    symbols = sorted({word[0] for word in known})
    symbols += sorted({f"##{c}" for word in known for c in word[1:]})
    number = {symbol: i for i, symbol in enumerate(symbols)}
    n_special = len(special_tokens)
    fixed = n_special + len(symbols)
    check_room(vocab_size, fixed, f"{n_special} special tokens, an alphabet of {len(symbols):,}")
    spelled: dict[Word, int] = {
        (number[word[0]], *(number[f"##{c}"] for c in word[1:])): n for word, n in known.items()
    }
    taken = {*special_tokens, *symbols}
    for left, right in learn_pieces(spelled, len(symbols), min_count):
        if len(taken) == vocab_size:
            break
        symbols.append(symbols[left] + symbols[right].removeprefix("##"))
        taken.add(symbols[-1])
    if len(taken) < vocab_size:
        why = f"no pair occurs {min_count} times any more"
        raise VocabularyTooLargeError(vocab_size, len(taken), why)
    vocabulary = {t: i for i, t in enumerate(dict.fromkeys([*special_tokens, *symbols]))}
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": LONGEST,
        "vocab": vocabulary,
    }
    return trained_tokenizer(
        cuts, model, len(vocabulary), special_tokens, around=around,
        names={_NAMES[t]: t for t in special_tokens if t in _NAMES}, name=name,
    )  # fmt: skip


def _cuts(words: str, normalizer: Mapping[str, Any] | None, lowercase: bool) -> Cuts:
    check_words(words)
    mecab = words == "mecab"
    bert = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": not mecab,
        "strip_accents": None if lowercase else False,
        "lowercase": lowercase,
    }
    stages = [dict(normalizer), bert] if normalizer else [bert]
    return Cuts(
        {"type": "Sequence", "normalizers": stages},
        {"type": "MeCab", "keep_spaces": False} if mecab else {"type": "BertPreTokenizer"},
        {"type": "WordPiece", "prefix": "##", "cleanup": False},
    )


def learn_pieces(counts: Mapping[Word, int], n_symbols: int, min_count: int = 2) -> Iterator[Pair]:
    """The pairs to join, best score first, one after the other: an iterator.

    counts: words as numbers of symbols, 0 .. n_symbols - 1; the pair that comes i-th becomes the
        symbol n_symbols + i
    Of pairs with equal scores the more frequent one is first, then the one with smaller symbols.
    """
    words = Words(counts)
    totals = [0] * n_symbols
    for word, n in counts.items():
        for symbol in word:
            totals[symbol] += n
    table = _Pairs(words.pair_count, totals, min_count)
    while (pair := table.best()) is not None:
        yield pair
        new_pairs = words.join(pair, table.n_symbols)
        table.joined(pair, words.joined, new_pairs, words.pair_count)


class _Pairs:
    """Every pair with its count, and the count of every symbol, as arrays.

    A score changes with three counts, so all scores are computed again in each round: one pass over
    three arrays. The count of a pair only falls once it is there; rows below min_count are dropped.
    """

    def __init__(self, pair_count: Mapping[Pair, int], totals: list[int], min_count: int) -> None:
        self.min_count = min_count
        self.n_symbols = len(totals)
        self._totals = np.zeros(max(64, 2 * len(totals)))
        self._totals[: len(totals)] = totals
        self._pairs: list[Pair] = []
        self._row: dict[Pair, int] = {}
        self._left = np.zeros(0, np.int64)
        self._right = np.zeros(0, np.int64)
        self._counts = np.zeros(0)
        self._add({pair: n for pair, n in pair_count.items() if n >= min_count})

    def best(self) -> Pair | None:
        """The pair with the largest score; None if there is none."""
        n = len(self._pairs)
        counts = self._counts[:n]  # (P)
        parts = self._totals[self._left[:n]] * self._totals[self._right[:n]]  # (P)
        alive = counts >= self.min_count
        scores = np.divide(counts, parts, out=np.zeros(n), where=alive)  # (P)
        if not n or scores.max() <= 0:
            return None
        first = np.flatnonzero(scores == scores.max())
        return min((-int(counts[i]), self._pairs[i]) for i in first.tolist())[1]

    def joined(
        self, pair: Pair, times: int, new_pairs: set[Pair], pair_count: Mapping[Pair, int]
    ) -> None:
        """Take over the counts after `pair` has become the next symbol `times` times."""
        new, (a, b) = self.n_symbols, pair
        if new == len(self._totals):
            self._totals = np.concatenate([self._totals, np.zeros(new)])
        self._totals[new] = times
        self._totals[a] -= times
        self._totals[b] -= times
        self.n_symbols += 1
        changed = {pair, *new_pairs}
        changed |= {(left, a) for left, right in new_pairs if right == new}
        changed |= {(b, right) for left, right in new_pairs if left == new}
        added = {}
        for one in changed:
            n = pair_count.get(one, 0)
            row = self._row.get(one)
            if row is not None:
                self._counts[row] = n
            elif n >= self.min_count:
                added[one] = n
        self._add(added)

    def _add(self, pairs: Mapping[Pair, int]) -> None:
        n = len(self._pairs)
        if n + len(pairs) > len(self._counts):
            self._make_room(len(pairs))
            n = len(self._pairs)
        for row, (one, count) in enumerate(pairs.items(), n):
            self._row[one] = row
            self._left[row], self._right[row] = one
            self._counts[row] = count
        self._pairs += pairs

    def _make_room(self, more: int) -> None:
        """Drop the rows that are too rare, and make arrays for twice the rest."""
        n = len(self._pairs)
        keep = np.flatnonzero(self._counts[:n] >= self.min_count)
        room = 2 * (len(keep) + more) + 64
        for name in ("_left", "_right", "_counts"):
            old = getattr(self, name)
            new = np.zeros(room, old.dtype)
            new[: len(keep)] = old[keep]
            setattr(self, name, new)
        self._pairs = [self._pairs[i] for i in keep.tolist()]
        self._row = {one: i for i, one in enumerate(self._pairs)}
