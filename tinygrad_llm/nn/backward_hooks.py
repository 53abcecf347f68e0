"""A module's backward hooks: its inputs and its outputs pass through an op that shows gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd.engine import Op
from ..tensor import Tensor, wrap

__all__ = ["ModuleHooks"]


class _Gate(Op, listed=False):
    """y = x for several tensors together; all of their gradients pass through `on_backward`."""

    def forward(self, *arrays, on_backward):
        self.on_backward = on_backward
        return arrays

    def backward(self, g):
        return self.on_backward(g if isinstance(g, tuple) else (g,))


class ModuleHooks:
    """One call of a module that has backward hooks."""

    def __init__(self, module: Any, hooks: dict[int, Any], pre_hooks: dict[int, Any]) -> None:
        self.module = module
        self.hooks, self.pre_hooks = list(hooks.values()), list(pre_hooks.values())
        self.places: list[int] = []  # of the inputs that require a gradient
        self.length = 0
        self.grad_output: tuple[Any, ...] = ()

    def inputs(self, args: tuple) -> tuple:
        """The positional arguments, those that require a gradient behind a gate."""
        self.length = len(args)
        args, self.places = _gated(args, self._on_input_gradients)
        return args

    def outputs(self, out: Any) -> Any:
        """The output of forward, behind a gate: a tensor, or the tensors in a tuple or a list."""
        several = isinstance(out, tuple | list)
        self.out_length = len(out) if several else 1
        new, self.out_places = _gated(tuple(out) if several else (out,), self._on_output_gradients)
        if not several:
            return new[0]
        if isinstance(out, tuple) and hasattr(out, "_fields"):
            return type(out)(*new)
        return type(out)(new)

    def _on_output_gradients(self, gs: tuple) -> tuple:
        grads = _spread(gs, self.out_places, self.out_length)
        for hook in self.pre_hooks:
            grads = _replaced(grads, hook(self.module, grads))
        self.grad_output = grads
        if not self.places:  # no input requires a gradient: no second gate follows
            for hook in self.hooks:
                hook(self.module, (None,) * self.length, grads)
        return _arrays(grads, self.out_places)

    def _on_input_gradients(self, gs: tuple) -> tuple:
        grads = _spread(gs, self.places, self.length)
        for hook in self.hooks:
            grads = _replaced(grads, hook(self.module, grads, self.grad_output))
        return _arrays(grads, self.places)


def _gated(values: tuple, on_backward: Callable[[tuple], tuple]) -> tuple[tuple, list[int]]:
    """The values with every tensor that requires a gradient behind one gate, and their places."""
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
    if not places:
        return values, []
    new = list(values)
    for i, y in zip(
        places, _Gate.apply(*[values[i] for i in places], on_backward=on_backward), strict=True
    ):
        new[i] = y
    return tuple(new), places


def _spread(gs: tuple, places: list[int], length: int) -> tuple[Any, ...]:
    """Gradients as tensors at their places, None elsewhere."""
    at = dict(zip(places, gs, strict=True))
    return tuple(None if at.get(i) is None else wrap(at[i]) for i in range(length))


def _arrays(grads: tuple, places: list[int]) -> tuple[Any, ...]:
    """The inverse of _spread: the arrays at the places."""
    return tuple(None if grads[i] is None else grads[i].array for i in places)


def _replaced(grads: tuple, new: Any) -> tuple[Any, ...]:
    """What a hook returned in place of the gradients; they themselves if it returned None."""
    if new is None:
        return grads
    new = new if isinstance(new, tuple) else (new,)
    if len(new) != len(grads):
        raise RuntimeError(
            f"Backward hook returned an invalid number of grad_input, got {len(new)}, "
            f"but expected {len(grads)}"
        )
    for i, (old, now) in enumerate(zip(grads, new, strict=True)):
        if now is not None and not isinstance(now, Tensor):
            raise TypeError(f"a backward hook returned {type(now).__name__} at place {i}, "
                            "where a Tensor or None belongs")  # fmt: skip
        if old is not None and now is not None and old.shape != now.shape:
            raise RuntimeError(
                f"a backward hook returned a gradient of shape {tuple(now.shape)} at place {i}, "
                f"where one of shape {tuple(old.shape)} belongs"
            )
    return new
