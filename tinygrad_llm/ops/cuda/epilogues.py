"""Matrix products with an epilogue, by cuBLASLt: what follows the product is part of its kernel.

cuBLASLt stores matrices by columns, so that all here is about D = A·B = outᵀ for out = a·b, with
A = bᵀ and B = aᵀ. CuPy has no binding of this library; the one that cuBLAS itself has loaded is
called. It gets its stream and its workspace in each call, so a CUDA graph needs nothing else.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from typing import Any

from . import launch
from .captured_cublas import check, load

BIAS = 4  # D gets a vector added to each of its columns, in D's dtype: a bias of out's columns
GELU = 32  # gelu(D), the tanh form; with KEEP, D as it was before goes to another matrix
D_GELU = 64 | 128  # D times gelu′ of another matrix
KEEP = 128
SUM_B = 512  # writes Σ B over the length of the product, in D's dtype: a number per row of out
WORKSPACE = 32 << 20  # bytes at most, what NVIDIA recommends for Hopper
MOST = 2048  # kinds of products that are remembered; of further ones cuBLASLt has no part
REFUSED = {7, 8, 15}  # statuses: invalid value, not on this GPU, not supported
COMPUTES = {68, 77}  # the compute types that it has epilogues for: float32 and TF32
TURN_A, TURN_B, EPILOGUE, VECTOR, OTHER, OTHER_STEP = 3, 4, 7, 8, 11, 12  # attributes of a product
MOST_WORKSPACE, ALIGNMENTS = 1, (5, 6, 7, 8)  # preferences; the alignments of A, B, C and D
_NUMBERS = ctypes.c_float(1.0), ctypes.c_float(0.0)
ALPHA, BETA = map(ctypes.byref, _NUMBERS)


class _Choice(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t: an algorithm, and what it needs."""

    _fields_ = (
        ("algorithm", ctypes.c_uint64 * 8), ("workspace", ctypes.c_size_t),
        ("state", ctypes.c_int), ("waves", ctypes.c_float), ("reserved", ctypes.c_int * 4),
    )  # fmt: skip


class _Plan:
    """A kind of product: cuBLASLt's description of it, its layouts and the algorithm."""

    def __init__(self, description: Any, given: list, layouts: list[Any], choice: _Choice) -> None:
        self.lock = threading.Lock()  # what the epilogue reads or writes is in the description
        self.description, self.layouts = description, layouts
        self.given = [  # whether it is the vector, its address, arguments of SetAttribute
            (attribute == VECTOR, cell,
             (description, ctypes.c_int(attribute), ctypes.byref(cell), ctypes.c_size_t(8)))
            for attribute, cell in given
        ]  # fmt: skip
        self.algorithm = ctypes.byref(choice)  # its first field
        self.workspace = int(choice.workspace)


_plans: dict[tuple, _Plan | None] = {}  # None where cuBLASLt has no algorithm


@functools.lru_cache(maxsize=1)
def _library() -> Any:
    """cuBLASLt, or None if it is not found."""
    pointer, whole, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
    try:
        library = load("cublasLt")
        library.cublasLtCreate.argtypes = [pointer]
        library.cublasLtMatmulDescCreate.argtypes = [pointer, whole, whole]
        library.cublasLtMatrixLayoutCreate.argtypes = [
            pointer, whole, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64
        ]  # fmt: skip
        library.cublasLtMatmulPreferenceCreate.argtypes = [pointer]
        library.cublasLtMatmulPreferenceSetAttribute.argtypes = [pointer, whole, pointer, size]
        library.cublasLtMatmulAlgoGetHeuristic.argtypes = [*[pointer] * 7, whole, pointer, pointer]
        library.cublasLtMatmul.argtypes = [*[pointer] * 14, size, pointer]
    except (OSError, AttributeError):
        return None
    return library


@functools.cache
def handle(gpu: int) -> Any:
    """cuBLASLt's handle for a GPU; None without the library."""
    return None if _library() is None else _made("")


def _made(kind: str, *args: Any) -> Any:
    """What cublasLt{kind}Create makes: it stays for the life of the program."""
    made, name = ctypes.c_void_p(), f"cublasLt{kind}Create"
    check(name, getattr(_library(), name)(ctypes.byref(made), *args))
    return made


