"""grad_fn.next_functions: from an op to those that made its inputs, and so to the leaves.

Tools that draw a graph follow it.
"""

from __future__ import annotations

from typing import Any

from ..autograd.engine import Op
from ..tensor import Tensor
from ..tensor.grad_fn_names import named


class AccumulateGrad:
    """The entry for a leaf in next_functions: a gradient that arrives is added to `variable.grad`.

    Two of them are equal if they are entries for the same leaf.
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

    def name(self) -> str:
        """What PyTorch calls it."""
        return "torch::autograd::AccumulateGrad"


def _next_functions(op: Op) -> tuple:
    """For each input the op that made it and which of its outputs it was, as (op, i).

    For a leaf it is (AccumulateGrad, 0), for an input that gets no gradient (None, 0).
    """
    functions: list[tuple[Any, int]] = []
    for edge in op.edges:
        if edge is None:
            functions.append((None, 0))
        elif edge.output is None:
            functions.append((AccumulateGrad(edge.target), 0))
        else:
            functions.append((named(edge.target, shape=edge.shape), edge.output))
    return tuple(functions)


setattr(Op, "next_functions", property(_next_functions))  # noqa: B010  it has no such field
