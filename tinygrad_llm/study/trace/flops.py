"""The floating-point operations of matrix products, from the shapes that an op was given.

A product (n, k) @ (k, m) takes n·k·m multiplications and as many additions: 2·n·k·m. Element-wise
work is not counted: its cost is memory traffic, not arithmetic. The selective scan is an exception:
what it does with the numbers that its channels keep stands in place of attention's products.

Two counts. *By convention*, as papers count: every query with every key, the masked half too, and
backward twice forward. *Executed*: what the op did. Attention skips blocks that are wholly masked
(less) and computes its scores again in backward (more); a gradient that nobody needs is not
computed; the head with its loss computes its gradients in forward already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...arrays.attention_blocks import Band, slices

__all__ = ["conventional_flops", "executed_flops", "product_flops"]

_ATTENTION = "scaled_dot_product_attention"
_RECURRENT = ("gated_delta_rule", "selective_scan")


def product_flops(
    name: str, inputs: Sequence[Any], outputs: Sequence[tuple[int, ...]], options: Mapping[str, Any]
) -> int:
    """Floating-point operations of an op's forward; 0 for an op without matrix products.

    name       the op's name
    inputs     the shapes of its inputs, None for an input that is not an array
    outputs    the shapes of its outputs
    options    the options of the call

    Of attention the pairs of a query and a key that it sees. Backward takes twice as many where
    both factors want a gradient.
    """
    if name in ("linear", "linear_cross_entropy"):  # x (..., I), w (O, I)
        return 2 * math.prod(inputs[0]) * inputs[1][0]
    if name == "linear_gelu_linear":  # x (..., I), w (F, I), b, v (O, F)
        hidden, last = inputs[1][0], inputs[3][0]
        return 2 * math.prod(inputs[0][:-1]) * hidden * (inputs[0][-1] + last)
    if name == "matmul":  # a (..., N, K), b (..., K, M)
        return 2 * math.prod(outputs[0]) * inputs[0][-1]
    if name == "grouped_mm":  # rows (N, K), matrices (E, K, M): each row meets one
        return 2 * math.prod(inputs[0]) * inputs[1][-1]
    if name == "conv1d":  # y (B, O, T), w (O, I/groups, taps)
        return 2 * math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if name == "gated_delta_rule":  # q (B, H, T, K), v (B, H, T, D): predict, write, read
        return 6 * math.prod(inputs[0]) * inputs[2][-1]
    if name == "selective_scan":  # x (B, D, T), A (D, N): see layers.mamba
        return 7 * math.prod(inputs[0]) * inputs[2][-1]
    if name == _ATTENTION:  # q (..., L, E), k (..., S, E), v (..., S, D)
        q, k, v = inputs[:3]
        n, m = q[-2], k[-2]
        pairs = n * m
        if options.get("is_causal"):  # query i sees keys 0 … i
            band = _band(n, m, options)
            keys = (band.keys_of(slice(i, i + 1)) for i in range(n))
            pairs = sum(max(0, seen.stop - seen.start) for seen in keys)
        return 2 * math.prod(q[:-2]) * pairs * (q[-1] + v[-1])
    return 0


def _band(n: int, m: int, options: Mapping[str, Any]) -> Band:
    """Which of m keys each of n queries sees."""
    causal, offset = bool(options.get("is_causal")), options.get("offset", 0)
    return Band(causal, offset, options.get("window"), n, m)


def conventional_flops(
    name: str, inputs: Sequence[Any], outputs: Sequence[tuple[int, ...]], options: Mapping[str, Any]
) -> int:
    """product_flops, but attention with every query and key; with a window min(S, window) keys."""
    if name != _ATTENTION:
        return product_flops(name, inputs, outputs, options)
    q, k, v = inputs[:3]
    keys = min(k[-2], options.get("window") or k[-2])
    return 2 * math.prod(q[:-1]) * keys * (q[-1] + v[-1])


def executed_flops(
    name: str, inputs: Sequence[Any], outputs: Sequence[tuple[int, ...]],
    options: Mapping[str, Any], needs: Sequence[bool],
) -> tuple[int, int]:  # fmt: skip
    """What the op executes, forward and backward; needs: whether each input wants a gradient."""
    forward = product_flops(name, inputs, outputs, options)
    needed = sum(map(bool, needs[:2]))
    if name == "linear_cross_entropy":
        return forward * (1 + needed), 0
    if name != _ATTENTION:
        return forward, forward * (2 if name in _RECURRENT else needed)
    q, k, v = inputs[:3]
    (n, E), (m, D), heads = q[-2:], (k[-2], v[-1]), math.prod(q[:-2])
    band = _band(n, m, options)
    rows = ((part, band.keys_of(part)) for part in slices(n))
    ahead = sum(_length(part) * _length(keys) for part, keys in rows)
    columns = ((part, band.rows_of(part)) for part in slices(m))
    back = sum(_length(part) * _length(queries) for part, queries in columns)
    # scores and y; scores again, ∂L/∂p, ∂L/∂v, ∂L/∂q, ∂L/∂k
    return 2 * heads * ahead * (E + D), 2 * heads * back * (3 * E + 2 * D) if needed else 0


def _length(part: slice) -> int:
    return max(0, part.stop - part.start)
