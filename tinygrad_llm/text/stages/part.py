"""One part of a tokenizer's description: its fields, each checked for type and size when read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from ...files.untrusted import describe

__all__ = [
    "MOST_PARTS",
    "MOST_TOKENS",
    "Part",
    "TemplateError",
    "TokenizerError",
    "check_writable",
    "checked_vocabulary",
]

MOST_PARTS = 64  # of a sequence of stages
MOST_TOKENS = 1 << 22  # of a vocabulary, and the largest id
_REQUIRED: Any = object()
T = TypeVar("T")


class TokenizerError(ValueError):
    """A tokenizer's file is damaged, or asks for something that is not known here."""


class TemplateError(TokenizerError):
    """A chat template is wrong, refuses the messages, or goes over a limit."""


class Part:
    """The fields of one part, with errors that name the file and the part.

    fields: what the file holds; where: the file and the part, for messages
    Raises: ValueError if fields is not an object with names.
    """

    def __init__(self, fields: Any, where: str) -> None:
        if not isinstance(fields, Mapping):
            raise ValueError(f"{where} should be an object with names, got {describe(fields)}")
        self.fields = fields
        self.where = where

    def get(self, name: str, kind: type[T], default: T | None = _REQUIRED) -> T:
        """The field, of the type `kind`; without it, or if it is null, the default.

        Raises: ValueError if it is of another type, or missing without a default.
        """
        value = self.fields.get(name)
        if value is None and default is not _REQUIRED:
            return default  # type: ignore[return-value]
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not right:
            raise ValueError(
                f"{self.where}: {name!r} should be a {kind.__name__}, got {describe(value)}"
            )
        if isinstance(value, str):
            check_writable([value], f"{self.where}, {name}")
        return value  # type: ignore[return-value]

    def integer(self, name: str, low: int, high: int, default: int = _REQUIRED) -> int:
        """The field, an integer from low to high; without it, or if it is null, the default.

        Raises: ValueError if it is not.
        """
        value = self.get(name, int, default)
        if value is not default and not low <= value <= high:
            raise ValueError(
                f"{self.where}: {name!r} should be from {low} to {high}, got {describe(value)}"
            )
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """The field, one of the choices; upper and lower case do not matter.

        Raises: ValueError if it is not among them.
        """
        value = self.get(name, str, default)
        for known in choices:
            if value.lower() == known.lower():
                return known
        raise ValueError(
            f"{self.where}: {name!r} should be one of {', '.join(choices)}, got {describe(value)}"
        )

    @property
    def type(self) -> str:
        """What kind of stage it is."""
        return self.get("type", str)

    def unknown(self, known: tuple[str, ...] | list[str]) -> ValueError:
        """The error for a type that is not among the known ones."""
        return ValueError(
            f"{self.where}: type {describe(self.type)} is not known here; known are "
            f"{', '.join(known)}"
        )

    def part(self, name: str) -> Part | None:
        """The part under this name; None if it is missing or null."""
        value = self.fields.get(name)
        return None if value is None else Part(value, f"{self.where}, {name}")

    def parts(self, name: str) -> list[Part]:
        """The parts in the list under this name.

        Raises: ValueError if it is not a list, or a longer one than stages ever have.
        """
        values = self.get(name, list)
        if len(values) > MOST_PARTS:
            raise ValueError(f"{self.where}: {len(values):,} {name}, more than {MOST_PARTS}")
        return [Part(value, f"{self.where}, {name} {i}") for i, value in enumerate(values)]

    def strings(self, name: str) -> list[str]:
        """The strings in the list under this name.

        Raises: ValueError if it is not a list of strings.
        """
        values = self.get(name, list)
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"{self.where}: {name!r} should be a list of strings")
        check_writable(values, f"{self.where}, {name}")
        return values


def check_writable(texts: Iterable[str], where: str) -> None:
    """Raises: ValueError if a text has half a character (a lone surrogate)."""
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise ValueError(f"{where} has half a character, U+{half:04X}") from error


def checked_vocabulary(vocabulary: Mapping[Any, Any], where: str) -> dict[str, int]:
    """token -> id, checked: texts, and different ids from 0 to MOST_TOKENS.

    Raises: ValueError that names the first token that is wrong.
    """
    if not vocabulary or len(vocabulary) > MOST_TOKENS:
        raise ValueError(f"{where}: a vocabulary of {len(vocabulary):,} tokens")
    owner: dict[int, str] = {}
    for token, i in vocabulary.items():
        if not isinstance(token, str) or type(i) is not int or not 0 <= i < MOST_TOKENS:
            raise ValueError(
                f"{where}: the token {describe(token)} has the id {describe(i)}; an id is from 0 "
                f"to {MOST_TOKENS - 1}"
            )
        if i in owner:
            raise ValueError(
                f"{where}: the tokens {describe(owner[i])} and {describe(token)} both have the id "
                f"{i}"
            )
        owner[i] = token
    check_writable(vocabulary, where)
    return dict(vocabulary)
