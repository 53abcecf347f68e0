"""NumPy's floating-point warnings, which PyTorch does not have: computing without them.

1/0 is infinite and log(−1) is NaN here, in silence. NumPy keeps its settings in a context variable,
so a function runs silently in a context in which they were set once. That costs a twentieth of
entering np.errstate, and the caller's own settings stay as they are.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["already_silent", "silent"]


class _Silent(threading.local):
    """Each thread has its own context, because only one can be in it at a time."""

    run: Callable[..., Any]  # run(function, *args, **kwargs): the function's result

    def __init__(self) -> None:
        context = contextvars.copy_context()
        context.run(np.seterr, all="ignore")
        self.run = context.run


silent = _Silent()


def already_silent(error: RuntimeError) -> bool:
    """Whether silent.run failed because this thread is in its context: call the function itself."""
    return str(error).startswith("cannot enter context")
