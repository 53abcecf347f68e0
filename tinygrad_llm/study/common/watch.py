"""Watch: every op and every module call, seen while they run. Outside of it nothing is changed.

The base of trace, draw, compare and explain. A Watch calls `module_begins`, `op_done`,
`module_done` and `backward_done`, which its subclasses define; it knows the place of each op (the
module that called it, and the line of the user's code) and how long it took. It replaces nothing:
the engine and nn.Module have lists of observers, and a gradient hook on each output tells when the
backward of its op begins.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from types import FrameType, TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from ...autograd import engine
from ...autograd.engine import Op
from ...autograd.hooks import HookHandle
from ...autograd.observing import observing
from ...nn.module import Module, call_observers
from ...tensor import Tensor

__all__ = ["Call", "Line", "Place", "Watch", "calling_line", "place_of_call"]

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
SITE = os.path.join(os.path.dirname(PACKAGE[:-1]), "docs", "")  # it shows our examples
_places: WeakKeyDictionary[Op, Place] = WeakKeyDictionary()  # of the ops that ran under a Watch


@dataclass(frozen=True)
class Line:
    """A line of the user's code: the innermost one outside of tinygrad_llm."""

    file: str
    number: int

    @property
    def source(self) -> str:
        """The line's text, without its indentation; "" if the file can't be read."""
        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        name = self.file.removeprefix(os.getcwd() + os.sep)
        source = self.source
        return f"{name}:{self.number}" + (f": {source}" if source else "")


def calling_line() -> Line | None:
    """The line of the user's code that is running; None if there is none on the stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    if frame is None or frame.f_globals.get("__name__", "").startswith("typer."):
        return None  # a command of this package runs an example of this package
    if frame.f_code.co_filename.startswith(SITE):
        return None  # so does what builds the site
    return Line(frame.f_code.co_filename, frame.f_lineno)


@dataclass(eq=False)
class Call:
    """One call of a module: its path ("trf_blocks.0.att"), and the call inside which it ran."""

    path: str
    module: Module
    number: int  # how many calls of this module came before
    parent: Call | None

    @property
    def name(self) -> str:
        """The path, with the call's number if it is not the first: "head (call 2)"."""
        word = self.path or type(self.module).__name__
        return word if not self.number else f"{word} (call {self.number + 1})"


@dataclass
class Place:
    """Where an op ran: the call of a module (None: outside of any) and the user's line."""

    number: int  # counted from 1, in order of execution
    call: Call | None
    line: Line | None
    seconds: float  # of its forward
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path of the module that called the op; "" outside of any."""
        return "" if self.call is None else self.call.path


def place_of_call(op: Op | None) -> Place | None:
    """Where an op ran; None if it did not run under a Watch."""
    return None if op is None else _places.get(op)


class Watch:
    """A context in which every op and every module call is reported, forward and backward.

    models: their modules are named by their paths; a model that is not given is named when it is
    called. `place_of_call` returns the place of an op that ran, as long as the op exists.
    """

    def __init__(self, *models: Module) -> None:
        self.names: dict[int, tuple[str, Module]] = {}  # id of a module: its path, and itself
        self.calls: dict[int, int] = {}  # id of a module: how often it was called
        self.call: Call | None = None  # the innermost call that is running
        self.count = 0
        self._options: Mapping[str, Any] = {}
        self._started = 0.0  # when the forward that is running began
        self._arrived: dict[int, float] = {}  # order of an op: when its gradient had arrived
        self._hooks: WeakKeyDictionary[Op, list[HookHandle]] = WeakKeyDictionary()
        for model in models:
            if not isinstance(model, Module):
                raise TypeError(
                    f"expected a model (an nn.Module), got {type(model).__name__}: a function "
                    "needs no naming, call it within the context"
                )
            self.learn_names(model, "" if len(models) == 1 else type(model).__name__)

    def learn_names(self, model: Module, prefix: str = "") -> None:
        """Name each module inside `model` that has no name yet by its path."""
        for name, module in model.named_modules():
            path = ".".join(part for part in (prefix, name) if part)
            self.names.setdefault(id(module), (path, module))

    # --------------------------------------------------------------------- what a subclass does
    def op_done(self, op: Op, place: Place, inputs: tuple, results: list[Tensor]) -> None:
        """An op has run forward."""

    def module_begins(self, call: Call, args: tuple) -> None:
        """A module has been called."""

    def module_done(self, call: Call, out: Any) -> None:
        """A module has returned."""

    def backward_done(
        self, op: Op, place: Place | None, g: Any, grads: tuple, seconds: float
    ) -> None:
        """An op has run backward; place is None if its forward ran before the Watch."""

    # ------------------------------------------------------------------------------ on and off
    def __enter__(self) -> Any:
        self._observing = observing(self._after, self._after_backward, before_forward=self._before)
        self._observing.__enter__()
        call_observers.append(self._within)
        return self

    def __exit__(
        self, kind: Any, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._observing.__exit__(None, None, None)
        call_observers.remove(self._within)
        for handles in list(self._hooks.values()):
            for handle in handles:
                handle.remove()
        self._hooks.clear()
        self.call = None
        if isinstance(error, Exception):
            add_place(error, traceback)

    # ----------------------------------------------------------------------------- what happens
    def _before(self, kind: type[Op], inputs: tuple, options: dict[str, Any]) -> None:
        self._options = options
        self._started = perf_counter()

    def _after(self, op: Op, inputs: tuple, results: list[Tensor]) -> None:
        seconds = perf_counter() - self._started
        self.count += 1
        place = Place(self.count, self.call, calling_line(), seconds, self._options)
        _places[op] = place
        arrives = partial(self._gradient_arrives, op.order)
        self._hooks[op] = [y.register_hook(arrives) for y in results if y._op is op]
        self.op_done(op, place, inputs, results)

    def _within(self, module: Module, call: Callable[..., Any], /, *args: Any, **kw: Any) -> Any:
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
            out = call(*args, **kw)
        finally:
            self.call = outer
        self.module_done(inner, out)
        return out

    def _gradient_arrives(self, order: int, gradient: Tensor) -> None:
        """The gradient hook of an op's outputs: the op's backward runs next."""
        self._arrived[order] = perf_counter()

    def _after_backward(self, op: Op, g: Any, grads: tuple) -> None:
        now = perf_counter()
        seconds = now - self._arrived.pop(op.order, now)
        self.backward_done(op, place_of_call(op), g, grads, seconds)


def add_place(error: Exception, traceback: TracebackType | None) -> None:
    """Add to the message of an error of a backward pass which line had called the op forward."""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code is engine.backward_steps.__code__:
            op: Any = frame.f_locals.get("op")
            place = place_of_call(op)
            if place is not None and place.line and error.args and isinstance(error.args[0], str):
                message = f"{error.args[0]}\n  in the backward of {op.name}, "
                message += f"which ran forward at {place.line}"
                if place.path:
                    message += f"\n  in the module {place.path}"
                error.args = (message, *error.args[1:])
            return
        traceback = traceback.tb_next
