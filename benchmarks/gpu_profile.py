"""Where our step's time goes on a GPU: python -m benchmarks train-step --device cuda --profile."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .step import WARM_UP, stepping, training_of


def profile(config: str, precision: str, steps: int = 3) -> None:
    """Print the milliseconds of GPU time of each op, forward and backward."""
    import cupy

    from tinygrad_llm.autograd.observing import observing

    torch, *rest = training_of("ours", config, "cuda")
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    step = stepping(torch, *rest, precision=precision)
    for _ in range(WARM_UP["cuda"]):
        step()
    spans = Spans()
    begin = _recorded()
    with observing(spans.after_forward, spans.after_backward, before_forward=spans.before_forward):
        for _ in range(steps):
            step()
    end = _recorded()
    end.synchronize()
    total: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for name, before, after in spans.spans:
        total[name] += cupy.cuda.get_elapsed_time(before, after) / steps
        calls[name] += 1
    whole = cupy.cuda.get_elapsed_time(begin, end) / steps
    for name, milliseconds in total.most_common():
        print(f"{name:44}{calls[name] // steps:5}{milliseconds:9.2f} ms")
    outside = whole - sum(total.values())
    print(f"{'outside ops (AdamW, clipping)':44}{'':5}{outside:9.2f} ms")
    print(f"{'one step':44}{'':5}{whole:9.2f} ms")


class Spans:
    """The GPU events around each op, forward and backward, while `observing` calls its methods.

    An op's backward begins where the event before it was recorded: the sums of gradients that
    arrived before it count as its time.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any, Any]] = []  # (op and direction, event before, event after)
        self._last: Any = None

    def before_forward(self, op: Any, inputs: tuple, options: dict[str, Any]) -> None:
        self._last = _recorded()

    def after_forward(self, op: Any, inputs: tuple, results: Any) -> None:
        self._add(f"{op.name} forward")

    def after_backward(self, op: Any, gradient: Any, gradients: tuple) -> None:
        self._add(f"{op.name} backward")

    def _add(self, name: str) -> None:
        event = _recorded()
        self.spans.append((name, self._last, event))
        self._last = event


def _recorded() -> Any:
    """A GPU event that is recorded now."""
    import cupy

    event = cupy.cuda.Event()
    event.record()
    return event
