"""Embedding: rows of a table, chosen by integer ids."""

from ..arrays.devices import xp_of
from ..arrays.ids import check_ids
from ..arrays.indexing import scatter_add_rows
from ..autograd.engine import Op


class Embedding(Op):
    """y = W[ids]: y[n] is row ids[n] of the table.

    It is the product of one-hot rows with W, without the zeros. Backward:
        ∂L/∂W[v] = Σ g[n] over every n with ids[n] = v
    A row that is read twice gets both gradients; a row that is not read gets 0.
    padding_idx: the row that gets no gradient. scale_grad_by_freq: the mean instead of the sum.
    Saves ids.
    """

    signature = "w(V,C) ids(...) -> y(...,C)"
    in_rows = True

    def forward(self, w, ids, padding_idx=None, scale_grad_by_freq=False):
        check_ids(ids, len(w), "embedding")
        self.saved = (ids,)
        self.shape, self.padding_idx, self.scaled = w.shape, padding_idx, scale_grad_by_freq
        return self.read(w, ids)

    def backward(self, g):
        xp, ids = xp_of(g), self.saved[0].reshape(-1)  # (N)
        gw = self.zeros(g)
        scatter_add_rows(gw, ids, g.reshape(ids.size, self.shape[1]))
        if self.scaled:
            count = xp.bincount(ids, minlength=len(gw))
            gw /= xp.maximum(count, 1).astype(g.dtype)[:, None]
        if self.padding_idx is not None:
            gw[self.padding_idx] = 0.0
        return gw, None

    def read(self, w, ids):
        """The rows of the table, one for each id."""
        return w.take(ids, 0)  # (..., C)

    def zeros(self, g):
        """A table of zeros, to which the gradients of the rows that were read are added."""
        return xp_of(g).zeros(self.shape, g.dtype)


def _add_to(op, g, total, owned):
    """Add ∂L/∂W to `total` in place, only to rows that were read; None if it is not done.

    Not in float16, where each row would be rounded into total, and not only the sum of an id's.
    """
    if not owned or op.padding_idx is not None or op.scaled or total.dtype == "float16":
        return None
    scatter_add_rows(total, op.saved[0].reshape(-1), g.reshape(-1, op.shape[1]))
    return total, None


Embedding.adder = _add_to
