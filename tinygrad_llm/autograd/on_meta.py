"""Ops on tensors of the meta device: the shapes and dtypes of results, and nothing else.

A matrix product's shape is computed from its factors' shapes. Every other op runs on zeros, and its
results are thrown away except their shapes and dtypes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays.memory import is_array
from ..arrays.meta import MetaArray, is_meta, meta_like, plain, without_numbers
from ..arrays.silence import is_silent, silent


def forward_of_any(op: Any, arrays: list[Any], options: dict[str, Any]) -> Any:
    """What op.forward(*arrays, **options) returns: without numbers if one of the arrays is."""
    if MetaArray in map(type, arrays):
        return forward(op, arrays, options)
    if op.views or is_silent():
        return op.forward(*arrays, **options)
    return silent.run(op.forward, *arrays, **options)


def forward(op: Any, arrays: list[Any], options: dict[str, Any]) -> Any:
    """What op.forward(*arrays, **options) returns, as arrays without numbers.

    Raises: RuntimeError if another input has numbers and is more than one of them.
    """
    for a in arrays:
        if is_array(a) and a.ndim and not is_meta(a):
            place = "cpu" if isinstance(a, np.ndarray) else "cuda"
            raise RuntimeError(
                f"{op.name}: Expected all tensors to be on the same device, but found meta and "
                f"{place}: move them with .to(device)"
            )
    rule = _RULES.get(op.name)
    if rule is not None:
        out = rule(*arrays, **options)
    else:
        with np.errstate(all="ignore"):
            out = meta_like(op.forward(*map(plain, arrays), **plain(options)))
    op.saved = ()
    op.backward = _no_backward
    return out


def _no_backward(g: Any) -> Any:
    raise NotImplementedError(
        "backward: tensors of the meta device have no numbers, so there are no gradients. Make the "
        "module with to_empty(device=...) and load its weights first"
    )


def _linear(x: Any, w: Any, b: Any = None) -> MetaArray:
    return without_numbers((*x.shape[:-1], w.shape[0]), x.dtype)


_RULES: dict[str, Callable[..., Any]] = {"linear": _linear, "matmul": lambda a, b: a @ b}
