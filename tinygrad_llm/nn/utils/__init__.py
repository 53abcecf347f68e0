"""Gradient clipping, parameters as one vector, and modules without initial weights."""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import distributed
from ...arrays.devices import device_of, move, use_gpu_of, xp_of
from ...arrays.twins import cpu_twins, twins
from ...autograd.inplace_versions import mark_modified
from ...functions.shape.join import cat
from ...tensor import Tensor, wrap
from ...tensor.missing_names import missing
from .. import init
from . import rnn

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
    "parameters_to_vector",
    "rnn",
    "skip_init",
    "vector_to_parameters",
]

_BLOCK = 1 << 13  # elements that are squared and added in float32


def _as_list(tensors: Any) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _gradients(parameters: Any) -> list[Tensor]:
    return [p.grad for p in _as_list(parameters) if p.grad is not None]


def _loops_for(array: Any) -> Any:
    """The compiled loops, if they serve this array; else None."""
    cpu = cpu_twins(array)
    takes = None if cpu is None else cpu.takes_update
    return cpu if takes is not None and takes(array, array) else None


def _square_sum(array: Any) -> Any:
    """Σ x², float32 within blocks and float64 between them."""
    cpu = _loops_for(array)
    if cpu is not None:
        return cpu.square_sum(array)
    flat = array.reshape(-1)  # (N)
    if not isinstance(flat, np.ndarray):
        wide = flat.astype("float32") if flat.dtype.itemsize < 4 else flat
        return (wide**2).sum()
    total = 0.0
    for start in range(0, flat.size, _BLOCK):
        block = flat[start : start + _BLOCK]
        if block.dtype.itemsize < 4:
            block = block.astype(np.float32)
        total += float(np.dot(block, block))
    return total


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """The norm of all tensors together, as if they were one vector; a 0-d tensor.

    norm_type: p of (Σ |x|ᵖ)^(1/p), math.inf for the largest |x|.
    Raises: RuntimeError if error_if_nonfinite and the norm is infinite or NaN.
    """
    arrays = [t.array for t in _as_list(tensors)]
    p = float(norm_type)
    if not arrays:
        return wrap(np.zeros((), np.float32))
    places = dict.fromkeys(map(device_of, arrays))
    if len(places) > 1:  # the norm of the norms of each GPU
        norms = [
            get_total_norm([t for t in _as_list(tensors) if device_of(t.array) == place], norm_type)
            for place in places
        ]
        norms = [wrap(move(n.array, *next(iter(places)))) for n in norms]
        return get_total_norm(norms, norm_type, error_if_nonfinite)
    use_gpu_of(arrays[0])
    xp, dtype = xp_of(arrays[0]), arrays[0].dtype
    if p == 2.0 and twins.gpu is not None and twins.gpu.takes_norm(arrays):
        total = twins.gpu.gradient_norm(arrays)
    elif p == 2.0:
        total = sum(_square_sum(a) for a in arrays) ** 0.5
    elif p == math.inf:
        total = max(abs(a).max() if a.size else 0.0 for a in arrays)
    elif p == -math.inf:
        total = min(abs(a).min() for a in arrays if a.size)
    elif p == 0.0:  # PyTorch's: how many tensors are not zero everywhere
        total = float(sum(bool((a != 0).any()) for a in arrays))
    else:
        total = sum((abs(a.astype("float64")) ** p).sum() for a in arrays) ** (1.0 / p)
    norm = xp.asarray(total, dtype=dtype)
    if error_if_nonfinite and not bool(xp.isfinite(norm)):
        raise RuntimeError(
            f"The total norm of order {p} for gradients from `parameters` is non-finite, so it "
            "cannot be clipped. To disable this error and scale the gradients by the non-finite "
            "norm anyway, set `error_if_nonfinite=False`"
        )
    return wrap(norm)


