"""Names of PyTorch for things that this package does not do, as README.md says."""

from __future__ import annotations

import re

__all__ = ["not_done"]

_PARTS = {
    "convolutions and pooling": r"""
        (lazy)?_?conv(_?transpose|_tbc)?[23]d | conv_?transpose1d | lazy_?conv.*
        | (lazy)?instance_?norm([123]d)?
        | (lazy)?batch_?norm[23]d | sync_?batch_?norm
        | (adaptive_?|fractional_?)?(max|avg|lp)_?(un)?pool([123]d)?(_with_indices)?
        | fold | unfold | upsample.* | interpolate | grid_sample | affine_grid | .*pad[123]d
        | (pixel|channel)_?(un)?shuffle | (feature_)?(alpha_)?dropout[123]d
        | local_?response_?norm | cross_?map_?lrn2d""",
    "recurrent layers": r"(lstm|gru|rnn)(_?cell|_?base|_?cell_?base|_tanh|_relu)*",
    "Fourier transforms": r"""
        i?(r|h)?fft[2n]? | i?stft | (hann|hamming|bartlett|blackman|kaiser)_window""",
    "sparse tensors": r".*sparse.* | s?spaddmm | smm | hspmm",
    "quantization": r"ao | qint(8|32) | quint.* | .*quant(ized?|ization|izable|stub).*",
    "programs as graphs": r"jit | fx | onnx | export | package | hub | script | .*script_?module",
    "kernels of PyTorch's own": r"""
        (cudnn|miopen|mkldnn|fbgemm|native)_.* | sym_.*
        | (alias|as_strided|c?col_indices|c?row_indices|crow_indices|detach|diagonal|expand|indices
        |permute|select|slice|split|squeeze|t|transpose|unbind|unfold|unsqueeze|values|view
        |view_as_complex|view_as_real)_copy | batch_norm_\w+
        | (quantized_)?(lstm|gru|rnn)\w* | (parse|import|merge|unify)_(ir|schema|type)\w*
        | int_repr | convolution | constant_pad_nd | segment_reduce | hash_tensor
        | q_(per_channel_(axis|scales|zero_points)|scale|zero_point) | qscheme
        | thread_safe_generator | wait | fork | while_loop | profiler_allow\w* | tensor_split_\w*
        | (embedding|feature|alpha)_(renorm|dropout|alpha_dropout)_ | slice_inverse
        | (lazy)?_?uninitialized\w* | has_magma | jiterator | cudart | clock_rate | temperature
        | power_draw | memory_usage | utilization | from_file | split_with_sizes_copy
        | (bfloat16|bool|byte|char|complex\w+|double|float|half|int|long|short|typed)?storage(base)?
        | (any|await|bool|class|complex|dict|enum|float|future|inferred|int|interface|list|none
        |number|optional|pyobject|rref|string|symint|tensor|tuple|union)type | dispatch\w*
        | unsafe_\w+ | vulkan\w*
        | is_vulkan_available | grid_sampler\w* | affine_grid_generator""",
    "old functions of linear algebra": r"""
        eig | symeig | solve | lstsq | lu | lu_\w+ | ldl_\w+ | qr | svd | cholesky\w* | geqrf
        | orgqr | ormqr | triangular_solve | pinverse | pca_lowrank | svd_lowrank | lobpcg
        | chain_matmul
        | matrix_(rank|exp) | (nuclear|frobenius)_norm | householder_product | tensor(inv|solve)
        | solve_\w+ | inv_ex | vander | vecdot | multi_dot | pinv | cond | cross | eigvals
        | kron""",
    "Bessel functions and polynomials": r"""
        (modified_|scaled_modified_|spherical_)?bessel_\w+ | i[01]e?_? | airy_ai | zeta | igammac?_?
        | gammaincc? | erfcx | (shifted_)?(chebyshev|hermite|laguerre|legendre)_polynomial_\w+""",
    "transforms of functions": r"vmap | func | (jac|hess)\w* | [jv][jv]p | functional_call",
    "image and audio models": r"vision | torchvision | torchaudio | ctc_?loss",
}
_PATTERNS = {part: re.compile(text, re.X | re.I) for part, text in _PARTS.items()}


def not_done(name: str) -> str:
    """What a name belongs to, such as "recurrent layers"; "" if it may just be misspelt."""
    return next((part for part, p in _PATTERNS.items() if p.fullmatch(name)), "")
