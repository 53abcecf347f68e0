"""The logits of the token that follows a text: the cache, the window that slides, the padding."""

from __future__ import annotations

import inspect
import math
from typing import Any

from ..models.base import context_length_of, evaluation
from ..tensor import Tensor
from .options import integer
from .prompts import Prompts

__all__ = ["NextLogits", "check_logits"]


class NextLogits:
    """Called with the text so far (B, T), returns the logits (B, V) of the next token.

    With a KV cache each call computes the tokens that are new alone. A model with absolute
    positions sees at most context_length tokens. When the text gets longer, the window slides: only
    the last context_length tokens are used, every token has a new position, so what is in the cache
    is no longer valid. From there on each call computes the whole window again, as it does without
    a cache.

    model: ids (B, T) -> logits (B, T, V); with a cache, if it has new_cache() and use_cache is True
    prompts: where rows are padded, the model's forward must take `padding`
    context_length: the most tokens that the model sees; None for that of model.config, if any
    prefill_chunk: the most new tokens that go through the model at a time, with a cache, or None
    Raises: ValueError if context_length or prefill_chunk is below 1, or for padded prompts without
    `padding`.
    """

    def __init__(
        self, model: Any, prompts: Prompts, use_cache: bool, context_length: int | None,
        prefill_chunk: int | None = None,
    ) -> None:  # fmt: skip
        if context_length is None:
            context_length = _context_length_of(model)
        else:
            context_length = integer("context_length", context_length, 1)
        if prefill_chunk is not None:
            prefill_chunk = integer("prefill_chunk", prefill_chunk, 1)
        self.model, self.prefill_chunk = model, prefill_chunk
        self.context_length = context_length
        self.padding = prompts.padding
        if self.padding is not None and not _takes_padding(model):
            lengths = prompts.ids.shape[1] - self.padding  # (B)
            raise ValueError(
                f"the prompts have {lengths.min().item()} to {lengths.max().item()} tokens: a "
                "batch needs prompts of one length, because padding would shift the positions, and "
                f"the forward of {type(model).__name__} does not take `padding`; pass them one by "
                "one"
            )
        self._cache = model.new_cache() if use_cache and hasattr(model, "new_cache") else None

    def __call__(self, idx: Tensor) -> Tensor:
        """The logits (B, V) of the token that follows idx (B, T), in evaluation mode."""
        with evaluation(self.model):
            return self._last(idx)

    def after_each(self, idx: Tensor, n: int) -> Tensor:
        """The logits (B, n, V) after each of the last n tokens of idx (B, T), in one call.

        The text must fit in context_length. With a cache, at most the last n tokens may be new, as
        they are when the text without them has been through the model, or without all but one.
        """
        with evaluation(self.model):
            if self._cache is None:
                return self.model(idx)[:, -n:]  # (B, T, V) -> (B, n, V)
            return self.model(idx[:, len(self._cache) :], cache=self._cache)  # (B, n, V)

    @property
    def n_cached(self) -> int:
        """How many tokens of the text are in the cache: the next call computes those after them."""
        return 0 if self._cache is None else len(self._cache)

    def go_back(self, length: int) -> None:
        """Forget all tokens of the cache except the first `length`, or all where it cannot.

        A window may have dropped tokens that are needed: then the next call computes the text
        again, as for a new prompt.
        """
        cache = self._cache
        if cache is not None and length < len(cache):
            possible = all(layer.can_truncate(length) for layer in cache.layers)
            cache.truncate(length if possible else 0)

    def _last(self, idx: Tensor) -> Tensor:
        T, padding = idx.shape[1], self.padding
        if self._cache is not None and (self.context_length is None or T <= self.context_length):
            new, options = idx[:, len(self._cache) :], {"cache": self._cache, "last_only": True}
            step = self.prefill_chunk or new.shape[1]
            while new.shape[1] > step:  # the cache keeps what a chunk computes
                self._run(new[:, :step], padding, **options)
                new = new[:, step:]
            return self._run(new, padding, **options)
        self._cache = None
        if self.context_length is not None and T > self.context_length:
            idx = idx[:, -self.context_length :]  # (B, T) -> (B, context_length)
            if padding is not None:
                padding = (padding - (T - self.context_length)).clamp(min=0)  # (B)
        return self._run(idx, padding)

    def _run(self, idx: Tensor, padding: Tensor | None, **options: Any) -> Tensor:
        if padding is not None:
            options["padding"] = padding
        return self.model(idx, **options)[:, -1]  # (B, T, V) -> (B, V)

    def choose_rows(self, rows: Tensor) -> None:
        """From now on row i of the text is what row rows[i] was; rows: (any number of rows) int64.

        Rows may be repeated, so the batch can grow.
        """
        if self.padding is not None:
            self.padding = self.padding[rows]  # (rows)
        if self._cache is not None:
            self._cache.reorder(rows)


def _context_length_of(model: Any) -> int | None:
    """What a LanguageModel says, or the config of any other module; None if there is none."""
    length = context_length_of(model)
    if length is None:
        try:
            return model.config.context_length
        except AttributeError:
            return None
    return length


def check_logits(logits: Tensor, drawn: bool = False) -> list[float]:
    """Check that a token can be chosen in each row of (B, V), with drawn=True: drawn.

    Returns the largest logit of each row, (B).
    Raises: RuntimeError for NaN; if drawn, also for rows whose largest logit is infinite.
    """
    largest = logits.amax(-1).tolist()  # (B, V) -> (B)
    if any(map(math.isnan, largest)):
        raise RuntimeError("the model's logits are NaN: its weights or inputs are broken")
    if drawn and any(map(math.isinf, largest)):
        raise RuntimeError(
            "the largest logit of a row is inf or -inf: there is no token to draw from it"
        )
    return largest


def _takes_padding(model: Any) -> bool:
    try:
        parameters = inspect.signature(getattr(model, "forward", model)).parameters
    except (TypeError, ValueError):
        return False
    return "padding" in parameters
