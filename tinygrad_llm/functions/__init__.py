"""PyTorch's functions over the ops: importing this package gives Tensor its methods."""

from . import convert, elementwise, index, inplace, linalg, reduce, shape

__all__ = ["convert", "elementwise", "index", "inplace", "linalg", "reduce", "shape"]
