"""autograd.Function: a custom op, written in PyTorch's way.

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 3 * x**2 * g

    y = Cube.apply(x)

Forward and backward receive tensors and run outside the graph. The ops of this package are
subclasses of engine.Op instead, which work on arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..arrays.devices import xp_of
from ..tensor import Tensor, wrap
from .engine import Op
from .grad_mode import mode, no_grad

__all__ = ["Function", "FunctionCtx", "once_differentiable"]


class FunctionCtx:
    """What forward leaves to backward: save_for_backward's tensors, and any attribute set on it.

    needs_input_grad    a bool for each argument of apply
    saved_tensors       in backward, the tensors that were saved
    """

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self._to_save: tuple[Any, ...] = ()
        self._saved: tuple[Any, ...] | None = None
        self._constant: tuple[int, ...] = ()
        self._zeros = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors (or None) for backward, which refuses those that were changed in place.

        Raises: TypeError if one is neither a tensor nor None.
        """
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument "
                    f"{tensors.index(t)} is of type {type(t).__name__}"
                )
        self._to_save = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        return self._to_save if self._saved is None else self._saved

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Mark outputs that have no gradient, such as indices."""
        self._constant = tuple(id(t) for t in tensors)

    def set_materialize_grads(self, value: bool) -> None:
        """False: backward receives None, not zeros, for an output that the loss does not use."""
        self._zeros = value

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Not offered here.

        Raises: RuntimeError, always.
        """
        raise RuntimeError(
            "mark_dirty: a function here must not change its inputs in place: return a new tensor"
        )


class _Call(Op, listed=False):
    """A call of a Function, in the graph."""

    def forward(self, *arrays, function, ctx, outs):
        self.function, self.ctx = function, ctx
        self.printed = f"{function.__name__}Backward"
        self.__dict__["name"] = function.__name__  # what errors say
        self.places = [(a.shape, a.dtype) for a in outs]
        self.saved = tuple(None if t is None else t.array for t in ctx._to_save)
        ctx._to_save = ()
        return outs if len(outs) > 1 else outs[0]

    def __repr__(self) -> str:
        return f"<{self.printed}>"

    def backward(self, g):
        ctx = self.ctx
        gs = g if isinstance(g, tuple) else (g,)
        if ctx._zeros:
            some = next(a for a in gs if a is not None)
            xp, places = xp_of(some), self.places
            gs = tuple(xp.zeros(*p) if a is None else a for a, p in zip(gs, places, strict=True))
        ctx._saved = tuple(None if a is None else wrap(a) for a in self.saved)
        try:
            with no_grad():
                grads = self.function.backward(ctx, *(None if a is None else wrap(a) for a in gs))
        finally:
            ctx._saved = None
        return self.checked(grads if isinstance(grads, tuple) else (grads,))

    def checked(self, grads: tuple) -> tuple:
        """One array or None for each argument.

        Raises: RuntimeError if there are too few or too many, TypeError if one is not a tensor.
        """
        expected = len(self.needs)
        while len(grads) > expected and grads[-1] is None:
            grads = grads[:-1]
        if len(grads) != expected:
            raise RuntimeError(
                f"function {self.printed} returned an incorrect number of gradients (expected "
                f"{expected}, got {len(grads)})"
            )
        arrays: list[Any] = []
        for i, (g, edge) in enumerate(zip(grads, self.edges, strict=True)):
            if g is not None and not isinstance(g, Tensor):
                raise TypeError(
                    f"function {self.printed} returned {type(g).__name__} as gradient {i}: "
                    "expected a Tensor or None"
                )
            if g is None or edge is None:
                arrays.append(None)
            else:
                a = g.array
                arrays.append(a if a.dtype == edge.dtype else a.astype(edge.dtype))
        return tuple(arrays)


class Function:
    """The base class of a custom op: static `forward(ctx, ...)` and `backward(ctx, ...)`.

    forward receives the arguments of apply and returns a tensor or a tuple of them; backward
    receives ∂L/∂output for each output and returns ∂L/∂input for each argument, None where there is
    none. In the newer form forward takes no ctx, and `setup_context(ctx, inputs, output)` saves.
    """

    setup_context: Callable[..., None] | None = None

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def backward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run forward; record the call if a gradient is wanted.

        Raises: TypeError if forward returns neither a tensor nor a tuple of tensors.
        """
        needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        ctx = FunctionCtx(needs)
        with no_grad():
            if cls.setup_context is None:
                out = cls.forward(ctx, *args)
            else:
                out = cls.forward(*args)
                cls.setup_context(ctx, args, out)
        several = isinstance(out, tuple)
        outs = out if several else (out,)
        for o in outs:
            if not isinstance(o, Tensor):
                raise TypeError(
                    f"{cls.__name__}.forward must return a Tensor or a tuple of them, "
                    f"got {type(o).__name__}"
                )
        if not (mode.grad and any(needs)):
            return out
        made = _Call.apply(*args, function=cls, ctx=ctx, outs=tuple(o.array for o in outs))
        results = made if isinstance(made, tuple) else (made,)
        for given, y in zip(outs, results, strict=True):
            if id(given) in ctx._constant:
                y._needs, y._op = False, None
        return tuple(results) if several else results[0]


def once_differentiable(backward: Any) -> Any:
    """The backward itself: every function here can be differentiated once."""
    return backward
