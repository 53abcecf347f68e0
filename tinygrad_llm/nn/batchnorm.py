"""BatchNorm1d."""

from __future__ import annotations

from typing import Any

from ..functions.creation.filled import ones, zeros
from ..tensor import Tensor
from ..tensor.device import DeviceLike
from ..tensor.dtypes import DtypeLike, int64
from . import functional as F
from . import init
from .module import Module
from .parameter import new_parameter

__all__ = ["BatchNorm1d"]


class BatchNorm1d(Module):
    """y = w·(x − μ)/√(σ² + eps) + b for x (B, C) or (B, C, T), μ and σ² of each channel (Ioffe and
    Szegedy, 2015).

    In training they are the batch's, and running_mean and running_var follow them: by the share
    `momentum`, or with momentum=None as the mean over all batches. In evaluation they are the
    running ones. track_running_stats=False: always the batch's. affine=False leaves w and b out,
    bias=False b alone.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, device: DeviceLike = None,
        dtype: DtypeLike = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, present in (("weight", affine), ("bias", affine and bias)):
            new = new_parameter(num_features, device=device, dtype=dtype) if present else None
            self.register_parameter(name, new)
        kept = track_running_stats
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.register_buffer("running_mean", zeros(num_features, **where) if kept else None)
        self.register_buffer("running_var", ones(num_features, **where) if kept else None)
        count = zeros((), dtype=int64, device=device) if kept else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget all batches: mean zero, variance one."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1.0)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Set the weight to one and the bias to zero, and forget all batches."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input.

        Raises: ValueError if the input is neither (B, C) nor (B, C, T).
        """
        if input.dim() not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input.dim()}D input)")
        share = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                share = 1.0 / self.num_batches_tracked.item()
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or self.running_mean is None, share, self.eps,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )
