"""Attention in tiles: L x S scores never exist at once."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ...backend import settings
from ..attention import ScaledDotProductAttention
from . import launch
from .launch import SHORT, Twin, contiguous, empty, kernel


def attention_tiles(mode: int, d: int, name: str) -> tuple[int, int]:
    """(rows of a tile, warps of a block), by measurement on an H100."""
    if d > 64:
        return 32, 8
    if mode == 0:
        return (32 if name == "back_kv" else 64), 8
    return (32 if mode == 1 and name == "back_kv" else 64), 4


@functools.cache
def attention_call(gpu: int, name: str, mode: int, d: int) -> tuple[Any, int, int, int]:
    """(kernel for a GPU, rows of a block, threads of a block, bytes of shared memory): two tiles of
    two operands are there."""
    tile, warps = attention_tiles(mode, d, name)
    defines = f"MODE={mode}", f"D={d}", f"N={tile}", f"WARPS={warps}"
    call = kernel("attention", f"attention_{name}", *defines)
    shared = 4 * tile * (2 * (d + 8) if mode == 2 else 4 * (d + 4))
    if shared > 48 << 10:
        call.max_dynamic_shared_size_bytes = shared
    return call, 16 * warps, 32 * warps, shared


def aligned(x: Any) -> Any:
    """x (B, H, T, D) with dense channels and rows that start at 16 bytes; a copy if need be."""
    size, steps = x.itemsize, x.strides
    fine = steps[-1] == size and all(s % 16 == 0 for s in steps[:-1]) and x.data.ptr % 16 == 0
    return x if fine else contiguous(x)


def strided(x: Any) -> tuple:
    """The array and its steps over batch, head and row, in elements."""
    return (x, *(s // x.itemsize for s in x.strides[:3]))


class CudaAttention(Twin, ScaledDotProductAttention):
    @classmethod
    def takes(cls, q, k, v, mask=None, keep=None, is_causal=False, scale=None, dropout_p=0.0):
        dense_row = 16 // q.itemsize
        return (
            mask is None and keep is None and q.ndim in (3, 4) and q.ndim == k.ndim == v.ndim
            and q.dtype in SHORT and q.dtype == k.dtype == v.dtype
            and q.shape[-1] == v.shape[-1] <= 128 and q.shape[-1] % dense_row == 0
            and min(q.size, k.size) > 0 and q.shape[:-3] == k.shape[:-3]
        )  # fmt: skip

    def forward_fast(
        self, q, k, v, mask=None, keep=None, is_causal=False, scale=None, dropout_p=0.0
    ):  # fmt: skip
        self.q_shape, self.k_shape, self.causal = q.shape, k.shape, int(is_causal)
        self.scale = float(q.shape[-1] ** -0.5 if scale is None else scale)
        q, k, v = (aligned(a if a.ndim == 4 else a[None]) for a in (q, k, v))  # (B, H, T, D)
        (B, H, L, D), (_, K, S, _) = q.shape, k.shape
        mode = 2 if q.dtype.itemsize == 2 else int(settings.tf32)
        self.mode = mode, 64 if D <= 64 else 128
        y = empty((B, L, H, D), q.dtype).transpose(0, 2, 1, 3)
        log_sum = empty((B, H, L), np.float32)
        args = (*strided(q), *strided(k), *strided(v), *strided(y), log_sum, H, H // K, L, S, D)
        self.run("forward", L, B * H, *args, self.causal, self.scale)
        self.saved = q, k, v, y, log_sum
        return y if len(self.q_shape) == 4 else y[0]

    def run(self, name: str, rows: int, heads: int, *args: Any) -> None:
        call, at_a_time, threads, shared = attention_call(launch.gpu(), name, *self.mode)
        call((-(-rows // at_a_time), heads), (threads,), args, shared_mem=shared)

    def backward_fast(self, g):
        q, k, v, y, log_sum = self.saved
        (B, H, L, D), (_, K, S, _) = q.shape, k.shape
        g = aligned(g if g.ndim == 4 else g[None])
        delta = empty((B, H, L), np.float32)
        call = attention_call(launch.gpu(), "delta", *self.mode)[0]
        call((-(-L // 8), B * H), (256,), (*strided(g), *strided(y), delta, H, L, D))
        if L == S:  # one memory, as the layer that made q, k and v wants it
            every = empty((B, L, H + 2 * K, D), q.dtype).transpose(0, 2, 1, 3)
            gq, gk, gv = every[:, :H], every[:, H : H + K], every[:, H + K :]
        else:
            gq, gk, gv = (
                empty((B, a.shape[2], a.shape[1], D), q.dtype).transpose(0, 2, 1, 3)
                for a in (q, k, v)
            )
        inputs = (*strided(q), *strided(k), *strided(v), *strided(g))
        rest = log_sum, delta, H, H // K, L, S, D, self.causal, self.scale
        if self.needs[0]:
            self.run("back_q", L, B * H, *inputs, *strided(gq), *rest)
        if self.needs[1] or self.needs[2]:
            self.run("back_kv", S, B * K, *inputs, *strided(gk), *strided(gv), *rest)
        grads = tuple(a if len(self.q_shape) == 4 else a[0] for a in (gq, gk, gv))
        return *(a if n else None for a, n in zip(grads, self.needs)), None, None  # noqa: B905
