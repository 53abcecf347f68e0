"""Attention, with all keys or with a memory of fixed size, and rotary positions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import ops
from ..tensor import Tensor, dtypes
from ..tensor.device import DeviceLike
from .autocast import mixed
from .checks import need_floating, need_same_dtype
from .creation.from_data import tensor
from .creation.ranges import arange
from .dropout import keep_weights
from .method import function
from .shape.broadcast import broadcast_shapes
from .shape.join import cat
from .shape.split import split


class Context:
    """What replaces attention while a text is divided among processes, or a row among documents.

    attend      called in the place of scaled_dot_product_attention, with its arguments
    positions   () -> the positions of the tokens, as an array: (T), this rank's in the whole text,
                or (B, T), each counted from the beginning of its document
    length      the tokens of the whole text that is divided among ranks
    distributed.tensor.experimental.context_parallel sets all three, within_documents the first two;
    None outside of them.
    """

    attend: Any = None
    positions: Any = None
    length: int | None = None


context = Context()


def positions_of(past: int, T: int, device: DeviceLike = None) -> Tensor:
    """The positions (T) of T tokens after `past` others: past, past + 1, ..., or this rank's.

    Within documents (B, T), each counted from where its document begins.
    Raises: RuntimeError in a divided text or row if tokens are before them, or they are others.
    """
    if context.positions is None:
        return arange(past, past + T, device=device)
    own = tensor(context.positions(), device=device)
    if context.length is None:
        if past or own.shape[1] != T:
            raise RuntimeError(
                f"within_documents is for rows of {own.shape[1]} tokens, got {T} tokens after "
                f"{past} others"
            )
        return own  # (B, T)
    if past or len(own) != T:
        raise RuntimeError(
            f"the text of {context.length} tokens is divided among ranks, and this rank has "
            f"{len(own)} of them: got {T} tokens after {past} others"
        )
    return own


@contextmanager
def within_documents(documents: Any) -> Iterator[None]:
    """A block in which causal attention stays within documents that share a row.

    documents: integers (B, T), which document each token of a batch belongs to; tokens of one stand
    side by side. Each document is computed by itself, as if it were alone in its row, positions
    included: scores of pairs from two documents are never computed, and no mask is made. So scores
    cost Σ n² for documents of n tokens in place of B·T². There is no mask, padding or cache.

    The backward pass may run after the block, except with gradient checkpointing, which computes
    forward again there.
    Raises: ValueError for another shape, or inside of another block that replaces attention.
    """
    host = documents.cpu().numpy() if isinstance(documents, Tensor) else documents
    numbers = np.asarray(host)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iu" or not numbers.size:
        raise ValueError(
            f"within_documents: expected integers of the shape (B, T), got {numbers.dtype} "
            f"{list(numbers.shape)}"
        )
    if context.attend is not None:
        raise ValueError("within_documents: attention is replaced by another block already")
    T = numbers.shape[1]
    first = np.ones(numbers.shape, bool)
    first[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    places = np.arange(T)
    begins = np.maximum.accumulate(np.where(first, places, 0), axis=1)  # (B, T)
    lengths = np.diff(np.flatnonzero(first.ravel()), append=first.size).tolist()
    context.attend, context.positions = _attend_within(numbers.shape, lengths), (
        lambda: places - begins
    )  # fmt: skip
    try:
        yield
    finally:
        context.attend = context.positions = None


def _attend_within(shape: tuple[int, ...], lengths: list[int]) -> Any:
    """What replaces scaled_dot_product_attention for rows (B, T) of documents of these lengths."""
    B, T = shape

    def attend(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Any, dropout_p: float,
        is_causal: bool, scale: float | None, enable_gqa: bool, *, offset: int, window: int | None,
        softcap: float | None,
    ) -> Tensor:  # fmt: skip
        if attn_mask is not None or offset or not (is_causal or T == 1):
            raise RuntimeError(
                "scaled_dot_product_attention: only causal attention without a mask or a cache "
                "can stay within documents"
            )
        sides = (query, key, value)
        if any(t.dim() != 4 or (t.shape[0], t.shape[2]) != (B, T) for t in sides):
            shapes = ", ".join(str(list(t.shape)) for t in sides)
            raise RuntimeError(
                f"scaled_dot_product_attention: within documents of {B} rows of {T} tokens, got "
                f"query, key and value {shapes}"
            )

        def pieces(t: Tensor) -> Any:  # (B, H, T, D) -> (H, B·T, D) -> (H, n, D) of each document
            return split(t.transpose(0, 1).reshape(t.shape[1], B * T, t.shape[3]), lengths, 1)

        replaced, context.attend = context.attend, None
        try:
            parts = [
                scaled_dot_product_attention(
                    q, k, v, None, dropout_p, True, scale, enable_gqa, window=window,
                    softcap=softcap,
                )
                for q, k, v in zip(*map(pieces, sides), strict=True)
            ]  # (H, n, D) each  # fmt: skip
        finally:
            context.attend = replaced
        y = cat(parts, 1)  # (H, n, D) of each -> (H, B·T, D)
        return y.reshape(y.shape[0], B, T, y.shape[2]).transpose(0, 1)  # (B, H, T, D)

    return attend


@function
@mixed
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
    enable_gqa: bool = False, *, offset: int = 0, window: int | None = None,
    softcap: float | None = None,
) -> Tensor:  # fmt: skip
    """softmax(q·kᵀ·scale + mask)·v, scale 1/√E unless given; the weights are never kept.

    query (..., Hq, L, E), key (..., H, S, E) and value (..., H, S, D). Leading dimensions
    broadcast, and may be missing. With enable_gqa Hq may be a multiple of H: every Hq/H query
    heads share a head of key and value.
    attn_mask broadcasts to (..., Hq, L, S): boolean, True where a query may look, or of query's
    dtype, and is added. is_causal: query i may look at the keys 0 … i, both counted from 0, also
    if L and S differ. A query that may look at no key returns zeros.
    dropout_p is always applied: pass 0.0 when not training.
    Three arguments that PyTorch does not have, for language models: offset, how many keys come
    before the first query's own (the past in a KV cache), so that query i sees the keys
    0 … offset + i; window, how many keys a query sees at most, its own included. Both need
    is_causal, and no mask is built. softcap c: c·tanh(scores/c) replaces the scores.
    Returns (..., Hq, L, D).
    Raises: RuntimeError if shapes or dtypes disagree, or if a mask comes together with is_causal.
    Vaswani et al. (2017), equation 1.
    """
    name = "scaled_dot_product_attention"
    if context.attend is not None:
        return context.attend(
            query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, offset=offset,
            window=window, softcap=softcap,
        )  # fmt: skip
    need_floating(name, query, key, value)
    need_same_dtype(name, query=query, key=key, value=value)
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    _check_band(name, is_causal, offset, window, softcap)
    q, k, v = query.array.shape, key.array.shape, value.array.shape
    if min(len(q), len(k), len(v)) < 2:
        raise RuntimeError(
            f"{name}: Expected query, key, and value to all be at least 2 dimensional, but got "
            f"{list(q)}, {list(k)} and {list(v)}"
        )
    if q[-1] != k[-1] or k[-2] != v[-2]:
        raise RuntimeError(
            f"{name}: query (..., L, E), key (..., S, E) and value (..., S, D) disagree about "
            f"{'E' if q[-1] != k[-1] else 'S'}: got {list(q)}, {list(k)} and {list(v)}"
        )
    if enable_gqa and min(len(q), len(k), len(v)) > 2 and (q[-3] != k[-3] or q[-3] != v[-3]):
        if k[-3] != v[-3] or not k[-3] or q[-3] % k[-3]:
            raise RuntimeError(
                f"{name}: Number of heads in key and value must be equal and divide the number of "
                f"heads in query, got {k[-3]} and {v[-3]} for {q[-3]}"
            )
        leading = tuple(broadcast_shapes(q[:-3], k[:-3], v[:-3]))
        heads = leading + q[-3:-2], leading + k[-3:-2], leading + k[-3:-2]
    else:
        heads = (tuple(broadcast_shapes(q[:-2], k[:-2], v[:-2])),) * 3
    query, key, value = (
        t if t.array.shape[:-2] == h else t.expand(*h, *t.array.shape[-2:])
        for t, h in zip((query, key, value), heads, strict=True)
    )
    weights = (*query.array.shape[:-1], k[-2])  # (..., Hq, L, S)
    if attn_mask is not None:
        _check_mask(name, attn_mask, query, weights, is_causal)
    keep = keep_weights(query, weights, dropout_p) if dropout_p else None
    band: dict[str, Any] = {"offset": offset, "window": window, "softcap": softcap}
    band = {option: value for option, value in band.items() if value}
    return ops.ScaledDotProductAttention.apply(
        query, key, value, attn_mask, keep,
        is_causal=is_causal, scale=scale, dropout_p=dropout_p, **band,
    )  # fmt: skip


def _check_band(name: str, is_causal: bool, offset: Any, window: Any, softcap: Any) -> None:
    if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
        raise ValueError(f"{name}: offset must be an integer of at least 0, got {offset!r}")
    if window is not None and (
        isinstance(window, bool) or not isinstance(window, int) or window < 1
    ):
        raise ValueError(f"{name}: window must be an integer of at least 1, got {window!r}")
    if (offset or window is not None) and not is_causal:
        raise ValueError(f"{name}: offset and window need is_causal=True")
    if softcap is not None and not 0.0 < softcap < math.inf:
        raise ValueError(f"{name}: softcap must be positive and finite, got {softcap!r}")


def _check_mask(name: str, mask: Tensor, query: Tensor, weights: Any, is_causal: bool) -> None:
    if is_causal:
        raise RuntimeError(f"{name}: Explicit attn_mask should not be set when is_causal=True")
    if mask.dtype not in (dtypes.bool_, query.dtype):
        raise RuntimeError(
            f"Expected attn_mask dtype to be bool or to match query dtype, but got "
            f"attn_mask.dtype: {mask.dtype} and query.dtype: {query.dtype} instead."
        )
    if tuple(broadcast_shapes(mask.array.shape, weights)) != weights:
        raise RuntimeError(
            f"{name}: attn_mask of shape {list(mask.shape)} does not broadcast to the weights' "
            f"shape {list(weights)}"
        )


@function
def rope(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Tensor:
    """Rotary position embedding: each pair of x turns by its position's angle.

    x (..., T, D); cos and sin broadcast to (..., T, R), R pairs, 2R <= D; the other D − 2R elements
    stay as they are. Pairs are (xⱼ, xⱼ₊R) as in Hugging Face's models, or neighbours (x₂ⱼ, x₂ⱼ₊₁)
    as in Meta's, if interleaved: weights trained with one do not work with the other.
    Su et al. (2021), equation 34. `layers.rotary.rope_angles` computes cos and sin.
    Raises: RuntimeError if cos and sin do not broadcast to (..., T, R) with 2R <= D.
    """
    need_floating("rope", x, cos, sin)
    lead, n_pairs = x.array.shape[:-1], cos.array.shape[-1]
    if (
        cos.array.shape != sin.array.shape
        or 2 * n_pairs > x.array.shape[-1]
        or tuple(broadcast_shapes(cos.array.shape[:-1], lead)) != lead
    ):
        raise RuntimeError(
            f"rope: cos and sin must broadcast to (..., T, R) with 2R <= D for x (..., T, D), got "
            f"{list(cos.shape)} and {list(sin.shape)} for x {list(x.shape)}"
        )
    return ops.Rope.apply(x, cos.array, sin.array, interleaved=interleaved)


@function
def gated_delta_rule(
    query: Tensor, key: Tensor, value: Tensor, decay: Tensor, beta: Tensor
) -> Tensor:
    """Linear attention with a memory S (K, D): Sₜᵀ·qₜ, see ops.GatedDeltaRule for Sₜ.

    query, key (B, H, T, K), value (B, H, T, D); decay (B, H, T), the logarithm of what the memory
    keeps at each token, at most 0; beta (B, H, T), the share of what is missing that is written.
    Returns (B, H, T, D). Yang et al. (2024), "Gated Delta Networks".
    Raises: RuntimeError if shapes or dtypes do not fit each other.
    """
    name = "gated_delta_rule"
    need_floating(name, query, key, value, decay, beta)
    need_same_dtype(name, query=query, key=key, value=value, decay=decay, beta=beta)
    k, v = key.array.shape, value.array.shape
    sizes = (query.array.shape, k[:3], decay.array.shape, beta.array.shape)
    if len(k) != 4 or len(v) != 4 or sizes != (k, v[:3], k[:3], k[:3]):
        raise RuntimeError(
            f"{name}: expected query and key (B, H, T, K), value (B, H, T, D), decay and beta "
            f"(B, H, T), got {list(query.shape)}, {list(k)}, {list(v)}, {list(decay.shape)} and "
            f"{list(beta.shape)}"
        )
    return ops.GatedDeltaRule.apply(query, key, value, decay, beta)


@function
def selective_scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Cₜ·hₜ with hₜ = exp(Δₜ·A)·hₜ₋₁ + Δₜ·xₜ·Bₜ, h₀ = 0; see ops.SelectiveScan.

    x, delta (B, D, T); A (D, N), at most 0, so that what a channel keeps fades; B, C (B, N, T).
    Returns (B, D, T). Mamba adds x·D to it. Gu and Dao (2023), "Mamba", equation 2.
    Raises: RuntimeError if shapes or dtypes do not fit each other.
    """
    name = "selective_scan"
    need_floating(name, x, delta, A, B, C)
    need_same_dtype(name, x=x, delta=delta, A=A, B=B, C=C)
    lead, a, b = x.array.shape, A.array.shape, B.array.shape
    fit = len(lead) == 3 and len(a) == 2 and delta.array.shape == lead and C.array.shape == b
    if not fit or a[0] != lead[1] or b != (lead[0], a[1], lead[2]):
        raise RuntimeError(
            f"{name}: expected x and delta (B, D, T), A (D, N), B and C (B, N, T), got "
            f"{list(lead)}, {list(delta.shape)}, {list(a)}, {list(b)} and {list(C.shape)}"
        )
    parallel = x.device.type == "cuda"
    return ops.SelectiveScan.apply(x, delta, A, B, C, parallel=parallel)
