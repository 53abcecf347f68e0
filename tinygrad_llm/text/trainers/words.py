"""What the trainers share: a text cut into counted words, its alphabet, the tokenizer at the end.

Words are cut by the stages with which the tokenizer cuts later, so that training and use agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ...files.untrusted import describe
from ..pipeline import PipelineTokenizer
from ..stages.normalizers import build_normalizer
from ..stages.part import Part
from ..stages.pre_tokenizers import build_pre_tokenizer
from ..stages.templates import Template
from ..tokenizer import check_text, number_special_tokens, split_on_special

__all__ = [
    "BYTE_TOKENS",
    "MARK",
    "UNKNOWN",
    "VocabularyTooLargeError",
    "Cuts",
    "Texts",
    "alphabet_of",
    "check_room",
    "check_words",
    "count_words",
    "joined_cuts",
    "known_parts",
    "trained_tokenizer",
]

Texts = str | Iterable[str] | Mapping[str, int]
UNKNOWN = "<unk>"
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
MARK = "▁"  # a space, in words that are cut at spaces
_AFTER_MARK = f"{MARK}?[^{MARK}\\n]+|{MARK}|\\n+"


class Cuts(NamedTuple):
    """Descriptions as in tokenizer.json: what a text goes through before the model, and after."""

    normalizer: dict[str, Any] | None
    pre_tokenizer: dict[str, Any]
    decoder: dict[str, Any]


def joined_cuts(words: str, normalizer: Mapping[str, Any] | None) -> Cuts:
    """Cuts after which decoding gives the normalised text back: for models with all bytes.

    words: "spaces": a word has the space before it, written ▁; a run of line ends is a word.
        "mecab": Japanese words; one space belongs to the word after it
    normalizer: the description of a normaliser before that, or None
    Raises: ValueError if `words` is something else.

    SentencePiece can also put a ▁ before the whole text, so that its first word is like any other.
    Here it does not: every part of a text, also after a special token, comes back as it was.
    """
    check_words(words)
    stages = [dict(normalizer)] if normalizer else []
    bytes_joined: list[dict[str, Any]] = [{"type": "ByteFallback"}, {"type": "Fuse"}]
    if words == "mecab":
        cut = {"type": "MeCab", "keep_spaces": True}
    else:
        stages.append({"type": "Replace", "pattern": {"String": " "}, "content": MARK})
        bytes_joined.insert(0, {"type": "Replace", "pattern": {"String": MARK}, "content": " "})
        cut = {"type": "Split", "pattern": {"Regex": _AFTER_MARK}, "behavior": "Isolated",
               "invert": False}  # fmt: skip
    whole = {"type": "Sequence", "normalizers": stages} if stages else None
    return Cuts(whole, cut, {"type": "Sequence", "decoders": bytes_joined})


def check_words(words: str) -> None:
    """Raises: ValueError if `words` is not a way to cut that is known."""
    if words not in ("spaces", "mecab"):
        raise ValueError(f'words must be "spaces" or "mecab", got {describe(words)}')


def count_words(text: Texts, cuts: Cuts, special_tokens: Collection[str]) -> Counter[str]:
    """How often each word occurs.

    text: one text, several, or words with their counts, which are taken as they are
    Raises: TypeError if it is something else; ValueError if it is empty or a count is not positive.
    """
    number_special_tokens(special_tokens, 0)  # says what is wrong with them
    if isinstance(text, Mapping):
        counts = Counter(dict(text))
        check_text("".join(counts))
        for word, n in counts.items():
            if not word or type(n) is not int or n < 1:
                raise ValueError(
                    f"the word {describe(word)} has the count {describe(n)}: words have at least "
                    "one character, and counts are whole numbers from 1"
                )
    else:
        where = "the trainer"
        normalize = build_normalizer(_part(cuts.normalizer, where))
        cut = build_pre_tokenizer(_part(cuts.pre_tokenizer, where))
        counts = Counter()
        for one in [text] if isinstance(text, str) else text:
            check_text(one)
            for part in split_on_special(one, special_tokens):
                counts.update(cut(normalize(part), True) if part else ())
    if not counts:
        raise ValueError("the text is empty: there is nothing to learn from")
    return counts


def _part(fields: Mapping[str, Any] | None, where: str) -> Part | None:
    return None if fields is None else Part(fields, where)


def alphabet_of(
    counts: Mapping[str, int], coverage: float, always: Collection[str] = ()
) -> list[str]:
    """The most frequent characters that make up the share `coverage` of all, sorted.

    always: characters that are in the alphabet in any case; the zero character never is
    Raises: ValueError if coverage is outside (0, 1].
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must be above 0 and at most 1, got {coverage}")
    characters: Counter[str] = Counter()
    for word, n in counts.items():
        for c in word:
            characters[c] += n
    characters.pop("\0", None)
    rest = coverage * characters.total()
    kept = []
    for c, n in sorted(characters.items(), key=lambda row: (-row[1], row[0])):
        if rest <= 0:
            break
        kept.append(c)
        rest -= n
    return sorted({*kept, *always})


