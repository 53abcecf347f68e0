"""torch.backends: questions about libraries below, and the precision of a GPU's products.

Apple's GPU is never available, and cuDNN, MKL and oneDNN are not used: NumPy's BLAS computes on a
CPU, CuPy and kernels of this package on a GPU.
"""

from . import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp, opt_einsum

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "opt_einsum"]
