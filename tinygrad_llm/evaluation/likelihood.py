"""How likely a language model finds a text: perplexity, bits per byte, and continuations compared.

    measure_text(model, tokenizer, text)             # nats per token, perplexity, bits per byte
    continuation_scores(model, tokenizer, [("2 + 2 =", " 4"), ("2 + 2 =", " 5")])
    choose(model, tokenizer, "2 + 2 =", [" 5", " 4"])                       # 1: the likeliest one

Bits per byte compare models with different tokenizers; perplexities do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..models.base import LanguageModel
from ..text import Tokenizer
from ..text.tokenizer import check_fits
from .scoring import score_rows

__all__ = [
    "ContinuationScore", "TextLikelihood", "choose", "continuation_scores", "first_token",
    "measure_ids", "measure_text",
]  # fmt: skip


@dataclass(frozen=True)
class TextLikelihood:
    """The log-likelihood of a text.

    nats      −Σ ln p(token | tokens before)
    n_tokens  how many tokens were predicted
    n_bytes   UTF-8 bytes of the text, counted from the text itself
    """

    nats: float
    n_tokens: int
    n_bytes: int

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.n_tokens

    @property
    def perplexity(self) -> float:
        """e^loss; infinite where that is above the largest float."""
        return math.exp(self.loss) if self.loss < 709 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """nats / ln 2 per byte of the text."""
        return self.nats / math.log(2) / self.n_bytes


@dataclass(frozen=True)
class ContinuationScore:
    """ln p(continuation | context), whether greedy decoding writes it, and its tokens."""

    log_prob: float
    is_greedy: bool
    n_tokens: int


def first_token(tokenizer: Tokenizer) -> int | None:
    """The token before a text: its beginning, else the end of the document before; None if neither.

    With it the first token of a text is predicted too.
    """
    begin = getattr(tokenizer, "bos_token", None)
    return tokenizer.eot_token if begin is None else begin


def measure_ids(
    model: LanguageModel, ids: Sequence[int], n_bytes: int, *, window: int | None = None,
    stride: int | None = None, batch_size: int = 8,
) -> TextLikelihood:  # fmt: skip
    """The likelihood of token ids: all but the first are predicted, each once.

    window: tokens that the model sees at a time, its context if None
    stride: how far the window moves, the window itself if None. Tokens that two windows share are
        predicted by the first of them; the smaller the stride, the more a token sees before it
    n_bytes: of the text that is predicted
    Raises: ValueError for fewer than two ids, a window that is not from 1 to the context, or a
    stride that is not from 1 to the window.
    """
    window = model.context_length if window is None else window
    stride = window if stride is None else stride
    if not 1 <= window <= model.context_length:
        raise ValueError(f"window must be from 1 to {model.context_length}, got {window}")
    if not 1 <= stride <= window:
        raise ValueError(f"stride must be from 1 to the window, {window}, got {stride}")
    if len(ids) < 2 or n_bytes < 1 or batch_size < 1:
        raise ValueError("a text of at least two tokens and a batch of at least one are needed")
    rows, counts, done, begin = [], [], 1, 0
    while done < len(ids):
        end = min(begin + window, len(ids) - 1)  # inputs ids[begin:end] predict up to ids[end]
        rows.append(ids[begin : end + 1])
        counts.append(end + 1 - done)
        done, begin = end + 1, begin + stride
    scored = score_rows(model, rows, counts, batch_size)
    nats = -math.fsum(float(x) for one in scored for x in one.log_probs)
    return TextLikelihood(nats, len(ids) - 1, n_bytes)


def measure_text(
    model: LanguageModel, tokenizer: Tokenizer, text: str, **options: Any
) -> TextLikelihood:
    """The likelihood of a text; options: window, stride and batch_size of measure_ids.

    The text follows the tokenizer's first token (see first_token). Where a tokenizer has none, the
    text's first token is not predicted, and its bytes are not counted.
    Raises: ValueError for an empty text, a tokenizer of another model; as measure_ids.
    """
    check_fits(tokenizer, model.config.vocab_size)
    ids = list(tokenizer.encode(text, disallowed_special=(), add_special_tokens=False))
    if not ids:
        raise ValueError("the text is empty: there is nothing to predict")
    n_bytes = len(text.encode("utf-8", "surrogatepass"))
    begin = first_token(tokenizer)
    if begin is None:
        n_bytes -= len(tokenizer.token_bytes(ids[0]))
    else:
        ids = [begin, *ids]
    return measure_ids(model, ids, n_bytes, **options)


def continuation_scores(
    model: LanguageModel, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]],
    batch_size: int = 8,
) -> list[ContinuationScore]:  # fmt: skip
    """ln p(continuation | context) of pairs of texts, as lm-evaluation-harness counts it.

    Both are encoded together and cut where the context's own tokens end; blanks at the end of a
    context belong to the continuation. Of more tokens than the context length the last ones are
    seen. Pairs with the same context read it once, and what all contexts begin with, such as shots,
    is read once in all (see scoring).
    Raises: ValueError for an empty continuation, one that is longer than the context, a tokenizer
    of another model, or an empty context where the tokenizer has no first token.
    """
    check_fits(tokenizer, model.config.vocab_size)
    rows, counts = [], []
    for i, (context, continuation) in enumerate(pairs):
        if not continuation:
            raise ValueError(f"pair {i}: the continuation is empty")
        row, n = _together(tokenizer, context, continuation)
        if n > model.context_length:
            raise ValueError(
                f"pair {i}: the continuation has {n} tokens, the context {model.context_length}"
            )
        if len(row) == n:
            raise ValueError(f"pair {i}: the context is empty, and no token begins a text")
        rows.append(row[-model.context_length - 1 :])
        counts.append(n)
    scored = score_rows(model, rows, counts, batch_size)
    return [ContinuationScore(math.fsum(p), bool(g.all()), len(p)) for p, g in scored]


def _together(tokenizer: Tokenizer, context: str, continuation: str) -> tuple[list[int], int]:
    """The ids of context and continuation, and how many of them are the continuation's."""
    kept = context.rstrip()
    if kept:
        context, continuation = kept, context[len(kept) :] + continuation
    begin = first_token(tokenizer)
    start = [] if begin is None else [begin]
    before = list(tokenizer.encode(context, disallowed_special=(), add_special_tokens=False))
    both = list(
        tokenizer.encode(context + continuation, disallowed_special=(), add_special_tokens=False)
    )
    n = max(1, len(both) - len(before))
    return start + both, n


def choose(
    model: LanguageModel, tokenizer: Tokenizer, context: str, choices: Sequence[str],
    per_byte: bool = False,
) -> int:  # fmt: skip
    """The number of the likeliest continuation of a context.

    per_byte: divide each log-probability by the bytes of its choice, so that long ones lose nothing
    Raises: ValueError for no choices; as continuation_scores.
    """
    if not choices:
        raise ValueError("there are no choices")
    scores = continuation_scores(model, tokenizer, [(context, choice) for choice in choices])
    sizes = [len(choice.encode("utf-8", "surrogatepass")) if per_byte else 1 for choice in choices]
    values = [score.log_prob / size for score, size in zip(scores, sizes, strict=True)]
    return values.index(max(values))
