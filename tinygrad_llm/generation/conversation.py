"""A conversation of several turns: each turn computes only the tokens that are new."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..autograd.grad_mode import no_grad
from ..functions.creation.from_data import tensor
from ..functions.shape.join import cat
from ..models.base import device_of
from ..random import Generator
from ..tensor import Tensor
from .calculator import Calculator
from .logits import NextLogits
from .options import Sampling, integer
from .prompts import end_tokens, prompts_of
from .sampling import chosen
from .streams import TextStream

__all__ = ["ContextFull", "Conversation", "Turn"]

_CHUNK = 64  # tokens of a prompt that are computed between two looks at `stop`


class ContextFull(ValueError):
    """A message that does not fit in the model's context, even without the turns before it."""


@dataclass
class Turn:
    """What one answer took, filled while it is written.

    prompt_tokens    tokens of the conversation up to the answer
    computed_tokens  how many of these were new to the cache
    new_tokens       tokens of the answer
    prompt_seconds, seconds   time for the prompt, and for the answer after it
    dropped          messages at the beginning that the model does not see any more, in all
    ended            "end", "tokens" (the most that were asked for), "context" (it is full), or
                     "stopped"; "" while it is being written
    """

    prompt_tokens: int = 0
    computed_tokens: int = 0
    new_tokens: int = 0
    prompt_seconds: float = 0.0
    seconds: float = 0.0
    dropped: int = 0
    ended: str = ""

    @property
    def tokens_per_second(self) -> float:
        """Tokens of the answer per second, without the time for the prompt."""
        return self.new_tokens / self.seconds if self.seconds > 0 else 0.0


