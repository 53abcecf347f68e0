"""A machine for the byte code in PyTorch's files that can build plain values and nothing else.

Python's own loader for that byte code imports and calls anything that the file names, so that
reading a file can run any code. This one has no import and no call: a name in the file is looked up
in the table that the caller passes, and a name that is not in it is refused.

The instructions (Python's Lib/pickletools.py describes each) work on a stack: most push a value;
MARK pushes a mark, and the container instructions take everything above it; PUT and GET keep values
by number, which is how one tensor can be in two places.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...files.untrusted import check_nesting, describe, is_flat

__all__ = ["Refused", "Symbol", "keys", "run"]


class Refused(ValueError):
    """The byte code asks for something that this machine does not do."""


def keys(values: Iterable[Any]) -> list[Any]:
    """The values, of which each can be a key of a dict or a member of a set.

    Raises: Refused for a value that is nested: to hash it can take forever.
    """
    values = list(values)
    for value in values:
        if not is_flat(value):
            raise Refused(f"{describe(value)} as a key or a member of a set")
    return values


class Symbol:
    """A name in the file, such as torch.FloatStorage; `build` makes its value from arguments.

    build None: the name may be passed on, but not called.
    """

    __slots__ = ("build", "name")

    def __init__(self, name: str, build: Callable[..., Any] | None = None) -> None:
        self.name = name
        self.build = build

    def __repr__(self) -> str:
        return f"<{self.name}>"


class _Mark:
    """Its place on the stack is where a container's elements begin."""


_MARK = _Mark()

# Instructions that push a constant, and those followed by a number of fixed size.
_CONSTANTS: dict[int, Callable[[], Any]] = {
    ord("N"): lambda: None,
    0x88: lambda: True,
    0x89: lambda: False,
    ord("}"): dict,
    ord("]"): list,
    ord(")"): tuple,
    0x8F: set,
    ord("("): lambda: _MARK,
}
_NUMBERS = {
    ord("J"): struct.Struct("<i"),
    ord("K"): struct.Struct("<B"),
    ord("M"): struct.Struct("<H"),
    ord("G"): struct.Struct(">d"),
}
# Instructions followed by a length and that many bytes: the size of the length, and what they mean.
_COUNTED: dict[int, tuple[int, Callable[[bytes], Any]]] = {
    ord("X"): (4, lambda raw: raw.decode("utf-8", "surrogatepass")),
    0x8C: (1, lambda raw: raw.decode("utf-8", "surrogatepass")),
    0x8D: (8, lambda raw: raw.decode("utf-8", "surrogatepass")),
    ord("B"): (4, bytes),
    ord("C"): (1, bytes),
    0x8E: (8, bytes),
    0x96: (8, bytearray),
    0x8A: (1, lambda raw: int.from_bytes(raw, "little", signed=True)),
    0x8B: (4, lambda raw: int.from_bytes(raw, "little", signed=True)),
}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_FROM_MARK: dict[int, Callable[[list], Any]] = {
    ord("t"): tuple,
    ord("l"): list,
    0x91: lambda values: frozenset(keys(values)),
}
_PUT, _GET = {ord("q"): 1, ord("r"): 4}, {ord("h"): 1, ord("j"): 4}
# Instructions that only objects of other classes need: they are named in the error.
_OBJECTS = {0x81: "NEWOBJ", 0x92: "NEWOBJ_EX", ord("i"): "INST", ord("o"): "OBJ"}


