"""Where a tensor stands, in the graph and in memory, with PyTorch's names.

`loss.grad_fn.next_functions` leads from an op to those that made its inputs, and so to the leaves:
what tools that draw a graph walk along. `storage_offset` and `untyped_storage` tell which tensors
show the same memory.
"""

from __future__ import annotations

from typing import Any

from ..arrays.memory import address, storage_of
from ..autograd.engine import LEAF, Op
from ..tensor import Tensor
from .method import method

__all__ = ["AccumulateGrad", "UntypedStorage"]


class AccumulateGrad:
    """What stands for a leaf in next_functions: what arrives there is added to `variable.grad`.

    Two of them are equal if they stand for the same leaf.
    """

    next_functions: tuple = ()

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self) -> int:
        return id(self.variable)

    def __repr__(self) -> str:
        return "<AccumulateGrad>"


def _next_functions(op: Op) -> tuple:
    """For each input the op that made it and which of its outputs it was, as (op, i).

    A leaf is represented by AccumulateGrad, an input that gets no gradient by None.
    """
    functions: list[tuple[Any, int]] = []
    for edge in op.edges:
        if edge is None:
            functions.append((None, 0))
        elif edge.output == LEAF:
            functions.append((AccumulateGrad(edge.target), 0))
        else:
            functions.append((edge.target, edge.output))
    return tuple(functions)


setattr(Op, "next_functions", property(_next_functions))  # noqa: B010  it has no such field


class UntypedStorage:
    """The memory behind a tensor and all its views, as bytes; keeps it alive."""

    def __init__(self, array: Any, device: Any) -> None:
        self._array = array
        self.device = device

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return address(self._array)

    def nbytes(self) -> int:
        """How many bytes there are."""
        return int(self._array.nbytes)

    size = __len__ = nbytes

    def __repr__(self) -> str:
        return f"[UntypedStorage(device={self.device}) of size {self.nbytes()}]"


@method
def untyped_storage(input: Tensor) -> UntypedStorage:
    """The memory that the tensor shows a part of: two tensors share it if data_ptr() is equal."""
    return UntypedStorage(storage_of(input.array), input.device)


@method
def storage_offset(input: Tensor) -> int:
    """How many elements lie before the tensor's first in its storage."""
    if not input.array.size:
        return 0
    before = address(input.array) - address(storage_of(input.array))
    return before // input.array.itemsize
