"""Instruments to study the backward pass: look at it, check it, compare it with the chain rule.

explain         an op, a layer, a loss or an optimizer: formula, code, example, memory, check
trace           every op and module with its times, shapes, memory and gradients
draw            the graph as SVG, and as a page on which one walks back op by op
draw_attention  where every token looks, head by head
compare         two models layer by layer, and the first place where they part
gradcheck       a function's gradients against finite differences
diagnose        a wrong gradient: which named mistake it is, or what its numbers look like
MISTAKES        every op's named mistakes, to plant one and see what notices
TWINS           every fused op's slow twin, composed of primitives
"""

from ..autograd.finite_differences import (
    Comparison,
    Element,
    GradcheckError,
    compare_gradients,
    gradcheck,
)
from .attention import AttentionMaps, draw_attention
from .compare import Divergence, compare
from .diagnose import Finding, diagnose
from .draw import Drawing, draw
from .explain import Explanation, explain
from .mistakes import MISTAKES, Mistake
from .reference import TWINS
from .trace import Trace, trace

__all__ = [
    "MISTAKES",
    "TWINS",
    "AttentionMaps",
    "Comparison",
    "Divergence",
    "Drawing",
    "Element",
    "Explanation",
    "Finding",
    "GradcheckError",
    "Mistake",
    "Trace",
    "compare",
    "compare_gradients",
    "diagnose",
    "draw",
    "draw_attention",
    "explain",
    "gradcheck",
    "trace",
]
