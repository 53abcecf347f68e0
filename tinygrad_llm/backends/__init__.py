"""torch.backends: questions about libraries below, and the precision of a GPU's products.

Apple's GPU is never available, and MKL and oneDNN are not used: NumPy's BLAS computes on a CPU,
CuPy and kernels of this package on a GPU, and cuDNN for attention if installed. `backends.loops` is
not in PyTorch: it turns the compiled loops of ops/loops on and off.
"""

from . import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp, opt_einsum
from .loops import loops

__all__ = ["cpu", "cuda", "cudnn", "loops", "mkl", "mkldnn", "mps", "openmp", "opt_einsum"]