def clip_grads_with_norm_(
    parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Multiply every gradient by min(1, max_norm / (total_norm + 1e-6)), in place."""
    grads = _gradients(parameters)
    if not grads:
        return
    arrays = [g.array for g in grads]
    places = dict.fromkeys(map(device_of, arrays))
    if len(places) > 1:
        for place in places:
            there = [p for p in _as_list(parameters)
                     if p.grad is not None and device_of(p.grad.array) == place]  # fmt: skip
            clip_grads_with_norm_(there, max_norm, wrap(move(total_norm.array, *place)))
        return
    use_gpu_of(arrays[0])
    if twins.gpu is not None and twins.gpu.takes_norm([*arrays, total_norm.array]):
        twins.gpu.clip_by_norm(arrays, total_norm.array, max_norm)
        for array in arrays:
            mark_modified(array, "clip_grad_norm_")
        return
    factor = float(max_norm) / (total_norm.array + 1e-6)
    if xp_of(factor) is np and float(factor) >= 1.0:
        return
    factor = xp_of(factor).minimum(factor, 1.0)
    for g in grads:
        cpu = _loops_for(g.array)
        if cpu is not None:
            cpu.scale(g.array, factor)
        else:
            g.array *= factor.astype(g.array.dtype)
        mark_modified(g.array, "clip_grad_norm_")


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Scale all gradients together so that their norm is at most max_norm, in place.

    Returns the norm that they had before, a 0-d tensor. All have the same factor, so the direction
    of the step stays. Of parameters that are divided among ranks the norm is that of the whole
    gradients; then every rank calls it.
    Raises: RuntimeError if error_if_nonfinite and the norm is infinite or NaN.
    """
    if isinstance(parameters, types.GeneratorType):
        parameters = list(parameters)
        if not parameters:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.",
                stacklevel=2,
            )
    parameters = _as_list(parameters)
    if any(hasattr(p, "division") for p in parameters):
        norm = norm_over_ranks(parameters, float(norm_type), error_if_nonfinite)
    else:
        norm = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def norm_over_ranks(parameters: list[Tensor], p: float, error_if_nonfinite: bool) -> Tensor:
    """The norm of gradients of which some are divided among ranks (see distributed.sharded).

    Raises: ValueError for p = 0; RuntimeError as get_total_norm.
    """
    if p == 0.0:
        raise ValueError("clip_grad_norm_: norm_type 0 is not defined for divided parameters")
    by_groups: dict[tuple, tuple[tuple, list[Tensor]]] = {}
    for parameter in parameters:
        among = getattr(parameter, "divided_among", ())
        by_groups.setdefault(tuple(map(id, among)), (among, []))[1].append(parameter)
    norms = []
    for among, members in by_groups.values():
        grads = _gradients(members)
        largest = float(get_total_norm(grads, p).item())
        for group in among:
            op = {math.inf: "MAX", -math.inf: "MIN"}.get(p, "SUM")
            number = wrap(np.array([largest if math.isinf(p) else largest**p]))
            distributed.all_reduce(number, distributed.ReduceOp[op], group)
            largest = number.item() if math.isinf(p) else number.item() ** (1.0 / p)
        norms.append(wrap(np.array(largest)))
    total = get_total_norm(norms, p, error_if_nonfinite).item()
    grads = _gradients(parameters)
    like = grads[0].array if grads else np.zeros((), np.float32)
    return wrap(xp_of(like).asarray(total, dtype=like.dtype))


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clamp every element of every gradient to ±clip_value, in place."""
    bound = float(clip_value)
    for g in _gradients(parameters):
        xp_of(g.array).clip(g.array, -bound, bound, out=g.array)
        mark_modified(g.array, "clip_grad_value_")


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters one after the other: (N)."""
    return cat([p.reshape(-1) for p in parameters])  # (N)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give the parameters the numbers of a vector that parameters_to_vector made.

    The parameters share the vector's memory afterwards.
    Raises: TypeError if vec is not a tensor.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    start = 0
    for p in parameters:
        n = p.numel()
        p.data = wrap(vec.array[start : start + n].reshape(p.array.shape))
        start += n


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """module_cls(*args, **kwargs) without drawing its weights: for weights loaded right after.

    Their memory is not initialised. No random numbers are used up.
    """
    before, init.skipping = init.skipping, True
    try:
        return module_cls(*args, **kwargs)
    finally:
        init.skipping = before


if not TYPE_CHECKING:  # else a checker would accept every name

    def __getattr__(name: str) -> object:
        raise missing(__name__, name, __all__)
