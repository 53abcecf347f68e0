"""Gradient checkpointing: drop what a part of the model saved for backward, and compute it again.

A block keeps its activations from its forward pass until its backward pass: in a deep model nearly
all of the memory of a step. With `checkpoint` only the block's inputs are kept. When the backward
pass arrives at the block, its forward pass runs once more from these inputs, with the same random
numbers, and each of its ops gets back what it had saved. The same numbers are multiplied and added
in the same order: the gradients are equal to the last bit.

With n blocks the memory falls from n blocks' activations to n inputs and one block's activations;
the price is a second forward pass, about a third of the step (Chen et al. 2016, "Training Deep Nets
with Sublinear Memory Cost").
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .. import random
from ..arrays.capture import capturing, refuse_in_capture
from ..autograd.engine import Op
from ..autograd.grad_mode import enable_grad, mode
from ..autograd.inplace_versions import check_unmodified, modified, modified_at
from ..autograd.observing import observing
from ..tensor import Tensor

__all__ = ["CheckpointError", "checkpoint", "checkpoint_sequential", "noop_context_fn"]


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function differed from the first."""


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that do nothing: for the first run and for the second."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
    preserve_rng_state: bool = True, context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default", debug: bool = False, **kwargs: Any,
) -> Any:  # fmt: skip
    """function(*args, **kwargs), without keeping what backward needs: it is computed again there.

    use_reentrant       accepted as in PyTorch: True, False and None make no difference here
    preserve_rng_state  the second run draws the same random numbers, such as dropout's
    context_fn          returns two contexts, one for the first run and one for the second
    determinism_check   "default": the second run must save the same shapes; "none": not checked
    debug               accepted: an error always names the ops of both runs

    The function must do the same when it runs again.
    Raises: TypeError if it is not a function; ValueError for another determinism_check; in backward
    CheckpointError if the second run has other ops, and RuntimeError if one of the inputs was
    changed in place before.
    """
    if not callable(function):
        raise TypeError(f"checkpoint: expected a function, got {type(function).__name__}")
    if determinism_check not in ("default", "none"):
        raise ValueError(
            f'checkpoint: determinism_check is "default" or "none", got {determinism_check!r}'
        )
    first, second = context_fn()
    if not mode.grad:
        with first:
            return function(*args, **kwargs)
    segment = _Segment(function, args, kwargs, preserve_rng_state, second, determinism_check)
    with first, _recording() as ops:
        out = function(*args, **kwargs)
    segment.drop(ops)
    return out


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> Any:  # fmt: skip
    """The functions one after the other, cut into segments; all except the last are checkpointed.

    functions: an nn.Sequential or a list. With √n segments of n layers the memory is smallest.
    Raises: ValueError unless there are from 1 to len(functions) segments.
    """
    layers = list(functions)
    if not 1 <= segments <= max(len(layers), 1):
        raise ValueError(
            f"checkpoint_sequential: segments must be from 1 to {len(layers)}, got {segments}"
        )

    def in_sequence(part: Sequence[Any]) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for layer in part:
                x = layer(x)
            return x

        return run

    size = len(layers) // segments
    last = size * (segments - 1)
    for start in range(0, last, size):
        input = checkpoint(
            in_sequence(layers[start : start + size]), input, use_reentrant=use_reentrant,
            preserve_rng_state=preserve_rng_state,
        )  # fmt: skip
    return in_sequence(layers[last:])(input)


@contextlib.contextmanager
def _recording() -> Iterator[list[Op]]:
    """The ops that this thread runs inside the block and that take part in a gradient, in order."""
    ops: list[Op] = []
    me = threading.get_ident()

    def watch(op: Op, inputs: tuple, results: Any) -> None:
        if any(op.needs) and threading.get_ident() == me:
            ops.append(op)

    with observing(watch):
        yield ops


class _Recomputed:
    """In op.saved, in the place of what was dropped: reading it makes the segment run again."""

    def __init__(self, segment: _Segment, index: int) -> None:
        self.segment: _Segment | None = segment
        self.index = index
        self.value: Sequence[Any] = ()

    def _saved(self) -> Sequence[Any]:
        """What the op had saved, computed again when it is first asked for."""
        if self.segment is not None:
            self.value, self.segment = self.segment.saved(self.index), None
        return self.value

    def __iter__(self) -> Iterator[Any]:
        return iter(self._saved())

    def __getitem__(self, i: Any) -> Any:
        return self._saved()[i]

    def __len__(self) -> int:
        return len(self._saved())

    def __bool__(self) -> bool:
        return True  # asking whether anything is saved does not run the segment


