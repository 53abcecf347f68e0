"""All parameters in one launch: Adam's step, the gradients' norm, and clipping by it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays.capture import capturing
from . import launch
from .launch import FLOAT32, empty, kernel, null

BLOCK = 4096  # elements of a tensor that a block of threads works on
_tables: dict[tuple, Any] = {}  # the launches' tables, by the arrays' addresses of the last steps
_blocks: dict[tuple, Any] = {}


def on_gpu(cache: dict[tuple, Any], key: tuple, numbers: Any) -> Any:
    """numbers() as an array on the GPU, cached under the key; a CUDA graph gets a separate one."""
    if capturing.graph is not None:
        return capturing.graph.constant(np.array(numbers(), np.int64))
    key = (launch.gpu(), *key)
    if key not in cache:
        if len(cache) > 64:
            cache.clear()
        cache[key] = launch.xp.asarray(np.array(numbers(), np.int64))
    return cache[key]


def table_of(rows: tuple, sizes: tuple) -> tuple[Any, Any]:
    """(one row of addresses per tensor, (tensor, first element) per block of threads)."""
    blocks = on_gpu(
        _blocks, sizes, lambda: [(i, at) for i, n in enumerate(sizes) for at in range(0, n, BLOCK)]
    )
    return on_gpu(_tables, rows, lambda: rows), blocks


def adam(
    tensors: list[tuple], changing: Any, betas: tuple[float, float], eps: float, decay: float,
    decoupled: bool, maximize: bool, norm: Any = None,
) -> None:  # fmt: skip
    """Adam's step for (p, g, m, v) of every tensor in one launch.

    changing() returns (learning rate, first correction, second correction); a CUDA graph calls it
    before each replay. norm: a float32 number on the GPU; if it is not finite, nothing changes.
    """
    rows = tuple([(p.data.ptr, g.data.ptr, m.data.ptr, v.data.ptr, p.size)
                  for p, g, m, v in tensors])  # fmt: skip
    table, blocks = table_of(rows, tuple([p.size for p, *_ in tensors]))
    if capturing.graph is None:
        live, numbers = None, changing()
    else:
        capturing.graph.keep.append(tensors)
        live, numbers = capturing.graph.live("float64", 3, changing), (0.0, 1.0, 1.0)
    args = (table, blocks, null(live), null(norm), *numbers, *betas, eps, decay, int(decoupled),
            int(maximize))  # fmt: skip
    kernel("elementwise", "adam")((len(blocks),), (256,), args)


def takes_adam(*arrays: Any) -> bool:
    """Whether `adam` serves a parameter's arrays."""
    return arrays[0].size > 0 and all(a.dtype == FLOAT32 and a.flags.c_contiguous for a in arrays)


def takes_norm(gradients: list) -> bool:
    """Whether gradient_norm and clip_by_norm serve these arrays."""
    return bool(gradients) and all(
        hasattr(type(g), "__cuda_array_interface__") and takes_adam(g) for g in gradients
    )


def gradient_norm(gradients: list) -> Any:
    """√(Σ g²) over all gradients, a float32 number on the GPU; the order is always the same."""
    table, blocks = _addresses(gradients)
    part, norm = empty(len(blocks), FLOAT32), empty((), FLOAT32)
    kernel("elementwise", "square_sums")((len(blocks),), (256,), (table, blocks, part))
    kernel("elementwise", "root_of_sum")((1,), (1024,), (part, len(blocks), norm))
    return norm


def clip_by_norm(gradients: list, norm: Any, largest: float) -> None:
    """Every gradient times min(1, largest / (norm + 1e-6)), in place."""
    table, blocks = _addresses(gradients)
    kernel("elementwise", "clip")((len(blocks),), (256,), (table, blocks, norm, float(largest)))


def _addresses(gradients: list) -> tuple[Any, Any]:
    rows = tuple([(g.data.ptr, g.size) for g in gradients])
    return table_of(rows, tuple([g.size for g in gradients]))
