"""What a model keeps of the tokens already seen, so that each is computed once.

Every layer makes its own part (`layer.new_cache(max_length)`), and a Cache holds one for each layer
of a model. What generation may ask of either is: its length, truncate(n) and reorder(indices).

Shapes: B batch, H heads of keys and values, T tokens, D head_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..arrays.devices import device_of, move, xp_of
from ..ops import delta_rule
from ..tensor import Tensor, wrap

__all__ = [
    "AttentionCache", "Cache", "CrossCache", "DecoderCache", "LayerCache", "RecurrentCache",
]  # fmt: skip


class LayerCache(Protocol):
    """What every layer's part of a cache can do."""

    length: int  # tokens in it

    def can_truncate(self, length: int) -> bool:
        """Whether it can go back to the first `length` tokens."""

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`."""

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was; indices: integers (new B)."""


def _arrays(keys: Tensor, values: Tensor) -> tuple[Any, Any]:
    if keys.requires_grad or values.requires_grad:
        raise RuntimeError("a KV cache is for generation: call the model under no_grad()")
    return keys.array, values.array


def _rows(indices: Any, stored: Any) -> Any:
    """The checked indices of `reorder` as an array on the device of what is stored."""
    n_rows = stored.shape[0]
    rows = indices.array if isinstance(indices, Tensor) else np.asarray(indices)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(f"reorder: indices must be integers of the shape (B,), got {rows!r}")
    if rows.size and not (0 <= int(rows.min()) and int(rows.max()) < n_rows):
        raise IndexError(
            f"reorder: indices must be rows of the cache, 0 … {n_rows - 1}, got {rows.tolist()}"
        )
    return move(rows, *device_of(stored))


class AttentionCache:
    """Keys (B, H, T, D) and values of one self-attention layer, in memory that grows as needed.

    max_length: the most tokens, in all
    window: if given, the layer sees the last `window` tokens only, so that no more are kept
    (besides the tokens of the last call, and as many again so that they need not move each time)
    """

    def __init__(self, max_length: int, window: int | None = None) -> None:
        self.max_length, self.window = max_length, window
        self.length = 0
        self._first = 0  # the position of the first token in memory
        self._keys: Any = None
        self._values: Any = None

    def _oldest(self, position: int) -> int:
        """The position of the oldest key that the token at `position` sees."""
        return 0 if self.window is None else max(0, position - self.window + 1)

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, int]:
        """Add the keys and values of T new tokens, (B, H, T, D) each.

        Returns all keys and values that the new tokens may see, (B, H, S, D) each, and the position
        of the first of them: 0, except where a window has dropped some.
        Raises: ValueError if there are more than max_length tokens in all, or if batch, heads or
        dtype differ from what is stored; RuntimeError if they require grad, because the cache is
        outside the graph.
        """
        k, v = _arrays(keys, values)
        first = self._oldest(self.length)
        k_memory, v_memory, start, past = self.reserve(k)
        k_memory[:, :, past - start : self.length - start] = k
        v_memory[:, :, past - start : self.length - start] = v
        seen = slice(first - start, self.length - start)
        return wrap(k_memory[:, :, seen]), wrap(v_memory[:, :, seen]), first

    def reserve(self, k: Any) -> tuple[Any, Any, int, int]:
        """Make room for T new tokens, for keys like the array k (B, H, T, D).

        Returns the memory of keys and values, (B, H, room, D) each, the position of its first
        token, and the position of the first new one, which the caller writes there.
        Raises: see `append`.
        """
        past, stop = self.length, self.length + k.shape[2]
        if stop > self.max_length:
            raise ValueError(f"the KV cache holds {self.max_length} tokens, not {stop}")
        self._check(k)
        first = self._oldest(past)
        needed, capacity = stop - first, 0 if self._keys is None else self._keys.shape[2]
        wished = max(2 * needed, 64)
        if self.window is not None:
            wished = min(wished, needed + self.window)
        if stop - self._first > capacity or (self.window is not None and capacity > 2 * wished):
            self._keys, self._values = (
                self._moved(old, k, first, min(self.max_length, wished))
                for old in (self._keys, self._values)
            )
            self._first = first
        self.length = stop
        return self._keys, self._values, self._first, past

    def _check(self, k: Any) -> None:
        old = self._keys
        if old is None:
            return
        if old.shape[:2] != k.shape[:2]:
            raise ValueError(
                f"the KV cache holds a batch of {old.shape[0]} with {old.shape[1]} heads, "
                f"not {k.shape[0]} with {k.shape[1]}"
            )
        if old.dtype != k.dtype:
            raise ValueError(f"the KV cache holds {old.dtype}, not {k.dtype}")

    def _moved(self, old: Any, new: Any, first: int, capacity: int) -> Any:
        """Memory for `capacity` tokens like `new`, with the old tokens from position `first` on."""
        B, H, _, D = new.shape
        memory = xp_of(new).empty((B, H, capacity, D), new.dtype)
        if old is not None:
            kept = old[:, :, first - self._first : self.length - self._first]
            memory[:, :, : self.length - first] = kept
        return memory

    def beginning(self, length: int, copied: bool) -> AttentionCache:
        """A cache of the first `length` tokens, without a window.

        copied: with separate memory, for another text that begins so; or it shares this memory and
        must not be appended to
        """
        made = type(self)(self.max_length)
        made.length, room = length, min(self.max_length, length + 64)
        for name in ("_keys", "_values"):
            memory = getattr(self, name)
            if copied:
                own = xp_of(memory).empty((*memory.shape[:2], room, memory.shape[3]), memory.dtype)
                own[:, :, :length] = memory[:, :, :length]
                memory = own
            setattr(made, name, memory)
        return made

    def can_truncate(self, length: int) -> bool:
        """Whether it can go back to the first `length` tokens: a window may have dropped some.

        It always can go back to any token of the last call.
        """
        in_memory = length == 0 or self._oldest(length) >= self._first
        return 0 <= length <= self.length and in_memory

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`.

        Raises: ValueError if it has fewer, or if a window has dropped some that are needed.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"the KV cache holds {self.length} tokens, it can't keep {length}")
        if not self.can_truncate(length):
            raise ValueError(
                f"the KV cache can't go back to {length} tokens: its window of {self.window} has "
                f"dropped those before token {self._first}"
            )
        self.length = length
        if length == 0:
            self._first = 0

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was: for beams; B may change.

        indices: integers (new B), a tensor or a list
        Raises: IndexError if one of them is not a row.
        """
        if self._keys is None:
            return
        rows, used = _rows(indices, self._keys), slice(0, self.length - self._first)
        old = self._keys, self._values
        for name, stored in zip(("_keys", "_values"), old, strict=True):
            memory = xp_of(stored).empty((len(rows), *stored.shape[1:]), stored.dtype)
            memory[:, :, used] = stored[rows][:, :, used]
            setattr(self, name, memory)


class CrossCache:
    """Keys and values (B, H, S, D) of the memory that a cross-attention layer looks at.

    They are computed in the first call and stay the same: truncate does not touch them, because a
    shorter text still looks at the whole memory.
    """

    def __init__(self) -> None:
        self.length = 0
        self._stored: tuple[Any, Any] | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, int]:
        """Keep the memory's keys and values, (B, H, S, D) each; returns them, and 0.

        Raises: RuntimeError if there are some already, or if they require grad.
        """
        if self._stored is not None:
            raise RuntimeError("this cache holds its memory already: make a new one for another")
        self._stored = _arrays(keys, values)
        self.length = keys.shape[2]
        return keys, values, 0

    def stored(self) -> tuple[Tensor, Tensor] | None:
        """Keys and values, (B, H, S, D) each; None before the first call."""
        if self._stored is None:
            return None
        return wrap(self._stored[0]), wrap(self._stored[1])

    def can_truncate(self, length: int) -> bool:
        """Always True: the memory does not belong to the text that becomes shorter."""
        return True

    def truncate(self, length: int) -> None:
        """Does nothing: the memory stays."""

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was."""
        if self._stored is not None:
            rows = _rows(indices, self._stored[0])
            self._stored = self._stored[0][rows], self._stored[1][rows]


