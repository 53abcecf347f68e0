"""Several different texts of one prompt: diverse beam search, with a beam for each group.

    generate_diverse(model, [prompt] * 4, 32, group=4, penalty=1.0, stop_tokens=[2])

Drawn texts differ by chance, and beams hardly differ. Here row g of a prompt takes the token with
the highest log π(token) − penalty · (rows before g that took it at this step): the first row is
greedy, each of the others avoids what those before it write at the same place.
Source: Vijayakumar et al. (2016), "Diverse beam search", equation 6 with Hamming diversity.
Shapes: P prompts, G rows of each, N = P·G, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..autograd.grad_mode import no_grad
from ..functions.creation.from_data import tensor
from ..functions.shape.join import cat
from ..functions.softmax import log_softmax
from ..tensor import Tensor
from ..tensor.dtypes import int64
from .logits import NextLogits, check_logits
from .options import Sampling, integer
from .prompts import prompts_of
from .sampling import in_float32

__all__ = ["generate_diverse"]


def generate_diverse(
    model: Any, idx: Any, max_new_tokens: int, *, group: int, penalty: float = 1.0,
    stop_tokens: Any = (),
) -> Tensor:  # fmt: skip
    """The prompts idx with up to max_new_tokens tokens after them: (N, T) -> (N, at most T + new).

    idx: as of `generate`; each prompt stands there `group` times, one row after the other
    penalty: 0 or more; 0 makes the rows of a prompt equal. Rows that have ended count no more
    Padding at the ends of rows, and a last column of stop tokens, are as of `generate`.
    Raises: ValueError for a group that does not divide the rows, or a penalty that is not a finite
    number of at least 0; what generate raises.
    """
    prompts = prompts_of(idx, model)
    group = integer("group", group, 1, ValueError)
    max_new_tokens = integer("max_new_tokens", max_new_tokens, 0)
    stops = Sampling(stop_tokens=stop_tokens).stop_tokens
    N = prompts.ids.shape[0]
    if N % group:
        raise ValueError(f"{N} rows are not prompts of {group} rows each")
    if not 0.0 <= penalty < math.inf:
        raise ValueError(f"penalty must be a finite number of at least 0, got {penalty!r}")
    next_logits = NextLogits(model, prompts, True, None)
    filler = next(iter(stops), 0)
    ids, done = prompts.ids, [False] * N
    columns: list[Tensor] = []
    for _ in range(max_new_tokens):
        with no_grad():
            logits = next_logits(ids)  # (N, V)
            check_logits(logits)
            logprobs = log_softmax(in_float32(logits), dim=-1)  # (N, V)
            tokens = _step(logprobs, done, group, float(penalty))  # N
            shown = [filler if end else token for token, end in zip(tokens, done, strict=True)]
            done = [end or token in stops for token, end in zip(tokens, done, strict=True)]
            column = tensor(shown, dtype=int64, device=ids.device).unsqueeze(1)  # (N, 1)
            if all(done) and all(token in stops for token in shown):
                break
            columns.append(column)
            ids = cat([ids, column], 1)  # (N, T + 1)
        if all(done):
            break
    return cat([prompts.shown(filler), *columns], 1)  # (N, T + new)


def _step(logprobs: Tensor, done: Sequence[bool], group: int, penalty: float) -> list[int]:
    """The token of each row; in the order of the rows of a prompt."""
    chosen: list[int] = []
    for row, end in enumerate(done):
        taken = [] if row % group == 0 else [
            token for token, over in zip(
                chosen[row - row % group :], done[row - row % group : row], strict=True
            ) if not over
        ]  # fmt: skip
        scores = logprobs[row].clone()  # (V)
        for token in () if end else taken:
            scores[token] -= penalty
        chosen.append(int(scores.argmax().item()))
    return chosen
