"""The stages (arrays.stages) of a decoder's blocks: what compiled loops run for a few new tokens.

Shapes: B batch, T new tokens, C channels, H query heads, KV heads of keys, D head_dim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..arrays.stages import ACTIVATIONS, Add, Attend, Gated, Norm, Weights
from ..arrays.stages import Linear as LinearStage
from ..nn.activation import GELU, ReLU, SiLU
from ..nn.linear import Identity, Linear
from ..nn.module import Module
from ..nn.norm import LayerNorm, RMSNorm
from ..tensor import Tensor, dtypes, wrap
from .attention import Attention
from .block import Block
from .feed_forward import FeedForward, GatedFeedForward
from .half_weights import HalfLinear
from .norm import OffsetRMSNorm
from .quantized import QuantizedLinear

__all__ = ["is_packed", "largest_weight", "matrix_of"]

# What an Attention of these loops may have; with anything else it is called as a module.
KNOWN = {
    "n_heads", "n_kv_heads", "head_dim", "rotary", "window", "softcap", "scale", "causal", "cross",
    "dropout", "gate", "qk_norm_flat", "q_norm", "k_norm", "training", "qkv", "out_proj",
    "position_bias",
}  # fmt: skip
NORMS = {LayerNorm: False, RMSNorm: True, OffsetRMSNorm: True}  # whether it is an RMS norm


class _NotServed(Exception):
    """The loops do not know this layer."""


def matrix_of(linear: Any) -> Any:
    """The array with most of the weights of a Linear, in any format; None of other modules."""
    if type(linear) is QuantizedLinear:
        arrays = linear.matrix.arrays
        return max(arrays.values(), key=lambda array: array.size)
    if type(linear) is HalfLinear:
        return linear.half_weight.array
    return linear.weight.array if type(linear) is Linear else None


def largest_weight(block: Module) -> Any:
    """The largest matrix of a block, by whose size it is decided whether loops are worth it."""
    arrays = [matrix_of(m) for m in block.modules()]
    return max((a for a in arrays if a is not None), key=lambda a: a.size, default=None)


def is_packed(block: Module) -> bool:
    """Whether the matrices of a block are of few bits, which loops read faster than BLAS floats."""
    return any(type(m) is QuantizedLinear and m.matrix.packed() for m in block.modules())


class Called:
    """A part of a block that is called as a module, y (B·T, C) = part(x (B·T, C))."""

    def __init__(self, part: Module, x: Any, y: Any, block: Block, cache: int | None) -> None:
        self.part, self.x, self.y, self.block, self.cache = part, x, y, block, cache

    def run(self, cache: Any, options: dict[str, Any], B: int, T: int) -> None:
        """Call it; cache: the model's, options: what a Block gets."""
        x = wrap(self.x[: B * T].reshape(B, T, -1).copy())  # (B·T, C) -> (B, T, C)
        named: dict[str, Any] = {}
        if self.cache is not None:
            mask = self.block.att_mask(options.get("mask"), options.get("real"))
            named = {"cache": cache.layers[self.cache], "mask": mask,
                     "positions": options.get("positions")}  # fmt: skip
        y: Tensor = self.part(x, **named)
        self.y[: B * T] = y.array.reshape(B * T, -1)  # (B, T, C) -> (B·T, C)


