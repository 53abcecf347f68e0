"""Which tokens carry the loss: one function for instruction tuning, DPO and reinforcement learning.

    mask = loss_mask([6, 4], [[(3, 6)], [(2, 4)]], 7)       # two texts of 6 and 4 tokens, T = 7
    targets = targets_of(ids, mask)                         # the token after each, or -100
    print(show_labels(batch, tokenizer))                    # the same in colours

Token t of a text is predicted by the logits of token t − 1: a mask stands at the token that is
predicted, targets stand at the token before it. Being wrong by one here is the most frequent
mistake in fine-tuning, and no error shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.batches import IGNORED
from ..tensor import Tensor

__all__ = ["loss_mask", "show_labels", "targets_of"]

Span = tuple[int, int]  # (first token, the token after the last)


def loss_mask(
    lengths: Sequence[int], spans: Sequence[Sequence[Span]], T: int, end: bool = True
) -> np.ndarray:
    """(B, T) bool: True for each token whose prediction is trained.

    lengths: the tokens of B texts, without padding; spans: of each text the parts that a model
        should write, (first, after the last), one for each of its turns
    T: the length of the rows; what is longer is cut
    end: whether the first padding token after a text counts, which is the end that a model should
        learn; only where the last span reaches the end of the text, and the text is not cut
    Raises: ValueError for a span outside its text, or other numbers of texts and of spans.
    """
    if len(lengths) != len(spans):
        raise ValueError(f"{len(lengths)} texts and the spans of {len(spans)}: pair them")
    mask = np.zeros((len(lengths), T), np.bool_)  # (B, T)
    for row, n, parts in zip(mask, lengths, spans, strict=True):
        for first, stop in parts:
            if not 0 <= first <= stop <= n:
                raise ValueError(f"the span {first} to {stop} is not in a text of {n} tokens")
            row[first:stop] = True
        if end and parts and parts[-1][1] == n:
            row[n : n + 1] = True
    return mask


def targets_of(ids: np.ndarray, mask: np.ndarray, ignore_index: int = IGNORED) -> np.ndarray:
    """The token after each of ids (B, T) where the mask has it, else ignore_index: (B, T)."""
    targets = np.full_like(ids, ignore_index)
    targets[:, :-1] = np.where(mask[:, 1:], ids[:, 1:], ignore_index)
    return targets


# ------------------------------------------------------------------------------------- to look at
_COUNTED, _PLAIN, _END = "\x1b[30;42m", "\x1b[2m", "\x1b[0m"  # green ground, faint, as before


def show_labels(batch: Any, tokenizer: Any, colour: bool = True, rows: int = 4) -> str:
    """A batch as text: tokens that carry the loss on a green ground, the others faint.

    batch: (inputs, targets) of collate_instructions, or a dict with "ids" (or "chosen" and
        "rejected") and masks, as of collate_preferences and of a rollout
    colour: False writes [brackets] around what carries the loss, for files and plain terminals
    rows: texts to show at most

    Each row ends with how many of its tokens count. The token that ends a text is seen only if it
    is on green ground: a model that is never trained on it never stops.
    Raises: TypeError for a batch of another kind.
    """
    lines = []
    for name, ids, mask in _rows_of(batch):
        for row, counts in list(zip(ids, mask, strict=True))[:rows]:
            n = max(int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else 0, _real(row))
            text = "".join(
                _piece(tokenizer, int(token), bool(counted), colour)
                for token, counted in zip(row[:n], counts[:n], strict=True)
            )
            lines.append(f"{name}{text}  ({int(counts.sum())} of {n} tokens carry the loss)")
    return "\n".join(lines)


def _real(row: np.ndarray) -> int:
    """The number of tokens of a row without the padding at its end, which is one token repeated."""
    different = np.flatnonzero(row != row[-1])
    return int(different[-1]) + 1 if len(different) else len(row)


def _piece(tokenizer: Any, token: int, counted: bool, colour: bool) -> str:
    text = tokenizer.decode([token]).replace("\n", "\\n")
    text = text or f"<{token}>"
    if colour:
        return f"{_COUNTED if counted else _PLAIN}{text}{_END}"
    return f"[{text}]" if counted else text


def _rows_of(batch: Any) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(name, ids (B, T), mask (B, T)) of each part of a batch."""
    if isinstance(batch, Mapping) and "chosen" in batch:
        return [
            (f"{side}: ", _array(batch[side]), _array(batch[f"{side}_mask"]))
            for side in ("chosen", "rejected")
        ]
    if isinstance(batch, Mapping) and "ids" in batch and "mask" in batch:
        return [("", _array(batch["ids"]), _array(batch["mask"]))]
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, targets = map(_array, batch)
        ids = np.concatenate([inputs, inputs[:, -1:]], 1)  # (B, T + 1)
        mask = np.zeros(ids.shape, np.bool_)
        mask[:, 1:] = targets != IGNORED
        ids[:, 1:] = np.where(mask[:, 1:], targets, ids[:, 1:])
        return [("", ids, mask)]
    raise TypeError(
        f"a batch is (inputs, targets), or a dict with ids and a mask, got {type(batch).__name__}"
    )


def _array(x: Any) -> np.ndarray:
    return x.numpy() if isinstance(x, Tensor) else np.asarray(x)
