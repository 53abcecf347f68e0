"""The floating-point operations of matrix products, from the shapes that an op was given.

A product (n, k) @ (k, m) takes n·k·m multiplications and as many additions: 2·n·k·m. Element-wise
work is not counted: its cost is memory traffic, not arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["product_flops"]


def product_flops(
    name: str, inputs: Sequence[Any], outputs: Sequence[tuple[int, ...]], options: Mapping[str, Any]
) -> int:
    """Floating-point operations of an op's forward; 0 for an op without matrix products.

    name       the op's name
    inputs     the shapes of its inputs, None for an input that is not an array
    outputs    the shapes of its outputs
    options    the options of the call

    Backward takes twice as many where both factors want a gradient.
    """
    if name in ("linear", "linear_cross_entropy"):  # x (..., I), w (O, I)
        return 2 * math.prod(inputs[0]) * inputs[1][0]
    if name == "matmul":  # a (..., N, K), b (..., K, M)
        return 2 * math.prod(outputs[0]) * inputs[0][-1]
    if name == "scaled_dot_product_attention":  # q (..., L, E), k (..., S, E), v (..., S, D)
        q, k, v = inputs[:3]
        n, m = q[-2], k[-2]
        pairs = n * m
        if options.get("is_causal"):  # query i sees keys 0 … i
            pairs = sum(min(i + 1, m) for i in range(n))
        return 2 * math.prod(q[:-2]) * pairs * (q[-1] + v[-1])
    return 0
