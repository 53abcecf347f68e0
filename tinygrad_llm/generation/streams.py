"""Text from ids that come one at a time, up to the first stop string."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["TextStream", "has_stop_string"]


class TextStream:
    """The text of ids that come one at a time, up to the first stop string, which is not shown.

    tokenizer: any with stream(), as all of tinygrad_llm.text have; stop_strings: texts
    after: ids that stand before, such as a prompt: with them " Paris" keeps its space

    push(id) returns what can be shown now. What could be the beginning of a stop string is held
    until the next ids decide, and so are the bytes of a character that is not complete. The stop
    string that is complete first counts, of two that end together the longer one: how the text is
    cut into tokens does not matter.
    Raises: TypeError if the tokenizer has no stream().
    """

    def __init__(
        self, tokenizer: Any, stop_strings: Sequence[str] = (), after: Sequence[int] = ()
    ) -> None:
        if not hasattr(tokenizer, "stream"):
            raise TypeError(
                f"tokenizer must be one of tinygrad_llm.text, got {type(tokenizer).__name__}: "
                "it has no stream()"
            )
        self._decoder = tokenizer.stream(after) if len(after) else tokenizer.stream()
        self._stop_strings = stop_strings
        self._held = ""
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Take one id; returns the text that is now certain (sometimes ''). After the end: ''."""
        return "" if self.stopped else self._shown(self._decoder.push(token_id))

    def finish(self) -> str:
        """The end: what was held, if no stop string came."""
        if self.stopped:
            return ""
        text = self._shown(self._decoder.finish()) + self._held
        self._held = ""
        return text

    def _shown(self, piece: str) -> str:
        text = self._held + piece
        places = ((text.find(stop), stop) for stop in self._stop_strings)
        ends = [(at + len(stop), at) for at, stop in places if at >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)[1]]
        held = max((_overlap(text, stop) for stop in self._stop_strings), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """The length of the longest beginning of `stop`, not all of it, with which the text ends."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def has_stop_string(tokenizer: Any, ids: Sequence[int], stop_strings: Iterable[str]) -> bool:
    """Whether the text of the ids has a stop string; ids that the tokenizer lacks have no text."""
    if not stop_strings:
        return False
    text = tokenizer.decode([i for i in ids if i < tokenizer.vocab_size])
    return any(stop in text for stop in stop_strings)
