"""The fields of a request's body, read with clear errors; nothing from outside is trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["ApiError", "Fields", "read_body"]


class ApiError(Exception):
    """An answer that says what was wrong: HTTP status, message, the field, and a short code."""

    def __init__(
        self, status: int, message: str, field: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.field, self.code = status, message, field, code


def read_body(data: bytes) -> Fields:
    """The fields of a JSON object.

    Raises: ApiError with 400 if it is not one.
    """
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body must be JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object")
    return Fields(value)


def _refuse(name: str) -> Any:
    raise ValueError(name)


class Fields:
    """A JSON object whose fields are read by type; null counts as not given."""

    def __init__(self, values: Mapping[str, Any], where: str = "") -> None:
        self.values, self.where = values, where

    def wrong(self, name: str, expected: str) -> ApiError:
        """The error of a field that is not as expected."""
        field = f"{self.where}{name}"
        return ApiError(400, f"{field} must be {expected}", field)

    def get(self, name: str) -> Any:
        """The value of a field, or None."""
        return self.values.get(name)

    def integer(self, name: str, default: int | None, least: int, most: int) -> Any:
        """A whole number between least and most.

        Raises: ApiError with 400 for anything else.
        """
        value = self.get(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.wrong(name, f"a whole number between {least} and {most}")
        return value

    def number(self, name: str, default: float | None, least: float, most: float) -> Any:
        """A finite number between least and most.

        Raises: ApiError with 400 for anything else.
        """
        value = self.get(name)
        if value is None:
            return default
        allowed = isinstance(value, int | float) and not isinstance(value, bool)
        if not allowed or not least <= value <= most:  # false for NaN too
            raise self.wrong(name, f"a number between {least:g} and {most:g}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises: ApiError with 400 for anything else.
        """
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def text(self, name: str, default: str | None = None, most: int = 10**6) -> Any:
        """A text of at most this many characters, which UTF-8 can write.

        Raises: ApiError with 400 for anything else.
        """
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > most or not _is_text(value):
            raise self.wrong(name, f"a text of at most {most} characters")
        return value

    def texts(self, name: str, most: int, length: int) -> list[str]:
        """A text or a list of texts, none of them empty.

        Raises: ApiError with 400 for anything else.
        """
        value = self.get(name)
        value = [] if value is None else [value] if isinstance(value, str) else value
        allowed = isinstance(value, list) and len(value) <= most
        if not allowed or not all(
            isinstance(x, str) and 0 < len(x) <= length and _is_text(x) for x in value
        ):
            raise self.wrong(name, f"up to {most} texts of 1 to {length} characters")
        return list(value)

    def part(self, name: str) -> Fields:
        """An object within.

        Raises: ApiError with 400 for anything else.
        """
        value = self.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Fields(value or {}, f"{self.where}{name}.")

    def refuse(self, *names: str) -> None:
        """Raises: ApiError if one of these is given, and is not empty or 0."""
        for name in names:
            if self.get(name):
                field = f"{self.where}{name}"
                raise ApiError(400, f"{field} is not supported by this server", field)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in value)
