"""Text from a language model, one token at a time: greedy, temperature, top-k, top-p.

A step: the model computes a logit for every token of the vocabulary, `next_token` chooses one, it
is appended to the text, and the next step begins.

With a KV cache each step computes the new token alone. A model with absolute positions sees at most
context_length tokens. When the text gets longer, the window slides: only the last context_length
tokens are used, every token has a new position, so what is in the cache is no longer valid. From
there on each step computes the whole window again, as it does without a cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..autograd.grad_mode import no_grad
from ..functions.creation.filled import full_like, zeros
from ..functions.creation.from_data import tensor
from ..functions.selection import where
from ..functions.shape.join import cat
from ..models.base import LanguageModel, Model, context_length_of, device_of, evaluation
from ..random import Generator
from ..tensor import Tensor
from ..tensor.dtypes import bool_, int64
from .sampling import next_token

__all__ = ["generate", "generate_steps"]


def generate_steps(
    model: Any, idx: Any, max_new_tokens: int, *, temperature: float = 0.0,
    top_k: int | None = None, top_p: float | None = None,
    stop_tokens: int | Iterable[int] | None = None, generator: Generator | None = None,
    seed: int | None = None, use_cache: bool = True, context_length: int | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """As `generate`, but yields each step's ids, (B) int64, as soon as they are computed.

    The arguments are checked by the call itself, not at the first step.
    Raises: ValueError if context_length is below 1.
    """
    if isinstance(model, Model) and not isinstance(model, LanguageModel):
        raise TypeError(f"a {type(model).__name__} writes no text: pass a language model")
    prompt, _ = _as_batch(idx, model)
    stops = _stop_tokens(stop_tokens)
    _check(max_new_tokens, temperature, top_k, top_p, generator, seed)
    if seed is not None:
        generator = Generator().manual_seed(seed)
    if context_length is None:
        context_length = context_length_of(model)
    if context_length is not None and context_length < 1:
        raise ValueError(f"context_length must be at least 1, got {context_length}")
    return _steps(
        model, prompt, max_new_tokens, stops, use_cache, context_length,
        dict(temperature=temperature, top_k=top_k, top_p=top_p, generator=generator),
    )  # fmt: skip


def _steps(
    model: Any, idx: Tensor, max_new_tokens: int, stops: list[int], use_cache: bool,
    context_length: int | None, choice: dict[str, Any],
) -> Iterator[Tensor]:  # fmt: skip
    cache = model.new_cache() if use_cache and hasattr(model, "new_cache") else None
    done = zeros(idx.shape[0], 1, dtype=bool_, device=idx.device)  # (B, 1)
    for _ in range(max_new_tokens):
        with no_grad():  # only within a step: between steps the caller's code runs
            with evaluation(model):
                logits = _last_logits(model, idx, cache, context_length)  # (B, V)
            if logits.isnan().any():
                raise RuntimeError("the model's logits are NaN: its weights or inputs are broken")
            token = next_token(logits, **choice)  # (B, 1)
            if stops:
                token = where(done, full_like(token, stops[0]), token)
                for stop in stops:
                    done = done | (token == stop)
                if done.all():
                    return
            idx = cat([idx, token], 1)  # (B, T + 1)
        yield token.squeeze(1)  # (B)


def _last_logits(model: Any, idx: Tensor, cache: Any, context_length: int | None) -> Tensor:
    """The logits of the token that follows idx: (B, T) -> (B, V)."""
    if cache is not None and (context_length is None or idx.shape[1] <= context_length):
        return model(idx[:, len(cache) :], cache=cache, last_only=True)[:, -1]  # (B, V)
    if context_length is not None:
        idx = idx[:, -context_length:]  # (B, at most context_length)
    return model(idx)[:, -1]  # (B, T, V) -> (B, V)


def generate(
    model: Any, idx: Any, max_new_tokens: int, *, temperature: float = 0.0,
    top_k: int | None = None, top_p: float | None = None,
    stop_tokens: int | Iterable[int] | None = None, generator: Generator | None = None,
    seed: int | None = None, use_cache: bool = True, context_length: int | None = None,
) -> Tensor:  # fmt: skip
    """The prompt idx with up to max_new_tokens tokens after it: (B, T) -> (B, at most T + new).

    model           a module: ids (B, T) -> logits (B, T, V). It runs in evaluation mode and no
                    graph is recorded; its mode is restored.
    idx             token ids, a tensor or lists of ints, (B, T) or (T); T is at least 1. All rows
                    have the same length: padding would shift the absolute positions. Lists go to
                    the model's device.
    temperature     0: always the most likely token (greedy). Otherwise logits are divided by it
                    and a token is drawn: below 1 more certain, above 1 more varied.
    top_k, top_p    draw only from the k most likely tokens, or from the fewest most likely ones
                    whose probabilities add up to p.
    stop_tokens     an id or several: a row is finished when it draws one. It is padded with the
                    (first) stop token while other rows continue; when all are finished, generation
                    ends without the last column. So a single row never shows its stop token.
    generator, seed where random numbers come from (not both); else the default generator.
    use_cache       use the model's KV cache if it has one: the same tokens, faster.
    context_length  the most tokens that the model sees; None for model.config.context_length, if
                    there is one. Of a longer text it sees the end (see the top of this file).

    Returns ids int64, (T + new) if idx was one row (T). Ids are drawn as torch.multinomial draws
    them.
    Raises: ValueError or TypeError for bad arguments, RuntimeError if logits are NaN.
    """
    prompt, single = _as_batch(idx, model)
    steps = generate_steps(
        model, prompt, max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p,
        stop_tokens=stop_tokens, generator=generator, seed=seed, use_cache=use_cache,
        context_length=context_length,
    )  # fmt: skip
    new = [token.unsqueeze(1) for token in steps]  # (B, 1) each
    out = cat([prompt, *new], 1)  # (B, T + new)
    return out[0] if single else out


def _as_batch(idx: Any, model: Any) -> tuple[Tensor, bool]:
    """The prompt as int64 (B, T), and whether it was a single row (T); lists go to the model."""
    if not isinstance(idx, Tensor):
        rows = list(idx)
        if rows and isinstance(rows[0], Sequence):
            lengths = sorted({len(row) for row in rows})
            if len(lengths) > 1:
                raise ValueError(
                    f"the prompts have {lengths[0]} to {lengths[-1]} tokens: a batch needs prompts "
                    "of one length, because padding would shift the positions; pass them one by one"
                )
        idx = tensor(rows, dtype=int64, device=device_of(model))
    if idx.array.dtype.kind not in "iu":
        raise TypeError(f"idx must hold integer token ids, got {idx.dtype}")
    if idx.dim() not in (1, 2) or idx.shape[-1] == 0:
        raise ValueError(
            f"idx must have the shape (batch, time) with at least one token, got {tuple(idx.shape)}"
        )
    single = idx.dim() == 1
    idx = idx.to(int64)
    return (idx.unsqueeze(0) if single else idx), single  # (B, T)


def _stop_tokens(stop_tokens: Any) -> list[int]:
    stops = [stop_tokens] if isinstance(stop_tokens, int) else list(stop_tokens or ())
    for stop in stops:
        if isinstance(stop, bool) or not isinstance(stop, int) or stop < 0:
            raise ValueError(f"stop_tokens must be token ids, got {stop!r}")
    return stops


def _check(
    max_new_tokens: Any, temperature: Any, top_k: Any, top_p: Any, generator: Any, seed: Any
) -> None:
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int):
        raise TypeError(f"max_new_tokens must be an integer, got {max_new_tokens!r}")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be at least 0, got {max_new_tokens}")
    if not (isinstance(temperature, int | float) and 0.0 <= temperature < math.inf):
        raise ValueError(f"temperature must be a finite number of at least 0, got {temperature!r}")
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
        raise ValueError(f"top_k must be an integer of at least 1, got {top_k!r}")
    if top_p is not None and not (isinstance(top_p, int | float) and 0.0 < top_p <= 1.0):
        raise ValueError(f"top_p must be greater than 0 and at most 1, got {top_p!r}")
    if seed is not None and generator is not None:
        raise ValueError("pass a seed or a generator, not both")
