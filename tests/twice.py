"""One line of code under PyTorch and under tinygrad_llm, and what each printed or raised."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np


def outcome(lib: Any, expression: str, **names: Any) -> str:
    """The repr of what the expression gives under `lib`, or "ErrorClass: message".

    In the expression `torch` is the library, `t` its `tensor`, `F` its functions, `np` NumPy.
    """
    scope = {"torch": lib, "t": lib.tensor, "F": lib.nn.functional, "np": np, **names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return repr(eval(expression, scope))
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def assert_same(theirs: Any, ours: Any, expression: str, **names: Any) -> None:
    """Both libraries print the same, or raise the same class of error with the same beginning.

    The beginning is PyTorch's message, or its first 40 characters if it is longer.
    """
    expected, got = outcome(theirs, expression, **names), outcome(ours, expression, **names)
    kind, colon, message = expected.partition(": ")
    if colon and kind.endswith("Error") and kind.isidentifier():
        assert got.startswith(f"{kind}: {message[:40].rstrip('. ')}"), (expression, expected, got)
    else:
        assert got == expected, f"{expression}\nPyTorch: {expected}\nhere:    {got}"
