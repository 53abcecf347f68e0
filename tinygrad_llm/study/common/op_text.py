"""What an op's class says in words: the names of its inputs."""

from __future__ import annotations

from ...autograd.engine import Op
from ...tensor import shapes

__all__ = ["input_name"]


def input_name(op: Op, i: int) -> str:
    """What the op's signature calls input i; "input 3" beyond it."""
    inputs = shapes.parse(op.signature)[0]
    variadic = op.name in ("cat", "einsum")
    return inputs[i].name if i < len(inputs) and not variadic else f"input {i}"
