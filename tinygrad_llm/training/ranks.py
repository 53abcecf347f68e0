"""Training over ranks: the gradients of all processes combined, by the number of their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from .. import distributed as dist
from ..arrays.devices import on_gpu
from ..distributed.gradients import joined_gradients, put_gradient
from ..distributed.groups import member_group
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

    def reduce(parameters: Iterable[Tensor], targets: Any) -> Any:
        chosen = member_group(group, "reduce_over_ranks")
        if chosen is None:
            return targets
        if isinstance(targets, Tensor) and chosen.takes(targets.array) and on_gpu((targets.array,)):
            return _reduce_on_gpu(parameters, targets, chosen)
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
            _combine(bucket, int(targets) / total, chosen)
        return total

    return reduce


def _reduce_on_gpu(parameters: Iterable[Tensor], targets: Tensor, group: Any) -> Tensor:
    """reduce for a step that may be captured in a CUDA graph: nothing waits for the GPU.

    targets: a 0-d tensor on the GPU, above 0. The same parameters have gradients on all ranks.
    """
    total = wrap(targets.array.reshape(1).copy())  # () -> (1,)
    dist.all_reduce(total, group=group)
    weight = (targets.array / total.array).reshape(())  # float64; (1,) -> ()
    present = [p for p in parameters if p.requires_grad and p.grad is not None]
    for bucket in _buckets(present):
        _combine(bucket, weight, group)
    return wrap(total.array.reshape(()))


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


def _combine(parameters: list[Tensor], weight: Any, group: Any) -> None:
    """Replace the gradients by the sum over the ranks of weight·gradient.

    Gradients with weight 0 may be anything (the mean of no losses is NaN) and count as zeros.
    """
    dtype = parameters[0].array.dtype
    wide = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
    joined, parts = joined_gradients(parameters, group, weight, wide)
    dist.all_reduce(wrap(joined), group=group)
    for p, part in zip(parameters, parts, strict=True):
        put_gradient(p, part, "reduce_over_ranks")
