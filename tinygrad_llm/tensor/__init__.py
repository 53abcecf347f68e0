"""Tensor: an array, its gradient, and the op that made it; its dtype, device, size, and printing.

Editors and mypy read `__init__.pyi` beside this file: it lists Tensor's methods, which autograd and
functions attach. `python tests/tensor_stub.py` writes it.
"""

from . import dtypes
from .device import device
from .missing_names import note_missing
from .size import Size
from .tensor import Tensor, attach, attach_later, wrap

note_missing(Tensor)

__all__ = ["Size", "Tensor", "attach", "attach_later", "device", "dtypes", "wrap"]
