"""What a run will cost, printed before it starts and measured on this machine."""

from __future__ import annotations

import html
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import cuda
from ..layers import quantized
from ..models.base import device_of
from ..models.costs import flops_per_token
from ..nn import Module
from ..nn.parameter import whole_numel
from ..weights import pack
from .analysis import peak_flops
from .optimizer_state import inner, own_state
from .progress import duration
from .snapshot import restored_afterwards
from .step import Setup

__all__ = ["Measured", "Plan", "make_plan", "measure"]


class OneRank(NamedTuple):
    """What a rank does in a step: its tokens; bytes: beyond the weights at most, of its
    weights, and that it sends to others.
    """

    tokens: int
    peak_bytes: int
    weight_bytes: int
    sent_bytes: int

    def alike(self, other: OneRank) -> bool:
        """Whether both have the same line: their memory differs by less than a hundredth."""
        near = abs(self.peak_bytes - other.peak_bytes) <= 0.01 * self.peak_bytes
        return near and self._replace(peak_bytes=0) == other._replace(peak_bytes=0)


@dataclass(frozen=True)
class Measured:
    """A few real steps on this machine: seconds and tokens per step, peak bytes beyond weights.

    flops: a step's floating-point operations; None where they follow from the number of tokens.
    peak: FLOP/s of large matrix products on this machine (peak_flops), None where the model is on a
    GPU. ranks: of each rank, where there are several.
    """

    seconds: float
    tokens: int
    peak_bytes: int
    flops: float | None = None
    peak: float | None = None
    ranks: tuple[OneRank, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The cost of a run. Bytes and seconds as measured; flops from the closed form.

    unit: what `tokens` counts, in the plural.
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

    def _repr_html_(self) -> str:
        """The same lines in a notebook."""
        return f"<pre>{html.escape(str(self))}</pre>"

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


@dataclass(frozen=True)
class PlanOfRanks(Plan):
    """The cost of a run on several ranks. ranks: what each of them does in a step."""

    ranks: tuple[OneRank, ...] = ()

    def __str__(self) -> str:
        """Also a line for each rank, those that are alike together, and one for all of them."""
        lines, first = [super().__str__()], 0
        for i, one in enumerate(self.ranks):
            if i + 1 < len(self.ranks) and one.alike(self.ranks[i + 1]):
                continue
            who = f"rank {i}" if first == i else f"ranks {first} to {i}, each"
            memory = one.weight_bytes + one.peak_bytes
            lines.append(
                f"{who:<12} {one.tokens:,} {self.unit} per step, memory {_megabytes(memory)}, "
                f"sends {_megabytes(one.sent_bytes)} per step"
            )
            first = i + 1
        tokens, peak, weights, sent = (sum(each) for each in zip(*self.ranks, strict=True))
        lines.append(
            f"all ranks    {tokens:,} {self.unit} per step, memory {_megabytes(peak + weights)}, "
            f"{_megabytes(sent)} sent per step"
        )
        return "\n".join(lines)


def _peak(model: Module) -> float | None:
    """FLOP/s of large matrix products here; None if the model is on a GPU, or on none."""
    where = device_of(model)
    return peak_flops(seconds=0.1) if where is not None and where.type == "cpu" else None


def _metric(value: float) -> str:
    for unit in ("", "k", "M", "G", "T", "P"):
        if value < 1000.0:
            return f"{value:.3g} {unit}"
        value /= 1000.0
    return f"{value:.3g} E"


def _megabytes(n: int) -> str:
    return f"{n / 1e6:,.1f} MB" if n < 1e9 else f"{n / 1e9:,.2f} GB"


_FEW_BATCHES = 16  # of a step, that are measured
_STEPS_AHEAD = 32  # whose batches are looked at where they differ in size


def measure(
    setup: Setup, flops: Callable[[Any], float] | None = None, repeats: int = 3,
    patience: float = 5.0,
) -> Measured:  # fmt: skip
    """Times a few real steps and puts everything back: weights, optimizer, random state, data.

    flops: batch -> floating-point operations of its part of a step. The first step is traced for
    its memory and warms the machine up; up to `repeats` more are timed, as long as `patience`
    (seconds) is not used up. The result has their median, or their mean where batches differ in
    size. With flops the batches of the next steps are looked at: the largest is traced and timed,
    then the smallest and some between, and the result is the mean of all, interpolated. Of a step
    that accumulates many batches the first few stand for all.
    """
    ranks, steps = setup.ranks, _Steps(setup, flops)
    with ranks.kept_random(), restored_afterwards(setup):
        for group in setup.optimizer.param_groups:
            group["lr"] = 0.0  # a step takes as long, and cannot run away
        setup.model.train()
        steps.look_ahead()
        peak, times = _traced_and_timed(steps, repeats, patience)
        counts = [(sum(map(setup.count, b)), sum(map(setup.own_targets, b))) for b in steps.taken]
    tokens, own_tokens = (statistics.fmean(e) * steps.share for e in zip(*counts, strict=True))
    sizes = steps.costs if steps.looked_at else [_cost(b, flops) for b in steps.taken]
    alike = len(set(sizes)) == 1 and len(set(counts)) == 1
    weights = sum(p.nbytes for p in setup.model.parameters())
    one = OneRank(round(own_tokens), max(0, peak), weights, sent_bytes(setup))
    return Measured(
        ranks.same(steps.seconds(times, alike)),
        round(tokens),
        max(0, peak),
        None if flops is None else statistics.fmean(sizes) * steps.share,
        _peak(setup.model),
        tuple(OneRank(*each) for each in ranks.everyones(list(one))) if ranks.several else (),
    )


class _Steps:
    """The steps that are measured: the batches that they take, and how long each lasts.

    share: the batches of a step for each of the first few that are measured. taken: the batches of
    each step. looked_at: whether those of the next steps are drawn before the first of them is
    made; then `costs` are theirs, and `order` the places of those to measure, the largest first.
    """

    def __init__(self, setup: Setup, flops: Callable[[Any], float] | None) -> None:
        self.setup, self.flops = setup, flops
        self.few = min(setup.accumulation, _FEW_BATCHES)
        self.share = setup.accumulation / self.few
        self.slow = getattr(setup.stream.batches, "slow_batches", False)  # a part of a step
        self.looked_at = flops is not None and not self.slow
        self.taken: list[list[Any]] = []
        self.costs, self.order = [0.0], [0]

    def look_ahead(self) -> None:
        """Draws the batches of the next steps, if they are looked at."""
        if self.looked_at:
            for _ in range(max(2, _STEPS_AHEAD // self.few)):
                self.take()
            self.costs = [_cost(batches, self.flops) for batches in self.taken]
            self.order = spread(self.costs)

    def take(self) -> list[Any]:
        """The batches of one more step."""
        self.taken.append([self.setup.stream.next() for _ in range(self.few)])
        return self.taken[-1]

    def place(self, number: int) -> int:
        """Where the batches of a timed step stand: as in `order`, then from its beginning again."""
        return self.order[number % len(self.order)]

    def step(self, number: int) -> float:
        """Makes a step with the batches at its place, or with the next ones; returns its seconds,
        with those of making the batches if slow.
        """
        began = time.perf_counter()
        batches = self.taken[self.place(number)] if self.looked_at else self.take()
        began = began if self.slow else time.perf_counter()
        self.setup.update(batches)
        return (time.perf_counter() - began) * self.share

    def seconds(self, times: list[float], alike: bool) -> float:
        """Of a step on average, from those that were timed; alike: whether all are equally big."""
        if self.looked_at:
            timed = [self.costs[self.place(number)] for number in range(len(times))]
            return statistics.fmean(_interpolated(self.costs, timed, times))
        return statistics.median(times) if alike else statistics.fmean(times)


SMALL_STEP = 1 << 28  # bytes, beside which what is imported and compiled once would be seen


def _traced_and_timed(steps: _Steps, repeats: int, patience: float) -> tuple[int, list[float]]:
    """(the most bytes beyond those before, of the first step; the seconds of each one after it).

    At least two where batches differ in size, and otherwise as many as `patience` allows.
    """
    where = device_of(steps.setup.model)
    on_gpu = where is not None and where.type == "cuda"
    largest, optimizer = partial(steps.step, 0), steps.setup.optimizer
    kept = state_bytes(optimizer)
    first, peak = _traced_on_gpu(largest, where) if on_gpu else _traced(largest)
    if not on_gpu and steps.setup.ranks.same(peak < SMALL_STEP):
        kept = state_bytes(optimizer) - kept  # the first step made it, for all that follow
        first, peak = _traced(largest)  # without what the first step imported and compiled
        peak += kept
    times: list[float] = []
    least = min(2, len(set(steps.costs)))
    while len(times) < repeats and (
        len(times) < least or steps.setup.ranks.same(first + sum(times) + times[-1] < patience)
    ):
        times.append(steps.step(len(times)))
    return peak, times


def state_bytes(optimizer: Any) -> int:
    """Bytes of what this rank's optimizer keeps from step to step."""
    return sum(array.nbytes for array in pack(own_state(optimizer))[1].values())


def _cost(batches: list[Any], flops: Callable[[Any], float] | None) -> float:
    return 0.0 if flops is None else sum(flops(batch) for batch in batches)


def spread(costs: list[float]) -> list[int]:
    """The places of the largest and the smallest cost, of the middle one, the quarters, ..."""
    by_cost = sorted(range(len(costs)), key=lambda i: -costs[i])  # equal ones in their order
    last = len(costs) - 1
    parts = [i / 2**k for k in range(last.bit_length() + 1) for i in range(2**k + 1)]
    return list(dict.fromkeys(by_cost[round(part * last)] for part in parts))


def _interpolated(costs: list[float], timed: list[float], times: list[float]) -> list[float]:
    """The seconds of steps of all these costs, from those that were timed: their costs, seconds."""
    at: dict[float, list[float]] = {}
    for cost, seconds in zip(timed, times, strict=True):
        at.setdefault(cost, []).append(seconds)
    known = sorted(at)
    return np.interp(costs, known, [statistics.median(at[cost]) for cost in known]).tolist()


def sent_bytes(setup: Setup) -> int:
    """The bytes that one of R ranks sends in a step: its gradients' parts to the ranks that add
    them up, and the sums to all, each (R − 1)/R of them; with a divided optimizer the parameters
    that it changed to R − 1 others; with divided parameters, gathered for forward and backward, and
    gradients added up, three times (R − 1) parts.
    """
    ranks = setup.ranks
    trained = sum(p.nbytes for p in setup.model.parameters() if p.requires_grad)
    if ranks.sharded:
        own = sum(p.nbytes for p in setup.model.parameters())
        return (ranks.size - 1) * (2 * own + trained) * setup.accumulation
    changed = 1 if inner(setup.optimizer) is not setup.optimizer else 0
    return (2 + changed) * trained * (ranks.size - 1) // ranks.size


def _traced(step: Callable[[], float]) -> tuple[float, int]:
    """(what step() returns, the most bytes that it held beyond those that were there before)."""
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        seconds = step()
        return seconds, tracemalloc.get_traced_memory()[1] - before
    finally:
        if not was_tracing:
            tracemalloc.stop()


def _traced_on_gpu(step: Callable[[], float], device: Any) -> tuple[float, int]:
    """(what step() returns, the bytes that the GPU's memory pool holds after it, beyond those in
    use before): at least what the step needs, for the pool keeps what it has got.
    """
    before = cuda.memory_allocated(device)
    seconds = step()
    return seconds, cuda.memory_reserved(device) - before


def make_plan(
    model: Module, steps: int, context_length: int, measured: Measured, forward_passes: float = 0.0,
    unit: str = "tokens", share: float = 1.0,
) -> Plan:  # fmt: skip
    """The plan of `steps` more steps, each as just measured.

    forward_passes: validation, in step-sized batches; each counts as a third of a step.
    share: of the measured batches that a step has on average, below 1 with a ramp
    """
    tokens = round(steps * share * measured.tokens)
    seconds = (steps * share + forward_passes / 3.0) * measured.seconds
    weights = list(model.parameters())
    parameters = sum(whole_numel(p) for p in weights) + quantized.count(model)
    trainable = sum(whole_numel(p) for p in weights if p.requires_grad)
    stored = sum(matrix.nbytes for matrix in quantized.matrices(model))
    flops = measured.flops
    if flops is None:
        flops = measured.tokens * flops_per_token(model, context_length)
    plan = Plan(
        parameters=parameters,
        steps=steps,
        tokens=tokens,
        flops=steps * share * flops,
        weight_bytes=sum(p.nbytes for p in weights) + stored,
        peak_bytes=measured.peak_bytes,
        seconds=seconds,
        tokens_per_second=measured.tokens / measured.seconds if measured.seconds > 0 else 0.0,
        unit=unit,
        trainable=None if trainable == parameters else trainable,
    )
    return PlanOfRanks(**vars(plan), ranks=measured.ranks) if measured.ranks else plan
