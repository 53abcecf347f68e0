"""Texts to token ids with their places: which characters of the text each token is made of.

tokenizer = characters(texts)                     # the default: a token for each character
ids, spans = placed("東京都", tokenizer)           # [..], [(0, 0), (0, 1), (1, 2), (2, 3), (3, 3)]
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ...text import CharTokenizer, Tokenizer

__all__ = ["UNKNOWN", "characters", "placed"]

UNKNOWN = "[UNK]"
Span = tuple[int, int]


def characters(
    texts: Iterable[str], special_tokens: Sequence[str], least: int = 2
) -> CharTokenizer:
    """A tokenizer of the characters that occur in at least `least` texts.

    special_tokens: [UNK] among them stands for every other character, so that it is met in training
    Raises: ValueError if no character is left.
    """
    counts = Counter(c for text in texts for c in set(text))
    return CharTokenizer(sorted(c for c, n in counts.items() if n >= least), special_tokens)


def placed(
    text: str, tokenizer: Tokenizer, limit: int | None = None
) -> tuple[list[int], list[Span]]:
    """(ids, spans) of a text: (start, end) of each token in characters of the text.

    limit: tokens at most; special tokens that the tokenizer puts around a text stay
    A special token such as [CLS] has a span of length 0. A token of a few bytes of a character has
    that whole character. The spelling of a special token is ordinary text.
    Raises: ValueError if the tokenizer cannot encode the text.
    """
    if isinstance(tokenizer, CharTokenizer):
        unknown = tokenizer.special_tokens.get(UNKNOWN)
        if unknown is None:
            inner = tokenizer.encode_ordinary(text)
        else:
            known = _numbers(tokenizer.characters)
            inner = [known.get(c, unknown) for c in text]
    else:
        inner = tokenizer.encode(text, disallowed_special=(), add_special_tokens=False)
    if limit is not None:
        inner = inner[: max(0, limit - len(tokenizer.with_special_tokens([])[0]))]
    spans = _spans(text, tokenizer, inner)
    whole, _ = tokenizer.with_special_tokens(inner)
    before = _begin(whole, inner)
    last = spans[-1][1] if spans else 0
    after = len(whole) - before - len(inner)
    return whole, [*[(0, 0)] * before, *spans, *[(last, last)] * after]


@lru_cache(8)
def _numbers(characters: str) -> dict[str, int]:
    return {c: i for i, c in enumerate(characters)}


def _begin(whole: Sequence[int], inner: Sequence[int]) -> int:
    """How many special tokens stand before the text's own."""
    n = len(inner)
    return next(i for i in range(len(whole) - n + 1) if list(whole[i : i + n]) == list(inner))


def _spans(text: str, tokenizer: Tokenizer, ids: Sequence[int]) -> list[Span]:
    if isinstance(tokenizer, CharTokenizer):
        return [(i, i + 1) for i in range(len(ids))]
    pieces = [tokenizer.token_bytes(i) for i in ids]
    if text.encode("utf-8").startswith(b"".join(pieces)):
        return _by_bytes(text, pieces)
    special = set(tokenizer.special_tokens.values())
    return _by_letters(
        text, ["" if i in special else p.decode("utf-8", "ignore")
               for i, p in zip(ids, pieces, strict=True)]
    )  # fmt: skip


def _by_bytes(text: str, pieces: Sequence[bytes]) -> list[Span]:
    """Of tokens whose bytes are those of the text; blanks around a token are left out."""
    owner = [i for i, c in enumerate(text) for _ in c.encode("utf-8")]  # of each byte
    spans, at = [], 0
    for piece in pieces:
        start, end = at, at + len(piece)
        at = end
        if start == end:
            spans.append((owner[start - 1] + 1,) * 2 if start else (0, 0))
            continue
        first, last = owner[start], owner[end - 1] + 1
        inside = text[first:last]
        if inside.strip():
            first += len(inside) - len(inside.lstrip())
            last -= len(inside) - len(inside.rstrip())
        spans.append((first, last))
    return spans


def _by_letters(text: str, pieces: Sequence[str]) -> list[Span]:
    """Of tokens of a normalised text: both are compared in small letters without accents.

    "" is an unknown token: it has what lies before the next token that is known.
    """
    letters, owners = [], []
    for i, c in enumerate(text):
        for letter in _letters(c):
            letters.append(letter)
            owners.append(i)
    line, at = "".join(letters), 0
    spans: list[Span | None] = []
    for n, piece in enumerate(pieces):
        own = _letters(piece.removeprefix("##"))
        place = line.find(own, at) if own else -1
        near = place == at or (place >= 0 and n > 0 and spans[-1] is None)
        if not near:
            spans.append(None)
            continue
        spans.append((owners[place], owners[place + len(own) - 1] + 1))
        at = place + len(own)
    return _filled(spans, len(text))


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        c for c in plain
        if not c.isspace() and not unicodedata.combining(c) and c not in "▁\u200b"
    )  # fmt: skip


def _filled(spans: Sequence[Span | None], length: int) -> list[Span]:
    """The spans; the first unknown one of several in a row has all that lies between."""
    filled: list[Span] = []
    for n, span in enumerate(spans):
        if span is not None:
            filled.append(span)
            continue
        start = filled[-1][1] if filled else 0
        end = next((s[0] for s in spans[n:] if s is not None), length)
        filled.append((start, max(start, end)))
    return filled
