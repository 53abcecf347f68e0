"""Mixed precision under PyTorch's names: autocast, and GradScaler for float16.

float16 has no number below 6e-8: small gradients would be 0. GradScaler multiplies the loss by a
large number S, so that every gradient is S times as large during the backward pass, and divides the
gradients of the leaves by S before the step. If one of them is infinite or NaN, S was too large:
the step is skipped and S is made smaller. bfloat16 has the range of float32 and needs none of this.

Source: Micikevicius et al., "Mixed Precision Training" (2018), section 3.2.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..arrays.availability import is_available
from ..arrays.devices import use_gpu_of, xp_of
from ..autograd.inplace_versions import mark_modified
from ..functions.autocast import autocast, is_autocast_enabled
from ..tensor import Tensor
from ..tensor.missing_names import missing

__all__ = ["GradScaler", "autocast", "is_autocast_enabled"]


class GradScaler:
    """Scales losses and unscales gradients, with a factor that it adjusts.

        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)      # only to clip between backward and step
        scaler.step(optimizer)          # skipped if a gradient is infinite or NaN
        scaler.update()

    device           "cuda" or "cpu"; without a usable GPU a scaler for "cuda" turns itself off
    init_scale       S at the beginning
    growth_factor    S grows by this after growth_interval steps without an infinite gradient
    backoff_factor   S shrinks by this when there was one
    enabled          False: scale returns its argument, step only steps, nothing is unscaled
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if enabled and str(device).startswith("cuda") and not is_available():
            warnings.warn(
                "GradScaler is enabled, but CUDA is not available. Disabling.", stacklevel=2
            )
            enabled = False
        if enabled and growth_factor <= 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if enabled and backoff_factor >= 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._enabled = enabled
        self._scale = float(init_scale)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        # id of an optimizer: whether its gradients were finite, and whether it has stepped
        self._seen: dict[int, list[bool]] = {}

    # ------------------------------------------------------------------------------- the steps
    def scale(self, outputs: Any) -> Any:
        """The loss times S, or each of a list or tuple of losses.

        Raises: ValueError if it is neither a tensor nor an iterable of tensors.
        """
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, Iterable):
            kind = type(outputs) if isinstance(outputs, list | tuple) else list
            return kind(self.scale(o) for o in outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of the optimizer's parameters by S, in place.

        Raises: RuntimeError if it was called since the last update(); ValueError if gradients are
        float16, because the parameters must be float32.
        """
        if not self._enabled:
            return
        if id(optimizer) in self._seen:
            stepped = self._seen[id(optimizer)][1]
            raise RuntimeError(
                "unscale_() is being called after step()." if stepped else
                "unscale_() has already been called on this optimizer since the last update()."
            )  # fmt: skip
        finite = True
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = p.grad.array
                if g.dtype.itemsize == 2:
                    raise ValueError("Attempting to unscale FP16 gradients.")
                use_gpu_of(g)
                g *= 1.0 / self._scale
                mark_modified(g, "unscale_")
                finite = finite and bool(xp_of(g).isfinite(g).all())
        self._seen[id(optimizer)] = [finite, False]

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(), after unscale_ if that was not called; no step if a gradient is
        infinite or NaN.

        Raises: RuntimeError if it was called since the last update().
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        if id(optimizer) not in self._seen:
            self.unscale_(optimizer)
        finite, stepped = self._seen[id(optimizer)]
        if stepped:
            raise RuntimeError("step() has already been called since the last update().")
        self._seen[id(optimizer)][1] = True
        return optimizer.step(*args, **kwargs) if finite else None

    def update(self, new_scale: Any = None) -> None:
        """Adjust S after the step, or set it.

        Raises: RuntimeError without a step or unscale_.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._seen:
            raise RuntimeError("No inf checks were recorded prior to update.")
        elif all(finite for finite, _ in self._seen.values()):
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                self._growth_tracker = 0
                grown = self._scale * self._growth_factor
                self._scale = grown if grown <= _FLOAT32_MAX else self._scale
        else:
            self._scale *= self._backoff_factor
            self._growth_tracker = 0
        self._seen.clear()

    # ------------------------------------------------------------------------------- its state
    def is_enabled(self) -> bool:
        """Whether it is on."""
        return self._enabled

    def get_scale(self) -> float:
        """S; 1.0 if it is off."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """The factor by which S grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set the factor by which S grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """The factor by which S shrinks."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set the factor by which S shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """The number of steps after which S grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set the number of steps after which S grows."""
        self._growth_interval = new_interval

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint; empty if it is off."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state_dict().

        Raises: RuntimeError if it is empty, from a scaler that was off.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved "
                "from a disabled instance of GradScaler."
            )
        for name in self.state_dict():
            setattr(self, name if name.startswith("_") else f"_{name}", state_dict[name])


_FLOAT32_MAX = math.ldexp(2.0 - 2.0**-23, 127)


if not TYPE_CHECKING:  # else a checker would accept every name

    def __getattr__(name: str) -> object:
        raise missing(__name__, name, __all__)
