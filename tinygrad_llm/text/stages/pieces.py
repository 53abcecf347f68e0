"""Models that turn one piece of a text into ids: BPE by merges, BPE by scores, WordPiece.

Unigram has a separate file. A model knows token -> id and what to do with a piece that its
vocabulary does not cover.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import groupby, pairwise
from typing import Any

from ...files.untrusted import describe
from .part import Part, checked_vocabulary

__all__ = ["BPE", "PieceModel", "WordPiece", "byte_tokens"]

LONG = 64  # symbols from which on a piece is encoded with a heap
_NEVER = 1 << 62


class PieceModel:
    """What models share: the vocabulary, the unknown token, and bytes in place of unknown signs.

    unknown: the id of what the vocabulary does not cover, or None; fuse_unknown: unknown signs next
    to each other become one; byte_fallback: they become their bytes <0x00> .. <0xFF>; varies:
    whether encode() can return other ids for the same piece
    """

    varies = False

    def __init__(
        self,
        vocabulary: dict[str, int],
        unknown: int | None,
        fuse_unknown: bool,
        byte_fallback: bool,
    ) -> None:
        self.vocabulary = vocabulary
        self.unknown = unknown
        self.fuse_unknown = fuse_unknown
        self.bytes = byte_tokens(vocabulary) if byte_fallback else None

    def names(self) -> dict[int, str]:
        """id -> token."""
        return {i: token for token, i in self.vocabulary.items()}

    def encode(self, piece: str) -> list[int]:
        """The ids of one piece.

        Raises: ValueError if the vocabulary does not cover it and there is no unknown token.
        """
        raise NotImplementedError(f"{type(self).__name__} must define encode")

    def _ids(self, symbols: Sequence[str]) -> list[int]:
        """The ids of the symbols that a piece was cut into."""
        try:
            return [self.vocabulary[s] for s in symbols]
        except KeyError:
            pass
        ids: list[int] = []
        for known, group in groupby(symbols, self.vocabulary.__contains__):
            if known:
                ids += [self.vocabulary[s] for s in group]
            else:
                self._add_unknown(ids, list(group))
        return ids

    def _add_unknown(self, ids: list[int], symbols: list[str]) -> None:
        """Append what stands for unknown symbols next to each other."""
        fused = False
        for symbol in symbols:
            if self.bytes is not None:
                in_bytes = [self.bytes[byte] for byte in symbol.encode("utf-8")]
                if None not in in_bytes:
                    ids += in_bytes  # type: ignore[arg-type]
                    fused = False
                    continue
            if self.unknown is None:
                raise ValueError(
                    f"the vocabulary has no token for {describe(symbol)}, and no unknown token"
                )
            if not (fused and self.fuse_unknown):
                ids.append(self.unknown)
            fused = True


def byte_tokens(vocabulary: Mapping[str, int]) -> list[int | None]:
    """byte -> the id of its token <0x41>, or None."""
    return [vocabulary.get(f"<0x{byte:02X}>") for byte in range(256)]


class BPE(PieceModel):
    """Byte-pair encoding: the symbols of a piece are joined pair by pair, the best pair first.

    ranks: (left, right) -> rank, or left + right -> rank; the smallest goes first, then the
        leftmost. By pairs as in tokenizer.json, by what they make as in SentencePiece and tiktoken
    whole: a piece that is a token stays whole (ignore_merges)
    prefix, suffix: of the symbols that continue a word, and of its last one
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        ranks: Mapping[Any, int],
        by_pairs: bool,
        *,
        unknown: int | None = None,
        fuse_unknown: bool = False,
        byte_fallback: bool = False,
        whole: bool = False,
        prefix: str = "",
        suffix: str = "",
    ) -> None:
        super().__init__(vocabulary, unknown, fuse_unknown, byte_fallback)
        self.ranks = ranks
        self.by_pairs = by_pairs
        self.whole = whole
        self.prefix, self.suffix = prefix, suffix
        rank = ranks.get
        self._rank: Callable[[str, str], int] = (
            (lambda a, b: rank((a, b), _NEVER)) if by_pairs else (lambda a, b: rank(a + b, _NEVER))
        )

    @classmethod
    def read(cls, part: Part) -> BPE:
        """The model of a tokenizer.json.

        Raises: ValueError if a field is wrong, or a merge makes what is not in the vocabulary.
        """
        vocabulary = checked_vocabulary(part.get("vocab", dict), part.where)
        prefix = part.get("continuing_subword_prefix", str, "")
        ranks: dict[tuple[str, str], int] = {}
        for i, merge in enumerate(part.get("merges", list)):
            pair = merge.split(" ") if isinstance(merge, str) else merge
            if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair))):
                raise ValueError(f"{part.where}: merge {i} is {describe(merge)}, not a pair")
            left, right = pair
            if not {left, right, left + right.removeprefix(prefix)} <= vocabulary.keys():
                raise ValueError(
                    f"{part.where}: merge {i} of {describe(left)} and {describe(right)} needs or "
                    "makes a token that is not in the vocabulary"
                )
            ranks[left, right] = i  # of a repeated pair the last rank counts, as in `tokenizers`
        if part.get("dropout", float, 0.0):
            raise ValueError(f"{part.where}: dropout is for training only; set it to null")
        unknown = part.get("unk_token", str, "")
        if unknown and unknown not in vocabulary:
            raise ValueError(f"{part.where}: the unknown token {describe(unknown)} has no id")
        return cls(
            vocabulary,
            ranks,
            True,
            unknown=vocabulary[unknown] if unknown else None,
            fuse_unknown=part.get("fuse_unk", bool, False),
            byte_fallback=part.get("byte_fallback", bool, False),
            whole=part.get("ignore_merges", bool, False),
            prefix=prefix,
            suffix=part.get("end_of_word_suffix", str, ""),
        )

    def encode(self, piece: str) -> list[int]:
        if self.whole and piece in self.vocabulary:
            return [self.vocabulary[piece]]
        return self._ids(self.join(list(piece)))

    def join(self, symbols: list[str]) -> list[str]:
        """The symbols of a piece after all joins."""
        if self.prefix or self.suffix:
            symbols = [symbols[0], *(self.prefix + s for s in symbols[1:])]
            symbols[-1] += self.suffix
        if len(symbols) > LONG:
            return self._join_long(symbols)
        rank, skip = self._rank, len(self.prefix)
        ranks = [rank(a, b) for a, b in pairwise(symbols)]
        while ranks and (best := min(ranks)) != _NEVER:
            i = ranks.index(best)
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1][skip:]]
            del ranks[i]
            if i > 0:
                ranks[i - 1] = rank(symbols[i - 1], symbols[i])
            if i < len(ranks):
                ranks[i] = rank(symbols[i], symbols[i + 1])
        return symbols

    def _join_long(self, symbols: list[str]) -> list[str]:
        """join in n·log n steps: a heap of the pairs, by rank, then from left to right."""
        rank, skip = self._rank, len(self.prefix)
        symbol: list[str | None] = [*symbols, None]
        before = list(range(-1, len(symbols)))
        after = list(range(1, len(symbols) + 2))
        heap = [(rank(a, b), i) for i, (a, b) in enumerate(pairwise(symbols))]
        heap = [entry for entry in heap if entry[0] != _NEVER]
        heapify(heap)
        while heap:
            best, i = heappop(heap)
            left, right = symbol[i], symbol[after[i]] if symbol[i] is not None else None
            if left is None or right is None or rank(left, right) != best:
                continue  # an earlier join took one of the two
            j = after[i]
            h, k = before[i], after[j]
            new = symbol[i] = left + right[skip:]
            symbol[j] = None
            after[i] = k
            before[k] = i
            if h >= 0 and (other := symbol[h]) is not None and (r := rank(other, new)) != _NEVER:
                heappush(heap, (r, h))
            if (other := symbol[k]) is not None and (r := rank(new, other)) != _NEVER:
                heappush(heap, (r, i))
        return [s for s in symbol if s is not None]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


