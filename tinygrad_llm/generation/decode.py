"""Text from a language model, one token at a time: greedy or drawn, in whole or as a stream.

A step: the model computes a logit for every token of the vocabulary, one is chosen as by
`next_token`, it is appended to the text, and the next step begins.

generate        the prompt and the new ids, by steps or by beam search
generate_steps  the ids of each step, as soon as they are computed
stream_text     the text of one prompt, piece by piece
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..autograd.grad_mode import no_grad
from ..functions.creation.from_data import tensor
from ..functions.shape.join import cat
from ..functions.softmax import log_softmax
from ..models.base import LanguageModel, Model
from ..random import Generator
from ..tensor import Tensor
from ..tensor.dtypes import int64
from .beams import beam_search
from .logits import NextLogits
from .options import Beams, Drafts, Sampling, integer, options_of
from .prompts import Prompts, prompts_of
from .sampling import chosen, in_float32
from .speculative import check_draft, speculative_tokens
from .streams import TextStream

__all__ = ["Generated", "generate", "generate_steps", "stream_text"]


class Generated(NamedTuple):
    """What `generate` returns with return_logprobs=True.

    ids       (B, T + new) int64, as it returns without
    logprobs  (B, new): the natural logarithm of the probability that the model itself gives to each
              new token, before penalty, temperature and filters; 0 where a row had already ended
    lengths   (B) int64: the new tokens of each row, without the stop token

    For a prompt without a batch dimension: (T + new), (new) and ().
    """

    ids: Tensor
    logprobs: Tensor
    lengths: Tensor


def generate(
    model: Any, idx: Any, max_new_tokens: int, *, sampling: Sampling | None = None,
    tokenizer: Any = None, generator: Generator | None = None, use_cache: bool = True,
    context_length: int | None = None, prefill_chunk: int | None = None,
    return_logprobs: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """The prompt idx with up to max_new_tokens tokens after it: (B, T) -> (B, at most T + new).

    model           a module: ids (B, T) -> logits (B, T, V). It runs in evaluation mode and no
                    graph is recorded; its mode is restored.
    idx             token ids, a tensor or lists of ints, (B, T) or (T); T is at least 1. Lists go
                    to the model's device. Lists of unequal length are padded at the left, for a
                    model that takes `padding`: each row continues as it does alone.
    sampling        a Sampling; each of its fields can also be given as a keyword, which counts:
                    temperature, top_k, top_p, min_p, repetition_penalty, stop_tokens, stop_strings,
                    seed. By default greedy, and no token stops.
    num_beams, length_penalty, early_stopping   keywords for beam search; see `Beams`. It draws
                    nothing, so it goes with repetition_penalty, stop_tokens and stop_strings only.
    draft, draft_tokens, draft_ngram, draft_statistics   keywords for speculative decoding of one
                    prompt, draft="lookup" or a model; see `Drafts` and generation/speculative.py.
    tokenizer       needed for stop_strings.
    generator       where random numbers come from; else sampling.seed, else the default generator.
    use_cache       use the model's KV cache if it has one: the same tokens, faster.
    context_length  the most tokens that the model sees; None for model.config.context_length, if
                    there is one. Of a longer text it sees the end (see `NextLogits`).
    prefill_chunk   with a cache: the most tokens of a prompt that go through the model at a time;
                    None for all together. The same text, and less memory for a long prompt.
    return_logprobs return a `Generated`: ids, log-probabilities, lengths.

    A row is finished when it draws a stop token, or the token that completes a stop string in its
    new text. It is padded with the (first) stop token, or 0 if there is none, while other rows
    continue; prompts are padded with the same token. When all are finished, generation ends. A
    last column of stop tokens alone is left out, so a single row never shows its stop token; the
    tokens of a stop string stay, because a token can begin before it (`stream_text` cuts the text).

    Returns ids int64, (T + new) if idx was one row (T). Ids are drawn as torch.multinomial draws
    them.
    Raises: ValueError or TypeError for bad arguments, RuntimeError if logits are NaN.
    """
    task = _task("generate", model, idx, max_new_tokens, sampling, tokenizer, generator, options)
    logits = NextLogits(model, task.prompts, use_cache, context_length, prefill_chunk)
    if task.beams.num_beams > 1:
        columns = beam_search(
            logits, task.prompts, task.max_new_tokens, task.sampling, task.beams, tokenizer
        )
        steps = [Step(*column) for column in columns]
    else:
        steps = list(_steps(task, logits, return_logprobs))
    prompt = task.prompts.shown(task.filler)
    ids = cat([prompt, *(step.ids.unsqueeze(1) for step in steps)], 1)  # (B, T + new)
    if not return_logprobs:
        return ids[0] if task.prompts.single else ids
    B, device = ids.shape[0], ids.device
    logprobs = [step.logprobs for step in steps if step.logprobs is not None]  # (B) each
    lengths = [sum(step.is_text[b] for step in steps) for b in range(B)]
    results = Generated(
        ids,
        cat([p.unsqueeze(1) for p in logprobs], 1) if logprobs else tensor([[]] * B, device=device),
        tensor(lengths, dtype=int64, device=device),
    )  # (B, T + new), (B, new), (B)
    return Generated(*(result[0] for result in results)) if task.prompts.single else results


def generate_steps(
    model: Any, idx: Any, max_new_tokens: int, *, sampling: Sampling | None = None,
    tokenizer: Any = None, generator: Generator | None = None, use_cache: bool = True,
    context_length: int | None = None, prefill_chunk: int | None = None, **options: Any,
) -> Iterator[Tensor]:  # fmt: skip
    """As `generate`, but yields each step's ids, (B) int64, as soon as they are computed.

    The arguments are checked by the call itself, not at the first step.
    Raises: as `generate`; ValueError for beam search, whose text is known at the end only.
    """
    task = _task(
        "generate_steps", model, idx, max_new_tokens, sampling, tokenizer, generator, options
    )
    _refuse_beams(task.beams)
    logits = NextLogits(model, task.prompts, use_cache, context_length, prefill_chunk)
    return (step.ids for step in _steps(task, logits, False))


def stream_text(
    model: Any, idx: Any, max_new_tokens: int, *, tokenizer: Any, sampling: Sampling | None = None,
    generator: Generator | None = None, use_cache: bool = True, context_length: int | None = None,
    prefill_chunk: int | None = None, **options: Any,
) -> Iterator[str]:  # fmt: skip
    """The text after one prompt of ids, in pieces, each as soon as it is certain.

    It ends before the first stop token or stop string. A piece never holds a part of a character
    or of a stop string. The arguments are those of `generate`, and checked by the call itself.
    Raises: as `generate`; ValueError for several prompts and for beam search.
    """
    task = _task("stream_text", model, idx, max_new_tokens, sampling, tokenizer, generator, options)
    _refuse_beams(task.beams)
    if task.prompts.ids.shape[0] != 1:
        raise ValueError(f"stream_text takes one prompt, got {task.prompts.ids.shape[0]}")
    logits = NextLogits(model, task.prompts, use_cache, context_length, prefill_chunk)
    prompt = task.prompts.ids[0].tolist()
    text = TextStream(tokenizer, task.sampling.stop_strings, after=prompt)
    return _pieces(text, _steps(task, logits, False))


def _pieces(text: TextStream, steps: Iterator[Step]) -> Iterator[str]:
    for step in steps:
        if piece := text.push(int(step.ids[0].item())):
            yield piece
    if piece := text.finish():
        yield piece


# ---------------------------------------------------------------------------------- the arguments
@dataclass(frozen=True)
class _Task:
    """The checked arguments of a call; generators: one for the batch, or one per row."""

    prompts: Prompts
    max_new_tokens: int
    sampling: Sampling
    beams: Beams
    drafts: Drafts
    tokenizer: Any
    generators: list[Generator | None]

    @property
    def filler(self) -> int:
        """The id that stands where a row has no token."""
        return next(iter(self.sampling.stop_tokens), 0)


def _task(
    function: str, model: Any, idx: Any, max_new_tokens: Any, sampling: Any, tokenizer: Any,
    generator: Any, options: dict[str, Any],
) -> _Task:  # fmt: skip
    if isinstance(model, Model) and not isinstance(model, LanguageModel):
        raise TypeError(f"a {type(model).__name__} writes no text: pass a language model")
    prompts = prompts_of(idx, model)
    max_new_tokens = integer("max_new_tokens", max_new_tokens, 0)
    sampling, beams, drafts = options_of(sampling, options, function)
    if sampling.seed is not None and generator is not None:
        raise ValueError("pass a seed or a generator, not both")
    if sampling.stop_strings:
        if tokenizer is None:
            raise ValueError("stop_strings need the tokenizer that decodes the ids: tokenizer=...")
        TextStream(tokenizer)  # raises if it has no stream
    unused = (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed)
    if beams.num_beams > 1 and (unused != (0.0, None, None, None, None) or generator is not None):
        raise ValueError(
            "beam search draws nothing: num_beams > 1 goes without temperature, top_k, top_p, "
            "min_p, seed and generator"
        )
    generators = [generator]
    if isinstance(sampling.seed, tuple):
        rows = prompts.ids.shape[0]
        if len(sampling.seed) != rows:
            raise ValueError(
                f"seed must be one integer, or one per row: got {len(sampling.seed)} for {rows} "
                "rows"
            )
        generators = [Generator().manual_seed(seed) for seed in sampling.seed]
    elif sampling.seed is not None:
        generators = [Generator().manual_seed(sampling.seed)]
    if drafts.draft is not None:
        check_draft(drafts.draft, model, prompts, beams)
    return _Task(prompts, max_new_tokens, sampling, beams, drafts, tokenizer, generators)


def _refuse_beams(beams: Beams) -> None:
    if beams.num_beams > 1:
        raise ValueError("beam search knows its text at the end only: call generate")


# ---------------------------------------------------------------------------------------- a step
class Step(NamedTuple):
    """One column of new tokens: ids (B), log-probabilities (B), which ids belong to a text (B)."""

    ids: Tensor
    logprobs: Tensor | None
    is_text: list[bool]


def _steps(task: _Task, next_logits: NextLogits, with_logprobs: bool) -> Iterator[Step]:
    sampling, B = task.sampling, task.prompts.ids.shape[0]
    ends = _Ends(task, B) if sampling.stop_tokens or sampling.stop_strings else None
    is_text = [True] * B
    tokens = _tokens(task, next_logits)
    for _ in range(task.max_new_tokens):
        with no_grad():  # only within a step: between steps the caller's code runs
            logits, token = next(tokens)  # (B, V), (B, 1)
            ids, logprobs = token, None
            if with_logprobs:
                logprobs = log_softmax(in_float32(logits), dim=-1)  # (B, V)
                logprobs = logprobs.gather(1, token)[:, 0]  # (B, V) -> (B)
            if ends is not None:
                done = list(ends.done)
                ids, is_text = ends.take(token)
                if ends.all_done and not any(is_text):
                    return
                if logprobs is not None and any(done):
                    logprobs = logprobs.masked_fill(tensor(done, device=token.device), 0.0)
        yield Step(ids[:, 0], logprobs, is_text)
        if ends is not None and ends.all_done:
            return


def _tokens(task: _Task, next_logits: NextLogits) -> Iterator[tuple[Tensor, Tensor]]:
    """The model's logits (B, V) and the token (B, 1) chosen by them, one step after the other."""
    idx, sampling = task.prompts.ids, task.sampling
    if task.drafts.draft is not None:
        yield from speculative_tokens(
            next_logits, task.prompts, task.max_new_tokens, sampling, task.drafts,
            task.generators[0],
        )  # fmt: skip
        return
    while True:
        logits = next_logits(idx)  # (B, V)
        token = chosen(logits, idx, sampling, task.generators)  # (B, 1)
        yield logits, token
        idx = cat([idx, token], 1)  # (B, T + 1)


class _Ends:
    """Which rows have drawn a stop token or completed a stop string."""

    def __init__(self, task: _Task, rows: int) -> None:
        self._stops, self._filler = task.sampling.stop_tokens, task.filler
        strings = task.sampling.stop_strings
        self._texts = [TextStream(task.tokenizer, strings) for _ in range(rows)] if strings else []
        self._vocab_size = task.tokenizer.vocab_size if strings else 0
        self.done = [False] * rows

    @property
    def all_done(self) -> bool:
        return all(self.done)

    def take(self, token: Tensor) -> tuple[Tensor, list[bool]]:
        """The ids to show for the drawn ones, (B, 1), and which of them belong to a text (B)."""
        ids, is_text = token[:, 0].tolist(), []
        for b, token_id in enumerate(ids):
            text = not self.done[b] and token_id not in self._stops
            is_text.append(text)
            if self.done[b]:
                ids[b] = self._filler
            elif not text:
                self.done[b] = True
            elif self._texts and token_id < self._vocab_size:  # others have no text
                self._texts[b].push(token_id)
                self.done[b] = self._texts[b].stopped
        return tensor(ids, device=token.device).unsqueeze(1), is_text
