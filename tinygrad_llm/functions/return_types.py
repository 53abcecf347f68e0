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


class Median(ValuesIndices):
    __slots__ = ()


class Histogram(NamedTuple):
    """What histogram returns."""

    hist: Tensor
    bin_edges: Tensor

    def __repr__(self) -> str:
        return f"torch.return_types.histogram(\nhist={self.hist!r},\nbin_edges={self.bin_edges!r})"


class Cummax(ValuesIndices):
    __slots__ = ()


class Cummin(ValuesIndices):
    __slots__ = ()


def _printed(pair: Any, name: str) -> str:
    fields = ",\n".join(f"{key}={value!r}" for key, value in pair._asdict().items())
    return f"torch.return_types.{name}(\n{fields})"


class Slogdet(NamedTuple):
    """The sign of a determinant and the logarithm of its absolute value."""

    sign: Tensor
    logabsdet: Tensor

    def __repr__(self) -> str:
        return _printed(self, "linalg_slogdet")


class Svd(NamedTuple):
    """A = U·diag(S)·Vh."""

    U: Tensor
    S: Tensor
    Vh: Tensor

    def __repr__(self) -> str:
        return _printed(self, "linalg_svd")


class Qr(NamedTuple):
    """A = Q·R."""

    Q: Tensor
    R: Tensor

    def __repr__(self) -> str:
        return _printed(self, "linalg_qr")


class Eigh(NamedTuple):
    """The eigenvalues of a symmetric matrix and its eigenvectors, as columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor

    def __repr__(self) -> str:
        return _printed(self, "linalg_eigh")


def returned(kind: Any, values: Tensor, indices: Tensor) -> Any:
    """The pair; grad_fn prints as one step, as in PyTorch, even if it took several ops."""
    if values._op is not None:
        values._op.printed = f"{kind.__name__}Backward{1 if kind is Median else 0}"
    return kind(values, indices)
