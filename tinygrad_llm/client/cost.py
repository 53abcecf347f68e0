"""What requests cost: tokens counted by the server, or estimated before they are sent."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

__all__ = ["Price", "Usage", "estimate_tokens"]

_ASCII_PER_TOKEN = 4  # characters of an English text, about, with the tokenizers of today
_EXTRA = 8  # tokens around a message: its role and its ends


def estimate_tokens(text: str) -> int:
    """About how many tokens a message has: four ASCII characters or one other, and 8 around it."""
    n_ascii = sum(character < "\x80" for character in text)
    return math.ceil(n_ascii / _ASCII_PER_TOKEN) + len(text) - n_ascii + _EXTRA


@dataclass(frozen=True)
class Price:
    """The price of a million tokens that are read and of a million that are written.

    Raises: ValueError if one is negative or not finite.
    """

    read: float = 0.0
    written: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.read, self.written):
            if not 0 <= value < math.inf:
                raise ValueError(f"a price must be 0 or more per million tokens, got {value}")

    def __bool__(self) -> bool:
        return self.read > 0 or self.written > 0


@dataclass
class Usage:
    """What was asked so far.

    requests, cached: answers from the server, and from the cache, which cost nothing
    retries: attempts that failed and were repeated
    read, written: tokens of questions and answers, as the server counted them
    estimated: requests whose server did not count; their tokens are estimates
    cached_read, cached_written: tokens of the answers from the cache, where they were counted
    """

    price: Price = Price()
    requests: int = 0
    cached: int = 0
    retries: int = 0
    read: int = 0
    written: int = 0
    estimated: int = 0
    cached_read: int = 0
    cached_written: int = 0

    @property
    def cost(self) -> float:
        """In the currency of the price."""
        return (self.read * self.price.read + self.written * self.price.written) / 1e6

    @property
    def saved(self) -> float:
        """What the answers from the cache cost when they were asked for."""
        read, written = self.cached_read, self.cached_written
        return (read * self.price.read + written * self.price.written) / 1e6

    def add(self, read: int, written: int, estimated: bool) -> None:
        """Count one answer of the server."""
        self.requests += 1
        self.read += read
        self.written += written
        self.estimated += estimated

    def add_cached(self, read: int | None, written: int | None) -> None:
        """Count one answer of the cache; None: its tokens were not counted."""
        self.cached += 1
        self.cached_read += read or 0
        self.cached_written += written or 0

    def since(self, before: Usage) -> Usage:
        """What was added after `before`, a copy of this one made earlier."""
        values = {
            field.name: getattr(self, field.name) - getattr(before, field.name)
            for field in dataclasses.fields(self) if field.name != "price"
        }  # fmt: skip
        return Usage(self.price, **values)

    def __str__(self) -> str:
        about = "about " if self.estimated else ""
        parts = [f"{self.requests:,} requests", f"{self.cached:,} from the cache"]
        if self.retries:
            parts.append(f"{self.retries:,} repeated")
        parts.append(f"{about}{self.read:,} tokens read, {self.written:,} written")
        if self.price:
            parts.append(f"cost {about}{self.cost:.4f}")
            if self.saved:
                parts.append(f"{self.saved:.4f} saved by the cache")
        return ", ".join(parts)
