"""A transformer block: attention and feed forward, each added to its input, and their norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..functions.autocast import for_products, is_autocast_enabled
from ..nn.container import Sequential
from ..nn.dropout import Dropout
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.norm import LayerNorm, RMSNorm
from ..tensor import Tensor
from .attention import Attention
from .cache import DecoderCache
from .feed_forward import FeedForward, GatedFeedForward, nobody_watches

__all__ = ["NORM_PLACES", "Block"]

NORM_PLACES = ("pre", "post", "sandwich", "after", "parallel")


def _normed(x: Tensor, norm: Module, reader: Module) -> Tensor:
    """norm(x): within autocast on a GPU in its dtype, if only the reader's linear layer reads it.

    That layer would round it first; so it is rounded while it is computed.
    """
    on_gpu = isinstance(x, Tensor) and x.is_cuda
    if on_gpu and is_autocast_enabled("cuda") and type(norm) in (LayerNorm, RMSNorm):
        first = _first_layer(reader)
        if first is not None and nobody_watches(norm, reader, *first):
            return for_products(norm, x)
    return norm(x)


def _first_layer(reader: Module) -> tuple[Module, ...] | None:
    """The linear layer that alone reads what goes into a module, and what it is in; or None."""
    way: tuple[Module, ...]
    if type(reader) is Attention:
        way = (reader.q if reader.cross else reader.qkv,)
    elif type(reader) is FeedForward and type(reader.layers) is Sequential and len(reader.layers):
        way = (reader.layers[0], reader.layers)
    elif type(reader) is GatedFeedForward:
        way = (reader.gate_up,)
    else:
        return None
    return way if type(way[0]) is Linear else None


class Block(Module):
    """x = x + f(x) for f = attention, then feed forward: x (B, T, dim) -> (B, T, dim).

    att           an Attention, or a module that is called as one: (x, cache=, mask=, positions=).
                  One with a memory in place of attention has `is_recurrent = True`
    ff            a module (B, T, dim) -> (B, T, dim): FeedForward, GatedFeedForward
    norm          makes a norm over dim, such as partial(nn.LayerNorm, dim)
    norm_place    "pre": x + f(norm(x)), as in GPT-2 and Llama. "post": norm(x + f(x)), as in the
                  first Transformer and BERT. "sandwich": x + after(f(norm(x))), as in Gemma 2.
                  "after": x + norm(f(x)), as in Olmo 2. "parallel": x + att(y) + ff(y) with one
                  y = norm(x) for both, as in Cohere's models
    cross         an Attention with cross=True, which comes between the two and looks at memory
    dropout       of what is added to x, in training

    Norms are `norm1` (of att), `norm_cross` and `norm2` (of ff); "sandwich" has three more behind
    these parts, `norm1_after`, `norm_cross_after` and `norm2_after`; "parallel" has `norm1` only.
    Raises: ValueError for another norm_place, or for "parallel" with cross. Sources: Vaswani et al.
    (2017), figure 1; pre-norm, Xiong et al. (2020); sandwich, Ding et al. (2021), section 3.4;
    after, OLMo team (2024), "2 OLMo 2 Furious"; parallel, Wang and Komatsuzaki (2021), "GPT-J".
    """

    def __init__(
        self, att: Module, ff: Module, norm: Callable[[], Module], *, norm_place: str = "pre",
        cross: Module | None = None, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if norm_place not in NORM_PLACES:
            raise ValueError(
                f"Block: norm_place must be {', '.join(NORM_PLACES)}, got {norm_place!r}"
            )
        if norm_place == "parallel" and cross is not None:
            raise ValueError("Block: parallel attention and feed forward leave no place for cross")
        self.norm_place = norm_place
        self.is_recurrent = bool(getattr(att, "is_recurrent", False))
        self.cross: Module | None = None
        parts = {"norm1": ("att", att), "norm_cross": ("cross", cross), "norm2": ("ff", ff)}
        for norm_name, (name, part) in parts.items():
            if part is None:
                continue
            if norm_place != "parallel" or norm_name == "norm1":
                setattr(self, norm_name, norm())
            setattr(self, name, part)
            if norm_place == "sandwich":
                setattr(self, f"{norm_name}_after", norm())
        self.drop_shortcut = Dropout(dropout)

    def forward(
        self, x: Tensor, *, memory: Tensor | None = None, cache: Any = None,
        mask: Tensor | None = None, memory_mask: Tensor | None = None,
        positions: Tensor | None = None, real: Tensor | None = None,
        values: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x (B, T, dim) -> (B, T, dim).

        memory (B, S, dim) and memory_mask: for cross; cache, mask, positions and, where att takes
        them, values: see Attention
        real: bool (B, T), False for padding; see `att_mask`
        """
        mask = self.att_mask(mask, real)
        options: dict[str, Any] = {"mask": mask, "positions": positions}
        if values is not None:
            options["values"] = values
        own, cross = (cache.own, cache.cross) if isinstance(cache, DecoderCache) else (cache, None)
        if self.norm_place == "parallel":
            y = self.norm1(x)  # (B, T, dim), for both
            attended = self.att(y, cache=own, **options)
            return x + self.drop_shortcut(attended) + self.drop_shortcut(self.ff(y))
        x = self._added(x, "norm1", self.att, cache=own, **options)
        if self.cross is not None:
            options = {"memory": memory, "cache": cross, "mask": memory_mask}
            x = self._added(x, "norm_cross", self.cross, **options)
        return self._added(x, "norm2", self.ff)

    def att_mask(self, mask: Tensor | None, real: Tensor | None) -> Tensor | None:
        """What att gets as its mask: that of pairs, or which tokens are real if it is recurrent."""
        return real if self.is_recurrent else mask

    def _added(self, x: Tensor, norm: str, part: Module, **options: Any) -> Tensor:
        """x + part(x, **options), with the norm of this name at its place: x as (B, T, dim)."""
        if self.norm_place == "post":
            return getattr(self, norm)(x + self.drop_shortcut(part(x, **options)))
        if self.norm_place == "after":
            return x + self.drop_shortcut(getattr(self, norm)(part(x, **options)))
        y = part(_normed(x, getattr(self, norm), part), **options)
        if self.norm_place == "sandwich":
            y = getattr(self, f"{norm}_after")(y)
        return x + self.drop_shortcut(y)

    def new_cache(self, max_length: int) -> Any:
        """An empty cache for `forward`: that of att, or a DecoderCache with that of cross too."""
        own = self.att.new_cache(max_length)
        return own if self.cross is None else DecoderCache(own, self.cross.new_cache(max_length))

    def extra_repr(self) -> str:
        return "" if self.norm_place == "pre" else f"norm_place={self.norm_place!r}"
