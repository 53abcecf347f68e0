"""The named tuples that max, min, sort, topk and median along a dimension return."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..tensor import Tensor


class ValuesIndices(NamedTuple):
    """What max, min, sort, topk and median along a dimension return."""

    values: Tensor
    indices: Tensor

    def __repr__(self) -> str:
        name = type(self).__name__.lower()
        return f"torch.return_types.{name}(\nvalues={self.values!r},\nindices={self.indices!r})"


class Max(ValuesIndices):
    __slots__ = ()


class Min(ValuesIndices):
    __slots__ = ()


class Sort(ValuesIndices):
    __slots__ = ()


class Topk(ValuesIndices):
    __slots__ = ()


class Mode(ValuesIndices):
    __slots__ = ()


class Median(ValuesIndices):
    __slots__ = ()


class Nanmedian(ValuesIndices):
    __slots__ = ()


class Kthvalue(ValuesIndices):
    __slots__ = ()


class Aminmax(NamedTuple):
    """What aminmax returns."""

    min: Tensor
    max: Tensor

    def __repr__(self) -> str:
        return f"torch.return_types.aminmax(\nmin={self.min!r},\nmax={self.max!r})"


class Cummax(ValuesIndices):
    __slots__ = ()


class Cummin(ValuesIndices):
    __slots__ = ()


def returned(kind: Any, values: Tensor, indices: Tensor) -> Any:
    """The pair; grad_fn prints as one step, as in PyTorch, even if it took several ops."""
    if values._op is not None:
        values._op.printed = f"{kind.__name__}Backward{1 if kind in (Median, Nanmedian) else 0}"
    return kind(values, indices)
