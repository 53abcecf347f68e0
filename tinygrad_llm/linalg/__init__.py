"""torch.linalg: norms, systems of equations, determinants and decompositions of matrices.

solve, inv, det, slogdet, the norms, svdvals and eigvalsh have gradients; svd, qr and eigh have none
and say so where one would be needed.
"""

from typing import TYPE_CHECKING

from ..functions.diagonal import diagonal
from ..functions.linalg import matmul
from ..functions.linear_algebra import (
    det,
    eigh,
    eigvalsh,
    inv,
    matrix_norm,
    norm,
    qr,
    slogdet,
    solve,
    svd,
    svdvals,
    vector_norm,
)
from ..tensor.missing_names import missing

__all__ = [
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "norm",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "vector_norm",
]


if not TYPE_CHECKING:  # else a checker would accept every name

    def __getattr__(name: str) -> object:
        raise missing(__name__, name, __all__)
