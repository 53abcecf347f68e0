"""Sequences of different lengths in one tensor. (Recurrent layers are not offered.)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...functions.shape.join import stack
from ...functions.shape.padding import pad
from ...tensor import Tensor
from ...tensor.missing_names import missing

__all__ = ["pad_sequence", "unpad_sequence"]


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:  # fmt: skip
    """Sequences of shape (Tᵢ, ...) in one tensor: (T, B, ...), or (B, T, ...) if batch_first.

    T is the longest of the lengths; shorter sequences are filled with padding_value on that side.
    Raises: RuntimeError without sequences, for a padding_side other than right and left, and if the
    other dimensions differ.
    """
    if padding_side not in ("right", "left"):
        raise RuntimeError(f"padding_side should be one of 'right' or 'left', got {padding_side!r}")
    rows: Sequence[Tensor] = list(sequences)
    if not rows:
        raise RuntimeError("received an empty list of sequences")
    longest = max(len(row) for row in rows)
    padded = []
    for row in rows:
        if row.shape[1:] != rows[0].shape[1:]:
            raise RuntimeError(
                f"the sequences must have the same shape except for their length, got "
                f"{tuple(rows[0].shape)} and {tuple(row.shape)}"
            )
        missing_rows = longest - len(row)
        ends = (0, missing_rows) if padding_side == "right" else (missing_rows, 0)
        widths = (0, 0) * (row.ndim - 1) + ends
        padded.append(pad(row, widths, value=padding_value) if missing_rows else row)
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list:
    """The sequences that pad_sequence padded on the right, again: the first lengths[i] of each."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(n)] for row, n in zip(rows, lengths, strict=True)]


if not TYPE_CHECKING:  # else a checker would accept every name

    def __getattr__(name: str) -> object:
        raise missing(__name__, name, __all__)
