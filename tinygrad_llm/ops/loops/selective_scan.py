"""The selective scan: a channel after the other, a chunk of its tokens in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..selective_scan import SelectiveScan
from .compiling import helper, kernel, shared
from .elementary import exp
from .twin import FLOATS, Loop, in_rows

__all__ = ["LoopSelectiveScan"]

f: Any = np.float64  # in a compiled copy the arrays' dtype
WIDTH = 32  # channels whose ∂L/∂b and ∂L/∂c are added up by one core


@helper
def factors(delta, rate, keep):
    """exp(Δₜ·A) of a chunk's tokens, one after the other: one long loop is vectorised best."""
    N = rate.size
    for t in range(delta.size):
        for n in range(N):
            keep[t * N + n] = delta[t] * rate[n]
    for j in range(delta.size * N):
        keep[j] = exp(keep[j])


@kernel
def scan(x, delta, a, b, c, y, starts, room, chunk, start, stop):
    """hₜ = exp(Δₜ·A)·hₜ₋₁ + Δₜ·xₜ·bₜ,   yₜ = Σₙ cₜ·hₜ;   starts: h at each chunk's start."""
    x, delta, y, starts, room = (
        x[start:stop], delta[start:stop], y[start:stop], starts[start:stop], room[start:stop]
    )  # fmt: skip
    D, N, T = a.shape[0], a.shape[1], x.shape[1]
    for i in range(x.shape[0]):
        xi, di, yi, h, keep = x[i], delta[i], y[i], room[i, :N], room[i, N:]
        rate, bs, cs = a[(start + i) % D], b[(start + i) // D], c[(start + i) // D]
        for n in range(N):
            h[n] = f(0.0)
        for t in range(T):
            if t % chunk == 0:
                kept = starts[i, t // chunk]
                for n in range(N):
                    kept[n] = h[n]
                factors(di[t : t + chunk], rate, keep)
            j = t % chunk
            new, bt, ct, kt = di[t] * xi[t], bs[t], cs[t], keep[j * N : j * N + N]
            for n in range(N):
                h[n] = kt[n] * h[n] + new * bt[n]
            total = f(0.0)
            for n in range(N):
                total += h[n] * ct[n]
            yi[t] = total


@kernel
def scan_back(g, x, delta, a, b, c, starts, gx, gd, ga, gb, gc, room, chunk, start, stop):
    """See SelectiveScan: a strip of WIDTH channels of one row, each from its last chunk on.

    ga (B·D, N), gb and gc (strips, T, N): sums that are added up afterwards
    room (strips, (3 + 2·chunk)·N): λ, aₜ₊₁·λₜ₊₁, a of a chunk's tokens, h before and after each
    """
    D, N, T = a.shape[0], a.shape[1], x.shape[1]
    strips = (D + WIDTH - 1) // WIDTH  # of a row
    for s in range(start, stop):
        row, first = s // strips, (s % strips) * WIDTH
        bs, cs, gbs, gcs = b[row], c[row], gb[s], gc[s]
        for t in range(T):
            for n in range(N):
                gbs[t, n] = f(0.0)
                gcs[t, n] = f(0.0)
        lam, later, keep, hs = (
            room[s, :N], room[s, N : 2 * N], room[s, 2 * N : (2 + chunk) * N],
            room[s, (2 + chunk) * N :],
        )  # fmt: skip
        for d in range(first, min(first + WIDTH, D)):
            i = row * D + d
            xi, di, gi, gxi, gdi, rate, gai = x[i], delta[i], g[i], gx[i], gd[i], a[d], ga[i]
            for n in range(N):
                later[n] = f(0.0)
                gai[n] = f(0.0)
            for k in range(starts.shape[1] - 1, -1, -1):
                low, high = k * chunk, min(k * chunk + chunk, T)
                factors(di[low:high], rate, keep)
                for n in range(N):
                    hs[n] = starts[i, k, n]
                for j in range(high - low):
                    new, bt, kt = di[low + j] * xi[low + j], bs[low + j], keep[j * N : j * N + N]
                    before, ht = hs[j * N : j * N + N], hs[j * N + N : j * N + 2 * N]
                    for n in range(N):
                        ht[n] = kt[n] * before[n] + new * bt[n]
                for j in range(high - low - 1, -1, -1):
                    t = low + j
                    step, new, gt, bt, ct = di[t], di[t] * xi[t], gi[t], bs[t], cs[t]
                    kt, before = keep[j * N : j * N + N], hs[j * N : j * N + N]
                    ht, to_b, to_c = hs[j * N + N : j * N + 2 * N], gbs[t], gcs[t]
                    written, faded = f(0.0), f(0.0)
                    for n in range(N):
                        lam[n] = gt * ct[n] + later[n]
                        written += lam[n] * bt[n]
                    for n in range(N):
                        later[n] = lam[n] * kt[n]
                    for n in range(N):
                        u = later[n] * before[n]
                        faded += u * rate[n]
                        gai[n] += u * step
                    for n in range(N):
                        to_b[n] += lam[n] * new
                        to_c[n] += gt * ht[n]
                    gxi[t] = step * written
                    gdi[t] = faded + xi[t] * written


def tokens_first(v: Any) -> Any:
    """(B, N, T) -> (B, T, N), in row order and writeable."""
    return in_rows(v.swapaxes(1, 2))


def channels(v: Any) -> Any:
    """(B, D, T) -> (B·D, T), in row order and writeable."""
    return in_rows(v).reshape(-1, v.shape[2])


class LoopSelectiveScan(Loop, SelectiveScan):
    """Saves what the NumPy class saves."""

    @classmethod
    def takes(cls, *arrays, chunk=16, parallel=False):
        x = arrays[0]
        plain = all(type(v) is np.ndarray and v.dtype == x.dtype for v in arrays)
        return plain and x.dtype in FLOATS and all(v.size > 0 for v in arrays)

    def forward(self, x, delta, a, b, c, chunk=16, parallel=False):
        self.chunk, self.parallel = chunk, parallel
        (B, D, T), N = x.shape, a.shape[1]
        y, starts = np.empty((B * D, T), x.dtype), np.empty((B * D, -(-T // chunk), N), x.dtype)
        room = np.empty((B * D, (1 + chunk) * N), x.dtype)  # h, then the factors of a chunk
        args = channels(x), channels(delta), in_rows(a), tokens_first(b)
        shared(scan, B * D, x.size * N, *args, tokens_first(c), y, starts, room, chunk)
        self.saved = x, delta, a, b, c, starts.reshape(B, D, -1, N)
        return y.reshape(B, D, T)

    def backward(self, g):
        x, delta, a, b, c, starts = self.saved
        (B, D, T), N, chunk = x.shape, a.shape[1], self.chunk
        gx, gd = np.empty((2, B * D, T), x.dtype)
        ga, n = np.empty((B * D, N), x.dtype), B * -(-D // WIDTH)
        gb, gc = np.empty((2, n, T, N), x.dtype)
        room = np.empty((n, (3 + 2 * chunk) * N), x.dtype)
        args = channels(g), channels(x), channels(delta), in_rows(a)
        given = tokens_first(b), tokens_first(c), starts.reshape(B * D, -1, N)
        shared(scan_back, n, x.size * N, *args, *given, gx, gd, ga, gb, gc, room, chunk)
        gb, gc = (v.reshape(B, -1, T, N).sum(1).swapaxes(1, 2) for v in (gb, gc))  # -> (B, N, T)
        ga = ga.reshape(B, D, N).sum(0)  # (B·D, N) -> (D, N)
        return gx.reshape(B, D, T), gd.reshape(B, D, T), ga, gb, gc
