"""Where large arrays begin: at the beginning of a page of memory, 4,096 bytes.

A processor compares what it reads with what it has just written, by the last 12 bits of the
addresses first. A loop that reads x[i] and writes y[i], where y begins 16 to 200 bytes later in its
page than x, seems to read again and again what was just written, and waits. So arrays lie by
themselves: malloc puts 16 bytes before each, and of two arrays of 3 MiB, one behind the other, the
second begins 16 bytes later in its page. On an Intel processor the backward pass of layer norm then
takes 2.4 times as long. If all begin where a page does, nothing of the kind happens.

NumPy asks a *handler* for an array's memory, four functions, which can be replaced for all that is
called in a context (contextvars) from then on. These are written in LLVM's language, because NumPy
calls them, not Python. Before each array stand, in 16 bytes, its size and the address of its block,
which for a large array is 4,112 bytes longer than the array. NumPy's own handler requests huge
pages for arrays from 4 MiB on, and so does this one.
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
HUGE = 1 << 22  # bytes from which an array is in huge pages
NAME = b"tinygrad_llm_pages"
SET_HANDLER, GET_HANDLER, DEFAULT_HANDLER = 304, 305, 306  # places in NumPy's table for C

# NumPy passes a context, which is not needed, and to `give_back` a size. In the place of
# "@malloc" and the like stand addresses of the C library's functions.
CODE = """
define i64 @take(i64 %context, i64 %size) {
  %length = call i64 @length(i64 %size)
  %start = call i64 @malloc(i64 %length)
  %array = call i64 @place(i64 %start, i64 %size)
  ret i64 %array
}

define i64 @take_zeros(i64 %context, i64 %n, i64 %bytes) {
  %size = mul i64 %n, %bytes
  %length = call i64 @length(i64 %size)
  %start = call i64 @calloc(i64 1, i64 %length)
  %array = call i64 @place(i64 %start, i64 %size)
  ret i64 %array
}

define i64 @resize(i64 %context, i64 %p, i64 %size) {
  %new = call i64 @take(i64 0, i64 %size)
  %failed = icmp eq i64 %new, 0
  %first = icmp eq i64 %p, 0
  %nothing = or i1 %failed, %first
  br i1 %nothing, label %end, label %copy
copy:
  %before = call i64 @word(i64 %p, i64 -16)
  %fewer = icmp ult i64 %before, %size
  %n = select i1 %fewer, i64 %before, i64 %size
  %to = call i64 @memcpy(i64 %new, i64 %p, i64 %n)
  call void @give_back(i64 0, i64 %p, i64 0)
  br label %end
end:
  ret i64 %new
}

define void @give_back(i64 %context, i64 %p, i64 %size) {
  %none = icmp eq i64 %p, 0
  br i1 %none, label %end, label %block
block:
  %start = call i64 @word(i64 %p, i64 -8)
  call void @free(i64 %start)
  br label %end
end:
  ret void
}

; bytes of an array's block
define internal i64 @length(i64 %size) {
  %large = icmp uge i64 %size, LEAST
  %more = select i1 %large, i64 4112, i64 16
  %length = add i64 %size, %more
  ret i64 %length
}

; an array's address in its block, and before it, in 16 bytes, its size and the block's address
define internal i64 @place(i64 %start, i64 %size) {
  %none = icmp eq i64 %start, 0
  br i1 %none, label %end, label %write
write:
  %behind = add i64 %start, 16
  %later = add i64 %start, 4111
  %page = and i64 %later, -4096
  %large = icmp uge i64 %size, LEAST
  %array = select i1 %large, i64 %page, i64 %behind
  %at_size = sub i64 %array, 16
  %size_place = inttoptr i64 %at_size to i64*
  store i64 %size, i64* %size_place
  %at_start = sub i64 %array, 8
  %start_place = inttoptr i64 %at_start to i64*
  store i64 %start, i64* %start_place
  %huge = icmp uge i64 %size, HUGE
  br i1 %huge, label %ask, label %placed
ask:  ; if it is refused, it is an array all the same
  %answer = call i32 @madvise(i64 %array, i64 %size, i32 14)
  br label %placed
placed:
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
OF_C = {  # the C library's functions: what they return, and their arguments
    "malloc": "i64 (i64)", "calloc": "i64 (i64, i64)", "free": "void (i64)",
    "memcpy": "i64 (i64, i64, i64)", "madvise": "i32 (i64, i64, i32)",
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

    Where somebody has set another handler than NumPy's own, that one stays. engine: LLVM's, to
    which the functions are added; it must live as long as any array. On Linux only, and not with
    TINYGRAD_LLM_KEEP_MEMORY=0.
    """
    if not sys.platform.startswith("linux") or os.environ.get("TINYGRAD_LLM_KEEP_MEMORY") == "0":
        return None
    new = _of_python("PyCapsule_New", ctypes.py_object, *[ctypes.c_void_p] * 3)
    name_of = _of_python("PyCapsule_GetName", ctypes.c_void_p, ctypes.py_object)
    content = _of_python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    try:
        core = importlib.import_module("numpy._core._multiarray_umath")
        table = ctypes.cast(content(core._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p))
        default = ctypes.cast(table[DEFAULT_HANDLER], ctypes.POINTER(ctypes.py_object))[0]
        # not what is expected: another NumPy than those that are known
        content(default, b"mem_handler")
        functions = _functions(engine)
    except (ImportError, AttributeError, ValueError, OSError, RuntimeError):
        return None
    made = _Handler(NAME, 1, None, *functions)
    # arrays may outlive this module when the process ends, and then NumPy reads the handler and
    # the capsule's name still: the one is never freed, the other is in NumPy's own code
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
    capsule = new(ctypes.addressof(made), name_of(default), None)
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[SET_HANDLER])
    get_handler = ctypes.PYFUNCTYPE(ctypes.py_object)(table[GET_HANDLER])

    def begin() -> None:
        if get_handler() is default:
            set_handler(capsule)

    return begin


def _of_python(name: str, returned: Any, *arguments: Any) -> Any:
    """A function of Python's C API; what others have set for it in ctypes.pythonapi stays."""
    return ctypes.PYFUNCTYPE(returned, *arguments)((name, ctypes.pythonapi))


def _functions(engine: Any) -> list[int]:
    """The addresses of take, take_zeros, resize and give_back.

    Raises: AttributeError if the C library does not have what they need, RuntimeError if LLVM does
    not read the code.
    """
    multiarray = importlib.import_module("numpy._core.multiarray")
    huge = HUGE if multiarray._get_madvise_hugepage() else -1  # -1: the largest size there is
    library, code = ctypes.CDLL(None), CODE.replace("LEAST", str(LEAST)).replace("HUGE", str(huge))
    for name, kind in OF_C.items():
        address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        code = code.replace(f"@{name}(", f"inttoptr (i64 {address} to {kind}*)(")
    llvm = importlib.import_module("llvmlite.binding")
    engine.add_module(llvm.parse_assembly(f'target triple = "{llvm.get_process_triple()}"\n{code}'))
    engine.finalize_object()
    names = "take", "take_zeros", "resize", "give_back"
    return [engine.get_function_address(name) for name in names]
