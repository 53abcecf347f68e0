"""Convolution over time, as language models with a short causal convolution use it."""

from typing import Any

from ..arrays.devices import xp_of
from ..arrays.matmul import products
from ..autograd.engine import Op


class Conv1d(Op):
    """y[b, o, t] = Σᵢₖ w[o, i, k]·x[b, c, s·t + d·k − p] + b[o],   c = i + I·⌊o / (O/G)⌋.

    s is the stride, d the dilation, p the zeros on either side. The channels are in G groups: an
    output sees the I = C/G inputs of its group, one of them if G = C (depthwise).
    With xₖ[t] = x[s·t + d·k − p] each of the K taps is a matrix product: y = Σₖ wₖ·xₖ + b.
    Backward, tap by tap:
        ∂L/∂wₖ = Σ g·xₖᵀ  (over the batch)        ∂L/∂b = Σ g  (over batch and time)
        ∂L/∂x[s·t + d·k − p] is increased by wₖᵀ·g[t]: a number is read by several outputs
    Saves x and w; the zeros on either side are added again in the backward pass.
    """

    signature = "x(B,C,T) w(O,I,K) b(O)? -> y(B,O,S)"
    in_rows = True
    in_float32 = True

    def forward(self, x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
        self.saved = x, w
        self.options = stride, padding, dilation, groups
        taps, x = self.parts(x, w)
        (xk, wk), *others = taps
        y = _times(wk, x[xk])  # (B, G, O/G, S)
        for xk, wk in others:
            y += _times(wk, x[xk])
        y = y.reshape(len(x), len(w), y.shape[-1])  # (B, G, O/G, S) -> (B, O, S)
        if b is not None:
            y += b[:, None]
        return y

    def parts(self, x: Any, w: Any) -> tuple[list[tuple[Any, Any]], Any]:
        """For each tap the index of xₖ in x and wₖ (G, O/G, I); x with zeros (B, G, I, T + 2p)."""
        stride, padding, dilation, groups = self.options
        (n, channels, length), (outputs, inputs, taps) = x.shape, w.shape
        if padding:
            wide = xp_of(x).zeros((n, channels, length + 2 * padding), x.dtype)
            wide[..., padding : padding + length] = x
            x, length = wide, length + 2 * padding
        x = x.reshape(n, groups, inputs, length)  # (B, C, T) -> (B, G, I, T)
        w = w.reshape(groups, outputs // groups, inputs, taps)  # (O, I, K) -> (G, O/G, I, K)
        size = (length - dilation * (taps - 1) - 1) // stride + 1
        return [
            ((..., slice(first, first + stride * (size - 1) + 1, stride)), w[..., k])
            for k, first in enumerate(range(0, dilation * taps, dilation))
        ], x

    def backward(self, g):
        x, w = self.saved
        padding, groups = self.options[1], self.options[3]
        taps, wide = self.parts(x, w)
        gb = g.sum((0, 2)) if len(self.needs) > 2 and self.needs[2] else None  # (B, O, S) -> (O)
        g = g.reshape(len(g), groups, len(w) // groups, g.shape[-1])  # -> (B, G, O/G, S)
        gx = gw = None
        if self.needs[0]:
            gx = xp_of(g).zeros(wide.shape, x.dtype)
            for xk, wk in taps:
                gx[xk] += _times(wk.swapaxes(-1, -2), g)  # (B, G, I, S)
            gx = gx.reshape(*x.shape[:2], wide.shape[-1])  # (B, G, I, T + 2p) -> (B, C, T + 2p)
            gx = gx[..., padding : padding + x.shape[-1]]  # (B, C, T + 2p) -> (B, C, T)
        if self.needs[1]:
            gw = xp_of(g).stack([_outer(g, wide[xk]) for xk, _ in taps], -1)  # (G, O/G, I, K)
            gw = gw.reshape(w.shape)  # (G, O/G, I, K) -> (O, I, K)
        return gx, gw, gb


def _times(w: Any, x: Any) -> Any:
    """w·x in every group: (G, M, I) times (B, G, I, S) -> (B, G, M, S)."""
    if w.shape[-1] == 1:
        return w * x  # one channel: no sum
    if w.shape[-2] == 1 and w.shape[-1] <= 4:
        return (w[..., 0, :, None] * x).sum(-2, keepdims=True)
    return products(w[None], xp_of(x).ascontiguousarray(x))


def _outer(g: Any, x: Any) -> Any:
    """Σ g·xᵀ over batch and time in every group: (B, G, M, S), (B, G, I, S) -> (G, M, I)."""
    if g.shape[2] == x.shape[2] == 1:
        return (g * x).sum((0, 3))[..., None]  # (G, 1) -> (G, 1, 1)
    rows, columns = (a.transpose(1, 2, 0, 3) for a in (g, x))  # (B, G, M, S) -> (G, M, B, S)
    n = rows.shape[2] * rows.shape[3]
    rows, columns = (a.reshape(*a.shape[:2], n) for a in (rows, columns))  # -> (G, M, B·S)
    return products(rows, columns.swapaxes(-1, -2))
