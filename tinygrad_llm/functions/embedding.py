"""Rows by number, one-hot rows, and padding, with PyTorch's names and arguments."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..arrays.devices import xp_of
from ..arrays.ids import INT32, INT64, check_ids, smallest_and_largest
from ..autograd.grad_mode import no_grad
from ..tensor import Tensor, wrap
from .checks import need_tensor
from .method import function


@function
def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """weight[input]: ids (...) of int64 or int32 and a table (V, C); returns (..., C).

    padding_idx: a row that gets no gradient. max_norm: rows that are read and longer than it (in
    the norm_type norm) are shortened to it first, in place. scale_grad_by_freq: a row's gradient is
    divided by how often it was read. The gradient is dense; `sparse` has no effect.
    Raises: IndexError for an id outside [0, V).
    """
    need_tensor("embedding", input)
    need_tensor("embedding", weight, "weight")
    ids, n = input.array, len(weight.array) if weight.array.ndim else 0
    if ids.dtype not in (INT64, INT32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got {input.dtype} instead: call .long() first"
        )
    if weight.array.ndim != 2:
        raise RuntimeError(f"embedding: 'weight' must be 2-D, got {list(weight.shape)}")
    if padding_idx is not None:
        if not -n <= padding_idx < n:
            raise ValueError(f"Padding_idx must be within num_embeddings: {padding_idx} in {n}")
        padding_idx %= n
    if max_norm is not None:
        check_ids(ids, n, "embedding")
        with no_grad():
            used = wrap(xp_of(ids).unique(ids))
            rows = weight.index_select(0, used)
            length = rows.norm(norm_type, 1, keepdim=True)
            weight[used] = rows * (max_norm / (length + 1e-7)).clamp(max=1.0)
    return ops.Embedding.apply(
        weight, ids, padding_idx=padding_idx, scale_grad_by_freq=scale_grad_by_freq
    )


@function
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64 ids (...) as rows (..., num_classes) with a 1 at the id; -1: one more than the largest.

    Raises: RuntimeError for another dtype and for an id outside [0, num_classes).
    """
    ids = tensor.array
    if ids.dtype != INT64:
        raise RuntimeError(
            f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}"
        )
    if not ids.size and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    smallest, largest = smallest_and_largest(ids) if ids.size else (0, -1)
    if smallest < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = largest + 1
    elif largest >= num_classes:
        raise RuntimeError(
            f"Class values must be smaller than num_classes: {largest} is not below {num_classes}"
        )
    xp = xp_of(ids)
    rows = xp.zeros((*ids.shape, num_classes), INT64)  # (..., num_classes)
    rows.reshape(-1)[xp.arange(0, rows.size, num_classes or 1) + ids.reshape(-1)] = 1
    return wrap(rows)


def _bag_of_each(offsets: Tensor, n: int, include_last: bool) -> tuple[Any, int]:
    """(the bag of each of n ids, how many bags there are).

    Raises: ValueError or RuntimeError if the offsets do not begin bags within n ids.
    """
    starts, xp = offsets.array, xp_of(offsets.array)
    if starts.ndim != 1:
        raise ValueError(f"offsets has to be a 1D Tensor but got {starts.ndim}D")
    if starts.dtype.kind not in "iu":
        raise RuntimeError(f"embedding_bag: offsets are {offsets.dtype}, expected integers")
    if include_last and not len(starts):
        raise RuntimeError("include_last_offset: number of offsets should be at least 1")
    ends = starts.tolist()
    if ends and ends[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            f"position 0. However, got {ends[0]}"
        )
    if ends and ends[-1] > n:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length, but got offsets[-1] of {ends[-1]}"
            f" and input of size {n}"
        )
    if any(a > b for a, b in zip(ends, ends[1:], strict=False)):
        raise RuntimeError("embedding_bag: offsets must not fall: each begins a bag of the input")
    starts = starts[:-1] if include_last else starts
    return xp.searchsorted(starts, xp.arange(n), side="right") - 1, len(starts)


def _largest_in_bags(rows: Tensor, bags: Any, n_bags: int) -> Tensor:
    """(N, C) -> (n_bags, C), the largest of each bag's rows, which lie together; 0 if it
    is empty."""
    xp = xp_of(bags)
    counts = xp.bincount(bags, minlength=n_bags)
    longest = int(counts.max()) if n_bags else 0
    if not longest:
        return rows.sum(0, keepdim=True).expand(n_bags, -1)  # (0, C) -> (n_bags, C)
    places = (xp.cumsum(counts) - counts)[:, None] + xp.arange(longest)  # (n_bags, L)
    missing = wrap(xp.arange(longest) >= counts[:, None])  # (n_bags, L)
    padded = rows[wrap(xp.clip(places, 0, len(bags) - 1))]  # (N, C) -> (n_bags, L, C)
    values = padded.masked_fill(missing.unsqueeze(-1), -math.inf).max(1).values  # (n_bags, C)
    return values.masked_fill(wrap(counts == 0).unsqueeze(-1), 0.0)


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
    sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """The sum, mean or largest of the rows of each bag of ids: (bags, C). An empty bag is 0.

    input: ids (bags, length), or (N) with offsets, where each bag begins (include_last_offset: the
    last one is where the last bag ends). per_sample_weights: a factor of each row, for mode "sum".
    padding_idx: ids that no bag counts. The other options are embedding's.
    Raises: ValueError, RuntimeError or NotImplementedError for arguments that do not go together.
    """
    need_tensor("embedding_bag", input)
    need_tensor("embedding_bag", weight, "weight")
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and (scale_grad_by_freq or sparse):
        raise ValueError("max mode does not support scaling the gradient by the frequency, nor "
                         "sparse weights")  # fmt: skip
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only "
                f"supported for mode='sum' (got mode='{mode}')"
            )
        if per_sample_weights.array.shape != input.array.shape:
            raise ValueError(
                f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not "
                f"None, then it must have the same shape as the input ({list(input.shape)})"
            )
    xp = xp_of(input.array)
    if input.array.ndim == 2:
        if offsets is not None:
            raise ValueError("if input is 2D, then offsets has to be None, as input is treated is "
                             "a mini-batch of fixed length sequences")  # fmt: skip
        n_bags, length = input.array.shape
        bags = xp.repeat(xp.arange(n_bags), length)
    elif input.array.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        bags, n_bags = _bag_of_each(offsets, len(input.array), include_last_offset)
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension "
                         f"{input.array.ndim}")  # fmt: skip
    ids = input.reshape(-1)  # (bags, length) -> (N)
    factors = None if per_sample_weights is None else per_sample_weights.reshape(-1)  # (N)
    if padding_idx is not None:
        kept = wrap(ids.array != padding_idx % len(weight.array))
        ids, bags = ids[kept], bags[kept.array]
        factors = None if factors is None else factors[kept]
    rows = embedding(ids, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse)  # (N, C)
    if mode == "max":
        return _largest_in_bags(rows, bags, n_bags)
    rows = rows if factors is None else rows * factors.unsqueeze(-1)
    empty = wrap(xp.zeros((n_bags, rows.array.shape[1]), rows.array.dtype))
    sums = empty.index_add(0, wrap(bags), rows)  # (N, C) -> (bags, C)
    if mode == "sum":
        return sums
    counts = xp.maximum(xp.bincount(bags, minlength=n_bags), 1)
    return sums / wrap(counts.astype(rows.array.dtype)).unsqueeze(-1)
