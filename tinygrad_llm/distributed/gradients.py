"""Gradients of several parameters that travel together: joined in one array, and taken from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays.capture import capturing
from ..arrays.devices import cupy, use_gpu, xp_of
from ..tensor import Tensor, wrap
from ..tensor.arriving import Arriving
from .collectives import all_reduce, flat, store
from .gpu_steps import averaged_in_place, native_on_gpu
from .groups import run
from .process_group import ProcessGroup
from .reductions import ReduceOp
from .stream_work import StreamWork

__all__ = ["arrival_of", "begin_mean", "joined_gradients", "put_gradient"]

ALIGNED = 64  # elements: each gradient on a GPU begins at a multiple, as kernels need it


def joined_gradients(
    parameters: Sequence[Tensor], group: ProcessGroup, weight: Any = None, dtype: Any = None
) -> tuple[Any, list[Any]]:
    """(all gradients in a new array (N,), the part (n,) of each parameter in it).

    weight   multiplies them: a number, a 0-d array on the GPU, or None. Gradients with the weight 0
             may be anything, and count as zeros, as those that are missing do
    dtype    of the array, that of the parameters if None
    """
    nothing = isinstance(weight, float) and weight == 0.0
    grads = [
        None if p.grad is None or nothing else flat(p.grad, group) for p in parameters
    ]  # fmt: skip
    first = parameters[0].array
    xp = xp_of(first) if group.takes(first) else np
    step = 1 if xp is np else ALIGNED
    ends = np.cumsum([-(-p.array.size // step) * step for p in parameters]).tolist()
    joined = xp.empty(ends[-1], dtype or first.dtype)
    if weight is not None and not isinstance(weight, float):
        weight = weight.astype(joined.dtype)
    parts = []
    for p, grad, end, start in zip(parameters, grads, ends, [0, *ends[:-1]], strict=True):
        part = joined[start : start + p.array.size]
        if grad is None:
            part[...] = 0
        elif weight is None:
            part[...] = grad
        else:
            xp.multiply(grad.astype(joined.dtype, copy=False), weight, out=part)
        joined[start + p.array.size : end] = 0
        parts.append(part)
    return joined, parts


def begin_mean(
    parameters: Sequence[Tensor], group: ProcessGroup, in_place: bool = True
) -> tuple[Any, list[Any]]:
    """(the Work of the mean of these gradients over the ranks, the array (n,) of each in it).

    A gradient that is missing counts as zeros. Over NCCL each stays where it is, and all of them
    are one launch; else they are joined in one array before.
    in_place: False if the mean may be dropped, and .grad has to keep its numbers then.
    """
    first = parameters[0].array
    names = f"{len(parameters)} gradients of {sum(p.array.size for p in parameters)} elements"
    what = f"all_reduce(AVG) of {names}, {first.dtype.name}"
    on_gpu = not isinstance(first, np.ndarray) and group.size() > 1 and group.takes(first)
    if in_place and on_gpu and first.dtype.itemsize > 2 and native_on_gpu(first, ReduceOp.AVG):
        parts = [
            xp_of(first).zeros(p.array.size, first.dtype) if p.grad is None else flat(p.grad, group)
            for p in parameters
        ]
        steps = averaged_in_place(group, parts)
        return run(group, what, steps, async_op=True, array=parts[0]), parts
    joined, parts = joined_gradients(parameters, group)
    return all_reduce(wrap(joined), ReduceOp.AVG, group, async_op=True), parts


def arrival_of(work: Any) -> Callable[[], Any] | None:
    """What waits for a mean that a GPU still forms, when somebody needs it.

    None if it must be waited for now: on a CPU, or while somebody watches the exchanges. The stream
    that is the current one here waits too, as it would without the delay; a CUDA graph that is
    captured waits at its end. Another thread may be the one that waits.
    """
    if not isinstance(work, StreamWork) or work.exchange is not None:
        return None
    here, gpu = cupy().cuda.get_current_stream(), work.group.nccl.gpu

    def wait() -> None:
        use_gpu(gpu)
        there = cupy().cuda.get_current_stream()
        if there == here:
            work.wait()
            return
        with here:
            work.wait()
        there.wait_event(here.record())

    if capturing.graph is not None:
        capturing.graph.before_end.append(wait)
    return wait


def put_gradient(
    parameter: Tensor, numbers: Any, by: str, arrival: Any = None, kept: bool = False
) -> None:
    """Make numbers (n,) the parameter's gradient: on a GPU their memory itself, without a copy.

    arrival: see arrival_of, of a mean on a GPU; without it the numbers are there.
    kept: whether they are written into the memory of .grad, which a program may hold, if there is
    one. On a CPU they always are.
    """
    array = parameter.array
    if arrival is not None:
        parameter._grad = Arriving(numbers.reshape(array.shape), arrival)  # (n,) -> (...)
        return
    on_gpu = not isinstance(array, np.ndarray) and type(numbers) is type(array)
    if on_gpu and (parameter.grad is None or not kept):
        numbers = numbers.astype(array.dtype, copy=False)
        parameter.grad = wrap(numbers.reshape(array.shape))  # (n,) -> (...)
        return
    if parameter.grad is None:
        parameter.grad = wrap(xp_of(array).zeros_like(array))
    store(parameter.grad, numbers.astype(array.dtype, copy=False), by)