class RecurrentCache:
    """What a recurrent layer keeps: its memory, and the last inputs of its convolution.

    Its size does not grow with the text. The tokens of the last call are kept too: it can go back
    to any of them, as after a rejected draft, but not further.

    max_length  the most tokens, in all
    conv_size   taps of the convolution, so that conv_size − 1 inputs are kept; 1 without one
    advance     (tokens, memory or None) -> (what they read, the memory after them), all arrays (B,
                ...); time is dimension 2 of each token's array. The gated delta rule unless given
    """

    def __init__(
        self, max_length: int, conv_size: int = 1,
        advance: Callable[[tuple, Any], tuple[Any, Any]] = delta_rule.advanced,
    ) -> None:  # fmt: skip
        self.max_length, self.conv_size, self.advance = max_length, conv_size, advance
        self.length = 0
        self._state: Any = None  # the memory after `length` tokens
        self._start, self._start_state = 0, None  # where the last call began, and the memory there
        self._last: tuple = ()  # the last call's tokens, such as q, k, v, g, β
        self._inputs: Any = None  # (B, channels, conv_size − 1 + T): what the last call convolved

    def convolved(self, x: Tensor) -> Tensor:
        """x (B, channels, T) with the conv_size − 1 inputs before it, (B, channels, … + T).

        They are zeros at the beginning of a text. Comes before `append`, once in a call.
        Raises: ValueError if there are more than max_length tokens in all, or another batch.
        """
        kept, new, old = self.conv_size - 1, _arrays(x, x)[0], self._inputs
        self._check(new, old)
        if old is None:
            old = xp_of(new).zeros((*new.shape[:2], kept), new.dtype)
        old = old[:, :, old.shape[2] - kept :]
        self._inputs = xp_of(new).concatenate([old, new], 2)
        return wrap(self._inputs)

    def append(self, *tokens: Tensor) -> Tensor:
        """What T new tokens read, time as dimension 2; the memory goes on.

        tokens: what `advance` takes; for the gated delta rule q, k (B, H, T, K), v (B, H, T, D),
        decay and β (B, H, T)
        Raises: ValueError if there are more than max_length tokens in all, or another batch;
        RuntimeError if they require grad, because the cache is outside the graph.
        """
        arrays = tuple(_arrays(x, x)[0] for x in tokens)
        self._check(arrays[0], self._state)
        self._start, self._start_state, self._last = self.length, self._state, arrays
        y, self._state = self.advance(arrays, self._state)
        self.length += arrays[0].shape[2]
        return wrap(y)

    def _check(self, new: Any, old: Any) -> None:
        """Raises: ValueError if the tokens `new` (B, ., T, ...) are too many, or of other texts."""
        total = self.length + new.shape[2]
        if total > self.max_length:
            raise ValueError(f"the KV cache holds {self.max_length} tokens, not {total}")
        if old is not None and old.shape[0] != new.shape[0]:
            raise ValueError(f"the KV cache holds a batch of {old.shape[0]}, not {new.shape[0]}")

    def can_truncate(self, length: int) -> bool:
        """Whether it can go back to the first `length` tokens: to none, or within the last call."""
        return length == 0 or self._start <= length <= self.length

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`.

        Raises: ValueError if it has fewer, or if the last call began after them.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"the KV cache holds {self.length} tokens, it can't keep {length}")
        if not self.can_truncate(length):
            raise ValueError(
                f"a recurrent cache can't go back to {length} tokens: its memory sums up all of "
                f"them, and only those of the last call, from token {self._start} on, can be "
                "taken back"
            )
        if length == 0:
            self.__init__(self.max_length, self.conv_size, self.advance)  # type: ignore[misc]
        elif length < self.length:
            n, kept = length - self._start, self.conv_size - 1
            self._last = tuple(a[:, :, :n] for a in self._last)
            self._state = self._start_state
            if n:
                _, self._state = self.advance(self._last, self._start_state)
            if self._inputs is not None:
                self._inputs = self._inputs[:, :, : kept + n]
            self.length = length

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was."""
        if self._state is None:
            return
        rows = _rows(indices, self._state)
        self._state = self._state[rows]
        self._last = tuple(a[rows] for a in self._last)
        if self._inputs is not None:
            self._inputs = self._inputs[rows]
        if self._start_state is not None:
            self._start_state = self._start_state[rows]


class DecoderCache:
    """The two parts of a block with cross-attention: `own` for the text, `cross` for the memory."""

    def __init__(self, own: AttentionCache, cross: CrossCache) -> None:
        self.own, self.cross = own, cross

    @property
    def length(self) -> int:
        """Tokens of the text."""
        return self.own.length

    def can_truncate(self, length: int) -> bool:
        """Whether the text can go back to its first `length` tokens."""
        return self.own.can_truncate(length)

    def truncate(self, length: int) -> None:
        """Forget all tokens of the text except the first `length`."""
        self.own.truncate(length)

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was."""
        self.own.reorder(indices)
        self.cross.reorder(indices)


class Cache:
    """One part for each layer of a model: `logits = model(idx, cache=cache)`.

    With a cache, idx are the tokens that follow those already in it. `len(cache)` is the number
    of tokens in it; `truncate(n)` forgets all except the first n; `reorder(indices)` picks rows of
    the batch. `layers` are the parts, made by the layers' `new_cache`.
    """

    def __init__(self, layers: Sequence[Any], max_length: int) -> None:
        self.layers = list(layers)
        self.max_length = max_length
        self.plan: Any = None  # what layers.step has read of the model

    def __len__(self) -> int:
        return self.layers[0].length if self.layers else 0

    def __bool__(self) -> bool:
        return True  # an empty cache is a cache

    def truncate(self, length: int) -> None:
        """Forget all tokens except the first `length`, in every layer or, if one can't, in none.

        Raises: ValueError if it has fewer, or if a layer's window has dropped some that are needed.
        """
        if not 0 <= length <= len(self):
            raise ValueError(f"the KV cache holds {len(self)} tokens, it can't keep {length}")
        for layer in sorted(self.layers, key=lambda layer: layer.can_truncate(length)):
            layer.truncate(length)  # those that can't come first, and raise

    @property
    def can_join(self) -> bool:
        """Whether its text can be one of several (TextsCache): full attention in every layer."""
        return all(isinstance(x, AttentionCache) and x.window is None for x in self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes of the memory of keys and values, where all layers have AttentionCaches."""
        arrays = [a for x in self.layers for a in (x._keys, x._values) if a is not None]
        return sum(int(array.nbytes) for array in arrays)

    def beginning(self, length: int, copied: bool = True) -> Cache:
        """A cache of the first `length` tokens of its texts; copied: see AttentionCache.

        Raises: ValueError if it has fewer tokens, or layers without full attention.
        """
        if not self.can_join:
            raise ValueError("only a cache with full attention in every layer has a beginning")
        if not 0 < length <= len(self):
            raise ValueError(f"the KV cache holds {len(self)} tokens, not {length}")
        return Cache([part.beginning(length, copied) for part in self.layers], self.max_length)

    def reorder(self, indices: Any) -> None:
        """Row i of the batch becomes what row indices[i] was, in every layer.

        indices: integers (new B), a tensor or a list; rows may repeat, as beams do
        Raises: IndexError if one of them is not a row.
        """
        for layer in self.layers:
            layer.reorder(indices)
