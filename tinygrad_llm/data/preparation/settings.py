"""Every setting of a preparation: what a manifest stores, and the command line has as flags."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

__all__ = ["Settings", "setting"]

LANGUAGES = ("de", "en", "es", "fr", "ja", "ko", "ru", "zh")
REPEATED = ("keep", "exact", "near")


def setting(default: Any, help: str) -> Any:
    """A field with one line of help."""
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is done with the texts; two runs with the same settings and files give the same bytes.

    `check` looks at the values; the number of processes is not among them, as it changes nothing.
    """

    tokenizer: str = setting(
        "bpe", "bpe, wordpiece, unigram (each -mecab), char, gpt2, or a file or run."
    )
    vocab_size: int = setting(8192, "Of a tokenizer that is trained here: the most tokens.")
    text_field: str = setting("text", "Of JSON lines: the name of the text.")
    separator: str | None = setting(None, "A line between the documents of a text file.")
    repair: bool = setting(True, "Repair text that was decoded with a wrong encoding (ftfy).")
    japanese: bool = setting(True, "Of Japanese: one width, one of repeated marks, as NFKC.")
    boilerplate: bool = setting(True, "Leave out Project Gutenberg's licence texts.")
    scrub: bool = setting(False, "Replace e-mail addresses, phone, card and IP numbers.")
    languages: str | None = setting(None, f"Keep only these: {', '.join(LANGUAGES)}.")
    least_characters: int = setting(50, "Of a document.")
    most_characters: int = setting(
        100_000, "Of a document, about: longer ones are cut between paragraphs, lines or words."
    )
    most_symbols: float = setting(0.4, "Share of characters that are marks, not letters.")
    most_repetition: float = setting(0.6, "Share of runs of 5 words that a document repeats.")
    paragraphs: str = setting("exact", "Repeated paragraphs: keep, exact or near are left out.")
    documents: str = setting("near", "Repeated documents: keep, exact or near are left out.")
    similarity: float = setting(0.8, "Of near-duplicates at least.")
    least_paragraph: int = setting(80, "Characters of a paragraph that can count as repeated.")
    val_fraction: float = setting(0.05, "Share of the documents for validation, by their hash.")

    def check(self) -> None:
        """Raises: ValueError for the first value that is not allowed; it names the `setting`."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and not math.isfinite(value):
                raise ValueError(f"`{field.name}` must be a number, got {value}")
        for name in ("most_symbols", "most_repetition", "similarity"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(
                    f"`{name}` must be above 0 and at most 1, got {getattr(self, name):g}"
                )
        if not 0 <= self.val_fraction < 1:
            raise ValueError(
                f"`val_fraction` must be 0 or more and below 1, got {self.val_fraction:g}"
            )
        least_of = {"vocab_size": 1, "least_characters": 0, "least_paragraph": 1,
                    "most_characters": max(1, self.least_characters)}  # fmt: skip
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}, got {getattr(self, name)}")
        for name in ("paragraphs", "documents"):
            if getattr(self, name) not in REPEATED:
                raise ValueError(f"`{name}` must be keep, exact or near, got {getattr(self, name)}")
        for language in self.kept_languages():
            if language not in LANGUAGES:
                raise ValueError(
                    f"`languages`: {language} is unknown; known: {', '.join(LANGUAGES)}"
                )
        if self.languages is not None and not self.kept_languages():
            raise ValueError("`languages` names no language: write en or en,ja")
        if self.separator is not None and (
            not self.separator.strip() or "\n" in self.separator or len(self.separator) > 200
        ):
            raise ValueError("`separator` must be one line of at most 200 characters, not blank")
        if not self.text_field:
            raise ValueError("`text_field` must be a name, got an empty one")

    def kept_languages(self) -> tuple[str, ...]:
        """The languages that are kept; none if all are."""
        return tuple(word.strip() for word in (self.languages or "").split(",") if word.strip())

    def stored(self) -> dict[str, Any]:
        """All of them, as the manifest has them."""
        return dataclasses.asdict(self)
