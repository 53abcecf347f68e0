"""Decoders: what each token adds to the text. Each is described as in tokenizer.json.

A decoder works token by token, so that a stream of tokens reads as all of them together: the bytes
of a token depend on the token, on whether it is the first, and on nothing else. Spaces at the very
beginning are taken away afterwards (`leading`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..letters import byte_of_letter
from . import patterns
from .part import Part

__all__ = ["Decoder", "build_decoder"]

Step = Callable[[str, bool], str]
_BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")
MOST_CONTENT = 1 << 10


class Decoder:
    """token -> bytes.

    steps: each changes the text of one token; joiner, before_special: stand before tokens, and
    special tokens, that are not the first; byte_level: tokens are spelled in GPT-2's letters;
    byte_fallback: <0x41> is a byte; leading: how many spaces at the beginning of the whole text are
    left out
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.joiner = self.before_special = " "
        self.byte_level = False
        self.byte_fallback = False
        self.leading = 0

    def bytes_of(self, token: str, first: bool) -> bytes:
        """The UTF-8 bytes of one token; first: whether it is the first of the text."""
        if self.byte_fallback and (match := _BYTE.fullmatch(token)):
            return bytes([int(match.group(1), 16)])
        for step in self.steps:
            token = step(token, first)
        if self.byte_level:
            letters = byte_of_letter()
            if all(c in letters for c in token):
                return bytes(letters[c] for c in token)
        if not first:
            token = self.joiner + token
        return token.encode("utf-8", "surrogatepass")


def build_decoder(part: Part | None) -> Decoder:
    """The decoder that a description stands for; without one, tokens are joined by spaces.

    Raises: ValueError if a type is not known or a field is wrong.
    """
    decoder = Decoder()
    if part is not None:
        decoder.joiner = decoder.before_special = ""
        for stage in _flat(part):
            make = _KINDS.get(stage.type)
            if make is None:
                raise stage.unknown([*_KINDS, "Sequence"])
            make(stage, decoder)
    return decoder


def _flat(part: Part, depth: int = 0) -> list[Part]:
    if part.type != "Sequence":
        return [part]
    if depth > 4:
        raise ValueError(f"{part.where}: sequences nested too deeply")
    return [stage for p in part.parts("decoders") for stage in _flat(p, depth + 1)]


def _byte_level(part: Part, decoder: Decoder) -> None:
    decoder.byte_level = True


def _byte_fallback(part: Part, decoder: Decoder) -> None:
    decoder.byte_fallback = True


def _fuse(part: Part, decoder: Decoder) -> None:
    decoder.steps.append(lambda token, first: token)


def _replace(part: Part, decoder: Decoder) -> None:
    pattern, content = patterns.of_part(part), part.get("content", str)
    if len(content) > MOST_CONTENT:
        raise ValueError(f"{part.where}: 'content' has {len(content):,} characters")
    decoder.steps.append(lambda token, first: pattern.sub(content, token))


def _strip(part: Part, decoder: Decoder) -> None:
    if part.get("content", str) != " " or part.integer("stop", 0, 1 << 20, 0):
        raise ValueError(
            f"{part.where}: Strip is known here for spaces at the beginning only, so that a stream "
            "of tokens can be shown as it comes"
        )
    decoder.leading += part.integer("start", 0, 1 << 20, 0)


def _metaspace(part: Part, decoder: Decoder) -> None:
    mark = part.get("replacement", str, "▁")
    old = "always" if part.get("add_prefix_space", bool, True) else "never"
    scheme = part.choice("prepend_scheme", ("always", "first", "never"), old)

    def step(token: str, first: bool) -> str:
        if first and scheme != "never":
            return token.replace(mark, " ").removeprefix(" ")
        return token.replace(mark, " ")

    decoder.steps.append(step)


def _word_piece(part: Part, decoder: Decoder) -> None:
    prefix = part.get("prefix", str, "##")
    tidy = part.get("cleanup", bool, True)
    decoder.before_special = " "

    def step(token: str, first: bool) -> str:
        if not first:
            token = token[len(prefix) :] if token.startswith(prefix) else " " + token
        return _tidied(token) if tidy else token

    decoder.steps.append(step)


def _tidied(token: str) -> str:
    """English without the spaces that BERT's cuts put before signs and endings."""
    for spaced, close in _TIDY:
        token = token.replace(spaced, close)
    return token


_TIDY = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
    (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def _bpe(part: Part, decoder: Decoder) -> None:
    suffix = part.get("suffix", str, "</w>")
    decoder.steps.append(lambda token, first: token.replace(suffix, " ") if suffix else token)


_KINDS: dict[str, Callable[[Part, Decoder], None]] = {
    "ByteLevel": _byte_level,
    "ByteFallback": _byte_fallback,
    "Fuse": _fuse,
    "Replace": _replace,
    "Strip": _strip,
    "Metaspace": _metaspace,
    "WordPiece": _word_piece,
    "BPEDecoder": _bpe,
}
