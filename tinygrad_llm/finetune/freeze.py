"""Which weights are trained: by patterns of their names.

train_only(model, ["trf_blocks.11", "final_norm", "out_head"])     # the book's choice
freeze(model, ["tok_emb", "pos_emb"])                              # all except the embeddings
"""

from __future__ import annotations

from collections.abc import Sequence

from ..layers import quantized
from ..layers.patterns import matches_around
from ..nn import Module, Parameter
from ..nn.parameter import whole_numel

__all__ = ["count_parameters", "freeze", "train_only"]


def _chosen(model: Module, patterns: Sequence[str] | str) -> dict[str, Parameter]:
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    named = dict(model.named_parameters())
    for pattern in patterns:
        if not any(matches_around(name, [pattern]) for name in named):
            modules = dict.fromkeys(name.rpartition(".")[0] or name for name in named)
            raise ValueError(
                f"no weight is called {pattern!r}; there are: {', '.join(modules)} (shell patterns "
                "such as 'trf_blocks.*' and parts of a name such as 'trf_blocks.0' may be used)"
            )
    return {n: p for n, p in named.items() if matches_around(n, patterns)}


def freeze(model: Module, patterns: Sequence[str] | str) -> list[str]:
    """Freezes the weights whose names match: they get no gradient. Returns their names.

    patterns: shell patterns of dotted names, or of adjacent parts of them: "trf_blocks.0" means all
    of the first block, also in model.trf_blocks.0.
    Raises: ValueError if a pattern matches nothing.
    """
    chosen = _chosen(model, patterns)
    for parameter in chosen.values():
        parameter.requires_grad_(False)
    return list(chosen)


def train_only(model: Module, patterns: Sequence[str] | str) -> list[str]:
    """Freezes all weights except those whose names match. Returns the names of the trained ones.

    patterns: see freeze
    Raises: ValueError if a pattern matches nothing.
    """
    chosen = _chosen(model, patterns)
    model.requires_grad_(False)
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return list(chosen)


def count_parameters(model: Module) -> dict[str, int]:
    """The number of trained weights and of all, quantised ones too; tied weights count once."""
    parameters = list(model.parameters())
    return {
        "trainable": sum(whole_numel(p) for p in parameters if p.requires_grad),
        "total": sum(whole_numel(p) for p in parameters) + quantized.count(model),
    }
