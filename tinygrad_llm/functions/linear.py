"""The linear layer's function, and the same for groups of rows."""

from __future__ import annotations

from .. import ops
from ..arrays.devices import xp_of
from ..tensor import Tensor
from .autocast import mixed
from .checks import need_floating, need_same_dtype, need_tensor


@mixed
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·weightᵀ + bias: (..., in) times (out, in), plus (out); returns (..., out).

    For a weight of shape (in) it returns (...).
    Raises: RuntimeError if shapes or dtypes disagree.
    """
    need_tensor("linear", input)
    need_tensor("linear", weight, "weight")
    need_same_dtype("linear", input=input, weight=weight, bias=bias)
    if input.array.ndim == 0 or weight.array.ndim not in (1, 2):
        raise RuntimeError(
            f"linear: input needs at least 1 dimension and weight 1 or 2, got "
            f"{list(input.shape)} and {list(weight.shape)}"
        )
    if weight.array.ndim == 1 or input.array.dtype.kind in "iub":
        y = input @ weight.t()
        return y if bias is None else y + bias
    x, w = input.array.shape, weight.array.shape
    if x[-1] != w[1]:
        rows = input.array.size // max(x[-1], 1)
        raise RuntimeError(
            f"linear: mat1 and mat2 shapes cannot be multiplied ({rows}x{x[-1]} and {w[1]}x{w[0]})"
            f": weight is {list(w)}, input is {list(x)}, whose last dimension should be {w[1]}"
        )
    if bias is None or bias.array.shape == w[:1]:
        return ops.Linear.apply(input, weight, bias)
    return ops.Linear.apply(input, weight, None) + bias


@mixed
def linear_gelu_linear(
    input: Tensor, weight1: Tensor, bias1: Tensor | None, weight2: Tensor, bias2: Tensor | None,
    approximate: str = "none",
) -> Tensor:  # fmt: skip
    """gelu(x·weight1ᵀ + bias1)·weight2ᵀ + bias2: a feed-forward layer, (..., in) -> (..., out).

    weight1 (hidden, in), bias1 (hidden) or None, weight2 (out, hidden), bias2 (out) or None;
    approximate: the form of GELU, "none" or "tanh". PyTorch has no such function: it is two of
    F.linear with F.gelu between them; on a GPU in bfloat16 GELU becomes part of the products.
    Raises: RuntimeError if shapes or dtypes disagree, or approximate is neither.
    """
    need_tensor("linear_gelu_linear", input)
    need_tensor("linear_gelu_linear", weight1, "weight1")
    need_tensor("linear_gelu_linear", weight2, "weight2")
    need_same_dtype(
        "linear_gelu_linear", input=input, weight1=weight1, bias1=bias1, weight2=weight2,
        bias2=bias2,
    )  # fmt: skip
    need_floating("linear_gelu_linear", input)
    if approximate not in ("none", "tanh"):
        raise RuntimeError(
            f"linear_gelu_linear: approximate must be either none or tanh, got {approximate!r}"
        )
    inputs = input, weight1, bias1, weight2, bias2
    return ops.LinearGeluLinear.apply(*inputs, approximate=approximate)


@mixed
def grouped_mm(mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None) -> Tensor:
    """mat_a[n] @ mat_b[e] for the rows n of group e, which lie sorted by group.

    mat_a (N, K), mat_b (E, K, M), offs (E) integers: where each group ends, so that its last entry
    is N; returns (N, M). A group without rows costs nothing.
    Raises: RuntimeError if shapes or dtypes do not fit, or offs does not rise from 0 to N.
    """
    need_tensor("grouped_mm", mat_a)
    need_tensor("grouped_mm", mat_b, "mat_b")
    need_same_dtype("grouped_mm", mat_a=mat_a, mat_b=mat_b)
    a, b = mat_a.array.shape, mat_b.array.shape
    if len(a) != 2 or len(b) != 3 or a[1] != b[1]:
        raise RuntimeError(
            f"grouped_mm: mat_a must be (N, K) and mat_b (E, K, M), got {list(a)} and {list(b)}"
        )
    if offs is None or offs.array.dtype.kind not in "iu" or offs.array.shape != b[:1]:
        shown = None if offs is None else f"{offs.dtype} {list(offs.shape)}"
        raise RuntimeError(
            f"grouped_mm: offs must be integers of the shape ({b[0]}), the end of each group, got "
            f"{shown}"
        )
    ends = offs.array.astype("int64")
    steps = xp_of(ends).diff(ends)
    if ends.size and (int(ends[0]) < 0 or int(ends[-1]) != a[0] or bool((steps < 0).any())):
        raise RuntimeError(
            f"grouped_mm: offs must rise from 0 to the {a[0]} rows of mat_a, got {ends.tolist()}"
        )
    return ops.GroupedMm.apply(mat_a, mat_b, ends)
