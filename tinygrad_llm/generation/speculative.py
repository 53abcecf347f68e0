"""Speculative decoding: a cheap draft of k tokens, which the model verifies in one call.

The model computes the distributions p₁ … p_{k+1} after the text and after each drafted token in one
call of k + 1 tokens. x_i is the drafted token i and q_i the distribution that it was drawn from.

Greedy: x_i is accepted while it is the likeliest token; the first that is not is replaced by the
one that is. The text is that of ordinary greedy decoding, except where two logits are equal up to
rounding: a call of several tokens adds up in another order than calls of one.

Drawn: x_i is accepted with the probability min(1, p_i(x_i) / q_i(x_i)). The first that is rejected
is replaced by a draw from the residual, max(0, p_i − q_i) divided by its sum, and the tokens after
it are dropped. If all are accepted, token k + 1 is drawn from p_{k+1}. So each token has exactly
the distribution p: x is accepted with the probability q(x)·min(1, p(x) / q(x)) = min(p(x), q(x)),
and the residual adds the rest, p(x) − min(p(x), q(x)). p and q are the distributions after penalty,
temperature and filters. A lookup is certain of its token: q(x_i) = 1. With the same seed the text
is another than without drafts, because other random numbers are used.

When it pays: on a CPU a call that verifies 4 drafted tokens costs 1.4 calls of one token in
float32, where reading the weights is most of the time, and 2.4 in 4 bits; a lookup costs nothing
more, so it pays from 0.4 and 1.4 accepted tokens per draft on: for a text that repeats itself or
its prompt (code, quotations, corrections). A draft model must be much smaller and agree often.
Measured for SmolLM2 in benchmarks/FORMATS.md: lookup 1.18 to 2.06 times the speed for a text that
is copied, 0.72 to 0.84 for a new one. `DraftStatistics` counts what was accepted.

Source: Leviathan et al., 2023, "Fast Inference from Transformers via Speculative Decoding",
algorithm 1; Chen et al., 2023, "Accelerating Large Language Model Decoding with Speculative
Sampling"; for lookup: Saxena, 2023, "Prompt Lookup Decoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from ..functions.creation.from_data import tensor
from ..functions.random import rand
from ..functions.sampling import multinomial
from ..functions.shape.join import cat
from ..layers.cache import RecurrentCache
from ..models.base import LanguageModel, device_of
from ..random import Generator
from ..tensor import Tensor
from ..tensor.dtypes import int64
from .logits import NextLogits
from .options import Beams, Drafts, DraftStatistics, Sampling
from .prompts import Prompts
from .sampling import chosen, distribution, likeliest

__all__ = ["Lookup", "check_draft", "speculative_tokens"]


class _Draft(Protocol):
    """Proposes up to n tokens after idx (1, T): ids (1, at most n), and their q (1, V) each.

    q is None where the draft is certain of its token.
    """

    def propose(self, idx: Tensor, n: int) -> tuple[Tensor, list[Tensor | None]]: ...

    def go_back(self, length: int) -> None: ...


class Lookup:
    """Drafts what followed the last tokens of the text where they occurred before.

    ngram: the most last tokens that are searched for. The longest suffix that occurred before
    counts, and of several places the latest. A draft may run past the end of the text into itself:
    after "abab" it is "abab".
    Source: Saxena, 2023, "Prompt Lookup Decoding".
    """

    def __init__(self, ngram: int) -> None:
        self.ngram = ngram
        self._ids: list[int] = []
        self._follows: dict[tuple[int, ...], int] = {}  # where the text continues after an n-gram

    def extend(self, ids: list[int]) -> None:
        """The text continues with these ids."""
        for token in ids:
            at = len(self._ids)
            for n in range(1, min(self.ngram, at) + 1):
                self._follows[tuple(self._ids[at - n :])] = at
            self._ids.append(token)

    def follow(self, n: int) -> list[int]:
        """What followed the end of the text before: n ids, or none."""
        text = list(self._ids)
        for length in range(min(self.ngram, len(text)), 0, -1):
            at = self._follows.get(tuple(text[len(text) - length :]))
            if at is not None:
                for i in range(n):
                    text.append(text[at + i])
                return text[len(self._ids) :]
        return []

    def propose(self, idx: Tensor, n: int) -> tuple[Tensor, list[Tensor | None]]:
        """Up to n tokens after idx (1, T), which begins with the text so far; see _Draft."""
        self.extend(idx[0, len(self._ids) :].tolist())
        ids = self.follow(n)
        return tensor([ids], dtype=int64, device=idx.device), [None] * len(ids)  # (1, n or 0)

    def go_back(self, length: int) -> None:
        """Does nothing: only tokens of the text are stored."""


class _ModelDraft:
    """Drafts what a smaller model writes, and keeps its own cache."""

    def __init__(
        self, logits: NextLogits, sampling: Sampling, generator: Generator | None
    ) -> None:  # fmt: skip
        self.logits, self.sampling, self.generator = logits, sampling, generator

    def propose(self, idx: Tensor, n: int) -> tuple[Tensor, list[Tensor | None]]:
        """n tokens after idx (1, T); see _Draft."""
        T, q = idx.shape[1], list[Tensor | None]()
        for _ in range(n):
            logits = self.logits(idx)  # (1, V)
            if self.sampling.draws:
                p = distribution(logits, idx, self.sampling)  # (1, V)
                q.append(p)
                token = multinomial(p, 1, generator=self.generator)  # (1, 1)
            else:
                q.append(None)
                token = likeliest(logits, idx, self.sampling)  # (1, 1)
            idx = cat([idx, token], 1)  # (1, T + 1)
        return idx[:, T:], q  # (1, n)

    def go_back(self, length: int) -> None:
        """Forget the drafted tokens that were not accepted."""
        self.logits.go_back(length)


def check_draft(draft: Any, model: Any, prompts: Prompts, beams: Beams) -> None:
    """Whether these prompts can be continued with drafts, and with this one.

    Raises: ValueError for several prompts, beam search, or a draft model with another vocabulary,
    on another device, or with a recurrent cache.
    """
    if beams.num_beams > 1:
        raise ValueError("beam search takes no drafts: leave num_beams or draft")
    if prompts.ids.shape[0] != 1:
        raise ValueError(
            f"drafts go with one prompt at a time, got {prompts.ids.shape[0]}: each row would "
            "accept another number of tokens; pass the prompts one by one"
        )
    if not isinstance(draft, LanguageModel):
        return
    if isinstance(model, LanguageModel):
        sizes = draft.config.vocab_size, model.config.vocab_size
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"the draft model has a vocabulary of {sizes[0]} tokens, the model one of "
                f"{sizes[1]}: they must have the same"
            )
    if device_of(draft) != prompts.ids.device:
        raise ValueError(
            f"the draft model is on {device_of(draft)}, the prompt on {prompts.ids.device}: move "
            "one of them"
        )
    if any(isinstance(layer, RecurrentCache) for layer in draft.new_cache().layers):
        raise ValueError(
            f"a {type(draft).__name__} can't be the draft model: its recurrent cache goes back to "
            "tokens of its last call only, and a draft needs one call for each token; draft with "
            'another model or with "lookup"'
        )


def speculative_tokens(
    next_logits: NextLogits, prompts: Prompts, max_new_tokens: int, sampling: Sampling,
    drafts: Drafts, generator: Generator | None,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """The model's logits (1, V) and the token (1, 1) that follows, for max_new_tokens tokens.

    The first call is an ordinary one, for the prompt. Past the model's context every token has a
    new position at each step, so that nothing is drafted there.
    """
    idx, counts = prompts.ids, drafts.draft_statistics or DraftStatistics()
    source = _source(drafts, prompts, sampling, generator, next_logits)
    end, limit = idx.shape[1] + max_new_tokens, next_logits.context_length
    first = True
    while (T := idx.shape[1]) < end:
        room = min(drafts.draft_tokens, end - T - 1)
        if limit is not None:
            room = min(room, limit - T)
        counts.calls += 1
        draft = None if first or room < 1 else source.propose(idx, room)
        first = False
        if draft is None or not draft[1]:
            logits = next_logits(idx)  # (1, V)
            token = chosen(logits, idx, sampling, [generator])  # (1, 1)
            yield logits, token
            idx = cat([idx, token], 1)  # (1, T + 1)
            continue
        ids, q = draft  # (1, k)
        rows = next_logits.after_each(cat([idx, ids], 1), len(q) + 1)  # (1, k + 1, V)
        accepted, token = _verified(rows, idx, ids, q, sampling, generator)
        counts.drafts, counts.proposed = counts.drafts + 1, counts.proposed + len(q)
        counts.accepted += accepted
        next_logits.go_back(T + accepted)
        source.go_back(T + accepted)
        new = cat([ids[:, :accepted], token], 1)  # (1, accepted + 1)
        for i in range(accepted + 1):
            yield rows[:, i], new[:, i : i + 1]
        idx = cat([idx, new], 1)  # (1, T + accepted + 1)


def _source(
    drafts: Drafts, prompts: Prompts, sampling: Sampling, generator: Generator | None,
    next_logits: NextLogits,
) -> _Draft:  # fmt: skip
    if drafts.draft == "lookup":
        return Lookup(drafts.draft_ngram)
    logits = NextLogits(drafts.draft, prompts, True, None, next_logits.prefill_chunk)
    return _ModelDraft(logits, sampling, generator)


def _verified(
    rows: Tensor, idx: Tensor, ids: Tensor, q: list[Tensor | None], sampling: Sampling,
    generator: Generator | None,
) -> tuple[int, Tensor]:  # fmt: skip
    """How many drafted tokens are accepted, and the token (1, 1) that follows them.

    rows: the model's logits (1, k + 1, V); idx: the text (1, T); ids: the draft (1, k); q: what
    each of it was drawn from, (1, V), or None if the draft is certain of it
    """
    drafted = ids[0].tolist()
    for i, x in enumerate(drafted):
        if not sampling.draws:
            token = likeliest(rows[:, i], idx, sampling)  # (1, 1)
            if int(token.item()) != x:
                return i, token
        else:
            p, q_i = distribution(rows[:, i], idx, sampling), q[i]  # (1, V) each
            u = float(rand(1, generator=generator, device=idx.device).item())
            if u * (1.0 if q_i is None else float(q_i[0, x].item())) >= float(p[0, x].item()):
                return i, multinomial(_residual(p, q_i, x), 1, generator=generator)
        idx = cat([idx, ids[:, i : i + 1]], 1)  # (1, T + 1)
    return len(drafted), chosen(rows[:, -1], idx, sampling, [generator])


def _residual(p: Tensor, q: Tensor | None, x: int) -> Tensor:
    """max(0, p − q), not divided by its sum: p and q (1, V); q None: all of it at the token x."""
    if q is None:
        rest = p.clone()
        rest[0, x] = 0.0
    else:
        rest = (p - q.to(p.dtype)).clamp(min=0.0)
    return rest if float(rest.sum().item()) > 0.0 else p  # p = q up to rounding
