"""What changes all parameters in one launch: Adam."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import launch
from .launch import FLOAT32, kernel

_tables: dict[tuple, Any] = {}  # what adam's launches read, for the addresses of the last steps
_blocks: dict[tuple, Any] = {}


def adam(
    tensors: list[tuple], lr: float, betas: tuple[float, float], eps: float, decay: float,
    corrections: tuple[float, float], decoupled: bool, maximize: bool,
) -> None:  # fmt: skip
    """Adam's step for (p, g, m, v) of every tensor in one launch."""
    key = tuple([(p.data.ptr, g.data.ptr, m.data.ptr, v.data.ptr, p.size)
                 for p, g, m, v in tensors])  # fmt: skip
    sizes = tuple([p.size for p, *_ in tensors])
    for cache in (_tables, _blocks):
        if len(cache) > 64:
            cache.clear()
    if sizes not in _blocks:
        blocks = [(i, at) for i, n in enumerate(sizes) for at in range(0, n, 4096)]
        _blocks[sizes] = launch.xp.asarray(np.array(blocks, np.int64))
    if key not in _tables:
        _tables[key] = launch.xp.asarray(np.array(key, np.int64))
    table, blocks = _tables[key], _blocks[sizes]
    args = table, blocks, lr, *betas, eps, decay, *corrections, int(decoupled), int(maximize)
    kernel("elementwise", "adam")((len(blocks),), (256,), args)


def takes_adam(*arrays: Any) -> bool:
    return arrays[0].size > 0 and all(a.dtype == FLOAT32 and a.flags.c_contiguous for a in arrays)
