"""Which weights learn: by patterns of their names.

train_only(model, ["trf_blocks.11", "final_norm", "out_head"])     # the book's choice
freeze(model, ["tok_emb", "pos_emb"])                              # all but the embeddings
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

__all__ = ["count_parameters", "freeze", "train_only"]


def _fits(name: str, pattern: str) -> bool:
    """Whether a pattern fits a parameter's dotted name, or the name of a module that it is in."""
    parts = name.split(".")
    return any(fnmatch.fnmatch(".".join(parts[:n]), pattern) for n in range(1, len(parts) + 1))


def _chosen(model: Any, patterns: Sequence[str] | str) -> dict[str, Any]:
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    named = dict(model.named_parameters())
    for pattern in patterns:
        if not any(_fits(name, pattern) for name in named):
            modules = dict.fromkeys(name.rpartition(".")[0] or name for name in named)
            raise ValueError(
                f"no weight is called {pattern!r}; there are: {', '.join(modules)} (shell patterns "
                "such as 'trf_blocks.*' and leading parts such as 'trf_blocks.0' may be used)"
            )
    return {n: p for n, p in named.items() if any(_fits(n, pattern) for pattern in patterns)}


def freeze(model: Any, patterns: Sequence[str] | str) -> list[str]:
    """The weights whose names fit get no gradient any more; their names.

    patterns: shell patterns of dotted names, or of their leading parts: "trf_blocks.0" takes all
    of the first block. ValueError for a pattern that fits nothing.
    """
    found = _chosen(model, patterns)
    for parameter in found.values():
        parameter.requires_grad_(False)
    return list(found)


def train_only(model: Any, patterns: Sequence[str] | str) -> list[str]:
    """Only the weights whose names fit are trained, all others are frozen; the names of the first.

    patterns and ValueError: see freeze
    """
    found = _chosen(model, patterns)
    model.requires_grad_(False)
    for parameter in found.values():
        parameter.requires_grad_(True)
    return list(found)


def count_parameters(model: Any) -> dict[str, int]:
    """How many numbers are trained, and how many there are; tied weights count once."""
    every = list(model.parameters())
    return {
        "trainable": sum(p.numel() for p in every if p.requires_grad),
        "total": sum(p.numel() for p in every),
    }
