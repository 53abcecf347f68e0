"""Asking a model: greedy, drawn, diverse answers and beams to the same prompts.

    asker = Asker(model, tokenizer, "chat", end=2, answer_tokens=64)
    asked = asker.ask(entries, n=8, temperature=0.8)         # asked.texts[0]: 8 answers

Shapes: Q questions, N answers to each, B beams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ...functions.softmax import log_softmax
from ...generation import generate
from ...generation.continuous import ContinuousBatch, Row
from ...generation.diverse import generate_diverse
from ...generation.options import Sampling
from ...generation.prefixes import Prefixes
from ...generation.sampling import in_float32
from ...models.base import context_length_of
from ..prompts import style_of

__all__ = ["Asked", "Asker", "Entry", "Note"]

ROWS = 32  # texts that go through the model together
_KEPT = 2**28  # bytes of prompts that answers to one question share
Entry = Mapping[str, str]
Note = Callable[[int, int], None] | None


class Asked(NamedTuple):
    """N answers to each question, each Q lists of N: texts, tokens that were written for them (an
    end token included), and mean log-probabilities of these in nats, by the model itself.
    """

    texts: list[list[str]]
    tokens: list[list[int]]
    scores: list[list[float]]


class _Answer(NamedTuple):
    row: Row
    log_p: list[float]


class Asker:
    """Asks a model in batches; end: the id that ends an answer; note: called with (done, of)."""

    def __init__(
        self, model: Any, tokenizer: Any, style: Any, end: int, answer_tokens: int,
        note: Note = None,
    ) -> None:  # fmt: skip
        self.model, self.tokenizer, self.style = model, tokenizer, style_of(style)
        self.end, self.answer_tokens, self.note = end, answer_tokens, note

    def prompts(self, entries: Sequence[Entry]) -> list[list[int]]:
        """The ids of each prompt.

        Raises: ValueError for one that leaves no room for an answer.
        """
        prompts = [list(self.style.prompt_ids(self.tokenizer, entry)) for entry in entries]
        context, longest = context_length_of(self.model), max(map(len, prompts))
        if context is not None and longest + self.answer_tokens > context:
            raise ValueError(
                f"a prompt and {self.answer_tokens} tokens of an answer are "
                f"{longest + self.answer_tokens} tokens, the model's context is {context}: take "
                "fewer answer_tokens"
            )
        return prompts

    def ask(
        self, entries: Sequence[Entry], n: int = 1, temperature: float = 0.0, seed: int = 0
    ) -> Asked:
        """n answers to each entry, greedy for temperature 0, each with its own random stream.

        The answers to one question share its prompt, and a text leaves the batch when it ends.
        """
        prompts = self.prompts(entries)
        batch = ContinuousBatch(self.model, ROWS, prefixes=Prefixes(_KEPT))
        sampling = Sampling(temperature=temperature)
        answers: list[list[_Answer]] = [[] for _ in prompts]
        waiting = deque(range(len(prompts)))  # the first answer to each question
        ready: deque[int] = deque()  # the others, whose prompts are known
        owners: dict[int, tuple[int, _Answer]] = {}
        done = 0
        while waiting or ready or batch.n_rows:
            while batch.n_rows < batch.most_rows and (waiting or ready):
                q = ready.popleft() if ready else waiting.popleft()
                answer = _Answer(Row(prompts[q], sampling, _seed(seed, q, len(answers[q])), q), [])
                answers[q].append(answer)
                owners[id(answer.row)] = q, answer
                batch.add(answer.row)
            for new in batch.step():
                q, answer = owners[id(new.row)]
                log_p = log_softmax(in_float32(new.logits), dim=-1)  # (1, V)
                answer.log_p.append(float(log_p[0, new.id].item()))
                if len(answer.log_p) == 1 and answer is answers[q][0]:
                    ready.extend([q] * (n - 1))
                new.row.done = new.id == self.end or len(answer.log_p) == self.answer_tokens
                if new.row.done:
                    done += 1
                    self._noted(done, n * len(prompts))
        return Asked(
            [[self._text(a.row.ids[a.row.n_prompt :]) for a in each] for each in answers],
            [[len(a.log_p) for a in each] for each in answers],
            [[sum(a.log_p) / len(a.log_p) for a in each] for each in answers],
        )

    def beams(self, entries: Sequence[Entry], n: int) -> Asked:
        """The best text of beam search with n beams; its tokens are those of all n beams."""
        prompts, texts, tokens, scores = self.prompts(entries), [], [], []
        rows = max(1, ROWS // n)
        for begin in range(0, len(prompts), rows):
            part = prompts[begin : begin + rows]
            made = generate(
                self.model, part, self.answer_tokens, stop_tokens=[self.end], num_beams=n,
                return_logprobs=True,
            )  # fmt: skip
            widest = max(map(len, part))
            for ids, log_p, count in zip(
                made.ids[:, widest:].tolist(), made.logprobs.tolist(), made.lengths.tolist(),
                strict=True,
            ):  # fmt: skip
                texts.append([self.tokenizer.decode(ids[:count])])
                tokens.append([n * min(count + 1, self.answer_tokens)])
                scores.append([sum(log_p[:count]) / max(1, count)])
            self._noted(min(begin + rows, len(prompts)), len(prompts))
        return Asked(texts, tokens, scores)

    def diverse(self, entries: Sequence[Entry], n: int, penalty: float = 1.0) -> Asked:
        """n answers of diverse beam search to each entry; without log-probabilities: all are 0."""
        prompts, texts, tokens = self.prompts(entries), [], []
        rows = max(1, ROWS // n)
        for begin in range(0, len(prompts), rows):
            part = [p for p in prompts[begin : begin + rows] for _ in range(n)]
            widest = max(map(len, part))
            made = generate_diverse(
                self.model, part, self.answer_tokens, group=n, penalty=penalty,
                stop_tokens=[self.end],
            )[:, widest:].tolist()  # (N, widest + new) -> (N, new)  # fmt: skip
            for i in range(0, len(made), n):
                texts.append([self._text(ids) for ids in made[i : i + n]])
                tokens.append([self._length(ids) for ids in made[i : i + n]])
            self._noted(min(begin + rows, len(prompts)), len(prompts))
        return Asked(texts, tokens, [[0.0] * n for _ in prompts])

    def _text(self, ids: Sequence[int]) -> str:
        written: str = self.tokenizer.decode(
            list(ids[: ids.index(self.end)] if self.end in ids else ids)
        )
        return written

    def _length(self, ids: Sequence[int]) -> int:
        """Tokens of an answer with its end token, which a last column may lack."""
        if self.end in ids:
            return ids.index(self.end) + 1
        return min(len(ids) + 1, self.answer_tokens)

    def _noted(self, done: int, of: int) -> None:
        if self.note is not None:
            self.note(done, of)


def _seed(seed: int, question: int, answer: int) -> int:
    """A seed for each answer, so that no batch changes what is drawn."""
    return (seed * 1_000_003 + question) * 65_537 + answer
