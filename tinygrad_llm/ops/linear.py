"""Linear: the layer that does nearly all of a model's arithmetic."""

from functools import partial

from ..arrays.matmul import concurrent_products, product
from ..arrays.reductions import row_sum
from ..autograd.engine import Op
from .matmul import rows as as_rows


class Linear(Op):
    """y = x·Wᵀ + b, for every row of x.

    Backward: y_no = Σᵢ x_ni·W_oi + b_o, so that
        ∂L/∂x = g·W        ∂L/∂W = gᵀ·x        ∂L/∂b = Σ g     (Σ over every row)
    Leading dimensions are flattened: one large matrix product instead of one per batch.
    Saves x and W.
    """

    signature = "x(...,I) w(O,I) b(O)? -> y(...,O)"
    in_rows = True
    in_float32 = True
    as_stored = (1,)  # product widens W itself, or reads it as it is

    def forward(self, x, w, b=None):
        self.saved = x, w
        y = product(as_rows(x), w.T, b)  # (..., I) -> (N, O)
        return y.reshape(*x.shape[:-1], len(w))  # (N, O) -> (..., O)

    def backward(self, g):
        x, w = self.saved
        rows = as_rows(g)  # (..., O) -> (N, O)
        gx, gw, gb = concurrent_products(
            (rows, w) if self.needs[0] else None,  # (N, I)
            (rows.T, as_rows(x)) if self.needs[1] else None,  # (O, I)
            partial(row_sum, rows) if len(self.needs) > 2 and self.needs[2] else None,  # (O)
        )
        return None if gx is None else gx.reshape(x.shape), gw, gb
