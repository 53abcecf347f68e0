"""What a run will cost, said before it starts and measured on this machine."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import nn, random
from ..data.batches import Stream
from ..nn.utils import clip_grad_norm_
from ..weights import pack, unpack
from .progress import duration
from .step import Loss, add_gradients, count_targets, model_loss

__all__ = ["Measured", "Plan", "flops_per_token", "make_plan", "measure"]


@dataclass(frozen=True)
class Measured:
    """A few real steps on this machine: seconds and tokens a step, peak bytes beyond weights.

    flops: a step's floating-point operations, None where only the tokens tell.
    """

    seconds: float
    tokens: int
    peak_bytes: int
    flops: float | None = None


@dataclass(frozen=True)
class Plan:
    """The bill of a run. Bytes and seconds as measured; flops from the closed form.

    tokens: or whatever `unit` says is counted.
    """

    parameters: int
    steps: int
    tokens: int
    flops: float
    weight_bytes: int
    peak_bytes: int
    seconds: float
    tokens_per_second: float
    unit: str = "tokens"
    trainable: int | None = None  # where not all parameters are

    def __str__(self) -> str:
        total = self.weight_bytes + self.peak_bytes
        return "\n".join(
            [
                f"parameters   {self.parameters:,}"
                + ("" if self.trainable is None else f", {self.trainable:,} of them trained"),
                f"{self.unit:<12} {self.tokens:,} in {self.steps:,} steps",
                f"compute      {_metric(self.flops)}FLOP"
                + (f", {_metric(self.flops / self.seconds)}FLOP/s" if self.seconds > 0 else ""),
                f"memory       {_megabytes(total)}: weights {_megabytes(self.weight_bytes)}, "
                f"gradients, optimizer and activations {_megabytes(self.peak_bytes)}",
                f"time         about {duration(self.seconds)} on this machine as just measured, "
                f"{self.tokens_per_second:,.0f} {self.unit}/s",
            ]
        )


def _metric(value: float) -> str:
    for unit in ("", "k", "M", "G", "T", "P"):
        if value < 1000.0:
            return f"{value:.3g} {unit}"
        value /= 1000.0
    return f"{value:.3g} E"


def _megabytes(n: int) -> str:
    return f"{n / 1e6:,.1f} MB" if n < 1e9 else f"{n / 1e9:,.2f} GB"


def flops_per_token(model: Any, context_length: int) -> float:
    """Floating-point operations of forward and backward for one token: 6·N + 6·L·C·T.

    N counts the weights that a token is multiplied with (matrices, without embeddings that are
    only looked up); each costs a multiplication and an addition forward and twice that backward,
    once for the gradient of what came in and once for its own. A frozen matrix has no gradient of
    its own: 4 in place of 6. L·C·T is attention's part, over the half of the positions that a
    causal mask leaves. After Kaplan et al. 2020, table 1, and Chowdhery et al. 2022, appendix B.
    """
    config: Any = getattr(model, "config", None)
    multiplied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    looked_up = {id(m.weight) for m in model.modules() if hasattr(m, "num_embeddings")}
    matrices = [
        p
        for p in model.parameters()
        if p.ndim >= 2 and (id(p) in multiplied or id(p) not in looked_up)
    ]
    each = sum((6.0 if p.requires_grad else 4.0) * p.numel() for p in matrices)
    attention = getattr(config, "n_layers", 0) * getattr(config, "emb_dim", 0) * context_length
    return each + 6.0 * attention


def measure(
    model: Any,
    optimizer: Any,
    stream: Stream,
    *,
    loss: Loss = model_loss,
    count: Callable[[Any], int] = count_targets,
    accumulation: int = 1,
    clip: float | None = 1.0,
    flops: Callable[[Any], float] | None = None,
    repeats: int = 3,
    patience: float = 5.0,
) -> Measured:
    """Times a few real steps and puts everything back: weights, optimizer, random state, data.

    The first step is traced for its memory and warms the machine up; up to `repeats` more are
    timed, as long as `patience` (seconds) is not used up. The median counts, or the mean where
    batches differ in size.
    """
    place = stream.state_dict()
    random_state = random.get_rng_state()
    tree, arrays = pack(optimizer.state_dict())
    arrays = {name: array.copy() for name, array in arrays.items()}
    weights = [(p, p.array.copy()) for p in [*model.parameters(), *model.buffers()]]
    try:
        for group in optimizer.param_groups:
            group["lr"] = 0.0  # a step takes as long, and cannot run away
        tokens: list[int] = []
        cost: list[float] = []

        def step() -> float:
            batches = [stream.next() for _ in range(accumulation)]
            tokens.append(sum(count(batch) for batch in batches))
            cost.extend(flops(batch) for batch in batches if flops is not None)
            began = time.perf_counter()
            optimizer.zero_grad()
            add_gradients(model, batches, loss, count)
            if clip:
                clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            return time.perf_counter() - began

        model.train()
        traced = tracemalloc.is_tracing()
        if not traced:
            tracemalloc.start()
        try:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            first = step()
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            if not traced:
                tracemalloc.stop()
        times = [step()]
        while len(times) < repeats and first + sum(times) + times[-1] < patience:
            times.append(step())
        alike = len(set(tokens)) == 1 and len(set(cost)) <= accumulation
        return Measured(
            statistics.median(times) if alike else statistics.fmean(times),
            round(statistics.fmean(tokens)),
            max(0, peak),
            None if flops is None else sum(cost) / len(tokens),
        )
    finally:
        for p, array in weights:
            p.array[...] = array
        optimizer.zero_grad()
        optimizer.load_state_dict(unpack(tree, arrays))
        stream.load_state_dict(place)
        random.set_rng_state(random_state)


def make_plan(
    model: Any, steps: int, context_length: int, measured: Measured, forward_passes: float = 0.0,
    unit: str = "tokens",
) -> Plan:  # fmt: skip
    """The plan of `steps` more steps, each as just measured.

    forward_passes: validation, in step-sized batches; each counts as a third of a step.
    """
    tokens = steps * measured.tokens
    seconds = (steps + forward_passes / 3.0) * measured.seconds
    every = list(model.parameters())
    parameters = sum(p.numel() for p in every)
    trainable = sum(p.numel() for p in every if p.requires_grad)
    flops = measured.flops
    if flops is None:
        flops = measured.tokens * flops_per_token(model, context_length)
    return Plan(
        parameters=parameters,
        steps=steps,
        tokens=tokens,
        flops=steps * flops,
        weight_bytes=sum(p.nbytes for p in model.parameters()),
        peak_bytes=measured.peak_bytes,
        seconds=seconds,
        tokens_per_second=measured.tokens / measured.seconds if measured.seconds > 0 else 0.0,
        unit=unit,
        trainable=None if trainable == parameters else trainable,
    )
