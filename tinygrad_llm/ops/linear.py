"""Linear: the layer that does nearly all of a model's arithmetic; two with GELU between them."""

from functools import partial

from ..arrays.matmul import concurrent_products, product
from ..arrays.parallel import over_elements, times
from ..arrays.reductions import row_sum
from ..autograd.engine import Op
from .activation import empty_pair, gelu_erf, gelu_tanh
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


class LinearGeluLinear(Op):
    """y = a·Vᵀ + c,   a = gelu(h),   h = x·Wᵀ + b, for every row of x: GPT-2's feed forward.

    approximate: the form of GELU, see Gelu.
    Backward, with u = ∂L/∂h:
        ∂L/∂V = gᵀ·a        ∂L/∂c = Σ g        u = (g·V)·gelu′(h)
        ∂L/∂x = u·W         ∂L/∂W = uᵀ·x       ∂L/∂b = Σ u       (Σ over every row)
    Saves x, W, V, a and gelu′(h).
    """

    signature = "x(...,I) w(F,I) b(F)? v(O,F) c(O)? -> y(...,O)"
    in_rows = True
    in_float32 = True

    def forward(self, x, w, b, v, c, approximate="none"):
        h = product(as_rows(x), w.T, b)  # (..., I) -> (N, F)
        a, derivative = empty_pair(h, any(self.needs[:3]))
        over_elements(h, a, derivative)(gelu_tanh if approximate == "tanh" else gelu_erf)
        if True in self.needs:
            self.saved = x, w, v, a, derivative
        return product(a, v.T, c).reshape(*x.shape[:-1], len(v))  # (N, O) -> (..., O)

    def backward(self, g):
        x, w, v, a, derivative = self.saved
        rows, (needs_x, needs_w, needs_b, needs_v, needs_c) = as_rows(g), self.needs
        gx = gw = gb = None
        u, gv, gc = concurrent_products(
            (rows, v) if derivative is not None else None,  # (N, F)
            (rows.T, a) if needs_v else None,  # (O, F)
            partial(row_sum, rows) if needs_c else None,  # (O)
        )
        if u is not None:
            u = times(u, derivative)
            gx, gw, gb = concurrent_products(
                (u, w) if needs_x else None,  # (N, I)
                (u.T, as_rows(x)) if needs_w else None,  # (F, I)
                partial(row_sum, u) if needs_b else None,  # (F)
            )
        return None if gx is None else gx.reshape(x.shape), gw, gb, gv, gc
