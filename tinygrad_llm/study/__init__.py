"""Instruments to study the backward pass: look at it, check it, compare it with the chain rule.

explain         an op, a layer, a loss or an optimizer: formula, code, example, memory, check
trace           every op and module with its times, shapes, memory and gradients
draw            the graph as SVG, and as a page on which one walks back op by op
draw_attention  where every token looks, head by head
compare         two models layer by layer, and the first place where they part
gradcheck       a function's gradients against finite differences
TWINS           every fused op's slow twin, composed of primitives
"""

from .attention import AttentionMaps, draw_attention
from .compare import Divergence, compare
from .draw import Drawing, draw
from .explain import Explanation, explain
from .gradcheck import Comparison, Element, GradcheckError, compare_gradients, gradcheck
from .reference import TWINS
from .trace import Trace, trace

__all__ = [
    "TWINS",
    "AttentionMaps",
    "Comparison",
    "Divergence",
    "Drawing",
    "Element",
    "Explanation",
    "GradcheckError",
    "Trace",
    "compare",
    "compare_gradients",
    "draw",
    "draw_attention",
    "explain",
    "gradcheck",
    "trace",
]
