"""Faster twins of the ops for NumPy's arrays: compiled loops. Deleting this changes speed only.

NumPy passes over memory once for each operation of a formula; a loop passes once for all of them.
The loops are plain Python, the formula above them. Numba compiles them when it is installed (the
extra `fast`), for arrays of float32 and of float64, when such an array first needs one, and keeps
the machine code on disk. Nothing here runs, and Numba is not imported, before the first op whose
first input has `arrays.twins.LEAST` numbers. TINYGRAD_LLM_LOOPS=0 or
`tinygrad_llm.backends.loops.enabled = False` turns the loops off.

    compiling     `kernel`: compiling, caching; `shared`: a range of rows for each core
    elementary    exp and others as polynomials
    twin          which arrays a twin takes
    norm          layer norm, RMS norm
    activation    GELU, SiLU, gates of both
    softmax       softmax, log-softmax
    selective_scan   the scan of a Mamba
    decoding      a decoder for a few new tokens, all of it in one call
    few_rows, packed, lanes   its parts: norms and attention, weights of 4 and 8 bits, vectors
    loss          cross-entropy
    arithmetic    sums, products, quotients, ReLU, sigmoid, tanh, dropout
    broadcast     arithmetic with an operand for each row or column, and sums along and over rows
    reduce        sums, means and variances along the last axis
    selection     masked_fill
    matmul        products of many matrices
    rope          rotary position embedding
    embedding     rows read from a table
    update        rows added to a table
    optimizers    Adam, SGD, RMSprop, Adagrad, gradient clipping
    twister       random numbers: the Mersenne twister, normal and uniform numbers, coins

How to add a loop:
    1. Write the kernel: the formula in its docstring; arrays first, results among them, then Python
       numbers; `start, stop` last. It computes those rows and no others.
    2. Numbers in it are `f(0.5)`: f is float32 or float64, as the arrays are. A plain 0.5, and an
       int64 times a float32, are float64 in Numba, and then so is all that follows.
    3. Write the twin: `class LoopX(Loop, X)` with `takes`, `forward` and `backward`; it saves
       what X saves. Add it to TWINS below. tests/test_loops.py then finds it, and the op's row in
       tests/cases.py is checked with the loop too.
    4. Code that is not an op (an optimizer, random numbers) fills a slot of arrays.twins.CpuTwins.

Traps:
    Vectorised loops are the whole gain. LLVM vectorises the innermost loop, over the last axis. It
    must prove that arrays do not overlap, and gives up if there are many: use several short loops
    over a row, which stays in the cache, with up to about five arrays each. To see it:
    `llvmlite.binding.set_option("", "--debug-only=loop-vectorize")` or
    `kernel.compiled(*args).inspect_asm()` (look for zmm or ymm).
    In `for i in range(start, stop)` i may be negative for all that LLVM knows, and x[i] then counts
    from the end: ten times slower. Take slices first, `x = x[start:stop]`, and go from 0.
    An index of the type uint64 counts from the front only, which spares a slice: see rope.
    A branch between two inner loops can stop the vectorisation of both: write two kernels. One
    array passed as two arguments does too, for LLVM's test for an overlap then always fails.
    A division by zero raises in Python, and the test for it stops vectorisation: error_model is
    "numpy". math.exp and its kin are calls: take those of `elementary`.
    fastmath=True would let LLVM assume that NaN and infinities do not occur; masks are −∞, so the
    flags are chosen one by one. "reassoc" lets it change the order of a sum, which a compensated
    sum, ln 2 in two parts, and (x − m) − log Σ do not survive: `precise_helper` is without it.
    `exact_kernel` is without all of them, and `fused` is one multiply-add, for results equal to the
    bit. A slice assigned to a slice is slow: write the loop.
    The sum over rows (∂L/∂w) is computed for strips of rows, whose number depends on the number of
    rows alone: so results do not depend on the number of cores. A sum along a row belongs to one
    core.
    A number is compiled as what it is: 0 as an integer, 0.1 as a float. Pass float(x).
    An argument of another type (None, a read-only array, another layout) would be another
    compilation: pass arrays of ones or zeros for None, and refuse the others in `takes`.
    Numba looks for changes in the kernel's own file only; `_stamp` adds the files that kernels
    share. A kernel that calls something in a further file needs that file there.
"""

