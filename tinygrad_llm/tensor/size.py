"""Size: the shape of a tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

# What stands for sizes, or for dimensions: zeros(2, 3) and zeros((2, 3)) both have arguments of it.
SizeLike = SupportsIndex | Sequence[SupportsIndex]


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple that prints as PyTorch prints it and can count elements."""

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def numel(self) -> int:
        """How many elements a tensor of this shape has: the product, 1 for a 0-d tensor."""
        n = 1
        for size in self:
            n *= size
        return n

    def __getitem__(self, key: Any) -> Any:
        part = tuple.__getitem__(self, key)
        return Size(part) if isinstance(key, slice) else part

    def __add__(self, other: Any) -> Size:
        return Size(tuple(self) + tuple(other))
