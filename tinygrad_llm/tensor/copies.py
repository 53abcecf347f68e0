"""Copies of tensors: for copy.deepcopy, and in pieces that other processes can receive.

What is copied is the memory that a tensor shows: tensors that share memory share it in the copy
too, as in PyTorch. A process receives numbers and requires_grad; the graph, `.grad` and hooks stay
behind.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import devices
from ..arrays.memory import address, storage_of

__all__ = ["deep", "in_pieces", "own_attributes", "rebuilt"]

# What a tensor itself keeps in its __dict__; everything else was put there by its user.
_OF_A_TENSOR = frozenset("array grad _grad _needs _op _out _view_of _tick _arrival".split())


def own_attributes(tensor: Any) -> dict[str, Any]:
    """The attributes that a program has added to a tensor."""
    return {name: value for name, value in vars(tensor).items() if name not in _OF_A_TENSOR}


def _memory_of(array: Any) -> np.ndarray:
    """The array whose memory `array` shows, if that is one row of the same numbers; else itself."""
    owner = storage_of(array)
    simple = type(owner) is np.ndarray and owner.dtype == array.dtype
    return owner if simple and owner.flags.c_contiguous else array


def _place(memory: np.ndarray, array: np.ndarray) -> tuple[int, tuple, tuple]:
    return address(array) - address(memory), array.shape, array.strides


def _part(memory: np.ndarray, offset: int, shape: tuple, strides: tuple) -> np.ndarray:
    """The array of this shape in memory, `offset` bytes from its beginning."""
    return np.ndarray(shape, memory.dtype, memory.reshape(-1).view(np.uint8), offset, strides)


def in_pieces(tensor: Any) -> tuple[Any, ...]:
    """What `rebuilt` makes an equal tensor of: its class, numbers, requires_grad and attributes."""
    array = tensor.array
    place, device = None, devices.device_of(array)
    if device[0] == "cpu" and type(array) is np.ndarray:
        memory = _memory_of(array)
        place, array = (None if memory is array else _place(memory, array)), memory
    else:
        array = devices.to_numpy(array)
    return type(tensor), array, place, device, tensor.requires_grad, own_attributes(tensor)


def rebuilt(
    cls: type, memory: Any, place: Any, device: tuple[str, int], needs: bool, own: dict[str, Any]
) -> Any:
    """The tensor, a leaf, from what `in_pieces` returned."""
    tensor: Any = object.__new__(cls)
    array = memory if place is None else _part(memory, *place)
    tensor.array = devices.move(array, *device) if device[0] == "cuda" else array
    tensor._needs = needs
    tensor.__dict__.update(own)
    return tensor


def deep(tensor: Any, memo: dict[int, Any]) -> Any:
    """copy.deepcopy of a leaf, with its .grad and attributes.

    Raises: RuntimeError if an op made the tensor.
    """
    from copy import deepcopy

    if tensor._op is not None:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment: use .detach().clone()"
        )
    new = object.__new__(type(tensor))
    memo[id(tensor)] = new
    array = tensor.array
    devices.use_gpu_of(array)
    if type(array) is np.ndarray:
        memory = _memory_of(array)
        copied = deepcopy(memory, memo)
        new.array = copied if memory is array else _part(copied, *_place(memory, array))
    else:
        new.array = array.copy()
    new._needs = tensor._needs
    if tensor.grad is not None:
        new.grad = deepcopy(tensor.grad, memo)
    new.__dict__.update(deepcopy(own_attributes(tensor), memo))
    return new
