"""What a GPT costs, by formula, and how well it does.

    gpt_parameters(GPTConfig())["total"]                    # 124,439,808
    gpt_memory(config, batch_size=8)["total"]               # bytes of a training step
    gpt_flops(config, batch_size=8)["total"]                # of forward and backward
    flops_utilization(model, tokens_per_second, peak_flops())

The tests hold these formulas against what a trace of the model counts. Letters: B batch, T time
(tokens), C channels (emb_dim), H heads, L layers, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..models.gpt import GPTConfig
from .plan import flops_per_token
from .step import Loss, count_targets, evaluate, model_loss

__all__ = [
    "gpt_flops",
    "gpt_memory",
    "gpt_parameters",
    "evaluate_perplexity",
    "flops_utilization",
    "peak_flops",
    "perplexity",
    "schedule_rates",
]


def gpt_parameters(config: GPTConfig) -> dict[str, int]:
    """Numbers that are trained, by part and in all.

    token_embedding V·C, position_embedding T·C, attention L·(4·C² + C, and 3·C with qkv_bias),
    feed_forward L·(8·C² + 5·C), norms L·4·C + 2·C, output V·C (0 where it is the embedding).
    """
    V, T, C, L = config.vocab_size, config.context_length, config.emb_dim, config.n_layers
    parts = {
        "token_embedding": V * C,
        "position_embedding": T * C,
        "attention": L * (4 * C * C + C + (3 * C if config.qkv_bias else 0)),
        "feed_forward": L * (8 * C * C + 5 * C),
        "norms": L * 4 * C + 2 * C,
        "output": 0 if config.tie_weights else V * C,
    }
    return {**parts, "total": sum(parts.values())}


def gpt_memory(
    config: GPTConfig, batch_size: int = 1, context_length: int | None = None, moments: int = 2,
    bytes_per_number: int = 4,
) -> dict[str, int]:  # fmt: skip
    """Bytes of a training step, by part and in all.

    weights and gradients P numbers each, optimizer `moments`·P (AdamW and Adam 2, SGD with momentum
    1, plain SGD 0), and activations, what the ops keep for the backward pass: in each layer and for
    each token 16·C + H + 2 numbers (norms 2·C + 2, linear layers 6·C, attention 4·C + H, GELU
    4·C), 2·C + 1 after the last layer, and one gradient of the output layer. No T·T scores are
    kept. With dropout a byte for each element that may be dropped, T·T scores included.
    """
    P = gpt_parameters(config)["total"]
    T = config.context_length if context_length is None else context_length
    B, C, H, L = batch_size, config.emb_dim, config.n_heads, config.n_layers
    numbers = B * T * (L * (16 * C + H + 2) + 2 * C + 1) + config.vocab_size * C
    ids = 8 * (B * T + T)  # int64
    masks = B * T * C * (1 + 2 * L) + L * B * H * T * T if config.drop_rate else 0  # bytes
    parts = {
        "weights": bytes_per_number * P,
        "gradients": bytes_per_number * P,
        "optimizer": bytes_per_number * moments * P,
        "activations": bytes_per_number * numbers + ids + masks,
    }
    return {**parts, "total": sum(parts.values())}


def gpt_flops(
    config: GPTConfig, batch_size: int = 1, context_length: int | None = None, causal: bool = True
) -> dict[str, float]:
    """Floating-point operations of matrix products, by part, forward, backward and in all.

    A product (m, k) @ (k, n) is 2·m·k·n: a multiplication and an addition each. Forward, for B·T
    tokens: attention_projections L·8·C², feed_forward L·16·C², output 2·V·C each; and
    attention_scores L·4·C for each pair of tokens that sees another: T·(T + 1)/2 a text if causal,
    else T². Backward is twice forward: one product for the gradient of each factor.
    """
    T = config.context_length if context_length is None else context_length
    B, C, L = batch_size, config.emb_dim, config.n_layers
    pairs = B * (T * (T + 1) / 2 if causal else T * T)
    parts = {
        "attention_projections": L * 8.0 * C * C * B * T,
        "attention_scores": L * 4.0 * C * pairs,
        "feed_forward": L * 16.0 * C * C * B * T,
        "output": 2.0 * config.vocab_size * C * B * T,
    }
    forward = sum(parts.values())
    return {**parts, "forward": forward, "backward": 2.0 * forward, "total": 3.0 * forward}


def flops_utilization(
    model: Any, tokens_per_second: float, peak: float, context_length: int | None = None
) -> float:
    """Model FLOPs utilisation: the share of the machine's arithmetic that training really uses.

    tokens_per_second · flops_per_token / peak, with `peak` in FLOP/s: what the machine can do at
    most (see peak_flops). Only the operations that the model needs count, not what a program does
    besides. After Chowdhery et al., 2022, appendix B. ValueError for a peak that is not above 0.
    """
    if not 0.0 < peak < math.inf:
        raise ValueError(f"peak must be more than 0 FLOP/s, got {peak}")
    T = model.config.context_length if context_length is None else context_length
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
    """exp(loss), for a loss in nats a token: among how many equally likely tokens it is unsure.

    Infinite for a loss too large for that; ValueError for a negative one.
    """
    if loss < 0:
        raise ValueError(f"a loss in nats a token is 0 or more, got {loss}")
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
    from ..nn import Parameter
    from ..optim import SGD
    from ..tensor import wrap

    optimizer = SGD([Parameter(wrap(np.zeros(1, np.float32)))], lr=lr, momentum=0.9)
    schedule = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return rates
