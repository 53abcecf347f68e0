"""A few new tokens through blocks by compiled loops, where the layers are ones that those know.

`through` reads what the layers of a block are, once for a cache, and each later token checks only
that nothing has changed: the same parameters and submodules, no hooks, no observers. A block with
a layer that is not known here (another class, an adapter, a quantised matrix) takes the ordinary
path.

Shapes: B batch, T new tokens, C channels, S keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.twins import cpu_twins
from ..autograd import engine
from ..autograd.grad_mode import is_grad_enabled
from ..nn.activation import GELU, ReLU, SiLU
from ..nn.linear import Identity, Linear
from ..nn.module import Module
from ..nn.norm import LayerNorm, RMSNorm
from ..tensor import Tensor, dtypes, wrap
from .attention import Attention
from .block import Block
from .cache import AttentionCache
from .feed_forward import FeedForward, GatedFeedForward
from .norm import OffsetRMSNorm

__all__ = ["BlockPlan", "through"]

MOST_ROWS = 8  # new tokens, B·T; more are faster as one product of BLAS
# What an Attention of these loops may have; with anything else it takes the ordinary path.
KNOWN = {
    "n_heads", "n_kv_heads", "head_dim", "rotary", "window", "softcap", "scale", "causal", "cross",
    "dropout", "gate", "qk_norm_flat", "q_norm", "k_norm", "training", "qkv", "out_proj",
    "position_bias",
}  # fmt: skip

Norm = tuple[Any, Any, float, float, int]  # gain (C), shift (C), ε, offset, kind
Weights = tuple[Any, Any]  # matrix (out, in), bias (out)
NO_NORM = 0


class _NotServed(Exception):
    """The loops do not know this layer."""


class BlockPlan(NamedTuple):
    """What a block computes, as arrays and numbers."""

    n_heads: int
    n_kv_heads: int
    head_dim: int
    window: int | None
    scale: float
    rotary: Any
    gated: bool
    activation: int  # 0: none, 1: GELU (tanh), 2: SiLU, 3: ReLU
    norm1: Norm
    qkv: Weights
    out: Weights
    norm1_after: Norm | None
    norm2: Norm
    up: Weights
    down: Weights
    norm2_after: Norm | None


class Plan:
    """The plans of all blocks for numbers of one dtype, and what they were read from."""

    def __init__(self, blocks: Sequence[Module], dtype: Any) -> None:
        self.dtype = dtype
        self.first = blocks[0]
        self.places: list[Any] = []  # a dict, a key, its object, its array
        self.hooks: list[Any] = []
        self.modules = [m for block in blocks for m in block.modules()]
        for module in self.modules:
            hooks = (
                module._forward_hooks, module._forward_pre_hooks, module._backward_hooks,
                module._backward_pre_hooks,
            )  # fmt: skip
            self.hooks += hooks
            if "forward" in vars(module):
                raise _NotServed
            for name in module._kinds:  # its parameters and submodules are attributes
                value = vars(module)[name]
                array = getattr(value, "array", None)
                self.places.append((vars(module), name, value, array))
        self.dropping = [m for m in self.modules if getattr(m, "p", 0.0) or _rate(m)]
        self.blocks = [_block_plan(block, dtype) for block in blocks]
        self.decode: Any = getattr(cpu_twins(self.blocks[0].qkv[0]), "decode_block", None)

    def is_valid(self, blocks: Sequence[Module], dtype: Any) -> bool:
        """Whether it still says what these blocks compute."""
        if self.dtype != dtype or len(blocks) != len(self.blocks) or blocks[0] is not self.first:
            return False
        if any(self.hooks) or any(m.training for m in self.dropping):
            return False
        for held, name, value, array in self.places:
            if held.get(name) is not value or (array is not None and value.array is not array):
                return False
        return cpu_twins(self.blocks[0].qkv[0]) is not None


def through(blocks: Any, x: Tensor, cache: Any, options: dict[str, Any]) -> Tensor | None:
    """x (B, T, C) through the blocks, with a models' Cache; None if the loops do not serve it.

    options: mask and positions, as Block takes them
    """
    mask, positions = options.get("mask"), options.get("positions")
    B, T, C = x.shape
    if not 0 < B * T <= MOST_ROWS or is_grad_enabled() or options.keys() - {"mask", "positions"}:
        return None
    if engine.observers or engine.start_observers or type(x.array) is not np.ndarray:
        return None
    if not len(blocks) or any(type(part) is not AttentionCache for part in cache.layers):
        return None
    if mask is not None and (mask.dtype is not dtypes.bool_ or mask.dim() != 4):
        return None
    blocks, dtype = list(blocks), x.array.dtype
    plan = cache.plan
    if plan is None or not plan.is_valid(blocks, dtype):
        plan = cache.plan = _plan(blocks, dtype)
    if plan is None or (mask is not None and mask.shape[1] != 1):
        return None
    past = cache.layers[0].length
    if past + T > cache.max_length or any(part.length != past for part in cache.layers):
        return None  # the ordinary path says what is wrong
    seen = _seen(mask, B, T, past)
    y = np.array(x.array.reshape(B * T, C))  # (B, T, C) -> (B·T, C), a copy
    angles = _angles(plan.blocks, positions, past, B, T, dtype)
    for one, part in zip(plan.blocks, cache.layers, strict=True):
        interleaved = one.rotary is not None and one.rotary.interleaved
        plan.decode(one, y, part, angles[id(one.rotary)], interleaved, seen)
    return wrap(y.reshape(B, T, C))  # (B·T, C) -> (B, T, C)


def _plan(blocks: Sequence[Module], dtype: Any) -> Plan | None:
    try:
        if any(m.training for m in blocks[0].modules() if getattr(m, "p", 0.0) or _rate(m)):
            return None
        plan = Plan(blocks, dtype)
    except _NotServed:
        return None
    return plan if plan.is_valid(blocks, dtype) else None


def _rate(module: Module) -> float:
    return module.dropout if isinstance(module, Attention) else 0.0


# ------------------------------------------------------------------------- the layers of a block
def _block_plan(block: Module, dtype: Any) -> BlockPlan:
    place = getattr(block, "norm_place", None)
    if not isinstance(block, Block) or type(block).forward is not Block.forward:
        raise _NotServed
    if type(block)._added is not Block._added or block.cross is not None:
        raise _NotServed
    if place not in ("pre", "sandwich", "after"):
        raise _NotServed
    att, ff = block.att, block.ff
    if type(att) is not Attention or not att.causal or att.cross or att.softcap is not None:
        raise _NotServed
    if getattr(att, "gate", False) or att.q_norm is not None or att.position_bias is not None:
        raise _NotServed
    if {name for name in vars(att) if not name.startswith("_")} - KNOWN:
        raise _NotServed
    up, down, act = _feed_forward(ff)
    C = att.qkv.in_features
    first, second = (_norm(getattr(block, name), C, dtype) for name in ("norm1", "norm2"))
    nothing: Norm = (first[0], first[1], 0.0, 0.0, NO_NORM)
    after: tuple[Norm | None, Norm | None] = (None, None)
    if place == "sandwich":
        after = (_norm(block.norm1_after, C, dtype), _norm(block.norm2_after, C, dtype))
    elif place == "after":
        after, (first, second) = (first, second), (nothing, nothing)
    scale = 1.0 / math.sqrt(att.head_dim) if att.scale is None else float(att.scale)
    return BlockPlan(
        att.n_heads, att.n_kv_heads, att.head_dim, att.window, scale, att.rotary,
        isinstance(ff, GatedFeedForward), act, first, _weights(att.qkv, dtype),
        _weights(att.out_proj, dtype), after[0], second, _weights(up, dtype),
        _weights(down, dtype), after[1],
    )  # fmt: skip


def _feed_forward(ff: Module) -> tuple[Module, Module, int]:
    """The two matrices of a feed forward, and the number of its activation."""
    if type(ff) is FeedForward and len(ff.layers) == 3:
        up, f, down = ff.layers
    elif type(ff) is GatedFeedForward:
        up, f, down = ff.gate_up, ff.activation, ff.down
    else:
        raise _NotServed
    kinds = {Identity: 0, SiLU: 2, ReLU: 3}
    if type(f) is GELU and f.approximate == "tanh":
        return up, down, 1
    if type(f) not in kinds:
        raise _NotServed
    return up, down, kinds[type(f)]


def _array(array: Any, dtype: Any) -> Any:
    """The array, if a loop can take it and it is large enough or loops take small ones."""
    flags: Any = getattr(array, "flags", None)
    if type(array) is not np.ndarray or array.dtype != dtype or dtype.char not in "fd":
        raise _NotServed
    if not (flags.c_contiguous and flags.writeable and flags.aligned):
        raise _NotServed
    return array


def _weights(linear: Module, dtype: Any) -> Weights:
    if type(linear) is not Linear:
        raise _NotServed
    w = _array(linear.weight.array, dtype)
    if cpu_twins(w) is None or getattr(cpu_twins(w), "decode_block", None) is None:
        raise _NotServed
    b = np.zeros(len(w), dtype) if linear.bias is None else _array(linear.bias.array, dtype)
    return w, b


def _norm(norm: Module, C: int, dtype: Any) -> Norm:
    kinds = {LayerNorm: 1, RMSNorm: 2, OffsetRMSNorm: 2}
    if type(norm) not in kinds or tuple(norm.normalized_shape) != (C,):
        raise _NotServed
    eps = norm.eps if norm.eps is not None else float(np.finfo(dtype).eps)
    weight, bias = norm.weight, getattr(norm, "bias", None)
    gain = np.ones(C, dtype) if weight is None else _array(weight.array, dtype)
    shift = np.zeros(C, dtype) if bias is None else _array(bias.array, dtype)
    return gain, shift, float(eps), float(getattr(norm, "offset", 0.0)), kinds[type(norm)]


# ------------------------------------------------------------------------ what blocks have shared
def _seen(mask: Tensor | None, B: int, T: int, past: int) -> Callable[[int], Any]:
    """A function of the first key in memory -> bool (B, T, keys in memory), the same for blocks."""
    made: dict[int, Any] = {}

    def seen(start: int) -> Any:
        if start not in made:
            if mask is None:
                made[start] = np.ones((B, T, past - start + T), bool)
            else:
                S = mask.shape[-1] if mask.shape[-1] != 1 else past + T
                full = np.broadcast_to(mask.array, (B, 1, T, S))[:, 0, :, start:]  # (B, T, S)
                made[start] = np.array(full, order="C")
        return made[start]

    return seen


def _angles(
    plans: Sequence[BlockPlan], positions: Tensor | None, past: int, B: int, T: int, dtype: Any
) -> dict[int, tuple[Any, Any]]:
    """For each Rotary of the blocks its cos and sin, (B, T, pairs); none: no pairs."""
    empty = np.empty((B, T, 0), dtype)
    angles: dict[int, Any] = {id(None): (empty, empty)}
    for plan in plans:
        if id(plan.rotary) not in angles:
            if positions is None:
                positions = wrap(np.arange(past, past + T))  # (T)
            both = plan.rotary.angles(positions, dtypes.of(dtype))
            angles[id(plan.rotary)] = tuple(
                np.array(np.broadcast_to(a.array, (B, T, a.shape[-1])), order="C") for a in both
            )  # (T or B, T, pairs) -> (B, T, pairs)
    return angles
