"""Systems of linear equations and determinants."""

from ..arrays.devices import xp_of
from ..autograd.engine import Op


def wide(function, *arrays):
    """The function of arrays; half precisions are computed in float32, the narrowest it takes."""
    dtype = arrays[0].dtype
    if dtype.itemsize > 2:
        return function(*arrays)
    return function(*(x.astype("float32") for x in arrays)).astype(dtype)


class Solve(Op):
    """X = A⁻¹·B, the solution of A·X = B, matrix by matrix over the leading dimensions.

    Backward: A·dX + dA·X = dB, so dX = A⁻¹·(dB − dA·X), and
        ∂L/∂B = A⁻ᵀ·g        ∂L/∂A = −(∂L/∂B)·Xᵀ
    One system with Aᵀ serves both. Saves A, and X for ∂L/∂A.
    """

    signature = "a(...,N,N) b(...,N,K) -> x(...,N,K)"

    def forward(self, a, b):
        x = wide(xp_of(a).linalg.solve, a, b)
        self.saved = a, x if self.needs[0] else None
        return x

    def backward(self, g):
        a, x = self.saved
        gb = wide(xp_of(a).linalg.solve, a.swapaxes(-1, -2), g)  # (..., N, K)
        ga = -(gb @ x.swapaxes(-1, -2)) if self.needs[0] else None  # (..., N, N)
        return ga, gb


class Logabsdet(Op):
    """y = log |det A|, one number per matrix.

    Backward: ∂L/∂A = g·A⁻ᵀ, since det A = Σ aᵢⱼ·cᵢⱼ along any row, with the cofactors c of
    A⁻¹ = cᵀ / det A: ∂(det A)/∂aᵢⱼ = cᵢⱼ, and the logarithm divides by det A.
    Saves A.
    """

    signature = "a(...,N,N) -> y(...)"

    def forward(self, a):
        self.saved = (a,)
        return wide(lambda a: xp_of(a).linalg.slogdet(a)[1], a)

    def backward(self, g):
        (a,) = self.saved
        return g[..., None, None] * wide(xp_of(a).linalg.inv, a).swapaxes(-1, -2)  # (..., N, N)
