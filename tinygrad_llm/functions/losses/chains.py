"""Losses of whole sequences of tags: the sum over every path, which no single token decides."""

from __future__ import annotations

from ... import ops
from ...tensor import Tensor
from ..checks import need_floating, need_same_dtype
from ..method import function


@function
def crf_log_partition(
    emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, mask: Tensor | None = None
) -> Tensor:
    """log Σ exp(score) over all paths of tags, see ops.CrfLogPartition: the log Z of a CRF, (B).

    emissions (B, T, K), the score of each tag at each token; transitions (K, K), from the tag of
    the row to that of the column; start, end (K): of the first and the last tag. All of one
    floating dtype; −∞ closes a path.
    mask: (B, T) bool or integers, True where a token counts; others are passed over.
    Lafferty et al. (2001), "Conditional random fields".
    Raises: RuntimeError if shapes or dtypes do not fit each other, or the mask leaves out a first
    token.
    """
    name = "crf_log_partition"
    need_floating(name, emissions, transitions, start, end)
    need_same_dtype(name, emissions=emissions, transitions=transitions, start=start, end=end)
    shape, a = emissions.array.shape, transitions.array.shape
    k = shape[-1:]
    if len(shape) != 3 or a != (*k, *k) or start.array.shape != k or end.array.shape != k:
        raise RuntimeError(
            f"{name}: expected emissions (B, T, K), transitions (K, K), start and end (K), got "
            f"{list(shape)}, {list(a)}, {list(start.shape)} and {list(end.shape)}"
        )
    if 0 in shape[1:]:
        raise RuntimeError(f"{name}: expected at least one token and one tag, got {list(shape)}")
    seen = None
    if mask is not None:
        if mask.array.shape != shape[:2] or mask.array.dtype.kind not in "iub":
            raise RuntimeError(
                f"{name}: expected a mask (B, T) = {list(shape[:2])} of bool or integers, got "
                f"{list(mask.shape)} of {mask.dtype}"
            )
        seen = mask.array != 0  # (B, T)
        if not seen[:, 0].all():
            raise RuntimeError(f"{name}: mask of the first timestep must all be on")
    return ops.CrfLogPartition.apply(emissions, transitions, start, end, seen)
