"""Part: the rows of a tensor that this rank has, for a file that all ranks write together.

One rank writes the file with room for the whole tensors (safetensors.save_file), and then every
rank its own rows into it (safetensors.write_parts): nothing is sent, and no rank has the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = ["Part"]


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a tensor.

    array   the rows that are here
    start   the number of the first of them
    shape   of the whole tensor
    """

    array: Any
    start: int
    shape: tuple[int, ...]

    @property
    def dtype(self) -> Any:
        """The dtype of the whole tensor, as of its rows."""
        return self.array.dtype

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return int(self.array.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return math.prod(self.shape) * self.itemsize

    @property
    def offset(self) -> int:
        """Bytes of the whole tensor before these rows."""
        return self.start * math.prod(self.shape[1:]) * self.itemsize
