"""PyTorch's `special`: mathematical functions, those that exist, under their names there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..functions.elementary import erf, erfc, exp2, expm1, log1p, logit, xlogy
from ..functions.elementary import sigmoid as expit
from ..functions.rounding import round
from ..functions.softmax import log_softmax, logsumexp, softmax
from ..tensor.missing_names import missing

__all__ = [
    "erf",
    "erfc",
    "exp2",
    "expit",
    "expm1",
    "log1p",
    "log_softmax",
    "logit",
    "logsumexp",
    "round",
    "softmax",
    "xlogy",
]


if not TYPE_CHECKING:  # else a checker would accept every name

    def __getattr__(name: str) -> object:
        raise missing(__name__, name, __all__)
