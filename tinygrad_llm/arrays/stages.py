"""What a decoder computes for a few new tokens, as a list of stages: plain data.

layers.step reads a model into such a list, and ops/loops/decoding runs it. A stage names the arrays
that it reads and writes; they stay where they are from token to token.

Shapes: R = B·T new tokens, C channels, H query heads, KV heads of keys and values, D head_dim,
S keys.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["ACTIVATIONS", "Add", "Attend", "Gated", "Linear", "Norm", "Weights"]

# Of a Linear or Gated: none, GELU in tanh form, SiLU, ReLU, exact GELU.
ACTIVATIONS = {"": 0, "gelu tanh": 1, "silu": 2, "relu": 3, "gelu": 4}


class Norm(NamedTuple):
    """y = w·(x − μ)/√(σ² + ε) + b, or y = (offset + w)·x/√(mean(x²) + ε), in groups of channels.

    x, y     arrays (R, ...), perhaps the same one
    gain, shift   w and b (n), or None
    is_rms   which of the two
    add      whether it is added to y
    start, groups, step   where the first group begins in a row, how many, and how far apart
    """

    x: Any
    y: Any
    gain: Any
    shift: Any
    eps: float
    n: int
    offset: float = 0.0
    is_rms: bool = True
    add: bool = False
    start: int = 0
    groups: int = 1
    step: int = 0


class Weights(NamedTuple):
    """A matrix (N, K): floats in row order, or packed as ops/loops/packed.py says.

    kind       "floats", "bfloat16", "bits4", "bits8" or "nf4"
    codes      (N, K) floats or bfloat16, or the codes of groups of 32 rows
    scales, offsets   (G, K/block, 32), float16 or float32; None with floats, or without offsets
    block      columns that share a scale
    middle     what is subtracted from codes
    table      the 16 numbers that the codes of nf4 stand for
    """

    kind: str
    shape: tuple[int, int]
    codes: Any
    scales: Any = None
    offsets: Any = None
    block: int = 1
    middle: float = 0.0
    table: Any = None


class Linear(NamedTuple):
    """y = f(W·x + b), or y += W·x + b: x (R, K), y (R, columns), from column `start` on."""

    x: Any
    y: Any
    weights: Weights
    bias: Any = None
    activation: int = 0
    add: bool = False
    start: int = 0


class Gated(NamedTuple):
    """y = f(h[:, :n])·h[:, n:]: h (R, 2n), y (R, n)."""

    h: Any
    y: Any
    activation: int


class Add(NamedTuple):
    """y += x: (R, C)."""

    x: Any
    y: Any


class Attend(NamedTuple):
    """Attention of new tokens; their keys and values go into the cache.

    qkv      (B, T, heads + 2·KV, D), heads = H, or 2·H with a gate behind each query
    y        (B, T, H, D)
    cos, sin (B, T, pairs), None without rotary positions
    part     which part of the model's cache
    """

    qkv: Any
    y: Any
    n_heads: int
    n_kv_heads: int
    head_dim: int
    gate: bool
    cos: Any
    sin: Any
    interleaved: bool
    window: int | None
    scale: float
    softcap: float | None
    part: int
