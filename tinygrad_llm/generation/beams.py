"""Beam search: of several texts that grow side by side, the one with the best score.

Greedy decoding takes the best next token; the best text can begin with another. Here the num_beams
best unfinished texts, the beams, are kept. Each step continues each beam with every token, takes
the best continuations of all, puts those that end among the finished texts, and keeps the num_beams
best others. With as many beams as there are texts it is an exhaustive search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..autograd.grad_mode import no_grad
from ..functions.creation.from_data import tensor
from ..functions.order import topk
from ..functions.shape.join import cat
from ..functions.softmax import log_softmax
from ..tensor import Tensor
from ..tensor.dtypes import int64
from .logits import NextLogits, check_logits
from .options import Beams, Sampling
from .prompts import Prompts
from .sampling import in_float32, repetition_filter
from .streams import has_stop_string

__all__ = ["beam_search"]

INF = float("inf")


class Hypothesis(NamedTuple):
    """New tokens of a text, the log-probability of each under the model, and the text's score."""

    ids: list[int]
    logprobs: list[float]
    score: float  # the sum of the log-probabilities (after the penalty), or that per length^penalty


class Candidate(NamedTuple):
    """A beam and a token that continues it."""

    beam: int
    token: int
    logprob: float  # of the token, under the model
    score: float  # of the text with it


@dataclass
class Search:
    """The beam search of one prompt: its beams, best first, and its finished texts, best first.

    `step` is called until `ended`.
    """

    max_new_tokens: int
    sampling: Sampling
    options: Beams
    tokenizer: Any
    beams: list[Hypothesis] = field(default_factory=lambda: [Hypothesis([], [], 0.0)])
    finished: list[Hypothesis] = field(default_factory=list)
    ended: bool = False

    @property
    def n_candidates(self) -> int:
        """Enough continuations that num_beams remain if all beams also draw each stop token."""
        return max(2, 1 + len(self._stops)) * self.options.num_beams

    @property
    def _stops(self) -> Sequence[int]:
        return self.sampling.stop_tokens

    def step(self, candidates: Sequence[Candidate]) -> list[int]:
        """Take the best continuations, best first; returns which beam each new beam continues."""
        K = self.options.num_beams
        going: list[Hypothesis] = []
        parents: list[int] = []
        for rank, candidate in enumerate(candidates):
            if candidate.score == -INF:
                continue
            old = self.beams[candidate.beam]
            ids, logprobs = [*old.ids, candidate.token], [*old.logprobs, candidate.logprob]
            if self._ends(ids):
                if rank < K:
                    score = candidate.score / len(ids) ** self.options.length_penalty
                    self.finished.append(Hypothesis(ids, logprobs, score))
            elif len(going) < K:
                going.append(Hypothesis(ids, logprobs, candidate.score))
                parents.append(candidate.beam)
        self.finished = sorted(self.finished, key=lambda h: -h.score)[:K]
        self.beams = going
        self.ended = not going or self._cannot_improve()
        return parents

    def _ends(self, ids: list[int]) -> bool:
        return (
            len(ids) == self.max_new_tokens
            or ids[-1] in self._stops
            or has_stop_string(self.tokenizer, ids, self.sampling.stop_strings)
        )

    def _cannot_improve(self) -> bool:
        if len(self.finished) < self.options.num_beams:
            return False
        if self.options.early_stopping is True:
            return True
        longest = self.options.early_stopping == "never" and self.options.length_penalty > 0.0
        length = self.max_new_tokens if longest else len(self.beams[0].ids)
        best = self.beams[0].score / length**self.options.length_penalty
        return best <= self.finished[-1].score