def _set(kind: str, made: Any, attribute: int, value: Any) -> None:
    """Set an attribute to a value of ctypes. The function of MatmulDesc has no argtypes: a call of
    each product, which is faster so, gives it ctypes's own objects.
    """
    name = f"cublasLt{kind}SetAttribute"
    size = ctypes.c_size_t(ctypes.sizeof(value))
    check(name, getattr(_library(), name)(made, attribute, ctypes.byref(value), size))


@functools.cache
def _preference(aligned: int) -> Any:
    """What an algorithm may need: the workspace, and addresses that are multiples of `aligned`."""
    preference = _made("MatmulPreference")
    _set("MatmulPreference", preference, MOST_WORKSPACE, ctypes.c_uint64(WORKSPACE))
    for attribute in ALIGNMENTS:
        _set("MatmulPreference", preference, attribute, ctypes.c_uint32(aligned))
    return preference


def _plan(kind: tuple, vector: int, other: int) -> _Plan | None:
    """The plan for a kind of product (see multiply); None if cuBLASLt has no algorithm."""
    gpu, aligned, epilogue, compute, types, (rows, columns, length), turns, steps = kind
    description = _made("MatmulDesc", compute, 0)
    given = [(VECTOR, ctypes.c_uint64(vector))] if vector else []
    if other:
        given.append((OTHER, ctypes.c_uint64(other)))
        _set("MatmulDesc", description, OTHER_STEP, ctypes.c_int64(rows))
    for attribute, value in (
        (TURN_A, ctypes.c_int32(turns[0])), (TURN_B, ctypes.c_int32(turns[1])),
        (EPILOGUE, ctypes.c_uint32(epilogue)), *given,
    ):  # fmt: skip
        _set("MatmulDesc", description, attribute, value)
    layouts = [
        _made("MatrixLayout", dtype, *((y, x) if turned else (x, y)), step)
        for dtype, (x, y), turned, step in zip(
            types, ((rows, length), (length, columns), (rows, columns)), (*turns, 0), steps,
            strict=True,
        )
    ]  # fmt: skip
    choice, count = _Choice(), ctypes.c_int()
    status = _library().cublasLtMatmulAlgoGetHeuristic(
        handle(gpu), description, *layouts, layouts[2], _preference(aligned), 1,
        ctypes.byref(choice), ctypes.byref(count),
    )  # fmt: skip
    if status not in REFUSED:
        check("cublasLtMatmulAlgoGetHeuristic", status)
    if status or not count.value or choice.state:
        return None
    return _Plan(description, given, layouts, choice)


def multiply(
    epilogue: int, compute: int, types: tuple, sizes: tuple, turns: tuple, steps: tuple, a: int,
    b: int, d: int, vector: int = 0, other: int = 0,
) -> bool:  # fmt: skip
    """D = A·B with an epilogue on the current stream; whether cuBLASLt computes it.

    compute: cuBLAS's compute type; types: those of A, B and D; sizes: rows and columns of D, length
    of the sums; turns: 1 where A, B is transposed; steps: from column to column in A, B and D as
    they lie in memory; a, b, d: addresses; vector, other: those of the epilogue's vector and of its
    matrix, which lies as D does, 0 for none.
    Raises: RuntimeError if a launch fails.
    """
    bits = a | b | d | vector | other | 256
    gpu = launch.gpu()
    kind = gpu, bits & -bits, epilogue, compute, types, sizes, turns, steps
    try:
        plan = _plans[kind]
    except KeyError:
        if len(_plans) >= MOST or compute not in COMPUTES or handle(gpu) is None:
            return False
        plan = _plans[kind] = _plan(kind, vector, other)
    if plan is None:
        return False
    library, layouts, room = _library(), plan.layouts, plan.workspace
    memory: Any = None
    if room:
        memory = launch.xp.cuda.alloc(room)  # from CuPy's pool, in the order of the stream
    stream = launch.xp.cuda.get_current_stream().ptr
    with plan.lock:
        for is_vector, cell, args in plan.given:
            cell.value = vector if is_vector else other
            status = library.cublasLtMatmulDescSetAttribute(*args)
            check("cublasLtMatmulDescSetAttribute", status)
        status = library.cublasLtMatmul(
            handle(gpu), plan.description, ALPHA, a, layouts[0], b, layouts[1], BETA, d,
            layouts[2], d, layouts[2], plan.algorithm, memory.ptr if room else 0, room, stream,
        )  # fmt: skip
    if status in REFUSED:
        _plans[kind] = None
        return False
    check("cublasLtMatmul", status)
    return True
