"""PyTorch's `utils.hooks`: what registering a hook returns."""

from __future__ import annotations

from ..autograd.hooks import HookHandle

__all__ = ["RemovableHandle"]

RemovableHandle = HookHandle
