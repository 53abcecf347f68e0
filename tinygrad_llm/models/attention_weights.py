"""Where a token looks: the attention weights of the last token of a text, in every layer and head.

    weights = attention_weights(model, ids)        # ids: a list of T token ids
    weights["trf_blocks.0.att"]                    # (H, T), rows sum to 1

The model itself is neither changed nor hooked, so that other threads may use it meanwhile.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.devices import to_numpy
from ..autograd.grad_mode import no_grad
from ..functions.creation.filled import eye
from ..functions.creation.from_data import tensor
from ..layers.attention import Attention
from ..nn import Module
from ..tensor import Tensor
from .base import LanguageModel, device_of

__all__ = ["attention_weights"]


@no_grad()
def attention_weights(model: LanguageModel, ids: Sequence[int]) -> dict[str, np.ndarray]:
    """For each attention layer by name, how much the last token looks at each: (H, T) float32.

    ids: T token ids of one text, which is computed in whole. Keys that a layer's window hides have
    the weight 0. Layers that are not an Attention, such as recurrent ones, are left out
    Raises: ValueError if no layer is an Attention whose weights can be shown.
    """
    rows: dict[str, np.ndarray] = {}
    twin = _twin(model, "", rows, {})
    twin.hidden_states(tensor([list(ids)], device=device_of(model)))  # (1, T) -> (1, T, C)
    if not rows:
        raise ValueError(f"{type(model).__name__} has no attention whose weights can be shown")
    return rows


def _twin(module: Any, name: str, rows: dict[str, np.ndarray], made: dict[int, Any]) -> Any:
    """The module anew, and all within it, with the same parameters; attentions write to `rows`."""
    if id(module) in made:
        return made[id(module)]
    made[id(module)] = twin = copy.copy(module)
    for child, part in list(module._modules.items()):
        if isinstance(part, Module):
            twin.__dict__[child] = _twin(part, f"{name}.{child}".strip("."), rows, made)
    if type(module) is Attention and module.sinks is None and not module.cross:
        _record(twin, name, rows)
    return twin


def _record(twin: Any, name: str, rows: dict[str, np.ndarray]) -> None:
    attended = twin._attended

    def recorded(
        queries: Tensor, keys: Tensor, values: Tensor, mask: Any, past: int, start: int
    ) -> Tensor:
        T, S = queries.shape[2], keys.shape[2]
        one = eye(S, dtype=values.dtype, device=values.device)  # (S, S): y = p·I is p
        one = one.expand(*values.shape[:2], S, S)  # (B, KV, S, S)
        last = None if mask is None else mask[..., -1:, :]  # (..., T, S) -> (..., 1, S)
        if twin.window is not None and last is None and not twin._has_holes:
            first = max(0, S - twin.window)  # one query sees all keys that are passed to it
            seen = attended(queries[:, :, -1:], keys[:, :, first:], one[:, :, first:], None,
                            past + T - 1, start + first)  # (B, H, 1, S)  # fmt: skip
        else:
            seen = attended(queries[:, :, -1:], keys, one, last, past + T - 1, start)
        rows[name] = to_numpy(seen.array)[0, :, 0].astype(np.float32)  # (H, S)
        return attended(queries, keys, values, mask, past, start)

    twin.__dict__["_attended"] = recorded
