"""A conditional random field: tags of a text that are scored as a whole, not one by one.

Shapes: B batch, T time (tokens), K tags. Names and calls are those of the package pytorch-crf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.devices import to_numpy
from ..functions.creation.ranges import arange
from ..functions.selection import where
from ..nn import functional as F
from ..nn import init
from ..nn.module import Module
from ..nn.parameter import new_parameter
from ..tensor import Tensor

__all__ = ["CRF", "Allowed", "viterbi"]

REDUCTIONS = ("none", "sum", "mean", "token_mean")


class Allowed(NamedTuple):
    """Which paths decoding may take: bool arrays, True where it may.

    first (K): the tag of a first token; following (K, K): from the tag of the row to that of the
    column.
    """

    first: np.ndarray
    following: np.ndarray


class CRF(Module):
    """log p(tags | emissions) = s(tags) − log Z, s the score of a path: (B, T, K), (B, T) -> ().

    A linear chain: s adds the emission of each tag, a number for each two tags in a row
    (`transitions`), and one for the first and the last tag. log Z sums exp(s) over all Kᵀ paths.
    Its gradient is the difference between the path that is there and the mean path: indicator minus
    marginals. A loss is the negative of what a call returns.

    num_tags      K
    batch_first   whether emissions are (B, T, K); False: (T, B, K), tags and mask (T, B)

    `start_transitions` (K), `end_transitions` (K) and `transitions` (K, K), from row to column,
    begin uniform in [−0.1, 0.1].
    Raises: ValueError unless num_tags is an integer of at least 1.
    Source: Lafferty et al. (2001), "Conditional random fields".
    """

    def __init__(self, num_tags: int, batch_first: bool = False) -> None:
        super().__init__()
        if isinstance(num_tags, bool) or not isinstance(num_tags, int) or num_tags < 1:
            raise ValueError(f"invalid number of tags: {num_tags}")
        self.num_tags, self.batch_first = num_tags, batch_first
        self.start_transitions = new_parameter(num_tags)
        self.end_transitions = new_parameter(num_tags)
        self.transitions = new_parameter(num_tags, num_tags)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all parameters uniformly between −0.1 and 0.1."""
        for parameter in (self.start_transitions, self.end_transitions, self.transitions):
            init.uniform_(parameter, -0.1, 0.1)

    def forward(
        self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None, reduction: str = "sum"
    ) -> Tensor:
        """The log-likelihood of tags, in nats: (B, T, K), (B, T) -> (), with "none" (B).

        tags: int64 (B, T), 0 … K − 1; where the mask is 0 they mean nothing
        mask: bool or integers (B, T), ones and then zeros in each row; None for ones
        reduction: "none", "sum" and "mean" over the batch, or "token_mean", the sum divided by the
            number of tokens
        Raises: ValueError for wrong shapes or another reduction; RuntimeError for a tag that is not
        one of 0 … K − 1.
        """
        if reduction not in REDUCTIONS:
            raise ValueError(f"invalid reduction: {reduction}")
        emissions, tags, mask = self._checked(emissions, tags, mask)
        likelihood = self._score(emissions, tags, mask) - self._log_partition(emissions, mask)
        if reduction == "none":
            return likelihood
        if reduction == "mean":
            return likelihood.mean()
        if reduction == "sum":
            return likelihood.sum()
        tokens = tags.numel() if mask is None else int((mask.array != 0).sum())
        return likelihood.sum() / tokens

    def log_partition(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """log Z, of all paths: (B, T, K) -> (B); mask: see forward."""
        emissions, _, mask = self._checked(emissions, None, mask)
        return self._log_partition(emissions, mask)

    def score(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """s, of one path: (B, T, K), (B, T) -> (B); see forward."""
        emissions, tags, mask = self._checked(emissions, tags, mask)
        return self._score(emissions, tags, mask)

    def decode(
        self, emissions: Tensor, mask: Tensor | None = None, allowed: Allowed | None = None
    ) -> list[list[int]]:
        """The tags of the path with the highest score for each row, without those of padding.

        allowed: the paths among which it is; None for all
        Raises: as forward; ValueError if no allowed path exists.
        """
        emissions, _, mask = self._checked(emissions, None, mask)
        lengths = None if mask is None else to_numpy((mask.array != 0).sum(1))
        between, start, end = (
            to_numpy(s.array)
            for s in (self.transitions, self.start_transitions, self.end_transitions)
        )
        return viterbi(to_numpy(emissions.array), between, start, end, lengths, allowed)

    def _log_partition(self, emissions: Tensor, mask: Tensor | None) -> Tensor:
        return F.crf_log_partition(
            emissions, self.transitions, self.start_transitions, self.end_transitions, mask
        )

    def _score(self, emissions: Tensor, tags: Tensor, mask: Tensor | None) -> Tensor:
        B, T = tags.shape
        rows = arange(B, device=tags.device)
        last = tags[:, -1]  # (B, T) -> (B)
        if mask is not None:
            seen = mask != 0  # (B, T)
            tags = where(seen, tags, 0)  # those of padding may be any number
            last = tags[rows, seen.sum(1) - 1]  # (B, T) -> (B)
        emitted = emissions.gather(2, tags.unsqueeze(-1)).squeeze(-1)  # (B, T, K) -> (B, T)
        passed = self.transitions[tags[:, :-1], tags[:, 1:]]  # (K, K) -> (B, T − 1)
        if mask is not None:
            emitted = where(seen, emitted, 0.0)
            passed = where(seen[:, 1:], passed, 0.0)
        ends = self.start_transitions[tags[:, 0]] + self.end_transitions[last]  # (K) -> (B)
        return ends + emitted.sum(1) + passed.sum(1)  # (B, T) -> (B)

    def _checked(
        self, emissions: Tensor, tags: Any, mask: Tensor | None
    ) -> tuple[Tensor, Any, Tensor | None]:
        """All three with the batch first.

        Raises: see forward.
        """
        if emissions.dim() != 3:
            raise ValueError(f"emissions must have dimension of 3, got {emissions.dim()}")
        if emissions.shape[2] != self.num_tags:
            raise ValueError(
                f"expected last dimension of emissions is {self.num_tags}, got {emissions.shape[2]}"
            )
        for name, other in (("tags", tags), ("mask", mask)):
            if other is not None and emissions.shape[:2] != other.shape:
                raise ValueError(
                    f"the first two dimensions of emissions and {name} must match, got "
                    f"{tuple(emissions.shape[:2])} and {tuple(other.shape)}"
                )
        if not self.batch_first:
            emissions = emissions.transpose(0, 1)  # (T, B, K) -> (B, T, K)
            tags, mask = (None if x is None else x.transpose(0, 1) for x in (tags, mask))
        if emissions.shape[1] == 0:
            raise ValueError("a text without tokens has no tags")
        if mask is not None:
            seen = mask.array != 0  # (B, T)
            if not seen[:, 0].all():
                raise ValueError("mask of the first timestep must all be on")
            if (seen[:, 1:] & ~seen[:, :-1]).any():
                raise ValueError("mask has ones after zeros: tokens come first, padding after them")
        return emissions, tags, mask

    def extra_repr(self) -> str:
        return f"num_tags={self.num_tags}, batch_first={self.batch_first}"


def viterbi(
    emissions: np.ndarray, transitions: np.ndarray, start: np.ndarray, end: np.ndarray,
    lengths: Sequence[int] | np.ndarray | None = None, allowed: Allowed | None = None,
) -> list[list[int]]:  # fmt: skip
    """The path with the highest score for each row: the forward algorithm with max in place of sum.

    emissions (B, T, K); transitions (K, K), from row to column; start, end (K); lengths: tokens of
    each row, None for T; allowed: the paths among which it is. Without transitions (zeros) it is
    the highest emission of each token, among allowed paths. Of equal paths, lower tags come first.
    Returns B lists of tags. O(T·K²). Source: Viterbi (1967).
    Raises: ValueError if no allowed path has a score above −∞.
    """
    B, T, K = emissions.shape
    if allowed is not None:
        start = np.where(allowed.first, start, -np.inf)
        transitions = np.where(allowed.following, transitions, -np.inf)
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    score = start + emissions[:, 0]  # (K) + (B, K)
    best_before = np.zeros((T, B, K), np.int64)
    for t in range(1, T):
        through = score[:, :, None] + transitions  # (B, K, K): from the tag i to the tag j
        best_before[t] = through.argmax(1)  # (B, K, K) -> (B, K)
        longer = through.max(1) + emissions[:, t]  # (B, K, K) -> (B, K)
        score = np.where((t < lengths)[:, None], longer, score)
    paths = []
    for b, length in enumerate(lengths.tolist()):
        total = score[b] + end  # (K)
        tag = int(total.argmax())
        if total[tag] == -np.inf:
            raise ValueError(f"row {b} of {length} tokens has no allowed path")
        path = [tag]
        for t in range(length - 1, 0, -1):
            tag = int(best_before[t, b, tag])
            path.append(tag)
        paths.append(path[::-1])
    return paths
