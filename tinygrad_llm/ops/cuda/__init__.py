"""Faster twins of the ops for arrays on a GPU. Deleting this folder changes speed only.

The kernels are CUDA C++ in the folder `kernels`; CuPy compiles them when they are first needed and
keeps the result on disk. A twin's `takes` returns whether it serves the given arrays (float32,
often bfloat16, in row order); any other call goes to the op that it replaces. So the formulas, and
the code for float64, stand in the op alone.

    launch        compiling, launching, and Twin, which chooses between a kernel and the op
    elementwise   casts, sums, GELU, dropout's mask
    rows          norms, softmax, sums over rows, scatter
    products      matrix products through cuBLAS, linear layers
    feed_forward  two linear layers with GELU between them, in bfloat16
    loss          cross-entropy, also with the output layer before it
    attention     in tiles
    cudnn_attention   the same by cuDNN on Hopper, where it is installed
    optimizer     Adam, and clipping, for all parameters in one launch
    captured_cublas   products within a CUDA graph
    epilogues     products that also add a bias, or take GELU, through cuBLASLt

The kernels need compute capability 8.0 (Ampere, 2020) or newer; `install` leaves older GPUs alone.
"""

from __future__ import annotations

from typing import Any

from ...arrays.devices import cupy, gpu_count
from ...arrays.twins import GpuTwins, twins
from ...autograd.engine import Op
from ..activation import Gelu
from ..arithmetic import Add, Mul, Sub
from ..attention import ScaledDotProductAttention
from ..convert import Cast
from ..linear import Linear, LinearGeluLinear
from ..loss import CrossEntropy, LinearCrossEntropy
from ..matmul import Matmul
from ..norm import LayerNorm, RmsNorm
from ..softmax import Softmax
from . import launch
from .attention import CudaAttention, DrawnLater
from .elementwise import CudaAdd, CudaCast, CudaGelu, add_into, keep_mask
from .feed_forward import CudaFeedForward, CudaMixedFeedForward, takes_mixed_feed_forward
from .loss import CudaCrossEntropy, CudaLinearCrossEntropy
from .optimizer import adam, clip_by_norm, gradient_norm, takes_adam, takes_norm
from .products import (
    CudaLinear,
    CudaMatmul,
    CudaMixedLinear,
    ready_to_capture,
    takes_mixed_linear,
)
from .rows import (
    CudaLayerNorm,
    CudaRmsNorm,
    CudaRoundedLayerNorm,
    CudaRoundedRmsNorm,
    CudaSoftmax,
    scatter_add_rows,
    sum_rows,
    takes_rows,
    takes_scatter,
)

__all__ = ["install"]

TWINS: dict[type[Op], type[Op]] = {
    Linear: CudaLinear, Matmul: CudaMatmul, Add: CudaAdd, Cast: CudaCast, Gelu: CudaGelu,
    LayerNorm: CudaLayerNorm, RmsNorm: CudaRmsNorm, Softmax: CudaSoftmax,
    CrossEntropy: CudaCrossEntropy, LinearCrossEntropy: CudaLinearCrossEntropy,
    ScaledDotProductAttention: CudaAttention, LinearGeluLinear: CudaFeedForward,
}  # fmt: skip
EXACT = {Add, Sub, Mul}
NARROW = {  # take bfloat16
    Linear, LinearGeluLinear, Matmul, Gelu, ScaledDotProductAttention, LinearCrossEntropy
}  # fmt: skip


def narrow(op: type[Op], arrays: Any, options: Any) -> bool:
    """Whether these half-precision arrays are taken as they are: each result is rounded once.

    So it is in the twins of NARROW, in cuBLAS's product of float16, and in a sum, difference or
    product of two arrays, which CuPy computes in float32.
    """
    if op in EXACT:
        one_dtype = len({getattr(a, "dtype", None) for a in arrays}) == 1
        return one_dtype or (op is Add and CudaAdd.takes(*arrays))
    if op is Matmul and arrays[0].dtype == "float16":
        return True
    return op in NARROW and TWINS[op].takes(*arrays, **options)  # type: ignore[attr-defined]


def mixed_sum(op: type[Op], x: Any, y: Any) -> bool:
    """Whether the op's twin adds float32 and bfloat16 as they are."""
    return op is Add and CudaAdd.takes(x, y)


def install() -> None:
    """Register these in arrays.twins, if the kernels run on the current GPU."""
    launch.xp = cupy()
    launch.several = gpu_count(launch.xp) > 1
    if int(launch.xp.cuda.Device().compute_capability) < 80:
        return
    twins.gpu = GpuTwins(
        ops=TWINS,
        narrow=narrow,
        mixed_sum=mixed_sum,
        takes_mixed_linear=takes_mixed_linear,
        mixed_linear=CudaMixedLinear.apply,
        takes_mixed_feed_forward=takes_mixed_feed_forward,
        mixed_feed_forward=CudaMixedFeedForward.apply,
        rounded_norms={"layer_norm": CudaRoundedLayerNorm, "rms_norm": CudaRoundedRmsNorm},
        add_into=add_into,
        takes_rows=takes_rows,
        sum_rows=sum_rows,
        takes_scatter=takes_scatter,
        scatter_add_rows=scatter_add_rows,
        keep_mask=keep_mask,
        drawn_later=DrawnLater,
        takes_adam=takes_adam,
        adam=adam,
        takes_norm=takes_norm,
        gradient_norm=gradient_norm,
        clip_by_norm=clip_by_norm,
        ready_to_capture=ready_to_capture,
    )
