"""Rotary position embedding: a position is an angle."""

from typing import Any

from ..arrays.devices import xp_of
from ..autograd.engine import Op


def rotate(x: Any, cos: Any, sin: Any, interleaved: bool) -> Any:
    """Rotate each pair (a, b) of x by its angle: (a·cos − b·sin, b·cos + a·sin)."""
    n = cos.shape[-1]  # number of pairs

    def pairs(z: Any) -> tuple[Any, Any]:
        return (z[..., 0 : 2 * n : 2], z[..., 1 : 2 * n : 2]) if interleaved else (
            z[..., :n], z[..., n : 2 * n])  # fmt: skip

    xp = xp_of(x)
    y = xp.empty_like(x)
    (a, b), (rotated_a, rotated_b) = pairs(x), pairs(y)
    xp.multiply(a, cos, out=rotated_a)
    rotated_a -= b * sin
    xp.multiply(b, cos, out=rotated_b)
    rotated_b += a * sin
    y[..., 2 * n :] = x[..., 2 * n :]
    return y


class Rope(Op):
    """(a, b) -> (a·cos − b·sin, b·cos + a·sin): pair j at position t is rotated by t·ωⱼ.

    The product of a query at position t and a key at s then depends on t − s alone.
    Which numbers form a pair, with D = 2R:
        half split (Hugging Face):  (xⱼ, xⱼ₊R)        interleaved (Meta, GPT-J):  (x₂ⱼ, x₂ⱼ₊₁)
    Backward: a rotation's transpose rotates the other way, so ∂L/∂x is g rotated by −t·ωⱼ.
    If D > 2R, the last D − 2R numbers are passed on unchanged (partial rotary).
    cos and sin get no gradient. Saves cos and sin. Source: Su et al. (2021), equation 34.
    """

    signature = "x(...,T,D) cos(...,T,R) sin(...,T,R) -> y(...,T,D)"
    in_float32 = True

    def forward(self, x, cos, sin, interleaved=False):
        self.saved, self.interleaved = (cos, sin), interleaved
        return rotate(x, cos, sin, interleaved)

    def backward(self, g):
        cos, sin = self.saved
        return rotate(g, cos, -sin, self.interleaved), None, None
