"""Complex numbers, as far as rotary embeddings written with them need: pairs seen as one number.

The gradient of a complex number a + bi is ∂L/∂a + i·∂L/∂b. So for z = u·v it is g·(conjugate of v).
These two ops are outside of the table of ops, because its checks are made for real numbers; tests
compare them with PyTorch.
"""

from typing import Any

from ..autograd.engine import Op


class ViewAsComplex(Op, listed=False):
    """z = x₀ + i·x₁ of the pairs along the last axis.   Backward: ∂L/∂x = (Re g, Im g).

    A view. Saves nothing.
    """

    signature = "x(...,2) -> z(...)"
    views = True
    takes_complex = True

    def forward(self, x):
        return x.view("complex64" if x.itemsize == 4 else "complex128")[..., 0]  # (..., 2) -> (...)

    def backward(self, g):
        return as_pairs(g)  # (...) -> (..., 2)


class ViewAsReal(Op, listed=False):
    """x = (Re z, Im z) along a new last axis.   Backward: ∂L/∂z = g₀ + i·g₁.

    A view. Saves nothing.
    """

    signature = "z(...) -> x(...,2)"
    views = True

    def forward(self, z):
        return as_pairs(z)  # (...) -> (..., 2)

    def backward(self, g):
        return g[..., 0] + 1j * g[..., 1]  # (..., 2) -> (...)


def as_pairs(z: Any) -> Any:
    """The real and the imaginary parts along a new last axis, as a view: (...) -> (..., 2)."""
    return z[..., None].view(z.real.dtype)