class WordPiece(PieceModel):
    """The longest token that a word begins with, then the longest with "##", and so on.

    A word that cannot be covered, or that is longer than `longest`, becomes the unknown token.
    Source: Schuster and Nakajima (2012); Devlin et al. (2019), "BERT".
    """

    def __init__(
        self, vocabulary: dict[str, int], unknown: int, prefix: str = "##", longest: int = 100
    ) -> None:
        super().__init__(vocabulary, unknown, False, False)
        self.prefix, self.longest = prefix, longest
        self._most = max(map(len, vocabulary))

    @classmethod
    def read(cls, part: Part) -> WordPiece:
        """The model of a tokenizer.json.

        Raises: ValueError if a field is wrong or the unknown token is not in the vocabulary.
        """
        vocabulary = checked_vocabulary(part.get("vocab", dict), part.where)
        unknown = part.get("unk_token", str, "[UNK]")
        if unknown not in vocabulary:
            raise ValueError(f"{part.where}: the unknown token {describe(unknown)} has no id")
        longest = part.integer("max_input_chars_per_word", 1, 1 << 20, 100)
        prefix = part.get("continuing_subword_prefix", str, "##")
        return cls(vocabulary, vocabulary[unknown], prefix, longest)

    def encode(self, piece: str) -> list[int]:
        assert self.unknown is not None
        if len(piece) > self.longest:
            return [self.unknown]
        ids: list[int] = []
        start = 0
        while start < len(piece):
            prefix = self.prefix if start else ""
            for end in range(min(len(piece), start + self._most), start, -1):
                if (i := self.vocabulary.get(prefix + piece[start:end])) is not None:
                    ids.append(i)
                    start = end
                    break
            else:
                return [self.unknown]
        return ids
