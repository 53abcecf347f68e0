"""A larger vocabulary: rows added to a model's embedding and output layer for new tokens."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import nn
from ..arrays.devices import xp_of
from ..layers.head import linear_of
from ..tensor import wrap
from .base import LanguageModel

__all__ = ["resize_vocabulary"]


def resize_vocabulary(model: LanguageModel, vocab_size: int, new_rows: str = "mean") -> None:
    """Add rows to the embedding and the output layer of a model, in place, for new tokens.

    vocab_size: the new size, such as tokenizer.vocab_size after tokenizer.add_tokens([...])
    new_rows: "mean", the mean of the old rows (new tokens start as likely as an average one), or
        "normal", drawn from a normal distribution with the mean and the standard deviation that
        each channel has in the old rows

    The old rows stay as they are, to the last bit; a tied head stays tied, and a head without a
    bias stays so (new entries of a bias are the mean of the old ones). Optimizers made before hold
    the old parameters: make them again.
    Raises: ValueError if vocab_size is smaller than the old one, or new_rows is something else;
    TypeError if the output layer is not a plain one (LoRA: merge it first).
    """
    old = model.config.vocab_size
    if isinstance(vocab_size, bool) or int(vocab_size) != vocab_size or vocab_size < old:
        raise ValueError(f"vocab_size must be an integer of at least {old}, got {vocab_size}")
    if new_rows not in ("mean", "normal"):
        raise ValueError(f'new_rows must be "mean" or "normal", got {new_rows!r}')
    head = linear_of(model.head)
    tables = (m for m in model.modules() if type(m) is nn.Embedding and m.num_embeddings == old)
    embedding = next(tables, None)  # the first: that of the tokens
    if embedding is None or head.out_features != old:
        raise TypeError(f"a {type(model).__name__} has no table of {old} embeddings and logits")
    n_new = int(vocab_size) - old
    if n_new == 0:
        return
    tied = head.weight is embedding.weight
    embedding.weight = _grown(embedding.weight, n_new, new_rows)
    embedding.num_embeddings = old + n_new
    head.weight = embedding.weight if tied else _grown(head.weight, n_new, new_rows)
    if head.bias is not None:
        head.bias = _grown(head.bias, n_new, "mean")
    head.out_features = old + n_new
    model.config = dataclasses.replace(model.config, vocab_size=old + n_new)


def _grown(old: nn.Parameter, n_new: int, new_rows: str) -> nn.Parameter:
    """The parameter (V, ...) with n_new rows more: (V + n_new, ...)."""
    xp = xp_of(old.array)
    wide = old.array.astype("float64")
    rows = xp.repeat(wide.mean(0, keepdims=True), n_new, axis=0)  # (1, ...) -> (n_new, ...)
    if new_rows == "normal":
        noise: Any = nn.init.normal_(wrap(xp.zeros(rows.shape, "float64")))
        rows += noise.array * wide.std(0)  # (n_new, C) * (C)
    array = xp.concatenate([old.array, rows.astype(old.array.dtype)])  # (V + n_new, ...)
    return nn.Parameter(wrap(array), requires_grad=old.requires_grad)
