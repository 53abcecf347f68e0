"""Schedules that change the learning rate of an optimizer step by step.

Call `scheduler.step()` after every `optimizer.step()` (or after every epoch: a schedule counts
calls). Most schedules multiply the rate that is in the group, so that several can act on one
optimizer; the values are PyTorch's.

factors.py  a factor: constant, stepwise, linear, or from a function
cosine.py   along a cosine: annealing, restarts, warm-up, one cycle
inverse_sqrt.py  a rise, then 1/√step
stable.py   a rise, a constant rate, a fall (WSD)
plateau.py  when a metric stops improving
combined.py several schedules, in sequence or together
"""

from typing import TYPE_CHECKING

from ...tensor.missing_names import missing
from .base import LRScheduler
from .combined import ChainedScheduler, SequentialLR
from .cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts, OneCycleLR, WarmupCosineLR
from .factors import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from .inverse_sqrt import WarmupInverseSqrtLR
from .plateau import ReduceLROnPlateau
from .stable import WarmupStableDecayLR

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "WarmupCosineLR",
    "WarmupInverseSqrtLR",
    "WarmupStableDecayLR",
]

_LRScheduler = LRScheduler  # its name before PyTorch 2.0


if not TYPE_CHECKING:  # else a checker would accept every name

    def __getattr__(name: str) -> object:
        raise missing(__name__, name, __all__)
