"""The KV cache: keys and values of the tokens already seen, so that each is computed once."""

from __future__ import annotations

from typing import Any

from ..arrays.devices import xp_of
from ..tensor import Tensor, wrap

__all__ = ["KVCache", "LayerCache"]


class LayerCache:
    """Keys and values of one attention layer, (B, H, T, D) each, in memory that grows as needed."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self._keys: Any = None
        self._values: Any = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys and values of new tokens (B, H, T, D); returns all of them so far.

        Raises: ValueError if they are more than max_length in all, or of another batch size;
        RuntimeError if they require grad, because the cache is outside the graph.
        """
        if keys.requires_grad or values.requires_grad:
            raise RuntimeError("a KV cache is for generation: call the model under no_grad()")
        k, v = keys.array, values.array
        start, stop = self.length, self.length + k.shape[2]
        if stop > self.max_length:
            raise ValueError(f"the KV cache holds {self.max_length} tokens, not {stop}")
        if self._keys is not None and self._keys.shape[:2] != k.shape[:2]:
            raise ValueError(
                f"the KV cache holds a batch of {self._keys.shape[0]} with "
                f"{self._keys.shape[1]} heads, not {k.shape[0]} with {k.shape[1]}"
            )
        if self._keys is None or stop > self._keys.shape[2]:
            capacity = min(self.max_length, max(2 * stop, 64))
            self._keys = self._grown(self._keys, k, capacity)
            self._values = self._grown(self._values, v, capacity)
        self._keys[:, :, start:stop] = k
        self._values[:, :, start:stop] = v
        self.length = stop
        return wrap(self._keys[:, :, :stop]), wrap(self._values[:, :, :stop])

    def reorder(self, rows: Any) -> None:
        """From now on row i holds what row rows[i] held; rows may be repeated or left out."""
        if self._keys is not None:
            self._keys, self._values = self._keys[rows], self._values[rows]  # (rows, H, T, D)

    def _grown(self, old: Any, new: Any, capacity: int) -> Any:
        """Memory for `capacity` tokens, with the old tokens copied into it."""
        B, H, _, D = new.shape
        grown = xp_of(new).empty((B, H, capacity, D), new.dtype)
        if old is not None:
            grown[:, :, : self.length] = old[:, :, : self.length]
        return grown


class KVCache:
    """One LayerCache for each layer of a model: `logits = model(idx, cache=cache)`.

    With a cache, idx are the tokens that follow those already in it. `len(cache)` is the number
    of tokens in it; `truncate(n)` forgets all except the first n.
    """

    def __init__(self, n_layers: int, max_length: int) -> None:
        self.layers = [LayerCache(max_length) for _ in range(n_layers)]
        self.max_length = max_length

    def __len__(self) -> int:
        return self.layers[0].length if self.layers else 0

    def __bool__(self) -> bool:
        return True  # an empty cache is a cache

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`.

        Raises: ValueError if it has fewer.
        """
        if not 0 <= length <= len(self):
            raise ValueError(f"the KV cache holds {len(self)} tokens, it can't keep {length}")
        for layer in self.layers:
            layer.length = length

    def reorder(self, rows: Tensor) -> None:
        """From now on row i of the batch is what row rows[i] was: for beam search."""
        for layer in self.layers:
            layer.reorder(rows.array)
