"""Hooks: functions that see a gradient during the backward pass, and may replace it.

A hook on a tensor that an op made is kept with the op and called when the whole gradient has
arrived there, before the backward of the op. A hook on a leaf is called when the walk has ended,
with the sum of all that arrived, before it is added to `.grad`.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..arrays.devices import asarray, follow, gpus
from ..tensor import Tensor, attach, wrap

__all__ = [
    "HookHandle",
    "LeafHooks",
    "after_walk",
    "deliver_retained",
    "late_gradients",
    "leaf_hooks",
    "pass_hooks",
    "register_hook",
    "retain_grad",
    "walk",
]

Hook = Callable[[Any], Any]
# Called when the walk has ended, with whether it added to .grad; ops of the walk add them here.
after_walk: list[Callable[[bool], None]] = []
# Called before that, with what takes gradients of leaves: those that were still on their way when
# the backward of their op returned, such as sums over ranks; ops of the walk add them here.
late_gradients: list[Callable[[Callable[[Any, Any, bool], None]], None]] = []
_keys = itertools.count()


class HookHandle:
    """What registering a hook returns: `remove()` takes the hook away, as does leaving a `with`."""

    def __init__(self, hooks: dict[Any, Any], hook: Any, first: bool = False) -> None:
        self.hooks = hooks
        self.id = next(_keys)
        others = list(hooks.items()) if first else []
        if first:
            hooks.clear()
        hooks[self.id] = hook
        hooks.update(others)

    def remove(self) -> None:
        """Take the hook away; nothing happens if it is gone already."""
        self.hooks.pop(self.id, None)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


# ------------------------------------------------------------------------- during the backward pass
def pass_hooks(op: Any, g: Any) -> Any:
    """∂L/∂output of an op, a tuple if it has several outputs, after the hooks of each output."""
    if not op.hooks:
        return g
    several = type(g) is tuple
    gs = tuple(
        one if one is None else _after(op.hooks.get(i, {}).values(), one)
        for i, one in enumerate(g if several else (g,))
    )
    return gs if several else gs[0]


def deliver_retained(
    op: Any, g: Any, deliver: Callable[[Tensor, Any, bool], None],
    extra: dict[int, dict[int, Tensor]] | None = None,
) -> None:  # fmt: skip
    """Deliver the gradients of an op's outputs whose .grad was asked for with retain_grad().

    extra: other outputs that are delivered, by the op's order and the output.
    """
    gs = g if type(g) is tuple else (g,)
    tensors = {output: reference() for output, reference in (op.retained or {}).items()}
    tensors.update((extra or {}).get(op.order, {}))
    for output, tensor in tensors.items():
        if tensor is not None and gs[output] is not None:
            deliver(tensor, gs[output], False)


def _after(hooks: Iterable[Hook], g: Any) -> Any:
    """The gradient that is left when each hook has seen it, and perhaps replaced it."""
    for hook in list(hooks):
        new = hook(wrap(g))
        if new is None:
            continue
        name = getattr(hook, "__name__", type(hook).__name__)
        if not isinstance(new, Tensor):
            raise TypeError(
                f"hook '{name}' returned {type(new).__name__}: expected a Tensor or None"
            )
        if new.array.shape != g.shape:
            raise RuntimeError(
                f"hook '{name}' has changed the size of value: the gradient has shape "
                f"{tuple(g.shape)}, and it returned {tuple(new.array.shape)}"
            )
        g = new.array if new.array.dtype == g.dtype else new.array.astype(g.dtype)
    return g


class LeafHooks:
    """Takes the place of `deliver` in a backward pass: holds back gradients of leaves with hooks.

    A hook on a leaf sees the sum of all that arrived, so it is called when the walk has ended.
    """

    def __init__(self, deliver: Callable[[Any, Any, bool], None]) -> None:
        self.deliver = deliver
        self.held: dict[int, list] = {}  # [leaf, the sum of its gradients so far]

    def __call__(self, leaf: Tensor, g: Any, owned: bool) -> None:
        if id(leaf) not in leaf_hooks:
            self.deliver(leaf, g, owned)
        elif id(leaf) in self.held:
            self.held[id(leaf)][1] = asarray(self.held[id(leaf)][1] + g, g)
        else:
            self.held[id(leaf)] = [leaf, g if owned else g.copy()]

    def release(self, accumulated: bool) -> None:
        """Call the hooks and deliver; `accumulated` if that adds to .grad."""
        for leaf, g in self.held.values():
            if gpus.several:
                follow([g], "backward")
            before, afterwards, _ = leaf_hooks[id(leaf)]
            self.deliver(leaf, _after(before.values(), g), False)
            for hook in list(afterwards.values()) if accumulated else ():
                hook(leaf)


@contextmanager
def walk(deliver: Any, accumulated: bool) -> Iterator[None]:
    """A block that walks a graph. At its end: the gradients that come late, those that were held
    back, and the functions for the end of this walk, which are forgotten after an error.

    deliver takes the gradients of leaves; accumulated: whether that adds to .grad.
    Raises: the error of the block, or of what is called at its end.
    """
    outer, late = len(after_walk), len(late_gradients)  # those before belong to walks around it
    try:
        yield
        for function in late_gradients[late:]:
            function(deliver)
        if isinstance(deliver, LeafHooks):
            deliver.release(accumulated)
        for end in after_walk[outer:]:
            end(accumulated)
        del late_gradients[late:]
    except (Exception, KeyboardInterrupt, SystemExit):
        del after_walk[outer:], late_gradients[late:]
        raise


# id of a leaf: hooks before its gradient is added to .grad, hooks afterwards, a weak reference
leaf_hooks: dict[int, tuple[dict[int, Hook], dict[int, Hook], Any]] = {}


def _hooks_of(leaf: Tensor) -> tuple[dict[int, Hook], dict[int, Hook], Any]:
    key = id(leaf)
    if key not in leaf_hooks:
        leaf_hooks[key] = {}, {}, weakref.ref(leaf, lambda _: leaf_hooks.pop(key, None))
    return leaf_hooks[key]


# -------------------------------------------------------------------------------------- methods
def register_hook(self: Tensor, hook: Hook) -> HookHandle:
    """Call hook(gradient) whenever the tensor's gradient has been computed.

    The hook receives a Tensor, which it must not change in place; if it returns a Tensor of the
    same shape, that replaces the gradient. Several hooks are called one after the other. Returns a
    handle with `remove()`.
    Raises: RuntimeError if the tensor does not require grad.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    op = self._op
    if op is None:
        return HookHandle(_hooks_of(self)[0], hook)
    if op.hooks is None:
        op.hooks = {}
    return HookHandle(op.hooks.setdefault(self._out, {}), hook)


def register_post_accumulate_grad_hook(self: Tensor, hook: Hook) -> HookHandle:
    """Call hook(leaf) whenever backward() has added to the leaf's .grad, for example to make an
    optimizer step per parameter.
    Raises: RuntimeError if the tensor is not a leaf, or does not require grad.
    """
    if not self.requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if self._op is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return HookHandle(_hooks_of(self)[1], hook)


def retain_grad(self: Tensor) -> None:
    """Ask backward to keep .grad of a tensor that an op made; a leaf always keeps its .grad.

    Raises: RuntimeError if the tensor has requires_grad=False.
    """
    if not self.requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    if self._op is not None:
        self._op.retained = {**(self._op.retained or {}), self._out: weakref.ref(self)}


def _retains_grad(self: Tensor) -> bool:
    """Whether retain_grad() was called on a tensor that an op made."""
    op = self._up_to_date()._op
    return op is not None and self._out in (op.retained or {})


attach("register_hook", register_hook)
attach("register_post_accumulate_grad_hook", register_post_accumulate_grad_hook)
attach("retain_grad", retain_grad)
attach("retains_grad", property(_retains_grad))
