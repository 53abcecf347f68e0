"""Dropout, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..arrays.capture import refuse_in_capture
from ..arrays.devices import asarray, settings
from ..arrays.twins import twins
from ..random import default_generator
from ..random.sequences import in_memory_order
from ..tensor import Tensor
from .checks import need_floating, real_number
from .inplace import write
from .method import function


def _draw_seed() -> int:
    """The seed of a mask that is drawn on a GPU: one draw on the CPU."""
    return int(default_generator.randint(0, 2**63 - 1, (1,), np.int64)[0])


def keep_mask(like: Tensor, shape: tuple[int, ...], p: float, *, in_memory: bool = True) -> Any:
    """A boolean array, True with probability 1 − p, from the default generator's stream.

    in_memory: whether the draws follow the order of like's memory if it has that shape
    Nothing is drawn for p = 1.
    """
    if p == 1.0:
        return asarray(np.zeros(shape, np.bool_), like.array)

    if settings.gpu_dropout and twins.gpu is not None and like.is_cuda:
        return twins.gpu.keep_mask(shape, 1.0 - p, _draw_seed)
    if like.is_cuda:
        refuse_in_capture("dropout's mask, drawn on the CPU unless cuda.fast_dropout() was called,")

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return default_generator.bernoulli(1.0 - p, shape, np.bool_)

    in_order = in_memory and shape == like.array.shape
    return asarray(in_memory_order(draw, like.array) if in_order else draw(shape), like.array)


def keep_weights(like: Tensor, shape: tuple[int, ...], p: float) -> Any:
    """As keep_mask, for attention's weights: on a GPU they may be drawn within the kernel.

    like: the queries; weights of as many keys as channels have their shape, but are not them.
    """
    if settings.gpu_dropout and twins.gpu is not None and like.is_cuda and p < 1.0:
        return twins.gpu.drawn_later(shape, 1.0 - p, _draw_seed)
    return keep_mask(like, shape, p, in_memory=False)


def check_p(p: float) -> None:
    """Raises: ValueError if p is outside [0, 1]; TypeError if it is not a real number."""
    if not 0.0 <= real_number("dropout", "p", p) <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


@function
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element becomes 0 with probability p, else x/(1 − p); x itself if not training.

    With the same manual_seed the zeros are where PyTorch on a CPU has them.
    Raises: ValueError if p is outside [0, 1].
    """
    check_p(p)
    need_floating("dropout", input)
    if not training or p == 0.0 or input.array.size == 0:
        return input
    y = ops.Dropout.apply(input, keep_mask(input, input.array.shape, p), p=p)
    return write(input, y, "dropout_") if inplace else y
