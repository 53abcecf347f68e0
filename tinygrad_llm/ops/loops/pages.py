"""Where large arrays begin: at the beginning of a page of memory, 4,096 bytes.

A processor compares what it reads with what it has just written, by the last 12 bits of the
addresses first. A loop that reads x[i] and writes y[i], where y begins 16 to 200 bytes later in its
page than x, seems to read again and again what was just written, and waits. So arrays lie by
themselves: malloc puts 16 bytes before each, and of two arrays of 3 MiB, one behind the other, the
second begins 16 bytes later in its page. On an Intel processor the backward pass of layer norm then
takes 2.4 times as long. If all begin where a page does, nothing of the kind happens.

NumPy asks a *handler* for an array's memory, four functions, which can be replaced for all that is
called in a context (contextvars) from then on. These are written in LLVM's language, because NumPy
calls them, not Python. The block of a large array is 4,112 bytes longer than the array, and before
the array stand the array's size and the block's address. A small array has no such block, and does
not begin where a page does: by this the two are distinguished.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["handler"]

LEAST = 1 << 17  # bytes of a large array
NAME = b"tinygrad_llm_pages"
SET_HANDLER, DEFAULT_HANDLER = 304, 306  # places in NumPy's table of C functions

# NumPy passes a context, which is not needed, and to `give_back` a size. In the place of
# "@malloc" and the like stand addresses of the C library's functions.
CODE = """
define i64 @take(i64 %context, i64 %size) {
  %large = icmp uge i64 %size, LEAST
  br i1 %large, label %block, label %small
block:
  %longer = add i64 %size, 4112
  %start = call i64 @malloc(i64 %longer)
  %array = call i64 @place(i64 %start, i64 %size)
  ret i64 %array
small:
  %p = call i64 @malloc(i64 %size)
  %well = call i1 @is_small(i64 %p)
  br i1 %well, label %end, label %again
again:  ; by chance it begins where a page does: then it gets a block too
  call void @free(i64 %p)
  br label %block
end:
  ret i64 %p
}

define i64 @take_zeros(i64 %context, i64 %n, i64 %bytes) {
  %size = mul i64 %n, %bytes
  %large = icmp uge i64 %size, LEAST
  br i1 %large, label %block, label %small
block:
  %longer = add i64 %size, 4112
  %start = call i64 @calloc(i64 1, i64 %longer)
  %array = call i64 @place(i64 %start, i64 %size)
  ret i64 %array
small:
  %p = call i64 @calloc(i64 1, i64 %size)
  %well = call i1 @is_small(i64 %p)
  br i1 %well, label %end, label %again
again:
  call void @free(i64 %p)
  br label %block
end:
  ret i64 %p
}

define i64 @resize(i64 %context, i64 %p, i64 %size) {
  %new = call i64 @take(i64 0, i64 %size)
  %none = icmp eq i64 %new, 0
  br i1 %none, label %end, label %measure
measure:
  %was_small = call i1 @is_small(i64 %p)
  br i1 %was_small, label %ask, label %read
ask:
  %usable = call i64 @malloc_usable_size(i64 %p)
  br label %copy
read:
  %written = call i64 @word(i64 %p, i64 -16)
  br label %copy
copy:
  %before = phi i64 [ %usable, %ask ], [ %written, %read ]
  %fewer = icmp ult i64 %before, %size
  %n = select i1 %fewer, i64 %before, i64 %size
  %to = call i64 @memcpy(i64 %new, i64 %p, i64 %n)
  call void @give_back(i64 0, i64 %p, i64 0)
  br label %end
end:
  ret i64 %new
}

define void @give_back(i64 %context, i64 %p, i64 %size) {
  %small = call i1 @is_small(i64 %p)
  br i1 %small, label %alone, label %block
alone:
  call void @free(i64 %p)
  ret void
block:
  %start = call i64 @word(i64 %p, i64 -8)
  call void @free(i64 %start)
  ret void
}

