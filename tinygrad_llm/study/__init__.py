"""Instruments to study the backward pass: check it, and compare it with the chain rule.

gradcheck    a function's gradients against finite differences
TWINS        every fused op's slow twin, composed of primitives
"""

from .gradcheck import Comparison, Element, GradcheckError, compare_gradients, gradcheck
from .reference import TWINS

__all__ = [
    "TWINS",
    "Comparison",
    "Element",
    "GradcheckError",
    "compare_gradients",
    "gradcheck",
]
