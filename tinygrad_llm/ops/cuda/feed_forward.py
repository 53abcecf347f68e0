"""Feed forward in bfloat16: GELU and its derivative inside of the products, by cuBLASLt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..linear import LinearGeluLinear
from ..matmul import rows as as_rows
from .elementwise import gelu, gelu_back
from .epilogues import BIAS, D_GELU, GELU, KEEP
from .launch import BF16, FLOAT32, SHORT, Twin, contiguous, empty
from .products import affine, narrowed, product, product_with, weight_gradients
from .rows import sum_rows


class _FeedForward(LinearGeluLinear):
    """Saves x, W, V, h and a = gelu(h). h is rounded to bfloat16 where it is saved, and not before
    GELU. The gradients of x, W and V have the dtypes that these came in.
    """

    dtypes: tuple[Any, Any, Any]  # of x, W and V

    def multiply(self, x: Any, w: Any, b: Any, v: Any, c: Any) -> Any:
        """y for x, W and V in bfloat16."""
        rows, back = as_rows(x), True in self.needs
        a = empty((len(rows), len(w)), BF16)
        h = empty(a.shape, BF16) if back else None
        epilogue, bias = GELU | back * KEEP, b
        if b is not None:
            epilogue, (bias,) = epilogue | BIAS, narrowed(b)
        if not product_with(epilogue, rows, w.T, a, bias, h):
            h = affine(rows, w, b, h)
            a = gelu(h, "tanh")
        self.saved = (x, w, v, h, a) if back else ()
        y = affine(a, v, c)  # (N, F) -> (N, O)
        return y.reshape(*x.shape[:-1], len(v))

    def gradients(self, g: Any, sum_rows: Callable[[Any], Any]) -> tuple[Any, ...]:
        """The gradients of x, W, b, V and c for g as rows (N, O); sum_rows adds up rows."""
        x, w, v, h, a = self.saved
        gx = gw = gb = None
        if any(self.needs[:3]):
            u = empty(h.shape, BF16)
            if not product_with(D_GELU, g, v, u, other=h):
                u = gelu_back(h, product(g, v), "tanh")
            if self.needs[0]:
                gx = product(u, w, empty((len(u), w.shape[1]), self.dtypes[0])).reshape(x.shape)
            gw, gb = weight_gradients(u, as_rows(x), self.dtypes[1], self.needs[1:3], sum_rows)
        return gx, gw, gb, *weight_gradients(g, a, self.dtypes[2], self.needs[3:5], sum_rows)


class CudaFeedForward(Twin, _FeedForward):
    """Takes bfloat16 and GELU by tanh."""

    @classmethod
    def takes(cls, x, w, b, v, c, approximate="none"):
        given = [a for a in (x, w, b, v, c) if a is not None]
        return (
            BF16 is not None and approximate == "tanh" and all(a.dtype == BF16 for a in given)
            and w.ndim == v.ndim == 2 and x.size > 0 < v.size
        )  # fmt: skip

    def forward_fast(self, x, w, b, v, c, approximate="none"):
        self.dtypes = BF16, BF16, BF16
        return self.multiply(x, w, b, v, c)

    def backward_fast(self, g):
        return self.gradients(contiguous(as_rows(g)), sum_rows)


class CudaMixedFeedForward(_FeedForward):
    """Feed forward within autocast: x, W and V are brought to bfloat16 here, and y is bfloat16.

    The gradients of float32 inputs leave the matrix products as float32, as in CudaMixedLinear.
    """

    in_float32 = False  # it takes bfloat16 as it is

    def forward(self, x, w, b, v, c, approximate="tanh"):
        self.dtypes = x.dtype, w.dtype, v.dtype
        return self.multiply(*narrowed(x, w, b, v, c))

    def backward(self, g):
        return self.gradients(contiguous(as_rows(g)), lambda rows: sum_rows(rows, FLOAT32))


def takes_mixed_feed_forward(x: Any, w: Any, b: Any, v: Any, c: Any) -> bool:
    """Whether CudaMixedFeedForward serves: weights and biases in float32, x perhaps bfloat16."""
    return (
        x.dtype in SHORT and x.ndim > 0 and x.size > 0 and w.ndim == v.ndim == 2
        and all(a is None or (a.dtype == FLOAT32 and a.size > 0) for a in (w, b, v, c))
        and x.shape[-1:] == w.shape[1:] and w.shape[:1] == v.shape[1:]
        and (b is None or b.shape == w.shape[:1]) and (c is None or c.shape == v.shape[:1])
    )  # fmt: skip
