"""GPT-2's letters: one printable character for each byte, so that tokens of bytes are texts."""

from __future__ import annotations

from functools import cache

__all__ = ["byte_of_letter", "gpt2_byte_order", "letter_of_byte", "spell", "spell_text"]


@cache
def gpt2_byte_order() -> tuple[int, ...]:
    """The bytes in the order of GPT-2's ids 0 .. 255: those that print in Latin-1 come first."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return (*printable, *(byte for byte in range(256) if byte not in printable))


@cache
def letter_of_byte() -> dict[int, str]:
    """byte -> the one character that stands for it in GPT-2's files: itself, or 256 + its place."""
    order = gpt2_byte_order()
    n_printable = 188
    letters = {byte: chr(byte) for byte in order[:n_printable]}
    letters.update({byte: chr(256 + i) for i, byte in enumerate(order[n_printable:])})
    return letters


@cache
def byte_of_letter() -> dict[str, int]:
    """The letters back to their bytes."""
    return {letter: byte for byte, letter in letter_of_byte().items()}


def spell(token: bytes) -> str:
    """The bytes of a token in GPT-2's letters: b" the" is "Ġthe"."""
    return "".join(map(letter_of_byte().__getitem__, token))


def spell_text(text: str) -> str:
    """A text in GPT-2's letters, one for each of its UTF-8 bytes."""
    return text.encode("utf-8").decode("latin-1").translate(letter_of_byte())