; whether an array does not begin where a page does; none, 0, counts as small
define internal i1 @is_small(i64 %p) {
  %in_page = and i64 %p, 4095
  %beside = icmp ne i64 %in_page, 0
  %none = icmp eq i64 %p, 0
  %small = or i1 %beside, %none
  ret i1 %small
}

; the first page in a block, behind at least 16 bytes, in which size and block are written
define internal i64 @place(i64 %start, i64 %size) {
  %none = icmp eq i64 %start, 0
  br i1 %none, label %end, label %write
write:
  %later = add i64 %start, 4111
  %array = and i64 %later, -4096
  %at_size = sub i64 %array, 16
  %size_place = inttoptr i64 %at_size to i64*
  store i64 %size, i64* %size_place
  %at_start = sub i64 %array, 8
  %start_place = inttoptr i64 %at_start to i64*
  store i64 %start, i64* %start_place
  ret i64 %array
end:
  ret i64 0
}

define internal i64 @word(i64 %p, i64 %after) {
  %at = add i64 %p, %after
  %place = inttoptr i64 %at to i64*
  %value = load i64, i64* %place
  ret i64 %value
}
"""
OF_C = {  # the C library's functions, and how many arguments each has
    "malloc": 1, "calloc": 2, "free": 1, "memcpy": 3, "malloc_usable_size": 1,
}  # fmt: skip


class _Handler(ctypes.Structure):
    """PyDataMem_Handler of NumPy's ndarraytypes.h."""

    _fields_ = (
        ("name", ctypes.c_char * 127), ("version", ctypes.c_uint8), ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p), ("calloc", ctypes.c_void_p), ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )  # fmt: skip


def handler(engine: Any) -> Callable[[], None] | None:
    """A function that sets this handler in the context that it is called in; None without one.

    engine: LLVM's, to which the functions are added; it must live as long as any array. On Linux
    only, and not with TINYGRAD_LLM_KEEP_MEMORY=0.
    """
    if not sys.platform.startswith("linux") or os.environ.get("TINYGRAD_LLM_KEEP_MEMORY") == "0":
        return None
    python = ctypes.pythonapi
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    python.PyCapsule_New.restype = ctypes.py_object
    python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    try:
        core = importlib.import_module("numpy._core._multiarray_umath")
        table = ctypes.cast(
            python.PyCapsule_GetPointer(core._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p)
        )
        default = ctypes.cast(table[DEFAULT_HANDLER], ctypes.POINTER(ctypes.py_object))[0]
        # not what is expected: another NumPy than those that are known
        python.PyCapsule_GetPointer(default, b"mem_handler")
        functions = _functions(engine)
    except (ImportError, AttributeError, ValueError, OSError):
        return None
    made = _Handler(NAME, 1, None, *functions)
    capsule = python.PyCapsule_New(ctypes.addressof(made), b"mem_handler", None)
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[SET_HANDLER])
    _kept.append(made)

    def begin() -> None:
        set_handler(capsule)

    return begin


_kept: list[Any] = []  # what NumPy reads


def _functions(engine: Any) -> list[int]:
    """The addresses of take, take_zeros, resize and give_back.

    Raises: AttributeError if the C library does not have what they need.
    """
    library, code = ctypes.CDLL(None), CODE.replace("LEAST", str(LEAST))
    for name, n in OF_C.items():
        address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        returned = "void" if name == "free" else "i64"
        kind = f"{returned} ({', '.join(['i64'] * n)})*"
        code = code.replace(f"@{name}(", f"inttoptr (i64 {address} to {kind})(")
    llvm = importlib.import_module("llvmlite.binding")
    engine.add_module(llvm.parse_assembly(f'target triple = "{llvm.get_process_triple()}"\n{code}'))
    engine.finalize_object()
    names = "take", "take_zeros", "resize", "give_back"
    return [engine.get_function_address(name) for name in names]