def run(
    code: bytes,
    symbols: Mapping[str, Any],
    persistent: Callable[[Any], Any],
    state: Callable[[Any, Any], bool],
) -> Any:
    """Execute `code` and return the value that it builds.

    symbols: what a name like "torch._utils._rebuild_tensor_v2" stands for, a Symbol or a value.
    persistent: returns the value of a reference to outside of the code (a storage).
    state(value, state): whether setting this state on this value can be left out.
    Raises: Refused if the code asks for anything else; ValueError if the code is broken or nested
    too deeply.
    """
    machine = _Machine(code, symbols, persistent, state)
    try:
        return machine.run()
    except (LookupError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise ValueError(f"broken near byte {machine.at:,} ({reason})") from error


class _Machine:
    """One execution: the place in the code, the stack, and the values kept by number."""

    def __init__(
        self,
        code: bytes,
        symbols: Mapping[str, Any],
        persistent: Callable[[Any], Any],
        state: Callable[[Any, Any], bool],
    ) -> None:
        self.code, self.at = code, 0
        self.symbols, self.persistent, self.state = symbols, persistent, state
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    # ------------------------------------------------------------------------------- the code
    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self.code) - self.at:
            raise ValueError(f"cut short: {count:,} bytes expected at byte {self.at:,}")
        self.at += count
        return self.code[self.at - count : self.at]

    def number(self, size: int) -> int:
        """The next number, unsigned, of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        """The next line of text."""
        end = self.code.index(b"\n", self.at)
        raw = self.take(end - self.at)
        self.at += 1
        return raw.decode("utf-8")

    # ------------------------------------------------------------------------------ the stack
    def pop(self) -> Any:
        """The value on top of the stack, taken off it."""
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError(f"broken near byte {self.at:,} (a mark where a value should be)")
        return value

    def since_mark(self) -> list[Any]:
        """The values above the last mark, taken off the stack together with it."""
        stack = self.stack
        for i in range(len(stack) - 1, -1, -1):
            if stack[i] is _MARK:
                values = stack[i + 1 :]
                del stack[i:]
                return values
        raise ValueError(f"broken near byte {self.at:,} (no mark)")

    def top(self, kind: type) -> Any:
        """The container on top of the stack, which stays there; Refused unless it is a `kind`."""
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise Refused(f"{_name(value)} is filled as if it were a {kind.__name__}")
        return value

    # ------------------------------------------------------------------------ the instructions
    def run(self) -> Any:
        """Execute instructions up to the last one, STOP."""
        stack, memo = self.stack, self.memo
        while True:
            op = self.take(1)[0]
            if op in _CONSTANTS:
                stack.append(_CONSTANTS[op]())
            elif op in _PUT:
                memo[self.number(_PUT[op])] = stack[-1]
            elif op in _GET:
                stack.append(memo[self.number(_GET[op])])
            elif op in _NUMBERS:
                stack.append(_NUMBERS[op].unpack(self.take(_NUMBERS[op].size))[0])
            elif op in _COUNTED:
                size, meaning = _COUNTED[op]
                stack.append(meaning(self.take(self.number(size))))
            elif op in _TUPLES:
                stack.append(tuple(reversed([self.pop() for _ in range(_TUPLES[op])])))
            elif op in _FROM_MARK:
                stack.append(_FROM_MARK[op](self.since_mark()))
            elif op == ord("."):
                root = _without_symbols(self.pop())
                check_nesting(root)
                return root
            else:
                self.build(op)

    def build(self, op: int) -> None:
        """The instructions that fill containers, name things, and put them together."""
        stack = self.stack
        if op == 0x80 or op == 0x95:  # the protocol's number, the length of a frame
            self.take(1 if op == 0x80 else 8)
        elif op == 0x94:  # MEMOIZE
            self.memo[len(self.memo)] = stack[-1]
        elif op in (ord("u"), ord("s"), ord("d")):
            values = [self.pop(), self.pop()][::-1] if op == ord("s") else self.since_mark()
            if op == ord("d"):
                stack.append({})
            if len(values) % 2:
                raise ValueError(f"broken near byte {self.at:,} (a key without a value)")
            self.top(dict).update(zip(keys(values[::2]), values[1::2], strict=True))
        elif op in (ord("a"), ord("e")):
            values = [self.pop()] if op == ord("a") else self.since_mark()
            self.top(list).extend(values)
        elif op == 0x90:
            values = self.since_mark()
            self.top(set).update(keys(values))
        elif op == ord("0"):
            stack.pop()
        elif op == ord("1"):
            self.since_mark()
        elif op == ord("2"):
            stack.append(stack[-1])
        elif op in (ord("I"), ord("L")):
            text = self.line()
            bools = {"00": False, "01": True}
            stack.append(bools[text] if text in bools else int(text.rstrip("L")))
        elif op == ord("c"):
            module = self.line()
            stack.append(self.symbol(module, self.line()))
        elif op == 0x93:
            name, module = self.pop(), self.pop()
            stack.append(self.symbol(module, name))
        elif op == ord("Q"):
            stack.append(self.persistent(self.pop()))
        elif op == ord("R"):
            arguments, symbol = self.pop(), self.pop()
            if not isinstance(symbol, Symbol) or symbol.build is None:
                raise Refused(f"{_name(symbol)} is called like a function")
            if not isinstance(arguments, tuple):
                raise Refused(f"{symbol.name} is called with {describe(arguments)}")
            stack.append(symbol.build(*arguments))
        elif op == ord("b"):
            state = self.pop()
            if not self.state(stack[-1], state):
                raise Refused(f"attributes are set on {_name(stack[-1])}")
        elif op in _OBJECTS:
            values = [v for v in self.stack if isinstance(v, Symbol)]
            raise Refused(f"an object of {values[-1] if values else 'some class'} ({_OBJECTS[op]})")
        else:
            raise Refused(f"instruction {op:#04x}, which no plain value needs")

    def symbol(self, module: Any, name: Any) -> Any:
        """What a name in the file stands for; Refused if the table does not have it."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused(f"a name that is {describe(module)} and {describe(name)}")
        full = f"{module}.{name}"
        symbol = self.symbols.get(full)
        if symbol is None:
            raise Refused(full[:200])
        return symbol


def _name(value: Any) -> str:
    return value.name if isinstance(value, Symbol) else f"a {type(value).__name__}"


def _without_symbols(root: Any) -> Any:
    """The value.

    Raises: Refused if it still contains a name from which nothing was built.
    """
    to_check, seen = [root], set()
    while to_check:
        value = to_check.pop()
        if isinstance(value, Symbol):
            raise Refused(f"{value.name} as a value")
        if isinstance(value, (dict, list, tuple, set, frozenset)) and id(value) not in seen:
            seen.add(id(value))
            to_check.extend(value)
            if isinstance(value, dict):
                to_check.extend(value.values())
    return root
