"""Training over ranks: the gradients of all processes combined, by the number of their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import distributed as dist
from ..distributed.collectives import flat, store
from ..tensor import Tensor, wrap

__all__ = ["reduce_over_ranks"]

BUCKET = 25 << 20  # bytes of gradients that travel together


def reduce_over_ranks(group: Any = None) -> Callable[[Iterable[Tensor], Any], int]:
    """A function for Setup.reduce: afterwards every rank has the gradients of the mean loss over
    the targets of all ranks.

    Rank r's gradients are those of the mean over its n_r targets. The result is Σ n_r·g_r / Σ n_r,
    so a rank with a short batch has less weight, and one without targets none. A mean of the ranks'
    means would be another loss. The function returns Σ n_r.

        trainer.setup.reduce = reduce_over_ranks()

    Every rank has the same weights, and its own batches.
    """

    def reduce(parameters: Iterable[Tensor], targets: Any) -> int:
        counts = wrap(np.array([int(targets)], np.int64))
        dist.all_reduce(counts, group=group)
        total = int(counts.item())
        if total == 0:
            return 0
        trained = [p for p in parameters if p.requires_grad]
        used = wrap(np.array([p.grad is not None for p in trained], np.uint8))
        dist.all_reduce(used, dist.ReduceOp.MAX, group)
        present = [p for p, is_used in zip(trained, used.tolist(), strict=True) if is_used]
        for bucket in _buckets(present):
            _combine(bucket, int(targets) / total, group)
        return total

    return reduce


def _buckets(parameters: list[Tensor]) -> Iterator[list[Tensor]]:
    """The parameters in order, cut where the dtype changes or a bucket is full."""
    bucket: list[Tensor] = []
    size = 0
    for p in parameters:
        if bucket and (p.dtype is not bucket[0].dtype or size + p.array.nbytes > BUCKET):
            yield bucket
            bucket, size = [], 0
        bucket.append(p)
        size += p.array.nbytes
    if bucket:
        yield bucket


def _combine(parameters: list[Tensor], weight: float, group: Any) -> None:
    """Replace the gradients by the sum over the ranks of weight·gradient.

    Gradients with weight 0 may be anything (the mean of no losses is NaN) and count as zeros.
    """
    parts = [
        np.zeros(p.array.size, p.array.dtype) if p.grad is None or not weight else flat(p.grad)
        for p in parameters
    ]
    joined = np.concatenate(parts)  # (n1,), (n2,), ... -> (N,)
    wide = joined.astype(np.float32) if joined.itemsize == 2 else joined
    total = wrap(wide * weight)
    dist.all_reduce(total, group=group)
    ends = np.cumsum([part.size for part in parts])[:-1]
    for p, part in zip(parameters, np.split(total.array, ends), strict=True):
        if p.grad is None:
            p.grad = wrap(np.zeros(p.array.shape, p.array.dtype))
        store(p.grad, part.astype(joined.dtype, copy=False), "reduce_over_ranks")
