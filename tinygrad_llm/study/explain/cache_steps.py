"""A cache to step through: what is stored token by token, and what comes back. Forward only.

The keys of token t are t.1, t.2, ... and its values the same below zero, so that each number says
where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import random
from ...layers.cache import AttentionCache, Cache, CrossCache, DecoderCache, RecurrentCache
from ...layers.latent_cache import LatentCache
from ...layers.quantized import QuantizedEmbedding
from ...layers.streaming_cache import StreamingCache
from ...nn import Embedding
from ...tensor import Tensor, wrap
from ...weights.quantized.matrix import picked
from ..draw.replay import Held, Moment, Replay

__all__ = ["MEMORIES", "memory_steps"]

ABOUT = "A cache is for generation, outside of the graph: it has no backward pass."
APPENDED = {
    AttentionCache: "The token's key and value are written behind those before it. What comes back "
    "is all that its query may look at: the last tokens, as many as the window has.",
    StreamingCache: "The token's key and value are written behind those before it. What comes back "
    "is the first token, which is never dropped, and the last ones, as many as the window has.",
    LatentCache: "One short row per token is stored, which all heads share: they compute their "
    "keys and values from it when they need them.",
    RecurrentCache: "The memory goes on by one token: it changes its numbers and never grows. Only "
    "the last inputs of the convolution are kept beside it.",
    DecoderCache: "The text's token is added to the block's own part. The memory of the source "
    "stays as it is.",
    Cache: "Every layer adds the token to its part: a model of two layers has two parts.",
}


def memory_steps(kind: type) -> Replay:
    """The steps of a cache of this class, or of QuantizedEmbedding.

    Raises: KeyError if it has none: see MEMORIES.
    """
    about = MEMORIES[kind][1]
    return Replay(f"{kind.__name__}, step by step", MEMORIES[kind][0](), about)


# ----------------------------------------------------------------------------- numbers and words
def _keys(tokens: Sequence[int], batch: int = 1, numbers: int = 2, above: float = 0.0) -> Tensor:
    """Keys (batch, 1, T, numbers) of tokens; those of the next text of the batch are 10 larger."""
    one = np.add.outer(np.array(tokens, np.float64), 0.1 * np.arange(1, numbers + 1))  # (T, D)
    every = [one + above + 10 * text for text in range(batch)]
    return wrap(np.round(np.stack(every)[:, None], 6))  # (B, T, D) -> (B, 1, T, D)


def _of(tokens: Sequence[int], batch: int = 1) -> list[str]:
    """The words of the rows of an array (batch, 1, T, D)."""
    texts = [f"text {b}, " if batch > 1 else "" for b in range(batch)]
    return [f"{text}token {t}" for text in texts for t in tokens]


def _both(
    pair: tuple[Any, Any], tokens: Sequence[int], batch: int = 1, new: bool = False, word: str = "",
) -> list[Held]:  # fmt: skip
    """Keys and values, with a word for each row."""
    (keys, values), rows = pair, _of(tokens, batch)
    return [Held(f"{word}keys", keys, rows, new=new), Held(f"{word}values", values, rows, new=new)]


def _stored(cache: AttentionCache, batch: int = 1) -> list[Held]:
    """What is in the memory of keys and values."""
    used = slice(0, cache.length - cache._first)
    tokens = range(cache._first, cache.length)
    return _both((cache._keys[:, :, used].copy(), cache._values[:, :, used].copy()), tokens, batch)


def _truncated(cache: Any, length: int, held: Callable[[], list[Held]]) -> Moment:
    cache.truncate(length)
    return Moment(
        "truncate",
        f"Back to {length} token{'s' * (length != 1)}",
        "The last tokens are forgotten, as after a draft that was rejected. Nothing is erased: "
        "only the length is smaller, and the next token is written over them.",
        f"`cache.truncate({length})`",
        {"in memory": held()},
    )


# -------------------------------------------------------------------------------- keys and values
def _windowed(cache: AttentionCache, n: int, kept: int = 0) -> list[Moment]:
    """n tokens, one by one; `kept` first tokens come back before the window's."""
    moments = []

    def held() -> list[Held]:
        first = [] if not kept else _both(_first_ones(cache), range(kept), word="kept apart: ")
        return [*first, *_stored(cache)]

    for t in range(n):
        k = _keys([t])
        keys, values, start = cache.append(k, -k)
        tokens = [*range(min(kept, start)), *range(start, t + 1)]
        places = {
            "the new token": _both((k.array, -k.array), [t], new=True),
            "in memory": held(),
            "comes back: what it sees": _both((keys.array.copy(), values.array.copy()), tokens),
        }
        seen = f"tokens {', '.join(map(str, tokens))}" if t else "token 0"
        moments.append(
            Moment("append", f"Token {t} arrives", APPENDED[type(cache)],
                   f"`cache.append(k, v)` returns keys and values of {seen}, and `{start}`",
                   places)
        )  # fmt: skip
    return [*moments, _truncated(cache, n - 1, held)]