def beam_search(
    next_logits: NextLogits, prompts: Prompts, max_new_tokens: int, sampling: Sampling,
    options: Beams, tokenizer: Any,
) -> list[tuple[Tensor, Tensor, list[bool]]]:  # fmt: skip
    """The best text of each prompt, as columns of new tokens.

    Returns for each column ids (B) int64, log-probabilities (B) float32 and whether each id belongs
    to a text (B): it does not if it is a stop token, or stands after the end of a row. A last
    column without any text is left out.
    Source: Graves, 2012, "Sequence Transduction with Recurrent Neural Networks", section 2.5; the
    length penalty and what ends the search are those of transformers.
    """
    searches = [
        Search(max_new_tokens, sampling, options, tokenizer) for _ in range(prompts.ids.shape[0])
    ]
    idx = prompts.ids  # (B, T), from the first step on (B · K, T)
    for step in range(max_new_tokens):
        with no_grad():
            logprobs, scores = _logprobs(next_logits(idx), idx, sampling)  # (rows, V) each
        K = 1 if step == 0 else options.num_beams
        rows, tokens = [], []
        for b, search in enumerate(searches):
            parents: list[int] = []
            if not search.ended:
                of_row = slice(b * K, (b + 1) * K)
                parents = search.step(_candidates(search, logprobs[of_row], scores[of_row]))
            # rows without a beam repeat row 0 of their prompt: what they compute is not used
            unused = options.num_beams - len(parents)
            rows += [b * K + parent for parent in parents] + [b * K] * unused
            tokens += [beam.ids[-1] for beam in search.beams[: len(parents)]] + [0] * unused
        if all(search.ended for search in searches):
            break
        chosen = tensor(rows, dtype=int64, device=idx.device)  # (B · K)
        if rows != list(range(idx.shape[0])):
            next_logits.choose_rows(chosen)
        new = tensor(tokens, dtype=int64, device=idx.device).unsqueeze(1)  # (B · K, 1)
        idx = cat([idx[chosen], new], 1)  # (B · K, T + 1)
    best = [s.finished[0] if s.finished else Hypothesis([], [], 0.0) for s in searches]
    return _columns(best, sampling, idx)


def _logprobs(logits: Tensor, idx: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The model's log-probabilities (rows, V), and those that count, after the penalty."""
    check_logits(logits)
    logprobs = log_softmax(in_float32(logits), dim=-1)
    if sampling.repetition_penalty == 1.0:
        return logprobs, logprobs
    return logprobs, repetition_filter(logprobs, idx, sampling.repetition_penalty)


def _candidates(search: Search, logprobs: Tensor, scores: Tensor) -> list[Candidate]:
    """The best continuations of a prompt's beams, best first; logprobs, scores: (K, V)."""
    V, alive = scores.shape[-1], len(search.beams)
    before = tensor([[beam.score] for beam in search.beams], dtype=scores.dtype)  # (alive, 1)
    total = (scores[:alive] + before.to(scores.device)).flatten()  # (alive, V) -> (alive · V)
    best, places = topk(total, min(search.n_candidates, alive * V))
    own = logprobs[:alive].flatten()[places].tolist()  # (alive · V) -> (candidates)
    return [
        Candidate(place // V, place % V, logprob, score)
        for place, logprob, score in zip(places.tolist(), own, best.tolist(), strict=True)
    ]


def _columns(
    best: Sequence[Hypothesis], sampling: Sampling, like: Tensor
) -> list[tuple[Tensor, Tensor, list[bool]]]:
    stops: Sequence[int] = sampling.stop_tokens
    filler = stops[0] if stops else 0
    lengths = [len(h.ids) - bool(h.ids and h.ids[-1] in stops) for h in best]
    columns = []
    for t in range(max(lengths, default=0)):
        ids = [h.ids[t] if t < len(h.ids) else filler for h in best]
        logprobs = [h.logprobs[t] if t < len(h.logprobs) else 0.0 for h in best]
        columns.append((
            tensor(ids, dtype=int64, device=like.device), tensor(logprobs, device=like.device),
            [t < length for length in lengths],
        ))  # (B), (B)  # fmt: skip
    return columns