def known_parts(counts: Mapping[str, int], alphabet: Collection[str]) -> Counter[str]:
    """The words cut at characters that are not in the alphabet, and without these."""
    known = set(alphabet)
    parts: Counter[str] = Counter()
    for word, n in counts.items():
        if known.issuperset(word):
            parts[word] += n
            continue
        for part in "".join(c if c in known else "\0" for c in word).split("\0"):
            if part:
                parts[part] += n
    return parts


def check_room(vocab_size: int, fixed: int, what: str) -> None:
    """Raises: ValueError if vocab_size is smaller than the number of tokens that must be there."""
    if vocab_size < fixed:
        raise ValueError(f"vocab_size must be at least {fixed:,} ({what}), got {vocab_size:,}")


class VocabularyTooLargeError(ValueError):
    """A text cannot fill a vocabulary of this size; most: the largest that it can fill."""

    def __init__(self, vocab_size: int, most: int, why: str) -> None:
        super().__init__(
            f"vocab_size {vocab_size:,} is too large for this text: {why} after {most:,} tokens. "
            "Use that vocab_size or less, or more text"
        )
        self.most = most


def trained_tokenizer(
    cuts: Cuts,
    model: dict[str, Any],
    n_model: int,
    special_tokens: Collection[str],
    *,
    around: tuple[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    name: str,
) -> PipelineTokenizer:
    """The tokenizer of a trained model.

    model: its description; n_model: how many ids it has; special_tokens: those that the model does
        not have get the ids after these; around: special tokens before and after each text; names:
        see PipelineTokenizer
    Raises: ValueError if `around` names something else than special tokens.
    """
    vocabulary = model["vocab"] if isinstance(model["vocab"], dict) else {UNKNOWN: 0}
    later = [token for token in special_tokens if token not in vocabulary]
    ids = {token: vocabulary[token] for token in special_tokens if token in vocabulary}
    ids |= number_special_tokens(later, n_model)
    special = ids | {UNKNOWN: vocabulary[UNKNOWN]} if UNKNOWN in vocabulary else ids
    description = {
        "added_tokens": [{"id": i, "content": t, "special": True} for t, i in special.items()],
        "normalizer": cuts.normalizer,
        "pre_tokenizer": cuts.pre_tokenizer,
        "decoder": cuts.decoder,
        "model": model,
    }
    template = None
    if around is not None:
        for token in around:
            if token not in ids:
                raise ValueError(f"around names {token!r}, which is not a special token")
        begin, end = (((ids[token],)) for token in around)
        template = Template(
            [(begin, 0), ("A", 0), (end, 0)],
            [(begin, 0), ("A", 0), (end, 0), ("B", 1), (end, 1)],
        )
    return PipelineTokenizer(description, template=template, names=names, name=name)
