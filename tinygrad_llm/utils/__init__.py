"""PyTorch's utils: data sets and loaders in `utils.data`, less memory with `utils.checkpoint`."""

from . import checkpoint, data

__all__ = ["checkpoint", "data"]
