"""context_parallel: within it attention goes round a ring of ranks, each with a part of the text.

    mesh = init_device_mesh("cpu", (world_size,))
    with context_parallel(mesh, buffers=[ids, targets], buffer_seq_dims=[1, 1]):
        logits = model(ids)                    # this rank's positions
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum") / tokens
        loss.backward()

The ranks' losses add up to the loss, and so do their gradients: all_reduce them afterwards. A mean
over each rank's own tokens is another loss if the ranks have different numbers of targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ....arrays.devices import asarray, to_numpy
from ....autograd.grad_mode import no_grad
from ....functions.attention import context
from ....tensor import Tensor, wrap
from ... import groups
from ...nn.ring_attention import own_positions, ring_attention
from ...steps import all_gathered

__all__ = ["context_parallel", "context_parallel_unshard"]


@contextmanager
def context_parallel(
    mesh: Any, *, buffers: list[Tensor] | None = None, buffer_seq_dims: list[int] | None = None,
    no_restore_buffers: Iterable[Tensor] | None = None,
) -> Iterator[None]:  # fmt: skip
    """Within it each rank has its part of the buffers, and scaled_dot_product_attention computes
    ring_attention over the ranks of the mesh, which has one dimension.

    buffers             tensors of the whole text, equal on all ranks: ids, targets, angles. Each
                        becomes this rank's part along its entry of buffer_seq_dims, where it stands
    no_restore_buffers  those of them that stay so; the others are whole again afterwards
    Rank r of R has the chunks r and 2R − 1 − r of 2R, as in PyTorch; T need not be divisible. The
    positions of a language model of this package are those of the rank's tokens; an own model looks
    positions up in a buffer. Masks, dropout, caches and padding are refused.
    Raises: ValueError without buffers, if dims and buffers do not fit, or inside of another block.
    """
    chosen = [] if buffers is None else list(buffers)
    dims = [] if buffer_seq_dims is None else list(buffer_seq_dims)
    stay = [] if no_restore_buffers is None else list(no_restore_buffers)
    if len(chosen) != len(dims):
        raise ValueError("`seq_dims` must have the same number of elements as `buffers`.")
    if not all(any(b is each for each in chosen) for b in stay):
        raise ValueError("`no_restore_buffers` must be a subset of `buffers`.")
    if not chosen:
        raise ValueError("context_parallel: buffers must have the ids, which say how long they are")
    if context.attend is not None:
        raise ValueError("context_parallel: inside of another context_parallel")
    lengths = {b.shape[dim] for b, dim in zip(chosen, dims, strict=True)}
    if len(lengths) != 1:
        raise ValueError(f"context_parallel: the buffers have the lengths {sorted(lengths)}")
    if any(b.requires_grad for b in chosen):
        raise ValueError("context_parallel: a buffer must not require a gradient")
    group, length = mesh.get_group(), lengths.pop()
    own = own_positions(length, groups.get_world_size(group), groups.get_rank(group))
    whole = [b.array for b in chosen]
    for buffer, dim in zip(chosen, dims, strict=True):
        buffer.array = buffer.array.take(asarray(own, buffer.array), axis=dim)  # T -> L along dim
    context.attend, context.positions, context.length = _attend_in(group), lambda: own, length
    try:
        yield
    finally:
        context.attend = context.positions = context.length = None
        for buffer, array in zip(chosen, whole, strict=True):
            if not any(buffer is each for each in stay):
                buffer.array = array


def _attend_in(group: Any) -> Any:
    """What replaces scaled_dot_product_attention."""

    def attend(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Any, dropout_p: float,
        is_causal: bool, scale: float | None, enable_gqa: bool, *, offset: int, window: int | None,
        softcap: float | None,
    ) -> Tensor:  # fmt: skip
        for what, present in (("attn_mask", attn_mask is not None), ("dropout_p", dropout_p),
                              ("offset, of a KV cache,", offset)):  # fmt: skip
            if present:
                raise RuntimeError(
                    f"scaled_dot_product_attention: {what} is not offered within context_parallel, "
                    "where a text is divided among ranks"
                )
        return ring_attention(
            query, key, value, is_causal, scale, enable_gqa, window=window, softcap=softcap,
            group=group,
        )  # fmt: skip

    return attend


def context_parallel_unshard(
    mesh: Any, buffers: Sequence[Tensor], seq_dims: Sequence[int], load_balancer: Any = None
) -> list[Tensor]:
    """The whole of tensors of which each rank has its part, in the order of the text; no gradient.

    Every rank of the mesh calls it.
    Raises: ValueError for a load_balancer, which is not offered.
    """
    if load_balancer is not None:
        raise ValueError("context_parallel_unshard: load_balancer is not offered")
    group = groups.member_group(mesh.get_group(), "context_parallel_unshard")
    if group is None:
        raise ValueError(f"context_parallel_unshard: rank {groups.get_rank()} is not in the mesh")
    with no_grad():
        return [_joined(group, b, dim) for b, dim in zip(buffers, seq_dims, strict=True)]


def _joined(group: Any, part: Tensor, dim: int) -> Tensor:
    rows = np.ascontiguousarray(np.moveaxis(to_numpy(part.array), dim, 0))  # (..., L, ...) -> (L,)
    rest = int(np.prod(rows.shape[1:], dtype=np.int64))
    what = f"unshard of {rows.dtype.name} {list(rows.shape[1:])} along {dim}"
    here = np.array([len(rows)], np.int64)
    lengths = groups.run(group, what, all_gathered(group, here)).tolist()
    counts = [n * rest for n in lengths]
    flat = groups.run(group, what, all_gathered(group, rows.reshape(-1), counts))
    whole = np.empty((sum(lengths), *rows.shape[1:]), rows.dtype)
    order = [own_positions(sum(lengths), group.size(), r) for r in range(group.size())]
    whole[np.concatenate(order)] = flat.reshape(whole.shape)  # (T · rest,) -> (T, ...)
    return wrap(asarray(np.moveaxis(whole, 0, dim), part.array))  # (T, ...) -> (..., T, ...)
