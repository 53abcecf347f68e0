"""What plain Python cannot say in a kernel: 32 numbers together, memory by its address, counters.

A kernel that runs a whole model gets the addresses of its arrays in a table, so that one
compilation serves all models. A vector of LANES numbers stays in the processor's registers from one
step of a loop to the next, which LLVM does not do with a small array. Each function here is a few
instructions in LLVM's language, the same for every processor.

    lanes(x)                  a vector, all x
    times_added(a, b, c)      a·b + c, vectors; a may be a number
    times(a, b), added(a, b)  a·b and a + b
    lanes_of(array, i)        array[i : i + LANES];   put(array, i, v) writes them
    halves, singles           LANES numbers of 16 and 32 bits at an address, from number i on
    low_half, high_half       4 bits of each of LANES bytes as numbers; signed: the bytes themselves
    low_entry, high_entry     the numbers of a table of 16 at these 4 bits
    number_of(v)              v; bits of 16 are a bfloat16, the upper half of a float32
    numbers, matrix, flags    the arrays (n), (n, m) of numbers, and (n) of bytes, at an address
    bits                      the array (n, m) of integers of 16 bits, bfloat16 numbers
    integers                  the array (n, m) of integers at an address
    fetch(array, i)           ask for the memory of number i early; it may lie behind the end
    take, count               the next number of a counter; how far a counter is
    let_others_run            a call of the system's function at this address, if it is not 0
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable
from typing import Any

from . import wide
from .compiling import Helper

__all__ = [
    "LANES", "added", "bits", "count", "fetch", "flags", "halves", "high_entry", "high_half",
    "integers", "lanes", "lanes_of", "let_others_run", "low_entry", "low_half", "matrix",
    "number_of", "numbers", "put", "signed", "singles", "take", "times", "times_added",
    "yielding_address",
]  # fmt: skip

LANES = 32
LOOKUP = True  # whether the processor's own instruction for a table of 16 numbers is used
_vectors: dict[str, Any] = {}


class _Words:
    """LLVM's and Numba's types for a kernel of one dtype."""

    def __init__(self, char: str) -> None:
        self.ir = importlib.import_module("llvmlite.ir")
        self.types = importlib.import_module("numba").types
        self.char = char
        self.number = self.ir.DoubleType() if char == "d" else self.ir.FloatType()
        self.kind = self.types.float64 if char == "d" else self.types.float32
        self.array = self.types.Array(self.kind, 1, "C")
        self.has_lookup = LOOKUP and wide.has("avx512f")
        if char not in _vectors:
            _vectors[char] = _vector_type(char, self.ir.VectorType(self.number, LANES))
        self.vector = _vectors[char]

    def vector_of(self, element: Any) -> Any:
        return self.ir.VectorType(element, LANES)

    def loaded(self, builder: Any, address: Any, i: Any, element: Any, n_bytes: int) -> Any:
        """LANES elements at an address, from element i on."""
        start = builder.inttoptr(address, element.as_pointer())
        place = builder.bitcast(builder.gep(start, [i]), self.vector_of(element).as_pointer())
        return builder.load(place, align=n_bytes)

    def splat(self, builder: Any, value: Any) -> Any:
        """A vector, all `value`."""
        kind, index = self.vector_of(value.type), self.ir.IntType(32)
        one = builder.insert_element(self.ir.Constant(kind, None), value, index(0))
        zeros = self.ir.Constant(self.vector_of(index), [0] * LANES)
        return builder.shuffle_vector(one, one, zeros)

    def constant(self, bits: int, value: int) -> Any:
        whole = self.ir.IntType(bits)
        return self.ir.Constant(self.vector_of(whole), [value] * LANES)

    def as_numbers(self, builder: Any, integers: Any) -> Any:
        return builder.sitofp(integers, self.vector_of(self.number))


def _vector_type(char: str, llvm: Any) -> Any:
    extending = importlib.import_module("numba.extending")
    types = importlib.import_module("numba").types

    class Lanes(types.Type):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__(f"lanes_{char}")

    @extending.register_model(Lanes)
    class Model(extending.models.PrimitiveModel):  # type: ignore[name-defined]
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, llvm)

    return Lanes()


class _Intrinsic(Helper):
    """A function whose LLVM code `build` writes; build(words) -> (result's type, code)."""

    def __init__(self, build: Callable[[_Words], tuple[Any, Callable[..., Any]]], n: int) -> None:
        super().__init__(None, set())
        self.build, self.n, self.__doc__ = build, n, build.__doc__

    def compiled(self, char: str) -> Any:
        if char not in self.by_dtype:
            words = _Words(char)
            result, code = self.build(words)

            def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                value = code(context, builder, signature, args)
                return context.get_dummy_value() if value is None else value

            def typed(context: Any, *args: Any) -> Any:
                return result(*map(words.types.unliteral, args)), lower

            names = ", ".join("abcdefg"[: self.n])
            made: dict[str, Any] = {"typed": typed}  # Numba asks for a name for each argument
            exec(f"def call(context, {names}): return typed(context, {names})", made)
            intrinsic = importlib.import_module("numba.extending").intrinsic
            self.by_dtype[char] = intrinsic(made["call"])
        return self.by_dtype[char]


def _intrinsic(n: int) -> Callable[[Any], Any]:
    return lambda build: _Intrinsic(build, n)


# -------------------------------------------------------------------------- 32 numbers together
@_intrinsic(1)
def lanes(w):
    """lanes(x): a vector, all x."""
    return w.vector, lambda context, b, s, args: w.splat(b, args[0])


@_intrinsic(3)
def times_added(w):
    """times_added(a, b, c) = a·b + c: a a number or a vector, b and c vectors."""

    def code(context, b, signature, args):
        first, second, third = args
        first = w.splat(b, first) if first.type == w.number else first
        product = b.fmul(first, second, flags=("contract",))
        return b.fadd(product, third, flags=("contract",))

    return w.vector, code


@_intrinsic(2)
def times(w):
    """times(a, b) = a·b, vectors, rounded."""
    return w.vector, lambda context, b, s, args: b.fmul(*args)


@_intrinsic(2)
def added(w):
    """added(a, b) = a + b, vectors."""
    return w.vector, lambda context, b, s, args: b.fadd(*args)


def _place(w, context, b, kind, array, i):
    made = context.make_array(kind)(context, b, array)
    return b.bitcast(b.gep(made.data, [i]), w.vector_of(w.number).as_pointer())


@_intrinsic(2)
def lanes_of(w):
    """lanes_of(array, i): array[i : i + LANES]."""

    def code(context, b, signature, args):
        place = _place(w, context, b, signature.args[0], args[0], args[1])
        return b.load(place, align=4)

    return w.vector, code


@_intrinsic(3)
def put(w):
    """put(array, i, v): array[i : i + LANES] = v."""

    def code(context, b, signature, args):
        b.store(args[2], _place(w, context, b, signature.args[0], args[0], args[1]), align=4)

    return w.types.void, code


@_intrinsic(2)
def singles(w):
    """singles(address, i): LANES float32 numbers, from number i on."""

    def code(context, b, signature, args):
        value = w.loaded(b, args[0], args[1], w.ir.FloatType(), 4)
        return value if w.char == "f" else b.fpext(value, w.vector_of(w.number))

    return w.vector, code


@_intrinsic(2)
def halves(w):
    """halves(address, i): LANES finite float16 numbers, from number i on.

    Their 15 bits without the sign stand 13 places higher in a float32, whose exponent counts from
    another number: the product with 2¹¹² corrects that, also below the smallest normal number.
    """

    def code(context, b, signature, args):
        bits = b.zext(
            w.loaded(b, args[0], args[1], w.ir.IntType(16), 2), w.vector_of(w.ir.IntType(32))
        )
        sign = b.shl(b.and_(bits, w.constant(32, 0x8000)), w.constant(32, 16))
        rest = b.shl(b.and_(bits, w.constant(32, 0x7FFF)), w.constant(32, 13))
        single = w.vector_of(w.ir.FloatType())
        power = w.ir.Constant(single, [2.0**112] * LANES)
        value = b.fmul(b.bitcast(rest, single), power)
        value = b.bitcast(b.or_(b.bitcast(value, sign.type), sign), single)
        return value if w.char == "f" else b.fpext(value, w.vector_of(w.number))

    return w.vector, code


@_intrinsic(1)
def number_of(w):
    """number_of(v): a number as it is; of 16 bits the float32 whose upper half they are."""

    def code(context, b, signature, args):
        (value,) = args
        if value.type != w.ir.IntType(16):
            return value
        whole = w.ir.IntType(32)
        single = b.bitcast(b.shl(b.zext(value, whole), whole(16)), w.ir.FloatType())
        return single if w.char == "f" else b.fpext(single, w.number)

    return w.kind, code


def _codes(w, b, args):
    """LANES bytes at an address as integers of 32 bits."""
    wide = w.vector_of(w.ir.IntType(32))
    return b.zext(w.loaded(b, args[0], args[1], w.ir.IntType(8), 1), wide)


@_intrinsic(2)
def low_half(w):
    """low_half(address, i): the lower 4 bits of LANES bytes, as numbers 0 … 15."""

    def code(context, b, signature, args):
        return w.as_numbers(b, b.and_(_codes(w, b, args), w.constant(32, 15)))

    return w.vector, code


@_intrinsic(2)
def high_half(w):
    """high_half(address, i): the upper 4 bits of LANES bytes, as numbers 0 … 15."""

    def code(context, b, signature, args):
        return w.as_numbers(b, b.lshr(_codes(w, b, args), w.constant(32, 4)))

    return w.vector, code


@_intrinsic(2)
def signed(w):
    """signed(address, i): LANES bytes, as numbers −128 … 127."""

    def code(context, b, signature, args):
        codes = w.loaded(b, args[0], args[1], w.ir.IntType(8), 1)
        return w.as_numbers(b, b.sext(codes, w.vector_of(w.ir.IntType(32))))

    return w.vector, code


def _entries(w, b, codes, table):
    """table[codes] for codes of 0 … 15: by the instruction that does so where there is one.

    Elsewhere the code's bits choose one half of the table after the other.
    """
    single = w.ir.FloatType()
    if w.has_lookup:
        values = _looked_up(
            w, b, codes, b.inttoptr(table, w.ir.VectorType(single, 16).as_pointer())
        )
        return values if w.char == "f" else b.fpext(values, w.vector_of(w.number))
    start, values = b.inttoptr(table, single.as_pointer()), []
    for i in range(16):
        one = b.load(b.gep(start, [w.ir.IntType(64)(i)]))
        values.append(w.splat(b, one if w.char == "f" else b.fpext(one, w.number)))
    for bit in (1, 2, 4, 8):
        is_set = b.icmp_signed("!=", b.and_(codes, w.constant(32, bit)), w.constant(32, 0))
        pairs = zip(values[::2], values[1::2], strict=True)
        values = [b.select(is_set, odd, even) for even, odd in pairs]
    return values[0]


def _looked_up(w, b, codes, table):
    """By AVX-512's permutation of 16 numbers, for each half of the codes."""
    whole, single = w.ir.VectorType(w.ir.IntType(32), 16), w.ir.VectorType(w.ir.FloatType(), 16)
    index = w.ir.IntType(32)
    name = "llvm.x86.avx512.permvar.sf.512"
    kind = w.ir.FunctionType(single, [single, whole])
    function = b.module.globals.get(name) or w.ir.Function(b.module, kind, name)
    entries, halves_of = b.load(table, align=4), []
    for first in (0, 16):
        places = w.ir.Constant(w.ir.VectorType(index, 16), list(range(first, first + 16)))
        halves_of.append(b.call(function, [entries, b.shuffle_vector(codes, codes, places)]))
    both = w.ir.Constant(w.ir.VectorType(index, LANES), list(range(LANES)))
    return b.shuffle_vector(*halves_of, both)


@_intrinsic(3)
def low_entry(w):
    """low_entry(address, i, table): table[c], c the lower 4 bits of LANES bytes; 16 float32."""

    def code(context, b, signature, args):
        return _entries(w, b, _codes(w, b, args), args[2])

    return w.vector, code


@_intrinsic(3)
def high_entry(w):
    """high_entry(address, i, table): table[c], c the upper 4 bits of LANES bytes; 16 float32."""

    def code(context, b, signature, args):
        return _entries(w, b, b.lshr(_codes(w, b, args), w.constant(32, 4)), args[2])

    return w.vector, code


# --------------------------------------------------------------------------- memory by its address
def _array_at(w, kind, shape, context, b, address):
    """An array without an owner, in row order."""
    arrayobj = importlib.import_module("numba.np.arrayobj")
    size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    itemsize = context.get_constant(w.types.intp, size)
    strides = [itemsize]
    for n in reversed(shape[1:]):
        strides.insert(0, b.mul(strides[0], n))
    made = context.make_array(kind)(context, b)
    data = b.inttoptr(address, context.get_data_type(kind.dtype).as_pointer())
    arrayobj.populate_array(made, data, shape, strides, itemsize, None)
    return made._getvalue()


@_intrinsic(2)
def numbers(w):
    """numbers(address, n): the array of n numbers there, of the kernel's dtype."""
    return w.array, lambda context, b, s, args: _array_at(
        w, w.array, [args[1]], context, b, args[0]
    )


@_intrinsic(3)
def matrix(w):
    """matrix(address, n, m): the array (n, m) of numbers there, of the kernel's dtype."""
    kind = w.types.Array(w.kind, 2, "C")
    return kind, lambda context, b, s, args: _array_at(
        w, kind, [args[1], args[2]], context, b, args[0]
    )


@_intrinsic(2)
def flags(w):
    """flags(address, n): the array of n bytes there."""
    kind = w.types.Array(w.types.uint8, 1, "C")
    return kind, lambda context, b, s, args: _array_at(w, kind, [args[1]], context, b, args[0])


@_intrinsic(3)
def bits(w):
    """bits(address, n, m): the array (n, m) of integers of 16 bits there."""
    kind = w.types.Array(w.types.uint16, 2, "C")
    return kind, lambda context, b, s, args: _array_at(
        w, kind, [args[1], args[2]], context, b, args[0]
    )


@_intrinsic(3)
def integers(w):
    """integers(address, n, m): the array (n, m) of integers of 64 bits there."""
    kind = w.types.Array(w.types.int64, 2, "C")
    return kind, lambda context, b, s, args: _array_at(
        w, kind, [args[1], args[2]], context, b, args[0]
    )


@_intrinsic(2)
def fetch(w):
    """fetch(array, i): ask for the memory of number i early; it may lie behind the array's end."""

    def code(context, b, signature, args):
        place = b.gep(context.make_array(signature.args[0])(context, b, args[0]).data, [args[1]])
        pointer, index = w.ir.IntType(8).as_pointer(), w.ir.IntType(32)
        kind = w.ir.FunctionType(w.ir.VoidType(), [pointer, index, index, index])
        function = b.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
        b.call(function, [b.bitcast(place, pointer), index(0), index(3), index(1)])

    return w.types.void, code


# -------------------------------------------------------------------------- what the cores share
def _counter(context, b, signature, args):
    made = context.make_array(signature.args[0])(context, b, args[0])
    return b.gep(made.data, [args[1]])


@_intrinsic(2)
def take(w):
    """take(counters, i): counters[i] += 1; returns the number before, each to one core only."""

    def code(context, b, signature, args):
        place = _counter(context, b, signature, args)
        return b.atomic_rmw("add", place, w.ir.IntType(64)(1), "seq_cst")

    return w.types.int64, code


@_intrinsic(2)
def count(w):
    """count(counters, i): counters[i]; what a core wrote before it counted can be read then."""

    def code(context, b, signature, args):
        return b.load_atomic(_counter(context, b, signature, args), "acquire", 8)

    return w.types.int64, code


@_intrinsic(1)
def let_others_run(w):
    """let_others_run(address): call the function at this address, unless it is 0."""

    def code(context, b, signature, args):
        kind = w.ir.FunctionType(w.ir.IntType(32), [])
        known = b.icmp_unsigned("!=", args[0], w.ir.IntType(64)(0))
        with b.if_then(known):
            b.call(b.inttoptr(args[0], kind.as_pointer()), [])

    return w.types.void, code


def yielding_address() -> int:
    """Where the system's function lies that lets another thread run on this core; 0 if unknown."""
    try:
        if sys.platform == "win32":
            function = ctypes.WinDLL("kernel32").SwitchToThread
        else:
            function = ctypes.CDLL(None).sched_yield
    except (AttributeError, OSError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0
