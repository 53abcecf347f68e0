"""PyTorch's older place for mixed precision: `cuda.amp.autocast()` and `cuda.amp.GradScaler()`."""

from __future__ import annotations

from ...amp import GradScaler, autocast

__all__ = ["GradScaler", "autocast"]