def _first_ones(cache: Any) -> tuple[Any, Any]:
    keys, values = cache._kept
    return keys.copy(), values.copy()


def _copies(pair: tuple[Tensor, Tensor]) -> tuple[Any, Any]:
    return pair[0].array.copy(), pair[1].array.copy()


def _attention() -> list[Moment]:
    return _windowed(AttentionCache(8, window=3), 5)


def _streaming() -> list[Moment]:
    return _windowed(StreamingCache(8, window=2, keep_first=1), 5, kept=1)


def _cross() -> list[Moment]:
    cache, k = CrossCache(), _keys(range(3), 2)
    cache.append(k, -k)

    def held(new: bool = False) -> dict[str, list[Held]]:
        stored = cache.stored()
        assert stored is not None
        return {"in memory": _both(_copies(stored), range(3), 2, new)}

    first = Moment(
        "append", "The source arrives, once",
        "The encoder has read the whole source. Its keys and values are computed once, before the "
        "first token of the answer.",
        "`cache.append(k, v)`", held(new=True),
    )  # fmt: skip
    later = Moment(
        "stored", "Every token of the answer",
        "Each token of the answer looks at the same keys and values: nothing is computed again.",
        "`cache.stored()` returns keys and values", held(),
    )  # fmt: skip
    cache.reorder([1, 1])
    return [first, later, _reordered(held())]


def _reordered(places: dict[str, list[Held]]) -> Moment:
    return Moment(
        "reorder", "Both texts continue from text 1",
        "Of two beams the second one won, and both continue from it: row 0 of the batch becomes "
        "what row 1 is.",
        "`cache.reorder([1, 1])`", places,
    )  # fmt: skip


def _decoder() -> list[Moment]:
    cache = DecoderCache(AttentionCache(8), CrossCache())
    source = _keys(range(2), above=100.0)
    cache.cross.append(source, -source)

    def held() -> dict[str, list[Held]]:
        memory = cache.cross.stored()
        assert memory is not None
        return {
            "own: the text": _stored(cache.own) if cache.length else [],
            "cross: the source": _both(_copies(memory), range(2)),
        }

    moments = [
        Moment("source", "The source is there",
               "The block looks at two things: at its own text and at the source. The source is "
               "stored before the first token.", "`cache.cross.append(k, v)`", held())
    ]  # fmt: skip
    for t in range(3):
        k = _keys([t])
        cache.own.append(k, -k)
        places = {"the new token": _both((k.array, -k.array), [t], new=True), **held()}
        moments.append(Moment("append", f"Token {t} of the text", APPENDED[DecoderCache],
                              "`cache.own.append(k, v)`", places))  # fmt: skip
    back = _truncated(cache, 1, list)
    back.places = held()
    return [*moments, back]


def _whole() -> list[Moment]:
    cache = Cache([AttentionCache(8) for _ in range(2)], 8)

    def held() -> dict[str, list[Held]]:
        return {f"layer {i}": _stored(part, 2) for i, part in enumerate(cache.layers)}

    moments = []
    for t in range(3):
        for i, part in enumerate(cache.layers):
            k = _keys([t], 2, above=100.0 * i)
            part.append(k, -k)
        moments.append(
            Moment("append", f"Token {t} of two texts", APPENDED[Cache],
                   "`model(idx, cache=cache)` lets each layer append to its part; "
                   f"`len(cache)` is {len(cache)}", held())
        )  # fmt: skip
    back = _truncated(cache, 2, list)
    back.places = held()
    cache.reorder([1, 1])
    return [*moments, back, _reordered(held())]


# ------------------------------------------------------------------------------ less than all keys
def _latent() -> list[Moment]:
    cache = LatentCache(8)

    def held() -> list[Held]:
        n = cache.length
        latent, turned = (part[:, :n].copy() for part in cache._parts)
        return [Held("latent vectors", latent, _of(range(n))),
                Held("turned keys", turned, _of(range(n)))]  # fmt: skip

    moments = []
    for t in range(4):
        latent, turned = _keys([t], numbers=3), -_keys([t], numbers=1)
        parts = cache.append(latent[:, 0], turned[:, 0])  # (1, 1, 1, N) -> (1, 1, N)
        new = [Held("latent vector", latent.array, _of([t]), new=True),
               Held("turned key", turned.array, _of([t]), new=True)]  # fmt: skip
        rows = " and ".join(str(tuple(p.shape)) for p in parts)
        moments.append(Moment("append", f"Token {t} arrives", APPENDED[LatentCache],
                              f"`cache.append(latent, turned)` returns all tokens of each: {rows}",
                              {"the new token": new, "in memory": held()}))  # fmt: skip
    return [*moments, _truncated(cache, 2, held)]


