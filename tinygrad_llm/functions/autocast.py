"""Mixed precision: which functions compute in bfloat16 and which in float32 within `autocast`.

Within `with autocast("cuda"):` a function of the first list gets its float32 tensors as bfloat16
copies, and one of the second its bfloat16 tensors as float32 copies. All others compute in the
dtype that they are given: activations such as GELU stay in bfloat16, a sum of bfloat16 and float32
becomes float32. Parameters stay float32 (the master weights), and so do their gradients and the
optimizer's state, because the copy is an op whose backward casts back. bfloat16 has the range of
float32, so the loss is not scaled.

The lists are PyTorch's. Micikevicius et al. (2018) describe the method.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from ..arrays.devices import device_of
from ..arrays.twins import twins
from ..autograd.engine import any_changed
from ..tensor import Tensor, dtypes
from .method import autocast_was
from .operands import cast as cast_tensor

F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["RULES", "autocast", "for_products"]

RULES: dict[str, tuple[str, ...]] = {
    "bfloat16": (
        "linear", "linear_gelu_linear", "grouped_mm", "matmul", "conv1d",
        "scaled_dot_product_attention", "linear_cross_entropy",
    ),
    "float32": (
        "layer_norm", "rms_norm", "softmax", "log_softmax", "logsumexp", "cross_entropy",
        "nll_loss", "mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "kl_div",
        "binary_cross_entropy_with_logits", "cosine_similarity",
    ),
}  # fmt: skip
NORMS = ("layer_norm", "rms_norm")  # see for_products
_RULE = {name: rule for rule, names in RULES.items() for name in names}


class _State(threading.local):
    place: str | None = None  # the device whose tensors are cast; None outside autocast
    dtype: Any = None
    for_products = False  # whether only matrix products read what a norm returns


state = _State()


def for_products(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """norm(x) that only matrix products read, which round it to autocast's dtype first.

    So on a GPU it may come in this dtype, rounded while it is computed, and its gradient too.
    """
    state.for_products = True
    try:
        return norm(x)
    finally:
        state.for_products = False


def mixed(function: F) -> F:
    """The function, which within autocast gets its tensors in the dtype that RULES names."""
    narrow, name = _RULE[function.__name__] == "bfloat16", function.__name__

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if state.place is None:
            return function(*args, **options)
        if state.for_products and state.place == "cuda" and not options and name in NORMS:
            y = _rounded(name, *args)
            if y is not None:
                return y
        one_kernel = name in ("linear", "linear_gelu_linear") and not any_changed(name)
        gpu = twins.gpu if one_kernel else None
        if gpu is not None and state.place == "cuda" and args and args[0].is_cuda:
            arrays = [x.array if isinstance(x, Tensor) else x for x in args]
            if name == "linear" and len(args) in (2, 3) and not options:
                if gpu.takes_mixed_linear(*[*arrays, None][:3]):
                    return gpu.mixed_linear(*args)
            elif len(args) == 5 and options == {"approximate": "tanh"}:
                if gpu.takes_mixed_feed_forward(*arrays):
                    return gpu.mixed_feed_forward(*args)
        before, wide = state.place, np.dtype(np.float32)
        sources, target = ((wide,), state.dtype) if narrow else ((state.dtype,), wide)

        def convert(x: Any) -> Any:
            if not isinstance(x, Tensor) or x.array.dtype not in sources:
                return x
            return cast_tensor(x, target) if device_of(x.array)[0] == before else x

        state.place = None  # what the function calls is within its own precision
        try:
            return function(
                *[convert(a) for a in args], **{k: convert(v) for k, v in options.items()}
            )
        finally:
            state.place = before

    call.outside_autocast = function  # type: ignore[attr-defined]
    return cast(F, call)


def _rounded(name: str, x: Tensor, shape: Any, *rest: Any) -> Any:
    """A norm of x over `shape` in bfloat16; None if no kernel serves. rest: parameters and eps.

    None too for what the function refuses, so that the error is the function's.
    """
    parameters, eps = rest[:-1], rest[-1]
    if twins.gpu is None or not x.is_cuda or type(eps) is not float or any_changed(name):
        return None
    if not shape or shape != x.array.shape[-1:]:
        return None
    if any(p is not None and not (p.is_cuda and p.array.shape == shape) for p in parameters):
        return None
    arrays = [None if p is None else p.array for p in parameters]
    norm = twins.gpu.rounded_norms[name]
    return norm.apply(x, *parameters, eps=eps) if norm.takes(x.array, *arrays) else None


class autocast:
    """Mixed precision within a `with` or a decorated function: see RULES for what is cast.

    device_type "cuda" or "cpu": whose tensors are cast. dtype: bfloat16, the only one offered
    (float16 would need a scaled loss). Backward runs outside, in the dtypes of forward.
    Raises: RuntimeError for another device or dtype.
    """

    def __init__(
        self, device_type: str = "cuda", dtype: Any = None, enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:  # fmt: skip
        if device_type not in ("cuda", "cpu"):
            raise RuntimeError(
                f"User specified an unsupported autocast device_type {device_type!r}: "
                "'cuda' or 'cpu'"
            )
        target = dtypes.bfloat16 if dtype is None else dtypes.as_dtype(dtype)
        if enabled and target is not dtypes.bfloat16:
            raise RuntimeError(
                f"autocast to {target} is not offered, only torch.bfloat16: float16 would need "
                "a scaled loss"
            )
        self.place, self.enabled = device_type, enabled
        self.before: list[tuple[str | None, Any]] = []

    def __enter__(self) -> autocast:
        autocast_was.entered = True
        self.before.append((state.place, state.dtype))
        state.place = self.place if self.enabled else None
        state.dtype = dtypes.bfloat16.numpy if self.enabled else None
        return self

    def __exit__(self, *exc: Any) -> None:
        state.place, state.dtype = self.before.pop()

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            with autocast(self.place, enabled=self.enabled):
                return function(*args, **options)

        return cast(F, call)


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on for the device."""
    return state.place == device_type
