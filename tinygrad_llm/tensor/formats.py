"""torch.memory_format: in which order the elements of a new tensor lie in memory."""

from __future__ import annotations

from typing import Any

__all__ = [
    "channels_last", "channels_last_3d", "contiguous_format", "memory_format", "order_named",
    "preserve_format",
]  # fmt: skip


class memory_format:
    """One of the orders below; `order` is what arrays.layout.empty_as calls it."""

    def __init__(self, name: str, order: str | None, ndim: int | None = None) -> None:
        self._name, self.order, self.ndim = name, order, ndim

    def __repr__(self) -> str:
        return f"torch.{self._name}"


preserve_format = memory_format("preserve_format", None)  # as the input lies
contiguous_format = memory_format("contiguous_format", "C")  # row order
channels_last = memory_format("channels_last", "channels_last", 4)  # (N, C, H, W) as N, H, W, C
channels_last_3d = memory_format("channels_last_3d", "channels_last", 5)


def order_named(format: Any, ndim: int) -> str | None:
    """The order of a format for a tensor of ndim dimensions; None keeps the input's.

    Raises: TypeError if it is not a torch.memory_format; RuntimeError if channels_last meets a
    tensor that has not 4 dimensions (channels_last_3d: 5).
    """
    if format is None:
        return None
    if not isinstance(format, memory_format):
        raise TypeError(
            f"argument 'memory_format' must be torch.memory_format, not {type(format).__name__}"
        )
    if format.ndim not in (None, ndim):
        name = format._name
        raise RuntimeError(f"required rank {format.ndim} tensor to use {name} format")
    return format.order
