"""layout: how a tensor's numbers lie in memory, for which there is one way here: strided."""

from __future__ import annotations


class layout:
    """A way to lay out numbers: strided, the only one here."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


strided = layout("strided")
