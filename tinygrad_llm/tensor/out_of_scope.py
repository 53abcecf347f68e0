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
    "transforms of functions": r"vmap | func | (jac|hess)\w* | [jv][jv]p | functional_call",
    "image and audio models": r"vision | torchvision | torchaudio | ctc_?loss",
}
_PATTERNS = {part: re.compile(text, re.X | re.I) for part, text in _PARTS.items()}


def not_done(name: str) -> str:
    """What a name belongs to, such as "recurrent layers"; "" if it may just be misspelt."""
    return next((part for part, p in _PATTERNS.items() if p.fullmatch(name)), "")
