"""RMSNorm whose weight is stored as a distance from one; LayerNorm and RMSNorm are nn's."""

from __future__ import annotations

from ..nn import functional as F
from ..nn import init
from ..nn.norm import RMSNorm
from ..tensor import Tensor, dtypes
from ..tensor.device import DeviceLike
from ..tensor.dtypes import DtypeLike

__all__ = ["OffsetRMSNorm"]


class OffsetRMSNorm(RMSNorm):
    """y = (offset + w)·x/√(mean(x²) + eps): x (..., dim) -> y (..., dim).

    The weight (dim) starts at 1 − offset, so that the layer starts as an RMSNorm does. Gemma stores
    its weights so, with offset 1: weight decay then pulls the factor to one, not to zero. In half
    precisions it computes in float32 and rounds once, as Gemma does.
    Sources: Zhang and Sennrich (2019), equation 4; Gemma Team (2024), "Gemma".
    """

    weight: Tensor

    def __init__(
        self, dim: int, eps: float = 1e-6, offset: float = 1.0, device: DeviceLike = None,
        dtype: DtypeLike = None,
    ) -> None:  # fmt: skip
        self.offset = float(offset)
        super().__init__(dim, eps, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Set the weight to 1 − offset."""
        init.constant_(self.weight, 1.0 - self.offset)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype not in (dtypes.float16, dtypes.bfloat16):
            return F.rms_norm(x, self.normalized_shape, self.weight + self.offset, self.eps)
        factor = self.weight.float() + self.offset  # 1 + w in bfloat16 would lose w's digits
        return F.rms_norm(x.float(), self.normalized_shape, factor, self.eps).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, offset={self.offset:g}"
