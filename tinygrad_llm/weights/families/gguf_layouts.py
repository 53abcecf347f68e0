"""How the numbers of some weights lie in a GGUF file, where that is not as Hugging Face has them.

rows of queries and keys of `llama`   in the order of interleaved rotary pairs (0, D/2, 1, ...)
norms of `gemma3` and `qwen35`        1 + w, here w
matrices of `gpt2`                    (out, in), in Hugging Face's files (in, out)
a DeltaNet of `qwen35`                heads of values by their place in the group of a key head,
                                      −exp(A_log), and a convolution without its middle axis
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .llama_meta import half_split

__all__ = ["Layout", "delta_net", "interleaved_pairs", "norms_plus_one", "turned"]

Change = Callable[[np.ndarray], np.ndarray]
Shape = tuple[int, ...]


def _same(shape: Shape) -> Shape:
    return shape


@dataclass(frozen=True)
class Layout:
    """The two directions between the file's array and Hugging Face's.

    read         the file's array -> Hugging Face's; write: back
    rows_only    whether rows change their places and nothing else, so that it holds for the bytes
                 of quantised rows too
    rows         how many rows the weight must have; heads: of pairs of rows, that divide them
    shape        the file's shape -> Hugging Face's; file_shape: back
    """

    read: Change
    write: Change
    rows_only: bool = False
    rows: int | None = None
    heads: int | None = None
    shape: Callable[[Shape], Shape] = _same
    file_shape: Callable[[Shape], Shape] = _same


def interleaved_pairs(name: str, config: Mapping[str, Any]) -> Layout | None:
    """The layout of a weight of `llama` files."""
    if not re.search(r"self_attn\.[qk]_proj\.", name):
        return None
    queries = config.get("num_attention_heads")
    heads = queries if ".q_proj." in name else config.get("num_key_value_heads", queries)
    if type(heads) is not int or heads < 1:
        return None
    split, joined = partial(half_split, n_heads=heads), partial(_interleaved, n_heads=heads)
    return Layout(split, joined, True, heads=heads)


def _interleaved(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """The opposite of half_split."""
    halves = rows.reshape(n_heads, 2, -1, *rows.shape[1:])  # (H·D, ...) -> (H, 2, D/2, ...)
    return halves.swapaxes(1, 2).reshape(rows.shape)  # (H, D/2, 2, ...) -> (H·D, ...)


def norms_plus_one(name: str, config: Mapping[str, Any]) -> Layout | None:
    """The layout of a weight of `gemma3` files."""
    return _PLUS_ONE if name.endswith("norm.weight") else None


_PLUS_ONE = Layout(lambda x: x - np.float32(1), lambda x: x + np.float32(1))


def _reversed(shape: Shape) -> Shape:
    return tuple(reversed(shape))


_TURNED = Layout(np.transpose, np.transpose, shape=_reversed, file_shape=_reversed)


def turned(name: str, config: Mapping[str, Any]) -> Layout | None:
    """The layout of a weight of `gpt2` files: (out, in) <-> (in, out)."""
    return _TURNED if re.search(r"\.(c_attn|c_proj|c_fc)\.weight$", name) else None


# ------------------------------------------------------------------------------------ DeltaNet
def delta_net(name: str, config: Mapping[str, Any]) -> Layout | None:
    """The layout of a weight of `qwen35` files.

    Hugging Face has the heads of values that share a key head side by side, llama.cpp has first
    the first head of each group, then the second of each.
    """
    part = name.partition(".linear_attn.")[2]
    if part == "norm.weight":
        return None
    if not part:
        return norms_plus_one(name, config)
    what = ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim")
    sizes: list[Any] = [config.get(f"linear_{each}") for each in what]
    if any(type(size) is not int or size < 1 for size in sizes) or sizes[1] % sizes[0]:
        return None  # the family's config says what is wrong
    keys, values, key_dim, value_dim = sizes
    last = values * value_dim  # rows of the values, after those of queries and keys
    all_rows = 2 * keys * key_dim + last
    read, write = partial(_swapped, n=values // keys), partial(_swapped, n=keys)
    match part:
        case "in_proj_z.weight":
            return Layout(_by(read, values), _by(write, values), True, last)
        case "in_proj_a.weight" | "in_proj_b.weight" | "dt_bias":
            return Layout(_by(read, values), _by(write, values), True, values)
        case "in_proj_qkv.weight":
            return Layout(
                lambda x: _with_last(x, last, _by(read, values)),
                lambda x: _with_last(x, last, _by(write, values)), True, all_rows,
            )  # fmt: skip
        case "conv1d.weight":
            return Layout(
                lambda x: _with_last(x, last, _by(read, values))[:, None],  # (X, W) -> (X, 1, W)
                lambda x: _with_last(x[:, 0], last, _by(write, values)),  # (X, 1, W) -> (X, W)
                rows=all_rows, shape=lambda s: (*s[:1], 1, *s[1:]),
                file_shape=lambda s: (*s[:1], *s[2:]),
            )  # fmt: skip
        case "A_log":
            return Layout(
                lambda x: np.log(-_by(read, values)(x)),
                lambda x: _by(write, values)(-np.exp(x)), rows=values,
            )  # fmt: skip
        case "out_proj.weight":  # its columns
            return Layout(lambda x: _by(read, values)(x.T).T, lambda x: _by(write, values)(x.T).T)
    return None


def _by(change: Callable[..., np.ndarray], heads: int) -> Change:
    """A change of the order of heads as a change of their rows."""

    def rows_of_heads(rows: np.ndarray) -> np.ndarray:
        blocks = rows.reshape(heads, -1, *rows.shape[1:])  # (S·L, ...) -> (S, L, ...)
        return change(blocks).reshape(rows.shape)  # (S, L, ...) -> (S·L, ...)

    return rows_of_heads


def _swapped(heads: np.ndarray, n: int) -> np.ndarray:
    """Heads in n groups one after another -> the first of each group, the second of each, ..."""
    groups = heads.reshape(n, -1, *heads.shape[1:])  # (S, ...) -> (n, S/n, ...)
    return groups.swapaxes(0, 1).reshape(heads.shape)  # (S/n, n, ...) -> (S, ...)


def _with_last(rows: np.ndarray, n: int, change: Change) -> np.ndarray:
    """The rows with the last n of them changed."""
    return np.concatenate([rows[:-n], change(rows[-n:])])
