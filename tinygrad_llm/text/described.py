"""A published tokenizer as plain data, for programs that compute it without this package.

What Python does with Unicode's tables is written out: patterns are regular expressions of
JavaScript (flag u) in which every class is spelled as ranges, so that no other table is asked.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from .pipeline import PipelineTokenizer
from .stages import patterns
from .stages.normalizers import IDEOGRAPHS
from .stages.part import Part
from .stages.patterns import Pattern
from .stages.pieces import BPE, PieceModel, WordPiece

__all__ = ["describe_pipeline", "javascript"]

_SIGNS = r"!-/:-@\[-`{-~"
_WHOLE = "\U0010ffff"  # a text for which a pattern has all planes
_KEPT = set("^$\\.*+?()[]{}|/")  # what JavaScript lets a backslash stand before


def describe_pipeline(tokenizer: PipelineTokenizer) -> dict[str, Any]:
    """The parts of a tokenizer of BPE (tokenizer.json, SentencePiece, tiktoken) or WordPiece.

    normalizers   [kind, ...]: ["form", "NFC"], ["prepend", text], ["replace", pattern, text],
                  ["mark", what a space becomes, what stands before a text, what stands after it]
    cuts          [pattern, behaviour, invert], ["metaspace", mark, scheme, split], ["prefix"]
    letters       256 letters of the bytes, or null for a tokenizer of characters
    vocabulary    the token of each id, or null; merges: pairs of ids, flat, the first one first; or
                  `joins`: ids of what is joined, the first one first; or `longest`, the most
                  characters of a word of WordPiece
    whole, suffix, prefix, unknown, fuse, fallback (the ids of 256 bytes, or null): of the model
    added         [spelling, id] of tokens that are found in texts: before the normalizer, after it
    special       ids; before, after: ids around a text
    bytes         what each id adds to a text: base64 of all, and `lengths`; drop: whether the first
                  token of a text loses a space; leading: spaces that a text loses at its beginning
    Raises: ValueError, which names the part, for what is not among these.
    """
    model = tokenizer.model
    if type(model) not in (BPE, WordPiece) or model.varies:
        raise ValueError(f"a tokenizer of the model {type(model).__name__} cannot be written so")
    whole = Part(tokenizer.description, "the tokenizer")
    names = model.names()
    normalizers = list(_normalizers(whole.part("normalizer")))
    cuts = [cut for part in _stages(whole.part("pre_tokenizer")) for cut in _cuts(part)]
    before, after = _around(tokenizer)
    from .letters import letter_of_byte

    letters = letter_of_byte()
    return {
        "kind": "pipeline", "normalizers": normalizers, "cuts": cuts,
        "letters": [letters[i] for i in range(256)] if tokenizer._cuts.byte_level else None,
        "vocabulary": [names.get(i) for i in range(tokenizer.vocab_size)], **_joins(model),
        "unknown": model.unknown, "fuse": model.fuse_unknown, "fallback": model.bytes,
        "added": [_added(tokenizer._raw), _added(tokenizer._normalized)],
        "special": sorted(tokenizer._special_ids), "before": before, "after": after,
        **_bytes(tokenizer), "leading": tokenizer._decoder.leading,
    }  # fmt: skip


def _joins(model: PieceModel) -> dict[str, Any]:
    if isinstance(model, WordPiece):
        return {"longest": model.longest, "prefix": model.prefix}
    assert isinstance(model, BPE)
    made = {"whole": model.whole, "prefix": model.prefix, "suffix": model.suffix}
    ordered = sorted(model.ranks, key=model.ranks.__getitem__)
    ids = model.vocabulary
    if model.by_pairs:
        return {**made, "merges": [ids[part] for pair in ordered for part in pair]}
    return {**made, "joins": [ids[token] for token in ordered if token in ids]}


def _around(tokenizer: PipelineTokenizer) -> tuple[list[int], list[int]]:
    """The ids that stand before and after a text."""
    marked, _ = tokenizer.template.around([-1])
    place = marked.index(-1)
    return marked[:place], marked[place + 1 :]


def _added(tokens: Any) -> list[tuple[str, int]]:
    for token in tokens.values():
        if token.single_word or token.lstrip or token.rstrip:
            raise ValueError(f"the added token {token.content!r} cannot be written so")
    return [(spelling, token.id) for spelling, token in tokens.items()]


def _bytes(tokenizer: PipelineTokenizer) -> dict[str, Any]:
    size = tokenizer.vocab_size
    later = [tokenizer._bytes(i, False) for i in range(size)]
    first = [tokenizer._bytes(i, True) for i in range(size)]
    plain = [i for i in range(size) if i not in tokenizer._special_ids]
    if isinstance(tokenizer.model, WordPiece):  # for encoders, which write no texts
        first = later
    drop = any(first[i] != later[i] for i in plain)
    if drop and any(first[i] != later[i].removeprefix(b" ") for i in plain):
        raise ValueError("a decoder that treats the first token so cannot be written so")
    return {
        "bytes": base64.b64encode(b"".join(later)).decode("ascii"),
        "lengths": [len(data) for data in later], "drop": drop,
    }  # fmt: skip


# ------------------------------------------------------------------------------------- the stages
def _stages(part: Part | None) -> Iterator[Part]:
    """The stages of a description, those of sequences one after the other."""
    if part is None:
        return
    if part.type != "Sequence":
        yield part
        return
    for name in ("normalizers", "pretokenizers"):
        if name in part.fields:
            for inner in part.parts(name):
                yield from _stages(inner)


def _normalizers(whole: Part | None) -> Iterator[list[Any]]:
    for part in _stages(whole):
        if part.type in ("NFC", "NFD", "NFKC", "NFKD"):
            yield ["form", part.type]
        elif part.type == "Prepend":
            yield ["prepend", part.get("prepend", str)]
        elif part.type == "Replace":
            yield ["replace", javascript(patterns.of_part(part)), part.get("content", str)]
        elif part.type == "BertNormalizer":
            yield _bert(part)
        elif part.type == "SentencePiece":
            yield _sentencepiece(part)
        else:
            raise ValueError(f"the normalizer {part.type} cannot be written so")


def _sentencepiece(part: Part) -> list[Any]:
    if part.get("precompiled_charsmap", str, "") or part.get(
        "remove_extra_whitespaces", bool, True
    ):
        raise ValueError("a normalizer of SentencePiece with rules cannot be written so")
    mark = "▁" if part.get("escape_whitespaces", bool, True) else " "
    dummy = part.get("add_dummy_prefix", bool, True)
    behind = part.get("treat_whitespace_as_suffix", bool, False)
    return ["mark", mark, mark if dummy and not behind else "", mark if dummy and behind else ""]


def _bert(part: Part) -> list[Any]:
    lower = part.get("lowercase", bool, True)
    return [
        "bert", part.get("clean_text", bool, True), part.get("handle_chinese_chars", bool, True),
        part.get("strip_accents", bool, lower), lower,
        javascript(Pattern(r"[\x00\ufffd\p{C}]")), javascript(Pattern(r"\s")),
        javascript(Pattern(f"[{IDEOGRAPHS}]")), javascript(Pattern(r"\p{Mn}")),
    ]  # fmt: skip


def _cuts(part: Part) -> Iterator[list[Any]]:
    if part.type == "ByteLevel":
        if part.get("add_prefix_space", bool, True):
            yield ["prefix"]
        if part.get("use_regex", bool, True):
            yield [javascript(Pattern(patterns.GPT2)), "Isolated", False]
    elif part.type == "Split":
        behaviour = part.get("behavior", str, "Isolated")
        inverted = part.get("invert", bool, False) and behaviour != "Isolated"
        yield [javascript(patterns.of_part(part)), behaviour, inverted]
    elif part.type == "Digits":
        one = part.get("individual_digits", bool, False)
        yield [javascript(Pattern(r"\p{N}" if one else r"\p{N}+")), "Isolated", False]
    elif part.type == "Punctuation":
        behaviour = part.get("behavior", str, "Isolated")
        yield [javascript(Pattern(rf"[{_SIGNS}\p{{P}}]")), behaviour, False]
    elif part.type == "BertPreTokenizer":
        yield [javascript(Pattern(r"\s")), "Removed", False]
        yield [javascript(Pattern(rf"[{_SIGNS}\p{{P}}]")), "Isolated", False]
    elif part.type == "WhitespaceSplit":
        yield [javascript(Pattern(r"\s")), "Removed", False]
    elif part.type == "Whitespace":
        yield [javascript(Pattern(r"\w+|[^\w\s]+")), "Removed", True]
    elif part.type == "Metaspace":
        old = "always" if part.get("add_prefix_space", bool, True) else "never"
        mark, scheme = part.get("replacement", str, "▁"), part.get("prepend_scheme", str, old)
        yield ["metaspace", mark, scheme, part.get("split", bool, True)]
    else:
        raise ValueError(f"the pre-tokenizer {part.type} cannot be written so")


# ----------------------------------------------------------------------------------- the patterns
def javascript(pattern: Pattern) -> str:
    """The pattern in JavaScript's syntax, for the flag u.

    Its source is the one that `re` compiles, with all classes written out. What differs: escapes of
    signs that need none, \\Z, (?s:.), and (?i:...), whose letters become classes.
    """
    source = pattern.of(_WHOLE).pattern
    out: list[str] = []
    place, in_class, depth, caseless = 0, False, 0, -1
    while place < len(source):
        c = source[place]
        if c == "\\":
            text, used = _escape(source, place, in_class)
        elif in_class:
            text, used, in_class = c, 1, c != "]"
        elif source.startswith("(?s:.)", place):
            text, used = "[^]", 6
        elif source.startswith("(?i:", place):
            text, used, caseless, depth = "(?:", 4, depth, depth + 1
        else:
            text, used, in_class = c, 1, c == "["
            depth += (c == "(") - (c == ")")
            caseless = -1 if c == ")" and depth == caseless else caseless
            if caseless >= 0 and c.isalpha():
                text = f"[{''.join(_cases(c))}]"
        out.append(text)
        place += used
    return "".join(out)


def _escape(source: str, place: int, in_class: bool) -> tuple[str, int]:
    """What the escape at a place becomes, and how many characters it has."""
    kind = source[place + 1]
    if kind == "U":
        return f"\\u{{{int(source[place + 2 : place + 10], 16):x}}}", 10
    if kind == "Z":
        return "$", 2
    if kind in _KEPT or kind in "xutnrfv" or (kind == "-" and in_class):
        return f"\\{kind}", 2
    return kind, 2


def _cases(letter: str) -> list[str]:
    """All characters that a letter stands for where case does not count."""
    either = re.compile(letter, re.IGNORECASE)
    return [c for c in map(chr, range(0x10000)) if either.fullmatch(c)]
