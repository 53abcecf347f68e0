"""PyTorch's utils: `utils.data` feeds data sets to a training loop."""

from . import data

__all__ = ["data"]