class _Segment:
    """One call of a checkpointed function: how to run it again, and what its ops save then."""

    def __init__(
        self, function: Any, args: tuple, kwargs: dict, preserve_rng: bool, context: Any, check: str
    ) -> None:
        self.call = function, args, kwargs
        self.rng = random.get_rng_state() if preserve_rng else None
        self.context, self.check = context, check
        self.names: list[str] = []
        self.shapes: list[list[tuple[int, ...]]] = []
        self.inputs: list[tuple[Tensor, int]] = []  # and when each was last changed in place
        self.recomputed: list[Any] | None = None

    def drop(self, ops: list[Op]) -> None:
        """Remove what the ops saved; reading it computes it again."""
        _, args, kwargs = self.call
        leaves = [edge.target for op in ops for edge in op.edges if edge]  # parameters among them
        tensors = {id(t): t for t in (*args, *kwargs.values(), *leaves) if isinstance(t, Tensor)}
        self.inputs = [(t, modified_at(t.array)) for t in tensors.values()]
        self.names = [op.name for op in ops]
        self.shapes = [_shapes(op.saved) for op in ops]
        for i, op in enumerate(ops):
            if op.saved:
                op.saved = _Recomputed(self, i)  # type: ignore[assignment]

    def saved(self, index: int) -> Any:
        """What op number `index` had saved; it is kept here only until it is asked for."""
        if self.recomputed is None or self.recomputed[index] is None:
            self.recomputed = self.run_again()
        value, self.recomputed[index] = self.recomputed[index], None
        return value

    def run_again(self) -> list[Any]:
        """Run the function again; returns what each of its ops saved."""
        function, args, kwargs = self.call
        for tensor, when in self.inputs:
            if modified_at(tensor.array) != when:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an "
                    "inplace operation: an input or a parameter of a checkpointed function, of "
                    f"shape {tuple(tensor.shape)}, was changed before backward. Clone it first."
                )
        new_args = [_new_leaf(value) for value in args]
        new_kwargs = {name: _new_leaf(value) for name, value in kwargs.items()}
        modified_before = set(modified)
        n_drawn = capturing.graph and len(capturing.graph.sources)
        with random.fork_rng(enabled=self.rng is not None):
            if self.rng is not None:
                random.set_rng_state(self.rng)
            with enable_grad(), self.context, _recording() as ops:
                function(*new_args, **new_kwargs)
        if capturing.graph and len(capturing.graph.sources) != n_drawn:
            refuse_in_capture("gradient checkpointing of code that draws random numbers (dropout)")
        self.compare(ops)
        for op in ops:
            if not isinstance(op.saved, _Recomputed):
                check_unmodified(op)
        for key in set(modified) - modified_before:  # in place before it was saved, which is right
            del modified[key]
        return [op.saved for op in ops]

    def compare(self, ops: list[Op]) -> None:
        """Raises: CheckpointError if the ops of the second run are not those of the first."""
        names = [op.name for op in ops]
        if names != self.names:
            raise CheckpointError(
                "checkpoint: the function did other things when it ran again: first "
                f"{_listed(self.names)}, then {_listed(names)}. It must not depend on anything "
                "that changes between forward and backward, such as model.train() or a counter."
            )
        if self.check == "default":
            shapes = [_shapes(op.saved) for op in ops]
            for name, before, after in zip(names, self.shapes, shapes, strict=True):
                if before != after:
                    raise CheckpointError(
                        f"checkpoint: {name} saved arrays of shapes {before} in the first run and "
                        f"{after} in the second: the function must do the same both times"
                    )


def _new_leaf(value: Any) -> Any:
    """A tensor of floats outside the graph, so that the second run ends there; others unchanged."""
    if isinstance(value, Tensor) and value.array.dtype.kind in "fV":
        return value.detach().requires_grad_(value.requires_grad)
    return value


def _shapes(saved: Any) -> list[tuple[int, ...]]:
    """The shapes of the arrays that an op saved."""
    if isinstance(saved, _Recomputed):
        return []  # an inner checkpoint, which compares its own
    return [tuple(a.shape) for a in saved if hasattr(a, "shape")]


def _listed(names: list[str]) -> str:
    """The first twelve names, and how many there are."""
    shown = ", ".join(names[:12]) or "no op that takes part in a gradient"
    return shown + (f", … ({len(names)} ops)" if len(names) > 12 else "")
