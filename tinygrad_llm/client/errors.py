"""What can go wrong between a client and a server, and whether asking again may help."""

from __future__ import annotations

__all__ = ["ChatError", "TemporaryError"]


class ChatError(OSError):
    """A server did not answer as it should; the message says what it did and what to do."""


class TemporaryError(ChatError):
    """The same request may succeed later: a busy server, a broken connection, half an answer.

    wait: seconds that the server asked to wait, None if it did not say.
    """

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait
