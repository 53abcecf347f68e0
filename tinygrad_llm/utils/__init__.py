"""PyTorch's utils: `utils.data` feeds a training loop, `utils.checkpoint` saves memory in it."""

from . import checkpoint, data

__all__ = ["checkpoint", "data"]
