"""Attention: one class for GPT-2, Llama, Qwen, Gemma, encoders and decoders that look at both."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..arrays.devices import xp_of
from ..functions.attention import context as divided
from ..functions.attention import positions_of
from ..functions.creation.filled import ones, zeros
from ..functions.selection import where
from ..functions.shape.join import cat
from ..nn import functional as F
from ..nn import init
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.parameter import Parameter, new_parameter
from ..tensor import Tensor, dtypes, wrap
from .cache import AttentionCache, CrossCache
from .masks import causal_keys
from .rotary import Rotary
from .streaming_cache import StreamingCache
from .texts_cache import TextsPart

__all__ = ["Attention"]


class Attention(Module):
    """y = W_o·concat(softmax(Q·Kᵀ·scale)·V): x (B, T, dim) -> y (B, T, dim).

    Every token looks at the tokens before it and at itself, in H = n_heads ways in parallel. Its
    query is compared with their keys; the softmax of these scores weights their values.

    dim           channels of x
    n_heads       H query heads
    n_kv_heads    KV heads of keys and values, how many there are; H if None. Each is shared by
                  `group_size` = H/KV neighbouring query heads: 1 is multi-query attention
    head_dim      D, channels of a head; dim/H if None
    bias          whether queries, keys and values have a bias; out_bias: the same for `out_proj`,
                  as bias if None
    qk_norm       None, or what makes a norm for D channels, such as nn.RMSNorm: queries and keys go
                  through `q_norm` and `k_norm` before they are turned
    qk_norm_flat  True for norms over all heads together, H·D and KV·D channels (Olmo 2 and 3)
    gate          True: σ(a gate computed from x) multiplies what goes into W_o (Qwen3.5)
    rotary        a Rotary that turns queries and keys by their positions, or None
    position_bias None, or a module that is called with the positions of queries (T) and keys (S)
                  and returns what is added to the scores, (H, T, S): Alibi, RelativeBias. The
                  blocks of a model may share one
    window        the most keys that a query sees, its own included; None for all before it
    dilation      d: a window of every d-th key, i, i − d, i − 2d, …; it reaches d times as far
    keep_first    n: with a window, every query also sees the first n keys of the text
    sinks         True: each head has a learned logit, `sinks` (H), that takes part in softmax as a
                  key with the value 0 would: a head may look nowhere (gpt-oss)
    value_gate    True: `values` of the tokens, passed to forward, times a learned factor of each
                  head of values, `value_gate` (KV), are added to the values (value embeddings)
    softcap       c: c·tanh(scores/c) takes the place of the scores
    scale         of the scores, 1/√D if None
    causal        False for an encoder: every token looks at all
    cross         queries come from x, keys and values from another sequence, `memory`
    dropout       of the weights, in training

    One matrix `qkv` computes queries, keys and values: H·D rows, then KV·D, then KV·D. With cross
    there are `q` (H·D rows) and `kv` (KV·D rows twice). With a gate the D rows of each query head
    are followed by the D rows of its gate. `out_proj` is W_o.

        H = 6 query heads, KV = 2:   0 1 2   3 4 5      group_size 3; the cache keeps KV heads,
        they read the key heads        0       1        so it is H/KV = 3 times smaller
    Raises: ValueError if the numbers do not fit each other.
    Sources: Vaswani et al. (2017), equation 1 and section 3.2.2; grouped queries, Ainslie et al.
    (2023), "GQA"; windows, Beltagy et al. (2020); qk_norm, Henry et al. (2020); gate, Qiu et al.
    (2025), "Gated Attention for Large Language Models"; keep_first, Xiao et al. (2023), "Efficient
    Streaming Language Models with Attention Sinks"; sinks, OpenAI (2025), "gpt-oss"; position_bias,
    Raffel et al. (2019), "T5".
    """

    # set in an instance only where they differ
    dilation: int = 1
    keep_first: int = 0
    sinks: Parameter | None = None
    value_gate: Parameter | None = None

    def __init__(
        self, dim: int, n_heads: int, *, n_kv_heads: int | None = None, head_dim: int | None = None,
        bias: bool = True, out_bias: bool | None = None,
        qk_norm: Callable[[int], Module] | None = None, qk_norm_flat: bool = False,
        gate: bool = False, rotary: Rotary | None = None, position_bias: Module | None = None,
        window: int | None = None, softcap: float | None = None, scale: float | None = None,
        causal: bool = True, cross: bool = False, dropout: float = 0.0, dilation: int = 1,
        keep_first: int = 0, sinks: bool = False, value_gate: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        H, KV = n_heads, n_heads if n_kv_heads is None else n_kv_heads
        _check(dim, H, KV, head_dim, rotary, window, causal, cross)
        if cross and (gate or value_gate or position_bias is not None):
            raise ValueError("Attention: gate, value_gate, position_bias need self-attention")
        if softcap is not None and not 0.0 < softcap < math.inf:
            raise ValueError(f"Attention: softcap must be positive and finite, got {softcap!r}")
        _check_pattern(window, dilation, keep_first, sinks, cross or not causal, softcap)
        if keep_first and position_bias is not None:
            raise ValueError("Attention: position_bias has no places for keep_first")
        D = dim // H if head_dim is None else head_dim
        self.n_heads, self.n_kv_heads, self.head_dim = H, KV, D
        self.rotary, self.window, self.softcap, self.scale = rotary, window, softcap, scale
        self.causal, self.cross, self.dropout = causal and not cross, cross, dropout
        self.gate, self.qk_norm_flat = gate, qk_norm_flat
        self.position_bias = position_bias
        if cross:
            self.q = Linear(dim, H * D, bias=bias)
            self.kv = Linear(dim, 2 * KV * D, bias=bias)
        else:
            self.qkv = Linear(dim, ((2 * H if gate else H) + 2 * KV) * D, bias=bias)
        self.q_norm, self.k_norm = (
            None if qk_norm is None else qk_norm(n * D if qk_norm_flat else D) for n in (H, KV)
        )
        self.out_proj = Linear(H * D, dim, bias=bias if out_bias is None else out_bias)
        if dilation > 1:
            self.dilation = dilation
        if keep_first:
            self.keep_first = keep_first
        if sinks:
            self.sinks = new_parameter(H)
            init.zeros_(self.sinks)
        if value_gate:
            self.value_gate = new_parameter(KV)
            init.ones_(self.value_gate)

    @property
    def group_size(self) -> int:
        """How many query heads share a head of keys and values: n_heads / n_kv_heads."""
        return self.n_heads // self.n_kv_heads

    def forward(
        self, x: Tensor, *, memory: Tensor | None = None, cache: Any = None,
        mask: Tensor | None = None, positions: Tensor | None = None,
        values: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x (B, T, dim) -> (B, T, dim).

        memory: (B, S, dim), with cross: what x looks at. With a cache it is read once
        cache: see `new_cache`; x are the tokens that follow those in it
        mask: in place of the causal mask, bool, True where a token may look, or numbers that are
        added to the scores; broadcasts to (B, H, T, past + T), with cross to (B, H, T, S). A
        window holds beside it
        positions: integers (T) or (B, T) for rotary; past, past + 1, … if None
        values: (B, T, KV·D), with value_gate: what is added to the values of x
        Raises: ValueError if memory or values are missing, or passed without cross or value_gate.
        """
        if (values is not None) != (self.value_gate is not None):
            what = "needs values" if values is None else "takes no values, only with value_gate"
            raise ValueError(f"Attention {what}")
        if (memory is not None) != self.cross and not (self.cross and cache is not None):
            what = "needs memory" if self.cross else "takes no memory, only with cross=True"
            raise ValueError(f"Attention {what}")
        gate = None
        if self.cross:
            queries, keys, values = self._from_memory(x, memory, cache)
            past = start = 0
        else:
            past = 0 if cache is None else cache.length
            added = values
            queries, keys, values, gate = self._from_x(x, past, positions)
            if added is not None and self.value_gate is not None:
                added = added.view(*x.shape[:2], self.n_kv_heads, self.head_dim)  # (B, T, KV, D)
                factor = self.value_gate.view(-1, 1, 1)  # (KV) -> (KV, 1, 1)
                values = values + factor * added.transpose(1, 2)  # (B, KV, T, D)
            start = 0  # the position of the first key
            if cache is not None and not isinstance(cache, TextsPart):
                keys, values, start = cache.append(keys, values)  # (B, KV, S, D)
        if isinstance(cache, TextsPart):
            texts = cache.texts(queries, keys, values)
            context = cat([self._attended(q, k, v, None, *at) for q, k, v, *at in texts], 2)
        else:
            context = self._attended(queries, keys, values, mask, past, start)  # (B, H, T, D)
        B, H, T, D = context.shape
        context = context.transpose(1, 2).reshape(B, T, H * D)  # (B, H, T, D) -> (B, T, H·D)
        if gate is not None:
            context = context * gate.transpose(1, 2).reshape(B, T, H * D).sigmoid()
        return self.out_proj(context)  # (B, T, dim)

    def _attended(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, past: int,
        start: int,
    ) -> Tensor:  # fmt: skip
        """The sums of values that queries (B, H, T, D) find among keys (B, KV, S, D): as queries.

        past: tokens before the first query; start: the position of the first key
        """
        _, H, T, D = queries.shape
        if self.window is not None and (mask is not None or self._has_holes):
            mask = self._with_window(mask, past, T, start)  # (..., T, past + T) -> (..., T, S)
        if self.position_bias is not None:
            mask = self._with_bias(queries, mask, past, start)  # (..., T, S) -> (..., H, T, S)
        scale, offset = self.scale, past - start
        if self.sinks is not None:
            scale = 1.0 / math.sqrt(D) if scale is None else scale
            queries, keys, values, mask = self._with_sink(queries, keys, values, mask, scale)
            offset += 1  # the key of the sink is before all others
        alone = T == 1 and divided.length is None  # one token sees all that are there
        causal = self.causal and mask is None and not alone
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0, is_causal=causal, scale=scale,
            enable_gqa=self.n_kv_heads != H, offset=offset if causal else 0,
            window=self.window if causal else None, softcap=self.softcap,
        )  # (B, H, T, D)  # fmt: skip

    def _from_x(
        self, x: Tensor, past: int, positions: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Queries and gate (B, H, T, D), keys and values (B, KV, T, D) of x (B, T, dim), turned."""
        H, KV, D = self.n_heads, self.n_kv_heads, self.head_dim
        B, T, _ = x.shape
        heads = 2 * H if self.gate else H
        qkv = self.qkv(x).view(B, T, heads + 2 * KV, D).transpose(1, 2)  # (B, heads + 2KV, T, D)
        queries, keys, values = qkv.split([heads, KV, KV], dim=1)  # (B, KV, T, D) twice
        gate = queries[:, 1::2] if self.gate else None  # (B, 2H, T, D) -> (B, H, T, D)
        queries = queries[:, ::2] if self.gate else queries
        queries, keys = self._normed(queries, keys)
        if self.rotary is not None:
            if positions is None:
                positions = positions_of(past, T, x.device)  # (T)
            queries, keys = self.rotary(queries, keys, positions=positions)
        return queries, keys, values, gate

    def _from_memory(
        self, x: Tensor, memory: Tensor | None, cache: CrossCache | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, D) of x, keys and values (B, KV, S, D) of memory or from the cache."""
        B, T, _ = x.shape
        queries = self.q(x).view(B, T, self.n_heads, self.head_dim).transpose(1, 2)
        stored = None if cache is None else cache.stored()
        if stored is not None:
            queries, _ = self._normed(queries, None)
            return queries, *stored
        if memory is None:
            raise ValueError("Attention needs memory: the cache holds none yet")
        kv = self.kv(memory)  # (B, S, dim) -> (B, S, 2·KV·D)
        kv = kv.view(B, memory.shape[1], 2 * self.n_kv_heads, self.head_dim).transpose(1, 2)
        keys, values = kv.split(self.n_kv_heads, dim=1)  # (B, KV, S, D) each
        queries, keys = self._normed(queries, keys)
        if cache is not None:
            keys, values, _ = cache.append(keys, values)
        return queries, keys, values

    def _normed(self, queries: Tensor, keys: Any) -> tuple[Tensor, Any]:
        """Queries (B, H, T, D) and keys (B, KV, S, D) or None, normalised with a qk_norm."""
        if self.q_norm is not None and self.k_norm is not None:
            queries = self._through(self.q_norm, queries)
            keys = None if keys is None else self._through(self.k_norm, keys)
        return queries, keys

    def _through(self, norm: Module, x: Tensor) -> Tensor:
        """x (B, H, T, D) normalised over D channels, or over H·D if qk_norm_flat."""
        if not self.qk_norm_flat:
            return norm(x)
        B, H, T, D = x.shape
        y = norm(x.transpose(1, 2).reshape(B, T, H * D))  # (B, H, T, D) -> (B, T, H·D)
        return y.view(B, T, H, D).transpose(1, 2)  # (B, T, H·D) -> (B, H, T, D)

    @property
    def reads_divided_texts(self) -> bool:
        """Whether it can be computed round a ring of ranks, see distributed.tensor.experimental."""
        return self.causal and self.position_bias is None and not self._has_holes

    @property
    def _has_holes(self) -> bool:
        """Whether what a query sees in its window is not one run of keys: it needs a mask."""
        return self.dilation > 1 or self.keep_first > 0 or self.sinks is not None

    def _with_window(self, mask: Tensor | None, past: int, T: int, start: int) -> Tensor:
        """The mask (..., T, past + T), or the causal one if None, without what the window hides.

        Its columns are those of the keys from `start` on, (..., T, S); before them stand those of
        the first keys that are kept.
        """
        assert self.window is not None
        xp = xp_of(self.qkv.weight.array if mask is None else mask.array)
        if mask is None:
            mask = wrap(causal_keys(xp, past, T))
        own, keys = xp.arange(past, past + T)[:, None], self._places(xp, start, past + T)  # (S)
        kept = min(self.keep_first, start)
        reach = self.window * self.dilation
        seen = (own - keys < reach) & (keys - own < reach)  # (T, S)
        if self.dilation > 1:
            seen &= (own - keys) % self.dilation == 0
        if self.keep_first:
            seen |= keys < self.keep_first
        near = wrap(seen)
        if mask.shape[-1] != 1:
            mask = mask[..., wrap(keys)] if kept else mask[..., start:]
        if mask.dtype is dtypes.bool_:
            return mask & near
        return mask.masked_fill(~near, float("-inf"))

    def _places(self, xp: Any, start: int, stop: int) -> Any:
        """The positions of the keys: the first ones that are kept, and those from `start` on."""
        keys = xp.arange(start, stop)
        kept = min(self.keep_first, start)
        return xp.concatenate([xp.arange(kept), keys]) if kept else keys

    def _with_bias(self, queries: Tensor, mask: Tensor | None, past: int, start: int) -> Tensor:
        """The position bias and the mask (..., T, S), or the causal one if None: (..., H, T, S)."""
        assert self.position_bias is not None
        xp, T = xp_of(queries.array), queries.shape[2]
        own = wrap(xp.arange(past, past + T))  # (T)
        keys = wrap(self._places(xp, start, past + T))  # (S)
        bias = self.position_bias(own, keys, queries.dtype)  # (H, T, S)
        if mask is None and self.causal:
            behind = own.unsqueeze(1) - keys  # (T, 1) − (S) -> (T, S)
            mask = behind >= 0
            if self.window is not None:
                mask = mask & (behind < self.window)
        if mask is None:
            return bias
        if mask.dtype is dtypes.bool_:
            return where(mask, bias, float("-inf"))
        return bias + mask

    def _with_sink(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """One more channel and, before all keys, one more key: its scores are the heads' sinks.

        Queries have sinks/scale in the new channel, keys 0 and the new key 1; its value is 0.
        """
        assert self.sinks is not None
        B, H, T, D = queries.shape
        one: dict[str, Any] = {"dtype": queries.dtype, "device": queries.device}
        sinks = (self.sinks * (1.0 / scale)).to(queries.dtype).view(1, H, 1, 1)
        queries = cat([queries, sinks.expand(B, H, T, 1)], -1)  # (B, H, T, D + 1)
        lead = tuple(keys.shape[:2])  # (B, KV)
        keys = cat([keys, zeros(*lead, keys.shape[2], 1, **one)], -1)  # (B, KV, S, D + 1)
        first = cat([zeros(*lead, 1, D, **one), ones(*lead, 1, 1, **one)], -1)  # (B, KV, 1, D + 1)
        values = cat([zeros(*lead, 1, D, **one), values], 2)  # (B, KV, S + 1, D)
        if mask is not None:
            column = ones if mask.dtype is dtypes.bool_ else zeros
            seen = column(*mask.shape[:-1], 1, dtype=mask.dtype, device=mask.device)
            mask = cat([seen, mask.expand(*mask.shape[:-1], keys.shape[2])], -1)
        return queries, cat([first, keys], 2), values, mask  # keys (B, KV, S + 1, D + 1)

    def new_cache(self, max_length: int) -> AttentionCache | CrossCache:
        """An empty cache for `forward`, with room for max_length tokens, or for a memory."""
        if self.cross:
            return CrossCache()
        span = None if self.window is None else (self.window - 1) * self.dilation + 1
        if span is not None and self.keep_first:
            return StreamingCache(max_length, span, self.keep_first)
        return AttentionCache(max_length, span)

    def cache_bytes(self, context_length: int, bytes_per_number: int = 4) -> int:
        """Bytes of the cache per text: keys and values of KV heads, 2·KV·D numbers for each token.

        Tokens are those of the text, or, with a window, those that it reaches.
        """
        kept, w = context_length, self.window
        if w is not None:
            kept = min(kept, (w - 1) * self.dilation + 1 + self.keep_first)
        return 2 * kept * self.n_kv_heads * self.head_dim * bytes_per_number

    def flops_per_token(self, context_length: int) -> float:
        """Floating-point operations of scores and weighted sums per token, forward and backward.

        12·H·D for each key that a query sees: two products forward and four backward, each of a
        multiplication and an addition per channel. On average a query sees T/2 keys in a text of
        T = context_length tokens, w − w²/2T with a window w < T, and T if it is not causal. A
        dilation d reaches r = w·d tokens back: w − w·r/2T; the n first keys that are kept outside
        of it add n·(1 − r/T).
        """
        T, w = context_length, self.window
        seen = T / (2 * self.dilation) if self.causal else T
        if w is not None and w * self.dilation < T:
            reach = w * self.dilation
            seen = w - w * reach / (2 * T) + self.keep_first * (1.0 - reach / T)
        return 12.0 * self.n_heads * self.head_dim * seen

    def extra_repr(self) -> str:
        options = {
            "n_kv_heads": self.n_kv_heads, "head_dim": self.head_dim, "window": self.window,
            "softcap": self.softcap, "scale": self.scale, "rotary": self.rotary,
            "dilation": self.dilation if self.dilation > 1 else None,
            "keep_first": self.keep_first or None,
        }  # fmt: skip
        if self.n_kv_heads == self.n_heads:
            del options["n_kv_heads"]
        shown = [f"n_heads={self.n_heads}"]
        shown += [f"{name}={value}" for name, value in options.items() if value is not None]
        flags = ("causal", "cross", "gate", "qk_norm_flat")
        shown += [name for name in flags if getattr(self, name)]
        shown += [name for name in ("sinks", "value_gate") if getattr(self, name) is not None]
        return ", ".join(shown)


def _check(
    dim: int, H: int, KV: int, head_dim: int | None, rotary: Rotary | None, window: int | None,
    causal: bool, cross: bool,
) -> None:  # fmt: skip
    """Raises: ValueError if the arguments of an Attention do not fit each other."""
    sizes = {"dim": dim, "n_heads": H, "n_kv_heads": KV, "head_dim": head_dim, "window": window}
    for name, size in sizes.items():
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(f"Attention: {name} must be an integer of at least 1, got {size!r}")
    if head_dim is None and dim % H:
        raise ValueError(f"Attention: dim must be a multiple of n_heads, got {dim} and {H}")
    if H % KV:
        raise ValueError(f"Attention: n_heads must be a multiple of n_kv_heads, got {H} and {KV}")
    D = dim // H if head_dim is None else head_dim
    if rotary is not None and rotary.head_dim != D:
        raise ValueError(f"Attention: rotary is for a head_dim of {rotary.head_dim}, not {D}")
    if window is not None and (cross or not causal):
        raise ValueError("Attention: window needs causal self-attention")
    if rotary is not None and cross:
        raise ValueError("Attention: rotary needs self-attention: memory has its own positions")


def _check_pattern(
    window: int | None, dilation: int, keep_first: int, sinks: bool, sees_all: bool,
    softcap: float | None,
) -> None:  # fmt: skip
    """Raises: ValueError if a dilation, the first keys, or sinks do not fit the other arguments."""
    for name, number, least in (("dilation", dilation, 1), ("keep_first", keep_first, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise ValueError(
                f"Attention: {name} must be an integer of at least {least}, got {number!r}"
            )
        if number > least and window is None:
            raise ValueError(f"Attention: {name} needs a window")
    if sinks and (sees_all or softcap is not None):
        raise ValueError("Attention: sinks need causal self-attention without softcap")
