"""What a check saw of a learner's code: the verdict is reached where that code cannot reach.

A check runs twice. In the child process it runs with the learner's code and records every value
that it looks at (`seen`). The values are sent to the parent as plain data. There the same check
runs once more, with the solution in place of the learner's code and with those values in place of
what the solution returns. A file passes only if both say so: the child may print, forge, or replace
what it likes, the parent compares the numbers that it received with those that it computes itself.

How gradients share memory, whether they change g, and what an op keeps can be seen only in the
child: a program that hides that deceives nobody but its author. Its numbers are compared here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ... import random

__all__ = ["Missing", "Quiet", "Undefined", "plain", "recorded", "replayed", "seen"]


class Missing(Exception):
    """The child sent fewer values than the check looks at, or values of another kind."""


class Undefined(Exception):
    """A learner's file lacks the name that a check asks for."""


class _Record:
    """The values that the running check has looked at, or those that it is to be given."""

    def __init__(self) -> None:
        self.values: list[Any] | None = None  # None: a check that nobody records
        self.next: int | None = None  # the place of the value to give out; None while recording


_record = _Record()


def seen(value: Any) -> Any:
    """A value of the learner's code as plain data; in the parent, the one that the child sent.

    Raises: Missing if the child sent no more.
    """
    if _record.values is None:
        return plain(value)
    if _record.next is None:
        _record.values.append(plain(value))
        return _record.values[-1]
    if _record.next >= len(_record.values):
        raise Missing("the values end too early")
    _record.next += 1
    return _record.values[_record.next - 1]


def plain(value: Any) -> Any:
    """A tensor as an array, containers of plain values as they are, anything else as its type."""
    array = getattr(value, "array", value)
    if isinstance(array, np.ndarray | np.generic) and np.asarray(array).dtype.kind in "biuf":
        return np.array(array)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return f"a {type(value).__name__}"


@contextmanager
def recorded() -> Iterator[list[Any]]:
    """Within it, the values that a check looks at are appended to this list."""
    before = _record.values, _record.next
    values: list[Any] = []
    _record.values, _record.next = values, None
    try:
        yield values
    finally:
        _record.values, _record.next = before


@contextmanager
def replayed(values: list[Any]) -> Iterator[None]:
    """Within it, a check looks at these values, one after the other, and draws the same numbers.

    Raises: Missing if the check does not look at all of them.
    """
    before, state = (_record.values, _record.next), random.get_rng_state()
    _record.values, _record.next = values, 0
    try:
        yield
        if _record.next != len(values):
            raise Missing(f"{len(values) - _record.next} values are left over")
    finally:
        _record.values, _record.next = before
        random.set_rng_state(state)


class Quiet:
    """A learner's module whose functions draw random numbers without moving the check's stream.

    How many numbers a learner's layer draws for its weights must not change what the check draws
    after it: the parent draws the same.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.nothing = ""  # the function that was called last, if it returned None

    def __getattr__(self, name: str) -> Any:
        value = self.itself(name)
        return self._quiet(name, value) if callable(value) else value

    def itself(self, name: str) -> Any:
        """The value of a name, for what draws no numbers and is called very often.

        Raises: Undefined if the file has no such name.
        """
        if not hasattr(self.module, name):
            raise Undefined(name)
        return getattr(self.module, name)

    def _quiet(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            state = random.get_rng_state()
            try:
                result = function(*arguments, **options)
            finally:
                random.set_rng_state(state)
            self.nothing = name if result is None else ""
            return result

        return call
