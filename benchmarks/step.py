"""One training step, the same for ours and PyTorch, on a CPU and on a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from .configs import CONFIGS, GPU_CONFIGS

WARM_UP = {"cpu": 2, "cuda": 5}  # steps; kernels are compiled, a graph is captured


def training_of(side: str, config: str, device: str = "cpu") -> tuple[Any, Any, Any, Any, Any]:
    """(library, model, AdamW, idx, targets) of a side.

    "ours", "numpy" (ours without compiled loops), "torch" (eager), or "torch-compile".
    """
    sizes = (GPU_CONFIGS if device == "cuda" else CONFIGS)[config]
    if side in ("ours", "numpy"):
        from .our_gpt import training as ours

        library, *rest = ours(sizes, device)
        library.backends.loops.enabled = side == "ours"
        return library, *rest  # type: ignore[return-value]
    from .torch_gpt import training

    library, model, *rest = training(sizes, device)
    if side == "torch-compile":
        mode = "reduce-overhead" if device == "cuda" else "default"
        model.loss = library.compile(model.loss, mode=mode)
    return library, model, *rest  # type: ignore[return-value]


def stepping(
    torch: Any, model: Any, optimizer: Any, idx: Any, targets: Any, precision: str = "float32"
) -> Callable[[], Any]:
    """A function that trains one step and returns its loss; both sides run this very function."""

    def autocast() -> Any:
        if precision == "bfloat16":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def step() -> Any:
        with autocast():
            loss = model.loss(idx, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step
