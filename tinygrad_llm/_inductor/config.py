"""Options of PyTorch's code generator: they may be set and read, and change nothing here."""

from __future__ import annotations

coordinate_descent_tuning = False
fx_graph_cache = False
max_autotune = False
epilogue_fusion = True
shape_padding = False
force_fuse_int_mm_with_mul = False
use_mixed_mm = False


class triton:
    """Options of Triton's kernels."""

    unique_kernel_names = False
    cudagraphs = False
