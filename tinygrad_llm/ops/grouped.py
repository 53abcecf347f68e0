"""Rows in groups, a matrix for each group: what a mixture of experts computes."""

from typing import Any

from ..arrays.devices import xp_of
from ..arrays.matmul import product
from ..autograd.engine import Op


class GroupedMm(Op):
    """y[n] = x[n]·w[e]   for the rows n of group e: offs[e − 1] ≤ n < offs[e].

    The rows of x lie sorted by group; offs says where each group ends. A group without rows costs
    nothing: the loop runs over those that have some.
    Backward, group by group:
        ∂L/∂x[n] = g[n]·w[e]ᵀ        ∂L/∂w[e] = Σ x[n]ᵀ·g[n]  (over the rows of group e)
    The gradient of a matrix whose group is empty is zero.
    Saves x, w and offs.
    """

    signature = "x(N,K) w(E,K,M) offs(E) -> y(N,M)"
    in_rows = True
    in_float32 = True

    def forward(self, x, w, offs):
        self.saved = x, w, offs
        y = xp_of(x).empty((len(x), w.shape[2]), x.dtype)
        for e, rows in groups(offs):
            y[rows] = product(x[rows], w[e])  # (n, K) @ (K, M) -> (n, M)
        return y

    def backward(self, g):
        x, w, offs = self.saved
        xp = xp_of(g)
        gx = xp.empty(x.shape, x.dtype) if self.needs[0] else None
        gw = None
        if self.needs[1]:  # (E, M, K) in memory: weights are stored so, and passed transposed
            gw = xp.zeros((w.shape[0], w.shape[2], w.shape[1]), w.dtype).swapaxes(1, 2)
        for e, rows in groups(offs):
            if gx is not None:
                gx[rows] = product(g[rows], w[e].T)  # (n, M) @ (M, K) -> (n, K)
            if gw is not None:
                gw[e] = product(g[rows].T, x[rows]).T  # (M, n) @ (n, K) -> (M, K) -> (K, M)
        return gx, gw, None


def groups(offs: Any) -> list[tuple[int, slice]]:
    """(e, its rows) of each group that has rows; offs (E) are the ends."""
    ends = offs.tolist()
    starts = [0, *ends[:-1]]
    return [(e, slice(a, b)) for e, (a, b) in enumerate(zip(starts, ends, strict=True)) if a < b]
