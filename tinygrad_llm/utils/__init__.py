"""PyTorch's utils: data sets and loaders in `utils.data`, less memory with `utils.checkpoint`."""

from . import _pytree, checkpoint, data

__all__ = ["_pytree", "checkpoint", "data"]
