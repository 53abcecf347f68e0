"""Rows by number, one-hot rows, and padding, with PyTorch's names and arguments."""

from __future__ import annotations

from .. import ops
from ..arrays.devices import xp_of
from ..arrays.ids import check_ids
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
    if ids.dtype.name not in ("int64", "int32"):
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
    if ids.dtype.name != "int64":
        raise RuntimeError(
            f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}"
        )
    if not ids.size and num_classes <= 0:
        raise RuntimeError("Can not infer total number of classes from empty tensor.")
    largest = int(ids.max()) if ids.size else -1
    if ids.size and int(ids.min()) < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = largest + 1
    elif largest >= num_classes:
        raise RuntimeError(
            f"Class values must be smaller than num_classes: {largest} is not below {num_classes}"
        )
    xp = xp_of(ids)
    return wrap((ids[..., None] == xp.arange(num_classes)).astype("int64", "C"))