from __future__ import annotations

from typing import Any

from ...arrays.allocator import keep_memory
from ...arrays.silence import place_arrays, silently
from ...arrays.twins import CpuTwins, twins
from ..activation import GatedActivation, Gelu, Relu, Silu
from ..arithmetic import Add, Div, Mul, Sub
from ..attention import ScaledDotProductAttention
from ..dropout import Dropout
from ..elementary import Sigmoid, Tanh
from ..embedding import Embedding
from ..loss import CrossEntropy
from ..matmul import Matmul
from ..norm import LayerNorm, RmsNorm
from ..reduce import Mean, Sum, Var
from ..rope import Rope
from ..selection import MaskedFill
from ..selective_scan import SelectiveScan
from ..softmax import LogSoftmax, Softmax
from . import crew
from .activation import LoopGatedActivation, LoopGelu, LoopSilu
from .arithmetic import (
    LoopAdd,
    LoopDiv,
    LoopDropout,
    LoopMul,
    LoopRelu,
    LoopSigmoid,
    LoopSub,
    LoopTanh,
    add_into,
    copied,
    joined,
    takes_copy,
)
from .attention import LoopAttention
from .compiling import missing
from .decoding import Program, packed_product, packed_tile
from .embedding import LoopEmbedding
from .few_rows import few_rows_product, takes_few_rows
from .loss import LoopCrossEntropy
from .matmul import LoopMatmul
from .norm import LoopLayerNorm, LoopRmsNorm
from .optimizers import adagrad, adam, rmsprop, scale, sgd, square_sum, takes_update
from .reduce import LoopMean, LoopSum, LoopVar
from .rope import LoopRope
from .selection import LoopMaskedFill
from .selective_scan import LoopSelectiveScan
from .softmax import LoopLogSoftmax, LoopSoftmax
from .twister import coins, draws, normals, uniforms
from .update import scatter_add_rows, takes_scatter

__all__ = ["install"]

TWINS: dict[type, Any] = {
    LayerNorm: LoopLayerNorm, RmsNorm: LoopRmsNorm, Gelu: LoopGelu, Silu: LoopSilu,
    GatedActivation: LoopGatedActivation,
    Softmax: LoopSoftmax, LogSoftmax: LoopLogSoftmax,
    Add: LoopAdd, Sub: LoopSub, Mul: LoopMul, Div: LoopDiv,
    Relu: LoopRelu, Sigmoid: LoopSigmoid, Tanh: LoopTanh,
    Sum: LoopSum, Mean: LoopMean, Var: LoopVar,
    MaskedFill: LoopMaskedFill, Matmul: LoopMatmul, Embedding: LoopEmbedding,
    Dropout: LoopDropout, CrossEntropy: LoopCrossEntropy, Rope: LoopRope,
    ScaledDotProductAttention: LoopAttention, SelectiveScan: LoopSelectiveScan,
}  # fmt: skip


def install() -> str | None:
    """Register these in arrays.twins; why it is not possible, or None."""
    why = missing()
    if why is None:
        crew.start()
        keep_memory()  # a fresh page costs more than what a loop does with it
        place_arrays()
        silently(place_arrays)  # where this thread runs ops
        twins.cpu = CpuTwins(
            TWINS,
            takes_scatter=takes_scatter,
            scatter_add_rows=scatter_add_rows,
            takes_update=takes_update,
            takes_copy=takes_copy,
            copied=copied,
            joined=joined,
            add_into=add_into,
            adam=adam,
            takes_few_rows=takes_few_rows,
            few_rows_product=few_rows_product,
            decoder=Program,
            packed_product=packed_product,
            packed_tile=packed_tile,
            sgd=sgd,
            rmsprop=rmsprop,
            adagrad=adagrad,
            square_sum=square_sum,
            scale=scale,
            draws=draws,
            normals=normals,
            uniforms=uniforms,
            coins=coins,
        )
    return why
