"""Broadcasting undone: the gradient of what was repeated is the sum over the copies.

x of shape (3) + y of shape (2, 3) repeats x for both rows. Forward copies, so backward adds. Two
things happen when a shape broadcasts: dimensions are put in front, and dimensions of size 1 grow.
"""


def unbroadcast(g, shape):
    """g, the gradient of something that broadcast from `shape`, summed to `shape` again."""
    # >>> first the dimensions in front, then those of size 1
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    grown = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=grown, keepdims=True)
    # <<<
