"""Where our step's time goes on a GPU: python -m benchmarks train-step --device cuda --profile."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .step import WARM_UP, stepping, training_of


def profile(config: str, precision: str, steps: int = 3) -> None:
    """Print the milliseconds of GPU time of each op, forward and backward."""
    import cupy

    torch, *rest = training_of("ours", config, "cuda")
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    step = stepping(torch, *rest, precision=precision)
    for _ in range(WARM_UP["cuda"]):
        step()
    spans = timed_ops()
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    for _ in range(steps):
        step()
    end.record()
    end.synchronize()
    total: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for name, before, after in spans:
        total[name] += cupy.cuda.get_elapsed_time(before, after) / steps
        calls[name] += 1
    whole = cupy.cuda.get_elapsed_time(begin, end) / steps
    for name, milliseconds in total.most_common():
        print(f"{name:44}{calls[name] // steps:5}{milliseconds:9.2f} ms")
    outside = whole - sum(total.values())
    print(f"{'outside ops (AdamW, sums of gradients)':44}{'':5}{outside:9.2f} ms")
    print(f"{'one step':44}{'':5}{whole:9.2f} ms")


def timed_ops() -> list[tuple[str, Any, Any]]:
    """The list to which every op adds (name, event before, event after) from now on."""
    import cupy

    from tinygrad_llm.arrays.twins import twins
    from tinygrad_llm.autograd import engine

    spans: list[tuple[str, Any, Any]] = []

    def time_method(cls: Any, method: str) -> None:
        original = getattr(cls, method)

        def call(self: Any, *args: Any, **options: Any) -> Any:
            before, after = cupy.cuda.Event(), cupy.cuda.Event()
            before.record()
            result = original(self, *args, **options)
            after.record()
            spans.append((f"{cls.name} {method}", before, after))
            return result

        setattr(cls, method, call)

    fast = {} if twins.gpu is None else twins.gpu.ops
    for cls in {*engine.OPS.values(), *fast.values()} - set(fast):
        for method in ("forward", "backward"):
            time_method(cls, method)
    return spans