def _recurrent() -> list[Moment]:
    cache = RecurrentCache(8, conv_size=3)
    unit = np.array([[0.6, 0.8], [0.8, -0.6], [1.0, 0.0], [0.0, 1.0]])

    def held(new: bool = False) -> list[Held]:
        inputs = cache._inputs[:, :, -2:].copy()  # (1, 2, conv_size - 1)
        return [Held("memory S, after the last token", cache._state.copy(), new=new),
                Held("last inputs of the convolution, a column per token", inputs)]  # fmt: skip

    moments = []
    for tokens in ([0], [1], [2, 3]):
        n = len(tokens)
        k, v = wrap(unit[tokens][None, None]), _keys(tokens)  # (1, 1, T, 2) each
        cache.convolved(wrap(v.array[:, 0].swapaxes(1, 2)))  # (1, 1, T, 2) -> (1, 2, T)
        decay, beta = wrap(np.full((1, 1, n), -0.5)), wrap(np.full((1, 1, n), 0.5))
        y = cache.append(k, k, v, decay, beta)
        new = [Held("key, and query", k.array, _of(tokens), new=True),
               Held("value", v.array, _of(tokens), new=True)]  # fmt: skip
        title = f"Token {tokens[0]} arrives" if n == 1 else "Tokens 2 and 3, in one call"
        moments.append(
            Moment("append", title, APPENDED[RecurrentCache],
                   "`cache.append(q, k, v, g, beta)`, here with β = 0.5 and g = −0.5: the "
                   "memory shrinks by exp(g)",
                   {"the new token" + "s" * (n > 1): new, "in memory": held(new=True),
                    "comes back: what it reads": [Held("y", y.array.copy(), _of(tokens))]})
        )  # fmt: skip
    cache.truncate(3)
    back = Moment(
        "truncate", "Back to 3 tokens",
        "The memory sums up all tokens, so none can be taken out of it. Those of the last call are "
        "kept: the memory before that call goes on again, by the tokens that stay.",
        "`cache.truncate(3)`", {"in memory": held(new=True)},
    )  # fmt: skip
    return [*moments, back]


def _codes() -> list[Moment]:
    with random.fork_rng():
        random.manual_seed(0)
        table = Embedding(4, 3)
    module = QuantizedEmbedding(table.weight, "int8")
    arrays = {name: picked(a, np.arange(4)) for name, a in module.matrix.arrays.items()}
    arrays["scales"] = arrays["scales"][:, None]  # (4) -> (4, 1)
    rows = [f"row {i}" for i in range(4)]
    moments = [
        Moment(
            "table", "The table: a byte for each number",
            "Each row of the table is stored as whole numbers from −127 to 127, and one scale.",
            "code = round(w / scale)   with scale = max|w| / 127",
            {"float32, before": [Held("weight", table.weight.array.copy(), rows)],
             "stored": [Held(name, a, rows, new=True) for name, a in arrays.items()]},
        )
    ]  # fmt: skip
    for i in (2, 0):
        y = module(wrap(np.array([i])))
        places = {
            "stored": [Held(name, a[i : i + 1], [rows[i]]) for name, a in arrays.items()],
            "comes back": [Held("y", y.array.copy(), [rows[i]], new=True)],
            "float32, before": [Held("weight", table.weight.array[i : i + 1].copy(), [rows[i]])],
        }
        moments.append(
            Moment("look up", f"Token id {i}",
                   "The row of this id is taken and multiplied by its scale: close to the number "
                   "that was there before.", "y = code·scale", places)
        )  # fmt: skip
    return moments


MEMORIES: dict[type, tuple[Callable[[], list[Moment]], str]] = {
    AttentionCache: (_attention, ABOUT),
    Cache: (_whole, ABOUT),
    CrossCache: (_cross, ABOUT),
    DecoderCache: (_decoder, ABOUT),
    LatentCache: (_latent, ABOUT),
    QuantizedEmbedding: (
        _codes, "The table is frozen and ids are whole numbers: nothing here wants a gradient.",
    ),
    RecurrentCache: (_recurrent, ABOUT),
    StreamingCache: (_streaming, ABOUT),
}  # fmt: skip
