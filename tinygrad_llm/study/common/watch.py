"""Watch: a look at every op and every module while they run. Outside of it nothing is changed.

What trace, draw, compare and explain share. A Watch calls `module_begins`, `op_done`,
`module_done` and `backward_done`, which its subclasses define; it knows the place of each op (which
module called it, and which line of the user's code) and how long it took.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from ...autograd import engine
from ...autograd.engine import Op
from ...nn.module import Module
from ...tensor import Tensor

__all__ = ["Call", "Line", "Place", "Watch", "calling_line", "line_of", "tensors_in"]

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep


@dataclass(frozen=True)
class Line:
    """A line of the user's code: the innermost one outside of tinygrad_llm."""

    file: str
    number: int

    @property
    def source(self) -> str:
        """The line's text, without its indentation; "" if the file can't be read."""
        import linecache

        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        name, here = self.file, os.getcwd() + os.sep
        name = name.removeprefix(here)
        source = self.source
        return f"{name}:{self.number}" + (f": {source}" if source else "")


def calling_line() -> Line | None:
    """The line of the user's code that is running; None if there is none on the stack."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame is None or frame.f_globals.get("__name__", "").startswith("typer."):
        return None  # a command of ours runs something of ours
    return Line(frame.f_code.co_filename, frame.f_lineno)


@dataclass(eq=False)
class Call:
    """One call of a module: its path ("trf_blocks.0.att"), and the call that it was made from."""

    path: str
    module: Any
    number: int  # how many calls of this module came before
    parent: Call | None

    @property
    def name(self) -> str:
        """The path, with the call's number if it is not the first: "head (2nd call)"."""
        word = self.path or type(self.module).__name__
        return word if not self.number else f"{word} (call {self.number + 1})"


@dataclass
class Place:
    """Where an op ran: the call of a module (None: outside of any) and the user's line."""

    number: int  # counted from 1, in order of execution
    call: Call | None
    line: Line | None
    seconds: float
    inputs: tuple = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return "" if self.call is None else self.call.path


class Watch:
    """A context in which every op and every module call is reported, forward and backward.

    models: their modules are named by their paths; a model that is not given is named as soon as
    it is called. An op that runs gets an attribute `place`, which the walk back finds again.
    """

    def __init__(self, *models: Any) -> None:
        self.names: dict[int, tuple[str, Any]] = {}  # id of a module: its path, and itself
        self.calls: dict[int, int] = {}  # id of a module: how often it was called
        self.call: Call | None = None  # the innermost call that is running
        self.count = 0
        self._undo: list[Any] = []
        self._started = 0.0
        self._inputs: tuple = ()
        self._options: Mapping[str, Any] = {}
        for model in models:
            if not isinstance(model, Module):
                raise TypeError(
                    f"expected a model (an nn.Module), got {type(model).__name__}: a function "
                    "needs no naming, call it within the context"
                )
            self.learn_names(model, "" if len(models) == 1 else type(model).__name__)

    def learn_names(self, model: Any, prefix: str = "") -> None:
        """Give each module below `model` that has no name yet its path."""
        for name, module in model.named_modules():
            path = ".".join(part for part in (prefix, name) if part)
            self.names.setdefault(id(module), (path, module))

    # --------------------------------------------------------------------- what a subclass does
    def op_done(self, op: Op, place: Place, inputs: tuple, results: list) -> None:
        """An op has run forward."""

    def module_begins(self, call: Call, args: tuple) -> None:
        """A module has been called."""

    def module_done(self, call: Call, out: Any) -> None:
        """A module has returned."""

    def backward_done(self, op: Op, place: Place | None, g: Any, grads: Any, s: float) -> None:
        """An op has run backward, in s seconds; place is None if it ran before the Watch."""

    # ------------------------------------------------------------------------------ on and off
    def __enter__(self) -> Any:
        apply, call = Op.__dict__["apply"], Module.__dict__["__call__"]

        def timed_apply(cls: Any, *inputs: Any, **options: Any) -> Any:
            self._inputs, self._options = inputs, options
            self._started = perf_counter()
            return apply.__func__(cls, *inputs, **options)

        def noted_call(module: Any, *args: Any, **kwargs: Any) -> Any:
            return self._within(call, module, args, kwargs)

        Op.apply = classmethod(timed_apply)  # type: ignore[method-assign, assignment]
        Module.__call__ = noted_call  # type: ignore[method-assign, assignment]
        engine.observers.append(self._after)
        engine.backward_observers.append(self._after_backward)
        self._undo.append((apply, call))
        self._backward_since = perf_counter()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        Op.apply, Module.__call__ = self._undo.pop()  # type: ignore[method-assign]
        engine.observers.remove(self._after)
        engine.backward_observers.remove(self._after_backward)
        self.call = None
        if isinstance(error, Exception):
            tell_line(error, traceback)

    # ----------------------------------------------------------------------------- what happens
    def _after(self, op: Op, inputs: tuple, results: Any) -> None:
        seconds = perf_counter() - self._started
        self._backward_since = perf_counter()
        self.count += 1
        place = Place(self.count, self.call, calling_line(), seconds, inputs, self._options)
        op.place = place  # type: ignore[attr-defined]
        self.op_done(op, place, inputs, results)
        place.inputs = ()

    def _within(self, call: Any, module: Any, args: tuple, kwargs: dict) -> Any:
        outer = self.call
        if id(module) not in self.names:
            if outer is None:
                self.learn_names(module, type(module).__name__ if self.names else "")
            else:
                self.learn_names(module, f"{outer.path}.{type(module).__name__}".lstrip("."))
        number = self.calls.get(id(module), 0)
        self.calls[id(module)] = number + 1
        self.call = inner = Call(self.names[id(module)][0], module, number, outer)
        self.module_begins(inner, args)
        try:
            out = call(module, *args, **kwargs)
        finally:
            self.call = outer
        self.module_done(inner, out)
        return out

    def _after_backward(self, op: Op, g: Any, grads: tuple) -> None:
        now = perf_counter()
        self.backward_done(op, getattr(op, "place", None), g, grads, now - self._backward_since)
        self._backward_since = perf_counter()


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a module's output: one, or several in tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)


def line_of(op: Op) -> Line | None:
    """The user's line that called an op, if it ran under a Watch."""
    place = getattr(op, "place", None)
    return None if place is None else place.line


def tell_line(error: Exception, traceback: Any) -> None:
    """Add to an error that came out of a backward pass which line had called the op forward."""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code is engine.backward_steps.__code__:
            op = frame.f_locals.get("op")
            line = line_of(op) if isinstance(op, Op) else None
            if line is not None and error.args and isinstance(error.args[0], str):
                told = f"\n  in the backward of {op.name}, which ran forward at {line}"  # type: ignore[union-attr]
                if op.place.path:  # type: ignore[union-attr]
                    told += f"\n  in the module {op.place.path}"  # type: ignore[union-attr]
                error.args = (error.args[0] + told, *error.args[1:])
            return
        traceback = traceback.tb_next
