"""Attention in tiles: all L x S scores never exist at the same time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays.capture import capturing
from ...arrays.devices import settings
from ..attention import ScaledDotProductAttention
from . import cudnn_attention, launch
from .elementwise import keep_mask
from .launch import SHORT, Twin, contiguous, empty, kernel, null


def attention_tiles(mode: int, d: int, name: str) -> tuple[int, int]:
    """(rows of a tile, warps of a block), the fastest as measured on an H100."""
    if d > 64:
        return 32, 8
    if mode == 0:
        return (32 if name == "back_kv" else 64), 8
    return (32 if mode == 1 and name == "back_kv" else 64), 4


@functools.cache
def attention_call(
    gpu: int, name: str, mode: int, d: int, mask: int, dropout: int
) -> tuple[Any, int, int, int]:  # fmt: skip
    """(kernel for a GPU, rows of a block, threads of a block, bytes of shared memory). The memory
    holds two tiles of each of two operands."""
    tile, warps = attention_tiles(mode, d, name)
    defines = {"MODE": mode, "D": d, "N": tile, "WARPS": warps, "MASK": mask, "DROPOUT": dropout}
    call = kernel("attention", f"attention_{name}", *[f"{k}={v}" for k, v in defines.items()])
    shared = 4 * tile * (2 * (d + 8) if mode == 2 else 4 * (d + 4))
    if shared > 48 << 10:
        call.max_dynamic_shared_size_bytes = shared
    return call, 16 * warps, 32 * warps, shared


def aligned(x: Any) -> Any:
    """x (B, H, T, D), copied unless its channels are dense and its rows start at 16 bytes."""
    size, steps = x.itemsize, x.strides
    is_aligned = steps[-1] == size and all(s % 16 == 0 for s in steps[:-1]) and x.data.ptr % 16 == 0
    return x if is_aligned else contiguous(x)


def strided(x: Any) -> tuple:
    """The array and its strides over batch, head and row, in elements."""
    return (x, *(s // x.itemsize for s in x.strides[:3]))


class DrawnLater:
    """Dropout's mask of attention weights (..., H, L, S), True with probability `share`.

    The kernels draw it from a seed where they need it; `array()` returns it for other ops.
    """

    def __init__(self, shape: tuple[int, ...], share: float, draw_seed: Callable[[], int]) -> None:
        self.shape, self.share, self.draw_seed = shape, share, draw_seed

    def seed(self) -> tuple[Any, int]:
        """(None, a seed), or in a CUDA graph (the array that holds each replay's seed, 0)."""
        if capturing.graph is None:
            return None, self.draw_seed()
        return capturing.graph.live("int64", 1, lambda: [self.draw_seed()]), 0

    def array(self) -> Any:
        """The mask as an array of booleans."""
        return keep_mask(self.shape, self.share, self.draw_seed)


def placed(x: Any, shape: tuple[int, int, int, int]) -> tuple:
    """An array broadcast to (B, H, L, S), and its four strides in elements; null for None."""
    if x is None:
        return null(None), 0, 0, 0, 0
    x = launch.xp.broadcast_to(x, shape)
    return (x, *(s // x.itemsize for s in x.strides))


def takes_mask(mask: Any, q: Any) -> bool:
    """Whether the kernels serve the mask: booleans or numbers of q's dtype, or None."""
    return mask is None or (
        hasattr(type(mask), "__cuda_array_interface__") and mask.dtype in (np.bool_, q.dtype)
        and mask.ndim <= q.ndim
    )  # fmt: skip


class CudaAttention(Twin, ScaledDotProductAttention):
    """Saves q, k, v, y, l, mask and keep; a mask's gradient is left to the op."""

    @classmethod
    def takes(
        cls, q, k, v, mask=None, keep=None, is_causal=False, scale=None, dropout_p=0.0, **band
    ):  # fmt: skip
        dense_row = 16 // q.itemsize
        return (
            not band  # an offset, a window and a softcap are left to the op
            and takes_mask(mask, q) and q.ndim in (3, 4) and q.ndim == k.ndim == v.ndim
            and q.dtype in SHORT and q.dtype == k.dtype == v.dtype
            and q.shape[-1] == v.shape[-1] <= 128 and q.shape[-1] % dense_row == 0
            and min(q.size, k.size) > 0 and q.shape[:-3] == k.shape[:-3]
        )  # fmt: skip

    def forward(self, q, k, v, mask=None, keep=None, **options):  # type: ignore[override]
        needs_mask = len(self.needs) > 3 and self.needs[3]
        taken = self.takes(q, k, v, mask, keep, **options)
        if isinstance(keep, DrawnLater) and (needs_mask or not taken):
            keep = keep.array()
        if needs_mask:
            return ScaledDotProductAttention.forward(self, q, k, v, mask, keep, **options)
        return super().forward(q, k, v, mask, keep, **options)

    def forward_fast(
        self, q, k, v, mask=None, keep=None, is_causal=False, scale=None, dropout_p=0.0
    ):  # fmt: skip
        self.q_shape, self.k_shape, self.causal = q.shape, k.shape, int(is_causal)
        self.scale = float(q.shape[-1] ** -0.5 if scale is None else scale)
        q, k, v = (aligned(a if a.ndim == 4 else a[None]) for a in (q, k, v))  # (B, H, T, D)
        (B, H, L, D), (_, K, S, _) = q.shape, k.shape
        mode = 2 if q.dtype.itemsize == 2 else int(settings.tf32)
        drawn = isinstance(keep, DrawnLater)
        self.mode = (
            mode, 64 if D <= 64 else 128,
            0 if mask is None else 1 if mask.dtype == np.bool_ else 2,
            0 if keep is None else 1 if drawn else 2,
        )  # fmt: skip
        live, seed = keep.seed() if drawn else (None, 0)
        self.extras = (
            *placed(mask, (B, H, L, S)), *placed(None if drawn else keep, (B, H, L, S)),
            null(live), seed, 1.0 - float(dropout_p),
        )  # fmt: skip
        y = empty((B, L, H, D), q.dtype).transpose(0, 2, 1, 3)
        log_sum = empty((B, H, L), np.float32)
        self.plain = mask is None and keep is None
        if not (self.plain and cudnn_attention.forward(q, k, v, y, log_sum, *self.how())):
            args = (*strided(q), *strided(k), *strided(v), *strided(y), log_sum, H, H // K, L, S, D)
            self.run("forward", L, B * H, *args, self.causal, self.scale, *self.extras)
        self.saved = q, k, v, y, log_sum, mask, None if drawn else keep
        return y if len(self.q_shape) == 4 else y[0]

    def how(self) -> tuple[bool, float]:
        return bool(self.causal), self.scale

    def run(self, name: str, rows: int, heads: int, *args: Any) -> None:
        call, at_a_time, threads, shared = attention_call(launch.gpu(), name, *self.mode)
        call((-(-rows // at_a_time), heads), (threads,), args, shared_mem=shared)

    def backward_fast(self, g):
        q, k, v, y, log_sum, *_ = self.saved
        (B, H, L, D), (_, K, S, _) = q.shape, k.shape
        g = aligned(g if g.ndim == 4 else g[None])
        if L == S:  # adjacent, so that Split's backward need not copy them (see the op's docstring)
            every = empty((B, L, H + 2 * K, D), q.dtype).transpose(0, 2, 1, 3)
            gq, gk, gv = every[:, :H], every[:, H : H + K], every[:, H + K :]
        else:
            gq, gk, gv = (
                empty((B, a.shape[2], a.shape[1], D), q.dtype).transpose(0, 2, 1, 3)
                for a in (q, k, v)
            )
        if not (
            self.plain and all(self.needs[:3])
            and cudnn_attention.backward(q, k, v, y, g, log_sum, (gq, gk, gv), *self.how())
        ):  # fmt: skip
            self.run_backward(g, gq, gk, gv)
        grads = tuple(a if len(self.q_shape) == 4 else a[0] for a in (gq, gk, gv))
        return *(a if n else None for a, n in zip(grads, self.needs)), None, None  # noqa: B905

    def run_backward(self, g, gq, gk, gv):
        q, k, v, y, log_sum, *_ = self.saved
        (B, H, L, D), (_, K, S, _) = q.shape, k.shape
        delta = empty((B, H, L), np.float32)
        call = attention_call(launch.gpu(), "delta", *self.mode)[0]
        call((-(-L // 8), B * H), (256,), (*strided(g), *strided(y), delta, H, L, D))
        inputs = (*strided(q), *strided(k), *strided(v), *strided(g))
        others = log_sum, delta, H, H // K, L, S, D, self.causal, self.scale, *self.extras
        if self.needs[0]:
            self.run("back_q", L, B * H, *inputs, *strided(gq), *others)
        if self.needs[1] or self.needs[2]:
            self.run("back_kv", S, B * K, *inputs, *strided(gk), *strided(gv), *others)