@dataclass
class Conversation:
    """Messages between a user and a model, as the model's chat template writes them.

    model, tokenizer   a LanguageModel, and a tokenizer with a chat template
    system             what stands before all messages, or None for the template's own
    sampling           how tokens are chosen, and stop_tokens and stop_strings that end an answer;
                       without stop_tokens, `end_tokens` of the model and its tokenizer end it
    max_new_tokens     the most tokens of an answer
    seed               of the whole conversation
    tool               a Calculator that answers may call, or None; what it writes is in the answer

    Before each answer the template writes the whole conversation. Where its tokens begin as those
    in the cache do, they are not computed again; so an answer equals that of `generate` for the
    whole prompt. When an answer might not fit, the oldest turns are left out; `messages` keeps
    them, `first` is the first message that the model sees.
    """

    model: Any
    tokenizer: Any
    system: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int = 512
    seed: int | None = None
    tool: Calculator | None = None

    def __post_init__(self) -> None:
        self.max_new_tokens = integer("max_new_tokens", self.max_new_tokens, 1)
        if not self.sampling.stop_tokens:
            ends = end_tokens(self.model, self.tokenizer)
            self.sampling = replace(self.sampling, stop_tokens=ends)
        self.messages: list[dict[str, str]] = []
        self.first = 0
        self.turn = Turn()
        self._generator = None if self.seed is None else Generator().manual_seed(self.seed)
        self._stopping = False
        self._logits: NextLogits | None = None
        self._cached: list[int] = []  # the ids in the cache

    def reset(self) -> None:
        """Forget all messages; the system message stays."""
        self.messages, self.first = [], 0

    def stop(self) -> None:
        """End the answer that is being written after the token that is being computed."""
        self._stopping = True

    def ask(self, text: str) -> Iterator[str]:
        """The answer to a message, in pieces, each as soon as it is certain; `turn` counts.

        The message and the answer, as far as it came, are kept in `messages`; a message that got
        no piece of an answer because it was stopped is not.
        Raises: ContextFull if the message alone is too long; what the tokenizer's `chat` raises.
        """
        self._stopping = False
        self.messages.append({"role": "user", "content": text})
        try:
            ids = self._prompt()
        except BaseException:
            self.messages.pop()
            raise
        self.turn = Turn(prompt_tokens=len(ids), dropped=self.first)
        return self._answer(ids)

    def _answer(self, ids: list[int]) -> Iterator[str]:
        pieces: list[str] = []
        try:
            for piece in self._pieces(ids):
                pieces.append(piece)
                yield piece
        except BaseException:
            self.turn.ended = "stopped"
            raise
        finally:
            if pieces or self.turn.ended != "stopped":
                self.messages.append({"role": "assistant", "content": "".join(pieces)})
            else:
                self.messages.pop()

    # ------------------------------------------------------------------------------- the prompt
    def _prompt(self) -> list[int]:
        """The ids of the conversation, its oldest turns left out where it would be too long."""
        context, room = self.model.context_length, self._room()
        while True:
            ids = self._written(self.messages[self.first :])
            if len(ids) + room <= context:
                return ids
            if self.first + 2 >= len(self.messages):  # only the newest message is left
                break
            self.first += 2
        if len(ids) < context:
            return ids  # a shorter answer than wished
        raise ContextFull(
            f"the message is too long: with what the template adds it has {len(ids)} tokens, and "
            f"the model sees {context}, the answer included"
        )

    def _room(self) -> int:
        """The tokens that are kept free for an answer: at most a quarter of the context."""
        return max(1, min(self.max_new_tokens, self.model.context_length // 4))

    def _written(self, messages: Sequence[dict[str, str]]) -> list[int]:
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        ids: list[int] = self.tokenizer.chat([*system, *messages])
        return ids

    # ------------------------------------------------------------------------------- the answer
    def _pieces(self, ids: list[int]) -> Iterator[str]:
        turn, sampling = self.turn, self.sampling
        text = TextStream(self.tokenizer, sampling.stop_strings, after=ids)
        idx = tensor([ids], device=device_of(self.model))  # (1, T)
        began = time.perf_counter()
        logits = self._prefill(idx)
        turn.prompt_seconds = time.perf_counter() - began
        room = self.model.context_length - len(ids)
        answer = ""
        began = time.perf_counter()
        while logits is not None and not self._stopping:
            with no_grad():
                token = chosen(logits, idx, sampling, [self._generator])  # (1, 1)
                idx = cat([idx, token], 1)  # (1, T + 1)
            token_id = int(token.item())
            if token_id in sampling.stop_tokens:
                turn.ended = "end"
                break
            turn.new_tokens += 1
            piece = text.push(token_id) if token_id < self.tokenizer.vocab_size else ""
            turn.seconds = time.perf_counter() - began
            if piece:
                answer += piece
                yield piece
            for written in self._called(answer) if piece else ():
                if turn.new_tokens == min(self.max_new_tokens, room):
                    break
                idx = cat([idx, tensor([[written]], device=idx.device)], 1)  # (1, T + 1)
                turn.new_tokens += 1
                if shown := text.push(written):
                    answer += shown
                    yield shown
            if text.stopped or turn.new_tokens in (self.max_new_tokens, room):
                full = "context" if turn.new_tokens == room else "tokens"
                turn.ended = "end" if text.stopped else full
                break
            logits = self._compute(idx)
        turn.ended = turn.ended or "stopped"
        turn.seconds = time.perf_counter() - began
        if piece := text.finish():
            yield piece

    def _called(self, answer: str) -> list[int]:
        """The ids that the tool writes after an answer that ends in a call; [] for no call."""
        result = None if self.tool is None else self.tool.answer(answer)
        return [] if result is None else list(self.tokenizer.encode_ordinary(result))

    def _prefill(self, idx: Tensor) -> Tensor | None:
        """The logits (1, V) after the prompt idx (1, T); None if it was stopped."""
        if self._logits is None:
            self._logits = NextLogits(self.model, prompts_of(idx, self.model), True, None)
        ids, old = idx[0].tolist(), self._cached
        same = next((i for i, (a, b) in enumerate(zip(ids, old, strict=False)) if a != b), None)
        same = min(len(ids), len(old)) if same is None else same
        self._logits.go_back(min(same, len(ids) - 1))
        start = self._logits.n_cached
        self.turn.computed_tokens = len(ids) - start
        for end in range(start + _CHUNK, len(ids), _CHUNK):
            if self._stopping:
                return None
            self._compute(idx[:, :end])
        return None if self._stopping else self._compute(idx)

    def _compute(self, idx: Tensor) -> Tensor:
        """The logits (1, V) after idx (1, T). If it is interrupted, the cache is given up."""
        assert self._logits is not None
        try:
            with no_grad():
                logits = self._logits(idx)  # (1, V)
        except BaseException:  # its layers may hold different numbers of tokens
            self._forget()
            raise
        self._cached = idx[0].tolist()
        return logits

    def _forget(self) -> None:
        self._logits, self._cached = None, []
