"""Rotary positions: the angles by which a token's queries and keys are turned."""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..tensor import Tensor, dtypes, wrap

__all__ = ["rope_angles"]


def rope_angles(
    positions: Tensor, dim: int, base: float = 10000.0, dtype: Any = None
) -> tuple[Tensor, Tensor]:
    """(cos, sin) of position·base^(−2j/dim), j < dim/2: (..., dim/2) each, for nn.functional.rope.

    positions: (...), integers; dim: how many channels of a head are turned; base: θ of the paper
    dtype: of the result, the default dtype if None (the angles are computed in float32)
    Raises: ValueError if dim is odd. Su et al. (2021), "RoFormer", section 3.2.2.
    """
    if dim % 2:
        raise ValueError(f"rope_angles: dim is {dim}, must be even: it counts pairs")
    xp = xp_of(positions.array)
    frequency = 1.0 / (base ** (xp.arange(0, dim, 2).astype("float32") / dim))
    angle = positions.array.astype("float32")[..., None] * frequency
    kind = dtypes.numpy_dtype(dtype)
    return wrap(xp.cos(angle).astype(kind)), wrap(xp.sin(angle).astype(kind))
