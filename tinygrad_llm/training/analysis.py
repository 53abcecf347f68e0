"""How well a model does: perplexity, the share of the machine's arithmetic, a schedule's rates.

    perplexity(loss)                                        # loss in nats per token
    flops_utilization(model, tokens_per_second, peak_flops())
    schedule_rates(lambda o: WarmupCosineLR(o, 100, 1000), lr=3e-4, steps=1000)

What a model costs, in closed form, is in models/costs.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..models.costs import flops_per_token
from ..nn import Parameter
from ..optim import SGD
from ..tensor import wrap
from .step import Loss, count_targets, evaluate, model_loss

__all__ = [
    "evaluate_perplexity",
    "flops_utilization",
    "peak_flops",
    "perplexity",
    "schedule_rates",
]


def flops_utilization(
    model: Any, tokens_per_second: float, peak: float, context_length: int | None = None
) -> float:
    """Model FLOPs utilisation: the share of the machine's arithmetic that training really uses.

    tokens_per_second · flops_per_token / peak, with `peak` in FLOP/s: what the machine can do at
    most (see peak_flops). Only the operations that the model needs count, not what a program does
    in addition.
    Raises: ValueError if the peak is not above 0.
    Source: Chowdhery et al., 2022, appendix B.
    """
    if not 0.0 < peak < math.inf:
        raise ValueError(f"peak must be more than 0 FLOP/s, got {peak}")
    T = model.context_length if context_length is None else context_length
    return tokens_per_second * flops_per_token(model, T) / peak


def peak_flops(size: int = 1024, seconds: float = 0.5) -> float:
    """FLOP/s of float32 matrix products on this CPU: the best of those that fit into `seconds`."""
    draw = np.random.default_rng(0)
    a, b = (draw.random((size, size), np.float32) for _ in range(2))
    out, best = np.empty_like(a), math.inf
    until = time.perf_counter() + seconds
    while best == math.inf or time.perf_counter() < until:
        began = time.perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best


# ------------------------------------------------------------------------------- perplexity
def perplexity(loss: float) -> float:
    """exp(loss), for a loss in nats per token: among how many equally likely tokens it is unsure.

    Infinite if exp(loss) is too large for a float.
    Raises: ValueError if the loss is negative.
    """
    if loss < 0:
        raise ValueError(f"a loss in nats per token is 0 or more, got {loss}")
    return math.exp(loss) if loss < 709.0 else math.inf


def evaluate_perplexity(
    model: Any, batches: Any, loss: Loss = model_loss, count: Callable[[Any], int] = count_targets
) -> float:
    """The perplexity of a model on batches, from its mean loss over all targets; NaN for none."""
    mean, targets = evaluate(model, batches, loss, count)
    return perplexity(mean) if targets else math.nan


# -------------------------------------------------------------------------------- schedules
def schedule_rates(make: Callable[[Any], Any], lr: float, steps: int) -> list[float]:
    """The learning rate of each of the first steps of a schedule.

    make: optimizer -> schedule, such as lambda o: WarmupCosineLR(o, 100, 1000); lr: the optimizer's
    """
    optimizer = SGD([Parameter(wrap(np.zeros(1, np.float32)))], lr=lr, momentum=0.9)
    schedule = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates
