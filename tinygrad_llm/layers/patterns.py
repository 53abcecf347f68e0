"""Shell patterns for the dotted names of modules: which get a LoRA layer, which are frozen."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

__all__ = ["matches", "matches_around"]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a module's dotted name, or its last parts, fits one of the patterns.

    "qkv", "att.*" and "trf_blocks.0.*" fit "model.trf_blocks.0.att.qkv".
    """
    return any(fnmatch.fnmatch(name, p) or fnmatch.fnmatch(name, f"*.{p}") for p in patterns)


def matches_around(name: str, patterns: Sequence[str]) -> bool:
    """Whether a parameter's dotted name fits a pattern, or that of a module around it.

    "trf_blocks.0" fits "model.trf_blocks.0.att.qkv.weight".
    """
    parts = name.split(".")
    return any(matches(".".join(parts[:n]), patterns) for n in range(1, len(parts) + 1))
