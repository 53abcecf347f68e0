"""Packages that CI installs to compare with: it must not pass because one is missing."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest

__all__ = ["oracle"]


def oracle(name: str) -> Any:
    """The module; without it the test is skipped, or fails if TINYGRAD_LLM_REQUIRE_PARITY is set.

    Raises: ModuleNotFoundError then.
    """
    if os.environ.get("TINYGRAD_LLM_REQUIRE_PARITY"):
        return importlib.import_module(name)
    return pytest.importorskip(name)
