"""What stages do together after their backward passes: shared weights, clipping, the loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays.devices import xp_of
from ...functions.creation.filled import empty_like, zeros_like
from ...functions.losses.classification import cross_entropy
from ...nn.utils import clip_grads_with_norm_, norm_over_ranks
from ...tensor import Tensor, wrap
from .. import collectives
from ..collectives import store
from ..messages import P2POp, batch_isend_irecv, irecv, isend
from ..reductions import ReduceOp
from .stage import PipelineStage

__all__ = ["clip_grad_norm_over_stages", "sum_tied_gradients", "token_loss"]

TAG = 2**19 + 8


def token_loss(
    logits: Tensor, target: Tensor, tokens: Any = None, ignore_index: int = -100
) -> Tensor:
    """Σ cross-entropy over the micro-batch's targets, divided by `tokens`, those of all; 0-d.

    A schedule with loss_fn=token_loss and scale_grads=False computes the gradients of the mean over
    all tokens, also where the micro-batches have different numbers of targets; `step` gets
    loss_kwargs={"tokens": n}. PyTorch's mean per micro-batch is another loss then.
    logits (..., V), target (...); tokens: a number, of all micro-batches and all data-parallel
    ranks; None does not divide.
    """
    flat = logits.flatten(0, -2)  # (..., V) -> (N, V)
    total = cross_entropy(flat, target.flatten(), ignore_index=ignore_index, reduction="sum")
    return total if tokens is None else total / float(tokens)


def sum_tied_gradients(stage: PipelineStage, weight: Tensor | None) -> None:
    """Replace the gradient of a weight of the first and of the last stage by the sum of both.

    Where the embedding is also the head's matrix, each of the two stages has a copy, whose gradient
    is that of one use. After the sum, which is the gradient in one process, both copies have
    equal bits and equal gradients, so equal optimizers keep them equal.
    weight: this stage's copy on the first and on the last stage; None on the others, where nothing
    happens. Call it after `step`, before clipping.
    """
    if weight is None or stage.num_stages == 1 or not (stage.is_first or stage.is_last):
        return
    other = stage.num_stages - 1 if stage.is_first else 0
    peer = stage.rank_of(other)
    mine = zeros_like(weight.detach()) if weight.grad is None else weight.grad
    theirs = empty_like(mine)
    send = P2POp(isend, mine, peer, stage.group, TAG)
    for work in batch_isend_irecv([send, P2POp(irecv, theirs, peer, stage.group, TAG)]):
        work.wait()
    first, last = (mine, theirs) if stage.is_first else (theirs, mine)
    total = first.array + last.array  # in this order on both
    if weight.grad is None:
        weight.grad = wrap(total)
    else:
        store(weight.grad, total.reshape(-1), "sum_tied_gradients")  # (...) -> (n,)


def clip_grad_norm_over_stages(
    stage: PipelineStage, max_norm: float, norm_type: float = 2.0, tied: Tensor | None = None,
    error_if_nonfinite: bool = False,
) -> Tensor:  # fmt: skip
    """nn.utils.clip_grad_norm_ for the gradients of all stages together; every stage calls it.

    tied: the weight that the first and the last stage share (see sum_tied_gradients), which counts
    once. Returns the norm of all gradients before clipping, a 0-d tensor, equal on all ranks.
    Raises: ValueError for norm_type 0; RuntimeError if error_if_nonfinite and the norm is infinite
    or NaN.
    """
    p = float(norm_type)
    if p == 0.0:
        raise ValueError("clip_grad_norm_over_stages: norm_type 0 is not defined over stages")
    parameters: list[Tensor] = list(stage.submod.parameters())
    twice = tied is not None and stage.is_last and not stage.is_first
    counted = [q for q in parameters if not (twice and q is tied)]
    own = float(norm_over_ranks(counted, p, False).item())
    op = {math.inf: ReduceOp.MAX, -math.inf: ReduceOp.MIN}.get(p, ReduceOp.SUM)
    number = wrap(np.array([own if math.isinf(p) else own**p]))
    collectives.all_reduce(number, op, stage.group)
    total = number.item() if math.isinf(p) else number.item() ** (1.0 / p)
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {p} for gradients of all stages is non-finite, so it cannot "
            "be clipped. To disable this error and scale the gradients by the non-finite norm "
            "anyway, set `error_if_nonfinite=False`"
        )
    like = next((q.grad.array for q in parameters if q.grad is not None), np.zeros((), np.float32))
    norm = wrap(xp_of(like).asarray(total, dtype=like.dtype))
    clip_grads_with_norm_(parameters, max_norm, norm)
    return norm
