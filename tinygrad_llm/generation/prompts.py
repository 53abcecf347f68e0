"""Prompts of a batch as one tensor: checked, and of unequal length padded at the left."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..functions.creation.from_data import tensor
from ..functions.creation.ranges import arange
from ..functions.selection import where
from ..models.base import device_of
from ..tensor import Tensor
from ..tensor.dtypes import int64

__all__ = ["Prompts", "end_tokens", "prompts_of"]


@dataclass(frozen=True)
class Prompts:
    """The prompts of a batch.

    ids      (B, T) int64; where a row is padded, its own first token
    padding  (B) int64: the number of padding tokens at the left of each row; None if there are none
    single   whether one row without a batch dimension was given
    """

    ids: Tensor
    padding: Tensor | None
    single: bool

    def shown(self, filler: int) -> Tensor:
        """The ids (B, T) with `filler` as the padding."""
        if self.padding is None:
            return self.ids
        columns = arange(self.ids.shape[1], device=self.ids.device)  # (T)
        is_padding = columns < self.padding.unsqueeze(1)  # (T) < (B, 1) -> (B, T)
        return where(is_padding, filler, self.ids)  # (B, T)


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The ids that end a text: the tokenizer's, and those of the model's config.json."""
    named = getattr(model, "token_ids", {}).get("eos_token_id")
    ids = {tokenizer.eot_token, *(named if isinstance(named, list) else [named])}
    return tuple(sorted(i for i in ids if isinstance(i, int)))


def prompts_of(idx: Any, model: Any) -> Prompts:
    """The prompts idx: token ids (T) or (B, T), a tensor or lists; rows of a list may be unequal.

    Lists go to the model's device.
    Raises: TypeError if the ids are not integers, IndexError if one does not fit in int64,
    ValueError if a row is empty or idx has more than two dimensions.
    """
    if isinstance(idx, Tensor):
        return _of_tensor(idx)
    rows = _as_list(idx)
    single = not any(_is_row(row) and not isinstance(row, str) for row in rows)
    if single:
        rows = [rows]
    rows = [_ids(row) for row in rows]
    lengths = [len(row) for row in rows]
    if not lengths or min(lengths) == 0:
        where_empty = f": row {lengths.index(0)} is empty" if lengths and not single else ""
        raise ValueError(
            "idx must have the shape (batch, time) with at least one token per row, got "
            f"{(0,) if single or not lengths else (len(rows), lengths)}{where_empty}"
        )
    T = max(lengths)
    device = device_of(model)
    ids = tensor([[row[0]] * (T - len(row)) + row for row in rows], dtype=int64, device=device)
    padding = [T - length for length in lengths]
    return Prompts(ids, tensor(padding, device=device) if any(padding) else None, single)


def _of_tensor(idx: Tensor) -> Prompts:
    if idx.array.dtype.kind not in "iu":
        raise TypeError(f"idx must hold integer token ids, got {idx.dtype}")
    if idx.dim() not in (1, 2) or idx.shape[-1] == 0:
        raise ValueError(
            f"idx must have the shape (batch, time) with at least one token, got {tuple(idx.shape)}"
        )
    single = idx.dim() == 1
    idx = idx.to(int64)
    return Prompts(idx.unsqueeze(0) if single else idx, None, single)  # (B, T)


def _is_row(value: Any) -> bool:
    """Whether it is a row of ids, not an id: a list, a tuple, an array or tensor but not 0-d."""
    return hasattr(value, "__iter__") and getattr(value, "ndim", 1) > 0


def _as_list(row: Any) -> list[Any]:
    if isinstance(row, str | bytes):
        raise TypeError(f"idx must hold integer token ids, got the text {row!r:.60}: encode it")
    if not _is_row(row):
        raise TypeError(f"idx must be token ids, a tensor or lists, got {row!r:.60}")
    return row.tolist() if hasattr(row, "tolist") else list(row)


def _ids(row: Any) -> list[int]:
    """A row as a list of ints."""
    ids = []
    for value in _as_list(row):
        if _is_row(value) and not isinstance(value, str):
            raise ValueError("idx must have the shape (batch, time), got three dimensions or more")
        try:
            if isinstance(value, bool | np.bool_):
                raise TypeError
            ids.append(operator.index(value))
        except (TypeError, ValueError):
            raise TypeError(f"idx must hold integer token ids, got {value!r:.60}") from None
        if not -(2**63) <= ids[-1] < 2**63:
            raise IndexError(f"idx: index out of range: {ids[-1]}")
    return ids