class Reader:
    """The stages of blocks for (B, T) new tokens, and the arrays between them.

    x: the tokens (B·T, C), before the first block and after the last
    angles: a Rotary, its cos and its sin (B, T, pairs) each, for each Rotary of the blocks
    parts: which parts of the cache the stages use; n_known: matrices that the stages read
    """

    def __init__(self, blocks: Sequence[Block], B: int, T: int, dtype: Any) -> None:
        self.B, self.T, self.R, self.dtype = B, T, B * T, dtype
        self.stages: list[Any] = []
        self.angles: list[tuple[Any, Any, Any]] = []
        self.parts: list[int] = []
        self.n_known = 0
        self._memory: dict[tuple[str, int], Any] = {}
        C = _channels(blocks[0])
        self.x = np.zeros((self.R, C), dtype)
        self.z, self.y = np.zeros((self.R, C), dtype), np.zeros((self.R, C), dtype)
        for i, block in enumerate(blocks):
            self.block(block, i)

    def runs(self) -> Iterator[Any]:
        """Lists of stages, and between them what is Called."""
        some: list[Any] = []
        for stage in self.stages:
            if isinstance(stage, Called):
                if some:
                    yield some
                yield stage
                some = []
            else:
                some.append(stage)
        if some:
            yield some

    def memory(self, name: str, n: int) -> Any:
        """An array (R, n) that blocks share."""
        if (name, n) not in self._memory:
            self._memory[name, n] = np.zeros((self.R, n), self.dtype)
        return self._memory[name, n]

    def block(self, block: Block, i: int) -> None:
        """x = x + f(x) for both parts, with the norms at their places.

        Raises: LookupError if the loops do not know the place or the kind of a norm.
        """
        place, x, z = block.norm_place, self.x, self.z
        if place == "parallel":
            self.norm(block.norm1, x, z)
            self.part(block, block.att, z, x, i)
            self.part(block, block.ff, z, x, None)
            return
        if place not in ("pre", "sandwich", "after"):
            raise LookupError(f"norm_place {place}")
        for name, part, cache in (("norm1", block.att, i), ("norm2", block.ff, None)):
            if place == "after":
                self.part(block, part, x, self.y, cache, add=False)
                self.norm(getattr(block, name), self.y, x, add=True)
                continue
            self.norm(getattr(block, name), x, z)
            if place == "pre":
                self.part(block, part, z, x, cache)
            else:
                self.part(block, part, z, self.y, cache, add=False)
                self.norm(getattr(block, f"{name}_after"), self.y, x, add=True)

    def part(
        self, block: Block, part: Module, x: Any, y: Any, cache: int | None, add: bool = True
    ) -> None:
        """y = part(x), or y += part(x): by stages if the loops know it, or called."""
        before = len(self.stages)
        try:
            if cache is None:
                self.feed_forward(part, x, y, add)
            else:
                self.attention(part, x, y, cache, add)
        except _NotServed:
            del self.stages[before:]
            if not add:
                self.stages.append(Called(part, x, y, block, cache))
                return
            result = self.memory("called", y.shape[1])
            self.stages += [Called(part, x, result, block, cache), Add(result, y)]

    # ---------------------------------------------------------------------------------- the layers
    def norm(self, norm: Any, x: Any, y: Any, add: bool = False, **place: int) -> None:
        """y = norm(x), or y += norm(x); place: which groups of channels, see stages.Norm.

        Raises: LookupError or _NotServed (of queries and keys) if the loops do not know it.
        """
        if type(norm) not in NORMS or len(norm.normalized_shape) != 1:
            raise _NotServed if place else LookupError("a norm that the loops do not know")
        (n,) = norm.normalized_shape
        eps = norm.eps if norm.eps is not None else float(np.finfo(self.dtype).eps)
        weight, bias = norm.weight, getattr(norm, "bias", None)
        gain, shift = (None if p is None else self.array(p.array) for p in (weight, bias))
        offset = float(getattr(norm, "offset", 0.0))
        is_rms = NORMS[type(norm)]
        self.stages.append(Norm(x, y, gain, shift, float(eps), n, offset, is_rms, add, **place))

    def linear(self, linear: Any, x: Any, y: Any, activation: int = 0, add: bool = False) -> None:
        """y = f(W·x + b), or y += W·x + b."""
        start = 0
        bias = None if linear.bias is None else self.array(linear.bias.array)
        for weights in self.weights(linear):
            N = weights.shape[0]
            own = None if bias is None else bias[start : start + N]
            self.stages.append(LinearStage(x, y, weights, own, activation, add, start))
            start += N
            self.n_known += 1

    def weights(self, linear: Any) -> list[Weights]:
        """The matrix of a Linear, or the matrices below each other of a QuantizedLinear.

        Raises: _NotServed if the loops do not know it.
        """
        if type(linear) is Linear:
            w = self.array(linear.weight.array)
            return [Weights("floats", w.shape, w)]
        if type(linear) is HalfLinear and linear.half_weight.dtype is dtypes.bfloat16:
            w = self.array(linear.half_weight.array, linear.half_weight.array.dtype)
            return [Weights("bfloat16", w.shape, w)]
        if type(linear) is QuantizedLinear and self.dtype.char == "f":
            packed = linear.matrix.packed()
            if packed:
                return packed
        raise _NotServed

    def array(self, array: Any, dtype: Any = None) -> Any:
        """The array, if a loop can take it: of this dtype, or that of the tokens.

        Raises: _NotServed if the loops do not know it.
        """
        flags: Any = getattr(array, "flags", None)
        if type(array) is not np.ndarray or array.dtype != (dtype or self.dtype):
            raise _NotServed
        if not (flags.c_contiguous and flags.aligned):
            raise _NotServed
        return array

    def feed_forward(self, ff: Any, x: Any, y: Any, add: bool) -> None:
        """FeedForward and GatedFeedForward.

        Raises: _NotServed if the loops do not know it.
        """
        if type(ff) is FeedForward and len(ff.layers) == 3:
            up, f, down = ff.layers
            h = self.memory("hidden", up.out_features)
            self.linear(up, x, h, _activation(f))
        elif type(ff) is GatedFeedForward:
            up, down = ff.gate_up, ff.down
            both = self.memory("both", up.out_features)
            h = self.memory("hidden", up.out_features // 2)
            self.linear(up, x, both)
            self.stages.append(Gated(both, h, _activation(ff.activation)))
        else:
            raise _NotServed
        self.linear(down, h, y, 0, add)

    def attention(self, att: Module, x: Any, y: Any, part: int, add: bool) -> None:
        """An Attention with its cache; part: which of the model's.

        Raises: _NotServed if the loops do not know it.
        """
        if type(att) is not Attention or not att.causal or att.cross:
            raise _NotServed
        if {name for name in vars(att) if not name.startswith("_")} - KNOWN:
            raise _NotServed
        if att.position_bias is not None or att.sinks is not None:
            raise _NotServed
        H, KV, D = att.n_heads, att.n_kv_heads, att.head_dim
        heads = 2 * H if att.gate else H
        qkv = self.memory("qkv", (heads + 2 * KV) * D)
        context = self.memory("context", H * D)
        self.linear(att.qkv, x, qkv)
        if att.q_norm is not None and att.k_norm is not None:
            if att.qk_norm_flat and att.gate:
                raise _NotServed
            keys = dict(start=heads * D, groups=KV, step=D)
            queries = dict(start=0, groups=H, step=heads // H * D)
            if att.qk_norm_flat:
                keys["groups"] = queries["groups"] = 1
            self.norm(att.q_norm, qkv, qkv, False, **queries)
            self.norm(att.k_norm, qkv, qkv, False, **keys)
        cos, sin = self.turns(att.rotary)
        scale = 1.0 / math.sqrt(D) if att.scale is None else float(att.scale)
        B, T = self.B, self.T
        self.stages.append(Attend(
            qkv.reshape(B, T, heads + 2 * KV, D), context.reshape(B, T, H, D), H, KV, D,
            bool(att.gate), cos, sin, att.rotary is not None and att.rotary.interleaved,
            att.window, scale, att.softcap, part,
        ))  # fmt: skip
        self.parts.append(part)
        self.linear(att.out_proj, context, y, 0, add)

    def turns(self, rotary: Any) -> tuple[Any, Any]:
        """Where the cos and sin of a Rotary stand, (B, T, pairs); None without one."""
        if rotary is None:
            return None, None
        for known, cos, sin in self.angles:
            if known is rotary:
                return cos, sin
        pairs = rotary.angles(wrap(np.arange(1)))[0].shape[-1]
        cos, sin = (np.zeros((self.B, self.T, pairs), self.dtype) for _ in range(2))
        self.angles.append((rotary, cos, sin))
        return cos, sin


def _channels(block: Block) -> int:
    """C, from the first norm of a block.

    Raises: LookupError if the loops do not know the norm.
    """
    shape = getattr(block.norm1, "normalized_shape", None)
    if shape is None or len(shape) != 1:
        raise LookupError("a norm that the loops do not know")
    return int(shape[0])


def _activation(f: Module) -> int:
    """The number of an activation.

    Raises: _NotServed if the loops do not know it.
    """
    if type(f) is GELU:
        return ACTIVATIONS["gelu tanh" if f.approximate == "tanh" else "gelu"]
    names = {Identity: "", SiLU: "silu", ReLU: "relu"}
    if type(f) not in names:
        raise _NotServed
    return ACTIVATIONS[names[type(f)]]
