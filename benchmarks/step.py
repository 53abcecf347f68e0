"""One training step, the same for ours and PyTorch, on a CPU and on a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from .configs import CONFIGS, GPU_CONFIGS

WARM_UP = {"cpu": 2, "cuda": 5}  # steps; kernels are compiled, a graph is captured


def training_of(side: str, config: str, device: str = "cpu") -> tuple[Any, Any, Any, Any, Any]:
    """(library, model, AdamW, idx, targets) of "ours" or "torch"."""
    sizes = (GPU_CONFIGS if device == "cuda" else CONFIGS)[config]
    if side == "torch":
        from .torch_gpt import training
    else:
        from .our_gpt import training
    return training(sizes, device)


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
