"""Settings of cuDNN, which this package does not use: they may be set and change nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

deterministic = False
benchmark = False
benchmark_limit = 10
allow_tf32 = False
enabled = False


def is_available() -> bool:
    """False."""
    return False


def version() -> int | None:
    """None: there is no cuDNN."""
    return None


def is_acceptable(tensor: Any) -> bool:
    """False: cuDNN computes nothing here."""
    return False


@contextlib.contextmanager
def flags(**settings: Any) -> Iterator[None]:
    """A block with other settings: flags(enabled=False, benchmark=True).

    Raises: TypeError for a setting that cuDNN does not have.
    """
    module = sys.modules[__name__]
    names = ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")
    unknown = set(settings) - {*names, "fp32_precision"}
    if unknown:
        raise TypeError(f"flags() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    before = {name: getattr(module, name) for name in names}
    vars(module).update(settings)
    try:
        yield
    finally:
        vars(module).update(before)
