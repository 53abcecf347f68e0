"""What programs ask of torch.backends: Apple's GPU is never there, and cuDNN is not used."""

from __future__ import annotations

__all__ = ["cudnn", "mps"]


class mps:
    """Apple's GPU, which this package does not use."""

    @staticmethod
    def is_available() -> bool:
        """False."""
        return False

    @staticmethod
    def is_built() -> bool:
        """False."""
        return False


class cudnn:
    """Settings of cuDNN, which this package does not use: they may be set and change nothing."""

    deterministic = False
    benchmark = False
    allow_tf32 = False
    enabled = False

    @staticmethod
    def is_available() -> bool:
        """False."""
        return False
