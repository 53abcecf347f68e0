"""A block of a decoder for a few new tokens: norms, products and attention with the cache.

Few rows are multiplied with every weight, so that the time is that of reading the weights. A loop
reads each once, for all rows; the cores share the rows of a matrix. Between the loops only a few
Python calls per block remain.

Shapes: R = B·T new tokens, C channels, H query heads, KV heads of keys and values, D head_dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...arrays.parallel import thread_count
from .compiling import Kernel, helper, kernel, shared
from .elementary import exp, largest, sigmoid

__all__ = ["decode_block"]

f: Any = np.float64  # in a compiled copy the arrays' dtype
TWO_C = 1.5957691216057308  # 2·√(2/π)
CUBE = 0.044715
SHARED_NUMBERS = 1 << 20  # weights that take longer to read than a core takes to wake up


@helper
def normed(x, y, gain, shift, eps, offset, kind):
    """kind 0: y = x; 1: y = w·(x − μ)/√(σ² + ε) + b; 2: y = (offset + w)·x/√(mean(x²) + ε)."""
    n = f(x.size)
    mean = f(0.0)
    if kind == 1:
        for j in range(x.size):
            mean += x[j]
        mean /= n
    r = f(1.0)
    if kind > 0:
        squares = f(0.0)
        for j in range(x.size):
            d = x[j] - mean
            squares += d * d
        r = f(1.0) / np.sqrt(squares / n + f(eps))
    if kind == 0:
        for j in range(x.size):
            y[j] = x[j]
    elif kind == 1:
        for j in range(x.size):
            y[j] = (x[j] - mean) * r * gain[j] + shift[j]
    else:
        for j in range(x.size):
            y[j] = x[j] * r * (gain[j] + f(offset))


@helper
def one_row(w, x, y):
    """y = W·x, four rows of W at a time: x (C), w (N, C), y (N)."""
    whole_fours = w.shape[0] // 4 * 4
    for i in range(0, whole_fours, 4):
        a, b, c, d = w[i], w[i + 1], w[i + 2], w[i + 3]
        s, t, u, v = f(0.0), f(0.0), f(0.0), f(0.0)
        for j in range(x.size):
            s += a[j] * x[j]
            t += b[j] * x[j]
            u += c[j] * x[j]
            v += d[j] * x[j]
        y[i], y[i + 1], y[i + 2], y[i + 3] = s, t, u, v
    for i in range(whole_fours, w.shape[0]):
        a, s = w[i], f(0.0)
        for j in range(x.size):
            s += a[j] * x[j]
        y[i] = s


@helper
def four_rows(w, x, y):
    """y = x·Wᵀ for four rows, two rows of W at a time: x (4, C), w (N, C), y (4, N)."""
    p, q, r, s = x[0], x[1], x[2], x[3]
    for i in range(0, w.shape[0], 2):
        k = min(i + 1, w.shape[0] - 1)
        a, b = w[i], w[k]
        a0, a1, a2, a3 = f(0.0), f(0.0), f(0.0), f(0.0)
        b0, b1, b2, b3 = f(0.0), f(0.0), f(0.0), f(0.0)
        for j in range(a.size):
            a0 += p[j] * a[j]
            a1 += q[j] * a[j]
            a2 += r[j] * a[j]
            a3 += s[j] * a[j]
            b0 += p[j] * b[j]
            b1 += q[j] * b[j]
            b2 += r[j] * b[j]
            b3 += s[j] * b[j]
        y[0, i], y[1, i], y[2, i], y[3, i] = a0, a1, a2, a3
        y[0, k], y[1, k], y[2, k], y[3, k] = b0, b1, b2, b3


@helper
def products(w, x, y):
    """y = x·Wᵀ: x (R, C), w (N, C), y (R, N). Strips of W stay in the cache for all rows."""
    R = x.shape[0]
    strip = 16 if R > 1 else w.shape[0]
    for i in range(0, w.shape[0], strip):
        e = min(i + strip, w.shape[0])
        for r in range(0, R - 3, 4):
            four_rows(w[i:e], x[r : r + 4], y[r : r + 4, i:e])
        for r in range(R // 4 * 4, R):
            one_row(w[i:e], x[r], y[r, i:e])


@helper
def activated(v, kind):
    """kind 0: v; 1: GELU, tanh form; 2: SiLU; 3: ReLU."""
    y = v
    if kind == 1:
        y = v * sigmoid(f(TWO_C) * v * (f(1.0) + f(CUBE) * v * v))
    elif kind == 2:
        y = v * sigmoid(v)
    elif kind == 3:
        y = max(v, f(0.0))
    return y


@kernel
def project(x, gain, shift, w, b, y, eps, offset, norm, act, start, stop):
    """y = act(W·norm(x) + b), columns start … stop: x (R, C), w (N, C), y (R, N)."""
    z = np.empty(x.shape, x.dtype)
    for r in range(x.shape[0]):
        normed(x[r], z[r], gain, shift, eps, offset, norm)
    part = np.empty((x.shape[0], stop - start), x.dtype)
    products(w[start:stop], z, part)
    for r in range(x.shape[0]):
        row, bias, out = part[r], b[start:stop], y[r, start:stop]
        for i in range(row.size):
            out[i] = activated(row[i] + bias[i], act)


@kernel
def project_gated(x, gain, shift, w, b, y, eps, offset, norm, act, start, stop):
    """y = act(gate)·up,   gate and up the two halves of W·norm(x) + b: w (2N, C), y (R, N)."""
    z, n = np.empty(x.shape, x.dtype), y.shape[1]
    for r in range(x.shape[0]):
        normed(x[r], z[r], gain, shift, eps, offset, norm)
    gate = np.empty((x.shape[0], stop - start), x.dtype)
    up = np.empty((x.shape[0], stop - start), x.dtype)
    products(w[start:stop], z, gate)
    products(w[n + start : n + stop], z, up)
    first, second = b[start:stop], b[n + start : n + stop]
    for r in range(x.shape[0]):
        g, u, out = gate[r], up[r], y[r, start:stop]
        for i in range(g.size):
            out[i] = activated(g[i] + first[i], act) * (u[i] + second[i])


@kernel
def project_add(x, w, b, y, start, stop):
    """y += W·x + b, columns start … stop: x (R, C), w (N, C), y (R, N)."""
    part = np.empty((x.shape[0], stop - start), x.dtype)
    products(w[start:stop], x, part)
    for r in range(x.shape[0]):
        row, bias, out = part[r], b[start:stop], y[r, start:stop]
        for i in range(row.size):
            out[i] += row[i] + bias[i]


@kernel
def add_normed(x, gain, shift, y, eps, offset, norm, start, stop):
    """y += norm(x), rows start … stop: x and y (R, C)."""
    z = np.empty(x.shape[1], x.dtype)
    for r in range(start, stop):
        normed(x[r], z, gain, shift, eps, offset, norm)
        out = y[r]
        for j in range(z.size):
            out[j] += z[j]


@helper
def turned(x, y, cos, sin, interleaved):
    """Rotary positions: y is x (D) with its pairs turned; cos and sin (pairs)."""
    n = cos.size
    for j in range(x.size):
        y[j] = x[j]
    for j in range(n):
        a, b = (2 * j, 2 * j + 1) if interleaved else (j, n + j)
        first, second = x[a], x[b]
        y[a] = first * cos[j] - second * sin[j]
        y[b] = second * cos[j] + first * sin[j]


@helper
def weighted(q, keys, values, seen, scores, y, scale):
    """y = Σ p·v,   p = softmax(q·k·scale), over keys (S, D); seen: which of them count."""
    for s in range(scores.size):
        key, total = keys[s], f(0.0)
        for j in range(q.size):
            total += q[j] * key[j]
        scores[s] = total * scale if seen[s] else f(-np.inf)
    top = largest(scores)
    total = f(0.0)
    for s in range(scores.size):
        scores[s] = exp(scores[s] - top)
    for s in range(scores.size):
        total += scores[s]
    for j in range(q.size):
        y[j] = f(0.0)
    for s in range(scores.size):
        if scores[s] != f(0.0):
            p, value = scores[s] / total, values[s]
            for j in range(q.size):
                y[j] += p * value[j]


@kernel
def attend(qkv, keys, values, cos, sin, seen, y, at, H, window, interleaved, scale, start, stop):
    """Attention of the new tokens: their keys and values go into the cache, at row `at` of it.

    qkv (B, T, H + 2·KV, D); keys and values (B, KV, room, D); cos and sin (B, T, pairs);
    seen (B, T, at + T); y (B, T, H, D). start … stop are pairs of a batch and a head of keys.
    """
    T, KV, D = qkv.shape[1], keys.shape[1], qkv.shape[3]
    group = H // KV
    q, scores = np.empty(D, qkv.dtype), np.empty(at + T, qkv.dtype)
    for unit in range(start, stop):
        b, kv = unit // KV, unit % KV
        for t in range(T):
            turned(qkv[b, t, H + kv], keys[b, kv, at + t], cos[b, t], sin[b, t], interleaved)
            new, stored = qkv[b, t, H + KV + kv], values[b, kv, at + t]
            for j in range(D):
                stored[j] = new[j]
        for t in range(T):
            end = at + t + 1
            first = max(0, end - window)
            for h in range(kv * group, kv * group + group):
                turned(qkv[b, t, h], q, cos[b, t], sin[b, t], interleaved)
                weighted(q, keys[b, kv, first:end], values[b, kv, first:end],
                         seen[b, t, first:end], scores[: end - first], y[b, t, h],
                         f(scale))  # fmt: skip


# ------------------------------------------------------------------------------------- a block
def _share(loop: Kernel, n: int, weights: int, *args: Any) -> None:
    """Run the loop for range(n), on one core if there are few weights to read."""
    if weights < SHARED_NUMBERS or thread_count() == 1:
        loop.compiled(*args, 0, n)(*args, 0, n)
    else:
        shared(loop, n, weights, *args)


def decode_block(
    plan: Any, x: Any, cache: Any, angles: tuple[Any, Any], interleaved: bool, seen: Any
) -> None:
    """x (R, C) becomes the block's output; its keys and values are added to the cache.

    plan: a layers.step.BlockPlan; cache: an AttentionCache; angles: cos and sin (B, T, pairs)
    seen: a function of the position of the first key in memory -> bool (B, T, keys in memory)
    """
    H, KV, D = plan.n_heads, plan.n_kv_heads, plan.head_dim
    B, T, _ = angles[0].shape
    R, n_shared = B * T, max(1, B * T // 4)
    qkv = np.empty((B, T, H + 2 * KV, D), x.dtype)
    flat = qkv.reshape(R, (H + 2 * KV) * D)
    w, b = plan.qkv
    _share(project, len(w), n_shared * w.size, x, *_norm(plan.norm1, w, b, flat), 0)
    keys, values, start, past = cache.reserve(qkv[:, :, H : H + KV].transpose(0, 2, 1, 3))
    y = np.empty((B, T, H, D), x.dtype)
    window = plan.window if plan.window is not None else past - start + T
    size = R * H * D * (past - start + T)
    _share(attend, B * KV, 2 * size, qkv, keys, values, *angles, seen(start), y, past - start, H,
           window, int(interleaved), plan.scale)  # fmt: skip
    _add(x, y.reshape(R, H * D), plan.out, plan.norm1_after, n_shared)
    w, b = plan.up
    hidden = np.empty((R, len(w) // (2 if plan.gated else 1)), x.dtype)
    loop = project_gated if plan.gated else project
    _share(loop, hidden.shape[1], n_shared * w.size, x, *_norm(plan.norm2, w, b, hidden),
           plan.activation)  # fmt: skip
    _add(x, hidden, plan.down, plan.norm2_after, n_shared)


def _norm(norm: Any, w: Any, b: Any, y: Any) -> Sequence[Any]:
    gain, shift, eps, offset, kind = norm
    return gain, shift, w, b, y, eps, offset, kind


def _add(x: Any, y: Any, linear: Any, after: Any, n_shared: int) -> None:
    """x += W·y + b, or, with a norm behind it, x += norm(W·y + b)."""
    w, b = linear
    if after is None:
        _share(project_add, len(w), n_shared * w.size, y, w, b, x)
        return
    gain, shift, eps, offset, kind = after
    z = np.zeros(x.shape, x.dtype)
    _share(project_add, len(w), n_shared * w.size, y, w, b, z)
    args = z, gain, shift, x, eps, offset, kind, 0, len(x)
    add_normed.compiled(*args)(*args)
